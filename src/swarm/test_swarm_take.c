/* What one swarm takes of whom, and whom it no longer believes. */
#include "swarm/test_swarm_one.h"

static void
what_is_here_awaited_or_unwanted_is_declined(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ 0 }, 1);

	(void)state;
	add_peer(s, 1);
	add_peer(s, 2);
	swarm_skip(s, 2);
	assert_int_equal(swarm_offered(s, 1, 0, 1).verdict, SWARM_HELD);
	assert_int_equal(swarm_offered(s, 1, 1, 1).verdict, SWARM_ACCEPT);
	assert_int_equal(swarm_offered(s, 2, 1, 1).verdict, SWARM_HELD);
	assert_int_equal(swarm_offered(s, 1, 2, 1).verdict, SWARM_HELD);
	assert_int_equal(swarm_offered(s, 1, N, 1).verdict, SWARM_DISTRUST);
	assert_int_equal(swarm_offered(s, 9, 3, 1).verdict, SWARM_DISTRUST);
	swarm_ended(s, 1, 1, true, 2);
	assert_int_equal(swarm_offered(s, 2, 1, 3).verdict, SWARM_HELD);
	swarm_free(s);
}

static void
there_is_room_for_so_many_and_none_in_a_pause(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });

	(void)state;
	add_peer(s, 1);
	for (uint32_t u = 0; u < SWARM_INBOUND; u++)
		assert_int_equal(swarm_offered(s, 1, u, 1).verdict, SWARM_ACCEPT);
	assert_int_equal(swarm_awaited(s), SWARM_INBOUND);
	assert_int_equal(swarm_offered(s, 1, 100, 1).verdict, SWARM_BUSY);
	swarm_ended(s, 1, 0, true, 2);
	swarm_pause(s, true);
	assert_int_equal(swarm_offered(s, 1, 100, 2).verdict, SWARM_BUSY);
	swarm_pause(s, false);
	assert_int_equal(swarm_offered(s, 1, 100, 2).verdict, SWARM_ACCEPT);
	swarm_free(s);
}

static void
what_is_silent_may_be_had_of_others(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });
	struct swarm_answer a;

	(void)state;
	add_peer(s, 1);
	add_peer(s, 2);
	assert_int_equal(swarm_offered(s, 1, 7, 0).verdict, SWARM_ACCEPT);
	assert_true(swarm_wakes(s, 0) <= SWARM_SUSPECT_US);
	swarm_tick(s, SWARM_SUSPECT_US - 1);
	assert_int_equal(swarm_offered(s, 2, 7, SWARM_SUSPECT_US - 1).verdict, SWARM_HELD);
	swarm_tick(s, SWARM_SUSPECT_US);
	assert_int_equal(swarm_awaited(s), 0);
	a = swarm_offered(s, 2, 7, SWARM_SUSPECT_US);
	assert_int_equal(a.verdict, SWARM_ACCEPT);
	assert_true(a.replaces);
	assert_int_equal(a.old_peer, 1);
	swarm_free(s);
}

/* Or a line on which a leaf takes longer than that would carry nothing but what was cancelled. */
static void
who_replaces_somebody_silent_is_given_twice_the_time(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });
	uint64_t now = 0, patience = SWARM_SUSPECT_US;

	(void)state;
	for (uint64_t p = 1; p < 12; p++) {
		add_peer(s, p);
		struct swarm_answer a = swarm_offered(s, p, 7, now);
		assert_int_equal(a.verdict, SWARM_ACCEPT);
		assert_int_equal(a.replaces, p > 1);
		swarm_tick(s, now + patience - 1);
		assert_int_equal(swarm_offered(s, 1, 7, now).verdict, SWARM_HELD);
		assert_true(swarm_wakes(s, now) <= now + patience);
		swarm_tick(s, now += patience);
		assert_int_equal(swarm_awaited(s), 0);
		patience = min_of(2 * patience, SWARM_SILENT_US / 2); /* not for ever */
	}
	swarm_free(s);
}

