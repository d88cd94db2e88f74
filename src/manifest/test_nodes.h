/* test_nodes: nodes in memory, and short ways to entries and trees, for the tests beside it. */
#pragma once

#include "tests/unit.h"

#include <stdio.h>
#include <time.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/rng.h"
#include "manifest/causal.h"
#include "manifest/tree.h"

struct nodes {
	struct map kept; /* kind and id -> struct buf */
	size_t puts, asked;
	size_t bytes; /* of different nodes */
	size_t largest, smallest;
};

static inline void
nodes_clear(struct nodes *n)
{
	map_each (it, &n->kept) {
		buf_clear(it->ptr);
		free(it->ptr);
	}
	map_clear(&n->kept);
	*n = (struct nodes){ 0 };
}

static inline void
nodes_key(enum hash_kind kind, const struct hash_id *id, uint8_t key[static HASH_ID_BYTES + 1])
{
	key[0] = (uint8_t)kind;
	memcpy(key + 1, id, HASH_ID_BYTES);
}

/* Keeps NODE under its true name, whatever it is. */
static inline struct hash_id
nodes_keep_alg(struct nodes *n, enum hash_alg alg, enum hash_kind kind, struct bytes node)
{
	struct hash_id id;
	uint8_t key[HASH_ID_BYTES + 1];
	bool is_new;

	hash_object(alg, kind, node, &id);
	nodes_key(kind, &id, key);
	struct map_slot *slot = map_put(&n->kept, BYTES_OF(key), &is_new);
	n->puts++;
	if (is_new) {
		struct buf *b = mem_new(struct buf);
		*b = BUF(1 << 20);
		buf_add_bytes(b, node);
		slot->ptr = b;
		n->bytes += node.len;
		n->largest = max_of(n->largest, node.len);
		n->smallest = n->smallest == 0 ? node.len : min_of(n->smallest, node.len);
	}
	return id;
}

static inline struct hash_id
nodes_keep(struct nodes *n, enum hash_kind kind, struct bytes node)
{
	return nodes_keep_alg(n, HASH_DEFAULT, kind, node);
}

static inline enum err
nodes_put(
    void *ctx, enum hash_kind kind, struct bytes node, struct hash_id *ret_id, struct error *e)
{
	/* What we write, we accept; and nodes say their algorithm themselves. */
	enum err r = node_children(kind, node, NULL, NULL, e);
	if (r == OK)
		*ret_id = nodes_keep_alg(ctx, (enum hash_alg)node.at[2], kind, node);
	return r;
}

static inline enum err
nodes_get(
    void *ctx, enum hash_kind kind, const struct hash_id *id, struct buf *out, struct error *e)
{
	struct nodes *n = ctx;
	uint8_t key[HASH_ID_BYTES + 1];

	nodes_key(kind, id, key);
	const struct buf *b = map_ptr(&n->kept, BYTES_OF(key));
	n->asked++;
	if (b == NULL)
		return fail(e, ERR_NOTFOUND, "no such node");
	buf_add(out, b->at, b->len);
	return OK;
}

static inline struct bytes
nodes_bytes(const struct nodes *n, enum hash_kind kind, const struct hash_id *id)
{
	uint8_t key[HASH_ID_BYTES + 1];

	nodes_key(kind, id, key);
	const struct buf *b = map_ptr(&n->kept, BYTES_OF(key));
	assert_non_null(b);
	return buf_bytes(b);
}

static inline struct node_source
nodes_source(struct nodes *n)
{
	return (struct node_source){ .get = nodes_get, .ctx = n };
}

static inline struct node_sink
nodes_sink(struct nodes *n)
{
	return (struct node_sink){ .put = nodes_put, .ctx = n };
}

/* An id of nothing in particular, the same for the same number. */
static inline struct hash_id
any_id(uint64_t n)
{
	struct hash_id id;

	hash_object(HASH_DEFAULT, HASH_CHUNK, BYTES_OF(n), &id);
	return id;
}

/* One file of one chunk. */
static inline struct tree_entry
file_entry(const char *name, struct tree_item *item, uint64_t n)
{
	*item = (struct tree_item){ .id = any_id(n), .len = 1 + n % CHUNK_MAX };
	return (struct tree_entry){
		.name = bytes_str(name),
		.type = TREE_FILE,
		.mode = 0644,
		.mtime_ns = 1700000000000000000 + (int64_t)n,
		.size = item->len,
		.items = item,
		.n_items = 1,
	};
}

static inline struct tree_entry
dir_entry(const char *name, const struct hash_id *root, uint64_t entries, uint64_t size)
{
	return (struct tree_entry){
		.name = bytes_str(name),
		.type = TREE_DIR,
		.mode = 0755,
		.root = *root,
		.entries = entries,
		.size = size,
	};
}

static inline struct tree_entry
link_entry(const char *name, const char *target)
{
	return (struct tree_entry){
		.name = bytes_str(name),
		.type = TREE_SYMLINK,
		.mode = 0777,
		.target = bytes_str(target),
		.size = strlen(target),
	};
}

static inline void
add_entry(struct prolly_builder *b, const struct tree_entry *en)
{
	auto_buf struct buf value = BUF(NODE_ENTRY_MAX);

	assert_ok(tree_entry_encode(en, &value, &unit_error));
	assert_ok(prolly_builder_add(b, en->name, buf_bytes(&value), &unit_error));
}

/* A directory of these entries, which are in order. */
static inline struct hash_id
make_dir(struct nodes *n, const struct tree_entry *entries, size_t count)
{
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, nodes_sink(n));
	struct hash_id root;

	for (size_t i = 0; i < count; i++)
		add_entry(b, &entries[i]);
	assert_ok(prolly_builder_finish(b, &root, &unit_error));
	return root;
}

/* A seed of this run, or the one in WEFT_SEED. */
static inline uint64_t
any_seed(void)
{
	const char *given = getenv("WEFT_SEED");
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	uint64_t seed = given != NULL ? strtoull(given, NULL, 10)
				      : (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20;
	print_message("WEFT_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}
