/*
 * Enrolling: dial the addresses of the invite, check that the key is the one it names, prove the
 * invite's secret bound to this TLS channel, keep what the server answers, then connect as a
 * member.  And leaving.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "engine/engine_swarm.h"
#include "engine/upstream.h"
#include "proto/invite.h"

enum { JOIN_TIMEOUT_MS = 30 * 1000 };

static const char KEY_NAME[] = "server.name";
static const char KEY_ADDRESSES[] = "server.addresses";
static const char KEY_OWN_NAME[] = "name";

struct joining {
	struct engine *en;
	struct invite invite;
	char name[STATEMENT_NAME_MAX + 1], site[STATEMENT_NAME_MAX + 1];
	struct peer *peer;
	struct requester requester;
	struct timer *deadline;
	struct buf addresses; /* the server's own, from its HELLO: one a line */
	bool over, keeping;   /* keeping: the answer is being written; J lives until that is done */
	void (*on_done)(void *ctx, enum err r, const struct error *e, const char *server_name);
	void *ctx;
};

static void on_event(void *owner, struct peer *p, struct session_event *ev);
static void on_answer(struct requester *r, struct peer *p, struct session_event *ev);
static void on_closed(void *owner, struct peer *p, const struct error *why);
static void on_deadline(void *ctx);

static const struct peer_events events = { .on_event = on_event, .on_closed = on_closed };

/* -- what is kept -- */

enum err
engine_join_load(struct engine *en, struct error *e)
{
	auto_buf struct buf own = BUF(STATEMENT_NAME_MAX);
	struct upstream u = { .n = 0 };

	if (state_get(en->state, KEY_OWN_NAME, &own, NULL) == OK && en->o.name == NULL)
		snprintf(en->name, sizeof en->name, "%s", buf_text(&own));
	if (en->o.is_server) {
		u.server = *device_key_id(en->home->key);
		snprintf(u.name, sizeof u.name, "%s", en->name);
		for (; u.n < en->o.n_upstream && u.n < UPSTREAM_ADDRESSES; u.n++)
			snprintf(
			    u.addresses[u.n], sizeof u.addresses[0], "%s", en->o.upstream[u.n]);
	} else {
		enum err r = upstream_load(en->state, &u, e);
		if (r != OK)
			return r == ERR_NOTFOUND ? OK : r;
	}
	snprintf(en->server_name, sizeof en->server_name, "%s", u.name);
	for (en->n_addresses = 0; en->n_addresses < u.n && en->n_addresses < ENGINE_ADDRESSES_MAX;
	     en->n_addresses++)
		snprintf(en->addresses[en->n_addresses], LIMIT_ADDRESS_TEXT + 1, "%s",
		    u.addresses[en->n_addresses]);
	en->joined = true;
	return engine_trust_load(en, &u.server, e);
}

void
engine_join_forget(struct engine *en)
{
	en->joined = false;
	engine_mesh_cut_all(en, "this machine belongs to another server, or to none, now");
	engine_swarm_forget(en);
	map_clear(&en->known);
	authority_free(en->authority);
	en->authority = NULL;
	en->n_addresses = 0;
	en->server_name[0] = 0;
}

/* -- joining -- */

static void
finish(struct joining *j, enum err r, const struct error *e)
{
	if (j->over)
		return;
	j->over = true;
	timer_close(j->deadline);
	j->deadline = NULL;
	j->on_done(j->ctx, r, e, j->en->server_name);
	if (j->peer != NULL)
		peer_close(j->peer, NULL);
}

/* When the connection is gone and nothing is being written. */
static void
free_ended(struct joining *j)
{
	struct engine *en = j->en;

	if (j->peer != NULL || j->keeping)
		return;
	buf_clear(&j->addresses);
	mem_wipe(&j->invite, sizeof j->invite);
	free(j);
	en->pending--;
	engine_part_closed(en);
}

