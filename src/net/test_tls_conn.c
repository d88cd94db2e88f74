#include "net/test_end.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "crypto/test_device.h"
#include "net/dial.h"

/* Two devices: `server` listens, `client` calls. */
struct fixture {
	struct end_net net;
	struct device_key *server_key, *client_key;
	struct tls_ctx *server, *client;
	char address[32];
	struct timer *timer;
	struct end *a, *b;
	uint8_t export[2][32];
};

static int
setup(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	end_net_init(&f->net);
	test_device(&f->server_key, &f->server);
	test_device(&f->client_key, &f->client);
	end_listen(&f->net, f->server, 10, f->address);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	end_net_clear(&f->net);
	tls_ctx_free(f->server);
	tls_ctx_free(f->client);
	device_key_free(f->server_key);
	device_key_free(f->client_key);
	free(f);
	return 0;
}

static void
dial_all(struct fixture *f, struct end *e, const char *const *addresses, size_t n)
{
	end_opens(e, &f->net,
	    conn_dial(f->net.loop, f->client, device_key_id(f->server_key), addresses, n,
		&end_events, e));
}

static void
dial(struct fixture *f, struct end *e)
{
	dial_all(f, e, (const char *[]){ f->address }, 1);
}

/* Connects A, which dials, with B, which is dialed, and runs until both are closed. */
static void
run_pair(struct fixture *f, struct end *a, struct end *b)
{
	f->a = a;
	f->b = b;
	end_awaits(b, &f->net);
	dial(f, a);
	assert_null(conn_tls(a->conn));
	end_run(&f->net);
}

/* -- moving bytes -- */

static void
an_echo_comes_back_and_both_part_cleanly(void **state)
{
	struct end a = { .to_send = 3000, .leaves_after = 3000 }, b = { .echoes = true };

	run_pair(*state, &a, &b);
	assert_int_equal(a.got, 3000);
	assert_false(a.has_why);
	assert_false(b.has_why);
}

static void
much_goes_both_ways_at_once(void **state)
{
	uint64_t much = 16 * 1024 * 1024;
	struct end a = { .to_send = much, .leaves_when_sent = true };
	struct end b = { .to_send = much, .leaves_after = much };

	run_pair(*state, &a, &b);
	assert_int_equal(b.got, much);
	assert_true(a.writable > 0);
}

static void
an_echo_of_more_than_fits_between_comes_back_whole(void **state)
{
	uint64_t much = 12 * 1024 * 1024;
	struct end a = { .to_send = much, .leaves_after = much }, b = { .echoes = true };

	run_pair(*state, &a, &b);
	assert_int_equal(a.got, much);
	assert_int_equal(b.got, much);
}

static void
goodbye_comes_after_the_last_byte(void **state)
{
	uint64_t much = 5 * 1024 * 1024 + 1;
	struct end a = { .to_send = much, .leaves_when_sent = true }, b = { 0 };

	run_pair(*state, &a, &b);
	assert_int_equal(b.got, much);
	assert_false(a.has_why);
	assert_false(b.has_why);
}

/* B writes in on_ready, so its bytes may come with the last of the handshake. */
static void
bytes_that_follow_the_handshake_at_once_are_not_lost(void **state)
{
	struct end a = { .to_send = 100, .leaves_after = 40000 }, b = { .to_send = 40000 };

	run_pair(*state, &a, &b);
	assert_int_equal(a.got, 40000);
}

static void
resume(void *ctx)
{
	struct fixture *f = ctx;

	assert_int_equal(f->b->got, 0);
	if (f->a->sent == 0 || f->b->ready == 0) {
		timer_start(f->timer, 200);
		return;
	}
	assert_in_range(f->a->sent, 1, 8 * 1024 * 1024);
	conn_pause(f->b->conn, false);
	assert_int_equal(f->b->got, 0);
	timer_close(f->timer);
}

static void
pause_at_once(struct end *e)
{
	conn_pause(e->conn, true);
}

static void
a_paused_end_gets_nothing_and_stops_the_sender(void **state)
{
	struct fixture *f = *state;
	uint64_t much = 20 * 1024 * 1024;
	struct end a = { .to_send = much }, b = { .leaves_after = much, .on_ready = pause_at_once };

	f->timer = timer_new(f->net.loop, resume, f);
	timer_start(f->timer, 400);
	run_pair(f, &a, &b);
	assert_int_equal(b.got, much);
}

