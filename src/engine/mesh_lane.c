/*
 * Lanes of a pair: opened by the side that dialed the current connection, when lane_plan says so;
 * joined to it (peer/lane) on both sides.  Responders are told of them as of the current one: who
 * is behind a lane is who is behind that.
 */
#include <string.h>

#include "base/log.h"
#include "engine/mesh_private.h"

/* -- what responders ask and tell -- */

static enum err
allow(void *ctx, struct peer *p, const struct responder_ask *ask, struct error *e)
{
	const struct responder_policy *o = &((struct mesh *)ctx)->o.policy;

	return o->allow(o->ctx, lane_main(p), ask, e);
}

static enum err
begin(void *ctx, struct peer *p, const struct responder_ask *ask, struct error *e)
{
	const struct responder_policy *o = &((struct mesh *)ctx)->o.policy;

	return o->begin != NULL ? o->begin(o->ctx, lane_main(p), ask, e) : OK;
}

static void
over(void *ctx, struct peer *p, const struct responder_ask *ask, const struct responder_sent *sent)
{
	const struct responder_policy *o = &((struct mesh *)ctx)->o.policy;

	if (o->over != NULL)
		o->over(o->ctx, lane_main(p), ask, sent);
}

static void
sent(void *ctx, struct peer *p, const struct hash_id *share, uint64_t bytes)
{
	const struct responder_policy *o = &((struct mesh *)ctx)->o.policy;

	if (o->sent != NULL)
		o->sent(o->ctx, lane_main(p), share, bytes);
}

static void
failed(void *ctx, struct peer *p, const struct responder_ask *ask, const struct error *why)
{
	const struct responder_policy *o = &((struct mesh *)ctx)->o.policy;

	if (o->failed != NULL)
		o->failed(o->ctx, lane_main(p), ask, why);
}

/* All connections of D that are of use. */
static bool
is_part(const struct line *l, const struct mesh_device *d)
{
	return l->device == d && l->ready && !l->closing && (l->lane != 0 || d->line == l);
}

/* It takes bytes as long as one of its connections does. */
static void
settle_blocked(struct mesh *m, struct mesh_device *d)
{
	const struct responder_policy *o = &m->o.policy;
	bool blocked = d->line != NULL;

	array_each (l, &m->lines)
		blocked &= (*l)->blocked || !is_part(*l, d);
	if (blocked == d->blocked)
		return;
	d->blocked = blocked;
	if (o->blocked != NULL && d->line != NULL)
		o->blocked(o->ctx, d->line->peer, blocked);
}

static void
blocked(void *ctx, struct peer *p, bool is_blocked)
{
	struct line *l = peer_owner(p);

	l->blocked = is_blocked;
	if (!l->closing && l->device != NULL)
		settle_blocked(ctx, l->device);
}

struct responder_policy
mesh_lane_policy(struct mesh *m)
{
	return (struct responder_policy){ .allow = allow,
		.begin = begin,
		.over = over,
		.blocked = blocked,
		.sent = sent,
		.failed = failed,
		.window = m->o.policy.window,
		.ctx = m };
}

/* -- joining and ending -- */

static uint32_t
count(const struct mesh *m, const struct mesh_device *d)
{
	uint32_t n = 0;

	array_each (l, &m->lines)
		n += (*l)->device == d && (*l)->lane != 0 && !(*l)->closing;
	return n;
}

/* Whoever dialed the current one opens its lanes, so that there is one who decides. */
void
mesh_lane_ready(struct line *l)
{
	struct mesh_device *d = l->device;

	if (d->line == NULL || d->line->dialed != l->dialed || count(l->mesh, d) > LIMIT_LANES) {
		mesh_line_close(l, NULL);
		return;
	}
	conn_set_line(peer_conn(l->peer), LINE_FAR);
	lane_join(d->line->peer, l->peer);
	settle_blocked(l->mesh, d);
}

void
mesh_lane_gone(struct line *l)
{
	settle_blocked(l->mesh, l->device);
}

void
mesh_lane_close_all(struct mesh *m, struct mesh_device *d)
{
	ARRAY(struct line *) lanes = { 0 };

	array_each (l, &m->lines) {
		if ((*l)->device == d && (*l)->lane != 0)
			array_push(&lanes, *l);
	}
	array_each (l, &lanes)
		mesh_line_close(*l, NULL);
	array_clear(&lanes);
	d->lanes = (struct lane_plan){ 0 };
	d->lane_bytes = d->lane_rate = 0;
	d->blocked = false;
}

/* -- how many -- */

static uint32_t
least_known(uint32_t a, uint32_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* BBR fills what one window can hold, losses or not; lanes beside it would only lose more. */
static bool
is_filled_by_one(const struct tcp_line *t)
{
	bool is_window_full = 2 * (t->receiver_us + t->buffer_us) > t->busy_us;

	return strcmp(t->control, "bbr") == 0 && !is_window_full;
}

static void
see_time(struct peer *p, struct lane_sight *s)
{
	const struct session *session = peer_session(p);
	struct tcp_line t;

	s->long_line = conn_measure(peer_conn(p), &t) && !is_filled_by_one(&t);
	s->rtt_ms = least_known((uint32_t)(t.rtt_us / 1000), session_rtt_ms(session));
	s->rtt_min_ms = least_known((uint32_t)(t.rtt_min_us / 1000), session_rtt_min_ms(session));
}

static bool
is_busy(const struct mesh *m, const struct mesh_device *d)
{
	array_each (l, &m->lines) {
		if (is_part(*l, d) && (session_asking(peer_session((*l)->peer)) > 0 ||
					  responder_requests((*l)->responder) > 0))
			return true;
	}
	return false;
}

static void
close_youngest(struct mesh *m, const struct mesh_device *d)
{
	struct line *youngest = NULL;

	array_each (l, &m->lines) {
		if ((*l)->device == d && (*l)->lane != 0 && !(*l)->closing)
			youngest = *l;
	}
	if (youngest != NULL)
		mesh_line_close(youngest, NULL);
}

void
mesh_lane_look(struct mesh *m, struct mesh_device *d, uint64_t ms)
{
	uint64_t now = loop_now_ms(m->o.loop);

	if (d->line == NULL || !d->line->dialed || !d->knows_lanes || m->o.lanes_max == 0)
		return;
	struct peer *main = d->line->peer;
	uint64_t bytes = lane_bytes(main);
	d->lane_rate = (d->lane_rate + (bytes - min_of(bytes, d->lane_bytes)) * 1000 / ms) / 2;
	d->lane_bytes = bytes;
	struct lane_sight s = { .busy = is_busy(m, d),
		.lanes = count(m, d),
		.lanes_max = m->o.lanes_max,
		.rate = d->lane_rate };
	see_time(main, &s);
	s.long_line &= !peer_is_near(main) && s.rtt_min_ms >= m->o.lane_rtt_ms;
	switch (lane_plan_judge(&d->lanes, &s, now)) {
	case LANE_OPEN:
		log_debug("a lane more to %s", d->address);
		mesh_line_dial_lane(m, d, (uint8_t)(s.lanes + 1));
		break;
	case LANE_CLOSE:
		close_youngest(m, d);
		break;
	case LANE_STAY:
		break;
	}
}
