/*
 * What members are told without having asked now: statements, those that they have missed, how far
 * snapshots are, and grants before they run out.
 */
#include "base/log.h"
#include "server/server_internal.h"

/* -- statements -- */

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

void
server_peer_push_revokes(struct link *l, uint64_t after)
{
	struct send_revokes x = { .link = l, .after = after, .raw = BUF(LIMIT_FRAME_MESSAGE) };

	authority_each(l->server->registry->authority, STATEMENT_REVOKE, add_revoke, &x);
	send_batch(&x);
	buf_clear(&x.raw);
}

/* After a recovery it shows what the key before this one signed. */
void
server_peer_push_member(struct link *l, struct bytes shown)
{
	struct bytes member = authority_member(l->server->registry->authority, &l->device);

	if (member.len > 0 && !bytes_equal(member, shown))
		server_peer_push(l, member);
}

/* -- progress -- */

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
