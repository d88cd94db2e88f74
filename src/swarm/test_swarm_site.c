/* Sites: who speaks for whom, who takes what from afar, and what goes there. */
#include "swarm/test_swarm_one.h"

enum { HQ = 1, OFFICE = 2, PLANT = 3 };

static struct swarm_place
place(uint64_t site, uint64_t node, uint8_t rank)
{
	return (struct swarm_place){ .site = site, .node = node, .rank = rank, .gateways = 2 };
}

/* Node 100 + RANK of site HQ. */
static struct swarm *
open_gateway(struct swarm_opts o, uint8_t rank, uint32_t held)
{
	struct swarm *s = open_holding(o, held);
	const struct swarm_place self = place(HQ, 100 + rank, rank);

	swarm_place(s, &self, 0);
	return s;
}

static void
add_at(struct swarm *s, uint64_t peer, struct swarm_place at, bool far)
{
	swarm_peer_add(s, peer, &(struct swarm_peer_opts){ .place = at, .far = far }, 0);
	assert_true(swarm_peer_news(s, peer, &(struct swarm_news){ .inbound = 0 }, 0));
}

static void
the_best_candidates_that_are_here_are_gateways(void **state)
{
	struct swarm *s = open_gateway((struct swarm_opts){ 0 }, 3, 0);
	struct swarm_stats st;

	(void)state;
	assert_true(swarm_is_gateway(s)); /* nobody else is here */
	add_at(s, 1, place(HQ, 101, 1), false);
	assert_true(swarm_is_gateway(s));
	add_at(s, 2, place(HQ, 102, 2), false);
	assert_false(swarm_is_gateway(s));
	add_at(s, 4, place(HQ, 104, 4), false);
	assert_true(swarm_peer_stats(s, 2, &st));
	assert_true(st.gateway && !st.far);
	assert_true(swarm_peer_stats(s, 4, &st));
	assert_false(st.gateway);
	swarm_peer_gone(s, 1, 5);
	assert_true(swarm_is_gateway(s)); /* re-elected */
	swarm_peer_place(s, 4, &(struct swarm_place){ HQ, 104, 1, 2 }, false, 6);
	assert_false(swarm_is_gateway(s));
	swarm_place(s, &(struct swarm_place){ HQ, 103, 0, 2 }, 7); /* no candidate at all */
	swarm_peer_gone(s, 2, 8);
	assert_false(swarm_is_gateway(s));
	swarm_peer_gone(s, 4, 8);
	assert_true(swarm_is_gateway(s)); /* but somebody must be */
	swarm_free(s);
}

/* What the server holds says nothing about what an office has, and it takes nothing in for it. */
static void
the_last_resort_is_of_no_site(void **state)
{
	struct swarm *s = open_gateway((struct swarm_opts){ 0 }, 0, 0);
	const struct swarm_run all = { 0, N };
	struct swarm_news news;

	(void)state;
	swarm_peer_add(s, 1, &(struct swarm_peer_opts){ .last_resort = true }, 0);
	add_at(s, 2, place(OFFICE, 201, 1), true);
	assert_true(
	    swarm_peer_news(s, 1, &(struct swarm_news){ .have = &all, .n_have = 1 }, 1 * S));
	assert_true(swarm_tell(s, 2, 2 * S, &news));
	assert_int_equal(news.n_have + news.n_await, 0);
	swarm_hold(s, 3);
	assert_true(swarm_tell(s, 2, 4 * S, &news));
	assert_int_equal(news.n_have, 1);
	for (uint32_t u = 0; u < 3; u++)
		assert_int_equal(swarm_offered(s, 2, u, 4 * S).verdict, SWARM_ACCEPT);
	swarm_peer_gone(s, 1, 5 * S);
	swarm_free(s);
}

