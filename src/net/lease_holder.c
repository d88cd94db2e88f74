/* The node's side of net/lease.h. */
#include "net/lease.h"

#include "base/mem.h"

void
lease_holder_init(struct lease_holder *h, const uint64_t floor[LEASE_WAYS])
{
	*h = (struct lease_holder){ 0 };
	for (int i = 0; floor != NULL && i < LEASE_WAYS; i++)
		h->floor[i] = floor[i];
}

void
lease_holder_connected(struct lease_holder *h)
{
	h->number = h->acked = 0;
}

bool
lease_holder_is_limited(const struct lease_holder *h)
{
	return h->floor[0] != 0 || h->floor[1] != 0;
}

/* Is it surely below its fair share?  That is never less than the floor of who can use it. */
static bool
is_short(const struct lease_holder *h, const uint64_t want[LEASE_WAYS])
{
	for (int i = 0; i < LEASE_WAYS; i++) {
		if (min_of(want[i], h->floor[i]) > h->rate[i] + h->rate[i] / 16)
			return true;
	}
	return false;
}

static bool
is_due(const struct lease_holder *h, uint64_t now_ms, const uint64_t want[LEASE_WAYS])
{
	uint64_t asked_ms = h->asked_ms[h->number % lengthof(h->asked_ms)];

	if (h->number == 0)
		return true;
	if (!lease_holder_is_limited(h))
		return false;
	return h->is_called ||
	       now_ms >= asked_ms + (is_short(h, want) ? LEASE_HURRY_MS : LEASE_RENEW_MS);
}

bool
lease_holder_demand(struct lease_holder *h, uint64_t now_ms, const uint64_t want[LEASE_WAYS],
    struct lease_demand *ret)
{
	if (!is_due(h, now_ms, want))
		return false;
	h->is_called = false;
	h->number++;
	h->asked_ms[h->number % lengthof(h->asked_ms)] = now_ms;
	*ret = (struct lease_demand){ .number = h->number, .acked = h->acked };
	for (int i = 0; i < LEASE_WAYS; i++) {
		ret->want[i] = want[i];
		ret->floor[i] = h->floor[i];
	}
	return true;
}

/* Of a demand that is too long ago nobody knows when it went out. */
static bool
is_ours(const struct lease_holder *h, uint32_t number)
{
	return number > h->acked && number <= h->number &&
	       h->number - number < lengthof(h->asked_ms);
}

/* A way whose limit is new has its floor for a start; of one that had a limit the answer to the
 * demand that we make now will tell. */
static void
take_call(struct lease_holder *h, const struct lease *l)
{
	for (int i = 0; i < LEASE_WAYS; i++) {
		if (h->floor[i] == 0 || l->floor[i] == 0)
			h->rate[i] = h->floor[i] = l->floor[i];
	}
	h->is_called = true;
}

void
lease_holder_take(struct lease_holder *h, uint64_t now_ms, const struct lease *l)
{
	if (l->number == 0) {
		take_call(h, l);
		return;
	}
	if (!is_ours(h, l->number))
		return;
	uint64_t until_ms = h->asked_ms[l->number % lengthof(h->asked_ms)] + LEASE_MS;
	h->acked = l->number;
	if (now_ms >= until_ms)
		return; /* too late to be used; the book never took it for one that we have */
	for (int i = 0; i < LEASE_WAYS; i++) {
		h->rate[i] = l->rate[i];
		h->floor[i] = l->floor[i];
	}
	h->until_ms = until_ms;
	h->floor_ms = now_ms + 2 * (uint64_t)LEASE_MS;
}

void
lease_holder_rates(const struct lease_holder *h, uint64_t now_ms, uint64_t ret[LEASE_WAYS])
{
	for (int i = 0; i < LEASE_WAYS; i++) {
		if (now_ms < h->until_ms)
			ret[i] = h->rate[i];
		else if (now_ms < h->floor_ms)
			ret[i] = min_of(h->rate[i], h->floor[i]);
		else
			ret[i] = h->floor[i];
	}
}
