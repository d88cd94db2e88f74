/* Members who do not keep their word, or cannot. */
#include "engine/test_swarm_world.h"

/* -- those who do not keep their word -- */

static void
cut_liar(struct member *m, struct peer *p)
{
	(void)m;
	peer_close(p, NULL);
}

static void
note_banned(struct swarm_world *sw)
{
	struct swarm_node_peer row = member_knows(&sw->members[2], &sw->members[0]);

	assert_true(row.banned);
	assert_int_equal(row.bytes_in, 0);
	assert_true(row.stats.wrong >= SWARM_WRONG_MAX);
	assert_false(member_knows(&sw->members[2], &sw->members[1]).banned);
}

static void
connect_honest_too(struct member *m, struct peer *p)
{
	peer_close(p, NULL);
	members_connect(m, &m->sw->members[1]);
}

static void
a_liar_is_cut_off_and_named_and_another_finishes(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *liar = member_seed(sw, WRONG_BYTES, false);
	member_seed(sw, HONEST, true);
	struct member *m = member_receiver_of(liar);
	sw->on_liar = connect_honest_too;
	sw->at_end = note_banned;
	swarm_world_run(sw);
	member_assert_whole(m);
	assert_int_equal(m->liars, 1);
	assert_ptr_equal(m->liar, liar);
}

/* The liar is back; then comes who is honest. */
static void
look_for_return(struct swarm_world *sw)
{
	struct member *m = &sw->members[2];

	if (sw->step == 0 && m->liars == 1 && m->links[0].peer == NULL) {
		sw->step = 1;
		sw->members[0].requests = 0;
		members_connect(m, &sw->members[0]);
	} else if (sw->step == 1 && m->n_links == 2 && m->links[1].responder != NULL) {
		sw->step = 2;
		assert_false(swarm_node_has(m->node, m->links[1].peer));
		members_connect(m, &sw->members[1]);
	}
}

static void
a_liar_that_comes_back_is_not_let_in(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *liar = member_seed(sw, WRONG_BYTES, false);
	member_seed(sw, HONEST, true);
	struct member *m = member_receiver_of(liar);
	sw->on_liar = cut_liar;
	sw->on_event = look_for_return;
	sw->at_end = note_banned;
	swarm_world_run(sw);
	member_assert_whole(m);
	assert_int_equal(sw->step, 2);
	assert_int_equal(m->liars, 1);
	assert_int_equal(liar->requests, 0);
}

/* The liar hangs up after each wrong leaf, and comes back; then comes who is honest. */
static void
look_for_hanging_up(struct swarm_world *sw)
{
	struct member *m = &sw->members[2], *liar = &sw->members[0];
	struct link *l = &m->links[m->n_links - 1];

	if (sw->step == SWARM_WRONG_MAX || member_knows(m, liar).stats.wrong == sw->step)
		return;
	sw->step++;
	if (l->peer != NULL)
		peer_close(l->peer, NULL);
	members_connect(m, sw->step == SWARM_WRONG_MAX ? &sw->members[1] : liar);
}

static void
a_liar_that_connects_anew_does_not_begin_anew(void **state)
{
	struct swarm_world *sw = *state;

	content_file(&sw->w.content, 1, 1000, 0); /* one unit: so one leaf at a time */
	world_content(&sw->w, SWARM_WORLD_UNIT);
	struct member *liar = member_seed(sw, WRONG_BYTES, false);
	member_seed(sw, HONEST, true);
	struct member *m = member_receiver_of(liar);
	sw->on_event = look_for_hanging_up;
	sw->at_end = note_banned;
	swarm_world_run(sw);
	member_assert_whole(m);
	assert_int_equal(sw->step, SWARM_WRONG_MAX);
}

/* First the mute one's offers are accepted; then another one gives all but these; then time passes
 * and these are replaced. */
static void
look_for_mute(struct swarm_world *sw)
{
	struct member *m = &sw->members[2], *mute = &sw->members[0];
	struct swarm_node_summary sum;

	swarm_node_summary(m->node, &sum);
	if (sw->step == 0 && mute->requests == SWARM_SLOTS_MIN) {
		sw->step = 1;
		members_connect(m, &sw->members[1]);
	} else if (sw->step == 1 && sum.held == sum.units - SWARM_SLOTS_MIN) {
		sw->step = 2;
		sw->ahead_ms += SWARM_SUSPECT_US / 1000;
		swarm_node_blocked(m->node, m->links[0].peer, false); /* anything wakes it */
	}
}

static void
note_broken(struct swarm_world *sw)
{
	assert_int_equal(member_knows(&sw->members[2], &sw->members[0]).stats.broken, 1);
}

static void
what_a_mute_one_promised_is_had_of_another(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *mute = member_seed(sw, SILENT, false);
	member_seed(sw, HONEST, true);
	struct member *m = member_receiver_of(mute);
	sw->on_event = look_for_mute;
	sw->at_end = note_broken;
	swarm_world_run(sw);
	member_assert_whole(m);
	assert_int_equal(sw->step, 2);
	assert_int_equal(m->memory.twice, 0);
}

