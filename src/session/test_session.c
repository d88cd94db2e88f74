#include "tests/unit.h"

#include "proto/test_any.h"
#include "session/test_pair.h"

static const uint16_t requests[] = { FRAME_JOIN, FRAME_LEAVE, FRAME_CREATE_SHARE, FRAME_RESOLVE,
	FRAME_ANNOUNCE, FRAME_QUERY, FRAME_GET_NODES, FRAME_GET_UNITS };
static const uint16_t answers[] = { FRAME_JOINED, FRAME_OK, FRAME_SNAPSHOT, FRAME_SNAPSHOT,
	FRAME_OK, FRAME_ROWS, FRAME_NODE, FRAME_DATA };
static const uint16_t pushes[] = { FRAME_STATEMENTS, FRAME_PROGRESS, FRAME_REPORT };

static void
assert_closed(const struct side *side, enum err code)
{
	const struct seen *closed = side_last(side, SESSION_EV_CLOSED);

	assert_int_equal(session_state(side->s), SESSION_CLOSED);
	assert_non_null(closed);
	assert_int_equal(side_count(side, SESSION_EV_CLOSED), 1);
	if (closed->code != code)
		unit_fail("closed with %s, not %s", error_name(closed->code), error_name(code));
}

static uint32_t
ask(struct side *side, struct message m, void *owner)
{
	uint32_t stream = 0;

	assert_ok(session_request(side->s, &m, owner, &stream, &unit_error));
	return stream;
}

/* -- greeting -- */

static void
keep_hello(struct side *me, const struct session_event *ev)
{
	if (ev->kind == SESSION_EV_HELLO &&
	    bytes_equal(ev->message.hello.software, BYTES_LIT("weft test")))
		me->ctx = me;
}

static void
both_greet_and_are_ready_once_admitted(void **state)
{
	struct pair p;

	(void)state;
	pair_init(&p);
	p.a.hook = p.b.hook = keep_hello;
	assert_int_equal(session_state(p.a.s), SESSION_GREETING);
	pair_run(&p);
	assert_int_equal(session_state(p.a.s), SESSION_JUDGING);
	assert_int_equal(session_state(p.b.s), SESSION_JUDGING);
	assert_ptr_equal(p.a.ctx, &p.a);
	assert_ptr_equal(p.b.ctx, &p.b);
	assert_int_equal(session_version(p.a.s), 1);
	session_admit(p.a.s);
	session_admit_guest(p.b.s);
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	assert_int_equal(session_state(p.b.s), SESSION_GUEST);
	pair_clear(&p);
}

static void
nothing_is_read_until_hello_is_judged(void **state)
{
	struct pair p;
	size_t room;

	(void)state;
	pair_init(&p);
	pair_run(&p);
	assert_null(session_space(p.b.s, &room));
	assert_int_equal(room, 0);
	session_admit(p.a.s);
	ask(&p.a, (struct message){ .type = FRAME_LEAVE }, NULL);
	pair_run(&p);
	assert_int_equal(side_count(&p.b, SESSION_EV_REQUEST), 0);
	session_admit(p.b.s);
	pair_run(&p);
	assert_int_equal(side_count(&p.b, SESSION_EV_REQUEST), 1);
	pair_clear(&p);
}

static void
versions_without_overlap_end_it_on_both_sides(void **state)
{
	struct pair p;
	struct buf hello = pair_hello(LIMIT_VERSION_MAX + 1, LIMIT_VERSION_MAX + 3);

	(void)state;
	pair_init(&p);
	session_free(p.a.s);
	p.a.s = session_new(&(struct session_opts){
	    .dialer = true, .hello = buf_bytes(&hello), .now_ms = p.now_ms });
	pair_run(&p);
	assert_closed(&p.b, ERR_PROTO);
	session_admit(p.a.s);
	pair_run(&p);
	assert_closed(&p.a, ERR_PROTO);
	buf_clear(&hello);
	pair_clear(&p);
}

static void
the_highest_common_version_is_taken(void **state)
{
	struct pair p;
	struct buf hello = pair_hello(1, 40);

	(void)state;
	pair_init(&p);
	side_feed(&p.b, buf_bytes(&hello), 1000);
	assert_int_equal(session_version(p.b.s), LIMIT_VERSION_MAX);
	buf_clear(&hello);
	pair_clear(&p);
}

