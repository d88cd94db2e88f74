#include "session/transfer.h"

#include <assert.h>

#include "base/array.h"
#include "base/bitset.h"

enum {
	SAMPLE_MS = 50, /* shortest stretch over which a rate is measured */
	DELAY_EPOCH_MS = 10 * 1000,
	DELAY_MAX_MS = 2000, /* so never more than four seconds of data are asked for ahead */
};

struct flight { /* a unit asked for */
	uint32_t unit;
	uint32_t left, got; /* bytes */
	uint64_t asked_ms, last_ms;
	bool told; /* as stalled */
};
struct source {
	uint64_t id;
	ARRAY(struct flight) flights; /* in the order asked */
	uint64_t in_flight;           /* bytes left, of all */
	bool banned;
	uint32_t wrong;               /* leaves */
	uint32_t fruitless, failures; /* in a row: units that nothing came of; ... and no "later" */
	uint64_t not_before_ms;
	uint64_t last_ms;  /* a byte of any unit */
	uint64_t front_ms; /* the oldest flight became that */
	/* rate and delay, see transfer.h */
	uint64_t rate;                     /* bytes a second; 0 unknown */
	uint64_t sample_ms, sample_bytes;  /* since when, how many; 0: with the next byte */
	uint32_t delay_ms, delay_epoch_ms; /* in use; shortest of this epoch; 0 unknown */
	uint64_t epoch_ms;                 /* began */
};
struct again { /* a unit put back */
	uint32_t unit;
	uint64_t avoid;    /* source that is not to be asked ... */
	uint64_t until_ms; /* ... before */
};
struct transfer {
	struct transfer_opts o;
	struct bitset closed; /* done, in flight, or put back: nothing fresh */
	struct bitset done;
	size_t cursor; /* no fresh unit before it */
	ARRAY(struct again) again;
	ARRAY(struct source) sources;
	uint64_t now_ms;
};

struct transfer *
transfer_new(const struct transfer_opts *o)
{
	struct transfer *t = mem_new(struct transfer);

	t->o = *o;
	bitset_init(&t->closed, o->n_units);
	bitset_init(&t->done, o->n_units);
	return t;
}

void
transfer_free(struct transfer *t)
{
	if (t == NULL)
		return;
	array_each (s, &t->sources)
		array_clear(&s->flights);
	array_clear(&t->sources);
	array_clear(&t->again);
	bitset_clear(&t->closed);
	bitset_clear(&t->done);
	free(t);
}

/* -- sources -- */

static struct source *
find(const struct transfer *t, uint64_t id)
{
	for (size_t i = 0; i < t->sources.len; i++)
		if (t->sources.at[i].id == id)
			return &t->sources.at[i];
	return NULL;
}

static struct flight *
find_flight(const struct source *s, uint32_t unit)
{
	for (size_t i = 0; s != NULL && i < s->flights.len; i++)
		if (s->flights.at[i].unit == unit)
			return &s->flights.at[i];
	return NULL;
}

void
transfer_source_add(struct transfer *t, uint64_t source, uint64_t now_ms)
{
	const struct source s = { .id = source, .last_ms = now_ms, .epoch_ms = now_ms };

	t->now_ms = now_ms;
	if (find(t, source) == NULL)
		array_push(&t->sources, s);
}

static uint64_t
window(const struct source *s)
{
	uint64_t w = 2 * s->rate * s->delay_ms / 1000;

	return min_of(max_of(w, (uint64_t)TRANSFER_WINDOW_MIN), (uint64_t)TRANSFER_WINDOW_MAX);
}

/*
 * From ask to first byte it takes a round trip, or as long as what was asked for before needs,
 * whichever is longer; so the shortest time seen is the delay.  On a full line all are long, and
 * say nothing: what was short counts on, and grows by an eighth each epoch in which nothing shorter
 * was seen, should the path have become longer.
 */
