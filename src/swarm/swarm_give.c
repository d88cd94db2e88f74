/*
 * The giving side: slots, who is offered the next unit, and which.
 *
 * Slots hold what was offered and what was accepted and not yet handed to the connection.  Their
 * number follows from how long an offer takes to be accepted, in units of the time that the uplink
 * needs for one: enough that the uplink never waits for an acceptance, no more, or the queues on
 * the way grow and with them that time.
 */
#include <assert.h>

#include "swarm/swarm_private.h"

enum {
	SAMPLE_US = 20 * 1000, /* of sending, over which the uplink's rate is measured */
	LEAN_SHARE = 8,        /* an eighth of the units is little */
	WEAK_SLOTS = 1,        /* and one for the round trip, where a unit takes longer than ... */
	WEAK_UNIT_US = 1000 * 1000,
};

/* -- slots -- */

struct swarm_slot *
swarm_slot_find(struct swarm_peer *p, uint32_t unit)
{
	array_each (slot, &p->slots) {
		if (slot->unit == unit)
			return slot;
	}
	return NULL;
}

static bool
is_stuck(const struct swarm_peer *p, uint64_t now_us)
{
	return p->blocked_us != 0 && now_us >= p->blocked_us + SWARM_SUSPECT_US;
}

/* What waits at a connection that takes nothing is no use of the uplink. */
static uint32_t
slots_filled(const struct swarm *s, uint64_t now_us)
{
	uint32_t n = 0, all = 0;

	array_each (p, &s->peers) {
		if ((*p)->far)
			continue;
		if (!is_stuck(*p, now_us))
			all += (uint32_t)(*p)->slots.len;
		if ((*p)->blocked_us == 0)
			n += (uint32_t)(*p)->slots.len;
	}
	return all >= 2 * SWARM_SLOTS_MAX ? all : n;
}

void
swarm_slot_end(struct swarm_peer *p, struct swarm_slot *slot)
{
	array_swap_out(&p->slots, (size_t)(slot - p->slots.at));
}

void
swarm_forget_slots(struct swarm *s, struct swarm_peer *p)
{
	(void)s;
	p->slots.len = 0;
}

/* -- what the uplink does -- */

static void
measure_rtt(struct swarm *s, struct swarm_peer *p, uint64_t us)
{
	us = max_of(us, (uint64_t)1);
	p->stats.rtt_us =
	    p->stats.rtt_us == 0 ? (uint32_t)us : (uint32_t)((p->stats.rtt_us * 7 + us) / 8);
	s->rtt_us = s->rtt_us == 0 ? us : (s->rtt_us * 15 + us) / 16;
}

/* A unit was served from its acceptance, or the end of the one before, to its last byte. */
static void
measure_rate(struct swarm *s, const struct swarm_slot *slot, uint64_t bytes, uint64_t now_us)
{
	uint64_t from_us = max_of(slot->since_us, s->last_sent_us);

	s->busy_us += max_of(now_us - from_us, (uint64_t)1);
	s->busy_bytes += bytes;
	s->last_sent_us = now_us;
	if (s->busy_us < SAMPLE_US)
		return;
	uint64_t rate = s->busy_bytes * 1000000 / s->busy_us;
	s->rate = s->rate == 0 ? rate : (s->rate * 3 + rate) / 4;
	s->busy_us = s->busy_bytes = 0;
	swarm_measure_depth(s);
}

void
swarm_measure_depth(struct swarm *s)
{
	uint64_t depth = SWARM_SLOTS_MIN;

	if (s->rate > 0 && s->rtt_us > 0) {
		uint64_t unit_us =
		    max_of(s->o.unit_size * (uint64_t)1000000 / s->rate, (uint64_t)1);
		depth = (unit_us > WEAK_UNIT_US ? WEAK_SLOTS : SWARM_SLOTS_MIN) +
			(s->rtt_us + unit_us - 1) / unit_us;
	}
	s->depth = (uint32_t)min_of(depth, (uint64_t)SWARM_SLOTS_MAX);
}

uint32_t
swarm_slots(const struct swarm *s)
{
	return min_of(s->depth, s->allowed);
}

uint32_t
swarm_depth(const struct swarm *s)
{
	return s->depth;
}

void
swarm_allow(struct swarm *s, uint32_t slots)
{
	s->allowed = slots;
}

