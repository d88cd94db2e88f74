#include "tests/sim/wire.h"

#include <assert.h>

#include "base/mem.h"

enum { TRIES_MAX = 120 };

struct segment {
	struct segment *next;
	uint64_t at_us; /* arrives, if nothing stands in the way */
	bool end;       /* the sender has closed */
	uint32_t len;
	uint8_t bytes[];
};
struct direction { /* towards one side */
	struct wire *wire;
	unsigned to;
	struct segment *first, *last;
	struct sim_event arrive; /* of the first segment */
	struct sim_event ack;    /* room at the sender */
	uint32_t under_way;      /* sent and not known to have arrived */
	uint32_t acked;          /* arrived, and not yet known */
	uint64_t last_us;        /* arrival of the last one: the order is kept */
	bool wants_room;
	bool stopped;
	unsigned tries; /* after the sender has closed */
};
struct wire {
	struct sim *sim;
	struct wire_opts o;
	bool open, gone[2]; /* a side that closed or lost it */
	struct sim_event dial, broken;
	struct direction dir[2]; /* towards side 0 and 1 */
};

static uint32_t
machine(const struct wire *w, unsigned side)
{
	return side == 0 ? w->o.from : w->o.to;
}

static void
lose(struct wire *w, unsigned side)
{
	if (w->gone[side])
		return;
	w->gone[side] = true;
	w->open = false;
	w->o.events[side]->on_lost(w->o.ctx[side], w);
}

static bool
reaches(const struct wire *w)
{
	return sim_is_reachable(w->sim, w->o.from, w->o.to);
}

static void
on_dialed(struct sim *s, struct sim_event *ev)
{
	struct wire *w = container_of(ev, struct wire, dial);

	(void)s;
	if (w->gone[0])
		return;
	if (!reaches(w)) {
		w->gone[1] = true; /* never heard of it */
		lose(w, 0);
		return;
	}
	w->open = true;
	w->o.events[1]->on_open(w->o.ctx[1], w);
	if (w->open && !w->gone[0])
		w->o.events[0]->on_open(w->o.ctx[0], w);
}

static void
on_broken(struct sim *s, struct sim_event *ev)
{
	struct wire *w = container_of(ev, struct wire, broken);

	for (unsigned i = 0; i < 2; i++) {
		sim_cancel(s, &w->dir[i].arrive);
		sim_cancel(s, &w->dir[i].ack);
	}
	lose(w, 0);
	lose(w, 1);
}

/* Sends the same again until it gets through; after the sender has closed, not for ever. */
static bool
is_held(struct direction *d)
{
	if (reaches(d->wire) && !d->stopped)
		return false;
	if (d->wire->gone[1 - d->to] && ++d->tries > TRIES_MAX) {
		lose(d->wire, d->to);
		return true;
	}
	d->first->at_us = d->wire->sim->now_us + 5 * WIRE_RESEND_MS * SIM_MS;
	sim_at(d->wire->sim, &d->arrive, d->first->at_us);
	return true;
}

static void
deliver(struct direction *d, const struct segment *g)
{
	struct wire *w = d->wire;
	unsigned from = 1 - d->to;

	if (w->gone[d->to])
		return;
	if (g->end) {
		lose(w, d->to);
		return;
	}
	w->o.events[d->to]->on_bytes(w->o.ctx[d->to], w, BYTES(g->bytes, g->len));
	d->acked += g->len;
	if (!sim_is_scheduled(&d->ack))
		sim_at(w->sim, &d->ack,
		    w->sim->now_us + sim_delay_us(w->sim, machine(w, d->to), machine(w, from)));
}

static void
on_arrive(struct sim *s, struct sim_event *ev)
{
	struct direction *d = container_of(ev, struct direction, arrive);
	struct segment *g = d->first;

	if (is_held(d))
		return;
	d->first = g->next;
	if (d->first == NULL)
		d->last = NULL;
	else
		sim_at(s, &d->arrive, d->first->at_us);
	deliver(d, g);
	free(g);
}