static void
who_takes_long_for_each_leaf_is_given_that_time(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });
	const uint64_t gap = SWARM_SUSPECT_US - 1;
	uint64_t now = 0;

	(void)state;
	add_peer(s, 1);
	assert_int_equal(swarm_offered(s, 1, 7, now).verdict, SWARM_ACCEPT);
	swarm_got(s, 1, 7, 1, now += gap);
	swarm_tick(s, now + 4 * gap - 1);
	assert_int_equal(swarm_awaited(s), 1);
	swarm_tick(s, now + 4 * gap);
	assert_int_equal(swarm_awaited(s), 0);
	for (int i = 0; i < 40; i++) /* it has become quick */
		swarm_got(s, 1, 7, 1, now += 1000);
	swarm_tick(s, now + SWARM_SUSPECT_US);
	assert_int_equal(swarm_awaited(s), 0);
	swarm_free(s);
}

static void
a_pause_is_told_as_no_room_and_silence_in_it_is_no_fault(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });
	struct swarm_news news;
	uint64_t peer;
	uint32_t unit;

	(void)state;
	add_peer(s, 1);
	while (swarm_tell(s, 1, 0, &news))
		;
	assert_int_equal(swarm_offered(s, 1, 7, 0).verdict, SWARM_ACCEPT);
	swarm_pause(s, true);
	assert_true(swarm_tell(s, 1, 0, &news));
	assert_int_equal(news.inbound, SWARM_INBOUND);
	swarm_tick(s, 100 * S);
	assert_int_equal(swarm_awaited(s), 1);
	swarm_pause(s, false);
	assert_int_equal(swarm_wakes(s, 100 * S), 100 * S);
	swarm_tick(s, 100 * S);
	assert_int_equal(swarm_awaited(s), 1);
	assert_false(swarm_silent(s, &peer, &unit));
	assert_true(swarm_tell(s, 1, 100 * S, &news));
	assert_int_equal(news.inbound, 1);
	swarm_tick(s, 100 * S + SWARM_SUSPECT_US);
	assert_int_equal(swarm_awaited(s), 0);
	swarm_free(s);
}

static void
what_is_silent_for_long_is_named_once(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });
	struct swarm_stats stats;
	struct swarm_news news;
	uint64_t peer;
	uint32_t unit;

	(void)state;
	add_peer(s, 1);
	while (swarm_tell(s, 1, 0, &news))
		;
	assert_int_equal(swarm_offered(s, 1, 7, 0).verdict, SWARM_ACCEPT);
	swarm_tick(s, SWARM_SUSPECT_US);
	while (swarm_tell(s, 1, SWARM_SUSPECT_US, &news))
		;
	assert_int_equal(swarm_wakes(s, SWARM_SUSPECT_US), SWARM_SILENT_US);
	swarm_tick(s, SWARM_SILENT_US - 1);
	assert_false(swarm_silent(s, &peer, &unit));
	swarm_tick(s, SWARM_SILENT_US);
	assert_true(swarm_silent(s, &peer, &unit));
	assert_int_equal(peer, 1);
	assert_int_equal(unit, 7);
	assert_false(swarm_silent(s, &peer, &unit));
	assert_int_equal(swarm_wakes(s, SWARM_SILENT_US), UINT64_MAX);
	swarm_ended(s, 1, 7, false, SWARM_SILENT_US);
	assert_true(swarm_peer_stats(s, 1, &stats));
	assert_int_equal(stats.broken, 1);
	swarm_free(s);
}

