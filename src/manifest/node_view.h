/*
 * node_view: one node read entry by entry (docs/format-manifest.md, "Nodes").  Every rule that a
 * node alone can break is checked on the way, so a node that was read to its end is canonical but
 * for what its entries mean.
 *
 * Pure.  Errors  ERR_PROTO.
 */
#pragma once

#include "manifest/causal_pack.h"
#include "manifest/node.h"

/* HASH_TREE and HASH_CAUSAL are maps: key and value, or first key and child.  HASH_FILE is a row: a
 * chunk or a hole (no id) and its length, or a child and the bytes beneath it. */
struct node_entry {
	struct bytes key, value; /* borrowed until the next call */
	struct hash_id id;
	uint64_t bytes;
};

struct node_view {
	enum hash_kind kind;
	uint8_t level, alg;
	bool cut;          /* the entry before ends the node: there may be no other */
	struct bytes node; /* borrowed */
	struct reader at;
	struct bytes key;         /* of the entry before */
	size_t entries;           /* read so far */
	struct causal_pack *pack; /* leaf of a causal tree: owned, or NULL */
};

/* V is zero or was open before; it borrows NODE until the next open or node_view_clear. */
enum err node_view_open(
    struct node_view *v, enum hash_kind kind, struct bytes node, struct error *e) must_check;
void node_view_clear(struct node_view *v);
/* OK; ERR_NOTFOUND at the end (E untouched); ERR_PROTO. */
enum err node_view_next(struct node_view *v, struct node_entry *ret, struct error *e) must_check;

static inline bool
node_view_at_end(const struct node_view *v)
{
	return reader_left(&v->at) == 0;
}

/* Node ID into NODE (emptied first), opened as *V.  A node that the source has not got is
 * ERR_CORRUPT, so that it can never pass for the end of a tree. */
enum err node_view_load(struct node_view *v, enum hash_kind kind, struct node_source source,
    const struct hash_id *id, struct buf *node, struct error *e) must_check;
