/*
 * Policies: who may answer for a share's bytes.  What a share began with stands in its first
 * statement; a change is a POLICY statement, of which the newest counts.  Every member that may
 * read the share is told: at once when it is connected, else when it comes, and before a RESOLVE's
 * answer, as it may have got its grant in between.
 */
#include "base/log.h"
#include "base/mem.h"
#include "server/server_internal.h"

/* -- telling -- */

static void
push(struct link *l, const struct registry_share *sh)
{
	struct bytes b = authority_policy_statement(l->server->registry->authority, &sh->id);

	if (b.len > 0)
		server_peer_push(l, b);
}

static bool
may_read(const struct link *l, const struct registry_share *sh)
{
	return l->member && rules_rights(l->server->registry, sh, &l->device) != 0;
}

void
server_policy_push(struct link *l, const struct registry_share *sh)
{
	push(l, sh);
}

void
server_policy_push_all(struct link *l)
{
	map_each (slot, &l->server->registry->shares) {
		if (may_read(l, slot->ptr))
			push(l, slot->ptr);
	}
}

/* -- `weft policy` -- */

struct policy_change {
	struct change change;
	int64_t share;
	struct buf bytes;
	enum share_policy policy;
	struct control_call *call;
};

static enum err
store_policy(struct change *c, struct server *s, struct error *e)
{
	struct policy_change *p = (struct policy_change *)c;

	return registry_store_policy(s->registry->db, p->share, buf_bytes(&p->bytes), e);
}

static void
tell(struct control_call *call, const struct registry_share *sh, enum share_policy policy)
{
	auto_buf struct buf row = BUF(RECORD_MAX);

	record_text(&row, "share", sh->name);
	record_text(&row, "policy", statement_policy_name(policy));
	control_call_row(call, buf_bytes(&row));
	control_call_done(call, NULL, -1);
}

static void
apply_policy(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct policy_change *p = (struct policy_change *)c;
	struct registry_share *sh = registry_share_num(s->registry, p->share);
	struct error gone;

	if (r == OK && sh == NULL) {
		r = fail(&gone, ERR_NOTFOUND, "the share has just been removed");
		e = &gone;
	}
	if (r == OK) {
		log_info("share %s is %s from now on", sh->name, statement_policy_name(p->policy));
		map_each (slot, &s->links) {
			if (may_read(slot->ptr, sh))
				push(slot->ptr, sh);
		}
		server_intake_judge(s);
		server_swarm_judge(s, &sh->id);
		tell(p->call, sh, p->policy);
	} else {
		control_call_done(p->call, e, -1);
	}
	buf_clear(&p->bytes);
	free(p);
}

static enum err
change_policy(struct server *s, struct control_call *call, const struct registry_share *sh,
    enum share_policy policy, struct error *e)
{
	struct policy_change *p = mem_new(struct policy_change);
	struct statement st = { .kind = STATEMENT_POLICY, .share = sh->id, .policy = policy };

	*p = (struct policy_change){
		.change = { .store = store_policy, .apply = apply_policy },
		.share = sh->num,
		.bytes = BUF(STATEMENT_MAX),
		.policy = policy,
		.call = call,
	};
	enum err r = server_sign(s, &st, &p->bytes, e);
	if (r == OK) {
		server_change(s, &p->change);
		return OK;
	}
	buf_clear(&p->bytes);
	free(p);
	return r;
}

enum err
server_policy_call(
    struct server *s, struct control_call *call, const struct control_request *r, struct error *e)
{
	const char *name = control_arg(r, "share"), *wanted = control_arg(r, "policy");
	struct registry_share *sh = registry_share_named(s->registry, bytes_str(name));
	enum share_policy policy;

	if (sh == NULL)
		return fail(
		    e, ERR_NOTFOUND, "no such share: %s (a share is created by publishing)", name);
	enum share_policy is = authority_policy(s->registry->authority, &sh->id);
	if (wanted == NULL) {
		tell(call, sh, is);
		return OK;
	}
	if (!statement_policy_parse(wanted, &policy) || policy == POLICY_SERVERLESS)
		return fail(e, ERR_USAGE, "a policy is 'central' or 'hybrid', not '%s'", wanted);
	if (policy != is)
		return change_policy(s, call, sh, policy, e);
	tell(call, sh, is);
	return OK;
}
