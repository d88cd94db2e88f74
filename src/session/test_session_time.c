/* Deadlines, pings, pauses, and streams that are no longer wanted. */
#include "tests/unit.h"

#include "proto/test_any.h"
#include "session/test_pair.h"

/* -- time -- */

/* Ticks as told until NOW, and returns when it closed (0: it did not). */
static uint64_t
tick_until(struct side *side, uint64_t from, uint64_t until)
{
	uint64_t next = from;

	for (unsigned n = 0; next <= until && n < 10000; n++) {
		uint64_t at = next;
		next = session_tick(side->s, at);
		side_drain(side);
		if (session_state(side->s) == SESSION_CLOSED)
			return at;
		assert_true(next > at);
	}
	return 0;
}

static void
a_greeting_that_does_not_come_ends_it(void **state)
{
	struct pair p;

	(void)state;
	pair_init(&p);
	assert_int_equal(tick_until(&p.b, 1000, 100000), 1000 + LIMIT_HANDSHAKE_MS);
	assert_closed(&p.b, ERR_OFFLINE);
	pair_clear(&p);
}

static void
a_greeting_that_drips_in_ends_it(void **state)
{
	struct pair p;
	struct buf hello = pair_hello(1, 1);
	uint64_t now = 1000;

	(void)state;
	pair_init(&p);
	for (size_t i = 0; i < hello.len && session_state(p.b.s) == SESSION_GREETING;
	     i++, now += 900) {
		side_feed(&p.b, BYTES(hello.at + i, 1), now);
		session_tick(p.b.s, now);
	}
	side_drain(&p.b);
	assert_closed(&p.b, ERR_OFFLINE);
	assert_true(now <= 1000 + LIMIT_HANDSHAKE_MS + 2 * 900);
	buf_clear(&hello);
	pair_clear(&p);
}

static void
a_guest_that_does_not_join_is_sent_away(void **state)
{
	struct pair p;
	const struct message ping = { .type = FRAME_PING };
	uint64_t now = 1000;

	(void)state;
	set_state(&p, SESSION_GUEST);
	for (; session_state(p.b.s) == SESSION_GUEST; now += 500) {
		side_feed_message(&p.b, &ping, now); /* being alive is not enough */
		session_tick(p.b.s, now);
		assert_true(now < 60000);
	}
	side_drain(&p.b);
	assert_closed(&p.b, ERR_OFFLINE);
	assert_in_range(now, 1000 + LIMIT_GUEST_MS, 1000 + LIMIT_GUEST_MS + 1000);
	pair_clear(&p);
}

static void
a_frame_that_drips_in_ends_it(void **state)
{
	struct pair p;
	uint8_t head[LIMIT_FRAME_HEADER];
	const struct frame_header h = { .length = 10000, .type = FRAME_STATEMENTS };
	uint64_t now = 1000;

	(void)state;
	pair_ready(&p);
	frame_header_encode(&h, head);
	side_feed(&p.b, BYTES_OF(head), now);
	for (; session_state(p.b.s) == SESSION_READY; now += 1000) {
		side_feed(&p.b, BYTES("x", 1), now);
		session_tick(p.b.s, now);
		assert_true(now < 1000000);
	}
	side_drain(&p.b);
	assert_closed(&p.b, ERR_OFFLINE);
	assert_in_range(now, 1000 + LIMIT_FRAME_MS, 1000 + LIMIT_FRAME_MS + 2000);
	pair_clear(&p);
}

static void
silence_is_pinged_and_then_death(void **state)
{
	struct pair p;

	(void)state;
	pair_ready(&p);
	uint64_t died = tick_until(&p.a, 1000, 1000000);
	assert_closed(&p.a, ERR_OFFLINE);
	assert_int_equal(died, 1000 + LIMIT_DEAD_PINGS * LIMIT_PING_MS);
	pair_clear(&p);
}

static void
silence_while_units_are_awaited_is_noticed_sooner(void **state)
{
	struct pair p;

	(void)state;
	pair_ready(&p);
	ask(&p.a, pair_get_units(1, 0, 1), &p);
	uint64_t died = tick_until(&p.a, 1000, 1000000);
	assert_closed(&p.a, ERR_OFFLINE);
	assert_int_equal(died, 1000 + LIMIT_DEAD_PINGS * LIMIT_PING_BUSY_MS);
	assert_int_equal(side_count(&p.a, SESSION_EV_LOST), 1);
	pair_clear(&p);
}

