#include "base/map.h"

#include <sys/random.h>
#include <pthread.h>

#include "base/mem.h"

static uint64_t seed[2];
static pthread_once_t seeded = PTHREAD_ONCE_INIT;

static void
make_seed(void)
{
	if (getrandom(seed, sizeof seed, 0) != (ssize_t)sizeof seed)
		seed[0] = (uint64_t)(uintptr_t)&seed;
}

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

static inline void
sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = ROTL(v[1], 13) ^ v[0];
	v[0] = ROTL(v[0], 32);
	v[2] += v[3];
	v[3] = ROTL(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = ROTL(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = ROTL(v[1], 17) ^ v[2];
	v[2] = ROTL(v[2], 32);
}

/* SipHash-1-3 (Aumasson and Bernstein 2012), folded to 32 bits. */
static uint32_t
hash_key(struct bytes key)
{
	pthread_once(&seeded, make_seed);
	uint64_t v[4] = { seed[0] ^ 0x736f6d6570736575, seed[1] ^ 0x646f72616e646f6d,
		seed[0] ^ 0x6c7967656e657261, seed[1] ^ 0x7465646279746573 };
	size_t whole = key.len & ~(size_t)7;
	uint64_t word;

	for (size_t i = 0; i < whole; i += 8) {
		memcpy(&word, key.at + i, 8);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	word = (uint64_t)key.len << 56;
	if (key.len > whole)
		memcpy(&word, key.at + whole, key.len - whole);
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	uint64_t h = v[0] ^ v[1] ^ v[2] ^ v[3];
	return (uint32_t)(h ^ h >> 32);
}

static struct map_slot *
probe(const struct map *m, struct bytes key, uint32_t hash)
{
	size_t i = hash & (m->room - 1);

	for (;; i = (i + 1) & (m->room - 1)) {
		struct map_slot *s = &m->slots[i];
		if (s->key == NULL)
			return s;
		if (s->hash == hash && bytes_equal(BYTES(s->key, s->key_len), key))
			return s;
	}
}

static void
grow(struct map *m)
{
	struct map bigger = { .room = m->room > 0 ? m->room * 2 : 16, .len = m->len };

	bigger.slots = mem_array(struct map_slot, bigger.room);
	map_each (s, m)
		*probe(&bigger, BYTES(s->key, s->key_len), s->hash) = *s;
	free(m->slots);
	*m = bigger;
}

struct map_slot *
map_find(const struct map *m, struct bytes key)
{
	if (m->len == 0)
		return NULL;
	struct map_slot *s = probe(m, key, hash_key(key));
	return s->key != NULL ? s : NULL;
}

struct map_slot *
map_put(struct map *m, struct bytes key, bool *ret_new)
{
	if ((m->len + 1) * 4 > m->room * 3)
		grow(m);
	uint32_t hash = hash_key(key);
	struct map_slot *s = probe(m, key, hash);
	bool is_new = s->key == NULL;
	if (is_new) {
		*s = (struct map_slot){
			.key = mem_dup(key.at, key.len), .key_len = (uint32_t)key.len, .hash = hash
		};
		m->len++;
	}
	if (ret_new != NULL)
		*ret_new = is_new;
	return s;
}

bool
map_del(struct map *m, struct bytes key)
{
	struct map_slot *s = map_find(m, key);

	if (s == NULL)
		return false;
	free(s->key);
	s->key = NULL;
	m->len--;
	/* Backward shift: whoever probed past the hole moves into it; no tombstones are needed. */
	size_t mask = m->room - 1, hole = (size_t)(s - m->slots);
	for (size_t i = (hole + 1) & mask; m->slots[i].key != NULL; i = (i + 1) & mask) {
		size_t home = m->slots[i].hash & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			m->slots[hole] = m->slots[i];
			m->slots[i].key = NULL;
			hole = i;
		}
	}
	return true;
}

void *
map_ptr(const struct map *m, struct bytes key)
{
	struct map_slot *s = map_find(m, key);

	return s != NULL ? s->ptr : NULL;
}

void
map_clear(struct map *m)
{
	map_each (s, m)
		free(s->key);
	free(m->slots);
	*m = (struct map){ 0 };
}