/* -- requests and answers -- */

/* What B does: answers everything with what fits. */
static void
answer_all(struct side *me, const struct session_event *ev)
{
	struct any any;

	if (ev->kind != SESSION_EV_REQUEST)
		return;
	uint32_t stream = ev->message.stream;
	size_t i = 0;
	while (requests[i] != ev->message.type)
		i++;
	assert_true(session_is_wanted(me->s, stream));
	if (answers[i] == FRAME_NODE) {
		uint32_t n = (uint32_t)(ev->message.get_nodes.ids.len / HASH_ID_BYTES);
		for (uint32_t k = 0; k < n; k++)
			session_send_raw(me->s, FRAME_NODE,
			    (uint16_t)((k + 1 == n ? FRAME_END : 0) |
				       (k % 3 == 2 ? FRAME_MISSING : 0)),
			    stream, pair_node(k, k % 3 == 2 ? 0 : 100));
	} else if (answers[i] == FRAME_DATA) {
		for (uint32_t k = 0; k < 4; k++)
			session_send_raw(me->s, FRAME_DATA, k == 3 ? FRAME_END : 0, stream,
			    pair_data(ev->message.get_units.unit, 10 + k, 1, LIMIT_DATA_RAW));
	} else {
		any_init(&any, stream);
		struct message m = any_message(&any, answers[i]);
		m.stream = stream;
		assert_ok(session_send(me->s, &m, &unit_error));
		any_clear(&any);
	}
	assert_false(session_is_wanted(me->s, stream));
}

static void
ask_everything(struct side *side, struct any *any)
{
	for (size_t i = 0; i < lengthof(requests); i++) {
		struct message m = any_message(any, requests[i]);
		if (m.type == FRAME_GET_UNITS)
			m = pair_get_units(7, 10, 4);
		ask(side, m, (void *)(uintptr_t)(100 + i));
	}
}

static void
every_request_gets_its_answer_and_one_end(void **state)
{
	struct pair p;
	struct any any;

	(void)state;
	any_init(&any, 3);
	pair_ready(&p);
	p.b.hook = p.a.hook = answer_all;
	ask_everything(&p.a, &any);
	ask_everything(&p.b, &any);
	pair_run(&p);
	for (size_t side = 0; side < 2; side++) {
		const struct side *me = side == 0 ? &p.a : &p.b;
		size_t ends[lengthof(requests)] = { 0 };
		assert_int_equal(side_count(me, SESSION_EV_REQUEST), lengthof(requests));
		for (size_t i = 0; i < me->seen.len; i++) {
			const struct seen *e = &me->seen.at[i];
			if (e->kind != SESSION_EV_ANSWER && e->kind != SESSION_EV_RAW)
				continue;
			size_t which = (uintptr_t)e->owner - 100;
			assert_true(which < lengthof(requests));
			assert_int_equal(e->type, answers[which]);
			assert_int_equal(e->stream % 2, side == 0 ? 1 : 0);
			ends[which] += e->end;
		}
		for (size_t i = 0; i < lengthof(requests); i++)
			assert_int_equal(ends[i], 1);
	}
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	any_clear(&any);
	pair_clear(&p);
}

static void
pushes_arrive_as_such(void **state)
{
	struct pair p;
	struct any any;

	(void)state;
	any_init(&any, 4);
	pair_ready(&p);
	for (size_t i = 0; i < lengthof(pushes); i++) {
		struct message m = any_message(&any, pushes[i]);
		m.stream = 0;
		assert_ok(session_send(p.b.s, &m, &unit_error));
	}
	pair_run(&p);
	assert_int_equal(side_count(&p.a, SESSION_EV_PUSH), lengthof(pushes));
	any_clear(&any);
	pair_clear(&p);
}