static void
on_ack(struct sim *s, struct sim_event *ev)
{
	struct direction *d = container_of(ev, struct direction, ack);
	unsigned from = 1 - d->to;

	(void)s;
	d->under_way -= d->acked;
	d->acked = 0;
	if (!d->wants_room || d->wire->gone[from])
		return;
	d->wants_room = false;
	d->wire->o.events[from]->on_room(d->wire->o.ctx[from], d->wire);
}

struct wire *
wire_dial(struct sim *s, const struct wire_opts *o)
{
	struct wire *w = mem_new(struct wire);

	w->sim = s;
	w->o = *o;
	w->dial.fn = on_dialed;
	w->broken.fn = on_broken;
	for (unsigned i = 0; i < 2; i++) {
		w->dir[i] = (struct direction){ .wire = w, .to = i };
		w->dir[i].arrive.fn = on_arrive;
		w->dir[i].ack.fn = on_ack;
	}
	/* Handshakes of TCP and TLS: two round trips. */
	sim_at(s, &w->dial,
	    s->now_us + (reaches(w) ? 4 * sim_delay_us(s, o->from, o->to) : WIRE_DIAL_MS * SIM_MS));
	return w;
}

bool
wire_is_open(const struct wire *w)
{
	return w->open;
}

static void
add_segment(struct direction *d, struct bytes b, bool end)
{
	struct wire *w = d->wire;
	struct sim *s = w->sim;
	struct segment *g = mem_alloc(sizeof *g + b.len);

	*g = (struct segment){ .len = (uint32_t)b.len, .end = end };
	if (b.len > 0)
		memcpy(g->bytes, b.at, b.len);
	g->at_us = sim_pass(s, machine(w, 1 - d->to), machine(w, d->to), g->len + 66);
	while (w->o.loss_per_million > 0 && rng_below(&s->rng, 1000000) < w->o.loss_per_million)
		g->at_us += WIRE_RESEND_MS * SIM_MS;
	g->at_us = d->last_us = max_of(g->at_us, d->last_us);
	if (d->last != NULL)
		d->last->next = g;
	else
		d->first = g;
	d->last = g;
	if (d->first == g)
		sim_at(s, &d->arrive, g->at_us);
}

size_t
wire_room(const struct wire *w, unsigned side)
{
	const struct direction *d = &w->dir[1 - side];

	return w->open && !w->gone[side] && d->under_way < w->o.window ? w->o.window - d->under_way
								       : 0;
}

size_t
wire_write(struct wire *w, unsigned side, struct bytes b)
{
	struct direction *d = &w->dir[1 - side];
	size_t at = 0;

	while (at < b.len) {
		size_t room = wire_room(w, side), n = min_of(b.len - at, room);
		n = min_of(n, (size_t)WIRE_SEGMENT);
		if (n == 0)
			break;
		if (w->o.reset_per_million > 0 &&
		    rng_below(&w->sim->rng, 1000000) < w->o.reset_per_million) {
			wire_reset(w);
			return at;
		}
		add_segment(d, bytes_slice(b, at, n), false);
		d->under_way += (uint32_t)n;
		at += n;
	}
	d->wants_room = at < b.len;
	return at;
}

void
wire_stop_reading(struct wire *w, unsigned side)
{
	w->dir[side].stopped = true;
}

void
wire_close(struct wire *w, unsigned side)
{
	if (w->gone[side])
		return;
	w->gone[side] = true;
	if (w->open && !w->gone[1 - side])
		add_segment(&w->dir[1 - side], BYTES(NULL, 0), true);
	w->dir[1 - side].wants_room = false;
}

void
wire_reset(struct wire *w)
{
	w->open = false;
	sim_at(w->sim, &w->broken, w->sim->now_us);
}

void
wire_free(struct wire *w)
{
	if (w == NULL)
		return;
	sim_cancel(w->sim, &w->dial);
	sim_cancel(w->sim, &w->broken);
	for (unsigned i = 0; i < 2; i++) {
		sim_cancel(w->sim, &w->dir[i].arrive);
		sim_cancel(w->sim, &w->dir[i].ack);
		while (w->dir[i].first != NULL) {
			struct segment *next = w->dir[i].first->next;
			free(w->dir[i].first);
			w->dir[i].first = next;
		}
	}
	free(w);
}
