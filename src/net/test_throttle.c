#include "tests/unit.h"

#include "base/mem.h"
#include "net/throttle.h"

enum { TAKERS = 3, TURNS_MAX = 400, PIECE = 1000, TIME_MS = 40 * 1000 };

/* Somebody who has PIECES pieces of PIECE bytes to move, each in PARTS parts. */
struct taker {
	struct fixture *f;
	struct throttle_turn turn;
	int name, pieces, parts, part;
};
struct fixture {
	struct loop *loop;
	struct throttle *throttle;
	struct timer *limit;
	struct taker takers[TAKERS];
	int order[TURNS_MAX], n, left;
	uint64_t moved, far_moved, ended_ms;
	bool was_short;
};

static void
is_late(void *ctx)
{
	(void)ctx;
	unit_fail("time is up");
}

static void
finish(struct fixture *f)
{
	f->moved = throttle_total(f->throttle, THROTTLE_UP);
	f->far_moved = throttle_far_total(f->throttle, THROTTLE_UP);
	f->was_short = throttle_was_short(f->throttle, THROTTLE_UP);
	f->ended_ms = loop_now_ms(f->loop);
	timer_close(f->limit);
	throttle_close(f->throttle);
	f->throttle = NULL;
	loop_stop(f->loop);
}

static void
on_finished(void *ctx)
{
	finish(ctx);
}

static void
take(void *ctx)
{
	struct taker *t = ctx;
	struct fixture *f = t->f;

	while (t->pieces > 0 && throttle_ask(f->throttle, THROTTLE_UP, &t->turn, t->part > 0) > 0) {
		f->order[f->n++] = t->name;
		throttle_moved(f->throttle, THROTTLE_UP, &t->turn, PIECE);
		if (++t->part < t->parts)
			continue;
		t->part = 0;
		if (--t->pieces == 0 && --f->left == 0)
			loop_post(f->loop, on_finished, f);
	}
}

static struct fixture *
fixture(uint64_t up)
{
	struct fixture *f = mem_new(struct fixture);

	assert_ok(loop_new(0, &f->loop, &unit_error));
	f->limit = timer_new(f->loop, is_late, NULL);
	timer_start(f->limit, TIME_MS);
	/* Last: it is empty while the loop's time stands still, so all wait before any moves. */
	f->throttle = throttle_new(f->loop, up, 0);
	return f;
}

static void
run_takers(struct fixture *f, int pieces, int parts)
{
	f->left = TAKERS;
	for (int i = 0; i < TAKERS; i++) {
		struct taker *t = &f->takers[i];
		*t = (struct taker){ .f = f, .name = i, .pieces = pieces, .parts = parts };
		throttle_init(&t->turn, take, t);
		take(t);
	}
	loop_run(f->loop);
	loop_free(f->loop);
}

static void
whoever_waits_is_served_in_turn(void **state)
{
	struct fixture *f = fixture(100 * PIECE);

	(void)state;
	run_takers(f, 10, 1);
	assert_int_equal(f->n, 10 * TAKERS);
	for (int i = 0; i < f->n; i++)
		assert_int_equal(f->order[i], i % TAKERS);
	free(f);
}

static void
what_has_begun_is_finished_before_the_next_ones_turn(void **state)
{
	struct fixture *f = fixture(100 * PIECE);

	(void)state;
	run_takers(f, 5, 4);
	assert_int_equal(f->n, 5 * 4 * TAKERS);
	for (int i = 0; i < f->n; i++)
		assert_int_equal(f->order[i], i / 4 % TAKERS);
	free(f);
}

/* Taker 0 has much to move; whenever it has moved a piece, a small one comes for taker 1. */
static void
take_small(void *ctx)
{
	struct taker *t = ctx;

	if (throttle_ask(t->f->throttle, THROTTLE_UP, &t->turn, false) == 0)
		return;
	t->f->order[t->f->n++] = t->name;
	throttle_moved(t->f->throttle, THROTTLE_UP, &t->turn, PIECE);
}

