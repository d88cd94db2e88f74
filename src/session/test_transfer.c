#include "tests/unit.h"

#include "base/array.h"
#include "base/rng.h"
#include "session/transfer.h"

enum { LEAVES = 4, LEAF = 64 * 1024, UNIT_BYTES = LEAVES * LEAF };

/* What is being received: units of four leaves. */
struct job {
	struct transfer *t;
	struct bitset have; /* leaves */
	uint64_t now;
};

static uint32_t
missing(void *ctx, uint32_t unit, struct leaf_run *runs, uint32_t *ret_bytes)
{
	struct job *j = ctx;
	uint32_t n = transfer_runs(&j->have, (size_t)unit * LEAVES, LEAVES, runs);

	*ret_bytes = 0;
	for (uint32_t i = 0; i < n; i++)
		*ret_bytes += runs[i].n * (uint32_t)LEAF;
	return n;
}

static void
job_init(struct job *j, uint32_t units)
{
	*j = (struct job){ .now = 1000 };
	bitset_init(&j->have, (size_t)units * LEAVES);
	j->t =
	    transfer_new(&(struct transfer_opts){ .n_units = units, .missing = missing, .ctx = j });
}

static void
job_clear(struct job *j)
{
	transfer_free(j->t);
	bitset_clear(&j->have);
}

static bool
next(struct job *j, struct transfer_ask *a)
{
	return transfer_next(j->t, j->now, a);
}

/* SOURCE gives N leaves of UNIT, from FIRST on. */
static void
give(struct job *j, uint64_t source, uint32_t unit, uint32_t first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		bitset_set(&j->have, (size_t)unit * LEAVES + first + i);
		transfer_took(j->t, source, unit, LEAF, j->now);
	}
}

static void
give_all(struct job *j, const struct transfer_ask *a)
{
	for (uint32_t i = 0; i < a->n_runs; i++)
		give(j, a->source, a->unit, a->runs[i].first, a->runs[i].n);
	transfer_ended(j->t, a->source, a->unit, 0, j->now);
}

static void
units_are_asked_for_in_order_up_to_the_window(void **state)
{
	struct job j;
	struct transfer_ask a;
	uint32_t n = 0;

	(void)state;
	job_init(&j, 100);
	assert_false(next(&j, &a)); /* of nobody */
	transfer_source_add(j.t, 1, j.now);
	for (; next(&j, &a); n++) {
		assert_int_equal(a.source, 1);
		assert_int_equal(a.unit, n);
		assert_int_equal(a.n_runs, 1);
		assert_int_equal(a.runs[0].first, 0);
		assert_int_equal(a.runs[0].n, LEAVES);
		assert_int_equal(a.bytes, UNIT_BYTES);
	}
	assert_int_equal(n, TRANSFER_WINDOW_MIN / UNIT_BYTES);
	assert_int_equal(transfer_in_flight(j.t, 1), TRANSFER_WINDOW_MIN);
	job_clear(&j);
}

static void
what_is_held_already_is_not_asked_for(void **state)
{
	struct job j;
	struct transfer_ask a;

	(void)state;
	job_init(&j, 10);
	for (size_t i = 0; i < 10 * LEAVES; i++)
		if (i / LEAVES != 3 && i / LEAVES != 7)
			bitset_set(&j.have, i);
	bitset_set(&j.have, 3 * LEAVES + 1);
	transfer_source_add(j.t, 1, j.now);
	assert_true(next(&j, &a));
	assert_int_equal(a.unit, 3);
	assert_int_equal(a.n_runs, 2);
	assert_int_equal(a.bytes, 3 * LEAF);
	give_all(&j, &a);
	assert_true(next(&j, &a));
	assert_int_equal(a.unit, 7);
	assert_false(transfer_is_done(j.t));
	give_all(&j, &a);
	assert_false(next(&j, &a));
	assert_true(transfer_is_done(j.t));
	assert_int_equal(transfer_units_done(j.t), 10);
	job_clear(&j);
}

