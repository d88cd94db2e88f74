/*
 * What `weft doctor` can say about the network while no daemon runs: is the port free, does the
 * server answer under each of its addresses, and is it the one that it should be.  It takes the
 * home for that long.
 */
#include "cmd/doctor.h"

#include "base/text.h"
#include "crypto/tls.h"
#include "engine/home.h"
#include "engine/upstream.h"
#include "net/listener.h"

enum { ADVICE_MAX = 256 };

/* One address that is being dialed. */
struct probe {
	struct doctor *doctor;
	struct loop *loop;
	struct conn *conn;
	const char *address;
	bool answered;
	struct error why;
};

static void on_ready(void *owner);
static void on_closed(void *owner, const struct error *why);

static const struct conn_events probe_events = { .on_ready = on_ready, .on_closed = on_closed };

static void
on_ready(void *owner)
{
	struct probe *p = owner;

	p->answered = true;
	conn_close(p->conn, NULL);
}

static void
on_closed(void *owner, const struct error *why)
{
	struct probe *p = owner;

	if (why != NULL)
		p->why = *why;
	loop_stop(p->loop);
}

static void
say_probe(struct doctor *d, const struct probe *p)
{
	char address[160];

	text_escape(bytes_str(p->address), address, sizeof address);
	if (p->answered)
		doctor_say(d, "server", DOCTOR_OK, NULL, "%s answers, and is the server we joined",
		    address);
	else if (p->why.code == ERR_DENIED)
		doctor_say(d, "server", DOCTOR_FAIL,
		    "somebody else answers there: check the address, do not trust the network",
		    "%s: %s", address, p->why.text);
	else
		doctor_say(d, "server", DOCTOR_WARN,
		    "is the server running, and does its firewall let the port through?", "%s: %s",
		    address, p->why.text[0] != '\0' ? p->why.text : "does not answer");
}

static bool
probe(struct doctor *d, struct tls_ctx *tls, const struct device_id *expect, const char *address)
{
	struct probe p = { .doctor = d, .address = address };
	struct error e = { 0 };

	if (loop_new(0, &p.loop, &e) != OK) {
		doctor_say(d, "server", DOCTOR_WARN, NULL, "%s", e.text);
		return false;
	}
	p.conn = conn_dial(p.loop, tls, expect, &address, 1, &probe_events, &p);
	loop_run(p.loop);
	loop_free(p.loop);
	say_probe(d, &p);
	return p.answered;
}

static void
check_server(struct doctor *d, struct home *h, struct tls_ctx *tls)
{
	auto_free char *path = home_path(h, "state.db");
	struct state *state = NULL;
	struct upstream u = { .n = 0 };
	struct error e = { 0 };
	bool any = false;
	enum err r = state_open(path, &state, &e);

	if (r == OK)
		r = upstream_load(state, &u, &e);
	state_close(state);
	if (r == ERR_NOTFOUND)
		doctor_say(d, "server", DOCTOR_WARN, "`weft join INVITE`",
		    "this machine has joined no server");
	else if (r != OK)
		doctor_say(d, "server", DOCTOR_FAIL, NULL, "%s", e.text);
	for (size_t i = 0; r == OK && i < u.n; i++)
		any |= probe(d, tls, &u.server, u.addresses[i]);
	if (r == OK && !any)
		doctor_say(d, "server", DOCTOR_FAIL,
		    "`weft join` with a new invite, should its address have changed",
		    "answers under none of its addresses");
}

static void
on_conn(void *ctx, struct conn *c)
{
	(void)ctx;
	conn_close(c, NULL);
}

static void
check_port(struct doctor *d, struct tls_ctx *tls)
{
	const char *listen = config_get(&d->config, "listen");
	struct listener *l = NULL;
	struct loop *loop = NULL;
	struct error e = { 0 };
	enum err r = loop_new(0, &loop, &e);

	if (r == OK)
		r = listener_open(
		    loop, listen != NULL ? listen : "7470", tls, 1, on_conn, NULL, &l, &e);
	if (r == OK)
		doctor_say(
		    d, "port", DOCTOR_OK, NULL, "%s is free", listen != NULL ? listen : "7470");
	else
		doctor_say(d, "port", DOCTOR_WARN,
		    listen != NULL ? "choose another with --listen"
				   : "an agent takes any other; a server needs --listen",
		    "%s", e.text);
	listener_close(l);
	if (loop != NULL) {
		loop_stop(loop);
		loop_run(loop);
	}
	loop_free(loop);
}

void
doctor_network(struct doctor *d)
{
	struct home *h = NULL;
	struct tls_ctx *tls = NULL;
	struct error e = { 0 };
	enum err r = home_open(d->home, &h, &e);

	if (r == OK)
		r = tls_ctx_new(h->key, &tls, &e);
	if (r == OK) {
		check_port(d, tls);
		check_server(d, h, tls);
	} else {
		doctor_say(d, "home", DOCTOR_FAIL, NULL, "%s", e.text);
	}
	tls_ctx_free(tls);
	home_close(h);
}
