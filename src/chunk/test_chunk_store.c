#include "chunk/test_store.h"
#include "tests/check_mount.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include "chunk/codec.h"

static void
what_is_put_is_there_before_and_after_commit(void **state)
{
	struct test_store *t = *state;

	test_store_put(t, 0, 40);
	test_store_get(t, 0, 40);
	test_store_commit(t);
	test_store_get(t, 0, 40);
	test_store_reopen(t);
	test_store_get(t, 0, 40);
	test_store_get_none(t, 40, 42);
	assert_int_equal(test_store_check(t), 0);
}

static void
nodes_of_every_kind_come_back_under_their_names(void **state)
{
	struct test_store *t = *state;
	auto_buf struct buf out = BUF(CHUNK_STORE_NODE_MAX);
	struct hash_id id[HASH_STATEMENT + 1], want;
	struct error e = { 0 };

	for (enum hash_kind k = HASH_TREE; k <= HASH_STATEMENT; k++)
		check_ok(
		    chunk_store_put_node(t->s, HASH_DEFAULT, k, BYTES_LIT("a node"), &id[k], &e),
		    e);
	test_store_commit(t);
	for (enum hash_kind k = HASH_TREE; k <= HASH_STATEMENT; k++) {
		hash_object(HASH_DEFAULT, k, BYTES_LIT("a node"), &want);
		assert_memory_equal(&id[k], &want, sizeof want);
		buf_reset(&out);
		buf_add(&out, "before", 6);
		check_ok(chunk_store_get_node(t->s, &id[k], &out, &e), e);
		assert_int_equal(out.len, 12);
		assert_memory_equal(out.at, "beforea node", 12);
	}
}

static void
a_chunk_is_no_node_and_a_node_no_chunk(void **state)
{
	struct test_store *t = *state;
	auto_free uint8_t *to = mem_alloc(CHUNK_MAX);
	auto_buf struct buf out = BUF(CHUNK_MAX);
	struct hash_id chunk = test_store_id(1), node;
	struct error e = { 0 };
	uint32_t len;

	test_store_put(t, 1, 2);
	check_ok(chunk_store_put_node(t->s, HASH_DEFAULT, HASH_TREE, BYTES_LIT("n"), &node, &e), e);
	check_err(chunk_store_get_node(t->s, &chunk, &out, &e), ERR_NOTFOUND, e);
	check_err(chunk_store_get_chunk(t->s, &node, to, &len, NULL, &e), ERR_NOTFOUND, e);
	check_err(chunk_store_get_leaves(t->s, &node, 0, 1, to, &len, NULL, &e), ERR_NOTFOUND, e);
	buf_clear(&out);
	out.max = 0;
	check_err(chunk_store_get_node(t->s, &node, &out, &e), ERR_LIMIT, e);
}

static void
bytes_that_are_not_the_chunk_are_refused(void **state)
{
	struct test_store *t = *state;
	auto_free uint8_t *big = mem_zalloc(CHUNK_MAX + 1);
	struct hash_id id = test_store_id(3), none = { 0 };
	struct error e = { 0 };

	check_err(
	    chunk_store_put_chunk(t->s, &id, BYTES_LIT("other"), NULL, false, &e), ERR_CORRUPT, e);
	check_err(
	    chunk_store_put_chunk(t->s, &id, BYTES_LIT("other"), NULL, true, &e), ERR_CORRUPT, e);
	check_err(chunk_store_put_chunk(t->s, &id, BYTES("", 0), NULL, false, &e), ERR_LIMIT, e);
	check_err(chunk_store_put_chunk(t->s, &id, BYTES(big, CHUNK_MAX + 1), NULL, false, &e),
	    ERR_LIMIT, e);
	check_err(chunk_store_put_chunk(t->s, &none, BYTES_LIT("other"), NULL, false, &e),
	    ERR_CORRUPT, e);
	check_err(chunk_store_put_node(t->s, HASH_DEFAULT, HASH_TREE, BYTES("", 0), NULL, &e),
	    ERR_LIMIT, e);
	check_err(chunk_store_put_node(t->s, HASH_DEFAULT, HASH_TREE,
		      BYTES(big, CHUNK_STORE_NODE_MAX + 1), NULL, &e),
	    ERR_LIMIT, e);
	assert_false(chunk_store_has(t->s, &id));
}

