/*
 * Random worlds in which a snapshot is fetched: lines fast and slow, near and far; packets and
 * connections lost; partitions; servers that restart; liars and attackers.  However it goes, every
 * receiver ends with the content, byte for byte, in bounded time, has taken no byte that was wrong
 * and asked for no byte twice, and nobody honest is ever banned.
 *
 * 	test_fetch [FIRST COUNT]     seeds; default 1 200, or 1 5000 with WEFT_LONG=1, or the one in
 * 	WEFT_SIM_SEED
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tests/sim/seeds.h"
#include "tests/sim/world.h"

enum { DEADLINE_S = 3600 };

void
world_fail(const struct world *w, const char *what, const char *where)
{
	fprintf(stderr,
	    "\n%s: not so: %s\n"
	    "in the world of seed %llu, at %llu.%06llu s; to see it again: WEFT_SIM_SEED=%llu "
	    "test_fetch\n"
	    "%zu receivers, %zu servers (lies:",
	    where, what, (unsigned long long)w->seed, (unsigned long long)(w->sim.now_us / SIM_S),
	    (unsigned long long)(w->sim.now_us % SIM_S), (unsigned long long)w->seed,
	    w->receivers.len, w->servers.len);
	for (size_t i = 0; i < w->servers.len; i++)
		fprintf(stderr, " %d", w->servers.at[i]->lie);
	fprintf(stderr, "), %zu attackers, %zu units of %u, loss %u, resets %u\n", w->attackers.len,
	    w->content.store.units.len, w->content.unit_size, w->loss_per_million,
	    w->reset_per_million);
	abort();
}

/* -- a world from a seed -- */

struct accident {
	struct sim_event event;
	struct world *w;
	unsigned left;
};

/* A restart of a server, or a partition that begins or ends. */
static void
on_accident(struct sim *s, struct sim_event *ev)
{
	struct accident *a = container_of(ev, struct accident, event);
	struct world *w = a->w;

	if (a->left == 0) { /* all is well from now on */
		array_each (n, &s->nodes)
			n->island = 0;
		return;
	}
	if (rng_below(&s->rng, 2) == 0)
		server_restart(w->servers.at[rng_below(&s->rng, w->servers.len)]);
	else
		s->nodes.at[rng_below(&s->rng, s->nodes.len)].island ^= 1;
	a->left--;
	sim_at(s, ev, s->now_us + rng_below(&s->rng, 60 * SIM_S));
}

static uint64_t
any_rate(struct rng *rng)
{
	static const uint64_t rates[] = { 60000, 250000, 1250000, 12500000, 125000000, 0 };

	return rates[rng_below(rng, lengthof(rates))];
}

static void
build_network(struct world *w)
{
	struct rng *rng = &w->sim.rng;
	size_t sites = 1 + rng_below(rng, 3);

	w->sim.lan_us = 100 + rng_below(rng, 1000);
	w->sim.wan_us = 1000 + rng_below(rng, 150000);
	w->sim.jitter_permille = (uint32_t)rng_below(rng, 300);
	w->window = 16384u << rng_below(rng, 7);
	w->loss_per_million = rng_below(rng, 2) == 0 ? 0 : (uint32_t)rng_below(rng, 30000);
	w->reset_per_million = rng_below(rng, 2) == 0 ? 0 : (uint32_t)rng_below(rng, 20000);
	/* One throw a statement: so their order is the same with every compiler. */
	for (size_t i = 0; i < sites; i++) {
		uint64_t out = any_rate(rng), in = any_rate(rng);
		sim_site_add(&w->sim, out, in);
	}
}

static uint32_t
any_node(struct world *w)
{
	struct rng *rng = &w->sim.rng;
	uint32_t site = (uint32_t)rng_below(rng, w->sim.sites.len);
	uint64_t up = any_rate(rng), down = any_rate(rng);

	return sim_node_add(&w->sim, site, up, down, NULL);
}

