/*
 * A publish: RESOLVE the share (or create it) and what to build upon, the BASE's manifest when it
 * is another machine's, SCAN the path, COMMIT what was found, ANNOUNCE it, and SERVE it until the
 * server holds it all.
 *
 * A conflict (somebody else's snapshot became the head) begins again from RESOLVE with the same
 * files.  When a file changes under us before the server has it, the snapshot is withdrawn and the
 * path is scanned again, three times; then it is said which.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_publish.h"
#include "engine/engine_swarm.h"

enum { TRIES_MAX = 4 };

static const char *const phase_names[] = { "scan", "scan", "scan", "scan", "scan", "upload",
	"upload", "upload" };

static void step(struct engine_job *job);
static void stop(struct engine_job *job);
static void progress(struct engine_job *job, struct buf *record);
static void free_publish(struct engine_job *job);
static void link_gone(struct engine_job *job);
static void link_ready(struct engine_job *job);

static const struct engine_job_kind kind = {
	.name = "publish",
	.step = step,
	.stop = stop,
	.progress = progress,
	.free = free_publish,
	.link_gone = link_gone,
	.link_ready = link_ready,
};

static const struct bytes no_row = { NULL, 0 };

static bool
is_dry(const struct publish *p)
{
	return (p->flags & PUBLISH_DRY_RUN) != 0;
}

static void
fail_or_wait(struct publish *p, enum err r, const struct error *e)
{
	if (r == ERR_OFFLINE || r == ERR_AGAIN)
		engine_job_wait(&p->job, engine_job_retry_ms(&p->job, r), e->text);
	else if (r != ERR_CANCELED || p->job.want == WANT_RUN)
		engine_job_finish(&p->job, r, e, no_row);
}

static bool
ask(struct publish *p, struct message *m,
    void (*on_answer)(struct engine_ask *a, const struct message *m, const struct error *e))
{
	struct error e;

	p->ask.on_answer = on_answer;
	enum err r = engine_link_ask(p->job.engine, &p->ask, m, &e);
	if (r == OK)
		engine_job_begin(&p->job);
	else if (!p->job.engine->joined || p->job.engine->link.given_up)
		engine_job_finish(&p->job, r, &e, no_row);
	else
		fail_or_wait(p, ERR_OFFLINE, &e);
	return r == OK;
}

/* -- RESOLVE, CREATE -- */

/* A policy is asked for of a new share; one that is there has its own. */
static enum err
check_policy(const struct publish *p, struct bytes share_statement, struct error *e)
{
	struct hash_id share = statement_share_id(share_statement);
	enum share_policy wanted = p->flags >> PUBLISH_POLICY_SHIFT,
			  is = authority_policy(p->job.engine->authority, &share);

	if (wanted == 0 || wanted == is)
		return OK;
	return fail(e, ERR_USAGE, "%s is %s already; `weft policy %s %s` on the server changes it",
	    p->share, statement_policy_name(is), p->share, statement_policy_name(wanted));
}

static enum err
take_snapshot(struct publish *p, const struct msg_snapshot *m, struct error *e)
{
	struct statement st;
	enum err r = statement_decode(m->share_statement, &st, e);

	if (r == OK && st.kind != STATEMENT_SHARE)
		r = fail(e, ERR_PROTO, "the server's answer lacks the share's statement");
	struct bytes statements[] = { m->share_statement, m->grant, m->head };
	for (size_t i = 0; r == OK && i < lengthof(statements); i++) {
		if (statements[i].len > 0)
			r = engine_link_statement(p->job.engine, statements[i], e);
		if (i == 2 && r == ERR_DENIED)
			r = OK;
	}
	if (r == OK)
		r = check_policy(p, m->share_statement, e);
	if (r != OK)
		return r;
	p->share_id = statement_share_id(m->share_statement);
	p->policy_id = st.id;
	commit_clear(&p->base);
	p->base_number = 0;
	if (m->commit.len == 0)
		return OK;
	r = commit_decode(m->commit, &p->base, e);
	if (r == OK)
		r = commit_verify(m->commit, &p->base, e);
	if (r == OK && !hash_id_equal(&p->base.share, &p->share_id))
		r = fail(e, ERR_PROTO, "the server answered with a snapshot of another share");
	if (r != OK)
		return r;
	buf_reset(&p->base_bytes);
	buf_add_bytes(&p->base_bytes, m->commit);
	p->base_number = m->number;
	return OK;
}