struct keep_joined {
	struct engine_work work;
	struct joining *j;
	struct buf statements; /* length-prefixed, as received */
	uint32_t n;
	struct device_id root;
	char server_name[STATEMENT_NAME_MAX + 1];
};

static enum err
keep_settings(struct engine *en, struct keep_joined *k, struct error *e)
{
	auto_buf struct buf addresses = BUF(16 * 1024);
	struct joining *j = k->j;

	for (uint8_t i = 0; i < j->invite.n_addresses; i++)
		buf_addf(&addresses, "%s\n", j->invite.addresses[i]);
	buf_add_bytes(&addresses, buf_bytes(&j->addresses));
	enum err r = state_set(en->state, ENGINE_KEY_SERVER, BYTES_OF(j->invite.server), e);
	if (r == OK)
		r = state_set(en->state, ENGINE_KEY_AUTHORITY, BYTES_OF(k->root), e);
	if (r == OK)
		r = state_set(en->state, KEY_NAME, bytes_str(k->server_name), e);
	if (r == OK)
		r = state_set(en->state, KEY_ADDRESSES, buf_bytes(&addresses), e);
	if (r == OK)
		r = state_set(en->state, KEY_OWN_NAME, bytes_str(j->name), e);
	return r;
}

static enum err
work_keep(struct engine_work *w, struct error *e)
{
	struct keep_joined *k = (struct keep_joined *)w;
	struct message_list list = { buf_bytes(&k->statements), k->n };
	struct engine *en = w->engine;
	struct bytes b;

	enum err r = state_begin(en->state, e);
	if (r != OK)
		return r;
	r = keep_settings(en, k, e);
	while (r == OK && message_list_next(&list, &b)) {
		struct statement st;
		r = statement_decode(b, &st, e);
		if (r == OK)
			r = state_statement_put(en->state, b, &st.id, e);
	}
	if (r == OK)
		return state_commit(en->state, e);
	state_rollback(en->state);
	return r;
}

static void
done_keep(struct engine_work *w, enum err r, const struct error *e)
{
	struct keep_joined *k = (struct keep_joined *)w;
	struct joining *j = k->j;
	struct engine *en = w->engine;
	struct error own;

	if (r == OK && en->joined) /* a second join, by now */
		engine_join_forget(en);
	if (r == OK) {
		snprintf(en->name, sizeof en->name, "%s", j->name);
		r = engine_join_load(en, &own); /* a few reads of what was just written */
		e = &own;
	}
	if (r == OK) {
		en->link.given_up = false;
		engine_link_start(en);
	}
	buf_clear(&k->statements);
	free(k);
	j->keeping = false;
	finish(j, r, r == OK ? NULL : e);
	free_ended(j);
}

static void
on_joined(struct joining *j, const struct msg_joined *m)
{
	struct keep_joined *k;
	struct error e;

	struct device_id root;
	if (engine_trust_joined(j->en, &j->invite.server, m->statements, &root, &e) != OK) {
		finish(j, ERR_PROTO, &e);
		return;
	}
	k = mem_new(struct keep_joined);
	*k = (struct keep_joined){
		.work = { .work = work_keep, .done = done_keep },
		.j = j,
		.statements = BUF(LIMIT_FRAME_MESSAGE),
		.n = m->statements.n,
		.root = root,
	};
	buf_add_bytes(&k->statements, m->statements.raw);
	snprintf(k->server_name, sizeof k->server_name, "%.*s", (int)m->server_name.len,
	    (const char *)m->server_name.at);
	j->keeping = true;
	engine_write(j->en, &k->work);
}

