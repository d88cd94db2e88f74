/*
 * `weft why SHARE|JOB`: where the bytes of a snapshot come from and go to, who refused what, and
 * what is in the way now.
 */
#include <stdio.h>

#include "base/mem.h"
#include "base/text.h"
#include "engine/bottleneck.h"
#include "engine/engine_swarm_private.h"
#include "net/throttle.h"

struct why {
	struct engine *engine;
	struct swarm_entry *entry;
	struct engine_job *job; /* NULL: none is at it */
	struct swarm_node_summary sum;
	struct swarm_node_peer *peers;
	size_t n_peers;
};

/* -- which one -- */

/* MOVES: in a swarm. */
static struct engine_job *
job_of_share(struct engine *en, const char *name, bool moves)
{
	array_each (j, &en->jobs) {
		if (!(*j)->over && strcmp((*j)->share_name, name) == 0 &&
		    (!moves || engine_swarm_find(en, &(*j)->row.snapshot) != NULL))
			return *j;
	}
	return NULL;
}

static struct engine_job *
job_named(struct engine *en, const char *name)
{
	uint64_t id;

	if (text_parse_u64(name, INT64_MAX, &id)) {
		struct engine_job *j = engine_job_find(en, (int64_t)id);
		if (j != NULL && !j->over)
			return j;
	}
	return job_of_share(en, name, true);
}

static const char *
share_name(struct engine *en, const struct hash_id *share, char out[STATEMENT_NAME_MAX + 1])
{
	struct bytes b =
	    en->authority != NULL ? authority_share(en->authority, share) : BYTES(NULL, 0);
	struct statement st;

	out[0] = 0;
	if (b.len > 0 && statement_decode(b, &st, NULL) == OK)
		snprintf(out, STATEMENT_NAME_MAX + 1, "%s", st.name);
	return out;
}

/* The one that is moved, else the latest that there is. */
static struct swarm_entry *
entry_named(struct engine *en, const char *name)
{
	char text[STATEMENT_NAME_MAX + 1];
	struct swarm_entry *best = NULL;

	array_each (x, &en->swarm->entries) {
		if ((*x)->dropped || strcmp(share_name(en, &(*x)->who.share, text), name) != 0)
			continue;
		if (best == NULL || ((*x)->node != NULL && best->node == NULL) ||
		    ((*x)->used_ms > best->used_ms && ((*x)->node != NULL || best->node == NULL)))
			best = *x;
	}
	return best;
}

/* -- what is said -- */

static bool
is_giver(const struct why *w, const struct swarm_node_peer *p)
{
	return p->connected && p->stats.held + w->sum.skipped >= w->sum.units;
}

static struct bottleneck_facts
facts_of(const struct why *w)
{
	const struct swarm_node_summary *s = &w->sum;
	struct engine *en = w->engine;
	struct bottleneck_facts f = {
		.takes = w->entry->wants > 0,
		.is_behind = s->paused,
		.starving = s->starving,
		.missing = s->units - s->held - s->skipped,
		.awaited = s->awaited,
		.nowhere = s->nowhere,
		.peers = s->peers,
		.seeds = s->seeds,
		.out = s->out,
		.slots = s->slots,
		.rate_in = s->rate_in,
		.rate_out = s->rate_out,
		.down_limit = throttle_rate(en->o.throttle, THROTTLE_DOWN, false),
		.up_limit = throttle_rate(en->o.throttle, THROTTLE_UP, false),
	};

	if (f.takes && w->job != NULL && w->job->waiting && w->job->row.text[0] != 0) {
		f.waits = true;
		f.waiting = w->job->row.text;
	}
	for (size_t i = 0; i < w->n_peers; i++) {
		if (!w->peers[i].connected)
			continue;
		f.has_server |= device_id_equal(&w->peers[i].device, &en->server);
		f.lacking += !is_giver(w, &w->peers[i]);
	}
	return f;
}

static void
send_whole(struct why *w, struct control_call *call)
{
	const struct bottleneck_facts f = facts_of(w);
	const struct swarm_node_summary *s = &w->sum;
	auto_buf struct buf row = BUF(RECORD_MAX);
	char text[BOTTLENECK_TEXT], name[STATEMENT_NAME_MAX + 1], id[HASH_ID_TEXT];

	record_text(&row, "share", share_name(w->engine, &w->entry->who.share, name));
	record_text(&row, "id", hash_id_format(&w->entry->who.snapshot, id));
	if (w->job != NULL)
		record_int(&row, "job", (uint64_t)w->job->row.id);
	record_int(&row, "units", s->units != 0 ? s->units : w->entry->units);
	record_int(
	    &row, "held", w->entry->node == NULL && w->entry->whole ? w->entry->units : s->held);
	record_int(&row, "awaited", s->awaited);
	record_int(&row, "missing", f.missing);
	record_int(&row, "nowhere", s->nowhere);
	record_int(&row, "peers", s->peers);
	record_int(&row, "seeds", s->seeds);
	record_size(&row, "bytes_in", s->bytes_in);
	record_size(&row, "bytes_out", s->bytes_out);
	record_size(&row, "wire_in", s->wire_in);
	record_size(&row, "wire_out", s->wire_out);
	record_rate(&row, "rate_in", s->rate_in);
	record_rate(&row, "rate_out", s->rate_out);
	record_text(&row, "limit", bottleneck_say(&f, text));
	control_call_row(call, buf_bytes(&row));
}

