/*
 * What the index says and what lies in the packs directory, whose names are flushed first, are
 * brought together at every start:
 *
 * 1. A doomed pack is deleted: a collection was broken off.
 * 2. A pack that is gone, or shorter than the index knows it, is forgotten with all its objects.
 * 3. What a pack holds beyond what the index knows is walked and indexed: objects that were written
 *    and not committed, or a whole pack when the index forgot it or is new.  A later copy of an
 *    object replaces an earlier one: it was put after the earlier one was found damaged.
 * 4. The newest pack is cut behind its last good record and written on.
 *
 * Every step is a transaction of its own and may be broken off and repeated.
 */
#include <assert.h>
#include <inttypes.h>

#include "base/log.h"
#include "base/mem.h"
#include "chunk/chunk_store_inner.h"

enum {
	BATCH = 4096,  /* rows a transaction */
	UNFLUSHED = 4, /* newest packs whose content may be torn though their heads are whole */
};

struct recovery {
	struct chunk_store *s;
	struct pack_set_list disk;
	ARRAY(struct chunk_index_pack) known; /* by ascending number */
	bool rebuild;                         /* the index knew nothing */
	/* the pack to write on */
	uint64_t newest, end;
	uint8_t *content; /* CHUNK_MAX */
};

static enum err
load_known(struct recovery *v, struct error *e)
{
	uint64_t after = 0;
	size_t n = BATCH;
	enum err r = OK;

	while (r == OK && n == BATCH) {
		array_reserve(&v->known, v->known.len + BATCH);
		r = chunk_index_packs(v->s->index, after, v->known.at + v->known.len, &n, e);
		if (r != OK)
			return r;
		v->known.len += n;
		if (n > 0)
			after = v->known.at[v->known.len - 1].number;
	}
	return r;
}

static int
compare_numbers(const void *number, const void *of)
{
	uint64_t a = *(const uint64_t *)number, b = *(const uint64_t *)of;

	return (a > b) - (a < b);
}

/* Of N structs that begin with a number, in ascending order, that of NUMBER; NULL if there is none.
 */
static const void *
find_number(const void *at, size_t n, size_t size, uint64_t number)
{
	return n > 0 ? bsearch(&number, at, n, size, compare_numbers) : NULL;
}

static const struct chunk_index_pack *
find_known(const struct recovery *v, uint64_t number)
{
	static_assert(offsetof(struct chunk_index_pack, number) == 0, "find_number looks there");
	return find_number(v->known.at, v->known.len, sizeof *v->known.at, number);
}

static uint64_t
size_on_disk(const struct recovery *v, uint64_t number)
{
	static_assert(offsetof(struct pack_set_file, number) == 0, "find_number looks there");
	const struct pack_set_file *f =
	    find_number(v->disk.files.at, v->disk.files.len, sizeof *v->disk.files.at, number);

	return f != NULL ? f->size : 0;
}

/* -- 1 and 2: packs that are no more -- */

static bool
is_lost(const struct recovery *v, const struct chunk_index_pack *p)
{
	return p->bytes > size_on_disk(v, p->number);
}

static enum err
forget_lost_of(struct recovery *v, const struct chunk_place *places, size_t n, struct error *e)
{
	enum err r = chunk_index_begin(v->s->index, e);

	if (r != OK)
		return r;
	for (size_t i = 0; r == OK && i < n; i++) {
		const struct chunk_index_pack *p = find_known(v, places[i].pack);
		if (p == NULL || is_lost(v, p))
			r = chunk_index_remove(v->s->index, &places[i], NULL, e);
	}
	if (r == OK)
		return chunk_index_commit(v->s->index, e);
	chunk_index_rollback(v->s->index);
	return r;
}

/* Walks all objects once for all lost packs together. */
static enum err
forget_lost_objects(struct recovery *v, struct error *e)
{
	auto_free struct chunk_place *places = mem_array(struct chunk_place, BATCH);
	struct hash_id after = { 0 };
	size_t n = BATCH;
	enum err r = OK;

	while (r == OK && n == BATCH) {
		r = chunk_index_scan(v->s->index, &after, places, &n, e);
		if (r == OK && n > 0) {
			after = places[n - 1].rec.id;
			r = forget_lost_of(v, places, n, e);
		}
	}
	return r;
}

