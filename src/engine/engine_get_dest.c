/*
 * What a get makes of DEST: a plan, copies of what is on this machine, and, when all is here, the
 * switch.  Each step can be left and entered again: the plan is read back, leaves that were flushed
 * are not fetched.
 */
#include "engine/engine_get_private.h"
#include "engine/engine_swarm.h"
#include "platform/clock.h"

/* -- PLAN -- */

static void
note(void *ctx, struct relpath path, const char *why)
{
	engine_job_note_thread(&((struct get *)ctx)->job, path, why);
}

static enum err
open_root(struct get *g, struct error *e)
{
	struct engine *en = g->job.engine;

	root_clear(&g->root);
	return state_root_get(en->state, ROOT_GET, &g->commit.share, g->job.share_name, g->path,
	    g->subpath, &g->root, e);
}

int
engine_get_dest_dir(struct get *g, unsigned round, struct error *e)
{
	auto_fd int job = engine_job_dir(g->job.engine, g->job.row.id, e);
	int fd = -1;

	if (job < 0 || round == 0)
		return take_fd(job);
	if (fs_mkdirs(job, REL("1"), 0700, e) != OK)
		return -1;
	return fs_open_dir(job, REL("1"), &fd, e) == OK ? fd : -1;
}

enum err
engine_get_dest_clear_other(struct get *g, struct error *e)
{
	if (!(g->flags & GET_FOLLOW))
		return OK;
	auto_fd int dir = engine_get_dest_dir(g, 1 - g->round, e);
	return dir < 0 ? ERR_IO : dest_discard(g->path, g->job.row.id, 1 - g->round, dir, e);
}

static enum err
work_plan(struct engine_work *w, struct error *e)
{
	struct get *g = engine_get_of_work(w);
	struct engine *en = w->engine;
	struct relpath sub = { 0 };

	enum err r = chunk_store_put_node(en->nodes, (enum hash_alg)g->commit.id.alg, HASH_COMMIT,
	    buf_bytes(&g->commit_bytes), NULL, e);
	if (r == OK)
		r = chunk_store_commit(en->nodes, e);
	/* Only now, and from below: who has a node of a share is believed to have all beneath it.
	 */
	if (r == OK)
		r = engine_source_own(en, &g->commit, e);
	if (r == OK && g->map == NULL)
		r = snapshot_map_open(en->maps_dir, engine_nodes(en), &g->commit.content,
		    g->unit_size, &g->job.cancel, &g->map, e);
	if (r == OK)
		r = open_root(g, e);
	if (r == OK && g->job_dir < 0) {
		g->job_dir = engine_get_dest_dir(g, g->round, e);
		r = g->job_dir < 0 ? ERR_IO : OK;
	}
	if (r == OK && g->earlier == NULL)
		r = engine_get_dest_clear_other(g, e);
	if (r == OK)
		r = relpath_parse(g->subpath, strlen(g->subpath), &sub, e);
	if (r != OK)
		return r;
	const struct dest_opts o = {
		.path = g->path,
		.subpath = sub,
		.job = g->job.row.id,
		.round = g->round,
		.job_dir = g->job_dir,
		.state = en->state,
		.places = en->places,
		.root = &g->root,
		.nodes = engine_nodes(en),
		.map = g->map,
		.snapshot = g->commit.id,
		.content = g->commit.content,
		.overwrite = (g->flags & GET_OVERWRITE) != 0,
		.share_only = g->number == 0,
		.cancel = &g->job.cancel,
		.on_note = note,
		.ctx = g,
	};
	dest_expire_trash(g->path, clock_wall_ns());
	return dest_plan(&o, &g->dest, e);
}

static void
done_plan(struct engine_work *w, enum err r, const struct error *e)
{
	struct get *g = engine_get_of_work(w);

	if (r == OK) {
		g->phase = GET_COPY;
		dest_table_add(g->job.engine->dests, &g->commit.share, &g->commit.id, g->dest);
		dest_summary(g->dest, &g->summary);
		g->job.row.bytes_total = g->summary.bytes;
	} else {
		engine_get_work_failed(g, r, e);
	}
	engine_job_end(&g->job);
}

void
engine_get_dest_plan(struct get *g)
{
	engine_get_run(g, work_plan, done_plan);
}

void
engine_get_dest_close(struct get *g)
{
	if (g->dest == NULL)
		return;
	dest_table_remove(g->job.engine->dests, g->dest);
	dest_close(g->dest);
	g->dest = NULL;
}

