/*
 * `weft limit`: what this node's transfers, or those of a job, are held to; kept in state.db.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/engine_internal.h"
#include "platform/clock.h"

#define KEY_NODE "limit.node"
enum { KEY_JOB_MAX = 40 };

/* -- keeping -- */

struct keep {
	struct engine_work work;
	struct control_call *call;
	struct limit_setting setting;
};

static enum err
work_keep(struct engine_work *w, struct error *e)
{
	const struct keep *k = (const struct keep *)w;
	auto_buf struct buf b = BUF(RECORD_MAX);

	limit_setting_encode(&k->setting, &b);
	return state_set(w->engine->state, KEY_NODE, buf_bytes(&b), e);
}

static void tick(struct engine *en);
static void set_gates(struct engine_job *j, int64_t wall_ns, int offset_min);
static void send_node(struct engine *en, struct control_call *call);

static void
done_keep(struct engine_work *w, enum err r, const struct error *e)
{
	struct keep *k = (struct keep *)w;
	struct engine *en = w->engine;

	if (r == OK) {
		limits_set(en->limits, &k->setting);
		engine_yield_set(en, k->setting.background);
		tick(en);
		send_node(en, k->call);
	}
	control_call_done(k->call, r == OK ? NULL : e, -1);
	free(k);
}

enum err
engine_limit_load(struct engine *en, struct error *e)
{
	auto_buf struct buf b = BUF(RECORD_MAX);
	struct limit_setting s;
	enum err r = state_get(en->state, KEY_NODE, &b, e);

	if (r == ERR_NOTFOUND)
		return OK;
	if (r == OK)
		r = limit_setting_decode(buf_bytes(&b), &s, e);
	if (r != OK)
		return error_wrap(e, r, "read the limits that were set");
	limits_set(en->limits, &s);
	tick(en);
	return OK;
}

static void
tick(struct engine *en)
{
	int64_t now = clock_wall_ns();

	limits_tick(en->limits, loop_now_ms(en->loop), now, clock_offset_min(now));
}

void
engine_limit_tick(struct engine *en)
{
	int64_t now = clock_wall_ns();

	tick(en);
	array_each (j, &en->jobs) {
		if ((*j)->limit.schedule[0] != '\0')
			set_gates(*j, now, clock_offset_min(now));
	}
}

/* -- showing -- */

static void
send_row(void *ctx, struct bytes row)
{
	control_call_row(ctx, row);
}

static void
add_rates(struct buf *row, const char *up, const char *down, uint64_t up_rate, uint64_t down_rate)
{
	if (up_rate != 0)
		record_rate(row, up, up_rate);
	if (down_rate != 0)
		record_rate(row, down, down_rate);
}

static void
send_node(struct engine *en, struct control_call *call)
{
	const struct limit_setting *s = limits_setting(en->limits);
	const struct schedule_rates *share = limits_share(en->limits);
	const struct throttle *t = en->o.throttle;
	auto_buf struct buf row = BUF(RECORD_MAX);

	limit_setting_fields(s, &row);
	add_rates(&row, "share_up", "share_down", share->up, share->down);
	add_rates(&row, "up_now", "down_now", throttle_rate(t, THROTTLE_UP, false),
	    throttle_rate(t, THROTTLE_DOWN, false));
	add_rates(&row, "near_up_now", "near_down_now", throttle_rate(t, THROTTLE_UP, true),
	    throttle_rate(t, THROTTLE_DOWN, true));
	control_call_row(call, buf_bytes(&row));
	limit_setting_week(s, send_row, call);
}

/* -- of a job -- */

struct keep_job {
	struct engine_work work;
	struct control_call *call; /* NULL: the job is over */
	int64_t job;
	struct limit_setting setting;
};

static void
key_of(int64_t job, char out[static KEY_JOB_MAX])
{
	snprintf(out, KEY_JOB_MAX, "limit.job.%lld", (long long)job);
}

static enum err
work_keep_job(struct engine_work *w, struct error *e)
{
	const struct keep_job *k = (const struct keep_job *)w;
	auto_buf struct buf b = BUF(RECORD_MAX);
	char key[KEY_JOB_MAX];

	key_of(k->job, key);
	limit_setting_encode(&k->setting, &b);
	return state_set(w->engine->state, key, buf_bytes(&b), e);
}

static void
set_gates(struct engine_job *j, int64_t wall_ns, int offset_min)
{
	struct schedule_rates now = limit_setting_now(&j->limit, wall_ns, offset_min);
	uint64_t now_ms = loop_now_ms(j->engine->loop);

	rate_change(&j->gates[THROTTLE_UP], now.up, now_ms);
	rate_change(&j->gates[THROTTLE_DOWN], now.down, now_ms);
}

static void
send_job(const struct engine_job *j, struct control_call *call)
{
	auto_buf struct buf row = BUF(RECORD_MAX);

	record_int(&row, "job", (uint64_t)j->row.id);
	limit_setting_fields(&j->limit, &row);
	add_rates(&row, "up_now", "down_now", j->gates[THROTTLE_UP].bytes_s,
	    j->gates[THROTTLE_DOWN].bytes_s);
	control_call_row(call, buf_bytes(&row));
	limit_setting_week(&j->limit, send_row, call);
}

