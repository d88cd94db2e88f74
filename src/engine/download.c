/*
 * For each unit asked: one request, whose frames are checked in order (a leaf list holds for the
 * frames after it), one job at a time for a unit, several units at once.  Blocks that wait for a
 * job count as backlog; above the mark we stop reading.
 *
 * A unit may have two requests for a while: of a source that has gone, whose last frames are still
 * being checked, and of the one that was asked for the rest.
 */
#include "engine/download.h"

#include "base/array.h"
#include "base/mem.h"

enum {
	TICK_MS = 250,
	RATE_TICKS = 4,
	SOURCES_MAX = 256,
	RETRY_MS = 1000, /* of an answer that does not say */
};

struct unit_request {
	struct requester requester;
	struct download *download;
	struct unit_request *next;
	uint64_t source;
	uint32_t stream, unit;
	struct transfer_check check;
	struct hash_id *chunks;
	uint32_t *lens;
	ARRAY(struct block *) waiting;  /* frames not yet checked */
	ARRAY(struct block *) checking; /* in the job */
	uint64_t taken;                 /* bytes of the running job */
	bool busy, ended, dead; /* ended: no more events; dead: the download no longer cares */
	uint32_t retry_ms;
};

struct source_state {
	uint64_t number;   /* of its connection, for transfer */
	struct peer *peer; /* NULL: gone */
	struct device_id device;
	uint64_t bytes, rate, at_tick;
	bool paused;  /* its connection, by us */
	bool refused; /* its last answer was an error that time does not mend */
	bool liar;    /* dropped for good: also when it connects again */
};

struct download {
	struct download_opts o;
	struct transfer *transfer;
	ARRAY(struct source_state) sources;
	uint64_t next_source;
	struct unit_request *requests;
	struct timer *tick, *flush_timer, *wake;
	uint64_t backlog, bytes, rate, at_tick, ticks;
	uint64_t resumed_ms; /* reading, after it was paused */
	unsigned jobs;
	bool paused, dirty, flushing, over, closing;
	void (*on_closed)(void *ctx);
	void *on_closed_ctx;
};

static void pump(struct download *d);
static void drop_blocks(struct unit_request *q);
static void cancel_stream(struct unit_request *q);
static void end_if_over(struct unit_request *q);
static void on_event(struct requester *r, struct peer *p, struct session_event *ev);
static enum err work_unit(void *ctx, struct error *e);
static void on_unit(void *ctx, enum err r, const struct error *e);
static void on_tick(void *ctx);
static void on_wake(void *ctx);
static void on_flush_time(void *ctx);
static void start_flush(struct download *d);

static uint64_t
now_ms(const struct download *d)
{
	return d->o.now_ms != NULL ? d->o.now_ms(d->o.ctx) : loop_now_ms(d->o.loop);
}

/* -- sources -- */

static struct source_state *
source_of(struct download *d, uint64_t number)
{
	array_each (s, &d->sources) {
		if (s->number == number)
			return s;
	}
	return NULL;
}

/* Could somebody do better than those who have refused, lied or gone? */
static bool
has_hope(const struct download *d)
{
	array_each (s, &d->sources) {
		if (s->peer != NULL && !s->refused)
			return true;
	}
	return false;
}

static void
pause_source(struct source_state *s, bool paused)
{
	if (s->peer == NULL || s->paused == paused)
		return;
	s->paused = paused;
	peer_pause(s->peer, paused);
}

/* The state of a device that was here before, or a new one; NULL: it is not wanted. */
static struct source_state *
state_for(struct download *d, struct peer *p)
{
	const struct device_id *device = peer_device(p);
	struct source_state *mine = NULL;

	array_each (s, &d->sources) {
		if (s->peer == p || (s->liar && device_id_equal(&s->device, device)))
			return NULL;
		if (s->peer == NULL && device_id_equal(&s->device, device))
			mine = s; /* back again: its statistics go on */
	}
	if (mine != NULL || d->sources.len >= SOURCES_MAX)
		return mine;
	array_push(&d->sources, ((struct source_state){ .device = *device }));
	return &d->sources.at[d->sources.len - 1];
}

