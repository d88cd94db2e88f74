#include "engine/test_mesh_world.h"

enum { ROUNDS = 200 };

/* -- both dial at once -- */

static bool
is_settled(const struct side *s)
{
	return s->mesh != NULL && s->peer != NULL && s->heard && s->mesh->lines.len == 1;
}

static void
begin_round(struct world *w)
{
	for (size_t i = 0; i < SIDES; i++) {
		struct side *s = &w->sides[i];
		s->ready = s->gone = 0;
		open_mesh(s);
		timer_start(s->delay, rng_below(&w->rng, 6));
	}
}

/* The kept one is alive in both directions, and is one connection: dialed here, taken there. */
static void
check_round(struct world *w)
{
	struct line *a = w->sides[0].mesh->lines.at[0], *b = w->sides[1].mesh->lines.at[0];

	assert_true(a->ready && b->ready);
	assert_true(a->dialed != b->dialed);
	w->by_small += a->dialed;
	w->by_big += b->dialed;
	w->replaced += w->sides[0].ready > 1 || w->sides[1].ready > 1;
	assert_true(w->sides[0].ready <= 2 && w->sides[1].ready <= 2);
}

/* What was dialed in one round is not to arrive in the next. */
static bool
is_quiet(const struct world *w)
{
	return w->open == 0 && listener_connections(w->sides[0].listener) == 0 &&
	       listener_connections(w->sides[1].listener) == 0;
}

static void
storm(struct world *w)
{
	if (w->sides[0].mesh != NULL && is_settled(&w->sides[0]) && is_settled(&w->sides[1])) {
		check_round(w);
		close_mesh(&w->sides[0]);
		close_mesh(&w->sides[1]);
	} else if (is_quiet(w) && ++w->rounds < ROUNDS) {
		begin_round(w);
	} else if (is_quiet(w)) {
		end_world(w);
	}
}

static void
of_dials_that_cross_exactly_one_connection_remains_and_nothing_is_lost(void **state)
{
	struct world *w = *state;

	w->on_change = storm;
	begin_round(w);
	loop_run(w->loop);
	assert_int_equal(w->by_small + w->by_big, ROUNDS);
	print_message("by the smaller %u, by the larger %u, replaced %u\n", w->by_small, w->by_big,
	    w->replaced);
	/* The rounds did meet the case. */
	assert_true(w->by_small > ROUNDS / 4);
	assert_true(w->replaced > 0);
}

/* -- one at a time -- */

static void
leave_when_closed(struct world *w)
{
	if (w->open == 0)
		end_world(w);
}

static void
close_both(struct world *w)
{
	w->on_change = leave_when_closed;
	for (size_t i = 0; i < SIDES; i++)
		if (w->sides[i].mesh != NULL)
			close_mesh(&w->sides[i]);
}

static void
see_refused(struct world *w)
{
	struct side *a = &w->sides[0];
	struct mesh_info info;

	if (a->gone < 1)
		return;
	assert_int_equal(a->unreachable, 0); /* it was reached */
	mesh_info(a->mesh, mesh_find(a->mesh, &a->other), &info);
	assert_int_equal(info.state, MESH_WAITING);
	check_says(info.why, "no member");
	assert_int_equal(w->sides[1].ready, 0);
	close_both(w);
}

static void
who_is_refused_is_told_why(void **state)
{
	struct world *w = *state;

	open_mesh(&w->sides[0]);
	open_mesh(&w->sides[1]);
	w->sides[1].refuses = true;
	w->on_change = see_refused;
	want_other(&w->sides[0]);
	loop_run(w->loop);
}

static void
see_unreachable(struct world *w)
{
	struct side *a = &w->sides[0];
	struct mesh_info info;

	if (a->unreachable == 0)
		return;
	mesh_info(a->mesh, mesh_find(a->mesh, &a->other), &info);
	assert_int_equal(info.state, MESH_WAITING);
	assert_int_equal(a->ready, 0);
	close_both(w);
}

static void
for_who_cannot_be_reached_a_third_is_asked(void **state)
{
	struct world *w = *state;

	open_mesh(&w->sides[0]);
	w->on_change = see_unreachable;
	want_other(&w->sides[0]);
	loop_run(w->loop);
}

static void
see_banned(struct world *w)
{
	struct side *a = &w->sides[0], *b = &w->sides[1];
	struct mesh_info info;
	struct error e;

	if (is_settled(a) && is_settled(b) && b->gone == 0) {
		(void)fail(&e, ERR_CORRUPT, "wrong bytes");
		mesh_ban(b->mesh, &b->other, &e);
		assert_null(b->peer);
	} else if (a->gone > 1) {
		/* It came again and was not let in. */
		assert_int_equal(b->ready, 1);
		mesh_info(b->mesh, mesh_find(b->mesh, &b->other), &info);
		assert_int_equal(info.state, MESH_BANNED);
		close_both(w);
	}
}

