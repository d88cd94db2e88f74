/*
 * Staged files.  Entry I waits in the stage under its number, XXX/XXX, or, in a directory that is
 * made anew, under its own name beneath tXXX, the number of that directory.
 *
 * A small file is made, written, dressed and closed in one go; bigger ones are preallocated and
 * kept open while leaves come, in several jobs at once: the lock guards the open ones.
 */
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "engine/dest_private.h"

/* -- names -- */

struct relpath
dest_stage_path(const struct dest *d, uint32_t i, struct buf *to)
{
	const struct dest_file *f = dest_file(d, i);

	buf_reset(to);
	if (f->top == DEST_NONE) {
		buf_addf(to, "%x/%x", i / DEST_STAGE_DIR, i % DEST_STAGE_DIR);
	} else {
		uint32_t above = dest_file(d, f->top)->path_len;
		struct relpath path = dest_file_path(d, f);
		buf_addf(to, "t%x", f->top);
		buf_add(to, path.text + above, path.len - above);
	}
	return (struct relpath){ buf_text(to), to->len };
}

enum err
dest_stage_parents(struct dest *d, struct relpath path, struct error *e)
{
	size_t n = path.len - dest_name_of(path).len;
	auto_free char *above = mem_dup(path.text, path.len + 1);

	if (n == 0)
		return OK;
	above[n - 1] = '\0';
	return fs_mkdirs(d->stage, (struct relpath){ above, n - 1 }, 0700, e);
}

/* What a filesystem says to a name that it does not take. */
static bool
is_odd_name(const struct error *e)
{
	return e->sys == EINVAL || e->sys == EILSEQ || e->sys == ENAMETOOLONG;
}

enum err
dest_stage_make(struct dest *d, uint32_t i,
    enum err (*make)(struct dest *d, const struct dest_file *f, struct relpath path, int *ret_fd,
	struct error *e),
    int *ret_fd, struct error *e)
{
	enum { TRIES = 4 };
	auto_buf struct buf text = BUF(DEST_PATH_MAX);
	struct dest_file *f = dest_file(d, i);
	struct error why;
	enum err r;

	for (int tries = 0;; tries++) {
		struct relpath path = dest_stage_path(d, i, &text);
		r = make(d, f, path, ret_fd, &why);
		if (r == OK)
			return OK;
		if (tries < TRIES && r == ERR_NOTFOUND)
			r = dest_stage_parents(d, path, &why);
		else if (tries < TRIES && r == ERR_EXISTS)
			r = fs_unlink(d->stage, path, &why);
		if (r != OK && is_odd_name(&why) && f->top != DEST_NONE && f->type != TREE_DIR) {
			/* placing it will say so, if nobody needs its chunks before */
			f->top = DEST_NONE;
			r = OK;
		}
		if (r != OK)
			break;
	}
	return dest_fail(e, &why);
}

/* -- files -- */

static enum err
create(struct dest *d, const struct dest_file *f, struct relpath path, int *ret_fd, struct error *e)
{
	(void)f;
	return fs_create(d->stage, path, ret_fd, e);
}

static enum err
dress(struct dest_file *f, int fd, struct error *e)
{
	struct fs_stat st;
	enum err r = fs_set_mode(fd, f->mode, e);

	if (r == OK)
		r = fs_set_times(fd, f->mtime_ns, e);
	if (r == OK)
		r = fs_stat_fd(fd, &st, e);
	if (r == OK && st.size != f->size)
		r = fail(e, ERR_BUG, "a staged file has %llu bytes, not %llu",
		    (unsigned long long)st.size, (unsigned long long)f->size);
	if (r == OK)
		f->is = dest_stat_of(&st);
	return r;
}

enum err
dest_stage_dress(struct dest *d, uint32_t i, int fd, struct error *e)
{
	return dress(dest_file(d, i), fd, e);
}

enum err
dest_stage_whole(struct dest *d, uint32_t i, struct bytes b, struct error *e)
{
	struct dest_file *f = dest_file(d, i);
	int fd_ = -1;
	enum err r = dest_stage_make(d, i, create, &fd_, e);
	auto_fd int fd = fd_;

	if (r == OK)
		r = fs_write_at(fd, 0, b, e);
	if (r == OK)
		r = dress(f, fd, e);
	if (r == OK)
		f->is_made = 1;
	return r;
}

/* With its blocks, so that a disk too small is found out now; holes stay holes. */
static enum err
make_big(struct dest *d, uint32_t i, int *ret_fd, struct error *e)
{
	struct dest_file *f = dest_file(d, i);
	int fd_ = -1;
	enum err r = dest_stage_make(d, i, create, &fd_, e);
	auto_fd int fd = fd_;

	if (r == OK)
		r = f->has_holes ? fs_truncate(fd, f->size, e) : fs_allocate(fd, 0, f->size, e);
	if (r != OK)
		return r;
	f->is_made = 1;
	*ret_fd = take_fd(fd);
	return OK;
}

