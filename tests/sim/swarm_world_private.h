/* What the parts of swarm_world share; not for others. */
#pragma once

#include "base/bitset.h"
#include "tests/sim/sim.h"
#include "tests/sim/swarm_world.h"

enum world_event_kind {
	EV_BEGIN, /* all that are there from the beginning come */
	EV_JOIN,
	EV_DIE,
	EV_RANK, /* the server has seen that somebody came to a site or went */
	EV_GONE, /* END learns that the other is gone */
	EV_OFFER,
	EV_ACCEPT,
	EV_DECLINE,
	EV_NEWS,
	EV_CANCEL,
	EV_SENT,   /* a block has left the other's uplink for END */
	EV_ENTER,  /* ... has come to the line of END's site */
	EV_DOWN,   /* ... to END's downlink */
	EV_TAKEN,  /* ... has passed it */
	EV_CREDIT, /* END knows that the other has taken it */
};

struct world_event {
	struct sim_event event;
	struct world *world;
	enum world_event_kind kind;
	uint32_t end;  /* the connection's end at which it happens */
	uint32_t node; /* JOIN, DIE */
	uint32_t unit;
	uint32_t bytes;  /* of a block; DECLINE: why */
	uint32_t serial; /* which acceptance of the unit */
	bool last;
	struct swarm_news *news;   /* owned, with its runs behind it */
	struct world_event *after; /* in the list of free ones */
};

struct world_service { /* accepted from us, to be sent */
	uint32_t end, unit, serial;
	uint32_t left;
};
struct world_incoming { /* a unit that we accepted */
	uint32_t unit, serial, got;
};
struct world_end { /* one side of a connection; its number is what swarm knows the peer by */
	uint32_t node, other; /* whose; the other end */
	bool open, blocked;   /* blocked: its window was full when something was to go out */
	uint32_t window;      /* bytes under way to the other */
	uint64_t said_us;     /* when the last message arrives there */
	uint64_t came_us;     /* when the last block gets to this one */
	ARRAY(struct world_incoming) units;
};
struct world_node {
	struct world_node_opts o;
	struct swarm *swarm;
	bool here, dead;
	struct swarm_place place;
	ARRAY(uint32_t) ends;
	ARRAY(struct world_service) fifo;
	bool sending;
	struct world_event wake;
	uint64_t sent_bytes;
	uint64_t done_us;
	ARRAY(uint32_t) banned; /* nodes, by this one */
};
struct world_site { /* as the server sees it: by labels that are believed */
	ARRAY(uint32_t) members;
	ARRAY(uint32_t) candidates; /* for gateway, best first */
	ARRAY(uint32_t) knows;      /* sites that its candidates are connected with */
	uint8_t gateways;
	bool home; /* an origin is in it, whatever its label says */
};
struct world {
	const struct world_opts *o;
	struct sim sim;
	struct world_node *nodes;
	ARRAY(struct world_end) ends;
	ARRAY(struct world_site) sites;
	ARRAY(uint32_t) last_resorts;
	ARRAY(struct world_event *) pools;
	struct world_event *free;
	uint64_t fruit_us; /* when somebody came or went, or a unit was delivered */
	uint32_t serial;
	struct world_result result;
};

/* -- swarm_world.c -- */

/* A copy of EV happens at AT_US. */
void world_schedule(struct world *w, uint64_t at_us, struct world_event ev);
/* NODE does soon what follows from what happened. */
void world_act(struct world *w, uint32_t node);
static inline struct world_node *
world_owner(struct world *w, uint32_t end)
{
	return &w->nodes[w->ends.at[end].node];
}
static inline struct world_node *
world_other(struct world *w, uint32_t end)
{
	return world_owner(w, w->ends.at[end].other);
}
static inline bool
world_is_here(const struct world_node *n)
{
	return n->here && !n->dead;
}

/* -- swarm_world_lines.c: what moves -- */

bool world_is_cut(const struct world *w, uint32_t end);
/* A message to the other side of END; what is said while the line is cut arrives when it is whole
 * again, as with TCP. */
void world_say(struct world *w, uint32_t end, struct world_event ev);
/* The uplink of NODE takes the next block, if it is free. */
void world_send_next(struct world *w, uint32_t node);
/* Nothing more is sent of the acceptance SERIAL; false: nothing was. */
bool world_end_service(struct world_node *n, uint32_t end, uint32_t serial);
void world_on_sent(struct world *w, const struct world_event *ev);
void world_on_enter(struct world *w, const struct world_event *ev);
void world_on_down(struct world *w, const struct world_event *ev);
void world_on_credit(struct world *w, const struct world_event *ev);

/* -- swarm_world_places.c: who is where, and connected with whom -- */

void world_places_open(struct world *w);
void world_places_clear(struct world *w);
/* NODE is here now: it is a member of its site. */
void world_places_enter(struct world *w, uint32_t node);
void world_places_leave(struct world *w, uint32_t node);
/* NODE finds others of its site. */
void world_places_connect(struct world *w, uint32_t node);
/* The server ranks the candidates of the site of NODE anew, and tells all who must know. */
void world_places_rank(struct world *w, uint32_t node);