static void
call_another_pair(struct end *e)
{
	struct fixture *f = container_of(e->net, struct fixture, net);

	end_awaits(f->b, &f->net);
	dial(f, f->a);
}

/* What was received and not yet decrypted stays in order, although another connection receives into
 * the same buffer. */
static void
a_reader_in_small_bites_gets_all(void **state)
{
	struct fixture *f = *state;
	struct end a = { .to_send = 400 * 1000 }, b = { .leaves_after = 400 * 1000, .bite = 999 };
	struct end c = { .to_send = 9 * 1000 * 1000 }, d = { .leaves_after = 9 * 1000 * 1000 };

	f->a = &c;
	f->b = &d;
	b.on_ready = call_another_pair;
	end_awaits(&b, &f->net);
	dial(f, &a);
	end_run(&f->net);
	assert_int_equal(b.got, 400 * 1000);
	assert_int_equal(d.got, 9 * 1000 * 1000);
}

/* -- who it is -- */

static void
export_secret(struct end *e)
{
	struct fixture *f = container_of(e->net, struct fixture, net);
	struct tls *t = conn_tls_mut(e->conn);
	bool dialed = e == f->b;
	const struct device_key *other = dialed ? f->client_key : f->server_key;

	assert_true(device_id_equal(tls_peer_id(conn_tls(e->conn)), device_key_id(other)));
	assert_ok(tls_export(t, "EXPORTER-test", f->export[dialed], &unit_error));
}

static void
both_know_who_the_other_is(void **state)
{
	struct fixture *f = *state;
	struct end a = { .to_send = 1, .leaves_after = 1, .on_ready = export_secret };
	struct end b = { .echoes = true, .on_ready = export_secret };

	run_pair(f, &a, &b);
	assert_int_equal(a.got, 1);
	assert_memory_equal(f->export[0], f -> export[1], 32);
}

static void
another_device_than_expected_is_denied(void **state)
{
	struct fixture *f = *state;
	struct end a = { 0 };
	const char *addresses[] = { f->address };

	end_opens(&a, &f->net,
	    conn_dial(f->net.loop, f->client, device_key_id(f->client_key), addresses, 1,
		&end_events, &a));
	end_run(&f->net);
	assert_int_equal(a.ready, 0);
	assert_int_equal(a.why.code, ERR_DENIED);
	assert_non_null(strstr(a.why.text, f->address));
}

static void
listen_second(struct fixture *f, struct tls_ctx *tls, char address[static 32])
{
	assert_ok(listener_open(f->net.loop, "127.0.0.1:0", tls, 10, end_on_conn, &f->net,
	    &f->net.second, &unit_error));
	snprintf(address, 32, "127.0.0.1:%u", listener_port(f->net.second));
}

static void
whoever_is_expected_is_found_behind_one_who_is_not(void **state)
{
	struct fixture *f = *state;
	struct end a = { .to_send = 5, .leaves_after = 5 }, b = { .echoes = true };
	uint64_t start = loop_now_ms(f->net.loop);
	char wrong[32];

	listen_second(f, f->client, wrong);
	end_awaits(&b, &f->net);
	/* A head start for each would take 11 times as long as one. */
	dial_all(f, &a,
	    (const char *[]){ wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong,
		wrong, f->address },
	    12);
	end_run(&f->net);
	assert_int_equal(a.got, 5);
	assert_in_range(loop_now_ms(f->net.loop) - start, 0, 11 * DIAL_STAGGER_MS - 1);
}

/* -- handshakes that come to nothing -- */

static int
raw_listen(char address[static 32])
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	snprintf(address, 32, "127.0.0.1:%u", ntohs(at.sin_port));
	return fd;
}

static int
raw_connect(const char *address)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	at.sin_port = htons((uint16_t)strtoul(strchr(address, ':') + 1, NULL, 10));
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
	return fd;
}

/* The listener counts those in their handshake; the test ends when there is none. */
static void
look_whether_all_are_gone(void *ctx)
{
	struct fixture *f = ctx;

	if (listener_connections(f->net.listener) > 0) {
		timer_start(f->timer, 10);
		return;
	}
	timer_close(f->timer);
	end_less(&f->net);
}

