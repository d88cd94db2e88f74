/*
 * Entries.  One is there while a get is at it, while what was published waits to be given, and for
 * whatever is held whole: of those the server is told with a number of units and "all of it",
 * without a node; the first member that asks has the node made.
 */
#include "base/mem.h"
#include "engine/engine_swarm_private.h"

/* -- which there are -- */

struct swarm_entry *
engine_swarm_find(struct engine *en, const struct hash_id *snapshot)
{
	return map_ptr(&en->swarm->by_snapshot, hash_id_bytes(snapshot));
}

const struct swarm_node *
engine_swarm_node(struct engine *en, const struct hash_id *snapshot)
{
	const struct swarm_entry *x = engine_swarm_find(en, snapshot);

	return x != NULL ? x->node : NULL;
}

bool
engine_swarm_is_hybrid(const struct engine *en, const struct hash_id *share)
{
	return en->authority != NULL && authority_policy(en->authority, share) == POLICY_HYBRID;
}

bool
engine_swarm_lacks(const struct swarm_entry *x)
{
	return x->wants > 0 && (x->node == NULL || !swarm_node_is_complete(x->node));
}

struct swarm_entry *
engine_swarm_make(struct engine *en, const struct engine_swarm_who *w)
{
	struct swarm_entry *x = engine_swarm_find(en, &w->snapshot);

	if (x == NULL) {
		x = mem_new(struct swarm_entry);
		x->engine = en;
		x->who = *w;
		x->job = ++en->swarm->next_job;
		array_push(&en->swarm->entries, x);
		map_put(&en->swarm->by_snapshot, hash_id_bytes(&w->snapshot), NULL)->ptr = x;
	}
	if (x->who.unit_size == 0)
		x->who.unit_size = w->unit_size;
	return x;
}

/* -- jobs -- */

void
engine_swarm_enter(struct engine *en, const struct engine_swarm_who *w)
{
	struct swarm_entry *x = engine_swarm_make(en, w);

	x->wants++;
	engine_swarm_party_tell_all(x);
	engine_swarm_want_again(en);
}

bool
engine_swarm_take(
    struct engine *en, const struct hash_id *snapshot, const struct swarm_node_taker *t)
{
	struct swarm_entry *x = engine_swarm_find(en, snapshot);

	if (!expect(x != NULL) || x->has_taker)
		return false;
	x->taker = *t;
	x->has_taker = true;
	if (x->node != NULL)
		engine_swarm_entry_start(x);
	else
		engine_swarm_entry_open(x);
	return true;
}

void
engine_swarm_stop(struct engine *en, const struct hash_id *snapshot, bool forget,
    void (*on_stopped)(void *ctx), void *ctx)
{
	struct swarm_entry *x = engine_swarm_find(en, snapshot);
	bool takes = x != NULL && x->takes;

	if (x != NULL)
		x->has_taker = x->takes = false;
	if (x != NULL && (x->ending || x->closing)) {
		x->on_stopped = on_stopped; /* the sink may be in use until then */
		x->on_stopped_ctx = ctx;
	} else if (takes || (x != NULL && x->node != NULL && forget && !x->whole))
		swarm_node_stop(x->node, forget, on_stopped, ctx);
	else if (on_stopped != NULL)
		loop_post(en->loop, on_stopped, ctx);
}

void
engine_swarm_leave(struct engine *en, const struct hash_id *snapshot, bool held)
{
	struct swarm_entry *x = engine_swarm_find(en, snapshot);

	if (x == NULL || x->wants == 0)
		return;
	x->used_ms = loop_now_ms(en->loop);
	if (--x->wants == 0 && !held && !x->whole && !x->origin)
		engine_swarm_entry_drop(x);
	else
		engine_swarm_want_again(en);
}

void
engine_swarm_publish(struct engine *en, const struct engine_swarm_who *w)
{
	struct swarm_entry *x = engine_swarm_make(en, w);

	x->origin = x->whole = true;
	engine_swarm_entry_open(x);
}

