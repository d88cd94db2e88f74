#include "tests/unit.h"

#include "base/speed.h"

static void
nothing_is_no_speed(void **state)
{
	const struct speed s = { 0 };

	(void)state;
	assert_int_equal(speed_now(&s, 0), 0);
	assert_int_equal(speed_now(&s, 1234567), 0);
}

static void
it_nears_a_steady_flow(void **state)
{
	struct speed s = { 0 };

	(void)state;
	for (uint64_t ms = 0; ms < 10000; ms += 10)
		speed_add(&s, 10, ms);
	assert_in_range(speed_now(&s, 10000), 990, 1000);
	assert_int_equal(s.total, 10000);
}

static void
a_second_counts_when_it_is_over(void **state)
{
	struct speed s = { 0 };

	(void)state;
	speed_add(&s, 1000, 5000);
	assert_int_equal(speed_now(&s, 5999), 0);
	assert_int_equal(speed_now(&s, 6000), 500);
	speed_add(&s, 1500, 6000);
	assert_int_equal(speed_now(&s, 7000), 1000);
}

static void
silence_halves_it_each_second(void **state)
{
	struct speed s = { 0 };

	(void)state;
	speed_add(&s, 8000, 1000);
	assert_int_equal(speed_now(&s, 2000), 4000);
	assert_int_equal(speed_now(&s, 4000), 1000);
	assert_int_equal(speed_now(&s, UINT64_MAX), 0);
	speed_add(&s, 1, 4000); /* looking changes nothing */
	assert_int_equal(speed_now(&s, 5000), 500);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_no_speed),
		cmocka_unit_test(it_nears_a_steady_flow),
		cmocka_unit_test(a_second_counts_when_it_is_over),
		cmocka_unit_test(silence_halves_it_each_second),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
