/*
 * Random meshes: a server, a publisher and agents, of which any may come late, die, come back, be
 * cut off, lose what it had or lie.  However it goes: what any honest member that stays holds, all
 * that stay get, byte for byte; nothing wrong is ever kept or passed on; nothing is given twice
 * beyond what a death, a cut, a lie or silence explains; liars are cut off by name, nobody honest
 * ever is; and nothing grows.
 *
 * 	test_mesh [FIRST COUNT]     seeds; default 1 200, or 1 3000 with WEFT_LONG=1, or the one in
 * 	WEFT_SIM_SEED
 */
#include <stdio.h>
#include <stdlib.h>

#include "swarm/swarm_private.h"
#include "tests/sim/mesh.h"
#include "tests/sim/seeds.h"

enum { DEADLINE_S = 1200, QUIET_S = 120, PATH_EVENTS = 400 };

static const char *const lie_names[] = {
#define X(name, text, caught) text,
	MESH_LIES(X)
#undef X
};
static const bool is_caught[] = {
#define X(name, text, caught) caught,
	MESH_LIES(X)
#undef X
};

/* What both ends think of each other. */
static void
print_links(const struct member *m)
{
	for (size_t i = 0; m->swarm != NULL && i < m->swarm->peers.len; i++) {
		const struct swarm_peer *p = m->swarm->peers.at[i];
		for (uint32_t k = 0; k < m->w->n_members; k++) {
			const struct link *l = m->others[k].link;
			if (l == NULL || l->number != p->id)
				continue;
			fprintf(stderr,
			    "      %u: holds %zu, awaits %zu; here %zu flights, %zu slots, %zu "
			    "asks, %zu answers, %zu queued;%s%s%s%s%s\n",
			    k, p->have.count, p->pend.count, p->flights.len, p->slots.len,
			    l->asks.len, l->answers.len, session_queued(l->shell.session),
			    p->heard ? "" : " not heard", p->blocked_us > 0 ? " blocked" : "",
			    p->penance_us > 0 ? " penance" : "", p->starving ? " starves" : "",
			    p->barren ? " barren" : "");
		}
	}
}

void
mesh_fail(const struct mesh *w, const char *what, const char *where)
{
	fprintf(stderr,
	    "\n%s: not so: %s\nin the mesh of seed %llu, at %llu.%06llu s; to see it again: "
	    "WEFT_SIM_SEED=%llu test_mesh\n%zu units of %u, loss %u, resets %u%s; members:\n",
	    where, what, (unsigned long long)w->seed, (unsigned long long)(w->sim.now_us / SIM_S),
	    (unsigned long long)(w->sim.now_us % SIM_S), (unsigned long long)w->seed,
	    w->content.store.units.len, w->content.unit_size, w->loss_per_million,
	    w->reset_per_million, w->known ? ", all known" : "");
	for (uint32_t i = 0; i < w->n_members; i++) {
		const struct member *m = w->members[i];
		fprintf(stderr, "%3u %s%s%s%s%s, %s, %zu of %zu leaves\n", i,
		    m->server   ? "server"
		    : m->origin ? "publisher"
				: "agent",
		    m->here ? "" : ", not come", m->dead ? ", dead" : "",
		    m->stays ? "" : ", mortal", m->unreachable ? ", unreachable" : "",
		    lie_names[m->lie], m->store.have.count, m->store.have.n);
		print_links(m);
	}
	abort();
}

/* -- a mesh from a seed -- */

struct accident {
	struct sim_event event;
	struct mesh *w;
	unsigned left;
	bool calm; /* all are here that stay, and hear each other */
	uint64_t calm_us;
};

static bool
one_in(struct mesh *w, uint64_t n)
{
	return rng_below(&w->sim.rng, n) == 0;
}

static struct member *
any_member(struct mesh *w)
{
	return w->members[rng_below(&w->sim.rng, w->n_members)];
}

