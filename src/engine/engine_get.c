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
#include "engine/engine_internal.h"
#include "platform/clock.h"

#define GET_PHASES(X) X(RESOLVE) X(NODES) X(PLAN) X(COPY) X(FETCH) X(SWITCH) X(END)
enum get_phase {
#define X(name) GET_##name,
	GET_PHASES(X)
#undef X
};
static const char *const phase_names[] = { "plan", "plan", "plan", "copy", "fetch", "switch",
	"switch" };

enum { SOURCES_SHOWN = 16, GET_OVERWRITE = 1, REPAIR_RETRY_MS = 3000 };

struct get {
	struct engine_job job; /* first */
	struct engine_ask ask;
	struct engine_work work;
	enum get_phase phase;
	char *share, *selector, *path, *subpath;
	uint32_t flags;
	struct commit commit;
	uint64_t number;
	uint32_t unit_size;
	struct root root;
	struct fetch_nodes *fetch;
	struct snapshot_map *map;
	struct dest *dest;
	int job_dir;
	struct download *download;
	struct dest_summary summary;
	struct buf commit_bytes;
	uint64_t fetched; /* bytes of earlier downloads of this run */
	struct download_source sources[SOURCES_SHOWN];
	size_t n_sources;
	struct download_source now[SOURCES_SHOWN];
};

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

/* One blocking thing of a job. */
static void
run(struct get *g, enum err (*work)(struct engine_work *w, struct error *e),
    void (*done)(struct engine_work *w, enum err r, const struct error *e))
{
	g->work = (struct engine_work){ .work = work, .done = done };
	engine_job_begin(&g->job);
	engine_work(g->job.engine, &g->work);
}

static struct get *
of_work(struct engine_work *w)
{
	return container_of(w, struct get, work);
}

static void
fail_or_wait(struct get *g, enum err r, const struct error *e)
{
	const struct bytes none = { NULL, 0 };

	if (r == ERR_OFFLINE || r == ERR_AGAIN)
		engine_job_wait(&g->job, engine_job_retry_ms(&g->job, r), e->text);
	else if (r != ERR_CANCELED || g->job.want == WANT_RUN)
		engine_job_finish(&g->job, r, e, none);
}

/* -- RESOLVE -- */

static enum err
take_snapshot(struct get *g, const struct msg_snapshot *m, struct error *e)
{
	struct engine *en = g->job.engine;
	struct statement st;

	enum err r = statement_decode(m->share_statement, &st, e);
	if (r == OK && st.kind != STATEMENT_SHARE)
		r = fail(e, ERR_PROTO, "the server's answer lacks the share's statement");
	if (r != OK)
		return r;
	struct hash_id share = statement_share_id(m->share_statement);
	struct bytes statements[] = { m->share_statement, m->grant, m->head };
	for (size_t i = 0; i < lengthof(statements); i++) {
		if (statements[i].len == 0)
			continue;
		r = authority_accept(en->authority, statements[i], NULL, e);
		/* an older head than we know is fine */
		if (r != OK && !(i == 2 && r == ERR_DENIED))
			return error_wrap(e, r, "the server's answer does not hold");
	}
	if (m->state != SNAPSHOT_HEAD)
		return fail(e, ERR_AGAIN, "this snapshot is not complete on the server yet");
	commit_clear(&g->commit);
	r = commit_decode(m->commit, &g->commit, e);
	if (r == OK)
		r = commit_verify(m->commit, &g->commit, e);
	if (r == OK && !hash_id_equal(&g->commit.share, &share))
		r = fail(e, ERR_PROTO, "the server answered with a snapshot of another share");
	if (r != OK)
		return r;
	g->number = m->number;
	g->unit_size = m->unit_size;
	buf_reset(&g->commit_bytes);
	buf_add_bytes(&g->commit_bytes, m->commit);
	return OK;
}

