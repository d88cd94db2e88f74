#include "tests/check_old_kernel.h"
#include "tests/check_mount.h"

#include "base/mem.h"
#include "platform/fs.h"
#include "tests/seeded.h"

static bool old_kernel;

static int
new_file(struct check_dir *d, const char *name)
{
	struct error e;
	int fd = -1;

	check_ok(fs_create(d->fd, REL(name), &fd, &e), e);
	return fd;
}

static void
reads_are_short_only_at_the_end(void **state)
{
	auto_fd int fd = new_file(*state, "f");
	char text[16] = "";
	size_t n = 99;
	struct error e;

	check_ok(fs_write_at(fd, 0, BYTES_LIT("0123456789"), &e), e);
	check_ok(fs_read_at(fd, 4, text, 3, &n, &e), e);
	assert_int_equal(n, 3);
	check_text(text, "456");
	check_ok(fs_read_at(fd, 8, text, 10, &n, &e), e);
	assert_int_equal(n, 2);
	check_ok(fs_read_at(fd, 100, text, 10, &n, &e), e);
	assert_int_equal(n, 0);
	check_ok(fs_read_exact(fd, 0, text, 10, &e), e);
	check_err(fs_read_exact(fd, 8, text, 3, &e), ERR_CORRUPT, e);
	check_says(e.text, "/f ends at byte 10, 1 bytes early");
	check_err(fs_read_at(-1, 0, text, 1, &n, &e), ERR_IO, e);
	check_says(e.text, "read file descriptor -1");
}

static void
writes_beyond_the_end_leave_a_hole(void **state)
{
	auto_fd int fd = new_file(*state, "f");
	char text[4];
	struct fs_stat st;
	struct error e;

	check_ok(fs_write_at(fd, UINT64_C(5) << 30, BYTES_LIT("far"), &e), e);
	check_ok(fs_write_at(fd, 0, BYTES(NULL, 0), &e), e);
	check_ok(fs_read_exact(fd, UINT64_C(5) << 30, text, 3, &e), e);
	assert_memory_equal(text, "far", 3);
	check_ok(fs_stat_fd(fd, &st, &e), e);
	assert_int_equal(st.size, (UINT64_C(5) << 30) + 3);
	assert_true(st.blocks * 512 < st.size);
	check_ok(fs_truncate(fd, 7, &e), e);
	check_ok(fs_stat_fd(fd, &st, &e), e);
	assert_int_equal(st.size, 7);
	auto_fd int reader = -1;
	check_ok(fs_open_read(((struct check_dir *)*state)->fd, REL("f"), &reader, &e), e);
	check_err(fs_write_at(reader, 0, BYTES_LIT("x"), &e), ERR_IO, e);
	check_err(fs_truncate(reader, 0, &e), ERR_IO, e);
}

static void
stat_tells_kinds_apart_and_follows_nothing(void **state)
{
	static const struct {
		const char *name;
		enum fs_type type;
	} want[] = { { "file", FS_FILE }, { "dir", FS_DIR }, { "link", FS_SYMLINK },
		{ "fifo", FS_OTHER } };
	struct check_dir *d = *state;
	struct fs_stat st, same;
	struct error e;

	auto_fd int fd = new_file(d, "file");
	assert_int_equal(mkdirat(d->fd, "dir", 0751), 0);
	assert_int_equal(symlinkat("file", d->fd, "link"), 0);
	assert_int_equal(mkfifoat(d->fd, "fifo", 0600), 0);
	for (size_t i = 0; i < lengthof(want); i++) {
		check_ok(fs_stat_at(d->fd, REL(want[i].name), &st, &e), e);
		assert_int_equal(st.type, want[i].type);
	}
	check_ok(fs_stat_at(d->fd, REL("file"), &st, &e), e);
	check_ok(fs_stat_fd(fd, &same, &e), e);
	assert_int_equal(st.ino, same.ino);
	assert_int_equal(st.dev, same.dev);
	assert_true(st.mtime_ns == same.mtime_ns && st.ctime_ns == same.ctime_ns);
	assert_int_equal(st.mode, 0600);
	assert_int_equal(st.nlink, 1);
	assert_int_equal(fchmod(fd, 06755), 0);
	check_ok(fs_stat_fd(fd, &st, &e), e);
	assert_int_equal(st.mode, 06755);
	check_ok(fs_stat_at(d->fd, REL(""), &st, &e), e);
	assert_int_equal(st.type, FS_DIR);
	check_err(fs_stat_at(d->fd, REL("file/x"), &st, &e), ERR_IO, e);
	check_err(fs_stat_at(d->fd, REL("link/x"), &st, &e), ERR_IO, e);
	check_err(fs_stat_at(d->fd, REL("none"), &st, &e), ERR_NOTFOUND, e);
	check_err(fs_stat_fd(-1, &st, &e), ERR_IO, e);
}

