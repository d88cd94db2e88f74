#include <stdio.h>

#include "base/mem.h"
#include "base/text.h"
#include "crypto/random.h"
#include "engine/mesh_private.h"

enum { LOOK_MS = 1000 };

static void on_time(void *ctx);

struct mesh *
mesh_new(const struct mesh_opts *o)
{
	struct mesh *m = mem_new(struct mesh);

	m->o = *o;
	m->policy = mesh_lane_policy(m);
	m->timer = timer_new(o->loop, on_time, m);
	m->looked_ms = loop_now_ms(o->loop);
	return m;
}

/* -- devices -- */

static void
device_free(struct mesh_device *d)
{
	free(d->addresses);
	free(d);
}

struct mesh_device *
mesh_find(struct mesh *m, const struct device_id *device)
{
	array_each (d, &m->devices) {
		if (device_id_equal(&(*d)->id, device))
			return *d;
	}
	return NULL;
}

static bool
is_in_use(const struct mesh_device *d)
{
	return d->lines > 0 || d->plan.wanted || d->plan.banned || d->data != NULL;
}

/* Of those that nobody needs the one that was seen least recently. */
static bool
forget_one(struct mesh *m)
{
	size_t oldest = m->devices.len;

	for (size_t i = 0; i < m->devices.len; i++) {
		const struct mesh_device *d = m->devices.at[i];
		if (!is_in_use(d) &&
		    (oldest == m->devices.len || d->seen_ms < m->devices.at[oldest]->seen_ms))
			oldest = i;
	}
	if (oldest == m->devices.len)
		return false;
	device_free(m->devices.at[oldest]);
	array_swap_out(&m->devices, oldest);
	return true;
}

struct mesh_device *
mesh_device_make(struct mesh *m, const struct device_id *id)
{
	struct mesh_device *d = mesh_find(m, id);

	if (d != NULL || (m->devices.len >= MESH_DEVICES_MAX && !forget_one(m)))
		return d;
	d = mem_new(struct mesh_device);
	d->id = *id;
	array_push(&m->devices, d);
	return d;
}

static void
set_addresses(struct mesh_device *d, struct message_list list)
{
	struct bytes b;

	free(d->addresses);
	d->addresses = mem_zalloc_array(LIMIT_ADDRESSES, sizeof *d->addresses);
	d->n_addresses = 0;
	while (d->n_addresses < LIMIT_ADDRESSES && message_list_next(&list, &b)) {
		if (b.len == 0 || b.len > LIMIT_ADDRESS_TEXT)
			continue;
		memcpy(d->addresses[d->n_addresses], b.at, b.len);
		d->addresses[d->n_addresses++][b.len] = '\0';
	}
	d->plan.reachable = d->n_addresses > 0 || d->worked[0] != 0;
}

struct mesh_device *
mesh_know(struct mesh *m, const struct mesh_where *w)
{
	struct mesh_device *d =
	    device_id_equal(&w->device, &m->o.self) ? NULL : mesh_device_make(m, &w->device);

	if (d == NULL)
		return NULL;
	if (w->name.len > 0)
		text_escape(w->name, d->name, sizeof d->name);
	if (w->site.len > 0)
		text_escape(w->site, d->site, sizeof d->site);
	if (w->addresses.n > 0)
		set_addresses(d, w->addresses);
	return d;
}

void
mesh_want(struct mesh *m, struct mesh_device *d, bool wanted)
{
	if (d->plan.wanted == wanted)
		return;
	d->plan.wanted = wanted;
	if (!wanted && d->dial != NULL)
		mesh_line_close(d->dial, NULL);
	mesh_again(m);
}

void
mesh_called(struct mesh *m, struct mesh_device *d)
{
	if (!m->closing && d->plan.reachable &&
	    mesh_plan_called(&m->plan, &d->plan, loop_now_ms(m->o.loop)))
		mesh_line_dial(m, d);
}

void
mesh_use(struct mesh *m, struct mesh_device *d)
{
	d->used_ms = loop_now_ms(m->o.loop);
}

const struct device_id *
mesh_device_id(const struct mesh_device *d)
{
	return &d->id;
}