static void
on_answer(struct requester *r, struct peer *p, struct session_event *ev)
{
	struct joining *j = container_of(r, struct joining, requester);
	struct error e;
	(void)p;

	if (ev->kind == SESSION_EV_ANSWER && ev->message.type == FRAME_JOINED) {
		on_joined(j, &ev->message.joined);
		return;
	}
	if (ev->kind == SESSION_EV_ANSWER && ev->message.type == FRAME_ERROR)
		(void)fail(&e, (enum err)ev->message.error.code, "%.*s",
		    (int)ev->message.error.text.len, (const char *)ev->message.error.text.at);
	else if (ev->kind == SESSION_EV_LOST)
		(void)fail(&e, ERR_OFFLINE, "the connection to the server ended; try again");
	else
		(void)fail(&e, ERR_PROTO, "the server answered with something else");
	if (ev->kind == SESSION_EV_RAW)
		block_free(ev->block);
	if (ev->kind != SESSION_EV_LOST) /* else on_closed says why */
		finish(j, e.code, &e);
}

static enum err
send_join(struct joining *j, struct peer *p, struct error *e)
{
	struct message m = { .type = FRAME_JOIN };
	uint8_t exporter[32];

	enum err r = tls_export(conn_tls_mut(peer_conn(p)), "weft join", exporter, e);
	if (r != OK)
		return r;
	m.join = (struct msg_join){ .name = bytes_str(j->name), .site = bytes_str(j->site) };
	memcpy(m.join.invite, j->invite.id, sizeof m.join.invite);
	invite_proof(j->invite.secret, exporter, j->invite.id, device_key_id(j->en->home->key),
	    m.join.proof);
	r = session_request(peer_session(p), &m, &j->requester, NULL, e);
	peer_flush(p);
	return r;
}

static void
on_hello(struct joining *j, struct peer *p, const struct msg_hello *h)
{
	struct message_list list = h->addresses;
	struct bytes b;
	struct error e;

	while (message_list_next(&list, &b))
		buf_addf(&j->addresses, "%.*s\n", (int)b.len, (const char *)b.at);
	enum err r = engine_link_clock(h->wall_ms, &e);
	if (r == OK) {
		session_admit(peer_session(p));
		r = send_join(j, p, &e);
	}
	if (r != OK)
		finish(j, r, &e);
}

static void
on_event(void *owner, struct peer *p, struct session_event *ev)
{
	struct joining *j = owner;

	if (ev->kind == SESSION_EV_HELLO && !j->over)
		on_hello(j, p, &ev->message.hello);
	else if (!requester_route(p, ev) && ev->kind == SESSION_EV_REQUEST)
		(void)session_answer_error(
		    peer_session(p), ev->stream, &(struct error){ .code = ERR_DENIED }, 0);
}

static void
on_closed(void *owner, struct peer *p, const struct error *why)
{
	struct joining *j = owner;
	struct error e;
	(void)p;

	j->peer = NULL;
	if (j->keeping)
		return;
	if (why == NULL)
		(void)fail(&e, ERR_OFFLINE, "the server closed the connection; try again");
	else
		e = *why;
	finish(j, e.code, &e);
	free_ended(j);
}

static void
on_deadline(void *ctx)
{
	struct joining *j = ctx;
	struct error e;

	(void)fail(&e, ERR_OFFLINE,
	    "no answer from the server within %d s: check the network, then try again",
	    JOIN_TIMEOUT_MS / 1000);
	finish(j, ERR_OFFLINE, &e);
}

static enum err
check_request(struct engine *en, const char *text, const char *name, const char *site,
    struct joining *j, struct error *e)
{
	enum err r = invite_parse(text, &j->invite, e);

	if (r != OK)
		return r;
	if (en->o.is_server)
		return fail(e, ERR_USAGE,
		    "this home is a server's; join from another machine, or with another --home");
	if (en->joined && !en->link.given_up && !device_id_equal(&en->server, &j->invite.server))
		return fail(e, ERR_EXISTS,
		    "this machine is a member of %s already; `weft leave` first", en->server_name);
	snprintf(j->name, sizeof j->name, "%s", name != NULL ? name : en->name);
	snprintf(j->site, sizeof j->site, "%s", site != NULL ? site : en->site);
	if (!statement_name_ok(j->name) || (j->site[0] != 0 && !statement_name_ok(j->site)))
		return fail(e, ERR_USAGE,
		    "--name and --site: 1 to %d bytes of text without '/' and '@'",
		    STATEMENT_NAME_MAX);
	return OK;
}

