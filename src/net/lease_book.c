/*
 * The server's side of net/lease.h.
 *
 * Of each member the book knows what it may be using: what it has acknowledged (BASE), and whatever
 * was granted to it since (OPEN, the most of each).  Reserved for it is the greatest rate of these
 * whose time has not run out; and, of one that is not known to have a lease in five seconds from
 * now (unsure), its floor if that is more.
 *
 * A grant is the member's fair share, as far as the others leave it, and never takes away what a
 * member has before its fair share asks for that.  The share reckons each other member with what it
 * wants or what it has, whichever is more: so what two were granted at different times fits
 * together.
 *
 * Reserves change with time alone; they are added up anew when that was long ago for the number of
 * members, and corrected by what each grant changes in between.
 */
#include <stdlib.h>

#include "base/array.h"
#include "base/mem.h"
#include "net/lease.h"

enum {
	SLACK_MS = 200, /* a sum may be as old as that */
	HEADROOM = 32,  /* whoever wants nothing has this part of its floor, to begin with */
	ROUNDS_MAX = 32,
	MEMBERS_PER_MS = 64, /* that may be looked at to keep the sums fresh */
};

struct grant {
	uint32_t number;
	uint64_t at_ms;
	uint64_t rate[LEASE_WAYS], floor[LEASE_WAYS];
};
struct member {
	uint64_t key;
	bool is_here;
	uint64_t gone_ms;
	uint32_t number; /* of its last demand */
	uint64_t want[LEASE_WAYS];
	/* LAST is the latest of those that OPEN stands for; both have number 0 when there is none.
	 */
	struct grant base, open, last;
	uint64_t open_from_ms;
};

struct lease_book {
	uint64_t limit[LEASE_WAYS];
	struct map by_key; /* index */
	ARRAY(struct member) members;
	uint64_t start_ms, counted_ms;
	bool is_stale;
	uint64_t reserved[LEASE_WAYS], floors[LEASE_WAYS]; /* of all members */
	uint64_t level[LEASE_WAYS];                        /* where fair shares end */
};

/* -- one member -- */

static bool
is_out(const struct grant *g, uint64_t now_ms)
{
	return g->at_ms != 0 && now_ms < g->at_ms + LEASE_MS;
}

/* The most that it may be using by what was granted to it. */
static uint64_t
has_rate(const struct member *m, int way, uint64_t now_ms)
{
	uint64_t base = is_out(&m->base, now_ms) ? m->base.rate[way] : 0,
		 open = is_out(&m->open, now_ms) ? m->open.rate[way] : 0;

	return max_of(base, open);
}

static uint64_t
has_floor(const struct member *m, int way)
{
	return max_of(m->base.floor[way], m->open.floor[way]);
}

/* It has a lease, and goes back to its floor in LEASE_MS at the soonest. */
static bool
is_sure(const struct member *m, uint64_t now_ms)
{
	return m->is_here && m->base.number != 0 && is_out(&m->base, now_ms + SLACK_MS);
}

static uint64_t
reserved_for(const struct member *m, int way, uint64_t now_ms)
{
	uint64_t rate = has_rate(m, way, now_ms);

	return is_sure(m, now_ms) ? rate : max_of(rate, has_floor(m, way));
}

/* B is granted as well as A: the most of each. */
static void
merge(struct grant *a, const struct grant *b)
{
	a->number = b->number;
	a->at_ms = max_of(a->at_ms, b->at_ms);
	for (int i = 0; i < LEASE_WAYS; i++) {
		a->rate[i] = max_of(a->rate[i], b->rate[i]);
		a->floor[i] = max_of(a->floor[i], b->floor[i]);
	}
}

/* It says that ACKED was the latest to come. */
static void
take_ack(struct member *m, uint32_t acked)
{
	const struct grant none = { 0 };

	if (acked <= m->base.number || m->open.number == 0 || acked > m->last.number)
		return;
	if (acked == m->last.number) {
		m->base = m->last;
		m->open = none;
	} else { /* which of them is not kept: one of OPEN's, the first at the earliest */
		m->base = m->open;
		m->base.number = acked;
		m->base.at_ms = m->open_from_ms;
	}
}

/* -- all of them -- */

/* What it counts with when fair shares are worked out. */
static uint64_t
weight(const struct lease_book *b, const struct member *m, int way, uint64_t now_ms)
{
	uint64_t least = b->limit[way] / HEADROOM / b->members.len;

	least = max_of(least, m->want[way]);
	return max_of(least, has_rate(m, way, now_ms));
}