static void
take_much(void *ctx)
{
	struct taker *t = ctx, *small = &t->f->takers[1];
	int had = t->pieces;

	take(t);
	if (t->pieces < had && t->pieces > 0)
		take_small(small);
}

static void
whoever_needs_little_goes_ahead_of_who_needs_much(void **state)
{
	struct fixture *f = fixture(100 * PIECE);

	(void)state;
	f->left = 2;
	for (int i = 0; i < TAKERS; i += 2) {
		struct taker *t = &f->takers[i];
		*t = (struct taker){ .f = f, .name = i, .pieces = 10, .parts = 1 };
		throttle_init(&t->turn, take_much, t);
		take_much(t);
	}
	f->takers[1] = (struct taker){ .f = f, .name = 1 };
	throttle_init(&f->takers[1].turn, take_small, &f->takers[1]);
	loop_run(f->loop);
	loop_free(f->loop);
	/* Once it is known who has much: 0 and 2 in turn, and one of 1's after each. */
	assert_true(f->n > 16);
	for (int i = 2; i < 16; i++)
		assert_int_equal(f->order[i], i % 2 == 0 ? 1 : i % 4 == 3 ? 0 : 2);
	free(f);
}

static void
without_a_limit_nobody_waits(void **state)
{
	struct fixture *f = fixture(0);

	(void)state;
	run_takers(f, 20, 2);
	assert_int_equal(f->n, 40 * TAKERS);
	assert_int_equal(f->moved, 40 * TAKERS * PIECE);
	for (int i = 0; i < f->n; i++)
		assert_int_equal(f->order[i], i / 40);
	free(f);
}

static void
whoever_leaves_is_not_called(void **state)
{
	struct fixture *f = fixture(100 * PIECE);

	(void)state;
	for (int i = 0; i < TAKERS; i++) {
		struct taker *t = &f->takers[i];
		*t = (struct taker){ .f = f, .name = i, .pieces = 3, .parts = 1 };
		throttle_init(&t->turn, take, t);
		take(t);
		assert_true(throttle_waits(&t->turn));
	}
	throttle_leave(f->throttle, THROTTLE_UP, &f->takers[1].turn);
	throttle_leave(f->throttle, THROTTLE_UP, &f->takers[1].turn);
	assert_false(throttle_waits(&f->takers[1].turn));
	f->left = 2;
	loop_run(f->loop);
	loop_free(f->loop);
	assert_int_equal(f->n, 6);
	for (int i = 0; i < f->n; i++)
		assert_int_equal(f->order[i], i % 2 * 2);
	free(f);
}

static void
buffers_are_small_and_only_where_there_is_a_limit(void **state)
{
	struct fixture *f = fixture(400 * 1000);

	(void)state;
	assert_int_equal(throttle_limited(f->throttle, THROTTLE_UP, THROTTLE_ALL), 400 * 1000);
	assert_int_equal(throttle_limited(f->throttle, THROTTLE_DOWN, THROTTLE_ALL), 0);
	assert_int_equal(throttle_limited(NULL, THROTTLE_UP, THROTTLE_ALL), 0);
	assert_int_equal(throttle_buffer(f->throttle, THROTTLE_UP, false), 40 * 1000);
	assert_int_equal(throttle_buffer(f->throttle, THROTTLE_DOWN, false), 0);
	assert_int_equal(throttle_buffer(NULL, THROTTLE_DOWN, false), 0);
	throttle_limit(f->throttle, THROTTLE_UP, THROTTLE_FAR, 200 * 1000);
	assert_int_equal(throttle_buffer(f->throttle, THROTTLE_UP, false), 20 * 1000);
	assert_int_equal(throttle_buffer(f->throttle, THROTTLE_UP, true), 40 * 1000);
	throttle_limit(f->throttle, THROTTLE_UP, THROTTLE_ALL, 40 * 1000 * 1000);
	throttle_limit(f->throttle, THROTTLE_UP, THROTTLE_FAR, 20 * 1000 * 1000);
	assert_int_equal(throttle_buffer(f->throttle, THROTTLE_UP, false), 0);
	assert_int_equal(throttle_buffer(f->throttle, THROTTLE_UP, true), 128 * 1024);
	loop_post(f->loop, on_finished, f);
	loop_run(f->loop);
	loop_free(f->loop);
	free(f);
}

