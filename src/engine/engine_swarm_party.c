/*
 * Parties: connections, and what we say on them.
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
	return map_ptr(&en->swarm->by_peer, BYTES_OF(p));
}

bool
engine_swarm_party_is_server(const struct swarm_party *party)
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
	return map_ptr(&party->told, BYTES_OF(x));
}

static struct swarm_told *
make_told(struct swarm_party *party, struct swarm_entry *x)
{
	struct map_slot *slot = map_put(&party->told, BYTES_OF(x), NULL);

	if (slot->ptr == NULL)
		slot->ptr = mem_new(struct swarm_told);
	return slot->ptr;
}

/* Without a node nothing can be said about units, but to the server that all of them are here. */
static uint32_t
units_to_say(const struct swarm_party *party, const struct swarm_entry *x)
{
	return x->node != NULL || (engine_swarm_party_is_server(party) && x->whole) ? x->units : 0;
}

static bool
should_hear(struct swarm_party *party, const struct swarm_entry *x)
{
	struct engine *en = x->engine;

	if (x->dropped || x->who.unit_size == 0 || !engine_swarm_is_hybrid(en, &x->who.share) ||
	    (units_to_say(party, x) == 0 && x->wants == 0))
		return false;
	if (engine_swarm_party_is_server(party) || engine_swarm_said_of(party, x) != NULL)
		return true;
	const struct device_id *device = mesh_device_id(party->device);
	return engine_swarm_is_listed(x, device) ||
	       (!en->link.ready && engine_known_has(en, device, &x->who.share));
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

static void
enter(struct swarm_party *party, struct swarm_entry *x, bool last_resort)
{
	struct swarm_peer_opts o = engine_swarm_site_opts(x, party);

	o.last_resort = last_resort;
	swarm_node_enter(x->node, party->peer, &o);
}

/* Both have entered, of the same units: now they are told of each other's. */
static void
bring_together(struct swarm_party *party, struct swarm_entry *x)
{
	const struct swarm_said *s = engine_swarm_said_of(party, x);

	if (x->node != NULL && s != NULL && fits(x, s) && find_told(party, x) != NULL &&
	    !swarm_node_has(x->node, party->peer))
		enter(party, x, s->last_resort);
}

void
engine_swarm_party_tell(struct swarm_party *party, struct swarm_entry *x)
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
		*make_told(party, x) = (struct swarm_told){ x, x->job, units };
	}
	bring_together(party, x);
}

void
engine_swarm_party_tell_all(struct swarm_entry *x)
{
	array_each (party, &x->engine->swarm->parties)
		engine_swarm_party_tell(*party, x);
}

static void
untell(struct swarm_party *party, const struct swarm_entry *x)
{
	struct swarm_told *t = find_told(party, x);

	if (t == NULL)
		return;
	say_exit(party, t->job);
	(void)map_del(&party->told, BYTES_OF(x));
	free(t);
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

/* -- connections -- */

void
engine_swarm_ready(struct engine *en, struct peer *p, struct mesh_device *d)
{
	struct swarm_party *party = mem_new(struct swarm_party);

	party->peer = p;
	party->device = d;
	array_push(&en->swarm->parties, party);
	map_put(&en->swarm->by_peer, BYTES_OF(p), NULL)->ptr = party;
	engine_swarm_site_ready(en, party);
	for (size_t i = 0; i < en->swarm->entries.len; i++)
		engine_swarm_party_tell(party, en->swarm->entries.at[i]);
	if (d == NULL)
		engine_swarm_want_again(en);
	engine_get_peers(en);
}

static void
party_free(struct swarm_party *party)
{
	map_each (slot, &party->said)
		free(slot->ptr);
	map_each (slot, &party->told)
		free(slot->ptr);
	map_clear(&party->said);
	map_clear(&party->jobs);
	map_clear(&party->told);
	free(party);
}

void
engine_swarm_gone(struct engine *en, struct peer *p)
{
	struct engine_swarm *s = en->swarm;
	struct swarm_party *party = engine_swarm_party(en, p);

	if (party == NULL)
		return;
	(void)map_del(&s->by_peer, BYTES_OF(p));
	array_remove(&s->parties, party);
	array_each (x, &s->entries) {
		if ((*x)->node != NULL)
			swarm_node_leave((*x)->node, p);
	}
	if (engine_swarm_party_is_server(party))
		engine_swarm_want_again(en);
	party_free(party);
	engine_get_peer_gone(en, p);
	engine_get_peers(en);
}

struct peer *
engine_swarm_nodes_from(struct engine *en, const struct hash_id *snapshot)
{
	if (en->link.ready)
		return en->link.peer;
	const struct swarm_entry *x = engine_swarm_find(en, snapshot);
	array_each (party, &en->swarm->parties) {
		const struct swarm_said *s = x != NULL ? engine_swarm_said_of(*party, x) : NULL;
		if (s != NULL && s->units > 0)
			return (*party)->peer;
	}
	return NULL;
}

/* -- rights -- */

static bool
is_still_good(struct engine *en, const struct swarm_party *party, const struct swarm_said *s)
{
	return engine_swarm_party_is_server(party)
		   ? engine_swarm_is_hybrid(en, &s->share)
		   : engine_swarm_party_may(en, mesh_device_id(party->device), &s->share);
}

/* Whose right to what it takes part in has ended. */
static void
judge_party(struct engine *en, struct swarm_party *party)
{
	ARRAY(struct swarm_said *) ended = { 0 };

	map_each (slot, &party->said) {
		if (!is_still_good(en, party, slot->ptr))
			array_push(&ended, (struct swarm_said *)slot->ptr);
	}
	array_each (s, &ended) {
		const struct swarm_entry *x = engine_swarm_find(en, &(*s)->snapshot);
		engine_swarm_said_forget(en, party, *s);
		if (x != NULL)
			untell(party, x);
	}
	array_clear(&ended);
}

static void
judge_entry(struct swarm_entry *x)
{
	if (!x->dropped && !engine_swarm_is_hybrid(x->engine, &x->who.share))
		engine_swarm_entry_end(x);
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
		map_each (slot, &(*party)->told) {
			const struct swarm_told *t = slot->ptr;
			if (!engine_swarm_party_is_server(*party) &&
			    hash_id_equal(&t->entry->who.share, share))
				say_enter(*party, t->entry, t->units);
		}
	}
}
