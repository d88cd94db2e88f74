#include "manifest/node.h"

#include "manifest/causal.h"
#include "manifest/node_view.h"
#include "manifest/tree_item.h"

typedef enum err on_child_fn(
    void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e);

/* Whom to tell; FN is NULL when only the check is wanted. */
struct telling {
	on_child_fn *fn;
	void *ctx;
	uint8_t alg;
};

static enum err
tell(const struct telling *t, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	return t->fn != NULL && !hash_id_is_none(id) ? t->fn(t->ctx, kind, id, e) : OK;
}

static enum err
tree_value(const struct telling *t, struct bytes name, struct bytes value, struct error *e)
{
	struct tree_item items[TREE_INLINE_ITEMS];
	struct tree_entry en;
	enum err r = tree_entry_decode(name, value, items, &en, e);

	if (r != OK)
		return r;
	if (!tree_entry_is_of(&en, t->alg))
		return fail(e, ERR_PROTO, "entry with an id of another algorithm than %u", t->alg);
	return tell(t, en.type == TREE_DIR ? HASH_TREE : HASH_FILE, &en.root, e);
}

static enum err
causal_value(const struct telling *t, struct bytes name, struct bytes value, struct error *e)
{
	struct causal_entry en;
	enum err r = causal_entry_decode(name, value, &en, e);

	if (r != OK)
		return r;
	if (!causal_entry_is_of(&en, t->alg))
		return fail(e, ERR_PROTO, "entry with an id of another algorithm than %u", t->alg);
	for (uint32_t i = 0; i < en.n_siblings && r == OK; i++)
		r = tree_value(t, name, en.siblings[i].value, e);
	return r == OK ? tell(t, HASH_CAUSAL, &en.dir, e) : r;
}

static enum err
leaf_entry(const struct telling *t, enum hash_kind kind, const struct node_entry *en,
    struct tree_item_row *row, struct error *e)
{
	if (kind == HASH_FILE)
		return tree_item_row_add(
		    row, &(struct tree_item){ .id = en->id, .len = en->bytes }, e);
	return kind == HASH_TREE ? tree_value(t, en->key, en->value, e)
				 : causal_value(t, en->key, en->value, e);
}

static enum err
inner_entry(const struct telling *t, enum hash_kind kind, const struct node_entry *en,
    uint64_t *bytes, struct error *e)
{
	if (kind == HASH_FILE && (en->bytes < 1 || en->bytes > TREE_FILE_SIZE_MAX - *bytes))
		return fail(e, ERR_PROTO, "absurd size in a list of chunks");
	*bytes += en->bytes;
	enum err r = kind == HASH_FILE ? OK : tree_entry_name(en->key, e);
	return r == OK ? tell(t, kind, &en->id, e) : r;
}

/* Everything that NODE alone can show to be wrong. */
static enum err
each_entry(struct node_view *v, struct telling *t, struct error *e)
{
	struct tree_item_row row = { .somewhere = true };
	uint64_t bytes = 0;
	struct node_entry en;

	for (;;) {
		enum err r = node_view_next(v, &en, e);
		if (r != OK)
			return r == ERR_NOTFOUND ? OK : r;
		r = v->level == 0 ? leaf_entry(t, v->kind, &en, &row, e)
				  : inner_entry(t, v->kind, &en, &bytes, e);
		if (r != OK)
			return r;
	}
}

enum err
node_children(enum hash_kind kind, struct bytes node,
    enum err (*on_child)(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e),
    void *ctx, struct error *e)
{
	auto_(node_view_clear) struct node_view v = { 0 };

	if (kind != HASH_TREE && kind != HASH_FILE && kind != HASH_CAUSAL)
		return fail(e, ERR_PROTO, "objects of kind %d are not nodes", (int)kind);
	enum err r = node_view_open(&v, kind, node, e);
	struct telling check = { .alg = v.alg };
	if (r == OK)
		r = each_entry(&v, &check, e);
	if (r == OK)
		r = node_view_open(&v, kind, node, e);
	struct telling all = { .fn = on_child, .ctx = ctx, .alg = v.alg };
	return r == OK ? each_entry(&v, &all, e) : r;
}

enum err
node_check_value(
    enum hash_kind kind, uint8_t alg, struct bytes name, struct bytes value, struct error *e)
{
	struct telling check = { .alg = alg };

	return kind == HASH_TREE ? tree_value(&check, name, value, e)
				 : causal_value(&check, name, value, e);
}
