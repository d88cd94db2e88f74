/*
 * Sites: whether our label is to be believed (engine/nearness), which members are near, and where
 * each stands in the swarms that we share with it.
 *
 * Two are near when both say so (NEAR), and each says so of who bears the same label as long as
 * that is believed of itself; of who bears another one when two sites are found to be one.  Where
 * nobody bears a label nobody is asked how far he is: that is one site, as it always was.
 *
 * A place's site is a number of our own: the label's hash, or the device's number when its label is
 * not believed.  Ranks are the server's word (MEMBERS) and stay while it is away.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "control/record.h"
#include "engine/engine_swarm_private.h"

/* A doubt is told the server after it has lasted a little: a busy line makes them. */
enum { TELL_DOUBT_MS = 3 * 1000 };

/* -- labels -- */

/* By the server's newest word, else by our membership. */
static void
look_at_label(struct engine *en)
{
	struct engine_swarm *s = en->swarm;
	struct bytes b = en->authority != NULL
			     ? authority_member(en->authority, device_key_id(en->home->key))
			     : BYTES(NULL, 0);
	struct statement st;
	const char *label = "";

	if (s->place.told)
		label = s->place.told_label;
	else if (b.len > 0 && statement_decode(b, &st, NULL) == OK)
		label = st.site;
	if (strcmp(label, s->place.label) == 0)
		return;
	snprintf(s->place.label, sizeof s->place.label, "%s", label);
	s->place.nearness = (struct nearness){ 0 };
	s->place.said_label = false;
}

static uint64_t
number_of(const char *label)
{
	uint8_t h[HASH_BYTES];
	uint64_t n;

	hash_sha256(BYTES_LIT("site "), bytes_str(label), h);
	memcpy(&n, h, sizeof n);
	return n;
}

/* Are labels held against measurements at all? */
static bool
is_checked(const struct engine *en)
{
	const struct engine_swarm *s = en->swarm;

	return en->o.near_rtt_us > 0 && (s->place.label[0] != 0 || s->place.others_labelled);
}

static bool
is_believed(const struct engine *en)
{
	return !is_checked(en) || en->swarm->place.nearness.belief == NEARNESS_BELIEVED;
}

bool
engine_swarm_site_is(const struct engine *en, const struct mesh_device *d)
{
	const struct engine_swarm *s = en->swarm;

	return is_believed(en) && strcmp(mesh_device_site(d), s->place.label) == 0 &&
	       map_find(&s->place.alone, BYTES_OF(*mesh_device_id(d))) == NULL;
}

/* -- who is near -- */

/* Nobody asks the server how far it is: it is where its label says. */
static bool
is_near_server(const struct engine *en)
{
	return is_believed(en) &&
	       strcmp(en->swarm->place.server_label, en->swarm->place.label) == 0;
}

/* Two sites are one when their members are so close and so much was seen to go between them. */
static bool
is_one_with(const struct engine *en, const struct mesh_device *d)
{
	uint32_t rtt_us = mesh_device_rtt_us(d);

	return en->o.near_rtt_us > 0 && is_believed(en) && rtt_us > 0 &&
	       rtt_us < NEARNESS_SAME_US && mesh_device_is_fast(d) &&
	       map_find(&en->swarm->place.alone, BYTES_OF(*mesh_device_id(d))) == NULL;
}

static bool
holds_near(const struct engine *en, const struct swarm_party *party)
{
	const struct mesh_device *d = party->device;

	if (engine_swarm_party_is_server(party))
		return is_near_server(en);
	if (!engine_swarm_site_is(en, d))
		return is_one_with(en, d);
	return !is_checked(en) ||
	       mesh_device_rtt_us(d) <= (uint64_t)en->o.near_rtt_us * NEARNESS_FAR_TIMES;
}

/* An older node says nothing, and the server has no need to: they speak for themselves alone. */
static bool
is_near(const struct swarm_party *party)
{
	return party->says_near && (party->heard ? party->hears_near : party->entered);
}

/* -- places -- */

