/*
 * Requests wait in the order they came.  Up to two of them are read at once in jobs; a job makes the next frames of one
 * request, at most one big chunk or STEP_BYTES of small ones, so that memory is bounded and a cancelled stream ends soon.
 */
#include "engine/responder.h"

#include "base/mem.h"
#include "session/serve.h"

enum { JOBS_MAX = 2, STEP_BYTES = 256 * 1024, STEP_FRAMES = 64 };

struct request {
	struct request *next;
	uint32_t stream;
	uint16_t type; /* FRAME_GET_NODES or FRAME_GET_UNITS */
	struct hash_id share, snapshot;
	bool busy, cancelled, done, lost;
	struct error why; /* lost: the first node that should be here and is not */
	/* nodes */
	enum hash_kind kind;
	struct hash_id *ids;
	uint32_t n_ids, at_id;
	/* units */
	struct msg_get_units ask;
	struct snapshot_map *map;
	uint32_t *lens;       /* of the unit's chunks */
	struct serve serve;
	uint8_t *held;        /* the big chunk being sent, from leaf held_from to its end; CHUNK_MAX, while the request lives */
	uint32_t held_chunk, held_from;
	struct leaf_list held_list;
	/* what the last step made */
	struct block *frames[STEP_FRAMES];
	uint16_t flags[STEP_FRAMES];
	uint32_t n_frames;
};

struct responder {
	struct loop *loop;
	struct peer *peer;
	const struct source *source;
	struct responder_policy policy;
	struct request *first, **last;
	unsigned jobs;
	bool closing;
};

struct step {
	struct responder *r;
	struct request *q;
};

static void pump(struct responder *r);
static enum err work_step(void *ctx, struct error *e);
static void on_step(void *ctx, enum err r, const struct error *e);

/* -- making frames: in a job -- */

static enum err
add_node(struct responder *r, struct request *q, uint32_t i, struct error *e)
{
	auto_buf struct buf node = BUF(LIMIT_NODE_RAW);
	struct error why;
	enum err err = r->source->get_node(r->source->ctx, &q->share, &q->snapshot, q->kind, &q->ids[i], &node, &why);
	uint16_t flags = i + 1 == q->n_ids ? FRAME_END : 0;

	if (err == ERR_CORRUPT && !q->lost) {
		q->lost = true;
		q->why = why;
	}
	if (err == ERR_NOTFOUND || err == ERR_CORRUPT)
		flags |= FRAME_MISSING;
	else if (err != OK)
		return fail(e, err, "%s", why.text);
	struct block *b = block_new((uint32_t)(FRAME_NODE_PREFIX + node.len));
	b->bytes[0] = (uint8_t)i;
	b->bytes[1] = (uint8_t)(i >> 8);
	b->bytes[2] = b->bytes[3] = 0;
	if (flags & FRAME_MISSING)
		node.len = 0;
	if (node.len > 0)
		memcpy(b->bytes + FRAME_NODE_PREFIX, node.at, node.len);
	b->len = (uint32_t)(FRAME_NODE_PREFIX + node.len);
	q->flags[q->n_frames] = flags;
	q->frames[q->n_frames++] = b;
	return OK;
}

