/*
 * A get that stays (--follow): each new snapshot of the share comes by itself.
 *
 * The server pushes PROGRESS for what is announced and for each new head; after each reconnect it
 * is asked for the head, as pushes may have been missed.  What is newer than what is being fetched
 * takes its place: what was staged stays beside it, as one more source of local bytes, until the
 * new plan has taken from it what fits.  For that a job has two places to stage in, used in turn.
 *
 * A snapshot that is withdrawn before it was here whole is given up; DEST is as it was, and what
 * was staged waits for the next one.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_get_private.h"

static bool
is_under_way(const struct get *g)
{
	return g->phase > GET_RESOLVE && g->phase < GET_SWITCH;
}

/* What is under way ends as soon as it can; then step looks again. */
static void
interrupt(struct get *g)
{
	if (is_under_way(g)) {
		g->job.cancel = true;
		g->job.kind->stop(&g->job);
	}
	g->job.waiting = false;
	engine_job_next(&g->job);
}

/* -- resting -- */

static void
rest(struct get *g, const char *why)
{
	struct engine_job *j = &g->job;
	char here[48] = "";

	if (g->here_number > 0)
		snprintf(
		    here, sizeof here, ", at snapshot %llu", (unsigned long long)g->here_number);
	else if (!hash_id_is_none(&g->here))
		snprintf(here, sizeof here, ", at a snapshot that is announced");
	/* No note to who watches: that nothing happens is no news. */
	snprintf(j->row.text, sizeof j->row.text, "following%s%s%s", here,
	    why[0] != '\0' ? "; " : "", why);
	j->waiting = true;
	j->is_resting = true;
}

/* Of two heads the number says which is newer; one that is only announced has none yet. */
static bool
is_newer(const struct get *g, const struct commit *c, uint64_t number)
{
	return hash_id_is_none(&g->here) ||
	       (g->here_number > 0 && number > 0 ? number > g->here_number : c->hlc > g->here_hlc);
}

static void
take_head(struct get *g, const struct msg_snapshot *m)
{
	struct commit c = { 0 };
	struct hash_id share;
	struct error e;
	enum err r = engine_get_resolve_statements(g, m, &share, &e);

	if (r == OK && m->commit.len > 0)
		r = commit_decode(m->commit, &c, &e);
	if (r != OK)
		log_warn("follow %s: %s", g->share, e.text);
	else if (m->commit.len > 0 && hash_id_equal(&c.id, &g->here))
		engine_get_resolve_number(g, m->number);
	else if (m->commit.len > 0 && is_newer(g, &c, m->number))
		engine_get_follow_newer(g, &c.id);
	commit_clear(&c);
}

static void
on_head(struct engine_ask *a, const struct message *m, const struct error *e)
{
	struct get *g = container_of(a, struct get, ask);

	g->is_asking = g->is_stale = false;
	if (m != NULL && m->type == FRAME_SNAPSHOT)
		take_head(g, &m->snapshot);
	else if (e != NULL && (e->code == ERR_AGAIN || e->code == ERR_OFFLINE))
		g->is_stale = true;
	else if (e != NULL)
		log_info("follow %s: %s", g->share, e->text);
	engine_job_end(&g->job);
}

void
engine_get_follow(struct get *g)
{
	struct engine *en = g->job.engine;
	struct error e;

	if (!en->link.ready) {
		g->is_stale = true;
		rest(g, "the server is not reachable; goes on when it is back");
	} else if (!g->is_stale) {
		rest(g, g->dropped_why != NULL ? g->dropped_why : "");
	} else if (engine_get_resolve_ask(g, "", on_head, &e) != OK) {
		rest(g, e.text);
		g->job.retry_at_ms = loop_now_ms(en->loop) + ENGINE_AGAIN_RETRY_MS;
	}
}

/* -- something newer -- */

void
engine_get_follow_newer(struct get *g, const struct hash_id *snapshot)
{
	if (hash_id_equal(snapshot, &g->dropped) || hash_id_equal(snapshot, &g->here) ||
	    hash_id_equal(snapshot, &g->job.row.snapshot) || hash_id_equal(snapshot, &g->newer))
		return;
	g->newer = *snapshot;
	if (g->phase != GET_SWITCH && g->phase != GET_TIDY)
		interrupt(g);
}

static void
drop_earlier(struct get *g)
{
	struct error e;

	if (g->earlier == NULL)
		return;
	dest_table_remove(g->job.engine->dests, g->earlier);
	dest_close(g->earlier);
	g->earlier = NULL;
	snapshot_map_free(g->earlier_map);
	g->earlier_map = NULL;
	if (dest_discard(g->path, g->job.row.id, 1 - g->round, g->earlier_dir, &e) != OK)
		log_warn("%s: what was staged of an older snapshot stays: %s", g->path, e.text);
	(void)close(g->earlier_dir);
	g->earlier_dir = -1;
}

