/* Swarms that talk to each other in encoded messages, in memory; what they say is what happens. */
#include "tests/unit.h"

#include "base/array.h"
#include "session/swarm_talk.h"

enum { NODES = 4, UNITS = 500, UNIT_SIZE = 64 * 1024, BASE = 100 };

struct letter {
	uint64_t from, to;
	struct buf bytes;
};
struct asked {
	uint64_t peer;
	uint32_t unit;
};
struct node {
	struct world *w;
	uint64_t id;
	struct swarm *swarm;
	struct swarm_talk *talk;
	ARRAY(struct asked) asked, dropped;
};
struct world {
	struct node nodes[NODES];
	ARRAY(struct letter) post;
	uint64_t now_us;
	unsigned counts[256]; /* messages by type */
};

static void
on_send(void *ctx, uint64_t peer, const struct message *m)
{
	struct node *n = ctx;
	struct letter l = { n->id, peer, BUF(LIMIT_FRAME_MESSAGE) };

	assert_ok(message_encode(m, &l.bytes, &unit_error));
	n->w->counts[m->type]++;
	array_push(&n->w->post, l);
}

static void
on_take(void *ctx, uint64_t peer, uint32_t unit)
{
	struct node *n = ctx;

	array_push(&n->asked, ((struct asked){ peer, unit }));
}

static void
on_drop(void *ctx, uint64_t peer, uint32_t unit)
{
	struct node *n = ctx;

	array_push(&n->dropped, ((struct asked){ peer, unit }));
}

static void
init_node(struct world *w, unsigned i, bool takes)
{
	struct node *n = &w->nodes[i];
	const struct swarm_opts s = {
		.n_units = UNITS, .unit_size = UNIT_SIZE, .origin = i == 0, .seed = 7 + i
	};

	*n = (struct node){ .w = w, .id = i, .swarm = swarm_new(&s) };
	const struct swarm_talk_opts o = { .swarm = n->swarm,
		.job = BASE + i,
		.send = on_send,
		.take = takes ? on_take : NULL,
		.drop = on_drop,
		.ctx = n };
	n->talk = swarm_talk_new(&o);
}

static void
init_world(struct world *w)
{
	*w = (struct world){ .now_us = 1000 * 1000 };
	for (unsigned i = 0; i < NODES; i++)
		init_node(w, i, i > 0);
	for (unsigned i = 0; i < NODES; i++) {
		for (unsigned j = 0; j < NODES; j++) {
			if (i != j)
				swarm_peer_add(w->nodes[i].swarm, j, &(struct swarm_peer_opts){ 0 },
				    w->now_us);
		}
	}
}

static void
clear_world(struct world *w)
{
	for (unsigned i = 0; i < NODES; i++) {
		swarm_talk_free(w->nodes[i].talk);
		swarm_free(w->nodes[i].swarm);
		array_clear(&w->nodes[i].asked);
		array_clear(&w->nodes[i].dropped);
	}
	array_each (l, &w->post)
		buf_clear(&l->bytes);
	array_clear(&w->post);
}

/* What a peer would decode; valid as long as BYTES. */
static struct message
decoded(struct bytes b)
{
	struct frame_header h;
	struct message m;

	assert_ok(frame_header_decode(b.at, false, &h, &unit_error));
	assert_ok(message_decode(
	    &h, BYTES(b.at + LIMIT_FRAME_HEADER, b.len - LIMIT_FRAME_HEADER), &m, &unit_error));
	return m;
}

static void
deliver(struct world *w)
{
	for (size_t i = 0; i < w->post.len; i++) {
		struct letter l = w->post.at[i];
		struct message m = decoded(buf_bytes(&l.bytes));
		assert_ok(
		    swarm_talk_message(w->nodes[l.to].talk, l.from, &m, w->now_us, &unit_error));
		buf_clear(&l.bytes);
	}
	w->post.len = 0;
}

/* Everything that was asked for comes at once. */
static void
serve(struct world *w)
{
	for (unsigned i = 0; i < NODES; i++) {
		struct node *n = &w->nodes[i];
		for (size_t k = 0; k < n->asked.len; k++) {
			struct asked a = n->asked.at[k];
			struct node *from = &w->nodes[a.peer];
			assert_true(swarm_holds(from->swarm, a.unit));
			assert_true(swarm_talk_wanted(from->talk, n->id, a.unit, w->now_us));
			swarm_sent(from->swarm, n->id, a.unit, UNIT_SIZE, w->now_us);
			swarm_got(n->swarm, a.peer, a.unit, UNIT_SIZE, w->now_us);
			swarm_ended(n->swarm, a.peer, a.unit, true, w->now_us);
		}
		n->asked.len = 0;
	}
}

