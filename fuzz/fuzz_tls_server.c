/* What a server meets before it knows who has called: see fuzz_tls.h. */
#include "fuzz/fuzz_tls.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_(tls_free_p) struct tls *t = tls_new_server(fuzz_tls_ctx());

	fuzz_tls_feed(t, data, size);
	return 0;
}