/* The level at which the shares of all that are sure, each no more than its weight, make ROOM. */
static uint64_t
find_level(const struct lease_book *b, int way, uint64_t room, uint64_t now_ms)
{
	uint64_t level = 0;

	for (int round = 0; round < ROUNDS_MAX; round++) {
		uint64_t below = 0, n_above = 0;
		array_each (m, &b->members) {
			uint64_t w = weight(b, m, way, now_ms);
			if (!is_sure(m, now_ms))
				continue;
			if (w > level)
				n_above++;
			else
				below += w;
		}
		uint64_t next = n_above > 0 && below < room ? (room - below) / n_above : level;
		if (n_above == 0)
			return room; /* everybody has what it wants */
		if (next <= level)
			return level;
		level = next;
	}
	return level;
}

/* Members that a server which has just started does not know yet may hold what of the floors is not
 * claimed. */
static uint64_t
strangers(const struct lease_book *b, int way, uint64_t now_ms)
{
	if (b->start_ms == 0 || now_ms >= b->start_ms + LEASE_STRANGERS_MS)
		return 0;
	return b->limit[way] - min_of(b->limit[way], b->floors[way]);
}

static void
count_way(struct lease_book *b, int way, uint64_t now_ms)
{
	uint64_t away = 0;

	b->reserved[way] = b->floors[way] = 0;
	array_each (m, &b->members) {
		uint64_t reserved = reserved_for(m, way, now_ms);
		b->reserved[way] += reserved;
		b->floors[way] += has_floor(m, way);
		away += is_sure(m, now_ms) ? 0 : reserved;
	}
	away += strangers(b, way, now_ms);
	b->level[way] = find_level(b, way, b->limit[way] - min_of(b->limit[way], away), now_ms);
}

static void
forget_gone(struct lease_book *b, uint64_t now_ms)
{
	for (size_t i = 0; i < b->members.len;) {
		struct member *m = &b->members.at[i];
		if (m->is_here || now_ms < m->gone_ms + LEASE_FORGET_MS) {
			i++;
			continue;
		}
		map_del(&b->by_key, BYTES_OF(m->key));
		array_swap_out(&b->members, i);
		if (i < b->members.len)
			map_put(&b->by_key, BYTES_OF(b->members.at[i].key), NULL)->num = i;
	}
}

/* The sums are of now, or nearly. */
static void
count(struct lease_book *b, uint64_t now_ms)
{
	if (!b->is_stale &&
	    now_ms - b->counted_ms < min_of(b->members.len / MEMBERS_PER_MS, (size_t)SLACK_MS))
		return;
	b->is_stale = false;
	b->counted_ms = now_ms;
	forget_gone(b, now_ms);
	for (int way = 0; way < LEASE_WAYS; way++)
		count_way(b, way, now_ms);
}

/* -- birth and death -- */

struct lease_book *
lease_book_new(const uint64_t limit[LEASE_WAYS], uint64_t start_ms)
{
	struct lease_book *b = mem_new(struct lease_book);

	lease_book_limit(b, limit);
	b->start_ms = start_ms;
	return b;
}

void
lease_book_free(struct lease_book *b)
{
	if (b == NULL)
		return;
	map_clear(&b->by_key);
	array_clear(&b->members);
	free(b);
}

void
lease_book_limit(struct lease_book *b, const uint64_t limit[LEASE_WAYS])
{
	for (int i = 0; i < LEASE_WAYS; i++)
		b->limit[i] = limit[i];
	b->is_stale = true;
}

/* -- who is here -- */

static struct member *
find(struct lease_book *b, uint64_t key)
{
	const struct map_slot *s = map_find(&b->by_key, BYTES_OF(key));

	return s != NULL ? &b->members.at[s->num] : NULL;
}

void
lease_book_joined(struct lease_book *b, uint64_t key, uint64_t now_ms)
{
	struct member *m = find(b, key);

	(void)now_ms;
	if (m == NULL) {
		if (b->members.len == LEASE_MEMBERS_MAX)
			return;
		map_put(&b->by_key, BYTES_OF(key), NULL)->num = b->members.len;
		array_push(&b->members, ((struct member){ .key = key }));
		m = &b->members.at[b->members.len - 1];
	}
	/* what it has from before it may have still, but it counts its leases anew */
	merge(&m->base, &m->open);
	m->base.number = m->number = 0;
	m->open = m->last = (struct grant){ 0 };
	m->is_here = true;
	b->is_stale = true;
}

void
lease_book_left(struct lease_book *b, uint64_t key, bool in_peace, uint64_t now_ms)
{
	struct member *m = find(b, key);

	if (m == NULL)
		return;
	m->is_here = false;
	m->gone_ms = in_peace ? 0 : now_ms;
	m->want[0] = m->want[1] = 0;
	if (in_peace)
		m->base = m->open = (struct grant){ 0 };
	b->is_stale = true;
}

/* -- granting -- */

/* As far as the others leave it; but what it has it keeps, up to its share. */
static uint64_t
grant_of(uint64_t share, uint64_t limit, uint64_t others, uint64_t has)
{
	uint64_t left = limit - min_of(limit, others);

	left = max_of(left, has);
	left = min_of(left, share);
	return max_of(left, UINT64_C(1));
}

