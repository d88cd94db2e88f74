/*
 * OpenSSL reads and writes through a BIO of ours that only moves pointers and copies: records come
 * straight from the caller's receive buffer, and go one behind another into one output buffer.
 * OpenSSL's own buffers exist while a record is under way (SSL_MODE_RELEASE_BUFFERS), ours while
 * there is something in it.
 */
#include "crypto/tls.h"

#include <openssl/err.h>

#include "base/mem.h"
#include "crypto/ossl.h"
#include "crypto/tls_private.h"

enum {
	RECORD_MAX = 16 * 1024,    /* plaintext in a record */
	RECORD_EXTRA = 5 + 1 + 16, /* header, type, tag */
	/* Beyond TLS_OUT_MAX, for what tls_write did not ask for: handshake, alerts, key updates.
	 */
	OUT_SLACK = 32 * 1024,
};

/* The BIO */

static int
on_bio_read(BIO *bio, char *to, size_t n, size_t *ret_n)
{
	struct tls *t = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (t->in.len == 0) {
		BIO_set_retry_read(bio);
		return 0;
	}
	*ret_n = min_of(n, t->in.len);
	memcpy(to, t->in.at, *ret_n);
	t->in = bytes_slice(t->in, *ret_n, t->in.len - *ret_n);
	if (t->in.len == 0) {
		free(t->kept);
		t->kept = NULL;
	}
	return 1;
}

/* Room for N bytes at the end of the output; false when there is none. */
static bool
reserve(struct tls *t, size_t n)
{
	if (t->sent > 0 && t->out.len + n > t->out.room) {
		buf_drop_front(&t->out, t->sent);
		t->sent = 0;
	}
	return buf_reserve(&t->out, n) != NULL;
}

static int
on_bio_write(BIO *bio, const char *from, size_t n, size_t *ret_n)
{
	struct tls *t = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (!reserve(t, n)) {
		tls_fail(t, ERR_LIMIT, HERE, "the peer makes us write more than it reads");
		return 0;
	}
	buf_add(&t->out, from, n);
	*ret_n = n;
	return 1;
}

static long
on_bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH;
}

BIO_METHOD *
tls_bio_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "weft");

	if (m != NULL) {
		BIO_meth_set_read_ex(m, on_bio_read);
		BIO_meth_set_write_ex(m, on_bio_write);
		BIO_meth_set_ctrl(m, on_bio_ctrl);
	}
	return m;
}

/* Life */

static struct tls *
new_tls(struct tls_ctx *c)
{
	struct tls *t = mem_new(struct tls);
	BIO *bio = BIO_new(c->bio);

	t->ssl = SSL_new(c->ssl);
	t->out = BUF(TLS_OUT_MAX + OUT_SLACK);
	if (t->ssl == NULL || bio == NULL)
		abort(); /* no memory: see base/mem.h */
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	return t;
}

struct tls *
tls_new_client(struct tls_ctx *c, const struct device_id *expect)
{
	struct tls *t = new_tls(c);

	SSL_set_connect_state(t->ssl);
	t->has_expect = expect != NULL;
	if (expect != NULL)
		t->expect = *expect;
	return t;
}

struct tls *
tls_new_server(struct tls_ctx *c)
{
	struct tls *t = new_tls(c);

	SSL_set_accept_state(t->ssl);
	return t;
}

void
tls_free(struct tls *t)
{
	if (t == NULL)
		return;
	SSL_free(t->ssl);
	buf_clear(&t->out);
	free(t->kept);
	free(t->failed);
	free(t);
}

/* Failing */

enum err
tls_fail(struct tls *t, enum err code, const char *where, const char *text)
{
	if (t->failed == NULL) {
		t->failed = mem_new(struct error);
		error_set(t->failed, code, 0, where, "%s", text);
	}
	return code;
}

static enum err
report(const struct tls *t, struct error *e)
{
	if (e != NULL)
		*e = *t->failed;
	return t->failed->code;
}

/* Why an SSL call that returned RET did not do what it should. */
static enum err
why(struct tls *t, int ret, struct error *e)
{
	struct error ossl;

	switch (SSL_get_error(t->ssl, ret)) {
	case SSL_ERROR_WANT_READ:
		return fail(e, ERR_AGAIN, "TLS needs more bytes");
	case SSL_ERROR_ZERO_RETURN:
		if (t->ready)
			return fail(e, ERR_NOTFOUND, "the peer has closed the connection");
		/* Before the handshake is over anybody on the way can have said so. */
		tls_fail(t, ERR_PROTO, HERE, "TLS: closed in the middle of the handshake");
		return report(t, e);
	default:
		(void)ossl_fail(&ossl, ERR_PROTO, "TLS");
		tls_fail(t, ERR_PROTO, HERE, ossl.text);
		return report(t, e);
	}
}

/* In */

void
tls_feed(struct tls *t, struct bytes cipher)
{
	if (t->in.len == 0) {
		t->in = cipher;
		return;
	}
	/* The caller did not wait until the last bytes were consumed: one piece out of both. */
	uint8_t *both = mem_alloc(t->in.len + cipher.len);
	memcpy(both, t->in.at, t->in.len);
	if (cipher.len > 0)
		memcpy(both + t->in.len, cipher.at, cipher.len);
	t->in = BYTES(both, t->in.len + cipher.len);
	free(t->kept);
	t->kept = both;
}

