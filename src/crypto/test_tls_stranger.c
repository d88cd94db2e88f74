/* Who is let in and who is not: the other end is OpenSSL itself over memory BIOs, and does as it
 * likes. */
#include "crypto/test_tls_pair.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

/* OpenSSL as the other end */
struct stranger {
	SSL_CTX *ctx;
	SSL *ssl;
	BIO *in, *out;
};

static EVP_PKEY *
stranger_certificate(SSL_CTX *c, const char *curve, bool is_rsa)
{
	EVP_PKEY *pkey = is_rsa ? EVP_RSA_gen(2048) : EVP_EC_gen(curve);
	X509 *x = X509_new();

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -1000);
	X509_gmtime_adj(X509_getm_notAfter(x), 1000);
	X509_set_pubkey(x, pkey);
	assert_true(X509_sign(x, pkey, EVP_sha256()) > 0);
	assert_int_equal(SSL_CTX_use_certificate(c, x), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(c, pkey), 1);
	X509_free(x);
	return pkey;
}

static void
stranger_open(struct stranger *s, bool is_server, const char *alpn, size_t alpn_len)
{
	if (s->ctx == NULL)
		s->ctx = SSL_CTX_new(TLS_method());
	if (alpn_len > 0)
		assert_int_equal(
		    SSL_CTX_set_alpn_protos(s->ctx, (const uint8_t *)alpn, (unsigned)alpn_len), 0);
	s->ssl = SSL_new(s->ctx);
	s->in = BIO_new(BIO_s_mem());
	s->out = BIO_new(BIO_s_mem());
	BIO_set_mem_eof_return(s->in, -1);
	SSL_set_bio(s->ssl, s->in, s->out);
	if (is_server)
		SSL_set_accept_state(s->ssl);
	else
		SSL_set_connect_state(s->ssl);
}

static void
stranger_close(struct stranger *s)
{
	SSL_free(s->ssl);
	SSL_CTX_free(s->ctx);
	ERR_clear_error();
}

/* Lets S and T talk until nothing moves. */
static enum err
stranger_meets(struct stranger *s, struct tls *t, struct error *e)
{
	bool moved = true;

	(void)!tls_handshake(t, NULL);
	for (int steps = 0; moved && steps < 100; steps++) {
		uint8_t block[8192];
		struct bytes out = tls_output(t);
		moved = false;
		if (out.len > 0) {
			assert_int_equal(BIO_write(s->in, out.at, (int)out.len), (int)out.len);
			tls_sent(t, out.len);
			moved = true;
		}
		if (!SSL_is_init_finished(s->ssl))
			(void)SSL_do_handshake(s->ssl);
		int n = BIO_read(s->out, block, sizeof block);
		if (n > 0) {
			tls_feed(t, BYTES(block, (size_t)n));
			(void)!tls_handshake(t, NULL);
			tls_keep(t);
			moved = true;
		}
	}
	ERR_clear_error();
	return tls_handshake(t, e);
}

static const char weft_alpn[] = "\x06weft/1";

#define WEFT_ALPN weft_alpn, sizeof weft_alpn - 1

static void
a_well_behaved_stranger_gets_in(void **state)
{
	/* the other tests of strangers are worth something only if this one passes */
	struct pair *p = *state;
	struct stranger s = { .ctx = SSL_CTX_new(TLS_method()) };
	EVP_PKEY *key = stranger_certificate(s.ctx, "P-256", false);

	stranger_open(&s, false, WEFT_ALPN);
	assert_ok(stranger_meets(&s, p->server.tls, &unit_error));
	assert_true(SSL_is_init_finished(s.ssl));
	stranger_close(&s);
	EVP_PKEY_free(key);
}

static void
a_client_without_a_certificate_is_refused(void **state)
{
	struct pair *p = *state;
	struct stranger s = { 0 };

	stranger_open(&s, false, WEFT_ALPN);
	assert_err(ERR_PROTO, stranger_meets(&s, p->server.tls, &unit_error));
	assert_non_null(strstr(unit_error.text, "certificate"));
	stranger_close(&s);
}

