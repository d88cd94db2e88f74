#include "tests/sim/world.h"

#include "base/mem.h"

enum {
	NODES_PER_REQUEST = 32,
	NODE_REQUESTS = 2,
	WRONG_NODES_MAX = 3,
	REDIAL_MS = 700,
	CHECK_MS = 1000
};

static void pump(struct receiver *r);

/* -- requests -- */

static struct ask *
ask_new(struct source *src, uint16_t type)
{
	struct ask *a = mem_new(struct ask);

	*a = (struct ask){ .source = src, .type = type };
	array_push(&src->r->asks, a);
	return a;
}

static void
ask_free(struct ask *a)
{
	struct receiver *r = a->source->r;

	for (size_t i = 0; i < r->asks.len; i++) {
		if (r->asks.at[i] == a) {
			array_swap_out(&r->asks, i);
			break;
		}
	}
	array_clear(&a->nodes);
	free(a);
}

static bool
send_ask(struct ask *a, struct message *m)
{
	struct error e;
	enum err r = session_request(a->source->shell.session, m, a, &a->stream, &e);

	WORLD_REQUIRE(a->source->r->w, r == OK || r == ERR_LIMIT || r == ERR_OFFLINE);
	if (r == OK)
		shell_flush(&a->source->shell);
	return r == OK;
}

static void
ban(struct source *src, const struct error *why)
{
	src->banned = true;
	src->usable = false;
	WORLD_REQUIRE(src->r->w, src->server->lie != LIE_NONE);
	if (src->r->transfer != NULL)
		transfer_source_gone(src->r->transfer, src->index);
	array_each (at, &src->r->asks) {
		struct ask *a = *at;
		if (a->source != src || a->type != FRAME_GET_UNITS)
			continue;
		a->given_up = true;
		bitset_unset(&src->r->in_flight, a->unit);
	}
	shell_close(&src->shell, why);
}

static bool
is_live(const struct source *src)
{
	return src->usable && !src->banned && src->shell.session != NULL &&
	       session_state(src->shell.session) == SESSION_READY;
}

/* -- nodes -- */

static void
want_node(struct receiver *r, enum hash_kind kind, const struct hash_id *id)
{
	uint8_t key[1 + HASH_ID_BYTES] = { (uint8_t)kind };
	bool is_new;

	memcpy(key + 1, id, HASH_ID_BYTES);
	map_put(&r->seen, BYTES_OF(key), &is_new);
	if (is_new)
		array_push(&r->wanted, ((struct receiver_node){ kind, *id }));
}

static enum err
on_child(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	(void)e;
	want_node(ctx, kind, id);
	return OK;
}

/* Asks SRC for the last few nodes wanted that are of one kind. */
static void
request_nodes(struct source *src)
{
	struct receiver *r = src->r;
	struct ask *a = ask_new(src, FRAME_GET_NODES);
	struct message m = { .type = FRAME_GET_NODES };

	a->kind = r->wanted.at[r->wanted.len - 1].kind;
	while (r->wanted.len > 0 && a->nodes.len < NODES_PER_REQUEST &&
	       r->wanted.at[r->wanted.len - 1].kind == a->kind) {
		array_push(&a->nodes, r->wanted.at[r->wanted.len - 1].id);
		r->wanted.len--;
	}
	m.get_nodes = (struct msg_get_nodes){ .share = r->w->content.share,
		.snapshot = r->commit.id,
		.kind = (uint8_t)a->kind,
		.ids = BYTES(a->nodes.at, a->nodes.len * HASH_ID_BYTES) };
	r->nodes_open++;
	src->node_requests++;
	WORLD_REQUIRE(r->w, send_ask(a, &m)); /* live, and few are open */
}

/* The answer is over: what did not come is wanted again. */
static void
end_nodes(struct ask *a)
{
	struct receiver *r = a->source->r;

	a->source->unanswered += a->next_node < a->nodes.len;
	for (; a->next_node < a->nodes.len; a->next_node++)
		array_push(
		    &r->wanted, ((struct receiver_node){ a->kind, a->nodes.at[a->next_node] }));
	r->nodes_open--;
	a->source->node_requests--;
	ask_free(a);
}

