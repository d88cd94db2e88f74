/*
 * Leaves arrive in several jobs at once.  Each writes its own bytes and sets its own bit; the lock
 * guards the list of what is not flushed yet, and the leaf lists: two units may bring the same one.
 */
#include "base/mem.h"
#include "engine/dest_private.h"

void
dest_take_mark(struct dest *d, uint32_t chunk, uint16_t leaves)
{
	__atomic_fetch_or(&dest_chunk(d, chunk)->taken, leaves, __ATOMIC_RELEASE);
	pthread_mutex_lock(&d->lock);
	if (d->fresh.len > 0 && d->fresh.at[d->fresh.len - 1].chunk == chunk) {
		d->fresh.at[d->fresh.len - 1].leaves |= leaves;
	} else {
		array_reserve(&d->fresh, d->fresh.len + 1);
		d->fresh.at[d->fresh.len].chunk = chunk;
		d->fresh.at[d->fresh.len++].leaves = leaves;
	}
	pthread_mutex_unlock(&d->lock);
}

static enum err
write_part(
    struct dest *d, const struct dest_chunk *c, uint32_t leaf, struct bytes b, struct error *e)
{
	int fd;
	enum err r = dest_stage_acquire(d, c->file, &fd, e);

	if (r != OK)
		return r;
	r = fs_write_at(fd, c->offset + (uint64_t)leaf * CHUNK_LEAF, b, e);
	dest_stage_release(d, c->file, fd);
	return r;
}

void
dest_take_list(struct dest *d, uint32_t chunk, const struct leaf_list *list)
{
	struct dest_chunk *c = dest_chunk(d, chunk);

	if (list == NULL || c->list == DEST_NONE || __atomic_load_n(&c->has_list, __ATOMIC_ACQUIRE))
		return;
	pthread_mutex_lock(&d->lock);
	if (!c->has_list)
		memcpy(big_array_at(&d->plan.lists, c->list), list->hash,
		    (size_t)list->n * HASH_BYTES);
	__atomic_store_n(&c->has_list, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&d->lock);
}

enum err
dest_take_leaf(struct dest *d, uint32_t chunk, uint32_t leaf, struct bytes b,
    const struct leaf_list *list, struct error *e)
{
	struct dest_chunk *c = dest_chunk(d, chunk);

	if (c->file == DEST_NONE || (__atomic_load_n(&c->taken, __ATOMIC_ACQUIRE) >> leaf & 1))
		return OK;
	enum err r = dest_file(d, c->file)->is_small ? dest_stage_whole(d, c->file, b, e)
						     : write_part(d, c, leaf, b, e);
	if (r != OK)
		return r;
	dest_take_list(d, chunk, list);
	dest_take_mark(d, chunk, (uint16_t)(1u << leaf));
	return OK;
}

/* The bytes first, then the note that they are there.  What a flush that failed was to save may be
 * lost although a later one succeeds: it counts as never taken. */
enum err
dest_take_flush(struct dest *d, struct error *e)
{
	__typeof__(d->fresh) done = { 0 };

	pthread_mutex_lock(&d->lock);
	memcpy(&done, &d->fresh, sizeof done);
	memset(&d->fresh, 0, sizeof d->fresh);
	pthread_mutex_unlock(&d->lock);
	enum err r = done.len > 0 ? fs_sync_all(d->stage, e) : OK;
	array_each (f, &done) {
		struct dest_chunk *c = dest_chunk(d, f->chunk);
		if (r == OK)
			c->durable |= f->leaves;
		else
			__atomic_fetch_and(&c->taken, (uint16_t)~f->leaves, __ATOMIC_RELEASE);
	}
	array_clear(&done);
	dest_trim(d, DEST_TRIM - 1);
	return r;
}

/* -- the sink -- */

static enum err
take(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	return dest_take_leaf(ctx, leaf->chunk, leaf->leaf, leaf->bytes, leaf->list, e);
}

static enum err
flush(void *ctx, struct error *e)
{
	return dest_take_flush(ctx, e);
}

static uint32_t
missing(void *ctx, uint32_t unit, struct leaf_run *runs, uint32_t *ret_bytes)
{
	struct dest *d = ctx;
	uint64_t words[UNIT_LEAVES_MAX / 64] = { 0 };
	struct unit u = snapshot_map_unit(d->o.map, unit);
	struct bitset have = { .words = words, .n = u.n_leaves };
	struct unit_pieces p = unit_pieces_of(u);
	uint32_t chunk, bytes = 0;

	while (unit_pieces_more(&p, &chunk)) {
		uint32_t len = snapshot_map_chunk(d->o.map, chunk)->len;
		struct unit_piece piece = unit_pieces_next(&p, len);
		const struct dest_chunk *c = dest_chunk(d, chunk);
		dest_trim(d, chunk); /* all units are looked at, in order, when fetching begins */
		bool is_wanted = c->file != DEST_NONE;
		uint16_t taken =
		    is_wanted ? __atomic_load_n(&c->taken, __ATOMIC_ACQUIRE) : UINT16_MAX;
		for (uint32_t i = 0; i < piece.n_leaves; i++) {
			if (taken >> (piece.first_leaf + i) & 1)
				bitset_set(&have, piece.unit_leaf + i);
			else
				bytes += chunk_id_leaf_len(len, piece.first_leaf + i);
		}
	}
	*ret_bytes = bytes;
	return bytes == 0 ? 0 : transfer_runs(&have, 0, u.n_leaves, runs);
}

struct sink
dest_sink(struct dest *d)
{
	return (struct sink){ .missing = missing, .take = take, .flush = flush, .ctx = d };
}