static void
calm_down(struct accident *a)
{
	struct mesh *w = a->w;

	array_each (n, &w->sim.nodes)
		n->island = 0;
	for (uint32_t i = 0; i < w->n_members; i++) {
		struct member *m = w->members[i];
		if (m->stays && (!m->here || m->dead))
			member_come(m);
		if (m->here && !m->dead)
			swarm_pause(m->swarm, false);
		member_wake(m);
	}
	a->calm = true;
	a->calm_us = w->sim.now_us;
}

static void
die_or_rise(struct member *m)
{
	struct mesh *w = m->w;

	if (!m->here)
		return;
	if (!m->dead) {
		member_die(m, one_in(w, 2));
	} else if (m->stays) {
		/* The machine has forgotten its connections. */
		array_each (l, &w->links)
			if ((*l)->me == m && (*l)->wire != NULL && !(*l)->shell.told_closed)
				wire_reset((*l)->wire);
		member_come(m);
		w->restarts++;
	}
}

static void
break_links(struct member *m)
{
	array_each (l, &m->w->links)
		if ((*l)->me == m && link_is_live(*l) && (*l)->wire != NULL)
			wire_reset((*l)->wire);
}

static void
lose_a_unit(struct member *m)
{
	uint32_t unit = (uint32_t)rng_below(&m->w->sim.rng, max_of(m->store.units.len, (size_t)1));

	if (m->here && !m->dead && m->lie == MESH_NONE && unit < m->store.units.len &&
	    swarm_holds(m->swarm, unit))
		member_lose(m, unit);
}

static void
happen(struct mesh *w)
{
	struct member *m = any_member(w);

	switch (rng_below(&w->sim.rng, 8)) {
	case 0:
	case 1:
	case 2:
		die_or_rise(m);
		break;
	case 3:
		w->sim.nodes.at[m->node].island ^= 1;
		break;
	case 4:
		break_links(m);
		break;
	case 5:
		lose_a_unit(m);
		break;
	case 6:
		if (m->here && !m->dead)
			swarm_pause(m->swarm, one_in(w, 2));
		break;
	default:
		if (!m->here)
			member_come(m);
		break;
	}
}

static void
on_accident(struct sim *s, struct sim_event *ev)
{
	struct accident *a = container_of(ev, struct accident, event);

	if (a->left == 0) {
		calm_down(a);
		return;
	}
	a->left--;
	happen(a->w);
	sim_at(s, ev, s->now_us + 1 + rng_below(&s->rng, rng_below(&s->rng, 12) * SIM_S + 1));
}

/* In a calm one nobody has reason to take anybody for dead: queues are short. */
static uint64_t
any_rate(struct mesh *w)
{
	static const uint64_t rates[] = { 100000, 400000, 1250000, 12500000, 125000000 };
	size_t from = w->calm ? 2 : 0;

	return rates[from + rng_below(&w->sim.rng, lengthof(rates) - from)];
}

static void
build_network(struct mesh *w)
{
	struct rng *rng = &w->sim.rng;

	w->sim.lan_us = 100 + rng_below(rng, 1000);
	w->sim.wan_us = 1000 + rng_below(rng, 100000);
	w->sim.jitter_permille = (uint32_t)rng_below(rng, 300);
	w->window = 16384u << rng_below(rng, w->calm ? 2 : 6);
	if (!w->calm && one_in(w, 2))
		w->loss_per_million = (uint32_t)rng_below(rng, 20000);
	if (!w->calm && one_in(w, 2))
		w->reset_per_million = (uint32_t)rng_below(rng, 10000);
	sim_site_add(&w->sim, 0, 0);
	sim_site_add(&w->sim, 0, 0);
}

static struct member *
add_member(struct mesh *w, enum mesh_lie lie)
{
	uint32_t site = (uint32_t)rng_below(&w->sim.rng, 2);
	uint64_t up = any_rate(w), down = any_rate(w);

	return member_new(w, sim_node_add(&w->sim, site, up, down, NULL), lie);
}

static void
hold_some(struct member *m, uint64_t one_of)
{
	for (uint32_t u = 0; u < m->store.units.len; u++)
		if (one_in(m->w, one_of))
			member_hold(m, u);
}

