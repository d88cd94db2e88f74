#include "tests/unit.h"

#include "base/array.h"
#include "base/buf.h"
#include "base/rng.h"
#include "engine/ignore.h"
#include "platform/clock.h"

static struct ignore_rules *
parse(struct bytes text)
{
	struct ignore_rules *r = NULL;

	assert_ok(ignore_rules_parse(text, &r, &unit_error));
	return r;
}

static void
each_line_of_the_table_gets_its_verdict(void **state)
{
	(void)state;
	enum { FILE_ = 0, DIR_ = 1 };
	static const struct {
		const char *text, *path;
		int is_dir;
		enum ignore_verdict is;
	} cases[] = {
		{ "foo", "foo", FILE_, IGNORE_YES },
		{ "foo", "a/foo", FILE_, IGNORE_YES },
		{ "foo", "foobar", FILE_, IGNORE_UNDECIDED },
		{ "foo", "foo/bar", FILE_, IGNORE_UNDECIDED }, /* its directory decides */
		{ "foo/", "foo", FILE_, IGNORE_UNDECIDED },
		{ "foo/", "a/foo", DIR_, IGNORE_YES },
		{ "/foo", "foo", FILE_, IGNORE_YES },
		{ "/foo", "a/foo", FILE_, IGNORE_UNDECIDED },
		{ "a/foo", "a/foo", FILE_, IGNORE_YES },
		{ "a/foo", "b/a/foo", FILE_, IGNORE_UNDECIDED },
		{ "*.o", "a/b.o", FILE_, IGNORE_YES },
		{ "*.o", ".o", FILE_, IGNORE_YES },
		{ "*.o", "b.oo", FILE_, IGNORE_UNDECIDED },
		{ "a*b*c", "aXbXbc", FILE_, IGNORE_YES },
		{ "a/*.c", "a/b/x.c", FILE_, IGNORE_UNDECIDED },
		{ "a/*/x", "a/b/x", FILE_, IGNORE_YES },
		{ "a/*/x", "a/x", FILE_, IGNORE_UNDECIDED },
		{ "a?c", "abc", FILE_, IGNORE_YES },
		{ "/a?c", "a/c", FILE_, IGNORE_UNDECIDED },
		{ "**/foo", "foo", FILE_, IGNORE_YES },
		{ "**/foo", "a/b/foo", FILE_, IGNORE_YES },
		{ "**/foo/bar", "x/foo/bar", FILE_, IGNORE_YES },
		{ "**/foo/bar", "x/foo/y/bar", FILE_, IGNORE_UNDECIDED },
		{ "abc/**", "abc", DIR_, IGNORE_UNDECIDED },
		{ "abc/**", "abc/d/e", FILE_, IGNORE_YES },
		{ "a/**/b", "a/b", FILE_, IGNORE_YES },
		{ "a/**/b", "a/x/y/b", FILE_, IGNORE_YES },
		{ "a/**/b", "a/x/yb", FILE_, IGNORE_UNDECIDED },
		{ "a/**/b/**/c", "a/b/x/b/y/c", FILE_, IGNORE_YES },
		{ "a/***/b", "a/x/y/b", FILE_, IGNORE_YES },
		{ "a/**\\/b", "a/b", FILE_, IGNORE_UNDECIDED },
		{ "a/**\\/b", "a/x/b", FILE_, IGNORE_YES },
		{ "?a**/b", "xac/d/b", FILE_, IGNORE_UNDECIDED },
		{ "?a**/b", "xac/b", FILE_, IGNORE_YES },
		{ "foo**/bar", "foox/y/bar", FILE_, IGNORE_YES }, /* as git, against its manual */
		{ "foo**/bar", "foobar", FILE_, IGNORE_YES },
		{ "**", "a/b", FILE_, IGNORE_YES },
		{ "/**", "a/b", FILE_, IGNORE_YES },
		{ "**/", "a/b", FILE_, IGNORE_UNDECIDED },
		{ "**/", "a/b", DIR_, IGNORE_YES },
		{ "[abc]x", "bx", FILE_, IGNORE_YES },
		{ "[!abc]x", "bx", FILE_, IGNORE_UNDECIDED },
		{ "[^abc]x", "dx", FILE_, IGNORE_YES },
		{ "[a-cx-z]", "y", FILE_, IGNORE_YES },
		{ "[a-cx-z]", "d", FILE_, IGNORE_UNDECIDED },
		{ "[]-]", "]", FILE_, IGNORE_YES },
		{ "[]-]", "-", FILE_, IGNORE_YES },
		{ "[a-]", "-", FILE_, IGNORE_YES },
		{ "[\\]]", "]", FILE_, IGNORE_YES },
		{ "[a-\\z]", "m", FILE_, IGNORE_YES },
		{ "[[:digit:]]", "7", FILE_, IGNORE_YES },
		{ "[[:digit:]a-c]", "b", FILE_, IGNORE_YES },
		{ "[[:upper:][:space:]]x", " x", FILE_, IGNORE_YES },
		{ "[[:nothing:]a]", "a", FILE_, IGNORE_UNDECIDED },
		{ "[[:]", "[", FILE_, IGNORE_YES },
		{ "[[:]", ":", FILE_, IGNORE_YES },
		{ "[[:a]", "a", FILE_, IGNORE_YES },
		{ "a[/]b", "a/b", FILE_, IGNORE_UNDECIDED },
		{ "a[!x]b/c", "a/b/c", FILE_, IGNORE_UNDECIDED },
		{ "a[", "a[", FILE_, IGNORE_UNDECIDED },
		{ "[a", "a", FILE_, IGNORE_UNDECIDED },
		{ "a\\", "a", FILE_, IGNORE_UNDECIDED },
		{ "a\\", "a\\", FILE_, IGNORE_UNDECIDED },
		{ "\\*", "*", FILE_, IGNORE_YES },
		{ "\\*", "x", FILE_, IGNORE_UNDECIDED },
		{ "\\#a", "#a", FILE_, IGNORE_YES },
		{ "#a", "#a", FILE_, IGNORE_UNDECIDED },
		{ "\\!a", "!a", FILE_, IGNORE_YES },
		{ "a  ", "a", FILE_, IGNORE_YES },
		{ "a\\ ", "a ", FILE_, IGNORE_YES },
		{ "a\\  ", "a ", FILE_, IGNORE_YES },
		{ " a", " a", FILE_, IGNORE_YES },
		{ "a\t", "a", FILE_, IGNORE_UNDECIDED },
		{ "a\r\nb", "a", FILE_, IGNORE_YES },
		{ "\xef\xbb\xbf"
		  "a",
		    "a", FILE_, IGNORE_YES },
		{ "a\n!a", "a", FILE_, IGNORE_NO },
		{ "!a\na", "a", FILE_, IGNORE_YES },
		{ "a\n\n   \n/\n!\n//", "a", FILE_, IGNORE_YES },
		{ "*\n!*.c\n!*/", "x.c", FILE_, IGNORE_NO },
		{ "*\n!*.c\n!*/", "x", DIR_, IGNORE_NO },
		{ "*\n!*.c\n!*/", "x", FILE_, IGNORE_YES },
		{ "\xff?", "\xff\xfe", FILE_, IGNORE_YES },
		{ "[\xf0-\xff]", "\xf5", FILE_, IGNORE_YES },
		{ "foo//", "foo", DIR_, IGNORE_UNDECIDED },
		{ "//foo", "foo", FILE_, IGNORE_UNDECIDED },
		{ "", "foo", FILE_, IGNORE_UNDECIDED },
	};

	for (size_t i = 0; i < lengthof(cases); i++) {
		struct ignore_rules *r = parse(bytes_str(cases[i].text));
		enum ignore_verdict is =
		    ignore_rules_match(r, bytes_str(cases[i].path), cases[i].is_dir);
		if (is != cases[i].is)
			unit_fail("\"%s\" on %s: %d, not %d", cases[i].text, cases[i].path, is,
			    cases[i].is);
		ignore_rules_free(r);
	}
}

