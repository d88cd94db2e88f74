/*
 * Garbage collection.
 *
 * Terms.  Marked: the caller said keep.  Touched: put again, or found by has, while the collection
 * runs.  New: lies at or behind the place where the newest pack ended when the collection began.
 * An object that is none of the three is dead.
 *
 * Marks are eight bytes each in a nameless file (a store of 10 TB has 40 million objects: 320 MB
 * there, next to nothing in memory).  The sweep sorts them and walks the index beside them, both in
 * the order of ids.  A touch sets a bit chosen by the id, so two objects may share one: then a dead
 * object stays until the next time.
 *
 * The sweep deletes rows in batches.  What was touched is asked once more with the gate closed; a
 * put that comes later does not find the row and stores the object anew.
 *
 * Then space is given back: packs without live objects are deleted, of packs at most half alive the
 * living are copied to the newest pack, committed, and then the old one is deleted.  The newest
 * pack is no exception: when it is to go, another one is begun first.  Every pack is walked before
 * it is deleted, so a wrong count cannot lose an object.
 */
#include <inttypes.h>

#include "base/log.h"
#include "base/mem.h"
#include "chunk/chunk_store_inner.h"

enum {
	HALF = 2,    /* packs of which at most one part in so many is alive are given back */
	SCAN = 1024, /* rows looked at together, and deleted in one transaction */
	TOUCH_BITS = 1 << 22, /* half a MiB */
	PACKS = 64,           /* rows of packs read together */
};

static size_t
touch_bit(const struct hash_id *id)
{
	uint32_t v;

	memcpy(&v, id->bytes, sizeof v);
	return v % TOUCH_BITS;
}

void
chunk_store_gc_touch(struct chunk_store *s, const struct hash_id *id)
{
	if (s->task == CHUNK_STORE_MARKING || s->task == CHUNK_STORE_SWEEPING)
		bitset_set(&s->gc_touched, touch_bit(id));
}

/* -- begin, mark, abort -- */

enum err
chunk_store_gc_begin(struct chunk_store *s, struct error *e)
{
	/* First the claim, as a check: the marks of a running collection stay untouched. */
	enum err r = chunk_store_claim(s, CHUNK_STORE_CHECKING, e);
	if (r != OK)
		return r;
	r = mark_set_init(&s->gc_marks, s->dir, e);
	if (r != OK) {
		chunk_store_release(s);
		return error_wrap(e, r, "collect garbage");
	}
	/* With the gate closed: every put is wholly before this moment or wholly after it. */
	pthread_rwlock_wrlock(&s->gate);
	pthread_mutex_lock(&s->lock);
	bitset_init(&s->gc_touched, TOUCH_BITS);
	s->gc_from = (struct chunk_place){ .pack = s->next_pack };
	if (s->writer.fd >= 0)
		s->gc_from = (struct chunk_place){ .pack = s->writer.head.number,
			.off = pack_writer_end(&s->writer) };
	s->task = CHUNK_STORE_MARKING;
	pthread_mutex_unlock(&s->lock);
	pthread_rwlock_unlock(&s->gate);
	return OK;
}

static void
end(struct chunk_store *s)
{
	pthread_mutex_lock(&s->lock);
	s->task = CHUNK_STORE_IDLE;
	bitset_clear(&s->gc_touched);
	mark_set_clear(&s->gc_marks);
	pthread_mutex_unlock(&s->lock);
}

void
chunk_store_gc_abort(struct chunk_store *s)
{
	pthread_mutex_lock(&s->lock);
	bool marking = s->task == CHUNK_STORE_MARKING;
	pthread_mutex_unlock(&s->lock);
	if (marking)
		end(s);
}

