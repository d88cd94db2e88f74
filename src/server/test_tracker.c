#include "tests/unit.h"

#include "base/array.h"
#include "base/rng.h"
#include "server/tracker.h"

enum { UNITS = 10, MANY = 300 };

/* Links are numbered from 1; link N is of device N, unless a test says otherwise. */
struct world {
	struct tracker *t;
	uint64_t now;
	struct hash_id share, snapshot;
};

static struct device_id
device(uint64_t n)
{
	struct device_id id = { { 0 } };

	memcpy(id.bytes, &n, sizeof n);
	return id;
}

static int
set_up(void **state)
{
	struct world *w = mem_new(struct world);

	w->t = tracker_new(1);
	w->now = 1000;
	w->share = (struct hash_id){ .alg = 1, .bytes = { 1 } };
	w->snapshot = (struct hash_id){ .alg = 1, .bytes = { 2 } };
	*state = w;
	return 0;
}

static int
tear_down(void **state)
{
	struct world *w = *state;

	tracker_free(w->t);
	free(w);
	return 0;
}

static void
enter_as(struct world *w, uint64_t link, uint64_t who, uint32_t job, uint32_t units)
{
	const struct device_id id = device(who);
	const struct msg_enter m = {
		.job = job, .share = w->share, .snapshot = w->snapshot, .units = units
	};

	assert_ok(tracker_enter(w->t, link, &id, &m, w->now, &unit_error));
}

static void
enter(struct world *w, uint64_t link)
{
	enter_as(w, link, link, 7, UNITS);
}

static enum err
news(struct world *w, uint64_t link, uint32_t have, uint32_t n_have, uint32_t skip, uint32_t n_skip)
{
	auto_buf struct buf haves = BUF(64), skips = BUF(64);
	uint32_t next = 0;

	if (n_have > 0)
		message_units_add(&haves, &next, have, n_have);
	next = 0;
	if (n_skip > 0)
		message_units_add(&skips, &next, skip, n_skip);
	const struct msg_news m = {
		.job = 7, .have = buf_bytes(&haves), .skip = buf_bytes(&skips)
	};
	return tracker_news(w->t, link, &m, &unit_error);
}

static void
enter_whole(struct world *w, uint64_t link)
{
	enter(w, link);
	assert_ok(news(w, link, 0, UNITS, 0, 0));
}

/* What was told since the last look: at most one message a link. */
struct told {
	bool is, whole;
	size_t n_came, n_left;
	uint64_t came[TRACKER_VIEW];
	struct device_id left[TRACKER_VIEW];
};

static struct told *
told(struct world *w)
{
	struct told *all = mem_array(struct told, MANY + 1);
	struct tracker_told x;

	while (tracker_next(w->t, w->now, &x)) {
		assert_true(x.link <= MANY && hash_id_equal(x.share, &w->share) &&
			    hash_id_equal(x.snapshot, &w->snapshot));
		struct told *to = &all[x.link];
		assert_false(to->is && !x.whole && x.n_came > 0 && to->n_came == TRACKER_VIEW);
		to->is = true;
		to->whole |= x.whole;
		for (size_t i = 0; i < x.n_came; i++)
			to->came[to->n_came++] = x.came[i];
		for (size_t i = 0; i < x.n_left; i++)
			to->left[to->n_left++] = x.left[i];
	}
	return all;
}

static struct told *
batch(struct world *w)
{
	w->now += TRACKER_BATCH_MS;
	return told(w);
}

static bool
came(const struct told *to, uint64_t link)
{
	for (size_t i = 0; i < to->n_came; i++) {
		if (to->came[i] == link)
			return true;
	}
	return false;
}

static bool
left(const struct told *to, uint64_t who)
{
	const struct device_id id = device(who);

	for (size_t i = 0; i < to->n_left; i++) {
		if (device_id_equal(&to->left[i], &id))
			return true;
	}
	return false;
}

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
	assert_ok(tracker_news(w->t, 1, &drop, &unit_error));
	assert_ok(news(w, 1, 9, 1, 0, 0));
	assert_false(tracker_find(w->t, 1, 7)->whole);
	assert_ok(news(w, 1, 3, 1, 0, 0));
	assert_true(tracker_find(w->t, 1, 7)->whole);
	assert_ok(tracker_news(w->t, 1, &drop, &unit_error));
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
	assert_int_equal(x[21].n_came, TRACKER_VIEW);
	uint64_t seen[MANY + 1] = { 0 };
	size_t whole = 0;
	for (size_t i = 0; i < TRACKER_VIEW; i++) {
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
	const struct device_id id = device(1);
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
	const struct device_id two = device(2);
	assert_ok(tracker_enter(w->t, 2, &two, &more, w->now, &unit_error));
	auto_buf struct buf have = BUF(64);
	uint32_t next = 0;
	message_units_add(&have, &next, 0, 1);
	const struct msg_news part = { .job = 9, .have = buf_bytes(&have) };
	assert_err(ERR_LIMIT, tracker_news(w->t, 2, &part, &unit_error));
}

/* Whatever happens: who wants something knows of min(64, others), of nobody who has gone for longer
 * than a batch, and of nobody twice. */
static void
check_view(const uint8_t *known, const bool *is_in, size_t n, uint64_t self)
{
	size_t seen = 0, others = 0;

	for (uint64_t i = 1; i <= n; i++) {
		if (i == self)
			continue;
		assert_true(known[i] <= 1);
		assert_true(known[i] == 0 || is_in[i]);
		seen += known[i];
		others += is_in[i];
	}
	assert_true(seen <= TRACKER_VIEW);
	/* Drawn at random one may be missing now and then. */
	assert_true(seen + 2 >= min_of(others, (size_t)TRACKER_VIEW));
}

static void
views_follow_whatever_comes_and_goes(void **state)
{
	struct world *w = *state;
	enum { N = 100, ROUNDS = 60 };
	auto_free uint8_t(*known)[N + 1] = mem_zalloc_array(N + 1, sizeof *known);
	bool is_in[N + 1] = { false }, wants[N + 1] = { false };
	struct rng rng;

	rng_seed(&rng, 5);
	for (size_t round = 0; round < ROUNDS; round++) {
		for (size_t k = 0; k < 15; k++) {
			uint64_t i = 1 + rng_below(&rng, N);
			switch (rng_below(&rng, 4)) {
			case 0:
			case 1:
				enter(w, i);
				is_in[i] = wants[i] = true;
				break;
			case 2:
				if (is_in[i])
					assert_ok(news(w, i, 0, UNITS, 0, 0));
				wants[i] = false;
				break;
			default:
				tracker_gone(w->t, i, w->now);
				is_in[i] = wants[i] = false;
			}
		}
		auto_free struct told *x = batch(w);
		for (uint64_t i = 1; i <= N; i++) {
			if (x[i].whole)
				memset(known[i], 0, sizeof known[i]);
			for (uint64_t j = 1; j <= N; j++)
				known[i][j] =
				    (uint8_t)((left(&x[i], j) ? 0 : known[i][j]) + came(&x[i], j));
			if (wants[i])
				check_view(known[i], is_in, N, i);
		}
	}
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
		TEST(views_follow_whatever_comes_and_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
