#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include <unistd.h>

#include "base/mem.h"
#include "loop/loop.h"

struct desk {
	struct loop *loop;
	struct task a, b, c;
	struct timer *timer;
	char log[16];
	int n;
};

static void
note(struct desk *d, char what)
{
	assert_true(d->n < 15);
	d->log[d->n++] = what;
}

static void
run_a(void *ctx)
{
	note(ctx, 'a');
}

static void
run_b(void *ctx)
{
	note(ctx, 'b');
}

static void
run_c(void *ctx)
{
	note(ctx, 'c');
}

static int
setup(void **state)
{
	static struct desk d;

	d = (struct desk){ 0 };
	*state = &d;
	if (loop_new(0, &d.loop, NULL) != OK)
		return -1;
	task_init(&d.a, d.loop, run_a, &d);
	task_init(&d.b, d.loop, run_b, &d);
	task_init(&d.c, d.loop, run_c, &d);
	return 0;
}

static int
teardown(void **state)
{
	struct desk *d = *state;

	loop_free(d->loop);
	return 0;
}

static void
run(struct desk *d)
{
	loop_stop(d->loop);
	loop_run(d->loop);
}

static void
tasks_run_once_in_the_order_of_their_start(void **state)
{
	struct desk *d = *state;

	task_start(&d->c);
	task_start(&d->a);
	task_start(&d->c);
	task_start(&d->b);
	assert_int_equal(d->n, 0);
	run(d);
	assert_string_equal(d->log, "cab");
}

static void
a_cancelled_task_does_not_run(void **state)
{
	struct desk *d = *state;

	task_cancel(&d->a);
	task_start(&d->a);
	task_start(&d->b);
	task_start(&d->c);
	task_cancel(&d->c);
	task_cancel(&d->a);
	task_start(&d->a);
	run(d);
	assert_string_equal(d->log, "ba");
}

static void
cancel_b_start_c(void *ctx)
{
	struct desk *d = ctx;

	note(d, '1');
	task_cancel(&d->b);
	task_start(&d->c);
}

static void
a_task_may_cancel_and_start_others(void **state)
{
	struct desk *d = *state;

	task_init(&d->a, d->loop, cancel_b_start_c, d);
	task_start(&d->a);
	task_start(&d->b);
	run(d);
	assert_string_equal(d->log, "1c");
}

static void
start_again(void *ctx)
{
	struct desk *d = ctx;

	note(d, 'x');
	if (d->n < 5)
		task_start(&d->a);
	else
		timer_close(d->timer);
}

static void
on_time(void *ctx)
{
	note(ctx, 't');
}

/* The timer is due at once, and gets its turn between two runs of the task. */
static void
a_task_that_starts_itself_does_not_starve_the_rest(void **state)
{
	struct desk *d = *state;

	task_init(&d->a, d->loop, start_again, d);
	d->timer = timer_new(d->loop, on_time, d);
	task_start(&d->a);
	timer_start(d->timer, 1);
	usleep(5000);
	run(d);
	assert_int_equal(d->n, 5);
	assert_non_null(memchr(d->log, 't', 4));
}

struct mortal {
	struct task task;
	int *runs;
};

static void
die(void *ctx)
{
	struct mortal *m = ctx;

	++*m->runs;
	free(m);
}

static void
a_task_may_free_its_own_memory(void **state)
{
	struct desk *d = *state;
	struct mortal *m = mem_new(struct mortal);
	int runs = 0;

	m->runs = &runs;
	task_init(&m->task, d->loop, die, m);
	task_start(&m->task);
	run(d);
	assert_int_equal(runs, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    tasks_run_once_in_the_order_of_their_start, setup, teardown),
		cmocka_unit_test_setup_teardown(a_cancelled_task_does_not_run, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    a_task_may_cancel_and_start_others, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    a_task_that_starts_itself_does_not_starve_the_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(a_task_may_free_its_own_memory, setup, teardown),
	};
	alarm(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
