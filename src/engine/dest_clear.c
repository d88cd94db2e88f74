/*
 * What the wanted snapshot lacks goes, if it is still as we left it; deepest first.
 */
#include <errno.h>

#include "base/mem.h"
#include "engine/dest_private.h"

/* What is in it that is not ours keeps it, and so does a mount. */
static enum err
clear_dir(struct dest *d, const struct dest_gone *g, struct relpath path, const struct fs_stat *st,
    struct error *e)
{
	struct error why;
	enum err r = fs_rmdir(d->dir, path, &why);

	if (r == OK || r == ERR_NOTFOUND)
		return OK;
	if (st->mode != g->mode)
		(void)!fs_set_mode_at(d->dir, path, g->mode, NULL);
	bool is_kept = why.sys == ENOTEMPTY || why.sys == EEXIST || why.sys == EBUSY;
	return is_kept ? OK : dest_fail(e, &why);
}

static enum err
clear_one(struct dest *d, const struct dest_gone *g, struct error *e)
{
	struct relpath path = dest_path(d, g->path, g->path_len);
	struct fs_stat st;
	enum err r = fs_stat_at(d->dir, path, &st, e);

	if (r != OK)
		return r == ERR_NOTFOUND ? OK : r;
	dest_cursor_touch(d, g->dir);
	if (g->type == TREE_DIR && st.type == FS_DIR)
		return clear_dir(d, g, path, &st, e);
	if (!dest_stat_equal(&g->was, &st)) {
		dest_note(d, path, DEST_WHY_GONE, NULL);
		return OK;
	}
	bool changed;
	r = dest_remove(d, d->dir, path, &g->was, &changed, e);
	if (r == OK && changed)
		dest_note(d, path, DEST_WHY_GONE, NULL);
	d->summary.files_removed += r == OK && !changed;
	return r;
}

/* The directories above PATH may be closed to us; those that stay are dressed again, those that do
 * not are given their mode back when they are left (clear_dir). */
static bool
open_up(struct dest *d, const struct dest_gone *g)
{
	struct relpath path = dest_path(d, g->path, g->path_len);
	bool changed = dest_cursor_open_up(d, g->dir);
	auto_free char *text = mem_dup(path.text, path.len + 1);
	struct fs_stat st;

	for (size_t n = 1; n < path.len; n++) {
		struct relpath above = { text, n };
		if (text[n] != '/')
			continue;
		text[n] = '\0';
		if (fs_stat_at(d->dir, above, &st, NULL) == OK && st.type == FS_DIR &&
		    (st.mode & 0700) != 0700)
			changed |= fs_set_mode_at(d->dir, above, st.mode | 0700, NULL) == OK;
		text[n] = '/';
	}
	return changed;
}

enum err
dest_clear(struct dest *d, struct error *e)
{
	for (uint64_t i = d->plan.gone.n; i-- > 0;) {
		const struct dest_gone *g = big_array_at(&d->plan.gone, i);
		struct error why = { 0 };
		dest_trim(d, i);
		if (g->stays)
			continue;
		enum err r = clear_one(d, g, &why);
		if (r != OK && why.sys == EACCES && open_up(d, g))
			r = clear_one(d, g, &why);
		if (r != OK && !dest_is_refusal(&why))
			return dest_fail(e, &why);
		if (r != OK)
			dest_note(d, dest_path(d, g->path, g->path_len), DEST_WHY_CANNOT, why.text);
	}
	return OK;
}
