/*
 * str: texts on the heap.  Like mem, these abort when memory is out.
 */
#pragma once

char *str_dup(const char *s) __attribute__((malloc, returns_nonnull));
char *str_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));
