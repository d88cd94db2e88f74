#include "engine/download.h"

#include "base/array.h"
#include "base/mem.h"
#include "base/speed.h"

enum { TICK_MS = 250, SOURCES_MAX = 256 };

struct source_state {
	uint64_t number;   /* of its connection, for transfer and unit_fetch */
	struct peer *peer; /* NULL: gone */
	struct device_id device;
	struct speed in;
	uint64_t wire;
	bool refused; /* its last answer was an error that time does not mend */
	bool liar;    /* dropped for good: also when it connects again */
};

struct download {
	struct download_opts o;
	struct transfer *transfer;
	struct unit_fetch *fetch;
	ARRAY(struct source_state) sources;
	uint64_t next_source;
	struct timer *tick, *wake;
	struct speed in;
	uint64_t wire;
	uint64_t resumed_ms; /* reading, after it was paused */
	bool over, closing, fetch_closed;
	void (*on_closed)(void *ctx);
	void *on_closed_ctx;
};

static void pump(struct download *d);
static void on_tick(void *ctx);
static void on_wake(void *ctx);
static void on_fetch_closed(void *ctx);

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
	unit_fetch_source_add(d->fetch, s->number, p);
	pump(d);
}

static void
drop_source(struct download *d, struct source_state *s, bool lied)
{
	unit_fetch_source_gone(d->fetch, s->number, lied);
	s->peer = NULL;
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

/* -- ending -- */

static void
free_closed(struct download *d)
{
	if (!d->closing || !d->fetch_closed)
		return;
	transfer_free(d->transfer);
	array_clear(&d->sources);
	if (d->on_closed != NULL)
		d->on_closed(d->on_closed_ctx);
	free(d);
}

static void
on_fetch_closed(void *ctx)
{
	struct download *d = ctx;

	d->fetch_closed = true;
	free_closed(d);
}

void
download_close(struct download *d, void (*on_closed)(void *ctx), void *ctx)
{
	if (d == NULL || d->closing)
		return;
	d->closing = true;
	d->on_closed = on_closed;
	d->on_closed_ctx = ctx;
	timer_close(d->tick);
	timer_close(d->wake);
	unit_fetch_close(d->fetch, on_fetch_closed, d);
}

static void
finish(struct download *d, enum err r, const struct error *e)
{
	if (d->over)
		return;
	d->over = true;
	timer_stop(d->tick);
	timer_stop(d->wake);
	unit_fetch_stop(d->fetch);
	d->o.on_done(d->o.ctx, r, e);
}

/* Nobody is left who could do better than what WHY says. */
static void
finish_hopeless(struct download *d, const struct error *why)
{
	if (!has_hope(d))
		finish(d, why->code, why);
}

/* -- what comes -- */

static void
on_got(void *ctx, uint64_t source, uint32_t unit, uint32_t bytes, uint32_t wire)
{
	struct download *d = ctx;
	struct source_state *s = source_of(d, source);

	speed_add(&d->in, bytes, now_ms(d));
	d->wire += wire;
	if (s != NULL) {
		s->wire += wire;
		speed_add(&s->in, bytes, now_ms(d));
		s->refused = false;
	}
	transfer_took(d->transfer, source, unit, bytes, now_ms(d));
	pump(d);
}

static void
drop_liar(struct download *d, struct source_state *s, uint32_t unit)
{
	struct peer *p = s->peer;
	char id[DEVICE_ID_SHORT];
	struct error e;

	drop_source(d, s, true);
	(void)fail(&e, ERR_CORRUPT, "device %s sends other bytes than the snapshot has",
	    device_id_short(&s->device, id));
	if (d->o.on_liar != NULL)
		d->o.on_liar(d->o.ctx, p, unit);
	finish_hopeless(d, &e);
}

/* What is still missing of the unit is asked for again. */
static void
on_end(void *ctx, const struct unit_fetch_end *end)
{
	struct download *d = ctx;
	struct source_state *s = source_of(d, end->source);
	bool enough = end->wrong && transfer_charge(d->transfer, end->source);

	transfer_ended(d->transfer, end->source, end->unit, end->retry_ms, now_ms(d));
	if (enough && s != NULL && s->peer != NULL) {
		drop_liar(d, s, end->unit);
	} else if (end->why.code != OK && end->why.code != ERR_AGAIN && s != NULL) {
		s->refused = true;
		finish_hopeless(d, &end->why);
	}
	pump(d);
}

static void
on_failed(void *ctx, enum err r, const struct error *e)
{
	finish(ctx, r, e);
}

static void
on_pause(void *ctx, bool paused)
{
	struct download *d = ctx;
	(void)paused;

	d->resumed_ms = now_ms(d);
	pump(d);
}

/* -- asking -- */

static void
ask(struct download *d, const struct transfer_ask *a)
{
	/* It is ending, or all its streams are taken: it rests. */
	if (!unit_fetch_ask(d->fetch, a->source, a->unit, a->runs, a->n_runs))
		transfer_ended(d->transfer, a->source, a->unit, 0, now_ms(d));
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
	return transfer_is_done(d->transfer) && unit_fetch_is_idle(d->fetch);
}

static void
pump(struct download *d)
{
	struct transfer_ask a;

	if (d->over || d->closing)
		return;
	while (!unit_fetch_is_paused(d->fetch) && transfer_next(d->transfer, now_ms(d), &a))
		ask(d, &a);
	set_wake(d);
	if (is_all_here(d))
		unit_fetch_flush(d->fetch);
}

static void
on_wake(void *ctx)
{
	pump(ctx);
}

static void
on_flushed(void *ctx)
{
	struct download *d = ctx;

	if (d->over)
		return;
	if (!unit_fetch_is_dirty(d->fetch) && is_all_here(d))
		finish(d, OK, NULL);
	else
		pump(d);
}

/* -- time -- */

/* While we do not read, nobody can send: that is no stall, and what then was late has its time
 * again. */
static void
cancel_stalled(struct download *d)
{
	uint64_t source, now = now_ms(d);
	uint32_t unit;

	if (unit_fetch_is_paused(d->fetch) || now < d->resumed_ms + LIMIT_UNIT_STALL_MS)
		return;
	while (transfer_stalled(d->transfer, now, &source, &unit))
		unit_fetch_cancel(d->fetch, source, unit);
}

static void
on_tick(void *ctx)
{
	struct download *d = ctx;

	timer_start(d->tick, TICK_MS);
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
	const struct unit_fetch_opts f = {
		.loop = o->loop,
		.map = o->map,
		.share = o->share,
		.snapshot = o->snapshot,
		.sink = o->sink,
		.gate = o->gate,
		.on_got = on_got,
		.on_end = on_end,
		.on_flushed = on_flushed,
		.on_failed = on_failed,
		.on_pause = on_pause,
		.ctx = d,
	};

	d->o = *o;
	d->transfer = transfer_new(&t);
	d->fetch = unit_fetch_new(&f);
	d->tick = timer_new(o->loop, on_tick, d);
	d->wake = timer_new(o->loop, on_wake, d);
	timer_start(d->tick, 0); /* also finishes what has nothing to fetch, not before we return */
	return d;
}

uint64_t
download_bytes(const struct download *d)
{
	return d->in.total;
}

uint64_t
download_wire(const struct download *d)
{
	return d->wire;
}

uint64_t
download_rate(const struct download *d)
{
	return speed_now(&d->in, now_ms(d));
}

size_t
download_sources(const struct download *d, struct download_source *out, size_t max)
{
	size_t n = 0;

	array_each (s, &d->sources) {
		if (n == max)
			break;
		out[n++] = (struct download_source){ .device = s->device,
			.bytes = s->in.total,
			.wire = s->wire,
			.rate = s->peer != NULL ? speed_now(&s->in, now_ms(d)) : 0,
			.connected = s->peer != NULL };
	}
	return n;
}