static void
build_actors(struct world *w)
{
	struct rng *rng = &w->sim.rng;
	size_t receivers = 1 + rng_below(rng, 4), liars = rng_below(rng, 4),
	       honest = 1 + rng_below(rng, 2);
	size_t attackers = rng_below(rng, 3);

	for (size_t i = 0; i < honest; i++) {
		struct server *s = server_new(w, any_node(w), LIE_NONE);
		if (rng_below(rng, 4) == 0)
			s->whole_us = rng_below(rng, 30 * SIM_S);
	}
	for (size_t i = 0; i < liars; i++)
		server_new(w, any_node(w), (enum lie)(1 + rng_below(rng, LIE_COUNT - 1)));
	for (size_t i = 0; i < receivers; i++) {
		struct receiver *r = receiver_new(w, any_node(w));
		for (size_t k = 0; k < w->servers.len; k++)
			receiver_add_source(r, w->servers.at[(k + i) % w->servers.len]);
	}
	for (size_t i = 0; i < attackers; i++)
		attacker_new(
		    w, any_node(w), (enum attack)rng_below(rng, ATTACK_COUNT), w->servers.at[0]);
}

/* -- what must be so -- */

static bool
is_over(const struct world *w)
{
	for (size_t i = 0; i < w->receivers.len; i++)
		if (w->receivers.at[i]->done_us == 0)
			return false;
	return true;
}

static void
check_servers(const struct world *w)
{
	for (size_t i = 0; i < w->servers.len; i++) {
		const struct server *s = w->servers.at[i];
		for (size_t k = 0; s->lie == LIE_NONE && k < s->conns.len; k++)
			WORLD_REQUIRE(w, s->conns.at[k]->shell.most_queued <=
					     LIMIT_OUTPUT_QUEUE + LIMIT_DATA_RAW + LIMIT_NODE_RAW +
						 LIMIT_FRAME_MESSAGE);
	}
	for (size_t i = 0; i < w->attackers.len; i++)
		WORLD_REQUIRE(
		    w, w->attackers.at[i]->conn->closed || !wire_is_open(w->attackers.at[i]->wire));
}

static void
check_receivers(const struct world *w)
{
	for (size_t i = 0; i < w->receivers.len; i++) {
		struct receiver *r = w->receivers.at[i];
		WORLD_REQUIRE(w, r->asks.len == 0);
		WORLD_REQUIRE(w, content_is_in(&w->content, &r->store));
		/* Each leaf once, but for gaps that were closed because there were too many. */
		WORLD_REQUIRE(w, r->taken <= r->store.have.n + r->closed_gaps);
	}
}

static void
world_clear(struct world *w)
{
	array_each (a, &w->attackers)
		attacker_free(*a);
	array_each (r, &w->receivers)
		receiver_free(*r);
	array_each (s, &w->servers)
		server_free(*s);
	array_each (x, &w->wires)
		wire_free(*x);
	array_clear(&w->attackers);
	array_clear(&w->receivers);
	array_clear(&w->servers);
	array_clear(&w->wires);
	content_clear(&w->content);
	sim_clear(&w->sim);
}

/* What happened in all worlds: that nothing broke says little if nothing was tried. */
struct totals {
	uint64_t worlds, receivers, leaves, banned[LIE_COUNT], told[LIE_COUNT], met[LIE_COUNT];
	uint64_t attacks[ATTACK_COUNT], redials, stalls, slowest_s;
};

static void
count_world(const struct world *w, struct totals *t)
{
	t->worlds++;
	t->receivers += w->receivers.len;
	t->redials += w->wires.len;
	for (size_t i = 0; i < w->servers.len; i++)
		t->told[w->servers.at[i]->lie] += w->servers.at[i]->lies;
	for (size_t i = 0; i < w->attackers.len; i++)
		t->attacks[w->attackers.at[i]->attack]++;
	for (size_t i = 0; i < w->receivers.len; i++) {
		const struct receiver *r = w->receivers.at[i];
		t->leaves += r->taken;
		t->stalls += r->stalls;
		t->slowest_s = max_of(t->slowest_s, r->done_us / SIM_S);
		t->redials -= r->sources.len;
		for (size_t k = 0; k < r->sources.len; k++) {
			t->met[r->sources.at[k]->server->lie]++;
			t->banned[r->sources.at[k]->server->lie] += r->sources.at[k]->banned;
		}
	}
	t->redials -= w->attackers.len;
}

