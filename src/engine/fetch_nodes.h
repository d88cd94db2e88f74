/*
 * fetch_nodes: brings the manifest of one snapshot here: content tree and causal tree, node by
 * node, asking only for what the node store lacks, many per request.
 *
 * Each node must hash to the id that its parent (or the signed commit) names; each is checked
 * (node_children) before it is kept.  What came is committed every second or MiB, and a node that
 * is here is not asked for again: whoever is killed goes on where it was.  When it is done the
 * whole manifest has been walked and checked (tree_walk, totals as the commit declares).
 *
 * Memory   under 48 MiB for the worst of manifests, a few MiB for others, whatever their size.
 * Threads  the loop's; the store is used in jobs.
 */
#pragma once

#include "chunk/chunk_store.h"
#include "engine/requester.h"
#include "manifest/commit.h"

struct fetch_nodes;
struct fetch_nodes_opts {
	struct loop *loop;
	struct chunk_store *nodes;
	const struct commit *commit; /* copied as far as needed */
	/* Each node that belongs to the snapshot, fetched or found, in a job, one at a time, above
	 * those below it, now and then twice: to record that the share has it.  May be NULL. */
	enum err (*on_node)(
	    void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e);
	/* May a node that is in the store already be used without fetching?  NULL: yes.  In a job.
	 */
	bool (*may_reuse)(void *ctx, const struct hash_id *id);
	void (*on_progress)(void *ctx, uint64_t nodes, uint64_t bytes); /* may be NULL */
	/* ERR_CORRUPT: a wrong node, or one that the source has lost; ERR_PROTO, ERR_LIMIT: no
	 * manifest is like that; else what the source or the store said.  Once; not after close. */
	void (*on_done)(void *ctx, enum err r, const struct error *e);
	void *ctx;
};
/* Asks PEER (NULL: none yet). */
struct fetch_nodes *fetch_nodes_start(const struct fetch_nodes_opts *o, struct peer *peer);
/* Asks PEER from now on; what was asked of another still counts.  NULL: nobody. */
void fetch_nodes_peer(struct fetch_nodes *f, struct peer *peer);
/* Before PEER is freed.  Its requests end here; if it was the one to ask, another is waited for. */
void fetch_nodes_peer_gone(struct fetch_nodes *f, struct peer *peer);
/* Frees later, when its jobs are done: then ON_CLOSED (may be NULL), from the loop; on_node may run
 * until then. */
void fetch_nodes_close(struct fetch_nodes *f, void (*on_closed)(void *ctx), void *ctx);
size_t fetch_nodes_waiting(const struct fetch_nodes *f); /* ids met and not yet looked at */
