/*
 * One entry's node, from opening its map to its end, and what it takes.
 *
 * A node that is made anew has a new job number: so whoever heard of the old one begins anew, too.
 */
#include "base/log.h"
#include "base/mem.h"
#include "crypto/random.h"
#include "engine/engine_swarm_private.h"
#include "platform/clock.h"

static void open_next(struct swarm_entry *x);

/* -- its end -- */

static void
free_dropped(struct swarm_entry *x)
{
	struct engine *en = x->engine;

	if (!x->dropped || x->opening || x->closing || x->ending)
		return;
	array_remove(&en->swarm->entries, x);
	map_clear(&x->listed);
	free(x);
}

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

void
engine_swarm_entry_close(struct swarm_entry *x)
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
engine_swarm_entry_drop(struct swarm_entry *x)
{
	if (x->dropped)
		return;
	engine_swarm_party_exit(x);
	x->dropped = true;
	(void)map_del(&x->engine->swarm->by_snapshot, hash_id_bytes(&x->who.snapshot));
	x->has_taker = false;
	engine_swarm_entry_close(x);
	engine_swarm_want_again(x->engine);
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
	engine_swarm_want_again(x->engine);
	x->taker.on_done(x->taker.ctx, r, e);
}

void
engine_swarm_entry_start(struct swarm_entry *x)
{
	const struct swarm_node_taker t = { .sink = x->taker.sink,
		.gate = x->taker.gate,
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
		engine_swarm_entry_drop(x);
	engine_part_closed(en);
}

void
engine_swarm_entry_end(struct swarm_entry *x)
{
	bool takes = x->takes;

	if (x->ending)
		return;
	if (!x->has_taker) {
		engine_swarm_entry_drop(x);
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
	engine_swarm_site_place(x);
	if (x->whole || x->origin)
		swarm_node_hold_all(x->node);
	engine_swarm_entry_start(x);
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
		engine_swarm_party_tell_all(x);
		return;
	}
	x->map = map;
	if (!first || x->whole) /* others may have heard of a node before this one */
		x->job = ++x->engine->swarm->next_job;
	new_node(x);
	engine_swarm_party_tell_all(x);
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
			engine_swarm_entry_drop(x);
	}
	if (was_dropped)
		free_dropped(x);
	free(o);
}

static void
open_next(struct swarm_entry *x)
{
	if (x->has_taker || x->asked)
		engine_swarm_entry_open(x);
}

void
engine_swarm_entry_open(struct swarm_entry *x)
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
