/* A line with one queue: what waits there delays all; when it is full, what comes is lost. */
#include "tests/unit.h"

#include "base/mem.h"
#include "net/yield.h"

enum { STEP_MS = 5, LOOK_MS = 100, BUFFER_MS = 250 };

struct line {
	struct yield yield;
	double rate, base_ms; /* bytes a second; without a queue */
	double queue;         /* bytes */
	double rtt_ms;        /* as TCP smooths it */
	/* another's transfer, which halves only when packets are lost; 0: none */
	double other, other_wait_ms;
	uint64_t now_ms;
	double moved, other_moved, longest_ms; /* since reset */
	uint64_t since_look;
	bool lost;
};

static struct line
line_of(double mbit, double base_ms)
{
	struct line l = {
		.rate = mbit * 125000, .base_ms = base_ms, .rtt_ms = base_ms, .now_ms = 1
	};

	yield_init(&l.yield, l.now_ms);
	return l;
}

static void
look(struct line *l)
{
	const struct yield_sight s = {
		.rtt_us = (uint32_t)(l->rtt_ms * 1000),
		.base_us = (uint32_t)(l->base_ms * 1000),
		.moved = l->since_look,
		.lost = l->lost,
	};

	(void)yield_look(&l->yield, l->now_ms, &s);
	l->since_look = 0;
	l->lost = false;
}

static void
others_turn(struct line *l, double rtt_ms, bool full)
{
	l->other_wait_ms -= STEP_MS;
	if (l->other == 0)
		return;
	if (full && l->other_wait_ms <= 0) {
		l->other *= 0.7;
		l->other_wait_ms = rtt_ms;
	} else {
		l->other += 2 * 1448.0 * 1000 / rtt_ms * STEP_MS / rtt_ms;
	}
}

/* WANT: what we have to send; less than nothing: any amount. */
static void
step(struct line *l, double want)
{
	double ours = (double)l->yield.rate, s = STEP_MS / 1000.0;
	double rtt_ms = l->base_ms + l->queue / l->rate * 1000;

	if (want >= 0)
		ours = min_of(ours, want);
	l->queue = max_of(l->queue + (ours + l->other - l->rate) * s, 0.0);
	bool full = l->queue > l->rate * BUFFER_MS / 1000;
	if (full) {
		l->lost |= true;
		l->queue = l->rate * BUFFER_MS / 1000;
	}
	others_turn(l, rtt_ms, full);
	l->rtt_ms += (rtt_ms - l->rtt_ms) / 8 * min_of(STEP_MS / rtt_ms * 4, 1.0);
	double sum = ours + l->other, passes = min_of(sum, l->rate);
	l->moved += passes * ours / max_of(sum, 1.0) * s;
	l->other_moved += passes * l->other / max_of(sum, 1.0) * s;
	l->since_look += (uint64_t)(ours * s);
	l->longest_ms = max_of(l->longest_ms, rtt_ms - l->base_ms);
	l->now_ms += STEP_MS;
	if (l->now_ms % LOOK_MS < STEP_MS)
		look(l);
}

static void
run(struct line *l, double seconds, double want)
{
	l->moved = l->other_moved = l->longest_ms = 0;
	for (uint64_t end = l->now_ms + (uint64_t)(seconds * 1000); l->now_ms < end;)
		step(l, want);
}

static const struct {
	double mbit, base_ms;
} lines[] = { { 2, 20 }, { 20, 10 }, { 20, 100 }, { 100, 5 }, { 100, 50 }, { 200, 20 } };

static void
an_idle_line_is_taken_and_its_queue_kept_short(void **state)
{
	(void)state;
	for (size_t i = 0; i < lengthof(lines); i++) {
		struct line l = line_of(lines[i].mbit, lines[i].base_ms);
		run(&l, 40, -1);
		run(&l, 60, -1);
		if (l.moved < l.rate * 60 * 0.85 || l.longest_ms > 150)
			unit_fail("%g Mbit/s, %g ms: %.2f of the line, up to %.0f ms in its queue",
			    lines[i].mbit, lines[i].base_ms, l.moved / l.rate / 60, l.longest_ms);
	}
}

static void
it_makes_way_for_a_transfer_that_does_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < lengthof(lines); i++) {
		struct line l = line_of(lines[i].mbit, lines[i].base_ms);
		run(&l, 40, -1);
		l.other = l.rate / 10;
		run(&l, 40, -1);
		run(&l, 60, -1);
		if (l.moved > l.rate * 60 * 0.2 || l.other_moved < l.rate * 60 * 0.75)
			unit_fail("%g Mbit/s, %g ms: %.2f of the line, the other %.2f",
			    lines[i].mbit, lines[i].base_ms, l.moved / l.rate / 60,
			    l.other_moved / l.rate / 60);
	}
}

static void
it_takes_the_line_again_when_the_other_has_gone(void **state)
{
	struct line l = line_of(20, 30);

	(void)state;
	l.other = l.rate;
	run(&l, 60, -1);
	assert_true(l.moved < l.rate * 60 * 0.2);
	l.other = 0;
	run(&l, 20, -1);
	run(&l, 20, -1);
	assert_true(l.moved > l.rate * 20 * 0.8);
}

static void
a_pace_that_is_not_used_does_not_grow(void **state)
{
	struct line l = line_of(100, 20);

	(void)state;
	run(&l, 30, 50000);
	assert_true(l.yield.rate < 200000);
}

static void
it_never_stops_for_good(void **state)
{
	struct line l = line_of(20, 30);
	const struct yield_sight bad = { .rtt_us = 2000000, .base_us = 1000, .lost = true };

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_true(yield_look(&l.yield, l.now_ms += 100, &bad) >= YIELD_MIN);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_idle_line_is_taken_and_its_queue_kept_short),
		cmocka_unit_test(it_makes_way_for_a_transfer_that_does_not),
		cmocka_unit_test(it_takes_the_line_again_when_the_other_has_gone),
		cmocka_unit_test(a_pace_that_is_not_used_does_not_grow),
		cmocka_unit_test(it_never_stops_for_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
