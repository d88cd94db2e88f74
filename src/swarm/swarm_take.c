/* The receiving side: is an offer taken, what is on its way, what has gone silent. */
#include "swarm/swarm_private.h"

enum {
	PATIENCE_DOUBLED_MAX = 3, /* times */
	PATIENCE_GAPS = 4,
	SLOW_TIMES = 3, /* as long as it would take from others is slow */
	RESCUE_TRIPS = 4,
	SAMPLE_US = 250 * 1000, /* of receiving, over which the downlink is measured */
};
#define RESCUE_LEAST_US ((uint64_t)100 * 1000) /* less is not worth it */
#define RESCUE_LOOK_US  ((uint64_t)50 * 1000)  /* between two looks at who is slow already */
#define PATIENCE_MAX_US (SWARM_SILENT_US / 2)

/* Nothing at all came of what was promised; three in a row are no accident. */
static void
break_promise(struct swarm *s, struct swarm_peer *p, uint64_t now_us)
{
	p->stats.broken++;
	if (++p->broken < SWARM_BROKEN_MAX)
		return;
	p->penance_us = now_us + SWARM_PENANCE_US;
	swarm_timer(s, p->penance_us);
}

static uint64_t
heard_us(const struct swarm_peer *p, const struct swarm_flight *f)
{
	return max_of(f->last_us, p->last_in_us);
}

static struct swarm_flight *
find_flight(struct swarm_peer *p, uint32_t unit)
{
	array_each (f, &p->flights) {
		if (f->unit == unit)
			return f;
	}
	return NULL;
}

/*
 * On a slow line a leaf takes longer than SWARM_SUSPECT_US: what counts is how long this peer's
 * take.  As long as none has come nobody knows; and what was cancelled is still under way there: so
 * who replaces somebody silent is given twice the time.
 */
static uint64_t
suspect_after(const struct swarm_peer *p, const struct swarm_flight *f)
{
	uint64_t us = max_of(SWARM_SUSPECT_US, (uint64_t)8 * p->stats.rtt_us);

	us = max_of(us, PATIENCE_GAPS * p->gap_us);
	return min_of(us << f->replaced, PATIENCE_MAX_US);
}

static uint32_t *
inbound_of(struct swarm *s, const struct swarm_flight *f)
{
	return f->far ? &s->inbound_far : &s->inbound;
}

/* It is awaited no more: others may offer it. */
static void
let_go(struct swarm *s, const struct swarm_flight *f)
{
	*inbound_of(s, f) -= 1;
	if (bitset_unset(&s->pend, f->unit))
		swarm_note(s, f->unit);
}

static void
end_flight(struct swarm *s, struct swarm_peer *p, struct swarm_flight *f)
{
	if (!f->suspect)
		let_go(s, f);
	array_swap_out(&p->flights, (size_t)(f - p->flights.at));
	s->flights--;
}

void
swarm_forget_flights(struct swarm *s, struct swarm_peer *p)
{
	while (p->flights.len > 0)
		end_flight(s, p, &p->flights.at[p->flights.len - 1]);
}

void
swarm_abandon(struct swarm *s)
{
	array_each (p, &s->peers)
		swarm_forget_flights(s, *p);
}

/* Who else is to send UNIT, and is silent. */
static struct swarm_peer *
suspect_of(struct swarm *s, uint32_t unit)
{
	array_each (at, &s->peers) {
		if (find_flight(*at, unit) != NULL)
			return *at;
	}
	return NULL;
}

/* When was UNIT first refused as another gateway's?  Now, if never. */
static uint64_t
first_refused_us(struct swarm *s, uint32_t unit, uint64_t now_us)
{
	for (size_t i = s->refused.len; i > 0; i--) {
		struct swarm_refusal *r = &s->refused.at[i - 1];
		if (r->unit == unit)
			return r->at_us;
		if (bitset_has(&s->have, r->unit))
			array_swap_out(&s->refused, i - 1);
	}
	array_push(&s->refused, ((struct swarm_refusal){ .unit = unit, .at_us = now_us }));
	return now_us;
}

/* A unit from afar is taken by one gateway, if nobody near has it or awaits it. */
static enum swarm_verdict
judge_far(struct swarm *s, uint32_t unit, uint64_t now_us)
{
	enum swarm_state here = swarm_site_state(s, unit);

	if (here == SWARM_STATE_HAVE || here == SWARM_STATE_AWAIT)
		return SWARM_HELD;
	if (!swarm_site_is_mine(s, unit) &&
	    now_us < first_refused_us(s, unit, now_us) + SWARM_GRACE_US)
		return SWARM_ELSEWHERE;
	return s->paused || s->inbound_far >= SWARM_FAR_MAX ? SWARM_BUSY : SWARM_ACCEPT;
}

