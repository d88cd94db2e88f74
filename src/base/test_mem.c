#include "tests/check.h"

#include "base/array.h"
#include "base/mem.h"

/* Asked by the address sanitizer, which otherwise ends the program when memory is out. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *
__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static void
memory_is_zeroed_and_a_size_of_nothing_is_fine(void **state)
{
	(void)state;
	auto_free uint64_t *a = mem_array(uint64_t, 100);
	auto_free void *none = mem_alloc(0), *nothing = mem_zalloc_array(0, 8),
		       *copy = mem_dup(NULL, 0);

	for (int i = 0; i < 100; i++)
		assert_int_equal(a[i], 0);
	assert_non_null(none);
	assert_non_null(nothing);
	assert_non_null(copy);
}

static void
a_size_that_cannot_be_is_a_limit(void **state)
{
	struct error e;
	void *p = NULL;

	(void)state;
	check_err(mem_try(SIZE_MAX / 2, &p, &e), ERR_LIMIT, e);
	assert_null(p);
	check_ok(mem_try(16, &p, &e), e);
	for (int i = 0; i < 16; i++)
		assert_int_equal(((uint8_t *)p)[i], 0);
	free(p);
	check_ok(mem_try(0, &p, &e), e);
	free(p);
}

static void
secrets_are_overwritten(void **state)
{
	char secret[] = "correct horse";

	(void)state;
	mem_wipe(secret, sizeof secret);
	for (size_t i = 0; i < sizeof secret; i++)
		assert_int_equal(secret[i], 0);
}

static void
arguments_of_min_and_max_are_evaluated_once(void **state)
{
	int n = 0;

	(void)state;
	assert_int_equal(min_of(n++, 5), 0);
	assert_int_equal(n, 1);
	assert_int_equal(max_of(n++, 0), 1);
	assert_int_equal(n, 2);
}

static void
what_is_taken_is_not_released(void **state)
{
	char *kept = NULL;
	int fd = -1;

	(void)state;
	{
		auto_free char *text = str_dup("kept");
		auto_fd int open_fd = dup(STDERR_FILENO);
		kept = take_ptr(text);
		fd = take_fd(open_fd);
		assert_null(text);
		assert_int_equal(open_fd, -1);
	}
	check_text(kept, "kept");
	assert_true(fcntl(fd, F_GETFD) >= 0);
	{
		auto_free char *text = kept;
		auto_fd int open_fd = fd;
		check_text(text, "kept");
		assert_true(open_fd >= 0);
	}
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void
an_array_grows_and_swaps_out(void **state)
{
	ARRAY(int) a = { 0 };
	int sum = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		array_push(&a, i);
	assert_int_equal(a.len, 1000);
	assert_true(a.room >= 1000);
	array_swap_out(&a, 0);
	assert_int_equal(a.at[0], 999);
	assert_int_equal(array_pop(&a), 998);
	assert_int_equal(a.len, 998);
	array_each (i, &a)
		sum += *i;
	assert_int_equal(sum, 999 * 1000 / 2 - 998);
	array_remove(&a, 5);
	assert_int_equal(a.len, 997);
	assert_int_equal(a.at[5], 997); /* the last one */
	array_remove(&a, 5);
	assert_int_equal(a.len, 997);
	array_remove(&a, 996);
	assert_int_equal(a.len, 996);
	assert_int_equal(a.at[995], 995);
	array_reserve(&a, 5000);
	assert_true(a.room >= 5000);
	array_clear(&a);
	assert_null(a.at);
	array_each (i, &a)
		assert_null(i);
}

static void
the_struct_around_a_member_is_found(void **state)
{
	struct outer {
		int a;
		struct inner {
			int b;
		} in;
	} o = { 1, { 2 } };
	struct inner *in = &o.in;

	(void)state;
	assert_ptr_equal(container_of(in, struct outer, in), &o);
	assert_int_equal(lengthof(((int[]){ 1, 2, 3 })), 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_is_zeroed_and_a_size_of_nothing_is_fine),
		cmocka_unit_test(a_size_that_cannot_be_is_a_limit),
		cmocka_unit_test(secrets_are_overwritten),
		cmocka_unit_test(arguments_of_min_and_max_are_evaluated_once),
		cmocka_unit_test(what_is_taken_is_not_released),
		cmocka_unit_test(an_array_grows_and_swaps_out),
		cmocka_unit_test(the_struct_around_a_member_is_found),
	};

	return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
