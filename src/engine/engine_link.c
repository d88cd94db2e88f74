/*
 * The connection to the server: one at a time, tried again 0.2 s to 30 s apart, the wait growing by
 * half and shaken by a quarter, so that a thousand agents do not come back in one moment.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "crypto/random.h"
#include "engine/engine_internal.h"
#include "engine/engine_swarm.h"
#include "platform/clock.h"

static void on_event(void *owner, struct peer *p, struct session_event *ev);
static void on_writable(void *owner, struct peer *p);
static void on_closed(void *owner, struct peer *p, const struct error *why);
static void on_retry(void *ctx);
static void try_later(struct engine *en);

static const struct peer_events events = {
	.on_event = on_event, .on_writable = on_writable, .on_closed = on_closed
};

/* -- dialling -- */

enum err
engine_link_hello(struct engine *en, bool joining, struct buf *out, struct error *e)
{
	struct message m = { .type = FRAME_HELLO };

	if (!joining)
		return engine_mesh_hello(en, "", 0, out, e);
	m.hello = (struct msg_hello){
		.version_min = LIMIT_VERSION_MIN,
		.version_max = LIMIT_VERSION_MAX,
		.software = BYTES_LIT("weft " WEFT_VERSION),
		.wall_ms = (uint64_t)(clock_wall_ns() / 1000000),
	};
	return message_encode(&m, out, e);
}

static void
dial(struct engine *en)
{
	const char *addresses[ENGINE_ADDRESSES_MAX];
	auto_buf struct buf hello = BUF(LIMIT_FRAME_MESSAGE);
	struct error e;

	for (size_t i = 0; i < en->n_addresses; i++)
		addresses[i] = en->addresses[i];
	if (engine_link_hello(en, false, &hello, &e) != OK) {
		log_error("greet the server: %s", e.text);
		try_later(en);
		return;
	}
	struct conn *c =
	    conn_dial(en->loop, en->o.tls, &en->server, addresses, en->n_addresses, NULL, NULL);
	en->link.peer = peer_new(en->loop, c, true, buf_bytes(&hello), &events, en);
	/* a server's own agent: its bytes pass no line */
	peer_throttle(en->link.peer, en->o.is_server ? NULL : en->o.throttle);
	conn_line_by_rtt(c);
}

void
engine_link_start(struct engine *en)
{
	/* also when a dial that was begun before fails */
	en->link.backoff_ms = ENGINE_BACKOFF_MIN_MS;
	if (!en->joined || en->closing || en->link.peer != NULL || en->link.given_up)
		return;
	if (en->link.retry == NULL)
		en->link.retry = timer_new(en->loop, on_retry, en);
	timer_start(en->link.retry, 0);
}

static void
on_retry(void *ctx)
{
	struct engine *en = ctx;

	if (en->joined && !en->closing && en->link.peer == NULL)
		dial(en);
}

static void
try_later(struct engine *en)
{
	struct engine_link *l = &en->link;

	if (en->closing || l->given_up || !en->joined)
		return;
	timer_start(l->retry, l->backoff_ms + random_u64() % (l->backoff_ms / 4 + 1));
	l->backoff_ms = min_of(l->backoff_ms * 3 / 2, (uint64_t)ENGINE_BACKOFF_MAX_MS);
}

void
engine_link_close(struct engine *en)
{
	timer_close(en->link.retry);
	en->link.retry = NULL;
	engine_trust_close(en);
	if (en->link.peer != NULL)
		peer_close(en->link.peer, NULL);
}

/* -- greeting -- */

enum err
engine_link_clock(uint64_t theirs_ms, struct error *e)
{
	int64_t off_ms = clock_wall_ns() / 1000000 - (int64_t)theirs_ms;
	uint64_t by = (uint64_t)(off_ms < 0 ? -off_ms : off_ms);
	char how[TEXT_DURATION];

	text_duration(by, how);
	if (by > (uint64_t)LIMIT_CLOCK_REFUSE_S * 1000)
		return fail(e, ERR_DENIED,
		    "this machine's clock is %s %s the server's: set it, then try again", how,
		    off_ms > 0 ? "ahead of" : "behind");
	if (by > (uint64_t)LIMIT_CLOCK_WARN_S * 1000)
		log_warn("this machine's clock is %s %s the server's", how,
		    off_ms > 0 ? "ahead of" : "behind");
	return OK;
}

static void
on_hello(struct engine *en, struct peer *p, const struct msg_hello *h)
{
	struct responder_policy policy = engine_swarm_policy(en);
	struct engine_link *l = &en->link;
	struct error e;

	l->clock_known = true;
	l->clock_off_ms = clock_wall_ns() / 1000000 - (int64_t)h->wall_ms;
	enum err r = engine_link_clock(h->wall_ms, &e);
	if (r == OK)
		r = engine_trust_hello(en, p, h, &e);
	if (r != OK) {
		peer_close(p, &e);
		return;
	}
	session_admit(peer_session(p));
	l->responder = responder_new(en->loop, p, &en->source, &policy);
	l->ready = true;
	l->backoff_ms = ENGINE_BACKOFF_MIN_MS;
	l->since_ms = (uint64_t)(clock_wall_ns() / 1000000);
	l->why[0] = 0;
	snprintf(l->address, sizeof l->address, "%s", conn_peer_address(peer_conn(p)));
	log_info("connected to %s at %s", en->server_name, l->address);
	peer_flush(p);
	engine_line_ready(en);
	engine_swarm_ready(en, p, NULL);
	engine_job_all_next(en);
}

