/*
 * Space comes back: mark what the kept snapshots reach, sweep the rest.  And the store is checked, share by share.
 *
 * A collection and intakes exclude each other: an intake counts on chunks that are here, and a collection must not take them
 * away in between.  When a collection is due, new intakes wait; it runs when those under way have ended.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/mark.h"
#include "server/server_internal.h"

enum { WITHDRAWN_KEPT_MS = 7 * 24 * 3600 * 1000LL, RECORD_BATCH = 4096 };

/* What is to be kept, copied from the registry's memory before the job starts. */
struct kept {
	int64_t share;
	bool renew; /* make the share's rows anew */
	struct hash_id commit;
};

struct gc_job {
	struct server_job job;
	ARRAY(struct kept) kept;
	ARRAY(int64_t) renew;
	struct mark mark; /* of the share whose snapshots are being marked: they have subtrees in common */
	uint64_t freed;
	struct db *db;
	struct server *server;
	int64_t share; /* of the snapshot being marked, when its rows are made anew; else 0 */
	unsigned rows;
};

static enum err
row_added(struct gc_job *g, struct error *e)
{
	if (++g->rows % RECORD_BATCH != 0)
		return OK;
	enum err r = db_commit(g->db, e);
	return r == OK ? db_begin(g->db, e) : r;
}

/* Chunks are named in the entries of directory nodes and in the items of chunk-list nodes. */
static enum err
mark_chunk(struct gc_job *g, const struct hash_id *id, struct error *e)
{
	enum err r = chunk_store_gc_mark(g->server->store, id, e);

	if (r == OK && g->share != 0) {
		r = registry_store_share_chunk(g->db, g->share, id, e);
		if (r == OK)
			r = row_added(g, e);
	}
	return r;
}

static enum err
mark_chunks_of(struct gc_job *g, const struct snapshot_map *map, struct error *e)
{
	uint64_t n = snapshot_map_chunks(map);
	enum err r = OK;

	for (uint64_t i = 0; r == OK && i < n; i++)
		r = mark_chunk(g, &snapshot_map_chunk(map, i)->id, e);
	return r;
}

static enum err
on_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	struct gc_job *g = ctx;
	(void)kind;

	enum err r = chunk_store_gc_mark(g->server->store, id, e);
	if (r == OK && g->share != 0)
		r = registry_store_share_node(g->db, g->share, id, e);
	return r == OK && g->share != 0 ? row_added(g, e) : r;
}

static enum err
mark_kept(struct gc_job *g, const struct hash_id *id, struct error *e)
{
	struct snapshot_map *map = NULL;
	struct server *s = g->server;
	struct hash_id content;

	enum err r = mark_snapshot(&g->mark, id, &content, e);
	if (r == OK)
		r = snapshot_map_open(s->maps_dir, server_source_nodes(s), &content, 0, NULL, &map, e);
	if (r == OK)
		r = mark_chunks_of(g, map, e);
	snapshot_map_free(map);
	return r;
}

static enum err
mark_all(struct gc_job *g, struct error *e)
{
	int64_t last = -1;
	enum err r = OK;

	array_each (k, &g->kept) {
		if (k->share != last)
			mark_clear(&g->mark);
		last = k->share;
		g->share = k->renew ? k->share : 0;
		r = mark_kept(g, &k->commit, e);
		if (r != OK)
			break;
	}
	mark_clear(&g->mark);
	return r;
}

/* Rows of the shares that lost something are made anew in the same walk, in batches: while it runs a member may be told "not
 * here" and asks again; it is never given what it may not have. */
static enum err
work_gc(struct server_job *job, struct server *s, struct error *e)
{
	struct gc_job *g = (struct gc_job *)job;
	enum err r;

	g->server = s;
	g->db = s->registry->db;
	g->mark = (struct mark){ .nodes = s->store, .on_node = on_node, .ctx = g };
	r = chunk_store_gc_begin(s->store, e);
	if (r == OK)
		r = db_begin(g->db, e);
	if (r != OK)
		return r;
	array_each (num, &g->renew) {
		if (r == OK)
			r = registry_store_share_clear(g->db, *num, e);
	}
	if (r == OK)
		r = mark_all(g, e);
	if (r == OK)
		r = db_commit(g->db, e);
	else
		db_rollback(g->db);
	if (r != OK) {
		chunk_store_gc_abort(s->store);
		return r;
	}
	return chunk_store_gc_sweep(s->store, &g->freed, e);
}

