/*
 * A get: RESOLVE which snapshot, its NODES, PLAN what DEST needs, COPY what is on the disk, FETCH
 * the rest, SWITCH.
 *
 * The snapshot is settled by the first answer and kept in the row, so a restart goes on with the
 * same one.  Each step can be left and entered again: nodes that are here are not asked for, the
 * plan is read back, leaves that were flushed are not fetched.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/engine_get_private.h"

enum { REPAIR_RETRY_MS = 3000 };

static const char *const phase_names[] = { "plan", "plan", "plan", "copy", "fetch", "switch",
	"switch" };

static void step(struct engine_job *job);
static void stop(struct engine_job *job);
static enum err discard(struct engine_job *job, struct error *e);
static void progress(struct engine_job *job, struct buf *record);
static void free_get(struct engine_job *job);
static void link_gone(struct engine_job *job);
static void link_ready(struct engine_job *job);

static const struct engine_job_kind kind = {
	.name = "get",
	.step = step,
	.stop = stop,
	.discard = discard,
	.progress = progress,
	.free = free_get,
	.link_gone = link_gone,
	.link_ready = link_ready,
};

/* -- what all steps do -- */

void
engine_get_run(struct get *g, enum err (*work)(struct engine_work *w, struct error *e),
    void (*done)(struct engine_work *w, enum err r, const struct error *e))
{
	g->work = (struct engine_work){ .work = work, .done = done };
	engine_job_begin(&g->job);
	engine_work(g->job.engine, &g->work);
}

void
engine_get_fail(struct get *g, enum err r, const struct error *e)
{
	const struct bytes none = { NULL, 0 };

	if (r == ERR_OFFLINE || r == ERR_AGAIN)
		engine_job_wait(&g->job, engine_job_retry_ms(&g->job, r), e->text);
	else if (r != ERR_CANCELED || g->job.want == WANT_RUN)
		engine_job_finish(&g->job, r, e, none);
}

/* The server has been told, or has noticed by itself: it fetches what it lost from the publisher.
 */
void
engine_get_wait_repair(struct get *g)
{
	char text[ERROR_TEXT];

	snprintf(text, sizeof text,
	    "%s is damaged in the server's store: waiting until it has it again from its publisher",
	    g->share);
	engine_job_wait(&g->job, REPAIR_RETRY_MS, text);
}

/* A full disk is waited for once something was begun; before that it is an answer. */
void
engine_get_work_failed(struct get *g, enum err r, const struct error *e)
{
	char text[ERROR_TEXT + 64];

	if (r != ERR_NOSPACE || g->phase == GET_PLAN) {
		engine_get_fail(g, r, e);
		return;
	}
	snprintf(text, sizeof text, "%s; paused, goes on when there is room", e->text);
	engine_job_wait(&g->job, ENGINE_NOSPACE_RETRY_MS, text);
}

/* -- the steps -- */

static void
step(struct engine_job *job)
{
	struct get *g = (struct get *)job;

	switch (g->phase) {
	case GET_RESOLVE:
		engine_get_resolve(g);
		return;
	case GET_NODES:
		engine_get_resolve_nodes(g);
		return;
	case GET_PLAN:
		engine_get_dest_plan(g);
		return;
	case GET_COPY:
		engine_get_dest_copy(g);
		return;
	case GET_FETCH:
		engine_get_fetch(g);
		return;
	case GET_SWITCH:
		engine_get_dest_switch(g);
		return;
	case GET_END:
		return;
	}
}

/* The downloads end at once; work in the pool sees the cancel flag.  A question under way is
 * answered or lost. */
static void
stop(struct engine_job *job)
{
	struct get *g = (struct get *)job;

	engine_get_fetch_stop(g);
	engine_get_resolve_stop(g);
}

static void
link_gone(struct engine_job *job)
{
	struct get *g = (struct get *)job;

	if (g->fetch == NULL && !engine_get_fetch_is_on(g))
		return;
	snprintf(job->row.text, sizeof job->row.text,
	    "the server is not reachable; goes on when it is back");
	engine_job_note(job, job->row.text);
	if (g->fetch != NULL)
		fetch_nodes_peer(g->fetch, NULL);
	engine_get_fetch_link_gone(g);
}

static void
link_ready(struct engine_job *job)
{
	struct get *g = (struct get *)job;

	if (g->fetch != NULL || engine_get_fetch_is_on(g))
		job->row.text[0] = '\0';
	if (g->fetch != NULL)
		fetch_nodes_peer(g->fetch, job->engine->link.peer);
	engine_get_fetch_link_ready(g);
}

static enum err
discard(struct engine_job *job, struct error *e)
{
	struct get *g = (struct get *)job;

	engine_get_dest_close(g);
	if (g->job_dir < 0) /* of an earlier run */
		g->job_dir = engine_job_dir(job->engine, job->row.id, e);
	return g->job_dir < 0 ? ERR_IO : dest_discard(g->path, job->row.id, g->job_dir, e);
}