const char *
mesh_device_name(const struct mesh_device *d)
{
	return d->name;
}

const char *
mesh_device_site(const struct mesh_device *d)
{
	return d->site;
}

struct peer *
mesh_device_peer(const struct mesh_device *d)
{
	return d->line != NULL ? d->line->peer : NULL;
}

void **
mesh_device_data(struct mesh_device *d)
{
	return &d->data;
}

uint64_t
mesh_device_epoch(const struct mesh_device *d)
{
	return d->epoch;
}

uint32_t
mesh_device_rtt_us(const struct mesh_device *d)
{
	return d->line != NULL ? d->line->rtt_us : 0;
}

bool
mesh_device_is_fast(const struct mesh_device *d)
{
	return d->line != NULL && d->line->fast;
}

bool
mesh_device_is_failing(const struct mesh_device *d)
{
	return d->line == NULL && d->plan.failures > 1;
}

void
mesh_probe(struct mesh_device *d)
{
	struct line *l = d->line;

	if (l == NULL)
		return;
	mesh_line_measure(l);
	session_probe(peer_session(l->peer));
	peer_flush(l->peer);
}

void
mesh_near(struct mesh_device *d, bool near)
{
	struct line *l = d->line;

	if (l == NULL)
		return;
	l->near = near;
	peer_near(l->peer, near);
	/* Who has no site, or one that is not looked into, may be a long way off. */
	if (near)
		conn_line_by_rtt(peer_conn(l->peer));
	else
		conn_set_line(peer_conn(l->peer), LINE_FAR);
}

void
mesh_each(struct mesh *m, void (*on_device)(void *ctx, struct mesh_device *d), void *ctx)
{
	for (size_t i = 0; i < m->devices.len; i++)
		on_device(ctx, m->devices.at[i]);
}

/* -- dialling -- */

static void
dial_who_is_due(struct mesh *m, const struct mesh_plan_device *const *plans)
{
	size_t n = m->devices.len, i;

	while ((i = mesh_plan_next(plans, n, loop_now_ms(m->o.loop))) < n)
		mesh_line_dial(m, m->devices.at[i]);
}

void
mesh_again(struct mesh *m)
{
	const struct mesh_plan_device **plans;
	uint64_t now = loop_now_ms(m->o.loop), wakes;

	if (m->closing)
		return;
	plans = mem_array(const struct mesh_plan_device *, m->devices.len + 1);
	for (size_t i = 0; i < m->devices.len; i++)
		plans[i] = &m->devices.at[i]->plan;
	dial_who_is_due(m, plans);
	wakes = mesh_plan_wakes(plans, m->devices.len, now);
	free(plans);
	if (m->lines.len > 0)
		wakes = min_of(wakes, m->looked_ms + LOOK_MS);
	if (wakes != UINT64_MAX)
		timer_start(m->timer, wakes > now ? wakes - now : 0);
}

/* -- rates, and who is idle -- */

static void
measure(struct line *l, uint64_t ms)
{
	const struct session *s = peer_session(l->peer);
	uint64_t in = session_bytes_in(s), out = session_bytes_out(s);

	uint64_t rate_in = (in - l->bytes_in) * 1000 / ms;
	uint64_t rate_out = (out - l->bytes_out) * 1000 / ms;

	/* Half of what was, half of what is: the last seconds count. */
	l->rate_in = (l->rate_in + rate_in) / 2;
	l->rate_out = (l->rate_out + rate_out) / 2;
	l->fast_looks = rate_in + rate_out >= l->mesh->o.fast_rate ? l->fast_looks + 1 : 0;
	l->fast |= l->mesh->o.fast_rate > 0 && l->fast_looks >= MESH_FAST_S;
	mesh_line_measure(l);
	l->bytes_in = in;
	l->bytes_out = out;
}

static void
look(struct mesh *m, uint64_t now)
{
	ARRAY(struct line *) idle = { 0 };

	array_each (l, &m->lines) {
		if (!(*l)->ready || (*l)->closing)
			continue;
		measure(*l, now - m->looked_ms);
		if ((*l)->device->line == *l && !(*l)->device->plan.wanted &&
		    now - (*l)->device->used_ms > MESH_IDLE_MS)
			array_push(&idle, *l);
	}
	for (size_t i = 0; i < m->devices.len; i++)
		mesh_lane_look(m, m->devices.at[i], now - m->looked_ms);
	m->looked_ms = now;
	array_each (l, &idle)
		mesh_line_close(*l, NULL);
	array_clear(&idle);
}

