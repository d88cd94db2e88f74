/* What collection, check and recovery do to packs. */
#include "base/mem.h"
#include "chunk/chunk_store_inner.h"

enum err
chunk_store_pack_move(struct chunk_store *s, const struct chunk_place *p, struct error *e)
{
	auto_free uint8_t *content = mem_alloc(p->rec.packed_len);
	struct chunk_store_row row = { .at.rec = p->rec, .from = *p, .moved = true };
	struct leaf_list leaves = { 0 };
	bool due = false;
	enum err r = OK;

	if (p->rec.kind == HASH_CHUNK)
		r = chunk_store_read(s, p, PACK_RECORD_HEAD, leaves.hash,
		    (size_t)pack_record_leaves(&p->rec) * HASH_BYTES, e);
	if (r == OK)
		r = chunk_store_read(
		    s, p, pack_record_body(&p->rec), content, p->rec.packed_len, e);
	if (r != OK)
		return r;
	pthread_mutex_lock(&s->lock);
	r = chunk_store_commit_add(s, &row, &leaves, BYTES(content, p->rec.packed_len), &due, e);
	pthread_mutex_unlock(&s->lock);
	return r == OK && due ? chunk_store_commit(s, e) : r;
}

static enum err
transact_pack(struct chunk_store *s,
    enum err (*change)(struct chunk_index *, uint64_t, bool *, struct error *), uint64_t number,
    bool *ret, struct error *e)
{
	enum err r = chunk_index_begin(s->index, e);

	if (r != OK)
		return r;
	r = change(s->index, number, ret, e);
	if (r == OK)
		return chunk_index_commit(s->index, e);
	chunk_index_rollback(s->index);
	return r;
}

/* Doomed, deleted, dropped: broken off anywhere, the next start goes on here. */
enum err
chunk_store_pack_drop(struct chunk_store *s, uint64_t number, bool *ret_dropped, struct error *e)
{
	bool doomed = false;
	enum err r = transact_pack(s, chunk_index_doom, number, &doomed, e);

	if (r == OK && doomed)
		r = pack_set_remove(s->packs, number, e);
	if (r == OK && doomed)
		r = fs_sync(pack_set_dir(s->packs), e);
	if (r == OK && doomed)
		r = transact_pack(s, chunk_index_drop, number, ret_dropped, e);
	if (r == OK && ret_dropped != NULL)
		*ret_dropped = doomed;
	return r;
}
