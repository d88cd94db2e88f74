#include "base/bitset.h"

#include <assert.h>

#include "base/mem.h"

void
bitset_init(struct bitset *s, size_t n)
{
	*s = (struct bitset){ .words = mem_array(uint64_t, (n + 63) / 64), .n = n };
}

void
bitset_clear(struct bitset *s)
{
	free(s->words);
	*s = (struct bitset){ 0 };
}

bool
bitset_set(struct bitset *s, size_t i)
{
	assert(i < s->n);
	if (bitset_has(s, i))
		return false;
	s->words[i / 64] |= (uint64_t)1 << (i % 64);
	s->count++;
	return true;
}

bool
bitset_unset(struct bitset *s, size_t i)
{
	assert(i < s->n);
	if (!bitset_has(s, i))
		return false;
	s->words[i / 64] &= ~((uint64_t)1 << (i % 64));
	s->count--;
	return true;
}

size_t
bitset_next(const struct bitset *s, size_t from, bool value)
{
	for (size_t i = from; i < s->n;) {
		uint64_t w = s->words[i / 64];
		if (!value)
			w = ~w;
		w &= ~(uint64_t)0 << (i % 64);
		if (w != 0) {
			size_t found = i / 64 * 64 + (size_t)__builtin_ctzll(w);
			return found < s->n ? found : s->n;
		}
		i = (i / 64 + 1) * 64;
	}
	return s->n;
}
