#include "engine/lane_plan.h"

#include "tests/unit.h"

/* A pair over a long line on which each connection moves EACH bytes a second, and all no more than
 * ALL. */
struct line_world {
	struct lane_plan plan;
	struct lane_sight sight;
	uint64_t each, all, now_ms;
	uint32_t opened, closed;
};

static struct line_world
world(uint64_t each, uint64_t all)
{
	return (struct line_world){ .sight = { .long_line = true,
					.busy = true,
					.lanes_max = 7,
					.rtt_ms = 100,
					.rtt_min_ms = 100 },
		.each = each,
		.all = all };
}

static void
run(struct line_world *w, unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		uint64_t rate = (w->sight.lanes + 1) * w->each;
		w->sight.rate = w->sight.busy ? (rate < w->all ? rate : w->all) : 0;
		enum lane_advice advice = lane_plan_judge(&w->plan, &w->sight, w->now_ms);
		w->sight.lanes += advice == LANE_OPEN;
		w->sight.lanes -= advice == LANE_CLOSE;
		w->opened += advice == LANE_OPEN;
		w->closed += advice == LANE_CLOSE;
		assert_true(w->sight.lanes <= w->sight.lanes_max);
		w->now_ms += LANE_PLAN_LOOK_MS;
	}
}

static void
lanes_are_opened_until_the_line_is_full(void **state)
{
	struct line_world w = world(1000, 4000);
	(void)state;

	run(&w, 40);
	assert_int_equal(w.sight.lanes, 3); /* four connections at 1000 fill 4000 */
	assert_true(w.closed >= 1);         /* the fifth brought nothing */
}

static void
at_most_so_many_lanes_are_opened(void **state)
{
	struct line_world w = world(1, 1000);
	(void)state;

	run(&w, 200);
	assert_int_equal(w.sight.lanes, 7);
}

static void
a_line_that_one_fills_is_tried_ever_more_rarely(void **state)
{
	struct line_world w = world(1000, 1000);
	(void)state;

	run(&w, 60);
	assert_in_range(w.opened, 2, 4);
	assert_int_equal(w.opened - w.closed, w.sight.lanes);
	uint32_t before = w.opened;
	run(&w, 600);
	assert_in_range(w.opened - before, 1, 5);
}

static void
a_queue_that_stands_says_the_line_is_full(void **state)
{
	struct line_world w = world(1000, 100000);
	(void)state;

	w.sight.rtt_ms = 180;
	run(&w, 60);
	assert_int_equal(w.opened, 0);
	w.sight.rtt_ms = 120;
	run(&w, 10);
	assert_true(w.opened > 0);
}

static void
short_lines_get_none(void **state)
{
	struct line_world w = world(1, 1000);
	(void)state;

	w.sight.long_line = false;
	run(&w, 60);
	assert_int_equal(w.opened, 0);
}

static void
a_burst_opens_none_and_an_idle_pair_closes_all(void **state)
{
	struct line_world w = world(1000, 8000);
	(void)state;

	run(&w, 2);
	w.sight.busy = false;
	run(&w, 5);
	assert_int_equal(w.opened, 0);
	w.sight.busy = true;
	run(&w, 30);
	assert_true(w.sight.lanes >= 3);
	w.sight.busy = false;
	run(&w, 9);
	assert_true(w.sight.lanes >= 3); /* it may go on in a moment */
	run(&w, 20);
	assert_int_equal(w.sight.lanes, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lanes_are_opened_until_the_line_is_full),
		cmocka_unit_test(at_most_so_many_lanes_are_opened),
		cmocka_unit_test(a_line_that_one_fills_is_tried_ever_more_rarely),
		cmocka_unit_test(a_queue_that_stands_says_the_line_is_full),
		cmocka_unit_test(short_lines_get_none),
		cmocka_unit_test(a_burst_opens_none_and_an_idle_pair_closes_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
