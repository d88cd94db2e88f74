#include "tests/unit.h"

#include "base/mem.h"
#include "engine/mesh_plan.h"

static const struct device_id small = { .bytes = { 1 } }, big = { .bytes = { 2 } };

/* What the two sides of two connections decide: does the one that the smaller dialed stay?  OLD_BY
 * tells who dialed the one that was ready first, LATER_MS how much later the other was. */
static bool
smalls_stays(bool old_by_small, bool new_by_small, uint64_t later_ms, bool at_small)
{
	const struct mesh_plan_line old = { old_by_small == at_small, 1000 },
				    new = { new_by_small == at_small, 1000 + later_ms };
	bool old_stays = at_small ? mesh_plan_old_stays(&small, &big, &old, &new)
				  : mesh_plan_old_stays(&big, &small, &old, &new);

	return old_stays ? old_by_small : new_by_small;
}

static void
of_two_that_crossed_the_smaller_ones_stays_on_both_sides(void **state)
{
	(void)state;
	/* Either side may see either of them first. */
	for (int i = 0; i < 4; i++) {
		assert_true(smalls_stays(true, false, 0, i % 2 == 0));
		assert_true(smalls_stays(false, true, MESH_PLAN_CROSSED_MS, i % 2 == 0));
		assert_true(smalls_stays(true, false, MESH_PLAN_CROSSED_MS, i / 2 == 0));
		assert_true(smalls_stays(false, true, 1, i / 2 == 0));
	}
}

static void
who_dials_much_later_had_lost_the_old_one(void **state)
{
	(void)state;
	assert_false(smalls_stays(true, false, MESH_PLAN_CROSSED_MS + 1, true));
	assert_false(smalls_stays(true, false, MESH_PLAN_CROSSED_MS + 1, false));
}

static void
of_two_by_one_side_the_later_stays(void **state)
{
	const struct mesh_plan_line old = { true, 5 }, new = { true, 6 };

	(void)state;
	assert_false(mesh_plan_old_stays(&small, &big, &old, &new));
	assert_false(mesh_plan_old_stays(&big, &small, &old, &new));
}

static void
only_the_smaller_goes_on_dialling_beside_a_visitor(void **state)
{
	(void)state;
	assert_true(mesh_plan_dial_goes_on(&small, &big));
	assert_false(mesh_plan_dial_goes_on(&big, &small));
}

/* -- whom to dial -- */

enum { DEVICES = 2 * MESH_PLAN_DIALED_MAX };
struct devices {
	struct mesh_plan_device all[DEVICES];
	const struct mesh_plan_device *list[DEVICES];
};

static struct devices
wanted_devices(size_t n)
{
	struct devices d = { 0 };

	for (size_t i = 0; i < n; i++)
		d.all[i] = (struct mesh_plan_device){ .wanted = true, .reachable = true };
	return d;
}

static size_t
next(struct devices *d, size_t n, uint64_t now_ms)
{
	for (size_t i = 0; i < n; i++)
		d->list[i] = &d->all[i];
	return mesh_plan_next(d->list, n, now_ms);
}

static uint64_t
wakes(struct devices *d, size_t n, uint64_t now_ms)
{
	(void)next(d, n, now_ms);
	return mesh_plan_wakes(d->list, n, now_ms);
}

static void
nobody_is_dialed_who_is_not_wanted_or_is_there_or_not_to_be_reached(void **state)
{
	struct devices d = wanted_devices(1);

	(void)state;
	assert_int_equal(next(&d, 1, 0), 0);
	d.all[0].wanted = false;
	assert_int_equal(next(&d, 1, 0), 1);
	d = wanted_devices(1);
	d.all[0].reachable = false;
	assert_int_equal(next(&d, 1, 0), 1);
	d = wanted_devices(1);
	d.all[0].banned = true;
	assert_int_equal(next(&d, 1, 0), 1);
	d = wanted_devices(1);
	mesh_plan_dialing(&d.all[0]);
	assert_int_equal(next(&d, 1, 0), 1);
	mesh_plan_ready(&d.all[0], true);
	assert_false(d.all[0].dialing);
	assert_int_equal(next(&d, 1, 0), 1);
	assert_true(wakes(&d, 1, 0) == UINT64_MAX);
}

static void
a_visitor_does_not_end_a_dial_under_way(void **state)
{
	struct mesh_plan_device d = { .wanted = true };

	(void)state;
	mesh_plan_dialing(&d);
	mesh_plan_ready(&d, false);
	assert_true(d.dialing);
	assert_true(d.connected);
	assert_false(d.dialed);
}

static void
attempts_come_at_growing_distances(void **state)
{
	struct devices d = wanted_devices(1);
	uint64_t now = 0, last = 0, gap = 0;

	(void)state;
	for (int i = 0; i < 20; i++) {
		assert_int_equal(next(&d, 1, now), 0);
		mesh_plan_dialing(&d.all[0]);
		mesh_plan_failed(&d.all[0], now, 0);
		assert_int_equal(next(&d, 1, now), 1);
		last = gap;
		gap = wakes(&d, 1, now) - now;
		assert_true(gap >= last && gap <= MESH_PLAN_BACKOFF_MAX_MS);
		if (i == 0)
			assert_int_equal(gap, MESH_PLAN_BACKOFF_MIN_MS);
		now += gap;
	}
	assert_int_equal(gap, MESH_PLAN_BACKOFF_MAX_MS);
	mesh_plan_failed(&d.all[0], now, UINT64_MAX);
	assert_in_range(
	    d.all[0].next_ms - now, MESH_PLAN_BACKOFF_MAX_MS, MESH_PLAN_BACKOFF_MAX_MS * 5 / 4);
}

