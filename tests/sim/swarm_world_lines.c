/*
 * Blocks and messages on their way.  A block occupies the lines one after the other, each from when
 * it gets there: a line that is reserved ahead would be idle for whoever comes meanwhile.
 */
#include <assert.h>
#include <string.h>

#include "tests/sim/swarm_world_private.h"

enum { BLOCK = 16 * 1024, WINDOW = 64 * 1024 };

static bool
is_far(const struct world *w, uint32_t end)
{
	const struct world_end *e = &w->ends.at[end];

	return w->nodes[e->node].o.site != w->nodes[w->ends.at[e->other].node].o.site;
}

bool
world_is_cut(const struct world *w, uint32_t end)
{
	const struct world_end *e = &w->ends.at[end];

	return (e->node & 1) != (w->ends.at[e->other].node & 1) &&
	       w->sim.now_us >= w->o->cut_from_us && w->sim.now_us < w->o->cut_to_us;
}

static uint64_t
delay_us(struct world *w, uint32_t end)
{
	return sim_delay_us(&w->sim, w->ends.at[end].node, w->ends.at[w->ends.at[end].other].node);
}

void
world_say(struct world *w, uint32_t end, struct world_event ev)
{
	struct world_end *e = &w->ends.at[end];
	uint64_t at = w->sim.now_us + delay_us(w, end);

	if (world_is_cut(w, end))
		at = max_of(at, w->o->cut_to_us + w->o->delay_us);
	/* nothing overtakes on one connection */
	e->said_us = at = max_of(at, e->said_us);
	ev.end = e->other;
	world_schedule(w, at, ev);
}

/* -- out -- */

static struct sim_line *
uplink(struct world *w, uint32_t node)
{
	return &w->sim.nodes.at[node].up;
}

static void
send_block(struct world *w, uint32_t node, struct world_service *s, uint32_t bytes)
{
	struct world_node *n = &w->nodes[node];
	struct world_end *e = &w->ends.at[s->end];
	uint64_t at = sim_line_pass(uplink(w, node), w->sim.now_us, bytes);

	n->sending = true;
	e->window += bytes;
	s->left -= bytes;
	if (n->o.kind == WORLD_SLUGGARD)
		at = w->sim.now_us + SIM_S;
	world_schedule(w, at,
	    (struct world_event){ .kind = EV_SENT,
		.end = e->other,
		.unit = s->unit,
		.bytes = bytes,
		.last = s->left == 0,
		.serial = s->serial });
}

void
world_send_next(struct world *w, uint32_t node)
{
	struct world_node *n = &w->nodes[node];
	const uint32_t block = w->o->block > 0 ? w->o->block : (uint32_t)BLOCK;
	const uint32_t window = w->o->window > 0 ? w->o->window : (uint32_t)WINDOW;

	if (n->sending || n->dead || n->o.kind == WORLD_MUTE || n->o.kind == WORLD_BRAGGART)
		return;
	array_each (s, &n->fifo) {
		uint32_t bytes = min_of(s->left, block);
		struct world_end *e = &w->ends.at[s->end];
		if (e->window + bytes > window || world_is_cut(w, s->end)) {
			if (!e->blocked)
				swarm_peer_blocked(n->swarm, s->end, true, w->sim.now_us);
			e->blocked = true;
			continue;
		}
		send_block(w, node, s, n->o.kind == WORLD_SLUGGARD ? 1 : bytes);
		return;
	}
}

bool
world_end_service(struct world_node *n, uint32_t end, uint32_t serial)
{
	for (size_t i = 0; i < n->fifo.len; i++) {
		if (n->fifo.at[i].end != end || n->fifo.at[i].serial != serial)
			continue;
		memmove(&n->fifo.at[i], &n->fifo.at[i + 1],
		    (n->fifo.len - i - 1) * sizeof n->fifo.at[0]);
		n->fifo.len--;
		return true;
	}
	return false;
}

/* -- on the way -- */

static void
pass_on(struct world *w, const struct world_event *ev, enum world_event_kind kind, uint64_t at_us)
{
	struct world_event next = *ev;

	next.kind = kind;
	world_schedule(w, at_us, next);
}

/* On one connection nothing overtakes. */
static uint64_t
in_order(struct world *w, uint32_t end, uint64_t at_us)
{
	struct world_end *e = &w->ends.at[end];

	return e->came_us = max_of(e->came_us, at_us);
}

void
world_on_sent(struct world *w, const struct world_event *ev)
{
	uint32_t from = w->ends.at[ev->end].other;
	struct world_node *n = world_owner(w, from);
	uint64_t delay = delay_us(w, from);

	if (!w->ends.at[from].open)
		; /* whoever it was for has gone */
	else if (is_far(w, from)) {
		struct sim_line *out = &w->sim.sites.at[n->o.site].out;
		uint64_t at = sim_line_pass(out, w->sim.now_us, ev->bytes) + delay;
		pass_on(w, ev, EV_ENTER, in_order(w, ev->end, at));
	} else
		pass_on(w, ev, EV_DOWN, in_order(w, ev->end, w->sim.now_us + delay));
	n->sending = false;
	n->sent_bytes += ev->bytes;
	if (ev->last) {
		(void)world_end_service(n, from, ev->serial);
		swarm_sent(n->swarm, from, ev->unit, w->o->unit_size, w->sim.now_us);
		world_act(w, w->ends.at[from].node);
	}
	world_send_next(w, w->ends.at[from].node);
}

void
world_on_enter(struct world *w, const struct world_event *ev)
{
	struct sim_line *in = &w->sim.sites.at[world_owner(w, ev->end)->o.site].in;

	pass_on(w, ev, EV_DOWN, sim_line_pass(in, w->sim.now_us, ev->bytes));
}

void
world_on_down(struct world *w, const struct world_event *ev)
{
	struct sim_line *down = &w->sim.nodes.at[w->ends.at[ev->end].node].down;

	pass_on(w, ev, EV_TAKEN, sim_line_pass(down, w->sim.now_us, ev->bytes));
}

void
world_on_credit(struct world *w, const struct world_event *ev)
{
	struct world_end *e = &w->ends.at[ev->end];

	e->window -= min_of(e->window, ev->bytes);
	if (!e->blocked)
		return;
	e->blocked = false;
	swarm_peer_blocked(w->nodes[e->node].swarm, ev->end, false, w->sim.now_us);
	world_act(w, e->node);
	world_send_next(w, e->node);
}
