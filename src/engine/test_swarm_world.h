/*
 * test_swarm_world: members of one snapshot's swarm on loopback in one process, each with its key,
 * its connections, a sink in memory and a swarm_node, for tests of what they do together.  A test
 * moves time itself (ahead_ms); nothing waits for it.
 */
#pragma once

#include "engine/test_memory_sink.h"

#include "engine/swarm_node.h"

enum { MEMBERS_MAX = 6, LINKS_MAX = 96, SWARM_WORLD_UNIT = 64 * 1024 };

struct member;
struct link { /* one end of a connection */
	struct member *m;
	struct peer *peer; /* NULL: it is over */
	struct responder *responder;
};
struct swarm_world;
struct member {
	struct swarm_world *sw;
	unsigned number;
	enum manner manner; /* HONEST, WRONG_BYTES, SILENT */
	bool last_resort;
	struct device_key *key;
	struct tls_ctx *tls;
	struct listener *listener;
	struct source source;
	struct link links[LINKS_MAX];
	unsigned n_links;
	struct swarm_node *node;
	/* its sink */
	struct memory_sink memory;
	bool whole;                /* it reads from the content, whatever its sink has */
	uint32_t wants_below;      /* chunks */
	_Atomic(enum err) refuses; /* take fails with this */
	atomic_uint flushes;
	const struct hash_id *absent; /* a chunk that can not be read */
	/* what was seen */
	atomic_uint relayed; /* leaves given while something was missing */
	unsigned requests, cancels, declines, liars, lost, dones, stopped;
	struct member *liar;
	enum err result;
	struct error why, loss;
};

struct swarm_world {
	struct world w;
	struct member members[MEMBERS_MAX];
	unsigned n;
	uint64_t ahead_ms; /* of the loop's clock */
	unsigned looks;    /* at the clock */
	void (*on_event)(struct swarm_world *sw);
	void (*at_end)(struct swarm_world *sw); /* while the nodes are there */
	void (*on_done)(struct member *m); /* else the world stops when all who take are done */
	void (*on_liar)(struct member *m, struct peer *p);
	unsigned takers, done, step;
	struct timer *look;
};

/* NULL: a stranger. */
static inline struct member *
member_of(struct swarm_world *sw, const struct device_id *device)
{
	for (unsigned i = 0; i < sw->n; i++) {
		if (device_id_equal(device_key_id(sw->members[i].key), device))
			return &sw->members[i];
	}
	return NULL;
}

/* -- its sink -- */

static inline enum err
member_sink_take(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	struct member *m = ctx;

	if (m->refuses != OK)
		return fail(e, m->refuses, "the sink is full");
	memory_sink_take(&m->memory, leaf);
	return OK;
}

static inline enum err
member_sink_flush(void *ctx, struct error *e)
{
	struct member *m = ctx;
	(void)e;

	atomic_fetch_add(&m->flushes, 1);
	return OK;
}

static inline uint32_t
member_sink_missing(void *ctx, uint32_t unit, struct leaf_run *runs, uint32_t *ret_bytes)
{
	struct member *m = ctx;

	return memory_sink_missing(&m->memory, m->wants_below, unit, runs, ret_bytes);
}

static inline bool
member_is_partial(void *ctx, uint32_t unit)
{
	struct member *m = ctx;
	struct leaf_run runs[LIMIT_UNIT_RUNS];
	uint32_t bytes;

	return memory_sink_missing(&m->memory, UINT32_MAX, unit, runs, &bytes) > 0;
}

/* -- what it gives -- */

static inline enum err
member_get_map(void *ctx, const struct hash_id *share, const struct hash_id *snapshot,
    uint32_t unit_size, struct snapshot_map **ret, struct error *e)
{
	struct member *m = ctx;
	(void)share;
	(void)snapshot;
	(void)unit_size;
	(void)e;

	*ret = m->sw->w.map;
	return OK;
}

static inline void
member_put_map(void *ctx, struct snapshot_map *map)
{
	(void)ctx;
	(void)map;
}

