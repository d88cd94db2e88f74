/*
 * One connected node, from its HELLO to its end. Greeting: who the key says it is, is it a member?
 * A guest may only JOIN. A member asks (RESOLVE, QUERY, CREATE_SHARE, ANNOUNCE, GET_*), and is told
 * of statements and progress.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/listener.h"
#include "server/server_internal.h"

static void on_event(void *owner, struct peer *p, struct session_event *ev);
static void on_writable(void *owner, struct peer *p);
static void on_closed(void *owner, struct peer *p, const struct error *why);

static const struct peer_events events = {
	.on_event = on_event, .on_writable = on_writable, .on_closed = on_closed
};

static struct bytes
link_key(const uint64_t *number)
{
	return BYTES(number, sizeof *number);
}

struct link *
server_peer_link(struct server *s, uint64_t number)
{
	return map_ptr(&s->links, link_key(&number));
}

struct link *
server_peer_of(struct server *s, const struct device_id *device)
{
	map_each (slot, &s->links) {
		struct link *l = slot->ptr;
		if (l->member && device_id_equal(&l->device, device))
			return l;
	}
	return NULL;
}

/* -- greeting -- */

struct list {
	struct buf raw;
	uint32_t n;
};

static void
list_clear(struct list *l)
{
	buf_clear(&l->raw);
}

static void
add_to_list(void *ctx, struct bytes bytes, const struct statement *st)
{
	struct list *l = ctx;
	(void)st;

	message_list_add(&l->raw, bytes);
	l->n++;
}

static enum err
make_hello(struct server *s, struct conn *c, struct buf *out, struct error *e)
{
	const char *observed = conn_peer_address(c);
	auto_buf struct buf addresses = BUF(LIMIT_FRAME_GUEST);
	auto_(list_clear) struct list successors = { .raw = BUF(LIMIT_FRAME_GUEST) };
	struct message m = { .type = FRAME_HELLO };

	for (size_t i = 0; i < s->n_advertise; i++)
		message_list_add(&addresses, bytes_str(s->advertise[i]));
	authority_each(s->registry->authority, STATEMENT_SUCCESSOR, add_to_list, &successors);
	m.hello = (struct msg_hello){
		.version_min = LIMIT_VERSION_MIN,
		.version_max = LIMIT_VERSION_MAX,
		.software = bytes_str("weft " WEFT_VERSION),
		.wall_ms = (uint64_t)server_now_ms(),
		.epoch = authority_epoch(s->registry->authority),
		.authority = authority_statement(s->registry->authority),
		.addresses = { buf_bytes(&addresses), (uint32_t)s->n_advertise },
		.observed = bytes_str(observed),
		.successors = { buf_bytes(&successors.raw), successors.n },
	};
	return message_encode(&m, out, e);
}

void
server_peer_accept(struct server *s, struct conn *c)
{
	auto_buf struct buf hello = BUF(LIMIT_FRAME_MESSAGE);
	struct error e;

	if (make_hello(s, c, &hello, &e) != OK) {
		log_error("greet %s: %s", conn_peer_address(c), e.text);
		conn_close(c, NULL);
		return;
	}
	struct link *l = mem_new(struct link);
	l->server = s;
	l->number = ++s->next_link;
	l->peer = peer_new(s->loop, c, false, buf_bytes(&hello), &events, l);
	peer_throttle(l->peer, s->throttle);
	conn_line_by_rtt(c);
	map_put(&s->links, link_key(&l->number), NULL)->ptr = l;
}

/* -- members -- */

void
server_peer_admit(struct link *l)
{
	struct server *s = l->server;
	struct registry_device *d = registry_device(s->registry, &l->device);
	const struct responder_policy policy = server_answer_policy(l);

	l->member = true;
	server_peer_no_guest(l);
	d->seen_ms = server_now_ms();
	snprintf(d->address, sizeof d->address, "%s", conn_peer_address(peer_conn(l->peer)));
	if (l->responder != NULL)
		return; /* a member that used one more invite */
	if (++d->connections > LIMIT_CONNECTIONS_PER_DEVICE)
		server_peer_limit_device(l);
	l->responder = responder_new(s->loop, l->peer, server_source_ops(s->source), &policy);
	session_admit(peer_session(l->peer));
	server_line_admit(l);
}

static void
on_hello(struct link *l, const struct msg_hello *h)
{
	struct server *s = l->server;
	struct error e;

	l->device = *peer_device(l->peer);
	if (device_id_equal(&l->device, device_key_id(s->home->key)))
		peer_throttle(l->peer, NULL); /* our own agent: its bytes pass no line */
	if (server_peer_check_room(l, &e) != OK ||
	    rules_clock(server_now_ms(), (int64_t)h->wall_ms, &e) != OK) {
		peer_close(l->peer, &e);
		return;
	}
	struct registry_device *d = registry_device(s->registry, &l->device);
	if (d == NULL && h->member.len > 0) {
		(void)fail(&e, ERR_DENIED,
		    "this device is no longer a member of %s: join again with a new invite",
		    s->name);
		peer_close(l->peer, &e);
		return;
	}
	server_swarm_hello(l, h);
	if (d == NULL) {
		server_peer_guest(l);
		return;
	}
	text_escape(h->software, d->software, sizeof d->software);
	server_peer_admit(l);
	server_peer_push_revokes(l, h->epoch);
	server_peer_push_member(l, h->member);
	server_site_arrived(l);
	server_policy_push_all(l);
	server_intake_link(s, l);
}

