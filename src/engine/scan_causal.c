/*
 * The causal tree of what was just scanned, from trees alone: the content and the causal tree of
 * the commit that the new one builds upon, and the new content tree.  Directories whose content is
 * the same keep their causal tree unvisited.
 *
 * An entry keeps its id where its path is the same (and it is a directory still, or no directory
 * still), or, when its path is new, where an entry that is gone had the same inode and the same
 * content: then its name has a new dot and, whether it is a file or a directory, all below it is
 * compared under the old path.
 */
#include "base/mem.h"
#include "crypto/random.h"
#include "engine/scan_private.h"
#include "manifest/causal.h"

/* Both trees of a commit, walked side by side: they have the same names. */
struct base {
	struct tree_iter *content;
	struct causal_iter *causal;
	struct tree_entry en;
	struct causal_entry cause;
	bool has;
};

/* A directory in the making; on the heap, as there may be hundreds below one another. */
struct level {
	struct base base;
	struct prolly_builder *to;
	struct causal_entry cause; /* of the entry that is being added */
	struct buf keep;           /* what it borrows from */
};

struct causal {
	struct scan *s;
	struct dot now;
	struct buf value;
	struct buf path; /* of the directory we are in */
	struct buf dice;
	ARRAY(struct prolly_builder *) spare;
};

/* -- the base -- */

static void
base_clear(struct base *b)
{
	tree_iter_free(b->content);
	causal_iter_free(b->causal);
}

static enum err
base_next(struct base *b, struct error *e)
{
	enum err r = tree_iter_next(b->content, &b->en, e);

	b->has = r == OK;
	if (r == OK)
		r = causal_iter_next(b->causal, &b->cause, e);
	else if (r == ERR_NOTFOUND)
		return OK;
	if (r == ERR_NOTFOUND || (r == OK && !bytes_equal(b->en.name, b->cause.name)))
		return fail(
		    e, ERR_CORRUPT, "the causal tree of the share's head does not fit its content");
	return r;
}

static enum err
base_open(struct base *b, struct node_source source, const struct hash_id *content,
    const struct hash_id *causal, struct error *e)
{
	if (hash_id_is_none(content))
		return OK;
	b->content = tree_iter_new(source, content);
	b->causal = causal_iter_new(source, causal);
	return base_next(b, e);
}

/* To NAME or behind it; true if it is there. */
static enum err
base_find(struct base *b, struct bytes name, bool *ret, struct error *e)
{
	enum err r = OK;

	*ret = false;
	while (r == OK && b->has) {
		int c = bytes_compare(b->en.name, name);
		*ret = c == 0;
		if (c >= 0)
			return OK;
		r = base_next(b, e);
	}
	return r;
}

/* -- entries -- */

static void
draw_id(struct causal *c, uint8_t id[static ENTRY_ID_BYTES])
{
	enum { AT_ONCE = 64 * ENTRY_ID_BYTES };

	if (c->dice.len == 0) {
		c->dice.max = AT_ONCE;
		random_fill(buf_reserve(&c->dice, AT_ONCE), AT_ONCE);
		buf_grown(&c->dice, AT_ONCE);
	}
	c->dice.len -= ENTRY_ID_BYTES;
	memcpy(id, c->dice.at + c->dice.len, ENTRY_ID_BYTES);
}

/* What the content dot of an entry speaks of: of a directory its own metadata, not what lies in
 * it. */
static bool
same_content(const struct tree_entry *a, const struct tree_entry *b)
{
	if (a->type != b->type || a->mode != b->mode || a->mtime_ns != b->mtime_ns)
		return false;
	return a->type == TREE_DIR || scan_causal_same_bytes(a, b);
}

bool
scan_causal_same_bytes(const struct tree_entry *a, const struct tree_entry *b)
{
	if (a->type != b->type || a->size != b->size || a->n_items != b->n_items ||
	    !hash_id_equal(&a->root, &b->root) || !bytes_equal(a->target, b->target))
		return false;
	for (uint32_t i = 0; i < a->n_items; i++)
		if (a->items[i].len != b->items[i].len ||
		    !hash_id_equal(&a->items[i].id, &b->items[i].id))
			return false;
	return true;
}

/* The entry as it was, with a new dot where it differs.  Siblings end with a write by somebody who
 * saw them. */
static void
follow(struct causal *c, struct causal_entry *en, const struct tree_entry *was,
    const struct tree_entry *is)
{
	if (same_content(was, is))
		return;
	en->content = c->now;
	en->n_siblings = 0;
}

/* -- renames -- */

struct moved {
	struct scan_move *move; /* NULL: it did not */
	struct buf value, causal_value;
	struct tree_item items[TREE_INLINE_ITEMS];
	struct tree_entry was;
	struct causal_entry cause;
};

static void
moved_clear(struct moved *m)
{
	buf_clear(&m->value);
	buf_clear(&m->causal_value);
}

