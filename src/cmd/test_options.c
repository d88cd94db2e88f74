#include "tests/check.h"

#include "base/mem.h"
#include "cmd/options.h"

enum { WORDS_MAX = 80 };

/* Splits LINE at blanks into an argv; "_" stands for an empty word. */
static int
words(char *line, char *argv[static WORDS_MAX])
{
	static char empty[1];
	int n = 0;

	for (char *at = line; *at != '\0';) {
		size_t len = strcspn(at, " ");
		bool last = at[len] == '\0';
		at[len] = '\0';
		argv[n++] = strcmp(at, "_") == 0 ? empty : at;
		at += len + !last;
	}
	return n;
}

static enum err
parse(const char *text, char **ret_line, struct options *ret, struct error *e)
{
	char *argv[WORDS_MAX];

	*ret_line = str_dup(text);
	return options_parse(words(*ret_line, argv), argv, ret, e);
}

static void
good_lines_give_their_values(void **state)
{
	static const struct {
		const char *line, *verb;
		const char *values[8]; /* name, value ... */
	} cases[] = {
		{ "weft", "status", { 0 } },
		{ "weft --json", "status", { 0 } },
		{ "weft --version", "version", { 0 } },
		{ "weft --help", "help", { 0 } },
		{ "weft -h", "help", { 0 } },
		{ "weft publish . --share photos", "publish", { "path", ".", "share", "photos" } },
		{ "weft publish --share=photos .", "publish", { "share", "photos", "path", "." } },
		{ "weft publish . --share photos --label v1.0 --no-wait", "publish",
		    { "share", "photos", "label", "v1.0", "no-wait", "1", "path", "." } },
		{ "weft --home /x publish --share=a=b -- --odd", "publish",
		    { "share", "a=b", "path", "--odd" } },
		{ "weft -q publish - --share a -v", "publish", { "path", "-" } },
		{ "weft get photos /x", "get", { "share", "photos", "dest", "/x" } },
		{ "weft get photos@3 /x", "get",
		    { "share", "photos", "snapshot", "3", "dest", "/x" } },
		{ "weft get photos@v@3 /x", "get", { "share", "photos", "snapshot", "v@3" } },
		{ "weft grant photos laptop read", "grant",
		    { "share", "photos", "device", "laptop", "rights", "read" } },
		{ "weft grant photos --all write", "grant",
		    { "all", "1", "share", "photos", "rights", "write" } },
		{ "weft ungrant --all photos", "ungrant", { "all", "1", "share", "photos" } },
		{ "weft verify photos", "verify", { "share", "photos" } },
		{ "weft verify photos sub/dir", "verify",
		    { "share", "photos", "path", "sub/dir" } },
		{ "weft invite --share a:read --share b:write --expires 7d --uses 3", "invite",
		    { "share", "a:read", "share", "b:write", "expires", "7d", "uses", "3" } },
		{ "weft help publish", "help", { "command", "publish" } },
		{ "weft server --listen [::]:7470 --advertise a --advertise b:1", "server",
		    { "listen", "[::]:7470", "advertise", "a", "advertise", "b:1" } },
		{ "weft cancel 12", "cancel", { "job", "12" } },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		auto_free char *line = NULL;
		struct options o;
		struct error e = { 0 };
		print_message("%s\n", cases[i].line);
		check_ok(parse(cases[i].line, &line, &o, &e), e);
		assert_string_equal(o.command->verb, cases[i].verb);
		size_t n = 0;
		for (; n < 4 && cases[i].values[2 * n] != NULL; n++) {
			bool found = false;
			for (size_t k = 0; k < o.n_values; k++)
				found =
				    found ||
				    (strcmp(o.values[k].name, cases[i].values[2 * n]) == 0 &&
					strcmp(o.values[k].value, cases[i].values[2 * n + 1]) == 0);
			assert_true(found);
		}
		assert_true(n == 4 || o.n_values == n || strstr(cases[i].line, "-q") != NULL ||
			    strstr(cases[i].line, "@v@") != NULL);
		options_clear(&o);
	}
}

static void
what_every_command_has_is_taken_anywhere(void **state)
{
	auto_free char *line = NULL;
	struct options o;
	struct error e = { 0 };

	(void)state;
	check_ok(parse("weft -q --home /h shares --json -vq", &line, &o, &e), e);
	assert_true(o.quiet && o.verbose && o.json && !o.help);
	assert_string_equal(o.home, "/h");
	assert_int_equal(o.n_values, 0);
	options_clear(&o);
}

static void
help_does_not_miss_what_is_missing(void **state)
{
	auto_free char *line = NULL;
	struct options o;
	struct error e = { 0 };

	(void)state;
	check_ok(parse("weft publish --help", &line, &o, &e), e);
	assert_true(o.help);
	assert_string_equal(o.command->verb, "publish");
	options_clear(&o);
}

