/* Items to entries, entries to directories. */
#include "base/mem.h"
#include "engine/scan_private.h"

enum {
	MISSES = 4
}; /* files of a directory that state was wrong about, until it is not asked any more */

/* A directory in the making. */
struct level {
	struct scan_dir *dir;    /* held */
	struct hash_id old_root; /* none: it was not there */
	struct tree_iter *old;
	struct tree_entry head; /* what comes next of the old ones */
	bool has_head;
	uint64_t same; /* entries so far, all as they were; only while `made` is NULL */
	struct prolly_builder *made; /* from the first difference on */
	uint64_t entries, bytes;     /* beneath it */
};

struct scan_build {
	struct scan *s;
	ARRAY(struct level) levels;
	ARRAY(struct prolly_builder *) spare;
	struct buf value;
	struct hash_id root;
	uint64_t entries, bytes;
};

struct scan_build *
scan_build_new(struct scan *s)
{
	struct scan_build *b = mem_new(struct scan_build);

	b->s = s;
	b->value = BUF(NODE_ENTRY_MAX);
	return b;
}

static void
pop(struct scan_build *b)
{
	struct level l = array_pop(&b->levels);

	tree_iter_free(l.old);
	if (l.made != NULL)
		array_push(&b->spare, l.made);
	scan_dir_unref(b->s, l.dir);
}

void
scan_build_free(struct scan_build *b)
{
	if (b == NULL)
		return;
	while (b->levels.len > 0)
		pop(b);
	array_each (spare, &b->spare)
		prolly_builder_free(*spare);
	array_clear(&b->spare);
	array_clear(&b->levels);
	buf_clear(&b->value);
	free(b);
}

void
scan_build_root(const struct scan_build *b, struct hash_id *ret_root, uint64_t *ret_entries,
    uint64_t *ret_bytes)
{
	*ret_root = b->root;
	*ret_entries = b->entries;
	*ret_bytes = b->bytes;
}

/* -- the previous tree, beside the new one -- */

static enum err
next_old(struct scan_build *b, struct level *l, struct error *e)
{
	enum err r = tree_iter_next(l->old, &l->head, e);

	l->has_head = r == OK;
	if (r == OK || r == ERR_NOTFOUND)
		return OK;
	b->s->old_broken = true;
	return r;
}

static enum err
add_to(struct scan_build *b, struct level *l, const struct tree_entry *en, struct error *e)
{
	buf_reset(&b->value);
	enum err r = tree_entry_encode(en, &b->value, e);
	return r == OK ? prolly_builder_add(l->made, en->name, buf_bytes(&b->value), e) : r;
}

/* Something differs: makes the directory anew, beginning with what was the same so far. */
static enum err
begin_made(struct scan_build *b, struct level *l, struct error *e)
{
	auto_(tree_iter_free_p) struct tree_iter *old = NULL;
	struct tree_entry en;
	enum err r = OK;

	if (l->made != NULL)
		return OK;
	l->made = b->spare.len > 0 ? array_pop(&b->spare)
				   : prolly_builder_new(HASH_TREE, HASH_DEFAULT, b->s->sink);
	prolly_builder_reset(l->made);
	if (l->same > 0)
		old = tree_iter_new(b->s->source, &l->old_root);
	for (uint64_t i = 0; r == OK && i < l->same; i++) {
		r = tree_iter_next(old, &en, e);
		b->s->old_broken |= r != OK;
		if (r == OK)
			r = add_to(b, l, &en, e);
	}
	return r == ERR_NOTFOUND ? fail(e, ERR_CORRUPT, "the previous tree has lost entries") : r;
}

/* The old entry NAME, if there is one; the next ones of the old tree come after it.  Borrowed until
 * then. */
static enum err
find_old(struct scan_build *b, struct level *l, const char *name, const struct tree_entry **ret,
    struct error *e)
{
	enum err r = OK;

	*ret = NULL;
	while (r == OK && l->has_head) {
		int c = bytes_compare(l->head.name, bytes_str(name));
		if (c == 0)
			*ret = &l->head;
		if (c >= 0)
			return OK;
		r = begin_made(b, l, e); /* this one is gone */
		if (r == OK)
			r = next_old(b, l, e);
	}
	return r;
}