static void
on_resolved(struct engine_ask *a, const struct message *m, const struct error *e)
{
	struct publish *p = container_of(a, struct publish, ask);
	struct error own;
	enum err r;

	if (m != NULL && m->type == FRAME_SNAPSHOT)
		r = take_snapshot(p, &m->snapshot, &own);
	else if (m != NULL)
		r = fail(&own, ERR_PROTO, "the server answered with something else");
	else
		r = (own = *e).code;
	if (r == OK) {
		p->job.row.share = p->share_id;
		p->phase = engine_publish_has_base(p) ? PUBLISH_BASE : PUBLISH_SCAN;
	} else if (r == ERR_NOTFOUND && p->phase == PUBLISH_RESOLVE) {
		p->phase = is_dry(p) ? PUBLISH_SCAN : PUBLISH_CREATE;
	} else {
		fail_or_wait(p, r, &own);
	}
	engine_job_end(&p->job);
}

static void
resolve(struct publish *p)
{
	struct message m = { .type = FRAME_RESOLVE };

	m.resolve = (struct msg_resolve){ .share = bytes_str(p->share), .for_write = 1 };
	ask(p, &m, on_resolved);
}

static void
create(struct publish *p)
{
	struct message m = { .type = FRAME_CREATE_SHARE };

	m.create_share = (struct msg_create_share){
		.name = bytes_str(p->share),
		.policy = (uint8_t)(p->flags >> PUBLISH_POLICY_SHIFT),
	};
	ask(p, &m, on_resolved);
}

/* -- BASE: what another machine published last -- */

static void
fetch_closed(void *ctx)
{
	engine_job_end(&((struct publish *)ctx)->job);
}

static void
on_base(void *ctx, enum err r, const struct error *e)
{
	struct publish *p = ctx;

	if (r == OK)
		p->phase = PUBLISH_SCAN;
	else
		fail_or_wait(p, r, e);
	fetch_nodes_close(p->fetch, fetch_closed, p);
	p->fetch = NULL;
}

static void
fetch_base(struct publish *p)
{
	struct engine *en = p->job.engine;
	const struct fetch_nodes_opts o = { .loop = en->loop,
		.nodes = en->nodes,
		.commit = &p->base,
		.on_done = on_base,
		.ctx = p };

	engine_job_begin(&p->job);
	p->fetch = fetch_nodes_start(&o, en->link.ready ? en->link.peer : NULL);
}

/* -- SCAN -- */

static void
result_row(struct publish *p, struct buf *row, bool unchanged, bool waited)
{
	const struct scan_result *s = &p->result;
	char id[HASH_ID_TEXT];

	record_int(row, "job", (uint64_t)p->job.row.id);
	record_text(row, "share", p->share);
	if (p->number > 0)
		record_int(row, "snapshot", p->number);
	if (!hash_id_is_none(&p->commit.id) || unchanged)
		record_text(row, "id", hash_id_format(unchanged ? &p->base.id : &p->commit.id, id));
	if (p->label[0] != 0)
		record_text(row, "label", p->label);
	record_int(row, "files", s->files);
	record_int(row, "dirs", s->dirs);
	record_int(row, "symlinks", s->symlinks);
	record_int(row, "skipped", s->skipped);
	record_size(row, "bytes", s->bytes);
	if (waited && p->held_known)
		record_size(row, "bytes_new", p->commit.chunk_bytes - p->held_first);
	record_int(row, "files_read", s->files_read);
	record_size(row, "bytes_read", s->bytes_read);
	record_duration(row, "duration", loop_now_ms(p->job.engine->loop) - p->job.started_ms);
	record_bool(row, "unchanged", unchanged);
	record_bool(row, "dry_run", is_dry(p));
	record_bool(row, "waited", waited);
}

