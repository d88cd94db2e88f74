#include "manifest/tree_iter.h"

#include "base/mem.h"
#include "manifest/node_cursor.h"

struct tree_iter {
	struct node_cursor *nodes;
	uint8_t alg;
	struct tree_item items[TREE_INLINE_ITEMS];
};

struct tree_iter *
tree_iter_new(struct node_source source, const struct hash_id *root)
{
	struct tree_iter *it = mem_new(struct tree_iter);

	it->nodes = node_cursor_new(HASH_TREE, source, root, 0);
	it->alg = root->alg;
	return it;
}

void
tree_iter_free(struct tree_iter *it)
{
	if (it == NULL)
		return;
	node_cursor_free(it->nodes);
	free(it);
}

void
tree_iter_park(struct tree_iter *it)
{
	node_cursor_park(it->nodes);
}

enum err
tree_iter_next(struct tree_iter *it, struct tree_entry *ret, struct error *e)
{
	struct node_entry raw;
	struct tree_entry en;
	enum err r = node_cursor_next(it->nodes, &raw, e);

	if (r != OK)
		return r;
	r = tree_entry_decode(raw.key, raw.value, it->items, &en, e);
	if (r != OK)
		return r;
	if (!tree_entry_is_of(&en, it->alg))
		return fail(e, ERR_PROTO, "entry with an id of another algorithm than %u", it->alg);
	*ret = en;
	return OK;
}