static void
nothing_to_do_is_done(void **state)
{
	struct job j;
	struct transfer_ask a;

	(void)state;
	job_init(&j, 0);
	transfer_source_add(j.t, 1, j.now);
	assert_false(next(&j, &a));
	assert_true(transfer_is_done(j.t));
	job_clear(&j);
}

static void
what_did_not_come_is_asked_for_again_and_first(void **state)
{
	struct job j;
	struct transfer_ask a, first;

	(void)state;
	job_init(&j, 100);
	transfer_source_add(j.t, 1, j.now);
	assert_true(next(&j, &first));
	give(&j, 1, 0, 0, 3);
	transfer_ended(j.t, 1, 0, 0, j.now);
	assert_true(next(&j, &a)); /* not of the same source at once */
	assert_int_equal(a.unit, 1);
	assert_int_equal(transfer_wakes(j.t), j.now + TRANSFER_BACKOFF_MS);
	j.now = transfer_wakes(j.t);
	assert_true(next(&j, &a));
	assert_int_equal(a.unit, 0);
	assert_int_equal(a.n_runs, 1);
	assert_int_equal(a.runs[0].first, 3);
	assert_int_equal(a.runs[0].n, 1);
	job_clear(&j);
}

static void
another_source_takes_over_at_once(void **state)
{
	struct job j;
	struct transfer_ask a, first;

	(void)state;
	job_init(&j, 100);
	transfer_source_add(j.t, 1, j.now);
	assert_true(next(&j, &first));
	transfer_source_add(j.t, 2, j.now);
	give(&j, 1, 0, 0, 3);
	transfer_ended(j.t, 1, 0, 0, j.now);
	assert_true(next(&j, &a));
	assert_int_equal(a.unit, 0);
	assert_int_equal(a.source, 2);
	assert_int_equal(a.bytes, LEAF);
	job_clear(&j);
}

static void
a_source_that_says_later_is_asked_later(void **state)
{
	struct job j;
	struct transfer_ask a;

	(void)state;
	job_init(&j, 1);
	transfer_source_add(j.t, 1, j.now);
	assert_true(next(&j, &a));
	transfer_ended(j.t, 1, 0, 7000, j.now);
	assert_false(next(&j, &a));
	assert_int_equal(transfer_wakes(j.t), j.now + 7000);
	j.now += 6999;
	assert_false(next(&j, &a));
	j.now += 1;
	assert_true(next(&j, &a));
	give_all(&j, &a);
	assert_true(transfer_is_done(j.t));
	assert_int_equal(transfer_wakes(j.t), UINT64_MAX);
	job_clear(&j);
}

static void
a_source_that_has_little_yet_does_not_fill_the_memory(void **state)
{
	struct job j;
	struct transfer_ask a;
	unsigned asked = 0;

	(void)state;
	job_init(&j, 100000);
	transfer_source_add(j.t, 1, j.now);
	for (; next(&j, &a); asked++)
		transfer_ended(j.t, 1, a.unit, 60000, j.now);
	assert_int_equal(asked, TRANSFER_AGAIN_MAX);
	job_clear(&j);
}

static void
who_always_says_later_does_not_keep_a_unit_from_the_others(void **state)
{
	struct job j;
	struct transfer_ask a;

	(void)state;
	job_init(&j, 12);
	for (uint64_t source = 0; source < 3; source++)
		transfer_source_add(j.t, source, j.now);
	for (unsigned step = 0; !transfer_is_done(j.t); step++) {
		assert_true(step < 1000);
		if (!next(&j, &a))
			j.now = transfer_wakes(j.t);
		else if (a.source == 2)
			give_all(&j, &a);
		else
			transfer_ended(j.t, a.source, a.unit, 400, j.now);
		j.now += 30;
	}
	job_clear(&j);
}