static void
on_time(void *ctx)
{
	struct mesh *m = ctx;
	uint64_t now = loop_now_ms(m->o.loop);

	if (now - m->looked_ms >= LOOK_MS)
		look(m, now);
	mesh_again(m);
}

/* -- ending -- */

static void
cut(struct mesh *m, const struct device_id *device, const struct error *why)
{
	ARRAY(struct line *) theirs = { 0 };

	array_each (l, &m->lines) {
		const struct device_id *id = peer_device((*l)->peer);
		if (device == NULL || (id != NULL && device_id_equal(id, device)) ||
		    ((*l)->device != NULL && device_id_equal(&(*l)->device->id, device)))
			array_push(&theirs, *l);
	}
	array_each (l, &theirs)
		mesh_line_close(*l, why);
	array_clear(&theirs);
}

void
mesh_cut(struct mesh *m, const struct device_id *device, const struct error *why)
{
	struct mesh_device *d = mesh_find(m, device);

	if (d != NULL)
		d->plan.wanted = false;
	cut(m, device, why);
}

void
mesh_ban(struct mesh *m, const struct device_id *device, const struct error *why)
{
	struct mesh_device *d = mesh_device_make(m, device);

	if (d != NULL)
		d->plan.banned = true;
	mesh_cut(m, device, why);
}

void
mesh_cut_all(struct mesh *m, const struct error *why)
{
	array_each (d, &m->devices)
		(*d)->plan.wanted = false;
	cut(m, NULL, why);
}

void
mesh_closed_part(struct mesh *m)
{
	if (!m->closing || m->pending > 0 || m->lines.len > 0)
		return;
	void (*on_closed)(void *ctx) = m->on_closed;
	void *ctx = m->on_closed_ctx;
	array_each (d, &m->devices)
		device_free(*d);
	array_clear(&m->devices);
	array_clear(&m->lines);
	free(m);
	on_closed(ctx);
}

static void
close_later(void *arg)
{
	struct mesh *m = arg;

	m->pending--;
	mesh_closed_part(m);
}

void
mesh_close(struct mesh *m, void (*on_closed)(void *ctx), void *ctx)
{
	if (m->closing)
		return;
	m->closing = true;
	m->on_closed = on_closed;
	m->on_closed_ctx = ctx;
	timer_close(m->timer);
	m->timer = NULL;
	m->pending++; /* never from within this call */
	loop_post(m->o.loop, close_later, m);
	cut(m, NULL, NULL);
}

/* -- for people -- */

static enum mesh_state
state_of(const struct mesh_device *d)
{
	if (d->line != NULL)
		return MESH_CONNECTED;
	if (d->plan.banned)
		return MESH_BANNED;
	if (d->dial != NULL)
		return MESH_DIALING;
	return d->plan.wanted ? MESH_WAITING : MESH_KNOWN;
}

void
mesh_info(const struct mesh *m, const struct mesh_device *d, struct mesh_info *ret)
{
	uint64_t now = loop_now_ms(m->o.loop);
	const struct line *l = d->line;

	*ret = (struct mesh_info){
		.state = state_of(d),
		.address = d->address[0] != 0 || d->n_addresses == 0 ? d->address : d->addresses[0],
		.group = d->group,
		.why = d->why,
		.retry_ms = d->plan.next_ms > now ? d->plan.next_ms - now : 0,
	};
	if (l == NULL)
		return;
	ret->dialed = l->dialed;
	ret->connected_ms = now - l->ready_ms;
	ret->bytes_in = session_bytes_in(peer_session(l->peer));
	ret->bytes_out = session_bytes_out(peer_session(l->peer));
	ret->rate_in = l->rate_in;
	ret->rate_out = l->rate_out;
	ret->near = l->near;
	ret->rtt_us = l->rtt_us;
}
