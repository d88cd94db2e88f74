/*
 * One connected node, from its HELLO to its end.  Greeting: who the key says it is, is it a member?  A guest may only JOIN.
 * A member asks (RESOLVE, QUERY, CREATE_SHARE, ANNOUNCE, GET_*), and is told of statements and progress.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "crypto/random.h"
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

static enum err
make_hello(struct server *s, struct conn *c, struct buf *out, struct error *e)
{
	const char *observed = conn_peer_address(c);
	auto_buf struct buf addresses = BUF(LIMIT_FRAME_GUEST);
	struct message m = { .type = FRAME_HELLO };

	for (size_t i = 0; i < s->n_advertise; i++)
		message_list_add(&addresses, bytes_str(s->advertise[i]));
	m.hello = (struct msg_hello){
		.version_min = LIMIT_VERSION_MIN,
		.version_max = LIMIT_VERSION_MAX,
		.software = bytes_str("weft " WEFT_VERSION),
		.wall_ms = (uint64_t)server_now_ms(),
		.epoch = authority_epoch(s->registry->authority),
		.authority = authority_statement(s->registry->authority),
		.addresses = { buf_bytes(&addresses), (uint32_t)s->n_advertise },
		.observed = bytes_str(observed),
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
	map_put(&s->links, link_key(&l->number), NULL)->ptr = l;
}

static enum err
allow(void *ctx, struct peer *p, const struct hash_id *share, const struct hash_id *snapshot, struct error *e)
{
	struct link *l = ctx;
	struct registry_share *sh = NULL;
	enum err r = rules_share_id(l->server->registry, share, &l->device, RIGHT_READ, &sh, e);
	(void)p;

	if (r == OK && registry_snapshot(sh, snapshot) == NULL)
		return fail(e, ERR_NOTFOUND, "%s has no such snapshot (it may have been removed)", sh->name);
	return r;
}

/* A chunk of ours could not be read: look at the snapshot's bytes and have what is lost sent again. */
static void
failed(void *ctx, struct peer *p, const struct hash_id *share, const struct hash_id *snapshot, const struct error *why)
{
	struct link *l = ctx;
	struct registry_share *sh = registry_share(l->server->registry, share);
	struct registry_snapshot *sn = sh != NULL ? registry_snapshot(sh, snapshot) : NULL;
	(void)p;

	if (sn == NULL || (why->code != ERR_CORRUPT && why->code != ERR_NOTFOUND))
		return;
	log_error("store: %s; fetching it again from the publisher when it is connected", why->text);
	server_intake_repair(l->server, sh, sn);
}

static void
admit(struct link *l)
{
	struct server *s = l->server;
	struct registry_device *d = registry_device(s->registry, &l->device);
	const struct responder_policy policy = { .allow = allow, .failed = failed, .ctx = l };

	l->member = true;
	if (l->counted_guest) {
		l->counted_guest = false;
		s->guests--;
	}
	d->connections++;
	d->seen_ms = server_now_ms();
	snprintf(d->address, sizeof d->address, "%s", conn_peer_address(peer_conn(l->peer)));
	l->responder = responder_new(s->loop, l->peer, server_source_ops(s->source), &policy);
	session_admit(peer_session(l->peer));
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
	struct message m = { .type = FRAME_STATEMENTS, .statements.statements = { buf_bytes(&x->raw), x->n } };

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

static void
on_hello(struct link *l, const struct msg_hello *h)
{
	struct server *s = l->server;
	struct error e;

	l->device = *peer_device(l->peer);
	if (rules_clock(server_now_ms(), (int64_t)h->wall_ms, &e) != OK) {
		peer_close(l->peer, &e);
		return;
	}
	struct registry_device *d = registry_device(s->registry, &l->device);
	if (d == NULL && h->member.len > 0) {
		(void)fail(&e, ERR_DENIED, "this device is no longer a member of %s: join again with a new invite", s->name);
		peer_close(l->peer, &e);
		return;
	}
	if (d == NULL) {
		if (s->guests >= LIMIT_CONNECTIONS_GUEST) {
			(void)fail(&e, ERR_AGAIN, "too many machines are joining at once; try again in a minute");
			peer_close(l->peer, &e);
			return;
		}
		s->guests++;
		l->counted_guest = true;
		session_admit_guest(peer_session(l->peer));
		return;
	}
	text_escape(h->software, d->software, sizeof d->software);
	admit(l);
	send_revokes(l, h->epoch);
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
			array_push(&peers, l->peer);
		}
	}
	array_each (p, &peers)
		peer_close(*p, &e);
	array_clear(&peers);
}

