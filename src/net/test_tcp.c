#include "net/test_end.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "net/dial.h"

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
	end_dial(net, &a, address);
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
	end_dial(net, &a, address);
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
	end_dial_all(net, &a,
	    (const char *[]){
		dead, dead, dead, dead, dead, dead, dead, dead, dead, dead, dead, address },
	    12);
	end_run(net);
	assert_int_equal(a.got, 5);
	assert_in_range(loop_now_ms(net->loop) - start, 0, 11 * DIAL_STAGGER_MS - 1);
}

/* Does not wait for the other side. */
static int
raw_call(const char *address)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	at.sin_port = htons((uint16_t)strtoul(strchr(address, ':') + 1, NULL, 10));
	(void)connect(fd, (struct sockaddr *)&at, sizeof at);
	return fd;
}

/* Calls so often that the kernel lets further calls go unanswered. */
static int
raw_listen_and_be_full(char address[static 32], int calls[static 4])
{
	int fd = raw_listen(0, address);

	for (int i = 0; i < 4; i++)
		calls[i] = raw_call(address);
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
	end_dial_all(net, &a, (const char *[]){ silent, address }, 2);
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
	end_dial(net, &a, name);
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
	end_dial_all(net, &a, (const char *[]){ dead, "nonsense", ":80", name }, 4);
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

	end_dial_all(net, &a, NULL, 0);
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
	end_dial(net, &a, silent);
	timer_start(soon, 20);
	end_dial_all(net, &b, (const char *[]){ "localhost:1", silent }, 2);
	conn_close(b.conn, NULL);
	end_dial(net, &c, "localhost:1");
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

/* ACT is called when it may be connected, and again as often as it starts the timer. */
static void
run_vanish(struct end_net *net, struct vanish_test *t, void (*act)(void *ctx))
{
	char address[32];

	t->fd = raw_listen(5, address);
	t->timer = timer_new(net->loop, act, t);
	timer_start(t->timer, 50);
	end_dial(net, &t->end, address);
	end_run(net);
	close(t->fd);
}

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

	run_vanish(net, &t, reset_it);
	assert_int_equal(t.end.ready, 1);
	assert_int_equal(t.end.why.code, ERR_OFFLINE);
	assert_non_null(strstr(t.end.why.text, "reset"));
}

static void
a_sender_notices_it_as_well(void **state)
{
	struct end_net *net = *state;
	struct vanish_test t = { .end = { .to_send = 200 * 1024 * 1024, .deaf = true } };

	run_vanish(net, &t, reset_it);
	assert_true(t.end.has_why);
	assert_int_equal(t.end.why.code, ERR_OFFLINE);
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

	run_vanish(net, &t, say_why_and_go);
	assert_int_equal(t.end.got, 3);
}

/* -- the line -- */

static void
is_controlled_by(struct conn *c, const char *one, const char *other)
{
	struct tcp_line line;

	assert_true(conn_measure(c, &line));
	if (strcmp(line.control, one) != 0)
		assert_string_equal(line.control, other);
}

/* What a socket of this machine that asks for BBR gets: some kernels have none. */
static void
far_control(char out[static TCP_LINE_NAME], const char *before)
{
	struct tcp_line line;
	auto_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)tcp_line_control(fd, "bbr");
	assert_true(tcp_line_measure(fd, &line));
	snprintf(out, TCP_LINE_NAME, "%s", strcmp(line.control, "bbr") == 0 ? "bbr" : before);
}

static void
is_near_and_then_far(struct end *e)
{
	char far[TCP_LINE_NAME];
	struct tcp_line near;

	is_controlled_by(e->conn, "cubic", "reno");
	assert_true(conn_measure(e->conn, &near));
	assert_true(near.rtt_us > 0);
	far_control(far, near.control);
	conn_set_line(e->conn, LINE_FAR);
	is_controlled_by(e->conn, far, far);
	conn_set_line(e->conn, LINE_NEAR);
	is_controlled_by(e->conn, near.control, near.control);
}

static void
the_class_of_the_line_chooses_its_congestion_control(void **state)
{
	struct end_net *net = *state;
	struct end a = { .to_send = 5, .leaves_after = 5, .on_ready = is_near_and_then_far },
		   b = { .echoes = true };
	struct tcp_line line;
	char address[32];

	end_listen(net, NULL, 10, address);
	end_awaits(&b, net);
	end_dial(net, &a, address);
	assert_int_equal(conn_line(a.conn), LINE_UNKNOWN);
	assert_false(conn_measure(a.conn, &line));
	conn_set_line(a.conn, LINE_NEAR); /* before it is up */
	assert_int_equal(conn_line(a.conn), LINE_NEAR);
	end_run(net);
	assert_int_equal(a.got, 5);
}

static void
is_near(struct end *e)
{
	assert_int_equal(conn_line(e->conn), LINE_NEAR);
	is_controlled_by(e->conn, "cubic", "reno");
}

static void
who_knows_no_better_goes_by_the_round_trip(void **state)
{
	struct end_net *net = *state;
	struct end a = { .to_send = 5, .leaves_after = 5, .on_ready = is_near },
		   b = { .echoes = true };
	char address[32];

	assert_int_equal(line_by_rtt(0), LINE_UNKNOWN);
	assert_int_equal(line_by_rtt(LINE_NEAR_US), LINE_NEAR);
	assert_int_equal(line_by_rtt(LINE_NEAR_US + 1), LINE_FAR);
	end_listen(net, NULL, 10, address);
	end_awaits(&b, net);
	end_dial(net, &a, address);
	conn_line_by_rtt(a.conn);
	end_run(net);
	assert_int_equal(a.got, 5);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, end_setup, end_teardown)
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
		T(the_class_of_the_line_chooses_its_congestion_control),
		T(who_knows_no_better_goes_by_the_round_trip),
	};
	alarm(110);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
