/*
 * A poll handle on a socket of our own rather than libuv's streams: bytes are received straight
 * into the loop's one buffer, or into the reader's memory when in clear, and sent straight from
 * TLS's output, which a pending uv_write would have to copy.
 *
 * All that a call changes is settled once, by the task at the end of the turn: output is sent, the
 * owed on_input is called, a break is told, and the poll handle is asked for exactly what is needed
 * next.
 */
#include "net/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "net/wire_end.h"
#include "net/wire_socket.h"

static void on_poll(uv_poll_t *h, int status, int events);
static void on_settle(void *ctx);
static void on_handle_closed(uv_handle_t *h);

/* -- the socket -- */

static ssize_t
receive(struct wire *w, void *to, size_t n)
{
	ssize_t got = wire_socket_receive(w->fd, to, n);

	if (got > 0) {
		w->bytes_in += (uint64_t)got;
		loop_moved(w->loop, (size_t)got);
	}
	return got;
}

static ssize_t
transmit(struct wire *w, struct bytes b)
{
	ssize_t sent = wire_socket_send(w->fd, b);

	if (sent > 0) {
		w->bytes_out += (uint64_t)sent;
		loop_moved(w->loop, (size_t)sent);
	}
	return sent;
}

/* -- sending -- */

static struct bytes
output(const struct wire *w)
{
	return w->tls != NULL ? tls_output(w->tls) : buf_bytes(&w->out);
}

static void
sent(struct wire *w, size_t n)
{
	if (w->tls != NULL)
		tls_sent(w->tls, n);
	else
		buf_drop_front(&w->out, n);
	if (w->tls == NULL && w->out.len == 0)
		buf_clear(&w->out);
}

/* Sends what is waiting, as far as the socket takes it. */
static void
flush(struct wire *w)
{
	struct bytes b = output(w);

	if (b.len == 0 || w->stuck || w->mute || w->state >= WIRE_BROKEN)
		return;
	ssize_t n = transmit(w, b);
	if (n < 0 && !wire_socket_would_block(errno)) {
		wire_end_mute(w, errno);
		return;
	}
	if (n > 0)
		sent(w, (size_t)n);
	w->stuck = n < (ssize_t)b.len;
}

static size_t
room(const struct wire *w)
{
	size_t waiting = output(w).len;

	if (w->tls != NULL)
		return waiting < WIRE_FLUSH ? tls_write_room(w->tls) : 0;
	return WIRE_QUEUE - waiting;
}

bool
wire_has_room(struct wire *w, size_t n)
{
	if (w->state != WIRE_OPEN || w->mute)
		return false;
	if (room(w) < n)
		flush(w);
	if (w->state == WIRE_OPEN && !w->mute && room(w) >= n)
		return true;
	w->owes_room = true;
	task_start(&w->settle);
	return false;
}

/* The socket has taken so much that a good piece fits again. */
static bool
has_much_room(const struct wire *w)
{
	return output(w).len <= (w->tls != NULL ? WIRE_FLUSH : WIRE_QUEUE) / 2;
}

/* What may be appended in one go. */
static size_t
piece(const struct wire *w)
{
	return min_of(room(w), (size_t)TLS_WRITE_MAX);
}

/* Puts N bytes, for which there is room, behind the output. */
static bool
append(struct wire *w, struct bytes b)
{
	struct error e = { 0 };

	if (w->tls == NULL)
		return buf_add_bytes(&w->out, b);
	if (tls_write(w->tls, b, &e) == OK)
		return true;
	wire_end_with(w, &e);
	return false;
}

size_t
wire_write(struct wire *w, struct bytes b)
{
	size_t taken = 0;

	while (taken < b.len && wire_has_room(w, min_of(b.len - taken, (size_t)WIRE_RECORD))) {
		size_t n = min_of(b.len - taken, piece(w));
		if (!append(w, bytes_slice(b, taken, n)))
			break;
		taken += n;
		if (output(w).len >= WIRE_FLUSH)
			flush(w);
	}
	if (w->state == WIRE_OPEN)
		task_start(&w->settle);
	return taken;
}

