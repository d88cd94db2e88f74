/* How it ends, and in which order what is left is sent. */
#include "tests/unit.h"

#include "proto/test_any.h"
#include "session/test_pair.h"

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

/* Gone is what was handed out whole, or is not to be sent any more. */
static void
blocks_are_gone_in_their_order(void **state)
{
	struct pair p;
	uint64_t first, second;

	(void)state;
	pair_ready(&p);
	uint32_t one = ask(&p.a, pair_get_units(7, 0, 0), &p);
	uint32_t two = ask(&p.a, pair_get_units(8, 0, 0), &p);
	pair_run(&p);
	assert_int_equal(session_raw_gone(p.b.s), 0);
	first = session_send_raw(p.b.s, FRAME_DATA, 0, one, pair_data(7, 0, 1, 1000));
	second = session_send_raw(p.b.s, FRAME_DATA, FRAME_END, two, pair_data(8, 0, 1, 1000));
	assert_int_equal(first, 1);
	assert_int_equal(second, 2);
	session_sent(p.b.s, session_output(p.b.s).len - 1);
	assert_int_equal(session_raw_gone(p.b.s), 0); /* but for a byte */
	session_sent(p.b.s, 1);
	assert_int_equal(session_raw_gone(p.b.s), first);
	/* Nobody waits on TWO any more: it has had its end. */
	assert_int_equal(session_send_raw(p.b.s, FRAME_DATA, 0, two, pair_data(8, 1, 1, 1000)), 0);
	session_close(p.b.s, NULL);
	assert_int_equal(session_raw_gone(p.b.s), second); /* dropped */
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(closing_in_any_state_ends_everything_once),
		cmocka_unit_test(last_words_have_their_time),
		cmocka_unit_test(open_requests_are_lost_with_the_connection),
		cmocka_unit_test(a_goodbye_is_heard_and_leaves_no_data_behind),
		cmocka_unit_test(requests_of_the_other_side_are_not_wanted_after_the_end),
		cmocka_unit_test(messages_overtake_blocks_but_not_of_their_own_stream),
		cmocka_unit_test(a_frame_that_has_begun_is_never_torn),
		cmocka_unit_test(blocks_are_gone_in_their_order),
		cmocka_unit_test(a_queue_that_is_never_quite_empty_stays_small),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
