/*
 * node_cursor: a walk over the entries of one tree that decides at every node whether to go down or
 * past it.  What nodes claim about each other is checked on the way: levels, first keys, order,
 * bytes beneath, and that every node but the last of its level ends where node_cut says.
 *
 * Memory: the nodes on the way down; node_cursor_park gives that back until the cursor is used
 * again. Pure.  Errors  ERR_PROTO, and those of the source.  After one, only free.
 */
#pragma once

#include "manifest/node_view.h"

struct node_cursor;

/* BYTES: what the entries must add up to, HASH_FILE only. */
struct node_cursor *node_cursor_new(
    enum hash_kind kind, struct node_source source, const struct hash_id *root, uint64_t bytes);
void node_cursor_free(struct node_cursor *c);
DEFINE_FREE_P(node_cursor)
/* The entry that comes next, borrowed until the next call; at *RET_LEVEL 0 a leaf's, else a node to
 * go into or past. OK; ERR_NOTFOUND at the end (E untouched). */
enum err node_cursor_head(
    struct node_cursor *c, struct node_entry *ret, unsigned *ret_level, struct error *e) must_check;
/* Past the head, which node_cursor_head has given. */
void node_cursor_skip(struct node_cursor *c);
/* Into the head, which is a node. */
enum err node_cursor_descend(struct node_cursor *c, struct error *e) must_check;
/* To the next leaf entry, and past it: head, descend and skip in one. */
enum err node_cursor_next(
    struct node_cursor *c, struct node_entry *ret, struct error *e) must_check;
void node_cursor_park(struct node_cursor *c);
