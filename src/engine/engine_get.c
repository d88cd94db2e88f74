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

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_get_private.h"

enum { REPAIR_RETRY_MS = 3000 };

static const char *const phase_names[] = { "plan", "plan", "plan", "copy", "fetch", "switch",
	"switch", "switch", "follow" };

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
	else if (r == ERR_CANCELED && (!hash_id_is_none(&g->newer) || g->is_dropped))
		return; /* interrupted for the sake of another one */
	else if (r == ERR_NOTFOUND && engine_get_follow_may_drop(g))
		engine_get_follow_drop(g, e->text);
	else if (r != ERR_CANCELED || g->job.want == WANT_RUN)
		engine_job_finish(&g->job, r, e, none);
}

void
engine_get_lost(struct get *g, const char *text)
{
	struct engine_job *j = &g->job;
	struct error e;

	if (j->over || g->phase >= GET_SWITCH)
		return;
	(void)fail(&e, ERR_NOTFOUND, "%s: the snapshot %s: %s", g->share,
	    g->number == 0 ? "was withdrawn before all of it was here" : "is no longer there",
	    text);
	if (g->flags & GET_FOLLOW) {
		engine_get_follow_drop(g, e.text);
		return;
	}
	j->cancel = true;
	engine_job_begin(j);
	engine_job_finish(j, ERR_NOTFOUND, &e, (struct bytes){ NULL, 0 });
	j->kind->stop(j);
	engine_job_end(j);
}

void
engine_get_reset(struct get *g)
{
	g->phase = GET_RESOLVE;
	g->came = (struct get_came){ 0 };
	g->n_sources = 0;
	g->summary = (struct dest_summary){ 0 };
	g->job.skipped = 0;
	g->job.started_ms = loop_now_ms(g->job.engine->loop);
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

	if (r != ERR_NOSPACE || (g->phase == GET_PLAN && !(g->flags & GET_FOLLOW))) {
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

	job->is_resting = false;
	if (engine_get_follow_turn(g))
		return;
	switch (g->phase) {
	case GET_RESOLVE:
		engine_get_resolve(g);
		return;
	case GET_NODES:
		engine_get_fetch_enter(g);
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
	case GET_TIDY:
		engine_get_follow_tidy(g);
		return;
	case GET_REST:
		engine_get_follow(g);
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
	engine_get_fetch_leave(g, false);
	engine_get_resolve_stop(g);
}

static void
link_gone(struct engine_job *job)
{
	struct get *g = (struct get *)job;

	g->is_stale = true;
	if (g->phase == GET_REST)
		engine_job_next(job);
	if (g->fetch == NULL && !engine_get_fetch_waits(g))
		return;
	snprintf(job->row.text, sizeof job->row.text,
	    "the server is not reachable; goes on when it is back");
	engine_job_note(job, job->row.text);
	engine_get_resolve_peers(g);
	engine_get_fetch_link_gone(g);
}

static void
link_ready(struct engine_job *job)
{
	struct get *g = (struct get *)job;

	if (!job->engine->link.ready) /* something else is over that jobs waited for */
		return;
	if (g->fetch != NULL || engine_get_fetch_waits(g))
		job->row.text[0] = '\0';
	engine_get_resolve_peers(g);
	engine_get_fetch_link_ready(g);
	engine_get_resolve_again(g);
}

static enum err
discard(struct engine_job *job, struct error *e)
{
	struct get *g = (struct get *)job;

	engine_get_follow_close(g);
	if (g->job_dir < 0) /* of an earlier run */
		g->job_dir = engine_get_dest_dir(g, g->round, e);
	if (g->job_dir < 0)
		return ERR_IO;
	enum err r = dest_discard(g->path, job->row.id, g->round, g->job_dir, e);
	return r == OK ? engine_get_dest_clear_other(g, e) : r;
}

static void
progress(struct engine_job *job, struct buf *record)
{
	struct get *g = (struct get *)job;
	uint64_t missing = g->summary.bytes_missing, fetched = engine_get_fetch_came(g).bytes;
	uint64_t left = missing > fetched ? missing - fetched : 0;
	uint64_t total = g->summary.bytes, done = total > left ? total - left : 0;

	record_text(record, "phase", phase_names[g->phase]);
	if (g->phase >= GET_COPY && g->phase < GET_TIDY) {
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

	engine_get_follow_close(g);
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
	free(g->dropped_why);
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
	g->job_dir = g->earlier_dir = -1;
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
	if ((g->flags & GET_FOLLOW) && g->selector[0] != '\0')
		return fail(e, ERR_USAGE,
		    "--follow takes the newest snapshot, and then each newer one: leave out @%s",
		    g->selector);
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

static void
put_spec(struct get *g)
{
	struct buf *spec = &g->job.row.spec;

	buf_reset(spec);
	engine_job_spec_put(spec, g->share);
	engine_job_spec_put(spec, g->path);
	engine_job_spec_put(spec, g->subpath);
	buf_u32(spec, g->flags);
	engine_job_spec_put(spec, g->selector);
	buf_u32(spec, g->round);
}

void
engine_get_save(struct get *g)
{
	put_spec(g);
	engine_job_save(&g->job);
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
	g->flags = (control_flag(r, "overwrite") ? GET_OVERWRITE : 0) |
		   (control_flag(r, "follow") ? GET_FOLLOW : 0);
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
	put_spec(g);
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
	g->round = reader_u32(&rd);
	if (!reader_done(&rd) || g->round > 1) {
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

/* -- what the server and others tell -- */

static void
tell_progress(struct get *g, const struct msg_progress *m)
{
	auto_free char *why = str_printf("%.*s", (int)m->text.len, (const char *)m->text.at);

	if (!hash_id_equal(&m->snapshot, &g->job.row.snapshot)) {
		if (g->flags & GET_FOLLOW)
			engine_get_follow_progress(g, m);
	} else if (m->state == SNAPSHOT_HEAD) {
		engine_get_resolve_number(g, m->number);
	} else if (m->state == SNAPSHOT_WITHDRAWN) {
		engine_get_lost(g, why);
	}
}

void
engine_get_progress(struct engine *en, const struct msg_progress *m)
{
	struct error e;

	if (m->head.len > 0 && engine_link_statement(en, m->head, &e) != OK && e.code != ERR_DENIED)
		log_warn("a statement from the server: %s", e.text);
	for (size_t i = 0; i < en->jobs.len; i++) {
		struct engine_job *j = en->jobs.at[i];
		if (j->kind == &kind && !j->over && hash_id_equal(&j->row.share, &m->share))
			tell_progress((struct get *)j, m);
	}
}

void
engine_get_peers(struct engine *en)
{
	array_each (j, &en->jobs) {
		if ((*j)->kind == &kind)
			engine_get_resolve_peers((struct get *)*j);
	}
}

void
engine_get_peer_gone(struct engine *en, struct peer *p)
{
	array_each (j, &en->jobs) {
		if ((*j)->kind == &kind)
			engine_get_resolve_peer_gone((struct get *)*j, p);
	}
}
