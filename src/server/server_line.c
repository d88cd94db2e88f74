/*
 * The lines of sites that have a limit: what was set, by the hour; and a book of each, from which
 * members lease their share (net/lease).  The server is a member of its own site like any other,
 * and asks itself.
 *
 * Who is a member of which line is looked at each second, as sites may change under us.
 */
#include "base/log.h"
#include "base/mem.h"
#include "net/line_meter.h"
#include "platform/clock.h"
#include "server/server_internal.h"

enum {
	TICK_MS = 500,
	ZONE_UTC = 24 * 60,
	/* One byte in so many of a frame's is for headers of TCP and IP, which a line carries, too.
	 */
	HEADERS = 22,
	SELF = 0, /* our own number in books: no device's, as that would be a hash of zeros */
};

struct server_line {
	struct server_line *next;
	char site[STATEMENT_NAME_MAX + 1];
	struct limit_setting setting;
	struct lease_book *book;
	struct schedule_rates now;
	int offset_min; /* local time there */
	uint32_t had;   /* members, before they are looked at */
};
struct server_lines {
	struct server_line *first;
	struct timer *tick;
	struct server_line *own; /* of our own site; NULL: has none */
	struct lease_holder holder;
	struct line_meter meter;
};

static void on_tick(void *ctx);

static struct server_line *
find(struct server *s, const char *site)
{
	for (struct server_line *x = s->lines->first; x != NULL; x = x->next) {
		if (strcmp(x->site, site) == 0)
			return x;
	}
	return NULL;
}

bool
server_line_rates(struct server *s, const char *site, struct schedule_rates *ret)
{
	const struct server_line *x = find(s, site);

	if (x == NULL)
		return false;
	*ret = x->now;
	return true;
}

/* -- its limit -- */

static void
payload_of(const struct schedule_rates *r, uint64_t out[static LEASE_WAYS])
{
	out[THROTTLE_UP] = r->up - r->up / HEADERS;
	out[THROTTLE_DOWN] = r->down - r->down / HEADERS;
}

static void
send_lease(struct link *l, const struct lease *lease)
{
	struct message m = { .type = FRAME_LEASE };

	m.lease = (struct msg_lease){
		.number = lease->number,
		.rate_up = lease->rate[THROTTLE_UP],
		.rate_down = lease->rate[THROTTLE_DOWN],
		.floor_up = lease->floor[THROTTLE_UP],
		.floor_down = lease->floor[THROTTLE_DOWN],
	};
	if (session_send(peer_session(l->peer), &m, NULL) == OK)
		peer_flush(l->peer);
}

static uint64_t
number_of(const struct link *l)
{
	uint64_t n;

	memcpy(&n, l->device.bytes, sizeof n);
	return n;
}

/* Everybody there hears that it is another one. */
static void
call_members(struct server *s, struct server_line *x)
{
	struct lease lease;

	map_each (slot, &s->links) {
		struct link *l = slot->ptr;
		if (l->line == x && lease_book_call(x->book, number_of(l), &lease))
			send_lease(l, &lease);
	}
	if (s->lines->own == x && lease_book_call(x->book, SELF, &lease))
		lease_holder_take(&s->lines->holder, loop_now_ms(s->loop), &lease);
}

static void
set_now(struct server *s, struct server_line *x, bool is_new)
{
	struct schedule_rates now = limit_setting_now(&x->setting, clock_wall_ns(), x->offset_min);
	uint64_t limit[LEASE_WAYS];

	if (!is_new && now.up == x->now.up && now.down == x->now.down)
		return;
	x->now = now;
	payload_of(&now, limit);
	lease_book_limit(x->book, limit);
	call_members(s, x);
}

static struct server_line *
add(struct server *s, const char *site, const struct limit_setting *setting, uint64_t start_ms)
{
	const uint64_t none[LEASE_WAYS] = { 0 };
	struct server_line *x = mem_new(struct server_line);

	snprintf(x->site, sizeof x->site, "%s", site);
	x->setting = *setting;
	x->offset_min = clock_offset_min(clock_wall_ns());
	x->book = lease_book_new(none, start_ms);
	x->next = s->lines->first;
	s->lines->first = x;
	set_now(s, x, true);
	timer_start(s->lines->tick, 0);
	return x;
}

/* -- who is there -- */

static const char *
site_of(struct server *s, const struct device_id *device)
{
	const struct registry_device *d = registry_device(s->registry, device);

	return d != NULL ? d->site : "";
}

static void
leave(struct link *l, bool in_peace)
{
	const struct lease none = { 0 };
	struct server *s = l->server;

	if (l->line == NULL)
		return;
	lease_book_left(l->line->book, number_of(l), in_peace, loop_now_ms(s->loop));
	l->line = NULL;
	if (in_peace)
		send_lease(l, &none);
}