static void
done_keep_job(struct engine_work *w, enum err r, const struct error *e)
{
	struct keep_job *k = (struct keep_job *)w;
	struct engine_job *j = engine_job_find(w->engine, k->job);
	int64_t now = clock_wall_ns();

	if (r == OK && j != NULL && k->call != NULL) {
		j->limit = k->setting;
		set_gates(j, now, clock_offset_min(now));
		send_job(j, k->call);
	}
	if (k->call != NULL)
		control_call_done(k->call, r == OK ? NULL : e, -1);
	free(k);
}

static void
keep_job(struct engine_job *j, const struct limit_setting *s, struct control_call *call)
{
	struct keep_job *k = mem_new(struct keep_job);

	k->work = (struct engine_work){ .work = work_keep_job, .done = done_keep_job };
	k->call = call;
	k->job = j->row.id;
	k->setting = *s;
	engine_write(j->engine, &k->work);
}

void
engine_limit_job_over(struct engine_job *j)
{
	const struct limit_setting none = { .week.n_kinds = 1 };

	if (!limit_setting_is_none(&j->limit))
		keep_job(j, &none, NULL);
}

void
engine_limit_jobs_load(struct engine *en)
{
	int64_t now = clock_wall_ns();

	array_each (j, &en->jobs) {
		auto_buf struct buf b = BUF(RECORD_MAX);
		char key[KEY_JOB_MAX];
		struct error e;
		key_of((*j)->row.id, key);
		enum err r = state_get(en->state, key, &b, &e);
		if (r == OK)
			r = limit_setting_decode(buf_bytes(&b), &(*j)->limit, &e);
		if (r != OK && r != ERR_NOTFOUND)
			log_error("the limit of job %lld: %s", (long long)(*j)->row.id, e.text);
		set_gates(*j, now, clock_offset_min(now));
	}
}

/* All jobs of the snapshot must agree; they are counted with what goes out. */
uint64_t
engine_limit_hold_ms(void *engine, struct peer *p, const struct responder_ask *ask, uint64_t bytes)
{
	struct engine *en = engine;
	uint64_t now_ms = loop_now_ms(en->loop), ms = 0;
	(void)p;

	array_each (j, &en->jobs) {
		struct rate *r = &(*j)->gates[THROTTLE_UP];
		if (r->bytes_s != 0 && hash_id_equal(&(*j)->row.snapshot, &ask->snapshot) &&
		    !rate_has(r, now_ms))
			ms = max_of(ms, rate_wait_ms(r));
	}
	array_each (j, &en->jobs) {
		if (ms == 0 && hash_id_equal(&(*j)->row.snapshot, &ask->snapshot))
			rate_take(&(*j)->gates[THROTTLE_UP], bytes);
	}
	return ms;
}

static enum err
limit_job(
    struct engine *en, struct control_call *call, const struct control_request *r, struct error *e)
{
	const char *text = control_arg(r, "job");
	struct engine_job *j = NULL;
	uint64_t id;

	if (!text_parse_u64(text, INT64_MAX, &id))
		return fail(e, ERR_USAGE, "name the job by its number (`weft jobs` lists them)");
	j = engine_job_find(en, (int64_t)id);
	if (j == NULL || j->over)
		return fail(
		    e, ERR_NOTFOUND, "no job %s is under way (`weft jobs` lists them)", text);
	if (control_flag(r, "lan") || control_flag(r, "background"))
		return fail(e, ERR_USAGE,
		    "a job's limit holds for all its connections: neither --lan nor --background");
	if (!limit_setting_is_asked(r)) {
		send_job(j, call);
		control_call_done(call, NULL, -1);
		return OK;
	}
	struct limit_setting s = j->limit;
	enum err err = limit_setting_change(&s, r, e);
	if (err == OK)
		keep_job(j, &s, call);
	return err;
}

/* -- the command -- */

static void
set_node(struct engine *en, struct control_call *call, const struct control_request *r)
{
	struct limit_setting s = *limits_setting(en->limits);
	struct error e;

	if (limit_setting_change(&s, r, &e) != OK) {
		control_call_done(call, &e, -1);
		return;
	}
	struct keep *k = mem_new(struct keep);
	k->work = (struct engine_work){ .work = work_keep, .done = done_keep };
	k->call = call;
	k->setting = s;
	engine_write(en, &k->work);
}

void
engine_limit(struct engine *en, struct control_call *call, const struct control_request *r)
{
	struct error e;

	if (control_flag(r, "site")) {
		(void)fail(&e, ERR_USAGE,
		    "a site's line is limited on the server: `weft limit --site` on its machine "
		    "and home");
		control_call_done(call, &e, -1);
	} else if (control_arg(r, "job") != NULL) {
		if (limit_job(en, call, r, &e) != OK)
			control_call_done(call, &e, -1);
	} else if (limit_setting_is_asked(r)) {
		set_node(en, call, r);
	} else {
		send_node(en, call);
		control_call_done(call, NULL, -1);
	}
}