static void
build_agents(struct mesh *w, bool walls)
{
	uint64_t n = 1 + rng_below(&w->sim.rng, MESH_MEMBERS - 5);

	for (uint64_t i = 0; i < n; i++) {
		struct member *m = add_member(w, MESH_NONE);
		if (w->calm)
			continue;
		m->late = one_in(w, 4);
		m->stays = !one_in(w, 6);
		m->unreachable = walls && one_in(w, 3);
		if (one_in(w, 6))
			hold_some(m, 2);
	}
	for (uint64_t left = w->calm ? 0 : rng_below(&w->sim.rng, 4); left > 0; left--) {
		struct member *m =
		    add_member(w, 1 + (enum mesh_lie)rng_below(&w->sim.rng, MESH_LIE_COUNT - 1));
		if (m->lie != MESH_BRAG && m->lie != MESH_REFUSER)
			hold_some(m, 1);
	}
}

/* The server, the publisher, agents. */
static void
build_members(struct mesh *w)
{
	struct member *server = add_member(w, MESH_NONE), *author;
	bool walls = false;

	server->server = true;
	if (one_in(w, 3))
		hold_some(server, 1);
	author = add_member(w, MESH_NONE);
	author->origin = true;
	hold_some(author, 1);
	if (!w->calm) {
		server->stays = !one_in(w, 4);
		author->stays = !one_in(w, 4);
		w->known = !server->stays || one_in(w, 3);
		walls = server->stays && one_in(w, 2);
	}
	build_agents(w, walls);
	for (uint32_t i = 0; i < w->n_members; i++)
		if (!w->members[i]->late)
			member_come(w->members[i]);
}

/* -- what must be so -- */

static bool
counts(const struct member *m)
{
	return m->stays && m->lie == MESH_NONE;
}

static uint32_t
holders(const struct mesh *w, uint32_t unit)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->n_members; i++)
		n += counts(w->members[i]) && member_has(w->members[i], unit);
	return n;
}

/* Whatever one of them has, all have. */
static bool
is_over(const struct mesh *w)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->n_members; i++)
		n += counts(w->members[i]);
	for (uint32_t u = 0; u < w->content.store.units.len; u++) {
		uint32_t have = holders(w, u);
		if (have > 0 && have < n)
			return false;
	}
	return true;
}

static uint32_t
lost_units(const struct mesh *w)
{
	uint32_t n = 0;

	for (uint32_t u = 0; u < w->content.store.units.len; u++)
		n += holders(w, u) == 0;
	return n;
}

static void
check_link(const struct mesh *w, const struct link *l)
{
	bool honest = l->me->lie == MESH_NONE && l->other->lie == MESH_NONE;

	MESH_REQUIRE(
	    w, l->shell.most_queued <= LIMIT_OUTPUT_QUEUE + LIMIT_DATA_RAW + LIMIT_FRAME_MESSAGE ||
		   l->me->lie != MESH_NONE);
	/* What is over has left nothing. */
	if (honest && l->over)
		MESH_REQUIRE(w, l->answers.len == 0);
	if (honest && link_is_live(l) && counts(l->me) && counts(l->other) && lost_units(w) == 0)
		MESH_REQUIRE(w, l->asks.len == 0 && l->answers.len == 0);
}

/* All that was offered and accepted has come to an end, where both are honest. */
static void
check_peer(const struct mesh *w, const struct member *m, const struct member *other)
{
	const struct link *l = m->others[other->index].link;
	const struct swarm_peer *p = l != NULL ? swarm_peer_find(m->swarm, l->number) : NULL;

	if (p != NULL && counts(other))
		MESH_REQUIRE(w, p->slots.len == 0 && p->flights.len == 0);
}

