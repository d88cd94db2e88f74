#include "base/mem.h"
#include "tests/sim/mesh.h"

static const struct shell_events events;

/* -- links -- */

bool
link_is_live(const struct link *l)
{
	return l->life == l->me->life && !l->me->dead && !l->over;
}

void
link_say(struct link *l, const struct message *m)
{
	struct error e;
	enum err r = session_send(l->shell.session, m, &e);

	MESH_REQUIRE(l->me->w, r == OK || r == ERR_OFFLINE || l->me->lie != MESH_NONE);
	shell_flush(&l->shell);
}

/* No part of it counts any more; what was asked ends when its session does. */
static void
detach(struct link *l)
{
	struct other *o = &l->me->others[l->other->index];

	if (l->over)
		return;
	l->over = true;
	if (l->entered && l->me->server)
		tracker_left(l);
	if (l->life == l->me->life && l->me->swarm != NULL)
		swarm_peer_gone(l->me->swarm, l->number, l->me->w->sim.now_us);
	move_forget(l);
	if (o->link == l)
		o->link = NULL;
	if (o->dialing == l)
		o->dialing = NULL;
}

void
link_close(struct link *l, const struct error *why)
{
	detach(l);
	shell_close(&l->shell, why);
}

void
member_ban(struct member *m, struct member *who, const struct error *why)
{
	struct other *o = &m->others[who->index];

	/* Nobody honest is ever taken for a liar. */
	MESH_REQUIRE(m->w, who->lie != MESH_NONE || m->lie != MESH_NONE);
	o->banned = true;
	o->named = why->code;
}

/* -- what is said -- */

static struct bytes
grant_of(const struct member *m)
{
	return BYTES(m->id.bytes, sizeof m->id.bytes);
}

static void
say_enter(struct link *l)
{
	struct mesh *w = l->me->w;
	struct message m = { .type = FRAME_ENTER,
		.enter = { .job = MESH_JOB + l->me->index,
		    .share = w->content.share,
		    .snapshot = w->content.snapshot,
		    .unit_size = w->content.unit_size,
		    .units = (uint32_t)w->content.store.units.len,
		    .last_resort = l->me->server,
		    .grant = grant_of(l->me) } };

	if (l->sent_enter)
		return;
	l->sent_enter = true;
	if (liar_speaks(l, &m))
		link_say(l, &m);
}

/* What was between the two of us is over. */
static void
forget_part(struct link *l)
{
	swarm_peer_gone(l->me->swarm, l->number, l->me->w->sim.now_us);
	l->entered = false;
	move_forget(l);
	move_stop(l);
}

static bool
is_enter_good(const struct link *l, const struct msg_enter *m)
{
	const struct content *c = &l->me->w->content;

	return hash_id_equal(&m->share, &c->share) && hash_id_equal(&m->snapshot, &c->snapshot) &&
	       m->unit_size == c->unit_size && m->units == c->store.units.len &&
	       bytes_equal(m->grant, grant_of(l->other)) &&
	       (m->last_resort == 0 || l->other->server);
}

static void
on_enter(struct link *l, const struct msg_enter *m)
{
	struct member *me = l->me;
	uint64_t now_us = me->w->sim.now_us;

	if (!is_enter_good(l, m))
		return;
	MESH_REQUIRE(me->w, l->other->lie != MESH_STRANGER);
	forget_part(l); /* it may begin anew */
	swarm_peer_add(me->swarm, l->number,
	    &(struct swarm_peer_opts){ .last_resort = m->last_resort != 0 }, now_us);
	l->entered = true;
	l->blocked = false;
	l->their_job = m->job;
	me->others[l->other->index].listed = true;
	say_enter(l);
	if (me->server)
		tracker_entered(l);
}

static void
on_exit_said(struct link *l, const struct msg_exit *m)
{
	if (l->entered && m->job == l->their_job)
		forget_part(l);
}