static enum swarm_verdict
judge(struct swarm *s, const struct swarm_peer *p, uint32_t unit, uint64_t now_us)
{
	if (bitset_has(&s->have, unit) || bitset_has(&s->pend, unit) || bitset_has(&s->skip, unit))
		return SWARM_HELD;
	if (now_us < p->penance_us)
		return SWARM_DISTRUST;
	if (p->far)
		return judge_far(s, unit, now_us);
	return s->paused || s->inbound >= SWARM_INBOUND ? SWARM_BUSY : SWARM_ACCEPT;
}

/* However many units went silent with it, it is one broken promise: a line that fails for some
 * seconds is no lie. */
static void
blame_silence(struct swarm *s, struct swarm_peer *p, const struct swarm_flight *f, uint64_t now_us)
{
	if (f->bytes > 0 || (p->blamed_us != 0 && now_us < p->blamed_us + suspect_after(p, f)))
		return;
	p->blamed_us = max_of(now_us, (uint64_t)1);
	break_promise(s, p, now_us);
}

/*
 * Rescue.  At the end, when all that is missing is on its way, one slow sender would hold up a node
 * that others could serve.  What will take much longer than all of it needs from others is let go
 * of: told as not awaited, it is offered by others, and the first of them that is not slow itself
 * replaces who sends it now.
 */
static uint32_t
units_coming_at_end(const struct swarm *s)
{
	size_t missing = s->o.n_units - s->have.count - s->skip.count;

	return s->flights == missing ? s->flights : 0;
}

/* What an ordinary peer's uplink does; 0: nobody has said. */
static uint64_t
usual_rate(const struct swarm *s)
{
	uint64_t sum = 0, n = 0;

	array_each (p, &s->peers) {
		sum += (*p)->rate;
		n += (*p)->rate > 0;
	}
	return n > 0 ? sum / n : 0;
}

/* How long COMING units would take from others: in the queue of an uplink like ours, through the
 * downlink, and round trips to find them.  0: nobody knows. */
static uint64_t
fair_us(const struct swarm *s, uint32_t coming)
{
	uint64_t unit = (uint64_t)s->o.unit_size * 1000000, rate = usual_rate(s);

	if (rate == 0 || s->down_rate == 0)
		return 0;
	return unit * s->depth / rate + unit * coming / s->down_rate + RESCUE_TRIPS * s->rtt_us;
}

static bool
is_slow(const struct swarm *s, const struct swarm_flight *f, uint64_t fair, uint64_t now_us)
{
	uint64_t missing = s->o.unit_size - min_of(f->bytes, (uint64_t)s->o.unit_size);
	uint64_t age_us = now_us - f->began_us, limit_us = SLOW_TIMES * fair + RESCUE_LEAST_US;

	if (f->suspect || f->replaced > 0)
		return false;
	return f->bytes > 0 ? age_us > fair && age_us * missing / f->bytes > limit_us
			    : age_us > limit_us;
}

/* Who is slow himself does not take over from who is slow. */
static bool
may_rescue(const struct swarm *s, const struct swarm_peer *p)
{
	return p->rate == 0 || p->rate > usual_rate(s) / SLOW_TIMES;
}

struct swarm_answer
swarm_offered(struct swarm *s, uint64_t peer, uint32_t unit, uint64_t now_us)
{
	struct swarm_answer answer = { .verdict = SWARM_DISTRUST };
	struct swarm_peer *p = swarm_peer_find(s, peer), *old;

	if (p == NULL || p->banned || unit >= s->o.n_units)
		return answer;
	p->stats.offers_in++;
	answer.verdict = judge(s, p, unit, now_us);
	old = suspect_of(s, unit);
	if (old != NULL && find_flight(old, unit)->slow && !may_rescue(s, p))
		answer.verdict = SWARM_HELD;
	if (!p->last_resort && answer.verdict != SWARM_DISTRUST)
		s->fed_us = now_us;
	/* Who offers it holds it, whether or not that was told yet. */
	if (answer.verdict != SWARM_DISTRUST && !bitset_has(&p->have, unit))
		swarm_peer_mark(s, p, unit, true, false);
	if (answer.verdict != SWARM_ACCEPT)
		return answer;
	struct swarm_flight fresh = {
		.unit = unit, .far = p->far, .last_us = now_us, .began_us = now_us
	};
	if (old != NULL) {
		answer.replaces = true;
		answer.old_peer = old->id;
		struct swarm_flight *silent = find_flight(old, unit);
		fresh.replaced = min_of(silent->replaced + 1u, (unsigned)PATIENCE_DOUBLED_MAX);
		if (!silent->slow) /* that is no fault */
			blame_silence(s, old, silent, now_us);
		end_flight(s, old, silent);
	}
	array_push(&p->flights, fresh);
	s->flights++;
	swarm_timer(s, now_us + suspect_after(p, &fresh));
	p->stats.accepted_in++;
	bitset_set(&s->pend, unit);
	*inbound_of(s, &fresh) += 1;
	swarm_note(s, unit);
	return answer;
}

