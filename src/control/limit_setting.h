/*
 * limit_setting: what `weft limit` sets for a node, for a job or for the line of a site: rates, a
 * schedule, whether near connections count, whether it yields to others.
 *
 * Pure.  Kept as a record (control/record.h); decoding treats its input as hostile.
 */
#pragma once

#include "control/control_message.h"
#include "net/schedule.h"

struct limit_setting {
	struct schedule_rates usual; /* where the schedule says nothing */
	bool lan;                    /* near connections, too */
	bool background;
	char schedule[SCHEDULE_TEXT_MAX + 1]; /* "": none */
	struct schedule week;                 /* the same, read */
};

bool limit_setting_is_none(const struct limit_setting *s);
/* Has R an option that sets something? */
bool limit_setting_is_asked(const struct control_request *r);
/* What R's options (up, down, lan, schedule, background, off) make of S; ERR_USAGE, and S is as it
 * was. */
enum err limit_setting_change(
    struct limit_setting *s, const struct control_request *r, struct error *e) must_check;
struct schedule_rates limit_setting_now(
    const struct limit_setting *s, int64_t wall_ns, int offset_min);

/* Empty of one that says nothing. */
void limit_setting_encode(const struct limit_setting *s, struct buf *out);
/* Of no bytes at all: one that says nothing. */
enum err limit_setting_decode(
    struct bytes b, struct limit_setting *ret, struct error *e) must_check;

/* For `weft limit`: the fields of what is set, */
void limit_setting_fields(const struct limit_setting *s, struct buf *row);
/* and, of one with a schedule, the lists "week" (a letter for each hour) and "rates" (what a letter
 * stands for), row by row to ON_ROW. */
void limit_setting_week(
    const struct limit_setting *s, void (*on_row)(void *ctx, struct bytes row), void *ctx);