static void
blocks_come_out_as_they_went_in(void **state)
{
	struct pair p;

	(void)state;
	pair_ready(&p);
	p.b.hook = answer_all;
	ask(&p.a, pair_get_units(77, 10, 4), &p);
	pair_run(&p);
	assert_int_equal(side_count(&p.a, SESSION_EV_RAW), 4);
	for (size_t i = 0; i < 4; i++) {
		struct block *want = pair_data(77, 10 + (uint32_t)i, 1, LIMIT_DATA_RAW);
		const struct block *got = p.a.seen.at[i].block;
		assert_int_equal(got->len, want->len);
		assert_memory_equal(got->bytes, want->bytes, want->len);
		block_free(want);
	}
	pair_clear(&p);
}

static void
it_does_not_matter_how_the_bytes_are_cut(void **state)
{
	struct pair whole, cut;
	struct any any;
	struct rng rng;

	(void)state;
	rng_seed(&rng, 9);
	for (unsigned round = 0; round < 20; round++) {
		any_init(&any, round);
		pair_ready(&whole);
		pair_ready(&cut);
		whole.b.hook = cut.b.hook = answer_all;
		ask_everything(&whole.a, &any);
		any_clear(&any);
		any_init(&any, round);
		ask_everything(&cut.a, &any);
		any_clear(&any);
		pair_run(&whole);
		cut.split = &rng;
		cut.step = round == 0 ? 1 : round == 1 ? 2 : 5000;
		pair_run(&cut);
		assert_int_equal(session_bytes_in(whole.a.s), session_bytes_in(cut.a.s));
		assert_int_equal(whole.b.seen.len, cut.b.seen.len);
		assert_int_equal(session_bytes_in(cut.a.s), session_bytes_out(cut.b.s));
		pair_clear(&whole);
		pair_clear(&cut);
	}
}

static void
an_error_ends_the_request_with_its_code_and_text(void **state)
{
	struct pair p;
	struct error why;

	(void)state;
	pair_ready(&p);
	uint32_t stream = ask(&p.a, pair_get_units(1, 0, 1), &p);
	pair_run(&p);
	fail(&why, ERR_NOTFOUND, "no \x1b such\nthing");
	assert_ok(session_answer_error(p.b.s, stream, &why, 1));
	assert_false(session_is_wanted(p.b.s, stream));
	pair_run(&p);
	const struct seen *e = side_last(&p.a, SESSION_EV_ANSWER);
	assert_non_null(e);
	assert_true(e->end);
	assert_int_equal(e->code, ERR_NOTFOUND);
	assert_ptr_equal(e->owner, &p);
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	pair_clear(&p);
}

static void
answering_what_nobody_waits_for_is_told(void **state)
{
	struct pair p;
	const struct message ok = { .type = FRAME_OK, .stream = 1 }, push = { .type = FRAME_OK };
	struct message rows = { .type = FRAME_ROWS, .stream = 3, .rows = { .kind = 1 } };

	(void)state;
	pair_ready(&p);
	ask(&p.a, (struct message){ .type = FRAME_LEAVE }, NULL);
	ask(&p.a, (struct message){ .type = FRAME_LEAVE }, NULL);
	assert_err(ERR_CANCELED, session_send(p.b.s, &ok, &unit_error));
	pair_run(&p);
	assert_ok(session_send(p.b.s, &ok, &unit_error));
	assert_err(ERR_CANCELED, session_send(p.b.s, &ok, &unit_error));
	assert_err(ERR_BUG, session_send(p.b.s, &rows, &unit_error));
	assert_err(ERR_CANCELED, session_send(p.b.s, &push, &unit_error));
	rows.type = FRAME_LEAVE;
	assert_err(ERR_BUG, session_send(p.b.s, &rows, &unit_error));
	session_answer_ok(p.b.s, 99);
	session_send_raw(p.b.s, FRAME_DATA, 0, 99, pair_data(0, 0, 1, 1));
	pair_run(&p);
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	pair_clear(&p);
}

static void
requests_wait_until_the_other_side_is_admitted(void **state)
{
	struct pair p;
	struct message m = { .type = FRAME_LEAVE }, push = { .type = FRAME_STATEMENTS },
		       ping = { .type = FRAME_PING };

	(void)state;
	pair_init(&p);
	assert_err(ERR_OFFLINE, session_request(p.a.s, &m, NULL, NULL, &unit_error));
	assert_err(ERR_OFFLINE, session_send(p.a.s, &push, &unit_error));
	pair_run(&p);
	assert_err(ERR_OFFLINE, session_request(p.a.s, &m, NULL, NULL, &unit_error));
	session_admit_guest(p.a.s);
	assert_err(ERR_OFFLINE, session_request(p.a.s, &m, NULL, NULL, &unit_error));
	session_admit(p.a.s);
	assert_err(ERR_BUG, session_request(p.a.s, &ping, NULL, NULL, &unit_error));
	assert_ok(session_request(p.a.s, &m, NULL, NULL, &unit_error));
	pair_clear(&p);
}

