#include "chunk/test_store.h"

#include <pthread.h>
#include <stdatomic.h>

#include "chunk/pack.h"

static void
begin(struct test_store *t)
{
	struct error e = { 0 };

	check_ok(chunk_store_gc_begin(t->s, &e), e);
}

static void
mark(struct test_store *t, uint64_t from, uint64_t to)
{
	struct error e = { 0 };

	for (uint64_t i = from; i < to; i++) {
		struct hash_id id = test_store_id(i);
		check_ok(chunk_store_gc_mark(t->s, &id, &e), e);
	}
}

static uint64_t
sweep(struct test_store *t)
{
	uint64_t freed = 0;
	struct error e = { 0 };

	check_ok(chunk_store_gc_sweep(t->s, &freed, &e), e);
	return freed;
}

static uint64_t
bytes_on_disk(struct test_store *t)
{
	uint64_t sum = 0;

	for (uint64_t n = 1; n < 200; n++) {
		struct stat st;
		int fd = test_store_open_pack(t, n);
		if (fd < 0)
			continue;
		assert_int_equal(fstat(fd, &st), 0);
		sum += (uint64_t)st.st_size;
		close(fd);
	}
	return sum;
}

static void
what_is_not_marked_goes_and_space_comes_back(void **state)
{
	struct test_store *t = *state;

	test_store_put(t, 0, 200);
	test_store_commit(t);
	uint64_t before = bytes_on_disk(t);
	begin(t);
	mark(t, 40, 80);
	uint64_t freed = sweep(t);
	test_store_get(t, 40, 80);
	test_store_get_none(t, 0, 40);
	test_store_get_none(t, 80, 200);
	/* But for the heads of packs that the copies began. */
	assert_in_range(bytes_on_disk(t) + freed - before, 0, 4 * PACK_HEAD);
	struct chunk_store_stats st = test_store_stats(t);
	assert_int_equal(st.objects, 40);
	assert_true(st.pack_bytes < before / 3);
	assert_int_equal(st.pack_bytes, bytes_on_disk(t));
	assert_int_equal(test_store_check(t), 0);
	test_store_reopen(t);
	test_store_get(t, 40, 80);
	test_store_get_none(t, 0, 40);
	test_store_get_none(t, 80, 200);
}

/* All that a small store has lies in the pack that is written to. */
static void
a_store_of_one_pack_shrinks_too(void **state)
{
	struct test_store *t = *state;

	test_store_put(t, 0, 6);
	test_store_commit(t);
	assert_int_equal(test_store_stats(t).packs, 1);
	uint64_t before = bytes_on_disk(t);
	begin(t);
	mark(t, 0, 6);
	(void)sweep(t);
	assert_int_equal(bytes_on_disk(t), before); /* all of it is alive: nothing is moved */
	begin(t);
	mark(t, 1, 6); /* the first one is by far the largest */
	(void)sweep(t);
	assert_int_equal(test_store_stats(t).packs, 1);
	assert_int_equal(test_store_stats(t).pack_bytes, bytes_on_disk(t));
	assert_true(bytes_on_disk(t) < before / 2);
	test_store_get(t, 1, 6);
	test_store_get_none(t, 0, 1);
	test_store_put(t, 0, 1);
	test_store_commit(t);
	assert_int_equal(test_store_check(t), 0);
	test_store_reopen(t);
	test_store_get(t, 0, 6);
}

static void
an_empty_set_of_marks_empties_the_store(void **state)
{
	struct test_store *t = *state;

	test_store_put(t, 0, 50);
	test_store_commit(t);
	begin(t);
	(void)sweep(t);
	test_store_get_none(t, 0, 50);
	assert_int_equal(test_store_stats(t).objects, 0);
	assert_true(test_store_stats(t).packs <= 1); /* the one being written to */
	test_store_put(t, 0, 50);
	test_store_commit(t);
	test_store_get(t, 0, 50);
}

static void
what_is_put_or_touched_meanwhile_is_kept(void **state)
{
	struct test_store *t = *state;

	test_store_put(t, 0, 60);
	test_store_commit(t);
	test_store_put(t, 60, 70); /* pending when it begins, and not marked */
	begin(t);
	test_store_put(t, 100, 120); /* new */
	test_store_put(t, 10, 20);   /* there already: touched */
	test_store_put(t, 65, 67);   /* pending already: touched */
	struct hash_id asked[2] = { test_store_id(30), test_store_id(31) };
	bool have[2];
	struct error e = { 0 };
	check_ok(chunk_store_has_many(t->s, asked, 2, sizeof *asked, have, &e), e);
	mark(t, 0, 5);
	(void)sweep(t);
	test_store_get(t, 100, 120);
	test_store_get(t, 10, 20);
	test_store_get(t, 65, 67);
	test_store_get(t, 0, 5);
	test_store_get_none(t, 5, 10);
	test_store_get_none(t, 20, 30);
	test_store_get(t, 30, 32); /* somebody was told that they are here */
	test_store_get_none(t, 32, 65);
	test_store_get_none(t, 67, 70);
	/* Touches last for one collection. */
	begin(t);
	mark(t, 0, 5);
	(void)sweep(t);
	test_store_get_none(t, 10, 20);
	test_store_get_none(t, 100, 120);
	test_store_get(t, 0, 5);
}

