/* Each bound in a network where it is the one that counts, by hand. */
#include <math.h>

#include "tests/unit.h"

#include "base/mem.h"
#include "swarm/swarm_bound.h"

enum { NODES = 64, SITES = 4 };

struct net {
	struct swarm_bound_node nodes[NODES];
	struct swarm_bound_site sites[SITES];
	struct swarm_bound_net net;
};

/* A job of a million bytes. */
static void
net_init(struct net *n, uint32_t n_sites)
{
	*n = (struct net){ .net = { .bytes = 1000000, .n_sites = n_sites } };
	n->net.nodes = n->nodes;
	n->net.sites = n->sites;
}

static void
add(struct net *n, uint32_t count, struct swarm_bound_node node)
{
	while (count-- > 0)
		n->nodes[n->net.n_nodes++] = node;
}

static void
check(const struct net *n, double s, enum swarm_bound why)
{
	enum swarm_bound is;
	double got = swarm_bound_s(&n->net, &is);

	assert_int_equal(is, why);
	assert_int_equal((long long)(got * 1e6 + 0.5), (long long)(s * 1e6 + 0.5));
	assert_true(swarm_bound_s(&n->net, NULL) == got);
}

static void
each_byte_leaves_the_origin_once(void **state)
{
	struct net n;

	(void)state;
	net_init(&n, 1);
	add(&n, 1, (struct swarm_bound_node){ .up = 1000, .down = 1000, .origin = true });
	add(&n, 12, (struct swarm_bound_node){ .up = 2000, .down = 2000 });
	check(&n, 1000, SWARM_BOUND_ORIGIN);
}

static void
the_slowest_downlink_counts(void **state)
{
	struct net n;

	(void)state;
	net_init(&n, 1);
	add(&n, 1, (struct swarm_bound_node){ .up = 10000, .down = 1, .origin = true });
	add(&n, 3, (struct swarm_bound_node){ .up = 10000, .down = 10000 });
	add(&n, 1, (struct swarm_bound_node){ .up = 10000, .down = 500 });
	check(&n, 2000, SWARM_BOUND_DOWNLINK);
}

/* The third row of the table in docs/benchmarks.md: 64 MiB, 100 up, ten with 20 up. */
static void
all_that_is_lacked_goes_through_all_uplinks(void **state)
{
	struct net n;

	(void)state;
	net_init(&n, 1);
	n.net.bytes = 64 << 20;
	add(&n, 1, (struct swarm_bound_node){ .up = 12500000, .down = 12500000, .origin = true });
	add(&n, 10, (struct swarm_bound_node){ .up = 2500000, .down = 12500000 });
	check(&n, 10 * 67108864.0 / 37500000, SWARM_BOUND_UPLOADS);
}

static void
office(struct net *n, uint32_t site, uint32_t nodes)
{
	add(n, nodes, (struct swarm_bound_node){ .up = 400, .down = 400, .site = site });
	n->sites[site] = (struct swarm_bound_site){ .out = 40, .in = 40 };
}

static void
one_copy_enters_and_leaves_through_the_lines(void **state)
{
	struct net n;

	(void)state;
	net_init(&n, 3);
	add(&n, 1, (struct swarm_bound_node){ .up = 400, .down = 400, .origin = true });
	for (uint32_t i = 0; i < 3; i++)
		office(&n, i, 3);
	n.sites[0].in = n.sites[1].out = 50;
	check(&n, 25000, SWARM_BOUND_SITE_IN);
	n.sites[2].in = 0; /* no limit */
	n.sites[1].in = 50;
	check(&n, 25000, SWARM_BOUND_SITE_OUT);
	n.sites[0].out = 0;
	check(&n, 20000, SWARM_BOUND_SITE_IN);
}

/* Two offices import, and what leaves the third is not enough for both. */
static void
the_lines_out_carry_a_copy_for_each_other_site(void **state)
{
	struct net n;

	(void)state;
	net_init(&n, 3);
	add(&n, 1, (struct swarm_bound_node){ .up = 400, .down = 400, .origin = true });
	for (uint32_t i = 0; i < 3; i++)
		office(&n, i, 3);
	n.sites[1].out = n.sites[2].out = 4;
	check(&n, 2 * 1000000.0 / 48, SWARM_BOUND_SITES);
}

static void
a_site_gets_what_enters_and_what_its_nodes_give(void **state)
{
	struct net n;

	(void)state;
	net_init(&n, 2);
	add(&n, 1, (struct swarm_bound_node){ .up = 4000, .down = 400, .origin = true });
	add(&n, 9, (struct swarm_bound_node){ .up = 1, .down = 400, .site = 1 });
	n.sites[0] = n.sites[1] = (struct swarm_bound_site){ .out = 1000, .in = 1000 };
	check(&n, 9 * 1000000.0 / 1009, SWARM_BOUND_FEED);
}

static void
what_is_held_already_is_not_counted(void **state)
{
	struct net n;

	(void)state;
	net_init(&n, 1);
	add(&n, 1, (struct swarm_bound_node){ .up = 1000, .down = 1000, .origin = true });
	add(&n, 12, (struct swarm_bound_node){ .up = 1000, .down = 1000, .held = 900000 });
	check(&n, 100, SWARM_BOUND_DOWNLINK);
	for (uint32_t i = 1; i < n.net.n_nodes; i++)
		n.nodes[i].held = 1000000;
	check(&n, 0, SWARM_BOUND_NONE);
}

static void
without_anybody_who_holds_it_there_is_no_end(void **state)
{
	struct net n;

	(void)state;
	net_init(&n, 1);
	add(&n, 3, (struct swarm_bound_node){ .up = 1000, .down = 1000 });
	assert_true(isinf(swarm_bound_s(&n.net, NULL)));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_byte_leaves_the_origin_once),
		cmocka_unit_test(the_slowest_downlink_counts),
		cmocka_unit_test(all_that_is_lacked_goes_through_all_uplinks),
		cmocka_unit_test(one_copy_enters_and_leaves_through_the_lines),
		cmocka_unit_test(the_lines_out_carry_a_copy_for_each_other_site),
		cmocka_unit_test(a_site_gets_what_enters_and_what_its_nodes_give),
		cmocka_unit_test(what_is_held_already_is_not_counted),
		cmocka_unit_test(without_anybody_who_holds_it_there_is_no_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