/* -- who may say what, when -- */

static void
set_state(struct pair *p, enum session_state want)
{
	pair_init(p);
	if (want == SESSION_GREETING)
		return;
	struct buf hello = pair_hello(1, 1);
	side_feed(&p->b, buf_bytes(&hello), p->now_ms);
	buf_clear(&hello);
	if (want == SESSION_GUEST)
		session_admit_guest(p->b.s);
	else
		session_admit(p->b.s);
	side_forget(&p->b);
}

static void
frames_out_of_turn_end_the_connection(void **state)
{
	static const uint16_t greeting[] = { FRAME_HELLO, FRAME_BYE, FRAME_ERROR };
	static const uint16_t guest[] = { FRAME_JOIN, FRAME_PING, FRAME_PONG, FRAME_BYE,
		FRAME_ERROR };
	static const uint16_t ready[] = { FRAME_JOIN, FRAME_LEAVE, FRAME_CREATE_SHARE,
		FRAME_RESOLVE, FRAME_ANNOUNCE, FRAME_QUERY, FRAME_GET_NODES, FRAME_GET_UNITS,
		FRAME_PING, FRAME_PONG, FRAME_BYE, FRAME_ERROR, FRAME_STATEMENTS, FRAME_PROGRESS,
		FRAME_REPORT };
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

/* -- guests -- */

static void
a_guest_joins_and_is_a_member(void **state)
{
	struct pair p;
	struct any any;

	(void)state;
	any_init(&any, 10);
	pair_init(&p);
	pair_run(&p);
	session_admit(p.a.s);
	session_admit_guest(p.b.s);
	uint32_t stream = ask(&p.a, any_message(&any, FRAME_JOIN), &p);
	pair_run(&p);
	assert_int_equal(side_last(&p.b, SESSION_EV_REQUEST)->type, FRAME_JOIN);
	struct message joined = any_message(&any, FRAME_JOINED);
	joined.stream = stream;
	assert_ok(session_send(p.b.s, &joined, &unit_error));
	session_admit(p.b.s);
	ask(&p.a, pair_get_units(1, 0, 1), &p);
	pair_run(&p);
	assert_int_equal(side_last(&p.a, SESSION_EV_ANSWER)->type, FRAME_JOINED);
	assert_int_equal(side_last(&p.b, SESSION_EV_REQUEST)->type, FRAME_GET_UNITS);
	any_clear(&any);
	pair_clear(&p);
}

static void
a_guest_may_have_one_join_under_way(void **state)
{
	struct pair p;
	struct any any;

	(void)state;
	any_init(&any, 10);
	set_state(&p, SESSION_GUEST);
	for (uint32_t i = 0; i < 2; i++) {
		struct message join = any_message(&any, FRAME_JOIN);
		join.stream = 1 + 2 * i;
		side_feed_message(&p.b, &join, p.now_ms);
	}
	assert_closed(&p.b, ERR_LIMIT);
	any_clear(&any);
	pair_clear(&p);
}

static void
a_guest_may_try_again_after_a_no(void **state)
{
	struct pair p;
	struct any any;
	struct error why;

	(void)state;
	any_init(&any, 10);
	fail(&why, ERR_DENIED, "this invite has been used");
	set_state(&p, SESSION_GUEST);
	for (uint32_t i = 0; i < 3; i++) {
		struct message join = any_message(&any, FRAME_JOIN);
		join.stream = 1 + 2 * i;
		side_feed_message(&p.b, &join, p.now_ms);
		assert_ok(session_answer_error(p.b.s, join.stream, &why, 0));
	}
	assert_int_equal(session_state(p.b.s), SESSION_GUEST);
	any_clear(&any);
	pair_clear(&p);
}

static void
a_guest_may_not_try_for_ever(void **state)
{
	struct pair p;
	struct any any;
	struct error why;
	uint32_t tries = 0;

	(void)state;
	any_init(&any, 10);
	fail(&why, ERR_DENIED, "this invite has been used");
	set_state(&p, SESSION_GUEST);
	for (; session_state(p.b.s) == SESSION_GUEST && tries < 100; tries++) {
		struct message join = any_message(&any, FRAME_JOIN);
		join.stream = 1 + 2 * tries;
		side_feed_message(&p.b, &join, p.now_ms);
		(void)session_answer_error(p.b.s, join.stream, &why, 0);
	}
	assert_int_equal(tries, LIMIT_GUEST_TRIES + 1);
	assert_int_equal(session_state(p.b.s), SESSION_CLOSED);
	any_clear(&any);
	pair_clear(&p);
}

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

/* -- ending -- */

static void
closing_in_any_state_ends_everything_once(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		for (unsigned stage = 0; stage < 6; stage++) {
			struct pair p;
			struct error why;
			fail(&why, ERR_DENIED, "not you");
			pair_init(&p);
			if (stage >= 1)
				pair_run(&p);
			if (stage == 2)
				session_admit_guest(p.b.s);
			if (stage >= 3) {
				session_admit(p.a.s);
				session_admit(p.b.s);
			}
			if (stage >= 4) {
				for (unsigned i = 0; i < 4; i++)
					ask(&p.b, pair_get_units(i, 0, 1), &p);
				session_cancel(p.b.s, ask(&p.b, pair_get_units(4, 0, 1), &p));
			}
			if (stage == 5)
				pair_run(&p);
			size_t lost = stage >= 4 ? 4 : 0;
			side_forget(&p.b);
			for (unsigned twice = 0; twice < 2; twice++) {
				if (how == 0)
					session_close(p.b.s, NULL);
				else if (how == 1)
					session_close(p.b.s, &why);
				else
					session_abort(p.b.s, &why);
				side_drain(&p.b);
			}
			assert_closed(&p.b, how == 0 ? OK : ERR_DENIED);
			assert_int_equal(side_count(&p.b, SESSION_EV_LOST), lost);
			assert_int_equal(p.b.seen.at[0].kind, SESSION_EV_CLOSED);
			size_t room;
			assert_null(session_space(p.b.s, &room));
			if (how == 2) {
				assert_int_equal(session_queued(p.b.s), 0);
			} else if (stage >= 1) {
				if (session_state(p.a.s) == SESSION_JUDGING)
					session_admit(p.a.s);
				pair_run(&p);
				assert_closed(&p.a, how == 0 ? OK : ERR_DENIED);
			}
			assert_int_equal(session_tick(p.b.s, 999999), UINT64_MAX);
			pair_clear(&p);
		}
	}
}

