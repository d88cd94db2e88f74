/*
 * tls: TLS 1.3 as a pure filter: ciphertext in and out through memory, no sockets.
 *
 * Our own BIO reads records straight from the caller's receive buffer and writes them to an output
 * buffer of up to TLS_OUT_MAX bytes, so that one system call moves many records (2.1 to
 * 2.3 GB/s/core).  Both sides of "weft/1" show a self-signed certificate over their device key;
 * the peer is *who its key says*: tls_peer_id.  No certificate authority, no names, no validity
 * times: membership is checked by statements.  Key-exchange groups are tried in order:
 * *X25519MLKEM768 / *X25519:P-256:P-384, then without the syntax of OpenSSL 3.5, then
 * X25519:P-256:P-384.  Suites: AES-128-GCM first, AES-256-GCM, ChaCha20-Poly1305.  No session
 * tickets, no early data, no renegotiation.
 *
 * The end of the connection while tls_read says ERR_AGAIN is a truncation: only ERR_NOTFOUND is a
 * clean end.  After a failure nothing more works, but tls_output may hold the alert that tells the
 * peer why: send it.
 *
 * Memory     about 16 KiB for an idle connection (OpenSSL 3.0); up to 256 KiB while there is
 *            output.
 * Threads    a struct tls belongs to one thread; struct tls_ctx may be shared.
 * Errors     ERR_PROTO handshake or record failure (text from OpenSSL), ERR_DENIED wrong peer id,
 *            ERR_LIMIT.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "crypto/device_key.h"

struct tls_ctx;
struct tls;

enum { TLS_OUT_MAX = 256 * 1024 };

/* Makes the certificate; KEY may be freed afterwards.  ALPN "weft/1" is offered and required. */
enum err tls_ctx_new(
    const struct device_key *key, struct tls_ctx **ret, struct error *e) must_check;
void tls_ctx_free(struct tls_ctx *c);
DEFINE_FREE_P(tls_ctx)

/* Both keep C.  EXPECT (may be NULL, copied): the device id the peer must have, checked inside the
 * handshake before our own certificate is shown. */
struct tls *tls_new_client(struct tls_ctx *c, const struct device_id *expect);
struct tls *tls_new_server(struct tls_ctx *c);
void tls_free(struct tls *t);
DEFINE_FREE_P(tls)

/* Hands in ciphertext: borrowed until tls_fed_left is 0 or tls_keep is called. */
void tls_feed(struct tls *t, struct bytes cipher);
/* Bytes that are not consumed yet: none when tls_read or tls_handshake said ERR_AGAIN.  Who stops
 * reading before (the receiver is full) calls tls_keep: what is left is copied into T, and the
 * caller's buffer is free again. */
size_t tls_fed_left(const struct tls *t);
void tls_keep(struct tls *t);

/* Goes on with the handshake.  OK when it is complete, ERR_AGAIN when more must be fed (send
 * tls_output). */
enum err tls_handshake(struct tls *t, struct error *e) must_check;
bool tls_is_ready(const struct tls *t);
/* Decrypts up to N bytes to TO, from as many records as there are.  *RET_N > 0 with OK; ERR_AGAIN
 * when more must be fed; ERR_NOTFOUND when the peer closed cleanly (close_notify). */
enum err tls_read(struct tls *t, void *to, size_t n, size_t *ret_n, struct error *e) must_check;
/* Encrypts all of B into the output buffer; ERR_AGAIN with nothing taken when the buffer has no
 * room for it (B.len <= TLS_WRITE_MAX). */
enum { TLS_WRITE_MAX = 128 * 1024 };
enum err tls_write(struct tls *t, struct bytes b, struct error *e) must_check;
size_t tls_write_room(const struct tls *t); /* bytes of plaintext that tls_write would take now */
/* Queues close_notify. */
void tls_shutdown(struct tls *t);
/* Ciphertext to send: borrowed until the next call; tells how much was sent by tls_sent.  The
 * buffer's memory is released when it is empty. */
struct bytes tls_output(const struct tls *t);
void tls_sent(struct tls *t, size_t n);

/* After the handshake. */
const struct device_id *tls_peer_id(const struct tls *t);
const struct public_key *tls_peer_key(const struct tls *t);
const char *tls_group(const struct tls *t);  /* "X25519MLKEM768" */
const char *tls_cipher(const struct tls *t); /* "TLS_AES_128_GCM_SHA256" */
/* RFC 5705 exporter: bytes both sides of this channel share, and nobody else.  Binds an invite's
 * proof to it. */
enum err tls_export(
    struct tls *t, const char *label, uint8_t out[static 32], struct error *e) must_check;