void
server_peer_progress(struct server *s, const struct registry_share *sh, const struct registry_snapshot *sn,
    const struct device_id *to)
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
	map_each (slot, &s->links) {
		struct link *l = slot->ptr;
		if (!l->member || !device_id_equal(&l->device, to))
			continue;
		if (session_send(peer_session(l->peer), &m, NULL) == OK)
			peer_flush(l->peer);
	}
}

/* -- grants -- */

enum err
server_peer_grant(struct server *s, const struct registry_share *sh, const struct device_id *device, uint32_t rights,
    struct buf *out, struct error *e)
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

static void
remember_share(struct link *l, int64_t num)
{
	array_each (n, &l->shares) {
		if (*n == num)
			return;
	}
	array_push(&l->shares, num);
}

void
server_peer_renew(struct server *s)
{
	map_each (slot, &s->links) {
		struct link *l = slot->ptr;
		for (size_t i = 0; l->member && i < l->shares.len; i++) {
			auto_buf struct buf grant = BUF(STATEMENT_MAX);
			struct registry_share *sh = registry_share_num(s->registry, l->shares.at[i]);
			uint32_t rights = sh != NULL ? rules_rights(s->registry, sh, &l->device) : 0;
			if (rights != 0 && server_peer_grant(s, sh, &l->device, rights, &grant, NULL) == OK)
				server_peer_push(l, buf_bytes(&grant));
		}
	}
}

static void
answer_error(struct link *l, uint32_t stream, const struct error *e)
{
	(void)session_answer_error(peer_session(l->peer), stream, e, 0);
	peer_flush(l->peer);
}

static void
send_or_log(struct link *l, const struct message *m)
{
	struct error e;

	if (session_send(peer_session(l->peer), m, &e) != OK)
		log_warn("answer %s: %s", frame_type_name(m->type), e.text);
	peer_flush(l->peer);
}

/* -- JOIN -- */

struct join_change {
	struct change change;
	uint64_t link;
	uint32_t stream;
	uint8_t invite[INVITE_ID_BYTES];
	struct registry_invite after; /* as it is to be stored; borrows the grants of the registry's */
	struct registry_device device;
	struct statement statement;
	struct buf member;
	ARRAY(struct { int64_t share; struct registry_access access; }) access;
};

static enum err
store_join(struct change *c, struct server *s, struct error *e)
{
	struct join_change *j = (struct join_change *)c;
	struct db *db = s->registry->db;
	enum err r = registry_store_invite(db, &j->after, e);

	if (r == OK)
		r = registry_store_statement(db, buf_bytes(&j->member), &j->statement, e);
	if (r == OK)
		r = registry_store_device(db, &j->device, e);
	array_each (a, &j->access) {
		if (r == OK)
			r = registry_store_access(db, a->share, &a->access, e);
	}
	return r;
}

/* Everything the new member holds: who the authority is, that it is a member, and the shares it was invited to. */
static void
send_joined(struct server *s, struct link *l, uint32_t stream, struct bytes member)
{
	auto_buf struct buf raw = BUF(LIMIT_FRAME_MESSAGE);
	struct message m = { .type = FRAME_JOINED, .flags = FRAME_END, .stream = stream };
	uint32_t n = 2;

	message_list_add(&raw, authority_statement(s->registry->authority));
	message_list_add(&raw, member);
	map_each (slot, &s->registry->shares) {
		struct registry_share *sh = slot->ptr;
		auto_buf struct buf grant = BUF(STATEMENT_MAX);
		uint32_t rights = rules_rights(s->registry, sh, &l->device);
		if (rights == 0 || n + 2 > LIMIT_STATEMENTS)
			continue;
		if (server_peer_grant(s, sh, &l->device, rights, &grant, NULL) != OK)
			continue;
		message_list_add(&raw, buf_bytes(&sh->statement));
		message_list_add(&raw, buf_bytes(&grant));
		remember_share(l, sh->num);
		n += 2;
	}
	m.joined = (struct msg_joined){ .server_name = bytes_str(s->name), .statements = { buf_bytes(&raw), n } };
	send_or_log(l, &m);
}

