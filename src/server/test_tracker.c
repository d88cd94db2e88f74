#include "server/test_tracker_world.h"

static void
who_wants_something_is_told_of_all_at_once_and_of_newcomers_in_batches(void **state)
{
	struct world *w = *state;

	enter_whole(w, 1);
	enter(w, 2);
	auto_free struct told *first = told(w);
	assert_false(first[1].is);
	assert_true(first[2].is && first[2].whole && first[2].n_came == 1 && came(&first[2], 1));
	enter(w, 3);
	enter_whole(w, 4);
	auto_free struct told *second = told(w);
	assert_true(second[3].whole && second[3].n_came == 3);
	assert_false(second[1].is || second[2].is || second[4].is);
	auto_free struct told *third = batch(w);
	assert_true(third[2].is && !third[2].whole && third[2].n_came == 2);
	assert_true(came(&third[2], 3) && came(&third[2], 4));
	assert_false(third[1].is || third[3].is || third[4].is);
	auto_free struct told *none = batch(w);
	for (size_t i = 0; i <= MANY; i++)
		assert_false(none[i].is);
	assert_true(tracker_wakes(w->t) == UINT64_MAX);
}

static void
who_is_alone_is_told_that_too(void **state)
{
	struct world *w = *state;

	enter(w, 1);
	auto_free struct told *x = told(w);
	assert_true(x[1].whole && x[1].n_came == 0);
}

static void
who_has_left_is_told_to_those_who_knew_and_to_nobody_else(void **state)
{
	struct world *w = *state;

	enter(w, 1);
	enter(w, 2);
	free(batch(w));
	enter_whole(w, 3);
	tracker_gone(w->t, 3, w->now); /* nobody has heard of it */
	tracker_exit(w->t, 2, 7, w->now);
	tracker_exit(w->t, 2, 8, w->now); /* no such job */
	auto_free struct told *x = batch(w);
	assert_true(x[1].n_left == 1 && left(&x[1], 2) && x[1].n_came == 0);
	assert_false(x[2].is || x[3].is);
	assert_null(tracker_find(w->t, 2, 7));
	tracker_gone(w->t, 1, w->now);
	assert_int_equal(tracker_count(w->t, &w->share, &w->snapshot).wanting, 0);
	free(batch(w));
	assert_true(tracker_wakes(w->t) == UINT64_MAX);
}

static void
what_is_held_and_what_is_not_wanted_make_it_whole(void **state)
{
	struct world *w = *state;

	enter(w, 1);
	free(told(w));
	assert_ok(news(w, 1, 0, 6, 8, 2));
	assert_false(tracker_find(w->t, 1, 7)->whole);
	assert_ok(news(w, 1, 5, 2, 0, 0)); /* one of them again */
	assert_false(tracker_find(w->t, 1, 7)->whole);
	assert_ok(news(w, 1, 7, 1, 0, 0));
	assert_true(tracker_find(w->t, 1, 7)->whole);
	assert_int_equal(tracker_count(w->t, &w->share, &w->snapshot).whole, 1);
	enter(w, 2); /* it is not told of that */
	free(told(w));
	auto_free struct told *x = batch(w);
	assert_false(x[1].is);
}

static void
what_was_lost_is_wanted_again_until_all_was_held_once(void **state)
{
	struct world *w = *state;
	auto_buf struct buf lost = BUF(64);
	uint32_t next = 0;

	message_units_add(&lost, &next, 3, 1);
	const struct msg_news drop = { .job = 7, .drop = buf_bytes(&lost) };
	enter(w, 1);
	assert_ok(news(w, 1, 0, 9, 0, 0));
	assert_ok(tracker_news(w->t, 1, &drop, w->now, &unit_error));
	assert_ok(news(w, 1, 9, 1, 0, 0));
	assert_false(tracker_find(w->t, 1, 7)->whole);
	assert_ok(news(w, 1, 3, 1, 0, 0));
	assert_true(tracker_find(w->t, 1, 7)->whole);
	assert_ok(tracker_news(w->t, 1, &drop, w->now, &unit_error));
	assert_true(tracker_find(w->t, 1, 7)->whole);
	enter(w, 1); /* anew */
	assert_false(tracker_find(w->t, 1, 7)->whole);
}