static void
what_a_dead_source_owed_is_asked_of_the_others(void **state)
{
	struct job j;
	struct transfer_ask a;
	unsigned n = 0;

	(void)state;
	job_init(&j, 4);
	transfer_source_add(j.t, 1, j.now);
	while (next(&j, &a))
		n++;
	assert_int_equal(n, 4);
	give(&j, 1, 2, 0, 2);
	transfer_source_gone(j.t, 1);
	transfer_source_gone(j.t, 1);
	assert_int_equal(transfer_in_flight(j.t, 1), 0);
	transfer_took(j.t, 1, 2, LEAF, j.now); /* late news */
	transfer_ended(j.t, 1, 2, 0, j.now);
	transfer_source_add(j.t, 2, j.now);
	uint32_t bytes = 0;
	for (n = 0; next(&j, &a); n++) {
		assert_int_equal(a.source, 2);
		bytes += a.bytes;
		give_all(&j, &a);
	}
	assert_int_equal(n, 4);
	assert_int_equal(bytes, 4 * UNIT_BYTES - 2 * LEAF);
	assert_true(transfer_is_done(j.t));
	job_clear(&j);
}

static void
three_wrong_leaves_are_too_many_for_good(void **state)
{
	struct job j;
	struct transfer_ask a;

	(void)state;
	job_init(&j, 4);
	transfer_source_add(j.t, 1, j.now);
	for (unsigned i = 0; i < TRANSFER_WRONG_MAX; i++) {
		assert_true(next(&j, &a));
		assert_int_equal(a.source, 1);
		bool last = i + 1 == TRANSFER_WRONG_MAX;
		assert_int_equal(transfer_charge(j.t, 1), last);
		if (!last)
			transfer_ended(j.t, 1, a.unit, 0, j.now);
		j.now += 60000;
	}
	assert_false(next(&j, &a));
	transfer_source_gone(j.t, 1);
	transfer_source_add(j.t, 1, j.now); /* it comes back */
	assert_false(next(&j, &a));
	assert_true(transfer_charge(j.t, 1));
	transfer_source_add(j.t, 2, j.now);
	while (next(&j, &a))
		give_all(&j, &a);
	assert_true(transfer_is_done(j.t));
	assert_false(transfer_charge(j.t, 99));
	job_clear(&j);
}

static void
a_source_that_gives_nothing_waits_longer_each_time(void **state)
{
	struct job j;
	struct transfer_ask a;
	uint64_t wait = TRANSFER_BACKOFF_MS;

	(void)state;
	job_init(&j, 1);
	transfer_source_add(j.t, 1, j.now);
	for (unsigned i = 0; i < 12; i++) {
		assert_true(next(&j, &a));
		transfer_ended(j.t, 1, 0, 0, j.now);
		assert_false(next(&j, &a));
		assert_int_equal(transfer_wakes(j.t), j.now + wait);
		j.now += wait;
		wait = min_of(2 * wait, (uint64_t)TRANSFER_BACKOFF_MAX_MS);
	}
	assert_true(next(&j, &a));
	give(&j, 1, 0, 0, 1); /* something at last */
	transfer_ended(j.t, 1, 0, 0, j.now);
	for (unsigned i = 0; i < 2; i++) { /* and it begins anew */
		assert_false(next(&j, &a));
		assert_int_equal(transfer_wakes(j.t), j.now + TRANSFER_BACKOFF_MS);
		j.now += TRANSFER_BACKOFF_MS;
		assert_true(next(&j, &a));
		if (i == 0)
			transfer_ended(j.t, 1, 0, 0, j.now);
	}
	job_clear(&j);
}

static void
a_source_that_rests_is_asked_for_nothing(void **state)
{
	struct job j;
	struct transfer_ask a;

	(void)state;
	job_init(&j, 100);
	transfer_source_add(j.t, 1, j.now);
	assert_true(next(&j, &a));
	transfer_ended(j.t, 1, 0, 0, j.now);
	assert_false(next(&j, &a)); /* though there are 99 others */
	j.now += TRANSFER_BACKOFF_MS;
	assert_true(next(&j, &a));
	job_clear(&j);
}

static uint32_t
missing_little(void *ctx, uint32_t unit, struct leaf_run *runs, uint32_t *ret_bytes)
{
	(void)ctx;
	(void)unit;
	runs[0] = (struct leaf_run){ 0, 1 };
	*ret_bytes = 100;
	return 1;
}

