#include "tests/check_old_kernel.h"
#include "tests/check_mount.h"

#include <sys/wait.h>

#include "base/mem.h"
#include "platform/fs.h"

static bool old_kernel;

static void
names_come_in_bytewise_order_with_their_kind(void **state)
{
	static const char *const want[] = { "Z", "a", "a\n", "a b", "ab", "\xc3\xa4", "\xff" };
	struct check_dir *d = *state;
	auto_(fs_list_clear) struct fs_list list = { 0 };
	struct error e;

	check_ok(fs_list_dir(d->fd, &list, &e), e);
	assert_int_equal(list.n, 0);
	for (size_t i = 0; i < lengthof(want); i++)
		check_put(d, want[lengthof(want) - 1 - i], "", 0);
	check_ok(fs_list_dir(d->fd, &list, &e), e);
	assert_int_equal(list.n, lengthof(want));
	for (size_t i = 0; i < lengthof(want); i++) {
		check_text(list.names + list.at[i], want[i]);
		assert_true(list.type[i] == FS_FILE || list.type[i] == 0);
	}
	fs_list_clear(&list);
	check_err(fs_list_dir(-1, &list, &e), ERR_IO, e);
}

static void
kinds_are_hinted(void **state)
{
	static const uint8_t want[] = { FS_DIR, FS_FILE, FS_OTHER, FS_SYMLINK };
	struct check_dir *d = *state;
	auto_(fs_list_clear) struct fs_list list = { 0 };
	struct error e;

	assert_int_equal(mkdirat(d->fd, "1dir", 0755), 0);
	check_put(d, "2file", "", 0);
	assert_int_equal(mkfifoat(d->fd, "3fifo", 0600), 0);
	assert_int_equal(symlinkat("x", d->fd, "4link"), 0);
	check_ok(fs_list_dir(d->fd, &list, &e), e);
	assert_int_equal(list.n, lengthof(want));
	for (size_t i = 0; i < lengthof(want); i++)
		assert_true(list.type[i] == want[i] || list.type[i] == 0);
}

static void
large_directories_are_listed_whole_and_twice(void **state)
{
	enum { N = 3000 };
	struct check_dir *d = *state;
	char name[120];
	struct error e;

	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof name, "%0100d", i * 7919 % N);
		check_put(d, name, "", 0);
	}
	for (int round = 0; round < 2; round++) {
		auto_(fs_list_clear) struct fs_list list = { 0 };
		check_ok(fs_list_dir(d->fd, &list, &e), e);
		assert_int_equal(list.n, N);
		for (int i = 0; i < N; i++) {
			snprintf(name, sizeof name, "%0100d", i);
			check_text(list.names + list.at[i], name);
		}
	}
}

/* Each name on one page, in order, however small the pages are, and none larger than it may be. */
static void
pages_are_the_whole(void **state)
{
	static const size_t sizes[] = { 1, 11, 12, 100, 5000, 100000 };
	enum { N = 1000 };
	struct check_dir *d = *state;
	char name[16];
	struct error e;

	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof name, "%03d", i * 7919 % N);
		check_put(d, name, "", 0);
	}
	for (size_t k = 0; k < lengthof(sizes); k++) {
		char after[16] = "";
		int seen = 0;
		for (bool more = true; more;) {
			auto_(fs_list_clear) struct fs_list page = { 0 };
			check_ok(
			    fs_list_page(d->fd, seen > 0 ? after : NULL, sizes[k], &page, &e), e);
			assert_true(page.n == 1 || page.len <= sizes[k]);
			for (size_t i = 0; i < page.n; i++) {
				snprintf(name, sizeof name, "%03d", seen++);
				check_text(page.names + page.at[i], name);
			}
			more = page.more;
			snprintf(after, sizeof after, "%s", fs_list_last(&page));
		}
		assert_int_equal(seen, N);
	}
}

static void
a_tree_of_many_names_is_removed(void **state)
{
	enum { N = 3000 };
	struct check_dir *d = *state;
	char name[256];
	struct fs_stat st;
	struct error e;

	assert_int_equal(mkdirat(d->fd, "t", 0755), 0);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof name, "t/%0240d", i);
		if (i % 3 > 0)
			check_put(d, name, "", 0);
		else
			assert_int_equal(mkdirat(d->fd, name, 0755), 0);
	}
	check_ok(fs_remove_tree(d->fd, REL("t"), &e), e);
	check_err(fs_stat_at(d->fd, REL("t"), &st, &e), ERR_NOTFOUND, e);
}

static void
a_tree_is_removed_and_nothing_it_points_at(void **state)
{
	struct check_dir *d = *state;
	struct check_dir outside = check_dir_make_fast();
	struct fs_stat st;
	struct error e;

	check_put(&outside, "kept", "k", 1);
	check_ok(fs_mkdirs(d->fd, REL("tree/a/b"), 0755, &e), e);
	check_put(d, "tree/a/file", "x", 1);
	check_put(d, "tree/a/b/\n", "x", 1);
	check_put(d, "beside", "x", 1);
	assert_int_equal(symlinkat(outside.path, d->fd, "tree/a/b/out"), 0);
	assert_int_equal(symlinkat(outside.path, d->fd, "link"), 0);
	assert_int_equal(mkfifoat(d->fd, "tree/fifo", 0600), 0);
	check_ok(fs_remove_tree(d->fd, REL("tree"), &e), e);
	check_err(fs_stat_at(d->fd, REL("tree"), &st, &e), ERR_NOTFOUND, e);
	check_ok(fs_remove_tree(d->fd, REL("link"), &e), e);
	check_ok(fs_remove_tree(d->fd, REL("beside"), &e), e);
	check_ok(fs_stat_at(outside.fd, REL("kept"), &st, &e), e);
	check_ok(fs_remove_tree(d->fd, REL("tree"), &e), e);
	check_ok(fs_remove_tree(d->fd, REL("none/at/all"), &e), e);
	check_err(fs_remove_tree(d->fd, REL(""), &e), ERR_BUG, e);
	check_dir_remove(&outside);
}

