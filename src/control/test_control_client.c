/* The client against a scripted daemon in a thread: what it says and when it goes away. */
#include "tests/check.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/mem.h"
#include "control/control_client.h"

struct script {
	struct check_dir dir;
	char path[500];
	int listener;
	struct buf say;    /* sent after the request has come */
	unsigned pause_at; /* bytes after which it waits a moment, 0: never */
	bool never_ends;   /* keeps the connection until the client goes */
	pthread_t thread;
};

static void *
daemon_main(void *arg)
{
	struct script *s = arg;
	auto_fd int fd = accept(s->listener, NULL, NULL);
	uint8_t in[4096];
	size_t from = 0;

	if (fd < 0 || recv(fd, in, sizeof in, 0) <= 0)
		return NULL;
	if (s->pause_at > 0) {
		(void)send(fd, s->say.at, s->pause_at, MSG_NOSIGNAL);
		usleep(20 * 1000);
		from = s->pause_at;
	}
	(void)send(fd, s->say.at + from, s->say.len - from, MSG_NOSIGNAL);
	while (s->never_ends && recv(fd, in, sizeof in, 0) > 0) {
	}
	return NULL;
}

static void
script_start(struct script *s, const char *deeper)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char old[400];

	s->dir = check_dir_make();
	snprintf(s->path, sizeof s->path, "%s/%s%s", s->dir.path, deeper, CONTROL_SOCKET);
	/* Bound through the working directory: the path may be longer than an address. */
	assert_non_null(getcwd(old, sizeof old));
	assert_int_equal(chdir(s->dir.path), 0);
	if (*deeper != '\0') {
		assert_int_equal(mkdir(deeper, 0700), 0);
		assert_int_equal(chdir(deeper), 0);
	}
	snprintf(a.sun_path, sizeof a.sun_path, "%s", CONTROL_SOCKET);
	s->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(s->listener, 1), 0);
	assert_int_equal(chdir(old), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, daemon_main, s), 0);
}

static void
script_end(struct script *s)
{
	pthread_join(s->thread, NULL);
	close(s->listener);
	check_dir_remove(&s->dir);
	buf_clear(&s->say);
}

struct seen {
	unsigned rows, progress, notes, idle;
	char note[64];
	bool give_up;
};

static void
on_row(void *ctx, struct bytes record)
{
	struct seen *s = ctx;

	assert_int_equal(record_num(record, "n"), s->rows);
	s->rows++;
}

static void
on_progress(void *ctx, struct bytes record)
{
	((struct seen *)ctx)->progress += record_num(record, "job") == 5;
}

static void
on_note(void *ctx, const char *text)
{
	struct seen *s = ctx;

	s->notes++;
	snprintf(s->note, sizeof s->note, "%s", text);
}

static bool
on_idle(void *ctx)
{
	struct seen *s = ctx;

	s->idle++;
	return s->give_up;
}

static enum err
call(const char *path, struct seen *seen, int *status, struct error *e)
{
	const struct control_client_events ev = { on_row, on_progress, on_note, on_idle, seen };
	struct control_request r = { .verb = "shares" };

	return control_client_call(path, &r, &ev, status, e);
}

static void
say_row(struct script *s, unsigned n)
{
	auto_buf struct buf b = BUF(RECORD_MAX);

	record_int(&b, "n", n);
	control_frame(&s->say, CONTROL_ROW, buf_bytes(&b));
}

static void
say_done(struct script *s, const struct error *e, int status)
{
	auto_buf struct buf b = BUF(RECORD_MAX);

	control_done_encode(e, status, &b);
	control_frame(&s->say, CONTROL_DONE, buf_bytes(&b));
}

static void
rows_progress_notes_and_the_end_arrive_in_order(void **state)
{
	struct script s = { .say = BUF(1 << 20) };
	struct seen seen = { 0 };
	struct error e = { 0 };
	int status = -1;
	auto_buf struct buf b = BUF(RECORD_MAX);

	(void)state;
	record_int(&b, "job", 5);
	control_frame(&s.say, CONTROL_PROGRESS, buf_bytes(&b));
	buf_reset(&b);
	record_text(&b, "text", "skipped x");
	control_frame(&s.say, CONTROL_NOTE, buf_bytes(&b));
	for (unsigned i = 0; i < 1000; i++)
		say_row(&s, i);
	say_done(&s, NULL, EXIT_CONFLICTS);
	s.pause_at = 777;
	script_start(&s, "");
	assert_int_equal(call(s.path, &seen, &status, &e), OK);
	assert_int_equal(status, EXIT_CONFLICTS);
	assert_int_equal(seen.rows, 1000);
	assert_int_equal(seen.progress, 1);
	assert_int_equal(seen.notes, 1);
	assert_string_equal(seen.note, "skipped x");
	script_end(&s);
}

