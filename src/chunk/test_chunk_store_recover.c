/* Crashes, lost and damaged files: what a store finds when it is opened. */
#include "chunk/test_store.h"

#include <sys/wait.h>

#include "chunk/chunk_store_inner.h"
#include "db/db.h"

static void
remove_file(struct test_store *t, const char *name)
{
	auto_free char *path = str_printf("%s/%s", t->path, name);

	assert_int_equal(unlink(path), 0);
}

static void
remove_index(struct test_store *t)
{
	remove_file(t, "index.db");
	auto_free char *wal = str_printf("%s/index.db-wal", t->path);
	auto_free char *shm = str_printf("%s/index.db-shm", t->path);
	(void)unlink(wal);
	(void)unlink(shm);
}

static void
close_store(struct test_store *t)
{
	chunk_store_close(t->s);
	t->s = NULL;
}

static off_t
size_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_size;
}

/* Puts objects in a process that dies without closing anything. */
static void
put_and_die(struct test_store *t, uint64_t from, uint64_t to, bool commit)
{
	pid_t child = fork();
	int status = 0;

	assert_true(child >= 0);
	if (child == 0) {
		struct chunk_store *s = NULL;
		struct error e = { 0 };
		bool good = chunk_store_open(t->path, &t->opts, &s, &e) == OK;
		for (uint64_t i = from; good && i < to; i++)
			good = test_store_try_put(s, i, &e) == OK;
		if (good && commit)
			good = chunk_store_commit(s, &e) == OK;
		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void
what_was_committed_survives_kill(void **state)
{
	struct test_store *t = *state;

	close_store(t);
	for (uint64_t round = 0; round < 5; round++)
		put_and_die(t, round * 10, round * 10 + 10, true);
	test_store_open(t);
	test_store_get(t, 0, 50);
	assert_int_equal(test_store_check(t), 0);
}

/* Written ahead and not committed: the bytes are there, so they are used. */
static void
what_was_only_written_is_found_again(void **state)
{
	struct test_store *t = *state;

	close_store(t);
	put_and_die(t, 0, 100, false);
	test_store_open(t);
	struct chunk_store_stats st = test_store_stats(t);
	assert_true(st.objects > 50);
	uint64_t there = 0;
	for (uint64_t i = 0; i < 100; i++) {
		struct hash_id id = test_store_id(i);
		struct error e;
		if (chunk_store_has(t->s, &id)) {
			check_ok(test_store_try_get(t->s, i, &e), e);
			there++;
		}
	}
	assert_int_equal(there, st.objects);
	test_store_put(t, 0, 120);
	test_store_commit(t);
	test_store_get(t, 0, 120);
	assert_int_equal(test_store_check(t), 0);
}

/* A store with three committed objects and a tail of some hundred that was written only.  Gives its
 * open pack. */
static int
make_tail(struct test_store *t, const char *name, off_t *ret_committed)
{
	chunk_store_close(t->s);
	snprintf(t->path, sizeof t->path, "%s/%s", t->dir.path, name);
	t->opts.pack_bytes = 64 * 1024 * 1024;
	test_store_open(t);
	test_store_put(t, 1, 4);
	test_store_commit(t);
	close_store(t);
	int fd = test_store_open_pack(t, 1);
	*ret_committed = size_of(fd);
	put_and_die(t, 100, 260, false);
	assert_true(size_of(fd) > *ret_committed + 500 * 1000);
	return fd;
}

/* Wherever a torn write ends, the committed part is whole and the pack is written on behind the
 * last record. */
static void
a_torn_tail_is_cut_off(void **state)
{
	struct test_store *t = *state;

	for (unsigned round = 0; round < 12; round++) {
		char name[20];
		off_t committed = 0;
		snprintf(name, sizeof name, "torn%u", round);
		auto_fd int fd = make_tail(t, name, &committed);
		off_t size = committed + (size_of(fd) - committed) / 12 * round + round;
		assert_int_equal(ftruncate(fd, size), 0);
		test_store_open(t);
		test_store_get(t, 1, 4);
		off_t good = size_of(fd);
		assert_true(good >= committed && good <= size);
		assert_int_equal(test_store_check(t), 0);
		test_store_put(t, 300, 310);
		test_store_commit(t);
		assert_true(size_of(fd) > good);
		close_store(t);
		test_store_open(t);
		test_store_get(t, 1, 4);
		test_store_get(t, 300, 310);
		assert_int_equal(test_store_check(t), 0);
	}
}

/* Heads come to the disk before contents: the length is right, the bytes are not. */
static void
a_tail_with_wrong_content_is_not_believed(void **state)
{
	struct test_store *t = *state;
	off_t committed = 0;

	(void)close(make_tail(t, "good", &committed));
	test_store_open(t);
	uint64_t all = test_store_stats(t).objects;
	auto_fd int bad = make_tail(t, "bad", &committed);
	for (off_t at = 1; at < 4; at++)
		test_store_flip(bad, committed + at * 100 * 1000);
	test_store_open(t);
	uint64_t left = test_store_stats(t).objects;
	assert_in_range(left, all - 3, all - 1);
	for (uint64_t i = 100; i < 260; i++) {
		struct hash_id id = test_store_id(i);
		if (chunk_store_has(t->s, &id))
			test_store_get(t, i, i + 1);
	}
	assert_int_equal(test_store_check(t), 0);
	assert_int_equal(test_store_stats(t).objects, left);
}

static void
a_lost_index_is_rebuilt(void **state)
{
	struct test_store *t = *state;
	struct chunk_store_stats before, after;

	test_store_put(t, 0, 200);
	test_store_commit(t);
	before = test_store_stats(t);
	assert_true(before.packs > 6);
	close_store(t);
	remove_index(t);
	test_store_open(t);
	after = test_store_stats(t);
	assert_memory_equal(&before, &after, sizeof before);
	test_store_get(t, 0, 200);
	test_store_put(t, 190, 220);
	test_store_commit(t);
	test_store_reopen(t);
	test_store_get(t, 0, 220);
	assert_int_equal(test_store_check(t), 0);
}

static void
an_index_that_is_no_database_is_rebuilt(void **state)
{
	struct test_store *t = *state;

	test_store_put(t, 0, 50);
	test_store_commit(t);
	close_store(t);
	int fd = test_store_open_file(t, "index.db");
	assert_int_equal(pwrite(fd, "what is this, certainly not a database", 38, 0), 38);
	close(fd);
	test_store_open(t);
	test_store_get(t, 0, 50);
	assert_int_equal(test_store_check(t), 0);
}

/* Damage deep inside is met while working: the next open makes the index anew. */
static void
an_index_with_a_damaged_page_is_rebuilt_at_the_next_open(void **state)
{
	struct test_store *t = *state;
	uint64_t bad = 0;
	struct error e = { 0 };
	uint8_t junk[2048];

	for (uint32_t i = 0; i < 3000; i++)
		check_ok(
		    chunk_store_put_node(t->s, HASH_DEFAULT, HASH_TREE, BYTES_OF(i), NULL, &e), e);
	test_store_put(t, 0, 20);
	test_store_commit(t);
	close_store(t); /* the log goes into the file */
	memset(junk, 0xff, sizeof junk);
	int fd = test_store_open_file(t, "index.db");
	for (off_t at = 3 * 4096; at < size_of(fd); at += 2 * 4096)
		assert_int_equal(pwrite(fd, junk, sizeof junk, at), sizeof junk);
	close(fd);
	test_store_open(t);
	check_err(chunk_store_check(t->s, NULL, NULL, &bad, &e), ERR_CORRUPT, e);
	test_store_reopen(t);
	test_store_get(t, 0, 20);
	assert_int_equal(test_store_stats(t).objects, 3020);
	assert_int_equal(test_store_check(t), 0);
}

/* Whoever can write the file can write any number into it. */
static void
a_row_that_points_nowhere_is_damage_and_no_more(void **state)
{
	static const char SQL_POINT[] = "UPDATE object SET off = ? WHERE id = ?";
	static const int64_t nowhere[] = { INT64_MAX, INT64_MAX - 2 * 1024 * 1024, 1 << 30, 0, -1 };
	struct test_store *t = *state;
	auto_free char *index = str_printf("%s/index.db", t->path);

	test_store_put(t, 1, 4);
	test_store_commit(t);
	for (size_t i = 0; i < lengthof(nowhere); i++) {
		struct hash_id id = test_store_id(1);
		struct db *db = NULL;
		struct error e = { 0 };
		close_store(t);
		check_ok(db_open(index, NULL, &db, &e), e);
		check_ok(db_run(db, SQL_POINT, &e, "ib", nowhere[i], hash_id_bytes(&id)), e);
		db_close(db);
		test_store_open(t);
		test_store_put(t, 10 + i, 11 + i); /* gathered behind the end of the file */
		enum err r = test_store_try_get(t->s, 1, &e);
		assert_true(r == ERR_CORRUPT || r == ERR_IO);
		test_store_commit(t);
		test_store_get(t, 2, 4);
		test_store_reopen(t); /* with a new index where the row could not be */
		test_store_put(t, 1, 2);
		test_store_commit(t);
		test_store_get(t, 1, 2);
	}
}

static void
a_missing_pack_is_forgotten_and_the_rest_stays(void **state)
{
	struct test_store *t = *state;

	test_store_put(t, 0, 100);
	test_store_commit(t);
	uint64_t all = test_store_stats(t).objects;
	close_store(t);
	remove_file(t, "packs/0000000000000002.pack");
	test_store_open(t);
	uint64_t left = test_store_stats(t).objects;
	assert_true(left > 0 && left < all);
	uint64_t there = 0;
	for (uint64_t i = 0; i < 100; i++) {
		struct hash_id id = test_store_id(i);
		there += chunk_store_has(t->s, &id);
	}
	assert_int_equal(there, left);
	assert_int_equal(test_store_check(t), 0);
	test_store_put(t, 0, 100);
	test_store_commit(t);
	test_store_get(t, 0, 100);
	assert_int_equal(test_store_stats(t).objects, all);
}

/* As when the packs' disk was not mounted: nothing is taken back from what comes again. */
static void
a_pack_that_comes_back_is_taken_in_again(void **state)
{
	struct test_store *t = *state;
	auto_free char *pack = str_printf("%s/packs/0000000000000002.pack", t->path);
	auto_free char *away = str_printf("%s/away", t->dir.path);

	test_store_put(t, 0, 100);
	test_store_commit(t);
	close_store(t);
	assert_int_equal(rename(pack, away), 0);
	test_store_open(t);
	close_store(t);
	assert_int_equal(rename(away, pack), 0);
	test_store_open(t);
	test_store_get(t, 0, 100);
	assert_int_equal(test_store_check(t), 0);
}

static void
a_shortened_pack_gives_what_it_still_has(void **state)
{
	struct test_store *t = *state;

	test_store_put(t, 0, 100);
	test_store_commit(t);
	uint64_t all = test_store_stats(t).objects;
	close_store(t);
	int fd = test_store_open_pack(t, 2);
	assert_int_equal(ftruncate(fd, size_of(fd) / 2), 0);
	close(fd);
	test_store_open(t);
	uint64_t left = test_store_stats(t).objects;
	assert_true(left < all);
	assert_int_equal(test_store_check(t), 0);
	test_store_put(t, 0, 100);
	test_store_commit(t);
	test_store_reopen(t);
	test_store_get(t, 0, 100);
}

static void
a_damaged_pack_head_costs_only_that_pack(void **state)
{
	struct test_store *t = *state;

	test_store_put(t, 0, 100);
	test_store_commit(t);
	close_store(t);
	remove_index(t);
	test_store_flip_in(t, 3, 30);
	test_store_open(t);
	uint64_t left = test_store_stats(t).objects;
	assert_true(left > 0 && left < 100);
	test_store_put(t, 0, 100);
	test_store_commit(t);
	test_store_get(t, 0, 100);
	assert_int_equal(test_store_check(t), 0);
}

static void
a_pack_of_a_newer_version_is_refused(void **state)
{
	struct test_store *t = *state;
	struct error e = { 0 };

	test_store_put(t, 0, 3);
	test_store_commit(t);
	close_store(t);
	remove_index(t);
	/* its version and, behind the salt, the check */
	uint8_t head[PACK_HEAD], check[HASH_BYTES];
	int fd = test_store_open_pack(t, 1);
	assert_int_equal(pread(fd, head, sizeof head, 0), sizeof head);
	head[8] = 2;
	hash_sha256(BYTES(head + 24, PACK_SALT), BYTES(head, 40), check);
	memcpy(head + 40, check, 8);
	assert_int_equal(pwrite(fd, head, sizeof head, 0), sizeof head);
	close(fd);
	check_err(chunk_store_open(t->path, &t->opts, &t->s, &e), ERR_LIMIT, e);
	check_says(e.text, "newer");
}

/* In a rebuilt index the later copy counts: the earlier one was found damaged before it was put
 * again. */
static void
the_later_copy_counts(void **state)
{
	struct test_store *t = *state;
	struct error e = { 0 };

	test_store_put(t, 14, 15);
	test_store_commit(t);
	test_store_flip_in(t, 1, 100000);
	check_err(test_store_try_get(t->s, 14, &e), ERR_CORRUPT, e);
	check_says(e.text, "in pack 1 at 48");
	test_store_get_none(t, 14, 15);
	test_store_put(t, 14, 15);
	test_store_commit(t);
	test_store_get(t, 14, 15);
	close_store(t);
	remove_index(t);
	test_store_open(t);
	test_store_get(t, 14, 15);
	assert_int_equal(test_store_check(t), 0);
}

static void
leftovers_in_the_packs_directory_do_no_harm(void **state)
{
	struct test_store *t = *state;
	auto_free char *empty = str_printf("%s/packs/00000000000000aa.pack", t->path);
	auto_free char *other = str_printf("%s/packs/notes.txt", t->path);
	auto_free char *dir = str_printf("%s/packs/00000000000000bb.pack", t->path);

	test_store_put(t, 0, 10);
	test_store_commit(t);
	close_store(t);
	/* a crash just after it was made */
	close(open(empty, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	close(open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(mkdir(dir, 0700), 0);
	test_store_open(t);
	assert_int_equal(access(empty, F_OK), -1);
	assert_int_equal(access(other, F_OK), 0);
	test_store_get(t, 0, 10);
	test_store_put(t, 10, 30);
	test_store_commit(t);
	test_store_reopen(t);
	test_store_get(t, 0, 30);
}

/* -- a flush that failed -- */

/* More than is gathered before it is written, and all in one pack: nothing commits by itself. */
static void
put_uncommitted(struct test_store *t, uint64_t from)
{
	t->opts.pack_bytes = 0;
	test_store_reopen(t);
	test_store_put(t, 0, from);
	test_store_commit(t);
	test_store_put(t, from, 190);
}

static void
pretend_that_a_flush_failed(struct test_store *t)
{
	(void)fail(&t->s->broken, ERR_IO, "the disk went away");
}

static void
what_a_failed_flush_may_have_lost_is_written_again_elsewhere(void **state)
{
	struct test_store *t = *state;

	put_uncommitted(t, 10);
	uint64_t before = t->s->writer.head.number;
	pretend_that_a_flush_failed(t);
	test_store_put(t, 190, 195);
	for (uint64_t i = 10; i < 190; i++) {
		struct hash_id id = test_store_id(i);
		const struct chunk_store_row *row = chunk_store_commit_find(t->s, &id);
		assert_non_null(row);
		assert_true(row->at.pack > before);
	}
	test_store_get(t, 0, 195);
	test_store_commit(t);
	test_store_reopen(t);
	test_store_get(t, 0, 195);
	assert_int_equal(test_store_check(t), 0);
}

static void
what_cannot_be_read_back_after_a_failed_flush_is_not_called_stored(void **state)
{
	struct test_store *t = *state;
	uint8_t rubbish[64] = { 0 };
	struct error e = { 0 };

	put_uncommitted(t, 10);
	const struct hash_id first = test_store_id(10);
	uint64_t off = chunk_store_commit_find(t->s, &first)->at.off;
	pretend_that_a_flush_failed(t);
	assert_int_equal(pwrite(t->s->writer.fd, rubbish, sizeof rubbish, (off_t)off + 100), 64);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(chunk_store_commit(t->s, &e), ERR_CORRUPT);
		check_says(e.text, "write again what a failed flush may have lost");
		assert_int_equal(test_store_try_put(t->s, 195, &e), ERR_CORRUPT);
	}
	test_store_get(t, 0, 10);
	test_store_reopen(t);
	test_store_get(t, 0, 10);
	test_store_put(t, 10, 196);
	test_store_commit(t);
}

#define store_test(f) cmocka_unit_test_setup_teardown(f, test_store_setup, test_store_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		store_test(what_was_committed_survives_kill),
		store_test(what_was_only_written_is_found_again),
		store_test(a_torn_tail_is_cut_off),
		store_test(a_tail_with_wrong_content_is_not_believed),
		store_test(a_lost_index_is_rebuilt),
		store_test(an_index_that_is_no_database_is_rebuilt),
		store_test(an_index_with_a_damaged_page_is_rebuilt_at_the_next_open),
		store_test(a_row_that_points_nowhere_is_damage_and_no_more),
		store_test(a_missing_pack_is_forgotten_and_the_rest_stays),
		store_test(a_pack_that_comes_back_is_taken_in_again),
		store_test(a_shortened_pack_gives_what_it_still_has),
		store_test(a_damaged_pack_head_costs_only_that_pack),
		store_test(a_pack_of_a_newer_version_is_refused),
		store_test(the_later_copy_counts),
		store_test(leftovers_in_the_packs_directory_do_no_harm),
		store_test(what_a_failed_flush_may_have_lost_is_written_again_elsewhere),
		store_test(what_cannot_be_read_back_after_a_failed_flush_is_not_called_stored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
