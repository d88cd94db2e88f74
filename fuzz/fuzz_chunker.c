/*
 * A script of content to cuts: however the stream is split, the same boundaries; within minimum and
 * maximum; and those of the plain definition.
 *
 * Content has to be far longer than a fuzzer's input, so the input says how to make it: four bytes
 * a run: what, a byte or seed, and a length in units of 64 bytes plus what's low bits.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "chunk/chunk_id.h"
#include "chunk/chunker.h"
#include "fuzz/fuzz.h"

enum { CONTENT_MAX = 5 * 256 * 1024 };

static void
add_run(struct buf *b, struct reader *script)
{
	uint8_t what = reader_u8(script), seed = reader_u8(script);
	size_t n = reader_u16(script) * (size_t)64 + (what >> 2);
	struct rng r;

	n = min_of(n, b->max - b->len);
	uint8_t *at = buf_reserve(b, n);
	fuzz_require(at != NULL);
	rng_seed(&r, seed);
	switch (what & 3) {
	case 0: /* one byte over and over */
		memset(at, seed, n);
		break;
	case 1: /* few different bytes */
		rng_fill(&r, at, n);
		for (size_t i = 0; i < n; i++)
			at[i] &= 3;
		break;
	case 2: /* what stood before, again */
		for (size_t i = 0; i < n; i++)
			at[i] = b->len > seed ? b->at[b->len - 1 - seed] : seed;
		break;
	default:
		rng_fill(&r, at, n);
	}
	buf_grown(b, n);
}

static size_t
plain_cut(struct bytes b)
{
	const uint64_t *gear = chunker_gear();
	size_t end = min_of(b.len, (size_t)CHUNK_MAX);
	uint64_t g = 0;

	for (size_t p = CHUNK_MIN - 63; p <= end; p++) {
		uint64_t mask = p < CHUNK_AVG ? 0x5555555555000000 : 0x5555555500000000;
		g = (g << 1) + gear[b.at[p - 1]];
		if (p >= CHUNK_MIN && (g & mask) == 0)
			return p;
	}
	return end;
}

/* One chunk of B from a window that grows by pieces of random size. */
static size_t
cut_by_pieces(struct rng *r, struct bytes b, size_t *seen)
{
	for (;;) {
		size_t cut = chunker_cut(bytes_slice(b, 0, *seen), *seen == b.len);
		if (cut > 0)
			return cut;
		fuzz_require(*seen < CHUNK_MAX && *seen < b.len);
		*seen += min_of(b.len - *seen, (size_t)rng_below(r, 600 * 1000) + 1);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader script = reader_over(BYTES(data, size));
	auto_buf struct buf b = BUF(CONTENT_MAX);
	size_t at = 0, seen = 0;
	struct rng r;

	rng_seed(&r, size > 0 ? data[size - 1] : 0);
	while (reader_left(&script) >= 4)
		add_run(&b, &script);
	while (at < b.len) {
		struct bytes rest = bytes_slice(buf_bytes(&b), at, b.len - at);
		size_t cut = chunker_cut(rest, true);
		fuzz_require(cut == plain_cut(rest));
		fuzz_require(cut <= CHUNK_MAX && (cut >= CHUNK_MIN || cut == rest.len));
		fuzz_require(cut_by_pieces(&r, rest, &seen) == cut);
		at += cut;
		seen -= min_of(seen, cut);
	}
	fuzz_require(at == b.len);
	return 0;
}