static uint32_t
job_of(const struct message *m)
{
	return m->type == FRAME_NEWS    ? m->news.job
	       : m->type == FRAME_OFFER ? m->offer.job
					: m->decline.job;
}

static void
on_talk(struct link *l, const struct message *m)
{
	struct error e;

	if (!l->entered || job_of(m) != l->their_job)
		return;
	if (swarm_talk_message(l->me->talk, l->number, m, l->me->w->sim.now_us, &e) == OK)
		return;
	member_ban(l->me, l->other, &e);
	link_close(l, &e);
}

static void
on_push(struct link *l, const struct message *m)
{
	switch (m->type) {
	case FRAME_ENTER:
		on_enter(l, &m->enter);
		break;
	case FRAME_EXIT:
		on_exit_said(l, &m->exit);
		break;
	case FRAME_NEWS:
	case FRAME_OFFER:
	case FRAME_DECLINE:
		on_talk(l, m);
		break;
	case FRAME_DIAL:
		if (l->me->server)
			tracker_dial(l, m);
		break;
	case FRAME_MEMBERS:
	case FRAME_CALL:
		if (l->other->server)
			tracker_heard(l, m);
		break;
	default:
		break;
	}
}

/* -- events of a connection -- */

static void
on_hello(struct link *l)
{
	struct other *o = &l->me->others[l->other->index];
	struct error e;

	if (o->dialing == l)
		o->dialing = NULL;
	o->fails = 0;
	if (o->banned) {
		fail(&e, ERR_DENIED, "you lied");
		link_close(l, &e);
		return;
	}
	if (o->link != NULL && !dial_is_kept(l, o->link)) {
		link_close(l, NULL);
		return;
	}
	if (o->link != NULL)
		link_close(o->link, NULL);
	o->link = l;
	l->ready = true;
	session_admit(l->shell.session);
	if (l->dialer)
		say_enter(l);
}

/* It is of a life that has ended: the machine knows nothing of it. */
static void
on_ghost(struct link *l, struct session_event *ev)
{
	if (ev->kind == SESSION_EV_RAW)
		block_free(ev->block);
	if (ev->kind == SESSION_EV_HELLO)
		session_admit(l->shell.session); /* or it would read nothing more */
	if (ev->kind == SESSION_EV_LOST)
		move_lost(ev->owner);
	else if (!l->me->dead)
		wire_reset(l->wire);
}

static void
on_live(struct link *l, struct session_event *ev)
{
	switch (ev->kind) {
	case SESSION_EV_HELLO:
		on_hello(l);
		break;
	case SESSION_EV_PUSH:
		on_push(l, &ev->message);
		break;
	case SESSION_EV_REQUEST:
		move_asked(l, &ev->message);
		break;
	case SESSION_EV_CANCEL:
		move_canceled(l, ev->stream);
		break;
	case SESSION_EV_ANSWER:
		move_refused(ev->owner);
		break;
	case SESSION_EV_RAW:
		move_came(ev->owner, ev);
		block_free(ev->block);
		break;
	default:
		break;
	}
}

static void
on_event(void *owner, struct shell *sh, struct session_event *ev)
{
	struct link *l = owner;

	if (ev->kind == SESSION_EV_LOST && link_is_live(l))
		detach(l); /* it has ended, and that is told later */
	if (ev->kind == SESSION_EV_LOST || l->life != l->me->life || l->me->dead)
		on_ghost(l, ev);
	else if (!l->over)
		on_live(l, ev);
	else if (ev->kind == SESSION_EV_RAW)
		block_free(ev->block);
	if (link_is_live(l)) {
		liar_acts(l);
		member_wake(l->me);
	}
	shell_flush(sh);
}

static void
on_writable(void *owner, struct shell *sh)
{
	struct link *l = owner;

	(void)sh;
	if (link_is_live(l)) {
		move_out(l);
		member_wake(l->me);
	}
}

