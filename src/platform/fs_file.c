/* One open file. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "platform/fs_private.h"

static const int64_t second_ns = 1000000000;

/* The errno of the moment, with WHAT we tried on FD. */
#define fail_on_fd(e, what, fd)                                                                    \
	__extension__({                                                                            \
		int fail_sys_is = errno;                                                           \
		char fail_shown[FS_SHOWN];                                                         \
		fail_sys((e), fail_sys_is, "%s %s", (what), fs_show_fd((fd), fail_shown));         \
	})

static enum fs_type
type_of(mode_t mode)
{
	if (S_ISREG(mode))
		return FS_FILE;
	if (S_ISDIR(mode))
		return FS_DIR;
	return S_ISLNK(mode) ? FS_SYMLINK : FS_OTHER;
}

static int64_t
to_ns(struct timespec t)
{
	int64_t ns;

	/* A filesystem may hold times that 64 bits of nanoseconds cannot (years before 1678, after
	 * 2262). */
	if (__builtin_mul_overflow((int64_t)t.tv_sec, second_ns, &ns) ||
	    __builtin_add_overflow(ns, (int64_t)t.tv_nsec, &ns))
		return t.tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

static struct timespec
to_timespec(int64_t ns)
{
	int64_t part = ns % second_ns;

	if (part < 0)
		part += second_ns;
	return (struct timespec){ .tv_sec = (ns - part) / second_ns, .tv_nsec = part };
}

static struct fs_stat
to_stat(const struct stat *st)
{
	return (struct fs_stat){
		.type = type_of(st->st_mode),
		.mode = st->st_mode & 07777,
		.nlink = (uint32_t)st->st_nlink,
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.ino = st->st_ino,
		.dev = st->st_dev,
		.mtime_ns = to_ns(st->st_mtim),
		.ctime_ns = to_ns(st->st_ctim),
	};
}

enum err
fs_stat_fd(int fd, struct fs_stat *ret, struct error *e)
{
	struct stat st;

	if (fault_call("stat", fstat(fd, &st)) != 0)
		return fail_on_fd(e, "stat", fd);
	*ret = to_stat(&st);
	return OK;
}

enum err
fs_stat_at(int dir, struct relpath p, struct fs_stat *ret, struct error *e)
{
	char shown[FS_SHOWN];
	auto_at struct fs_at at = FS_AT;
	struct stat st;

	if (p.len == 0)
		return fs_stat_fd(dir, ret, e);
	enum err r = fs_at_find(dir, p, &at, e);
	if (r != OK)
		return r;
	if (fault_call("stat", fstatat(at.dir, at.name, &st, AT_SYMLINK_NOFOLLOW)) != 0) {
		int sys = errno;
		return fail_sys(e, sys, "stat %s", fs_show(dir, p, shown));
	}
	*ret = to_stat(&st);
	return OK;
}

enum err
fs_read_at(int fd, uint64_t off, void *to, size_t n, size_t *ret_n, struct error *e)
{
	size_t have = 0;

	while (have < n) {
		int point = fault_point("read");
		errno = point;
		ssize_t got = point > 0 ? -1
					: pread(fd, (uint8_t *)to + have,
					      fault_part(point, n - have), (off_t)(off + have));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail_on_fd(e, "read", fd);
		if (got == 0)
			break;
		have += (size_t)got;
	}
	*ret_n = have;
	return OK;
}

enum err
fs_read_exact(int fd, uint64_t off, void *to, size_t n, struct error *e)
{
	char shown[FS_SHOWN];
	size_t have = 0;
	enum err r = fs_read_at(fd, off, to, n, &have, e);

	if (r == OK && have < n)
		return fail(e, ERR_CORRUPT, "%s ends at byte %llu, %zu bytes early",
		    fs_show_fd(fd, shown), (unsigned long long)(off + have), n - have);
	return r;
}

enum err
fs_write_at(int fd, uint64_t off, struct bytes b, struct error *e)
{
	while (b.len > 0) {
		int point = fault_point("write");
		errno = point;
		ssize_t put =
		    point > 0 ? -1 : pwrite(fd, b.at, fault_part(point, b.len), (off_t)off);
		if (put < 0 && errno == EINTR)
			continue;
		if (put == 0)
			errno = EIO; /* no progress and no reason: do not ask for ever */
		if (put <= 0)
			return fail_on_fd(e, "write", fd);
		b = bytes_slice(b, (size_t)put, b.len - (size_t)put);
		off += (uint64_t)put;
	}
	return OK;
}

enum err
fs_truncate(int fd, uint64_t size, struct error *e)
{
	if (fault_call("truncate", ftruncate(fd, (off_t)size)) != 0)
		return fail_on_fd(e, "set the size of", fd);
	return OK;
}

/* What a call says that the filesystem does not have. */
static bool
is_unsupported(int sys)
{
	return sys == EOPNOTSUPP || sys == ENOSYS || sys == EINVAL;
}

enum err
fs_allocate(int fd, uint64_t off, uint64_t n, struct error *e)
{
	int r;

	if (n == 0)
		return OK;
	do
		r = fault_call("allocate", fallocate(fd, 0, (off_t)off, (off_t)n));
	while (r != 0 && errno == EINTR);
	if (r != 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		return OK;
	if (r != 0)
		return fail_on_fd(e, "reserve space for", fd);
	return OK;
}

enum err
fs_sync(int fd, struct error *e)
{
	struct stat st;

	if (fault_call("stat", fstat(fd, &st)) != 0)
		return fail_on_fd(e, "stat", fd);
	bool is_dir = S_ISDIR(st.st_mode);
	if (fault_call("sync", is_dir ? fsync(fd) : fdatasync(fd)) == 0)
		return OK;
	if (is_dir && is_unsupported(errno))
		/* some network filesystems flush names by themselves and refuse to be told */
		return OK;
	return fail_on_fd(e, "flush", fd);
}

enum err
fs_sync_all(int fd, struct error *e)
{
	if (fault_call("sync filesystem", syncfs(fd)) != 0)
		return fail_on_fd(e, "flush the filesystem of", fd);
	return OK;
}

enum err
fs_set_times(int fd, int64_t mtime_ns, struct error *e)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, to_timespec(mtime_ns) };

	if (fault_call("set times", futimens(fd, times)) != 0)
		return fail_on_fd(e, "set the time of", fd);
	return OK;
}

