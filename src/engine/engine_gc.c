/*
 * What an agent keeps of manifests comes back too: once a day, and after every GC_JOBS transfers,
 * nodes that no directory of this machine stands for are forgotten, and maps, which are made again
 * when they are needed.  Only while no job runs.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/engine_internal.h"
#include "engine/mark.h"

enum { GC_MS = 24 * 3600 * 1000, GC_JOBS = 64 };

struct kept {
	struct hash_id share, snapshot;
};

struct gc {
	struct engine_work work;
	struct engine *en;
	ARRAY(struct kept) kept;
	uint64_t freed;
};

static enum err
keep_root(void *ctx, const struct root *root, struct error *e)
{
	struct gc *g = ctx;
	(void)e;

	if (hash_id_is_none(&root->snapshot))
		return OK;
	array_push(&g->kept, ((struct kept){ root->share, root->snapshot }));
	return OK;
}

static enum err
mark_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	struct gc *g = ctx;
	(void)kind;

	return chunk_store_gc_mark(g->en->nodes, id, e);
}

static enum err
note_nodes(struct engine *en, const struct hash_id *snapshot, struct error *e)
{
	auto_buf struct buf bytes = BUF(COMMIT_MAX);
	struct commit c = { 0 };
	enum err r = chunk_store_get_node(en->nodes, snapshot, &bytes, e);

	if (r == OK)
		r = commit_decode(buf_bytes(&bytes), &c, e);
	if (r == OK)
		r = engine_source_note(en, &c, e);
	commit_clear(&c);
	return r;
}

static enum err
keep_snapshot(struct gc *g, const struct hash_id *snapshot, struct error *e)
{
	struct mark m = { .nodes = g->en->nodes, .on_node = mark_node, .ctx = g };
	enum err r = mark_snapshot(&m, snapshot, NULL, e);

	mark_clear(&m);
	return r == OK ? note_nodes(g->en, snapshot, e) : r;
}

/* A root whose manifest is damaged is received or published anew; it does not stop the rest. */
static enum err
keep_all(struct gc *g, struct error *e)
{
	struct error why;
	enum err r = OK;

	for (size_t i = 0; r == OK && i < g->kept.len; i++)
		r = state_share_del(g->en->state, &g->kept.at[i].share, e);
	if (r == OK)
		r = state_snapshot_prune(g->en->state, e);
	for (size_t i = 0; r == OK && i < g->kept.len; i++) {
		r = keep_snapshot(g, &g->kept.at[i].snapshot, &why);
		if (r == ERR_NOTFOUND || r == ERR_CORRUPT) {
			log_warn("collecting: %s", why.text);
			r = OK;
		} else if (r != OK) {
			*e = why;
		}
	}
	return r;
}

static bool
is_busy(const struct engine *en)
{
	array_each (j, &en->jobs) {
		if (!(*j)->is_resting)
			return true;
	}
	return false;
}

static void
remove_maps(struct engine *en)
{
	struct fs_list names = { 0 };

	if (fs_list_dir(en->maps_dir, &names, NULL) != OK)
		return;
	for (size_t i = 0; i < names.n; i++) {
		const char *name = names.names + names.at[i];
		(void)!fs_unlink(en->maps_dir, (struct relpath){ name, strlen(name) }, NULL);
	}
	fs_list_clear(&names);
}

static enum err
work_gc(struct engine_work *w, struct error *e)
{
	struct gc *g = (struct gc *)w;
	struct engine *en = w->engine;

	g->en = en;
	enum err r = state_roots(en->state, keep_root, g, e);
	if (r == OK)
		r = chunk_store_gc_begin(en->nodes, e);
	if (r != OK)
		return r;
	/* In one transaction: whatever ends it, what is recorded of a share is whole. */
	r = state_begin(en->state, e);
	if (r == OK)
		r = keep_all(g, e);
	if (r == OK)
		r = state_commit(en->state, e);
	else
		state_rollback(en->state);
	if (r != OK) {
		chunk_store_gc_abort(en->nodes);
		return r;
	}
	remove_maps(en);
	return chunk_store_gc_sweep(en->nodes, &g->freed, e);
}

static void
done_gc(struct engine_work *w, enum err r, const struct error *e)
{
	struct gc *g = (struct gc *)w;
	struct engine *en = w->engine;
	char freed[TEXT_SIZE];

	en->gc_running = false;
	if (r != OK)
		log_error("collecting old manifests: %s", e->text);
	else if (g->freed > 0)
		log_info("collecting old manifests: %s given back", text_size(g->freed, freed));
	array_clear(&g->kept);
	free(g);
	engine_job_all_next(en);
}

/* Steps of jobs wait while it runs (engine_job_next looks at gc_running): what they are about to
 * use must not go. */
void
engine_gc_tick(struct engine *en)
{
	uint64_t now = loop_now_ms(en->loop);

	if (en->gc_running || en->closing || is_busy(en))
		return;
	if (now - en->gc_ms < GC_MS && en->jobs_since_gc < GC_JOBS)
		return;
	struct gc *g = mem_new(struct gc);
	g->work = (struct engine_work){ .work = work_gc, .done = done_gc };
	en->gc_running = true;
	en->gc_ms = now;
	en->jobs_since_gc = 0;
	engine_work(en, &g->work);
}
