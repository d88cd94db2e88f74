/*
 * `weft limit --background on`: what this node moves over far connections makes way for all other
 * traffic of its lines (net/yield).  Ten times a second each connection that moves something says
 * how long packets take now and at best; the middle one of their queues counts, so that neither one
 * bad radio link nor one far end's own trouble slows all.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "engine/engine_internal.h"
#include "platform/tcp_line.h"

enum { LOOK_MS = 100, SEEN_MAX = 64 /* connections; of more a part says enough */ };

struct seen {
	uint64_t rtt_us, base_us;
};
struct look {
	struct seen at[SEEN_MAX];
	size_t n;
	uint64_t resent;
};

static uint64_t
queue_of(const struct seen *s)
{
	return s->rtt_us - min_of(s->rtt_us, s->base_us);
}

static int
by_queue(const void *a, const void *b)
{
	uint64_t x = queue_of(a), y = queue_of(b);

	return (x > y) - (x < y);
}

static void
see(struct look *k, struct peer *p)
{
	struct tcp_line t;

	if (p == NULL || peer_is_near(p) || k->n == SEEN_MAX || !conn_measure(peer_conn(p), &t) ||
	    t.rtt_us == 0 || t.rtt_min_us == 0)
		return;
	k->resent += t.resent;
	k->at[k->n++] = (struct seen){ .rtt_us = t.rtt_us, .base_us = t.rtt_min_us };
}

static void
see_device(void *ctx, struct mesh_device *d)
{
	see(ctx, mesh_device_peer(d));
}

static void
look_way(struct engine *en, enum throttle_way way, struct yield_sight *sight, uint64_t now_ms)
{
	struct engine_yield *y = &en->yield;
	uint64_t total = throttle_far_total(en->o.throttle, way);

	sight->moved = total - y->total[way];
	y->total[way] = total;
	(void)yield_look(&y->ways[way], now_ms, sight);
}

static void
look(struct engine *en)
{
	struct look k = { .n = 0 };
	struct yield_sight sight = { 0 };
	struct engine_yield *y = &en->yield;

	see(&k, en->link.ready ? en->link.peer : NULL);
	if (en->mesh != NULL)
		mesh_each(en->mesh, see_device, &k);
	if (k.n > 0) {
		qsort(k.at, k.n, sizeof k.at[0], by_queue);
		sight.rtt_us = (uint32_t)min_of(k.at[k.n / 2].rtt_us, (uint64_t)UINT32_MAX);
		sight.base_us = (uint32_t)min_of(k.at[k.n / 2].base_us, (uint64_t)UINT32_MAX);
		sight.lost = k.resent > y->resent;
	}
	y->resent = k.resent;
	look_way(en, THROTTLE_UP, &sight, loop_now_ms(en->loop));
	look_way(en, THROTTLE_DOWN, &sight, loop_now_ms(en->loop));
	limits_pace(en->limits, &(struct schedule_rates){ .up = y->ways[THROTTLE_UP].rate,
				    .down = y->ways[THROTTLE_DOWN].rate });
}

static void
on_time(void *ctx)
{
	struct engine *en = ctx;

	look(en);
	timer_start(en->yield.timer, LOOK_MS);
}

void
engine_yield_set(struct engine *en, bool on)
{
	struct engine_yield *y = &en->yield;
	const struct schedule_rates none = { 0 };

	if (on == (y->timer != NULL) || en->o.throttle == NULL)
		return;
	if (!on) {
		engine_yield_close(en);
		limits_pace(en->limits, &none);
		return;
	}
	for (int i = 0; i < THROTTLE_WAYS; i++) {
		yield_init(&y->ways[i], loop_now_ms(en->loop));
		y->total[i] = throttle_far_total(en->o.throttle, (enum throttle_way)i);
	}
	y->timer = timer_new(en->loop, on_time, en);
	on_time(en);
}

void
engine_yield_close(struct engine *en)
{
	timer_close(en->yield.timer);
	en->yield.timer = NULL;
}