static void
a_connection_that_lasted_begins_anew_and_one_that_did_not_waits_longer(void **state)
{
	struct mesh_plan_device d = { .wanted = true };

	(void)state;
	for (int i = 0; i < 10; i++)
		mesh_plan_failed(&d, 0, 0);
	mesh_plan_ready(&d, true);
	mesh_plan_gone(&d, 1000, 1000 + MESH_PLAN_LASTING_MS - 1, 0);
	assert_int_equal(d.failures, 11);
	mesh_plan_ready(&d, true);
	mesh_plan_gone(&d, 1000, 1000 + MESH_PLAN_LASTING_MS, 0);
	assert_int_equal(d.failures, 1);
	assert_int_equal(d.next_ms, 1000 + MESH_PLAN_LASTING_MS + MESH_PLAN_BACKOFF_MIN_MS);
	assert_false(d.connected);
}

static void
who_failed_least_goes_first(void **state)
{
	struct devices d = wanted_devices(3);

	(void)state;
	mesh_plan_failed(&d.all[0], 0, 0);
	assert_int_equal(next(&d, 3, 100000), 1);
	mesh_plan_failed(&d.all[1], 0, 0);
	mesh_plan_failed(&d.all[2], 0, 1);
	mesh_plan_failed(&d.all[0], 0, 0);
	assert_int_equal(next(&d, 3, 100000), 1);
}

static void
there_are_only_so_many_dials_and_dialed_connections(void **state)
{
	struct devices d = wanted_devices(DEVICES);
	size_t i, n = 0;

	(void)state;
	while ((i = next(&d, DEVICES, 0)) < DEVICES) {
		mesh_plan_dialing(&d.all[i]);
		n++;
	}
	assert_int_equal(n, MESH_PLAN_DIALS_MAX);
	assert_true(wakes(&d, DEVICES, 0) == UINT64_MAX);
	for (n = 0; n < 1000 && (i = next(&d, DEVICES, 0)) == DEVICES; n++) {
		for (i = 0; i < DEVICES && !d.all[i].dialing; i++)
			;
		if (i == DEVICES)
			break;
		mesh_plan_ready(&d.all[i], true);
		while ((i = next(&d, DEVICES, 0)) < DEVICES)
			mesh_plan_dialing(&d.all[i]);
	}
	for (i = n = 0; i < DEVICES; i++)
		n += d.all[i].dialed;
	assert_int_equal(n, MESH_PLAN_DIALED_MAX);
	/* Visitors do not count among those. */
	d = wanted_devices(DEVICES);
	for (i = 0; i < DEVICES - 1; i++)
		mesh_plan_ready(&d.all[i], false);
	assert_int_equal(next(&d, DEVICES, 0), DEVICES - 1);
}

/* -- asking a third -- */

static void
the_server_is_asked_once_in_a_while(void **state)
{
	struct mesh_plan_device d = { .wanted = true };

	(void)state;
	assert_true(mesh_plan_asks(&d, 50));
	assert_false(mesh_plan_asks(&d, 50 + MESH_PLAN_ASK_MS - 1));
	assert_true(mesh_plan_asks(&d, 50 + MESH_PLAN_ASK_MS));
	d = (struct mesh_plan_device){ .wanted = false };
	assert_false(mesh_plan_asks(&d, 50));
}

static void
calls_are_followed_within_limits(void **state)
{
	struct mesh_plan p = { 0 };
	struct mesh_plan_device d[MESH_PLAN_CALLS_MAX + 1] = { 0 }, one = { .connected = true };
	const uint64_t now = 1000000;
	int n = 0;

	(void)state;
	assert_false(mesh_plan_called(&p, &one, now));
	one = (struct mesh_plan_device){ .banned = true };
	assert_false(mesh_plan_called(&p, &one, now));
	assert_true(mesh_plan_called(&p, &d[0], now));
	assert_false(mesh_plan_called(&p, &d[0], now + MESH_PLAN_CALL_MS - 1));
	for (size_t i = 1; i < lengthof(d); i++)
		n += mesh_plan_called(&p, &d[i], now);
	assert_int_equal(n, MESH_PLAN_CALLS_MAX - 1);
	assert_true(mesh_plan_called(&p, &d[0], now + MESH_PLAN_CALLS_MS));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_two_that_crossed_the_smaller_ones_stays_on_both_sides),
		cmocka_unit_test(who_dials_much_later_had_lost_the_old_one),
		cmocka_unit_test(of_two_by_one_side_the_later_stays),
		cmocka_unit_test(only_the_smaller_goes_on_dialling_beside_a_visitor),
		cmocka_unit_test(
		    nobody_is_dialed_who_is_not_wanted_or_is_there_or_not_to_be_reached),
		cmocka_unit_test(a_visitor_does_not_end_a_dial_under_way),
		cmocka_unit_test(attempts_come_at_growing_distances),
		cmocka_unit_test(
		    a_connection_that_lasted_begins_anew_and_one_that_did_not_waits_longer),
		cmocka_unit_test(who_failed_least_goes_first),
		cmocka_unit_test(there_are_only_so_many_dials_and_dialed_connections),
		cmocka_unit_test(the_server_is_asked_once_in_a_while),
		cmocka_unit_test(calls_are_followed_within_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
