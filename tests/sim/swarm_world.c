/* What a node does with what comes, its life, and what is made of it at the end. */
#include "tests/sim/swarm_world.h"

#include <assert.h>
#include <string.h>

#include "swarm/swarm_bound.h"
#include "tests/sim/swarm_world_private.h"

enum { LEAF = 64 * 1024, POOL = 4096 };
#define LOOK_US  ((uint64_t)20 * 1000)
#define RETRY_US ((uint64_t)500 * 1000)
#define RANK_US  ((uint64_t)1000 * 1000) /* until the server has ranked a site anew, and said so */

/* -- events -- */

static void on_event(struct sim *sim, struct sim_event *event);

static struct world_event *
event_new(struct world *w)
{
	if (w->free == NULL) {
		struct world_event *pool = mem_array(struct world_event, POOL);
		array_push(&w->pools, pool);
		for (size_t i = 0; i < POOL; i++) {
			pool[i].after = w->free;
			w->free = &pool[i];
		}
	}
	struct world_event *ev = w->free;
	w->free = ev->after;
	return ev;
}

static void
event_free(struct world_event *ev)
{
	free(ev->news);
	ev->news = NULL;
	ev->after = ev->world->free;
	ev->world->free = ev;
}

void
world_schedule(struct world *w, uint64_t at_us, struct world_event ev)
{
	struct world_event *own = event_new(w);

	*own = ev;
	own->event = (struct sim_event){ .fn = on_event };
	own->world = w;
	sim_at(&w->sim, &own->event, at_us);
}

/* -- what a node does -- */

static void
offer_all(struct world *w, struct world_node *n)
{
	struct swarm_offer offer;

	while (swarm_offer(n->swarm, w->sim.now_us, &offer)) {
		w->result.offers++;
		world_say(w, (uint32_t)offer.peer,
		    (struct world_event){ .kind = EV_OFFER, .unit = offer.unit });
	}
}

static struct swarm_run *
copy_runs(struct swarm_run **to, const struct swarm_run *from, uint32_t n)
{
	struct swarm_run *at = *to;

	if (n > 0)
		memcpy(at, from, n * sizeof *at);
	*to += n;
	return at;
}

static struct swarm_news *
copy_news(const struct swarm_news *from)
{
	size_t n = from->n_have + from->n_await + from->n_drop + from->n_skip + from->n_left;
	struct swarm_news *to = mem_alloc(sizeof *to + n * sizeof(struct swarm_run));
	struct swarm_run *at = (struct swarm_run *)(void *)(to + 1);

	*to = *from;
	to->have = copy_runs(&at, from->have, from->n_have);
	to->await = copy_runs(&at, from->await, from->n_await);
	to->drop = copy_runs(&at, from->drop, from->n_drop);
	to->skip = copy_runs(&at, from->skip, from->n_skip);
	to->left = copy_runs(&at, from->left, from->n_left);
	return to;
}

static void
tell_all(struct world *w, struct world_node *n)
{
	struct swarm_run all = { .first = 0, .n = w->o->n_units };
	struct swarm_news news;

	array_each (end, &n->ends) {
		while (w->ends.at[*end].open && swarm_tell(n->swarm, *end, w->sim.now_us, &news)) {
			if (n->o.kind == WORLD_BRAGGART)
				news = (struct swarm_news){ .have = &all, .n_have = 1 };
			world_say(w, *end,
			    (struct world_event){ .kind = EV_NEWS, .news = copy_news(&news) });
		}
	}
}

static void
wake_later(struct world *w, struct world_node *n)
{
	uint64_t at = swarm_wakes(n->swarm, w->sim.now_us);
	uint64_t soonest = w->sim.now_us + max_of(w->o->work_us, (uint64_t)1);

	assert(at >= w->sim.now_us || !"wakes in the past");
	if (at < UINT64_MAX)
		sim_at(&w->sim, &n->wake.event, max_of(at, soonest));
}

static void
work(struct world *w, struct world_node *n)
{
	swarm_tick(n->swarm, w->sim.now_us);
	offer_all(w, n);
	tell_all(w, n);
	world_send_next(w, (uint32_t)(n - w->nodes));
	if (n->done_us == 0 && swarm_is_complete(n->swarm))
		n->done_us = max_of(w->sim.now_us, (uint64_t)1);
	wake_later(w, n);
}

void
world_act(struct world *w, uint32_t node)
{
	struct world_node *n = &w->nodes[node];
	uint64_t at = w->sim.now_us + w->o->work_us;

	if (world_is_here(n) && (!sim_is_scheduled(&n->wake.event) || n->wake.event.at_us > at))
		sim_at(&w->sim, &n->wake.event, at);
}

