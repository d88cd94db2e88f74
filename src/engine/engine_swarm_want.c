/*
 * Whom we want a connection with, and which of those that there are somebody needs.
 */
#include "base/mem.h"
#include "engine/engine_swarm_private.h"

/* -- whom to dial -- */

static bool
is_wanted(struct engine *en, const struct device_id *device)
{
	array_each (x, &en->swarm->entries) {
		if ((*x)->dropped || !engine_swarm_lacks(*x) ||
		    !engine_swarm_is_hybrid(en, &(*x)->who.share))
			continue;
		if (engine_swarm_is_listed(*x, device) ||
		    (!en->link.ready && engine_known_has(en, device, &(*x)->who.share)))
			return true;
	}
	return false;
}

static void
want(void *ctx, struct mesh_device *d)
{
	struct engine *en = ctx;

	mesh_want(en->mesh, d, is_wanted(en, mesh_device_id(d)));
}

static void
rewant_all(void *ctx)
{
	struct engine *en = ctx;

	if (en->mesh != NULL && !en->closing)
		mesh_each(en->mesh, want, en);
}

void
engine_swarm_want_again(struct engine *en)
{
	if (!en->closing)
		task_start(&en->swarm->rewant);
}

/* -- which connections are of use -- */

static void
use(struct engine *en, const struct device_id *device)
{
	struct mesh_device *d = mesh_find(en->mesh, device);

	if (d != NULL)
		mesh_use(en->mesh, d);
}

/* One of the two lacks something. */
static void
use_peers_of(struct swarm_entry *x)
{
	struct engine *en = x->engine;
	struct swarm_node_peer *peers = mem_array(struct swarm_node_peer, SWARM_PEERS_SEEN);
	size_t n = swarm_node_peers(x->node, peers, SWARM_PEERS_SEEN);
	bool lacks = engine_swarm_lacks(x);

	for (size_t i = 0; i < n; i++) {
		if (peers[i].connected && (lacks || peers[i].stats.held < x->units))
			use(en, &peers[i].device);
	}
	free(peers);
}

void
engine_swarm_want_look(struct engine *en)
{
	if (en->mesh == NULL)
		return;
	array_each (x, &en->swarm->entries) {
		if (!(*x)->dropped && (*x)->node != NULL)
			use_peers_of(*x);
	}
	array_each (party, &en->swarm->parties) {
		map_each (slot, &(*party)->said) {
			const struct swarm_said *s = slot->ptr;
			if (!engine_swarm_party_is_server(*party) && s->units == 0)
				mesh_use(en->mesh, (*party)->device); /* it asks for nodes */
		}
	}
}

/* -- life -- */

void
engine_swarm_want_open(struct engine_swarm *s)
{
	task_init(&s->rewant, s->engine->loop, rewant_all, s->engine);
}

void
engine_swarm_want_close(struct engine_swarm *s)
{
	task_cancel(&s->rewant);
}
