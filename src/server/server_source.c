/*
 * Nodes and chunks for members, from the store.  Runs in the pool: it never looks at the registry's memory, only at its rows
 * (through the reader) and at the store.  Open maps are kept for the next request; the lock guards that short list.
 */
#include <pthread.h>

#include "base/mem.h"
#include "server/server_internal.h"

enum { MAPS_KEPT = 16 };

struct open_map {
	struct hash_id content;
	struct snapshot_map *map;
	unsigned users;
	uint64_t used; /* for the least recently used */
};

struct server_source {
	struct server *server;
	struct source ops;
	pthread_mutex_t lock;
	ARRAY(struct open_map *) maps;
	uint64_t clock;
};

static enum err
get_node(void *ctx, const struct hash_id *share, const struct hash_id *snapshot, enum hash_kind kind,
    const struct hash_id *id, struct buf *out, struct error *e)
{
	struct server_source *x = ctx;
	(void)snapshot;
	(void)kind;

	if (!registry_share_holds_node(x->server->reader, share, id))
		return fail(e, ERR_NOTFOUND, "no such node in this share");
	return chunk_store_get_node(x->server->store, id, out, e);
}

static struct open_map *
find_open(struct server_source *x, const struct hash_id *content, uint32_t unit_size)
{
	array_each (m, &x->maps) {
		if (hash_id_equal(&(*m)->content, content) && snapshot_map_unit_size((*m)->map) == unit_size)
			return *m;
	}
	return NULL;
}

/* The least recently used map that nobody uses goes. */
static void
drop_one(struct server_source *x)
{
	size_t oldest = x->maps.len;

	for (size_t i = 0; i < x->maps.len; i++) {
		struct open_map *m = x->maps.at[i];
		if (m->users == 0 && (oldest == x->maps.len || m->used < x->maps.at[oldest]->used))
			oldest = i;
	}
	if (oldest == x->maps.len)
		return;
	snapshot_map_free(x->maps.at[oldest]->map);
	free(x->maps.at[oldest]);
	array_swap_out(&x->maps, oldest);
}

static enum err
open_map(struct server_source *x, const struct hash_id *content, uint32_t unit_size, struct open_map **ret,
    struct error *e)
{
	struct snapshot_map *map = NULL;
	enum err r = snapshot_map_open(x->server->maps_dir, server_source_nodes(x->server), content, unit_size, NULL,
	    &map, e);

	if (r != OK)
		return r;
	if (x->maps.len >= MAPS_KEPT)
		drop_one(x);
	struct open_map *m = mem_new(struct open_map);
	*m = (struct open_map){ .content = *content, .map = map };
	array_push(&x->maps, m);
	*ret = m;
	return OK;
}

static enum err
get_map(void *ctx, const struct hash_id *share, const struct hash_id *snapshot, uint32_t unit_size,
    struct snapshot_map **ret, struct error *e)
{
	struct server_source *x = ctx;
	struct hash_id content;
	uint32_t own_size;
	enum err r = registry_share_content(x->server->reader, share, snapshot, &content, &own_size, e);

	if (r != OK)
		return r;
	if (unit_size != own_size)
		return fail(e, ERR_PROTO, "units of %u bytes asked, this snapshot has %u", unit_size, own_size);
	pthread_mutex_lock(&x->lock);
	struct open_map *m = find_open(x, &content, unit_size);
	if (m == NULL)
		r = open_map(x, &content, unit_size, &m, e);
	if (r == OK) {
		m->users++;
		m->used = ++x->clock;
		*ret = m->map;
	}
	pthread_mutex_unlock(&x->lock);
	return r;
}

static void
put_map(void *ctx, struct snapshot_map *map)
{
	struct server_source *x = ctx;

	pthread_mutex_lock(&x->lock);
	array_each (m, &x->maps) {
		if ((*m)->map == map)
			(*m)->users--;
	}
	pthread_mutex_unlock(&x->lock);
}

/* The map that names the chunk was opened for this share and snapshot, so the right to it is settled. */
static enum err
get_leaves(void *ctx, const struct hash_id *share, const struct hash_id *chunk, uint32_t len, uint32_t first,
    uint32_t n, uint8_t *to, uint32_t *ret_len, struct leaf_list *ret_leaves, struct error *e)
{
	struct server_source *x = ctx;
	(void)share;
	(void)len;

	return chunk_store_get_leaves(x->server->store, chunk, first, n, to, ret_len, ret_leaves, e);
}

struct server_source *
server_source_new(struct server *s)
{
	struct server_source *x = mem_new(struct server_source);

	x->server = s;
	x->ops = (struct source){
		.get_node = get_node, .get_map = get_map, .put_map = put_map, .get_leaves = get_leaves, .ctx = x
	};
	pthread_mutex_init(&x->lock, NULL);
	return x;
}

void
server_source_free(struct server_source *x)
{
	if (x == NULL)
		return;
	array_each (m, &x->maps) {
		snapshot_map_free((*m)->map);
		free(*m);
	}
	array_clear(&x->maps);
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