static void
a_home_with_a_long_path_is_reached_too(void **state)
{
	struct script s = { .say = BUF(1 << 20) };
	struct seen seen = { 0 };
	int status = -1;
	char deeper[203];

	(void)state;
	memset(deeper, 'd', sizeof deeper);
	deeper[200] = '/';
	deeper[201] = '\0';
	say_done(&s, NULL, -1);
	script_start(&s, deeper);
	assert_int_equal(call(s.path, &seen, &status, NULL), OK);
	assert_int_equal(status, EXIT_DONE);
	script_end(&s);
}

static void
the_daemons_error_is_ours(void **state)
{
	struct script s = { .say = BUF(1 << 20) };
	struct seen seen = { 0 };
	struct error e = { 0 }, why = { 0 };
	int status = -1;

	(void)state;
	(void)fail(&why, ERR_DENIED, "no such share: x");
	say_done(&s, &why, -1);
	script_start(&s, "");
	assert_int_equal(call(s.path, &seen, &status, &e), ERR_DENIED);
	assert_int_equal(status, EXIT_DENIED);
	assert_string_equal(e.text, "no such share: x");
	script_end(&s);
}

static void
no_daemon_is_status_3(void **state)
{
	struct seen seen = { 0 };
	struct error e = { 0 };
	int status = -1;

	(void)state;
	assert_int_equal(call("/nonexistent/weft/control.sock", &seen, &status, &e), ERR_OFFLINE);
	assert_int_equal(status, EXIT_NO_DAEMON);
	assert_false(control_client_is_there("/nonexistent/weft/control.sock"));
}

static void
a_daemon_that_ends_before_its_answer_has_failed(void **state)
{
	struct script s = { .say = BUF(1 << 20) };
	struct seen seen = { 0 };
	int status = -1;

	(void)state;
	say_row(&s, 0);
	script_start(&s, "");
	assert_int_equal(call(s.path, &seen, &status, NULL), ERR_IO);
	assert_int_equal(status, EXIT_FAILED);
	assert_int_equal(seen.rows, 1);
	script_end(&s);
}

static void
giving_up_while_waiting_detaches(void **state)
{
	struct script s = { .say = BUF(1 << 20), .never_ends = true };
	struct seen seen = { .give_up = true };
	int status = -1;

	(void)state;
	say_row(&s, 0);
	script_start(&s, "");
	assert_int_equal(call(s.path, &seen, &status, NULL), ERR_CANCELED);
	assert_int_equal(status, EXIT_INTERRUPTED);
	script_end(&s);
}

static void
a_malformed_answer_is_an_error(void **state)
{
	static const struct bytes answers[] = {
		BYTES_LIT("\0\0\0\0\7"),
		BYTES_LIT("\377\377\377\377\2"),
		BYTES_LIT("\1\0\0\0\2x"),
		BYTES_LIT("\0\0\0\0\1"),
		BYTES_LIT("\4\0\0\0\5\1\2\3\4"),
	};

	(void)state;
	for (size_t i = 0; i < lengthof(answers); i++) {
		struct script s = { .say = BUF(1 << 20) };
		struct seen seen = { 0 };
		int status = -1;
		buf_add_bytes(&s.say, answers[i]);
		script_start(&s, "");
		enum err r = call(s.path, &seen, &status, NULL);
		assert_true(r == ERR_PROTO || r == ERR_LIMIT);
		assert_int_equal(status, EXIT_FAILED);
		script_end(&s);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_progress_notes_and_the_end_arrive_in_order),
		cmocka_unit_test(a_home_with_a_long_path_is_reached_too),
		cmocka_unit_test(the_daemons_error_is_ours),
		cmocka_unit_test(no_daemon_is_status_3),
		cmocka_unit_test(a_daemon_that_ends_before_its_answer_has_failed),
		cmocka_unit_test(giving_up_while_waiting_detaches),
		cmocka_unit_test(a_malformed_answer_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
