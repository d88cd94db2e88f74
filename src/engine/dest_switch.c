/*
 * Into place, in an order in which a crash at any moment leaves every file whole, the old one or the new one, and a second run
 * finishes the first:
 *
 *   1 complete   chunks that stand in several files are copied from where they were received
 *   2 finish     modes and times on the staged files; everything flushed
 *   3 clear      what the wanted snapshot lacks goes, if it is still as we left it; what a wanted entry replaces by another
 *                type goes too
 *   4 place      directories are made, staged files and symlinks renamed into place, in manifest order
 *   5 dress      modes and times of what only lacked those; then of directories, deepest first
 *   6 record     what is there now, in state
 *
 * Nothing is renamed over a file that is not the one the plan saw: what the user did meanwhile stays, and is named.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/dest_private.h"
#include "platform/clock.h"

/* The directory of the last path, kept open: entries come in manifest order. */
struct cursor {
	struct dest *d;
	struct buf dir;
	int fd;
	bool is_open;
};

static void
cursor_close(struct cursor *c)
{
	if (c->is_open)
		(void)close(c->fd);
	c->is_open = false;
	buf_clear(&c->dir);
}

/* Points at the directory that PATH is in and at its last name. */
static enum err
cursor_at(struct cursor *c, struct relpath path, int *ret_dir, struct relpath *ret_name, struct error *e)
{
	const char *slash = memrchr(path.text, '/', path.len);
	size_t n = slash != NULL ? (size_t)(slash - path.text) : 0;
	struct bytes dir = BYTES(path.text, n);

	*ret_name = slash != NULL ? (struct relpath){ slash + 1, path.len - n - 1 } : path;
	if (n == 0) {
		*ret_dir = c->d->dir;
		return OK;
	}
	if (!c->is_open || !bytes_equal(buf_bytes(&c->dir), dir)) {
		if (c->is_open)
			(void)close(c->fd);
		c->is_open = false;
		buf_reset(&c->dir);
		buf_add_bytes(&c->dir, dir);
		struct relpath parent = { buf_text(&c->dir), n };
		enum err r = fs_open_dir(c->d->dir, parent, &c->fd, e);
		if (r != OK)
			return r;
		c->is_open = true;
	}
	*ret_dir = c->fd;
	return OK;
}

static void
note(struct dest *d, struct relpath path, const char *why)
{
	d->summary.in_way++;
	if (d->o.on_note != NULL)
		d->o.on_note(d->o.ctx, path, why);
}

/* -- 1 complete -- */

static enum err
copy_once(struct dest *d, const struct dest_copy *c, struct error *e)
{
	const struct dest_chunk *from = dest_chunk(d, c->chunk);
	const struct snapshot_map_chunk *m = snapshot_map_chunk(d->o.map, c->chunk);
	const struct dest_file *to_file = dest_file(d, c->file);
	int in = -1, out = -1;

	enum err r = dest_stage_acquire(d, from->file, &in, e);
	if (r != OK)
		return r;
	r = dest_stage_acquire(d, c->file, &out, e);
	if (r == OK) {
		r = fs_copy_range(in, from->offset, out, c->offset, m->len, e);
		if (r == OK && to_file->size == m->len) {
			r = fs_set_mode(out, to_file->mode, e);
			if (r == OK)
				r = fs_set_times(out, to_file->mtime_ns, e);
		}
		dest_stage_release(d, c->file, out);
	}
	dest_stage_release(d, from->file, in);
	return r;
}

static enum err
check_complete(struct dest *d, struct error *e)
{
	for (uint64_t i = 0; i < d->chunks.n; i++) {
		if (!dest_stage_chunk_done(d, (uint32_t)i))
			return fail(e, ERR_AGAIN, "bytes are still missing");
	}
	return OK;
}

static enum err
complete(struct dest *d, struct error *e)
{
	enum err r = check_complete(d, e);

	for (uint64_t i = 0; r == OK && i < d->copies.n; i++) {
		if (dest_canceled(d))
			return fail(e, ERR_CANCELED, "stopped");
		r = copy_once(d, big_array_at(&d->copies, i), e);
	}
	return r;
}

/* -- 2 finish -- */

/* Small files of one chunk have their mode and time from when they were written. */
static enum err
finish_file(struct dest *d, uint32_t i, struct error *e)
{
	const struct dest_file *f = dest_file(d, i);
	int fd;

	if (f->size > 0 && f->size <= CHUNK_LEAF && !f->has_holes)
		return OK;
	enum err r = dest_stage_acquire(d, i, &fd, e);
	if (r != OK)
		return r;
	if (f->has_holes)
		r = fs_truncate(fd, f->size, e);
	if (r == OK)
		r = fs_set_mode(fd, f->mode, e);
	if (r == OK)
		r = fs_set_times(fd, f->mtime_ns, e);
	dest_stage_release(d, i, fd);
	return r;
}

