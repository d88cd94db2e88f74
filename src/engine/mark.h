/*
 * mark: everything a snapshot is made of, once: its commit, its nodes and, in them, its chunks.
 * What a collection keeps.
 *
 * Blocking: in a job.  Memory: about 100 bytes a node of what one struct mark has seen.
 */
#pragma once

#include "base/map.h"
#include "chunk/chunk_store.h"
#include "manifest/commit.h"

struct mark {
	struct chunk_store *nodes; /* where commits and nodes lie */
	/* Each node (and the commit, as HASH_COMMIT), before its children.  May be NULL. */
	enum err (*on_node)(
	    void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e);
	void *ctx;
	struct map seen;
};
/* Nodes met by an earlier call with the same M are passed over with all below them. */
enum err mark_snapshot(struct mark *m, const struct hash_id *commit, struct hash_id *ret_content,
    struct error *e) must_check;
void mark_clear(struct mark *m);
