#include "cmd/call.h"

#include <signal.h>
#include <time.h>

#include "base/text.h"
#include "cmd/cell.h"
#include "cmd/progress.h"
#include "cmd/render.h"
#include "control/control_client.h"
#include "platform/clock.h"

enum { STORE_MAX = 2 * CONTROL_FRAME_MAX };

struct call {
	const struct options *o;
	struct render render;
	struct progress progress;
	uint64_t job;    /* of the transfer, 0: none yet */
	struct buf last; /* row of the command's own fields: what print_after needs */
};

static void
on_row(void *ctx, struct bytes record)
{
	struct call *c = ctx;
	struct record_field f;

	progress_hide(&c->progress);
	if (!record_find(record, "list", &f)) {
		buf_reset(&c->last);
		buf_add_bytes(&c->last, record);
	}
	render_row(&c->render, record);
}

static void
on_progress(void *ctx, struct bytes record)
{
	struct call *c = ctx;

	c->job = record_num(record, "job");
	if (!c->o->quiet)
		progress_update(&c->progress, record, clock_mono_ms());
}

static void
on_note(void *ctx, const char *text)
{
	struct call *c = ctx;

	if (c->o->quiet)
		return;
	progress_hide(&c->progress);
	fprintf(stderr, "%s\n", text);
}

static sigset_t
stop_signals(void)
{
	sigset_t s;

	sigemptyset(&s);
	sigaddset(&s, SIGINT);
	sigaddset(&s, SIGTERM);
	return s;
}

/* Interrupts stay pending and are asked for here: the call is never torn apart in the middle of a
 * line. */
static bool
on_idle(void *ctx)
{
	const struct timespec now = { 0 };
	const sigset_t s = stop_signals();

	(void)ctx;
	return sigtimedwait(&s, NULL, &now) > 0;
}

static void
print_detached(const struct call *c)
{
	if (c->job == 0)
		fprintf(stderr, "weft: %s: interrupted\n", c->o->command->verb);
	else
		fprintf(stderr,
		    "weft: %s: interrupted; the transfer goes on as job %llu: `weft cancel %llu` "
		    "ends it, "
		    "`weft jobs` shows it\n",
		    c->o->command->verb, (unsigned long long)c->job, (unsigned long long)c->job);
}

static void
print_invite_terms(struct bytes r)
{
	char time[CELL_MAX], uses[CELL_COUNT];
	uint64_t n = record_num(r, "uses");

	cell_of(r, "expires", time);
	fprintf(stderr, "for %s machine%s, %s%s; there: `weft join INVITE`\n", cell_count(n, uses),
	    n == 1 ? "" : "s", time[0] != '\0' ? "until " : "without end", time);
}

/* What belongs beside the result, on standard error. */
static void
print_after(const struct call *c)
{
	bool is_invite = strcmp(c->o->command->verb, "invite") == 0;

	if (is_invite && !c->o->quiet && !c->o->json && c->last.len > 0)
		print_invite_terms(buf_bytes(&c->last));
}

static enum err
run(struct call *c, const char *socket_path, int *ret_status, struct error *e)
{
	const struct control_client_events events = { on_row, on_progress, on_note, on_idle, c };
	const sigset_t stop = stop_signals();
	auto_buf struct buf store = BUF(STORE_MAX);
	struct control_request request;
	sigset_t before;
	enum err r = options_request(c->o, &store, &request, e);

	if (r != OK) {
		*ret_status = control_exit_status(r);
		return r;
	}
	sigprocmask(SIG_BLOCK, &stop, &before);
	r = control_client_call(socket_path, &request, &events, ret_status, e);
	progress_hide(&c->progress);
	render_end(&c->render, r == OK);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}

static enum err
call(const struct options *o, const char *home, int *ret_status, struct error *e)
{
	auto_free char *socket_path = str_printf("%s/%s", home, CONTROL_SOCKET);
	struct call c = { .o = o, .last = BUF(RECORD_MAX) };

	render_init(&c.render, o->command->verb, stdout);
	c.render.json = o->json;
	c.render.quiet = o->quiet;
	c.render.verbose = o->verbose;
	c.render.color = render_may_color(stdout);
	progress_init(&c.progress, stderr, clock_mono_ms());
	enum err r = run(&c, socket_path, ret_status, e);
	if (r == OK)
		print_after(&c);
	else if (r == ERR_CANCELED && *ret_status == EXIT_INTERRUPTED)
		print_detached(&c);
	render_clear(&c.render);
	buf_clear(&c.last);
	return r;
}

enum err
call_try(const struct options *o, const char *home, int *ret_status)
{
	struct error e = { 0 };
	enum err r = call(o, home, ret_status, &e);

	if (r == OK || (r == ERR_CANCELED && *ret_status == EXIT_INTERRUPTED) ||
	    (r == ERR_OFFLINE && *ret_status == EXIT_NO_DAEMON))
		return r; /* said already, or said by the caller */
	fprintf(stderr, "weft: %s: %s\n", o->command->verb, e.text);
	return r;
}

static bool
has_file(const char *home, const char *name)
{
	auto_free char *path = str_printf("%s/%s", home, name);

	return access(path, F_OK) == 0;
}

/* Which daemon belongs to HOME: a server's has its database. */
static const char *
daemon_of(const struct options *o, const char *home)
{
	return o->command->where == COMMAND_SERVER || has_file(home, "server.db") ? "server"
										  : "agent";
}

/* What to do first depends on whether this machine is anything yet. */
static void
print_no_daemon(const struct options *o, const char *home)
{
	char shown[CELL_MAX];

	text_escape(bytes_str(home), shown, sizeof shown);
	if (!has_file(home, "format"))
		fprintf(stderr,
		    "weft: %s: %s holds nothing yet: `weft server` makes a server there, `weft "
		    "join "
		    "INVITE` a member of one; see `weft help`\n",
		    o->command->verb, shown);
	else
		fprintf(stderr, "weft: %s: no daemon is running for %s; start it with `weft %s`\n",
		    o->command->verb, shown, daemon_of(o, home));
}

int
call_daemon(const struct options *o, const char *home)
{
	int status = EXIT_FAILED;

	if (call_try(o, home, &status) == ERR_OFFLINE && status == EXIT_NO_DAEMON)
		print_no_daemon(o, home);
	return status;
}
