/*
 * Bytes from a stranger to a fresh server side: never ready, never more output than stated, all
 * input consumed. The first byte says in how big pieces the rest arrives.
 */
#include "crypto/tls.h"
#include "fuzz/fuzz.h"

static struct tls_ctx *
server(void)
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

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_(tls_free_p) struct tls *t = tls_new_server(server());
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
	return 0;
}
