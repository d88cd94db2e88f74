/*
 * Meshes of several devices on loopback, in one process.  Nothing here waits for time but for what
 * time itself is to do: a test goes on when it has seen what it waits for.
 */
#include "tests/unit.h"

#include "base/mem.h"
#include "base/rng.h"
#include "crypto/device_key.h"
#include "engine/mesh_private.h"
#include "net/listener.h"

enum { SIDES = 2, LIMIT_TIME_MS = 60 * 1000, ROUNDS = 200 };

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
	void (*on_change)(struct world *w);
	struct task changed;
};

static const struct source nothing = { 0 };

/* -- what the owner of a mesh does -- */

static enum err
hello(void *ctx, const char *observed, struct buf *out, struct error *e)
{
	const struct message m = { .type = FRAME_HELLO,
		.hello = { .version_min = 1,
		    .version_max = 1,
		    .software = BYTES_LIT("weft test"),
		    .observed = bytes_str(observed) } };
	(void)ctx;

	return message_encode(&m, out, e);
}

static enum err
greeted(void *ctx, struct peer *p, const struct msg_hello *h, struct error *e)
{
	struct side *s = ctx;
	(void)p;
	(void)h;

	return s->refuses ? fail(e, ERR_DENIED, "you are no member") : OK;
}

static void
changed(struct side *s)
{
	task_start(&s->w->changed);
}

static void
on_changed(void *ctx)
{
	struct world *w = ctx;

	w->on_change(w);
	if (!w->ended) /* the end of a connection that is not current is told to nobody */
		timer_start(w->again, 1);
}

static void
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

static void
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

static void
on_push(void *ctx, struct mesh_device *d, struct peer *p, const struct message *m)
{
	struct side *s = ctx;
	(void)d;

	assert_ptr_equal(s->peer, p);
	assert_int_equal(m->type, FRAME_ENTER);
	s->heard = true;
	changed(s);
}

static void
on_unreachable(void *ctx, const struct device_id *device)
{
	struct side *s = ctx;

	assert_true(device_id_equal(device, &s->other));
	s->unreachable++;
	changed(s);
}

/* -- the world -- */

static void
on_conn(void *ctx, struct conn *c)
{
	struct side *s = ctx;

	if (s->mesh != NULL)
		mesh_accept(s->mesh, c);
	else
		conn_close(c, NULL);
}

static void
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

static void
on_mesh_closed(void *ctx)
{
	struct side *s = ctx;

	s->w->open--;
	changed(s);
}

static void
close_mesh(struct side *s)
{
	struct mesh *m = s->mesh;

	s->mesh = NULL;
	mesh_close(m, on_mesh_closed, s);
}

static struct mesh_device *
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

static void
want_other(void *ctx)
{
	struct side *s = ctx;
	const struct side *other = s == &s->w->sides[0] ? &s->w->sides[1] : &s->w->sides[0];

	if (s->mesh != NULL) /* the other's dial was the whole round */
		mesh_want(s->mesh, tell_where(s, other), true);
}

static void
on_limit(void *ctx)
{
	(void)ctx;
	unit_fail("it does not end");
}

static int
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

static void
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

static int
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

/* -- both dial at once -- */

static bool
is_settled(const struct side *s)
{
	return s->mesh != NULL && s->peer != NULL && s->heard && s->mesh->lines.len == 1;
}

static void
begin_round(struct world *w)
{
	for (size_t i = 0; i < SIDES; i++) {
		struct side *s = &w->sides[i];
		s->ready = s->gone = 0;
		open_mesh(s);
		timer_start(s->delay, rng_below(&w->rng, 6));
	}
}

/* The kept one is alive in both directions, and is one connection: dialed here, taken there. */
static void
check_round(struct world *w)
{
	struct line *a = w->sides[0].mesh->lines.at[0], *b = w->sides[1].mesh->lines.at[0];

	assert_true(a->ready && b->ready);
	assert_true(a->dialed != b->dialed);
	w->by_small += a->dialed;
	w->by_big += b->dialed;
	w->replaced += w->sides[0].ready > 1 || w->sides[1].ready > 1;
	assert_true(w->sides[0].ready <= 2 && w->sides[1].ready <= 2);
}

