/*
 * The hash of a position is G = sum of gear[byte k back] << k over the bytes before it.  A step is
 * one shift and one addition, and a byte has left the 64-bit word after 64 steps: whether a
 * position is a candidate depends on the 64 bytes before it and on nothing else.  So hashing may
 * begin 64 bytes before the first candidate, and what lies below the minimum is skipped unread.
 *
 * The loop takes two bytes a step, which shortens the chain of dependent additions (4.1 instead
 * of 2.3 GB/s). Its intermediate value stands one bit further left than in the one-byte form, so
 * the masks must leave bit 63 alone: a bit that is shifted out cannot be tested.
 */
#include "chunk/chunker.h"

#include <assert.h>

#include "base/mem.h"
#include "chunk/chunk_id.h"
#include "chunk/gen/gear.h"

/* Every second bit downward from 62: 20 of them before the average is reached, 16 after
 * (normalisation 2). */
#define MASK_BEFORE UINT64_C(0x5555555555000000)
#define MASK_AFTER  UINT64_C(0x5555555500000000)
#define WINDOW      64

static_assert(MASK_BEFORE >> 63 == 0 && MASK_AFTER >> 63 == 0, "the two-byte form loses bit 63");
static_assert(
    CHUNK_MIN >= WINDOW && CHUNK_MIN < CHUNK_AVG && CHUNK_AVG < CHUNK_MAX, "ordered sizes");

/* Tests the positions FROM + 1 .. TO; *HASH is the hash at FROM, and at TO when 0 (nothing found)
 * is returned. */
static size_t
scan(const uint8_t *b, size_t from, size_t to, uint64_t mask, uint64_t *hash)
{
	uint64_t h = *hash;
	size_t i = from;

	for (; i + 2 <= to; i += 2) {
		h = (h << 2) + (GEAR[b[i]] << 1);
		if ((h & mask << 1) == 0)
			return i + 1;
		h += GEAR[b[i + 1]];
		if ((h & mask) == 0)
			return i + 2;
	}
	if (i < to) {
		h = (h << 1) + GEAR[b[i]];
		if ((h & mask) == 0)
			return i + 1;
	}
	*hash = h;
	return 0;
}

size_t
chunker_cut(struct bytes b, bool at_end)
{
	size_t end = min_of(b.len, (size_t)CHUNK_MAX), turn = min_of(end, (size_t)CHUNK_AVG - 1);
	bool last = at_end || b.len >= CHUNK_MAX;
	uint64_t hash = 0;
	size_t cut = 0;

	if (end < CHUNK_MIN)
		return at_end ? end : 0;
	for (size_t i = CHUNK_MIN - WINDOW; i < CHUNK_MIN - 1; i++)
		hash = (hash << 1) + GEAR[b.at[i]];
	cut = scan(b.at, CHUNK_MIN - 1, turn, MASK_BEFORE, &hash);
	if (cut == 0)
		cut = scan(b.at, turn, end, MASK_AFTER, &hash);
	if (cut == 0 && last)
		cut = end;
	return cut;
}

const uint64_t *
chunker_gear(void)
{
	return GEAR;
}
