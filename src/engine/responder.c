/*
 * Requests wait in the order they came.  Up to RESPONDER_ACTIVE_MAX of them are active: being read
 * in a job, or holding what was read and waits for room in the session.  A job, a step, makes the
 * next RESPONDER_STEP_BYTES of frames of one request, so that memory is bounded and a cancelled
 * stream ends soon.  How much is read at once (a packed chunk is unpacked whole) and how much is
 * queued are two things.
 *
 * A request whose last frame is with the session waits in `leaving` until the connection has it.
 */
#include "engine/responder.h"

#include "base/mem.h"
#include "engine/responder_private.h"

struct responder {
	struct loop *loop;
	struct peer *peer;
	const struct source *source;
	struct responder_policy policy;
	struct responder_request *first, **last;
	struct responder_request *leaving, **leaving_last;
	unsigned jobs;
	bool blocked;       /* as was told */
	struct timer *held; /* until the next that is held back may go; NULL: none ever was */
	struct shrink shrink;
	struct shrink_line line; /* as of this look */
	bool closing;
	void (*on_closed)(void *ctx);
	void *on_closed_ctx;
};

static void pump(struct responder *r, bool writable);
static void on_step(void *ctx, enum err r, const struct error *e);

/* -- the queue: on the loop -- */

static void
drop_frames(struct responder_request *q)
{
	while (q->at_frame < q->n_frames)
		block_free(q->frames[q->at_frame++]);
}

static void
request_free(struct responder *r, struct responder_request *q)
{
	if (q->map != NULL)
		r->source->put_map(r->source->ctx, q->map);
	drop_frames(q);
	free(q->ids);
	free(q->lens);
	free(q);
}

static bool
is_active(const struct responder_request *q)
{
	return q->busy || q->at_frame < q->n_frames;
}