static void
who_is_banned_does_not_come_back(void **state)
{
	struct world *w = *state;

	open_mesh(&w->sides[0]);
	open_mesh(&w->sides[1]);
	w->on_change = see_banned;
	want_other(&w->sides[0]);
	loop_run(w->loop);
}

static void
see_called(struct world *w)
{
	struct side *a = &w->sides[0], *b = &w->sides[1];
	struct error e;

	if (!is_settled(a) || !is_settled(b))
		return;
	w->on_change = leave_when_closed;
	assert_true(a->mesh->lines.at[0]->dialed);
	(void)fail(&e, ERR_DENIED, "cut");
	mesh_cut(a->mesh, &a->other, &e);
	mesh_called(a->mesh, mesh_find(a->mesh, &a->other));
	assert_null(mesh_find(a->mesh, &a->other)->dial); /* too soon */
	close_both(w);
}

static void
a_call_makes_one_attempt_though_the_device_is_not_wanted(void **state)
{
	struct world *w = *state;
	struct side *a = &w->sides[0];

	open_mesh(a);
	open_mesh(&w->sides[1]);
	w->on_change = see_called;
	mesh_called(a->mesh, tell_where(a, &w->sides[1]));
	assert_non_null(mesh_find(a->mesh, &a->other)->dial);
	loop_run(w->loop);
}

/* -- strangers -- */

struct strangers {
	struct world *w;
	struct stranger {
		struct strangers *all;
		struct conn *conn; /* NULL: gone */
	} each[MESH_STRANGERS_MAX + 1];
	unsigned closed;
};

static void
nothing_to_do(void *owner)
{
	(void)owner;
}

static void
stranger_reads(void *owner)
{
	struct stranger *s = owner;
	uint8_t b[256];
	size_t n;

	while (s->conn != NULL && conn_read(s->conn, b, sizeof b, &n) == OK)
		;
}

static void
stranger_closed(void *owner, const struct error *why)
{
	struct stranger *s = owner;
	struct strangers *all = s->all;
	(void)why;

	s->conn = NULL;
	if (++all->closed == 1) {
		/* One made way; the others are there. */
		assert_int_equal(all->w->sides[0].mesh->lines.len, MESH_STRANGERS_MAX + 1);
		for (size_t i = 0; i < lengthof(all->each); i++)
			if (all->each[i].conn != NULL)
				conn_close(all->each[i].conn, NULL);
	}
	if (all->closed == lengthof(all->each))
		close_both(all->w);
}

static const struct conn_events stranger_events = { nothing_to_do, stranger_reads, nothing_to_do,
	stranger_closed };

static void
one_of_too_many_strangers_makes_way(void **state)
{
	struct world *w = *state;
	struct strangers s = { .w = w };
	struct side *a = &w->sides[0];
	char address[32];
	const char *addresses[] = { address };

	w->on_change = leave_when_closed;
	open_mesh(a);
	snprintf(address, sizeof address, "127.0.0.1:%u", listener_port(a->listener));
	for (size_t i = 0; i < lengthof(s.each); i++) {
		s.each[i].all = &s;
		s.each[i].conn = conn_dial(
		    w->loop, w->sides[1].tls, NULL, addresses, 1, &stranger_events, &s.each[i]);
	}
	loop_run(w->loop);
	assert_int_equal(s.closed, MESH_STRANGERS_MAX + 1);
	assert_int_equal(a->ready, 0);
}

/* -- more devices than there is room for -- */

static void
forget_while_closing(struct world *w)
{
	struct side *a = &w->sides[0];
	struct device_id id = { { 0 } };
	struct error e;

	if (a->mesh == NULL || !is_settled(a) || !is_settled(&w->sides[1])) {
		if (is_quiet(w) && a->mesh == NULL)
			end_world(w);
		return;
	}
	(void)fail(&e, ERR_DENIED, "enough");
	mesh_cut(a->mesh, &a->other, &e);
	for (uint32_t i = 0; i < MESH_DEVICES_MAX; i++) {
		memcpy(id.bytes, &i, sizeof i);
		mesh_ban(a->mesh, &id, &e); /* so that they stay */
	}
	close_mesh(a);
	close_mesh(&w->sides[1]);
}

static void
a_device_is_not_forgotten_before_its_connection_has_closed(void **state)
{
	struct world *w = *state;

	w->on_change = forget_while_closing;
	begin_round(w);
	loop_run(w->loop);
	assert_int_equal(w->sides[0].gone, w->sides[0].ready);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(of_dials_that_cross_exactly_one_connection_remains_and_nothing_is_lost),
		TEST(who_is_refused_is_told_why),
		TEST(for_who_cannot_be_reached_a_third_is_asked),
		TEST(who_is_banned_does_not_come_back),
		TEST(a_call_makes_one_attempt_though_the_device_is_not_wanted),
		TEST(one_of_too_many_strangers_makes_way),
		TEST(a_device_is_not_forgotten_before_its_connection_has_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
