/* Both ends in memory; where the other end must misbehave, it is OpenSSL itself over memory BIOs.
 */
#include "tests/unit.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/mem.h"
#include "base/rng.h"
#include "crypto/random.h"
#include "crypto/tls.h"

enum { STEPS_MAX = 10000 };

struct side {
	struct device_key *key;
	struct tls_ctx *ctx;
	struct tls *tls;
};

struct pair {
	struct side client, server;
	size_t step; /* bytes handed over at once */
};

static void
open_side(struct side *s)
{
	assert_ok(device_key_generate(&s->key, &unit_error));
	assert_ok(tls_ctx_new(s->key, &s->ctx, &unit_error));
}

static void
close_side(struct side *s)
{
	tls_free(s->tls);
	tls_ctx_free(s->ctx);
	device_key_free(s->key);
}

static void
dial(struct pair *p)
{
	tls_free(p->client.tls);
	tls_free(p->server.tls);
	p->client.tls = tls_new_client(p->client.ctx, device_key_id(p->server.key));
	p->server.tls = tls_new_server(p->server.ctx);
}

static int
open_pair(void **state)
{
	struct pair *p = mem_new(struct pair);

	open_side(&p->client);
	open_side(&p->server);
	p->step = SIZE_MAX;
	dial(p);
	*state = p;
	return 0;
}

static int
close_pair(void **state)
{
	struct pair *p = *state;

	close_side(&p->client);
	close_side(&p->server);
	free(p);
	return 0;
}

/* Hands FROM's output to TO, at most STEP bytes, as a socket would: the bytes are gone afterwards.
 */
static bool
carry(struct tls *from, struct tls *to, size_t step)
{
	struct bytes out = tls_output(from);
	size_t n = min_of(out.len, step);

	if (n == 0)
		return false;
	auto_free uint8_t *block = mem_dup(out.at, n);
	tls_sent(from, n);
	tls_feed(to, BYTES(block, n));
	if (!tls_is_ready(to))
		(void)!tls_handshake(to, NULL);
	tls_keep(to);
	memset(block, 0xee, n);
	return true;
}

/* Handshakes until nothing moves any more; returns what each side says. */
static void
shake(struct pair *p, enum err *ret_client, enum err *ret_server, struct error *client_e,
    struct error *server_e)
{
	int steps = 0;

	(void)!tls_handshake(p->client.tls, NULL);
	while (carry(p->client.tls, p->server.tls, p->step) ||
	       carry(p->server.tls, p->client.tls, p->step))
		assert_true(++steps < STEPS_MAX);
	*ret_client = tls_handshake(p->client.tls, client_e);
	*ret_server = tls_handshake(p->server.tls, server_e);
}

static void
connect_pair(struct pair *p)
{
	enum err c, s;
	struct error ce = { 0 }, se = { 0 };

	shake(p, &c, &s, &ce, &se);
	if (c != OK || s != OK)
		unit_fail("client: %s, server: %s", ce.text, se.text);
}

/* All that arrived at T, appended to TO; what ended it. */
static enum err
drain(struct tls *t, struct buf *to)
{
	uint8_t block[20000];
	size_t n = 0;
	enum err r;

	while ((r = tls_read(t, block, sizeof block, &n, &unit_error)) == OK)
		assert_true(buf_add(to, block, n));
	return r;
}

/* who */

static void
both_sides_know_each_other_after_the_handshake(void **state)
{
	struct pair *p = *state;

	assert_false(tls_is_ready(p->client.tls));
	connect_pair(p);
	assert_true(tls_is_ready(p->client.tls));
	assert_true(tls_is_ready(p->server.tls));
	assert_true(device_id_equal(tls_peer_id(p->client.tls), device_key_id(p->server.key)));
	assert_true(device_id_equal(tls_peer_id(p->server.tls), device_key_id(p->client.key)));
	assert_memory_equal(tls_peer_key(p->server.tls), device_key_public(p->client.key),
	    sizeof(struct public_key));
	assert_string_equal(tls_cipher(p->client.tls), "TLS_AES_128_GCM_SHA256");
	assert_string_equal(tls_group(p->client.tls), tls_group(p->server.tls));
	assert_non_null(strstr(tls_group(p->client.tls), "25519"));
}

static void
a_client_may_not_care_who_answers(void **state)
{
	struct pair *p = *state;

	tls_free(p->client.tls);
	p->client.tls = tls_new_client(p->client.ctx, NULL);
	connect_pair(p);
	assert_true(device_id_equal(tls_peer_id(p->client.tls), device_key_id(p->server.key)));
}