static void
reserved_space_is_there(void **state)
{
	auto_fd int fd = new_file(*state, "f");
	struct fs_stat st;
	struct error e;

	check_ok(fs_allocate(fd, 0, 1 << 20, &e), e);
	check_ok(fs_allocate(fd, 5, 0, &e), e);
	check_ok(fs_stat_fd(fd, &st, &e), e);
	if (old_kernel) {
		assert_int_equal(st.size, 0);
		return;
	}
	assert_int_equal(st.size, 1 << 20);
	assert_true(st.blocks * 512 >= 1 << 20);
	check_err(fs_allocate(fd, UINT64_MAX - 5, 10, &e), ERR_IO, e);
}

static void
files_and_directories_are_flushed(void **state)
{
	struct check_dir *d = *state;
	auto_fd int fd = new_file(d, "f");
	int pipes[2];
	struct error e;

	check_ok(fs_sync(fd, &e), e);
	check_ok(fs_sync(d->fd, &e), e);
	check_ok(fs_sync_all(fd, &e), e);
	check_err(fs_sync(-1, &e), ERR_IO, e);
	check_err(fs_sync_all(-1, &e), ERR_IO, e);
	assert_int_equal(pipe(pipes), 0);
	check_err(fs_sync(pipes[0], &e), ERR_IO, e);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
}

static void
times_are_kept_to_the_nanosecond(void **state)
{
	static const int64_t times[] = { 0, 1, 1795167667123456789, -1, -1500000000, -1000000000 };
	struct check_dir *d = *state;
	auto_fd int fd = new_file(d, "f");
	struct fs_stat st;
	struct error e;

	assert_int_equal(symlinkat("f", d->fd, "link"), 0);
	for (size_t i = 0; i < lengthof(times); i++) {
		check_ok(fs_set_times(fd, times[i], &e), e);
		check_ok(fs_stat_fd(fd, &st, &e), e);
		assert_true(st.mtime_ns == times[i]);
		check_ok(fs_set_times_at(d->fd, REL("link"), times[i] + 5, &e), e);
		check_ok(fs_stat_at(d->fd, REL("link"), &st, &e), e);
		assert_true(st.mtime_ns == times[i] + 5);
		check_ok(fs_stat_fd(fd, &st, &e), e);
		assert_true(st.mtime_ns == times[i]); /* not followed */
	}
	check_ok(fs_set_times_at(d->fd, REL(""), 77, &e), e);
	check_ok(fs_stat_fd(d->fd, &st, &e), e);
	assert_int_equal(st.mtime_ns, 77);
	check_err(fs_set_times_at(d->fd, REL("none"), 0, &e), ERR_NOTFOUND, e);
	check_err(fs_set_times(-1, 0, &e), ERR_IO, e);
}

static void
modes_never_carry_set_id(void **state)
{
	struct check_dir *d = *state;
	auto_fd int fd = new_file(d, "f");
	struct fs_stat st;
	struct error e;

	check_ok(fs_set_mode(fd, 07751, &e), e);
	check_ok(fs_stat_fd(fd, &st, &e), e);
	assert_int_equal(st.mode, 0751);
	check_ok(fs_set_mode_at(d->fd, REL("f"), 06640, &e), e);
	check_ok(fs_stat_fd(fd, &st, &e), e);
	assert_int_equal(st.mode, 0640);
	assert_int_equal(symlinkat("f", d->fd, "link"), 0);
	enum err r = fs_set_mode_at(d->fd, REL("link"), 0777, &e);
	assert_int_equal(r, ERR_IO); /* a symlink has no mode */
	check_ok(fs_stat_fd(fd, &st, &e), e);
	assert_int_equal(st.mode, 0640);
	check_ok(fs_set_mode_at(d->fd, REL(""), 0700, &e), e);
	check_err(fs_set_mode_at(d->fd, REL("none"), 0, &e), ERR_NOTFOUND, e);
	check_err(fs_set_mode(-1, 0, &e), ERR_IO, e);
}

static void
data_is_found_between_holes(void **state)
{
	enum { MIB = 1 << 20 };
	auto_fd int fd = new_file(*state, "f");
	uint64_t from = 9, to = 9;
	struct error e;

	check_ok(fs_next_data(fd, 0, &from, &to, &e), e);
	assert_int_equal(from, 0);
	assert_int_equal(to, 0);
	check_ok(fs_truncate(fd, 10 * MIB, &e), e);
	check_ok(fs_write_at(fd, 3 * MIB, BYTES_LIT("a"), &e), e);
	check_ok(fs_write_at(fd, 7 * MIB + 5, BYTES_LIT("b"), &e), e);
	check_ok(fs_next_data(fd, 0, &from, &to, &e), e);
	if (old_kernel) { /* all of it is data then */
		assert_int_equal(from, 0);
		assert_int_equal(to, 10 * MIB);
		check_ok(fs_next_data(fd, MIB, &from, &to, &e), e);
		assert_int_equal(from, MIB);
		return;
	}
	assert_in_range(from, 3 * MIB - 65536, 3 * MIB);
	assert_in_range(to, 3 * MIB + 1, 3 * MIB + 65536);
	check_ok(fs_next_data(fd, to, &from, &to, &e), e);
	assert_in_range(from, 7 * MIB - 65536, 7 * MIB + 5);
	assert_in_range(to, 7 * MIB + 6, 7 * MIB + 65536);
	check_ok(fs_next_data(fd, to, &from, &to, &e), e);
	assert_int_equal(from, 10 * MIB);
	assert_int_equal(to, 10 * MIB);
	check_ok(fs_next_data(fd, 11 * MIB, &from, &to, &e), e);
	assert_int_equal(from, 10 * MIB);
	check_err(fs_next_data(-1, 0, &from, &to, &e), ERR_IO, e);
}

