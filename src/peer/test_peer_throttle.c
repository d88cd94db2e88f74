/* Peers that share an uplink or a downlink. */
#include "tests/unit.h"

#include "crypto/test_device.h"
#include "net/listener.h"
#include "peer/test_side.h"

enum { TIME_MS = 40 * 1000, CALLERS = 2, FOR_A_WHILE_MS = 300 };
#define CRAWL UINT64_C(1000) /* bytes a second: a unit takes over an hour */

/* Two callers of one node, all in one loop. */
struct world {
	struct loop *loop;
	struct listener *listener;
	struct device_key *key;
	struct tls_ctx *tls;
	struct throttle *throttle;
	bool is_up; /* the node's uplink is the throttle's, else the callers' downlink */
	uint64_t rate;
	struct side callers[CALLERS], node[CALLERS];
	int accepted, open, answered;
	struct timer *limit, *timer;
	void (*on_time)(struct world *w);
};

static void
one_less(struct side *s)
{
	struct world *w = s->ctx;

	if (--w->open > 0)
		return;
	listener_close(w->listener);
	throttle_close(w->throttle);
	timer_close(w->limit);
	timer_close(w->timer);
	loop_stop(w->loop);
}

static void
prepare(struct side *s, struct world *w)
{
	s->ctx = w;
	s->on_closed = one_less;
	s->checks = true;
}

static void
on_conn(void *ctx, struct conn *c)
{
	struct world *w = ctx;
	struct side *s = &w->node[w->accepted++];

	side_open(s, w->loop, c, false);
	if (w->is_up)
		peer_throttle(s->peer, w->throttle);
}

static void
is_late(void *ctx)
{
	(void)ctx;
	unit_fail("time is up");
}

static void
on_world_time(void *ctx)
{
	struct world *w = ctx;

	w->on_time(w);
}

static void
start(struct world *w)
{
	test_device(&w->key, &w->tls);
	assert_ok(loop_new(0, &w->loop, &unit_error));
	w->throttle = throttle_new(w->loop, w->is_up ? w->rate : 0, w->is_up ? 0 : w->rate);
	w->limit = timer_new(w->loop, is_late, w);
	w->timer = timer_new(w->loop, on_world_time, w);
	timer_start(w->limit, TIME_MS);
	assert_ok(listener_open(
	    w->loop, "127.0.0.1:0", w->tls, CALLERS, on_conn, w, &w->listener, &unit_error));
	w->open = 2 * CALLERS;
	for (int i = 0; i < CALLERS; i++) {
		prepare(&w->callers[i], w);
		prepare(&w->node[i], w);
	}
}

static void
call(struct world *w, int i)
{
	char address[32];
	const char *addresses[] = { address };

	snprintf(address, sizeof address, "127.0.0.1:%u", listener_port(w->listener));
	side_open(&w->callers[i], w->loop,
	    conn_dial(w->loop, w->tls, device_key_id(w->key), addresses, 1, NULL, NULL), true);
	if (!w->is_up)
		peer_throttle(w->callers[i].peer, w->throttle);
}

static void
run(struct world *w)
{
	loop_run(w->loop);
	loop_free(w->loop);
	tls_ctx_free(w->tls);
	device_key_free(w->key);
}

static void
hang_up(struct world *w)
{
	for (int i = 0; i < CALLERS; i++)
		peer_close(w->callers[i].peer, NULL);
}

/* -- everything comes, whoever is limited -- */

static void
hang_up_when_all_has_come(struct side *s)
{
	struct world *w = s->ctx;

	for (int i = 0; i < CALLERS; i++)
		if (w->callers[i].units_come < w->callers[i].units_wanted)
			return;
	hang_up(w);
}

static void
everything_comes(bool is_up)
{
	struct world w = { .is_up = is_up, .rate = UINT64_C(100) * 1024 * 1024 };

	start(&w);
	for (int i = 0; i < CALLERS; i++) {
		w.callers[i].units_wanted = 3;
		w.callers[i].on_raw = hang_up_when_all_has_come;
		call(&w, i);
	}
	run(&w);
	for (int i = 0; i < CALLERS; i++) {
		assert_int_equal(w.callers[i].raw_bytes, 3 * SIDE_LEAVES * LIMIT_DATA_RAW);
		assert_false(w.callers[i].has_why);
	}
}

static void
everything_comes_over_a_shared_uplink(void **state)
{
	(void)state;
	everything_comes(true);
}

static void
everything_comes_over_a_shared_downlink(void **state)
{
	(void)state;
	everything_comes(false);
}

/* -- a crawling uplink: the other caller's question is answered at once -- */

