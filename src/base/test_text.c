#include "tests/check.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"

static void
numbers_are_digits_and_nothing_else(void **state)
{
	static const char *const bad[] = { "", " 1", "1 ", "-1", "+1", "1a", "0x10",
		"18446744073709551616", "99999999999999999999999", "1.0" };
	uint64_t v = 42;

	(void)state;
	for (size_t i = 0; i < lengthof(bad); i++)
		assert_false(text_parse_u64(bad[i], UINT64_MAX, &v));
	assert_int_equal(v, 42);
	assert_true(text_parse_u64("18446744073709551615", UINT64_MAX, &v));
	assert_true(v == UINT64_MAX);
	assert_true(text_parse_u64("007", 7, &v));
	assert_int_equal(v, 7);
	assert_false(text_parse_u64("8", 7, &v));
	assert_true(text_parse_u64("0", 0, &v));
	assert_int_equal(v, 0);
}

static void
durations_have_a_unit_or_are_seconds(void **state)
{
	static const struct {
		const char *text;
		uint64_t seconds;
	} good[] = { { "90", 90 }, { "30s", 30 }, { "15m", 900 }, { "24h", 86400 },
		{ "7d", 604800 }, { "2w", 1209600 }, { "3650d", 315360000 }, { "0", 0 } };
	static const char *const bad[] = { "", "s", "1x", "1hh", "1h30m", "-1s", "1 h", "3651d",
		"1000w", "99999999999999999w", "1.5h" };
	uint64_t v = 42;

	(void)state;
	for (size_t i = 0; i < lengthof(bad); i++)
		assert_false(text_parse_duration(bad[i], &v));
	assert_int_equal(v, 42);
	for (size_t i = 0; i < lengthof(good); i++) {
		assert_true(text_parse_duration(good[i].text, &v));
		assert_int_equal(v, good[i].seconds);
	}
}

static void
sizes_have_a_unit_or_are_bytes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = { { "4096", 4096 }, { "64k", 65536 }, { "1.5G", 1610612736 },
		{ "10MiB", 10485760 }, { "1KB", 1024 }, { "7B", 7 }, { "0.5k", 512 },
		{ "1.001K", 1025 }, { "2t", 2199023255552 }, { "16383P", UINT64_C(16383) << 50 },
		{ "18446744073709551615", UINT64_MAX } };
	static const char *const bad[] = { "", "k", "1x", "1.5", "1.5B", "1.k", ".5k", "1kk", "1iB",
		"1BB", "1.0001k", "-1", "1 k", "16384P", "18446744073709551616", "1MiBs", "1ki" };
	uint64_t v = 42;

	(void)state;
	for (size_t i = 0; i < lengthof(bad); i++)
		assert_false(text_parse_size(bad[i], &v));
	assert_int_equal(v, 42);
	for (size_t i = 0; i < lengthof(good); i++) {
		assert_true(text_parse_size(good[i].text, &v));
		assert_true(v == good[i].bytes);
	}
}

static void
rates_are_of_bits_or_bytes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes_s;
	} good[] = { { "50Mbit", 6250000 }, { "50Mbit/s", 6250000 }, { "6.25MB", 6250000 },
		{ "8bit", 1 }, { "800kB/s", 800000 }, { "1Gbit", 125000000 }, { "7B", 7 },
		{ "2KiB", 2048 }, { "1.5MiB", 1572864 }, { "1GiB/s", 1073741824 }, { "0.001kB", 1 },
		{ "1000000000GB", UINT64_C(1000000000000000000) } };
	static const char *const bad[] = { "", "50", "Mbit", "50M", "50mbit", "50Mb", "50MBit",
		"50Mbit/", "50Mbit/m", "50 Mbit", "1.Mbit", "1.0001MB", "-1MB", "1000000001B",
		"50Mbit/s/s", "1TB" };
	uint64_t v = 42;

	(void)state;
	for (size_t i = 0; i < lengthof(bad); i++)
		assert_false(text_parse_rate(bad[i], &v));
	assert_int_equal(v, 42);
	for (size_t i = 0; i < lengthof(good); i++) {
		assert_true(text_parse_rate(good[i].text, &v));
		assert_int_equal(v, good[i].bytes_s);
	}
}