/* It counts who of all nodes has everything. */
static void
the_last_resort_hears_of_this_node_alone_also_from_afar(void **state)
{
	struct swarm *s = open_gateway((struct swarm_opts){ 0 }, 1, 2);
	const struct swarm_run all = { 0, N };
	struct swarm_news news;

	(void)state;
	swarm_peer_add(s, 1,
	    &(struct swarm_peer_opts){
		.place = place(OFFICE, 201, 0), .far = true, .last_resort = true },
	    0);
	add_at(s, 2, place(HQ, 102, 2), false);
	assert_true(
	    swarm_peer_news(s, 2, &(struct swarm_news){ .have = &all, .n_have = 1 }, 1 * S));
	assert_true(swarm_tell(s, 1, 2 * S, &news));
	assert_int_equal(news.n_have, 1);
	assert_int_equal(news.have[0].n, 2);
	swarm_hold(s, 2);
	assert_true(swarm_tell(s, 1, 4 * S, &news));
	assert_int_equal(news.n_have, 1);
	assert_int_equal(news.have[0].first, 2);
	swarm_free(s);
}

/* Each of N units is taken by exactly one of three gateways, whatever each of them is. */
static void
each_unit_is_for_one_gateway_and_a_death_moves_only_its_units(void **state)
{
	struct swarm *s[4] = { NULL };
	uint8_t taker[N] = { 0 };

	(void)state;
	for (uint8_t i = 1; i <= 3; i++) {
		s[i] = open_swarm((struct swarm_opts){ 0 });
		swarm_place(s[i], &(struct swarm_place){ HQ, 100 + i, i, 3 }, 0);
		for (uint8_t k = 1; k <= 3; k++) {
			if (k != i)
				add_at(s[i], k, (struct swarm_place){ HQ, 100 + k, k, 3 }, false);
		}
		add_at(s[i], 9, place(OFFICE, 200, 1), true);
	}
	for (uint32_t u = 0; u < N; u++) {
		for (uint8_t i = 1; i <= 3; i++) {
			enum swarm_verdict v = swarm_offered(s[i], 9, u, 0).verdict;
			if (v == SWARM_ACCEPT) {
				assert_int_equal(taker[u], 0);
				taker[u] = i;
				swarm_unasked(s[i], 9, u);
			} else {
				assert_int_equal(v, SWARM_ELSEWHERE);
			}
		}
		assert_int_not_equal(taker[u], 0);
	}
	swarm_peer_gone(s[1], 3, 1);
	swarm_peer_gone(s[2], 3, 1);
	for (uint32_t u = 0; u < N; u++) {
		for (uint8_t i = 1; i <= 2; i++) {
			bool takes = swarm_offered(s[i], 9, u, 2).verdict == SWARM_ACCEPT;
			if (taker[u] != 3)
				assert_int_equal(takes, taker[u] == i);
			else if (takes)
				taker[u] = 10;
			if (takes)
				swarm_unasked(s[i], 9, u);
		}
		assert_int_not_equal(taker[u], 3); /* somebody took over */
	}
	for (uint8_t i = 1; i <= 3; i++)
		swarm_free(s[i]);
}

static void
what_was_refused_is_taken_if_the_site_lacks_it_two_seconds_later(void **state)
{
	struct swarm *s = open_gateway((struct swarm_opts){ 0 }, 2, 0);
	uint32_t u = 0, v;

	(void)state;
	add_at(s, 1, place(HQ, 101, 1), false);
	add_at(s, 9, place(OFFICE, 200, 1), true);
	while (swarm_offered(s, 9, u, 1).verdict != SWARM_ELSEWHERE)
		u++;
	for (v = u + 1; swarm_offered(s, 9, v, 1).verdict != SWARM_ELSEWHERE; v++)
		;
	assert_int_equal(swarm_offered(s, 9, u, SWARM_GRACE_US).verdict, SWARM_ELSEWHERE);
	say_awaits(s, 1, v, 1);
	assert_int_equal(swarm_offered(s, 9, u, 1 + SWARM_GRACE_US).verdict, SWARM_ACCEPT);
	assert_int_equal(swarm_offered(s, 9, v, 1 + SWARM_GRACE_US).verdict, SWARM_HELD);
	swarm_free(s);
}

