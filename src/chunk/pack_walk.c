#include "chunk/pack_walk.h"

#include "base/mem.h"
#include "platform/fs.h"

/* bytes searched at a time */
enum { SEARCH = 64 * 1024 };

enum err
pack_walk_init(
    struct pack_walk *w, int fd, uint64_t number, uint64_t from, uint64_t to, struct error *e)
{
	struct pack_walk v = { .fd = fd, .at = max_of(from, (uint64_t)PACK_HEAD) };
	uint8_t head[PACK_HEAD];
	struct fs_stat st;

	enum err r = fs_stat_fd(fd, &st, e);
	if (r == OK)
		r = fs_read_exact(fd, 0, head, sizeof head, e);
	if (r == OK)
		r = pack_head_decode(BYTES_OF(head), &v.head, e);
	if (r != OK)
		return r;
	if (v.head.number != number)
		return fail(e, ERR_CORRUPT, "this is pack %llu", (unsigned long long)v.head.number);
	v.end = min_of(to, st.size);
	*w = v;
	return OK;
}

static bool
fits(const struct pack_walk *w, const struct pack_record *r, uint64_t off)
{
	return pack_record_len(r) <= w->end - off;
}

/* The first valid record in B, which lies at OFF in the file; false when none begins in it. */
static bool
search(const struct pack_walk *w, struct bytes b, uint64_t off, struct pack_record *ret,
    size_t *ret_at)
{
	for (size_t i = 0; i + PACK_RECORD_HEAD <= b.len; i++) {
		if (pack_record_decode(&w->head, bytes_slice(b, i, PACK_RECORD_HEAD), ret, NULL) ==
			OK &&
		    fits(w, ret, off + i)) {
			*ret_at = i;
			return true;
		}
	}
	return false;
}

/* Looks for the next record behind damage.  On OK, w->at stands on it. */
static enum err
find_again(struct pack_walk *w, struct pack_record *ret, struct error *e)
{
	auto_free uint8_t *b = mem_alloc(SEARCH);
	uint64_t from = w->at;
	enum err r = OK;

	while (w->end - w->at >= PACK_RECORD_HEAD) {
		size_t n = (size_t)min_of(w->end - w->at, (uint64_t)SEARCH), at = 0;
		r = fs_read_exact(w->fd, w->at, b, n, e);
		if (r != OK)
			return r;
		bool found = search(w, BYTES(b, n), w->at, ret, &at);
		w->at += found ? at : n - PACK_RECORD_HEAD + 1;
		if (found) {
			w->lost += w->at - from;
			return OK;
		}
	}
	w->lost += w->end - from;
	w->at = w->end;
	return ERR_NOTFOUND;
}

enum err
pack_walk_next(struct pack_walk *w, struct pack_record *ret, uint64_t *ret_off, struct error *e)
{
	uint8_t head[PACK_RECORD_HEAD];
	struct pack_record rec = { 0 };
	enum err r = OK;

	if (w->at >= w->end)
		return ERR_NOTFOUND;
	r = ERR_CORRUPT;
	if (w->end - w->at >= sizeof head) {
		r = fs_read_exact(w->fd, w->at, head, sizeof head, e);
		if (r != OK)
			return r;
		r = pack_record_decode(&w->head, BYTES_OF(head), &rec, NULL);
	}
	if (r != OK || !fits(w, &rec, w->at)) {
		r = find_again(w, &rec, e);
		if (r != OK)
			return r;
	}
	*ret = rec;
	*ret_off = w->at;
	w->at += pack_record_len(&rec);
	return OK;
}

enum err
pack_walk_read(int fd, const struct pack_record *r, uint64_t off, struct leaf_list *ret_leaves,
    uint8_t *to, struct error *e)
{
	auto_free uint8_t *b = mem_alloc(pack_record_len(r));
	size_t body = pack_record_body(r);

	enum err err = fs_read_exact(fd, off, b, pack_record_len(r), e);
	if (err == OK)
		err = codec_unpack(r->codec, BYTES(b + body, r->packed_len), to, r->raw_len, e);
	if (err != OK)
		return err;
	ret_leaves->n = pack_record_leaves(r);
	memcpy(ret_leaves->hash, b + PACK_RECORD_HEAD, body - PACK_RECORD_HEAD);
	return OK;
}
