/* test_swarm_one: one swarm and what its peers say, for tests of what it answers. */
#pragma once

#include "tests/unit.h"

#include "base/bitset.h"
#include "base/mem.h"
#include "swarm/swarm.h"

enum { N = 200, UNIT = 65536 };
#define S ((uint64_t)1000000)

static inline struct swarm *
open_swarm(struct swarm_opts o)
{
	o.n_units = o.n_units == 0 ? N : o.n_units;
	o.unit_size = UNIT;
	return swarm_new(&o);
}

static inline struct swarm *
open_holding(struct swarm_opts o, uint32_t n)
{
	struct swarm *s = open_swarm(o);

	for (uint32_t u = 0; u < n; u++)
		swarm_hold(s, u);
	return s;
}

/* A peer that says that it has nothing. */
static inline void
add_peer(struct swarm *s, uint64_t peer)
{
	swarm_peer_add(s, peer, &(struct swarm_peer_opts){ .last_resort = false }, 0);
	assert_true(swarm_peer_news(s, peer, &(struct swarm_news){ .inbound = 0 }, 0));
}

static inline void
add_last_resort(struct swarm *s, uint64_t peer)
{
	swarm_peer_add(s, peer, &(struct swarm_peer_opts){ .last_resort = true }, 0);
	assert_true(swarm_peer_news(s, peer, &(struct swarm_news){ .inbound = 0 }, 0));
}

static inline void
say_has(struct swarm *s, uint64_t peer, uint32_t first, uint32_t n)
{
	const struct swarm_run run = { .first = first, .n = n };

	assert_true(swarm_peer_news(s, peer, &(struct swarm_news){ .have = &run, .n_have = 1 }, 0));
}

static inline void
say_awaits(struct swarm *s, uint64_t peer, uint32_t first, uint32_t n)
{
	const struct swarm_run run = { .first = first, .n = n };

	assert_true(
	    swarm_peer_news(s, peer, &(struct swarm_news){ .await = &run, .n_await = 1 }, 0));
}

/* The offer is taken and sent at once. */
static inline void
serve(struct swarm *s, struct swarm_offer o, uint64_t now_us)
{
	assert_true(swarm_accepted(s, o.peer, o.unit, now_us));
	swarm_sent(s, o.peer, o.unit, UNIT, now_us);
}
