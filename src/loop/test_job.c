#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "loop/loop.h"

enum { MANY = 500 };

struct bench {
	struct loop *loop;
	struct job_queue *queue;
	pthread_t loop_thread;
	atomic_int gate; /* work waits while it is 1 */
	atomic_int working, worked;
	int done, canceled;
	int order[MANY];
};
struct piece {
	struct bench *bench;
	int number, result;
	enum err r;
	char text[ERROR_TEXT];
};

static int
setup(void **state)
{
	struct bench *b = mem_new(struct bench);

	*state = b;
	b->loop_thread = pthread_self();
	return loop_new(4, &b->loop, NULL) == OK ? 0 : -1;
}

static int
teardown(void **state)
{
	struct bench *b = *state;

	loop_free(b->loop);
	free(b);
	return 0;
}

static void
run(struct bench *b)
{
	loop_stop(b->loop);
	loop_run(b->loop);
}

static enum err
square(void *ctx, struct error *e)
{
	struct piece *p = ctx;

	p->bench->worked++;
	while (p->bench->gate == 1)
		usleep(500);
	if (pthread_equal(pthread_self(), p->bench->loop_thread))
		return fail(e, ERR_BUG, "work runs on the loop");
	if (p->number == 7)
		return fail(e, ERR_CORRUPT, "seven is bad");
	p->result = p->number * p->number;
	return OK;
}

static void
on_square(void *ctx, enum err r, const struct error *e)
{
	struct piece *p = ctx;

	loop_assert(p->bench->loop);
	assert_true((r == OK) == (e == NULL));
	p->r = r;
	if (e != NULL) {
		assert_int_equal(e->code, r);
		memcpy(p->text, e->text, sizeof p->text);
	}
	p->bench->order[p->bench->done++] = p->number;
	p->bench->canceled += r == ERR_CANCELED;
}

static void
jobs_work_in_the_pool_and_are_done_on_the_loop(void **state)
{
	struct bench *b = *state;
	struct piece p[20];

	for (int i = 0; i < 20; i++) {
		p[i] = (struct piece){ .bench = b, .number = i };
		job_run(b->loop, square, on_square, &p[i]);
	}
	assert_int_equal(b->done, 0);
	run(b);
	assert_int_equal(b->done, 20);
	for (int i = 0; i < 20; i++) {
		if (i == 7)
			continue;
		assert_int_equal(p[i].r, OK);
		assert_int_equal(p[i].result, i * i);
	}
	assert_int_equal(p[7].r, ERR_CORRUPT);
	assert_string_equal(p[7].text, "seven is bad");
}

/* Six jobs on four threads, all held: four have begun, two have not.  All are cancelled. */
static void
a_cancelled_job_is_done_once_with_canceled(void **state)
{
	struct bench *b = *state;
	struct piece p[6];
	struct job *j[6];

	b->gate = 1;
	for (int i = 0; i < 6; i++) {
		p[i] = (struct piece){ .bench = b, .number = i };
		j[i] = job_run(b->loop, square, on_square, &p[i]);
	}
	while (b->worked < 4)
		usleep(500);
	for (int i = 0; i < 6; i++)
		job_cancel(j[i]);
	job_cancel(j[0]);
	assert_int_equal(b->done, 0);
	b->gate = 0;
	run(b);
	assert_int_equal(b->done, 6);
	assert_int_equal(b->canceled, 6);
	assert_int_equal(b->worked, 4);
	assert_string_equal(p[5].text, "canceled");
}

static enum err
alone(void *ctx, struct error *e)
{
	struct piece *p = ctx;
	int others = p->bench->working++;

	if (p->number % 50 == 0)
		usleep(1000);
	p->bench->working--;
	if (others != 0)
		return fail(e, ERR_BUG, "%d others work at the same time", others);
	return OK;
}

static void
a_queue_works_one_by_one_in_order(void **state)
{
	struct bench *b = *state;
	auto_free struct piece *p = mem_array(struct piece, MANY);

	b->queue = job_queue_new(b->loop);
	for (int i = 0; i < MANY; i++) {
		p[i] = (struct piece){ .bench = b, .number = i };
		job_queue_run(b->queue, alone, on_square, &p[i]);
	}
	assert_int_equal(job_queue_len(b->queue), MANY);
	run(b);
	assert_int_equal(job_queue_len(b->queue), 0);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(p[i].r, OK);
		assert_int_equal(b->order[i], i);
	}
	job_queue_free(b->queue);
	job_queue_free(NULL);
}

static void
a_freed_queue_still_finishes_its_work(void **state)
{
	struct bench *b = *state;
	struct piece p[5];

	b->queue = job_queue_new(b->loop);
	for (int i = 0; i < 5; i++) {
		p[i] = (struct piece){ .bench = b, .number = i };
		job_queue_run(b->queue, alone, on_square, &p[i]);
	}
	job_queue_free(b->queue);
	run(b);
	assert_int_equal(b->done, 5);
}

static void
more_then_free(void *ctx, enum err r, const struct error *e)
{
	struct piece *p = ctx;

	on_square(ctx, r, e);
	if (p->number++ == 0)
		job_queue_run(p->bench->queue, alone, more_then_free, p);
	else
		job_queue_free(p->bench->queue);
}

static void
a_queue_may_be_given_work_and_freed_in_its_own_callback(void **state)
{
	struct bench *b = *state;
	struct piece p = { .bench = b };

	b->queue = job_queue_new(b->loop);
	job_queue_run(b->queue, alone, more_then_free, &p);
	run(b);
	assert_int_equal(b->done, 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    jobs_work_in_the_pool_and_are_done_on_the_loop, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    a_cancelled_job_is_done_once_with_canceled, setup, teardown),
		cmocka_unit_test_setup_teardown(a_queue_works_one_by_one_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    a_freed_queue_still_finishes_its_work, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    a_queue_may_be_given_work_and_freed_in_its_own_callback, setup, teardown),
	};
	alarm(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