bool
swarm_wants(const struct swarm *s)
{
	return s->wants;
}

uint32_t
swarm_giving(const struct swarm *s)
{
	uint32_t n = 0;

	array_each (p, &s->peers)
		n += (uint32_t)(*p)->slots.len;
	return n;
}

uint64_t
swarm_rate(const struct swarm *s)
{
	return s->rate;
}

/* -- whom -- */

static bool
has_room(const struct swarm_peer *p, uint64_t now_us)
{
	return p->heard && !p->banned && p->blocked_us == 0 && p->inbound < SWARM_INBOUND &&
	       now_us >= p->not_before_us;
}

enum { STRONGER = 3 /* times */, BEHIND_SHARE = 64, IDLE = 3, BUSY = SWARM_INBOUND / 2 };

/* Who is far behind, unless so much is on its way to him that more would not help, or nothing to
 * the other; else fewest inbound, then fewest held. */
static bool
is_needier(const struct swarm_peer *a, const struct swarm_peer *b)
{
	uint32_t x = swarm_peer_missing(a), y = swarm_peer_missing(b);
	uint32_t behind = (uint32_t)(a->have.n / BEHIND_SHARE);

	if (a->inbound >= IDLE && b->inbound >= IDLE && a->inbound < BUSY && b->inbound < BUSY &&
	    (x > y + behind || y > x + behind))
		return x > y;
	if (a->inbound != b->inbound)
		return a->inbound < b->inbound;
	return x > y;
}

/* For what nobody else has: A passes it on much sooner, and is hardly busier. */
static bool
is_stronger(const struct swarm_peer *a, const struct swarm_peer *b)
{
	return b->rate > 0 && a->rate / STRONGER > b->rate && a->inbound <= b->inbound + STRONGER;
}

static bool
is_better(const struct swarm_peer *a, const struct swarm_peer *b, bool fresh)
{
	if (fresh && is_stronger(a, b) != is_stronger(b, a))
		return is_stronger(a, b);
	return is_needier(a, b);
}

/*
 * Two eligible peers at random, the needier of them.  With views that are a round trip old the
 * neediest of all would be picked by everybody at once.
 */
static struct swarm_peer *
draw_of(struct swarm *s, bool only_ordinary, uint64_t now_us)
{
	struct swarm_peer *drawn[2] = { NULL, NULL };
	uint32_t n = 0;

	array_each (at, &s->peers) {
		struct swarm_peer *p = *at;
		if (p->far || p->barren || !has_room(p, now_us) ||
		    (only_ordinary && p->last_resort))
			continue;
		n++;
		if (n <= 2)
			drawn[n - 1] = p;
		else {
			uint64_t i = rng_below(&s->rng, n);
			if (i < 2)
				drawn[i] = p;
		}
	}
	if (n < 2)
		return drawn[0];
	/* Which of the two is first in the array says nothing: ties are broken by the dice. */
	uint64_t first = rng_below(&s->rng, 2);
	return is_better(drawn[1 - first], drawn[first], s->lone.count > 0) ? drawn[1 - first]
									    : drawn[first];
}

/* The last resort passes on nothing that others hold: a first copy is better with who does. */
static struct swarm_peer *
draw(struct swarm *s, uint64_t now_us)
{
	struct swarm_peer *p = s->lone.count > 0 ? draw_of(s, true, now_us) : NULL;

	return p != NULL ? p : draw_of(s, false, now_us);
}

/* -- what -- */

/* A unit of SET that P lacks, from a random place on; n_units: none. */
static uint32_t
find_lacking(struct swarm *s, const struct bitset *set, const struct swarm_peer *p)
{
	size_t words = (s->o.n_units + 63) / 64, from = rng_below(&s->rng, words);

	if (set->count == 0)
		return s->o.n_units;
	for (size_t i = 0; i < words; i++) {
		size_t w = (from + i) % words;
		uint64_t bits = set->words[w] & swarm_peer_lacks(p, w);
		if (bits == 0)
			continue;
		/* any of the word's, so that two who scan alike do not offer alike */
		for (uint64_t skip = rng_below(&s->rng, (uint64_t)__builtin_popcountll(bits));
		     skip > 0; skip--)
			bits &= bits - 1;
		return (uint32_t)(w * 64 + (size_t)__builtin_ctzll(bits));
	}
	return s->o.n_units;
}

