/* What one swarm answers to what it is told.  What many do together: tests/sim/test_swarm.c. */
#include "tests/unit.h"

#include "base/bitset.h"
#include "base/mem.h"
#include "swarm/swarm.h"

enum { N = 200, UNIT = 65536 };
#define S ((uint64_t)1000000)

static struct swarm *
open_swarm(struct swarm_opts o)
{
	o.n_units = o.n_units == 0 ? N : o.n_units;
	o.unit_size = UNIT;
	return swarm_new(&o);
}

static struct swarm *
open_holding(struct swarm_opts o, uint32_t n)
{
	struct swarm *s = open_swarm(o);

	for (uint32_t u = 0; u < n; u++)
		swarm_hold(s, u);
	return s;
}

/* A peer that says that it has nothing. */
static void
add_peer(struct swarm *s, uint64_t peer)
{
	swarm_peer_add(s, peer, false, 0);
	assert_true(swarm_peer_news(s, peer, &(struct swarm_news){ .inbound = 0 }));
}

static void
add_last_resort(struct swarm *s, uint64_t peer)
{
	swarm_peer_add(s, peer, true, 0);
	assert_true(swarm_peer_news(s, peer, &(struct swarm_news){ .inbound = 0 }));
}

static void
say_has(struct swarm *s, uint64_t peer, uint32_t first, uint32_t n)
{
	const struct swarm_run run = { .first = first, .n = n };

	assert_true(swarm_peer_news(s, peer, &(struct swarm_news){ .have = &run, .n_have = 1 }));
}

static void
say_awaits(struct swarm *s, uint64_t peer, uint32_t first, uint32_t n)
{
	const struct swarm_run run = { .first = first, .n = n };

	assert_true(swarm_peer_news(s, peer, &(struct swarm_news){ .await = &run, .n_await = 1 }));
}

/* The offer is taken and sent at once. */
static void
serve(struct swarm *s, struct swarm_offer o, uint64_t now_us)
{
	assert_true(swarm_accepted(s, o.peer, o.unit, now_us));
	swarm_sent(s, o.peer, o.unit, UNIT, now_us);
}

/* -- giving -- */

static void
nothing_is_offered_to_who_has_not_said_what_it_holds(void **state)
{
	struct swarm *s = open_holding((struct swarm_opts){ 0 }, N);
	struct swarm_offer o;

	(void)state;
	swarm_peer_add(s, 1, false, 0);
	assert_false(swarm_offer(s, 0, &o));
	add_peer(s, 1); /* again: it stays the same */
	assert_true(swarm_offer(s, 0, &o));
	swarm_free(s);
}

static void
say_drops(struct swarm *s, uint64_t peer, uint32_t unit)
{
	const struct swarm_run run = { .first = unit, .n = 1 };

	assert_true(swarm_peer_news(s, peer, &(struct swarm_news){ .drop = &run, .n_drop = 1 }));
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
	swarm_declined(s, 1, more.unit, true, 0, 30);
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
		    swarm_peer_news(s, p, &(struct swarm_news){ .skip = &rest, .n_skip = 1 }));
	assert_true(swarm_peer_news(s, 1, &(struct swarm_news){ .inbound = SWARM_INBOUND }));
	assert_false(swarm_offer(s, 1, &o));
	assert_true(swarm_peer_news(s, 1, &(struct swarm_news){ .inbound = 0 }));
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
	assert_true(swarm_peer_news(s, 2, &(struct swarm_news){ .inbound = SWARM_INBOUND }));
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
	assert_true(swarm_peer_news(s, 2, &(struct swarm_news){ .starving = true }));
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
	swarm_declined(s, 1, o.unit, false, 5 * S, 10);
	assert_false(swarm_offer(s, 11, &o));
	assert_true(swarm_wakes(s, 11) <= 10 + 5 * S);
	assert_true(swarm_offer(s, 10 + 5 * S, &o));
	swarm_declined(s, 1, o.unit, false, UINT64_MAX / 2, 10 + 5 * S); /* not for ever */
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

/* -- taking -- */

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

/* -- news -- */

/* What A tells is told to B, until there is no more. */
static unsigned
pass_news(struct swarm *a, uint64_t b_in_a, struct swarm *b, uint64_t a_in_b, uint64_t now_us)
{
	struct swarm_news news;
	unsigned n = 0;

	for (; swarm_tell(a, b_in_a, now_us, &news); n++)
		assert_true(swarm_peer_news(b, a_in_b, &news));
	return n;
}

static void
a_new_peer_is_told_everything_however_scattered(void **state)
{
	enum { MANY = 20000 };
	struct swarm *a = open_swarm((struct swarm_opts){ .n_units = MANY });
	struct swarm *b = open_swarm((struct swarm_opts){ .n_units = MANY });
	struct swarm_stats stats;
	uint32_t held = 0;

	(void)state;
	for (uint32_t u = 0; u < MANY; u += 2, held++)
		swarm_hold(a, u);
	swarm_peer_add(a, 1, false, 0);
	swarm_peer_add(b, 2, false, 0);
	assert_true(pass_news(a, 1, b, 2, 5) > 10);
	assert_true(swarm_peer_stats(b, 2, &stats));
	assert_int_equal(stats.held, held);
	swarm_free(a);
	swarm_free(b);
}

