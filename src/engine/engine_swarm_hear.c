/*
 * What is said to us: which snapshots others take part in, what they have to say of them, and who
 * takes part by the server's word.
 */
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_swarm_private.h"

/* -- ENTER, EXIT -- */

static struct swarm_said *
find_said(struct swarm_party *party, const struct hash_id *snapshot)
{
	return map_ptr(&party->said, hash_id_bytes(snapshot));
}

/* ... of X: what was said of the same snapshot under a share of its own does not count, as its
 * right to that share is none to X's. */
const struct swarm_said *
engine_swarm_said_of(struct swarm_party *party, const struct swarm_entry *x)
{
	const struct swarm_said *s = find_said(party, &x->who.snapshot);

	return s != NULL && hash_id_equal(&s->share, &x->who.share) ? s : NULL;
}

static struct swarm_said *
find_job(struct swarm_party *party, uint32_t job)
{
	return map_ptr(&party->jobs, BYTES_OF(job));
}

static void
add_said(struct swarm_party *party, const struct msg_enter *m)
{
	struct swarm_said *s = find_said(party, &m->snapshot); /* the server's, said once more */

	if (s == NULL)
		s = mem_new(struct swarm_said);
	*s = (struct swarm_said){ .job = m->job,
		.share = m->share,
		.snapshot = m->snapshot,
		.unit_size = m->unit_size,
		.units = m->units,
		.last_resort = m->last_resort != 0 };
	map_put(&party->said, hash_id_bytes(&s->snapshot), NULL)->ptr = s;
	map_put(&party->jobs, BYTES_OF(s->job), NULL)->ptr = s;
}

void
engine_swarm_said_forget(struct engine *en, struct swarm_party *party, struct swarm_said *s)
{
	struct swarm_entry *x = engine_swarm_find(en, &s->snapshot);

	if (x != NULL && x->node != NULL)
		swarm_node_leave(x->node, party->peer);
	(void)map_del(&party->said, hash_id_bytes(&s->snapshot));
	(void)map_del(&party->jobs, BYTES_OF(s->job));
	free(s);
}

/* What was said before about the same snapshot, or under the same number, is void; true: it is said
 * once more, with a newer grant. */
static bool
is_repeated(struct engine *en, struct swarm_party *party, const struct msg_enter *m)
{
	struct swarm_said *s = find_said(party, &m->snapshot), *of_job;

	if (s != NULL && s->job == m->job && s->units == m->units && s->unit_size == m->unit_size &&
	    hash_id_equal(&s->share, &m->share))
		return !engine_swarm_party_is_server(party);
	if (s != NULL)
		engine_swarm_said_forget(en, party, s);
	of_job = find_job(party, m->job);
	if (of_job != NULL)
		engine_swarm_said_forget(en, party, of_job);
	return false;
}

static bool
is_good(struct engine *en, struct swarm_party *party, const struct msg_enter *m)
{
	if (engine_swarm_party_is_server(party))
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
	add_said(party, m);
	engine_swarm_site_entered(en, party);
	x = engine_swarm_find(en, &m->snapshot);
	if (x == NULL || engine_swarm_said_of(party, x) == NULL)
		return;
	(void)engine_swarm_asked(en, &m->snapshot);
	if (x->who.unit_size == 0 && engine_swarm_party_is_server(party)) {
		x->who.unit_size = m->unit_size; /* the server decides that */
		engine_swarm_entry_open(x);
	}
	engine_swarm_party_tell(party, x);
	engine_get_peers(en);
}

static void
on_exit_of(struct engine *en, struct swarm_party *party, uint32_t job)
{
	struct swarm_said *s = find_job(party, job);

	if (s == NULL)
		return;
	engine_swarm_said_forget(en, party, s);
	engine_get_peers(en);
}

/* -- MEMBERS -- */

static void
list_member(struct engine *en, struct swarm_entry *x, struct bytes b)
{
	struct row_member row;

	if (row_member_decode(b, &row, NULL) != OK)
		return;
	struct mesh_device *d = engine_known_member(en, &row, &x->who.share);
	engine_swarm_site_listed(x, &row);
	if (d == NULL)
		return;
	struct peer *p = mesh_device_peer(d);
	struct swarm_party *party = p != NULL ? engine_swarm_party(en, p) : NULL;
	if (party != NULL)
		engine_swarm_party_tell(party, x);
}

bool
engine_swarm_is_listed(const struct swarm_entry *x, const struct device_id *device)
{
	return map_find(&x->listed, BYTES_OF(*device)) != NULL;
}

void
engine_swarm_unlist(struct engine *en, const struct device_id *device, const struct hash_id *share)
{
	array_each (x, &en->swarm->entries) {
		if (hash_id_equal(&(*x)->who.share, share))
			(void)map_del(&(*x)->listed, BYTES_OF(*device));
	}
	engine_swarm_want_again(en);
}

static void
unlist_members(struct swarm_entry *x, struct bytes left)
{
	struct device_id id;

	for (; left.len >= DEVICE_ID_BYTES;
	     left = bytes_slice(left, DEVICE_ID_BYTES, left.len - DEVICE_ID_BYTES)) {
		memcpy(id.bytes, left.at, DEVICE_ID_BYTES);
		(void)map_del(&x->listed, BYTES_OF(id));
		engine_swarm_site_left(x->engine, &id);
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
		map_clear(&x->listed);
	unlist_members(x, m->left);
	while (message_list_next(&rows, &b))
		list_member(en, x, b);
	engine_swarm_site_look(en);
	engine_swarm_site_place(x);
	engine_swarm_want_again(en);
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
	if (x != NULL && x->node == NULL && m->type == FRAME_NEWS &&
	    engine_swarm_said_of(party, x) != NULL)
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
	case FRAME_NEAR:
		engine_swarm_site_heard(en, party, m->near.near != 0);
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
		if (engine_swarm_party_is_server(party))
			on_members(en, &m->members);
		break;
	case FRAME_CALL:
		if (engine_swarm_party_is_server(party))
			engine_mesh_called(en, &m->call);
		break;
	default:
		break;
	}
}
