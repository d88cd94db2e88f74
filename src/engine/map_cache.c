#include "engine/map_cache.h"

#include <pthread.h>

#include "base/array.h"
#include "base/mem.h"

enum { MAPS_KEPT = 16 };

struct open_map {
	struct hash_id content;
	uint32_t unit_size;
	struct snapshot_map *map; /* NULL: not yet */
	bool opening;             /* by one of its users: the others wait */
	unsigned users;
	uint64_t used; /* for the least recently used */
};

struct map_cache {
	int dir;
	struct node_source source;
	/* callers are jobs of the pool, and the loop; never held across the disk */
	pthread_mutex_t lock;
	pthread_cond_t opened; /* or failed to be */
	ARRAY(struct open_map *) maps;
	uint64_t clock;
};

static struct open_map *
find_open(struct map_cache *c, const struct hash_id *content, uint32_t unit_size)
{
	array_each (m, &c->maps) {
		if (hash_id_equal(&(*m)->content, content) && (*m)->unit_size == unit_size)
			return *m;
	}
	return NULL;
}

/* The least recently used map that nobody uses, out of the table; NULL: all are in use. */
static struct open_map *
take_oldest(struct map_cache *c)
{
	struct open_map *oldest = NULL;

	array_each (m, &c->maps) {
		if ((*m)->users == 0 && (oldest == NULL || (*m)->used < oldest->used))
			oldest = *m;
	}
	if (oldest != NULL)
		array_remove(&c->maps, oldest);
	return oldest;
}

static struct open_map *
add_user(struct map_cache *c, const struct hash_id *content, uint32_t unit_size)
{
	struct open_map *m = find_open(c, content, unit_size);

	if (m == NULL) {
		m = mem_new(struct open_map);
		*m = (struct open_map){ .content = *content, .unit_size = unit_size };
		array_push(&c->maps, m);
	}
	m->users++;
	m->used = ++c->clock;
	return m;
}

/* With the lock.  Who waited for a map that could not be opened tries it itself. */
static void
remove_unopened(struct map_cache *c, struct open_map *m)
{
	if (--m->users > 0)
		return;
	array_remove(&c->maps, m);
	free(m);
}

/* More than are kept may be in use: as soon as one is not, it goes. */
static void
drop_one(struct map_cache *c)
{
	struct open_map *old = c->maps.len > MAPS_KEPT ? take_oldest(c) : NULL;

	if (old == NULL)
		return;
	snapshot_map_free(old->map);
	free(old);
}

/* With the lock, which is given up meanwhile. */
static enum err
open_map(struct map_cache *c, struct open_map *m, struct error *e)
{
	drop_one(c);
	m->opening = true;
	pthread_mutex_unlock(&c->lock);
	enum err r =
	    snapshot_map_open(c->dir, c->source, &m->content, m->unit_size, NULL, &m->map, e);
	pthread_mutex_lock(&c->lock);
	m->opening = false;
	pthread_cond_broadcast(&c->opened);
	return r;
}

enum err
map_cache_get(struct map_cache *c, const struct hash_id *content, uint32_t unit_size,
    struct snapshot_map **ret, struct error *e)
{
	enum err r = OK;

	pthread_mutex_lock(&c->lock);
	struct open_map *m = add_user(c, content, unit_size);
	while (m->opening)
		pthread_cond_wait(&c->opened, &c->lock);
	if (m->map == NULL) /* also when whoever we waited for has failed */
		r = open_map(c, m, e);
	if (r == OK)
		*ret = m->map;
	else
		remove_unopened(c, m);
	pthread_mutex_unlock(&c->lock);
	return r;
}

/* Whoever walks a snapshot touches all of its map once: what was touched goes back in between. */
void
map_cache_put(struct map_cache *c, struct snapshot_map *map)
{
	pthread_mutex_lock(&c->lock);
	array_each (m, &c->maps) {
		if ((*m)->map == map)
			(*m)->users--;
	}
	snapshot_map_trim(map);
	drop_one(c);
	pthread_mutex_unlock(&c->lock);
}

struct map_cache *
map_cache_new(int dir, struct node_source source)
{
	struct map_cache *c = mem_new(struct map_cache);

	c->dir = dir;
	c->source = source;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->opened, NULL);
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
	pthread_cond_destroy(&c->opened);
	pthread_mutex_destroy(&c->lock);
	free(c);
}
