/*
 * test_transfer_world: a receiver and some sources on loopback in one process, each with its key
 * and its connection, for the tests of what moves bytes between peers.  Nothing in it waits for
 * time: a test does the next thing when it has seen the last.
 */
#pragma once

#include "net/rate.h"
#include "manifest/test_nodes.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/array.h"
#include "crypto/test_device.h"
#include "engine/requester.h"
#include "engine/responder.h"
#include "net/listener.h"

enum { WORLD_SOURCES = 12, WORLD_LIMIT_MS = 15 * 1000, WORLD_THREADS = 64 };

/* -- what is moved -- */

struct kept_chunk {
	uint32_t len;
	struct leaf_list leaves;
	uint8_t bytes[];
};

struct content {
	struct nodes nodes;
	struct map chunks; /* id -> struct kept_chunk * */
	struct hash_id share, snapshot, root;
	uint64_t bytes;
	unsigned n_files;
	bool shrinks; /* what is added from now on repeats itself */
	struct prolly_builder *dir;
	struct rng rng;
};

/* -- who moves it -- */

enum manner { HONEST, WRONG_BYTES, WRONG_LIST, TOO_MUCH, SILENT, REFUSING };

struct world;
struct node { /* a source, and the connection to it */
	struct world *w;
	unsigned number;
	struct device_key *key;
	struct tls_ctx *tls;
	struct listener *listener;
	struct source source;
	/* its end */
	struct peer *peer;
	struct responder *responder;
	enum manner manner;
	enum err refusal;             /* REFUSING: with this */
	bool forbids;                 /* the policy */
	_Atomic uint32_t wrong_leaf;  /* WRONG_BYTES: from this leaf of each chunk on */
	const struct hash_id *absent; /* a chunk or node that can not be read */
	unsigned silent_after;        /* that many requests; 0: never */
	unsigned requests, cancels, failed;
	size_t ids; /* of nodes, that were asked for */
	struct error failure;
	uint64_t sent;
	_Atomic uint64_t leaves_read;
	void (*on_sent)(struct node *n);
	void (*on_read)(struct node *n);  /* in a job */
	struct rate *rate;                /* what it gives is held to this; NULL: nothing is */
	unsigned holds;                   /* how often */
	uint32_t window;                  /* of its responder */
	bool declines;                    /* its responder, all units */
	unsigned begun, whole, cut;       /* its answers */
	uint64_t answered, answered_wire; /* bytes of those that are over */
	unsigned blocks, unblocks;        /* as its responder said */
	void (*on_over)(struct node *n);
	bool (*on_request)(struct node *n, const struct session_event *ev); /* true: answered */
	struct throttle *throttle; /* of its end; NULL: none */
	void (*on_responder_closed)(void *ctx);
	/* our end */
	struct peer *line;
	bool cold;                 /* TCP is there, but we do not greet */
	uint64_t came, leaf_bytes; /* all of DATA and NODE; leaves of DATA */
	unsigned connections;
	bool has_why;
	struct error why; /* the connection ended */
};

struct world {
	struct check_dir dir;
	struct loop *loop;
	struct device_key *key;
	struct tls_ctx *tls;
	struct timer *limit;
	struct content content;
	struct snapshot_map *map;
	struct node nodes[WORLD_SOURCES];
	unsigned n;
	bool over;
	void (*on_ready)(struct node *n); /* greeted: ask it */
	void (*on_came)(struct node *n);  /* an event of a request was told */
	void (*on_gone)(struct node *n);  /* before its line is freed */
	void (*on_gone_after)(struct node *n);
	void *ctx;
	/* how what was asked for ended */
	bool done, closed;
	enum err result;
	struct error why;
};

/* -- content -- */

static inline void
content_begin(struct content *c, uint64_t seed)
{
	rng_seed(&c->rng, seed);
	c->dir = prolly_builder_new(HASH_TREE, HASH_DEFAULT, nodes_sink(&c->nodes));
	hash_object(HASH_DEFAULT, HASH_SHARE, BYTES_LIT("a share"), &c->share);
}

