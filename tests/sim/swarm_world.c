#include "tests/sim/swarm_world.h"

#include <assert.h>
#include <string.h>

#include "base/bitset.h"
#include "tests/sim/sim.h"

enum { BLOCK = 16 * 1024, WINDOW = 64 * 1024, LEAF = 64 * 1024, MESSAGE = 100 };
#define LOOK_US  ((uint64_t)20 * 1000)
#define RETRY_US ((uint64_t)500 * 1000)

enum event_kind {
	EV_JOIN,
	EV_DIE,
	EV_GONE, /* TO learns that FROM is gone */
	EV_OFFER,
	EV_ACCEPT,
	EV_DECLINE,
	EV_NEWS,
	EV_CANCEL,
	EV_SENT,   /* FROM's uplink has done a block */
	EV_TAKEN,  /* a block has passed TO's downlink */
	EV_CREDIT, /* FROM knows that it is taken */
};

struct event {
	struct sim_event event;
	struct world *world;
	enum event_kind kind;
	uint32_t from, to, unit;
	uint32_t bytes;  /* of a block; DECLINE: 1 it is held */
	uint32_t serial; /* which acceptance of the unit */
	bool last;
	struct swarm_news *news;      /* owned, with its runs behind it */
	struct event *next, **before; /* all that are under way */
};

struct service { /* accepted from us, to be sent */
	uint32_t to, unit, serial;
	uint32_t left;
};
struct incoming { /* a unit that we accepted */
	uint32_t unit, serial, got;
};
struct inflow {
	ARRAY(struct incoming) units;
};
struct node {
	struct world_node_opts o;
	struct swarm *swarm;
	bool here, dead;
	ARRAY(struct service) fifo;
	bool sending;
	struct event wake;
	uint64_t sent_bytes;
	uint64_t done_us;
	struct inflow *flows; /* from each node: what of which unit has come */
	uint32_t *window;     /* bytes under way to each node */
	uint64_t *said_us;    /* when the last message to each node arrives */
	struct bitset met;
	struct bitset banned;
};
struct world {
	const struct world_opts *o;
	struct sim sim;
	struct node *nodes;
	struct event *under_way;
	uint64_t fruit_us; /* when somebody came or went, or a unit was delivered */
	uint32_t serial;
	struct world_result result;
};

/* -- events -- */

static void on_event(struct sim *sim, struct sim_event *event);

/* A copy of EV happens at AT_US. */
static void
schedule(struct world *w, uint64_t at_us, struct event ev)
{
	struct event *own = mem_dup(&ev, sizeof ev);

	own->event.fn = on_event;
	own->world = w;
	own->next = w->under_way;
	own->before = &w->under_way;
	if (own->next != NULL)
		own->next->before = &own->next;
	w->under_way = own;
	sim_at(&w->sim, &own->event, at_us);
}

static void
event_free(struct event *ev)
{
	*ev->before = ev->next;
	if (ev->next != NULL)
		ev->next->before = ev->before;
	free(ev->news);
	free(ev);
}

static bool
is_cut(const struct world *w, uint32_t a, uint32_t b)
{
	return (a & 1) != (b & 1) && w->sim.now_us >= w->o->cut_from_us &&
	       w->sim.now_us < w->o->cut_to_us;
}

/* A message; what is said while the line is cut arrives when it is whole again, as with TCP. */
static void
say(struct world *w, struct event ev)
{
	uint64_t at = sim_pass(&w->sim, ev.from, ev.to, MESSAGE);

	if (is_cut(w, ev.from, ev.to))
		at = max_of(at, w->o->cut_to_us + w->o->delay_us);
	/* nothing overtakes on one connection */
	uint64_t *last = &w->nodes[ev.from].said_us[ev.to];
	*last = at = max_of(at, *last);
	schedule(w, at, ev);
}

/* -- uplinks -- */

