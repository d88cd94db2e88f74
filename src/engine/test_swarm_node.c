#include "engine/test_swarm_world.h"

/* -- what should be -- */

static void
one_gets_all_from_the_origin(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *origin = member_seed(sw, HONEST, true);
	struct member *m = member_receiver_of(origin);
	swarm_world_run(sw);
	member_assert_whole(m);
	assert_int_equal(m->memory.twice, 0);
	assert_int_equal(origin->requests, swarm_world_units(sw)); /* each was accepted once */
}

static void
note_who_gave(struct swarm_world *sw)
{
	struct swarm_node_summary sum;
	uint64_t all = 0;

	for (unsigned i = 1; i < sw->n; i++) {
		swarm_node_summary(sw->members[i].node, &sum);
		assert_int_equal(sum.held, swarm_world_units(sw));
		all += sum.bytes_in;
	}
	assert_int_equal(all, (sw->n - 1) * snapshot_map_bytes(sw->w.map));
	swarm_node_summary(sw->members[0].node, &sum);
	assert_true(sum.bytes_out > snapshot_map_bytes(sw->w.map)); /* and headers */
	assert_true(sum.bytes_out < 3 * snapshot_map_bytes(sw->w.map));
	assert_int_equal(sum.peers, sw->n - 1);
}

/* Four receivers, two of them not connected with the origin. */
static void
what_is_incomplete_gives_on(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	member_seed(sw, HONEST, true);
	for (unsigned i = 1; i < 5; i++)
		member_receiver(sw);
	for (unsigned i = 1; i < 5; i++) {
		for (unsigned k = i + 1; k < 5; k++)
			members_connect(&sw->members[i], &sw->members[k]);
		if (i < 3)
			members_connect(&sw->members[0], &sw->members[i]);
	}
	swarm_world_run(sw);
	for (unsigned i = 1; i < 5; i++) {
		member_assert_whole(&sw->members[i]);
		assert_int_equal(sw->members[i].memory.twice, 0);
	}
	assert_true(sw->members[1].relayed + sw->members[2].relayed > 0);
}

static void
bytes_are_counted_by_who_gave_them(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	member_seed(sw, HONEST, true);
	for (unsigned i = 1; i < 4; i++)
		member_receiver_of(&sw->members[0]);
	members_connect(&sw->members[1], &sw->members[2]);
	members_connect(&sw->members[2], &sw->members[3]);
	members_connect(&sw->members[3], &sw->members[1]);
	sw->at_end = note_who_gave;
	swarm_world_run(sw);
	for (unsigned i = 1; i < 4; i++)
		member_assert_whole(&sw->members[i]);
}

static void
what_is_here_already_is_given_and_not_taken(void **state)
{
	struct swarm_world *sw = *state;
	struct member *m[2];

	swarm_world_files(sw);
	uint32_t n = (uint32_t)snapshot_map_chunks(sw->w.map);
	for (int i = 0; i < 2; i++) { /* each has every other chunk */
		m[i] = member_new(sw, HONEST);
		member_join(m[i], false);
		for (uint32_t c = (uint32_t)i; c < n; c += 2)
			m[i]->memory.taken[c] = memory_sink_all(&m[i]->memory, c);
	}
	sw->takers = 2;
	member_take(m[0]);
	member_take(m[1]);
	/* What shares a unit is whole with neither: a third one has it. */
	struct member *seed = member_seed(sw, HONEST, false);
	members_connect(m[0], m[1]);
	members_connect(seed, m[0]);
	members_connect(seed, m[1]);
	swarm_world_run(sw);
	member_assert_whole(m[0]);
	member_assert_whole(m[1]);
	assert_int_equal(m[0]->memory.twice + m[1]->memory.twice, 0);
}

/* It takes, and misses nothing. */
static struct member *
taker_with_all(struct swarm_world *sw)
{
	struct member *m = member_new(sw, HONEST);

	member_join(m, false);
	for (uint32_t c = 0; c < snapshot_map_chunks(sw->w.map); c++)
		m->memory.taken[c] = memory_sink_all(&m->memory, c);
	sw->takers = 1;
	member_take(m);
	return m;
}

