#include "chunk/test_store.h"

#include "chunk/pack.h"

static void
an_undamaged_store_is_clean(void **state)
{
	struct test_store *t = *state;

	assert_int_equal(test_store_check(t), 0);
	test_store_put(t, 0, 60);
	assert_int_equal(test_store_check(t), 0); /* also what was not committed */
	assert_int_equal(test_store_stats(t).objects, 60);
}

static void
put_small_ones(struct test_store *t)
{
	test_store_put(t, 1, 7);
	test_store_put(t, 8, 14);
	test_store_put(t, 15, 21);
	test_store_commit(t);
}

/*
 * One flipped byte costs at most one object, and the check finds it before a get does.  Where the
 * objects lie cannot be asked from outside, so a byte is flipped at every so many; what was damaged
 * or rescued lies further on then, and its turn comes again.
 */
static void
every_damaged_byte_is_found_or_harmless(void **state)
{
	struct test_store *t = *state;
	uint64_t found = 0, tries = 0;
	struct stat st;

	t->opts.compress = false;
	test_store_reopen(t);
	put_small_ones(t);
	int fd = test_store_open_pack(t, 1);
	for (off_t at = PACK_HEAD; tries < 200; at += 97, tries++) {
		assert_int_equal(fstat(fd, &st), 0);
		assert_true(at < st.st_size);
		test_store_flip(fd, at);
		uint64_t bad = test_store_check(t);
		assert_true(bad <= 1);
		found += bad;
		put_small_ones(t);
		test_store_get(t, 1, 7);
		test_store_get(t, 8, 14);
		test_store_get(t, 15, 21);
		assert_int_equal(test_store_stats(t).objects, 18);
		test_store_flip(fd, at);
	}
	close(fd);
	assert_in_range(found, 5, 60); /* most flips hit what is dead by then */
	test_store_reopen(t);
	test_store_get(t, 1, 7);
}

struct told {
	struct hash_id id[200];
	size_t n;
};

static void
note(void *ctx, const struct hash_id *id, const struct error *why)
{
	struct told *told = ctx;

	assert_true(told->n < 200);
	assert_int_equal(why->code, ERR_CORRUPT);
	told->id[told->n++] = *id;
}

static void
each_damaged_object_is_named_once_and_forgotten(void **state)
{
	struct test_store *t = *state;
	struct told told = { .n = 0 }, again = { .n = 0 };
	uint64_t bad = 0;
	struct error e = { 0 };

	t->opts.compress = false;
	test_store_reopen(t);
	test_store_put(t, 0, 120);
	test_store_commit(t);
	uint64_t packs = test_store_stats(t).packs;
	/* Inside the first or second object: the big ones fill a pack by two. */
	for (uint64_t n = 1; n <= packs; n++)
		test_store_flip_in(t, n, 70000);
	check_ok(chunk_store_check(t->s, note, &told, &bad, &e), e);
	assert_int_equal(bad, told.n);
	assert_int_equal(bad, packs);
	for (size_t i = 0; i < told.n; i++) {
		assert_false(chunk_store_has(t->s, &told.id[i]));
		for (size_t k = 0; k < i; k++)
			assert_false(hash_id_equal(&told.id[i], &told.id[k]));
	}
	check_ok(chunk_store_check(t->s, note, &again, &bad, &e), e);
	assert_int_equal(bad, 0);
	assert_int_equal(test_store_stats(t).objects, 120 - told.n);
	test_store_put(t, 0, 120);
	test_store_commit(t);
	test_store_get(t, 0, 120);
}

/* A good object whose head is damaged would be lost with the index: the check copies it. */
static void
objects_behind_damaged_heads_are_rescued(void **state)
{
	struct test_store *t = *state;
	auto_free char *index = str_printf("%s/index.db", t->path);

	test_store_put(t, 0, 100);
	test_store_commit(t);
	uint64_t packs = test_store_stats(t).packs;
	test_store_flip_in(t, 1, PACK_HEAD + 2);
	test_store_flip_in(t, 2, 20); /* of the file */
	assert_int_equal(test_store_check(t), 0);
	assert_true(test_store_stats(t).packs >= packs);
	chunk_store_close(t->s);
	assert_int_equal(unlink(index), 0);
	test_store_open(t);
	test_store_get(t, 0, 100);
}

/* Of a hundred. */
static void
assert_some_are_named_and_put_again(struct test_store *t)
{
	uint64_t bad = test_store_check(t);

	assert_true(bad > 0);
	assert_int_equal(test_store_stats(t).objects, 100 - bad);
	assert_int_equal(test_store_check(t), 0);
	test_store_put(t, 0, 100);
	test_store_commit(t);
	test_store_get(t, 0, 100);
}

static void
objects_of_a_vanished_pack_are_named(void **state)
{
	struct test_store *t = *state;
	auto_free char *pack = str_printf("%s/packs/0000000000000003.pack", t->path);

	test_store_put(t, 0, 100);
	test_store_commit(t);
	/* So that the descriptor is not kept open from the puts. */
	test_store_reopen(t);
	assert_int_equal(unlink(pack), 0);
	assert_some_are_named_and_put_again(t);
}

/* As after a disk that lost writes: the check names what is gone, and does not give up. */
static void
objects_behind_the_end_of_a_shortened_pack_are_named(void **state)
{
	struct test_store *t = *state;
	struct stat st;

	test_store_put(t, 0, 100);
	test_store_commit(t);
	int fd = test_store_open_pack(t, 2);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(ftruncate(fd, st.st_size / 2), 0);
	close(fd);
	assert_some_are_named_and_put_again(t);
}

/* A file may hold what looks like a record of this very store; a walk that lost its way must not
 * take it for one. */
static void
content_that_imitates_a_record_is_not_taken_for_one(void **state)
{
	struct test_store *t = *state;
	struct pack_head forged = { .number = 1 };
	struct pack_record rec = { .id = test_store_id(7),
		.kind = HASH_CHUNK,
		.codec = CODEC_RAW,
		.raw_len = 100,
		.packed_len = 100 };
	uint8_t evil[5000] = { 0 };
	auto_free char *index = str_printf("%s/index.db", t->path);
	struct hash_id id;
	struct error e = { 0 };

	t->opts.compress = false;
	test_store_reopen(t);
	test_store_put(t, 7, 8);
	test_store_commit(t);
	pack_record_encode(&forged, &rec, evil + 1000);
	chunk_id_of(HASH_DEFAULT, BYTES_OF(evil), NULL, &id);
	check_ok(chunk_store_put_chunk(t->s, &id, BYTES_OF(evil), NULL, false, &e), e);
	test_store_commit(t);
	chunk_store_close(t->s);
	int fd = test_store_open_pack(t, 1);
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	test_store_flip(fd, st.st_size - 5000 - HASH_BYTES - 5); /* the check of its head */
	close(fd);
	assert_int_equal(unlink(index), 0);
	test_store_open(t);
	test_store_get(t, 7, 8);
	assert_false(chunk_store_has(t->s, &id));
	assert_int_equal(test_store_stats(t).objects, 1);
}

#define store_test(f) cmocka_unit_test_setup_teardown(f, test_store_setup, test_store_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		store_test(an_undamaged_store_is_clean),
		store_test(every_damaged_byte_is_found_or_harmless),
		store_test(each_damaged_object_is_named_once_and_forgotten),
		store_test(objects_behind_damaged_heads_are_rescued),
		store_test(objects_of_a_vanished_pack_are_named),
		store_test(objects_behind_the_end_of_a_shortened_pack_are_named),
		store_test(content_that_imitates_a_record_is_not_taken_for_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