/* Of several connections of a device the last one is its own. */
static void
take_from_others(struct link *l)
{
	map_each (slot, &l->server->links) {
		struct link *other = slot->ptr;
		if (other != l && other->line == l->line && other->member &&
		    device_id_equal(&other->device, &l->device))
			other->line = NULL;
	}
}

static bool
has_other(struct link *l, const struct server_line *x)
{
	const struct registry_device *d = registry_device(l->server->registry, &l->device);

	if (d == NULL || d->connections < 2)
		return false;
	map_each (slot, &l->server->links) {
		const struct link *other = slot->ptr;
		if (other != l && other->line == x && device_id_equal(&other->device, &l->device))
			return true;
	}
	return false;
}

static void
join(struct link *l, struct server_line *x)
{
	lease_book_joined(x->book, number_of(l), loop_now_ms(l->server->loop));
	l->line = x;
	take_from_others(l);
}

/* It may be at another site than it was, or its site have a line since. */
static void
look_at(struct link *l)
{
	struct server *s = l->server;
	struct server_line *x = l->member ? find(s, site_of(s, &l->device)) : NULL;

	if (x == l->line || (x != NULL && has_other(l, x)))
		return;
	leave(l, true);
	if (x != NULL)
		join(l, x);
}

/* All join before any is told: the first of many must not take the line for its own. */
static void
look_at_all(struct server *s)
{
	for (struct server_line *x = s->lines->first; x != NULL; x = x->next)
		x->had = lease_book_members(x->book);
	map_each (slot, &s->links)
		look_at(slot->ptr);
	for (struct server_line *x = s->lines->first; x != NULL; x = x->next) {
		if (lease_book_members(x->book) > x->had)
			call_members(s, x);
	}
}

void
server_line_admit(struct link *l)
{
	struct server *s = l->server;
	struct server_line *x = find(s, site_of(s, &l->device));

	if (x != NULL && !device_id_equal(&l->device, device_key_id(s->home->key)))
		join(l, x); /* it asks by itself now */
}

void
server_line_gone(struct link *l, bool in_peace)
{
	if (l->line != NULL)
		lease_book_left(
		    l->line->book, number_of(l), in_peace, loop_now_ms(l->server->loop));
	l->line = NULL;
}

void
server_line_demand(struct link *l, const struct msg_demand *m)
{
	struct server *s = l->server;
	const struct lease_demand d = {
		.number = m->number,
		.acked = m->acked,
		.want = { [THROTTLE_UP] = m->want_up, [THROTTLE_DOWN] = m->want_down },
		.floor = { [THROTTLE_UP] = m->floor_up, [THROTTLE_DOWN] = m->floor_down },
	};
	const struct lease none = { .number = m->number };
	struct lease lease;

	if (l->line == NULL) {
		/* it remembers a limit that has gone while it was away */
		if (m->floor_up != 0 || m->floor_down != 0)
			send_lease(l, &none);
		return;
	}
	if (m->zone != 0)
		l->line->offset_min = m->zone - ZONE_UTC;
	if (lease_book_demand(l->line->book, number_of(l), &d, loop_now_ms(s->loop), &lease))
		send_lease(l, &lease);
}

/* -- ourselves -- */

static void
ask_ourselves(struct server *s, uint64_t now_ms)
{
	struct server_lines *x = s->lines;
	struct server_line *own = find(s, site_of(s, device_key_id(s->home->key)));
	struct lease_demand d;
	struct lease lease;
	uint64_t rates[LEASE_WAYS];

	if (own != x->own) {
		if (x->own != NULL)
			lease_book_left(x->own->book, SELF, true, now_ms);
		x->own = own;
		lease_holder_init(&x->holder, NULL);
		if (own != NULL)
			lease_book_joined(own->book, SELF, now_ms);
		if (own != NULL && lease_book_call(own->book, SELF, &lease))
			lease_holder_take(&x->holder, now_ms, &lease);
	}
	if (s->throttle == NULL || s->on_line == NULL)
		return;
	line_meter_look(&x->meter, s->throttle, now_ms);
	if (own != NULL && lease_holder_demand(&x->holder, now_ms, x->meter.want, &d) &&
	    lease_book_demand(own->book, SELF, &d, now_ms, &lease))
		lease_holder_take(&x->holder, now_ms, &lease);
	lease_holder_rates(&x->holder, now_ms + TICK_MS, rates);
	s->on_line(s->on_line_ctx,
	    &(struct schedule_rates){ .up = rates[THROTTLE_UP], .down = rates[THROTTLE_DOWN] });
}

static void
on_tick(void *ctx)
{
	struct server *s = ctx;

	for (struct server_line *x = s->lines->first; x != NULL; x = x->next) {
		set_now(s, x, false);
		server_swarm_line(s, x->site, &x->now);
	}
	look_at_all(s);
	ask_ourselves(s, loop_now_ms(s->loop));
	if (s->lines->first != NULL)
		timer_start(s->lines->tick, TICK_MS);
}

/* -- birth and death -- */