static void
the_same_object_is_stored_once(void **state)
{
	struct test_store *t = *state;

	test_store_put(t, 0, 30);
	test_store_put(t, 0, 30); /* pending */
	test_store_commit(t);
	uint64_t bytes = test_store_stats(t).pack_bytes;
	test_store_put(t, 0, 30); /* indexed */
	test_store_commit(t);
	struct chunk_store_stats st = test_store_stats(t);
	assert_int_equal(st.objects, 30);
	assert_int_equal(st.pack_bytes, bytes);
	assert_int_equal(st.dead_bytes, 0);
}

static void
both_algorithms_lie_side_by_side(void **state)
{
	struct test_store *t = *state;
	struct hash_id a, b;
	struct error e = { 0 };
	uint8_t to[16];
	uint32_t len;

	chunk_id_of(HASH_SHA256, BYTES_LIT("hello"), NULL, &a);
	chunk_id_of(HASH_SHA512_256, BYTES_LIT("hello"), NULL, &b);
	check_ok(chunk_store_put_chunk(t->s, &a, BYTES_LIT("hello"), NULL, false, &e), e);
	assert_false(chunk_store_has(t->s, &b));
	check_ok(chunk_store_put_chunk(t->s, &b, BYTES_LIT("hello"), NULL, false, &e), e);
	test_store_commit(t);
	check_ok(chunk_store_get_chunk(t->s, &b, to, &len, NULL, &e), e);
	assert_int_equal(test_store_stats(t).objects, 2);
}

static void
packing_is_seen_in_the_sums(void **state)
{
	struct test_store *t = *state;

	test_store_put(t, 0, 60);
	test_store_commit(t);
	struct chunk_store_stats st = test_store_stats(t);
	uint64_t raw = 0;
	for (uint64_t i = 0; i < 60; i++)
		raw += test_store_len(i);
	assert_int_equal(st.objects, 60);
	assert_int_equal(st.raw_bytes, raw);
	assert_true(st.packed_bytes < raw * 8 / 10);
	assert_true(st.packs > 2);
	assert_true(st.pack_bytes > st.packed_bytes);
}

/* Every run of leaves of a raw and of a packed chunk, pending and indexed. */
static void
leaves_are_served_one_by_one_and_in_runs(void **state)
{
	struct test_store *t = *state;
	auto_free uint8_t *want = mem_alloc(CHUNK_MAX), *got = mem_alloc(CHUNK_MAX);
	struct leaf_list l;
	struct error e = { 0 };

	test_store_put(t, 14, 15);
	test_store_put(t, 21, 22);
	for (unsigned round = 0; round < 2; round++, test_store_commit(t)) {
		for (uint64_t i = 14; i <= 21; i += 7) {
			struct hash_id id = test_store_id(i);
			uint32_t n = test_store_content(i, want), len = 0,
				 leaves = chunk_id_leaf_count(n);
			for (uint32_t run = 0; run < leaves * leaves; run++) {
				uint32_t first = run / leaves, some = run % leaves + 1;
				uint32_t end = min_of((first + some) * (uint32_t)CHUNK_LEAF, n);
				enum err r = chunk_store_get_leaves(
				    t->s, &id, first, some, got, &len, &l, &e);
				if (first + some > leaves) {
					check_err(r, ERR_LIMIT, e);
					continue;
				}
				check_ok(r, e);
				assert_int_equal(len, end - first * CHUNK_LEAF);
				assert_memory_equal(got, want + (size_t)first * CHUNK_LEAF, len);
				assert_true(chunk_id_leaves_match(&id, n, &l));
			}
			check_err(chunk_store_get_leaves(t->s, &id, 0, 0, got, &len, &l, &e),
			    ERR_LIMIT, e);
			check_err(
			    chunk_store_get_leaves(t->s, &id, UINT32_MAX, 2, got, &len, &l, &e),
			    ERR_LIMIT, e);
		}
	}
}

