/* What one swarm gives to whom.  What many do together: tests/sim/test_swarm.c. */
#include "swarm/test_swarm_one.h"

static void
nothing_is_offered_to_who_has_not_said_what_it_holds(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ 0 }, N);
	struct swarm_offer o;

	(void)state;
	swarm_peer_add(s, 1, &(struct swarm_peer_opts){ .last_resort = false }, 0);
	assert_false(swarm_offer(s, 0, &o));
	add_peer(s, 1); /* again: it stays the same */
	assert_true(swarm_offer(s, 0, &o));
	swarm_free(s);
}

static void
say_drops(struct swarm *s, uint64_t peer, uint32_t unit)
{
	const struct swarm_run run = { .first = unit, .n = 1 };

	assert_true(swarm_peer_news(s, peer, &(struct swarm_news){ .drop = &run, .n_drop = 1 }, 0));
}

/* It has given it up, and the answer was too far gone to be cancelled. */
static void
what_was_accepted_and_dropped_is_offered_again(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ .n_units = 1 }, 1);
	struct swarm_offer o;

	(void)state;
	add_peer(s, 1);
	assert_true(swarm_offer(s, 0, &o));
	say_drops(s, 1, o.unit); /* said before the offer came */
	assert_false(swarm_offer(s, 0, &o));
	assert_true(swarm_accepted(s, 1, 0, 0));
	say_drops(s, 1, 0);
	assert_false(swarm_offer(s, 0, &o));
	swarm_sent(s, 1, 0, UNIT, 1);
	assert_true(swarm_offer(s, 1, &o));
	serve(s, o, 1);
	assert_false(swarm_offer(s, 1, &o));
	swarm_free(s);
}

static void
as_many_are_offered_as_there_are_slots(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ 0 }, N);
	struct swarm_offer o[SWARM_SLOTS_MIN], more;

	(void)state;
	add_peer(s, 1);
	for (int i = 0; i < SWARM_SLOTS_MIN; i++)
		assert_true(swarm_offer(s, 0, &o[i]));
	assert_false(swarm_offer(s, 0, &more));
	assert_true(swarm_accepted(s, 1, o[0].unit, 10));
	assert_false(swarm_accepted(s, 1, o[0].unit, 10));
	assert_false(swarm_offer(s, 10, &more));
	swarm_sent(s, 1, o[0].unit, UNIT, 20);
	assert_true(swarm_offer(s, 20, &more));
	swarm_declined(s, 1, more.unit, SWARM_HELD, 0, 30);
	assert_true(swarm_offer(s, 30, &more));
	swarm_free(s);
}

static void
a_unit_is_offered_once_to_each(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ 0 }, N);
	struct bitset seen[2];
	struct swarm_offer o;

	(void)state;
	for (unsigned p = 0; p < 2; p++) {
		bitset_init(&seen[p], N);
		add_peer(s, p);
	}
	for (uint64_t t = 1; swarm_offer(s, t, &o); t++) {
		assert_true(bitset_set(&seen[o.peer], o.unit));
		serve(s, o, t);
		say_has(s, o.peer, o.unit, 1);
	}
	for (unsigned p = 0; p < 2; p++) {
		assert_int_equal(seen[p].count, N);
		bitset_clear(&seen[p]);
	}
	swarm_free(s);
}

static void
what_nobody_else_has_goes_first(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ 0 }, N);
	struct swarm_offer o;

	(void)state;
	add_peer(s, 1);
	add_peer(s, 2);
	say_has(s, 2, 0, N - 10);
	for (int i = 0; i < 10; i++) {
		assert_true(swarm_offer(s, 1, &o));
		assert_true(o.unit >= N - 10);
		serve(s, o, 1);
		say_has(s, o.peer, o.unit, 1);
	}
	assert_true(swarm_offer(s, 1, &o));
	assert_true(o.unit < N - 10);
	swarm_free(s);
}

static void
an_awaited_unit_counts_as_a_copy(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ .origin = true }, N);
	struct swarm_offer o;

	(void)state;
	add_peer(s, 1);
	add_peer(s, 2);
	say_awaits(s, 1, 0, N - 1);
	say_awaits(s, 2, 0, N - 1);
	assert_true(swarm_offer(s, 1, &o));
	assert_int_equal(o.unit, N - 1);
	swarm_free(s);
}

