#include "engine/engine.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "engine/engine_swarm.h"
#include "net/listener.h"
#include "platform/clock.h"

enum { BUSY_NS = 850 * 1000 * 1000 }; /* a second, of one processor */

static void on_tick(void *ctx);

/* -- work -- */

static enum err
run_work(void *ctx, struct error *e)
{
	struct engine_work *w = ctx;

	return w->work(w, e);
}

static void
on_work_done(void *ctx, enum err r, const struct error *e)
{
	struct engine_work *w = ctx;
	struct engine *en = w->engine;

	w->done(w, r, e);
	en->pending--;
	engine_part_closed(en);
}

void
engine_work(struct engine *en, struct engine_work *w)
{
	w->engine = en;
	en->pending++;
	job_run(en->loop, run_work, on_work_done, w);
}

void
engine_write(struct engine *en, struct engine_work *w)
{
	w->engine = en;
	en->pending++;
	job_queue_run(en->writes, run_work, on_work_done, w);
}

static enum err
get_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct buf *out, struct error *e)
{
	(void)kind;
	return chunk_store_get_node(ctx, id, out, e);
}

struct node_source
engine_nodes(struct engine *en)
{
	return (struct node_source){ .get = get_node, .ctx = en->nodes };
}

/* -- opening -- */

static enum err
open_dir(struct engine *en, const char *name, int *ret, struct error *e)
{
	enum err r = fs_mkdirs(en->home->dir, REL(name), 0700, e);

	return r == OK ? fs_open_dir(en->home->dir, REL(name), ret, e) : r;
}

static enum err
open_parts(struct engine *en, struct error *e)
{
	auto_free char *state_path = home_path(en->home, "state.db");
	auto_free char *nodes_path = home_path(en->home, "nodes");
	const struct chunk_store_opts nodes_opts = { .compress = true };
	enum err r = state_open(state_path, &en->state, e);

	if (r == OK)
		r = chunk_store_open(nodes_path, &nodes_opts, &en->nodes, e);
	if (r == OK)
		r = open_dir(en, "maps", &en->maps_dir, e);
	if (r == OK)
		r = open_dir(en, "jobs", &en->jobs_dir, e);
	if (r == OK) {
		en->places = places_new(en->state);
		en->dests = dest_table_new();
		pthread_mutex_init(&en->lost.lock, NULL);
		en->maps = map_cache_new(en->maps_dir, engine_nodes(en));
		r = engine_join_load(en, e);
	}
	if (r == OK) {
		en->limits = limits_new(en->o.throttle);
		r = engine_limit_load(en, e);
	}
	if (r == OK) {
		r = engine_line_load(en, e);
	}
	return r;
}

static void
free_parts(struct engine *en)
{
	array_clear(&en->jobs);
	engine_ended_clear(en);
	map_clear(&en->known);
	engine_swarm_free(en);
	authority_free(en->authority);
	limits_free(en->limits);
	map_cache_free(en->maps);
	dest_table_free(en->dests);
	places_free(en->places);
	chunk_store_close(en->nodes);
	state_close(en->state);
	if (en->maps_dir >= 0)
		(void)close(en->maps_dir);
	if (en->jobs_dir >= 0)
		(void)close(en->jobs_dir);
	free(en);
}

static void
set_names(struct engine *en)
{
	snprintf(en->name, sizeof en->name, "%s", en->o.name != NULL ? en->o.name : "");
	if (!statement_name_ok(en->name))
		home_host_name(en->name, sizeof en->name);
	snprintf(en->site, sizeof en->site, "%s", en->o.site != NULL ? en->o.site : "");
}

enum err
engine_open(const struct engine_opts *o, struct engine **ret, struct error *e)
{
	struct engine *en = mem_new(struct engine);

	en->o = *o;
	en->loop = o->loop;
	en->home = o->home;
	en->maps_dir = en->jobs_dir = -1;
	set_names(en);
	enum err r = open_parts(en, e);
	if (r == OK)
		r = engine_mesh_listen(en, e);
	if (r != OK) {
		free_parts(en);
		return r;
	}
	en->writes = job_queue_new(en->loop);
	en->source = engine_source(en);
	engine_yield_set(en, limits_setting(en->limits)->background);
	engine_swarm_open(en);
	engine_mesh_open(en);
	en->tick = timer_new(en->loop, on_tick, en);
	timer_start(en->tick, ENGINE_TICK_MS);
	en->gc_ms = loop_now_ms(en->loop);
	r = engine_job_load(en, e);
	if (r != OK) { /* jobs that cannot be read are named, and the rest of the engine works */
		log_error("%s", e->text);
	}
	engine_limit_jobs_load(en);
	engine_link_start(en);
	*ret = en;
	return OK;
}

/* What was used since the last look. */
static void
count_cpu(struct speed *s, uint64_t used_ns, uint64_t now_ms)
{
	speed_add(s, used_ns - s->total, now_ms);
}

bool
engine_is_busy(const struct engine *en)
{
	uint64_t now = loop_now_ms(en->loop), all = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);

	return speed_now(&en->loop_cpu, now) >= BUSY_NS ||
	       speed_now(&en->cpu, now) >= all * BUSY_NS;
}

static void
on_tick(void *ctx)
{
	struct engine *en = ctx;

	count_cpu(&en->cpu, clock_cpu_ns(), loop_now_ms(en->loop));
	count_cpu(&en->loop_cpu, clock_thread_cpu_ns(), loop_now_ms(en->loop));
	engine_job_tick(en);
	engine_swarm_tick(en);
	engine_gc_tick(en);
	engine_limit_tick(en);
	engine_line_tick(en);
	places_trim(en->places);
	timer_start(en->tick, ENGINE_TICK_MS);
}

/* -- closing -- */

void
engine_part_closed(struct engine *en)
{
	if (!en->closing || en->pending > 0 || en->jobs.len > 0 || en->link.peer != NULL ||
	    en->mesh != NULL)
		return;
	void (*on_closed)(void *ctx) = en->on_closed;
	void *ctx = en->on_closed_ctx;
	en->closing = false; /* once */
	job_queue_free(en->writes);
	free_parts(en);
	on_closed(ctx);
}

static void
close_later(void *arg)
{
	struct engine *en = arg;

	en->pending--;
	engine_part_closed(en);
}

void
engine_close(struct engine *en, void (*on_closed)(void *ctx), void *ctx)
{
	if (en->closing)
		return;
	en->closing = true;
	en->on_closed = on_closed;
	en->on_closed_ctx = ctx;
	en->pending++; /* whatever closes meanwhile, this comes last */
	timer_close(en->tick);
	engine_yield_close(en);
	engine_mesh_close(en);
	engine_job_stop_all(en);
	engine_swarm_close(en); /* nobody takes any more */
	engine_link_close(en);
	loop_post(en->loop, close_later, en);
}

uint16_t
engine_port(const struct engine *en)
{
	return en->listener != NULL ? listener_port(en->listener) : 0;
}