size_t
tls_fed_left(const struct tls *t)
{
	return t->in.len;
}

void
tls_keep(struct tls *t)
{
	if (t->in.len == 0 || t->kept != NULL)
		return;
	t->kept = mem_dup(t->in.at, t->in.len);
	t->in.at = t->kept;
}

enum err
tls_handshake(struct tls *t, struct error *e)
{
	if (t->failed != NULL)
		return report(t, e);
	if (t->ready)
		return OK;
	ERR_clear_error();
	int ret = SSL_do_handshake(t->ssl);
	if (ret != 1)
		return why(t, ret, e);
	/* Without a certificate OpenSSL does not come to this point; we depend on it. */
	if (!expect(t->peer_key.alg != 0)) {
		tls_fail(t, ERR_BUG, HERE, "the handshake ended without a peer");
		return report(t, e);
	}
	t->ready = true;
	return OK;
}

bool
tls_is_ready(const struct tls *t)
{
	return t->ready;
}

enum err
tls_read(struct tls *t, void *to, size_t n, size_t *ret_n, struct error *e)
{
	enum err r = OK;
	size_t got = 0;

	if (t->failed != NULL)
		return report(t, e);
	if (!expect(t->ready))
		return fail(e, ERR_BUG, "read before the handshake");
	ERR_clear_error();
	while (got < n && r == OK) {
		size_t part = 0;
		int ret = SSL_read_ex(t->ssl, (uint8_t *)to + got, n - got, &part);
		if (ret != 1)
			r = why(t, ret, got > 0 ? NULL : e);
		got += part;
	}
	/* What ended the loop is said again when there is nothing else to say. */
	if (got == 0 && r != OK)
		return r;
	*ret_n = got;
	return OK;
}

/* Out */

static size_t
out_pending(const struct tls *t)
{
	return t->out.len - t->sent;
}

static size_t
cipher_size(size_t plain)
{
	return plain + (plain + RECORD_MAX - 1) / RECORD_MAX * RECORD_EXTRA;
}

size_t
tls_write_room(const struct tls *t)
{
	size_t pending = out_pending(t), room = pending < TLS_OUT_MAX ? TLS_OUT_MAX - pending : 0;
	size_t full = room / (RECORD_MAX + RECORD_EXTRA), rest = room % (RECORD_MAX + RECORD_EXTRA);
	size_t plain = full * RECORD_MAX + (rest > RECORD_EXTRA ? rest - RECORD_EXTRA : 0);

	return min_of(plain, (size_t)TLS_WRITE_MAX);
}

enum err
tls_write(struct tls *t, struct bytes b, struct error *e)
{
	size_t done = 0;

	if (t->failed != NULL)
		return report(t, e);
	if (!expect(t->ready && b.len <= TLS_WRITE_MAX))
		return fail(e, ERR_BUG, "write of %zu bytes", b.len);
	if (b.len > tls_write_room(t))
		return fail(e, ERR_AGAIN, "the output buffer is full");
	if (b.len == 0)
		return OK;
	/* All at once, so that the buffer does not grow record by record. */
	reserve(t, cipher_size(b.len));
	ERR_clear_error();
	int ret = SSL_write_ex(t->ssl, b.at, b.len, &done);
	return ret == 1 ? OK : why(t, ret, e);
}

void
tls_shutdown(struct tls *t)
{
	if (t->failed != NULL || !t->ready)
		return;
	(void)SSL_shutdown(t->ssl);
	ERR_clear_error();
}

struct bytes
tls_output(const struct tls *t)
{
	return out_pending(t) > 0 ? BYTES(t->out.at + t->sent, out_pending(t)) : BYTES(NULL, 0);
}

void
tls_sent(struct tls *t, size_t n)
{
	t->sent += min_of(n, out_pending(t));
	if (out_pending(t) == 0) {
		buf_clear(&t->out);
		t->sent = 0;
	}
}

/* Who and how */

const struct device_id *
tls_peer_id(const struct tls *t)
{
	return &t->peer_id;
}

const struct public_key *
tls_peer_key(const struct tls *t)
{
	return &t->peer_key;
}

const char *
tls_group(const struct tls *t)
{
	const char *name = SSL_group_to_name(t->ssl, (int)SSL_get_negotiated_group(t->ssl));

	return name != NULL ? name : "unknown";
}

const char *
tls_cipher(const struct tls *t)
{
	return SSL_get_cipher_name(t->ssl);
}

enum err
tls_export(struct tls *t, const char *label, uint8_t out[static 32], struct error *e)
{
	if (!expect(t->ready))
		return fail(e, ERR_BUG, "export before the handshake");
	if (SSL_export_keying_material(t->ssl, out, 32, label, strlen(label), NULL, 0, 0) != 1)
		return ossl_fail(e, ERR_BUG, "export keying material");
	return OK;
}
