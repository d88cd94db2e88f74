/*
 * Where the chunks of an announced snapshot go: assembled from leaves, then into the store.
 *
 * Leaves of one chunk may come in two units, so in two jobs at once; the lock guards the table of
 * chunks being assembled and the bits.  It is held for look-ups and copies of 64 KiB, never across
 * the disk.  Assemblies are bounded by what is in flight: the download asks for at most 32 MiB at
 * once.
 */
#include <pthread.h>

#include "base/bitset.h"
#include "base/mem.h"
#include "server/server_internal.h"

struct assembly {
	uint32_t chunk;
	uint32_t len;
	uint32_t mask; /* leaves here */
	struct leaf_list list;
	uint8_t bytes[];
};

struct server_sink {
	struct server *server;
	int64_t share;
	struct snapshot_map *map;
	pthread_mutex_t lock;
	struct bitset have; /* chunks of the map in the store */
	ARRAY(struct assembly *) open;
	ARRAY(uint32_t) fresh; /* stored, not yet flushed */
	uint64_t held;
};

/* -- what is here already -- */

/* Bytes may be used without being sent when the store has them and the author may read a share that
 * holds them: to know a hash is no right to its content. */
static bool
may_use(struct server *s, const int64_t *shares, size_t n, const struct hash_id *chunk)
{
	return registry_any_has_chunk(s->reader, shares, n, chunk);
}

enum { LOOK_UP = 4096 };

static enum err
look_up(struct server_sink *k, const int64_t *shares, size_t n_shares, struct error *e)
{
	uint64_t n = snapshot_map_chunks(k->map);
	bool has[LOOK_UP];

	for (uint64_t from = 0; from < n; from += LOOK_UP) {
		size_t m = (size_t)min_of(n - from, (uint64_t)LOOK_UP);
		const struct snapshot_map_chunk *first = snapshot_map_chunk(k->map, from);
		enum err r =
		    chunk_store_has_many(k->server->store, &first->id, m, sizeof *first, has, e);
		if (r != OK)
			return r;
		for (size_t i = 0; i < m; i++) {
			const struct snapshot_map_chunk *c = snapshot_map_chunk(k->map, from + i);
			if (!has[i] || !may_use(k->server, shares, n_shares, &c->id))
				continue;
			bitset_set(&k->have, from + i);
			/* its row in this share may be missing */
			array_push(&k->fresh, (uint32_t)(from + i));
			k->held += c->len;
		}
		snapshot_map_trim(k->map);
	}
	return OK;
}

enum err
server_sink_open(struct server *s, int64_t share, const int64_t *shares, size_t n_shares,
    struct snapshot_map *map, struct server_sink **ret, struct error *e)
{
	struct server_sink *k = mem_new(struct server_sink);

	k->server = s;
	k->share = share;
	k->map = map;
	pthread_mutex_init(&k->lock, NULL);
	bitset_init(&k->have, (size_t)snapshot_map_chunks(map));
	enum err r = look_up(k, shares, n_shares, e);
	if (r != OK) {
		server_sink_free(k);
		return r;
	}
	*ret = k;
	return OK;
}

