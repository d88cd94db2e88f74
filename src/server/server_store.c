#include <time.h>

#include "platform/clock.h"
#include "server/server_internal.h"

int64_t
server_now_ms(void)
{
	return clock_wall_ns() / 1000000;
}

int64_t
server_now_s(void)
{
	return clock_wall_ns() / 1000000000;
}

static enum err
store_change(void *ctx, struct error *e)
{
	struct change *c = ctx;
	struct db *db = c->server->registry->db;
	enum err r = db_begin(db, e);

	if (r != OK)
		return r;
	r = c->store(c, c->server, e);
	if (r == OK)
		return db_commit(db, e);
	db_rollback(db);
	return r;
}

static void
on_stored(void *ctx, enum err r, const struct error *e)
{
	struct change *c = ctx;
	struct server *s = c->server;

	c->apply(c, s, r, e);
	s->jobs--;
	server_closed_part(s);
}

void
server_change(struct server *s, struct change *c)
{
	c->server = s;
	s->jobs++;
	job_queue_run(s->changes, store_change, on_stored, c);
}

static enum err
work_job(void *ctx, struct error *e)
{
	struct server_job *j = ctx;

	return j->work(j, j->server, e);
}

static void
on_job_done(void *ctx, enum err r, const struct error *e)
{
	struct server_job *j = ctx;
	struct server *s = j->server;

	j->done(j, s, r, e);
	s->jobs--;
	server_closed_part(s);
}

void
server_job(struct server *s, struct server_job *j)
{
	j->server = s;
	s->jobs++;
	job_run(s->loop, work_job, on_job_done, j);
}

enum err
server_sign(struct server *s, struct statement *st, struct buf *out, struct error *e)
{
	size_t from = out->len;
	enum err r;

	/* Later than all that was said of this subject before, whatever our clock says. */
	authority_stamp(s->registry->authority, st, server_now_s());
	r = statement_sign(st, s->home->key, out, e);
	if (r == OK)
		r = authority_accept(
		    s->registry->authority, BYTES(out->at + from, out->len - from), NULL, e);
	return r;
}