static void
grant_way(struct lease_book *b, struct member *m, int way, uint64_t now_ms, struct grant *g)
{
	uint64_t limit = b->limit[way], unknown = strangers(b, way, now_ms);
	uint64_t reserved = reserved_for(m, way, now_ms), floor = has_floor(m, way);
	uint64_t least = limit / HEADROOM / b->members.len;

	if (limit == 0)
		return;
	uint64_t want = max_of(m->want[way], least);
	/* of one that is not sure its floor is reserved: so much it may have at once */
	uint64_t own = is_sure(m, now_ms) ? 0 : floor, has = has_rate(m, way, now_ms);
	uint64_t share = max_of(own, b->level[way]);
	g->rate[way] = grant_of(min_of(want, share), limit,
	    b->reserved[way] - min_of(b->reserved[way], reserved) + unknown, max_of(own, has));
	g->floor[way] = grant_of(limit / b->members.len, limit,
	    b->floors[way] - min_of(b->floors[way], floor) + unknown, floor);
}

bool
lease_book_call(struct lease_book *b, uint64_t key, struct lease *ret)
{
	struct member *m = find(b, key);

	if (m == NULL || !m->is_here)
		return false;
	*ret = (struct lease){ 0 };
	for (int i = 0; i < LEASE_WAYS; i++) {
		uint64_t equal = max_of(b->limit[i] / b->members.len, UINT64_C(1));
		if (b->limit[i] == 0)
			continue;
		if (has_floor(m, i) == 0)
			m->base.floor[i] = equal;
		ret->rate[i] = ret->floor[i] = equal;
	}
	b->is_stale = true;
	return true;
}

/* A member that the book has not given anything yet may have a floor of the server's last run. */
static void
take_claim(struct lease_book *b, struct member *m, const struct lease_demand *d)
{
	if (m->base.number != 0 || m->open.number != 0)
		return;
	for (int i = 0; i < LEASE_WAYS; i++) {
		uint64_t claim = min_of(d->floor[i], b->limit[i]);
		if (claim <= m->base.floor[i])
			continue;
		m->base.floor[i] = claim;
		b->is_stale = true;
	}
}

static void
note_grant(struct lease_book *b, struct member *m, const struct grant *g, uint64_t now_ms)
{
	uint64_t reserved[LEASE_WAYS], floor[LEASE_WAYS];

	for (int i = 0; i < LEASE_WAYS; i++) {
		reserved[i] = reserved_for(m, i, now_ms);
		floor[i] = has_floor(m, i);
	}
	if (m->open.number == 0)
		m->open_from_ms = now_ms;
	merge(&m->open, g);
	m->last = *g;
	for (int i = 0; i < LEASE_WAYS; i++) {
		b->reserved[i] += reserved_for(m, i, now_ms) - reserved[i];
		b->floors[i] += has_floor(m, i) - floor[i];
	}
}

bool
lease_book_demand(struct lease_book *b, uint64_t key, const struct lease_demand *d, uint64_t now_ms,
    struct lease *ret)
{
	struct member *m = find(b, key);

	if (m == NULL || !m->is_here || d->number <= m->number)
		return false;
	m->number = d->number;
	take_claim(b, m, d);
	uint64_t had[LEASE_WAYS];
	for (int i = 0; i < LEASE_WAYS; i++) {
		had[i] = reserved_for(m, i, now_ms);
		m->want[i] = min_of(d->want[i], b->limit[i]);
	}
	uint64_t had_floor[LEASE_WAYS] = { has_floor(m, 0), has_floor(m, 1) };
	take_ack(m, d->acked);
	for (int i = 0; i < LEASE_WAYS; i++) {
		b->reserved[i] += reserved_for(m, i, now_ms) - had[i];
		b->floors[i] += has_floor(m, i) - had_floor[i];
	}
	/* leases of the server's last run may be out */
	if (b->start_ms != 0 && now_ms < b->start_ms + LEASE_MS)
		return false;
	count(b, now_ms);
	struct grant g = { .number = d->number, .at_ms = max_of(now_ms, UINT64_C(1)) };
	for (int i = 0; i < LEASE_WAYS; i++)
		grant_way(b, m, i, now_ms, &g);
	note_grant(b, m, &g, now_ms);
	*ret = (struct lease){ .number = g.number };
	for (int i = 0; i < LEASE_WAYS; i++) {
		ret->rate[i] = g.rate[i];
		ret->floor[i] = g.floor[i];
	}
	return true;
}

uint32_t
lease_book_members(const struct lease_book *b)
{
	return (uint32_t)b->members.len;
}

void
lease_book_out(struct lease_book *b, uint64_t now_ms, uint64_t ret[LEASE_WAYS])
{
	b->is_stale = true;
	count(b, now_ms);
	for (int i = 0; i < LEASE_WAYS; i++)
		ret[i] = b->reserved[i];
}
