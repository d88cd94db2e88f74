#include "net/throttle.h"

#include "base/mem.h"
#include "net/rate.h"

enum {
	STEP_MS = 5,
	STEP_MIN = 1024,
	STEP_MAX = 64 * 1024,
	BUFFER_MS = 100,
	BUFFER_MIN = 16 * 1024,
	BUFFER_MAX = 128 * 1024,
};

/* One way. */
struct lane {
	struct throttle *throttle;
	struct rate rates[THROTTLE_CLASSES];
	uint64_t total, far_total;      /* bytes that have moved */
	struct throttle_turn far, near; /* heads of rings: who waits */
	bool near_is_next;
	bool was_short;
	struct timer *timer; /* while somebody waits */
	/* Whose on_turn is running, and whether it has moved anything. */
	const struct throttle_turn *serving;
	bool has_moved;
};

struct throttle {
	struct loop *loop;
	struct lane lanes[THROTTLE_WAYS];
	unsigned changes;
};

static void on_time(void *ctx);

/* -- the lines -- */

static bool
is_empty(const struct throttle_turn *line)
{
	return line->next == line;
}

static bool
nobody_waits(const struct lane *l)
{
	return is_empty(&l->far) && is_empty(&l->near);
}

static struct throttle_turn *
line_of(struct lane *l, const struct throttle_turn *turn)
{
	return turn->is_near ? &l->near : &l->far;
}

static void
put_before(struct throttle_turn *at, struct throttle_turn *turn)
{
	turn->next = at;
	turn->prev = at->prev;
	at->prev->next = turn;
	at->prev = turn;
}

static void
take_out(struct throttle_turn *turn)
{
	if (turn->next == NULL)
		return;
	turn->next->prev = turn->prev;
	turn->prev->next = turn->next;
	turn->next = turn->prev = NULL;
}

/* -- the buckets -- */

static uint64_t
now_of(const struct lane *l)
{
	return loop_now_ms(l->throttle->loop);
}

static bool
is_limited(const struct lane *l, bool near)
{
	return l->rates[THROTTLE_ALL].bytes_s != 0 ||
	       (!near && l->rates[THROTTLE_FAR].bytes_s != 0);
}

static bool
may_move(struct lane *l, bool near)
{
	bool all = rate_has(&l->rates[THROTTLE_ALL], now_of(l)),
	     far = rate_has(&l->rates[THROTTLE_FAR], now_of(l));

	return all && (near || far);
}

static uint64_t
wait_of(struct lane *l, bool near)
{
	if (may_move(l, near))
		return 1;
	uint64_t all = rate_wait_ms(&l->rates[THROTTLE_ALL]);
	return near ? all : max_of(all, rate_wait_ms(&l->rates[THROTTLE_FAR]));
}

/* The slower of the limits; 0: none. */
static uint64_t
slowest(const struct lane *l, bool near)
{
	uint64_t all = l->rates[THROTTLE_ALL].bytes_s,
		 far = near ? 0 : l->rates[THROTTLE_FAR].bytes_s;

	return all == 0 ? far : far == 0 ? all : min_of(all, far);
}

/* For who stands first in its line. */
static void
set_timer(struct lane *l)
{
	uint64_t far = is_empty(&l->far) ? UINT64_MAX : wait_of(l, false),
		 near = is_empty(&l->near) ? UINT64_MAX : wait_of(l, true);

	if (nobody_waits(l))
		timer_stop(l->timer);
	else
		timer_start(l->timer, min_of(far, near));
}

/* -- birth and death -- */

struct throttle *
throttle_new(struct loop *l, uint64_t up, uint64_t down)
{
	struct throttle *t = mem_new(struct throttle);
	const uint64_t rates[] = { [THROTTLE_UP] = up, [THROTTLE_DOWN] = down };

	loop_assert(l);
	t->loop = l;
	for (size_t i = 0; i < THROTTLE_WAYS; i++) {
		struct lane *lane = &t->lanes[i];
		lane->throttle = t;
		lane->far.next = lane->far.prev = &lane->far;
		lane->near.next = lane->near.prev = &lane->near;
		rate_init(&lane->rates[THROTTLE_ALL], rates[i], loop_now_ms(l));
		lane->timer = timer_new(l, on_time, lane);
	}
	return t;
}

void
throttle_close(struct throttle *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < THROTTLE_WAYS; i++) {
		(void)expect(nobody_waits(&t->lanes[i]));
		timer_close(t->lanes[i].timer);
	}
	free(t);
}

void
throttle_limit(
    struct throttle *t, enum throttle_way way, enum throttle_class which, uint64_t bytes_s)
{
	struct lane *l = &t->lanes[way];
	struct rate *r = &l->rates[which];

	loop_assert(t->loop);
	if (r->bytes_s == min_of(bytes_s, RATE_MAX))
		return;
	rate_change(r, bytes_s, now_of(l));
	t->changes++;
	if (l->serving == NULL)
		set_timer(l);
}

uint64_t
throttle_limited(const struct throttle *t, enum throttle_way way, enum throttle_class which)
{
	return t != NULL ? t->lanes[way].rates[which].bytes_s : 0;
}

