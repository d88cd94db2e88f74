#include "tests/unit.h"

#include "base/mem.h"
#include "base/rng.h"
#include "net/rate.h"

enum { SECOND = 1000, START = 77 };

/* Moves pieces of PIECE bytes as soon as it may, until END; how many bytes went. */
static uint64_t
move(struct rate *r, uint64_t from, uint64_t end, size_t piece)
{
	uint64_t moved = 0;

	for (uint64_t now = from; now < end; now += rate_wait_ms(r)) {
		while (rate_has(r, now)) {
			rate_take(r, piece);
			moved += piece;
		}
	}
	return moved;
}

static void
what_moves_is_the_rate_whatever_the_pieces(void **state)
{
	static const uint64_t rates[] = { 1000, RATE_MIN, 6250000, 125000000, RATE_MAX };
	static const size_t pieces[] = { 1000, 16 * 1024, 64 * 1024 };

	(void)state;
	for (size_t i = 0; i < lengthof(rates); i++)
		for (size_t j = 0; j < lengthof(pieces); j++) {
			struct rate r;
			/* the slow ones need longer to be seen, and no run is too long to run */
			uint64_t seconds = rates[i] < 100000       ? 100000
					   : rates[i] > 1000000000 ? 1
								   : 10;
			size_t piece = max_of(pieces[j], (size_t)(rates[i] / 100000));
			rate_init(&r, rates[i], START);
			uint64_t got = move(&r, START, START + seconds * SECOND, piece),
				 want = rates[i] * seconds;
			uint64_t off = got > want ? got - want : want - got;
			if (off > want / 100 + piece)
				unit_fail("%llu bytes/s, pieces of %zu: %llu instead of %llu",
				    (unsigned long long)rates[i], piece, (unsigned long long)got,
				    (unsigned long long)want);
		}
}

static void
it_starts_empty_and_keeps_what_is_unused_for_a_moment(void **state)
{
	struct rate r;
	uint64_t moved = 0;

	(void)state;
	rate_init(&r, 100000, START);
	assert_false(rate_has(&r, START));
	assert_true(rate_has(&r, START + 3600 * SECOND));
	while (rate_has(&r, START + 3600 * SECOND)) {
		rate_take(&r, 10);
		moved += 10;
	}
	assert_int_equal(moved, 100000 * RATE_BURST_MS / 1000);
}

static void
a_debt_is_paid_before_anything_moves(void **state)
{
	struct rate r;

	(void)state;
	rate_init(&r, 1000, START);
	assert_true(rate_has(&r, START + 1));
	rate_take(&r, 2001); /* one was there */
	assert_false(rate_has(&r, START + 1));
	assert_int_equal(rate_wait_ms(&r), 2001);
	assert_false(rate_has(&r, START + 2001));
	assert_int_equal(rate_wait_ms(&r), 1);
	assert_true(rate_has(&r, START + 2002));
}

static void
time_that_stands_still_or_goes_back_gives_nothing(void **state)
{
	struct rate r;

	(void)state;
	rate_init(&r, 1000, START);
	assert_false(rate_has(&r, START));
	assert_false(rate_has(&r, 0));
	assert_true(rate_has(&r, START + 1));
	rate_take(&r, 1);
	assert_false(rate_has(&r, START + 1));
	assert_false(rate_has(&r, START - 1));
}

static void
no_limit_never_waits(void **state)
{
	struct rate r;

	(void)state;
	rate_init(&r, 0, START);
	for (int i = 0; i < 10; i++) {
		assert_true(rate_has(&r, START));
		rate_take(&r, SIZE_MAX / 2);
	}
}

static void
a_change_keeps_the_debt_and_caps_what_was_kept(void **state)
{
	struct rate r;

	(void)state;
	rate_init(&r, 100000, START);
	assert_true(rate_has(&r, START + SECOND));
	rate_take(&r, 105000); /* 5000 were kept */
	rate_change(&r, 200000, START + SECOND);
	assert_false(rate_has(&r, START + SECOND + 400));
	assert_true(rate_has(&r, START + SECOND + 501));
	assert_true(rate_has(&r, START + 3 * SECOND));
	rate_change(&r, 1000, START + 3 * SECOND);
	rate_take(&r, 51); /* of 50 */
	assert_false(rate_has(&r, START + 3 * SECOND));
	rate_change(&r, 0, START + 3 * SECOND);
	assert_true(rate_has(&r, START + 3 * SECOND));
	rate_change(&r, 1000, START + 4 * SECOND);
	assert_false(rate_has(&r, START + 4 * SECOND));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_moves_is_the_rate_whatever_the_pieces),
		cmocka_unit_test(it_starts_empty_and_keeps_what_is_unused_for_a_moment),
		cmocka_unit_test(a_debt_is_paid_before_anything_moves),
		cmocka_unit_test(time_that_stands_still_or_goes_back_gives_nothing),
		cmocka_unit_test(no_limit_never_waits),
		cmocka_unit_test(a_change_keeps_the_debt_and_caps_what_was_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