static void
news_of_units_that_there_are_not_is_refused(void **state)
{
	struct world *w = *state;

	enter(w, 1);
	assert_err(ERR_PROTO, news(w, 1, 9, 2, 0, 0));
	assert_err(ERR_PROTO, news(w, 1, 0, UNITS + 1, 0, 0));
	assert_err(ERR_PROTO, news(w, 1, UINT32_MAX - 1, 1, 0, 0));
	enter_as(w, 2, 2, 7, 0); /* without a manifest */
	assert_err(ERR_PROTO, news(w, 2, 0, 1, 0, 0));
	assert_ok(news(w, 3, 0, 1, 0, 0)); /* of a job that is none: late, not wrong */
}

static void
a_second_enter_replaces_the_first_and_others_notice_nothing(void **state)
{
	struct world *w = *state;

	enter(w, 1);
	enter_as(w, 2, 2, 7, 0);
	free(batch(w));
	enter_as(w, 2, 2, 9, UNITS); /* the same snapshot by another number */
	assert_null(tracker_find(w->t, 2, 7));
	assert_int_equal(tracker_find(w->t, 2, 9)->units, UNITS);
	assert_int_equal(tracker_count(w->t, &w->share, &w->snapshot).wanting, 2);
	auto_free struct told *x = batch(w);
	assert_false(x[1].is);
	assert_true(x[2].whole && came(&x[2], 1));
	w->snapshot.bytes[0]++; /* another snapshot by the same number */
	enter_as(w, 2, 2, 9, UNITS);
	w->snapshot.bytes[0]--;
	assert_int_equal(tracker_count(w->t, &w->share, &w->snapshot).wanting, 1);
}

static void
a_device_with_two_connections_is_one_until_both_are_gone(void **state)
{
	struct world *w = *state;

	enter(w, 1);
	enter_as(w, 2, 9, 7, UNITS);
	enter_as(w, 3, 9, 7, UNITS);
	auto_free struct told *x = batch(w);
	assert_int_equal(x[1].n_came, 1);
	assert_true(x[2].n_came == 1 && came(&x[2], 1)); /* not itself */
	tracker_gone(w->t, x[1].came[0], w->now);
	auto_free struct told *one = batch(w);
	assert_false(one[1].is);
	const struct device_id nine = device(9);
	assert_int_equal(tracker_link_of(w->t, &nine, &w->share, &w->snapshot), 5 - x[1].came[0]);
	tracker_gone(w->t, 5 - x[1].came[0], w->now);
	assert_int_equal(tracker_link_of(w->t, &nine, &w->share, &w->snapshot), 0);
	auto_free struct told *both = batch(w);
	assert_true(both[1].n_left == 1 && left(&both[1], 9));
}