static bool
same_entry(const struct tree_entry *a, const struct tree_entry *b)
{
	return a->mode == b->mode && a->mtime_ns == b->mtime_ns && a->entries == b->entries &&
	       scan_causal_same_bytes(a, b);
}

/* EN comes next in L; OLD is what find_old says about its name. */
static enum err
add(struct scan_build *b, struct level *l, const struct tree_entry *en,
    const struct tree_entry *old, struct error *e)
{
	enum err r = OK;

	l->entries += 1 + en->entries;
	l->bytes += en->type == TREE_SYMLINK ? 0 : en->size;
	if (l->made == NULL && old != NULL && same_entry(en, old)) {
		l->same++;
	} else {
		r = begin_made(b, l, e);
		if (r == OK)
			r = add_to(b, l, en, e);
	}
	if (r == OK && old != NULL)
		r = next_old(b, l, e);
	return r;
}

/* -- directories -- */

static struct level *
top(struct scan_build *b)
{
	return &b->levels.at[b->levels.len - 1];
}

static enum err
enter(struct scan_build *b, struct scan_item *it, struct error *e)
{
	struct level l = { .dir = scan_dir_ref(it->dir) };
	const struct tree_entry *old = NULL;
	enum err r = scan_batch_dir(b->s->batch, it->dir, e);

	if (r == OK && b->levels.len == 0)
		l.old_root = b->s->old;
	else if (r == OK)
		r = find_old(b, top(b), it->name, &old, e);
	if (old != NULL && old->type == TREE_DIR)
		l.old_root = old->root;
	array_push(&b->levels, l);
	if (r != OK || hash_id_is_none(&l.old_root))
		return r;
	top(b)->old = tree_iter_new(b->s->source, &l.old_root);
	return next_old(b, top(b), e);
}

static enum err
finish(struct scan_build *b, struct level *l, struct hash_id *ret_root, struct error *e)
{
	if (l->made == NULL && l->old != NULL && !l->has_head) {
		*ret_root = l->old_root;
		return OK;
	}
	enum err r = begin_made(b, l, e);
	return r == OK ? prolly_builder_finish(l->made, ret_root, e) : r;
}

static enum err
leave(struct scan_build *b, struct scan_item *it, struct error *e)
{
	struct level *l = top(b);
	const struct tree_entry *old = NULL;
	struct tree_entry en = { .name = bytes_str(it->name),
		.type = TREE_DIR,
		.mode = it->dir->st.mode & 0777,
		.mtime_ns = it->dir->st.mtime_ns,
		.size = l->bytes,
		.entries = l->entries };
	enum err r = finish(b, l, &en.root, e);

	if (r != OK)
		return r;
	pop(b);
	if (b->levels.len == 0) {
		b->root = en.root;
		b->entries = en.entries;
		b->bytes = en.size;
		return OK;
	}
	b->s->res.dirs++;
	r = find_old(b, top(b), it->name, &old, e);
	return r == OK ? add(b, top(b), &en, old, e) : r;
}

/* -- files and links -- */

static enum err
add_link(struct scan_build *b, struct scan_item *it, struct error *e)
{
	const struct tree_entry *old = NULL;
	struct tree_entry en = { .name = bytes_str(scan_name_in(it->dir, it->name)),
		.type = TREE_SYMLINK,
		.mode = 0777,
		.target = bytes_str(it->target),
		.size = strlen(it->target) };
	enum err r = find_old(b, top(b), it->name, &old, e);

	b->s->res.symlinks++;
	return r == OK ? add(b, top(b), &en, old, e) : r;
}

static enum err
add_file(struct scan_build *b, const struct scan_item *it, struct tree_entry *en,
    const struct fs_stat *st, const struct tree_entry *old, struct error *e)
{
	struct scan_progress *p = b->s->o->progress;

	en->name = bytes_str(scan_name_in(it->dir, it->name));
	en->type = TREE_FILE;
	en->mode = st->mode & 0777;
	en->mtime_ns = st->mtime_ns;
	b->s->res.files++;
	if (p != NULL) {
		atomic_fetch_add(&p->files, 1);
		atomic_fetch_add(&p->bytes_seen, en->size);
	}
	return add(b, top(b), en, old, e);
}