static enum err
work_turn(struct engine_work *w, struct error *e)
{
	struct get *g = engine_get_of_work(w);
	(void)e;

	if (g->dest == NULL) { /* no plan yet: what an older one has stays */
		snapshot_map_free(g->map);
		g->map = NULL;
		return OK;
	}
	drop_earlier(g);
	g->earlier = g->dest;
	g->earlier_map = g->map;
	g->earlier_dir = g->job_dir;
	g->dest = NULL;
	g->map = NULL;
	g->job_dir = -1;
	g->round = 1 - g->round;
	return OK;
}

static void
done_turn(struct engine_work *w, enum err r, const struct error *e)
{
	struct get *g = engine_get_of_work(w);
	char id[HASH_ID_TEXT];
	(void)r;
	(void)e;

	free(g->selector);
	g->selector = str_dup(hash_id_format(&g->newer, id));
	g->job.row.snapshot = g->newer;
	g->newer = (struct hash_id){ 0 };
	g->number = 0;
	g->is_recalled = true; /* it is new */
	g->is_dropped = false;
	engine_get_reset(g);
	engine_get_save(g);
	engine_job_end(&g->job);
}

/* -- one that is not to come -- */

static enum err
work_tidy(struct engine_work *w, struct error *e)
{
	struct get *g = engine_get_of_work(w);

	engine_get_follow_close(g);
	snapshot_map_free(g->map);
	g->map = NULL;
	if (g->job_dir < 0)
		return OK;
	enum err r = dest_discard(g->path, g->job.row.id, g->round, g->job_dir, e);
	(void)close(g->job_dir);
	g->job_dir = -1;
	return r;
}

static void
done_tidy(struct engine_work *w, enum err r, const struct error *e)
{
	struct get *g = engine_get_of_work(w);

	if (r != OK)
		log_warn("%s: something that was staged stays: %s", g->path, e->text);
	g->is_stale |= g->is_dropped;
	g->is_dropped = false;
	g->number = g->here_number;
	g->job.row.snapshot = g->here;
	free(g->selector);
	g->selector = str_dup("");
	engine_get_reset(g);
	g->phase = GET_REST;
	engine_get_save(g);
	engine_job_end(&g->job);
}

void
engine_get_follow_tidy(struct get *g)
{
	engine_get_run(g, work_tidy, done_tidy);
}

/* At first, what is asked for and not there is the answer, as of any get. */
bool
engine_get_follow_may_drop(const struct get *g)
{
	bool was_there = !hash_id_is_none(&g->here) ||
			 (g->phase == GET_RESOLVE && !hash_id_is_none(&g->job.row.share));

	return (g->flags & GET_FOLLOW) && was_there;
}

void
engine_get_follow_drop(struct get *g, const char *why)
{
	engine_job_note(&g->job, why);
	log_info("follow %s: %s", g->share, why);
	g->dropped = g->job.row.snapshot;
	free(g->dropped_why);
	g->dropped_why = str_dup(why);
	g->is_dropped = true;
	interrupt(g);
}

bool
engine_get_follow_turn(struct get *g)
{
	if (!(g->flags & GET_FOLLOW) || g->phase == GET_SWITCH || g->phase == GET_TIDY)
		return false;
	if (!hash_id_is_none(&g->newer)) {
		engine_get_run(g, work_turn, done_turn);
		return true;
	}
	if (g->is_dropped) { /* most of it is in what its author publishes instead */
		engine_get_run(g, work_turn, done_tidy);
		return true;
	}
	return false;
}

/* -- one that is here -- */

void
engine_get_follow_switched(struct get *g)
{
	free(take_ptr(g->dropped_why));
	g->here = g->commit.id;
	g->here_number = g->number;
	g->here_hlc = g->commit.hlc;
	g->phase = GET_TIDY;
	g->job.engine->jobs_since_gc++;
}

void
engine_get_follow_copied(struct get *g)
{
	drop_earlier(g);
}

void
engine_get_follow_close(struct get *g)
{
	drop_earlier(g);
	engine_get_dest_close(g);
}

void
engine_get_follow_progress(struct get *g, const struct msg_progress *m)
{
	bool is_older = m->state == SNAPSHOT_HEAD && m->number <= max_of(g->number, g->here_number);

	if (m->state == SNAPSHOT_WITHDRAWN && hash_id_equal(&m->snapshot, &g->newer))
		g->newer = (struct hash_id){ 0 };
	else if (m->state != SNAPSHOT_WITHDRAWN && !is_older)
		engine_get_follow_newer(g, &m->snapshot);
}