/* What was dialed in one round is not to arrive in the next. */
static bool
is_quiet(const struct world *w)
{
	return w->open == 0 && listener_connections(w->sides[0].listener) == 0 &&
	       listener_connections(w->sides[1].listener) == 0;
}

static void
storm(struct world *w)
{
	if (w->sides[0].mesh != NULL && is_settled(&w->sides[0]) && is_settled(&w->sides[1])) {
		check_round(w);
		close_mesh(&w->sides[0]);
		close_mesh(&w->sides[1]);
	} else if (is_quiet(w) && ++w->rounds < ROUNDS) {
		begin_round(w);
	} else if (is_quiet(w)) {
		end_world(w);
	}
}

static void
of_dials_that_cross_exactly_one_connection_remains_and_nothing_is_lost(void **state)
{
	struct world *w = *state;

	w->on_change = storm;
	begin_round(w);
	loop_run(w->loop);
	assert_int_equal(w->by_small + w->by_big, ROUNDS);
	print_message("by the smaller %u, by the larger %u, replaced %u\n", w->by_small, w->by_big,
	    w->replaced);
	/* The rounds did meet the case. */
	assert_true(w->by_small > ROUNDS / 4);
	assert_true(w->replaced > 0);
}

/* -- one at a time -- */

static void
leave_when_closed(struct world *w)
{
	if (w->open == 0)
		end_world(w);
}

static void
close_both(struct world *w)
{
	w->on_change = leave_when_closed;
	for (size_t i = 0; i < SIDES; i++)
		if (w->sides[i].mesh != NULL)
			close_mesh(&w->sides[i]);
}

static void
see_refused(struct world *w)
{
	struct side *a = &w->sides[0];
	struct mesh_info info;

	if (a->gone < 1)
		return;
	assert_int_equal(a->unreachable, 0); /* it was reached */
	mesh_info(a->mesh, mesh_find(a->mesh, &a->other), &info);
	assert_int_equal(info.state, MESH_WAITING);
	check_says(info.why, "no member");
	assert_int_equal(w->sides[1].ready, 0);
	close_both(w);
}

static void
who_is_refused_is_told_why(void **state)
{
	struct world *w = *state;

	open_mesh(&w->sides[0]);
	open_mesh(&w->sides[1]);
	w->sides[1].refuses = true;
	w->on_change = see_refused;
	want_other(&w->sides[0]);
	loop_run(w->loop);
}

static void
see_unreachable(struct world *w)
{
	struct side *a = &w->sides[0];
	struct mesh_info info;

	if (a->unreachable == 0)
		return;
	mesh_info(a->mesh, mesh_find(a->mesh, &a->other), &info);
	assert_int_equal(info.state, MESH_WAITING);
	assert_int_equal(a->ready, 0);
	close_both(w);
}

static void
for_who_cannot_be_reached_a_third_is_asked(void **state)
{
	struct world *w = *state;

	open_mesh(&w->sides[0]);
	w->on_change = see_unreachable;
	want_other(&w->sides[0]);
	loop_run(w->loop);
}

static void
see_banned(struct world *w)
{
	struct side *a = &w->sides[0], *b = &w->sides[1];
	struct mesh_info info;
	struct error e;

	if (is_settled(a) && is_settled(b) && b->gone == 0) {
		(void)fail(&e, ERR_CORRUPT, "wrong bytes");
		mesh_ban(b->mesh, &b->other, &e);
		assert_null(b->peer);
	} else if (a->gone > 1) {
		/* It came again and was not let in. */
		assert_int_equal(b->ready, 1);
		mesh_info(b->mesh, mesh_find(b->mesh, &b->other), &info);
		assert_int_equal(info.state, MESH_BANNED);
		close_both(w);
	}
}

static void
who_is_banned_does_not_come_back(void **state)
{
	struct world *w = *state;

	open_mesh(&w->sides[0]);
	open_mesh(&w->sides[1]);
	w->on_change = see_banned;
	want_other(&w->sides[0]);
	loop_run(w->loop);
}

static void
see_called(struct world *w)
{
	struct side *a = &w->sides[0], *b = &w->sides[1];
	struct error e;

	if (!is_settled(a) || !is_settled(b))
		return;
	w->on_change = leave_when_closed;
	assert_true(a->mesh->lines.at[0]->dialed);
	(void)fail(&e, ERR_DENIED, "cut");
	mesh_cut(a->mesh, &a->other, &e);
	mesh_called(a->mesh, mesh_find(a->mesh, &a->other));
	assert_null(mesh_find(a->mesh, &a->other)->dial); /* too soon */
	close_both(w);
}

