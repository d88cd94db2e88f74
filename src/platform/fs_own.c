/* Files of our own: small ones as a whole, locks, and the room there is. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "platform/fs_private.h"

enum err
fs_temporary_name(char out[static FS_TEMPORARY], struct error *e)
{
	uint8_t dice[8];
	char hex[2 * sizeof dice + 1];

	if (fault_call("random", getrandom(dice, sizeof dice, 0)) != (ssize_t)sizeof dice)
		return fail_sys(e, errno, "get random bytes");
	snprintf(out, FS_TEMPORARY, ".weft-%s", text_hex(BYTES_OF(dice), hex));
	return OK;
}

/* Makes NAME in PARENT and flushes B into it. */
static enum err
write_flushed(int parent, const char *name, struct bytes b, uint32_t mode, struct error *e)
{
	int fd_ = -1;
	enum err r = fs_create(parent, (struct relpath){ name, strlen(name) }, &fd_, e);
	auto_fd int fd = fd_;

	if (r == OK)
		r = fs_write_at(fd, 0, b, e);
	if (r == OK)
		r = fs_set_mode(fd, mode, e);
	if (r == OK && fault_call("sync", fsync(fd)) != 0)
		r = fail_sys(e, errno, "flush %s", name);
	return r;
}

enum err
fs_write_file(int dir, struct relpath p, struct bytes b, uint32_t mode, struct error *e)
{
	char temporary[FS_TEMPORARY], shown[FS_SHOWN];
	const char *name;
	int parent_ = -1;
	enum err r = fs_open_parent(dir, p, &parent_, &name, e);
	auto_fd int parent = parent_;

	if (r == OK)
		r = fs_temporary_name(temporary, e);
	if (r != OK)
		return r;
	r = write_flushed(parent, temporary, b, mode, e);
	if (r == OK && fault_call("rename", renameat(parent, temporary, parent, name)) != 0)
		r = fail_sys(e, errno, "rename %s", temporary);
	if (r != OK) {
		if (r != ERR_EXISTS)
			(void)unlinkat(parent, temporary, 0);
		return error_wrap(e, r, "write %s", fs_show(dir, p, shown));
	}
	return fs_sync(parent, e);
}

/* Reads to the end, which may have moved since the size was asked for. */
static enum err
read_all(int fd, uint64_t size, struct buf *ret, struct error *e)
{
	char shown[FS_SHOWN];
	size_t want = (size_t)min_of(size, (uint64_t)ret->max), n;

	do {
		/* One byte more than expected, so that the end shows itself in the first read. */
		size_t ask = min_of(want + 1, ret->max - ret->len);
		uint8_t beyond, *to = ask > 0 ? buf_reserve(ret, ask) : &beyond;
		enum err r = fs_read_at(fd, ret->len, to, ask > 0 ? ask : 1, &n, e);
		if (r != OK)
			return r;
		if (ask == 0 && n > 0)
			return fail(e, ERR_LIMIT, "%s is larger than %zu bytes",
			    fs_show_fd(fd, shown), ret->max);
		buf_grown(ret, n);
		want = max_of(ret->len, (size_t)4096);
	} while (n > 0);
	return OK;
}

enum err
fs_read_file(int dir, struct relpath p, struct buf *ret, struct error *e)
{
	struct fs_stat st;
	int fd_ = -1;
	enum err r = fs_open_read(dir, p, &fd_, e);
	auto_fd int fd = fd_;

	buf_reset(ret);
	if (r == OK)
		r = fs_stat_fd(fd, &st, e);
	if (r == OK)
		r = read_all(fd, st.size, ret, e);
	if (r != OK)
		buf_reset(ret);
	return r;
}

enum err
fs_space(int fd, uint64_t *ret_free, uint64_t *ret_total, struct error *e)
{
	char shown[FS_SHOWN];
	struct statvfs v;

	if (fault_call("statvfs", fstatvfs(fd, &v)) != 0) {
		int sys = errno;
		return fail_sys(e, sys, "ask for the free space around %s", fs_show_fd(fd, shown));
	}
	*ret_free = (uint64_t)v.f_bavail * v.f_frsize;
	*ret_total = (uint64_t)v.f_blocks * v.f_frsize;
	return OK;
}

/* The process that says it holds the lock, for a human; 0 if none does. */
static uint64_t
holder_of(int fd)
{
	char text[24] = "";
	uint64_t pid = 0;
	ssize_t n = pread(fd, text, sizeof text - 1, 0);

	if (n <= 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	return text_parse_u64(text, INT32_MAX, &pid) ? pid : 0;
}

enum err
fs_lock(int dir, struct relpath p, int *ret_fd, struct error *e)
{
	char shown[FS_SHOWN], pid[24];
	auto_fd int fd =
	    fault_call("open lock", fs_openat(dir, p, O_RDWR | O_CREAT | O_NONBLOCK, 0600));

	if (fd < 0 || fault_call("lock", flock(fd, LOCK_EX | LOCK_NB)) != 0) {
		int sys = errno;
		if (fd < 0 || sys != EWOULDBLOCK)
			return fail_sys(e, sys, "lock %s", fs_show(dir, p, shown));
		return fail(e, ERR_AGAIN, "%s is held by another process (%llu)",
		    fs_show(dir, p, shown), (unsigned long long)holder_of(fd));
	}
	/* Only for the message above: nothing is decided by it, so a full disk does not matter. */
	int n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
	if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n)
		log_debug("%s does not name its holder", fs_show(dir, p, shown));
	*ret_fd = take_fd(fd);
	return OK;
}