static void
send_next(struct world *w, uint32_t me)
{
	struct node *n = &w->nodes[me];

	if (n->sending || n->dead || n->o.kind == WORLD_MUTE || n->o.kind == WORLD_BRAGGART)
		return;
	for (size_t i = 0; i < n->fifo.len; i++) {
		struct service *s = &n->fifo.at[i];
		uint32_t bytes = min_of(s->left, (uint32_t)BLOCK);
		if (n->window[s->to] + bytes > WINDOW || is_cut(w, me, s->to)) {
			swarm_peer_blocked(n->swarm, s->to, true, w->sim.now_us);
			continue;
		}
		if (n->o.kind == WORLD_SLUGGARD)
			bytes = 1;
		n->sending = true;
		n->window[s->to] += bytes;
		s->left -= bytes;
		struct event ev = { .from = me,
			.to = s->to,
			.unit = s->unit,
			.bytes = bytes,
			.last = s->left == 0,
			.serial = s->serial };
		ev.kind = EV_TAKEN;
		schedule(w, sim_pass(&w->sim, me, s->to, bytes), ev);
		ev.kind = EV_SENT;
		uint64_t free_us = max_of(w->sim.nodes.at[me].up.free_us, w->sim.now_us);
		schedule(w, n->o.kind == WORLD_SLUGGARD ? w->sim.now_us + SIM_S : free_us, ev);
		return;
	}
}

static void
end_service(struct node *n, uint32_t to, uint32_t unit)
{
	for (size_t i = 0; i < n->fifo.len; i++) {
		if (n->fifo.at[i].to != to || n->fifo.at[i].unit != unit)
			continue;
		memmove(&n->fifo.at[i], &n->fifo.at[i + 1],
		    (n->fifo.len - i - 1) * sizeof n->fifo.at[0]);
		n->fifo.len--;
		return;
	}
}

/* -- what a node does -- */

static void
offer_all(struct world *w, uint32_t me)
{
	struct node *n = &w->nodes[me];
	struct swarm_offer offer;

	while (swarm_offer(n->swarm, w->sim.now_us, &offer)) {
		w->result.offers++;
		say(w, (struct event){ .kind = EV_OFFER,
			   .from = me,
			   .to = (uint32_t)offer.peer,
			   .unit = offer.unit });
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
	size_t n = from->n_have + from->n_await + from->n_drop + from->n_skip;
	struct swarm_news *to = mem_alloc(sizeof *to + n * sizeof(struct swarm_run));
	struct swarm_run *at = (struct swarm_run *)(void *)(to + 1);

	*to = *from;
	to->have = copy_runs(&at, from->have, from->n_have);
	to->await = copy_runs(&at, from->await, from->n_await);
	to->drop = copy_runs(&at, from->drop, from->n_drop);
	to->skip = copy_runs(&at, from->skip, from->n_skip);
	return to;
}

static void
tell_all(struct world *w, uint32_t me)
{
	struct node *n = &w->nodes[me];
	struct swarm_run all = { .first = 0, .n = w->o->n_units };
	struct swarm_news news;

	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		while (bitset_has(&n->met, i) && swarm_tell(n->swarm, i, w->sim.now_us, &news)) {
			if (n->o.kind == WORLD_BRAGGART)
				news = (struct swarm_news){ .have = &all, .n_have = 1 };
			say(w,
			    (struct event){
				.kind = EV_NEWS, .from = me, .to = i, .news = copy_news(&news) });
		}
	}
}

/* What is to happen soon is not looked at again: when it happens, the rest is. */
static void
wake_later(struct world *w, uint32_t me)
{
	struct node *n = &w->nodes[me];

	if (sim_is_scheduled(&n->wake.event) &&
	    n->wake.event.at_us <= w->sim.now_us + SWARM_BATCH_MIN_US)
		return;
	uint64_t at = swarm_wakes(n->swarm, w->sim.now_us);
	assert(at >= w->sim.now_us || !"wakes in the past");
	if (at == UINT64_MAX)
		sim_cancel(&w->sim, &n->wake.event);
	else
		sim_at(&w->sim, &n->wake.event, max_of(at, w->sim.now_us + 1));
}

static void
act(struct world *w, uint32_t me)
{
	struct node *n = &w->nodes[me];

	if (!n->here || n->dead)
		return;
	offer_all(w, me);
	tell_all(w, me);
	send_next(w, me);
	if (n->done_us == 0 && swarm_is_complete(n->swarm))
		n->done_us = max_of(w->sim.now_us, (uint64_t)1);
	wake_later(w, me);
}

