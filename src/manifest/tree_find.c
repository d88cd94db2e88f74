#include "manifest/tree.h"

enum err
tree_find(struct node_source source, const struct hash_id *root, struct bytes name,
    struct buf *value, struct tree_item *items, struct tree_entry *ret, struct error *e)
{
	struct tree_entry en;

	buf_reset(value);
	enum err r = prolly_get(HASH_TREE, source, root, name, value, e);
	if (r != OK)
		return r;
	r = tree_entry_decode(name, buf_bytes(value), items, &en, e);
	if (r != OK)
		return r;
	if (!tree_entry_is_of(&en, root->alg))
		return fail(
		    e, ERR_PROTO, "entry with an id of another algorithm than %u", root->alg);
	*ret = en;
	return OK;
}

static struct bytes
first_name(const char *text, size_t len)
{
	const char *slash = memchr(text, '/', len);

	return BYTES(text, slash != NULL ? (size_t)(slash - text) : len);
}

enum err
tree_find_path(struct node_source source, const struct hash_id *root, struct relpath path,
    struct buf *value, struct tree_item *items, struct tree_entry *ret, struct error *e)
{
	struct tree_entry en = { .type = TREE_DIR, .mode = 0777, .root = *root };

	for (size_t at = 0; at < path.len;) {
		struct bytes name = first_name(path.text + at, path.len - at);
		if (en.type != TREE_DIR)
			return ERR_NOTFOUND;
		struct hash_id dir = en.root;
		enum err r = tree_find(source, &dir, name, value, items, &en, e);
		if (r != OK)
			return r;
		at += name.len + 1;
	}
	*ret = en;
	return OK;
}