static void
on_resolved(struct engine_ask *a, const struct message *m, const struct error *e)
{
	struct get *g = container_of(a, struct get, ask);
	struct engine_job *j = &g->job;
	struct error own;
	char id[HASH_ID_TEXT];
	enum err r;

	if (m != NULL && m->type == FRAME_SNAPSHOT)
		r = take_snapshot(g, &m->snapshot, &own);
	else if (m != NULL)
		r = fail(&own, ERR_PROTO, "the server answered with something else");
	else
		r = (own = *e).code;
	if (r == OK) {
		j->row.share = g->commit.share;
		j->row.snapshot = g->commit.id;
		/* From now on it is this snapshot, whatever becomes the head. */
		free(g->selector);
		g->selector = str_dup(hash_id_format(&g->commit.id, id));
		g->phase = GET_NODES;
		engine_job_save(j);
	} else {
		fail_or_wait(g, r, &own);
	}
	engine_job_end(j);
}

static void
resolve(struct get *g)
{
	struct message m = { .type = FRAME_RESOLVE };
	struct error e;

	m.resolve = (struct msg_resolve){ .share = bytes_str(g->share),
		.selector = bytes_str(g->selector) };
	g->ask.on_answer = on_resolved;
	enum err r = engine_link_ask(g->job.engine, &g->ask, &m, &e);
	if (r == OK) {
		engine_job_begin(&g->job);
		return;
	}
	/* Without a server at all, or a membership, there is nothing to wait for. */
	if (!g->job.engine->joined || g->job.engine->link.given_up)
		engine_job_finish(&g->job, r, &e, (struct bytes){ NULL, 0 });
	else
		fail_or_wait(g, ERR_OFFLINE, &e);
}

/* -- NODES -- */

static void
fetch_closed(void *ctx)
{
	engine_job_end(&((struct get *)ctx)->job);
}

/* The server has been told, or has noticed by itself: it fetches what it lost from the publisher.
 */
static void
wait_for_repair(struct get *g)
{
	char text[ERROR_TEXT];

	snprintf(text, sizeof text,
	    "%s is damaged in the server's store: waiting until it has it again from its publisher",
	    g->share);
	engine_job_wait(&g->job, REPAIR_RETRY_MS, text);
}

static void
on_nodes(void *ctx, enum err r, const struct error *e)
{
	struct get *g = ctx;

	if (r == OK)
		g->phase = GET_PLAN;
	else if (r == ERR_CORRUPT)
		wait_for_repair(g);
	else
		fail_or_wait(g, r, e);
	fetch_nodes_close(g->fetch, fetch_closed, g);
	g->fetch = NULL;
}

static void
fetch_manifest(struct get *g)
{
	struct engine *en = g->job.engine;
	const struct fetch_nodes_opts o = {
		.loop = en->loop,
		.nodes = en->nodes,
		.commit = &g->commit,
		.on_done = on_nodes,
		.ctx = g,
	};

	engine_job_begin(&g->job);
	g->fetch = fetch_nodes_start(&o, en->link.ready ? en->link.peer : NULL);
}

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

static enum err
work_plan(struct engine_work *w, struct error *e)
{
	struct get *g = of_work(w);
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
		g->job_dir = engine_job_dir(en, g->job.row.id, e);
		r = g->job_dir < 0 ? ERR_IO : OK;
	}
	if (r == OK)
		r = relpath_parse(g->subpath, strlen(g->subpath), &sub, e);
	if (r != OK)
		return r;
	const struct dest_opts o = {
		.path = g->path,
		.subpath = sub,
		.job = g->job.row.id,
		.job_dir = g->job_dir,
		.state = en->state,
		.places = en->places,
		.root = &g->root,
		.nodes = engine_nodes(en),
		.map = g->map,
		.snapshot = g->commit.id,
		.content = g->commit.content,
		.overwrite = (g->flags & GET_OVERWRITE) != 0,
		.cancel = &g->job.cancel,
		.on_note = note,
		.ctx = g,
	};
	dest_expire_trash(g->path, clock_wall_ns());
	return dest_plan(&o, &g->dest, e);
}