static void
measure_delay(struct source *s, const struct flight *f, uint64_t now_ms)
{
	uint32_t delay =
	    (uint32_t)min_of(max_of(now_ms - f->asked_ms, (uint64_t)1), (uint64_t)DELAY_MAX_MS);

	if (s->delay_epoch_ms == 0 || delay < s->delay_epoch_ms)
		s->delay_epoch_ms = delay;
	if (s->delay_ms == 0 || delay < s->delay_ms)
		s->delay_ms = delay;
	if (now_ms - s->epoch_ms < DELAY_EPOCH_MS)
		return;
	s->delay_ms = min_of(s->delay_epoch_ms, s->delay_ms + (s->delay_ms + 7) / 8);
	s->delay_epoch_ms = 0;
	s->epoch_ms = now_ms;
}

static void
measure_rate(struct source *s, uint32_t bytes, uint64_t now_ms)
{
	uint64_t stretch = max_of((uint64_t)SAMPLE_MS, (uint64_t)s->delay_ms);

	if (s->sample_ms == 0) { /* the way there and back says nothing of the rate */
		s->sample_ms = now_ms;
		return;
	}
	s->sample_bytes += bytes;
	if (now_ms - s->sample_ms < stretch)
		return;
	uint64_t rate = s->sample_bytes * 1000 / (now_ms - s->sample_ms);
	s->rate = max_of(rate, s->rate - s->rate / 8);
	s->sample_ms = now_ms;
	s->sample_bytes = 0;
}

/* -- units that are put back -- */

static void
put_back(struct transfer *t, uint32_t unit, uint64_t avoid, uint64_t until_ms)
{
	struct leaf_run runs[LIMIT_UNIT_RUNS];
	uint32_t bytes;

	if (t->o.missing(t->o.ctx, unit, runs, &bytes) == 0) {
		bitset_set(&t->done, unit);
		return;
	}
	array_push(&t->again, ((struct again){ unit, avoid, until_ms }));
}

static void
remove_flight(struct source *s, struct flight *f, uint64_t now_ms)
{
	size_t i = (size_t)(f - s->flights.at);

	s->in_flight -= f->left;
	memmove(f, f + 1, (s->flights.len - i - 1) * sizeof *f);
	s->flights.len--;
	if (i == 0)
		s->front_ms = now_ms;
}

/* All that is in flight from S is put back, for anybody. */
static void
release_all(struct transfer *t, struct source *s)
{
	for (size_t i = 0; i < s->flights.len; i++)
		put_back(t, s->flights.at[i].unit, s->id, 0);
	array_clear(&s->flights);
	s->in_flight = 0;
}

void
transfer_source_gone(struct transfer *t, uint64_t source)
{
	struct source *s = find(t, source);

	if (s == NULL)
		return;
	release_all(t, s);
	if (!s->banned) /* which is remembered */
		array_swap_out(&t->sources, (size_t)(s - t->sources.at));
}

bool
transfer_charge(struct transfer *t, uint64_t source)
{
	struct source *s = find(t, source);

	if (s == NULL || s->banned)
		return s != NULL;
	if (++s->wrong < TRANSFER_WRONG_MAX)
		return false;
	s->banned = true;
	release_all(t, s);
	return true;
}

void
transfer_again(struct transfer *t, uint32_t unit)
{
	if (!bitset_unset(&t->done, unit))
		return; /* still open: what is missing shows when it ends */
	bitset_unset(&t->closed, unit);
	t->cursor = min_of(t->cursor, (size_t)unit);
}

/* -- asking -- */

static bool
has_room(const struct source *s, uint64_t now_ms)
{
	return !s->banned && now_ms >= s->not_before_ms && s->flights.len < LIMIT_UNITS_OPEN &&
	       s->in_flight < window(s);
}

static bool
is_avoided(const struct again *a, const struct source *s, uint64_t now_ms)
{
	return a != NULL && a->avoid == s->id && now_ms < a->until_ms;
}

/* Is X to be asked rather than Y?  For a unit that was put back he who gave something last time
 * comes first: two who always say "later" must not pass it to and fro between them. */
static bool
is_better(const struct source *x, const struct source *y, bool again)
{
	uint64_t load_x = x->in_flight * 1024 / window(x), load_y = y->in_flight * 1024 / window(y);

	if (again && x->fruitless != y->fruitless)
		return x->fruitless < y->fruitless;
	return load_x != load_y ? load_x < load_y : x->fruitless < y->fruitless;
}

