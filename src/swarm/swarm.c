/* This node and its peers: who holds and awaits what, and how many copies that makes. */
#include "swarm/swarm_private.h"

#include <assert.h>

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
	s->runs = mem_array(struct swarm_run, SWARM_RUNS_MAX);
	s->depth = SWARM_SLOTS_MIN;
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
	array_clear(&s->log);
	bitset_clear(&s->have);
	bitset_clear(&s->pend);
	bitset_clear(&s->skip);
	bitset_clear(&s->lone);
	free(s->copies);
	free(s->runs);
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
	return s->inbound;
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

struct swarm_peer *
swarm_peer_find(const struct swarm *s, uint64_t peer)
{
	for (size_t i = 0; i < s->peers.len; i++) {
		if (s->peers.at[i]->id == peer)
			return s->peers.at[i];
	}
	return NULL;
}

void
swarm_peer_add(struct swarm *s, uint64_t peer, bool last_resort, uint64_t now_us)
{
	struct swarm_peer *p;

	if (swarm_peer_find(s, peer) != NULL)
		return;
	if (s->peers.len == 0)
		s->fed_us = now_us;
	p = mem_new(struct swarm_peer);
	p->id = peer;
	p->last_resort = last_resort;
	bitset_init(&p->have, s->o.n_units);
	bitset_init(&p->pend, s->o.n_units);
	p->last_in_us = now_us;
	p->told = s->log_base + s->log.len;
	p->urgent = true;
	array_push(&s->peers, p);
}

void
swarm_retry(struct swarm *s)
{
	array_each (p, &s->peers)
		(*p)->barren = false;
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

void
swarm_peer_mark(struct swarm *s, struct swarm_peer *p, uint32_t unit, bool have, bool pend)
{
	bool before = bitset_has(&p->have, unit) || bitset_has(&p->pend, unit);

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
	if (!before && (have || pend))
		add_copy(s, unit);
	else if (before && !have && !pend)
		drop_copy(s, unit);
	if (!have && !pend)
		p->barren = false;
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
	(void)now_us;
	for (size_t i = 0; i < s->peers.len; i++) {
		struct swarm_peer *p = s->peers.at[i];
		if (p->id != peer)
			continue;
		swarm_forget_flights(s, p);
		swarm_forget_slots(s, p);
		forget_copies(s, p);
		array_swap_out(&s->peers, i);
		peer_free(p);
		swarm_retry(s);
		return;
	}
}

void
swarm_peer_blocked(struct swarm *s, uint64_t peer, bool blocked, uint64_t now_us)
{
	struct swarm_peer *p = swarm_peer_find(s, peer);

	if (p == NULL || (p->blocked_us != 0) == blocked)
		return;
	p->blocked_us = blocked ? max_of(now_us, (uint64_t)1) : 0;
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
	swarm_retry(s);
	return true;
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
	return true;
}