/* -- receiving -- */

static void
call_input(struct wire *w)
{
	w->owes_input = false;
	w->drained = false;
	w->budget = WIRE_ROUNDS * LOOP_RECEIVE;
	w->ev->on_input(w->ctx);
}

/* The bytes ended without the goodbye that TLS has for it, or in a socket error. */
static void
input_ended(struct wire *w, ssize_t n)
{
	struct error e = { 0 };

	if (n < 0)
		(void)wire_end_fail_lost(&e, errno);
	else if (w->state == WIRE_SHAKING)
		(void)fail(&e, ERR_OFFLINE, "the other side hung up during the TLS handshake");
	else
		(void)fail(&e, ERR_OFFLINE, "connection cut off");
	wire_end_with(w, &e);
}

/* What the holder did not decrypt yet must leave the loop's buffer. */
static void
keep(struct wire *w)
{
	if (w->state < WIRE_BROKEN && tls_fed_left(w->tls) > 0)
		tls_keep(w->tls);
}

/* One gulp of ciphertext into TLS.  *RET_MORE: the socket may hold more. */
static bool
gulp(struct wire *w, bool *ret_more)
{
	uint8_t *to = loop_receive_buffer(w->loop);
	ssize_t n = receive(w, to, LOOP_RECEIVE);

	*ret_more = n == LOOP_RECEIVE;
	if (n > 0) {
		tls_feed(w->tls, BYTES(to, (size_t)n));
		return true;
	}
	if (n == 0 || !wire_socket_would_block(errno))
		input_ended(w, n);
	return false;
}

static void
read_tls(struct wire *w)
{
	bool more = true;

	for (int i = 0; i < WIRE_ROUNDS && more; i++) {
		if (!gulp(w, &more))
			return;
		call_input(w);
		keep(w);
		if (w->state != WIRE_OPEN || w->paused || !w->drained)
			return;
	}
}

static enum err
read_clear(struct wire *w, void *to, size_t n, size_t *ret_n)
{
	ssize_t got = -1;

	errno = EAGAIN;
	if (w->budget > 0)
		got = receive(w, to, min_of(n, w->budget));
	if (got > 0) {
		w->budget -= (size_t)got;
		*ret_n = (size_t)got;
		return OK;
	}
	if (got == 0)
		wire_end_with(w, w->mute ? w->why : NULL);
	else if (wire_socket_would_block(errno))
		w->drained = true;
	else
		wire_end_lost(w, errno);
	return ERR_AGAIN;
}

static enum err
read_decrypted(struct wire *w, void *to, size_t n, size_t *ret_n)
{
	struct error e = { 0 };
	enum err r = tls_read(w->tls, to, n, ret_n, &e);

	if (r == OK)
		return OK;
	if (r == ERR_AGAIN) {
		w->drained = true;
	} else {
		flush(w); /* the alert that says why, if any */
		wire_end_with(w, r == ERR_NOTFOUND ? NULL : &e);
	}
	return ERR_AGAIN;
}

enum err
wire_read(struct wire *w, void *to, size_t n, size_t *ret_n)
{
	if (w->state != WIRE_OPEN)
		return ERR_AGAIN;
	enum err r = w->tls != NULL ? read_decrypted(w, to, n, ret_n) : read_clear(w, to, n, ret_n);
	if (r != OK)
		task_start(&w->settle);
	return r;
}

void
wire_pause(struct wire *w, bool paused)
{
	w->paused = paused;
	if (!paused && !w->drained)
		w->owes_input = true;
	task_start(&w->settle);
}

/* Nobody wants it any more; it is read so that the kernel does not answer it with a reset, which
 * would take our last words from the other side. */
