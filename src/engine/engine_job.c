/*
 * The life of a job: a row in state, steps that start one thing at a time, people who watch.  What
 * is asked of it meanwhile (pause, cancel, stop) is done when what is under way has ended, so every
 * step finds the job at rest.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/engine_internal.h"
#include "platform/clock.h"

enum { JOBS_MAX = 1024 };

static void send_progress(struct engine_job *j);

/* -- the row -- */

struct save_row {
	struct engine_work work;
	struct job_row row;
	struct engine_job *job; /* a new one waits for its number */
};

static enum err
work_save(struct engine_work *w, struct error *e)
{
	return state_job_put(w->engine->state, &((struct save_row *)w)->row, e);
}

static void
done_save(struct engine_work *w, enum err r, const struct error *e)
{
	struct save_row *s = (struct save_row *)w;
	struct engine_job *j = s->job;

	if (r != OK)
		log_error("keep a job: %s", e->text);
	if (j != NULL) {
		j->row.id = s->row.id;
		/* at once: whoever is interrupted now can say which job goes on */
		send_progress(j);
		if (r != OK)
			engine_job_finish(j, r, e, (struct bytes){ NULL, 0 });
		engine_job_end(j);
	}
	job_row_clear(&s->row);
	free(s);
}

static void
save(struct engine_job *j, struct engine_job *waits)
{
	struct save_row *s = mem_new(struct save_row);

	s->work = (struct engine_work){ .work = work_save, .done = done_save };
	j->row.updated_ns = clock_wall_ns();
	s->row = j->row;
	s->row.spec = BUF(j->row.spec.max);
	buf_add_bytes(&s->row.spec, buf_bytes(&j->row.spec));
	s->job = waits;
	engine_write(j->engine, &s->work);
}

void
engine_job_save(struct engine_job *j)
{
	save(j, NULL);
}

void
engine_job_spec_put(struct buf *spec, const char *text)
{
	size_t n = strlen(text);

	buf_u32(spec, (uint32_t)n);
	buf_add(spec, text, n + 1);
}

char *
engine_job_spec_get(struct reader *r)
{
	uint32_t n = reader_u32(r);
	struct bytes b = reader_take(r, (size_t)n + 1);

	if (b.len == 0 || memchr(b.at, 0, b.len) != b.at + n) {
		r->bad = true;
		return NULL;
	}
	return mem_dup(b.at, b.len);
}

void
engine_job_spec_names(const struct job_row *row, char **ret_share, char **ret_path)
{
	struct reader r = reader_over(buf_bytes(&row->spec));

	*ret_share = engine_job_spec_get(&r);
	*ret_path = engine_job_spec_get(&r);
	if (*ret_share == NULL)
		*ret_share = str_dup("");
	if (*ret_path == NULL)
		*ret_path = str_dup("");
}

/* -- watchers -- */

static void
watcher_gone(void *ctx)
{
	struct engine_watcher *w = ctx;
	struct control_call *call = w->call;

	w->call = NULL;
	control_call_done(call, NULL, -1);
}

void
engine_job_watch(struct engine_job *j, struct control_call *call, bool no_wait)
{
	struct engine_watcher *w = mem_new(struct engine_watcher);

	*w = (struct engine_watcher){ .call = call, .no_wait = no_wait };
	array_push(&j->watchers, w);
	control_call_on_gone(call, watcher_gone, w);
}

void
engine_job_note(struct engine_job *j, const char *text)
{
	array_each (w, &j->watchers) {
		if ((*w)->call != NULL)
			control_call_note((*w)->call, "%s", text);
	}
}

static int
exit_status(const struct engine_job *j)
{
	if (j->why.code == OK)
		return j->skipped > 0 ? EXIT_CONFLICTS : EXIT_DONE;
	/* Cancelled by another command: this one was not interrupted, it failed. */
	return j->why.code == ERR_CANCELED ? EXIT_FAILED : control_exit_status(j->why.code);
}

static void
answer_watcher(struct engine_watcher *w, const struct error *e, struct bytes row, int status)
{
	struct control_call *call = w->call;

	if (call == NULL)
		return;
	w->call = NULL;
	control_call_on_gone(call, NULL, NULL);
	if (row.len > 0)
		control_call_row(call, row);
	control_call_done(call, e, status);
}

void
engine_job_no_wait(struct engine_job *j, struct bytes row)
{
	array_each (w, &j->watchers) {
		if ((*w)->no_wait)
			answer_watcher(*w, NULL, row, exit_status(j));
	}
}

struct posted_note {
	struct engine *en;
	int64_t job;
	char text[ERROR_TEXT];
};