static void
no_more_units_are_asked_for_than_may_be_open(void **state)
{
	struct transfer *t =
	    transfer_new(&(struct transfer_opts){ .n_units = 1000, .missing = missing_little });
	struct transfer_ask a;
	unsigned n = 0;

	(void)state;
	transfer_source_add(t, 1, 1000);
	while (transfer_next(t, 1000, &a))
		n++;
	assert_int_equal(n, LIMIT_UNITS_OPEN);
	transfer_free(t);
}

static void
what_was_put_back_goes_to_who_gives_even_if_busy(void **state)
{
	struct job j;
	struct transfer_ask a;

	(void)state;
	job_init(&j, 100);
	for (uint64_t source = 1; source <= 2; source++)
		transfer_source_add(j.t, source, j.now);
	for (unsigned i = 0; i < 3; i++) { /* unit 0 goes to and fro: later */
		assert_true(next(&j, &a));
		assert_int_equal(a.unit, 0);
		transfer_ended(j.t, a.source, a.unit, 400, j.now);
	}
	transfer_source_add(j.t, 3, j.now);
	assert_true(next(&j, &a));
	assert_int_equal(a.source, 3);
	assert_true(next(&j, &a)); /* a fresh one, of who has nothing to do */
	assert_int_equal(a.unit, 1);
	assert_int_equal(a.source, 2);
	transfer_ended(j.t, a.source, a.unit, 400, j.now);
	assert_true(next(&j, &a));
	assert_int_equal(a.unit, 1);
	assert_int_equal(a.source, 3); /* not of 1, which has nothing to do either */
	job_clear(&j);
}

static void
a_unit_without_a_byte_is_stalled_once(void **state)
{
	struct job j;
	struct transfer_ask a;
	uint64_t source;
	uint32_t unit;

	(void)state;
	job_init(&j, 1);
	transfer_source_add(j.t, 5, j.now);
	assert_true(next(&j, &a));
	j.now += 20000;
	give(&j, 5, 0, 0, 1);
	j.now += LIMIT_UNIT_STALL_MS - 1;
	assert_false(transfer_stalled(j.t, j.now, &source, &unit));
	j.now += 1;
	assert_true(transfer_stalled(j.t, j.now, &source, &unit));
	assert_int_equal(source, 5);
	assert_int_equal(unit, 0);
	assert_false(transfer_stalled(j.t, j.now, &source, &unit));
	job_clear(&j);
}

static void
units_behind_others_do_not_stall_while_those_come(void **state)
{
	struct job j;
	struct transfer_ask a;
	uint64_t source;
	uint32_t unit, n = 0;

	(void)state;
	job_init(&j, 4);
	transfer_source_add(j.t, 1, j.now);
	while (next(&j, &a))
		n++;
	assert_int_equal(n, 4);
	/* A leaf every 20 s: the last unit waits for more than four minutes. */
	for (uint32_t i = 0; i < 4 * LEAVES - 1; i++) {
		j.now += 20000;
		assert_false(transfer_stalled(j.t, j.now, &source, &unit));
		give(&j, 1, i / LEAVES, i % LEAVES, 1);
		if (i % LEAVES == LEAVES - 1)
			transfer_ended(j.t, 1, i / LEAVES, 0, j.now);
	}
	job_clear(&j);
}

static void
a_unit_that_is_passed_over_stalls(void **state)
{
	struct job j;
	struct transfer_ask a;
	uint64_t source;
	uint32_t unit;

	(void)state;
	job_init(&j, 4);
	transfer_source_add(j.t, 1, j.now);
	while (next(&j, &a))
		;
	for (uint32_t i = 0; i < 3; i++) { /* the second before the first */
		j.now += 10001;
		give(&j, 1, 1, i, 1);
	}
	assert_true(transfer_stalled(j.t, j.now, &source, &unit));
	assert_int_equal(unit, 0);
	assert_false(transfer_stalled(j.t, j.now, &source, &unit));
	job_clear(&j);
}

