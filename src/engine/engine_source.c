#include <stdio.h>

#include "base/mem.h"
#include "engine/engine_internal.h"

static enum err
get_node(void *ctx, const struct hash_id *share, const struct hash_id *snapshot,
    enum hash_kind kind, const struct hash_id *id, struct buf *out, struct error *e)
{
	struct engine *en = ctx;
	(void)snapshot;
	(void)kind;

	if (!state_share_has_node(en->state, share, id))
		return fail(e, ERR_NOTFOUND, "no such node in this share");
	return chunk_store_get_node(en->nodes, id, out, e);
}

/* The commit is here and belongs to the share: then its map may be made. */
static enum err
get_map(void *ctx, const struct hash_id *share, const struct hash_id *snapshot, uint32_t unit_size,
    struct snapshot_map **ret, struct error *e)
{
	struct engine *en = ctx;
	auto_buf struct buf bytes = BUF(COMMIT_MAX);
	struct commit c = { 0 };

	if (unit_size < UNIT_MIN || unit_size > UNIT_MAX)
		return fail(e, ERR_PROTO, "units of %u bytes", unit_size);
	if (!state_share_has_node(en->state, share, snapshot))
		return fail(e, ERR_NOTFOUND, "no such snapshot in this share");
	enum err r = chunk_store_get_node(en->nodes, snapshot, &bytes, e);
	if (r == OK)
		r = commit_decode(buf_bytes(&bytes), &c, e);
	if (r == OK)
		r = map_cache_get(en->maps, &c.content, unit_size, ret, e);
	commit_clear(&c);
	return r;
}

static void
put_map(void *ctx, struct snapshot_map *m)
{
	struct engine *en = ctx;

	map_cache_put(en->maps, m);
}

/* A file that changed is named by who first notices it, and then forgotten, with all that it held.
 * So whoever asks for more of the same snapshot is told the same. */
static enum err
lose(struct engine *en, const struct hash_id *snapshot, const struct error *why, struct error *e)
{
	enum err r = why->code;

	pthread_mutex_lock(&en->lost.lock);
	if (!hash_id_equal(&en->lost.snapshot, snapshot)) {
		en->lost.snapshot = *snapshot;
		snprintf(en->lost.why, sizeof en->lost.why, "%s", why->text);
	}
	if (e != NULL)
		r = fail(e, why->code, "%s", en->lost.why);
	pthread_mutex_unlock(&en->lost.lock);
	return r;
}

/* What is just being received comes first: its places are known only when it is in place. */
static enum err
get_leaves(void *ctx, const struct source_leaves *w, uint8_t *to, uint32_t *ret_len,
    struct leaf_list *ret_leaves, struct error *e)
{
	struct engine *en = ctx;
	const struct snapshot_map_chunk *c = snapshot_map_chunk(w->map, w->chunk);
	struct error why;

	if (dest_table_get_leaves(en->dests, w, to, ret_len, ret_leaves, NULL) == OK)
		return OK;
	enum err r = places_get_leaves(
	    en->places, NULL, &c->id, c->len, w->first, w->n, to, ret_len, ret_leaves, &why);
	if (r == ERR_NOTFOUND)
		return lose(en, w->snapshot, &why, e);
	return r == OK || e == NULL ? r : (*e = why).code;
}

struct source
engine_source(struct engine *en)
{
	return (struct source){ .get_node = get_node,
		.get_map = get_map,
		.put_map = put_map,
		.get_leaves = get_leaves,
		.ctx = en };
}

/* -- what belongs to a share -- */

struct own {
	struct engine *en;
	const struct hash_id *share;
};

/* A node that the share has already has all its nodes below it too: they were recorded before it.
 */
static enum err
own_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	struct own *o = ctx;
	auto_buf struct buf node = BUF(CHUNK_STORE_NODE_MAX);

	if (state_share_has_node(o->en->state, o->share, id))
		return OK;
	enum err r = chunk_store_get_node(o->en->nodes, id, &node, e);
	if (r == OK)
		r = node_children(kind, buf_bytes(&node), own_node, o, e);
	return r == OK ? state_share_node_add(o->en->state, o->share, id, e) : r;
}

enum err
engine_source_note(struct engine *en, const struct commit *c, struct error *e)
{
	struct own o = { en, &c->share };
	enum err r = own_node(&o, HASH_TREE, &c->content, e);

	if (r == OK)
		r = own_node(&o, HASH_CAUSAL, &c->causal, e);
	return r == OK ? state_share_node_add(en->state, &c->share, &c->id, e) : r;
}

enum err
engine_source_own(struct engine *en, const struct commit *c, struct error *e)
{
	enum err r = state_begin(en->state, e);

	if (r != OK)
		return r;
	r = engine_source_note(en, c, e);
	if (r == OK)
		return state_commit(en->state, e);
	state_rollback(en->state);
	return r;
}