static void
done_gc(struct server_job *job, struct server *s, enum err r, const struct error *e)
{
	struct gc_job *g = (struct gc_job *)job;
	char freed[TEXT_SIZE];

	s->gc_running = false;
	if (r != OK) {
		log_error("garbage collection: %s; it is tried again tomorrow", e->text);
	} else if (g->freed > 0) {
		log_info("garbage collection: %s given back", text_size(g->freed, freed));
	}
	array_clear(&g->kept);
	array_clear(&g->renew);
	free(g);
	server_intake_resume(s);
}

/* Rows of withdrawn snapshots are kept a week, for whoever asks what became of one. */
struct forget_change {
	struct change change;
	ARRAY(struct hash_id) ids;
};

static enum err
store_forget(struct change *c, struct server *s, struct error *e)
{
	struct forget_change *f = (struct forget_change *)c;
	enum err r = OK;

	array_each (id, &f->ids) {
		if (r == OK)
			r = registry_store_snapshot_drop(s->registry->db, id, e);
	}
	return r;
}

static void
apply_forget(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct forget_change *f = (struct forget_change *)c;
	(void)s;

	if (r != OK)
		log_error("forget withdrawn snapshots: %s", e->text);
	array_clear(&f->ids);
	free(f);
}

static void
forget_withdrawn(struct server *s)
{
	struct forget_change *f = mem_new(struct forget_change);
	int64_t before = server_now_ms() - WITHDRAWN_KEPT_MS;

	f->change = (struct change){ .store = store_forget, .apply = apply_forget };
	map_each (slot, &s->registry->shares) {
		struct registry_share *sh = slot->ptr;
		for (size_t i = sh->snapshots.len; i-- > 0;) {
			struct registry_snapshot *sn = sh->snapshots.at[i];
			if (sn->state != SNAPSHOT_WITHDRAWN || sn->announced_ms > before)
				continue;
			array_push(&f->ids, sn->id);
			registry_drop_snapshot(sh, sn);
		}
	}
	if (f->ids.len == 0) {
		free(f);
		return;
	}
	server_change(s, &f->change);
}

static bool
wants_renewal(const struct server *s, int64_t share)
{
	array_each (num, &s->gc_shares) {
		if (*num == share)
			return true;
	}
	return false;
}

void
server_gc_want(struct server *s, int64_t share)
{
	if (share != 0 && !wants_renewal(s, share))
		array_push(&s->gc_shares, share);
	s->gc_due = true;
	server_gc_try(s);
}

void
server_gc_try(struct server *s)
{
	if (!s->gc_due || s->gc_running || s->closing)
		return;
	array_each (k, &s->intakes) {
		(void)k;
		return; /* not while something is coming in */
	}
	struct gc_job *g = mem_new(struct gc_job);
	g->job = (struct server_job){ .work = work_gc, .done = done_gc };
	forget_withdrawn(s);
	map_each (slot, &s->registry->shares) {
		struct registry_share *sh = slot->ptr;
		bool renew = wants_renewal(s, sh->num);
		if (renew)
			array_push(&g->renew, sh->num);
		array_each (sn, &sh->snapshots) {
			if ((*sn)->state == SNAPSHOT_HEAD)
				array_push(&g->kept, ((struct kept){ sh->num, renew, (*sn)->id }));
		}
	}
	array_clear(&s->gc_shares);
	s->gc_due = false;
	s->gc_running = true;
	server_job(s, &g->job);
}

/* -- checking one share -- */

struct verify_job {
	struct server_job job;
	struct server *server;
	int64_t share;
	ARRAY(struct hash_id) snapshots, damaged; /* damaged: snapshots that lack something */
	struct map seen;                          /* nodes */
	struct control_call *call;
	uint64_t chunks, bytes, bad;
	struct buf notes;
};

enum { VERIFY_NOTES_MAX = 64 * 1024 };

static void
note_bad(struct verify_job *v, const struct error *why)
{
	v->bad++;
	buf_addf(&v->notes, "%s\n", why->text);
}

/* What is below a node that cannot be read is looked at when that node is back. */
static enum err
verify_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	struct verify_job *v = ctx;
	auto_buf struct buf node = BUF(CHUNK_STORE_NODE_MAX);
	struct error why;
	bool is_new;

	map_put(&v->seen, hash_id_bytes(id), &is_new);
	if (!is_new)
		return OK;
	enum err r = chunk_store_get_node(v->server->store, id, &node, &why);
	if (r == OK)
		return node_children(kind, buf_bytes(&node), verify_node, v, e);
	note_bad(v, &why);
	return OK;
}

