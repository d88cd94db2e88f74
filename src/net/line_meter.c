#include "net/line_meter.h"

#include "base/mem.h"

/* Who does not wait wants a little more than it moves, so that it can grow; what it wanted wears
 * off, so that a pause between two units is not the end. */
static uint64_t
want_of(uint64_t before, uint64_t moved, uint64_t ms)
{
	uint64_t now = moved * 1000 / ms;

	if (before == LEASE_HUNGRY)
		before = now;
	return max_of(now + now / 4, before - before / 4);
}

void
line_meter_look(struct line_meter *m, struct throttle *t, uint64_t now_ms)
{
	if (now_ms <= m->at_ms)
		return;
	for (int i = 0; i < LEASE_WAYS; i++) {
		enum throttle_way way = (enum throttle_way)i;
		uint64_t total = throttle_far_total(t, way);
		m->want[i] = throttle_was_short(t, way)
				 ? LEASE_HUNGRY
				 : want_of(m->want[i], total - m->total[i], now_ms - m->at_ms);
		m->total[i] = total;
	}
	m->at_ms = now_ms;
}
