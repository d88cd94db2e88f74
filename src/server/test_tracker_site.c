/* Who is told of whom where there are several sites. */
#include "server/test_tracker_world.h"

static void
enter_at(struct world *w, uint64_t link, uint64_t site)
{
	w->site = site;
	enter(w, link);
}

static const struct tracker_entry *
entry_of(const struct world *w, uint64_t link)
{
	return tracker_find(w->t, link, 7);
}

static void
hear_rate(struct world *w, uint64_t link, uint64_t rate)
{
	const struct msg_news m = { .job = 7, .rate = rate };

	assert_ok(tracker_news(w->t, link, &m, w->now, &unit_error));
}

static bool
speaks(const struct tracker_entry *x)
{
	return x->rank > 0 || x->author;
}

static void
those_who_speak_for_a_site_are_told_of_those_of_others(void **state)
{
	struct world *w = *state;
	enum { EACH = 20, SITES = 3 };

	w->author = 1;
	for (uint64_t i = 1; i <= EACH * SITES; i++)
		enter_at(w, i, 100 + i % SITES);
	free(told(w));
	free(batch(w));
	for (uint64_t i = 1; i <= EACH * SITES; i++) {
		const struct tracker_entry *x = entry_of(w, i);
		assert_true(x->rank <= 2 * SWARM_RANK_GATEWAYS);
		assert_int_equal(x->gateways, x->rank > 0 ? SWARM_RANK_GATEWAYS : 0);
		for (uint64_t j = 1; j <= EACH * SITES; j++) {
			const struct tracker_entry *y = entry_of(w, j);
			bool near = x->site == y->site, far = speaks(x) && speaks(y);
			assert_int_equal(w->knows[i][j], i != j && (near || far) ? place_of(y) : 0);
		}
	}
}

static void
the_publisher_is_told_of_all_who_speak_although_it_holds_everything(void **state)
{
	struct world *w = *state;

	w->author = 1;
	enter_whole(w, 1);
	enter_whole(w, 2);
	enter_at(w, 3, 50);
	auto_free struct told *x = batch(w);
	assert_true(x[1].n_came == 2 && came(&x[1], 3) && came(&x[1], 2));
	assert_true(x[3].n_came == 2 && came(&x[3], 1) && came(&x[3], 2));
	/* It is the second of its site, and so a candidate as well. */
	assert_true(x[2].n_came == 2 && came(&x[2], 3) && came(&x[2], 1));
	tracker_gone(w->t, 3, w->now);
	auto_free struct told *y = batch(w);
	assert_true(left(&y[1], 3) && left(&y[2], 3));
}

static void
a_dead_candidate_is_replaced_and_everybody_told(void **state)
{
	struct world *w = *state;
	uint64_t first = 0;

	for (uint64_t i = 1; i <= 30; i++)
		enter_at(w, i, 9);
	enter_at(w, 31, 10);
	free(told(w));
	free(batch(w));
	for (uint64_t i = 1; i <= 30; i++)
		first = entry_of(w, i)->rank == 1 ? i : first;
	tracker_gone(w->t, first, w->now);
	auto_free struct told *x = batch(w);
	assert_true(left(&x[31], first));
	assert_int_equal(x[31].n_came, 1);   /* the thirteenth */
	assert_int_equal(x[31].n_again, 11); /* moved up */
	assert_true(x[x[31].came[0]].self);
	assert_int_equal(x[x[31].came[0]].rank, 12);
	assert_true(came(&x[x[31].came[0]], 31));
}

static void
who_is_placed_elsewhere_is_told_anew_and_others_of_its_new_place(void **state)
{
	struct world *w = *state;
	const struct device_id two = device(2), nine = device(9);

	for (uint64_t i = 1; i <= 3; i++)
		enter_at(w, i, 9);
	enter_at(w, 4, 10);
	free(told(w));
	free(batch(w));
	assert_ok(news(w, 2, 0, 4, 0, 0));
	tracker_place(w->t, &two, 9, w->now); /* it is there */
	tracker_place(w->t, &nine, 9, w->now);
	auto_free struct told *none = batch(w);
	assert_false(none[2].is || none[1].is);
	tracker_place(w->t, &two, 10, w->now);
	auto_free struct told *x = batch(w);
	assert_true(x[2].whole && x[2].self && x[2].n_came == 3);
	assert_int_equal(x[1].n_again, entry_of(w, 2)->site == 10 ? x[1].n_again : 0);
	for (uint64_t i = 1; i <= 4; i++) {
		if (i != 2)
			assert_int_equal(w->knows[i][2], place_of(entry_of(w, 2)));
	}
	assert_ok(news(w, 2, 4, UNITS - 4, 0, 0)); /* what it has is not forgotten */
	assert_true(entry_of(w, 2)->whole);
}