static void
tls_1_2_is_refused(void **state)
{
	struct pair *p = *state;
	struct stranger s = { .ctx = SSL_CTX_new(TLS_method()) };
	EVP_PKEY *key = stranger_certificate(s.ctx, "P-256", false);

	SSL_CTX_set_max_proto_version(s.ctx, TLS1_2_VERSION);
	stranger_open(&s, false, WEFT_ALPN);
	assert_err(ERR_PROTO, stranger_meets(&s, p->server.tls, &unit_error));
	assert_non_null(strstr(unit_error.text, "protocol"));
	stranger_close(&s);
	EVP_PKEY_free(key);
}

static void
another_alpn_or_none_is_refused_from_a_client(void **state)
{
	struct pair *p = *state;
	static const struct {
		const char *alpn;
		size_t n;
	} cases[] = { { "\x02h2\x08http/1.1", 12 }, { "\x06weft/2", 7 }, { NULL, 0 } };

	for (size_t i = 0; i < lengthof(cases); i++) {
		struct stranger s = { .ctx = SSL_CTX_new(TLS_method()) };
		EVP_PKEY *key = stranger_certificate(s.ctx, "P-256", false);
		dial(p);
		stranger_open(&s, false, cases[i].alpn, cases[i].n);
		assert_err(ERR_PROTO, stranger_meets(&s, p->server.tls, &unit_error));
		stranger_close(&s);
		EVP_PKEY_free(key);
	}
}

static void
a_server_without_alpn_is_refused(void **state)
{
	struct pair *p = *state;
	struct stranger s = { .ctx = SSL_CTX_new(TLS_method()) };
	EVP_PKEY *key = stranger_certificate(s.ctx, "P-256", false);

	tls_free(p->client.tls);
	p->client.tls = tls_new_client(p->client.ctx, NULL);
	stranger_open(&s, true, NULL, 0);
	assert_err(ERR_PROTO, stranger_meets(&s, p->client.tls, &unit_error));
	assert_non_null(strstr(unit_error.text, "weft/1"));
	stranger_close(&s);
	EVP_PKEY_free(key);
}

static int
accept_any(int ok, X509_STORE_CTX *store)
{
	(void)ok;
	(void)store;
	return 1;
}

static int
choose_weft(
    SSL *ssl, const uint8_t **ret, uint8_t *ret_n, const uint8_t *offered, unsigned n, void *arg)
{
	(void)ssl;
	(void)offered;
	(void)n;
	(void)arg;
	*ret = (const uint8_t *)weft_alpn + 1;
	*ret_n = sizeof weft_alpn - 2;
	return SSL_TLSEXT_ERR_OK;
}

static void
a_wrong_server_does_not_learn_who_called(void **state)
{
	/* The pin is checked before our own certificate goes out. */
	struct pair *p = *state;
	struct stranger s = { .ctx = SSL_CTX_new(TLS_method()) };
	EVP_PKEY *key = stranger_certificate(s.ctx, "P-256", false);

	SSL_CTX_set_verify(s.ctx, SSL_VERIFY_PEER, accept_any);
	SSL_CTX_set_alpn_select_cb(s.ctx, choose_weft, NULL);
	stranger_open(&s, true, NULL, 0);
	assert_err(ERR_DENIED, stranger_meets(&s, p->client.tls, &unit_error));
	assert_null(SSL_get0_peer_certificate(s.ssl));
	stranger_close(&s);
	/* the same one, expected, does */
	tls_free(p->client.tls);
	p->client.tls = tls_new_client(p->client.ctx, NULL);
	s = (struct stranger){ .ctx = SSL_CTX_new(TLS_method()) };
	SSL_CTX_set_verify(s.ctx, SSL_VERIFY_PEER, accept_any);
	SSL_CTX_set_alpn_select_cb(s.ctx, choose_weft, NULL);
	EVP_PKEY *again = stranger_certificate(s.ctx, "P-256", false);
	stranger_open(&s, true, NULL, 0);
	assert_ok(stranger_meets(&s, p->client.tls, &unit_error));
	assert_non_null(SSL_get0_peer_certificate(s.ssl));
	EVP_PKEY_free(again);
	stranger_close(&s);
	EVP_PKEY_free(key);
}

