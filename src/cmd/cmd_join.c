/*
 * weft join: through the daemon of the home when one runs, else with an engine of our own that
 * lives for this alone.
 */
#include "cmd/cmd.h"

#include <signal.h>
#include <stdio.h>

#include "cmd/call.h"
#include "cmd/render.h"
#include "crypto/tls.h"
#include "engine/engine.h"

enum { INVITE_MAX = 8192 };

struct join {
	const struct options *o;
	const char *invite;
	struct loop *loop;
	struct home *home;
	struct tls_ctx *tls;
	struct engine *engine;
	char server[128];
	enum err r;
	struct error e;
	bool interrupted;
};

static void on_joined(void *ctx, enum err r, const struct error *e, const char *server_name);
static void on_signal(void *ctx, int signo);
static void on_closed(void *ctx);

static void
finish(struct join *j)
{
	struct engine *en = j->engine;

	j->engine = NULL;
	if (en != NULL)
		engine_close(en, on_closed, j);
}

static void
on_joined(void *ctx, enum err r, const struct error *e, const char *server_name)
{
	struct join *j = ctx;

	if (j->engine == NULL)
		return; /* interrupted meanwhile */
	j->r = r;
	if (r == OK)
		snprintf(j->server, sizeof j->server, "%s", server_name != NULL ? server_name : "");
	else
		j->e = *e;
	finish(j);
}

static void
on_signal(void *ctx, int signo)
{
	struct join *j = ctx;

	(void)signo;
	if (j->engine != NULL)
		j->r = fail(&j->e, ERR_CANCELED, "interrupted");
	finish(j);
}

static void
on_closed(void *ctx)
{
	loop_stop(((struct join *)ctx)->loop);
}

static enum err
open_engine(struct join *j, const char *home, struct error *e)
{
	enum err r = home_open(home, &j->home, e);

	if (r == OK)
		r = tls_ctx_new(j->home->key, &j->tls, e);
	if (r == OK)
		r = loop_new(0, &j->loop, e);
	if (r != OK)
		return r;
	const struct engine_opts eo = {
		.loop = j->loop,
		.home = j->home,
		.tls = j->tls,
		.name = options_get(j->o, "name"),
		.site = options_get(j->o, "site"),
		.listen = "none",
	};
	return engine_open(&eo, &j->engine, e);
}

static void
print_joined(const struct join *j)
{
	auto_buf struct buf row = BUF(RECORD_MAX);
	char id[DEVICE_ID_TEXT];
	struct render r;

	record_text(&row, "name", options_get(j->o, "name"));
	record_text(&row, "device", device_id_format(device_key_id(j->home->key), id));
	record_text(&row, "server", j->server);
	record_text(&row, "site", options_get(j->o, "site"));
	render_init(&r, j->o->command->verb, stdout);
	r.json = j->o->json;
	r.quiet = j->o->quiet;
	render_row(&r, buf_bytes(&row));
	render_end(&r, true);
	render_clear(&r);
}

static void
print_next(const struct options *o, const char *next)
{
	if (!o->quiet && !o->json)
		fprintf(stderr, "this machine is a member now; next: %s\n", next);
}

/* Without a daemon. */
static int
join_alone(const struct options *o, const char *invite, const char *home)
{
	struct join j = { .o = o, .invite = invite };

	(void)signal(SIGPIPE, SIG_IGN);
	j.r = open_engine(&j, home, &j.e);
	if (j.r == OK) {
		loop_on_stop_signal(j.loop, on_signal, &j);
		engine_join(j.engine, invite, options_get(o, "name"), options_get(o, "site"),
		    on_joined, &j);
		loop_run(j.loop);
	}
	loop_free(j.loop);
	if (j.r == OK) {
		print_joined(&j);
		print_next(o, "`weft agent` (or the service weft-agent), then `weft shares`");
	} else {
		fprintf(stderr, "weft: join: %s\n", j.e.text);
	}
	tls_ctx_free(j.tls);
	home_close(j.home);
	return control_exit_status(j.r);
}

/* The first line of standard input, for "-": what stands on a command line can be seen by others.
 */
static bool
read_invite(char *to, size_t n)
{
	if (fgets(to, (int)n, stdin) == NULL)
		return false;
	to[strcspn(to, "\r\n")] = '\0';
	return to[0] != '\0';
}

int
cmd_join(const struct options *o, const char *home)
{
	char typed[INVITE_MAX];
	struct options with = *o;
	const char *invite = options_get(o, "invite");
	int status = EXIT_FAILED;

	if (strcmp(invite, "-") == 0) {
		if (!read_invite(typed, sizeof typed)) {
			fprintf(stderr, "weft: join: no invite on standard input\n");
			return EXIT_USAGE;
		}
		invite = typed;
		for (size_t i = 0; i < with.n_values; i++)
			if (strcmp(with.values[i].name, "invite") == 0)
				with.values[i].value = invite;
	}
	enum err r = call_try(&with, home, &status);
	if (r == ERR_OFFLINE && status == EXIT_NO_DAEMON)
		return join_alone(o, invite, home);
	if (r == OK)
		print_next(o, "`weft shares`, `weft get SHARE DEST`");
	return status;
}
