/* Units: asked for and checked, given and counted. */
#include "base/mem.h"
#include "tests/sim/mesh.h"

enum { FULL = 128 * 1024, SLOW_LEAST_US = 100 * 1000 };

/* -- in -- */

static struct link *
link_of(struct member *m, uint64_t peer)
{
	for (uint32_t i = 0; i < m->w->n_members; i++)
		if (m->others[i].link != NULL && m->others[i].link->number == peer)
			return m->others[i].link;
	return NULL;
}

static uint32_t
missing(const struct member *m, uint32_t unit, struct leaf_run *runs, uint32_t *ret_bytes)
{
	const struct store *st = &m->store;
	const struct unit *u = &st->units.at[unit];
	uint32_t n = transfer_runs(&st->have, st->unit_leaf.at[unit], u->n_leaves, runs);
	struct unit_pieces p = unit_pieces_of(*u);

	*ret_bytes = 0;
	for (uint32_t chunk; unit_pieces_more(&p, &chunk);) {
		struct unit_piece piece = unit_pieces_next(&p, st->lens.at[chunk]);
		for (uint32_t i = 0; i < piece.n_leaves; i++)
			if (!bitset_has(&st->have, st->unit_leaf.at[unit] + piece.unit_leaf + i))
				*ret_bytes +=
				    chunk_id_leaf_len(st->lens.at[chunk], piece.first_leaf + i);
	}
	return n;
}

static void
remove_ask(struct mesh_ask *a)
{
	struct link *l = a->link;

	for (size_t i = 0; i < l->asks.len; i++) {
		if (l->asks.at[i] == a) {
			array_swap_out(&l->asks, i);
			return;
		}
	}
	MESH_REQUIRE(l->me->w, !"an ask of no connection");
}

/* What did not come is explained: whoever ends an ask early says so by this. */
static void
end_ask(struct mesh_ask *a)
{
	if (a->link->other->lie == MESH_NONE && a->link->me->lie == MESH_NONE)
		a->link->me->w->excused += a->bytes - a->got;
	remove_ask(a);
	free(a);
}

void
move_take(void *ctx, uint64_t peer, uint32_t unit)
{
	struct member *me = ctx;
	struct mesh *w = me->w;
	struct link *l = link_of(me, peer);
	const struct unit *u = &me->store.units.at[unit];
	struct mesh_ask *a = mem_new(struct mesh_ask);
	struct message m = { .type = FRAME_GET_UNITS };
	struct error e;

	/* Nothing is asked for that is here or asked of somebody else. */
	MESH_REQUIRE(w, l != NULL && l->entered && !member_has(me, unit));
	for (uint32_t i = 0; i < w->n_members; i++)
		for (size_t k = 0; me->others[i].link != NULL && k < me->others[i].link->asks.len;
		     k++)
			MESH_REQUIRE(w,
			    me->others[i].link->asks.at[k]->unit != unit || me->lie == MESH_GREEDY);
	*a = (struct mesh_ask){
		.link = l, .unit = unit, .asked_us = w->sim.now_us, .last_us = w->sim.now_us
	};
	transfer_check_init(&a->check, u, &me->store.ids.at[u->first_chunk],
	    &me->store.lens.at[u->first_chunk], store_unit_chunks(&me->store, u));
	m.get_units = (struct msg_get_units){ .share = w->content.share,
		.snapshot = w->content.snapshot,
		.unit_size = w->content.unit_size,
		.unit = unit };
	m.get_units.n_runs = missing(me, unit, m.get_units.runs, &a->bytes);
	enum err r = session_request(l->shell.session, &m, a, &a->stream, &e);
	MESH_REQUIRE(w, r == OK || r == ERR_LIMIT || r == ERR_OFFLINE);
	if (r == OK)
		array_push(&l->asks, a);
	else
		array_push(&me->failed, a);
	shell_flush(&l->shell);
}

void
move_told_failed(struct member *m)
{
	struct mesh_ask *a = array_pop(&m->failed);

	swarm_ended(m->swarm, a->link->number, a->unit, false, m->w->sim.now_us);
	free(a);
}

static struct mesh_ask *
ask_of(const struct link *l, uint32_t unit)
{
	for (size_t i = 0; l != NULL && i < l->asks.len; i++)
		if (l->asks.at[i]->unit == unit)
			return l->asks.at[i];
	return NULL;
}

void
move_drop(void *ctx, uint64_t peer, uint32_t unit)
{
	struct member *me = ctx;
	struct link *l = link_of(me, peer);
	struct mesh_ask *a = ask_of(l, unit);

	bool was_silent = a == NULL || me->w->sim.now_us >= a->last_us + SWARM_SUSPECT_US;
	me->w->replaced++;
	for (size_t i = 0; a == NULL && i < me->failed.len; i++) {
		if (me->failed.at[i]->link == l && me->failed.at[i]->unit == unit) {
			free(me->failed.at[i]);
			array_swap_out(&me->failed, i);
			return;
		}
	}
	MESH_REQUIRE(me->w, a != NULL);
	/* Only what was silent is taken from somebody, or is slow, which takes time to know. */
	MESH_REQUIRE(me->w, was_silent || me->w->sim.now_us >= a->asked_us + SLOW_LEAST_US);
	session_cancel(l->shell.session, a->stream);
	shell_flush(&l->shell);
	end_ask(a);
}