static void
last_words_have_their_time(void **state)
{
	struct pair p;

	(void)state;
	pair_ready(&p);
	session_tick(p.b.s, 5000);
	session_close(p.b.s, NULL);
	assert_int_equal(session_tick(p.b.s, 6000), 5000 + LIMIT_CLOSE_MS);
	assert_true(session_queued(p.b.s) > 0);
	assert_int_equal(session_tick(p.b.s, 5000 + LIMIT_CLOSE_MS), UINT64_MAX);
	assert_int_equal(session_queued(p.b.s), 0);
	pair_clear(&p);
}

static void
open_requests_are_lost_with_the_connection(void **state)
{
	struct pair p;
	int owners[4];

	(void)state;
	pair_ready(&p);
	for (size_t i = 0; i < lengthof(owners); i++)
		ask(&p.a, (struct message){ .type = FRAME_LEAVE }, &owners[i]);
	pair_run(&p);
	session_answer_ok(p.b.s, 3);
	pair_run(&p);
	assert_int_equal(side_count(&p.a, SESSION_EV_ANSWER), 1);
	session_abort(p.a.s, NULL);
	side_drain(&p.a);
	assert_int_equal(side_count(&p.a, SESSION_EV_LOST), 3);
	unsigned mask = 0;
	for (size_t i = 0; i < p.a.seen.len; i++)
		if (p.a.seen.at[i].kind == SESSION_EV_LOST)
			mask |= 1u << ((int *)p.a.seen.at[i].owner - owners);
	assert_int_equal(mask, 13);
	pair_clear(&p);
}

