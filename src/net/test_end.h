/*
 * test_end: one end of a connection for tests.  It sends a pattern whose every byte follows from
 * its place in the stream, checks what comes against the same pattern, or echoes it, and notes what
 * it was told.
 *
 * A test sets its ends up and runs the loop with end_run, which returns when all of them are
 * closed.
 */
#pragma once

#include "tests/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/conn.h"
#include "net/listener.h"

enum { END_TIME_MS = 30 * 1000, END_PIECE = 48 * 1024 };

struct end_net { /* what all ends of a test share */
	struct loop *loop;
	struct timer *limit;
	int open; /* ends that live: at 0 the loop stops */
	struct listener *listener, *second;
	struct end *expects; /* the end that takes the next accepted connection */
	char dir[64];
	char path[128]; /* for a local socket */
};

struct end {
	struct end_net *net;
	struct conn *conn;
	int ready, closed, readable, writable;
	bool has_why;
	struct error why;
	uint64_t got; /* bytes that came and were right */
	uint64_t sent, to_send;
	bool echoes;
	bool deaf;   /* does not read */
	size_t bite; /* reads so much at a time and pauses after it */
	struct task chewed;
	uint64_t leaves_after; /* closes itself when it has got so much */
	bool leaves_when_sent; /* says goodbye as soon as all is written */
	uint8_t held[END_PIECE];
	size_t held_at, held_n;
	void (*on_ready)(struct end *e);
};

static inline uint8_t
end_pattern(uint64_t at)
{
	return (uint8_t)((at * 167) ^ (at >> 7) ^ (at >> 15));
}

static inline void
end_write(struct end *e)
{
	uint8_t b[END_PIECE];

	while (e->conn != NULL && e->sent < e->to_send) {
		size_t n = (size_t)min_of((uint64_t)sizeof b, e->to_send - e->sent);
		for (size_t i = 0; i < n; i++)
			b[i] = end_pattern(e->sent + i);
		if (conn_write(e->conn, BYTES(b, n)) != OK)
			return;
		e->sent += n;
	}
	if (e->leaves_when_sent && e->conn != NULL && e->to_send > 0)
		conn_close_when_sent(e->conn);
}

static inline void
end_check(struct end *e, const uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (b[i] != end_pattern(e->got + i))
			unit_fail("byte %llu is %u", (unsigned long long)(e->got + i), b[i]);
	e->got += n;
	if (e->leaves_after > 0 && e->got >= e->leaves_after) {
		e->leaves_after = 0;
		conn_close(e->conn, NULL);
	}
}

/* Writes what it holds; false while that does not fit. */
static inline bool
end_echo(struct end *e)
{
	size_t n = conn_write_some(e->conn, BYTES(e->held + e->held_at, e->held_n));

	e->held_at += n;
	e->held_n -= n;
	return e->held_n == 0;
}

static inline void
end_chewed(void *ctx)
{
	struct end *e = ctx;

	if (e->conn != NULL)
		conn_pause(e->conn, false);
}

static inline void
end_bite(struct end *e)
{
	size_t n = 0;

	assert_true(e->bite <= sizeof e->held);
	if (conn_read(e->conn, e->held, e->bite, &n) != OK)
		return;
	assert_in_range(n, 1, e->bite);
	conn_pause(e->conn, true);
	end_check(e, e->held, n);
	task_init(&e->chewed, e->net->loop, end_chewed, e);
	task_start(&e->chewed);
}

static inline void
end_read(struct end *e)
{
	if (e->bite > 0)
		end_bite(e);
	if (e->deaf || e->bite > 0)
		return;
	while (e->held_n == 0 && conn_read(e->conn, e->held, sizeof e->held, &e->held_n) == OK) {
		assert_in_range(e->held_n, 1, sizeof e->held);
		e->held_at = 0;
		end_check(e, e->held, e->held_n);
		if (!e->echoes)
			e->held_n = 0;
		else if (!end_echo(e))
			return;
	}
}

static inline void
end_on_ready(void *owner)
{
	struct end *e = owner;

	e->ready++;
	assert_true(conn_is_ready(e->conn));
	if (e->on_ready != NULL)
		e->on_ready(e);
	end_write(e);
}

static inline void
end_on_readable(void *owner)
{
	struct end *e = owner;

	e->readable++;
	end_read(e);
}

