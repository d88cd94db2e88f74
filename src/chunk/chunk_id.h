/*
 * chunk_id: the name of a chunk: the root over its leaves.
 *
 * A chunk is 1 .. CHUNK_MAX bytes, cut into leaves of 64 KiB (the last one shorter).
 * leaf = H(0 | bytes); id = H(1 | length u64 | leaf hashes), also when there is one leaf
 * (docs/format-chunk.md).  The leaf list of a chunk (at most 512 bytes) travels ahead of its
 * bytes, so each leaf is checked as it arrives.
 *
 * Pure.  Threads  any.
 */
#pragma once

#include "crypto/hash.h"

enum {
	CHUNK_LEAF = 64 * 1024,
	CHUNK_MIN = 64 * 1024,
	CHUNK_AVG = 256 * 1024,
	CHUNK_MAX = 1024 * 1024,
	CHUNK_LEAVES_MAX = CHUNK_MAX / CHUNK_LEAF, /* 16 */
};

/* Leaf hashes without the algorithm byte. */
struct leaf_list {
	uint32_t n;
	uint8_t hash[CHUNK_LEAVES_MAX][HASH_BYTES];
};

static inline uint32_t
chunk_id_leaf_count(uint32_t chunk_len)
{
	return (chunk_len + CHUNK_LEAF - 1) / CHUNK_LEAF;
}
static inline uint32_t
chunk_id_leaf_len(uint32_t chunk_len, uint32_t leaf)
{
	uint32_t from = leaf * CHUNK_LEAF;
	return chunk_len - from < CHUNK_LEAF ? chunk_len - from : CHUNK_LEAF;
}
/* Hashes the leaves of a whole chunk and names it.  RET_LEAVES may be NULL. */
void chunk_id_of(
    enum hash_alg alg, struct bytes chunk, struct leaf_list *ret_leaves, struct hash_id *ret);
/* The name that a leaf list implies. */
void chunk_id_of_leaves(
    enum hash_alg alg, uint32_t chunk_len, const struct leaf_list *l, struct hash_id *ret);
/* Does LEAVES belong to the chunk ID of CHUNK_LEN bytes? */
bool chunk_id_leaves_match(const struct hash_id *id, uint32_t chunk_len, const struct leaf_list *l);
bool chunk_id_matches(const struct hash_id *id, struct bytes chunk);
