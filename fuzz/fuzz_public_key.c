/* Bytes to a public key: a point of the curve that encodes to the same bytes, or nothing. */
#include "crypto/device_key.h"
#include "fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = reader_over(BYTES(data, size));
	struct public_key k = public_key_decode(&r);
	auto_buf struct buf again = BUF(256);
	struct signature sig = { .alg = KEY_P256, .len = 64 };

	if (r.bad) {
		fuzz_require(k.alg == 0 && k.len == 0);
		return 0;
	}
	public_key_encode(&again, &k);
	fuzz_require(bytes_equal(buf_bytes(&again), BYTES(data, size - reader_left(&r))));
	/* Whoever was let in here can be asked about a signature; zeroes are none of anybody's. */
	fuzz_require(signature_verify(&k, "fuzz", BYTES(data, size), &sig, NULL) == ERR_DENIED);
	return 0;
}
