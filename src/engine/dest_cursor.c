#include <errno.h>

#include "base/cleanup.h"
#include "engine/dest_private.h"

bool
dest_is_refusal(const struct error *e)
{
	switch (e->sys) {
	case EACCES:
	case EPERM:
	case EINVAL:
	case EILSEQ:
	case ENAMETOOLONG:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
	case EBUSY:
	case ENOTEMPTY:
	case EEXIST:
	case EXDEV:
		return true;
	default:
		return false;
	}
}

void
dest_cursor_close(struct dest_cursor *c)
{
	cleanup_close(&c->fd);
	c->fd = -1;
}

void
dest_cursor_touch(struct dest *d, uint32_t dir)
{
	if (dir != DEST_NONE)
		dest_file(d, dir)->is_done = 1;
}

bool
dest_cursor_open_up(struct dest *d, uint32_t dir)
{
	uint32_t chain[RELPATH_DEPTH_MAX];
	struct fs_stat st;
	bool changed = false;
	size_t n = 0;

	for (; dir != DEST_NONE && n < RELPATH_DEPTH_MAX; dir = dest_file(d, dir)->dir)
		chain[n++] = dir;
	while (n-- > 0) {
		struct relpath path = dest_file_path(d, dest_file(d, chain[n]));
		if (fs_stat_at(d->dir, path, &st, NULL) != OK || st.type != FS_DIR)
			break;
		if ((st.mode & 0700) != 0700 &&
		    fs_set_mode_at(d->dir, path, st.mode | 0700, NULL) == OK) {
			dest_cursor_touch(d, chain[n]);
			changed = true;
		}
	}
	return changed;
}

static enum err
open_dir(struct dest_cursor *c, uint32_t dir, struct error *e)
{
	struct dest *d = c->d;
	struct relpath path = dest_file_path(d, dest_file(d, dir));
	struct error why;
	enum err r = fs_open_dir(d->dir, path, &c->fd, &why);

	if (r != OK && why.sys == EACCES && dest_cursor_open_up(d, dir))
		r = fs_open_dir(d->dir, path, &c->fd, &why);
	if (r == ERR_NOTFOUND && c->may_make) {
		r = fs_mkdirs(d->dir, path, 0700, &why);
		if (r == OK)
			r = fs_open_dir(d->dir, path, &c->fd, &why);
		dest_cursor_touch(d, dir);
	}
	return r == OK ? OK : dest_fail(e, &why);
}

enum err
dest_cursor_at(struct dest_cursor *c, uint32_t dir, int *ret_fd, struct error *e)
{
	if (dir == DEST_NONE) {
		*ret_fd = c->d->dir;
		return OK;
	}
	if (c->fd < 0 || c->dir != dir) {
		dest_cursor_close(c);
		enum err r = open_dir(c, dir, e);
		if (r != OK)
			return r;
		c->dir = dir;
	}
	*ret_fd = c->fd;
	return OK;
}
