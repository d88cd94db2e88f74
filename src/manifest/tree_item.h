/*
 * tree_item: one piece of a file's content (a chunk or a hole) as bytes, and the rules for a row of
 * them (docs/format-manifest.md, "File content").
 *
 * Pure.
 */
#pragma once

#include "manifest/tree.h"

void tree_item_encode(struct buf *to, const struct tree_item *item);
/* An unknown algorithm or a number that is not in its shortest form marks R bad. */
struct tree_item tree_item_decode(struct reader *r);

/* What came before the next item.  Zero is the start of a file; `somewhere` is set where the offset
 * is not known. */
struct tree_item_row {
	uint64_t at; /* bytes so far */
	bool somewhere;
	bool hole;  /* the one before is a hole */
	bool ended; /* it is a short one: only the end may follow */
};
enum err tree_item_row_add(
    struct tree_item_row *row, const struct tree_item *item, struct error *e) must_check;
