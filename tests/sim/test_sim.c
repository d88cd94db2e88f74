/* The simulated network itself. */
#include "tests/unit.h"

#include "base/buf.h"
#include "base/mem.h"
#include "tests/sim/wire.h"

/* -- events -- */

struct mark { /* writes its number down when it happens */
	struct sim_event event;
	unsigned number;
};

static ARRAY(unsigned) order;

static void
on_mark(struct sim *s, struct sim_event *ev)
{
	(void)s;
	array_push(&order, container_of(ev, struct mark, event)->number);
}

static void
events_happen_in_the_order_of_time_and_then_of_scheduling(void **state)
{
	enum { N = 500 };
	static struct mark marks[N];
	struct sim s;

	(void)state;
	sim_init(&s, 3);
	for (unsigned i = 0; i < N; i++) {
		marks[i] = (struct mark){ .event.fn = on_mark, .number = i };
		sim_at(&s, &marks[i].event, rng_below(&s.rng, 50));
	}
	for (unsigned i = 0; i < N; i += 3) /* some move, some never happen */
		sim_at(&s, &marks[i].event, rng_below(&s.rng, 50));
	for (unsigned i = 0; i < N; i += 7)
		sim_cancel(&s, &marks[i].event);
	assert_false(sim_run(&s, 20));
	assert_int_equal(s.now_us, 20);
	assert_true(sim_run(&s, 1000));
	assert_int_equal(order.len, N - (N + 6) / 7);
	for (size_t i = 0; i < order.len; i++) {
		const struct sim_event *b = &marks[order.at[i]].event;
		assert_true(order.at[i] % 7 != 0);
		assert_false(sim_is_scheduled(b));
		if (i == 0)
			continue;
		const struct sim_event *a = &marks[order.at[i - 1]].event;
		assert_true(a->at_us < b->at_us || (a->at_us == b->at_us && a->seq < b->seq));
	}
	array_clear(&order);
	sim_clear(&s);
}

static void
what_is_late_happens_now(void **state)
{
	struct mark m = { .event.fn = on_mark };
	struct sim s;

	(void)state;
	sim_init(&s, 3);
	assert_true(sim_run(&s, 100));
	s.now_us = 100;
	sim_at(&s, &m.event, 5);
	assert_int_equal(m.event.at_us, 100);
	assert_true(sim_run(&s, 100));
	assert_int_equal(order.len, 1);
	array_clear(&order);
	sim_clear(&s);
}

/* -- lines -- */

static void
lines_are_shared_in_the_order_of_sending(void **state)
{
	struct sim s;

	(void)state;
	sim_init(&s, 1);
	s.lan_us = 10;
	s.wan_us = 1000;
	uint32_t here = sim_site_add(&s, 0, 0), there = sim_site_add(&s, 500000, 0);
	uint32_t a = sim_node_add(&s, here, 1000000, 0, NULL); /* a byte a microsecond up */
	uint32_t b = sim_node_add(&s, here, 0, 2000000, NULL);
	uint32_t c = sim_node_add(&s, there, 0, 0, NULL);
	assert_int_equal(sim_pass(&s, a, b, 100), 100 + 50 + 10);
	assert_int_equal(sim_pass(&s, a, c, 100), 200 + 1000); /* behind the first at the uplink */
	assert_int_equal(sim_pass(&s, c, b, 1000), 2000 + 500 + 1000); /* the site's line out */
	assert_int_equal(sim_pass(&s, c, a, 1000), 4000 + 1000);
	assert_int_equal(s.nodes.at[a].up.bytes, 200);
	assert_int_equal(s.sites.at[there].out.bytes, 2000);
	sim_clear(&s);
}

/* -- wires -- */

struct end { /* of a wire: keeps what comes */
	struct sim *sim;
	struct wire *wire;
	struct buf got;
	unsigned opened, lost, room;
	uint64_t last_us;
};

static void
on_open(void *ctx, struct wire *w)
{
	struct end *e = ctx;

	e->wire = w;
	e->opened++;
}

static void
on_bytes(void *ctx, struct wire *w, struct bytes b)
{
	struct end *e = ctx;

	(void)w;
	buf_add_bytes(&e->got, b);
	e->last_us = e->sim->now_us;
}

static void
on_room(void *ctx, struct wire *w)
{
	(void)w;
	((struct end *)ctx)->room++;
}

static void
on_lost(void *ctx, struct wire *w)
{
	(void)w;
	((struct end *)ctx)->lost++;
}

static const struct wire_side_events events = { on_open, on_bytes, on_room, on_lost };

struct line {
	struct sim sim;
	struct end end[2];
	struct wire *wire;
};

