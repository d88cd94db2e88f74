#include "engine/test_transfer_world.h"

#include "tests/gate.h"

/* -- somebody who asks by hand -- */

struct fixture;
struct question {
	struct requester requester;
	struct fixture *f;
	uint32_t stream;
	unsigned frames, missing;
	uint64_t bytes;
	bool over, refused;
	enum err code;
	char text[LIMIT_TEXT];
	unsigned ended_as; /* which of all that ended */
};

struct fixture {
	struct world w;
	struct node *n;
	struct question asked[8];
	unsigned ended;
	void (*on_over)(struct fixture *f);
	uint8_t codecs;     /* that are asked for */
	struct gate gate;   /* in reading */
	struct timer *look; /* what it waits for is in another thread */
	bool was_closed;
	unsigned step;
};

static void
on_event(struct requester *r, struct peer *p, struct session_event *ev)
{
	struct question *q = container_of(r, struct question, requester);
	(void)p;

	assert_false(q->over);
	if (ev->kind == SESSION_EV_RAW) {
		q->frames++;
		q->missing += (ev->header.flags & FRAME_MISSING) != 0;
		q->bytes += ev->block->len;
		block_free(ev->block);
	} else if (ev->kind == SESSION_EV_ANSWER) {
		q->refused = true;
		q->code = (enum err)ev->message.error.code;
		snprintf(q->text, sizeof q->text, "%.*s", (int)ev->message.error.text.len,
		    (const char *)ev->message.error.text.at);
	}
	q->over = ev->end;
	if (!ev->end)
		return;
	q->ended_as = ++q->f->ended;
	if (q->f->on_over != NULL)
		q->f->on_over(q->f);
}

static void
send(struct fixture *f, unsigned i, struct message *m)
{
	struct question *q = &f->asked[i];

	*q = (struct question){ .requester.on_event = on_event, .f = f };
	assert_ok(
	    session_request(peer_session(f->n->line), m, &q->requester, &q->stream, &unit_error));
	peer_flush(f->n->line);
}

static void
ask_unit(struct fixture *f, unsigned i, uint32_t unit)
{
	struct message m = { .type = FRAME_GET_UNITS,
		.get_units = { .share = f->w.content.share,
		    .snapshot = f->w.content.snapshot,
		    .unit_size = snapshot_map_unit_size(f->w.map),
		    .unit = unit,
		    .codecs = f->codecs } };

	send(f, i, &m);
}

static void
ask_nodes(struct fixture *f, unsigned i, const struct hash_id *ids, uint32_t n)
{
	auto_buf struct buf b = BUF(LIMIT_FRAME_MESSAGE);
	struct message m = { .type = FRAME_GET_NODES };

	for (uint32_t k = 0; k < n; k++)
		hash_id_encode(&b, &ids[k]);
	m.get_nodes = (struct msg_get_nodes){ .share = f->w.content.share,
		.snapshot = f->w.content.snapshot,
		.ids = buf_bytes(&b),
		.kind = HASH_TREE };
	send(f, i, &m);
}

static void
stop_when_all_are_over(struct fixture *f)
{
	for (size_t i = 0; i < lengthof(f->asked); i++)
		if (f->asked[i].f != NULL && !f->asked[i].over)
			return;
	world_stop(&f->w);
}

static void
wait_at_gate(struct node *n)
{
	struct fixture *f = n->w->ctx;

	gate_pass(&f->gate, 0);
}

static int
setup(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	world_init(&f->w);
	f->w.ctx = f;
	f->n = world_node(&f->w, HONEST);
	f->on_over = stop_when_all_are_over;
	gate_init(&f->gate);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	world_clear(&f->w);
	gate_clear(&f->gate);
	free(f);
	return 0;
}

static void
run(struct fixture *f, uint32_t unit_size, void (*on_ready)(struct node *n))
{
	world_content(&f->w, unit_size);
	f->w.on_ready = on_ready;
	node_connect(f->n);
	loop_run(f->w.loop);
}

/* -- answers -- */

static void
ask_two_and_nodes(struct node *n)
{
	struct fixture *f = n->w->ctx;
	const struct hash_id ids[] = { f->w.content.root, any_id(7), f->w.content.root };

	ask_unit(f, 0, 0);
	ask_unit(f, 1, 1);
	ask_nodes(f, 2, ids, 3);
}