static void
the_origin_sends_nothing_twice_before_all_once(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ .origin = true, .seed = 4 }, N);
	struct bitset sent;
	struct swarm_offer o;

	(void)state;
	bitset_init(&sent, N);
	for (unsigned p = 0; p < 5; p++)
		add_peer(s, p);
	for (uint64_t t = 1; sent.count < N; t++) {
		assert_true(swarm_offer(s, t, &o));
		assert_true(bitset_set(&sent, o.unit));
		serve(s, o, t);
	}
	bitset_clear(&sent);
	swarm_free(s);
}

/* Who lacks what nobody has is busy: the origin rather waits than sends others a second copy. */
static void
the_origin_waits_for_room_at_who_lacks_a_first_copy(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ .origin = true }, N);
	struct swarm_offer o;

	(void)state;
	add_peer(s, 1);
	add_peer(s, 2);
	add_peer(s, 3);
	say_has(s, 3, 0, 1);
	const struct swarm_run rest = { .first = 1, .n = N - 1 };
	for (uint64_t p = 2; p <= 3; p++)
		assert_true(
		    swarm_peer_news(s, p, &(struct swarm_news){ .skip = &rest, .n_skip = 1 }, 0));
	assert_true(swarm_peer_news(s, 1, &(struct swarm_news){ .inbound = SWARM_INBOUND }, 0));
	assert_false(swarm_offer(s, 1, &o));
	assert_true(swarm_peer_news(s, 1, &(struct swarm_news){ .inbound = 0 }, 0));
	assert_true(swarm_offer(s, 2, &o));
	assert_int_equal(o.peer, 1);
	swarm_free(s);
}

/* Each of two peers has or awaits all but the last LACKING units, which the other has. */
static struct swarm *
open_after_a_pass(uint32_t lacking)
{
	struct swarm *s = open_holding((struct swarm_opts){ .origin = true }, N);

	for (uint64_t p = 1; p <= 4; p++)
		add_peer(s, p);
	for (uint64_t p = 1; p <= 2; p++)
		say_has(s, p, 0, N - lacking);
	for (uint64_t p = 3; p <= 4; p++)
		say_has(s, p, 0, N);
	return s;
}

static void
the_origin_leaves_the_rest_to_others_for_a_while(void **state)
{
	struct swarm *s = open_after_a_pass(N / 10);
	struct swarm_news news;
	struct swarm_offer o;

	(void)state;
	assert_false(swarm_offer(s, 1000, &o));
	for (uint64_t p = 1; p <= 4; p++) {
		while (swarm_tell(s, p, 1000, &news))
			;
	}
	assert_int_equal(swarm_wakes(s, 1000), 1000 + SWARM_LEAN_US);
	swarm_peer_gone(s, 3, 2000); /* then only one other has it */
	assert_true(swarm_offer(s, 2000, &o));
	swarm_free(s);

	s = open_after_a_pass(N / 10);
	assert_false(swarm_offer(s, 1000, &o));
	add_peer(s, 5); /* who comes late lacks much */
	assert_true(swarm_offer(s, 1000, &o));
	assert_int_equal(o.peer, 5);
	swarm_free(s);

	s = open_after_a_pass(N / 10);
	assert_false(swarm_offer(s, 1000, &o));
	swarm_tick(s, 1000 + SWARM_LEAN_US);
	assert_true(swarm_offer(s, 1000 + SWARM_LEAN_US, &o));
	swarm_free(s);
}

static void
an_origin_that_is_quicker_than_all_others_goes_on(void **state)
{
	struct swarm *s = open_after_a_pass(N / 2);
	struct swarm_offer o;

	(void)state;
	add_peer(s, 5);
	say_has(s, 5, 0, N / 2);
	add_peer(s, 6);
	say_has(s, 6, 0, N / 2);
	assert_true(swarm_offer(s, 1000, &o));
	swarm_free(s);
}