static enum err
step_nodes(struct responder *r, struct request *q, struct error *e)
{
	uint64_t bytes = 0;
	enum err err = OK;

	while (err == OK && q->at_id < q->n_ids && q->n_frames < STEP_FRAMES && bytes < STEP_BYTES) {
		err = add_node(r, q, q->at_id, e);
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
open_unit(struct responder *r, struct request *q, struct error *e)
{
	enum err err = r->source->get_map(r->source->ctx, &q->share, &q->snapshot, q->ask.unit_size, &q->map, e);
	uint32_t chunk, n = 0;

	if (err != OK)
		return err;
	if (q->ask.unit >= snapshot_map_units(q->map))
		return fail(e, ERR_PROTO, "unit %u of %llu", q->ask.unit, (unsigned long long)snapshot_map_units(q->map));
	struct unit u = snapshot_map_unit(q->map, q->ask.unit);
	struct unit_pieces p = unit_pieces_of(u);
	q->lens = mem_array(uint32_t, u.n_leaves);
	while (unit_pieces_more(&p, &chunk)) {
		q->lens[n] = snapshot_map_chunk(q->map, chunk)->len;
		unit_pieces_next(&p, q->lens[n++]);
	}
	q->held_chunk = UINT32_MAX;
	return serve_init(&q->serve, &u, &q->ask, q->lens, e);
}

/* Leaves of a big chunk are read from here to its end at once: it may be packed, and then unpacking it for each leaf would cost
 * sixteen times as much. */
static enum err
hold_chunk(struct responder *r, struct request *q, const struct serve_piece *p, struct error *e)
{
	const struct snapshot_map_chunk *c = snapshot_map_chunk(q->map, p->chunk);
	uint32_t n = chunk_id_leaf_count(c->len) - p->first_leaf, len;

	if (q->held_chunk == p->chunk)
		return OK;
	enum err err = r->source->get_leaves(r->source->ctx, &q->share, &c->id, c->len, p->first_leaf, n, q->held, &len,
	    &q->held_list, e);
	if (err != OK)
		return err;
	q->held_chunk = p->chunk;
	q->held_from = p->first_leaf;
	return OK;
}

static enum err
fill_piece(struct responder *r, struct request *q, const struct serve_piece *p, struct block *b, struct error *e)
{
	const struct snapshot_map_chunk *c = snapshot_map_chunk(q->map, p->chunk);
	uint32_t len;

	if (chunk_id_leaf_count(c->len) == 1)
		return r->source->get_leaves(r->source->ctx, &q->share, &c->id, c->len, 0, 1, b->bytes + p->at, &len, NULL, e);
	enum err err = hold_chunk(r, q, p, e);
	if (err != OK)
		return err;
	memcpy(b->bytes + p->at, q->held + (size_t)(p->first_leaf - q->held_from) * CHUNK_LEAF, p->len);
	if (p->list_at != 0)
		memcpy(b->bytes + p->list_at, q->held_list.hash, (size_t)q->held_list.n * HASH_BYTES);
	return OK;
}

static enum err
add_frame(struct responder *r, struct request *q, const struct serve_frame *f, struct error *e)
{
	struct block *b = block_new(f->payload);
	enum err err = OK;

	frame_data_encode(&f->prefix, b->bytes);
	b->len = f->payload;
	for (uint32_t i = 0; err == OK && i < f->n_pieces; i++)
		err = fill_piece(r, q, &f->pieces[i], b, e);
	if (err != OK) {
		block_free(b);
		return err;
	}
	q->flags[q->n_frames] = f->end ? FRAME_END : 0;
	q->frames[q->n_frames++] = b;
	return OK;
}

static enum err
step_unit(struct responder *r, struct request *q, struct error *e)
{
	struct serve_frame f;
	uint32_t bytes = 0;
	enum err err = q->map == NULL ? open_unit(r, q, e) : OK;

	if (q->held == NULL)
		q->held = mem_alloc(CHUNK_MAX);
	while (err == OK && !q->done && bytes < STEP_BYTES && q->n_frames < STEP_FRAMES) {
		if (!serve_next(&q->serve, &f))
			break;
		err = add_frame(r, q, &f, e);
		bytes += f.payload;
		q->done = f.end;
	}
	return err;
}

static enum err
work_step(void *ctx, struct error *e)
{
	struct step *s = ctx;

	return s->q->type == FRAME_GET_NODES ? step_nodes(s->r, s->q, e) : step_unit(s->r, s->q, e);
}

/* -- the queue: on the loop -- */

static void
request_free(struct responder *r, struct request *q)
{
	if (q->map != NULL)
		r->source->put_map(r->source->ctx, q->map);
	for (uint32_t i = 0; i < q->n_frames; i++)
		block_free(q->frames[i]);
	free(q->ids);
	free(q->lens);
	free(q->held);
	free(q);
}

static void
remove_request(struct responder *r, struct request *q)
{
	for (struct request **at = &r->first; *at != NULL; at = &(*at)->next) {
		if (*at != q)
			continue;
		*at = q->next;
		if (r->last == &q->next)
			r->last = at;
		break;
	}
	request_free(r, q);
}

static void
send_frames(struct responder *r, struct request *q)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < q->n_frames; i++) {
		bytes += q->frames[i]->len;
		session_send_raw(peer_session(r->peer), q->type == FRAME_GET_NODES ? FRAME_NODE : FRAME_DATA, q->flags[i],
		    q->stream, q->frames[i]);
	}
	q->n_frames = 0;
	if (r->policy.sent != NULL && bytes > 0)
		r->policy.sent(r->policy.ctx, r->peer, &q->share, bytes);
}