/* A full disk is waited for once something was begun; before that it is an answer. */
static void
work_failed(struct get *g, enum err r, const struct error *e)
{
	char text[ERROR_TEXT + 64];

	if (r != ERR_NOSPACE || g->phase == GET_PLAN) {
		fail_or_wait(g, r, e);
		return;
	}
	snprintf(text, sizeof text, "%s; paused, goes on when there is room", e->text);
	engine_job_wait(&g->job, ENGINE_NOSPACE_RETRY_MS, text);
}

static void
done_plan(struct engine_work *w, enum err r, const struct error *e)
{
	struct get *g = of_work(w);

	if (r == OK) {
		g->phase = GET_COPY;
		dest_summary(g->dest, &g->summary);
		g->job.row.bytes_total = g->summary.bytes;
	} else {
		work_failed(g, r, e);
	}
	engine_job_end(&g->job);
}

/* -- COPY -- */

static enum err
work_copy(struct engine_work *w, struct error *e)
{
	return dest_copy_local(of_work(w)->dest, e);
}

static void
done_copy(struct engine_work *w, enum err r, const struct error *e)
{
	struct get *g = of_work(w);

	dest_summary(g->dest, &g->summary);
	if (r == OK)
		g->phase = GET_FETCH;
	else
		work_failed(g, r, e);
	engine_job_end(&g->job);
}

/* -- FETCH -- */

static void
add_sources(struct get *g)
{
	struct download_source here[SOURCES_SHOWN];
	size_t n = download_sources(g->download, here, SOURCES_SHOWN);

	for (size_t i = 0; i < n; i++) {
		size_t at = 0;
		while (
		    at < g->n_sources && !device_id_equal(&g->sources[at].device, &here[i].device))
			at++;
		if (at == SOURCES_SHOWN)
			continue;
		if (at == g->n_sources)
			g->sources[g->n_sources++] =
			    (struct download_source){ .device = here[i].device };
		g->sources[at].bytes += here[i].bytes;
	}
}

static void
download_closed(void *ctx)
{
	engine_job_end(&((struct get *)ctx)->job);
}

static void
close_download(struct get *g)
{
	if (g->download == NULL)
		return;
	g->fetched += download_bytes(g->download);
	add_sources(g);
	download_close(g->download, download_closed, g);
	g->download = NULL;
}

static void
on_fetched(void *ctx, enum err r, const struct error *e)
{
	struct get *g = ctx;

	if (r == OK)
		g->phase = GET_SWITCH;
	else if (r == ERR_CORRUPT)
		wait_for_repair(g);
	else
		work_failed(g, r, e);
	close_download(g);
}

static void
on_liar(void *ctx, struct peer *p, uint32_t unit)
{
	struct get *g = ctx;
	struct message m = { .type = FRAME_REPORT };

	m.report = (struct msg_report){ .share = g->commit.share,
		.snapshot = g->commit.id,
		.unit = unit,
		.who = *peer_device(p) };
	log_warn(
	    "%s: wrong bytes three times in unit %u; the server is told and will repair its store",
	    g->share, unit);
	if (session_send(peer_session(p), &m, NULL) == OK)
		peer_flush(p);
}

static void
fetch(struct get *g)
{
	struct engine *en = g->job.engine;
	const struct download_opts o = {
		.loop = en->loop,
		.map = g->map,
		.share = g->commit.share,
		.snapshot = g->commit.id,
		.sink = dest_sink(g->dest),
		.on_liar = on_liar,
		.on_done = on_fetched,
		.ctx = g,
	};

	engine_job_begin(&g->job);
	g->download = download_start(&o);
	if (en->link.ready)
		download_peer_add(g->download, en->link.peer);
}

/* -- SWITCH -- */

static enum err
work_switch(struct engine_work *w, struct error *e)
{
	return dest_switch(of_work(w)->dest, e);
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
	record_size(row, "bytes_fetched", g->fetched);
	record_duration(row, "duration", loop_now_ms(g->job.engine->loop) - g->job.started_ms);
}