static inline enum err
member_get_leaves(void *ctx, const struct source_leaves *which, uint8_t *to, uint32_t *ret_len,
    struct leaf_list *ret_leaves, struct error *e)
{
	struct member *m = ctx;
	const struct snapshot_map_chunk *c = snapshot_map_chunk(which->map, which->chunk);
	const struct kept_chunk *k = content_find(&m->sw->w.content, &c->id);
	uint32_t end = min_of((which->first + which->n) * CHUNK_LEAF, k->len);

	for (uint32_t i = which->first; !m->whole && i < which->first + which->n; i++)
		assert_true(atomic_load(&m->memory.taken[which->chunk]) >> i & 1);
	if (m->absent != NULL && hash_id_equal(m->absent, &c->id))
		return fail(e, ERR_NOTFOUND, "the file has changed");
	*ret_len = end - which->first * CHUNK_LEAF;
	memcpy(to, k->bytes + (size_t)which->first * CHUNK_LEAF, *ret_len);
	if (ret_leaves != NULL)
		*ret_leaves = k->leaves;
	if (m->manner == WRONG_BYTES)
		to[0] ^= 1;
	return OK;
}

static inline enum err
member_allow(void *ctx, struct peer *p, const struct responder_ask *ask, struct error *e)
{
	struct link *l = ctx;
	(void)p;
	(void)ask;

	return l->m->node != NULL ? OK : fail(e, ERR_NOTFOUND, "no such share");
}

static inline enum err
member_begin(void *ctx, struct peer *p, const struct responder_ask *ask, struct error *e)
{
	struct link *l = ctx;

	return swarm_node_wanted(l->m->node, p, ask->unit)
		   ? OK
		   : fail(e, ERR_AGAIN, "that was not offered");
}

static inline void
member_over(
    void *ctx, struct peer *p, const struct responder_ask *ask, const struct responder_sent *sent)
{
	struct member *m = ((struct link *)ctx)->m;

	if (m->node == NULL)
		return;
	if (!m->whole && !swarm_node_is_complete(m->node))
		atomic_fetch_add(&m->relayed, 1);
	swarm_node_answered(m->node, p, ask->unit, sent);
}

static inline void
member_blocked(void *ctx, struct peer *p, bool blocked)
{
	struct member *m = ((struct link *)ctx)->m;

	if (m->node != NULL)
		swarm_node_blocked(m->node, p, blocked);
}

static inline void
member_failed(void *ctx, struct peer *p, const struct responder_ask *ask, const struct error *why)
{
	struct member *m = ((struct link *)ctx)->m;
	(void)p;
	(void)why;

	if (m->node != NULL)
		swarm_node_lose(m->node, ask->unit);
}

/* -- its connections -- */

static inline void
link_on_hello(struct link *l, struct peer *p)
{
	const struct responder_policy policy = { .allow = member_allow,
		.begin = member_begin,
		.over = member_over,
		.blocked = member_blocked,
		.failed = member_failed,
		.window = RESPONDER_WINDOW_SMALL,
		.ctx = l };

	const struct member *from = member_of(l->m->sw, peer_device(p));

	session_admit(peer_session(p));
	l->responder = responder_new(l->m->sw->w.loop, p, &l->m->source, &policy);
	if (l->m->node != NULL)
		swarm_node_enter(l->m->node, p,
		    &(struct swarm_peer_opts){ .last_resort = from != NULL && from->last_resort });
	peer_flush(p);
}

static inline void
link_on_event(void *owner, struct peer *p, struct session_event *ev)
{
	struct link *l = owner;
	struct member *m = l->m;

	if (requester_route(p, ev)) {
		;
	} else if (ev->kind == SESSION_EV_HELLO) {
		link_on_hello(l, p);
	} else if (ev->kind == SESSION_EV_PUSH && m->node != NULL &&
		   ev->message.type != FRAME_BYE) {
		m->declines += ev->message.type == FRAME_DECLINE;
		assert_ok(swarm_node_message(m->node, p, &ev->message, &unit_error));
	} else if (ev->kind == SESSION_EV_REQUEST) {
		m->requests++;
		if (m->manner != SILENT)
			responder_request(l->responder, ev);
	} else if (ev->kind == SESSION_EV_CANCEL) {
		m->cancels++;
		responder_cancel(l->responder, ev->stream);
	}
	if (m->sw->on_event != NULL && !m->sw->w.over)
		m->sw->on_event(m->sw);
}

