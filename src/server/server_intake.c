/*
 * An announced snapshot on its way to become the head: its nodes, then its chunks, from its author; then the HEAD statement.
 *
 * One step after the other, each begun by step(): LOADING the commit, NODES, OPENING the map and the sink, CHUNKS, READY, then
 * SEQUENCING.  Without its author an intake waits where it is and goes on when the author comes back; after a restart it begins
 * anew and finds what the store already holds.  While a collection runs, new intakes wait: what a collection is about to
 * take away must not be counted as here.
 *
 * A repair is the same walk for a snapshot that is kept already: it fetches what the store lost and ends without a statement.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/server_internal.h"

#define INTAKE_STATES(X) X(WAITING) X(LOADING) X(NODES) X(OPENING) X(CHUNKS) X(READY) X(SEQUENCING) X(CLOSING)
enum intake_state {
#define X(name) INTAKE_##name,
	INTAKE_STATES(X)
#undef X
};
static const char *const state_names[] = {
#define X(name) #name,
	INTAKE_STATES(X)
#undef X
};
#define TO(s) (1u << INTAKE_##s)
static const unsigned may_enter[] = { /* row: from, bits: to */
	[INTAKE_WAITING] = TO(LOADING) | TO(CLOSING),
	[INTAKE_LOADING] = TO(NODES) | TO(WAITING) | TO(CLOSING),
	[INTAKE_NODES] = TO(OPENING) | TO(CLOSING),
	[INTAKE_OPENING] = TO(CHUNKS) | TO(CLOSING),
	[INTAKE_CHUNKS] = TO(READY) | TO(CLOSING),
	[INTAKE_READY] = TO(SEQUENCING) | TO(CLOSING),
	[INTAKE_SEQUENCING] = TO(CLOSING),
	[INTAKE_CLOSING] = 0,
};

enum { NODE_BATCH = 4096, PROGRESS_MS = 300 };

struct intake {
	struct server *server;
	enum intake_state state;
	bool repair;
	int64_t share;
	struct hash_id snapshot;
	struct device_id author;
	struct commit commit;
	bool asked_commit;                /* repair: the commit itself was lost */
	ARRAY(int64_t) readable;          /* shares whose bytes the author may use */
	ARRAY(struct hash_id) nodes;      /* to be recorded; touched by one job at a time */
	struct fetch_nodes *fetch;
	struct snapshot_map *map;
	struct server_sink *sink;
	struct download *download;
	struct timer *retry;
	uint64_t progress_ms;
	unsigned open;                    /* fetch, download, jobs: what closing waits for */
};

static void step(struct intake *k);
static void done_load(struct server_job *job, struct server *s, enum err r, const struct error *e);
static void on_nodes(void *ctx, enum err r, const struct error *e);
static void on_chunks(void *ctx, enum err r, const struct error *e);
static void on_progress(void *ctx);
static void on_liar(void *ctx, struct peer *p, uint32_t unit);
static void sequence(struct intake *k);
static void close_intake(struct intake *k);

static void
enter(struct intake *k, enum intake_state next)
{
	if (!expect(may_enter[k->state] & (1u << next)))
		return;
	log_debug("intake of share %lld: %s -> %s", (long long)k->share, state_names[k->state], state_names[next]);
	k->state = next;
}

static struct registry_share *
share_of(const struct intake *k)
{
	return registry_share_num(k->server->registry, k->share);
}

static struct registry_snapshot *
snapshot_of(const struct intake *k)
{
	struct registry_share *sh = share_of(k);

	return sh != NULL ? registry_snapshot(sh, &k->snapshot) : NULL;
}

static struct intake *
find(struct server *s, const struct hash_id *snapshot)
{
	array_each (k, &s->intakes) {
		if ((*k)->state != INTAKE_CLOSING && hash_id_equal(&(*k)->snapshot, snapshot))
			return *k;
	}
	return NULL;
}

/* -- withdrawing -- */

struct withdraw_change {
	struct change change;
	int64_t share;
	struct registry_snapshot snapshot;
};

static enum err
store_withdraw(struct change *c, struct server *s, struct error *e)
{
	struct withdraw_change *w = (struct withdraw_change *)c;

	return registry_store_snapshot(s->registry->db, w->share, &w->snapshot, e);
}

static void
apply_withdraw(struct change *c, struct server *s, enum err r, const struct error *e)
{
	(void)s;
	if (r != OK)
		log_error("withdraw a snapshot: %s", e->text);
	free(c);
}

