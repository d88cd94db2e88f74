#include "net/conn.h"

#include <assert.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/conn_impl.h"
#include "net/dial.h"

enum { JUDGE_MS = 1000 };

static_assert((int)CONN_WRITE_HIGH == (int)WIRE_QUEUE, "one limit, two names");
static_assert((int)CONN_WRITE_MAX == (int)TLS_WRITE_MAX, "one limit, two names");

#define CONN_STATES(X) X(DIALING) X(READY) X(LEAVING) X(CLOSED)
enum conn_state {
#define X(name) CONN_##name,
	CONN_STATES(X)
#undef X
};
static const char *const state_name[] = {
#define X(name) #name,
	CONN_STATES(X)
#undef X
};

#define TO(s) (1u << CONN_##s)
static const unsigned may_enter[] = {
	[CONN_DIALING] = TO(READY) | TO(CLOSED),
	[CONN_READY] = TO(LEAVING) | TO(CLOSED),
	[CONN_LEAVING] = TO(CLOSED),
	[CONN_CLOSED] = 0,
};

struct conn {
	struct loop *loop;
	const struct conn_events *ev; /* NULL: nobody */
	void *owner;
	enum conn_state state;
	struct dial *dial; /* DIALING */
	struct wire *wire; /* READY, LEAVING */
	bool paused;
	size_t receive_buffer, send_buffer; /* 0: as the kernel likes */
	enum line_class class;
	bool by_rtt;                  /* CLASS follows what is measured ... */
	uint64_t judged_ms;           /* ... last then */
	struct task last;             /* CLOSED: tells it and frees */
	struct error *why;            /* CLOSED: NULL for a clean end */
	uint64_t bytes_in, bytes_out; /* CLOSED: what the wire had */
	const size_t *siblings;       /* NULL: dialed */
	void (*on_gone)(void *ctx);
	void *on_gone_ctx;
	char address[ADDRESS_TEXT];
};

static void on_dialed(void *ctx, struct wire *w, const struct error *why);
static void on_up(void *ctx);
static void on_input(void *ctx);
static void on_room(void *ctx);
static void on_down(void *ctx, const struct error *why);
static void on_last(void *ctx);

static const struct wire_events events = { on_up, on_input, on_room, on_down };

static void
enter(struct conn *c, enum conn_state next)
{
	assert(may_enter[c->state] & (1u << next));
	log_debug("conn %s: %s -> %s", c->address, state_name[c->state], state_name[next]);
	c->state = next;
}

static struct conn *
conn_new(struct loop *l, const struct conn_events *ev, void *owner)
{
	struct conn *c = mem_new(struct conn);

	loop_assert(l);
	c->loop = l;
	c->ev = ev;
	c->owner = owner;
	task_init(&c->last, l, on_last, c);
	return c;
}

/* -- birth -- */

struct conn *
conn_dial(struct loop *l, struct tls_ctx *tls, const struct device_id *expect,
    const char *const *addresses, size_t n, const struct conn_events *ev, void *owner)
{
	const struct dial_opts o = { .tls = tls, .expect = expect, .limit_ms = CONN_CONNECT_MS };
	struct conn *c = conn_new(l, ev, owner);

	if (n > 0)
		snprintf(c->address, sizeof c->address, "%s", addresses[0]);
	c->dial = dial_start(l, &o, addresses, n, on_dialed, c);
	return c;
}

struct conn *
conn_dial_local(struct loop *l, const char *path, const struct conn_events *ev, void *owner)
{
	struct conn *c = conn_new(l, ev, owner);

	snprintf(c->address, sizeof c->address, "local");
	c->dial = dial_start_local(l, path, CONN_CONNECT_MS, on_dialed, c);
	return c;
}

static void
set_class(struct conn *c, enum line_class class)
{
	if (c->class == class)
		return;
	c->class = class;
	if (c->state == CONN_READY)
		wire_line(c->wire, class);
}

/* A far line may turn out to be near, hardly the other way round. */
static void
judge_line(struct conn *c)
{
	uint64_t now = loop_now_ms(c->loop);
	struct tcp_line line;

	if (!c->by_rtt || c->class == LINE_NEAR || c->state != CONN_READY ||
	    (c->judged_ms != 0 && now < c->judged_ms + JUDGE_MS))
		return;
	c->judged_ms = now;
	if (wire_measure(c->wire, &line))
		set_class(c, line_by_rtt(line.rtt_min_us));
}

static void
take_wire(struct conn *c, struct wire *w)
{
	c->wire = w;
	wire_hand_over(w, &events, c);
	wire_peer(w, c->address);
	wire_pause(w, c->paused);
	wire_buffers(w, c->receive_buffer, c->send_buffer);
	wire_line(w, c->class);
	enter(c, CONN_READY);
	judge_line(c);
}

static void
on_dialed(void *ctx, struct wire *w, const struct error *why)
{
	struct conn *c = ctx;

	c->dial = NULL;
	if (w == NULL) {
		conn_close(c, why);
		return;
	}
	take_wire(c, w);
	if (c->ev != NULL)
		c->ev->on_ready(c->owner);
}

struct conn *
conn_adopt(
    struct loop *l, struct wire *w, const size_t *siblings, void (*on_gone)(void *ctx), void *ctx)
{
	struct conn *c = conn_new(l, NULL, NULL);

