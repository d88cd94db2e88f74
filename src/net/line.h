/*
 * line: what lies between the two sides of a connection, and what follows from it.
 *
 * Near is a line inside a site: the queue that fills is our own or a neighbour's, many connections
 * share it, and what waits in it is late.  Far is anything else: it may be long, it may lose
 * packets, and few connections have it for themselves.
 *
 * Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum line_class { LINE_UNKNOWN, LINE_NEAR, LINE_FAR };

enum { LINE_NEAR_US = 5 * 1000 }; /* the longest round trip inside a site */

/* What the shortest round trip says, where nobody knows better; 0: not measured. */
static inline enum line_class
line_by_rtt(uint64_t rtt_min_us)
{
	if (rtt_min_us == 0)
		return LINE_UNKNOWN;
	return rtt_min_us <= LINE_NEAR_US ? LINE_NEAR : LINE_FAR;
}
