/*
 * What peers tell each other.  A change here is a unit's number in a log; what is told of it is how
 * it is when it is told, so what was awaited and came meanwhile is told once, and telling again
 * does no harm.  Whoever is new, or too far behind, is told of all units first.
 */
#include <string.h>

#include "swarm/swarm_private.h"

enum { UPLINK_SHARE = 100 /* news take a hundredth of the uplink */, NEWS_BITS = 700 };

/* -- telling -- */

/* Entries that all have been told are dropped, half the log at a time. */
static void
trim_log(struct swarm *s, struct swarm_log *log, bool far)
{
	uint64_t least = swarm_log_end(log);

	if (log->units.len < SWARM_LOG_MAX)
		return;
	for (size_t i = 0; i < s->peers.len; i++) {
		struct swarm_peer *p = s->peers.at[i];
		if (p->far != far)
			continue;
		if (p->told < log->base + SWARM_LOG_MAX / 2) { /* too far behind: everything anew */
			p->told = swarm_log_end(log);
			p->full_at = 0;
		}
		least = min_of(least, p->told);
	}
	size_t n = (size_t)(least - log->base);
	memmove(log->units.at, log->units.at + n, (log->units.len - n) * sizeof log->units.at[0]);
	log->units.len -= n;
	log->base = least;
}

void
swarm_log_add(struct swarm *s, struct swarm_log *log, bool far, uint32_t unit)
{
	trim_log(s, log, far);
	array_push(&log->units, unit);
}

void
swarm_note(struct swarm *s, uint32_t unit)
{
	if (s->peers.len == 0) /* whoever comes is told of all units */
		return;
	swarm_log_add(s, &s->near_log, false, unit);
	swarm_site_note(s, unit);
}

/* Nodes times the bits of one message are to be about a hundredth of the uplink. */
uint64_t
swarm_batch_us(const struct swarm *s)
{
	uint64_t us = SWARM_BATCH_MIN_US;

	if (s->rate > 0)
		us = s->peers.len * (uint64_t)NEWS_BITS * UPLINK_SHARE * 1000000 / (s->rate * 8);
	return min_of(max_of(us, SWARM_BATCH_MIN_US), SWARM_BATCH_MAX_US);
}

/* Lists under construction: sorted by unit, as they are found in ascending order. */
struct lists {
	struct swarm_run *at[4];
	uint32_t n[4];
};
enum { L_EACH = SWARM_RUNS_MAX / 4 };

/* What P is told of UNIT. */
static enum swarm_state
list_of(const struct swarm *s, const struct swarm_peer *p, uint32_t unit)
{
	if (p->far)
		return swarm_site_state(s, unit);
	if (bitset_has(&s->have, unit))
		return SWARM_STATE_HAVE;
	if (bitset_has(&s->pend, unit))
		return SWARM_STATE_AWAIT;
	return bitset_has(&s->skip, unit) ? SWARM_STATE_SKIP : SWARM_STATE_DROP;
}

/* False: no room for one run more. */
static bool
list_add(struct lists *l, enum swarm_state which, uint32_t unit)
{
	struct swarm_run *last = l->n[which] > 0 ? &l->at[which][l->n[which] - 1] : NULL;

	if (last != NULL && last->first + last->n == unit) {
		last->n++;
		return true;
	}
	if (l->n[which] == L_EACH)
		return false;
	l->at[which][l->n[which]++] = (struct swarm_run){ .first = unit, .n = 1 };
	return true;
}

/* Everything, from where the last news ended. */
static void
list_all(const struct swarm *s, struct swarm_peer *p, struct lists *l)
{
	while (p->full_at < s->o.n_units) {
		enum swarm_state which = list_of(s, p, p->full_at);
		if (!list_add(l, which, p->full_at))
			return;
		p->full_at++;
	}
}

static int
compare_units(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void
list_changes(struct swarm *s, struct swarm_peer *p, struct lists *l)
{
	const struct swarm_log *log = swarm_log_for(s, p);
	uint64_t from = max_of(p->told, log->base);
	size_t n = (size_t)min_of(swarm_log_end(log) - from, (uint64_t)L_EACH);
	uint32_t units[L_EACH];

	if (n > 0)
		memcpy(units, log->units.at + (from - log->base), n * sizeof units[0]);
	qsort(units, n, sizeof units[0], compare_units);
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || units[i] != units[i - 1])
			(void)list_add(l, list_of(s, p, units[i]),
			    units[i]); /* there is room for n runs in each */
	}
	p->told = from + n;
}

/* Who is full says so by the greatest number. */
static uint32_t
tell_inbound(const struct swarm *s, const struct swarm_peer *p)
{
	if (p->far)
		return s->paused ? SWARM_FAR_MAX : s->inbound_far;
	return s->paused ? max_of(s->inbound, (uint32_t)SWARM_INBOUND) : s->inbound;
}

