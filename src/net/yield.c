#include "net/yield.h"

#include "base/mem.h"

enum {
	ROOM = 16,   /* a part of the rate, for a queue of nothing, in a round trip or a look */
	GROWTH = 4,  /* a part of it, against a queue that grows by all of the target */
	UP_MOST = 8, /* a part of it, in one look */
	DOWN_MOST = 2,
	STOP_ROUNDS = 2,   /* how long it stops */
	STOP_MIN_MS = 300, /* ... at the least: it is not looked at more often */
	PAUSE_FACTOR = 9,  /* a tenth of the time may be spent on stops */
};
#define FIRST INT64_C(64000)
#define MOST  INT64_C(1000000000000)

void
yield_init(struct yield *y, uint64_t now_ms)
{
	*y = (struct yield){
		.rate = FIRST, .at_ms = now_ms, .is_starting = true, .stop_ms = UINT64_MAX
	};
}

static void
set_rate(struct yield *y, int64_t rate)
{
	rate = max_of(rate, (int64_t)YIELD_MIN);
	y->rate = (uint64_t)min_of(rate, MOST);
}

/* Microseconds that packets wait. */
static uint64_t
queue_of(const struct yield_sight *s)
{
	return s->rtt_us - min_of(s->rtt_us, s->base_us);
}

static void
stop(struct yield *y, uint64_t now_ms, const struct yield_sight *s)
{
	uint64_t ms = max_of((uint64_t)s->rtt_us * STOP_ROUNDS / 1000, (uint64_t)STOP_MIN_MS);
	uint64_t pause = max_of(ms * PAUSE_FACTOR, (uint64_t)YIELD_PAUSE_MS);

	y->before = y->rate;
	y->rate = YIELD_MIN;
	y->go_ms = now_ms + ms;
	y->stop_ms = y->go_ms + pause;
}

/* A pace that is not used says nothing: it does not grow. */
static bool
is_used(const struct yield *y, const struct yield_sight *s, uint64_t ms)
{
	return s->moved * 1000 / ms >= y->rate - y->rate / 4;
}

/* For what room there is in the queue, less for what has come into it since. */
static int64_t
change(const struct yield *y, const struct yield_sight *s, uint64_t waits, uint64_t ms)
{
	const int64_t target = YIELD_TARGET_US, rate = (int64_t)y->rate;
	int64_t rounds = (int64_t)min_of(ms * 1000 * 1024 / s->rtt_us, UINT64_C(1024));
	int64_t room = max_of(target - (int64_t)waits, -2 * target),
		growth = (int64_t)waits - (int64_t)y->waits;
	int64_t by = rate / ROOM * rounds / 1024 * room / target - rate / GROWTH * growth / target;

	by = min_of(by, rate / UP_MOST);
	return max_of(by, -rate / DOWN_MOST);
}

static void
halve(struct yield *y, uint64_t now_ms, const struct yield_sight *s)
{
	if ((now_ms - y->halved_ms) * 1000 < s->rtt_us)
		return;
	y->halved_ms = now_ms;
	set_rate(y, (int64_t)y->rate / 2);
}

static void
adapt(struct yield *y, uint64_t now_ms, const struct yield_sight *s, uint64_t ms)
{
	uint64_t waits = queue_of(s);
	bool was_starting = y->is_starting;

	y->is_starting &= !s->lost && waits < YIELD_TARGET_US * 3 / 4;
	if (was_starting && !y->is_starting)
		y->stop_ms = now_ms + YIELD_PAUSE_MS / 4; /* soon: the queue is its own doing */
	if (s->lost) {
		halve(y, now_ms, s);
	} else {
		int64_t by = y->is_starting ? (int64_t)y->rate : change(y, s, waits, ms);
		if (by < 0 || is_used(y, s, ms))
			set_rate(y, (int64_t)y->rate + by);
	}
	y->waits = waits;
}

uint64_t
yield_look(struct yield *y, uint64_t now_ms, const struct yield_sight *s)
{
	uint64_t ms = now_ms - min_of(now_ms, y->at_ms);

	if (ms == 0 || s->rtt_us == 0)
		return y->rate;
	y->at_ms = now_ms;
	if (y->go_ms != 0 && now_ms < y->go_ms)
		return y->rate;
	if (y->go_ms != 0) {
		set_rate(y, (int64_t)(y->before - y->before / ROOM));
		y->waits = queue_of(s);
		y->go_ms = 0;
	} else if (now_ms >= y->stop_ms) {
		stop(y, now_ms, s);
	} else {
		adapt(y, now_ms, s, ms);
	}
	return y->rate;
}