static void
another_server_than_expected_is_denied(void **state)
{
	struct pair *p = *state;
	enum err c, s;
	struct error ce, se;

	tls_free(p->client.tls);
	p->client.tls = tls_new_client(p->client.ctx, device_key_id(p->client.key));
	shake(p, &c, &s, &ce, &se);
	assert_int_equal(c, ERR_DENIED);
	assert_non_null(strstr(ce.text, "who answers is"));
	assert_int_equal(s, ERR_PROTO); /* the alert */
	assert_false(tls_is_ready(p->client.tls));
	assert_false(tls_is_ready(p->server.tls));
	/* and stays so */
	assert_err(ERR_DENIED, tls_handshake(p->client.tls, &unit_error));
	assert_err(ERR_DENIED, tls_write(p->client.tls, BYTES_LIT("x"), &unit_error));
}

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

/* bytes */

static void
bytes_arrive_in_order_both_ways(void **state)
{
	struct pair *p = *state;
	auto_buf struct buf got = BUF(1000);

	connect_pair(p);
	assert_ok(tls_write(p->client.tls, BYTES_LIT("one "), &unit_error));
	assert_ok(tls_write(p->client.tls, BYTES_LIT("two"), &unit_error));
	assert_ok(tls_write(p->server.tls, BYTES_LIT("three"), &unit_error));
	assert_ok(tls_write(p->server.tls, BYTES(NULL, 0), &unit_error));
	carry(p->client.tls, p->server.tls, SIZE_MAX);
	assert_int_equal(drain(p->server.tls, &got), ERR_AGAIN);
	assert_string_equal(buf_text(&got), "one two");
	buf_reset(&got);
	carry(p->server.tls, p->client.tls, SIZE_MAX);
	assert_int_equal(drain(p->client.tls, &got), ERR_AGAIN);
	assert_string_equal(buf_text(&got), "three");
}

static void
bytes_may_come_one_by_one(void **state)
{
	struct pair *p = *state;
	auto_buf struct buf got = BUF(100000);
	uint8_t plain[17000];

	p->step = 1;
	connect_pair(p);
	random_fill(plain, sizeof plain);
	assert_ok(tls_write(p->client.tls, BYTES(plain, sizeof plain), &unit_error));
	while (carry(p->client.tls, p->server.tls, 1))
		assert_int_equal(drain(p->server.tls, &got), ERR_AGAIN);
	assert_true(bytes_equal(buf_bytes(&got), BYTES(plain, sizeof plain)));
}

/* Byte AT of the stream of SEED. */
static uint8_t
pattern(uint64_t seed, uint64_t at)
{
	return (uint8_t)(((at + seed) * 0x9e3779b97f4a7c15u) >> 56);
}

struct stream {
	struct tls *from, *to;
	uint64_t seed;
	size_t n, written, got;
};

static void
stream_write(struct stream *s, struct rng *dice)
{
	static uint8_t plain[TLS_WRITE_MAX];
	size_t may = min_of(s->n - s->written, tls_write_room(s->from));
	size_t part = min_of(rng_below(dice, TLS_WRITE_MAX) + 1, may);

	for (size_t i = 0; i < part; i++)
		plain[i] = pattern(s->seed, s->written + i);
	assert_ok(tls_write(s->from, BYTES(plain, part), &unit_error));
	s->written += part;
	assert_true(tls_output(s->from).len <= TLS_OUT_MAX);
}

static void
stream_read(struct stream *s, struct rng *dice)
{
	static uint8_t plain[100000];
	size_t n = 0;

	while (tls_read(s->to, plain, rng_below(dice, sizeof plain) + 1, &n, &unit_error) == OK) {
		for (size_t i = 0; i < n; i++)
			if (plain[i] != pattern(s->seed, s->got + i))
				unit_fail("byte %zu differs", s->got + i);
		s->got += n;
		if (rng_below(dice, 4) == 0)
			return; /* enough for now; the rest is kept */
	}
	assert_int_equal(unit_error.code, ERR_AGAIN);
}

static void
much_goes_both_ways_in_pieces_of_any_size(void **state)
{
	struct pair *p = *state;
	struct rng dice;
	enum { MUCH = 6 << 20, SEED = 7 };

	connect_pair(p);
	rng_seed(&dice, SEED);
	struct stream up = { p->client.tls, p->server.tls, .seed = 1, .n = MUCH };
	struct stream down = { p->server.tls, p->client.tls, .seed = 2, .n = MUCH / 2 };
	for (int steps = 0; up.got < up.n || down.got < down.n; steps++) {
		assert_true(steps < STEPS_MAX);
		stream_write(&up, &dice);
		stream_write(&down, &dice);
		carry(up.from, up.to, rng_below(&dice, 200000));
		carry(down.from, down.to, rng_below(&dice, 200000));
		stream_read(&up, &dice);
		stream_read(&down, &dice);
	}
	assert_int_equal(up.got, up.n);
	assert_int_equal(down.got, down.n);
	assert_int_equal(tls_fed_left(up.to), 0);
}

