/* Bytes to a statement: fields that encode to the same bytes, or nothing; and no signature that is
 * nobody's. */
#include "crypto/authority.h"
#include "fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes in = BYTES(data, size);
	struct statement s;
	auto_buf struct buf again = BUF(STATEMENT_MAX);

	if (statement_decode(in, &s, NULL) != OK)
		return 0;
	fuzz_require(size <= STATEMENT_MAX);
	statement_encode(&again, &s);
	fuzz_require(bytes_equal(buf_bytes(&again), in));
	struct hash_id share = statement_share_id(in);
	fuzz_require(hash_id_is_none(&share) == (s.kind != STATEMENT_SHARE));

	/* Without the private key only seeds and their copies bear a signature that holds. */
	auto_(authority_free_p) struct authority *a = authority_new(&s.authority);
	bool news = false;
	if (authority_accept(a, in, &news, NULL) == OK)
		fuzz_require(news && s.kind == STATEMENT_AUTHORITY && authority_key(a) != NULL);
	else
		fuzz_require(!news && authority_key(a) == NULL);
	return 0;
}
