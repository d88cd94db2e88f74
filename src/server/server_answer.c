/*
 * What a member may have of a snapshot's nodes and units: the responder's policy.
 */
#include "base/log.h"
#include "server/server_internal.h"

/* What is announced may name any chunk by its hash, also those of other people's shares.  So all
 * that a snapshot names is given only once it was the head: all of it was then sent by its author,
 * or readable to him.  Nodes are the share's own once they are all here. */
static bool
may_give(struct server *s, const struct registry_share *sh, const struct registry_snapshot *sn,
    const struct responder_ask *ask)
{
	if (sn == NULL || sn->state == SNAPSHOT_WITHDRAWN)
		return false;
	if (sn->state == SNAPSHOT_HEAD)
		return true;
	return ask->type == FRAME_GET_NODES && rules_is_hybrid(s->registry, sh) &&
	       server_intake_has_manifest(s, &sn->id);
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

/* A chunk of ours could not be read: look at the snapshot's bytes and have what is lost sent
 * again. */
static void
failed(void *ctx, struct peer *p, const struct responder_ask *ask, const struct error *why)
{
	struct link *l = ctx;
	struct registry_share *sh = registry_share(l->server->registry, &ask->share);
	struct registry_snapshot *sn = sh != NULL ? registry_snapshot(sh, &ask->snapshot) : NULL;
	(void)p;

	if (sn == NULL || (why->code != ERR_CORRUPT && why->code != ERR_NOTFOUND))
		return;
	if (server_intake_repair(l->server, sh, sn))
		log_error("store: %s; fetching it again from the publisher when it is connected",
		    why->text);
}

struct responder_policy
server_answer_policy(struct link *l)
{
	return (struct responder_policy){ .allow = allow, .failed = failed, .ctx = l };
}
