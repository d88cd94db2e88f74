/*
 * Bytes come in as the conn tells of them, straight into the session's space.  All else is settled
 * once, at the end of the turn: events are told, output goes out, the timer is set to the session's
 * next tick.
 */
#include "peer/peer.h"

#include <assert.h>

#include "base/log.h"
#include "base/mem.h"
#include "peer/lane.h"

enum { BUFFER_FREE = 4 * 1024 * 1024 }; /* of a socket that was limited before, each way */

#define PEER_STATES(X) X(DIALING) X(OPEN) X(LEAVING) X(GONE)
enum peer_state {
#define X(name) PEER_##name,
	PEER_STATES(X)
#undef X
};
static const char *const state_name[] = {
#define X(name) #name,
	PEER_STATES(X)
#undef X
};

#define TO(s) (1u << PEER_##s)
static const unsigned may_enter[] = {
	[PEER_DIALING] = TO(OPEN) | TO(GONE),
	[PEER_OPEN] =
	    TO(LEAVING) | TO(GONE), /* LEAVING: the session has ended, its last bytes go out */
	[PEER_LEAVING] = TO(GONE),
	[PEER_GONE] = 0,
};

struct peer {
	struct loop *loop;
	struct conn *conn;
	struct session *session;
	const struct peer_events *ev;
	void *owner;
	enum peer_state state;
	bool dialer, has_device;
	bool paused;
	unsigned pauses;  /* whoever paused it has not resumed */
	bool starved;     /* the session took no more: it waits for the owner's word on HELLO */
	uint32_t window;  /* of output */
	uint64_t awaited; /* block: tell the owner when it has gone; 0: none */
	bool was_full;    /* tell the owner when there is room again */
	bool stuck;       /* the conn took less than all */
	bool told_stuck;  /* to the owner, while it waits for room */
	bool finished;    /* LEAVING: the conn has been told */
	uint64_t tick_ms; /* what the timer is set to */
	struct throttle *throttle; /* NULL: no limit */
	struct throttle_turn turns[THROTTLE_WAYS];
	unsigned changes;              /* of the throttle's limits that the buffers follow */
	size_t buffers[THROTTLE_WAYS]; /* that were set; 0: the system sizes it */
	struct task settle;
	struct timer *timer; /* the session's tick; LEAVING: the limit of that */
	struct error *why;   /* why the session ended; NULL: cleanly */
	struct buf hello;    /* DIALING */
	struct device_id device;
	struct lanes *lanes; /* peer/lane's */
};

static void on_ready(void *owner);
static void on_readable(void *owner);
static void on_writable(void *owner);
static void on_time(void *ctx);
static void on_settle(void *ctx);
static void on_conn_closed(void *owner, const struct error *why);
static void on_up_turn(void *ctx);
static void on_down_turn(void *ctx);

static const struct conn_events conn_events = { on_ready, on_readable, on_writable,
	on_conn_closed };

static void
enter(struct peer *p, enum peer_state next)
{
	assert(may_enter[p->state] & (1u << next));
	log_debug("peer %s: %s -> %s", conn_peer_address(p->conn), state_name[p->state],
	    state_name[next]);
	p->state = next;
}

/* -- birth -- */

static void
start_session(struct peer *p, struct bytes hello)
{
	const struct session_opts o = {
		.dialer = p->dialer, .hello = hello, .now_ms = loop_now_ms(p->loop)
	};

	session_free(p->session);
	p->session = session_new(&o);
}

static void
open_up(struct peer *p)
{
	const struct tls *t = conn_tls(p->conn);

	enter(p, PEER_OPEN);
	p->has_device = t != NULL;
	if (p->has_device)
		p->device = *tls_peer_id(t);
	session_paused(p->session, p->paused, loop_now_ms(p->loop));
	task_start(&p->settle);
}

