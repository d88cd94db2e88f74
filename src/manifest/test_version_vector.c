#include "manifest/test_nodes.h"

#include "manifest/version_vector.h"

static struct device_id
device(uint8_t n)
{
	struct device_id d = { { n } };

	return d;
}

static void
raise_to(struct version_vector *vv, uint8_t n, uint64_t seq)
{
	struct device_id d = device(n);

	version_vector_raise(vv, &d, seq);
}

static uint64_t
get(const struct version_vector *vv, uint8_t n)
{
	struct device_id d = device(n);

	return version_vector_get(vv, &d);
}

static struct version_vector
random_vector(struct rng *rng)
{
	struct version_vector vv = { 0 };

	for (uint64_t i = rng_below(rng, 12); i > 0; i--)
		raise_to(&vv, (uint8_t)rng_below(rng, 8), rng_below(rng, 5));
	return vv;
}

static void
counts_only_rise_and_lie_in_order(void **state)
{
	(void)state;
	auto_(version_vector_clear) struct version_vector vv = { 0 };

	assert_int_equal(get(&vv, 1), 0);
	raise_to(&vv, 5, 3);
	raise_to(&vv, 1, 7);
	raise_to(&vv, 9, 1);
	raise_to(&vv, 5, 2);
	raise_to(&vv, 1, 8);
	raise_to(&vv, 2, 0); /* no entry for nothing */
	assert_int_equal(vv.v.len, 3);
	assert_int_equal(get(&vv, 1), 8);
	assert_int_equal(get(&vv, 5), 3);
	assert_int_equal(get(&vv, 9), 1);
	assert_int_equal(get(&vv, 2), 0);
	for (size_t i = 1; i < vv.v.len; i++)
		assert_true(
		    memcmp(&vv.v.at[i - 1].device, &vv.v.at[i].device, DEVICE_ID_BYTES) < 0);
}

static void
merging_is_the_least_that_covers_both(void **state)
{
	(void)state;
	struct rng rng;

	rng_seed(&rng, any_seed());
	for (int i = 0; i < 3000; i++) {
		auto_(version_vector_clear) struct version_vector a = random_vector(&rng),
								  b = random_vector(&rng);
		auto_(version_vector_clear) struct version_vector ab = { 0 }, ba = { 0 };
		version_vector_copy(&ab, &a);
		version_vector_merge(&ab, &b);
		version_vector_copy(&ba, &b);
		version_vector_merge(&ba, &a);
		assert_true(version_vector_equal(&ab, &ba));
		assert_true(version_vector_covers(&ab, &a) && version_vector_covers(&ab, &b));
		for (uint8_t d = 0; d < 8; d++)
			assert_int_equal(get(&ab, d), max_of(get(&a, d), get(&b, d)));
		version_vector_merge(&ab, &ab);
		version_vector_merge(&ab, &a);
		assert_true(version_vector_equal(&ab, &ba));
		bool covers = true;
		for (uint8_t d = 0; d < 8; d++)
			covers = covers && get(&a, d) >= get(&b, d);
		assert_int_equal(version_vector_covers(&a, &b), covers);
	}
}

static void
it_comes_back_from_its_bytes_and_no_others(void **state)
{
	(void)state;
	struct rng rng;

	rng_seed(&rng, any_seed());
	for (int i = 0; i < 500; i++) {
		auto_(version_vector_clear) struct version_vector vv = random_vector(&rng),
								  back = { 0 };
		auto_buf struct buf b = BUF(1000);
		version_vector_encode(&vv, &b);
		struct reader r = reader_over(buf_bytes(&b));
		assert_ok(version_vector_decode(&r, &back, &unit_error));
		assert_true(reader_done(&r));
		assert_true(version_vector_equal(&vv, &back));
		for (size_t n = 0; n < b.len; n++) {
			auto_(version_vector_clear) struct version_vector none = { 0 };
			r = reader_over(BYTES(b.at, n));
			assert_err(ERR_PROTO, version_vector_decode(&r, &none, &unit_error));
			assert_int_equal(none.v.len, 0);
		}
	}
}

/* DEVICES: first bytes of ids, SEQS beside them. */
static enum err
decode(uint64_t n, const char *devices, const char *seqs)
{
	auto_(version_vector_clear) struct version_vector vv = { 0 };
	auto_buf struct buf b = BUF(1000);

	buf_varint(&b, n);
	for (size_t i = 0; devices[i] != 0; i++) {
		struct device_id d = device((uint8_t)devices[i]);
		buf_add(&b, &d, sizeof d);
		buf_u8(&b, (uint8_t)(seqs[i] - '0'));
	}
	struct reader r = reader_over(buf_bytes(&b));
	return version_vector_decode(&r, &vv, NULL);
}

static void
disorder_and_absurd_counts_are_refused(void **state)
{
	(void)state;
	assert_int_equal(decode(2, "ab", "11"), OK);
	assert_int_equal(decode(0, "", ""), OK);
	assert_int_equal(decode(2, "ba", "11"), ERR_PROTO);
	assert_int_equal(decode(2, "aa", "12"), ERR_PROTO);
	assert_int_equal(decode(2, "ab", "10"), ERR_PROTO);
	assert_int_equal(decode(3, "ab", "11"), ERR_PROTO);
	assert_int_equal(decode(VERSION_VECTOR_MAX + 1, "ab", "11"), ERR_PROTO);
	assert_int_equal(decode(UINT64_MAX, "ab", "11"), ERR_PROTO);
}

static void
the_number_of_devices_has_a_limit(void **state)
{
	(void)state;
	for (uint32_t n = VERSION_VECTOR_MAX; n <= VERSION_VECTOR_MAX + 1; n++) {
		auto_(version_vector_clear) struct version_vector vv = { 0 }, back = { 0 };
		auto_buf struct buf b = BUF(1 << 20);
		for (uint32_t i = 0; i < n; i++) {
			struct device_id d = { { (uint8_t)(i >> 8), (uint8_t)i } };
			version_vector_raise(&vv, &d, 1);
		}
		version_vector_encode(&vv, &b);
		struct reader r = reader_over(buf_bytes(&b));
		enum err want = n <= VERSION_VECTOR_MAX ? OK : ERR_PROTO;
		assert_err(want, version_vector_decode(&r, &back, &unit_error));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_only_rise_and_lie_in_order),
		cmocka_unit_test(merging_is_the_least_that_covers_both),
		cmocka_unit_test(it_comes_back_from_its_bytes_and_no_others),
		cmocka_unit_test(the_number_of_devices_has_a_limit),
		cmocka_unit_test(disorder_and_absurd_counts_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
