/* What the other side may not say: each ends the connection, and nothing else. */
#include "tests/unit.h"

#include "proto/test_any.h"
#include "session/test_pair.h"

/* -- who may say what, when -- */

static void
frames_out_of_turn_end_the_connection(void **state)
{
	static const uint16_t greeting[] = { FRAME_HELLO, FRAME_BYE, FRAME_ERROR };
	static const uint16_t guest[] = { FRAME_JOIN, FRAME_PING, FRAME_PONG, FRAME_BYE,
		FRAME_ERROR };
	static const uint16_t ready[] = { FRAME_JOIN, FRAME_LEAVE, FRAME_CREATE_SHARE,
		FRAME_RESOLVE, FRAME_ANNOUNCE, FRAME_QUERY, FRAME_GET_NODES, FRAME_GET_UNITS,
		FRAME_PING, FRAME_PONG, FRAME_BYE, FRAME_ERROR, FRAME_STATEMENTS, FRAME_PROGRESS,
		FRAME_REPORT, FRAME_ENTER, FRAME_NEWS, FRAME_EXIT, FRAME_MEMBERS, FRAME_OFFER,
		FRAME_DECLINE, FRAME_NEAR, FRAME_PLACED, FRAME_DEMAND, FRAME_LEASE, FRAME_DIAL,
		FRAME_CALL };
	static const struct {
		enum session_state state;
		const uint16_t *may;
		size_t n;
	} cases[] = { { SESSION_GREETING, greeting, lengthof(greeting) },
		{ SESSION_GUEST, guest, lengthof(guest) },
		{ SESSION_READY, ready, lengthof(ready) } };
	struct any any;

	(void)state;
	any_init(&any, 5);
	for (size_t c = 0; c < lengthof(cases); c++) {
		for (uint16_t type = 1; type < 80; type++) {
			struct pair p;
			bool raw = frame_type_is_raw(type), known = frame_type_name(type) != NULL,
			     may = false;
			for (size_t i = 0; i < cases[c].n; i++)
				may = may || cases[c].may[i] == type;
			bool request = false;
			for (size_t i = 0; i < lengthof(requests); i++)
				request = request || requests[i] == type;
			set_state(&p, cases[c].state);
			if (known && !raw) {
				struct message m = any_message(&any, type);
				m.stream = request                                         ? 1
					   : type == FRAME_CANCEL || frame_type_ends(type) ? 2
											   : 0;
				if (type == FRAME_ERROR)
					m.stream = 0;
				struct buf out = BUF(1 << 20);
				assert_ok(message_encode(&m, &out, &unit_error));
				/* Larger than a guest may: for another reason than the one looked
				 * at here. */
				if (out.len <= LIMIT_FRAME_GUEST || cases[c].state == SESSION_READY)
					side_feed(&p.b, buf_bytes(&out), p.now_ms);
				else
					side_feed_frame(&p.b, type,
					    frame_type_ends(type) ? FRAME_END : 0, m.stream,
					    BYTES("", 0), p.now_ms);
				buf_clear(&out);
			} else {
				side_feed_frame(&p.b, type, 0, raw ? 2 : 0,
				    BYTES("0123456789abcdef", 16), p.now_ms);
			}
			bool skipped = !known && cases[c].state == SESSION_READY;
			bool over = type == FRAME_BYE || type == FRAME_ERROR;
			if (may && over) {
				assert_int_equal(session_state(p.b.s), SESSION_CLOSED);
			} else if (may || skipped) {
				if (session_state(p.b.s) == SESSION_CLOSED)
					unit_fail(
					    "frame %u ended it in state %d", type, cases[c].state);
			} else {
				assert_closed(&p.b, ERR_PROTO);
			}
			pair_clear(&p);
		}
	}
	any_clear(&any);
}

static void
a_second_hello_ends_the_connection(void **state)
{
	struct pair p;
	struct buf hello = pair_hello(1, 1);

	(void)state;
	pair_ready(&p);
	side_feed(&p.b, buf_bytes(&hello), p.now_ms);
	assert_closed(&p.b, ERR_PROTO);
	buf_clear(&hello);
	pair_clear(&p);
}

