#include "engine/test_transfer_world.h"

#include "engine/fetch_nodes.h"

enum { DIRS = 60, FILES = 400 };

struct fixture {
	struct world w;
	struct chunk_store *store;
	char *path;
	struct commit commit;
	struct fetch_nodes *fetch;
	struct map told; /* nodes that on_node was told */
	uint64_t nodes, most_waiting;
	/* for one test or the other */
	unsigned step;
	struct timer *look;
	struct requester other;
	uint32_t streams[LIMIT_NODES_OPEN];
};

/* -- a manifest -- */

/* Directories of FILES files each, of different content. */
static void
make_manifest(struct fixture *f, unsigned dirs, unsigned files)
{
	struct content *c = &f->w.content;
	auto_free struct tree_entry *tops = mem_array(struct tree_entry, dirs);
	auto_free struct tree_entry *entries = mem_array(struct tree_entry, files + 1);
	auto_free struct tree_item *items = mem_array(struct tree_item, files + 1);
	auto_free struct hash_id *roots = mem_array(struct hash_id, dirs);
	auto_free char *names = mem_alloc((size_t)(dirs + files) * 16);
	auto_(prolly_builder_free_p) struct prolly_builder *causal =
	    prolly_builder_new(HASH_CAUSAL, HASH_DEFAULT, nodes_sink(&c->nodes));

	f->commit.bytes = 0;
	for (unsigned d = 0; d < dirs; d++) {
		uint64_t size = 0;
		for (unsigned i = 0; i < files; i++) {
			char *name = names + (size_t)(dirs + i) * 16;
			snprintf(name, 16, "file%07u", i);
			entries[i] = file_entry(name, &items[i], (uint64_t)d * files + i);
			size += entries[i].size;
		}
		roots[d] = make_dir(&c->nodes, entries, files);
		snprintf(names + (size_t)d * 16, 16, "dir%07u", d);
		tops[d] = dir_entry(names + (size_t)d * 16, &roots[d], files, size);
		f->commit.bytes += size;
	}
	c->root = make_dir(&c->nodes, tops, dirs);
	hash_object(HASH_DEFAULT, HASH_COMMIT, hash_id_bytes(&c->root), &c->snapshot);
	assert_ok(prolly_builder_finish(causal, &f->commit.causal, &unit_error));
	f->commit.share = c->share;
	f->commit.id = c->snapshot;
	f->commit.content = c->root;
	f->commit.entries = (uint64_t)dirs * (files + 1);
}

static bool
store_has_all(struct fixture *f)
{
	map_each (it, &f->w.content.nodes.kept) {
		struct hash_id id;
		assert_int_equal(it->key_len, HASH_ID_BYTES + 1);
		memcpy(&id, it->key + 1, sizeof id);
		if (!chunk_store_has(f->store, &id))
			return false;
	}
	return true;
}

/* -- fetching -- */

static enum err
on_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	struct fixture *f = ctx;
	(void)kind;
	(void)e;

	assert_false(f->w.closed);
	map_put(&f->told, hash_id_bytes(id), NULL);
	return OK;
}

static void
on_progress(void *ctx, uint64_t nodes, uint64_t bytes)
{
	struct fixture *f = ctx;
	(void)bytes;

	f->nodes = nodes;
	f->most_waiting = max_of(f->most_waiting, (uint64_t)fetch_nodes_waiting(f->fetch));
}

static void
on_done(void *ctx, enum err r, const struct error *e)
{
	struct fixture *f = ctx;

	world_done(&f->w, r, e);
	fetch_nodes_close(f->fetch, world_closed, &f->w);
}

static void
start(struct fixture *f, struct peer *p)
{
	const struct fetch_nodes_opts o = { .loop = f->w.loop,
		.nodes = f->store,
		.commit = &f->commit,
		.on_node = on_node,
		.on_progress = on_progress,
		.on_done = on_done,
		.ctx = f };

	f->fetch = fetch_nodes_start(&o, p);
}

/* The first connection begins, each further one goes on. */
static void
start_or_go_on(struct node *n)
{
	struct fixture *f = n->w->ctx;

	if (f->fetch == NULL)
		start(f, n->line);
	else if (!f->w.done)
		fetch_nodes_peer(f->fetch, n->line);
}

static void
peer_gone(struct node *n)
{
	struct fixture *f = n->w->ctx;

	if (f->fetch != NULL && !f->w.done)
		fetch_nodes_peer_gone(f->fetch, n->line);
}

static void
open_store(struct fixture *f)
{
	const struct chunk_store_opts o = { .compress = false };

	assert_ok(chunk_store_open(f->path, &o, &f->store, &unit_error));
}

static int
setup(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	world_init(&f->w);
	f->w.ctx = f;
	f->w.on_ready = start_or_go_on;
	f->w.on_gone = peer_gone;
	f->path = str_printf("%s/store", f->w.dir.path);
	open_store(f);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	chunk_store_close(f->store);
	map_clear(&f->told);
	free(f->path);
	world_clear(&f->w);
	free(f);
	return 0;
}

