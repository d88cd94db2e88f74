/*
 * store: what a machine of the simulation holds, in memory: nodes by id, and the chunks of one
 * snapshot in manifest order with the units over them.
 */
#pragma once

#include "base/array.h"
#include "base/bitset.h"
#include "base/map.h"
#include "manifest/tree.h"
#include "manifest/unit_map.h"

struct store_chunk {
	struct hash_id id;
	uint32_t len;
	size_t first_leaf;       /* in store.have */
	uint8_t *bytes;          /* NULL until the first leaf came */
	struct leaf_list leaves; /* n 0 until known */
};
struct store {
	struct map nodes; /* kind and id -> struct buf */
	ARRAY(struct store_chunk) chunks;
	ARRAY(struct hash_id)
	ids; /* of the chunks, and their lengths, as transfer_check wants them */
	ARRAY(uint32_t) lens;
	struct map by_id; /* chunk id -> index */
	ARRAY(struct unit) units;
	ARRAY(size_t) unit_leaf; /* first leaf of a unit in `have` */
	struct bitset have;      /* leaves */
};

void store_clear(struct store *s);
struct node_source store_source(struct store *s);
struct node_sink store_sink(struct store *s);
/* Keeps NODE if it hashes to ID and is well-formed: ERR_CORRUPT, ERR_PROTO. */
enum err store_put_node(struct store *s, enum hash_kind kind, const struct hash_id *id,
    struct bytes node, struct error *e) must_check;
/* Borrowed; at NULL when it is not here. */
struct bytes store_node(const struct store *s, enum hash_kind kind, const struct hash_id *id);
/* Lists the chunks of ROOT, whose nodes are all here, and cuts the units. */
enum err store_map(
    struct store *s, const struct hash_id *root, uint32_t unit_size, struct error *e) must_check;
uint32_t store_unit_chunks(const struct store *s, const struct unit *u);
/* Takes a verified leaf; false when it was here. */
bool store_take(struct store *s, uint32_t chunk, uint32_t leaf, struct bytes bytes,
    const struct leaf_list *list);
/* All of a chunk, NULL if it is not here. */
const struct store_chunk *store_chunk(const struct store *s, const struct hash_id *id);