/* Of up to SWARM_LOOK units that are here and that P lacks, one of the rarest. */
static uint32_t
find_rare(struct swarm *s, const struct swarm_peer *p)
{
	size_t words = (s->o.n_units + 63) / 64, from = rng_below(&s->rng, words);
	uint32_t best = s->o.n_units, looked = 0, ties = 0;

	for (size_t i = 0; i < words && looked < SWARM_LOOK; i++) {
		size_t w = (from + i) % words;
		uint64_t bits = s->have.words[w] & swarm_peer_lacks(p, w);
		for (; bits != 0; bits &= bits - 1, looked++) {
			uint32_t u = (uint32_t)(w * 64 + (size_t)__builtin_ctzll(bits));
			if (best < s->o.n_units && s->copies[u] > s->copies[best])
				continue;
			ties =
			    best < s->o.n_units && s->copies[u] == s->copies[best] ? ties + 1 : 1;
			if (ties == 1 || rng_below(&s->rng, ties) == 0)
				best = u;
		}
	}
	return best;
}

/* Somebody who could be given a unit that nobody else has: now, or when he has room again. */
static bool
somebody_lacks_lone(struct swarm *s)
{
	array_each (p, &s->peers) {
		if (!(*p)->far && (*p)->heard && !(*p)->banned && (*p)->blocked_us == 0 &&
		    find_lacking(s, &s->lone, *p) < s->o.n_units)
			return true;
	}
	return false;
}

static bool
may_be_second(struct swarm *s, const struct swarm_peer *p)
{
	if (s->o.last_resort)
		return p->starving;
	return !s->o.origin || s->lone.count == 0 || !somebody_lacks_lone(s);
}

/*
 * Lean origin.  When each unit has been sent once and the others lack little by then, they are as
 * quick as the origin: what several of them have they give each other while its uplink would only
 * send it once more.  For a while; who lacks much (he came late) is not meant, nor where the origin
 * is the quickest by far: there they lack much when it has sent everything once.
 */
static bool
lacks_little(const struct swarm *s, const struct swarm_peer *p)
{
	return swarm_peer_missing(p) <= s->o.n_units / LEAN_SHARE;
}

static void
judge_lean(struct swarm *s, uint64_t now_us)
{
	uint32_t many = 0, little = 0;

	if (!s->o.origin || s->passed || s->lone.count > 0)
		return;
	array_each (p, &s->peers) {
		bool counts = (*p)->heard && !(*p)->far && !(*p)->last_resort;
		many += counts;
		little += counts && lacks_little(s, *p);
	}
	if (many == 0)
		return;
	s->passed = true;
	if (2 * little > many)
		s->lean_us = now_us + SWARM_LEAN_US;
}

static uint32_t
choose_second(struct swarm *s, struct swarm_peer *p, uint64_t now_us)
{
	uint32_t unit = may_be_second(s, p) ? find_rare(s, p) : s->o.n_units;

	if (unit < s->o.n_units && now_us < s->lean_us && s->copies[unit] > 1 && lacks_little(s, p))
		return s->o.n_units;
	return unit;
}

static uint32_t
choose(struct swarm *s, struct swarm_peer *p, uint64_t now_us)
{
	uint32_t unit = find_lacking(s, &s->lone, p);

	return unit < s->o.n_units ? unit : choose_second(s, p, now_us);
}

void
swarm_slot_open(struct swarm *s, struct swarm_peer *p, uint32_t unit, uint64_t now_us)
{
	array_push(&p->slots,
	    ((struct swarm_slot){ .unit = unit, .since_us = now_us, .offered_us = now_us }));
	swarm_timer(s, now_us + SWARM_OFFER_US);
	swarm_peer_mark(s, p, unit, false, true);
	p->inbound++;
	p->stats.offers_out++;
}

/* To a peer of this site. */
static bool
offer_near(struct swarm *s, uint64_t now_us, struct swarm_offer *ret)
{
	struct swarm_peer *p;
	bool found = false;

	/* Who is drawn in vain is passed over until something changes, so this ends. */
	while (!found && (p = draw(s, now_us)) != NULL) {
		uint32_t unit = choose(s, p, now_us);
		found = unit < s->o.n_units;
		p->barren = !found;
		if (found) {
			swarm_slot_open(s, p, unit, now_us);
			*ret = (struct swarm_offer){ .peer = p->id, .unit = unit };
		}
	}
	return found;
}

