/*
 * rng: seeded dice for pure code and simulations (xoshiro256**, Blackman and Vigna 2018, seeded by
 * splitmix64).  Reproducible, not secret: keys and secrets come from crypto/random.h.
 */
#pragma once

#include <stdint.h>

struct rng {
	uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_u64(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* 0 .. n-1, without bias; n > 0 */
void rng_fill(struct rng *r, void *to, uint64_t n);
