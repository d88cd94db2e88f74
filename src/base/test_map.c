#include "tests/check.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/rng.h"

static void
a_key_is_found_until_it_is_deleted(void **state)
{
	auto_(map_clear) struct map m = { 0 };
	bool is_new = false;

	(void)state;
	assert_null(map_find(&m, BYTES_LIT("a")));
	assert_false(map_del(&m, BYTES_LIT("a")));
	struct map_slot *s = map_put(&m, BYTES_LIT("a"), &is_new);
	assert_true(is_new);
	assert_int_equal(s->num, 0);
	s->num = 7;
	assert_int_equal(map_put(&m, BYTES_LIT("a"), &is_new)->num, 7);
	assert_false(is_new);
	assert_int_equal(map_find(&m, BYTES_LIT("a"))->num, 7);
	assert_null(map_find(&m, BYTES_LIT("")));
	assert_true(map_del(&m, BYTES_LIT("a")));
	assert_null(map_find(&m, BYTES_LIT("a")));
	assert_int_equal(m.len, 0);
}

static void
keys_are_any_bytes_and_copied(void **state)
{
	auto_(map_clear) struct map m = { 0 };
	char key[20] = "0123456789abcdef";
	int x;

	(void)state;
	for (size_t n = 0; n < sizeof key; n++)
		map_put(&m, BYTES(key, n), NULL)->num = n;
	map_put(&m, BYTES_LIT("\0"), NULL)->num = 100;
	map_put(&m, BYTES_LIT("\0\0"), NULL)->num = 101;
	memset(key, 'x', 5);
	assert_null(map_find(&m, BYTES(key, 5)));
	assert_int_equal(map_find(&m, BYTES_LIT("01234"))->num, 5);
	assert_int_equal(map_find(&m, BYTES_LIT(""))->num, 0);
	assert_int_equal(map_find(&m, BYTES_LIT("\0\0"))->num, 101);
	map_put(&m, BYTES_LIT("p"), NULL)->ptr = &x;
	assert_ptr_equal(map_ptr(&m, BYTES_LIT("p")), &x);
	assert_null(map_ptr(&m, BYTES_LIT("q")));
}

enum { KEYS = 3000, STEPS = 200000 };

/* Against a plain table of what should be there. */
static void
many_steps_agree_with_a_plain_table(void **state)
{
	auto_(map_clear) struct map m = { 0 };
	auto_free uint64_t *want = mem_array(uint64_t, KEYS);
	size_t len = 0;
	struct rng dice;

	(void)state;
	rng_seed(&dice, 1);
	for (int step = 0; step < STEPS; step++) {
		uint64_t k = rng_below(&dice, KEYS);
		struct bytes key = BYTES_OF(k);
		if (rng_below(&dice, 2) == 0) {
			len += want[k] == 0;
			want[k] = (uint64_t)step + 1;
			map_put(&m, key, NULL)->num = want[k];
		} else {
			assert_int_equal(map_del(&m, key), want[k] != 0);
			len -= want[k] != 0;
			want[k] = 0;
		}
		assert_int_equal(m.len, len);
	}
	size_t seen = 0;
	map_each (slot, &m) {
		uint64_t k;
		assert_int_equal(slot->key_len, sizeof k);
		memcpy(&k, slot->key, sizeof k);
		assert_int_equal(slot->num, want[k]);
		seen++;
	}
	assert_int_equal(seen, len);
	for (uint64_t k = 0; k < KEYS; k++) {
		struct map_slot *slot = map_find(&m, BYTES_OF(k));
		assert_int_equal(slot != NULL ? slot->num : 0, want[k]);
	}
}

static void
a_cleared_map_is_empty_and_usable(void **state)
{
	struct map m = { 0 };

	(void)state;
	map_each (slot, &m)
		assert_null(slot);
	map_put(&m, BYTES_LIT("a"), NULL);
	map_clear(&m);
	assert_int_equal(m.len, 0);
	assert_null(map_find(&m, BYTES_LIT("a")));
	map_put(&m, BYTES_LIT("b"), NULL);
	assert_int_equal(m.len, 1);
	map_clear(&m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_is_found_until_it_is_deleted),
		cmocka_unit_test(keys_are_any_bytes_and_copied),
		cmocka_unit_test(many_steps_agree_with_a_plain_table),
		cmocka_unit_test(a_cleared_map_is_empty_and_usable),
	};

	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
