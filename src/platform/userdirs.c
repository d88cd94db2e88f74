#include "platform/userdirs.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"

/* An environment variable, or NULL when it says nothing. */
static const char *
setting(const char *name)
{
	const char *v = getenv(name);

	return v != NULL && *v != '\0' ? v : NULL;
}

/* PATH as it is seen from anywhere. */
static enum err
absolute(const char *path, char **ret, struct error *e)
{
	if (path[0] == '/') {
		*ret = str_dup(path);
		return OK;
	}
	auto_free char *here = getcwd(NULL, 0);
	if (here == NULL)
		return fail_sys(e, errno, "find the current directory");
	*ret = str_printf("%s/%s", here, path);
	return OK;
}

/* The user's own directory, from the environment or the password file. */
static enum err
own_dir(char **ret, struct error *e)
{
	enum { ENTRY = 16384 };
	struct passwd entry, *found = NULL;
	const char *home = setting("HOME");

	if (home != NULL && home[0] == '/') {
		*ret = str_dup(home);
		return OK;
	}
	auto_free char *text = mem_alloc(ENTRY);
	if (getpwuid_r(geteuid(), &entry, text, ENTRY, &found) != 0 || found == NULL ||
	    found->pw_dir[0] != '/')
		return fail(e, ERR_NOTFOUND,
		    "HOME is not set, so where the home of this node is must be said: --home DIR");
	*ret = str_dup(found->pw_dir);
	return OK;
}

enum err
userdirs_home(const char *home_flag, char **ret, struct error *e)
{
	const char *asked = home_flag != NULL ? home_flag : setting("WEFT_HOME");
	const char *state = setting("XDG_STATE_HOME");
	auto_free char *user = NULL;

	if (asked != NULL && *asked == '\0')
		return fail(e, ERR_USAGE, "--home is empty");
	if (asked != NULL)
		return absolute(asked, ret, e);
	if (geteuid() == 0) {
		*ret = str_dup("/var/lib/weft");
		return OK;
	}
	/* the specification: a relative one is to be ignored */
	if (state != NULL && state[0] == '/') {
		*ret = str_printf("%s/weft", state);
		return OK;
	}
	enum err r = own_dir(&user, e);
	if (r == OK)
		*ret = str_printf("%s/.local/state/weft", user);
	return r;
}