static enum err
drop_row(struct recovery *v, uint64_t number, struct error *e)
{
	bool doomed = false;
	enum err r = chunk_index_begin(v->s->index, e);

	if (r != OK)
		return r;
	r = chunk_index_doom(v->s->index, number, &doomed, e);
	if (r == OK)
		r = chunk_index_drop(v->s->index, number, NULL, e);
	if (r == OK)
		return chunk_index_commit(v->s->index, e);
	chunk_index_rollback(v->s->index);
	return r;
}

static enum err
forget_lost(struct recovery *v, struct error *e)
{
	size_t lost = 0;
	enum err r = OK;

	array_each (p, &v->known) {
		if (p->doomed || !is_lost(v, p))
			continue;
		uint64_t size = size_on_disk(v, p->number);
		log_warn("pack %016" PRIx64 " has %" PRIu64 " bytes of %" PRIu64 ": %s", p->number,
		    size, p->bytes,
		    size > 0 ? "what is left of it is looked through" : "its objects are lost");
		lost++;
	}
	if (lost > 0)
		r = forget_lost_objects(v, e);
	for (size_t i = 0; lost > 0 && r == OK && i < v->known.len; i++) {
		struct chunk_index_pack *p = &v->known.at[i];
		if (p->doomed || !is_lost(v, p))
			continue;
		r = drop_row(v, p->number, e);
		p->bytes = 0; /* what there is of the file is new to the index */
	}
	return r;
}

static enum err
remove_doomed(struct recovery *v, struct error *e)
{
	enum err r = OK;

	for (size_t i = 0; r == OK && i < v->known.len; i++) {
		if (v->known.at[i].doomed)
			r = chunk_store_pack_drop(v->s, v->known.at[i].number, NULL, e);
	}
	return r;
}

/* -- 3: what the index does not know -- */

/* Is the object at P what its name says?  A record's head may be whole and its content not. */
static enum err
is_good(struct recovery *v, const struct chunk_place *p, bool *ret, struct error *e)
{
	struct leaf_list leaves;
	enum err r = chunk_store_load(v->s, p, v->content, &leaves, e);

	*ret = r == OK;
	return r == ERR_CORRUPT ? OK : r;
}

/* Adds the record at P unless VERIFY is asked for and fails.  *END moves behind what was added. */
static enum err
adopt_one(
    struct recovery *v, const struct chunk_place *p, bool verify, uint64_t *end, struct error *e)
{
	bool good = true;
	enum err r = verify ? is_good(v, p, &good, e) : OK;

	if (r != OK || !good)
		return r;
	*end = p->off + pack_record_len(&p->rec);
	return chunk_index_replace(v->s->index, p, e);
}

/* Adds up to BATCH records in one transaction.  ERR_NOTFOUND when the walk is at its end. */
static enum err
adopt_batch(struct recovery *v, struct pack_walk *w, struct chunk_place *p, bool verify,
    uint64_t *end, struct error *e)
{
	enum err r = OK, done = chunk_index_begin(v->s->index, e);

	if (done != OK)
		return done;
	for (size_t i = 0; r == OK && i < BATCH; i++) {
		r = pack_walk_next(w, &p->rec, &p->off, e);
		if (r == OK)
			r = adopt_one(v, p, verify, end, e);
	}
	if (r != OK && r != ERR_NOTFOUND) {
		chunk_index_rollback(v->s->index);
		return r;
	}
	/* The known length grows only when all of it has been walked: broken off, all of it is
	 * walked again. */
	if (r == ERR_NOTFOUND)
		chunk_index_extend(v->s->index, p->pack, p->pack == v->newest ? *end : w->end);
	done = chunk_index_commit(v->s->index, e);
	return done != OK ? done : r;
}

/* A pack without a readable head cannot be walked.  One with nothing behind the head was never
 * used. */
static enum err
give_up_on(
    struct recovery *v, const struct pack_set_file *f, const struct error *why, struct error *e)
{
	if (f->size <= PACK_HEAD)
		return pack_set_remove(v->s->packs, f->number, e);
	log_warn("pack %016" PRIx64 ": %s: it is left as it is", f->number, why->text);
	return OK;
}