void
download_peer_add(struct download *d, struct peer *p)
{
	struct source_state *s = state_for(d, p);

	if (s == NULL || d->over || d->closing)
		return;
	s->number = ++d->next_source;
	s->peer = p;
	s->refused = false;
	transfer_source_add(d->transfer, s->number, now_ms(d));
	pause_source(s, d->paused);
	pump(d);
}

/* Whatever it still sends is for nobody.  What has come and is not yet checked may do, unless it
 * LIED. */
static void
drop_source(struct download *d, struct source_state *s, bool lied)
{
	for (struct unit_request *q = d->requests, *next; q != NULL; q = next) {
		next = q->next;
		if (q->source != s->number)
			continue;
		cancel_stream(q);
		if (lied)
			drop_blocks(q);
		end_if_over(q);
	}
	pause_source(s, false);
	s->peer = NULL;
	s->rate = 0;
	s->liar = lied;
	transfer_source_gone(d->transfer, s->number);
}

void
download_peer_gone(struct download *d, struct peer *p)
{
	array_each (s, &d->sources) {
		if (s->peer == p)
			drop_source(d, s, false);
	}
	pump(d);
}

void
download_peers_gone(struct download *d)
{
	array_each (s, &d->sources) {
		if (s->peer != NULL)
			drop_source(d, s, false);
	}
	pump(d);
}

/* -- back-pressure -- */

static void
pause_reading(struct download *d, bool paused)
{
	if (d->paused == paused)
		return;
	d->paused = paused;
	d->resumed_ms = now_ms(d);
	array_each (s, &d->sources)
		pause_source(s, paused);
}

static void
add_backlog(struct download *d, uint64_t n)
{
	d->backlog += n;
	if (d->backlog > DOWNLOAD_BACKLOG)
		pause_reading(d, true);
}

static void
drop_backlog(struct download *d, uint64_t n)
{
	d->backlog -= n;
	if (d->backlog < DOWNLOAD_BACKLOG / 2)
		pause_reading(d, false);
}

/* -- one unit -- */

static void
drop_blocks(struct unit_request *q)
{
	uint64_t n = 0;

	array_each (b, &q->waiting) {
		n += (*b)->len;
		block_free(*b);
	}
	array_clear(&q->waiting);
	drop_backlog(q->download, n);
}

static void
unit_free(struct unit_request *q)
{
	struct download *d = q->download;

	for (struct unit_request **at = &d->requests; *at != NULL; at = &(*at)->next) {
		if (*at == q) {
			*at = q->next;
			break;
		}
	}
	drop_blocks(q);
	free(q->chunks);
	free(q->lens);
	free(q);
}

static enum err
take_leaf(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	struct unit_request *q = ctx;
	const struct sink *sink = &q->download->o.sink;
	enum err r = sink->take(sink->ctx, leaf, e);

	if (r == OK)
		q->taken += leaf->bytes.len;
	/* What the sink says is about our disk, never about the bytes. */
	return r == ERR_CORRUPT || r == ERR_PROTO ? ERR_IO : r;
}

static enum err
work_unit(void *ctx, struct error *e)
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
start_unit_job(struct unit_request *q)
{
	q->busy = true;
	q->taken = 0;
	memcpy(&q->checking, &q->waiting, sizeof q->checking);
	memset(&q->waiting, 0, sizeof q->waiting);
	q->download->jobs++;
	job_run(q->download->o.loop, work_unit, on_unit, q);
}

/* The sink has one job of a unit at a time, also when the unit has two requests. */
static void
work_on(struct download *d, uint32_t unit)
{
	struct unit_request *ready = NULL;

	for (struct unit_request *q = d->requests; q != NULL; q = q->next) {
		if (q->unit != unit)
			continue;
		if (q->busy)
			return;
		if (q->waiting.len > 0)
			ready = q;
	}
	if (ready != NULL)
		start_unit_job(ready);
}

