/*
 * sim: a network in one process: a virtual clock, an event queue, machines with lines, and messages
 * between them.
 *
 * Everything follows from the seed: the same seed gives the same run, event by event.  Time is in
 * microseconds and costs nothing; what costs is events, about 100 ns each, so 100,000 machines with
 * millions of messages fit in minutes.  Events are intrusive: whoever schedules one owns its
 * memory, and nothing here allocates while it runs.
 *
 * A message passes the lines between its machines: the sender's uplink, its site's line out and the
 * other's in when the sites differ, the receiver's downlink.  Each is a queue served in the order
 * of sending at a rate; then the delay.  All lines are reserved when the message is sent: one event
 * a message.  `wire` makes connections like those of TCP from messages; swarm simulations may send
 * structs without any bytes.
 */
#pragma once

#include <stdbool.h>

#include "base/array.h"
#include "base/rng.h"

#define SIM_MS ((uint64_t)1000)
#define SIM_S  ((uint64_t)1000000)

struct sim;
struct sim_event { /* in the owner's memory; zero is "not scheduled" */
	void (*fn)(struct sim *s, struct sim_event *ev); /* container_of leads to the owner */
	uint64_t at_us, seq;                             /* equal times: in the order scheduled */
	size_t pos;                                      /* in the heap, from 1 */
};
struct sim_line {
	uint64_t rate;    /* bytes a second; 0: no limit */
	uint64_t free_us; /* when what was sent before is through */
	uint64_t bytes;   /* ever */
};
struct sim_site {
	struct sim_line out, in;
};
struct sim_node {
	struct sim_line up, down;
	uint32_t site;
	uint32_t island; /* machines on different islands do not hear each other */
	bool down_now;   /* switched off */
	void *ctx;
};
struct sim {
	uint64_t now_us, events;
	struct rng rng;
	ARRAY(struct sim_event *) heap;
	uint64_t seq;
	ARRAY(struct sim_node) nodes;
	ARRAY(struct sim_site) sites;
	uint64_t lan_us, wan_us;  /* one way, within a site and between sites */
	uint32_t jitter_permille; /* of the delay, at most, added */
};
struct sim_message {
	struct sim_event event; /* event.fn: what happens on arrival */
	uint32_t from, to;
	uint32_t bytes; /* on the wire */
};

void sim_init(struct sim *s, uint64_t seed);
void sim_clear(struct sim *s);
static inline uint64_t
sim_now_ms(const struct sim *s)
{
	return s->now_us / SIM_MS;
}

/* Schedules EV, or moves it when it is scheduled already.  Not in the past. */
void sim_at(struct sim *s, struct sim_event *ev, uint64_t at_us);
void sim_cancel(struct sim *s, struct sim_event *ev);
static inline bool
sim_is_scheduled(const struct sim_event *ev)
{
	return ev->pos != 0;
}
/* Runs until nothing is scheduled (true, and the time is that of the last event), or the time has
 * come. */
bool sim_run(struct sim *s, uint64_t until_us);

uint32_t sim_site_add(struct sim *s, uint64_t out, uint64_t in); /* rates */
uint32_t sim_node_add(struct sim *s, uint32_t site, uint64_t up, uint64_t down, void *ctx);
bool sim_is_reachable(const struct sim *s, uint32_t a, uint32_t b); /* both on, and on one island */
uint64_t sim_delay_us(struct sim *s, uint32_t from, uint32_t to);
/* When BYTES that come to L at AT_US are through: they wait for what came before. */
uint64_t sim_line_pass(struct sim_line *l, uint64_t at_us, uint64_t bytes);
/* When a message of BYTES sent now would be there; the lines count it as sent. */
uint64_t sim_pass(struct sim *s, uint32_t from, uint32_t to, uint32_t bytes);
/* Sends M: event.fn runs on arrival, whatever became of the receiver meanwhile. */
void sim_send(struct sim *s, struct sim_message *m);
