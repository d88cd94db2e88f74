/*
 * why: what is said of a snapshot's swarm at one node: who gave and took how much, by class, what
 * was refused, who was cut off, and what limits it.  For `weft why`, of an agent and of the server.
 *
 * The owner says what it is about and what only it knows; why_look takes the rest from the
 * swarm_node and judges; why_send says it (docs/cli-json.md).
 *
 * Threads  the loop's.
 */
#pragma once

#include "control/control_server.h"
#include "engine/bottleneck.h"
#include "engine/swarm_node.h"

struct why {
	/* -- by the owner -- */
	const char *share;
	struct hash_id snapshot;       /* none: not known yet */
	int64_t job;                   /* 0: none is at it */
	const struct swarm_node *node; /* NULL: nothing moves between members */
	uint32_t units, held;          /* without a node */
	struct device_id server;
	/* Borrowed until the next call; "": not known. */
	const char *(*name)(void *ctx, const struct device_id *device);
	const char *(*site)(void *ctx, const struct device_id *device);
	const char *own_site; /* of its members is told what they told us; NULL: none */
	bool all_sites;       /* ... and of all others (the server) */
	void *ctx;
	struct bottleneck_facts facts; /* but what a node knows */

	/* -- by why_look -- */
	struct swarm_node_summary sum;
	struct swarm_node_peer *peers;
	size_t n_peers;
	struct bottleneck limit;
};
void why_look(struct why *w);
void why_send(struct why *w, struct control_call *call); /* rows; not the end of the call */
void why_clear(struct why *w);