/* What has come to nothing for long is given up. */
void
move_silent(struct member *m)
{
	uint64_t peer;
	uint32_t unit;

	while (swarm_silent(m->swarm, &peer, &unit)) {
		struct link *l = link_of(m, peer);
		struct mesh_ask *a = ask_of(l, unit);
		MESH_REQUIRE(m->w, a != NULL);
		m->w->silent++;
		session_cancel(l->shell.session, a->stream);
		shell_flush(&l->shell);
		swarm_ended(m->swarm, peer, unit, false, m->w->sim.now_us);
		end_ask(a);
	}
}

struct taking {
	struct mesh_ask *a;
	uint64_t bytes;
};

static enum err
on_leaf(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	struct taking *t = ctx;
	struct member *me = t->a->link->me;
	struct mesh *w = me->w;
	const struct store *truth = &w->content.store;

	(void)e;
	/* The one thing that must never be otherwise. */
	MESH_REQUIRE(
	    w, memcmp(truth->chunks.at[leaf->chunk].bytes + (size_t)leaf->leaf * CHUNK_LEAF,
		   leaf->bytes.at, leaf->bytes.len) == 0);
	/* Nothing comes twice. */
	MESH_REQUIRE(w, store_take(&me->store, leaf->chunk, leaf->leaf, leaf->bytes, leaf->list) ||
			    me->lie != MESH_NONE);
	t->bytes += leaf->bytes.len;
	return OK;
}

static void
wrong_leaf(struct mesh_ask *a, bool end, const struct error *why)
{
	struct link *l = a->link;
	struct member *me = l->me;
	struct other *o = &me->others[l->other->index];
	struct error e = *why;

	MESH_REQUIRE(me->w, l->other->lie != MESH_NONE);
	o->wrong++;
	bool too_many = swarm_charge(me->swarm, l->number) || o->wrong >= SWARM_WRONG_MAX;
	if (!end)
		session_cancel(l->shell.session, a->stream);
	swarm_ended(me->swarm, l->number, a->unit, false, me->w->sim.now_us);
	end_ask(a);
	if (!too_many)
		return;
	member_ban(me, l->other, why);
	link_close(l, &e);
}

void
move_came(struct mesh_ask *a, const struct session_event *ev)
{
	struct link *l = a->link;
	struct member *me = l->me;
	struct taking t = { .a = a };
	uint64_t now_us = me->w->sim.now_us;
	struct error e;

	MESH_REQUIRE(me->w, !me->others[l->other->index].banned && l->entered);
	enum err r = transfer_check_data(
	    &a->check, BYTES(ev->block->bytes, ev->block->len), on_leaf, &t, &e);
	a->got += (uint32_t)t.bytes;
	a->last_us = now_us;
	if (l->other->lie == MESH_NONE && me->lie == MESH_NONE)
		me->w->taken += t.bytes;
	if (t.bytes > 0)
		swarm_got(me->swarm, l->number, a->unit, t.bytes, now_us);
	if (r != OK) {
		wrong_leaf(a, ev->end, &e);
		return;
	}
	if (!ev->end)
		return;
	MESH_REQUIRE(
	    me->w, (a->got == a->bytes && member_has(me, a->unit)) || me->lie != MESH_NONE);
	swarm_ended(me->swarm, l->number, a->unit, member_has(me, a->unit), now_us);
	end_ask(a);
}

void
move_refused(struct mesh_ask *a)
{
	struct member *me = a->link->me;

	me->w->refused++;
	swarm_ended(me->swarm, a->link->number, a->unit, false, me->w->sim.now_us);
	end_ask(a);
}

void
move_stop(struct link *l)
{
	while (l->asks.len > 0) {
		session_cancel(l->shell.session, l->asks.at[0]->stream);
		end_ask(l->asks.at[0]);
	}
}

void
move_lost(struct mesh_ask *a)
{
	if (a->link->shell.why.code == OK)
		a->link->me->w->tied += a->bytes - a->got;
	end_ask(a);
}

/* -- out -- */

static void
drop_answer(struct link *l, size_t i)
{
	free(l->answers.at[i]);
	memmove(&l->answers.at[i], &l->answers.at[i + 1],
	    (l->answers.len - i - 1) * sizeof l->answers.at[0]);
	l->answers.len--;
}

