/*
 * One connection.  What a dial and a visitor have in common begins with the other's HELLO: then
 * its owner says whether it is admitted, and mesh_plan whether it stays beside one that is there.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "crypto/random.h"
#include "engine/mesh_private.h"
#include "engine/requester.h"

static void on_event(void *owner, struct peer *p, struct session_event *ev);
static void on_writable(void *owner, struct peer *p);
static void on_closed(void *owner, struct peer *p, const struct error *why);

static const struct peer_events events = {
	.on_event = on_event, .on_writable = on_writable, .on_closed = on_closed
};

static uint64_t
now_of(const struct line *l)
{
	return loop_now_ms(l->mesh->o.loop);
}

/* -- birth -- */

static struct line *
line_new(struct mesh *m, struct conn *c, bool dialed, struct bytes hello)
{
	struct line *l = mem_new(struct line);

	l->mesh = m;
	l->dialed = dialed;
	array_push(&m->lines, l);
	l->peer = peer_new(m->o.loop, c, dialed, hello, &events, l);
	conn_line_by_rtt(c);
	peer_throttle(l->peer, m->o.throttle);
	return l;
}

/* L keeps it until it has closed. */
static void
set_device(struct line *l, struct mesh_device *d)
{
	d->lines += l->device == NULL;
	l->device = d;
}

/* What worked last goes first. */
static size_t
addresses_of(const struct mesh_device *d, const char *out[static LIMIT_ADDRESSES + 1])
{
	size_t n = 0;

	if (d->worked[0] != 0)
		out[n++] = d->worked;
	for (uint32_t i = 0; i < d->n_addresses; i++) {
		if (strcmp(d->addresses[i], d->worked) != 0)
			out[n++] = d->addresses[i];
	}
	return n;
}

void
mesh_line_dial(struct mesh *m, struct mesh_device *d)
{
	auto_buf struct buf hello = BUF(LIMIT_FRAME_MESSAGE);
	const char *addresses[LIMIT_ADDRESSES + 1];
	size_t n = addresses_of(d, addresses);
	struct error e;

	if (m->o.hello(m->o.ctx, "", 0, &hello, &e) != OK) {
		log_error("greet a device: %s", e.text);
		mesh_plan_failed(&d->plan, loop_now_ms(m->o.loop), random_u64());
		return;
	}
	snprintf(d->address, sizeof d->address, "%s", addresses[0]);
	struct conn *c = conn_dial(m->o.loop, m->o.tls, &d->id, addresses, n, NULL, NULL);
	mesh_plan_dialing(&d->plan);
	d->dial = line_new(m, c, true, buf_bytes(&hello));
	set_device(d->dial, d);
}

/* Where the current one, which we dialed, has reached it. */
void
mesh_line_dial_lane(struct mesh *m, struct mesh_device *d, uint8_t lane)
{
	auto_buf struct buf hello = BUF(LIMIT_FRAME_MESSAGE);
	const char *address = d->address;
	struct error e;

	if (m->o.hello(m->o.ctx, "", lane, &hello, &e) != OK) {
		log_debug("greet on a lane: %s", e.text);
		return;
	}
	struct conn *c = conn_dial(m->o.loop, m->o.tls, &d->id, &address, 1, NULL, NULL);
	struct line *l = line_new(m, c, true, buf_bytes(&hello));
	l->lane = lane;
	set_device(l, d);
}

/* Whoever sits there and does not greet keeps nobody out. */
static void
make_way(struct mesh *m)
{
	struct line *oldest = NULL;
	size_t strangers = 0;
	struct error e;

	array_each (l, &m->lines) {
		if ((*l)->device != NULL || (*l)->closing)
			continue;
		strangers++;
		oldest = oldest == NULL ? *l : oldest;
	}
	if (strangers <= MESH_STRANGERS_MAX)
		return;
	(void)fail(&e, ERR_AGAIN, "too many are connecting at once; try again");
	mesh_line_close(oldest, &e);
}

void
mesh_accept(struct mesh *m, struct conn *c)
{
	auto_buf struct buf hello = BUF(LIMIT_FRAME_MESSAGE);

	if (m->closing || m->o.hello(m->o.ctx, conn_peer_address(c), 0, &hello, NULL) != OK) {
		conn_close(c, NULL);
		return;
	}
	(void)line_new(m, c, false, buf_bytes(&hello));
	make_way(m);
}

/* -- greeting -- */