static void
a_far_peer_is_told_of_the_site_and_a_near_one_of_this_node(void **state)
{
	struct swarm *s = open_gateway((struct swarm_opts){ 0 }, 1, 3);
	struct swarm_news news;

	(void)state;
	add_at(s, 1, place(HQ, 101, 2), false);
	add_at(s, 9, place(OFFICE, 200, 1), true);
	say_has(s, 1, 5, 2);
	say_awaits(s, 1, 7, 1);
	while (swarm_tell(s, 1, 0, &news))
		assert_int_equal(news.n_await, 0);
	assert_true(swarm_tell(s, 9, 0, &news));
	assert_int_equal(news.n_have, 2);
	assert_int_equal(news.have[1].first, 5);
	assert_int_equal(news.n_await, 1);
	while (swarm_tell(s, 9, S / 2, &news))
		;
	swarm_hold(s, 5); /* the site had it before */
	assert_false(swarm_tell(s, 9, S, &news));
	assert_true(swarm_tell(s, 1, S, &news));
	say_has(s, 1, 7, 1);
	assert_true(swarm_tell(s, 9, 2 * S, &news));
	assert_int_equal(news.n_have, 1);
	assert_int_equal(news.have[0].first, 7);
	swarm_peer_gone(s, 1, 2 * S);
	assert_true(swarm_tell(s, 9, 3 * S, &news));
	assert_int_equal(news.n_drop, 1);
	assert_int_equal(news.drop[0].n, 2);
	swarm_free(s);
}

static void
an_export_fills_its_slot_until_it_has_arrived(void **state)
{
	struct swarm *s = open_gateway((struct swarm_opts){ 0 }, 1, N);
	struct swarm_offer o[8];
	size_t n = 0;

	(void)state;
	add_at(s, 9, place(OFFICE, 200, 1), true);
	while (n < lengthof(o) && swarm_offer(s, 1, &o[n]))
		n++;
	assert_in_range(n, 2, 4); /* to begin with */
	for (size_t i = 0; i < n; i++)
		serve(s, o[i], 1000);
	assert_false(swarm_offer(s, 2000, &o[7]));
	say_has(s, 9, o[0].unit, 1);
	assert_true(swarm_offer(s, 3000, &o[7]));
	swarm_free(s);
}

/* What goes to an office next door says nothing about the line to another. */
static void
a_site_that_is_close_does_not_flood_one_that_comes_later(void **state)
{
	struct swarm *s = open_gateway((struct swarm_opts){ 0 }, 1, N);
	struct swarm_offer o;
	uint64_t now = 1;
	unsigned near = 0, later = 0;

	(void)state;
	add_at(s, 9, place(OFFICE, 200, 1), true);
	for (unsigned i = 0; i < N / 2; i++, now += 1000) {
		assert_true(swarm_offer(s, now, &o));
		serve(s, o, now);
		const struct swarm_run run = { .first = o.unit, .n = 1 };
		assert_true(swarm_peer_news(
		    s, 9, &(struct swarm_news){ .have = &run, .n_have = 1 }, now + 1000));
	}
	add_at(s, 10, place(PLANT, 300, 1), true);
	while (swarm_offer(s, now, &o)) {
		near += o.peer == 9;
		later += o.peer == 10;
	}
	assert_true(near > 20); /* all at once: that line is quick */
	assert_in_range(later, 1, 4);
	swarm_free(s);
}

static void
the_far_peer_that_is_responsible_is_offered_a_unit(void **state)
{
	struct swarm *s = open_gateway((struct swarm_opts){ 0 }, 1, N);
	struct swarm_offer o;
	unsigned to[3] = { 0 };

	(void)state;
	for (uint8_t i = 0; i < 3; i++) /* the third is no gateway */
		add_at(s, i, place(OFFICE, 200 + i, 1 + i), true);
	for (unsigned i = 0; i < 50; i++) {
		assert_true(swarm_offer(s, i, &o));
		to[o.peer]++;
		serve(s, o, i);
		say_has(s, o.peer, o.unit, 1);
	}
	assert_in_range(to[0], 10, 40);
	assert_int_equal(to[0] + to[1], 50);
	/* Two and the same would not agree: what is refused is offered again, not at once. */
	assert_true(swarm_offer(s, 60, &o));
	swarm_declined(s, o.peer, o.unit, SWARM_ELSEWHERE, 0, 61);
	struct swarm_offer again;
	while (swarm_offer(s, 62, &again)) {
		assert_int_not_equal(again.unit, o.unit);
		serve(s, again, 62);
		say_has(s, again.peer, again.unit, 1);
	}
	bool offered = false;
	swarm_tick(s, 61 + SWARM_GRACE_US);
	while (!offered && swarm_offer(s, 61 + SWARM_GRACE_US, &again))
		offered = again.unit == o.unit;
	assert_true(offered);
	swarm_free(s);
}

