/*
 * Entries.  One is there while a get is at it, while what was published waits to be given, and for
 * whatever is held whole: of those the server is told with a number of units and "all of it",
 * without a node; the first member that asks has the node made.
 *
 * A node that is made anew has a new job number: so whoever heard of the old one begins anew, too.
 */
#include "base/log.h"
#include "base/mem.h"
#include "crypto/random.h"
#include "engine/engine_swarm_private.h"
#include "platform/clock.h"

static void open_next(struct swarm_entry *x);

/* -- which there are -- */

struct swarm_entry *
engine_swarm_find(struct engine *en, const struct hash_id *snapshot)
{
	array_each (x, &en->swarm->entries) {
		if (!(*x)->dropped && hash_id_equal(&(*x)->who.snapshot, snapshot))
			return *x;
	}
	return NULL;
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

static struct swarm_entry *
make_entry(struct engine *en, const struct engine_swarm_who *w)
{
	struct swarm_entry *x = engine_swarm_find(en, &w->snapshot);

	if (x == NULL) {
		x = mem_new(struct swarm_entry);
		x->engine = en;
		x->who = *w;
		x->job = ++en->swarm->next_job;
		array_push(&en->swarm->entries, x);
	}
	if (x->who.unit_size == 0)
		x->who.unit_size = w->unit_size;
	return x;
}

static void
free_dropped(struct swarm_entry *x)
{
	struct engine *en = x->engine;

	if (!x->dropped || x->opening || x->closing || x->ending)
		return;
	array_remove(&en->swarm->entries, x);
	array_clear(&x->listed);
	free(x);
}

/* -- nodes -- */

/* Who stopped taking while we did so for reasons of our own: its sink is free now. */
static bool
tell_stopped(struct swarm_entry *x)
{
	void (*on_stopped)(void *ctx) = x->on_stopped;

	x->on_stopped = NULL;
	if (on_stopped != NULL)
		on_stopped(x->on_stopped_ctx);
	return on_stopped != NULL;
}

static void
on_node_closed(void *ctx)
{
	struct swarm_entry *x = ctx;
	struct engine *en = x->engine;

	if (x->map != NULL)
		map_cache_put(en->maps, x->map);
	x->map = NULL;
	(void)tell_stopped(x); /* who is told may drop it, which is done below */
	x->closing = false;
	en->pending--;
	open_next(x); /* asked for meanwhile */
	free_dropped(x);
	engine_part_closed(en);
}

static void
close_node(struct swarm_entry *x)
{
	if (x->node == NULL)
		return;
	x->closing = true;
	x->takes = x->asked = false;
	x->engine->pending++;
	swarm_node_close(x->node, on_node_closed, x);
	x->node = NULL;
}

void
engine_swarm_drop(struct swarm_entry *x)
{
	if (x->dropped)
		return;
	engine_swarm_party_exit(x);
	x->dropped = true;
	x->has_taker = false;
	close_node(x);
	engine_swarm_party_rewant(x->engine);
	free_dropped(x);
}

static void
report_liar(struct swarm_entry *x, const struct device_id *device, uint32_t unit)
{
	struct engine *en = x->engine;
	struct engine_swarm *s = en->swarm;
	const struct message m = { .type = FRAME_REPORT,
		.report = { .share = x->who.share,
		    .snapshot = x->who.snapshot,
		    .unit = unit,
		    .who = *device } };

	if (s->liars.len == SWARM_LIARS_MAX)
		array_swap_out(&s->liars, 0);
	array_push(&s->liars,
	    ((struct engine_swarm_liar){ *device, x->who.share, unit, clock_wall_ns() }));
	if (en->link.ready && session_send(peer_session(en->link.peer), &m, NULL) == OK)
		peer_flush(en->link.peer);
}

static void
on_liar(void *ctx, struct peer *p, uint32_t unit)
{
	struct swarm_entry *x = ctx;
	struct engine *en = x->engine;
	const struct device_id device = *peer_device(p);
	struct swarm_party *party = engine_swarm_party(en, p);
	char id[DEVICE_ID_SHORT];
	struct error e;

	report_liar(x, &device, unit);
	if (party == NULL || party->device == NULL) {
		log_warn("wrong bytes from the server in unit %u; it is told, and asked again soon",
		    unit);
		x->repair_ms = max_of(loop_now_ms(en->loop), (uint64_t)1);
		return;
	}
	log_warn("%s (%s) sent wrong bytes three times: it is cut off, and the server is told",
	    mesh_device_name(party->device), device_id_short(&device, id));
	(void)fail(&e, ERR_CORRUPT, "you have sent wrong bytes three times");
	mesh_ban(en->mesh, &device, &e);
}

static void
on_lost(void *ctx, struct peer *p, uint32_t unit, const struct error *why)
{
	struct swarm_entry *x = ctx;

	if (p == NULL)
		log_info("unit %u can no longer be given: %s", unit,
		    why != NULL ? why->text : "not here");
	(void)x;
}

/* -- taking -- */

static bool
is_partial(void *ctx, uint32_t unit)
{
	struct swarm_entry *x = ctx;

	return x->taker.is_partial != NULL && x->taker.is_partial(x->taker.ctx, unit);
}

static void
on_progress(void *ctx)
{
	struct swarm_entry *x = ctx;

	if (x->taker.on_progress != NULL)
		x->taker.on_progress(x->taker.ctx);
}

static void
on_done(void *ctx, enum err r, const struct error *e)
{
	struct swarm_entry *x = ctx;

	x->has_taker = x->takes = false;
	engine_swarm_party_rewant(x->engine);
	x->taker.on_done(x->taker.ctx, r, e);
}

static void
start_taking(struct swarm_entry *x)
{
	const struct swarm_node_taker t = { .sink = x->taker.sink,
		.is_partial = x->taker.is_partial != NULL ? is_partial : NULL,
		.on_progress = on_progress,
		.on_done = on_done,
		.ctx = x };

	if (x->node == NULL || !x->has_taker || x->takes || x->ending)
		return;
	x->takes = true;
	if (!expect(swarm_node_take(x->node, &t)))
		x->takes = false;
}

static void
on_ended(void *ctx)
{
	struct swarm_entry *x = ctx;
	struct engine *en = x->engine;
	struct error e;

	(void)fail(&e, ERR_AGAIN, "the bytes of this share come from its server from now on");
	if (!tell_stopped(x) && x->has_taker)
		on_done(x, ERR_AGAIN, &e);
	x->ending = false;
	en->pending--;
	if (x->dropped)
		free_dropped(x);
	else
		engine_swarm_drop(x);
	engine_part_closed(en);
}

void
engine_swarm_end(struct swarm_entry *x)
{
	bool takes = x->takes;

	if (x->ending)
		return;
	if (!x->has_taker) {
		engine_swarm_drop(x);
		return;
	}
	x->ending = true;
	x->takes = false;
	x->engine->pending++;
	if (takes)
		swarm_node_stop(x->node, false, on_ended, x);
	else
		loop_post(x->engine->loop, on_ended, x);
}

/* -- opening -- */

struct open_map {
	struct engine_work work;
	struct swarm_entry *entry;
	struct engine_swarm_who who;
	struct snapshot_map *map;
};

static enum err
work_open(struct engine_work *w, struct error *e)
{
	struct open_map *o = (struct open_map *)w;
	const struct source *s = &w->engine->source;

	return s->get_map(s->ctx, &o->who.share, &o->who.snapshot, o->who.unit_size, &o->map, e);
}

static void
new_node(struct swarm_entry *x)
{
	struct engine *en = x->engine;
	const struct swarm_node_opts o = {
		.loop = en->loop,
		.map = x->map,
		.share = x->who.share,
		.snapshot = x->who.snapshot,
		.job = x->job,
		.origin = x->origin,
		.seed = random_u64(),
		.on_liar = on_liar,
		.on_lost = on_lost,
		.ctx = x,
	};

	x->node = swarm_node_new(&o);
	x->used_ms = loop_now_ms(en->loop);
	if (x->whole || x->origin)
		swarm_node_hold_all(x->node);
	start_taking(x);
}

/* Of what is held whole the server is told the number of units; a node is made when it is needed.
 */
static bool
needs_node(const struct swarm_entry *x)
{
	return x->wants > 0 || x->origin || x->asked;
}

static void
opened(struct swarm_entry *x, struct snapshot_map *map)
{
	uint32_t units = (uint32_t)snapshot_map_units(map);
	bool first = x->units == 0;

	x->units = units;
	if (!needs_node(x)) {
		map_cache_put(x->engine->maps, map);
		engine_swarm_party_tell(x);
		return;
	}
	x->map = map;
	if (!first || x->whole) /* others may have heard of a node before this one */
		x->job = ++x->engine->swarm->next_job;
	new_node(x);
	engine_swarm_party_tell(x);
}

static void
done_open(struct engine_work *w, enum err r, const struct error *e)
{
	struct open_map *o = (struct open_map *)w;
	struct swarm_entry *x = o->entry;
	struct engine *en = w->engine;
	bool was_dropped = x->dropped; /* else whoever drops it below frees it, too */

	x->opening = false;
	if (r == OK && (x->dropped || x->node != NULL || en->closing)) {
		map_cache_put(en->maps, o->map);
	} else if (r == OK) {
		opened(x, o->map);
	} else if (!x->dropped) {
		log_debug("a snapshot's map: %s", e->text);
		if (x->has_taker)
			on_done(x, r, e);
		else if (x->wants == 0)
			engine_swarm_drop(x);
	}
	if (was_dropped)
		free_dropped(x);
	free(o);
}

static void
open_next(struct swarm_entry *x)
{
	if (x->has_taker || x->asked)
		engine_swarm_open_node(x);
}

void
engine_swarm_open_node(struct swarm_entry *x)
{
	struct open_map *o;

	if (x->node != NULL || x->opening || x->closing || x->dropped || x->who.unit_size == 0 ||
	    x->engine->closing)
		return;
	o = mem_new(struct open_map);
	*o = (struct open_map){
		.work = { .work = work_open, .done = done_open }, .entry = x, .who = x->who
	};
	x->opening = true;
	engine_work(x->engine, &o->work);
}

/* -- jobs -- */

void
engine_swarm_enter(struct engine *en, const struct engine_swarm_who *w)
{
	struct swarm_entry *x = make_entry(en, w);

	x->wants++;
	engine_swarm_party_tell(x);
	engine_swarm_party_rewant(en);
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
		start_taking(x);
	else
		engine_swarm_open_node(x);
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
		engine_swarm_drop(x);
	else
		engine_swarm_party_rewant(en);
}

void
engine_swarm_publish(struct engine *en, const struct engine_swarm_who *w)
{
	struct swarm_entry *x = make_entry(en, w);

	x->origin = x->whole = true;
	engine_swarm_open_node(x);
}

void
engine_swarm_withdrawn(struct engine *en, const struct hash_id *snapshot)
{
	struct swarm_entry *x = engine_swarm_find(en, snapshot);

	if (x != NULL && x->wants == 0)
		engine_swarm_drop(x);
}

/* -- what is held whole -- */

struct load_roots {
	struct engine_work work;
	ARRAY(struct swarm_root) roots;
};

static enum err
add_root(void *ctx, const struct root *r, struct error *e)
{
	struct load_roots *l = ctx;
	(void)e;

	if (r->subpath[0] == '\0' && !hash_id_is_none(&r->snapshot))
		array_push(
		    &l->roots, ((struct swarm_root){ { r->share, r->snapshot, 0 }, r->time_ns }));
	return OK;
}

static enum err
work_roots(struct engine_work *w, struct error *e)
{
	struct load_roots *l = (struct load_roots *)w;
	struct state *s = w->engine->state;
	enum err r = state_roots(s, add_root, l, e);

	for (size_t i = l->roots.len; r == OK && i-- > 0;) {
		struct swarm_root *root = &l->roots.at[i];
		struct state_snapshot info;
		if (state_snapshot_get(s, &root->who.snapshot, &info, NULL) == OK)
			root->who.unit_size = info.unit_size;
		else
			array_swap_out(&l->roots, i);
	}
	return r;
}

static bool
is_root(const struct engine_swarm *s, const struct hash_id *snapshot)
{
	array_each (r, &s->roots) {
		if (hash_id_equal(&r->who.snapshot, snapshot))
			return true;
	}
	return false;
}

static int
newest_first(const void *a, const void *b)
{
	const struct swarm_root *x = a, *y = b;

	return x->time_ns != y->time_ns ? (x->time_ns < y->time_ns ? 1 : -1) : 0;
}

/* What is not there any more leaves; of what has come the server is told. */
void
engine_swarm_roots_look(struct engine *en)
{
	struct engine_swarm *s = en->swarm;

	for (size_t i = s->entries.len; i-- > 0;) {
		struct swarm_entry *x = s->entries.at[i];
		if (x->dropped || !x->whole || x->wants > 0 || is_root(s, &x->who.snapshot))
			continue;
		if (x->origin)
			x->whole = false; /* until the server has it */
		else
			engine_swarm_drop(x);
	}
	for (size_t i = 0; i < s->roots.len; i++) {
		const struct engine_swarm_who *w = &s->roots.at[i].who;
		struct swarm_entry *x = engine_swarm_find(en, &w->snapshot);
		if (!engine_swarm_is_hybrid(en, &w->share))
			continue;
		if (x == NULL) {
			x = make_entry(en, w);
			x->whole = true; /* nobody has asked for it: how many units it has */
			engine_swarm_open_node(x);
		}
		x->whole = true;
	}
}

static void
done_roots(struct engine_work *w, enum err r, const struct error *e)
{
	struct load_roots *l = (struct load_roots *)w;
	struct engine *en = w->engine;
	struct engine_swarm *s = en->swarm;

	s->loading = false;
	if (r == OK && !en->closing) {
		if (l->roots.len > 0)
			qsort(l->roots.at, l->roots.len, sizeof *l->roots.at, newest_first);
		array_clear(&s->roots);
		for (size_t i = 0; i < l->roots.len && i < SWARM_WHOLE_MAX; i++)
			array_push(&s->roots, l->roots.at[i]);
		engine_swarm_roots_look(en);
	} else if (r != OK) {
		log_error("look what is held here: %s", e->text);
	}
	array_clear(&l->roots);
	free(l);
	if (s->load_again && !en->closing)
		engine_swarm_roots(en);
}

void
engine_swarm_roots(struct engine *en)
{
	struct engine_swarm *s = en->swarm;
	struct load_roots *l;

	s->load_again = s->loading;
	if (s->loading)
		return;
	s->loading = true;
	l = mem_new(struct load_roots);
	l->work = (struct engine_work){ .work = work_roots, .done = done_roots };
	engine_write(en, &l->work); /* after what was written before */
}

struct swarm_entry *
engine_swarm_asked(struct engine *en, const struct hash_id *snapshot)
{
	struct swarm_entry *x = engine_swarm_find(en, snapshot);

	if (x != NULL && x->whole) {
		x->asked = true;
		engine_swarm_open_node(x);
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
		close_node(x);
	else
		engine_swarm_drop(x);
}

/* It may have repaired its store: its word counts again. */
static void
forgive_server(struct swarm_entry *x, uint64_t now)
{
	if (x->repair_ms == 0 || now - x->repair_ms < SWARM_REPAIR_MS || x->node == NULL)
		return;
	x->repair_ms = 0;
	close_node(x); /* one that is new bears no grudge; what others lied with is remembered */
	x->asked = true;
}

void
engine_swarm_tick(struct engine *en)
{
	struct engine_swarm *s = en->swarm;
	uint64_t now = loop_now_ms(en->loop);

	if (s == NULL || en->closing || now - s->looked_ms < 1000)
		return;
	s->looked_ms = now;
	for (size_t i = s->entries.len; i-- > 0;) {
		if (i >= s->entries.len)
			continue;
		forgive_server(s->entries.at[i], now);
		look_at(s->entries.at[i], now);
	}
	engine_swarm_party_look(en);
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
	engine_swarm_party_open(s);
	engine_swarm_roots(en);
}

void
engine_swarm_forget(struct engine *en)
{
	struct engine_swarm *s = en->swarm;

	for (size_t i = s->entries.len; i-- > 0;) {
		if (i < s->entries.len && s->entries.at[i]->wants == 0)
			engine_swarm_drop(s->entries.at[i]);
	}
	array_clear(&s->roots);
}

void
engine_swarm_close(struct engine *en)
{
	struct engine_swarm *s = en->swarm;

	engine_swarm_party_close(s);
	for (size_t i = s->entries.len; i-- > 0;) {
		if (i < s->entries.len)
			engine_swarm_drop(s->entries.at[i]);
	}
}

void
engine_swarm_free(struct engine *en)
{
	struct engine_swarm *s = en->swarm;

	if (s == NULL)
		return;
	array_clear(&s->entries);
	array_clear(&s->parties);
	array_clear(&s->roots);
	array_clear(&s->liars);
	free(s);
	en->swarm = NULL;
}
