#include "net/test_end.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "net/dial.h"

static int
setup(void **state)
{
	struct end_net *net = mem_new(struct end_net);

	end_net_init(net);
	*state = net;
	return 0;
}

static int
teardown(void **state)
{
	end_net_clear(*state);
	free(*state);
	return 0;
}

static void
dial_all(struct end_net *net, struct end *e, const char *const *addresses, size_t n)
{
	end_opens(e, net, conn_dial(net->loop, NULL, NULL, addresses, n, &end_events, e));
}

static void
dial(struct end_net *net, struct end *e, const char *address)
{
	dial_all(net, e, &address, 1);
}

/* A socket of plain system calls that listens on a free port, and its address. */
static int
raw_listen(int backlog, char address[static 32])
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	if (backlog >= 0)
		assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	snprintf(address, 32, "127.0.0.1:%u", ntohs(at.sin_port));
	return fd;
}

static int
raw_connect(const char *address)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	at.sin_port = htons((uint16_t)strtoul(strchr(address, ':') + 1, NULL, 10));
	(void)connect(fd, (struct sockaddr *)&at, sizeof at);
	return fd;
}

/* -- dialing -- */

static void
much_goes_both_ways(void **state)
{
	struct end_net *net = *state;
	uint64_t much = 20 * 1024 * 1024;
	struct end a = { .to_send = much, .leaves_after = much }, b = { .echoes = true };
	char address[32];

	end_listen(net, NULL, 10, address);
	end_awaits(&b, net);
	dial(net, &a, address);
	assert_string_equal(conn_peer_address(a.conn), address);
	end_run(net);
	assert_int_equal(a.got, much);
	assert_false(b.has_why);
}

static void
refused_is_offline_and_names_the_address(void **state)
{
	struct end_net *net = *state;
	struct end a = { 0 };
	char address[32];
	auto_fd int fd = raw_listen(-1, address);

	(void)fd;
	dial(net, &a, address);
	assert_int_equal(a.closed, 0);
	end_run(net);
	assert_int_equal(a.why.code, ERR_OFFLINE);
	assert_non_null(strstr(a.why.text, address));
	assert_non_null(strstr(a.why.text, "refused"));
}

static void
the_next_address_is_called_as_soon_as_one_has_failed(void **state)
{
	struct end_net *net = *state;
	struct end a = { .to_send = 5, .leaves_after = 5 }, b = { .echoes = true };
	char dead[32], address[32];
	auto_fd int fd = raw_listen(-1, dead);
	uint64_t start = loop_now_ms(net->loop);

	(void)fd;
	end_listen(net, NULL, 10, address);
	end_awaits(&b, net);
	/* A head start for each would take 11 times as long as one. */
	dial_all(net, &a,
	    (const char *[]){
		dead, dead, dead, dead, dead, dead, dead, dead, dead, dead, dead, address },
	    12);
	end_run(net);
	assert_int_equal(a.got, 5);
	assert_in_range(loop_now_ms(net->loop) - start, 0, 11 * DIAL_STAGGER_MS - 1);
}

/* Calls so often that the kernel lets further calls go unanswered. */
static int
raw_listen_and_be_full(char address[static 32], int calls[static 4])
{
	int fd = raw_listen(0, address);

	for (int i = 0; i < 4; i++)
		calls[i] = raw_connect(address);
	return fd;
}

static void
an_address_that_says_nothing_costs_its_head_start(void **state)
{
	struct end_net *net = *state;
	struct end a = { .to_send = 5, .leaves_after = 5 }, b = { .echoes = true };
	char silent[32], address[32];
	int calls[4];
	auto_fd int fd = raw_listen_and_be_full(silent, calls);
	uint64_t start = loop_now_ms(net->loop);

	(void)fd;
	end_listen(net, NULL, 10, address);
	end_awaits(&b, net);
	dial_all(net, &a, (const char *[]){ silent, address }, 2);
	end_run(net);
	assert_int_equal(a.got, 5);
	assert_in_range(loop_now_ms(net->loop) - start, DIAL_STAGGER_MS, 5000);
	for (int i = 0; i < 4; i++)
		close(calls[i]);
}

static void
a_name_is_looked_up(void **state)
{
	struct end_net *net = *state;
	struct end a = { .to_send = 5, .leaves_after = 5 }, b = { .echoes = true };
	char address[32], name[40];

	end_listen(net, NULL, 10, address);
	snprintf(name, sizeof name, "localhost%s", strchr(address, ':'));
	end_awaits(&b, net);
	dial(net, &a, name);
	end_run(net);
	assert_int_equal(a.got, 5);
}