static bool
is_unchanged(const struct publish *p)
{
	return engine_publish_has_base(p) && hash_id_equal(&p->result.content, &p->base.content) &&
	       (p->label[0] == 0 || strcmp(p->label, p->base.label) == 0);
}

static void
done_scan(struct engine_work *w, enum err r, const struct error *e)
{
	struct publish *p = container_of(w, struct publish, work);
	auto_buf struct buf row = BUF(RECORD_MAX);

	if (r != OK) {
		fail_or_wait(p, r, e);
	} else if (is_unchanged(p) || is_dry(p)) {
		p->number = is_unchanged(p) ? p->base_number : 0;
		result_row(p, &row, is_unchanged(p), false);
		engine_job_finish(&p->job, OK, NULL, buf_bytes(&row));
	} else {
		p->phase = PUBLISH_COMMIT;
	}
	engine_job_end(&p->job);
}

/* -- COMMIT -- */

static void
done_commit(struct engine_work *w, enum err r, const struct error *e)
{
	struct publish *p = container_of(w, struct publish, work);

	if (r == OK) {
		p->job.row.snapshot = p->commit.id;
		p->unit_size = 0;
		p->job.row.bytes_total = p->commit.chunk_bytes;
		p->held_known = false;
		p->phase = PUBLISH_ANNOUNCE;
		engine_job_save(&p->job);
	} else {
		fail_or_wait(p, r, e);
	}
	engine_job_end(&p->job);
}

static void
run(struct publish *p, enum err (*work)(struct engine_work *w, struct error *e),
    void (*done)(struct engine_work *w, enum err r, const struct error *e))
{
	p->work = (struct engine_work){ .work = work, .done = done };
	engine_job_begin(&p->job);
	engine_work(p->job.engine, &p->work);
}

/* -- ANNOUNCE, SERVE -- */

/* Another snapshot became the head first, or a file changed before the server had it: once more
 * from the top. */
static void
again(struct publish *p, const struct error *e)
{
	if (++p->tries >= TRIES_MAX) {
		engine_job_finish(&p->job, e->code, e, no_row);
		return;
	}
	log_info("%s: %s; trying again", p->share, e->text);
	p->phase = PUBLISH_RESOLVE;
}

static void
on_announced(struct engine_ask *a, const struct message *m, const struct error *e)
{
	struct publish *p = container_of(a, struct publish, ask);
	auto_buf struct buf row = BUF(RECORD_MAX);

	if (m != NULL && p->phase == PUBLISH_ANNOUNCE) {
		p->phase = PUBLISH_SERVE;
		engine_publish_give(p);
		result_row(p, &row, false, false);
		engine_job_no_wait(&p->job, buf_bytes(&row));
	} else if (m == NULL && e->code == ERR_CONFLICT) {
		again(p, e);
	} else if (m == NULL) {
		fail_or_wait(p, e->code, e);
	}
	engine_job_end(&p->job);
}

static void
announce(struct publish *p)
{
	struct message m = { .type = FRAME_ANNOUNCE };

	m.announce =
	    (struct msg_announce){ .share = p->share_id, .commit = buf_bytes(&p->commit_bytes) };
	ask(p, &m, on_announced);
}

static void
finish(struct publish *p)
{
	auto_buf struct buf row = BUF(RECORD_MAX);

	p->phase = PUBLISH_END;
	engine_swarm_roots(p->job.engine); /* the path stands for it from now on */
	result_row(p, &row, false, true);
	engine_job_begin(&p->job);
	engine_job_finish(&p->job, OK, NULL, buf_bytes(&row));
	engine_job_end(&p->job);
}

static void
on_withdrawn(struct publish *p, struct bytes why)
{
	struct error e;

	engine_swarm_withdrawn(p->job.engine, &p->commit.id);
	(void)fail(&e, ERR_CONFLICT, "the snapshot was withdrawn: %.*s", (int)why.len,
	    (const char *)why.at);
	p->job.row.snapshot = (struct hash_id){ 0 };
	engine_job_begin(&p->job);
	again(p, &e);
	engine_job_end(&p->job);
}

