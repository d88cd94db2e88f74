/*
 * Space comes back: mark what the kept snapshots reach, sweep the rest.  And the store is checked,
 * share by share.
 *
 * A collection and intakes exclude each other: an intake counts on chunks that are here, and a
 * collection must not take them away in between.  When a collection is due, intakes begin anew and
 * wait until it has run; it also keeps what has arrived of announced snapshots, so they go on where
 * they were.
 *
 * A crash at any moment loses nothing and leaks nothing for long: what was removed is gone from the
 * database with the mark that a collection is due, rows go before the chunks they stand for, and a
 * collection can be done again from its beginning.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/mark.h"
#include "server/server_internal.h"

enum { WITHDRAWN_KEPT_MS = 7 * 24 * 3600 * 1000LL, RECORD_BATCH = 4096 };

/* What is to be kept, copied from the registry's memory before the job starts; share after share,
 * announced ones last. */
struct kept {
	int64_t share;
	int64_t stale; /* of the share: its rows are to be fitted */
	bool announced;
	struct hash_id commit, content;
};

struct gc_job {
	struct server_job job;
	ARRAY(struct kept) kept;
	ARRAY(struct kept) renew; /* a share each, whose rows are fitted */
	size_t at;                /* in KEPT: what is being marked */
	struct mark mark;         /* of one share: its snapshots have subtrees in common */
	bool fitting;             /* this share's rows */
	unsigned rows;
	uint64_t freed;
	struct server *server;
};

static enum err
mark_object(struct gc_job *g, const struct hash_id *id, struct error *e)
{
	struct db *db = g->server->registry->db;
	enum err r = chunk_store_gc_mark(g->server->store, id, e);

	if (r != OK || !g->fitting)
		return r;
	r = registry_store_fit_keep(db, id, e);
	/* Others want to write too. */
	if (r == OK && ++g->rows % RECORD_BATCH == 0) {
		r = db_commit(db, e);
		if (r == OK)
			r = db_begin(db, e);
	}
	return r;
}

static enum err
on_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	(void)kind;
	return mark_object(ctx, id, e);
}

static enum err
mark_chunks(struct gc_job *g, const struct hash_id *content, struct error *e)
{
	struct server *s = g->server;
	auto_(snapshot_map_free_p) struct snapshot_map *map = NULL;
	enum err r =
	    snapshot_map_open(s->maps_dir, server_source_nodes(s), content, 0, NULL, &map, e);

	if (r != OK)
		return r;
	for (uint64_t i = 0, n = snapshot_map_chunks(map); r == OK && i < n; i++)
		r = mark_object(g, &snapshot_map_chunk(map, i)->id, e);
	return r;
}

static enum err
mark_one(struct gc_job *g, const struct kept *k, struct error *e)
{
	struct error why;
	enum err r = mark_snapshot(&g->mark, &k->commit, NULL, &why);

	if (r == OK)
		return mark_chunks(g, &k->content, e);
	if (k->announced && (r == ERR_NOTFOUND || r == ERR_CORRUPT)) {
		mark_clear(&g->mark); /* not all below what was met is marked */
		return OK; /* its manifest is still on its way, so no chunk of it is here */
	}
	*e = why;
	return r;
}

/* All snapshots of one share, from AT on. */
static enum err
mark_share(struct gc_job *g, struct error *e)
{
	int64_t share = g->kept.at[g->at].share;
	enum err r = OK;

	for (; r == OK && g->at < g->kept.len && g->kept.at[g->at].share == share; g->at += r == OK)
		r = mark_one(g, &g->kept.at[g->at], e);
	mark_clear(&g->mark);
	return r;
}

static const struct kept *
renewal(const struct gc_job *g, int64_t share)
{
	array_each (k, &g->renew) {
		if (k->share == share)
			return k;
	}
	return NULL;
}

/* The same, and no row of it is left that none of them needs. */
static enum err
fit_share(struct gc_job *g, const struct kept *share, struct error *e)
{
	struct db *db = g->server->registry->db;
	enum err r = db_begin(db, e);

	if (r != OK)
		return r;
	g->fitting = true;
	r = registry_store_fit_begin(db, e);
	if (r == OK && g->at < g->kept.len && g->kept.at[g->at].share == share->share)
		r = mark_share(g, e);
	if (r == OK)
		r = registry_store_fit(db, share->share, share->stale, e);
	if (r == OK)
		r = db_commit(db, e);
	else
		db_rollback(db);
	g->fitting = false;
	return r;
}

