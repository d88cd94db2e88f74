/*
 * What one core does of chunking, hashing and packing, and what a chunk store does with small and
 * with big objects.  Rates are of CPU time (all threads of the process) and, where the disk takes
 * part, of the clock beside it.  usage: bench_chunk [DIR]   (the store is made and removed in DIR)
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "bench/must.h"
#include "chunk/chunk_id.h"
#include "chunk/chunk_store.h"
#include "chunk/chunker.h"
#include "chunk/codec.h"
#include "platform/clock.h"

enum {
	CONTENT = 256 * 1024 * 1024,
	SMALL = 10 * 1024, /* bytes of a small object */
	SMALL_N = 100 * 1000,
	BIG = 256 * 1024,
	BIG_N = 1000,
};

struct watch {
	uint64_t cpu, wall;
};

static uint64_t
cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static struct watch
begin(void)
{
	return (struct watch){ cpu_ns(), clock_mono_ns() };
}

static void
say_bytes(const char *what, struct watch from, uint64_t bytes)
{
	double cpu = (double)(cpu_ns() - from.cpu);

	printf("%-44s %8.2f GB/s per core\n", what, (double)bytes / cpu);
}

static void
say_objects(const char *what, struct watch from, uint64_t n, uint64_t bytes)
{
	double cpu = (double)(cpu_ns() - from.cpu) / 1e9;
	double wall = (double)(clock_mono_ns() - from.wall) / 1e9;

	printf("%-44s %8.0f objects/s per core %8.0f by the clock %6.2f GB/s per core\n", what,
	    (double)n / cpu, (double)n / wall, (double)bytes / cpu / 1e9);
}

/* -- pure parts -- */

/* Half of it packs well, as trees of source and programs do. */
static uint8_t *
make_content(void)
{
	uint8_t *b = mem_alloc(CONTENT);
	struct rng r;

	rng_seed(&r, 1);
	rng_fill(&r, b, CONTENT);
	for (size_t i = CONTENT / 2; i < CONTENT; i++)
		b[i] &= 15;
	return b;
}

static size_t
cut_all(struct bytes b)
{
	size_t n = 0;

	for (size_t at = 0; at < b.len; n++)
		at += chunker_cut(bytes_slice(b, at, b.len - at), true);
	return n;
}

static void
measure_pure(struct bytes b)
{
	struct hash_id id;
	struct watch w = begin();
	size_t n = cut_all(b);

	say_bytes("cutting", w, b.len);
	printf("%-44s %8zu bytes\n", "  mean chunk", b.len / n);
	w = begin();
	for (size_t at = 0; at < b.len; at += BIG)
		chunk_id_of(HASH_SHA256, bytes_slice(b, at, BIG), NULL, &id);
	say_bytes("leaf hashes and ids, SHA-256", w, b.len);
	w = begin();
	for (size_t at = 0, cut = 0; at < b.len; at += cut) {
		cut = chunker_cut(bytes_slice(b, at, b.len - at), true);
		chunk_id_of(HASH_SHA256, bytes_slice(b, at, cut), NULL, &id);
	}
	say_bytes("cutting and hashing", w, b.len);
}

static void
measure_codec(const char *what, struct bytes b)
{
	auto_buf struct buf out = BUF(BIG);
	struct watch w = begin();
	uint64_t packed = 0;

	for (size_t at = 0; at < b.len; at += BIG)
		packed += codec_pack(bytes_slice(b, at, BIG), &out) == CODEC_RAW ? BIG : out.len;
	say_bytes(what, w, b.len);
	printf("%-44s %8.3f of its size\n", "  packed", (double)packed / (double)b.len);
}

/* -- the store -- */

struct objects {
	struct bytes content;
	uint32_t len, n;
	struct hash_id *id;
	struct leaf_list *leaves;
};

static void
name_objects(struct objects *o)
{
	o->id = mem_array(struct hash_id, o->n);
	o->leaves = mem_array(struct leaf_list, o->n);
	for (uint32_t i = 0; i < o->n; i++)
		chunk_id_of(HASH_SHA256,
		    bytes_slice(o->content, ((size_t)i * o->len * 7) % (CONTENT / 2) + i, o->len),
		    &o->leaves[i], &o->id[i]);
}

static struct bytes
object(const struct objects *o, uint32_t i)
{
	return bytes_slice(o->content, ((size_t)i * o->len * 7) % (CONTENT / 2) + i, o->len);
}