static void
give(const struct swarm *s, const struct swarm_peer *p, const struct lists *l,
    struct swarm_news *ret)
{
	*ret = (struct swarm_news){
		.inbound = tell_inbound(s, p),
		.starving = s->starving,
		.have = l->at[SWARM_STATE_HAVE],
		.n_have = l->n[SWARM_STATE_HAVE],
		.await = l->at[SWARM_STATE_AWAIT],
		.n_await = l->n[SWARM_STATE_AWAIT],
		.drop = l->at[SWARM_STATE_DROP],
		.n_drop = l->n[SWARM_STATE_DROP],
		.skip = l->at[SWARM_STATE_SKIP],
		.n_skip = l->n[SWARM_STATE_SKIP],
	};
}

bool
swarm_tell(struct swarm *s, uint64_t peer, uint64_t now_us, struct swarm_news *ret)
{
	struct swarm_peer *p = swarm_peer_find(s, peer);
	struct lists l = { .n = { 0 } };

	if (p == NULL || p->banned)
		return false;
	bool behind = p->full_at < s->o.n_units || p->told < swarm_log_end(swarm_log_for(s, p));
	if (!behind && !p->urgent)
		return false;
	if (!p->urgent && now_us < p->told_us + swarm_batch_us(s))
		return false;
	for (size_t i = 0; i < lengthof(l.at); i++)
		l.at[i] = s->runs + i * L_EACH;
	if (p->full_at < s->o.n_units)
		list_all(s, p, &l);
	else
		list_changes(s, p, &l);
	/* Telling all goes on at once; changes wait for their time. */
	p->urgent = p->full_at < s->o.n_units;
	p->told_us = now_us;
	give(s, p, &l, ret);
	return true;
}

/* -- being told -- */

static bool
in_range(const struct swarm *s, const struct swarm_run *runs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (runs[i].first >= s->o.n_units || runs[i].n > s->o.n_units - runs[i].first)
			return false;
	}
	return true;
}

/* It neither holds nor awaits UNIT, it says.  True: not now. What it is being offered crosses its
 * news on the way; what it has accepted it has given up since, which counts when our slot ends. */
static bool
is_drop_late(struct swarm_peer *p, uint32_t unit)
{
	struct swarm_slot *slot = swarm_slot_find(p, unit);

	if (slot == NULL)
		return false;
	slot->dropped = slot->accepted;
	if (!slot->sent)
		return true;
	swarm_slot_end(p, slot);
	return false;
}

/* A far slot ends when its unit has arrived. */
static void
note_arrivals(struct swarm *s, struct swarm_peer *p, uint64_t now_us)
{
	for (size_t i = p->slots.len; i > 0; i--) {
		struct swarm_slot *slot = &p->slots.at[i - 1];
		if (slot->sent && bitset_has(&p->have, slot->unit))
			swarm_export_arrived(s, p, slot, now_us);
	}
}

static void
mark_runs(struct swarm *s, struct swarm_peer *p, const struct swarm_run *runs, uint32_t n,
    bool have, bool pend)
{
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t u = runs[i].first; u < runs[i].first + runs[i].n; u++) {
			if (!have && !pend && is_drop_late(p, u))
				continue;
			swarm_peer_mark(s, p, u, have, pend);
		}
	}
}

static void
skip_runs(struct swarm *s, struct swarm_peer *p, const struct swarm_run *runs, uint32_t n)
{
	if (n > 0 && p->skip.n == 0)
		bitset_init(&p->skip, s->o.n_units);
	mark_runs(s, p, runs, n, false, false);
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t u = runs[i].first; u < runs[i].first + runs[i].n; u++)
			bitset_set(&p->skip, u);
	}
}

/* Offers that it may not have seen when it counted are counted on top. */
static uint32_t
unanswered(const struct swarm_peer *p)
{
	uint32_t n = 0;

	array_each (slot, &p->slots)
		n += !slot->accepted;
	return n;
}

bool
swarm_peer_news(struct swarm *s, uint64_t peer, const struct swarm_news *news, uint64_t now_us)
{
	struct swarm_peer *p = swarm_peer_find(s, peer);

	if (!in_range(s, news->have, news->n_have) || !in_range(s, news->await, news->n_await) ||
	    !in_range(s, news->drop, news->n_drop) || !in_range(s, news->skip, news->n_skip))
		return false;
	if (p == NULL || p->banned)
		return true;
	p->heard = true;
	uint32_t full = p->far ? SWARM_FAR_MAX : SWARM_INBOUND;
	p->inbound = min_of(news->inbound, full) + unanswered(p);
	if (p->site != NULL)
		p->site->barren = false;
	if (p->inbound < full)
		p->not_before_us = 0; /* there is room, it says */
	if (news->starving != p->starving)
		p->barren = false;
	p->starving = news->starving;
	mark_runs(s, p, news->have, news->n_have, true, false);
	note_arrivals(s, p, now_us);
	mark_runs(s, p, news->await, news->n_await, false, true);
	mark_runs(s, p, news->drop, news->n_drop, false, false);
	skip_runs(s, p, news->skip, news->n_skip);
	return true;
}
