#include "tests/check_faults.h"
#include "tests/check_old_kernel.h"

#include "base/mem.h"
#include "platform/fs.h"

static void
a_file_is_written_whole_and_read_whole(void **state)
{
	struct check_dir *d = *state;
	auto_buf struct buf b = BUF(1000);
	struct fs_stat st;
	struct error e;

	mode_t old = umask(077);
	check_ok(fs_write_file(d->fd, REL("f"), BYTES_LIT("first"), 0644, &e), e);
	umask(old);
	check_ok(fs_stat_at(d->fd, REL("f"), &st, &e), e);
	assert_int_equal(st.mode, 0644);
	check_ok(fs_write_file(d->fd, REL("f"), BYTES_LIT("second"), 0600, &e), e);
	buf_addf(&b, "left over");
	check_ok(fs_read_file(d->fd, REL("f"), &b, &e), e);
	check_text(buf_text(&b), "second");
	check_ok(fs_write_file(d->fd, REL("f"), BYTES(NULL, 0), 0600, &e), e);
	check_ok(fs_read_file(d->fd, REL("f"), &b, &e), e);
	assert_int_equal(b.len, 0);
	auto_(fs_list_clear) struct fs_list list = { 0 };
	check_ok(fs_list_dir(d->fd, &list, &e), e);
	assert_int_equal(list.n, 1);
}

static void
a_write_that_fails_leaves_nothing(void **state)
{
	struct check_dir *d = *state;
	auto_(fs_list_clear) struct fs_list list = { 0 };
	struct error e;

	assert_int_equal(mkdirat(d->fd, "dir", 0755), 0);
	check_err(fs_write_file(d->fd, REL("dir"), BYTES_LIT("x"), 0600, &e), ERR_IO, e);
	check_says(e.text, "/dir: rename");
	check_err(fs_write_file(d->fd, REL("none/x"), BYTES_LIT("x"), 0600, &e), ERR_NOTFOUND, e);
	check_err(fs_write_file(d->fd, REL(""), BYTES_LIT("x"), 0600, &e), ERR_BUG, e);
	check_ok(fs_list_dir(d->fd, &list, &e), e);
	assert_int_equal(list.n, 1);
}

static void
the_buffers_maximum_is_the_limit(void **state)
{
	enum { N = 100000 };
	struct check_dir *d = *state;
	auto_free uint8_t *data = mem_zalloc(N);
	auto_buf struct buf exact = BUF(N), less = BUF(N - 1), none = BUF(0);
	struct error e;

	memset(data, 'x', N);
	check_ok(fs_write_file(d->fd, REL("f"), BYTES(data, N), 0600, &e), e);
	check_ok(fs_read_file(d->fd, REL("f"), &exact, &e), e);
	assert_true(bytes_equal(buf_bytes(&exact), BYTES(data, N)));
	check_err(fs_read_file(d->fd, REL("f"), &less, &e), ERR_LIMIT, e);
	assert_int_equal(less.len, 0);
	check_says(e.text, "/f is larger than 99999 bytes");
	check_err(fs_read_file(d->fd, REL("f"), &none, &e), ERR_LIMIT, e);
	check_ok(fs_write_file(d->fd, REL("f"), BYTES(NULL, 0), 0600, &e), e);
	check_ok(fs_read_file(d->fd, REL("f"), &none, &e), e);
	check_err(fs_read_file(d->fd, REL("none"), &exact, &e), ERR_NOTFOUND, e);
}

static void
a_file_that_lies_about_its_size_is_read_to_its_end(void **state)
{
	auto_buf struct buf b = BUF(65536);
	auto_fd int proc = -1;
	struct error e;

	(void)state;
	check_ok(fs_open_root("/proc", &proc, &e), e);
	check_ok(fs_read_file(proc, REL("cpuinfo"), &b, &e), e); /* its size is 0 */
	assert_true(b.len > 100);
}

static void
a_lock_has_one_holder_who_is_named(void **state)
{
	struct check_dir *d = *state;
	int fd = -1, second = -1;
	char pid[60];
	struct error e;

	check_ok(fs_lock(d->fd, REL("lock"), &fd, &e), e);
	check_err(fs_lock(d->fd, REL("lock"), &second, &e), ERR_AGAIN, e);
	snprintf(pid, sizeof pid, "held by another process (%d)", (int)getpid());
	check_says(e.text, pid);
	assert_int_equal(second, -1);
	pid_t child = fork();
	if (child == 0)
		_exit(fs_lock(d->fd, REL("lock"), &second, NULL) == ERR_AGAIN ? 0 : 1);
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	(void)close(fd);
	check_ok(fs_lock(d->fd, REL("lock"), &second, &e), e);
	(void)close(second);
	assert_int_equal(symlinkat("lock", d->fd, "link"), 0);
	check_err(fs_lock(d->fd, REL("link"), &second, &e), ERR_IO, e);
	check_err(fs_lock(d->fd, REL("none/lock"), &second, &e), ERR_NOTFOUND, e);
}