void
server_intake_withdraw(struct server *s, const struct hash_id *snapshot, const char *why)
{
	struct intake *k = find(s, snapshot);
	struct registry_share *sh = NULL;
	struct registry_snapshot *sn = NULL;

	map_each (slot, &s->registry->shares) {
		struct registry_snapshot *here = registry_snapshot(slot->ptr, snapshot);
		if (here != NULL) {
			sh = slot->ptr;
			sn = here;
		}
	}
	if (k != NULL && k->state == INTAKE_SEQUENCING)
		return; /* too late: that it is the head is signed and on its way to the disk */
	if (k != NULL)
		close_intake(k);
	if (sn == NULL || sn->state != SNAPSHOT_ANNOUNCED)
		return;
	sn->state = SNAPSHOT_WITHDRAWN;
	snprintf(sn->why, sizeof sn->why, "%s", why);
	log_warn("%s: an announced snapshot is withdrawn: %s", sh->name, why);
	server_peer_progress(s, sh, sn, &sn->author);
	struct withdraw_change *w = mem_new(struct withdraw_change);
	*w = (struct withdraw_change){
		.change = { .store = store_withdraw, .apply = apply_withdraw }, .share = sh->num, .snapshot = *sn
	};
	server_change(s, &w->change);
}

void
server_intake_judge(struct server *s)
{
	ARRAY(struct hash_id) lost = { 0 };

	map_each (slot, &s->registry->shares) {
		struct registry_share *sh = slot->ptr;
		array_each (sn, &sh->snapshots) {
			if ((*sn)->state == SNAPSHOT_ANNOUNCED && !(rules_rights(s->registry, sh, &(*sn)->author) & RIGHT_WRITE))
				array_push(&lost, (*sn)->id);
		}
	}
	array_each (id, &lost)
		server_intake_withdraw(s, id, "its device may not write to the share any more");
	array_clear(&lost);
}

/* The author sent what cannot be: an announcement ends with that, a repair is given up. */
static void
give_up(struct intake *k, const struct error *e)
{
	struct registry_share *sh = share_of(k);

	if (!k->repair) {
		server_intake_withdraw(k->server, &k->snapshot, e->text);
		return;
	}
	log_error("%s: what the store lost could not be fetched again: %s", sh != NULL ? sh->name : "?", e->text);
	close_intake(k);
}

/* -- closing -- */

static void
free_later(struct intake *k)
{
	struct server *s = k->server;

	if (k->open > 0)
		return;
	for (size_t i = 0; i < s->intakes.len; i++) {
		if (s->intakes.at[i] == k) {
			array_swap_out(&s->intakes, i);
			break;
		}
	}
	server_sink_free(k->sink);
	snapshot_map_free(k->map);
	commit_clear(&k->commit);
	array_clear(&k->readable);
	array_clear(&k->nodes);
	free(k);
	server_gc_try(s);
	server_closed_part(s);
}

static void
part_closed(void *ctx)
{
	struct intake *k = ctx;

	k->open--;
	if (k->state == INTAKE_CLOSING)
		free_later(k);
}

static void
close_posted(void *ctx)
{
	part_closed(ctx);
}

static void
close_intake(struct intake *k)
{
	if (k->state == INTAKE_CLOSING)
		return;
	enter(k, INTAKE_CLOSING);
	timer_close(k->retry);
	k->retry = NULL;
	if (k->fetch != NULL)
		fetch_nodes_close(k->fetch, part_closed, k);
	if (k->download != NULL)
		download_close(k->download, part_closed, k);
	k->fetch = NULL;
	k->download = NULL;
	k->open++; /* freed from the loop, never under whoever called */
	loop_post(k->server->loop, close_posted, k);
}

void
server_intake_close_all(struct server *s)
{
	for (size_t i = 0; i < s->intakes.len; i++)
		close_intake(s->intakes.at[i]);
}

/* -- LOADING -- */

struct intake_job {
	struct server_job job;
	struct intake *intake;
};

static void
run_job(struct intake *k, enum err (*work)(struct server_job *j, struct server *s, struct error *e),
    void (*done)(struct server_job *j, struct server *s, enum err r, const struct error *e))
{
	struct intake_job *j = mem_new(struct intake_job);

	j->job = (struct server_job){ .work = work, .done = done };
	j->intake = k;
	k->open++;
	server_job(k->server, &j->job);
}

/* The intake of a job that is done; NULL when it is closing, by now perhaps freed. */
static struct intake *
job_done(struct server_job *job)
{
	struct intake *k = ((struct intake_job *)job)->intake;
	bool closing = k->state == INTAKE_CLOSING;

	free(job);
	part_closed(k);
	return closing ? NULL : k;
}