/* A file that was read: what state shall know about it. */
static enum err
remember(
    struct scan_build *b, const struct scan_item *it, const struct tree_entry *en, struct error *e)
{
	struct scan_batch *batch = b->s->batch;
	const struct scan_file *f = &it->file;
	uint64_t at = 0;
	enum err r = scan_batch_file(batch, it->dir, scan_name_in(it->dir, it->name), &f->st,
	    f->racy, scan_file_fingerprint(en), e);

	for (uint32_t i = 0; r == OK && i < f->n_items; i++) {
		if (!hash_id_is_none(&f->items[i].id))
			r = scan_batch_place(batch, &f->items[i].id, at, e);
		at += f->items[i].len;
	}
	return r;
}

static enum err
skip(struct scan_build *b, const struct scan_item *it, const char *why, struct error *e)
{
	scan_note(b->s, it->dir, it->name, why);
	return it->row != 0 ? scan_batch_del(b->s->batch, it->row, e) : OK;
}

static enum err
add_big(struct scan_build *b, struct scan_item *it, const struct tree_entry *old, struct error *e)
{
	auto_free char *why = NULL;
	struct tree_entry en = { 0 };
	enum err r = scan_big_read(b->s, it, &en, &why, e);

	if (r != OK)
		return r;
	if (why != NULL)
		return skip(b, it, why, e);
	return add_file(b, it, &en, &it->file.st, old, e);
}

static enum err
add_read(struct scan_build *b, struct scan_item *it, struct error *e)
{
	struct scan_file *f = &it->file;
	const struct tree_entry *old = NULL;
	struct tree_entry en = { 0 };

	scan_end_read(b->s, it);
	enum err r = find_old(b, top(b), scan_name_in(it->dir, it->name), &old, e);
	if (r != OK)
		return r;
	if (f->result == SCAN_READ_SKIP)
		return skip(b, it, f->why, e);
	if (f->result == SCAN_READ_BIG)
		return add_big(b, it, old, e);
	en.size = f->st.size;
	en.items = f->items;
	en.n_items = f->n_items;
	b->s->res.files_read++;
	b->s->res.bytes_read += en.size;
	r = remember(b, it, &en, e);
	return r == OK ? add_file(b, it, &en, &f->st, old, e) : r;
}

/*
 * A file that state says is unchanged: its content comes from the previous tree, if that is the
 * content that state means. They differ when a scan wrote to state and its tree came to nothing;
 * then it is read after all.  Where that is the rule in a directory, all of it that waits in the
 * ring is read, or its files would be read one by one.
 */
static enum err
add_same(struct scan_build *b, struct scan_item *it, struct error *e)
{
	const struct tree_entry *old = NULL;
	enum err r = find_old(b, top(b), scan_name_in(it->dir, it->name), &old, e);

	if (r != OK)
		return r;
	if (old != NULL && old->type == TREE_FILE && old->size == it->st.size &&
	    scan_file_fingerprint(old) == it->content) {
		struct tree_entry en = *old;
		return add_file(b, it, &en, &it->st, old, e);
	}
	if (++it->dir->misses < MISSES) {
		it->kind = SCAN_READ;
		scan_begin_read(b->s, it);
	} else {
		scan_read_all_of(b->s, it->dir);
	}
	return add_read(b, it, e);
}

enum err
scan_build_take(struct scan_build *b, struct scan_item *it, struct error *e)
{
	switch (it->kind) {
	case SCAN_ENTER:
		return enter(b, it, e);
	case SCAN_LEAVE:
		return leave(b, it, e);
	case SCAN_LINK:
		return add_link(b, it, e);
	case SCAN_READ:
		return add_read(b, it, e);
	case SCAN_SAME:
		return add_same(b, it, e);
	}
	return fail(e, ERR_BUG, "scan: item %d", (int)it->kind);
}
