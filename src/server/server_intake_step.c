/*
 * What an intake does until everything is here: LOADING the commit, NODES, OPENING the map and the
 * sink, CHUNKS.  Each step may be done again from its beginning, after a full disk.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/server_intake.h"

enum { NODE_BATCH = 4096, PROGRESS_MS = 300 };

static bool ask_commit(struct intake *k);
static void on_commit(void *ctx, enum err r, const struct error *e);
static void on_nodes(void *ctx, enum err r, const struct error *e);
static void on_chunks(void *ctx, enum err r, const struct error *e);
static void on_progress(void *ctx);
static void on_taken(void *ctx, enum err r, const struct error *e);
static void on_liar(void *ctx, struct peer *p, uint32_t unit);

/* -- steps that are one job -- */

struct intake_job {
	struct server_job job;
	struct intake *intake;
	enum intake_state next;
};

static void
done_job(struct server_job *job, struct server *s, enum err r, const struct error *e)
{
	struct intake_job *j = (struct intake_job *)job;
	struct intake *k = j->intake;
	enum intake_state next = j->next;
	bool is_closing = k->state == INTAKE_CLOSING;
	(void)s;

	free(j);
	server_intake_part_closed(k); /* closing, it may be freed by that */
	if (is_closing)
		return;
	if (r != OK && k->state == INTAKE_LOADING && ask_commit(k))
		return;
	if (r != OK) {
		server_intake_failed(k, r, e);
		return;
	}
	server_intake_enter(k, next);
	server_intake_next(k);
}

static void
run_job(struct intake *k, enum err (*work)(struct server_job *j, struct server *s, struct error *e),
    enum intake_state next)
{
	struct intake_job *j = mem_new(struct intake_job);

	*j = (struct intake_job){
		.job = { .work = work, .done = done_job }, .intake = k, .next = next
	};
	k->open++;
	server_job(k->server, &j->job);
}

/* -- LOADING -- */

static enum err
work_load(struct server_job *job, struct server *s, struct error *e)
{
	struct intake *k = ((struct intake_job *)job)->intake;
	auto_buf struct buf bytes = BUF(COMMIT_MAX);
	enum err r = chunk_store_get_node(s->store, &k->snapshot, &bytes, e);

	commit_clear(&k->commit);
	return r == OK ? commit_decode(buf_bytes(&bytes), &k->commit, e) : r;
}

void
server_intake_step_load(struct intake *k)
{
	run_job(k, work_load, INTAKE_NODES);
}

/* A repair whose commit itself was lost asks the author for it, once. */
static bool
ask_commit(struct intake *k)
{
	struct link *l = server_peer_of(k->server, &k->author);
	struct registry_share *sh = server_intake_share(k);

	if (!k->repair || k->asked_commit || l == NULL || sh == NULL ||
	    server_commit_fetch(k->server, l, &sh->id, &k->snapshot, on_commit, k, NULL) != OK)
		return false;
	k->asked_commit = true;
	k->open++;
	return true;
}

static void
on_commit(void *ctx, enum err r, const struct error *e)
{
	struct intake *k = ctx;
	bool is_closing = k->state == INTAKE_CLOSING;

	server_intake_part_closed(k); /* closing, it may be freed by that */
	if (is_closing)
		return;
	if (r == ERR_OFFLINE) {
		k->asked_commit = false;
		server_intake_enter(k, INTAKE_WAITING);
	} else if (r != OK) {
		server_intake_failed(k, r, e);
	} else {
		server_intake_next(k);
	}
}

/* -- NODES -- */

static enum err
record_nodes(struct intake *k, struct error *e)
{
	struct db *db = k->server->registry->db;
	enum err r;

	if (k->nodes.len == 0)
		return OK;
	r = db_begin(db, e);
	if (r != OK)
		return r;
	array_each (id, &k->nodes) {
		if (r == OK)
			r = registry_store_share_node(db, k->share, id, e);
	}
	if (r == OK)
		r = db_commit(db, e);
	else
		db_rollback(db);
	if (r == OK)
		k->nodes.len = 0;
	return r;
}

static enum err
on_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	struct intake *k = ctx;
	(void)kind;

	array_push(&k->nodes, *id);
	return k->nodes.len >= NODE_BATCH ? record_nodes(k, e) : OK;
}

static bool
may_reuse(void *ctx, const struct hash_id *id)
{
	struct intake *k = ctx;

	return registry_any_has_node(k->server->reader, k->readable.at, k->readable.len, id);
}

void
server_intake_step_nodes(struct intake *k, struct peer *author)
{
	const struct fetch_nodes_opts o = {
		.loop = k->server->loop,
		.nodes = k->server->store,
		.commit = &k->commit,
		.on_node = on_node,
		.may_reuse = may_reuse,
		.on_done = on_nodes,
		.ctx = k,
	};

	k->open++;
	k->fetch = fetch_nodes_start(&o, author);
}

