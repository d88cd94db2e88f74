/*
 * For each entry: what stands on the disk, whose is it, what is to be done.
 *
 * "Ours" is what we wrote and the user has not touched: a file whose stat is the recorded one, a symlink with the target of
 * the previous snapshot, a directory that the previous snapshot had.  Everything else is the user's and stays, unless its
 * content is what is wanted (then it is adopted) or --overwrite was said (then it goes to the trash).
 */
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/dest_private.h"

/* The directory that is being planned, and those above it. */
struct level {
	size_t path_len;         /* of its path; entries begin after path_len + 1 (0: the root) */
	int fd;                  /* -1: not there on the disk, or in the way */
	bool blocked;            /* something of the user's stands where a directory is wanted */
	int64_t state_dir;
	state_file_array known;  /* what we wrote into it, by name */
};

struct planner {
	struct dest *d;
	ARRAY(struct level) levels;
	struct buf dir;          /* path of the innermost level */
	uint8_t *room;           /* CHUNK_MAX, for comparing contents */
};

/* -- levels -- */

static struct level *
top(struct planner *p)
{
	return &p->levels.at[p->levels.len - 1];
}

static void
pop(struct planner *p)
{
	struct level *l = top(p);

	if (l->fd >= 0)
		(void)close(l->fd);
	array_clear(&l->known);
	p->levels.len--;
}

static enum err
push(struct planner *p, struct relpath path, enum dest_action action, struct error *e)
{
	struct dest *d = p->d;
	struct level l = { .path_len = path.len, .fd = -1, .blocked = action == DEST_SKIP };
	bool is_there = action == DEST_KEEP || action == DEST_SET;
	enum err r = is_there ? fs_open_dir(d->dir, path, &l.fd, e) : OK;

	if (r == ERR_NOTFOUND)
		r = OK;
	if (r == OK && l.fd >= 0)
		r = state_dir_id(d->o.state, d->o.root->id, path, &l.state_dir, e);
	if (r == OK && l.fd >= 0)
		r = state_files(d->o.state, l.state_dir, &l.known, e);
	array_push(&p->levels, l);
	buf_reset(&p->dir);
	buf_add(&p->dir, path.text, path.len);
	return r;
}

/* Levels that PATH is not beneath are done. */
static void
leave(struct planner *p, struct relpath path)
{
	while (p->levels.len > 1) {
		size_t n = top(p)->path_len;
		if (path.len > n && path.text[n] == '/' && memcmp(p->dir.at, path.text, n) == 0)
			return;
		pop(p);
	}
}

/* -- what stands there -- */

bool
dest_is_old(const struct fs_stat *st, uint64_t size, uint64_t ino, int64_t mtime_ns, int64_t ctime_ns)
{
	return st->size == size && st->ino == ino && st->mtime_ns == mtime_ns && st->ctime_ns == ctime_ns;
}

