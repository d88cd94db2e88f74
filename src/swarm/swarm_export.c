/*
 * Exports: which unit goes to which other site next.
 *
 * Slots for them are counted in bytes and held until the other site says that the unit has arrived.
 * How many bytes follows from how long units wait in queues on their way: enough that the line is
 * never idle, no more, or its queue would decide what comes next.  Which queue that is, our own
 * line's or that of a site, one cannot know; so there is a window for each site beside that for all
 * together.  One site that is close by does not flood the others when they come.
 */
#include "swarm/swarm_private.h"

enum {
	LOOK = 64,
	LEAN_SHARE = 8,  /* an eighth of the units is little */
	LEAST_UNITS = 4, /* under way from one node, whatever the line does */
	LEAST_EACH = 2,  /* ... and of them to one site */
};
#define TRIPS_US ((uint64_t)5 * 1000 * 1000) /* then the least trip may take a little longer */
#define QUEUE_US ((uint64_t)300 * 1000)      /* that units may wait on their way */

static uint64_t
under_way(const struct swarm *s)
{
	uint64_t n = 0;

	array_each (p, &s->peers)
		n += (*p)->far ? (*p)->slots.len : 0;
	return n * s->o.unit_size;
}

/* As much is under way to SITE as may be. */
static bool
is_full(const struct swarm *s, const struct swarm_site *site)
{
	uint64_t n = 0, unit = s->o.unit_size;

	array_each (p, &site->peers)
		n += (*p)->slots.len;
	return n * unit >= max_of(site->window.bytes, LEAST_EACH * unit);
}

static bool
has_room(const struct swarm_peer *p, uint64_t now_us)
{
	return p->heard && !p->banned && p->blocked_us == 0 && p->inbound < SWARM_FAR_MAX &&
	       now_us >= p->not_before_us;
}

static uint32_t
inflight(const struct swarm_site *site)
{
	uint32_t n = 0;

	array_each (p, &site->peers)
		n += (*p)->inbound;
	return n;
}

/* Least on its way, then least held. */
static bool
is_needier(const struct swarm_site *a, const struct swarm_site *b)
{
	uint32_t x = inflight(a), y = inflight(b);

	return x != y ? x < y : a->known < b->known;
}

/* True: NOW is before AT, when this is to be looked at again. */
static bool
must_wait(struct swarm *s, uint64_t at_us, uint64_t now_us)
{
	if (now_us >= at_us)
		return false;
	if (s->export_retry_us == 0 || at_us < s->export_retry_us)
		s->export_retry_us = at_us;
	return true;
}

static bool
was_refused(struct swarm *s, const struct swarm_peer *p, uint32_t unit, uint64_t now_us)
{
	array_each (r, &s->elsewhere) {
		if (r->peer == p->id && r->unit == unit)
			return must_wait(s, r->at_us + SWARM_GRACE_US, now_us);
	}
	return false;
}

/* Who would take UNIT of SITE now. */
static struct swarm_peer *
taker_of(struct swarm *s, const struct swarm_site *site, uint32_t unit, uint64_t now_us)
{
	struct swarm_peer *p = swarm_site_responsible(site, unit);

	if (p == NULL || swarm_peer_closed(p, unit) || !has_room(p, now_us))
		return NULL;
	return was_refused(s, p, unit, now_us) ? NULL : p;
}

/* What is on its way to a first site counts, although that one has not said so yet. */
static uint32_t
sites_with(const struct swarm *s, uint32_t unit)
{
	return max_of((uint32_t)s->abroad[unit], (uint32_t)bitset_has(&s->left, unit));
}

/*
 * Of up to LOOK units that are here, and in SET, and that SITE takes, from a random place on, one
 * of those that the fewest sites have.  What another gateway here holds, too, is for one of them,
 * so that they do not offer the same; who has nothing under way takes any, as that one may be busy.
 */
