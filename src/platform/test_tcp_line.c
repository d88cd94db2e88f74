#include "tests/check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "platform/tcp_line.h"

/* Both ends of a connection over loopback. */
static void
connect_two(int ends[static 2])
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(door, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(door, 1), 0);
	assert_int_equal(getsockname(door, (struct sockaddr *)&at, &len), 0);
	ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(ends[0], (struct sockaddr *)&at, sizeof at), 0);
	ends[1] = accept(door, NULL, NULL);
	assert_true(ends[1] >= 0);
	close(door);
}

static void
close_two(int ends[static 2])
{
	close(ends[0]);
	close(ends[1]);
}

static void
a_connection_tells_its_round_trip_and_what_was_sent(void **state)
{
	char bytes[1000] = { 0 }, back[sizeof bytes];
	struct tcp_line line;
	int ends[2];

	(void)state;
	connect_two(ends);
	assert_true(tcp_line_measure(ends[0], &line));
	assert_int_equal(line.sent, 0);
	assert_true(line.window > 0);
	assert_int_equal(send(ends[0], bytes, sizeof bytes, 0), sizeof bytes);
	assert_int_equal(recv(ends[1], back, sizeof back, MSG_WAITALL), sizeof back);
	assert_true(tcp_line_measure(ends[0], &line));
	assert_int_equal(line.sent, sizeof bytes);
	assert_int_equal(line.resent, 0);
	/* The handshake was a round trip. */
	assert_in_range(line.rtt_us, 1, 60 * 1000 * 1000);
	assert_in_range(line.rtt_min_us, 1, line.rtt_us + 60 * 1000 * 1000);
	close_two(ends);
}

static void
a_receiver_that_does_not_read_shows_as_unsent_bytes(void **state)
{
	static char much[256 * 1024];
	struct tcp_line line;
	int ends[2];

	(void)state;
	connect_two(ends);
	while (send(ends[0], much, sizeof much, MSG_DONTWAIT) > 0)
		;
	assert_true(tcp_line_measure(ends[0], &line));
	assert_true(line.unsent > 0);
	close_two(ends);
}

static void
the_congestion_control_is_chosen_by_name_and_an_unknown_one_is_refused(void **state)
{
	struct tcp_line line;
	int ends[2];

	(void)state;
	connect_two(ends);
	assert_true(tcp_line_control(ends[0], "reno"));
	assert_true(tcp_line_measure(ends[0], &line));
	assert_string_equal(line.control, "reno");
	assert_false(tcp_line_control(ends[0], "nonesuch"));
	assert_true(tcp_line_measure(ends[0], &line));
	assert_string_equal(line.control, "reno");
	close_two(ends);
}

static void
what_is_no_tcp_connection_has_no_line(void **state)
{
	struct tcp_line line = { .sent = 7 };
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_false(tcp_line_measure(ends[0], &line));
	assert_int_equal(line.sent, 0);
	close_two(ends);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connection_tells_its_round_trip_and_what_was_sent),
		cmocka_unit_test(a_receiver_that_does_not_read_shows_as_unsent_bytes),
		cmocka_unit_test(
		    the_congestion_control_is_chosen_by_name_and_an_unknown_one_is_refused),
		cmocka_unit_test(what_is_no_tcp_connection_has_no_line),
	};

	return cmocka_run_group_tests_name("tcp_line", tests, NULL, NULL);
}
