/* A version vector by strangers: refused, or one encoding; and merging it with itself changes
 * nothing. */
#include "fuzz/fuzz.h"
#include "manifest/version_vector.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_(version_vector_clear) struct version_vector vv = { 0 }, twice = { 0 };
	auto_buf struct buf again = BUF(1 << 20);
	struct reader r = reader_over(BYTES(data, size));

	if (version_vector_decode(&r, &vv, NULL) != OK) {
		fuzz_require(vv.v.len == 0);
		return 0;
	}
	version_vector_encode(&vv, &again);
	fuzz_require(bytes_equal(buf_bytes(&again), BYTES(data, size - reader_left(&r))));
	version_vector_copy(&twice, &vv);
	version_vector_merge(&twice, &vv);
	fuzz_require(version_vector_equal(&twice, &vv));
	return 0;
}