static void
check_member(const struct mesh *w, struct member *m)
{
	const struct swarm *s = m->swarm;

	if (!counts(m))
		return;
	MESH_REQUIRE(w, m->done_us != 0 || lost_units(w) > 0);
	MESH_REQUIRE(w, m->done_us == 0 || content_is_in(&w->content, &m->store));
	MESH_REQUIRE(w, m->failed.len == 0 && s->near_log.units.len <= SWARM_LOG_MAX);
	MESH_REQUIRE(w, s->peers.len <= w->n_members);
	for (uint32_t i = 0; i < w->n_members; i++) {
		const struct other *o = &m->others[i];
		MESH_REQUIRE(w, !o->banned || w->members[i]->lie != MESH_NONE);
		MESH_REQUIRE(w, !o->banned || (o->link == NULL && o->named != OK));
		MESH_REQUIRE(w, o->wrong < SWARM_WRONG_MAX || o->banned);
	}
	for (size_t i = 0; i < s->peers.len; i++)
		MESH_REQUIRE(w, s->peers.at[i]->slots.len <= SWARM_INBOUND + SWARM_SLOTS_MAX);
	for (uint32_t i = 0; i < w->n_members; i++)
		check_peer(w, m, w->members[i]);
}

static void
check_all(struct mesh *w)
{
	array_each (l, &w->links) {
		check_link(w, *l);
		/* of machines that were switched off in the middle */
		for (size_t i = 0; i < (*l)->asks.len; i++)
			w->excused += (*l)->asks.at[i]->bytes - (*l)->asks.at[i]->got;
	}
	for (uint32_t i = 0; i < w->n_members; i++)
		check_member(w, w->members[i]);
	MESH_REQUIRE(w, w->given <= w->taken + w->excused);
	if (!w->calm)
		return;
	/* Nobody is taken for dead; but who is slow is replaced at the end, and of two who dial at
	 * once one gives up. */
	MESH_REQUIRE(w, w->silent == 0);
	MESH_REQUIRE(w, w->replaced > 0 ? w->excused >= w->tied : w->excused == w->tied);
}

/* Nobody needs anything: nothing but signs of life is left. */
static void
check_quiet(struct mesh *w)
{
	uint64_t before = w->sim.events, live = 0;
	uint64_t given = w->given;

	(void)sim_run(&w->sim, w->sim.now_us + QUIET_S * SIM_S);
	array_each (l, &w->links)
		live += link_is_live(*l);
	MESH_REQUIRE(
	    w, w->sim.events - before <= (live + w->n_members * w->n_members) * PATH_EVENTS);
	MESH_REQUIRE(w, w->given == given);
}

/* -- all of them -- */

struct totals {
	uint64_t meshes, members, links, given, taken, excused, replaced, silent, refused, restarts,
	    calls;
	uint64_t lost_meshes, lost_units, calm, slowest_s, slowest_seed;
	uint64_t met[MESH_LIE_COUNT], told[MESH_LIE_COUNT], named[MESH_LIE_COUNT];
};

static void
count_mesh(const struct mesh *w, const struct accident *a, struct totals *t)
{
	t->meshes++;
	t->members += w->n_members;
	t->links += w->wires.len;
	t->given += w->given;
	t->taken += w->taken;
	t->excused += w->excused;
	t->replaced += w->replaced;
	t->silent += w->silent;
	t->refused += w->refused;
	t->restarts += w->restarts;
	t->calls += w->calls;
	t->lost_units += w->lost_units;
	t->lost_meshes += lost_units(w) > 0;
	for (uint32_t i = 0; i < w->n_members; i++) {
		const struct member *m = w->members[i];
		t->met[m->lie]++;
		t->told[m->lie] += m->lies;
		for (uint32_t k = 0; m->lie == MESH_NONE && k < w->n_members; k++)
			t->named[w->members[k]->lie] += m->others[k].banned;
		uint64_t s = m->done_us > a->calm_us ? (m->done_us - a->calm_us) / SIM_S : 0;
		if (counts(m) && s > t->slowest_s) {
			t->slowest_s = s;
			t->slowest_seed = w->seed;
		}
	}
}

static void
link_free(struct link *l)
{
	shell_clear(&l->shell);
	array_each (a, &l->answers)
		free(*a);
	array_each (a, &l->asks)
		free(*a);
	array_clear(&l->answers);
	array_clear(&l->asks);
	free(l);
}