static void
a_weight_changes_only_after_a_while_and_when_it_doubled(void **state)
{
	struct world *w = *state;
	uint64_t last = 0;

	for (uint64_t i = 1; i <= 4; i++)
		enter_at(w, i, 9);
	free(batch(w));
	for (uint64_t i = 1; i <= 4; i++)
		last = entry_of(w, i)->rank == 4 ? i : last;
	hear_rate(w, last, UINT64_C(1) << 40);
	free(batch(w));
	assert_int_equal(entry_of(w, last)->rank, 4);
	w->now += TRACKER_WEIGH_MS;
	hear_rate(w, last, UINT64_C(1) << 40);
	free(batch(w));
	assert_int_equal(entry_of(w, last)->rank, 1);
	w->now += TRACKER_WEIGH_MS;
	hear_rate(w, last, (UINT64_C(1) << 39) + 1);
	auto_free struct told *x = batch(w);
	for (uint64_t i = 1; i <= 4; i++)
		assert_int_equal(x[i].n_again, 0);
}

static void
who_skips_units_speaks_for_its_site_after_all_others(void **state)
{
	struct world *w = *state;
	uint64_t first = 0;

	for (uint64_t i = 1; i <= 5; i++)
		enter_at(w, i, 9);
	free(batch(w));
	for (uint64_t i = 1; i <= 5; i++)
		first = entry_of(w, i)->rank == 1 ? i : first;
	assert_ok(news(w, first, 0, 0, 3, 1));
	free(batch(w));
	assert_int_equal(entry_of(w, first)->rank, 5);
}

static void
a_known_line_says_how_many_are_gateways(void **state)
{
	struct world *w = *state;
	const uint64_t mib = 1024 * 1024;

	tracker_line(w->t, 9, 4 * mib, w->now);
	for (uint64_t i = 1; i <= 40; i++) {
		enter_at(w, i, 9);
		hear_rate(w, i, 4 * mib);
	}
	free(batch(w));
	assert_int_equal(entry_of(w, 1)->rank > 0 ? entry_of(w, 1)->gateways : 6, 6);
	w->now += TRACKER_WEIGH_MS;
	for (uint64_t i = 1; i <= 40; i++)
		hear_rate(w, i, 4 * mib);
	free(batch(w));
	size_t candidates = 0;
	for (uint64_t i = 1; i <= 40; i++) {
		candidates += entry_of(w, i)->rank > 0;
		if (entry_of(w, i)->rank > 0)
			assert_int_equal(entry_of(w, i)->gateways, 12);
	}
	assert_int_equal(candidates, 24);
	tracker_line(w->t, 9, 0, w->now);
	free(batch(w));
	candidates = 0;
	for (uint64_t i = 1; i <= 40; i++)
		candidates += entry_of(w, i)->rank > 0;
	assert_int_equal(candidates, 2 * SWARM_RANK_GATEWAYS);
}

static void
of_many_sites_each_is_linked_to_some_and_they_to_it(void **state)
{
	struct world *w = *state;

	for (uint64_t i = 1; i <= MANY; i++)
		enter_at(w, i, 1000 + i);
	free(told(w));
	free(batch(w));
	size_t links = 0;
	for (uint64_t i = 1; i <= MANY; i++) {
		size_t own = 0;
		for (uint64_t j = 1; j <= MANY; j++) {
			assert_int_equal(w->knows[i][j] != 0, w->knows[j][i] != 0);
			own += w->knows[i][j] != 0;
		}
		assert_true(own >= TRACKER_LINKS);
		links += own;
	}
	assert_in_range(links, MANY * TRACKER_LINKS, MANY * 3 * TRACKER_LINKS);
	/* All but a few leave, at once: the few find each other. */
	for (uint64_t i = 11; i <= MANY; i++)
		tracker_gone(w->t, i, w->now);
	free(batch(w));
	for (uint64_t i = 1; i <= 10; i++) {
		for (uint64_t j = 1; j <= 10; j++)
			assert_int_equal(w->knows[i][j] != 0, i != j);
	}
}

/* -- whatever happens -- */

enum { N = 140, SITES = 6, ROUNDS = 80 };

struct model {
	struct rng rng;
	size_t members[SITES];
};

/* Of its own site one who wants something knows all, or of many all candidates and enough others;
 * who does not, if it speaks, the candidates; of other sites, if it speaks, all who speak, else
 * nobody; and all places as they are. */
