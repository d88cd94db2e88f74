#include "engine/shrink.h"

#include "base/mem.h"

/* Is packing quick enough for a line of RATE? */
static bool
keeps_up(const struct shrink *s, uint64_t rate, uint64_t times)
{
	return s->speed == 0 || s->speed >= rate * times;
}

static void
turn_off(struct shrink *s, uint64_t rate, uint64_t now_ms)
{
	s->on = false;
	if (keeps_up(s, rate, SHRINK_SPEED_OFF))
		return;
	s->rest_ms = now_ms + SHRINK_REST_MS;
	s->speed = 0; /* the processor may have other things to do by then */
}

static void
judge(struct shrink *s, uint64_t now_ms)
{
	uint64_t rate = s->busy_bytes * 1000 / s->busy_ms, eighths = s->held_ms * 8 / s->busy_ms;

	if (!s->on)
		s->on = eighths >= SHRINK_ON_EIGHTHS && rate <= SHRINK_LINE_MAX &&
			now_ms >= s->rest_ms && keeps_up(s, rate, SHRINK_SPEED_ON);
	else if (eighths < SHRINK_OFF_EIGHTHS || rate > SHRINK_LINE_MAX + SHRINK_LINE_MAX / 4 ||
		 !keeps_up(s, rate, SHRINK_SPEED_OFF))
		turn_off(s, rate, now_ms);
	s->busy_ms = s->held_ms = s->busy_bytes = 0;
}

void
shrink_line(struct shrink *s, const struct shrink_line *l)
{
	if (s->busy) {
		s->busy_ms += l->now_ms - s->at_ms;
		s->held_ms += s->held && l->was_held ? l->now_ms - s->at_ms : 0;
		s->busy_bytes += l->out - s->out;
	}
	s->at_ms = l->now_ms;
	s->out = l->out;
	s->busy = l->busy;
	s->held = l->is_held;
	if (s->busy_ms >= SHRINK_LOOK_MS)
		judge(s, l->now_ms);
}

bool
shrink_wants(struct shrink *s, uint32_t bytes)
{
	if (!s->on)
		return false;
	if (s->skip == 0)
		return true;
	s->skip -= min_of(s->skip, (uint64_t)bytes);
	return false;
}

void
shrink_packed(struct shrink *s, const struct shrink_result *r)
{
	uint64_t speed = r->us > 0 ? r->bytes * 1000000 / r->us : 0;

	/* What does not shrink is found out quickly, which says little. */
	if (speed > 0 && !r->failed)
		s->speed = s->speed > 0 ? (3 * s->speed + speed) / 4 : speed;
	if (r->failed) {
		s->next_skip = s->next_skip == 0
				   ? SHRINK_SKIP_MIN
				   : min_of(2 * s->next_skip, (uint64_t)SHRINK_SKIP_MAX);
		s->skip = s->next_skip;
	} else {
		s->next_skip = 0;
	}
}
