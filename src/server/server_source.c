/*
 * Nodes and chunks for members, from the store, and of what is being received from its sink.  Runs
 * in the pool: it never looks at the registry's memory, only at its rows (through the reader), at
 * the store, and at the table of sinks, which has a lock.
 */
#include <pthread.h>

#include "base/mem.h"
#include "engine/map_cache.h"
#include "server/server_internal.h"

struct server_source {
	struct server *server;
	struct source ops;
	struct map_cache *maps;
	pthread_mutex_t lock;
	ARRAY(struct {
		struct hash_id snapshot;
		struct server_sink *sink;
	})
	sinks;
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

/* -- what is being received -- */

void
server_source_add_sink(
    struct server_source *x, const struct hash_id *snapshot, struct server_sink *k)
{
	server_sink_ref(k);
	pthread_mutex_lock(&x->lock);
	array_reserve(&x->sinks, x->sinks.len + 1);
	x->sinks.at[x->sinks.len].snapshot = *snapshot;
	x->sinks.at[x->sinks.len++].sink = k;
	pthread_mutex_unlock(&x->lock);
}

void
server_source_remove_sink(struct server_source *x, struct server_sink *k)
{
	bool found = false;

	pthread_mutex_lock(&x->lock);
	for (size_t i = 0; i < x->sinks.len && !found; i++) {
		found = x->sinks.at[i].sink == k;
		if (found)
			array_swap_out(&x->sinks, i);
	}
	pthread_mutex_unlock(&x->lock);
	if (found)
		server_sink_unref(k);
}

/* To be unreferenced; NULL: it is not being received. */
static struct server_sink *
find_sink(struct server_source *x, const struct hash_id *snapshot)
{
	struct server_sink *k = NULL;

	pthread_mutex_lock(&x->lock);
	for (size_t i = 0; i < x->sinks.len && k == NULL; i++) {
		if (hash_id_equal(&x->sinks.at[i].snapshot, snapshot))
			k = x->sinks.at[i].sink;
	}
	if (k != NULL)
		server_sink_ref(k);
	pthread_mutex_unlock(&x->lock);
	return k;
}

/* The right to every chunk is settled by whoever allowed the request (server_answer.c): the map
 * that names it is of a snapshot that was the head of a share the member may read, or its unit was
 * sent by members, leaf by leaf. */
static enum err
get_leaves(void *ctx, const struct source_leaves *w, uint8_t *to, uint32_t *ret_len,
    struct leaf_list *ret_leaves, struct error *e)
{
	struct server_source *x = ctx;
	const struct hash_id *chunk = &snapshot_map_chunk(w->map, w->chunk)->id;
	struct server_sink *k = find_sink(x, w->snapshot);
	enum err r = k != NULL ? server_sink_get_leaves(k, w, to, ret_len, ret_leaves, e)
			       : chunk_store_get_leaves(x->server->store, chunk, w->first, w->n, to,
				     ret_len, ret_leaves, e);

	server_sink_unref(k);
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
	pthread_mutex_init(&x->lock, NULL);
	return x;
}

void
server_source_free(struct server_source *x)
{
	if (x == NULL)
		return;
	map_cache_free(x->maps);
	array_each (at, &x->sinks)
		server_sink_unref(at->sink);
	array_clear(&x->sinks);
	pthread_mutex_destroy(&x->lock);
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
