/* test_tracker_world: one snapshot's swarm in a tracker, and what its members know by what they
 * were told. */
#pragma once

#include "tests/unit.h"

#include "base/array.h"
#include "base/rng.h"
#include "server/tracker.h"
#include "swarm/swarm_rank.h"

enum { UNITS = 10, MANY = 300 };

/* Links are numbered from 1; link N is of device N, unless a test says otherwise. */
struct world {
	struct tracker *t;
	uint64_t now;
	struct hash_id share, snapshot;
	uint64_t site;          /* where who enters is */
	uint64_t author;        /* this device is the author */
	uint64_t who[MANY + 1]; /* devices of connections */
	/* Whom each connection knows of, by what it was told of a device (place_of), 0 nothing. */
	unsigned knows[MANY + 1][MANY + 1];
};

static inline struct device_id
device(uint64_t n)
{
	struct device_id id = { { 0 } };

	memcpy(id.bytes, &n, sizeof n);
	return id;
}

static inline int
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

static inline int
tear_down(void **state)
{
	struct world *w = *state;

	tracker_free(w->t);
	free(w);
	return 0;
}

static inline void
enter_as(struct world *w, uint64_t link, uint64_t who, uint32_t job, uint32_t units)
{
	const struct tracker_who id = {
		.device = device(who), .site = w->site, .author = who == w->author
	};
	const struct msg_enter m = {
		.job = job, .share = w->share, .snapshot = w->snapshot, .units = units
	};

	w->who[link] = who;
	assert_ok(tracker_enter(w->t, link, &id, &m, w->now, &unit_error));
}

static inline void
enter(struct world *w, uint64_t link)
{
	enter_as(w, link, link, 7, UNITS);
}

static inline enum err
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
	return tracker_news(w->t, link, &m, w->now, &unit_error);
}

static inline void
enter_whole(struct world *w, uint64_t link)
{
	enter(w, link);
	assert_ok(news(w, link, 0, UNITS, 0, 0));
}

/* What was told since the last look.  Who holds everything and is told of nobody, but for its own
 * place, was told nothing. */
struct told {
	bool is, whole, self;
	uint8_t rank; /* as SELF says */
	size_t n_came, n_again, n_left;
	uint64_t came[MANY];
	struct device_id left[MANY];
};

static inline uint64_t
number_of(const struct device_id *id)
{
	uint64_t n;

	memcpy(&n, id->bytes, sizeof n);
	return n;
}

static inline unsigned
place_of(const struct tracker_entry *x)
{
	return 1 + x->rank + 100 * x->gateways + 10000 * (unsigned)x->site;
}

/* Everybody has one name, whose place is said again when it has changed, and only then. */
static inline void
note(struct world *w, const struct tracker_told *x, struct told *to)
{
	unsigned *knows = w->knows[x->to->link];

	if (x->whole)
		memset(knows, 0, sizeof w->knows[0]);
	for (size_t i = 0; i < x->n_left; i++) {
		uint64_t who = number_of(&x->left[i]);
		assert_true(who <= MANY && knows[who] != 0);
		knows[who] = 0;
		to->left[to->n_left++] = x->left[i];
	}
	for (size_t i = 0; i < x->n_came; i++) {
		const struct tracker_entry *y = x->came[i];
		uint64_t who = w->who[y->link];
		assert_int_not_equal(who, w->who[x->to->link]);
		assert_int_not_equal(knows[who], place_of(y));
		assert_int_equal(y->rank == 0, y->gateways == 0);
		if (knows[who] == 0)
			to->came[to->n_came++] = y->link;
		else
			to->n_again++;
		knows[who] = place_of(y);
	}
}

static inline struct told *
told(struct world *w)
{
	struct told *all = mem_array(struct told, MANY + 1);
	struct tracker_told x;

	while (tracker_next(w->t, w->now, &x)) {
		assert_true(x.to->link <= MANY && hash_id_equal(x.to->share, &w->share) &&
			    hash_id_equal(x.to->snapshot, &w->snapshot));
		assert_true(x.self || x.n_came > 0 || x.n_left > 0);
		struct told *to = &all[x.to->link];
		note(w, &x, to);
		to->is |= (x.whole && !x.to->whole) || to->n_came > 0 || x.n_left > 0;
		to->whole |= x.whole;
		to->self |= x.self;
		to->rank = x.to->rank;
	}
	return all;
}

static inline struct told *
batch(struct world *w)
{
	w->now += TRACKER_BATCH_MS;
	return told(w);
}

static inline bool
came(const struct told *to, uint64_t link)
{
	for (size_t i = 0; i < to->n_came; i++) {
		if (to->came[i] == link)
			return true;
	}
	return false;
}

static inline bool
left(const struct told *to, uint64_t who)
{
	const struct device_id id = device(who);

	for (size_t i = 0; i < to->n_left; i++) {
		if (device_id_equal(&to->left[i], &id))
			return true;
	}
	return false;
}
