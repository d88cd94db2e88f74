/*
 * render: the rows of one command on standard output: a table, an object, a summary, or JSON
 * (docs/cli-json.md).
 *
 * JSON is written as the rows come; so are the lines of verify and the snapshots of a get that
 * stays; tables are kept until the end, as every row has a say in their widths.
 */
#pragma once

#include <stdio.h>

#include "base/json.h"
#include "cmd/rows.h"
#include "cmd/view.h"
#include "control/record.h"

struct render {
	const char *verb;
	FILE *out;
	bool json, quiet, verbose, color;
	/* ours */
	bool begun;
	struct json writer;
	struct buf text;                /* of the writer, emptied to `out` after each row */
	char list[RECORD_NAME_MAX + 1]; /* the list that is open, "" if none */
	bool shown[VIEW_LISTS_MAX];     /* lists of the view that were opened */
	struct buf object;              /* the command's own fields */
	struct rows rows, lists;
};

void render_init(struct render *r, const char *verb, FILE *out);
/* RECORD is well-formed (record_check). */
void render_row(struct render *r, struct bytes record);
/* OK: the command did what it should, so that also an empty list is printed as such. */
void render_end(struct render *r, bool ok);
void render_clear(struct render *r);
/* May colours be used on F?  A terminal that is not dumb, and no NO_COLOR. */
bool render_may_color(FILE *f);
