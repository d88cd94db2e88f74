#include "net/test_end.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static void
dial(struct end_net *net, struct end *e)
{
	end_opens(e, net, conn_dial_local(net->loop, net->path, &end_events, e));
}

/* -- moving bytes -- */

static void
an_echo_comes_back_whole(void **state)
{
	struct end_net *net = *state;
	struct end a = { .to_send = 3000, .leaves_after = 3000 }, b = { .echoes = true };

	end_listen_local(net);
	end_awaits(&b, net);
	dial(net, &a);
	assert_false(conn_is_ready(a.conn));
	assert_string_equal(conn_peer_address(a.conn), "local");
	assert_int_equal(a.ready, 0);
	end_run(net);
	assert_int_equal(a.ready, 1);
	assert_int_equal(a.got, 3000);
	assert_int_equal(b.got, 3000);
	assert_false(a.has_why);
	assert_false(b.has_why);
}

static void
both_send_much_at_once_and_neither_waits_for_ever(void **state)
{
	struct end_net *net = *state;
	uint64_t much = 20 * 1024 * 1024;
	struct end a = { .to_send = much }, b = { .to_send = much, .leaves_after = much };

	end_listen_local(net);
	end_awaits(&b, net);
	dial(net, &a);
	a.leaves_when_sent = true;
	end_run(net);
	assert_int_equal(b.got, much);
	assert_true(a.writable > 0);
}

static void
an_echo_of_more_than_fits_between_comes_back_whole(void **state)
{
	struct end_net *net = *state;
	uint64_t much = 12 * 1024 * 1024;
	struct end a = { .to_send = much, .leaves_after = much }, b = { .echoes = true };

	end_listen_local(net);
	end_awaits(&b, net);
	dial(net, &a);
	end_run(net);
	assert_int_equal(a.got, much);
	assert_int_equal(b.got, much);
}

static void
goodbye_comes_after_the_last_byte(void **state)
{
	struct end_net *net = *state;
	uint64_t much = 5 * 1024 * 1024 + 1;
	struct end a = { .to_send = much, .leaves_when_sent = true }, b = { 0 };

	end_listen_local(net);
	end_awaits(&b, net);
	dial(net, &a);
	end_run(net);
	assert_int_equal(b.got, much);
	assert_false(a.has_why);
	assert_false(b.has_why);
	assert_int_equal(a.closed, 1);
	assert_int_equal(b.closed, 1);
}

/* -- pauses -- */

struct pause_test {
	struct end_net *net;
	struct end a, b, other;
	struct timer *timer;
};

static void
resume(void *ctx)
{
	struct pause_test *t = ctx;

	/* The socket's own buffers are full by now, and so is what conn queues; nothing went past
	 * them. */
	assert_int_equal(t->b.got, 0);
	if (t->a.sent == 0 || t->b.ready == 0) {
		timer_start(t->timer, 50);
		return;
	}
	assert_in_range(t->a.sent, 1, 4 * 1024 * 1024);
	conn_pause(t->b.conn, false);
	assert_int_equal(t->b.got, 0);
	timer_close(t->timer);
}

static void
pause_at_once(struct end *e)
{
	conn_pause(e->conn, true);
}

static void
a_paused_end_gets_nothing_and_stops_the_sender(void **state)
{
	struct pause_test t = { .net = *state };
	uint64_t much = 16 * 1024 * 1024;

	t.a = (struct end){ .to_send = much };
	t.b = (struct end){ .leaves_after = much, .on_ready = pause_at_once };
	end_listen_local(t.net);
	end_awaits(&t.b, t.net);
	dial(t.net, &t.a);
	t.timer = timer_new(t.net->loop, resume, &t);
	timer_start(t.timer, 100);
	end_run(t.net);
	assert_int_equal(t.b.got, much);
}

static void
undeafen(void *ctx)
{
	struct pause_test *t = ctx;

	if (t->b.readable == 0) {
		timer_start(t->timer, 50);
		return;
	}
	assert_int_equal(t->b.readable, 1);
	t->b.deaf = false;
	end_read(&t->b);
	timer_close(t->timer);
}

static void
readable_is_told_once_until_the_owner_has_read(void **state)
{
	struct pause_test t = { .net = *state };
	uint64_t much = 16 * 1024 * 1024;

	t.a = (struct end){ .to_send = much };
	t.b = (struct end){ .leaves_after = much, .deaf = true };
	end_listen_local(t.net);
	end_awaits(&t.b, t.net);
	dial(t.net, &t.a);
	t.timer = timer_new(t.net->loop, undeafen, &t);
	timer_start(t.timer, 100);
	end_run(t.net);
	assert_int_equal(t.b.got, much);
}

static void
hand_over(void *ctx)
{
	struct pause_test *t = ctx;
	struct end *other = &t->other;

	if (t->b.readable == 0) {
		timer_start(t->timer, 50);
		return;
	}
	assert_int_equal(t->b.got, 0);
	end_opens(other, t->net, t->b.conn);
	conn_set_owner(t->b.conn, &end_events, other);
	assert_int_equal(other->readable, 0);
	end_less(t->net);
	timer_close(t->timer);
}