static void
read_and_drop(struct wire *w)
{
	ssize_t n = receive(w, loop_receive_buffer(w->loop), LOOP_RECEIVE);

	if (n > 0 || (n < 0 && wire_socket_would_block(errno)))
		return;
	if (output(w).len > 0)
		input_ended(w, n);
	else
		wire_end_with(w, NULL);
}

/* -- a healthy life -- */

static void
come_up(struct wire *w)
{
	wire_end_drop_deadline(w);
	wire_end_enter(w, WIRE_OPEN);
	w->owes_input = true;
	w->ev->on_up(w->ctx);
}

static void
shake(struct wire *w)
{
	struct error e = { 0 };
	enum err r = tls_handshake(w->tls, &e);

	flush(w);
	if (w->state != WIRE_SHAKING)
		return;
	if (r == OK)
		come_up(w);
	else if (r != ERR_AGAIN)
		wire_end_with(w, &e);
}

static void
start_talking(struct wire *w)
{
	if (w->tls == NULL) {
		come_up(w);
	} else {
		wire_end_enter(w, WIRE_SHAKING);
		shake(w);
	}
}

static void
finish_connect(struct wire *w)
{
	int sys = wire_socket_error(w->fd);

	w->connecting = false;
	if (sys == 0) {
		start_talking(w);
	} else {
		struct error e = { 0 };
		(void)error_set(&e, ERR_OFFLINE, sys, HERE, "%s", strerror(sys));
		wire_end_with(w, &e);
	}
}

/* A handshake's last flight may be followed by bytes for the holder, which stay in TLS until
 * on_input. */
static void
receive_handshake(struct wire *w)
{
	bool more;

	if (!gulp(w, &more))
		return;
	shake(w);
	keep(w);
}

static void
receive_any(struct wire *w)
{
	if (w->state == WIRE_SHAKING)
		receive_handshake(w);
	else if (w->state == WIRE_LEAVING)
		read_and_drop(w);
	else if (w->tls != NULL)
		read_tls(w);
	else
		call_input(w);
}

static bool
wants_input(const struct wire *w)
{
	return w->state == WIRE_SHAKING || w->state == WIRE_LEAVING ||
	       (w->state == WIRE_OPEN && !w->paused && w->drained);
}

static void
offer_room(struct wire *w)
{
	if (w->state != WIRE_OPEN || !w->owes_room || w->mute || !has_much_room(w))
		return;
	w->owes_room = false;
	w->ev->on_room(w->ctx);
}

/* After an error libuv has stopped the handle and says nothing else: the calls themselves will say
 * what it was. */
static void
on_poll(uv_poll_t *h, int status, int events)
{
	struct wire *w = (struct wire *)h;

	if (status < 0) {
		events = UV_READABLE | UV_WRITABLE;
		w->polling = 0;
	}
	task_start(&w->settle);
	if (w->state == WIRE_CONNECTING) {
		finish_connect(w);
		return;
	}
	if ((events & UV_READABLE) && wants_input(w))
		receive_any(w);
	if ((events & UV_WRITABLE) && w->state < WIRE_BROKEN) {
		w->stuck = false;
		flush(w);
		offer_room(w);
	}
}

/* Asks the kernel for exactly what is needed next. */
static void
arm(struct wire *w)
{
	int want = wants_input(w) ? UV_READABLE : 0;

	if (w->state == WIRE_CONNECTING || (output(w).len > 0 && !w->mute))
		want |= UV_WRITABLE;
	if (want == w->polling)
		return;
	if (want == 0)
		uv_poll_stop(&w->poll);
	else
		uv_poll_start(&w->poll, want, on_poll);
	w->polling = want;
}

/* All is sent: hang up, and wait for the other side to do the same. */
static void
hang_up_when_sent(struct wire *w)
{
	if (w->hung_up || output(w).len > 0)
		return;
	w->hung_up = true;
	(void)shutdown(w->fd, SHUT_WR);
}

