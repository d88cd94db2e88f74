/*
 * test_mesh_world: two meshes on loopback, in one process.  Nothing here waits for time but for
 * what time itself is to do: a test goes on when it has seen what it waits for.
 */
#pragma once

#include "tests/unit.h"

#include "base/mem.h"
#include "base/rng.h"
#include "crypto/device_key.h"
#include "engine/mesh_private.h"
#include "net/listener.h"

enum { SIDES = 2, LIMIT_TIME_MS = 60 * 1000 };

struct world;
struct side {
	struct world *w;
	struct device_key *key;
	struct tls_ctx *tls;
	struct listener *listener;
	struct mesh *mesh;
	struct timer *delay;
	struct device_id other;
	struct peer *peer; /* the current connection */
	bool heard;        /* on it, the other's ENTER */
	bool refuses;
	unsigned ready, gone, unreachable;
	char why[ERROR_TEXT];
};
struct world {
	struct loop *loop;
	struct timer *limit, *again;
	struct side sides[SIDES]; /* the first has the smaller id */
	struct rng rng;
	bool ended;
	unsigned rounds, open, by_small, by_big, replaced;
	bool old_nodes; /* they know of no lanes */
	bool with_bbr;
	void (*on_change)(struct world *w);
	struct task changed;
};

static const struct source nothing = { 0 };

/* -- what the owner of a mesh does -- */

static inline enum err
hello(void *ctx, const char *observed, uint8_t lane, struct buf *out, struct error *e)
{
	const struct side *s = ctx;
	const struct message m = { .type = FRAME_HELLO,
		.hello = { .version_min = 1,
		    .version_max = 1,
		    .software = BYTES_LIT("weft test"),
		    .observed = bytes_str(observed),
		    .features = s->w->old_nodes ? 0 : HELLO_LANES,
		    .lane = lane } };

	return message_encode(&m, out, e);
}

static inline enum err
greeted(void *ctx, struct peer *p, const struct msg_hello *h, struct error *e)
{
	struct side *s = ctx;
	(void)p;
	(void)h;

	return s->refuses ? fail(e, ERR_DENIED, "you are no member") : OK;
}

static inline void
changed(struct side *s)
{
	task_start(&s->w->changed);
}

static inline void
on_changed(void *ctx)
{
	struct world *w = ctx;

	w->on_change(w);
	if (!w->ended) /* the end of a connection that is not current is told to nobody */
		timer_start(w->again, 1);
}

static inline void
on_ready(void *ctx, struct mesh_device *d, struct peer *p)
{
	struct side *s = ctx;
	const struct hash_id id = { .alg = HASH_SHA256, .bytes = { 1 } };
	const struct message m = { .type = FRAME_ENTER,
		.enter = { .job = 7, .share = id, .snapshot = id, .unit_size = 65536 } };

	assert_null(s->peer); /* the one before was said to be gone */
	assert_true(device_id_equal(mesh_device_id(d), &s->other));
	s->ready++;
	s->peer = p;
	s->heard = false;
	assert_ok(session_send(peer_session(p), &m, &unit_error));
	peer_flush(p);
	changed(s);
}

static inline void
on_gone(void *ctx, struct mesh_device *d, struct peer *p, const struct error *why)
{
	struct side *s = ctx;
	(void)d;

	assert_ptr_equal(s->peer, p);
	s->peer = NULL;
	s->gone++;
	snprintf(s->why, sizeof s->why, "%s", why != NULL ? why->text : "");
	changed(s);
}

static inline void
on_push(void *ctx, struct mesh_device *d, struct peer *p, const struct message *m)
{
	struct side *s = ctx;
	(void)d;

	assert_ptr_equal(s->peer, p);
	if (m->type == FRAME_BYE)
		return;
	assert_int_equal(m->type, FRAME_ENTER);
	s->heard = true;
	changed(s);
}

static inline void
on_unreachable(void *ctx, const struct device_id *device)
{
	struct side *s = ctx;

	assert_true(device_id_equal(device, &s->other));
	s->unreachable++;
	changed(s);
}

