/*
 * What is ours goes, but not what somebody has made of it since we looked: it is moved into the
 * stage, looked at there, where nobody else comes, and goes or goes back.
 */
#include <errno.h>

#include "base/mem.h"
#include "engine/dest_private.h"

#define ASIDE "old" /* in the stage; the name of no staged file */

/* After a crash between the two steps nobody knows any more what it was. */
static enum err
clear_aside(struct dest *d, struct error *e)
{
	auto_free char *path = str_printf(DEST_META "/stage-%lld/" ASIDE, (long long)d->o.job);

	return dest_trash(d, (struct relpath){ path, strlen(path) }, e);
}

static enum err
set_aside(struct dest *d, int dir, struct relpath name, struct error *e)
{
	struct relpath aside = REL(ASIDE);
	enum err r = fs_rename_new(dir, name, d->stage, aside, e);

	if (r != ERR_EXISTS)
		return r;
	r = clear_aside(d, e);
	return r == OK ? fs_rename_new(dir, name, d->stage, aside, e) : r;
}

enum err
dest_remove(struct dest *d, int dir, struct relpath name, const struct dest_stat *was,
    bool *ret_changed, struct error *e)
{
	struct relpath aside = REL(ASIDE);
	struct fs_stat st;
	struct error why;
	enum err r = set_aside(d, dir, name, &why);

	*ret_changed = false;
	if (r == ERR_NOTFOUND)
		return OK;
	/* on another mount: looked at and gone, as near as can be */
	if (r != OK && why.sys == EXDEV)
		return fs_unlink(dir, name, e);
	if (r == OK)
		r = fs_stat_at(d->stage, aside, &st, &why);
	if (r == OK && dest_stat_moved(was, &st)) {
		r = fs_unlink(d->stage, aside, &why);
	} else if (r == OK) {
		*ret_changed = true;
		r = fs_rename_new(d->stage, aside, dir, name, &why);
	}
	return r == OK ? OK : dest_fail(e, &why);
}
