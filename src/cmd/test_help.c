#include "tests/check.h"

#include "base/mem.h"
#include "cmd/completion.h"
#include "cmd/help.h"
#include "cmd/manual.h"

/* No line of TEXT is wider than the screen or ends in a blank. */
static void
check_lines(const char *text)
{
	while (*text != '\0') {
		size_t n = strcspn(text, "\n");
		if (n > HELP_COLUMNS || (n > 0 && text[n - 1] == ' '))
			print_error("%zu columns: %.*s\n", n, (int)n, text);
		assert_true(n <= HELP_COLUMNS);
		assert_true(n == 0 || text[n - 1] != ' ');
		assert_int_equal(text[n], '\n');
		text += n + 1;
	}
}

static void
help_fits_a_screen_of_80_columns(void **state)
{
	const struct command *c = NULL;
	auto_buf struct buf all = BUF(HELP_MAX);

	(void)state;
	help_all(&all);
	check_lines(buf_text(&all));
	while ((c = command_next(c)) != NULL) {
		auto_buf struct buf one = BUF(HELP_MAX);
		help_command(c, &one);
		assert_false(one.full);
		check_lines(buf_text(&one));
		check_says(buf_text(&one), c->summary);
		check_says(buf_text(&all), c->summary);
	}
}

static void
help_of_a_command_is_what_its_row_says(void **state)
{
	auto_buf struct buf out = BUF(HELP_MAX);

	(void)state;
	help_command(command_find("grant"), &out);
	assert_string_equal(buf_text(&out),
	    "usage: weft grant SHARE DEVICE|--all read|write\n"
	    "\n"
	    "give access to a share\n"
	    "\n"
	    "DEVICE is a device's name, its id or the beginning of it. `write` includes\n"
	    "`read`.\n"
	    "\n"
	    "options:\n"
	    "      --all                to every device, also of those to come\n"
	    "      --home DIR           the node's directory (see `weft help`)\n"
	    "      --json               print data as JSON\n"
	    "  -q, --quiet              say less: only names in lists, no progress\n"
	    "  -v, --verbose            say more\n"
	    "  -h, --help               explain the command\n");
}

static void
usage_shows_what_must_and_what_may_be_given(void **state)
{
	static const struct {
		const char *verb, *want;
	} cases[] = {
		{ "status", "weft status" },
		{ "publish", "weft publish PATH --share SHARE [--label LABEL] [--policy "
			     "central|hybrid] [--no-wait] [--dry-run]" },
		{ "get", "weft get SHARE[@SNAPSHOT] DEST [--path PATH] [--follow] [--overwrite]" },
		{ "ungrant", "weft ungrant SHARE DEVICE|--all" },
		{ "invite", "weft invite [--site SITE] [--group GROUP] [--share "
			    "SHARE:read|write]... [--uses N] "
			    "[--expires TIME]" },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		auto_buf struct buf out = BUF(HELP_MAX);
		help_usage(command_find(cases[i].verb), &out);
		assert_string_equal(buf_text(&out), cases[i].want);
	}
}

static void
words_wrap_at_the_edge_and_brackets_stay_together(void **state)
{
	static const struct {
		const char *text;
		unsigned indent, columns;
		const char *want;
	} cases[] = {
		{ "", 0, 10, "\n" },
		{ "aa bb cc", 0, 5, "aa bb\ncc\n" },
		{ "aa  bb", 2, 5, "  aa\n  bb\n" },
		{ "toolongforit x", 0, 5, "toolongforit\nx\n" },
		{ "a [b c] d", 0, 5, "a\n[b c]\nd\n" },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		auto_buf struct buf out = BUF(1024);
		help_wrap(
		    &out, cases[i].text, strlen(cases[i].text), cases[i].indent, cases[i].columns);
		assert_string_equal(buf_text(&out), cases[i].want);
	}
}

/* "\\fB\\-\\-no\\-wait\\fR" */
static const char *
in_roff(const char *dashes, const char *name, char part[static 128])
{
	auto_buf struct buf out = BUF(127);

	buf_addf(&out, "\\fB");
	for (const char *at = dashes; *at != '\0'; at++)
		buf_addf(&out, "\\-");
	for (const char *at = name; *at != '\0'; at++)
		buf_addf(&out, "%s%c", *at == '-' ? "\\" : "", *at);
	buf_addf(&out, "\\fR");
	snprintf(part, 128, "%s", buf_text(&out));
	return part;
}

static void
manual_and_completion_name_every_command_option_and_key(void **state)
{
	auto_buf struct buf manual = BUF(MANUAL_MAX), config = BUF(MANUAL_MAX);
	auto_buf struct buf script = BUF(COMPLETION_MAX);
	const struct command *c = NULL;
	const struct command_option *o = NULL;
	char part[128];

	(void)state;
	manual_write(&manual);
	manual_write_config(&config);
	completion_write(&script);
	assert_false(manual.full || config.full || script.full);
	while ((c = command_next(c)) != NULL) {
		snprintf(part, sizeof part, ".SS \"weft %s", c->verb);
		check_says(buf_text(&manual), part);
		snprintf(part, sizeof part, "\t[%s]='", c->verb);
		check_says(buf_text(&script), part);
		while ((o = command_option_next(c, o)) != NULL) {
			snprintf(part, sizeof part, "--%s", o->name);
			check_says(buf_text(&script), part);
			check_says(buf_text(&manual), in_roff("--", o->name, part));
		}
	}
	while ((o = command_key_next(o)) != NULL)
		check_says(buf_text(&config), in_roff("", o->name, part));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(help_fits_a_screen_of_80_columns),
		cmocka_unit_test(help_of_a_command_is_what_its_row_says),
		cmocka_unit_test(usage_shows_what_must_and_what_may_be_given),
		cmocka_unit_test(words_wrap_at_the_edge_and_brackets_stay_together),
		cmocka_unit_test(manual_and_completion_name_every_command_option_and_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