enum err
fs_set_times_at(int dir, struct relpath p, int64_t mtime_ns, struct error *e)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, to_timespec(mtime_ns) };
	char shown[FS_SHOWN];
	auto_at struct fs_at at = FS_AT;

	if (p.len == 0)
		return fs_set_times(dir, mtime_ns, e);
	enum err r = fs_at_find(dir, p, &at, e);
	if (r != OK)
		return r;
	if (fault_call("set times", utimensat(at.dir, at.name, times, AT_SYMLINK_NOFOLLOW)) != 0) {
		int sys = errno;
		return fail_sys(e, sys, "set the time of %s", fs_show(dir, p, shown));
	}
	return OK;
}

enum err
fs_set_mode(int fd, uint32_t mode, struct error *e)
{
	if (fault_call("set mode", fchmod(fd, mode & 0777)) != 0)
		return fail_on_fd(e, "set the mode of", fd);
	return OK;
}

enum err
fs_set_mode_at(int dir, struct relpath p, uint32_t mode, struct error *e)
{
	char shown[FS_SHOWN];
	auto_at struct fs_at at = FS_AT;

	if (p.len == 0)
		return fs_set_mode(dir, mode, e);
	enum err r = fs_at_find(dir, p, &at, e);
	if (r != OK)
		return r;
	if (fault_call("set mode", fchmodat(at.dir, at.name, mode & 0777, AT_SYMLINK_NOFOLLOW)) !=
	    0) {
		int sys = errno;
		return fail_sys(e, sys, "set the mode of %s", fs_show(dir, p, shown));
	}
	return OK;
}

enum err
fs_next_data(int fd, uint64_t off, uint64_t *ret_from, uint64_t *ret_to, struct error *e)
{
	struct stat st;

	if (fault_call("stat", fstat(fd, &st)) != 0)
		return fail_on_fd(e, "stat", fd);
	uint64_t size = (uint64_t)st.st_size, from = size, to = size;
	if (off < size) {
		off_t data = fault_call("seek data", lseek(fd, (off_t)off, SEEK_DATA));
		if (data >= 0) {
			off_t hole = fault_call("seek hole", lseek(fd, data, SEEK_HOLE));
			if (hole < 0)
				return fail_on_fd(e, "find holes in", fd);
			from = (uint64_t)data;
			to = (uint64_t)hole;
		} else if (is_unsupported(errno)) {
			from = off; /* a filesystem without holes: all of it is data */
		} else if (errno != ENXIO) {
			return fail_on_fd(e, "find data in", fd);
		}
	}
	*ret_from = from;
	*ret_to = to;
	return OK;
}

/* The plain way, through our own memory. */
static enum err
copy_bytes(int from, uint64_t from_off, int to, uint64_t to_off, uint64_t n, struct error *e)
{
	enum { PIECE = 256 * 1024 };
	auto_free uint8_t *piece = mem_alloc(PIECE);

	while (n > 0) {
		size_t k = (size_t)min_of(n, (uint64_t)PIECE);
		enum err r = fs_read_exact(from, from_off, piece, k, e);
		if (r == OK)
			r = fs_write_at(to, to_off, BYTES(piece, k), e);
		if (r != OK)
			return r;
		from_off += k;
		to_off += k;
		n -= k;
	}
	return OK;
}

enum err
fs_copy_range(int from, uint64_t from_off, int to, uint64_t to_off, uint64_t n, struct error *e)
{
	while (n > 0) {
		off_t a = (off_t)from_off, b = (off_t)to_off;
		size_t k = (size_t)min_of(n, (uint64_t)1 << 30);
		ssize_t done = fault_call("copy", copy_file_range(from, &a, to, &b, k, 0));
		if (done < 0 && errno == EINTR)
			continue;
		/* Two filesystems, or one without the call, or its end: the plain way knows, and
		 * finds the words. */
		if (done == 0 || (done < 0 && (is_unsupported(errno) || errno == EXDEV)))
			return copy_bytes(from, from_off, to, to_off, n, e);
		if (done < 0)
			return fail_on_fd(e, "copy into", to);
		from_off += (uint64_t)done;
		to_off += (uint64_t)done;
		n -= (uint64_t)done;
	}
	return OK;
}
