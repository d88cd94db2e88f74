/*
 * weft-sim: src/swarm, as the agent runs it, on virtual links; docs/benchmarks.md says what its
 * figures mean.
 *
 * usage: weft-sim [--seed N] [--unit BYTES] [CASE...]
 * Without a case: all but the largest, which are 200x50-256 and 2000x50-256.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/mem.h"
#include "base/text.h"
#include "bench/sim/sim_cases.h"

static const uint32_t sizes[SIM_UNITS] = { 256 << 10, 1 << 20, 4 << 20 };

struct wish {
	uint64_t seed, unit;
};

static double
cpu_s(void)
{
	return (double)clock() / CLOCKS_PER_SEC;
}

static double
memory_mib(void)
{
	struct rusage u;

	return getrusage(RUSAGE_SELF, &u) == 0 ? (double)u.ru_maxrss / 1024 : 0;
}

static double
reference(const struct sim_case *c, uint32_t unit)
{
	for (size_t i = 0; i < SIM_UNITS; i++) {
		if (sizes[i] == unit)
			return c->reference[i];
	}
	return 0;
}

static void
print_number(double d)
{
	if (d > 0)
		printf(" %6.3f |", d);
	else
		printf("      - |");
}

static void
run(const struct sim_case *c, uint32_t unit, bool is_rule, uint64_t seed)
{
	struct world_opts o;
	double began = cpu_s();

	sim_case_open(c, unit, seed, &o);
	const struct world_result r = world_run(&o);
	printf("| %-22s | %4uK%s | %8.2f |", c->name, unit >> 10, is_rule ? "*" : " ", r.bound_s);
	print_number(r.ratio);
	print_number(reference(c, unit));
	print_number(r.late_ratio);
	printf(" %5.3f / %5.3f | %5.3f | %5.3f | %5.2f |", r.in.avg, r.in.max, r.home.max,
	    r.origin_copies,
	    100 * (double)(r.declined_held + r.declined_busy) /
		(double)max_of(r.offers, (uint64_t)1));
	printf(" %6.1f | %5.0f |\n", cpu_s() - began, memory_mib());
	fflush(stdout);
	if (r.incomplete > 0 || r.lacking > 0 || r.twice > 0)
		printf("| NOT TRUE: %u incomplete, %u lacking, %llu twice |\n", r.incomplete,
		    r.lacking, (unsigned long long)r.twice);
	sim_case_clear(&o);
}

static void
run_case(const struct sim_case *c, const struct wish *w)
{
	uint32_t rule = sim_unit_size(1 << 30, c->sites * c->each);
	bool ran = false;

	if (c->n_units > 0)
		rule = (uint32_t)((1 << 30) / c->n_units);
	if (w->unit > 0) {
		run(c, (uint32_t)w->unit, w->unit == rule, w->seed);
		return;
	}
	for (size_t i = 0; i < SIM_UNITS; i++) {
		if (c->reference[i] == 0)
			continue;
		ran |= sizes[i] == rule;
		run(c, sizes[i], sizes[i] == rule, w->seed);
	}
	if (!ran)
		run(c, rule, true, w->seed);
}

static const struct sim_case *
find(const char *name)
{
	for (uint32_t i = 0; i < sim_cases_len; i++) {
		if (strcmp(sim_cases[i].name, name) == 0)
			return &sim_cases[i];
	}
	fprintf(stderr, "there is no case %s; there are:", name);
	for (uint32_t i = 0; i < sim_cases_len; i++)
		fprintf(stderr, " %s", sim_cases[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

static uint64_t
number(const char *text)
{
	uint64_t n = 0;

	if (!text_parse_u64(text, UINT64_MAX, &n)) {
		fprintf(stderr, "%s is no number\n", text);
		exit(2);
	}
	return n;
}

static void
print_head(const struct wish *w)
{
	printf("1 GiB, seed %llu; * is the unit that the rule chooses. What makes this wrong: no "
	       "losses, no\n"
	       "headers (TCP and TLS cost 5 to 8 %%), no disks or processors; what is said arrives "
	       "after\n"
	       "the delay, whatever is queued on the way.\n",
	    (unsigned long long)w->seed);
	printf(
	    "ratio: last receiver by the fluid bound; pr: the reference; late: newcomers by their "
	    "own\n"
	    "bound; in: copies into each other site; out: out of the origin's; seed: sent by the\n"
	    "origin; no: offers declined.\n\n");
	printf("| case                   | unit   |  bound s |  ratio |     pr |   late | in "
	       "avg/max    "
	       "| out   | seed  | no %%  |  CPU s |   MiB |\n");
	printf("|---|---|---|---|---|---|---|---|---|---|---|---|\n");
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "seed", required_argument, NULL, 's' },
		{ "unit", required_argument, NULL, 'u' }, { 0 } };
	struct wish w = { .seed = 1 };

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 's')
			w.seed = number(optarg);
		else if (c == 'u')
			w.unit = number(optarg);
		else
			return 2;
	}
	print_head(&w);
	for (int i = optind; i < argc; i++)
		run_case(find(argv[i]), &w);
	for (uint32_t i = 0; optind == argc && i < sim_cases_len; i++) {
		if (!sim_cases[i].coarse)
			run_case(&sim_cases[i], &w);
	}
	return 0;
}
