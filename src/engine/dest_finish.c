/*
 * The stage made whole: chunks that stand in several files are copied from where they were
 * received, and what has no bytes from outside is made: directories, symlinks, empty files.  Then
 * all of it is dressed and flushed.  Done again after a crash it does the same.
 */
#include "base/mem.h"
#include "engine/dest_private.h"

static enum err
check_complete(struct dest *d, struct error *e)
{
	for (uint64_t i = 0; i < d->plan.chunks.n; i++) {
		if (!dest_chunk_is_here(d, i))
			return fail(e, ERR_AGAIN, "bytes are still missing");
		dest_trim(d, i);
	}
	return OK;
}

/* -- copies -- */

/* Between two big files the kernel copies, or shares the blocks where it can. */
static enum err
copy_range(struct dest *d, const struct dest_copy *c, uint32_t len, struct error *e)
{
	const struct dest_chunk *from = dest_chunk(d, c->chunk);
	int in, out;
	enum err r = dest_stage_acquire(d, from->file, &in, e);

	if (r != OK)
		return r;
	r = dest_stage_acquire(d, c->file, &out, e);
	if (r == OK) {
		r = fs_copy_range(in, from->offset, out, c->offset, len, e);
		dest_stage_release(d, c->file, out);
	}
	dest_stage_release(d, from->file, in);
	return r;
}

static enum err
copy_bytes(struct dest *d, const struct dest_copy *c, uint32_t len, uint8_t *room, struct error *e)
{
	const struct dest_chunk *from = dest_chunk(d, c->chunk);
	int out;
	enum err r = dest_stage_read(d, from->file, from->offset, room, len, e);

	if (r == OK && dest_file(d, c->file)->is_small)
		return dest_stage_whole(d, c->file, BYTES(room, len), e);
	if (r == OK)
		r = dest_stage_acquire(d, c->file, &out, e);
	if (r != OK)
		return r;
	r = fs_write_at(out, c->offset, BYTES(room, len), e);
	dest_stage_release(d, c->file, out);
	return r;
}

static enum err
copy_all(struct dest *d, struct error *e)
{
	auto_free uint8_t *room = mem_alloc(CHUNK_MAX);
	enum err r = OK;

	for (uint64_t i = 0; r == OK && i < d->plan.copies.n; i++) {
		const struct dest_copy *c = big_array_at(&d->plan.copies, i);
		uint32_t len = snapshot_map_chunk(d->o.map, c->chunk)->len;
		bool small = dest_file(d, c->file)->is_small ||
			     dest_file(d, dest_chunk(d, c->chunk)->file)->is_small;
		if (dest_is_canceled(d))
			return fail(e, ERR_CANCELED, "stopped");
		r = small ? copy_bytes(d, c, len, room, e) : copy_range(d, c, len, e);
		dest_trim(d, i);
	}
	return r;
}

/* -- each entry -- */

static enum err
finish_file(struct dest *d, uint32_t i, struct error *e)
{
	const struct dest_file *f = dest_file(d, i);
	int fd;

	if (f->is_small) /* dressed when it was written */
		return f->is_made ? OK : fail(e, ERR_BUG, "a file was not staged");
	if (f->size == 0)
		return dest_stage_whole(d, i, BYTES(NULL, 0), e);
	enum err r = dest_stage_acquire(d, i, &fd, e);
	if (r != OK)
		return r;
	r = dest_stage_dress(d, i, fd, e);
	dest_stage_release(d, i, fd);
	return r;
}

static enum err
make_symlink(
    struct dest *d, const struct dest_file *f, struct relpath path, int *ret_fd, struct error *e)
{
	(void)ret_fd;
	return fs_symlink(
	    d->stage, path, BYTES(big_array_at(&d->plan.paths, f->target), f->target_len), e);
}

static enum err
finish_symlink(struct dest *d, uint32_t i, struct error *e)
{
	auto_buf struct buf text = BUF(DEST_PATH_MAX);
	struct fs_stat st;
	enum err r = dest_stage_make(d, i, make_symlink, NULL, e);

	if (r == OK)
		r = fs_stat_at(d->stage, dest_stage_path(d, i, &text), &st, e);
	if (r == OK)
		dest_file(d, i)->is = dest_stat_of(&st);
	return r;
}

/* One whose name the filesystem does not take cannot be, nor what is in it. */
static enum err
finish_dir(struct dest *d, uint32_t i, struct error *e)
{
	auto_buf struct buf text = BUF(DEST_PATH_MAX);
	struct dest_file *f = dest_file(d, i);
	struct error why;

	if (f->top == DEST_NONE)
		return OK;
	struct relpath path = dest_stage_path(d, i, &text);
	enum err r = fs_mkdir(d->stage, path, 0700, &why);
	if (r == ERR_NOTFOUND) {
		r = dest_stage_parents(d, path, &why);
		if (r == OK)
			r = fs_mkdir(d->stage, path, 0700, &why);
	}
	if (r == OK || r == ERR_EXISTS)
		return OK;
	if (!dest_is_refusal(&why))
		return dest_fail(e, &why);
	f->action = DEST_SKIP;
	dest_note(d, dest_file_path(d, f), DEST_WHY_CANNOT, why.text);
	return OK;
}

static enum err
finish_one(struct dest *d, uint32_t i, struct error *e)
{
	const struct dest_file *f = dest_file(d, i);

	if (!dest_is_new(f))
		return OK;
	if (f->type == TREE_DIR)
		return finish_dir(d, i, e);
	return f->type == TREE_FILE ? finish_file(d, i, e) : finish_symlink(d, i, e);
}

enum err
dest_finish(struct dest *d, struct error *e)
{
	enum err r = dest_take_flush(d, e);

	if (r == OK)
		r = check_complete(d, e);
	if (r == OK)
		r = copy_all(d, e);
	for (uint64_t i = 0; r == OK && i < d->plan.files.n; i++) {
		if (i % 1024 == 0 && dest_is_canceled(d))
			return fail(e, ERR_CANCELED, "stopped");
		r = finish_one(d, (uint32_t)i, e);
		if (dest_file(d, i)->action == DEST_SKIP)
			i = dest_file(d, i)->end - 1;
		dest_trim(d, i);
	}
	dest_stage_close_all(d);
	return r == OK ? fs_sync_all(d->stage, e) : r;
}
