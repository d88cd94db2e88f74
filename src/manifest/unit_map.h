/*
 * unit_map: the swarm's units: runs of leaves over a snapshot's distinct chunks in manifest order.
 *
 * The sequence: walk the content tree in manifest order, each file's chunks in order; a chunk
 * counts where it is met first.  Its leaves, one chunk after the other, are cut into units: a unit
 * is closed before the leaf that would make it larger than the unit size, or give it more than
 * UNIT_LEAVES_MAX leaves.  So the partition follows from the manifest and the unit size alone and
 * is the same on every node; a unit may be a part of a big chunk or 100 small files
 * (docs/format-manifest.md).
 *
 * Pure.
 */
#pragma once

#include "chunk/chunk_id.h"

enum {
	UNIT_MIN = 64 * 1024,
	UNIT_MAX = 4 * 1024 * 1024,
	UNIT_LEAVES_MAX = 1024,
};
#define UNIT_CHUNKS_MAX ((uint64_t)1 << 32) /* distinct chunks of a snapshot */

/* Power of two <= bytes / (256 * ceil(log2(receivers + 1))), within UNIT_MIN..UNIT_MAX. */
uint32_t unit_map_size(uint64_t bytes, uint64_t receivers);
/* Is N a size that units may have? */
bool unit_map_is_size(uint64_t n);

struct unit {
	uint32_t first_chunk; /* index in the sequence */
	uint16_t first_leaf;  /* in that chunk */
	uint16_t n_leaves;
	uint32_t bytes;
};

/* Cuts: feed the chunk lengths in order; a finished unit is told when the next chunk or the end
 * shows it. */
struct unit_cutter {
	uint32_t unit_size;
	uint32_t chunk; /* the next one's index */
	struct unit open;
};
void unit_cutter_init(struct unit_cutter *c, uint32_t unit_size);
/* Adds the next chunk, of 1..CHUNK_MAX bytes.  Writes finished units to OUT (room for
 * CHUNK_LEAVES_MAX + 1); returns how many. */
size_t unit_cutter_add(struct unit_cutter *c, uint32_t chunk_len, struct unit *out);
size_t unit_cutter_end(struct unit_cutter *c, struct unit *out); /* 0 or 1 */

/* One chunk's part of a unit. */
struct unit_piece {
	uint32_t chunk; /* index in the sequence */
	uint32_t first_leaf, n_leaves;
	uint32_t unit_leaf; /* index of its first leaf within the unit */
};
/*
 * Walks a unit's pieces, asking for the length of each chunk that it touches:
 *	struct unit_pieces p = unit_pieces_of(unit);
 *	for (uint32_t chunk; unit_pieces_more(&p, &chunk);)
 *		use(unit_pieces_next(&p, length_of(chunk)));
 */
struct unit_pieces {
	struct unit unit;
	uint32_t chunk, leaf, done;
};
struct unit_pieces unit_pieces_of(struct unit u);
/* The chunk index whose length the next call needs; false at the end. */
bool unit_pieces_more(const struct unit_pieces *p, uint32_t *ret_chunk);
struct unit_piece unit_pieces_next(struct unit_pieces *p, uint32_t chunk_len);