static void
sizes_are_shown_with_one_decimal(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = { { 0, "0 B" }, { 1023, "1023 B" }, { 1024, "1.0 KiB" }, { 1536, "1.5 KiB" },
		{ 1048575, "1.0 MiB" }, { 1503238553, "1.4 GiB" }, { UINT64_MAX, "16.0 EiB" } };
	char out[TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++)
		check_text(text_size(cases[i].bytes, out), cases[i].text);
}

static void
durations_are_shown_in_two_units_at_most(void **state)
{
	static const struct {
		uint64_t ms;
		const char *text;
	} cases[] = { { 0, "0.0 s" }, { 312, "0.3 s" }, { 9949, "9.9 s" }, { 9950, "10 s" },
		{ 9999, "10 s" }, { 10000, "10 s" }, { 42499, "42 s" }, { 59499, "59 s" },
		{ 59500, "1m 00s" }, { 245000, "4m 05s" }, { 3599500, "1h 00m" },
		{ 7800000, "2h 10m" }, { 90000000, "1d 01h" }, { UINT64_MAX, "9999d 00h" } };
	char out[TEXT_DURATION];

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++)
		check_text(text_duration(cases[i].ms, out), cases[i].text);
}

static void
times_are_shown_for_humans_and_for_machines(void **state)
{
	const int64_t second = 1000000000;
	char out[TEXT_TIME];

	(void)state;
	check_text(text_time_rfc3339(0, out), "1970-01-01T00:00:00Z");
	check_text(text_time_rfc3339(-1, out), "1969-12-31T23:59:59Z");
	check_text(text_time_rfc3339(-second, out), "1969-12-31T23:59:59Z");
	check_text(text_time_rfc3339(1795167667 * second + 999999999, out), "2026-11-20T09:41:07Z");
	check_text(text_time_rfc3339(INT64_MAX, out), "2262-04-11T23:47:16Z");
	check_text(text_time_rfc3339(INT64_MIN, out), "1677-09-21T00:12:43Z");
	setenv("TZ", "XYZ-2", 1);
	tzset();
	check_text(text_time(1795167667 * second, out), "2026-11-20 11:41:07");
}

static void
hex_goes_both_ways(void **state)
{
	char out[9];
	uint8_t back[4] = { 9, 9, 9, 9 };

	(void)state;
	check_text(text_hex(BYTES_LIT("\x00\xab\xff\x10"), out), "00abff10");
	assert_true(text_parse_hex("00aBFf10", back, 4));
	assert_memory_equal(back, "\x00\xab\xff\x10", 4);
	assert_true(text_parse_hex("", back, 0));
	static const char *const bad[] = { "", "00abff1", "00abff100", "00abff1g", "00 bff10",
		"0x0bff10" };
	for (size_t i = 0; i < lengthof(bad); i++)
		assert_false(text_parse_hex(bad[i], back, 4));
	check_text(text_hex(BYTES(NULL, 0), out), "");
}

static void
base32_follows_the_vectors(void **state)
{
	static const char *const vectors[][2] = { { "", "" }, { "f", "my" }, { "fo", "mzxq" },
		{ "foo", "mzxw6" }, { "foob", "mzxw6yq" }, { "fooba", "mzxw6ytb" },
		{ "foobar", "mzxw6ytboi" } };
	char out[32];
	uint8_t back[8];

	(void)state;
	for (size_t i = 0; i < lengthof(vectors); i++) {
		struct bytes b = bytes_str(vectors[i][0]);
		check_text(text_base32(b, out), vectors[i][1]);
		assert_int_equal(strlen(out), (b.len * 8 + 4) / 5);
		assert_true(text_parse_base32(vectors[i][1], back, b.len));
		assert_memory_equal(back, b.at, b.len);
		assert_false(text_parse_base32(vectors[i][1], back, b.len + 1));
		if (b.len > 0)
			assert_false(text_parse_base32(vectors[i][1], back, b.len - 1));
	}
}