static void
on_posted_note(void *arg)
{
	struct posted_note *n = arg;
	struct engine_job *j = engine_job_find(n->en, n->job);

	if (j != NULL) {
		j->skipped++;
		engine_job_note(j, n->text);
	}
	free(n);
}

void
engine_job_note_thread(struct engine_job *j, struct relpath path, const char *why)
{
	struct posted_note *n = mem_new(struct posted_note);
	char shown[256];

	n->en = j->engine;
	n->job = j->row.id;
	text_escape(BYTES(path.text, path.len), shown, sizeof shown);
	snprintf(n->text, sizeof n->text, "%s: %s", shown, why);
	loop_post(j->engine->loop, on_posted_note, n);
}

/* -- progress -- */

static void
send_progress(struct engine_job *j)
{
	auto_buf struct buf record = BUF(RECORD_MAX);
	bool watched = false;

	array_each (w, &j->watchers)
		watched |= (*w)->call != NULL;
	if (!watched || j->over || j->row.id == 0)
		return;
	record_int(&record, "job", (uint64_t)j->row.id);
	record_text(&record, "kind", j->kind->name);
	record_text(&record, "share", j->share_name);
	if (j->want == WANT_PAUSE || j->row.state == JOB_PAUSED)
		record_text(&record, "phase", "paused");
	else if (j->waiting)
		record_text(&record, "phase", "waiting");
	else
		j->kind->progress(j, &record);
	if (j->row.text[0] != 0)
		record_text(&record, "text", j->row.text);
	array_each (w, &j->watchers) {
		if ((*w)->call != NULL)
			control_call_progress((*w)->call, buf_bytes(&record));
	}
}

/* What it waited for has come; when something of it is still under way, its end goes on. */
static void
wake(struct engine_job *j)
{
	j->waiting = false;
	j->retry_at_ms = 0;
	engine_job_next(j);
}

void
engine_job_tick(struct engine *en)
{
	uint64_t now = loop_now_ms(en->loop);

	for (size_t i = 0; i < en->jobs.len; i++) {
		struct engine_job *j = en->jobs.at[i];
		send_progress(j);
		if (j->waiting && j->retry_at_ms != 0 && now >= j->retry_at_ms &&
		    j->want == WANT_RUN)
			wake(j);
	}
}

/* -- steps -- */

struct engine_job *
engine_job_find(struct engine *en, int64_t id)
{
	array_each (j, &en->jobs) {
		if ((*j)->row.id == id)
			return *j;
	}
	return NULL;
}

static void
remove_job(struct engine_job *j)
{
	struct engine *en = j->engine;
	int status = exit_status(j);

	en->jobs_since_gc++;
	array_remove(&en->jobs, j);
	array_each (w, &j->watchers) {
		answer_watcher(
		    *w, j->why.code != OK ? &j->why : NULL, buf_bytes(&j->answer), status);
		free(*w);
	}
	array_clear(&j->watchers);
	buf_clear(&j->answer);
	job_row_clear(&j->row);
	j->kind->free(j);
	engine_part_closed(en);
}

struct discard {
	struct engine_work work;
	struct engine_job *job;
};

static enum err
work_discard(struct engine_work *w, struct error *e)
{
	struct engine_job *j = ((struct discard *)w)->job;
	enum err r = OK;
	struct error why;
	char name[24];

	if (j->kind->discard != NULL)
		r = j->kind->discard(j, &why);
	snprintf(name, sizeof name, "%lld", (long long)j->row.id);
	if (r == OK)
		r = fs_remove_tree(j->engine->jobs_dir, fs_rel(name), &why);
	if (r != OK) { /* row and directory tell the next start of it */
		log_warn("job %s left something, which is removed at the next start: %s", name,
		    why.text);
		return OK;
	}
	return j->row.state == JOB_CANCELED
		   ? state_job_del(w->engine->state, j->row.id, e)
		   : state_job_prune(w->engine->state, ENGINE_ENDED_KEPT, e);
}

static void
done_discard(struct engine_work *w, enum err r, const struct error *e)
{
	struct engine_job *j = ((struct discard *)w)->job;

	if (r != OK)
		log_error("end job %lld: %s", (long long)j->row.id, e->text);
	free(w);
	engine_limit_job_over(j);
	if (j->row.state != JOB_CANCELED)
		engine_ended_add(j->engine, &j->row);
	remove_job(j);
}

void
engine_job_discard(struct engine_job *j)
{
	struct discard *d = mem_new(struct discard);

	d->work = (struct engine_work){ .work = work_discard, .done = done_discard };
	d->job = j;
	engine_write(j->engine, &d->work);
}