static void
wrong_node(struct source *src)
{
	struct error why;

	WORLD_REQUIRE(src->r->w, src->server->lie != LIE_NONE);
	if (++src->wrong_nodes < WRONG_NODES_MAX)
		return;
	fail(&why, ERR_CORRUPT, "wrong nodes");
	ban(src, &why);
}

static void
take_node(struct ask *a, const struct session_event *ev)
{
	struct receiver *r = a->source->r;
	struct bytes node;
	struct error e;
	uint16_t index;

	WORLD_REQUIRE(r->w,
	    frame_node_decode(BYTES(ev->block->bytes, ev->block->len), &index, &node, &e) == OK);
	WORLD_REQUIRE(r->w, index == a->next_node && index < a->nodes.len);
	const struct hash_id id = a->nodes.at[a->next_node++];
	if ((ev->header.flags & FRAME_MISSING) != 0 ||
	    store_put_node(&r->store, a->kind, &id, node, &e) != OK) {
		array_push(&r->wanted, ((struct receiver_node){ a->kind, id }));
		wrong_node(a->source);
	} else {
		WORLD_REQUIRE(r->w, node_children(a->kind, node, on_child, r, &e) == OK);
	}
}

/* -- units -- */

static uint32_t
missing(void *ctx, uint32_t unit, struct leaf_run *runs, uint32_t *ret_bytes)
{
	struct receiver *r = ctx;
	const struct unit *u = &r->store.units.at[unit];
	uint32_t n = transfer_runs(&r->store.have, r->store.unit_leaf.at[unit], u->n_leaves, runs);
	struct unit_pieces p = unit_pieces_of(*u);
	uint32_t run = 0;

	*ret_bytes = 0;
	for (uint32_t chunk; unit_pieces_more(&p, &chunk);) {
		struct unit_piece piece = unit_pieces_next(&p, r->store.lens.at[chunk]);
		for (uint32_t i = 0; i < piece.n_leaves; i++) {
			uint32_t leaf = piece.unit_leaf + i;
			while (run < n && leaf >= (uint32_t)runs[run].first + runs[run].n)
				run++;
			if (run < n && leaf >= runs[run].first)
				*ret_bytes += chunk_id_leaf_len(
				    r->store.lens.at[chunk], piece.first_leaf + i);
		}
	}
	return n;
}

static void
begin_units(struct receiver *r)
{
	struct error e;

	WORLD_REQUIRE(r->w, store_map(&r->store, &r->commit.content, r->unit_size, &e) == OK);
	WORLD_REQUIRE(r->w, r->store.chunks.len == r->commit.chunks);
	bitset_init(&r->in_flight, r->store.units.len);
	r->transfer = transfer_new(
	    &(struct transfer_opts){ .n_units = r->store.units.len, .missing = missing, .ctx = r });
	array_each (at, &r->sources)
		if (is_live(*at))
			transfer_source_add(r->transfer, (*at)->index, sim_now_ms(&r->w->sim));
	sim_at(&r->w->sim, &r->check, r->w->sim.now_us + CHECK_MS * SIM_MS);
}

/* Nothing is asked for that is here, or under way. */
static void
check_ask(struct receiver *r, const struct transfer_ask *t)
{
	WORLD_REQUIRE(r->w, bitset_set(&r->in_flight, t->unit));
	for (uint32_t i = 0; i < t->n_runs; i++) {
		for (uint32_t k = 0; k < t->runs[i].n; k++) {
			bool here = bitset_has(
			    &r->store.have, r->store.unit_leaf.at[t->unit] + t->runs[i].first + k);
			WORLD_REQUIRE(r->w, !here || t->n_runs == LIMIT_UNIT_RUNS);
			r->closed_gaps += here;
		}
	}
}

static void
end_unit(struct ask *a, uint32_t retry_ms)
{
	struct receiver *r = a->source->r;

	bitset_unset(&r->in_flight, a->unit);
	a->source->unit_requests--;
	transfer_ended(r->transfer, a->source->index, a->unit, retry_ms, sim_now_ms(&r->w->sim));
	ask_free(a);
}