static void
units_and_nodes_are_answered(void **state)
{
	struct fixture *f = *state;

	content_file(&f->w.content, 2, 1024 * 1024, 0);
	run(f, 1024 * 1024, ask_two_and_nodes);
	assert_int_equal(f->asked[0].frames, CHUNK_LEAVES_MAX);
	assert_int_equal(f->asked[1].frames, CHUNK_LEAVES_MAX);
	assert_true(f->asked[0].bytes > 1024 * 1024);
	assert_int_equal(f->asked[2].frames, 3);
	assert_int_equal(f->asked[2].missing, 1);
	assert_int_equal(f->n->failed, 0);
	assert_int_equal(f->n->leaves_read, 2 * CHUNK_LEAVES_MAX);
}

static void
ask_nonsense(struct node *n)
{
	struct fixture *f = n->w->ctx;
	struct message m = { .type = FRAME_GET_UNITS,
		.get_units = { .share = f->w.content.share,
		    .snapshot = f->w.content.snapshot,
		    .unit_size = snapshot_map_unit_size(f->w.map),
		    .unit = 1,
		    .n_runs = 1,
		    .runs = { { 900, 2 } } } };

	send(f, 0, &m); /* leaves that the unit does not have */
	m.get_units.unit = 70000;
	send(f, 1, &m);
	m.get_units.snapshot = any_id(1);
	send(f, 2, &m);
}

static void
ask_all(struct node *n)
{
	struct fixture *f = n->w->ctx;

	for (unsigned i = 0; i < lengthof(f->asked); i++)
		ask_unit(f, i, i);
}

static void
what_was_asked_wrongly_is_refused_and_nobody_is_alarmed(void **state)
{
	struct fixture *f = *state;

	content_file(&f->w.content, 2, 1024 * 1024, 0);
	run(f, 1024 * 1024, ask_nonsense);
	for (int i = 0; i < 3; i++)
		assert_true(f->asked[i].refused);
	assert_int_equal(f->n->failed, 0);
	assert_int_equal(f->n->sent, 0);
}

static void
ask_first(struct node *n)
{
	ask_unit(n->w->ctx, 0, 0);
}

static void
what_can_not_be_read_is_refused_and_told(void **state)
{
	struct fixture *f = *state;

	content_file(&f->w.content, 1, 1024 * 1024, 0);
	world_content(&f->w, 1024 * 1024);
	f->n->absent = &snapshot_map_chunk(f->w.map, 0)->id;
	f->w.on_ready = ask_first;
	node_connect(f->n);
	loop_run(f->w.loop);
	assert_int_equal(f->asked[0].code, ERR_NOTFOUND);
	check_says(f->asked[0].text, "the file has changed");
	assert_int_equal(f->n->failed, 1);
	assert_int_equal(f->n->sent, 0);
}

/* -- rights -- */

static void
who_may_not_gets_nothing(void **state)
{
	struct fixture *f = *state;

	content_file(&f->w.content, 2, 1024 * 1024, 0);
	f->n->forbids = true;
	run(f, 1024 * 1024, ask_two_and_nodes);
	for (int i = 0; i < 3; i++)
		assert_int_equal(f->asked[i].code, ERR_DENIED);
	assert_int_equal(f->n->sent, 0);
	assert_int_equal(f->n->leaves_read, 0);
}

static void
forbid_while_reading(void *ctx)
{
	struct fixture *f = ctx;

	if (gate_waiting(&f->gate) == 0) {
		timer_start(f->look, 1);
		return;
	}
	timer_close(f->look);
	f->n->forbids = true;
	gate_set(&f->gate, GATE_OPEN);
}

static void
ask_and_look(struct node *n)
{
	struct fixture *f = n->w->ctx;

	ask_unit(f, 0, 0);
	timer_start(f->look, 1);
}

static void
what_was_read_before_a_right_ended_is_not_sent(void **state)
{
	struct fixture *f = *state;

	content_file(&f->w.content, 1, 1024 * 1024, 0);
	f->n->on_read = wait_at_gate;
	gate_set(&f->gate, GATE_SHUT);
	f->look = timer_new(f->w.loop, forbid_while_reading, f);
	run(f, 1024 * 1024, ask_and_look);
	assert_int_equal(f->asked[0].code, ERR_DENIED);
	assert_int_equal(f->n->sent, 0);
}

/* -- bounds -- */

