#include "manifest/prolly.h"

#include "base/mem.h"
#include "manifest/causal.h"
#include "manifest/node_cursor.h"
#include "manifest/node_spine.h"
#include "manifest/tree.h"

struct prolly_builder {
	enum hash_kind kind;
	enum hash_alg alg;
	struct node_spine *spine;
	uint8_t key[UINT8_MAX], key_len; /* of the entry before */
};

struct prolly_builder *
prolly_builder_new(enum hash_kind kind, enum hash_alg alg, struct node_sink sink)
{
	struct prolly_builder *b = mem_new(struct prolly_builder);

	b->kind = kind;
	b->alg = alg;
	b->spine = node_spine_new(kind, alg, sink);
	return b;
}

void
prolly_builder_free(struct prolly_builder *b)
{
	if (b == NULL)
		return;
	node_spine_free(b->spine);
	free(b);
}

void
prolly_builder_reset(struct prolly_builder *b)
{
	node_spine_reset(b->spine);
	b->key_len = 0;
}

enum err
prolly_builder_add(struct prolly_builder *b, struct bytes key, struct bytes value, struct error *e)
{
	enum err r = node_check_value(b->kind, (uint8_t)b->alg, key, value, e);

	if (r != OK)
		return r;
	if (b->key_len > 0 && bytes_compare(BYTES(b->key, b->key_len), key) >= 0)
		return fail(e, ERR_PROTO, "names are not added in order");
	r = node_spine_add(b->spine, &(struct node_entry){ .key = key, .value = value }, e);
	if (r != OK)
		return r;
	b->key_len = (uint8_t)key.len;
	memcpy(b->key, key.at, key.len);
	return OK;
}

enum err
prolly_builder_finish(struct prolly_builder *b, struct hash_id *ret_root, struct error *e)
{
	return node_spine_finish(b->spine, ret_root, e);
}

struct prolly_iter {
	struct node_cursor *nodes;
};

struct prolly_iter *
prolly_iter_new(enum hash_kind kind, struct node_source source, const struct hash_id *root)
{
	struct prolly_iter *it = mem_new(struct prolly_iter);

	it->nodes = node_cursor_new(kind, source, root, 0);
	return it;
}

void
prolly_iter_free(struct prolly_iter *it)
{
	if (it == NULL)
		return;
	node_cursor_free(it->nodes);
	free(it);
}

enum err
prolly_iter_next(
    struct prolly_iter *it, struct bytes *ret_key, struct bytes *ret_value, struct error *e)
{
	struct node_entry en;
	enum err r = node_cursor_next(it->nodes, &en, e);

	if (r != OK)
		return r;
	*ret_key = en.key;
	*ret_value = en.value;
	return OK;
}

/* One level of a search: in a leaf the entry of KEY, above it the last child that does not begin
 * behind KEY. */
static enum err
find_in(struct node_view *v, struct bytes key, struct node_entry *ret, struct error *e)
{
	struct node_entry en;
	bool found = false;

	for (;;) {
		enum err r = node_view_next(v, &en, e);
		if (r != OK && r != ERR_NOTFOUND)
			return r;
		int c = r == OK ? bytes_compare(en.key, key) : 1;
		if (c > 0)
			return found ? OK : ERR_NOTFOUND;
		if (v->level > 0 || c == 0) {
			*ret = en;
			found = true;
		}
		if (c == 0)
			return OK;
	}
}

static enum err
check_child(const struct node_view *v, unsigned level_above, struct error *e)
{
	if (v->level + 1u != level_above)
		return fail(
		    e, ERR_PROTO, "node of level %u under one of %u", v->level, level_above);
	if (node_view_at_end(v))
		return fail(e, ERR_PROTO, "empty node in a tree");
	return OK;
}

/* Goes down one level at each round: levels fall by one from below NODE_LEVEL_MAX. */
enum err
prolly_get(enum hash_kind kind, struct node_source source, const struct hash_id *root,
    struct bytes key, struct buf *ret, struct error *e)
{
	auto_(node_view_clear) struct node_view v = { 0 };
	auto_buf struct buf node = BUF(NODE_MAX);
	struct hash_id id = *root;
	unsigned above = 0;

	for (;;) {
		struct node_entry en;
		enum err r = node_view_load(&v, kind, source, &id, &node, e);
		if (r == OK && above > 0)
			r = check_child(&v, above, e);
		if (r == OK)
			r = find_in(&v, key, &en, e);
		if (r != OK)
			return r;
		if (v.level == 0)
			return buf_add_bytes(ret, en.value)
				   ? OK
				   : fail(e, ERR_LIMIT, "no room for a value");
		id = en.id;
		above = v.level;
	}
}
