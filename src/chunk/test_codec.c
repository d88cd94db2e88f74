#include "tests/check.h"

#include "base/mem.h"
#include "base/rng.h"
#include "chunk/chunk_id.h"
#include "chunk/codec.h"
#include "tests/seeded.h"

static void
fill_random(uint8_t *b, size_t n)
{
	seeded_fill(21, b, n);
}

static void
fill_text(uint8_t *b, size_t n)
{
	struct rng r;
	static const char words[8][8] = { "warp ", "weft ", "loom ", "thread ", "chunk ", "leaf ",
		"pack ", "node\n" };

	rng_seed(&r, 22);
	for (size_t at = 0; at < n;) {
		const char *w = words[rng_below(&r, lengthof(words))];
		size_t k = min_of(strlen(w), n - at);
		memcpy(b + at, w, k);
		at += k;
	}
}

static void
what_packs_comes_back(void **state)
{
	(void)state;
	static const size_t lens[] = { 100, 4096, 10 * 1024, 64 * 1024, 64 * 1024 + 1, 300 * 1000,
		CHUNK_MAX };
	auto_free uint8_t *b = mem_alloc(CHUNK_MAX), *back = mem_alloc(CHUNK_MAX);
	auto_buf struct buf out = BUF(CHUNK_MAX);
	struct error e = { 0 };

	fill_text(b, CHUNK_MAX);
	for (size_t i = 0; i < lengthof(lens); i++) {
		assert_int_equal(codec_pack(BYTES(b, lens[i]), &out), CODEC_ZSTD);
		assert_true(out.len > 0 && out.len <= lens[i] - lens[i] / 20);
		memset(back, 0, CHUNK_MAX);
		check_ok(codec_unpack(CODEC_ZSTD, buf_bytes(&out), back, lens[i], &e), e);
		assert_memory_equal(back, b, lens[i]);
	}
}

static void
what_does_not_pack_is_left(void **state)
{
	(void)state;
	auto_free uint8_t *b = mem_alloc(CHUNK_MAX);
	auto_buf struct buf out = BUF(CHUNK_MAX);

	fill_random(b, CHUNK_MAX);
	for (size_t n = 0; n <= CHUNK_MAX; n = n * 3 + 1) {
		buf_add(&out, "left from before", 16);
		assert_int_equal(codec_pack(BYTES(b, n), &out), CODEC_RAW);
		assert_int_equal(out.len, 0);
	}
}

/* No repeats, only few different bytes: what a sample must not miss. */
static void
few_different_bytes_pack_at_every_size(void **state)
{
	(void)state;
	auto_free uint8_t *b = mem_alloc(CHUNK_MAX);
	auto_buf struct buf out = BUF(CHUNK_MAX);

	fill_random(b, CHUNK_MAX);
	for (size_t i = 0; i < CHUNK_MAX; i++)
		b[i] &= 15;
	for (size_t n = CHUNK_MAX; n > 1000; n = n * 2 / 3) {
		assert_int_equal(codec_pack(BYTES(b, n), &out), CODEC_ZSTD);
		assert_true(out.len < n * 6 / 10);
	}
}

static void
less_than_a_twentieth_is_not_worth_it(void **state)
{
	(void)state;
	size_t n = 32 * 1024;
	auto_free uint8_t *b = mem_alloc(n);
	auto_buf struct buf out = BUF(CHUNK_MAX);

	fill_random(b, n);
	memset(b, 0, n / 10);
	assert_int_equal(codec_pack(BYTES(b, n), &out), CODEC_ZSTD);
	fill_random(b, n);
	memset(b, 0, n / 25);
	assert_int_equal(codec_pack(BYTES(b, n), &out), CODEC_RAW);
}

static void
an_unpacked_size_that_differs_is_a_lie(void **state)
{
	(void)state;
	enum { N = 5000 };
	uint8_t b[N], back[N + 1];
	auto_buf struct buf out = BUF(N);
	struct error e = { 0 };

	fill_text(b, N);
	assert_int_equal(codec_pack(BYTES(b, N), &out), CODEC_ZSTD);
	check_err(codec_unpack(CODEC_ZSTD, buf_bytes(&out), back, N - 1, &e), ERR_CORRUPT, e);
	check_err(codec_unpack(CODEC_ZSTD, buf_bytes(&out), back, N + 1, &e), ERR_CORRUPT, e);
	check_err(
	    codec_unpack(CODEC_ZSTD, BYTES(out.at, out.len - 1), back, N, &e), ERR_CORRUPT, e);
	check_err(codec_unpack(CODEC_ZSTD, BYTES("", 0), back, N, &e), ERR_CORRUPT, e);
	check_err(codec_unpack(CODEC_RAW, BYTES(b, N - 1), back, N, &e), ERR_CORRUPT, e);
	check_err(codec_unpack(7, BYTES(b, N), back, N, &e), ERR_CORRUPT, e);
	check_ok(codec_unpack(CODEC_RAW, BYTES(b, N), back, N, &e), e);
	assert_memory_equal(back, b, N);
}

static void
a_small_room_means_raw(void **state)
{
	(void)state;
	uint8_t b[5000];
	auto_buf struct buf out = BUF(16);

	fill_text(b, sizeof b);
	assert_int_equal(codec_pack(BYTES_OF(b), &out), CODEC_RAW);
	assert_int_equal(out.len, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_packs_comes_back),
		cmocka_unit_test(what_does_not_pack_is_left),
		cmocka_unit_test(few_different_bytes_pack_at_every_size),
		cmocka_unit_test(less_than_a_twentieth_is_not_worth_it),
		cmocka_unit_test(an_unpacked_size_that_differs_is_a_lie),
		cmocka_unit_test(a_small_room_means_raw),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
