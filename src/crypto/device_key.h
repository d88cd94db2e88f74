/*
 * device_key: key pairs and the names that follow from them.
 *
 * A device makes its key itself and never sends the private half.  A public key is an algorithm
 * byte and its bytes: ECDSA P-256 is KEY_P256 with the 33-byte compressed point.  A device id is
 * the SHA-256 of those 34 bytes; as text base32 in groups of 13 with dashes (52 characters + 3
 * dashes), parsed in any case and grouping.  An authority is the same kind of key; everything takes
 * either.
 *
 * Signatures are ECDSA over SHA-256, raw r || s, 64 bytes, behind an algorithm byte.
 *
 * Threads    any; a key may sign in several threads at once.
 */
#pragma once

#include "base/buf.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/reader.h"

enum key_alg { KEY_P256 = 1 };
enum {
	PUBLIC_KEY_MAX = 64,
	SIGNATURE_MAX = 80,
	DEVICE_ID_BYTES = 32,
	DEVICE_ID_TEXT = 56, /* with dashes and NUL */
	DEVICE_ID_SHORT = 8, /* first 7 characters and NUL */
};

struct device_id {
	uint8_t bytes[DEVICE_ID_BYTES];
};
struct public_key {
	uint8_t alg, len;
	uint8_t bytes[PUBLIC_KEY_MAX];
};
struct signature {
	uint8_t alg, len;
	uint8_t bytes[SIGNATURE_MAX];
};
struct device_key; /* private and public half */

static inline bool
device_id_equal(const struct device_id *a, const struct device_id *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}
const char *device_id_format(const struct device_id *id, char out[static DEVICE_ID_TEXT]);
const char *device_id_short(const struct device_id *id, char out[static DEVICE_ID_SHORT]);
bool device_id_parse(const char *text, struct device_id *ret);
struct device_id device_id_of(const struct public_key *k);

/* alg, len, bytes; decode checks that the point is on the curve (bad otherwise). */
void public_key_encode(struct buf *to, const struct public_key *k);
struct public_key public_key_decode(struct reader *r);
void signature_encode(struct buf *to, const struct signature *s);
struct signature signature_decode(struct reader *r);

/* Gives *RET; device_key_free (wipes). */
enum err device_key_generate(struct device_key **ret, struct error *e) must_check;
void device_key_free(struct device_key *k);
DEFINE_FREE_P(device_key)
/* PEM (PKCS#8) text, for a 0600 file of our own. */
enum err device_key_to_pem(const struct device_key *k, struct buf *out, struct error *e) must_check;
enum err device_key_from_pem(struct bytes pem, struct device_key **ret, struct error *e) must_check;
const struct public_key *device_key_public(const struct device_key *k); /* borrowed */
const struct device_id *device_key_id(const struct device_key *k);      /* borrowed */

/* Signs H(9 | DOMAIN | 0 | BODY): a signature for one domain is none for another. */
enum err device_key_sign(const struct device_key *k, const char *domain, struct bytes body,
    struct signature *ret, struct error *e) must_check;
/* ERR_DENIED if SIG is not K's over BODY in DOMAIN. */
enum err signature_verify(const struct public_key *k, const char *domain, struct bytes body,
    const struct signature *sig, struct error *e) must_check;
