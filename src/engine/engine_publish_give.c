/*
 * What was announced is given to everybody who may read it, from the files where they lie.  How
 * large its units are is the server's word, which it gives once it has the manifest; until then
 * there is nothing to offer.
 */
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_publish.h"
#include "engine/engine_swarm.h"

struct keep_size {
	struct engine_work work;
	struct hash_id snapshot;
	struct state_snapshot info;
};

static enum err
work_keep(struct engine_work *w, struct error *e)
{
	struct keep_size *k = (struct keep_size *)w;

	return state_snapshot_put(w->engine->state, &k->snapshot, &k->info, e);
}

static void
done_keep(struct engine_work *w, enum err r, const struct error *e)
{
	if (r != OK)
		log_error("keep how a snapshot is divided: %s", e->text);
	free(w);
}

static void
give(struct publish *p)
{
	const struct engine_swarm_who w = { p->share_id, p->commit.id, p->unit_size };

	engine_swarm_publish(p->job.engine, &w);
}

static void
on_size(struct engine_ask *a, const struct message *m, const struct error *e)
{
	struct publish *p = container_of(a, struct publish, size_ask);
	struct keep_size *k;

	p->asks_size = false;
	if (m != NULL && m->type == FRAME_SNAPSHOT && m->snapshot.unit_size != 0 &&
	    p->phase == PUBLISH_SERVE) {
		p->unit_size = m->snapshot.unit_size;
		k = mem_new(struct keep_size);
		*k = (struct keep_size){ .work = { .work = work_keep, .done = done_keep },
			.snapshot = p->commit.id,
			.info = { .unit_size = p->unit_size, .number = m->snapshot.number } };
		engine_write(p->job.engine, &k->work);
		give(p);
	} else if (m == NULL) {
		log_debug("%s: %s", p->share, e->text); /* PROGRESS says when it is time to ask */
	}
	engine_job_end(&p->job);
}

void
engine_publish_give(struct publish *p)
{
	struct message m = { .type = FRAME_RESOLVE };
	char id[HASH_ID_TEXT];
	struct error e;

	if (!engine_swarm_is_hybrid(p->job.engine, &p->share_id) || p->asks_size)
		return;
	if (p->unit_size != 0) {
		give(p);
		return;
	}
	m.resolve = (struct msg_resolve){ .share = bytes_str(p->share),
		.selector = bytes_str(hash_id_format(&p->commit.id, id)) };
	p->size_ask.on_answer = on_size;
	if (engine_link_ask(p->job.engine, &p->size_ask, &m, &e) != OK)
		return; /* it is announced again when the server is back */
	p->asks_size = true;
	engine_job_begin(&p->job);
}