static void
look_for_cancels(struct swarm_world *sw)
{
	struct member *m = &sw->members[1], *mute = &sw->members[0];

	if (sw->step == 0 && mute->requests == SWARM_SLOTS_MIN) {
		sw->step = 1;
		sw->ahead_ms += SWARM_SILENT_US / 1000;
		swarm_node_blocked(m->node, m->links[0].peer, false);
	} else if (sw->step == 1 && mute->cancels == SWARM_SLOTS_MIN) {
		swarm_world_stop(sw);
	}
}

static void
note_distrust(struct swarm_world *sw)
{
	struct swarm_node_peer row = member_knows(&sw->members[1], &sw->members[0]);

	assert_int_equal(row.stats.broken, SWARM_SLOTS_MIN);
	assert_true(row.stats.distrusted);
}

static void
what_nobody_else_has_is_cancelled_at_last(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *mute = member_seed(sw, SILENT, false);
	member_receiver_of(mute);
	sw->on_event = look_for_cancels;
	sw->at_end = note_distrust;
	swarm_world_run(sw);
	assert_int_equal(mute->cancels, SWARM_SLOTS_MIN);
}

/* -- a session that is full -- */

static void
ignore_event(struct requester *r, struct peer *p, struct session_event *ev)
{
	(void)r;
	(void)p;
	assert_true(ev->end);
}

static void
fill_session(struct swarm_world *sw)
{
	struct member *m = &sw->members[1];
	struct message ask = { .type = FRAME_GET_UNITS,
		.get_units = { .share = sw->w.content.share,
		    .snapshot = sw->w.content.snapshot,
		    .unit_size = SWARM_WORLD_UNIT } };

	if (sw->step == 0 && m->n_links == 1 && m->links[0].responder != NULL) {
		sw->step = 1;
		for (ask.get_units.unit = 0; ask.get_units.unit < LIMIT_UNITS_OPEN;
		     ask.get_units.unit++)
			assert_ok(session_request(
			    peer_session(m->links[0].peer), &ask, sw->w.ctx, NULL, &unit_error));
		peer_flush(m->links[0].peer);
	} else if (sw->step == 1 && sw->members[0].declines == SWARM_SLOTS_MIN) {
		swarm_world_stop(sw);
	}
}

static void
note_no_blame(struct swarm_world *sw)
{
	struct swarm_node_peer row = member_knows(&sw->members[1], &sw->members[0]);

	assert_true(row.stats.accepted_in >= SWARM_BROKEN_MAX);
	assert_int_equal(row.stats.broken, 0);
}

static void
what_cannot_be_asked_for_is_declined_and_blames_nobody(void **state)
{
	struct swarm_world *sw = *state;
	struct requester asked = { .on_event = ignore_event };

	swarm_world_files(sw);
	sw->w.ctx = &asked;
	member_receiver_of(member_seed(sw, SILENT, false));
	sw->on_event = fill_session;
	sw->at_end = note_no_blame;
	swarm_world_run(sw);
	assert_int_equal(sw->step, 1);
}

/* -- what is lost -- */

static void
bring_another(struct swarm_world *sw)
{
	struct member *m = &sw->members[2];
	struct swarm_node_summary sum;

	swarm_node_summary(m->node, &sum);
	/* Before there is news, all is nowhere. */
	if (sw->step > 0 || m->lost == 0 || sum.held == 0 || sum.held + sum.nowhere < sum.units)
		return;
	sw->step = 1;
	check_says(m->loss.text, "the file has changed");
	assert_false(m->dones);
	members_connect(m, &sw->members[1]);
}

static void
what_is_lost_at_one_is_told_and_had_of_another(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_files(sw);
	struct member *changed = member_seed(sw, HONEST, true);
	member_seed(sw, HONEST, false);
	struct member *m = member_receiver(sw);
	changed->absent = &snapshot_map_chunk(sw->w.map, 42)->id;
	members_connect(m, changed);
	sw->on_event = bring_another;
	swarm_world_run(sw);
	member_assert_whole(m);
	assert_int_equal(sw->step, 1);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, swarm_world_setup, swarm_world_teardown)
	const struct CMUnitTest tests[] = {
		T(a_liar_is_cut_off_and_named_and_another_finishes),
		T(a_liar_that_comes_back_is_not_let_in),
		T(a_liar_that_connects_anew_does_not_begin_anew),
		T(what_a_mute_one_promised_is_had_of_another),
		T(what_nobody_else_has_is_cancelled_at_last),
		T(what_cannot_be_asked_for_is_declined_and_blames_nobody),
		T(what_is_lost_at_one_is_told_and_had_of_another),
	};
	alarm(200);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