/* All its units at once are one broken promise; three times is no accident. */
static void
who_is_replaced_again_and_again_is_not_listened_to_for_a_while(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });
	uint64_t now = 0;

	(void)state;
	add_peer(s, 1);
	add_peer(s, 2);
	for (uint32_t round = 0; round < SWARM_BROKEN_MAX; round++) {
		for (uint32_t u = 0; u < 8; u++)
			assert_int_equal(
			    swarm_offered(s, 1, round * 8 + u, now).verdict, SWARM_ACCEPT);
		now += SWARM_SUSPECT_US;
		swarm_tick(s, now);
		for (uint32_t u = 0; u < 8; u++) {
			assert_true(swarm_offered(s, 2, round * 8 + u, now).replaces);
			swarm_ended(s, 2, round * 8 + u, true, now);
		}
	}
	assert_int_equal(swarm_offered(s, 1, 100, now).verdict, SWARM_DISTRUST);
	assert_int_equal(swarm_offered(s, 1, 100, now + SWARM_PENANCE_US).verdict, SWARM_ACCEPT);
	swarm_free(s);
}

static void
what_is_abandoned_is_no_fault_and_may_be_had_again(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });
	struct swarm_stats stats;

	(void)state;
	add_peer(s, 1);
	assert_int_equal(swarm_offered(s, 1, 7, 0).verdict, SWARM_ACCEPT);
	swarm_abandon(s);
	assert_int_equal(swarm_awaited(s), 0);
	swarm_ended(s, 1, 7, false, 1); /* late: nothing */
	assert_true(swarm_peer_stats(s, 1, &stats));
	assert_int_equal(stats.broken, 0);
	assert_int_equal(swarm_offered(s, 1, 7, 1).verdict, SWARM_ACCEPT);
	swarm_free(s);
}

static void
what_could_not_be_asked_is_nobodys_fault(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });

	(void)state;
	add_peer(s, 1);
	for (int i = 0; i < 2 * SWARM_BROKEN_MAX; i++) {
		assert_int_equal(swarm_offered(s, 1, 7, 0).verdict, SWARM_ACCEPT);
		swarm_unasked(s, 1, 7);
		assert_int_equal(swarm_awaited(s), 0);
	}
	swarm_free(s);
}

static void
what_was_skipped_can_be_wanted(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });

	(void)state;
	add_peer(s, 1);
	swarm_skip(s, 7);
	assert_int_equal(swarm_offered(s, 1, 7, 0).verdict, SWARM_HELD);
	swarm_want(s, 7);
	assert_int_equal(swarm_offered(s, 1, 7, 0).verdict, SWARM_ACCEPT);
	swarm_free(s);
}

static void
what_was_silent_and_goes_on_is_awaited_again(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });

	(void)state;
	add_peer(s, 1);
	add_peer(s, 2);
	assert_int_equal(swarm_offered(s, 1, 7, 0).verdict, SWARM_ACCEPT);
	swarm_tick(s, SWARM_SUSPECT_US);
	swarm_got(s, 1, 7, 1000, SWARM_SUSPECT_US + 1);
	assert_int_equal(swarm_awaited(s), 1);
	assert_int_equal(swarm_offered(s, 2, 7, SWARM_SUSPECT_US + 2).verdict, SWARM_HELD);
	swarm_ended(s, 1, 7, true, SWARM_SUSPECT_US + 3);
	assert_int_equal(swarm_awaited(s), 0);
	assert_true(swarm_holds(s, 7));
	swarm_free(s);
}

/* A sender serves one unit after the other: the ones behind are not silent. */
static void
a_unit_that_waits_behind_another_is_no_suspect(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });

	(void)state;
	add_peer(s, 1);
	for (uint32_t u = 0; u < 3; u++)
		assert_int_equal(swarm_offered(s, 1, u, 0).verdict, SWARM_ACCEPT);
	for (uint64_t t = S; t < 20 * S; t += S) {
		swarm_got(s, 1, 0, 1000, t);
		swarm_tick(s, t);
		assert_int_equal(swarm_awaited(s), 3);
	}
	swarm_free(s);
}