static void
on_closed(void *owner, struct shell *sh, const struct error *why)
{
	struct link *l = owner;
	bool live = l->life == l->me->life && !l->me->dead;
	bool dialing = l->me->others[l->other->index].dialing == l;

	(void)sh;
	detach(l);
	if (!live)
		return;
	if (why->code == ERR_PROTO || why->code == ERR_LIMIT || why->code == ERR_CORRUPT)
		member_ban(l->me, l->other, why);
	if (dialing)
		dial_failed(l);
	dial_all(l->me);
	member_wake(l->me);
}

static const struct shell_events events = { on_event, on_writable, on_closed };

struct link *
link_new(struct member *me, struct member *other, bool dialer)
{
	struct link *l = mem_new(struct link);

	l->me = me;
	l->other = other;
	l->dialer = dialer;
	l->life = me->life;
	l->number = ++me->w->links_made;
	shell_init(&l->shell, &me->w->sim, dialer ? 0 : 1, &events, l);
	array_push(&me->w->links, l);
	return l;
}

/* -- what a member does -- */

static void
send_push(void *ctx, uint64_t peer, const struct message *push)
{
	struct member *me = ctx;
	struct message m = *push;

	for (uint32_t i = 0; i < me->w->n_members; i++) {
		struct link *l = me->others[i].link;
		if (l == NULL || l->number != peer)
			continue;
		MESH_REQUIRE(me->w, l->entered && !me->others[i].banned);
		if (liar_speaks(l, &m))
			link_say(l, &m);
		return;
	}
	MESH_REQUIRE(me->w, !"said to somebody who is not there");
}

bool
member_has(const struct member *m, uint32_t unit)
{
	size_t from = m->store.unit_leaf.at[unit];

	return bitset_next(&m->store.have, from, false) >= from + m->store.units.at[unit].n_leaves;
}

bool
member_has_all(const struct member *m)
{
	return m->store.have.count == m->store.have.n;
}

void
member_wake(struct member *m)
{
	if (m->here && !m->dead)
		sim_at(&m->w->sim, &m->work, m->w->sim.now_us);
}

static void
on_work(struct sim *s, struct sim_event *ev)
{
	struct member *m = container_of(ev, struct member, work);

	if (m->dead)
		return;
	bool in_time = s->now_us >= m->wakes_us;
	if (in_time) {
		swarm_tick(m->swarm, s->now_us);
		move_silent(m);
	}
	swarm_talk_pump(m->talk, s->now_us);
	while (m->failed.len > 0) {
		move_told_failed(m);
		swarm_talk_pump(m->talk, s->now_us);
	}
	if (m->done_us == 0 && member_has_all(m)) {
		MESH_REQUIRE(m->w, swarm_is_complete(m->swarm));
		m->done_us = max_of(s->now_us, (uint64_t)1);
	}
	m->wakes_us = swarm_wakes(m->swarm, s->now_us);
	MESH_REQUIRE(m->w, m->wakes_us > s->now_us || !in_time);
	if (m->wakes_us != UINT64_MAX)
		sim_at(s, &m->work, max_of(m->wakes_us, s->now_us));
}

/* -- life -- */

struct member *
member_new(struct mesh *w, uint32_t node, enum mesh_lie lie)
{
	struct member *m = mem_new(struct member);
	struct error e;

	m->w = w;
	m->index = w->n_members;
	m->node = node;
	m->lie = lie;
	m->work.fn = on_work;
	m->stays = true;
	w->sim.nodes.at[node].down_now = true;
	rng_fill(&w->sim.rng, m->id.bytes, sizeof m->id.bytes);
	for (uint32_t i = 0; i < MESH_MEMBERS; i++) {
		m->others[i].me = m;
		m->others[i].index = i;
		m->others[i].dial.fn = on_dial;
	}
	m->store.nodes = w->content.store.nodes; /* borrowed */
	MESH_REQUIRE(
	    w, store_map(&m->store, &w->content.commit.content, w->content.unit_size, &e) == OK);
	w->members[w->n_members++] = m;
	return m;
}