static void
apply_join(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct join_change *j = (struct join_change *)c;
	struct link *l = server_peer_link(s, j->link);
	struct registry_invite *in = map_ptr(&s->registry->invites, BYTES(j->invite, INVITE_ID_BYTES));

	if (r != OK) {
		if (in != NULL)
			in->uses++; /* it was reserved */
		if (l != NULL)
			answer_error(l, j->stream, e);
	} else {
		if (in != NULL && in->uses == 0)
			registry_drop_invite(s->registry, j->invite);
		registry_add_device(s->registry, &j->device);
		array_each (a, &j->access) {
			struct registry_share *sh = registry_share_num(s->registry, a->share);
			if (sh != NULL)
				registry_set_access(sh, &a->access);
		}
		log_info("device %s joined", j->device.name);
		if (l != NULL) {
			admit(l);
			send_joined(s, l, j->stream, buf_bytes(&j->member));
		}
	}
	array_clear(&j->access);
	buf_clear(&j->member);
	free(j);
}

static enum err
check_join(struct link *l, const struct msg_join *m, struct registry_invite **ret, struct error *e)
{
	struct server *s = l->server;
	struct registry_invite *in = map_ptr(&s->registry->invites, BYTES(m->invite, INVITE_ID_BYTES));
	uint8_t exporter[32], proof[32];
	enum err r = rules_invite(in, server_now_s(), e);

	if (r != OK)
		return r;
	r = tls_export(conn_tls_mut(peer_conn(l->peer)), "weft join", exporter, e);
	if (r != OK)
		return r;
	invite_proof(in->secret, exporter, in->id, &l->device, proof);
	if (!hash_secret_equal(BYTES_OF(proof), BYTES_OF(m->proof)))
		return fail(e, ERR_DENIED, "this invite does not fit: copy it again, or ask for a new one");
	*ret = in;
	return OK;
}

static void
add_invited_access(struct server *s, struct join_change *j, const struct registry_invite *in)
{
	array_each (g, &in->grants) {
		struct registry_share *sh = registry_share_num(s->registry, g->share);
		if (sh == NULL)
			continue;
		array_reserve(&j->access, j->access.len + 1);
		j->access.at[j->access.len].share = g->share;
		j->access.at[j->access.len++].access =
		    (struct registry_access){ .device = j->device.id, .rights = g->rights };
	}
}

static void
on_join(struct link *l, const struct session_event *ev)
{
	struct server *s = l->server;
	const struct msg_join *m = &ev->message.join;
	struct registry_invite *in = NULL;
	struct error e;

	if (check_join(l, m, &in, &e) != OK) {
		log_warn("join from %s refused: %s", conn_peer_address(peer_conn(l->peer)), e.text);
		answer_error(l, ev->stream, &e);
		return;
	}
	struct join_change *j = mem_new(struct join_change);
	j->change = (struct change){ .store = store_join, .apply = apply_join };
	j->link = l->number;
	j->stream = ev->stream;
	memcpy(j->invite, in->id, sizeof j->invite);
	j->member = BUF(STATEMENT_MAX);
	j->device = (struct registry_device){
		.id = l->device, .joined_ms = server_now_ms(), .seen_ms = server_now_ms()
	};
	snprintf(j->device.name, sizeof j->device.name, "%.*s", (int)m->name.len, (const char *)m->name.at);
	if (in->site[0] != 0)
		snprintf(j->device.site, sizeof j->device.site, "%s", in->site);
	else
		snprintf(j->device.site, sizeof j->device.site, "%.*s", (int)m->site.len, (const char *)m->site.at);
	j->statement = (struct statement){ .kind = STATEMENT_MEMBER, .device = l->device };
	snprintf(j->statement.name, sizeof j->statement.name, "%s", j->device.name);
	snprintf(j->statement.site, sizeof j->statement.site, "%s", j->device.site);
	if (server_sign(s, &j->statement, &j->member, &e) != OK) {
		answer_error(l, ev->stream, &e);
		buf_clear(&j->member);
		free(j);
		return;
	}
	in->uses--;
	j->after = *in;
	add_invited_access(s, j, in);
	server_change(s, &j->change);
}

/* -- LEAVE: the device ends its own membership -- */

struct leave_change {
	struct change change;
	uint64_t link;
	uint32_t stream;
	struct registry_device device;
	struct statement statement;
	struct buf revoke;
};

static enum err
store_leave(struct change *c, struct server *s, struct error *e)
{
	struct leave_change *v = (struct leave_change *)c;
	enum err r = registry_store_statement(s->registry->db, buf_bytes(&v->revoke), &v->statement, e);

	return r == OK ? registry_store_device(s->registry->db, &v->device, e) : r;
}