static enum err
finish(struct dest *d, struct error *e)
{
	enum err r = OK;

	for (uint64_t i = 0; r == OK && i < d->files.n; i++) {
		if (dest_is_staged(dest_file(d, i)))
			r = finish_file(d, (uint32_t)i, e);
	}
	dest_stage_close_all(d);
	return r == OK ? fs_sync_all(d->stage, e) : r;
}

/* The marker that steps 1 and 2 are behind us: from now on a staged file that is not there has been placed. */
static bool
is_finished(struct dest *d)
{
	struct fs_stat st;

	return fs_stat_at(d->o.job_dir, REL("placing"), &st, NULL) == OK;
}

static enum err
mark_finished(struct dest *d, struct error *e)
{
	return fs_write_file(d->o.job_dir, REL("placing"), BYTES_LIT("1"), 0600, e);
}

/* -- 3 clear -- */

/* A directory of ours that must be written to lets its owner in while we do. */
static void
let_in(struct dest *d, struct relpath dir)
{
	struct fs_stat st;

	if (fs_stat_at(d->dir, dir, &st, NULL) == OK && st.type == FS_DIR && (st.mode & 0700) != 0700)
		(void)!fs_set_mode_at(d->dir, dir, st.mode | 0700, NULL);
}

static void
let_in_parent(struct dest *d, struct relpath path)
{
	const char *slash = memrchr(path.text, '/', path.len);

	if (slash == NULL || geteuid() == 0)
		return;
	auto_free char *dir = strndup(path.text, (size_t)(slash - path.text));
	let_in(d, fs_rel(dir));
}

static enum err
clear_one(struct dest *d, const struct dest_gone *g, struct error *e)
{
	struct relpath path = dest_path(d, g->path, g->path_len);
	struct fs_stat st;
	enum err r = fs_stat_at(d->dir, path, &st, e);

	if (r == ERR_NOTFOUND)
		return OK;
	if (r != OK)
		return r;
	let_in_parent(d, path);
	if (st.type == FS_DIR) { /* what is in it that is not ours keeps it */
		if (g->type == TREE_DIR)
			(void)!fs_rmdir(d->dir, path, NULL);
		return OK;
	}
	if (!dest_is_old(&st, g->old_size, g->old_ino, g->old_mtime_ns, g->old_ctime_ns)) {
		note(d, path, "is no longer in the share, but was changed here: it stays");
		return OK;
	}
	d->summary.files_removed++;
	return fs_unlink(d->dir, path, e);
}

/* Deepest first: a directory comes before its entries in the array. */
static enum err
clear(struct dest *d, struct error *e)
{
	enum err r = OK;

	for (uint64_t i = d->gone.n; r == OK && i-- > 0;)
		r = clear_one(d, big_array_at(&d->gone, i), e);
	return r;
}

/* -- 4 place -- */

static enum err
to_trash(struct dest *d, struct relpath path, struct error *e)
{
	auto_free char *to = str_printf(DEST_TRASH "/%lld/%s", (long long)(clock_wall_ns() / 1000000000), path.text);
	char *slash = strrchr(to, '/');
	struct relpath target;

	*slash = 0;
	enum err r = fs_mkdirs(d->dir, fs_rel(to), 0700, e);
	*slash = '/';
	if (r == OK)
		r = relpath_parse(to, strlen(to), &target, e);
	if (r == OK)
		r = fs_rename_new(d->dir, path, d->dir, target, e);
	if (r == ERR_EXISTS) { /* a second one within a second */
		auto_free char *other = str_printf("%s~%llx", to, (unsigned long long)clock_mono_ns());
		if (relpath_parse(other, strlen(other), &target, e) == OK)
			r = fs_rename_new(d->dir, path, d->dir, target, e);
	}
	if (r == OK)
		d->summary.trashed++;
	return r;
}

