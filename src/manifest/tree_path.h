/*
 * tree_path: where a walk over a tree is: the names on the way down, as one relpath.
 */
#pragma once

#include "manifest/tree.h"

struct tree_path {
	size_t len;
	char text[RELPATH_MAX + 1];
};

/* Appends NAME, which tree_entry_name has passed and which is DEPTH names deep.  ERR_PROTO if no
 * such path may be. */
enum err tree_path_push(
    struct tree_path *p, struct bytes name, size_t depth, struct error *e) must_check;
void tree_path_cut(struct tree_path *p, size_t len);      /* back to what it was */
struct relpath tree_path_view(const struct tree_path *p); /* borrowed until the next change */
/* Puts the path in front of the text of an error. */
enum err tree_path_wrap(const struct tree_path *p, enum err code, struct error *e);
