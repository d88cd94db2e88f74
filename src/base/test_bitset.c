#include "tests/check.h"

#include "base/bitset.h"
#include "base/rng.h"

static void
bits_are_set_and_unset_once(void **state)
{
	auto_(bitset_clear) struct bitset s = { 0 };

	(void)state;
	assert_false(bitset_has(&s, 0));
	assert_int_equal(bitset_next(&s, 0, false), 0);
	bitset_init(&s, 130);
	assert_true(bitset_set(&s, 129));
	assert_false(bitset_set(&s, 129));
	assert_true(bitset_has(&s, 129));
	assert_false(bitset_has(&s, 128));
	assert_false(bitset_has(&s, 130));
	assert_int_equal(s.count, 1);
	assert_true(bitset_unset(&s, 129));
	assert_false(bitset_unset(&s, 129));
	assert_int_equal(s.count, 0);
}

static void
the_end_is_not_a_bit(void **state)
{
	(void)state;
	for (size_t n = 0; n <= 130; n++) {
		auto_(bitset_clear) struct bitset s = { 0 };
		bitset_init(&s, n);
		assert_int_equal(bitset_next(&s, 0, true), n);
		assert_int_equal(bitset_next(&s, 0, false), 0);
		for (size_t i = 0; i < n; i++)
			bitset_set(&s, i);
		assert_int_equal(s.count, n);
		assert_int_equal(bitset_next(&s, 0, false), n);
		assert_int_equal(bitset_next(&s, n, true), n);
		assert_int_equal(bitset_next(&s, n + 100, true), n);
	}
}

static void
the_next_bit_is_the_one_a_plain_walk_finds(void **state)
{
	enum { BITS = 300 };
	auto_(bitset_clear) struct bitset s = { 0 };
	struct rng dice;

	(void)state;
	rng_seed(&dice, 2);
	bitset_init(&s, BITS);
	for (int i = 0; i < 40; i++)
		bitset_set(&s, rng_below(&dice, BITS));
	for (int value = 0; value < 2; value++) {
		for (size_t from = 0; from <= BITS; from++) {
			size_t want = from;
			while (want < BITS && bitset_has(&s, want) != (value == 1))
				want++;
			assert_int_equal(bitset_next(&s, from, value == 1), want);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_are_set_and_unset_once),
		cmocka_unit_test(the_end_is_not_a_bit),
		cmocka_unit_test(the_next_bit_is_the_one_a_plain_walk_finds),
	};

	return cmocka_run_group_tests_name("bitset", tests, NULL, NULL);
}