static void
what_no_other_site_has_goes_first(void **state)
{
	struct swarm *s = open_gateway((struct swarm_opts){ 0 }, 1, N);
	struct swarm_offer o;

	(void)state;
	add_at(s, 1, place(OFFICE, 200, 1), true);
	add_at(s, 2, place(PLANT, 300, 1), true);
	say_has(s, 1, 0, N / 2);
	say_has(s, 2, 50, N / 2);
	for (unsigned i = 0; i < 50; i++) { /* that neither has */
		assert_true(swarm_offer(s, i, &o));
		assert_in_range(o.unit, 150, N - 1);
		serve(s, o, i);
		say_has(s, o.peer, o.unit, 1);
	}
	swarm_free(s);
}

static void
what_a_gateway_lets_out_it_tells_the_others_at_once(void **state)
{
	struct swarm *s = open_gateway((struct swarm_opts){ 0 }, 1, N);
	const struct swarm_run run = { .first = 0, .n = N - 3 };
	struct swarm_news news;
	struct swarm_offer o;

	(void)state;
	add_at(s, 1, place(HQ, 101, 2), false);
	add_at(s, 9, place(OFFICE, 200, 1), true);
	say_has(s, 1, 0, N);
	while (swarm_tell(s, 1, 0, &news) || swarm_tell(s, 9, 0, &news))
		;
	assert_true(swarm_offer(s, 1, &o));
	assert_true(swarm_tell(s, 1, 1, &news));
	assert_int_equal(news.n_left, 1);
	assert_int_equal(news.left[0].first, o.unit);
	assert_false(swarm_tell(s, 9, 1, &news));
	swarm_declined(s, 9, o.unit, SWARM_HELD, 0, 2);
	/* What others have let out goes out from here only when nothing else is left. */
	assert_true(swarm_peer_news(s, 1, &(struct swarm_news){ .left = &run, .n_left = 1 }, 2));
	for (uint64_t n = o.unit < N - 3 ? 3 : 2; n > 0; n--) {
		assert_true(swarm_offer(s, 3, &o));
		assert_in_range(o.unit, N - 3, N - 1);
		serve(s, o, 3);
		say_has(s, 9, o.unit, 1);
	}
	assert_true(swarm_offer(s, 4, &o)); /* the other lacks much */
	say_has(s, 9, 0, N - N / 8);
	while (swarm_offer(s, 5, &o))
		swarm_declined(s, 9, o.unit, SWARM_HELD, 0, 5);
	add_at(s, 8, place(PLANT, 300, 1), true);
	say_has(s, 8, 0, N - N / 8);
	assert_false(swarm_offer(s, 7, &o)); /* little: it may come from elsewhere */
	swarm_tick(s, 7 + SWARM_LEAN_US);
	assert_true(swarm_offer(s, 7 + SWARM_LEAN_US, &o));
	swarm_free(s);
}

static void
a_gateway_without_a_first_copy_waits_for_those_of_its_site_but_not_long(void **state)
{
	struct swarm *s = open_gateway((struct swarm_opts){ 0 }, 1, N / 2);
	struct swarm_offer o;

	(void)state;
	add_at(s, 1, place(HQ, 101, 2), false);
	add_at(s, 9, place(OFFICE, 200, 1), true);
	add_at(s, 8, place(PLANT, 300, 1), true);
	say_has(s, 1, 0, N); /* the other half is there, and goes out first */
	say_has(s, 8, 0, N / 2);
	assert_false(swarm_offer(s, 1, &o));
	swarm_tick(s, 1 + SWARM_GRACE_US);
	assert_true(swarm_offer(s, 1 + SWARM_GRACE_US, &o));
	swarm_free(s);
}