/* What a pattern means, told by trying everything: no sets, '?' and '*' within a segment, whole
 * segments of '**'. */
static bool
means(const char *p, const char *t)
{
	if (strncmp(p, "**/", 3) == 0) {
		if (means(p + 3, t))
			return true;
		const char *slash = strchr(t, '/');
		return slash != NULL && means(p, slash + 1);
	}
	if (strcmp(p, "**") == 0)
		return true;
	if (*p == '\0')
		return *t == '\0';
	if (*p == '*')
		return means(p + 1, t) || (*t != '\0' && *t != '/' && means(p, t + 1));
	if (*p == '/')
		return *t == '/' && means(p + 1, t + 1);
	return *t != '\0' && *t != '/' && (*p == '?' || *p == *t) && means(p + 1, t + 1);
}

/* "/", segments of a few characters each, some of them "**". */
static void
random_path(struct rng *g, bool pattern, char *out)
{
	size_t n = 0, segments = 1 + rng_below(g, 5);

	if (pattern)
		out[n++] = '/';
	for (size_t i = 0; i < segments; i++) {
		if (i > 0)
			out[n++] = '/';
		if (pattern && rng_below(g, 4) == 0) {
			out[n++] = '*';
			out[n++] = '*';
			continue;
		}
		for (size_t k = 1 + rng_below(g, 4), star = 0; k > 0; k--) {
			char c = pattern ? "abab?*"[rng_below(g, 6)] : "ab"[rng_below(g, 2)];
			if (c == '*' && star++ > 0)
				c = 'a';
			out[n++] = c;
		}
	}
	out[n] = '\0';
}

