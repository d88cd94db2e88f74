/*
 * Where the chunks of an announced snapshot go: assembled from leaves, then into the store.
 *
 * The leaves of a chunk may come in several units, in any order, and units in any order too: many
 * chunks may be half here at once.  So their bytes lie in a file without a name until they are
 * whole, each chunk in a slot of its own.
 *
 * Jobs of different units run side by side, and members may read leaves that are here.  The lock
 * guards the table of chunks being assembled and the bits; it is never held across the disk.  Who
 * reads or writes a slot is counted, so that it is not given to another chunk meanwhile.
 */
#include <pthread.h>
#include <unistd.h>

#include "base/bitset.h"
#include "base/mem.h"
#include "server/server_internal.h"

struct assembly {
	uint32_t chunk, len;
	uint32_t slot;
	uint32_t mask;           /* leaves here */
	uint32_t users, writers; /* of the slot, now; writers are users too */
	bool over;               /* out of the table: the last user frees it */
	struct leaf_list list;
};

struct server_sink {
	struct server *server;
	int64_t share;
	struct snapshot_map *map;
	pthread_mutex_t lock;
	uint32_t refs;
	struct bitset have; /* chunks of the map in the store */
	struct map open;    /* chunk -> struct assembly * */
	int stage;          /* -1: none yet */
	uint32_t n_slots;
	ARRAY(uint32_t) free_slots;
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
	k->refs = 1;
	k->stage = -1;
	pthread_mutex_init(&k->lock, NULL);
	bitset_init(&k->have, (size_t)snapshot_map_chunks(map));
	enum err r = look_up(k, shares, n_shares, e);
	if (r != OK) {
		server_sink_unref(k);
		return r;
	}
	*ret = k;
	return OK;
}

void
server_sink_ref(struct server_sink *k)
{
	pthread_mutex_lock(&k->lock);
	k->refs++;
	pthread_mutex_unlock(&k->lock);
}

