#include "tests/check.h"

static void
a_failure_carries_code_text_and_origin(void **state)
{
	struct error e = { 0 };

	(void)state;
	assert_int_equal(fail(&e, ERR_LIMIT, "frame of %d bytes", 7), ERR_LIMIT);
	assert_int_equal(e.code, ERR_LIMIT);
	assert_int_equal(e.sys, 0);
	check_text(e.text, "frame of 7 bytes");
	assert_int_equal(strncmp(e.where, "src/base/test_error.c:", 22), 0);
}

static void
an_error_is_optional(void **state)
{
	(void)state;
	assert_int_equal(fail(NULL, ERR_PROTO, "%s", "x"), ERR_PROTO);
	assert_int_equal(fail_sys(NULL, ENOENT, "%s", "x"), ERR_NOTFOUND);
	assert_int_equal(error_wrap(NULL, ERR_IO, "%s", "x"), ERR_IO);
}

static void
what_the_system_says_becomes_a_code_to_act_on(void **state)
{
	static const struct {
		int sys;
		enum err code;
	} cases[] = { { ENOENT, ERR_NOTFOUND }, { EEXIST, ERR_EXISTS }, { ENOSPC, ERR_NOSPACE },
		{ EDQUOT, ERR_NOSPACE }, { EIO, ERR_IO }, { EACCES, ERR_IO }, { 0, ERR_IO } };
	struct error e;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		check_err(fail_sys(&e, cases[i].sys, "open x"), cases[i].code, e);
		assert_int_equal(e.sys, cases[i].sys);
	}
	fail_sys(&e, ENOENT, "open %s", "x");
	check_text(e.text, "open x: No such file or directory");
}

static void
context_goes_in_front_and_the_origin_stays(void **state)
{
	struct error e;

	(void)state;
	fail_sys(&e, EIO, "write");
	const char *where = e.where;
	check_err(error_wrap(&e, ERR_CORRUPT, "store chunk %d", 12), ERR_CORRUPT, e);
	check_text(e.text, "store chunk 12: write: Input/output error");
	assert_int_equal(e.sys, EIO);
	assert_ptr_equal(e.where, where);
}

static void
long_texts_are_cut_and_end(void **state)
{
	char longer[2 * ERROR_TEXT];
	struct error e;

	(void)state;
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	fail_sys(&e, EIO, "%s", longer);
	assert_int_equal(strlen(e.text), ERROR_TEXT - 1);
	error_wrap(&e, ERR_IO, "%s", longer);
	assert_int_equal(strlen(e.text), ERROR_TEXT - 1);
	error_wrap(&e, ERR_IO, "short");
	assert_int_equal(strlen(e.text), ERROR_TEXT - 1);
	assert_int_equal(strncmp(e.text, "short: xxx", 10), 0);
}

static void
each_code_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (int a = 0; a < ERR_COUNT; a++) {
		assert_non_null(error_name((enum err)a));
		for (int b = 0; b < a; b++)
			assert_string_not_equal(error_name((enum err)a), error_name((enum err)b));
	}
	check_text(error_name(OK), "ok");
	check_text(error_name(ERR_NOSPACE), "nospace");
	check_text(error_name(ERR_COUNT), "?");
	check_text(error_name((enum err)(-1)), "?");
}

static void
an_unmet_expectation_is_false(void **state)
{
	volatile int one = 1;

	(void)state;
	assert_true(expect(one == 1));
	assert_false(expect(one == 2));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failure_carries_code_text_and_origin),
		cmocka_unit_test(an_error_is_optional),
		cmocka_unit_test(what_the_system_says_becomes_a_code_to_act_on),
		cmocka_unit_test(context_goes_in_front_and_the_origin_stays),
		cmocka_unit_test(long_texts_are_cut_and_end),
		cmocka_unit_test(each_code_has_a_name_of_its_own),
		cmocka_unit_test(an_unmet_expectation_is_false),
	};

	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
