#include "base/mem.h"
#include "manifest/node_spine.h"
#include "manifest/tree_item.h"

struct tree_file_builder {
	struct node_spine *list;
	struct tree_item_row row;
	struct tree_item items[TREE_INLINE_ITEMS];
	uint64_t n; /* items so far; beyond TREE_INLINE_ITEMS they are in the list */
};

struct tree_file_builder *
tree_file_builder_new(enum hash_alg alg, struct node_sink sink)
{
	struct tree_file_builder *b = mem_new(struct tree_file_builder);

	b->list = node_spine_new(HASH_FILE, alg, sink);
	return b;
}

void
tree_file_builder_free(struct tree_file_builder *b)
{
	if (b == NULL)
		return;
	node_spine_free(b->list);
	free(b);
}

void
tree_file_builder_reset(struct tree_file_builder *b)
{
	node_spine_reset(b->list);
	b->row = (struct tree_item_row){ 0 };
	b->n = 0;
}

static enum err
list(struct tree_file_builder *b, const struct tree_item *item, struct error *e)
{
	return node_spine_add(
	    b->list, &(struct node_entry){ .id = item->id, .bytes = item->len }, e);
}

enum err
tree_file_builder_add(struct tree_file_builder *b, const struct tree_item *item, struct error *e)
{
	enum err r = tree_item_row_add(&b->row, item, e);

	if (r != OK)
		return r;
	if (b->n < TREE_INLINE_ITEMS) {
		b->items[b->n++] = *item;
		return OK;
	}
	if (b->n == TREE_INLINE_ITEMS)
		for (size_t i = 0; i < TREE_INLINE_ITEMS && r == OK; i++)
			r = list(b, &b->items[i], e);
	b->n++;
	return r == OK ? list(b, item, e) : r;
}

enum err
tree_file_builder_finish(struct tree_file_builder *b, struct tree_entry *en, struct error *e)
{
	struct hash_id root = { 0 };

	if (b->n > TREE_INLINE_ITEMS) {
		enum err r = node_spine_finish(b->list, &root, e);
		if (r != OK)
			return r;
	}
	en->root = root;
	en->size = b->row.at;
	en->n_items = b->n > TREE_INLINE_ITEMS ? 0 : (uint32_t)b->n;
	en->items = b->n > TREE_INLINE_ITEMS ? NULL : b->items;
	return OK;
}
