#include "manifest/node_view.h"

#include "base/mem.h"
#include "manifest/node_cut.h"
#include "manifest/tree_item.h"

void
node_view_clear(struct node_view *v)
{
	causal_pack_free(v->pack);
	*v = (struct node_view){ 0 };
}

enum err
node_view_open(struct node_view *v, enum hash_kind kind, struct bytes node, struct error *e)
{
	struct node_view open = {
		.kind = kind, .node = node, .at = reader_over(node), .pack = v->pack
	};

	if (node.len > NODE_MAX)
		return fail(e, ERR_PROTO, "node of %zu bytes", node.len);
	uint8_t version = reader_u8(&open.at);
	open.level = reader_u8(&open.at);
	open.alg = reader_u8(&open.at);
	if (open.at.bad || version != NODE_VERSION)
		return fail(e, ERR_PROTO, "node of format %u: this program knows %d", version,
		    NODE_VERSION);
	if (open.level >= NODE_LEVEL_MAX || !hash_alg_known(open.alg))
		return fail(e, ERR_PROTO, "node of level %u, algorithm %u", open.level, open.alg);
	if (reader_left(&open.at) == 0 && (open.level > 0 || kind == HASH_FILE))
		return fail(e, ERR_PROTO, "empty node at level %u", open.level);
	if (kind == HASH_CAUSAL && open.level == 0) {
		if (open.pack == NULL)
			open.pack = causal_pack_new();
		causal_pack_reset(open.pack);
	}
	*v = open;
	return OK;
}

static struct bytes
read_key(struct reader *r)
{
	return reader_take(r, reader_u8(r));
}

static struct bytes
read_value(struct node_view *v)
{
	struct reader *r = &v->at;
	struct bytes value = reader_take(r, min_of(reader_varint(r), (uint64_t)SIZE_MAX));

	return v->pack != NULL && !r->bad ? causal_pack_open(v->pack, value, r) : value;
}

static struct node_entry
read_entry(struct node_view *v)
{
	struct reader *r = &v->at;
	struct node_entry en = { 0 };

	if (v->kind != HASH_FILE)
		en.key = read_key(r);
	if (v->kind == HASH_FILE && v->level == 0) {
		struct tree_item item = tree_item_decode(r);
		en.id = item.id;
		en.bytes = item.len;
	} else if (v->level == 0) {
		en.value = read_value(v);
	} else {
		if (v->kind == HASH_FILE)
			en.bytes = reader_varint(r);
		en.id = hash_id_decode(r);
	}
	return en;
}

enum err
node_view_next(struct node_view *v, struct node_entry *ret, struct error *e)
{
	const uint8_t *start = v->at.at;

	if (node_view_at_end(v))
		return ERR_NOTFOUND;
	if (v->cut)
		return fail(e, ERR_PROTO, "node goes on where it has to end");
	struct node_entry en = read_entry(v);
	size_t size = (size_t)(v->at.at - start);
	if (v->at.bad || size > NODE_ENTRY_MAX)
		return fail(e, ERR_PROTO, "entry %zu of a node is malformed", v->entries);
	if (!hash_id_is_none(&en.id) && en.id.alg != v->alg)
		return fail(e, ERR_PROTO, "node of algorithm %u with an id of another", v->alg);

	struct bytes by = en.key;
	if (v->kind == HASH_FILE)
		by = BYTES(en.id.bytes, hash_id_is_none(&en.id) ? 0 : HASH_BYTES);
	else if (en.key.len == 0 || (v->entries > 0 && bytes_compare(v->key, en.key) >= 0))
		return fail(e, ERR_PROTO, "names of a node are empty, out of order or double");
	v->cut = node_cut(v->level, by, size, (size_t)(v->at.at - v->node.at)) ||
		 (v->pack != NULL && causal_pack_is_full(v->pack));
	v->key = en.key;
	v->entries++;
	*ret = en;
	return OK;
}

enum err
node_view_load(struct node_view *v, enum hash_kind kind, struct node_source source,
    const struct hash_id *id, struct buf *node, struct error *e)
{
	char name[HASH_ID_TEXT];

	if (node->max == 0)
		*node = BUF(NODE_MAX);
	buf_reset(node);
	enum err r = source.get(source.ctx, kind, id, node, e);
	if (r == ERR_NOTFOUND)
		return fail(e, ERR_CORRUPT, "node %s is missing", hash_id_format(id, name));
	if (r == OK && node->full)
		r = fail(e, ERR_PROTO, "node is larger than %d bytes", NODE_MAX);
	if (r == OK)
		r = node_view_open(v, kind, buf_bytes(node), e);
	if (r == OK && v->alg != id->alg)
		r = fail(e, ERR_PROTO, "node says algorithm %u", v->alg);
	if (r == OK || e == NULL)
		return r;
	return error_wrap(e, r, "node %s", hash_id_format(id, name));
}