static void
a_unit_done_may_be_needed_again(void **state)
{
	struct job j;
	struct transfer_ask a;

	(void)state;
	job_init(&j, 3);
	transfer_source_add(j.t, 1, j.now);
	while (next(&j, &a))
		give_all(&j, &a);
	assert_true(transfer_is_done(j.t));
	bitset_unset(&j.have, LEAVES + 2);
	transfer_again(j.t, 1);
	transfer_again(j.t, 1);
	assert_false(transfer_is_done(j.t));
	assert_true(next(&j, &a));
	assert_int_equal(a.unit, 1);
	assert_int_equal(a.bytes, LEAF);
	transfer_again(j.t, 1); /* in flight: it shows when it ends */
	give_all(&j, &a);
	assert_false(next(&j, &a));
	assert_true(transfer_is_done(j.t));
	job_clear(&j);
}

/* -- the window -- */

/* One source at the end of a link: bytes leave it one after the other at RATE, DELAY later they are
 * here. */
struct line {
	uint64_t rate, delay_ms;
	ARRAY(struct transfer_ask) asked;
	ARRAY(uint64_t) asked_ms;
	uint64_t free_ms1024; /* when the sender is free, in 1/1024 ms */
};

/* Runs a job of BYTES over LINE; returns the time it took. */
static uint64_t
run_line(struct job *j, struct line *l)
{
	struct transfer_ask a;
	uint64_t began = j->now;

	transfer_source_add(j->t, 1, j->now);
	for (unsigned guard = 0; !transfer_is_done(j->t) && guard < 1000000; guard++) {
		while (next(j, &a)) {
			array_push(&l->asked, a);
			array_push(&l->asked_ms, j->now);
		}
		assert_true(l->asked.len > 0);
		a = l->asked.at[0];
		/* The request arrives half a round trip later, and waits until the sender is free.
		 */
		uint64_t start = max_of((l->asked_ms.at[0] + l->delay_ms) * 1024, l->free_ms1024);
		for (uint32_t i = 0; i < LEAVES; i++) {
			l->free_ms1024 = start + (uint64_t)(i + 1) * LEAF * 1000 * 1024 / l->rate;
			j->now = max_of(j->now, l->free_ms1024 / 1024 + l->delay_ms);
			give(j, 1, a.unit, i, 1);
		}
		transfer_ended(j->t, 1, a.unit, 0, j->now);
		memmove(l->asked.at, l->asked.at + 1, (l->asked.len - 1) * sizeof a);
		memmove(l->asked_ms.at, l->asked_ms.at + 1,
		    (l->asked_ms.len - 1) * sizeof l->asked_ms.at[0]);
		l->asked.len--;
		l->asked_ms.len--;
	}
	array_clear(&l->asked);
	array_clear(&l->asked_ms);
	return j->now - began;
}

static void
the_window_grows_until_the_line_is_full(void **state)
{
	static const struct {
		uint64_t rate, delay_ms, bytes;
	} lines[] = {
		{ 125000, 10, 8 << 20 },     /* 1 Mbit/s: the window stays small */
		{ 12500000, 50, 256 << 20 }, /* 100 Mbit/s, 100 ms */
		{ 125000000, 1, 1 << 30 },   /* 1 Gbit/s, 2 ms */
		{ 60000000, 100, 1 << 30 },  /* 12 MB on the way */
		{ 12500000, 50, 500 << 20 }, /* a line full for long: it does not creep up */
	};

	(void)state;
	for (size_t i = 0; i < lengthof(lines); i++) {
		struct job j;
		struct line l = { .rate = lines[i].rate, .delay_ms = lines[i].delay_ms };
		job_init(&j, (uint32_t)(lines[i].bytes / UNIT_BYTES));
		uint64_t took = run_line(&j, &l);
		uint64_t least = lines[i].bytes * 1000 / lines[i].rate;
		if (took > least + least / 10 + 20 * lines[i].delay_ms)
			unit_fail("line %zu: %llu ms, at best %llu", i, (unsigned long long)took,
			    (unsigned long long)least);
		uint64_t bdp = lines[i].rate * 2 * lines[i].delay_ms / 1000;
		uint64_t w = transfer_window(j.t, 1);
		assert_in_range(w, TRANSFER_WINDOW_MIN, TRANSFER_WINDOW_MAX);
		if (w > max_of(4 * bdp + 4 * UNIT_BYTES, (uint64_t)TRANSFER_WINDOW_MIN))
			unit_fail("line %zu: window %llu for %llu on the way", i,
			    (unsigned long long)w, (unsigned long long)bdp);
		job_clear(&j);
	}
}