static void
source_rows(struct get *g)
{
	for (size_t i = 0; i < g->n_sources; i++) {
		auto_buf struct buf row = BUF(RECORD_MAX);
		char id[DEVICE_ID_TEXT];
		bool is_server = device_id_equal(&g->sources[i].device, &g->job.engine->server);
		record_text(&row, "list", "sources");
		record_text(&row, "name", is_server ? g->job.engine->server_name : "");
		record_text(&row, "device", device_id_format(&g->sources[i].device, id));
		record_size(&row, "bytes", g->sources[i].bytes);
		array_each (w, &g->job.watchers) {
			if ((*w)->call != NULL)
				control_call_row((*w)->call, buf_bytes(&row));
		}
	}
}

static void
done_switch(struct engine_work *w, enum err r, const struct error *e)
{
	struct get *g = of_work(w);
	auto_buf struct buf row = BUF(RECORD_MAX);

	dest_summary(g->dest, &g->summary);
	if (r == OK) {
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
		work_failed(g, r, e);
	}
	engine_job_end(&g->job);
}

/* -- the steps -- */

static void
step(struct engine_job *job)
{
	struct get *g = (struct get *)job;

	switch (g->phase) {
	case GET_RESOLVE:
		resolve(g);
		return;
	case GET_NODES:
		fetch_manifest(g);
		return;
	case GET_PLAN:
		run(g, work_plan, done_plan);
		return;
	case GET_COPY:
		run(g, work_copy, done_copy);
		return;
	case GET_FETCH:
		fetch(g);
		return;
	case GET_SWITCH:
		run(g, work_switch, done_switch);
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

	close_download(g);
	if (g->fetch != NULL) {
		fetch_nodes_close(g->fetch, fetch_closed, g);
		g->fetch = NULL;
	}
}

static void
link_gone(struct engine_job *job)
{
	struct get *g = (struct get *)job;

	if (g->fetch == NULL && g->download == NULL)
		return;
	snprintf(job->row.text, sizeof job->row.text,
	    "the server is not reachable; goes on when it is back");
	engine_job_note(job, job->row.text);
	if (g->fetch != NULL)
		fetch_nodes_peer(g->fetch, NULL);
	if (g->download != NULL)
		download_peers_gone(g->download);
}

static void
link_ready(struct engine_job *job)
{
	struct get *g = (struct get *)job;

	if (g->fetch != NULL || g->download != NULL)
		job->row.text[0] = '\0';
	if (g->fetch != NULL)
		fetch_nodes_peer(g->fetch, job->engine->link.peer);
	if (g->download != NULL)
		download_peer_add(g->download, job->engine->link.peer);
}

static enum err
discard(struct engine_job *job, struct error *e)
{
	struct get *g = (struct get *)job;

	dest_close(g->dest);
	g->dest = NULL;
	if (g->job_dir < 0) /* of an earlier run */
		g->job_dir = engine_job_dir(job->engine, job->row.id, e);
	return g->job_dir < 0 ? ERR_IO : dest_discard(g->path, job->row.id, g->job_dir, e);
}

static void
progress(struct engine_job *job, struct buf *record)
{
	struct get *g = (struct get *)job;
	uint64_t now = g->download != NULL ? download_bytes(g->download) : 0;
	uint64_t rate = g->download != NULL ? download_rate(g->download) : 0;
	uint64_t missing = g->summary.bytes_missing, fetched = g->fetched + now;
	uint64_t left = missing > fetched ? missing - fetched : 0;
	uint64_t total = g->summary.bytes, done = total > left ? total - left : 0;
	size_t sources = 0;

	record_text(record, "phase", phase_names[g->phase]);
	if (g->phase >= GET_COPY) {
		record_size(record, "done", done);
		record_size(record, "total", total);
		record_int(record, "files_total", g->summary.files + g->summary.symlinks);
	}
	if (g->download != NULL) {
		size_t n = download_sources(g->download, g->now, SOURCES_SHOWN);
		for (size_t i = 0; i < n; i++)
			sources += g->now[i].connected && g->now[i].rate > 0;
		record_rate(record, "rate", rate);
		if (rate > 0)
			record_duration(record, "eta", left * 1000 / rate);
		record_int(record, "sources", sources);
	}
}

static void
free_get(struct engine_job *job)
{
	struct get *g = (struct get *)job;

	dest_close(g->dest);
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
