/*
 * The taking side: a taker is a sink, the requests that fill it, and what of it was looked at.
 *
 * Which units are here is asked of the sink, SCAN units in a turn; nothing is taken before that is
 * known.  When all is held it is flushed and looked at once more, and only then is it done.
 */
#include "base/log.h"
#include "base/mem.h"
#include "engine/swarm_node_private.h"

enum { SCAN = 1024, TICK_MS = 250 };

struct unasked {
	uint64_t peer;
	uint32_t unit;
};
struct node_taker {
	struct swarm_node *node;
	struct swarm_node_taker t;
	struct unit_fetch *fetch;
	ARRAY(struct unasked) unasked; /* taken, and could not be asked for */
	uint32_t scanned;              /* units */
	bool flushed; /* the scan is the last one: if nothing is found it is done */
	bool ending;  /* the fetch is closed, for RESULT */
	bool stopped; /* nobody is to be told of that */
	enum err result;
	struct error why;
	void (*on_stopped)(void *ctx);
	void *on_stopped_ctx;
	struct timer *tick; /* of progress */
	bool ticks, moved;  /* it runs; something came since it rang */
};

static void on_tick(void *ctx);
static void on_fetch_closed(void *ctx);

/* -- what is missing -- */

static uint32_t
missing(const struct node_taker *t, uint32_t unit, struct leaf_run *runs)
{
	uint32_t bytes;

	return t->t.sink.missing(t->t.sink.ctx, unit, runs, &bytes);
}

static bool
is_here(const struct node_taker *t, uint32_t unit)
{
	struct leaf_run runs[LIMIT_UNIT_RUNS];

	return missing(t, unit, runs) == 0;
}

static bool
is_partial(const struct node_taker *t, uint32_t unit)
{
	return t->t.is_partial != NULL && t->t.is_partial(t->t.ctx, unit);
}

/* Nothing of UNIT is missing. */
static void
note_here(const struct node_taker *t, uint32_t unit)
{
	if (is_partial(t, unit))
		swarm_skip(t->node->swarm, unit);
	else
		swarm_hold(t->node->swarm, unit);
}

static void
scan_unit(const struct node_taker *t, uint32_t unit)
{
	struct swarm *s = t->node->swarm;

	if (is_here(t, unit)) {
		note_here(t, unit);
		return;
	}
	swarm_want(s, unit);
	swarm_lose(s, unit);
}

/* What the sink does not miss and cannot give either is not asked for again. */
void
swarm_node_taker_lost(struct swarm_node *n, uint32_t unit)
{
	struct node_taker *t = n->taker;

	if (t != NULL && !t->ending && is_here(t, unit))
		swarm_skip(n->swarm, unit);
}

static bool
is_scanned(const struct node_taker *t)
{
	return t->scanned == swarm_units(t->node->swarm);
}

static void
settle_pause(struct swarm_node *n)
{
	const struct node_taker *t = n->taker;

	swarm_pause(
	    n->swarm, t == NULL || t->ending || !is_scanned(t) || unit_fetch_is_paused(t->fetch));
}

static void
scan_some(struct node_taker *t)
{
	uint32_t end = min_of(swarm_units(t->node->swarm), t->scanned + SCAN);

	while (t->scanned < end)
		scan_unit(t, t->scanned++);
	if (!is_scanned(t))
		swarm_node_pump(t->node);
	settle_pause(t->node);
}

/* -- ending -- */

static void
close_fetch(struct node_taker *t)
{
	if (t->ending)
		return;
	t->ending = true;
	swarm_abandon(t->node->swarm);
	timer_close(t->tick);
	array_clear(&t->unasked);
	unit_fetch_close(t->fetch, on_fetch_closed, t);
}

/* The sink is used no more. */
static void
on_fetch_closed(void *ctx)
{
	struct node_taker *t = ctx, last = *t;
	struct swarm_node *n = t->node;

	if (n->taker == t)
		n->taker = NULL;
	n->takers--;
	free(t);
	if (last.on_stopped != NULL)
		last.on_stopped(last.on_stopped_ctx);
	else if (!last.stopped)
		last.t.on_done(last.t.ctx, last.result, &last.why);
	swarm_node_free_closed(n);
}

static void
finish(struct node_taker *t, enum err r, const struct error *e)
{
	t->result = r;
	if (e != NULL)
		t->why = *e;
	close_fetch(t);
	settle_pause(t->node);
}

