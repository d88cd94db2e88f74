#include "tests/check.h"

#include "base/reader.h"

static void
a_message_is_read_to_its_exact_end(void **state)
{
	struct reader r = reader_over(BYTES_LIT("\1\2\3\4\5\6\7abc"));

	(void)state;
	assert_int_equal(reader_u8(&r), 1);
	assert_int_equal(reader_u16(&r), 0x0302);
	assert_int_equal(reader_u32(&r), 0x07060504);
	assert_int_equal(reader_left(&r), 3);
	assert_false(reader_done(&r));
	assert_true(bytes_equal(reader_rest(&r), BYTES_LIT("abc")));
	assert_true(reader_done(&r));
}

static void
reading_past_the_end_is_zero_and_stays_bad(void **state)
{
	struct reader r = reader_over(BYTES_LIT("\xff\xff\xff"));

	(void)state;
	assert_int_equal(reader_u32(&r), 0);
	assert_true(r.bad);
	assert_int_equal(reader_u8(&r), 0); /* although a byte would be there */
	assert_int_equal(reader_left(&r), 0);
	assert_int_equal(reader_rest(&r).len, 0);
	assert_false(reader_done(&r));
}

static void
nothing_is_a_message_of_no_bytes(void **state)
{
	struct reader r = reader_over(BYTES(NULL, 0));

	(void)state;
	assert_true(reader_done(&r));
	assert_int_equal(reader_take(&r, 0).len, 0);
	assert_true(reader_done(&r));
	assert_int_equal(reader_u64(&r), 0);
	assert_true(r.bad);
}

static void
a_huge_length_does_not_wrap(void **state)
{
	struct reader r = reader_over(BYTES_LIT("abc"));

	(void)state;
	assert_null(reader_take(&r, SIZE_MAX).at);
	assert_true(r.bad);
}

static void
a_copy_that_is_too_long_is_zeroes(void **state)
{
	struct reader r = reader_over(BYTES_LIT("abc"));
	char to[4] = "....";

	(void)state;
	reader_copy(&r, to, 2);
	assert_memory_equal(to, "ab..", 4);
	reader_copy(&r, to, 4);
	assert_memory_equal(to, "\0\0\0\0", 4);
	assert_true(r.bad);
}

static void
varints_have_one_encoding(void **state)
{
	static const struct {
		struct bytes in;
		bool good;
		uint64_t v;
	} cases[] = {
		{ BYTES_LIT("\x00"), true, 0 },
		{ BYTES_LIT("\x7f"), true, 127 },
		{ BYTES_LIT("\x80\x01"), true, 128 },
		{ BYTES_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), true, UINT64_MAX },
		{ BYTES_LIT("\x80\x00"), false, 0 },     /* zero in two bytes */
		{ BYTES_LIT("\xff\x80\x00"), false, 0 }, /* 127 in three */
		{ BYTES_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), false, 0 }, /* 65 bits */
		{ BYTES_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00"), false, 0 },
		{ BYTES_LIT("\x80"), false, 0 }, /* and no more */
		{ BYTES_LIT(""), false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct reader r = reader_over(cases[i].in);
		assert_int_equal(reader_varint(&r), cases[i].v);
		assert_int_equal(reader_done(&r), cases[i].good);
	}
}

static void
bytes_compare_as_names_do(void **state)
{
	(void)state;
	assert_true(bytes_compare(BYTES_LIT("a"), BYTES_LIT("b")) < 0);
	assert_true(bytes_compare(BYTES_LIT("a"), BYTES_LIT("a\0")) < 0);
	assert_true(bytes_compare(BYTES_LIT("\xff"), BYTES_LIT("a")) > 0);
	assert_int_equal(bytes_compare(BYTES(NULL, 0), BYTES_LIT("")), 0);
	assert_true(bytes_compare(BYTES(NULL, 0), BYTES_LIT("x")) < 0);
	assert_true(bytes_equal(bytes_slice(bytes_str("hello"), 1, 3), BYTES_LIT("ell")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_is_read_to_its_exact_end),
		cmocka_unit_test(reading_past_the_end_is_zero_and_stays_bad),
		cmocka_unit_test(nothing_is_a_message_of_no_bytes),
		cmocka_unit_test(a_huge_length_does_not_wrap),
		cmocka_unit_test(a_copy_that_is_too_long_is_zeroes),
		cmocka_unit_test(varints_have_one_encoding),
		cmocka_unit_test(bytes_compare_as_names_do),
	};

	return cmocka_run_group_tests_name("reader", tests, NULL, NULL);
}
