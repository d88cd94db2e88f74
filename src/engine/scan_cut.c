/* Pure: what the pieces are follows from the bytes alone, however they come. */
#include "base/mem.h"
#include "chunk/chunker.h"
#include "engine/scan_private.h"

bool
scan_cut_is_zero(const uint8_t *p, size_t n)
{
	static const uint8_t zero[16];
	size_t k = min_of(n, sizeof zero);

	/* The beginning is compared with zeroes, all else with what lies 16 bytes before it. */
	return memcmp(p, zero, k) == 0 && memcmp(p, p + k, n - k) == 0;
}

/* Bytes of the block that begins at FROM in LEFT; 0 when it is not there as a whole. */
static size_t
block_at(struct bytes left, size_t from, bool at_end)
{
	size_t rest = left.len - from;

	if (rest >= TREE_HOLE_BLOCK)
		return TREE_HOLE_BLOCK;
	return at_end ? rest : 0;
}

static size_t
hole_length(struct bytes left, bool at_end)
{
	size_t len = 0, n;

	while ((n = block_at(left, len, at_end)) > 0 && scan_cut_is_zero(left.at + len, n))
		len += n;
	return len;
}

/* Moves clear_to on, as far as a chunk may reach; true when the run of data is known to end
 * there. */
static bool
clear_ahead(struct scan_cutter *c, struct bytes left, bool at_end)
{
	size_t n = (size_t)(c->clear_to - c->at), block;

	while (n < CHUNK_MAX) {
		if (n >= left.len)
			return at_end;
		block = block_at(left, n, at_end);
		if (block == 0)
			return false;
		if (scan_cut_is_zero(left.at + n, block))
			return true;
		n += block;
		c->clear_to += block;
	}
	return false;
}

enum scan_cut
scan_cut_next(struct scan_cutter *c, struct bytes left, bool at_end, size_t *ret_len)
{
	if (left.len == 0)
		return SCAN_CUT_MORE;
	if (c->at == c->clear_to) {
		/* Here begins a block. */
		size_t hole = hole_length(left, at_end);
		if (hole > 0) {
			*ret_len = hole;
			c->clear_to = c->at += hole;
			return SCAN_CUT_HOLE;
		}
	}
	bool ends = clear_ahead(c, left, at_end);
	size_t len = chunker_cut(bytes_slice(left, 0, (size_t)(c->clear_to - c->at)), ends);
	if (len == 0)
		return SCAN_CUT_MORE;
	c->at += len;
	*ret_len = len;
	return SCAN_CUT_CHUNK;
}
