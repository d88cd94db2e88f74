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

/* -- how many -- */

static void
leave_guests(struct link *l)
{
	struct server *s = l->server;

	for (size_t i = 0; i < s->guests.len; i++) {
		if (s->guests.at[i] == l) {
			memmove(s->guests.at + i, s->guests.at + i + 1,
			    (s->guests.len - i - 1) * sizeof *s->guests.at);
			s->guests.len--;
			return;
		}
	}
}

/* A guest is one for a moment. When there are too many, the one that has been for longest makes
 * way: whoever sits here and does not join keeps nobody out. */
static void
enter_guests(struct link *l)
{
	struct server *s = l->server;
	struct error e;

	if (s->guests.len == LIMIT_CONNECTIONS_GUEST) {
		struct link *oldest = s->guests.at[0];
		(void)fail(
		    &e, ERR_AGAIN, "too many machines are joining at once; try again in a minute");
		leave_guests(oldest);
		peer_close(oldest->peer, &e);
	}
	array_push(&s->guests, l);
	session_admit_guest(peer_session(l->peer));
}

/* A device needs one connection, and has more for as long as dead ones are not noticed: beyond
 * some, its oldest goes. */
static void
limit_device(struct link *l)
{
	struct link *oldest = NULL;
	unsigned n = 0;
	struct error e;

	map_each (slot, &l->server->links) {
		struct link *other = slot->ptr;
		if (!other->member || !device_id_equal(&other->device, &l->device))
			continue;
		n++;
		if (oldest == NULL || other->number < oldest->number)
			oldest = other;
	}
	if (n <= LIMIT_CONNECTIONS_PER_DEVICE)
		return;
	(void)fail(&e, ERR_AGAIN, "this device has more than %d connections",
	    LIMIT_CONNECTIONS_PER_DEVICE);
	oldest->member = false;
	server_swarm_link_gone(oldest);
	peer_close(oldest->peer, &e);
}

/* The listener lets a few more in than there may be, so that somebody can tell them. */
static enum err
check_room(const struct link *l, struct error *e)
{
	const struct server *s = l->server;

	if (s->closing)
		return fail(e, ERR_AGAIN, "this server is stopping");
	if (listener_connections(s->listener) > s->max_connections)
		return fail(e, ERR_AGAIN,
		    "this server has %zu connections, all that it can: try again later",
		    s->max_connections);
	if (conn_siblings(peer_conn(l->peer)) > LIMIT_CONNECTIONS_PER_ADDRESS)
		return fail(e, ERR_AGAIN,
		    "this server has %d connections from your address, all that it takes: try "
		    "again later",
		    LIMIT_CONNECTIONS_PER_ADDRESS);
	return OK;
}

/* -- members -- */

void
server_peer_admit(struct link *l)
{
	struct server *s = l->server;
	struct registry_device *d = registry_device(s->registry, &l->device);
	const struct responder_policy policy = server_answer_policy(l);

	l->member = true;
	leave_guests(l);
	d->seen_ms = server_now_ms();
	snprintf(d->address, sizeof d->address, "%s", conn_peer_address(peer_conn(l->peer)));
	if (l->responder != NULL)
		return; /* a member that used one more invite */
	if (++d->connections > LIMIT_CONNECTIONS_PER_DEVICE)
		limit_device(l);
	l->responder = responder_new(s->loop, l->peer, server_source_ops(s->source), &policy);
	session_admit(peer_session(l->peer));
	server_line_admit(l);
}

/* What ended while the node was away: all revocations after the epoch it knows. */
struct send_revokes {
	struct link *link;
	uint64_t after;
	struct buf raw;
	uint32_t n;
};

static void
send_batch(struct send_revokes *x)
{
	struct message m = { .type = FRAME_STATEMENTS,
		.statements.statements = { buf_bytes(&x->raw), x->n } };

	if (x->n > 0 && session_send(peer_session(x->link->peer), &m, NULL) != OK)
		log_warn("could not send statements to a node");
	buf_reset(&x->raw);
	x->n = 0;
}