static inline void
link_on_writable(void *owner, struct peer *p)
{
	struct link *l = owner;
	(void)p;

	responder_writable(l->responder);
}

static inline void
link_on_closed(void *owner, struct peer *p, const struct error *why)
{
	struct link *l = owner;
	(void)why;

	if (l->m->node != NULL)
		swarm_node_leave(l->m->node, p);
	responder_close(l->responder, NULL, NULL);
	l->responder = NULL;
	l->peer = NULL;
	if (l->m->sw->on_event != NULL && !l->m->sw->w.over)
		l->m->sw->on_event(l->m->sw);
}

static const struct peer_events link_events = { link_on_event, link_on_writable, link_on_closed };

static inline void
link_open(struct member *m, struct conn *c, bool dialer)
{
	struct link *l = &m->links[m->n_links];
	auto_buf struct buf hello;

	assert_true(m->n_links++ < LINKS_MAX);
	*l = (struct link){ .m = m };
	l->peer = peer_new(m->sw->w.loop, c, dialer, world_hello(&hello), &link_events, l);
}

static inline void
member_on_conn(void *ctx, struct conn *c)
{
	link_open(ctx, c, false);
}

static inline void
members_connect(struct member *from, struct member *to)
{
	char text[32];
	const char *address[] = { text };

	snprintf(text, sizeof text, "127.0.0.1:%u", listener_port(to->listener));
	link_open(from,
	    conn_dial(from->sw->w.loop, from->tls, device_key_id(to->key), address, 1, NULL, NULL),
	    true);
}

/* -- members -- */

static inline struct member *
member_new(struct swarm_world *sw, enum manner manner)
{
	struct member *m = &sw->members[sw->n];

	assert_true(sw->n < MEMBERS_MAX);
	*m = (struct member){
		.sw = sw, .number = sw->n++, .manner = manner, .wants_below = UINT32_MAX
	};
	m->source = (struct source){ .get_map = member_get_map,
		.put_map = member_put_map,
		.get_leaves = member_get_leaves,
		.ctx = m };
	test_device(&m->key, &m->tls);
	assert_ok(listener_open(
	    sw->w.loop, "127.0.0.1:0", m->tls, 32, member_on_conn, m, &m->listener, &unit_error));
	return m;
}

static inline void
member_on_liar(void *ctx, struct peer *p, uint32_t unit)
{
	struct member *m = ctx;

	m->liars++;
	m->liar = member_of(m->sw, peer_device(p));
	assert_true(unit < swarm_node_units(m->node));
	if (m->sw->on_liar != NULL)
		m->sw->on_liar(m, p);
}

static inline void
member_on_lost(void *ctx, struct peer *p, uint32_t unit, const struct error *why)
{
	struct member *m = ctx;
	(void)p;
	(void)unit;

	m->lost++;
	m->loss = *why;
}

static inline uint64_t
member_now_ms(void *ctx)
{
	struct member *m = ctx;

	m->sw->looks++;
	return loop_now_ms(m->sw->w.loop) + m->sw->ahead_ms;
}

static inline void
member_join(struct member *m, bool origin)
{
	const struct swarm_node_opts o = { .loop = m->sw->w.loop,
		.map = m->sw->w.map,
		.share = m->sw->w.content.share,
		.snapshot = m->sw->w.content.snapshot,
		.job = 1 + m->number,
		.origin = origin,
		.last_resort = m->last_resort,
		.seed = m->number,
		.on_liar = member_on_liar,
		.on_lost = member_on_lost,
		.now_ms = member_now_ms,
		.ctx = m };

	m->node = swarm_node_new(&o);
	memory_sink_init(&m->memory, &m->sw->w);
}

/* It has all of it, or says so. */
static inline struct member *
member_seed(struct swarm_world *sw, enum manner manner, bool origin)
{
	struct member *m = member_new(sw, manner);

	m->whole = true;
	member_join(m, origin);
	swarm_node_hold_all(m->node);
	return m;
}

static inline void swarm_world_stop(struct swarm_world *sw);

static inline void
member_on_done(void *ctx, enum err r, const struct error *e)
{
	struct member *m = ctx;

	m->dones++;
	m->result = r;
	if (r != OK)
		m->why = *e;
	if (m->sw->on_done != NULL)
		m->sw->on_done(m);
	else if (++m->sw->done == m->sw->takers)
		swarm_world_stop(m->sw);
}