/* -- COPY -- */

static enum err
work_copy(struct engine_work *w, struct error *e)
{
	struct get *g = engine_get_of_work(w);
	enum err r = dest_copy_local(g->dest, g->earlier, e);

	if (r == OK)
		engine_get_follow_copied(g);
	return r;
}

static void
done_copy(struct engine_work *w, enum err r, const struct error *e)
{
	struct get *g = engine_get_of_work(w);

	dest_summary(g->dest, &g->summary);
	if (r == OK) /* nobody is needed for what is all here */
		g->phase = g->summary.bytes_missing > 0 ? GET_FETCH : GET_SWITCH;
	else
		engine_get_work_failed(g, r, e);
	engine_job_end(&g->job);
}

void
engine_get_dest_copy(struct get *g)
{
	engine_get_run(g, work_copy, done_copy);
}

/* -- SWITCH -- */

static enum err
work_switch(struct engine_work *w, struct error *e)
{
	return dest_switch(engine_get_of_work(w)->dest, e);
}

static void
finish_row(struct get *g, struct buf *row)
{
	const struct dest_summary *s = &g->summary;
	char id[HASH_ID_TEXT];

	record_int(row, "job", (uint64_t)g->job.row.id);
	record_text(row, "share", g->share);
	record_int(row, "snapshot", g->number);
	record_text(row, "id", hash_id_format(&g->commit.id, id));
	record_text(row, "dest", g->path);
	record_int(row, "files", s->files);
	record_int(row, "symlinks", s->symlinks);
	record_int(row, "files_new", s->files_new);
	record_int(row, "files_changed", s->files_changed);
	record_int(row, "files_same", s->files_same + s->files_adopted);
	record_int(row, "files_removed", s->files_removed);
	record_int(row, "in_way", s->in_way);
	record_int(row, "trashed", s->trashed);
	record_size(row, "bytes", s->bytes);
	record_size(row, "bytes_reused", s->bytes_reused);
	record_size(row, "bytes_fetched", g->came.bytes);
	record_size(row, "bytes_wire", g->came.wire);
	record_duration(row, "duration", loop_now_ms(g->job.engine->loop) - g->job.started_ms);
}

static void
source_rows(struct get *g)
{
	for (size_t i = 0; i < g->n_sources; i++) {
		auto_buf struct buf row = BUF(RECORD_MAX);
		char id[DEVICE_ID_TEXT];
		record_text(&row, "list", "sources");
		record_text(&row, "name", engine_mesh_name(g->job.engine, &g->sources[i].device));
		record_text(&row, "device", device_id_format(&g->sources[i].device, id));
		record_size(&row, "bytes", g->sources[i].came.bytes);
		record_size(&row, "bytes_wire", g->sources[i].came.wire);
		array_each (w, &g->job.watchers) {
			if ((*w)->call != NULL)
				control_call_row((*w)->call, buf_bytes(&row));
		}
	}
}

static void
tell_row(struct get *g)
{
	auto_buf struct buf row = BUF(RECORD_MAX);

	record_text(&row, "list", "snapshots");
	finish_row(g, &row);
	array_each (w, &g->job.watchers) {
		if ((*w)->call != NULL)
			control_call_row((*w)->call, buf_bytes(&row));
	}
}

static void
done_switch(struct engine_work *w, enum err r, const struct error *e)
{
	struct get *g = engine_get_of_work(w);
	auto_buf struct buf row = BUF(RECORD_MAX);

	dest_summary(g->dest, &g->summary);
	if (r == OK) { /* what is in place is given from there */
		engine_get_fetch_leave(g, true);
		engine_swarm_roots(g->job.engine);
	}
	if (r == OK && (g->flags & GET_FOLLOW)) {
		tell_row(g);
		engine_get_follow_switched(g);
	} else if (r == OK) {
		g->phase = GET_END;
		if (g->summary.in_way > 0)
			g->job.skipped++;
		finish_row(g, &row);
		source_rows(g);
		engine_job_finish(&g->job, OK, NULL, buf_bytes(&row));
	} else if (
	    r ==
	    ERR_AGAIN) { /* something is missing after all: a staged file was damaged meanwhile */
		g->phase = GET_FETCH;
	} else {
		engine_get_work_failed(g, r, e);
	}
	engine_job_end(&g->job);
}

void
engine_get_dest_switch(struct get *g)
{
	engine_get_run(g, work_switch, done_switch);
}
