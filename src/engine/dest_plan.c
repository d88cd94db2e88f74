/*
 * The plan: both trees side by side, and beside them the disk.  For each entry of the wanted tree
 * what is to be done, for each chunk where it is received, and what of the previous tree goes.
 *
 * What is in a directory that is not there yet is staged as it will be, so that the directory is
 * moved into place as one: its `top` is the outermost such directory.
 */
#include "base/mem.h"
#include "engine/dest_private.h"

/* -- the arrays -- */

static enum err
add_text(struct dest *d, const void *text, size_t len, uint64_t *ret_at, struct error *e)
{
	uint64_t at = d->plan.paths.n;
	enum err r = big_array_resize(&d->plan.paths, at + len + 1, e);

	if (r != OK)
		return r;
	memcpy(big_array_at(&d->plan.paths, at), text, len);
	*ret_at = at;
	return OK;
}

/* The map numbers chunks as we meet them, so mostly it is the next one. */
static uint32_t
find_chunk(struct dest_planner *p, const struct hash_id *id)
{
	const struct snapshot_map *m = p->d->o.map;
	uint32_t at = p->next_chunk;

	if (at >= snapshot_map_chunks(m) || !hash_id_equal(&snapshot_map_chunk(m, at)->id, id))
		at = snapshot_map_find(m, id);
	if (at != DEST_NONE)
		p->next_chunk = at + 1;
	return at;
}

static enum err
place_of_chunk(struct dest_planner *p, const struct tree_item *item, uint32_t *ret, struct error *e)
{
	uint32_t at = find_chunk(p, &item->id);

	if (at == DEST_NONE || snapshot_map_chunk(p->d->o.map, at)->len != item->len)
		return fail(e, ERR_CORRUPT, "the snapshot's map lacks a chunk; try again");
	*ret = at;
	return OK;
}

/* Room for the hashes of its leaves.  Beyond 2^32 of them, 256 TiB, a chunk is not served before it
 * is in place. */
static enum err
add_list(struct dest *d, struct dest_chunk *c, uint32_t len, struct error *e)
{
	uint32_t n = chunk_id_leaf_count(len);

	if (n == 1 || d->plan.lists.n + n >= DEST_NONE)
		return OK;
	c->list = (uint32_t)d->plan.lists.n;
	return big_array_resize(&d->plan.lists, d->plan.lists.n + n, e);
}

/* The first place of a chunk is where it is received; a further one is copied from there in the
 * end. */
static enum err
add_chunk(struct dest_planner *p, uint32_t number, const struct tree_item *item, uint64_t off,
    struct error *e)
{
	struct dest *d = p->d;
	uint32_t at;
	enum err r = place_of_chunk(p, item, &at, e);

	if (r != OK)
		return r;
	struct dest_chunk *c = dest_chunk(d, at);
	if (c->file == DEST_NONE) {
		c->file = number;
		c->offset = off;
		return add_list(d, c, (uint32_t)item->len, e);
	}
	const struct dest_copy copy = { .offset = off, .file = number, .chunk = at };
	d->summary.bytes_reused += item->len;
	return big_array_push(&d->plan.copies, &copy, e);
}

static enum err
add_items(struct dest_planner *p, const struct tree_entry *en, uint32_t number, struct error *e)
{
	struct dest *d = p->d;
	auto_(tree_items_free_p) struct tree_items *items = tree_items_new(d->o.nodes, en);
	struct tree_item item;
	uint64_t off = 0;
	enum err r;

	while ((r = tree_items_next(items, &item, e)) == OK) {
		if (hash_id_is_none(&item.id))
			dest_file(d, number)->has_holes = 1;
		else
			r = add_chunk(p, number, &item, off, e);
		if (r != OK)
			return r;
		if (item.len == en->size && item.len <= CHUNK_LEAF &&
		    !dest_file(d, number)->has_holes)
			dest_file(d, number)->is_small = 1;
		off += item.len;
	}
	return r == ERR_NOTFOUND ? OK : r;
}

/* What is in a file of ours that stays can be given to others from there. */
static enum err
keep_items(struct dest_planner *p, const struct tree_entry *en, struct error *e)
{
	auto_(tree_items_free_p) struct tree_items *items = tree_items_new(p->d->o.nodes, en);
	struct tree_item item;
	uint32_t at = 0;
	enum err r;

	while ((r = tree_items_next(items, &item, e)) == OK) {
		if (hash_id_is_none(&item.id))
			continue;
		r = place_of_chunk(p, &item, &at, e);
		if (r != OK)
			return r;
		dest_chunk(p->d, at)->is_kept = 1;
	}
	return r == ERR_NOTFOUND ? OK : r;
}

static void
count(struct dest *d, const struct dest_file *f)
{
	struct dest_summary *s = &d->summary;

	if (f->type == TREE_DIR)
		return;
	if (f->type == TREE_FILE)
		s->files++;
	else
		s->symlinks++;
	s->bytes += f->size;
	if (f->action == DEST_MAKE) {
		s->files_new++;
	} else if (dest_is_new(f)) {
		s->files_changed++;
	} else if (f->action != DEST_SKIP) {
		s->bytes_reused += f->size;
		if (f->adopted)
			s->files_adopted++;
		else
			s->files_same++;
	}
}

/* -- entries -- */