static void
ranges_are_copied_between_files(void **state)
{
	enum { N = 700001 };
	struct check_dir *d = *state;
	auto_fd int a = new_file(d, "a"), b = new_file(d, "b");
	auto_free uint8_t *data = seeded_bytes(5, N), *back = mem_alloc(N);
	struct error e;

	check_ok(fs_write_at(a, 0, BYTES(data, N), &e), e);
	check_ok(fs_copy_range(a, 7, b, 100, N - 7, &e), e);
	check_ok(fs_read_exact(b, 100, back, N - 7, &e), e);
	assert_memory_equal(back, data + 7, N - 7);
	check_ok(fs_copy_range(a, 0, b, 0, 0, &e), e);
	check_err(fs_copy_range(a, N - 5, b, 0, 6, &e), ERR_CORRUPT, e);
	check_err(fs_copy_range(a, 0, -1, 0, 6, &e), ERR_IO, e);
}

static void
ranges_are_copied_between_filesystems(void **state)
{
	struct check_dir *d = *state;
	auto_fd int a = new_file(d, "a"), other = -1;
	char path[100], text[6] = "";
	struct error e;

	assert_int_equal(mkdirat(d->fd, "other", 0755), 0);
	snprintf(path, sizeof path, "%s/other", d->path);
	if (!check_mount_tmpfs(path, 1 << 20))
		skip();
	check_ok(fs_open_root(path, &other, &e), e);
	int b = -1;
	check_ok(fs_write_at(a, 0, BYTES_LIT("across"), &e), e);
	check_ok(fs_create(other, REL("b"), &b, &e), e);
	check_ok(fs_copy_range(a, 1, b, 0, 5, &e), e);
	check_ok(fs_read_exact(b, 0, text, 5, &e), e);
	check_text(text, "cross");
	assert_false(fs_same_mount(d->fd, other));
	assert_true(fs_same_mount(other, b));
	(void)close(b);
	(void)close(take_fd(other));
	check_unmount(path);
}

static void
a_full_disk_is_told_from_a_broken_one(void **state)
{
	enum { SMALL = 1 << 20 };
	struct check_dir *d = *state;
	auto_fd int dir = -1, fd = -1;
	uint64_t left = 0, total = 0;
	struct error e;

	if (!check_mount_tmpfs(d->path, SMALL))
		skip();
	auto_free uint8_t *data = mem_zalloc(2 * SMALL);
	check_ok(fs_open_root(d->path, &dir, &e), e);
	check_ok(fs_create(dir, REL("f"), &fd, &e), e);
	check_ok(fs_space(dir, &left, &total, &e), e);
	assert_int_equal(total, SMALL);
	assert_in_range(left, SMALL / 2, SMALL);
	if (!old_kernel)
		check_err(fs_allocate(fd, 0, 2 * SMALL, &e), ERR_NOSPACE, e);
	check_err(fs_write_at(fd, 0, BYTES(data, 2 * SMALL), &e), ERR_NOSPACE, e);
	check_says(e.text, "/f: No space left");
	check_ok(fs_space(dir, &left, &total, &e), e);
	assert_int_equal(left, 0);
	check_err(fs_write_file(dir, REL("g"), BYTES(data, 5000), 0600, &e), ERR_NOSPACE, e);
	auto_(fs_list_clear) struct fs_list list = { 0 };
	check_ok(fs_list_dir(dir, &list, &e), e);
	assert_int_equal(list.n, 1); /* the temporary file is gone */
	(void)close(take_fd(fd));
	(void)close(take_fd(dir));
	check_unmount(d->path);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		check_dir_test(reads_are_short_only_at_the_end),
		check_dir_test(writes_beyond_the_end_leave_a_hole),
		check_dir_test(stat_tells_kinds_apart_and_follows_nothing),
		check_dir_test(reserved_space_is_there),
		check_dir_test(files_and_directories_are_flushed),
		check_dir_test(times_are_kept_to_the_nanosecond),
		check_dir_test(modes_never_carry_set_id),
		check_dir_test(data_is_found_between_holes),
		check_dir_test(ranges_are_copied_between_files),
		check_dir_test(ranges_are_copied_between_filesystems),
		check_dir_test(a_full_disk_is_told_from_a_broken_one),
	};

	old_kernel = check_old_kernel(argc, argv);
	return check_old_kernel_run(old_kernel, "fs_file", tests);
}
