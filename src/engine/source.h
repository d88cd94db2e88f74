/*
 * source: whoever can answer for a share's nodes and chunks: the server's store, or an agent's own
 * files.
 *
 * Every call names the share: bytes are never given by bare hash.  Calls run in the pool, any
 * number at once.
 */
#pragma once

#include "chunk/chunk_id.h"
#include "engine/snapshot_map.h"

/* Leaves of a chunk: FIRST and the N - 1 after it.  The chunk is named by its number in MAP, which
 * is of SNAPSHOT; who has it only staged finds it by that. */
struct source_leaves {
	const struct hash_id *share, *snapshot;
	const struct snapshot_map *map;
	uint32_t chunk, first, n;
};
struct source {
	/* Node bytes appended to OUT, when the node belongs to SHARE; else ERR_NOTFOUND.
	 * ERR_CORRUPT: it does, and is damaged or lost. */
	enum err (*get_node)(void *ctx, const struct hash_id *share, const struct hash_id *snapshot,
	    enum hash_kind kind, const struct hash_id *id, struct buf *out, struct error *e);
	/* The map of SNAPSHOT, which belongs to SHARE; borrowed until put_map. */
	enum err (*get_map)(void *ctx, const struct hash_id *share, const struct hash_id *snapshot,
	    uint32_t unit_size, struct snapshot_map **ret, struct error *e);
	void (*put_map)(void *ctx, struct snapshot_map *m);
	/* As chunk_store_get_leaves: verified. */
	enum err (*get_leaves)(void *ctx, const struct source_leaves *which, uint8_t *to,
	    uint32_t *ret_len, struct leaf_list *ret_leaves, struct error *e);
	void *ctx;
};
