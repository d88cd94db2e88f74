#include "tests/check_faults.h"
#include "tests/check_mount.h"
#include "tests/check_old_kernel.h"

#include "base/mem.h"
#include "platform/big_array.h"
#include "platform/fs.h"

enum { MAGIC = 0x77656674 };

struct record {
	uint64_t number;
	uint8_t data[16];
};

static void
push(struct big_array *a, uint64_t number)
{
	struct record r = { .number = number };
	struct error e;

	check_ok(big_array_push(a, &r, &e), e);
}

static uint64_t
number_at(const struct big_array *a, uint64_t i)
{
	const struct record *r = big_array_at(a, i);

	return r->number;
}

static void
records_stay_where_they_were_pushed(void **state)
{
	enum { N = 20000 };
	struct check_dir *d = *state;
	auto_(big_array_close) struct big_array a = { 0 };
	struct error e;

	check_ok(big_array_create(&a, d->fd, REL("a"), MAGIC, sizeof(struct record), &e), e);
	assert_int_equal(a.n, 0);
	for (uint64_t i = 0; i < N; i++)
		push(&a, i);
	big_array_trim(&a);
	for (uint64_t i = 0; i < N; i++)
		assert_int_equal(number_at(&a, i), i);
	check_ok(big_array_sync(&a, &e), e);
	big_array_close(&a);
	check_ok(big_array_open(&a, d->fd, REL("a"), MAGIC, sizeof(struct record), &e), e);
	assert_int_equal(a.n, N);
	for (uint64_t i = 0; i < N; i++)
		assert_int_equal(number_at(&a, i), i);
	push(&a, N);
	assert_int_equal(number_at(&a, N), N);
}

static void
what_was_not_synced_is_not_there_again(void **state)
{
	struct check_dir *d = *state;
	auto_(big_array_close) struct big_array a = { 0 };
	struct error e;

	check_ok(big_array_create(&a, d->fd, REL("a"), MAGIC, sizeof(struct record), &e), e);
	push(&a, 1);
	check_ok(big_array_sync(&a, &e), e);
	push(&a, 2);
	big_array_close(&a);
	check_ok(big_array_open(&a, d->fd, REL("a"), MAGIC, sizeof(struct record), &e), e);
	assert_int_equal(a.n, 1);
	check_ok(big_array_resize(&a, 2, &e), e);
	assert_int_equal(number_at(&a, 1), 0); /* not the 2 that lies there */
}

static void
new_records_are_zero_after_every_resize(void **state)
{
	static const uint64_t sizes[] = { 10, 3, 12, 0, 5000, 4000, 5001, 100000, 1, 100001 };
	struct check_dir *d = *state;
	auto_(big_array_close) struct big_array a = { 0 };
	struct error e;

	check_ok(big_array_create(&a, d->fd, REL(""), MAGIC, sizeof(struct record), &e), e);
	for (size_t k = 0; k < lengthof(sizes); k++) {
		uint64_t had = a.n;
		check_ok(big_array_resize(&a, sizes[k], &e), e);
		assert_int_equal(a.n, sizes[k]);
		for (uint64_t i = 0; i < a.n; i++) {
			struct record *r = big_array_at(&a, i);
			assert_int_equal(r->number, i < had ? i + 1 : 0);
			r->number = i + 1;
		}
	}
	uint64_t n = a.n;
	check_err(big_array_resize(&a, UINT64_MAX / 2, &e), ERR_LIMIT, e);
	assert_int_equal(a.n, n);
}

static void
a_private_array_leaves_no_file(void **state)
{
	struct check_dir *d = *state;
	auto_(big_array_close) struct big_array a = { 0 };
	auto_(fs_list_clear) struct fs_list list = { 0 };
	struct error e;

	check_ok(big_array_create(&a, d->fd, REL(""), MAGIC, 8, &e), e);
	check_ok(big_array_push(&a, "12345678", &e), e);
	assert_memory_equal(big_array_at(&a, 0), "12345678", 8);
	check_ok(fs_list_dir(d->fd, &list, &e), e);
	assert_int_equal(list.n, 0);
}

static void
creating_replaces_what_was_there(void **state)
{
	struct check_dir *d = *state;
	auto_(big_array_close) struct big_array a = { 0 }, b = { 0 };
	struct error e;

	check_ok(big_array_create(&a, d->fd, REL("a"), MAGIC, sizeof(struct record), &e), e);
	push(&a, 7);
	check_ok(big_array_create(&b, d->fd, REL("a"), MAGIC, sizeof(struct record), &e), e);
	assert_int_equal(b.n, 0);
	assert_int_equal(number_at(&a, 0), 7); /* whoever has the old one keeps it */
}

/* Opens "a" after N bytes at OFF of it were overwritten; expects that to be noticed. */
static void
check_damage(struct check_dir *d, off_t off, const void *bytes, size_t n)
{
	struct big_array a = { 0 };
	struct error e;

	check_ok(big_array_create(&a, d->fd, REL("a"), MAGIC, sizeof(struct record), &e), e);
	push(&a, 1);
	check_ok(big_array_sync(&a, &e), e);
	big_array_close(&a);
	int fd = openat(d->fd, "a", O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, bytes, n, off), n);
	(void)close(fd);
	check_err(
	    big_array_open(&a, d->fd, REL("a"), MAGIC, sizeof(struct record), &e), ERR_CORRUPT, e);
	assert_null(a.map);
}

