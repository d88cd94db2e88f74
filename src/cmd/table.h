/*
 * table: records as aligned columns, and one record as lines of "title  value".
 */
#pragma once

#include <stdio.h>

#include "cmd/rows.h"

struct table_opts {
	const char *verb,
	    *list; /* whose columns (cmd/view.h); LIST "" for the command's own rows */
	bool all;  /* also fields that have no column */
	bool color;
	bool names; /* only the first column, without title */
};
void table_print(FILE *out, const struct table_opts *o, const struct rows *rows);
void table_print_object(FILE *out, const struct table_opts *o, struct bytes record);
