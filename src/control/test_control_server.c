/* The server on a real loop and socket, against our own client, and against clients that misbehave,
 * in a thread. */
#include "tests/check.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/mem.h"
#include "control/control_client.h"
#include "control/control_server.h"

enum { LIMIT_MS = 20 * 1000 };

struct fixture {
	struct check_dir dir;
	char path[100];
	struct loop *loop;
	struct control_server *server;
	struct timer *limit, *later;
	pthread_t client;
	void (*run_client)(struct fixture *f); /* in the thread */
	/* of the handler */
	struct control_call *call;
	unsigned calls, gone, room, sent;
	/* of the client */
	unsigned rows, notes, progress;
	bool dawdles; /* over the first row, so that the others pile up */
	int status;
	struct error error;
	enum err r;
};

static void
on_limit(void *ctx)
{
	(void)ctx;
	print_error("the test took too long\n");
	abort();
}

static void
client_is_done(void *arg)
{
	struct fixture *f = arg;

	control_server_close(f->server);
	timer_close(f->limit);
	timer_close(f->later);
	loop_stop(f->loop);
}

static void *
client_main(void *arg)
{
	struct fixture *f = arg;

	f->run_client(f);
	loop_post(f->loop, client_is_done, f);
	return NULL;
}

static void
row(struct control_call *c, uint64_t n, size_t size)
{
	auto_buf struct buf r = BUF(RECORD_MAX);
	auto_free char *text = mem_alloc(size + 1);

	memset(text, 'x', size);
	text[size] = '\0';
	record_int(&r, "n", n);
	record_text(&r, "text", text);
	control_call_row(c, buf_bytes(&r));
}

/* Runs HANDLER's server with CLIENT against it, until the client has returned. */
static void
run(struct fixture *f, control_handler *handler, void (*client)(struct fixture *f),
    void (*later)(void *ctx))
{
	struct error e = { 0 };

	f->dir = check_dir_make();
	snprintf(f->path, sizeof f->path, "%s/%s", f->dir.path, CONTROL_SOCKET);
	f->run_client = client;
	check_ok(loop_new(2, &f->loop, &e), e);
	check_ok(control_server_open(f->loop, f->path, handler, f, &f->server, &e), e);
	f->limit = timer_new(f->loop, on_limit, f);
	timer_start(f->limit, LIMIT_MS);
	f->later = timer_new(f->loop, later != NULL ? later : on_limit, f);
	assert_int_equal(pthread_create(&f->client, NULL, client_main, f), 0);
	loop_run(f->loop);
	pthread_join(f->client, NULL);
	loop_free(f->loop);
	check_dir_remove(&f->dir);
}

/* -- clients -- */

static void
on_row(void *ctx, struct bytes record)
{
	struct fixture *f = ctx;

	if (f->dawdles && f->rows == 0)
		usleep(200 * 1000);
	f->rows += record_num(record, "n") == f->rows;
}

static void
on_progress(void *ctx, struct bytes record)
{
	(void)record;
	((struct fixture *)ctx)->progress++;
}

static void
on_note(void *ctx, const char *text)
{
	((struct fixture *)ctx)->notes += strcmp(text, "left out: a") == 0;
}

static bool
give_up(void *ctx)
{
	(void)ctx;
	return true;
}

static void
call(struct fixture *f, bool (*on_idle)(void *ctx))
{
	const struct control_client_events ev = { on_row, on_progress, on_note, on_idle, f };
	struct control_request r = { .verb = "shares" };

	check_ok(control_request_add(&r, "share", "photos", &f->error), f->error);
	f->r = control_client_call(f->path, &r, &ev, &f->status, &f->error);
}

static void
asks(struct fixture *f)
{
	call(f, NULL);
}

static void
asks_and_gives_up(struct fixture *f)
{
	call(f, give_up);
}

static int
dial(const struct fixture *f)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof a.sun_path, "%s", f->path);
	assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

/* Sends the request byte by byte. */
static void
asks_slowly(struct fixture *f)
{
	auto_buf struct buf body = BUF(1024), frame = BUF(1024);
	const struct control_request r = { .verb = "shares" };
	auto_fd int fd = dial(f);
	uint8_t in[4096];
	ssize_t n, sum = 0;

	control_request_encode(&r, &body);
	control_frame(&frame, CONTROL_REQUEST, buf_bytes(&body));
	for (size_t i = 0; i < frame.len; i++) {
		assert_int_equal(send(fd, frame.at + i, 1, MSG_NOSIGNAL), 1);
		usleep(2000);
	}
	while ((n = recv(fd, in + sum, sizeof in - (size_t)sum, 0)) > 0)
		sum += n;
	f->status = (int)sum;
}

