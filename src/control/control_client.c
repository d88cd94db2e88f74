#include "control/control_client.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/mem.h"
#include "platform/clock.h"
#include "platform/fault.h"

enum {
	IDLE_MS = 200,
	SEND_MS = 10 * 1000, /* a daemon that does not read a request for so long is stuck */
	READ_BYTES = 64 * 1024,
};

struct call {
	int fd;
	const struct control_client_events *ev;
	struct buf in;
	bool is_done;
	struct error answer; /* what DONE said */
	int status;
};

/* Fills ADDR for PATH; one longer than sun_path goes through its open directory, which *RET_DIR
 * keeps open. */
static enum err
address_of(const char *path, struct sockaddr_un *addr, int *ret_dir, struct error *e)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) < sizeof addr->sun_path) {
		memcpy(addr->sun_path, path, strlen(path) + 1);
		return OK;
	}
	const char *slash = strrchr(path, '/');
	assert(slash != NULL); /* a home is an absolute path */
	auto_free char *dir = mem_dup(path, (size_t)(slash - path) + 1);
	dir[slash - path] = '\0';
	auto_fd int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail_sys(e, errno, "open %s", dir);
	int n =
	    snprintf(addr->sun_path, sizeof addr->sun_path, "/proc/self/fd/%d/%s", fd, slash + 1);
	if (n < 0 || (size_t)n >= sizeof addr->sun_path)
		return fail(e, ERR_LIMIT, "name of the control socket is too long");
	*ret_dir = take_fd(fd);
	return OK;
}

static enum err
dial(const char *path, int *ret_fd, struct error *e)
{
	auto_fd int dir = -1;
	struct sockaddr_un addr;
	enum err r = address_of(path, &addr, &dir, e);

	if (r != OK)
		return r == ERR_NOTFOUND ? fail(e, ERR_OFFLINE, "no daemon at %s", path) : r;
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail_sys(e, errno, "make a socket");
	int sys = fault_point("connect");
	if (sys == 0 && connect(fd, (const struct sockaddr *)&addr, sizeof addr) != 0)
		sys = errno;
	switch (sys) {
	case 0:
		*ret_fd = take_fd(fd);
		return OK;
	case ENOENT:
	case ENOTDIR:
	case ECONNREFUSED:
		return fail(e, ERR_OFFLINE, "no daemon at %s", path);
	case EACCES:
	case EPERM:
		return fail(e, ERR_DENIED, "%s belongs to another user", path);
	default:
		return fail_sys(e, sys, "connect to %s", path);
	}
}

bool
control_client_is_there(const char *socket_path)
{
	auto_fd int fd = -1;

	return dial(socket_path, &fd, NULL) == OK;
}

static enum err
send_all(int fd, struct bytes b, struct error *e)
{
	while (b.len > 0) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		int ready = poll(&p, 1, SEND_MS);
		if (ready == 0)
			return fail(e, ERR_IO, "the daemon takes no request; see its log");
		ssize_t n = ready < 0 ? -1 : send(fd, b.at, b.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return fail_sys(e, errno, "send the request to the daemon");
		b = bytes_slice(b, (size_t)n, b.len - (size_t)n);
	}
	return OK;
}

static enum err
send_request(int fd, const struct control_request *r, struct error *e)
{
	auto_buf struct buf body = BUF(CONTROL_FRAME_MAX);
	auto_buf struct buf frame = BUF(CONTROL_FRAME_MAX + CONTROL_HEADER);

	control_request_encode(r, &body);
	control_frame(&frame, CONTROL_REQUEST, buf_bytes(&body));
	if (body.full || frame.full)
		return fail(e, ERR_LIMIT, "arguments of more than %d bytes", CONTROL_FRAME_MAX);
	return send_all(fd, buf_bytes(&frame), e);
}