static struct node *
run(struct fixture *f, enum manner manner)
{
	struct node *n = world_node(&f->w, manner);

	node_connect(n);
	loop_run(f->w.loop);
	assert_true(f->w.closed);
	return n;
}

/* Another world around the same store. */
static void
run_again(struct fixture *f, enum manner manner)
{
	f->w.over = false;
	loop_free(f->w.loop);
	assert_ok(loop_new(WORLD_THREADS, &f->w.loop, &unit_error));
	f->w.limit = timer_new(f->w.loop, world_is_late, &f->w);
	timer_start(f->w.limit, WORLD_LIMIT_MS);
	f->w.on_ready = start_or_go_on;
	f->w.on_gone = peer_gone;
	f->w.on_came = NULL;
	f->fetch = NULL;
	f->w.done = f->w.closed = false;
	f->nodes = 0;
	run(f, manner);
}

static void
assert_whole(struct fixture *f)
{
	assert_true(f->w.done && f->w.closed);
	check_ok(f->w.result, f->w.why);
	assert_true(store_has_all(f));
	assert_int_equal(f->told.len, f->w.content.nodes.kept.len);
	assert_true(f->most_waiting < 256 * 1024);
}

/* -- what should be -- */

static void
the_whole_manifest_arrives_and_only_once(void **state)
{
	struct fixture *f = *state;

	make_manifest(f, DIRS, FILES);
	struct node *n = run(f, HONEST);
	assert_whole(f);
	assert_int_equal(n->ids, f->w.content.nodes.kept.len);
	assert_int_equal(f->nodes, n->ids);
	run_again(f, HONEST);
	assert_whole(f);
	assert_int_equal(f->w.nodes[1].requests, 0);
}

static void
cut_after_some(struct node *n)
{
	if (n->sent > 400 * 1024 && n->connections == 1)
		world_cut(n->peer);
}

static void
a_source_that_goes_and_comes_back_finishes(void **state)
{
	struct fixture *f = *state;
	struct node *n = world_node(&f->w, HONEST);

	make_manifest(f, DIRS, FILES);
	n->on_sent = cut_after_some;
	f->w.on_gone_after = node_connect;
	node_connect(n);
	loop_run(f->w.loop);
	assert_whole(f);
	assert_int_equal(n->connections, 2);
}

/* The new connection is there before the old one is known to be dead. */
static void
connect_the_new_one(struct node *n)
{
	struct fixture *f = n->w->ctx;

	if (n->number == 0 && f->step == 0) {
		f->step = 1;
		node_connect(&f->w.nodes[1]);
	}
}

static void
cut_the_old_one(struct node *n)
{
	struct fixture *f = n->w->ctx;

	start_or_go_on(n);
	if (n->number == 1)
		world_cut(f->w.nodes[0].line);
}

static void
what_an_old_connection_loses_does_not_disturb_the_new_one(void **state)
{
	struct fixture *f = *state;
	struct node *old = world_node(&f->w, HONEST);

	world_node(&f->w, HONEST);
	make_manifest(f, DIRS, FILES);
	old->silent_after = 2;
	f->w.on_came = connect_the_new_one;
	f->w.on_ready = cut_the_old_one;
	node_connect(old);
	loop_run(f->w.loop);
	assert_whole(f);
	assert_true(old->has_why);
}

static void
on_others_end(struct requester *r, struct peer *p, struct session_event *ev)
{
	(void)r;
	(void)p;
	(void)ev;
	unit_fail("it was cancelled");
}

static void
take_all_streams(struct node *n)
{
	struct fixture *f = n->w->ctx;
	auto_buf struct buf b = BUF(HASH_ID_BYTES);
	struct message m = { .type = FRAME_GET_NODES };

	f->other.on_event = on_others_end;
	hash_id_encode(&b, &f->commit.content);
	m.get_nodes = (struct msg_get_nodes){ .share = f->commit.share,
		.snapshot = f->commit.id,
		.ids = buf_bytes(&b),
		.kind = HASH_TREE };
	for (size_t i = 0; i < lengthof(f->streams); i++)
		assert_ok(session_request(
		    peer_session(n->line), &m, &f->other, &f->streams[i], &unit_error));
	start(f, n->line);
	for (size_t i = 0; i < lengthof(f->streams); i++)
		session_cancel(peer_session(n->line), f->streams[i]);
	peer_flush(n->line);
}

static void
a_connection_that_is_full_is_tried_again(void **state)
{
	struct fixture *f = *state;

	make_manifest(f, 3, 10);
	f->w.on_ready = take_all_streams;
	run(f, HONEST);
	assert_whole(f);
}

/* -- what should not be -- */

