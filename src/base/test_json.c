#include "tests/check.h"

#include <math.h>

#include "base/json.h"

static void
values_nest_with_their_commas(void **state)
{
	auto_buf struct buf out = BUF(1000);
	struct json j;

	(void)state;
	json_init(&j, &out);
	json_object(&j, NULL);
	json_text(&j, "name", "a");
	json_array(&j, "list");
	json_u64(&j, NULL, UINT64_MAX);
	json_i64(&j, NULL, INT64_MIN);
	json_object(&j, NULL);
	json_end(&j);
	json_array(&j, NULL);
	json_end(&j);
	json_end(&j);
	json_bool(&j, "yes", true);
	json_bool(&j, "no", false);
	json_null(&j, "none");
	json_number(&j, "third", 1.0 / 3);
	json_number(&j, "nan", NAN);
	json_number(&j, "inf", -INFINITY);
	json_end(&j);
	assert_int_equal(j.depth, 0);
	check_text(buf_text(&out),
	    "{\"name\":\"a\",\"list\":[18446744073709551615,-9223372036854775808,{},[]],"
	    "\"yes\":true,\"no\":false,\"none\":null,\"third\":0.333,\"nan\":null,\"inf\":null}");
}

static void
any_bytes_become_a_string(void **state)
{
	static const struct {
		struct bytes in;
		const char *out;
	} cases[] = {
		{ BYTES_LIT(""), "\"\"" },
		{ BYTES_LIT("\"\\/"), "\"\\\"\\\\/\"" },
		{ BYTES_LIT("a\nb\tc\r\0"), "\"a\\nb\\tc\\u000d\\u0000\"" },
		{ BYTES_LIT("\xc3\xa4\xf0\x9f\x92\xbe"), "\"\xc3\xa4\xf0\x9f\x92\xbe\"" },
		{ BYTES_LIT("\x7f\xc2\x9b"), "\"\\u007f\\u009b\"" },
		{ BYTES_LIT("a\xff\xc3z\xe2\x82"),
		    "\"a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		auto_buf struct buf out = BUF(1000);
		struct json j;
		json_init(&j, &out);
		json_bytes(&j, NULL, cases[i].in);
		check_text(buf_text(&out), cases[i].out);
	}
}

static void
keys_are_escaped_too(void **state)
{
	auto_buf struct buf out = BUF(1000);
	struct json j;

	(void)state;
	json_init(&j, &out);
	json_object(&j, NULL);
	json_u64(&j, "a\"b", 1);
	json_end(&j);
	check_text(buf_text(&out), "{\"a\\\"b\":1}");
}

static void
a_full_buffer_says_so(void **state)
{
	auto_buf struct buf out = BUF(10);
	struct json j;

	(void)state;
	json_init(&j, &out);
	json_array(&j, NULL);
	for (uint64_t i = 0; i < 100; i++)
		json_u64(&j, NULL, i);
	json_end(&j);
	assert_true(out.full);
	assert_true(out.len <= 10);
}

static void
nesting_reaches_the_stated_depth(void **state)
{
	auto_buf struct buf out = BUF(1000);
	struct json j;

	(void)state;
	json_init(&j, &out);
	for (int i = 0; i < JSON_DEPTH - 1; i++)
		json_array(&j, NULL);
	for (int i = 0; i < JSON_DEPTH - 1; i++)
		json_end(&j);
	check_text(buf_text(&out), "[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_nest_with_their_commas),
		cmocka_unit_test(any_bytes_become_a_string),
		cmocka_unit_test(keys_are_escaped_too),
		cmocka_unit_test(a_full_buffer_says_so),
		cmocka_unit_test(nesting_reaches_the_stated_depth),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
