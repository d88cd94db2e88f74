/* Frames of an answer, made in a job, which sees its request only. */
#include "base/mem.h"
#include "engine/responder_private.h"
#include "platform/clock.h"

enum { PACK_FROM = 1024 };

static enum err
add_node(struct responder_read *st, uint32_t i, struct error *e)
{
	const struct source *source = st->source;
	struct responder_request *q = st->q;
	auto_buf struct buf node = BUF(LIMIT_NODE_RAW);
	struct error why = { 0 };
	enum err err = source->get_node(
	    source->ctx, &q->what.share, &q->what.snapshot, q->kind, &q->ids[i], &node, &why);
	uint16_t flags = i + 1 == q->n_ids ? FRAME_END : 0;

	if (err == ERR_CORRUPT)
		q->damage = why;
	if (err == ERR_NOTFOUND || err == ERR_CORRUPT) {
		flags |= FRAME_MISSING;
		node.len = 0;
	} else if (err != OK) {
		*e = why;
		return err;
	}
	struct block *b = block_new((uint32_t)(FRAME_NODE_PREFIX + node.len));
	frame_node_encode((uint16_t)i, b->bytes);
	if (node.len > 0)
		memcpy(b->bytes + FRAME_NODE_PREFIX, node.at, node.len);
	b->len = (uint32_t)(FRAME_NODE_PREFIX + node.len);
	q->flags[q->n_frames] = flags;
	q->saved[q->n_frames] = 0;
	q->frames[q->n_frames++] = b;
	return OK;
}

static enum err
step_nodes(struct responder_read *st, struct error *e)
{
	struct responder_request *q = st->q;
	uint64_t bytes = 0;
	enum err err = OK;

	while (err == OK && q->at_id < q->n_ids && q->n_frames < RESPONDER_STEP_FRAMES &&
	       bytes < RESPONDER_STEP_BYTES) {
		err = add_node(st, q->at_id, e);
		if (err == OK) {
			bytes += q->frames[q->n_frames - 1]->len;
			q->at_id++;
		}
	}
	q->done = q->at_id == q->n_ids;
	return err;
}

/* Opens the map and the cutter over the unit's chunks. */
static enum err
open_unit(struct responder_read *st, struct error *e)
{
	const struct source *source = st->source;
	struct responder_request *q = st->q;
	enum err err = source->get_map(
	    source->ctx, &q->what.share, &q->what.snapshot, q->ask.unit_size, &q->map, e);
	uint32_t chunk, n = 0;

	if (err == ERR_CORRUPT)
		q->damage = *e;
	if (err != OK)
		return err;
	if (q->ask.unit >= snapshot_map_units(q->map))
		return fail(e, ERR_PROTO, "unit %u of %llu", q->ask.unit,
		    (unsigned long long)snapshot_map_units(q->map));
	struct unit u = snapshot_map_unit(q->map, q->ask.unit);
	struct unit_pieces p = unit_pieces_of(u);
	q->lens = mem_array(uint32_t, u.n_leaves);
	while (unit_pieces_more(&p, &chunk)) {
		q->lens[n] = snapshot_map_chunk(q->map, chunk)->len;
		unit_pieces_next(&p, q->lens[n++]);
	}
	return serve_init(&q->serve, &u, &q->ask, q->lens, e);
}

/* How many leaves of the unit are wanted in a row from UNIT_LEAF on. */
static uint32_t
wanted_in_row(const struct serve *s, uint32_t unit_leaf)
{
	for (uint32_t i = 0; i < s->n_runs; i++) {
		uint32_t at = unit_leaf - s->runs[i].first;
		if (at < s->runs[i].n)
			return s->runs[i].n - at;
	}
	return 1;
}

/* N leaves of piece P's chunk, from its own on. */
static enum err
read_leaves(struct responder_read *st, const struct serve_piece *p, uint32_t n, uint8_t *to,
    struct leaf_list *ret_leaves, struct error *e)
{
	const struct source *source = st->source;
	struct responder_request *q = st->q;
	const struct source_leaves which = { &q->what.share, &q->what.snapshot, q->map, p->chunk,
		p->first_leaf, n };
	uint32_t len;
	enum err err = source->get_leaves(source->ctx, &which, to, &len, ret_leaves, e);

	if (err != OK)
		q->damage = *e;
	return err;
}