static enum err
mark_all(struct gc_job *g, struct error *e)
{
	enum err r = OK;

	while (r == OK && g->at < g->kept.len) {
		const struct kept *share = renewal(g, g->kept.at[g->at].share);
		r = share != NULL ? fit_share(g, share, e) : mark_share(g, e);
	}
	array_each (k, &g->renew) { /* those of which nothing is kept */
		bool has_any = false;
		array_each (kept, &g->kept)
			has_any |= kept->share == k->share;
		if (r == OK && !has_any)
			r = fit_share(g, k, e);
	}
	return r;
}

/* Maps are made again when they are needed; those of snapshots that are gone never are. */
static void
remove_maps(struct gc_job *g)
{
	int dir = g->server->maps_dir;
	struct fs_list names = { 0 };
	struct map keep = { 0 };

	if (fs_list_dir(dir, &names, NULL) != OK)
		return;
	array_each (k, &g->kept) {
		char id[HASH_ID_TEXT];
		map_put(&keep, bytes_str(hash_id_format(&k->content, id)), NULL);
	}
	for (size_t i = 0; i < names.n; i++) {
		const char *name = names.names + names.at[i];
		if (map_find(&keep, BYTES(name, strcspn(name, "."))) == NULL)
			(void)!fs_unlink(dir, (struct relpath){ name, strlen(name) }, NULL);
	}
	map_clear(&keep);
	fs_list_clear(&names);
}

static enum err
work_gc(struct server_job *job, struct server *s, struct error *e)
{
	struct gc_job *g = (struct gc_job *)job;
	enum err r = chunk_store_gc_begin(s->store, e);

	if (r != OK)
		return r;
	g->server = s;
	g->mark = (struct mark){ .nodes = s->store, .on_node = on_node, .ctx = g };
	r = mark_all(g, e);
	if (r != OK) {
		chunk_store_gc_abort(s->store);
		return r;
	}
	remove_maps(g);
	return chunk_store_gc_sweep(s->store, &g->freed, e);
}

/* -- afterwards -- */

static enum err
store_collected(struct change *c, struct server *s, struct error *e)
{
	(void)c;
	return registry_store_collected(s->registry->db, s->registry->collected_ms, e);
}

static void
apply_collected(struct change *c, struct server *s, enum err r, const struct error *e)
{
	(void)s;
	if (r != OK)
		log_error("note a collection: %s", e->text);
	free(c);
}

/* What was removed while it ran is for the next one. */
static void
note_collected(struct server *s, const struct gc_job *g)
{
	array_each (k, &g->renew) {
		struct registry_share *sh = registry_share_num(s->registry, k->share);
		if (sh != NULL)
			sh->stale -= k->stale;
	}
	if (s->gc_due)
		return;
	s->registry->collected_ms = server_now_ms();
	struct change *c = mem_new(struct change);
	*c = (struct change){ .store = store_collected, .apply = apply_collected };
	server_change(s, c);
}

/* A manifest that is not whole: nothing may be swept until it is, so it is fetched again. */
static void
repair_marked(struct server *s, const struct gc_job *g)
{
	const struct kept *k = g->at < g->kept.len ? &g->kept.at[g->at] : NULL;
	struct registry_share *sh = k != NULL ? registry_share_num(s->registry, k->share) : NULL;
	struct registry_snapshot *sn = sh != NULL ? registry_snapshot(sh, &k->commit) : NULL;

	if (sn != NULL)
		(void)server_intake_repair(s, sh, sn);
}

static void
done_gc(struct server_job *job, struct server *s, enum err r, const struct error *e)
{
	struct gc_job *g = (struct gc_job *)job;
	char freed[TEXT_SIZE];

	s->gc_running = false;
	if (r == OK)
		note_collected(s, g);
	else
		log_error("garbage collection: %s; it is tried again in an hour", e->text);
	if (r == ERR_CORRUPT || r == ERR_NOTFOUND)
		repair_marked(s, g);
	if (r == OK && g->freed > 0)
		log_info("garbage collection: %s given back", text_size(g->freed, freed));
	array_clear(&g->kept);
	array_clear(&g->renew);
	free(g);
	server_intake_resume(s);
}

/* -- what nobody asks for any more: withdrawn snapshots after a week, or when there are many;
 * invites that have expired -- */

struct forget_change {
	struct change change;
	ARRAY(struct hash_id) snapshots;
	ARRAY(struct registry_invite) invites; /* without grants */
};

static enum err
store_forget(struct change *c, struct server *s, struct error *e)
{
	struct forget_change *f = (struct forget_change *)c;
	enum err r = OK;

	array_each (id, &f->snapshots) {
		if (r == OK)
			r = registry_store_snapshot_drop(s->registry->db, id, e);
	}
	array_each (in, &f->invites) {
		if (r == OK)
			r = registry_store_invite(s->registry->db, in, e);
	}
	return r;
}

