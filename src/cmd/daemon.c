/*
 * Parts are opened from below: home, TLS, loop, throttle, server, engine, control socket; and
 * closed from above, as each needs the ones below it until it says that it is closed.  An error on
 * the way up closes what is open by the same way down.
 */
#include "cmd/daemon.h"

#include <signal.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cmd/config.h"
#include "control/control_server.h"
#include "crypto/statement.h"
#include "crypto/tls.h"
#include "engine/engine.h"
#include "engine/nearness.h"
#include "loop/loop.h"
#include "net/throttle.h"
#include "platform/notify.h"
#include "server/server.h"

struct daemon {
	const struct daemon_opts *opts;
	struct config config;
	struct home *home;
	struct tls_ctx *tls;
	struct loop *loop;
	struct throttle *throttle;
	struct server *server;
	struct engine *engine;
	struct control_server *control;
	bool is_stopping;
};

static void on_call(void *ctx, struct control_call *call, const struct control_request *r);
static void on_signal(void *ctx, int signo);
static void on_engine_closed(void *ctx);
static void on_server_closed(void *ctx);

/* -- up -- */

static enum err
read_config(struct daemon *d, struct error *e)
{
	const struct options *o = d->opts->o;
	enum err r = config_read(&d->config, d->opts->home, d->opts->who, e);

	if (r != OK)
		return r;
	for (size_t i = 0; i < o->n_values; i++) {
		const struct command_option *key = command_key_find(o->values[i].name);
		if (key != NULL)
			config_override(&d->config, key, o->values[i].value,
			    options_get(o, key->name) == o->values[i].value);
	}
	bool says_level = options_get(o, "log-level") != NULL;
	if (o->verbose && !says_level)
		log_set_level(LOG_LEVEL_DEBUG);
	else if (o->quiet && !says_level)
		log_set_level(LOG_LEVEL_WARN);
	else
		log_set_level(config_log_level(&d->config));
	return OK;
}

/* Each connection and each open file of a transfer is one; what the system lets us have is ours to
 * use. */
static void
raise_limits(void)
{
	struct rlimit n;

	if (getrlimit(RLIMIT_NOFILE, &n) != 0 || n.rlim_cur == n.rlim_max)
		return;
	n.rlim_cur = n.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &n) != 0)
		log_warn("the number of open files stays at %llu", (unsigned long long)n.rlim_cur);
}

/* What is told before there is an engine is told again. */
static void
on_line(void *ctx, const struct schedule_rates *share)
{
	struct daemon *d = ctx;

	if (d->engine != NULL)
		engine_line(d->engine, share);
}

static enum err
open_server(struct daemon *d, struct error *e)
{
	const char *advertise[CONFIG_MANY_MAX];
	struct server_opts o = {
		.loop = d->loop,
		.home = d->home,
		.tls = d->tls,
		.name = config_get(&d->config, "name"),
		.site = config_get(&d->config, "site"),
		.listen = config_get(&d->config, "listen"),
		.advertise = advertise,
		.throttle = d->throttle,
		.on_line = on_line,
		.on_line_ctx = d,
	};
	bool first = false;

	if (d->opts->who != COMMAND_FOR_SERVER)
		return OK;
	o.n_advertise = config_get_all(&d->config, "advertise", advertise);
	enum err r = server_open(&o, &d->server, &first, e);
	if (r == OK)
		d->opts->on_server(d->server, d->opts->home, first);
	return r;
}

/* Where a server's own agent reaches it: loopback, unless it listens on one address alone. */
static char *
own_address(const struct daemon *d)
{
	const char *listen = config_get(&d->config, "listen");
	const char *colon = listen == NULL ? NULL : strrchr(listen, ':');
	size_t host = colon == NULL ? 0 : (size_t)(colon - listen);

	if (host == 0 || strncmp(listen, "0.0.0.0:", host + 1) == 0 ||
	    strncmp(listen, "[::]:", host + 1) == 0)
		return str_printf("127.0.0.1:%u", server_port(d->server));
	return str_printf("%.*s:%u", (int)host, listen, server_port(d->server));
}

static void
describe(void *ctx, struct buf *record)
{
	struct daemon *d = ctx;
	uint64_t up = throttle_rate(d->throttle, THROTTLE_UP, false),
		 down = throttle_rate(d->throttle, THROTTLE_DOWN, false);

	if (d->server != NULL)
		server_describe(d->server, record);
	if (up != 0)
		record_rate(record, "up_limit", up);
	if (down != 0)
		record_rate(record, "down_limit", down);
	record_size(record, "sent", throttle_total(d->throttle, THROTTLE_UP));
	record_size(record, "received", throttle_total(d->throttle, THROTTLE_DOWN));
}