static void
nothing_missing_needs_nobody(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *m = taker_with_all(sw);
	assert_int_equal(m->dones, 0); /* not from within the call */
	swarm_world_run(sw);
	member_assert_whole(m);
}

static void
what_cannot_be_given_on_and_is_not_missed_stops_nobody(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *m = taker_with_all(sw);
	swarm_node_lose(m->node, 0);
	assert_false(swarm_node_holds(m->node, 0));
	swarm_world_run(sw);
	member_assert_whole(m);
}

static void
note_parts(struct swarm_world *sw)
{
	struct swarm_node_summary sum;

	swarm_node_summary(sw->members[1].node, &sum);
	assert_true(sum.skipped > 0);
	assert_int_equal(sum.held + sum.skipped, sum.units);
}

static void
what_is_not_wanted_is_not_taken(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *origin = member_seed(sw, HONEST, true);
	struct member *m = member_new(sw, HONEST);
	uint32_t n = (uint32_t)snapshot_map_chunks(sw->w.map);
	m->wants_below = n / 2;
	member_join(m, false);
	sw->takers = 1;
	member_take(m);
	members_connect(m, origin);
	sw->at_end = note_parts;
	swarm_world_run(sw);
	member_assert_whole(m);
	assert_int_equal(m->memory.taken[n - 1], 0);
}

/* -- time -- */

static void
expect_no_look(void *ctx)
{
	struct swarm_world *sw = ctx;

	if (sw->step == 0) { /* news go out in batches */
		sw->step = 1;
		sw->looks = 0;
		timer_start(sw->look, 300);
		return;
	}
	assert_int_equal(sw->looks, 0);
	swarm_world_stop(sw);
}

static void
wait_for_quiet(struct member *m)
{
	timer_start(m->sw->look, 500);
}

static void
nothing_runs_when_all_is_there(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *m = member_receiver_of(member_seed(sw, HONEST, true));
	sw->look = timer_new(sw->w.loop, expect_no_look, sw);
	sw->on_done = wait_for_quiet;
	swarm_world_run(sw);
	member_assert_whole(m);
	assert_int_equal(sw->step, 1);
}

/* -- those who go -- */

static void
cut_and_come_back(struct swarm_world *sw)
{
	struct member *m = &sw->members[1];
	struct swarm_node_summary sum;

	swarm_node_summary(m->node, &sum);
	if (sw->step == 0 && sum.held >= 20) {
		sw->step = 1;
		world_cut(m->links[0].peer);
	} else if (sw->step == 1 && m->links[0].peer == NULL) {
		sw->step = 2;
		assert_int_equal(sum.awaited, 0);
		assert_int_equal(sum.peers, 0);
		members_connect(m, &sw->members[0]);
	}
}

static void
note_one_row(struct swarm_world *sw)
{
	struct swarm_node_peer rows[MEMBERS_MAX];
	struct swarm_node_summary sum;

	swarm_node_summary(sw->members[1].node, &sum);
	assert_true(sum.bytes_in >= snapshot_map_bytes(sw->w.map));
	assert_int_equal(swarm_node_peers(sw->members[1].node, rows, MEMBERS_MAX), 1);
	/* What was checked after it had gone is nobody's. */
	assert_in_range(rows[0].bytes_in, snapshot_map_bytes(sw->w.map) / 2, sum.bytes_in);
}

static void
one_that_goes_and_comes_back_finishes(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *m = member_receiver_of(member_seed(sw, HONEST, true));
	sw->on_event = cut_and_come_back;
	sw->at_end = note_one_row;
	swarm_world_run(sw);
	member_assert_whole(m);
	assert_int_equal(sw->step, 2);
}

/* The origin goes for good when the two others together have all. */
static void
let_origin_go(struct swarm_world *sw)
{
	uint32_t n = swarm_world_units(sw), together = 0;

	for (uint32_t u = 0; u < n; u++)
		together += swarm_node_holds(sw->members[1].node, u) ||
			    swarm_node_holds(sw->members[2].node, u);
	if (sw->step == 0 && together == n) {
		sw->step = 1;
		for (unsigned i = 0; i < sw->members[0].n_links; i++)
			peer_close(sw->members[0].links[i].peer, NULL);
	}
}

