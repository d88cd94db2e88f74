#include "engine/nearness.h"

#include <stdlib.h>

#include "base/mem.h"

static int
compare(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static size_t
count_near(const uint32_t *rtts, size_t n, uint32_t near_us)
{
	size_t near = 0;

	while (near < n && rtts[near] <= near_us)
		near++;
	return near;
}

/* Were enough of them asked? */
static bool
is_ripe(const struct nearness *n, size_t n_rtts, size_t known, uint64_t now_ms)
{
	return n_rtts > 0 && (n_rtts >= min_of(known, (size_t)NEARNESS_MATES) ||
				 now_ms - n->since_ms >= NEARNESS_WAIT_MS);
}

/* Most are far: does that turn what is believed? */
static bool
has_turned(struct nearness *n, uint64_t now_ms)
{
	if (n->belief != NEARNESS_BELIEVED)
		return true;
	if (n->against_ms == 0)
		n->against_ms = max_of(now_ms, (uint64_t)1);
	return now_ms - n->against_ms >= NEARNESS_HOLD_MS;
}

bool
nearness_judge(struct nearness *n, uint32_t *rtts, size_t n_rtts, size_t known, uint32_t near_us,
    uint64_t now_ms)
{
	enum nearness_belief before = n->belief;

	if (n->since_ms == 0 && known > 0)
		n->since_ms = max_of(now_ms, (uint64_t)1);
	if (!is_ripe(n, n_rtts, known, now_ms))
		return false;
	qsort(rtts, n_rtts, sizeof *rtts, compare);
	size_t near = count_near(rtts, n_rtts, near_us);
	n->mates = (uint32_t)n_rtts;
	n->near = (uint32_t)near;
	n->rtt_us = rtts[(n_rtts - 1) / 2];
	if (2 * near >= n_rtts) {
		n->belief = NEARNESS_BELIEVED;
		n->against_ms = 0;
	} else if (has_turned(n, now_ms)) {
		n->belief = NEARNESS_DOUBTED;
	}
	return n->belief != before;
}

bool
nearness_probes(struct nearness *n, uint64_t now_ms)
{
	bool calm = n->belief == NEARNESS_BELIEVED && n->against_ms == 0;

	if (calm || n->since_ms == 0) {
		n->wait_ms = 0;
		return false;
	}
	if (n->wait_ms > 0 && now_ms < n->probe_ms)
		return false;
	n->wait_ms = n->wait_ms == 0 ? NEARNESS_PROBE_MIN_MS
				     : min_of(2 * n->wait_ms, (uint64_t)NEARNESS_PROBE_MAX_MS);
	n->probe_ms = now_ms + n->wait_ms;
	return true;
}
