#include "tests/check.h"

#include "base/mem.h"
#include "base/rng.h"
#include "chunk/mark_set.h"

static struct hash_id
id_of(uint64_t head, uint8_t tail)
{
	struct hash_id id = { .alg = HASH_SHA256, .bytes[20] = tail };

	for (unsigned i = 0; i < 7; i++)
		id.bytes[i] = (uint8_t)(head >> (48 - 8 * i));
	return id;
}

static void
add(struct mark_set *m, struct hash_id id)
{
	struct error e = { 0 };

	check_ok(mark_set_add(m, &id, &e), e);
}

static bool
has(struct mark_set *m, struct hash_id id)
{
	return mark_set_has(m, &id);
}

static void
make(struct mark_set *m)
{
	struct check_dir d = check_dir_make_fast();
	struct error e = { 0 };

	check_ok(mark_set_init(m, d.fd, &e), e);
	check_dir_remove(&d); /* it has no name there */
}

static void
every_mark_is_found_and_nothing_else(void **state)
{
	(void)state;
	struct mark_set m = { 0 };
	struct rng r;

	/* Even numbers in a shuffled order, every second one twice. */
	rng_seed(&r, 1);
	make(&m);
	for (uint64_t i = 0; i < 30000; i++)
		add(&m, id_of(i * 7919 % 20000 * 2, (uint8_t)rng_u64(&r)));
	mark_set_sort(&m);
	for (uint64_t v = 0; v < 40000; v++)
		assert_int_equal(has(&m, id_of(v, 0)), v % 2 == 0);
	mark_set_clear(&m);
}

static void
random_marks_are_sorted(void **state)
{
	(void)state;
	enum { N = 300 * 1000 };
	auto_free uint64_t *v = mem_array(uint64_t, N);
	struct mark_set m = { 0 };
	struct rng r;

	make(&m);
	rng_seed(&r, 2);
	for (size_t i = 0; i < N; i++)
		add(&m, id_of(v[i] = rng_u64(&r) >> (8 + i % 40), 0));
	mark_set_sort(&m);
	for (uint64_t i = 1; i < m.marks.n; i++)
		assert_true(*(uint64_t *)big_array_at(&m.marks, i - 1) <=
			    *(uint64_t *)big_array_at(&m.marks, i));
	/* The same marks as were put in: their sum and their exclusive or. */
	uint64_t sum = 0, mix = 0;
	for (uint64_t i = 0; i < N; i++) {
		uint64_t mark = (uint64_t)HASH_SHA256 << 56 | v[i];
		uint64_t is = *(uint64_t *)big_array_at(&m.marks, i);
		sum += mark - is;
		mix ^= mark ^ is;
	}
	assert_int_equal(sum, 0);
	assert_int_equal(mix, 0);
	mark_set_clear(&m);
}

static void
an_empty_set_has_nothing(void **state)
{
	(void)state;
	struct mark_set m = { 0 };

	make(&m);
	mark_set_sort(&m);
	assert_false(has(&m, id_of(0, 0)));
	mark_set_clear(&m);
	mark_set_clear(&m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_mark_is_found_and_nothing_else),
		cmocka_unit_test(random_marks_are_sorted),
		cmocka_unit_test(an_empty_set_has_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