static void
unknown_requests_are_refused_and_unknown_frames_skipped(void **state)
{
	struct pair p;
	static uint8_t payload[LIMIT_FRAME_MESSAGE];

	(void)state;
	pair_ready(&p);
	side_feed_frame(&p.b, 500, 0xffff, 0, BYTES_OF(payload), p.now_ms);
	side_feed_frame(&p.b, 500, 0, 2, BYTES("x", 1), p.now_ms);
	assert_int_equal(session_queued(p.b.s), 0);
	side_feed_frame(&p.b, 500, 0, 1, BYTES("x", 1), p.now_ms);
	struct bytes out = session_output(p.b.s);
	struct frame_header h;
	assert_true(out.len > LIMIT_FRAME_HEADER);
	assert_ok(frame_header_decode(out.at, false, &h, &unit_error));
	assert_int_equal(h.type, FRAME_ERROR);
	assert_int_equal(h.stream, 1);
	assert_int_equal(p.b.seen.len, 0);
	/* That stream is used up. */
	side_feed_message(&p.b, &(struct message){ .type = FRAME_LEAVE, .stream = 1 }, p.now_ms);
	assert_closed(&p.b, ERR_PROTO);
	pair_clear(&p);
}

static void
answers_to_nothing_end_the_connection(void **state)
{
	static const uint16_t types[] = { FRAME_OK, FRAME_SNAPSHOT, FRAME_ROWS, FRAME_NODE,
		FRAME_DATA, FRAME_JOINED, FRAME_ERROR };
	static const uint32_t streams[] = { 1, 2, 3, 4, UINT32_MAX };

	(void)state;
	for (size_t t = 0; t < lengthof(types); t++) {
		for (size_t i = 0; i < lengthof(streams); i++) {
			struct pair p;
			pair_ready(&p);
			side_feed_frame(&p.b, types[t], frame_type_ends(types[t]) ? FRAME_END : 0,
			    streams[i], BYTES("0123456789abcdef", 16), p.now_ms);
			assert_closed(&p.b, ERR_PROTO);
			pair_clear(&p);
		}
	}
}

static void
a_second_answer_ends_the_connection(void **state)
{
	struct pair p;
	const struct message ok = { .type = FRAME_OK, .stream = 1 };

	(void)state;
	pair_ready(&p);
	ask(&p.a, (struct message){ .type = FRAME_LEAVE }, NULL);
	side_feed_message(&p.a, &ok, p.now_ms);
	assert_int_equal(side_count(&p.a, SESSION_EV_ANSWER), 1);
	side_feed_message(&p.a, &ok, p.now_ms);
	assert_closed(&p.a, ERR_PROTO);
	assert_int_equal(side_count(&p.a, SESSION_EV_LOST), 0);
	pair_clear(&p);
}

/* A good answer of TYPE on stream 1, as to one node, or leaves 10..13 of unit 7. */
static void
feed_answer(struct pair *p, struct any *any, uint16_t type)
{
	struct block *b = type == FRAME_NODE ? pair_node(0, 9) : pair_data(7, 10, 4, 50);

	if (type == FRAME_NODE || type == FRAME_DATA) {
		side_feed_frame(&p->a, type, FRAME_END, 1, BYTES(b->bytes, b->len), p->now_ms);
	} else {
		struct message m = any_message(any, type);
		m.stream = 1;
		side_feed_message(&p->a, &m, p->now_ms);
	}
	block_free(b);
}

static void
only_an_answer_of_the_right_kind_is_taken(void **state)
{
	(void)state;
	for (size_t q = 0; q < lengthof(requests); q++) {
		for (size_t w = 0; w < lengthof(answers); w++) {
			struct pair p;
			struct any any;
			any_init(&any, 6);
			struct message m = any_message(&any, requests[q]);
			if (m.type == FRAME_GET_NODES)
				m = pair_get_nodes(1);
			if (m.type == FRAME_GET_UNITS)
				m = pair_get_units(7, 10, 4);
			pair_ready(&p);
			ask(&p.a, m, &p);
			feed_answer(&p, &any, answers[w]);
			bool right = answers[w] == answers[q];
			if (right)
				assert_int_equal(session_state(p.a.s), SESSION_READY);
			else
				assert_closed(&p.a, ERR_PROTO);
			assert_int_equal(side_count(&p.a, SESSION_EV_LOST), !right);
			assert_int_equal(p.a.seen.at[0].end, right);
			any_clear(&any);
			pair_clear(&p);
		}
	}
}

