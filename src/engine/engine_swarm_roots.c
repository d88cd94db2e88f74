/*
 * What is held whole here: of each directory that was published or received into the snapshot that
 * it holds, the newest SWARM_WHOLE_MAX of them.
 */
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_swarm_private.h"

struct load_roots {
	struct engine_work work;
	ARRAY(struct swarm_root) roots;
};

static enum err
add_root(void *ctx, const struct root *r, struct error *e)
{
	struct load_roots *l = ctx;
	(void)e;

	if (r->subpath[0] == '\0' && !hash_id_is_none(&r->snapshot))
		array_push(
		    &l->roots, ((struct swarm_root){ { r->share, r->snapshot, 0 }, r->time_ns }));
	return OK;
}

static enum err
work_roots(struct engine_work *w, struct error *e)
{
	struct load_roots *l = (struct load_roots *)w;
	struct state *s = w->engine->state;
	enum err r = state_roots(s, add_root, l, e);

	for (size_t i = l->roots.len; r == OK && i-- > 0;) {
		struct swarm_root *root = &l->roots.at[i];
		struct state_snapshot info;
		if (state_snapshot_get(s, &root->who.snapshot, &info, NULL) == OK)
			root->who.unit_size = info.unit_size;
		else
			array_swap_out(&l->roots, i);
	}
	return r;
}

static bool
is_root(const struct engine_swarm *s, const struct hash_id *snapshot)
{
	array_each (r, &s->roots) {
		if (hash_id_equal(&r->who.snapshot, snapshot))
			return true;
	}
	return false;
}

static int
newest_first(const void *a, const void *b)
{
	const struct swarm_root *x = a, *y = b;

	return x->time_ns != y->time_ns ? (x->time_ns < y->time_ns ? 1 : -1) : 0;
}

/* What is not there any more leaves; of what has come the server is told. */
void
engine_swarm_roots_look(struct engine *en)
{
	struct engine_swarm *s = en->swarm;

	for (size_t i = s->entries.len; i-- > 0;) {
		struct swarm_entry *x = s->entries.at[i];
		if (x->dropped || !x->whole || x->wants > 0 || is_root(s, &x->who.snapshot))
			continue;
		if (x->origin)
			x->whole = false; /* until the server has it */
		else
			engine_swarm_entry_drop(x);
	}
	for (size_t i = 0; i < s->roots.len; i++) {
		const struct engine_swarm_who *w = &s->roots.at[i].who;
		struct swarm_entry *x = engine_swarm_find(en, &w->snapshot);
		if (!engine_swarm_is_hybrid(en, &w->share))
			continue;
		if (x == NULL) {
			x = engine_swarm_make(en, w);
			x->whole = true; /* nobody has asked for it: how many units it has */
			engine_swarm_entry_open(x);
		}
		x->whole = true;
	}
}

static void
done_roots(struct engine_work *w, enum err r, const struct error *e)
{
	struct load_roots *l = (struct load_roots *)w;
	struct engine *en = w->engine;
	struct engine_swarm *s = en->swarm;

	s->loading = false;
	if (r == OK && !en->closing) {
		if (l->roots.len > 0)
			qsort(l->roots.at, l->roots.len, sizeof *l->roots.at, newest_first);
		array_clear(&s->roots);
		for (size_t i = 0; i < l->roots.len && i < SWARM_WHOLE_MAX; i++)
			array_push(&s->roots, l->roots.at[i]);
		engine_swarm_roots_look(en);
	} else if (r != OK) {
		log_error("look what is held here: %s", e->text);
	}
	array_clear(&l->roots);
	free(l);
	if (s->load_again && !en->closing)
		engine_swarm_roots(en);
}

void
engine_swarm_roots(struct engine *en)
{
	struct engine_swarm *s = en->swarm;
	struct load_roots *l;

	s->load_again = s->loading;
	if (s->loading)
		return;
	s->loading = true;
	l = mem_new(struct load_roots);
	l->work = (struct engine_work){ .work = work_roots, .done = done_roots };
	engine_write(en, &l->work); /* after what was written before */
}