static inline struct hash_id
content_chunk(struct content *c, uint32_t len)
{
	struct kept_chunk *k = mem_alloc(sizeof *k + len);
	struct hash_id id;

	k->len = len;
	rng_fill(&c->rng, k->bytes, c->shrinks ? min_of(len, 1024U) : len);
	for (uint32_t at = 1024; c->shrinks && at < len; at++)
		k->bytes[at] = k->bytes[at - 1024];
	chunk_id_of(HASH_DEFAULT, BYTES(k->bytes, len), &k->leaves, &id);
	map_put(&c->chunks, hash_id_bytes(&id), NULL)->ptr = k;
	return id;
}

/* A file of N chunks of LEN bytes, the last one shorter by CUT. */
static inline void
content_file(struct content *c, unsigned n, uint32_t len, uint32_t cut)
{
	auto_(tree_file_builder_free_p) struct tree_file_builder *file =
	    tree_file_builder_new(HASH_DEFAULT, nodes_sink(&c->nodes));
	char name[16];

	snprintf(name, sizeof name, "f%06u", c->n_files++);
	struct tree_entry en = { .name = bytes_str(name), .type = TREE_FILE, .mode = 0644 };
	for (unsigned i = 0; i < n; i++) {
		struct tree_item item = { .len = len - (i + 1 == n ? cut : 0) };
		item.id = content_chunk(c, (uint32_t)item.len);
		assert_ok(tree_file_builder_add(file, &item, &unit_error));
	}
	assert_ok(tree_file_builder_finish(file, &en, &unit_error));
	c->bytes += en.size;
	add_entry(c->dir, &en);
}

static inline const struct kept_chunk *
content_find(const struct content *c, const struct hash_id *id)
{
	const struct kept_chunk *k = map_ptr(&c->chunks, hash_id_bytes(id));

	assert_non_null(k);
	return k;
}

static inline void
content_clear(struct content *c)
{
	map_each (it, &c->chunks)
		free(it->ptr);
	map_clear(&c->chunks);
	nodes_clear(&c->nodes);
	prolly_builder_free(c->dir);
}

/* What was added so far is the snapshot. */
static inline void
world_content(struct world *w, uint32_t unit_size)
{
	struct content *c = &w->content;

	assert_ok(prolly_builder_finish(c->dir, &c->root, &unit_error));
	hash_object(HASH_DEFAULT, HASH_COMMIT, hash_id_bytes(&c->root), &c->snapshot);
	assert_ok(snapshot_map_open(
	    w->dir.fd, nodes_source(&c->nodes), &c->root, unit_size, NULL, &w->map, &unit_error));
}

/* -- a source answers -- */

static inline enum err
node_get_node(void *ctx, const struct hash_id *share, const struct hash_id *snapshot,
    enum hash_kind kind, const struct hash_id *id, struct buf *out, struct error *e)
{
	struct node *n = ctx;
	uint8_t key[HASH_ID_BYTES + 1];
	(void)snapshot;

	nodes_key(kind, id, key);
	const struct buf *b = map_ptr(&n->w->content.nodes.kept, BYTES_OF(key));
	if (b == NULL || !hash_id_equal(share, &n->w->content.share) ||
	    (n->absent != NULL && hash_id_equal(n->absent, id)))
		return fail(e, ERR_NOTFOUND, "no such node");
	size_t at = out->len;
	buf_add_bytes(out, buf_bytes(b));
	if (n->manner == WRONG_BYTES)
		out->at[at + b->len - 1] ^= 1;
	return OK;
}

static inline enum err
node_get_map(void *ctx, const struct hash_id *share, const struct hash_id *snapshot,
    uint32_t unit_size, struct snapshot_map **ret, struct error *e)
{
	struct world *w = ((struct node *)ctx)->w;

	if (!hash_id_equal(share, &w->content.share) ||
	    !hash_id_equal(snapshot, &w->content.snapshot) ||
	    unit_size != snapshot_map_unit_size(w->map))
		return fail(e, ERR_NOTFOUND, "no such snapshot");
	*ret = w->map;
	return OK;
}

static inline void
node_put_map(void *ctx, struct snapshot_map *m)
{
	assert_ptr_equal(m, ((struct node *)ctx)->w->map);
}

