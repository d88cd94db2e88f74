/*
 * A pack file to a store that opens: no crash; the objects that it then says it has are whole after
 * one check, which reports each bad one once; and it can be written to.
 *
 * Heads carry a check that no fuzzer guesses, so the input is a script that makes a pack: records
 * with right heads over any content, under right and wrong names, and plain bytes between them.
 * The first byte says whether the file gets a right head at all.
 */
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "chunk/chunk_store.h"
#include "chunk/pack.h"
#include "fuzz/fuzz.h"

enum { FILE_MAX = 1024 * 1024 };

/* -- the pure part: what is accepted is what would be written -- */

static void
decode_plain(struct bytes b)
{
	struct pack_head h = { 0 };
	struct pack_record rec;
	uint8_t again[PACK_HEAD], record[PACK_RECORD_HEAD];

	if (b.len >= PACK_HEAD && pack_head_decode(bytes_slice(b, 0, PACK_HEAD), &h, NULL) == OK) {
		pack_head_encode(&h, again);
		fuzz_require(memcmp(again, b.at, sizeof again) == 0);
	}
	if (b.len >= sizeof record) {
		struct bytes head = bytes_slice(b, 0, sizeof record);
		if (pack_record_decode(&h, head, &rec, NULL) == OK) {
			pack_record_encode(&h, &rec, record);
			fuzz_require(memcmp(record, head.at, sizeof record) == 0);
		}
	}
}

/* -- making a file -- */

static void
name_chunk(struct pack_record *rec, struct bytes raw, struct leaf_list *l)
{
	chunk_id_of(HASH_DEFAULT, raw, l, &rec->id);
}

/* A record over CONTENT; BEND bits say what is wrong with it. */
static void
add_record(
    struct buf *file, const struct pack_head *h, uint8_t kind, uint8_t bend, struct bytes content)
{
	struct pack_record rec = { .kind = kind, .raw_len = (uint32_t)content.len };
	uint8_t head[PACK_RECORD_HEAD];
	auto_buf struct buf packed = BUF(FILE_MAX);
	struct leaf_list l = { 0 };

	if (content.len == 0)
		return;
	if (kind == HASH_CHUNK)
		name_chunk(&rec, content, &l);
	else
		hash_object(HASH_DEFAULT, kind, content, &rec.id);
	if (bend & 1)
		rec.codec = (uint8_t)codec_pack(content, &packed);
	struct bytes in_pack = rec.codec == CODEC_ZSTD ? buf_bytes(&packed) : content;
	rec.packed_len = (uint32_t)in_pack.len;
	if (bend & 2)
		rec.id.bytes[5] ^= 1;
	if (bend & 4)
		l.hash[0][3] ^= 1;
	if (bend & 8)
		rec.codec ^= 1;
	if (bend & 16)
		rec.raw_len += bend;
	if (bend & 32)
		rec.packed_len += bend;
	if (bend & 64)
		rec.id.alg = bend;
	pack_record_encode(h, &rec, head);
	buf_add(file, head, sizeof head);
	buf_add(file, l.hash, (size_t)l.n * HASH_BYTES);
	buf_add_bytes(file, in_pack);
}

static void
make_file(struct buf *file, struct bytes script)
{
	struct reader r = reader_over(script);
	struct pack_head h = { .number = 1 };
	uint8_t head[PACK_HEAD];

	if ((reader_u8(&r) & 7) != 0) {
		pack_head_encode(&h, head);
		buf_add(file, head, sizeof head);
	}
	while (reader_left(&r) > 0 && !file->full) {
		uint8_t kind = reader_u8(&r) % 8, bend = reader_u8(&r);
		size_t n = min_of((size_t)reader_u16(&r) % 4096, reader_left(&r));
		struct bytes content = reader_take(&r, n);
		if (kind == 0)
			buf_add_bytes(file, content);
		else
			add_record(file, &h, kind, bend, content);
	}
}

/* -- a store over it -- */

static void
count(void *ctx, const struct hash_id *id, const struct error *why)
{
	fuzz_require(hash_alg_known(id->alg) && why->code == ERR_CORRUPT);
	++*(uint64_t *)ctx;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void
use_store(const char *path, bool has_head)
{
	struct chunk_store *s = NULL;
	struct chunk_store_stats before, after;
	uint64_t told = 0, bad = 0, again = 0;
	struct hash_id id;
	auto_buf struct buf out = BUF(PACK_NODE_MAX);
	struct error e = { 0 };

	enum err r = chunk_store_open(path, &(struct chunk_store_opts){ 0 }, &s, &e);
	if (r == ERR_LIMIT && !has_head)
		return; /* says that a newer weft made it */
	fuzz_require(r == OK);
	fuzz_require(chunk_store_stats(s, &before, &e) == OK);
	fuzz_require(chunk_store_check(s, count, &told, &bad, &e) == OK);
	fuzz_require(chunk_store_check(s, count, &told, &again, &e) == OK);
	fuzz_require(chunk_store_stats(s, &after, &e) == OK);
	fuzz_require(told == bad && again == 0 && after.objects == before.objects - bad);
	fuzz_require(
	    chunk_store_put_node(s, HASH_DEFAULT, HASH_TREE, BYTES_LIT("new"), &id, &e) == OK);
	fuzz_require(chunk_store_commit(s, &e) == OK);
	fuzz_require(chunk_store_get_node(s, &id, &out, &e) == OK);
	fuzz_require(bytes_equal(buf_bytes(&out), BYTES_LIT("new")));
	chunk_store_close(s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char dir[] = "/dev/shm/weft-fuzz-XXXXXX", path[100];
	auto_buf struct buf file = BUF(FILE_MAX);

	log_set_level(LOG_LEVEL_ERROR);
	decode_plain(BYTES(data, size));
	make_file(&file, BYTES(data, size));
	fuzz_require(mkdtemp(dir) != NULL);
	snprintf(path, sizeof path, "%s/packs", dir);
	fuzz_require(mkdir(path, 0700) == 0);
	snprintf(path, sizeof path, "%s/packs/0000000000000001.pack", dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	fuzz_require(
	    fd >= 0 && write(fd, file.at, file.len) == (ssize_t)file.len && close(fd) == 0);
	use_store(dir, size > 0 && (data[0] & 7) != 0);
	fuzz_require(nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0);
	return 0;
}
