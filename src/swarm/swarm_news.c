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
		if (swarm_peer_hears_site(p) != far)
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
enum { LEFT = SWARM_STATE_HAVE + 1, LISTS };
struct lists {
	struct swarm_run at[LISTS][SWARM_RUNS_MAX];
	uint32_t n[LISTS];
};

/* What P is told of UNIT. */
static enum swarm_state
list_of(const struct swarm *s, const struct swarm_peer *p, uint32_t unit)
{
	if (swarm_peer_hears_site(p))
		return swarm_site_state(s, unit);
	if (bitset_has(&s->have, unit))
		return SWARM_STATE_HAVE;
	if (bitset_has(&s->pend, unit))
		return SWARM_STATE_AWAIT;
	return bitset_has(&s->skip, unit) ? SWARM_STATE_SKIP : SWARM_STATE_DROP;
}

/* False: no room for one run more. */
static bool
list_add(struct lists *l, unsigned which, uint32_t unit)
{
	struct swarm_run *last = l->n[which] > 0 ? &l->at[which][l->n[which] - 1] : NULL;

	if (last != NULL && last->first + last->n == unit) {
		last->n++;
		return true;
	}
	if (l->n[which] == SWARM_RUNS_MAX)
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

/* The next units of LOG from *TOLD on, each once, in order; how many. */
static size_t
take_units(const struct swarm_log *log, uint64_t *told, uint32_t units[SWARM_RUNS_MAX])
{
	uint64_t from = max_of(*told, log->base);
	size_t n = (size_t)min_of(swarm_log_end(log) - from, (uint64_t)SWARM_RUNS_MAX), kept = 0;

	if (n > 0)
		memcpy(units, log->units.at + (from - log->base), n * sizeof units[0]);
	qsort(units, n, sizeof units[0], compare_units);
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || units[i] != units[i - 1])
			units[kept++] = units[i];
	}
	*told = from + n;
	return kept;
}

static void
list_changes(struct swarm *s, struct swarm_peer *p, struct lists *l)
{
	uint32_t units[SWARM_RUNS_MAX]; /* so there is room for all of them in any list */
	size_t n = take_units(swarm_log_for(s, p), &p->told, units);

	for (size_t i = 0; i < n; i++)
		(void)list_add(l, list_of(s, p, units[i]), units[i]);
	if (p->far)
		return;
	n = take_units(&s->left_log, &p->told_left, units);
	for (size_t i = 0; i < n; i++)
		(void)list_add(l, LEFT, units[i]);
}

/* Who is full says so by the greatest number. */
static uint32_t
tell_inbound(const struct swarm *s, const struct swarm_peer *p)
{
	if (swarm_peer_hears_site(p))
		return s->paused ? SWARM_FAR_MAX : s->inbound_far;
	return s->paused ? max_of(s->inbound, (uint32_t)SWARM_INBOUND) : s->inbound;
}

static const struct swarm_run *
keep_list(struct swarm *s, const struct lists *l, unsigned which, uint32_t *ret_n)
{
	struct swarm_run *at = s->runs.at + s->runs.len;

	*ret_n = l->n[which];
	if (*ret_n > 0)
		memcpy(at, l->at[which], *ret_n * sizeof *at);
	s->runs.len += *ret_n;
	return at;
}

static void
give(struct swarm *s, const struct swarm_peer *p, const struct lists *l, struct swarm_news *ret)
{
	size_t all = 0;

	for (unsigned i = 0; i < LISTS; i++)
		all += l->n[i];
	s->runs.len = 0;
	array_reserve(&s->runs, all + 1);
	*ret = (struct swarm_news){
		.inbound = tell_inbound(s, p), .starving = s->starving, .rate = s->rate
	};
	ret->have = keep_list(s, l, SWARM_STATE_HAVE, &ret->n_have);
	ret->await = keep_list(s, l, SWARM_STATE_AWAIT, &ret->n_await);
	ret->drop = keep_list(s, l, SWARM_STATE_DROP, &ret->n_drop);
	ret->skip = keep_list(s, l, SWARM_STATE_SKIP, &ret->n_skip);
	ret->left = keep_list(s, l, LEFT, &ret->n_left);
}

bool
swarm_tell(struct swarm *s, uint64_t peer, uint64_t now_us, struct swarm_news *ret)
{
	struct swarm_peer *p = swarm_peer_find(s, peer);
	struct lists l;

	if (p == NULL || p->banned)
		return false;
	bool behind = p->full_at < s->o.n_units || p->told < swarm_log_end(swarm_log_for(s, p)) ||
		      (!p->far && p->told_left < swarm_log_end(&s->left_log));
	if (!behind && !p->urgent)
		return false;
	if (!p->urgent && now_us < p->told_us + swarm_batch_us(s))
		return false;
	memset(l.n, 0, sizeof l.n);
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
	    !in_range(s, news->drop, news->n_drop) || !in_range(s, news->skip, news->n_skip) ||
	    !in_range(s, news->left, news->n_left))
		return false;
	if (p == NULL || p->banned)
		return true;
	p->heard = true;
	p->rate = news->rate;
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
	for (uint32_t i = 0; !p->far && i < news->n_left; i++) {
		for (uint32_t u = 0; u < news->left[i].n; u++)
			swarm_site_let_out(s, news->left[i].first + u);
	}
	return true;
}