static void
apply_leave(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct leave_change *v = (struct leave_change *)c;
	struct link *l = server_peer_link(s, v->link);

	if (r == OK) {
		registry_add_device(s->registry, &v->device);
		log_info("device %s left", v->device.name);
		server_peer_push_all(s, buf_bytes(&v->revoke));
	}
	if (l != NULL && r == OK) {
		session_answer_ok(peer_session(l->peer), v->stream);
		peer_flush(l->peer);
		l->member = false;
	} else if (l != NULL) {
		answer_error(l, v->stream, e);
	}
	buf_clear(&v->revoke);
	free(v);
}

static void
on_leave(struct link *l, const struct session_event *ev)
{
	struct server *s = l->server;
	struct leave_change *v = mem_new(struct leave_change);
	struct error e;

	v->change = (struct change){ .store = store_leave, .apply = apply_leave };
	v->link = l->number;
	v->stream = ev->stream;
	v->device = *registry_device(s->registry, &l->device);
	v->device.ended = true;
	v->revoke = BUF(STATEMENT_MAX);
	v->statement = (struct statement){
		.kind = STATEMENT_REVOKE, .device = l->device, .epoch = authority_epoch(s->registry->authority) + 1
	};
	if (server_sign(s, &v->statement, &v->revoke, &e) != OK) {
		answer_error(l, ev->stream, &e);
		buf_clear(&v->revoke);
		free(v);
		return;
	}
	server_change(s, &v->change);
}

/* -- CREATE_SHARE -- */

struct share_change {
	struct change change;
	uint64_t link;
	uint32_t stream;
	struct statement statement;
	struct buf bytes;
	struct hash_id id;
	struct registry_access access;
	int64_t num;
};

static enum err
store_share(struct change *c, struct server *s, struct error *e)
{
	struct share_change *h = (struct share_change *)c;
	struct db *db = s->registry->db;
	enum err r = registry_store_statement(db, buf_bytes(&h->bytes), &h->statement, e);

	if (r == OK)
		r = registry_store_share(db, &h->id, h->statement.name, buf_bytes(&h->bytes), &h->num, e);
	if (r == OK)
		r = registry_store_access(db, h->num, &h->access, e);
	return r;
}

/* The answer to CREATE_SHARE and RESOLVE. */
static void
send_snapshot(struct server *s, struct link *l, uint32_t stream, const struct registry_share *sh,
    const struct registry_snapshot *sn, struct bytes commit, struct bytes head)
{
	auto_buf struct buf grant = BUF(STATEMENT_MAX);
	struct message m = { .type = FRAME_SNAPSHOT, .flags = FRAME_END, .stream = stream };
	struct error e;

	uint32_t rights = rules_rights(s->registry, sh, &l->device);
	if (server_peer_grant(s, sh, &l->device, rights, &grant, &e) != OK) {
		answer_error(l, stream, &e);
		return;
	}
	remember_share(l, sh->num);
	m.snapshot = (struct msg_snapshot){
		.share_statement = buf_bytes(&sh->statement),
		.grant = buf_bytes(&grant),
		.head = head,
		.commit = commit,
		.state = (uint8_t)(sn != NULL ? sn->state : SNAPSHOT_NONE),
		.number = sn != NULL ? sn->number : 0,
		.unit_size = sn != NULL ? sn->unit_size : 0,
	};
	send_or_log(l, &m);
}

static void
apply_share(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct share_change *h = (struct share_change *)c;
	struct link *l = server_peer_link(s, h->link);
	const struct bytes none = { NULL, 0 };

	if (r == OK) {
		struct registry_share *sh = registry_add_share(s->registry, h->num, buf_bytes(&h->bytes), &h->statement);
		registry_set_access(sh, &h->access);
		log_info("share %s created", sh->name);
		if (l != NULL)
			send_snapshot(s, l, h->stream, sh, NULL, none, none);
	} else if (l != NULL) {
		answer_error(l, h->stream, e);
	}
	buf_clear(&h->bytes);
	free(h);
}