/* Who bears our label and is not near is alone, or we are. */
static struct swarm_place
place_of(const struct swarm_entry *x, const struct device_id *id, const char *label, bool near)
{
	const struct engine_swarm *s = x->engine->swarm;
	const struct map_slot *slot = map_find(&x->listed, BYTES_OF(*id));
	struct swarm_place place = { .node = swarm_node_number(id) };

	if (slot != NULL) {
		place.rank = (uint8_t)slot->num;
		place.gateways = (uint8_t)(slot->num >> 8);
	}
	if (near)
		place.site = s->place.number;
	else if (map_find(&s->place.alone, BYTES_OF(*id)) != NULL ||
		 strcmp(label, s->place.label) == 0)
		place.site = place.node;
	else
		place.site = number_of(label);
	return place;
}

struct swarm_place
engine_swarm_site_place_of(const struct swarm_entry *x, const struct mesh_device *d)
{
	return place_of(x, mesh_device_id(d), mesh_device_site(d), false);
}

struct swarm_peer_opts
engine_swarm_site_opts(const struct swarm_entry *x, const struct swarm_party *party)
{
	const char *label = engine_swarm_party_is_server(party)
				? x->engine->swarm->place.server_label
				: mesh_device_site(party->device);

	return (struct swarm_peer_opts){ .far = !party->near,
		.place = place_of(x, peer_device(party->peer), label, party->near) };
}

bool
engine_swarm_site_imports(const struct swarm_entry *x)
{
	return !x->ranked || x->rank > 0 || x->origin || !is_believed(x->engine);
}

void
engine_swarm_site_place(struct swarm_entry *x)
{
	struct engine *en = x->engine;
	struct engine_swarm *s = en->swarm;
	const struct swarm_place self = { .site = s->place.number,
		.node = swarm_node_number(device_key_id(en->home->key)),
		.rank = is_believed(en) ? x->rank : 0,
		.gateways = is_believed(en) ? x->gateways : 0 };

	if (x->node == NULL)
		return;
	swarm_node_place(x->node, &self);
	array_each (party, &s->parties) {
		const struct swarm_peer_opts o = engine_swarm_site_opts(x, *party);
		swarm_node_peer_place(x->node, (*party)->peer, &o.place, o.far);
	}
}

static void
place_all(struct engine *en)
{
	array_each (x, &en->swarm->entries) {
		if (!(*x)->dropped)
			engine_swarm_site_place(*x);
	}
}

/* -- NEAR -- */

static void
say(struct swarm_party *party)
{
	const struct message m = { .type = FRAME_NEAR, .near.near = party->says_near };

	if (engine_swarm_party_is_server(party))
		return;
	(void)!session_send(peer_session(party->peer), &m, NULL);
	peer_flush(party->peer);
}

/* True: PARTY is nearer or farther than it was. */
static bool
settle(struct swarm_party *party)
{
	bool near = is_near(party), changed = near != party->near;

	if (party->classed && !changed)
		return false;
	party->near = near;
	party->classed = true;
	if (party->device != NULL)
		mesh_near(party->device, near);
	return changed;
}

/* What we say may be another thing now. */
static bool
weigh(struct engine *en, struct swarm_party *party)
{
	bool near = holds_near(en, party);

	if (near == party->says_near)
		return false;
	party->says_near = near;
	say(party);
	return settle(party);
}

static void
place_party(struct engine *en, struct swarm_party *party)
{
	array_each (x, &en->swarm->entries) {
		const struct swarm_peer_opts o = engine_swarm_site_opts(*x, party);
		if ((*x)->node != NULL)
			swarm_node_peer_place((*x)->node, party->peer, &o.place, o.far);
	}
}

void
engine_swarm_site_ready(struct engine *en, struct swarm_party *party)
{
	bool is_server = engine_swarm_party_is_server(party);

	if (is_server)
		en->swarm->place.said_label = false; /* it may have forgotten */
	party->entered = is_server;
	engine_swarm_site_look(en); /* this one may be who was missing for a verdict */
	party->says_near = holds_near(en, party);
	say(party);
	if (is_server)
		(void)settle(party);
}

void
engine_swarm_site_heard(struct engine *en, struct swarm_party *party, bool near)
{
	party->heard = true;
	party->hears_near = near;
	if (settle(party))
		place_party(en, party);
}

void
engine_swarm_site_entered(struct engine *en, struct swarm_party *party)
{
	party->entered = true;
	if (settle(party))
		place_party(en, party);
}

