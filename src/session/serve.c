#include "session/serve.h"

#include <assert.h>

#include "base/mem.h"
#include "chunk/codec.h"

enum err
serve_init(struct serve *s, const struct unit *u, const struct msg_get_units *m,
    const uint32_t *lens, struct error *e)
{
	uint32_t end = m->n_runs > 0
			   ? (uint32_t)m->runs[m->n_runs - 1].first + m->runs[m->n_runs - 1].n
			   : u->n_leaves;

	if (end > u->n_leaves || u->n_leaves == 0)
		return fail(e, ERR_NOTFOUND, "unit %u has %u leaves, asked for up to %u", m->unit,
		    u->n_leaves, end);
	*s = (struct serve){ .unit = *u,
		.number = m->unit,
		.lens = lens,
		.n_runs = m->n_runs,
		.chunk = u->first_chunk,
		.leaf = u->first_leaf,
		.listed = UINT32_MAX };
	memcpy(s->runs, m->runs, m->n_runs * sizeof s->runs[0]);
	if (m->n_runs == 0) {
		s->n_runs = 1;
		s->runs[0] = (struct leaf_run){ 0, u->n_leaves };
	}
	return OK;
}

static uint32_t
chunk_len(const struct serve *s)
{
	return s->lens[s->chunk - s->unit.first_chunk];
}

/* Moves to leaf TO of the unit. */
static void
skip_to(struct serve *s, uint32_t to)
{
	while (s->next < to) {
		uint32_t n = min_of(chunk_id_leaf_count(chunk_len(s)) - s->leaf, to - s->next);
		s->next += n;
		s->leaf += n;
		if (s->leaf == chunk_id_leaf_count(chunk_len(s))) {
			s->chunk++;
			s->leaf = 0;
		}
	}
}

/* Adds the leaf at hand to the frame; false when it does not fit. */
static bool
add_leaf(struct serve *s, struct serve_frame *f, uint32_t *leaf_bytes)
{
	uint32_t count = chunk_id_leaf_count(chunk_len(s)),
		 len = chunk_id_leaf_len(chunk_len(s), s->leaf);
	bool list = count > 1 && s->listed != s->chunk;

	if (*leaf_bytes + len > LIMIT_DATA_RAW || f->n_pieces == SERVE_PIECES)
		return false;
	if (list && f->prefix.lists_bytes + count * HASH_BYTES > LIMIT_DATA_LISTS)
		return false;
	/* Two leaves of one chunk never share a frame: all but a chunk's last are as large as a
	 * frame. */
	f->pieces[f->n_pieces++] = (struct serve_piece){ .chunk = s->chunk,
		.first_leaf = s->leaf,
		.n_leaves = 1,
		.len = len,
		.at = *leaf_bytes,
		.list_at = list ? LIMIT_DATA_PREFIX + (uint32_t)f->prefix.lists_bytes : 0 };
	if (list) {
		f->prefix.lists_bytes = (uint16_t)(f->prefix.lists_bytes + count * HASH_BYTES);
		s->listed = s->chunk;
	}
	*leaf_bytes += len;
	f->prefix.n_leaves++;
	skip_to(s, s->next + 1);
	return true;
}

bool
serve_next(struct serve *s, struct serve_frame *ret)
{
	uint32_t leaf_bytes = 0;

	if (s->run == s->n_runs)
		return false;
	const struct leaf_run *run = &s->runs[s->run];
	skip_to(s, max_of(s->next, (uint32_t)run->first));
	*ret = (struct serve_frame){ .prefix = {
					 .unit = s->number, .first_leaf = (uint16_t)s->next } };
	while (s->next < (uint32_t)run->first + run->n && add_leaf(s, ret, &leaf_bytes))
		;
	assert(ret->n_pieces > 0);
	if (s->next == (uint32_t)run->first + run->n)
		s->run++;
	uint32_t before = LIMIT_DATA_PREFIX + (uint32_t)ret->prefix.lists_bytes;
	for (uint32_t i = 0; i < ret->n_pieces; i++)
		ret->pieces[i].at += before;
	ret->payload = before + leaf_bytes;
	ret->end = s->run == s->n_runs;
	return true;
}

struct block *
serve_pack(const struct block *b)
{
	auto_buf struct buf packed = BUF(LIMIT_DATA_RAW);
	struct bytes lists, leaves;
	struct data_prefix p;

	if (!expect(frame_data_decode(BYTES(b->bytes, b->len), &p, &lists, &leaves, NULL) == OK) ||
	    codec_pack(leaves, &packed) != CODEC_ZSTD)
		return NULL;
	uint32_t before = LIMIT_DATA_PREFIX + (uint32_t)lists.len;
	struct block *out = block_new(before + (uint32_t)packed.len);
	p.codec = DATA_ZSTD;
	frame_data_encode(&p, out->bytes);
	if (lists.len > 0)
		memcpy(out->bytes + LIMIT_DATA_PREFIX, lists.at, lists.len);
	memcpy(out->bytes + before, packed.at, packed.len);
	out->len = out->room;
	return out;
}
