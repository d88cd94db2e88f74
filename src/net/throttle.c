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

struct lane {
	struct throttle *throttle;
	struct rate rate;
	uint64_t total;            /* bytes that have moved */
	struct throttle_turn line; /* head of a ring */
	struct timer *timer;       /* while somebody waits */
	/* Whose on_turn is running, and whether it has moved anything. */
	const struct throttle_turn *serving;
	bool has_moved;
};

struct throttle {
	struct loop *loop;
	struct lane lanes[THROTTLE_WAYS];
};

static void on_time(void *ctx);

/* -- the line -- */

static bool
is_empty(const struct lane *l)
{
	return l->line.next == &l->line;
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
		lane->line.next = lane->line.prev = &lane->line;
		rate_init(&lane->rate, rates[i], loop_now_ms(l));
		if (rates[i] != 0)
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
		(void)expect(is_empty(&t->lanes[i]));
		timer_close(t->lanes[i].timer);
	}
	free(t);
}

uint64_t
throttle_rate(const struct throttle *t, enum throttle_way way)
{
	return t != NULL ? t->lanes[way].rate.bytes_s : 0;
}

uint64_t
throttle_total(const struct throttle *t, enum throttle_way way)
{
	return t->lanes[way].total;
}

/* What MS milliseconds are worth, within bounds. */
static size_t
worth(const struct throttle *t, enum throttle_way way, uint64_t ms, size_t least, size_t most)
{
	uint64_t n = throttle_rate(t, way) * ms / 1000;

	return (size_t)min_of(max_of(n, (uint64_t)least), (uint64_t)most);
}

size_t
throttle_buffer(const struct throttle *t, enum throttle_way way)
{
	return throttle_rate(t, way) == 0 ? 0 : worth(t, way, BUFFER_MS, BUFFER_MIN, BUFFER_MAX);
}

/* -- asking -- */

void
throttle_init(struct throttle_turn *turn, void (*on_turn)(void *ctx), void *ctx)
{
	*turn = (struct throttle_turn){ .on_turn = on_turn, .ctx = ctx, .is_light = true };
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
	return is_empty(l) || (l->serving == turn && (begun || !l->has_moved));
}

/* Before whom it stands in line. */
static struct throttle_turn *
place(struct lane *l, const struct throttle_turn *turn, bool begun)
{
	struct throttle_turn *at = l->line.next;

	if (begun)
		return at;
	if (!turn->is_light)
		return &l->line;
	while (at != &l->line && at->is_light)
		at = at->next;
	return at;
}

size_t
throttle_ask(struct throttle *t, enum throttle_way way, struct throttle_turn *turn, bool begun)
{
	struct lane *l = &t->lanes[way];

	if (l->rate.bytes_s == 0)
		return SIZE_MAX;
	if (throttle_waits(turn))
		return 0;
	if (is_next(l, turn, begun) && rate_has(&l->rate, loop_now_ms(t->loop)))
		return worth(t, way, STEP_MS, STEP_MIN, STEP_MAX);
	if (is_empty(l) && l->serving == NULL)
		timer_start(l->timer, rate_wait_ms(&l->rate));
	turn->is_light &= l->serving != turn;
	put_before(place(l, turn, begun), turn);
	return 0;
}

void
throttle_moved(struct throttle *t, enum throttle_way way, size_t n)
{
	struct lane *l = &t->lanes[way];

	rate_take(&l->rate, n);
	l->total += n;
	l->has_moved |= n > 0;
}

void
throttle_leave(struct throttle *t, enum throttle_way way, struct throttle_turn *turn)
{
	struct lane *l = &t->lanes[way];

	take_out(turn);
	if (l->serving == turn)
		l->serving = NULL;
	if (is_empty(l) && l->timer != NULL)
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

/* Each either moves something, which the bucket counts, or is out of the line. */
static void
on_time(void *ctx)
{
	struct lane *l = ctx;

	while (!is_empty(l) && rate_has(&l->rate, loop_now_ms(l->throttle->loop)))
		serve(l, l->line.next);
	if (!is_empty(l))
		timer_start(l->timer, rate_wait_ms(&l->rate));
}