static void
a_write_is_taken_whole_or_not_at_all(void **state)
{
	struct pair *p = *state;
	static uint8_t block[TLS_WRITE_MAX];
	auto_buf struct buf got = BUF(1 << 20);
	size_t sent = 0;

	connect_pair(p);
	assert_int_equal(tls_write_room(p->client.tls), TLS_WRITE_MAX);
	while (tls_write_room(p->client.tls) >= 50000) {
		assert_ok(tls_write(p->client.tls, BYTES(block, 50000), &unit_error));
		sent += 50000;
	}
	size_t room = tls_write_room(p->client.tls), pending = tls_output(p->client.tls).len;
	assert_err(ERR_AGAIN, tls_write(p->client.tls, BYTES(block, 50000), &unit_error));
	assert_err(ERR_AGAIN, tls_write(p->client.tls, BYTES(block, room + 1), &unit_error));
	assert_int_equal(tls_output(p->client.tls).len, pending);
	assert_ok(tls_write(p->client.tls, BYTES(block, room), &unit_error));
	sent += room;
	assert_true(tls_output(p->client.tls).len <= TLS_OUT_MAX);
	assert_in_range(tls_write_room(p->client.tls), 0, 30);
	while (carry(p->client.tls, p->server.tls, 100000))
		assert_int_equal(drain(p->server.tls, &got), ERR_AGAIN);
	assert_int_equal(got.len, sent);
	assert_int_equal(tls_output(p->client.tls).len, 0);
	assert_null(tls_output(p->client.tls).at);
	assert_int_equal(tls_write_room(p->client.tls), TLS_WRITE_MAX);
}

static void
what_is_fed_while_something_is_left_comes_after_it(void **state)
{
	struct pair *p = *state;
	uint8_t one = 0;
	size_t n = 0;
	auto_buf struct buf got = BUF(1000);

	connect_pair(p);
	for (char c = 'a'; c <= 'd'; c++) {
		assert_ok(tls_write(p->client.tls, BYTES(&c, 1), &unit_error));
		carry(p->client.tls, p->server.tls, SIZE_MAX);
		if (c == 'a')
			assert_true(tls_fed_left(p->server.tls) > 0);
	}
	assert_ok(tls_read(p->server.tls, &one, 1, &n, &unit_error));
	assert_int_equal(one, 'a');
	assert_true(tls_fed_left(p->server.tls) > 0);
	assert_int_equal(drain(p->server.tls, &got), ERR_AGAIN);
	assert_string_equal(buf_text(&got), "bcd");
	assert_int_equal(tls_fed_left(p->server.tls), 0);
}

/* lies */

static void
a_changed_byte_ends_the_connection_for_good(void **state)
{
	struct pair *p = *state;
	uint8_t block[100];
	size_t n = 0;

	for (size_t at = 0; at < 32; at += 3) {
		dial(p);
		connect_pair(p);
		assert_ok(tls_write(p->client.tls, BYTES_LIT("0123456789"), &unit_error));
		struct bytes out = tls_output(p->client.tls);
		assert_true(at < out.len);
		auto_free uint8_t *bad = mem_dup(out.at, out.len);
		bad[at] ^= 1;
		tls_feed(p->server.tls, BYTES(bad, out.len));
		enum err r = tls_read(p->server.tls, block, sizeof block, &n, &unit_error);
		/* a longer record is not complete yet; everything else is known at once */
		if (at != 3 && at != 4)
			assert_int_equal(r, ERR_PROTO);
		if (r == ERR_PROTO) {
			assert_true(tls_output(p->server.tls).len > 0); /* the alert */
			assert_err(ERR_PROTO,
			    tls_read(p->server.tls, block, sizeof block, &n, &unit_error));
			assert_err(
			    ERR_PROTO, tls_write(p->server.tls, BYTES_LIT("x"), &unit_error));
		}
		tls_keep(p->server.tls);
	}
}

