/*
 * Parties: connections, and what is said on them.
 *
 * Who hears of an entry: the server of each; a member of those that it takes part in as far as we
 * know, which is what the server says (MEMBERS), what the member itself said, or, while the server
 * is away, that it took part in the share's swarms before.
 */
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_swarm_private.h"
#include "platform/clock.h"

/* -- parties -- */

struct swarm_party *
engine_swarm_party(struct engine *en, const struct peer *p)
{
	array_each (party, &en->swarm->parties) {
		if ((*party)->peer == p)
			return *party;
	}
	return NULL;
}

static struct swarm_said *
find_said(struct swarm_party *party, const struct hash_id *snapshot)
{
	array_each (s, &party->said) {
		if (hash_id_equal(&s->snapshot, snapshot))
			return s;
	}
	return NULL;
}

/* ... of X: what was said of the same snapshot under a share of its own does not count, as its
 * right to that share is none to X's. */
static const struct swarm_said *
has_said(struct swarm_party *party, const struct swarm_entry *x)
{
	const struct swarm_said *s = find_said(party, &x->who.snapshot);

	return s != NULL && hash_id_equal(&s->share, &x->who.share) ? s : NULL;
}

static struct swarm_said *
find_job(struct swarm_party *party, uint32_t job)
{
	array_each (s, &party->said) {
		if (s->job == job)
			return s;
	}
	return NULL;
}

static bool
is_server(const struct swarm_party *party)
{
	return party->device == NULL;
}

bool
engine_swarm_party_may(
    struct engine *en, const struct device_id *device, const struct hash_id *share)
{
	int64_t now_s = clock_wall_ns() / 1000000000;

	return engine_swarm_is_hybrid(en, share) &&
	       authority_check_member(en->authority, device, now_s, NULL) == OK &&
	       authority_check_grant(en->authority, device, share, RIGHT_READ, now_s, NULL) == OK;
}

/* -- saying -- */

static bool
say(struct swarm_party *party, const struct message *m)
{
	struct error e;
	enum err r = session_send(peer_session(party->peer), m, &e);

	if (r != OK)
		log_debug("say %s: %s", frame_type_name(m->type), e.text);
	peer_flush(party->peer);
	return r == OK;
}

static struct swarm_told *
find_told(struct swarm_party *party, const struct swarm_entry *x)
{
	array_each (t, &party->told) {
		if (t->entry == x)
			return t;
	}
	return NULL;
}

static bool
is_listed(const struct swarm_entry *x, const struct device_id *device)
{
	array_each (d, &x->listed) {
		if (device_id_equal(d, device))
			return true;
	}
	return false;
}

/* Without a node nothing can be said about units, but to the server that all of them are here. */
static uint32_t
units_to_say(const struct swarm_party *party, const struct swarm_entry *x)
{
	return x->node != NULL || (is_server(party) && x->whole) ? x->units : 0;
}

static bool
should_hear(struct swarm_party *party, const struct swarm_entry *x)
{
	struct engine *en = x->engine;

	if (x->dropped || x->who.unit_size == 0 || !engine_swarm_is_hybrid(en, &x->who.share) ||
	    (units_to_say(party, x) == 0 && x->wants == 0))
		return false;
	if (is_server(party) || has_said(party, x) != NULL)
		return true;
	const struct device_id *device = mesh_device_id(party->device);
	return is_listed(x, device) ||
	       (!en->link.ready && engine_mesh_knows(en, device, &x->who.share));
}

static void
say_enter(struct swarm_party *party, const struct swarm_entry *x, uint32_t units)
{
	struct engine *en = x->engine;
	const struct message m = { .type = FRAME_ENTER,
		.enter = { .job = x->job,
		    .share = x->who.share,
		    .snapshot = x->who.snapshot,
		    .unit_size = x->who.unit_size,
		    .units = units,
		    .grant = authority_grant(
			en->authority, device_key_id(en->home->key), &x->who.share) } };

	(void)say(party, &m);
}

/* All of it is here: without a node this is all that is ever said about it. */
static void
say_whole(struct swarm_party *party, const struct swarm_entry *x)
{
	auto_buf struct buf have = BUF(32);
	uint32_t next = 0;
	struct message m = { .type = FRAME_NEWS, .news.job = x->job };

	message_units_add(&have, &next, 0, x->units);
	m.news.have = buf_bytes(&have);
	(void)say(party, &m);
}

static void
say_exit(struct swarm_party *party, uint32_t job)
{
	(void)say(party, &(struct message){ .type = FRAME_EXIT, .exit.job = job });
}

static bool
fits(const struct swarm_entry *x, const struct swarm_said *s)
{
	return s->units > 0 && s->units == x->units && s->unit_size == x->who.unit_size;
}

