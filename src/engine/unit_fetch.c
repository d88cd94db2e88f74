/*
 * For each unit asked: one request, whose frames are checked in order (a leaf list holds for the
 * frames after it), one job at a time for a unit, several units at once.  Blocks that wait for a
 * job count as backlog; above the mark we stop reading.
 *
 * A unit may have two requests for a while: of a source that has gone, whose last frames are still
 * being checked, and of the one that was asked for the rest.
 *
 * What its owner's calls end is told by a task at the end of the turn.  A callback may stop or
 * close us: we are freed later, so it is enough to look at `over` after each.
 */
#include "engine/unit_fetch.h"

#include "base/array.h"
#include "base/mem.h"
#include "peer/lane.h"

enum { RETRY_MS = 1000 /* of an answer that does not say */ };

struct unit_request {
	struct requester requester;
	struct unit_fetch *fetch;
	struct unit_request *next;
	uint64_t source;
	struct peer *peer; /* that was asked; until it has ended */
	uint32_t stream, unit;
	struct transfer_check check;
	struct hash_id *chunks;
	uint32_t *lens;
	ARRAY(struct block *) waiting;  /* frames not yet checked */
	ARRAY(struct block *) checking; /* in the job */
	uint64_t taken;                 /* bytes of the running job */
	uint64_t owed;                  /* to the gate, if they do not come */
	uint64_t wire;                  /* ... of `check`, told */
	bool busy, ended, wrong;        /* ended: no more events */
	bool lost;
	uint32_t retry_ms;
	struct error why;
};

struct fetch_source {
	uint64_t number;
	struct peer *peer;
	bool paused; /* by us */
};

struct unit_fetch {
	struct unit_fetch_opts o;
	ARRAY(struct fetch_source) sources;
	struct unit_request *requests;
	struct timer *flush_timer;
	struct task ends; /* tells of requests that are over */
	uint64_t backlog;
	unsigned jobs; /* checks */
	bool paused;
	bool dirty; /* something was taken since the flush began */
	bool waits; /* for the time of the next */
	bool flushing;
	bool over; /* nothing is told any more */
	bool closing;
	bool posted; /* free_posted will come */
	void (*on_closed)(void *ctx);
	void *on_closed_ctx;
};

static void on_event(struct requester *r, struct peer *p, struct session_event *ev);
static enum err work_check(void *ctx, struct error *e);
static void on_checked(void *ctx, enum err r, const struct error *e);
static void on_flush_time(void *ctx);
static enum err work_flush(void *ctx, struct error *e);
static void on_flush_done(void *ctx, enum err r, const struct error *e);
static void on_ends(void *ctx);
static void free_posted(void *arg);

/* -- sources and back-pressure -- */

static struct fetch_source *
find_source(struct unit_fetch *f, uint64_t number)
{
	array_each (s, &f->sources) {
		if (s->number == number)
			return s;
	}
	return NULL;
}

static void
pause_source(struct fetch_source *s, bool paused)
{
	if (s->paused == paused)
		return;
	s->paused = paused;
	lane_pause(s->peer, paused);
}

void
unit_fetch_source_add(struct unit_fetch *f, uint64_t source, struct peer *p)
{
	struct fetch_source s = { .number = source, .peer = p };

	if (f->over || !expect(find_source(f, source) == NULL))
		return;
	pause_source(&s, f->paused);
	array_push(&f->sources, s);
}

static void
pause_all(struct unit_fetch *f, bool paused)
{
	f->paused = paused;
	array_each (s, &f->sources)
		pause_source(s, paused);
}

/* Reading stops above the mark and goes on at half of it. */
static void
settle_backlog(struct unit_fetch *f)
{
	bool paused =
	    f->paused ? f->backlog >= UNIT_FETCH_BACKLOG / 2 : f->backlog > UNIT_FETCH_BACKLOG;

	if (f->over || paused == f->paused)
		return;
	pause_all(f, paused);
	f->o.on_pause(f->o.ctx, paused);
}

/* -- one request -- */

static uint64_t
free_blocks(struct block **at, size_t n)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < n; i++) {
		bytes += at[i]->len;
		block_free(at[i]);
	}
	return bytes;
}

static void
drop_waiting(struct unit_request *q)
{
	q->fetch->backlog -= free_blocks(q->waiting.at, q->waiting.len);
	array_clear(&q->waiting);
}

static void
drop_checked(struct unit_request *q)
{
	q->fetch->backlog -= free_blocks(q->checking.at, q->checking.len);
	array_clear(&q->checking);
}