/* Everything that is no request, one connection each; what comes back is a DONE with an error, or
 * nothing. */
static void
sends_nonsense(struct fixture *f)
{
	static const struct bytes noises[] = {
		BYTES_LIT(""),
		BYTES_LIT("\0"),
		BYTES_LIT("\xff\xff\xff\xff\x01"),
		BYTES_LIT("\0\0\0\0\x02"),
		BYTES_LIT("\0\0\0\0\x01"),
		BYTES_LIT("\6\0\0\0\1\2\3get\0"),
		BYTES_LIT("\6\0\0\0\1\1\3get\7"),
		BYTES_LIT("GET / HTTP/1.1\r\n\r\n"),
	};

	for (size_t i = 0; i < lengthof(noises); i++) {
		auto_fd int fd = dial(f);
		uint8_t in[4096];
		(void)send(fd, noises[i].at, noises[i].len, MSG_NOSIGNAL);
		(void)shutdown(fd, SHUT_WR);
		while (recv(fd, in, sizeof in, 0) > 0) {
		}
	}
	call(f, NULL);
}

/* -- handlers -- */

static void
answers_at_once(void *ctx, struct control_call *c, const struct control_request *r)
{
	struct fixture *f = ctx;

	f->calls++;
	assert_string_equal(r->verb, "shares");
	for (unsigned i = 0; i < 100; i++)
		row(c, i, 100);
	control_call_note(c, "left out: %s", "a");
	control_call_done(c, NULL, EXIT_CONFLICTS);
}

static void
a_call_is_answered_at_once(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	run(&f, answers_at_once, asks, NULL);
	assert_int_equal(f.r, OK);
	assert_int_equal(f.status, EXIT_CONFLICTS);
	assert_int_equal(f.rows, 100);
	assert_int_equal(f.notes, 1);
}

static void
a_request_may_come_in_pieces(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	run(&f, answers_at_once, asks_slowly, NULL);
	assert_int_equal(f.calls, 1);
	assert_true(f.status > 1000);
}

static void
nonsense_ends_its_connection_only(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	run(&f, answers_at_once, sends_nonsense, NULL);
	assert_int_equal(f.calls, 1);
	assert_int_equal(f.r, OK);
	assert_int_equal(f.rows, 100);
}

static void
answer_later(void *ctx)
{
	struct fixture *f = ctx;
	auto_buf struct buf r = BUF(RECORD_MAX);
	struct error e;

	record_int(&r, "job", 1);
	if (f->sent++ < 5) {
		control_call_progress(f->call, buf_bytes(&r));
		timer_start(f->later, 10);
		return;
	}
	(void)fail(&e, ERR_NOSPACE, "the disk is full");
	control_call_done(f->call, &e, -1);
}

static void
answers_later(void *ctx, struct control_call *c, const struct control_request *r)
{
	struct fixture *f = ctx;

	(void)r;
	f->call = c;
	timer_start(f->later, 10);
}

static void
a_call_is_answered_later_with_an_error(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	run(&f, answers_later, asks, answer_later);
	assert_int_equal(f.r, ERR_NOSPACE);
	assert_int_equal(f.status, EXIT_FAILED);
	assert_string_equal(f.error.text, "the disk is full");
	assert_int_equal(f.progress, 5);
}

static void
on_gone(void *ctx)
{
	struct fixture *f = ctx;

	/* The call is ours until it is done: what is said now is dropped. */
	f->gone++;
	row(f->call, 0, 10);
	control_call_note(f->call, "nobody hears this");
	assert_false(control_call_is_full(f->call));
	control_call_done(f->call, NULL, -1);
}

static void
waits_for_gone(void *ctx, struct control_call *c, const struct control_request *r)
{
	struct fixture *f = ctx;

	(void)r;
	f->call = c;
	control_call_on_gone(c, on_gone, f);
}

static void
whoever_detaches_is_told_to_the_handler(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	run(&f, waits_for_gone, asks_and_gives_up, NULL);
	assert_int_equal(f.r, ERR_CANCELED);
	assert_int_equal(f.gone, 1);
}