static void
add_part(struct buf *out, const char *what, uint32_t n)
{
	if (n > 0)
		buf_addf(out, "%s%s %u", out->len > 0 ? ", " : "", what, n);
}

/* What was refused and why, in words. */
static void
add_note(const struct swarm_node_peer *p, struct buf *row)
{
	const struct swarm_stats *s = &p->stats;
	auto_buf struct buf note = BUF(256);

	if (p->banned || s->banned)
		buf_addf(&note, "cut off: it lied");
	else if (s->distrusted)
		buf_addf(&note, "not listened to for now: it broke its word");
	else if (!p->connected)
		buf_addf(&note, "gone");
	else if (s->blocked)
		buf_addf(&note, "takes no more bytes now");
	else if (s->starving)
		buf_addf(&note, "nobody gives to it");
	add_part(&note, "wrong", s->wrong);
	add_part(&note, "broken", s->broken);
	add_part(&note, "refused: busy", s->declined_busy);
	add_part(&note, "had it", s->declined_held);
	if (note.len > 0)
		record_bytes(row, "text", buf_bytes(&note));
}

static void
send_source(struct why *w, const struct swarm_node_peer *p, struct control_call *call)
{
	auto_buf struct buf row = BUF(RECORD_MAX);
	char id[DEVICE_ID_TEXT];

	record_text(&row, "list", "sources");
	record_text(&row, "name", engine_mesh_name(w->engine, &p->device));
	record_text(&row, "device", device_id_format(&p->device, id));
	record_bool(&row, "server", device_id_equal(&p->device, &w->engine->server));
	record_bool(&row, "connected", p->connected);
	record_size(&row, "bytes_in", p->bytes_in);
	record_size(&row, "bytes_out", p->bytes_out);
	record_size(&row, "wire_in", p->wire_in);
	record_size(&row, "wire_out", p->wire_out);
	record_rate(&row, "rate_in", p->rate_in);
	record_rate(&row, "rate_out", p->rate_out);
	record_int(&row, "held", p->stats.held);
	record_int(&row, "offers_in", p->stats.offers_in);
	record_int(&row, "accepted_in", p->stats.accepted_in);
	record_int(&row, "offers_out", p->stats.offers_out);
	record_int(&row, "accepted_out", p->stats.accepted_out);
	record_int(&row, "declined_busy", p->stats.declined_busy);
	record_int(&row, "declined_held", p->stats.declined_held);
	record_int(&row, "wrong", p->stats.wrong);
	record_int(&row, "broken", p->stats.broken);
	record_bool(&row, "banned", p->banned || p->stats.banned);
	add_note(p, &row);
	control_call_row(call, buf_bytes(&row));
}

static void
send_why(struct why *w, struct control_call *call)
{
	if (w->entry->node != NULL) {
		w->peers = mem_array(struct swarm_node_peer, SWARM_PEERS_SEEN);
		w->n_peers = swarm_node_peers(w->entry->node, w->peers, SWARM_PEERS_SEEN);
		swarm_node_summary(w->entry->node, &w->sum);
	}
	send_whole(w, call);
	for (size_t i = 0; i < w->n_peers; i++)
		send_source(w, &w->peers[i], call);
	free(w->peers);
	control_call_done(call, NULL, -1);
}

/* -- what is no swarm -- */

static enum err
no_entry(struct engine *en, const struct engine_job *j, const char *name, struct error *e)
{
	if (j != NULL && !hash_id_is_none(&j->row.share) &&
	    !engine_swarm_is_hybrid(en, &j->row.share))
		return fail(e, ERR_NOTFOUND,
		    "%s is central: its bytes go to and from the server alone (`weft jobs`)",
		    j->share_name);
	if (j != NULL && (j->want == WANT_PAUSE || j->row.state == JOB_PAUSED))
		return fail(e, ERR_NOTFOUND, "job %lld is paused: `weft resume %lld`",
		    (long long)j->row.id, (long long)j->row.id);
	if (j != NULL && j->row.text[0] != 0)
		return fail(e, ERR_NOTFOUND, "job %lld moves nothing yet: %s", (long long)j->row.id,
		    j->row.text);
	if (j != NULL)
		return fail(e, ERR_NOTFOUND, "job %lld moves nothing yet", (long long)j->row.id);
	return fail(e, ERR_NOTFOUND,
	    "nothing of '%s' is moved or held here (`weft shares`, `weft jobs`)", name);
}

void
engine_why(struct engine *en, struct control_call *call, const struct control_request *r)
{
	const char *name = control_arg(r, "share");
	struct why w = { .engine = en };
	struct error e;

	name = name != NULL ? name : "";
	w.job = job_named(en, name);
	w.entry =
	    w.job != NULL ? engine_swarm_find(en, &w.job->row.snapshot) : entry_named(en, name);
	if (w.entry != NULL) {
		send_why(&w, call);
		return;
	}
	if (w.job == NULL)
		w.job = job_of_share(en, name, false);
	(void)no_entry(en, w.job, name, &e);
	control_call_done(call, &e, -1);
}
