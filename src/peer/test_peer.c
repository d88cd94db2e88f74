#include "tests/unit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/test_device.h"
#include "net/listener.h"
#include "peer/test_side.h"

enum { TIME_MS = 40 * 1000 };

/* Two devices over loopback: `dialer` calls, `server` is called. */
struct pair {
	struct loop *loop;
	struct listener *listener;
	struct device_key *dialer_key, *server_key;
	struct tls_ctx *dialer_tls, *server_tls;
	struct side dialer, server;
	struct timer *limit, *timer;
	void (*on_time)(struct pair *p); /* of timer */
	char address[32];
	int open;
	pid_t child;
};

/* The last side to go closes the rest. */
static void
one_less(struct side *s)
{
	struct pair *p = s->ctx;

	if (--p->open > 0)
		return;
	listener_close(p->listener);
	timer_close(p->limit);
	timer_close(p->timer);
	loop_stop(p->loop);
}

static void
on_conn(void *ctx, struct conn *c)
{
	struct pair *p = ctx;

	side_open(&p->server, p->loop, c, false);
}

static void
is_late(void *ctx)
{
	const struct pair *p = ctx;

	unit_fail("time is up and %d sides are open", p->open);
}

static void
side_prepare(struct side *s, struct pair *p)
{
	s->ctx = p;
	s->on_closed = one_less;
	s->checks = true;
}

static int
setup(void **state)
{
	struct pair *p = mem_new(struct pair);

	test_device(&p->dialer_key, &p->dialer_tls);
	test_device(&p->server_key, &p->server_tls);
	side_prepare(&p->dialer, p);
	side_prepare(&p->server, p);
	*state = p;
	return 0;
}

static int
teardown(void **state)
{
	struct pair *p = *state;

	loop_free(p->loop);
	tls_ctx_free(p->dialer_tls);
	tls_ctx_free(p->server_tls);
	device_key_free(p->dialer_key);
	device_key_free(p->server_key);
	free(p);
	return 0;
}

static void
on_pair_time(void *ctx)
{
	struct pair *p = ctx;

	p->on_time(p);
}

static void
start(struct pair *p)
{
	assert_ok(loop_new(0, &p->loop, &unit_error));
	p->limit = timer_new(p->loop, is_late, p);
	p->timer = timer_new(p->loop, on_pair_time, p);
	timer_start(p->limit, TIME_MS);
	assert_ok(listener_open(
	    p->loop, "127.0.0.1:0", p->server_tls, 10, on_conn, p, &p->listener, &unit_error));
	snprintf(p->address, sizeof p->address, "127.0.0.1:%u", listener_port(p->listener));
}

static struct conn *
dial(struct pair *p)
{
	const char *addresses[] = { p->address };

	return conn_dial(
	    p->loop, p->dialer_tls, device_key_id(p->server_key), addresses, 1, NULL, NULL);
}

static void
run_pair(struct pair *p)
{
	start(p);
	p->open = 2;
	if (p->on_time != NULL)
		timer_start(p->timer, 20);
	side_open(&p->dialer, p->loop, dial(p), true);
	assert_non_null(peer_session(p->dialer.peer));
	assert_null(peer_device(p->dialer.peer));
	loop_run(p->loop);
	assert_int_equal(p->dialer.closed, 1);
	assert_int_equal(p->server.closed, 1);
}

/* -- a healthy life -- */

static void
check_device_and_leave(struct side *s)
{
	struct pair *p = s->ctx;

	assert_true(device_id_equal(peer_device(s->peer), device_key_id(p->server_key)));
	assert_ptr_equal(peer_owner(s->peer), s);
	assert_true(conn_is_ready(peer_conn(s->peer)));
	assert_int_equal(session_state(peer_session(s->peer)), SESSION_READY);
	peer_close(s->peer, NULL);
	peer_close(s->peer, NULL);
	assert_int_equal(s->closed, 0);
}

