/*
 * What a member may have of a snapshot's nodes and units: the responder's policy.
 */
#include "server/server_internal.h"

/* What is announced may name any chunk by its hash, also those of other people's shares.  So all
 * that a snapshot names is given only once it was the head: all of it was then sent to us, or
 * readable to its author.  Before that units are given one by one, as they come; nodes are the
 * share's own once they are all here. */
static bool
may_give(struct server *s, const struct registry_share *sh, const struct registry_snapshot *sn,
    const struct responder_ask *ask)
{
	if (sn == NULL || sn->state == SNAPSHOT_WITHDRAWN)
		return false;
	if (sn->state == SNAPSHOT_HEAD)
		return true;
	if (!rules_is_hybrid(s->registry, sh) || !server_intake_has_manifest(s, &sn->id))
		return false;
	return ask->type == FRAME_GET_NODES || server_node_holds(s, &sn->id, ask->unit);
}

static enum err
allow(void *ctx, struct peer *p, const struct responder_ask *ask, struct error *e)
{
	struct link *l = ctx;
	struct registry_share *sh = NULL;
	enum err r =
	    rules_share_id(l->server->registry, &ask->share, &l->device, RIGHT_READ, &sh, e);
	(void)p;

	if (r != OK)
		return r;
	if (!may_give(l->server, sh, registry_snapshot(sh, &ask->snapshot), ask))
		return fail(e, ERR_NOTFOUND, "%s has no such snapshot (it may have been removed)",
		    sh->name);
	return OK;
}

static enum err
begin(void *ctx, struct peer *p, const struct responder_ask *ask, struct error *e)
{
	(void)p;
	(void)e;
	server_node_wanted(ctx, &ask->snapshot, ask->unit);
	return OK;
}

static void
over(void *ctx, struct peer *p, const struct responder_ask *ask, const struct responder_sent *sent)
{
	(void)p;
	server_node_answered(ctx, &ask->snapshot, ask->unit, sent);
}

static void
blocked(void *ctx, struct peer *p, bool is_blocked)
{
	(void)p;
	server_node_blocked(ctx, is_blocked);
}

/* A chunk of ours could not be read: look at the snapshot's bytes and have what is lost sent
 * again. */
static void
failed(void *ctx, struct peer *p, const struct responder_ask *ask, const struct error *why)
{
	struct link *l = ctx;
	(void)p;

	if (why->code != ERR_CORRUPT && why->code != ERR_NOTFOUND)
		return;
	if (ask->type == FRAME_GET_UNITS)
		server_node_lost(l->server, &ask->snapshot, ask->unit);
	server_intake_damaged(l->server, &ask->share, &ask->snapshot, why);
}

struct responder_policy
server_answer_policy(struct link *l)
{
	return (struct responder_policy){
		.allow = allow,
		.begin = begin,
		.over = over,
		.blocked = blocked,
		.failed = failed,
		.ctx = l,
	};
}
