#include "tests/sim/store.h"

#include <assert.h>

#include "base/mem.h"

enum { KEY_BYTES = 1 + HASH_ID_BYTES };

static void
key_of(enum hash_kind kind, const struct hash_id *id, uint8_t key[static KEY_BYTES])
{
	key[0] = (uint8_t)kind;
	memcpy(key + 1, id, HASH_ID_BYTES);
}

void
store_clear(struct store *s)
{
	map_each (it, &s->nodes) {
		buf_clear(it->ptr);
		free(it->ptr);
	}
	map_clear(&s->nodes);
	map_clear(&s->by_id);
	array_each (c, &s->chunks)
		free(c->bytes);
	array_clear(&s->chunks);
	array_clear(&s->ids);
	array_clear(&s->lens);
	array_clear(&s->units);
	array_clear(&s->unit_leaf);
	bitset_clear(&s->have);
}

static void
keep(struct store *s, enum hash_kind kind, const struct hash_id *id, struct bytes node)
{
	uint8_t key[KEY_BYTES];
	bool is_new;

	key_of(kind, id, key);
	struct map_slot *slot = map_put(&s->nodes, BYTES_OF(key), &is_new);
	if (!is_new)
		return;
	struct buf *b = mem_new(struct buf);
	*b = BUF(NODE_MAX);
	buf_add_bytes(b, node);
	slot->ptr = b;
}

enum err
store_put_node(struct store *s, enum hash_kind kind, const struct hash_id *id, struct bytes node,
    struct error *e)
{
	struct hash_id is;

	hash_object(id->alg, kind, node, &is);
	if (!hash_id_equal(&is, id))
		return fail(e, ERR_CORRUPT, "the node does not hash to its id");
	enum err r = node_children(kind, node, NULL, NULL, e);
	if (r == OK)
		keep(s, kind, id, node);
	return r;
}

struct bytes
store_node(const struct store *s, enum hash_kind kind, const struct hash_id *id)
{
	uint8_t key[KEY_BYTES];

	key_of(kind, id, key);
	const struct buf *b = map_ptr(&s->nodes, BYTES_OF(key));
	return b != NULL ? buf_bytes(b) : BYTES(NULL, 0);
}

static enum err
source_get(
    void *ctx, enum hash_kind kind, const struct hash_id *id, struct buf *out, struct error *e)
{
	struct bytes node = store_node(ctx, kind, id);

	if (node.at == NULL)
		return fail(e, ERR_NOTFOUND, "the node is not here");
	return buf_add_bytes(out, node) ? OK : fail(e, ERR_LIMIT, "no room for the node");
}

static enum err
sink_put(void *ctx, enum hash_kind kind, struct bytes node, struct hash_id *ret_id, struct error *e)
{
	(void)e;
	hash_object(HASH_DEFAULT, kind, node, ret_id);
	keep(ctx, kind, ret_id, node);
	return OK;
}

struct node_source
store_source(struct store *s)
{
	return (struct node_source){ .get = source_get, .ctx = s };
}

struct node_sink
store_sink(struct store *s)
{
	return (struct node_sink){ .put = sink_put, .ctx = s };
}

/* -- chunks and units -- */

static void
add_units(struct store *s, const struct unit *units, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t last = s->units.len;
		size_t leaf =
		    last == 0 ? 0 : s->unit_leaf.at[last - 1] + s->units.at[last - 1].n_leaves;
		array_push(&s->units, units[i]);
		array_push(&s->unit_leaf, leaf);
	}
}

static void
add_chunk(struct store *s, const struct tree_item *item, size_t *leaves, struct unit_cutter *cutter)
{
	struct unit units[CHUNK_LEAVES_MAX + 1];
	uint32_t len = (uint32_t)item->len;
	bool is_new;

	struct map_slot *slot = map_put(&s->by_id, hash_id_bytes(&item->id), &is_new);
	if (!is_new)
		return;
	slot->num = s->chunks.len;
	array_push(&s->chunks,
	    ((struct store_chunk){ .id = item->id, .len = len, .first_leaf = *leaves }));
	array_push(&s->ids, item->id);
	array_push(&s->lens, len);
	*leaves += chunk_id_leaf_count(len);
	add_units(s, units, unit_cutter_add(cutter, len, units));
}

static enum err
add_file(struct store *s, const struct tree_entry *en, size_t *leaves, struct unit_cutter *cutter,
    struct error *e)
{
	auto_(tree_items_free_p) struct tree_items *it = tree_items_new(store_source(s), en);
	struct tree_item item;
	enum err r;

	while ((r = tree_items_next(it, &item, e)) == OK)
		if (!hash_id_is_none(&item.id))
			add_chunk(s, &item, leaves, cutter);
	return r == ERR_NOTFOUND ? OK : r;
}

enum err
store_map(struct store *s, const struct hash_id *root, uint32_t unit_size, struct error *e)
{
	auto_(tree_walk_free_p) struct tree_walk *w = tree_walk_new(store_source(s), root);
	struct unit_cutter cutter;
	struct unit last;
	struct tree_entry en;
	struct relpath path;
	enum tree_step step;
	size_t leaves = 0;
	enum err r;

	unit_cutter_init(&cutter, unit_size);
	while ((r = tree_walk_next(w, &step, &path, &en, e)) == OK) {
		if (en.type == TREE_FILE && step == TREE_ENTER)
			r = add_file(s, &en, &leaves, &cutter, e);
		if (r != OK)
			return r;
	}
	if (r != ERR_NOTFOUND)
		return r;
	add_units(s, &last, unit_cutter_end(&cutter, &last));
	bitset_init(&s->have, leaves);
	return OK;
}

uint32_t
store_unit_chunks(const struct store *s, const struct unit *u)
{
	struct unit_pieces p = unit_pieces_of(*u);
	uint32_t n = 0;

	for (uint32_t chunk; unit_pieces_more(&p, &chunk); n++)
		(void)unit_pieces_next(&p, s->lens.at[chunk]);
	return n;
}

bool
store_take(struct store *s, uint32_t chunk, uint32_t leaf, struct bytes bytes,
    const struct leaf_list *list)
{
	struct store_chunk *c = &s->chunks.at[chunk];

	assert(bytes.len == chunk_id_leaf_len(c->len, leaf));
	if (c->bytes == NULL)
		c->bytes = mem_zalloc(c->len);
	memcpy(c->bytes + (size_t)leaf * CHUNK_LEAF, bytes.at, bytes.len);
	if (list != NULL)
		c->leaves = *list;
	return bitset_set(&s->have, c->first_leaf + leaf);
}

const struct store_chunk *
store_chunk(const struct store *s, const struct hash_id *id)
{
	const struct map_slot *slot = map_find(&s->by_id, hash_id_bytes(id));

	if (slot == NULL)
		return NULL;
	const struct store_chunk *c = &s->chunks.at[slot->num];
	for (uint32_t i = 0; i < chunk_id_leaf_count(c->len); i++)
		if (!bitset_has(&s->have, c->first_leaf + i))
			return NULL;
	return c;
}
