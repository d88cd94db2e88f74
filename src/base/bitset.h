/*
 * bitset: a fixed number of bits.  Zero is the empty set of no bits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bitset {
	uint64_t *words;
	size_t n;     /* bits */
	size_t count; /* bits set */
};

void bitset_init(struct bitset *s, size_t n);
void bitset_clear(struct bitset *s);           /* frees */
bool bitset_set(struct bitset *s, size_t i);   /* true if it was unset */
bool bitset_unset(struct bitset *s, size_t i); /* true if it was set */
/* First bit at or after FROM whose value is VALUE; s->n if there is none. */
size_t bitset_next(const struct bitset *s, size_t from, bool value);

static inline bool
bitset_has(const struct bitset *s, size_t i)
{
	return i < s->n && (s->words[i / 64] >> (i % 64) & 1) != 0;
}
