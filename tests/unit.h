/*
 * unit: cmocka for our tests.  Include it first.
 *
 * cmocka has a macro `fail` of its own; ours (base/error.h) wins here, and unit_fail stands in for
 * it. Calls that can fail take &unit_error, so that assert_ok can print what went wrong and where
 * it was born.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include "base/error.h"

static struct error unit_error __attribute__((unused));

#define unit_fail(...)                                                                             \
	do {                                                                                       \
		print_error(__VA_ARGS__);                                                          \
		print_error("\n");                                                                 \
		_fail(__FILE__, __LINE__);                                                         \
	} while (0)

/* CALL returns OK. */
#define assert_ok(call) assert_err(OK, call)

/* CALL returns CODE, and says so in its error. */
#define assert_err(want, call)                                                                     \
	do {                                                                                       \
		unit_error = (struct error){ 0 };                                                  \
		enum err unit_want = (want), unit_got = (call);                                    \
		if (unit_got != unit_want)                                                         \
			unit_fail("%s: %s, not %s: %s (%s)", #call, error_name(unit_got),          \
			    error_name(unit_want), unit_error.text,                                \
			    unit_error.where != NULL ? unit_error.where : "no origin");            \
		assert_int_equal(unit_error.code, unit_got);                                       \
	} while (0)