/* Both have entered, of the same units: now they are told of each other's. */
static void
bring_together(struct swarm_party *party, struct swarm_entry *x)
{
	const struct swarm_said *s = has_said(party, x);

	if (x->node != NULL && s != NULL && fits(x, s) && find_told(party, x) != NULL &&
	    !swarm_node_has(x->node, party->peer))
		swarm_node_enter(x->node, party->peer, s->last_resort);
}

static void
tell(struct swarm_party *party, struct swarm_entry *x)
{
	struct swarm_told *t = find_told(party, x);
	uint32_t units = units_to_say(party, x);

	if (!should_hear(party, x))
		return;
	if (t == NULL || t->job != x->job || t->units != units) {
		if (t != NULL && t->job != x->job)
			say_exit(party, t->job);
		say_enter(party, x, units);
		if (units > 0 && x->node == NULL)
			say_whole(party, x);
		if (t == NULL)
			array_push(&party->told, ((struct swarm_told){ x, x->job, units }));
		else
			*t = (struct swarm_told){ x, x->job, units };
	}
	bring_together(party, x);
}

void
engine_swarm_party_tell(struct swarm_entry *x)
{
	array_each (party, &x->engine->swarm->parties)
		tell(*party, x);
}

static void
untell(struct swarm_party *party, const struct swarm_entry *x)
{
	for (size_t i = 0; i < party->told.len; i++) {
		if (party->told.at[i].entry != x)
			continue;
		say_exit(party, party->told.at[i].job);
		array_swap_out(&party->told, i);
		return;
	}
}

void
engine_swarm_party_exit(struct swarm_entry *x)
{
	array_each (party, &x->engine->swarm->parties) {
		if (x->node != NULL)
			swarm_node_leave(x->node, (*party)->peer);
		untell(*party, x);
	}
}

/* -- ENTER, EXIT -- */

static void
forget_said(struct engine *en, struct swarm_party *party, struct swarm_said *s)
{
	struct swarm_entry *x = engine_swarm_find(en, &s->snapshot);

	if (x != NULL && x->node != NULL)
		swarm_node_leave(x->node, party->peer);
	array_swap_out(&party->said, (size_t)(s - party->said.at));
}

/* What was said before about the same snapshot, or under the same number, is void; true: it is said
 * once more, with a newer grant. */
static bool
is_repeated(struct engine *en, struct swarm_party *party, const struct msg_enter *m)
{
	struct swarm_said *s = find_said(party, &m->snapshot), *of_job;

	if (s != NULL && s->job == m->job && s->units == m->units && s->unit_size == m->unit_size &&
	    hash_id_equal(&s->share, &m->share))
		return !is_server(party);
	if (s != NULL)
		forget_said(en, party, s);
	of_job = find_job(party, m->job);
	if (of_job != NULL)
		forget_said(en, party, of_job);
	return false;
}

static bool
is_good(struct engine *en, struct swarm_party *party, const struct msg_enter *m)
{
	if (is_server(party))
		return engine_swarm_is_hybrid(en, &m->share);
	if (m->grant.len > 0)
		(void)!authority_accept(en->authority, m->grant, NULL, NULL);
	return engine_swarm_party_may(en, mesh_device_id(party->device), &m->share);
}

static void
on_enter(struct engine *en, struct swarm_party *party, const struct msg_enter *m)
{
	struct swarm_entry *x;

	if (en->authority == NULL || !is_good(en, party, m) || is_repeated(en, party, m) ||
	    party->said.len == SWARM_SAID_MAX)
		return;
	array_push(&party->said, ((struct swarm_said){ .job = m->job,
				     .share = m->share,
				     .snapshot = m->snapshot,
				     .unit_size = m->unit_size,
				     .units = m->units,
				     .last_resort = m->last_resort != 0 }));
	x = engine_swarm_find(en, &m->snapshot);
	if (x == NULL || has_said(party, x) == NULL)
		return;
	(void)engine_swarm_asked(en, &m->snapshot);
	if (x->who.unit_size == 0 && is_server(party)) {
		x->who.unit_size = m->unit_size; /* the server decides that */
		engine_swarm_open_node(x);
	}
	tell(party, x);
	engine_get_peers(en);
}

static void
on_exit_of(struct engine *en, struct swarm_party *party, uint32_t job)
{
	struct swarm_said *s = find_job(party, job);

	if (s == NULL)
		return;
	forget_said(en, party, s);
	engine_get_peers(en);
}

/* -- MEMBERS -- */

