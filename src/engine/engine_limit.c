/*
 * `weft limit`: what this node's transfers are held to; kept in state.db.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "platform/clock.h"

#define KEY_NODE "limit.node"

/* -- keeping -- */

struct keep {
	struct engine_work work;
	struct control_call *call;
	struct limit_setting setting;
};

static enum err
work_keep(struct engine_work *w, struct error *e)
{
	const struct keep *k = (const struct keep *)w;
	auto_buf struct buf b = BUF(RECORD_MAX);

	limit_setting_encode(&k->setting, &b);
	return state_set(w->engine->state, KEY_NODE, buf_bytes(&b), e);
}

static void tick(struct engine *en);
static void send_node(struct engine *en, struct control_call *call);

static void
done_keep(struct engine_work *w, enum err r, const struct error *e)
{
	struct keep *k = (struct keep *)w;
	struct engine *en = w->engine;

	if (r == OK) {
		limits_set(en->limits, &k->setting);
		engine_yield_set(en, k->setting.background);
		tick(en);
		send_node(en, k->call);
	}
	control_call_done(k->call, r == OK ? NULL : e, -1);
	free(k);
}

enum err
engine_limit_load(struct engine *en, struct error *e)
{
	auto_buf struct buf b = BUF(RECORD_MAX);
	struct limit_setting s;
	enum err r = state_get(en->state, KEY_NODE, &b, e);

	if (r == ERR_NOTFOUND)
		return OK;
	if (r == OK)
		r = limit_setting_decode(buf_bytes(&b), &s, e);
	if (r != OK)
		return error_wrap(e, r, "read the limits that were set");
	limits_set(en->limits, &s);
	tick(en);
	return OK;
}

static void
tick(struct engine *en)
{
	int64_t now = clock_wall_ns();

	limits_tick(en->limits, loop_now_ms(en->loop), now, clock_offset_min(now));
}

void
engine_limit_tick(struct engine *en)
{
	tick(en);
}

/* -- showing -- */

static void
send_row(void *ctx, struct bytes row)
{
	control_call_row(ctx, row);
}

static void
add_rates(struct buf *row, const char *up, const char *down, uint64_t up_rate, uint64_t down_rate)
{
	if (up_rate != 0)
		record_rate(row, up, up_rate);
	if (down_rate != 0)
		record_rate(row, down, down_rate);
}

static void
send_node(struct engine *en, struct control_call *call)
{
	const struct limit_setting *s = limits_setting(en->limits);
	const struct schedule_rates *share = limits_share(en->limits);
	const struct throttle *t = en->o.throttle;
	auto_buf struct buf row = BUF(RECORD_MAX);

	limit_setting_fields(s, &row);
	add_rates(&row, "share_up", "share_down", share->up, share->down);
	add_rates(&row, "up_now", "down_now", throttle_rate(t, THROTTLE_UP, false),
	    throttle_rate(t, THROTTLE_DOWN, false));
	add_rates(&row, "near_up_now", "near_down_now", throttle_rate(t, THROTTLE_UP, true),
	    throttle_rate(t, THROTTLE_DOWN, true));
	control_call_row(call, buf_bytes(&row));
	limit_setting_week(s, send_row, call);
}

/* -- the command -- */

static void
set_node(struct engine *en, struct control_call *call, const struct control_request *r)
{
	struct limit_setting s = *limits_setting(en->limits);
	struct error e;

	if (limit_setting_change(&s, r, &e) != OK) {
		control_call_done(call, &e, -1);
		return;
	}
	struct keep *k = mem_new(struct keep);
	k->work = (struct engine_work){ .work = work_keep, .done = done_keep };
	k->call = call;
	k->setting = s;
	engine_write(en, &k->work);
}

void
engine_limit(struct engine *en, struct control_call *call, const struct control_request *r)
{
	struct error e;

	if (control_flag(r, "site")) {
		(void)fail(&e, ERR_USAGE,
		    "a site's line is limited on the server: `weft limit --site` on its machine "
		    "and home");
		control_call_done(call, &e, -1);
	} else if (limit_setting_is_asked(r)) {
		set_node(en, call, r);
	} else {
		send_node(en, call);
		control_call_done(call, NULL, -1);
	}
}