/* Goes into the directory that was just judged.  One that does not let us in stays as it is. */
static enum err
enter(struct dest_planner *p, const struct dest_pair *pair, uint32_t number, struct error *e)
{
	struct dest *d = p->d;
	struct dest_file *f = dest_file(d, number);
	const struct dest_level l = {
		.number = number, .top = f->top, .blocked = f->action == DEST_SKIP
	};
	struct error why;

	enum err r = dest_level_push(
	    p, pair->path, l, f->action == DEST_KEEP || f->action == DEST_SET, &why);
	if (r == OK)
		return OK;
	if (r != ERR_DENIED)
		return dest_fail(e, &why);
	f->action = DEST_SKIP;
	f->why = DEST_WHY_CANNOT;
	dest_note(d, pair->path, DEST_WHY_CANNOT, why.text);
	return OK;
}

static enum err
plan_entry(struct dest_planner *p, const struct dest_pair *pair, struct error *e)
{
	struct dest *d = p->d;
	const struct tree_entry *en = pair->new;
	const struct dest_level *l = dest_level_top(p);
	uint32_t number = (uint32_t)d->plan.files.n;
	struct dest_file f = {
		.path_len = (uint32_t)pair->path.len,
		.target_len = (uint32_t)en->target.len,
		.type = (uint8_t)en->type,
		.mode = en->mode,
		.mtime_ns = en->mtime_ns,
		.size = en->type == TREE_FILE ? en->size : 0,
		.dir = l->number,
		.top = l->top,
		.end = number + 1,
	};

	enum err r = dest_judge(p, pair, &f, e);
	if (f.type == TREE_DIR && f.top == DEST_NONE && dest_is_new(&f))
		f.top = number;
	if (r == OK)
		r = add_text(d, pair->path.text, pair->path.len, &f.path, e);
	if (r == OK && f.type == TREE_SYMLINK)
		r = add_text(d, en->target.at, en->target.len, &f.target, e);
	if (r == OK)
		r = big_array_push(&d->plan.files, &f, e);
	if (r == OK && f.type == TREE_FILE && dest_is_new(&f))
		r = add_items(p, en, number, e);
	else if (r == OK && f.type == TREE_FILE && f.action != DEST_SKIP && !f.adopted)
		r = keep_items(p, en, e);
	if (r != OK)
		return r;
	count(d, &f);
	return f.type == TREE_DIR ? enter(p, pair, number, e) : OK;
}

/* Was in the previous snapshot and is not wanted any more, or not as a directory. */
static enum err
plan_gone(struct dest_planner *p, const struct dest_pair *pair, struct error *e)
{
	struct dest *d = p->d;
	struct dest_gone g = { .path_len = (uint32_t)pair->path.len,
		.dir = dest_level_top(p)->number };
	struct dest_level below = { .number = g.dir, .top = DEST_NONE, .is_gone = true };
	bool ours, is_dir;
	struct error why;

	enum err r = dest_judge_gone(p, pair, &g, &ours, e);
	if (r != OK)
		return r;
	is_dir = ours && g.type == TREE_DIR;
	if (pair->old->type == TREE_DIR) {
		r = dest_level_push(p, pair->path, below, is_dir, &why);
		if (r != OK && r != ERR_DENIED)
			return dest_fail(e, &why);
		g.row = dest_level_top(p)->state_dir;
	}
	if (!ours || pair->new != NULL) /* what it makes room for looks itself */
		return OK;
	r = add_text(d, pair->path.text, pair->path.len, &g.path, e);
	return r == OK ? big_array_push(&d->plan.gone, &g, e) : r;
}

static enum err
plan_pair(struct dest_planner *p, const struct dest_pair *pair, struct error *e)
{
	bool was_dir = pair->old != NULL && pair->old->type == TREE_DIR;
	enum err r = OK;

	dest_level_leave(p, pair->path);
	if (pair->new != NULL)
		r = plan_entry(p, pair, e);
	if (r == OK && (pair->new == NULL || (was_dir && pair->new->type != TREE_DIR)))
		r = plan_gone(p, pair, e);
	return r;
}

/* -- the whole -- */

static enum err
prepare_chunks(struct dest *d, struct error *e)
{
	enum err r = big_array_resize(&d->plan.chunks, snapshot_map_chunks(d->o.map), e);

	for (uint64_t i = 0; r == OK && i < d->plan.chunks.n; i++) {
		dest_chunk(d, i)->file = dest_chunk(d, i)->list = DEST_NONE;
		dest_trim(d, i);
	}
	return r;
}

static enum err
plan_all(struct dest_planner *p, struct error *e)
{
	struct dest *d = p->d;
	const struct hash_id *before =
	    hash_id_is_none(&d->o.root->snapshot) ? NULL : &d->o.root->content;
	auto_(dest_merge_free_p) struct dest_merge *m =
	    dest_merge_new(d->o.nodes, before, &d->tree, d->only);
	struct dest_pair pair;
	const struct dest_level top = { .number = DEST_NONE, .top = DEST_NONE };
	enum err r = dest_level_push(p, (struct relpath){ "", 0 }, top, true, e);

	for (uint64_t n = 0; r == OK && (r = dest_merge_next(m, &pair, e)) == OK; n++) {
		if (dest_is_canceled(d))
			return fail(e, ERR_CANCELED, "stopped");
		r = plan_pair(p, &pair, e);
		dest_trim(d, n);
	}
	return r == ERR_NOTFOUND ? OK : r;
}

enum err
dest_plan_make(struct dest *d, struct error *e)
{
	struct dest_planner p = { .d = d, .dir = BUF(RELPATH_MAX), .room = mem_alloc(CHUNK_MAX) };
	enum err r = prepare_chunks(d, e);

	if (r == OK)
		r = plan_all(&p, e);
	dest_level_clear(&p);
	buf_clear(&p.dir);
	free(p.room);
	return r;
}
