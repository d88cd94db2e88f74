/* One node of a tree by strangers: refused, or canonical to the last byte.  The first byte of the
 * input says of which kind the rest is. */
#include "base/mem.h"
#include "fuzz/fuzz.h"
#include "manifest/causal.h"
#include "manifest/node_spine.h"
#include "manifest/tree.h"

static enum err
on_child(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	(void)e;
	fuzz_require(kind == HASH_TREE || kind == HASH_FILE || kind == HASH_CAUSAL);
	fuzz_require(id->alg == *(const uint8_t *)ctx);
	return OK;
}

/* The value of an accepted node means something, and has one encoding. */
static void
check_value(enum hash_kind kind, const struct node_entry *en)
{
	auto_buf struct buf again = BUF(NODE_ENTRY_MAX);
	struct tree_item items[TREE_INLINE_ITEMS];
	struct tree_entry entry;
	struct causal_entry causal;

	if (kind == HASH_TREE) {
		fuzz_require(tree_entry_decode(en->key, en->value, items, &entry, NULL) == OK);
		fuzz_require(tree_entry_encode(&entry, &again, NULL) == OK);
	} else {
		fuzz_require(causal_entry_decode(en->key, en->value, &causal, NULL) == OK);
		fuzz_require(causal_entry_encode(&causal, &again, NULL) == OK);
	}
	fuzz_require(bytes_equal(en->value, buf_bytes(&again)));
}

static enum err
put(void *ctx, enum hash_kind kind, struct bytes node, struct hash_id *ret_id, struct error *e)
{
	(void)e;
	buf_add_bytes(ctx, node);
	hash_object((enum hash_alg)node.at[2], kind, node, ret_id);
	return OK;
}

static void
put_inner(struct buf *to, enum hash_kind kind, const struct node_entry *en)
{
	if (kind == HASH_FILE) {
		buf_varint(to, en->bytes);
	} else {
		buf_u8(to, (uint8_t)en->key.len);
		buf_add_bytes(to, en->key);
	}
	hash_id_encode(to, &en->id);
}

static void
check_again(enum hash_kind kind, struct bytes node)
{
	auto_buf struct buf again = BUF(2 * NODE_MAX);
	auto_(node_view_clear) struct node_view v = { 0 };
	struct node_entry en;
	struct hash_id root;

	fuzz_require(node_view_open(&v, kind, node, NULL) == OK);
	auto_(node_spine_free_p) struct node_spine *s =
	    node_spine_new(kind, (enum hash_alg)v.alg, (struct node_sink){ put, &again });
	if (v.level > 0)
		buf_add(&again, node.at, 3);
	while (node_view_next(&v, &en, NULL) == OK) {
		if (v.level > 0) {
			put_inner(&again, kind, &en);
			continue;
		}
		if (kind != HASH_FILE)
			check_value(kind, &en);
		fuzz_require(node_spine_add(s, &en, NULL) == OK);
	}
	if (v.level == 0)
		fuzz_require(node_spine_finish(s, &root, NULL) == OK);
	fuzz_require(bytes_equal(node, buf_bytes(&again)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum hash_kind kinds[] = { HASH_TREE, HASH_FILE, HASH_CAUSAL };

	if (size == 0)
		return 0;
	enum hash_kind kind = kinds[data[0] % lengthof(kinds)];
	struct bytes node = BYTES(data + 1, size - 1);
	uint8_t alg = size > 3 ? data[3] : 0;
	if (node_children(kind, node, on_child, &alg, NULL) == OK)
		check_again(kind, node);
	return 0;
}