static void
on_wake(struct sim *sim, struct sim_event *event)
{
	const struct world_event *ev = container_of(event, struct world_event, event);
	struct world_node *n = &ev->world->nodes[ev->node];
	(void)sim;

	if (world_is_here(n))
		work(ev->world, n);
}

/* -- joining and dying -- */

static void
hold_first(struct world *w, struct world_node *n)
{
	if (n->o.origin || n->o.kind == WORLD_BRAGGART || n->o.kind == WORLD_CORRUPT)
		n->o.held = w->o->n_units;
	for (uint32_t left = n->o.held; left > 0;) {
		uint32_t u = n->o.held == w->o->n_units
				 ? left - 1
				 : (uint32_t)rng_below(&w->sim.rng, w->o->n_units);
		left -= !swarm_holds(n->swarm, u);
		swarm_hold(n->swarm, u);
	}
}

static void
enter(struct world *w, uint32_t node)
{
	w->nodes[node].here = true;
	w->fruit_us = max_of(w->sim.now_us, w->o->cut_to_us);
	hold_first(w, &w->nodes[node]);
	world_places_enter(w, node);
}

static void
begin(struct world *w)
{
	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		if (w->o->nodes[i].join_us == 0)
			enter(w, i);
	}
	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		if (w->nodes[i].here)
			world_places_connect(w, i);
	}
	array_each (s, &w->sites) {
		if (s->members.len > 0)
			world_places_rank(w, s->members.at[0]);
	}
	for (uint32_t i = 0; i < w->o->n_nodes; i++)
		world_act(w, i);
}

static void
join(struct world *w, uint32_t node)
{
	enter(w, node);
	world_places_connect(w, node);
	world_schedule(
	    w, w->sim.now_us + RANK_US, (struct world_event){ .kind = EV_RANK, .node = node });
	world_act(w, node);
}

static void
forget(struct world *w, uint32_t end)
{
	struct world_end *e = &w->ends.at[end];
	struct world_node *n = world_owner(w, end);

	e->open = false;
	swarm_peer_gone(n->swarm, end, w->sim.now_us);
	for (size_t i = n->fifo.len; i > 0; i--) {
		if (n->fifo.at[i - 1].end == end)
			(void)world_end_service(n, end, n->fifo.at[i - 1].serial);
	}
	array_clear(&e->units);
	array_remove(&n->ends, end);
}

static void
die(struct world *w, uint32_t node)
{
	struct world_node *n = &w->nodes[node];
	uint64_t seen_us = w->sim.now_us + w->o->death_seen_us;

	n->dead = true;
	if (n->here)
		world_places_leave(w, node);
	w->fruit_us = max_of(w->sim.now_us, w->o->cut_to_us);
	array_each (end, &n->ends)
		world_schedule(w, seen_us,
		    (struct world_event){ .kind = EV_GONE, .end = w->ends.at[*end].other });
	world_schedule(w, seen_us + RANK_US, (struct world_event){ .kind = EV_RANK, .node = node });
}

/* -- taking -- */

/* What still comes of UNIT by END is dropped. */
static void
cancel(struct world *w, uint32_t end, uint32_t unit)
{
	struct world_end *e = &w->ends.at[end];

	for (size_t i = e->units.len; i > 0; i--) {
		struct world_incoming in = e->units.at[i - 1];
		if (in.unit != unit)
			continue;
		array_swap_out(&e->units, i - 1);
		world_say(w, end,
		    (struct world_event){ .kind = EV_CANCEL, .unit = unit, .serial = in.serial });
	}
}

static void
on_offer(struct world *w, const struct world_event *ev)
{
	struct swarm *s = world_owner(w, ev->end)->swarm;
	struct swarm_answer a = swarm_offered(s, ev->end, ev->unit, w->sim.now_us);

	if (a.verdict != SWARM_ACCEPT) {
		w->result.declined_held += a.verdict == SWARM_HELD;
		w->result.declined_busy += a.verdict == SWARM_BUSY;
		world_say(w, ev->end,
		    (struct world_event){
			.kind = EV_DECLINE, .unit = ev->unit, .bytes = a.verdict });
		return;
	}
	if (a.replaces)
		cancel(w, (uint32_t)a.old_peer, ev->unit);
	uint32_t serial = ++w->serial;
	array_push(&w->ends.at[ev->end].units, ((struct world_incoming){ ev->unit, serial, 0 }));
	world_say(w, ev->end,
	    (struct world_event){ .kind = EV_ACCEPT, .unit = ev->unit, .serial = serial });
}