/* What the downlink is seen to do; what it did counts less with time. */
static void
measure_down(struct swarm *s, uint64_t bytes, uint64_t now_us)
{
	s->down_bytes += bytes;
	if (s->down_since_us == 0)
		s->down_since_us = now_us;
	if (now_us < s->down_since_us + SAMPLE_US)
		return;
	uint64_t rate = s->down_bytes * 1000000 / (now_us - s->down_since_us);
	s->down_rate = max_of(rate, s->down_rate - s->down_rate / 32);
	s->down_bytes = 0;
	s->down_since_us = now_us;
}

void
swarm_got(struct swarm *s, uint64_t peer, uint32_t unit, uint64_t bytes, uint64_t now_us)
{
	struct swarm_peer *p = swarm_peer_find(s, peer);
	struct swarm_flight *f = p != NULL ? find_flight(p, unit) : NULL;

	if (f == NULL)
		return;
	measure_down(s, bytes, now_us);
	uint64_t gap_us = now_us - heard_us(p, f);
	p->gap_us = p->gap_us == 0 ? gap_us : (p->gap_us * 3 + gap_us) / 4;
	p->stats.bytes_in += bytes;
	p->last_in_us = now_us;
	if (!p->last_resort)
		s->fed_us = now_us;
	f->bytes += bytes;
	f->last_us = now_us;
	swarm_timer(s, now_us + suspect_after(p, f)); /* it may have become quicker */
	if (!f->suspect || f->slow)
		return;
	f->suspect = f->silent = f->named = false; /* it goes on after all */
	*inbound_of(s, f) += 1;
	bitset_set(&s->pend, unit);
	swarm_note(s, unit);
}

void
swarm_ended(struct swarm *s, uint64_t peer, uint32_t unit, bool whole, uint64_t now_us)
{
	struct swarm_peer *p = swarm_peer_find(s, peer);
	struct swarm_flight *f = p != NULL ? find_flight(p, unit) : NULL;

	if (f == NULL)
		return;
	if (whole || f->bytes > 0)
		p->broken = 0;
	else
		break_promise(s, p, now_us);
	end_flight(s, p, f);
	if (whole)
		swarm_hold(s, unit);
	else
		swarm_peer_mark(s, p, unit, false, false); /* until it says so again */
}

void
swarm_unasked(struct swarm *s, uint64_t peer, uint32_t unit)
{
	struct swarm_peer *p = swarm_peer_find(s, peer);
	struct swarm_flight *f = p != NULL ? find_flight(p, unit) : NULL;

	if (f != NULL)
		end_flight(s, p, f);
}

/* -- time -- */

static void
let_go_of_slow(struct swarm *s, struct swarm_peer *p, uint64_t fair, uint64_t now_us)
{
	array_each (f, &p->flights) {
		if (!is_slow(s, f, fair, now_us))
			continue;
		f->suspect = f->slow = true;
		let_go(s, f);
	}
}

static void
suspect_silent(struct swarm *s, struct swarm_peer *p, uint64_t now_us)
{
	array_each (f, &p->flights) {
		/* Units come one after the other: while any brings bytes the others may wait. */
		uint64_t heard = heard_us(p, f);
		f->silent |= now_us >= heard + SWARM_SILENT_US;
		if (f->suspect || now_us < heard + suspect_after(p, f))
			continue;
		f->suspect = true;
		let_go(s, f);
	}
}

static void
end_unanswered(struct swarm *s, struct swarm_peer *p, uint64_t now_us)
{
	for (size_t i = p->slots.len; i > 0; i--) {
		struct swarm_slot slot = p->slots.at[i - 1];
		if (!slot.accepted && now_us >= slot.since_us + SWARM_OFFER_US)
			swarm_declined(s, p->id, slot.unit, SWARM_BUSY, SWARM_OFFER_US, now_us);
		if (slot.sent && now_us >= slot.since_us + SWARM_ARRIVE_US) {
			swarm_slot_end(p, &p->slots.at[i - 1]);
			swarm_peer_mark(s, p, slot.unit, false, false);
		}
	}
}

static void
judge_starving(struct swarm *s, uint64_t now_us)
{
	bool starving = !s->paused && !swarm_is_complete(s) && s->last_resorts > 0 &&
			now_us >= s->fed_us + SWARM_STARVE_US;

	if (starving == s->starving)
		return;
	s->starving = starving;
	array_each (p, &s->peers)
		(*p)->urgent = true;
}