static void
ask_the_other(struct side *s)
{
	struct world *w = s->ctx;

	if (w->callers[1].peer == NULL)
		call(w, 1);
}

static void
hang_up_when_answered(struct world *w)
{
	if (w->callers[1].answers == 0) {
		timer_start(w->timer, 10);
		return;
	}
	w->answered++;
	hang_up(w);
}

static void
ask(struct side *s)
{
	assert_ok(side_ask(s, FRAME_QUERY, 0, &unit_error));
	timer_start(((struct world *)s->ctx)->timer, 10);
}

static void
a_message_goes_out_while_blocks_wait_for_the_uplink(void **state)
{
	struct world w = { .is_up = true, .rate = CRAWL, .on_time = hang_up_when_answered };

	(void)state;
	start(&w);
	w.callers[0].units_wanted = 1;
	w.callers[0].on_admitted = ask_the_other;
	w.callers[1].on_admitted = ask;
	call(&w, 0);
	run(&w);
	assert_int_equal(w.answered, 1);
	assert_int_equal(w.callers[0].units_come, 0);
	assert_int_equal(w.callers[0].lost, 1);
}

/* -- a crawling downlink: what is not read is not sent -- */

static void
look_how_much_has_gone(struct world *w)
{
	uint64_t gone = 0;

	for (int i = 0; i < CALLERS; i++)
		if (w->node[i].peer != NULL)
			gone += session_bytes_out(peer_session(w->node[i].peer));
	/* of 4 MiB each: what the sockets and TLS hold between them */
	assert_in_range(gone, 1, 3 * 1024 * 1024);
	for (int i = 0; i < CALLERS; i++)
		assert_true(w->callers[i].raw_bytes <= LIMIT_DATA_RAW);
	w->answered++;
	hang_up(w);
}

static void
a_node_that_may_not_read_slows_its_senders(void **state)
{
	struct world w = { .rate = CRAWL, .on_time = look_how_much_has_gone };

	(void)state;
	start(&w);
	for (int i = 0; i < CALLERS; i++) {
		w.callers[i].units_wanted = 1;
		call(&w, i);
	}
	timer_start(w.timer, FOR_A_WHILE_MS);
	run(&w);
	assert_int_equal(w.answered, 1);
}

/* -- a limit that is lifted -- */

static void
lift(struct world *w)
{
	for (int i = 0; i < CALLERS; i++)
		peer_throttle(w->callers[i].peer, NULL);
}

static void
whoever_waited_goes_on_when_the_limit_is_lifted(void **state)
{
	struct world w = { .rate = CRAWL, .on_time = lift };

	(void)state;
	start(&w);
	for (int i = 0; i < CALLERS; i++) {
		w.callers[i].units_wanted = 1;
		w.callers[i].on_raw = hang_up_when_all_has_come;
		call(&w, i);
	}
	timer_start(w.timer, FOR_A_WHILE_MS);
	run(&w);
	for (int i = 0; i < CALLERS; i++)
		assert_int_equal(w.callers[i].raw_bytes, SIDE_LEAVES * LIMIT_DATA_RAW);
}

/* -- far and near -- */

static void
one_comes_near(struct world *w)
{
	for (int i = 0; i < CALLERS; i++)
		assert_int_equal(w->callers[i].units_come, 0);
	peer_near(w->node[0].peer, true);
	assert_true(peer_is_near(w->node[0].peer));
	assert_false(peer_is_near(w->node[1].peer));
}

static void
hang_up_when_one_has_it(struct side *s)
{
	struct world *w = s->ctx;

	if (s->units_come == 1)
		hang_up(w);
}

static void
who_is_near_does_not_wait_for_the_limit_of_the_far(void **state)
{
	struct world w = { .is_up = true, .on_time = one_comes_near };

	(void)state;
	start(&w);
	throttle_limit(w.throttle, THROTTLE_UP, THROTTLE_FAR, CRAWL);
	for (int i = 0; i < CALLERS; i++) {
		w.callers[i].units_wanted = 1;
		w.callers[i].on_raw = hang_up_when_one_has_it;
		call(&w, i);
	}
	timer_start(w.timer, FOR_A_WHILE_MS);
	run(&w);
	assert_int_equal(w.callers[0].units_come + w.callers[1].units_come, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_comes_over_a_shared_uplink),
		cmocka_unit_test(everything_comes_over_a_shared_downlink),
		cmocka_unit_test(a_message_goes_out_while_blocks_wait_for_the_uplink),
		cmocka_unit_test(a_node_that_may_not_read_slows_its_senders),
		cmocka_unit_test(who_is_near_does_not_wait_for_the_limit_of_the_far),
		cmocka_unit_test(whoever_waited_goes_on_when_the_limit_is_lifted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
