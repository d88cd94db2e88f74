/*
 * prolly: ordered maps as Merkle trees whose node boundaries follow from their keys (a
 * "probabilistic B-tree").
 *
 * The same set of entries gives the same nodes and the same root whatever the history, and two
 * versions with few differences share almost all nodes.  Keys are 1..255 bytes in bytewise order,
 * strictly ascending.  A node ends after an entry whose key's hash says so (target 16 KiB), not
 * before 4 KiB, and at 64 KiB at the latest (docs/format-manifest.md).  Used for directories
 * (values: tree entries) and causal trees.
 *
 * Pure.  Errors  ERR_PROTO; ERR_CORRUPT for a node that the source has not got, so that it never
 * passes for the end.  After an error an iterator can only be freed, a builder freed or reset.
 */
#pragma once

#include "manifest/node.h"

struct prolly_builder;

struct prolly_builder *prolly_builder_new(
    enum hash_kind kind, enum hash_alg alg, struct node_sink sink);
void prolly_builder_free(struct prolly_builder *b);
DEFINE_FREE_P(prolly_builder)
/* Keys must ascend, and VALUE must be one that KIND takes under KEY (a tree_entry, a causal_entry):
 * ERR_PROTO otherwise, so nothing is built that nobody would read. */
enum err prolly_builder_add(
    struct prolly_builder *b, struct bytes key, struct bytes value, struct error *e) must_check;
/* The root; an empty map has a root too.  The builder may be reused after prolly_builder_reset. */
enum err prolly_builder_finish(
    struct prolly_builder *b, struct hash_id *ret_root, struct error *e) must_check;
void prolly_builder_reset(struct prolly_builder *b);

/* Iterates in key order.  KEY and VALUE are borrowed until the next call.  Verifies order across
 * nodes. */
struct prolly_iter;
struct prolly_iter *prolly_iter_new(
    enum hash_kind kind, struct node_source source, const struct hash_id *root);
void prolly_iter_free(struct prolly_iter *it);
DEFINE_FREE_P(prolly_iter)
/* OK; ERR_NOTFOUND at the end (E untouched); or a real error. */
enum err prolly_iter_next(struct prolly_iter *it, struct bytes *ret_key, struct bytes *ret_value,
    struct error *e) must_check;
/* Value of KEY appended to RET; ERR_NOTFOUND. */
enum err prolly_get(enum hash_kind kind, struct node_source source, const struct hash_id *root,
    struct bytes key, struct buf *ret, struct error *e) must_check;
