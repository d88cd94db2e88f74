/*
 * A call lives as long as both its connection and its handler: `conn` is NULL once the connection
 * has closed, control_call_done makes it CALL_DONE, and whichever comes second frees.
 */
#include "control/control_private.h"

#include <assert.h>
#include <stdarg.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/conn.h"

enum { READ_BYTES = 16 * 1024, WRITE_BYTES = 64 * 1024, NOTE_MAX = 4096 };

enum call_state {
	CALL_ASKING,    /* the request is still arriving; no handler knows of the call */
	CALL_ANSWERING, /* the handler's */
	CALL_DONE,      /* answered: sending the rest */
};

struct control_call {
	struct control_server *server; /* NULL: closed */
	struct control_call *next;     /* of the server's open calls */
	struct conn *conn;             /* NULL: gone */
	struct timer *deadline;        /* of CALL_ASKING */
	enum call_state state;
	bool was_full; /* since on_room was told */
	bool is_cut;   /* the queue ran over */
	struct buf in, out;
	void (*on_gone)(void *ctx);
	void *gone_ctx;
	void (*on_room)(void *ctx);
	void *room_ctx;
};

static void on_readable(void *owner);
static void on_deadline(void *ctx);
static void on_writable(void *owner);
static void on_closed(void *owner, const struct error *why);

static const struct conn_events events = {
	.on_readable = on_readable,
	.on_writable = on_writable,
	.on_closed = on_closed,
};

void
control_call_open(struct control_server *s, struct conn *conn)
{
	struct control_call *c = mem_new(struct control_call);

	*c = (struct control_call){
		.server = s,
		.next = s->calls,
		.conn = conn,
		.deadline = timer_new(s->loop, on_deadline, c),
		.in = BUF(CONTROL_FRAME_MAX + CONTROL_HEADER + READ_BYTES),
		.out = BUF(CONTROL_QUEUE_MAX),
	};
	s->calls = c;
	timer_start(c->deadline, CONTROL_REQUEST_MS);
	conn_set_owner(conn, &events, c);
}

struct control_call *
control_call_leave(struct control_call *c)
{
	struct control_call *next = c->next;

	c->server = NULL;
	if (c->state == CALL_DONE)
		conn_close_when_sent(c->conn);
	else
		conn_close(c->conn, NULL);
	return next;
}

static void
on_deadline(void *ctx)
{
	struct control_call *c = ctx;

	conn_close(c->conn, NULL);
}

static void
call_free(struct control_call *c)
{
	timer_close(c->deadline);
	buf_clear(&c->in);
	buf_clear(&c->out);
	free(c);
}

static void
unlink_call(struct control_call *c)
{
	if (c->server == NULL)
		return;
	for (struct control_call **at = &c->server->calls; *at != NULL; at = &(*at)->next) {
		if (*at == c) {
			*at = c->next;
			return;
		}
	}
}

static void
on_closed(void *owner, const struct error *why)
{
	struct control_call *c = owner;

	(void)why; /* somebody pressed Ctrl-C: nothing to report */
	c->conn = NULL;
	unlink_call(c);
	c->server = NULL;
	buf_clear(&c->out);
	if (c->state != CALL_ANSWERING) {
		call_free(c);
		return;
	}
	if (c->on_gone != NULL)
		c->on_gone(c->gone_ctx);
}

/* Sends what is queued as far as the connection takes it. */
static void
flush(struct control_call *c)
{
	size_t sent = 0;

	while (sent < c->out.len) {
		size_t n = min_of(c->out.len - sent, (size_t)WRITE_BYTES);
		if (conn_write(c->conn, bytes_slice(buf_bytes(&c->out), sent, n)) != OK)
			break;
		sent += n;
	}
	buf_drop_front(&c->out, sent);
	if (c->state == CALL_DONE && c->out.len == 0)
		conn_close_when_sent(c->conn);
}

static void
on_writable(void *owner)
{
	struct control_call *c = owner;

	if (c->conn == NULL)
		return;
	flush(c);
	if (!c->was_full || c->out.len > CONTROL_QUEUE_HIGH / 2)
		return;
	c->was_full = false;
	if (c->state == CALL_ANSWERING && c->on_room != NULL)
		c->on_room(c->room_ctx);
}

