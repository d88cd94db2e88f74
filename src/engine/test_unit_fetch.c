#include "engine/test_transfer_world.h"

#include "engine/unit_fetch.h"
#include "session/serve.h"
#include "tests/gate.h"

enum { UNIT = 256 * 1024 };

struct fixture {
	struct world w;
	struct unit_fetch *fetch;
	struct rate *rate; /* its gate */
	bool inside;       /* a call of ours: nothing may be told */
	/* the sink */
	enum err refusal;
	atomic_uint leaves, flushes;
	struct gate gate; /* in take */
	/* what was told */
	uint64_t got, wire;
	unsigned ends, flushed, failed;
	struct unit_fetch_end end; /* the last one */
	enum err failure;
	unsigned step;
	void (*on_told)(struct fixture *f);
	struct timer *look;
};

static uint32_t
missing(void *ctx, uint32_t unit, struct leaf_run *runs, uint32_t *ret_bytes)
{
	(void)ctx;
	(void)unit;
	(void)runs;
	(void)ret_bytes;
	unit_fail("it is not unit_fetch that decides");
	return 0;
}

static enum err
take(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	struct fixture *f = ctx;

	assert_false(f->w.closed);
	gate_pass(&f->gate, leaf->chunk);
	if (f->refusal != OK)
		return fail(e, f->refusal, "the sink is full");
	atomic_fetch_add(&f->leaves, 1);
	return OK;
}

static enum err
flush(void *ctx, struct error *e)
{
	struct fixture *f = ctx;
	(void)e;

	assert_false(f->w.closed);
	atomic_fetch_add(&f->flushes, 1);
	return OK;
}

/* -- what is told -- */

static void
told(struct fixture *f)
{
	assert_false(f->inside);
	assert_false(f->w.closed);
	if (f->on_told != NULL)
		f->on_told(f);
}

static void
on_got(void *ctx, uint64_t source, uint32_t unit, uint32_t bytes, uint32_t wire)
{
	struct fixture *f = ctx;
	(void)source;
	(void)unit;

	f->got += bytes;
	f->wire += wire;
	assert_true(unit_fetch_is_dirty(f->fetch));
	told(f);
}

static void
on_end(void *ctx, const struct unit_fetch_end *end)
{
	struct fixture *f = ctx;

	f->ends++;
	f->end = *end;
	told(f);
}

static void
on_flushed(void *ctx)
{
	struct fixture *f = ctx;

	f->flushed++;
	told(f);
}

static void
on_failed(void *ctx, enum err r, const struct error *e)
{
	struct fixture *f = ctx;
	(void)e;

	f->failed++;
	f->failure = r;
	told(f);
}

static void
on_pause(void *ctx, bool paused)
{
	(void)paused;
	told(ctx);
}

static void
finish(struct fixture *f)
{
	unit_fetch_close(f->fetch, world_closed, &f->w);
	assert_false(f->w.closed);
}

/* -- the fixture -- */