static void
on_create_share(struct link *l, const struct session_event *ev)
{
	struct server *s = l->server;
	struct bytes name = ev->message.create_share.name;
	struct share_change *h = mem_new(struct share_change);
	struct error e;
	enum err r = OK;

	h->change = (struct change){ .store = store_share, .apply = apply_share };
	h->link = l->number;
	h->stream = ev->stream;
	h->bytes = BUF(STATEMENT_MAX);
	h->access = (struct registry_access){ .device = l->device, .rights = RIGHT_READ | RIGHT_WRITE };
	h->statement = (struct statement){ .kind = STATEMENT_SHARE, .policy = POLICY_CENTRAL };
	snprintf(h->statement.name, sizeof h->statement.name, "%.*s", (int)name.len, (const char *)name.at);
	random_fill(h->statement.nonce, sizeof h->statement.nonce);
	/* To whoever may not see the other share of this name, all that is told is that the name is taken. */
	if (registry_share_named(s->registry, name) != NULL)
		r = fail(&e, ERR_EXISTS, "the name %s is taken; choose another, or ask for write access",
		    h->statement.name);
	if (r == OK)
		r = server_sign(s, &h->statement, &h->bytes, &e);
	if (r != OK) {
		answer_error(l, ev->stream, &e);
		buf_clear(&h->bytes);
		free(h);
		return;
	}
	h->id = statement_share_id(buf_bytes(&h->bytes));
	server_change(s, &h->change);
}

/* -- RESOLVE -- */

struct resolve_job {
	struct server_job job;
	uint64_t link;
	uint32_t stream;
	int64_t share;
	struct hash_id snapshot, head_statement;
	struct buf commit, head;
};

static enum err
work_resolve(struct server_job *job, struct server *s, struct error *e)
{
	struct resolve_job *j = (struct resolve_job *)job;
	enum err r = chunk_store_get_node(s->store, &j->snapshot, &j->commit, e);

	if (r == OK && !hash_id_is_none(&j->head_statement))
		r = registry_store_statement_get(s->reader, &j->head_statement, &j->head, e);
	return r;
}

static void
done_resolve(struct server_job *job, struct server *s, enum err r, const struct error *e)
{
	struct resolve_job *j = (struct resolve_job *)job;
	struct link *l = server_peer_link(s, j->link);
	struct registry_share *sh = registry_share_num(s->registry, j->share);
	struct registry_snapshot *sn = sh != NULL ? registry_snapshot(sh, &j->snapshot) : NULL;
	struct error gone;

	if (l != NULL && r == OK && sn != NULL) {
		send_snapshot(s, l, j->stream, sh, sn, buf_bytes(&j->commit), buf_bytes(&j->head));
	} else if (l != NULL && r == OK) {
		(void)fail(&gone, ERR_NOTFOUND, "the snapshot has just been removed");
		answer_error(l, j->stream, &gone);
	} else if (l != NULL) {
		answer_error(l, j->stream, e);
	}
	buf_clear(&j->commit);
	buf_clear(&j->head);
	free(j);
}

static void
on_resolve(struct link *l, const struct session_event *ev)
{
	struct server *s = l->server;
	const struct msg_resolve *m = &ev->message.resolve;
	const struct bytes none = { NULL, 0 };
	struct registry_share *sh = NULL;
	struct registry_snapshot *sn = NULL;
	struct error e;

	enum err r = rules_share(s->registry, m->share, &l->device, m->for_write ? RIGHT_WRITE : RIGHT_READ, &sh, &e);
	if (r == OK && m->for_write)
		sn = sh->head;
	else if (r == OK)
		r = registry_select(sh, m->selector, &sn, &e);
	if (r != OK) {
		answer_error(l, ev->stream, &e);
		return;
	}
	if (sn == NULL) { /* to publish into an empty share */
		send_snapshot(s, l, ev->stream, sh, NULL, none, none);
		return;
	}
	struct resolve_job *j = mem_new(struct resolve_job);
	*j = (struct resolve_job){
		.job = { .work = work_resolve, .done = done_resolve },
		.link = l->number,
		.stream = ev->stream,
		.share = sh->num,
		.snapshot = sn->id,
		.head_statement = sn->head_statement,
		.commit = BUF(COMMIT_MAX),
		.head = BUF(STATEMENT_MAX),
	};
	server_job(s, &j->job);
}

/* -- ANNOUNCE -- */

struct announce_job {
	struct server_job job;
	struct change change;
	uint64_t link;
	uint32_t stream;
	struct device_id device;
	struct hash_id share_id, parent;
	int64_t share;
	struct buf bytes;
	struct commit commit;
	uint64_t head_seq;
	struct registry_snapshot snapshot;
};

static void
announce_free(struct announce_job *j)
{
	commit_clear(&j->commit);
	buf_clear(&j->bytes);
	free(j);
}

