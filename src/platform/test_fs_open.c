#include "tests/check_old_kernel.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "platform/fs.h"

static int
setup(void **state)
{
	check_dir_setup(state);
	struct check_dir *d = *state;
	assert_int_equal(mkdirat(d->fd, "dir", 0755), 0);
	check_put(d, "dir/file", "inside", 6);
	return 0;
}

static void
check_content(int fd, const char *want)
{
	char text[64] = "";
	size_t n = 0;
	struct error e;

	check_ok(fs_read_at(fd, 0, text, sizeof text - 1, &n, &e), e);
	check_text(text, want);
}

static void
files_are_opened_beneath(void **state)
{
	struct check_dir *d = *state;
	auto_fd int a = -1, b = -1, c = -1;
	struct error e;

	check_ok(fs_open_read(d->fd, REL("dir/file"), &a, &e), e);
	check_content(a, "inside");
	assert_int_not_equal(write(a, "x", 1), 1);
	check_ok(fs_open_write(d->fd, REL("dir/file"), &b, &e), e);
	assert_int_equal(write(b, "I", 1), 1);
	check_content(a, "Inside");
	check_ok(fs_create(d->fd, REL("dir/new"), &c, &e), e);
	struct stat st;
	assert_int_equal(fstat(c, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(fcntl(c, F_GETFD) & FD_CLOEXEC);
	int again = -1;
	check_err(fs_create(d->fd, REL("dir/new"), &again, &e), ERR_EXISTS, e);
	assert_int_equal(again, -1);
}

static void
what_is_missing_is_not_found_and_named(void **state)
{
	struct check_dir *d = *state;
	const char *name;
	int fd = -1;
	struct error e;

	check_err(fs_open_read(d->fd, REL("dir/none"), &fd, &e), ERR_NOTFOUND, e);
	check_says(e.text, d->path);
	check_says(e.text, "/dir/none: No such file");
	assert_int_equal(e.sys, ENOENT);
	check_err(fs_open_dir(d->fd, REL("none"), &fd, &e), ERR_NOTFOUND, e);
	check_err(fs_open_write(d->fd, REL("none"), &fd, &e), ERR_NOTFOUND, e);
	check_err(fs_create(d->fd, REL("none/x"), &fd, &e), ERR_NOTFOUND, e);
	check_err(fs_open_parent(d->fd, REL("none/x"), &fd, &name, &e), ERR_NOTFOUND, e);
	check_err(fs_open_root("/none/at/all", &fd, &e), ERR_NOTFOUND, e);
	assert_int_equal(fd, -1);
}

static void
a_root_named_by_the_user_may_be_a_symlink(void **state)
{
	struct check_dir *d = *state;
	auto_fd int fd = -1;
	char path[100];
	struct error e;

	assert_int_equal(symlinkat("dir", d->fd, "link"), 0);
	snprintf(path, sizeof path, "%s/link", d->path);
	check_ok(fs_open_root(path, &fd, &e), e);
	assert_int_equal(faccessat(fd, "file", F_OK, 0), 0);
	snprintf(path, sizeof path, "%s/dir/file", d->path);
	int none = -1;
	check_err(fs_open_root(path, &none, &e), ERR_IO, e);
	assert_int_equal(e.sys, ENOTDIR);
}

static void
no_symlink_is_followed_anywhere(void **state)
{
	static const char *const paths[] = { "last", "inner/file", "dir/up/dir/file",
		"outer/passwd", "loop", "loop/x" };
	struct check_dir *d = *state;
	const char *name;
	int fd = -1;
	struct error e;

	assert_int_equal(symlinkat("dir/file", d->fd, "last"), 0);
	assert_int_equal(symlinkat("dir", d->fd, "inner"), 0);
	assert_int_equal(symlinkat("..", d->fd, "dir/up"), 0);
	assert_int_equal(symlinkat("/etc", d->fd, "outer"), 0);
	assert_int_equal(symlinkat("loop", d->fd, "loop"), 0);
	for (size_t i = 0; i < lengthof(paths); i++) {
		check_err(fs_open_read(d->fd, REL(paths[i]), &fd, &e), ERR_IO, e);
		assert_true(e.sys == ELOOP || e.sys == ENOTDIR);
		check_err(fs_open_write(d->fd, REL(paths[i]), &fd, &e), ERR_IO, e);
		check_err(fs_open_dir(d->fd, REL(paths[i]), &fd, &e), ERR_IO, e);
	}
	check_err(fs_open_dir(d->fd, REL("inner"), &fd, &e), ERR_IO, e);
	check_err(fs_open_parent(d->fd, REL("inner/new"), &fd, &name, &e), ERR_IO, e);
	check_err(fs_create(d->fd, REL("inner/new"), &fd, &e), ERR_IO, e);
	check_err(fs_create(d->fd, REL("last"), &fd, &e), ERR_EXISTS, e);
	assert_int_equal(symlinkat("dir/new", d->fd, "dangling"), 0);
	check_err(fs_create(d->fd, REL("dangling"), &fd, &e), ERR_EXISTS, e);
	assert_int_not_equal(faccessat(d->fd, "dir/new", F_OK, 0), 0);
}

struct swapper {
	int dir;
	atomic_bool stop;
};

/* "dir" is by turns the directory and a symlink to the one outside. */
static void *
swap_for_ever(void *arg)
{
	struct swapper *s = arg;

	while (!s->stop) {
		(void)renameat(s->dir, "dir", s->dir, "kept");
		(void)renameat(s->dir, "evil", s->dir, "dir");
		(void)renameat(s->dir, "dir", s->dir, "evil");
		(void)renameat(s->dir, "kept", s->dir, "dir");
	}
	return NULL;
}

static void
a_symlink_swapped_in_on_the_way_leads_nowhere(void **state)
{
	struct check_dir *d = *state;
	struct check_dir outside = check_dir_make();
	struct swapper s = { .dir = d->fd };
	pthread_t thread;
	int opened = 0, refused = 0;
	struct error e;

	check_put(&outside, "file", "outside", 7);
	assert_int_equal(symlinkat(outside.path, d->fd, "evil"), 0);
	assert_int_equal(pthread_create(&thread, NULL, swap_for_ever, &s), 0);
	for (int i = 0; i < 20000; i++) {
		auto_fd int fd = -1;
		if (fs_open_read(d->fd, REL("dir/file"), &fd, &e) == OK) {
			opened++;
			check_content(fd, "inside");
		} else {
			refused++;
		}
		int made = -1;
		if (fs_create(d->fd, REL("dir/made"), &made, &e) == OK)
			(void)close(made);
	}
	s.stop = true;
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(opened > 0 && refused > 0);
	assert_int_not_equal(faccessat(outside.fd, "made", F_OK, 0), 0);
	check_dir_remove(&outside);
}

static void
what_is_no_file_is_not_opened_as_one(void **state)
{
	struct check_dir *d = *state;
	auto_fd int dev = -1;
	int fd = -1;
	struct error e;

	assert_int_equal(mkfifoat(d->fd, "fifo", 0644), 0);
	/* and does not wait for a writer */
	check_err(fs_open_read(d->fd, REL("fifo"), &fd, &e), ERR_IO, e);
	check_says(e.text, "not a regular file");
	check_err(fs_open_write(d->fd, REL("fifo"), &fd, &e), ERR_IO, e);
	check_err(fs_open_read(d->fd, REL("dir"), &fd, &e), ERR_IO, e);
	assert_int_equal(e.sys, EISDIR);
	check_err(fs_open_write(d->fd, REL("dir"), &fd, &e), ERR_IO, e);
	check_err(fs_open_read(d->fd, REL(""), &fd, &e), ERR_IO, e);
	check_err(fs_open_dir(d->fd, REL("dir/file"), &fd, &e), ERR_IO, e);
	assert_int_equal(e.sys, ENOTDIR);
	check_ok(fs_open_root("/dev", &dev, &e), e);
	check_err(fs_open_read(dev, REL("null"), &fd, &e), ERR_IO, e);
	assert_int_equal(fd, -1);
}

static void
a_directory_opened_again_has_its_own_position(void **state)
{
	struct check_dir *d = *state;
	auto_fd int again = -1;
	struct stat a, b;
	struct error e;

	check_ok(fs_open_dir(d->fd, REL(""), &again, &e), e);
	assert_int_equal(fstat(d->fd, &a), 0);
	assert_int_equal(fstat(again, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_not_equal(again, d->fd);
}

static void
the_parent_comes_with_the_last_name(void **state)
{
	struct check_dir *d = *state;
	auto_fd int a = -1, b = -1;
	const char *name = NULL;
	struct error e;

	check_ok(fs_open_parent(d->fd, REL("dir/file"), &a, &name, &e), e);
	check_text(name, "file");
	assert_int_equal(faccessat(a, "file", F_OK, 0), 0);
	check_ok(fs_open_parent(d->fd, REL("alone"), &b, &name, &e), e);
	check_text(name, "alone");
	assert_int_equal(faccessat(b, "dir", F_OK, 0), 0);
	check_ok(fs_sync(b, &e), e); /* it is good for that */
	int none = -1;
	check_err(fs_open_parent(d->fd, REL(""), &none, &name, &e), ERR_BUG, e);
}

static void
a_file_without_a_name_is_seen_by_nobody(void **state)
{
	struct check_dir *d = *state;
	auto_fd int fd = -1;
	auto_(fs_list_clear) struct fs_list list = { 0 };
	struct stat st;
	struct error e;

	check_ok(fs_create_unnamed(d->fd, &fd, &e), e);
	check_ok(fs_write_at(fd, 0, BYTES_LIT("text"), &e), e);
	check_content(fd, "text");
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	check_ok(fs_list_dir(d->fd, &list, &e), e);
	assert_int_equal(list.n, 1);
}

enum { LEVELS = 100, NAME = 240 };

/* 100 directories of 240 bytes each, and "file": some 24 KiB. */
static char *
deep_path(void)
{
	char *text = mem_alloc(LEVELS * (NAME + 1) + 5);

	for (int i = 0; i < LEVELS; i++) {
		memset(text + i * (NAME + 1), 'a' + i % 26, NAME);
		text[i * (NAME + 1) + NAME] = '/';
	}
	memcpy(text + LEVELS * (NAME + 1), "file", 5);
	return text;
}

static void
paths_longer_than_the_kernel_takes_work(void **state)
{
	struct check_dir *d = *state;
	auto_free char *text = deep_path();
	auto_fd int fd = -1, back = -1, parent = -1;
	const char *name = NULL;
	struct relpath p, folder;
	struct fs_stat st;
	struct error e;

	check_ok(relpath_parse(text, strlen(text), &p, &e), e);
	text[p.len - 5] = '\0';
	check_ok(relpath_parse(text, p.len - 5, &folder, &e), e);
	check_ok(fs_mkdirs(d->fd, folder, 0755, &e), e);
	text[p.len - 5] = '/';
	check_ok(fs_create(d->fd, p, &fd, &e), e);
	check_ok(fs_write_at(fd, 0, BYTES_LIT("deep"), &e), e);
	check_ok(fs_open_read(d->fd, p, &back, &e), e);
	check_content(back, "deep");
	check_ok(fs_open_parent(d->fd, p, &parent, &name, &e), e);
	check_text(name, "file");
	check_ok(fs_stat_at(d->fd, p, &st, &e), e);
	assert_int_equal(st.size, 4);
	check_ok(fs_rename(d->fd, p, d->fd, REL("shallow"), &e), e);
	check_err(fs_stat_at(d->fd, p, &st, &e), ERR_NOTFOUND, e);
	check_says(e.text, "...: No such file");
	check_ok(fs_rename_new(d->fd, REL("shallow"), d->fd, p, &e), e);
	check_ok(fs_unlink(d->fd, p, &e), e);
	text[NAME] = '\0';
	check_ok(fs_remove_tree(d->fd, REL(text), &e), e);
	check_err(fs_stat_at(d->fd, REL(text), &st, &e), ERR_NOTFOUND, e);
}

static void
a_symlink_deep_down_is_refused_too(void **state)
{
	struct check_dir *d = *state;
	auto_free char *text = deep_path();
	struct relpath p;
	int fd = -1;
	struct error e;

	text[LEVELS * (NAME + 1) - 1] = '\0';
	check_ok(fs_mkdirs(d->fd, REL(text), 0755, &e), e);
	/* the 90th directory becomes a symlink to one that has the same things beneath it */
	text[90 * (NAME + 1) - 1] = '\0';
	check_ok(fs_rename(d->fd, REL(text), d->fd, REL("moved"), &e), e);
	auto_free char *target = str_printf("%s/moved", d->path);
	check_ok(fs_symlink(d->fd, REL(text), bytes_str(target), &e), e);
	text[90 * (NAME + 1) - 1] = '/';
	check_ok(relpath_parse(text, strlen(text), &p, &e), e);
	check_err(fs_open_dir(d->fd, p, &fd, &e), ERR_IO, e);
	text[89 * (NAME + 1) - 1] = '\0';
	check_ok(fs_open_dir(d->fd, REL(text), &fd, &e), e);
	(void)close(fd);
	text[NAME] = '\0';
	check_ok(fs_remove_tree(d->fd, REL(text), &e), e);
	check_ok(fs_remove_tree(d->fd, REL("moved"), &e), e);
}

static void
names_are_any_bytes(void **state)
{
	struct check_dir *d = *state;
	char name[RELPATH_NAME_MAX + 1] = "";
	auto_fd int fd = -1, back = -1;
	struct error e;

	for (int i = 0; i < RELPATH_NAME_MAX; i++)
		name[i] = "\n\xff\x80 \t\\\x1b*\"'"[i % 10];
	check_ok(fs_create(d->fd, REL(name), &fd, &e), e);
	check_ok(fs_open_read(d->fd, REL(name), &back, &e), e);
	int again = -1;
	check_err(fs_create(d->fd, REL(name), &again, &e), ERR_EXISTS, e);
	for (const char *c = e.text; *c != '\0'; c++)
		assert_true((uint8_t)*c >= 0x20);
}

static void
permission_is_the_systems_word(void **state)
{
	struct check_dir *d = *state;
	int fd = -1;
	struct error e;

	if (geteuid() == 0) {
		print_message("skipped: root may read everything\n");
		skip();
	}
	assert_int_equal(fchmodat(d->fd, "dir/file", 0, 0), 0);
	check_err(fs_open_read(d->fd, REL("dir/file"), &fd, &e), ERR_IO, e);
	assert_int_equal(e.sys, EACCES);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, check_dir_teardown)

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(files_are_opened_beneath),
		TEST(what_is_missing_is_not_found_and_named),
		TEST(a_root_named_by_the_user_may_be_a_symlink),
		TEST(no_symlink_is_followed_anywhere),
		TEST(a_symlink_swapped_in_on_the_way_leads_nowhere),
		TEST(what_is_no_file_is_not_opened_as_one),
		TEST(a_directory_opened_again_has_its_own_position),
		TEST(the_parent_comes_with_the_last_name),
		TEST(a_file_without_a_name_is_seen_by_nobody),
		TEST(paths_longer_than_the_kernel_takes_work),
		TEST(a_symlink_deep_down_is_refused_too),
		TEST(names_are_any_bytes),
		TEST(permission_is_the_systems_word),
	};

	return check_old_kernel_run(check_old_kernel(argc, argv), "fs_open", tests);
}
