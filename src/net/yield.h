/*
 * yield: the pace of transfers that make way for everything else on the line.
 *
 * What waits in a line's queue delays all who use it, so the delay tells of others before any loss
 * does: this one speeds up while packets wait less than YIELD_TARGET_US on their way, in proportion
 * to what is left, and slows down as soon as they wait longer, so it takes what nobody else wants
 * and gives it back within a few round trips.  As what it has put there itself is delay, too, it
 * stops now and then for a moment, that the shortest round trip can be seen again.
 *
 * In the manner of LEDBAT++, with a rate in place of a window, as one pace is for all far
 * connections of a node.  A window settles by itself (a longer queue makes the same window slower);
 * a rate would swing, and so it answers not only to the queue but also to its growth.
 *
 * Pure: the time is handed in.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
	YIELD_TARGET_US = 60 * 1000,
	YIELD_PAUSE_MS = 20 * 1000, /* between two stops at the least */
};
#define YIELD_MIN UINT64_C(16000) /* bytes a second, RATE_MIN: with less, others give us up */

/* What is seen of the line. */
struct yield_sight {
	uint32_t rtt_us;  /* now; 0: nothing moves */
	uint32_t base_us; /* the shortest */
	uint64_t moved;   /* bytes since it was looked at last */
	bool lost;        /* packets, since then */
};
struct yield {
	uint64_t rate;           /* bytes a second */
	uint64_t at_ms, waits;   /* when it was looked at last; the queue then, in microseconds */
	uint64_t halved_ms;      /* for packets that were lost */
	bool is_starting;        /* nobody was in the way yet: it doubles */
	uint64_t stop_ms, go_ms; /* the next stop; the end of this one, 0: it goes */
	uint64_t before;         /* the rate before it */
};

void yield_init(struct yield *y, uint64_t now_ms);
/* To be called again and again, up to a few times in a round trip: the pace from now on. */
uint64_t yield_look(struct yield *y, uint64_t now_ms, const struct yield_sight *sight);
