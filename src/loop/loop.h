/*
 * loop: libuv behind six nouns: loop, timer, task, job, queue, post.  One loop thread owns all
 * mutable state, sockets and TLS; whatever blocks or burns goes to the pool as a job, whose work
 * function sees only its own struct and whose done function runs on the loop.
 *
 * No call here ever calls back before it returns.  After a cancel or close returns, its callback
 * will not be called (a job's work may still run; its done is called with ERR_CANCELED exactly
 * once, so that memory has one owner).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct loop;

/* POOL_THREADS: 0 is two per core, at least 4 (or UV_THREADPOOL_SIZE).  One loop per process:
 * libuv's pool is global.  Ignores SIGPIPE, and tunes the heap for buffers that come and go. */
enum err loop_new(unsigned pool_threads, struct loop **ret, struct error *e) must_check;
/* Runs until loop_stop, then until all that was started has ended: jobs, timers, connections. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);
void loop_free(struct loop *l); /* after loop_run has returned; NULL is fine */
uint64_t loop_now_ms(
    const struct loop *l); /* monotonic, cached: of this turn, or its last timer_start */
void loop_assert(const struct loop *l); /* we are on the loop thread */
/* SIGINT and SIGTERM.  The second one ends the process at once, even when the loop is stuck. */
void loop_on_stop_signal(struct loop *l, void (*on_signal)(void *ctx, int signo), void *ctx);
/* FN(arg) on the loop thread, soon, in the order of the posts.  From any thread, until loop_run
 * returns. */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg);

/* For net: libuv itself, and the one buffer of LOOP_RECEIVE bytes that all connections of the loop
 * receive into.  What is in it is good until the callback that filled it returns. */
enum { LOOP_RECEIVE = 256 * 1024 };
struct uv_loop_s;
/* N bytes came from a socket or went to one: a loop that moves them slowly lets some gather before
 * it looks again (loop/rest.h). */
void loop_moved(struct loop *l, size_t n);
struct uv_loop_s *loop_uv(struct loop *l);
uint8_t *loop_receive_buffer(struct loop *l);

/* -- tasks: once, when the callbacks of this turn are through.  Embedded in their owner; they never
 * fail and cost nothing, so whoever must not call back at once starts one.  Started twice is run
 * once. -- */
struct task {
	struct task *next, **link; /* link is NULL when it is not waiting */
	struct loop *loop;
	void (*run)(void *ctx);
	void *ctx;
};
void task_init(struct task *t, struct loop *l, void (*run)(void *ctx), void *ctx);
void task_start(struct task *t);
/* Nothing when it is not waiting.  Also right before its memory goes. */
void task_cancel(struct task *t);

/* -- timers: one-shot; started again for the next -- */
struct timer;
struct timer *timer_new(struct loop *l, void (*on_time)(void *ctx), void *ctx);
void timer_start(struct timer *t, uint64_t after_ms); /* restarts */
void timer_stop(struct timer *t);
void timer_close(struct timer *t); /* frees later; NULL is fine; no callback after this */

/* -- jobs: the pool -- */
struct job;
/* WORK(ctx) in the pool, then DONE(ctx, err) on the loop: what WORK returned, or ERR_CANCELED when
 * job_cancel came first.  The struct error is the job's own, filled by WORK through its E. */
struct job *job_run(struct loop *l, enum err (*work)(void *ctx, struct error *e),
    void (*done)(void *ctx, enum err r, const struct error *e), void *ctx);
/* DONE will be called with ERR_CANCELED (WORK may or may not have run: it is awaited, never
 * interrupted). */
void job_cancel(struct job *j);

/* -- queues: jobs that must run one after the other (a database, an ordered file) -- */
struct job_queue;
struct job_queue *job_queue_new(struct loop *l);
/* At once when it is empty, else when it has become so: what was given to it still runs, nothing
 * more may be.  NULL is fine. */
void job_queue_free(struct job_queue *q);
void job_queue_run(struct job_queue *q, enum err (*work)(void *ctx, struct error *e),
    void (*done)(void *ctx, enum err r, const struct error *e), void *ctx);
size_t job_queue_len(
    const struct job_queue *q); /* not done yet, the one being worked on included */
