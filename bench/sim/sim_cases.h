/* sim_cases: the networks that the simulator is asked about, as data. */
#pragma once

#include "tests/sim/swarm_world.h"

enum { SIM_UNITS = 3 }; /* unit sizes with a reference: 256 KiB, 1 MiB, 4 MiB */

struct sim_case {
	const char *name;
	uint32_t sites, each; /* receivers in each; the origin is one more, in the first */
	/* Mbit/s; wan 0: no limit; origin 0: as the others */
	uint32_t up, down, origin, wan_out, wan_in;
	uint32_t far_ms; /* one way, between sites; within: 5 ms if there is one, else 0.25 */
	uint32_t churn_permille; /* of the receivers die, each replaced 3 s later by an empty one */
	uint32_t slow_permille;  /* have a tenth of the uplink */
	uint32_t
	    held_permille; /* of the units are at each receiver from the beginning, at random */
	uint32_t n_units;  /* 0: 1 GiB in units of each size */
	/* A unit moves as one block, and nodes look at what to do every 50 ms: for very many. */
	bool coarse;
	double reference[SIM_UNITS]; /* `pr` of an earlier model of the algorithm; 0: none */
};

extern const struct sim_case sim_cases[];
extern const uint32_t sim_cases_len;

/* What the rule says for BYTES to N receivers. */
uint32_t sim_unit_size(uint64_t bytes, uint32_t n);
/* Gives the world of C in *RET, which owns memory until sim_case_clear. */
void sim_case_open(
    const struct sim_case *c, uint32_t unit_size, uint64_t seed, struct world_opts *ret);
void sim_case_clear(struct world_opts *o);
