/*
 * fs: files beneath directories.  Always a directory descriptor and a name or a relpath under it,
 * never a path from outside resolved by the kernel alone: opening follows no symlink on the way and
 * cannot leave the directory (openat2 RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS; an O_NOFOLLOW walk
 * where that is missing or the path is longer than PATH_MAX).  What is opened as a file is a
 * regular file: a FIFO or device is refused.
 *
 * Blocking   every call may wait for the disk: run it in a job, never on the loop.
 * Threads    any.
 * Errors     fail_sys: ERR_NOTFOUND, ERR_EXISTS, ERR_NOSPACE, else ERR_IO; the text names the file.
 * Every descriptor is O_CLOEXEC.  Each call site is a fault point (platform/fault.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "platform/relpath.h"

enum fs_type { FS_FILE = 1, FS_DIR, FS_SYMLINK, FS_OTHER /* device, socket, FIFO */ };

struct fs_stat {
	enum fs_type type;
	uint32_t mode; /* permission bits, & 07777 */
	uint32_t nlink;
	uint64_t size;
	uint64_t blocks; /* of 512 bytes: fewer than size says means holes */
	uint64_t ino, dev;
	int64_t mtime_ns, ctime_ns;
};

/* -- opening.  DIR may be AT_FDCWD only in fs_open_root. -- */
/* A directory named by the user on the command line: symlinks are followed. */
enum err fs_open_root(const char *path, int *ret_fd, struct error *e) must_check;
/* "" is DIR again */
enum err fs_open_dir(int dir, struct relpath p, int *ret_fd, struct error *e) must_check;
enum err fs_open_read(int dir, struct relpath p, int *ret_fd, struct error *e) must_check;
/* Existing file for reading and writing. */
enum err fs_open_write(int dir, struct relpath p, int *ret_fd, struct error *e) must_check;
/* New file, 0600, ERR_EXISTS if the name is taken. */
enum err fs_create(int dir, struct relpath p, int *ret_fd, struct error *e) must_check;
/* New file for reading and writing in DIR, which has no name and goes with its last descriptor. */
enum err fs_create_unnamed(int dir, int *ret_fd, struct error *e) must_check;
/* Opens the directory that holds P and points at P's last name: for *at() calls on it. */
enum err fs_open_parent(
    int dir, struct relpath p, int *ret_fd, const char **ret_name, struct error *e) must_check;

/* -- one file -- */
enum err fs_stat_fd(int fd, struct fs_stat *ret, struct error *e) must_check;
/* no follow */
enum err fs_stat_at(int dir, struct relpath p, struct fs_stat *ret, struct error *e) must_check;
/* Up to N bytes at OFF; *RET_N is short only at the end of the file. */
enum err fs_read_at(
    int fd, uint64_t off, void *to, size_t n, size_t *ret_n, struct error *e) must_check;
/* Exactly N bytes; the end of the file before that is ERR_CORRUPT. */
enum err fs_read_exact(int fd, uint64_t off, void *to, size_t n, struct error *e) must_check;
enum err fs_write_at(int fd, uint64_t off, struct bytes b, struct error *e) must_check;
enum err fs_truncate(int fd, uint64_t size, struct error *e) must_check;
/* Reserves the blocks of [OFF, OFF + N) and extends the file; ERR_NOSPACE if they are not there.
 * Success without effect, also on the size, where the filesystem cannot. */
enum err fs_allocate(int fd, uint64_t off, uint64_t n, struct error *e) must_check;
enum err fs_sync(int fd, struct error *e) must_check;     /* fdatasync, or fsync for a directory */
enum err fs_sync_all(int fd, struct error *e) must_check; /* syncfs of FD's filesystem */
enum err fs_set_times(int fd, int64_t mtime_ns, struct error *e) must_check;
enum err fs_set_mode(int fd, uint32_t mode, struct error *e) must_check; /* & 0777, never set-id */
/* Next data region at or after OFF: [*RET_FROM, *RET_TO).  Both are the size when only a hole is
 * left. */
enum err fs_next_data(
    int fd, uint64_t off, uint64_t *ret_from, uint64_t *ret_to, struct error *e) must_check;