static void
changes_are_told_in_batches_as_they_are_then(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });
	struct swarm_news news;

	(void)state;
	add_peer(s, 1);
	while (swarm_tell(s, 1, 0, &news))
		;
	assert_int_equal(swarm_wakes(s, 0), UINT64_MAX);
	assert_int_equal(swarm_offered(s, 1, 5, 1).verdict, SWARM_ACCEPT);
	assert_false(swarm_tell(s, 1, SWARM_BATCH_MIN_US - 1, &news));
	swarm_ended(s, 1, 5, true, 2);
	swarm_hold(s, 6);
	assert_true(swarm_tell(s, 1, SWARM_BATCH_MIN_US, &news));
	assert_int_equal(news.n_have, 1);
	assert_int_equal(news.have[0].first, 5);
	assert_int_equal(news.have[0].n, 2);
	assert_int_equal(news.n_await + news.n_drop + news.n_skip, 0);
	assert_false(swarm_tell(s, 1, 9 * S, &news));
	swarm_lose(s, 6);
	assert_true(swarm_tell(s, 1, 9 * S, &news));
	assert_int_equal(news.n_drop, 1);
	assert_int_equal(news.drop[0].first, 6);
	swarm_free(s);
}

static void
who_fell_behind_is_told_everything_anew(void **state)
{
	enum { MANY = SWARM_LOG_MAX + 1000 };
	struct swarm *a = open_swarm((struct swarm_opts){ .n_units = MANY });
	struct swarm *b = open_swarm((struct swarm_opts){ .n_units = MANY });
	struct swarm_stats stats;

	(void)state;
	swarm_peer_add(a, 1, false, 0);
	swarm_peer_add(b, 2, false, 0);
	(void)pass_news(a, 1, b, 2, 0);
	for (uint32_t u = 0; u < MANY; u++)
		swarm_hold(a, u);
	swarm_lose(a, 3);
	for (uint64_t t = S; t < 20 * S; t += S)
		(void)pass_news(a, 1, b, 2, t);
	assert_true(swarm_peer_stats(b, 2, &stats));
	assert_int_equal(stats.held, MANY - 1);
	swarm_free(a);
	swarm_free(b);
}

static void
news_of_units_that_do_not_exist_are_refused(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });
	const struct swarm_run runs[] = { { N, 1 }, { N - 1, 2 }, { 1, UINT32_MAX } };

	(void)state;
	add_peer(s, 1);
	for (size_t i = 0; i < lengthof(runs); i++) {
		assert_false(
		    swarm_peer_news(s, 1, &(struct swarm_news){ .have = &runs[i], .n_have = 1 }));
		assert_false(
		    swarm_peer_news(s, 1, &(struct swarm_news){ .await = &runs[i], .n_await = 1 }));
		assert_false(
		    swarm_peer_news(s, 1, &(struct swarm_news){ .drop = &runs[i], .n_drop = 1 }));
		assert_false(
		    swarm_peer_news(s, 1, &(struct swarm_news){ .skip = &runs[i], .n_skip = 1 }));
	}
	swarm_free(s);
}

static void
hunger_is_told_at_once_and_only_where_there_is_a_last_resort(void **state)
{
	struct swarm *s = open_swarm((struct swarm_opts){ 0 });
	struct swarm_news news;

	(void)state;
	add_peer(s, 1);
	while (swarm_tell(s, 1, 0, &news))
		;
	swarm_tick(s, 100 * S);
	assert_false(swarm_tell(s, 1, 100 * S, &news));
	swarm_peer_add(s, 2, true, 100 * S);
	assert_int_equal(swarm_offered(s, 1, 0, 100 * S).verdict, SWARM_ACCEPT);
	while (swarm_tell(s, 1, 101 * S, &news))
		;
	swarm_tick(s, 100 * S + SWARM_STARVE_US);
	assert_true(swarm_tell(s, 1, 100 * S + SWARM_STARVE_US, &news));
	assert_true(news.starving);
	assert_int_equal(swarm_offered(s, 2, 1, 104 * S).verdict, SWARM_ACCEPT);
	swarm_tick(s, 104 * S);
	assert_false(swarm_tell(s, 1, 104 * S, &news) &&
		     !news.starving); /* the last resort does not count */
	swarm_got(s, 1, 0, 10, 105 * S);
	swarm_tick(s, 105 * S);
	assert_true(swarm_tell(s, 1, 105 * S, &news));
	assert_false(news.starving);
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
		cmocka_unit_test(a_new_peer_is_told_everything_however_scattered),
		cmocka_unit_test(changes_are_told_in_batches_as_they_are_then),
		cmocka_unit_test(who_fell_behind_is_told_everything_anew),
		cmocka_unit_test(news_of_units_that_do_not_exist_are_refused),
		cmocka_unit_test(hunger_is_told_at_once_and_only_where_there_is_a_last_resort),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
