/* usage: test_chunker DIR   (tests/vectors/chunk) */
#include "tests/check.h"

#include <dirent.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "chunk/chunk_id.h"
#include "chunk/chunker.h"
#include "tests/seeded.h"

static const char *vectors;

enum { CONTENT_MAX = 16 * 1024 * 1024 };

/* One byte a step, one position after the other: the definition. */
static size_t
plain_cut(struct bytes b)
{
	const uint64_t *gear = chunker_gear();
	size_t end = min_of(b.len, (size_t)CHUNK_MAX);
	uint64_t g = 0;

	if (end < CHUNK_MIN)
		return end;
	for (size_t p = CHUNK_MIN - 63; p <= end; p++) {
		g = (g << 1) + gear[b.at[p - 1]];
		if (p >= CHUNK_MIN &&
		    (g & (p < CHUNK_AVG ? 0x5555555555000000 : 0x5555555500000000)) == 0)
			return p;
	}
	return end;
}

static void
the_gear_table_comes_from_its_published_seed(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 256; i++) {
		uint8_t h[HASH_BYTES], byte = (uint8_t)i;
		hash_sha256(BYTES_LIT("weft gear 1"), BYTES(&byte, 1), h);
		struct reader r = reader_over(BYTES(h, 8));
		assert_int_equal(chunker_gear()[i], reader_u64(&r));
	}
}

static void
two_bytes_a_step_cut_as_one_does(void **state)
{
	(void)state;
	size_t n = 24 * 1024 * 1024;
	auto_free uint8_t *b = seeded_bytes(11, n);

	for (size_t at = 0, cut = 0; at < n; at += cut) {
		struct bytes rest = BYTES(b + at, n - at);
		cut = chunker_cut(rest, true);
		assert_int_equal(cut, plain_cut(rest));
	}
	/* Ends at odd and even places, near every border. */
	static const size_t near[] = { CHUNK_MIN, CHUNK_AVG, CHUNK_MAX, 100 * 1000 };
	for (size_t i = 0; i < lengthof(near); i++)
		for (size_t end = near[i] - 3; end <= near[i] + 3; end++)
			assert_int_equal(
			    chunker_cut(BYTES(b, end), true), plain_cut(BYTES(b, end)));
}

/* The 64 bytes before a cut make a cut wherever they stand, if they satisfied the stricter mask. */
static void
find_cut(uint8_t out[static 64])
{
	size_t n = 16 * CHUNK_MAX, at = 0, cut = CHUNK_MAX;
	auto_free uint8_t *b = seeded_bytes(5, n);

	while (at < n && cut >= CHUNK_AVG) {
		cut = chunker_cut(BYTES(b + at, n - at), true);
		at += cut;
	}
	assert_true(at < n);
	memcpy(out, b + at - 64, 64);
}

static void
cuts_at_every_border_are_found(void **state)
{
	(void)state;
	static const struct {
		size_t at, cut;
	} cases[] = {
		{ CHUNK_MIN - 1, CHUNK_MAX }, /* one byte too early */
		{ CHUNK_MIN, CHUNK_MIN },
		{ CHUNK_MIN + 1, CHUNK_MIN + 1 },
		{ CHUNK_AVG - 2, CHUNK_AVG - 2 },
		{ CHUNK_AVG - 1, CHUNK_AVG - 1 },
		{ CHUNK_AVG, CHUNK_AVG },
		{ CHUNK_AVG + 1, CHUNK_AVG + 1 },
		{ CHUNK_MAX - 1, CHUNK_MAX - 1 },
		{ CHUNK_MAX, CHUNK_MAX },
		{ CHUNK_MAX + 1, CHUNK_MAX },
	};
	size_t n = CHUNK_MAX + 64;
	auto_free uint8_t *b = mem_alloc(n);
	uint8_t window[64];

	find_cut(window);
	for (size_t i = 0; i < lengthof(cases); i++) {
		memset(b, 0, n);
		memcpy(b + cases[i].at - 64, window, 64);
		assert_int_equal(chunker_cut(BYTES(b, n), true), cases[i].cut);
	}
}

/* Cuts a stream that arrives in pieces of random size, holding only what is not yet cut. */
static size_t
cut_stream(struct rng *r, struct bytes b, size_t *cuts)
{
	size_t n = 0, from = 0, to = 0;

	while (from < b.len) {
		size_t cut = chunker_cut(bytes_slice(b, from, to - from), to == b.len);
		if (cut == 0) {
			assert_true(to - from < CHUNK_MAX);
			assert_true(to < b.len);
			to += min_of(b.len - to, (size_t)rng_below(r, 300 * 1000) + 1);
			continue;
		}
		from += cut;
		cuts[n++] = cut;
	}
	return n;
}

static void
a_stream_split_at_random_is_cut_equally(void **state)
{
	(void)state;
	size_t n = 4 * 1024 * 1024, whole[64], split[64];
	auto_free uint8_t *b = seeded_bytes(12, n);
	struct rng r;

	memset(b + n / 3, 7, n / 3); /* a run without cuts */
	size_t count = 0;
	for (size_t at = 0; at < n; at += whole[count++])
		whole[count] = chunker_cut(BYTES(b + at, n - at), true);
	for (uint64_t seed = 0; seed < 30; seed++) {
		rng_seed(&r, seed);
		assert_int_equal(cut_stream(&r, BYTES(b, n), split), count);
		assert_memory_equal(split, whole, count * sizeof *whole);
	}
}

