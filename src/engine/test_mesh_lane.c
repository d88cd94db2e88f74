#include "engine/test_mesh_world.h"

#include "engine/requester.h"

/* Both know each other, and the first dials. */
static void
begin(struct world *w, void (*on_change)(struct world *w))
{
	w->on_change = on_change;
	open_mesh(&w->sides[0]);
	open_mesh(&w->sides[1]);
	want_other(&w->sides[0]);
}

static void
end_when_closed(struct world *w)
{
	if (w->open == 0 && listener_connections(w->sides[1].listener) == 0)
		end_world(w);
}

static void
close_all(struct world *w)
{
	w->on_change = end_when_closed;
	close_mesh(&w->sides[0]);
	close_mesh(&w->sides[1]);
}

static bool
are_connected(const struct world *w)
{
	return w->sides[0].heard && w->sides[1].heard;
}

static size_t
lanes_at(const struct side *s)
{
	return s->peer != NULL ? lane_count(s->peer) : 0;
}

static struct mesh_device *
other_of(struct side *s)
{
	return mesh_find(s->mesh, &s->other);
}

static void
not_answered(struct requester *r, struct peer *p, struct session_event *ev)
{
	(void)r;
	(void)p;
	(void)ev;
}

/* What is not answered while a test runs. */
static void
ask_for_ever(struct peer *p)
{
	static const struct hash_id some = { .alg = HASH_SHA256, .bytes = { 1 } };
	static struct requester nobody = { .on_event = not_answered };
	struct message m = { .type = FRAME_GET_UNITS,
		.get_units = { .share = some, .snapshot = some, .unit_size = 65536 } };

	assert_ok(session_request(peer_session(p), &m, &nobody, NULL, &unit_error));
}

/* -- a lane -- */

static void
see_joined(struct world *w)
{
	struct side *a = &w->sides[0], *b = &w->sides[1];

	if (are_connected(w) && w->rounds == 0) {
		w->rounds = 1;
		mesh_line_dial_lane(a->mesh, other_of(a), 1);
		mesh_line_dial_lane(a->mesh, other_of(a), 2);
	}
	if (lanes_at(a) < 2 || lanes_at(b) < 2)
		return;
	/* The owners were told of one connection, which goes on. */
	assert_int_equal(a->ready, 1);
	assert_int_equal(b->ready, 1);
	assert_int_equal(a->gone + b->gone, 0);
	assert_int_equal(a->mesh->lines.len, 3);
	array_each (l, &a->mesh->lines)
		assert_ptr_equal(lane_main((*l)->peer), a->peer);
	/* Three requests go to three connections, the main one first. */
	for (int i = 0; i < 3; i++)
		ask_for_ever(lane_lightest(a->peer));
	array_each (l, &a->mesh->lines)
		assert_int_equal(session_asking(peer_session((*l)->peer)), 1);
	assert_ptr_equal(lane_lightest(a->peer), a->peer);
	close_all(w);
}

static void
a_lane_joins_the_connection_that_is_there_on_both_sides(void **state)
{
	struct world *w = *state;

	begin(w, see_joined);
	loop_run(w->loop);
}

/* -- its end -- */

static void
see_ended(struct world *w)
{
	struct side *a = &w->sides[0], *b = &w->sides[1];

	if (are_connected(w) && w->rounds == 0) {
		w->rounds = 1;
		mesh_line_dial_lane(a->mesh, other_of(a), 1);
	}
	if (w->rounds == 1 && lanes_at(a) == 1 && lanes_at(b) == 1) {
		w->rounds = 2;
		mesh_line_close(b->mesh->lines.at[1], NULL);
	}
	if (w->rounds == 2 && lanes_at(a) == 0 && lanes_at(b) == 0 && a->mesh->lines.len == 1) {
		assert_int_equal(a->gone + b->gone, 0); /* the connection itself stays */
		w->rounds = 3;
		mesh_line_dial_lane(a->mesh, other_of(a), 1);
	}
	if (w->rounds == 3 && lanes_at(a) == 1 && lanes_at(b) == 1) {
		w->rounds = 4;
		mesh_want(a->mesh, other_of(a), false); /* not to come back */
		mesh_line_close(a->mesh->lines.at[0], NULL);
	}
	if (w->rounds == 4 && a->mesh->lines.len == 0 && b->mesh->lines.len == 0) {
		w->rounds = 5;
		assert_int_equal(a->gone, 1);
		close_all(w);
	}
}

