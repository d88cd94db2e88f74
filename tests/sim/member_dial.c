/* Who is connected with whom: dialing, the tie of two who dial at once, and the server's list. */
#include "base/mem.h"
#include "tests/sim/mesh.h"

enum { REDIAL_MS = 500, REDIAL_MAX_MS = 8000 };

static bool
is_wanted(const struct other *o)
{
	const struct member *m = o->me;

	if (m->dead || !m->here || o->index == m->index || o->banned || !o->listed ||
	    o->link != NULL || o->dialing != NULL)
		return false;
	/* The server dials nobody; agents dial it always, and each other while they need it. */
	return !m->server && (o->index == 0 || o->called || !member_has_all(m));
}

void
dial_later(struct other *o, uint64_t us)
{
	if (!sim_is_scheduled(&o->dial))
		sim_at(&o->me->w->sim, &o->dial, o->me->w->sim.now_us + us);
}

void
dial_all(struct member *m)
{
	for (uint32_t i = 0; i < m->w->n_members; i++) {
		struct other *o = &m->others[i];
		unsigned doubled = min_of(o->fails, 8u);
		uint64_t ms = min_of((uint64_t)REDIAL_MS << doubled, (uint64_t)REDIAL_MAX_MS);
		if (is_wanted(o))
			dial_later(o, (ms / 2 + rng_below(&m->w->sim.rng, ms)) * SIM_MS);
	}
}

/* Another machine stands before it and lets nobody in. */
static bool
is_behind_wall(const struct member *m)
{
	return m->unreachable;
}

static void
ask_for_call(struct other *o)
{
	struct link *server = o->me->others[0].link;
	struct message m = { .type = FRAME_DIAL };

	if (o->index == 0 || server == NULL || !server->ready)
		return;
	m.dial.device = o->me->w->members[o->index]->id;
	link_say(server, &m);
}

void
dial_failed(struct link *l)
{
	struct other *o = &l->me->others[l->other->index];

	o->fails++;
	ask_for_call(o);
	dial_all(l->me);
}

void
on_dial(struct sim *s, struct sim_event *ev)
{
	struct other *o = container_of(ev, struct other, dial);
	struct mesh *w = o->me->w;
	struct member *to = w->members[o->index];

	if (!is_wanted(o))
		return;
	o->called = false;
	if (is_behind_wall(to)) {
		o->fails++;
		ask_for_call(o);
		dial_all(o->me);
		return;
	}
	struct link *a = link_new(o->me, to, true), *b = link_new(to, o->me, false);
	a->wire = wire_dial(s, &(struct wire_opts){ .from = o->me->node,
				   .to = to->node,
				   .window = w->window,
				   .loss_per_million = w->loss_per_million,
				   .reset_per_million = w->reset_per_million,
				   .events = { &shell_wire_events, &shell_wire_events },
				   .ctx = { &a->shell, &b->shell } });
	b->wire = a->wire;
	if (o->me->lie == MESH_DEAF)
		wire_stop_reading(a->wire, 0);
	if (to->lie == MESH_DEAF)
		wire_stop_reading(a->wire, 1);
	o->dialing = a;
	array_push(&w->wires, a->wire);
}

bool
dial_is_kept(const struct link *l, const struct link *old)
{
	uint32_t by = l->dialer ? l->me->index : l->other->index;
	uint32_t old_by = old->dialer ? old->me->index : old->other->index;

	return by <= old_by;
}

/* -- the server's list -- */

static void
add_row(struct buf *rows, const struct member *m)
{
	struct buf row = BUF(LIMIT_MEMBER_ROW), addresses = BUF(LIMIT_MEMBER_ROW);
	struct row_member r = { .id = m->id, .name = BYTES_LIT("agent") };

	message_list_add(&addresses, BYTES_LIT("192.0.2.1:7470"));
	r.addresses = (struct message_list){ buf_bytes(&addresses), 1 };
	row_member_encode(&r, &row);
	message_list_add(rows, buf_bytes(&row));
	buf_clear(&row);
	buf_clear(&addresses);
}