static void
answered_pings_keep_it_alive_and_measure_the_round_trip(void **state)
{
	struct pair p;

	(void)state;
	pair_ready(&p);
	for (unsigned i = 0; i < 100; i++) {
		uint64_t next = session_tick(p.a.s, p.now_ms);
		session_tick(p.b.s, p.now_ms);
		p.now_ms += 40; /* both ways together */
		pair_run(&p);
		p.now_ms = max_of(next, p.now_ms);
	}
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	assert_int_equal(session_state(p.b.s), SESSION_READY);
	assert_in_range(session_rtt_ms(p.a.s), 39, 41);
	assert_true(session_bytes_out(p.a.s) < 100 * 60);
	pair_clear(&p);
}

static void
only_the_first_pong_to_the_last_ping_counts(void **state)
{
	struct pair p;
	struct message pong = { .type = FRAME_PONG, .ping = { 0 } };

	(void)state;
	pair_ready(&p);
	side_feed_message(&p.a, &pong, 1000); /* to none */
	assert_int_equal(session_rtt_ms(p.a.s), 0);
	session_tick(p.a.s, 1000);
	pong.ping.token = 77; /* to another */
	side_feed_message(&p.a, &pong, 1010);
	assert_int_equal(session_rtt_ms(p.a.s), 0);
	pong.ping.token = 1;
	side_feed_message(&p.a, &pong, 1030);
	assert_int_equal(session_rtt_ms(p.a.s), 30);
	side_feed_message(&p.a, &pong, 9000); /* again */
	assert_int_equal(session_rtt_ms(p.a.s), 30);
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	pair_clear(&p);
}

/* ... and the shortest is kept; one that is under way is not overtaken. */
static void
who_wants_to_know_the_round_trip_pings_at_once(void **state)
{
	struct pair p;
	struct message pong = { .type = FRAME_PONG, .ping = { 1 } };

	(void)state;
	pair_ready(&p);
	session_tick(p.a.s, 1000);
	session_probe(p.a.s);
	uint64_t out = session_bytes_out(p.a.s) + session_queued(p.a.s);
	assert_true(session_tick(p.a.s, 1010) > 1010);
	assert_int_equal(session_bytes_out(p.a.s) + session_queued(p.a.s), out);
	side_feed_message(&p.a, &pong, 1030);
	assert_int_equal(session_rtt_min_ms(p.a.s), 30);
	session_tick(p.a.s, 1040);
	pong.ping.token = 2;
	side_feed_message(&p.a, &pong, 1045);
	assert_int_equal(session_rtt_min_ms(p.a.s), 5);
	session_probe(p.a.s);
	session_tick(p.a.s, 1050);
	pong.ping.token = 3;
	side_feed_message(&p.a, &pong, 1090);
	assert_int_equal(session_rtt_min_ms(p.a.s), 5);
	assert_in_range(session_rtt_ms(p.a.s), 20, 40);
	pair_clear(&p);
}

static void
bytes_of_any_kind_are_a_sign_of_life(void **state)
{
	struct pair p;
	struct block *b = pair_data(1, 0, 1, LIMIT_DATA_RAW);
	uint8_t head[LIMIT_FRAME_HEADER];
	const struct frame_header h = {
		.length = b->len, .type = FRAME_DATA, .flags = FRAME_END, .stream = 1
	};

	(void)state;
	pair_ready(&p);
	ask(&p.a, pair_get_units(1, 0, 1), &p);
	frame_header_encode(&h, head);
	side_feed(&p.a, BYTES_OF(head), p.now_ms);
	for (uint32_t at = 0; at < b->len; at += 1000, p.now_ms += 900) {
		session_tick(p.a.s, p.now_ms);
		side_feed(&p.a, BYTES(b->bytes + at, min_of(1000u, b->len - at)), p.now_ms);
	}
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	assert_int_equal(side_count(&p.a, SESSION_EV_RAW), 1);
	block_free(b);
	pair_clear(&p);
}