static void
has_many_answers_each(void **state)
{
	struct test_store *t = *state;
	struct {
		uint32_t other;
		struct hash_id id;
		uint8_t more[3];
	} rows[20];
	bool have[20];
	struct error e = { 0 };

	test_store_put(t, 0, 5);
	test_store_commit(t);
	test_store_put(t, 5, 10);
	for (size_t i = 0; i < 20; i++)
		rows[i].id = test_store_id((i * 7) % 20);
	check_ok(chunk_store_has_many(t->s, &rows[0].id, 20, sizeof rows[0], have, &e), e);
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(have[i], (i * 7) % 20 < 10);
}

static void
the_second_owner_is_turned_away(void **state)
{
	struct test_store *t = *state;
	struct chunk_store *other = NULL;
	struct error e = { 0 };

	check_err(chunk_store_open(t->path, &t->opts, &other, &e), ERR_AGAIN, e);
	assert_null(other);
}

static void
a_store_is_not_made_in_nowhere(void **state)
{
	struct test_store *t = *state;
	struct chunk_store *other = NULL;
	auto_free char *nowhere = str_printf("%s/no/such", t->dir.path),
		       *file = str_printf("%s/file", t->dir.path);
	auto_free char *slashes = str_printf("%s/new//", t->dir.path);
	struct error e = { 0 };

	check_put(&t->dir, "file", "x", 1);
	check_err(chunk_store_open(nowhere, &t->opts, &other, &e), ERR_NOTFOUND, e);
	check_err(chunk_store_open(file, &t->opts, &other, &e), ERR_IO, e);
	check_ok(chunk_store_open(slashes, &t->opts, &other, &e), e);
	chunk_store_close(other);
}

/* A put that never commits holds a bounded number of rows: they are committed for it. */
static void
memory_stays_small_without_commits(void **state)
{
	struct test_store *t = *state;
	struct error e = { 0 };

	for (uint32_t i = 0; i < 40000; i++)
		check_ok(
		    chunk_store_put_node(t->s, HASH_DEFAULT, HASH_TREE, BYTES_OF(i), NULL, &e), e);
	struct chunk_store_stats st = test_store_stats(t);
	assert_true(st.objects >= 32 * 1024);
	test_store_commit(t);
	assert_int_equal(test_store_stats(t).objects, 40000);
}

/* -- threads -- */

struct worker {
	struct test_store *t;
	pthread_t thread;
	uint64_t from, to;
};

static void *
put_commit_get(void *arg)
{
	struct worker *w = arg;
	struct error e = { 0 };

	for (uint64_t i = w->from; i < w->to; i++) {
		check_ok(test_store_try_put(w->t->s, i, &e), e);
		if (i % 5 == 0)
			check_ok(chunk_store_commit(w->t->s, &e), e);
		check_ok(test_store_try_get(w->t->s, i, &e), e);
	}
	check_ok(chunk_store_commit(w->t->s, &e), e);
	return NULL;
}

static void
many_threads_put_overlapping_objects(void **state)
{
	struct test_store *t = *state;
	struct worker w[6];

	for (size_t i = 0; i < lengthof(w); i++) {
		w[i] = (struct worker){ .t = t, .from = i * 10, .to = i * 10 + 40 };
		assert_int_equal(pthread_create(&w[i].thread, NULL, put_commit_get, &w[i]), 0);
	}
	for (size_t i = 0; i < lengthof(w); i++)
		pthread_join(w[i].thread, NULL);
	test_store_reopen(t);
	test_store_get(t, 0, 90);
	assert_int_equal(test_store_stats(t).objects, 90);
	assert_int_equal(test_store_check(t), 0);
}

