#include "engine/map_cache.h"

#include <pthread.h>

#include "base/array.h"
#include "base/mem.h"

enum { MAPS_KEPT = 16 };

struct open_map {
	struct hash_id content;
	struct snapshot_map *map;
	unsigned users;
	uint64_t used; /* for the least recently used */
};

struct map_cache {
	int dir;
	struct node_source source;
	pthread_mutex_t lock; /* callers are jobs of the pool */
	ARRAY(struct open_map *) maps;
	uint64_t clock;
};

static struct open_map *
find_open(struct map_cache *c, const struct hash_id *content, uint32_t unit_size)
{
	array_each (m, &c->maps) {
		if (hash_id_equal(&(*m)->content, content) &&
		    snapshot_map_unit_size((*m)->map) == unit_size)
			return *m;
	}
	return NULL;
}

/* The least recently used map that nobody uses goes, if there is one. */
static void
drop_one(struct map_cache *c)
{
	size_t oldest = c->maps.len;

	for (size_t i = 0; i < c->maps.len; i++) {
		struct open_map *m = c->maps.at[i];
		if (m->users == 0 && (oldest == c->maps.len || m->used < c->maps.at[oldest]->used))
			oldest = i;
	}
	if (oldest == c->maps.len)
		return;
	snapshot_map_free(c->maps.at[oldest]->map);
	free(c->maps.at[oldest]);
	array_swap_out(&c->maps, oldest);
}

static enum err
open_map(struct map_cache *c, const struct hash_id *content, uint32_t unit_size,
    struct open_map **ret, struct error *e)
{
	struct snapshot_map *map = NULL;
	enum err r = snapshot_map_open(c->dir, c->source, content, unit_size, NULL, &map, e);

	if (r != OK)
		return r;
	if (c->maps.len >= MAPS_KEPT)
		drop_one(c);
	struct open_map *m = mem_new(struct open_map);
	*m = (struct open_map){ .content = *content, .map = map };
	array_push(&c->maps, m);
	*ret = m;
	return OK;
}

enum err
map_cache_get(struct map_cache *c, const struct hash_id *content, uint32_t unit_size,
    struct snapshot_map **ret, struct error *e)
{
	enum err r = OK;

	pthread_mutex_lock(&c->lock);
	struct open_map *m = find_open(c, content, unit_size);
	if (m == NULL)
		r = open_map(c, content, unit_size, &m, e);
	if (r == OK) {
		m->users++;
		m->used = ++c->clock;
		*ret = m->map;
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

void
map_cache_put(struct map_cache *c, struct snapshot_map *map)
{
	pthread_mutex_lock(&c->lock);
	array_each (m, &c->maps) {
		if ((*m)->map == map)
			(*m)->users--;
	}
	/* While all were in use there may have come to be more of them. */
	if (c->maps.len > MAPS_KEPT)
		drop_one(c);
	else
		snapshot_map_trim(map);
	pthread_mutex_unlock(&c->lock);
}

struct map_cache *
map_cache_new(int dir, struct node_source source)
{
	struct map_cache *c = mem_new(struct map_cache);

	c->dir = dir;
	c->source = source;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

void
map_cache_free(struct map_cache *c)
{
	if (c == NULL)
		return;
	array_each (m, &c->maps) {
		snapshot_map_free((*m)->map);
		free(*m);
	}
	array_clear(&c->maps);
	pthread_mutex_destroy(&c->lock);
	free(c);
}
