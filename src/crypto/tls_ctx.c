/*
 * Who may connect.  A certificate is only the envelope of a public key: names, issuers, times and
 * extensions in it are not looked at.  That the peer holds the private half is what the handshake
 * proves.
 */
#include <openssl/err.h>
#include <openssl/x509.h>

#include "base/mem.h"
#include "crypto/ossl.h"
#include "crypto/tls_private.h"

enum { PEER_CERT_MAX = 4096 }; /* bytes; ours have about 330 */

/* The newest syntax that this OpenSSL understands: '*' sends a key share at once, '/' sets levels
 * of preference. */
static const char *const group_lists[] = {
	"*X25519MLKEM768/*X25519:P-256:P-384",
	"X25519MLKEM768:X25519:P-256:P-384",
	"X25519:P-256:P-384",
};

static const char suites[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

static const uint8_t alpn_offer[] = "\x06" TLS_ALPN;

static void
x509_free_p(X509 **x)
{
	X509_free(*x);
}

/* Valid always: the certificate says nothing that could become untrue. */
static X509 *
make_certificate(EVP_PKEY *pkey)
{
	auto_(x509_free_p) X509 *x = X509_new();
	X509_NAME *name = x != NULL ? X509_get_subject_name(x) : NULL;

	if (x == NULL || X509_set_version(x, X509_VERSION_3) != 1 ||
	    ASN1_INTEGER_set(X509_get_serialNumber(x), 1) != 1 ||
	    ASN1_TIME_set_string(X509_getm_notBefore(x), "20000101000000Z") != 1 ||
	    ASN1_TIME_set_string(X509_getm_notAfter(x), "99991231235959Z") != 1 ||
	    X509_NAME_add_entry_by_txt(
		name, "CN", MBSTRING_ASC, (const uint8_t *)"weft", -1, -1, 0) != 1 ||
	    X509_set_issuer_name(x, name) != 1 || X509_set_pubkey(x, pkey) != 1 ||
	    X509_sign(x, pkey, EVP_sha256()) <= 0)
		return NULL;
	return take_ptr(x);
}

/* OpenSSL reads the key as well, and knows the curve: an x with a wrong y, which has the id of the
 * x with the right one, goes no further than here. */
static bool
key_of_certificate(X509 *x, struct public_key *ret)
{
	uint8_t *der = NULL;
	bool is_point = x != NULL && X509_get0_pubkey(x) != NULL;
	int n = is_point ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der) : 0;
	bool ok = n > 0 && ossl_public_of_spki(BYTES(der, (size_t)n), ret);

	OPENSSL_free(der);
	return ok;
}

static bool
speaks_weft(SSL *ssl)
{
	const uint8_t *name = NULL;
	unsigned n = 0;

	SSL_get0_alpn_selected(ssl, &name, &n);
	return bytes_equal(BYTES(name, n), BYTES_LIT(TLS_ALPN));
}

static enum err
check_peer(struct tls *t, X509 *x)
{
	char want[DEVICE_ID_SHORT], got[DEVICE_ID_SHORT], text[160];

	if (!speaks_weft(t->ssl))
		return tls_fail(t, ERR_PROTO, HERE, "the peer does not speak " TLS_ALPN);
	if (!key_of_certificate(x, &t->peer_key))
		return tls_fail(t, ERR_PROTO, HERE, "the peer's certificate holds no key of P-256");
	t->peer_id = device_id_of(&t->peer_key);
	if (!t->has_expect || device_id_equal(&t->expect, &t->peer_id))
		return OK;
	snprintf(text, sizeof text,
	    "who answers is %s, not %s: another machine has this address now, or somebody is in "
	    "between",
	    device_id_short(&t->peer_id, got), device_id_short(&t->expect, want));
	return tls_fail(t, ERR_DENIED, HERE, text);
}

/* In place of OpenSSL's walk along a chain of certificates. */
static int
on_peer_certificate(X509_STORE_CTX *store, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls *t = BIO_get_data(SSL_get_rbio(ssl));

	(void)arg;
	bool ok = check_peer(t, X509_STORE_CTX_get0_cert(store)) == OK;
	X509_STORE_CTX_set_error(store, ok ? X509_V_OK : X509_V_ERR_CERT_REJECTED);
	return ok;
}

static int
on_alpn_offered(
    SSL *ssl, const uint8_t **ret, uint8_t *ret_n, const uint8_t *offered, unsigned n, void *arg)
{
	uint8_t *chosen = NULL;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, ret_n, alpn_offer, sizeof alpn_offer - 1, offered, n) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*ret = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static bool
set_groups(SSL_CTX *c)
{
	bool ok = false;

	for (size_t i = 0; i < lengthof(group_lists) && !ok; i++) {
		ok = SSL_CTX_set1_groups_list(c, group_lists[i]) == 1;
		ERR_clear_error();
	}
	return ok;
}

static bool
set_protocol(SSL_CTX *c)
{
	SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_max_cert_list(c, PEER_CERT_MAX);
	SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(c, on_peer_certificate, NULL);
	SSL_CTX_set_alpn_select_cb(c, on_alpn_offered, NULL);
	/* set_alpn_protos is the one call here that returns 0 when all is well */
	return SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_max_proto_version(c, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_ciphersuites(c, suites) == 1 &&
	       SSL_CTX_set1_sigalgs_list(c, "ECDSA+SHA256") == 1 &&
	       SSL_CTX_set_num_tickets(c, 0) == 1 && SSL_CTX_set_max_early_data(c, 0) == 1 &&
	       set_groups(c) && SSL_CTX_set_alpn_protos(c, alpn_offer, sizeof alpn_offer - 1) == 0;
}

static bool
set_key(SSL_CTX *c, EVP_PKEY *pkey)
{
	auto_(x509_free_p) X509 *x = make_certificate(pkey);

	return x != NULL && SSL_CTX_use_certificate(c, x) == 1 &&
	       SSL_CTX_use_PrivateKey(c, pkey) == 1;
}

enum err
tls_ctx_new(const struct device_key *key, struct tls_ctx **ret, struct error *e)
{
	auto_(tls_ctx_free_p) struct tls_ctx *c = mem_new(struct tls_ctx);

	c->ssl = SSL_CTX_new(TLS_method());
	c->bio = tls_bio_method();
	if (c->ssl == NULL || c->bio == NULL || !set_protocol(c->ssl) ||
	    !set_key(c->ssl, key->pkey))
		return ossl_fail(e, ERR_BUG, "set up TLS");
	*ret = take_ptr(c);
	return OK;
}

void
tls_ctx_free(struct tls_ctx *c)
{
	if (c == NULL)
		return;
	SSL_CTX_free(c->ssl);
	BIO_meth_free(c->bio);
	free(c);
}
