/*
 * What was taken is given to others before it is flushed, and while it is put into place.
 *
 * A file is looked for where it is staged, then where the switch moves it to, then where it is
 * staged again, as the switch may put one back that the user was quicker with.  Whichever is found
 * is believed only as far as its bytes hash to what they should: the staged name of a file that
 * replaces another one leads to that other one for a moment.
 */
#include "base/mem.h"
#include "engine/dest_private.h"

struct serving {
	struct dest *d;
	const struct dest_chunk *c;
	const struct snapshot_map_chunk *m;
	uint32_t first, n, bytes;
	uint8_t *to;
	struct leaf_list list;
};

static bool
is_taken(const struct serving *s)
{
	uint32_t wanted = ((1u << s->n) - 1) << s->first;

	return s->c->file != DEST_NONE &&
	       (__atomic_load_n(&s->c->taken, __ATOMIC_ACQUIRE) & wanted) == wanted;
}

/* The list proves itself too: the disk may have lost it. */
static bool
load_list(struct serving *s)
{
	s->list.n = chunk_id_leaf_count(s->m->len);
	if (s->list.n == 1)
		return true;
	if (s->c->list == DEST_NONE || !__atomic_load_n(&s->c->has_list, __ATOMIC_ACQUIRE) ||
	    (uint64_t)s->c->list + s->list.n > s->d->plan.lists.n)
		return false;
	memcpy(s->list.hash, big_array_at(&s->d->plan.lists, s->c->list),
	    (size_t)s->list.n * HASH_BYTES);
	return chunk_id_leaves_match(&s->m->id, s->m->len, &s->list);
}

static bool
is_proved(struct serving *s)
{
	const enum hash_alg alg = (enum hash_alg)s->m->id.alg;
	uint8_t hash[HASH_BYTES];
	struct hash_id id;
	uint32_t off = 0;

	if (s->list.n == 1) {
		chunk_id_of(alg, BYTES(s->to, s->bytes), &s->list, &id);
		return hash_id_equal(&id, &s->m->id);
	}
	for (uint32_t i = 0; i < s->n; i++) {
		uint32_t len = chunk_id_leaf_len(s->m->len, s->first + i);
		hash_leaf(alg, BYTES(s->to + off, len), hash);
		if (memcmp(hash, s->list.hash[s->first + i], HASH_BYTES) != 0)
			return false;
		off += len;
	}
	return true;
}

enum look { LOOK_NONE, LOOK_OTHER /* there, and not what it should be */, LOOK_FOUND };

static enum look
look_at(struct serving *s, int dir, struct relpath path)
{
	auto_fd int fd = -1;
	uint64_t at = s->c->offset + (uint64_t)s->first * CHUNK_LEAF;

	if (fs_open_read(dir, path, &fd, NULL) != OK)
		return LOOK_NONE;
	return fs_read_exact(fd, at, s->to, s->bytes, NULL) == OK && is_proved(s) ? LOOK_FOUND
										  : LOOK_OTHER;
}

static enum look
look_for(struct serving *s)
{
	auto_buf struct buf text = BUF(DEST_PATH_MAX);
	struct dest *d = s->d;
	struct relpath staged = dest_stage_path(d, s->c->file, &text);
	enum look first = look_at(s, d->stage, staged), look = first;

	if (look != LOOK_FOUND)
		look = look_at(s, d->dir, dest_file_path(d, dest_file(d, s->c->file)));
	if (look != LOOK_FOUND)
		look = look_at(s, d->stage, staged);
	return look == LOOK_FOUND ? look : first;
}

/* The staged file does not hold what was written to it: that is fetched again, by the download or,
 * should that be over, when the switch finds it missing. */
static void
forget(const struct serving *s)
{
	uint16_t lost = (uint16_t)(((1u << s->n) - 1) << s->first);

	__atomic_fetch_and(&dest_chunk(s->d, (uint64_t)(s->c - dest_chunk(s->d, 0)))->taken,
	    (uint16_t)~lost, __ATOMIC_RELEASE);
}

enum err
dest_get_leaves(struct dest *d, uint32_t chunk, uint32_t first, uint32_t n, uint8_t *to,
    uint32_t *ret_len, struct leaf_list *ret_leaves, struct error *e)
{
	struct serving s = { .d = d, .first = first, .n = n, .to = to };

	if (chunk >= d->plan.chunks.n)
		return fail(e, ERR_LIMIT, "the snapshot has no chunk %u", chunk);
	s.c = dest_chunk(d, chunk);
	s.m = snapshot_map_chunk(d->o.map, chunk);
	uint32_t count = chunk_id_leaf_count(s.m->len);
	if (n == 0 || n > count || first > count - n)
		return fail(
		    e, ERR_LIMIT, "leaves that a chunk of %u bytes does not have", s.m->len);
	for (uint32_t i = 0; i < n; i++)
		s.bytes += chunk_id_leaf_len(s.m->len, first + i);
	if (!is_taken(&s) || !load_list(&s))
		return fail(e, ERR_NOTFOUND, "these bytes have not been received yet");
	enum look look = look_for(&s);
	if (look == LOOK_OTHER)
		forget(&s);
	if (look != LOOK_FOUND)
		return fail(e, ERR_NOTFOUND, "%s: what was received has been changed or removed",
		    dest_file_path(d, dest_file(d, s.c->file)).text);
	*ret_len = s.bytes;
	if (ret_leaves != NULL)
		*ret_leaves = s.list;
	return OK;
}

bool
dest_is_partial(const struct dest *d, uint32_t unit)
{
	struct unit_pieces p = unit_pieces_of(snapshot_map_unit(d->o.map, unit));
	uint32_t chunk;

	while (unit_pieces_more(&p, &chunk)) {
		const struct dest_chunk *c = dest_chunk(d, chunk);
		if (c->file == DEST_NONE && !c->is_kept)
			return true;
		unit_pieces_next(&p, snapshot_map_chunk(d->o.map, chunk)->len);
	}
	return false;
}
