/*
 * One signature has one encoding.  (r, n - s) is as good a signature as (r, s), and anybody can
 * make one from the other; as commits and statements are named by the hash of their bytes with the
 * signature, a stranger could give a second name to what somebody else signed.  So s is in the
 * lower half, or it is no signature.
 */
#include "crypto/device_key.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>

#include "crypto/hash.h"
#include "crypto/ossl.h"
#include "crypto/signature.h"

/* the order n of P-256's group, and (n - 1) / 2 */
static const uint8_t order[SIGNATURE_HALF] = { 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
	0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51 };
static const uint8_t half_order[SIGNATURE_HALF] = { 0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00,
	0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf,
	0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8 };

static bool
is_low(const uint8_t s[static SIGNATURE_HALF])
{
	return memcmp(s, half_order, SIGNATURE_HALF) <= 0;
}

/* s = n - s */
static void
negate(uint8_t s[static SIGNATURE_HALF])
{
	int borrow = 0;

	for (size_t i = SIGNATURE_HALF; i-- > 0;) {
		int d = order[i] - s[i] - borrow;
		borrow = d < 0;
		s[i] = (uint8_t)d;
	}
}

void
signature_digest(const char *domain, struct bytes body, struct hash_id *ret)
{
	/* The NUL that ends the text is the 0 that ends the domain. */
	hash_object2(HASH_SHA256, HASH_SIGNED, BYTES(domain, strlen(domain) + 1), body, ret);
}

static bool
is_well_formed(const struct signature *s)
{
	return s->alg == KEY_P256 && s->len == SIGNATURE_P256 && is_low(s->bytes + SIGNATURE_HALF);
}

void
signature_encode(struct buf *to, const struct signature *s)
{
	buf_u8(to, s->alg);
	buf_u8(to, s->len);
	buf_add(to, s->bytes, s->len);
}

struct signature
signature_decode(struct reader *r)
{
	struct signature s = { .alg = reader_u8(r), .len = reader_u8(r) };

	reader_copy(r, s.bytes, SIGNATURE_P256);
	if (!is_well_formed(&s))
		r->bad = true;
	return r->bad ? (struct signature){ 0 } : s;
}

/* r || s as the DER that OpenSSL wants; its length, 0 when there is no memory. */
static size_t
to_der(const struct signature *s, uint8_t out[static SIGNATURE_DER_MAX])
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(s->bytes, SIGNATURE_HALF, NULL);
	BIGNUM *v = BN_bin2bn(s->bytes + SIGNATURE_HALF, SIGNATURE_HALF, NULL);
	int n = 0;

	if (sig != NULL && r != NULL && v != NULL && ECDSA_SIG_set0(sig, r, v) == 1) {
		r = v = NULL; /* sig's now */
		n = i2d_ECDSA_SIG(sig, &out);
	}
	BN_free(r);
	BN_free(v);
	ECDSA_SIG_free(sig);
	return n > 0 ? (size_t)n : 0;
}

bool
signature_of_der(struct bytes der, struct signature *ret)
{
	const uint8_t *at = der.at;
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)der.len);
	struct signature raw = { .alg = KEY_P256, .len = SIGNATURE_P256 };
	uint8_t *s = raw.bytes + SIGNATURE_HALF;
	bool ok = sig != NULL &&
		  BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw.bytes, SIGNATURE_HALF) > 0 &&
		  BN_bn2binpad(ECDSA_SIG_get0_s(sig), s, SIGNATURE_HALF) > 0;

	ECDSA_SIG_free(sig);
	if (!ok)
		return false;
	if (!is_low(s))
		negate(s);
	*ret = raw;
	return true;
}

static bool
verifies(EVP_PKEY *pkey, const struct hash_id *digest, const struct signature *sig)
{
	uint8_t der[SIGNATURE_DER_MAX];
	size_t n = to_der(sig, der);
	EVP_PKEY_CTX *ctx = n > 0 ? EVP_PKEY_CTX_new(pkey, NULL) : NULL;
	bool ok = ctx != NULL && EVP_PKEY_verify_init(ctx) == 1 &&
		  EVP_PKEY_verify(ctx, der, n, digest->bytes, HASH_BYTES) == 1;

	EVP_PKEY_CTX_free(ctx);
	return ok;
}

enum err
signature_verify(const struct public_key *k, const char *domain, struct bytes body,
    const struct signature *sig, struct error *e)
{
	struct hash_id digest;

	if (!is_well_formed(sig))
		return fail(e, ERR_DENIED, "signature of unknown form");
	EVP_PKEY *pkey = ossl_pkey_of(k);
	if (pkey == NULL)
		return ossl_fail(e, ERR_DENIED, "signature by no key that we know");
	signature_digest(domain, body, &digest);
	bool ok = verifies(pkey, &digest, sig);
	EVP_PKEY_free(pkey);
	ERR_clear_error();
	return ok ? OK : fail(e, ERR_DENIED, "signature does not match");
}
