/* What one swarm tells of itself and hears of others. */
#include "swarm/test_swarm_one.h"

/* What A tells is told to B, until there is no more. */
static unsigned
pass_news(struct swarm *a, uint64_t b_in_a, struct swarm *b, uint64_t a_in_b, uint64_t now_us)
{
	struct swarm_news news;
	unsigned n = 0;

	for (; swarm_tell(a, b_in_a, now_us, &news); n++)
		assert_true(swarm_peer_news(b, a_in_b, &news, 0));
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
	swarm_peer_add(a, 1, &(struct swarm_peer_opts){ .last_resort = false }, 0);
	swarm_peer_add(b, 2, &(struct swarm_peer_opts){ .last_resort = false }, 0);
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
	swarm_peer_add(a, 1, &(struct swarm_peer_opts){ .last_resort = false }, 0);
	swarm_peer_add(b, 2, &(struct swarm_peer_opts){ .last_resort = false }, 0);
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
		assert_false(swarm_peer_news(
		    s, 1, &(struct swarm_news){ .have = &runs[i], .n_have = 1 }, 0));
		assert_false(swarm_peer_news(
		    s, 1, &(struct swarm_news){ .await = &runs[i], .n_await = 1 }, 0));
		assert_false(swarm_peer_news(
		    s, 1, &(struct swarm_news){ .drop = &runs[i], .n_drop = 1 }, 0));
		assert_false(swarm_peer_news(
		    s, 1, &(struct swarm_news){ .skip = &runs[i], .n_skip = 1 }, 0));
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
	swarm_peer_add(s, 2, &(struct swarm_peer_opts){ .last_resort = true }, 100 * S);
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
		cmocka_unit_test(a_new_peer_is_told_everything_however_scattered),
		cmocka_unit_test(changes_are_told_in_batches_as_they_are_then),
		cmocka_unit_test(who_fell_behind_is_told_everything_anew),
		cmocka_unit_test(news_of_units_that_do_not_exist_are_refused),
		cmocka_unit_test(hunger_is_told_at_once_and_only_where_there_is_a_last_resort),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