static void
list_member(struct engine *en, struct swarm_entry *x, struct bytes b)
{
	struct row_member row;

	if (row_member_decode(b, &row, NULL) != OK)
		return;
	struct mesh_device *d = engine_mesh_member(en, &row, &x->who.share);
	if (d == NULL)
		return;
	if (!is_listed(x, &row.id) && x->listed.len < SWARM_LISTED_MAX)
		array_push(&x->listed, row.id);
	struct peer *p = mesh_device_peer(d);
	struct swarm_party *party = p != NULL ? engine_swarm_party(en, p) : NULL;
	if (party != NULL)
		tell(party, x);
}

static void
unlist(struct swarm_entry *x, const struct device_id *device)
{
	for (size_t i = 0; i < x->listed.len; i++) {
		if (!device_id_equal(&x->listed.at[i], device))
			continue;
		array_swap_out(&x->listed, i);
		return;
	}
}

void
engine_swarm_unlist(struct engine *en, const struct device_id *device, const struct hash_id *share)
{
	array_each (x, &en->swarm->entries) {
		if (hash_id_equal(&(*x)->who.share, share))
			unlist(*x, device);
	}
	engine_swarm_party_rewant(en);
}

static void
unlist_members(struct swarm_entry *x, struct bytes left)
{
	struct device_id id;

	for (; left.len >= DEVICE_ID_BYTES;
	     left = bytes_slice(left, DEVICE_ID_BYTES, left.len - DEVICE_ID_BYTES)) {
		memcpy(id.bytes, left.at, DEVICE_ID_BYTES);
		unlist(x, &id);
	}
}

static void
on_members(struct engine *en, const struct msg_members *m)
{
	struct swarm_entry *x = engine_swarm_find(en, &m->snapshot);
	struct message_list rows = m->rows;
	struct bytes b;

	if (x == NULL || !hash_id_equal(&x->who.share, &m->share))
		return;
	if (m->whole)
		x->listed.len = 0;
	unlist_members(x, m->left);
	while (message_list_next(&rows, &b))
		list_member(en, x, b);
	engine_swarm_party_rewant(en);
}

/* -- what comes -- */

static void
on_talk(struct engine *en, struct swarm_party *party, const struct message *m)
{
	uint32_t job = m->type == FRAME_NEWS    ? m->news.job
		       : m->type == FRAME_OFFER ? m->offer.job
						: m->decline.job;
	const struct swarm_said *s = find_job(party, job);
	struct swarm_entry *x = s != NULL ? engine_swarm_find(en, &s->snapshot) : NULL;
	struct error e;

	/* A node that was idle has been closed without a word: who lacks something now needs it. */
	if (x != NULL && x->node == NULL && m->type == FRAME_NEWS && has_said(party, x) != NULL)
		(void)engine_swarm_asked(en, &s->snapshot);
	if (x == NULL || x->node == NULL || !swarm_node_has(x->node, party->peer))
		return;
	if (swarm_node_message(x->node, party->peer, m, &e) != OK)
		peer_close(party->peer, &e);
}

void
engine_swarm_push(struct engine *en, struct peer *p, const struct message *m)
{
	struct swarm_party *party = engine_swarm_party(en, p);

	if (party == NULL)
		return;
	switch (m->type) {
	case FRAME_ENTER:
		on_enter(en, party, &m->enter);
		break;
	case FRAME_EXIT:
		on_exit_of(en, party, m->exit.job);
		break;
	case FRAME_NEWS:
	case FRAME_OFFER:
	case FRAME_DECLINE:
		on_talk(en, party, m);
		break;
	case FRAME_MEMBERS:
		if (is_server(party))
			on_members(en, &m->members);
		break;
	case FRAME_CALL:
		if (is_server(party))
			engine_mesh_called(en, &m->call);
		break;
	default:
		break;
	}
}

/* -- whom to dial -- */

static bool
is_wanted(struct engine *en, const struct device_id *device)
{
	array_each (x, &en->swarm->entries) {
		if ((*x)->dropped || !engine_swarm_lacks(*x) ||
		    !engine_swarm_is_hybrid(en, &(*x)->who.share))
			continue;
		if (is_listed(*x, device) ||
		    (!en->link.ready && engine_mesh_knows(en, device, &(*x)->who.share)))
			return true;
	}
	return false;
}

static void
want(void *ctx, struct mesh_device *d)
{
	struct engine *en = ctx;

	mesh_want(en->mesh, d, is_wanted(en, mesh_device_id(d)));
}

static void
rewant_all(void *ctx)
{
	struct engine *en = ctx;

	if (en->mesh != NULL && !en->closing)
		mesh_each(en->mesh, want, en);
}

void
engine_swarm_party_rewant(struct engine *en)
{
	if (!en->closing)
		task_start(&en->swarm->rewant);
}

/* -- connections -- */