static void
cancel_stream(struct unit_request *q)
{
	struct source_state *s = source_of(q->download, q->source);

	if (!q->ended && s != NULL && s->peer != NULL) {
		session_cancel(peer_session(s->peer), q->stream);
		peer_flush(s->peer);
	}
	q->ended = true;
}

/* The unit's request is over: what is still missing is asked for again. */
static void
end_unit(struct unit_request *q)
{
	struct download *d = q->download;
	uint64_t source = q->source;
	uint32_t unit = q->unit, retry_ms = q->retry_ms;

	unit_free(q);
	transfer_ended(d->transfer, source, unit, retry_ms, now_ms(d));
}

static void
end_if_over(struct unit_request *q)
{
	if (q->ended && !q->busy && q->waiting.len == 0)
		end_unit(q);
}

/* -- ending -- */

static void
free_closed(struct download *d)
{
	if (!d->closing || d->jobs > 0 || d->flushing)
		return;
	while (d->requests != NULL)
		unit_free(d->requests);
	transfer_free(d->transfer);
	array_clear(&d->sources);
	if (d->on_closed != NULL)
		d->on_closed(d->on_closed_ctx);
	free(d);
}

static void
free_posted(void *arg)
{
	struct download *d = arg;

	d->jobs--;
	free_closed(d);
}

static void
cancel_all(struct download *d)
{
	for (struct unit_request *q = d->requests, *next; q != NULL; q = next) {
		next = q->next;
		cancel_stream(q);
		q->dead = true;
		drop_blocks(q);
		if (!q->busy)
			unit_free(q);
	}
	pause_reading(d, false);
}

void
download_close(struct download *d, void (*on_closed)(void *ctx), void *ctx)
{
	if (d == NULL || d->closing)
		return;
	d->closing = true;
	d->on_closed = on_closed;
	d->on_closed_ctx = ctx;
	cancel_all(d);
	timer_close(d->tick);
	timer_close(d->flush_timer);
	timer_close(d->wake);
	d->jobs++;
	loop_post(d->o.loop, free_posted, d);
}

static void
finish(struct download *d, enum err r, const struct error *e)
{
	if (d->over)
		return;
	d->over = true;
	cancel_all(d);
	timer_stop(d->tick);
	timer_stop(d->flush_timer);
	timer_stop(d->wake);
	d->o.on_done(d->o.ctx, r, e);
}

/* Nobody is left who could do better than what WHY says. */
static void
finish_hopeless(struct download *d, const struct error *why)
{
	if (!has_hope(d))
		finish(d, why->code, why);
}

/* -- after a job -- */

static void
on_wrong_bytes(struct unit_request *q)
{
	struct download *d = q->download;
	struct source_state *s = source_of(d, q->source);
	bool enough = transfer_charge(d->transfer, q->source);
	struct peer *p = s != NULL ? s->peer : NULL;
	uint32_t unit = q->unit;
	char id[DEVICE_ID_SHORT];
	struct error e;

	cancel_stream(q);
	drop_blocks(q); /* they may be right, but not after what was wrong */
	end_unit(q);
	if (!enough || p == NULL)
		return;
	drop_source(d, s, true);
	if (d->o.on_liar != NULL)
		d->o.on_liar(d->o.ctx, p, unit);
	(void)fail(&e, ERR_CORRUPT, "device %s sends other bytes than the snapshot has",
	    device_id_short(&s->device, id));
	finish_hopeless(d, &e);
}

static void
fail_sink(struct unit_request *q, enum err r, const struct error *e)
{
	struct download *d = q->download;

	cancel_stream(q);
	unit_free(q);
	finish(d, r, e);
}