static void
stop_swarm(struct member *m)
{
	array_each (a, &m->failed)
		free(*a);
	array_clear(&m->failed);
	swarm_talk_free(m->talk);
	swarm_free(m->swarm);
	m->talk = NULL;
	m->swarm = NULL;
}

void
member_free(struct member *m)
{
	for (uint32_t i = 0; i < MESH_MEMBERS; i++)
		sim_cancel(&m->w->sim, &m->others[i].dial);
	sim_cancel(&m->w->sim, &m->work);
	stop_swarm(m);
	m->store.nodes = (struct map){ 0 };
	store_clear(&m->store);
	free(m);
}

void
member_hold(struct member *m, uint32_t unit)
{
	const struct store *truth = &m->w->content.store;
	struct unit_pieces p = unit_pieces_of(truth->units.at[unit]);

	for (uint32_t chunk; unit_pieces_more(&p, &chunk);) {
		struct unit_piece piece = unit_pieces_next(&p, truth->lens.at[chunk]);
		const struct store_chunk *c = &truth->chunks.at[chunk];
		for (uint32_t i = 0; i < piece.n_leaves; i++) {
			uint32_t leaf = piece.first_leaf + i;
			struct bytes b = BYTES(
			    c->bytes + (size_t)leaf * CHUNK_LEAF, chunk_id_leaf_len(c->len, leaf));
			store_take(&m->store, chunk, leaf, b, c->leaves.n > 0 ? &c->leaves : NULL);
		}
	}
}

void
member_lose(struct member *m, uint32_t unit)
{
	const struct unit *u = &m->store.units.at[unit];

	for (uint32_t i = 0; i < u->n_leaves; i++)
		bitset_unset(&m->store.have, m->store.unit_leaf.at[unit] + i);
	m->done_us = 0;
	m->w->excused += u->bytes;
	m->w->lost_units++;
	swarm_lose(m->swarm, unit);
	for (uint32_t i = 0; i < m->w->n_members; i++)
		if (m->others[i].link != NULL)
			move_forget(m->others[i].link);
	dial_all(m);
	member_wake(m);
}

void
member_come(struct member *m)
{
	struct mesh *w = m->w;
	uint32_t n = (uint32_t)m->store.units.len;

	m->here = true;
	m->dead = false;
	m->life++;
	w->sim.nodes.at[m->node].down_now = false;
	m->wakes_us = 0;
	m->swarm = swarm_new(&(struct swarm_opts){ .n_units = n,
	    .unit_size = w->content.unit_size,
	    .origin = m->origin,
	    .last_resort = m->server,
	    .seed = rng_u64(&w->sim.rng) });
	m->talk = swarm_talk_new(&(struct swarm_talk_opts){ .swarm = m->swarm,
	    .job = MESH_JOB + m->index,
	    .send = send_push,
	    .take = move_take,
	    .drop = move_drop,
	    .ctx = m });
	for (uint32_t u = 0; u < n; u++)
		if (member_has(m, u) || m->lie == MESH_BRAG)
			swarm_hold(m->swarm, u);
	for (uint32_t i = 0; i < w->n_members; i++)
		m->others[i].listed |= w->known || i == 0;
	dial_all(m);
	member_wake(m);
}

void
member_die(struct member *m, bool silently)
{
	struct mesh *w = m->w;

	m->dead = true;
	w->sim.nodes.at[m->node].down_now = true;
	sim_cancel(&w->sim, &m->work);
	for (uint32_t i = 0; i < w->n_members; i++) {
		struct other *o = &m->others[i];
		sim_cancel(&w->sim, &o->dial);
		if (o->link != NULL)
			move_forget(o->link);
		o->link = o->dialing = NULL;
		o->fails = 0;
	}
	stop_swarm(m);
	for (size_t i = 0; !silently && i < w->links.len; i++) {
		struct link *l = w->links.at[i];
		if (l->me == m && l->life == m->life && l->wire != NULL && !l->shell.told_closed)
			wire_reset(l->wire);
	}
}