static enum err
on_stored(void *ctx, const char *site, struct bytes b, struct error *e)
{
	struct server *s = ctx;
	struct limit_setting setting;
	(void)e;

	/* A byte of it was damaged: no reason not to serve. */
	if (limit_setting_decode(b, &setting, NULL) == OK)
		(void)add(s, site, &setting, max_of(loop_now_ms(s->loop), UINT64_C(1)));
	else
		log_warn("server.db: the limits of site %s cannot be read: set them again", site);
	return OK;
}

enum err
server_line_open(struct server *s, struct error *e)
{
	s->lines = mem_new(struct server_lines);
	s->lines->tick = timer_new(s->loop, on_tick, s);
	return registry_lines(s->registry, on_stored, s, e);
}

void
server_line_close(struct server *s)
{
	if (s->lines == NULL)
		return;
	timer_close(s->lines->tick);
	for (struct server_line *x = s->lines->first, *next; x != NULL; x = next) {
		next = x->next;
		lease_book_free(x->book);
		free(x);
	}
	free(s->lines);
	s->lines = NULL;
}

/* -- `weft limit --site` -- */

struct line_change {
	struct change change;
	char site[STATEMENT_NAME_MAX + 1];
	struct limit_setting setting;
	struct control_call *call;
};

static enum err
store_line(struct change *c, struct server *s, struct error *e)
{
	const struct line_change *x = (const struct line_change *)c;
	auto_buf struct buf b = BUF(RECORD_MAX);

	limit_setting_encode(&x->setting, &b);
	return registry_store_line(s->registry->db, x->site, buf_bytes(&b), e);
}

static void
send_row(void *ctx, struct bytes row)
{
	control_call_row(ctx, row);
}

static uint32_t
count_devices(struct server *s, const char *site)
{
	uint32_t n = 0;

	map_each (slot, &s->registry->devices) {
		const struct registry_device *d = slot->ptr;
		n += !d->ended && strcmp(d->site, site) == 0;
	}
	return n;
}

static void
show(struct server *s, const char *site, struct control_call *call)
{
	const struct limit_setting none = { .week.n_kinds = 1 };
	const struct server_line *x = find(s, site);
	auto_buf struct buf row = BUF(RECORD_MAX);
	uint64_t out[LEASE_WAYS] = { 0 };

	record_text(&row, "site", site);
	record_int(&row, "devices", count_devices(s, site));
	limit_setting_fields(x != NULL ? &x->setting : &none, &row);
	if (x != NULL) {
		lease_book_out(x->book, loop_now_ms(s->loop), out);
		record_int(&row, "members", lease_book_members(x->book));
	}
	if (x != NULL && x->now.up != 0) {
		record_rate(&row, "up_now", x->now.up);
		record_rate(&row, "leased_up", out[THROTTLE_UP]);
	}
	if (x != NULL && x->now.down != 0) {
		record_rate(&row, "down_now", x->now.down);
		record_rate(&row, "leased_down", out[THROTTLE_DOWN]);
	}
	control_call_row(call, buf_bytes(&row));
	limit_setting_week(x != NULL ? &x->setting : &none, send_row, call);
	control_call_done(call, NULL, -1);
}

/* It stays in the list, without a limit: who is there has been told, and asks no more. */
static void
apply_line(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct line_change *x = (struct line_change *)c;
	struct server_line *line = find(s, x->site);

	if (r != OK) {
		control_call_done(x->call, e, -1);
		free(x);
		return;
	}
	if (line == NULL)
		line = add(s, x->site, &x->setting, 0);
	line->setting = x->setting;
	set_now(s, line, false);
	on_tick(s);
	if (count_devices(s, x->site) == 0)
		control_call_note(x->call, "no device is at site %s yet", x->site);
	show(s, x->site, x->call);
	free(x);
}

enum err
server_line_call(
    struct server *s, struct control_call *call, const struct control_request *r, struct error *e)
{
	const char *site = control_arg(r, "site");
	const struct server_line *line;

	if (!statement_name_ok(site))
		return fail(e, ERR_USAGE, "--site: not a usable name");
	if (control_flag(r, "job"))
		return fail(e, ERR_USAGE, "either a job or a site is limited");
	if (control_flag(r, "lan") || control_flag(r, "background"))
		return fail(e, ERR_USAGE, "a site's line knows neither --lan nor --background");
	if (!limit_setting_is_asked(r)) {
		show(s, site, call);
		return OK;
	}
	struct line_change *x = mem_new(struct line_change);
	x->change = (struct change){ .store = store_line, .apply = apply_line };
	line = find(s, site);
	x->setting = line != NULL ? line->setting : (struct limit_setting){ .week.n_kinds = 1 };
	x->call = call;
	snprintf(x->site, sizeof x->site, "%s", site);
	enum err err = limit_setting_change(&x->setting, r, e);
	if (err == OK)
		server_change(s, &x->change);
	else
		free(x);
	return err;
}