/* N directories within each other, each with a file and a second directory beside. */
static void
dig(int dir, int n)
{
	int at = dup(dir);

	for (int i = 0; i < n; i++) {
		assert_int_equal(mkdirat(at, "d", 0755), 0);
		if (i % 10 == 0)
			assert_int_equal(mkdirat(at, "beside", 0755), 0);
		int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		(void)close(at);
		at = next;
		int file = openat(at, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_true(file >= 0);
		(void)close(file);
	}
	(void)close(at);
}

static void
a_tree_of_any_depth_is_removed(void **state)
{
	static const int depths[] = { 1, 31, 32, 33, 64, 65, 2500 };
	struct check_dir *d = *state;
	struct fs_stat st;
	struct error e;

	for (size_t i = 0; i < lengthof(depths); i++) {
		dig(d->fd, depths[i]);
		check_ok(fs_remove_tree(d->fd, REL("d"), &e), e);
		check_err(fs_stat_at(d->fd, REL("d"), &st, &e), ERR_NOTFOUND, e);
		check_ok(fs_remove_tree(d->fd, REL("beside"), &e), e);
	}
}

static void
directories_without_permission_are_removed_by_their_owner(void **state)
{
	struct check_dir *d = *state;
	int status = -1;

	assert_int_equal(fchmod(d->fd, 0777), 0);
	pid_t child = fork();
	if (child == 0) {
		/* Root may do everything, so it is somebody else who tries. */
		if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
			_exit(2);
		struct fs_stat st;
		bool ok = fs_mkdirs(d->fd, REL("tree/a/b/c"), 0755, NULL) == OK &&
			  fchmodat(d->fd, "tree/a/b", 0555, 0) == 0 &&
			  fchmodat(d->fd, "tree/a", 0, 0) == 0 &&
			  fchmodat(d->fd, "tree", 0111, 0) == 0;
		ok = ok && fs_remove_tree(d->fd, REL("tree"), NULL) == OK;
		ok = ok && fs_stat_at(d->fd, REL("tree"), &st, NULL) == ERR_NOTFOUND;
		_exit(ok ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void
a_mount_inside_is_not_emptied(void **state)
{
	struct check_dir *d = *state;
	char path[100];
	auto_fd int root = -1, inner = -1;
	struct fs_stat st;
	struct error e;

	check_ok(fs_mkdirs(d->fd, REL("tree/mount"), 0755, &e), e);
	snprintf(path, sizeof path, "%s/tree/mount", d->path);
	if (!check_mount_tmpfs(path, 1 << 20))
		skip();
	check_ok(fs_open_root(d->path, &root, &e), e);
	check_ok(fs_open_root(path, &inner, &e), e);
	check_ok(fs_write_file(inner, REL("kept"), BYTES_LIT("k"), 0600, &e), e);
	check_err(fs_remove_tree(root, REL("tree"), &e), ERR_IO, e);
	assert_int_equal(e.sys, EXDEV);
	check_ok(fs_stat_at(inner, REL("kept"), &st, &e), e);
	(void)close(take_fd(inner));
	check_unmount(path);
}

static void
a_bind_mount_inside_is_not_emptied_either(void **state)
{
	struct check_dir *d = *state;
	char path[100], kept[100];
	auto_fd int root = -1;
	struct fs_stat st;
	struct error e;

	if (old_kernel) {
		print_message("skipped: it takes openat2 to see a bind mount\n");
		skip();
	}
	check_ok(fs_mkdirs(d->fd, REL("tree/mount"), 0755, &e), e);
	check_ok(fs_mkdirs(d->fd, REL("kept/inner"), 0755, &e), e);
	snprintf(path, sizeof path, "%s/tree/mount", d->path);
	snprintf(kept, sizeof kept, "%s/kept", d->path);
	if (!check_mount(kept, path, NULL, MS_BIND, NULL))
		skip();
	check_ok(fs_open_root(d->path, &root, &e), e);
	check_err(fs_remove_tree(root, REL("tree"), &e), ERR_IO, e);
	assert_int_equal(e.sys, EXDEV);
	check_ok(fs_stat_at(root, REL("kept/inner"), &st, &e), e);
	check_unmount(path);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, check_dir_setup_fast, check_dir_teardown)

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(names_come_in_bytewise_order_with_their_kind),
		TEST(kinds_are_hinted),
		TEST(large_directories_are_listed_whole_and_twice),
		TEST(pages_are_the_whole),
		TEST(a_tree_of_many_names_is_removed),
		TEST(a_tree_is_removed_and_nothing_it_points_at),
		TEST(a_tree_of_any_depth_is_removed),
		TEST(directories_without_permission_are_removed_by_their_owner),
		TEST(a_mount_inside_is_not_emptied),
		TEST(a_bind_mount_inside_is_not_emptied_either),
	};

	old_kernel = check_old_kernel(argc, argv);

	return check_old_kernel_run(old_kernel, "fs_tree", tests);
}