static void
our_own_pause_is_not_their_silence(void **state)
{
	struct pair p;

	(void)state;
	pair_ready(&p);
	ask(&p.a, pair_get_units(1, 0, 1), &p);
	session_paused(p.a.s, true, 1000);
	assert_int_equal(tick_until(&p.a, 1000, 100000), 0);
	session_paused(p.a.s, false, 100000);
	uint64_t died = tick_until(&p.a, 100001, 200000);
	assert_in_range(
	    died, 100000 + LIMIT_DEAD_PINGS * LIMIT_PING_BUSY_MS, 100000 + 5 * LIMIT_PING_BUSY_MS);
	pair_clear(&p);
}

static void
a_frame_may_take_long_while_we_do_not_read(void **state)
{
	struct pair p;

	(void)state;
	pair_ready(&p);
	side_feed(&p.a, BYTES("\1", 1), 1000);
	session_paused(p.a.s, true, 1000);
	session_tick(p.a.s, 1000 + 2 * LIMIT_FRAME_MS);
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	session_paused(p.a.s, false, 1000 + 2 * LIMIT_FRAME_MS);
	session_tick(p.a.s, 1000 + 2 * LIMIT_FRAME_MS);
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	pair_clear(&p);
}

/* -- cancelling -- */

static void
a_cancelled_request_has_no_more_events(void **state)
{
	struct pair p;

	(void)state;
	pair_ready(&p);
	p.b.hook = answer_all;
	uint32_t stream = ask(&p.a, pair_get_units(7, 10, 4), &p);
	session_cancel(p.a.s, stream);
	size_t queued = session_queued(p.a.s);
	session_cancel(p.a.s, stream);
	assert_int_equal(session_queued(p.a.s), queued);
	pair_run(&p);
	assert_int_equal(p.a.seen.len, 0);
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	assert_int_equal(session_state(p.b.s), SESSION_READY);
	/* Nothing is left of it: as many as before may be opened. */
	p.b.hook = NULL;
	for (unsigned i = 0; i < LIMIT_UNITS_OPEN; i++)
		ask(&p.a, pair_get_units(i, 0, 1), NULL);
	pair_clear(&p);
}

static void
cancelling_stops_what_waits_to_be_sent(void **state)
{
	struct pair p;

	(void)state;
	pair_ready(&p);
	uint32_t stream = ask(&p.a, pair_get_units(7, 0, 0), &p),
		 other = ask(&p.a, pair_get_units(8, 0, 1), &p.b);
	pair_run(&p);
	for (uint32_t i = 0; i < 10; i++)
		session_send_raw(p.b.s, FRAME_DATA, 0, stream, pair_data(7, i, 1, LIMIT_DATA_RAW));
	session_send_raw(p.b.s, FRAME_DATA, FRAME_END, other, pair_data(8, 0, 1, 5));
	session_sent(p.b.s, 0);
	/* The first block is on its way already. */
	side_feed(&p.a, bytes_slice(session_output(p.b.s), 0, 1000), p.now_ms);
	session_sent(p.b.s, 1000);
	session_cancel(p.a.s, stream);
	assert_true(pair_move(&p, &p.a, &p.b));
	const struct seen *e = side_last(&p.b, SESSION_EV_CANCEL);
	assert_non_null(e);
	assert_int_equal(e->stream, stream);
	assert_false(session_is_wanted(p.b.s, stream));
	assert_true(session_queued(p.b.s) < 2 * LIMIT_DATA_RAW);
	/* too late: nothing */
	session_send_raw(p.b.s, FRAME_DATA, 0, stream, pair_data(7, 10, 1, 9));
	pair_run(&p);
	assert_int_equal(session_queued(p.b.s), 0);
	assert_int_equal(side_count(&p.a, SESSION_EV_RAW), 1); /* of the other */
	assert_ptr_equal(side_last(&p.a, SESSION_EV_RAW)->owner, &p.b);
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	pair_clear(&p);
}

static void
a_cancel_that_crosses_the_answer_is_nothing(void **state)
{
	struct pair p;

	(void)state;
	pair_ready(&p);
	uint32_t stream = ask(&p.a, (struct message){ .type = FRAME_LEAVE }, &p);
	pair_run(&p);
	session_answer_ok(p.b.s, stream);
	session_cancel(p.a.s, stream);
	pair_run(&p);
	assert_int_equal(side_count(&p.a, SESSION_EV_ANSWER), 0);
	assert_int_equal(side_count(&p.b, SESSION_EV_CANCEL), 0);
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	assert_int_equal(session_state(p.b.s), SESSION_READY);
	session_cancel(p.a.s, stream); /* over already */
	session_cancel(p.a.s, 12345);
	assert_int_equal(session_queued(p.a.s), 0);
	pair_clear(&p);
}

