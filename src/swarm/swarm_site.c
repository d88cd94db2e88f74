/*
 * Sites: who takes what from afar, what this site has, and what the others say that they have.
 *
 * Rendezvous: of the gateways of a site the one with the largest draw takes a unit.  The draws are
 * of the node's number and the unit's, the same at everybody.
 */
#include "base/cleanup.h"
#include "swarm/swarm_private.h"
#include "swarm/swarm_rank.h"

/* The finalizer of splitmix64: every bit of X matters to every bit of the result. */
static uint64_t
scatter(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

static uint64_t
draw_of(uint64_t node, uint32_t unit)
{
	return scatter(scatter(node) ^ unit);
}

/* -- this site -- */

/* The best candidates first; who is none comes last. */
static bool
is_better(const struct swarm_place *a, const struct swarm_place *b)
{
	unsigned x = a->rank == 0 ? UINT8_MAX + 1u : a->rank;
	unsigned y = b->rank == 0 ? UINT8_MAX + 1u : b->rank;

	return x != y ? x < y : a->node < b->node;
}

static int
compare_places(const void *a, const void *b)
{
	const struct swarm_place *x = a, *y = b;

	return is_better(x, y) ? -1 : is_better(y, x);
}

/* How many of N, sorted, are gateways: the first so many of the candidates; without any, all. */
static size_t
count_gateways(const struct swarm_place *best, size_t n, size_t candidates)
{
	size_t k = best->gateways > 0 ? best->gateways : SWARM_RANK_GATEWAYS;

	return candidates == 0 ? n : min_of(k, candidates);
}

static void
find_fellows(struct swarm *s)
{
	s->fellows.len = 0;
	array_each (p, &s->peers) {
		if ((*p)->far || (*p)->banned)
			continue;
		array_each (node, &s->gateways) {
			if (*node == (*p)->place.node)
				array_push(&s->fellows, *p);
		}
	}
}

void
swarm_site_elect(struct swarm *s)
{
	auto_free struct swarm_place *all = mem_array(struct swarm_place, s->peers.len + 1);
	size_t n = 0, candidates = 0;

	all[n++] = s->self;
	array_each (p, &s->peers) {
		if (!(*p)->far && !(*p)->banned && !(*p)->last_resort)
			all[n++] = (*p)->place;
	}
	qsort(all, n, sizeof all[0], compare_places);
	while (candidates < n && all[candidates].rank > 0)
		candidates++;
	n = count_gateways(&all[0], n, candidates);
	s->gateway = false;
	s->gateways.len = 0;
	for (size_t i = 0; i < n; i++) {
		s->gateway |= all[i].node == s->self.node;
		array_push(&s->gateways, all[i].node);
	}
	find_fellows(s);
}

bool
swarm_is_gateway(const struct swarm *s)
{
	return s->gateway;
}

bool
swarm_site_is_mine(const struct swarm *s, uint32_t unit)
{
	uint64_t mine = draw_of(s->self.node, unit);

	if (!s->gateway)
		return false;
	array_each (node, &s->gateways) {
		if (draw_of(*node, unit) > mine)
			return false;
	}
	return true;
}

void
swarm_place(struct swarm *s, const struct swarm_place *self, uint64_t now_us)
{
	(void)now_us;
	s->self = *self;
	swarm_site_elect(s);
	swarm_retry(s);
}

/* What the last resort has is no part of what the site has: it gives nothing on until somebody
 * starves. */
/* The origin, when it is no gateway, leaves it to those that are. */
bool
swarm_site_is_exporter(const struct swarm *s, const struct swarm_site *site, uint32_t unit)
{
	uint64_t mine = draw_of(s->self.node ^ site->id, unit);

	array_each (p, &s->fellows) {
		if (bitset_has(&(*p)->have, unit) && (*p)->blocked_us == 0 &&
		    (!s->gateway || draw_of((*p)->place.node ^ site->id, unit) > mine))
			return false;
	}
	return true;
}

enum swarm_state
swarm_site_state(const struct swarm *s, uint32_t unit)
{
	const struct swarm_peer *r = s->resort;
	bool kept = r != NULL && bitset_has(&r->have, unit);
	bool known = kept || (r != NULL && bitset_has(&r->pend, unit));

	if (bitset_has(&s->have, unit) || s->holders[unit] > kept)
		return SWARM_STATE_HAVE;
	if (bitset_has(&s->pend, unit) || s->copies[unit] > known)
		return SWARM_STATE_AWAIT;
	return bitset_has(&s->skip, unit) ? SWARM_STATE_SKIP : SWARM_STATE_DROP;
}

static void
judge_inside(struct swarm *s, uint32_t unit)
{
	bool is_inside = s->site_state[unit] == SWARM_STATE_HAVE && s->abroad[unit] == 0 &&
			 !bitset_has(&s->left, unit);

	if (is_inside)
		bitset_set(&s->inside, unit);
	else
		bitset_unset(&s->inside, unit);
}

void
swarm_site_let_out(struct swarm *s, uint32_t unit)
{
	if (s->abroad == NULL || !bitset_set(&s->left, unit))
		return;
	judge_inside(s, unit);
}

void
swarm_site_note(struct swarm *s, uint32_t unit)
{
	if (s->sites.len == 0) /* whoever comes is told of all units */
		return;
	uint8_t state = (uint8_t)swarm_site_state(s, unit);
	if (state == s->site_state[unit])
		return;
	s->site_state[unit] = state;
	judge_inside(s, unit);
	swarm_log_add(s, &s->far_log, true, unit);
}

/* -- other sites -- */

void
swarm_site_free(struct swarm_site *site)
{
	array_clear(&site->peers);
	free(site->claims);
	free(site);
}

static void
start_record(struct swarm *s)
{
	if (s->abroad == NULL) {
		s->abroad = mem_array(uint16_t, s->o.n_units);
		s->site_state = mem_array(uint8_t, s->o.n_units);
		bitset_init(&s->left, s->o.n_units);
		bitset_init(&s->inside, s->o.n_units);
	}
	for (uint32_t u = 0; u < s->o.n_units; u++) {
		s->site_state[u] = (uint8_t)swarm_site_state(s, u);
		judge_inside(s, u);
	}
}

static struct swarm_site *
site_for(struct swarm *s, uint64_t id)
{
	struct swarm_site *site;

	array_each (at, &s->sites) {
		if ((*at)->id == id)
			return *at;
	}
	if (s->sites.len == 0)
		start_record(s);
	site = mem_new(struct swarm_site);
	site->id = id;
	site->claims = mem_array(uint8_t, s->o.n_units);
	array_push(&s->sites, site);
	return site;
}

void
swarm_site_join(struct swarm *s, struct swarm_peer *p)
{
	struct swarm_site *site = p->site = site_for(s, p->place.site);
	size_t i;

	array_push(&site->peers, p);
	for (i = site->peers.len - 1; i > 0; i--) {
		if (!is_better(&p->place, &site->peers.at[i - 1]->place))
			break;
		site->peers.at[i] = site->peers.at[i - 1];
	}
	site->peers.at[i] = p;
	site->barren = false;
}

void
swarm_site_part(struct swarm *s, struct swarm_peer *p)
{
	struct swarm_site *site = p->site;
	size_t i = 0;

	p->site = NULL;
	while (site->peers.at[i] != p)
		i++;
	for (; i + 1 < site->peers.len; i++)
		site->peers.at[i] = site->peers.at[i + 1];
	site->peers.len--;
	site->barren = false;
	if (site->peers.len > 0)
		return;
	array_remove(&s->sites, site);
	swarm_site_free(site);
}

void
swarm_site_claim(struct swarm *s, struct swarm_peer *p, uint32_t unit)
{
	struct swarm_site *site = p->site;

	/* The last resort passes nothing on: what it has is at no site yet. */
	if (p->last_resort || site->claims[unit]++ > 0)
		return;
	site->known++;
	if (s->abroad[unit]++ == 0)
		judge_inside(s, unit);
}

void
swarm_site_unclaim(struct swarm *s, struct swarm_peer *p, uint32_t unit)
{
	struct swarm_site *site = p->site;

	site->barren = false;
	if (p->last_resort || --site->claims[unit] > 0)
		return;
	site->known--;
	if (--s->abroad[unit] > 0)
		return;
	bitset_unset(&s->left, unit); /* it did not arrive */
	judge_inside(s, unit);
}

/* Those of its peers that are gateways come first; how many there are. */
static size_t
gateways_of(const struct swarm_site *site)
{
	size_t n = site->peers.len, candidates = 0;

	while (candidates < n && site->peers.at[candidates]->place.rank > 0)
		candidates++;
	return count_gateways(&site->peers.at[0]->place, n, candidates);
}

bool
swarm_site_is_gateway(const struct swarm_peer *p)
{
	size_t n = gateways_of(p->site);

	for (size_t i = 0; i < n; i++) {
		if (p->site->peers.at[i] == p)
			return true;
	}
	return false;
}

struct swarm_peer *
swarm_site_responsible(const struct swarm_site *site, uint32_t unit)
{
	struct swarm_peer *best = NULL;
	uint64_t best_draw = 0;
	size_t n = gateways_of(site);

	for (size_t i = 0; i < n; i++) {
		struct swarm_peer *p = site->peers.at[i];
		uint64_t draw = draw_of(p->place.node, unit);
		if (p->banned || (best != NULL && draw <= best_draw))
			continue;
		best = p;
		best_draw = draw;
	}
	return best;
}
