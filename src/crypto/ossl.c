#include "crypto/ossl.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>

/* SEQUENCE { SEQUENCE { ecPublicKey, prime256v1 }, BIT STRING { 04 ... } }, up to the point's
 * format byte. Compared as bytes, so that no other way to write a key down (explicit parameters
 * above all) gets in. */
static const uint8_t spki_p256[] = { 0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce,
	0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42,
	0x00, 0x04 };

enum err
ossl_error(struct error *e, enum err code, const char *where, const char *what)
{
	unsigned long first = ERR_peek_error();
	const char *reason = first != 0 ? ERR_reason_error_string(first) : NULL;

	if (reason != NULL)
		error_set(e, code, 0, where, "%s: %s", what, reason);
	else
		error_set(e, code, 0, where, "%s", what);
	ERR_clear_error();
	return code;
}

EVP_PKEY *
ossl_pkey_of(const struct public_key *k)
{
	char group[] = "P-256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(
		    OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)k->bytes, k->len),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY *pkey = NULL;

	if (k->alg != KEY_P256 || k->len != OSSL_POINT_BYTES)
		return NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
		pkey = NULL;
	EVP_PKEY_CTX_free(ctx);
	return pkey;
}

bool
ossl_public_of_spki(struct bytes der, struct public_key *ret)
{
	if (der.len != OSSL_SPKI_BYTES || memcmp(der.at, spki_p256, sizeof spki_p256) != 0)
		return false;
	const uint8_t *x = der.at + sizeof spki_p256;
	uint8_t y_last = der.at[der.len - 1];

	*ret = (struct public_key){ .alg = KEY_P256, .len = OSSL_POINT_BYTES };
	ret->bytes[0] = 2 | (y_last & 1);
	memcpy(ret->bytes + 1, x, OSSL_POINT_BYTES - 1);
	return true;
}