/* A file may not grow beyond this: writing fails as on a full disk. */
static void
limit_files(uint64_t bytes)
{
	struct rlimit l = { bytes, RLIM_INFINITY };

	assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

static void
a_failed_write_loses_nothing_and_is_made_good(void **state)
{
	struct test_store *t = *state;
	struct error e = { 0 };
	enum err r = OK;
	uint64_t n = 0;

	signal(SIGXFSZ, SIG_IGN);
	t->opts.pack_bytes = 64 * 1024 * 1024;
	test_store_reopen(t);
	test_store_put(t, 1000, 1004);
	test_store_commit(t);
	limit_files(600 * 1024);
	for (; r == OK && n < 200; n++)
		r = test_store_try_put(t->s, n, &e);
	check_err(r, ERR_IO, e);
	check_err(chunk_store_commit(t->s, &e), ERR_IO, e);
	test_store_get(t, 0, n - 1); /* what was accepted is still seen */
	limit_files(RLIM_INFINITY);
	test_store_put(t, n - 1, n + 5);
	test_store_commit(t);
	test_store_reopen(t);
	test_store_get(t, 0, n + 5);
	test_store_get(t, 1000, 1004);
	assert_int_equal(test_store_check(t), 0);
}

/* A disk that is really full: what was committed stays, and with room everything goes on. */
static void
a_full_disk_is_told_and_survived(void **state)
{
	struct test_store *t = *state;
	auto_free char *mount = str_printf("%s/full", t->dir.path),
		       *ballast = str_printf("%s/ballast", mount);
	struct error e = { 0 };
	uint64_t n = 0;
	enum err r = OK;

	assert_int_equal(mkdir(mount, 0700), 0);
	if (!check_mount_tmpfs(mount, 6 << 20))
		skip();
	int fd = open(ballast, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(posix_fallocate(fd, 0, 2 << 20), 0);
	close(fd);
	chunk_store_close(t->s);
	snprintf(t->path, sizeof t->path, "%s/store", mount);
	test_store_open(t);
	test_store_put(t, 1000, 1010);
	test_store_commit(t);
	for (; r == OK && n < 400; n++)
		r = test_store_try_put(t->s, n, &e);
	if (r == OK)
		r = chunk_store_commit(t->s, &e);
	check_err(r, ERR_NOSPACE, e);
	test_store_get(t, 1000, 1010);
	test_store_get(t, 0, n - 1);
	assert_int_equal(unlink(ballast), 0);
	test_store_put(t, 0, n);
	test_store_commit(t);
	test_store_reopen(t);
	test_store_get(t, 0, n);
	test_store_get(t, 1000, 1010);
	check_ok(chunk_store_gc_begin(t->s, &e), e);
	check_ok(chunk_store_gc_sweep(t->s, NULL, &e), e);
	test_store_put(t, 0, n);
	test_store_commit(t);
	assert_int_equal(test_store_check(t), 0);
	chunk_store_close(t->s);
	t->s = NULL;
	check_unmount(mount);
}

#define store_test(f) cmocka_unit_test_setup_teardown(f, test_store_setup, test_store_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		store_test(what_is_put_is_there_before_and_after_commit),
		store_test(nodes_of_every_kind_come_back_under_their_names),
		store_test(a_chunk_is_no_node_and_a_node_no_chunk),
		store_test(bytes_that_are_not_the_chunk_are_refused),
		store_test(the_same_object_is_stored_once),
		store_test(both_algorithms_lie_side_by_side),
		store_test(packing_is_seen_in_the_sums),
		store_test(leaves_are_served_one_by_one_and_in_runs),
		store_test(has_many_answers_each),
		store_test(the_second_owner_is_turned_away),
		store_test(a_store_is_not_made_in_nowhere),
		store_test(memory_stays_small_without_commits),
		store_test(many_threads_put_overlapping_objects),
		store_test(a_full_disk_is_told_and_survived),
		store_test(a_failed_write_loses_nothing_and_is_made_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