/* The best one that has room; for unit A when that is not NULL. */
static struct source *
choose(const struct transfer *t, const struct again *a, uint64_t now_ms)
{
	struct source *best = NULL;

	for (size_t i = 0; i < t->sources.len; i++) {
		struct source *s = &t->sources.at[i];
		if (!has_room(s, now_ms) || is_avoided(a, s, now_ms))
			continue;
		if (best == NULL || is_better(s, best, a != NULL))
			best = s;
	}
	return best;
}

/* False: nothing of UNIT is missing. */
static bool
ask(struct transfer *t, struct source *s, uint32_t unit, struct transfer_ask *ret)
{
	uint64_t now = t->now_ms;

	ret->source = s->id;
	ret->unit = unit;
	ret->n_runs = t->o.missing(t->o.ctx, unit, ret->runs, &ret->bytes);
	if (ret->n_runs == 0) {
		bitset_set(&t->done, unit);
		return false;
	}
	if (s->flights.len == 0) {
		s->front_ms = s->last_ms = now;
		s->sample_ms = s->sample_bytes = 0;
	}
	const struct flight f = {
		.unit = unit, .left = ret->bytes, .asked_ms = now, .last_ms = now
	};
	array_push(&s->flights, f);
	s->in_flight += ret->bytes;
	return true;
}

static bool
ask_again(struct transfer *t, struct transfer_ask *ret)
{
	for (size_t i = 0; i < t->again.len;) {
		struct again a = t->again.at[i];
		struct source *s = choose(t, &a, t->now_ms);
		if (s == NULL) {
			i++;
			continue;
		}
		memmove(&t->again.at[i], &t->again.at[i + 1], (t->again.len - i - 1) * sizeof a);
		t->again.len--;
		if (ask(t, s, a.unit, ret))
			return true;
	}
	return false;
}

static bool
ask_fresh(struct transfer *t, struct transfer_ask *ret)
{
	while (t->again.len < TRANSFER_AGAIN_MAX) {
		struct source *s = choose(t, NULL, t->now_ms);
		if (s == NULL)
			return false;
		t->cursor = bitset_next(&t->closed, t->cursor, false);
		if (t->cursor >= t->o.n_units)
			return false;
		uint32_t unit = (uint32_t)t->cursor;
		bitset_set(&t->closed, unit);
		if (ask(t, s, unit, ret))
			return true;
	}
	return false;
}

bool
transfer_next(struct transfer *t, uint64_t now_ms, struct transfer_ask *ret)
{
	t->now_ms = now_ms;
	return ask_again(t, ret) || ask_fresh(t, ret);
}

/* When a source may be asked, for A when that is not NULL. */
static uint64_t
ready_ms(const struct transfer *t, const struct again *a)
{
	uint64_t at = UINT64_MAX;

	for (size_t i = 0; i < t->sources.len; i++) {
		const struct source *s = &t->sources.at[i];
		uint64_t mine = s->not_before_ms;
		if (a != NULL && a->avoid == s->id)
			mine = max_of(mine, a->until_ms);
		if (!s->banned)
			at = min_of(at, mine);
	}
	return at;
}

uint64_t
transfer_wakes(const struct transfer *t)
{
	uint64_t at = UINT64_MAX, ready;

	for (size_t i = 0; i < t->again.len; i++) {
		ready = ready_ms(t, &t->again.at[i]);
		at = ready > t->now_ms ? min_of(at, ready) : at;
	}
	ready = ready_ms(t, NULL);
	if (t->again.len < TRANSFER_AGAIN_MAX && t->closed.count < t->o.n_units &&
	    ready > t->now_ms)
		at = min_of(at, ready);
	return at;
}

/* -- what happened -- */

void
transfer_took(struct transfer *t, uint64_t source, uint32_t unit, uint32_t bytes, uint64_t now_ms)
{
	struct source *s = find(t, source);
	struct flight *f = find_flight(s, unit);

	t->now_ms = now_ms;
	if (s == NULL)
		return;
	s->last_ms = now_ms;
	s->fruitless = s->failures = 0;
	measure_rate(s, bytes, now_ms);
	if (f == NULL)
		return;
	if (f->got == 0)
		measure_delay(s, f, now_ms);
	uint32_t counted = min_of(bytes, f->left);
	f->left -= counted;
	s->in_flight -= counted;
	f->got += bytes;
	f->last_ms = now_ms;
}