static inline void
end_on_writable(void *owner)
{
	struct end *e = owner;

	e->writable++;
	end_write(e);
	if (e->echoes && e->held_n > 0 && end_echo(e))
		end_read(e);
}

/* The last one: nothing keeps the loop. */
static inline void
end_less(struct end_net *net)
{
	if (--net->open > 0)
		return;
	listener_close(net->listener);
	listener_close(net->second);
	net->listener = net->second = NULL;
	timer_close(net->limit);
	net->limit = NULL;
	loop_stop(net->loop);
}

static inline void
end_on_closed(void *owner, const struct error *why)
{
	struct end *e = owner;

	e->closed++;
	e->has_why = why != NULL;
	if (why != NULL)
		e->why = *why;
	e->conn = NULL;
	end_less(e->net);
}

static const struct conn_events end_events = { end_on_ready, end_on_readable, end_on_writable,
	end_on_closed };

static inline void
end_opens(struct end *e, struct end_net *net, struct conn *c)
{
	e->net = net;
	e->conn = c;
	net->open++;
}

static inline void
end_on_conn(void *ctx, struct conn *c)
{
	struct end_net *net = ctx;
	struct end *e = net->expects;

	if (e == NULL)
		return; /* nobody wants it: the listener closes it */
	net->expects = NULL;
	e->net = net;
	e->conn = c;
	conn_set_owner(c, &end_events, e);
	end_on_ready(e);
}

/* The end that will take the next connection.  It counts as open from now on. */
static inline void
end_awaits(struct end *e, struct end_net *net)
{
	e->net = net;
	net->expects = e;
	net->open++;
}

/* A test that hangs ends here, with what its ends had come to. */
static inline void
end_is_late(void *ctx)
{
	const struct end_net *net = ctx;

	unit_fail("time is up and %d ends are open", net->open);
}

static inline void
end_net_init(struct end_net *net)
{
	*net = (struct end_net){ 0 };
	assert_ok(loop_new(0, &net->loop, &unit_error));
	snprintf(net->dir, sizeof net->dir, "/tmp/weft-net-XXXXXX");
	assert_non_null(mkdtemp(net->dir));
	snprintf(net->path, sizeof net->path, "%s/sock", net->dir);
	net->limit = timer_new(net->loop, end_is_late, net);
}

static inline void
end_listen_local(struct end_net *net)
{
	assert_ok(listener_open_local(
	    net->loop, net->path, 100, end_on_conn, net, &net->listener, &unit_error));
}

/* Listens on a free port of this machine, with TLS or, NULL, in clear, and tells its address. */
static inline const char *
end_listen(struct end_net *net, struct tls_ctx *tls, size_t max, char address[static 32])
{
	assert_ok(listener_open(
	    net->loop, "127.0.0.1:0", tls, max, end_on_conn, net, &net->listener, &unit_error));
	snprintf(address, 32, "127.0.0.1:%u", listener_port(net->listener));
	return address;
}

/* E calls ADDRESSES in clear. */
static inline void
end_dial_all(struct end_net *net, struct end *e, const char *const *addresses, size_t n)
{
	end_opens(e, net, conn_dial(net->loop, NULL, NULL, addresses, n, &end_events, e));
}

static inline void
end_dial(struct end_net *net, struct end *e, const char *address)
{
	end_dial_all(net, e, &address, 1);
}

/* A socket of plain system calls, from one of this machine's own addresses to the port of
 * another. */
static inline int
end_raw_connect(const char *from, const char *address)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(inet_pton(AF_INET, from, &at.sin_addr), 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	at.sin_port = htons((uint16_t)strtoul(strchr(address, ':') + 1, NULL, 10));
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
	return fd;
}

/* Until all ends are closed. */
static inline void
end_run(struct end_net *net)
{
	assert_true(net->open > 0);
	timer_start(net->limit, END_TIME_MS);
	loop_run(net->loop);
	assert_int_equal(net->open, 0);
}

static inline void
end_net_clear(struct end_net *net)
{
	timer_close(net->limit);
	listener_close(net->listener);
	loop_free(net->loop);
	(void)unlink(net->path);
	assert_int_equal(rmdir(net->dir), 0);
}

/* For tests whose state is the net alone. */
static inline int
end_setup(void **state)
{
	struct end_net *net = mem_new(struct end_net);

	end_net_init(net);
	*state = net;
	return 0;
}

static inline int
end_teardown(void **state)
{
	end_net_clear(*state);
	free(*state);
	return 0;
}