static inline enum err
node_get_leaves(void *ctx, const struct source_leaves *which, uint8_t *to, uint32_t *ret_len,
    struct leaf_list *ret_leaves, struct error *e)
{
	struct node *n = ctx;
	const struct hash_id *chunk = &snapshot_map_chunk(which->map, which->chunk)->id;
	const struct kept_chunk *k = content_find(&n->w->content, chunk);
	uint32_t first = which->first, count = which->n;
	uint32_t end = min_of((first + count) * CHUNK_LEAF, k->len);

	assert_true(hash_id_equal(which->snapshot, &n->w->content.snapshot));
	assert_true(count > 0 && first + count <= chunk_id_leaf_count(k->len));
	if (n->on_read != NULL)
		n->on_read(n);
	if (n->absent != NULL && hash_id_equal(n->absent, chunk))
		return fail(e, ERR_NOTFOUND, "the file has changed");
	atomic_fetch_add(&n->leaves_read, count);
	*ret_len = end - first * CHUNK_LEAF;
	memcpy(to, k->bytes + (size_t)first * CHUNK_LEAF, *ret_len);
	if (ret_leaves != NULL)
		*ret_leaves = k->leaves;
	if (n->manner == WRONG_LIST && ret_leaves != NULL)
		ret_leaves->hash[ret_leaves->n - 1][7] ^= 1;
	for (uint32_t i = max_of(first, atomic_load(&n->wrong_leaf));
	     n->manner == WRONG_BYTES && i < first + count; i++)
		to[(size_t)(i - first) * CHUNK_LEAF] ^= 1;
	return OK;
}

static inline enum err
node_allow(void *ctx, struct peer *p, const struct responder_ask *ask, struct error *e)
{
	struct node *n = ctx;

	assert_ptr_equal(p, n->peer);
	if (n->forbids || !hash_id_equal(&ask->share, &n->w->content.share))
		return fail(e, ERR_DENIED, "no such share");
	return OK;
}

static inline enum err
node_begin(void *ctx, struct peer *p, const struct responder_ask *ask, struct error *e)
{
	struct node *n = ctx;
	(void)p;

	assert_int_equal(ask->type, FRAME_GET_UNITS);
	if (n->declines)
		return fail(e, ERR_AGAIN, "that was not offered");
	n->begun++;
	return OK;
}

static inline void
node_over(
    void *ctx, struct peer *p, const struct responder_ask *ask, const struct responder_sent *sent)
{
	struct node *n = ctx;
	(void)p;

	assert_int_equal(ask->type, FRAME_GET_UNITS);
	n->whole += sent->whole;
	n->cut += !sent->whole;
	n->answered += sent->bytes;
	n->answered_wire += sent->wire;
	if (n->on_over != NULL)
		n->on_over(n);
}

static inline void
node_blocked(void *ctx, struct peer *p, bool blocked)
{
	struct node *n = ctx;
	(void)p;

	n->blocks += blocked;
	n->unblocks += !blocked;
	assert_in_range(n->blocks - n->unblocks, 0, 1); /* in turn */
}

static inline void
node_sent(void *ctx, struct peer *p, const struct hash_id *share, uint64_t bytes)
{
	struct node *n = ctx;
	(void)p;
	(void)share;

	n->sent += bytes;
	if (n->on_sent != NULL)
		n->on_sent(n);
}

static inline void
node_failed(void *ctx, struct peer *p, const struct responder_ask *ask, const struct error *why)
{
	struct node *n = ctx;
	(void)p;
	(void)ask;

	n->failed++;
	n->failure = *why;
}

/* One leaf more than the unit can have. */
static inline void
node_send_too_much(struct node *n, const struct session_event *ev)
{
	const struct data_prefix p = { .unit = ev->message.get_units.unit,
		.first_leaf = ev->message.get_units.runs[0].first,
		.n_leaves = (uint16_t)(ev->message.get_units.runs[0].n + 1) };
	struct block *b = block_new(LIMIT_DATA_PREFIX + 1);

	frame_data_encode(&p, b->bytes);
	b->len = LIMIT_DATA_PREFIX + 1;
	session_send_raw(peer_session(n->peer), FRAME_DATA, FRAME_END, ev->stream, b);
	peer_flush(n->peer);
}

