/* In which order a site's members speak for it. */
#include "tests/unit.h"

#include "base/mem.h"
#include "swarm/swarm_rank.h"

#define MIB ((uint64_t)1024 * 1024)

static void
keys_are_the_same_everywhere(void **state)
{
	(void)state;
	assert_int_equal(swarm_rank_key(0, 0, MIB), UINT64_C(257191376322560));
	assert_int_equal(swarm_rank_key(7, UINT64_MAX, 100 * MIB), UINT64_C(1796775828520));
	assert_int_equal(swarm_rank_key(UINT64_MAX, 1, 1), UINT64_C(481488564996014080));
}

/* As many times as SITES sites hold ranks the first of two members before the other. */
static unsigned
first_of_two(unsigned sites, uint64_t weight_a, uint64_t weight_b)
{
	unsigned n = 0;

	for (uint64_t site = 0; site < sites; site++)
		n += swarm_rank_key(site, 1, weight_a) < swarm_rank_key(site, 2, weight_b);
	return n;
}

static void
who_weighs_more_is_first_as_much_more_often(void **state)
{
	enum { SITES = 30000 };

	(void)state;
	assert_in_range(first_of_two(SITES, MIB, MIB), SITES / 2 - 500, SITES / 2 + 500);
	assert_in_range(
	    first_of_two(SITES, 2 * MIB, MIB), SITES * 2 / 3 - 500, SITES * 2 / 3 + 500);
	assert_in_range(first_of_two(SITES, MIB, 9 * MIB), SITES / 10 - 400, SITES / 10 + 400);
	assert_int_equal(first_of_two(SITES, UINT64_MAX, 1), SITES);
}

static void
a_weight_follows_what_doubled_or_halved(void **state)
{
	uint64_t w = swarm_rank_weight(0, 0);

	(void)state;
	assert_int_equal(w, SWARM_RANK_UNKNOWN);
	assert_int_equal(swarm_rank_weight(0, 3 * MIB), 3 * MIB);
	w = swarm_rank_weight(10 * MIB, 0);
	assert_int_equal(w, 10 * MIB);
	for (uint64_t rate = 5 * MIB + 2; rate < 20 * MIB; rate += 11003)
		w = swarm_rank_weight(w, rate);
	assert_int_equal(w, 10 * MIB);
	assert_int_equal(swarm_rank_weight(w, 20 * MIB), 20 * MIB);
	assert_int_equal(swarm_rank_weight(w, 5 * MIB), 5 * MIB);
	assert_int_equal(swarm_rank_weight(1, UINT64_MAX), UINT64_MAX);
	assert_int_equal(swarm_rank_weight(UINT64_MAX, 1), 1);
}

static void
gateways_fill_the_line_twelve_times_over(void **state)
{
	static const struct {
		uint64_t line, median;
		size_t members;
		uint8_t gateways, candidates;
	} cases[] = {
		{ 100, 100, 50, 12, 24 }, /* a line like one member's */
		{ 40, 400, 50, 4, 8 },
		{ 40, 79, 50, 7, 14 }, /* 6.08, rounded up */
		{ 1000, 1, 50, 16, 32 },
		{ UINT64_MAX, 1, 50, 16, 32 },
		{ UINT64_MAX, UINT64_MAX, 50, 12, 24 },
		{ 100, 100, 5, 5, 5 },
		{ 0, 100, 50, 6, 12 },
		{ 100, 0, 8, 6, 8 },
		{ 0, 0, 3, 3, 3 },
		{ 0, 0, 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		uint8_t n = swarm_rank_gateways(cases[i].line, cases[i].median, cases[i].members);
		assert_int_equal(n, cases[i].gateways);
		assert_int_equal(swarm_rank_candidates(n, cases[i].members), cases[i].candidates);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_the_same_everywhere),
		cmocka_unit_test(who_weighs_more_is_first_as_much_more_often),
		cmocka_unit_test(a_weight_follows_what_doubled_or_halved),
		cmocka_unit_test(gateways_fill_the_line_twelve_times_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