/* The other side has read what came before this, and our end has read nothing. */
static void
look_at_queue(void *ctx)
{
	struct fixture *f = ctx;
	size_t queued = f->n->peer != NULL ? session_queued(peer_session(f->n->peer)) : 0;

	if (queued < LIMIT_OUTPUT_QUEUE) {
		timer_start(f->look, 1);
		return;
	}
	assert_true(queued <= LIMIT_OUTPUT_QUEUE + RESPONDER_AHEAD + 2 * BLOCK_ROOM);
	/* Read, and not sent: at most as much again. */
	uint64_t read = atomic_load(&f->n->leaves_read) * CHUNK_LEAF;
	assert_true(read <= f->n->sent + RESPONDER_AHEAD + 2 * CHUNK_LEAF);
	timer_close(f->look);
	peer_pause(f->n->line, false);
}

static void
ask_all_and_do_not_read(struct node *n)
{
	struct fixture *f = n->w->ctx;

	for (unsigned i = 0; i < lengthof(f->asked); i++)
		ask_unit(f, i, i);
	peer_pause(n->line, true);
	timer_start(f->look, 1);
}

static void
one_who_does_not_read_costs_a_bounded_amount(void **state)
{
	struct fixture *f = *state;

	content_file(&f->w.content, 32, 1024 * 1024, 0);
	f->look = timer_new(f->w.loop, look_at_queue, f);
	run(f, 4 * 1024 * 1024, ask_all_and_do_not_read);
	for (unsigned i = 0; i < lengthof(f->asked); i++)
		assert_int_equal(f->asked[i].frames, 4 * CHUNK_LEAVES_MAX);
}

enum { CANCELLED = LIMIT_UNITS_OPEN };

static void
look_at_requests(void *ctx)
{
	struct fixture *f = ctx;

	if (f->n->cancels < CANCELLED) {
		timer_start(f->look, 1);
		return;
	}
	timer_close(f->look);
	assert_true(gate_waiting(&f->gate) <= 2);
	assert_true(responder_requests(f->n->responder) <= 2); /* those that are being read */
	gate_set(&f->gate, GATE_OPEN);
	world_stop(&f->w);
}

static void
ask_and_cancel_much(struct node *n)
{
	struct fixture *f = n->w->ctx;

	for (unsigned i = 0; i < CANCELLED; i++) {
		ask_unit(f, 0, i);
		session_cancel(peer_session(n->line), f->asked[0].stream);
	}
	timer_start(f->look, 1);
}

/* Nobody reads and nothing can be read: there is no room for another step. */
static void
cancelled_requests_are_forgotten_at_once(void **state)
{
	struct fixture *f = *state;

	content_file(&f->w.content, CANCELLED, 64 * 1024, 0);
	f->n->on_read = wait_at_gate;
	gate_set(&f->gate, GATE_SHUT);
	f->look = timer_new(f->w.loop, look_at_requests, f);
	run(f, 64 * 1024, ask_and_cancel_much);
	assert_int_equal(f->n->requests, CANCELLED);
	assert_int_equal(f->n->sent, 0);
}

/* -- how answers begin and end -- */

static void
what_accepts_no_offer_is_refused_before_it_is_read(void **state)
{
	struct fixture *f = *state;

	content_file(&f->w.content, 2, 1024 * 1024, 0);
	f->n->declines = true;
	run(f, 1024 * 1024, ask_two_and_nodes);
	assert_int_equal(f->asked[0].code, ERR_AGAIN);
	assert_int_equal(f->asked[1].code, ERR_AGAIN);
	assert_int_equal(f->asked[2].frames, 3); /* nodes need no offer */
	assert_int_equal(f->n->leaves_read, 0);
	assert_int_equal(f->n->whole + f->n->cut, 0);
}

static void
who_may_not_begins_nothing(void **state)
{
	struct fixture *f = *state;

	content_file(&f->w.content, 2, 1024 * 1024, 0);
	f->n->forbids = true;
	run(f, 1024 * 1024, ask_two_and_nodes);
	assert_int_equal(f->n->begun, 0);
}

static void
note_handed_out(struct node *n)
{
	assert_int_equal(session_queued(peer_session(n->peer)), 0);
}

static void
an_answer_is_over_when_the_connection_has_its_last_byte(void **state)
{
	struct fixture *f = *state;

	content_file(&f->w.content, 1, 1024 * 1024, 0);
	f->n->on_over = note_handed_out;
	run(f, 1024 * 1024, ask_first);
	assert_int_equal(f->n->begun, 1);
	assert_int_equal(f->n->whole, 1);
	assert_int_equal(f->n->cut, 0);
	assert_int_equal(f->n->answered, f->asked[0].bytes);
}