static const struct state_file *
find_known(const struct level *l, struct bytes name)
{
	size_t lo = 0, hi = l->known.len;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct state_file *f = &l->known.at[mid];
		int c = bytes_compare(BYTES(f->name, f->name_len), name);
		if (c == 0)
			return f;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static bool
is_ours(const struct level *l, struct bytes name, const struct fs_stat *st)
{
	const struct state_file *f = find_known(l, name);

	return f != NULL && f->ours && st->type == FS_FILE &&
	    dest_is_old(st, f->size, f->ino, f->mtime_ns, f->ctime_ns);
}

static bool
same_content(const struct tree_entry *a, const struct tree_entry *b)
{
	if (a->type != b->type || a->size != b->size || a->n_items != b->n_items || !hash_id_equal(&a->root, &b->root))
		return false;
	for (uint32_t i = 0; i < a->n_items; i++) {
		if (a->items[i].len != b->items[i].len || !hash_id_equal(&a->items[i].id, &b->items[i].id))
			return false;
	}
	return true;
}

static enum err
is_adoptable(struct planner *p, const struct level *l, const char *name, const struct fs_stat *st,
    const struct tree_entry *en, bool *ret, struct error *e)
{
	auto_fd int fd = -1;
	struct relpath path;

	*ret = false;
	if (st->type != FS_FILE || st->size != en->size)
		return OK;
	enum err r = relpath_parse(name, strlen(name), &path, e);
	if (r == OK)
		r = fs_open_read(l->fd, path, &fd, e);
	if (r != OK)
		return OK; /* unreadable: it stays in the way */
	return dest_content_is(p->d->o.nodes, fd, en, p->room, p->d->o.cancel, ret, e);
}

/* -- verdicts -- */

static void
note(struct planner *p, struct relpath path, const char *why)
{
	struct dest *d = p->d;

	d->summary.in_way++;
	if (d->o.on_note != NULL)
		d->o.on_note(d->o.ctx, path, why);
}

static uint8_t
in_way(struct planner *p, struct relpath path, const char *what)
{
	char why[160];

	if (p->d->o.overwrite)
		return DEST_DISPLACE;
	snprintf(why, sizeof why, "%s is in the way and stays; --overwrite moves it to " DEST_TRASH, what);
	note(p, path, why);
	return DEST_SKIP;
}

static uint8_t
set_or_keep(const struct tree_entry *en, const struct fs_stat *st)
{
	return (st->mode & 0777) == en->mode && st->mtime_ns == en->mtime_ns ? DEST_KEEP : DEST_SET;
}

static enum err
judge_file(struct planner *p, const struct dest_pair *pair, const struct fs_stat *st, struct dest_file *f, struct error *e)
{
	const struct level *l = top(p);
	const struct tree_entry *en = pair->new;
	bool adopt = false;

	if (is_ours(l, en->name, st)) {
		bool same = pair->old != NULL && same_content(pair->old, en);
		f->action = same ? set_or_keep(en, st) : DEST_REPLACE;
		return OK;
	}
	auto_free char *name = strndup((const char *)en->name.at, en->name.len);
	enum err r = is_adoptable(p, l, name, st, en, &adopt, e);
	if (r != OK)
		return r;
	if (adopt) {
		f->action = set_or_keep(en, st);
		f->adopted = 1;
	} else if (st->type == FS_FILE) {
		bool known = find_known(l, en->name) != NULL;
		f->action = in_way(p, pair->path, known ? "changed since it was received: the file" : "a file");
	} else {
		f->action = in_way(p, pair->path, st->type == FS_DIR ? "a directory" : "something else");
	}
	return OK;
}

static enum err
judge_symlink(struct planner *p, const struct dest_pair *pair, const struct fs_stat *st, struct dest_file *f,
    struct error *e)
{
	auto_buf struct buf target = BUF(TREE_LINK_MAX);

	if (st->type == FS_SYMLINK) {
		enum err r = fs_readlink(p->d->dir, pair->path, &target, e);
		if (r != OK)
			return r;
		if (bytes_equal(buf_bytes(&target), pair->new->target)) {
			f->action = DEST_KEEP;
			return OK;
		}
		if (pair->old != NULL && pair->old->type == TREE_SYMLINK &&
		    bytes_equal(buf_bytes(&target), pair->old->target)) {
			f->action = DEST_REPLACE;
			return OK;
		}
	} else if (is_ours(top(p), pair->new->name, st)) {
		f->action = DEST_REPLACE;
		return OK;
	}
	f->action = in_way(p, pair->path, "something else");
	return OK;
}

static void
judge_dir(struct planner *p, const struct dest_pair *pair, const struct fs_stat *st, struct dest_file *f)
{
	if (st->type == FS_DIR)
		f->action = set_or_keep(pair->new, st);
	else if (is_ours(top(p), pair->new->name, st))
		f->action = DEST_REPLACE;
	else
		f->action = in_way(p, pair->path, st->type == FS_SYMLINK ? "a symlink" : "a file");
}

/* A file or symlink is wanted where the previous snapshot had a directory: it goes when nothing of the user's is in it. */
static bool
was_our_dir(const struct dest_pair *pair, const struct fs_stat *st)
{
	return st->type == FS_DIR && pair->old != NULL && pair->old->type == TREE_DIR;
}

static enum err
judge(struct planner *p, const struct dest_pair *pair, struct dest_file *f, struct error *e)
{
	struct level *l = top(p);
	struct fs_stat st;

	if (l->blocked) {
		f->action = DEST_SKIP;
		return OK;
	}
	if (l->fd < 0) {
		f->action = DEST_MAKE;
		return OK;
	}
	auto_free char *name = strndup((const char *)pair->new->name.at, pair->new->name.len);
	enum err r = fs_stat_at(l->fd, (struct relpath){ name, pair->new->name.len }, &st, e);
	if (r == ERR_NOTFOUND) {
		f->action = DEST_MAKE;
		return OK;
	}
	if (r != OK)
		return r;
	f->old_size = st.size;
	f->old_ino = st.ino;
	f->old_mtime_ns = st.mtime_ns;
	f->old_ctime_ns = st.ctime_ns;
	if (pair->new->type != TREE_DIR && was_our_dir(pair, &st))
		f->action = DEST_REPLACE;
	else if (pair->new->type == TREE_FILE)
		return judge_file(p, pair, &st, f, e);
	else if (pair->new->type == TREE_SYMLINK)
		return judge_symlink(p, pair, &st, f, e);
	else
		judge_dir(p, pair, &st, f);
	return OK;
}

/* -- the arrays -- */

static enum err
add_text(struct dest *d, const void *text, size_t len, uint64_t *ret_at, struct error *e)
{
	uint64_t at = d->paths.n;
	enum err r = big_array_resize(&d->paths, at + len + 1, e);

	if (r != OK)
		return r;
	memcpy(big_array_at(&d->paths, at), text, len);
	*ret_at = at;
	return OK;
}

/* The first place of a chunk is where it is received; a further one is copied from there in the end. */
static enum err
add_items(struct planner *p, const struct tree_entry *en, uint32_t number, struct error *e)
{
	struct dest *d = p->d;
	auto_(tree_items_free_p) struct tree_items *items = tree_items_new(d->o.nodes, en);
	struct tree_item item;
	uint64_t off = 0;
	enum err r;

	while ((r = tree_items_next(items, &item, e)) == OK) {
		if (hash_id_is_none(&item.id)) {
			dest_file(d, number)->has_holes = 1;
		} else {
			uint32_t at = snapshot_map_find(d->o.map, &item.id);
			if (at == UINT32_MAX)
				return fail(e, ERR_CORRUPT, "the snapshot's map lacks a chunk; try again");
			struct dest_chunk *c = dest_chunk(d, at);
			if (c->file == UINT32_MAX) {
				*c = (struct dest_chunk){ .file = number, .offset = off };
				d->summary.bytes_missing += item.len;
			} else {
				const struct dest_copy copy = { .offset = off, .file = number, .chunk = at };
				r = big_array_push(&d->copies, &copy, e);
				if (r != OK)
					return r;
				d->summary.bytes_reused += item.len;
			}
		}
		off += item.len;
	}
	return r == ERR_NOTFOUND ? OK : r;
}

static void
count(struct dest *d, const struct dest_file *f, uint64_t size)
{
	struct dest_summary *s = &d->summary;

	if (f->type == TREE_DIR)
		return;
	s->files++;
	s->bytes += size;
	if (f->action == DEST_MAKE) {
		s->files_new++;
	} else if (f->action == DEST_REPLACE || f->action == DEST_DISPLACE) {
		s->files_changed++;
	} else if (f->action != DEST_SKIP) {
		s->bytes_reused += size;
		if (f->adopted)
			s->files_adopted++;
		else
			s->files_same++;
	}
}

static enum err
plan_entry(struct planner *p, const struct dest_pair *pair, struct error *e)
{
	struct dest *d = p->d;
	const struct tree_entry *en = pair->new;
	struct dest_file f = {
		.path_len = (uint32_t)pair->path.len,
		.type = (uint8_t)en->type,
		.mode = en->mode,
		.mtime_ns = en->mtime_ns,
		.size = en->type == TREE_FILE ? en->size : 0,
		.target_len = (uint32_t)en->target.len,
	};
	uint32_t number = (uint32_t)d->files.n;

	enum err r = judge(p, pair, &f, e);
	if (r == OK)
		r = add_text(d, pair->path.text, pair->path.len, &f.path, e);
	if (r == OK && en->type == TREE_SYMLINK)
		r = add_text(d, en->target.at, en->target.len, &f.target, e);
	if (r == OK)
		r = big_array_push(&d->files, &f, e);
	if (r == OK && dest_is_staged(&f))
		r = add_items(p, en, number, e);
	if (r != OK)
		return r;
	count(d, &f, f.size);
	if (en->type == TREE_DIR)
		return push(p, pair->path, f.action, e);
	return OK;
}

/* The same where the directory is not the one being planned. */
static bool
is_ours_at(struct dest *d, struct relpath path, const struct fs_stat *st)
{
	const char *slash = memrchr(path.text, '/', path.len);
	size_t n = slash != NULL ? (size_t)(slash - path.text) : 0;
	auto_free char *parent = strndup(path.text, n);
	const char *name = slash != NULL ? slash + 1 : path.text;
	struct state_file f;
	int64_t dir;

	return state_dir_find(d->o.state, d->o.root->id, (struct relpath){ parent, n }, &dir, NULL, NULL) == OK &&
	    state_file_find(d->o.state, dir, bytes_str(name), &f, NULL) == OK && f.ours &&
	    dest_is_old(st, f.size, f.ino, f.mtime_ns, f.ctime_ns);
}

/* Was in the previous snapshot and is not wanted any more: goes, if it is still as we left it. */
static enum err
plan_gone(struct planner *p, const struct dest_pair *pair, struct error *e)
{
	struct dest *d = p->d;
	struct level *l = top(p);
	struct fs_stat st;
	struct dest_gone g = { .path_len = (uint32_t)pair->path.len, .type = (uint8_t)pair->old->type };

	/* Beneath a directory that is gone as a whole the level is the last one that stays: look by path. */
	if (l->blocked || fs_stat_at(d->dir, pair->path, &st, NULL) != OK)
		return OK;
	/* What the user made or changed stays. */
	if (st.type == FS_FILE && !is_ours_at(d, pair->path, &st))
		return OK;
	if (st.type != FS_FILE && st.type != FS_DIR && st.type != FS_SYMLINK)
		return OK;
	g.old_size = st.size;
	g.old_ino = st.ino;
	g.old_mtime_ns = st.mtime_ns;
	g.old_ctime_ns = st.ctime_ns;
	enum err r = add_text(d, pair->path.text, pair->path.len, &g.path, e);
	return r == OK ? big_array_push(&d->gone, &g, e) : r;
}

/* -- the whole -- */

static enum err
prepare_chunks(struct dest *d, struct error *e)
{
	enum err r = big_array_resize(&d->chunks, snapshot_map_chunks(d->o.map), e);

	for (uint64_t i = 0; r == OK && i < d->chunks.n; i++)
		dest_chunk(d, i)->file = UINT32_MAX;
	return r;
}

static enum err
plan_all(struct planner *p, struct error *e)
{
	struct dest *d = p->d;
	const struct hash_id *before = hash_id_is_none(&d->o.root->snapshot) ? NULL : &d->o.root->content;
	auto_(dest_merge_free_p) struct dest_merge *m = dest_merge_new(d->o.nodes, before, &d->tree, d->only);
	struct dest_pair pair;
	uint64_t n = 0;
	enum err r = push(p, (struct relpath){ "", 0 }, DEST_KEEP, e);

	while (r == OK && (r = dest_merge_next(m, &pair, e)) == OK) {
		if (dest_canceled(d))
			return fail(e, ERR_CANCELED, "stopped");
		leave(p, pair.path);
		r = pair.new != NULL ? plan_entry(p, &pair, e) : plan_gone(p, &pair, e);
		if (++n % 65536 == 0) {
			big_array_trim(&d->files);
			big_array_trim(&d->paths);
			snapshot_map_trim(d->o.map);
		}
	}
	return r == ERR_NOTFOUND ? OK : r;
}

enum err
dest_plan_make(struct dest *d, struct error *e)
{
	struct planner p = { .d = d, .dir = BUF(RELPATH_MAX), .room = mem_alloc(CHUNK_MAX) };
	enum err r = prepare_chunks(d, e);

	if (r == OK)
		r = plan_all(&p, e);
	while (p.levels.len > 0)
		pop(&p);
	array_clear(&p.levels);
	buf_clear(&p.dir);
	free(p.room);
	return r;
}