static void
run_until_callers_are_gone(struct fixture *f)
{
	f->net.open++;
	f->timer = timer_new(f->net.loop, look_whether_all_are_gone, f);
	timer_start(f->timer, 50);
	end_run(&f->net);
}

/* Everything that FD still gives, up to the end. */
static size_t
read_to_end(int fd)
{
	uint8_t b[4096];
	size_t all = 0;
	ssize_t n;

	while ((n = recv(fd, b, sizeof b, 0)) > 0)
		all += (size_t)n;
	return all;
}

static void
a_caller_that_says_nothing_is_hung_up_on(void **state)
{
	struct fixture *f = *state;
	auto_fd int fd = raw_connect(f->address);

	listener_set_handshake_ms(f->net.listener, 120);
	run_until_callers_are_gone(f);
	assert_int_equal(read_to_end(fd), 0);
}

static void
a_caller_that_talks_nonsense_is_told_so_and_hung_up_on(void **state)
{
	struct fixture *f = *state;
	auto_fd int fd = raw_connect(f->address);
	static const uint8_t nonsense[] = { 22, 3, 1, 0, 5, 'h', 'e', 'l', 'l', 'o' };

	assert_int_equal(send(fd, nonsense, sizeof nonsense, 0), sizeof nonsense);
	run_until_callers_are_gone(f);
	assert_int_equal(read_to_end(fd), 7); /* one alert */
}

static void
a_caller_that_hangs_up_is_forgotten(void **state)
{
	struct fixture *f = *state;
	static const uint8_t half[] = { 22, 3, 1, 2, 0, 1 };
	int fd = raw_connect(f->address);

	assert_int_equal(send(fd, half, sizeof half, 0), sizeof half);
	close(fd);
	run_until_callers_are_gone(f);
}

static void
close_the_listener(void *ctx)
{
	struct fixture *f = ctx;

	if (listener_connections(f->net.listener) < 3) {
		timer_start(f->timer, 10);
		return;
	}
	timer_close(f->timer);
	end_less(&f->net);
}

static void
a_listener_drops_those_in_their_handshake_when_it_closes(void **state)
{
	struct fixture *f = *state;
	int fd[3];

	for (int i = 0; i < 3; i++)
		fd[i] = raw_connect(f->address);
	f->net.open++;
	f->timer = timer_new(f->net.loop, close_the_listener, f);
	timer_start(f->timer, 50);
	end_run(&f->net);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(read_to_end(fd[i]), 0);
		close(fd[i]);
	}
}

static void
on_dialed(void *ctx, struct wire *w, const struct error *why)
{
	struct fixture *f = ctx;

	assert_null(w);
	assert_int_equal(why->code, ERR_OFFLINE);
	assert_non_null(strstr(why->text, "no answer in time"));
	end_less(&f->net);
}

static void
a_server_that_does_not_shake_hands_is_given_up(void **state)
{
	struct fixture *f = *state;
	char silent[32];
	auto_fd int fd = raw_listen(silent);
	const struct dial_opts o = { .tls = f->client, .limit_ms = 80 };
	const char *addresses[] = { silent };

	(void)fd;
	f->net.open++;
	dial_start(f->net.loop, &o, addresses, 1, on_dialed, f);
	end_run(&f->net);
}

static void
a_server_that_does_not_shake_hands_costs_its_head_start(void **state)
{
	struct fixture *f = *state;
	struct end a = { .to_send = 5, .leaves_after = 5 }, b = { .echoes = true };
	char silent[32];
	auto_fd int fd = raw_listen(silent);
	uint64_t start = loop_now_ms(f->net.loop);

	(void)fd;
	end_awaits(&b, &f->net);
	dial_all(f, &a, (const char *[]){ silent, f->address }, 2);
	end_run(&f->net);
	assert_int_equal(a.got, 5);
	assert_in_range(loop_now_ms(f->net.loop) - start, DIAL_STAGGER_MS, 5000);
}