static void
a_lane_ends_alone_but_not_without_its_connection(void **state)
{
	struct world *w = *state;

	begin(w, see_ended);
	loop_run(w->loop);
	assert_int_equal(w->rounds, 5);
}

/* -- who may open one -- */

static void
see_refused(struct world *w)
{
	struct side *a = &w->sides[0], *b = &w->sides[1];

	if (are_connected(w) && w->rounds == 0) {
		w->rounds = 1;
		(void)tell_where(b, a);
		snprintf(other_of(b)->address, sizeof other_of(b)->address, "127.0.0.1:%u",
		    listener_port(a->listener));
		mesh_line_dial_lane(b->mesh, other_of(b), 1); /* it did not dial the first */
	}
	/* It ends when the other side has ended it. */
	if (w->rounds == 1 && a->mesh->lines.len == 1 && b->mesh->lines.len == 1) {
		assert_int_equal(lanes_at(a) + lanes_at(b), 0);
		assert_int_equal(a->gone + b->gone, 0);
		w->rounds = 2;
		close_all(w);
	}
}

static void
who_was_dialed_opens_none(void **state)
{
	struct world *w = *state;

	begin(w, see_refused);
	loop_run(w->loop);
	assert_int_equal(w->rounds, 2);
}

/* -- how many -- */

/* While units are asked for and nothing else is said, the plan opens lanes: one by one, and only to
 * who knows them. */
static bool
has_bbr(const struct side *s)
{
	struct tcp_line t;

	return conn_measure(peer_conn(s->peer), &t) && strcmp(t.control, "bbr") == 0;
}

static void
see_opened(struct world *w)
{
	struct side *a = &w->sides[0];
	uint64_t ms = LANE_PLAN_LOOK_MS;

	if (!are_connected(w) || w->rounds > 0)
		return;
	w->rounds = 1;
	a->mesh->o.lanes_max = 3;
	conn_set_line(peer_conn(a->peer), w->with_bbr ? LINE_FAR : LINE_NEAR);
	ask_for_ever(a->peer);
	for (int i = 0; i < 10; i++) {
		/* the plan's clock is the loop's: what it waits for is over */
		other_of(a)->lanes.busy_ms = 1;
		mesh_lane_look(a->mesh, other_of(a), ms);
	}
	assert_int_equal(
	    a->mesh->lines.len, w->old_nodes || has_bbr(a) ? 1 : 2); /* the next after a trial */
	close_all(w);
}

static void
the_plan_opens_lanes_while_units_are_asked_for(void **state)
{
	struct world *w = *state;

	begin(w, see_opened);
	loop_run(w->loop);
	assert_int_equal(w->rounds, 1);
}

static void
what_fills_a_lossy_line_alone_gets_none(void **state)
{
	struct world *w = *state;

	w->with_bbr = true; /* where the kernel has it */
	begin(w, see_opened);
	loop_run(w->loop);
	assert_int_equal(w->rounds, 1);
}

static void
who_knows_no_lanes_gets_none(void **state)
{
	struct world *w = *state;

	w->old_nodes = true;
	begin(w, see_opened);
	loop_run(w->loop);
	assert_int_equal(w->rounds, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    a_lane_joins_the_connection_that_is_there_on_both_sides, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    a_lane_ends_alone_but_not_without_its_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(who_was_dialed_opens_none, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    the_plan_opens_lanes_while_units_are_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    what_fills_a_lossy_line_alone_gets_none, setup, teardown),
		cmocka_unit_test_setup_teardown(who_knows_no_lanes_gets_none, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