/* Makes way for an entry: *RET_CLEAR false when what stands there is to stay. */
static enum err
make_way(struct dest *d, struct cursor *c, const struct dest_file *f, struct relpath path, bool *ret_clear, struct error *e)
{
	struct relpath name;
	struct fs_stat st;
	int dir;

	*ret_clear = true;
	enum err r = cursor_at(c, path, &dir, &name, e);
	if (r == OK)
		r = fs_stat_at(dir, name, &st, e);
	if (r == ERR_NOTFOUND)
		return OK;
	if (r != OK)
		return r;
	if (f->action == DEST_DISPLACE)
		return to_trash(d, path, e);
	bool is_old = f->action == DEST_REPLACE &&
	    (st.type == FS_DIR || dest_is_old(&st, f->old_size, f->old_ino, f->old_mtime_ns, f->old_ctime_ns));
	if (is_old && st.type == FS_DIR && f->type != TREE_DIR) {
		if (fs_rmdir(dir, name, NULL) == OK)
			return OK;
		is_old = false; /* something of the user's is in it */
	} else if (is_old && st.type != FS_DIR && f->type == TREE_DIR) {
		return fs_unlink(dir, name, e);
	}
	if (is_old)
		return OK;
	if (d->o.overwrite)
		return to_trash(d, path, e);
	note(d, path, "appeared or changed while the snapshot was being received: it stays");
	*ret_clear = false;
	return OK;
}

/* A mount point lies between the stage and the target: a hidden copy beside the target, flushed, then renamed. */
static enum err
place_across(struct dest *d, struct relpath staged, int dir, struct relpath name, const struct dest_file *f, struct error *e)
{
	auto_fd int in = -1;
	auto_fd int out = -1;
	char hidden[48];

	snprintf(hidden, sizeof hidden, DEST_META "-%lld.part", (long long)d->o.job);
	(void)!fs_unlink(dir, fs_rel(hidden), NULL);
	enum err r = fs_open_read(d->stage, staged, &in, e);
	if (r == OK)
		r = fs_create(dir, fs_rel(hidden), &out, e);
	if (r == OK)
		r = fs_copy_range(in, 0, out, 0, f->size, e);
	if (r == OK)
		r = fs_set_mode(out, f->mode, e);
	if (r == OK)
		r = fs_set_times(out, f->mtime_ns, e);
	if (r == OK)
		r = fs_sync(out, e);
	if (r == OK)
		r = fs_rename(dir, fs_rel(hidden), dir, name, e);
	return r == OK ? fs_unlink(d->stage, staged, e) : r;
}

static enum err
place_file(struct dest *d, struct cursor *c, uint32_t i, struct relpath path, struct error *e)
{
	const struct dest_file *f = dest_file(d, i);
	char text[16];
	struct relpath staged = dest_stage_name(i, text), name;
	struct fs_stat st;
	bool is_clear;
	int dir;

	enum err r = fs_stat_at(d->stage, staged, &st, e);
	if (r == ERR_NOTFOUND) /* placed by an earlier run */
		return OK;
	if (r == OK)
		r = make_way(d, c, f, path, &is_clear, e);
	if (r != OK || !is_clear)
		return r;
	r = cursor_at(c, path, &dir, &name, e);
	if (r != OK)
		return r;
	if (!fs_same_mount(d->stage, dir))
		return place_across(d, staged, dir, name, f, e);
	/* What was not there must still not be there: the kernel looks and renames in one step. */
	if (f->action != DEST_MAKE)
		return fs_rename(d->stage, staged, dir, name, e);
	r = fs_rename_new(d->stage, staged, dir, name, e);
	if (r != ERR_EXISTS)
		return r;
	note(d, path, "appeared while the snapshot was being received: it stays");
	return OK;
}

static enum err
place_symlink(struct dest *d, struct cursor *c, const struct dest_file *f, struct relpath path, struct error *e)
{
	struct bytes target = BYTES(big_array_at(&d->paths, f->target), f->target_len);
	auto_buf struct buf here = BUF(TREE_LINK_MAX);
	struct relpath name;
	bool is_clear;
	int dir;

	if (f->action == DEST_KEEP || f->action == DEST_SKIP)
		return OK;
	enum err r = cursor_at(c, path, &dir, &name, e);
	if (r == OK && fs_readlink(dir, name, &here, NULL) == OK && bytes_equal(buf_bytes(&here), target))
		return OK;
	if (r == OK)
		r = make_way(d, c, f, path, &is_clear, e);
	if (r != OK || !is_clear)
		return r;
	(void)!fs_unlink(d->stage, REL("link"), NULL);
	r = fs_symlink(d->stage, REL("link"), target, e);
	if (r != OK)
		return r;
	if (!fs_same_mount(d->stage, dir))
		return fs_symlink(dir, name, target, e);
	return fs_rename(d->stage, REL("link"), dir, name, e);
}

