/*
 * gate: where threads of the code under test wait until the test lets them pass.  To be included
 * after check.h.
 */
#pragma once

#include <pthread.h>

#define GATE_SHUT 0
#define GATE_OPEN UINT32_MAX

struct gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t open_below; /* who has a smaller number passes */
	unsigned waiting;
};

static inline void
gate_init(struct gate *g)
{
	*g = (struct gate){ .open_below = GATE_OPEN };
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
}

static inline void
gate_clear(struct gate *g)
{
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
}

static inline void
gate_set(struct gate *g, uint32_t open_below)
{
	pthread_mutex_lock(&g->lock);
	g->open_below = open_below;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

/* Passes, and keeps all others out until gate_leave. */
static inline void
gate_enter(struct gate *g, uint32_t number)
{
	pthread_mutex_lock(&g->lock);
	g->waiting++;
	pthread_cond_broadcast(&g->changed);
	while (number >= g->open_below)
		pthread_cond_wait(&g->changed, &g->lock);
	g->waiting--;
}

static inline void
gate_leave(struct gate *g)
{
	pthread_mutex_unlock(&g->lock);
}

static inline void
gate_pass(struct gate *g, uint32_t number)
{
	gate_enter(g, number);
	gate_leave(g);
}

static inline unsigned
gate_waiting(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	unsigned n = g->waiting;
	pthread_mutex_unlock(&g->lock);
	return n;
}

/* Until somebody waits at it. */
static inline void
gate_await(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	while (g->waiting == 0)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}