static void
mesh_clear(struct mesh *w)
{
	array_each (l, &w->links)
		link_free(*l);
	array_each (x, &w->wires)
		wire_free(*x);
	for (uint32_t i = 0; i < w->n_members; i++)
		member_free(w->members[i]);
	array_clear(&w->links);
	array_clear(&w->wires);
	content_clear(&w->content);
	sim_clear(&w->sim);
}

static void
run_mesh(uint64_t seed, const struct device_key *author, struct totals *t)
{
	struct mesh w = { .seed = seed, .author = author };
	struct accident a = { .w = &w, .event.fn = on_accident };

	sim_init(&w.sim, seed);
	w.calm = one_in(&w, 5);
	build_network(&w);
	uint64_t bytes = rng_below(&w.sim.rng, 1 << 20);
	uint32_t unit_size = UNIT_MIN << rng_below(&w.sim.rng, 3);
	content_build(&w.content, &w.sim.rng, bytes, unit_size, author);
	build_members(&w);
	a.left = w.calm ? 0 : (unsigned)rng_below(&w.sim.rng, 16);
	if (a.left > 0)
		sim_at(&w.sim, &a.event, rng_below(&w.sim.rng, 10 * SIM_S));
	else
		calm_down(&a);

	while (
	    !(a.calm && is_over(&w)) && (!a.calm || w.sim.now_us < a.calm_us + DEADLINE_S * SIM_S))
		(void)sim_run(&w.sim, w.sim.now_us + SIM_S);
	MESH_REQUIRE(&w, is_over(&w));
	(void)sim_run(&w.sim, w.sim.now_us + QUIET_S * SIM_S);
	check_all(&w);
	if (w.calm)
		check_quiet(&w);
	t->calm += w.calm;
	count_mesh(&w, &a, t);
	mesh_clear(&w);
}

static bool
print_totals(const struct totals *t)
{
	bool tried = true;

	printf(
	    "%llu meshes (%llu calm), %llu members, %llu connections, %llu restarts, %llu calls, "
	    "%llu MiB given, %llu taken, %llu explained; %llu units replaced, %llu given up, "
	    "%llu refused, "
	    "%llu lost; without some unit in the end: %llu meshes; the slowest took %llu s (seed "
	    "%llu)\n",
	    (unsigned long long)t->meshes, (unsigned long long)t->calm,
	    (unsigned long long)t->members, (unsigned long long)t->links,
	    (unsigned long long)t->restarts, (unsigned long long)t->calls,
	    (unsigned long long)t->given >> 20, (unsigned long long)t->taken >> 20,
	    (unsigned long long)t->excused >> 20, (unsigned long long)t->replaced,
	    (unsigned long long)t->silent, (unsigned long long)t->refused,
	    (unsigned long long)t->lost_units, (unsigned long long)t->lost_meshes,
	    (unsigned long long)t->slowest_s, (unsigned long long)t->slowest_seed);
	for (unsigned i = 1; i < MESH_LIE_COUNT; i++) {
		printf("%-12s met %llu times, %llu lies, named %llu times\n", lie_names[i],
		    (unsigned long long)t->met[i], (unsigned long long)t->told[i],
		    (unsigned long long)t->named[i]);
		tried = tried && t->met[i] > 0 && (t->named[i] > 0 || !is_caught[i]);
	}
	return tried && t->replaced > 0 && t->restarts > 0 && t->calls > 0 && t->calm > 0;
}

int
main(int argc, char **argv)
{
	const struct seeds seeds = seeds_wanted(argc, argv, 200, 3000);
	struct device_key *author = NULL;
	struct totals t = { 0 };
	struct error e;

	if (device_key_generate(&author, &e) != OK)
		abort();
	for (uint64_t i = 0; i < seeds.count; i++)
		run_mesh(seeds.first + i, author, &t);
	bool tried = print_totals(&t);
	device_key_free(author);
	if (seeds.count >= 200 && !tried) {
		fprintf(stderr, "not everything that can go wrong was tried and met\n");
		return 1;
	}
	return 0;
}