static void
apply_forget(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct forget_change *f = (struct forget_change *)c;
	(void)s;

	if (r != OK)
		log_error("forget withdrawn snapshots and old invites: %s", e->text);
	array_clear(&f->snapshots);
	array_clear(&f->invites);
	free(f);
}

static void
forget_withdrawn(struct registry_share *sh, struct forget_change *f)
{
	int64_t before = server_now_ms() - WITHDRAWN_KEPT_MS;
	size_t n = 0;

	for (size_t i = sh->snapshots.len; i-- > 0;) {
		struct registry_snapshot *sn = sh->snapshots.at[i];
		if (sn->state != SNAPSHOT_WITHDRAWN ||
		    (++n <= SERVER_WITHDRAWN_MAX && sn->announced_ms > before))
			continue;
		array_push(&f->snapshots, sn->id);
		registry_drop_snapshot(sh, sn);
	}
}

static void
forget_invites(struct registry *r, struct forget_change *f)
{
	int64_t now = server_now_s();

	map_each (slot, &r->invites) {
		const struct registry_invite *in = slot->ptr;
		struct registry_invite none = { .uses = 0 };
		if (in->expires_s == 0 || in->expires_s > now)
			continue;
		memcpy(none.id, in->id, sizeof none.id);
		array_push(&f->invites, none);
	}
	array_each (in, &f->invites)
		registry_drop_invite(r, in->id);
}

static void
store_forgotten(struct server *s, struct forget_change *f)
{
	if (f->snapshots.len + f->invites.len == 0) {
		free(f);
		return;
	}
	f->change = (struct change){ .store = store_forget, .apply = apply_forget };
	server_change(s, &f->change);
}

static void
forget_old(struct server *s)
{
	struct forget_change *f = mem_new(struct forget_change);

	map_each (slot, &s->registry->shares)
		forget_withdrawn(slot->ptr, f);
	forget_invites(s->registry, f);
	store_forgotten(s, f);
}

void
server_gc_forget(struct server *s, struct registry_share *sh)
{
	struct forget_change *f = mem_new(struct forget_change);

	forget_withdrawn(sh, f);
	store_forgotten(s, f);
}

/* -- when -- */

void
server_gc_want(struct server *s)
{
	s->gc_due = true;
	server_gc_try(s);
}

bool
server_gc_is_late(const struct server *s)
{
	int64_t age = server_now_ms() - s->registry->collected_ms;

	return (age < 0 || age >= SERVER_GC_MS) &&
	       (s->gc_tried_ms == 0 || loop_now_ms(s->loop) - s->gc_tried_ms >= SERVER_GC_RETRY_MS);
}

static void
keep_share(struct gc_job *g, const struct registry_share *sh)
{
	const enum snapshot_state states[] = { SNAPSHOT_HEAD, SNAPSHOT_ANNOUNCED };

	for (size_t i = 0; i < lengthof(states); i++) {
		array_each (sn, &sh->snapshots) {
			if ((*sn)->state == states[i])
				array_push(&g->kept, ((struct kept){ .share = sh->num,
							 .announced = i > 0,
							 .commit = (*sn)->id,
							 .content = (*sn)->content }));
		}
	}
	if (sh->stale > 0)
		array_push(&g->renew, ((struct kept){ .share = sh->num, .stale = sh->stale }));
}

void
server_gc_try(struct server *s)
{
	if (!s->gc_due || s->gc_running || s->closing)
		return;
	if (!server_intake_stand_back(s))
		return; /* tried again when they have ended */
	struct gc_job *g = mem_new(struct gc_job);
	g->job = (struct server_job){ .work = work_gc, .done = done_gc };
	forget_old(s);
	map_each (slot, &s->registry->shares)
		keep_share(g, slot->ptr);
	s->gc_due = false;
	s->gc_running = true;
	s->gc_tried_ms = max_of(loop_now_ms(s->loop), (uint64_t)1);
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
		r = snapshot_map_open(v->server->maps_dir, server_source_nodes(v->server),
		    &c.content, 0, NULL, &map, &why);
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

	for (const char *line = buf_text(&v->notes), *end; (end = strchr(line, '\n')) != NULL;
	     line = end + 1)
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
	    "%llu objects of %s are damaged in the store; they are fetched again while their "
	    "publisher is connected",
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
			log_error("%s: %llu objects are damaged in the store", sh->name,
			    (unsigned long long)v->bad);
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