static void
announce_fail(struct server *s, struct announce_job *j, const struct error *e)
{
	struct link *l = server_peer_link(s, j->link);

	if (l != NULL)
		answer_error(l, j->stream, e);
	announce_free(j);
}

/* The commit's own proof, and what its parent says of the author's sequence. */
static enum err
work_announce(struct server_job *job, struct server *s, struct error *e)
{
	struct announce_job *j = (struct announce_job *)job;
	auto_buf struct buf bytes = BUF(COMMIT_MAX);
	struct commit parent = { 0 };

	enum err r = commit_verify(buf_bytes(&j->bytes), &j->commit, e);
	if (r != OK || hash_id_is_none(&j->parent))
		return r;
	r = chunk_store_get_node(s->store, &j->parent, &bytes, e);
	if (r == OK)
		r = commit_decode(buf_bytes(&bytes), &parent, e);
	if (r == OK) {
		j->head_seq = version_vector_get(&parent.vv, &j->device);
		if (!version_vector_covers(&j->commit.vv, &parent.vv))
			r = fail(e, ERR_PROTO, "the snapshot's version vector does not cover its parent's");
	}
	commit_clear(&parent);
	return r;
}

static enum err
store_announce(struct change *c, struct server *s, struct error *e)
{
	struct announce_job *j = container_of(c, struct announce_job, change);
	enum err r = chunk_store_put_node(s->store, j->commit.id.alg, HASH_COMMIT, buf_bytes(&j->bytes), NULL, e);

	if (r == OK)
		r = chunk_store_commit(s->store, e);
	if (r == OK)
		r = registry_store_share_node(s->registry->db, j->share, &j->commit.id, e);
	return r == OK ? registry_store_snapshot(s->registry->db, j->share, &j->snapshot, e) : r;
}

static void
apply_announce(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct announce_job *j = container_of(c, struct announce_job, change);
	struct registry_share *sh = registry_share_num(s->registry, j->share);
	struct link *l = server_peer_link(s, j->link);

	if (r != OK || sh == NULL) {
		announce_fail(s, j, e);
		return;
	}
	struct registry_snapshot *sn = registry_add_snapshot(sh, &j->snapshot);
	if (l != NULL) {
		session_answer_ok(peer_session(l->peer), j->stream);
		peer_flush(l->peer);
	}
	server_intake(s, sh, sn);
	announce_free(j);
}

/* An older announcement of the same author that is not complete is replaced by this one. */
static void
replace_older(struct server *s, struct registry_share *sh, const struct registry_snapshot *by)
{
	ARRAY(struct hash_id) old = { 0 };

	array_each (sn, &sh->snapshots) {
		if ((*sn)->state == SNAPSHOT_ANNOUNCED && device_id_equal(&(*sn)->author, &by->author))
			array_push(&old, (*sn)->id);
	}
	array_each (id, &old)
		server_intake_withdraw(s, id, "replaced by a newer one from the same device");
	array_clear(&old);
}

static void
done_announce(struct server_job *job, struct server *s, enum err r, const struct error *e)
{
	struct announce_job *j = (struct announce_job *)job;
	struct registry_share *sh = registry_share_num(s->registry, j->share);
	struct error own;

	if (r == OK && sh == NULL)
		r = fail(&own, ERR_NOTFOUND, "the share has just been removed");
	else if (r == OK)
		r = rules_announce(s->registry, sh, &j->commit, &j->device, j->head_seq, &own);
	else
		own = *e;
	if (r != OK) {
		announce_fail(s, j, &own);
		return;
	}
	const struct commit *c = &j->commit;
	j->snapshot = (struct registry_snapshot){
		.id = c->id,
		.content = c->content,
		.state = SNAPSHOT_ANNOUNCED,
		.entries = c->entries,
		.bytes = c->bytes,
		.chunks = c->chunks,
		.chunk_bytes = c->chunk_bytes,
		.announced_ms = server_now_ms(),
		.unit_size = unit_map_size(c->chunk_bytes, registry_readers(s->registry, sh)),
		.author = j->device,
	};
	snprintf(j->snapshot.label, sizeof j->snapshot.label, "%s", c->label);
	replace_older(s, sh, &j->snapshot);
	j->change = (struct change){ .store = store_announce, .apply = apply_announce };
	server_change(s, &j->change);
}