static void
request_unit(struct receiver *r, const struct transfer_ask *t)
{
	struct source *src = r->sources.at[t->source];
	struct ask *a = ask_new(src, FRAME_GET_UNITS);
	const struct unit *u = &r->store.units.at[t->unit];
	struct message m = { .type = FRAME_GET_UNITS };

	check_ask(r, t);
	a->unit = t->unit;
	transfer_check_init(&a->check, u, &r->store.ids.at[u->first_chunk],
	    &r->store.lens.at[u->first_chunk], store_unit_chunks(&r->store, u));
	m.get_units = (struct msg_get_units){ .share = r->w->content.share,
		.snapshot = r->commit.id,
		.unit_size = r->unit_size,
		.unit = t->unit,
		.n_runs = t->n_runs };
	memcpy(m.get_units.runs, t->runs, t->n_runs * sizeof t->runs[0]);
	src->unit_requests++;
	/* The session may have ended, or be full of what was cancelled and has not ended. */
	if (!send_ask(a, &m))
		end_unit(a, 0);
	WORLD_REQUIRE(r->w, transfer_in_flight(r->transfer, t->source) <=
				transfer_window(r->transfer, t->source) + UNIT_MAX);
}

static enum err
on_leaf(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	struct ask *a = ctx;
	struct receiver *r = a->source->r;
	const struct store *truth = &r->w->content.store;

	(void)e;
	/* The one thing that must never be otherwise. */
	WORLD_REQUIRE(
	    r->w, hash_id_equal(&r->store.ids.at[leaf->chunk], &truth->ids.at[leaf->chunk]));
	WORLD_REQUIRE(
	    r->w, memcmp(truth->chunks.at[leaf->chunk].bytes + (size_t)leaf->leaf * CHUNK_LEAF,
		      leaf->bytes.at, leaf->bytes.len) == 0);
	r->taken++;
	WORLD_REQUIRE(
	    r->w, store_take(&r->store, leaf->chunk, leaf->leaf, leaf->bytes, leaf->list) ||
		      r->closed_gaps > 0);
	transfer_took(r->transfer, a->source->index, a->unit, (uint32_t)leaf->bytes.len,
	    sim_now_ms(&r->w->sim));
	return OK;
}

static void
take_data(struct ask *a, const struct session_event *ev)
{
	struct source *src = a->source;
	struct receiver *r = src->r;
	struct error e;

	if (transfer_check_data(
		&a->check, BYTES(ev->block->bytes, ev->block->len), on_leaf, a, &e) == OK) {
		if (ev->end)
			end_unit(a, 0);
		return;
	}
	WORLD_REQUIRE(r->w, src->server->lie != LIE_NONE);
	bool too_many = transfer_charge(r->transfer, src->index);
	if (!ev->end)
		session_cancel(src->shell.session, a->stream);
	end_unit(a, 0);
	if (too_many)
		ban(src, &e);
}

/* -- events -- */

static void
on_snapshot(struct source *src, const struct message *m)
{
	struct receiver *r = src->r;
	struct commit c = { 0 };
	struct error e;
	enum err rc = m->type == FRAME_SNAPSHOT ? commit_decode(m->snapshot.commit, &c, &e)
						: fail(&e, ERR_PROTO, "no snapshot");

	if (rc == OK)
		rc = commit_verify(m->snapshot.commit, &c, &e);
	if (rc == OK) {
		const struct device_id by = device_id_of(&c.author);
		if (!device_id_equal(&by, device_key_id(r->w->author)))
			rc = fail(&e, ERR_DENIED, "not by the author");
	}
	if (rc != OK) {
		commit_clear(&c);
		ban(src, &e);
		return;
	}
	src->usable = true;
	if (!r->known) {
		r->known = true;
		r->commit = c;
		r->unit_size = m->snapshot.unit_size;
		want_node(r, HASH_TREE, &c.content);
	} else {
		commit_clear(&c);
	}
	if (r->transfer != NULL)
		transfer_source_add(r->transfer, src->index, sim_now_ms(&r->w->sim));
}