static struct swarm_peer *
choose_of(struct swarm *s, const struct bitset *set, const struct swarm_site *site, uint64_t now_us,
    uint32_t *ret_unit)
{
	bool only_ours = under_way(s) > 0;
	size_t words = (s->o.n_units + 63) / 64, from = rng_below(&s->rng, words);
	struct swarm_peer *best = NULL;
	uint32_t looked = 0, ties = 0;

	for (size_t i = 0; i < words && looked < LOOK; i++) {
		size_t w = (from + i) % words;
		for (uint64_t bits = set->words[w] & s->have.words[w]; bits != 0;
		     bits &= bits - 1) {
			uint32_t u = (uint32_t)(w * 64 + (size_t)__builtin_ctzll(bits));
			if (best != NULL && sites_with(s, u) > sites_with(s, *ret_unit))
				continue;
			if (only_ours && !swarm_site_is_exporter(s, site, u))
				continue;
			struct swarm_peer *p = taker_of(s, site, u, now_us);
			if (p == NULL)
				continue;
			looked++;
			bool ties_with =
			    best != NULL && sites_with(s, u) == sites_with(s, *ret_unit);
			ties = ties_with ? ties + 1 : 1;
			if (ties > 1 && rng_below(&s->rng, ties) != 0)
				continue;
			best = p;
			*ret_unit = u;
		}
	}
	return best;
}

/* May it be something that another site has, or is about to?  Not while this site has anything
 * else, which other gateways may let out; nor at once afterwards. */
static bool
may_be_second(struct swarm *s, const struct swarm_site *site, uint64_t now_us)
{
	if (s->inside.count > 0)
		return !must_wait(s, s->inside_us + SWARM_GRACE_US, now_us);
	return s->passed_us == 0 || s->o.n_units - site->known > s->o.n_units / LEAN_SHARE ||
	       !must_wait(s, s->passed_us + SWARM_LEAN_US, now_us);
}

/* What no other site has goes first. */
static struct swarm_peer *
choose_unit(struct swarm *s, const struct swarm_site *site, uint64_t now_us, uint32_t *ret_unit)
{
	struct swarm_peer *p = NULL;

	if (s->inside.count > 0)
		p = choose_of(s, &s->inside, site, now_us, ret_unit);
	if (p != NULL) {
		s->inside_us = now_us;
		return p;
	}
	return may_be_second(s, site, now_us) ? choose_of(s, &s->have, site, now_us, ret_unit)
					      : NULL;
}

static void
let_out(struct swarm *s, uint32_t unit)
{
	array_each (p, &s->peers)
		(*p)->urgent |= !(*p)->far;
	array_push(&s->left_log.units, unit);
	swarm_site_let_out(s, unit);
}

static void
judge_passed(struct swarm *s, uint64_t now_us)
{
	if (s->inside.count > 0) {
		if (!s->is_home)
			s->inside_us = now_us;
		s->is_home = true;
		s->passed_us = 0;
	} else if (s->is_home && s->passed_us == 0) {
		s->passed_us = now_us;
	}
}

/* The needier of two at random that are not known to take nothing. */
static struct swarm_site *
draw(struct swarm *s)
{
	struct swarm_site *drawn[2] = { NULL, NULL };
	uint32_t n = 0;

	array_each (site, &s->sites) {
		if ((*site)->barren || is_full(s, *site))
			continue;
		n++;
		if (n <= 2)
			drawn[n - 1] = *site;
		else {
			uint64_t i = rng_below(&s->rng, n);
			if (i < 2)
				drawn[i] = *site;
		}
	}
	if (n < 2)
		return drawn[0];
	uint64_t first = rng_below(&s->rng, 2);
	return is_needier(drawn[1 - first], drawn[first]) ? drawn[1 - first] : drawn[first];
}

bool
swarm_export_is_lean(const struct swarm *s)
{
	return s->o.origin && s->lone.count > 0 &&
	       s->gateways.len > (s->gateway ? (size_t)1 : (size_t)0);
}

/* With nothing under way any unit will do. */
static void
judge_idle(struct swarm *s)
{
	bool idle = under_way(s) == 0;

	for (size_t i = 0; idle && !s->export_idle && i < s->sites.len; i++)
		s->sites.at[i]->barren = false;
	s->export_idle = idle;
}