static enum err
check_room(const struct line *l, const struct mesh_device *d, struct error *e)
{
	if (l->mesh->closing)
		return fail(e, ERR_AGAIN, "this machine is stopping");
	if (d == NULL)
		return fail(e, ERR_AGAIN, "this machine has as many connections as it can");
	if (d->plan.banned)
		return fail(e, ERR_DENIED, "you have sent wrong bytes: nothing is taken from you");
	return OK;
}

static void
take_addresses(struct mesh *m, const struct device_id *id, const struct msg_hello *h)
{
	const struct mesh_where w = { .device = *id, .addresses = h->addresses };

	if (h->addresses.n > 0)
		(void)mesh_know(m, &w);
}

static void
note_where(struct line *l)
{
	struct mesh_device *d = l->device;
	const struct tls *t = conn_tls(peer_conn(l->peer));

	snprintf(d->address, sizeof d->address, "%s", conn_peer_address(peer_conn(l->peer)));
	if (l->dialed)
		snprintf(d->worked, sizeof d->worked, "%s", d->address);
	snprintf(d->group, sizeof d->group, "%s", t != NULL ? tls_group(t) : "");
	d->why[0] = 0;
	d->used_ms = d->seen_ms = now_of(l);
}

/* Its connection is current from now on, unless the one that is there stays. */
static void
take_place(struct line *l)
{
	struct mesh *m = l->mesh;
	struct mesh_device *d = l->device;
	struct line *old = d->line, *dial = d->dial;
	const struct mesh_plan_line new_line = { l->dialed, l->ready_ms };

	if (dial == l)
		d->dial = NULL;
	if (old != NULL) {
		const struct mesh_plan_line old_line = { old->dialed, old->ready_ms };
		if (mesh_plan_old_stays(&m->o.self, &d->id, &old_line, &new_line)) {
			d->plan.dialing &= !l->dialed;
			mesh_line_close(l, NULL);
			return;
		}
		mesh_line_close(old, NULL);
	}
	d->line = l;
	mesh_line_measure(l);
	mesh_plan_ready(&d->plan, l->dialed);
	note_where(l);
	if (!l->dialed && d->dial != NULL && !mesh_plan_dial_goes_on(&m->o.self, &d->id))
		mesh_line_close(d->dial, NULL);
	m->o.on_ready(m->o.ctx, d, l->peer);
}

static void
on_hello(struct line *l, const struct msg_hello *h)
{
	struct mesh *m = l->mesh;
	const struct device_id *id = peer_device(l->peer);
	struct error e;

	if (device_id_equal(id, &m->o.self)) {
		mesh_line_close(l, NULL);
		return;
	}
	enum err r = m->o.greeted(m->o.ctx, l->peer, h, &e);
	struct mesh_device *d = r == OK ? mesh_device_make(m, id) : NULL;
	if (r == OK)
		r = check_room(l, d, &e);
	if (r != OK) {
		mesh_line_close(l, &e);
		return;
	}
	set_device(l, d);
	d->epoch = h->epoch;
	d->knows_lanes = (h->features & HELLO_LANES) != 0;
	l->lane = l->dialed ? l->lane : h->lane;
	take_addresses(m, id, h);
	session_admit(peer_session(l->peer));
	l->responder = responder_new(m->o.loop, l->peer, m->o.source, &m->policy);
	l->ready = true;
	l->ready_ms = now_of(l);
	peer_flush(l->peer);
	if (l->lane != 0)
		mesh_lane_ready(l);
	else
		take_place(l);
	mesh_again(m);
}

/* -- how far it is -- */

static void
take_rtt(struct line *l, uint64_t rtt_us)
{
	if (rtt_us > 0 && rtt_us <= UINT32_MAX && (l->rtt_us == 0 || rtt_us < l->rtt_us))
		l->rtt_us = (uint32_t)rtt_us;
}

/* The kernel's is the shortest that an acknowledgement took: both programs have no part in it.  The
 * session's counts where there is no kernel that says. */
void
mesh_line_measure(struct line *l)
{
	struct tcp_line way;

	if (conn_measure(peer_conn(l->peer), &way))
		take_rtt(l, way.rtt_min_us);
	take_rtt(l, (uint64_t)session_rtt_min_ms(peer_session(l->peer)) * 1000);
}

/* -- what it says -- */