static void
an_abandoned_collection_changes_nothing(void **state)
{
	struct test_store *t = *state;
	struct hash_id id = test_store_id(1);
	uint64_t freed;
	struct error e = { 0 };

	test_store_put(t, 0, 50);
	test_store_commit(t);
	begin(t);
	mark(t, 0, 10);
	chunk_store_gc_abort(t->s);
	chunk_store_gc_abort(t->s);
	test_store_get(t, 0, 50);
	begin(t);
	mark(t, 0, 10);
	test_store_reopen(t);
	test_store_get(t, 0, 50);
	check_err(chunk_store_gc_mark(t->s, &id, &e), ERR_BUG, e);
	check_err(chunk_store_gc_sweep(t->s, &freed, &e), ERR_BUG, e);
}

static void
one_at_a_time(void **state)
{
	struct test_store *t = *state;
	uint64_t bad;
	struct error e = { 0 };

	test_store_put(t, 0, 5);
	begin(t);
	mark(t, 0, 5);
	check_err(chunk_store_gc_begin(t->s, &e), ERR_AGAIN, e);
	check_err(chunk_store_check(t->s, NULL, NULL, &bad, &e), ERR_AGAIN, e);
	(void)sweep(t); /* with the marks of the first */
	test_store_get(t, 0, 5);
	assert_int_equal(test_store_check(t), 0);
	begin(t);
	chunk_store_gc_abort(t->s);
}

static void
packs_more_than_half_alive_are_left_alone(void **state)
{
	struct test_store *t = *state;

	test_store_put(t, 0, 200);
	test_store_commit(t);
	uint64_t before = bytes_on_disk(t);
	begin(t);
	for (uint64_t i = 0; i < 200; i++)
		if (i % 7 == 0 || i % 10 != 3) /* all the big ones */
			mark(t, i, i + 1);
	assert_int_equal(sweep(t), 0);
	assert_int_equal(bytes_on_disk(t), before);
	struct chunk_store_stats st = test_store_stats(t);
	assert_true(st.dead_bytes > 0);
	/* They are dead, not gone: a rebuilt index finds them, which is no harm. */
	assert_int_equal(test_store_check(t), 0);
}

/* -- a writer and a reader while collections run -- */

struct busy {
	struct test_store *t;
	/* objects below this are marked by everybody and must be there at every moment */
	uint64_t kept;
	atomic_bool stop;
	pthread_t reader, writer;
};

static void *
read_on(void *arg)
{
	struct busy *b = arg;
	struct error e = { 0 };

	for (uint64_t i = 0; !b->stop; i++)
		check_ok(test_store_try_get(b->t->s, i % b->kept, &e), e);
	return NULL;
}

/* Puts what the sweep is deleting at the same time: an object just put must be there. */
static void *
put_on(void *arg)
{
	struct busy *b = arg;
	struct error e = { 0 };

	for (uint64_t i = 0; !b->stop; i++) {
		uint64_t which = b->kept + i * 13 % 150;
		check_ok(test_store_try_put(b->t->s, which, &e), e);
		if (i % 16 == 0)
			check_ok(chunk_store_commit(b->t->s, &e), e);
	}
	return NULL;
}

static void
collections_run_beside_readers_and_writers(void **state)
{
	struct test_store *t = *state;
	struct busy b = { .t = t, .kept = 50 };

	test_store_put(t, 0, 200);
	test_store_commit(t);
	assert_int_equal(pthread_create(&b.reader, NULL, read_on, &b), 0);
	assert_int_equal(pthread_create(&b.writer, NULL, put_on, &b), 0);
	for (unsigned round = 0; round < 12; round++) {
		begin(t);
		mark(t, 0, b.kept);
		/* Put between begin and sweep by this very thread: it must survive, whatever the
		 * writer does. */
		test_store_put(t, 300 + round * 3, 303 + round * 3);
		(void)sweep(t);
		test_store_get(t, 300 + round * 3, 303 + round * 3);
	}
	b.stop = true;
	pthread_join(b.reader, NULL);
	pthread_join(b.writer, NULL);
	test_store_commit(t);
	test_store_get(t, 0, b.kept);
	assert_int_equal(test_store_check(t), 0);
	test_store_reopen(t);
	test_store_get(t, 0, b.kept);
}

#define store_test(f) cmocka_unit_test_setup_teardown(f, test_store_setup, test_store_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		store_test(what_is_not_marked_goes_and_space_comes_back),
		store_test(a_store_of_one_pack_shrinks_too),
		store_test(an_empty_set_of_marks_empties_the_store),
		store_test(what_is_put_or_touched_meanwhile_is_kept),
		store_test(an_abandoned_collection_changes_nothing),
		store_test(one_at_a_time),
		store_test(packs_more_than_half_alive_are_left_alone),
		store_test(collections_run_beside_readers_and_writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
