/*
 * Whom we want a connection with, and which of those that there are somebody needs.
 *
 * Of our own site everybody that we know of: the server names no more of a large one than is good.
 * Of another site its gateways, and only while we are a candidate for one of ours: as many as it
 * has, the best first, and one more for each that cannot be reached.  The server names nobody there
 * but candidates and who published: the latter is always wanted.
 */
#include "base/mem.h"
#include "engine/engine_swarm_private.h"
#include "swarm/swarm_rank.h"

/* -- whom to dial -- */

struct wish {
	struct mesh_device *device;
	struct swarm_place place;
};
struct wishes { /* of one entry */
	struct engine *engine;
	struct swarm_entry *entry;
	ARRAY(struct wish) far;
	struct map *wanted; /* devices, of all entries */
};

static void
add_wanted(struct wishes *w, const struct mesh_device *d)
{
	map_put(w->wanted, BYTES_OF(d), NULL);
}

static bool
takes_part(const struct swarm_entry *x, const struct device_id *device)
{
	struct engine *en = x->engine;

	return engine_swarm_is_listed(x, device) ||
	       (!en->link.ready && engine_known_has(en, device, &x->who.share));
}

static void
wish(void *ctx, struct mesh_device *d)
{
	struct wishes *w = ctx;

	if (!takes_part(w->entry, mesh_device_id(d)))
		return;
	if (engine_swarm_site_is(w->engine, d))
		add_wanted(w, d);
	else
		array_push(&w->far, ((struct wish){ d, engine_swarm_site_place_of(w->entry, d) }));
}

/* Side by side those of one site, its best candidates first. */
static int
compare_wishes(const void *a, const void *b)
{
	const struct swarm_place *x = &((const struct wish *)a)->place;
	const struct swarm_place *y = &((const struct wish *)b)->place;
	unsigned rx = x->rank > 0 ? x->rank : UINT8_MAX + 1u;
	unsigned ry = y->rank > 0 ? y->rank : UINT8_MAX + 1u;

	if (x->site != y->site)
		return x->site < y->site ? -1 : 1;
	if (rx != ry)
		return rx < ry ? -1 : 1;
	return x->node == y->node ? 0 : x->node < y->node ? -1 : 1;
}

/* N of one site. */
static void
want_gateways(struct wishes *w, const struct wish *of, size_t n)
{
	unsigned k = of[0].place.gateways > 0 ? of[0].place.gateways : SWARM_RANK_GATEWAYS;
	bool ranked = of[0].place.rank > 0;

	for (size_t i = 0; i < n; i++) {
		bool published = ranked && of[i].place.rank == 0;
		if (k == 0 && !published)
			continue;
		add_wanted(w, of[i].device);
		k -= !published && !mesh_device_is_failing(of[i].device);
	}
}

static void
want_far(struct wishes *w)
{
	struct wish *all = w->far.at;
	size_t from = 0;

	if (w->far.len == 0 || !engine_swarm_site_imports(w->entry))
		return;
	qsort(all, w->far.len, sizeof *all, compare_wishes);
	for (size_t i = 1; i <= w->far.len; i++) {
		if (i < w->far.len && all[i].place.site == all[from].place.site)
			continue;
		want_gateways(w, all + from, i - from);
		from = i;
	}
}

static void
want(void *ctx, struct mesh_device *d)
{
	const struct wishes *w = ctx;

	mesh_want(w->engine->mesh, d, map_find(w->wanted, BYTES_OF(d)) != NULL);
}

static void
rewant_all(void *ctx)
{
	struct engine *en = ctx;
	auto_(map_clear) struct map wanted = { 0 };
	struct wishes w = { .engine = en, .wanted = &wanted };

	if (en->mesh == NULL || en->closing)
		return;
	array_each (x, &en->swarm->entries) {
		if ((*x)->dropped || !engine_swarm_lacks(*x) ||
		    !engine_swarm_is_hybrid(en, &(*x)->who.share))
			continue;
		w.entry = *x;
		w.far.len = 0;
		mesh_each(en->mesh, wish, &w);
		want_far(&w);
	}
	array_clear(&w.far);
	mesh_each(en->mesh, want, &w);
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

/* As long as anybody lacks something all are needed: whoever goes is replaced by another. */
static void
use_peers_of(struct swarm_entry *x)
{
	struct engine *en = x->engine;
	struct swarm_node_peer *peers = mem_array(struct swarm_node_peer, SWARM_PEERS_SEEN);
	size_t n = swarm_node_peers(x->node, peers, SWARM_PEERS_SEEN);
	bool lacks = engine_swarm_lacks(x);

	for (size_t i = 0; i < n; i++)
		lacks |= peers[i].connected && peers[i].stats.held < x->units;
	for (size_t i = 0; lacks && i < n; i++) {
		if (peers[i].connected)
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