void
swarm_node_taker_stop(struct swarm_node *n, void (*on_stopped)(void *ctx), void *ctx)
{
	struct node_taker *t = n->taker;

	if (t == NULL)
		return;
	n->taker = NULL;
	t->stopped = true;
	t->on_stopped = on_stopped;
	t->on_stopped_ctx = ctx;
	close_fetch(t);
	settle_pause(n);
}

/* -- what comes -- */

static void
on_got(void *ctx, uint64_t source, uint32_t unit, uint32_t bytes, uint32_t wire)
{
	struct node_taker *t = ctx;
	struct swarm_node *n = t->node;
	struct node_peer *np = swarm_node_find_id(n, source);
	uint64_t now = swarm_node_now_ms(n);

	speed_add(&n->in, bytes, now);
	n->wire_in += wire;
	if (np != NULL) {
		speed_add(&np->in, bytes, now);
		np->wire_in += wire;
		n->far_in += swarm_node_is_far(n, np) ? bytes : 0;
	}
	swarm_got(n->swarm, source, unit, bytes, now * 1000);
	t->moved = true;
	if (!t->ticks && t->t.on_progress != NULL) {
		t->ticks = true;
		timer_start(t->tick, TICK_MS);
	}
}

/* Until all that came has also left the rate. */
static void
on_tick(void *ctx)
{
	struct node_taker *t = ctx;

	t->ticks = t->moved || speed_now(&t->node->in, swarm_node_now_ms(t->node)) > 0;
	t->moved = false;
	if (t->ticks)
		timer_start(t->tick, TICK_MS);
	t->t.on_progress(t->t.ctx);
}

static void
cut_off(struct node_taker *t, struct node_peer *np, uint32_t unit)
{
	struct swarm_node *n = t->node;
	struct peer *p = np->peer;

	np->banned = true;
	if (p == NULL) /* it has gone, and is not let in again */
		return;
	unit_fetch_source_gone(t->fetch, np->id, true);
	if (n->o.on_liar != NULL)
		n->o.on_liar(n->o.ctx, p, unit);
}

/* A leaf of NP was wrong: true when that was one too many. */
static bool
charge(struct swarm_node *n, struct node_peer *np)
{
	(void)swarm_charge(n->swarm, np->id);
	return !np->banned && ++np->wrong >= SWARM_WRONG_MAX;
}

/* Whole: also when its sender has gone, or was replaced, and the last leaves were checked late. */
static void
note_end(struct node_taker *t, const struct unit_fetch_end *end, bool whole)
{
	struct swarm_node *n = t->node;
	bool held = whole && !is_partial(t, end->unit);

	if (end->lost && !whole) /* a lane of it: no promise was broken */
		swarm_unasked(n->swarm, end->source, end->unit);
	else
		swarm_ended(n->swarm, end->source, end->unit, held, swarm_node_now_ms(n) * 1000);
	if (!whole)
		return;
	note_here(t, end->unit);
	unit_fetch_cancel(t->fetch, UNIT_FETCH_ANYBODY, end->unit);
}

static bool
is_loss(enum err r)
{
	return r == ERR_NOTFOUND || r == ERR_CORRUPT;
}

static void
on_end(void *ctx, const struct unit_fetch_end *end)
{
	struct node_taker *t = ctx;
	struct swarm_node *n = t->node;
	struct node_peer *np = swarm_node_find_sender(n, end->source);
	bool whole = is_here(t, end->unit);
	bool enough = end->wrong && np != NULL && charge(n, np);

	note_end(t, end, whole);
	swarm_node_pump(n);
	if (enough)
		cut_off(t, np, end->unit);
	else if (!whole && is_loss(end->why.code) && n->o.on_lost != NULL)
		n->o.on_lost(n->o.ctx, np != NULL ? np->peer : NULL, end->unit, &end->why);
}

static void
on_failed(void *ctx, enum err r, const struct error *e)
{
	finish(ctx, r, e);
}

static void
on_pause(void *ctx, bool paused)
{
	struct node_taker *t = ctx;
	(void)paused;

	settle_pause(t->node);
	swarm_node_pump(t->node);
}

/* -- asking -- */

static void
decline(struct swarm_node *n, uint64_t peer, uint32_t unit, bool held)
{
	struct node_peer *np = swarm_node_find_id(n, peer);
	const struct message m = { .type = FRAME_DECLINE,
		.decline = { .job = n->o.job,
		    .unit = unit,
		    .reason = held ? DECLINE_HELD : DECLINE_BUSY,
		    .retry_ms = held ? 0 : TICK_MS } };
	struct error e;

	if (np == NULL)
		return;
	if (session_send(peer_session(np->peer), &m, &e) != OK)
		log_debug("swarm: %s", e.text);
	peer_flush(np->peer);
}

