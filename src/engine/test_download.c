#include "engine/test_memory_sink.h"

#include "engine/download.h"
#include "tests/gate.h"

/* -- a sink in memory -- */

struct fixture {
	struct world w;
	struct memory_sink sink;
	atomic_uint *working; /* jobs of each unit */
	struct gate gate;     /* of chunks in take */
	atomic_uint takes, overlaps, flushes;
	enum err refusal; /* of take */
	/* the download */
	struct download *d;
	uint64_t ahead_ms;   /* of the loop's clock */
	struct timer *clock; /* NULL: time passes as it does */
	void (*on_liar)(void *ctx, struct peer *p, uint32_t unit);
	struct node *liar;
	uint32_t liar_unit;
	unsigned liars;
	/* for one test or the other */
	uint64_t mark;
	struct requester asked;
	bool answered;
};

static uint32_t
unit_of(const struct snapshot_map *map, uint32_t chunk, uint32_t leaf)
{
	for (uint32_t i = 0; i < snapshot_map_units(map); i++) {
		struct unit_pieces p = unit_pieces_of(snapshot_map_unit(map, i));
		for (uint32_t c; unit_pieces_more(&p, &c);) {
			struct unit_piece piece =
			    unit_pieces_next(&p, snapshot_map_chunk(map, c)->len);
			if (c == chunk && leaf - piece.first_leaf < piece.n_leaves)
				return i;
		}
	}
	unit_fail("leaf %u of chunk %u is of no unit", leaf, chunk);
	return 0;
}