static void
cancel_now(struct engine_job *j)
{
	(void)fail(&j->why, ERR_CANCELED, "job %lld was cancelled", (long long)j->row.id);
	j->over = true;
	j->row.state = JOB_CANCELED;
	engine_job_save(j);
	engine_job_discard(j);
}

static void
pause_now(struct engine_job *j)
{
	if (j->row.state == JOB_PAUSED)
		return;
	j->row.state = JOB_PAUSED;
	snprintf(j->row.text, sizeof j->row.text, "paused; `weft resume %lld` goes on",
	    (long long)j->row.id);
	engine_job_save(j);
}

void
engine_job_next(struct engine_job *j)
{
	if (j->busy > 0 || j->over)
		return;
	switch (j->want) {
	case WANT_CANCEL:
		cancel_now(j);
		return;
	case WANT_STOP:
		(void)fail(&j->why, ERR_AGAIN,
		    "the daemon is stopping; the transfer goes on when it runs again");
		j->over = true;
		remove_job(j);
		return;
	case WANT_PAUSE:
		pause_now(j);
		return;
	case WANT_RUN:
		break;
	}
	if (j->engine->gc_running) { /* its end calls again */
		j->waiting = true;
		return;
	}
	j->waiting = false;
	j->cancel = false;
	j->retry_at_ms = 0;
	j->row.text[0] = 0;
	j->kind->step(j);
}

void
engine_job_begin(struct engine_job *j)
{
	j->busy++;
}

void
engine_job_end(struct engine_job *j)
{
	if (--j->busy == 0 && j->over && (j->row.state == JOB_DONE || j->row.state == JOB_FAILED))
		engine_job_discard(j);
	else if (!j->waiting || j->want != WANT_RUN)
		engine_job_next(j);
}

void
engine_job_wait(struct engine_job *j, uint64_t retry_ms, const char *text)
{
	j->waiting = true;
	j->retry_at_ms = retry_ms > 0 ? loop_now_ms(j->engine->loop) + retry_ms : 0;
	if (strncmp(j->row.text, text, sizeof j->row.text - 1) == 0)
		return;
	snprintf(j->row.text, sizeof j->row.text, "%s", text);
	engine_job_note(j, text);
}

/* A connection that is there cannot become ready: it was full, or is about to be told that it has
 * ended. */
uint64_t
engine_job_retry_ms(const struct engine_job *j, enum err r)
{
	return r == ERR_AGAIN || j->engine->link.ready ? ENGINE_AGAIN_RETRY_MS : 0;
}

/* Called from a step, with nothing else under way, or between begin and end. */
void
engine_job_finish(struct engine_job *j, enum err r, const struct error *e, struct bytes row)
{
	if (j->over)
		return;
	j->over = true;
	j->row.state = r == OK ? JOB_DONE : JOB_FAILED;
	snprintf(j->row.text, sizeof j->row.text, "%.*s", (int)sizeof j->row.text - 1,
	    r == OK ? "" : e->text);
	if (r != OK)
		log_warn("%s of %s: %s", j->kind->name, j->share_name, e->text);
	if (r != OK)
		j->why = *e;
	j->answer = BUF(RECORD_MAX);
	buf_add_bytes(&j->answer, row);
	engine_job_save(j);
	if (j->busy == 0)
		engine_job_discard(j);
}

void
engine_job_add(struct engine *en, struct engine_job *j)
{
	struct error e;

	j->engine = en;
	j->started_ms = loop_now_ms(en->loop);
	j->limit.week.n_kinds = 1;
	array_push(&en->jobs, j);
	if (en->jobs.len > JOBS_MAX) {
		(void)fail(
		    &e, ERR_LIMIT, "%d transfers are under way: cancel some, or wait", JOBS_MAX);
		engine_job_finish(j, ERR_LIMIT, &e, (struct bytes){ NULL, 0 });
		return;
	}
	if (j->row.id != 0) { /* from an earlier run */
		engine_job_next(j);
		return;
	}
	j->row.state = JOB_RUNNING;
	j->row.created_ns = clock_wall_ns();
	engine_job_begin(j);
	save(j, j);
}

void
engine_job_all_next(struct engine *en)
{
	for (size_t i = 0; i < en->jobs.len; i++) {
		struct engine_job *j = en->jobs.at[i];
		if (j->kind->link_ready != NULL && !j->over)
			j->kind->link_ready(j);
		if (j->waiting && j->want == WANT_RUN)
			wake(j);
	}
}

void
engine_job_link_gone(struct engine *en)
{
	for (size_t i = 0; i < en->jobs.len; i++) {
		if (en->jobs.at[i]->kind->link_gone != NULL)
			en->jobs.at[i]->kind->link_gone(en->jobs.at[i]);
	}
}

