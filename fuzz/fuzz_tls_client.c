/* What a client meets from whoever answers the address it has called: see fuzz_tls.h. */
#include "fuzz/fuzz_tls.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_(tls_free_p) struct tls *t = tls_new_client(fuzz_tls_ctx(), NULL);

	fuzz_require(tls_handshake(t, NULL) == ERR_AGAIN && tls_output(t).len > 0);
	fuzz_tls_feed(t, data, size);
	return 0;
}