static enum err
adopt(struct recovery *v, int fd, const struct pack_set_file *f, uint64_t known, struct error *e)
{
	struct chunk_place p = { .pack = f->number };
	bool verify = !v->rebuild || f->number + UNFLUSHED > v->newest;
	uint64_t end = max_of(known, (uint64_t)PACK_HEAD);
	struct pack_walk w = { 0 };
	struct error why = { 0 };

	enum err r = pack_walk_init(&w, fd, f->number, known, f->size, &why);
	if (r == ERR_CORRUPT) {
		if (f->number == v->newest)
			v->newest = 0;
		return give_up_on(v, f, &why, e);
	}
	if (r != OK)
		return error_wrap(e, fail(e, r, "%s", why.text), "pack %016" PRIx64, f->number);
	/* Before the index says that it is there, it is. */
	r = fs_sync(fd, e);
	while (r == OK)
		r = adopt_batch(v, &w, &p, verify, &end, e);
	if (r != ERR_NOTFOUND)
		return r;
	if (w.lost > 0) /* as after every crash */
		log_info(
		    "pack %016" PRIx64 ": %" PRIu64 " bytes are no records", f->number, w.lost);
	if (f->number == v->newest)
		v->end = end;
	return OK;
}

static enum err
adopt_all(struct recovery *v, struct error *e)
{
	enum err r = OK;

	for (size_t i = 0; r == OK && i < v->disk.files.len; i++) {
		const struct pack_set_file *f = &v->disk.files.at[i];
		const struct chunk_index_pack *p = find_known(v, f->number);
		uint64_t known = p != NULL ? p->bytes : 0;
		int fd = -1;
		if (f->number == v->newest)
			v->end = f->size;
		if (p != NULL && (p->doomed || f->size <= known))
			continue;
		r = pack_set_get(v->s->packs, f->number, &fd, e);
		if (r != OK)
			break;
		r = adopt(v, fd, f, known, e);
		pack_set_put(v->s->packs, f->number, fd);
	}
	return r;
}

/* -- 4 -- */

static enum err
write_on(struct recovery *v, struct error *e)
{
	struct chunk_store *s = v->s;

	if (v->newest == 0 || v->end >= s->opts.pack_bytes)
		return OK;
	enum err r = pack_writer_resume(&s->writer, pack_set_dir(s->packs), v->newest, v->end, e);
	return r == ERR_CORRUPT ? OK : r; /* a damaged head: the next put begins a new pack */
}

static void
find_newest(struct recovery *v)
{
	for (size_t i = v->disk.files.len; i-- > 0 && v->newest == 0;) {
		const struct chunk_index_pack *p = find_known(v, v->disk.files.at[i].number);
		if (p == NULL || !p->doomed)
			v->newest = v->disk.files.at[i].number;
	}
}

static enum err
recover(struct recovery *v, struct error *e)
{
	struct chunk_store *s = v->s;
	uint64_t highest = 0;

	enum err r = pack_set_list(s->packs, &v->disk, e);
	/* A process that was killed may have made packs and never flushed their names: the index
	 * must not say of an object that it is there before the name of its pack is. */
	if (r == OK)
		r = fs_sync(pack_set_dir(s->packs), e);
	if (r == OK)
		r = load_known(v, e);
	if (r != OK)
		return r;
	if (v->known.len > 0)
		highest = v->known.at[v->known.len - 1].number;
	if (v->disk.files.len > 0)
		highest = max_of(highest, v->disk.files.at[v->disk.files.len - 1].number);
	s->next_pack = highest + 1;
	find_newest(v);
	v->rebuild = v->known.len == 0;
	if (v->rebuild && v->disk.files.len > 1)
		log_info("indexing the objects in %zu packs", v->disk.files.len);
	r = remove_doomed(v, e);
	if (r == OK)
		r = forget_lost(v, e);
	if (r == OK)
		r = adopt_all(v, e);
	return r == OK ? write_on(v, e) : r;
}

enum err
chunk_store_recover(struct chunk_store *s, struct error *e)
{
	struct recovery v = { .s = s, .content = mem_alloc(CHUNK_MAX) };
	enum err r = recover(&v, e);

	array_clear(&v.disk.files);
	array_clear(&v.known);
	free(v.content);
	return r;
}