static void
what_can_not_be_read_to_the_end_is_not_whole(void **state)
{
	struct fixture *f = *state;

	content_file(&f->w.content, 1, 1024 * 1024, 0);
	content_file(&f->w.content, 1, 1024 * 1024, 0);
	world_content(&f->w, 2 * 1024 * 1024);
	f->n->absent = &snapshot_map_chunk(f->w.map, 1)->id;
	f->w.on_ready = ask_first;
	node_connect(f->n);
	loop_run(f->w.loop);
	assert_true(f->asked[0].refused && f->asked[0].bytes > 0);
	assert_int_equal(f->n->whole, 0);
	assert_int_equal(f->n->cut, 1);
	assert_int_equal(f->n->answered, f->asked[0].bytes);
}

static void
stop_world(struct node *n)
{
	world_stop(n->w);
}

static void
open_when_cancelled(void *ctx)
{
	struct fixture *f = ctx;

	if (f->step == 0 && gate_waiting(&f->gate) > 0) {
		f->step = 1;
		session_cancel(peer_session(f->n->line), f->asked[0].stream);
		peer_flush(f->n->line);
	}
	if (f->n->cancels == 0) {
		timer_start(f->look, 1);
		return;
	}
	timer_close(f->look);
	gate_set(&f->gate, GATE_OPEN);
}

static void
what_is_cancelled_while_it_is_read_is_over_once(void **state)
{
	struct fixture *f = *state;

	content_file(&f->w.content, 1, 1024 * 1024, 0);
	f->n->on_read = wait_at_gate;
	f->n->on_over = stop_world;
	gate_set(&f->gate, GATE_SHUT);
	f->look = timer_new(f->w.loop, open_when_cancelled, f);
	run(f, 1024 * 1024, ask_and_look);
	assert_int_equal(f->n->cut, 1);
	assert_int_equal(f->n->whole, 0);
	assert_int_equal(f->n->sent, 0);
}

/* -- a small window -- */

static void
look_at_small_queue(void *ctx)
{
	struct fixture *f = ctx;
	struct node *n = f->n;

	if (n->blocks == 0) {
		timer_start(f->look, 1);
		return;
	}
	assert_in_range(session_queued(peer_session(n->peer)), n->window, n->window + BLOCK_ROOM);
	assert_true(atomic_load(&n->leaves_read) * CHUNK_LEAF <=
		    n->sent + RESPONDER_AHEAD + 2 * CHUNK_LEAF);
	assert_int_equal(n->unblocks, n->blocks - 1);
	assert_true(n->whole < lengthof(f->asked)); /* or the connection takes it all */
	timer_close(f->look);
	peer_pause(n->line, false);
}

static void
little_is_queued_with_a_small_window_and_all_arrives(void **state)
{
	struct fixture *f = *state;

	content_file(&f->w.content, 32, 1024 * 1024, 0);
	f->n->window = RESPONDER_WINDOW_SMALL;
	f->look = timer_new(f->w.loop, look_at_small_queue, f);
	run(f, 4 * 1024 * 1024, ask_all_and_do_not_read);
	for (unsigned i = 0; i < lengthof(f->asked); i++)
		assert_int_equal(f->asked[i].frames, 4 * CHUNK_LEAVES_MAX);
	assert_int_equal(f->n->whole, lengthof(f->asked));
	assert_true(f->n->unblocks > 0);
}

/* -- what is held back -- */

/* Longer than a machine that is busy takes to move it all. */
enum { HELD_MS = 3000 };

static void
what_is_held_back_goes_out_when_it_may(void **state)
{
	const uint64_t bytes = (uint64_t)1024 * 1024 * lengthof(((struct fixture *)NULL)->asked);
	struct fixture *f = *state;
	struct rate rate;

	content_file(&f->w.content, 16, 1024 * 1024, 0);
	uint64_t from = loop_now_ms(f->w.loop);
	rate_init(&rate, bytes * 1000 / HELD_MS, from);
	f->n->rate = &rate;
	run(f, 1024 * 1024, ask_all);
	assert_int_equal(f->n->whole, lengthof(f->asked));
	assert_true(f->n->holds > 0);
	/* but for a frame that it owes at the end, and what the bucket kept */
	assert_true(loop_now_ms(f->w.loop) - from >= HELD_MS / 2);
}

