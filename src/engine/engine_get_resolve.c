/*
 * Which snapshot it is: settled by the first answer and kept in the row, so a restart goes on with
 * the same one.  Then its manifest: nodes that are here are not asked for.
 */
#include "base/mem.h"
#include "engine/engine_get_private.h"

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
		engine_get_fail(g, r, &own);
	}
	engine_job_end(j);
}

void
engine_get_resolve(struct get *g)
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
		engine_get_fail(g, ERR_OFFLINE, &e);
}

/* -- NODES -- */

static void
fetch_closed(void *ctx)
{
	engine_job_end(&((struct get *)ctx)->job);
}

void
engine_get_resolve_stop(struct get *g)
{
	if (g->fetch == NULL)
		return;
	fetch_nodes_close(g->fetch, fetch_closed, g);
	g->fetch = NULL;
}

static void
on_nodes(void *ctx, enum err r, const struct error *e)
{
	struct get *g = ctx;

	if (r == OK)
		g->phase = GET_PLAN;
	else if (r == ERR_CORRUPT)
		engine_get_wait_repair(g);
	else
		engine_get_fail(g, r, e);
	engine_get_resolve_stop(g);
}

void
engine_get_resolve_nodes(struct get *g)
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