static enum err
place_dir(struct dest *d, struct cursor *c, const struct dest_file *f, struct relpath path, struct error *e)
{
	struct relpath name;
	bool is_clear = true;
	int dir;

	if (f->action == DEST_SKIP)
		return OK;
	if (f->action == DEST_REPLACE || f->action == DEST_DISPLACE) {
		struct fs_stat st;
		enum err r = fs_stat_at(d->dir, path, &st, NULL);
		if (r != OK || st.type != FS_DIR)
			r = make_way(d, c, f, path, &is_clear, e);
		if (r != OK || !is_clear)
			return r;
	}
	enum err r = cursor_at(c, path, &dir, &name, e);
	if (r == OK)
		r = fs_mkdir(dir, name, 0700, e);
	if (r == ERR_EXISTS) {
		let_in(d, path);
		r = OK;
	}
	return r;
}

/* What lies beneath something of the user's that stays cannot be placed; it was named once, as a whole. */
static enum err
place_one(struct dest *d, struct cursor *c, uint32_t i, struct error *e)
{
	const struct dest_file *f = dest_file(d, i);
	struct relpath path = dest_path(d, f->path, f->path_len);

	if (f->type == TREE_DIR)
		return place_dir(d, c, f, path, e);
	if (f->type == TREE_SYMLINK)
		return place_symlink(d, c, f, path, e);
	return dest_is_staged(f) ? place_file(d, c, i, path, e) : OK;
}

static enum err
place(struct dest *d, struct error *e)
{
	struct cursor c = { .d = d, .dir = BUF(RELPATH_MAX) };
	enum err r = OK;

	for (uint64_t i = 0; r == OK && i < d->files.n; i++) {
		r = place_one(d, &c, (uint32_t)i, e);
		if (r != OK) {
			const struct dest_file *f = dest_file(d, i);
			r = error_wrap(e, r, "%s", dest_path(d, f->path, f->path_len).text);
		}
		if (i % 65536 == 65535) {
			big_array_trim(&d->files);
			big_array_trim(&d->paths);
		}
	}
	cursor_close(&c);
	return r;
}

/* -- 5 dress -- */

/* A file that the user has changed since would pass for ours with our time on it. */
static bool
may_dress(const struct dest_file *f, const struct fs_stat *st)
{
	if (f->type == TREE_DIR)
		return st->type == FS_DIR;
	if (st->type != FS_FILE || st->size != f->old_size || st->ino != f->old_ino)
		return false;
	return (st->mtime_ns == f->old_mtime_ns && st->ctime_ns == f->old_ctime_ns) ||
	    st->mtime_ns == f->mtime_ns; /* dressed by an earlier run */
}

static enum err
dress_one(struct dest *d, struct cursor *c, const struct dest_file *f, struct error *e)
{
	struct relpath path = dest_path(d, f->path, f->path_len), name;
	struct fs_stat st;
	int dir;

	enum err r = cursor_at(c, path, &dir, &name, e);
	if (r == OK)
		r = fs_stat_at(dir, name, &st, e);
	if (r == OK && !may_dress(f, &st)) {
		note(d, path, "was changed while the snapshot was being received: it stays");
		return OK;
	}
	if (r == OK)
		r = fs_set_mode_at(dir, name, f->mode, e);
	if (r == OK)
		r = fs_set_times_at(dir, name, f->mtime_ns, e);
	return r == ERR_NOTFOUND ? OK : r;
}

static enum err
dress(struct dest *d, struct error *e)
{
	struct cursor c = { .d = d, .dir = BUF(RELPATH_MAX) };
	enum err r = OK;

	for (uint64_t i = 0; r == OK && i < d->files.n; i++) {
		const struct dest_file *f = dest_file(d, i);
		if (f->type == TREE_FILE && f->action == DEST_SET)
			r = dress_one(d, &c, f, e);
	}
	for (uint64_t i = d->files.n; r == OK && i-- > 0;) {
		const struct dest_file *f = dest_file(d, i);
		if (f->type == TREE_DIR && f->action != DEST_SKIP)
			r = dress_one(d, &c, f, e);
	}
	cursor_close(&c);
	return r == OK ? fs_sync_all(d->stage, e) : r;
}

enum err
dest_switch(struct dest *d, struct error *e)
{
	enum err r = OK;

	if (!is_finished(d)) {
		r = complete(d, e);
		if (r == OK)
			r = finish(d, e);
		if (r == OK)
			r = mark_finished(d, e);
	}
	if (r == OK)
		r = clear(d, e);
	if (r == OK)
		r = place(d, e);
	if (r == OK)
		r = dress(d, e);
	if (r == OK)
		r = dest_record(d, e);
	if (r == OK)
		(void)!fs_unlink(d->o.job_dir, REL("placing"), NULL);
	return r;
}