static void
add_revoke(void *ctx, struct bytes bytes, const struct statement *st)
{
	struct send_revokes *x = ctx;

	if (st->epoch <= x->after)
		return;
	message_list_add(&x->raw, bytes);
	if (++x->n == LIMIT_STATEMENTS)
		send_batch(x);
}

static void
send_revokes(struct link *l, uint64_t after)
{
	struct send_revokes x = { .link = l, .after = after, .raw = BUF(LIMIT_FRAME_MESSAGE) };

	authority_each(l->server->registry->authority, STATEMENT_REVOKE, add_revoke, &x);
	send_batch(&x);
	buf_clear(&x.raw);
}

/* After a recovery it shows what the key before this one signed. */
static void
send_member(struct link *l, struct bytes shown)
{
	struct bytes member = authority_member(l->server->registry->authority, &l->device);

	if (member.len > 0 && !bytes_equal(member, shown))
		server_peer_push(l, member);
}

static void
on_hello(struct link *l, const struct msg_hello *h)
{
	struct server *s = l->server;
	struct error e;

	l->device = *peer_device(l->peer);
	if (device_id_equal(&l->device, device_key_id(s->home->key)))
		peer_throttle(l->peer, NULL); /* our own agent: its bytes pass no line */
	if (check_room(l, &e) != OK ||
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
		enter_guests(l);
		return;
	}
	text_escape(h->software, d->software, sizeof d->software);
	server_peer_admit(l);
	send_revokes(l, h->epoch);
	send_member(l, h->member);
	server_site_arrived(l);
	server_policy_push_all(l);
	server_intake_link(s, l);
}

/* -- pushing -- */

void
server_peer_push(struct link *l, struct bytes statement)
{
	auto_buf struct buf raw = BUF(LIMIT_FRAME_MESSAGE);
	struct message m = { .type = FRAME_STATEMENTS };

	message_list_add(&raw, statement);
	m.statements.statements = (struct message_list){ buf_bytes(&raw), 1 };
	if (session_send(peer_session(l->peer), &m, NULL) == OK)
		peer_flush(l->peer);
}