static void
unlink_request(
    struct responder_request **first, struct responder_request ***last, struct responder_request *q)
{
	for (struct responder_request **at = first; *at != NULL; at = &(*at)->next) {
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
link_request(struct responder_request ***last, struct responder_request *q)
{
	**last = q;
	*last = &q->next;
}

static void
tell_over(struct responder *r, struct responder_request *q, bool whole)
{
	q->sent.whole = whole;
	if (q->begun && r->policy.over != NULL && !r->closing)
		r->policy.over(r->policy.ctx, r->peer, &q->what, &q->sent);
}

/* It ends here, in the middle. */
static void
end_request(struct responder *r, struct responder_request *q)
{
	unlink_request(&r->first, &r->last, q);
	tell_over(r, q, false);
	request_free(r, q);
}

static enum err
judge(struct responder *r, const struct responder_request *q, struct error *e)
{
	return r->policy.allow(r->policy.ctx, r->peer, &q->what, e);
}

static void
refuse(struct responder *r, struct responder_request *q, const struct error *why)
{
	(void)session_answer_error(peer_session(r->peer), q->stream, why, q->what.unit);
}

static void
tell_damage(struct responder *r, struct responder_request *q)
{
	if (r->policy.failed != NULL && q->damage.code != OK)
		r->policy.failed(r->policy.ctx, r->peer, &q->what, &q->damage);
	q->damage.code = OK;
}

static void
free_all(struct responder *r, struct responder_request *first)
{
	for (struct responder_request *q = first, *next; q != NULL; q = next) {
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
send_frame(struct responder *r, struct responder_request *q)
{
	uint32_t i = q->at_frame++;
	uint64_t bytes = q->frames[i]->len;

	q->last = session_send_raw(peer_session(r->peer),
	    q->what.type == FRAME_GET_NODES ? FRAME_NODE : FRAME_DATA, q->flags[i], q->stream,
	    q->frames[i]);
	q->sent.bytes += bytes + q->saved[i];
	q->sent.wire += bytes;
	if (r->policy.sent != NULL)
		r->policy.sent(r->policy.ctx, r->peer, &q->what.share, bytes);
}

static void
on_held(void *ctx)
{
	pump(ctx, false);
}

/* The owner holds back what is asked in Q: looked at again when it may go on. */
static bool
is_held(struct responder *r, const struct responder_request *q, uint64_t bytes)
{
	uint64_t ms = 0;

	if (r->policy.hold_ms != NULL && q->what.type == FRAME_GET_UNITS)
		ms = r->policy.hold_ms(r->policy.ctx, r->peer, &q->what, bytes);
	if (ms == 0)
		return false;
	if (r->held == NULL)
		r->held = timer_new(r->loop, on_held, r);
	timer_start(r->held, ms);
	return true;
}

/* Sends what of Q's frames there is room for.  Rights are looked at again before what was read goes
 * out: they may have ended meanwhile. */
static void
send_some(struct responder *r, struct responder_request *q)
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
	while (q->at_frame < q->n_frames && peer_has_room(r->peer) &&
	       !is_held(r, q, q->frames[q->at_frame]->len))
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

	for (struct responder_request *q = r->first, *next; q != NULL; q = next) {
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
	struct responder_request *q;

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

/* -- packing -- */

/* WRITABLE: the connection says so, having held what it was given up to now. */
static void
look_at_line(struct responder *r, bool writable)
{
	struct session *s = peer_session(r->peer);

	r->line.now_ms = loop_now_ms(r->loop);
	r->line.out = session_bytes_out(s);
	r->line.was_held = writable || session_queued(s) > 0;
}

/* What was just sent is given to the connection at the end of the turn. */
static void
note_line(struct responder *r)
{
	r->line.busy = r->first != NULL || r->leaving != NULL;
	r->line.is_held = session_queued(peer_session(r->peer)) > 0;
	shrink_line(&r->shrink, &r->line);
}

static bool
is_to_pack(struct responder *r, const struct responder_request *q)
{
	return q->what.type == FRAME_GET_UNITS && (q->ask.codecs & GET_UNITS_ZSTD) != 0 &&
	       shrink_wants(&r->shrink, RESPONDER_STEP_BYTES);
}

/* -- reading -- */

static void
start_step(struct responder *r, struct responder_request *q)
{
	struct responder_read *st = mem_new(struct responder_read);

	*st = (struct responder_read){
		.owner = r, .source = r->source, .q = q, .packs = is_to_pack(r, q)
	};
	q->n_frames = q->at_frame = 0;
	q->busy = true;
	r->jobs++;
	job_run(r->loop, responder_read_step, on_step, st);
}

/* The first request that is not active.  Rights are looked at before every step, so that taking
 * them away ends what is under way. */
static struct responder_request *
next_request(struct responder *r)
{
	struct error e;

	for (struct responder_request *q = r->first, *next; q != NULL; q = next) {
		next = q->next;
		if (is_active(q) || is_held(r, q, 0))
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

	for (const struct responder_request *q = r->first; q != NULL; q = q->next)
		active += is_active(q);
	for (; active < RESPONDER_ACTIVE_MAX; active++) {
		struct responder_request *q = next_request(r);
		if (q == NULL)
			break;
		start_step(r, q);
	}
}

static void
pump(struct responder *r, bool writable)
{
	if (r->closing)
		return;
	look_at_line(r, writable);
	if (peer_has_room(r->peer))
		tell_blocked(r, false);
	bool waiting = send_all(r);
	read_ahead(r);
	tell_gone(r);
	if (waiting && peer_is_stuck(r->peer))
		tell_blocked(r, true);
	note_line(r);
	peer_flush(r->peer);
}

static void
finish_step(struct responder *r, struct responder_request *q, enum err err, const struct error *e)
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
	struct responder_read *st = ctx;
	struct responder *r = st->owner;
	struct responder_request *q = st->q;

	if (st->packed.bytes > 0)
		shrink_packed(&r->shrink, &st->packed);
	free(st);
	r->jobs--;
	q->busy = false;
	if (r->closing) {
		free_closed(r);
		return;
	}
	finish_step(r, q, err, e);
	pump(r, false);
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
	timer_close(r->held);
	r->held = NULL;
	r->on_closed = on_closed;
	r->on_closed_ctx = ctx;
	r->jobs++;
	loop_post(r->loop, close_posted, r);
}

static void
copy_ids(struct responder_request *q, const struct msg_get_nodes *m)
{
	bool ok = true;

	q->kind = (enum hash_kind)m->kind;
	q->n_ids = (uint32_t)(m->ids.len / HASH_ID_BYTES);
	q->ids = mem_array(struct hash_id, q->n_ids);
	for (uint32_t i = 0; i < q->n_ids; i++)
		q->ids[i] = message_node_id(m, i, &ok);
}

static struct responder_request *
request_new(const struct session_event *ev)
{
	struct responder_request *q = mem_new(struct responder_request);

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
begin(struct responder *r, struct responder_request *q, struct error *e)
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
	struct responder_request *q = request_new(ev);
	struct error no;

	if (begin(r, q, &no) == OK) {
		link_request(&r->last, q);
	} else {
		refuse(r, q, &no);
		request_free(r, q);
	}
	pump(r, false);
}

/* At once, also when there is no room to answer others: who asks and cancels on and on, and never
 * reads, must not fill our memory with what it no longer wants. */
void
responder_cancel(struct responder *r, uint32_t stream)
{
	for (struct responder_request *q = r->first; q != NULL; q = q->next) {
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

	for (const struct responder_request *q = r->first; q != NULL; q = q->next)
		n++;
	return n;
}

void
responder_writable(struct responder *r)
{
	pump(r, true);
}