/* One that is dressed already may be closed to ourselves. */
static enum err
open_made(struct dest *d, uint32_t i, int *ret_fd, struct error *e)
{
	auto_buf struct buf text = BUF(DEST_PATH_MAX);
	struct relpath path = dest_stage_path(d, i, &text);
	struct error why;
	enum err r = fs_open_write(d->stage, path, ret_fd, &why);

	if (r != OK && why.sys == EACCES && fs_set_mode_at(d->stage, path, 0600, NULL) == OK)
		r = fs_open_write(d->stage, path, ret_fd, &why);
	if (r == ERR_NOTFOUND)
		return fail(e, ERR_IO, "%s/" DEST_META ": what was received there has been removed",
		    d->path);
	return r == OK ? OK : dest_fail(e, &why);
}

/* -- open files -- */

static struct dest_fd *
find_open(struct dest *d, uint32_t i)
{
	for (size_t k = 0; k < DEST_OPEN_FILES; k++) {
		if (d->open[k].fd >= 0 && d->open[k].file == i)
			return &d->open[k];
	}
	return NULL;
}

/* An empty slot, or that of the file unused for longest; NULL when all are in use. */
static struct dest_fd *
free_slot(struct dest *d)
{
	struct dest_fd *best = NULL;

	for (size_t k = 0; k < DEST_OPEN_FILES; k++) {
		struct dest_fd *s = &d->open[k];
		if (s->fd < 0)
			return s;
		if (s->users == 0 && (best == NULL || s->used < best->used))
			best = s;
	}
	if (best != NULL)
		cleanup_close(&best->fd);
	return best;
}

static enum err
acquire_locked(struct dest *d, uint32_t i, int *ret_fd, struct error *e)
{
	struct dest_fd *s = find_open(d, i);
	enum err r = OK;

	if (s == NULL) {
		int fd = -1;
		r = dest_file(d, i)->is_made ? open_made(d, i, &fd, e) : make_big(d, i, &fd, e);
		if (r != OK)
			return r;
		*ret_fd = fd;
		s = free_slot(d);
		if (s == NULL)
			return OK; /* closed when it is released */
		*s = (struct dest_fd){ .file = i, .fd = fd };
	}
	s->users++;
	s->used = ++d->clock;
	*ret_fd = s->fd;
	return OK;
}

enum err
dest_stage_acquire(struct dest *d, uint32_t i, int *ret_fd, struct error *e)
{
	pthread_mutex_lock(&d->lock);
	enum err r = acquire_locked(d, i, ret_fd, e);
	pthread_mutex_unlock(&d->lock);
	return r;
}

void
dest_stage_release(struct dest *d, uint32_t i, int fd)
{
	pthread_mutex_lock(&d->lock);
	struct dest_fd *s = find_open(d, i);
	bool is_kept = s != NULL && s->fd == fd;
	if (is_kept)
		s->users--;
	pthread_mutex_unlock(&d->lock);
	if (!is_kept)
		(void)close(fd);
}

void
dest_stage_close_all(struct dest *d)
{
	for (size_t k = 0; k < DEST_OPEN_FILES; k++) {
		cleanup_close(&d->open[k].fd);
		d->open[k].fd = -1;
	}
}

/* A small file is dressed already: when it had to be opened up for us, it is dressed again. */
static enum err
read_small(struct dest *d, uint32_t i, uint8_t *to, size_t n, struct error *e)
{
	auto_buf struct buf text = BUF(DEST_PATH_MAX);
	struct relpath path = dest_stage_path(d, i, &text);
	struct error why;
	int fd_ = -1;
	enum err r = fs_open_read(d->stage, path, &fd_, &why);
	bool is_closed = r != OK && why.sys == EACCES;

	if (is_closed)
		r = open_made(d, i, &fd_, &why);
	auto_fd int fd = fd_;
	if (r == OK)
		r = fs_read_exact(fd, 0, to, n, &why);
	if (r == OK && is_closed)
		r = dress(dest_file(d, i), fd, &why);
	return r == OK ? OK : dest_fail(e, &why);
}

enum err
dest_stage_read(struct dest *d, uint32_t i, uint64_t off, uint8_t *to, size_t n, struct error *e)
{
	int fd;

	if (dest_file(d, i)->is_small)
		return read_small(d, i, to, n, e);
	enum err r = dest_stage_acquire(d, i, &fd, e);
	if (r != OK)
		return r;
	r = fs_read_exact(fd, off, to, n, e);
	dest_stage_release(d, i, fd);
	return r;
}