void
move_forget(struct link *l)
{
	while (l->answers.len > 0) {
		const struct mesh_answer *a = l->answers.at[0];
		struct error e;
		fail(&e, ERR_CANCELED, "it cannot be given any more");
		if (link_is_live(l)) {
			(void)!session_answer_error(l->shell.session, a->stream, &e, a->unit);
			swarm_withdrawn(
			    l->me->swarm, l->number, a->unit, a->bytes, l->me->w->sim.now_us);
		}
		drop_answer(l, 0);
	}
}

static void
refuse(struct link *l, uint32_t stream, enum err code, uint32_t unit)
{
	const struct message m = { .type = FRAME_ERROR,
		.stream = stream,
		.error = { .code = (uint16_t)code, .unit = unit } };

	link_say(l, &m);
}

void
move_asked(struct link *l, const struct message *m)
{
	struct member *me = l->me;
	const struct store *st = &me->store;
	const struct msg_get_units *g = &m->get_units;
	struct mesh_answer a = { .stream = m->stream, .unit = g->unit };
	struct error e;

	if (m->type != FRAME_GET_UNITS || !l->entered || g->unit >= st->units.len ||
	    g->unit_size != me->w->content.unit_size) {
		refuse(l, m->stream, ERR_NOTFOUND, 0);
		return;
	}
	/* Only what was offered is given, and only what is held. */
	if (!swarm_talk_wanted(me->talk, l->number, g->unit, me->w->sim.now_us)) {
		refuse(l, m->stream, ERR_AGAIN, g->unit);
		return;
	}
	const struct unit *u = &st->units.at[g->unit];
	bool held = swarm_holds(me->swarm, g->unit) && !liar_refuses(l);
	if (!held || serve_init(&a.serve, u, g, &st->lens.at[u->first_chunk], &e) != OK) {
		swarm_withdrawn(me->swarm, l->number, g->unit, 0, me->w->sim.now_us);
		refuse(l, m->stream, ERR_NOTFOUND, g->unit);
		return;
	}
	MESH_REQUIRE(me->w, member_has(me, g->unit));
	array_push(&l->answers, mem_dup(&a, sizeof a));
	MESH_REQUIRE(me->w, l->answers.len <= SWARM_INBOUND + SWARM_SLOTS_MAX);
}

void
move_canceled(struct link *l, uint32_t stream)
{
	for (size_t i = 0; i < l->answers.len; i++) {
		const struct mesh_answer *a = l->answers.at[i];
		if (a->stream != stream)
			continue;
		swarm_withdrawn(l->me->swarm, l->number, a->unit, a->bytes, l->me->w->sim.now_us);
		drop_answer(l, i);
		return;
	}
}

static void
fill(const struct store *st, const struct serve_frame *f, struct block *b)
{
	frame_data_encode(&f->prefix, b->bytes);
	for (uint32_t i = 0; i < f->n_pieces; i++) {
		const struct serve_piece *p = &f->pieces[i];
		const struct store_chunk *k = &st->chunks.at[p->chunk];
		memcpy(b->bytes + p->at, k->bytes + (size_t)p->first_leaf * CHUNK_LEAF, p->len);
		if (p->list_at != 0)
			memcpy(b->bytes + p->list_at, k->leaves.hash,
			    (size_t)k->leaves.n * HASH_BYTES);
	}
	b->len = f->payload;
}

static uint32_t
leaf_bytes(const struct serve_frame *f)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < f->n_pieces; i++)
		n += f->pieces[i].len;
	return n;
}

static void
count_given(struct link *l, uint32_t bytes)
{
	struct mesh *w = l->me->w;

	if (l->me->lie == MESH_NONE && l->other->lie == MESH_NONE)
		w->given += bytes;
}

/* False: that was all of it. */
static bool
give_frame(struct link *l, struct mesh_answer *a)
{
	struct serve_frame f;

	if (!serve_next(&a->serve, &f))
		return false;
	struct block *b = block_new(BLOCK_ROOM);
	fill(&l->me->store, &f, b);
	uint16_t flags = liar_spoils(l, &f, b, f.end ? FRAME_END : 0);
	a->bytes += leaf_bytes(&f);
	count_given(l, leaf_bytes(&f));
	session_send_raw(l->shell.session, FRAME_DATA, flags, a->stream, b);
	return (flags & FRAME_END) == 0;
}

static bool
is_full(const struct link *l)
{
	return session_queued(l->shell.session) >= FULL;
}

void
move_out(struct link *l)
{
	struct member *me = l->me;

	if (l->me->lie == MESH_MUTE)
		return;
	while (l->answers.len > 0 && !is_full(l)) {
		struct mesh_answer *a = l->answers.at[0];
		if (give_frame(l, a))
			continue;
		swarm_sent(me->swarm, l->number, a->unit, a->bytes, me->w->sim.now_us);
		drop_answer(l, 0);
	}
	bool blocked = l->answers.len > 0;
	if (blocked != l->blocked)
		swarm_peer_blocked(me->swarm, l->number, blocked, me->w->sim.now_us);
	l->blocked = blocked;
}