static void
of_two_gateways_that_hold_a_unit_one_exports_it(void **state)
{
	struct swarm *s = open_gateway((struct swarm_opts){ 0 }, 1, N);
	struct swarm_offer o, next;
	unsigned ours = 1;

	(void)state;
	add_at(s, 9, place(OFFICE, 200, 1), true);
	assert_true(swarm_offer(s, 1, &o)); /* is under way from now on */
	add_at(s, 1, place(HQ, 102, 2), false);
	say_has(s, 1, 0, N);
	while (swarm_offer(s, 2, &next)) {
		ours++;
		serve(s, next, 2);
		say_has(s, 9, next.unit, 1);
	}
	assert_in_range(ours, N / 4, N * 3 / 4); /* the other half is the other's */
	serve(s, o, 3);
	say_has(s, 9, o.unit, 1);
	assert_true(swarm_offer(s, 4, &next)); /* rather than do nothing */
	assert_int_equal(next.peer, 9);
	swarm_free(s);
}

static void
what_the_last_resort_has_counts_at_no_site(void **state)
{
	struct swarm *s = open_gateway((struct swarm_opts){ 0 }, 1, N);
	struct swarm_offer o;

	(void)state;
	swarm_peer_add(s, 7, &(struct swarm_peer_opts){ .far = true, .last_resort = true }, 0);
	say_has(s, 7, 0, N);
	add_at(s, 9, place(OFFICE, 200, 1), true);
	add_at(s, 8, place(PLANT, 300, 1), true);
	say_has(s, 8, 0, N - 5);
	for (unsigned i = 0; i < 5; i++) { /* first what is here alone */
		assert_true(swarm_offer(s, i, &o));
		assert_in_range(o.unit, N - 5, N - 1);
		serve(s, o, i);
		say_has(s, o.peer, o.unit, 1);
	}
	swarm_free(s);
}

static void
the_origin_feeds_the_gateways_of_its_site_before_it_exports(void **state)
{
	struct swarm *s = open_gateway((struct swarm_opts){ .origin = true }, 3, N);
	struct swarm_offer o;
	unsigned near = 0, far = 0;

	(void)state;
	add_at(s, 9, place(OFFICE, 200, 1), true);
	assert_true(swarm_offer(s, 1, &o));
	assert_int_equal(o.peer, 9); /* nobody else could */
	swarm_declined(s, 9, o.unit, SWARM_BUSY, 1, 1);
	add_at(s, 1, place(HQ, 101, 1), false);
	while (swarm_offer(s, 10, &o))
		near += o.peer == 1;
	assert_int_equal(near, swarm_slots(s));
	assert_int_equal(swarm_giving(s), near);
	/* It has no more room: rather than wait the origin exports. */
	assert_true(swarm_peer_news(s, 1, &(struct swarm_news){ .inbound = SWARM_INBOUND }, 11));
	swarm_tick(s, 11 + SWARM_OFFER_US);
	assert_true(swarm_peer_news(
	    s, 1, &(struct swarm_news){ .inbound = SWARM_INBOUND }, 11 + SWARM_OFFER_US));
	while (swarm_offer(s, 11 + SWARM_OFFER_US, &o))
		far += o.peer == 9;
	assert_in_range(far, 2, 8);
	swarm_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_resort_is_of_no_site),
		cmocka_unit_test(the_last_resort_hears_of_this_node_alone_also_from_afar),
		cmocka_unit_test(the_best_candidates_that_are_here_are_gateways),
		cmocka_unit_test(each_unit_is_for_one_gateway_and_a_death_moves_only_its_units),
		cmocka_unit_test(what_was_refused_is_taken_if_the_site_lacks_it_two_seconds_later),
		cmocka_unit_test(a_far_peer_is_told_of_the_site_and_a_near_one_of_this_node),
		cmocka_unit_test(an_export_fills_its_slot_until_it_has_arrived),
		cmocka_unit_test(a_site_that_is_close_does_not_flood_one_that_comes_later),
		cmocka_unit_test(the_far_peer_that_is_responsible_is_offered_a_unit),
		cmocka_unit_test(what_no_other_site_has_goes_first),
		cmocka_unit_test(what_a_gateway_lets_out_it_tells_the_others_at_once),
		cmocka_unit_test(
		    a_gateway_without_a_first_copy_waits_for_those_of_its_site_but_not_long),
		cmocka_unit_test(of_two_gateways_that_hold_a_unit_one_exports_it),
		cmocka_unit_test(what_the_last_resort_has_counts_at_no_site),
		cmocka_unit_test(the_origin_feeds_the_gateways_of_its_site_before_it_exports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