static enum err
work_load(struct server_job *job, struct server *s, struct error *e)
{
	struct intake *k = ((struct intake_job *)job)->intake;
	auto_buf struct buf bytes = BUF(COMMIT_MAX);
	enum err r = chunk_store_get_node(s->store, &k->snapshot, &bytes, e);

	return r == OK ? commit_decode(buf_bytes(&bytes), &k->commit, e) : r;
}

static void
on_commit(void *ctx, enum err r, const struct error *e)
{
	struct intake *k = ctx;
	bool closing = k->state == INTAKE_CLOSING;

	part_closed(k);
	if (closing)
		return;
	if (r == OK) {
		run_job(k, work_load, done_load);
	} else if (r == ERR_OFFLINE) {
		k->asked_commit = false;
		enter(k, INTAKE_WAITING);
	} else {
		give_up(k, e);
	}
}

/* Once, of the author who is connected. */
static bool
ask_commit(struct intake *k, struct error *e)
{
	struct link *l = server_peer_of(k->server, &k->author);
	struct registry_share *sh = share_of(k);

	if (!k->repair || k->asked_commit || l == NULL || sh == NULL ||
	    server_commit_fetch(k->server, l, &sh->id, &k->snapshot, on_commit, k, e) != OK)
		return false;
	k->asked_commit = true;
	k->open++;
	return true;
}

static void
done_load(struct server_job *job, struct server *s, enum err r, const struct error *e)
{
	struct intake *k = job_done(job);
	struct error why;
	(void)s;

	if (k == NULL)
		return;
	if (r != OK) {
		if (!ask_commit(k, &why))
			give_up(k, e);
		return;
	}
	enter(k, INTAKE_NODES);
	step(k);
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
	k->nodes.len = 0;
	if (r == OK)
		return db_commit(db, e);
	db_rollback(db);
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

static void
fetch_manifest(struct intake *k, struct peer *author)
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

	fetch_nodes_close(k->fetch, part_closed, k);
	k->fetch = NULL;
	if (r != OK) {
		give_up(k, e);
		return;
	}
	enter(k, INTAKE_OPENING);
	step(k);
}

/* -- OPENING -- */

static enum err
work_open(struct server_job *job, struct server *s, struct error *e)
{
	struct intake *k = ((struct intake_job *)job)->intake;
	struct hash_id content;
	uint32_t unit_size = 0;
	enum err r = record_nodes(k, e);

	if (r == OK)
		r = chunk_store_commit(s->store, e);
	if (r == OK)
		r = registry_share_content(s->reader, &k->commit.share, &k->snapshot, &content, &unit_size, e);
	if (r == OK)
		r = snapshot_map_open(s->maps_dir, server_source_nodes(s), &content, unit_size, NULL, &k->map, e);
	if (r != OK)
		return r;
	if (snapshot_map_chunks(k->map) != k->commit.chunks || snapshot_map_bytes(k->map) != k->commit.chunk_bytes)
		return fail(e, ERR_PROTO, "the snapshot declares other chunks than its tree has");
	return server_sink_open(s, k->share, k->readable.at, k->readable.len, k->map, &k->sink, e);
}

static void
done_open(struct server_job *job, struct server *s, enum err r, const struct error *e)
{
	struct intake *k = job_done(job);
	(void)s;

	if (k == NULL)
		return;
	if (r != OK) {
		give_up(k, e);
		return;
	}
	enter(k, INTAKE_CHUNKS);
	step(k);
}

/* -- CHUNKS -- */

static void
start_download(struct intake *k)
{
	struct link *l = server_peer_of(k->server, &k->author);
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
	if (l != NULL)
		download_peer_add(k->download, l->peer);
}

static void
on_progress(void *ctx)
{
	struct intake *k = ctx;
	struct registry_snapshot *sn = snapshot_of(k);
	uint64_t now = loop_now_ms(k->server->loop);

	if (sn == NULL || now - k->progress_ms < PROGRESS_MS)
		return;
	k->progress_ms = now;
	sn->held_bytes = server_sink_held(k->sink);
	server_peer_progress(k->server, share_of(k), sn, &k->author);
}

static void
on_liar(void *ctx, struct peer *p, uint32_t unit)
{
	struct intake *k = ctx;
	char id[DEVICE_ID_SHORT];
	struct error e;

	log_warn("device %s sent wrong bytes for unit %u three times; it is cut off",
	    device_id_short(&k->author, id), unit);
	(void)fail(&e, ERR_PROTO, "the bytes you send do not match your snapshot");
	peer_close(p, &e);
}

