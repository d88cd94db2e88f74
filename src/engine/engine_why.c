/*
 * `weft why [SHARE|JOB]`: which snapshot or job it is, and what only the engine knows of it; the
 * rest is in engine/why.
 */
#include <stdio.h>

#include "base/mem.h"
#include "base/text.h"
#include "engine/engine_swarm_private.h"
#include "engine/why.h"

/* -- which one -- */

/* MOVES: in a swarm. */
static struct engine_job *
job_of_share(struct engine *en, const char *name, bool moves)
{
	array_each (j, &en->jobs) {
		if (!(*j)->over && strcmp((*j)->share_name, name) == 0 &&
		    (!moves || engine_swarm_find(en, &(*j)->row.snapshot) != NULL))
			return *j;
	}
	return NULL;
}

static struct engine_job *
job_named(struct engine *en, const char *name)
{
	uint64_t id;

	if (text_parse_u64(name, INT64_MAX, &id)) {
		struct engine_job *j = engine_job_find(en, (int64_t)id);
		if (j != NULL && !j->over)
			return j;
	}
	return job_of_share(en, name, true);
}

static const char *
share_name(struct engine *en, const struct hash_id *share, char out[STATEMENT_NAME_MAX + 1])
{
	struct bytes b =
	    en->authority != NULL ? authority_share(en->authority, share) : BYTES(NULL, 0);
	struct statement st;

	out[0] = 0;
	if (b.len > 0 && statement_decode(b, &st, NULL) == OK)
		snprintf(out, STATEMENT_NAME_MAX + 1, "%s", st.name);
	return out;
}

/* The one that is moved, else the latest that there is. */
static struct swarm_entry *
entry_named(struct engine *en, const char *name)
{
	char text[STATEMENT_NAME_MAX + 1];
	struct swarm_entry *best = NULL;

	array_each (x, &en->swarm->entries) {
		if ((*x)->dropped || strcmp(share_name(en, &(*x)->who.share, text), name) != 0)
			continue;
		if (best == NULL || ((*x)->node != NULL && best->node == NULL) ||
		    ((*x)->used_ms > best->used_ms && ((*x)->node != NULL || best->node == NULL)))
			best = *x;
	}
	return best;
}

/* -- what only the engine knows -- */

static const char *
name_of(void *ctx, const struct device_id *device)
{
	return engine_mesh_name(ctx, device);
}

static const char *
site_of(void *ctx, const struct device_id *device)
{
	const struct engine *en = ctx;
	const struct mesh_device *d = en->mesh != NULL ? mesh_find(en->mesh, device) : NULL;

	return d != NULL ? mesh_device_site(d) : "";
}

static struct bottleneck_limit
limit_of(const struct engine *en, enum throttle_way way)
{
	const struct schedule_rates *line = limits_share(en->limits);
	struct schedule_rates set = limits_now(en->limits);
	bool is_up = way == THROTTLE_UP;
	struct bottleneck_limit l = { .rate = throttle_rate(en->o.throttle, way, false) };

	if (l.rate == 0)
		return l;
	if (l.rate == (is_up ? line->up : line->down))
		l.by = BOTTLENECK_BY_LINE;
	else if (l.rate == (is_up ? set.up : set.down))
		l.by = limits_setting(en->limits)->schedule[0] != 0 ? BOTTLENECK_BY_SCHEDULE
								    : BOTTLENECK_BY_SETTING;
	return l;
}

static void
job_facts(const struct engine_job *j, struct bottleneck_facts *f)
{
	f->paused = j->want == WANT_PAUSE || j->row.state == JOB_PAUSED;
	f->waits = j->waiting && j->row.text[0] != 0;
	f->waiting = j->row.text;
}

