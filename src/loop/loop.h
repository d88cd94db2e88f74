/*
 * loop: libuv behind five nouns: loop, timer, job, queue, post.  One loop thread owns all mutable state, sockets and
 * TLS; whatever blocks or burns goes to the pool as a job, whose work function sees only its own struct and whose done
 * function runs on the loop.
 *
 * No call here ever calls back before it returns.  After a cancel or close returns, its callback will not be called
 * (a job's work may still run; its done is called with ERR_CANCELED exactly once, so that memory has one owner).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct loop;

/* POOL_THREADS: 0 is two per core, at least 4.  One loop per process (libuv's pool is global). */
enum err loop_new(unsigned pool_threads, struct loop **ret, struct error *e) must_check;
/* Runs until loop_stop, then until all handles are closed. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);
void loop_free(struct loop *l); /* after loop_run has returned; NULL is fine */
uint64_t loop_now_ms(const struct loop *l); /* monotonic, cached per turn */
void loop_assert(const struct loop *l);     /* we are on the loop thread */
/* SIGINT and SIGTERM; the second one of them exits the process at once. */
void loop_on_stop_signal(struct loop *l, void (*on_signal)(void *ctx, int signo), void *ctx);
/* FN(arg) on the loop thread, soon.  From any thread. */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg);

/* -- timers: one-shot; started again for the next -- */
struct timer;
struct timer *timer_new(struct loop *l, void (*on_time)(void *ctx), void *ctx);
void timer_start(struct timer *t, uint64_t after_ms); /* restarts */
void timer_stop(struct timer *t);
void timer_close(struct timer *t); /* frees later; NULL is fine; no callback after this */

/* -- jobs: the pool -- */
struct job;
/* WORK(ctx) in the pool, then DONE(ctx, err) on the loop: what WORK returned, or ERR_CANCELED when job_cancel came
 * first.  The struct error is the job's own, filled by WORK through its E. */
struct job *job_run(struct loop *l, enum err (*work)(void *ctx, struct error *e),
    void (*done)(void *ctx, enum err r, const struct error *e), void *ctx);
/* DONE will be called with ERR_CANCELED (WORK may or may not have run: it is awaited, never interrupted). */
void job_cancel(struct job *j);

/* -- queues: jobs that must run one after the other (a database, an ordered file) -- */
struct job_queue;
struct job_queue *job_queue_new(struct loop *l);
void job_queue_free(struct job_queue *q); /* when empty, or: waits on the loop until it is, then frees */
void job_queue_run(struct job_queue *q, enum err (*work)(void *ctx, struct error *e),
    void (*done)(void *ctx, enum err r, const struct error *e), void *ctx);
size_t job_queue_len(const struct job_queue *q);
