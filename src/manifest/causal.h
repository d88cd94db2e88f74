/*
 * causal: the causal tree beside the content tree: for every entry an id that survives renames and the two dots
 * (who last wrote its content, who last wrote its name) of ALGORITHMS 6.2.
 *
 * Mirrors the directories of the content tree: a prolly tree from name to causal entry, so unchanged directories
 * share nodes and two versions are compared along the paths that changed.  There are no tombstones and no per-file
 * vectors: the context is the commit's version vector.
 *
 * Pure: ids of new entries come from the caller's rng.
 */
#pragma once

#include "crypto/device_key.h"
#include "manifest/prolly.h"

enum { ENTRY_ID_BYTES = 16, CAUSAL_SIBLINGS_MAX = 16 };

struct dot {
	struct device_id device;
	uint64_t seq;
};
struct causal_entry {
	struct bytes name;      /* borrowed */
	uint8_t id[ENTRY_ID_BYTES];
	struct dot content, name_dot;
	struct hash_id dir;     /* causal root of a directory's entries; none for others */
	/* Concurrent contents that are kept beside the visible one; none before merges exist. */
	struct { struct dot dot; struct bytes value; /* an encoded tree_entry */ } siblings[CAUSAL_SIBLINGS_MAX];
	uint32_t n_siblings;
};
enum err causal_entry_encode(const struct causal_entry *en, struct buf *out, struct error *e) must_check;
enum err causal_entry_decode(struct bytes name, struct bytes value, struct causal_entry *ret, struct error *e) must_check;

struct causal_iter;
struct causal_iter *causal_iter_new(struct node_source source, const struct hash_id *root);
void causal_iter_free(struct causal_iter *it);
DEFINE_FREE_P(causal_iter)
enum err causal_iter_next(struct causal_iter *it, struct causal_entry *ret, struct error *e) must_check;
