/*
 * The two files of a snapshot's map with changed bytes, by a script of (file, offset, byte) or cut
 * short: they are believed only when they are what the manifest says, else made again; so what
 * opens is always the same map.  One that cannot be made says why.
 */
#include <fcntl.h>

#include "engine/snapshot_map.h"
#include "fuzz/fuzz_rows.h"
#include "platform/fs.h"

enum { CHUNKS = 3 };

/* A manifest of one file, held in memory. */
static struct {
	struct buf node;
	struct hash_id content, chunk[CHUNKS];
} it;

static enum err
put_node(void *ctx, enum hash_kind kind, struct bytes b, struct hash_id *ret_id, struct error *e)
{
	(void)ctx;
	(void)e;
	hash_object(HASH_DEFAULT, kind, b, ret_id);
	buf_reset(&it.node);
	buf_add_bytes(&it.node, b);
	return OK;
}

static enum err
get_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct buf *out, struct error *e)
{
	(void)ctx;
	(void)kind;
	if (!hash_id_equal(id, &it.content))
		return fail(e, ERR_NOTFOUND, "no such node");
	buf_add_bytes(out, buf_bytes(&it.node));
	return OK;
}

static void
make_manifest(void)
{
	struct node_sink sink = { .put = put_node };
	struct tree_item items[CHUNKS];
	struct tree_entry en = {
		.name = BYTES_LIT("file"), .type = TREE_FILE, .items = items, .n_items = CHUNKS
	};
	auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, sink);

	it.node = BUF(NODE_MAX);
	for (uint8_t i = 0; i < CHUNKS; i++) {
		hash_object(HASH_DEFAULT, HASH_CHUNK, BYTES(&i, 1), &it.chunk[i]);
		items[i] = (struct tree_item){ .id = it.chunk[i], .len = 100000u + i };
		en.size += items[i].len;
	}
	fuzz_require(tree_entry_encode(&en, &value, NULL) == OK);
	fuzz_require(prolly_builder_add(b, en.name, buf_bytes(&value), NULL) == OK);
	fuzz_require(prolly_builder_finish(b, &it.content, NULL) == OK);
}

static void
require_map(int dir)
{
	auto_(snapshot_map_free_p) struct snapshot_map *m = NULL;
	struct error e = { 0 };
	const struct node_source source = { .get = get_node };
	enum err r = snapshot_map_open(dir, source, &it.content, UNIT_MIN, NULL, &m, &e);

	fuzz_require(r == OK);
	fuzz_require(snapshot_map_chunks(m) == CHUNKS && snapshot_map_bytes(m) == 300003);
	for (uint32_t i = 0; i < CHUNKS; i++) {
		fuzz_require(hash_id_equal(&snapshot_map_chunk(m, i)->id, &it.chunk[i]));
		fuzz_require(snapshot_map_find(m, &it.chunk[i]) == i);
	}
	fuzz_require(snapshot_map_find(m, &it.content) == UINT32_MAX);
	fuzz_require(snapshot_map_units(m) == 6 && snapshot_map_unit(m, 5).bytes == 100002 - 65536);
}

static void
change(int dir, struct bytes script)
{
	auto_(fs_list_clear) struct fs_list list = { 0 };
	struct reader r = reader_over(script);

	fuzz_require(fs_list_dir(dir, &list, NULL) == OK && list.n == 2);
	while (reader_left(&r) >= 4) {
		uint8_t which = reader_u8(&r);
		uint16_t at = reader_u16(&r);
		uint8_t to = reader_u8(&r);
		auto_fd int fd = openat(dir, list.names + list.at[which & 1], O_RDWR | O_CLOEXEC);
		fuzz_require(fd >= 0);
		if (which & 2)
			fuzz_require(ftruncate(fd, at) == 0);
		else /* the header or the records behind it */
			fuzz_require(pwrite(fd, &to, 1, (which & 4 ? 4096 : 0) + at % 4096) == 1);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_rows_dir dir = fuzz_rows_dir_make();
	auto_fd int fd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (it.node.len == 0)
		make_manifest();
	require_map(fd);
	change(fd, BYTES(data, size));
	require_map(fd);
	fuzz_rows_dir_remove(&dir);
	return 0;
}