static void
base32_forgives_how_humans_copy(void **state)
{
	uint8_t back[6];

	(void)state;
	assert_true(text_parse_base32("MZXW-6ytb oi\n", back, 6));
	assert_memory_equal(back, "foobar", 6);
	assert_true(text_parse_base32("mzxw6yt8", back, 5)); /* 8, 0 and 1 for b, o and l */
	assert_memory_equal(back, "fooba", 5);
	uint8_t same[5];
	assert_true(text_parse_base32("0aaa1aaa", back, 5));
	assert_true(text_parse_base32("oaaalaaa", same, 5));
	assert_memory_equal(back, same, 5);
	assert_false(text_parse_base32("mzxw6ytboi======", back, 6));
	assert_false(text_parse_base32("mzxw9ytboi", back, 6));
	assert_false(text_parse_base32("mz", back, 1));  /* unused bits that are not zero */
	assert_false(text_parse_base32("myq", back, 1)); /* a character that says nothing */
	assert_false(text_parse_base32("mzxw6ytboi\xc3", back, 6));
}

static void
utf8_is_taken_strictly(void **state)
{
	static const char *const good[] = { "", "abc", "\xc3\xa4", "\xe2\x82\xac",
		"\xf0\x9f\x92\xbe", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf", "\xee\x80\x80",
		"\xc2\x80" };
	static const char *const bad[] = { "\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x9f\xbf",
		"\xf0\x8f\xbf\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf4\x90\x80\x80",
		"\xf8\x88\x80\x80\x80", "\xff", "\xc3", "\xe2\x82", "a\xc3(", "\xf0\x9f\x92" };
	uint32_t c = 0;

	(void)state;
	for (size_t i = 0; i < lengthof(good); i++)
		assert_true(text_is_utf8(bytes_str(good[i])));
	for (size_t i = 0; i < lengthof(bad); i++)
		assert_false(text_is_utf8(bytes_str(bad[i])));
	assert_true(text_is_utf8(BYTES_LIT("a\0b")));
	assert_int_equal(text_utf8(BYTES_LIT("\xe2\x82\xac!"), &c), 3);
	assert_int_equal(c, 0x20ac);
	assert_int_equal(text_utf8(BYTES_LIT("\xe2\x82"), &c), 0);
	assert_int_equal(text_utf8(BYTES(NULL, 0), &c), 0);
}

static void
a_strangers_bytes_cannot_move_the_cursor(void **state)
{
	static const struct {
		struct bytes in;
		const char *out;
	} cases[] = {
		{ BYTES_LIT(""), "" },
		{ BYTES_LIT("report final.txt"), "report final.txt" },
		{ BYTES_LIT("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f" },
		{ BYTES_LIT("a\nb\tc\0d"), "a\\x0ab\\x09c\\x00d" },
		{ BYTES_LIT("\x1b[2J\x7f"), "\\x1b[2J\\x7f" },
		{ BYTES_LIT("\xff\xc3"), "\\xff\\xc3" },
		{ BYTES_LIT("\xc2\x9b"), "\\xc2\\x9b" }, /* C1: an escape in one */
		/* right-to-left override */
		{ BYTES_LIT("a\xe2\x80\xaetxt"), "a\\xe2\\x80\\xaetxt" },
		{ BYTES_LIT("\\x41"), "\\x5cx41" },
	};
	char out[100];

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++)
		check_text(text_escape(cases[i].in, out, sizeof out), cases[i].out);
}

