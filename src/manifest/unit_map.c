#include "manifest/unit_map.h"

#include <assert.h>

/* ceil(log2(n + 1)): how often one copy has to double to reach N receivers. */
static uint64_t
doublings(uint64_t n)
{
	return n == 0 ? 1 : 64 - (uint64_t)__builtin_clzll(n);
}

uint32_t
unit_map_size(uint64_t bytes, uint64_t receivers)
{
	uint64_t want = bytes / (256 * doublings(receivers));
	uint32_t size = UNIT_MIN;

	while (size < UNIT_MAX && size * 2 <= want)
		size *= 2;
	return size;
}

bool
unit_map_is_size(uint64_t n)
{
	return n >= UNIT_MIN && n <= UNIT_MAX && (n & (n - 1)) == 0;
}

void
unit_cutter_init(struct unit_cutter *c, uint32_t unit_size)
{
	assert(unit_size >= UNIT_MIN && unit_size <= UNIT_MAX);
	*c = (struct unit_cutter){ .unit_size = unit_size };
}

size_t
unit_cutter_end(struct unit_cutter *c, struct unit *out)
{
	if (c->open.n_leaves == 0)
		return 0;
	*out = c->open;
	c->open = (struct unit){ 0 };
	return 1;
}

size_t
unit_cutter_add(struct unit_cutter *c, uint32_t chunk_len, struct unit *out)
{
	uint32_t leaves = chunk_id_leaf_count(chunk_len);
	size_t n = 0;

	assert(chunk_len >= 1 && chunk_len <= CHUNK_MAX);
	for (uint32_t i = 0; i < leaves; i++) {
		uint32_t len = chunk_id_leaf_len(chunk_len, i);
		if (c->open.bytes + len > c->unit_size || c->open.n_leaves == UNIT_LEAVES_MAX)
			n += unit_cutter_end(c, out + n);
		if (c->open.n_leaves == 0)
			c->open =
			    (struct unit){ .first_chunk = c->chunk, .first_leaf = (uint16_t)i };
		c->open.n_leaves++;
		c->open.bytes += len;
	}
	c->chunk++;
	return n;
}

struct unit_pieces
unit_pieces_of(struct unit u)
{
	return (struct unit_pieces){ .unit = u, .chunk = u.first_chunk, .leaf = u.first_leaf };
}

bool
unit_pieces_more(const struct unit_pieces *p, uint32_t *ret_chunk)
{
	if (p->done >= p->unit.n_leaves)
		return false;
	*ret_chunk = p->chunk;
	return true;
}

struct unit_piece
unit_pieces_next(struct unit_pieces *p, uint32_t chunk_len)
{
	uint32_t leaves = chunk_id_leaf_count(chunk_len);

	assert(p->done < p->unit.n_leaves && p->leaf < leaves);
	struct unit_piece piece = {
		.chunk = p->chunk, .first_leaf = p->leaf, .unit_leaf = p->done
	};
	uint32_t in_chunk = leaves - p->leaf, in_unit = p->unit.n_leaves - p->done;
	piece.n_leaves = in_chunk < in_unit ? in_chunk : in_unit;
	p->done += piece.n_leaves;
	p->leaf = 0;
	p->chunk++;
	return piece;
}