static enum err
on_frame(struct call *c, enum control_kind kind, struct bytes body, struct error *e)
{
	const struct control_client_events *ev = c->ev;
	char text[2 * ERROR_TEXT];
	enum err r;

	if (kind == CONTROL_DONE) {
		c->is_done = true;
		return control_done_decode(body, &c->answer, &c->status, e);
	}
	r = record_check(body, e);
	if (r != OK)
		return r;
	switch (kind) {
	case CONTROL_ROW:
		if (ev->on_row != NULL)
			ev->on_row(ev->ctx, body);
		return OK;
	case CONTROL_PROGRESS:
		if (ev->on_progress != NULL)
			ev->on_progress(ev->ctx, body);
		return OK;
	case CONTROL_NOTE:
		if (ev->on_note != NULL)
			ev->on_note(ev->ctx, control_text(body, "text", text, sizeof text));
		return OK;
	default:
		return fail(e, ERR_PROTO, "the daemon sent a request");
	}
}

/* Handles all whole frames that are there. */
static enum err
cut_frames(struct call *c, struct error *e)
{
	size_t from = 0, used = 0;
	enum err r = OK;

	while (r == OK && !c->is_done) {
		struct bytes body;
		enum control_kind kind;
		r = control_frame_next(
		    bytes_slice(buf_bytes(&c->in), from, c->in.len - from), &kind, &body, &used, e);
		if (r == OK) {
			from += used;
			r = on_frame(c, kind, body, e);
		}
	}
	buf_drop_front(&c->in, from);
	return r == ERR_AGAIN ? OK : r;
}

/* Waits for bytes and reads them; ERR_AGAIN when there were none yet. */
static enum err
read_some(struct call *c, struct error *e)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	int ready = poll(&p, 1, IDLE_MS);

	if (ready < 0 && errno != EINTR)
		return fail_sys(e, errno, "wait for the daemon");
	if (ready <= 0)
		return ERR_AGAIN;
	uint8_t *to = buf_reserve(&c->in, READ_BYTES);
	if (to == NULL)
		return fail(e, ERR_LIMIT, "the daemon's answer does not fit");
	ssize_t n = recv(c->fd, to, READ_BYTES, MSG_DONTWAIT);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return ERR_AGAIN;
	if (n < 0 && errno != ECONNRESET)
		return fail_sys(e, errno, "read the daemon's answer");
	if (n <= 0)
		return fail(e, ERR_IO, "the daemon ended before it answered; see its log");
	buf_grown(&c->in, (size_t)n);
	return OK;
}

static enum err
wait_for_done(struct call *c, struct error *e)
{
	uint64_t told = clock_mono_ms();

	while (!c->is_done) {
		enum err r = read_some(c, e);
		bool is_idle = r == ERR_AGAIN;
		if (r == OK)
			r = cut_frames(c, e);
		if (r != OK && r != ERR_AGAIN)
			return r;
		/* Also while rows pour in: it is how an interrupt is noticed. */
		uint64_t now = clock_mono_ms();
		if ((!is_idle && now - told < IDLE_MS) || c->is_done || c->ev->on_idle == NULL)
			continue;
		told = now;
		if (c->ev->on_idle(c->ev->ctx))
			return fail(e, ERR_CANCELED, "interrupted");
	}
	return OK;
}

enum err
control_client_call(const char *socket_path, const struct control_request *r,
    const struct control_client_events *ev, int *ret_status, struct error *e)
{
	auto_fd int fd = -1;
	struct error why = { 0 };
	enum err c = dial(socket_path, &fd, &why);
	struct call call = {
		.fd = fd, .ev = ev, .in = BUF(CONTROL_FRAME_MAX + CONTROL_HEADER + READ_BYTES)
	};

	if (c == OK)
		c = send_request(fd, r, &why);
	if (c == OK)
		c = wait_for_done(&call, &why);
	buf_clear(&call.in);
	if (c != OK) {
		/* Only dialing says ERR_OFFLINE here. */
		*ret_status = c == ERR_OFFLINE ? EXIT_NO_DAEMON : control_exit_status(c);
	} else {
		*ret_status = call.status;
		why = call.answer;
		c = why.code;
	}
	if (c != OK && e != NULL)
		*e = why;
	return c;
}