static void
what_the_rest_have_together_finishes_without_the_origin(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *origin = member_seed(sw, HONEST, true);
	struct member *a = member_receiver(sw), *b = member_receiver(sw);
	members_connect(a, origin);
	members_connect(b, origin);
	members_connect(a, b);
	sw->on_event = let_origin_go;
	swarm_world_run(sw);
	member_assert_whole(a);
	member_assert_whole(b);
	assert_int_equal(sw->step, 1);
}

/* -- strangers that come and go, each another device -- */

struct visitor {
	struct swarm_world *sw;
	struct device_key *key;
	struct tls_ctx *tls;
	struct timer *next;
	unsigned n;
};

static void
on_visitor_event(void *owner, struct peer *p, struct session_event *ev)
{
	(void)owner;
	if (ev->kind == SESSION_EV_PUSH) /* the first news */
		peer_close(p, NULL);
	else if (ev->kind == SESSION_EV_HELLO)
		session_admit(peer_session(p));
}

static void
on_visitor_writable(void *owner, struct peer *p)
{
	(void)owner;
	(void)p;
}

static void
on_visitor_closed(void *owner, struct peer *p, const struct error *why)
{
	struct visitor *v = owner;
	(void)p;

	assert_null(why);
	timer_start(v->next, 0);
}

static const struct peer_events visitor_events = { on_visitor_event, on_visitor_writable,
	on_visitor_closed };

static void
visitor_go(struct visitor *v)
{
	tls_ctx_free(v->tls);
	device_key_free(v->key);
	v->tls = NULL;
	v->key = NULL;
}

static void
next_visitor(void *ctx)
{
	struct visitor *v = ctx;
	struct member *m = &v->sw->members[0];
	char text[32];
	const char *address[] = { text };

	visitor_go(v);
	if (v->n++ == SWARM_NODE_GONE_MAX + 8) {
		timer_close(v->next);
		swarm_world_stop(v->sw);
		return;
	}
	auto_buf struct buf hello;
	snprintf(text, sizeof text, "127.0.0.1:%u", listener_port(m->listener));
	assert_ok(device_key_generate(&v->key, &unit_error));
	assert_ok(tls_ctx_new(v->key, &v->tls, &unit_error));
	struct conn *c =
	    conn_dial(v->sw->w.loop, v->tls, device_key_id(m->key), address, 1, NULL, NULL);
	(void)peer_new(v->sw->w.loop, c, true, world_hello(&hello), &visitor_events, v);
}

static void
note_few_rows(struct swarm_world *sw)
{
	struct swarm_node_peer rows[2 * SWARM_NODE_GONE_MAX];

	assert_in_range(swarm_node_peers(sw->members[0].node, rows, lengthof(rows)),
	    SWARM_NODE_GONE_MAX, SWARM_NODE_GONE_MAX + 1);
}

static void
those_who_left_are_remembered_up_to_a_number(void **state)
{
	struct swarm_world *sw = *state;
	struct visitor v = { .sw = sw };

	swarm_world_files(sw);
	member_seed(sw, HONEST, true);
	v.next = timer_new(sw->w.loop, next_visitor, &v);
	timer_start(v.next, 0);
	sw->at_end = note_few_rows;
	swarm_world_run(sw);
	assert_int_equal(sw->members[0].n_links, SWARM_NODE_GONE_MAX + 8);
	visitor_go(&v);
}

/* -- the sink, and stopping -- */

static void
try_again(struct member *m)
{
	if (m->dones == 1) {
		check_err(m->result, ERR_NOSPACE, m->why);
		assert_false(swarm_node_is_taking(m->node));
		m->result = OK;
		m->refuses = OK;
		member_take(m);
	} else {
		swarm_world_stop(m->sw);
	}
}

static void
a_full_disk_ends_the_taker_and_it_goes_on_when_there_is_room(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *origin = member_seed(sw, HONEST, true);
	struct member *m = member_receiver(sw);
	m->refuses = ERR_NOSPACE;
	members_connect(m, origin);
	sw->on_done = try_again;
	swarm_world_run(sw);
	assert_int_equal(m->dones, 2);
	check_ok(m->result, m->why);
	assert_true(member_has_all(m));
	assert_int_equal(m->liars, 0);
}