static void
turn(struct world *w)
{
	for (unsigned i = 0; i < NODES; i++) {
		swarm_tick(w->nodes[i].swarm, w->now_us);
		swarm_talk_pump(w->nodes[i].talk, w->now_us);
	}
	deliver(w);
	serve(w);
	w->now_us += 5000;
}

static void
what_the_origin_holds_reaches_everybody_and_nothing_twice(void **state)
{
	struct world w;
	(void)state;

	init_world(&w);
	for (uint32_t u = 0; u < UNITS; u++)
		swarm_hold(w.nodes[0].swarm, u);
	for (unsigned i = 0; i < 2000; i++)
		turn(&w);
	for (unsigned i = 0; i < NODES; i++) {
		struct swarm_stats out = { 0 };
		uint64_t in = 0;
		assert_true(swarm_is_complete(w.nodes[i].swarm));
		for (unsigned j = 0; j < NODES; j++) {
			if (swarm_peer_stats(w.nodes[i].swarm, j, &out))
				in += out.bytes_in;
		}
		assert_int_equal(in, i == 0 ? 0 : (uint64_t)UNITS * UNIT_SIZE);
	}
	assert_true(w.counts[FRAME_NEWS] > 0 && w.counts[FRAME_OFFER] >= 3 * UNITS);
	clear_world(&w);
}

static struct message
offer(uint32_t unit)
{
	return (struct message){ .type = FRAME_OFFER, .offer = { .job = BASE, .unit = unit } };
}

static struct message
last_sent(const struct world *w)
{
	assert_true(w->post.len > 0);
	return decoded(buf_bytes(&w->post.at[w->post.len - 1].bytes));
}

static void
a_refusal_says_why_and_until_when(void **state)
{
	struct world w;
	struct message m = offer(3);
	(void)state;

	init_world(&w);
	swarm_hold(w.nodes[1].swarm, 3);
	assert_ok(swarm_talk_message(w.nodes[1].talk, 0, &m, w.now_us, &unit_error));
	m = last_sent(&w);
	assert_int_equal(m.type, FRAME_DECLINE);
	assert_int_equal(m.decline.job, BASE + 1);
	assert_int_equal(m.decline.unit, 3);
	assert_int_equal(m.decline.reason, DECLINE_HELD);

	swarm_pause(w.nodes[1].swarm, true);
	m = offer(4);
	assert_ok(swarm_talk_message(w.nodes[1].talk, 0, &m, w.now_us, &unit_error));
	m = last_sent(&w);
	assert_int_equal(m.decline.reason, DECLINE_BUSY);
	assert_true(m.decline.retry_ms > 0);

	/* who takes nothing wants nothing */
	m = offer(5);
	assert_ok(swarm_talk_message(w.nodes[0].talk, 1, &m, w.now_us, &unit_error));
	m = last_sent(&w);
	assert_int_equal(m.decline.reason, DECLINE_HELD);
	clear_world(&w);
}

static void
the_time_of_a_refusal_is_kept(void **state)
{
	struct world w;
	struct message m = { .type = FRAME_DECLINE };
	uint32_t unit;
	(void)state;

	init_world(&w);
	swarm_hold(w.nodes[0].swarm, 9);
	for (unsigned i = 1; i < NODES; i++) { /* they have been heard of */
		struct message news = { .type = FRAME_NEWS, .news = { .job = BASE + i } };
		assert_ok(swarm_talk_message(w.nodes[0].talk, i, &news, w.now_us, &unit_error));
	}
	for (unsigned i = 2; i < NODES; i++)
		swarm_peer_gone(w.nodes[0].swarm, i, w.now_us);
	swarm_talk_pump(w.nodes[0].talk, w.now_us);
	assert_int_equal(w.counts[FRAME_OFFER], 1);
	unit = 9;
	m.decline = (struct msg_decline){
		.job = BASE + 1, .unit = unit, .reason = DECLINE_BUSY, .retry_ms = 700
	};
	assert_ok(swarm_talk_message(w.nodes[0].talk, 1, &m, w.now_us, &unit_error));
	w.now_us += 699 * 1000;
	swarm_talk_pump(w.nodes[0].talk, w.now_us);
	assert_int_equal(w.counts[FRAME_OFFER], 1);
	w.now_us += 1000;
	swarm_tick(w.nodes[0].swarm, w.now_us);
	swarm_talk_pump(w.nodes[0].talk, w.now_us);
	assert_int_equal(w.counts[FRAME_OFFER], 2);
	clear_world(&w);
}

