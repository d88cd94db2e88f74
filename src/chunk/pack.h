/*
 * pack: the bytes of a pack file (docs/format-pack.md): one head, then records, one an object.
 *
 * A record says everything about its object, so that the index can be rebuilt from the packs alone.
 * The object's name is the checksum of its content; the header has a check of its own, keyed with
 * the pack's salt, so that a walk which lost its way in damaged bytes cannot be led astray by
 * content that imitates a header.
 *
 * Pure.  Threads  any.
 */
#pragma once

#include "chunk/chunk_id.h"
#include "chunk/codec.h"

enum {
	PACK_VERSION = 1,
	PACK_SALT = 16,
	PACK_HEAD = 48, /* of the file */
	/* of each record; leaf hashes (chunks only) and packed content follow */
	PACK_RECORD_HEAD = 56,
	PACK_NODE_MAX = 256 * 1024,
	PACK_RECORD_MAX = PACK_RECORD_HEAD + CHUNK_LEAVES_MAX * HASH_BYTES + CHUNK_MAX,
};

struct pack_head {
	uint64_t number;
	uint8_t salt[PACK_SALT];
};

/* Comes from a put that was checked or from pack_record_decode: lengths are within limits, kind and
 * codec known. */
struct pack_record {
	struct hash_id id;
	uint8_t kind;  /* enum hash_kind: HASH_CHUNK or a node's */
	uint8_t codec; /* enum codec */
	uint32_t raw_len, packed_len;
};

void pack_head_encode(const struct pack_head *h, uint8_t out[static PACK_HEAD]);
/* ERR_CORRUPT; ERR_LIMIT for a version that we do not know. */
enum err pack_head_decode(struct bytes b, struct pack_head *ret, struct error *e) must_check;

bool pack_kind_known(unsigned kind);
/* Are kind, codec and lengths ones that a record may have? */
bool pack_record_sane(const struct pack_record *r);
void pack_record_encode(
    const struct pack_head *h, const struct pack_record *r, uint8_t out[static PACK_RECORD_HEAD]);
enum err pack_record_decode(
    const struct pack_head *h, struct bytes b, struct pack_record *ret, struct error *e) must_check;

/* Leaf hashes in the record: 0 for nodes. */
static inline uint32_t
pack_record_leaves(const struct pack_record *r)
{
	return r->kind == HASH_CHUNK ? chunk_id_leaf_count(r->raw_len) : 0;
}
/* Where in the record the packed content begins. */
static inline uint32_t
pack_record_body(const struct pack_record *r)
{
	return PACK_RECORD_HEAD + pack_record_leaves(r) * HASH_BYTES;
}
static inline uint32_t
pack_record_len(const struct pack_record *r)
{
	return pack_record_body(r) + r->packed_len;
}

/* Is RAW (raw_len bytes) the object, and LEAVES (chunks only) its list?  ERR_CORRUPT. */
enum err pack_record_verify(const struct pack_record *r, const struct leaf_list *leaves,
    const uint8_t *raw, struct error *e) must_check;
