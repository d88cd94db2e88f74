#include "tests/check.h"

#include "base/mem.h"
#include "chunk/chunk_id.h"
#include "tests/seeded.h"

/* The definition of docs/format-chunk.md, by hand. */
static void
an_id_is_the_hash_of_length_and_leaf_hashes(void **state)
{
	(void)state;
	size_t n = CHUNK_LEAF + 1;
	auto_free uint8_t *b = seeded_bytes(1, n);
	uint8_t list[2][HASH_BYTES], len[8] = { 1, 0, 1 };
	struct hash_id want, is;

	for (int alg = HASH_SHA256; alg <= HASH_SHA512_256; alg++) {
		hash_leaf(alg, BYTES(b, CHUNK_LEAF), list[0]);
		hash_leaf(alg, BYTES(b + CHUNK_LEAF, 1), list[1]);
		hash_object2(alg, HASH_CHUNK, BYTES_OF(len), BYTES_OF(list), &want);
		chunk_id_of(alg, BYTES(b, n), NULL, &is);
		assert_memory_equal(&is, &want, sizeof is);
	}
}

static void
a_chunk_of_one_leaf_is_named_by_its_list_too(void **state)
{
	(void)state;
	struct leaf_list l;
	struct hash_id id, leaf = { .alg = HASH_SHA256 };

	chunk_id_of(HASH_SHA256, BYTES_LIT("hello"), &l, &id);
	hash_leaf(HASH_SHA256, BYTES_LIT("hello"), leaf.bytes);
	assert_int_equal(l.n, 1);
	assert_memory_equal(l.hash[0], leaf.bytes, HASH_BYTES);
	assert_false(hash_id_equal(&id, &leaf));
}

static void
leaves_have_the_lengths_that_the_chunk_says(void **state)
{
	(void)state;
	static const struct {
		uint32_t len, leaves, last;
	} cases[] = {
		{ 1, 1, 1 },
		{ CHUNK_LEAF - 1, 1, CHUNK_LEAF - 1 },
		{ CHUNK_LEAF, 1, CHUNK_LEAF },
		{ CHUNK_LEAF + 1, 2, 1 },
		{ CHUNK_MAX, CHUNK_LEAVES_MAX, CHUNK_LEAF },
	};

	for (size_t i = 0; i < lengthof(cases); i++) {
		assert_int_equal(chunk_id_leaf_count(cases[i].len), cases[i].leaves);
		assert_int_equal(
		    chunk_id_leaf_len(cases[i].len, cases[i].leaves - 1), cases[i].last);
		if (cases[i].leaves > 1)
			assert_int_equal(chunk_id_leaf_len(cases[i].len, 0), CHUNK_LEAF);
	}
}

static void
a_chunk_matches_its_name_and_no_other_content_does(void **state)
{
	(void)state;
	size_t n = 3 * CHUNK_LEAF + 17;
	auto_free uint8_t *b = seeded_bytes(2, n);
	struct hash_id id;

	chunk_id_of(HASH_DEFAULT, BYTES(b, n), NULL, &id);
	assert_true(chunk_id_matches(&id, BYTES(b, n)));
	for (size_t at = 0; at < n; at += CHUNK_LEAF / 3) {
		b[at] ^= 1;
		assert_false(chunk_id_matches(&id, BYTES(b, n)));
		b[at] ^= 1;
	}
	assert_false(chunk_id_matches(&id, BYTES(b, n - 1)));
	id.alg = 77;
	assert_false(chunk_id_matches(&id, BYTES(b, n)));
}

static void
a_leaf_list_matches_only_with_its_length(void **state)
{
	(void)state;
	uint32_t n = 2 * CHUNK_LEAF;
	auto_free uint8_t *b = seeded_bytes(3, n);
	struct leaf_list l;
	struct hash_id id;

	chunk_id_of(HASH_DEFAULT, BYTES(b, n), &l, &id);
	assert_true(chunk_id_leaves_match(&id, n, &l));
	assert_false(chunk_id_leaves_match(&id, n - 1, &l)); /* as many leaves, another length */
	assert_false(chunk_id_leaves_match(&id, n + 1, &l)); /* more leaves than listed */
	assert_false(chunk_id_leaves_match(&id, 0, &l));
	assert_false(chunk_id_leaves_match(&id, CHUNK_MAX + 1, &l));
	l.hash[1][31] ^= 1;
	assert_false(chunk_id_leaves_match(&id, n, &l));
}

static void
the_empty_chunk_has_no_name(void **state)
{
	(void)state;
	struct hash_id id;

	chunk_id_of(HASH_DEFAULT, BYTES_LIT("x"), NULL, &id);
	assert_false(chunk_id_matches(&id, BYTES("", 0)));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_id_is_the_hash_of_length_and_leaf_hashes),
		cmocka_unit_test(a_chunk_of_one_leaf_is_named_by_its_list_too),
		cmocka_unit_test(leaves_have_the_lengths_that_the_chunk_says),
		cmocka_unit_test(a_chunk_matches_its_name_and_no_other_content_does),
		cmocka_unit_test(a_leaf_list_matches_only_with_its_length),
		cmocka_unit_test(the_empty_chunk_has_no_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
