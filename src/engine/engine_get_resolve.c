/*
 * Which snapshot it is: settled by the first answer and kept, with the commit, so a restart goes on
 * with the same one, with or without the server.  Then its manifest: nodes that are here are not
 * asked for.
 *
 * Whenever the server comes back it is asked about the snapshot again: for a fresh grant, to be
 * told of what becomes of it, and because something may have become of it meanwhile.
 */
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_get_private.h"
#include "engine/engine_swarm.h"

/* -- what the server says -- */

enum err
engine_get_resolve_statements(
    struct get *g, const struct msg_snapshot *m, struct hash_id *ret_share, struct error *e)
{
	struct statement st;
	enum err r = statement_decode(m->share_statement, &st, e);

	if (r == OK && st.kind != STATEMENT_SHARE)
		r = fail(e, ERR_PROTO, "the server's answer lacks the share's statement");
	if (r != OK)
		return r;
	struct bytes statements[] = { m->share_statement, m->grant, m->head };
	for (size_t i = 0; i < lengthof(statements); i++) {
		if (statements[i].len == 0)
			continue;
		r = engine_link_statement(g->job.engine, statements[i], e);
		/* an older head than we know is fine */
		if (r != OK && !(i == 2 && r == ERR_DENIED))
			return error_wrap(e, r, "the server's answer does not hold");
	}
	*ret_share = statement_share_id(m->share_statement);
	return OK;
}

static enum err
take_commit(struct get *g, struct bytes b, struct error *e)
{
	commit_clear(&g->commit);
	enum err r = commit_decode(b, &g->commit, e);
	if (r == OK)
		r = commit_verify(b, &g->commit, e);
	if (r != OK)
		return r;
	buf_reset(&g->commit_bytes);
	buf_add_bytes(&g->commit_bytes, b);
	return OK;
}

static enum err
take_snapshot(struct get *g, const struct msg_snapshot *m, struct error *e)
{
	struct hash_id share;
	enum err r = engine_get_resolve_statements(g, m, &share, e);

	if (r != OK)
		return r;
	if (m->state != SNAPSHOT_HEAD && m->state != SNAPSHOT_ANNOUNCED)
		return fail(e, ERR_NOTFOUND, "%s has no such snapshot", g->share);
	r = take_commit(g, m->commit, e);
	if (r == OK && !hash_id_equal(&g->commit.share, &share))
		r = fail(e, ERR_PROTO, "the server answered with a snapshot of another share");
	if (r != OK)
		return r;
	g->number = m->number;
	g->unit_size = m->unit_size;
	return OK;
}

/* -- RESOLVE -- */

/* From now on it is this snapshot, whatever becomes the head. */
static void
settle(struct get *g)
{
	char id[HASH_ID_TEXT];

	g->job.row.share = g->commit.share;
	g->job.row.snapshot = g->commit.id;
	free(g->selector);
	g->selector = str_dup(hash_id_format(&g->commit.id, id));
	g->phase = GET_NODES;
}

/* So that it need not be asked for again. */
static enum err
work_keep(struct engine_work *w, struct error *e)
{
	struct get *g = engine_get_of_work(w);
	struct engine *en = w->engine;
	const struct state_snapshot info = { .unit_size = g->unit_size, .number = g->number };
	enum err r = chunk_store_put_node(en->nodes, (enum hash_alg)g->commit.id.alg, HASH_COMMIT,
	    buf_bytes(&g->commit_bytes), NULL, e);

	if (r == OK)
		r = chunk_store_commit(en->nodes, e);
	return r == OK ? state_snapshot_put(en->state, &g->commit.id, &info, e) : r;
}

static void
done_keep(struct engine_work *w, enum err r, const struct error *e)
{
	struct get *g = engine_get_of_work(w);

	if (r == OK) {
		settle(g);
		engine_job_save(&g->job);
	} else {
		engine_get_fail(g, r, e);
	}
	engine_job_end(&g->job);
}

static void
on_resolved(struct engine_ask *a, const struct message *m, const struct error *e)
{
	struct get *g = container_of(a, struct get, ask);
	struct error own;
	enum err r;

	if (m != NULL && m->type == FRAME_SNAPSHOT)
		r = take_snapshot(g, &m->snapshot, &own);
	else if (m != NULL)
		r = fail(&own, ERR_PROTO, "the server answered with something else");
	else
		r = (own = *e).code;
	g->is_asking = false;
	if (r == OK)
		engine_get_run(g, work_keep, done_keep);
	else
		engine_get_fail(g, r, &own);
	engine_job_end(&g->job);
}

enum err
engine_get_resolve_ask(struct get *g, const char *selector,
    void (*on_answer)(struct engine_ask *a, const struct message *m, const struct error *e),
    struct error *e)
{
	struct message m = { .type = FRAME_RESOLVE };

	m.resolve =
	    (struct msg_resolve){ .share = bytes_str(g->share), .selector = bytes_str(selector) };
	g->ask.on_answer = on_answer;
	enum err r = engine_link_ask(g->job.engine, &g->ask, &m, e);
	if (r == OK) {
		g->is_asking = true;
		engine_job_begin(&g->job);
	}
	return r;
}