	c->siblings = siblings;
	c->on_gone = on_gone;
	c->on_gone_ctx = ctx;
	take_wire(c, w);
	return c;
}

bool
conn_has_owner(const struct conn *c)
{
	return c->ev != NULL;
}

void
conn_set_owner(struct conn *c, const struct conn_events *ev, void *owner)
{
	loop_assert(c->loop);
	c->ev = ev;
	c->owner = owner;
	if (c->state == CONN_READY)
		wire_pause(
		    c->wire, c->paused); /* what the one before did not read is news to this one */
}

/* -- life -- */

/* A wire that came out of dial or listener is up already. */
static void
on_up(void *ctx)
{
	(void)ctx;
}

static void
on_input(void *ctx)
{
	struct conn *c = ctx;

	if (c->state == CONN_READY && c->ev != NULL)
		c->ev->on_readable(c->owner);
}

static void
on_room(void *ctx)
{
	struct conn *c = ctx;

	judge_line(c);
	if (c->state == CONN_READY && c->ev != NULL)
		c->ev->on_writable(c->owner);
}

enum err
conn_read(struct conn *c, void *to, size_t n, size_t *ret_n)
{
	loop_assert(c->loop);
	return c->state == CONN_READY ? wire_read(c->wire, to, n, ret_n) : ERR_AGAIN;
}

enum err
conn_write(struct conn *c, struct bytes b)
{
	loop_assert(c->loop);
	if (!expect(b.len <= CONN_WRITE_MAX))
		return ERR_LIMIT;
	if (c->state != CONN_READY || !wire_has_room(c->wire, b.len))
		return ERR_AGAIN;
	return wire_write(c->wire, b) == b.len ? OK : ERR_AGAIN;
}

size_t
conn_write_some(struct conn *c, struct bytes b)
{
	loop_assert(c->loop);
	return c->state == CONN_READY ? wire_write(c->wire, b) : 0;
}

void
conn_pause(struct conn *c, bool paused)
{
	loop_assert(c->loop);
	c->paused = paused;
	if (c->state == CONN_READY)
		wire_pause(c->wire, paused);
}

/* -- death -- */

static void
on_last(void *ctx)
{
	struct conn *c = ctx;

	if (c->ev != NULL)
		c->ev->on_closed(c->owner, c->why);
	if (c->on_gone != NULL)
		c->on_gone(c->on_gone_ctx);
	free(c->why);
	free(c);
}

static void
drop_wire(struct conn *c)
{
	if (c->wire == NULL)
		return;
	c->bytes_in = wire_bytes_in(c->wire);
	c->bytes_out = wire_bytes_out(c->wire);
	wire_close(c->wire);
	c->wire = NULL;
}

static void
close_with(struct conn *c, const struct error *why)
{
	enter(c, CONN_CLOSED);
	if (why != NULL)
		c->why = mem_dup(why, sizeof *why);
	dial_cancel(c->dial);
	c->dial = NULL;
	drop_wire(c);
	task_start(&c->last);
}

static void
on_down(void *ctx, const struct error *why)
{
	close_with(ctx, why);
}

void
conn_close(struct conn *c, const struct error *why)
{
	loop_assert(c->loop);
	if (c->state == CONN_CLOSED)
		return;
	if (c->state == CONN_READY && why == NULL)
		wire_goodbye(c->wire);
	close_with(c, why);
}

void
conn_close_when_sent(struct conn *c)
{
	loop_assert(c->loop);
	if (c->state == CONN_DIALING) {
		close_with(c, NULL);
	} else if (c->state == CONN_READY) {
		enter(c, CONN_LEAVING);
		wire_finish(c->wire);
	}
}

/* -- what it is -- */

void
conn_buffers(struct conn *c, size_t receive, size_t send)
{
	loop_assert(c->loop);
	c->receive_buffer = receive;
	c->send_buffer = send;
	if (c->state == CONN_READY)
		wire_buffers(c->wire, receive, send);
}

void
conn_set_line(struct conn *c, enum line_class class)
{
	loop_assert(c->loop);
	c->by_rtt = false;
	set_class(c, class);
}

void
conn_line_by_rtt(struct conn *c)
{
	loop_assert(c->loop);
	c->by_rtt = true;
	judge_line(c);
}

enum line_class
conn_line(const struct conn *c)
{
	return c->class;
}

bool
conn_measure(const struct conn *c, struct tcp_line *ret)
{
	if (c->wire != NULL)
		return wire_measure(c->wire, ret);
	*ret = (struct tcp_line){ 0 };
	return false;
}

bool
conn_is_ready(const struct conn *c)
{
	return c->state == CONN_READY;
}

struct tls *
conn_tls_mut(struct conn *c)
{
	return c->wire != NULL ? wire_tls(c->wire) : NULL;
}

const struct tls *
conn_tls(const struct conn *c)
{
	return c->wire != NULL ? wire_tls(c->wire) : NULL;
}

const char *
conn_peer_address(const struct conn *c)
{
	return c->address;
}

size_t
conn_siblings(const struct conn *c)
{
	return c->siblings != NULL ? *c->siblings : 0;
}

uint64_t
conn_bytes_in(const struct conn *c)
{
	return c->wire != NULL ? wire_bytes_in(c->wire) : c->bytes_in;
}

uint64_t
conn_bytes_out(const struct conn *c)
{
	return c->wire != NULL ? wire_bytes_out(c->wire) : c->bytes_out;
}
