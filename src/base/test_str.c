#include "tests/check.h"

#include "base/str.h"

static void
a_copy_is_ones_own(void **state)
{
	char text[] = "weft";

	(void)state;
	auto_free char *copy = str_dup(text), *empty = str_dup("");
	text[0] = 'l';
	check_text(copy, "weft");
	check_text(empty, "");
}

static void
a_text_is_printed_at_any_length(void **state)
{
	(void)state;
	auto_free char *a = str_printf("%s-%d", "weft", 7), *b = str_printf("%5000d", 1);

	check_text(a, "weft-7");
	assert_int_equal(strlen(b), 5000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_copy_is_ones_own),
		cmocka_unit_test(a_text_is_printed_at_any_length),
	};

	return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