static void
on_wake(struct sim *sim, struct sim_event *event)
{
	const struct event *ev = container_of(event, struct event, event);
	(void)sim;

	if (!ev->world->nodes[ev->to].here || ev->world->nodes[ev->to].dead)
		return;
	swarm_tick(ev->world->nodes[ev->to].swarm, ev->world->sim.now_us);
	act(ev->world, ev->to);
}

/* -- joining and dying -- */

static void
meet(struct world *w, uint32_t a, uint32_t b)
{
	if (a == b || !w->nodes[b].here || w->nodes[b].dead)
		return;
	bitset_set(&w->nodes[a].met, b);
	swarm_peer_add(w->nodes[a].swarm, b, w->nodes[b].o.last_resort, w->sim.now_us);
}

static void
join(struct world *w, uint32_t me)
{
	struct node *n = &w->nodes[me];

	n->here = true;
	w->fruit_us = max_of(w->sim.now_us, w->o->cut_to_us);
	if (n->o.origin || n->o.kind == WORLD_BRAGGART || n->o.kind == WORLD_CORRUPT)
		n->o.held = w->o->n_units;
	for (uint32_t left = n->o.held; left > 0;) {
		uint32_t u = n->o.held == w->o->n_units
				 ? left - 1
				 : (uint32_t)rng_below(&w->sim.rng, w->o->n_units);
		left -= !swarm_holds(n->swarm, u);
		swarm_hold(n->swarm, u);
	}
	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		if (i == me || !w->nodes[i].here || w->nodes[i].dead)
			continue;
		meet(w, me, i);
		meet(w, i, me);
		act(w, i);
	}
}

static void
forget(struct world *w, uint32_t me, uint32_t other)
{
	struct node *n = &w->nodes[me];

	bitset_unset(&n->met, other);
	swarm_peer_gone(n->swarm, other, w->sim.now_us);
	for (size_t i = n->fifo.len; i > 0; i--) {
		if (n->fifo.at[i - 1].to == other)
			end_service(n, other, n->fifo.at[i - 1].unit);
	}
	array_clear(&n->flows[other].units);
	n->window[other] = 0;
}

static void
die(struct world *w, uint32_t me)
{
	w->nodes[me].dead = true;
	w->fruit_us = max_of(w->sim.now_us, w->o->cut_to_us);
	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		if (i != me)
			schedule(w, w->sim.now_us + w->o->death_seen_us,
			    (struct event){ .kind = EV_GONE, .from = me, .to = i });
	}
}

/* -- taking -- */

/* What still comes of UNIT from FROM is dropped. */
static void
cancel(struct world *w, uint32_t me, uint32_t from, uint32_t unit)
{
	struct inflow *f = &w->nodes[me].flows[from];

	for (size_t i = f->units.len; i > 0; i--) {
		if (f->units.at[i - 1].unit == unit)
			array_swap_out(&f->units, i - 1);
	}
	say(w, (struct event){ .kind = EV_CANCEL, .from = me, .to = from, .unit = unit });
}

static void
on_offer(struct world *w, const struct event *ev)
{
	struct node *n = &w->nodes[ev->to];
	struct swarm_answer a = swarm_offered(n->swarm, ev->from, ev->unit, w->sim.now_us);

	if (a.verdict != SWARM_ACCEPT) {
		w->result.declined_held += a.verdict == SWARM_HELD;
		w->result.declined_busy += a.verdict == SWARM_BUSY;
		say(w, (struct event){ .kind = EV_DECLINE,
			   .from = ev->to,
			   .to = ev->from,
			   .unit = ev->unit,
			   .bytes = a.verdict == SWARM_HELD });
		return;
	}
	if (a.replaces)
		cancel(w, ev->to, (uint32_t)a.old_peer, ev->unit);
	uint32_t serial = ++w->serial;
	array_push(&n->flows[ev->from].units, ((struct incoming){ ev->unit, serial, 0 }));
	say(w, (struct event){ .kind = EV_ACCEPT,
		   .from = ev->to,
		   .to = ev->from,
		   .unit = ev->unit,
		   .serial = serial });
}

static void
end_link(struct world *w, uint32_t me, uint32_t other)
{
	forget(w, me, other);
	forget(w, other, me);
	act(w, other);
}