static void
line_init(struct line *l, uint64_t rate, uint32_t window, uint32_t loss, uint32_t resets)
{
	*l = (struct line){ 0 };
	sim_init(&l->sim, 7);
	uint32_t site = sim_site_add(&l->sim, 0, 0);
	uint32_t a = sim_node_add(&l->sim, site, rate, 0, NULL),
		 b = sim_node_add(&l->sim, site, rate, 0, NULL);
	for (unsigned i = 0; i < 2; i++)
		l->end[i] = (struct end){ .sim = &l->sim, .got = BUF(1 << 24) };
	l->wire = wire_dial(&l->sim, &(struct wire_opts){ .from = a,
					 .to = b,
					 .window = window,
					 .loss_per_million = loss,
					 .reset_per_million = resets,
					 .events = { &events, &events },
					 .ctx = { &l->end[0], &l->end[1] } });
}

static void
line_clear(struct line *l)
{
	wire_free(l->wire);
	buf_clear(&l->end[0].got);
	buf_clear(&l->end[1].got);
	sim_clear(&l->sim);
}

/* Sends N bytes from side 0 whenever there is room, for at most S seconds. */
static size_t
line_send(struct line *l, size_t n, uint64_t seconds)
{
	static uint8_t data[1 << 20];
	struct rng rng;
	size_t sent = 0;

	rng_seed(&rng, 99);
	rng_fill(&rng, data, sizeof data);
	for (uint64_t ms = 0; sent < n && ms < seconds * 1000; ms++) {
		(void)sim_run(&l->sim, l->sim.now_us + SIM_MS);
		sent += wire_write(l->wire, 0, BYTES(data + sent, n - sent));
	}
	(void)sim_run(&l->sim, l->sim.now_us + seconds * SIM_S);
	assert_true(bytes_equal(buf_bytes(&l->end[1].got), BYTES(data, l->end[1].got.len)));
	return sent;
}

static void
bytes_arrive_in_order_at_the_rate_of_the_line(void **state)
{
	struct line l;

	(void)state;
	line_init(&l, 1000000, 1 << 16, 0, 0);
	assert_int_equal(line_send(&l, 1 << 20, 100), 1 << 20);
	assert_int_equal(l.end[1].got.len, 1 << 20);
	assert_in_range(l.end[1].last_us, 1048576, 1150000);
	assert_int_equal(l.end[0].opened + l.end[1].opened, 2);
	assert_true(l.end[0].room > 0);
	line_clear(&l);
}

static void
the_window_bounds_what_is_under_way(void **state)
{
	static uint8_t data[1 << 17];
	struct line l;

	(void)state;
	line_init(&l, 0, 1 << 16, 0, 0);
	assert_int_equal(wire_write(l.wire, 0, BYTES_OF(data)), 0); /* not open yet */
	(void)sim_run(&l.sim, SIM_S);
	assert_int_equal(wire_write(l.wire, 0, BYTES_OF(data)), 1 << 16);
	assert_int_equal(wire_room(l.wire, 0), 0);
	(void)sim_run(&l.sim, 2 * SIM_S);
	assert_int_equal(wire_room(l.wire, 0), 1 << 16);
	assert_int_equal(l.end[0].room, 1);
	wire_stop_reading(l.wire, 1);
	assert_int_equal(wire_write(l.wire, 0, BYTES_OF(data)), 1 << 16);
	(void)sim_run(&l.sim, 100 * SIM_S);
	assert_int_equal(wire_room(l.wire, 0), 0);
	assert_int_equal(l.end[1].got.len, 1 << 16);
	line_clear(&l);
}

static void
lost_packets_cost_time_and_nothing_else(void **state)
{
	struct line l;

	(void)state;
	line_init(&l, 1000000, 1 << 16, 100000, 0);
	assert_int_equal(line_send(&l, 1 << 20, 1000), 1 << 20);
	assert_int_equal(l.end[1].got.len, 1 << 20);
	assert_true(l.end[1].last_us > 1500000);
	line_clear(&l);
}

static void
a_partition_holds_everything_until_it_ends(void **state)
{
	struct line l;

	(void)state;
	line_init(&l, 1000000, 1 << 16, 0, 0);
	(void)sim_run(&l.sim, SIM_S);
	l.sim.nodes.at[1].island = 1;
	(void)line_send(&l, 1 << 20, 10);
	assert_int_equal(l.end[1].got.len, 0);
	assert_int_equal(l.end[1].lost, 0);
	l.sim.nodes.at[1].island = 0;
	(void)sim_run(&l.sim, l.sim.now_us + 10 * SIM_S);
	assert_int_equal(l.end[1].got.len, 1 << 16);
	line_clear(&l);
}