void
server_sink_unref(struct server_sink *k)
{
	if (k == NULL)
		return;
	pthread_mutex_lock(&k->lock);
	bool is_last = --k->refs == 0;
	pthread_mutex_unlock(&k->lock);
	if (!is_last)
		return;
	map_each (slot, &k->open)
		free(slot->ptr);
	map_clear(&k->open);
	if (k->stage >= 0)
		(void)close(k->stage);
	array_clear(&k->free_slots);
	array_clear(&k->fresh);
	bitset_clear(&k->have);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

/* -- the chunks that are not whole yet; with the lock held -- */

static struct assembly *
find_assembly(const struct server_sink *k, uint32_t chunk)
{
	return map_ptr(&k->open, BYTES_OF(chunk));
}

static struct assembly *
new_assembly(struct server_sink *k, uint32_t chunk, const struct leaf_list *list)
{
	struct assembly *a = mem_new(struct assembly);

	a->chunk = chunk;
	a->len = snapshot_map_chunk(k->map, chunk)->len;
	a->list = *list;
	a->slot = k->free_slots.len > 0 ? array_pop(&k->free_slots) : k->n_slots++;
	map_put(&k->open, BYTES_OF(chunk), NULL)->ptr = a;
	return a;
}

static void
end_use(struct server_sink *k, struct assembly *a)
{
	if (--a->users > 0 || !a->over)
		return;
	array_push(&k->free_slots, a->slot);
	free(a);
}

static void
remove_assembly(struct server_sink *k, struct assembly *a)
{
	map_del(&k->open, BYTES_OF(a->chunk));
	a->over = true;
}

static uint64_t
stage_at(const struct assembly *a, uint32_t leaf)
{
	return (uint64_t)a->slot * CHUNK_MAX + (uint64_t)leaf * CHUNK_LEAF;
}

/* -- taking -- */

/* To be written to by the caller; NULL: that leaf is here. */
static struct assembly *
begin_leaf(struct server_sink *k, const struct transfer_leaf *leaf, enum err *r, struct error *e)
{
	struct assembly *a = NULL;

	pthread_mutex_lock(&k->lock);
	if (k->stage < 0)
		*r = fs_create_unnamed(k->server->maps_dir, &k->stage, e);
	if (*r == OK && !bitset_has(&k->have, leaf->chunk)) {
		a = find_assembly(k, leaf->chunk);
		if (a == NULL)
			a = new_assembly(k, leaf->chunk, leaf->list);
		if (a->mask >> leaf->leaf & 1)
			a = NULL;
	}
	if (a != NULL) {
		a->users++;
		a->writers++;
	}
	pthread_mutex_unlock(&k->lock);
	return a;
}

/* The leaf was written, or not: true when the chunk is whole, and the caller's to store, who still
 * uses it then.  Nobody begins to write to a whole chunk. */
static bool
end_leaf(struct server_sink *k, struct assembly *a, const struct transfer_leaf *leaf, bool written)
{
	pthread_mutex_lock(&k->lock);
	if (written)
		a->mask |= (uint32_t)1 << leaf->leaf;
	a->writers--;
	bool is_whole = a->writers == 0 && a->mask == ((uint32_t)1 << leaf->n_leaves) - 1;
	if (!is_whole)
		end_use(k, a);
	pthread_mutex_unlock(&k->lock);
	return is_whole;
}

static enum err
put(struct server_sink *k, uint32_t chunk, struct bytes data, const struct leaf_list *list,
    bool checked, struct error *e)
{
	const struct snapshot_map_chunk *c = snapshot_map_chunk(k->map, chunk);
	enum err r = chunk_store_put_chunk(k->server->store, &c->id, data, list, checked, e);

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

/* What cannot be stored is missing again.  It is hashed once more, as disks lie. */
static enum err
store_whole(struct server_sink *k, struct assembly *a, struct error *e)
{
	auto_free uint8_t *bytes = mem_alloc(a->len);
	enum err r = fs_read_exact(k->stage, stage_at(a, 0), bytes, a->len, e);

	if (r == OK)
		r = put(k, a->chunk, BYTES(bytes, a->len), &a->list, false, e);
	if (r == ERR_CORRUPT)
		r = error_wrap(e, ERR_IO, "the disk gave back other bytes than were written");
	pthread_mutex_lock(&k->lock);
	remove_assembly(k, a);
	end_use(k, a);
	pthread_mutex_unlock(&k->lock);
	return r;
}

static enum err
take(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	struct server_sink *k = ctx;
	enum err r = OK;

	if (leaf->n_leaves == 1)
		return put(k, leaf->chunk, leaf->bytes, NULL, true, e);
	struct assembly *a = begin_leaf(k, leaf, &r, e);
	if (a == NULL)
		return r;
	r = fs_write_at(k->stage, stage_at(a, leaf->leaf), leaf->bytes, e);
	if (end_leaf(k, a, leaf, r == OK))
		r = store_whole(k, a, e);
	return r;
}

/* -- giving what is being assembled -- */

enum err
server_sink_get_leaves(struct server_sink *k, const struct source_leaves *w, uint8_t *to,
    uint32_t *ret_len, struct leaf_list *ret_leaves, struct error *e)
{
	const uint32_t wanted = (((uint32_t)1 << w->n) - 1) << w->first;

	pthread_mutex_lock(&k->lock);
	struct assembly *a = find_assembly(k, w->chunk);
	bool has_all = bitset_has(&k->have, w->chunk);
	if (a != NULL && (a->mask & wanted) != wanted)
		a = NULL;
	if (a != NULL)
		a->users++;
	pthread_mutex_unlock(&k->lock);
	if (a == NULL && !has_all)
		return fail(e, ERR_NOTFOUND, "not here yet");
	if (a == NULL)
		return chunk_store_get_leaves(k->server->store,
		    &snapshot_map_chunk(w->map, w->chunk)->id, w->first, w->n, to, ret_len,
		    ret_leaves, e);
	uint32_t last = w->first + w->n - 1;
	uint32_t len = (w->n - 1) * CHUNK_LEAF + chunk_id_leaf_len(a->len, last);
	enum err r = fs_read_exact(k->stage, stage_at(a, w->first), to, len, e);
	if (ret_leaves != NULL)
		*ret_leaves = a->list;
	*ret_len = len;
	pthread_mutex_lock(&k->lock);
	end_use(k, a);
	pthread_mutex_unlock(&k->lock);
	return r;
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
	const struct assembly *a = find_assembly(k, chunk);
	return a != NULL ? a->mask : 0;
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