static void
verify_chunks(struct verify_job *v, const struct snapshot_map *map)
{
	auto_free uint8_t *room = mem_alloc(CHUNK_MAX);
	uint64_t n = snapshot_map_chunks(map);

	for (uint64_t i = 0; i < n; i++) {
		const struct snapshot_map_chunk *c = snapshot_map_chunk(map, i);
		uint32_t len;
		struct error why;
		if (chunk_store_get_chunk(v->server->store, &c->id, room, &len, NULL, &why) != OK) {
			note_bad(v, &why);
			continue;
		}
		v->chunks++;
		v->bytes += len;
	}
}

static void
verify_snapshot(struct verify_job *v, const struct hash_id *id)
{
	auto_buf struct buf bytes = BUF(COMMIT_MAX);
	struct chunk_store *store = v->server->store;
	struct snapshot_map *map = NULL;
	struct commit c = { 0 };
	uint64_t bad = v->bad;
	struct error why;

	enum err r = chunk_store_get_node(store, id, &bytes, &why);
	if (r == OK)
		r = commit_decode(buf_bytes(&bytes), &c, &why);
	if (r == OK)
		r = verify_node(v, HASH_TREE, &c.content, &why);
	if (r == OK)
		r = verify_node(v, HASH_CAUSAL, &c.causal, &why);
	if (r == OK)
		r = snapshot_map_open(v->server->maps_dir, server_source_nodes(v->server), &c.content, 0, NULL, &map, &why);
	if (r == OK)
		verify_chunks(v, map);
	else if (v->bad == bad) /* else that is why */
		note_bad(v, &why);
	if (v->bad > bad)
		array_push(&v->damaged, *id);
	snapshot_map_free(map);
	commit_clear(&c);
}

static enum err
work_verify(struct server_job *job, struct server *s, struct error *e)
{
	struct verify_job *v = (struct verify_job *)job;

	(void)e;
	v->server = s;
	array_each (id, &v->snapshots)
		verify_snapshot(v, id);
	map_clear(&v->seen);
	return OK;
}

static void
tell(struct verify_job *v, const struct registry_share *sh)
{
	auto_buf struct buf row = BUF(RECORD_MAX);
	struct error e;

	for (const char *line = buf_text(&v->notes), *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
		control_call_note(v->call, "%.*s", (int)(end - line), line);
	record_text(&row, "share", sh->name);
	record_int(&row, "snapshots", v->snapshots.len);
	record_int(&row, "chunks", v->chunks);
	record_size(&row, "bytes", v->bytes);
	record_int(&row, "differences", v->bad);
	control_call_row(v->call, buf_bytes(&row));
	if (v->bad == 0) {
		control_call_done(v->call, NULL, -1);
		return;
	}
	(void)fail(&e, ERR_CORRUPT,
	    "%llu objects of %s are damaged in the store; they are fetched again while their publisher is connected",
	    (unsigned long long)v->bad, sh->name);
	control_call_done(v->call, &e, EXIT_CONFLICTS);
}

static void
done_verify(struct server_job *job, struct server *s, enum err r, const struct error *e)
{
	struct verify_job *v = (struct verify_job *)job;
	struct registry_share *sh = registry_share_num(s->registry, v->share);
	struct error gone;
	(void)r;
	(void)e;

	if (sh != NULL) {
		array_each (id, &v->damaged) {
			struct registry_snapshot *sn = registry_snapshot(sh, id);
			if (sn != NULL)
				(void)server_intake_repair(s, sh, sn);
		}
		if (v->call != NULL)
			tell(v, sh);
		else if (v->bad > 0)
			log_error("%s: %llu objects are damaged in the store", sh->name, (unsigned long long)v->bad);
	} else if (v->call != NULL) {
		(void)fail(&gone, ERR_NOTFOUND, "the share has just been removed");
		control_call_done(v->call, &gone, -1);
	}
	array_clear(&v->snapshots);
	array_clear(&v->damaged);
	buf_clear(&v->notes);
	free(v);
}

void
server_gc_verify(struct server *s, struct registry_share *sh, struct control_call *call)
{
	struct verify_job *v = mem_new(struct verify_job);

	v->job = (struct server_job){ .work = work_verify, .done = done_verify };
	v->share = sh->num;
	v->call = call;
	v->notes = BUF(VERIFY_NOTES_MAX);
	array_each (sn, &sh->snapshots) {
		if ((*sn)->state == SNAPSHOT_HEAD)
			array_push(&v->snapshots, (*sn)->id);
	}
	server_job(s, &v->job);
}