static void
good_bytes_before_a_bad_record_are_read_first(void **state)
{
	struct pair *p = *state;
	uint8_t block[100];
	size_t n = 0;

	connect_pair(p);
	assert_ok(tls_write(p->client.tls, BYTES_LIT("good"), &unit_error));
	size_t first = tls_output(p->client.tls).len;
	assert_ok(tls_write(p->client.tls, BYTES_LIT("bad"), &unit_error));
	struct bytes out = tls_output(p->client.tls);
	auto_free uint8_t *copy = mem_dup(out.at, out.len);
	copy[first + 8] ^= 1;
	tls_feed(p->server.tls, BYTES(copy, out.len));
	assert_ok(tls_read(p->server.tls, block, sizeof block, &n, &unit_error));
	assert_int_equal(n, 4);
	assert_err(ERR_PROTO, tls_read(p->server.tls, block, sizeof block, &n, &unit_error));
	tls_keep(p->server.tls);
}

static void
garbage_is_refused_by_both_sides(void **state)
{
	struct pair *p = *state;

	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct rng r;
		uint8_t junk[600];
		rng_seed(&r, seed);
		rng_fill(&r, junk, sizeof junk);
		if (seed % 2 == 0) /* so that it looks like a record */
			memcpy(junk, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
		dial(p);
		(void)!tls_handshake(p->client.tls, NULL);
		struct tls *t = seed % 4 < 2 ? p->client.tls : p->server.tls;
		tls_feed(t, BYTES(junk, sizeof junk));
		enum err e = tls_handshake(t, &unit_error);
		if (e != ERR_PROTO)
			unit_fail("seed %d: %s", (int)seed, error_name(e));
		tls_keep(t);
	}
}

static void
a_handshake_cut_anywhere_waits_for_more(void **state)
{
	struct pair *p = *state;

	(void)!tls_handshake(p->client.tls, NULL);
	struct bytes hello = tls_output(p->client.tls);
	for (size_t n = 0; n < hello.len; n++) {
		struct tls *t = tls_new_server(p->server.ctx);
		tls_feed(t, BYTES(hello.at, n));
		assert_err(ERR_AGAIN, tls_handshake(t, &unit_error));
		assert_int_equal(tls_fed_left(t), 0);
		assert_int_equal(tls_output(t).len, 0);
		tls_free(t);
	}
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

/* ends */

static void
a_close_is_told_from_a_line_that_was_cut(void **state)
{
	struct pair *p = *state;
	auto_buf struct buf got = BUF(100);

	connect_pair(p);
	assert_ok(tls_write(p->client.tls, BYTES_LIT("last words"), &unit_error));
	carry(p->client.tls, p->server.tls, SIZE_MAX);
	assert_int_equal(
	    drain(p->server.tls, &got), ERR_AGAIN); /* if the line ends now, something is missing */
	tls_shutdown(p->client.tls);
	assert_true(tls_output(p->client.tls).len > 0);
	carry(p->client.tls, p->server.tls, SIZE_MAX);
	assert_int_equal(drain(p->server.tls, &got), ERR_NOTFOUND);
	assert_int_equal(drain(p->server.tls, &got), ERR_NOTFOUND);
	assert_string_equal(buf_text(&got), "last words");
	/* the other direction is still open */
	buf_reset(&got);
	assert_ok(tls_write(p->server.tls, BYTES_LIT("farewell"), &unit_error));
	tls_shutdown(p->server.tls);
	carry(p->server.tls, p->client.tls, SIZE_MAX);
	assert_int_equal(drain(p->client.tls, &got), ERR_NOTFOUND);
	assert_string_equal(buf_text(&got), "farewell");
}

static void
a_close_in_the_handshake_is_a_failure(void **state)
{
	struct pair *p = *state;
	static const uint8_t close_notify[] = { 0x15, 3, 3, 0, 2, 1, 0 };

	(void)!tls_handshake(p->client.tls, NULL);
	carry(p->client.tls, p->server.tls, SIZE_MAX);
	tls_feed(p->server.tls, BYTES_OF(close_notify));
	assert_err(ERR_PROTO, tls_handshake(p->server.tls, &unit_error));
	assert_err(ERR_PROTO, tls_handshake(p->server.tls, &unit_error));
	tls_keep(p->server.tls);
}

static void
a_shutdown_before_the_handshake_says_nothing(void **state)
{
	struct pair *p = *state;

	tls_shutdown(p->server.tls);
	assert_int_equal(tls_output(p->server.tls).len, 0);
}

/* binding */

static void
exported_bytes_belong_to_one_connection_and_label(void **state)
{
	struct pair *p = *state;
	uint8_t c[32], s[32], other[32];

	connect_pair(p);
	assert_ok(tls_export(p->client.tls, "EXPORTER-weft-test", c, &unit_error));
	assert_ok(tls_export(p->server.tls, "EXPORTER-weft-test", s, &unit_error));
	assert_memory_equal(c, s, sizeof c);
	assert_ok(tls_export(p->client.tls, "EXPORTER-weft-tes", other, &unit_error));
	assert_memory_not_equal(c, other, sizeof c);
	dial(p);
	connect_pair(p);
	assert_ok(tls_export(p->client.tls, "EXPORTER-weft-test", other, &unit_error));
	assert_memory_not_equal(c, other, sizeof c);
}

static void
misuse_is_reported_as_our_own_fault(void **state)
{
	struct pair *p = *state;
	static uint8_t block[TLS_WRITE_MAX + 1];
	uint8_t out[32];
	size_t n = 0;

	assert_err(ERR_BUG, tls_read(p->client.tls, out, sizeof out, &n, &unit_error));
	assert_err(ERR_BUG, tls_write(p->client.tls, BYTES_LIT("x"), &unit_error));
	assert_err(ERR_BUG, tls_export(p->client.tls, "x", out, &unit_error));
	connect_pair(p);
	assert_err(ERR_BUG, tls_write(p->client.tls, BYTES(block, sizeof block), &unit_error));
}

/* memory */

static _Thread_local size_t live;

static void *
count_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	size_t *p = malloc(n + 16);
	if (p == NULL)
		return NULL;
	*p = n;
	live += n;
	return p + 2;
}