static void
what_does_not_fit_ends_in_dots(void **state)
{
	char out[10];

	(void)state;
	check_text(text_escape(BYTES_LIT("123456789"), out, 10), "123456789");
	check_text(text_escape(BYTES_LIT("1234567890"), out, 10), "123456...");
	check_text(text_escape(BYTES_LIT("12345\n"), out, 10), "12345\\x0a");
	check_text(text_escape(BYTES_LIT("123456\n"), out, 10), "123456...");
	check_text(text_escape(BYTES_LIT("1234\nx"), out, 10), "1234\\x0ax");
	check_text(text_escape(BYTES_LIT("12345\nx"), out, 10), "12345...");
	check_text(text_escape(BYTES_LIT("1234\xe2\x82\xacxyz"), out, 10), "1234...");
	check_text(text_escape(BYTES_LIT("abc"), out, 3), "..");
	check_text(text_escape(BYTES_LIT("abc"), out, 1), "");
	check_text(text_escape(BYTES_LIT(""), out, 1), "");
}

static void
any_bytes_escape_to_utf8_within_the_room(void **state)
{
	struct rng dice;
	uint8_t in[40];
	char out[64];

	(void)state;
	rng_seed(&dice, 4);
	for (int i = 0; i < 20000; i++) {
		size_t n = rng_below(&dice, sizeof in), room = 1 + rng_below(&dice, sizeof out - 1);
		rng_fill(&dice, in, n);
		memset(out, 'X', sizeof out);
		text_escape(BYTES(in, n), out, room);
		assert_non_null(memchr(out, '\0', room));
		assert_true(text_is_utf8(bytes_str(out)));
		for (size_t k = room; k < sizeof out; k++)
			assert_int_equal(out[k], 'X');
		for (const char *c = out; *c != '\0'; c++)
			assert_true((uint8_t)*c >= 0x20 && *c != 0x7f);
	}
}

static void
patterns_match_whole_strings(void **state)
{
	static const struct {
		const char *pattern, *s;
		bool match;
	} cases[] = {
		{ "", "", true },
		{ "", "a", false },
		{ "*", "", true },
		{ "*", "anything", true },
		{ "a*", "a", true },
		{ "a*", "ba", false },
		{ "*.txt", "a.txt", true },
		{ "*.txt", "a.txt2", false },
		{ "a?c", "abc", true },
		{ "a?c", "ac", false },
		{ "a?z", "a\xe2\x82\xacz", true },
		{ "a?", "a\xff", true },
		{ "*a*b*c*", "xxaxxbxxcxx", true },
		{ "*a*b*c*", "xxaxxcxxbxx", false },
		{ "**", "x", true },
		{ "?", "", false },
		{ "a*a", "a", false },
		{ "a*a", "aaa", true },
		{ "*ab", "aaab", true },
		{ "[a]", "[a]", true },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++)
		assert_int_equal(text_glob(cases[i].pattern, cases[i].s), cases[i].match);
}

static void
a_malicious_pattern_takes_no_longer(void **state)
{
	char s[5001];

	(void)state;
	memset(s, 'a', sizeof s - 1);
	s[sizeof s - 1] = '\0';
	assert_false(text_glob("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", s));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_digits_and_nothing_else),
		cmocka_unit_test(durations_have_a_unit_or_are_seconds),
		cmocka_unit_test(sizes_have_a_unit_or_are_bytes),
		cmocka_unit_test(rates_are_of_bits_or_bytes),
		cmocka_unit_test(sizes_are_shown_with_one_decimal),
		cmocka_unit_test(durations_are_shown_in_two_units_at_most),
		cmocka_unit_test(times_are_shown_for_humans_and_for_machines),
		cmocka_unit_test(hex_goes_both_ways),
		cmocka_unit_test(base32_follows_the_vectors),
		cmocka_unit_test(base32_forgives_how_humans_copy),
		cmocka_unit_test(utf8_is_taken_strictly),
		cmocka_unit_test(a_strangers_bytes_cannot_move_the_cursor),
		cmocka_unit_test(what_does_not_fit_ends_in_dots),
		cmocka_unit_test(any_bytes_escape_to_utf8_within_the_room),
		cmocka_unit_test(patterns_match_whole_strings),
		cmocka_unit_test(a_malicious_pattern_takes_no_longer),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