void
engine_swarm_withdrawn(struct engine *en, const struct hash_id *snapshot)
{
	struct swarm_entry *x = engine_swarm_find(en, snapshot);

	if (x != NULL && x->wants == 0)
		engine_swarm_entry_drop(x);
}

struct swarm_entry *
engine_swarm_asked(struct engine *en, const struct hash_id *snapshot)
{
	struct swarm_entry *x = engine_swarm_find(en, snapshot);

	if (x != NULL && x->whole) {
		x->asked = true;
		engine_swarm_entry_open(x);
	}
	return x;
}

/* -- time -- */

/* Nobody is in it but the server, which lacks nothing. */
static bool
is_idle(const struct swarm_entry *x)
{
	auto_free struct swarm_node_peer *peers =
	    mem_array(struct swarm_node_peer, SWARM_PEERS_SEEN);
	size_t n = swarm_node_peers(x->node, peers, SWARM_PEERS_SEEN);
	const struct device_id *server = &x->engine->server;

	for (size_t i = 0; i < n; i++) {
		if (!peers[i].connected)
			continue;
		if (!device_id_equal(&peers[i].device, server) || peers[i].stats.held < x->units)
			return false;
	}
	return true;
}

static void
look_at(struct swarm_entry *x, uint64_t now)
{
	if (x->dropped || x->node == NULL)
		return;
	if (x->wants > 0 || !is_idle(x)) {
		x->used_ms = now;
		return;
	}
	if (now - x->used_ms < SWARM_IDLE_MS)
		return;
	x->origin = false;
	if (x->whole)
		engine_swarm_entry_close(x);
	else
		engine_swarm_entry_drop(x);
}

/* It may have repaired its store: its word counts again. */
static void
forgive_server(struct swarm_entry *x, uint64_t now)
{
	if (x->repair_ms == 0 || now - x->repair_ms < SWARM_REPAIR_MS || x->node == NULL)
		return;
	x->repair_ms = 0;
	engine_swarm_entry_close(
	    x); /* one that is new bears no grudge; what others lied with is remembered */
	x->asked = true;
}

void
engine_swarm_tick(struct engine *en)
{
	struct engine_swarm *s = en->swarm;
	uint64_t now = loop_now_ms(en->loop);

	if (s == NULL || en->closing)
		return;
	engine_swarm_site_look(en);
	if (now - s->looked_ms < 1000)
		return;
	s->looked_ms = now;
	for (size_t i = s->entries.len; i-- > 0;) {
		if (i >= s->entries.len)
			continue;
		forgive_server(s->entries.at[i], now);
		look_at(s->entries.at[i], now);
	}
	engine_swarm_want_look(en);
	if (now - s->judged_ms >= SWARM_JUDGE_MS)
		engine_swarm_judge(en);
}

/* -- life -- */

void
engine_swarm_open(struct engine *en)
{
	struct engine_swarm *s = mem_new(struct engine_swarm);

	s->engine = en;
	en->swarm = s;
	engine_swarm_want_open(s);
	engine_swarm_roots(en);
}

void
engine_swarm_forget(struct engine *en)
{
	struct engine_swarm *s = en->swarm;

	for (size_t i = s->entries.len; i-- > 0;) {
		if (i < s->entries.len && s->entries.at[i]->wants == 0)
			engine_swarm_entry_drop(s->entries.at[i]);
	}
	array_clear(&s->roots);
}

void
engine_swarm_close(struct engine *en)
{
	struct engine_swarm *s = en->swarm;

	engine_swarm_want_close(s);
	for (size_t i = s->entries.len; i-- > 0;) {
		if (i < s->entries.len)
			engine_swarm_entry_drop(s->entries.at[i]);
	}
}

void
engine_swarm_free(struct engine *en)
{
	struct engine_swarm *s = en->swarm;

	if (s == NULL)
		return;
	array_clear(&s->entries);
	map_clear(&s->by_snapshot);
	map_clear(&s->by_peer);
	engine_swarm_site_free(s);
	array_clear(&s->parties);
	array_clear(&s->roots);
	array_clear(&s->liars);
	free(s);
	en->swarm = NULL;
}
