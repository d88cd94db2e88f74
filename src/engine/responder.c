/*
 * Requests wait in the order they came.  Up to two of them are read at once in jobs; a job makes the next frames of one
 * request, at most one big chunk or STEP_BYTES of small ones, so that memory is bounded and a cancelled stream ends soon.
 */
#include "engine/responder.h"

#include "base/mem.h"

enum { JOBS_MAX = 2, STEP_BYTES = 256 * 1024, STEP_FRAMES = 64 };

struct request {
	struct request *next;
	uint32_t stream;
	uint16_t type; /* FRAME_GET_NODES or FRAME_GET_UNITS */
	struct hash_id share, snapshot;
	bool busy, cancelled, done;
	/* nodes */
	enum hash_kind kind;
	struct hash_id *ids;
	uint32_t n_ids, at_id;
	/* units */
	uint32_t unit_size, unit_number, n_runs, at_run, at_leaf;
	struct leaf_run runs[LIMIT_UNIT_RUNS];
	struct snapshot_map *map;
	struct unit unit;
	uint32_t list_sent; /* chunk whose leaf list went out on this stream */
	/* what the last step made */
	struct block *frames[STEP_FRAMES];
	uint16_t flags[STEP_FRAMES];
	uint32_t n_frames;
	uint8_t *scratch; /* CHUNK_MAX, while a step runs */
};

struct responder {
	struct loop *loop;
	struct peer *peer;
	const struct source *source;
	struct responder_policy policy;
	struct request *first, **last;
	unsigned jobs;
	bool closing;
	uint8_t *scratch[JOBS_MAX]; /* kept while there are requests */
	bool scratch_used[JOBS_MAX];
};

struct step {
	struct responder *r;
	struct request *q;
	unsigned slot;
};

static void pump(struct responder *r);
static enum err work_step(void *ctx, struct error *e);
static void on_step(void *ctx, enum err r, const struct error *e);

/* -- making frames: in a job -- */