struct peer *
peer_new(struct loop *l, struct conn *c, bool dialer, struct bytes hello,
    const struct peer_events *ev, void *owner)
{
	struct peer *p = mem_new(struct peer);

	loop_assert(l);
	p->loop = l;
	p->conn = c;
	p->dialer = dialer;
	p->ev = ev;
	p->owner = owner;
	p->tick_ms = UINT64_MAX;
	p->window = LIMIT_OUTPUT_QUEUE;
	task_init(&p->settle, l, on_settle, p);
	p->timer = timer_new(l, on_time, p);
	throttle_init(&p->turns[THROTTLE_UP], on_up_turn, p);
	throttle_init(&p->turns[THROTTLE_DOWN], on_down_turn, p);
	start_session(p, hello);
	conn_set_owner(c, &conn_events, p);
	if (conn_is_ready(c)) {
		open_up(p);
	} else {
		p->hello = BUF(hello.len);
		buf_add_bytes(&p->hello, hello);
	}
	return p;
}

/* The time for HELLO begins now, not when we began to dial: hence a fresh session. */
static void
on_ready(void *owner)
{
	struct peer *p = owner;

	start_session(p, buf_bytes(&p->hello));
	buf_clear(&p->hello);
	open_up(p);
}

/* -- sharing -- */

static void
leave_lines(struct peer *p)
{
	for (int way = 0; way < THROTTLE_WAYS && p->throttle != NULL; way++)
		throttle_leave(p->throttle, way, &p->turns[way]);
}

/* What a socket's buffer is to be made; 0: it may stay as it is.  Limits may change many times a
 * second, a buffer follows them roughly. */
static size_t
buffer(struct peer *p, enum throttle_way way)
{
	size_t n = throttle_buffer(p->throttle, way, p->turns[way].is_near), is = p->buffers[way];

	if (n == 0)
		n = is != 0 ? BUFFER_FREE : 0;
	if (n > is - is / 4 && n < is + is / 4)
		return 0;
	p->buffers[way] = n;
	return n;
}

static void
size_buffers(struct peer *p)
{
	if (p->throttle != NULL)
		p->changes = throttle_changes(p->throttle);
	size_t down = buffer(p, THROTTLE_DOWN), up = buffer(p, THROTTLE_UP);
	if (down != 0 || up != 0)
		conn_buffers(p->conn, down, up);
}

/* Whoever waited in a line that it has left goes on. */
static void
change_lines(struct peer *p, struct throttle *t, bool is_near)
{
	bool waited = throttle_waits(&p->turns[THROTTLE_DOWN]);

	leave_lines(p);
	p->throttle = t;
	for (int way = 0; way < THROTTLE_WAYS; way++)
		throttle_near(&p->turns[way], is_near);
	size_buffers(p);
	if (waited)
		session_paused(p->session, p->paused, loop_now_ms(p->loop));
	p->starved |= waited; /* to be read now */
	task_start(&p->settle);
}

void
peer_throttle(struct peer *p, struct throttle *t)
{
	loop_assert(p->loop);
	change_lines(p, t, peer_is_near(p));
}

void
peer_near(struct peer *p, bool is_near)
{
	loop_assert(p->loop);
	if (is_near != peer_is_near(p) && p->state <= PEER_OPEN)
		change_lines(p, p->throttle, is_near);
}

bool
peer_is_near(const struct peer *p)
{
	return p->turns[THROTTLE_UP].is_near;
}

/* Of N bytes that could move, how many may now; 0: its turn comes. */
static size_t
may_move(struct peer *p, enum throttle_way way, bool begun, size_t n)
{
	if (p->throttle == NULL)
		return n;
	return min_of(n, throttle_ask(p->throttle, way, &p->turns[way], begun));
}

static void
has_moved(struct peer *p, enum throttle_way way, size_t n)
{
	if (p->throttle == NULL)
		return;
	throttle_moved(p->throttle, way, &p->turns[way], n);
	if (p->changes != throttle_changes(p->throttle))
		size_buffers(p);
}