/* The server passes on nothing that others hold, so its first copies are the dearest. */
static void
first_copies_go_to_who_passes_them_on_while_there_is_room(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ .origin = true }, N);
	struct swarm_offer o;

	(void)state;
	add_last_resort(s, 1);
	add_peer(s, 2);
	for (uint64_t t = 1; t < N / 2; t++) {
		assert_true(swarm_offer(s, t, &o));
		assert_int_equal(o.peer, 2);
		serve(s, o, t);
	}
	assert_true(swarm_peer_news(s, 2, &(struct swarm_news){ .inbound = SWARM_INBOUND }, 0));
	assert_true(swarm_offer(s, N, &o)); /* rather than wait */
	assert_int_equal(o.peer, 1);
	swarm_free(s);
}

static void
whose_connection_takes_nothing_is_offered_nothing(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ 0 }, N);
	struct swarm_offer o;

	(void)state;
	add_peer(s, 1);
	swarm_peer_blocked(s, 1, true, 1);
	assert_false(swarm_offer(s, 1, &o));
	swarm_peer_blocked(s, 1, false, 2);
	assert_true(swarm_offer(s, 2, &o));
	swarm_free(s);
}

static void
a_lost_first_copy_is_sent_again(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ .n_units = 1, .origin = true }, 1);
	struct swarm_offer o;

	(void)state;
	add_peer(s, 1);
	add_peer(s, 2);
	assert_true(swarm_offer(s, 1, &o));
	serve(s, o, 1);
	uint64_t other = 3 - o.peer;
	say_has(s, other, 0, 1);
	assert_false(swarm_offer(s, 2, &o));
	swarm_peer_gone(s, 3 - other, 3);
	swarm_peer_gone(s, other, 3);
	add_peer(s, 4);
	assert_true(swarm_offer(s, 4, &o));
	assert_int_equal(o.peer, 4);
	swarm_free(s);
}

static void
the_last_resort_offers_only_what_no_peer_has(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ .last_resort = true }, N);
	struct swarm_offer o;

	(void)state;
	add_peer(s, 1);
	add_peer(s, 2);
	say_has(s, 1, 0, N - 1);
	assert_true(swarm_offer(s, 1, &o));
	assert_int_equal(o.unit, N - 1);
	serve(s, o, 1);
	assert_false(swarm_offer(s, 2, &o));
	/* whoever had the others is gone */
	swarm_peer_gone(s, 1, 3);
	assert_true(swarm_offer(s, 4, &o));
	swarm_free(s);
}

static void
the_last_resort_feeds_who_starves(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ .last_resort = true }, N);
	struct swarm_offer o;

	(void)state;
	add_peer(s, 1);
	add_peer(s, 2);
	say_has(s, 1, 0, N);
	assert_false(swarm_offer(s, 1, &o));
	assert_true(swarm_peer_news(s, 2, &(struct swarm_news){ .starving = true }, 0));
	assert_true(swarm_offer(s, 2, &o));
	assert_int_equal(o.peer, 2);
	swarm_free(s);
}

static void
a_busy_peer_is_left_alone_for_as_long_as_it_says(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ 0 }, N);
	struct swarm_offer o;

	(void)state;
	add_peer(s, 1);
	assert_true(swarm_offer(s, 0, &o));
	swarm_declined(s, 1, o.unit, SWARM_BUSY, 5 * S, 10);
	assert_false(swarm_offer(s, 11, &o));
	assert_true(swarm_wakes(s, 11) <= 10 + 5 * S);
	assert_true(swarm_offer(s, 10 + 5 * S, &o));
	swarm_declined(s, 1, o.unit, SWARM_BUSY, UINT64_MAX / 2, 10 + 5 * S); /* not for ever */
	assert_true(swarm_offer(s, 11 + 5 * S + SWARM_RETRY_MAX_US, &o));
	swarm_free(s);
}

static void
an_unanswered_offer_ends(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ .n_units = 1 }, 1);
	struct swarm_offer o;

	(void)state;
	add_peer(s, 1);
	assert_true(swarm_offer(s, 5, &o));
	struct swarm_news news;
	assert_true(swarm_tell(s, 1, 5, &news));
	assert_int_equal(swarm_wakes(s, 6), 5 + SWARM_OFFER_US);
	swarm_tick(s, SWARM_OFFER_US);
	assert_false(swarm_offer(s, SWARM_OFFER_US, &o));
	swarm_tick(s, 5 + SWARM_OFFER_US);
	assert_false(swarm_accepted(s, 1, 0, 6 + SWARM_OFFER_US));
	assert_true(swarm_offer(s, 5 + 2 * SWARM_OFFER_US, &o));
	swarm_free(s);
}

