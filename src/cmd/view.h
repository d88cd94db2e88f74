/*
 * view: which fields of a command's rows people see, in which order and under which titles
 * (cmd/views.def).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum view_kind { VIEW_OBJECT, VIEW_TABLE, VIEW_LINES, VIEW_CHECKS };
struct view_column {
	const char *verb, *list, *field, *title;
	bool is_short; /* the beginning of an id will do */
};
/* OBJECT for a verb without a view. */
enum view_kind view_kind(const char *verb);
/* True when rows without `list` are elements of an array. */
bool view_is_array(const char *verb);
/* The column of VERB and LIST after C (NULL: the first); NULL at the end. */
const struct view_column *view_next(
    const char *verb, const char *list, const struct view_column *c);
/* Name of list I of VERB's object, from 0; NULL when it has fewer.  At most VIEW_LISTS_MAX. */
enum { VIEW_LISTS_MAX = 8 };
const char *view_list(const char *verb, size_t i);