/* The text has been checked. */
static uint32_t
near_rtt_us(const struct daemon *d)
{
	const char *text = config_get(&d->config, "near-rtt-ms");
	uint64_t ms = NEARNESS_RTT_MS;

	if (text != NULL)
		(void)text_parse_u64(text, UINT16_MAX, &ms);
	return (uint32_t)ms * 1000;
}

static enum err
open_engine(struct daemon *d, struct error *e)
{
	auto_free char *own = d->server != NULL ? own_address(d) : NULL;
	const char *upstream[] = { own }, *advertise[CONFIG_MANY_MAX];
	struct engine_opts o = {
		.loop = d->loop,
		.home = d->home,
		.tls = d->tls,
		.name = config_get(&d->config, "name"),
		.site = config_get(&d->config, "site"),
		.listen = d->server != NULL ? "none" : config_get(&d->config, "listen"),
		.throttle = d->throttle,
		.near_rtt_us = near_rtt_us(d),
		.is_server = d->server != NULL,
		.upstream = upstream,
		.n_upstream = d->server != NULL,
		.advertise = advertise,
		.n_advertise = config_get_all(&d->config, "advertise", advertise),
		.describe = describe,
		.describe_ctx = d,
	};

	return engine_open(&o, &d->engine, e);
}

static enum err
open_loop(struct daemon *d, struct error *e)
{
	const char *threads = config_get(&d->config, "threads");
	uint64_t n = 0;

	if (threads != NULL)
		(void)text_parse_u64(threads, UINT16_MAX, &n);
	enum err r = loop_new((unsigned)n, &d->loop, e);
	if (r == OK)
		loop_on_stop_signal(d->loop, on_signal, d);
	return r;
}

/* Bytes a second; 0: no limit.  The text has been checked. */
static uint64_t
limit_of(const struct daemon *d, const char *key)
{
	const char *text = config_get(&d->config, key);
	uint64_t n = 0;

	return text != NULL && text_parse_rate(text, &n) ? n : 0;
}

static void
open_throttle(struct daemon *d)
{
	d->throttle = throttle_new(d->loop, limit_of(d, "up-limit"), limit_of(d, "down-limit"));
}

static enum err
open_all(struct daemon *d, struct error *e)
{
	bool is_server = d->opts->who == COMMAND_FOR_SERVER;
	const char *recovery = is_server ? options_get(d->opts->o, "recover") : NULL;
	enum err r = recovery != NULL ? server_recover(d->opts->home, recovery, e) : OK;

	if (r == OK)
		r = home_open(d->opts->home, &d->home, e);
	if (r == OK)
		r = tls_ctx_new(d->home->key, &d->tls, e);
	if (r == OK)
		r = open_loop(d, e);
	if (r == OK)
		open_throttle(d);
	if (r == OK)
		r = open_server(d, e);
	if (r == OK)
		r = open_engine(d, e);
	if (r != OK)
		return r;
	auto_free char *path = home_socket_path(d->opts->home);
	return control_server_open(d->loop, path, on_call, d, &d->control, e);
}

/* -- what is asked on the control socket -- */

struct join {
	struct daemon *daemon;
	struct control_call *call;
	char name[STATEMENT_NAME_MAX + 1], site[STATEMENT_NAME_MAX + 1]; /* as asked for, or "" */
};

static void
on_joined(void *ctx, enum err r, const struct error *e, const char *server_name)
{
	struct join *j = ctx;
	auto_buf struct buf row = BUF(RECORD_MAX);
	char id[DEVICE_ID_TEXT];

	if (r == OK) {
		record_text(&row, "name", j->name[0] != '\0' ? j->name : NULL);
		record_text(
		    &row, "device", device_id_format(device_key_id(j->daemon->home->key), id));
		record_text(&row, "server", server_name);
		record_text(&row, "site", j->site[0] != '\0' ? j->site : NULL);
		control_call_row(j->call, buf_bytes(&row));
	}
	control_call_done(j->call, r == OK ? NULL : e, -1);
	free(j);
}