bool
swarm_export(struct swarm *s, uint64_t now_us, struct swarm_offer *ret)
{
	uint64_t window = max_of(s->export_window.bytes, (uint64_t)s->o.unit_size * LEAST_UNITS);
	struct swarm_site *site;

	if (s->sites.len == 0 || !(s->gateway || s->o.origin) || under_way(s) >= window)
		return false;
	judge_passed(s, now_us);
	judge_idle(s);
	while ((site = draw(s)) != NULL) {
		uint32_t unit = 0;
		struct swarm_peer *p = choose_unit(s, site, now_us, &unit);
		site->barren = p == NULL;
		if (p == NULL)
			continue;
		if (bitset_has(&s->inside, unit))
			let_out(s, unit);
		swarm_slot_open(s, p, unit, now_us);
		*ret = (struct swarm_offer){ .peer = p->id, .unit = unit };
		return true;
	}
	return false;
}

/*
 * What a trip takes without a queue.  All who export over a line fill the same queue, so in a long
 * job nobody sees it empty again: the least of a period would be the queue itself, and windows grow
 * without end.  So it is the least ever, which rises a little with time, as ways change.
 */
static uint64_t
note_least(struct swarm_site *site, uint64_t trip_us, uint64_t now_us)
{
	if (now_us >= site->trips_since_us + TRIPS_US) {
		site->trip_least_us += site->trip_least_us / 64;
		site->trips_since_us = now_us;
	}
	if (site->trip_least_us == 0 || trip_us < site->trip_least_us)
		site->trip_least_us = trip_us;
	return site->trip_least_us;
}

/*
 * What a unit takes longer than the least is time in queues.  The window grows until that is
 * QUEUE_US: by a unit for each that arrives while it is far from it, then by one a window.
 */
static void
resize(struct swarm_window *w, uint64_t queue_us, uint64_t unit, uint64_t least)
{
	uint64_t bytes = max_of(w->bytes, least);

	w->queue_us = (w->queue_us * 7 + queue_us) / 8;
	if (w->queue_us < QUEUE_US / 2)
		bytes += unit;
	else if (w->queue_us < QUEUE_US)
		bytes += unit * unit / bytes;
	else if (w->queue_us > QUEUE_US + QUEUE_US / 2)
		bytes -= min_of(bytes, unit / 4);
	bytes = min_of(bytes, (uint64_t)SWARM_FAR_MAX * unit);
	w->bytes = max_of(bytes, least);
}

static void
measure(struct swarm *s, struct swarm_site *site, uint64_t trip_us, uint64_t now_us)
{
	uint64_t unit = s->o.unit_size;
	uint64_t queue_us = trip_us - min_of(trip_us, note_least(site, trip_us, now_us));

	resize(&s->export_window, queue_us, unit, LEAST_UNITS * unit);
	resize(&site->window, queue_us, unit, LEAST_EACH * unit);
}

void
swarm_export_arrived(
    struct swarm *s, struct swarm_peer *p, struct swarm_slot *slot, uint64_t now_us)
{
	measure(s, p->site, now_us - slot->offered_us, now_us);
	swarm_slot_end(p, slot);
}

void
swarm_export_elsewhere(struct swarm *s, struct swarm_peer *p, uint32_t unit, uint64_t now_us)
{
	array_push(&s->elsewhere, ((struct swarm_refusal){ unit, p->id, now_us }));
	swarm_timer(s, now_us + SWARM_GRACE_US);
}

void
swarm_export_tick(struct swarm *s, uint64_t now_us)
{
	for (size_t i = s->elsewhere.len; i > 0; i--) {
		if (now_us >= s->elsewhere.at[i - 1].at_us + SWARM_GRACE_US)
			array_swap_out(&s->elsewhere, i - 1);
	}
	if (s->export_retry_us == 0 || now_us < s->export_retry_us)
		return;
	s->export_retry_us = 0;
	array_each (site, &s->sites)
		(*site)->barren = false;
}

uint64_t
swarm_export_wakes(const struct swarm *s)
{
	return s->export_retry_us > 0 ? s->export_retry_us : UINT64_MAX;
}