static void
a_second_offer_replaces_what_has_fallen_silent(void **state)
{
	struct world w;
	struct message m = offer(11);
	(void)state;

	init_world(&w);
	assert_ok(swarm_talk_message(w.nodes[1].talk, 0, &m, w.now_us, &unit_error));
	assert_int_equal(w.nodes[1].asked.len, 1);
	assert_ok(swarm_talk_message(w.nodes[1].talk, 2, &m, w.now_us, &unit_error));
	assert_int_equal(w.nodes[1].asked.len, 1); /* it is on its way */
	w.now_us += SWARM_SUSPECT_US;
	swarm_tick(w.nodes[1].swarm, w.now_us);
	assert_ok(swarm_talk_message(w.nodes[1].talk, 2, &m, w.now_us, &unit_error));
	assert_int_equal(w.nodes[1].asked.len, 2);
	assert_int_equal(w.nodes[1].asked.at[1].peer, 2);
	assert_int_equal(w.nodes[1].dropped.len, 1);
	assert_int_equal(w.nodes[1].dropped.at[0].peer, 0);
	assert_int_equal(w.nodes[1].dropped.at[0].unit, 11);
	clear_world(&w);
}

static void
units_that_do_not_exist_are_an_error(void **state)
{
	const uint16_t types[] = { FRAME_OFFER, FRAME_DECLINE, FRAME_NEWS, FRAME_EXIT };
	struct world w;
	auto_buf struct buf list = BUF(64);
	uint32_t next = 0;
	(void)state;

	init_world(&w);
	message_units_add(&list, &next, UNITS - 1, 2);
	for (size_t i = 0; i < lengthof(types); i++) {
		struct message m = { .type = types[i] };
		if (m.type == FRAME_OFFER)
			m.offer = (struct msg_offer){ BASE, UNITS };
		else if (m.type == FRAME_DECLINE)
			m.decline = (struct msg_decline){ BASE, UNITS, DECLINE_HELD, 0 };
		else if (m.type == FRAME_NEWS)
			m.news = (struct msg_news){ .job = BASE, .await = buf_bytes(&list) };
		assert_err(
		    ERR_PROTO, swarm_talk_message(w.nodes[1].talk, 0, &m, w.now_us, &unit_error));
	}
	assert_int_equal(w.nodes[1].asked.len, 0);
	assert_false(swarm_talk_wanted(w.nodes[1].talk, 0, UNITS, w.now_us));
	clear_world(&w);
}

static void
only_what_was_offered_is_wanted_and_once(void **state)
{
	struct world w;
	struct message news = { .type = FRAME_NEWS, .news = { .job = BASE + 1 } };
	(void)state;

	init_world(&w);
	swarm_hold(w.nodes[0].swarm, 20);
	swarm_hold(w.nodes[0].swarm, 21);
	assert_ok(swarm_talk_message(w.nodes[0].talk, 1, &news, w.now_us, &unit_error));
	assert_false(swarm_talk_wanted(w.nodes[0].talk, 1, 20, w.now_us));
	swarm_talk_pump(w.nodes[0].talk, w.now_us);
	assert_int_equal(w.counts[FRAME_OFFER], 2);
	assert_false(swarm_talk_wanted(w.nodes[0].talk, 2, 20, w.now_us));
	assert_true(swarm_talk_wanted(w.nodes[0].talk, 1, 20, w.now_us));
	assert_false(swarm_talk_wanted(w.nodes[0].talk, 1, 20, w.now_us));
	clear_world(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_origin_holds_reaches_everybody_and_nothing_twice),
		cmocka_unit_test(a_refusal_says_why_and_until_when),
		cmocka_unit_test(the_time_of_a_refusal_is_kept),
		cmocka_unit_test(a_second_offer_replaces_what_has_fallen_silent),
		cmocka_unit_test(units_that_do_not_exist_are_an_error),
		cmocka_unit_test(only_what_was_offered_is_wanted_and_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