static void
a_goodbye_is_heard_and_leaves_no_data_behind(void **state)
{
	struct pair p;

	(void)state;
	pair_ready(&p);
	uint32_t stream = ask(&p.a, pair_get_units(7, 0, 0), &p);
	uint32_t leave = ask(&p.a, (struct message){ .type = FRAME_LEAVE }, NULL);
	pair_run(&p);
	for (uint32_t i = 0; i < 10; i++)
		session_send_raw(p.b.s, FRAME_DATA, 0, stream, pair_data(7, i, 1, LIMIT_DATA_RAW));
	session_answer_ok(p.b.s, leave);
	session_close(p.b.s, NULL);
	assert_true(session_queued(p.b.s) < 100);
	pair_run(&p);
	assert_closed(&p.a, OK);
	/* what was answered is answered */
	assert_int_equal(side_count(&p.a, SESSION_EV_ANSWER), 1);
	assert_int_equal(side_count(&p.a, SESSION_EV_RAW), 0);
	assert_int_equal(side_count(&p.a, SESSION_EV_LOST), 1);
	assert_int_equal(side_count(&p.a, SESSION_EV_PUSH), 1);
	pair_clear(&p);
}

static void
requests_of_the_other_side_are_not_wanted_after_the_end(void **state)
{
	struct pair p;
	const struct message ok = { .type = FRAME_OK, .stream = 1 };

	(void)state;
	pair_ready(&p);
	ask(&p.a, (struct message){ .type = FRAME_LEAVE }, NULL);
	pair_run(&p);
	session_abort(p.b.s, NULL);
	assert_false(session_is_wanted(p.b.s, 1));
	assert_err(ERR_OFFLINE, session_send(p.b.s, &ok, &unit_error));
	session_send_raw(p.b.s, FRAME_DATA, 0, 1, pair_data(7, 0, 1, 9));
	assert_int_equal(session_queued(p.b.s), 0);
	pair_clear(&p);
}

/* -- output -- */

static void
messages_overtake_blocks_but_not_of_their_own_stream(void **state)
{
	struct pair p;
	const struct message push = { .type = FRAME_PROGRESS,
		.progress = {
		    { HASH_SHA256, { 1 } }, { HASH_SHA256, { 2 } }, SNAPSHOT_ANNOUNCED } };
	struct error why;

	(void)state;
	fail(&why, ERR_IO, "the disk");
	pair_ready(&p);
	uint32_t stream = ask(&p.a, pair_get_units(7, 0, 0), &p);
	pair_run(&p);
	for (uint32_t i = 0; i < 3; i++)
		session_send_raw(p.b.s, FRAME_DATA, 0, stream, pair_data(7, i, 1, 1000));
	assert_ok(session_send(p.b.s, &push, &unit_error));
	assert_ok(session_answer_error(p.b.s, stream, &why, 7));
	pair_run(&p);
	assert_int_equal(p.a.seen.len, 5);
	assert_int_equal(p.a.seen.at[0].kind, SESSION_EV_PUSH);
	for (size_t i = 1; i < 4; i++)
		assert_int_equal(p.a.seen.at[i].kind, SESSION_EV_RAW);
	assert_int_equal(p.a.seen.at[4].kind, SESSION_EV_ANSWER);
	assert_int_equal(p.a.seen.at[4].code, ERR_IO);
	pair_clear(&p);
}

static void
a_frame_that_has_begun_is_never_torn(void **state)
{
	struct pair p;
	const struct message push = { .type = FRAME_PROGRESS,
		.progress = {
		    { HASH_SHA256, { 1 } }, { HASH_SHA256, { 2 } }, SNAPSHOT_ANNOUNCED } };

	(void)state;
	pair_ready(&p);
	uint32_t stream = ask(&p.a, pair_get_units(7, 0, 0), &p);
	pair_run(&p);
	for (uint32_t i = 0; i < 20; i++) {
		session_send_raw(
		    p.b.s, FRAME_DATA, i == 19 ? FRAME_END : 0, stream, pair_data(7, i, 1, 1000));
		for (unsigned k = 0; k < 3; k++) {
			struct bytes out = session_output(p.b.s);
			size_t n = min_of(out.len, (size_t)(100 * (k + 1)));
			side_feed(&p.a, bytes_slice(out, 0, n), p.now_ms);
			session_sent(p.b.s, n);
			assert_ok(session_send(p.b.s, &push, &unit_error));
		}
	}
	pair_run(&p);
	assert_int_equal(session_state(p.a.s), SESSION_READY);
	assert_int_equal(side_count(&p.a, SESSION_EV_RAW), 20);
	assert_int_equal(side_count(&p.a, SESSION_EV_PUSH), 60);
	assert_int_equal(session_queued(p.b.s), 0);
	pair_clear(&p);
}