/* -- statements -- */

struct keep_statement {
	struct engine_work work;
	struct buf bytes;
	struct hash_id id, old; /* old: what it takes the place of; none */
};

static enum err
work_keep(struct engine_work *w, struct error *e)
{
	struct keep_statement *k = (struct keep_statement *)w;

	enum err r = state_statement_put(w->engine->state, buf_bytes(&k->bytes), &k->id, e);

	return r == OK && !hash_id_is_none(&k->old)
		   ? state_statement_del(w->engine->state, &k->old, e)
		   : r;
}

static void
done_keep(struct engine_work *w, enum err r, const struct error *e)
{
	struct keep_statement *k = (struct keep_statement *)w;

	if (r != OK)
		log_error("keep a statement: %s", e->text);
	buf_clear(&k->bytes);
	free(k);
}

static void
keep(struct engine *en, struct bytes b, const struct hash_id *id, const struct hash_id *old)
{
	struct keep_statement *k = mem_new(struct keep_statement);

	*k = (struct keep_statement){ .work = { .work = work_keep, .done = done_keep },
		.bytes = BUF(STATEMENT_MAX),
		.id = *id,
		.old = *old };
	buf_add_bytes(&k->bytes, b);
	engine_write(en, &k->work);
}

void
engine_link_ended(struct engine *en)
{
	snprintf(en->link.why, sizeof en->link.why,
	    "the server ended this device's membership: join again with a new invite");
	en->link.given_up = true;
}

/* By a grant that is newer than what was just taken away. */
static bool
has_access(const struct engine *en, const struct hash_id *share)
{
	return authority_check_grant(en->authority, device_key_id(en->home->key), share, RIGHT_READ,
		   clock_wall_ns() / 1000000000, NULL) == OK;
}

/* A revocation of ours ends the membership; one of a share of ours ends what is under way with it.
 */
static void
act_on_own_end(struct engine *en, const struct statement *st)
{
	if (!hash_id_is_none(&st->share)) {
		if (!has_access(en, &st->share))
			engine_job_share_lost(en, &st->share,
			    "the server took this device's access to the share away");
		return;
	}
	log_warn("the server ended this device's membership; `weft join` with a new invite enrols "
		 "it again");
	engine_link_ended(en);
	engine_job_share_lost(en, NULL, en->link.why);
	engine_mesh_cut_all(en, "the membership of this device has ended");
	engine_swarm_forget(en);
}

/* Whoever said it first: all who are connected to us hear of it, and then it holds here. */
static void
act_on(struct engine *en, struct bytes b, const struct statement *st)
{
	bool is_own = device_id_equal(&st->device, device_key_id(en->home->key));

	if (st->kind == STATEMENT_REVOKE) {
		engine_mesh_pass_on(en, b);
		if (is_own || statement_is_for_all(st))
			act_on_own_end(en, st);
		else if (hash_id_is_none(&st->share))
			engine_mesh_revoked(en, &st->device);
		else
			engine_known_ungranted(en, &st->device, &st->share);
	}
	if (st->kind == STATEMENT_REVOKE || st->kind == STATEMENT_POLICY)
		engine_swarm_judge(en);
	if (st->kind == STATEMENT_GRANT && is_own)
		engine_swarm_granted(en, &st->share);
}

/* The one that a grant or a head takes the place of: each question to the server brings a new
 * grant. */
static struct hash_id
superseded(const struct engine *en, const struct statement *st)
{
	struct statement old = { 0 };
	struct bytes b = { NULL, 0 };

	if (st->kind == STATEMENT_GRANT)
		b = authority_grant(en->authority, &st->device, &st->share);
	else if (st->kind == STATEMENT_HEAD && authority_head(en->authority, &st->share, &old))
		return old.id;
	return b.len > 0 && statement_decode(b, &old, NULL) == OK ? old.id : (struct hash_id){ 0 };
}

enum err
engine_link_statement(struct engine *en, struct bytes b, struct error *e)
{
	struct statement st;
	bool news = false;
	enum err r = en->authority != NULL ? statement_decode(b, &st, e)
					   : fail(e, ERR_DENIED, "no member any more");

	if (r != OK)
		return r;
	const struct hash_id old = superseded(en, &st);
	r = authority_accept(en->authority, b, &news, e);
	if (r != OK || !news)
		return r;
	keep(en, b, &st.id, &old);
	act_on(en, b, &st);
	return OK;
}