static void
progress(struct engine_job *job, struct buf *record)
{
	struct get *g = (struct get *)job;
	uint64_t missing = g->summary.bytes_missing, fetched = engine_get_fetch_bytes(g);
	uint64_t left = missing > fetched ? missing - fetched : 0;
	uint64_t total = g->summary.bytes, done = total > left ? total - left : 0;

	record_text(record, "phase", phase_names[g->phase]);
	if (g->phase >= GET_COPY) {
		record_size(record, "done", done);
		record_size(record, "total", total);
		record_int(record, "files_total", g->summary.files + g->summary.symlinks);
	}
	engine_get_fetch_progress(g, left, record);
}

static void
free_get(struct engine_job *job)
{
	struct get *g = (struct get *)job;

	engine_get_dest_close(g);
	snapshot_map_free(g->map);
	commit_clear(&g->commit);
	root_clear(&g->root);
	buf_clear(&g->commit_bytes);
	if (g->job_dir >= 0)
		(void)close(g->job_dir);
	free(g->share);
	free(g->selector);
	free(g->path);
	free(g->subpath);
	free(g);
}

/* -- beginning -- */

static struct get *
new_get(struct engine *en)
{
	struct get *g = mem_new(struct get);

	g->job.engine = en;
	g->job.kind = &kind;
	g->job.row.kind = ROOT_GET;
	g->job.row.spec = BUF(JOB_SPEC_MAX);
	g->job_dir = -1;
	g->commit_bytes = BUF(COMMIT_MAX);
	return g;
}

static char *
argument(const struct control_request *r, const char *name)
{
	const char *v = control_arg(r, name);

	return str_dup(v != NULL ? v : "");
}

static enum err
check(const struct get *g, struct error *e)
{
	struct relpath sub;

	if (!statement_name_ok(g->share))
		return fail(e, ERR_USAGE, "'%s' is no name of a share", g->share);
	if (g->path[0] != '/')
		return fail(e, ERR_USAGE, "name the directory to receive into");
	if (strlen(g->selector) > LIMIT_SELECTOR)
		return fail(e, ERR_USAGE, "the name of the snapshot is too long");
	if (relpath_parse(g->subpath, strlen(g->subpath), &sub, e) != OK)
		return fail(
		    e, ERR_USAGE, "--path %s: a path inside the share, without '..'", g->subpath);
	return OK;
}

/* Two jobs into one directory would undo each other. */
static struct engine_job *
find_same(struct engine *en, const struct get *g)
{
	array_each (j, &en->jobs) {
		if ((*j)->kind == &kind && !(*j)->over &&
		    strcmp(((struct get *)*j)->path, g->path) == 0)
			return *j;
	}
	return NULL;
}

void
engine_get(struct engine *en, struct control_call *call, const struct control_request *r)
{
	struct get *g = new_get(en);
	struct engine_job *same;
	struct error e;

	g->share = argument(r, "share");
	g->selector = argument(r, "snapshot");
	g->path = argument(r, "dest");
	g->subpath = argument(r, "path");
	g->flags = control_flag(r, "overwrite") ? GET_OVERWRITE : 0;
	enum err err = check(g, &e);
	if (err == OK && !en->joined)
		err = fail(
		    &e, ERR_OFFLINE, "this machine has not joined a server: `weft join INVITE`");
	if (err == OK && (same = find_same(en, g)) != NULL)
		err = fail(&e, ERR_EXISTS,
		    "job %lld is receiving into %s: wait for it, or `weft cancel %lld`",
		    (long long)same->row.id, g->path, (long long)same->row.id);
	if (err != OK) {
		control_call_done(call, &e, -1);
		free_get(&g->job);
		return;
	}
	snprintf(g->job.share_name, sizeof g->job.share_name, "%s", g->share);
	engine_job_spec_put(&g->job.row.spec, g->share);
	engine_job_spec_put(&g->job.row.spec, g->path);
	engine_job_spec_put(&g->job.row.spec, g->subpath);
	buf_u32(&g->job.row.spec, g->flags);
	engine_job_spec_put(&g->job.row.spec, g->selector);
	engine_job_watch(&g->job, call, false);
	engine_job_add(en, &g->job);
}

struct engine_job *
engine_get_load(struct engine *en, const struct job_row *row)
{
	struct get *g = new_get(en);
	struct reader rd = reader_over(buf_bytes(&row->spec));
	char id[HASH_ID_TEXT];

	g->share = engine_job_spec_get(&rd);
	g->path = engine_job_spec_get(&rd);
	g->subpath = engine_job_spec_get(&rd);
	g->flags = reader_u32(&rd);
	g->selector = engine_job_spec_get(&rd);
	if (!reader_done(&rd)) {
		free_get(&g->job);
		return NULL;
	}
	if (!hash_id_is_none(&row->snapshot)) {
		free(g->selector);
		g->selector = str_dup(hash_id_format(&row->snapshot, id));
	}
	snprintf(g->job.share_name, sizeof g->job.share_name, "%s", g->share);
	return &g->job;
}