static void
check_view(const struct world *w, const struct model *m, uint64_t link)
{
	const struct tracker_entry *x = entry_of(w, link);
	size_t near = 0, others = m->members[x->site] - 1;

	for (uint64_t i = 1; i <= N; i++) {
		const struct tracker_entry *y = entry_of(w, i);
		unsigned known = w->knows[link][i];
		if (i == link || y == NULL) {
			assert_int_equal(known, 0);
			continue;
		}
		bool is_near = x->site == y->site;
		if (known != 0)
			assert_int_equal(known, place_of(y));
		if (is_near && x->whole) /* of the site's speakers, if it is one */
			assert_int_equal(known != 0, speaks(x) && y->rank > 0);
		if (!is_near)
			assert_int_equal(known != 0, speaks(x) && speaks(y));
		if (is_near && !x->whole && y->rank > 0)
			assert_int_not_equal(known, 0);
		near += is_near && known != 0;
	}
	/* Drawn at random one may be missing now and then. */
	if (!x->whole && others <= TRACKER_VIEW)
		assert_int_equal(near, others);
	else if (!x->whole)
		assert_true(near + 2 >= TRACKER_RANDOM + 2 * SWARM_RANK_GATEWAYS - 1);
}

static void
check_ranks(const struct world *w, const struct model *m)
{
	bool taken[SITES][SWARM_RANK_MAX + 1] = { { false } };
	size_t n[SITES] = { 0 };

	for (uint64_t i = 1; i <= N; i++) {
		const struct tracker_entry *x = entry_of(w, i);
		if (x == NULL || x->rank == 0)
			continue;
		assert_false(taken[x->site][x->rank]);
		taken[x->site][x->rank] = true;
		assert_int_equal(
		    x->gateways, min_of((size_t)SWARM_RANK_GATEWAYS, m->members[x->site]));
		n[x->site]++;
	}
	for (size_t s = 0; s < SITES; s++)
		assert_int_equal(n[s], min_of((size_t)2 * SWARM_RANK_GATEWAYS, m->members[s]));
}

/* It is told no more of its own site: what it knew grows old. */
static void
become_whole(struct world *w, uint64_t link)
{
	bool was = entry_of(w, link)->whole;

	assert_ok(news(w, link, 0, UNITS, 0, 0));
	for (uint64_t i = 1; i <= N; i++) {
		if (!was && w->knows[link][i] / 10000 == entry_of(w, link)->site)
			w->knows[link][i] = 0;
	}
}

static void
happen(struct world *w, struct model *m)
{
	uint64_t i = 1 + rng_below(&m->rng, N);
	/* The first site is large. */
	uint64_t site = rng_below(&m->rng, 2) == 0 ? 0 : rng_below(&m->rng, SITES);
	const struct device_id id = device(i);

	switch (rng_below(&m->rng, 8)) {
	case 0:
	case 1:
	case 2:
		tracker_gone(w->t, i, w->now); /* a device is at one site */
		enter_at(w, i, site);
		break;
	case 3:
		if (entry_of(w, i) != NULL)
			become_whole(w, i);
		break;
	case 4:
		tracker_place(w->t, &id, site, w->now);
		break;
	case 5:
		if (entry_of(w, i) != NULL)
			hear_rate(w, i, UINT64_C(1) << (10 + rng_below(&m->rng, 30)));
		break;
	case 6:
		if (entry_of(w, i) != NULL)
			assert_ok(news(w, i, 0, 0, 1, 1));
		break;
	default:
		tracker_gone(w->t, i, w->now);
	}
}

static void
views_follow_whatever_comes_goes_and_moves(void **state)
{
	struct world *w = *state;
	struct model m = { 0 };

	rng_seed(&m.rng, 5);
	w->author = 17;
	for (uint64_t i = 1; i <= N; i++)
		enter_at(w, i, 0);
	for (size_t round = 0; round < ROUNDS; round++) {
		for (size_t k = 0; k < 15; k++)
			happen(w, &m);
		w->now += rng_below(&m.rng, 2) * TRACKER_WEIGH_MS;
		free(batch(w));
		memset(m.members, 0, sizeof m.members);
		for (uint64_t i = 1; i <= N; i++) {
			if (entry_of(w, i) != NULL)
				m.members[entry_of(w, i)->site]++;
		}
		check_ranks(w, &m);
		for (uint64_t i = 1; i <= N; i++) {
			if (entry_of(w, i) != NULL)
				check_view(w, &m, i);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(those_who_speak_for_a_site_are_told_of_those_of_others),
		TEST(the_publisher_is_told_of_all_who_speak_although_it_holds_everything),
		TEST(a_dead_candidate_is_replaced_and_everybody_told),
		TEST(who_is_placed_elsewhere_is_told_anew_and_others_of_its_new_place),
		TEST(a_weight_changes_only_after_a_while_and_when_it_doubled),
		TEST(who_skips_units_speaks_for_its_site_after_all_others),
		TEST(a_known_line_says_how_many_are_gateways),
		TEST(of_many_sites_each_is_linked_to_some_and_they_to_it),
		TEST(views_follow_whatever_comes_goes_and_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