static void
one_without_tls_is_no_server_for_us(void **state)
{
	struct fixture *f = *state;
	struct end a = { 0 }, b = { .to_send = 100, .deaf = true, .leaves_when_sent = true };
	char clear[32];

	listen_second(f, NULL, clear);
	end_awaits(&b, &f->net);
	dial_all(f, &a, (const char *[]){ clear }, 1);
	end_run(&f->net);
	assert_int_equal(a.why.code, ERR_PROTO);
	assert_int_equal(a.ready, 0);
}

/* -- ends -- */

static void
leave_with_a_reason(struct end *e)
{
	const struct error why = { .code = ERR_BUG, .text = "enough", .where = HERE };

	conn_close(e->conn, &why);
}

static void
an_end_without_goodbye_is_told_as_cut_off(void **state)
{
	struct end a = { .on_ready = leave_with_a_reason }, b = { 0 };

	run_pair(*state, &a, &b);
	assert_string_equal(a.why.text, "enough");
	assert_int_equal(b.why.code, ERR_OFFLINE);
	assert_string_equal(b.why.text, "connection cut off");
}

static void
close_now(struct end *e)
{
	conn_close(e->conn, NULL);
	conn_close(e->conn, NULL);
	assert_int_equal(e->closed, 0);
	assert_null(conn_tls(e->conn));
}

static void
close_in_on_ready_is_told_once(void **state)
{
	struct end a = { .on_ready = close_now }, b = { .on_ready = close_now };

	run_pair(*state, &a, &b);
	assert_int_equal(a.closed, 1);
	assert_int_equal(b.closed, 1);
}

static void
close_in_on_readable_ends_the_reading(void **state)
{
	struct end a = { .to_send = 9 * 1024 * 1024 }, b = { .leaves_after = 100 * 1000 };

	run_pair(*state, &a, &b);
	assert_in_range(b.got, 100 * 1000, 300 * 1000);
	assert_int_equal(a.closed, 1);
}

static void
close_it(void *ctx)
{
	struct fixture *f = ctx;

	conn_close(f->a->conn, NULL);
	timer_close(f->timer);
}

static void
count_as_open(struct end *e)
{
	e->net->open++;
}

/* Before anything, in the handshake, and in the middle of much: whenever it is, both are told once.
 */
static void
a_close_at_any_moment_is_told_once(void **state)
{
	for (uint64_t after = 0; after < 12; after++) {
		struct fixture *f = *state;
		struct end a = { .to_send = UINT64_MAX },
			   b = { .to_send = UINT64_MAX, .echoes = false };

		f->timer = timer_new(f->net.loop, close_it, f);
		timer_start(f->timer, after);
		/* B may not come to be when A goes early: it does not count as open until it is. */
		f->a = &a;
		f->net.expects = &b;
		b.net = &f->net;
		b.on_ready = count_as_open;
		dial(f, &a);
		end_run(&f->net);
		assert_int_equal(a.closed, 1);
		assert_int_equal(b.closed, b.ready);
		(void)teardown(state);
		(void)setup(state);
	}
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(an_echo_comes_back_and_both_part_cleanly),
		T(much_goes_both_ways_at_once),
		T(an_echo_of_more_than_fits_between_comes_back_whole),
		T(goodbye_comes_after_the_last_byte),
		T(bytes_that_follow_the_handshake_at_once_are_not_lost),
		T(a_paused_end_gets_nothing_and_stops_the_sender),
		T(a_reader_in_small_bites_gets_all),
		T(both_know_who_the_other_is),
		T(another_device_than_expected_is_denied),
		T(whoever_is_expected_is_found_behind_one_who_is_not),
		T(a_caller_that_says_nothing_is_hung_up_on),
		T(a_caller_that_talks_nonsense_is_told_so_and_hung_up_on),
		T(a_caller_that_hangs_up_is_forgotten),
		T(a_listener_drops_those_in_their_handshake_when_it_closes),
		T(a_server_that_does_not_shake_hands_is_given_up),
		T(a_server_that_does_not_shake_hands_costs_its_head_start),
		T(one_without_tls_is_no_server_for_us),
		T(an_end_without_goodbye_is_told_as_cut_off),
		T(close_in_on_ready_is_told_once),
		T(close_in_on_readable_ends_the_reading),
		T(a_close_at_any_moment_is_told_once),
	};
	alarm(110);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