static void
on_settle(void *ctx)
{
	struct wire *w = ctx;

	if (w->state == WIRE_CONNECTING && !w->connecting)
		start_talking(w);
	if (w->state == WIRE_OPEN && w->owes_input && !w->paused)
		call_input(w);
	if (!w->stuck)
		offer_room(w);
	flush(w);
	if (w->state == WIRE_LEAVING)
		hang_up_when_sent(w);
	if (w->state < WIRE_BROKEN)
		arm(w);
	if (w->state == WIRE_BROKEN) {
		task_cancel(&w->settle);
		w->ev->on_down(w->ctx, w->clean ? NULL : w->why);
	}
}

/* -- birth and death -- */

enum err
wire_open(struct loop *l, const struct wire_opts *o, const struct wire_events *ev, void *ctx,
    struct wire **ret, struct error *e)
{
	struct wire *w = mem_new(struct wire);

	loop_assert(l);
	int r = uv_poll_init(loop_uv(l), &w->poll, o->fd);
	if (r != 0) {
		free(w);
		tls_free(o->tls);
		(void)close(o->fd);
		return fail_sys(e, -r, "watch a socket");
	}
	wire_socket_tune(o->fd);
	w->loop = l;
	w->ev = ev;
	w->ctx = ctx;
	w->fd = o->fd;
	w->connecting = o->connecting;
	w->tls = o->tls;
	w->out = BUF(WIRE_QUEUE);
	task_init(&w->settle, l, on_settle, w);
	task_start(&w->settle);
	if (o->limit_ms > 0)
		wire_end_set_deadline(w, o->limit_ms);
	*ret = w;
	return OK;
}

void
wire_hand_over(struct wire *w, const struct wire_events *ev, void *ctx)
{
	w->ev = ev;
	w->ctx = ctx;
}

static void
on_handle_closed(uv_handle_t *h)
{
	struct wire *w = (struct wire *)h;

	free(w->why);
	free(w);
}

void
wire_close(struct wire *w)
{
	if (w == NULL || w->state == WIRE_CLOSED)
		return;
	loop_assert(w->loop);
	wire_end_enter(w, WIRE_CLOSED);
	task_cancel(&w->settle);
	wire_end_drop_deadline(w);
	uv_close((uv_handle_t *)&w->poll, on_handle_closed);
	(void)close(w->fd);
	tls_free(w->tls);
	w->tls = NULL;
	buf_clear(&w->out);
}

void
wire_goodbye(struct wire *w)
{
	if (w->state != WIRE_OPEN || w->mute)
		return;
	if (w->tls != NULL)
		tls_shutdown(w->tls);
	flush(w);
}

void
wire_finish(struct wire *w)
{
	if (w->state != WIRE_OPEN)
		return;
	if (w->mute) {
		wire_end_with(w, w->why);
		return;
	}
	if (w->tls != NULL)
		tls_shutdown(w->tls);
	wire_end_enter(w, WIRE_LEAVING);
	wire_end_set_deadline(w, WIRE_GOODBYE_MS);
	task_start(&w->settle);
}

void
wire_buffers(struct wire *w, size_t receive, size_t send)
{
	wire_socket_buffers(w->fd, receive, send);
}

void
wire_line(struct wire *w, enum line_class class)
{
	wire_socket_line(w->fd, class);
}

bool
wire_measure(const struct wire *w, struct tcp_line *ret)
{
	return tcp_line_measure(w->fd, ret);
}

struct tls *
wire_tls(const struct wire *w)
{
	return w->tls;
}

const char *
wire_peer(const struct wire *w, char out[static ADDRESS_TEXT])
{
	struct address a = { .len = sizeof a.at };

	if (getpeername(w->fd, &a.at.any, &a.len) == 0 && a.at.any.sa_family != AF_UNIX)
		return address_format(&a, out);
	snprintf(out, ADDRESS_TEXT, "local");
	return out;
}

uint64_t
wire_bytes_in(const struct wire *w)
{
	return w->bytes_in;
}

uint64_t
wire_bytes_out(const struct wire *w)
{
	return w->bytes_out;
}