static void
all_that_failed_is_told(void **state)
{
	struct end_net *net = *state;
	struct end a = { 0 };
	char dead[32], name[90];
	auto_fd int fd = raw_listen(-1, dead);

	(void)fd;
	memset(name, 'x', sizeof name); /* longer than a label may be: no resolver need be asked */
	memcpy(name + 80, ":80", 4);
	dial_all(net, &a, (const char *[]){ dead, "nonsense", ":80", name }, 4);
	end_run(net);
	assert_int_equal(a.why.code, ERR_USAGE);
	assert_non_null(strstr(a.why.text, "refused"));
	assert_non_null(strstr(a.why.text, "nonsense"));
	assert_non_null(strstr(a.why.text, "no host"));
	assert_non_null(strstr(a.why.text, "xxx: cannot"));
}

static void
no_address_at_all_is_offline(void **state)
{
	struct end_net *net = *state;
	struct end a = { 0 };

	dial_all(net, &a, NULL, 0);
	assert_int_equal(a.closed, 0);
	end_run(net);
	assert_int_equal(a.why.code, ERR_OFFLINE);
}

struct dial_test {
	struct end_net *net;
	int done;
	struct error why;
};

static void
on_dialed(void *ctx, struct wire *w, const struct error *why)
{
	struct dial_test *t = ctx;

	assert_null(w);
	t->done++;
	t->why = *why;
	end_less(t->net);
}

static void
silence_ends_at_the_limit(void **state)
{
	struct dial_test t = { .net = *state };
	char silent[32];
	const char *addresses[] = { silent };
	int calls[4];
	auto_fd int fd = raw_listen_and_be_full(silent, calls);
	const struct dial_opts o = { .limit_ms = 50 };

	(void)fd;
	t.net->open++;
	dial_start(t.net->loop, &o, addresses, 1, on_dialed, &t);
	end_run(t.net);
	assert_int_equal(t.done, 1);
	assert_int_equal(t.why.code, ERR_OFFLINE);
	assert_non_null(strstr(t.why.text, silent));
	assert_non_null(strstr(t.why.text, "in time"));
	for (int i = 0; i < 4; i++)
		close(calls[i]);
}

static void
close_it(void *ctx)
{
	struct end *e = ctx;

	conn_close(e->conn, NULL);
}

/* While it connects, and while it looks a name up. */
static void
a_dial_can_be_closed_at_any_time(void **state)
{
	struct end_net *net = *state;
	struct end a = { 0 }, b = { 0 }, c = { 0 };
	char silent[32];
	int calls[4];
	auto_fd int fd = raw_listen_and_be_full(silent, calls);
	struct timer *soon = timer_new(net->loop, close_it, &a);

	(void)fd;
	dial(net, &a, silent);
	timer_start(soon, 20);
	dial_all(net, &b, (const char *[]){ "localhost:1", silent }, 2);
	conn_close(b.conn, NULL);
	dial(net, &c, "localhost:1");
	loop_post(net->loop, close_it, &c);
	end_run(net);
	assert_int_equal(a.closed + b.closed + c.closed, 3);
	assert_int_equal(a.ready + b.ready + c.ready, 0);
	timer_close(soon);
	for (int i = 0; i < 4; i++)
		close(calls[i]);
}

/* -- the other side goes -- */

struct vanish_test {
	struct end end;
	int fd, accepted;
	struct timer *timer;
};