/* -- MEMBERS -- */

void
engine_swarm_site_listed(struct swarm_entry *x, const struct row_member *row)
{
	struct engine *en = x->engine;
	struct engine_swarm *s = en->swarm;

	if (row->alone)
		map_put(&s->place.alone, BYTES_OF(row->id), NULL);
	else
		(void)map_del(&s->place.alone, BYTES_OF(row->id));
	if (device_id_equal(&row->id, &en->server)) {
		text_escape(row->site, s->place.server_label, sizeof s->place.server_label);
	} else if (device_id_equal(&row->id, device_key_id(en->home->key))) {
		x->ranked = true;
		x->rank = row->rank;
		x->gateways = row->gateways;
		s->place.told = true;
		text_escape(row->site, s->place.told_label, sizeof s->place.told_label);
	} else if (x->listed.len < SWARM_LISTED_MAX || engine_swarm_is_listed(x, &row->id)) {
		map_put(&x->listed, BYTES_OF(row->id), NULL)->num =
		    row->rank | (uint64_t)row->gateways << 8;
	}
}

void
engine_swarm_site_left(struct engine *en, const struct device_id *device)
{
	(void)map_del(&en->swarm->place.alone, BYTES_OF(*device));
}

/* -- the verdict -- */

struct mates {
	struct engine *engine;
	ARRAY(uint32_t) rtts;
	size_t known;
	bool labels;
};

static void
add_mate(void *ctx, struct mesh_device *d)
{
	struct mates *m = ctx;
	const struct engine_swarm *s = m->engine->swarm;
	uint32_t rtt_us = mesh_device_rtt_us(d);

	m->labels |= mesh_device_site(d)[0] != 0;
	if (strcmp(mesh_device_site(d), s->place.label) != 0 ||
	    map_find(&s->place.alone, BYTES_OF(*mesh_device_id(d))) != NULL)
		return;
	m->known++;
	if (rtt_us > 0)
		array_push(&m->rtts, rtt_us);
}

static void
probe(void *ctx, struct mesh_device *d)
{
	const struct engine *en = ctx;
	uint32_t rtt_us = mesh_device_rtt_us(d);

	if (strcmp(mesh_device_site(d), en->swarm->place.label) == 0 &&
	    (rtt_us == 0 || rtt_us > en->o.near_rtt_us))
		mesh_probe(d);
}

static void
report(struct engine *en, uint64_t now)
{
	struct engine_swarm *s = en->swarm;
	const struct nearness *n = &s->place.nearness;
	bool believed = n->belief == NEARNESS_BELIEVED;
	const struct message m = { .type = FRAME_PLACED,
		.placed = { .site = bytes_str(s->place.label),
		    .believed = believed,
		    .rtt_us = n->rtt_us,
		    .mates = (uint8_t)min_of(n->mates, (uint32_t)UINT8_MAX),
		    .near = (uint8_t)min_of(n->near, (uint32_t)UINT8_MAX) } };

	if (n->belief == NEARNESS_UNDECIDED || s->place.label[0] == 0 || !en->link.ready ||
	    (s->place.said_label && s->place.said_believed == believed) ||
	    (!believed && now - s->place.decided_ms < TELL_DOUBT_MS))
		return;
	if (session_send(peer_session(en->link.peer), &m, NULL) != OK)
		return;
	peer_flush(en->link.peer);
	s->place.said_label = true;
	s->place.said_believed = believed;
}

static void
judge(struct engine *en, uint64_t now)
{
	struct engine_swarm *s = en->swarm;
	struct mates m = { .engine = en };

	mesh_each(en->mesh, add_mate, &m);
	s->place.others_labelled = m.labels;
	if (is_checked(en) && nearness_judge(&s->place.nearness, m.rtts.at, m.rtts.len, m.known,
				  en->o.near_rtt_us, now)) {
		s->place.decided_ms = now;
		log_info("label '%s': %s, %u of %u who bear it are near", s->place.label,
		    is_believed(en) ? "believed" : "not believed", s->place.nearness.near,
		    s->place.nearness.mates);
	}
	array_clear(&m.rtts);
	if (is_checked(en) && nearness_probes(&s->place.nearness, now))
		mesh_each(en->mesh, probe, en);
}