static void
end_link(struct world *w, uint32_t end)
{
	uint32_t other = w->ends.at[end].other;

	forget(w, end);
	forget(w, other);
	world_act(w, w->ends.at[other].node);
}

static void
note_banned(struct world_node *n, uint32_t who)
{
	array_each (b, &n->banned) {
		if (*b == who)
			return;
	}
	array_push(&n->banned, who);
}

/* A leaf of a liar has come. */
static void
on_wrong(struct world *w, const struct world_event *ev)
{
	struct world_node *n = world_owner(w, ev->end);
	bool banned = swarm_charge(n->swarm, ev->end);

	swarm_ended(n->swarm, ev->end, ev->unit, false, w->sim.now_us);
	cancel(w, ev->end, ev->unit);
	if (!banned)
		return;
	note_banned(n, w->ends.at[w->ends.at[ev->end].other].node);
	end_link(w, ev->end);
}

static void
on_whole(struct world *w, const struct world_event *ev, size_t i)
{
	struct swarm *s = world_owner(w, ev->end)->swarm;

	w->result.delivered++;
	w->fruit_us = w->sim.now_us;
	w->result.twice += swarm_holds(s, ev->unit);
	array_swap_out(&w->ends.at[ev->end].units, i);
	swarm_ended(s, ev->end, ev->unit, true, w->sim.now_us);
	world_act(w, w->ends.at[ev->end].node);
}

static void
on_bytes(struct world *w, const struct world_event *ev, size_t i)
{
	struct world_incoming *in = &w->ends.at[ev->end].units.at[i];
	uint32_t before = in->got / LEAF, got = in->got += ev->bytes;

	if (got / LEAF == before && !ev->last)
		return;
	if (world_other(w, ev->end)->o.kind == WORLD_CORRUPT) {
		on_wrong(w, ev);
		world_act(w, w->ends.at[ev->end].node);
		return;
	}
	swarm_got(world_owner(w, ev->end)->swarm, ev->end, ev->unit,
	    min_of(got - before * LEAF, got), w->sim.now_us);
	if (ev->last)
		on_whole(w, ev, i);
}

static void
on_taken(struct world *w, const struct world_event *ev)
{
	const struct world_end *e = &w->ends.at[ev->end];

	world_say(w, ev->end, (struct world_event){ .kind = EV_CREDIT, .bytes = ev->bytes });
	for (size_t i = 0; i < e->units.len; i++) {
		if (e->units.at[i].serial == ev->serial) {
			on_bytes(w, ev, i);
			return;
		}
	}
	w->result.wasted += ev->bytes;
}

static void
on_cancel(struct world *w, const struct world_event *ev)
{
	struct world_node *n = world_owner(w, ev->end);

	/* what has been sent whole cannot be taken back; a later offer of it is another matter */
	if (world_end_service(n, ev->end, ev->serial))
		swarm_withdrawn(n->swarm, ev->end, ev->unit, 0, w->sim.now_us);
}

static void
on_accept(struct world *w, const struct world_event *ev)
{
	struct world_node *n = world_owner(w, ev->end);

	if (!swarm_accepted(n->swarm, ev->end, ev->unit, w->sim.now_us))
		return;
	array_push(
	    &n->fifo, ((struct world_service){ ev->end, ev->unit, ev->serial, w->o->unit_size }));
	world_send_next(w, w->ends.at[ev->end].node);
}

/* -- what happens -- */

static bool
is_heard(struct world *w, const struct world_event *ev)
{
	switch (ev->kind) {
	case EV_BEGIN:
	case EV_RANK:
		return true;
	case EV_JOIN:
	case EV_DIE:
		return !w->nodes[ev->node].dead;
	case EV_SENT:
		return !world_other(w, ev->end)->dead;
	default:
		return w->ends.at[ev->end].open && world_is_here(world_owner(w, ev->end));
	}
}

static void
handle_life(struct world *w, const struct world_event *ev)
{
	if (ev->kind == EV_BEGIN)
		begin(w);
	else if (ev->kind == EV_JOIN)
		join(w, ev->node);
	else if (ev->kind == EV_DIE)
		die(w, ev->node);
	else
		world_places_rank(w, ev->node);
}

