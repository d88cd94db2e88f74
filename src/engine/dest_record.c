/*
 * What is there now, in state: for each file that we put in place or adopted its stat, and where its chunks lie, so that the next
 * get knows what is ours, and others can be served from here.  One transaction: it is recorded whole or not.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/dest_private.h"
#include "platform/clock.h"

struct recorder {
	struct dest *d;
	struct buf dir;          /* path of the directory that state_dir belongs to */
	bool has_dir;
	int64_t state_dir;
	uint64_t gen;
};

static enum err
enter_dir(struct recorder *rec, struct relpath path, struct relpath *ret_name, struct error *e)
{
	const char *slash = memrchr(path.text, '/', path.len);
	size_t n = slash != NULL ? (size_t)(slash - path.text) : 0;

	*ret_name = slash != NULL ? (struct relpath){ slash + 1, path.len - n - 1 } : path;
	if (rec->has_dir && bytes_equal(buf_bytes(&rec->dir), BYTES(path.text, n)))
		return OK;
	buf_reset(&rec->dir);
	buf_add(&rec->dir, path.text, n);
	struct relpath dir = { buf_text(&rec->dir), n };
	enum err r = state_dir_id(rec->d->o.state, rec->d->o.root->id, dir, &rec->state_dir, e);
	rec->has_dir = r == OK;
	return r;
}

static enum err
record_places(struct recorder *rec, const struct tree_entry *en, int64_t file, struct error *e)
{
	auto_(tree_items_free_p) struct tree_items *items = tree_items_new(rec->d->o.nodes, en);
	struct tree_item item;
	uint64_t off = 0;
	enum err r;

	while ((r = tree_items_next(items, &item, e)) == OK) {
		if (!hash_id_is_none(&item.id))
			r = state_place_add(rec->d->o.state, &item.id, file, off, e);
		if (r != OK)
			return r;
		off += item.len;
	}
	return r == ERR_NOTFOUND ? OK : r;
}

/* A file that the plan kept has its row and places already, unless its mode or time was set, which changed its ctime. */
static enum err
record_file(struct recorder *rec, struct relpath path, const struct tree_entry *en, struct error *e)
{
	struct state_file f = { .gen = rec->gen, .ours = true };
	struct relpath name;
	struct fs_stat st;

	enum err r = enter_dir(rec, path, &name, e);
	if (r != OK)
		return r;
	if (fs_stat_at(rec->d->dir, path, &st, NULL) != OK || st.type != FS_FILE || st.size != en->size ||
	    st.mtime_ns != en->mtime_ns)
		return OK; /* the user was quicker: it is the user's */
	memcpy(f.name, name.text, name.len);
	f.name_len = (uint32_t)name.len;
	f.size = st.size;
	f.ino = st.ino;
	f.mtime_ns = st.mtime_ns;
	f.ctime_ns = st.ctime_ns;
	r = state_file_put(rec->d->o.state, rec->state_dir, &f, e);
	return r == OK ? record_places(rec, en, f.id, e) : r;
}

static bool
is_recorded(const struct dest_file *f)
{
	return f->type == TREE_FILE && f->action != DEST_SKIP;
}

static enum err
touch_kept(struct recorder *rec, struct relpath path, struct error *e)
{
	struct state_file f;
	struct relpath name;
	enum err r = enter_dir(rec, path, &name, e);

	if (r == OK)
		r = state_file_find(rec->d->o.state, rec->state_dir, BYTES(name.text, name.len), &f, e);
	return r == OK ? state_file_touch(rec->d->o.state, f.id, rec->gen, e) : r;
}

/* The walk gives the entries in the order of the plan. */
static enum err
record_all(struct recorder *rec, struct error *e)
{
	struct dest *d = rec->d;
	auto_(dest_merge_free_p) struct dest_merge *m = dest_merge_new(d->o.nodes, NULL, &d->tree, d->only);
	struct dest_pair pair;
	uint64_t i = 0;
	enum err r;

	while ((r = dest_merge_next(m, &pair, e)) == OK) {
		if (!expect(i < d->files.n))
			return fail(e, ERR_BUG, "the plan and the tree disagree");
		const struct dest_file *f = dest_file(d, i++);
		if (is_recorded(f) && f->action == DEST_KEEP && !f->adopted)
			r = touch_kept(rec, pair.path, e);
		else if (is_recorded(f))
			r = record_file(rec, pair.path, pair.new, e);
		if (r != OK)
			return r;
	}
	return r == ERR_NOTFOUND ? OK : r;
}

enum err
dest_record(struct dest *d, struct error *e)
{
	struct recorder rec = { .d = d, .dir = BUF(RELPATH_MAX), .gen = (uint64_t)clock_wall_ns() };
	struct root *root = d->o.root;
	enum err r = state_begin(d->o.state, e);

	if (r != OK)
		return r;
	r = record_all(&rec, e);
	if (r == OK)
		r = state_files_expire(d->o.state, root->id, rec.gen, e);
	if (r == OK) {
		root->snapshot = d->o.snapshot;
		root->content = d->tree;
		root->time_ns = clock_wall_ns();
		r = state_root_update(d->o.state, root, e);
	}
	buf_clear(&rec.dir);
	if (r == OK)
		return state_commit(d->o.state, e);
	state_rollback(d->o.state);
	return r;
}
