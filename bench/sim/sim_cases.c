#include "bench/sim/sim_cases.h"

#include "base/mem.h"
#include "tests/sim/sim.h"

#define FLAT(n)     .sites = 1, .each = (n), .up = 50, .down = 50
#define ASYM(n)     .sites = 1, .each = (n), .up = 20, .down = 100, .origin = 100
#define OFFICE      .up = 400, .down = 400, .wan_out = 40, .wan_in = 40, .far_ms = 15
#define PR(a, b, c) .reference = { (a), (b), (c) }
#define PR1(b)      .reference = { 0, (b), 0 }

const struct sim_case sim_cases[] = {
	{ "flat12", FLAT(12), PR(1.003, 1.019, 1.059) },
	{ "flat24", FLAT(24), PR(1.003, 1.018, 1.058) },
	{ "flat100", FLAT(100), PR(1.005, 1.020, 1.072) },
	{ "flat1000", FLAT(1000), PR(1.007, 1.027, 1.095) },
	{ "asym12", ASYM(12), PR(1.001, 1.002, 1.007) },
	{ "asym24", ASYM(24), PR(1.001, 1.003, 1.009) },
	{ "asym100", ASYM(100), PR(1.001, 1.006, 1.017) },
	{ "asym1000", ASYM(1000), PR(1.002, 1.008, 1.027) },
	{ "flat100-churn", FLAT(100), .churn_permille = 100, PR(1.005, 1.021, 1.074) },
	{ "flat1000-churn", FLAT(1000), .churn_permille = 100, PR(1.012, 1.032, 1.111) },
	{ "flat100-slow10", FLAT(100), .slow_permille = 100, PR(1.008, 1.021, 1.067) },
	{ "4x12", .sites = 4, .each = 12, OFFICE, PR(1.003, 1.011, 1.038) },
	{ "4x12-churn", .sites = 4, .each = 12, OFFICE, .churn_permille = 100,
	    PR(1.007, 1.013, 1.048) },
	{ "20x50", .sites = 20, .each = 50, OFFICE, PR(1.006, 1.025, 1.059) },
	{ "20x50-churn", .sites = 20, .each = 50, OFFICE, .churn_permille = 100,
	    PR(1.013, 1.029, 1.059) },
	{ "4x12-uniform100", .sites = 4, .each = 12, .up = 100, .down = 100, .wan_out = 100,
	    .wan_in = 100, .far_ms = 15, PR1(1.044) },
	{ "4x12-uniform100-churn", .sites = 4, .each = 12, .up = 100, .down = 100, .wan_out = 100,
	    .wan_in = 100, .far_ms = 15, .churn_permille = 100, PR1(1.048) },
	{ "20x50-uniform100", .sites = 20, .each = 50, .up = 100, .down = 100, .wan_out = 100,
	    .wan_in = 100, .far_ms = 15, PR1(1.087) },
	{ "4x12-node50-wan100", .sites = 4, .each = 12, .up = 50, .down = 50, .wan_out = 100,
	    .wan_in = 100, .far_ms = 15, PR1(1.045) },
	{ "20x50-node50-wan100", .sites = 20, .each = 50, .up = 50, .down = 50, .wan_out = 100,
	    .wan_in = 100, .far_ms = 15, PR1(1.085) },
	{ "4x12-node200-wan100", .sites = 4, .each = 12, .up = 200, .down = 200, .wan_out = 100,
	    .wan_in = 100, .far_ms = 15, PR1(1.015) },
	{ "20x50-node200-wan100", .sites = 20, .each = 50, .up = 200, .down = 200, .wan_out = 100,
	    .wan_in = 100, .far_ms = 15, PR1(1.022) },
	{ "4x12-out20-in40", .sites = 4, .each = 12, .up = 400, .down = 400, .wan_out = 20,
	    .wan_in = 40, .far_ms = 15, PR1(1.009) },
	{ "4x12-rtt100", .sites = 4, .each = 12, .up = 400, .down = 400, .wan_out = 40,
	    .wan_in = 40, .far_ms = 50, PR1(1.018) },
	{ "4x12-origin40", .sites = 4, .each = 12, .origin = 40, OFFICE, PR1(1.015) },
	{ "flat100-held90", FLAT(100), .held_permille = 900, PR1(1.18) },
	{ .name = "200x50-256", .sites = 200, .each = 50, OFFICE, .n_units = 256, .coarse = true },
	{ .name = "2000x50-256",
	    .sites = 2000,
	    .each = 50,
	    OFFICE,
	    .n_units = 256,
	    .coarse = true },
};
const uint32_t sim_cases_len = lengthof(sim_cases);

