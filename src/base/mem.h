/*
 * mem: allocation that does not fail, and allocation of sizes that come from outside.
 *
 * Small allocations abort when memory is out: peak memory is bounded by limits, so the path is not
 * worth testing at every call.  A size from the wire or the disk is checked against a named limit
 * first and then goes through mem_try, which can say ERR_LIMIT.
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/str.h"

#define mem_new(type)      ((type *)mem_zalloc(sizeof(type)))
#define mem_array(type, n) ((type *)mem_zalloc_array((n), sizeof(type)))

void *mem_zalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *mem_alloc(size_t n) __attribute__((malloc, returns_nonnull)); /* not zeroed */
void *mem_zalloc_array(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *mem_realloc(void *p, size_t n) __attribute__((returns_nonnull));
void *mem_dup(const void *p, size_t n) __attribute__((malloc, returns_nonnull));
/* N zeroed bytes, or ERR_LIMIT when the system has none.  Gives *RET; free() it. */
enum err mem_try(size_t n, void **ret, struct error *e) must_check;
/* Overwrites secrets; the compiler may not drop it. */
void mem_wipe(void *p, size_t n);

#define lengthof(a) (sizeof(a) / sizeof((a)[0]))
#define min_of(a, b)                                                                               \
	__extension__({                                                                            \
		__typeof__(a) min_a = (a);                                                         \
		__typeof__(b) min_b = (b);                                                         \
		min_a < min_b ? min_a : min_b;                                                     \
	})
#define max_of(a, b)                                                                               \
	__extension__({                                                                            \
		__typeof__(a) max_a = (a);                                                         \
		__typeof__(b) max_b = (b);                                                         \
		max_a > max_b ? max_a : max_b;                                                     \
	})
/* The struct of TYPE whose member MEMBER PTR points at. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