/* -- the end -- */

static void
note_closed(void *ctx)
{
	struct node *n = ctx;
	struct fixture *f = n->w->ctx;

	assert_int_equal(f->gate.open_below, GATE_OPEN); /* not while the source is used */
	f->was_closed = true;
}

static void
close_while_reading(void *ctx)
{
	struct fixture *f = ctx;

	if (f->step == 0 && gate_waiting(&f->gate) > 0) {
		f->step = 1;
		peer_close(f->n->peer, NULL);
	} else if (f->step == 1 && f->n->peer == NULL) {
		f->step = 2;
	} else if (f->step == 2) {
		assert_false(f->was_closed);
		timer_close(f->look);
		gate_set(&f->gate, GATE_OPEN);
		return;
	}
	timer_start(f->look, 1);
}

static void
it_is_closed_when_the_source_is_no_longer_used(void **state)
{
	struct fixture *f = *state;

	content_file(&f->w.content, 1, 1024 * 1024, 0);
	f->n->on_read = wait_at_gate;
	f->n->on_responder_closed = note_closed;
	gate_set(&f->gate, GATE_SHUT);
	f->look = timer_new(f->w.loop, close_while_reading, f);
	run(f, 1024 * 1024, ask_and_look);
	assert_true(f->was_closed);
	assert_int_equal(f->n->sent, 0);
}

/* -- packing -- */

static void
close_throttle(void *ctx)
{
	throttle_close(((struct node *)ctx)->throttle);
}

/* A file of 8 MiB over a line of 8 MB a second: much longer than one look at it. */
static void
run_slowly(struct fixture *f, bool shrinks)
{
	f->w.content.shrinks = shrinks;
	content_file(&f->w.content, 8, 1024 * 1024, 0);
	f->n->window = RESPONDER_WINDOW_SMALL;
	f->n->throttle = throttle_new(f->w.loop, 8 * 1000 * 1000, 0);
	f->n->on_responder_closed = close_throttle;
	run(f, 1024 * 1024, ask_all);
	for (unsigned i = 0; i < lengthof(f->asked); i++)
		assert_int_equal(f->asked[i].frames, CHUNK_LEAVES_MAX);
	assert_int_equal(f->n->answered_wire, f->n->came);
	assert_true(f->n->answered > 8 * 1024 * 1024);
}

static void
what_shrinks_goes_out_packed_while_the_line_is_in_the_way(void **state)
{
	struct fixture *f = *state;

	f->codecs = GET_UNITS_ZSTD;
	run_slowly(f, true);
	assert_true(f->n->came < f->n->answered - 1024 * 1024);
}

static void
nobody_gets_packed_what_he_did_not_ask_for(void **state)
{
	struct fixture *f = *state;

	run_slowly(f, true);
	assert_int_equal(f->n->came, f->n->answered);
}

static void
what_does_not_shrink_goes_out_as_it_is(void **state)
{
	struct fixture *f = *state;

	f->codecs = GET_UNITS_ZSTD;
	run_slowly(f, false);
	assert_int_equal(f->n->came, f->n->answered);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(units_and_nodes_are_answered),
		T(what_was_asked_wrongly_is_refused_and_nobody_is_alarmed),
		T(what_can_not_be_read_is_refused_and_told),
		T(who_may_not_gets_nothing),
		T(what_was_read_before_a_right_ended_is_not_sent),
		T(one_who_does_not_read_costs_a_bounded_amount),
		T(cancelled_requests_are_forgotten_at_once),
		T(what_accepts_no_offer_is_refused_before_it_is_read),
		T(who_may_not_begins_nothing),
		T(an_answer_is_over_when_the_connection_has_its_last_byte),
		T(what_can_not_be_read_to_the_end_is_not_whole),
		T(what_is_cancelled_while_it_is_read_is_over_once),
		T(little_is_queued_with_a_small_window_and_all_arrives),
		T(what_shrinks_goes_out_packed_while_the_line_is_in_the_way),
		T(nobody_gets_packed_what_he_did_not_ask_for),
		T(what_does_not_shrink_goes_out_as_it_is),
		T(what_is_held_back_goes_out_when_it_may),
		T(it_is_closed_when_the_source_is_no_longer_used),
	};
	alarm(110);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