void
server_sink_free(struct server_sink *k)
{
	if (k == NULL)
		return;
	array_each (a, &k->open)
		free(*a);
	array_clear(&k->open);
	array_clear(&k->fresh);
	bitset_clear(&k->have);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

/* -- taking -- */

static size_t
find_assembly(const struct server_sink *k, uint32_t chunk)
{
	for (size_t i = 0; i < k->open.len; i++) {
		if (k->open.at[i]->chunk == chunk)
			return i;
	}
	return k->open.len;
}

static void
new_assembly(struct server_sink *k, uint32_t chunk, const struct leaf_list *list)
{
	uint32_t len = snapshot_map_chunk(k->map, chunk)->len;
	struct assembly *a = mem_alloc(sizeof *a + len);

	*a = (struct assembly){ .chunk = chunk, .len = len, .list = *list };
	array_push(&k->open, a);
}

/* Adds a leaf; gives the assembly when that was the last one, else NULL. */
static struct assembly *
add_leaf(struct server_sink *k, const struct transfer_leaf *leaf)
{
	struct assembly *full = NULL;

	pthread_mutex_lock(&k->lock);
	if (!bitset_has(&k->have, leaf->chunk)) {
		size_t i = find_assembly(k, leaf->chunk);
		if (i == k->open.len)
			new_assembly(k, leaf->chunk, leaf->list);
		struct assembly *a = k->open.at[i];
		memcpy(a->bytes + (size_t)leaf->leaf * CHUNK_LEAF, leaf->bytes.at, leaf->bytes.len);
		a->mask |= (uint32_t)1 << leaf->leaf;
		if (a->mask == ((uint32_t)1 << leaf->n_leaves) - 1) {
			full = a;
			array_swap_out(&k->open, i);
		}
	}
	pthread_mutex_unlock(&k->lock);
	return full;
}

static enum err
put(struct server_sink *k, uint32_t chunk, struct bytes data, const struct leaf_list *list,
    struct error *e)
{
	const struct snapshot_map_chunk *c = snapshot_map_chunk(k->map, chunk);
	enum err r = chunk_store_put_chunk(k->server->store, &c->id, data, list, true, e);

	if (r != OK)
		return r;
	pthread_mutex_lock(&k->lock);
	if (bitset_set(&k->have, chunk)) {
		array_push(&k->fresh, chunk);
		k->held += c->len;
	}
	pthread_mutex_unlock(&k->lock);
	return OK;
}

static enum err
take(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	struct server_sink *k = ctx;

	if (leaf->n_leaves == 1)
		return put(k, leaf->chunk, leaf->bytes, NULL, e);
	auto_free struct assembly *a = add_leaf(k, leaf);
	return a != NULL ? put(k, a->chunk, BYTES(a->bytes, a->len), &a->list, e) : OK;
}

/* Store first, rows second: a crash in between costs a second sending, never a right to bytes that
 * are not here. */
static enum err
flush(void *ctx, struct error *e)
{
	struct server_sink *k = ctx;
	struct db *db = k->server->registry->db;
	ARRAY(uint32_t) done = { 0 };

	pthread_mutex_lock(&k->lock);
	memcpy(&done, &k->fresh, sizeof done);
	memset(&k->fresh, 0, sizeof k->fresh);
	pthread_mutex_unlock(&k->lock);

	enum err r = chunk_store_commit(k->server->store, e);
	if (r == OK && done.len > 0)
		r = db_begin(db, e);
	if (r == OK && done.len > 0) {
		array_each (c, &done) {
			if (r == OK)
				r = registry_store_share_chunk(
				    db, k->share, &snapshot_map_chunk(k->map, *c)->id, e);
		}
		if (r == OK)
			r = db_commit(db, e);
		else
			db_rollback(db);
	}
	if (r != OK) { /* they are still to be recorded */
		pthread_mutex_lock(&k->lock);
		array_each (c, &done)
			array_push(&k->fresh, *c);
		pthread_mutex_unlock(&k->lock);
	}
	array_clear(&done);
	return r;
}

/* -- missing -- */

static uint32_t
leaves_here(const struct server_sink *k, uint32_t chunk)
{
	if (bitset_has(&k->have, chunk))
		return UINT32_MAX;
	size_t i = find_assembly(k, chunk);
	return i < k->open.len ? k->open.at[i]->mask : 0;
}

static uint32_t
missing(void *ctx, uint32_t unit, struct leaf_run *runs, uint32_t *ret_bytes)
{
	struct server_sink *k = ctx;
	struct unit_pieces p = unit_pieces_of(snapshot_map_unit(k->map, unit));
	uint32_t n = 0, bytes = 0, chunk;

	pthread_mutex_lock(&k->lock);
	while (unit_pieces_more(&p, &chunk)) {
		uint32_t len = snapshot_map_chunk(k->map, chunk)->len;
		struct unit_piece piece = unit_pieces_next(&p, len);
		uint32_t here = leaves_here(k, chunk);
		for (uint32_t i = 0; i < piece.n_leaves; i++) {
			uint32_t leaf = piece.first_leaf + i, at = piece.unit_leaf + i;
			if (here >> leaf & 1)
				continue;
			bytes += chunk_id_leaf_len(len, leaf);
			if (n > 0 && runs[n - 1].first + runs[n - 1].n == at)
				runs[n - 1].n++;
			else if (n < LIMIT_UNIT_RUNS)
				runs[n++] = (struct leaf_run){ (uint16_t)at, 1 };
			else /* no run left: close the gap; what is sent twice is dropped */
				runs[n - 1].n = (uint16_t)(at + 1 - runs[n - 1].first);
		}
	}
	pthread_mutex_unlock(&k->lock);
	if (unit % LOOK_UP == 0) /* all units are asked for, in order, when fetching begins */
		snapshot_map_trim(k->map);
	*ret_bytes = bytes;
	return n;
}

struct sink
server_sink_ops(struct server_sink *k)
{
	return (struct sink){ .missing = missing, .take = take, .flush = flush, .ctx = k };
}

uint64_t
server_sink_held(struct server_sink *k)
{
	pthread_mutex_lock(&k->lock);
	uint64_t held = k->held;
	pthread_mutex_unlock(&k->lock);
	return held;
}
