/* Names in a directory. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "platform/fs_private.h"

/* The errno of the moment, with WHAT we tried on P. */
#define fail_on(e, what, dir, p)                                                                   \
	__extension__({                                                                            \
		int fail_sys_is = errno;                                                           \
		char fail_shown[FS_SHOWN];                                                         \
		fail_sys((e), fail_sys_is, "%s %s", (what), fs_show((dir), (p), fail_shown));      \
	})

enum err
fs_mkdir(int dir, struct relpath p, uint32_t mode, struct error *e)
{
	auto_at struct fs_at at = FS_AT;
	enum err r = fs_at_find(dir, p, &at, e);

	if (r != OK)
		return r;
	if (fault_call("mkdir", mkdirat(at.dir, at.name, mode & 0777)) != 0)
		return fail_on(e, "make directory", dir, p);
	return OK;
}

/* Opens NAME in FROM, made if it is missing.  What is there and no directory is ERR_EXISTS. */
static enum err
step_into(int from, const char *name, uint32_t mode, int *ret_fd, struct error *e)
{
	const struct relpath p = { name, strlen(name) };
	const int how = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = fault_call("open directory", openat(from, name, how));

	if (fd < 0 && errno == ENOENT) {
		if (fault_call("mkdir", mkdirat(from, name, mode & 0777)) != 0 && errno != EEXIST)
			return fail_on(e, "make directory", from, p);
		fd = openat(from, name, how);
	}
	if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
		errno = EEXIST;
	if (fd < 0)
		return fail_on(e, "make directory", from, p);
	*ret_fd = fd;
	return OK;
}

enum err
fs_mkdirs(int dir, struct relpath p, uint32_t mode, struct error *e)
{
	char name[RELPATH_NAME_MAX + 1];
	auto_fd int at = fs_openat(dir, p, O_PATH | O_DIRECTORY, 0);

	if (at >= 0)
		return OK;
	for (size_t i = 0, end; i < p.len; i = end + 1) {
		int next = -1;
		const char *slash = memchr(p.text + i, '/', p.len - i);
		end = slash != NULL ? (size_t)(slash - p.text) : p.len;
		memcpy(name, p.text + i, end - i);
		name[end - i] = '\0';
		enum err r = step_into(at >= 0 ? at : dir, name, mode, &next, e);
		if (r != OK)
			return r;
		cleanup_close(&at);
		at = next;
	}
	return OK;
}

static enum err
unlink_as(int dir, struct relpath p, int flags, const char *what, struct error *e)
{
	auto_at struct fs_at at = FS_AT;
	enum err r = fs_at_find(dir, p, &at, e);

	if (r != OK)
		return r;
	if (fault_call("unlink", unlinkat(at.dir, at.name, flags)) != 0)
		return fail_on(e, what, dir, p);
	return OK;
}

enum err
fs_unlink(int dir, struct relpath p, struct error *e)
{
	return unlink_as(dir, p, 0, "remove", e);
}

enum err
fs_rmdir(int dir, struct relpath p, struct error *e)
{
	return unlink_as(dir, p, AT_REMOVEDIR, "remove directory", e);
}

/*
 * RENAME_NOREPLACE for a filesystem without it.  A link refuses a taken name by itself.  What
 * cannot be linked is looked for and then renamed: a directory replaces only an empty one, so
 * the race loses nothing; on a filesystem without links there is nothing better.
 */
