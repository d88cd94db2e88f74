/*
 * causal: the causal tree beside the content tree: for every entry an id that survives renames and
 * the two dots (who last wrote its content, who last wrote its name) of ALGORITHMS 6.2.
 *
 * Mirrors the directories of the content tree: a prolly tree from name to causal entry, so
 * unchanged directories share nodes and two versions are compared along the paths that changed.
 * There are no tombstones and no per-file vectors: the context is the commit's version vector
 * (docs/format-commit.md).
 *
 * Pure: ids of new entries come from the caller's rng.  Errors  ERR_PROTO, ERR_LIMIT.
 */
#pragma once

#include "crypto/device_key.h"
#include "manifest/prolly.h"

enum {
	ENTRY_ID_BYTES = 16,
	CAUSAL_SIBLINGS_MAX = 16,
	CAUSAL_VALUE_MAX = NODE_ENTRY_MAX - 512, /* bytes of one value, all siblings included */
};

/* Parts that a value may have, as bits of the byte behind the entry id. */
enum {
	CAUSAL_PART_NAME_DOT = 1, /* differs from that of the content */
	CAUSAL_PART_DIR = 2,
	CAUSAL_PART_SIBLINGS = 4,
};

struct dot {
	struct device_id device;
	uint64_t seq; /* from 1 */
};
struct causal_entry {
	struct bytes name; /* borrowed */
	uint8_t id[ENTRY_ID_BYTES];
	struct dot content, name_dot;
	struct hash_id dir; /* causal root of a directory's entries; none for others */
	/* Concurrent contents that are kept beside the visible one; none before merges exist.
	 * Strictly ascending by dot (device, then seq); no directories. */
	struct {
		struct dot dot;
		struct bytes value; /* an encoded tree_entry */
	} siblings[CAUSAL_SIBLINGS_MAX];
	uint32_t n_siblings;
};
/* By device, then by number. */
int causal_dot_compare(const struct dot *a, const struct dot *b);
/* ERR_LIMIT: more siblings than CAUSAL_VALUE_MAX has room for. */
enum err causal_entry_encode(
    const struct causal_entry *en, struct buf *out, struct error *e) must_check;
enum err causal_entry_decode(
    struct bytes name, struct bytes value, struct causal_entry *ret, struct error *e) must_check;
/* Are all ids in it of this algorithm? */
bool causal_entry_is_of(const struct causal_entry *en, uint8_t alg);

struct causal_iter;
struct causal_iter *causal_iter_new(struct node_source source, const struct hash_id *root);
void causal_iter_free(struct causal_iter *it);
DEFINE_FREE_P(causal_iter)
enum err causal_iter_next(
    struct causal_iter *it, struct causal_entry *ret, struct error *e) must_check;
