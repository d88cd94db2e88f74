#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "loop/loop.h"

static struct loop *
new_loop(void)
{
	struct loop *l = NULL;
	struct error e = { 0 };

	assert_int_equal(loop_new(0, &l, &e), OK);
	return l;
}

static void
stop_it(void *l)
{
	loop_stop(l);
}

static void
a_stopped_loop_ends_and_may_run_again(void **state)
{
	struct loop *l = new_loop();

	(void)state;
	for (int i = 0; i < 3; i++) {
		loop_post(l, stop_it, l);
		loop_run(l);
	}
	loop_stop(l);
	loop_run(l);
	loop_free(l);
	loop_free(NULL);
}

struct order {
	struct loop *loop;
	int seen[8], n;
};
struct step {
	struct order *order;
	int number;
};

static void
on_step(void *arg)
{
	struct step *s = arg;

	s->order->seen[s->order->n++] = s->number;
	if (s->order->n == 3)
		loop_stop(s->order->loop);
}

static void
posts_run_in_their_order_and_not_before_the_call_returns(void **state)
{
	struct order o = { .loop = new_loop() };
	struct step s[3] = { { &o, 1 }, { &o, 2 }, { &o, 3 } };

	(void)state;
	for (int i = 0; i < 3; i++)
		loop_post(o.loop, on_step, &s[i]);
	assert_int_equal(o.n, 0);
	loop_run(o.loop);
	for (int i = 0; i < 3; i++)
		assert_int_equal(o.seen[i], i + 1);
	loop_free(o.loop);
}

enum { THREADS = 4, POSTS = 5000 };

struct crowd {
	struct loop *loop;
	int came; /* the loop's alone */
	int last[THREADS];
};
struct poster {
	struct crowd *crowd;
	int thread, number;
};

static void
on_crowd(void *arg)
{
	auto_free struct poster *p = arg;

	loop_assert(p->crowd->loop);
	assert_int_equal(p->number, p->crowd->last[p->thread] + 1);
	p->crowd->last[p->thread] = p->number;
	if (++p->crowd->came == THREADS * POSTS)
		loop_stop(p->crowd->loop);
}

static void *
post_many(void *arg)
{
	struct poster *me = arg;

	for (int i = 1; i <= POSTS; i++) {
		struct poster *p = mem_new(struct poster);
		*p = (struct poster){ me->crowd, me->thread, i };
		loop_post(me->crowd->loop, on_crowd, p);
	}
	return NULL;
}

static void
posts_of_many_threads_all_come_each_in_its_order(void **state)
{
	struct crowd c = { .loop = new_loop() };
	struct poster me[THREADS];
	pthread_t t[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++) {
		me[i] = (struct poster){ &c, i, 0 };
		assert_int_equal(pthread_create(&t[i], NULL, post_many, &me[i]), 0);
	}
	loop_run(c.loop);
	assert_int_equal(c.came, THREADS * POSTS);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	loop_free(c.loop);
}

static void
post_the_same_once_more(void *arg)
{
	struct order *o = arg;

	if (o->n++ == 0)
		loop_post(o->loop, post_the_same_once_more, o);
}

static void
a_post_made_after_stop_still_runs(void **state)
{
	struct order o = { .loop = new_loop() };

	(void)state;
	loop_stop(o.loop);
	loop_post(o.loop, post_the_same_once_more, &o);
	loop_run(o.loop);
	assert_int_equal(o.n, 2);
	loop_free(o.loop);
}

static void
on_first_signal(void *ctx, int signo)
{
	struct order *o = ctx;

	o->seen[o->n++] = signo;
	loop_stop(o->loop);
}

static void
the_first_stop_signal_is_told(void **state)
{
	struct order o = { .loop = new_loop() };

	(void)state;
	loop_on_stop_signal(o.loop, on_first_signal, &o);
	raise(SIGTERM);
	loop_run(o.loop);
	assert_int_equal(o.n, 1);
	assert_int_equal(o.seen[0], SIGTERM);
	loop_free(o.loop);
}

/* As a daemon that hangs while it stops. */
static void
on_signal_hang(void *ctx, int signo)
{
	(void)ctx;
	(void)signo;
	raise(SIGINT);
	for (;;)
		pause();
}

static void
the_second_stop_signal_ends_even_a_process_that_hangs(void **state)
{
	int status = 0;

	(void)state;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct loop *l = new_loop();
		alarm(20);
		loop_on_stop_signal(l, on_signal_hang, NULL);
		raise(SIGINT);
		loop_run(l);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGINT);
}

static void
the_receive_buffer_is_one_for_the_loop(void **state)
{
	struct loop *l = new_loop();

	(void)state;
	uint8_t *b = loop_receive_buffer(l);
	memset(b, 1, LOOP_RECEIVE);
	assert_ptr_equal(loop_receive_buffer(l), b);
	loop_free(l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stopped_loop_ends_and_may_run_again),
		cmocka_unit_test(posts_run_in_their_order_and_not_before_the_call_returns),
		cmocka_unit_test(posts_of_many_threads_all_come_each_in_its_order),
		cmocka_unit_test(a_post_made_after_stop_still_runs),
		cmocka_unit_test(the_first_stop_signal_is_told),
		cmocka_unit_test(the_second_stop_signal_ends_even_a_process_that_hangs),
		cmocka_unit_test(the_receive_buffer_is_one_for_the_loop),
	};
	alarm(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