static int
rename_new_by_hand(const struct fs_at *from, const struct fs_at *to)
{
	struct stat st;

	if (linkat(from->dir, from->name, to->dir, to->name, 0) == 0)
		return unlinkat(from->dir, from->name, 0);
	if (errno != EPERM && errno != ENOSYS && errno != EOPNOTSUPP && errno != EMLINK)
		return -1;
	if (fstatat(to->dir, to->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		errno = EEXIST;
		return -1;
	}
	return renameat(from->dir, from->name, to->dir, to->name);
}

static int
rename_new(const struct fs_at *from, const struct fs_at *to)
{
	int r = renameat2(from->dir, from->name, to->dir, to->name, RENAME_NOREPLACE);

	if (r != 0 && (errno == EINVAL || errno == ENOSYS))
		r = rename_new_by_hand(from, to);
	return r;
}

enum how { REPLACE, KEEP, EXCHANGE };

static int
rename_how(const struct fs_at *from, const struct fs_at *to, enum how how)
{
	if (how == REPLACE)
		return fault_call("rename", renameat(from->dir, from->name, to->dir, to->name));
	if (how == KEEP)
		return fault_call("rename to new", rename_new(from, to));
	return fault_call(
	    "exchange", renameat2(from->dir, from->name, to->dir, to->name, RENAME_EXCHANGE));
}

static enum err
rename_as(
    int from_dir, struct relpath from, int to_dir, struct relpath to, enum how how, struct error *e)
{
	auto_at struct fs_at a = FS_AT;
	auto_at struct fs_at b = FS_AT;
	enum err r = fs_at_find(from_dir, from, &a, e);

	if (r == OK)
		r = fs_at_find(to_dir, to, &b, e);
	if (r != OK)
		return r;
	if (rename_how(&a, &b, how) != 0) {
		int sys = errno;
		char shown_a[FS_SHOWN], shown_b[FS_SHOWN];
		return fail_sys(e, sys, "rename %.160s to %.160s", fs_show(from_dir, from, shown_a),
		    fs_show(to_dir, to, shown_b));
	}
	return OK;
}

enum err
fs_rename(int from_dir, struct relpath from, int to_dir, struct relpath to, struct error *e)
{
	return rename_as(from_dir, from, to_dir, to, REPLACE, e);
}

enum err
fs_rename_new(int from_dir, struct relpath from, int to_dir, struct relpath to, struct error *e)
{
	return rename_as(from_dir, from, to_dir, to, KEEP, e);
}

enum err
fs_exchange(int dir_a, struct relpath a, int dir_b, struct relpath b, struct error *e)
{
	return rename_as(dir_a, a, dir_b, b, EXCHANGE, e);
}

enum err
fs_symlink(int dir, struct relpath p, struct bytes target, struct error *e)
{
	char shown[FS_SHOWN], text[PATH_MAX];
	auto_at struct fs_at at = FS_AT;

	if (target.len == 0 || target.len >= sizeof text ||
	    memchr(target.at, '\0', target.len) != NULL)
		return fail(e, ERR_PROTO, "symlink %s: a target of %zu bytes cannot be",
		    fs_show(dir, p, shown), target.len);
	memcpy(text, target.at, target.len);
	text[target.len] = '\0';
	enum err r = fs_at_find(dir, p, &at, e);
	if (r != OK)
		return r;
	if (fault_call("symlink", symlinkat(text, at.dir, at.name)) != 0)
		return fail_on(e, "make symlink", dir, p);
	return OK;
}

enum err
fs_readlink(int dir, struct relpath p, struct buf *ret, struct error *e)
{
	char shown[FS_SHOWN], target[PATH_MAX];
	auto_at struct fs_at at = FS_AT;
	enum err r = fs_at_find(dir, p, &at, e);

	if (r != OK)
		return r;
	ssize_t n = fault_call("readlink", readlinkat(at.dir, at.name, target, sizeof target));
	if (n < 0)
		return fail_on(e, "read symlink", dir, p);
	buf_reset(ret);
	if (!buf_add(ret, target, (size_t)n))
		return fail(e, ERR_LIMIT, "symlink %s has a target of %zd bytes",
		    fs_show(dir, p, shown), n);
	return OK;
}

bool
fs_same_mount(int fd_a, int fd_b)
{
	struct statx a = { 0 }, b = { 0 };
	const unsigned want = STATX_INO | STATX_MNT_ID;

	if (fault_call("statx", statx(fd_a, "", AT_EMPTY_PATH, want, &a)) != 0 ||
	    fault_call("statx", statx(fd_b, "", AT_EMPTY_PATH, want, &b)) != 0)
		return false;
	/* Subvolumes are devices of one mount, bind mounts are mounts of one device; rename crosses
	 * neither. */
	return a.stx_dev_major == b.stx_dev_major && a.stx_dev_minor == b.stx_dev_minor &&
	       (a.stx_mask & STATX_MNT_ID) == (b.stx_mask & STATX_MNT_ID) &&
	       a.stx_mnt_id == b.stx_mnt_id;
}
