#include "base/mem.h"
#include "manifest/node_cursor.h"
#include "manifest/tree_item.h"

struct tree_items {
	struct node_cursor *list; /* NULL: the items are those of the entry */
	struct tree_item items[TREE_INLINE_ITEMS];
	uint32_t n;
	uint64_t next; /* items given so far */
	struct tree_item_row row;
	struct map *seen; /* NULL: every node is gone into */
	struct hash_id root;
	bool passed; /* some were passed over */
};

struct tree_items *
tree_items_new(struct node_source source, const struct tree_entry *en)
{
	struct tree_items *it = mem_new(struct tree_items);

	if (!hash_id_is_none(&en->root))
		it->list = node_cursor_new(HASH_FILE, source, &en->root, en->size);
	else if (en->n_items > 0)
		memcpy(it->items, en->items, en->n_items * sizeof *en->items);
	it->n = en->n_items;
	it->root = en->root;
	return it;
}

static bool
is_new(struct map *seen, const struct hash_id *node)
{
	bool is = false;

	(void)map_put(seen, hash_id_bytes(node), &is);
	return is;
}

void
tree_items_once(struct tree_items *it, struct map *seen)
{
	it->seen = seen;
	if (it->list == NULL || is_new(seen, &it->root))
		return;
	node_cursor_free(it->list);
	it->list = NULL; /* as of an empty file */
}

void
tree_items_free(struct tree_items *it)
{
	if (it == NULL)
		return;
	node_cursor_free(it->list);
	free(it);
}

/* To the next item that is not beneath a node which SEEN has. */
static enum err
next_unseen(struct tree_items *it, struct node_entry *ret, struct error *e)
{
	for (;;) {
		unsigned level = 0;
		enum err r = node_cursor_head(it->list, ret, &level, e);
		if (r != OK)
			return r;
		if (level > 0 && is_new(it->seen, &ret->id)) {
			r = node_cursor_descend(it->list, e);
			if (r != OK)
				return r;
			continue;
		}
		node_cursor_skip(it->list);
		if (level == 0)
			return OK;
		it->passed = true;
		it->row =
		    (struct tree_item_row){ .at = it->row.at + ret->bytes, .somewhere = true };
	}
}

/* The cursor has checked the sum of all lengths when it says that this is the end. */
static enum err
next_listed(struct tree_items *it, struct tree_item *ret, struct error *e)
{
	struct node_entry en;
	enum err r =
	    it->seen != NULL ? next_unseen(it, &en, e) : node_cursor_next(it->list, &en, e);

	if (r == ERR_NOTFOUND && !it->passed && it->next <= TREE_INLINE_ITEMS)
		return fail(
		    e, ERR_PROTO, "list of %d items, which have to be in the entry", (int)it->next);
	if (r == OK)
		*ret = (struct tree_item){ .id = en.id, .len = en.bytes };
	return r;
}

enum err
tree_items_next(struct tree_items *it, struct tree_item *ret, struct error *e)
{
	struct tree_item item;

	if (it->list != NULL) {
		enum err r = next_listed(it, &item, e);
		if (r != OK)
			return r;
	} else if (it->next < it->n) {
		item = it->items[it->next];
	} else {
		return ERR_NOTFOUND;
	}
	enum err r = tree_item_row_add(&it->row, &item, e);
	if (r != OK)
		return r;
	it->next++;
	*ret = item;
	return OK;
}