static void
on_announce(struct link *l, const struct session_event *ev)
{
	struct server *s = l->server;
	const struct msg_announce *m = &ev->message.announce;
	struct registry_share *sh = NULL;
	struct announce_job *j = mem_new(struct announce_job);
	struct error e;

	j->job = (struct server_job){ .work = work_announce, .done = done_announce };
	j->link = l->number;
	j->stream = ev->stream;
	j->device = l->device;
	j->bytes = BUF(COMMIT_MAX);
	enum err r = rules_share_id(s->registry, &m->share, &l->device, RIGHT_WRITE, &sh, &e);
	if (r == OK && !buf_add_bytes(&j->bytes, m->commit))
		r = fail(&e, ERR_LIMIT, "a commit of %zu bytes", m->commit.len);
	if (r == OK)
		r = commit_decode(buf_bytes(&j->bytes), &j->commit, &e);
	if (r != OK) {
		announce_fail(s, j, &e);
		return;
	}
	j->share = sh->num;
	struct registry_snapshot *known = registry_snapshot(sh, &j->commit.id);
	if (known != NULL && known->state != SNAPSHOT_WITHDRAWN) {
		/* Announced again, after a broken connection: go on, or say that it is done. */
		session_answer_ok(peer_session(l->peer), ev->stream);
		if (known->state == SNAPSHOT_HEAD)
			server_peer_progress(s, sh, known, &l->device);
		else
			server_intake(s, sh, known);
		peer_flush(l->peer);
		announce_free(j);
		return;
	}
	if (j->commit.n_parents == 1)
		j->parent = sh->head != NULL && hash_id_equal(&j->commit.parents[0], &sh->head->id)
		    ? sh->head->id
		    : (struct hash_id){ 0 };
	server_job(s, &j->job);
}

/* -- QUERY -- */

static void
row_of_share(const struct server *s, const struct link *l, const struct registry_share *sh, struct buf *raw, uint32_t *n)
{
	uint32_t rights = rules_rights(s->registry, sh, &l->device);
	auto_buf struct buf row = BUF(4096);

	if (rights == 0)
		return;
	struct row_share x = {
		.share = sh->id, .name = bytes_str(sh->name), .rights = rights, .policy = POLICY_CENTRAL
	};
	if (sh->head != NULL) {
		x.number = sh->head->number;
		x.entries = sh->head->entries;
		x.bytes = sh->head->bytes;
		x.time_ms = (uint64_t)sh->head->head_ms;
	}
	row_share_encode(&x, &row);
	message_list_add(raw, buf_bytes(&row));
	(*n)++;
}

static void
row_of_snapshot(const struct server *s, const struct registry_snapshot *sn, struct buf *raw, uint32_t *n)
{
	struct registry_device *author = registry_device(s->registry, &sn->author);
	auto_buf struct buf row = BUF(4096);

	row_snapshot_encode(&(struct row_snapshot){
		.id = sn->id,
		.number = sn->number,
		.state = (uint8_t)sn->state,
		.entries = sn->entries,
		.bytes = sn->bytes,
		.time_ms = (uint64_t)(sn->head_ms != 0 ? sn->head_ms : sn->announced_ms),
		.label = bytes_str(sn->label),
		.author_name = bytes_str(author != NULL ? author->name : ""),
		.author = sn->author,
	}, &row);
	message_list_add(raw, buf_bytes(&row));
	(*n)++;
}

static void
row_of_device(const struct server *s, const struct registry_device *d, struct buf *raw, uint32_t *n)
{
	auto_buf struct buf row = BUF(4096);

	row_device_encode(&(struct row_device){
		.id = d->id,
		.name = bytes_str(d->name),
		.site = bytes_str(d->site),
		.online = d->connections > 0,
		.is_server = device_id_equal(&d->id, device_key_id(s->home->key)),
		.seen_ms = (uint64_t)d->seen_ms,
		.joined_ms = (uint64_t)d->joined_ms,
		.address = bytes_str(d->address),
		.software = bytes_str(d->software),
	}, &row);
	message_list_add(raw, buf_bytes(&row));
	(*n)++;
}

/* Rows FROM .. of what is asked, at most LIMIT_ROWS; gives the position after the last one, 0 when that was all.  Positions
 * count table slots: a table that grows in between may show a row twice or miss one, as any listing of a living thing. */