/* Nothing came of it: what a source that never gives anything costs becomes less and less. */
static void
back_off(struct source *s, uint64_t now_ms)
{
	uint64_t wait = TRANSFER_BACKOFF_MS;

	s->failures++;
	for (uint32_t i = 1; i < s->failures && wait < TRANSFER_BACKOFF_MAX_MS; i++)
		wait *= 2;
	s->not_before_ms = now_ms + min_of(wait, (uint64_t)TRANSFER_BACKOFF_MAX_MS);
}

void
transfer_ended(
    struct transfer *t, uint64_t source, uint32_t unit, uint32_t retry_ms, uint64_t now_ms)
{
	struct source *s = find(t, source);
	struct flight *f = find_flight(s, unit);

	t->now_ms = now_ms;
	if (f == NULL)
		return;
	bool whole = f->left == 0, fruitless = f->got == 0;
	remove_flight(s, f, now_ms);
	s->fruitless += fruitless;
	if (fruitless && retry_ms == 0)
		back_off(s, now_ms);
	uint64_t wait = retry_ms > 0 ? min_of(retry_ms, (uint32_t)LIMIT_RETRY_MS)
			: whole      ? 0
				     : TRANSFER_BACKOFF_MS;
	put_back(t, unit, source, now_ms + wait);
}

bool
transfer_stalled(struct transfer *t, uint64_t now_ms, uint64_t *ret_source, uint32_t *ret_unit)
{
	t->now_ms = now_ms;
	array_each (s, &t->sources) {
		for (size_t i = 0; i < s->flights.len; i++) {
			struct flight *f = &s->flights.at[i];
			/* A unit behind others waits for them, as long as they come. */
			uint64_t since = max_of(f->last_ms, i == 0 ? s->front_ms : s->last_ms);
			if (f->told || now_ms < since + LIMIT_UNIT_STALL_MS)
				continue;
			f->told = true;
			*ret_source = s->id;
			*ret_unit = f->unit;
			return true;
		}
	}
	return false;
}

bool
transfer_is_done(const struct transfer *t)
{
	return t->done.count == t->o.n_units;
}

uint64_t
transfer_units_done(const struct transfer *t)
{
	return t->done.count;
}

uint64_t
transfer_in_flight(const struct transfer *t, uint64_t source)
{
	const struct source *s = find(t, source);

	return s != NULL ? s->in_flight : 0;
}

uint64_t
transfer_window(const struct transfer *t, uint64_t source)
{
	const struct source *s = find(t, source);

	return s != NULL ? window(s) : 0;
}

/* -- runs -- */

static void
close_shortest_gap(struct leaf_run *runs, uint32_t n)
{
	uint32_t best = 1, best_gap = UINT32_MAX;

	for (uint32_t i = 1; i < n; i++) {
		uint32_t gap = (uint32_t)runs[i].first - runs[i - 1].first - runs[i - 1].n;
		if (gap < best_gap) {
			best = i;
			best_gap = gap;
		}
	}
	runs[best - 1].n = (uint16_t)(runs[best].first + runs[best].n - runs[best - 1].first);
	memmove(&runs[best], &runs[best + 1], (n - best - 1) * sizeof runs[0]);
}

uint32_t
transfer_runs(const struct bitset *have, size_t from, uint32_t n_leaves, struct leaf_run *runs)
{
	struct leaf_run all[UNIT_LEAVES_MAX / 2 + 1];
	size_t end = from + n_leaves;
	uint32_t n = 0;

	assert(n_leaves <= UNIT_LEAVES_MAX && end <= have->n);
	for (size_t at = bitset_next(have, from, false); at < end;) {
		size_t to = min_of(bitset_next(have, at, true), end);
		all[n++] = (struct leaf_run){ (uint16_t)(at - from), (uint16_t)(to - at) };
		at = bitset_next(have, to, false);
	}
	for (; n > LIMIT_UNIT_RUNS; n--)
		close_shortest_gap(all, n);
	memcpy(runs, all, n * sizeof runs[0]);
	return n;
}