void
swarm_node_taker_take(void *node, uint64_t peer, uint32_t unit)
{
	struct swarm_node *n = node;
	struct node_taker *t = n->taker;
	struct leaf_run runs[LIMIT_UNIT_RUNS];
	uint32_t n_runs;

	if (!expect(t != NULL && !t->ending)) /* it would be paused */
		return;
	n_runs = missing(t, unit, runs);
	if (n_runs > 0 && unit_fetch_ask(t->fetch, peer, unit, runs, n_runs))
		return;
	decline(n, peer, unit, n_runs == 0);
	array_push(&t->unasked, ((struct unasked){ peer, unit }));
	swarm_node_pump(n);
}

void
swarm_node_taker_drop(void *node, uint64_t peer, uint32_t unit)
{
	struct swarm_node *n = node;

	if (n->taker != NULL && !n->taker->ending)
		unit_fetch_cancel(n->taker->fetch, peer, unit);
}

static void
end_unasked(struct node_taker *t)
{
	while (t->unasked.len > 0) {
		struct unasked u = array_pop(&t->unasked);
		swarm_unasked(t->node->swarm, u.peer, u.unit);
		if (is_here(t, u.unit))
			note_here(t, u.unit);
	}
}

static void
cancel_silent(struct node_taker *t)
{
	uint64_t peer;
	uint32_t unit;

	while (swarm_silent(t->node->swarm, &peer, &unit))
		unit_fetch_cancel(t->fetch, peer, unit);
}

void
swarm_node_taker_before(struct swarm_node *n)
{
	struct node_taker *t = n->taker;

	if (t == NULL || t->ending)
		return;
	end_unasked(t);
	cancel_silent(t);
	if (!is_scanned(t))
		scan_some(t);
}

/* -- being done -- */

static bool
is_all_here(const struct node_taker *t)
{
	return is_scanned(t) && swarm_is_complete(t->node->swarm) && t->unasked.len == 0 &&
	       unit_fetch_is_idle(t->fetch);
}

void
swarm_node_taker_after(struct swarm_node *n)
{
	struct node_taker *t = n->taker;

	if (t == NULL || t->ending || !is_scanned(t))
		return;
	if (!is_all_here(t))
		t->flushed = false;
	else if (!t->flushed)
		unit_fetch_flush(t->fetch);
	else
		finish(t, OK, NULL);
}

static void
on_flushed(void *ctx)
{
	struct node_taker *t = ctx;

	if (!unit_fetch_is_dirty(t->fetch) && is_all_here(t)) {
		t->flushed = true;
		t->scanned = 0;
	}
	swarm_node_pump(t->node);
}

/* -- beginning -- */

bool
swarm_node_taker_start(struct swarm_node *n, const struct swarm_node_taker *taker)
{
	struct node_taker *t;

	if (n->taker != NULL)
		return false;
	t = mem_new(struct node_taker);
	t->node = n;
	t->t = *taker;
	const struct unit_fetch_opts o = {
		.loop = n->o.loop,
		.map = n->o.map,
		.share = n->o.share,
		.snapshot = n->o.snapshot,
		.sink = taker->sink,
		.gate = taker->gate,
		.on_got = on_got,
		.on_end = on_end,
		.on_flushed = on_flushed,
		.on_failed = on_failed,
		.on_pause = on_pause,
		.ctx = t,
	};
	t->fetch = unit_fetch_new(&o);
	t->tick = timer_new(n->o.loop, on_tick, t);
	n->taker = t;
	n->takers++;
	scan_some(t);
	return true;
}

void
swarm_node_taker_peer_add(struct swarm_node *n, const struct node_peer *np)
{
	if (n->taker != NULL && !n->taker->ending && np->peer != NULL && !np->banned)
		unit_fetch_source_add(n->taker->fetch, np->id, np->peer);
}

void
swarm_node_taker_peer_gone(struct swarm_node *n, const struct node_peer *np)
{
	if (n->taker != NULL && !n->taker->ending)
		unit_fetch_source_gone(n->taker->fetch, np->id, false);
}

bool
swarm_node_taker_is_behind(const struct swarm_node *n)
{
	return n->taker != NULL && !n->taker->ending && unit_fetch_is_paused(n->taker->fetch);
}