static void
on_nodes(void *ctx, enum err r, const struct error *e)
{
	struct intake *k = ctx;

	fetch_nodes_close(k->fetch, server_intake_part_closed, k);
	k->fetch = NULL;
	if (r != OK) {
		server_intake_failed(k, r, e);
		return;
	}
	server_intake_enter(k, INTAKE_OPENING);
	server_intake_next(k);
}

/* -- OPENING -- */

static enum err
work_open(struct server_job *job, struct server *s, struct error *e)
{
	struct intake *k = ((struct intake_job *)job)->intake;
	struct hash_id content;
	uint32_t unit_size = 0;
	enum err r = record_nodes(k, e);

	snapshot_map_free(k->map);
	snapshot_map_free(k->node_map);
	k->map = k->node_map = NULL;
	if (r == OK)
		r = chunk_store_commit(s->store, e);
	if (r == OK)
		r = registry_share_content(
		    s->reader, &k->commit.share, &k->snapshot, &content, &unit_size, e);
	if (r == OK)
		r = snapshot_map_open(
		    s->maps_dir, server_source_nodes(s), &content, unit_size, NULL, &k->map, e);
	if (r == OK) /* the swarm may outlive us */
		r = snapshot_map_open(s->maps_dir, server_source_nodes(s), &content, unit_size,
		    NULL, &k->node_map, e);
	if (r != OK)
		return r;
	if (snapshot_map_chunks(k->map) != k->commit.chunks ||
	    snapshot_map_bytes(k->map) != k->commit.chunk_bytes)
		return fail(e, ERR_PROTO, "the snapshot declares other chunks than its tree has");
	return server_sink_open(s, k->share, k->readable.at, k->readable.len, k->map, &k->sink, e);
}

void
server_intake_step_open(struct intake *k)
{
	run_job(k, work_open, INTAKE_CHUNKS);
}

/* -- CHUNKS -- */

/* A publisher that takes no part in the swarm, although it is here, sends all to us alone.  It
 * comes in when it has heard how large the units are, which is about now, so it is given time. */
static bool
is_in_swarm(const struct intake *k)
{
	return !k->alone || server_peer_of(k->server, &k->author) == NULL ||
	       server_swarm_link(k->server, &k->author, &k->commit.share, &k->snapshot) != NULL;
}

static void
take_from_all(struct intake *k)
{
	const struct swarm_node_taker t = {
		.sink = server_sink_ops(k->sink),
		.on_progress = on_progress,
		.on_done = on_taken,
		.ctx = k,
	};

	k->open++;
	k->taking = true;
	server_source_add_sink(k->server->source, &k->snapshot, k->sink);
	struct swarm_node *n =
	    server_node_receive(k->server, &k->commit.share, &k->snapshot, take_ptr(k->node_map));
	(void)expect(swarm_node_take(n, &t));
	server_intake_watch(k);
}

/* Its sink is used no more. */
static void
on_taken(void *ctx, enum err r, const struct error *e)
{
	struct intake *k = ctx;

	k->taking = false;
	server_intake_watch_end(k);
	server_intake_part_closed(k);
	if (r != OK) {
		server_intake_failed(k, r, e);
		return;
	}
	server_node_received(k->server, &k->snapshot);
	server_intake_enter(k, INTAKE_READY);
	server_intake_next(k);
}

void
server_intake_step_chunks(struct intake *k, struct peer *author)
{
	if (server_intake_is_for_all(k) && is_in_swarm(k)) {
		take_from_all(k);
		return;
	}
	const struct download_opts o = {
		.loop = k->server->loop,
		.map = k->map,
		.share = k->commit.share,
		.snapshot = k->snapshot,
		.sink = server_sink_ops(k->sink),
		.on_progress = on_progress,
		.on_liar = on_liar,
		.on_done = on_chunks,
		.ctx = k,
	};

	k->open++;
	k->download = download_start(&o);
	if (author != NULL)
		download_peer_add(k->download, author);
}

static void
on_progress(void *ctx)
{
	struct intake *k = ctx;
	struct registry_snapshot *sn = server_intake_snapshot(k);
	uint64_t now = loop_now_ms(k->server->loop);

	if (sn == NULL || now - k->progress_ms < PROGRESS_MS)
		return;
	k->progress_ms = now;
	sn->held_bytes = server_sink_held(k->sink);
	server_peer_progress(k->server, server_intake_share(k), sn);
}

static void
on_liar(void *ctx, struct peer *p, uint32_t unit)
{
	struct intake *k = ctx;

	server_peer_liar(k->server, p, unit);
}

static void
on_chunks(void *ctx, enum err r, const struct error *e)
{
	struct intake *k = ctx;

	download_close(k->download, server_intake_part_closed, k);
	k->download = NULL;
	if (r != OK) {
		server_intake_failed(k, r, e);
		return;
	}
	server_intake_enter(k, INTAKE_READY);
	server_intake_next(k);
}
