/*
 * node_spine: writes the nodes of one tree from its entries in order: one open node per level,
 * closed where node_cut says so and named in the level above.  Both prolly trees and chunk lists
 * are built with it.
 *
 * Memory: the open nodes.  Pure.  Errors  ERR_LIMIT for an entry above NODE_ENTRY_MAX, ERR_PROTO
 * for a causal value that is none, and those of the sink; after one, only reset or free.
 */
#pragma once

#include "manifest/node_view.h"

struct node_spine;

struct node_spine *node_spine_new(enum hash_kind kind, enum hash_alg alg, struct node_sink sink);
void node_spine_free(struct node_spine *s);
DEFINE_FREE_P(node_spine)
void node_spine_reset(struct node_spine *s);
/* A leaf entry: what node_view_next gives back.  Order is the caller's business. */
enum err node_spine_add(
    struct node_spine *s, const struct node_entry *en, struct error *e) must_check;
/* Closes what is open.  The root of no entries is an empty node. */
enum err node_spine_finish(
    struct node_spine *s, struct hash_id *ret_root, struct error *e) must_check;
