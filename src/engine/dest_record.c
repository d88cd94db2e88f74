/*
 * What is there now, in state: for each file that we put in place, set or adopted, its stat, what
 * content it stands for, and where its chunks lie; so that the next get knows what is ours, and
 * others can be served from here.  What was kept has its row already.
 *
 * In transactions of BATCH files; the root's snapshot changes in the last one.  Whoever plans
 * between two of them, after a crash and a cancel, believes a row only if the root's snapshot
 * agrees (dest_judge.c).
 */
#include "base/mem.h"
#include "engine/dest_private.h"
#include "platform/clock.h"

enum { BATCH = 16384 };

struct recorder {
	struct dest *d;
	struct dest_merge *walk;
	uint32_t dir;      /* that state_dir belongs to */
	int64_t state_dir; /* 0: none yet */
	uint64_t gen;
	uint64_t files;
};

static enum err
enter_dir(struct recorder *rec, uint32_t dir, struct error *e)
{
	struct dest *d = rec->d;
	struct relpath path = { "", 0 };

	if (rec->state_dir != 0 && rec->dir == dir)
		return OK;
	if (dir != DEST_NONE)
		path = dest_file_path(d, dest_file(d, dir));
	enum err r = state_dir_id(d->o.state, d->o.root->id, path, &rec->state_dir, e);
	rec->dir = dir;
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

static enum err
record_file(
    struct recorder *rec, const struct dest_file *f, const struct tree_entry *en, struct error *e)
{
	const struct dest_stat *st = f->is_done ? &f->is : &f->was;
	struct state_file row = {
		.name_len = (uint32_t)en->name.len,
		.size = st->size,
		.ino = st->ino,
		.mtime_ns = st->mtime_ns,
		.ctime_ns = st->ctime_ns,
		.gen = rec->gen,
		.ours = true,
		.content = dest_content_print(en),
	};

	memcpy(row.name, en->name.at, en->name.len);
	enum err r = enter_dir(rec, f->dir, e);
	if (r == OK)
		r = state_file_put(rec->d->o.state, rec->state_dir, &row, e);
	return r == OK ? record_places(rec, en, row.id, e) : r;
}

/* Put there by us or set; or found there with the wanted content.  What the user changed while we
 * placed it is the user's. */
static bool
is_recorded(const struct dest_file *f)
{
	return f->type == TREE_FILE && f->action != DEST_SKIP &&
	       (f->is_done || (f->action == DEST_KEEP && f->adopted));
}

/* The walk gives the entries in the order of the plan.  *RET_END: that was the last. */
static enum err
record_some(struct recorder *rec, uint64_t *next, bool *ret_end, struct error *e)
{
	struct dest *d = rec->d;
	struct dest_pair pair;
	enum err r = OK;

	for (uint64_t n = 0; n < BATCH; *next += 1) {
		r = dest_merge_next(rec->walk, &pair, e);
		*ret_end = r == ERR_NOTFOUND;
		if (r != OK)
			return *ret_end ? OK : r;
		if (!expect(*next < d->plan.files.n))
			return fail(e, ERR_BUG, "the plan and the tree disagree");
		const struct dest_file *f = dest_file(d, *next);
		if (is_recorded(f)) {
			n++;
			r = record_file(rec, f, pair.new, e);
			if (r != OK)
				return r;
		}
		dest_trim(d, *next);
	}
	return OK;
}

static enum err
record_end(struct dest *d, struct error *e)
{
	struct root *root = d->o.root;
	enum err r = OK;

	for (uint64_t i = 0; r == OK && i < d->plan.gone.n; i++) {
		const struct dest_gone *g = big_array_at(&d->plan.gone, i);
		if (g->row != 0 && g->type == TREE_FILE)
			r = state_file_del(d->o.state, g->row, e);
		dest_trim(d, i);
	}
	if (r != OK)
		return r;
	root->snapshot = d->o.snapshot;
	root->content = d->tree;
	root->time_ns = clock_wall_ns();
	return state_root_update(d->o.state, root, e);
}

static enum err
record_all(struct recorder *rec, struct error *e)
{
	struct state *s = rec->d->o.state;
	uint64_t next = 0;
	bool end = false;
	enum err r = OK;

	while (r == OK && !end) {
		r = state_begin(s, e);
		if (r != OK)
			return r;
		r = record_some(rec, &next, &end, e);
		if (r == OK && end)
			r = record_end(rec->d, e);
		if (r == OK)
			r = state_commit(s, e);
		else
			state_rollback(s);
		rec->state_dir = 0;
	}
	return r;
}

enum err
dest_record(struct dest *d, struct error *e)
{
	struct recorder rec = { .d = d, .gen = (uint64_t)clock_wall_ns() };

	rec.walk = dest_merge_new(d->o.nodes, NULL, &d->tree, d->only);
	enum err r = record_all(&rec, e);
	dest_merge_free(rec.walk);
	return r;
}
