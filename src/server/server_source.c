/*
 * Nodes and chunks for members, from the store.  Runs in the pool: it never looks at the registry's
 * memory, only at its rows (through the reader) and at the store.
 */
#include "base/mem.h"
#include "engine/map_cache.h"
#include "server/server_internal.h"

struct server_source {
	struct server *server;
	struct source ops;
	struct map_cache *maps;
};

/* What our rows say is here and is not was damaged, and forgotten when that was noticed. */
static enum err
say_lost(enum err r, struct error *e)
{
	return r == ERR_NOTFOUND ? error_wrap(e, ERR_CORRUPT, "lost by damage") : r;
}

static enum err
get_node(void *ctx, const struct hash_id *share, const struct hash_id *snapshot,
    enum hash_kind kind, const struct hash_id *id, struct buf *out, struct error *e)
{
	struct server_source *x = ctx;
	(void)snapshot;
	(void)kind;

	if (!registry_share_holds_node(x->server->reader, share, id))
		return fail(e, ERR_NOTFOUND, "no such node in this share");
	return say_lost(chunk_store_get_node(x->server->store, id, out, e), e);
}

static enum err
get_map(void *ctx, const struct hash_id *share, const struct hash_id *snapshot, uint32_t unit_size,
    struct snapshot_map **ret, struct error *e)
{
	struct server_source *x = ctx;
	struct hash_id content;
	uint32_t own_size;
	enum err r =
	    registry_share_content(x->server->reader, share, snapshot, &content, &own_size, e);

	if (r != OK)
		return r;
	if (unit_size != own_size)
		return fail(e, ERR_PROTO, "units of %u bytes asked, this snapshot has %u",
		    unit_size, own_size);
	return say_lost(map_cache_get(x->maps, &content, unit_size, ret, e), e);
}

static void
put_map(void *ctx, struct snapshot_map *map)
{
	struct server_source *x = ctx;

	map_cache_put(x->maps, map);
}

/* The map that names the chunk is of a snapshot that was the head of a share the member may read:
 * server_peer asks for that before each step, and it settles the right to every chunk. */
static enum err
get_leaves(void *ctx, const struct source_leaves *w, uint8_t *to, uint32_t *ret_len,
    struct leaf_list *ret_leaves, struct error *e)
{
	struct server_source *x = ctx;
	const struct hash_id *chunk = &snapshot_map_chunk(w->map, w->chunk)->id;
	enum err r = chunk_store_get_leaves(
	    x->server->store, chunk, w->first, w->n, to, ret_len, ret_leaves, e);

	return say_lost(r, e);
}

struct server_source *
server_source_new(struct server *s)
{
	struct server_source *x = mem_new(struct server_source);

	x->server = s;
	x->ops = (struct source){ .get_node = get_node,
		.get_map = get_map,
		.put_map = put_map,
		.get_leaves = get_leaves,
		.ctx = x };
	x->maps = map_cache_new(s->maps_dir, server_source_nodes(s));
	return x;
}

void
server_source_free(struct server_source *x)
{
	if (x == NULL)
		return;
	map_cache_free(x->maps);
	free(x);
}

const struct source *
server_source_ops(struct server_source *x)
{
	return &x->ops;
}

static enum err
any_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct buf *out, struct error *e)
{
	(void)kind;
	return chunk_store_get_node(ctx, id, out, e);
}

struct node_source
server_source_nodes(struct server *s)
{
	return (struct node_source){ .get = any_node, .ctx = s->store };
}
