#include "tests/check.h"

#include <time.h>

#include "platform/clock.h"

static void
the_monotonic_clock_runs_forwards(void **state)
{
	const struct timespec pause = { .tv_nsec = 2000000 };
	uint64_t before = clock_mono_ns();

	(void)state;
	nanosleep(&pause, NULL);
	uint64_t after = clock_mono_ns();
	assert_true(after - before >= 2000000);
	assert_true(clock_mono_ms() >= after / 1000000);
}

static void
the_wall_clock_is_the_systems(void **state)
{
	int64_t before = time(NULL);
	int64_t now = clock_wall_ns() / 1000000000;

	(void)state;
	assert_in_range(now, before, before + 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_monotonic_clock_runs_forwards),
		cmocka_unit_test(the_wall_clock_is_the_systems),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