static inline void
node_on_request(struct node *n, const struct session_event *ev)
{
	bool units = ev->message.type == FRAME_GET_UNITS;
	struct error no;

	n->requests++;
	if (!units)
		n->ids += ev->message.get_nodes.ids.len / HASH_ID_BYTES;
	if (n->on_request != NULL && n->on_request(n, ev))
		return;
	if (n->manner == SILENT || (n->silent_after > 0 && n->requests > n->silent_after)) {
		return;
	} else if (n->manner == TOO_MUCH && units) {
		node_send_too_much(n, ev);
	} else if (n->manner != REFUSING && (units || ev->message.type == FRAME_GET_NODES)) {
		responder_request(n->responder, ev);
	} else {
		(void)fail(&no, n->refusal != OK ? n->refusal : ERR_NOTFOUND, "not from here");
		(void)session_answer_error(peer_session(n->peer), ev->stream, &no, 0);
		peer_flush(n->peer);
	}
}

static inline uint64_t
node_hold_ms(void *ctx, struct peer *p, const struct responder_ask *ask, uint64_t bytes)
{
	struct node *n = ctx;
	(void)p;
	(void)ask;

	if (n->rate == NULL)
		return 0;
	if (!rate_has(n->rate, loop_now_ms(n->w->loop))) {
		n->holds++;
		return rate_wait_ms(n->rate);
	}
	rate_take(n->rate, bytes);
	return 0;
}

static inline void
node_on_event(void *owner, struct peer *p, struct session_event *ev)
{
	struct node *n = owner;
	const struct responder_policy policy = { .allow = node_allow,
		.begin = node_begin,
		.over = node_over,
		.blocked = node_blocked,
		.hold_ms = node_hold_ms,
		.sent = node_sent,
		.failed = node_failed,
		.window = n->window,
		.ctx = n };

	if (ev->kind == SESSION_EV_HELLO) {
		session_admit(peer_session(p));
		n->responder = responder_new(n->w->loop, p, &n->source, &policy);
		peer_throttle(p, n->throttle);
		peer_flush(p);
	} else if (ev->kind == SESSION_EV_REQUEST) {
		node_on_request(n, ev);
	} else if (ev->kind == SESSION_EV_CANCEL) {
		n->cancels++;
		responder_cancel(n->responder, ev->stream);
	}
}

static inline void
node_on_writable(void *owner, struct peer *p)
{
	struct node *n = owner;
	(void)p;

	responder_writable(n->responder);
}

static inline void
node_on_closed(void *owner, struct peer *p, const struct error *why)
{
	struct node *n = owner;
	(void)p;
	(void)why;

	responder_close(n->responder, n->on_responder_closed, n);
	n->responder = NULL;
	n->peer = NULL;
}

static const struct peer_events node_events = { node_on_event, node_on_writable, node_on_closed };

static inline struct bytes
world_hello(struct buf *b)
{
	const struct message m = { .type = FRAME_HELLO,
		.hello = {
		    .version_min = 1, .version_max = 1, .software = BYTES_LIT("weft test") } };

	*b = BUF(LIMIT_FRAME_GUEST);
	assert_ok(message_encode(&m, b, &unit_error));
	return buf_bytes(b);
}

static inline void
node_on_conn(void *ctx, struct conn *c)
{
	struct node *n = ctx;
	auto_buf struct buf hello;

	assert_null(n->peer);
	n->peer = peer_new(n->w->loop, c, false, world_hello(&hello), &node_events, n);
}

/* -- we ask -- */

static inline uint64_t
line_leaf_bytes(const struct session_event *ev)
{
	struct data_prefix p;
	struct bytes lists, leaves = BYTES(NULL, 0);

	if (ev->header.type == FRAME_DATA)
		assert_ok(frame_data_decode(
		    BYTES(ev->block->bytes, ev->block->len), &p, &lists, &leaves, &unit_error));
	return leaves.len;
}

