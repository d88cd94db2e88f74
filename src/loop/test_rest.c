#include "tests/check.h"

#include "loop/rest.h"

enum { MS = 1000, S = 1000 * 1000, START = 7 * S };

/* For half a second BYTES_S move and the loop looks whenever it may; how often it did. */
static unsigned
looks_at(uint64_t bytes_s)
{
	struct rest r = { 0 };
	unsigned looks = 0;

	for (uint64_t now = START; now < START + S / 2; now += 100) {
		rest_moved(&r, bytes_s / 10000);
		if (rest_for(&r, now) > 0)
			continue;
		rest_looked(&r, now);
		looks += now >= START + 200 * MS;
	}
	return looks;
}

static void
a_slow_line_is_looked_at_in_batches(void **state)
{
	(void)state;
	/* 300 ms, every 5.2 ms at 50 Mbit/s each way, every 8 ms at 20. */
	assert_in_range(looks_at(12500 * 1000), 55, 60);
	assert_in_range(looks_at(5000 * 1000), 36, 39);
}

static void
a_quick_line_and_a_quiet_one_do_not_wait(void **state)
{
	(void)state;
	assert_in_range(looks_at(100 * 1000 * 1000), 2990, 3000);
	assert_in_range(looks_at(100 * 1000), 2990, 3000);
}

static void
whoever_was_silent_is_answered_at_once(void **state)
{
	struct rest r = { 0 };

	(void)state;
	assert_int_equal(rest_for(&r, START), 0);
	rest_moved(&r, 1000 * 1000);
	assert_int_equal(rest_for(&r, START + 10 * S), 0);
	rest_looked(&r, START + 10 * S);
	assert_int_equal(rest_for(&r, START + 10 * S), 0);
}

static void
a_rest_is_never_long(void **state)
{
	struct rest r = { .since_us = START };

	(void)state;
	rest_moved(&r, REST_SLOWEST / 10 + 1);
	rest_looked(&r, START + 100 * MS);
	assert_int_equal(rest_for(&r, START + 100 * MS), REST_MAX_US);
	assert_int_equal(rest_for(&r, START + 103 * MS), REST_MAX_US - 3 * MS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_line_is_looked_at_in_batches),
		cmocka_unit_test(a_quick_line_and_a_quiet_one_do_not_wait),
		cmocka_unit_test(whoever_was_silent_is_answered_at_once),
		cmocka_unit_test(a_rest_is_never_long),
	};

	return cmocka_run_group_tests_name("rest", tests, NULL, NULL);
}
