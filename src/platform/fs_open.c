/*
 * Opening beneath a directory.
 *
 * openat2 does it in one call where it exists and the path fits PATH_MAX.  Otherwise we walk: each
 * step opens the directories of the next stretch with O_PATH, and the last one opens the file.  A
 * stretch is what openat2 takes at once, or one name with O_NOFOLLOW where the kernel lacks it (or
 * a sandbox denies it).
 */
#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/mem.h"
#include "base/text.h"
#include "platform/fs_private.h"

static void
show_fd(int fd, char *out, size_t n)
{
	char link[32], path[PATH_MAX];

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, path, sizeof path);
	if (len > 0 && path[0] == '/')
		text_escape(BYTES(path, len), out, n);
	else
		snprintf(out, n, "file descriptor %d", fd);
}

const char *
fs_show_fd(int fd, char out[static FS_SHOWN])
{
	show_fd(fd, out, FS_SHOWN);
	return out;
}

const char *
fs_show(int dir, struct relpath p, char out[static FS_SHOWN])
{
	/* Where both are long they share the room, and each is cut at its own end. */
	text_escape(BYTES(p.text, p.len), out, FS_SHOWN);
	size_t below = strlen(out), half = FS_SHOWN / 2;

	show_fd(dir, out, FS_SHOWN - min_of(below + 1, half));
	size_t n = strlen(out);
	if (p.len > 0) {
		if (out[n - 1] != '/')
			out[n++] = '/';
		text_escape(BYTES(p.text, p.len), out + n, FS_SHOWN - n);
	}
	return out;
}

static int
openat2_with(int dir, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags,
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | resolve,
	};

	return (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
}

static int
open_beneath(int dir, const char *path, int flags, mode_t mode)
{
	return openat2_with(dir, path, flags, mode, 0);
}

/* Where the stretch from AT ends: before a slash, or at the end of the path. */
static size_t
stretch_end(struct relpath p, size_t at, size_t longest)
{
	size_t end = at + longest;

	if (p.len - at <= longest)
		return p.len;
	while (end > at && p.text[end] != '/')
		end--;
	if (end > at)
		return end;
	/* Not even one name is as short as that, so it is one name. */
	const char *slash = memchr(p.text + at, '/', p.len - at);
	return slash != NULL ? (size_t)(slash - p.text) : p.len;
}

static int
walk(int dir, struct relpath p, bool have_openat2, int flags, mode_t mode)
{
	char part[PATH_MAX];
	auto_fd int at_fd = -1;

	for (size_t at = 0;;) {
		size_t end = stretch_end(p, at, have_openat2 ? sizeof part - 1 : 1);
		bool last = end == p.len;
		int how = last ? flags : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
		assert(end - at < sizeof part); /* a name has at most RELPATH_NAME_MAX bytes */
		memcpy(part, p.text + at, end - at);
		part[end - at] = '\0';
		int from = at_fd >= 0 ? at_fd : dir;
		int fd = have_openat2 ? open_beneath(from, part, how, mode)
				      : openat(from, part, how, mode);
		if (fd < 0 || last)
			return fd;
		(void)close(at_fd);
		at_fd = fd;
		at = end + 1;
	}
}

int
fs_openat(int dir, struct relpath p, int flags, mode_t mode)
{
	flags |= O_CLOEXEC | O_NOFOLLOW;
	if (p.len == 0)
		return openat(dir, ".", flags, mode);
	int fd = p.len < PATH_MAX ? open_beneath(dir, p.text, flags, mode)
				  : walk(dir, p, true, flags, mode);
	/* A sandbox says EPERM for calls it does not know; where EPERM was meant, the walk meets it
	 * again. */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = walk(dir, p, false, flags, mode);
	return fd;
}

int
fs_open_unmounted(int dir, const char *name)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	struct stat a, b;
	int fd = openat2_with(dir, name, flags, 0, RESOLVE_NO_XDEV);

	if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
		return fd;
	/* Without openat2 only another filesystem shows, not a bind mount of the same one. */
	auto_fd int plain = openat(dir, name, flags);
	if (plain < 0 || fstat(dir, &a) != 0 || fstat(plain, &b) != 0)
		return -1;
	if (a.st_dev != b.st_dev) {
		errno = EXDEV;
		return -1;
	}
	return take_fd(plain);
}