static void
ask_server(struct get *g)
{
	struct error e;
	enum err r = engine_get_resolve_ask(g, g->selector, on_resolved, &e);

	if (r == OK)
		return;
	/* Without a server at all, or a membership, there is nothing to wait for. */
	if (!g->job.engine->joined || g->job.engine->link.given_up)
		engine_job_finish(&g->job, r, &e, (struct bytes){ NULL, 0 });
	else
		engine_get_fail(g, ERR_OFFLINE, &e);
}

/* What an earlier run was told. */
static enum err
work_recall(struct engine_work *w, struct error *e)
{
	struct get *g = engine_get_of_work(w);
	auto_buf struct buf bytes = BUF(COMMIT_MAX);
	struct state_snapshot info;
	enum err r = state_snapshot_get(w->engine->state, &g->job.row.snapshot, &info, e);

	if (r == OK)
		r = chunk_store_get_node(w->engine->nodes, &g->job.row.snapshot, &bytes, e);
	if (r == OK)
		r = take_commit(g, buf_bytes(&bytes), e);
	if (r == OK && !hash_id_equal(&g->commit.share, &g->job.row.share))
		r = fail(e, ERR_CORRUPT, "a commit of another share");
	if (r != OK)
		return r;
	g->number = info.number;
	g->unit_size = info.unit_size;
	return OK;
}

static void
done_recall(struct engine_work *w, enum err r, const struct error *e)
{
	struct get *g = engine_get_of_work(w);

	g->is_recalled = true;
	g->is_stale = true;
	if (r == OK) {
		settle(g);
		engine_get_resolve_again(g);
	} else {
		log_debug("get %s: %s; the server is asked", g->share, e->text);
	}
	engine_job_end(&g->job);
}

void
engine_get_resolve(struct get *g)
{
	if (!g->is_recalled && !hash_id_is_none(&g->job.row.snapshot))
		engine_get_run(g, work_recall, done_recall);
	else
		ask_server(g);
}

/* -- what has become of it -- */

struct note_number {
	struct engine_work work;
	struct hash_id snapshot;
	struct state_snapshot info;
};

static enum err
work_number(struct engine_work *w, struct error *e)
{
	struct note_number *n = (struct note_number *)w;

	return state_snapshot_put(w->engine->state, &n->snapshot, &n->info, e);
}

static void
done_number(struct engine_work *w, enum err r, const struct error *e)
{
	if (r != OK)
		log_error("keep the number of a snapshot: %s", e->text);
	free(w);
}

static void
keep_number(struct get *g)
{
	struct note_number *n = mem_new(struct note_number);

	*n = (struct note_number){ .work = { .work = work_number, .done = done_number },
		.snapshot = g->commit.id,
		.info = { .unit_size = g->unit_size, .number = g->number } };
	engine_write(g->job.engine, &n->work);
}

void
engine_get_resolve_number(struct get *g, uint64_t number)
{
	const struct hash_id *it = &g->job.row.snapshot;

	if (number == 0 || g->number == number)
		return;
	g->number = number;
	if (hash_id_equal(it, &g->here))
		g->here_number = number;
	if (hash_id_equal(it, &g->commit.id)) /* and not of one that did not come after it */
		keep_number(g);
	if (g->phase == GET_FETCH && g->job.waiting) /* for this */
		g->job.waiting = false;
	if (g->phase == GET_FETCH || g->phase == GET_REST)
		engine_job_next(&g->job);
}

static void
on_resolved_again(struct engine_ask *a, const struct message *m, const struct error *e)
{
	struct get *g = container_of(a, struct get, ask);
	struct hash_id share;
	struct error own;

	g->is_asking = false;
	if (m != NULL && m->type == FRAME_SNAPSHOT) {
		if (engine_get_resolve_statements(g, &m->snapshot, &share, &own) != OK)
			log_warn("get %s: %s", g->share, own.text);
		else if (m->snapshot.state == SNAPSHOT_HEAD)
			engine_get_resolve_number(g, m->snapshot.number);
	} else if (e != NULL && e->code == ERR_NOTFOUND) {
		engine_get_lost(g, e->text);
	}
	engine_job_end(&g->job);
}

void
engine_get_resolve_again(struct get *g)
{
	struct error e;

	if (g->is_asking || g->job.over || !g->job.engine->link.ready)
		return;
	if (g->phase > GET_RESOLVE && g->phase < GET_SWITCH &&
	    engine_get_resolve_ask(g, g->selector, on_resolved_again, &e) != OK)
		log_debug("get %s: %s", g->share, e.text);
}

/* -- NODES -- */

/* Who is asked for nodes: the server, or while it is away whoever takes part in the share. */
static struct peer *
node_peer(struct get *g)
{
	struct engine *en = g->job.engine;

	g->is_server_asked = en->link.ready;
	return engine_swarm_nodes_from(en, &g->commit.id);
}

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
	else if (r == ERR_CORRUPT && g->is_server_asked)
		engine_get_wait_repair(g);
	else if (r == ERR_CORRUPT || (r == ERR_NOTFOUND && !g->is_server_asked))
		engine_job_wait(
		    &g->job, ENGINE_AGAIN_RETRY_MS, e->text); /* another may do better */
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
	g->fetch = fetch_nodes_start(&o, node_peer(g));
}

void
engine_get_resolve_peers(struct get *g)
{
	if (g->fetch != NULL)
		fetch_nodes_peer(g->fetch, node_peer(g));
}

void
engine_get_resolve_peer_gone(struct get *g, struct peer *p)
{
	if (g->fetch != NULL)
		fetch_nodes_peer_gone(g->fetch, p);
}