static void
a_queue_that_is_never_quite_empty_stays_small(void **state)
{
	struct pair p;
	struct any any;
	struct message push;

	(void)state;
	any_init(&any, 2);
	do {
		push = any_message(&any, FRAME_STATEMENTS);
		push.stream = 0;
	} while (push.statements.statements.raw.len < 10000);
	pair_ready(&p);
	for (uint64_t sent = 0; sent < 4 * (uint64_t)LIMIT_OUTPUT_MAX;) {
		assert_ok(session_send(p.b.s, &push, &unit_error));
		size_t n = session_output(p.b.s).len - 1; /* all but a byte */
		session_sent(p.b.s, n);
		sent += n;
	}
	assert_int_equal(session_queued(p.b.s), 1);
	any_clear(&any);
	pair_clear(&p);
}

/* -- anything at all -- */

struct fate { /* of one request */
	unsigned ends;
	bool cancelled;
};

static void
count_fate(struct side *me, const struct session_event *ev)
{
	struct fate *f = ev->owner;

	(void)me;
	if (f == NULL)
		return;
	assert_false(f->cancelled);
	assert_int_equal(f->ends, 0);
	f->ends += ev->end;
}

/* Random requests, answers, cancels, ticks and cuts; at the end every request has had one end, or
 * was cancelled. */
