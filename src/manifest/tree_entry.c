#include "base/text.h"
#include "manifest/tree_item.h"

/* First byte of an entry's value. */
enum form { FORM_INLINE = 1, FORM_DIR = 2, FORM_SYMLINK = 3, FORM_LISTED = 4 };

enum { MODE_BITS = 0777 };

static enum err
bad_name(struct bytes name, const char *what, struct error *e)
{
	char shown[120];

	return fail(e, ERR_PROTO, "name \"%s\" %s", text_escape(name, shown, sizeof shown), what);
}

enum err
tree_entry_name(struct bytes name, struct error *e)
{
	if (!relpath_is_name(name))
		return bad_name(name, "is not allowed", e);
	if (relpath_is_reserved(name))
		return bad_name(name, "is reserved", e);
	return OK;
}

static enum err
check_inline(const struct tree_entry *en, struct error *e)
{
	struct tree_item_row row = { 0 };

	if (en->n_items > TREE_INLINE_ITEMS)
		return fail(e, ERR_PROTO, "%u items in one entry", en->n_items);
	for (uint32_t i = 0; i < en->n_items; i++) {
		enum err r = tree_item_row_add(&row, &en->items[i], e);
		if (r != OK)
			return r;
	}
	if (row.at != en->size)
		return fail(e, ERR_PROTO, "file's size is not that of its content");
	return OK;
}

static enum err
check_file(const struct tree_entry *en, struct error *e)
{
	if (hash_id_is_none(&en->root))
		return check_inline(en, e);
	if (en->n_items != 0)
		return fail(e, ERR_PROTO, "file with both a list and items");
	if (en->size <= TREE_INLINE_ITEMS || en->size > TREE_FILE_SIZE_MAX)
		return fail(e, ERR_PROTO, "absurd size of a file");
	return OK;
}

static enum err
check_dir(const struct tree_entry *en, struct error *e)
{
	if (hash_id_is_none(&en->root))
		return fail(e, ERR_PROTO, "directory without a root");
	if (en->size > TREE_TOTAL_MAX || en->entries > TREE_ENTRIES_MAX)
		return fail(e, ERR_PROTO, "absurd size of a directory");
	if (en->entries == 0 && en->size > 0)
		return fail(e, ERR_PROTO, "directory with bytes and no entries");
	return OK;
}

static enum err
check_symlink(const struct tree_entry *en, struct error *e)
{
	if (en->target.len < 1 || en->target.len > TREE_LINK_MAX)
		return fail(e, ERR_PROTO, "symlink to %zu bytes", en->target.len);
	if (memchr(en->target.at, 0, en->target.len) != NULL)
		return fail(e, ERR_PROTO, "symlink with NUL in its target");
	if (en->mode != MODE_BITS || en->mtime_ns != 0 || en->size != en->target.len)
		return fail(e, ERR_PROTO, "symlink with a mode, time or size of its own");
	return OK;
}

/* Every rule that the entry alone can break, the same for what we write and what we read. */
static enum err
check(const struct tree_entry *en, struct error *e)
{
	enum err r = tree_entry_name(en->name, e);

	if (r != OK)
		return r;
	if (en->mode > MODE_BITS)
		return fail(e, ERR_PROTO, "mode %o", en->mode);
	switch (en->type) {
	case TREE_FILE:
		return check_file(en, e);
	case TREE_DIR:
		return check_dir(en, e);
	case TREE_SYMLINK:
		return check_symlink(en, e);
	}
	return fail(e, ERR_PROTO, "entry of type %u", (unsigned)en->type);
}

static void
put_head(struct buf *to, enum form form, const struct tree_entry *en)
{
	buf_u8(to, (uint8_t)form);
	if (form == FORM_SYMLINK)
		return;
	buf_u16(to, (uint16_t)en->mode);
	buf_u64(to, (uint64_t)en->mtime_ns);
}

enum err
tree_entry_encode(const struct tree_entry *en, struct buf *out, struct error *e)
{
	size_t before = out->len;
	enum err r = check(en, e);

	if (r != OK)
		return r;
	if (en->type == TREE_SYMLINK) {
		put_head(out, FORM_SYMLINK, en);
		buf_add_bytes(out, en->target);
	} else if (en->type == TREE_DIR) {
		put_head(out, FORM_DIR, en);
		buf_varint(out, en->size);
		buf_varint(out, en->entries);
		hash_id_encode(out, &en->root);
	} else if (!hash_id_is_none(&en->root)) {
		put_head(out, FORM_LISTED, en);
		buf_varint(out, en->size);
		hash_id_encode(out, &en->root);
	} else {
		put_head(out, FORM_INLINE, en);
		for (uint32_t i = 0; i < en->n_items; i++)
			tree_item_encode(out, &en->items[i]);
	}
	if (out->full) {
		out->len = before;
		return fail(e, ERR_LIMIT, "no room for an entry of the tree");
	}
	return OK;
}

/* Sizes are added up without care for overflow: an item of more than TREE_FILE_SIZE_MAX is refused
 * by check, and 64 of those that pass do not wrap. */
static void
read_items(struct reader *r, struct tree_item *items, struct tree_entry *en)
{
	en->items = items;
	while (reader_left(r) > 0 && en->n_items < TREE_INLINE_ITEMS) {
		items[en->n_items] = tree_item_decode(r);
		en->size += items[en->n_items++].len;
	}
}

static void
read_body(struct reader *r, enum form form, struct tree_item *items, struct tree_entry *en)
{
	switch (form) {
	case FORM_INLINE:
		en->type = TREE_FILE;
		read_items(r, items, en);
		break;
	case FORM_LISTED:
		en->type = TREE_FILE;
		en->size = reader_varint(r);
		en->root = hash_id_decode(r);
		break;
	case FORM_DIR:
		en->type = TREE_DIR;
		en->size = reader_varint(r);
		en->entries = reader_varint(r);
		en->root = hash_id_decode(r);
		break;
	case FORM_SYMLINK:
		en->type = TREE_SYMLINK;
		en->mode = MODE_BITS;
		en->target = reader_rest(r);
		en->size = en->target.len;
		break;
	}
}

enum err
tree_entry_decode(struct bytes name, struct bytes value, struct tree_item *items,
    struct tree_entry *ret, struct error *e)
{
	struct reader r = reader_over(value);
	struct tree_entry en = { .name = name };
	uint8_t form = reader_u8(&r);

	if (form != FORM_SYMLINK) {
		en.mode = reader_u16(&r);
		en.mtime_ns = (int64_t)reader_u64(&r);
	}
	if (form < FORM_INLINE || form > FORM_LISTED)
		return fail(e, ERR_PROTO, "entry of form %u", form);
	read_body(&r, form, items, &en);
	if (!reader_done(&r))
		return fail(e, ERR_PROTO, "entry is cut short or too long");

	enum err err = check(&en, e);
	if (err == OK)
		*ret = en;
	return err;
}

bool
tree_entry_is_of(const struct tree_entry *en, uint8_t alg)
{
	if (!hash_id_is_none(&en->root) && en->root.alg != alg)
		return false;
	for (uint32_t i = 0; i < en->n_items; i++)
		if (!hash_id_is_none(&en->items[i].id) && en->items[i].id.alg != alg)
			return false;
	return true;
}
