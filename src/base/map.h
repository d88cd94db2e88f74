/*
 * map: a hash table from byte keys to 64-bit values or pointers, open addressing, keys copied.
 *
 * The hash is keyed (SipHash-1-3) with a seed from the process, so that a peer cannot aim for
 * collisions. The order of iteration is unspecified: nothing that must be the same on two machines
 * may depend on it.
 */
#pragma once

#include "base/bytes.h"

struct map_slot {
	uint8_t *key; /* heap copy, NULL when empty */
	uint32_t key_len;
	uint32_t hash;
	union {
		void *ptr;
		uint64_t num;
	};
};

struct map {
	struct map_slot *slots;
	size_t len, room; /* room is 0 or a power of two */
};

void map_clear(struct map *m); /* frees keys and table, not what pointers point at */
/* Borrowed until the next map_put or map_del; NULL if absent. */
struct map_slot *map_find(const struct map *m, struct bytes key);
/* The slot of KEY, made with value 0 when absent; *RET_NEW (may be NULL) says which. */
struct map_slot *map_put(struct map *m, struct bytes key, bool *ret_new);
bool map_del(struct map *m, struct bytes key);        /* false if absent */
void *map_ptr(const struct map *m, struct bytes key); /* NULL if absent */

/* Iterates over all slots; deleting during the walk is not allowed. */
#define map_each(it, m)                                                                            \
	for (struct map_slot *it = (m)->slots; it != NULL && it < (m)->slots + (m)->room; it++)    \
		if (it->key == NULL) {                                                             \
		} else