static void
put_all(struct chunk_store *s, const struct objects *o)
{
	struct error e = { 0 };

	for (uint32_t i = 0; i < o->n; i++)
		must(
		    chunk_store_put_chunk(s, &o->id[i], object(o, i), &o->leaves[i], true, &e), &e);
	must(chunk_store_commit(s, &e), &e);
}

static void
measure_store(struct chunk_store *s, const struct objects *o, const char *name)
{
	auto_free uint8_t *to = mem_alloc(CHUNK_MAX);
	uint64_t bytes = (uint64_t)o->len * o->n;
	struct error e = { 0 };
	uint32_t len = 0;
	char what[60];

	struct watch w = begin();
	put_all(s, o);
	snprintf(what, sizeof what, "put and commit, %s", name);
	say_objects(what, w, o->n, bytes);
	w = begin();
	put_all(s, o);
	snprintf(what, sizeof what, "put again, %s", name);
	say_objects(what, w, o->n, bytes);
	w = begin();
	for (uint32_t i = 0; i < o->n; i++)
		must(chunk_store_get_chunk(s, &o->id[i], to, &len, NULL, &e), &e);
	snprintf(what, sizeof what, "get, verified, %s", name);
	say_objects(what, w, o->n, bytes);
	w = begin();
	for (uint32_t i = 0; i < o->n; i++)
		must(chunk_store_get_leaves(
			 s, &o->id[i], 0, chunk_id_leaf_count(o->len), to, &len, NULL, &e),
		    &e);
	snprintf(what, sizeof what, "get leaves, %s", name);
	say_objects(what, w, o->n, bytes);
}

static void
measure_reading(const char *dir)
{
	auto_free char *path = str_printf("%s/packs/0000000000000001.pack", dir);
	auto_free uint8_t *to = mem_alloc(BIG);
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t bytes = 0;
	ssize_t n = 1;

	struct watch w = begin();
	for (unsigned round = 0; fd >= 0 && round < 20; round++)
		for (off_t at = 0; (n = pread(fd, to, BIG, at)) > 0; at += n)
			bytes += (uint64_t)n;
	say_bytes("pread of a pack, for comparison", w, bytes);
}

static void
measure_collection(struct chunk_store *s, const struct objects *o)
{
	struct error e = { 0 };
	uint64_t freed = 0;

	struct watch w = begin();
	must(chunk_store_gc_begin(s, &e), &e);
	for (uint32_t i = 0; i < o->n / 4; i++)
		must(chunk_store_gc_mark(s, &o->id[i], &e), &e);
	must(chunk_store_gc_sweep(s, &freed, &e), &e);
	say_objects("collect: one in four is kept", w, o->n, 0);
	printf("%-44s %8.0f MiB\n", "  freed", (double)freed / (1024 * 1024));
}

static void
measure_stores(const char *base, struct bytes content)
{
	struct objects small = { .content = content, .len = SMALL, .n = SMALL_N };
	struct objects big = { .content = content, .len = BIG, .n = BIG_N };
	auto_free char *dir = str_printf("%s/bench-chunk-%d", base, (int)getpid());
	struct chunk_store *s = NULL;
	struct error e = { 0 };
	int fd = -1;

	name_objects(&small);
	name_objects(&big);
	must(chunk_store_open(dir, &(struct chunk_store_opts){ .compress = true }, &s, &e), &e);
	measure_store(s, &big, "256 KiB");
	measure_store(s, &small, "10 KB");
	measure_reading(dir);
	measure_collection(s, &small);
	chunk_store_close(s);
	must(fs_open_root(base, &fd, &e), &e);
	must(fs_remove_tree(fd, fs_rel(dir + strlen(base) + 1), &e), &e);
	(void)close(fd);
	free(small.id);
	free(small.leaves);
	free(big.id);
	free(big.leaves);
}

int
main(int argc, char **argv)
{
	auto_free uint8_t *b = make_content();

	measure_pure(BYTES(b, CONTENT));
	measure_codec("packing, random bytes", BYTES(b, CONTENT / 2));
	measure_codec("packing, four bits a byte", BYTES(b + CONTENT / 2, CONTENT / 2));
	measure_stores(argc > 1 ? argv[1] : "/tmp", BYTES(b, CONTENT));
	return 0;
}