static void
a_new_owner_is_told_of_what_the_old_one_did_not_read(void **state)
{
	struct pause_test t = { .net = *state };

	t.a = (struct end){ .to_send = 1000 };
	t.b = (struct end){ .deaf = true };
	t.other = (struct end){ .leaves_after = 1000 };
	end_listen_local(t.net);
	end_awaits(&t.b, t.net);
	dial(t.net, &t.a);
	t.timer = timer_new(t.net->loop, hand_over, &t);
	timer_start(t.timer, 50);
	end_run(t.net);
	assert_int_equal(t.other.got, 1000);
	assert_int_equal(t.b.closed, 0);
}

static void
a_write_that_is_too_big_is_refused(struct end *e)
{
	static const uint8_t big[CONN_WRITE_MAX + 1];

	assert_int_equal(conn_write(e->conn, BYTES(big, sizeof big)), ERR_LIMIT);
	assert_int_equal(conn_write(e->conn, BYTES(big, 0)), OK);
	conn_close(e->conn, NULL);
	assert_int_equal(conn_write(e->conn, BYTES(big, 1)), ERR_AGAIN);
	assert_int_equal(conn_write_some(e->conn, BYTES(big, 1)), 0);
}

static void
writes_keep_to_their_limits(void **state)
{
	struct end_net *net = *state;
	struct end a = { .on_ready = a_write_that_is_too_big_is_refused }, b = { 0 };

	end_listen_local(net);
	end_awaits(&b, net);
	dial(net, &a);
	end_run(net);
	assert_int_equal(a.closed, 1);
	assert_int_equal(b.got, 0);
}

/* -- ends in every state -- */

static void
nobody_there_is_offline(void **state)
{
	struct end_net *net = *state;
	struct end a = { 0 };

	dial(net, &a);
	end_run(net);
	assert_int_equal(a.ready, 0);
	assert_int_equal(a.closed, 1);
	assert_int_equal(a.why.code, ERR_OFFLINE);
	assert_non_null(strstr(a.why.text, "No such file"));
	assert_non_null(strstr(a.why.text, net->path));
}

static void
close_before_the_dial_has_begun_is_told_once(void **state)
{
	struct end_net *net = *state;
	struct end a = { 0 };
	const struct error why = { .code = ERR_CANCELED, .text = "no longer", .where = HERE };

	end_listen_local(net);
	dial(net, &a);
	conn_close(a.conn, &why);
	conn_close(a.conn, NULL);
	conn_close_when_sent(a.conn);
	assert_int_equal(a.closed, 0);
	end_run(net);
	assert_int_equal(a.ready, 0);
	assert_int_equal(a.closed, 1);
	assert_int_equal(a.why.code, ERR_CANCELED);
}

static void
close_now(struct end *e)
{
	conn_close(e->conn, NULL);
	assert_int_equal(e->closed, 0);
}

static void
close_in_on_ready_is_told_once(void **state)
{
	struct end_net *net = *state;
	struct end a = { .on_ready = close_now }, b = { .on_ready = close_now };

	end_listen_local(net);
	end_awaits(&b, net);
	dial(net, &a);
	end_run(net);
	assert_int_equal(a.closed, 1);
	assert_int_equal(b.closed, 1);
	assert_int_equal(a.readable, 0);
}

static void
close_in_on_readable_ends_the_reading(void **state)
{
	struct end_net *net = *state;
	struct end a = { .to_send = 9 * 1024 * 1024 }, b = { .leaves_after = 100 * 1000 };

	end_listen_local(net);
	end_awaits(&b, net);
	dial(net, &a);
	end_run(net);
	assert_in_range(b.got, 100 * 1000, 300 * 1000);
	assert_true(a.has_why);
	assert_int_equal(a.why.code, ERR_OFFLINE);
}

static void
finish_twice_then_close(struct end *e)
{
	assert_int_equal(conn_write(e->conn, BYTES_LIT("x")), OK);
	conn_close_when_sent(e->conn);
	conn_close_when_sent(e->conn);
	assert_false(conn_is_ready(e->conn));
	conn_close(e->conn, NULL);
}

static void
close_while_leaving_is_told_once(void **state)
{
	struct end_net *net = *state;
	struct end a = { .on_ready = finish_twice_then_close }, b = { .deaf = true };

	end_listen_local(net);
	end_awaits(&b, net);
	dial(net, &a);
	b.leaves_when_sent = true;
	b.to_send = 1;
	end_run(net);
	assert_int_equal(a.closed, 1);
	assert_int_equal(b.closed, 1);
}

static void
forget_owner(struct end *e)
{
	conn_set_owner(e->conn, NULL, NULL);
	conn_close(e->conn, NULL);
	end_less(e->net);
}

static void
without_an_owner_nobody_is_told(void **state)
{
	struct end_net *net = *state;
	struct end a = { .on_ready = forget_owner }, b = { 0 };

	end_listen_local(net);
	end_awaits(&b, net);
	dial(net, &a);
	end_run(net);
	assert_int_equal(a.closed, 0);
	assert_int_equal(b.closed, 1);
}