static void
request_free(struct unit_request *q)
{
	for (struct unit_request **at = &q->fetch->requests; *at != NULL; at = &(*at)->next) {
		if (*at == q) {
			*at = q->next;
			break;
		}
	}
	if (q->fetch->o.gate != NULL && !q->fetch->over)
		rate_give(q->fetch->o.gate, q->owed);
	drop_waiting(q);
	free(q->chunks);
	free(q->lens);
	free(q);
}

static void
cancel_stream(struct unit_request *q)
{
	if (!q->ended) {
		session_cancel(peer_session(q->peer), q->stream);
		peer_flush(q->peer);
	}
	q->ended = true;
}

static bool
is_over(const struct unit_request *q)
{
	return q->ended && !q->busy && q->waiting.len == 0;
}

static void
tell_end(struct unit_request *q)
{
	struct unit_fetch *f = q->fetch;
	const struct unit_fetch_end end = { q->source, q->unit, q->wrong, q->lost, q->why,
		q->retry_ms };

	request_free(q);
	f->o.on_end(f->o.ctx, &end);
}

static void
tell_if_over(struct unit_request *q)
{
	if (is_over(q))
		tell_end(q);
}

static void
on_ends(void *ctx)
{
	struct unit_fetch *f = ctx;

	for (struct unit_request *q = f->requests; q != NULL && !f->over;) {
		bool over = is_over(q);
		if (over)
			tell_end(q);
		q = over ? f->requests : q->next; /* whoever was told may have asked for more */
	}
	settle_backlog(f);
}

void
unit_fetch_source_gone(struct unit_fetch *f, uint64_t source, bool lied)
{
	struct fetch_source *s = find_source(f, source);

	if (s == NULL || f->over)
		return;
	for (struct unit_request *q = f->requests; q != NULL; q = q->next) {
		if (q->source != source)
			continue;
		cancel_stream(q);
		if (lied)
			drop_waiting(q);
	}
	pause_source(s, false);
	array_swap_out(&f->sources, (size_t)(s - f->sources.at));
	task_start(&f->ends);
}

void
unit_fetch_cancel(struct unit_fetch *f, uint64_t source, uint32_t unit)
{
	for (struct unit_request *q = f->requests; q != NULL; q = q->next) {
		if (q->unit != unit || (source != UNIT_FETCH_ANYBODY && q->source != source))
			continue;
		cancel_stream(q);
		task_start(&f->ends);
	}
}

/* -- ending -- */

static void
free_closed(struct unit_fetch *f)
{
	if (!f->closing || f->posted || f->jobs > 0 || f->flushing)
		return;
	array_clear(&f->sources);
	if (f->on_closed != NULL)
		f->on_closed(f->on_closed_ctx);
	free(f);
}

static void
free_posted(void *arg)
{
	struct unit_fetch *f = arg;

	f->posted = false;
	free_closed(f);
}

static void
cancel_all(struct unit_fetch *f)
{
	for (struct unit_request *q = f->requests, *next; q != NULL; q = next) {
		next = q->next;
		cancel_stream(q);
		drop_waiting(q);
		if (!q->busy)
			request_free(q);
	}
	pause_all(f, false);
}

void
unit_fetch_stop(struct unit_fetch *f)
{
	if (f->over)
		return;
	f->over = true;
	cancel_all(f);
	task_cancel(&f->ends);
	timer_stop(f->flush_timer);
}

void
unit_fetch_close(struct unit_fetch *f, void (*on_closed)(void *ctx), void *ctx)
{
	if (f == NULL || f->closing)
		return;
	unit_fetch_stop(f);
	f->closing = f->posted = true;
	f->on_closed = on_closed;
	f->on_closed_ctx = ctx;
	timer_close(f->flush_timer);
	loop_post(f->o.loop, free_posted, f);
}

static void
fail_sink(struct unit_fetch *f, enum err r, const struct error *e)
{
	unit_fetch_stop(f);
	f->o.on_failed(f->o.ctx, r, e);
}

/* -- checking -- */

static enum err
take_leaf(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	struct unit_request *q = ctx;
	const struct sink *sink = &q->fetch->o.sink;
	enum err r = sink->take(sink->ctx, leaf, e);

	if (r == OK)
		q->taken += leaf->bytes.len;
	/* What the sink says is about our disk, never about the bytes. */
	return r == ERR_CORRUPT || r == ERR_PROTO ? ERR_IO : r;
}

