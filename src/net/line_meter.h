/*
 * line_meter: what a node could move over its site's line, from what it moves and whether it has to
 * wait; that is what it demands (net/lease).
 *
 * Threads  the loop's.
 */
#pragma once

#include "net/lease.h"
#include "net/throttle.h"

struct line_meter {
	uint64_t at_ms;
	uint64_t total[LEASE_WAYS], want[LEASE_WAYS];
};
/* To be called again and again; a quarter of a second apart is well. */
void line_meter_look(struct line_meter *m, struct throttle *t, uint64_t now_ms);
