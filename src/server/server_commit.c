/*
 * A commit that the store lost, asked again from its author: everything else of the snapshot
 * follows from it.
 */
#include "base/mem.h"
#include "server/server_internal.h"

struct commit_fetch {
	struct requester requester; /* first */
	struct server_job job;
	struct server *server;
	struct hash_id snapshot;
	struct block *block; /* NODE payload */
	void (*on_done)(void *ctx, enum err r, const struct error *e);
	void *ctx;
};

static void
finish(struct commit_fetch *f, enum err r, const struct error *e)
{
	f->on_done(f->ctx, r, e);
	if (f->block != NULL)
		block_free(f->block);
	free(f);
}

static enum err
work_keep(struct server_job *job, struct server *s, struct error *e)
{
	struct commit_fetch *f = container_of(job, struct commit_fetch, job);
	enum hash_alg alg = (enum hash_alg)f->snapshot.alg;
	struct bytes node;
	struct hash_id id;
	uint16_t index;

	enum err r = frame_node_decode(BYTES(f->block->bytes, f->block->len), &index, &node, e);
	if (r != OK)
		return r;
	hash_object(alg, HASH_COMMIT, node, &id);
	if (!hash_id_equal(&id, &f->snapshot))
		return fail(e, ERR_CORRUPT, "the author sent another commit");
	r = chunk_store_put_node(s->store, alg, HASH_COMMIT, node, NULL, e);
	return r == OK ? chunk_store_commit(s->store, e) : r;
}

static void
done_keep(struct server_job *job, struct server *s, enum err r, const struct error *e)
{
	(void)s;
	finish(container_of(job, struct commit_fetch, job), r, e);
}

static void
on_event(struct requester *r, struct peer *p, struct session_event *ev)
{
	struct commit_fetch *f = (struct commit_fetch *)r;
	struct error e;
	(void)p;

	if (ev->kind == SESSION_EV_RAW && f->block == NULL && !(ev->header.flags & FRAME_MISSING)) {
		f->block = ev->block;
		if (!ev->end)
			return;
		f->job = (struct server_job){ .work = work_keep, .done = done_keep };
		server_job(f->server, &f->job);
	} else if (ev->kind == SESSION_EV_LOST) {
		(void)fail(&e, ERR_OFFLINE, "the author has gone");
		finish(f, e.code, &e);
	} else {
		if (ev->kind == SESSION_EV_RAW)
			block_free(ev->block);
		(void)fail(&e, ERR_NOTFOUND, "its author no longer has the commit");
		finish(f, e.code, &e);
	}
}

enum err
server_commit_fetch(struct server *s, struct link *author, const struct hash_id *share,
    const struct hash_id *snapshot, void (*on_done)(void *ctx, enum err r, const struct error *e),
    void *ctx, struct error *e)
{
	struct commit_fetch *f = mem_new(struct commit_fetch);
	auto_buf struct buf ids = BUF(HASH_ID_BYTES);
	struct message m = { .type = FRAME_GET_NODES };
	uint32_t stream;

	*f = (struct commit_fetch){ .requester = { on_event },
		.server = s,
		.snapshot = *snapshot,
		.on_done = on_done,
		.ctx = ctx };
	hash_id_encode(&ids, snapshot);
	m.get_nodes = (struct msg_get_nodes){
		.share = *share, .snapshot = *snapshot, .ids = buf_bytes(&ids), .kind = HASH_COMMIT
	};
	enum err r = session_request(peer_session(author->peer), &m, &f->requester, &stream, e);
	if (r != OK) {
		free(f);
		return r;
	}
	peer_flush(author->peer);
	return OK;
}
