/*
 * Every call of net to the operating system fails once: connections may break of it, and must say
 * so, but nothing hangs, leaks or is told twice.  Needs -Dfaults=true; the program runs itself,
 * once to learn the places, then once for each place and kind of fault.
 */
#include "net/test_end.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "crypto/test_device.h"

enum { MUCH = 600 * 1000, CHILD_S = 20, PLACES_MAX = 64 };

static void
count_as_open(struct end *e)
{
	e->net->open++;
}

/* The listening end does not count as open until it is: it may never come to be. */
static void
awaits_perhaps(struct end *b, struct end_net *net)
{
	b->net = net;
	b->on_ready = count_as_open;
	net->expects = b;
}

static void
run_and_clear(struct end_net *net, const struct end *a, const struct end *b)
{
	if (net->open > 0)
		end_run(net);
	assert_int_equal(a->closed, 1);
	assert_int_equal(b->closed, b->ready);
	assert_true(a->has_why || a->got == MUCH);
	end_net_clear(net);
}

static void
echo_over_tls(void)
{
	struct end a = { .to_send = MUCH, .leaves_after = MUCH }, b = { .echoes = true };
	struct device_key *key = NULL;
	struct tls_ctx *tls = NULL;
	struct end_net net;
	char address[32] = "localhost:1";
	const char *addresses[] = { address };

	end_net_init(&net);
	test_device(&key, &tls);
	awaits_perhaps(&b, &net);
	if (listener_open(net.loop, "127.0.0.1:0", tls, 5, end_on_conn, &net, &net.listener,
		&unit_error) == OK)
		snprintf(address, sizeof address, "localhost:%u", listener_port(net.listener));
	end_opens(&a, &net, conn_dial(net.loop, tls, NULL, addresses, 1, &end_events, &a));
	run_and_clear(&net, &a, &b);
	tls_ctx_free(tls);
	device_key_free(key);
}

static void
echo_over_a_local_socket(void)
{
	struct end a = { .to_send = MUCH, .leaves_after = MUCH }, b = { .echoes = true };
	struct end_net net;

	end_net_init(&net);
	awaits_perhaps(&b, &net);
	if (listener_open_local(
		net.loop, net.path, 5, end_on_conn, &net, &net.listener, &unit_error) != OK)
		assert_null(net.listener);
	end_opens(&a, &net, conn_dial_local(net.loop, net.path, &end_events, &a));
	run_and_clear(&net, &a, &b);
}

/* A process of its own, which a sanitizer ends with a status of its own. */
static int
run_child(const char *self, const char *fault, const char *kind, const char *list)
{
	pid_t child = fork();
	int status = -1;

	assert_true(child >= 0);
	if (child == 0) {
		setenv("WEFT_FAULT", fault, 1);
		setenv("WEFT_FAULT_KIND", kind, 1);
		setenv("WEFT_FAULT_LIST", list, 1);
		execl(self, self, "child", NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static const char *self_path;
static char places[PLACES_MAX][80];

/* Lines "src/net/x.c:12 what"; returns how many of net there are. */
static size_t
read_places(const char *list)
{
	FILE *f = fopen(list, "re");
	char line[400];
	size_t n = 0;

	assert_non_null(f);
	while (n < PLACES_MAX && fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, "src/net/", 8) == 0)
			snprintf(
			    places[n++], sizeof places[0], "%.*s", (int)strcspn(line, " "), line);
	fclose(f);
	return n;
}

static void
every_call_fails_once_and_nothing_hangs_or_leaks(void **state)
{
	static const char *const kinds[] = { "EIO", "short" };
	char list[] = "/tmp/weft-faults-XXXXXX";
	int fd = mkstemp(list);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(run_child(self_path, "none:0", "EIO", list), 0);
	size_t n = read_places(list);
	assert_in_range(n, 8, PLACES_MAX - 1);
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < lengthof(kinds); k++) {
			int status = run_child(self_path, places[i], kinds[k], "/dev/null");
			if (status != 0)
				unit_fail("%s %s: status %d", places[i], kinds[k], status);
		}
	}
	unlink(list);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(
	    every_call_fails_once_and_nothing_hangs_or_leaks) };

	self_path = argv[0];
	if (argc > 1) {
		alarm(CHILD_S);
		echo_over_tls();
		echo_over_a_local_socket();
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
