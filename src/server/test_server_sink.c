/* To know a hash is no right to its content: docs/threat-model.md, claim 7. */
#include "server/test_server_world.h"

enum { BIG = 3 * CHUNK_LEAF + 100 };

struct fixture {
	struct world w;
	struct check_dir dir;
	struct registry_share *mine, *theirs; /* anna's, bert's */
	struct registry_snapshot *sn;         /* announced in mine */
	struct snapshot_map *map;
	struct server_sink *sink;
};

static int
set_up(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	world_make(&f->w, &f->dir);
	f->mine = world_make_share(&f->w, "mine", f->w.anna);
	f->theirs = world_make_share(&f->w, "theirs", f->w.bert);
	*state = f;
	return 0;
}

static void
close_sink(struct fixture *f)
{
	server_sink_unref(f->sink);
	snapshot_map_free(f->map);
	f->sink = NULL;
	f->map = NULL;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	close_sink(f);
	world_remove(&f->w, &f->dir);
	free(f);
	return 0;
}

/* N files of LEN bytes each, chunks FIRST on, in mine. */
static void
announce(struct fixture *f, uint64_t first, size_t n, uint32_t len)
{
	assert_ok(
	    world_snapshot(&f->w, f->mine, f->w.anna, first, n, len, true, &f->sn, &unit_error));
}

/* Chunks 1 to 3, in theirs. */
static void
publish_theirs(struct fixture *f)
{
	struct registry_snapshot *sn;

	assert_ok(world_snapshot(
	    &f->w, f->theirs, f->w.bert, 1, 3, WORLD_CHUNK, false, &sn, &unit_error));
}

static void
open_sink(struct fixture *f, const int64_t *readable, size_t n)
{
	struct server *s = &f->w.server;

	assert_ok(snapshot_map_open(s->maps_dir, server_source_nodes(s), &f->sn->content, UNIT_MIN,
	    NULL, &f->map, &unit_error));
	assert_ok(server_sink_open(s, f->mine->num, readable, n, f->map, &f->sink, &unit_error));
}

static uint32_t
missing_bytes(struct fixture *f)
{
	struct sink ops = server_sink_ops(f->sink);
	struct leaf_run runs[LIMIT_UNIT_RUNS];
	uint32_t all = 0, bytes;

	for (uint32_t u = 0; u < snapshot_map_units(f->map); u++) {
		(void)ops.missing(ops.ctx, u, runs, &bytes);
		all += bytes;
	}
	return all;
}

static bool
is_recorded(struct fixture *f, uint64_t n, uint32_t len)
{
	struct hash_id id = world_chunk_id(n, len);

	return registry_share_has_chunk(f->w.server.registry->db, f->mine->num, &id);
}

static void
flush(struct fixture *f)
{
	struct sink ops = server_sink_ops(f->sink);

	assert_ok(ops.flush(ops.ctx, &unit_error));
}

/* Leaf number LEAF of the only chunk, which is chunk number N. */
static void
send(struct fixture *f, uint64_t n, uint32_t len, uint32_t leaf)
{
	struct sink ops = server_sink_ops(f->sink);
	auto_free uint8_t *bytes = mem_alloc(CHUNK_MAX);
	struct leaf_list list;
	struct hash_id id;

	world_bytes(n, len, bytes);
	chunk_id_of(HASH_DEFAULT, BYTES(bytes, len), &list, &id);
	struct transfer_leaf l = {
		.chunk = snapshot_map_find(f->map, &id),
		.leaf = leaf,
		.n_leaves = chunk_id_leaf_count(len),
		.bytes = BYTES(bytes + (size_t)leaf * CHUNK_LEAF, chunk_id_leaf_len(len, leaf)),
		.list = &list,
	};
	assert_ok(ops.take(ops.ctx, &l, &unit_error));
}

static void
a_chunk_of_a_share_that_the_author_may_not_read_is_to_be_sent(void **state)
{
	struct fixture *f = *state;
	const int64_t readable[] = { f->mine->num };

	publish_theirs(f);
	announce(f, 1, 3, WORLD_CHUNK);
	open_sink(f, readable, 1);
	assert_int_equal(missing_bytes(f), 3 * WORLD_CHUNK);
	assert_int_equal(server_sink_held(f->sink), 0);
	flush(f);
	for (uint64_t n = 1; n <= 3; n++)
		assert_false(is_recorded(f, n, WORLD_CHUNK));
	/* Asking again, and having sent one of them, changes nothing for the others. */
	send(f, 2, WORLD_CHUNK, 0);
	flush(f);
	close_sink(f);
	open_sink(f, readable, 1);
	assert_int_equal(missing_bytes(f), 2 * WORLD_CHUNK);
	assert_true(is_recorded(f, 2, WORLD_CHUNK));
	assert_false(is_recorded(f, 1, WORLD_CHUNK) || is_recorded(f, 3, WORLD_CHUNK));
}

static void
a_chunk_of_a_share_that_the_author_may_read_is_not_sent_again(void **state)
{
	struct fixture *f = *state;
	const int64_t readable[] = { f->mine->num, f->theirs->num };

	publish_theirs(f);
	announce(f, 2, 3, WORLD_CHUNK);
	open_sink(f, readable, 2);
	assert_int_equal(missing_bytes(f), WORLD_CHUNK);
	assert_int_equal(server_sink_held(f->sink), 2 * WORLD_CHUNK);
	assert_false(is_recorded(f, 2, WORLD_CHUNK));
	flush(f); /* from now on it is this share's too */
	assert_true(is_recorded(f, 2, WORLD_CHUNK) && is_recorded(f, 3, WORLD_CHUNK));
	assert_false(is_recorded(f, 4, WORLD_CHUNK));
}

