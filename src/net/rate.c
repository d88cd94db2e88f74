#include "net/rate.h"

#include "base/mem.h"

enum { WAIT_MAX_MS = 600 * 1000 }; /* of one refill: a clock that jumps is no gift */

void
rate_init(struct rate *r, uint64_t bytes_s, uint64_t now_ms)
{
	*r = (struct rate){ .bytes_s = min_of(bytes_s, RATE_MAX), .at_ms = now_ms };
}

static int64_t
most_of(const struct rate *r)
{
	return (int64_t)(r->bytes_s * RATE_BURST_MS);
}

/* In thousandths of a byte a millisecond is worth bytes_s. */
static void
refill(struct rate *r, uint64_t now_ms)
{
	if (now_ms <= r->at_ms)
		return;
	r->left += (int64_t)(r->bytes_s * min_of(now_ms - r->at_ms, (uint64_t)WAIT_MAX_MS));
	r->left = min_of(r->left, most_of(r));
	r->at_ms = now_ms;
}

void
rate_change(struct rate *r, uint64_t bytes_s, uint64_t now_ms)
{
	bytes_s = min_of(bytes_s, RATE_MAX);
	if (bytes_s == r->bytes_s)
		return;
	if (r->bytes_s == 0 || bytes_s == 0) {
		rate_init(r, bytes_s, now_ms);
		return;
	}
	refill(r, now_ms);
	r->bytes_s = bytes_s;
	r->left = min_of(r->left, most_of(r));
}

bool
rate_has(struct rate *r, uint64_t now_ms)
{
	if (r->bytes_s == 0)
		return true;
	refill(r, now_ms);
	return r->left > 0;
}

void
rate_take(struct rate *r, size_t bytes)
{
	if (r->bytes_s != 0)
		r->left -= (int64_t)bytes * 1000;
}

void
rate_give(struct rate *r, size_t bytes)
{
	if (r->bytes_s != 0)
		r->left = min_of(r->left + (int64_t)bytes * 1000, most_of(r));
}

uint64_t
rate_wait_ms(const struct rate *r)
{
	if (r->bytes_s == 0 || r->left > 0)
		return 1;
	return (uint64_t)-r->left / r->bytes_s + 1;
}