static enum err
work_check(void *ctx, struct error *e)
{
	struct unit_request *q = ctx;
	enum err r = OK;

	array_each (b, &q->checking) {
		if (r == OK)
			r = transfer_check_data(
			    &q->check, BYTES((*b)->bytes, (*b)->len), take_leaf, q, e);
	}
	return r;
}

static void
start_check(struct unit_request *q)
{
	q->busy = true;
	q->taken = 0;
	memcpy(&q->checking, &q->waiting, sizeof q->checking);
	memset(&q->waiting, 0, sizeof q->waiting);
	q->fetch->jobs++;
	job_run(q->fetch->o.loop, work_check, on_checked, q);
}

/* The sink has one job of a unit at a time, also when the unit has two requests. */
static void
work_on(struct unit_fetch *f, uint32_t unit)
{
	struct unit_request *ready = NULL;

	for (struct unit_request *q = f->requests; q != NULL; q = q->next) {
		if (q->unit != unit)
			continue;
		if (q->busy)
			return;
		if (q->waiting.len > 0)
			ready = q;
	}
	if (ready != NULL)
		start_check(ready);
}

static void
wait_for_flush(struct unit_fetch *f)
{
	if (!f->dirty || f->waits || f->flushing)
		return;
	f->waits = true;
	timer_start(f->flush_timer, UNIT_FETCH_FLUSH_MS);
}

static void
tell_got(struct unit_request *q)
{
	struct unit_fetch *f = q->fetch;

	q->owed -= min_of(q->owed, q->taken);
	if (q->taken == 0)
		return;
	f->dirty = true;
	wait_for_flush(f);
	uint64_t wire = q->check.wire - q->wire;
	q->wire = q->check.wire;
	f->o.on_got(f->o.ctx, q->source, q->unit, (uint32_t)q->taken, (uint32_t)wire);
}

/* What comes behind wrong bytes may be right, and is not looked at. */
static void
end_wrong(struct unit_request *q)
{
	cancel_stream(q);
	drop_waiting(q);
	q->wrong = true;
	tell_end(q);
}

static void
tell_checked(struct unit_request *q, enum err r, const struct error *e)
{
	struct unit_fetch *f = q->fetch;

	tell_got(q);
	if (f->over)
		return; /* and Q is gone */
	if (r == ERR_CORRUPT || r == ERR_PROTO)
		end_wrong(q);
	else if (r != OK)
		fail_sink(f, r, e);
	else
		tell_if_over(q);
}

static void
on_checked(void *ctx, enum err r, const struct error *e)
{
	struct unit_request *q = ctx;
	struct unit_fetch *f = q->fetch;
	uint32_t unit = q->unit;

	f->jobs--;
	drop_checked(q);
	q->busy = false;
	if (f->over) {
		request_free(q);
		free_closed(f);
		return;
	}
	tell_checked(q, r, e);
	if (f->over)
		return;
	work_on(f, unit);
	settle_backlog(f);
}

/* -- events of a request -- */

/* What a source says is about itself: our disk is not full because its disk is. */
static enum err
meaning(enum err said)
{
	return said == ERR_NOSPACE || said == ERR_CANCELED ? ERR_IO
	       : said == ERR_OFFLINE                       ? ERR_AGAIN
							   : said;
}

static void
note_refusal(struct unit_request *q, const struct msg_error *m)
{
	(void)fail(&q->why, meaning((enum err)m->code), "%.*s", (int)m->text.len,
	    (const char *)m->text.at);
	q->retry_ms = m->retry_ms > 0 ? m->retry_ms : RETRY_MS;
}

static void
on_event(struct requester *r, struct peer *p, struct session_event *ev)
{
	struct unit_request *q = (struct unit_request *)r;
	struct unit_fetch *f = q->fetch;
	(void)p;

	if (ev->kind == SESSION_EV_RAW) {
		array_push(&q->waiting, ev->block);
		f->backlog += ev->block->len;
		q->ended |= ev->end;
		work_on(f, q->unit);
		settle_backlog(f);
		return;
	}
	if (ev->kind == SESSION_EV_ANSWER && ev->message.type == FRAME_ERROR)
		note_refusal(q, &ev->message.error);
	q->lost = ev->kind == SESSION_EV_LOST;
	q->ended = true;
	tell_if_over(q);
}

/* -- asking -- */