/* The inode of a file or directory that the scan has just seen. */
static enum err
ino_of(struct causal *c, const struct tree_entry *en, uint64_t *ret, struct error *e)
{
	struct state *st = c->s->o->state;
	int64_t root = c->s->o->root->id, dir;
	struct relpath in = { buf_text(&c->path), c->path.len };
	struct state_file f;

	if (en->type == TREE_DIR) {
		size_t len = c->path.len;
		if (len > 0)
			buf_u8(&c->path, '/');
		buf_add_bytes(&c->path, en->name);
		struct relpath itself = { buf_text(&c->path), c->path.len };
		enum err r = state_dir_find(st, root, itself, &dir, ret, e);
		c->path.len = len;
		return r;
	}
	enum err r = state_dir_find(st, root, in, &dir, NULL, e);
	if (r == OK)
		r = state_file_find(st, dir, en->name, &f, e);
	if (r == OK)
		*ret = f.ino;
	return r;
}

/* The causal entry at PATH of the base. */
static enum err
find_cause(struct causal *c, struct relpath path, struct moved *m, struct error *e)
{
	struct hash_id dir = c->s->o->base->causal;
	enum err r = OK;

	m->causal_value = BUF(NODE_ENTRY_MAX);
	for (size_t at = 0; r == OK && at < path.len;) {
		const char *slash = memchr(path.text + at, '/', path.len - at);
		size_t end = slash != NULL ? (size_t)(slash - path.text) : path.len;
		struct bytes name = BYTES(path.text + at, end - at);
		buf_reset(&m->causal_value);
		r = prolly_get(HASH_CAUSAL, c->s->source, &dir, name, &m->causal_value, e);
		if (r == OK)
			r = causal_entry_decode(name, buf_bytes(&m->causal_value), &m->cause, e);
		dir = m->cause.dir;
		at = end + 1;
	}
	return r;
}

/* Do two directories have a name in common, or nothing at all in both? */
static enum err
share_a_name(
    struct causal *c, const struct hash_id *a, const struct hash_id *b, bool *ret, struct error *e)
{
	auto_(tree_iter_free_p) struct tree_iter *x = tree_iter_new(c->s->source, a),
						 *y = tree_iter_new(c->s->source, b);
	struct tree_entry p, q;
	enum err r = tree_iter_next(x, &p, e), t = tree_iter_next(y, &q, e);

	*ret = r == ERR_NOTFOUND && t == ERR_NOTFOUND;
	while (r == OK && t == OK) {
		int order = bytes_compare(p.name, q.name);
		if (order == 0) {
			*ret = true;
			return OK;
		}
		if (order < 0)
			r = tree_iter_next(x, &p, e);
		else
			t = tree_iter_next(y, &q, e);
	}
	if (r != OK && r != ERR_NOTFOUND)
		return r;
	return t != OK && t != ERR_NOTFOUND ? t : OK;
}

static enum err
is_it(struct causal *c, const struct tree_entry *was, const struct tree_entry *is, bool *ret,
    struct error *e)
{
	*ret = was->type == is->type;
	if (!*ret)
		return OK;
	if (is->type == TREE_DIR && !hash_id_equal(&was->root, &is->root))
		return share_a_name(c, &was->root, &is->root, ret, e);
	*ret = scan_causal_same_bytes(was, is);
	return OK;
}

/* Was this new entry something else's name before?  Whatever is missing on the way to know it,
 * means no. */
static enum err
find_moved(struct causal *c, const struct tree_entry *en, struct moved *m, struct error *e)
{
	struct error why;
	uint64_t ino;
	bool same = false;

	if (c->s->moves.v.len == 0 || en->type == TREE_SYMLINK || ino_of(c, en, &ino, &why) != OK)
		return OK;
	struct scan_move *move = scan_moves_find(&c->s->moves, ino, en->type == TREE_DIR);
	if (move == NULL)
		return OK;
	struct relpath path = { move->path, strlen(move->path) };
	m->value = BUF(NODE_ENTRY_MAX);
	enum err r = tree_find_path(
	    c->s->source, &c->s->o->base->content, path, &m->value, m->items, &m->was, &why);
	if (r == ERR_NOTFOUND)
		return OK; /* the head of the share never had it */
	if (r == OK)
		r = is_it(c, &m->was, en, &same, &why);
	if (r == OK && same)
		r = find_cause(c, path, m, &why);
	if (r != OK) {
		if (e != NULL)
			*e = why;
		return r;
	}
	if (same) {
		move->used = true;
		m->move = move;
	}
	return OK;
}

/* -- directories -- */

static enum err make_dir(struct causal *c, const struct hash_id *was, const struct hash_id *cause,
    const struct hash_id *is, struct hash_id *ret, struct error *e);