static void
streams_of_the_wrong_side_or_order_end_the_connection(void **state)
{
	static const struct {
		uint16_t type;
		uint32_t stream;
	} bad[] = { { FRAME_LEAVE, 0 }, { FRAME_LEAVE, 2 }, { FRAME_LEAVE, 5 }, { FRAME_LEAVE, 3 },
		{ FRAME_CANCEL, 0 }, { FRAME_CANCEL, 2 }, { FRAME_CANCEL, 7 }, { FRAME_PING, 1 },
		{ FRAME_BYE, 1 } };

	(void)state;
	for (size_t i = 0; i < lengthof(bad); i++) {
		struct pair p;
		pair_ready(&p);
		side_feed_message(
		    &p.b, &(struct message){ .type = FRAME_LEAVE, .stream = 5 }, p.now_ms);
		assert_int_equal(session_state(p.b.s), SESSION_READY);
		side_feed_message(&p.b,
		    &(struct message){ .type = bad[i].type, .stream = bad[i].stream }, p.now_ms);
		assert_closed(&p.b, ERR_PROTO);
		pair_clear(&p);
	}
}

static void
a_payload_that_does_not_decode_ends_the_connection(void **state)
{
	struct pair p;

	(void)state;
	pair_ready(&p);
	side_feed_frame(&p.b, FRAME_RESOLVE, 0, 1, BYTES("garbage", 7), p.now_ms);
	assert_closed(&p.b, ERR_PROTO);
	assert_int_equal(side_count(&p.b, SESSION_EV_REQUEST), 0);
	/* The other side learns why. */
	side_feed(&p.a, session_output(p.b.s), p.now_ms);
	assert_closed(&p.a, ERR_PROTO);
	pair_clear(&p);
}

/* -- raw frames -- */

/* Feeds A, who asked for leaves 10..13 of unit 7, one frame. */
static void
feed_data(struct pair *p, uint32_t unit, uint32_t first, uint32_t n, uint16_t flags)
{
	struct block *b = pair_data(unit, first, n, 50);

	side_feed_frame(&p->a, FRAME_DATA, flags, 1, BYTES(b->bytes, b->len), p->now_ms);
	block_free(b);
}

static void
data_that_was_not_asked_for_ends_the_connection(void **state)
{
	static const struct {
		uint32_t unit, first, n;
		uint16_t flags;
		bool ok;
	} cases[] = {
		{ 7, 10, 1, 0, true }, { 7, 10, 4, FRAME_END, true },
		{ 8, 10, 1, 0, false },                                 /* another unit */
		{ 7, 11, 1, 0, false },                                 /* not in order */
		{ 7, 9, 2, 0, false },                                  /* leaves not asked for */
		{ 7, 10, 5, FRAME_END, false },                         /* more */
		{ 7, 10, 5, 0, false }, { 7, 10, 3, FRAME_END, false }, /* ends too early */
		{ 7, 10, 4, 0, false },                                 /* does not end */
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		struct pair p;
		pair_ready(&p);
		ask(&p.a, pair_get_units(7, 10, 4), &p);
		feed_data(&p, cases[i].unit, cases[i].first, cases[i].n, cases[i].flags);
		if (cases[i].ok) {
			assert_int_equal(session_state(p.a.s), SESSION_READY);
			assert_int_equal(side_count(&p.a, SESSION_EV_RAW), 1);
		} else {
			assert_closed(&p.a, ERR_PROTO);
			assert_int_equal(side_count(&p.a, SESSION_EV_RAW), 0);
			assert_int_equal(side_count(&p.a, SESSION_EV_LOST), 1);
		}
		pair_clear(&p);
	}
}

static void
packed_data_comes_only_to_who_said_that_it_understands_it(void **state)
{
	const struct data_prefix packed = {
		.unit = 7, .first_leaf = 10, .n_leaves = 4, .codec = DATA_ZSTD
	};

	(void)state;
	for (int codecs = 0; codecs < 4; codecs++) {
		struct message m = pair_get_units(7, 10, 4);
		struct block *b = pair_data(7, 10, 4, 50);
		struct pair p;
		pair_ready(&p);
		m.get_units.codecs = (uint8_t)codecs;
		ask(&p.a, m, &p);
		frame_data_encode(&packed, b->bytes);
		side_feed_frame(&p.a, FRAME_DATA, FRAME_END, 1, BYTES(b->bytes, b->len), p.now_ms);
		if (codecs & GET_UNITS_ZSTD)
			assert_int_equal(side_count(&p.a, SESSION_EV_RAW), 1);
		else
			assert_closed(&p.a, ERR_PROTO);
		block_free(b);
		pair_clear(&p);
	}
}

