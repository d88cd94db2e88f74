/* One connection from greeting to end: what is asked, answered and sent, by members and guests. */
#include "tests/unit.h"

#include "proto/test_any.h"
#include "session/test_pair.h"

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
		cmocka_unit_test(a_guest_joins_and_is_a_member),
		cmocka_unit_test(a_guest_may_have_one_join_under_way),
		cmocka_unit_test(a_guest_may_try_again_after_a_no),
		cmocka_unit_test(a_guest_may_not_try_for_ever),
		cmocka_unit_test(random_scripts_give_every_request_one_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