/* A source that was not asked for a minute is no slower for it. */
static void
time_in_which_nothing_is_asked_does_not_count(void **state)
{
	struct job j;
	struct line l = { .rate = 60000000, .delay_ms = 100 };

	(void)state;
	job_init(&j, (256 << 20) / UNIT_BYTES);
	(void)run_line(&j, &l);
	uint64_t before = transfer_window(j.t, 1);
	assert_true(before > TRANSFER_WINDOW_MIN);
	j.now += 60 * 1000;
	for (size_t i = 0; i < LEAVES; i++)
		bitset_unset(&j.have, i);
	transfer_again(j.t, 0);
	(void)run_line(&j, &l);
	assert_int_equal(transfer_window(j.t, 1), before);
	job_clear(&j);
}

/* -- runs -- */

static void
missing_leaves_are_told_as_runs(void **state)
{
	static const struct {
		const char *have;
		uint32_t n;
		struct leaf_run runs[4];
	} cases[] = {
		{ "", 0, { { 0, 0 } } },
		{ "1", 0, { { 0, 0 } } },
		{ "0", 1, { { 0, 1 } } },
		{ "1111", 0, { { 0, 0 } } },
		{ "0000", 1, { { 0, 4 } } },
		{ "0110", 2, { { 0, 1 }, { 3, 1 } } },
		{ "1001011", 2, { { 1, 2 }, { 4, 1 } } },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		struct bitset have;
		struct leaf_run runs[LIMIT_UNIT_RUNS];
		size_t len = strlen(cases[i].have), from = 37;
		bitset_init(&have, from + len + 20);
		for (size_t k = 0; k < len; k++)
			if (cases[i].have[k] == '1')
				bitset_set(&have, from + k);
		assert_int_equal(transfer_runs(&have, from, (uint32_t)len, runs), cases[i].n);
		if (cases[i].n > 0)
			assert_memory_equal(runs, cases[i].runs, cases[i].n * sizeof runs[0]);
		bitset_clear(&have);
	}
}

static void
too_many_gaps_are_closed_the_shortest_first(void **state)
{
	struct bitset have;
	struct leaf_run runs[LIMIT_UNIT_RUNS];

	(void)state;
	bitset_init(&have, UNIT_LEAVES_MAX);
	/* Every second leaf, and one gap of five. */
	for (size_t i = 0; i < UNIT_LEAVES_MAX; i++)
		if (i % 2 == 1 || (i >= 501 && i <= 505))
			bitset_set(&have, i);
	uint32_t n = transfer_runs(&have, 0, UNIT_LEAVES_MAX, runs);
	assert_int_equal(n, LIMIT_UNIT_RUNS);
	uint32_t covered = 0, next_leaf = 0;
	for (uint32_t i = 0; i < n; i++) {
		assert_true(runs[i].n > 0 && runs[i].first >= next_leaf);
		next_leaf = (uint32_t)runs[i].first + runs[i].n;
		for (uint32_t k = runs[i].first; k < next_leaf; k++) {
			covered += !bitset_has(&have, k);
			assert_true(k < 501 || k > 505);
		}
	}
	assert_int_equal(covered, UNIT_LEAVES_MAX - have.count);
	bitset_clear(&have);
}

/* -- anything at all -- */

/* Sources that give, cut short, refuse, lie, die and come back, at random: it ends, nothing is
 * asked of two at once, and nothing that is held is asked for. */