/* Reads the leaves of piece P's chunk that this step has room for and that are wanted. */
static enum err
read_row(struct responder_read *st, const struct serve_piece *p, uint32_t unit_leaf, uint32_t room,
    struct error *e)
{
	struct responder_request *q = st->q;
	struct responder_held *h = &st->held;
	uint32_t left =
	    chunk_id_leaf_count(snapshot_map_chunk(q->map, p->chunk)->len) - p->first_leaf;
	uint32_t n = min_of(left, wanted_in_row(&q->serve, unit_leaf));

	n = min_of(n, room);
	if (h->bytes == NULL)
		h->bytes = mem_alloc(RESPONDER_STEP_BYTES);
	enum err err = read_leaves(st, p, n, h->bytes, &h->list, e);
	if (err != OK)
		return err;
	h->chunk = p->chunk;
	h->from = p->first_leaf;
	h->n = n;
	h->used = 0;
	return OK;
}

static enum err
fill_piece(struct responder_read *st, const struct serve_frame *f, uint32_t i, uint32_t room,
    struct block *b, struct error *e)
{
	const struct serve_piece *p = &f->pieces[i];
	struct responder_held *h = &st->held;
	enum err err = OK;

	if (chunk_id_leaf_count(snapshot_map_chunk(st->q->map, p->chunk)->len) == 1)
		return read_leaves(st, p, 1, b->bytes + p->at, NULL, e);
	if (h->used == h->n)
		err = read_row(st, p, f->prefix.first_leaf + i, room, e);
	if (err != OK)
		return err;
	memcpy(b->bytes + p->at, h->bytes + (size_t)(p->first_leaf - h->from) * CHUNK_LEAF, p->len);
	if (p->list_at != 0)
		memcpy(b->bytes + p->list_at, h->list.hash, (size_t)h->list.n * HASH_BYTES);
	h->used++;
	return OK;
}

/* What does not shrink says that neither will what follows it.  Little is not worth it and says
 * nothing. */
static void
pack_frame(struct responder_read *st, struct block **b)
{
	if ((*b)->len < PACK_FROM)
		return;
	uint64_t begun_ns = clock_mono_ns();
	struct block *packed = serve_pack(*b);

	st->packed.bytes += (*b)->len;
	st->packed.us += (clock_mono_ns() - begun_ns) / 1000;
	if (packed == NULL) {
		st->packed.failed = true;
		st->packs = false;
		return;
	}
	st->q->saved[st->q->n_frames] = (*b)->len - packed->len;
	block_free(*b);
	*b = packed;
}

/* ROOM: leaves that may be read ahead, this frame's included. */
static enum err
add_frame(struct responder_read *st, const struct serve_frame *f, uint32_t room, struct error *e)
{
	struct responder_request *q = st->q;
	struct block *b = block_new(f->payload);
	enum err err = OK;

	frame_data_encode(&f->prefix, b->bytes);
	b->len = f->payload;
	for (uint32_t i = 0; err == OK && i < f->n_pieces; i++)
		err = fill_piece(st, f, i, room, b, e);
	if (err != OK) {
		block_free(b);
		return err;
	}
	q->saved[q->n_frames] = 0;
	if (st->packs)
		pack_frame(st, &b);
	q->flags[q->n_frames] = f->end ? FRAME_END : 0;
	q->frames[q->n_frames++] = b;
	return OK;
}

/* What was read is also sent: leaves in hand go although the step is full. */
static enum err
step_unit(struct responder_read *st, struct error *e)
{
	struct responder_request *q = st->q;
	struct serve_frame f;
	uint32_t bytes = 0;
	enum err err = q->map == NULL ? open_unit(st, e) : OK;

	while (err == OK && !q->done && q->n_frames < RESPONDER_STEP_FRAMES &&
	       (bytes < RESPONDER_STEP_BYTES || st->held.used < st->held.n)) {
		uint32_t left = bytes < RESPONDER_STEP_BYTES ? RESPONDER_STEP_BYTES - bytes : 1;
		if (!expect(serve_next(&q->serve, &f)))
			return fail(e, ERR_BUG, "an answer without an end");
		err = add_frame(st, &f, (left + CHUNK_LEAF - 1) / CHUNK_LEAF, e);
		bytes += f.payload;
		q->done = f.end;
	}
	free(st->held.bytes);
	return err;
}

enum err
responder_read_step(void *ctx, struct error *e)
{
	struct responder_read *st = ctx;

	return st->q->what.type == FRAME_GET_NODES ? step_nodes(st, e) : step_unit(st, e);
}
