/*
 * fs_private: what the files of fs share with each other and with nobody else.
 */
#pragma once

#include <sys/types.h>

#include "base/cleanup.h"
#include "platform/fault.h"
#include "platform/fs.h"

enum { FS_SHOWN = 260 }; /* of a path in the text of an error */

/* The path of P under DIR, or of what FD has open, for a human. */
const char *fs_show(int dir, struct relpath p, char out[static FS_SHOWN]);
const char *fs_show_fd(int fd, char out[static FS_SHOWN]);

enum { FS_TEMPORARY = 32 };
/* A name that nobody has: hidden, and reserved in a share (".weft"). */
enum err fs_temporary_name(char out[static FS_TEMPORARY], struct error *e) must_check;

/* openat(2) that follows no symlink and stays beneath DIR.  -1 and errno. */
int fs_openat(int dir, struct relpath p, int flags, mode_t mode);

/* The directory NAME in DIR, to be read; EXDEV when something is mounted there.  -1 and errno. */
int fs_open_unmounted(int dir, const char *name);

/* Where a name is: for the *at() calls.  fs_at_clear; zero is not the empty value, FS_AT is. */
struct fs_at {
	int dir;
	const char *name;
	int opened; /* DIR if we opened it, else -1 */
};
#define FS_AT   ((struct fs_at){ .dir = -1, .opened = -1 })
#define auto_at auto_(fs_at_clear)
enum err fs_at_find(int dir, struct relpath p, struct fs_at *ret, struct error *e) must_check;
static inline void
fs_at_clear(struct fs_at *a)
{
	cleanup_close(&a->opened);
}