static uint64_t
add_rows(struct server *s, struct link *l, uint8_t kind, const struct registry_share *sh, uint64_t from, struct buf *raw,
    uint32_t *n)
{
	const struct map *m = kind == QUERY_SHARES ? &s->registry->names : &s->registry->devices;
	uint64_t end = kind == QUERY_SNAPSHOTS ? sh->snapshots.len : m->room;

	for (uint64_t i = from; i < end; i++) {
		if (*n == LIMIT_ROWS || raw->len > LIMIT_FRAME_MESSAGE / 2)
			return i;
		if (kind == QUERY_SNAPSHOTS) {
			row_of_snapshot(s, sh->snapshots.at[i], raw, n);
			continue;
		}
		const struct map_slot *slot = &m->slots[i];
		if (slot->key == NULL)
			continue;
		if (kind == QUERY_SHARES)
			row_of_share(s, l, slot->ptr, raw, n);
		else if (!((struct registry_device *)slot->ptr)->ended)
			row_of_device(s, slot->ptr, raw, n);
	}
	return 0;
}

static void
on_query(struct link *l, const struct session_event *ev)
{
	struct server *s = l->server;
	const struct msg_query *q = &ev->message.query;
	struct registry_share *sh = NULL;
	auto_buf struct buf raw = BUF(LIMIT_FRAME_MESSAGE);
	struct message m = { .type = FRAME_ROWS, .flags = FRAME_END, .stream = ev->stream };
	struct reader rd = reader_over(q->after);
	uint64_t from = q->after.len > 0 ? reader_u64(&rd) : 0;
	uint32_t n = 0;
	struct error e;
	enum err r = OK;

	if (!reader_done(&rd))
		r = fail(&e, ERR_PROTO, "a cursor that was not given");
	if (r == OK && q->kind == QUERY_SNAPSHOTS)
		r = rules_share(s->registry, q->share, &l->device, RIGHT_READ, &sh, &e);
	if (r != OK) {
		answer_error(l, ev->stream, &e);
		return;
	}
	uint64_t next = add_rows(s, l, q->kind, sh, from, &raw, &n);
	auto_buf struct buf cursor = BUF(8);
	if (next != 0)
		buf_u64(&cursor, next);
	m.rows = (struct msg_rows){ .kind = q->kind, .rows = { buf_bytes(&raw), n }, .next = buf_bytes(&cursor) };
	send_or_log(l, &m);
}

/* -- events -- */

static void
on_report(struct link *l, const struct msg_report *m)
{
	struct registry_share *sh = NULL;
	struct registry_snapshot *sn;

	if (rules_share_id(l->server->registry, &m->share, &l->device, RIGHT_READ, &sh, NULL) != OK)
		return;
	sn = registry_snapshot(sh, &m->snapshot);
	if (sn == NULL)
		return;
	log_warn("%s: a member reports wrong bytes in unit %u of snapshot %llu", sh->name, m->unit,
	    (unsigned long long)sn->number);
	server_gc_verify(l->server, sh, NULL);
}

static void
on_request(struct link *l, const struct session_event *ev)
{
	struct error e;

	switch (ev->message.type) {
	case FRAME_JOIN:
		on_join(l, ev);
		break;
	case FRAME_LEAVE:
		on_leave(l, ev);
		break;
	case FRAME_CREATE_SHARE:
		on_create_share(l, ev);
		break;
	case FRAME_RESOLVE:
		on_resolve(l, ev);
		break;
	case FRAME_ANNOUNCE:
		on_announce(l, ev);
		break;
	case FRAME_QUERY:
		on_query(l, ev);
		break;
	case FRAME_GET_NODES:
	case FRAME_GET_UNITS:
		responder_request(l->responder, ev);
		break;
	default:
		(void)fail(&e, ERR_PROTO, "this request is not for a server");
		answer_error(l, ev->stream, &e);
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
on_closed(void *owner, struct peer *p, const struct error *why)
{
	struct link *l = owner;
	struct server *s = l->server;
	struct registry_device *d = registry_device(s->registry, &l->device);
	(void)p;

	if (why != NULL)
		log_debug("connection %llu closed: %s", (unsigned long long)l->number, why->text);
	server_intake_link_gone(s, l);
	if (l->responder != NULL) {
		responder_close(l->responder);
		if (d != NULL && d->connections > 0)
			d->connections--;
	}
	if (l->counted_guest)
		s->guests--;
	if (d != NULL)
		d->seen_ms = server_now_ms();
	map_del(&s->links, link_key(&l->number));
	array_clear(&l->shares);
	free(l);
	server_closed_part(s);
}
