#include "tests/unit.h"

#include "base/mem.h"
#include "base/rng.h"
#include "engine/nearness.h"

enum { NEAR_US = 5000 };

/* A label, and the times of those who bear it; KNOWN bear it in all. */
struct label {
	struct nearness n;
	uint32_t rtts[64];
	size_t n_rtts, known;
	uint64_t now_ms;
};

static bool
judge(struct label *l)
{
	uint32_t sorted[64];

	memcpy(sorted, l->rtts, sizeof sorted);
	return nearness_judge(&l->n, sorted, l->n_rtts, l->known, NEAR_US, l->now_ms);
}

static void
measure(struct label *l, uint32_t rtt_us)
{
	assert_true(l->n_rtts < lengthof(l->rtts));
	l->rtts[l->n_rtts++] = rtt_us;
	if (l->known < l->n_rtts)
		l->known = l->n_rtts;
}

static void
three_are_asked_before_there_is_a_verdict(void **state)
{
	struct label l = { .known = 5, .now_ms = 1000 };

	(void)state;
	measure(&l, 400);
	assert_false(judge(&l));
	measure(&l, 90 * 1000);
	assert_false(judge(&l));
	assert_int_equal(l.n.belief, NEARNESS_UNDECIDED);
	measure(&l, 5000);
	assert_true(judge(&l));
	assert_int_equal(l.n.belief, NEARNESS_BELIEVED);
	assert_int_equal(l.n.mates, 3);
	assert_int_equal(l.n.near, 2);
	assert_int_equal(l.n.rtt_us, 5000);
	assert_false(judge(&l));
}

static void
where_fewer_bear_it_these_are_asked(void **state)
{
	struct label one = { .known = 1, .now_ms = 1000 }, two = { .known = 2, .now_ms = 1000 };

	(void)state;
	measure(&one, 4000);
	assert_true(judge(&one));
	assert_int_equal(one.n.belief, NEARNESS_BELIEVED);
	measure(&two, 4000);
	measure(&two, 6000); /* half of two is one */
	assert_true(judge(&two));
	assert_int_equal(two.n.belief, NEARNESS_BELIEVED);
}

static void
who_cannot_be_measured_is_waited_for_two_seconds(void **state)
{
	struct label l = { .known = 9, .now_ms = 1000 };

	(void)state;
	measure(&l, 48 * 1000);
	measure(&l, 49 * 1000);
	assert_false(judge(&l));
	l.now_ms += NEARNESS_WAIT_MS - 1;
	assert_false(judge(&l));
	l.now_ms++;
	assert_true(judge(&l));
	assert_int_equal(l.n.belief, NEARNESS_DOUBTED);
}

static void
nobody_measured_is_no_verdict(void **state)
{
	struct label l = { .known = 3, .now_ms = 1000 };

	(void)state;
	assert_false(judge(&l));
	l.now_ms += 1000 * 1000;
	assert_false(judge(&l));
	assert_int_equal(l.n.belief, NEARNESS_UNDECIDED);
}

static void
a_wrong_label_is_doubted_and_a_right_one_is_not(void **state)
{
	struct rng rng;

	(void)state;
	rng_seed(&rng, 4);
	/* An office of 40 and four who only say that they belong to it: whoever is met first. */
	for (int run = 0; run < 200; run++) {
		struct label right = { .known = 44, .now_ms = 1000 }, wrong = right;
		size_t false_ones = rng_below(&rng, 4);
		for (size_t i = 0; i < 40; i++) {
			measure(&right, i % 13 == 5 && false_ones > 0
					    ? 30 * 1000
					    : 300 + (uint32_t)rng_below(&rng, 3000));
			measure(&wrong, 20 * 1000 + (uint32_t)rng_below(&rng, 3000));
			(void)judge(&right);
			(void)judge(&wrong);
		}
		assert_int_equal(right.n.belief, NEARNESS_BELIEVED);
		assert_int_equal(wrong.n.belief, NEARNESS_DOUBTED);
	}
}

static void
a_queue_in_the_way_is_forgiven_as_soon_as_it_is_empty_once(void **state)
{
	struct label l = { .now_ms = 1000 };
	unsigned probes = 0;

	(void)state;
	for (int i = 0; i < 3; i++)
		measure(&l, 100 * 1000);
	assert_true(judge(&l));
	assert_int_equal(l.n.belief, NEARNESS_DOUBTED);
	for (int i = 0; i < 600; i++, l.now_ms += 100) /* a minute of load */
		probes += nearness_probes(&l.n, l.now_ms);
	assert_in_range(probes, 6, 12);
	l.rtts[0] = 800;
	assert_false(judge(&l));
	l.rtts[2] = 900;
	assert_true(judge(&l));
	assert_int_equal(l.n.belief, NEARNESS_BELIEVED);
	assert_false(nearness_probes(&l.n, l.now_ms + 1000 * 1000));
}

static void
what_is_believed_is_not_doubted_for_who_comes_and_goes(void **state)
{
	struct label l = { .now_ms = 1000 };

	(void)state;
	measure(&l, 500);
	measure(&l, 500);
	assert_true(judge(&l));
	for (int round = 0; round < 50; round++) {
		l.n_rtts = l.known = 2;
		for (int i = 0; i < 5; i++)
			measure(&l, 60 * 1000);
		assert_false(judge(&l));
		assert_true(nearness_probes(&l.n, l.now_ms));
		l.now_ms += NEARNESS_HOLD_MS - 1;
		assert_false(judge(&l));
		l.n_rtts = l.known = 2; /* they are gone again */
		l.now_ms += 1;
		assert_false(judge(&l));
		assert_false(nearness_probes(&l.n, l.now_ms));
	}
	assert_int_equal(l.n.belief, NEARNESS_BELIEVED);
}

static void
who_moved_away_is_doubted_after_a_while(void **state)
{
	struct label l = { .now_ms = 1000 };

	(void)state;
	for (int i = 0; i < 4; i++)
		measure(&l, 500);
	assert_true(judge(&l));
	for (int i = 0; i < 3; i++)
		l.rtts[i] = 48 * 1000;
	assert_false(judge(&l));
	l.now_ms += NEARNESS_HOLD_MS;
	assert_true(judge(&l));
	assert_int_equal(l.n.belief, NEARNESS_DOUBTED);
	assert_int_equal(l.n.rtt_us, 48 * 1000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(three_are_asked_before_there_is_a_verdict),
		cmocka_unit_test(where_fewer_bear_it_these_are_asked),
		cmocka_unit_test(who_cannot_be_measured_is_waited_for_two_seconds),
		cmocka_unit_test(nobody_measured_is_no_verdict),
		cmocka_unit_test(a_wrong_label_is_doubted_and_a_right_one_is_not),
		cmocka_unit_test(a_queue_in_the_way_is_forgiven_as_soon_as_it_is_empty_once),
		cmocka_unit_test(what_is_believed_is_not_doubted_for_who_comes_and_goes),
		cmocka_unit_test(who_moved_away_is_doubted_after_a_while),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