static void
a_wrong_node_ends_it(void **state)
{
	struct fixture *f = *state;

	make_manifest(f, DIRS, FILES);
	run(f, WRONG_BYTES);
	check_err(f->w.result, ERR_CORRUPT, f->w.why);
	assert_int_equal(f->told.len, 0);
}

/* It is one of many in its request, and the rest is on its way. */
static void
a_node_that_is_not_there_ends_it(void **state)
{
	struct fixture *f = *state;
	struct node *n = world_node(&f->w, HONEST);
	struct hash_id lost;

	make_manifest(f, DIRS, FILES);
	lost = f->commit.causal;
	map_each (it, &f->w.content.nodes.kept) {
		if (it->key[0] == HASH_TREE &&
		    memcmp(it->key + 1, &f->commit.content, sizeof lost) != 0)
			memcpy(&lost, it->key + 1, sizeof lost);
	}
	n->absent = &lost;
	node_connect(n);
	loop_run(f->w.loop);
	check_err(f->w.result, ERR_CORRUPT, f->w.why);
	assert_int_equal(n->failed, 0);
}

static void
a_refusal_ends_it(void **state)
{
	struct fixture *f = *state;
	struct node *n = world_node(&f->w, HONEST);

	make_manifest(f, 3, 10);
	n->forbids = true;
	node_connect(n);
	loop_run(f->w.loop);
	check_err(f->w.result, ERR_DENIED, f->w.why);
	assert_int_equal(n->sent, 0);
}

static void
other_totals_than_declared_end_it(void **state)
{
	struct fixture *f = *state;

	make_manifest(f, 3, 10);
	f->commit.bytes++;
	run(f, HONEST);
	check_err(f->w.result, ERR_PROTO, f->w.why);
}

static void
more_nodes_than_the_entries_can_need_end_it(void **state)
{
	struct fixture *f = *state;

	make_manifest(f, 2000, 1);
	f->commit.entries = f->commit.bytes = 1;
	struct node *n = run(f, HONEST);
	check_err(f->w.result, ERR_PROTO, f->w.why);
	check_says(f->w.why.text, "more nodes");
	assert_true(n->ids < 1500);
}

/* -- bounds, and the end in the middle -- */

/* The source is silent: when nothing new has been asked for a while, nothing will be. */
static void
look_at_asked(void *ctx)
{
	struct fixture *f = ctx;
	const struct node *n = &f->w.nodes[0];

	if (n->requests < n->silent_after + 1 || ++f->step < 20) {
		timer_start(f->look, 5);
		return;
	}
	timer_close(f->look);
	assert_true(n->ids - f->nodes <= 64);
	f->w.done = true;
	fetch_nodes_close(f->fetch, world_closed, &f->w);
}

static void
no_more_is_asked_than_there_is_room_for(void **state)
{
	struct fixture *f = *state;
	struct node *n = world_node(&f->w, HONEST);

	make_manifest(f, 3000, 1);
	n->silent_after = 2;
	f->look = timer_new(f->w.loop, look_at_asked, f);
	timer_start(f->look, 5);
	node_connect(n);
	loop_run(f->w.loop);
	assert_true(f->w.closed);
}

static void
close_after_some(struct node *n)
{
	struct fixture *f = n->w->ctx;

	if (f->w.done || f->nodes < f->w.content.nodes.kept.len * 3 / 4)
		return;
	f->w.done = true;
	fetch_nodes_close(f->fetch, world_closed, &f->w);
	assert_false(f->w.closed);
}

static void
who_is_killed_in_the_middle_goes_on_where_it_was(void **state)
{
	struct fixture *f = *state;
	struct chunk_store_stats kept;

	make_manifest(f, 150, FILES);
	assert_true(f->w.content.nodes.bytes > 3 << 20);
	f->w.on_came = close_after_some;
	run(f, HONEST);
	assert_false(store_has_all(f));
	assert_ok(chunk_store_stats(f->store, &kept, &unit_error)); /* of what is durable */
	assert_true(kept.raw_bytes >= 1 << 20);
	chunk_store_close(f->store);
	open_store(f);
	map_clear(&f->told);
	run_again(f, HONEST);
	assert_whole(f);
	/* Of three quarters at most a MiB, and what had just come, was lost. */
	assert_true(f->w.nodes[1].ids < f->w.content.nodes.kept.len * 3 / 4);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(the_whole_manifest_arrives_and_only_once),
		T(a_source_that_goes_and_comes_back_finishes),
		T(what_an_old_connection_loses_does_not_disturb_the_new_one),
		T(a_connection_that_is_full_is_tried_again),
		T(a_wrong_node_ends_it),
		T(a_node_that_is_not_there_ends_it),
		T(a_refusal_ends_it),
		T(other_totals_than_declared_end_it),
		T(more_nodes_than_the_entries_can_need_end_it),
		T(no_more_is_asked_than_there_is_room_for),
		T(who_is_killed_in_the_middle_goes_on_where_it_was),
	};
	alarm(110);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
