/*
 * check_mount: small filesystems for tests, in a mount namespace of the test's own.
 */
#pragma once

#include "tests/check.h"

#include <sched.h>
#include <sys/mount.h>

/* False, with a word, where we may not mount: the test is then skipped.  What was opened before is
 * in the old namespace, where later mounts do not show: open it again. */
static inline bool
check_mount(
    const char *what, const char *path, const char *type, unsigned long flags, const char *options)
{
	if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	    mount(what, path, type, flags, options) == 0)
		return true;
	print_message("skipped: mounting needs root (%s)\n", strerror(errno));
	return false;
}

/* A tmpfs of BYTES at PATH. */
static inline bool
check_mount_tmpfs(const char *path, unsigned long bytes)
{
	char options[40];

	snprintf(options, sizeof options, "size=%lu", bytes);
	return check_mount("weft-test", path, "tmpfs", 0, options);
}

static inline void
check_unmount(const char *path)
{
	assert_int_equal(umount2(path, MNT_DETACH), 0);
}