void
engine_publish_progress(struct engine *en, const struct msg_progress *m)
{
	for (size_t i = 0; i < en->jobs.len; i++) {
		struct engine_job *j = en->jobs.at[i];
		struct publish *p = (struct publish *)j;
		if (j->kind != &kind || j->over || !hash_id_equal(&j->row.snapshot, &m->snapshot))
			continue;
		p->held = m->held_bytes;
		if (!p->held_known) {
			p->held_known = true;
			p->held_first = m->state == SNAPSHOT_HEAD ? 0 : m->held_bytes;
		}
		if (m->state == SNAPSHOT_ANNOUNCED && p->phase == PUBLISH_SERVE &&
		    p->unit_size == 0)
			engine_publish_give(p);
		if (m->state == SNAPSHOT_HEAD) {
			p->number = m->number;
			if (p->phase == PUBLISH_ANNOUNCE || p->phase == PUBLISH_SERVE)
				finish(p);
		} else if (m->state == SNAPSHOT_WITHDRAWN && p->phase == PUBLISH_SERVE) {
			on_withdrawn(p, m->text);
		} else if (m->text.len > 0) {
			snprintf(j->row.text, sizeof j->row.text, "%.*s", (int)m->text.len,
			    (const char *)m->text.at);
			engine_job_note(j, j->row.text);
		}
		return;
	}
}

/* -- the steps -- */

static void
step(struct engine_job *job)
{
	struct publish *p = (struct publish *)job;

	switch (p->phase) {
	case PUBLISH_RESOLVE:
		resolve(p);
		return;
	case PUBLISH_CREATE:
		create(p);
		return;
	case PUBLISH_BASE:
		fetch_base(p);
		return;
	case PUBLISH_SCAN:
		run(p, engine_publish_work_scan, done_scan);
		return;
	case PUBLISH_COMMIT:
		run(p, engine_publish_work_commit, done_commit);
		return;
	case PUBLISH_ANNOUNCE:
		announce(p);
		return;
	case PUBLISH_SERVE: /* the server fetches; PROGRESS says when it is done */
	case PUBLISH_END:
		return;
	}
}

static void
stop(struct engine_job *job)
{
	struct publish *p = (struct publish *)job;

	if (p->fetch != NULL) {
		fetch_nodes_close(p->fetch, fetch_closed, p);
		p->fetch = NULL;
	}
}

static void
link_gone(struct engine_job *job)
{
	struct publish *p = (struct publish *)job;

	if (p->fetch != NULL)
		fetch_nodes_peer(p->fetch, NULL);
	if (p->phase == PUBLISH_SERVE) {
		p->phase = PUBLISH_ANNOUNCE;
		engine_job_wait(job, 0, "the server is not reachable; goes on when it is back");
	}
}

static void
link_ready(struct engine_job *job)
{
	struct publish *p = (struct publish *)job;

	if (p->fetch != NULL)
		fetch_nodes_peer(p->fetch, job->engine->link.peer);
}

static void
progress(struct engine_job *job, struct buf *record)
{
	struct publish *p = (struct publish *)job;

	record_text(record, "phase", phase_names[p->phase]);
	if (p->phase >= PUBLISH_ANNOUNCE) {
		record_size(record, "done", p->held);
		record_size(record, "total", p->commit.chunk_bytes);
	} else {
		record_size(record, "done", p->scanned.bytes_seen);
		record_int(record, "files_done", p->scanned.files);
	}
}

static void
free_publish(struct engine_job *job)
{
	struct publish *p = (struct publish *)job;

	commit_clear(&p->base);
	commit_clear(&p->commit);
	buf_clear(&p->base_bytes);
	buf_clear(&p->commit_bytes);
	root_clear(&p->root);
	free(p->path);
	free(p->share);
	free(p->label);
	free(p);
}

/* -- beginning -- */