/* -- more rows than the socket holds -- */

enum { MANY = 2000, ROW_BYTES = 4000 };

static void
send_many(void *ctx)
{
	struct fixture *f = ctx;

	f->room++;
	while (f->sent < MANY && !control_call_is_full(f->call))
		row(f->call, f->sent++, ROW_BYTES);
	if (f->sent == MANY)
		control_call_done(f->call, NULL, -1);
}

static void
sends_as_there_is_room(void *ctx, struct control_call *c, const struct control_request *r)
{
	struct fixture *f = ctx;

	(void)r;
	f->call = c;
	control_call_on_room(c, send_many, f);
	send_many(f);
}

static void
a_long_answer_flows_as_it_is_read(void **state)
{
	struct fixture f = { .dawdles = true };

	(void)state;
	run(&f, sends_as_there_is_room, asks, NULL);
	assert_int_equal(f.r, OK);
	assert_int_equal(f.rows, MANY);
	assert_true(f.room >= 2); /* it was full, and was told when it no longer was */
	assert_true(f.room < MANY / 4);
}

static void
floods(void *ctx, struct control_call *c, const struct control_request *r)
{
	struct fixture *f = ctx;

	(void)r;
	f->call = c;
	control_call_on_gone(c, on_gone, f);
	for (size_t sum = 0; sum <= (size_t)CONTROL_QUEUE_MAX + 8 * 1024 * 1024; sum += 60000)
		row(c, f->sent++, 60000);
}

/* Reads nothing until it is cut off. */
static void
asks_and_sleeps(struct fixture *f)
{
	auto_buf struct buf body = BUF(1024), frame = BUF(1024);
	const struct control_request r = { .verb = "shares" };
	auto_fd int fd = dial(f);
	uint8_t in[65536];

	control_request_encode(&r, &body);
	control_frame(&frame, CONTROL_REQUEST, buf_bytes(&body));
	assert_int_equal(send(fd, frame.at, frame.len, MSG_NOSIGNAL), (ssize_t)frame.len);
	usleep(200 * 1000);
	while (recv(fd, in, sizeof in, 0) > 0) {
	}
}

static void
who_reads_too_slowly_is_cut_off_and_the_handler_told(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	run(&f, floods, asks_and_sleeps, NULL);
	assert_int_equal(f.gone, 1);
}

/* -- the daemon stops -- */

static void
close_server(void *ctx)
{
	struct fixture *f = ctx;

	control_server_close(f->server);
	f->server = NULL;
}

static void
waits_while_the_server_closes(void *ctx, struct control_call *c, const struct control_request *r)
{
	waits_for_gone(ctx, c, r);
	timer_start(((struct fixture *)ctx)->later, 10);
}

static void
closing_cuts_off_what_is_open(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	run(&f, waits_while_the_server_closes, asks, close_server);
	assert_int_equal(f.gone, 1);
	assert_int_equal(f.r, ERR_IO);
}

static void
a_second_server_on_the_socket_is_refused(void **state)
{
	struct check_dir d = check_dir_make();
	struct control_server *first = NULL, *second = NULL;
	struct loop *loop = NULL;
	struct error e = { 0 };
	char path[100];

	(void)state;
	snprintf(path, sizeof path, "%s/s", d.path);
	check_ok(loop_new(1, &loop, &e), e);
	check_ok(control_server_open(loop, path, answers_at_once, NULL, &first, &e), e);
	assert_true(control_client_is_there(path));
	check_err(
	    control_server_open(loop, path, answers_at_once, NULL, &second, &e), ERR_EXISTS, e);
	control_server_close(first);
	control_server_close(NULL);
	loop_stop(loop);
	loop_run(loop);
	loop_free(loop);
	check_dir_remove(&d);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_is_answered_at_once),
		cmocka_unit_test(a_request_may_come_in_pieces),
		cmocka_unit_test(nonsense_ends_its_connection_only),
		cmocka_unit_test(a_call_is_answered_later_with_an_error),
		cmocka_unit_test(whoever_detaches_is_told_to_the_handler),
		cmocka_unit_test(a_long_answer_flows_as_it_is_read),
		cmocka_unit_test(who_reads_too_slowly_is_cut_off_and_the_handler_told),
		cmocka_unit_test(closing_cuts_off_what_is_open),
		cmocka_unit_test(a_second_server_on_the_socket_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
