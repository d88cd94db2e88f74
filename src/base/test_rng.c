#include "tests/check.h"

#include "base/rng.h"

static void
one_seed_gives_one_sequence(void **state)
{
	/* xoshiro256** from splitmix64(0): simulations of old seeds must replay for ever. */
	static const uint64_t want[] = { 0x99ec5f36cb75f2b4, 0xbf6e1f784956452a, 0x1a5f849d4933e6e0,
		0x6aa594f1262d2d2c };
	struct rng r;

	(void)state;
	rng_seed(&r, 0);
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
		assert_true(rng_u64(&r) == want[i]);
}

static void
other_seeds_give_other_sequences(void **state)
{
	struct rng a, b;

	(void)state;
	rng_seed(&a, 1);
	rng_seed(&b, 2);
	assert_true(rng_u64(&a) != rng_u64(&b));
}

static void
below_stays_below_and_is_even(void **state)
{
	enum { SIDES = 6, THROWS = 60000 };
	unsigned seen[SIDES] = { 0 };
	struct rng r;

	(void)state;
	rng_seed(&r, 3);
	for (int i = 0; i < THROWS; i++) {
		uint64_t x = rng_below(&r, SIDES);
		assert_true(x < SIDES);
		seen[x]++;
	}
	for (int i = 0; i < SIDES; i++)
		assert_in_range(seen[i], THROWS / SIDES * 9 / 10, THROWS / SIDES * 11 / 10);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(rng_below(&r, 1), 0);
		assert_true(rng_below(&r, UINT64_MAX) < UINT64_MAX);
	}
}

static void
every_byte_is_filled_and_none_beyond(void **state)
{
	(void)state;
	for (size_t n = 0; n < 20; n++) {
		uint8_t a[24], ored[24] = { 0 };
		struct rng r;
		rng_seed(&r, n);
		for (int round = 0; round < 20; round++) {
			memset(a, 0, sizeof a);
			rng_fill(&r, a, n);
			for (size_t i = 0; i < sizeof a; i++)
				ored[i] |= a[i];
		}
		for (size_t i = 0; i < sizeof ored; i++)
			assert_int_equal(ored[i] != 0, i < n);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_seed_gives_one_sequence),
		cmocka_unit_test(other_seeds_give_other_sequences),
		cmocka_unit_test(below_stays_below_and_is_even),
		cmocka_unit_test(every_byte_is_filled_and_none_beyond),
	};

	return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
