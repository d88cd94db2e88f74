/*
 * After a restart the plan is made anew, as the user may have changed anything meanwhile.  Entries
 * and chunks of a snapshot have the same numbers in every plan of it, and staged files are named by
 * them: what the earlier plan staged for the same place counts.
 *
 * A chunk that was written is read, and counts if it is what it should be: it may not have reached
 * the disk, and the disk may have lost it since.  Of one that is here in part nothing
 * counts: there are no more of them than were under way.
 */
#include "base/mem.h"
#include "engine/dest_private.h"

static void
trim(struct dest *d, struct dest_arrays *old, uint64_t i)
{
	dest_trim(d, i);
	if (i % DEST_TRIM == DEST_TRIM - 1)
		dest_store_trim(old);
}

/* Is staged file I still there, as the earlier plan left it? */
static bool
is_staged(
    struct dest *d, const struct dest_file *old, uint32_t i, struct buf *path, struct fs_stat *st)
{
	const struct dest_file *f = dest_file(d, i);

	if (f->type != TREE_FILE || !dest_is_new(f) || !old->is_made || old->top != f->top)
		return false;
	if (fs_stat_at(d->stage, dest_stage_path(d, i, path), st, NULL) != OK ||
	    st->type != FS_FILE)
		return false;
	return f->is_small ? st->size == f->size : st->size <= f->size;
}

static void
carry_files(struct dest *d, struct dest_arrays *old)
{
	auto_buf struct buf path = BUF(DEST_PATH_MAX);
	struct fs_stat st;

	for (uint64_t i = 0; i < d->plan.files.n; i++) {
		if (is_staged(d, big_array_at(&old->files, i), (uint32_t)i, &path, &st)) {
			dest_file(d, i)->is_made = 1;
			dest_file(d, i)->is = dest_stat_of(&st);
		}
		trim(d, old, i);
	}
}

static enum err
look_at(struct dest *d, uint32_t i, uint8_t *room, struct error *e)
{
	struct dest_chunk *c = dest_chunk(d, i);
	const struct snapshot_map_chunk *m = snapshot_map_chunk(d->o.map, i);
	uint16_t all = (uint16_t)dest_chunk_all(d, i), flushed = c->durable;
	bool is_whole = c->taken == all;
	struct leaf_list list;
	struct hash_id id;

	c->taken = c->durable = 0;
	if (!is_whole || dest_stage_read(d, c->file, c->offset, room, m->len, NULL) != OK)
		return OK;
	chunk_id_of((enum hash_alg)m->id.alg, BYTES(room, m->len), &list, &id);
	if (!hash_id_equal(&id, &m->id))
		return OK;
	/* Not flushed: its mode and time may not have reached the disk. */
	if (flushed != all && dest_file(d, c->file)->is_small)
		return dest_take_leaf(d, i, 0, BYTES(room, m->len), &list, e);
	dest_take_list(d, i, &list);
	c->taken = c->durable = flushed;
	if (flushed != all)
		dest_take_mark(d, i, (uint16_t)(all & ~flushed));
	return OK;
}

enum err
dest_carry(struct dest *d, struct dest_arrays *old, bool *ret_any, struct error *e)
{
	auto_free uint8_t *room = mem_alloc(CHUNK_MAX);
	enum err r = OK;

	if (old->files.n != d->plan.files.n || old->chunks.n != d->plan.chunks.n)
		return OK;
	carry_files(d, old);
	for (uint64_t i = 0; r == OK && i < d->plan.chunks.n; i++) {
		const struct dest_chunk *was = big_array_at(&old->chunks, i);
		struct dest_chunk *c = dest_chunk(d, i);
		trim(d, old, i);
		if (c->file == DEST_NONE || c->file != was->file || c->offset != was->offset ||
		    !dest_file(d, c->file)->is_made || was->taken == 0)
			continue;
		if (dest_is_canceled(d))
			return fail(e, ERR_CANCELED, "stopped");
		*ret_any = true;
		c->taken = was->taken;
		c->durable = was->durable;
		r = look_at(d, (uint32_t)i, room, e);
	}
	return r;
}
