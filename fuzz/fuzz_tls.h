/*
 * fuzz_tls: bytes from a stranger to a fresh side of TLS: never ready, never more output than
 * stated, all input consumed, and an end that stays one.  The first byte says in how big pieces the
 * rest arrives.
 */
#pragma once

#include "crypto/tls.h"
#include "fuzz/fuzz.h"

/* A context whose key nobody else has; kept for the life of the process. */
static inline struct tls_ctx *
fuzz_tls_ctx(void)
{
	static struct tls_ctx *ctx;
	struct device_key *key = NULL;

	if (ctx == NULL) {
		fuzz_require(device_key_generate(&key, NULL) == OK);
		fuzz_require(tls_ctx_new(key, &ctx, NULL) == OK);
		device_key_free(key);
	}
	return ctx;
}

static inline void
fuzz_tls_feed(struct tls *t, const uint8_t *data, size_t size)
{
	size_t step = size > 0 && data[0] > 0 ? (size_t)data[0] * 8 : SIZE_MAX;
	enum err r = ERR_AGAIN;

	for (size_t at = 1; at < size && r == ERR_AGAIN;) {
		size_t n = size - at < step ? size - at : step;
		tls_feed(t, BYTES(data + at, n));
		at += n;
		r = tls_handshake(t, NULL);
		fuzz_require(r != ERR_AGAIN || tls_fed_left(t) == 0);
		tls_keep(t);
		fuzz_require(tls_output(t).len <= TLS_OUT_MAX + 32 * 1024);
	}
	/* Nobody without a private key and our answers in time is ever let in. */
	fuzz_require(r == ERR_AGAIN || r == ERR_PROTO || r == ERR_LIMIT);
	fuzz_require(!tls_is_ready(t));
	fuzz_require(r == ERR_AGAIN || tls_handshake(t, NULL) == r);
}
