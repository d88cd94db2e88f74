#include "manifest/node_cursor.h"

#include <assert.h>

#include "base/mem.h"

struct frame {
	struct hash_id id;
	struct buf node;
	struct node_view view;
	bool loaded;
	bool last; /* no node follows on this level */
	bool has_head;
	struct node_entry head; /* valid while loaded */
	uint64_t bytes;         /* declared and not yet seen */
};

struct node_cursor {
	enum hash_kind kind;
	struct node_source source;
	unsigned depth;                  /* frames in use */
	uint8_t key[UINT8_MAX], key_len; /* the last of the leaf left behind */
	struct frame frames[NODE_LEVEL_MAX];
};

struct node_cursor *
node_cursor_new(
    enum hash_kind kind, struct node_source source, const struct hash_id *root, uint64_t bytes)
{
	struct node_cursor *c = mem_new(struct node_cursor);

	*c = (struct node_cursor){ .kind = kind, .source = source, .depth = 1 };
	c->frames[0] = (struct frame){ .id = *root, .last = true, .bytes = bytes };
	return c;
}

static void
park(struct frame *f)
{
	size_t entries = f->view.entries;

	node_view_clear(&f->view);
	f->view.entries = entries;
	buf_clear(&f->node);
	f->loaded = false;
}

void
node_cursor_park(struct node_cursor *c)
{
	for (unsigned i = 0; i < NODE_LEVEL_MAX; i++)
		park(&c->frames[i]);
}

void
node_cursor_free(struct node_cursor *c)
{
	if (c == NULL)
		return;
	node_cursor_park(c);
	free(c);
}

/* Brings a node in, for the first time or again, up to the entry where we were. */
static enum err
load(struct node_cursor *c, struct frame *f, struct error *e)
{
	size_t seen = f->view.entries;
	enum err r = node_view_load(&f->view, c->kind, c->source, &f->id, &f->node, e);

	for (size_t i = 0; i < seen && r == OK; i++)
		r = node_view_next(&f->view, &f->head, e);
	if (r == ERR_NOTFOUND)
		r = fail(e, ERR_CORRUPT, "node is not the same when read again");
	f->loaded = r == OK;
	return r;
}

/* The next entry of the top frame becomes its head. */
static enum err
advance(struct node_cursor *c, struct frame *f, struct error *e)
{
	bool first = f->view.entries == 0;
	enum err r = node_view_next(&f->view, &f->head, e);

	if (r != OK)
		return r;
	if (c->kind == HASH_FILE) {
		if (f->head.bytes > f->bytes)
			return fail(e, ERR_PROTO, "more bytes than declared");
		f->bytes -= f->head.bytes;
	} else if (first && c->key_len > 0 &&
		   bytes_compare(f->head.key, BYTES(c->key, c->key_len)) <= 0) {
		return fail(e, ERR_PROTO, "nodes out of order");
	}
	if (first && c->depth == 1 && f->view.level > 0 && node_view_at_end(&f->view))
		return fail(e, ERR_PROTO, "root with a single child");
	f->has_head = true;
	return OK;
}

/* Leaves a node that has no more entries. */
static enum err
leave(struct node_cursor *c, struct frame *f, struct error *e)
{
	if (!f->last && !f->view.cut)
		return fail(e, ERR_PROTO, "node ends where it has to go on");
	if (f->bytes != 0)
		return fail(e, ERR_PROTO, "fewer bytes than declared");
	if (f->view.level == 0 && f->view.key.len > 0) {
		c->key_len = (uint8_t)f->view.key.len;
		memcpy(c->key, f->view.key.at, f->view.key.len);
	}
	if (c->depth == 1)
		return ERR_NOTFOUND;
	f->loaded = false;
	f->view.entries = 0;
	c->depth--;
	c->frames[c->depth - 1].has_head = false;
	return OK;
}

enum err
node_cursor_head(
    struct node_cursor *c, struct node_entry *ret, unsigned *ret_level, struct error *e)
{
	for (;;) {
		struct frame *f = &c->frames[c->depth - 1];
		enum err r = f->loaded ? OK : load(c, f, e);
		if (r != OK)
			return r;
		if (!f->has_head) {
			r = advance(c, f, e);
			if (r == ERR_NOTFOUND) {
				r = leave(c, f, e);
				if (r != OK)
					return r;
				continue;
			}
			if (r != OK)
				return r;
		}
		*ret = f->head;
		*ret_level = f->view.level;
		return OK;
	}
}

void
node_cursor_skip(struct node_cursor *c)
{
	assert(c->frames[c->depth - 1].has_head);
	c->frames[c->depth - 1].has_head = false;
}

enum err
node_cursor_descend(struct node_cursor *c, struct error *e)
{
	struct frame *up = &c->frames[c->depth - 1];

	assert(up->loaded && up->has_head && up->view.level > 0);
	/* Levels fall by one from below NODE_LEVEL_MAX, so there is a frame for each. */
	struct frame *f = &c->frames[c->depth];
	f->id = up->head.id;
	f->last = up->last && node_view_at_end(&up->view);
	f->bytes = up->head.bytes;
	f->has_head = false;
	f->view.entries = 0;
	enum err r = load(c, f, e);
	if (r != OK)
		return r;
	if (f->view.level + 1 != up->view.level)
		return fail(e, ERR_PROTO, "node of level %u under one of %u", f->view.level,
		    up->view.level);
	c->depth++;
	r = advance(c, f, e);
	if (r == ERR_NOTFOUND)
		return fail(e, ERR_PROTO, "empty node in a tree");
	if (r == OK && !bytes_equal(f->head.key, up->head.key))
		return fail(e, ERR_PROTO, "node does not begin with the name given for it");
	return r;
}

enum err
node_cursor_next(struct node_cursor *c, struct node_entry *ret, struct error *e)
{
	for (;;) {
		unsigned level;
		enum err r = node_cursor_head(c, ret, &level, e);
		if (r != OK)
			return r;
		if (level == 0) {
			node_cursor_skip(c);
			return OK;
		}
		r = node_cursor_descend(c, e);
		if (r != OK)
			return r;
	}
}