static void
refuse(struct line *l, uint32_t stream)
{
	struct error e;

	(void)fail(&e, ERR_DENIED, "this is an agent: ask the server");
	(void)session_answer_error(peer_session(l->peer), stream, &e, 0);
	peer_flush(l->peer);
}

static void
on_event(void *owner, struct peer *p, struct session_event *ev)
{
	struct line *l = owner;
	struct mesh *m = l->mesh;

	if (requester_route(p, ev))
		return;
	switch (ev->kind) {
	case SESSION_EV_HELLO:
		on_hello(l, &ev->message.hello);
		break;
	case SESSION_EV_REQUEST:
		if (ev->message.type == FRAME_GET_NODES || ev->message.type == FRAME_GET_UNITS)
			responder_request(l->responder, ev);
		else
			refuse(l, ev->stream);
		break;
	case SESSION_EV_CANCEL:
		responder_cancel(l->responder, ev->stream);
		break;
	case SESSION_EV_PUSH:
		if (l->device->line == l)
			m->o.on_push(m->o.ctx, l->device, p, &ev->message);
		break;
	default:
		break;
	}
}

static void
on_writable(void *owner, struct peer *p)
{
	struct line *l = owner;
	struct mesh *m = l->mesh;

	if (l->responder != NULL)
		responder_writable(l->responder);
	if (m->o.on_writable != NULL && l->device != NULL && l->device->line == l)
		m->o.on_writable(m->o.ctx, l->device, p);
}

/* -- death -- */

static void
keep_why(struct mesh_device *d, const struct error *why)
{
	snprintf(d->why, sizeof d->why, "%s", why != NULL ? why->text : "closed in peace");
}

/* It was the current one. */
static void
step_down(struct line *l, const struct error *why)
{
	struct mesh *m = l->mesh;
	struct mesh_device *d = l->device;

	d->line = NULL;
	d->seen_ms = now_of(l);
	keep_why(d, why);
	mesh_plan_gone(&d->plan, l->ready_ms, now_of(l), random_u64());
	mesh_lane_close_all(m, d);
	m->o.on_gone(m->o.ctx, d, l->peer, why);
}

static void
dial_failed(struct line *l, const struct error *why)
{
	struct mesh *m = l->mesh;
	struct mesh_device *d = l->device;

	d->dial = NULL;
	mesh_plan_failed(&d->plan, now_of(l), random_u64());
	if (d->line != NULL) /* the other's came through meanwhile */
		return;
	keep_why(d, why);
	log_debug("dial %s: %s", d->address, d->why);
	if (!m->closing && mesh_plan_asks(&d->plan, now_of(l)))
		m->o.on_unreachable(m->o.ctx, &d->id);
}

void
mesh_line_close(struct line *l, const struct error *why)
{
	struct mesh_device *d = l->device;

	if (l->closing)
		return;
	l->closing = true;
	if (d != NULL && d->line == l)
		step_down(l, why);
	if (d != NULL && l->lane != 0)
		mesh_lane_gone(l);
	if (d != NULL && d->dial == l) {
		/* A dial that greeted somebody who is refused has failed; one that is not needed
		 * any more has not. */
		if (why != NULL) {
			dial_failed(l, why);
		} else {
			d->dial = NULL;
			d->plan.dialing = false;
		}
	}
	peer_close(l->peer, why);
}

static void
on_responder_closed(void *ctx)
{
	struct mesh *m = ctx;

	m->pending--;
	mesh_closed_part(m);
}

static void
on_closed(void *owner, struct peer *p, const struct error *why)
{
	struct line *l = owner;
	struct mesh *m = l->mesh;
	struct mesh_device *d = l->device;
	(void)p;

	if (d != NULL && d->line == l)
		step_down(l, why);
	if (d != NULL && l->lane != 0 && !l->closing) {
		l->closing = true;
		mesh_lane_gone(l);
	}
	if (d != NULL && d->dial == l)
		dial_failed(l, why);
	if (d != NULL)
		d->lines--;
	if (l->responder != NULL) {
		m->pending++;
		responder_close(l->responder, on_responder_closed, m);
	}
	for (size_t i = 0; i < m->lines.len; i++) {
		if (m->lines.at[i] != l)
			continue;
		memmove(m->lines.at + i, m->lines.at + i + 1,
		    (m->lines.len - i - 1) * sizeof *m->lines.at);
		m->lines.len--;
		break;
	}
	free(l);
	mesh_again(m);
	mesh_closed_part(m);
}
