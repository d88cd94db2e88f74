/*
 * Other nodes that come to us.  Both sides show their membership and check the other's against the
 * authority they share; who is no member of it is sent away.  A share with the policy `central` is
 * never answered for here: its bytes come from the server and nobody else, which the nodes
 * themselves see to.
 */
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "net/listener.h"
#include "platform/clock.h"

enum { VISITORS_MAX = 256 };

struct engine_visitor {
	struct engine *en;
	struct peer *peer;
};

static void on_event(void *owner, struct peer *p, struct session_event *ev);
static void on_closed(void *owner, struct peer *p, const struct error *why);

static const struct peer_events events = { .on_event = on_event, .on_closed = on_closed };

static void
on_conn(void *ctx, struct conn *c)
{
	struct engine *en = ctx;
	auto_buf struct buf hello = BUF(LIMIT_FRAME_MESSAGE);

	if (en->closing || !en->joined || engine_link_hello(en, false, &hello, NULL) != OK) {
		conn_close(c, NULL);
		return;
	}
	struct engine_visitor *v = mem_new(struct engine_visitor);
	v->en = en;
	v->peer = peer_new(en->loop, c, false, buf_bytes(&hello), &events, v);
	peer_throttle(v->peer, en->o.throttle);
	array_push(&en->visitors, v);
}

static enum err
check_member(struct engine *en, struct peer *p, const struct msg_hello *h, struct error *e)
{
	enum err r = engine_link_clock(h->wall_ms, e);

	if (r == OK && en->authority == NULL)
		r = fail(e, ERR_DENIED, "this machine belongs to no server");
	/* It may be older than what we know of the device; what counts is what is in force. */
	if (r == OK && h->member.len > 0) {
		r = authority_accept(en->authority, h->member, NULL, e);
		r = r == ERR_DENIED ? OK : r;
	}
	if (r != OK)
		return r;
	if (authority_check_member(
		en->authority, peer_device(p), clock_wall_ns() / 1000000000, NULL) != OK)
		return fail(
		    e, ERR_DENIED, "you are no member of the server that this machine belongs to");
	return OK;
}

static enum err
judge_bytes(struct engine *en, const struct hash_id *share, struct error *e)
{
	struct bytes b = authority_share(en->authority, share);
	struct statement st;

	if (b.len == 0 || statement_decode(b, &st, NULL) != OK)
		return fail(e, ERR_NOTFOUND, "no such share");
	if (st.policy == POLICY_CENTRAL)
		return fail(e, ERR_DENIED, "the bytes of this share come from its server");
	return fail(e, ERR_NOTFOUND, "nothing of this share is served from here");
}

static void
on_request(struct engine_visitor *v, const struct session_event *ev)
{
	struct error e;

	if (ev->message.type == FRAME_GET_NODES)
		(void)judge_bytes(v->en, &ev->message.get_nodes.share, &e);
	else if (ev->message.type == FRAME_GET_UNITS)
		(void)judge_bytes(v->en, &ev->message.get_units.share, &e);
	else
		(void)fail(&e, ERR_DENIED, "this is an agent: ask the server");
	(void)session_answer_error(peer_session(v->peer), ev->stream, &e, 0);
	peer_flush(v->peer);
}

static void
on_event(void *owner, struct peer *p, struct session_event *ev)
{
	struct engine_visitor *v = owner;
	struct error e;

	if (ev->kind == SESSION_EV_HELLO) {
		if (check_member(v->en, p, &ev->message.hello, &e) == OK)
			session_admit(peer_session(p));
		else
			peer_close(p, &e);
		peer_flush(p);
	} else if (ev->kind == SESSION_EV_REQUEST) {
		on_request(v, ev);
	} else if (ev->kind == SESSION_EV_RAW) {
		block_free(ev->block);
	}
}

static void
on_closed(void *owner, struct peer *p, const struct error *why)
{
	struct engine_visitor *v = owner;
	struct engine *en = v->en;
	(void)p;
	(void)why;

	array_remove(&en->visitors, v);
	free(v);
	engine_part_closed(en);
}

enum err
engine_listen(struct engine *en, struct error *e)
{
	char any[] = ":7470";

	if (en->o.listen != NULL && strcmp(en->o.listen, "none") == 0)
		return OK;
	if (en->o.listen != NULL)
		return listener_open(
		    en->loop, en->o.listen, en->o.tls, VISITORS_MAX, on_conn, en, &en->listener, e);
	enum err r =
	    listener_open(en->loop, any, en->o.tls, VISITORS_MAX, on_conn, en, &en->listener, e);
	return r == ERR_EXISTS ? listener_open(en->loop, ":0", en->o.tls, VISITORS_MAX, on_conn, en,
				     &en->listener, e)
			       : r;
}

void
engine_listen_close(struct engine *en)
{
	ARRAY(struct peer *) peers = { 0 };

	listener_close(en->listener);
	en->listener = NULL;
	array_each (v, &en->visitors)
		array_push(&peers, (*v)->peer);
	array_each (p, &peers)
		peer_close(*p, NULL);
	array_clear(&peers);
}
