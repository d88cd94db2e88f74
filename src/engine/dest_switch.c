/*
 * Into place, in an order in which a crash at any moment leaves every file whole, the old one or
 * the new one, and a second run finishes the first:
 *
 *   1 finish    the stage is made whole: every file with its mode and time, flushed.  From here on
 *               the plan says PLACING, and is gone on with as it is
 *   2 clear     what the wanted snapshot lacks goes, if it is still as we left it
 *   3 place     what is new goes into place, what is only set is set, in manifest order
 *   4 dress     modes and times of directories, deepest first; everything flushed
 *   5 record    what is there now, in state; the plan has served
 */
#include "engine/dest_private.h"

enum err
dest_switch(struct dest *d, struct error *e)
{
	enum err r = OK;

	if (d->phase != DEST_PLACING) {
		r = dest_finish(d, e);
		if (r == OK)
			r = dest_store_write(d, DEST_PLACING, e);
	}
	if (r == OK)
		r = dest_clear(d, e);
	if (r == OK)
		r = dest_place(d, e);
	d->again |= d->phase == DEST_PLACING;
	if (r == OK)
		r = dest_dress(d, e);
	if (r == OK)
		r = fs_sync_all(d->stage, e);
	if (r == OK)
		r = dest_record(d, e);
	return r == OK ? dest_store_forget(d->o.job_dir, e) : error_wrap(e, r, "%s", d->path);
}
