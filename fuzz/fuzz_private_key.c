/* The text of a key file: refused, or a key that writes itself, reads itself and signs. */
#include "crypto/device_key.h"
#include "fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_(device_key_free_p) struct device_key *key = NULL, *again = NULL;
	auto_buf struct buf pem = BUF(4096);
	struct signature sig;
	struct error e = { 0 };
	enum err r = device_key_from_pem(BYTES(data, size), &key, &e);

	if (r != OK) {
		fuzz_require(key == NULL && e.code == r && e.text[0] != '\0');
		return 0;
	}
	fuzz_require(device_key_to_pem(key, &pem, &e) == OK);
	fuzz_require(device_key_from_pem(buf_bytes(&pem), &again, &e) == OK);
	fuzz_require(device_id_equal(device_key_id(key), device_key_id(again)));
	fuzz_require(device_key_sign(key, "fuzz", BYTES_LIT("body"), &sig, &e) == OK);
	fuzz_require(
	    signature_verify(device_key_public(again), "fuzz", BYTES_LIT("body"), &sig, &e) == OK);
	return 0;
}