static void
note_stopped(void *ctx)
{
	struct member *m = ctx;

	m->stopped++;
	if (m->sw->step == 1) { /* it goes on with what it has */
		m->sw->step = 2;
		assert_true(swarm_node_holds(m->node, 0) || !member_has_all(m));
		member_take(m);
	} else {
		swarm_world_stop(m->sw);
	}
}

static void
stop_in_the_middle(struct swarm_world *sw)
{
	struct member *m = &sw->members[1];
	struct swarm_node_summary sum, after;

	swarm_node_summary(m->node, &sum);
	if (sw->step > 0 || sum.held < 20)
		return;
	sw->step = 1;
	swarm_node_stop(m->node, false, note_stopped, m);
	assert_int_equal(m->stopped, 0);
	assert_false(swarm_node_is_taking(m->node));
	swarm_node_summary(m->node, &after);
	assert_int_equal(after.held, sum.held);
	assert_int_equal(after.awaited, 0);
}

static void
it_stops_in_the_middle_and_goes_on(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *m = member_receiver_of(member_seed(sw, HONEST, true));
	sw->on_event = stop_in_the_middle;
	swarm_world_run(sw);
	member_assert_whole(m);
	assert_int_equal(m->stopped, 1);
}

static void
forget_in_the_middle(struct swarm_world *sw)
{
	struct member *m = &sw->members[1];
	struct swarm_node_summary sum;

	swarm_node_summary(m->node, &sum);
	if (sw->step > 0 || sum.held < 20)
		return;
	sw->step = 3;
	swarm_node_stop(m->node, true, note_stopped, m);
	swarm_node_summary(m->node, &sum);
	assert_int_equal(sum.held, 0);
}

static void
what_is_forgotten_is_held_no_more(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *m = member_receiver_of(member_seed(sw, HONEST, true));
	sw->on_event = forget_in_the_middle;
	swarm_world_run(sw);
	assert_int_equal(m->stopped, 1);
	assert_int_equal(m->dones, 0);
}

static void
stop_when_closed(void *ctx)
{
	struct swarm_world *sw = ctx;

	sw->step = 2;
	swarm_world_stop(sw);
}

static void
close_in_the_middle(struct swarm_world *sw)
{
	struct member *m = &sw->members[1];
	struct swarm_node_summary sum;

	if (sw->step > 0)
		return;
	swarm_node_summary(m->node, &sum);
	if (sum.held < 20)
		return;
	sw->step = 1;
	swarm_node_close(m->node, stop_when_closed, sw);
	m->node = NULL;
	assert_int_equal(sw->step, 1);
}

static void
closed_in_the_middle_it_leaves_nothing(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *m = member_receiver_of(member_seed(sw, HONEST, true));
	sw->on_event = close_in_the_middle;
	swarm_world_run(sw);
	assert_int_equal(sw->step, 2);
	assert_int_equal(m->dones, 0);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, swarm_world_setup, swarm_world_teardown)
	const struct CMUnitTest tests[] = {
		T(one_gets_all_from_the_origin),
		T(what_is_incomplete_gives_on),
		T(bytes_are_counted_by_who_gave_them),
		T(what_is_here_already_is_given_and_not_taken),
		T(nothing_missing_needs_nobody),
		T(what_cannot_be_given_on_and_is_not_missed_stops_nobody),
		T(what_is_not_wanted_is_not_taken),
		T(nothing_runs_when_all_is_there),
		T(one_that_goes_and_comes_back_finishes),
		T(what_the_rest_have_together_finishes_without_the_origin),
		T(those_who_left_are_remembered_up_to_a_number),
		T(a_full_disk_ends_the_taker_and_it_goes_on_when_there_is_room),
		T(it_stops_in_the_middle_and_goes_on),
		T(what_is_forgotten_is_held_no_more),
		T(closed_in_the_middle_it_leaves_nothing),
	};
	alarm(200);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