static void
stop(struct engine_job *j, enum engine_want want)
{
	j->want = want;
	j->cancel = true;
	j->kind->stop(j);
	engine_job_next(j);
}

void
engine_job_stop_all(struct engine *en)
{
	ARRAY(struct engine_job *) all = { 0 };

	array_each (j, &en->jobs)
		array_push(&all, *j);
	array_each (j, &all)
		stop(*j, WANT_STOP);
	array_clear(&all);
}

/* SHARE NULL: all of them. */
void
engine_job_share_lost(struct engine *en, const struct hash_id *share, const char *why)
{
	ARRAY(struct engine_job *) lost = { 0 };

	array_each (j, &en->jobs) {
		if (!(*j)->over && (share == NULL || hash_id_equal(&(*j)->row.share, share)))
			array_push(&lost, *j);
	}
	array_each (jp, &lost) {
		struct engine_job *j = *jp;
		struct error e;
		(void)fail(&e, ERR_DENIED, "%s", why);
		j->cancel = true;
		engine_job_begin(j);
		engine_job_finish(j, ERR_DENIED, &e, (struct bytes){ NULL, 0 });
		j->kind->stop(j);
		engine_job_end(j);
	}
	array_clear(&lost);
}

/* -- pause, resume, cancel -- */

static enum err
find_asked(
    struct engine *en, const struct control_request *r, struct engine_job **ret, struct error *e)
{
	const char *text = control_arg(r, "job");
	uint64_t id;

	if (text == NULL || !text_parse_u64(text, INT64_MAX, &id))
		return fail(e, ERR_USAGE, "name the job by its number (`weft jobs` lists them)");
	*ret = engine_job_find(en, (int64_t)id);
	if (*ret == NULL || (*ret)->over)
		return fail(
		    e, ERR_NOTFOUND, "no job %s is under way (`weft jobs` lists them)", text);
	return OK;
}

void
engine_job_control(struct engine *en, struct control_call *call, const struct control_request *r)
{
	auto_buf struct buf row = BUF(RECORD_MAX);
	struct engine_job *j = NULL;
	struct error e;

	if (find_asked(en, r, &j, &e) != OK) {
		control_call_done(call, &e, -1);
		return;
	}
	record_int(&row, "job", (uint64_t)j->row.id);
	control_call_row(call, buf_bytes(&row));
	control_call_done(call, NULL, -1);
	if (strcmp(r->verb, "cancel") == 0) {
		stop(j, WANT_CANCEL);
	} else if (strcmp(r->verb, "pause") == 0) {
		stop(j, WANT_PAUSE);
	} else {
		j->want = WANT_RUN;
		j->row.state = JOB_RUNNING;
		engine_job_save(j);
		engine_job_next(j);
	}
}

/* -- a restart -- */

static struct engine_job *
load_job(struct engine *en, const struct job_row *row)
{
	struct engine_job *j =
	    row->kind == ROOT_PUBLISH ? engine_publish_load(en, row) : engine_get_load(en, row);

	if (j == NULL) {
		log_error("job %lld cannot be read and is left alone; start it again",
		    (long long)row->id);
		return NULL;
	}
	j->row = *row;
	j->row.spec = BUF(row->spec.max);
	buf_add_bytes(&j->row.spec, buf_bytes(&row->spec));
	j->want = row->state == JOB_PAUSED ? WANT_PAUSE : WANT_RUN;
	return j;
}

static enum err
load_row(void *ctx, const struct job_row *row, struct error *e)
{
	struct engine *en = ctx;
	bool is_over =
	    row->state != JOB_RUNNING && row->state != JOB_PAUSED && row->state != JOB_WAITING;
	struct engine_job *j =
	    !is_over || engine_ended_left_something(en, row) ? load_job(en, row) : NULL;
	(void)e;

	if (is_over)
		engine_ended_load(en, row, j);
	else if (j != NULL)
		engine_job_add(en, j);
	return OK;
}

enum err
engine_job_load(struct engine *en, struct error *e)
{
	enum err r = state_jobs(en->state, load_row, en, e);

	return r == OK ? OK : error_wrap(e, r, "read the jobs of the last run");
}

int
engine_job_dir(struct engine *en, int64_t id, struct error *e)
{
	char name[24];
	int fd = -1;

	snprintf(name, sizeof name, "%lld", (long long)id);
	if (fs_mkdirs(en->jobs_dir, fs_rel(name), 0700, e) != OK)
		return -1;
	return fs_open_dir(en->jobs_dir, fs_rel(name), &fd, e) == OK ? fd : -1;
}
