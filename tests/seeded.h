/* seeded: bytes for tests that look random, follow from a seed and are the same in every run. */
#pragma once

#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

static inline void
seeded_fill(uint64_t seed, void *to, size_t n)
{
	struct rng g;

	rng_seed(&g, seed);
	rng_fill(&g, to, n);
}

/* To be freed.  Not a byte more, so that the sanitizers see who reads behind them. */
static inline uint8_t *
seeded_bytes(uint64_t seed, size_t n)
{
	uint8_t *b = mem_alloc(max_of(n, (size_t)1));

	seeded_fill(seed, b, n);
	return b;
}

/* Each BLOCK of them zero with a chance of ZEROES in 8; never dense enough to compress by
 * accident. */
static inline uint8_t *
seeded_with_holes(uint64_t seed, size_t n, size_t block, unsigned zeroes)
{
	uint8_t *b = mem_alloc(max_of(n, (size_t)1));
	struct rng g;

	rng_seed(&g, seed);
	rng_fill(&g, b, n);
	for (size_t at = 0; at < n; at += block)
		if (rng_below(&g, 8) < zeroes)
			memset(b + at, 0, min_of(n - at, block));
	return b;
}
