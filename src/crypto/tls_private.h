/*
 * tls_private: what tls.c (one connection) and tls_ctx.c (who may connect) share.  Not for other
 * modules.
 */
#pragma once

#include <openssl/ssl.h>

#include "crypto/tls.h"

#define TLS_ALPN "weft/1"

struct tls_ctx {
	SSL_CTX *ssl;
	BIO_METHOD *bio;
};

struct tls {
	SSL *ssl;
	struct bytes in; /* ciphertext that is not consumed yet */
	uint8_t *kept;   /* its memory, when it is ours */
	struct buf out;  /* ciphertext for the peer, the first SENT bytes of it gone */
	size_t sent;
	bool ready, has_expect;
	struct device_id expect, peer_id;
	struct public_key peer_key; /* alg 0 until the certificate has been seen */
	struct error *failed;       /* why nothing more will come of this connection, or NULL */
};

/* The method of the BIO between SSL and struct tls.  Gives; NULL without memory. */
BIO_METHOD *tls_bio_method(void);
/* Remembers, once, why T is at an end.  Returns CODE. */
enum err tls_fail(struct tls *t, enum err code, const char *where, const char *text);
