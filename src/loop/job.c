#include "loop/loop_impl.h"

#include <assert.h>

#include "base/cleanup.h"
#include "base/mem.h"

struct job {
	uv_work_t uv;
	struct loop *loop;
	enum err (*work)(void *ctx, struct error *e);
	void (*done)(void *ctx, enum err r, const struct error *e);
	void *ctx;
	bool canceled; /* the loop's; the pool never looks */
	enum err r;    /* the pool's until done */
	struct error error;
};

static void
on_work(uv_work_t *uv)
{
	struct job *j = (struct job *)uv;

	j->r = j->work(j->ctx, &j->error);
}

static void
on_done(uv_work_t *uv, int status)
{
	struct job *j = (struct job *)uv;

	if (j->canceled || status == UV_ECANCELED)
		j->r = fail(&j->error, ERR_CANCELED, "canceled");
	j->done(j->ctx, j->r, j->r == OK ? NULL : &j->error);
	free(j);
}

struct job *
job_run(struct loop *l, enum err (*work)(void *ctx, struct error *e),
    void (*done)(void *ctx, enum err r, const struct error *e), void *ctx)
{
	struct job *j = mem_new(struct job);

	loop_assert(l);
	*j = (struct job){ .loop = l, .work = work, .done = done, .ctx = ctx };
	int r = uv_queue_work(&l->uv, &j->uv, on_work, on_done);
	assert(r == 0); /* only without a work function */
	(void)r;
	return j;
}

void
job_cancel(struct job *j)
{
	loop_assert(j->loop);
	j->canceled = true;
	/* Too late when it is being worked on: then it is awaited. */
	(void)uv_cancel((uv_req_t *)&j->uv);
}

/* -- queues -- */

struct queued {
	struct queued *next;
	struct job_queue *queue;
	enum err (*work)(void *ctx, struct error *e);
	void (*done)(void *ctx, enum err r, const struct error *e);
	void *ctx;
};

struct job_queue {
	struct loop *loop;
	struct queued *first, **end; /* the first one is being worked on */
	size_t len;
	bool telling; /* inside a done, which may free the queue */
	bool freed;   /* by its owner: goes when empty */
};

struct job_queue *
job_queue_new(struct loop *l)
{
	struct job_queue *q = mem_new(struct job_queue);

	loop_assert(l);
	q->loop = l;
	q->end = &q->first;
	return q;
}

static enum err
on_queue_work(void *ctx, struct error *e)
{
	const struct queued *job = ctx;

	return job->work(job->ctx, e);
}

static void on_queue_done(void *ctx, enum err r, const struct error *e);

static void
start_first(struct job_queue *q)
{
	job_run(q->loop, on_queue_work, on_queue_done, q->first);
}

static void
free_if_over(struct job_queue *q)
{
	if (q->freed && !q->telling && q->first == NULL)
		free(q);
}

/* The next one is under way before the owner hears of this one: the pool does not wait for the
 * owner, who may free Q. */
static void
on_queue_done(void *ctx, enum err r, const struct error *e)
{
	auto_free struct queued *job = ctx;
	struct job_queue *q = job->queue;

	q->first = job->next;
	q->len--;
	if (q->first != NULL)
		start_first(q);
	else
		q->end = &q->first;
	q->telling = true;
	job->done(job->ctx, r, e);
	q->telling = false;
	free_if_over(q);
}

void
job_queue_run(struct job_queue *q, enum err (*work)(void *ctx, struct error *e),
    void (*done)(void *ctx, enum err r, const struct error *e), void *ctx)
{
	struct queued *job = mem_new(struct queued);
	bool was_empty = q->first == NULL;

	loop_assert(q->loop);
	assert(!q->freed);
	*job = (struct queued){ .queue = q, .work = work, .done = done, .ctx = ctx };
	*q->end = job;
	q->end = &job->next;
	q->len++;
	if (was_empty)
		start_first(q);
}

void
job_queue_free(struct job_queue *q)
{
	if (q == NULL)
		return;
	loop_assert(q->loop);
	q->freed = true;
	free_if_over(q);
}

size_t
job_queue_len(const struct job_queue *q)
{
	return q->len;
}