void
engine_swarm_site_look(struct engine *en)
{
	struct engine_swarm *s = en->swarm;
	uint64_t now = loop_now_ms(en->loop);
	bool changed = false;

	if (en->mesh == NULL || en->closing)
		return;
	look_at_label(en);
	judge(en, now);
	array_each (party, &s->parties)
		changed |= weigh(en, *party);
	uint64_t number = is_believed(en) ? number_of(s->place.label)
					  : swarm_node_number(device_key_id(en->home->key));
	if (changed || number != s->place.number) {
		s->place.number = number;
		place_all(en);
		engine_swarm_want_again(en);
	}
	report(en, now);
}

void
engine_swarm_site_free(struct engine_swarm *s)
{
	map_clear(&s->place.alone);
}

/* -- for people -- */

bool
engine_swarm_site_is_gateway(struct engine *en, const struct peer *p)
{
	array_each (x, &en->swarm->entries) {
		const struct swarm_node *n = (*x)->node;
		if (n != NULL &&
		    (p != NULL ? swarm_node_peer_is_gateway(n, p) : swarm_node_is_gateway(n)))
			return true;
	}
	return false;
}

/* Of our own label. */
static void
explain(const struct engine *en, struct buf *out)
{
	const struct engine_swarm *s = en->swarm;
	const struct nearness *n = &s->place.nearness;
	uint32_t far = n->mates - n->near;

	if (s->place.label[0] == 0 || !is_checked(en) || n->since_ms == 0)
		return;
	if (n->belief == NEARNESS_UNDECIDED)
		buf_addf(out, "label %s not believed yet: nobody who bears it was measured",
		    s->place.label);
	else if (n->belief == NEARNESS_DOUBTED)
		buf_addf(out, "label %s not believed: %u ms to %u of %u mates", s->place.label,
		    (n->rtt_us + 999) / 1000, far, n->mates);
	else
		buf_addf(out, "label %s believed: near to %u of %u mates", s->place.label, n->near,
		    n->mates);
}

void
engine_swarm_site_why_peer(struct engine *en, const struct mesh_device *d, struct buf *out)
{
	const struct peer *p = mesh_device_peer(d);
	const struct swarm_party *party = p != NULL ? engine_swarm_party(en, p) : NULL;
	const char *label = mesh_device_site(d);

	if (party == NULL)
		return;
	if (map_find(&en->swarm->place.alone, BYTES_OF(*mesh_device_id(d))) != NULL)
		buf_addf(out, "its label %s is not believed", label);
	else if (strcmp(label, en->swarm->place.label) != 0 && party->says_near)
		buf_addf(out, "%s is as near and as quick as our own site", label);
	else if (strcmp(label, en->swarm->place.label) != 0)
		buf_addf(out, "it is at another site");
	else if (!is_believed(en))
		explain(en, out);
	else if (!party->says_near)
		buf_addf(out, "it bears our label and is %u ms away",
		    (mesh_device_rtt_us(d) + 999) / 1000);
	else if (!party->near)
		buf_addf(out, "it does not believe that it is where we are");
}

static bool
is_gateway(const struct engine *en)
{
	array_each (x, &en->swarm->entries) {
		if ((*x)->node != NULL && swarm_node_is_gateway((*x)->node))
			return true;
	}
	return false;
}

void
engine_swarm_site_status(struct engine *en, struct buf *record)
{
	auto_buf struct buf why = BUF(2 * STATEMENT_NAME_MAX + 100);
	const char *label = en->joined ? en->swarm->place.label : en->site;

	if (label[0] == 0)
		return;
	record_text(record, "site", label);
	explain(en, &why);
	if (why.len > 0)
		record_bytes(record, "site_why", buf_bytes(&why));
	record_bool(record, "gateway", is_gateway(en));
}

void
engine_swarm_site_server(struct engine *en, struct buf *record)
{
	const struct swarm_party *party =
	    en->link.ready ? engine_swarm_party(en, en->link.peer) : NULL;

	if (en->swarm->place.server_label[0] != 0)
		record_text(record, "site", en->swarm->place.server_label);
	if (party != NULL)
		record_text(record, "class", party->near ? "near" : "far");
}