static void
a_lock_ends_with_its_process(void **state)
{
	struct check_dir *d = *state;
	int fd = -1, status = -1;
	struct error e;

	pid_t child = fork();
	if (child == 0)
		_exit(fs_lock(d->fd, REL("lock"), &fd, NULL) == OK ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	check_ok(fs_lock(d->fd, REL("lock"), &fd, &e), e);
	(void)close(fd);
}

static void
space_is_told(void **state)
{
	struct check_dir *d = *state;
	uint64_t left = 0, total = 0;
	struct error e;

	check_ok(fs_space(d->fd, &left, &total, &e), e);
	assert_true(left > 0 && left <= total);
	check_err(fs_space(-1, &left, &total, &e), ERR_IO, e);
}

/* Some of everything that fs does, in an order that works in an empty directory and in what a
 * failure left. */
static enum err
use_everything(int dir)
{
	auto_buf struct buf b = BUF(1000);
	auto_fd int sub = -1, a = -1, c = -1, lock = -1, unnamed = -1;
	auto_(fs_list_clear) struct fs_list list = { 0 };
	char text[200];
	uint64_t x, y;
	size_t n;
	struct fs_stat st;
	struct error e;

	enum err r = fs_remove_tree(dir, REL("t"), &e);
	r = r != OK ? r : fs_lock(dir, REL("lock"), &lock, &e);
	r = r != OK ? r : fs_mkdirs(dir, REL("t/a/b"), 0755, &e);
	r = r != OK ? r : fs_mkdir(dir, REL("t/c"), 0755, &e);
	r = r != OK ? r : fs_open_dir(dir, REL("t"), &sub, &e);
	r = r != OK ? r : fs_write_file(sub, REL("a/f"), BYTES_LIT("0123456789"), 0644, &e);
	r = r != OK ? r : fs_read_file(sub, REL("a/f"), &b, &e);
	if (r == OK && !bytes_equal(buf_bytes(&b), BYTES_LIT("0123456789")))
		return ERR_BUG;
	r = r != OK ? r : fs_open_write(sub, REL("a/f"), &a, &e);
	r = r != OK ? r : fs_create(sub, REL("a/g"), &c, &e);
	r = r != OK ? r : fs_create_unnamed(sub, &unnamed, &e);
	r = r != OK ? r : fs_allocate(c, 0, 8192, &e);
	r = r != OK ? r : fs_copy_range(a, 0, c, 0, 10, &e);
	r = r != OK ? r : fs_write_at(c, 100, BYTES_LIT("abcdefgh"), &e);
	r = r != OK ? r : fs_read_exact(c, 100, text, 8, &e);
	if (r == OK && memcmp(text, "abcdefgh", 8) != 0)
		return ERR_BUG;
	r = r != OK ? r : fs_read_at(c, 0, text, 200, &n, &e);
	r = r != OK ? r : fs_truncate(c, 50, &e);
	r = r != OK ? r : fs_next_data(c, 0, &x, &y, &e);
	r = r != OK ? r : fs_set_times(c, 5, &e);
	r = r != OK ? r : fs_set_mode(c, 0600, &e);
	r = r != OK ? r : fs_sync(c, &e);
	r = r != OK ? r : fs_sync(sub, &e);
	r = r != OK ? r : fs_sync_all(c, &e);
	r = r != OK ? r : fs_stat_fd(c, &st, &e);
	r = r != OK ? r : fs_stat_at(sub, REL("a/g"), &st, &e);
	r = r != OK ? r : fs_rename(sub, REL("a/g"), sub, REL("a/h"), &e);
	r = r != OK ? r : fs_rename_new(sub, REL("a/h"), sub, REL("c/h"), &e);
	r = r != OK ? r : fs_symlink(sub, REL("c/l"), BYTES_LIT("h"), &e);
	r = r != OK ? r : fs_readlink(sub, REL("c/l"), &b, &e);
	r = r != OK ? r : fs_set_times_at(sub, REL("c/l"), 7, &e);
	r = r != OK ? r : fs_set_mode_at(sub, REL("c/h"), 0640, &e);
	r = r != OK ? r : fs_space(sub, &x, &y, &e);
	r = r != OK ? r : fs_list_dir(sub, &list, &e);
	if (r == OK && list.n != 2)
		return ERR_BUG;
	if (r == OK && !fs_same_mount(dir, sub))
		r = fail(&e, ERR_IO, "another mount");
	r = r != OK ? r : fs_unlink(sub, REL("c/l"), &e);
	r = r != OK ? r : fs_rmdir(sub, REL("a/b"), &e);
	r = r != OK ? r : fs_remove_tree(dir, REL("t"), &e);
	return r;
}

static void
any_call_may_fail(void **state)
{
	(void)state;
	check_each_fault(use_everything, "src/platform/fs_", 45);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		/* first: no point has been passed in this process yet */
		cmocka_unit_test(any_call_may_fail),
		check_dir_test(a_file_is_written_whole_and_read_whole),
		check_dir_test(a_write_that_fails_leaves_nothing),
		check_dir_test(the_buffers_maximum_is_the_limit),
		check_dir_test(a_file_that_lies_about_its_size_is_read_to_its_end),
		check_dir_test(a_lock_has_one_holder_who_is_named),
		check_dir_test(a_lock_ends_with_its_process),
		check_dir_test(space_is_told),
	};

	return check_old_kernel_run(check_old_kernel(argc, argv), "fs_own", tests);
}