static struct publish *
new_publish(struct engine *en)
{
	struct publish *p = mem_new(struct publish);

	p->job.engine = en;
	p->job.kind = &kind;
	p->job.row.kind = ROOT_PUBLISH;
	p->job.row.spec = BUF(JOB_SPEC_MAX);
	p->base_bytes = BUF(COMMIT_MAX);
	p->commit_bytes = BUF(COMMIT_MAX);
	return p;
}

static enum err
check(const struct publish *p, struct error *e)
{
	if (p->path[0] != '/')
		return fail(e, ERR_USAGE, "name the directory or file to publish");
	if (!statement_name_ok(p->share))
		return fail(e, ERR_USAGE, "--share '%s': 1 to %d bytes of text without '/' and '@'",
		    p->share, STATEMENT_NAME_MAX);
	if (strlen(p->label) > COMMIT_LABEL_MAX)
		return fail(e, ERR_USAGE, "--label: at most %d bytes", COMMIT_LABEL_MAX);
	return OK;
}

static enum err
take_policy(struct publish *p, const char *text, struct error *e)
{
	enum share_policy policy = 0;

	if (text == NULL)
		return OK;
	if (!statement_policy_parse(text, &policy) || policy == POLICY_SERVERLESS)
		return fail(e, ERR_USAGE, "--policy is 'central' or 'hybrid', not '%s'", text);
	p->flags |= (uint32_t)policy << PUBLISH_POLICY_SHIFT;
	return OK;
}

static struct engine_job *
find_same(struct engine *en, const struct publish *p)
{
	array_each (j, &en->jobs) {
		if ((*j)->kind == &kind && !(*j)->over && strcmp((*j)->share_name, p->share) == 0)
			return *j;
	}
	return NULL;
}

void
engine_publish(struct engine *en, struct control_call *call, const struct control_request *r)
{
	struct publish *p = new_publish(en);
	const char *path = control_arg(r, "path"), *share = control_arg(r, "share"),
		   *label = control_arg(r, "label");
	struct engine_job *same;
	struct error e;

	p->path = str_dup(path != NULL ? path : "");
	p->share = str_dup(share != NULL ? share : "");
	p->label = str_dup(label != NULL ? label : "");
	p->flags = control_flag(r, "dry-run") ? PUBLISH_DRY_RUN : 0;
	enum err err = check(p, &e);
	if (err == OK)
		err = take_policy(p, control_arg(r, "policy"), &e);
	if (err == OK && !en->joined)
		err = fail(
		    &e, ERR_OFFLINE, "this machine has not joined a server: `weft join INVITE`");
	if (err == OK && (same = find_same(en, p)) != NULL)
		err = fail(&e, ERR_EXISTS,
		    "job %lld is publishing to %s: wait for it, or `weft cancel %lld`",
		    (long long)same->row.id, p->share, (long long)same->row.id);
	if (err != OK) {
		control_call_done(call, &e, -1);
		free_publish(&p->job);
		return;
	}
	snprintf(p->job.share_name, sizeof p->job.share_name, "%s", p->share);
	engine_job_spec_put(&p->job.row.spec, p->share);
	engine_job_spec_put(&p->job.row.spec, p->path);
	engine_job_spec_put(&p->job.row.spec, p->label);
	buf_u32(&p->job.row.spec, p->flags);
	engine_job_watch(&p->job, call, control_flag(r, "no-wait"));
	engine_job_add(en, &p->job);
}

/* A publish that was interrupted begins again: what was hashed is known, what the server holds is
 * not sent again. */
struct engine_job *
engine_publish_load(struct engine *en, const struct job_row *row)
{
	struct publish *p = new_publish(en);
	struct reader rd = reader_over(buf_bytes(&row->spec));

	p->share = engine_job_spec_get(&rd);
	p->path = engine_job_spec_get(&rd);
	p->label = engine_job_spec_get(&rd);
	p->flags = reader_u32(&rd);
	if (!reader_done(&rd)) {
		free_publish(&p->job);
		return NULL;
	}
	snprintf(p->job.share_name, sizeof p->job.share_name, "%s", p->share);
	return &p->job;
}