static inline void
member_take(struct member *m)
{
	const struct swarm_node_taker t = {
		.sink = { member_sink_missing, member_sink_take, member_sink_flush, m },
		.is_partial = member_is_partial,
		.on_done = member_on_done,
		.ctx = m,
	};

	assert_true(swarm_node_take(m->node, &t));
}

static inline struct member *
member_receiver(struct swarm_world *sw)
{
	struct member *m = member_new(sw, HONEST);

	sw->takers++;
	member_join(m, false);
	member_take(m);
	return m;
}

static inline bool
member_has_all(const struct member *m)
{
	for (uint32_t c = 0; c < snapshot_map_chunks(m->sw->w.map); c++) {
		if (c < m->wants_below && m->memory.taken[c] != memory_sink_all(&m->memory, c))
			return false;
	}
	return true;
}

/* What M knows of OTHER. */
static inline struct swarm_node_peer
member_knows(const struct member *m, const struct member *other)
{
	struct swarm_node_peer rows[MEMBERS_MAX];
	size_t n = swarm_node_peers(m->node, rows, MEMBERS_MAX);

	for (size_t i = 0; i < n; i++) {
		if (device_id_equal(&rows[i].device, device_key_id(other->key)))
			return rows[i];
	}
	return (struct swarm_node_peer){ 0 };
}

/* -- the world -- */

static inline void
swarm_world_init(struct swarm_world *sw)
{
	*sw = (struct swarm_world){ 0 };
	world_init(&sw->w);
}

static inline void
swarm_world_stop(struct swarm_world *sw)
{
	if (sw->w.over)
		return;
	if (sw->at_end != NULL)
		sw->at_end(sw);
	world_stop(&sw->w);
	timer_close(sw->look);
	sw->look = NULL;
	for (unsigned i = 0; i < sw->n; i++) {
		struct member *m = &sw->members[i];
		for (unsigned k = 0; k < m->n_links; k++) {
			if (m->links[k].peer != NULL)
				peer_close(m->links[k].peer, NULL);
		}
		listener_close(m->listener);
		swarm_node_close(m->node, NULL, NULL);
		m->node = NULL;
	}
}

static inline void
swarm_world_clear(struct swarm_world *sw)
{
	for (unsigned i = 0; i < sw->n; i++) {
		tls_ctx_free(sw->members[i].tls);
		device_key_free(sw->members[i].key);
		memory_sink_clear(&sw->members[i].memory);
	}
	world_clear(&sw->w);
}

/* -- for tests -- */

static inline int
swarm_world_setup(void **state)
{
	struct swarm_world *sw = mem_new(struct swarm_world);

	swarm_world_init(sw);
	*state = sw;
	return 0;
}

static inline int
swarm_world_teardown(void **state)
{
	struct swarm_world *sw = *state;

	swarm_world_clear(sw);
	free(sw);
	return 0;
}

/* Small files, a middle one, and big chunks that no unit holds whole. */
static inline void
swarm_world_files(struct swarm_world *sw)
{
	for (unsigned i = 0; i < 40; i++)
		content_file(&sw->w.content, 1, 1 + i * 997, 0);
	content_file(&sw->w.content, 3, 192 * 1024, 1234);
	content_file(&sw->w.content, 9, 1024 * 1024, 77);
	content_file(&sw->w.content, 1, 64 * 1024, 0);
	world_content(&sw->w, SWARM_WORLD_UNIT);
}

static inline void
swarm_world_run(struct swarm_world *sw)
{
	loop_run(sw->w.loop);
}

static inline void
member_assert_whole(const struct member *m)
{
	assert_int_equal(m->dones, 1);
	check_ok(m->result, m->why);
	assert_true(member_has_all(m));
	assert_true(m->flushes > 0);
}

static inline uint32_t
swarm_world_units(const struct swarm_world *sw)
{
	return (uint32_t)snapshot_map_units(sw->w.map);
}

/* One who takes all, connected with SEED. */
static inline struct member *
member_receiver_of(struct member *seed)
{
	struct member *m = member_receiver(seed->sw);

	members_connect(m, seed);
	return m;
}
