/*
 * Requests wait in the order they came.  Up to ACTIVE_MAX of them are active: being read in a job,
 * or holding what was read and waits for room in the session.  A job, a step, makes the next
 * STEP_BYTES of frames of one request, so that memory is bounded and a cancelled stream ends soon.
 * How much is read at once (a packed chunk is unpacked whole) and how much is queued are two
 * things.
 *
 * A request whose last frame is with the session waits in `leaving` until the connection has it.
 */
#include "engine/responder.h"

#include "base/mem.h"
#include "session/serve.h"

enum { ACTIVE_MAX = 2, STEP_BYTES = RESPONDER_AHEAD / ACTIVE_MAX, STEP_FRAMES = 64 };

struct request {
	struct request *next;
	uint32_t stream;
	struct responder_ask what;
	bool begun; /* its end is told */
	bool busy, cancelled, done;
	uint64_t sent, last; /* bytes; number of the last block */
	/* nodes */
	enum hash_kind kind;
	struct hash_id *ids;
	uint32_t n_ids, at_id;
	/* units */
	struct msg_get_units ask;
	struct snapshot_map *map;
	uint32_t *lens; /* of the unit's chunks */
	struct serve serve;
	/* what the last step made, from at_frame on */
	struct block *frames[STEP_FRAMES];
	uint16_t flags[STEP_FRAMES];
	uint32_t n_frames, at_frame;
	struct error damage; /* code OK: everything could be read */
};

struct responder {
	struct loop *loop;
	struct peer *peer;
	const struct source *source;
	struct responder_policy policy;
	struct request *first, **last;
	struct request *leaving, **leaving_last;
	unsigned jobs;
	bool blocked; /* as was told */
	bool closing;
	void (*on_closed)(void *ctx);
	void *on_closed_ctx;
};

struct step {
	struct responder *r;
	struct request *q;
	/* Leaves of a big chunk are read several at a time: it may be packed, and then it is
	 * unpacked whole for each reading. */
	struct held {
		uint8_t *bytes; /* NULL: none yet */
		uint32_t chunk, from, n, used;
		struct leaf_list list;
	} held;
};

static void pump(struct responder *r);
static enum err work_step(void *ctx, struct error *e);
static void on_step(void *ctx, enum err r, const struct error *e);

/* -- making frames: in a job -- */

static enum err
add_node(struct responder *r, struct request *q, uint32_t i, struct error *e)
{
	auto_buf struct buf node = BUF(LIMIT_NODE_RAW);
	struct error why = { 0 };
	enum err err = r->source->get_node(
	    r->source->ctx, &q->what.share, &q->what.snapshot, q->kind, &q->ids[i], &node, &why);
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
	q->frames[q->n_frames++] = b;
	return OK;
}