/* -- the world -- */

static inline void
on_conn(void *ctx, struct conn *c)
{
	struct side *s = ctx;

	if (s->mesh != NULL)
		mesh_accept(s->mesh, c);
	else
		conn_close(c, NULL);
}

static inline void
open_mesh(struct side *s)
{
	const struct mesh_opts o = {
		.loop = s->w->loop,
		.tls = s->tls,
		.self = *device_key_id(s->key),
		.source = &nothing,
		.hello = hello,
		.greeted = greeted,
		.on_ready = on_ready,
		.on_gone = on_gone,
		.on_push = on_push,
		.on_unreachable = on_unreachable,
		.ctx = s,
	};

	s->mesh = mesh_new(&o);
	s->w->open++;
}

static inline void
on_mesh_closed(void *ctx)
{
	struct side *s = ctx;

	s->w->open--;
	changed(s);
}

static inline void
close_mesh(struct side *s)
{
	struct mesh *m = s->mesh;

	s->mesh = NULL;
	mesh_close(m, on_mesh_closed, s);
}

static inline struct mesh_device *
tell_where(struct side *s, const struct side *other)
{
	auto_buf struct buf raw = BUF(256);
	char address[32];

	snprintf(address, sizeof address, "127.0.0.1:%u", listener_port(other->listener));
	message_list_add(&raw, bytes_str(address));
	const struct mesh_where where = {
		.device = s->other, .name = BYTES_LIT("other"), .addresses = { buf_bytes(&raw), 1 }
	};
	return mesh_know(s->mesh, &where);
}

static inline void
want_other(void *ctx)
{
	struct side *s = ctx;
	const struct side *other = s == &s->w->sides[0] ? &s->w->sides[1] : &s->w->sides[0];

	if (s->mesh != NULL) /* the other's dial was the whole round */
		mesh_want(s->mesh, tell_where(s, other), true);
}

static inline void
on_limit(void *ctx)
{
	(void)ctx;
	unit_fail("it does not end");
}

static inline int
setup(void **state)
{
	struct world *w = mem_new(struct world);

	assert_ok(loop_new(2, &w->loop, &unit_error));
	rng_seed(&w->rng, 42);
	w->limit = timer_new(w->loop, on_limit, w);
	timer_start(w->limit, LIMIT_TIME_MS);
	w->again = timer_new(w->loop, on_changed, w);
	task_init(&w->changed, w->loop, on_changed, w);
	for (size_t i = 0; i < SIDES; i++)
		assert_ok(device_key_generate(&w->sides[i].key, &unit_error));
	if (memcmp(device_key_id(w->sides[0].key), device_key_id(w->sides[1].key),
		DEVICE_ID_BYTES) > 0) {
		struct device_key *first = w->sides[0].key;
		w->sides[0].key = w->sides[1].key;
		w->sides[1].key = first;
	}
	for (size_t i = 0; i < SIDES; i++) {
		struct side *s = &w->sides[i];
		s->w = w;
		s->other = *device_key_id(w->sides[1 - i].key);
		assert_ok(tls_ctx_new(s->key, &s->tls, &unit_error));
		assert_ok(listener_open(
		    w->loop, "127.0.0.1:0", s->tls, 256, on_conn, s, &s->listener, &unit_error));
		s->delay = timer_new(w->loop, want_other, s);
	}
	*state = w;
	return 0;
}

static inline void
end_world(struct world *w)
{
	w->ended = true;
	timer_close(w->limit);
	timer_close(w->again);
	for (size_t i = 0; i < SIDES; i++) {
		listener_close(w->sides[i].listener);
		timer_close(w->sides[i].delay);
	}
	loop_stop(w->loop);
}

static inline int
teardown(void **state)
{
	struct world *w = *state;

	loop_free(w->loop);
	for (size_t i = 0; i < SIDES; i++) {
		tls_ctx_free(w->sides[i].tls);
		device_key_free(w->sides[i].key);
	}
	free(w);
	return 0;
}
