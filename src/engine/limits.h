/*
 * limits: what holds this node's connections back at this moment, brought together into its
 * throttle: what it was started with, what `weft limit` set with its schedule, the node's share of
 * its site's line, and the pace of background transfers.
 *
 * What it was started with (up-limit, down-limit) holds for every connection; the rest for far ones
 * alone, but for what was set with --lan.
 *
 * Threads  the loop's.
 */
#pragma once

#include "control/limit_setting.h"
#include "net/throttle.h"

struct limits;

/* T is kept; NULL: nothing is limited. */
struct limits *limits_new(struct throttle *t);
void limits_free(struct limits *l);
/* The schedule turns with the hours. */
void limits_tick(struct limits *l, uint64_t now_ms, int64_t wall_ns, int offset_min);
/* At once. */
void limits_set(struct limits *l, const struct limit_setting *s);
const struct limit_setting *limits_setting(const struct limits *l);
/* Of the setting, now. */
struct schedule_rates limits_now(const struct limits *l);
/* The node's share of its site's line; 0: the line has no limit. */
void limits_line(struct limits *l, const struct schedule_rates *share);
/* Of what makes way for others; 0: as quick as it likes. */
void limits_pace(struct limits *l, const struct schedule_rates *pace);
const struct schedule_rates *limits_share(const struct limits *l);