static void
random_patterns_mean_what_trying_everything_says(void **state)
{
	(void)state;
	struct rng g;
	size_t yes = 0;

	rng_seed(&g, 20261120);
	for (int i = 0; i < 100000; i++) {
		char pattern[64], path[64];
		random_path(&g, true, pattern);
		random_path(&g, false, path);
		struct ignore_rules *r = parse(bytes_str(pattern));
		bool is = ignore_rules_match(r, bytes_str(path), false) == IGNORE_YES;
		ignore_rules_free(r);
		if (is != means(pattern + 1, path))
			unit_fail("%s on %s: %d", pattern, path, is);
		yes += is;
	}
	assert_true(yes > 5000);
}

static void
stars_without_end_take_no_time(void **state)
{
	(void)state;
	auto_buf struct buf pattern = BUF(8192), path = BUF(65536);

	for (int i = 0; i < 600; i++)
		assert_true(buf_addf(&pattern, "**/*a*/"));
	pattern.len = IGNORE_PATTERN_MAX - 1;
	buf_addf(&pattern, "b");
	for (int i = 0; i < 8000; i++)
		buf_addf(&path, "aaa/");
	buf_addf(&path, "c");
	struct ignore_rules *r = parse(buf_bytes(&pattern));
	uint64_t from = clock_mono_ms();
	assert_int_equal(ignore_rules_match(r, buf_bytes(&path), false), IGNORE_UNDECIDED);
	assert_true(clock_mono_ms() - from < 5000);
	ignore_rules_free(r);
}

static void
limits_name_the_line(void **state)
{
	(void)state;
	auto_buf struct buf text = BUF(2 * IGNORE_FILE_MAX);
	struct ignore_rules *r = NULL;

	buf_addf(&text, "a\nb\n");
	for (int i = 0; i <= IGNORE_PATTERN_MAX; i++)
		buf_u8(&text, 'x');
	assert_err(ERR_LIMIT, ignore_rules_parse(buf_bytes(&text), &r, &unit_error));
	assert_non_null(strstr(unit_error.text, "line 3 "));
	buf_reset(&text);
	for (int i = 0; i <= IGNORE_RULES_MAX; i++)
		buf_addf(&text, "x\n#\n");
	assert_err(ERR_LIMIT, ignore_rules_parse(buf_bytes(&text), &r, &unit_error));
	assert_non_null(strstr(unit_error.text, "line 20001 "));
	buf_reset(&text);
	while (text.len <= IGNORE_FILE_MAX)
		buf_addf(&text, "#\n");
	assert_err(ERR_LIMIT, ignore_rules_parse(buf_bytes(&text), &r, &unit_error));
	assert_null(r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_line_of_the_table_gets_its_verdict),
		cmocka_unit_test(random_patterns_mean_what_trying_everything_says),
		cmocka_unit_test(stars_without_end_take_no_time),
		cmocka_unit_test(limits_name_the_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
