#include "tests/check.h"

#include "base/mem.h"
#include "control/record.h"

static struct bytes
sample(struct buf *b)
{
	record_text(b, "name", "photos");
	record_int(b, "snapshot", 7);
	record_size(b, "bytes", UINT64_C(1) << 40);
	record_time(b, "time", INT64_C(1700000000) * 1000000000);
	record_duration(b, "took", 1500);
	record_rate(b, "rate", 999);
	record_bool(b, "online", true);
	record_text(b, "absent", NULL);
	return buf_bytes(b);
}

static void
fields_come_back_in_order_with_their_types(void **state)
{
	auto_buf struct buf b = BUF(RECORD_MAX);
	static const struct {
		const char *name;
		enum record_type type;
		uint64_t num;
	} want[] = {
		{ "name", RECORD_TEXT, 0 },
		{ "snapshot", RECORD_INT, 7 },
		{ "bytes", RECORD_SIZE, UINT64_C(1) << 40 },
		{ "time", RECORD_TIME, UINT64_C(1700000000000000000) },
		{ "took", RECORD_DURATION, 1500 },
		{ "rate", RECORD_RATE, 999 },
		{ "online", RECORD_BOOL, 1 },
	};
	struct record_field f;
	struct bytes rest = sample(&b);
	bool bad = false;

	(void)state;
	assert_int_equal(record_check(rest, NULL), OK);
	for (size_t i = 0; i < lengthof(want); i++) {
		assert_true(record_next(&rest, &f, &bad));
		assert_true(bytes_equal(f.name, bytes_str(want[i].name)));
		assert_int_equal(f.type, want[i].type);
		assert_true(f.num == want[i].num);
	}
	assert_false(record_next(&rest, &f, &bad));
	assert_false(bad);
}

static void
fields_are_found_by_name_and_absent_ones_are_empty(void **state)
{
	auto_buf struct buf b = BUF(RECORD_MAX);
	struct bytes r = sample(&b);
	struct record_field f;
	char text[32];

	(void)state;
	assert_string_equal(record_str(r, "name", text, sizeof text), "photos");
	assert_int_equal(record_num(r, "snapshot"), 7);
	assert_true(record_find(r, "online", &f));
	assert_false(record_find(r, "nam", &f));
	assert_false(record_find(r, "absent", &f));
	assert_int_equal(record_num(r, "name"), 0);
	assert_string_equal(record_str(r, "snapshot", text, sizeof text), "");
	assert_string_equal(record_str(r, "nowhere", text, sizeof text), "");
}

static void
text_of_strangers_is_escaped_for_people(void **state)
{
	auto_buf struct buf b = BUF(RECORD_MAX);
	char text[64];

	(void)state;
	record_text(&b, "path", "a\x1b[2Jb");
	assert_string_equal(record_str(buf_bytes(&b), "path", text, sizeof text), "a\\x1b[2Jb");
}

static void
json_has_every_field_in_its_own_form(void **state)
{
	auto_buf struct buf b = BUF(RECORD_MAX), out = BUF(RECORD_MAX);
	struct json j;

	(void)state;
	sample(&b);
	record_time(&b, "never", 0);
	record_bytes(&b, "path", BYTES_LIT("a\xff"));
	json_init(&j, &out);
	record_json(buf_bytes(&b), NULL, &j);
	assert_string_equal(buf_text(&out),
	    "{\"name\":\"photos\",\"snapshot\":7,\"bytes\":1099511627776,"
	    "\"time\":\"2023-11-14T22:13:20Z\",\"took\":1500,\"rate\":999,\"online\":true,"
	    "\"never\":null,\"path\":\"a\xef\xbf\xbd\",\"path_hex\":\"61ff\"}");
}