static void
on_retry(void *ctx)
{
	struct intake *k = ctx;

	if (k->state == INTAKE_CHUNKS && k->download == NULL)
		start_download(k);
}

/* The disk is full: say so, and go on when there is room. */
static void
wait_for_room(struct intake *k)
{
	struct registry_snapshot *sn = snapshot_of(k);

	if (k->retry == NULL) {
		log_error("the server's disk is full: intake waits; it goes on when there is room");
		k->retry = timer_new(k->server->loop, on_retry, k);
	}
	timer_start(k->retry, SERVER_NOSPACE_RETRY_MS);
	if (sn != NULL) {
		snprintf(sn->why, sizeof sn->why, "the server's disk is full; it goes on when there is room");
		server_peer_progress(k->server, share_of(k), sn, &k->author);
		sn->why[0] = 0;
	}
}

static void
on_chunks(void *ctx, enum err r, const struct error *e)
{
	struct intake *k = ctx;

	download_close(k->download, part_closed, k);
	k->download = NULL;
	if (r == ERR_NOSPACE) {
		wait_for_room(k);
		return;
	}
	if (r != OK) {
		give_up(k, e);
		return;
	}
	enter(k, INTAKE_READY);
	step(k);
}

/* -- SEQUENCING -- */

struct head_change {
	struct change change;
	struct intake *intake;
	int64_t share;
	struct registry_snapshot snapshot;
	struct statement statement;
	struct buf bytes;
};

static enum err
store_head(struct change *c, struct server *s, struct error *e)
{
	struct head_change *h = (struct head_change *)c;
	enum err r = registry_store_statement(s->registry->db, buf_bytes(&h->bytes), &h->statement, e);

	return r == OK ? registry_store_snapshot(s->registry->db, h->share, &h->snapshot, e) : r;
}

/* Others of this share that were ready while it was being sequenced find out now that it has moved on. */
static void
wake_others(struct server *s, int64_t share)
{
	for (size_t i = 0; i < s->intakes.len; i++) {
		struct intake *k = s->intakes.at[i];
		if (k->share == share && k->state == INTAKE_READY)
			sequence(k);
	}
}

static void
apply_head(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct head_change *h = (struct head_change *)c;
	struct intake *k = h->intake;
	struct registry_share *sh = registry_share_num(s->registry, h->share);

	if (r != OK) {
		log_error("sequence a snapshot: %s", e->text);
	} else if (sh != NULL) {
		struct registry_snapshot *sn = registry_add_snapshot(sh, &h->snapshot);
		buf_reset(&sh->head_statement);
		buf_add_bytes(&sh->head_statement, buf_bytes(&h->bytes));
		log_info("%s: snapshot %llu is the head (%llu entries)", sh->name, (unsigned long long)sn->number,
		    (unsigned long long)sn->entries);
		server_peer_progress(s, sh, sn, &sn->author);
	}
	int64_t share = h->share;
	close_intake(k);
	part_closed(k);
	buf_clear(&h->bytes);
	free(h);
	wake_others(s, share);
}

static bool
is_being_sequenced(const struct server *s, int64_t share)
{
	array_each (k, &s->intakes) {
		if ((*k)->share == share && (*k)->state == INTAKE_SEQUENCING)
			return true;
	}
	return false;
}

static void
sequence(struct intake *k)
{
	struct server *s = k->server;
	struct registry_share *sh = share_of(k);
	struct registry_snapshot *sn = snapshot_of(k);
	const struct hash_id none = { 0 };
	struct error e;

	if (is_being_sequenced(s, k->share))
		return;
	const struct hash_id *built_on = k->commit.n_parents == 1 ? &k->commit.parents[0] : &none;
	if (!hash_id_equal(built_on, sh->head != NULL ? &sh->head->id : &none)) {
		server_intake_withdraw(s, &k->snapshot, "the share has moved on: another snapshot became its head first");
		return;
	}
	struct head_change *h = mem_new(struct head_change);
	*h = (struct head_change){
		.intake = k, .share = k->share, .snapshot = *sn, .bytes = BUF(STATEMENT_MAX)
	};
	h->change = (struct change){ .store = store_head, .apply = apply_head };
	h->statement = (struct statement){
		.kind = STATEMENT_HEAD,
		.share = sh->id,
		.number = sh->head != NULL ? sh->head->number + 1 : 1,
		.commit = k->snapshot,
		.previous = sh->head != NULL ? sh->head->head_statement : none,
	};
	if (server_sign(s, &h->statement, &h->bytes, &e) != OK) {
		buf_clear(&h->bytes);
		free(h);
		give_up(k, &e);
		return;
	}
	h->snapshot.state = SNAPSHOT_HEAD;
	h->snapshot.number = h->statement.number;
	h->snapshot.head_statement = h->statement.id;
	h->snapshot.head_ms = server_now_ms();
	h->snapshot.held_bytes = sn->chunk_bytes;
	enter(k, INTAKE_SEQUENCING);
	k->open++;
	server_change(s, &h->change);
}

