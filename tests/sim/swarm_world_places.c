/* The server's part: sites, candidates for gateway, and who is connected with whom. */
#include "swarm/swarm_rank.h"
#include "tests/sim/swarm_world_private.h"

enum {
	ALL_OF_SITE = 64, /* of a larger one ... */
	CHOSEN = 20,      /* ... each chooses so many, and is chosen by as many */
	ALL_SITES = 32,   /* of more ... */
	SITES_CHOSEN = 8, /* ... each chooses so many, and is chosen by as many */
};

/* -- places -- */

/* The site that NODE is held to be in; who is not believed is one of its own. */
static uint32_t
site_of(const struct world *w, uint32_t node)
{
	const struct world_node_opts *o = &w->o->nodes[node];

	if (!o->mislabelled)
		return o->site;
	return w->o->credulous ? o->label : w->o->n_sites + node;
}

static struct world_site *
site_at(struct world *w, uint32_t node)
{
	return &w->sites.at[w->nodes[node].place.site];
}

static int
compare_rates(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static uint64_t
median_up(const struct world *w, const struct world_site *site)
{
	uint64_t *up = mem_array(uint64_t, site->members.len), median;

	for (size_t i = 0; i < site->members.len; i++)
		up[i] = w->nodes[site->members.at[i]].o.up;
	qsort(up, site->members.len, sizeof up[0], compare_rates);
	median = up[site->members.len / 2];
	free(up);
	return median;
}

static uint8_t
gateways_of(const struct world *w, const struct world_site *site)
{
	uint32_t number = (uint32_t)(site - w->sites.at);
	uint64_t line = number < w->sim.sites.len ? w->sim.sites.at[number].in.rate : 0;

	if (site->members.len == 0)
		return 0;
	return swarm_rank_gateways(line, median_up(w, site), site->members.len);
}

struct drawn {
	uint64_t key;
	uint32_t node;
};

static int
compare_drawn(const void *a, const void *b)
{
	const struct drawn *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

/* -- connections -- */

static bool
is_connected(const struct world *w, uint32_t a, uint32_t b)
{
	const struct world_node *n = &w->nodes[a];

	if (w->nodes[b].ends.len < n->ends.len)
		return is_connected(w, b, a);
	array_each (end, &n->ends) {
		const struct world_end *e = &w->ends.at[*end];
		if (e->open && w->ends.at[e->other].node == b)
			return true;
	}
	return false;
}

static bool
is_far(const struct world *w, uint32_t a, uint32_t b)
{
	return w->nodes[a].place.site != w->nodes[b].place.site;
}

static void
add_end(struct world *w, uint32_t a, uint32_t b, uint32_t other)
{
	uint32_t end = (uint32_t)w->ends.len;

	array_push(&w->ends, ((struct world_end){ .node = a, .other = other, .open = true }));
	array_push(&w->nodes[a].ends, end);
	const struct swarm_peer_opts o = { .place = w->nodes[b].place,
		.far = is_far(w, a, b),
		.last_resort = w->nodes[b].o.last_resort };
	swarm_peer_add(w->nodes[a].swarm, end, &o, w->sim.now_us);
}

static void
connect_two(struct world *w, uint32_t a, uint32_t b)
{
	uint32_t first = (uint32_t)w->ends.len;

	if (a == b || is_connected(w, a, b))
		return;
	add_end(w, a, b, first + 1);
	add_end(w, b, a, first);
	world_act(w, b);
}

static void
connect_site(struct world *w, uint32_t node, uint32_t chosen)
{
	const struct world_site *site = site_at(w, node);

	if (site->members.len <= ALL_OF_SITE) {
		array_each (m, &site->members)
			connect_two(w, node, *m);
		return;
	}
	while (chosen-- > 0)
		connect_two(w, node, site->members.at[rng_below(&w->sim.rng, site->members.len)]);
	array_each (c, &site->candidates)
		connect_two(w, node, *c);
}

/* The server is known to all, wherever it is. */
static void
connect_last_resorts(struct world *w, uint32_t node)
{
	array_each (r, &w->last_resorts) {
		if (world_is_here(&w->nodes[*r]))
			connect_two(w, node, *r);
	}
	for (uint32_t i = 0; w->nodes[node].o.last_resort && i < w->o->n_nodes; i++) {
		if (world_is_here(&w->nodes[i]))
			connect_two(w, node, i);
	}
}

void
world_places_connect(struct world *w, uint32_t node)
{
	connect_last_resorts(w, node);
	/* who comes later is chosen by nobody: he chooses as many more */
	connect_site(w, node, w->nodes[node].o.join_us == 0 ? CHOSEN : 2 * CHOSEN);
	if (w->nodes[node].o.origin)
		world_places_rank(w, node);
}

/* The exporters of a site: its candidates, and who is the origin. */
static void
connect_with(struct world *w, uint32_t node, const struct world_site *other)
{
	array_each (c, &other->candidates)
		connect_two(w, node, *c);
	array_each (m, &other->members) {
		if (w->nodes[*m].o.origin)
			connect_two(w, node, *m);
	}
}

static void
connect_sites(struct world *w, const struct world_site *a, const struct world_site *b)
{
	array_each (c, &a->candidates)
		connect_with(w, *c, b);
	array_each (m, &a->members) {
		if (w->nodes[*m].o.origin)
			connect_with(w, *m, b);
	}
}

/* -- ranks -- */

static void
place_changed(struct world *w, uint32_t node)
{
	struct world_node *n = &w->nodes[node];

	swarm_place(n->swarm, &n->place, w->sim.now_us);
	array_each (end, &n->ends) {
		const struct world_end *e = &w->ends.at[*end];
		uint32_t other = w->ends.at[e->other].node;
		if (e->open)
			swarm_peer_place(w->nodes[other].swarm, e->other, &n->place,
			    is_far(w, node, other), w->sim.now_us);
	}
}

static void
set_rank(struct world *w, uint32_t node, uint8_t rank, uint8_t gateways)
{
	struct swarm_place *p = &w->nodes[node].place;

	if (p->rank == rank && p->gateways == gateways)
		return;
	p->rank = rank;
	p->gateways = gateways;
	place_changed(w, node);
}

static void
choose_candidates(struct world *w, struct world_site *site)
{
	struct drawn *drawn = mem_array(struct drawn, site->members.len + 1);
	size_t n = 0;

	array_each (m, &site->members) {
		const struct world_node *node = &w->nodes[*m];
		if (!node->o.origin && !node->o.last_resort)
			drawn[n++] = (struct drawn){
				swarm_rank_key(node->place.site, node->place.node,
				    swarm_rank_weight(0, node->o.up)),
				*m,
			};
	}
	qsort(drawn, n, sizeof drawn[0], compare_drawn);
	site->candidates.len = 0;
	site->gateways = gateways_of(w, site);
	uint8_t candidates = swarm_rank_candidates(site->gateways, n);
	for (size_t i = 0; i < n; i++) {
		bool is_candidate = i < candidates;
		if (is_candidate)
			array_push(&site->candidates, drawn[i].node);
		set_rank(w, drawn[i].node, is_candidate ? (uint8_t)(i + 1) : 0, site->gateways);
	}
	free(drawn);
}

void
world_places_rank(struct world *w, uint32_t node)
{
	struct world_site *site = site_at(w, node);

	if (w->sites.len == 1)
		return; /* nobody is far */
	choose_candidates(w, site);
	if (site->members.len > ALL_OF_SITE) {
		array_each (m, &site->members) {
			array_each (c, &site->candidates)
				connect_two(w, *m, *c);
		}
	}
	array_each (k, &site->knows)
		connect_sites(w, site, &w->sites.at[*k]);
}

/* -- coming and going -- */

void
world_places_enter(struct world *w, uint32_t node)
{
	array_push(&site_at(w, node)->members, node);
	swarm_place(w->nodes[node].swarm, &w->nodes[node].place, w->sim.now_us);
}

void
world_places_leave(struct world *w, uint32_t node)
{
	array_remove(&site_at(w, node)->members, node);
}

static bool
knows(const struct world_site *s, uint32_t site)
{
	array_each (k, &s->knows) {
		if (*k == site)
			return true;
	}
	return false;
}

static void
acquaint(struct world *w, uint32_t a, uint32_t b)
{
	if (a == b || knows(&w->sites.at[a], b))
		return;
	array_push(&w->sites.at[a].knows, b);
	array_push(&w->sites.at[b].knows, a);
}

void
world_places_open(struct world *w)
{
	ARRAY(uint32_t) used = { 0 }; /* by anybody, at some time */
	uint32_t n = max_of(w->o->n_sites, 1u);
	struct bitset seen;

	bitset_init(&seen, n + w->o->n_nodes);
	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		struct rng rng;
		rng_seed(&rng, w->o->seed * 2000003 + i);
		w->nodes[i].place =
		    (struct swarm_place){ .site = site_of(w, i), .node = rng_u64(&rng) };
		if (bitset_set(&seen, w->nodes[i].place.site))
			array_push(&used, (uint32_t)w->nodes[i].place.site);
		n = max_of(n, (uint32_t)w->nodes[i].place.site + 1);
	}
	bitset_clear(&seen);
	w->sites.at = mem_array(struct world_site, n);
	w->sites.len = n;
	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		w->sites.at[w->o->nodes[i].site].home |= w->o->nodes[i].origin;
		if (w->o->nodes[i].last_resort)
			array_push(&w->last_resorts, i);
	}
	for (size_t i = 0; i < used.len; i++) {
		for (size_t k = i + 1; used.len <= ALL_SITES && k < used.len; k++)
			acquaint(w, used.at[i], used.at[k]);
		for (size_t k = 0; used.len > ALL_SITES && k < SITES_CHOSEN; k++)
			acquaint(w, used.at[i], used.at[rng_below(&w->sim.rng, used.len)]);
	}
	array_clear(&used);
}

void
world_places_clear(struct world *w)
{
	array_each (s, &w->sites) {
		array_clear(&s->members);
		array_clear(&s->candidates);
		array_clear(&s->knows);
	}
	array_clear(&w->sites);
	array_clear(&w->last_resorts);
}
