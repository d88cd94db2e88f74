#include "net/wire_socket.h"

#include <errno.h>
#include <sys/socket.h>

#include "net/wire.h"
#include "platform/fault.h"
#include "platform/tcp_line.h"

ssize_t
wire_socket_receive(int fd, void *to, size_t n)
{
	int fault = fault_point("read");
	ssize_t got;

	if (fault > 0) {
		errno = fault;
		return -1;
	}
	if (fault < 0)
		n = (n + 1) / 2;
	do
		got = recv(fd, to, n, 0);
	while (got < 0 && errno == EINTR);
	return got;
}

ssize_t
wire_socket_send(int fd, struct bytes b)
{
	int fault = fault_point("write");
	ssize_t sent;

	if (fault > 0) {
		errno = fault;
		return -1;
	}
	if (fault < 0)
		b.len = (b.len + 1) / 2;
	do
		sent = send(fd, b.at, b.len, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent;
}

bool
wire_socket_would_block(int sys)
{
	return sys == EAGAIN || sys == EWOULDBLOCK;
}

int
wire_socket_error(int fd)
{
	int sys = 0;
	socklen_t n = sizeof sys;

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &n) == 0 ? sys : errno;
}

/*
 * Whole batches are sent, so the kernel has nothing to wait for; and it takes little more than the
 * line does, so that an urgent message is not behind megabytes in its queue.  A local socket knows
 * neither and needs neither.
 */
void
wire_socket_tune(int fd)
{
	tcp_line_at_once(fd);
	tcp_line_ahead(fd, WIRE_AHEAD);
}

/*
 * BBR takes a lost packet for bad luck, not for a full line, and does not begin anew after a pause
 * (of which the others are only freed by a switch of the whole system).  Among neighbours behind
 * one queue it is the other way round: what fills up is the queue, and BBR's flows starve each
 * other there.  What the kernel does not have, or keeps for root, leaves the connection as it is.
 */
void
wire_socket_line(int fd, enum line_class class)
{
	if (class == LINE_FAR)
		(void)tcp_line_control(fd, "bbr");
	if (class == LINE_NEAR && !tcp_line_control(fd, "cubic"))
		(void)tcp_line_control(fd, "reno");
}

static void
set_buffer(int fd, int which, size_t bytes)
{
	int n = (int)bytes;

	if (n > 0)
		(void)setsockopt(fd, SOL_SOCKET, which, &n, sizeof n);
}

/* What the other side may send already it may still send; only more of it waits there. */
void
wire_socket_buffers(int fd, size_t receive, size_t send)
{
	set_buffer(fd, SO_RCVBUF, receive);
	set_buffer(fd, SO_SNDBUF, send);
}
