#include "net/local.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/mem.h"

/* PATH = DIR/NAME, by way of a descriptor. */
static enum err
through_directory(struct local *l, const char *path, struct error *e)
{
	const char *slash = strrchr(path, '/');
	auto_free char *dir = slash != NULL ? strndup(path, (size_t)(slash - path)) : NULL;

	if (dir == NULL)
		return fail(e, ERR_LIMIT, "the name of the socket %s is too long", path);
	l->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (l->dir < 0)
		return fail_sys(e, errno, "open %s", dir);
	int n = snprintf(
	    l->at.sun_path, sizeof l->at.sun_path, "/proc/self/fd/%d/%s", l->dir, slash + 1);
	if (n < 0 || (size_t)n >= sizeof l->at.sun_path)
		return fail(e, ERR_LIMIT, "the name of the socket %s is too long", path);
	return OK;
}

enum err
local_open(struct local *ret, const char *path, struct error *e)
{
	auto_(local_clear) struct local l = LOCAL_NONE;
	size_t n = strlen(path);

	l.at.sun_family = AF_UNIX;
	if (n < sizeof l.at.sun_path) {
		memcpy(l.at.sun_path, path, n + 1);
	} else {
		enum err r = through_directory(&l, path, e);
		if (r != OK)
			return r;
	}
	*ret = l;
	l.dir = -1;
	return OK;
}

void
local_clear(struct local *l)
{
	if (l->dir >= 0)
		(void)close(l->dir);
	l->dir = -1;
}
