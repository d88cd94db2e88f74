#include "loop/rest.h"

#include "base/mem.h"

/* After a silence the rate of before says nothing. */
static void
measure(struct rest *r, uint64_t now_us)
{
	uint64_t passed = now_us - r->since_us;

	if (passed < REST_WINDOW_US)
		return;
	uint64_t rate = passed < 2 * REST_WINDOW_US ? r->moved * 1000 * 1000 / passed : 0;
	uint64_t between = rate >= REST_SLOWEST ? REST_BYTES * (uint64_t)(1000 * 1000) / rate : 0;

	r->between_us = between >= REST_MIN_US ? min_of(between, (uint64_t)REST_MAX_US) : 0;
	r->since_us = now_us;
	r->moved = 0;
}

uint64_t
rest_for(struct rest *r, uint64_t now_us)
{
	if (r->moved == 0 && r->between_us == 0)
		return 0;
	measure(r, now_us);
	uint64_t due = r->looked_us + r->between_us;
	return due > now_us ? due - now_us : 0;
}

void
rest_looked(struct rest *r, uint64_t now_us)
{
	r->looked_us = now_us;
}
