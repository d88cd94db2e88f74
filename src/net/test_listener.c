/* Who may come in, and how many. */
#include "net/test_end.h"

#include <sys/resource.h>

#include "crypto/test_device.h"

/* -- where -- */

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
	end_dial(net, &a, address);
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

/* -- how many -- */

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
		end_dial(c->net, &c->guests[2], c->address);
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
	end_dial(c.net, &c.guests[0], c.address);
	end_dial(c.net, &c.guests[1], c.address);
	end_dial(c.net, &c.refused, c.address);
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
	end_dial(net, &a, address);
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
	end_dial(net, &a, address);
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
	auto_fd int fd = end_raw_connect("127.0.0.1", address);
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

/* -- who keeps out whom -- */

enum { KNOCKS = 4 };

struct knocks {
	struct end_net *net;
	struct conn *conns[KNOCKS];
	size_t n;
	struct timer *timer;
	int fds[KNOCKS];
	size_t siblings[KNOCKS];
	struct end caller;
	struct tls_ctx *caller_tls;
	const char *address;
	size_t max, crowd; /* of the listener, 0: 10; in their handshake */
	int step;
};

static void
on_knock_closed(void *owner, const struct error *why)
{
	(void)owner;
	(void)why;
}

static void
on_knock_event(void *owner)
{
	(void)owner;
}

static void
on_knock(void *ctx, struct conn *c)
{
	static const struct conn_events events = { on_knock_event, on_knock_event, on_knock_event,
		on_knock_closed };
	struct knocks *k = ctx;

	assert_true(k->n < KNOCKS);
	k->conns[k->n++] = c;
	conn_set_owner(c, &events, k);
}

static bool
is_hung_up_on(int fd)
{
	uint8_t b;

	return recv(fd, &b, 1, MSG_DONTWAIT) == 0;
}

static void
end_knocks(struct knocks *k)
{
	for (size_t i = 0; i < k->n; i++)
		conn_close(k->conns[i], NULL);
	timer_close(k->timer);
	end_less(k->net);
}

static void
listen_for_knocks(struct knocks *k, struct tls_ctx *tls, void (*look)(void *ctx), char address[32])
{
	assert_ok(listener_open(k->net->loop, ":0", tls, k->max > 0 ? k->max : 10, on_knock, k,
	    &k->net->listener, &unit_error));
	snprintf(address, 32, "127.0.0.1:%u", listener_port(k->net->listener));
	k->timer = timer_new(k->net->loop, look, k);
	timer_start(k->timer, 10);
	k->net->open++;
}

static void
look_at_two_of_three(void *ctx)
{
	struct knocks *k = ctx;

	timer_start(k->timer, 10);
	if (k->n < 3 || !is_hung_up_on(k->fds[2]))
		return;
	for (size_t i = 0; i < k->n; i++)
		k->siblings[i] = conn_siblings(k->conns[i]);
	end_knocks(k);
}

static void
one_address_has_only_so_many(void **state)
{
	struct knocks k = { .net = *state };
	char address[32];

	listen_for_knocks(&k, NULL, look_at_two_of_three, address);
	listener_set_max(k.net->listener, 2, 10);
	for (int i = 0; i < KNOCKS; i++)
		k.fds[i] = end_raw_connect(i == 3 ? "127.0.0.2" : "127.0.0.1", address);
	end_run(k.net);
	assert_int_equal(k.siblings[0], 2);
	assert_int_equal(k.siblings[1], 2);
	assert_int_equal(k.siblings[2], 1);
	for (int i = 0; i < KNOCKS; i++)
		(void)close(k.fds[i]);
}

static void
call_when_crowded(void *ctx)
{
	struct knocks *k = ctx;

	timer_start(k->timer, 10);
	if (k->step == 0 && listener_connections(k->net->listener) == k->crowd) {
		k->step = 1;
		end_opens(&k->caller, k->net,
		    conn_dial(k->net->loop, k->caller_tls, NULL, &k->address, 1, &end_events,
			&k->caller));
	} else if (k->step == 1 && k->caller.ready == 1 && k->n == 1) {
		k->step = 2;
		conn_close(k->caller.conn, NULL);
		end_knocks(k);
	}
}

/* KNOCKS say nothing, and CROWD of them fill what there is for handshakes.  How many made way for
 * one who does say something. */
static int
silent_who_make_way(struct knocks *k, size_t crowd, size_t limit)
{
	auto_(device_key_free_p) struct device_key *key = NULL;
	auto_(tls_ctx_free_p) struct tls_ctx *tls = NULL;
	char address[32];
	int gone = 0;

	test_device(&key, &tls);
	k->caller_tls = tls;
	k->address = address;
	k->crowd = crowd;
	listen_for_knocks(k, tls, call_when_crowded, address);
	if (limit > 0)
		listener_set_max(k->net->listener, 10, limit);
	for (int i = 0; i < KNOCKS; i++)
		k->fds[i] = end_raw_connect("127.0.0.1", address);
	end_run(k->net);
	assert_int_equal(k->step, 2);
	for (int i = 0; i < KNOCKS; i++) {
		gone += is_hung_up_on(k->fds[i]);
		(void)close(k->fds[i]);
	}
	return gone;
}

static void
the_silent_do_not_keep_out_others(void **state)
{
	struct knocks k = { .net = *state };

	/* The third and the fourth come in before the caller does. */
	assert_in_range(silent_who_make_way(&k, 2, 2), 3, KNOCKS);
}

static void
the_silent_never_have_all_places(void **state)
{
	struct knocks k = { .net = *state, .max = KNOCKS };

	assert_in_range(silent_who_make_way(&k, KNOCKS / 2, 0), 3, KNOCKS);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, end_setup, end_teardown)
	const struct CMUnitTest tests[] = {
		T(a_port_in_use_is_said_with_its_owner),
		T(what_is_no_place_to_listen_is_said),
		T(all_interfaces_take_both_families),
		T(all_interfaces_take_ipv6),
		T(a_name_to_listen_on_is_looked_up),
		T(beyond_max_new_ones_are_hung_up_on),
		T(a_conn_that_nobody_takes_is_closed),
		T(connections_outlive_their_listener),
		T(a_shortage_of_descriptors_passes),
		T(one_address_has_only_so_many),
		T(the_silent_do_not_keep_out_others),
		T(the_silent_never_have_all_places),
	};
	alarm(110);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