static void
who_breaks_three_promises_is_not_listened_to_for_a_while(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });
	struct swarm_stats stats;

	(void)state;
	add_peer(s, 1);
	for (uint32_t u = 0; u < SWARM_BROKEN_MAX; u++) {
		assert_int_equal(swarm_offered(s, 1, u, 1).verdict, SWARM_ACCEPT);
		assert_int_equal(swarm_nowhere(s), N - 1);
		swarm_ended(s, 1, u, false, 2);
		assert_int_equal(swarm_nowhere(s), N); /* what it does not give it does not hold */
	}
	assert_int_equal(swarm_offered(s, 1, 50, 3).verdict, SWARM_DISTRUST);
	assert_true(swarm_peer_stats(s, 1, &stats));
	assert_true(stats.distrusted);
	assert_int_equal(stats.broken, SWARM_BROKEN_MAX);
	swarm_tick(s, 2 + SWARM_PENANCE_US);
	assert_int_equal(swarm_offered(s, 1, 50, 2 + SWARM_PENANCE_US).verdict, SWARM_ACCEPT);
	swarm_free(s);
}

static void
three_wrong_leaves_are_the_end(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ 0 }, 10);
	struct swarm_stats stats;
	struct swarm_offer o;

	(void)state;
	add_peer(s, 1);
	say_has(s, 1, 10, 50);
	assert_false(swarm_charge(s, 1));
	assert_false(swarm_charge(s, 1));
	assert_true(swarm_charge(s, 1));
	assert_false(swarm_charge(s, 1)); /* told once */
	assert_true(swarm_peer_stats(s, 1, &stats));
	assert_true(stats.banned);
	assert_int_equal(stats.held, 0); /* nothing it says counts */
	say_has(s, 1, 10, 50);
	uint32_t first;
	assert_int_equal(swarm_nowhere(s), N - 10);
	assert_true(swarm_first_nowhere(s, &first));
	assert_int_equal(first, 10);
	assert_int_equal(swarm_offered(s, 1, 60, 1).verdict, SWARM_DISTRUST);
	assert_int_equal(swarm_offered(s, 1, 5, 1).verdict, SWARM_DISTRUST); /* held here */
	assert_false(swarm_offer(s, 1, &o));
	assert_true(swarm_peer_stats(s, 1, &stats));
	assert_int_equal(stats.held, 0);
	/* It is told nothing, so nothing wakes anybody to tell it. */
	assert_true(swarm_wakes(s, 1) == UINT64_MAX);
	swarm_free(s);
}

/*
 * All but two units are here.  Uplinks are said to do ten units a second, and the downlink was seen
 * to do so; 8 has the last unit but one under way.
 */
static struct swarm *
open_at_end(uint64_t *ret_now)
{
	struct swarm *s = open_holding((struct swarm_opts){ 0 }, N - 12);
	uint64_t now = S;

	add_peer(s, 8);
	add_peer(s, 9);
	assert_true(swarm_peer_news(s, 8, &(struct swarm_news){ .rate = 10 * UNIT }, 0));
	assert_true(swarm_peer_news(s, 9, &(struct swarm_news){ .rate = 10 * UNIT }, 0));
	for (uint32_t u = N - 12; u < N - 2; u++, now += S / 10) {
		assert_int_equal(swarm_offered(s, 9, u, now).verdict, SWARM_ACCEPT);
		swarm_got(s, 9, u, UNIT, now);
		swarm_ended(s, 9, u, true, now);
	}
	assert_int_equal(swarm_offered(s, 8, N - 2, now).verdict, SWARM_ACCEPT);
	*ret_now = now;
	return s;
}

