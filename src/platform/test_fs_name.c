#include "tests/check_old_kernel.h"
#include "tests/check_mount.h"

#include "base/mem.h"
#include "platform/fs.h"

static int
setup(void **state)
{
	check_dir_setup(state);
	struct check_dir *d = *state;
	assert_int_equal(mkdirat(d->fd, "dir", 0755), 0);
	check_put(d, "file", "one", 3);
	return 0;
}

static bool
exists(const struct check_dir *d, const char *name)
{
	return faccessat(d->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void
a_directory_is_made_once(void **state)
{
	struct check_dir *d = *state;
	struct fs_stat st;
	struct error e;

	check_ok(fs_mkdir(d->fd, REL("dir/new"), 0700, &e), e);
	check_ok(fs_stat_at(d->fd, REL("dir/new"), &st, &e), e);
	assert_int_equal(st.type, FS_DIR);
	assert_int_equal(st.mode, 0700);
	check_err(fs_mkdir(d->fd, REL("dir/new"), 0700, &e), ERR_EXISTS, e);
	check_err(fs_mkdir(d->fd, REL("none/new"), 0700, &e), ERR_NOTFOUND, e);
	check_err(fs_mkdir(d->fd, REL(""), 0700, &e), ERR_BUG, e);
}

static void
all_directories_above_are_made(void **state)
{
	struct check_dir *d = *state;
	struct error e;

	check_ok(fs_mkdirs(d->fd, REL("dir/a/b/c"), 0755, &e), e);
	assert_true(exists(d, "dir/a/b/c"));
	check_ok(fs_mkdirs(d->fd, REL("dir/a/b/c"), 0755, &e), e);
	check_ok(fs_mkdirs(d->fd, REL("dir/a/b/d/e"), 0755, &e), e);
	check_ok(fs_mkdirs(d->fd, REL(""), 0755, &e), e);
}

static void
what_is_in_the_way_of_a_directory_is_reported(void **state)
{
	struct check_dir *d = *state;
	struct check_dir outside = check_dir_make();
	struct error e;

	check_err(fs_mkdirs(d->fd, REL("file"), 0755, &e), ERR_EXISTS, e);
	check_err(fs_mkdirs(d->fd, REL("file/a"), 0755, &e), ERR_EXISTS, e);
	check_says(e.text, "/file: ");
	assert_int_equal(symlinkat(outside.path, d->fd, "dir/link"), 0);
	check_err(fs_mkdirs(d->fd, REL("dir/link"), 0755, &e), ERR_EXISTS, e);
	check_err(fs_mkdirs(d->fd, REL("dir/link/a"), 0755, &e), ERR_EXISTS, e);
	assert_int_not_equal(faccessat(outside.fd, "a", F_OK, 0), 0);
	check_dir_remove(&outside);
}

static void
removing_takes_the_name_and_nothing_else(void **state)
{
	struct check_dir *d = *state;
	struct error e;

	assert_int_equal(symlinkat("dir", d->fd, "link"), 0);
	check_ok(fs_unlink(d->fd, REL("link"), &e), e);
	assert_true(exists(d, "dir"));
	check_err(fs_unlink(d->fd, REL("dir"), &e), ERR_IO, e);
	check_err(fs_rmdir(d->fd, REL("file"), &e), ERR_IO, e);
	check_put(d, "dir/x", "", 0);
	check_err(fs_rmdir(d->fd, REL("dir"), &e), ERR_IO, e);
	assert_int_equal(e.sys, ENOTEMPTY);
	check_ok(fs_unlink(d->fd, REL("dir/x"), &e), e);
	check_ok(fs_rmdir(d->fd, REL("dir"), &e), e);
	check_ok(fs_unlink(d->fd, REL("file"), &e), e);
	check_err(fs_unlink(d->fd, REL("file"), &e), ERR_NOTFOUND, e);
	check_err(fs_rmdir(d->fd, REL("dir"), &e), ERR_NOTFOUND, e);
}

static void
a_rename_replaces(void **state)
{
	struct check_dir *d = *state;
	char text[8] = "";
	auto_fd int fd = -1;
	struct error e;

	check_put(d, "dir/two", "two", 3);
	check_ok(fs_rename(d->fd, REL("dir/two"), d->fd, REL("file"), &e), e);
	assert_false(exists(d, "dir/two"));
	check_ok(fs_open_read(d->fd, REL("file"), &fd, &e), e);
	check_ok(fs_read_exact(fd, 0, text, 3, &e), e);
	check_text(text, "two");
	check_err(fs_rename(d->fd, REL("none"), d->fd, REL("file"), &e), ERR_NOTFOUND, e);
	check_says(e.text, "/none to ");
	check_err(fs_rename(d->fd, REL("file"), d->fd, REL("none/x"), &e), ERR_NOTFOUND, e);
	check_err(fs_rename(d->fd, REL("file"), d->fd, REL(""), &e), ERR_BUG, e);
}

static void
a_rename_to_a_new_name_never_replaces(void **state)
{
	struct check_dir *d = *state;
	struct error e;

	check_put(d, "other", "other", 5);
	assert_int_equal(symlinkat("nowhere", d->fd, "dangling"), 0);
	check_err(fs_rename_new(d->fd, REL("other"), d->fd, REL("file"), &e), ERR_EXISTS, e);
	check_err(fs_rename_new(d->fd, REL("other"), d->fd, REL("dir"), &e), ERR_EXISTS, e);
	check_err(fs_rename_new(d->fd, REL("other"), d->fd, REL("dangling"), &e), ERR_EXISTS, e);
	check_err(fs_rename_new(d->fd, REL("dir"), d->fd, REL("file"), &e), ERR_EXISTS, e);
	check_err(fs_rename_new(d->fd, REL("dangling"), d->fd, REL("file"), &e), ERR_EXISTS, e);
	assert_true(exists(d, "other") && exists(d, "dir") && exists(d, "dangling"));
	check_ok(fs_rename_new(d->fd, REL("other"), d->fd, REL("dir/new"), &e), e);
	assert_true(exists(d, "dir/new") && !exists(d, "other"));
	check_ok(fs_rename_new(d->fd, REL("dangling"), d->fd, REL("link"), &e), e);
	assert_true(exists(d, "link") && !exists(d, "dangling"));
	check_ok(fs_rename_new(d->fd, REL("dir"), d->fd, REL("folder"), &e), e);
	assert_true(exists(d, "folder/new") && !exists(d, "dir"));
	check_err(fs_rename_new(d->fd, REL("none"), d->fd, REL("x"), &e), ERR_NOTFOUND, e);
}

static void
two_names_are_exchanged_whatever_they_are(void **state)
{
	struct check_dir *d = *state;
	char target[8] = "";
	struct fs_stat st;
	struct error e;

	assert_int_equal(symlinkat("none", d->fd, "link"), 0);
	enum err r = fs_exchange(d->fd, REL("link"), d->fd, REL("dir"), &e);
	if (r != OK && e.sys == EINVAL)
		skip(); /* not on this filesystem */
	check_ok(r, e);
	assert_int_equal(readlinkat(d->fd, "dir", target, sizeof target - 1), 4);
	check_text(target, "none");
	check_ok(fs_stat_at(d->fd, REL("link"), &st, &e), e);
	assert_int_equal(st.type, FS_DIR);
	check_err(fs_exchange(d->fd, REL("file"), d->fd, REL("none"), &e), ERR_NOTFOUND, e);
	check_err(fs_exchange(d->fd, REL("none"), d->fd, REL("file"), &e), ERR_NOTFOUND, e);
	assert_true(exists(d, "file"));
}

static void
symlinks_hold_any_bytes_and_are_read_back(void **state)
{
	struct check_dir *d = *state;
	auto_buf struct buf b = BUF(4096), small = BUF(3);
	char longest[4096];
	struct error e;

	buf_addf(&b, "old");
	check_ok(fs_symlink(d->fd, REL("dir/a"), BYTES_LIT("../\xff\n"), &e), e);
	check_ok(fs_readlink(d->fd, REL("dir/a"), &b, &e), e);
	assert_true(bytes_equal(buf_bytes(&b), BYTES_LIT("../\xff\n")));
	check_err(fs_readlink(d->fd, REL("dir/a"), &small, &e), ERR_LIMIT, e);
	memset(longest, 'x', sizeof longest);
	check_ok(fs_symlink(d->fd, REL("b"), BYTES(longest, 4095), &e), e);
	check_ok(fs_readlink(d->fd, REL("b"), &b, &e), e);
	assert_int_equal(b.len, 4095);
	check_err(fs_symlink(d->fd, REL("c"), BYTES(longest, 4096), &e), ERR_PROTO, e);
	check_err(fs_symlink(d->fd, REL("c"), BYTES_LIT(""), &e), ERR_PROTO, e);
	check_err(fs_symlink(d->fd, REL("c"), BYTES_LIT("a\0b"), &e), ERR_PROTO, e);
	check_err(fs_symlink(d->fd, REL("file"), BYTES_LIT("x"), &e), ERR_EXISTS, e);
	check_err(fs_readlink(d->fd, REL("file"), &b, &e), ERR_IO, e);
	check_err(fs_readlink(d->fd, REL("none"), &b, &e), ERR_NOTFOUND, e);
}

static void
nothing_is_done_through_a_symlink(void **state)
{
	struct check_dir *d = *state;
	struct check_dir outside = check_dir_make();
	auto_buf struct buf b = BUF(100);
	struct error e;

	check_put(&outside, "victim", "v", 1);
	assert_int_equal(symlinkat("target", outside.fd, "sym"), 0);
	assert_int_equal(symlinkat(outside.path, d->fd, "evil"), 0);
	check_err(fs_mkdir(d->fd, REL("evil/x"), 0755, &e), ERR_IO, e);
	check_err(fs_unlink(d->fd, REL("evil/victim"), &e), ERR_IO, e);
	check_err(fs_rename(d->fd, REL("file"), d->fd, REL("evil/victim"), &e), ERR_IO, e);
	check_err(fs_rename_new(d->fd, REL("evil/victim"), d->fd, REL("mine"), &e), ERR_IO, e);
	check_err(fs_symlink(d->fd, REL("evil/x"), BYTES_LIT("y"), &e), ERR_IO, e);
	check_err(fs_readlink(d->fd, REL("evil/sym"), &b, &e), ERR_IO, e);
	check_err(fs_set_times_at(d->fd, REL("evil/victim"), 0, &e), ERR_IO, e);
	check_err(fs_set_mode_at(d->fd, REL("evil/victim"), 0, &e), ERR_IO, e);
	check_err(fs_write_file(d->fd, REL("evil/victim"), BYTES_LIT("x"), 0600, &e), ERR_IO, e);
	check_err(fs_remove_tree(d->fd, REL("evil/victim"), &e), ERR_IO, e);
	auto_(fs_list_clear) struct fs_list list = { 0 };
	check_ok(fs_list_dir(outside.fd, &list, &e), e);
	assert_int_equal(list.n, 2);
	check_dir_remove(&outside);
}

static void
bind_mounts_are_mounts_of_their_own(void **state)
{
	struct check_dir *d = *state;
	auto_fd int root = -1, a = -1, b = -1;
	char path[100];
	struct error e;

	check_ok(fs_open_dir(d->fd, REL("dir"), &a, &e), e);
	assert_true(fs_same_mount(d->fd, a));
	assert_false(fs_same_mount(d->fd, -1));
	snprintf(path, sizeof path, "%s/dir", d->path);
	if (!check_mount(d->path, path, NULL, MS_BIND, NULL))
		skip();
	check_ok(fs_open_root(d->path, &root, &e), e);
	check_ok(fs_open_dir(root, REL("dir"), &b, &e), e);
	assert_false(fs_same_mount(root, b));
	check_err(fs_rename(root, REL("file"), b, REL("moved"), &e), ERR_IO, e);
	assert_int_equal(e.sys, EXDEV);
	(void)close(take_fd(b));
	check_unmount(path);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, check_dir_teardown)

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_directory_is_made_once),
		TEST(all_directories_above_are_made),
		TEST(what_is_in_the_way_of_a_directory_is_reported),
		TEST(removing_takes_the_name_and_nothing_else),
		TEST(a_rename_replaces),
		TEST(a_rename_to_a_new_name_never_replaces),
		TEST(two_names_are_exchanged_whatever_they_are),
		TEST(symlinks_hold_any_bytes_and_are_read_back),
		TEST(nothing_is_done_through_a_symlink),
		TEST(bind_mounts_are_mounts_of_their_own),
	};

	return check_old_kernel_run(check_old_kernel(argc, argv), "fs_name", tests);
}