static void
finish(struct intake *k)
{
	struct registry_share *sh = share_of(k);

	if (!k->repair) {
		sequence(k);
		return;
	}
	log_info("%s: the store is whole again", sh->name);
	close_intake(k);
}

/* -- the steps -- */

static void
step(struct intake *k)
{
	struct link *l = server_peer_of(k->server, &k->author);

	if (snapshot_of(k) == NULL) { /* removed meanwhile */
		close_intake(k);
		return;
	}
	switch (k->state) {
	case INTAKE_WAITING:
		if (l == NULL || k->server->gc_running || k->server->gc_due)
			return;
		enter(k, INTAKE_LOADING);
		run_job(k, work_load, done_load);
		return;
	case INTAKE_NODES:
		fetch_manifest(k, l != NULL ? l->peer : NULL);
		return;
	case INTAKE_OPENING:
		run_job(k, work_open, done_open);
		return;
	case INTAKE_CHUNKS:
		start_download(k);
		return;
	case INTAKE_READY:
		finish(k);
		return;
	default:
		return;
	}
}

static void
collect_readable(struct intake *k)
{
	struct registry *r = k->server->registry;

	map_each (slot, &r->shares) {
		struct registry_share *sh = slot->ptr;
		if (rules_rights(r, sh, &k->author) & RIGHT_READ)
			array_push(&k->readable, sh->num);
	}
}

static void
begin(struct server *s, struct registry_share *sh, struct registry_snapshot *sn, bool repair)
{
	struct intake *k = find(s, &sn->id);

	if (s->closing)
		return;
	if (k == NULL) {
		k = mem_new(struct intake);
		k->server = s;
		k->repair = repair;
		k->share = sh->num;
		k->snapshot = sn->id;
		k->author = sn->author;
		collect_readable(k);
		array_push(&s->intakes, k);
		step(k);
	} else if (k->state == INTAKE_WAITING) {
		step(k);
	}
}

void
server_intake(struct server *s, struct registry_share *sh, struct registry_snapshot *sn)
{
	begin(s, sh, sn, false);
}

bool
server_intake_repair(struct server *s, struct registry_share *sh, struct registry_snapshot *sn)
{
	if (sn->state != SNAPSHOT_HEAD || find(s, &sn->id) != NULL)
		return false;
	begin(s, sh, sn, true);
	return true;
}

void
server_intake_resume(struct server *s)
{
	for (size_t i = 0; i < s->intakes.len; i++) {
		if (s->intakes.at[i]->state == INTAKE_WAITING)
			step(s->intakes.at[i]);
	}
}

/* -- who comes and goes -- */

static void
begin_announced_of(struct server *s, const struct device_id *author)
{
	map_each (slot, &s->registry->shares) {
		struct registry_share *sh = slot->ptr;
		array_each (sn, &sh->snapshots) {
			if ((*sn)->state == SNAPSHOT_ANNOUNCED && device_id_equal(&(*sn)->author, author))
				server_intake(s, sh, *sn);
		}
	}
}

void
server_intake_link(struct server *s, struct link *l)
{
	array_each (kp, &s->intakes) {
		struct intake *k = *kp;
		if (!device_id_equal(&k->author, &l->device))
			continue;
		if (k->fetch != NULL)
			fetch_nodes_peer(k->fetch, l->peer);
		if (k->download != NULL)
			download_peer_add(k->download, l->peer);
	}
	begin_announced_of(s, &l->device);
}

void
server_intake_link_gone(struct server *s, struct link *l)
{
	array_each (kp, &s->intakes) {
		struct intake *k = *kp;
		if (!device_id_equal(&k->author, &l->device))
			continue;
		if (k->fetch != NULL)
			fetch_nodes_peer(k->fetch, NULL);
		if (k->download != NULL)
			download_peer_gone(k->download, l->peer);
	}
}