static void
handle(struct world *w, const struct world_event *ev)
{
	struct swarm *s = world_owner(w, ev->end)->swarm;

	switch (ev->kind) {
	case EV_GONE:
		forget(w, ev->end);
		break;
	case EV_OFFER:
		on_offer(w, ev);
		break;
	case EV_ACCEPT:
		on_accept(w, ev);
		break;
	case EV_DECLINE:
		swarm_declined(
		    s, ev->end, ev->unit, (enum swarm_verdict)ev->bytes, RETRY_US, w->sim.now_us);
		break;
	case EV_NEWS:
		if (!swarm_peer_news(s, ev->end, ev->news, w->sim.now_us))
			assert(!"news out of range");
		break;
	case EV_CANCEL:
		on_cancel(w, ev);
		break;
	case EV_SENT:
		world_on_sent(w, ev);
		return;
	case EV_ENTER:
		world_on_enter(w, ev);
		return;
	case EV_DOWN:
		world_on_down(w, ev);
		return;
	case EV_TAKEN:
		on_taken(w, ev);
		return;
	case EV_CREDIT:
		world_on_credit(w, ev);
		return;
	default:
		assert(!"no event of a connection");
	}
	world_act(w, w->ends.at[ev->end].node);
}

static void
on_event(struct sim *sim, struct sim_event *event)
{
	struct world_event *ev = container_of(event, struct world_event, event);
	(void)sim;

	if (is_heard(ev->world, ev)) {
		if (ev->kind <= EV_RANK)
			handle_life(ev->world, ev);
		else
			handle(ev->world, ev);
	}
	event_free(ev);
}

static void
open_node(struct world *w, uint32_t i)
{
	struct world_node *n = &w->nodes[i];
	const struct swarm_opts o = { .n_units = w->o->n_units,
		.unit_size = w->o->unit_size,
		.origin = w->o->nodes[i].origin,
		.last_resort = w->o->nodes[i].last_resort,
		.seed = w->o->seed * 1000003 + i };

	n->o = w->o->nodes[i];
	n->wake = (struct world_event){ .event.fn = on_wake, .world = w, .node = i };
	sim_node_add(&w->sim, n->o.site, n->o.up, n->o.down, n);
	n->swarm = swarm_new(&o);
	if (n->o.join_us > 0)
		world_schedule(w, n->o.join_us, (struct world_event){ .kind = EV_JOIN, .node = i });
	if (n->o.die_us > 0)
		world_schedule(w, n->o.die_us, (struct world_event){ .kind = EV_DIE, .node = i });
}

static bool
stays(const struct world_node *n)
{
	return n->o.kind == WORLD_HONEST && n->o.die_us == 0;
}

static bool
is_over(const struct world *w)
{
	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		if (stays(&w->nodes[i]) && w->nodes[i].done_us == 0)
			return false;
	}
	return true;
}

/* -- judging -- */

static void
judge_unit(struct world *w, uint32_t unit)
{
	uint32_t with = 0, without = 0;

	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		const struct world_node *n = &w->nodes[i];
		with += stays(n) && swarm_holds(n->swarm, unit);
		without += stays(n) && !swarm_holds(n->swarm, unit);
	}
	w->result.lost += with == 0;
	w->result.lacking += with > 0 ? without : 0;
}

static void
judge_node(struct world *w, const struct world_node *n)
{
	struct world_result *r = &w->result;

	if (n->o.origin)
		r->origin_bytes += n->sent_bytes;
	if (n->o.last_resort)
		r->last_resort_bytes += n->sent_bytes;
	for (size_t k = 0; n->o.kind == WORLD_HONEST && k < n->banned.len; k++)
		r->banned[w->nodes[n->banned.at[k]].o.kind]++;
	if (!stays(n))
		return;
	r->incomplete += n->done_us == 0;
	r->done_us = max_of(r->done_us, n->done_us);
}

/* Copies that enter SITE with good reason. */
static double
explained(const struct world *w, uint32_t site)
{
	double copies = 1;

	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		const struct world_node *n = &w->nodes[i];
		if (n->o.site == site)
			copies += n->dead + (n->o.mislabelled && !n->o.origin);
	}
	return copies;
}

static void
judge_sites(struct world *w)
{
	double whole = (double)w->o->n_units * w->o->unit_size;
	uint32_t others = 0;

	for (uint32_t i = 0; i < w->sim.sites.len; i++) {
		struct world_result *r = &w->result;
		double out = (double)w->sim.sites.at[i].out.bytes / whole;
		double in = (double)w->sim.sites.at[i].in.bytes / whole;
		if (w->sites.at[i].home) {
			r->home = (struct world_copies){ .avg = in, .max = out };
			continue;
		}
		others++;
		r->in.avg += in;
		r->out.avg += out;
		r->in.max = max_of(r->in.max, in);
		r->out.max = max_of(r->out.max, out);
		if (in > 1)
			r->excess = max_of(r->excess, in - explained(w, i));
	}
	w->result.in.avg /= max_of(others, 1u);
	w->result.out.avg /= max_of(others, 1u);
}