static struct message
members_message(const struct mesh *w, const struct buf *rows, uint32_t n)
{
	return (struct message){ .type = FRAME_MEMBERS,
		.members = { .share = w->content.share,
		    .snapshot = w->content.snapshot,
		    .rows = { buf_bytes(rows), n } } };
}

/* Who needs others is told of them. */
static bool
is_told(const struct member *server, const struct link *l)
{
	struct swarm_stats st;

	return l != NULL && l->entered && !l->other->server &&
	       swarm_peer_stats(server->swarm, l->number, &st) && st.held < server->store.units.len;
}

void
tracker_entered(struct link *l)
{
	struct member *me = l->me;
	struct buf all = BUF(LIMIT_FRAME_MESSAGE), one = BUF(LIMIT_FRAME_MESSAGE);
	struct message m;
	uint32_t n = 0;

	add_row(&one, l->other);
	for (uint32_t i = 0; i < me->w->n_members; i++) {
		struct link *k = me->others[i].link;
		if (k == NULL || k == l || !k->entered)
			continue;
		add_row(&all, k->other);
		n++;
		m = members_message(me->w, &one, 1);
		if (is_told(me, k))
			link_say(k, &m);
	}
	m = members_message(me->w, &all, n);
	m.members.whole = 1;
	link_say(l, &m);
	buf_clear(&all);
	buf_clear(&one);
}

void
tracker_left(struct link *l)
{
	struct member *me = l->me;
	const struct buf none = BUF(1);
	struct message m = members_message(me->w, &none, 0);

	if (me->dead || l->life != me->life)
		return;
	m.members.left = BYTES(l->other->id.bytes, sizeof l->other->id.bytes);
	for (uint32_t i = 0; i < me->w->n_members; i++) {
		struct link *k = me->others[i].link;
		if (k != l && is_told(me, k))
			link_say(k, &m);
	}
}

static struct member *
member_of(const struct mesh *w, const struct device_id *id)
{
	for (uint32_t i = 0; i < w->n_members; i++)
		if (device_id_equal(&w->members[i]->id, id))
			return w->members[i];
	return NULL;
}

void
tracker_dial(struct link *l, const struct message *m)
{
	struct member *who = member_of(l->me->w, &m->dial.device);
	struct link *to = who != NULL ? l->me->others[who->index].link : NULL;
	struct buf addresses = BUF(1000);
	struct message call = { .type = FRAME_CALL, .call.device = l->other->id };

	if (!l->entered || to == NULL || to == l || !to->entered)
		return;
	message_list_add(&addresses, BYTES_LIT("192.0.2.2:7470"));
	call.call.addresses = (struct message_list){ buf_bytes(&addresses), 1 };
	link_say(to, &call);
	buf_clear(&addresses);
	l->me->w->calls++;
}

static void
on_members(struct member *me, const struct msg_members *m)
{
	struct message_list rows = m->rows;
	struct row_member row;
	struct bytes item;
	struct device_id id;
	struct error e;

	if (m->whole != 0 && !me->w->known)
		for (uint32_t i = 1; i < me->w->n_members; i++)
			me->others[i].listed = false;
	while (message_list_next(&rows, &item)) {
		MESH_REQUIRE(me->w, row_member_decode(item, &row, &e) == OK);
		struct member *who = member_of(me->w, &row.id);
		if (who != NULL)
			me->others[who->index].listed = true;
	}
	for (size_t i = 0; i + sizeof id.bytes <= m->left.len; i += sizeof id.bytes) {
		memcpy(id.bytes, m->left.at + i, sizeof id.bytes);
		struct member *who = member_of(me->w, &id);
		if (who != NULL && !me->w->known)
			me->others[who->index].listed = false;
	}
}

void
tracker_heard(struct link *l, const struct message *m)
{
	struct member *me = l->me, *who;

	if (m->type == FRAME_MEMBERS) {
		on_members(me, &m->members);
		dial_all(me);
		return;
	}
	/* It is asked to dial, whether or not it needs anything itself. */
	who = member_of(me->w, &m->call.device);
	if (who == NULL || me->others[who->index].link != NULL || is_behind_wall(who))
		return;
	me->others[who->index].listed = me->others[who->index].called = true;
	sim_at(&me->w->sim, &me->others[who->index].dial, me->w->sim.now_us);
}