void
server_peer_push_all(struct server *s, struct bytes statement)
{
	map_each (slot, &s->links) {
		struct link *l = slot->ptr;
		if (l->member)
			server_peer_push(l, statement);
	}
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

static struct message
progress_of(const struct registry_share *sh, const struct registry_snapshot *sn)
{
	struct message m = { .type = FRAME_PROGRESS };

	m.progress = (struct msg_progress){
		.share = sh->id,
		.snapshot = sn->id,
		.state = (uint8_t)sn->state,
		.number = sn->number,
		.held_bytes = sn->held_bytes,
		.total_bytes = sn->chunk_bytes,
		.head = sn == sh->head ? buf_bytes(&sh->head_statement) : (struct bytes){ NULL, 0 },
		.text = bytes_str(sn->why),
	};
	return m;
}

static bool
remembers(const struct link *l, const struct registry_share *sh)
{
	array_each (n, &l->shares) {
		if (*n == sh->num)
			return true;
	}
	return false;
}

static void
send_progress(struct link *l, const struct registry_share *sh, const struct registry_snapshot *sn)
{
	const struct message m = progress_of(sh, sn);

	if (session_send(peer_session(l->peer), &m, NULL) == OK)
		peer_flush(l->peer);
}

static void
push_progress(
    struct server *s, const struct registry_share *sh, const struct registry_snapshot *sn, bool all)
{
	map_each (slot, &s->links) {
		struct link *l = slot->ptr;
		bool is_author = device_id_equal(&l->device, &sn->author);
		if (!l->member || (!is_author && (!all || !remembers(l, sh))))
			continue;
		if (!is_author && !(rules_rights(s->registry, sh, &l->device) & RIGHT_READ))
			continue;
		send_progress(l, sh, sn);
	}
}

void
server_peer_progress(
    struct server *s, const struct registry_share *sh, const struct registry_snapshot *sn)
{
	push_progress(s, sh, sn, false);
}

void
server_peer_progress_all(
    struct server *s, const struct registry_share *sh, const struct registry_snapshot *sn)
{
	push_progress(s, sh, sn, true);
}

/* -- grants -- */

enum err
server_peer_grant(struct server *s, const struct registry_share *sh, const struct device_id *device,
    uint32_t rights, struct buf *out, struct error *e)
{
	struct statement st = {
		.kind = STATEMENT_GRANT,
		.device = *device,
		.share = sh->id,
		.rights = rights,
		.expires_s = server_now_s() + STATEMENT_GRANT_SECONDS,
	};

	return server_sign(s, &st, out, e);
}

/* What was announced before it asked, as it would have been told had it asked earlier. */
static void
catch_up(struct link *l, const struct registry_share *sh)
{
	struct server *s = l->server;

	if (!rules_is_hybrid(s->registry, sh) ||
	    !(rules_rights(s->registry, sh, &l->device) & RIGHT_READ))
		return;
	array_each (at, &sh->snapshots) {
		const struct registry_snapshot *sn = *at;
		if (sn->state == SNAPSHOT_ANNOUNCED && server_intake_has_manifest(s, &sn->id))
			send_progress(l, sh, sn);
	}
}

void
server_peer_remember(struct link *l, const struct registry_share *sh)
{
	if (remembers(l, sh))
		return;
	array_push(&l->shares, sh->num);
	catch_up(l, sh);
}

void
server_peer_renew(struct server *s)
{
	map_each (slot, &s->links) {
		struct link *l = slot->ptr;
		for (size_t i = 0; l->member && i < l->shares.len; i++) {
			auto_buf struct buf grant = BUF(STATEMENT_MAX);
			struct registry_share *sh =
			    registry_share_num(s->registry, l->shares.at[i]);
			uint32_t rights =
			    sh != NULL ? rules_rights(s->registry, sh, &l->device) : 0;
			if (rights != 0 &&
			    server_peer_grant(s, sh, &l->device, rights, &grant, NULL) == OK)
				server_peer_push(l, buf_bytes(&grant));
		}
	}
}

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

/* What DEVICE is called, for the log. */
static const char *
name_of(const struct server *s, const struct device_id *device)
{
	const struct registry_device *d = registry_device_known(s->registry, device);

	return d != NULL ? d->name : "an unknown device";
}

static void
count_liar(struct server *s, const struct device_id *device)
{
	struct registry_device *d = registry_device_known(s->registry, device);

	if (d != NULL && d->reported < UINT32_MAX)
		d->reported++;
}

void
server_peer_liar(struct server *s, struct peer *p, uint32_t unit)
{
	const struct device_id *id = peer_device(p);
	struct error e;

	count_liar(s, id);
	log_warn(
	    "%s sent wrong bytes for unit %u again and again; it is cut off", name_of(s, id), unit);
	(void)fail(&e, ERR_PROTO, "the bytes you send do not match the snapshot");
	peer_close(p, &e);
}

/* Wrong bytes of ours: the store is looked at, once in a while only, however often that is said. Of
 * another member: counted, for people to judge; who reports may lie as well. */
static void
on_report(struct link *l, const struct msg_report *m)
{
	struct server *s = l->server;
	uint64_t now = loop_now_ms(s->loop);
	struct registry_share *sh = NULL;
	const struct registry_snapshot *sn;

	if (rules_share_id(s->registry, &m->share, &l->device, RIGHT_READ, &sh, NULL) != OK)
		return;
	sn = registry_snapshot(sh, &m->snapshot);
	if (sn == NULL || device_id_equal(&m->who, &l->device))
		return;
	log_limit_warn(&s->reports, now, "%s reports wrong bytes from %s in unit %u of %s",
	    name_of(s, &l->device), name_of(s, &m->who), m->unit, sh->name);
	if (!device_id_equal(&m->who, device_key_id(s->home->key))) {
		count_liar(s, &m->who);
		return;
	}
	if (now - s->reported_ms < SERVER_REPORT_MS && s->reported_ms != 0)
		return;
	s->reported_ms = now;
	server_gc_verify(s, sh, NULL);
}

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
			on_report(l, &ev->message.report);
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
	leave_guests(l);
	if (d != NULL)
		d->seen_ms = server_now_ms();
	map_del(&s->links, link_key(&l->number));
	array_clear(&l->shares);
	buf_clear(&l->addresses);
	free(l);
	server_closed_part(s);
}