static void
chunks_are_within_minimum_and_maximum_and_near_the_average(void **state)
{
	(void)state;
	size_t n = 64 * 1024 * 1024, count = 0;
	auto_free uint8_t *b = seeded_bytes(13, n);

	for (size_t at = 0, cut = 0; at < n; at += cut, count++) {
		cut = chunker_cut(BYTES(b + at, n - at), true);
		assert_true(cut <= CHUNK_MAX);
		assert_true(cut >= CHUNK_MIN || at + cut == n);
	}
	/* 1.13 of the nominal average on random bytes. */
	assert_in_range(n / count, CHUNK_AVG, CHUNK_AVG + CHUNK_AVG / 4);
}

static void
after_an_insertion_the_old_cuts_are_found_again(void **state)
{
	(void)state;
	size_t n = 16 * 1024 * 1024, same = 0, after = 0;
	auto_free uint8_t *a = seeded_bytes(14, n), *b = mem_alloc(n + 1);
	auto_free bool *is_cut = mem_array(bool, n + 1);

	memcpy(b, a, n / 3);
	b[n / 3] = 'x';
	memcpy(b + n / 3 + 1, a + n / 3, n - n / 3);
	for (size_t at = 0; at < n;)
		is_cut[at += chunker_cut(BYTES(a + at, n - at), true)] = true;
	for (size_t at = 0; at < n + 1;) {
		at += chunker_cut(BYTES(b + at, n + 1 - at), true);
		if (at > n / 3 + CHUNK_MAX) {
			after++;
			same += is_cut[at - 1];
		}
	}
	assert_true(after > 20);
	assert_int_equal(same, after);
}

static void
too_little_is_not_decided(void **state)
{
	(void)state;
	auto_free uint8_t *b = mem_zalloc(CHUNK_MAX);

	assert_int_equal(chunker_cut(BYTES(b, 0), true), 0);
	assert_int_equal(chunker_cut(BYTES(b, 1), true), 1);
	assert_int_equal(chunker_cut(BYTES(b, 1), false), 0);
	assert_int_equal(chunker_cut(BYTES(b, CHUNK_MAX - 1), false), 0);
	assert_int_equal(chunker_cut(BYTES(b, CHUNK_MAX), false), CHUNK_MAX);
	assert_int_equal(chunker_cut(BYTES(b, CHUNK_MAX - 1), true), CHUNK_MAX - 1);
}

/* -- vectors -- */

static void
add_content(struct buf *to, const char *kind, uint64_t arg, uint64_t n)
{
	uint8_t *at = buf_reserve(to, n);

	assert_non_null(at);
	if (strcmp(kind, "random") == 0) {
		seeded_fill(arg, at, n);
	} else {
		assert_string_equal(kind, "fill");
		memset(at, (int)arg, n);
	}
	buf_grown(to, n);
}

static size_t
check_chunk(struct bytes rest, uint64_t len, const char *hex)
{
	struct hash_id id;
	char is[2 * HASH_ID_BYTES + 1];

	assert_int_equal(chunker_cut(rest, true), len);
	chunk_id_of(HASH_SHA256, BYTES(rest.at, len), NULL, &id);
	assert_string_equal(text_hex(hash_id_bytes(&id), is), hex);
	return len;
}

static void
check_file(const char *name)
{
	auto_free char *path = str_printf("%s/%s", vectors, name);
	auto_buf struct buf b = BUF(CONTENT_MAX);
	char line[200], kind[20], hex[100];
	unsigned long long arg, n;
	size_t at = 0;
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	while (fgets(line, sizeof line, f) != NULL) {
		if (sscanf(line, "content %19s %llu %llu", kind, &arg, &n) == 3)
			add_content(&b, kind, arg, n);
		else if (sscanf(line, "chunk %llu %99s", &n, hex) == 2)
			at += check_chunk(bytes_slice(buf_bytes(&b), at, b.len - at), n, hex);
		else
			assert_string_equal(line, "a line of content or chunk");
	}
	fclose(f);
	assert_true(b.len > 0);
	assert_int_equal(at, b.len);
}

static void
published_vectors_hold(void **state)
{
	(void)state;
	DIR *d = opendir(vectors);
	size_t files = 0;

	assert_non_null(d);
	for (struct dirent *f; (f = readdir(d)) != NULL;) {
		if (f->d_name[0] == '.')
			continue;
		check_file(f->d_name);
		files++;
	}
	closedir(d);
	assert_true(files >= 5);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_gear_table_comes_from_its_published_seed),
		cmocka_unit_test(two_bytes_a_step_cut_as_one_does),
		cmocka_unit_test(cuts_at_every_border_are_found),
		cmocka_unit_test(a_stream_split_at_random_is_cut_equally),
		cmocka_unit_test(chunks_are_within_minimum_and_maximum_and_near_the_average),
		cmocka_unit_test(after_an_insertion_the_old_cuts_are_found_again),
		cmocka_unit_test(too_little_is_not_decided),
		cmocka_unit_test(published_vectors_hold),
	};

	if (argc < 2) {
		fputs("usage: test_chunker DIR\n", stderr);
		return 2;
	}
	vectors = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