void
engine_swarm_ready(struct engine *en, struct peer *p, struct mesh_device *d)
{
	struct swarm_party *party = mem_new(struct swarm_party);

	party->peer = p;
	party->device = d;
	array_push(&en->swarm->parties, party);
	for (size_t i = 0; i < en->swarm->entries.len; i++)
		tell(party, en->swarm->entries.at[i]);
	if (d == NULL)
		engine_swarm_party_rewant(en);
	engine_get_peers(en);
}

void
engine_swarm_gone(struct engine *en, struct peer *p)
{
	struct engine_swarm *s = en->swarm;

	for (size_t i = 0; i < s->parties.len; i++) {
		struct swarm_party *party = s->parties.at[i];
		if (party->peer != p)
			continue;
		array_swap_out(&s->parties, i);
		array_each (x, &s->entries) {
			if ((*x)->node != NULL)
				swarm_node_leave((*x)->node, p);
		}
		array_clear(&party->said);
		array_clear(&party->told);
		if (party->device == NULL)
			engine_swarm_party_rewant(en);
		free(party);
		engine_get_peer_gone(en, p);
		engine_get_peers(en);
		return;
	}
}

struct peer *
engine_swarm_nodes_from(struct engine *en, const struct hash_id *snapshot)
{
	if (en->link.ready)
		return en->link.peer;
	const struct swarm_entry *x = engine_swarm_find(en, snapshot);
	array_each (party, &en->swarm->parties) {
		const struct swarm_said *s = x != NULL ? has_said(*party, x) : NULL;
		if (s != NULL && s->units > 0)
			return (*party)->peer;
	}
	return NULL;
}

/* -- rights -- */

/* Whose right to what it takes part in has ended. */
static void
judge_party(struct engine *en, struct swarm_party *party)
{
	for (size_t i = party->said.len; i-- > 0;) {
		struct swarm_said *s = &party->said.at[i];
		struct swarm_entry *x = engine_swarm_find(en, &s->snapshot);
		if (is_server(party)
			? engine_swarm_is_hybrid(en, &s->share)
			: engine_swarm_party_may(en, mesh_device_id(party->device), &s->share))
			continue;
		forget_said(en, party, s);
		if (x != NULL)
			untell(party, x);
	}
}

static void
judge_entry(struct swarm_entry *x)
{
	if (!x->dropped && !engine_swarm_is_hybrid(x->engine, &x->who.share))
		engine_swarm_end(x);
}

void
engine_swarm_judge(struct engine *en)
{
	struct engine_swarm *s = en->swarm;

	if (s == NULL || en->authority == NULL || en->closing)
		return;
	s->judged_ms = loop_now_ms(en->loop);
	for (size_t i = 0; i < s->parties.len; i++)
		judge_party(en, s->parties.at[i]);
	for (size_t i = s->entries.len; i-- > 0;) {
		if (i < s->entries.len)
			judge_entry(s->entries.at[i]);
	}
	engine_swarm_roots_look(en);
}

void
engine_swarm_granted(struct engine *en, const struct hash_id *share)
{
	array_each (party, &en->swarm->parties) {
		array_each (t, &(*party)->told) {
			if (!is_server(*party) && hash_id_equal(&t->entry->who.share, share))
				say_enter(*party, t->entry, t->units);
		}
	}
}

/* -- which connections are of use -- */

static void
use(struct engine *en, const struct device_id *device)
{
	struct mesh_device *d = mesh_find(en->mesh, device);

	if (d != NULL)
		mesh_use(en->mesh, d);
}

/* One of the two lacks something. */
static void
use_peers_of(struct swarm_entry *x)
{
	struct engine *en = x->engine;
	struct swarm_node_peer *peers = mem_array(struct swarm_node_peer, SWARM_PEERS_SEEN);
	size_t n = swarm_node_peers(x->node, peers, SWARM_PEERS_SEEN);
	bool lacks = engine_swarm_lacks(x);

	for (size_t i = 0; i < n; i++) {
		if (peers[i].connected && (lacks || peers[i].stats.held < x->units))
			use(en, &peers[i].device);
	}
	free(peers);
}

void
engine_swarm_party_look(struct engine *en)
{
	if (en->mesh == NULL)
		return;
	array_each (x, &en->swarm->entries) {
		if (!(*x)->dropped && (*x)->node != NULL)
			use_peers_of(*x);
	}
	array_each (party, &en->swarm->parties) {
		array_each (s, &(*party)->said) {
			if (!is_server(*party) && s->units == 0) /* it asks for nodes */
				mesh_use(en->mesh, (*party)->device);
		}
	}
}

/* -- life -- */

void
engine_swarm_party_open(struct engine_swarm *s)
{
	task_init(&s->rewant, s->engine->loop, rewant_all, s->engine);
}

void
engine_swarm_party_close(struct engine_swarm *s)
{
	task_cancel(&s->rewant);
}
