/*
 * Hundreds of networks at random, each with its seed: delays, a line that is cut for a while,
 * deaths of anyone, late joiners, nodes that hold a part already, and peers that lie, say nothing
 * or crawl.  In each of them what must be true of a swarm is true.
 *
 * usage: test_swarm [SEED [COUNT]]; WEFT_SIM_SEED runs one
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/sim/seeds.h"
#include "tests/sim/sim.h"
#include "tests/sim/swarm_world.h"

enum { NODES_MAX = 24, SITES_MAX = 4, LIMIT_S = 600 };

struct totals {
	uint64_t worlds, delivered, declined, deaths, lost_worlds, sited, measured;
	uint64_t met[WORLD_KINDS], banned[WORLD_KINDS];
	double worst;
};

struct chance {
	struct rng rng;
	uint64_t seed;
	struct world_node_opts nodes[NODES_MAX];
	struct world_site_opts sites[SITES_MAX];
	bool liars;
	struct world_opts o;
};

static uint64_t
between(struct chance *c, uint64_t low, uint64_t high)
{
	return low + rng_below(&c->rng, high - low + 1);
}

static bool
one_in(struct chance *c, uint64_t n)
{
	return rng_below(&c->rng, n) == 0;
}

/*
 * Somewhere; one in eight says that it is elsewhere.  Liars have the last site for themselves:
 * what a near peer says that it holds counts for its site, so one in it could starve the others.
 */
static void
place_node(struct chance *c, struct world_node_opts *n)
{
	uint32_t honest = c->o.n_sites - c->liars;

	if (c->o.n_sites < 2 || n->last_resort)
		return;
	n->site = n->kind != WORLD_HONEST ? honest : (uint32_t)between(c, 0, honest - 1);
	n->label = (uint32_t)between(c, 0, c->o.n_sites - 1);
	n->mislabelled = n->label != n->site && one_in(c, 8);
}

static void
spoil_node(struct chance *c, struct world_node_opts *n)
{
	if (one_in(c, 4))
		n->join_us = between(c, 0, 20 * SIM_S);
	if (n->last_resort)
		return;
	if (one_in(c, 6))
		n->die_us = n->join_us + between(c, 1, 30 * SIM_S);
	if (one_in(c, 5))
		n->held = (uint32_t)between(c, 0, c->o.n_units);
	if (c->liars && one_in(c, 5))
		n->kind = (enum world_kind)between(c, 1, WORLD_KINDS - 1);
}

/* The first is the origin, the second is the last resort in half of the worlds. */
static void
make_node(struct chance *c, uint32_t i)
{
	struct world_node_opts *n = &c->nodes[i];

	*n = (struct world_node_opts){ .up = between(c, 20, 2000) * 10000, .origin = i == 0 };
	n->down = n->up * between(c, 1, 5);
	n->last_resort = i == 1 && one_in(c, 2);
	if (i > 0)
		spoil_node(c, n);
	place_node(c, n);
}

/* Offices behind slow lines. */
static void
make_sites(struct chance *c)
{
	c->o.n_sites = (uint32_t)between(c, 2, SITES_MAX);
	c->o.sites = c->sites;
	c->o.far_us = between(c, 50, 80000);
	for (uint32_t i = 0; i < c->o.n_sites; i++)
		c->sites[i] = (struct world_site_opts){ .out = between(c, 20, 500) * 10000,
			.in = between(c, 20, 500) * 10000 };
}

static void
make_world(struct chance *c)
{
	c->o = (struct world_opts){
		.n_nodes = (uint32_t)between(c, 2, NODES_MAX),
		.nodes = c->nodes,
		.n_units = (uint32_t)between(c, 1, 300),
		.unit_size = 65536u << rng_below(&c->rng, 3),
		.delay_us = between(c, 50, 80000),
		.jitter_permille = (uint32_t)between(c, 0, 1000),
		.death_seen_us = between(c, 1000, 4 * SIM_S),
		.limit_us = LIMIT_S * SIM_S,
		.seed = c->seed,
	};
	if (one_in(c, 4)) {
		c->o.cut_from_us = between(c, 0, 20 * SIM_S);
		c->o.cut_to_us = c->o.cut_from_us + between(c, 1, 60 * SIM_S);
	}
	if (one_in(c, 2))
		make_sites(c);
	c->liars = one_in(c, 2);
	for (uint32_t i = 0; i < c->o.n_nodes; i++)
		make_node(c, i);
	/* One that dies in the middle takes with it what only it had. */
	if (one_in(c, 4))
		c->nodes[0].die_us = between(c, 1, 60 * SIM_S);
}

#define REQUIRE(c, what)                                                                           \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: not true: %s\nrun it again: WEFT_SIM_SEED=%llu\n", \
			    __FILE__, __LINE__, #what, (unsigned long long)(c)->seed);             \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static void
run_world(uint64_t seed, struct totals *t)
{
	struct chance c = { .seed = seed };

	rng_seed(&c.rng, seed);
	make_world(&c);
	const struct world_result r = world_run(&c.o);
	/* Whatever some live honest node holds, all that stay get. */
	REQUIRE(&c, r.lacking == 0);
	REQUIRE(&c, r.incomplete == 0 || r.lost > 0);
	REQUIRE(&c, r.lost == 0 || c.nodes[0].die_us > 0);
	REQUIRE(&c, r.twice == 0);
	REQUIRE(&c, r.banned[WORLD_HONEST] == 0);
	/* Lies and cuts make the others take back and ask again, which no line is spared; and while
	 * the views of a site differ, a unit of it may be taken twice. */
	if (c.o.n_sites > 1 && !c.liars && c.o.cut_to_us == 0) {
		REQUIRE(&c, r.excess <= 0.05 + 4.0 / c.o.n_units);
		t->measured++;
	}
	t->sited += c.o.n_sites > 1;
	t->worlds++;
	t->delivered += r.delivered;
	t->declined += r.declined_held + r.declined_busy;
	t->lost_worlds += r.lost > 0;
	for (uint32_t i = 0; i < c.o.n_nodes; i++) {
		t->met[c.nodes[i].kind]++;
		t->deaths += c.nodes[i].die_us > 0;
	}
	for (unsigned k = 0; k < WORLD_KINDS; k++)
		t->banned[k] += r.banned[k];
}

int
main(int argc, char **argv)
{
	static const char *const names[WORLD_KINDS] = { "honest", "mute", "braggart", "corrupt",
		"sluggard" };
	const struct seeds seeds = seeds_wanted(argc, argv, 150, 5000);
	struct totals t = { 0 };

	for (uint64_t i = 0; i < seeds.count; i++)
		run_world(seeds.first + i, &t);
	printf("%llu worlds have sites; the lines of %llu carried no more than they had to\n",
	    (unsigned long long)t.sited, (unsigned long long)t.measured);
	printf("%llu worlds, %llu units delivered, %llu offers declined, %llu deaths, units lost "
	       "in %llu worlds\n",
	    (unsigned long long)t.worlds, (unsigned long long)t.delivered,
	    (unsigned long long)t.declined, (unsigned long long)t.deaths,
	    (unsigned long long)t.lost_worlds);
	for (unsigned k = 0; k < WORLD_KINDS; k++)
		printf("%-10s met %llu times, banned %llu times\n", names[k],
		    (unsigned long long)t.met[k], (unsigned long long)t.banned[k]);
	return 0;
}