static enum err
add_node(struct responder *r, struct request *q, uint32_t i, struct error *e)
{
	auto_buf struct buf node = BUF(LIMIT_NODE_RAW);
	enum err err = r->source->get_node(r->source->ctx, &q->share, &q->snapshot, q->kind, &q->ids[i], &node, e);
	uint16_t flags = i + 1 == q->n_ids ? FRAME_END : 0;

	if (err == ERR_NOTFOUND || err == ERR_CORRUPT)
		flags |= FRAME_MISSING;
	else if (err != OK)
		return err;
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

/* Opens the map, checks the runs; "all of it" becomes one run. */
static enum err
open_unit(struct responder *r, struct request *q, struct error *e)
{
	enum err err = r->source->get_map(r->source->ctx, &q->share, &q->snapshot, q->unit_size, &q->map, e);

	if (err != OK)
		return err;
	if (q->unit_number >= snapshot_map_units(q->map))
		return fail(e, ERR_PROTO, "unit %u of %llu", q->unit_number, (unsigned long long)snapshot_map_units(q->map));
	q->unit = snapshot_map_unit(q->map, q->unit_number);
	q->list_sent = UINT32_MAX;
	if (q->n_runs == 0) {
		q->runs[0] = (struct leaf_run){ 0, q->unit.n_leaves };
		q->n_runs = 1;
	}
	struct leaf_run last = q->runs[q->n_runs - 1];
	if (last.first + last.n > q->unit.n_leaves)
		return fail(e, ERR_PROTO, "leaf %u of unit %u, which has %u", last.first + last.n - 1, q->unit_number,
		    q->unit.n_leaves);
	q->at_leaf = q->runs[0].first;
	return OK;
}

/* The open DATA frame of a step. */
struct data_frame {
	struct block *block;
	struct data_prefix prefix;
	uint32_t raw;
};

static void
close_frame(struct request *q, struct data_frame *f)
{
	if (f->block == NULL)
		return;
	frame_data_encode(&f->prefix, f->block->bytes);
	f->block->len = LIMIT_DATA_PREFIX + f->prefix.lists_bytes + f->raw;
	q->flags[q->n_frames] = 0;
	q->frames[q->n_frames++] = f->block;
	f->block = NULL;
}

/* Room for the leaf in the open frame, or a new one.  Lists stand before the leaves, so a frame that has leaves of another chunk
 * is closed before a list is added. */
static void
frame_for(struct request *q, struct data_frame *f, uint32_t unit_leaf, uint32_t len, bool with_list)
{
	if (f->block != NULL && (f->raw + len > LIMIT_DATA_RAW || with_list))
		close_frame(q, f);
	if (f->block != NULL)
		return;
	f->block = block_new(BLOCK_ROOM);
	f->raw = 0;
	f->prefix = (struct data_prefix){ .unit = q->unit_number, .first_leaf = (uint16_t)unit_leaf };
}

static void
add_list(struct data_frame *f, const struct leaf_list *list)
{
	uint32_t n = list->n * HASH_BYTES;

	memcpy(f->block->bytes + LIMIT_DATA_PREFIX + f->prefix.lists_bytes, list->hash, n);
	f->prefix.lists_bytes = (uint16_t)(f->prefix.lists_bytes + n);
}

static void
add_leaf(struct data_frame *f, const uint8_t *bytes, uint32_t len)
{
	memcpy(f->block->bytes + LIMIT_DATA_PREFIX + f->prefix.lists_bytes + f->raw, bytes, len);
	f->raw += len;
	f->prefix.n_leaves++;
}

/* The piece of the unit that holds UNIT_LEAF, from there on. */
static struct unit_piece
piece_at(const struct request *q, uint32_t unit_leaf)
{
	struct unit_pieces p = unit_pieces_of(q->unit);
	struct unit_piece piece = { 0 };
	uint32_t chunk;

	while (unit_pieces_more(&p, &chunk)) {
		piece = unit_pieces_next(&p, snapshot_map_chunk(q->map, chunk)->len);
		if (unit_leaf < piece.unit_leaf + piece.n_leaves)
			break;
	}
	uint32_t skip = unit_leaf - piece.unit_leaf;
	return (struct unit_piece){ piece.chunk, piece.first_leaf + skip, piece.n_leaves - skip, unit_leaf };
}

static enum err
add_piece(struct responder *r, struct request *q, struct unit_piece p, struct data_frame *f, uint32_t *ret_bytes,
    struct error *e)
{
	const struct snapshot_map_chunk *c = snapshot_map_chunk(q->map, p.chunk);
	struct leaf_list list;
	uint32_t len = 0, at = 0;

	enum err err = r->source->get_leaves(r->source->ctx, &q->share, &c->id, c->len, p.first_leaf, p.n_leaves,
	    q->scratch, &len, &list, e);
	if (err != OK)
		return err;
	bool is_multi = chunk_id_leaf_count(c->len) > 1;
	for (uint32_t i = 0; i < p.n_leaves; i++) {
		uint32_t n = chunk_id_leaf_len(c->len, p.first_leaf + i);
		bool with_list = is_multi && q->list_sent != p.chunk;
		frame_for(q, f, p.unit_leaf + i, n, with_list);
		if (with_list) {
			add_list(f, &list);
			q->list_sent = p.chunk;
		}
		add_leaf(f, q->scratch + at, n);
		at += n;
	}
	*ret_bytes += len;
	return OK;
}

/* The next piece is what is left of this run within one chunk. */
static enum err
step_unit(struct responder *r, struct request *q, struct error *e)
{
	struct data_frame f = { 0 };
	uint32_t bytes = 0;
	enum err err = q->map == NULL ? open_unit(r, q, e) : OK;

	while (err == OK && q->at_run < q->n_runs && bytes < STEP_BYTES && q->n_frames + 20 < STEP_FRAMES) {
		struct leaf_run run = q->runs[q->at_run];
		struct unit_piece p = piece_at(q, q->at_leaf);
		p.n_leaves = min_of(p.n_leaves, (uint32_t)run.first + run.n - q->at_leaf);
		err = add_piece(r, q, p, &f, &bytes, e);
		q->at_leaf += p.n_leaves;
		if (q->at_leaf < (uint32_t)run.first + run.n)
			continue;
		/* A frame's leaves are consecutive: a gap closes it. */
		close_frame(q, &f);
		if (++q->at_run < q->n_runs)
			q->at_leaf = q->runs[q->at_run].first;
	}
	close_frame(q, &f);
	q->done = err == OK && q->at_run == q->n_runs;
	if (q->done && q->n_frames > 0)
		q->flags[q->n_frames - 1] |= FRAME_END;
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
free_scratch(struct responder *r)
{
	for (unsigned i = 0; i < JOBS_MAX; i++) {
		if (!r->scratch_used[i]) {
			free(r->scratch[i]);
			r->scratch[i] = NULL;
		}
	}
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
refuse(struct responder *r, struct request *q, const struct error *e)
{
	(void)session_answer_error(peer_session(r->peer), q->stream, e, q->unit_number);
	if (r->policy.failed != NULL)
		r->policy.failed(r->policy.ctx, r->peer, &q->share, &q->snapshot, e);
}

static void
on_step(void *ctx, enum err err, const struct error *e)
{
	struct step *s = ctx;
	struct responder *r = s->r;
	struct request *q = s->q;

	r->scratch_used[s->slot] = false;
	free(s);
	r->jobs--;
	q->busy = false;
	if (r->closing) {
		if (r->jobs == 0) {
			while (r->first != NULL)
				remove_request(r, r->first);
			free_scratch(r);
			free(r);
		}
		return;
	}
	bool wanted = !q->cancelled && session_is_wanted(peer_session(r->peer), q->stream);
	if (wanted && err == OK)
		send_frames(r, q);
	else if (wanted)
		refuse(r, q, e);
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
	while (r->scratch_used[s->slot])
		s->slot++;
	if (r->scratch[s->slot] == NULL)
		r->scratch[s->slot] = mem_alloc(CHUNK_MAX);
	r->scratch_used[s->slot] = true;
	q->scratch = r->scratch[s->slot];
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
		(void)session_answer_error(peer_session(r->peer), q->stream, &e, q->unit_number);
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
	if (r->first == NULL)
		free_scratch(r);
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
	free_scratch(r);
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
		q->unit_size = m->unit_size;
		q->unit_number = m->unit;
		q->n_runs = m->n_runs;
		memcpy(q->runs, m->runs, sizeof q->runs);
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