static void
the_slots_of_who_takes_nothing_are_given_to_others(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ 0 }, N);
	struct swarm_offer o;
	unsigned n = 0;

	(void)state;
	add_peer(s, 1);
	for (; swarm_offer(s, 1, &o); n++)
		assert_true(swarm_accepted(s, o.peer, o.unit, 1));
	assert_int_equal(n, SWARM_SLOTS_MIN);
	add_peer(s, 2);
	assert_false(swarm_offer(s, 2, &o));
	swarm_peer_blocked(s, 1, true, 2);
	assert_true(swarm_offer(s, 2, &o));
	assert_int_equal(o.peer, 2);
	swarm_free(s);
}

static void
slots_grow_with_the_time_that_offers_take(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ 0 }, N);
	struct swarm_offer o;
	uint64_t t = 1;

	(void)state;
	add_peer(s, 1);
	assert_int_equal(swarm_slots(s), SWARM_SLOTS_MIN);
	for (int i = 0; i < 50; i++) {
		assert_true(swarm_offer(s, t, &o));
		t += 60 * 1000; /* until it is accepted */
		assert_true(swarm_accepted(s, 1, o.unit, t));
		t += 10 * 1000; /* on the line */
		swarm_sent(s, 1, o.unit, UNIT, t);
	}
	assert_int_equal(swarm_slots(s), SWARM_SLOTS_MIN + 6);
	assert_true(swarm_rate(s) > 6500000 && swarm_rate(s) < 6600000);
	swarm_free(s);
}

static void
what_nobody_else_has_goes_to_who_passes_it_on(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ .origin = true }, N);
	struct swarm_offer o;

	(void)state;
	add_peer(s, 1);
	add_peer(s, 2);
	assert_true(swarm_peer_news(s, 1, &(struct swarm_news){ .rate = 1000 }, 0));
	assert_true(swarm_peer_news(s, 2, &(struct swarm_news){ .rate = 5000 }, 0));
	for (unsigned i = 0; i < 3; i++) { /* it is the busier one meanwhile, but not much */
		assert_true(swarm_offer(s, 1, &o));
		assert_int_equal(o.peer, 2);
	}
	assert_true(swarm_offer(s, 1, &o));
	assert_int_equal(o.peer, 2);
	swarm_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_offered_to_who_has_not_said_what_it_holds),
		cmocka_unit_test(what_was_accepted_and_dropped_is_offered_again),
		cmocka_unit_test(as_many_are_offered_as_there_are_slots),
		cmocka_unit_test(a_unit_is_offered_once_to_each),
		cmocka_unit_test(what_nobody_else_has_goes_first),
		cmocka_unit_test(an_awaited_unit_counts_as_a_copy),
		cmocka_unit_test(the_origin_sends_nothing_twice_before_all_once),
		cmocka_unit_test(the_origin_waits_for_room_at_who_lacks_a_first_copy),
		cmocka_unit_test(the_origin_leaves_the_rest_to_others_for_a_while),
		cmocka_unit_test(an_origin_that_is_quicker_than_all_others_goes_on),
		cmocka_unit_test(first_copies_go_to_who_passes_them_on_while_there_is_room),
		cmocka_unit_test(whose_connection_takes_nothing_is_offered_nothing),
		cmocka_unit_test(a_lost_first_copy_is_sent_again),
		cmocka_unit_test(the_last_resort_offers_only_what_no_peer_has),
		cmocka_unit_test(the_last_resort_feeds_who_starves),
		cmocka_unit_test(a_busy_peer_is_left_alone_for_as_long_as_it_says),
		cmocka_unit_test(an_unanswered_offer_ends),
		cmocka_unit_test(the_slots_of_who_takes_nothing_are_given_to_others),
		cmocka_unit_test(slots_grow_with_the_time_that_offers_take),
		cmocka_unit_test(what_nobody_else_has_goes_to_who_passes_it_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
