#include "engine/dest_private.h"

/* Is [OFF, OFF + LEN) of the file a hole, or zeros? */
static enum err
is_zero(int fd, uint64_t off, uint64_t len, uint8_t *room, bool *ret, struct error *e)
{
	uint64_t end = off + len, from, to;

	*ret = true;
	while (off < end && *ret) {
		enum err r = fs_next_data(fd, off, &from, &to, e);
		if (r != OK || from >= end)
			return r;
		uint64_t until = min_of(to, end);
		size_t n = (size_t)min_of(until - from, (uint64_t)CHUNK_MAX);
		r = fs_read_exact(fd, from, room, n, e);
		if (r != OK)
			return r;
		*ret = room[0] == 0 && memcmp(room, room + 1, n - 1) == 0;
		off = from + n;
	}
	return OK;
}

enum err
dest_content_is(struct node_source nodes, int fd, const struct tree_entry *en, uint8_t *room,
    const atomic_bool *cancel, bool *ret, struct error *e)
{
	auto_(tree_items_free_p) struct tree_items *items = tree_items_new(nodes, en);
	struct tree_item item;
	uint64_t off = 0;
	bool same = true;
	struct error why;
	enum err r;

	while ((r = tree_items_next(items, &item, e)) == OK && same) {
		if (cancel != NULL && *cancel)
			return fail(e, ERR_CANCELED, "stopped");
		if (hash_id_is_none(&item.id)) {
			r = is_zero(fd, off, item.len, room, &same, &why);
		} else {
			r = fs_read_exact(fd, off, room, (size_t)item.len, &why);
			same = r == OK && chunk_id_matches(&item.id, BYTES(room, (size_t)item.len));
		}
		if (r == ERR_CORRUPT) /* shorter than it was */
			same = false;
		else if (r != OK)
			return fail(e, r, "%s", why.text);
		off += item.len;
	}
	if (r != OK && r != ERR_NOTFOUND && same)
		return r;
	*ret = same;
	return OK;
}

uint64_t
dest_content_print(const struct tree_entry *en)
{
	auto_buf struct buf b = BUF(64 + (size_t)TREE_INLINE_ITEMS * (HASH_ID_BYTES + 8));
	uint8_t hash[HASH_BYTES];
	uint64_t print;

	buf_u64(&b, en->size);
	buf_add_bytes(&b, hash_id_bytes(&en->root));
	for (uint32_t i = 0; i < en->n_items; i++) {
		buf_u64(&b, en->items[i].len);
		buf_add_bytes(&b, hash_id_bytes(&en->items[i].id));
	}
	hash_sha256(buf_bytes(&b), BYTES(NULL, 0), hash);
	memcpy(&print, hash, sizeof print);
	return print | 1;
}