static void
count(struct unit_request *q)
{
	struct download *d = q->download;
	struct source_state *s = source_of(d, q->source);

	d->bytes += q->taken;
	d->dirty |= q->taken > 0;
	if (q->taken == 0)
		return;
	if (s != NULL) {
		s->bytes += q->taken;
		s->refused = false;
	}
	transfer_took(d->transfer, q->source, q->unit, (uint32_t)q->taken, now_ms(d));
}

static void
free_checked(struct unit_request *q)
{
	uint64_t n = 0;

	array_each (b, &q->checking) {
		n += (*b)->len;
		block_free(*b);
	}
	array_clear(&q->checking);
	drop_backlog(q->download, n);
}

static void
on_unit(void *ctx, enum err r, const struct error *e)
{
	struct unit_request *q = ctx;
	struct download *d = q->download;
	uint32_t unit = q->unit;

	d->jobs--;
	q->busy = false;
	free_checked(q);
	if (q->dead || d->over || d->closing) {
		unit_free(q);
		free_closed(d);
		return;
	}
	count(q);
	if (r == ERR_CORRUPT || r == ERR_PROTO)
		on_wrong_bytes(q);
	else if (r != OK)
		fail_sink(q, r, e);
	else
		end_if_over(q);
	if (d->over)
		return;
	work_on(d, unit);
	pump(d);
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
on_refused(struct unit_request *q, const struct msg_error *m)
{
	struct download *d = q->download;
	struct source_state *s = source_of(d, q->source);
	struct error e;

	(void)fail(
	    &e, meaning((enum err)m->code), "%.*s", (int)m->text.len, (const char *)m->text.at);
	q->retry_ms = m->retry_ms > 0 ? m->retry_ms : RETRY_MS;
	q->ended = true;
	end_if_over(q);
	if (e.code == ERR_AGAIN || s == NULL)
		return;
	s->refused = true;
	finish_hopeless(d, &e);
}

static void
on_event(struct requester *r, struct peer *p, struct session_event *ev)
{
	struct unit_request *q = (struct unit_request *)r;
	struct download *d = q->download;
	(void)p;

	if (ev->kind == SESSION_EV_RAW) {
		array_push(&q->waiting, ev->block);
		q->ended |= ev->end;
		add_backlog(d, ev->block->len);
		work_on(d, q->unit);
	} else if (ev->kind == SESSION_EV_ANSWER && ev->message.type == FRAME_ERROR) {
		on_refused(q, &ev->message.error);
	} else {
		q->ended = true;
		end_if_over(q);
	}
	pump(d);
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

static void
ask(struct download *d, const struct transfer_ask *a)
{
	struct source_state *s = source_of(d, a->source);
	struct message m = { .type = FRAME_GET_UNITS };
	struct unit_request *q = mem_new(struct unit_request);

	q->requester.on_event = on_event;
	q->download = d;
	q->source = a->source;
	q->unit = a->unit;
	m.get_units = (struct msg_get_units){
		.share = d->o.share,
		.snapshot = d->o.snapshot,
		.unit_size = snapshot_map_unit_size(d->o.map),
		.unit = a->unit,
		.n_runs = a->n_runs,
	};
	memcpy(m.get_units.runs, a->runs, a->n_runs * sizeof a->runs[0]);
	q->next = d->requests;
	d->requests = q;
	if (s == NULL || s->peer == NULL ||
	    session_request(peer_session(s->peer), &m, &q->requester, &q->stream, NULL) != OK) {
		q->ended = true; /* it is ending, or all its streams are taken: it rests */
		end_unit(q);
		return;
	}
	copy_unit(q, d->o.map);
	peer_flush(s->peer);
}

static void
set_wake(struct download *d)
{
	uint64_t now = now_ms(d), at = transfer_wakes(d->transfer);

	if (at != UINT64_MAX)
		timer_start(d->wake, at > now ? at - now : 0);
}

static bool
is_all_here(const struct download *d)
{
	return transfer_is_done(d->transfer) && d->jobs == 0 && d->requests == NULL;
}

static void
pump(struct download *d)
{
	struct transfer_ask a;

	if (d->over || d->closing)
		return;
	while (!d->paused && transfer_next(d->transfer, now_ms(d), &a))
		ask(d, &a);
	set_wake(d);
	if (is_all_here(d))
		start_flush(d);
}

static void
on_wake(void *ctx)
{
	pump(ctx);
}

/* -- flushing -- */

static enum err
work_flush(void *ctx, struct error *e)
{
	struct download *d = ctx;
	enum err r = d->o.sink.flush(d->o.sink.ctx, e);

	snapshot_map_trim(d->o.map); /* what was asked for is not looked at again soon */
	return r;
}

static void
on_flushed(void *ctx, enum err r, const struct error *e)
{
	struct download *d = ctx;

	d->flushing = false;
	if (d->closing || d->over) {
		free_closed(d);
		return;
	}
	if (r != OK)
		finish(d, r, e);
	else if (!d->dirty && is_all_here(d))
		finish(d, OK, NULL);
	else
		pump(d);
}

static void
start_flush(struct download *d)
{
	if (d->flushing)
		return;
	d->flushing = true;
	d->dirty = false;
	job_run(d->o.loop, work_flush, on_flushed, d);
}

static void
on_flush_time(void *ctx)
{
	struct download *d = ctx;

	if (d->dirty)
		start_flush(d);
	timer_start(d->flush_timer, DOWNLOAD_FLUSH_MS);
}

/* -- time -- */

static void
count_rates(struct download *d)
{
	if (++d->ticks % RATE_TICKS != 0)
		return;
	/* One second has gone; half of the old rate smooths the new one. */
	d->rate = (d->rate + (d->bytes - d->at_tick)) / 2;
	d->at_tick = d->bytes;
	array_each (s, &d->sources) {
		s->rate = (s->rate + (s->bytes - s->at_tick)) / 2;
		s->at_tick = s->bytes;
	}
}

/* While we do not read, nobody can send: that is no stall, and what then was late has its time
 * again. */
static void
cancel_stalled(struct download *d)
{
	uint64_t source, now = now_ms(d);
	uint32_t unit;

	if (d->paused || now < d->resumed_ms + LIMIT_UNIT_STALL_MS)
		return;
	while (transfer_stalled(d->transfer, now, &source, &unit)) {
		for (struct unit_request *q = d->requests; q != NULL; q = q->next) {
			if (q->unit != unit || q->source != source)
				continue;
			cancel_stream(q);
			end_if_over(q);
			break;
		}
	}
}

static void
on_tick(void *ctx)
{
	struct download *d = ctx;

	timer_start(d->tick, TICK_MS);
	count_rates(d);
	cancel_stalled(d);
	if (d->o.on_progress != NULL)
		d->o.on_progress(d->o.ctx);
	pump(d);
}

struct download *
download_start(const struct download_opts *o)
{
	struct download *d = mem_new(struct download);
	const struct transfer_opts t = { .n_units = snapshot_map_units(o->map),
		.missing = o->sink.missing,
		.ctx = o->sink.ctx };

	d->o = *o;
	d->transfer = transfer_new(&t);
	d->tick = timer_new(o->loop, on_tick, d);
	d->flush_timer = timer_new(o->loop, on_flush_time, d);
	d->wake = timer_new(o->loop, on_wake, d);
	timer_start(d->tick, 0); /* also finishes what has nothing to fetch, not before we return */
	timer_start(d->flush_timer, DOWNLOAD_FLUSH_MS);
	return d;
}

uint64_t
download_bytes(const struct download *d)
{
	return d->bytes;
}

uint64_t
download_rate(const struct download *d)
{
	return d->rate;
}

size_t
download_sources(const struct download *d, struct download_source *out, size_t max)
{
	size_t n = 0;

	array_each (s, &d->sources) {
		if (n < max)
			out[n++] = (struct download_source){ s->device, s->bytes, s->rate,
				s->peer != NULL };
	}
	return n;
}