static void
who_never_ends_a_cancelled_stream_is_let_go(void **state)
{
	struct pair p;
	uint64_t now = 1000;
	const struct message ping = { .type = FRAME_PING };

	(void)state;
	pair_ready(&p);
	session_cancel(p.a.s, ask(&p.a, pair_get_units(1, 0, 1), &p));
	for (; session_state(p.a.s) == SESSION_READY; now += 500) {
		side_feed_message(&p.a, &ping, now);
		session_sent(p.a.s, session_output(p.a.s).len);
		session_tick(p.a.s, now);
		assert_true(now < 1000000);
	}
	side_drain(&p.a);
	assert_closed(&p.a, ERR_OFFLINE);
	assert_in_range(now, 1000 + LIMIT_CANCEL_MS, 1000 + LIMIT_CANCEL_MS + 1000);
	assert_int_equal(side_count(&p.a, SESSION_EV_LOST), 0);
	pair_clear(&p);
}

static void
who_does_not_answer_is_let_go(void **state)
{
	static const uint16_t types[] = { FRAME_RESOLVE, FRAME_GET_NODES };
	const struct message ping = { .type = FRAME_PING };

	(void)state;
	for (size_t i = 0; i < lengthof(types); i++) {
		struct pair p;
		struct any any;
		uint64_t now = 1000;
		any_init(&any, 1);
		pair_ready(&p);
		ask(&p.a, any_message(&any, types[i]), &p);
		for (; session_state(p.a.s) == SESSION_READY; now += 500) {
			side_feed_message(&p.a, &ping, now);
			session_sent(p.a.s, session_output(p.a.s).len);
			session_tick(p.a.s, now);
			assert_true(now < 1000000);
		}
		side_drain(&p.a);
		assert_closed(&p.a, ERR_OFFLINE);
		assert_in_range(now, 1000 + LIMIT_ANSWER_MS, 1000 + LIMIT_ANSWER_MS + 1000);
		assert_int_equal(side_count(&p.a, SESSION_EV_LOST), 1);
		any_clear(&any);
		pair_clear(&p);
	}
}

static void
nodes_may_wait_behind_other_blocks(void **state)
{
	struct pair p;

	(void)state;
	pair_ready(&p);
	uint32_t units = ask(&p.a, pair_get_units(7, 0, 100), NULL);
	ask(&p.a, pair_get_nodes(1), NULL);
	pair_run(&p);
	for (uint32_t i = 0; i < 1000; i++, p.now_ms += 500) {
		session_tick(p.a.s, p.now_ms);
		if (i % 100 == 99) /* every 50 s */
			session_send_raw(p.b.s, FRAME_DATA, 0, units, pair_data(7, i / 100, 1, 9));
		pair_run(&p);
	}
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	pair_clear(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_greeting_that_does_not_come_ends_it),
		cmocka_unit_test(a_greeting_that_drips_in_ends_it),
		cmocka_unit_test(a_guest_that_does_not_join_is_sent_away),
		cmocka_unit_test(a_frame_that_drips_in_ends_it),
		cmocka_unit_test(silence_is_pinged_and_then_death),
		cmocka_unit_test(silence_while_units_are_awaited_is_noticed_sooner),
		cmocka_unit_test(answered_pings_keep_it_alive_and_measure_the_round_trip),
		cmocka_unit_test(only_the_first_pong_to_the_last_ping_counts),
		cmocka_unit_test(who_wants_to_know_the_round_trip_pings_at_once),
		cmocka_unit_test(bytes_of_any_kind_are_a_sign_of_life),
		cmocka_unit_test(our_own_pause_is_not_their_silence),
		cmocka_unit_test(a_frame_may_take_long_while_we_do_not_read),
		cmocka_unit_test(a_cancelled_request_has_no_more_events),
		cmocka_unit_test(cancelling_stops_what_waits_to_be_sent),
		cmocka_unit_test(a_cancel_that_crosses_the_answer_is_nothing),
		cmocka_unit_test(who_never_ends_a_cancelled_stream_is_let_go),
		cmocka_unit_test(who_does_not_answer_is_let_go),
		cmocka_unit_test(nodes_may_wait_behind_other_blocks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
