#include "engine/limits.h"

#include "base/mem.h"

#define LEAST UINT64_C(8000) /* bytes a second */
enum { LOOK_MS = 60 * 1000 /* at the clock, which people and their machines set anew */ };

struct limits {
	struct throttle *throttle;
	struct schedule_rates fixed; /* that it was started with */
	struct limit_setting setting;
	struct schedule_rates now; /* of the setting */
	struct schedule_rates share, pace;
	uint64_t next_ms; /* when the schedule is looked at */
};

static uint64_t
slower(uint64_t a, uint64_t b)
{
	return a == 0 ? b : b == 0 ? a : min_of(a, b);
}

static void
apply_way(struct limits *l, enum throttle_way way, uint64_t fixed, uint64_t now, uint64_t far)
{
	bool lan = l->setting.lan;

	throttle_limit(l->throttle, way, THROTTLE_ALL, lan ? slower(fixed, now) : fixed);
	throttle_limit(l->throttle, way, THROTTLE_FAR, lan ? far : slower(now, far));
}

static void
apply(struct limits *l)
{
	if (l->throttle == NULL)
		return;
	apply_way(l, THROTTLE_UP, l->fixed.up, l->now.up, slower(l->share.up, l->pace.up));
	apply_way(
	    l, THROTTLE_DOWN, l->fixed.down, l->now.down, slower(l->share.down, l->pace.down));
}

struct limits *
limits_new(struct throttle *t)
{
	struct limits *l = mem_new(struct limits);

	l->throttle = t;
	l->fixed.up = throttle_limited(t, THROTTLE_UP, THROTTLE_ALL);
	l->fixed.down = throttle_limited(t, THROTTLE_DOWN, THROTTLE_ALL);
	l->setting.week.n_kinds = 1;
	return l;
}

void
limits_free(struct limits *l)
{
	free(l);
}

void
limits_tick(struct limits *l, uint64_t now_ms, int64_t wall_ns, int offset_min)
{
	if (now_ms < l->next_ms)
		return;
	uint64_t left_ms = schedule_time(wall_ns, offset_min).left_ms;
	l->next_ms = now_ms + min_of(left_ms, (uint64_t)LOOK_MS);
	l->now = limit_setting_now(&l->setting, wall_ns, offset_min);
	apply(l);
}

void
limits_set(struct limits *l, const struct limit_setting *s)
{
	l->setting = *s;
	l->now = s->usual;
	l->next_ms = 0;
}

const struct limit_setting *
limits_setting(const struct limits *l)
{
	return &l->setting;
}

struct schedule_rates
limits_now(const struct limits *l)
{
	return l->now;
}

void
limits_line(struct limits *l, const struct schedule_rates *share)
{
	/* less than that, and what the server says next could not be read */
	l->share.up = share->up != 0 ? max_of(share->up, LEAST) : 0;
	l->share.down = share->down != 0 ? max_of(share->down, LEAST) : 0;
	apply(l);
}

void
limits_pace(struct limits *l, const struct schedule_rates *pace)
{
	l->pace = *pace;
	apply(l);
}

const struct schedule_rates *
limits_share(const struct limits *l)
{
	return &l->share;
}
