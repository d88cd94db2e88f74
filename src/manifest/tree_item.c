#include "manifest/tree_item.h"

#include <inttypes.h>

void
tree_item_encode(struct buf *to, const struct tree_item *item)
{
	bool hole = hash_id_is_none(&item->id);

	buf_varint(to, item->len << 1 | hole);
	if (!hole)
		hash_id_encode(to, &item->id);
}

struct tree_item
tree_item_decode(struct reader *r)
{
	uint64_t v = reader_varint(r);
	struct tree_item item = { .len = v >> 1 };

	if ((v & 1) == 0)
		item.id = hash_id_decode(r);
	return item;
}

static enum err
add_hole(struct tree_item_row *row, uint64_t len, struct error *e)
{
	if (row->hole)
		return fail(e, ERR_PROTO, "two holes beside each other at %" PRIu64, row->at);
	if (!row->somewhere && row->at % TREE_HOLE_BLOCK != 0)
		return fail(e, ERR_PROTO, "hole at %" PRIu64 ", which is not the start of a block",
		    row->at);
	row->hole = true;
	row->ended = len % TREE_HOLE_BLOCK != 0;
	return OK;
}

enum err
tree_item_row_add(struct tree_item_row *row, const struct tree_item *item, struct error *e)
{
	bool hole = hash_id_is_none(&item->id);

	if (row->ended)
		return fail(e, ERR_PROTO, "a file goes on after a hole that is not whole blocks");
	if (item->len < 1 || item->len > (hole ? TREE_FILE_SIZE_MAX : CHUNK_MAX))
		return fail(
		    e, ERR_PROTO, "%s of %" PRIu64 " bytes", hole ? "hole" : "chunk", item->len);
	if (item->len > TREE_FILE_SIZE_MAX - row->at)
		return fail(
		    e, ERR_PROTO, "file of more than %" PRIu64 " bytes", TREE_FILE_SIZE_MAX);
	if (hole) {
		enum err r = add_hole(row, item->len, e);
		if (r != OK)
			return r;
	} else {
		row->hole = false;
	}
	row->at += item->len;
	return OK;
}
