#include "engine/mark.h"

static enum err
mark_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	struct mark *m = ctx;
	auto_buf struct buf node = BUF(CHUNK_STORE_NODE_MAX);
	bool is_new;

	map_put(&m->seen, hash_id_bytes(id), &is_new);
	if (!is_new)
		return OK;
	enum err r = m->on_node != NULL ? m->on_node(m->ctx, kind, id, e) : OK;
	if (r == OK)
		r = chunk_store_get_node(m->nodes, id, &node, e);
	return r == OK ? node_children(kind, buf_bytes(&node), mark_node, m, e) : r;
}

enum err
mark_snapshot(
    struct mark *m, const struct hash_id *commit, struct hash_id *ret_content, struct error *e)
{
	auto_buf struct buf bytes = BUF(COMMIT_MAX);
	struct commit c = { 0 };

	enum err r = chunk_store_get_node(m->nodes, commit, &bytes, e);
	if (r == OK)
		r = commit_decode(buf_bytes(&bytes), &c, e);
	if (r == OK && m->on_node != NULL)
		r = m->on_node(m->ctx, HASH_COMMIT, commit, e);
	if (r == OK)
		r = mark_node(m, HASH_TREE, &c.content, e);
	if (r == OK)
		r = mark_node(m, HASH_CAUSAL, &c.causal, e);
	if (r == OK && ret_content != NULL)
		*ret_content = c.content;
	commit_clear(&c);
	return r;
}

void
mark_clear(struct mark *m)
{
	map_clear(&m->seen);
}
