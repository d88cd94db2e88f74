#include "tests/unit.h"

#include "base/mem.h"
#include "engine/shrink.h"

enum { MB = 1000 * 1000 };

struct fixture {
	struct shrink s;
	uint64_t now_ms, out;
};

/* MS go by with something to send, HELD of them by the line, at RATE. */
static void
go(struct fixture *f, uint64_t ms, uint64_t held, uint64_t rate)
{
	struct shrink_line l = { f->now_ms, f->out, true, true, held > 0 };

	shrink_line(&f->s, &l);
	for (uint64_t i = 1; i <= ms; i++) {
		l.now_ms = ++f->now_ms;
		l.out = f->out += rate / 1000;
		l.is_held = i < held;
		shrink_line(&f->s, &l);
	}
}

static void
idle(struct fixture *f, uint64_t ms)
{
	struct shrink_line l = { f->now_ms, f->out, true, false, false };

	shrink_line(&f->s, &l);
	l.now_ms = f->now_ms += ms;
	shrink_line(&f->s, &l);
}

static void
packed(struct fixture *f, uint64_t speed)
{
	const struct shrink_result r = { MB, (uint64_t)MB * 1000000 / speed, false };

	shrink_packed(&f->s, &r);
}

static void
it_is_on_where_the_line_is_held_and_slow_beside_packing(void **state)
{
	static const struct {
		uint64_t held, rate, speed; /* ms of a look, bytes a second */
		bool on;
	} cases[] = {
		{ 200, 2 * MB, 0, true }, { 160, 2 * MB, 0, true },
		{ 140, 2 * MB, 0, false }, /* it waits for us as well */
		{ 0, 2 * MB, 0, false }, { 200, 120 * MB, 0, true },
		{ 200, 129 * MB, 0, false }, /* too fast to be worth it */
		{ 200, 100 * MB, 400 * MB, true },
		{ 200, 100 * MB, 250 * MB, false }, /* packing would be in the way */
		{ 200, 0, 0, true },                /* stands still */
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		struct fixture f = { .now_ms = 5000, .s.speed = cases[i].speed };
		go(&f, SHRINK_LOOK_MS - 1, cases[i].held, cases[i].rate);
		assert_false(f.s.on); /* not before it has looked */
		go(&f, 1, cases[i].held == SHRINK_LOOK_MS, cases[i].rate);
		if (f.s.on != cases[i].on)
			unit_fail("case %zu: %s", i, f.s.on ? "on" : "off");
	}
}

static struct fixture
fixture_on(void)
{
	struct fixture f = { .now_ms = 5000 };

	go(&f, SHRINK_LOOK_MS, SHRINK_LOOK_MS, 2 * MB);
	assert_true(f.s.on);
	return f;
}

static void
once_on_it_takes_more_to_end_it(void **state)
{
	static const struct {
		uint64_t held, rate, speed;
		bool on;
	} cases[] = {
		{ 140, 2 * MB, 400 * MB, true },
		{ 60, 2 * MB, 400 * MB, true },
		{ 40, 2 * MB, 400 * MB, false },
		{ 200, 150 * MB, 400 * MB, true },
		{ 200, 170 * MB, 800 * MB, false },
		{ 200, 100 * MB, 250 * MB, true },
		{ 200, 100 * MB, 190 * MB, false },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		struct fixture f = fixture_on();
		f.s.speed = cases[i].speed;
		go(&f, SHRINK_LOOK_MS, cases[i].held, cases[i].rate);
		if (f.s.on != cases[i].on)
			unit_fail("case %zu: %s", i, f.s.on ? "on" : "off");
	}
}

static void
packing_that_was_too_slow_is_tried_again_later_only(void **state)
{
	struct fixture f = fixture_on();

	(void)state;
	for (int i = 0; i < 50; i++)
		packed(&f, 3 * MB);
	go(&f, SHRINK_LOOK_MS, SHRINK_LOOK_MS, 2 * MB);
	assert_false(f.s.on);
	go(&f, SHRINK_REST_MS - SHRINK_LOOK_MS, SHRINK_REST_MS - SHRINK_LOOK_MS, 2 * MB);
	assert_false(f.s.on);
	go(&f, SHRINK_LOOK_MS, SHRINK_LOOK_MS, 2 * MB);
	assert_true(f.s.on);
}

static void
time_with_nothing_to_send_says_nothing(void **state)
{
	struct fixture f = { .now_ms = 5000 };

	(void)state;
	for (int i = 0; i < 10; i++) {
		go(&f, SHRINK_LOOK_MS / 10, SHRINK_LOOK_MS / 10, 2 * MB);
		assert_int_equal(f.s.on, i == 9);
		idle(&f, 1000);
	}
	idle(&f, 3600 * 1000);
	assert_true(f.s.on);
}

/* The connection had taken all of it long before we brought more. */
static void
a_line_that_waited_for_us_did_not_hold_us(void **state)
{
	struct fixture f = { 0 };
	struct shrink_line l = { .busy = true, .is_held = true };

	(void)state;
	for (int i = 0; i < 100; i++) {
		l.now_ms += 10;
		shrink_line(&f.s, &l);
	}
	assert_false(f.s.on);
}

static void
what_does_not_shrink_is_passed_over_longer_each_time(void **state)
{
	const struct shrink_result failed = { 64 * 1024, 10, true };
	struct fixture f = fixture_on();
	uint64_t last = 0, skipped = 0;

	(void)state;
	for (int i = 0; i < 8; i++) {
		assert_true(shrink_wants(&f.s, SHRINK_SKIP_MIN));
		shrink_packed(&f.s, &failed);
		for (skipped = 0; !shrink_wants(&f.s, SHRINK_SKIP_MIN);)
			skipped += SHRINK_SKIP_MIN;
		assert_int_equal(skipped,
		    i == 0 ? SHRINK_SKIP_MIN : min_of(2 * last, (uint64_t)SHRINK_SKIP_MAX));
		last = skipped;
	}
	packed(&f, 400 * MB);
	shrink_packed(&f.s, &failed);
	assert_false(shrink_wants(&f.s, SHRINK_SKIP_MIN)); /* the least again */
	assert_true(shrink_wants(&f.s, SHRINK_SKIP_MIN));
	assert_int_equal(f.s.speed, 400 * MB); /* trying in vain is no measure of it */
}

static void
nothing_is_tried_while_it_is_off(void **state)
{
	struct shrink s = { 0 };

	(void)state;
	assert_false(shrink_wants(&s, 1));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_on_where_the_line_is_held_and_slow_beside_packing),
		cmocka_unit_test(once_on_it_takes_more_to_end_it),
		cmocka_unit_test(packing_that_was_too_slow_is_tried_again_later_only),
		cmocka_unit_test(time_with_nothing_to_send_says_nothing),
		cmocka_unit_test(a_line_that_waited_for_us_did_not_hold_us),
		cmocka_unit_test(what_does_not_shrink_is_passed_over_longer_each_time),
		cmocka_unit_test(nothing_is_tried_while_it_is_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
