#include "tests/sim/sim.h"

#include <assert.h>

void
sim_init(struct sim *s, uint64_t seed)
{
	*s = (struct sim){ .lan_us = 250, .wan_us = 15 * SIM_MS };
	rng_seed(&s->rng, seed);
}

void
sim_clear(struct sim *s)
{
	array_clear(&s->heap);
	array_clear(&s->nodes);
	array_clear(&s->sites);
}

/* -- the queue: a binary heap by (time, order of scheduling) -- */

static bool
is_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

static void
place(struct sim *s, size_t i, struct sim_event *ev)
{
	s->heap.at[i] = ev;
	ev->pos = i + 1;
}

static void
sift_up(struct sim *s, size_t i, struct sim_event *ev)
{
	for (; i > 0 && is_before(ev, s->heap.at[(i - 1) / 2]); i = (i - 1) / 2)
		place(s, i, s->heap.at[(i - 1) / 2]);
	place(s, i, ev);
}

static void
sift_down(struct sim *s, size_t i, struct sim_event *ev)
{
	for (size_t child; (child = 2 * i + 1) < s->heap.len; i = child) {
		if (child + 1 < s->heap.len && is_before(s->heap.at[child + 1], s->heap.at[child]))
			child++;
		if (!is_before(s->heap.at[child], ev))
			break;
		place(s, i, s->heap.at[child]);
	}
	place(s, i, ev);
}

void
sim_cancel(struct sim *s, struct sim_event *ev)
{
	if (ev->pos == 0)
		return;
	size_t i = ev->pos - 1;
	struct sim_event *last = array_pop(&s->heap);
	ev->pos = 0;
	if (last == ev)
		return;
	sift_down(s, i, last);
	sift_up(s, last->pos - 1, last);
}

void
sim_at(struct sim *s, struct sim_event *ev, uint64_t at_us)
{
	assert(ev->fn != NULL);
	sim_cancel(s, ev);
	ev->at_us = max_of(at_us, s->now_us);
	ev->seq = ++s->seq;
	array_push(&s->heap, ev);
	sift_up(s, s->heap.len - 1, ev);
}

bool
sim_run(struct sim *s, uint64_t until_us)
{
	while (s->heap.len > 0 && s->heap.at[0]->at_us <= until_us) {
		struct sim_event *ev = s->heap.at[0];
		sim_cancel(s, ev);
		s->now_us = ev->at_us;
		s->events++;
		ev->fn(s, ev);
	}
	if (s->heap.len == 0)
		return true;
	s->now_us = max_of(s->now_us, until_us);
	return false;
}

/* -- machines and lines -- */

uint32_t
sim_site_add(struct sim *s, uint64_t out, uint64_t in)
{
	array_push(&s->sites, ((struct sim_site){ .out = { .rate = out }, .in = { .rate = in } }));
	return (uint32_t)s->sites.len - 1;
}

uint32_t
sim_node_add(struct sim *s, uint32_t site, uint64_t up, uint64_t down, void *ctx)
{
	array_push(&s->nodes,
	    ((struct sim_node){
		.up = { .rate = up }, .down = { .rate = down }, .site = site, .ctx = ctx }));
	return (uint32_t)s->nodes.len - 1;
}

bool
sim_is_reachable(const struct sim *s, uint32_t a, uint32_t b)
{
	const struct sim_node *x = &s->nodes.at[a], *y = &s->nodes.at[b];

	return !x->down_now && !y->down_now && x->island == y->island;
}

uint64_t
sim_delay_us(struct sim *s, uint32_t from, uint32_t to)
{
	uint64_t us = s->nodes.at[from].site == s->nodes.at[to].site ? s->lan_us : s->wan_us;

	return us + (s->jitter_permille > 0 ? us * rng_below(&s->rng, s->jitter_permille + 1) / 1000
					    : 0);
}

uint64_t
sim_line_pass(struct sim_line *l, uint64_t at_us, uint64_t bytes)
{
	l->bytes += bytes;
	if (l->rate == 0)
		return at_us;
	l->free_us = max_of(l->free_us, at_us) + bytes * SIM_S / l->rate;
	return l->free_us;
}

uint64_t
sim_pass(struct sim *s, uint32_t from, uint32_t to, uint32_t bytes)
{
	struct sim_node *a = &s->nodes.at[from], *b = &s->nodes.at[to];
	uint64_t at = sim_line_pass(&a->up, s->now_us, bytes);

	if (a->site != b->site) {
		at = sim_line_pass(&s->sites.at[a->site].out, at, bytes);
		at = sim_line_pass(&s->sites.at[b->site].in, at, bytes);
	}
	return sim_line_pass(&b->down, at, bytes) + sim_delay_us(s, from, to);
}

void
sim_send(struct sim *s, struct sim_message *m)
{
	sim_at(s, &m->event, sim_pass(s, m->from, m->to, m->bytes));
}