static void
both_greet_and_one_says_bye(void **state)
{
	struct pair *p = *state;

	p->dialer.on_admitted = check_device_and_leave;
	run_pair(p);
	assert_int_equal(p->dialer.hellos, 1);
	assert_int_equal(p->server.hellos, 1);
	assert_false(p->dialer.has_why);
	assert_false(p->server.has_why);
}

static void
ask_five(struct side *s)
{
	for (int i = 0; i < 5; i++)
		assert_ok(side_ask(s, FRAME_QUERY, 0, &unit_error));
}

static void
leave_when_answered(struct pair *p)
{
	if (p->dialer.ends < 5 || p->server.ends < 5)
		timer_start(p->timer, 5);
	else
		peer_close(p->server.peer, NULL);
}

static void
both_ask_and_are_answered(void **state)
{
	struct pair *p = *state;

	p->dialer.on_admitted = p->server.on_admitted = ask_five;
	p->on_time = leave_when_answered;
	run_pair(p);
	assert_int_equal(p->dialer.requests, 5);
	assert_int_equal(p->server.requests, 5);
	assert_int_equal(p->dialer.answers, 5);
	assert_int_equal(p->server.answers, 5);
	assert_int_equal(p->dialer.lost + p->server.lost, 0);
}

/* -- raw data -- */

static void
leave_with_all(struct side *s)
{
	if (s->units_come == s->units_wanted)
		peer_close(s->peer, NULL);
}

static void
units_come_whole_and_the_queue_keeps_its_limit(void **state)
{
	struct pair *p = *state;

	p->dialer.units_wanted = 10;
	p->dialer.on_raw = leave_with_all;
	run_pair(p);
	assert_int_equal(p->dialer.raw_bytes, 10 * SIDE_LEAVES * LIMIT_DATA_RAW);
	assert_true(p->server.writable > 0);
	assert_in_range(p->server.most_queued, LIMIT_OUTPUT_QUEUE, LIMIT_OUTPUT_QUEUE + BLOCK_ROOM);
	assert_false(p->server.has_why);
}

static void
leave_with_all_of_both(struct side *s)
{
	struct pair *p = s->ctx;

	if (p->dialer.units_come + p->server.units_come == 12)
		peer_close(s->peer, NULL);
}

static void
units_go_both_ways_at_once(void **state)
{
	struct pair *p = *state;

	p->dialer.units_wanted = p->server.units_wanted = 6;
	p->dialer.on_raw = p->server.on_raw = leave_with_all_of_both;
	run_pair(p);
	assert_int_equal(p->dialer.raw_bytes, 6 * SIDE_LEAVES * LIMIT_DATA_RAW);
	assert_int_equal(p->server.raw_bytes, 6 * SIDE_LEAVES * LIMIT_DATA_RAW);
}

static void
pause_and_leave_with_all(struct side *s)
{
	struct pair *p = s->ctx;

	leave_with_all(s);
	if (s->raw_bytes % (640 * 1024) != 0)
		return;
	peer_pause(s->peer, true);
	timer_start(p->timer, 10);
}

static void
go_on(struct pair *p)
{
	if (p->dialer.peer != NULL)
		peer_pause(p->dialer.peer, false);
}

static void
pause_for_two(struct side *s)
{
	struct pair *p = s->ctx;

	leave_with_all(s);
	if (s->raw_bytes != 640 * 1024)
		return;
	peer_pause(s->peer, true);
	peer_pause(s->peer, true);
	timer_start(p->timer, 10);
}

static void
resume_one_by_one(struct pair *p)
{
	if (p->dialer.raw_bytes < 640 * 1024) /* not paused yet */
		return;
	assert_int_equal(p->dialer.raw_bytes, 640 * 1024);
	peer_pause(p->dialer.peer, false);
	if (p->dialer.late_verdict) /* the other one's turn */
		return;
	p->dialer.late_verdict = true;
	timer_start(p->timer, 10);
}