enum err
fs_open_root(const char *path, int *ret_fd, struct error *e)
{
	char shown[FS_SHOWN];
	int fd = fault_call("open root", open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	if (fd < 0) {
		int sys = errno;
		return fail_sys(
		    e, sys, "open directory %s", text_escape(bytes_str(path), shown, sizeof shown));
	}
	*ret_fd = fd;
	return OK;
}

enum err
fs_open_dir(int dir, struct relpath p, int *ret_fd, struct error *e)
{
	char shown[FS_SHOWN];
	int fd = fault_call("open directory", fs_openat(dir, p, O_RDONLY | O_DIRECTORY, 0));

	if (fd < 0) {
		int sys = errno;
		return fail_sys(e, sys, "open directory %s", fs_show(dir, p, shown));
	}
	*ret_fd = fd;
	return OK;
}

/*
 * Takes FD, which fs_openat gave.  What a stranger put in the place of a file is no file of ours: a
 * FIFO would block the first read (hence O_NONBLOCK in the callers, without effect on files), a
 * device would do what it likes.
 */
static enum err
only_file(int fd, int dir, struct relpath p, int *ret_fd, struct error *e)
{
	char shown[FS_SHOWN];
	auto_fd int mine = fd;
	struct stat st;

	if (mine < 0 || fstat(mine, &st) != 0) {
		int sys = errno;
		return fail_sys(e, sys, "open %s", fs_show(dir, p, shown));
	}
	if (S_ISDIR(st.st_mode))
		return fail_sys(e, EISDIR, "open %s", fs_show(dir, p, shown));
	if (!S_ISREG(st.st_mode))
		return fail(e, ERR_IO, "open %s: not a regular file", fs_show(dir, p, shown));
	*ret_fd = take_fd(mine);
	return OK;
}

enum err
fs_open_read(int dir, struct relpath p, int *ret_fd, struct error *e)
{
	int fd = fault_call("open to read", fs_openat(dir, p, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0));

	return only_file(fd, dir, p, ret_fd, e);
}

enum err
fs_open_write(int dir, struct relpath p, int *ret_fd, struct error *e)
{
	int fd = fault_call("open to write", fs_openat(dir, p, O_RDWR | O_NONBLOCK | O_NOCTTY, 0));

	return only_file(fd, dir, p, ret_fd, e);
}

enum err
fs_create(int dir, struct relpath p, int *ret_fd, struct error *e)
{
	char shown[FS_SHOWN];
	int fd = fault_call("create", fs_openat(dir, p, O_RDWR | O_CREAT | O_EXCL, 0600));

	if (fd < 0) {
		int sys = errno;
		return fail_sys(e, sys, "create %s", fs_show(dir, p, shown));
	}
	*ret_fd = fd;
	return OK;
}

enum err
fs_create_unnamed(int dir, int *ret_fd, struct error *e)
{
	char shown[FS_SHOWN], name[FS_TEMPORARY];
	int fd =
	    fault_call("create unnamed", openat(dir, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
		enum err r = fs_temporary_name(name, e);
		if (r == OK)
			r = fs_create(dir, fs_rel(name), &fd, e);
		if (r != OK)
			return r;
		(void)unlinkat(dir, name, 0);
	}
	if (fd < 0) {
		int sys = errno;
		return fail_sys(e, sys, "create a file in %s", fs_show_fd(dir, shown));
	}
	*ret_fd = fd;
	return OK;
}

/* The directory part of P (empty if there is none) and, after it, the name. */
static struct relpath
split(struct relpath p, const char **ret_name)
{
	const char *slash = memrchr(p.text, '/', p.len);

	*ret_name = slash != NULL ? slash + 1 : p.text;
	return (struct relpath){ p.text, slash != NULL ? (size_t)(slash - p.text) : 0 };
}

/* Opens the directory part of a path, which is not followed by NUL. */
static int
open_part(int dir, struct relpath part, int flags)
{
	if (part.len == 0)
		return fs_openat(dir, part, flags, 0);
	auto_free char *text = mem_alloc(part.len + 1);
	memcpy(text, part.text, part.len);
	text[part.len] = '\0';
	return fs_openat(dir, (struct relpath){ text, part.len }, flags, 0);
}

enum err
fs_open_parent(int dir, struct relpath p, int *ret_fd, const char **ret_name, struct error *e)
{
	char shown[FS_SHOWN];
	const char *name;

	if (p.len == 0)
		return fail(
		    e, ERR_BUG, "the root %s has no name in a directory", fs_show_fd(dir, shown));
	struct relpath part = split(p, &name);
	int fd = fault_call("open parent", open_part(dir, part, O_RDONLY | O_DIRECTORY));
	if (fd < 0) {
		int sys = errno;
		return fail_sys(e, sys, "open directory %s", fs_show(dir, part, shown));
	}
	*ret_fd = fd;
	*ret_name = name;
	return OK;
}

enum err
fs_at_find(int dir, struct relpath p, struct fs_at *ret, struct error *e)
{
	char shown[FS_SHOWN];
	struct fs_at at = { .dir = dir, .opened = -1 };

	if (p.len == 0)
		return fail(
		    e, ERR_BUG, "the root %s has no name in a directory", fs_show_fd(dir, shown));
	struct relpath part = split(p, &at.name);
	if (part.len > 0) {
		at.opened = fault_call("open parent", open_part(dir, part, O_PATH | O_DIRECTORY));
		if (at.opened < 0) {
			int sys = errno;
			return fail_sys(e, sys, "open directory %s", fs_show(dir, part, shown));
		}
		at.dir = at.opened;
	}
	*ret = at;
	return OK;
}

struct relpath
fs_rel(const char *text)
{
	struct relpath p = { 0 };
	enum err r = relpath_parse(text, strlen(text), &p, NULL);

	assert(r == OK);
	return p;
}