static void
keys_other_than_p256_are_refused(void **state)
{
	struct pair *p = *state;
	static const char *const curves[] = { "P-384", "P-521", "secp256k1", NULL };

	for (size_t i = 0; i < lengthof(curves); i++) {
		struct stranger s = { .ctx = SSL_CTX_new(TLS_method()) };
		EVP_PKEY *key = stranger_certificate(s.ctx, curves[i], curves[i] == NULL);
		dial(p);
		stranger_open(&s, false, WEFT_ALPN);
		assert_err(ERR_PROTO, stranger_meets(&s, p->server.tls, &unit_error));
		assert_false(tls_is_ready(p->server.tls));
		stranger_close(&s);
		EVP_PKEY_free(key);
	}
}

static void
a_certificate_of_many_kilobytes_is_refused(void **state)
{
	struct pair *p = *state;
	struct stranger s = { .ctx = SSL_CTX_new(TLS_method()) };
	EVP_PKEY *key = stranger_certificate(s.ctx, "P-256", false);
	X509 *own = X509_dup(SSL_CTX_get0_certificate(s.ctx));

	/* the same one, again and again, as its own issuers */
	for (int i = 0; i < 40; i++)
		assert_int_equal(SSL_CTX_add1_chain_cert(s.ctx, own), 1);
	stranger_open(&s, false, WEFT_ALPN);
	assert_err(ERR_PROTO, stranger_meets(&s, p->server.tls, &unit_error));
	stranger_close(&s);
	X509_free(own);
	EVP_PKEY_free(key);
}

static void
a_peer_that_never_reads_cannot_make_us_grow(void **state)
{
	struct pair *p = *state;
	struct stranger s = { .ctx = SSL_CTX_new(TLS_method()) };
	EVP_PKEY *key = stranger_certificate(s.ctx, "P-256", false);
	enum err r = ERR_AGAIN;

	stranger_open(&s, false, WEFT_ALPN);
	assert_ok(stranger_meets(&s, p->server.tls, &unit_error));
	/* each key update asks for one in return, and none of those is ever taken */
	for (int i = 0; i < 20000 && r == ERR_AGAIN; i++) {
		uint8_t block[1000];
		size_t n = 0;
		assert_int_equal(SSL_key_update(s.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		assert_int_equal(SSL_do_handshake(s.ssl), 1);
		int got = BIO_read(s.out, block, sizeof block);
		assert_true(got > 0);
		tls_feed(p->server.tls, BYTES(block, (size_t)got));
		r = tls_read(p->server.tls, block, sizeof block, &n, &unit_error);
		tls_keep(p->server.tls);
		assert_true(tls_output(p->server.tls).len <= TLS_OUT_MAX + 32 * 1024);
	}
	assert_int_equal(r, ERR_LIMIT);
	stranger_close(&s);
	EVP_PKEY_free(key);
}

int
main(void)
{
#define PAIR(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)
	const struct CMUnitTest tests[] = {
		PAIR(a_well_behaved_stranger_gets_in),
		PAIR(a_client_without_a_certificate_is_refused),
		PAIR(tls_1_2_is_refused),
		PAIR(another_alpn_or_none_is_refused_from_a_client),
		PAIR(a_server_without_alpn_is_refused),
		PAIR(a_wrong_server_does_not_learn_who_called),
		PAIR(keys_other_than_p256_are_refused),
		PAIR(a_certificate_of_many_kilobytes_is_refused),
		PAIR(a_peer_that_never_reads_cannot_make_us_grow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