static void
data_twice_or_after_the_end_ends_the_connection(void **state)
{
	struct pair p;

	(void)state;
	pair_ready(&p);
	ask(&p.a, pair_get_units(7, 10, 4), &p);
	feed_data(&p, 7, 10, 2, 0);
	feed_data(&p, 7, 10, 2, 0);
	assert_closed(&p.a, ERR_PROTO);
	pair_clear(&p);
	pair_ready(&p);
	ask(&p.a, pair_get_units(7, 10, 4), &p);
	feed_data(&p, 7, 10, 4, FRAME_END);
	feed_data(&p, 7, 14, 1, FRAME_END);
	assert_closed(&p.a, ERR_PROTO);
	pair_clear(&p);
}

static void
several_runs_are_answered_run_by_run(void **state)
{
	struct message m = pair_get_units(7, 2, 2);
	struct pair p;

	(void)state;
	m.get_units.n_runs = 3;
	m.get_units.runs[1] = (struct leaf_run){ 6, 1 };
	m.get_units.runs[2] = (struct leaf_run){ 7, 3 };
	pair_ready(&p);
	ask(&p.a, m, &p);
	feed_data(&p, 7, 2, 2, 0);
	feed_data(&p, 7, 6, 1, 0);
	feed_data(&p, 7, 7, 1, 0);
	feed_data(&p, 7, 8, 2, FRAME_END);
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	assert_int_equal(side_count(&p.a, SESSION_EV_RAW), 4);
	pair_clear(&p);
	pair_ready(&p);
	ask(&p.a, m, &p);
	feed_data(&p, 7, 2, 2, FRAME_END); /* a run is not all */
	assert_closed(&p.a, ERR_PROTO);
	pair_clear(&p);
	pair_ready(&p);
	ask(&p.a, m, &p);
	feed_data(&p, 7, 2, 2, 0);
	feed_data(&p, 7, 4, 1, 0); /* what lies between was not asked for */
	assert_closed(&p.a, ERR_PROTO);
	pair_clear(&p);
}

static void
nodes_out_of_order_or_number_end_the_connection(void **state)
{
	static const struct {
		uint32_t index[3];
		uint16_t flags[3];
		size_t bytes[3];
		unsigned n;
		bool ok;
	} cases[] = {
		{ { 0, 1, 2 }, { 0, FRAME_MISSING, FRAME_END }, { 9, 0, 9 }, 3, true },
		{ { 0, 2 }, { 0, FRAME_END }, { 9, 9 }, 2, false },
		{ { 1 }, { 0 }, { 9 }, 1, false },
		{ { 0, 0 }, { 0, 0 }, { 9, 9 }, 2, false },
		{ { 0 }, { FRAME_END }, { 9 }, 1, false },
		{ { 0, 1, 2 }, { 0, 0, 0 }, { 9, 9, 9 }, 3, false },
		{ { 0 }, { FRAME_MISSING }, { 9 }, 1, false },
		{ { 0 }, { 0 }, { 0 }, 1, false },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		struct pair p;
		pair_ready(&p);
		ask(&p.a, pair_get_nodes(3), &p);
		for (unsigned k = 0; k < cases[i].n; k++) {
			struct block *b = pair_node(cases[i].index[k], cases[i].bytes[k]);
			side_feed_frame(&p.a, FRAME_NODE, cases[i].flags[k], 1,
			    BYTES(b->bytes, b->len), p.now_ms);
			block_free(b);
		}
		if (cases[i].ok)
			assert_int_equal(side_count(&p.a, SESSION_EV_RAW), 3);
		else
			assert_closed(&p.a, ERR_PROTO);
		pair_clear(&p);
	}
}

/* -- limits -- */

static void
more_open_requests_than_allowed_are_refused_on_both_sides(void **state)
{
	static const struct {
		uint16_t type;
		unsigned most;
	} cases[] = { { FRAME_GET_UNITS, LIMIT_UNITS_OPEN }, { FRAME_GET_NODES, LIMIT_NODES_OPEN },
		{ FRAME_LEAVE, LIMIT_CALLS_OPEN } };

	(void)state;
	for (size_t c = 0; c < lengthof(cases); c++) {
		struct pair p;
		struct any any;
		any_init(&any, 8);
		struct message m = any_message(&any, cases[c].type);
		pair_ready(&p);
		for (unsigned i = 0; i < cases[c].most; i++)
			ask(&p.a, m, NULL);
		assert_err(ERR_LIMIT, session_request(p.a.s, &m, NULL, NULL, &unit_error));
		pair_run(&p);
		assert_int_equal(side_count(&p.b, SESSION_EV_REQUEST), cases[c].most);
		m.stream = 2 * cases[c].most + 1;
		side_feed_message(&p.b, &m, p.now_ms);
		assert_closed(&p.b, ERR_LIMIT);
		any_clear(&any);
		pair_clear(&p);
	}
}