/* -- the socket file -- */

static mode_t
mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	return st.st_mode & 07777;
}

static void
the_socket_is_ours_alone_and_goes_with_the_listener(void **state)
{
	struct end_net *net = *state;
	struct stat st;
	mode_t old = umask(0);

	end_listen_local(net);
	umask(old);
	assert_int_equal(mode_of(net->path), 0600);
	assert_int_equal(listener_port(net->listener), 0);
	listener_close(net->listener);
	net->listener = NULL;
	assert_int_equal(lstat(net->path, &st), -1);
}

static void
leave_a_dead_socket(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(fd, 1), 0);
}

static void
a_dead_daemons_socket_is_replaced(void **state)
{
	struct end_net *net = *state;
	struct end a = { .to_send = 10, .leaves_after = 10 }, b = { .echoes = true };

	leave_a_dead_socket(net->path);
	end_listen_local(net);
	assert_int_equal(mode_of(net->path), 0600);
	end_awaits(&b, net);
	dial(net, &a);
	end_run(net);
	assert_int_equal(a.got, 10);
}

static enum err
listen_again(struct end_net *net)
{
	struct listener *other = NULL;
	enum err r =
	    listener_open_local(net->loop, net->path, 10, end_on_conn, net, &other, &unit_error);

	assert_null(other);
	return r;
}

static void
a_living_daemons_socket_is_not(void **state)
{
	struct end_net *net = *state;

	end_listen_local(net);
	assert_err(ERR_EXISTS, listen_again(net));
	assert_non_null(strstr(unit_error.text, net->path));
	assert_int_equal(mode_of(net->path), 0600);
}

static void
another_file_of_that_name_is_kept(void **state)
{
	struct end_net *net = *state;
	struct stat st;
	auto_fd int fd = open(net->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_err(ERR_EXISTS, listen_again(net));
	assert_int_equal(lstat(net->path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
}

static void
a_listener_removes_no_socket_but_its_own(void **state)
{
	struct end_net *net = *state;
	struct stat st;

	end_listen_local(net);
	assert_int_equal(unlink(net->path), 0);
	leave_a_dead_socket(net->path);
	listener_close(net->listener);
	net->listener = NULL;
	assert_int_equal(lstat(net->path, &st), 0);
}

static void
a_home_may_lie_deeper_than_a_socket_name_is_long(void **state)
{
	struct end_net *net = *state;
	struct end a = { .to_send = 10, .leaves_after = 10 }, b = { .echoes = true };
	char deep[300];

	snprintf(deep, sizeof deep, "%s/%0150d", net->dir, 7);
	assert_int_equal(mkdir(deep, 0700), 0);
	char *slash = deep + strlen(deep);
	snprintf(slash, sizeof deep - strlen(deep), "/sock");
	assert_ok(
	    listener_open_local(net->loop, deep, 1, end_on_conn, net, &net->listener, &unit_error));
	assert_int_equal(mode_of(deep), 0600);
	end_awaits(&b, net);
	end_opens(&a, net, conn_dial_local(net->loop, deep, &end_events, &a));
	end_run(net);
	assert_int_equal(a.got, 10);
	*slash = '\0';
	assert_int_equal(rmdir(deep), 0);
}

static void
a_name_too_long_even_so_is_said(void **state)
{
	struct end_net *net = *state;
	struct end a = { 0 };
	char name[300];

	snprintf(name, sizeof name, "%s/%0150d", net->dir, 7);
	assert_err(ERR_LIMIT,
	    listener_open_local(net->loop, name, 1, end_on_conn, net, &net->listener, &unit_error));
	end_opens(&a, net, conn_dial_local(net->loop, name, &end_events, &a));
	end_run(net);
	assert_int_equal(a.why.code, ERR_OFFLINE);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, end_setup, end_teardown)
	const struct CMUnitTest tests[] = {
		T(an_echo_comes_back_whole),
		T(both_send_much_at_once_and_neither_waits_for_ever),
		T(an_echo_of_more_than_fits_between_comes_back_whole),
		T(goodbye_comes_after_the_last_byte),
		T(a_paused_end_gets_nothing_and_stops_the_sender),
		T(readable_is_told_once_until_the_owner_has_read),
		T(a_new_owner_is_told_of_what_the_old_one_did_not_read),
		T(writes_keep_to_their_limits),
		T(nobody_there_is_offline),
		T(close_before_the_dial_has_begun_is_told_once),
		T(close_in_on_ready_is_told_once),
		T(close_in_on_readable_ends_the_reading),
		T(close_while_leaving_is_told_once),
		T(without_an_owner_nobody_is_told),
		T(the_socket_is_ours_alone_and_goes_with_the_listener),
		T(a_dead_daemons_socket_is_replaced),
		T(a_living_daemons_socket_is_not),
		T(another_file_of_that_name_is_kept),
		T(a_listener_removes_no_socket_but_its_own),
		T(a_home_may_lie_deeper_than_a_socket_name_is_long),
		T(a_name_too_long_even_so_is_said),
	};
	alarm(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
