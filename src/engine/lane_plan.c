#include "engine/lane_plan.h"

#include "base/mem.h"

static void
note_busy(struct lane_plan *p, bool busy, uint64_t now_ms)
{
	uint64_t at = max_of(now_ms, (uint64_t)1);

	if (busy) {
		p->idle_ms = 0;
		p->busy_ms = p->busy_ms == 0 ? at : p->busy_ms;
	} else {
		p->busy_ms = 0;
		p->idle_ms = p->idle_ms == 0 ? at : p->idle_ms;
	}
}

/* Half as long again as the shortest, and more than the shaking of a timer. */
static bool
is_full(const struct lane_sight *s)
{
	return s->rtt_ms > s->rtt_min_ms + max_of(s->rtt_min_ms / 2, (uint32_t)LANE_PLAN_RTT_MS);
}

static enum lane_advice
end_trial(struct lane_plan *p, const struct lane_sight *s, uint64_t now_ms)
{
	bool good = s->rate * 100 >= p->before * (100 + LANE_PLAN_GAIN_PERCENT);

	p->trial_ms = 0;
	if (good) {
		p->wait_ms = 0;
		return LANE_STAY;
	}
	p->wait_ms = p->wait_ms == 0 ? LANE_PLAN_WAIT_MIN_MS
				     : min_of(2 * p->wait_ms, (uint64_t)LANE_PLAN_WAIT_MAX_MS);
	p->next_ms = now_ms + p->wait_ms;
	return s->lanes > 0 ? LANE_CLOSE : LANE_STAY;
}

static enum lane_advice
judge_busy(struct lane_plan *p, const struct lane_sight *s, uint64_t now_ms)
{
	if (p->trial_ms != 0)
		return now_ms < p->trial_ms + LANE_PLAN_TRIAL_MS ? LANE_STAY
								 : end_trial(p, s, now_ms);
	if (s->lanes >= s->lanes_max || now_ms < p->next_ms || is_full(s) ||
	    now_ms < p->busy_ms + LANE_PLAN_BUSY_MS)
		return LANE_STAY;
	p->trial_ms = max_of(now_ms, (uint64_t)1);
	p->before = s->rate;
	return LANE_OPEN;
}

enum lane_advice
lane_plan_judge(struct lane_plan *p, const struct lane_sight *now, uint64_t now_ms)
{
	note_busy(p, now->busy && now->long_line, now_ms);
	if (p->busy_ms != 0)
		return judge_busy(p, now, now_ms);
	p->trial_ms = 0; /* what moved so little says nothing */
	return now->lanes > 0 && now_ms >= p->idle_ms + LANE_PLAN_IDLE_MS ? LANE_CLOSE : LANE_STAY;
}