static void
a_file_that_does_not_fit_is_corrupt(void **state)
{
	struct check_dir *d = *state;
	auto_(big_array_close) struct big_array a = { 0 };
	const uint64_t too_many = 1000000, far_too_many = UINT64_MAX;
	struct error e;

	check_damage(d, 0, "x", 1);                      /* magic */
	check_damage(d, 4, "x", 1);                      /* layout */
	check_damage(d, 8, "x", 1);                      /* record */
	check_damage(d, 16, &too_many, sizeof too_many); /* count */
	check_damage(d, 16, &far_too_many, sizeof too_many);
	check_err(big_array_open(&a, d->fd, REL("none"), MAGIC, 8, &e), ERR_NOTFOUND, e);
	check_put(d, "empty", "", 0);
	check_err(big_array_open(&a, d->fd, REL("empty"), MAGIC, 8, &e), ERR_CORRUPT, e);
	check_put(d, "short", "weft", 4);
	check_err(big_array_open(&a, d->fd, REL("short"), MAGIC, 8, &e), ERR_CORRUPT, e);
	assert_int_equal(truncate(d->path, 0), -1);
	check_ok(big_array_create(&a, d->fd, REL("cut"), MAGIC, 8, &e), e);
	for (int i = 0; i < 100; i++)
		check_ok(big_array_push(&a, "12345678", &e), e);
	check_ok(big_array_sync(&a, &e), e);
	big_array_close(&a);
	int fd = openat(d->fd, "cut", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, BIG_ARRAY_HEADER + 99 * 8), 0);
	(void)close(fd);
	check_err(big_array_open(&a, d->fd, REL("cut"), MAGIC, 8, &e), ERR_CORRUPT, e);
	big_array_close(&a); /* of nothing */
}

/* Pages of files in our memory, in bytes. */
static uint64_t
resident_file_bytes(void)
{
	unsigned long total = 0, resident = 0, of_files = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu %lu %lu", &total, &resident, &of_files), 3);
	fclose(f);
	return (uint64_t)of_files * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void
a_large_array_stays_small_in_memory(void **state)
{
	enum { MIB = 1 << 20, SIZE = 96 * MIB };
	struct check_dir *d = *state;
	auto_(big_array_close) struct big_array a = { 0 };
	auto_free uint8_t *record = mem_zalloc(4096);
	uint64_t before = resident_file_bytes(), most = 0;
	struct error e;

	check_ok(big_array_create(&a, d->fd, REL(""), MAGIC, 4096, &e), e);
	for (uint64_t i = 0; i < SIZE / 4096; i++) {
		memcpy(record, &i, sizeof i);
		check_ok(big_array_push(&a, record, &e), e);
		if (i % 1000 == 0)
			most = max_of(most, resident_file_bytes());
	}
	assert_in_range(most, 0, before + 16 * MIB);
	for (uint64_t i = 0; i < a.n; i++)
		assert_memory_equal(big_array_at(&a, i), &i, sizeof i);
	big_array_trim(&a);
	assert_in_range(resident_file_bytes(), 0, before + 2 * MIB);
}

static void
a_full_disk_is_found_when_growing(void **state)
{
	struct check_dir *d = *state;
	auto_(big_array_close) struct big_array a = { 0 };
	auto_fd int dir = -1;
	enum err r = OK;
	struct error e;

	if (!check_mount_tmpfs(d->path, 1 << 20))
		skip();
	check_ok(fs_open_root(d->path, &dir, &e), e);
	check_ok(big_array_create(&a, dir, REL("a"), MAGIC, sizeof(struct record), &e), e);
	uint64_t i = 0;
	for (; r == OK && i < 100000; i++)
		r = big_array_push(&a, &(struct record){ .number = i }, &e);
	check_err(r, ERR_NOSPACE, e);
	assert_int_equal(a.n, i - 1);
	check_err(big_array_resize(&a, 1000000, &e), ERR_NOSPACE, e);
	for (uint64_t k = 0; k < a.n; k++) /* no SIGBUS, nothing lost */
		assert_int_equal(number_at(&a, k), k);
	check_ok(big_array_sync(&a, &e), e);
	big_array_close(&a);
	check_ok(big_array_open(&a, dir, REL("a"), MAGIC, sizeof(struct record), &e), e);
	assert_int_equal(a.n, i - 1);
	big_array_close(&a);
	(void)close(take_fd(dir));
	check_unmount(d->path);
}

static enum err
use_array(int dir)
{
	auto_(big_array_close) struct big_array a = { 0 };
	auto_(big_array_close) struct big_array b = { 0 };
	struct error e;
	enum err r = big_array_create(&a, dir, REL("a"), MAGIC, sizeof(struct record), &e);

	for (uint64_t i = 0; r == OK && i < 10000; i++)
		r = big_array_push(&a, &(struct record){ .number = i }, &e);
	if (r == OK)
		r = big_array_resize(&a, 20000, &e);
	if (r == OK)
		r = big_array_sync(&a, &e);
	if (r == OK)
		r = big_array_open(&b, dir, REL("a"), MAGIC, sizeof(struct record), &e);
	if (r == OK && (b.n != 20000 || number_at(&b, 9999) != 9999))
		r = ERR_BUG;
	return r;
}

static void
any_call_may_fail(void **state)
{
	(void)state;
	check_each_fault(use_array, "src/platform/", 8);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		/* first: no point has been passed in this process yet */
		cmocka_unit_test(any_call_may_fail),
		check_dir_test(records_stay_where_they_were_pushed),
		check_dir_test(what_was_not_synced_is_not_there_again),
		check_dir_test(new_records_are_zero_after_every_resize),
		check_dir_test(a_private_array_leaves_no_file),
		check_dir_test(creating_replaces_what_was_there),
		check_dir_test(a_file_that_does_not_fit_is_corrupt),
		check_dir_test(a_large_array_stays_small_in_memory),
		check_dir_test(a_full_disk_is_found_when_growing),
	};

	return check_old_kernel_run(check_old_kernel(argc, argv), "big_array", tests);
}
