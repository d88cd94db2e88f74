/*
 * lane_plan: how many connections (peer/lane) carry the units of one pair of devices.
 *
 * Where packets are lost, or a window cannot grow to what a long line holds, one connection leaves
 * most of the line empty and several fill it.  Nobody can know that but by trying: while units move
 * over a long line in which no queue stands, one lane more is opened, and it stays if together they
 * then move clearly more.  If not it is closed, and the next try waits twice as long.
 *
 * A standing queue (the round trip takes much longer than the shortest one did) says that the line
 * is full: a lane more would only take another pair's part of it.
 *
 * Pure.  Times are milliseconds of a monotonic clock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
	LANE_PLAN_LOOK_MS = 1000,  /* how often to judge */
	LANE_PLAN_RTT_MS = 10,     /* a shorter line is filled by one; unless the owner says */
	LANE_PLAN_BUSY_MS = 2000,  /* of moving units, before a lane is tried */
	LANE_PLAN_TRIAL_MS = 3000, /* a lane gets this long to show what it brings */
	LANE_PLAN_IDLE_MS = 10000, /* then lanes are closed */
	LANE_PLAN_WAIT_MIN_MS = 10 * 1000,
	LANE_PLAN_WAIT_MAX_MS = 5 * 60 * 1000,
	LANE_PLAN_GAIN_PERCENT = 10, /* that a lane must bring */
};

struct lane_plan {         /* zero: nothing was tried */
	uint64_t trial_ms; /* when the last lane was opened, and is on trial; 0: none is */
	uint64_t before;   /* the rate when it was */
	uint64_t next_ms;  /* no trial before this */
	uint64_t wait_ms;  /* after the last trial that failed; 0: none has */
	uint64_t busy_ms;  /* since when units move; 0: they do not */
	uint64_t idle_ms;  /* since when they do not; 0: they do */
};
struct lane_sight {     /* what is seen of the pair now */
	bool long_line; /* between two sites, and long enough that one may not fill it */
	bool busy;      /* units are being asked for, or given */
	uint32_t lanes; /* beside the main connection, those under way included */
	uint32_t lanes_max;
	uint64_t rate;       /* bytes a second, both ways, all connections */
	uint32_t rtt_ms;     /* of late; 0: not known */
	uint32_t rtt_min_ms; /* the shortest; 0: not known */
};
enum lane_advice { LANE_STAY, LANE_OPEN, LANE_CLOSE /* the youngest */ };
/* Call every LANE_PLAN_LOOK_MS, and do what it says. */
enum lane_advice lane_plan_judge(
    struct lane_plan *p, const struct lane_sight *now, uint64_t now_ms);