/* Copies N bytes from one file to another (copy_file_range, reflink where the filesystem can). */
enum err fs_copy_range(
    int from, uint64_t from_off, int to, uint64_t to_off, uint64_t n, struct error *e) must_check;

/* -- names in a directory.  Modes are & 0777 and subject to the umask. -- */
enum err fs_mkdir(int dir, struct relpath p, uint32_t mode, struct error *e) must_check;
/* Makes P and all above it that are missing; existing directories are fine, a symlink or file is
 * ERR_EXISTS. */
enum err fs_mkdirs(int dir, struct relpath p, uint32_t mode, struct error *e) must_check;
enum err fs_unlink(int dir, struct relpath p, struct error *e) must_check;
enum err fs_rmdir(int dir, struct relpath p, struct error *e) must_check;
/* replaces */
enum err fs_rename(
    int from_dir, struct relpath from, int to_dir, struct relpath to, struct error *e) must_check;
/* RENAME_NOREPLACE: ERR_EXISTS when TO is taken */
enum err fs_rename_new(
    int from_dir, struct relpath from, int to_dir, struct relpath to, struct error *e) must_check;
/* Each gets the other's name, in one step.  EINVAL or ENOSYS where the filesystem cannot. */
enum err fs_exchange(
    int dir_a, struct relpath a, int dir_b, struct relpath b, struct error *e) must_check;
enum err fs_symlink(int dir, struct relpath p, struct bytes target, struct error *e) must_check;
/* Empties RET first. */
enum err fs_readlink(int dir, struct relpath p, struct buf *ret, struct error *e) must_check;
/* no follow */
enum err fs_set_times_at(int dir, struct relpath p, int64_t mtime_ns, struct error *e) must_check;
/* no follow */
enum err fs_set_mode_at(int dir, struct relpath p, uint32_t mode, struct error *e) must_check;

/* Names of a directory in bytewise order, without "." and "..", with d_type as a hint (0 if
 * unknown). */
struct fs_list {
	char *names;   /* one block of NUL-terminated names */
	size_t len;    /* bytes of it */
	uint32_t *at;  /* offset of each in names, sorted */
	uint8_t *type; /* enum fs_type or 0 */
	size_t n;
	bool more; /* of a page: other names come behind the last */
};
/* All of them: for directories of our own. */
enum err fs_list_dir(int dirfd, struct fs_list *ret, struct error *e) must_check;
/* Those behind AFTER (NULL: from the first on), as many as fit into MAX bytes and at least one.
 * The whole directory is read for each page, and three times MAX is needed meanwhile: what anybody
 * may fill is read in pages of which few are needed. */
enum err fs_list_page(
    int dirfd, const char *after, size_t max, struct fs_list *ret, struct error *e) must_check;
void fs_list_clear(struct fs_list *l);
/* Of one that is not empty. */
static inline const char *
fs_list_last(const struct fs_list *l)
{
	return l->names + l->at[l->n - 1];
}

/* Everything beneath P and P itself, of any depth, also in directories without write permission.
 * Follows nothing, and stops at a mount.  ERR_NOTFOUND is success. */
enum err fs_remove_tree(int dir, struct relpath p, struct error *e) must_check;

/* -- whole small files of our own -- */
/* Replaces P by B: hidden temporary beside it, flushed, renamed, directory flushed.  Never
 * half-written. */
enum err fs_write_file(
    int dir, struct relpath p, struct bytes b, uint32_t mode, struct error *e) must_check;
/* Reads all of P into RET, emptied first, whose max is the limit: ERR_LIMIT beyond. */
enum err fs_read_file(int dir, struct relpath p, struct buf *ret, struct error *e) must_check;

/* Free bytes for us on FD's filesystem, and its total. */
enum err fs_space(int fd, uint64_t *ret_free, uint64_t *ret_total, struct error *e) must_check;
/* Takes the lock file P for the life of *RET_FD; ERR_AGAIN when another process holds it. */
enum err fs_lock(int dir, struct relpath p, int *ret_fd, struct error *e) must_check;
/* True when a rename from one of the open directories to the other stays within a mount. */
bool fs_same_mount(int fd_a, int fd_b);

/* A relpath from a literal of ours: REL("store/index.db"). Checked by assert. */
struct relpath fs_rel(const char *text);
#define REL(s) fs_rel(s)
