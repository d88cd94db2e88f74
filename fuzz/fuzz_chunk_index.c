/*
 * index.db with changed rows to a store that opens: no crash; what it then gives is whole; after a
 * check and a second opening everything that lies in the packs is there, as they say it all again.
 */
#include "chunk/chunk_store.h"
#include "fuzz/fuzz_rows.h"

enum { OBJECTS = 6 };

static uint32_t
content_of(uint32_t i, uint8_t *to)
{
	uint32_t n = i % 2 == 0 ? 90 : 70000;

	memset(to, (int)i + 1, n);
	return n;
}

static void
put_all(struct chunk_store *s)
{
	auto_free uint8_t *b = mem_alloc(CHUNK_MAX);
	struct hash_id id;

	for (uint32_t i = 0; i < OBJECTS; i++) {
		struct bytes chunk = BYTES(b, content_of(i, b));
		chunk_id_of(HASH_DEFAULT, chunk, NULL, &id);
		enum err r = chunk_store_put_chunk(s, &id, chunk, NULL, false, NULL);
		fuzz_require(r == OK || r == ERR_CORRUPT);
	}
	enum err r = chunk_store_commit(s, NULL);
	fuzz_require(r == OK || r == ERR_CORRUPT);
}

/* Says how many came back, each of them whole. */
static uint32_t
get_all(struct chunk_store *s)
{
	auto_free uint8_t *want = mem_alloc(CHUNK_MAX), *got = mem_alloc(CHUNK_MAX);
	uint32_t there = 0;
	struct hash_id id;

	for (uint32_t i = 0; i < OBJECTS; i++) {
		uint32_t n = content_of(i, want), len = 0;
		chunk_id_of(HASH_DEFAULT, BYTES(want, n), NULL, &id);
		(void)chunk_store_has(s, &id);
		if (chunk_store_get_leaves(s, &id, 0, 1, got, &len, NULL, NULL) == OK)
			fuzz_require(len == min_of(n, (uint32_t)CHUNK_LEAF));
		enum err r = chunk_store_get_chunk(s, &id, got, &len, NULL, NULL);
		fuzz_require(r != OK || (len == n && memcmp(got, want, n) == 0));
		there += r == OK;
	}
	return there;
}

static void
collect_nothing(struct chunk_store *s)
{
	uint64_t freed = 0;

	if (chunk_store_gc_begin(s, NULL) == OK)
		(void)!chunk_store_gc_sweep(s, &freed, NULL);
}

static struct chunk_store *
open_store(const char *path)
{
	const struct chunk_store_opts opts = { .pack_bytes = 100000, .compress = false };
	struct chunk_store *s = NULL;

	enum err r = chunk_store_open(path, &opts, &s, NULL);
	return r == OK ? s : NULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_rows_dir dir = fuzz_rows_dir_make();
	auto_free char *store = str_printf("%s/store", dir.path);
	auto_free char *index = str_printf("%s/index.db", store);
	struct chunk_store_stats st;

	struct chunk_store *s = open_store(store);
	fuzz_require(s != NULL);
	put_all(s);
	chunk_store_close(s);
	fuzz_rows_change(index, BYTES(data, size));
	s = open_store(store);
	if (s != NULL) {
		(void)!chunk_store_stats(s, &st, NULL);
		put_all(s);
		(void)get_all(s);
		(void)!chunk_store_check(s, NULL, NULL, NULL, NULL);
		if (size > 0 && data[size - 1] == 'c')
			collect_nothing(s);
		(void)get_all(s);
		chunk_store_close(s);
	}
	fuzz_require(remove(index) == 0);
	s = open_store(store);
	fuzz_require(s != NULL);
	put_all(s);
	fuzz_require(get_all(s) == OBJECTS);
	chunk_store_close(s);
	fuzz_rows_dir_remove(&dir);
	return 0;
}