static void
join(struct daemon *d, struct control_call *call, const struct control_request *r)
{
	const char *invite = control_arg(r, "invite"), *name = control_arg(r, "name"),
		   *site = control_arg(r, "site");
	struct join *j = mem_new(struct join);

	*j = (struct join){ .daemon = d, .call = call };
	snprintf(j->name, sizeof j->name, "%s", name != NULL ? name : "");
	snprintf(j->site, sizeof j->site, "%s", site != NULL ? site : "");
	engine_join(d->engine, invite != NULL ? invite : "", name, site, on_joined, j);
}

/* A site's line is limited by the server; itself, as any node, by its engine. */
static bool
is_of_server(const struct control_request *r)
{
	return server_has_verb(r->verb) &&
	       (strcmp(r->verb, "limit") != 0 || control_flag(r, "site"));
}

static void
on_call(void *ctx, struct control_call *call, const struct control_request *r)
{
	struct daemon *d = ctx;
	const struct command *c = command_find(r->verb);
	struct error e;

	if (d->is_stopping) {
		(void)fail(&e, ERR_AGAIN, "the daemon is stopping");
	} else if (d->server != NULL && strcmp(r->verb, "why") == 0 &&
		   server_why(d->server, call, r)) {
		return;
	} else if (d->server != NULL && is_of_server(r)) {
		server_call(d->server, call, r);
		return;
	} else if (strcmp(r->verb, "join") == 0 && d->server == NULL) {
		join(d, call, r);
		return;
	} else if (engine_has_verb(r->verb)) {
		engine_call(d->engine, call, r);
		return;
	} else if (strcmp(r->verb, "join") == 0) {
		(void)fail(&e, ERR_USAGE, "this is a server: other machines join it");
	} else if (c != NULL && c->where == COMMAND_SERVER) {
		(void)fail(&e, ERR_USAGE,
		    "this is an agent: `weft %s` is for the server's machine and home", c->verb);
	} else {
		(void)fail(&e, ERR_USAGE,
		    "the daemon has no command '%s': it may be older than this one", r->verb);
	}
	control_call_done(call, &e, -1);
}

/* -- down -- */

static void
stop(struct daemon *d)
{
	if (d->is_stopping)
		return;
	d->is_stopping = true;
	notify_state("STOPPING=1");
	if (d->engine != NULL)
		engine_close(d->engine, on_engine_closed, d);
	else
		on_engine_closed(d);
}

static void
on_signal(void *ctx, int signo)
{
	log_info("stopping (%s)", signo == SIGINT ? "interrupted" : "terminated");
	stop(ctx);
}

static void
on_engine_closed(void *ctx)
{
	struct daemon *d = ctx;

	d->engine = NULL;
	if (d->server != NULL)
		server_close(d->server, on_server_closed, d);
	else
		on_server_closed(d);
}

static void
on_server_closed(void *ctx)
{
	struct daemon *d = ctx;

	d->server = NULL;
	control_server_close(d->control);
	d->control = NULL;
	throttle_close(d->throttle);
	d->throttle = NULL;
	loop_stop(d->loop);
}

static void
close_all(struct daemon *d)
{
	loop_free(d->loop);
	tls_ctx_free(d->tls);
	home_close(d->home);
	config_clear(&d->config);
}

static void
tell_ready(const struct daemon *d)
{
	unsigned port = d->server != NULL ? server_port(d->server) : engine_port(d->engine);
	char id[DEVICE_ID_TEXT], listens[32] = "";

	if (port != 0)
		snprintf(listens, sizeof listens, ", port %u", port);
	log_info("weft %s %s, device %s%s, home %s", WEFT_VERSION,
	    d->server != NULL ? "server" : "agent",
	    device_id_format(device_key_id(d->home->key), id), listens, d->home->path);
	notify_state("READY=1");
}

int
daemon_run(const struct daemon_opts *opts)
{
	struct daemon d = { .opts = opts };
	struct error e = { 0 };
	enum err r = read_config(&d, &e);

	(void)signal(SIGPIPE, SIG_IGN);
	raise_limits();
	if (r == OK)
		r = open_all(&d, &e);
	if (r == OK)
		tell_ready(&d);
	else if (d.loop != NULL)
		stop(&d);
	if (d.loop != NULL)
		loop_run(d.loop);
	close_all(&d);
	if (r == OK)
		return EXIT_DONE;
	fprintf(stderr, "weft: %s: %s\n", opts->o->command->verb, e.text);
	return control_exit_status(r);
}
