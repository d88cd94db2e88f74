/*
 * cell: one value of a record as people read it, and how many columns of a terminal it takes.
 */
#pragma once

#include "control/record.h"

enum { CELL_MAX = 512 };

/* "1.2 GiB", "4m 05s", "yes", "-" for a time that is none; text escaped.  Returns OUT. */
const char *cell_text(const struct record_field *f, char out[static CELL_MAX]);
/* The field NAME of RECORD, "" when absent. */
const char *cell_of(struct bytes record, const char *name, char out[static CELL_MAX]);
bool cell_is_number(enum record_type type); /* to be aligned at its end */
/* Columns of valid UTF-8 without control characters: East Asian characters take two, combining ones
 * none. */
unsigned cell_width(const char *text);
/* Cuts TEXT to at most COLUMNS, with "..." at the end when something was cut and there is room for
 * it. */
void cell_cut(char *text, unsigned columns);
/* "10,234" */
enum { CELL_COUNT = 32 };
const char *cell_count(uint64_t n, char out[static CELL_COUNT]);