static void
wrong_lines_say_what_is_wrong_in_one_line(void **state)
{
	static const struct {
		const char *line, *says;
	} cases[] = {
		{ "weft stauts", "unknown command 'stauts'; did you mean status?" },
		{ "weft xyzzy", "unknown command 'xyzzy'; `weft help` lists them" },
		{ "weft --lable", "unknown option --lable" },
		{ "weft publish . --share a --lable b",
		    "publish: unknown option --lable; did you mean --label?" },
		{ "weft publish . --share a --xyzzy", "publish: unknown option --xyzzy" },
		{ "weft publish . --share a -x", "publish: unknown option -x" },
		{ "weft publish .", "publish: --share SHARE is missing" },
		{ "weft publish --share a", "publish: PATH is missing" },
		{ "weft publish _ --share a", "publish: PATH is empty" },
		{ "weft publish . --share", "publish: --share needs a value: SHARE" },
		{ "weft publish . --share=", "publish: --share: SHARE is empty" },
		{ "weft publish . --share a --share b", "publish: --share is given twice" },
		{ "weft publish . --share a --no-wait=1", "publish: --no-wait takes no value" },
		{ "weft publish . there --share a", "publish: too many arguments: 'there'" },
		{ "weft publish a b c d e --share a", "publish: too many arguments: 'e'" },
		{ "weft publish . --share a/b", "publish: --share: 'a/b' is not a name" },
		{ "weft get photos", "get: DEST is missing" },
		{ "weft get photos@ x", "get: nothing behind the '@' in SHARE[@SNAPSHOT]" },
		{ "weft get @3 x", "get: SHARE is empty" },
		{ "weft grant photos laptop", "grant: read|write is missing" },
		{ "weft grant photos laptop admin", "grant: 'admin' is not one of read|write" },
		{ "weft grant photos laptop read --all",
		    "grant: 'laptop' is not one of read|write" },
		{ "weft invite --share photos",
		    "invite: --share: 'photos' is not SHARE:read|write" },
		{ "weft invite --uses 0", "invite: --uses: '0' is not a number from 1" },
		{ "weft invite --expires soon",
		    "invite: --expires: 'soon' is not a time such as 30m, 24h or 7d" },
		{ "weft cancel twelve", "cancel: 'twelve' is not a number from 1" },
		{ "weft server --listen host:port",
		    "server: --listen: 'host:port' is not ADDR:PORT" },
		{ "weft --home", "--home needs a value: DIR" },
		{ "weft publish \x1b[2J --share \x1b[2J",
		    "publish: --share: '\\x1b[2J' is not a name" },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		auto_free char *line = NULL;
		struct options o;
		struct error e = { 0 };
		enum err r = parse(cases[i].line, &line, &o, &e);
		if (r == OK)
			print_error("%s was accepted\n", cases[i].line);
		assert_int_equal(r, ERR_USAGE);
		check_says(e.text, cases[i].says);
		assert_null(strchr(e.text, '\n'));
	}
}

static void
more_values_than_a_request_holds_are_refused(void **state)
{
	static char words[][8] = { "weft", "invite", "--share", "a:read" };
	char *argv[2 + 2 * (CONTROL_ARGS_MAX + 1)];
	struct options o;
	struct error e = { 0 };
	int n = 0;

	(void)state;
	argv[n++] = words[0];
	argv[n++] = words[1];
	for (int i = 0; i <= CONTROL_ARGS_MAX; i++) {
		argv[n++] = words[2];
		argv[n++] = words[3];
	}
	check_err(options_parse(n, argv, &o, &e), ERR_USAGE, e);
	check_ok(options_parse(n - 2, argv, &o, &e), e);
	options_clear(&o);
}

static void
a_request_names_places_of_this_machine_absolutely(void **state)
{
	static const struct {
		const char *line, *name, *want;
		bool absolute;
	} cases[] = {
		{ "weft publish dir --share a", "path", "/dir", true },
		{ "weft publish /abs --share a", "path", "/abs", false },
		{ "weft get a dest", "dest", "/dest", true },
		{ "weft get a ./dest", "dest", "/dest", true },
		{ "weft get a dest/", "dest", "/dest", true },
		{ "weft get a .", "dest", "", true },
		{ "weft get a .//a/./.b/../c.", "dest", "/a/.b/../c.", true },
		{ "weft get a //abs/./dest//", "dest", "/abs/dest", false },
		{ "weft get a /", "dest", "/", false },
		{ "weft get a dest --path sub", "path", "sub", false },
		{ "weft verify a sub", "path", "sub", false },
	};
	char cwd[4096];

	(void)state;
	assert_non_null(getcwd(cwd, sizeof cwd));
	for (size_t i = 0; i < lengthof(cases); i++) {
		auto_free char *line = NULL;
		auto_buf struct buf store = BUF(2 * CONTROL_FRAME_MAX);
		struct control_request r;
		struct options o;
		struct error e = { 0 };
		check_ok(parse(cases[i].line, &line, &o, &e), e);
		check_ok(options_request(&o, &store, &r, &e), e);
		auto_free char *want =
		    str_printf("%s%s", cases[i].absolute ? cwd : "", cases[i].want);
		assert_string_equal(control_arg(&r, cases[i].name), want);
		assert_string_equal(r.verb, o.command->verb);
		options_clear(&o);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_lines_give_their_values),
		cmocka_unit_test(what_every_command_has_is_taken_anywhere),
		cmocka_unit_test(help_does_not_miss_what_is_missing),
		cmocka_unit_test(wrong_lines_say_what_is_wrong_in_one_line),
		cmocka_unit_test(more_values_than_a_request_holds_are_refused),
		cmocka_unit_test(a_request_names_places_of_this_machine_absolutely),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