static void
judge_time(struct world *w)
{
	struct world_result *r = &w->result;
	double whole = (double)w->o->n_units * w->o->unit_size, last = 0;

	r->origin_copies = (double)r->origin_bytes / whole;
	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		const struct world_node *n = &w->nodes[i];
		double done = (double)n->done_us / 1e6;
		if (!stays(n))
			continue;
		if (n->o.join_us == 0)
			last = max_of(last, done);
		else {
			double own = (double)n->o.join_us / 1e6 + whole / (double)n->o.down;
			own = max_of(own, r->bound_s);
			r->late_ratio = max_of(r->late_ratio, done / own);
		}
	}
	r->ratio = r->incomplete > 0 ? 0 : last / r->bound_s;
}

static void
judge(struct world *w)
{
	struct world_result *r = &w->result;

	for (uint32_t i = 0; i < w->o->n_nodes; i++)
		judge_node(w, &w->nodes[i]);
	for (uint32_t u = 0; u < w->o->n_units; u++)
		judge_unit(w, u);
	judge_sites(w);
	judge_time(w);
	if (r->incomplete > 0)
		r->done_us = UINT64_MAX;
}

/* Of those that are there from the beginning. */
static double
bound_of(const struct world_opts *o)
{
	struct swarm_bound_node *nodes = mem_array(struct swarm_bound_node, o->n_nodes);
	struct swarm_bound_site *sites = mem_array(struct swarm_bound_site, o->n_sites + 1);
	struct swarm_bound_net net = { .bytes = (uint64_t)o->n_units * o->unit_size,
		.nodes = nodes,
		.sites = sites,
		.n_sites = max_of(o->n_sites, 1u) };

	for (uint32_t i = 0; i < o->n_nodes; i++) {
		const struct world_node_opts *n = &o->nodes[i];
		if (n->join_us == 0)
			nodes[net.n_nodes++] = (struct swarm_bound_node){
				.up = n->up, .down = n->down, .site = n->site, .origin = n->origin
			};
	}
	for (uint32_t i = 0; i < o->n_sites; i++)
		sites[i] = (struct swarm_bound_site){ o->sites[i].out, o->sites[i].in };
	double s = swarm_bound_s(&net, NULL);
	free(nodes);
	free(sites);
	return s;
}

static void
open_world(struct world *w, const struct world_opts *o)
{
	sim_init(&w->sim, o->seed);
	w->sim.lan_us = o->delay_us;
	w->sim.wan_us = o->far_us;
	w->sim.jitter_permille = o->jitter_permille;
	for (uint32_t i = 0; i < o->n_sites; i++)
		sim_site_add(&w->sim, o->sites[i].out, o->sites[i].in);
	if (o->n_sites == 0)
		sim_site_add(&w->sim, 0, 0);
	world_schedule(w, 0, (struct world_event){ .kind = EV_BEGIN });
	for (uint32_t i = 0; i < o->n_nodes; i++)
		open_node(w, i);
	world_places_open(w);
	w->result.bound_s = bound_of(o);
}

static void
close_world(struct world *w)
{
	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		struct world_node *n = &w->nodes[i];
		swarm_free(n->swarm);
		array_clear(&n->fifo);
		array_clear(&n->ends);
		array_clear(&n->banned);
	}
	array_each (e, &w->ends)
		array_clear(&e->units);
	array_clear(&w->ends);
	array_each (pool, &w->pools) {
		for (size_t i = 0; i < POOL; i++)
			free((*pool)[i].news);
		free(*pool);
	}
	array_clear(&w->pools);
	world_places_clear(w);
	sim_clear(&w->sim);
	free(w->nodes);
}

struct world_result
world_run(const struct world_opts *o)
{
	struct world w = { .o = o, .nodes = mem_array(struct world_node, o->n_nodes) };

	open_world(&w, o);
	while (!is_over(&w) && w.sim.now_us < w.fruit_us + o->limit_us) {
		if (sim_run(&w.sim, w.sim.now_us + LOOK_US))
			break; /* nobody has anything to do any more */
	}
	w.result.events = w.sim.events;
	judge(&w);
	struct world_result r = w.result;
	close_world(&w);
	return r;
}