static bool
print_totals(const struct totals *t)
{
	static const char *const names[LIE_COUNT] = { "none", "bytes", "lists", "more", "short",
		"order", "nothing", "deaf", "garbage", "out of turn", "nodes", "missing", "commit",
		"later" };
	/* They say nothing wrong, so they cannot be caught. */
	static const unsigned harmless =
	    1u << LIE_NONE | 1u << LIE_NOTHING | 1u << LIE_DEAF | 1u << LIE_LATER;
	bool tried = true;

	printf(
	    "%llu worlds, %llu receivers, %llu leaves, %llu connections made again, %llu stalls, "
	    "the slowest took %llu s\n",
	    (unsigned long long)t->worlds, (unsigned long long)t->receivers,
	    (unsigned long long)t->leaves, (unsigned long long)t->redials,
	    (unsigned long long)t->stalls, (unsigned long long)t->slowest_s);
	for (unsigned i = 1; i < LIE_COUNT; i++) {
		printf("%-12s met %llu times, %llu lies, banned %llu times\n", names[i],
		    (unsigned long long)t->met[i], (unsigned long long)t->told[i],
		    (unsigned long long)t->banned[i]);
		tried = tried && t->met[i] > 0 && (t->banned[i] > 0 || (harmless >> i & 1) != 0);
	}
	for (unsigned i = 0; i < ATTACK_COUNT; i++)
		tried = tried && t->attacks[i] > 0;
	return tried && t->redials > 0 && t->stalls > 0;
}

static void
run_world(uint64_t seed, const struct device_key *keys[2], struct totals *totals)
{
	struct world w = { .seed = seed, .author = keys[0], .stranger = keys[1] };
	struct accident a = { .w = &w };

	sim_init(&w.sim, seed);
	build_network(&w);
	uint64_t bytes = rng_below(&w.sim.rng, 5 << 19);
	uint32_t unit_size = UNIT_MIN << rng_below(&w.sim.rng, 4);
	content_build(&w.content, &w.sim.rng, bytes, unit_size, keys[0]);
	build_actors(&w);
	a.event.fn = on_accident;
	a.left = (unsigned)rng_below(&w.sim.rng, 6);
	sim_at(&w.sim, &a.event, rng_below(&w.sim.rng, 20 * SIM_S));

	while (!is_over(&w) && w.sim.now_us < DEADLINE_S * SIM_S)
		(void)sim_run(&w.sim, w.sim.now_us + SIM_S);
	WORLD_REQUIRE(&w, is_over(&w));
	/* What is left comes to its end by itself. */
	(void)sim_run(&w.sim, w.sim.now_us + 10 * 60 * SIM_S);
	WORLD_REQUIRE(&w, w.sim.heap.len == 0);
	check_servers(&w);
	check_receivers(&w);
	count_world(&w, totals);
	world_clear(&w);
}

int
main(int argc, char **argv)
{
	const struct seeds seeds = seeds_wanted(argc, argv, 200, 5000);
	struct device_key *keys[2] = { NULL };
	struct totals totals = { 0 };
	struct error e;

	for (unsigned i = 0; i < 2; i++)
		if (device_key_generate(&keys[i], &e) != OK)
			abort();
	for (uint64_t i = 0; i < seeds.count; i++)
		run_world(
		    seeds.first + i, (const struct device_key *[2]){ keys[0], keys[1] }, &totals);
	bool tried = print_totals(&totals);
	device_key_free(keys[0]);
	device_key_free(keys[1]);
	if (seeds.count >= 200 && !tried) {
		fprintf(stderr, "not everything that can go wrong was tried and met\n");
		return 1;
	}
	return 0;
}