static void
reset_it(void *ctx)
{
	struct vanish_test *t = ctx;
	const struct linger at_once = { .l_onoff = 1 };

	if (t->end.ready == 0) {
		timer_start(t->timer, 10);
		return;
	}
	t->accepted = accept(t->fd, NULL, NULL);
	assert_int_equal(
	    setsockopt(t->accepted, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
	close(t->accepted);
	timer_close(t->timer);
}

static void
a_reset_connection_is_offline(void **state)
{
	struct end_net *net = *state;
	struct vanish_test t = { .end = { 0 } };
	char address[32];

	t.fd = raw_listen(5, address);
	t.timer = timer_new(net->loop, reset_it, &t);
	timer_start(t.timer, 50);
	dial(net, &t.end, address);
	end_run(net);
	assert_int_equal(t.end.ready, 1);
	assert_int_equal(t.end.why.code, ERR_OFFLINE);
	assert_non_null(strstr(t.end.why.text, "reset"));
	close(t.fd);
}

static void
a_sender_notices_it_as_well(void **state)
{
	struct end_net *net = *state;
	struct vanish_test t = { .end = { .to_send = 200 * 1024 * 1024, .deaf = true } };
	char address[32];

	t.fd = raw_listen(5, address);
	t.timer = timer_new(net->loop, reset_it, &t);
	timer_start(t.timer, 50);
	dial(net, &t.end, address);
	end_run(net);
	assert_true(t.end.has_why);
	assert_int_equal(t.end.why.code, ERR_OFFLINE);
	close(t.fd);
}

static void
say_why_and_go(void *ctx)
{
	struct vanish_test *t = ctx;
	uint8_t last[3] = { end_pattern(0), end_pattern(1), end_pattern(2) };

	if (t->end.ready == 0) {
		timer_start(t->timer, 10);
		return;
	}
	/* It leaves with our bytes unread, so the kernel answers them with a reset. */
	t->accepted = accept(t->fd, NULL, NULL);
	assert_int_equal(send(t->accepted, last, sizeof last, 0), sizeof last);
	close(t->accepted);
	timer_close(t->timer);
}

static void
last_words_are_read_even_when_sending_fails(void **state)
{
	struct end_net *net = *state;
	struct vanish_test t = { .end = { .to_send = 20 * 1024 * 1024 } };
	char address[32];

	t.fd = raw_listen(5, address);
	t.timer = timer_new(net->loop, say_why_and_go, &t);
	timer_start(t.timer, 50);
	dial(net, &t.end, address);
	end_run(net);
	assert_int_equal(t.end.got, 3);
	close(t.fd);
}

/* -- listening -- */

static void
a_port_in_use_is_said_with_its_owner(void **state)
{
	struct end_net *net = *state;
	struct listener *other = NULL;
	char address[32], pid[32];

	end_listen(net, NULL, 10, address);
	assert_err(ERR_EXISTS,
	    listener_open(net->loop, address, NULL, 10, end_on_conn, net, &other, &unit_error));
	assert_null(other);
	snprintf(pid, sizeof pid, "(process %d)", getpid());
	assert_non_null(strstr(unit_error.text, "in use by "));
	assert_non_null(strstr(unit_error.text, pid));
	assert_non_null(strstr(unit_error.text, strchr(address, ':') + 1));
}

static void
what_is_no_place_to_listen_is_said(void **state)
{
	struct end_net *net = *state;
	struct listener *l = NULL;
	static const char *const bad[] = { "", "x", "70000", "1:2:3", "host:port" };

	for (size_t i = 0; i < lengthof(bad); i++)
		assert_err(ERR_USAGE,
		    listener_open(net->loop, bad[i], NULL, 1, end_on_conn, net, &l, &unit_error));
	assert_err(ERR_IO,
	    listener_open(net->loop, "198.51.100.1:0", NULL, 1, end_on_conn, net, &l, &unit_error));
	assert_null(l);
}

static void
listen_at_and_call(struct end_net *net, const char *place, const char *host)
{
	struct end a = { .to_send = 9, .leaves_after = 9 }, b = { .echoes = true };
	char address[32];

	assert_ok(listener_open(
	    net->loop, place, NULL, 10, end_on_conn, net, &net->listener, &unit_error));
	snprintf(address, sizeof address, "%s:%u", host, listener_port(net->listener));
	end_awaits(&b, net);
	dial(net, &a, address);
	end_run(net);
	assert_int_equal(a.got, 9);
}

static void
all_interfaces_take_both_families(void **state)
{
	listen_at_and_call(*state, "0", "127.0.0.1");
}

static void
all_interfaces_take_ipv6(void **state)
{
	listen_at_and_call(*state, ":0", "[::1]");
}

static void
a_name_to_listen_on_is_looked_up(void **state)
{
	listen_at_and_call(*state, "localhost:0", "localhost");
}

struct crowd {
	struct end_net *net;
	struct end kept[2], guests[3], refused;
	struct timer *timer;
	char address[32];
	int step;
};

static void
crowd_step(void *ctx)
{
	struct crowd *c = ctx;
	size_t n = listener_connections(c->net->listener);

	if (c->step == 0 && n == 2 && c->kept[1].ready == 1 && c->refused.closed == 1) {
		conn_close(c->kept[0].conn, NULL);
		c->step = 1;
	} else if (c->step == 1 && n == 1) { /* one has gone, so there is room for one */
		dial(c->net, &c->guests[2], c->address);
		c->step = 2;
	} else if (c->step == 2 && n == 2 && c->kept[0].ready == 2) {
		conn_close(c->kept[0].conn, NULL);
		conn_close(c->kept[1].conn, NULL);
		c->step = 3;
		timer_close(c->timer);
		return;
	}
	assert_in_range(n, 0, 2);
	timer_start(c->timer, 10);
}

static void
on_crowd(void *ctx, struct conn *conn)
{
	struct crowd *c = ctx;
	struct end *e = c->kept[0].conn == NULL ? &c->kept[0] : &c->kept[1];

	assert_null(e->conn);
	end_opens(e, c->net, conn);
	conn_set_owner(conn, &end_events, e);
	end_on_ready(e);
}

static void
beyond_max_new_ones_are_hung_up_on(void **state)
{
	struct crowd c = { .net = *state };

	assert_ok(listener_open(
	    c.net->loop, "127.0.0.1:0", NULL, 2, on_crowd, &c, &c.net->listener, &unit_error));
	snprintf(c.address, sizeof c.address, "127.0.0.1:%u", listener_port(c.net->listener));
	dial(c.net, &c.guests[0], c.address);
	dial(c.net, &c.guests[1], c.address);
	dial(c.net, &c.refused, c.address);
	c.timer = timer_new(c.net->loop, crowd_step, &c);
	timer_start(c.timer, 10);
	end_run(c.net);
	assert_int_equal(c.step, 3);
	assert_int_equal(c.refused.got, 0);
}

static void
nobody_owns_it(void *ctx, struct conn *c)
{
	(void)ctx;
	assert_string_not_equal(conn_peer_address(c), "");
}

static void
a_conn_that_nobody_takes_is_closed(void **state)
{
	struct end_net *net = *state;
	struct end a = { 0 };
	char address[32];

	assert_ok(listener_open(
	    net->loop, "127.0.0.1:0", NULL, 2, nobody_owns_it, NULL, &net->listener, &unit_error));
	snprintf(address, sizeof address, "127.0.0.1:%u", listener_port(net->listener));
	dial(net, &a, address);
	end_run(net);
	assert_int_equal(a.closed, 1);
	assert_false(a.has_why);
}

static void
close_listener(struct end *e)
{
	listener_close(e->net->listener);
	e->net->listener = NULL;
}

static void
connections_outlive_their_listener(void **state)
{
	struct end_net *net = *state;
	struct end a = { .to_send = 300000, .leaves_after = 300000 };
	struct end b = { .echoes = true, .on_ready = close_listener };
	char address[32];

	end_listen(net, NULL, 10, address);
	end_awaits(&b, net);
	dial(net, &a, address);
	end_run(net);
	assert_int_equal(a.got, 300000);
}

struct shortage {
	struct rlimit enough;
	struct timer *timer;
	int ready_in_the_shortage;
	struct end end;
};

static void
end_shortage(void *ctx)
{
	struct shortage *s = ctx;

	s->ready_in_the_shortage = s->end.ready;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &s->enough), 0);
	timer_close(s->timer);
}

