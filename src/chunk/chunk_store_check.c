/*
 * The check walks the packs one after the other, as they lie on the disk, and verifies every object
 * of which the index says that it lies there.  When the index counts more objects in a pack than
 * the walk has met, heads of records (or that of the file) are damaged; then the objects of such
 * packs are looked at through the index, once for all packs together: of those that the walk did
 * not meet the good ones are copied to the newest pack, the bad ones reported.
 */
#include <inttypes.h>

#include "base/log.h"
#include "base/mem.h"
#include "chunk/chunk_store_inner.h"

enum { PACKS = 64, SCAN = 256 };

struct check {
	struct chunk_store *s;
	void (*on_bad)(void *ctx, const struct hash_id *id, const struct error *why);
	void *ctx;
	uint64_t bad;
	uint8_t *content;    /* CHUNK_MAX */
	ARRAY(uint64_t) odd; /* packs in which the walk missed something, ascending */
};

/* Can the pack be read at all?  Then what cannot is a bad spot; else the disk is away and nothing
 * is its objects' fault. */
static bool
is_readable(struct check *c, uint64_t pack)
{
	struct chunk_place head = { .pack = pack };
	uint8_t b[PACK_HEAD];

	return chunk_store_read(c->s, &head, 0, b, sizeof b, NULL) == OK;
}

static enum err
report(struct check *c, const struct chunk_place *p, struct error *why, struct error *e)
{
	char shown[HASH_ID_TEXT];

	error_wrap(why, ERR_CORRUPT, "object %s in pack %" PRIu64 " at %" PRIu64,
	    hash_id_format(&p->rec.id, shown), p->pack, p->off);
	enum err r = chunk_store_forget(c->s, p, e);
	if (r != OK)
		return r;
	c->bad++;
	if (c->on_bad != NULL)
		c->on_bad(c->ctx, &p->rec.id, why);
	return OK;
}

/* Verifies the object; *RET_GOOD.  A bad one is reported. */
static enum err
verify(struct check *c, const struct chunk_place *p, bool *ret_good, struct error *e)
{
	struct leaf_list leaves;
	struct error why = { 0 };

	enum err r = chunk_store_load(c->s, p, c->content, &leaves, &why);
	if (r != OK && r != ERR_CORRUPT) /* a bad spot stays bad, a hiccup costs no object */
		r = chunk_store_load(c->s, p, c->content, &leaves, &why);
	*ret_good = r == OK;
	if (r == OK)
		return OK;
	if (r != ERR_CORRUPT && r != ERR_NOTFOUND && !is_readable(c, p->pack))
		return fail(e, r, "%s", why.text);
	return report(c, p, &why, e);
}

/* Verifies what the walk meets; *SEEN counts the good. */
static enum err
walk(struct check *c, struct pack_walk *w, uint64_t pack, uint64_t *seen, struct error *e)
{
	struct chunk_place p = { .pack = pack };
	enum err r = OK;

	while (r == OK) {
		bool lives = false, good = false;
		r = pack_walk_next(w, &p.rec, &p.off, e);
		if (r == OK)
			r = chunk_store_lies_at(c->s, &p, &lives, e);
		if (r == OK && lives)
			r = verify(c, &p, &good, e);
		*seen += good;
	}
	return r == ERR_NOTFOUND ? OK : r;
}

/* The pack as the index knows it now. */
static enum err
look_up(struct check *c, uint64_t number, struct chunk_index_pack *ret, struct error *e)
{
	size_t n = 1;
	enum err r = chunk_index_packs(c->s->index, number - 1, ret, &n, e);

	if (r == OK && (n == 0 || ret->number != number))
		*ret = (struct chunk_index_pack){ .number = number };
	return r;
}

/* Walks all that the index knows of the pack.  The newest may grow meanwhile: then goes on until it
 * did not. */
static enum err
walk_all(struct check *c, struct pack_walk *w, struct chunk_index_pack *p, uint64_t *seen,
    struct error *e)
{
	uint64_t walked = 0;
	enum err r = OK;

	while (r == OK && p->bytes > walked) {
		walked = p->bytes;
		r = walk(c, w, p->number, seen, e);
		if (r == OK)
			r = look_up(c, p->number, p, e);
		if (r == OK && p->bytes > walked)
			r = pack_walk_init(w, w->fd, p->number, w->at, p->bytes, e);
	}
	return r;
}

