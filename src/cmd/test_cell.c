#include "tests/check.h"

#include "base/mem.h"
#include "base/text.h"
#include "cmd/cell.h"

static void
values_are_shown_as_people_read_them(void **state)
{
	static const struct {
		struct record_field field;
		const char *want;
	} cases[] = {
		{ { .type = RECORD_TEXT, .text = BYTES_LIT("a\x1b") }, "a\\x1b" },
		{ { .type = RECORD_INT, .num = 1234567 }, "1234567" },
		{ { .type = RECORD_SIZE, .num = 1536 }, "1.5 KiB" },
		{ { .type = RECORD_RATE, .num = 1536 }, "1.5 KiB/s" },
		{ { .type = RECORD_DURATION, .num = 245000 }, "4m 05s" },
		{ { .type = RECORD_BOOL, .num = 1 }, "yes" },
		{ { .type = RECORD_BOOL, .num = 0 }, "no" },
		{ { .type = RECORD_TIME, .num = 0 }, "-" },
	};
	char text[CELL_MAX];

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++)
		assert_string_equal(cell_text(&cases[i].field, text), cases[i].want);
}

static void
widths_are_columns_not_bytes(void **state)
{
	static const struct {
		const char *text;
		unsigned want;
	} cases[] = {
		{ "", 0 },
		{ "abc", 3 },
		{ "\xc3\xa9", 1 },
		{ "e\xcc\x81", 1 },
		{ "\xe6\x97\xa5\xe6\x9c\xac", 4 },
		{ "\xf0\x9f\x98\x80", 2 },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++)
		assert_int_equal(cell_width(cases[i].text), cases[i].want);
}

static void
what_is_cut_fits_and_stays_utf8(void **state)
{
	static const char *const texts[] = {
		"",
		"a",
		"abcdefghij",
		"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
		"a\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9",
		"e\xcc\x81"
		"e\xcc\x81"
		"e\xcc\x81"
		"e\xcc\x81"
		"e\xcc\x81"
		"e\xcc\x81",
	};

	(void)state;
	for (size_t i = 0; i < lengthof(texts); i++) {
		for (unsigned columns = 0; columns < 14; columns++) {
			auto_free char *text =
			    str_dup(texts[i]); /* the sanitizer sees a byte too many */
			cell_cut(text, columns);
			assert_true(cell_width(text) <= columns);
			assert_true(text_is_utf8(bytes_str(text)));
			if (cell_width(texts[i]) <= columns)
				assert_string_equal(text, texts[i]);
		}
	}
}

static void
counts_are_grouped(void **state)
{
	static const struct {
		uint64_t n;
		const char *want;
	} cases[] = {
		{ 0, "0" },
		{ 999, "999" },
		{ 1000, "1,000" },
		{ 1234567, "1,234,567" },
		{ UINT64_MAX, "18,446,744,073,709,551,615" },
	};
	char text[CELL_COUNT];

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++)
		assert_string_equal(cell_count(cases[i].n, text), cases[i].want);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_shown_as_people_read_them),
		cmocka_unit_test(widths_are_columns_not_bytes),
		cmocka_unit_test(what_is_cut_fits_and_stays_utf8),
		cmocka_unit_test(counts_are_grouped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