void
engine_join(struct engine *en, const char *invite, const char *name, const char *site,
    void (*on_done)(void *ctx, enum err r, const struct error *e, const char *server_name),
    void *ctx)
{
	struct joining *j = mem_new(struct joining);
	auto_buf struct buf hello = BUF(LIMIT_FRAME_MESSAGE);
	const char *addresses[LIMIT_ADDRESSES];
	struct error e;

	*j = (struct joining){ .en = en, .on_done = on_done, .ctx = ctx, .addresses = BUF(8192) };
	enum err r = check_request(en, invite, name, site, j, &e);
	if (r == OK)
		r = engine_link_hello(en, true, &hello, &e);
	if (r != OK) {
		on_done(ctx, r, &e, NULL);
		mem_wipe(&j->invite, sizeof j->invite);
		free(j);
		return;
	}
	j->requester.on_event = on_answer;
	for (uint8_t i = 0; i < j->invite.n_addresses; i++)
		addresses[i] = j->invite.addresses[i];
	j->deadline = timer_new(en->loop, on_deadline, j);
	timer_start(j->deadline, JOIN_TIMEOUT_MS);
	struct conn *c = conn_dial(
	    en->loop, en->o.tls, &j->invite.server, addresses, j->invite.n_addresses, NULL, NULL);
	en->pending++;
	j->peer = peer_new(en->loop, c, true, buf_bytes(&hello), &events, j);
}

/* -- leaving -- */

struct leaving {
	struct engine_ask ask;
	struct engine_work work;
	struct engine *en;
	struct control_call *call;
};

static enum err
work_forget(struct engine_work *w, struct error *e)
{
	struct state *s = w->engine->state;
	const struct bytes none = { NULL, 0 };
	enum err r = state_set(s, ENGINE_KEY_SERVER, none, e);

	if (r == OK)
		r = state_set(s, ENGINE_KEY_AUTHORITY, none, e);
	if (r == OK)
		r = state_set(s, KEY_NAME, none, e);
	return r == OK ? state_set(s, KEY_ADDRESSES, none, e) : r;
}

static void
done_forget(struct engine_work *w, enum err r, const struct error *e)
{
	struct leaving *v = container_of(w, struct leaving, work);

	control_call_done(v->call, r == OK ? NULL : e, -1);
	free(v);
}

static void
on_left(struct engine_ask *a, const struct message *m, const struct error *e)
{
	struct leaving *v = (struct leaving *)a;
	struct engine *en = v->en;

	/* The server may have cut us off before its answer came: the membership has ended all the
	 * same. */
	if (m == NULL && e->code != ERR_OFFLINE) {
		control_call_done(v->call, e, -1);
		free(v);
		return;
	}
	engine_job_share_lost(en, NULL, "this machine has left the server");
	en->link.given_up = true;
	if (en->link.peer != NULL)
		peer_close(en->link.peer, NULL);
	engine_join_forget(en);
	v->work = (struct engine_work){ .work = work_forget, .done = done_forget };
	engine_write(en, &v->work);
}

void
engine_join_leave(struct engine *en, struct control_call *call)
{
	struct leaving *v = mem_new(struct leaving);
	struct message m = { .type = FRAME_LEAVE };
	struct error e;

	*v = (struct leaving){ .ask.on_answer = on_left, .en = en, .call = call };
	enum err r = en->o.is_server ? fail(&e, ERR_USAGE, "a server cannot leave itself")
				     : engine_link_ask(en, &v->ask, &m, &e);
	if (r != OK) {
		control_call_done(call, &e, -1);
		free(v);
	}
}