uint32_t
sim_unit_size(uint64_t bytes, uint32_t n)
{
	uint32_t rounds = 0, unit = 64 << 10;

	while (n >> rounds != 0) /* ceil(log2(n + 1)) */
		rounds++;
	while (unit < 4 << 20 && (uint64_t)unit * 2 * 128 * rounds <= bytes)
		unit *= 2;
	return unit;
}

static uint64_t
rate_of(uint32_t mbit)
{
	return (uint64_t)mbit * 1000000 / 8;
}

/* Of all receivers so many, one of every so many in each site, drawn at random. */
static bool
draw(struct rng *rng, uint32_t permille)
{
	return rng_below(rng, 1000) < permille;
}

struct opening {
	const struct sim_case *c;
	struct world_opts *o;
	struct world_node_opts *nodes;
	struct rng rng;
	double life_s; /* within which who dies does so */
};

static void
add_receiver(struct opening *op, uint32_t site)
{
	const struct sim_case *c = op->c;
	struct world_node_opts n = { .up = rate_of(c->up), .down = rate_of(c->down), .site = site };

	if (draw(&op->rng, c->slow_permille))
		n.up /= 10;
	n.held = (uint32_t)((uint64_t)op->o->n_units * c->held_permille / 1000);
	if (!draw(&op->rng, c->churn_permille)) {
		op->nodes[op->o->n_nodes++] = n;
		return;
	}
	n.die_us = SIM_S / 10 + rng_below(&op->rng, (uint64_t)(op->life_s * 1e6));
	op->nodes[op->o->n_nodes++] = n;
	n.join_us = n.die_us + 3 * SIM_S;
	n.die_us = 0;
	op->nodes[op->o->n_nodes++] = n;
}

void
sim_case_open(const struct sim_case *c, uint32_t unit_size, uint64_t seed, struct world_opts *ret)
{
	struct world_node_opts *nodes =
	    mem_array(struct world_node_opts, 2 * (size_t)c->sites * c->each + 1);
	struct world_site_opts *sites = mem_array(struct world_site_opts, c->sites);
	struct opening op = { .c = c, .o = ret, .nodes = nodes };

	rng_seed(&op.rng, seed);
	*ret = (struct world_opts){
		.nodes = nodes,
		.n_sites = c->sites,
		.sites = sites,
		.unit_size = unit_size,
		.n_units = c->n_units > 0 ? c->n_units : (uint32_t)((1 << 30) / unit_size),
		.block = c->coarse ? unit_size : min_of(unit_size, 64u << 10),
		.window = c->coarse ? 2 * unit_size : 256 << 10,
		.delay_us = c->sites == 1 ? 5 * SIM_MS : SIM_MS / 4,
		.far_us = c->far_ms * SIM_MS,
		.work_us = c->coarse ? 50 * SIM_MS : SIM_MS,
		.death_seen_us = 2 * SIM_S,
		.limit_us = 600 * SIM_S,
		.seed = seed,
	};
	for (uint32_t s = 0; s < c->sites; s++)
		sites[s] = (struct world_site_opts){ rate_of(c->wan_out), rate_of(c->wan_in) };
	/* what limits one who is alone is about what limits all */
	uint32_t slowest = c->wan_in > 0 ? min_of(c->wan_in, c->down) : min_of(c->down, c->up);
	op.life_s = (double)ret->n_units * unit_size / (double)rate_of(slowest);
	nodes[ret->n_nodes++] = (struct world_node_opts){ .origin = true,
		.up = rate_of(c->origin > 0 ? c->origin : c->up),
		.down = rate_of(c->down) };
	for (uint32_t s = 0; s < c->sites; s++) {
		for (uint32_t i = 0; i < c->each; i++)
			add_receiver(&op, s);
	}
}

void
sim_case_clear(struct world_opts *o)
{
	free((void *)(uintptr_t)o->nodes);
	free((void *)(uintptr_t)o->sites);
	*o = (struct world_opts){ 0 };
}