bool
swarm_offer(struct swarm *s, uint64_t now_us, struct swarm_offer *ret)
{
	bool lean = swarm_export_is_lean(s);

	judge_lean(s, now_us);
	s->wants = s->have.count > 0;
	if (!s->wants || s->allowed == 0)
		return false;
	if (!lean && swarm_export(s, now_us, ret))
		return true;
	if (slots_filled(s, now_us) >= swarm_slots(s))
		return false;
	s->wants = offer_near(s, now_us, ret) || (lean && swarm_export(s, now_us, ret));
	return s->wants;
}

/* -- how it ends -- */

bool
swarm_accepted(struct swarm *s, uint64_t peer, uint32_t unit, uint64_t now_us)
{
	struct swarm_peer *p = swarm_peer_find(s, peer);
	struct swarm_slot *slot = p != NULL ? swarm_slot_find(p, unit) : NULL;

	if (slot == NULL || slot->accepted)
		return false;
	measure_rtt(s, p, now_us - slot->since_us);
	slot->accepted = true;
	slot->since_us = now_us;
	p->stats.accepted_out++;
	swarm_measure_depth(s);
	return true;
}

void
swarm_declined(struct swarm *s, uint64_t peer, uint32_t unit, enum swarm_verdict why,
    uint64_t retry_us, uint64_t now_us)
{
	struct swarm_peer *p = swarm_peer_find(s, peer);
	struct swarm_slot *slot = p != NULL ? swarm_slot_find(p, unit) : NULL;

	if (slot == NULL || slot->accepted)
		return;
	swarm_slot_end(p, slot);
	p->inbound -= p->inbound > 0;
	if (why == SWARM_HELD) {
		/* it stays marked: its news will say which of the two it is */
		p->stats.declined_held++;
		return;
	}
	if (why == SWARM_ELSEWHERE && p->far) {
		p->stats.declined_elsewhere++;
		swarm_export_elsewhere(s, p, unit, now_us);
		swarm_peer_mark(s, p, unit, false, false);
		return;
	}
	p->stats.declined_busy++;
	p->not_before_us = now_us + min_of(retry_us, SWARM_RETRY_MAX_US);
	swarm_timer(s, p->not_before_us);
	swarm_peer_mark(s, p, unit, false, false);
}

/* Its last byte has left for afar: it is under way until its site says that it is there. */
static void
follow(struct swarm *s, struct swarm_peer *p, struct swarm_slot *slot, uint64_t now_us)
{
	slot->sent = true;
	slot->since_us = now_us;
	swarm_timer(s, now_us + SWARM_ARRIVE_US);
	if (bitset_has(&p->have, slot->unit))
		swarm_export_arrived(s, p, slot, now_us);
}

/* UNIT is no longer served to PEER.  LACKED: it does not have it from us. */
static void
end_service(
    struct swarm *s, uint64_t peer, uint32_t unit, uint64_t bytes, bool lacked, uint64_t now_us)
{
	struct swarm_peer *p = swarm_peer_find(s, peer);
	struct swarm_slot *slot = p != NULL ? swarm_slot_find(p, unit) : NULL;

	if (slot == NULL || slot->sent)
		return;
	lacked |= slot->dropped;
	p->stats.bytes_out += bytes;
	if (!p->far)
		measure_rate(s, slot, bytes, now_us);
	if (p->far && !lacked) {
		follow(s, p, slot, now_us);
		return;
	}
	swarm_slot_end(p, slot);
	p->inbound -= p->inbound > 0; /* its next news count right */
	if (lacked && !bitset_has(&p->have, unit))
		swarm_peer_mark(s, p, unit, false, false);
}

/* It is as good as there. */
void
swarm_sent(struct swarm *s, uint64_t peer, uint32_t unit, uint64_t bytes, uint64_t now_us)
{
	end_service(s, peer, unit, bytes, false, now_us);
}

void
swarm_withdrawn(struct swarm *s, uint64_t peer, uint32_t unit, uint64_t bytes, uint64_t now_us)
{
	end_service(s, peer, unit, bytes, true, now_us);
}