static void
on_taken(struct world *w, const struct event *ev)
{
	struct node *n = &w->nodes[ev->to];
	struct inflow *f = &n->flows[ev->from];

	say(w, (struct event){
		   .kind = EV_CREDIT, .from = ev->to, .to = ev->from, .bytes = ev->bytes });
	if (!bitset_has(&n->met, ev->from))
		return;
	for (size_t i = 0; i < f->units.len; i++) {
		if (f->units.at[i].serial != ev->serial)
			continue;
		uint32_t before = f->units.at[i].got / LEAF, got = f->units.at[i].got += ev->bytes;
		if (w->nodes[ev->from].o.kind == WORLD_CORRUPT &&
		    (got / LEAF > before || ev->last)) {
			bool banned = swarm_charge(n->swarm, ev->from);
			swarm_ended(n->swarm, ev->from, ev->unit, false, w->sim.now_us);
			cancel(w, ev->to, ev->from, ev->unit);
			if (banned) {
				bitset_set(&n->banned, ev->from);
				end_link(w, ev->to, ev->from);
			}
			return;
		}
		if (got / LEAF > before || ev->last)
			swarm_got(n->swarm, ev->from, ev->unit, min_of(got - before * LEAF, got),
			    w->sim.now_us);
		if (ev->last) {
			w->result.delivered++;
			w->fruit_us = w->sim.now_us;
			w->result.twice += swarm_holds(n->swarm, ev->unit);
			array_swap_out(&f->units, i);
			swarm_ended(n->swarm, ev->from, ev->unit, true, w->sim.now_us);
		}
		return;
	}
	w->result.wasted += ev->bytes;
}

static void
on_cancel(struct world *w, const struct event *ev)
{
	struct node *n = &w->nodes[ev->to];

	end_service(n, ev->from, ev->unit);
	swarm_withdrawn(n->swarm, ev->from, ev->unit, 0, w->sim.now_us);
}

static void
on_sent(struct world *w, const struct event *ev)
{
	struct node *n = &w->nodes[ev->from];

	n->sending = false;
	n->sent_bytes += ev->bytes;
	if (!ev->last)
		return;
	end_service(n, ev->to, ev->unit);
	swarm_sent(n->swarm, ev->to, ev->unit, w->o->unit_size, w->sim.now_us);
}

static void
on_credit(struct world *w, const struct event *ev)
{
	struct node *n = &w->nodes[ev->to];

	n->window[ev->from] -= min_of(n->window[ev->from], ev->bytes);
	swarm_peer_blocked(n->swarm, ev->from, false, w->sim.now_us);
}

static bool
is_heard(const struct world *w, const struct event *ev)
{
	const struct node *n = &w->nodes[ev->to];

	if (ev->kind == EV_SENT)
		return !w->nodes[ev->from].dead;
	if (n->dead || (ev->kind != EV_JOIN && !n->here))
		return false;
	return ev->kind < EV_OFFER || ev->kind >= EV_TAKEN || bitset_has(&n->met, ev->from);
}

static void
handle(struct world *w, const struct event *ev)
{
	struct node *n = &w->nodes[ev->to];

	switch (ev->kind) {
	case EV_JOIN:
		join(w, ev->to);
		break;
	case EV_DIE:
		die(w, ev->to);
		break;
	case EV_GONE:
		forget(w, ev->to, ev->from);
		break;
	case EV_OFFER:
		on_offer(w, ev);
		break;
	case EV_ACCEPT:
		if (swarm_accepted(n->swarm, ev->from, ev->unit, w->sim.now_us))
			array_push(&n->fifo,
			    ((struct service){ ev->from, ev->unit, ev->serial, w->o->unit_size }));
		break;
	case EV_DECLINE:
		swarm_declined(
		    n->swarm, ev->from, ev->unit, ev->bytes != 0, RETRY_US, w->sim.now_us);
		break;
	case EV_NEWS:
		if (!swarm_peer_news(n->swarm, ev->from, ev->news))
			assert(!"news out of range");
		break;
	case EV_CANCEL:
		on_cancel(w, ev);
		break;
	case EV_SENT:
		on_sent(w, ev);
		act(w, ev->from);
		return;
	case EV_TAKEN:
		on_taken(w, ev);
		break;
	case EV_CREDIT:
		on_credit(w, ev);
		break;
	}
	act(w, ev->to);
}