static void
random_fates_end_with_everything_here(void **state)
{
	enum { UNITS = 200, SOURCES = 4 };

	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct job j;
		struct rng rng;
		ARRAY(struct transfer_ask) open = { 0 };
		struct transfer_ask a;
		uint64_t names = SOURCES;
		uint64_t alive[SOURCES];
		bool in_flight[UNITS] = { false };

		rng_seed(&rng, seed);
		job_init(&j, UNITS);
		for (size_t i = 0; i < SOURCES; i++)
			transfer_source_add(j.t, alive[i] = i, j.now);
		for (unsigned step = 0; !transfer_is_done(j.t); step++) {
			assert_true(step < 100000);
			while (next(&j, &a)) {
				assert_false(in_flight[a.unit]);
				in_flight[a.unit] = true;
				assert_true(a.n_runs > 0);
				for (uint32_t r = 0; r < a.n_runs; r++)
					for (uint32_t k = 0; k < a.runs[r].n; k++)
						assert_false(bitset_has(&j.have,
						    (size_t)a.unit * LEAVES + a.runs[r].first + k));
				array_push(&open, a);
			}
			j.now += rng_below(&rng, 200);
			uint64_t source;
			uint32_t unit;
			(void)transfer_stalled(j.t, j.now, &source, &unit);
			if (open.len == 0) {
				j.now = max_of(j.now, min_of(transfer_wakes(j.t), j.now + 60000));
				continue;
			}
			size_t i = rng_below(&rng, open.len);
			a = open.at[i];
			array_swap_out(&open, i);
			in_flight[a.unit] = false;
			uint64_t fate = rng_below(&rng, 20);
			if (fate < 14) {
				give_all(&j, &a);
			} else if (fate < 16) {
				give(&j, a.source, a.unit, a.runs[0].first, 1);
				transfer_ended(j.t, a.source, a.unit, 0, j.now);
			} else if (fate < 18) {
				transfer_ended(
				    j.t, a.source, a.unit, (uint32_t)rng_below(&rng, 3000), j.now);
			} else if (fate < 19) {
				if (a.source == alive[0] || !transfer_charge(j.t, a.source))
					transfer_ended(j.t, a.source, a.unit, 0, j.now);
				else
					fate = 19;
			}
			if (fate == 19) { /* it goes, and a new one comes */
				transfer_source_gone(j.t, a.source);
				for (size_t k = 0; k < open.len;) {
					if (open.at[k].source == a.source) {
						in_flight[open.at[k].unit] = false;
						array_swap_out(&open, k);
					} else {
						k++;
					}
				}
				for (size_t k = 0; k < SOURCES; k++)
					if (alive[k] == a.source)
						transfer_source_add(j.t, alive[k] = names++, j.now);
			}
		}
		assert_int_equal(j.have.count, UNITS * LEAVES);
		array_clear(&open);
		job_clear(&j);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_are_asked_for_in_order_up_to_the_window),
		cmocka_unit_test(what_is_held_already_is_not_asked_for),
		cmocka_unit_test(nothing_to_do_is_done),
		cmocka_unit_test(what_did_not_come_is_asked_for_again_and_first),
		cmocka_unit_test(another_source_takes_over_at_once),
		cmocka_unit_test(a_source_that_says_later_is_asked_later),
		cmocka_unit_test(a_source_that_has_little_yet_does_not_fill_the_memory),
		cmocka_unit_test(who_always_says_later_does_not_keep_a_unit_from_the_others),
		cmocka_unit_test(what_a_dead_source_owed_is_asked_of_the_others),
		cmocka_unit_test(three_wrong_leaves_are_too_many_for_good),
		cmocka_unit_test(a_source_that_gives_nothing_waits_longer_each_time),
		cmocka_unit_test(a_source_that_rests_is_asked_for_nothing),
		cmocka_unit_test(no_more_units_are_asked_for_than_may_be_open),
		cmocka_unit_test(what_was_put_back_goes_to_who_gives_even_if_busy),
		cmocka_unit_test(a_unit_without_a_byte_is_stalled_once),
		cmocka_unit_test(units_behind_others_do_not_stall_while_those_come),
		cmocka_unit_test(a_unit_that_is_passed_over_stalls),
		cmocka_unit_test(a_unit_done_may_be_needed_again),
		cmocka_unit_test(the_window_grows_until_the_line_is_full),
		cmocka_unit_test(time_in_which_nothing_is_asked_does_not_count),
		cmocka_unit_test(missing_leaves_are_told_as_runs),
		cmocka_unit_test(too_many_gaps_are_closed_the_shortest_first),
		cmocka_unit_test(random_fates_end_with_everything_here),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
