/*
 * What a publish does in jobs: it sees only its own struct.
 */
#include <stdio.h>

#include "base/mem.h"
#include "engine/engine_publish.h"
#include "platform/clock.h"

static enum err
stand_on(struct publish *p, const struct commit *c, struct error *e)
{
	p->root.snapshot = c->id;
	p->root.content = c->content;
	p->root.time_ns = clock_wall_ns();
	return state_root_update(p->job.engine->state, &p->root, e);
}

/* What lies here is what somebody published: the directory stands for that snapshot, so that the
 * next scan compares with it, and what was kept for an older one can go. */
static enum err
stand_on_base(struct publish *p, struct error *e)
{
	struct engine *en = p->job.engine;

	if (hash_id_equal(&p->root.snapshot, &p->base.id))
		return OK;
	enum err r = chunk_store_put_node(en->nodes, (enum hash_alg)p->base.id.alg, HASH_COMMIT,
	    buf_bytes(&p->base_bytes), NULL, e);
	if (r == OK)
		r = chunk_store_commit(en->nodes, e);
	if (r == OK)
		r = engine_source_own(en, &p->base, e);
	return r == OK ? stand_on(p, &p->base, e) : r;
}

/* -- scanning -- */

static void
note(void *ctx, struct relpath path, const char *why)
{
	engine_job_note_thread(&((struct publish *)ctx)->job, path, why);
}

static uint64_t
next_seq(const struct publish *p)
{
	return engine_publish_has_base(p)
		   ? version_vector_get(&p->base.vv, device_key_id(p->job.engine->home->key)) + 1
		   : 1;
}

enum err
engine_publish_work_scan(struct engine_work *w, struct error *e)
{
	struct publish *p = container_of(w, struct publish, work);
	struct engine *en = w->engine;
	const bool is_dry = (p->flags & PUBLISH_DRY_RUN) != 0;
	enum err r;

	if (p->root.path == NULL && hash_id_is_none(&p->share_id)) {
		/* A dry run for a share that is not there: nothing is known of it. */
		p->root.path = str_dup(p->path);
	} else if (p->root.path == NULL) {
		r = state_root_get(
		    en->state, ROOT_PUBLISH, &p->share_id, p->share, p->path, "", &p->root, e);
		if (r != OK)
			return r;
	}
	memset(&p->scanned, 0, sizeof p->scanned);
	const struct scan_opts o = {
		.path = p->path,
		.state = en->state,
		.nodes = en->nodes,
		.root = &p->root,
		.base = engine_publish_has_base(p) ? &p->base : NULL,
		.device = *device_key_id(en->home->key),
		.seq = next_seq(p),
		.dry_run = is_dry,
		.cancel = &p->job.cancel,
		.progress = &p->scanned,
		.on_note = note,
		.ctx = p,
	};
	r = scan_run(&o, &p->result, e);
	if (r == OK && !is_dry && engine_publish_has_base(p) &&
	    hash_id_equal(&p->result.content, &p->base.content))
		r = stand_on_base(p, e);
	return r;
}

/* -- committing -- */

static void
fill_commit(struct publish *p, const struct snapshot_map *map)
{
	struct engine *en = p->job.engine;
	struct commit *c = &p->commit;

	commit_clear(c);
	*c = (struct commit){
		.share = p->share_id,
		.policy = p->policy_id,
		.epoch = authority_epoch(en->authority),
		.content = p->result.content,
		.causal = p->result.causal,
		.entries = p->result.entries,
		.bytes = p->result.bytes,
		.chunks = snapshot_map_chunks(map),
		.chunk_bytes = snapshot_map_bytes(map),
		.seq = next_seq(p),
		.hlc = (uint64_t)(clock_wall_ns() / 1000000) << 16,
	};
	if (engine_publish_has_base(p)) {
		c->n_parents = 1;
		c->parents[0] = p->base.id;
		version_vector_copy(&c->vv, &p->base.vv);
		if (c->hlc <= p->base.hlc) /* our clock is behind: order must not depend on it */
			c->hlc = p->base.hlc + 1;
	}
	version_vector_raise(&c->vv, device_key_id(en->home->key), c->seq);
	snprintf(c->label, sizeof c->label, "%s", p->label);
}

/* The commit of the run before this one, if it says what was found now: the server goes on with it
 * where it was. */
static bool
is_same_commit(const struct publish *p, const struct commit *c)
{
	const struct hash_id none = { 0 };

	return hash_id_equal(&c->share, &p->share_id) && hash_id_equal(&c->policy, &p->policy_id) &&
	       hash_id_equal(&c->content, &p->result.content) && c->seq == next_seq(p) &&
	       strcmp(c->label, p->label) == 0 &&
	       hash_id_equal(c->n_parents > 0 ? &c->parents[0] : &none,
		   engine_publish_has_base(p) ? &p->base.id : &none);
}

static bool
take_up_commit(struct publish *p)
{
	struct chunk_store *nodes = p->job.engine->nodes;

	buf_reset(&p->commit_bytes);
	commit_clear(&p->commit);
	return !hash_id_is_none(&p->job.row.snapshot) &&
	       chunk_store_get_node(nodes, &p->job.row.snapshot, &p->commit_bytes, NULL) == OK &&
	       commit_decode(buf_bytes(&p->commit_bytes), &p->commit, NULL) == OK &&
	       is_same_commit(p, &p->commit);
}

enum err
engine_publish_work_commit(struct engine_work *w, struct error *e)
{
	struct publish *p = container_of(w, struct publish, work);
	struct engine *en = w->engine;
	struct snapshot_map *map = NULL;

	if (take_up_commit(p))
		return stand_on(p, &p->commit, e);
	enum err r = snapshot_map_open(
	    en->maps_dir, engine_nodes(en), &p->result.content, 0, &p->job.cancel, &map, e);
	if (r != OK)
		return r;
	fill_commit(p, map);
	snapshot_map_free(map);
	buf_reset(&p->commit_bytes);
	r = commit_sign(&p->commit, en->home->key, &p->commit_bytes, e);
	if (r == OK)
		r = chunk_store_put_node(en->nodes, (enum hash_alg)p->commit.id.alg, HASH_COMMIT,
		    buf_bytes(&p->commit_bytes), NULL, e);
	if (r == OK)
		r = chunk_store_commit(en->nodes, e);
	if (r == OK)
		r = engine_source_own(en, &p->commit, e);
	return r == OK ? stand_on(p, &p->commit, e) : r;
}