static enum err
step_nodes(struct responder *r, struct request *q, struct error *e)
{
	uint64_t bytes = 0;
	enum err err = OK;

	while (
	    err == OK && q->at_id < q->n_ids && q->n_frames < STEP_FRAMES && bytes < STEP_BYTES) {
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
	enum err err = r->source->get_map(
	    r->source->ctx, &q->what.share, &q->what.snapshot, q->ask.unit_size, &q->map, e);
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
read_leaves(struct step *st, const struct serve_piece *p, uint32_t n, uint8_t *to,
    struct leaf_list *ret_leaves, struct error *e)
{
	const struct source *source = st->r->source;
	struct request *q = st->q;
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
read_row(struct step *st, const struct serve_piece *p, uint32_t unit_leaf, uint32_t room,
    struct error *e)
{
	struct request *q = st->q;
	struct held *h = &st->held;
	uint32_t left =
	    chunk_id_leaf_count(snapshot_map_chunk(q->map, p->chunk)->len) - p->first_leaf;
	uint32_t n = min_of(left, wanted_in_row(&q->serve, unit_leaf));

	n = min_of(n, room);
	if (h->bytes == NULL)
		h->bytes = mem_alloc(STEP_BYTES);
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
fill_piece(struct step *st, const struct serve_frame *f, uint32_t i, uint32_t room, struct block *b,
    struct error *e)
{
	const struct serve_piece *p = &f->pieces[i];
	struct held *h = &st->held;
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

/* ROOM: leaves that may be read ahead, this frame's included. */
static enum err
add_frame(struct step *st, const struct serve_frame *f, uint32_t room, struct error *e)
{
	struct request *q = st->q;
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
	q->flags[q->n_frames] = f->end ? FRAME_END : 0;
	q->frames[q->n_frames++] = b;
	return OK;
}

/* What was read is also sent: leaves in hand go although the step is full. */
static enum err
step_unit(struct step *st, struct error *e)
{
	struct request *q = st->q;
	struct serve_frame f;
	uint32_t bytes = 0;
	enum err err = q->map == NULL ? open_unit(st->r, q, e) : OK;

	while (err == OK && !q->done && q->n_frames < STEP_FRAMES &&
	       (bytes < STEP_BYTES || st->held.used < st->held.n)) {
		uint32_t left = bytes < STEP_BYTES ? STEP_BYTES - bytes : 1;
		if (!expect(serve_next(&q->serve, &f)))
			return fail(e, ERR_BUG, "an answer without an end");
		err = add_frame(st, &f, (left + CHUNK_LEAF - 1) / CHUNK_LEAF, e);
		bytes += f.payload;
		q->done = f.end;
	}
	free(st->held.bytes);
	return err;
}

static enum err
work_step(void *ctx, struct error *e)
{
	struct step *s = ctx;

	return s->q->what.type == FRAME_GET_NODES ? step_nodes(s->r, s->q, e) : step_unit(s, e);
}

/* -- the queue: on the loop -- */

static void
drop_frames(struct request *q)
{
	while (q->at_frame < q->n_frames)
		block_free(q->frames[q->at_frame++]);
}

static void
request_free(struct responder *r, struct request *q)
{
	if (q->map != NULL)
		r->source->put_map(r->source->ctx, q->map);
	drop_frames(q);
	free(q->ids);
	free(q->lens);
	free(q);
}

static bool
is_active(const struct request *q)
{
	return q->busy || q->at_frame < q->n_frames;
}

static void
unlink_request(struct request **first, struct request ***last, struct request *q)
{
	for (struct request **at = first; *at != NULL; at = &(*at)->next) {
		if (*at != q)
			continue;
		*at = q->next;
		if (*last == &q->next)
			*last = at;
		break;
	}
	q->next = NULL;
}

static void
link_request(struct request ***last, struct request *q)
{
	**last = q;
	*last = &q->next;
}

static void
tell_over(struct responder *r, const struct request *q, bool whole)
{
	if (q->begun && r->policy.over != NULL && !r->closing)
		r->policy.over(r->policy.ctx, r->peer, &q->what, q->sent, whole);
}

/* It ends here, in the middle. */
static void
end_request(struct responder *r, struct request *q)
{
	unlink_request(&r->first, &r->last, q);
	tell_over(r, q, false);
	request_free(r, q);
}

static enum err
judge(struct responder *r, const struct request *q, struct error *e)
{
	return r->policy.allow(r->policy.ctx, r->peer, &q->what, e);
}

static void
refuse(struct responder *r, struct request *q, const struct error *why)
{
	(void)session_answer_error(peer_session(r->peer), q->stream, why, q->what.unit);
}

static void
tell_damage(struct responder *r, struct request *q)
{
	if (r->policy.failed != NULL && q->damage.code != OK)
		r->policy.failed(r->policy.ctx, r->peer, &q->what, &q->damage);
	q->damage.code = OK;
}

static void
free_all(struct responder *r, struct request *first)
{
	for (struct request *q = first, *next; q != NULL; q = next) {
		next = q->next;
		request_free(r, q);
	}
}

static void
free_closed(struct responder *r)
{
	if (!r->closing || r->jobs > 0)
		return;
	free_all(r, r->first);
	free_all(r, r->leaving);
	if (r->on_closed != NULL)
		r->on_closed(r->on_closed_ctx);
	free(r);
}

/* -- sending -- */

static void
send_frame(struct responder *r, struct request *q)
{
	uint32_t i = q->at_frame++;
	uint64_t bytes = q->frames[i]->len;

	q->last = session_send_raw(peer_session(r->peer),
	    q->what.type == FRAME_GET_NODES ? FRAME_NODE : FRAME_DATA, q->flags[i], q->stream,
	    q->frames[i]);
	q->sent += bytes;
	if (r->policy.sent != NULL)
		r->policy.sent(r->policy.ctx, r->peer, &q->what.share, bytes);
}

/* Sends what of Q's frames there is room for.  Rights are looked at again before what was read goes
 * out: they may have ended meanwhile. */
static void
send_some(struct responder *r, struct request *q)
{
	struct error no;

	if (!session_is_wanted(peer_session(r->peer), q->stream)) {
		end_request(r, q);
		return;
	}
	if (judge(r, q, &no) != OK) {
		refuse(r, q, &no);
		end_request(r, q);
		return;
	}
	while (q->at_frame < q->n_frames && peer_has_room(r->peer))
		send_frame(r, q);
	if (!q->done || q->at_frame < q->n_frames)
		return;
	unlink_request(&r->first, &r->last, q);
	link_request(&r->leaving_last, q);
}

/* True: something waits for room. */
static bool
send_all(struct responder *r)
{
	bool waiting = false;

	for (struct request *q = r->first, *next; q != NULL; q = next) {
		next = q->next;
		if (q->busy || !is_active(q))
			continue;
		if (peer_has_room(r->peer))
			send_some(r, q); /* which may free it */
		waiting |= !peer_has_room(r->peer);
	}
	return waiting;
}

/* Blocks go out in the order in which they were queued. */
static void
tell_gone(struct responder *r)
{
	struct request *q;

	while ((q = r->leaving) != NULL && q->last <= session_raw_gone(peer_session(r->peer))) {
		unlink_request(&r->leaving, &r->leaving_last, q);
		tell_over(r, q, true);
		request_free(r, q);
		if (r->closing)
			return;
	}
	peer_await_gone(r->peer, q != NULL ? q->last : 0);
}

static void
tell_blocked(struct responder *r, bool blocked)
{
	if (r->blocked == blocked)
		return;
	r->blocked = blocked;
	if (r->policy.blocked != NULL)
		r->policy.blocked(r->policy.ctx, r->peer, blocked);
}

/* -- reading -- */

static void
start_step(struct responder *r, struct request *q)
{
	struct step *s = mem_new(struct step);

	*s = (struct step){ .r = r, .q = q };
	q->n_frames = q->at_frame = 0;
	q->busy = true;
	r->jobs++;
	job_run(r->loop, work_step, on_step, s);
}

/* The first request that is not active.  Rights are looked at before every step, so that taking
 * them away ends what is under way. */
static struct request *
next_request(struct responder *r)
{
	struct error e;

	for (struct request *q = r->first, *next; q != NULL; q = next) {
		next = q->next;
		if (is_active(q))
			continue;
		if (judge(r, q, &e) == OK)
			return q;
		refuse(r, q, &e);
		end_request(r, q);
	}
	return NULL;
}

static void
read_ahead(struct responder *r)
{
	unsigned active = 0;

	for (const struct request *q = r->first; q != NULL; q = q->next)
		active += is_active(q);
	for (; active < ACTIVE_MAX; active++) {
		struct request *q = next_request(r);
		if (q == NULL)
			break;
		start_step(r, q);
	}
}

static void
pump(struct responder *r)
{
	if (r->closing)
		return;
	if (peer_has_room(r->peer))
		tell_blocked(r, false);
	bool waiting = send_all(r);
	read_ahead(r);
	tell_gone(r);
	if (waiting && peer_is_stuck(r->peer))
		tell_blocked(r, true);
	peer_flush(r->peer);
}

static void
finish_step(struct responder *r, struct request *q, enum err err, const struct error *e)
{
	bool wanted = !q->cancelled && session_is_wanted(peer_session(r->peer), q->stream);

	if (wanted && err != OK)
		refuse(r, q, e);
	if (wanted)
		tell_damage(r, q);
	if (!wanted || err != OK)
		end_request(r, q);
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
		free_closed(r);
		return;
	}
	finish_step(r, q, err, e);
	pump(r);
}

struct responder *
responder_new(
    struct loop *l, struct peer *p, const struct source *src, const struct responder_policy *policy)
{
	struct responder *r = mem_new(struct responder);

	r->loop = l;
	r->peer = p;
	r->source = src;
	r->policy = *policy;
	r->last = &r->first;
	r->leaving_last = &r->leaving;
	if (policy->window != 0)
		peer_set_window(p, policy->window);
	return r;
}

static void
close_posted(void *arg)
{
	struct responder *r = arg;

	r->jobs--;
	free_closed(r);
}

void
responder_close(struct responder *r, void (*on_closed)(void *ctx), void *ctx)
{
	if (r == NULL || r->closing)
		return;
	r->closing = true;
	r->on_closed = on_closed;
	r->on_closed_ctx = ctx;
	r->jobs++;
	loop_post(r->loop, close_posted, r);
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

static struct request *
request_new(const struct session_event *ev)
{
	struct request *q = mem_new(struct request);

	q->stream = ev->stream;
	q->what.type = ev->message.type;
	if (q->what.type == FRAME_GET_NODES) {
		const struct msg_get_nodes *m = &ev->message.get_nodes;
		q->what.share = m->share;
		q->what.snapshot = m->snapshot;
		copy_ids(q, m);
	} else {
		const struct msg_get_units *m = &ev->message.get_units;
		q->what.share = m->share;
		q->what.snapshot = m->snapshot;
		q->what.unit = m->unit;
		q->ask = *m;
	}
	return q;
}

static enum err
begin(struct responder *r, struct request *q, struct error *e)
{
	enum err err = judge(r, q, e);

	if (err != OK || q->what.type != FRAME_GET_UNITS)
		return err;
	if (r->policy.begin != NULL)
		err = r->policy.begin(r->policy.ctx, r->peer, &q->what, e);
	q->begun = err == OK;
	return err;
}

void
responder_request(struct responder *r, const struct session_event *ev)
{
	struct request *q = request_new(ev);
	struct error no;

	if (begin(r, q, &no) == OK) {
		link_request(&r->last, q);
	} else {
		refuse(r, q, &no);
		request_free(r, q);
	}
	pump(r);
}

/* At once, also when there is no room to answer others: who asks and cancels on and on, and never
 * reads, must not fill our memory with what it no longer wants. */
void
responder_cancel(struct responder *r, uint32_t stream)
{
	for (struct request *q = r->first; q != NULL; q = q->next) {
		if (q->stream != stream)
			continue;
		q->cancelled = true;
		if (!q->busy)
			end_request(r, q);
		return;
	}
}

size_t
responder_requests(const struct responder *r)
{
	size_t n = 0;

	for (const struct request *q = r->first; q != NULL; q = q->next)
		n++;
	return n;
}

void
responder_writable(struct responder *r)
{
	pump(r);
}