/* accept() fails with EMFILE for a while.  The caller waits in the kernel's queue and has its turn
 * after. */
static void
a_shortage_of_descriptors_passes(void **state)
{
	struct end_net *net = *state;
	struct shortage s = { .end = { .leaves_after = 1 } };
	uint8_t first = end_pattern(0);
	char address[32];

	end_listen(net, NULL, 10, address);
	end_awaits(&s.end, net);
	auto_fd int fd = raw_connect(address);
	assert_int_equal(send(fd, &first, 1, 0), 1);
	s.timer = timer_new(net->loop, end_shortage, &s);
	timer_start(s.timer, 50);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &s.enough), 0);
	const struct rlimit none = { .rlim_cur = 0, .rlim_max = s.enough.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	end_run(net);
	assert_int_equal(s.ready_in_the_shortage, 0);
	assert_int_equal(s.end.got, 1);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(much_goes_both_ways),
		T(refused_is_offline_and_names_the_address),
		T(the_next_address_is_called_as_soon_as_one_has_failed),
		T(an_address_that_says_nothing_costs_its_head_start),
		T(a_name_is_looked_up),
		T(all_that_failed_is_told),
		T(no_address_at_all_is_offline),
		T(silence_ends_at_the_limit),
		T(a_dial_can_be_closed_at_any_time),
		T(a_reset_connection_is_offline),
		T(a_sender_notices_it_as_well),
		T(last_words_are_read_even_when_sending_fails),
		T(a_port_in_use_is_said_with_its_owner),
		T(what_is_no_place_to_listen_is_said),
		T(all_interfaces_take_both_families),
		T(all_interfaces_take_ipv6),
		T(a_name_to_listen_on_is_looked_up),
		T(beyond_max_new_ones_are_hung_up_on),
		T(a_conn_that_nobody_takes_is_closed),
		T(connections_outlive_their_listener),
		T(a_shortage_of_descriptors_passes),
	};
	alarm(110);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