static void
count_free(void *ptr, const char *file, int line)
{
	(void)file;
	(void)line;
	if (ptr == NULL)
		return;
	size_t *p = (size_t *)ptr - 2;
	live -= *p;
	free(p);
}

static void *
count_realloc(void *ptr, size_t n, const char *file, int line)
{
	if (ptr == NULL)
		return count_malloc(n, file, line);
	void *to = count_malloc(n, file, line);
	if (to != NULL) {
		memcpy(to, ptr, min_of(n, ((size_t *)ptr)[-2]));
		count_free(ptr, file, line);
	}
	return to;
}

static void
an_idle_connection_takes_little_memory(void **state)
{
	struct pair *p = *state;
	static uint8_t block[TLS_WRITE_MAX];
	auto_buf struct buf got = BUF(TLS_WRITE_MAX);

	connect_pair(p); /* what OpenSSL makes once is there now */
	tls_free(take_ptr(p->client.tls));
	tls_free(take_ptr(p->server.tls));
	size_t before = live;
	dial(p);
	connect_pair(p);
	assert_ok(tls_write(p->client.tls, BYTES(block, sizeof block), &unit_error));
	carry(p->client.tls, p->server.tls, SIZE_MAX);
	assert_int_equal(drain(p->server.tls, &got), ERR_AGAIN);
	size_t pair = live - before;
	print_message("an idle pair takes %zu bytes, both ends together\n", pair);
	assert_in_range(pair, 1, 40 * 1024);
}

int
main(void)
{
	CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free);
#define PAIR(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)
	const struct CMUnitTest tests[] = {
		PAIR(both_sides_know_each_other_after_the_handshake),
		PAIR(a_client_may_not_care_who_answers),
		PAIR(another_server_than_expected_is_denied),
		PAIR(a_well_behaved_stranger_gets_in),
		PAIR(a_client_without_a_certificate_is_refused),
		PAIR(tls_1_2_is_refused),
		PAIR(another_alpn_or_none_is_refused_from_a_client),
		PAIR(a_server_without_alpn_is_refused),
		PAIR(a_wrong_server_does_not_learn_who_called),
		PAIR(keys_other_than_p256_are_refused),
		PAIR(a_certificate_of_many_kilobytes_is_refused),
		PAIR(bytes_arrive_in_order_both_ways),
		PAIR(bytes_may_come_one_by_one),
		PAIR(much_goes_both_ways_in_pieces_of_any_size),
		PAIR(a_write_is_taken_whole_or_not_at_all),
		PAIR(what_is_fed_while_something_is_left_comes_after_it),
		PAIR(a_changed_byte_ends_the_connection_for_good),
		PAIR(good_bytes_before_a_bad_record_are_read_first),
		PAIR(garbage_is_refused_by_both_sides),
		PAIR(a_handshake_cut_anywhere_waits_for_more),
		PAIR(a_peer_that_never_reads_cannot_make_us_grow),
		PAIR(a_close_is_told_from_a_line_that_was_cut),
		PAIR(a_close_in_the_handshake_is_a_failure),
		PAIR(a_shutdown_before_the_handshake_says_nothing),
		PAIR(exported_bytes_belong_to_one_connection_and_label),
		PAIR(misuse_is_reported_as_our_own_fault),
		PAIR(an_idle_connection_takes_little_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
