/*
 * CREATE_SHARE and RESOLVE: a share by name, and which snapshot of it.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "crypto/random.h"
#include "server/server_internal.h"

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
		r = registry_store_share(
		    db, &h->id, h->statement.name, buf_bytes(&h->bytes), &h->num, e);
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

	struct registry_share *readable = NULL;
	uint32_t rights = rules_rights(s->registry, sh, &l->device);

	/* Access may have ended while the answer was read from the disk. */
	if (rules_share_id(s->registry, &sh->id, &l->device, RIGHT_READ, &readable, &e) != OK ||
	    server_peer_grant(s, sh, &l->device, rights, &grant, &e) != OK) {
		server_peer_answer_error(l, stream, &e);
		return;
	}
	server_peer_remember(l, sh);
	server_policy_push(l, sh);
	m.snapshot = (struct msg_snapshot){
		.share_statement = buf_bytes(&sh->statement),
		.grant = buf_bytes(&grant),
		.head = head,
		.commit = commit,
		.state = (uint8_t)(sn != NULL ? sn->state : SNAPSHOT_NONE),
		.number = sn != NULL ? sn->number : 0,
		.unit_size = sn != NULL ? sn->unit_size : 0,
	};
	server_peer_answer(l, &m);
}

static void
apply_share(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct share_change *h = (struct share_change *)c;
	struct link *l = server_peer_link(s, h->link);
	const struct bytes none = { NULL, 0 };

	if (r == OK) {
		struct registry_share *sh =
		    registry_add_share(s->registry, h->num, buf_bytes(&h->bytes), &h->statement);
		registry_set_access(sh, &h->access);
		log_info("share %s created", sh->name);
		if (l != NULL)
			send_snapshot(s, l, h->stream, sh, NULL, none, none);
	} else if (l != NULL) {
		server_peer_answer_error(l, h->stream, e);
	}
	buf_clear(&h->bytes);
	free(h);
}

void
server_share_create(struct link *l, const struct session_event *ev)
{
	struct server *s = l->server;
	struct bytes name = ev->message.create_share.name;
	uint8_t policy = ev->message.create_share.policy;
	struct share_change *h = mem_new(struct share_change);
	struct error e;
	enum err r = rules_create(s->registry, &l->device, &e);

	h->change = (struct change){ .store = store_share, .apply = apply_share };
	h->link = l->number;
	h->stream = ev->stream;
	h->bytes = BUF(STATEMENT_MAX);
	h->access =
	    (struct registry_access){ .device = l->device, .rights = RIGHT_READ | RIGHT_WRITE };
	h->statement = (struct statement){ .kind = STATEMENT_SHARE,
		.policy = policy != 0 ? policy : POLICY_HYBRID };
	snprintf(h->statement.name, sizeof h->statement.name, "%.*s", (int)name.len,
	    (const char *)name.at);
	random_fill(h->statement.nonce, sizeof h->statement.nonce);
	/* To whoever may not see the other share of this name, all that is told is that the name is
	 * taken. */
	if (r == OK && registry_share_named(s->registry, name) != NULL)
		r = fail(&e, ERR_EXISTS,
		    "the name %s is taken; choose another, or ask for write access",
		    h->statement.name);
	if (r == OK && h->statement.policy >= POLICY_SERVERLESS)
		r = fail(&e, ERR_USAGE, "a server's shares are central or hybrid");
	if (r == OK)
		r = server_sign(s, &h->statement, &h->bytes, &e);
	if (r != OK) {
		server_peer_answer_error(l, ev->stream, &e);
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
		server_peer_answer_error(l, j->stream, &gone);
	} else if (l != NULL && sn != NULL && (r == ERR_CORRUPT || r == ERR_NOTFOUND)) {
		server_intake_damaged(s, &sh->id, &sn->id, e);
		(void)fail(&gone, ERR_AGAIN,
		    "%s is damaged in the server's store: waiting until it has it again from its "
		    "publisher",
		    sh->name);
		server_peer_answer_error(l, j->stream, &gone);
	} else if (l != NULL) {
		server_peer_answer_error(l, j->stream, e);
	}
	buf_clear(&j->commit);
	buf_clear(&j->head);
	free(j);
}

/* What is only announced can be had once its manifest is here, and where members may answer for its
 * bytes; else it is as if there were none, or worth waiting for. */
static enum err
check_announced(struct server *s, const struct registry_share *sh,
    const struct registry_snapshot *sn, struct error *e)
{
	if (sn->state != SNAPSHOT_ANNOUNCED)
		return OK;
	if (!rules_is_hybrid(s->registry, sh) && sh->head == NULL)
		return fail(e, ERR_NOTFOUND, "%s has no complete snapshot yet", sh->name);
	if (!rules_is_hybrid(s->registry, sh) || !server_intake_has_manifest(s, &sn->id))
		return fail(e, ERR_AGAIN,
		    "%s: this snapshot has just been announced; waiting for it", sh->name);
	return OK;
}

void
server_share_resolve(struct link *l, const struct session_event *ev)
{
	struct server *s = l->server;
	const struct msg_resolve *m = &ev->message.resolve;
	const struct bytes none = { NULL, 0 };
	struct registry_share *sh = NULL;
	struct registry_snapshot *sn = NULL;
	struct error e;

	enum err r = rules_share(
	    s->registry, m->share, &l->device, m->for_write ? RIGHT_WRITE : RIGHT_READ, &sh, &e);
	if (r == OK) /* also when there is nothing yet: it will hear when there is */
		server_peer_remember(l, sh);
	if (r == OK && m->for_write)
		sn = sh->head;
	else if (r == OK)
		r = registry_select(sh, m->selector, &sn, &e);
	if (r == OK && sn != NULL)
		r = check_announced(s, sh, sn, &e);
	if (r != OK) {
		server_peer_answer_error(l, ev->stream, &e);
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
