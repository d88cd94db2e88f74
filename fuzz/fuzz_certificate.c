/*
 * The key within a stranger's certificate: refused by OpenSSL or by us, or a point of the curve
 * that encodes to bytes which decode to the same.  (The certificate around it is OpenSSL's, and the
 * handshake proves who holds the key.)
 */
#include <openssl/err.h>
#include <openssl/x509.h>

#include "crypto/ossl.h"
#include "fuzz/fuzz.h"

static bool
is_key(struct bytes der)
{
	const uint8_t *at = der.at;
	EVP_PKEY *pkey = d2i_PUBKEY(NULL, &at, (long)der.len);
	bool is = pkey != NULL;

	EVP_PKEY_free(pkey);
	ERR_clear_error();
	return is;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes der = BYTES(data, size);
	struct public_key key = { 0 };
	auto_buf struct buf b = BUF(2 + PUBLIC_KEY_MAX);

	if (!ossl_public_of_spki(der, &key) || !is_key(der))
		return 0;
	fuzz_require(size == OSSL_SPKI_BYTES && key.alg == KEY_P256 && key.len == OSSL_POINT_BYTES);
	public_key_encode(&b, &key);
	struct reader r = reader_over(buf_bytes(&b));
	struct public_key again = public_key_decode(&r);
	fuzz_require(reader_done(&r));
	fuzz_require(memcmp(again.bytes, key.bytes, key.len) == 0);
	return 0;
}
