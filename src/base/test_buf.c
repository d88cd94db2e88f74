#include "tests/check.h"

#include "base/buf.h"
#include "base/reader.h"

static void
bytes_are_appended_in_order(void **state)
{
	auto_buf struct buf b = BUF(1000);

	(void)state;
	check_text(buf_text(&b), "");
	assert_true(buf_add(&b, "we", 2));
	assert_true(buf_add_bytes(&b, BYTES_LIT("ft")));
	assert_true(buf_addf(&b, " %d%c", 1, '!'));
	assert_true(buf_add(&b, NULL, 0));
	check_text(buf_text(&b), "weft 1!");
	assert_int_equal(b.len, 7);
	assert_true(bytes_equal(buf_bytes(&b), BYTES_LIT("weft 1!")));
}

static void
what_passes_the_maximum_changes_nothing_but_the_flag(void **state)
{
	auto_buf struct buf b = BUF(4);

	(void)state;
	assert_true(buf_add(&b, "abc", 3));
	assert_false(buf_add(&b, "de", 2));
	assert_true(b.full);
	check_text(buf_text(&b), "abc");
	assert_false(buf_addf(&b, "%s", "xy"));
	assert_null(buf_reserve(&b, SIZE_MAX));
	assert_true(buf_add(&b, "d", 1));
	check_text(buf_text(&b), "abcd");
	assert_true(b.full); /* sticky */
	buf_reset(&b);
	assert_false(b.full);
	assert_true(buf_addf(&b, "%s", "wxyz"));
	check_text(buf_text(&b), "wxyz");
}

static void
a_buffer_of_nothing_takes_nothing(void **state)
{
	auto_buf struct buf b = BUF(0);

	(void)state;
	assert_true(buf_add(&b, "", 0));
	assert_false(buf_u8(&b, 1));
	check_text(buf_text(&b), "");
}

static void
a_buffer_without_bound_grows(void **state)
{
	auto_buf struct buf b = BUF(SIZE_MAX);

	(void)state;
	for (int i = 0; i < 100000; i++)
		assert_true(buf_u8(&b, (uint8_t)i));
	assert_int_equal(b.len, 100000);
	assert_int_equal(b.at[99999], (uint8_t)99999);
}

static void
room_is_reserved_written_and_counted(void **state)
{
	auto_buf struct buf b = BUF(100);

	(void)state;
	uint8_t *to = buf_reserve(&b, 100);
	assert_non_null(to);
	memset(to, 'x', 100);
	buf_grown(&b, 100);
	assert_int_equal(strlen(buf_text(&b)), 100);
	assert_null(buf_reserve(&b, 1));
}

static void
the_front_can_be_dropped(void **state)
{
	auto_buf struct buf b = BUF(100);

	(void)state;
	buf_drop_front(&b, 5);
	buf_addf(&b, "abcdef");
	buf_drop_front(&b, 2);
	check_text(buf_text(&b), "cdef");
	buf_drop_front(&b, 4);
	assert_int_equal(b.len, 0);
	buf_addf(&b, "x");
	buf_drop_front(&b, 99);
	assert_int_equal(b.len, 0);
}

static void
the_memory_can_be_taken(void **state)
{
	auto_buf struct buf b = BUF(100);
	size_t n = 0;

	(void)state;
	buf_addf(&b, "mine");
	auto_free uint8_t *mine = buf_take(&b, &n);
	assert_int_equal(n, 4);
	assert_memory_equal(mine, "mine", 4);
	assert_int_equal(b.len, 0);
	assert_int_equal(b.max, 100);
	assert_true(buf_addf(&b, "yours"));
}

static void
numbers_are_little_endian(void **state)
{
	static const uint8_t want[] = { 1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8 };
	auto_buf struct buf b = BUF(100);

	(void)state;
	assert_true(buf_u8(&b, 1));
	assert_true(buf_u16(&b, 0x0203));
	assert_true(buf_u32(&b, 0x04050607));
	assert_true(buf_u64(&b, 0x08090a0b0c0d0e0f));
	assert_int_equal(b.len, sizeof want);
	assert_memory_equal(b.at, want, sizeof want);
}

static void
varints_have_the_shortest_form(void **state)
{
	static const struct {
		uint64_t v;
		size_t len;
	} cases[] = { { 0, 1 }, { 1, 1 }, { 127, 1 }, { 128, 2 }, { 16383, 2 }, { 16384, 3 },
		{ UINT32_MAX, 5 }, { INT64_MAX, 9 }, { UINT64_MAX, 10 } };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		auto_buf struct buf b = BUF(10);
		assert_true(buf_varint(&b, cases[i].v));
		assert_int_equal(b.len, cases[i].len);
		struct reader r = reader_over(buf_bytes(&b));
		assert_int_equal(reader_varint(&r), cases[i].v);
		assert_true(reader_done(&r));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_are_appended_in_order),
		cmocka_unit_test(what_passes_the_maximum_changes_nothing_but_the_flag),
		cmocka_unit_test(a_buffer_of_nothing_takes_nothing),
		cmocka_unit_test(a_buffer_without_bound_grows),
		cmocka_unit_test(room_is_reserved_written_and_counted),
		cmocka_unit_test(the_front_can_be_dropped),
		cmocka_unit_test(the_memory_can_be_taken),
		cmocka_unit_test(numbers_are_little_endian),
		cmocka_unit_test(varints_have_the_shortest_form),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
