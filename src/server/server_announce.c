/*
 * ANNOUNCE: a commit is looked at, kept, and taken in.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/server_internal.h"

/* Many a share is published first, and others may read it afterwards: as if it were for so many. */
enum { READERS_LEAST = 15 };

/* -- ANNOUNCE -- */

struct announce_job {
	struct server_job job;
	struct change change;
	uint64_t link;
	uint32_t stream;
	struct device_id device;
	struct hash_id share_id, parent;
	int64_t share;
	struct buf bytes;
	struct commit commit;
	uint64_t head_seq;
	struct registry_snapshot snapshot;
};

static void
announce_free(struct announce_job *j)
{
	commit_clear(&j->commit);
	buf_clear(&j->bytes);
	free(j);
}

static void
announce_fail(struct server *s, struct announce_job *j, const struct error *e)
{
	struct link *l = server_peer_link(s, j->link);

	if (l != NULL)
		server_peer_answer_error(l, j->stream, e);
	announce_free(j);
}

/* The commit's own proof, and what its parent says of the author's sequence. */
static enum err
work_announce(struct server_job *job, struct server *s, struct error *e)
{
	struct announce_job *j = (struct announce_job *)job;
	auto_buf struct buf bytes = BUF(COMMIT_MAX);
	struct commit parent = { 0 };

	enum err r = commit_verify(buf_bytes(&j->bytes), &j->commit, e);
	if (r != OK || hash_id_is_none(&j->parent))
		return r;
	r = chunk_store_get_node(s->store, &j->parent, &bytes, e);
	if (r == OK)
		r = commit_decode(buf_bytes(&bytes), &parent, e);
	if (r == OK) {
		j->head_seq = version_vector_get(&parent.vv, &j->device);
		if (!version_vector_covers(&j->commit.vv, &parent.vv))
			r = fail(e, ERR_PROTO,
			    "the snapshot's version vector does not cover its parent's");
	}
	commit_clear(&parent);
	return r;
}

static enum err
store_announce(struct change *c, struct server *s, struct error *e)
{
	struct announce_job *j = container_of(c, struct announce_job, change);
	enum err r = chunk_store_put_node(
	    s->store, j->commit.id.alg, HASH_COMMIT, buf_bytes(&j->bytes), NULL, e);

	if (r == OK)
		r = chunk_store_commit(s->store, e);
	if (r == OK)
		r = registry_store_share_node(s->registry->db, j->share, &j->commit.id, e);
	return r == OK ? registry_store_snapshot(s->registry->db, j->share, &j->snapshot, e) : r;
}

static void
apply_announce(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct announce_job *j = container_of(c, struct announce_job, change);
	struct registry_share *sh = registry_share_num(s->registry, j->share);
	struct link *l = server_peer_link(s, j->link);
	struct error gone;

	if (r == OK && sh == NULL) {
		r = fail(&gone, ERR_NOTFOUND, "the share has just been removed");
		e = &gone;
	}
	if (r != OK) {
		announce_fail(s, j, e);
		return;
	}
	struct registry_snapshot *sn = registry_add_snapshot(sh, &j->snapshot);
	if (l != NULL) {
		session_answer_ok(peer_session(l->peer), j->stream);
		peer_flush(l->peer);
	}
	server_intake(s, sh, sn);
	announce_free(j);
}

/* An older announcement of the same author that is not complete is replaced by this one. */
static void
replace_older(struct server *s, struct registry_share *sh, const struct registry_snapshot *by)
{
	ARRAY(struct hash_id) old = { 0 };

	array_each (sn, &sh->snapshots) {
		if ((*sn)->state == SNAPSHOT_ANNOUNCED &&
		    device_id_equal(&(*sn)->author, &by->author))
			array_push(&old, (*sn)->id);
	}
	array_each (id, &old)
		server_intake_withdraw(s, id, "replaced by a newer one from the same device");
	array_clear(&old);
}

/* Announced again, after a broken connection: goes on, or says that it is done. */
static bool
is_known(struct server *s, const struct announce_job *j, struct registry_share *sh)
{
	struct registry_snapshot *known = registry_snapshot(sh, &j->commit.id);
	struct link *l = server_peer_link(s, j->link);

	if (known == NULL || known->state == SNAPSHOT_WITHDRAWN)
		return false;
	if (l != NULL)
		session_answer_ok(peer_session(l->peer), j->stream);
	if (known->state == SNAPSHOT_HEAD)
		server_peer_progress(s, sh, known);
	else
		server_intake(s, sh, known);
	if (l != NULL)
		peer_flush(l->peer);
	return true;
}

static void
done_announce(struct server_job *job, struct server *s, enum err r, const struct error *e)
{
	struct announce_job *j = (struct announce_job *)job;
	struct registry_share *sh = registry_share_num(s->registry, j->share);
	struct error own;

	if (r == OK && sh == NULL)
		r = fail(&own, ERR_NOTFOUND, "the share has just been removed");
	else if (r == OK && j->commit.n_parents > 0 && hash_id_is_none(&j->parent))
		r = fail(&own, ERR_CONFLICT,
		    "%s has moved on: the snapshot is not built upon what was its head", sh->name);
	else if (r == OK)
		r = rules_announce(s->registry, sh, &j->commit, &j->device, j->head_seq, &own);
	else
		own = *e;
	if (r != OK) {
		announce_fail(s, j, &own);
		return;
	}
	if (is_known(s, j, sh)) {
		announce_free(j);
		return;
	}
	const struct commit *c = &j->commit;
	j->snapshot = (struct registry_snapshot){
		.id = c->id,
		.content = c->content,
		.state = SNAPSHOT_ANNOUNCED,
		.entries = c->entries,
		.bytes = c->bytes,
		.chunks = c->chunks,
		.chunk_bytes = c->chunk_bytes,
		.announced_ms = server_now_ms(),
		.unit_size = unit_map_size(c->chunk_bytes,
		    max_of(registry_readers(s->registry, sh), (uint64_t)READERS_LEAST)),
		.author = j->device,
	};
	snprintf(j->snapshot.label, sizeof j->snapshot.label, "%s", c->label);
	replace_older(s, sh, &j->snapshot);
	server_gc_forget(s, sh);
	j->change = (struct change){ .store = store_announce, .apply = apply_announce };
	server_change(s, &j->change);
}

void
server_announce(struct link *l, const struct session_event *ev)
{
	struct server *s = l->server;
	const struct msg_announce *m = &ev->message.announce;
	struct registry_share *sh = NULL;
	struct announce_job *j = mem_new(struct announce_job);
	struct error e;

	j->job = (struct server_job){ .work = work_announce, .done = done_announce };
	j->link = l->number;
	j->stream = ev->stream;
	j->device = l->device;
	j->bytes = BUF(COMMIT_MAX);
	enum err r = rules_share_id(s->registry, &m->share, &l->device, RIGHT_WRITE, &sh, &e);
	if (r == OK && !buf_add_bytes(&j->bytes, m->commit))
		r = fail(&e, ERR_LIMIT, "a commit of %zu bytes", m->commit.len);
	if (r == OK)
		r = commit_decode(buf_bytes(&j->bytes), &j->commit, &e);
	if (r != OK) {
		announce_fail(s, j, &e);
		return;
	}
	j->share = sh->num;
	if (is_known(s, j, sh)) {
		announce_free(j);
		return;
	}
	if (j->commit.n_parents == 1)
		j->parent = sh->head != NULL && hash_id_equal(&j->commit.parents[0], &sh->head->id)
				? sh->head->id
				: (struct hash_id){ 0 };
	server_job(s, &j->job);
}
