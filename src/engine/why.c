#include "engine/why.h"

#include <stdio.h>

#include "base/array.h"
#include "base/mem.h"
#include "crypto/statement.h"

enum { PEERS_MAX = 512, NOTE_MAX = 256 };

/* -- looking -- */

static void
count_peer(struct why *w, const struct swarm_node_peer *p)
{
	struct bottleneck_facts *f = &w->facts;
	bool ahead = p->stats.held > w->sum.held;

	if (!p->connected)
		return;
	f->has_server |= device_id_equal(&p->device, &w->server);
	f->lacking += p->stats.held + w->sum.skipped < w->sum.units;
	f->ahead += ahead;
	f->near += !p->stats.far;
	f->near_ahead += !p->stats.far && ahead;
}

static void
look_at_node(struct why *w)
{
	struct bottleneck_facts *f = &w->facts;

	swarm_node_summary(w->node, &w->sum);
	w->peers = mem_array(struct swarm_node_peer, PEERS_MAX);
	w->n_peers = swarm_node_peers(w->node, w->peers, PEERS_MAX);
	f->is_behind = w->sum.paused;
	f->starving = w->sum.starving;
	f->missing = w->sum.units - w->sum.held - w->sum.skipped;
	f->awaited = w->sum.awaited;
	f->nowhere = w->sum.nowhere;
	f->peers = w->sum.peers;
	f->seeds = w->sum.seeds;
	f->out = w->sum.out;
	f->slots = w->sum.slots;
	f->rate_in = w->sum.rate_in;
	f->rate_out = w->sum.rate_out;
	for (size_t i = 0; i < w->n_peers; i++)
		count_peer(w, &w->peers[i]);
}

void
why_look(struct why *w)
{
	if (w->node != NULL) {
		look_at_node(w);
	} else {
		w->sum.units = w->units;
		w->sum.held = w->held;
	}
	bottleneck_judge(&w->facts, &w->limit);
}

void
why_clear(struct why *w)
{
	free(w->peers);
	w->peers = NULL;
	w->n_peers = 0;
}

/* -- the whole -- */

/* What came of offers, over all who take part or did. */
static void
add_offers(const struct why *w, struct buf *row)
{
	uint32_t busy = 0, held = 0, elsewhere = 0, rescued = 0, suspect = 0, banned = 0;

	for (size_t i = 0; i < w->n_peers; i++) {
		const struct swarm_stats *s = &w->peers[i].stats;
		busy += s->declined_busy;
		held += s->declined_held;
		elsewhere += s->declined_elsewhere;
		rescued += s->broken;
		suspect += s->distrusted;
		banned += w->peers[i].banned || s->banned;
	}
	record_int(row, "declined_busy", busy);
	record_int(row, "declined_held", held);
	record_int(row, "declined_elsewhere", elsewhere);
	record_int(row, "rescued", rescued);
	record_int(row, "suspect", suspect);
	record_int(row, "banned", banned);
}

static void
add_bytes(const struct swarm_node_summary *s, struct buf *row)
{
	record_size(row, "bytes_in", s->bytes_in);
	record_size(row, "bytes_out", s->bytes_out);
	record_size(row, "far_in", s->far_in);
	record_size(row, "far_out", s->far_out);
	record_size(row, "wire_in", s->wire_in);
	record_size(row, "wire_out", s->wire_out);
	record_rate(row, "rate_in", s->rate_in);
	record_rate(row, "rate_out", s->rate_out);
}

static void
add_limit(const struct why *w, struct buf *row)
{
	record_text(row, "cause", w->limit.cause);
	record_text(row, "limit", w->limit.text);
	if (w->limit.advice[0] != 0)
		record_text(row, "advice", w->limit.advice);
}

static void
send_whole(const struct why *w, struct control_call *call)
{
	const struct swarm_node_summary *s = &w->sum;
	auto_buf struct buf row = BUF(RECORD_MAX);
	char id[HASH_ID_TEXT];

	record_text(&row, "share", w->share);
	if (!hash_id_is_none(&w->snapshot))
		record_text(&row, "id", hash_id_format(&w->snapshot, id));
	if (w->job != 0)
		record_int(&row, "job", (uint64_t)w->job);
	if (s->units > 0) {
		record_int(&row, "units", s->units);
		record_int(&row, "held", s->held);
		record_int(&row, "awaited", s->awaited);
		record_int(&row, "missing", w->facts.missing);
		record_int(&row, "nowhere", s->nowhere);
		record_int(&row, "peers", s->peers);
		record_int(&row, "seeds", s->seeds);
		add_bytes(s, &row);
		add_offers(w, &row);
	}
	add_limit(w, &row);
	control_call_row(call, buf_bytes(&row));
}

