/*
 * test_store: what the tests of chunk_store share: a store in a directory of its own, and content
 * that follows from a number.
 */
#pragma once

#include "tests/check.h"

#include "base/mem.h"
#include "chunk/chunk_store.h"
#include "tests/seeded.h"

struct test_store {
	struct check_dir dir;
	char path[100];
	struct chunk_store_opts opts;
	struct chunk_store *s;
};

static inline void
test_store_open(struct test_store *t)
{
	struct error e = { 0 };

	check_ok(chunk_store_open(t->path, &t->opts, &t->s, &e), e);
}

/* As after kill -9: nothing more is written. */
static inline void
test_store_reopen(struct test_store *t)
{
	chunk_store_close(t->s);
	t->s = NULL;
	test_store_open(t);
}

static inline int
test_store_setup(void **state)
{
	struct test_store *t = mem_new(struct test_store);

	t->dir = check_dir_make_fast();
	snprintf(t->path, sizeof t->path, "%s/store", t->dir.path);
	t->opts = (struct chunk_store_opts){ .pack_bytes = 256 * 1024, .compress = true };
	test_store_open(t);
	*state = t;
	return 0;
}

static inline int
test_store_teardown(void **state)
{
	struct test_store *t = *state;

	chunk_store_close(t->s);
	check_dir_remove(&t->dir);
	free(t);
	return 0;
}

/* -- objects: number I is a chunk of a length and content that follow from it; odd ones pack well
 * -- */

static inline uint32_t
test_store_len(uint64_t i)
{
	return (uint32_t)(i % 7 == 0 ? 150000 + i % 1000 : 500 + i * 37 % 9000);
}

static inline uint32_t
test_store_content(uint64_t i, uint8_t *to)
{
	uint32_t n = test_store_len(i);

	seeded_fill(i, to, n);
	for (uint32_t k = 8; i % 2 == 1 && k < n; k++)
		to[k] = (uint8_t)(to[k - 8 + k % 3] & 15);
	return n;
}

static inline struct hash_id
test_store_id(uint64_t i)
{
	auto_free uint8_t *b = mem_alloc(CHUNK_MAX);
	struct hash_id id;

	chunk_id_of(HASH_DEFAULT, BYTES(b, test_store_content(i, b)), NULL, &id);
	return id;
}

static inline enum err
test_store_try_put(struct chunk_store *s, uint64_t i, struct error *e)
{
	auto_free uint8_t *b = mem_alloc(CHUNK_MAX);
	struct bytes data = BYTES(b, test_store_content(i, b));
	struct leaf_list l;
	struct hash_id id;

	chunk_id_of(HASH_DEFAULT, data, &l, &id);
	return chunk_store_put_chunk(s, &id, data, &l, true, e);
}

static inline void
test_store_put(struct test_store *t, uint64_t from, uint64_t to)
{
	struct error e = { 0 };

	for (uint64_t i = from; i < to; i++)
		check_ok(test_store_try_put(t->s, i, &e), e);
}

static inline void
test_store_commit(struct test_store *t)
{
	struct error e = { 0 };

	check_ok(chunk_store_commit(t->s, &e), e);
}

/* Object I comes back whole, or this is the error; a wrong content ends the test. */
static inline enum err
test_store_try_get(struct chunk_store *s, uint64_t i, struct error *e)
{
	auto_free uint8_t *want = mem_alloc(CHUNK_MAX), *got = mem_alloc(CHUNK_MAX);
	uint32_t n = test_store_content(i, want), len = 0;
	struct leaf_list l;
	struct hash_id id = test_store_id(i);

	enum err r = chunk_store_get_chunk(s, &id, got, &len, &l, e);
	if (r != OK)
		return r;
	assert_int_equal(len, n);
	assert_memory_equal(got, want, n);
	assert_true(chunk_id_leaves_match(&id, len, &l));
	return OK;
}

static inline void
test_store_get(struct test_store *t, uint64_t from, uint64_t to)
{
	struct error e = { 0 };

	for (uint64_t i = from; i < to; i++)
		check_ok(test_store_try_get(t->s, i, &e), e);
}

static inline void
test_store_get_none(struct test_store *t, uint64_t from, uint64_t to)
{
	struct error e = { 0 };

	for (uint64_t i = from; i < to; i++) {
		struct hash_id id = test_store_id(i);
		assert_false(chunk_store_has(t->s, &id));
		check_err(test_store_try_get(t->s, i, &e), ERR_NOTFOUND, e);
	}
}

static inline struct chunk_store_stats
test_store_stats(struct test_store *t)
{
	struct chunk_store_stats st;
	struct error e = { 0 };

	check_ok(chunk_store_stats(t->s, &st, &e), e);
	return st;
}

static inline void
test_store_count_bad(void *ctx, const struct hash_id *id, const struct error *why)
{
	(void)id;
	assert_int_equal(why->code, ERR_CORRUPT);
	++*(uint64_t *)ctx;
}

/* How many objects the check finds damaged. */
static inline uint64_t
test_store_check(struct test_store *t)
{
	uint64_t told = 0, bad = 0;
	struct error e = { 0 };

	check_ok(chunk_store_check(t->s, test_store_count_bad, &told, &bad, &e), e);
	assert_int_equal(told, bad);
	return bad;
}

/* "packs/0000000000000001.pack" and the like, beneath the store's directory; -1 when it is not
 * there. */
static inline int
test_store_open_file(struct test_store *t, const char *name)
{
	auto_free char *path = str_printf("%s/%s", t->path, name);

	return open(path, O_RDWR | O_CLOEXEC);
}

static inline int
test_store_open_pack(struct test_store *t, uint64_t number)
{
	auto_free char *name = str_printf("packs/%016llx.pack", (unsigned long long)number);

	return test_store_open_file(t, name);
}

/* Flips a bit of the byte at OFF. */
static inline void
test_store_flip(int fd, off_t off)
{
	uint8_t b;

	assert_int_equal(pread(fd, &b, 1, off), 1);
	b ^= 0x10;
	assert_int_equal(pwrite(fd, &b, 1, off), 1);
}

/* Of pack file number PACK. */
static inline void
test_store_flip_in(struct test_store *t, uint64_t pack, off_t at)
{
	int fd = test_store_open_pack(t, pack);

	test_store_flip(fd, at);
	close(fd);
}
