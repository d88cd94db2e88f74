#include "tests/check.h"

#include "base/mem.h"
#include "platform/relpath.h"

static void
names_are_any_bytes_but_a_few(void **state)
{
	char longest[RELPATH_NAME_MAX + 1];

	(void)state;
	memset(longest, '\n', sizeof longest);
	assert_true(relpath_is_name(BYTES(longest, RELPATH_NAME_MAX)));
	assert_false(relpath_is_name(BYTES(longest, RELPATH_NAME_MAX + 1)));
	assert_true(relpath_is_name(BYTES_LIT("...")));
	assert_true(relpath_is_name(BYTES_LIT(".a")));
	assert_true(relpath_is_name(BYTES_LIT("\xff\xfe \\")));
	assert_false(relpath_is_name(BYTES_LIT("")));
	assert_false(relpath_is_name(BYTES_LIT(".")));
	assert_false(relpath_is_name(BYTES_LIT("..")));
	assert_false(relpath_is_name(BYTES_LIT("a/b")));
	assert_false(relpath_is_name(BYTES_LIT("a\0b")));
}

static void
paths_that_leave_are_refused(void **state)
{
	static const struct bytes bad[] = { BYTES_LIT("/"), BYTES_LIT("/a"), BYTES_LIT("a/"),
		BYTES_LIT("a//b"), BYTES_LIT("."), BYTES_LIT(".."), BYTES_LIT("../a"),
		BYTES_LIT("a/.."), BYTES_LIT("a/../b"), BYTES_LIT("a/./b"), BYTES_LIT("./a"),
		BYTES_LIT("a/b/."), BYTES_LIT("a\0b"), BYTES_LIT("a/\0") };
	static const struct bytes good[] = { BYTES_LIT(""), BYTES_LIT("a"), BYTES_LIT("a/b/c"),
		BYTES_LIT("..a/b.."), BYTES_LIT(".../ /\n") };
	struct relpath p = { "untouched", 9 };
	struct error e;

	(void)state;
	for (size_t i = 0; i < lengthof(bad); i++)
		check_err(relpath_parse((const char *)bad[i].at, bad[i].len, &p, &e), ERR_PROTO, e);
	check_text(p.text, "untouched");
	for (size_t i = 0; i < lengthof(good); i++) {
		check_ok(relpath_parse((const char *)good[i].at, good[i].len, &p, &e), e);
		assert_ptr_equal(p.text, good[i].at);
		assert_int_equal(p.len, good[i].len);
	}
}

/* N names "a" joined by slashes; free() it. */
static char *
nested(size_t n)
{
	char *text = mem_alloc(2 * n);

	for (size_t i = 0; i < n; i++) {
		text[2 * i] = 'a';
		text[2 * i + 1] = i + 1 < n ? '/' : '\0';
	}
	return text;
}

static void
depth_and_length_have_limits(void **state)
{
	auto_free char *deepest = nested(RELPATH_DEPTH_MAX),
		       *deeper = nested(RELPATH_DEPTH_MAX + 1);
	auto_free char *longest = mem_alloc(RELPATH_MAX + 2);
	struct relpath p;
	struct error e;

	(void)state;
	check_ok(relpath_parse(deepest, strlen(deepest), &p, &e), e);
	check_err(relpath_parse(deeper, strlen(deeper), &p, &e), ERR_PROTO, e);
	check_says(e.text, "too deep");
	for (size_t i = 0; i < RELPATH_MAX + 1; i++)
		longest[i] = i % 200 == 199 ? '/' : 'x';
	longest[RELPATH_MAX + 1] = '\0';
	check_err(relpath_parse(longest, RELPATH_MAX + 1, &p, &e), ERR_PROTO, e);
	check_says(e.text, "too long");
	longest[RELPATH_MAX] = '\0';
	check_ok(relpath_parse(longest, RELPATH_MAX, &p, &e), e);
}

static void
a_strangers_path_is_escaped_in_the_message(void **state)
{
	struct relpath p;
	struct error e;

	(void)state;
	check_err(relpath_parse("../\x1b[31m", 8, &p, &e), ERR_PROTO, e);
	check_says(e.text, "\"../\\x1b[31m\"");
}

static void
what_begins_with_weft_is_ours(void **state)
{
	(void)state;
	assert_true(relpath_is_reserved(BYTES_LIT(".weft")));
	assert_true(relpath_is_reserved(BYTES_LIT(".weftignore")));
	assert_true(relpath_is_reserved(BYTES_LIT(".weft-0123")));
	assert_false(relpath_is_reserved(BYTES_LIT(".wef")));
	assert_false(relpath_is_reserved(BYTES_LIT("weft")));
	assert_false(relpath_is_reserved(BYTES_LIT(".Weft")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_any_bytes_but_a_few),
		cmocka_unit_test(paths_that_leave_are_refused),
		cmocka_unit_test(depth_and_length_have_limits),
		cmocka_unit_test(a_strangers_path_is_escaped_in_the_message),
		cmocka_unit_test(what_begins_with_weft_is_ours),
	};

	return cmocka_run_group_tests_name("relpath", tests, NULL, NULL);
}
