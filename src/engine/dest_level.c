/*
 * The directory that is being planned, and those above it.
 *
 * What we wrote into a directory is read from state a page at a time, in name order, which is the
 * order in which entries come: a directory of a million files costs as much memory as one of a
 * hundred.
 */
#include <errno.h>

#include "engine/dest_private.h"

enum { KNOWN_PAGE = 64 };

static void
pop(struct dest_planner *p)
{
	struct dest_level *l = dest_level_top(p);

	if (l->fd >= 0 && l->mode != DEST_NONE)
		(void)!fs_set_mode(l->fd, l->mode, NULL);
	if (l->number != DEST_NONE && !l->is_gone)
		dest_file(p->d, l->number)->end = (uint32_t)p->d->plan.files.n;
	cleanup_close(&l->fd);
	array_clear(&l->known);
	p->levels.len--;
}

void
dest_level_clear(struct dest_planner *p)
{
	while (p->levels.len > 0)
		pop(p);
	array_clear(&p->levels);
}

void
dest_level_leave(struct dest_planner *p, struct relpath path)
{
	while (p->levels.len > 1) {
		size_t n = dest_level_top(p)->path_len;
		if (path.len > n && path.text[n] == '/' && memcmp(p->dir.at, path.text, n) == 0)
			return;
		pop(p);
	}
}

bool
dest_level_open_up(struct dest_level *l)
{
	struct fs_stat st;

	if (l->mode != DEST_NONE || fs_stat_fd(l->fd, &st, NULL) != OK ||
	    fs_set_mode(l->fd, st.mode | 0700, NULL) != OK)
		return false;
	l->mode = st.mode;
	return true;
}

/* One that cannot even be read is opened up by its name. */
static enum err
open_level(struct dest *d, struct relpath path, struct dest_level *l, struct error *e)
{
	struct fs_stat st;
	struct error why;
	enum err r = fs_open_dir(d->dir, path, &l->fd, &why);

	if (r == OK || r == ERR_NOTFOUND)
		return OK;
	if (why.sys == EACCES && fs_stat_at(d->dir, path, &st, NULL) == OK && st.type == FS_DIR &&
	    fs_set_mode_at(d->dir, path, st.mode | 0700, NULL) == OK) {
		l->mode = st.mode;
		r = fs_open_dir(d->dir, path, &l->fd, &why);
	}
	if (r == OK)
		return OK;
	l->blocked = true;
	return fail(e, why.sys == EACCES ? ERR_DENIED : r, "%s", why.text);
}

enum err
dest_level_push(struct dest_planner *p, struct relpath path, struct dest_level l, bool is_there,
    struct error *e)
{
	struct dest *d = p->d;
	enum err r = OK, opened = OK;

	l.path_len = path.len;
	l.fd = -1;
	l.mode = DEST_NONE;
	if (is_there)
		opened = open_level(d, path, &l, e);
	if (l.fd >= 0) {
		struct error why;
		r = state_dir_find(d->o.state, d->o.root->id, path, &l.state_dir, NULL, &why);
		if (r == ERR_NOTFOUND)
			r = OK;
		else if (r != OK)
			(void)dest_fail(e, &why);
	}
	array_push(&p->levels, l);
	buf_reset(&p->dir);
	buf_add(&p->dir, path.text, path.len);
	return r == OK ? opened : r;
}

/* The next page, from behind the last name on. */
static enum err
turn_page(struct dest_planner *p, struct dest_level *l, struct error *e)
{
	struct state_file last = { 0 };

	if (l->known.len > 0)
		last = l->known.at[l->known.len - 1];
	l->known.len = l->at = 0;
	return state_files_after(
	    p->d->o.state, l->state_dir, BYTES(last.name, last.name_len), KNOWN_PAGE, &l->known, e);
}

enum err
dest_level_known(struct dest_planner *p, struct dest_level *l, struct bytes name,
    const struct state_file **ret, struct error *e)
{
	*ret = NULL;
	while (l->state_dir != 0) {
		if (l->at == l->known.len) {
			enum err r = turn_page(p, l, e);
			if (r != OK)
				return r;
			if (l->known.len == 0)
				l->state_dir = 0; /* no more of them */
			continue;
		}
		const struct state_file *f = &l->known.at[l->at];
		int c = bytes_compare(BYTES(f->name, f->name_len), name);
		if (c == 0)
			*ret = f;
		if (c >= 0)
			return OK;
		l->at++;
	}
	return OK;
}
