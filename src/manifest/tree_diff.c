/*
 * Two trees side by side.  Both are read as rows of heads, a head being a node not yet gone into or
 * an entry; the smaller key goes first.  Nodes are cut by content, so equal stretches of two
 * versions are equal nodes that begin with the same key: they meet as heads at the same time and
 * are passed over.
 */
#include "base/array.h"
#include "manifest/node_cursor.h"
#include "manifest/tree_path.h"

enum { OLD, NEW, SIDES };
enum { WARM_MAX = 16 }; /* as in tree_walk.c */

typedef enum err on_change_fn(void *ctx, struct relpath path, const struct tree_entry *old_entry,
    const struct tree_entry *new_entry, struct error *e);

struct side {
	struct node_cursor *nodes; /* NULL: nothing there */
	uint8_t alg;
};
struct level {
	struct side side[SIDES];
	size_t path_len;
};
/* What a side has next. */
struct head {
	bool is;
	unsigned level;
	struct node_entry raw;
};

struct diff {
	struct node_source source;
	on_change_fn *on_change;
	void *ctx;
	ARRAY(struct level) levels;
	struct tree_item items[SIDES][TREE_INLINE_ITEMS];
	struct tree_path path;
};

static void
push(struct diff *d, const struct hash_id *roots[SIDES])
{
	struct level l = { .path_len = d->path.len };

	for (int i = 0; i < SIDES; i++)
		if (roots[i] != NULL)
			l.side[i] =
			    (struct side){ node_cursor_new(HASH_TREE, d->source, roots[i], 0),
				    roots[i]->alg };
	array_push(&d->levels, l);
	for (int i = 0; i < SIDES && d->levels.len > WARM_MAX; i++) {
		struct node_cursor *far = d->levels.at[d->levels.len - 1 - WARM_MAX].side[i].nodes;
		if (far != NULL)
			node_cursor_park(far);
	}
}

static void
pop(struct diff *d)
{
	struct level *l = &d->levels.at[--d->levels.len];

	for (int i = 0; i < SIDES; i++)
		node_cursor_free(l->side[i].nodes);
}

static void
diff_free(struct diff **d)
{
	while ((*d)->levels.len > 0)
		pop(*d);
	array_clear(&(*d)->levels);
	free(*d);
}

static enum err
look(struct side *s, struct head *ret, struct error *e)
{
	*ret = (struct head){ 0 };
	if (s->nodes == NULL)
		return OK;
	enum err r = node_cursor_head(s->nodes, &ret->raw, &ret->level, e);
	ret->is = r == OK;
	return r == ERR_NOTFOUND ? OK : r;
}

static enum err
decode(struct diff *d, const struct level *l, int i, const struct head *h, struct tree_entry *ret,
    struct error *e)
{
	enum err r = tree_entry_decode(h->raw.key, h->raw.value, d->items[i], ret, e);

	if (r == OK && !tree_entry_is_of(ret, l->side[i].alg))
		r = fail(
		    e, ERR_PROTO, "entry with an id of another algorithm than %u", l->side[i].alg);
	return r;
}

/* Goes into what is a directory on one side or, with another content, on both. */
static void
push_dirs(struct diff *d, const struct tree_entry *en[SIDES])
{
	const struct hash_id *roots[SIDES] = { NULL, NULL };

	for (int i = 0; i < SIDES; i++)
		if (en[i] != NULL && en[i]->type == TREE_DIR)
			roots[i] = &en[i]->root;
	if (roots[OLD] != NULL && roots[NEW] != NULL && hash_id_equal(roots[OLD], roots[NEW]))
		return;
	if (roots[OLD] != NULL || roots[NEW] != NULL)
		push(d, roots);
}

/* Tells of one name that HEADS have, and passes it. */
static enum err
tell(struct diff *d, const struct head *heads[SIDES], struct error *e)
{
	struct level *l = &d->levels.at[d->levels.len - 1];
	struct tree_entry en[SIDES];
	const struct tree_entry *has[SIDES] = { NULL, NULL };
	enum err r = OK;

	for (int i = 0; i < SIDES && r == OK; i++)
		if (heads[i] != NULL) {
			r = decode(d, l, i, heads[i], &en[i], e);
			has[i] = &en[i];
			node_cursor_skip(l->side[i].nodes);
		}
	if (r == OK)
		r = tree_path_push(
		    &d->path, has[OLD] != NULL ? has[OLD]->name : has[NEW]->name, d->levels.len, e);
	if (r == OK)
		r = d->on_change(d->ctx, tree_path_view(&d->path), has[OLD], has[NEW], e);
	if (r == OK)
		push_dirs(d, has);
	return r;
}

/* Both sides begin with the same key. */
static enum err
meet(struct diff *d, struct level *l, const struct head *old, const struct head *new,
    struct error *e)
{
	bool same = old->level == new->level &&
		    (old->level > 0 ? hash_id_equal(&old->raw.id, &new->raw.id)
				    : bytes_equal(old->raw.value, new->raw.value));

	if (same) {
		node_cursor_skip(l->side[OLD].nodes);
		node_cursor_skip(l->side[NEW].nodes);
		return OK;
	}
	if (old->level == 0 && new->level == 0)
		return tell(d, (const struct head *[SIDES]){ old, new }, e);
	/* The higher one is opened, or both, until they are of one level and can be compared. */
	bool open_old = old->level >= new->level, open_new = new->level >= old->level;
	enum err r = open_old ? node_cursor_descend(l->side[OLD].nodes, e) : OK;
	return r == OK && open_new ? node_cursor_descend(l->side[NEW].nodes, e) : r;
}

static enum err
step(struct diff *d, struct error *e)
{
	struct level *l = &d->levels.at[d->levels.len - 1];
	struct head old, new;

	tree_path_cut(&d->path, l->path_len);
	enum err r = look(&l->side[OLD], &old, e);
	if (r == OK)
		r = look(&l->side[NEW], &new, e);
	if (r != OK)
		return r;
	if (!old.is && !new.is) {
		pop(d);
		return OK;
	}
	int c = !old.is ? 1 : !new.is ? -1 : bytes_compare(old.raw.key, new.raw.key);
	if (c < 0)
		return old.level > 0 ? node_cursor_descend(l->side[OLD].nodes, e)
				     : tell(d, (const struct head *[SIDES]){ &old, NULL }, e);
	if (c > 0)
		return new.level > 0 ? node_cursor_descend(l->side[NEW].nodes, e)
				     : tell(d, (const struct head *[SIDES]){ NULL, &new }, e);
	return meet(d, l, &old, &new, e);
}

enum err
tree_diff(struct node_source source, const struct hash_id *old_root, const struct hash_id *new_root,
    enum err (*on_change)(void *ctx, struct relpath path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *e),
    void *ctx, struct error *e)
{
	if (old_root != NULL && new_root != NULL && hash_id_equal(old_root, new_root))
		return OK;
	auto_(diff_free) struct diff *d = mem_new(struct diff);
	d->source = source;
	d->on_change = on_change;
	d->ctx = ctx;
	push(d, (const struct hash_id *[SIDES]){ old_root, new_root });

	enum err r = OK;
	while (d->levels.len > 0 && r == OK)
		r = step(d, e);
	return r;
}
