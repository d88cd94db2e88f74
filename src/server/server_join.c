/*
 * JOIN: an invite, proved over this TLS channel, makes a device a member. LEAVE: it ends its own
 * membership.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/server_internal.h"

/* -- JOIN -- */

struct join_change {
	struct change change;
	uint64_t link;
	uint32_t stream;
	uint8_t invite[INVITE_ID_BYTES];
	struct registry_invite after; /* as it is to be stored: the registry's may go meanwhile */
	struct registry_device device;
	struct statement statement;
	struct buf member;
	ARRAY(struct {
		int64_t share;
		struct registry_access access;
	})
	access;
};

static void
join_free(struct join_change *j)
{
	mem_wipe(j->after.secret, sizeof j->after.secret);
	array_clear(&j->after.grants);
	array_clear(&j->access);
	buf_clear(&j->member);
	free(j);
}

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

struct joined_list {
	struct buf *raw;
	uint32_t n;
};

static void
add_statement(void *ctx, struct bytes bytes, const struct statement *st)
{
	struct joined_list *l = ctx;
	(void)st;

	message_list_add(l->raw, bytes);
	l->n++;
}

/* Everything the new member holds: who the authority is, that it is a member, and the shares it was
 * invited to. */
static void
send_joined(struct server *s, struct link *l, uint32_t stream, struct bytes member)
{
	auto_buf struct buf raw = BUF(LIMIT_FRAME_MESSAGE);
	struct message m = { .type = FRAME_JOINED, .flags = FRAME_END, .stream = stream };
	struct joined_list list = { .raw = &raw };
	ARRAY(struct registry_share *) given = { 0 };

	authority_each(s->registry->authority, STATEMENT_AUTHORITY, add_statement, &list);
	authority_each(s->registry->authority, STATEMENT_SUCCESSOR, add_statement, &list);
	add_statement(&list, member, NULL);
	uint32_t n = list.n;
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
		array_push(&given, sh);
		n += 2;
	}
	m.joined = (struct msg_joined){ .server_name = bytes_str(s->name),
		.statements = { buf_bytes(&raw), n } };
	server_peer_answer(l, &m);
	array_each (sh, &given) /* only now is it one that may be told anything */
		server_peer_remember(l, *sh);
	array_clear(&given);
}

static void
apply_join(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct join_change *j = (struct join_change *)c;
	struct link *l = server_peer_link(s, j->link);
	struct registry_invite *in =
	    map_ptr(&s->registry->invites, BYTES(j->invite, INVITE_ID_BYTES));

	if (r != OK) {
		if (in != NULL)
			in->uses++; /* it was reserved */
		if (l != NULL)
			server_peer_answer_error(l, j->stream, e);
	} else {
		if (in != NULL && j->after.uses == 0)
			registry_drop_invite(
			    s->registry, j->invite); /* of all who use it, stored last */
		registry_add_device(s->registry, &j->device);
		array_each (a, &j->access) {
			struct registry_share *sh = registry_share_num(s->registry, a->share);
			if (sh != NULL)
				registry_set_access(sh, &a->access);
		}
		log_info("device %s joined", j->device.name);
		if (l != NULL) {
			server_peer_admit(l);
			send_joined(s, l, j->stream, buf_bytes(&j->member));
		}
	}
	join_free(j);
}

