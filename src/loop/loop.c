/*
 * One turn of libuv: timers, tasks, poll (sockets, done jobs, posts), tasks, closed handles.  So a
 * task started in any callback runs in the same turn, after every callback that was due with it.
 */
#include "loop/loop_impl.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/mem.h"
#include "platform/clock.h"
#include "platform/heap.h"

struct loop_post {
	struct loop_post *next;
	void (*fn)(void *arg);
	void *arg;
};

/* Takes them all first: FN may post again, and another thread must not wait for FN. */
static bool
run_posts(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	struct loop_post *p = l->posts;
	l->posts = NULL;
	l->posts_end = &l->posts;
	pthread_mutex_unlock(&l->lock);

	bool any = p != NULL;
	while (p != NULL) {
		struct loop_post *next = p->next;
		p->fn(p->arg);
		free(p);
		p = next;
	}
	return any;
}

static void
on_wake(uv_async_t *wake)
{
	run_posts(wake->data);
}

/* Rests before looking at the sockets, not beyond the next timer, and not when there is something
 * else to do. */
static void
rest(struct loop *l)
{
	uint64_t now = clock_mono_ns() / 1000, us = rest_for(&l->rest, now);
	int timeout = us > 0 ? uv_backend_timeout(&l->uv) : 0;

	if (timeout >= 0)
		us = min_of(us, (uint64_t)timeout * 1000);
	if (us > 0) {
		const struct timespec t = { .tv_nsec = (long)us * 1000 };
		(void)nanosleep(&t, NULL);
		uv_update_time(&l->uv);
	}
	rest_looked(&l->rest, now + us);
}

static void
on_before_poll(uv_prepare_t *h)
{
	task_run_all(h->data);
	rest(h->data);
}

static void
on_after_poll(uv_check_t *h)
{
	task_run_all(h->data);
}

/* The pool is made at the first job, with the size that the environment names then. */
static void
set_pool_size(unsigned threads)
{
	char text[16];
	bool ours = threads != 0;

	if (!ours)
		threads = max_of(2 * uv_available_parallelism(), 4U);
	snprintf(text, sizeof text, "%u", threads);
	setenv("UV_THREADPOOL_SIZE", text, ours);
}

/* Watches the tasks without keeping the loop alive. */
static void
init_tasks(struct loop *l)
{
	l->tasks_end = &l->tasks;
	uv_prepare_init(&l->uv, &l->before_poll);
	uv_check_init(&l->uv, &l->after_poll);
	uv_idle_init(&l->uv, &l->busy);
	l->before_poll.data = l->after_poll.data = l;
	uv_prepare_start(&l->before_poll, on_before_poll);
	uv_check_start(&l->after_poll, on_after_poll);
	uv_unref((uv_handle_t *)&l->before_poll);
	uv_unref((uv_handle_t *)&l->after_poll);
}

/* Cannot fail: uv_loop_init has already made the pipe that signals come through. */
static void
init_signals(struct loop *l)
{
	int r = uv_signal_init(&l->uv, &l->interrupt) | uv_signal_init(&l->uv, &l->terminate);

	assert(r == 0);
	(void)r;
	l->interrupt.data = l->terminate.data = l;
}

enum err
loop_new(unsigned pool_threads, struct loop **ret, struct error *e)
{
	auto_free struct loop *l = mem_new(struct loop);

	set_pool_size(pool_threads);
	signal(SIGPIPE, SIG_IGN);
	heap_keep_for_reuse();
	int r = uv_loop_init(&l->uv);
	if (r != 0)
		return fail_sys(e, -r, "make the event loop");
	r = uv_async_init(&l->uv, &l->wake, on_wake);
	if (r != 0) {
		uv_loop_close(&l->uv);
		return fail_sys(e, -r, "make the event loop's wake-up call");
	}
	l->wake.data = l;
	init_tasks(l);
	init_signals(l);
	pthread_mutex_init(&l->lock, NULL);
	l->posts_end = &l->posts;
	l->thread = uv_thread_self();
	*ret = take_ptr(l);
	return OK;
}

void
loop_run(struct loop *l)
{
	l->thread = uv_thread_self();
	do
		uv_run(&l->uv, UV_RUN_DEFAULT);
	while (run_posts(l));
	uv_ref((uv_handle_t *)&l->wake);
}

void
loop_stop(struct loop *l)
{
	loop_assert(l);
	uv_unref((uv_handle_t *)&l->wake);
}

static void
complain(uv_handle_t *h, void *ctx)
{
	(void)ctx;
	log_error(
	    "bug: a %s was not closed before the loop", uv_handle_type_name(uv_handle_get_type(h)));
}

void
loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	uv_handle_t *own[] = { (uv_handle_t *)&l->wake, (uv_handle_t *)&l->before_poll,
		(uv_handle_t *)&l->after_poll, (uv_handle_t *)&l->busy,
		(uv_handle_t *)&l->interrupt, (uv_handle_t *)&l->terminate };

	/* What was closed after loop_run returned is let go first, tasks included. */
	uv_unref((uv_handle_t *)&l->wake);
	uv_run(&l->uv, UV_RUN_DEFAULT);
	for (size_t i = 0; i < lengthof(own); i++)
		uv_close(own[i], NULL);
	uv_run(&l->uv, UV_RUN_DEFAULT);
	int r = uv_loop_close(&l->uv);
	if (r != 0)
		uv_walk(&l->uv, complain, NULL);
	assert(r == 0); /* a handle would outlive its loop */
	pthread_mutex_destroy(&l->lock);
	free(l->receive);
	free(l);
}

uint64_t
loop_now_ms(const struct loop *l)
{
	return uv_now(&l->uv);
}

void
loop_assert(const struct loop *l)
{
	uv_thread_t self = uv_thread_self();

	assert(uv_thread_equal(&l->thread, &self));
	(void)self;
}

/* Once stopped, the signal has its default again, so the second one needs no help of ours. */
static void
on_signal(uv_signal_t *h, int signo)
{
	struct loop *l = h->data;

	uv_signal_stop(&l->interrupt);
	uv_signal_stop(&l->terminate);
	l->on_signal(l->on_signal_ctx, signo);
}

static void
watch_signal(uv_signal_t *h, int signo)
{
	int r = uv_signal_start(h, on_signal, signo);

	if (r != 0)
		log_error("cannot watch signal %d: %s", signo, uv_strerror(r));
	uv_unref((uv_handle_t *)h);
}

void
loop_on_stop_signal(struct loop *l, void (*fn)(void *ctx, int signo), void *ctx)
{
	loop_assert(l);
	l->on_signal = fn;
	l->on_signal_ctx = ctx;
	watch_signal(&l->interrupt, SIGINT);
	watch_signal(&l->terminate, SIGTERM);
}

void
loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct loop_post *p = mem_new(struct loop_post);

	*p = (struct loop_post){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&l->lock);
	*l->posts_end = p;
	l->posts_end = &p->next;
	pthread_mutex_unlock(&l->lock);
	uv_async_send(&l->wake);
}

void
loop_moved(struct loop *l, size_t n)
{
	rest_moved(&l->rest, n);
}

struct uv_loop_s *
loop_uv(struct loop *l)
{
	return &l->uv;
}

/* Made at the first use: a command that only talks to the daemon never needs it. */
uint8_t *
loop_receive_buffer(struct loop *l)
{
	if (l->receive == NULL)
		l->receive = mem_alloc(LOOP_RECEIVE);
	return l->receive;
}