/* A request that is none: the answer says so, the connection ends, the daemon lives. */
static void
refuse(struct control_call *c, const struct error *why)
{
	log_warn("control socket: %s", why->text);
	c->state = CALL_ANSWERING;
	control_call_done(c, why, -1);
}

static void
on_request(struct control_call *c, struct bytes body)
{
	auto_buf struct buf store = BUF(2 * CONTROL_FRAME_MAX);
	struct control_request request;
	struct error e;

	timer_stop(c->deadline);
	if (control_request_decode(body, &store, &request, &e) != OK) {
		refuse(c, &e);
		return;
	}
	c->state = CALL_ANSWERING;
	c->server->on_call(c->server->ctx, c, &request);
}

/* Bytes after the request are a broken command line: they are read, so that its going away is seen,
 * and forgotten. */
static void
on_bytes(struct control_call *c, struct bytes b)
{
	struct bytes body;
	enum control_kind kind;
	size_t used;
	struct error e;

	if (c->state != CALL_ASKING)
		return;
	buf_add_bytes(&c->in, b);
	enum err r = control_frame_next(buf_bytes(&c->in), &kind, &body, &used, &e);
	if (r == OK && kind != CONTROL_REQUEST)
		r = fail(&e, ERR_PROTO, "a call does not begin with a request");
	if (r == OK)
		on_request(c, body);
	else if (r != ERR_AGAIN)
		refuse(c, &e);
}

/* The call is there until on_closed, whatever the handler does. */
static void
on_readable(void *owner)
{
	struct control_call *c = owner;
	uint8_t chunk[READ_BYTES];
	size_t n;

	while (c->conn != NULL && conn_read(c->conn, chunk, sizeof chunk, &n) == OK)
		on_bytes(c, BYTES(chunk, n));
}

static void
send_frame(struct control_call *c, enum control_kind kind, struct bytes body)
{
	if (c->conn == NULL || c->is_cut)
		return;
	control_frame(&c->out, kind, body);
	if (c->out.full) {
		c->is_cut = true;
		log_warn("control socket: %d MiB of answer wait to be read: cut off",
		    CONTROL_QUEUE_MAX >> 20);
		conn_close(c->conn, NULL);
		return;
	}
	flush(c);
	c->was_full = c->was_full || c->out.len > CONTROL_QUEUE_HIGH;
}

void
control_call_row(struct control_call *c, struct bytes record)
{
	assert(c->state == CALL_ANSWERING);
	send_frame(c, CONTROL_ROW, record);
}

void
control_call_progress(struct control_call *c, struct bytes record)
{
	assert(c->state == CALL_ANSWERING);
	if (c->out.len == 0)
		send_frame(c, CONTROL_PROGRESS, record);
}

void
control_call_note(struct control_call *c, const char *fmt, ...)
{
	auto_buf struct buf record = BUF(RECORD_MAX);
	char text[NOTE_MAX];
	va_list ap;

	assert(c->state == CALL_ANSWERING);
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	record_text(&record, "text", text);
	send_frame(c, CONTROL_NOTE, buf_bytes(&record));
}

void
control_call_done(struct control_call *c, const struct error *e, int status)
{
	auto_buf struct buf body = BUF(RECORD_MAX);

	assert(c->state == CALL_ANSWERING);
	c->state = CALL_DONE;
	if (c->conn == NULL) {
		call_free(c);
		return;
	}
	control_done_encode(e, status, &body);
	send_frame(c, CONTROL_DONE, buf_bytes(&body));
}

void
control_call_on_gone(struct control_call *c, void (*on_gone)(void *ctx), void *ctx)
{
	c->on_gone = on_gone;
	c->gone_ctx = ctx;
}

bool
control_call_is_full(const struct control_call *c)
{
	return c->conn != NULL && c->out.len > CONTROL_QUEUE_HIGH;
}

void
control_call_on_room(struct control_call *c, void (*on_room)(void *ctx), void *ctx)
{
	c->on_room = on_room;
	c->room_ctx = ctx;
}