static void
two_who_pause_must_both_resume(void **state)
{
	struct pair *p = *state;

	p->dialer.units_wanted = 3;
	p->dialer.on_raw = pause_for_two;
	p->on_time = resume_one_by_one;
	run_pair(p);
	assert_int_equal(p->dialer.raw_bytes, 3 * SIDE_LEAVES * LIMIT_DATA_RAW);
}

static void
a_pause_stops_the_data_and_loses_nothing(void **state)
{
	struct pair *p = *state;

	p->dialer.units_wanted = 3;
	p->dialer.on_raw = pause_and_leave_with_all;
	p->on_time = go_on;
	run_pair(p);
	assert_int_equal(p->dialer.raw_bytes, 3 * SIDE_LEAVES * LIMIT_DATA_RAW);
}

/* -- the verdict on HELLO -- */

static void
admit_now(struct pair *p)
{
	if (p->server.hellos == 0) {
		timer_start(p->timer, 5);
		return;
	}
	assert_int_equal(p->server.requests, 0);
	p->server.late_verdict = false;
	side_admit(&p->server);
}

static void
what_comes_before_the_verdict_waits_for_it(void **state)
{
	struct pair *p = *state;

	p->server.late_verdict = true;
	p->on_time = admit_now;
	p->dialer.units_wanted = 1;
	p->dialer.on_raw = leave_with_all;
	run_pair(p);
	assert_int_equal(p->dialer.units_come, 1);
}

static void
refuse(struct side *s)
{
	const struct error why = {
		.code = ERR_DENIED, .text = "you are no member here", .where = HERE
	};

	peer_close(s->peer, &why);
}

static void
refuse_now(struct pair *p)
{
	if (p->server.hellos == 0 || p->dialer.hellos == 0)
		timer_start(p->timer, 5);
	else
		refuse(&p->server);
}

static void
a_refusal_reaches_the_other_side_with_its_reason(void **state)
{
	struct pair *p = *state;

	p->server.late_verdict = true;
	p->on_time = refuse_now;
	p->dialer.on_admitted = ask_five;
	run_pair(p);
	assert_int_equal(p->dialer.why.code, ERR_DENIED);
	assert_non_null(strstr(p->dialer.why.text, "you are no member here"));
	assert_int_equal(p->server.why.code, ERR_DENIED);
	assert_int_equal(p->dialer.lost, 5);
	assert_int_equal(p->server.requests, 0);
}

/* Its data fills the connection when the reason is to be sent. */
static void
refuse_in_the_middle(struct side *s)
{
	if (s->raw_bytes == 0)
		return;
	refuse(s);
}

static void
a_reason_gets_through_behind_much_data(void **state)
{
	struct pair *p = *state;

	p->dialer.units_wanted = p->server.units_wanted = 20;
	p->server.on_raw = refuse_in_the_middle;
	run_pair(p);
	assert_int_equal(p->dialer.why.code, ERR_DENIED);
	assert_non_null(strstr(p->dialer.why.text, "you are no member here"));
}

/* -- ends -- */

static void
close_before_connected(void **state)
{
	struct pair *p = *state;
	const struct error why = { .code = ERR_CANCELED, .text = "changed my mind", .where = HERE };

	start(p);
	p->open = 1;
	side_open(&p->dialer, p->loop, dial(p), true);
	peer_pause(p->dialer.peer, true);
	assert_int_equal(side_ask(&p->dialer, FRAME_QUERY, 0, &unit_error), ERR_OFFLINE);
	peer_close(p->dialer.peer, &why);
	assert_int_equal(p->dialer.closed, 0);
	loop_run(p->loop);
	assert_int_equal(p->dialer.closed, 1);
	assert_int_equal(p->dialer.why.code, ERR_CANCELED);
	assert_int_equal(p->dialer.lost, 0);
}

static void
nobody_there_is_told(void **state)
{
	struct pair *p = *state;

	start(p);
	listener_close(p->listener);
	p->listener = NULL;
	p->open = 1;
	side_open(&p->dialer, p->loop, dial(p), true);
	loop_run(p->loop);
	assert_int_equal(p->dialer.why.code, ERR_OFFLINE);
	assert_int_equal(p->dialer.hellos, 0);
}