static void
resolve(struct source *src)
{
	struct message m = { .type = FRAME_RESOLVE, .resolve = { .share = BYTES_LIT("docs") } };

	if (src->r->done_us != 0) { /* nothing is needed any more */
		shell_close(&src->shell, NULL);
		return;
	}
	session_admit(src->shell.session);
	WORLD_REQUIRE(src->r->w, send_ask(ask_new(src, FRAME_RESOLVE), &m));
}

static void
on_answer(struct ask *a, const struct session_event *ev)
{
	struct source *src = a->source;

	WORLD_REQUIRE(src->r->w, ev->end);
	if (a->type == FRAME_RESOLVE) {
		ask_free(a);
		on_snapshot(src, &ev->message);
	} else if (a->type == FRAME_GET_NODES) {
		end_nodes(a);
		wrong_node(src);
	} else {
		end_unit(a, ev->message.error.retry_ms);
	}
}

static void
on_raw(struct ask *a, struct session_event *ev)
{
	struct block *b = ev->block;

	if (a->type == FRAME_GET_NODES) {
		take_node(a, ev);
		if (ev->end)
			end_nodes(a);
	} else {
		take_data(a, ev);
	}
	block_free(b);
}

static void
on_lost(struct ask *a)
{
	struct receiver *r = a->source->r;

	if (a->type == FRAME_GET_NODES) {
		end_nodes(a);
	} else if (a->type == FRAME_GET_UNITS) {
		if (!a->given_up)
			bitset_unset(&r->in_flight, a->unit);
		a->source->unit_requests--;
		ask_free(a);
	} else {
		ask_free(a);
	}
}

static void
on_event(void *owner, struct shell *sh, struct session_event *ev)
{
	struct source *src = owner;

	(void)sh;
	switch (ev->kind) {
	case SESSION_EV_HELLO:
		resolve(src);
		break;
	case SESSION_EV_ANSWER:
		on_answer(ev->owner, ev);
		break;
	case SESSION_EV_RAW:
		on_raw(ev->owner, ev);
		break;
	case SESSION_EV_LOST:
		on_lost(ev->owner);
		return; /* the rest when it is closed */
	default:
		break;
	}
	pump(src->r);
}

static void
on_writable(void *owner, struct shell *sh)
{
	(void)owner;
	(void)sh;
}

static void
on_closed(void *owner, struct shell *sh, const struct error *why)
{
	struct source *src = owner;
	struct receiver *r = src->r;

	WORLD_REQUIRE(r->w, src->node_requests == 0 && src->unit_requests == 0);
	src->usable = false;
	if (r->transfer != NULL)
		transfer_source_gone(r->transfer, src->index);
	/* Who breaks the protocol is not dialed again. */
	if (why->code == ERR_PROTO || why->code == ERR_LIMIT || why->code == ERR_CORRUPT) {
		WORLD_REQUIRE(r->w, src->server->lie != LIE_NONE);
		src->banned = true;
	}
	if (r->done_us == 0 && !src->banned)
		sim_at(sh->sim, &src->redial,
		    sh->sim->now_us + (REDIAL_MS + rng_below(&sh->sim->rng, REDIAL_MS)) * SIM_MS);
	pump(r);
}

static const struct shell_events events = { on_event, on_writable, on_closed };

/* -- going on -- */

static void
finish(struct receiver *r)
{
	r->done_us = r->w->sim.now_us;
	sim_cancel(&r->w->sim, &r->check);
	sim_cancel(&r->w->sim, &r->wake);
	array_each (at, &r->sources) {
		sim_cancel(&r->w->sim, &(*at)->redial);
		shell_close(&(*at)->shell, NULL);
	}
}

/* Who has room, and answered best so far. */
static struct source *
best_for_nodes(struct receiver *r)
{
	struct source *best = NULL;

	array_each (at, &r->sources)
		if (is_live(*at) && (*at)->node_requests < NODE_REQUESTS &&
		    (best == NULL || (*at)->unanswered < best->unanswered))
			best = *at;
	return best;
}

static void
pump_nodes(struct receiver *r)
{
	struct source *src;

	while (r->wanted.len > 0 && (src = best_for_nodes(r)) != NULL)
		request_nodes(src);
	if (r->known && r->wanted.len == 0 && r->nodes_open == 0)
		begin_units(r);
}