/* -- near and far -- */

/* As run_takers, but the first is near. */
static void
run_near_and_far(struct fixture *f, int pieces)
{
	f->left = TAKERS;
	for (int i = 0; i < TAKERS; i++) {
		struct taker *t = &f->takers[i];
		*t = (struct taker){ .f = f, .name = i, .pieces = pieces, .parts = 1 };
		throttle_init(&t->turn, take, t);
		throttle_near(&t->turn, i == 0);
		take(t);
	}
	loop_run(f->loop);
	loop_free(f->loop);
}

static void
who_is_near_does_not_wait_for_the_limit_of_the_far(void **state)
{
	struct fixture *f = fixture(0);

	(void)state;
	throttle_limit(f->throttle, THROTTLE_UP, THROTTLE_FAR, 100 * PIECE);
	assert_false(throttle_was_short(f->throttle, THROTTLE_UP));
	run_near_and_far(f, 10);
	assert_int_equal(f->n, 10 * TAKERS);
	for (int i = 0; i < f->n; i++)
		assert_int_equal(f->order[i], i < 10 ? 0 : 1 + i % 2);
	assert_int_equal(f->moved, 10 * TAKERS * PIECE);
	assert_int_equal(f->far_moved, 10 * 2 * PIECE);
	assert_true(f->was_short);
	free(f);
}

static void
near_and_far_take_turns_at_the_limit_of_all(void **state)
{
	struct fixture *f = fixture(100 * PIECE);

	(void)state;
	run_near_and_far(f, 8);
	assert_int_equal(f->n, 8 * TAKERS);
	for (int i = 0; i < 16; i++) /* far, near, far, near, ... */
		assert_int_equal(f->order[i] == 0, i % 2);
	free(f);
}

/* -- limits that change -- */

static void
lift_all(void *ctx)
{
	struct fixture *f = ctx;

	throttle_limit(f->throttle, THROTTLE_UP, THROTTLE_ALL, 0);
}

static void
whoever_waits_goes_on_when_the_limit_is_lifted(void **state)
{
	struct fixture *f = fixture(1); /* a piece in a quarter of an hour */

	(void)state;
	loop_post(f->loop, lift_all, f);
	run_takers(f, 20, 1);
	assert_int_equal(f->n, 20 * TAKERS);
	free(f);
}

static void
tighten(void *ctx)
{
	struct fixture *f = ctx;

	throttle_limit(f->throttle, THROTTLE_UP, THROTTLE_ALL, 100 * PIECE);
}

static void
a_limit_that_comes_later_holds(void **state)
{
	struct fixture *f = fixture(UINT64_C(1000) * PIECE);
	uint64_t from = loop_now_ms(f->loop);

	(void)state;
	tighten(f);
	assert_int_equal(throttle_changes(f->throttle), 1);
	tighten(f);
	assert_int_equal(throttle_changes(f->throttle), 1);
	run_takers(f, 20, 1);
	/* 60 pieces at 100 a second, but for what the bucket kept */
	assert_true(f->ended_ms - from >= 500);
	free(f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whoever_waits_is_served_in_turn),
		cmocka_unit_test(what_has_begun_is_finished_before_the_next_ones_turn),
		cmocka_unit_test(whoever_needs_little_goes_ahead_of_who_needs_much),
		cmocka_unit_test(without_a_limit_nobody_waits),
		cmocka_unit_test(whoever_leaves_is_not_called),
		cmocka_unit_test(who_is_near_does_not_wait_for_the_limit_of_the_far),
		cmocka_unit_test(near_and_far_take_turns_at_the_limit_of_all),
		cmocka_unit_test(whoever_waits_goes_on_when_the_limit_is_lifted),
		cmocka_unit_test(a_limit_that_comes_later_holds),
		cmocka_unit_test(buffers_are_small_and_only_where_there_is_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