static inline void
line_on_event(void *owner, struct peer *p, struct session_event *ev)
{
	struct node *n = owner;
	struct world *w = n->w;

	if (ev->kind == SESSION_EV_RAW) {
		n->came += ev->block->len;
		n->leaf_bytes += line_leaf_bytes(ev);
	}
	if (requester_route(p, ev)) {
		if (w->on_came != NULL)
			w->on_came(n);
	} else if (ev->kind == SESSION_EV_HELLO) {
		session_admit(peer_session(p));
		peer_flush(p);
		n->connections++;
		if (w->on_ready != NULL)
			w->on_ready(n);
	}
}

static inline void
line_on_writable(void *owner, struct peer *p)
{
	(void)owner;
	(void)p;
}

static inline void
line_on_closed(void *owner, struct peer *p, const struct error *why)
{
	struct node *n = owner;
	(void)p;

	n->has_why = why != NULL;
	if (why != NULL)
		n->why = *why;
	if (n->w->on_gone != NULL)
		n->w->on_gone(n);
	n->line = NULL;
	if (n->w->on_gone_after != NULL && !n->w->over)
		n->w->on_gone_after(n);
}

static const struct peer_events line_events = { line_on_event, line_on_writable, line_on_closed };

static inline void
node_connect(struct node *n)
{
	char text[32];
	const char *address[] = { text };
	auto_buf struct buf hello;

	assert_null(n->line);
	snprintf(text, sizeof text, "127.0.0.1:%u", listener_port(n->listener));
	struct conn *c =
	    conn_dial(n->w->loop, n->w->tls, device_key_id(n->key), address, 1, NULL, NULL);
	n->line = peer_new(n->w->loop, c, true, world_hello(&hello), &line_events, n);
}

/* As the network would. */
static inline void
world_cut(struct peer *p)
{
	const struct error why = { .code = ERR_IO, .text = "the line is cut", .where = HERE };

	conn_close(peer_conn(p), &why);
}

/* -- the world -- */

static inline void
world_is_late(void *ctx)
{
	(void)ctx;
	unit_fail("time is up");
}

static inline struct node *
world_node(struct world *w, enum manner manner)
{
	struct node *n = &w->nodes[w->n];

	assert_true(w->n < WORLD_SOURCES);
	*n = (struct node){ .w = w, .number = w->n++, .manner = manner };
	n->source = (struct source){ .get_node = node_get_node,
		.get_map = node_get_map,
		.put_map = node_put_map,
		.get_leaves = node_get_leaves,
		.ctx = n };
	test_device(&n->key, &n->tls);
	assert_ok(listener_open(
	    w->loop, "127.0.0.1:0", n->tls, 8, node_on_conn, n, &n->listener, &unit_error));
	return n;
}

static inline void
world_init(struct world *w)
{
	*w = (struct world){ .dir = check_dir_make_fast() };
	test_device(&w->key, &w->tls);
	assert_ok(loop_new(WORLD_THREADS, &w->loop, &unit_error));
	w->limit = timer_new(w->loop, world_is_late, w);
	timer_start(w->limit, WORLD_LIMIT_MS);
	content_begin(&w->content, 1);
}

/* The loop ends when all connections have. */
static inline void
world_stop(struct world *w)
{
	if (w->over)
		return;
	w->over = true;
	for (unsigned i = 0; i < w->n; i++) {
		struct node *n = &w->nodes[i];
		if (n->line != NULL)
			peer_close(n->line, NULL);
		if (n->peer != NULL)
			peer_close(n->peer, NULL);
		listener_close(n->listener);
		n->listener = NULL;
	}
	timer_close(w->limit);
	loop_stop(w->loop);
}

/* What the test asked for has ended, which is told once; then it is closed. */
static inline void
world_done(struct world *w, enum err r, const struct error *e)
{
	assert_false(w->done);
	w->done = true;
	w->result = r;
	if (r != OK)
		w->why = *e;
}

static inline void
world_closed(void *ctx)
{
	struct world *w = ctx;

	w->closed = true;
	world_stop(w);
}

static inline void
world_clear(struct world *w)
{
	loop_free(w->loop);
	for (unsigned i = 0; i < w->n; i++) {
		tls_ctx_free(w->nodes[i].tls);
		device_key_free(w->nodes[i].key);
	}
	tls_ctx_free(w->tls);
	device_key_free(w->key);
	snapshot_map_free(w->map);
	content_clear(&w->content);
	check_dir_remove(&w->dir);
}
