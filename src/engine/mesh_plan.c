#include "engine/mesh_plan.h"

#include <string.h>

#include "base/mem.h"

/* -- which of two stays -- */

static bool
is_smaller(const struct device_id *a, const struct device_id *b)
{
	return memcmp(a->bytes, b->bytes, DEVICE_ID_BYTES) < 0;
}

bool
mesh_plan_old_stays(const struct device_id *self, const struct device_id *other,
    const struct mesh_plan_line *old, const struct mesh_plan_line *new)
{
	if (old->dialed == new->dialed || new->ready_ms - old->ready_ms > MESH_PLAN_CROSSED_MS)
		return false;
	return old->dialed == is_smaller(self, other);
}

/* Ours stays if we are the smaller one; the other counts on it as soon as it is ready there, which
 * we cannot know.  The larger one's would be closed anyway. */
bool
mesh_plan_dial_goes_on(const struct device_id *self, const struct device_id *other)
{
	return is_smaller(self, other);
}

/* -- whom to dial -- */

static bool
is_due(const struct mesh_plan_device *d)
{
	return d->wanted && d->reachable && !d->connected && !d->dialing && !d->banned;
}

static bool
has_room(const struct mesh_plan_device *const *devices, size_t n)
{
	size_t dialing = 0, dialed = 0;

	for (size_t i = 0; i < n; i++) {
		dialing += devices[i]->dialing;
		dialed += devices[i]->dialed;
	}
	return dialing < MESH_PLAN_DIALS_MAX && dialing + dialed < MESH_PLAN_DIALED_MAX;
}

static bool
goes_before(const struct mesh_plan_device *a, const struct mesh_plan_device *b)
{
	return a->failures != b->failures ? a->failures < b->failures : a->next_ms < b->next_ms;
}

size_t
mesh_plan_next(const struct mesh_plan_device *const *devices, size_t n, uint64_t now_ms)
{
	size_t best = n;

	if (!has_room(devices, n))
		return n;
	for (size_t i = 0; i < n; i++) {
		if (is_due(devices[i]) && devices[i]->next_ms <= now_ms &&
		    (best == n || goes_before(devices[i], devices[best])))
			best = i;
	}
	return best;
}

uint64_t
mesh_plan_wakes(const struct mesh_plan_device *const *devices, size_t n, uint64_t now_ms)
{
	uint64_t first = UINT64_MAX;

	if (!has_room(devices, n))
		return UINT64_MAX; /* a dial that ends makes room */
	for (size_t i = 0; i < n; i++) {
		if (is_due(devices[i]))
			first = min_of(first, max_of(devices[i]->next_ms, now_ms));
	}
	return first;
}

void
mesh_plan_dialing(struct mesh_plan_device *d)
{
	d->dialing = true;
}

static void
wait_longer(struct mesh_plan_device *d, uint64_t now_ms, uint64_t dice)
{
	uint64_t wait = max_of(d->backoff_ms, (uint64_t)MESH_PLAN_BACKOFF_MIN_MS);

	d->failures++;
	d->next_ms = now_ms + wait + dice % (wait / 4 + 1);
	d->backoff_ms = min_of(wait * 3 / 2, (uint64_t)MESH_PLAN_BACKOFF_MAX_MS);
}

void
mesh_plan_failed(struct mesh_plan_device *d, uint64_t now_ms, uint64_t dice)
{
	d->dialing = false;
	wait_longer(d, now_ms, dice);
}

void
mesh_plan_ready(struct mesh_plan_device *d, bool dialed)
{
	d->connected = true;
	d->dialed = dialed;
	d->dialing &= !dialed;
}

void
mesh_plan_gone(struct mesh_plan_device *d, uint64_t ready_ms, uint64_t now_ms, uint64_t dice)
{
	d->connected = d->dialed = false;
	if (now_ms - ready_ms >= MESH_PLAN_LASTING_MS) {
		d->failures = 0;
		d->backoff_ms = 0;
	}
	wait_longer(d, now_ms, dice);
}

/* -- asking a third -- */

bool
mesh_plan_asks(struct mesh_plan_device *d, uint64_t now_ms)
{
	if (!d->wanted || d->connected || d->banned ||
	    (d->asked_ms != 0 && now_ms - d->asked_ms < MESH_PLAN_ASK_MS))
		return false;
	d->asked_ms = now_ms;
	return true;
}

bool
mesh_plan_called(struct mesh_plan *p, struct mesh_plan_device *d, uint64_t now_ms)
{
	if (d->connected || d->dialing || d->banned ||
	    (d->called_ms != 0 && now_ms - d->called_ms < MESH_PLAN_CALL_MS))
		return false;
	if (now_ms - p->calls_ms >= MESH_PLAN_CALLS_MS) {
		p->calls_ms = now_ms;
		p->calls = 0;
	}
	if (p->calls == MESH_PLAN_CALLS_MAX)
		return false;
	p->calls++;
	d->called_ms = now_ms;
	return true;
}
