/* Directories as a whole: listing one, removing a tree. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/array.h"
#include "base/mem.h"
#include "platform/fs_private.h"

static enum err
fail_in(int dir, const char *name, const char *what, struct error *e)
{
	int sys = errno;
	char shown[FS_SHOWN];

	return fail_sys(
	    e, sys, "%s %s", what, fs_show(dir, (struct relpath){ name, strlen(name) }, shown));
}

static enum fs_type
type_of(unsigned char d_type)
{
	switch (d_type) {
	case DT_REG:
		return FS_FILE;
	case DT_DIR:
		return FS_DIR;
	case DT_LNK:
		return FS_SYMLINK;
	case DT_UNKNOWN:
		return 0;
	default:
		return FS_OTHER;
	}
}

/* A listing in the making: in NAMES, each name has its type in the byte before it. */
struct gather {
	struct buf names;
	ARRAY(uint32_t) at;
	const char *after; /* what does not come behind it is on an earlier page; or NULL */
	size_t max;        /* bytes of a page */
	char *last;        /* what comes behind it is on a later page; NULL: nothing is.  Owned */
};

static void
gather_clear(struct gather *g)
{
	buf_clear(&g->names);
	array_clear(&g->at);
	free(g->last);
}

static int
compare_names(const void *a, const void *b, void *names)
{
	return strcmp(
	    (const char *)names + *(const uint32_t *)a, (const char *)names + *(const uint32_t *)b);
}

static void
gather_sort(struct gather *g)
{
	if (g->at.len > 0)
		qsort_r(g->at.at, g->at.len, sizeof *g->at.at, compare_names, g->names.at);
}

/* Keeps the first names, sorted, that fit on the page. */
static void
gather_cut(struct gather *g)
{
	struct buf kept = BUF(UINT32_MAX);
	size_t n = 0;

	gather_sort(g);
	while (n < g->at.len) {
		const uint8_t *name = g->names.at + g->at.at[n] - 1;
		size_t len = strlen((const char *)name + 1) + 2;
		if (n > 0 && kept.len + len > g->max)
			break;
		g->at.at[n++] = (uint32_t)kept.len + 1;
		buf_add(&kept, name, len);
	}
	if (n < g->at.len) {
		g->at.len = n;
		free(g->last);
		g->last = str_dup((const char *)kept.at + g->at.at[n - 1]);
	}
	buf_clear(&g->names);
	g->names = kept;
}

static bool
is_on_page(const struct gather *g, const char *name)
{
	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
	       (g->after == NULL || strcmp(name, g->after) > 0) &&
	       (g->last == NULL || strcmp(name, g->last) < 0);
}

static bool
gather_add(struct gather *g, const struct dirent64 *d)
{
	if (!is_on_page(g, d->d_name))
		return true;
	array_push(&g->at, (uint32_t)g->names.len + 1);
	if (!buf_u8(&g->names, (uint8_t)type_of(d->d_type)) ||
	    !buf_add(&g->names, d->d_name, strlen(d->d_name) + 1))
		return false;
	if (g->names.len / 2 > g->max)
		gather_cut(g);
	return true;
}

static enum err
gather_all(struct gather *g, int fd, struct error *e)
{
	enum { PIECE = 64 * 1024 };
	char shown[FS_SHOWN];
	auto_free char *piece = mem_alloc(PIECE);

	for (;;) {
		ssize_t n = fault_call("list", getdents64(fd, piece, PIECE));
		if (n == 0)
			return OK;
		if (n < 0)
			return fail_in(fd, "", "list", e);
		for (ssize_t i = 0; i < n;) {
			const struct dirent64 *d =
			    (const struct dirent64 *)(const void *)(piece + i);
			if (!gather_add(g, d))
				return fail(e, ERR_LIMIT, "directory %s has too many names",
				    fs_show_fd(fd, shown));
			i += d->d_reclen;
		}
	}
}