/* While we did not read, nobody could send. */
static void
note_resumed(struct swarm *s, uint64_t now_us)
{
	s->resumed = false;
	s->fed_us = now_us;
	array_each (p, &s->peers)
		(*p)->last_in_us = now_us;
}

bool
swarm_silent(struct swarm *s, uint64_t *ret_peer, uint32_t *ret_unit)
{
	array_each (p, &s->peers) {
		array_each (f, &(*p)->flights) {
			if (!f->silent || f->named)
				continue;
			f->named = true;
			*ret_peer = (*p)->id;
			*ret_unit = f->unit;
			return true;
		}
	}
	return false;
}

bool
swarm_is_starving(const struct swarm *s)
{
	return s->starving;
}

/* The next of all that waits for time in P alone, but for what it is to be told. */
static uint64_t
peer_timer(const struct swarm *s, const struct swarm_peer *p, uint64_t now_us)
{
	uint64_t at = UINT64_MAX;

	array_each (f, &p->flights) {
		if (!f->silent && !s->paused)
			at = min_of(at,
			    heard_us(p, f) + (f->suspect ? SWARM_SILENT_US : suspect_after(p, f)));
	}
	array_each (slot, &p->slots) {
		if (!slot->accepted)
			at = min_of(at, slot->since_us + SWARM_OFFER_US);
		if (slot->sent)
			at = min_of(at, slot->since_us + SWARM_ARRIVE_US);
	}
	if (p->not_before_us > now_us)
		at = min_of(at, p->not_before_us);
	if (p->penance_us > now_us)
		at = min_of(at, p->penance_us);
	if (p->blocked_us != 0 && p->slots.len > 0 && now_us < p->blocked_us + SWARM_SUSPECT_US)
		at = min_of(at, p->blocked_us + SWARM_SUSPECT_US);
	return at;
}

/* Timers are seconds away, and move on whenever bytes come: they are looked at only when the one
 * that was first, or was made since, has come; and at the end, when it matters how quick flights
 * are. */
static bool
is_timer_due(const struct swarm *s, uint64_t now_us)
{
	return now_us >= s->timer_us || units_coming_at_end(s) > 0;
}

static void
look_at_timers(struct swarm *s, uint64_t now_us)
{
	s->timer_us = swarm_export_wakes(s);
	if (!s->paused && units_coming_at_end(s) > 0)
		s->timer_us = min_of(s->timer_us, now_us + RESCUE_LOOK_US);
	array_each (p, &s->peers)
		swarm_timer(s, peer_timer(s, *p, now_us));
}

static void
tick_peers(struct swarm *s, uint64_t now_us)
{
	uint32_t coming = units_coming_at_end(s);
	uint64_t fair = coming > 0 && !s->paused ? fair_us(s, coming) : 0;

	array_each (at, &s->peers) {
		struct swarm_peer *p = *at;
		if (!s->paused)
			suspect_silent(s, p, now_us);
		if (fair > 0)
			let_go_of_slow(s, p, fair, now_us);
		end_unanswered(s, p, now_us);
		if (now_us >= p->penance_us)
			p->penance_us = 0;
	}
	swarm_export_tick(s, now_us);
	look_at_timers(s, now_us);
}

void
swarm_tick(struct swarm *s, uint64_t now_us)
{
	if (s->resumed) {
		note_resumed(s, now_us);
		s->timer_us = 0;
	}
	if (is_timer_due(s, now_us))
		tick_peers(s, now_us);
	judge_starving(s, now_us);
	if (s->lean_us != 0 && now_us >= s->lean_us) {
		s->lean_us = 0;
		swarm_retry(s);
	}
}

/* When P is to be told something. */
static uint64_t
peer_told(const struct swarm *s, const struct swarm_peer *p)
{
	const struct swarm_log *log = swarm_peer_hears_site(p) ? &s->far_log : &s->near_log;

	/* Who is not listened to is told nothing either. */
	if (p->banned ||
	    (!p->urgent && p->full_at >= s->o.n_units && p->told >= swarm_log_end(log)))
		return UINT64_MAX;
	return p->told_us + swarm_batch_us(s);
}

uint64_t
swarm_wakes(struct swarm *s, uint64_t now_us)
{
	if (is_timer_due(s, now_us))
		look_at_timers(s, now_us);
	uint64_t at = s->timer_us;
	array_each (p, &s->peers)
		at = min_of(at, peer_told(s, *p));
	if (s->resumed)
		at = now_us;
	if (s->lean_us != 0)
		at = min_of(at, s->lean_us);
	if (!s->starving && !s->paused && !swarm_is_complete(s) && s->last_resorts > 0)
		at = min_of(at, s->fed_us + SWARM_STARVE_US);
	return max_of(at, now_us);
}
