/* This node and its peers: who holds and awaits what, and how many copies that makes. */
#include "swarm/swarm_private.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

struct swarm *
swarm_new(const struct swarm_opts *o)
{
	struct swarm *s = mem_new(struct swarm);

	s->o = *o;
	rng_seed(&s->rng, o->seed);
	bitset_init(&s->have, o->n_units);
	bitset_init(&s->pend, o->n_units);
	bitset_init(&s->skip, o->n_units);
	bitset_init(&s->lone, o->n_units);
	s->copies = mem_array(uint16_t, o->n_units);
	s->holders = mem_array(uint16_t, o->n_units);
	s->depth = SWARM_SLOTS_MIN;
	s->allowed = UINT32_MAX;
	swarm_site_elect(s);
	return s;
}

static void
peer_free(struct swarm_peer *p)
{
	bitset_clear(&p->have);
	bitset_clear(&p->pend);
	bitset_clear(&p->skip);
	array_clear(&p->slots);
	array_clear(&p->flights);
	free(p);
}

void
swarm_free(struct swarm *s)
{
	if (s == NULL)
		return;
	array_each (p, &s->peers)
		peer_free(*p);
	array_clear(&s->peers);
	array_clear(&s->index);
	array_each (site, &s->sites)
		swarm_site_free(*site);
	array_clear(&s->sites);
	array_clear(&s->gateways);
	array_clear(&s->fellows);
	array_clear(&s->refused);
	array_clear(&s->elsewhere);
	array_clear(&s->near_log.units);
	array_clear(&s->far_log.units);
	bitset_clear(&s->have);
	bitset_clear(&s->pend);
	bitset_clear(&s->skip);
	bitset_clear(&s->lone);
	bitset_clear(&s->left);
	bitset_clear(&s->inside);
	free(s->copies);
	free(s->holders);
	free(s->abroad);
	free(s->site_state);
	array_clear(&s->runs);
	array_clear(&s->left_log.units);
	free(s);
}

/* -- this node -- */

void
swarm_hold(struct swarm *s, uint32_t unit)
{
	assert(unit < s->o.n_units);
	if (!bitset_set(&s->have, unit))
		return;
	bitset_unset(&s->pend, unit);
	bitset_unset(&s->skip, unit);
	if (s->copies[unit] == 0)
		bitset_set(&s->lone, unit);
	array_each (p, &s->peers) {
		if (!swarm_peer_closed(*p, unit))
			(*p)->barren = false;
	}
	array_each (site, &s->sites)
		(*site)->barren = false;
	swarm_note(s, unit);
}

void
swarm_lose(struct swarm *s, uint32_t unit)
{
	assert(unit < s->o.n_units);
	if (!bitset_unset(&s->have, unit))
		return;
	bitset_unset(&s->lone, unit);
	swarm_note(s, unit);
}

void
swarm_skip(struct swarm *s, uint32_t unit)
{
	assert(unit < s->o.n_units);
	if (!bitset_has(&s->have, unit) && bitset_set(&s->skip, unit))
		swarm_note(s, unit);
}

bool
swarm_holds(const struct swarm *s, uint32_t unit)
{
	return bitset_has(&s->have, unit);
}

bool
swarm_is_complete(const struct swarm *s)
{
	return s->have.count + s->skip.count == s->o.n_units;
}

uint32_t
swarm_units(const struct swarm *s)
{
	return s->o.n_units;
}

uint32_t
swarm_units_skipped(const struct swarm *s)
{
	return (uint32_t)s->skip.count;
}

uint32_t
swarm_units_held(const struct swarm *s)
{
	return (uint32_t)s->have.count;
}

void
swarm_want(struct swarm *s, uint32_t unit)
{
	assert(unit < s->o.n_units);
	if (bitset_unset(&s->skip, unit))
		swarm_note(s, unit);
}

void
swarm_pause(struct swarm *s, bool paused)
{
	if (s->paused == paused)
		return;
	s->paused = paused;
	s->resumed = !paused;
	array_each (p, &s->peers)
		(*p)->urgent = true;
}

uint32_t
swarm_awaited(const struct swarm *s)
{
	return s->inbound + s->inbound_far;
}

static bool
is_nowhere(const struct swarm *s, uint32_t u)
{
	return s->copies[u] == 0 && !bitset_has(&s->have, u) && !bitset_has(&s->pend, u) &&
	       !bitset_has(&s->skip, u);
}

uint32_t
swarm_nowhere(const struct swarm *s)
{
	uint32_t n = 0;

	for (uint32_t u = 0; u < s->o.n_units; u++)
		n += is_nowhere(s, u);
	return n;
}