enum err
chunk_store_gc_mark(struct chunk_store *s, const struct hash_id *id, struct error *e)
{
	pthread_mutex_lock(&s->lock);
	enum err r = s->task == CHUNK_STORE_MARKING
			 ? mark_set_add(&s->gc_marks, id, e)
			 : fail(e, ERR_BUG, "a mark outside a garbage collection");
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* -- sweep: dead rows go -- */

static bool
is_new(const struct chunk_store *s, const struct chunk_place *p)
{
	return p->pack > s->gc_from.pack ||
	       (p->pack == s->gc_from.pack && p->off >= s->gc_from.off);
}

/* Keeps the dead among the N places, moved to the front; says how many. */
static size_t
pick_dead(struct chunk_store *s, struct chunk_place *places, size_t n)
{
	size_t dead = 0;

	for (size_t i = 0; i < n; i++)
		if (!mark_set_has(&s->gc_marks, &places[i].rec.id) && !is_new(s, &places[i]))
			places[dead++] = places[i];
	return dead;
}

/* With the gate closed. */
static bool
was_touched(struct chunk_store *s, const struct hash_id *id)
{
	pthread_mutex_lock(&s->lock);
	bool touched = bitset_has(&s->gc_touched, touch_bit(id));
	pthread_mutex_unlock(&s->lock);
	return touched;
}

static enum err
delete_dead(struct chunk_store *s, const struct chunk_place *dead, size_t n, struct error *e)
{
	enum err r = chunk_index_begin(s->index, e);

	if (r != OK)
		return r;
	for (size_t i = 0; r == OK && i < n; i++)
		if (!was_touched(s, &dead[i].rec.id))
			r = chunk_index_remove(s->index, &dead[i], NULL, e);
	if (r == OK)
		return chunk_index_commit(s->index, e);
	chunk_index_rollback(s->index);
	return r;
}

static enum err
sweep_rows(struct chunk_store *s, struct error *e)
{
	auto_free struct chunk_place *places = mem_array(struct chunk_place, SCAN);
	struct hash_id after = { 0 };
	size_t n = SCAN;
	enum err r = OK;

	mark_set_sort(&s->gc_marks);
	while (r == OK && n == SCAN) {
		r = chunk_index_scan(s->index, &after, places, &n, e);
		if (r != OK || n == 0)
			break;
		after = places[n - 1].rec.id;
		size_t dead = pick_dead(s, places, n);
		if (dead == 0)
			continue;
		pthread_rwlock_wrlock(&s->gate);
		r = delete_dead(s, places, dead, e);
		pthread_rwlock_unlock(&s->gate);
	}
	return r;
}

/* -- and space comes back -- */

/* Copies what lives in the pack. */
static enum err
evacuate(struct chunk_store *s, int fd, const struct chunk_index_pack *p, uint64_t *moved,
    struct error *e)
{
	struct chunk_place at = { .pack = p->number };
	struct pack_walk w = { 0 };

	enum err r = pack_walk_init(&w, fd, p->number, 0, p->bytes, e);
	while (r == OK) {
		bool lives = false;
		r = pack_walk_next(&w, &at.rec, &at.off, e);
		if (r == OK)
			r = chunk_store_lies_at(s, &at, &lives, e);
		if (r == OK && lives) {
			r = chunk_store_pack_move(s, &at, e);
			*moved += pack_record_len(&at.rec);
		}
	}
	return r == ERR_NOTFOUND ? chunk_store_commit(s, e) : r;
}

static enum err
give_back(struct chunk_store *s, const struct chunk_index_pack *p, uint64_t *freed, struct error *e)
{
	uint64_t moved = 0;
	bool dropped = false;
	int fd = -1;

	enum err r = pack_set_get(s->packs, p->number, &fd, e);
	if (r != OK)
		return r;
	r = evacuate(s, fd, p, &moved, e);
	pack_set_put(s->packs, p->number, fd);
	if (r == OK)
		r = chunk_store_pack_drop(s, p->number, &dropped, e);
	if (r == OK && dropped)
		*freed += p->bytes - min_of(moved, p->bytes);
	return r;
}

/* The one that is written to. */
static uint64_t
newest_pack(struct chunk_store *s)
{
	pthread_mutex_lock(&s->lock);
	uint64_t number = s->writer.fd >= 0 ? s->writer.head.number : s->next_pack;
	pthread_mutex_unlock(&s->lock);
	return number;
}

/* Most of a small store lies in its newest pack: it would never shrink. */
static enum err
turn_newest(struct chunk_store *s, struct error *e)
{
	struct chunk_index_pack p;
	uint64_t newest = newest_pack(s);
	size_t n = 1;

	enum err r = chunk_index_packs(s->index, newest - 1, &p, &n, e);
	if (r != OK || n == 0 || p.number != newest || p.live > p.bytes / HALF)
		return r;
	r = chunk_store_commit_turn(s, e);
	return r == ERR_NOSPACE ? OK : r; /* other packs may make room */
}

/*
 * Gives back packs of which at most one part in SHARE is alive (0: none).  A pack that cannot be
 * read is left for the check and does not keep the others: its error is told at the end.
 */
static enum err
give_back_packs(struct chunk_store *s, uint64_t share, uint64_t *freed, struct error *e)
{
	auto_free struct chunk_index_pack *packs = mem_array(struct chunk_index_pack, PACKS);
	struct error first = { 0 }, now = { 0 };
	uint64_t after = 0, newest = newest_pack(s);
	size_t n = PACKS;

	while (n == PACKS) {
		enum err r = chunk_index_packs(s->index, after, packs, &n, e);
		if (r != OK)
			return r;
		for (size_t i = 0; i < n; i++) {
			const struct chunk_index_pack *p = &packs[i];
			after = p->number;
			if (p->number >= newest || p->live > (share > 0 ? p->bytes / share : 0))
				continue;
			r = give_back(s, p, freed, &now);
			if (r == ERR_NOSPACE)
				return fail(e, r, "%s", now.text);
			if (r != OK && first.code == OK)
				first = now;
		}
	}
	return first.code == OK ? OK : fail(e, first.code, "%s", first.text);
}

static enum err
sweep(struct chunk_store *s, uint64_t *freed, struct error *e)
{
	enum err r = chunk_store_commit(s, e);

	if (r == OK)
		r = sweep_rows(s, e);
	if (r == OK)
		r = turn_newest(s, e);
	/* First what costs nothing: on a full disk the copies need the room. */
	if (r == OK)
		r = give_back_packs(s, 0, freed, e);
	return r == OK ? give_back_packs(s, HALF, freed, e) : r;
}

enum err
chunk_store_gc_sweep(struct chunk_store *s, uint64_t *ret_freed_bytes, struct error *e)
{
	uint64_t freed = 0;
	enum err r = OK;

	pthread_mutex_lock(&s->lock);
	if (s->task != CHUNK_STORE_MARKING)
		r = fail(e, ERR_BUG, "a sweep without a garbage collection");
	else
		s->task = CHUNK_STORE_SWEEPING;
	pthread_mutex_unlock(&s->lock);
	if (r != OK)
		return r;
	r = sweep(s, &freed, e);
	end(s);
	if (r != OK)
		return error_wrap(e, r, "collect garbage");
	if (ret_freed_bytes != NULL)
		*ret_freed_bytes = freed;
	return OK;
}
