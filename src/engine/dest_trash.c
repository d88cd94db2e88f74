#include <errno.h>

#include "base/mem.h"
#include "engine/dest_private.h"
#include "platform/clock.h"

/* DEST/.weft/trash/SECONDS/PATH. */
static enum err
move_to(struct dest *d, struct relpath path, int64_t second, struct error *e)
{
	auto_free char *text = str_printf(DEST_TRASH "/%lld/%s", (long long)second, path.text);
	struct relpath to;

	if (relpath_parse(text, strlen(text), &to, NULL) != OK)
		return fail_sys(e, ENAMETOOLONG, "move it to " DEST_TRASH);
	size_t n = to.len - dest_name_of(to).len - 1;
	text[n] = '\0';
	enum err r = fs_mkdirs(d->dir, (struct relpath){ text, n }, 0700, e);
	text[n] = '/';
	return r == OK ? fs_rename_new(d->dir, path, d->dir, to, e) : r;
}

enum err
dest_trash(struct dest *d, struct relpath path, struct error *e)
{
	enum { TRIES = 60 };
	const int64_t now = clock_wall_ns() / 1000000000;
	enum err r = ERR_EXISTS;

	/* Another one of that name and second: the next second is as good. */
	for (int i = 0; i < TRIES && r == ERR_EXISTS; i++)
		r = move_to(d, path, now + i, e);
	if (r == OK)
		d->summary.trashed++;
	return r;
}