static void
every_cut_and_every_wrong_byte_is_refused_or_read_within_bounds(void **state)
{
	auto_buf struct buf b = BUF(RECORD_MAX);
	struct bytes whole = sample(&b);

	(void)state;
	for (size_t n = 0; n < whole.len; n++) {
		/* on the heap: the sanitizer sees a read beyond */
		auto_free uint8_t *cut = mem_alloc(n + 1);
		memcpy(cut, whole.at, n);
		bool between = false;
		struct record_field f;
		for (struct bytes rest = whole; record_next(&rest, &f, NULL);)
			between = between || whole.len - rest.len == n;
		assert_int_equal(
		    record_check(BYTES(cut, n), NULL), n == 0 || between ? OK : ERR_PROTO);
	}
	for (size_t i = 0; i < whole.len; i++) {
		auto_free uint8_t *odd = mem_dup(whole.at, whole.len);
		for (unsigned bit = 0; bit < 8; bit++) {
			struct record_field f;
			odd[i] ^= (uint8_t)(1u << bit);
			if (record_check(BYTES(odd, whole.len), NULL) == OK)
				assert_true(
				    record_next(&(struct bytes){ odd, whole.len }, &f, NULL));
			(void)record_find(BYTES(odd, whole.len), "online", &f);
			odd[i] ^= (uint8_t)(1u << bit);
		}
	}
}

static void
rules_of_names_types_and_counts_are_kept(void **state)
{
	static const struct {
		struct bytes bytes;
		enum err want;
	} cases[] = {
		{ BYTES_LIT(""), OK }, { BYTES_LIT("\1a\2\0\0\0\0\0\0\0\0"), OK },
		{ BYTES_LIT("\0\2\0\0\0\0\0\0\0\0"), ERR_PROTO },       /* no name */
		{ BYTES_LIT("\1A\2\0\0\0\0\0\0\0\0"), ERR_PROTO },      /* not a letter of names */
		{ BYTES_LIT("\1a\0\0\0\0\0\0\0\0\0"), ERR_PROTO },      /* type 0 */
		{ BYTES_LIT("\1a\10\0\0\0\0\0\0\0\0"), ERR_PROTO },     /* type 8 */
		{ BYTES_LIT("\1a\6\2\0\0\0\0\0\0\0"), ERR_PROTO },      /* neither true nor false */
		{ BYTES_LIT("\1a\1\xff\xff\xff\xff"), ERR_PROTO },      /* longer than there is */
		{ BYTES_LIT("\1a\1\0\0\0\0\1a\1\0\0\0\0"), ERR_PROTO }, /* twice */
	};
	auto_buf struct buf many = BUF(RECORD_MAX);

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++)
		assert_int_equal(record_check(cases[i].bytes, NULL), cases[i].want);
	for (unsigned i = 0; i <= RECORD_FIELDS_MAX; i++) {
		char name[8];
		snprintf(name, sizeof name, "f%u", i);
		assert_int_equal(record_check(buf_bytes(&many), NULL), OK);
		record_int(&many, name, i);
	}
	assert_int_equal(record_check(buf_bytes(&many), NULL), ERR_PROTO);
}

static void
a_full_buffer_holds_whole_fields_only(void **state)
{
	auto_buf struct buf b = BUF(64);
	struct record_field f;

	(void)state;
	record_text(&b, "a", "0123456789012345678901234567890123456789");
	record_text(&b, "b", "this does not fit any more");
	assert_true(b.full);
	assert_int_equal(record_check(buf_bytes(&b), NULL), OK);
	assert_true(record_find(buf_bytes(&b), "a", &f));
	assert_false(record_find(buf_bytes(&b), "b", &f));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_come_back_in_order_with_their_types),
		cmocka_unit_test(fields_are_found_by_name_and_absent_ones_are_empty),
		cmocka_unit_test(text_of_strangers_is_escaped_for_people),
		cmocka_unit_test(json_has_every_field_in_its_own_form),
		cmocka_unit_test(every_cut_and_every_wrong_byte_is_refused_or_read_within_bounds),
		cmocka_unit_test(rules_of_names_types_and_counts_are_kept),
		cmocka_unit_test(a_full_buffer_holds_whole_fields_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