uint64_t
throttle_rate(const struct throttle *t, enum throttle_way way, bool is_near)
{
	return t != NULL ? slowest(&t->lanes[way], is_near) : 0;
}

uint64_t
throttle_total(const struct throttle *t, enum throttle_way way)
{
	return t->lanes[way].total;
}

uint64_t
throttle_far_total(const struct throttle *t, enum throttle_way way)
{
	return t->lanes[way].far_total;
}

bool
throttle_was_short(struct throttle *t, enum throttle_way way)
{
	struct lane *l = &t->lanes[way];
	bool was = l->was_short || !is_empty(&l->far);

	l->was_short = false;
	return was;
}

unsigned
throttle_changes(const struct throttle *t)
{
	return t->changes;
}

/* What MS milliseconds of RATE are worth, within bounds. */
static size_t
worth(uint64_t rate, uint64_t ms, size_t least, size_t most)
{
	return (size_t)min_of(max_of(rate * ms / 1000, (uint64_t)least), (uint64_t)most);
}

size_t
throttle_buffer(const struct throttle *t, enum throttle_way way, bool is_near)
{
	const struct lane *l;

	if (t == NULL)
		return 0;
	l = &t->lanes[way];
	if (!is_limited(l, is_near))
		return 0;
	uint64_t rate = slowest(l, is_near);
	if (!is_near && rate > (uint64_t)BUFFER_MAX * 1000 / BUFFER_MS)
		return 0;
	return worth(rate, BUFFER_MS, BUFFER_MIN, BUFFER_MAX);
}

/* -- asking -- */

void
throttle_init(struct throttle_turn *turn, void (*on_turn)(void *ctx), void *ctx)
{
	*turn = (struct throttle_turn){ .on_turn = on_turn, .ctx = ctx, .is_light = true };
}

void
throttle_near(struct throttle_turn *turn, bool is_near)
{
	if (expect(!throttle_waits(turn)))
		turn->is_near = is_near;
}

bool
throttle_waits(const struct throttle_turn *turn)
{
	return turn->next != NULL;
}

/* Whoever has its turn goes on with what it has begun; everybody else waits behind who waits. */
static bool
is_next(const struct lane *l, const struct throttle_turn *turn, bool begun)
{
	return nobody_waits(l) || (l->serving == turn && (begun || !l->has_moved));
}

/* Before whom it stands in line. */
static struct throttle_turn *
place(struct throttle_turn *line, const struct throttle_turn *turn, bool begun)
{
	struct throttle_turn *at = line->next;

	if (begun)
		return at;
	if (!turn->is_light)
		return line;
	while (at != line && at->is_light)
		at = at->next;
	return at;
}

size_t
throttle_ask(struct throttle *t, enum throttle_way way, struct throttle_turn *turn, bool begun)
{
	struct lane *l = &t->lanes[way];

	if (!is_limited(l, turn->is_near))
		return SIZE_MAX;
	if (throttle_waits(turn))
		return 0;
	if (is_next(l, turn, begun) && may_move(l, turn->is_near))
		return worth(slowest(l, turn->is_near), STEP_MS, STEP_MIN, STEP_MAX);
	turn->is_light &= l->serving != turn;
	l->was_short |= !turn->is_near;
	put_before(place(line_of(l, turn), turn, begun), turn);
	if (l->serving == NULL)
		set_timer(l);
	return 0;
}

void
throttle_moved(
    struct throttle *t, enum throttle_way way, const struct throttle_turn *turn, size_t n)
{
	struct lane *l = &t->lanes[way];

	rate_take(&l->rates[THROTTLE_ALL], n);
	l->total += n;
	if (!turn->is_near) {
		rate_take(&l->rates[THROTTLE_FAR], n);
		l->far_total += n;
	}
	l->has_moved |= n > 0;
}

void
throttle_leave(struct throttle *t, enum throttle_way way, struct throttle_turn *turn)
{
	struct lane *l = &t->lanes[way];

	take_out(turn);
	if (l->serving == turn)
		l->serving = NULL;
	if (nobody_waits(l))
		timer_stop(l->timer);
}

/* -- serving -- */

static void
serve(struct lane *l, struct throttle_turn *turn)
{
	take_out(turn);
	l->serving = turn;
	l->has_moved = false;
	turn->is_light = true;
	turn->on_turn(turn->ctx);
	l->serving = NULL;
}

/* Who may move now: of near and far, when both may, the one that was not served last. */
static struct throttle_turn *
next_turn(struct lane *l)
{
	bool near = !is_empty(&l->near) && may_move(l, true),
	     far = !is_empty(&l->far) && may_move(l, false);

	if (!near && !far)
		return NULL;
	near = near && (!far || l->near_is_next);
	l->near_is_next = !near;
	return near ? l->near.next : l->far.next;
}

/* Each either moves something, which the bucket counts, or is out of the line. */
static void
on_time(void *ctx)
{
	struct lane *l = ctx;
	struct throttle_turn *turn;

	while ((turn = next_turn(l)) != NULL)
		serve(l, turn);
	set_timer(l);
}