static void
tell_failed(struct responder *r, const struct request *q, const struct error *why)
{
	if (r->policy.failed != NULL)
		r->policy.failed(r->policy.ctx, r->peer, &q->share, &q->snapshot, why);
}

static void
refuse(struct responder *r, struct request *q, const struct error *e)
{
	(void)session_answer_error(peer_session(r->peer), q->stream, e, q->ask.unit);
	tell_failed(r, q, e);
}

static void
on_step(void *ctx, enum err err, const struct error *e)
{
	struct step *s = ctx;
	struct responder *r = s->r;
	struct request *q = s->q;

	free(s);
	r->jobs--;
	q->busy = false;
	if (r->closing) {
		if (r->jobs == 0) {
			while (r->first != NULL)
				remove_request(r, r->first);
			free(r);
		}
		return;
	}
	bool wanted = !q->cancelled && session_is_wanted(peer_session(r->peer), q->stream);
	if (wanted && err == OK)
		send_frames(r, q);
	else if (wanted)
		refuse(r, q, e);
	if (q->lost && (q->done || err != OK))
		tell_failed(r, q, &q->why);
	if (!wanted || err != OK || q->done)
		remove_request(r, q);
	peer_flush(r->peer);
	pump(r);
}

static void
start_step(struct responder *r, struct request *q)
{
	struct step *s = mem_new(struct step);

	*s = (struct step){ .r = r, .q = q };
	q->busy = true;
	r->jobs++;
	job_run(r->loop, work_step, on_step, s);
}

/* The first request that is not being read; cancelled ones go on the way.  Rights are looked at before every step, so that
 * taking them away ends what is under way. */
static struct request *
next_request(struct responder *r)
{
	struct error e;

	for (struct request *q = r->first, *next; q != NULL; q = next) {
		next = q->next;
		if (q->busy)
			continue;
		if (q->cancelled) {
			remove_request(r, q);
			continue;
		}
		if (r->policy.allow(r->policy.ctx, r->peer, &q->share, &q->snapshot, &e) == OK)
			return q;
		(void)session_answer_error(peer_session(r->peer), q->stream, &e, q->ask.unit);
		remove_request(r, q);
	}
	return NULL;
}

static void
pump(struct responder *r)
{
	while (!r->closing && r->jobs < JOBS_MAX && peer_has_room(r->peer)) {
		struct request *q = next_request(r);
		if (q == NULL)
			break;
		start_step(r, q);
	}
}

struct responder *
responder_new(struct loop *l, struct peer *p, const struct source *src, const struct responder_policy *policy)
{
	struct responder *r = mem_new(struct responder);

	r->loop = l;
	r->peer = p;
	r->source = src;
	r->policy = *policy;
	r->last = &r->first;
	return r;
}

void
responder_close(struct responder *r)
{
	if (r == NULL || r->closing)
		return;
	r->closing = true;
	if (r->jobs > 0)
		return; /* the last of them frees */
	while (r->first != NULL)
		remove_request(r, r->first);
	free(r);
}

static void
copy_ids(struct request *q, const struct msg_get_nodes *m)
{
	bool ok = true;

	q->kind = (enum hash_kind)m->kind;
	q->n_ids = (uint32_t)(m->ids.len / HASH_ID_BYTES);
	q->ids = mem_array(struct hash_id, q->n_ids);
	for (uint32_t i = 0; i < q->n_ids; i++)
		q->ids[i] = message_node_id(m, i, &ok);
}

void
responder_request(struct responder *r, const struct session_event *ev)
{
	struct request *q = mem_new(struct request);

	q->stream = ev->stream;
	q->type = ev->message.type;
	if (q->type == FRAME_GET_NODES) {
		const struct msg_get_nodes *m = &ev->message.get_nodes;
		q->share = m->share;
		q->snapshot = m->snapshot;
		copy_ids(q, m);
	} else {
		const struct msg_get_units *m = &ev->message.get_units;
		q->share = m->share;
		q->snapshot = m->snapshot;
		q->ask = *m;
	}
	*r->last = q;
	r->last = &q->next;
	pump(r);
	peer_flush(r->peer);
}

void
responder_cancel(struct responder *r, uint32_t stream)
{
	for (struct request *q = r->first; q != NULL; q = q->next) {
		if (q->stream == stream)
			q->cancelled = true;
	}
	pump(r);
}

void
responder_writable(struct responder *r)
{
	pump(r);
}