void
engine_link_statements(struct engine *en, struct message_list statements)
{
	struct bytes b;
	struct error e;

	while (message_list_next(&statements, &b)) {
		enum err r = engine_link_statement(en, b, &e);
		if (r != OK && r != ERR_DENIED) /* DENIED: older than what we know */
			log_warn("a statement from the server: %s", e.text);
	}
}

/* -- asking -- */

static void
on_answer(struct requester *r, struct peer *p, struct session_event *ev)
{
	struct engine_ask *a = (struct engine_ask *)r;
	struct error e;
	(void)p;

	if (ev->kind == SESSION_EV_ANSWER && ev->message.type != FRAME_ERROR) {
		a->on_answer(a, &ev->message, NULL);
		return;
	}
	if (ev->kind == SESSION_EV_RAW) {
		block_free(ev->block);
		(void)fail(&e, ERR_PROTO, "the server answered with something else");
	} else if (ev->kind == SESSION_EV_LOST) {
		(void)fail(&e, ERR_OFFLINE, "the connection to the server ended");
	} else {
		const struct msg_error *m = &ev->message.error;
		(void)fail(
		    &e, (enum err)m->code, "%.*s", (int)m->text.len, (const char *)m->text.at);
	}
	a->on_answer(a, NULL, &e);
}

enum err
engine_link_ask(struct engine *en, struct engine_ask *a, struct message *m, struct error *e)
{
	if (!en->joined)
		return fail(
		    e, ERR_OFFLINE, "this machine has not joined a server: `weft join INVITE`");
	if (en->link.given_up)
		return fail(e, ERR_DENIED, "%s", en->link.why);
	if (!en->link.ready)
		return fail(e, ERR_OFFLINE, "the server %s is not reachable: %s", en->server_name,
		    en->link.why[0] != 0 ? en->link.why : "still connecting");
	a->requester.on_event = on_answer;
	enum err r = session_request(peer_session(en->link.peer), m, &a->requester, NULL, e);
	if (r == OK)
		peer_flush(en->link.peer);
	return r;
}

/* -- events -- */

static void
on_push(struct engine *en, const struct message *m)
{
	if (m->type == FRAME_STATEMENTS) {
		engine_link_statements(en, m->statements.statements);
	} else if (m->type == FRAME_LEASE) {
		engine_line_lease(en, &m->lease);
	} else if (m->type == FRAME_PROGRESS) {
		engine_publish_progress(en, &m->progress);
		engine_get_progress(en, &m->progress);
	} else {
		engine_swarm_push(en, en->link.peer, m);
	}
}

static void
refuse(struct engine *en, uint32_t stream)
{
	struct error e;

	(void)fail(&e, ERR_DENIED, "this is an agent: ask the server");
	(void)session_answer_error(peer_session(en->link.peer), stream, &e, 0);
}

static void
on_event(void *owner, struct peer *p, struct session_event *ev)
{
	struct engine *en = owner;

	if (requester_route(p, ev))
		return;
	switch (ev->kind) {
	case SESSION_EV_HELLO:
		on_hello(en, p, &ev->message.hello);
		break;
	case SESSION_EV_REQUEST:
		if (ev->message.type == FRAME_GET_NODES || ev->message.type == FRAME_GET_UNITS)
			responder_request(en->link.responder, ev);
		else
			refuse(en, ev->stream);
		break;
	case SESSION_EV_CANCEL:
		responder_cancel(en->link.responder, ev->stream);
		break;
	case SESSION_EV_PUSH:
		on_push(en, &ev->message);
		break;
	default:
		break;
	}
}

static void
on_writable(void *owner, struct peer *p)
{
	struct engine *en = owner;
	(void)p;

	if (en->link.responder != NULL)
		responder_writable(en->link.responder);
}

static void
on_responder_closed(void *ctx)
{
	struct engine *en = ctx;

	en->pending--;
	engine_part_closed(en);
}

static void
on_closed(void *owner, struct peer *p, const struct error *why)
{
	struct engine *en = owner;
	struct engine_link *l = &en->link;
	bool was_ready = l->ready;
	bool is_another = why != NULL && why->code == ERR_DENIED && peer_device(p) == NULL;

	l->peer = NULL;
	l->ready = false;
	engine_swarm_gone(en, p);
	if (l->responder != NULL) {
		en->pending++;
		responder_close(l->responder, on_responder_closed, en);
	}
	l->responder = NULL;
	if (!l->given_up)
		snprintf(l->why, sizeof l->why, "%s",
		    why != NULL ? why->text : "the server closed the connection");
	if (why != NULL && why->code == ERR_DENIED && !l->given_up) {
		log_warn("the server refuses this device: %s", why->text);
		l->backoff_ms = max_of(l->backoff_ms, (uint64_t)ENGINE_BACKOFF_DENIED_MS);
	} else if (was_ready && !en->closing) {
		log_info("connection to %s ended: %s", en->server_name, l->why);
	}
	engine_job_link_gone(en);
	try_later(en);
	if (is_another)
		engine_trust_probe(en);
	engine_part_closed(en);
}
