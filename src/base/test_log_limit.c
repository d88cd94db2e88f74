#include "tests/check.h"

#include "base/log.h"
#include "base/log_limit.h"

enum { TEXT_MAX = 16 * 1024 };

/* Warns TIMES times, EVERY ms from *NOW on; what stderr was given. */
static const char *
warn(struct log_limit *l, uint64_t *now, unsigned times, uint64_t every)
{
	static char text[TEXT_MAX];
	int ends[2], kept = dup(STDERR_FILENO);

	setenv("JOURNAL_STREAM", "1:2", 1);
	assert_int_equal(pipe(ends), 0);
	assert_true(kept >= 0 && dup2(ends[1], STDERR_FILENO) >= 0);
	for (unsigned i = 0; i < times; i++, *now += every)
		log_limit_warn(l, *now, "knock %u", i);
	assert_true(dup2(kept, STDERR_FILENO) >= 0);
	(void)close(kept);
	(void)close(ends[1]);
	ssize_t n = read(ends[0], text, sizeof text - 1);
	(void)close(ends[0]);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static unsigned
lines(const char *text)
{
	unsigned n = 0;

	for (; *text != '\0'; text++)
		n += *text == '\n';
	return n;
}

static void
a_flood_is_counted_and_not_written(void **state)
{
	struct log_limit l = { 0 };
	uint64_t now = 50 * 1000;

	(void)state;
	/* The last line of the text is one that was written, not one about those that were not. */
	const char *text = warn(&l, &now, 1000, 1);
	assert_int_equal(lines(text), LOG_LIMIT_LINES);
	assert_non_null(strstr(text, "<4>knock 0\n"));
	assert_null(strstr(text, "knock 10\n"));
	now += LOG_LIMIT_MS;
	check_text(
	    warn(&l, &now, 1, 0), "<4>... and 990 more lines like that in 11 s\n<4>knock 0\n");
}

static void
a_line_now_and_then_is_always_written(void **state)
{
	struct log_limit l = { 0 };
	uint64_t now = 0;

	(void)state;
	assert_int_equal(lines(warn(&l, &now, 100, LOG_LIMIT_MS / LOG_LIMIT_LINES)), 100);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flood_is_counted_and_not_written),
		cmocka_unit_test(a_line_now_and_then_is_always_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
