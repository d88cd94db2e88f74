#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include <unistd.h>

#include "loop/loop.h"

struct watch {
	struct loop *loop;
	struct timer *timer, *other;
	int rings;
	uint64_t at_ms;
};

static int
setup(void **state)
{
	static struct watch w;

	w = (struct watch){ 0 };
	*state = &w;
	return loop_new(0, &w.loop, NULL) == OK ? 0 : -1;
}

static int
teardown(void **state)
{
	struct watch *w = *state;

	loop_free(w->loop);
	return 0;
}

static void
ring_and_stop(void *ctx)
{
	struct watch *w = ctx;

	w->rings++;
	w->at_ms = loop_now_ms(w->loop);
	timer_close(w->timer);
	loop_stop(w->loop);
}

static void
a_timer_rings_once_after_its_time(void **state)
{
	struct watch *w = *state;
	uint64_t start = loop_now_ms(w->loop);

	w->timer = timer_new(w->loop, ring_and_stop, w);
	timer_start(w->timer, 30);
	assert_int_equal(w->rings, 0);
	loop_run(w->loop);
	assert_int_equal(w->rings, 1);
	assert_in_range(w->at_ms - start, 30, 10000);
}

static void
a_timer_started_again_forgets_the_first_start(void **state)
{
	struct watch *w = *state;
	uint64_t start = loop_now_ms(w->loop);

	w->timer = timer_new(w->loop, ring_and_stop, w);
	timer_start(w->timer, 1);
	timer_start(w->timer, 40);
	loop_run(w->loop);
	assert_int_equal(w->rings, 1);
	assert_in_range(w->at_ms - start, 40, 10000);
}

static void
a_turn_that_took_long_does_not_shorten_a_timer(void **state)
{
	struct watch *w = *state;

	w->timer = timer_new(w->loop, ring_and_stop, w);
	usleep(60 * 1000);
	timer_start(w->timer, 40);
	uint64_t start = loop_now_ms(w->loop);
	loop_run(w->loop);
	assert_in_range(w->at_ms - start, 40, 10000);
}

static void
count(void *ctx)
{
	struct watch *w = ctx;

	w->rings++;
}

static void
close_other_and_stop(void *ctx)
{
	struct watch *w = ctx;

	timer_close(w->other);
	timer_close(w->other);
	timer_close(w->timer);
	loop_stop(w->loop);
}

static void
a_closed_timer_does_not_ring(void **state)
{
	struct watch *w = *state;

	/* Both are due in the same turn; the first to ring closes the second. */
	w->timer = timer_new(w->loop, close_other_and_stop, w);
	w->other = timer_new(w->loop, count, w);
	timer_start(w->timer, 5);
	timer_start(w->other, 5);
	usleep(20 * 1000);
	loop_run(w->loop);
	assert_int_equal(w->rings, 0);
	timer_close(NULL);
}

static void
a_stopped_timer_does_not_ring_and_lets_the_loop_end(void **state)
{
	struct watch *w = *state;

	w->timer = timer_new(w->loop, count, w);
	timer_start(w->timer, 3600 * 1000);
	timer_stop(w->timer);
	loop_stop(w->loop);
	loop_run(w->loop);
	assert_int_equal(w->rings, 0);
	timer_close(w->timer);
}

static void
start_thrice(void *ctx)
{
	struct watch *w = ctx;

	if (++w->rings < 3) {
		timer_start(w->timer, 1);
	} else {
		timer_close(w->timer);
		loop_stop(w->loop);
	}
}

static void
a_timer_may_start_itself_again(void **state)
{
	struct watch *w = *state;

	w->timer = timer_new(w->loop, start_thrice, w);
	timer_start(w->timer, 0);
	loop_run(w->loop);
	assert_int_equal(w->rings, 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_timer_rings_once_after_its_time, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    a_turn_that_took_long_does_not_shorten_a_timer, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    a_timer_started_again_forgets_the_first_start, setup, teardown),
		cmocka_unit_test_setup_teardown(a_closed_timer_does_not_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    a_stopped_timer_does_not_ring_and_lets_the_loop_end, setup, teardown),
		cmocka_unit_test_setup_teardown(a_timer_may_start_itself_again, setup, teardown),
	};
	alarm(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
