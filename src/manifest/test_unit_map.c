#include "manifest/test_nodes.h"

#include "base/array.h"
#include "manifest/unit_map.h"

struct units {
	ARRAY(struct unit) v;
};

static struct units
cut(const uint32_t *lens, size_t n, uint32_t unit_size)
{
	struct units units = { 0 };
	struct unit_cutter c;
	struct unit out[CHUNK_LEAVES_MAX + 1];

	unit_cutter_init(&c, unit_size);
	for (size_t i = 0; i <= n; i++) {
		size_t k = i < n ? unit_cutter_add(&c, lens[i], out) : unit_cutter_end(&c, out);
		assert_true(k < lengthof(out));
		for (size_t j = 0; j < k; j++)
			array_push(&units.v, out[j]);
	}
	assert_int_equal(unit_cutter_end(&c, out), 0);
	return units;
}

/* Every leaf is in one unit, in order; units are within their bounds, and none could have taken the
 * next leaf too. */
static void
assert_partition(const uint32_t *lens, size_t n, uint32_t unit_size, const struct units *units)
{
	uint32_t chunk = 0, leaf = 0;

	array_each (u, &units->v) {
		struct unit_pieces p = unit_pieces_of(*u);
		uint32_t bytes = 0, leaves = 0, at;
		while (unit_pieces_more(&p, &at)) {
			assert_true(at < n);
			struct unit_piece piece = unit_pieces_next(&p, lens[at]);
			assert_int_equal(piece.chunk, chunk);
			assert_int_equal(piece.first_leaf, leaf);
			assert_int_equal(piece.unit_leaf, leaves);
			assert_true(piece.n_leaves > 0);
			for (uint32_t i = 0; i < piece.n_leaves; i++)
				bytes += chunk_id_leaf_len(lens[at], leaf + i);
			leaves += piece.n_leaves;
			leaf += piece.n_leaves;
			if (leaf == chunk_id_leaf_count(lens[at])) {
				chunk++;
				leaf = 0;
			}
		}
		assert_int_equal(bytes, u->bytes);
		assert_int_equal(leaves, u->n_leaves);
		assert_in_range(bytes, 1, unit_size);
		assert_in_range(leaves, 1, UNIT_LEAVES_MAX);
		if (chunk < n)
			assert_true(leaves == UNIT_LEAVES_MAX ||
				    bytes + chunk_id_leaf_len(lens[chunk], leaf) > unit_size);
	}
	assert_int_equal(chunk, n);
	assert_int_equal(leaf, 0);
}

static void
units_are_a_partition_of_all_leaves(void **state)
{
	(void)state;
	struct rng rng;

	rng_seed(&rng, any_seed());
	for (int round = 0; round < 400; round++) {
		uint32_t lens[3000];
		size_t n = rng_below(&rng, round % 4 == 0 ? lengthof(lens) : 50);
		uint64_t most = round % 3 == 0 ? 200 : round % 3 == 1 ? CHUNK_LEAF * 2 : CHUNK_MAX;
		for (size_t i = 0; i < n; i++)
			lens[i] = (uint32_t)(1 + rng_below(&rng, most));
		for (uint32_t size = UNIT_MIN; size <= UNIT_MAX; size *= 4) {
			struct units units = cut(lens, n, size);
			assert_partition(lens, n, size, &units);
			array_clear(&units.v);
		}
	}
}

static void
a_unit_is_part_of_a_chunk_or_many_files(void **state)
{
	(void)state;
	static const uint32_t big[] = { CHUNK_MAX };
	struct units units = cut(big, 1, UNIT_MIN);

	assert_int_equal(units.v.len, 16);
	for (size_t i = 0; i < units.v.len; i++)
		assert_int_equal(units.v.at[i].first_leaf, i);
	array_clear(&units.v);

	static uint32_t small[3000];
	for (size_t i = 0; i < lengthof(small); i++)
		small[i] = 10;
	units = cut(small, lengthof(small), UNIT_MAX);
	assert_int_equal(units.v.len, 3); /* by the number of leaves */
	assert_int_equal(units.v.at[0].n_leaves, UNIT_LEAVES_MAX);
	assert_int_equal(units.v.at[2].first_chunk, 2 * UNIT_LEAVES_MAX);
	assert_int_equal(units.v.at[2].bytes, 10 * (3000 - 2 * UNIT_LEAVES_MAX));
	array_clear(&units.v);
	units = cut(NULL, 0, UNIT_MAX);
	assert_int_equal(units.v.len, 0);
}