/* -- events -- */

/* The session has ended.  Its last words are sent, then the conn is closed. */
static void
on_session_closed(struct peer *p, const struct error *why)
{
	if (why->code != OK)
		p->why = mem_dup(why, sizeof *why);
	if (p->state != PEER_OPEN)
		return;
	enter(p, PEER_LEAVING);
	leave_lines(p);
	conn_pause(p->conn, true);
	timer_start(p->timer, PEER_GOODBYE_MS);
	task_start(&p->settle);
}

static void
tell_events(struct peer *p)
{
	struct session_event ev;

	for (session_next(p->session, &ev); ev.kind != SESSION_EV_NONE;
	     session_next(p->session, &ev)) {
		if (ev.kind == SESSION_EV_CLOSED)
			on_session_closed(p, &ev.error);
		else
			p->ev->on_event(p->owner, p, &ev);
	}
}

/* -- in -- */

/* Silence while it waits for its turn is no fault of the other side. */
static size_t
may_read(struct peer *p, size_t n)
{
	size_t may = may_move(p, THROTTLE_DOWN, false, n);

	if (may == 0)
		session_paused(p->session, true, loop_now_ms(p->loop));
	return may;
}

/* Reads until there is no more, its turn is over, the owner has had enough, or the session has. */
static void
on_readable(void *owner)
{
	struct peer *p = owner;
	size_t room, n;

	p->starved = false;
	while (p->state == PEER_OPEN && !p->paused) {
		uint8_t *to = session_space(p->session, &room);
		if (room == 0) {
			tell_events(p);
			to = session_space(p->session, &room);
		}
		p->starved = room == 0;
		if (p->starved || p->paused || (room = may_read(p, room)) == 0 ||
		    conn_read(p->conn, to, room, &n) != OK)
			break;
		has_moved(p, THROTTLE_DOWN, n);
		session_received(p->session, n, loop_now_ms(p->loop));
	}
	task_start(&p->settle);
}

static void
on_down_turn(void *ctx)
{
	struct peer *p = ctx;

	if (p->state != PEER_OPEN)
		return;
	session_paused(p->session, p->paused, loop_now_ms(p->loop));
	on_readable(p);
}

/* -- out -- */

/* Messages and last words do not wait for a turn. */
static size_t
may_send(struct peer *p, size_t n)
{
	if (p->state != PEER_OPEN || session_output_is_message(p->session))
		return n;
	return may_move(p, THROTTLE_UP, session_output_has_begun(p->session), n);
}

/* False: the conn takes no more now, or it is another's turn. */
static bool
push_output(struct peer *p)
{
	for (;;) {
		struct bytes b = session_output(p->session);
		if (b.len == 0)
			return true;
		b.len = may_send(p, b.len);
		size_t n = b.len > 0 ? conn_write_some(p->conn, b) : 0;
		has_moved(p, THROTTLE_UP, n);
		session_sent(p->session, n);
		p->stuck = n < b.len; /* waiting for our own turn is not that */
		if (b.len == 0 || p->stuck)
			return false;
	}
}

static void
on_up_turn(void *ctx)
{
	on_settle(ctx);
}

static void
on_writable(void *owner)
{
	struct peer *p = owner;

	on_settle(p);
}

static void
tell_output(struct peer *p)
{
	bool room = p->was_full && session_queued(p->session) < p->window / 2;
	bool gone = p->awaited != 0 && session_raw_gone(p->session) >= p->awaited;
	bool turned = p->was_full && p->stuck != p->told_stuck;

	if (!room && !gone && !turned)
		return;
	p->was_full &= !room;
	p->told_stuck = p->stuck;
	if (gone)
		p->awaited = 0;
	p->ev->on_writable(p->owner, p);
}

/* -- time -- */