/* Without a swarm: what moves between this machine and the server alone, or nothing yet. */
static void
lone_facts(struct engine *en, struct engine_job *j, struct bottleneck_facts *f)
{
	auto_buf struct buf progress = BUF(RECORD_MAX);
	struct record_field rate;

	f->takes = j->row.kind != ROOT_PUBLISH;
	f->missing = f->lacking = 1;
	f->central = !hash_id_is_none(&j->row.share) && !engine_swarm_is_hybrid(en, &j->row.share);
	if (!f->central && !f->waits) {
		f->waits = true;
		f->waiting = "nothing moves yet: it is being prepared";
	}
	j->kind->progress(j, &progress);
	if (record_find(buf_bytes(&progress), "rate", &rate))
		f->rate_in = rate.num;
}

static struct why
why_of(struct engine *en, struct engine_job *j, struct swarm_entry *x)
{
	struct why w = { .server = en->server,
		.name = name_of,
		.site = site_of,
		.own_site = en->site,
		.ctx = en };

	w.facts.up = limit_of(en, THROTTLE_UP);
	w.facts.down = limit_of(en, THROTTLE_DOWN);
	w.facts.is_busy = engine_is_busy(en);
	if (j != NULL) {
		w.job = j->row.id;
		w.snapshot = j->row.snapshot;
		job_facts(j, &w.facts);
	}
	if (x != NULL) {
		w.snapshot = x->who.snapshot;
		w.node = x->node;
		w.units = x->units;
		w.held = x->whole ? x->units : 0;
		w.facts.takes = x->wants > 0;
		w.facts.waits &= w.facts.takes;
	} else if (j != NULL) {
		lone_facts(en, j, &w.facts);
	}
	return w;
}

static void
send_one(struct engine *en, struct engine_job *j, struct swarm_entry *x, struct control_call *call)
{
	char name[STATEMENT_NAME_MAX + 1];
	struct why w = why_of(en, j, x);

	w.share = x != NULL ? share_name(en, &x->who.share, name) : j->share_name;
	why_look(&w);
	why_send(&w, call);
	why_clear(&w);
	control_call_done(call, NULL, -1);
}

/* -- all jobs -- */

static void
send_job(struct engine *en, struct engine_job *j, struct control_call *call)
{
	struct why w = why_of(en, j, engine_swarm_find(en, &j->row.snapshot));
	auto_buf struct buf row = BUF(RECORD_MAX);

	why_look(&w);
	record_text(&row, "list", "jobs");
	record_int(&row, "job", (uint64_t)j->row.id);
	record_text(&row, "kind", j->kind->name);
	record_text(&row, "share", j->share_name);
	record_rate(&row, "rate_in", w.facts.rate_in);
	record_rate(&row, "rate_out", w.facts.rate_out);
	record_text(&row, "cause", w.limit.cause);
	record_text(&row, "limit", w.limit.text);
	if (w.limit.advice[0] != 0)
		record_text(&row, "advice", w.limit.advice);
	control_call_row(call, buf_bytes(&row));
	why_clear(&w);
}

static void
send_jobs(struct engine *en, struct control_call *call)
{
	auto_buf struct buf row = BUF(RECORD_MAX);
	uint64_t running = 0;

	array_each (j, &en->jobs)
		running += !(*j)->over;
	record_int(&row, "running", running);
	control_call_row(call, buf_bytes(&row));
	array_each (j, &en->jobs) {
		if (!(*j)->over)
			send_job(en, *j, call);
	}
	control_call_done(call, NULL, -1);
}

void
engine_why(struct engine *en, struct control_call *call, const struct control_request *r)
{
	const char *name = control_arg(r, "share");
	struct swarm_entry *x;
	struct engine_job *j;
	struct error e;

	if (name == NULL) {
		send_jobs(en, call);
		return;
	}
	j = job_named(en, name);
	x = j != NULL ? engine_swarm_find(en, &j->row.snapshot) : entry_named(en, name);
	if (x == NULL && j == NULL)
		j = job_of_share(en, name, false);
	if (x != NULL || j != NULL) {
		send_one(en, j, x, call);
		return;
	}
	(void)fail(&e, ERR_NOTFOUND,
	    "nothing of '%s' is moved or held here (`weft shares`, `weft jobs`)", name);
	control_call_done(call, &e, -1);
}
