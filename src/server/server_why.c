/*
 * `weft why SHARE` on a server's home: the server's own part in the swarm of a snapshot of that
 * share, and of each site how much came into it from afar.  What is no swarm of the server's is the
 * engine's to answer.
 */
#include "engine/why.h"
#include "server/server_internal.h"

static const char *
name_of(void *ctx, const struct device_id *device)
{
	const struct server *s = ctx;
	const struct registry_device *d = registry_device(s->registry, device);

	return d != NULL ? d->name : "";
}

static const char *
site_of(void *ctx, const struct device_id *device)
{
	const struct server *s = ctx;
	const struct registry_device *d = registry_device(s->registry, device);

	return d != NULL ? d->site : "";
}

bool
server_why(struct server *s, struct control_call *call, const struct control_request *r)
{
	const char *name = control_arg(r, "share");
	const struct registry_share *sh =
	    name != NULL ? registry_share_named(s->registry, bytes_str(name)) : NULL;
	struct why w = { .name = name_of, .site = site_of, .ctx = s, .all_sites = true };

	if (sh == NULL)
		return false;
	w.node = server_node_of(s, &sh->id, &w.snapshot, &w.facts.takes);
	if (w.node == NULL)
		return false;
	w.share = sh->name;
	w.facts.up.rate = throttle_rate(s->throttle, THROTTLE_UP, false);
	w.facts.down.rate = throttle_rate(s->throttle, THROTTLE_DOWN, false);
	why_look(&w);
	why_send(&w, call);
	why_clear(&w);
	control_call_done(call, NULL, -1);
	return true;
}