/* The causal tree of the directory EN, which was WAS (and CAUSE) or is new. */
static enum err
descend(struct causal *c, const struct tree_entry *en, const struct hash_id *was,
    const struct hash_id *cause, struct hash_id *ret, struct error *e)
{
	size_t len = c->path.len;

	if (len > 0)
		buf_u8(&c->path, '/');
	buf_add_bytes(&c->path, en->name);
	enum err r = make_dir(c, was, cause, &en->root, ret, e);
	c->path.len = len;
	return r;
}

/* An entry that was not at this path before. */
static enum err
arrive(struct causal *c, struct level *l, const struct tree_entry *en, struct error *e)
{
	struct hash_id was = { 0 }, cause = { 0 };
	struct moved *m = mem_new(struct moved);
	enum err r = find_moved(c, en, m, e);

	if (r == OK && m->move != NULL) {
		l->cause = m->cause;
		follow(c, &l->cause, &m->was, en);
		was = m->was.type == TREE_DIR ? m->was.root : was;
		cause = m->cause.dir;
		l->keep = m->causal_value;
		m->causal_value = BUF(0);
	} else {
		l->cause = (struct causal_entry){ .content = c->now };
		draw_id(c, l->cause.id);
	}
	moved_clear(m);
	free(m);
	l->cause.name_dot = c->now;
	return r == OK && en->type == TREE_DIR ? descend(c, en, &was, &cause, &l->cause.dir, e) : r;
}

/* An entry that was there, and is of the same kind. */
static enum err
stay(struct causal *c, struct level *l, const struct tree_entry *en, struct error *e)
{
	l->cause = l->base.cause;
	follow(c, &l->cause, &l->base.en, en);
	if (en->type != TREE_DIR)
		return OK;
	return descend(c, en, &l->base.en.root, &l->base.cause.dir, &l->cause.dir, e);
}

static enum err
add_entry(struct causal *c, struct level *l, const struct tree_entry *en, struct error *e)
{
	bool there = false;
	enum err r = base_find(&l->base, en->name, &there, e);

	if (r != OK)
		return r;
	if (there && (l->base.en.type == TREE_DIR) == (en->type == TREE_DIR))
		r = stay(c, l, en, e);
	else
		r = arrive(c, l, en, e);
	if (r != OK)
		return r;
	l->cause.name = en->name;
	buf_reset(&c->value);
	r = causal_entry_encode(&l->cause, &c->value, e);
	if (r == OK)
		r = prolly_builder_add(l->to, en->name, buf_bytes(&c->value), e);
	buf_clear(&l->keep);
	return r;
}

static enum err
add_entries(struct causal *c, struct level *l, const struct hash_id *is, struct error *e)
{
	auto_(tree_iter_free_p) struct tree_iter *it = tree_iter_new(c->s->source, is);
	struct tree_entry en;

	for (;;) {
		enum err r = tree_iter_next(it, &en, e);
		if (r == ERR_NOTFOUND)
			return OK;
		if (r == OK && scan_canceled(c->s))
			r = fail(e, ERR_CANCELED, "the scan of %s was canceled", c->s->o->path);
		if (r == OK)
			r = add_entry(c, l, &en, e);
		if (r != OK)
			return r;
	}
}

static struct level *
level_new(struct causal *c)
{
	struct level *l = mem_new(struct level);

	l->to = c->spare.len > 0 ? array_pop(&c->spare)
				 : prolly_builder_new(HASH_CAUSAL, HASH_DEFAULT, c->s->sink);
	prolly_builder_reset(l->to);
	return l;
}

static void
level_free(struct causal *c, struct level *l)
{
	base_clear(&l->base);
	array_push(&c->spare, l->to);
	buf_clear(&l->keep);
	free(l);
}

/* As deep as the content tree, which the scan has bounded by RELPATH_DEPTH_MAX. */
static enum err
make_dir(struct causal *c, const struct hash_id *was, const struct hash_id *cause,
    const struct hash_id *is, struct hash_id *ret, struct error *e)
{
	if (hash_id_equal(was, is)) {
		*ret = *cause;
		return OK;
	}
	struct level *l = level_new(c);
	enum err r = base_open(&l->base, c->s->source, was, cause, e);
	if (r == OK)
		r = add_entries(c, l, is, e);
	if (r == OK)
		r = prolly_builder_finish(l->to, ret, e);
	level_free(c, l);
	return r;
}

enum err
scan_causal_make(
    struct scan *s, const struct hash_id *content, struct hash_id *ret, struct error *e)
{
	static const struct hash_id none;
	const struct commit *base = s->o->base;
	struct causal c = { .s = s, .now = { s->o->device, s->o->seq } };

	c.value = BUF(NODE_ENTRY_MAX);
	c.path = BUF(RELPATH_MAX + RELPATH_NAME_MAX + 1);
	enum err r = make_dir(&c, base != NULL ? &base->content : &none,
	    base != NULL ? &base->causal : &none, content, ret, e);
	array_each (spare, &c.spare)
		prolly_builder_free(*spare);
	array_clear(&c.spare);
	buf_clear(&c.value);
	buf_clear(&c.path);
	buf_clear(&c.dice);
	return r;
}
