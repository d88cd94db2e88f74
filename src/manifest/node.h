/*
 * node: where nodes of trees come from and go to, and how they point at each other.
 *
 * Node bytes are hostile until they hash to the id that asked for them: a node_source checks that.
 * What a node claims about its children is checked when it is decoded; what it claims about their
 * contents when they are.
 */
#pragma once

#include "base/buf.h"
#include "crypto/hash.h"

enum {
	NODE_VERSION = 1,
	NODE_TARGET = 16 * 1024,
	NODE_MIN = 4 * 1024,
	NODE_CUT_MAX = 64 * 1024,
	NODE_ENTRY_MAX = 16 * 1024, /* bytes of one entry, its name included */
	NODE_MAX = NODE_CUT_MAX + NODE_ENTRY_MAX,
	NODE_LEVEL_MAX = 12, /* levels of one prolly tree */
};

struct node_source {
	/* Appends the bytes of node ID to OUT; they hash to ID.
	 * ERR_NOTFOUND, ERR_CORRUPT, ERR_IO. */
	enum err (*get)(void *ctx, enum hash_kind kind, const struct hash_id *id, struct buf *out,
	    struct error *e);
	void *ctx;
};
struct node_sink {
	/* Keeps a copy of NODE under its name, which goes to *RET_ID. */
	enum err (*put)(void *ctx, enum hash_kind kind, struct bytes node, struct hash_id *ret_id,
	    struct error *e);
	void *ctx;
};

/* Tells each node that NODE (of KIND: HASH_TREE, HASH_FILE, HASH_CAUSAL) points at, in order; whole
 * check of the node first.  What a fetcher of manifests needs: it asks for what it lacks, level by
 * level. ERR_PROTO. */
enum err node_children(enum hash_kind kind, struct bytes node,
    enum err (*on_child)(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e),
    void *ctx, struct error *e) must_check;
/* Is VALUE one that a leaf of KIND (HASH_TREE, HASH_CAUSAL; plain form) may hold under NAME?
 * ERR_PROTO. */
enum err node_check_value(enum hash_kind kind, uint8_t alg, struct bytes name, struct bytes value,
    struct error *e) must_check;