static void
what_cannot_be_reached_is_lost_to_the_dialer_alone(void **state)
{
	struct line l;

	(void)state;
	line_init(&l, 0, 1 << 16, 0, 0);
	l.sim.nodes.at[1].down_now = true;
	(void)sim_run(&l.sim, 100 * SIM_S);
	assert_int_equal(l.end[0].lost, 1);
	assert_int_equal(l.end[1].lost + l.end[1].opened + l.end[0].opened, 0);
	line_clear(&l);
}

static void
a_reset_is_told_to_both_once(void **state)
{
	struct line l;

	(void)state;
	line_init(&l, 1000000, 1 << 16, 0, 200000);
	assert_true(line_send(&l, 1 << 20, 10) < 1 << 20);
	assert_int_equal(l.end[0].lost, 1);
	assert_int_equal(l.end[1].lost, 1);
	assert_false(wire_is_open(l.wire));
	wire_reset(l.wire);
	(void)sim_run(&l.sim, l.sim.now_us + 10 * SIM_S);
	assert_int_equal(l.end[0].lost + l.end[1].lost, 2);
	line_clear(&l);
}

static void
who_closes_is_told_nothing_and_the_other_reads_to_the_end(void **state)
{
	struct line l;

	(void)state;
	line_init(&l, 1000000, 1 << 16, 0, 0);
	(void)sim_run(&l.sim, SIM_S);
	assert_int_equal(wire_write(l.wire, 0, BYTES_LIT("good bye")), 8);
	wire_close(l.wire, 0);
	assert_true(sim_run(&l.sim, 10 * SIM_S));
	assert_true(bytes_equal(buf_bytes(&l.end[1].got), BYTES_LIT("good bye")));
	assert_int_equal(l.end[0].lost, 0);
	assert_int_equal(l.end[1].lost, 1);
	line_clear(&l);
}

/* -- size -- */

struct hopper { /* a message that goes from machine to machine */
	struct sim_message m;
	unsigned left;
};

static void
on_hop(struct sim *s, struct sim_event *ev)
{
	struct hopper *h = container_of(ev, struct hopper, m.event);

	if (h->left-- == 0)
		return;
	h->m.from = h->m.to;
	h->m.to = (uint32_t)rng_below(&s->rng, s->nodes.len);
	sim_send(s, &h->m);
}

static uint64_t
hop_around(uint64_t seed, unsigned machines, unsigned hops)
{
	struct sim s;
	struct hopper *hoppers = mem_array(struct hopper, machines);

	sim_init(&s, seed);
	for (unsigned i = 0; i < machines; i++) {
		if (i % 50 == 0)
			sim_site_add(&s, 5000000, 5000000);
		sim_node_add(&s, i / 50, 2500000, 2500000, NULL);
	}
	for (unsigned i = 0; i < machines; i++) {
		hoppers[i] = (struct hopper){ .m = { .event.fn = on_hop, .to = i, .bytes = 1000 },
			.left = hops };
		sim_at(&s, &hoppers[i].m.event, i);
	}
	assert_true(sim_run(&s, UINT64_MAX));
	assert_int_equal(s.events, (uint64_t)machines * (hops + 1));
	uint64_t end = s.now_us;
	sim_clear(&s);
	free(hoppers);
	return end;
}

static void
a_hundred_thousand_machines_fit_and_a_seed_repeats(void **state)
{
	(void)state;
	uint64_t a = hop_around(5, 2000, 10);
	assert_int_equal(hop_around(5, 2000, 10), a);
	assert_int_not_equal(hop_around(6, 2000, 10), a);
	(void)hop_around(1, 100000, 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_happen_in_the_order_of_time_and_then_of_scheduling),
		cmocka_unit_test(what_is_late_happens_now),
		cmocka_unit_test(lines_are_shared_in_the_order_of_sending),
		cmocka_unit_test(bytes_arrive_in_order_at_the_rate_of_the_line),
		cmocka_unit_test(the_window_bounds_what_is_under_way),
		cmocka_unit_test(lost_packets_cost_time_and_nothing_else),
		cmocka_unit_test(a_partition_holds_everything_until_it_ends),
		cmocka_unit_test(what_cannot_be_reached_is_lost_to_the_dialer_alone),
		cmocka_unit_test(a_reset_is_told_to_both_once),
		cmocka_unit_test(who_closes_is_told_nothing_and_the_other_reads_to_the_end),
		cmocka_unit_test(a_hundred_thousand_machines_fit_and_a_seed_repeats),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
