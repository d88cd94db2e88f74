/*
 * `weft peers`: the server, the members that we are connected to or try to be, and why others went.
 */
#include "base/mem.h"
#include "engine/engine_swarm_private.h"

static const char *const states[] = { [MESH_CONNECTED] = "connected",
	[MESH_DIALING] = "dialing",
	[MESH_WAITING] = "waiting",
	[MESH_BANNED] = "banned",
	[MESH_KNOWN] = "gone" };

enum { SHARES_TEXT = 256, WHY_TEXT = 256 };

static int
compare_jobs(const void *a, const void *b)
{
	const struct swarm_said *const *x = a, *const *y = b;

	return ((*x)->job > (*y)->job) - ((*x)->job < (*y)->job);
}

/* Names of the shares of which both sides take part in a snapshot. */
static void
common_shares(struct engine *en, const struct peer *p, struct buf *out)
{
	const struct swarm_party *party = engine_swarm_party(en, p);
	ARRAY(const struct swarm_said *) all = { 0 };
	auto_(map_clear) struct map named = { 0 };

	if (party == NULL)
		return;
	map_each (slot, &party->said)
		array_push(&all, (const struct swarm_said *)slot->ptr);
	if (all.len > 0)
		qsort(all.at, all.len, sizeof *all.at, compare_jobs);
	array_each (s, &all) {
		struct bytes b = authority_share(en->authority, &(*s)->share);
		struct statement st;
		bool is_new;
		if (engine_swarm_find(en, &(*s)->snapshot) == NULL || b.len == 0 ||
		    statement_decode(b, &st, NULL) != OK)
			continue;
		map_put(&named, hash_id_bytes(&(*s)->share), &is_new);
		if (is_new)
			buf_addf(out, "%s%s", out->len > 0 ? ", " : "", st.name);
	}
	array_clear(&all);
}

static void
add_shares(struct engine *en, const struct peer *p, struct buf *row)
{
	auto_buf struct buf shares = BUF(SHARES_TEXT);

	if (p != NULL && en->authority != NULL)
		common_shares(en, p, &shares);
	if (shares.len > 0)
		record_bytes(row, "shares", buf_bytes(&shares));
}

static bool
is_liar(const struct engine *en, const struct device_id *device)
{
	array_each (l, &en->swarm->liars) {
		if (device_id_equal(&l->device, device))
			return true;
	}
	return false;
}

static void
add_moved(const struct mesh_info *i, struct buf *row)
{
	record_rate(row, "rate_in", i->rate_in);
	record_rate(row, "rate_out", i->rate_out);
	record_size(row, "bytes_in", i->bytes_in);
	record_size(row, "bytes_out", i->bytes_out);
	record_duration(row, "since", i->connected_ms);
	if (i->rtt_us > 0)
		record_duration(row, "rtt", (i->rtt_us + 999) / 1000);
}

/* Where it is, and why that is so. */
static void
add_class(struct engine *en, const struct mesh_device *d, bool near, struct buf *row)
{
	auto_buf struct buf why = BUF(WHY_TEXT);

	record_text(row, "class", near ? "near" : "far");
	record_bool(row, "gateway", engine_swarm_site_is_gateway(en, mesh_device_peer(d)));
	engine_swarm_site_why_peer(en, d, &why);
	if (why.len > 0)
		record_bytes(row, "class_why", buf_bytes(&why));
}

struct list_peers {
	struct engine *engine;
	struct control_call *call;
};

static void
peer_row(void *ctx, struct mesh_device *d)
{
	const struct list_peers *l = ctx;
	struct engine *en = l->engine;
	auto_buf struct buf row = BUF(RECORD_MAX);
	char id[DEVICE_ID_TEXT];
	struct mesh_info i;

	mesh_info(en->mesh, d, &i);
	if (i.state == MESH_KNOWN && i.why[0] == 0)
		return; /* never met in this run */
	record_text(&row, "name", mesh_device_name(d));
	record_text(&row, "device", device_id_format(mesh_device_id(d), id));
	if (mesh_device_site(d)[0] != 0)
		record_text(&row, "site", mesh_device_site(d));
	record_text(&row, "state", states[i.state]);
	if (i.state == MESH_CONNECTED) {
		record_text(&row, "direction", i.dialed ? "out" : "in");
		add_class(en, d, i.near, &row);
		add_moved(&i, &row);
		record_text(&row, "tls", i.group);
	}
	record_text(&row, "address", i.address);
	add_shares(en, mesh_device_peer(d), &row);
	record_bool(&row, "liar", is_liar(en, mesh_device_id(d)));
	if (i.state == MESH_WAITING)
		record_duration(&row, "retry", i.retry_ms);
	if (i.why[0] != 0)
		record_text(&row, "text", i.why);
	control_call_row(l->call, buf_bytes(&row));
}

static void
server_row(struct engine *en, struct control_call *call)
{
	auto_buf struct buf row = BUF(RECORD_MAX);
	const struct engine_link *k = &en->link;
	char id[DEVICE_ID_TEXT];

	record_text(&row, "name", en->server_name);
	record_text(&row, "device", device_id_format(&en->server, id));
	record_bool(&row, "server", true);
	engine_swarm_site_server(en, &row);
	record_text(&row, "state", k->ready ? "connected" : "waiting");
	if (k->ready) {
		const struct session *s = peer_session(k->peer);
		const struct tls *t = conn_tls(peer_conn(k->peer));
		record_text(&row, "direction", "out");
		record_size(&row, "bytes_in", session_bytes_in(s));
		record_size(&row, "bytes_out", session_bytes_out(s));
		record_text(&row, "tls", t != NULL ? tls_group(t) : "");
		record_text(&row, "address", k->address);
		add_shares(en, k->peer, &row);
	} else if (k->why[0] != 0) {
		record_text(&row, "text", k->why);
	}
	record_bool(&row, "liar", is_liar(en, &en->server));
	control_call_row(call, buf_bytes(&row));
}

void
engine_peers(struct engine *en, struct control_call *call)
{
	struct list_peers l = { en, call };

	if (en->joined && !en->o.is_server)
		server_row(en, call);
	if (en->mesh != NULL)
		mesh_each(en->mesh, peer_row, &l);
	control_call_done(call, NULL, -1);
}