static void
a_slow_unit_at_the_end_is_let_go_and_taken_over_once(void **state)
{
	uint64_t now, late;
	struct swarm *s = open_at_end(&now);
	struct swarm_answer a;
	struct swarm_stats st;

	(void)state;
	late = now + 2 * S - S / 4; /* three times four units of an uplink, and of the downlink */
	assert_int_equal(swarm_offered(s, 9, N - 1, now).verdict, SWARM_ACCEPT);
	swarm_got(s, 8, N - 2, UNIT / 16, now + S);
	swarm_got(s, 9, N - 1, UNIT * 15 / 16, now + S); /* as good as here */
	swarm_tick(s, now + S / 10);
	assert_int_equal(swarm_offered(s, 9, N - 2, now + S / 10).verdict, SWARM_HELD);
	assert_in_range(swarm_wakes(s, now + S), now + S, late);
	swarm_tick(s, late);
	assert_int_equal(swarm_offered(s, 9, N - 1, late).verdict, SWARM_HELD);
	add_peer(s, 7);
	assert_true(swarm_peer_news(s, 7, &(struct swarm_news){ .rate = UNIT }, 0));
	assert_int_equal(swarm_offered(s, 7, N - 2, late).verdict, SWARM_HELD); /* slow itself */
	a = swarm_offered(s, 9, N - 2, late);
	assert_int_equal(a.verdict, SWARM_ACCEPT);
	assert_true(a.replaces && a.old_peer == 8);
	assert_true(swarm_peer_stats(s, 8, &st));
	assert_int_equal(st.broken, 0); /* to be slow is no lie */
	swarm_tick(s, late + S);
	assert_int_equal(swarm_offered(s, 8, N - 2, late + S).verdict, SWARM_HELD);
	swarm_free(s);
}

static void
a_slow_unit_is_not_let_go_while_there_is_other_work_and_may_still_arrive(void **state)
{
	uint64_t now, late;
	struct swarm *s = open_at_end(&now);

	(void)state;
	late = now + 3 * S / 2;
	swarm_got(s, 8, N - 2, UNIT / 64, now + S);
	swarm_tick(s, late); /* N - 1 is nowhere yet */
	assert_int_equal(swarm_offered(s, 9, N - 2, late).verdict, SWARM_HELD);
	assert_int_equal(swarm_offered(s, 9, N - 1, late).verdict, SWARM_ACCEPT);
	swarm_tick(s, late + S / 4);
	assert_int_equal(swarm_awaited(s), 1);
	swarm_ended(s, 8, N - 2, true, late + S / 2); /* before anybody offered it */
	assert_true(swarm_holds(s, N - 2));
	assert_int_equal(swarm_awaited(s), 1);
	swarm_ended(s, 9, N - 1, true, late + S / 2);
	assert_int_equal(swarm_awaited(s), 0);
	swarm_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_here_awaited_or_unwanted_is_declined),
		cmocka_unit_test(there_is_room_for_so_many_and_none_in_a_pause),
		cmocka_unit_test(what_is_silent_may_be_had_of_others),
		cmocka_unit_test(who_replaces_somebody_silent_is_given_twice_the_time),
		cmocka_unit_test(what_was_silent_and_goes_on_is_awaited_again),
		cmocka_unit_test(who_takes_long_for_each_leaf_is_given_that_time),
		cmocka_unit_test(a_pause_is_told_as_no_room_and_silence_in_it_is_no_fault),
		cmocka_unit_test(what_is_silent_for_long_is_named_once),
		cmocka_unit_test(who_is_replaced_again_and_again_is_not_listened_to_for_a_while),
		cmocka_unit_test(what_is_abandoned_is_no_fault_and_may_be_had_again),
		cmocka_unit_test(what_could_not_be_asked_is_nobodys_fault),
		cmocka_unit_test(what_was_skipped_can_be_wanted),
		cmocka_unit_test(a_unit_that_waits_behind_another_is_no_suspect),
		cmocka_unit_test(who_breaks_three_promises_is_not_listened_to_for_a_while),
		cmocka_unit_test(three_wrong_leaves_are_the_end),
		cmocka_unit_test(a_slow_unit_at_the_end_is_let_go_and_taken_over_once),
		cmocka_unit_test(
		    a_slow_unit_is_not_let_go_while_there_is_other_work_and_may_still_arrive),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