static void
random_scripts_give_every_request_one_end(void **state)
{
	enum { SCRIPTS = 40, STEPS = 200 };

	(void)state;
	for (unsigned seed = 0; seed < SCRIPTS; seed++) {
		static struct fate fates[STEPS];
		uint32_t streams[STEPS];
		struct rng rng;
		struct pair p;
		struct any any;
		size_t n = 0;

		rng_seed(&rng, seed);
		any_init(&any, seed);
		memset(fates, 0, sizeof fates);
		pair_ready(&p);
		p.split = &rng;
		p.a.hook = count_fate;
		p.b.hook = seed % 2 == 0 ? answer_all : NULL;
		for (unsigned step = 0; step < STEPS; step++) {
			struct message m;
			switch (rng_below(&rng, 6)) {
			case 0:
			case 1:
				m = any_message(
				    &any, requests[rng_below(&rng, lengthof(requests))]);
				if (m.type == FRAME_GET_UNITS)
					m = pair_get_units((uint32_t)rng_below(&rng, 100), 10, 4);
				if (session_request(
					p.a.s, &m, &fates[n], &streams[n], &unit_error) == OK)
					n++;
				break;
			case 2:
				if (n > 0) {
					size_t i = rng_below(&rng, n);
					fates[i].cancelled =
					    fates[i].cancelled || fates[i].ends == 0;
					session_cancel(p.a.s, streams[i]);
				}
				break;
			case 3:
				if (n > 0)
					session_answer_ok(p.b.s, 0);
				break;
			default:
				(void)pair_move(&p, &p.a, &p.b);
				(void)pair_move(&p, &p.b, &p.a);
			}
		}
		if (p.b.hook != NULL) {
			pair_run(&p);
			assert_int_equal(session_state(p.a.s), SESSION_READY);
		}
		session_abort(p.a.s, NULL);
		side_drain(&p.a);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(fates[i].ends, fates[i].cancelled ? 0 : 1);
		any_clear(&any);
		pair_clear(&p);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_greet_and_are_ready_once_admitted),
		cmocka_unit_test(nothing_is_read_until_hello_is_judged),
		cmocka_unit_test(versions_without_overlap_end_it_on_both_sides),
		cmocka_unit_test(the_highest_common_version_is_taken),
		cmocka_unit_test(every_request_gets_its_answer_and_one_end),
		cmocka_unit_test(pushes_arrive_as_such),
		cmocka_unit_test(blocks_come_out_as_they_went_in),
		cmocka_unit_test(it_does_not_matter_how_the_bytes_are_cut),
		cmocka_unit_test(an_error_ends_the_request_with_its_code_and_text),
		cmocka_unit_test(answering_what_nobody_waits_for_is_told),
		cmocka_unit_test(requests_wait_until_the_other_side_is_admitted),
		cmocka_unit_test(frames_out_of_turn_end_the_connection),
		cmocka_unit_test(a_second_hello_ends_the_connection),
		cmocka_unit_test(unknown_requests_are_refused_and_unknown_frames_skipped),
		cmocka_unit_test(answers_to_nothing_end_the_connection),
		cmocka_unit_test(a_second_answer_ends_the_connection),
		cmocka_unit_test(only_an_answer_of_the_right_kind_is_taken),
		cmocka_unit_test(streams_of_the_wrong_side_or_order_end_the_connection),
		cmocka_unit_test(a_payload_that_does_not_decode_ends_the_connection),
		cmocka_unit_test(data_that_was_not_asked_for_ends_the_connection),
		cmocka_unit_test(data_twice_or_after_the_end_ends_the_connection),
		cmocka_unit_test(several_runs_are_answered_run_by_run),
		cmocka_unit_test(nodes_out_of_order_or_number_end_the_connection),
		cmocka_unit_test(more_open_requests_than_allowed_are_refused_on_both_sides),
		cmocka_unit_test(frames_too_large_are_refused_before_their_payload),
		cmocka_unit_test(who_asks_and_never_reads_is_let_go),
		cmocka_unit_test(pings_are_not_answered_to_who_does_not_read),
		cmocka_unit_test(a_guest_joins_and_is_a_member),
		cmocka_unit_test(a_guest_may_have_one_join_under_way),
		cmocka_unit_test(a_guest_may_try_again_after_a_no),
		cmocka_unit_test(a_guest_may_not_try_for_ever),
		cmocka_unit_test(a_greeting_that_does_not_come_ends_it),
		cmocka_unit_test(a_greeting_that_drips_in_ends_it),
		cmocka_unit_test(a_guest_that_does_not_join_is_sent_away),
		cmocka_unit_test(a_frame_that_drips_in_ends_it),
		cmocka_unit_test(silence_is_pinged_and_then_death),
		cmocka_unit_test(silence_while_units_are_awaited_is_noticed_sooner),
		cmocka_unit_test(answered_pings_keep_it_alive_and_measure_the_round_trip),
		cmocka_unit_test(only_the_first_pong_to_the_last_ping_counts),
		cmocka_unit_test(bytes_of_any_kind_are_a_sign_of_life),
		cmocka_unit_test(our_own_pause_is_not_their_silence),
		cmocka_unit_test(a_frame_may_take_long_while_we_do_not_read),
		cmocka_unit_test(a_cancelled_request_has_no_more_events),
		cmocka_unit_test(cancelling_stops_what_waits_to_be_sent),
		cmocka_unit_test(a_cancel_that_crosses_the_answer_is_nothing),
		cmocka_unit_test(who_never_ends_a_cancelled_stream_is_let_go),
		cmocka_unit_test(who_does_not_answer_is_let_go),
		cmocka_unit_test(nodes_may_wait_behind_other_blocks),
		cmocka_unit_test(closing_in_any_state_ends_everything_once),
		cmocka_unit_test(last_words_have_their_time),
		cmocka_unit_test(open_requests_are_lost_with_the_connection),
		cmocka_unit_test(a_goodbye_is_heard_and_leaves_no_data_behind),
		cmocka_unit_test(requests_of_the_other_side_are_not_wanted_after_the_end),
		cmocka_unit_test(messages_overtake_blocks_but_not_of_their_own_stream),
		cmocka_unit_test(a_frame_that_has_begun_is_never_torn),
		cmocka_unit_test(a_queue_that_is_never_quite_empty_stays_small),
		cmocka_unit_test(random_scripts_give_every_request_one_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
