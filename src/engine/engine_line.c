/*
 * This node's share of its site's line: asked of the server each second, kept to in between, and
 * its floor remembered, in case that the server is away when we start again.
 */
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "platform/clock.h"

#define KEY_FLOOR "limit.floor"
enum { KEEP_MS = 60 * 1000, ZONE_UTC = 24 * 60 };

/* -- what is remembered -- */

struct keep_floor {
	struct engine_work work;
	uint64_t floor[LEASE_WAYS];
};

static enum err
work_keep(struct engine_work *w, struct error *e)
{
	const struct keep_floor *k = (const struct keep_floor *)w;
	auto_buf struct buf b = BUF(RECORD_MAX);

	if (k->floor[0] != 0)
		record_rate(&b, "up", k->floor[0]);
	if (k->floor[1] != 0)
		record_rate(&b, "down", k->floor[1]);
	return state_set(w->engine->state, KEY_FLOOR, buf_bytes(&b), e);
}

static void
done_keep(struct engine_work *w, enum err r, const struct error *e)
{
	(void)r; /* it is said again in a minute */
	(void)e;
	free(w);
}

/* When it is another one than is kept; a bit more or less, as members come and go, is no matter. */
static void
keep(struct engine *en, uint64_t now_ms)
{
	struct engine_line *l = &en->line;
	bool differs = false;

	for (int i = 0; i < LEASE_WAYS; i++) {
		uint64_t is = l->holder.floor[i], was = l->kept[i];
		differs |= (is == 0) != (was == 0) || is > was + was / 8 || is + is / 8 < was;
	}
	if (!differs || now_ms < l->kept_ms)
		return;
	l->kept_ms = now_ms + KEEP_MS;
	struct keep_floor *k = mem_new(struct keep_floor);
	k->work = (struct engine_work){ .work = work_keep, .done = done_keep };
	memcpy(k->floor, l->holder.floor, sizeof k->floor);
	memcpy(l->kept, l->holder.floor, sizeof l->kept);
	engine_write(en, &k->work);
}

enum err
engine_line_load(struct engine *en, struct error *e)
{
	auto_buf struct buf b = BUF(RECORD_MAX);
	struct engine_line *l = &en->line;
	enum err r = state_get(en->state, KEY_FLOOR, &b, e);

	if (r == OK)
		r = record_check(buf_bytes(&b), e);
	if (r == OK) {
		l->kept[0] = record_num(buf_bytes(&b), "up");
		l->kept[1] = record_num(buf_bytes(&b), "down");
	}
	lease_holder_init(&l->holder, l->kept);
	return r == ERR_NOTFOUND ? OK : r;
}

/* -- time -- */

static void
send_demand(struct engine *en, const struct lease_demand *d)
{
	struct message m = { .type = FRAME_DEMAND };

	m.demand = (struct msg_demand){
		.number = d->number,
		.acked = d->acked,
		.want_up = d->want[THROTTLE_UP],
		.want_down = d->want[THROTTLE_DOWN],
		.floor_up = d->floor[THROTTLE_UP],
		.floor_down = d->floor[THROTTLE_DOWN],
		.zone = (uint16_t)(clock_offset_min(clock_wall_ns()) + ZONE_UTC),
	};
	if (session_send(peer_session(en->link.peer), &m, NULL) == OK)
		peer_flush(en->link.peer);
}

static void
apply(struct engine *en, uint64_t now_ms)
{
	uint64_t rates[LEASE_WAYS];

	/* as it will be at the next tick: rather early than late */
	lease_holder_rates(&en->line.holder, now_ms + ENGINE_TICK_MS, rates);
	limits_line(en->limits,
	    &(struct schedule_rates){ .up = rates[THROTTLE_UP], .down = rates[THROTTLE_DOWN] });
}

void
engine_line_tick(struct engine *en)
{
	uint64_t now_ms = loop_now_ms(en->loop);
	struct engine_line *l = &en->line;
	struct lease_demand d;

	if (en->o.is_server || en->o.throttle == NULL)
		return;
	line_meter_look(&l->meter, en->o.throttle, now_ms);
	if (en->link.ready && lease_holder_demand(&l->holder, now_ms, l->meter.want, &d))
		send_demand(en, &d);
	apply(en, now_ms);
	keep(en, now_ms);
}

/* Before anything else is asked: what the answer allows holds for that, too. */
void
engine_line_ready(struct engine *en)
{
	lease_holder_connected(&en->line.holder);
	engine_line_tick(en);
}

void
engine_line_lease(struct engine *en, const struct msg_lease *m)
{
	const struct lease l = {
		.number = m->number,
		.rate = { [THROTTLE_UP] = m->rate_up, [THROTTLE_DOWN] = m->rate_down },
		.floor = { [THROTTLE_UP] = m->floor_up, [THROTTLE_DOWN] = m->floor_down },
	};

	lease_holder_take(&en->line.holder, loop_now_ms(en->loop), &l);
	engine_line_tick(en);
}

void
engine_line(struct engine *en, const struct schedule_rates *share)
{
	limits_line(en->limits, share);
}