static int
setup(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	world_init(&f->w);
	f->w.ctx = f;
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

/* Units of four leaves, one chunk each; N sources, numbered from 1 on. */
static void
run(struct fixture *f, unsigned n, enum manner manner, void (*on_ready)(struct node *node))
{
	content_file(&f->w.content, 16, UNIT, 0);
	for (unsigned i = 0; i < n; i++)
		world_node(&f->w, manner);
	world_content(&f->w, UNIT);
	const struct unit_fetch_opts o = { .loop = f->w.loop,
		.map = f->w.map,
		.share = f->w.content.share,
		.snapshot = f->w.content.snapshot,
		.sink = { missing, take, flush, f },
		.gate = f->rate,
		.on_got = on_got,
		.on_end = on_end,
		.on_flushed = on_flushed,
		.on_failed = on_failed,
		.on_pause = on_pause,
		.ctx = f };
	f->fetch = unit_fetch_new(&o);
	f->w.on_ready = on_ready;
	for (unsigned i = 0; i < n; i++)
		node_connect(&f->w.nodes[i]);
	loop_run(f->w.loop);
}

static void
add(struct node *n)
{
	struct fixture *f = n->w->ctx;

	unit_fetch_source_add(f->fetch, n->number + 1, n->line);
}

static bool
ask(struct fixture *f, uint64_t source, uint32_t unit, uint16_t first, uint16_t n)
{
	const struct leaf_run run = { first, n };

	f->inside = true;
	bool asked = unit_fetch_ask(f->fetch, source, unit, &run, 1);
	f->inside = false;
	return asked;
}

/* -- requests -- */

static void
end_after_two(struct fixture *f)
{
	if (f->ends == 2)
		finish(f);
}

static void
ask_parts(struct node *n)
{
	struct fixture *f = n->w->ctx;

	f->on_told = end_after_two;
	add(n);
	assert_true(ask(f, 1, 3, 0, 4));
	assert_true(ask(f, 1, 5, 1, 2));
	assert_false(unit_fetch_is_idle(f->fetch));
}

static void
what_is_asked_comes_and_ends_once(void **state)
{
	struct fixture *f = *state;

	run(f, 1, HONEST, ask_parts);
	assert_int_equal(f->leaves, 6);
	assert_int_equal(f->got, 6 * CHUNK_LEAF);
	assert_int_equal(f->ends, 2);
	assert_false(f->end.wrong);
	assert_int_equal(f->end.why.code, OK);
	assert_true(f->w.closed);
}

/* -- a gate -- */

/* The first is asked for all the same, and owed for; what of it did not come is given back. */
static void
ask_at_the_gate(struct node *n)
{
	struct fixture *f = n->w->ctx;

	add(n);
	assert_false(ask(f, 1, 3, 0, 4)); /* it starts empty */
	f->rate->left = 1000;
	assert_true(ask(f, 1, 3, 0, 4));
	assert_int_equal(f->rate->left, 1000 - UNIT * 1000);
	assert_false(ask(f, 1, 5, 0, 1));
	f->inside = true;
	unit_fetch_cancel(f->fetch, 1, 3);
	f->inside = false;
	f->on_told = finish;
}

static void
nothing_is_asked_for_while_the_gate_is_owed(void **state)
{
	struct fixture *f = *state;
	struct rate rate;

	rate_init(&rate, 1, UINT64_MAX); /* it is never filled */
	f->rate = &rate;
	run(f, 1, HONEST, ask_at_the_gate);
	assert_int_equal(f->ends, 1);
	assert_int_equal(rate.left, RATE_BURST_MS); /* thousandths: all that it keeps */
	assert_true(f->w.closed);
}

static void
cancel_twice(struct node *n)
{
	struct fixture *f = n->w->ctx;

	f->on_told = end_after_two;
	add(n);
	assert_true(ask(f, 1, 3, 0, 4));
	assert_true(ask(f, 1, 4, 0, 4));
	f->inside = true;
	unit_fetch_cancel(f->fetch, 1, 3);
	unit_fetch_cancel(f->fetch, 1, 3);
	unit_fetch_cancel(f->fetch, 1, 7); /* was not asked */
	unit_fetch_cancel(f->fetch, UNIT_FETCH_ANYBODY, 4);
	f->inside = false;
	assert_int_equal(f->ends, 0);
}

static void
what_is_cancelled_ends_once_too(void **state)
{
	struct fixture *f = *state;

	run(f, 1, SILENT, cancel_twice);
	assert_int_equal(f->ends, 2);
	assert_int_equal(f->end.why.code, OK);
	assert_int_equal(f->got, 0);
}

static void
end_and_ask_no_more(struct fixture *f)
{
	if (f->ends == 1) {
		assert_false(ask(f, 1, 4, 0, 4)); /* it has gone */
		assert_true(unit_fetch_is_idle(f->fetch));
		finish(f);
	}
}

static void
ask_and_lose_source(struct node *n)
{
	struct fixture *f = n->w->ctx;

	f->on_told = end_and_ask_no_more;
	add(n);
	assert_true(ask(f, 1, 3, 0, 4));
	f->inside = true;
	unit_fetch_source_gone(f->fetch, 1, false);
	f->inside = false;
}

static void
who_has_gone_ends_all_that_was_asked_of_it(void **state)
{
	struct fixture *f = *state;

	run(f, 1, SILENT, ask_and_lose_source);
	assert_int_equal(f->ends, 1);
	assert_int_equal(f->end.source, 1);
	assert_int_equal(f->end.unit, 3);
}

static void
refuse_later(struct fixture *f)
{
	finish(f);
}

static void
ask_one(struct node *n)
{
	struct fixture *f = n->w->ctx;

	add(n);
	assert_true(ask(f, n->number + 1, 3, 0, 4));
}

static void
what_is_said_instead_is_told(void **state)
{
	struct fixture *f = *state;

	f->on_told = refuse_later;
	run(f, 1, REFUSING, ask_one);
	assert_int_equal(f->ends, 1);
	assert_int_equal(f->end.why.code, ERR_NOTFOUND);
	check_says(f->end.why.text, "not from here");
	assert_true(f->end.retry_ms > 0);
	assert_false(f->end.wrong);
}

/* -- what is wrong -- */

static void
end_after_wrong(struct fixture *f)
{
	if (f->ends == 1)
		finish(f);
}

static void
make_second_leaf_wrong(struct node *n)
{
	n->wrong_leaf = 1;
	ask_one(n);
}

static void
nothing_behind_wrong_bytes_is_taken(void **state)
{
	struct fixture *f = *state;

	f->on_told = end_after_wrong;
	run(f, 1, WRONG_BYTES, make_second_leaf_wrong);
	assert_true(f->end.wrong);
	assert_true(f->leaves <= 1);
	assert_int_equal(f->got, f->leaves * CHUNK_LEAF);
	assert_int_equal(f->ends, 1);
}

/* -- what comes packed -- */

/* Frame F of unit U as an honest node would pack it; the leaves are what SOURCE has. */
static struct block *
packed_frame(struct node *n, const struct serve_frame *f)
{
	struct block *b = block_new(f->payload);
	struct leaf_list list;
	uint32_t len;

	frame_data_encode(&f->prefix, b->bytes);
	for (uint32_t i = 0; i < f->n_pieces; i++) {
		const struct serve_piece *p = &f->pieces[i];
		const struct source_leaves which = { &n->w->content.share, &n->w->content.snapshot,
			n->w->map, p->chunk, p->first_leaf, 1 };
		assert_ok(
		    n->source.get_leaves(n, &which, b->bytes + p->at, &len, &list, &unit_error));
		if (p->list_at != 0)
			memcpy(b->bytes + p->list_at, list.hash, (size_t)list.n * HASH_BYTES);
	}
	b->len = b->room;
	struct block *packed = serve_pack(b);
	assert_non_null(packed);
	block_free(b);
	return packed;
}

static bool
send_packed(struct node *n, const struct session_event *ev)
{
	const struct msg_get_units *m = &ev->message.get_units;
	struct unit u = snapshot_map_unit(n->w->map, m->unit);
	const uint32_t lens[] = { UNIT };
	struct serve_frame f;
	struct serve s;

	assert_true((m->codecs & GET_UNITS_ZSTD) != 0);
	assert_ok(serve_init(&s, &u, m, lens, &unit_error));
	while (serve_next(&s, &f)) {
		struct block *b = packed_frame(n, &f);
		b->bytes[b->len - 10] ^= n->manner == WRONG_BYTES ? 0xff : 0;
		session_send_raw(
		    peer_session(n->peer), FRAME_DATA, f.end ? FRAME_END : 0, ev->stream, b);
	}
	peer_flush(n->peer);
	return true;
}

static void
end_after_one(struct fixture *f)
{
	if (f->ends == 1)
		finish(f);
}

static void
ask_for_packed(struct node *n)
{
	struct fixture *f = n->w->ctx;

	f->on_told = end_after_one;
	n->on_request = send_packed;
	n->wrong_leaf = CHUNK_LEAVES_MAX; /* what it has is right: what it sends is not */
	ask_one(n);
}

static void
what_comes_packed_is_taken_as_it_was_and_counted_both_ways(void **state)
{
	struct fixture *f = *state;

	f->w.content.shrinks = true;
	run(f, 1, HONEST, ask_for_packed);
	assert_false(f->end.wrong);
	assert_int_equal(f->leaves, 4);
	assert_int_equal(f->got, 4 * CHUNK_LEAF);
	assert_in_range(f->wire, 1, f->got / 4);
}

static void
what_does_not_unpack_is_a_wrong_leaf_of_who_sent_it(void **state)
{
	struct fixture *f = *state;

	f->w.content.shrinks = true;
	run(f, 1, WRONG_BYTES, ask_for_packed);
	assert_true(f->end.wrong);
	assert_int_equal(f->leaves, 0);
	assert_int_equal(f->got, 0);
	assert_int_equal(f->wire, 0);
}

static void
end_after_failure(struct fixture *f)
{
	assert_int_equal(f->failed, 1);
	assert_false(ask(f, 1, 4, 0, 4)); /* it has stopped */
	finish(f);
}

static void
a_sink_that_fails_stops_it(void **state)
{
	struct fixture *f = *state;

	f->refusal = ERR_NOSPACE;
	f->on_told = end_after_failure;
	run(f, 1, HONEST, ask_one);
	assert_int_equal(f->failure, ERR_NOSPACE);
	assert_int_equal(f->failed, 1);
	assert_int_equal(f->ends, 0);
}

/* Its own disk says "corrupt": that is not about the bytes. */
static void
what_the_sink_says_is_not_about_the_bytes(void **state)
{
	struct fixture *f = *state;

	f->refusal = ERR_CORRUPT;
	f->on_told = end_after_failure;
	run(f, 1, HONEST, ask_one);
	assert_int_equal(f->failure, ERR_IO);
	assert_int_equal(f->ends, 0);
}

/* -- flushing -- */

static void
end_after_flush(struct fixture *f)
{
	if (f->flushed == 0)
		return;
	assert_false(unit_fetch_is_dirty(f->fetch));
	finish(f);
}

static void
what_was_taken_is_flushed_unasked(void **state)
{
	struct fixture *f = *state;

	f->on_told = end_after_flush;
	run(f, 1, HONEST, ask_one);
	assert_int_equal(f->leaves, 4);
	assert_int_equal(f->flushes, 1);
}

static void
flush_twice(struct node *n)
{
	struct fixture *f = n->w->ctx;
	(void)n;

	f->inside = true;
	unit_fetch_flush(f->fetch);
	unit_fetch_flush(f->fetch); /* one is running */
	f->inside = false;
}

static void
a_flush_can_be_asked_for(void **state)
{
	struct fixture *f = *state;

	f->on_told = end_after_flush;
	run(f, 1, HONEST, flush_twice);
	assert_int_equal(f->flushes, 1);
	assert_int_equal(f->flushed, 1);
}

/* -- the end -- */

static void
close_at_gate(void *ctx)
{
	struct fixture *f = ctx;

	if (f->step == 0 && gate_waiting(&f->gate) > 0) {
		f->step = 1;
		finish(f);
	} else if (f->step == 1) {
		assert_false(f->w.closed); /* the sink is in use */
		timer_close(f->look);
		gate_set(&f->gate, GATE_OPEN);
		return;
	}
	timer_start(f->look, 5);
}

static void
ask_and_look(struct node *n)
{
	struct fixture *f = n->w->ctx;

	ask_one(n);
	timer_start(f->look, 1);
}

static void
it_is_closed_when_the_sink_is_no_longer_used(void **state)
{
	struct fixture *f = *state;

	gate_set(&f->gate, GATE_SHUT);
	f->look = timer_new(f->w.loop, close_at_gate, f);
	run(f, 1, HONEST, ask_and_look);
	assert_true(f->w.closed);
	assert_int_equal(f->ends + f->failed + f->flushed, 0); /* nothing is told any more */
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(what_is_asked_comes_and_ends_once),
		T(nothing_is_asked_for_while_the_gate_is_owed),
		T(what_is_cancelled_ends_once_too),
		T(who_has_gone_ends_all_that_was_asked_of_it),
		T(what_is_said_instead_is_told),
		T(nothing_behind_wrong_bytes_is_taken),
		T(what_comes_packed_is_taken_as_it_was_and_counted_both_ways),
		T(what_does_not_unpack_is_a_wrong_leaf_of_who_sent_it),
		T(a_sink_that_fails_stops_it),
		T(what_the_sink_says_is_not_about_the_bytes),
		T(what_was_taken_is_flushed_unasked),
		T(a_flush_can_be_asked_for),
		T(it_is_closed_when_the_sink_is_no_longer_used),
	};
	alarm(110);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
