#include "tests/check.h"

#include "base/log.h"

/* What is written to stderr while F runs; static, for one test at a time. */
static const char *
stderr_of(void (*f)(void))
{
	static char text[8192];
	int ends[2], kept = dup(STDERR_FILENO);

	assert_int_equal(pipe(ends), 0);
	assert_true(kept >= 0 && dup2(ends[1], STDERR_FILENO) >= 0);
	f();
	assert_true(dup2(kept, STDERR_FILENO) >= 0);
	(void)close(kept);
	(void)close(ends[1]);
	ssize_t n = read(ends[0], text, sizeof text - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	(void)close(ends[0]);
	return text;
}

static void
say_all(void)
{
	log_error("e%d", 1);
	log_warn("w");
	log_info("i");
	log_debug("d");
}

static void
lines_below_the_level_are_silent(void **state)
{
	(void)state;
	setenv("JOURNAL_STREAM", "1:2", 1);
	log_set_level(LOG_LEVEL_WARN);
	check_text(stderr_of(say_all), "<3>e1\n<4>w\n");
	log_set_level(LOG_LEVEL_DEBUG);
	check_text(stderr_of(say_all), "<3>e1\n<4>w\n<6>i\n<7>d\n");
	log_set_level(LOG_LEVEL_INFO);
	assert_true(log_is_on(LOG_LEVEL_INFO));
	assert_false(log_is_on(LOG_LEVEL_DEBUG));
}

static void
say_one(void)
{
	log_error("x");
}

static void
without_a_journal_a_line_has_time_and_level(void **state)
{
	int year, month, day, hour, minute, second, ms, end = 0;

	(void)state;
	unsetenv("JOURNAL_STREAM");
	const char *line = stderr_of(say_one);
	assert_int_equal(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3d error x%n", &year, &month, &day,
			     &hour, &minute, &second, &ms, &end),
	    7);
	check_text(line + end, "\n");
}

static void
say_much(void)
{
	char much[3000];

	memset(much, 'm', sizeof much - 1);
	much[sizeof much - 1] = '\0';
	log_error("%s", much);
	log_error("next");
}

static void
a_long_line_is_cut_and_still_a_line(void **state)
{
	(void)state;
	setenv("JOURNAL_STREAM", "1:2", 1);
	const char *text = stderr_of(say_much);
	const char *end = strchr(text, '\n');
	assert_non_null(end);
	assert_in_range(end - text, 1000, 2000);
	check_text(end, "\n<3>next\n");
}

static void
say_what_a_stranger_made_up(void)
{
	log_warn("cannot open %s", "a\n<3>fake \x1b[2J\x7f \xc2\x9b"
				   "1A caf\xc3\xa9 a\\b \xe2\x80\xaegpj \xff\xc3");
}

static void
what_is_logged_is_one_line_without_controls(void **state)
{
	(void)state;
	setenv("JOURNAL_STREAM", "1:2", 1);
	check_text(stderr_of(say_what_a_stranger_made_up),
	    "<4>cannot open a?<3>fake ?[2J? ??1A caf\xc3\xa9 a\\b ???gpj ??\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_below_the_level_are_silent),
		cmocka_unit_test(without_a_journal_a_line_has_time_and_level),
		cmocka_unit_test(a_long_line_is_cut_and_still_a_line),
		cmocka_unit_test(what_is_logged_is_one_line_without_controls),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