static enum err
check_pack(struct check *c, struct chunk_index_pack p, struct error *e)
{
	struct pack_walk w = { 0 };
	struct error why = { 0 };
	uint64_t seen = 0;
	int fd = -1;

	enum err r = pack_set_get(c->s->packs, p.number, &fd, &why);
	if (r == OK)
		r = pack_walk_init(&w, fd, p.number, 0, p.bytes, &why);
	if (r == OK) {
		r = walk_all(c, &w, &p, &seen, e);
	} else if (r == ERR_NOTFOUND || r == ERR_CORRUPT) {
		log_warn("pack %016" PRIx64 ": %s", p.number, why.text);
		r = OK;
	} else {
		r = fail(e, r, "%s", why.text);
	}
	if (fd >= 0)
		pack_set_put(c->s->packs, p.number, fd);
	if (r == OK && p.objects > seen)
		array_push(&c->odd, p.number);
	return r;
}

static enum err
check_packs(struct check *c, struct error *e)
{
	auto_free struct chunk_index_pack *packs = mem_array(struct chunk_index_pack, PACKS);
	uint64_t after = 0;
	size_t n = PACKS;
	enum err r = OK;

	while (r == OK && n == PACKS) {
		r = chunk_index_packs(c->s->index, after, packs, &n, e);
		for (size_t i = 0; r == OK && i < n; i++) {
			after = packs[i].number;
			if (!packs[i].doomed)
				r = check_pack(c, packs[i], e);
		}
	}
	return r;
}

/* -- what no walk meets -- */

/* A whole head, and a file that goes on as far as it says: then the walk has met it, and there is
 * nothing to do here. */
static bool
was_met(struct check *c, const struct chunk_place *p)
{
	struct chunk_place first = { .pack = p->pack };
	uint8_t pack[PACK_HEAD], record[PACK_RECORD_HEAD], last;
	struct pack_head h;
	struct pack_record rec;

	return chunk_store_read(c->s, &first, 0, pack, sizeof pack, NULL) == OK &&
	       pack_head_decode(BYTES_OF(pack), &h, NULL) == OK && h.number == p->pack &&
	       chunk_store_read(c->s, p, 0, record, sizeof record, NULL) == OK &&
	       pack_record_decode(&h, BYTES_OF(record), &rec, NULL) == OK &&
	       hash_id_equal(&rec.id, &p->rec.id) &&
	       chunk_store_read(c->s, p, pack_record_len(&rec) - 1, &last, 1, NULL) == OK;
}

static int
compare_numbers(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static bool
is_odd(const struct check *c, uint64_t pack)
{
	return bsearch(&pack, c->odd.at, c->odd.len, sizeof *c->odd.at, compare_numbers) != NULL;
}

static enum err
rescue(struct check *c, const struct chunk_place *p, struct error *e)
{
	bool good = false;
	enum err r = verify(c, p, &good, e);

	return r == OK && good ? chunk_store_pack_move(c->s, p, e) : r;
}

static enum err
check_odd(struct check *c, struct error *e)
{
	auto_free struct chunk_place *places = mem_array(struct chunk_place, SCAN);
	struct hash_id after = { 0 };
	size_t n = SCAN;
	enum err r = OK;

	while (r == OK && n == SCAN) {
		r = chunk_index_scan(c->s->index, &after, places, &n, e);
		for (size_t i = 0; r == OK && i < n; i++) {
			after = places[i].rec.id;
			if (is_odd(c, places[i].pack) && !was_met(c, &places[i]))
				r = rescue(c, &places[i], e);
		}
	}
	if (r == OK)
		r = chunk_store_commit(c->s, e);
	return r;
}

/* Packs whose file is gone have nothing left that counts. */
static enum err
drop_missing(struct check *c, struct error *e)
{
	enum err r = OK;

	for (size_t i = 0; r == OK && i < c->odd.len; i++) {
		int fd = -1;
		if (pack_set_get(c->s->packs, c->odd.at[i], &fd, NULL) == ERR_NOTFOUND)
			r = chunk_store_pack_drop(c->s, c->odd.at[i], NULL, e);
		if (fd >= 0)
			pack_set_put(c->s->packs, c->odd.at[i], fd);
	}
	return r;
}

enum err
chunk_store_check(struct chunk_store *s,
    void (*on_bad)(void *ctx, const struct hash_id *id, const struct error *why), void *ctx,
    uint64_t *ret_bad, struct error *e)
{
	struct check c = { .s = s, .on_bad = on_bad, .ctx = ctx };
	enum err r = chunk_store_claim(s, CHUNK_STORE_CHECKING, e);

	if (r != OK)
		return r;
	c.content = mem_alloc(CHUNK_MAX);
	r = chunk_index_check(s->index, e);
	if (r == OK)
		r = chunk_store_commit(s, e);
	if (r == OK)
		r = check_packs(&c, e);
	if (r == OK && c.odd.len > 0) {
		r = check_odd(&c, e);
		if (r == OK)
			r = drop_missing(&c, e);
	}
	chunk_store_release(s);
	array_clear(&c.odd);
	free(c.content);
	if (r != OK)
		return error_wrap(e, r, "check the chunk store");
	if (ret_bad != NULL)
		*ret_bad = c.bad;
	return OK;
}
