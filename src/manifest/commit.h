/*
 * commit: a signed snapshot of a share: its content tree, its causal tree, and where it stands in
 * history.
 *
 * Canonical bytes, signed by the author's device key under the domain "weft commit 1"; the commit
 * id is the hash of the bytes with the signature, and is what a snapshot is called
 * (docs/format-commit.md).
 *
 * Pure but for the key.  Errors  ERR_PROTO, ERR_DENIED for a bad signature.
 */
#pragma once

#include "manifest/tree.h"
#include "manifest/version_vector.h"

enum { COMMIT_PARENTS_MAX = 16, COMMIT_LABEL_MAX = 128, COMMIT_MAX = 96 * 1024 };

struct commit {
	struct hash_id share;
	struct hash_id policy;   /* id of the share's own statement (SHARE) */
	uint64_t epoch;          /* of the authority when this was made */
	struct hash_id content;  /* root of the content tree */
	struct hash_id causal;   /* root of the causal tree */
	uint64_t entries, bytes; /* of the whole content tree, as declared by its walk */
	uint64_t chunks;         /* distinct chunks */
	uint64_t chunk_bytes;    /* their bytes: what a receiver with nothing must get */
	uint32_t n_parents;
	struct hash_id parents[COMMIT_PARENTS_MAX]; /* sorted, distinct */
	struct version_vector vv;                   /* includes author's own seq */
	struct public_key author;
	uint64_t seq;                     /* author's own count of commits in this share, from 1 */
	uint64_t hlc;                     /* hybrid logical clock: unix ms << 16 | counter */
	char label[COMMIT_LABEL_MAX + 1]; /* UTF-8 without control characters; may be empty */
	struct signature signature;
	struct hash_id id; /* after sign or decode */
};
void commit_clear(struct commit *c);
/* Signs with KEY (author is set from it, and its count in vv from seq) and appends the bytes to
 * OUT; sets C->id. ERR_PROTO if a rule that commit_decode checks is broken, ERR_LIMIT if it would
 * be too large. */
enum err commit_sign(
    struct commit *c, const struct device_key *key, struct buf *out, struct error *e) must_check;
/* The bytes that it was signed as or decoded from. */
void commit_encode(const struct commit *c, struct buf *out);
/* Every rule but the signature.  *RET: commit_clear. */
enum err commit_decode(struct bytes b, struct commit *ret, struct error *e) must_check;
enum err commit_verify(struct bytes b, const struct commit *c, struct error *e) must_check;