enum err
fs_list_page(int dirfd, const char *after, size_t max, struct fs_list *ret, struct error *e)
{
	auto_(gather_clear) struct gather g = {
		.names = BUF(UINT32_MAX), .after = after, .max = max
	};
	/* A descriptor of our own, as the place in the listing belongs to the descriptor. */
	auto_fd int fd =
	    fault_call("open to list", openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	if (fd < 0)
		return fail_in(dirfd, "", "list", e);
	enum err r = gather_all(&g, fd, e);
	if (r != OK)
		return r;
	if (g.names.len > max)
		gather_cut(&g);
	else
		gather_sort(&g);
	struct fs_list list = { .n = g.at.len, .more = g.last != NULL };
	if (list.n > 0) {
		list.type = mem_alloc(list.n);
		for (size_t i = 0; i < list.n; i++)
			list.type[i] = g.names.at[g.at.at[i] - 1];
		list.at = take_ptr(g.at.at);
		list.names = (char *)buf_take(&g.names, &list.len);
	}
	*ret = list;
	return OK;
}

enum err
fs_list_dir(int dirfd, struct fs_list *ret, struct error *e)
{
	return fs_list_page(dirfd, NULL, SIZE_MAX, ret, e);
}

void
fs_list_clear(struct fs_list *l)
{
	free(l->names);
	free(l->at);
	free(l->type);
	*l = (struct fs_list){ 0 };
}

/*
 * Removing a tree holds one descriptor a level.  Trees can be deeper than descriptors are many, so
 * what lies LEVELS deep is moved up beside the top's own entries, and the top is gone through
 * again.
 */
enum { LEVELS = 32, PASSES = 65536, PAGE = 256 * 1024 };

struct removal {
	int top;
	uint64_t number; /* of the next directory that is moved up */
	bool again;
};

/* Opens a directory that is about to be emptied; one that its owner may not write becomes writable
 * first.  What is mounted in the tree is not ours to empty. */
static int
open_to_empty(int dir, const char *name)
{
	struct stat st;
	auto_fd int fd = fs_open_unmounted(dir, name);

	if (fd < 0 && errno == EACCES && fchmodat(dir, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
		fd = fs_open_unmounted(dir, name);
	if (fd < 0 || fstat(fd, &st) != 0)
		return -1;
	if ((st.st_mode & 0700) != 0700)
		(void)fchmod(fd, 0700); /* if it was needed, the next call says so */
	return take_fd(fd);
}

static int
move_up(struct removal *x, int dir, const char *name)
{
	char fresh[40];
	int r;

	x->again = true;
	do {
		snprintf(fresh, sizeof fresh, ".weft-remove-%llu", (unsigned long long)x->number++);
		/* replaces nothing but an empty directory */
		r = renameat(dir, name, x->top, fresh);
	} while (r != 0 && (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) &&
		 x->number < PASSES);
	return r;
}

static enum err empty(struct removal *x, int fd, int level, struct error *e);

static enum err
remove_dir(struct removal *x, int dir, const char *name, int level, struct error *e)
{
	auto_fd int fd = fault_call("open directory", open_to_empty(dir, name));

	if (fd < 0)
		return errno == ENOENT ? OK : fail_in(dir, name, "remove directory", e);
	if (level == LEVELS) {
		if (fault_call("rename", move_up(x, dir, name)) != 0)
			return fail_in(dir, name, "move", e);
		return OK;
	}
	enum err r = empty(x, fd, level, e);
	if (r != OK)
		return r;
	if (fault_call("rmdir", unlinkat(dir, name, AT_REMOVEDIR)) != 0 && errno != ENOENT)
		return fail_in(dir, name, "remove directory", e);
	return OK;
}

/* Removes NAME if it is no directory; *RET_IS_DIR says that it is one. */
static enum err
remove_entry(int dir, const char *name, bool *ret_is_dir, struct error *e)
{
	*ret_is_dir = false;
	if (fault_call("unlink", unlinkat(dir, name, 0)) == 0 || errno == ENOENT)
		return OK;
	*ret_is_dir = errno == EISDIR;
	return errno == EISDIR ? OK : fail_in(dir, name, "remove", e);
}

static enum err
empty_page(struct removal *x, int fd, int level, const struct fs_list *list, struct error *e)
{
	enum err r = OK;

	for (size_t i = 0; r == OK && i < list->n; i++) {
		const char *name = list->names + list->at[i];
		bool is_dir = list->type[i] == FS_DIR;
		if (!is_dir)
			r = remove_entry(fd, name, &is_dir, e);
		if (r == OK && is_dir)
			r = remove_dir(x, fd, name, level + 1, e);
	}
	return r;
}

static enum err
empty(struct removal *x, int fd, int level, struct error *e)
{
	auto_free char *after = NULL;
	bool more = true;
	enum err r = OK;

	while (r == OK && more) {
		auto_(fs_list_clear) struct fs_list list = { 0 };
		r = fs_list_page(fd, after, PAGE, &list, e);
		if (r == OK)
			r = empty_page(x, fd, level, &list, e);
		more = list.more;
		free(after);
		after = more ? str_dup(fs_list_last(&list)) : NULL;
	}
	return r;
}

enum err
fs_remove_tree(int dir, struct relpath p, struct error *e)
{
	auto_at struct fs_at at = FS_AT;
	bool is_dir = false;
	enum err r = fs_at_find(dir, p, &at, e);

	if (r == ERR_NOTFOUND)
		return OK;
	if (r == OK)
		r = remove_entry(at.dir, at.name, &is_dir, e);
	if (r != OK || !is_dir)
		return r;
	auto_fd int top = fault_call("open directory", open_to_empty(at.dir, at.name));
	if (top < 0)
		return errno == ENOENT ? OK : fail_in(at.dir, at.name, "remove directory", e);
	struct removal x = { .top = top, .again = true };
	for (int pass = 0; r == OK && x.again && pass < PASSES; pass++) {
		x.again = false;
		r = empty(&x, top, 0, e);
	}
	if (r != OK)
		return r;
	if (fault_call("rmdir", unlinkat(at.dir, at.name, AT_REMOVEDIR)) != 0 && errno != ENOENT)
		return fail_in(at.dir, at.name, "remove directory", e);
	return OK;
}