void
server_peer_drop(struct server *s, const struct device_id *device, const char *why)
{
	ARRAY(struct peer *) peers = { 0 };
	struct error e;

	(void)fail(&e, ERR_DENIED, "%s", why);
	map_each (slot, &s->links) {
		struct link *l = slot->ptr;
		if (l->member && device_id_equal(&l->device, device)) {
			l->member = false;
			server_swarm_link_gone(l);
			array_push(&peers, l->peer);
		}
	}
	array_each (p, &peers)
		peer_close(*p, &e);
	array_clear(&peers);
}

/* -- answers -- */

void
server_peer_answer_error(struct link *l, uint32_t stream, const struct error *e)
{
	(void)session_answer_error(peer_session(l->peer), stream, e, 0);
	peer_flush(l->peer);
}

void
server_peer_answer(struct link *l, const struct message *m)
{
	struct error e;

	enum err r = session_send(peer_session(l->peer), m, &e);
	if (r == ERR_CANCELED || r == ERR_OFFLINE) /* it does not want the answer any more */
		log_debug("answer %s: %s", frame_type_name(m->type), e.text);
	else if (r != OK)
		log_warn("answer %s: %s", frame_type_name(m->type), e.text);
	peer_flush(l->peer);
}

/* -- events -- */

static void
on_request(struct link *l, const struct session_event *ev)
{
	struct error e;

	switch (ev->message.type) {
	case FRAME_JOIN:
		server_join(l, ev);
		break;
	case FRAME_LEAVE:
		server_join_leave(l, ev);
		break;
	case FRAME_CREATE_SHARE:
		server_share_create(l, ev);
		break;
	case FRAME_RESOLVE:
		server_share_resolve(l, ev);
		break;
	case FRAME_ANNOUNCE:
		server_announce(l, ev);
		break;
	case FRAME_QUERY:
		server_query(l, ev);
		break;
	case FRAME_GET_NODES:
	case FRAME_GET_UNITS:
		responder_request(l->responder, ev);
		break;
	default:
		(void)fail(&e, ERR_PROTO, "this request is not for a server");
		server_peer_answer_error(l, ev->stream, &e);
	}
}

static void
on_event(void *owner, struct peer *p, struct session_event *ev)
{
	struct link *l = owner;

	if (requester_route(p, ev))
		return;
	switch (ev->kind) {
	case SESSION_EV_HELLO:
		on_hello(l, &ev->message.hello);
		break;
	case SESSION_EV_REQUEST:
		/* A member that was just dropped asks in vain until its connection is closed. */
		if (l->member || ev->message.type == FRAME_JOIN)
			on_request(l, ev);
		break;
	case SESSION_EV_CANCEL:
		if (l->responder != NULL)
			responder_cancel(l->responder, ev->stream);
		break;
	case SESSION_EV_PUSH:
		if (l->member && ev->message.type == FRAME_REPORT)
			server_peer_report(l, &ev->message.report);
		else if (l->member && ev->message.type == FRAME_DEMAND)
			server_line_demand(l, &ev->message.demand);
		else if (l->member)
			server_swarm_message(l, &ev->message);
		break;
	default:
		break;
	}
	peer_flush(p);
}

static void
on_writable(void *owner, struct peer *p)
{
	struct link *l = owner;
	(void)p;

	if (l->responder != NULL)
		responder_writable(l->responder);
}

static void
responder_closed(void *ctx)
{
	struct server *s = ctx;

	s->jobs--;
	server_closed_part(s);
}

static void
on_closed(void *owner, struct peer *p, const struct error *why)
{
	struct link *l = owner;
	struct server *s = l->server;
	struct registry_device *d = registry_device_known(s->registry, &l->device);
	(void)p;

	if (why != NULL)
		log_debug("connection %llu closed: %s", (unsigned long long)l->number, why->text);
	l->member = false; /* the device may have another connection: that one is its now */
	server_line_gone(l, why == NULL);
	server_swarm_link_gone(l);
	server_intake_link_gone(s, l);
	if (l->responder != NULL) {
		s->jobs++;
		responder_close(l->responder, responder_closed, s);
		if (d != NULL && d->connections > 0)
			d->connections--;
	}
	server_peer_no_guest(l);
	if (d != NULL)
		d->seen_ms = server_now_ms();
	map_del(&s->links, link_key(&l->number));
	array_clear(&l->shares);
	buf_clear(&l->addresses);
	free(l);
	server_closed_part(s);
}