static void
of_many_a_view_has_few_some_of_them_whole_and_is_filled_up_again(void **state)
{
	struct world *w = *state;

	for (uint64_t i = 1; i <= 20; i++)
		enter_whole(w, i);
	for (uint64_t i = 21; i <= MANY; i++)
		enter(w, i);
	free(told(w));
	free(batch(w));
	enter(w, 21); /* anew: the last of all */
	auto_free struct told *x = told(w);
	assert_in_range(x[21].n_came, TRACKER_RANDOM + 2 * SWARM_RANK_GATEWAYS - 1,
	    TRACKER_RANDOM + 2 * SWARM_RANK_GATEWAYS);
	uint64_t seen[MANY + 1] = { 0 };
	size_t whole = 0;
	for (size_t i = 0; i < x[21].n_came; i++) {
		assert_int_equal(seen[x[21].came[i]]++, 0);
		assert_int_not_equal(x[21].came[i], 21);
		whole += x[21].came[i] <= 20;
	}
	assert_true(whole >= TRACKER_SEEDS);
	/* Five of them leave: five others come. */
	free(batch(w));
	for (size_t i = 0; i < 5; i++)
		tracker_gone(w->t, x[21].came[i], w->now);
	auto_free struct told *y = batch(w);
	assert_int_equal(y[21].n_left, 5);
	assert_int_equal(y[21].n_came, 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(seen[y[21].came[i]], 0);
}

static bool
is_odd(void *ctx, const struct tracker_entry *x)
{
	(void)ctx;
	return x->link % 2 == 1;
}

static void
whose_right_has_ended_has_left(void **state)
{
	struct world *w = *state;
	struct hash_id other = w->share;

	for (uint64_t i = 1; i <= 5; i++)
		enter(w, i);
	free(batch(w));
	other.bytes[9]++;
	tracker_judge(w->t, &other, NULL, is_odd, NULL, w->now);
	tracker_judge(w->t, NULL, &other, is_odd, NULL, w->now);
	assert_int_equal(tracker_count(w->t, &w->share, &w->snapshot).wanting, 5);
	tracker_judge(w->t, &w->share, &w->snapshot, is_odd, NULL, w->now);
	assert_int_equal(tracker_count(w->t, &w->share, &w->snapshot).wanting, 3);
	auto_free struct told *x = batch(w);
	for (uint64_t i = 1; i <= 5; i += 2)
		assert_true(x[i].n_left == 2 && left(&x[i], 2) && left(&x[i], 4));
	assert_false(x[2].is || x[4].is);
}

static void
only_who_takes_part_in_the_same_meets(void **state)
{
	struct world *w = *state;
	const struct device_id two = device(2), three = device(3), one = device(1),
			       four = device(4);

	enter(w, 1);
	enter_whole(w, 2);
	w->snapshot.bytes[0]++;
	enter_as(w, 3, 3, 1, UNITS);
	enter_as(w, 2, 2, 1, UNITS);
	assert_int_equal(tracker_meets(w->t, 1, &two), 2);
	assert_int_equal(tracker_meets(w->t, 2, &one), 1);
	assert_int_equal(tracker_meets(w->t, 2, &three), 3);
	assert_int_equal(tracker_meets(w->t, 1, &three), 0);
	assert_int_equal(tracker_meets(w->t, 1, &one), 0); /* itself */
	assert_int_equal(tracker_meets(w->t, 1, &four) + tracker_meets(w->t, 4, &one), 0);
	tracker_exit(w->t, 2, 1, w->now);
	assert_int_equal(tracker_meets(w->t, 2, &three), 0);
}

static void
a_connection_takes_part_in_so_many_snapshots_and_units_only(void **state)
{
	struct world *w = *state;
	const struct tracker_who id = { .device = device(1) };
	struct msg_enter m = { .share = w->share, .snapshot = w->snapshot, .units = UNITS };

	for (uint32_t i = 1; i <= TRACKER_JOBS_MAX + 1; i++) {
		m.job = i;
		memcpy(m.snapshot.bytes, &i, sizeof i);
		enum err r = tracker_enter(w->t, 1, &id, &m, w->now, &unit_error);
		assert_int_equal(r, i <= TRACKER_JOBS_MAX ? OK : ERR_LIMIT);
	}
	assert_null(tracker_find(w->t, 1, TRACKER_JOBS_MAX + 1));
	assert_non_null(tracker_find(w->t, 1, TRACKER_JOBS_MAX));
	/* Units count once something is told of them that is not all. */
	enter_as(w, 2, 2, 7, TRACKER_UNITS_MAX);
	assert_ok(news(w, 2, 1, 1, 0, 0));
	w->snapshot.bytes[5]++;
	enter_as(w, 2, 2, 8, 1);
	enter_as(w, 2, 2, 7, TRACKER_UNITS_MAX); /* of another snapshot now: the bits are free */
	assert_ok(news(w, 2, 1, 1, 0, 0));
	w->snapshot.bytes[5]++;
	const struct msg_enter more = {
		.job = 9, .share = w->share, .snapshot = w->snapshot, .units = 2
	};
	const struct tracker_who two = { .device = device(2) };
	assert_ok(tracker_enter(w->t, 2, &two, &more, w->now, &unit_error));
	auto_buf struct buf have = BUF(64);
	uint32_t next = 0;
	message_units_add(&have, &next, 0, 1);
	const struct msg_news part = { .job = 9, .have = buf_bytes(&have) };
	assert_err(ERR_LIMIT, tracker_news(w->t, 2, &part, w->now, &unit_error));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(who_wants_something_is_told_of_all_at_once_and_of_newcomers_in_batches),
		TEST(who_is_alone_is_told_that_too),
		TEST(who_has_left_is_told_to_those_who_knew_and_to_nobody_else),
		TEST(what_is_held_and_what_is_not_wanted_make_it_whole),
		TEST(what_was_lost_is_wanted_again_until_all_was_held_once),
		TEST(news_of_units_that_there_are_not_is_refused),
		TEST(a_second_enter_replaces_the_first_and_others_notice_nothing),
		TEST(a_device_with_two_connections_is_one_until_both_are_gone),
		TEST(of_many_a_view_has_few_some_of_them_whole_and_is_filled_up_again),
		TEST(whose_right_has_ended_has_left),
		TEST(only_who_takes_part_in_the_same_meets),
		TEST(a_connection_takes_part_in_so_many_snapshots_and_units_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
