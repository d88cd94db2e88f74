#include <assert.h>

#include "base/mem.h"
#include "engine/scan_private.h"

struct scan_pool {
	pthread_mutex_t lock;
	pthread_cond_t work; /* a job came, or the end */
	pthread_cond_t done; /* a job that somebody waits for is done */
	struct scan_job *first, *last;
	const struct scan_job *awaited;
	bool stop;
	unsigned idle; /* threads that wait for work */
	unsigned n;
	pthread_t threads[SCAN_THREADS_MAX];
	struct scan_worker own; /* of the thread that submits */
};

/* Room for one file, made when a thread needs it first. */
static void
worker_init(struct scan_worker *w)
{
	*w = (struct scan_worker){ .buf = mem_alloc(SCAN_SMALL) };
}

static struct scan_job *
take(struct scan_pool *p)
{
	struct scan_job *j = p->first;

	if (j != NULL) {
		p->first = j->next;
		if (p->first == NULL)
			p->last = NULL;
	}
	return j;
}

/* With the lock, which is given up meanwhile. */
static void
run(struct scan_pool *p, struct scan_job *j, struct scan_worker *w)
{
	pthread_mutex_unlock(&p->lock);
	j->run(j, w);
	pthread_mutex_lock(&p->lock);
	bool awaited = p->awaited == j;
	/* J may be gone from here on */
	atomic_store_explicit(&j->done, true, memory_order_release);
	if (awaited)
		pthread_cond_signal(&p->done);
}

static void *
work(void *arg)
{
	struct scan_pool *p = arg;
	struct scan_worker w;

	worker_init(&w);
	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct scan_job *j = take(p);
		if (j != NULL) {
			run(p, j, &w);
		} else if (p->stop) {
			break;
		} else {
			p->idle++;
			pthread_cond_wait(&p->work, &p->lock);
			p->idle--;
		}
	}
	pthread_mutex_unlock(&p->lock);
	free(w.buf);
	return NULL;
}

struct scan_pool *
scan_pool_new(unsigned threads)
{
	struct scan_pool *p = mem_new(struct scan_pool);

	assert(threads >= 1 && threads <= SCAN_THREADS_MAX);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->done, NULL);
	worker_init(&p->own);
	/* Without a thread more the work is done all the same, by whoever waits for it. */
	while (p->n < threads - 1 && pthread_create(&p->threads[p->n], NULL, work, p) == 0)
		p->n++;
	return p;
}

void
scan_pool_free(struct scan_pool *p)
{
	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->first = p->last = NULL;
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n; i++)
		pthread_join(p->threads[i], NULL);
	free(p->own.buf);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->done);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void
scan_pool_submit(struct scan_pool *p, struct scan_job *j)
{
	j->next = NULL;
	atomic_store_explicit(&j->done, false, memory_order_relaxed);
	pthread_mutex_lock(&p->lock);
	if (p->last != NULL)
		p->last->next = j;
	else
		p->first = j;
	p->last = j;
	if (p->idle > 0)
		pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

void
scan_pool_wait(struct scan_pool *p, struct scan_job *j)
{
	if (atomic_load_explicit(&j->done, memory_order_acquire))
		return;
	pthread_mutex_lock(&p->lock);
	while (!atomic_load_explicit(&j->done, memory_order_relaxed)) {
		struct scan_job *other = take(p);
		if (other != NULL) {
			run(p, other, &p->own);
		} else {
			p->awaited = j;
			pthread_cond_wait(&p->done, &p->lock);
			p->awaited = NULL;
		}
	}
	pthread_mutex_unlock(&p->lock);
}
