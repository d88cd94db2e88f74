/*
 * Modes and times of directories, deepest first: placing into a directory changes its time, and
 * closing one ends placing.
 */
#include <errno.h>

#include "engine/dest_private.h"

static enum err
dress_dir(struct dest_cursor *c, uint32_t i, struct error *e)
{
	struct dest *d = c->d;
	const struct dest_file *f = dest_file(d, i);
	struct relpath path = dest_file_path(d, f), name = dest_name_of(path);
	struct fs_stat st;
	int dir;

	enum err r = dest_cursor_at(c, f->dir, &dir, e);
	if (r == OK)
		r = fs_stat_at(dir, name, &st, e);
	if (r == ERR_NOTFOUND || (r == OK && st.type != FS_DIR)) {
		dest_note(d, path, DEST_WHY_LATE, NULL);
		return OK;
	}
	if (r == OK)
		r = fs_set_times_at(dir, name, f->mtime_ns, e);
	return r == OK ? fs_set_mode_at(dir, name, f->mode, e) : r;
}

enum err
dest_dress(struct dest *d, struct error *e)
{
	struct dest_cursor c = { .d = d, .fd = -1 };
	struct error why;
	enum err r = OK;

	for (uint64_t i = d->plan.files.n; r == OK && i-- > 0;) {
		const struct dest_file *f = dest_file(d, i);
		dest_trim(d, i);
		if (f->type != TREE_DIR || f->action == DEST_SKIP ||
		    (f->action == DEST_KEEP && !f->is_done))
			continue;
		r = dress_dir(&c, (uint32_t)i, &why);
		if (r != OK && why.sys == EACCES && dest_cursor_open_up(d, f->dir))
			r = dress_dir(&c, (uint32_t)i, &why);
		if (r != OK && dest_is_refusal(&why)) {
			dest_note(d, dest_file_path(d, f), DEST_WHY_CANNOT, why.text);
			r = OK;
		}
	}
	dest_cursor_close(&c);
	return r == OK ? OK : dest_fail(e, &why);
}
