/*
 * speed: how much came, and how much a second of late, without a timer of its own: whole seconds
 * that have passed are folded in when something is added or asked.  Zero is nothing so far.
 */
#pragma once

#include <stdint.h>

struct speed {
	uint64_t total;
	uint64_t rate;                /* of the seconds folded in */
	uint64_t from_ms, from_total; /* where the running second began; 0: none has */
};

void speed_add(struct speed *s, uint64_t n, uint64_t now_ms);
uint64_t speed_now(const struct speed *s, uint64_t now_ms); /* a second */