/* Asks for whatever may be asked for now. */
static void
pump(struct receiver *r)
{
	struct transfer_ask t;

	if (r->done_us != 0)
		return;
	if (r->transfer == NULL)
		pump_nodes(r);
	if (r->transfer == NULL)
		return;
	while (transfer_next(r->transfer, sim_now_ms(&r->w->sim), &t))
		request_unit(r, &t);
	if (transfer_is_done(r->transfer)) {
		finish(r);
		return;
	}
	uint64_t wakes = transfer_wakes(r->transfer);
	if (wakes != UINT64_MAX)
		sim_at(&r->w->sim, &r->wake, wakes * SIM_MS);
}

static void
on_wake(struct sim *s, struct sim_event *ev)
{
	(void)s;
	pump(container_of(ev, struct receiver, wake));
}

static struct ask *
find_unit(struct receiver *r, uint64_t source, uint32_t unit)
{
	array_each (at, &r->asks)
		if ((*at)->type == FRAME_GET_UNITS && (*at)->unit == unit &&
		    (*at)->source->index == source)
			return *at;
	return NULL;
}

static void
on_check(struct sim *s, struct sim_event *ev)
{
	struct receiver *r = container_of(ev, struct receiver, check);
	uint64_t source;
	uint32_t unit;

	while (transfer_stalled(r->transfer, sim_now_ms(s), &source, &unit)) {
		struct ask *a = find_unit(r, source, unit);
		WORLD_REQUIRE(r->w, a != NULL);
		r->stalls++;
		session_cancel(a->source->shell.session, a->stream);
		shell_flush(&a->source->shell);
		end_unit(a, 0);
	}
	sim_at(s, &r->check, s->now_us + CHECK_MS * SIM_MS);
	pump(r);
}

/* -- sources -- */

static void
dial(struct source *src)
{
	struct world *w = src->r->w;
	struct server_conn *c = server_accept(src->server, true);

	shell_clear(&src->shell);
	shell_init(&src->shell, &w->sim, 0, &events, src);
	src->wire = wire_dial(&w->sim, &(struct wire_opts){ .from = src->r->node,
					   .to = src->server->node,
					   .window = w->window,
					   .loss_per_million = w->loss_per_million,
					   .reset_per_million = w->reset_per_million,
					   .events = { &shell_wire_events, &shell_wire_events },
					   .ctx = { &src->shell, &c->shell } });
	if (src->server->lie == LIE_DEAF)
		wire_stop_reading(src->wire, 1);
	array_push(&w->wires, src->wire);
}

static void
on_redial(struct sim *s, struct sim_event *ev)
{
	(void)s;
	dial(container_of(ev, struct source, redial));
}

void
receiver_add_source(struct receiver *r, struct server *s)
{
	struct source *src = mem_new(struct source);

	*src = (struct source){ .r = r, .index = (uint32_t)r->sources.len, .server = s };
	shell_init(&src->shell, &r->w->sim, 0, &events, src);
	src->redial.fn = on_redial;
	array_push(&r->sources, src);
	sim_at(
	    &r->w->sim, &src->redial, r->w->sim.now_us + rng_below(&r->w->sim.rng, 500) * SIM_MS);
}

struct receiver *
receiver_new(struct world *w, uint32_t node)
{
	struct receiver *r = mem_new(struct receiver);

	*r = (struct receiver){ .w = w, .node = node };
	r->wake.fn = on_wake;
	r->check.fn = on_check;
	array_push(&w->receivers, r);
	return r;
}

void
receiver_free(struct receiver *r)
{
	sim_cancel(&r->w->sim, &r->wake);
	sim_cancel(&r->w->sim, &r->check);
	array_each (at, &r->sources) {
		sim_cancel(&r->w->sim, &(*at)->redial);
		shell_clear(&(*at)->shell);
	}
	while (r->asks.len > 0)
		ask_free(r->asks.at[0]);
	array_clear(&r->asks);
	array_each (at, &r->sources)
		free(*at);
	array_clear(&r->sources);
	array_clear(&r->wanted);
	map_clear(&r->seen);
	transfer_free(r->transfer);
	bitset_clear(&r->in_flight);
	commit_clear(&r->commit);
	store_clear(&r->store);
	free(r);
}
