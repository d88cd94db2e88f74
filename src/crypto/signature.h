/*
 * signature: what making and checking a signature have in common.  Not for other modules; theirs is
 * crypto/device_key.h.
 */
#pragma once

#include "crypto/device_key.h"
#include "crypto/hash.h"

enum {
	SIGNATURE_HALF = 32, /* r, and s */
	SIGNATURE_P256 = 2 * SIGNATURE_HALF,
	SIGNATURE_DER_MAX = 72, /* ECDSA-Sig-Value of P-256 */
};

/* What is signed: H(9 | DOMAIN | 0 | BODY). */
void signature_digest(const char *domain, struct bytes body, struct hash_id *ret);
/* From OpenSSL's form, s brought to the lower half; false if it is none. */
bool signature_of_der(struct bytes der, struct signature *ret);