static void
frames_too_large_are_refused_before_their_payload(void **state)
{
	static const struct {
		enum session_state state;
		uint16_t type;
		uint32_t length;
	} cases[] = {
		{ SESSION_GREETING, FRAME_HELLO, LIMIT_FRAME_GUEST + 1 },
		{ SESSION_GUEST, FRAME_JOIN, LIMIT_FRAME_GUEST + 1 },
		{ SESSION_READY, FRAME_RESOLVE, LIMIT_FRAME_MESSAGE + 1 },
		{ SESSION_READY, 999, LIMIT_FRAME_MESSAGE + 1 },
		{ SESSION_READY, FRAME_DATA, UINT32_MAX },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(cases); i++) {
		struct pair p;
		uint8_t head[LIMIT_FRAME_HEADER];
		const struct frame_header h = {
			.length = cases[i].length, .type = cases[i].type, .stream = 1
		};
		set_state(&p, cases[i].state);
		frame_header_encode(&h, head);
		side_feed(&p.b, BYTES_OF(head), p.now_ms);
		assert_closed(&p.b, ERR_LIMIT);
		pair_clear(&p);
	}
}

static void
who_asks_and_never_reads_is_let_go(void **state)
{
	struct pair p;
	struct buf raw = BUF(LIMIT_FRAME_MESSAGE);
	static uint8_t row[LIMIT_ROW];
	uint32_t stream = 1;

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		message_list_add(&raw, BYTES_OF(row));
	struct message rows = { .type = FRAME_ROWS,
		.rows = { .kind = 1, .rows = { buf_bytes(&raw), 100 } } };
	const struct message ping = { .type = FRAME_PING };
	pair_ready(&p);
	for (unsigned i = 0; i < 1000 && session_state(p.b.s) == SESSION_READY; i++, stream += 2) {
		struct message query = {
			.type = FRAME_QUERY, .stream = stream, .query = { .kind = 1 }
		};
		side_feed_message(&p.b, &query, p.now_ms);
		side_feed_message(&p.b, &ping, p.now_ms);
		assert_int_equal(session_state(p.b.s), SESSION_READY);
		rows.stream = stream;
		enum err r = session_send(p.b.s, &rows, &unit_error);
		assert_true(r == OK || r == ERR_LIMIT);
		side_drain(&p.b);
		assert_true(session_queued(p.b.s) <= LIMIT_OUTPUT_MAX);
	}
	assert_closed(&p.b, ERR_LIMIT);
	assert_int_equal(session_queued(p.b.s), 0);
	buf_clear(&raw);
	pair_clear(&p);
}

static void
pings_are_not_answered_to_who_does_not_read(void **state)
{
	struct pair p;
	const struct message ping = { .type = FRAME_PING };

	(void)state;
	pair_ready(&p);
	for (unsigned i = 0; i < 200000; i++)
		side_feed_message(&p.b, &ping, p.now_ms);
	assert_int_equal(session_state(p.b.s), SESSION_READY);
	assert_true(session_queued(p.b.s) < LIMIT_OUTPUT_QUEUE + 100);
	pair_clear(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_out_of_turn_end_the_connection),
		cmocka_unit_test(a_second_hello_ends_the_connection),
		cmocka_unit_test(unknown_requests_are_refused_and_unknown_frames_skipped),
		cmocka_unit_test(answers_to_nothing_end_the_connection),
		cmocka_unit_test(a_second_answer_ends_the_connection),
		cmocka_unit_test(only_an_answer_of_the_right_kind_is_taken),
		cmocka_unit_test(streams_of_the_wrong_side_or_order_end_the_connection),
		cmocka_unit_test(a_payload_that_does_not_decode_ends_the_connection),
		cmocka_unit_test(data_that_was_not_asked_for_ends_the_connection),
		cmocka_unit_test(packed_data_comes_only_to_who_said_that_it_understands_it),
		cmocka_unit_test(data_twice_or_after_the_end_ends_the_connection),
		cmocka_unit_test(several_runs_are_answered_run_by_run),
		cmocka_unit_test(nodes_out_of_order_or_number_end_the_connection),
		cmocka_unit_test(more_open_requests_than_allowed_are_refused_on_both_sides),
		cmocka_unit_test(frames_too_large_are_refused_before_their_payload),
		cmocka_unit_test(who_asks_and_never_reads_is_let_go),
		cmocka_unit_test(pings_are_not_answered_to_who_does_not_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
