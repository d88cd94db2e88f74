/*
 * fetch_nodes: brings the manifest of one snapshot here: content tree, causal tree and parents' commits, node by node, asking only
 * for what the node store lacks, level by level, many per request.
 *
 * Each node must hash to the id that its parent (or the signed commit) names; each is checked (node_children) before it is kept.
 * Bounded memory: a stack of ids.  Resumes by itself: a node that is here is not asked for again.
 * When it is done the whole manifest has been walked and checked (tree_walk, totals as the commit declares).
 *
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
	const struct commit *commit;   /* copied as far as needed */
	/* Each node that belongs to the snapshot, fetched or found, and the commit, in a job, one at a time: to record that
	 * the share has it. */
	enum err (*on_node)(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e); /* may be NULL */
	/* May a node that is in the store already be used without fetching?  NULL: yes.  In a job. */
	bool (*may_reuse)(void *ctx, const struct hash_id *id);
	void (*on_progress)(void *ctx, uint64_t nodes, uint64_t bytes); /* may be NULL */
	void (*on_done)(void *ctx, enum err r, const struct error *e);  /* once; not after close */
	void *ctx;
};
/* Asks PEER; when it goes, hand in another with fetch_nodes_peer, or close. */
struct fetch_nodes *fetch_nodes_start(const struct fetch_nodes_opts *o, struct peer *peer);
void fetch_nodes_peer(struct fetch_nodes *f, struct peer *peer); /* NULL: gone, wait */
/* Frees later, when its jobs are done: then ON_CLOSED (may be NULL), from the loop; on_node may run until then. */
void fetch_nodes_close(struct fetch_nodes *f, void (*on_closed)(void *ctx), void *ctx);