static void
a_row_without_the_bytes_is_no_chunk(void **state)
{
	struct fixture *f = *state;
	struct hash_id id = world_chunk_id(1, WORLD_CHUNK);
	const int64_t readable[] = { f->mine->num };

	announce(f, 1, 1, WORLD_CHUNK);
	assert_ok(
	    registry_store_share_chunk(f->w.server.registry->db, f->mine->num, &id, &unit_error));
	open_sink(f, readable, 1);
	assert_int_equal(missing_bytes(f), WORLD_CHUNK);
}

static void
leaves_of_a_big_chunk_may_come_in_any_order_and_twice(void **state)
{
	struct fixture *f = *state;
	const uint32_t order[] = { 2, 0, 2, 3, 0 };

	announce(f, 7, 1, BIG);
	open_sink(f, &f->mine->num, 1);
	for (size_t i = 0; i < lengthof(order); i++)
		send(f, 7, BIG, order[i]);
	assert_int_equal(missing_bytes(f), CHUNK_LEAF); /* leaf 1 */
	flush(f);
	assert_false(is_recorded(f, 7, BIG));
	send(f, 7, BIG, 1);
	send(f, 7, BIG, 1);
	assert_int_equal(missing_bytes(f), 0);
	assert_int_equal(server_sink_held(f->sink), BIG);
	assert_false(is_recorded(f, 7, BIG)); /* not before it is durable */
	flush(f);
	assert_true(is_recorded(f, 7, BIG));
}

static enum err
read_leaves(struct fixture *f, uint64_t n, uint32_t first, uint32_t count)
{
	struct hash_id share = f->mine->id, id = world_chunk_id(n, BIG);
	auto_free uint8_t *want = mem_alloc(CHUNK_MAX), *got = mem_alloc(CHUNK_MAX);
	struct leaf_list list, whole;
	const struct source_leaves w = { &share, &f->sn->id, f->map, snapshot_map_find(f->map, &id),
		first, count };
	uint32_t len = 0;

	world_bytes(n, BIG, want);
	chunk_id_of(HASH_DEFAULT, BYTES(want, BIG), &whole, &id);
	enum err r = server_sink_get_leaves(f->sink, &w, got, &len, &list, &unit_error);
	if (r != OK)
		return r;
	assert_int_equal(
	    len, min_of((first + count) * CHUNK_LEAF, (uint32_t)BIG) - first * CHUNK_LEAF);
	assert_memory_equal(got, want + (size_t)first * CHUNK_LEAF, len);
	assert_int_equal(list.n, whole.n);
	assert_memory_equal(list.hash, whole.hash, (size_t)whole.n * HASH_BYTES);
	return OK;
}

static void
leaves_are_given_on_before_their_chunk_is_whole_and_after(void **state)
{
	struct fixture *f = *state;

	announce(f, 7, 2, BIG);
	open_sink(f, &f->mine->num, 1);
	assert_err(ERR_NOTFOUND, read_leaves(f, 7, 0, 1));
	for (uint32_t i = 1; i < 4; i++) /* two chunks side by side */
		for (uint64_t n = 7; n <= 8; n++)
			send(f, n, BIG, i);
	assert_ok(read_leaves(f, 7, 1, 3));
	assert_ok(read_leaves(f, 8, 2, 1));
	assert_err(ERR_NOTFOUND, read_leaves(f, 7, 0, 2));
	send(f, 7, BIG, 0);
	assert_ok(read_leaves(f, 7, 0, 4));
	assert_err(ERR_NOTFOUND, read_leaves(f, 8, 0, 4));
	send(f, 8, BIG, 0);
	assert_ok(read_leaves(f, 8, 0, 4));
	flush(f);
	assert_true(is_recorded(f, 7, BIG) && is_recorded(f, 8, BIG));
}

static void
what_was_not_whole_when_it_ended_is_sent_again(void **state)
{
	struct fixture *f = *state;

	announce(f, 7, 2, BIG);
	open_sink(f, &f->mine->num, 1);
	for (uint32_t i = 0; i < 4; i++)
		send(f, 7, BIG, i);
	send(f, 8, BIG, 0);
	flush(f);
	assert_int_equal(missing_bytes(f), BIG - CHUNK_LEAF);
	close_sink(f);
	open_sink(f, &f->mine->num, 1);
	assert_int_equal(missing_bytes(f), BIG);
}

static void
a_share_that_goes_meanwhile_takes_its_rows_along(void **state)
{
	static const char SQL_ROWS[] = "SELECT count(*) FROM share_chunk WHERE share = ?";
	struct fixture *f = *state;
	int64_t num = f->mine->num;

	announce(f, 1, 2, WORLD_CHUNK);
	open_sink(f, &num, 1);
	send(f, 1, WORLD_CHUNK, 0);
	assert_ok(registry_store_share_drop(
	    f->w.server.registry->db, num, &f->mine->policy_id, &unit_error));
	send(f, 2, WORLD_CHUNK, 0);
	flush(f);
	assert_int_equal(world_count(&f->w, SQL_ROWS, num), 0);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(a_chunk_of_a_share_that_the_author_may_not_read_is_to_be_sent),
		T(a_chunk_of_a_share_that_the_author_may_read_is_not_sent_again),
		T(a_row_without_the_bytes_is_no_chunk),
		T(leaves_of_a_big_chunk_may_come_in_any_order_and_twice),
		T(leaves_are_given_on_before_their_chunk_is_whole_and_after),
		T(what_was_not_whole_when_it_ended_is_sent_again),
		T(a_share_that_goes_meanwhile_takes_its_rows_along),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