static enum err
take(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	struct fixture *f = ctx;
	uint32_t unit = unit_of(f->w.map, leaf->chunk, leaf->leaf);

	assert_false(f->w.closed);
	atomic_fetch_add(&f->takes, 1);
	if (atomic_fetch_add(&f->working[unit], 1) > 0)
		atomic_fetch_add(&f->overlaps, 1);
	gate_pass(&f->gate, leaf->chunk);
	atomic_fetch_sub(&f->working[unit], 1);
	if (f->refusal != OK)
		return fail(e, f->refusal, "the sink is full");
	memory_sink_take(&f->sink, leaf);
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

static uint32_t
missing(void *ctx, uint32_t unit, struct leaf_run *runs, uint32_t *ret_bytes)
{
	struct fixture *f = ctx;

	return memory_sink_missing(&f->sink, UINT32_MAX, unit, runs, ret_bytes);
}

/* -- the download -- */

static void
on_done(void *ctx, enum err r, const struct error *e)
{
	struct fixture *f = ctx;

	world_done(&f->w, r, e);
	timer_close(f->clock);
	download_close(f->d, world_closed, &f->w);
}

static void
on_liar(void *ctx, struct peer *p, uint32_t unit)
{
	struct fixture *f = ctx;

	f->liars++;
	f->liar = peer_owner(p);
	f->liar_unit = unit;
}

static uint64_t
now_ms(void *ctx)
{
	struct fixture *f = ctx;

	return loop_now_ms(f->w.loop) + f->ahead_ms;
}

static void
begin(struct fixture *f, uint32_t unit_size)
{
	world_content(&f->w, unit_size);
	memory_sink_init(&f->sink, &f->w);
	f->working = mem_array(atomic_uint, snapshot_map_units(f->w.map));
	const struct download_opts o = {
		.loop = f->w.loop,
		.map = f->w.map,
		.share = f->w.content.share,
		.snapshot = f->w.content.snapshot,
		.sink = { .missing = missing, .take = take, .flush = flush, .ctx = f },
		.on_liar = f->on_liar,
		.on_done = on_done,
		.now_ms = now_ms,
		.ctx = f,
	};
	f->d = download_start(&o);
}

static void
add_source(struct node *n)
{
	struct fixture *f = n->w->ctx;

	if (!f->w.done)
		download_peer_add(f->d, n->line);
}

static void
source_gone(struct node *n)
{
	struct fixture *f = n->w->ctx;

	if (!f->w.done)
		download_peer_gone(f->d, n->line);
}

static int
setup(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	world_init(&f->w);
	f->w.ctx = f;
	f->w.on_ready = add_source;
	f->w.on_gone = source_gone;
	gate_init(&f->gate);
	f->on_liar = on_liar;
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	world_clear(&f->w);
	gate_clear(&f->gate);
	memory_sink_clear(&f->sink);
	free(f->working);
	free(f);
	return 0;
}

/* Small files, a middle one, and big chunks that no unit holds whole. */
static void
some_files(struct fixture *f)
{
	for (unsigned i = 0; i < 40; i++)
		content_file(&f->w.content, 1, 1 + i * 997, 0);
	content_file(&f->w.content, 3, 192 * 1024, 1234);
	content_file(&f->w.content, 5, 1024 * 1024, 77);
	content_file(&f->w.content, 1, 64 * 1024, 0);
}

static void
assert_whole(struct fixture *f)
{
	assert_true(f->w.done);
	check_ok(f->w.result, f->w.why);
	assert_int_equal(f->sink.bytes, snapshot_map_bytes(f->w.map));
	assert_int_equal(f->overlaps, 0);
	assert_true(f->flushes > 0);
	assert_true(f->w.closed);
}

/* -- what should be -- */

static void
get_all_in_units_of(struct fixture *f, uint32_t size)
{
	struct node *n = world_node(&f->w, HONEST);

	some_files(f);
	begin(f, size);
	node_connect(n);
	loop_run(f->w.loop);
	assert_whole(f);
	assert_int_equal(f->sink.twice, 0);
	assert_int_equal(n->failed, 0);
}

static void
everything_arrives_in_small_units(void **state)
{
	get_all_in_units_of(*state, 64 * 1024);
}

static void
everything_arrives_in_large_units(void **state)
{
	get_all_in_units_of(*state, 4 * 1024 * 1024);
}

static void
leaves_of_a_chunk_in_several_units_are_read_once(void **state)
{
	struct fixture *f = *state;
	struct node *n = world_node(&f->w, HONEST);

	content_file(&f->w.content, 4, 1024 * 1024, 0);
	begin(f, 128 * 1024);
	node_connect(n);
	loop_run(f->w.loop);
	assert_whole(f);
	assert_int_equal(n->leaves_read, 4 * CHUNK_LEAVES_MAX);
}

static void
nothing_missing_needs_no_source(void **state)
{
	struct fixture *f = *state;

	begin(f, 64 * 1024);
	loop_run(f->w.loop);
	assert_int_equal(f->w.result, OK);
	assert_true(f->w.done && f->w.closed);
}

static void
several_sources_share_the_work(void **state)
{
	struct fixture *f = *state;

	some_files(f);
	for (unsigned i = 0; i < 3; i++)
		world_node(&f->w, HONEST);
	begin(f, 64 * 1024);
	for (unsigned i = 0; i < 3; i++)
		node_connect(&f->w.nodes[i]);
	loop_run(f->w.loop);
	assert_whole(f);
	for (unsigned i = 0; i < 3; i++)
		assert_true(f->w.nodes[i].came > 0);
}

/* -- sources that go -- */

static void
cut_after_some(struct node *n)
{
	if (n->sent > 1024 * 1024 && n->connections == 1)
		world_cut(n->peer);
}

/* What is asked for once more while it is on its way to the disk comes twice. */
static void
connect_when_all_is_taken(void *ctx)
{
	struct node *n = ctx;
	struct fixture *f = n->w->ctx;

	if (download_bytes(f->d) < n->leaf_bytes)
		loop_post(n->w->loop, connect_when_all_is_taken, n);
	else
		node_connect(n);
}

static void
come_back(struct node *n)
{
	connect_when_all_is_taken(n);
}

static void
a_source_that_goes_and_comes_back_finishes(void **state)
{
	struct fixture *f = *state;
	struct node *n = world_node(&f->w, HONEST);

	some_files(f);
	n->on_sent = cut_after_some;
	f->w.on_gone_after = come_back;
	begin(f, 64 * 1024);
	node_connect(n);
	loop_run(f->w.loop);
	assert_whole(f);
	assert_int_equal(n->connections, 2);
	assert_int_equal(f->sink.twice, 0);
}

/* Its unit is asked of the other while the first one's leaf is still on its way to the disk. */
static void
cut_first_when_at_gate(struct node *n)
{
	struct fixture *f = n->w->ctx;

	if (n->number == 0 && n->came > LIMIT_DATA_RAW && f->w.nodes[1].line == NULL) {
		node_connect(&f->w.nodes[1]);
		world_cut(n->line);
	} else if (n->number == 1 && n->came >= f->mark) {
		gate_set(&f->gate, GATE_OPEN);
	}
}

static void
a_unit_has_one_job_also_when_its_source_has_gone(void **state)
{
	struct fixture *f = *state;
	struct node *first = world_node(&f->w, HONEST);

	world_node(&f->w, HONEST);
	content_file(&f->w.content, 1, 1024 * 1024, 0);
	f->mark = 1024 * 1024; /* all of it, as nothing was taken */
	gate_set(&f->gate, GATE_SHUT);
	f->w.on_came = cut_first_when_at_gate;
	begin(f, 1024 * 1024);
	node_connect(first);
	loop_run(f->w.loop);
	assert_whole(f);
	assert_int_equal(f->w.nodes[1].connections, 1);
}

/* -- liars -- */

static struct fixture *
liar_and_honest(void **state, enum manner manner)
{
	struct fixture *f = *state;

	some_files(f);
	world_node(&f->w, manner);
	world_node(&f->w, HONEST);
	begin(f, 64 * 1024);
	node_connect(&f->w.nodes[0]);
	node_connect(&f->w.nodes[1]);
	loop_run(f->w.loop);
	return f;
}

static void
assert_liar_was_named(struct fixture *f)
{
	assert_whole(f);
	assert_int_equal(f->liars, 1);
	assert_ptr_equal(f->liar, &f->w.nodes[0]);
	assert_true(f->liar_unit < snapshot_map_units(f->w.map));
}

static void
wrong_bytes_are_dropped_and_named_and_another_finishes(void **state)
{
	assert_liar_was_named(liar_and_honest(state, WRONG_BYTES));
}

static void
a_wrong_leaf_list_is_dropped_and_named_and_another_finishes(void **state)
{
	assert_liar_was_named(liar_and_honest(state, WRONG_LIST));
}

static void
more_than_asked_ends_the_connection_and_another_finishes(void **state)
{
	struct fixture *f = liar_and_honest(state, TOO_MUCH);

	assert_whole(f);
	assert_int_equal(f->w.nodes[0].why.code, ERR_PROTO);
	assert_int_equal(f->liars, 0);
}

/* Time passes when the other has nothing more to do, however long that takes. */
static void
pass_time(void *ctx)
{
	struct fixture *f = ctx;
	const struct node *other = &f->w.nodes[1];

	if (f->sink.bytes > 0 && other->begun == other->whole + other->cut)
		f->ahead_ms += LIMIT_UNIT_STALL_MS;
	timer_start(f->clock, 5);
}

static void
silence_is_waited_out_and_another_finishes(void **state)
{
	struct fixture *f = *state;

	f->clock = timer_new(f->w.loop, pass_time, f);
	timer_start(f->clock, 5);
	liar_and_honest(state, SILENT);
	assert_whole(f);
	assert_true(f->w.nodes[0].requests > 0);
	assert_true(f->w.nodes[0].cancels > 0);
}

static void
a_liar_alone_ends_it(void **state)
{
	struct fixture *f = *state;

	some_files(f);
	begin(f, 64 * 1024);
	node_connect(world_node(&f->w, WRONG_BYTES));
	loop_run(f->w.loop);
	assert_true(f->w.done && f->w.closed);
	check_err(f->w.result, ERR_CORRUPT, f->w.why);
	assert_int_equal(f->sink.bytes, 0);
	assert_int_equal(f->liars, 1);
}

/* The honest one waits at the gate until the liar has been found out and is back. */
static void
cut_liar(void *ctx, struct peer *p, uint32_t unit)
{
	const struct error why = { .code = ERR_IO, .text = "go away", .where = HERE };

	on_liar(ctx, p, unit);
	conn_close(peer_conn(p), &why);
}

static void
let_honest_go_on(struct node *n)
{
	struct fixture *f = n->w->ctx;

	add_source(n);
	if (n->number == 0 && n->connections == 2) {
		f->mark = n->requests;
		gate_set(&f->gate, GATE_OPEN);
	}
}

static void
a_liar_that_comes_back_is_not_asked_again(void **state)
{
	struct fixture *f = *state;
	struct node *liar = world_node(&f->w, WRONG_BYTES);

	some_files(f);
	gate_set(&f->gate, GATE_SHUT);
	f->w.on_ready = let_honest_go_on;
	f->w.on_gone_after = node_connect;
	f->on_liar = cut_liar;
	begin(f, 64 * 1024);
	node_connect(world_node(&f->w, HONEST));
	node_connect(liar);
	loop_run(f->w.loop);
	assert_whole(f);
	assert_int_equal(f->liars, 1);
	assert_int_equal(liar->connections, 2);
	assert_int_equal(liar->requests, f->mark);
}

/* -- a liar found out while we do not read --
 *
 * It is asked first: a right leaf, then a wrong one, of each unit.  Its right ones wait at the gate
 * while honest ones send until reading stops. */

enum { PAUSE_UNIT = 256 * 1024, PAUSE_HONEST = 9 };

static void
on_liars_answer(struct requester *r, struct peer *p, struct session_event *ev)
{
	struct fixture *f = container_of(r, struct fixture, asked);
	(void)p;

	assert_int_equal(ev->kind, SESSION_EV_ANSWER);
	f->answered = true;
	gate_set(&f->gate, GATE_OPEN);
}

/* Somebody else asks on the same connection. */
static void
ask_the_liar(void *ctx, struct peer *p, uint32_t unit)
{
	struct fixture *f = ctx;
	struct message m = { .type = FRAME_QUERY, .query = { .kind = QUERY_SHARES } };

	on_liar(ctx, p, unit);
	f->asked.on_event = on_liars_answer;
	assert_ok(session_request(peer_session(p), &m, &f->asked, NULL, &unit_error));
	peer_flush(p);
}

static void
count_until_paused(struct node *n)
{
	struct fixture *f = n->w->ctx;
	uint64_t all = 0;

	for (unsigned i = 0; i < f->w.n; i++)
		all += f->w.nodes[i].came;
	if (f->mark == 0 && all >= 4 * PAUSE_UNIT) {
		f->mark = 1;
		for (unsigned i = 1; i < f->w.n; i++)
			node_connect(&f->w.nodes[i]);
	} else if (f->mark == 1 && all > DOWNLOAD_BACKLOG) {
		f->mark = 2;
		gate_set(&f->gate, 4); /* the liar's */
	}
}

static void
a_liar_found_out_during_a_pause_can_be_read_from_again(void **state)
{
	struct fixture *f = *state;
	struct node *liar = world_node(&f->w, WRONG_BYTES);

	liar->wrong_leaf = 1;
	content_file(&f->w.content, 64, PAUSE_UNIT, 0);
	for (unsigned i = 0; i < PAUSE_HONEST; i++)
		world_node(&f->w, HONEST);
	gate_set(&f->gate, GATE_SHUT);
	f->w.on_came = count_until_paused;
	f->on_liar = ask_the_liar;
	begin(f, PAUSE_UNIT);
	node_connect(liar);
	loop_run(f->w.loop);
	assert_true(f->answered);
	assert_whole(f);
	assert_int_equal(f->liars, 1);
}

/* -- refusals -- */

static void
a_chunk_that_is_gone_is_got_from_another(void **state)
{
	struct fixture *f = *state;
	struct node *changed = world_node(&f->w, HONEST);
	struct node *whole = world_node(&f->w, HONEST);

	some_files(f);
	begin(f, 64 * 1024);
	changed->absent = &snapshot_map_chunk(f->w.map, 41)->id;
	node_connect(changed);
	node_connect(whole);
	loop_run(f->w.loop);
	assert_whole(f);
	if (changed->failed > 0) /* it was asked for it */
		check_says(changed->failure.text, "the file has changed");
}

static void
what_the_last_source_says_ends_it(void **state)
{
	struct fixture *f = *state;
	struct node *n = world_node(&f->w, HONEST);

	some_files(f);
	begin(f, 64 * 1024);
	n->absent = &snapshot_map_chunk(f->w.map, 41)->id;
	node_connect(n);
	loop_run(f->w.loop);
	check_err(f->w.result, ERR_NOTFOUND, f->w.why);
	check_says(f->w.why.text, "the file has changed");
	assert_int_equal(f->liars, 0);
}

static void
two_who_both_refuse_end_it(void **state)
{
	struct fixture *f = *state;

	some_files(f);
	world_node(&f->w, REFUSING)->refusal = ERR_DENIED;
	world_node(&f->w, REFUSING)->refusal = ERR_DENIED;
	begin(f, 64 * 1024);
	node_connect(&f->w.nodes[0]);
	node_connect(&f->w.nodes[1]);
	loop_run(f->w.loop);
	check_err(f->w.result, ERR_DENIED, f->w.why);
}

static void
a_full_disk_over_there_is_not_ours(void **state)
{
	struct fixture *f = *state;

	some_files(f);
	world_node(&f->w, REFUSING)->refusal = ERR_NOSPACE;
	begin(f, 64 * 1024);
	node_connect(&f->w.nodes[0]);
	loop_run(f->w.loop);
	check_err(f->w.result, ERR_IO, f->w.why);
}

static void
a_full_disk_here_ends_it(void **state)
{
	struct fixture *f = *state;

	some_files(f);
	f->refusal = ERR_NOSPACE;
	begin(f, 64 * 1024);
	node_connect(world_node(&f->w, HONEST));
	loop_run(f->w.loop);
	check_err(f->w.result, ERR_NOSPACE, f->w.why);
	assert_int_equal(f->liars, 0);
}

static void
forbid_after_some(struct node *n)
{
	struct fixture *f = n->w->ctx;

	if (n->sent <= 1024 * 1024 || n->forbids)
		return;
	n->forbids = true;
	f->mark = n->sent;
}

static void
a_right_taken_away_ends_it_at_once(void **state)
{
	struct fixture *f = *state;
	struct node *n = world_node(&f->w, HONEST);

	some_files(f);
	n->on_sent = forbid_after_some;
	begin(f, 64 * 1024);
	node_connect(n);
	loop_run(f->w.loop);
	check_err(f->w.result, ERR_DENIED, f->w.why);
	assert_int_equal(n->sent, f->mark);
}

/* -- the end in the middle -- */

static void
close_in_the_middle(struct node *n)
{
	struct fixture *f = n->w->ctx;

	if (f->sink.bytes < 1024 * 1024 || f->w.done)
		return;
	f->w.done = true; /* no more of it */
	download_close(f->d, world_closed, &f->w);
	assert_int_equal(f->w.closed, false);
}

static void
closed_in_the_middle_it_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct node *n = world_node(&f->w, HONEST);

	some_files(f);
	f->w.on_came = close_in_the_middle;
	begin(f, 64 * 1024);
	node_connect(n);
	loop_run(f->w.loop);
	assert_true(f->w.closed);
	assert_true(f->sink.bytes < snapshot_map_bytes(f->w.map));
	assert_false(n->has_why);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(everything_arrives_in_small_units),
		T(everything_arrives_in_large_units),
		T(leaves_of_a_chunk_in_several_units_are_read_once),
		T(nothing_missing_needs_no_source),
		T(several_sources_share_the_work),
		T(a_source_that_goes_and_comes_back_finishes),
		T(a_unit_has_one_job_also_when_its_source_has_gone),
		T(wrong_bytes_are_dropped_and_named_and_another_finishes),
		T(a_wrong_leaf_list_is_dropped_and_named_and_another_finishes),
		T(more_than_asked_ends_the_connection_and_another_finishes),
		T(silence_is_waited_out_and_another_finishes),
		T(a_liar_alone_ends_it),
		T(a_liar_that_comes_back_is_not_asked_again),
		T(a_liar_found_out_during_a_pause_can_be_read_from_again),
		T(a_chunk_that_is_gone_is_got_from_another),
		T(what_the_last_source_says_ends_it),
		T(two_who_both_refuse_end_it),
		T(a_full_disk_over_there_is_not_ours),
		T(a_full_disk_here_ends_it),
		T(a_right_taken_away_ends_it_at_once),
		T(closed_in_the_middle_it_leaves_nothing),
	};
	alarm(110);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