static void
what_was_cut_does_not_depend_on_what_follows(void **state)
{
	(void)state;
	uint32_t lens[200];
	struct rng rng;

	rng_seed(&rng, 3);
	for (size_t i = 0; i < lengthof(lens); i++)
		lens[i] = (uint32_t)(1 + rng_below(&rng, CHUNK_MAX));
	struct units all = cut(lens, lengthof(lens), 1 << 20);
	for (size_t n = 0; n < lengthof(lens); n += 7) {
		struct units some = cut(lens, n, 1 << 20);
		for (size_t i = 0; i + 1 < some.v.len; i++)
			assert_memory_equal(&some.v.at[i], &all.v.at[i], sizeof some.v.at[i]);
		array_clear(&some.v);
	}
	array_clear(&all.v);
}

static void
the_unit_size_follows_from_bytes_and_receivers(void **state)
{
	(void)state;
	static const struct {
		uint64_t bytes, receivers;
		uint32_t want;
	} cases[] = {
		{ 0, 0, UNIT_MIN },
		{ UINT64_MAX, 1, UNIT_MAX },
		{ (uint64_t)1 << 30, 0, 4 << 20 },       /* as for one */
		{ (uint64_t)1 << 30, 1, 4 << 20 },       /* 1 GiB / 256 */
		{ ((uint64_t)1 << 30) - 1, 1, 2 << 20 }, /* just below */
		{ (uint64_t)1 << 30, 2, 2 << 20 },       /* ceil(log2 3) = 2 */
		{ (uint64_t)1 << 30, 3, 2 << 20 },       /* log2 4 = 2 */
		{ (uint64_t)1 << 30, 4, 1 << 20 },       /* ceil(log2 5) = 3: 1.33 MiB */
		{ (uint64_t)1 << 30, 12, 1 << 20 },
		{ (uint64_t)1 << 30, 100, 512 << 10 },  /* 7: 585 KiB */
		{ (uint64_t)1 << 30, 1000, 256 << 10 }, /* 10: 409 KiB */
		{ 64 << 20, 100, UNIT_MIN },
		{ (uint64_t)1 << 50, UINT64_MAX, UNIT_MAX },
	};

	for (size_t i = 0; i < lengthof(cases); i++) {
		uint32_t got = unit_map_size(cases[i].bytes, cases[i].receivers);
		if (got != cases[i].want)
			unit_fail("%llu bytes to %llu: %u, not %u",
			    (unsigned long long)cases[i].bytes,
			    (unsigned long long)cases[i].receivers, got, cases[i].want);
	}
}

static void
sizes_are_powers_of_two_within_bounds(void **state)
{
	static const uint64_t bad[] = { 0, 1, UNIT_MIN / 2, UNIT_MIN - 1, UNIT_MIN + 1,
		3 * UNIT_MIN, UNIT_MAX - 1, UNIT_MAX + 1, 2 * UNIT_MAX, (uint64_t)1 << 48,
		UINT64_MAX };

	(void)state;
	for (size_t i = 0; i < lengthof(bad); i++)
		assert_false(unit_map_is_size(bad[i]));
	for (uint64_t n = UNIT_MIN; n <= UNIT_MAX; n *= 2)
		assert_true(unit_map_is_size(n));
	for (uint64_t bytes = 1; bytes < (uint64_t)1 << 50; bytes *= 3)
		assert_true(unit_map_is_size(unit_map_size(bytes, bytes % 1000)));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_are_a_partition_of_all_leaves),
		cmocka_unit_test(a_unit_is_part_of_a_chunk_or_many_files),
		cmocka_unit_test(what_was_cut_does_not_depend_on_what_follows),
		cmocka_unit_test(the_unit_size_follows_from_bytes_and_receivers),
		cmocka_unit_test(sizes_are_powers_of_two_within_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
