/* Jobs, as they are to be found again after a restart. */
#include <stdio.h>

#include "engine/state_private.h"

#define COLUMNS                                                                                    \
	"id, kind, state, root, share, snapshot, spec, created_ns, updated_ns, bytes_done, "       \
	"bytes_total, text"

void
job_row_clear(struct job_row *r)
{
	buf_clear(&r->spec);
	*r = (struct job_row){ 0 };
}

static enum err
read_job(struct db_row *row, struct job_row *ret, struct error *e)
{
	struct job_row job = {
		.id = db_row_int(row, 0),
		.kind = (uint8_t)db_row_int(row, 1),
		.state = (uint8_t)db_row_int(row, 2),
		.root = db_row_int(row, 3),
		.spec = BUF(JOB_SPEC_MAX),
		.created_ns = db_row_int(row, 7),
		.updated_ns = db_row_int(row, 8),
		.bytes_done = (uint64_t)db_row_int(row, 9),
		.bytes_total = (uint64_t)db_row_int(row, 10),
	};
	enum err r = state_hash_column(row, 4, &job.share, e);

	if (r == OK)
		r = state_hash_column(row, 5, &job.snapshot, e);
	if (r == OK && !buf_add_bytes(&job.spec, db_row_bytes(row, 6)))
		r = fail(e, ERR_CORRUPT, "state: job %lld has a request of %zu bytes",
		    (long long)job.id, db_row_bytes(row, 6).len);
	if (r != OK) {
		job_row_clear(&job);
		return r;
	}
	snprintf(job.text, sizeof job.text, "%s", db_row_text(row, 11));
	*ret = job;
	return OK;
}

enum err
state_job_put(struct state *s, struct job_row *j, struct error *e)
{
	/* An id that is none yet is NULL, for which SQLite takes the next one. */
	static const char SQL_PUT[] =
	    "INSERT INTO job(" COLUMNS
	    ") VALUES(nullif(?1, 0), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
	    " ON CONFLICT(id) DO UPDATE SET kind = ?2, state = ?3, root = ?4, share = ?5, snapshot "
	    "= ?6, spec = ?7,"
	    " created_ns = ?8, updated_ns = ?9, bytes_done = ?10, bytes_total = ?11, text = ?12 "
	    "RETURNING id";
	auto_row struct db_row *row = NULL;
	struct bytes spec = j->spec.len > 0 ? buf_bytes(&j->spec) : BYTES_LIT("");
	enum err r = db_query(s->db, SQL_PUT, &row, e, "iiiibbbiiiis", j->id, (int64_t)j->kind,
	    (int64_t)j->state, j->root, state_hash_param(&j->share), state_hash_param(&j->snapshot),
	    spec, j->created_ns, j->updated_ns, (int64_t)j->bytes_done, (int64_t)j->bytes_total,
	    j->text);

	if (r == OK)
		r = state_one_row(row, "a job just put", e);
	if (r != OK)
		return r;
	int64_t id = db_row_int(row, 0);
	r = state_row_done(row, e);
	if (r == OK)
		j->id = id;
	return r;
}

enum err
state_job_get(struct state *s, int64_t id, struct job_row *ret, struct error *e)
{
	static const char SQL_GET[] = "SELECT " COLUMNS " FROM job WHERE id = ?";
	auto_row struct db_row *row = NULL;
	char what[40];
	enum err r = db_query(s->db, SQL_GET, &row, e, "i", id);

	snprintf(what, sizeof what, "job %lld", (long long)id);
	if (r == OK)
		r = state_one_row(row, what, e);
	return r == OK ? read_job(row, ret, e) : r;
}

enum err
state_job_del(struct state *s, int64_t id, struct error *e)
{
	static const char SQL_DEL[] = "DELETE FROM job WHERE id = ?";

	return db_run(s->db, SQL_DEL, e, "i", id);
}

enum err
state_job_prune(struct state *s, unsigned keep, struct error *e)
{
	static const char SQL_PRUNE[] =
	    "DELETE FROM job WHERE state IN (?1, ?2) AND id NOT IN "
	    "(SELECT id FROM job WHERE state IN (?1, ?2) ORDER BY id DESC LIMIT ?3)";

	return db_run(
	    s->db, SQL_PRUNE, e, "iii", (int64_t)JOB_DONE, (int64_t)JOB_FAILED, (int64_t)keep);
}

struct telling {
	enum err (*on_job)(void *ctx, const struct job_row *j, struct error *e);
	void *ctx;
};

static enum err
tell_job(void *ctx, struct db_row *row, struct error *e)
{
	const struct telling *t = ctx;
	auto_(job_row_clear) struct job_row job = { 0 };
	enum err r = read_job(row, &job, e);

	return r == OK ? t->on_job(t->ctx, &job, e) : r;
}

enum err
state_jobs(struct state *s, enum err (*on_job)(void *ctx, const struct job_row *j, struct error *e),
    void *ctx, struct error *e)
{
	static const char SQL_ALL[] = "SELECT " COLUMNS " FROM job ORDER BY id";
	struct telling t = { on_job, ctx };
	auto_row struct db_row *row = NULL;
	enum err r = db_query(s->db, SQL_ALL, &row, e, NULL);

	return r == OK ? state_each_row(row, tell_job, &t, e) : r;
}
