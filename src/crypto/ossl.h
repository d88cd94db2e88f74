/*
 * ossl: what the files of this module share about OpenSSL.  Not for other modules.
 */
#pragma once

#include <openssl/evp.h>

#include "crypto/device_key.h"

struct device_key {
	EVP_PKEY *pkey;
	struct public_key public;
	struct device_id id;
};

enum {
	OSSL_POINT_BYTES = 33, /* 02 or 03, then x */
	OSSL_SPKI_BYTES = 91,  /* SubjectPublicKeyInfo of P-256, uncompressed */
};

/* Fills *E with WHAT and OpenSSL's first reason; empties its error queue.  Returns CODE. */
#define ossl_fail(e, code, what) ossl_error((e), (code), HERE, (what))
enum err ossl_error(struct error *e, enum err code, const char *where, const char *what);

/* Gives an EVP_PKEY, or NULL when K is no point of the curve. */
EVP_PKEY *ossl_pkey_of(const struct public_key *k);
/* The key in the DER of a SubjectPublicKeyInfo; false unless it is P-256, named, uncompressed. */
bool ossl_public_of_spki(struct bytes der, struct public_key *ret);