static void
copy_unit(struct unit_request *q, const struct snapshot_map *map)
{
	struct unit u = snapshot_map_unit(map, q->unit);
	struct unit_pieces p = unit_pieces_of(u);
	uint32_t n = 0, chunk;

	q->chunks = mem_array(struct hash_id, u.n_leaves);
	q->lens = mem_array(uint32_t, u.n_leaves);
	while (unit_pieces_more(&p, &chunk)) {
		const struct snapshot_map_chunk *c = snapshot_map_chunk(map, chunk);
		q->chunks[n] = c->id;
		q->lens[n++] = c->len;
		unit_pieces_next(&p, c->len);
	}
	transfer_check_init(&q->check, &u, q->chunks, q->lens, n);
}

static bool
may_ask(struct unit_fetch *f)
{
	return f->o.gate == NULL || rate_has(f->o.gate, loop_now_ms(f->o.loop));
}

/* A leaf may have fewer bytes than the most, but no unit has more than all. */
static void
take_from_gate(struct unit_request *q, const struct leaf_run *runs, uint32_t n_runs)
{
	struct unit_fetch *f = q->fetch;
	uint64_t bytes = 0;

	if (f->o.gate == NULL)
		return;
	for (uint32_t i = 0; i < n_runs; i++)
		bytes += (uint64_t)runs[i].n * CHUNK_LEAF;
	q->owed = min_of(bytes, (uint64_t)snapshot_map_unit_size(f->o.map));
	rate_take(f->o.gate, q->owed);
}

bool
unit_fetch_ask(struct unit_fetch *f, uint64_t source, uint32_t unit, const struct leaf_run *runs,
    uint32_t n_runs)
{
	struct fetch_source *s = find_source(f, source);
	struct message m = { .type = FRAME_GET_UNITS,
		.get_units = { .share = f->o.share,
		    .snapshot = f->o.snapshot,
		    .unit_size = snapshot_map_unit_size(f->o.map),
		    .unit = unit,
		    .codecs = GET_UNITS_ZSTD,
		    .n_runs = n_runs } };
	struct unit_request *q;

	if (s == NULL || f->over || !may_ask(f))
		return false;
	memcpy(m.get_units.runs, runs, n_runs * sizeof runs[0]);
	q = mem_new(struct unit_request);
	*q = (struct unit_request){
		.requester.on_event = on_event, .fetch = f, .source = source, .unit = unit
	};
	q->peer = lane_lightest(s->peer);
	if (session_request(peer_session(q->peer), &m, &q->requester, &q->stream, NULL) != OK) {
		free(q);
		return false;
	}
	copy_unit(q, f->o.map);
	q->next = f->requests;
	f->requests = q;
	take_from_gate(q, runs, n_runs);
	peer_flush(q->peer);
	return true;
}

/* -- flushing -- */

static enum err
work_flush(void *ctx, struct error *e)
{
	struct unit_fetch *f = ctx;
	enum err r = f->o.sink.flush(f->o.sink.ctx, e);

	snapshot_map_trim(f->o.map); /* what was asked for is not looked at again soon */
	return r;
}

static void
on_flush_done(void *ctx, enum err r, const struct error *e)
{
	struct unit_fetch *f = ctx;

	f->flushing = false;
	if (f->over) {
		free_closed(f);
		return;
	}
	wait_for_flush(f);
	if (r != OK)
		fail_sink(f, r, e);
	else
		f->o.on_flushed(f->o.ctx);
}

void
unit_fetch_flush(struct unit_fetch *f)
{
	if (f->flushing || f->over)
		return;
	f->flushing = true;
	f->dirty = f->waits = false;
	timer_stop(f->flush_timer);
	job_run(f->o.loop, work_flush, on_flush_done, f);
}

static void
on_flush_time(void *ctx)
{
	unit_fetch_flush(ctx);
}

struct unit_fetch *
unit_fetch_new(const struct unit_fetch_opts *o)
{
	struct unit_fetch *f = mem_new(struct unit_fetch);

	f->o = *o;
	f->flush_timer = timer_new(o->loop, on_flush_time, f);
	task_init(&f->ends, o->loop, on_ends, f);
	return f;
}

bool
unit_fetch_is_idle(const struct unit_fetch *f)
{
	return f->requests == NULL && f->jobs == 0;
}

bool
unit_fetch_is_dirty(const struct unit_fetch *f)
{
	return f->dirty;
}

bool
unit_fetch_is_paused(const struct unit_fetch *f)
{
	return f->paused;
}
