#include "manifest/node_spine.h"

#include "base/mem.h"
#include "manifest/node_cut.h"
#include "manifest/tree_item.h"

struct level {
	struct buf node;                     /* open; empty between two nodes */
	uint8_t first[UINT8_MAX], first_len; /* key of its first entry */
	uint64_t bytes;                      /* beneath it */
	uint64_t closed;                     /* nodes of this level so far */
	struct hash_id last;                 /* the latest of them */
};

struct node_spine {
	enum hash_kind kind;
	enum hash_alg alg;
	struct node_sink sink;
	unsigned n; /* levels in use */
	struct level levels[NODE_LEVEL_MAX];
	struct causal_pack *pack;
};

struct node_spine *
node_spine_new(enum hash_kind kind, enum hash_alg alg, struct node_sink sink)
{
	struct node_spine *s = mem_new(struct node_spine);

	*s = (struct node_spine){ .kind = kind, .alg = alg, .sink = sink };
	if (kind == HASH_CAUSAL)
		s->pack = causal_pack_new();
	for (unsigned i = 0; i < NODE_LEVEL_MAX; i++)
		s->levels[i].node = BUF(NODE_MAX);
	return s;
}

void
node_spine_free(struct node_spine *s)
{
	if (s == NULL)
		return;
	for (unsigned i = 0; i < NODE_LEVEL_MAX; i++)
		buf_clear(&s->levels[i].node);
	causal_pack_free(s->pack);
	free(s);
}

static void
reset_node(struct node_spine *s, struct level *l)
{
	buf_reset(&l->node);
	l->bytes = 0;
	if (s->pack != NULL && l == s->levels)
		causal_pack_reset(s->pack);
}

void
node_spine_reset(struct node_spine *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		reset_node(s, &s->levels[i]);
		s->levels[i].closed = 0;
	}
	s->n = 0;
}

static void
open_node(struct node_spine *s, unsigned at, struct bytes key)
{
	struct level *l = &s->levels[at];

	buf_u8(&l->node, NODE_VERSION);
	buf_u8(&l->node, (uint8_t)at);
	buf_u8(&l->node, (uint8_t)s->alg);
	if (key.len > 0)
		memcpy(l->first, key.at, key.len);
	l->first_len = (uint8_t)key.len;
}

static void
put_entry(struct node_spine *s, unsigned at, const struct node_entry *en)
{
	struct buf *to = &s->levels[at].node;

	if (s->kind != HASH_FILE) {
		buf_u8(to, (uint8_t)en->key.len);
		buf_add_bytes(to, en->key);
	}
	if (s->kind == HASH_FILE && at == 0) {
		tree_item_encode(to, &(struct tree_item){ .id = en->id, .len = en->bytes });
	} else if (at == 0) {
		buf_varint(to, en->value.len);
		buf_add_bytes(to, en->value);
	} else {
		if (s->kind == HASH_FILE)
			buf_varint(to, en->bytes);
		hash_id_encode(to, &en->id);
	}
}

static enum err close_node(struct node_spine *s, unsigned at, struct error *e);

/* Goes up at most NODE_LEVEL_MAX levels. */
static enum err
add(struct node_spine *s, unsigned at, const struct node_entry *en, struct error *e)
{
	if (at >= NODE_LEVEL_MAX)
		return fail(e, ERR_LIMIT, "tree of more than %d levels", NODE_LEVEL_MAX);
	struct level *l = &s->levels[at];
	s->n = max_of(s->n, at + 1);
	if (l->node.len == 0)
		open_node(s, at, en->key);

	size_t before = l->node.len;
	put_entry(s, at, en);
	l->bytes += en->bytes;
	size_t size = l->node.len - before;
	if (l->node.full || size > NODE_ENTRY_MAX)
		return fail(
		    e, ERR_LIMIT, "entry of a tree is larger than %d bytes", NODE_ENTRY_MAX);

	struct bytes by = en->key;
	if (s->kind == HASH_FILE)
		by = BYTES(en->id.bytes, hash_id_is_none(&en->id) ? 0 : HASH_BYTES);
	bool full = at == 0 && s->pack != NULL && causal_pack_is_full(s->pack);
	return full || node_cut((uint8_t)at, by, size, l->node.len) ? close_node(s, at, e) : OK;
}

static enum err
close_node(struct node_spine *s, unsigned at, struct error *e)
{
	struct level *l = &s->levels[at];
	struct node_entry up = { .key = BYTES(l->first, l->first_len), .bytes = l->bytes };
	enum err r = s->sink.put(s->sink.ctx, s->kind, buf_bytes(&l->node), &up.id, e);

	if (r != OK)
		return r;
	l->last = up.id;
	l->closed++;
	reset_node(s, l);
	return add(s, at + 1, &up, e);
}

enum err
node_spine_add(struct node_spine *s, const struct node_entry *en, struct error *e)
{
	struct node_entry packed = *en;
	struct reader r = reader_over(en->value);

	if (s->pack == NULL)
		return add(s, 0, en, e);
	packed.value = causal_pack_close(s->pack, en->value, &r);
	if (r.bad)
		return fail(e, ERR_PROTO, "not a causal entry");
	return add(s, 0, &packed, e);
}

/* The root is the only node of its level: a level with one node needs none above it. */
enum err
node_spine_finish(struct node_spine *s, struct hash_id *ret_root, struct error *e)
{
	if (s->n == 0) {
		open_node(s, 0, BYTES(NULL, 0));
		s->n = 1;
	}
	for (unsigned at = 0; at < s->n; at++) {
		struct level *l = &s->levels[at];
		enum err r = l->node.len > 0 ? close_node(s, at, e) : OK;
		if (r != OK)
			return r;
		if (l->closed == 1) {
			*ret_root = l->last;
			return OK;
		}
	}
	return fail(e, ERR_BUG, "tree without a root");
}