/* -- one who takes part -- */

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
	auto_buf struct buf note = BUF(NOTE_MAX);

	if (p->banned || s->banned)
		buf_addf(&note, "cut off: it lied");
	else if (s->distrusted)
		buf_addf(&note, "suspect: not listened to for now, it broke its word");
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
	add_part(&note, "not its part", s->declined_elsewhere);
	if (note.len > 0)
		record_bytes(row, "text", buf_bytes(&note));
}

static void
add_moved(const struct swarm_node_peer *p, struct buf *row)
{
	record_size(row, "bytes_in", p->bytes_in);
	record_size(row, "bytes_out", p->bytes_out);
	record_size(row, "wire_in", p->wire_in);
	record_size(row, "wire_out", p->wire_out);
	record_rate(row, "rate_in", p->rate_in);
	record_rate(row, "rate_out", p->rate_out);
}

static void
add_stats(const struct swarm_node_peer *p, struct buf *row)
{
	const struct swarm_stats *s = &p->stats;

	record_int(row, "held", s->held);
	record_int(row, "offers_in", s->offers_in);
	record_int(row, "accepted_in", s->accepted_in);
	record_int(row, "offers_out", s->offers_out);
	record_int(row, "accepted_out", s->accepted_out);
	record_int(row, "declined_busy", s->declined_busy);
	record_int(row, "declined_held", s->declined_held);
	record_int(row, "declined_elsewhere", s->declined_elsewhere);
	record_int(row, "wrong", s->wrong);
	record_int(row, "broken", s->broken);
	record_bool(row, "suspect", s->distrusted);
	record_bool(row, "banned", p->banned || s->banned);
}

static void
send_source(const struct why *w, const struct swarm_node_peer *p, struct control_call *call)
{
	auto_buf struct buf row = BUF(RECORD_MAX);
	char id[DEVICE_ID_TEXT];

	record_text(&row, "list", "sources");
	record_text(&row, "name", w->name(w->ctx, &p->device));
	record_text(&row, "device", device_id_format(&p->device, id));
	record_bool(&row, "server", device_id_equal(&p->device, &w->server));
	if (w->site(w->ctx, &p->device)[0] != 0)
		record_text(&row, "site", w->site(w->ctx, &p->device));
	record_bool(&row, "connected", p->connected);
	record_text(&row, "class", p->stats.far ? "far" : "near");
	record_bool(&row, "gateway", p->stats.gateway);
	add_moved(p, &row);
	add_stats(p, &row);
	add_note(p, &row);
	control_call_row(call, buf_bytes(&row));
}

/* -- sites: what came into them from others -- */

struct site {
	char name[STATEMENT_NAME_MAX + 1];
	uint32_t members, held; /* held: units, by who has most: of who is far, what its site has */
	uint64_t from_afar;
};
struct sites {
	ARRAY(struct site) all;
};

static void
add_member(struct sites *s, const char *name, uint32_t held, uint64_t from_afar)
{
	struct site *mine = NULL;

	array_each (x, &s->all) {
		if (strcmp(x->name, name) == 0)
			mine = x;
	}
	if (mine == NULL) {
		struct site fresh = { 0 };
		snprintf(fresh.name, sizeof fresh.name, "%s", name);
		array_push(&s->all, fresh);
		mine = &s->all.at[s->all.len - 1];
	}
	mine->members++;
	mine->held = max_of(mine->held, held);
	mine->from_afar += from_afar;
}

static void
send_site(const struct why *w, const struct site *x, struct control_call *call)
{
	auto_buf struct buf row = BUF(RECORD_MAX);
	uint64_t held = w->sum.content * x->held / w->sum.units;

	record_text(&row, "list", "sites");
	record_text(&row, "site", x->name);
	record_int(&row, "members", x->members);
	record_size(&row, "from_afar", x->from_afar);
	record_size(&row, "bytes_held", held);
	if (held > 0)
		record_int(&row, "copies_percent", x->from_afar * 100 / held);
	control_call_row(call, buf_bytes(&row));
}

static void
send_sites(const struct why *w, struct control_call *call)
{
	struct sites sites = { 0 };

	if (w->sum.units == 0 || (w->own_site == NULL && !w->all_sites))
		return;
	if (w->own_site != NULL)
		add_member(&sites, w->own_site, w->sum.held, w->sum.far_in);
	for (size_t i = 0; i < w->n_peers; i++) {
		const struct swarm_node_peer *p = &w->peers[i];
		const char *site = w->site(w->ctx, &p->device);
		if (device_id_equal(&p->device, &w->server))
			continue;
		if (w->all_sites || (!p->stats.far && strcmp(site, w->own_site) == 0))
			add_member(&sites, site, p->stats.held, p->from_afar);
	}
	array_each (x, &sites.all)
		send_site(w, x, call);
	array_clear(&sites.all);
}

void
why_send(struct why *w, struct control_call *call)
{
	send_whole(w, call);
	send_sites(w, call);
	for (size_t i = 0; i < w->n_peers; i++)
		send_source(w, &w->peers[i], call);
}
