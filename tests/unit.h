/*
 * unit: check.h for tests that make many calls which can fail: they share one error,
 * unit_error, so that assert_ok(thing_open(path, &thing, &unit_error)) prints what went wrong
 * and where it was born. To be included before everything else, as check.h says.
 */
#pragma once

#include "tests/check.h"

static struct error unit_error __attribute__((unused));

#define unit_fail(...)                                                                             \
	do {                                                                                       \
		print_error(__VA_ARGS__);                                                          \
		print_error("\n");                                                                 \
		_fail(__FILE__, __LINE__);                                                         \
	} while (0)

/* CALL returns OK. */
#define assert_ok(call) check_ok(call, unit_error)

/* CALL returns CODE, and says so in its error. */
#define assert_err(want, call)                                                                     \
	do {                                                                                       \
		unit_error = (struct error){ 0 };                                                  \
		check_err(call, want, unit_error);                                                 \
	} while (0)