static enum err
check_join(struct link *l, const struct msg_join *m, struct registry_invite **ret, struct error *e)
{
	struct server *s = l->server;
	struct registry_invite *in =
	    map_ptr(&s->registry->invites, BYTES(m->invite, INVITE_ID_BYTES));
	uint8_t exporter[32], proof[32];
	enum err r = rules_invite(in, server_now_s(), e);

	if (r != OK)
		return r;
	r = tls_export(conn_tls_mut(peer_conn(l->peer)), "weft join", exporter, e);
	if (r != OK)
		return r;
	invite_proof(in->secret, exporter, in->id, &l->device, proof);
	if (!hash_secret_equal(BYTES_OF(proof), BYTES_OF(m->proof)))
		return fail(
		    e, ERR_DENIED, "this invite does not fit: copy it again, or ask for a new one");
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

/* A member whose invite is used up: by itself, when the answer did not reach it. It is told
 * again. */
static bool
has_joined(struct link *l, const struct msg_join *m)
{
	return l->member &&
	       map_ptr(&l->server->registry->invites, BYTES(m->invite, INVITE_ID_BYTES)) == NULL;
}

void
server_join(struct link *l, const struct session_event *ev)
{
	struct server *s = l->server;
	const struct msg_join *m = &ev->message.join;
	struct registry_invite *in = NULL;
	struct error e;

	if (has_joined(l, m)) {
		send_joined(s, l, ev->stream, authority_member(s->registry->authority, &l->device));
		return;
	}
	if (check_join(l, m, &in, &e) != OK) {
		log_limit_warn(&s->refused_joins, loop_now_ms(s->loop), "join from %s refused: %s",
		    conn_peer_address(peer_conn(l->peer)), e.text);
		server_peer_answer_error(l, ev->stream, &e);
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
	snprintf(j->device.name, sizeof j->device.name, "%.*s", (int)m->name.len,
	    (const char *)m->name.at);
	snprintf(j->device.assigned, sizeof j->device.assigned, "%s", in->site);
	snprintf(j->device.said, sizeof j->device.said, "%.*s", (int)m->site.len,
	    (const char *)m->site.at);
	snprintf(j->device.address, sizeof j->device.address, "%s",
	    conn_peer_address(peer_conn(l->peer)));
	server_site_label(s, &j->device);
	j->statement = (struct statement){ .kind = STATEMENT_MEMBER, .device = l->device };
	snprintf(j->statement.name, sizeof j->statement.name, "%s", j->device.name);
	snprintf(j->statement.site, sizeof j->statement.site, "%s", j->device.site);
	if (server_sign(s, &j->statement, &j->member, &e) != OK) {
		server_peer_answer_error(l, ev->stream, &e);
		join_free(j);
		return;
	}
	in->uses--;
	j->after = *in;
	memset(&j->after.grants, 0, sizeof j->after.grants);
	array_each (g, &in->grants)
		array_push(&j->after.grants, *g);
	add_invited_access(s, j, in);
	server_change(s, &j->change);
}

/* -- the end of a membership: by the device itself (LEAVE), or by the administrator -- */

struct leave_change {
	struct change change;
	uint64_t link; /* who asked; 0: the administrator */
	uint32_t stream;
	struct control_call *call; /* the administrator's */
	struct registry_device device;
	struct statement statement;
	struct buf revoke;
};

static enum err
store_leave(struct change *c, struct server *s, struct error *e)
{
	struct leave_change *v = (struct leave_change *)c;
	struct db *db = s->registry->db;
	enum err r = registry_store_statement(db, buf_bytes(&v->revoke), &v->statement, e);

	if (r == OK)
		r = registry_store_device(db, &v->device, e);
	return r == OK ? registry_store_access_end(db, &v->device.id, e) : r;
}

/* Everybody is told, the device too; then its connections end, that of a LEAVE with its answer. */
static void
end_membership(struct server *s, struct leave_change *v, struct link *asker)
{
	registry_add_device(s->registry, &v->device);
	registry_end_access(s->registry, &v->device.id);
	server_intake_judge(s);
	server_peer_push_all(s, buf_bytes(&v->revoke));
	if (asker != NULL) {
		session_answer_ok(peer_session(asker->peer), v->stream);
		asker->member = false;
		server_swarm_link_gone(asker);
		peer_close(asker->peer, NULL);
	}
	server_peer_drop(s, &v->device.id,
	    v->call != NULL ? "the server's administrator ended this device's membership: join "
			      "again with a new invite"
			    : "this device has left");
	log_info(v->call != NULL ? "membership of device %s ended by the administrator"
				 : "device %s left",
	    v->device.name);
}

static void
apply_leave(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct leave_change *v = (struct leave_change *)c;
	struct link *l = server_peer_link(s, v->link);

	if (r == OK)
		end_membership(s, v, l);
	else if (l != NULL)
		server_peer_answer_error(l, v->stream, e);
	if (v->call != NULL)
		control_call_done(v->call, r == OK ? NULL : e, -1);
	buf_clear(&v->revoke);
	free(v);
}

static enum err
start_leave(struct server *s, const struct registry_device *d, const struct leave_change *from,
    struct error *e)
{
	struct leave_change *v = mem_dup(from, sizeof *from);

	v->change = (struct change){ .store = store_leave, .apply = apply_leave };
	v->device = *d;
	v->device.ended = true;
	v->revoke = BUF(STATEMENT_MAX);
	v->statement = (struct statement){ .kind = STATEMENT_REVOKE,
		.device = d->id,
		.epoch = authority_epoch(s->registry->authority) + 1 };
	enum err r = server_sign(s, &v->statement, &v->revoke, e);
	if (r == OK) {
		server_change(s, &v->change);
		return OK;
	}
	buf_clear(&v->revoke);
	free(v);
	return r;
}

void
server_join_leave(struct link *l, const struct session_event *ev)
{
	const struct registry_device *d = registry_device(l->server->registry, &l->device);
	const struct leave_change v = { .link = l->number, .stream = ev->stream };
	struct error e;

	/* NULL: it has left on another connection. */
	enum err r = d != NULL ? start_leave(l->server, d, &v, &e)
			       : fail(&e, ERR_DENIED, "this device is no member");
	if (r != OK)
		server_peer_answer_error(l, ev->stream, &e);
}

enum err
server_join_end(
    struct server *s, const struct registry_device *d, struct control_call *call, struct error *e)
{
	const struct leave_change v = { .call = call };

	if (device_id_equal(&d->id, device_key_id(s->home->key)))
		return fail(e, ERR_USAGE, "a server cannot leave itself");
	return start_leave(s, d, &v, e);
}