bool
swarm_first_nowhere(const struct swarm *s, uint32_t *ret_unit)
{
	for (uint32_t u = 0; u < s->o.n_units; u++) {
		if (is_nowhere(s, u)) {
			*ret_unit = u;
			return true;
		}
	}
	return false;
}

/* -- peers -- */

bool
swarm_peer_at(const struct swarm *s, size_t i, uint64_t *ret_peer)
{
	if (i >= s->peers.len)
		return false;
	*ret_peer = s->peers.at[i]->id;
	return true;
}

/* Where in the index PEER is, or would be. */
static size_t
index_place(const struct swarm *s, uint64_t peer)
{
	size_t low = 0, high = s->index.len;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (s->index.at[middle].id < peer)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct swarm_peer *
swarm_peer_find(const struct swarm *s, uint64_t peer)
{
	size_t i = index_place(s, peer);

	return i < s->index.len && s->index.at[i].id == peer ? s->index.at[i].peer : NULL;
}

static void
index_add(struct swarm *s, struct swarm_peer *p)
{
	size_t i = index_place(s, p->id), after = s->index.len - i;

	array_push(&s->index, ((struct swarm_ref){ p->id, p }));
	memmove(s->index.at + i + 1, s->index.at + i, after * sizeof s->index.at[0]);
	s->index.at[i] = (struct swarm_ref){ p->id, p };
}

static void
index_remove(struct swarm *s, uint64_t peer)
{
	size_t i = index_place(s, peer), after = --s->index.len - i;

	memmove(s->index.at + i, s->index.at + i + 1, after * sizeof s->index.at[0]);
}

void
swarm_retry(struct swarm *s)
{
	array_each (p, &s->peers)
		(*p)->barren = false;
	array_each (site, &s->sites)
		(*site)->barren = false;
}

/* Whose turn it is follows from what nobody else has: the first of that and the last change it. */
static void
add_copy(struct swarm *s, uint32_t unit)
{
	if (s->copies[unit]++ == 0 && bitset_unset(&s->lone, unit) && s->lone.count == 0)
		swarm_retry(s);
}

static void
drop_copy(struct swarm *s, uint32_t unit)
{
	if (--s->copies[unit] == 0 && bitset_has(&s->have, unit) && bitset_set(&s->lone, unit))
		swarm_retry(s);
}

static void
mark_near(struct swarm *s, uint32_t unit, bool held, bool holds, bool before, bool after)
{
	if (holds != held)
		s->holders[unit] = (uint16_t)(s->holders[unit] + (holds ? 1 : -1));
	if (!before && after)
		add_copy(s, unit);
	else if (before && !after)
		drop_copy(s, unit);
	swarm_site_note(s, unit);
}

static void
mark_far(struct swarm *s, struct swarm_peer *p, uint32_t unit, bool before, bool after)
{
	if (!before && after)
		swarm_site_claim(s, p, unit);
	else if (before && !after)
		swarm_site_unclaim(s, p, unit);
}

void
swarm_peer_mark(struct swarm *s, struct swarm_peer *p, uint32_t unit, bool have, bool pend)
{
	bool held = bitset_has(&p->have, unit);
	bool before = held || bitset_has(&p->pend, unit);

	if (have)
		bitset_set(&p->have, unit);
	else
		bitset_unset(&p->have, unit);
	if (pend && !have)
		bitset_set(&p->pend, unit);
	else
		bitset_unset(&p->pend, unit);
	if (p->skip.n > 0)
		bitset_unset(&p->skip, unit);
	if (p->far)
		mark_far(s, p, unit, before, have || pend);
	else
		mark_near(s, unit, held, have, before, have || pend);
	if (!have && !pend)
		p->barren = false;
}

/* What it holds and awaits counts among the near or for its site, from now on or no more. */
static void
count_marks(struct swarm *s, struct swarm_peer *p, bool in)
{
	for (uint32_t u = 0; p->have.count + p->pend.count > 0 && u < s->o.n_units; u++) {
		bool have = bitset_has(&p->have, u), any = have || bitset_has(&p->pend, u);
		if (!any)
			continue;
		if (p->far)
			mark_far(s, p, u, !in, in);
		else
			mark_near(s, u, have && !in, have && in, !in, in);
	}
}

static void
settle(struct swarm *s, struct swarm_peer *p)
{
	if (p->far)
		swarm_site_join(s, p);
	else if (p->last_resort)
		s->resort = p;
	count_marks(s, p, true);
	if (!p->far)
		swarm_site_elect(s);
}

static void
uproot(struct swarm *s, struct swarm_peer *p)
{
	count_marks(s, p, false);
	if (p->far)
		swarm_site_part(s, p);
	if (s->resort == p)
		s->resort = NULL;
}

static void
move_flight(struct swarm *s, struct swarm_flight *f, bool far)
{
	if (f->far == far)
		return;
	f->far = far;
	if (f->suspect)
		return;
	s->inbound += far ? -1u : 1u;
	s->inbound_far += far ? 1u : -1u;
}

void
swarm_peer_add(struct swarm *s, uint64_t peer, const struct swarm_peer_opts *o, uint64_t now_us)
{
	struct swarm_peer *p;

	if (swarm_peer_find(s, peer) != NULL)
		return;
	if (s->peers.len == 0)
		s->fed_us = now_us;
	p = mem_new(struct swarm_peer);
	p->id = peer;
	p->place = o->place;
	p->far = o->far;
	p->last_resort = o->last_resort;
	bitset_init(&p->have, s->o.n_units);
	bitset_init(&p->pend, s->o.n_units);
	p->last_in_us = now_us;
	p->told = swarm_log_end(swarm_log_for(s, p));
	p->told_left = swarm_log_end(&s->left_log);
	p->urgent = true;
	array_push(&s->peers, p);
	index_add(s, p);
	s->last_resorts += p->last_resort;
	settle(s, p);
}

void
swarm_peer_place(
    struct swarm *s, uint64_t peer, const struct swarm_place *place, bool far, uint64_t now_us)
{
	struct swarm_peer *p = swarm_peer_find(s, peer);

	(void)now_us;
	if (p == NULL)
		return;
	uproot(s, p);
	if (p->far != far) {
		for (size_t i = p->slots.len; i > 0; i--) {
			if (p->slots.at[i - 1].sent)
				swarm_slot_end(p, &p->slots.at[i - 1]);
		}
		array_each (f, &p->flights)
			move_flight(s, f, far);
		p->far = far;
		p->told = swarm_log_end(swarm_log_for(s, p));
		p->full_at = 0;
		p->urgent = true;
	}
	p->place = *place;
	settle(s, p);
	swarm_retry(s);
}

/* What a peer held counts no more: it has gone, or is not believed. */
static void
forget_copies(struct swarm *s, struct swarm_peer *p)
{
	for (size_t u = 0; (u = bitset_next(&p->have, u, true)) < p->have.n; u++)
		swarm_peer_mark(s, p, (uint32_t)u, false, false);
	for (size_t u = 0; (u = bitset_next(&p->pend, u, true)) < p->pend.n; u++)
		swarm_peer_mark(s, p, (uint32_t)u, false, false);
}

void
swarm_peer_gone(struct swarm *s, uint64_t peer, uint64_t now_us)
{
	struct swarm_peer *p = swarm_peer_find(s, peer);

	(void)now_us;
	if (p == NULL)
		return;
	swarm_forget_flights(s, p);
	swarm_forget_slots(s, p);
	forget_copies(s, p);
	uproot(s, p);
	array_remove(&s->peers, p);
	index_remove(s, peer);
	s->last_resorts -= p->last_resort;
	if (!p->far)
		swarm_site_elect(s);
	peer_free(p);
	swarm_retry(s);
}

void
swarm_peer_blocked(struct swarm *s, uint64_t peer, bool blocked, uint64_t now_us)
{
	struct swarm_peer *p = swarm_peer_find(s, peer);

	if (p == NULL || (p->blocked_us != 0) == blocked)
		return;
	p->blocked_us = blocked ? max_of(now_us, (uint64_t)1) : 0;
	swarm_timer(s, now_us + SWARM_SUSPECT_US);
	swarm_retry(s);
}

bool
swarm_charge(struct swarm *s, uint64_t peer)
{
	struct swarm_peer *p = swarm_peer_find(s, peer);

	if (p == NULL || p->banned || ++p->stats.wrong < SWARM_WRONG_MAX)
		return false;
	p->banned = true;
	forget_copies(s, p);
	if (!p->far)
		swarm_site_elect(s);
	swarm_retry(s);
	return true;
}

static bool
is_gateway(const struct swarm *s, const struct swarm_peer *p)
{
	if (p->far)
		return swarm_site_is_gateway(p);
	array_each (node, &s->gateways) {
		if (*node == p->place.node && p->place.node != s->self.node)
			return true;
	}
	return false;
}

bool
swarm_peer_stats(const struct swarm *s, uint64_t peer, struct swarm_stats *ret)
{
	const struct swarm_peer *p = swarm_peer_find(s, peer);

	if (p == NULL)
		return false;
	*ret = p->stats;
	ret->held = (uint32_t)p->have.count;
	ret->awaited = (uint32_t)p->pend.count;
	ret->blocked = p->blocked_us != 0;
	ret->distrusted = p->penance_us != 0;
	ret->banned = p->banned;
	ret->starving = p->starving;
	ret->far = p->far;
	ret->gateway = is_gateway(s, p);
	return true;
}
