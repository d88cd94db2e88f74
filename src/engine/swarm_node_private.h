/*
 * swarm_node_private: what the files of swarm_node share with each other and with nobody else.
 *
 *   swarm_node.c        the swarm's shell: what happens is told, what it answers is done
 *   swarm_node_peers.c  those who take part or did
 *   swarm_node_taker.c  the taking side
 */
#pragma once

#include "base/array.h"
#include "base/map.h"
#include "base/speed.h"
#include "engine/swarm_node.h"
#include "session/swarm_talk.h"

struct node_peer {
	uint64_t id;       /* of its connection, for swarm and unit_fetch */
	struct peer *peer; /* NULL: it took part, and has left */
	struct device_id device;
	size_t at;                /* in `peers` */
	struct node_peer *same;   /* another state of the same device: two connections at once */
	struct swarm_peer_opts o; /* as it is placed */
	bool banned;              /* for good: also when it connects again */
	uint32_t wrong; /* leaves, over all its connections: who comes anew does not begin anew */
	struct speed in, out;
	uint64_t wire_in, wire_out;
	uint64_t from_afar;      /* as it says: bytes that came to it over far connections */
	struct swarm_stats last; /* once it has left */
};

struct node_taker;
struct swarm_node {
	struct swarm_node_opts o;
	struct swarm_place self;
	struct swarm *swarm;
	struct swarm_talk *talk;
	ARRAY(struct node_peer *) peers;
	struct map by_peer;   /* who is here */
	struct map by_id;     /* ... and who was, by the last connection */
	struct map by_device; /* the first of `same` */
	size_t gone;          /* that have left and are remembered */
	uint64_t next_id;
	struct task pump;
	struct timer *wake;
	struct speed in, out;
	uint64_t wire_in, wire_out, far_in, far_out;
	struct node_taker *taker; /* NULL: nothing is taken */
	unsigned takers;          /* that are not freed */
	bool closing, posted;     /* posted: free_posted will come */
	void (*on_closed)(void *ctx);
	void *on_closed_ctx;
};

/* -- swarm_node_peers.c -- */

struct node_peer *swarm_node_find(const struct swarm_node *n, const struct peer *p);
void swarm_node_peers_free(struct swarm_node *n);
bool swarm_node_is_far(const struct swarm_node *n, const struct node_peer *np);
/* NULL: it has left. */
struct node_peer *swarm_node_find_id(struct swarm_node *n, uint64_t id);
/* ... it is here on another connection, or forgotten. */
struct node_peer *swarm_node_find_sender(struct swarm_node *n, uint64_t id);

/* -- swarm_node.c -- */

uint64_t swarm_node_now_ms(const struct swarm_node *n);
void swarm_node_pump(struct swarm_node *n);        /* at the end of the turn */
void swarm_node_free_closed(struct swarm_node *n); /* if it is closed, and nothing holds it */

/* -- swarm_node_taker.c -- */

bool swarm_node_taker_start(struct swarm_node *n, const struct swarm_node_taker *t);
/* on_done is not told any more; ON_STOPPED may be NULL. */
void swarm_node_taker_stop(struct swarm_node *n, void (*on_stopped)(void *ctx), void *ctx);
void swarm_node_taker_peer_add(struct swarm_node *n, const struct node_peer *np);
void swarm_node_taker_peer_gone(struct swarm_node *n, const struct node_peer *np);
/* For swarm_talk. */
void swarm_node_taker_take(void *node, uint64_t peer, uint32_t unit);
void swarm_node_taker_drop(void *node, uint64_t peer, uint32_t unit);
void swarm_node_taker_lost(struct swarm_node *n, uint32_t unit);
/* Before and after swarm has its say. */
void swarm_node_taker_before(struct swarm_node *n);
void swarm_node_taker_after(struct swarm_node *n);
/* Are requests paused: the disk is behind? */
bool swarm_node_taker_is_behind(const struct swarm_node *n);
