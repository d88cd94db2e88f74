/* A commit by strangers: refused, or one encoding of what it says. */
#include "fuzz/fuzz.h"
#include "manifest/commit.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_(commit_clear) struct commit c = { 0 };
	auto_buf struct buf again = BUF(COMMIT_MAX);
	struct bytes b = BYTES(data, size);

	if (commit_decode(b, &c, NULL) != OK)
		return 0;
	commit_encode(&c, &again);
	fuzz_require(bytes_equal(buf_bytes(&again), b));
	struct device_id author = device_id_of(&c.author);
	fuzz_require(version_vector_get(&c.vv, &author) == c.seq);
	enum err r = commit_verify(b, &c, NULL);
	fuzz_require(r == OK || r == ERR_DENIED);
	return 0;
}
