/*
 * What responders ask.  The server has its rights from being the server: it may pull any unit, and
 * when that accepts an offer of ours it counts as one.  A member gets units that it was offered and
 * nothing else; nodes while it may read the share.
 */
#include "base/log.h"
#include "engine/engine_swarm_private.h"

static enum err
allow(void *ctx, struct peer *p, const struct responder_ask *ask, struct error *e)
{
	struct engine *en = ctx;
	const struct device_id *device = peer_device(p);

	if (hash_id_is_none(&ask->share))
		return fail(e, ERR_NOTFOUND, "no such share");
	/* That we have published the snapshot there is what the source checks. */
	if (p == en->link.peer)
		return OK;
	if (device == NULL || en->authority == NULL ||
	    !engine_swarm_party_may(en, device, &ask->share))
		return fail(e, ERR_NOTFOUND, "no such share");
	return OK;
}

/* The node of what is asked for, when P takes part in it. */
static struct swarm_node *
node_of(struct engine *en, struct peer *p, const struct responder_ask *ask)
{
	struct swarm_entry *x = engine_swarm_find(en, &ask->snapshot);

	if (x == NULL || x->node == NULL || !hash_id_equal(&x->who.share, &ask->share) ||
	    ask->unit >= x->units || !swarm_node_has(x->node, p))
		return NULL;
	return x->node;
}

static enum err
begin(void *ctx, struct peer *p, const struct responder_ask *ask, struct error *e)
{
	struct engine *en = ctx;
	struct swarm_node *n = node_of(en, p, ask);

	if (n != NULL && swarm_node_wanted(n, p, ask->unit))
		return OK;
	return p == en->link.peer ? OK : fail(e, ERR_AGAIN, "nothing of the kind was offered");
}

/* What could not be read for a moment (no descriptor was left) was taken for lost; the server, who
 * finds it with nobody, asks for it once more. */
static void
regain(struct engine *en, struct swarm_node *n, const struct responder_ask *ask)
{
	const struct swarm_entry *x = engine_swarm_find(en, &ask->snapshot);

	if ((x->whole || x->origin) && !swarm_node_holds(n, ask->unit))
		swarm_node_regain(n, ask->unit);
}

static void
over(void *ctx, struct peer *p, const struct responder_ask *ask, const struct responder_sent *sent)
{
	struct swarm_node *n = node_of(ctx, p, ask);

	if (n == NULL)
		return;
	swarm_node_answered(n, p, ask->unit, sent);
	if (sent->whole)
		regain(ctx, n, ask);
}

static void
blocked(void *ctx, struct peer *p, bool is_blocked)
{
	struct engine *en = ctx;

	array_each (x, &en->swarm->entries) {
		if ((*x)->node != NULL && swarm_node_has((*x)->node, p))
			swarm_node_blocked((*x)->node, p, is_blocked);
	}
}

/* A file was changed: the unit is not offered any more. */
static void
failed(void *ctx, struct peer *p, const struct responder_ask *ask, const struct error *why)
{
	struct swarm_entry *x = engine_swarm_find(ctx, &ask->snapshot);
	(void)p;

	log_debug("unit %u: %s", ask->unit, why->text);
	if (ask->type == FRAME_GET_UNITS && x != NULL && x->node != NULL && ask->unit < x->units)
		swarm_node_lose(x->node, ask->unit);
}

struct responder_policy
engine_swarm_policy(struct engine *en)
{
	return (struct responder_policy){ .allow = allow,
		.begin = begin,
		.over = over,
		.blocked = blocked,
		.hold_ms = engine_limit_hold_ms,
		.failed = failed,
		.window = RESPONDER_WINDOW_SMALL,
		.ctx = en };
}
