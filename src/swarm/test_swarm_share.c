/* One uplink for several swarms. */
#include "tests/unit.h"

#include "base/mem.h"
#include "swarm/swarm_share.h"

static void
one_job_has_all(void **state)
{
	struct swarm_share_job j = { .wants = true, .used = 3 };

	(void)state;
	swarm_share(&j, 1, 12);
	assert_int_equal(j.slots, 12);
	j.wants = false; /* it fills three, and has nothing to put into others */
	swarm_share(&j, 1, 12);
	assert_int_equal(j.slots, 3);
}

static void
slots_are_shared_by_weight_and_none_is_left_unused(void **state)
{
	struct swarm_share_job j[] = {
		{ .weight = 3, .wants = true }, { .weight = 1, .wants = true },
		{ .weight = 4, .used = 1 }, /* no more than that */
	};

	(void)state;
	swarm_share(j, 3, 9);
	assert_int_equal(j[0].slots, 6);
	assert_int_equal(j[1].slots, 2);
	assert_int_equal(j[2].slots, 1);
}

static void
background_has_what_the_foreground_leaves(void **state)
{
	struct swarm_share_job j[] = {
		{ .background = true, .wants = true, .used = 8 },
		{ .wants = true },
	};

	(void)state;
	swarm_share(j, 2, 8);
	assert_int_equal(j[0].slots, 0);
	assert_int_equal(j[1].slots, 8);
	j[1].wants = false;
	j[1].used = 5; /* its receivers take no more */
	swarm_share(j, 2, 8);
	assert_int_equal(j[0].slots, 3);
	assert_int_equal(j[1].slots, 5);
}

static void
of_many_jobs_none_stands_still(void **state)
{
	struct swarm_share_job j[20];

	(void)state;
	for (size_t i = 0; i < lengthof(j); i++)
		j[i] = (struct swarm_share_job){ .wants = true, .background = i == 0 };
	swarm_share(j, lengthof(j), 4);
	assert_int_equal(j[0].slots, 0);
	for (size_t i = 1; i < lengthof(j); i++)
		assert_int_equal(j[i].slots, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_job_has_all),
		cmocka_unit_test(slots_are_shared_by_weight_and_none_is_left_unused),
		cmocka_unit_test(background_has_what_the_foreground_leaves),
		cmocka_unit_test(of_many_jobs_none_stands_still),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
