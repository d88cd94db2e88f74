/*
 * schedule: which rates hold at which hour of the week.
 *
 * Text   rules, divided by ';', of which a later one overrules those before it in the hours that
 *        they share:  [DAYS] [HOURS] RATES
 *        DAYS   mon tue wed thu fri sat sun; mon-fri; sat,sun; left out: every day
 *        HOURS  08-18 (also 8:00-18:00), 22-06 goes on into the next day; left out: the whole day
 *        RATES  20Mbit for both ways, or off: no limit; or up RATE, down RATE, or both, each
 *               RATE or off
 *        for example "mon-fri 08-18 20Mbit; fri 08-18 up 50Mbit down 20Mbit; sat-sun off".
 *
 * An hour that no rule names, and a way that a rule leaves out, is as without a schedule.
 *
 * Pure: the time is handed in, of the place that the schedule is for.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum {
	SCHEDULE_DAYS = 7, /* from Monday */
	SCHEDULE_HOURS = 24,
	SCHEDULE_KINDS_MAX = 16, /* different rates in one week: each is shown as one letter */
	SCHEDULE_TEXT_MAX = 500,
};

struct schedule_rates {
	uint64_t up, down; /* bytes a second; 0: no limit */
};
struct schedule_kind {
	bool has_up, has_down; /* that it says something about */
	struct schedule_rates rates;
};
struct schedule {
	struct schedule_kind kinds[SCHEDULE_KINDS_MAX]; /* the first says nothing */
	uint8_t n_kinds;
	uint8_t week[SCHEDULE_DAYS][SCHEDULE_HOURS]; /* indices of kinds */
};

/* ERR_USAGE says which part of TEXT is wrong, and how it is written.  "" is a schedule that says
 * nothing. */
enum err schedule_parse(const char *text, struct schedule *ret, struct error *e) must_check;
/* What holds at that hour where USUAL does otherwise. */
struct schedule_rates schedule_at(
    const struct schedule *s, unsigned day, unsigned hour, const struct schedule_rates *usual);
/* When is it, for a clock of UTC that is OFFSET_MIN minutes east. */
struct schedule_time {
	unsigned day, hour;
	uint64_t left_ms; /* of that hour */
};
struct schedule_time schedule_time(int64_t wall_ns, int offset_min);
const char *schedule_day(unsigned day); /* "mon" */