static void
a_call_makes_one_attempt_though_the_device_is_not_wanted(void **state)
{
	struct world *w = *state;
	struct side *a = &w->sides[0];

	open_mesh(a);
	open_mesh(&w->sides[1]);
	w->on_change = see_called;
	mesh_called(a->mesh, tell_where(a, &w->sides[1]));
	assert_non_null(mesh_find(a->mesh, &a->other)->dial);
	loop_run(w->loop);
}

/* -- strangers -- */

struct strangers {
	struct world *w;
	struct stranger {
		struct strangers *all;
		struct conn *conn; /* NULL: gone */
	} each[MESH_STRANGERS_MAX + 1];
	unsigned closed;
};

static void
nothing_to_do(void *owner)
{
	(void)owner;
}

static void
stranger_reads(void *owner)
{
	struct stranger *s = owner;
	uint8_t b[256];
	size_t n;

	while (s->conn != NULL && conn_read(s->conn, b, sizeof b, &n) == OK)
		;
}

static void
stranger_closed(void *owner, const struct error *why)
{
	struct stranger *s = owner;
	struct strangers *all = s->all;
	(void)why;

	s->conn = NULL;
	if (++all->closed == 1) {
		/* One made way; the others are there. */
		assert_int_equal(all->w->sides[0].mesh->lines.len, MESH_STRANGERS_MAX + 1);
		for (size_t i = 0; i < lengthof(all->each); i++)
			if (all->each[i].conn != NULL)
				conn_close(all->each[i].conn, NULL);
	}
	if (all->closed == lengthof(all->each))
		close_both(all->w);
}

static const struct conn_events stranger_events = { nothing_to_do, stranger_reads, nothing_to_do,
	stranger_closed };

static void
one_of_too_many_strangers_makes_way(void **state)
{
	struct world *w = *state;
	struct strangers s = { .w = w };
	struct side *a = &w->sides[0];
	char address[32];
	const char *addresses[] = { address };

	w->on_change = leave_when_closed;
	open_mesh(a);
	snprintf(address, sizeof address, "127.0.0.1:%u", listener_port(a->listener));
	for (size_t i = 0; i < lengthof(s.each); i++) {
		s.each[i].all = &s;
		s.each[i].conn = conn_dial(
		    w->loop, w->sides[1].tls, NULL, addresses, 1, &stranger_events, &s.each[i]);
	}
	loop_run(w->loop);
	assert_int_equal(s.closed, MESH_STRANGERS_MAX + 1);
	assert_int_equal(a->ready, 0);
}

/* -- more devices than there is room for -- */

static void
forget_while_closing(struct world *w)
{
	struct side *a = &w->sides[0];
	struct device_id id = { { 0 } };
	struct error e;

	if (a->mesh == NULL || !is_settled(a) || !is_settled(&w->sides[1])) {
		if (is_quiet(w) && a->mesh == NULL)
			end_world(w);
		return;
	}
	(void)fail(&e, ERR_DENIED, "enough");
	mesh_cut(a->mesh, &a->other, &e);
	for (uint32_t i = 0; i < MESH_DEVICES_MAX; i++) {
		memcpy(id.bytes, &i, sizeof i);
		mesh_ban(a->mesh, &id, &e); /* so that they stay */
	}
	close_mesh(a);
	close_mesh(&w->sides[1]);
}

static void
a_device_is_not_forgotten_before_its_connection_has_closed(void **state)
{
	struct world *w = *state;

	w->on_change = forget_while_closing;
	begin_round(w);
	loop_run(w->loop);
	assert_int_equal(w->sides[0].gone, w->sides[0].ready);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(of_dials_that_cross_exactly_one_connection_remains_and_nothing_is_lost),
		TEST(who_is_refused_is_told_why),
		TEST(for_who_cannot_be_reached_a_third_is_asked),
		TEST(who_is_banned_does_not_come_back),
		TEST(a_call_makes_one_attempt_though_the_device_is_not_wanted),
		TEST(one_of_too_many_strangers_makes_way),
		TEST(a_device_is_not_forgotten_before_its_connection_has_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
