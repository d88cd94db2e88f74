/*
 * test_memory_sink: a sink that keeps which leaves came, and compares their bytes with the world's
 * content.
 */
#pragma once

#include "engine/test_transfer_world.h"

#include "base/bitset.h"
#include "engine/unit_fetch.h"

struct memory_sink {
	const struct world *w;
	atomic_uint *taken; /* leaves of each chunk, a bit each */
	atomic_uint twice;  /* leaves that were here already */
	atomic_uint bytes;
};

static inline void
memory_sink_init(struct memory_sink *s, const struct world *w)
{
	*s = (struct memory_sink){ .w = w };
	s->taken = mem_array(atomic_uint, snapshot_map_chunks(w->map));
}

static inline void
memory_sink_clear(struct memory_sink *s)
{
	free(s->taken);
}

/* All leaves of CHUNK. */
static inline uint32_t
memory_sink_all(const struct memory_sink *s, uint32_t chunk)
{
	return (1u << chunk_id_leaf_count(snapshot_map_chunk(s->w->map, chunk)->len)) - 1;
}

static inline void
memory_sink_take(struct memory_sink *s, const struct transfer_leaf *leaf)
{
	const struct snapshot_map_chunk *c = snapshot_map_chunk(s->w->map, leaf->chunk);
	const struct kept_chunk *k = content_find(&s->w->content, &c->id);

	assert_int_equal(leaf->bytes.len, chunk_id_leaf_len(c->len, leaf->leaf));
	assert_memory_equal(
	    leaf->bytes.at, k->bytes + (size_t)leaf->leaf * CHUNK_LEAF, leaf->bytes.len);
	if (atomic_fetch_or(&s->taken[leaf->chunk], 1u << leaf->leaf) >> leaf->leaf & 1)
		atomic_fetch_add(&s->twice, 1);
	else
		atomic_fetch_add(&s->bytes, (unsigned)leaf->bytes.len);
}

/* As struct sink has it; of chunks below END only: the others are not wanted. */
static inline uint32_t
memory_sink_missing(const struct memory_sink *s, uint32_t end, uint32_t unit, struct leaf_run *runs,
    uint32_t *ret_bytes)
{
	struct unit u = snapshot_map_unit(s->w->map, unit);
	struct unit_pieces p = unit_pieces_of(u);
	auto_(bitset_clear) struct bitset have = { 0 };
	uint32_t bytes = 0;

	bitset_init(&have, u.n_leaves);
	for (uint32_t c; unit_pieces_more(&p, &c);) {
		uint32_t len = snapshot_map_chunk(s->w->map, c)->len;
		struct unit_piece piece = unit_pieces_next(&p, len);
		uint32_t taken = atomic_load(&s->taken[c]);
		for (uint32_t i = 0; i < piece.n_leaves; i++) {
			if (c >= end || taken >> (piece.first_leaf + i) & 1)
				bitset_set(&have, piece.unit_leaf + i);
			else
				bytes += chunk_id_leaf_len(len, piece.first_leaf + i);
		}
	}
	*ret_bytes = bytes;
	return bytes == 0 ? 0 : transfer_runs(&have, 0, u.n_leaves, runs);
}
