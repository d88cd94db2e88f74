/*
 * hash: identities of everything.  An id is an algorithm byte and 32 bytes, so that the algorithm
 * can change without touching whoever carries ids.
 *
 * Every kind of object has its own prefix byte, hashed first, so bytes of one kind never pass for
 * another (docs/format-ids.md).  SHA-256 (FIPS 180-4) is the default; SHA-512/256 exists so that
 * agility is tested.
 *
 * Threads    any.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/reader.h"

enum hash_alg { HASH_SHA256 = 1, HASH_SHA512_256 = 2 };
#define HASH_DEFAULT HASH_SHA256

enum hash_kind {
	HASH_LEAF = 0, /* 0 | bytes of the leaf                       (without a name of its own) */
	HASH_CHUNK = 1,     /* 1 | length u64 | leaf hashes */
	HASH_TREE = 2,      /* 2 | node bytes: directory node of the content tree */
	HASH_FILE = 3,      /* 3 | node bytes: chunk-list node */
	HASH_CAUSAL = 4,    /* 4 | node bytes: node of the causal tree */
	HASH_COMMIT = 5,    /* 5 | commit bytes with its signature */
	HASH_STATEMENT = 6, /* 6 | statement bytes with its signature */
	HASH_SHARE = 7,     /* 7 | body of the share's first statement: the share id */
	HASH_DEVICE = 8,    /* reserved; a device id is the plain SHA-256 of its public key bytes */
	HASH_SIGNED = 9,    /* 9 | domain text | 0 | body: what a signature signs */
};

enum { HASH_BYTES = 32, HASH_ID_BYTES = 33, HASH_ID_TEXT = 54 /* base32 and NUL */ };

/* Comes only out of a hash or hash_id_decode.  alg 0 is "none". */
struct hash_id {
	uint8_t alg;
	uint8_t bytes[HASH_BYTES];
};

static inline bool
hash_id_equal(const struct hash_id *a, const struct hash_id *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}
static inline bool
hash_id_is_none(const struct hash_id *a)
{
	return a->alg == 0;
}
static inline struct bytes
hash_id_bytes(const struct hash_id *a)
{
	return BYTES(a, HASH_ID_BYTES);
}
bool hash_alg_known(uint8_t alg);
void hash_id_encode(struct buf *to, const struct hash_id *id); /* alg byte, then 32 */
/* An unknown algorithm, none included, marks R bad. */
struct hash_id hash_id_decode(struct reader *r);
const char *hash_id_format(const struct hash_id *id, char out[static HASH_ID_TEXT]);
bool hash_id_parse(const char *text, struct hash_id *ret);
/* First characters, for people: 10 characters and NUL. */
const char *hash_id_short(const struct hash_id *id, char out[static 11]);

/* H(kind | parts...).  Made for small objects too: some 50 ns above the bare hash, the context is
 * per thread. */
void hash_object(enum hash_alg alg, enum hash_kind kind, struct bytes a, struct hash_id *ret);
void hash_object2(
    enum hash_alg alg, enum hash_kind kind, struct bytes a, struct bytes b, struct hash_id *ret);
/* H(0 | bytes) without the algorithm byte. */
void hash_leaf(enum hash_alg alg, struct bytes leaf, uint8_t out[static HASH_BYTES]);
/* Plain SHA-256 of two parts. */
void hash_sha256(struct bytes a, struct bytes b, uint8_t out[static HASH_BYTES]);
void hash_hmac_sha256(struct bytes key, struct bytes data, uint8_t out[static HASH_BYTES]);
/* Constant time. */
bool hash_secret_equal(struct bytes a, struct bytes b);
