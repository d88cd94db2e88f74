/* Keys are fixed point: minus the binary logarithm of a draw in (0, 1], over the weight. */
#include "swarm/swarm_rank.h"

#include "base/mem.h"

enum {
	LOG_BITS = 26,      /* behind the point; 6 before it: a draw has 64 bits */
	WEIGHT_UNIT = 1024, /* bytes/s: of the weights that a key is divided by */
	WEIGHT_SHIFT = 31,  /* what the heaviest leaves of a key: 32 bits */
};

uint64_t
swarm_rank_weight(uint64_t before, uint64_t rate)
{
	uint64_t to = rate != 0 ? rate : before != 0 ? before : SWARM_RANK_UNKNOWN;

	if (before != 0 && to / 2 < before && to > before / 2)
		return before;
	return to;
}

/* All bits of X depend on all of those handed in (the finisher of splitmix64). */
static uint64_t
mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* -log2(X / 2^64), for X > 0: the leading zeros, then a bit for each squaring. */
static uint64_t
minus_log2(uint64_t x)
{
	unsigned zeros = (unsigned)__builtin_clzll(x);
	uint64_t fraction = 0, m = x << zeros >> 32; /* 1 <= m / 2^31 < 2 */

	for (int i = 0; i < LOG_BITS; i++) {
		m = m * m >> 31;
		fraction <<= 1;
		if (m >> 32 != 0) {
			fraction |= 1;
			m >>= 1;
		}
	}
	return ((uint64_t)(zeros + 1) << LOG_BITS) - fraction;
}

uint64_t
swarm_rank_key(uint64_t site, uint64_t node, uint64_t weight)
{
	uint64_t draw = mix(mix(site + UINT64_C(0x9e3779b97f4a7c15)) ^ node);
	uint64_t heavy = max_of(weight / WEIGHT_UNIT, UINT64_C(1));

	heavy = min_of(heavy, UINT64_C(1) << WEIGHT_SHIFT);
	return (minus_log2(draw | 1) << WEIGHT_SHIFT) / heavy;
}

uint8_t
swarm_rank_gateways(uint64_t line, uint64_t median, size_t members)
{
	uint64_t n = SWARM_RANK_GATEWAYS;

	if (line != 0 && median != 0) {
		if (line > UINT64_MAX / SWARM_RANK_FILL) {
			line /= 2 * SWARM_RANK_FILL;
			median = median / (2 * SWARM_RANK_FILL) + 1;
		}
		n = line * SWARM_RANK_FILL / median + (line * SWARM_RANK_FILL % median != 0);
		n = min_of(max_of(n, (uint64_t)SWARM_RANK_GATEWAYS_MIN),
		    (uint64_t)SWARM_RANK_GATEWAYS_MAX);
	}
	return (uint8_t)min_of(n, (uint64_t)members);
}

uint8_t
swarm_rank_candidates(uint8_t gateways, size_t members)
{
	return (uint8_t)min_of((size_t)2 * gateways, members);
}
