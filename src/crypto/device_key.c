#include "crypto/device_key.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/mem.h"
#include "crypto/hash.h"
#include "crypto/ossl.h"
#include "crypto/signature.h"

enum { PEM_MAX = 4096 };

static void
bio_free_p(BIO **b)
{
	BIO_free(*b); /* wipes: memory BIOs hold their bytes in a cleansed buffer */
}

static void
pkey_free_p(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}

static void
pkey_ctx_free_p(EVP_PKEY_CTX **c)
{
	EVP_PKEY_CTX_free(*c);
}

/* Takes PKEY on success. */
static enum err
adopt(EVP_PKEY *pkey, struct device_key **ret, struct error *e)
{
	uint8_t der[OSSL_SPKI_BYTES], *to = der;
	struct public_key public;

	if (i2d_PUBKEY(pkey, NULL) != OSSL_SPKI_BYTES || i2d_PUBKEY(pkey, &to) != OSSL_SPKI_BYTES ||
	    !ossl_public_of_spki(BYTES(der, sizeof der), &public))
		return ossl_fail(e, ERR_CORRUPT, "the private key is not on P-256");
	struct device_key *k = mem_new(struct device_key);
	k->pkey = pkey;
	k->public = public;
	k->id = device_id_of(&public);
	*ret = k;
	return OK;
}

enum err
device_key_generate(struct device_key **ret, struct error *e)
{
	auto_(pkey_free_p) EVP_PKEY *pkey = EVP_EC_gen("P-256");

	if (pkey == NULL)
		return ossl_fail(e, ERR_BUG, "make a key");
	enum err r = adopt(pkey, ret, e);
	if (r == OK)
		pkey = NULL;
	return r;
}

void
device_key_free(struct device_key *k)
{
	if (k == NULL)
		return;
	EVP_PKEY_free(k->pkey); /* wipes the private number */
	free(k);
}

enum err
device_key_to_pem(const struct device_key *k, struct buf *out, struct error *e)
{
	auto_(bio_free_p) BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;

	if (bio == NULL ||
	    PEM_write_bio_PKCS8PrivateKey(bio, k->pkey, NULL, NULL, 0, NULL, NULL) != 1)
		return ossl_fail(e, ERR_BUG, "write the private key as PEM");
	long n = BIO_get_mem_data(bio, &text);
	if (n <= 0 || !buf_add(out, text, (size_t)n))
		return fail(e, ERR_LIMIT, "private key of %ld bytes does not fit", n);
	return OK;
}

/* Our keys have no password; OpenSSL would ask for one on the terminal. */
static int
no_password(char *to, int size, int writing, void *ctx)
{
	(void)to;
	(void)size;
	(void)writing;
	(void)ctx;
	return -1;
}

/* The public half that the file states belongs to the private one. */
static bool
is_sound(EVP_PKEY *pkey)
{
	auto_(pkey_ctx_free_p) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);

	return ctx != NULL && EVP_PKEY_check(ctx) == 1;
}

enum err
device_key_from_pem(struct bytes pem, struct device_key **ret, struct error *e)
{
	if (pem.len == 0 || pem.len > PEM_MAX)
		return fail(e, ERR_CORRUPT, "private key file of %zu bytes", pem.len);
	auto_(bio_free_p) BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.len);
	auto_(pkey_free_p) EVP_PKEY *pkey =
	    bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
	if (pkey == NULL)
		return ossl_fail(e, ERR_CORRUPT, "no private key in the PEM text");
	if (!is_sound(pkey))
		return ossl_fail(e, ERR_CORRUPT, "the private key does not match its public half");
	enum err r = adopt(pkey, ret, e);
	if (r == OK)
		pkey = NULL;
	return r;
}

const struct public_key *
device_key_public(const struct device_key *k)
{
	return &k->public;
}

const struct device_id *
device_key_id(const struct device_key *k)
{
	return &k->id;
}

static bool
make_signature(EVP_PKEY *pkey, const struct hash_id *digest, struct signature *ret)
{
	auto_(pkey_ctx_free_p) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
	uint8_t der[SIGNATURE_DER_MAX];
	size_t n = sizeof der;

	return ctx != NULL && EVP_PKEY_sign_init(ctx) == 1 &&
	       EVP_PKEY_sign(ctx, der, &n, digest->bytes, HASH_BYTES) == 1 &&
	       signature_of_der(BYTES(der, n), ret);
}

enum err
device_key_sign(const struct device_key *k, const char *domain, struct bytes body,
    struct signature *ret, struct error *e)
{
	struct hash_id digest;

	signature_digest(domain, body, &digest);
	if (!make_signature(k->pkey, &digest, ret))
		return ossl_fail(e, ERR_BUG, "sign");
	return OK;
}
