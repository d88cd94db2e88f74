/*
 * What is on this machine already: the older version of a file, a moved or copied one, the same
 * chunk anywhere that this node knows.  A place is a hint; places gives only bytes that it has
 * verified.
 */
#include "base/mem.h"
#include "engine/dest_private.h"

static bool
is_in_places(
    struct dest *d, const struct snapshot_map_chunk *m, uint8_t *room, struct leaf_list *ret_list)
{
	const struct hash_id *share = d->o.share_only ? &d->o.root->share : NULL;
	uint32_t n = chunk_id_leaf_count(m->len), len;

	return places_may_have(d->o.places, share, &m->id) &&
	       places_get_leaves(
		   d->o.places, share, &m->id, m->len, 0, n, room, &len, ret_list, NULL) == OK;
}

static bool
is_in_earlier(struct dest *earlier, const struct snapshot_map_chunk *m, uint8_t *room,
    struct leaf_list *ret_list)
{
	uint32_t n = chunk_id_leaf_count(m->len), len;
	uint32_t at = earlier != NULL ? snapshot_map_find(earlier->o.map, &m->id) : DEST_NONE;

	return at != DEST_NONE &&
	       dest_get_leaves(earlier, at, 0, n, room, &len, ret_list, NULL) == OK;
}

static enum err
copy_chunk(struct dest *d, struct dest *earlier, uint32_t chunk, uint8_t *room, bool *ret_copied,
    struct error *e)
{
	const struct snapshot_map_chunk *m = snapshot_map_chunk(d->o.map, chunk);
	uint32_t n = chunk_id_leaf_count(m->len);
	struct leaf_list leaves;

	*ret_copied = false;
	if (!is_in_earlier(earlier, m, room, &leaves) && !is_in_places(d, m, room, &leaves))
		return OK;
	for (uint32_t leaf = 0; leaf < n; leaf++) {
		struct bytes b =
		    BYTES(room + (size_t)leaf * CHUNK_LEAF, chunk_id_leaf_len(m->len, leaf));
		enum err r = dest_take_leaf(d, chunk, leaf, b, &leaves, e);
		if (r != OK)
			return r;
	}
	*ret_copied = true;
	return OK;
}

enum err
dest_copy_local(struct dest *d, struct dest *earlier, struct error *e)
{
	auto_free uint8_t *room = mem_alloc(CHUNK_MAX);

	for (uint64_t i = 0; i < d->plan.chunks.n; i++) {
		bool copied;
		dest_trim(d, i);
		if (dest_chunk_is_here(d, i))
			continue;
		if (dest_is_canceled(d))
			return fail(e, ERR_CANCELED, "stopped");
		enum err r = copy_chunk(d, earlier, (uint32_t)i, room, &copied, e);
		if (r != OK)
			return r;
		if (copied) {
			uint64_t len = snapshot_map_chunk(d->o.map, i)->len;
			d->summary.bytes_reused += len;
			d->summary.bytes_missing -= min_of(d->summary.bytes_missing, len);
		}
	}
	return dest_take_flush(d, e);
}