static void
leave_when_asked(struct pair *p)
{
	if (p->server.requests < 5)
		timer_start(p->timer, 5);
	else
		peer_close(p->server.peer, NULL);
}

static void
open_requests_are_lost_with_the_connection(void **state)
{
	struct pair *p = *state;

	p->server.never_answers = true;
	p->dialer.on_admitted = ask_five;
	p->on_time = leave_when_asked;
	run_pair(p);
	assert_int_equal(p->dialer.lost, 5);
	assert_int_equal(p->dialer.answers, 0);
	assert_int_equal(p->dialer.pushes, 1); /* BYE */
	assert_false(p->dialer.has_why);
}

static void
cut_when_some_came(struct side *s)
{
	struct pair *p = s->ctx;
	const struct error why = { .code = ERR_BUG, .text = "crash", .where = HERE };

	if (p->server.peer != NULL && s->raw_bytes > 1000 * 1000)
		conn_close(peer_conn(p->server.peer), &why);
}

static void
a_connection_that_is_cut_is_offline_for_the_other(void **state)
{
	struct pair *p = *state;

	p->dialer.units_wanted = SIDE_UNITS_OPEN;
	p->dialer.on_raw = cut_when_some_came;
	run_pair(p);
	assert_int_equal(p->server.why.code, ERR_BUG);
	assert_int_equal(p->dialer.why.code, ERR_OFFLINE);
	assert_int_equal(p->dialer.lost + (int)p->dialer.units_come, SIDE_UNITS_OPEN);
}

/* The server side of a pair in a process of its own. */
static void
serve_for_ever(struct pair *p)
{
	alarm(TIME_MS / 1000);
	p->open = 1;
	loop_run(p->loop);
	_exit(0);
}

static void
kill_when_some_came(struct side *s)
{
	struct pair *p = s->ctx;

	if (p->child > 0 && s->raw_bytes > 1000 * 1000) {
		kill(p->child, SIGKILL);
		waitpid(p->child, NULL, 0);
		p->child = 0;
	}
}

/* The child learns its port first, and says it through a pipe. */
static void
start_child(struct pair *p)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	p->child = fork();
	assert_true(p->child >= 0);
	if (p->child == 0) {
		start(p);
		if (write(fds[1], p->address, sizeof p->address) != (ssize_t)sizeof p->address)
			_exit(1);
		serve_for_ever(p);
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], p->address, sizeof p->address), sizeof p->address);
	close(fds[0]);
}

static void
a_killed_process_is_offline_for_the_other(void **state)
{
	struct pair *p = *state;
	char address[32];

	start_child(p);
	memcpy(address, p->address, sizeof address);
	start(p);
	memcpy(p->address, address, sizeof address);
	p->open = 1;
	p->dialer.units_wanted = SIDE_UNITS_OPEN;
	p->dialer.on_raw = kill_when_some_came;
	side_open(&p->dialer, p->loop, dial(p), true);
	loop_run(p->loop);
	assert_int_equal(p->child, 0);
	assert_int_equal(p->dialer.why.code, ERR_OFFLINE);
	assert_int_equal(p->dialer.lost + (int)p->dialer.units_come, SIDE_UNITS_OPEN);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(both_greet_and_one_says_bye),
		T(both_ask_and_are_answered),
		T(units_come_whole_and_the_queue_keeps_its_limit),
		T(units_go_both_ways_at_once),
		T(a_pause_stops_the_data_and_loses_nothing),
		T(two_who_pause_must_both_resume),
		T(what_comes_before_the_verdict_waits_for_it),
		T(a_refusal_reaches_the_other_side_with_its_reason),
		T(a_reason_gets_through_behind_much_data),
		T(close_before_connected),
		T(nobody_there_is_told),
		T(open_requests_are_lost_with_the_connection),
		T(a_connection_that_is_cut_is_offline_for_the_other),
		T(a_killed_process_is_offline_for_the_other),
	};
	alarm(110);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
