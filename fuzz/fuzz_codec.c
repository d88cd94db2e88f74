/* A packed chunk to exactly the size that was stated, or ERR_CORRUPT; and what is packed comes
 * back. */
#include "base/mem.h"
#include "base/reader.h"
#include "chunk/codec.h"
#include "fuzz/fuzz.h"

enum { UNPACKED_MAX = 256 * 1024 };

static void
unpack_hostile(struct bytes b)
{
	struct reader r = reader_over(b);
	enum codec c = reader_u8(&r) & 3;
	size_t n = reader_u32(&r) % UNPACKED_MAX;
	struct bytes packed = reader_rest(&r);
	/* Of exactly the size, so that one byte too many is seen. */
	auto_free uint8_t *to = mem_alloc(n > 0 ? n : 1);
	struct error e = { 0 };

	enum err got = codec_unpack(c, packed, to, n, &e);
	fuzz_require(got == OK || (got == ERR_CORRUPT && e.code == ERR_CORRUPT));
	fuzz_require(got != OK || c == CODEC_ZSTD || (c == CODEC_RAW && packed.len == n));
}

static void
pack_and_back(struct bytes b)
{
	auto_buf struct buf out = BUF(UNPACKED_MAX);
	auto_free uint8_t *to = mem_alloc(b.len + 1);

	if (codec_pack(b, &out) == CODEC_RAW) {
		fuzz_require(out.len == 0);
		return;
	}
	fuzz_require(out.len > 0 && out.len <= b.len - b.len / 20);
	fuzz_require(codec_unpack(CODEC_ZSTD, buf_bytes(&out), to, b.len, NULL) == OK);
	fuzz_require(memcmp(to, b.at, b.len) == 0);
	fuzz_require(codec_unpack(CODEC_ZSTD, buf_bytes(&out), to, b.len - 1, NULL) == ERR_CORRUPT);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unpack_hostile(BYTES(data, size));
	pack_and_back(BYTES(data, size));
	return 0;
}