/* The timer is only moved forward; when it rings early the session says what is next. */
static void
set_tick(struct peer *p)
{
	uint64_t now = loop_now_ms(p->loop);
	uint64_t next = session_tick(p->session, now);

	tell_events(p);
	if (p->state != PEER_OPEN || next >= p->tick_ms)
		return;
	p->tick_ms = next;
	timer_start(p->timer, next > now ? next - now : 0);
}

static void
on_time(void *ctx)
{
	struct peer *p = ctx;

	p->tick_ms = UINT64_MAX;
	if (p->state == PEER_LEAVING)
		conn_close(p->conn, p->why);
	else if (p->state == PEER_OPEN)
		on_settle(p);
}

static void
settle_open(struct peer *p)
{
	tell_events(p);
	if (p->starved)
		on_readable(p);
	set_tick(p);
	p->was_full |= session_queued(p->session) >= p->window;
	(void)push_output(p);
	if (p->state == PEER_OPEN)
		tell_output(p);
}

static void
on_settle(void *ctx)
{
	struct peer *p = ctx;

	if (p->state == PEER_OPEN)
		settle_open(p);
	if (p->state == PEER_LEAVING && !p->finished && push_output(p)) {
		p->finished = true;
		conn_close_when_sent(p->conn);
	}
}

void
peer_flush(struct peer *p)
{
	loop_assert(p->loop);
	task_start(&p->settle);
}

/* Whoever was told "no" is told of room, even when it is a cancelled stream that makes it. */
bool
peer_has_room(struct peer *p)
{
	bool has = session_queued(p->session) < p->window;

	p->was_full |= !has;
	return has;
}

void
peer_set_window(struct peer *p, uint32_t bytes)
{
	p->window = bytes;
}

void
peer_await_gone(struct peer *p, uint64_t number)
{
	p->awaited = number;
	if (number != 0)
		task_start(&p->settle);
}

bool
peer_is_stuck(const struct peer *p)
{
	return p->stuck;
}

void
peer_pause(struct peer *p, bool paused)
{
	loop_assert(p->loop);
	if (p->state > PEER_OPEN || !expect(paused || p->pauses > 0))
		return;
	p->pauses = paused ? p->pauses + 1 : p->pauses - 1;
	if (p->paused == (p->pauses > 0))
		return;
	p->paused = paused;
	session_paused(p->session, paused, loop_now_ms(p->loop));
	conn_pause(p->conn, paused);
}

/* -- death -- */

void
peer_close(struct peer *p, const struct error *why)
{
	loop_assert(p->loop);
	if (p->state == PEER_DIALING)
		conn_close(p->conn, why);
	if (p->state != PEER_OPEN)
		return;
	session_close(p->session, why);
	task_start(&p->settle);
}

/* No BYE came before the conn went. */
static void
end_session(struct peer *p, const struct error *why)
{
	const struct error hung_up = {
		.code = ERR_OFFLINE, .text = "the other side hung up", .where = HERE
	};

	if (why == NULL && p->state == PEER_OPEN)
		why = &hung_up;
	session_abort(p->session, why);
}

static void
on_conn_closed(void *owner, const struct error *why)
{
	struct peer *p = owner;

	leave_lines(p);
	end_session(p, why);
	enter(p, PEER_GONE);
	tell_events(p);
	lane_leave(p);
	p->ev->on_closed(p->owner, p, p->why);
	task_cancel(&p->settle);
	timer_close(p->timer);
	session_free(p->session);
	buf_clear(&p->hello);
	free(p->why);
	free(p);
}

struct session *
peer_session(struct peer *p)
{
	return p->session;
}

const struct device_id *
peer_device(const struct peer *p)
{
	return p->has_device ? &p->device : NULL;
}

struct conn *
peer_conn(struct peer *p)
{
	return p->conn;
}

void *
peer_owner(struct peer *p)
{
	return p->owner;
}

struct lanes **
peer_lanes(struct peer *p)
{
	return &p->lanes;
}