static void
on_event(struct sim *sim, struct sim_event *event)
{
	struct event *ev = container_of(event, struct event, event);
	(void)sim;

	if (is_heard(ev->world, ev))
		handle(ev->world, ev);
	event_free(ev);
}

static void
open_node(struct world *w, uint32_t i)
{
	struct node *n = &w->nodes[i];
	const struct swarm_opts o = { .n_units = w->o->n_units,
		.unit_size = w->o->unit_size,
		.origin = w->o->nodes[i].origin,
		.last_resort = w->o->nodes[i].last_resort,
		.seed = w->o->seed * 1000003 + i };

	n->o = w->o->nodes[i];
	n->wake = (struct event){ .event.fn = on_wake, .world = w, .to = i };
	sim_node_add(&w->sim, 0, n->o.up, n->o.down, n);
	n->swarm = swarm_new(&o);
	n->flows = mem_array(struct inflow, w->o->n_nodes);
	n->window = mem_array(uint32_t, w->o->n_nodes);
	n->said_us = mem_array(uint64_t, w->o->n_nodes);
	bitset_init(&n->met, w->o->n_nodes);
	bitset_init(&n->banned, w->o->n_nodes);
	schedule(w, n->o.join_us, (struct event){ .kind = EV_JOIN, .to = i });
	if (n->o.die_us > 0)
		schedule(w, n->o.die_us, (struct event){ .kind = EV_DIE, .to = i });
}

static bool
is_over(const struct world *w)
{
	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		const struct node *n = &w->nodes[i];
		if (n->o.kind == WORLD_HONEST && n->o.die_us == 0 && n->done_us == 0)
			return false;
	}
	return true;
}

static bool
stayed(const struct node *n)
{
	return n->o.kind == WORLD_HONEST && n->o.die_us == 0;
}

static void
judge_unit(struct world *w, uint32_t unit)
{
	uint32_t with = 0, without = 0;

	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		const struct node *n = &w->nodes[i];
		with += stayed(n) && swarm_holds(n->swarm, unit);
		without += stayed(n) && !swarm_holds(n->swarm, unit);
	}
	w->result.lost += with == 0;
	w->result.lacking += with > 0 ? without : 0;
}

static void
judge(struct world *w)
{
	struct world_result *r = &w->result;

	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		const struct node *n = &w->nodes[i];
		if (n->o.origin)
			r->origin_bytes += n->sent_bytes;
		if (n->o.last_resort)
			r->last_resort_bytes += n->sent_bytes;
		for (uint32_t k = 0; n->o.kind == WORLD_HONEST && k < w->o->n_nodes; k++)
			r->banned[w->nodes[k].o.kind] += bitset_has(&n->banned, k);
		if (!stayed(n))
			continue;
		r->incomplete += n->done_us == 0;
		r->done_us = max_of(r->done_us, n->done_us);
	}
	for (uint32_t u = 0; u < w->o->n_units; u++)
		judge_unit(w, u);
	if (r->incomplete > 0)
		r->done_us = UINT64_MAX;
}

static void
close_world(struct world *w)
{
	for (uint32_t i = 0; i < w->o->n_nodes; i++) {
		struct node *n = &w->nodes[i];
		swarm_free(n->swarm);
		for (uint32_t k = 0; k < w->o->n_nodes; k++)
			array_clear(&n->flows[k].units);
		free(n->flows);
		free(n->window);
		free(n->said_us);
		array_clear(&n->fifo);
		bitset_clear(&n->met);
		bitset_clear(&n->banned);
	}
	while (w->under_way != NULL)
		event_free(w->under_way);
	sim_clear(&w->sim);
	free(w->nodes);
}

struct world_result
world_run(const struct world_opts *o)
{
	struct world w = { .o = o, .nodes = mem_array(struct node, o->n_nodes) };

	sim_init(&w.sim, o->seed);
	w.sim.lan_us = o->delay_us;
	w.sim.jitter_permille = o->jitter_permille;
	sim_site_add(&w.sim, 0, 0);
	for (uint32_t i = 0; i < o->n_nodes; i++)
		open_node(&w, i);
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
