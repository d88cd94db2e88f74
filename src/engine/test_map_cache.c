#include "manifest/test_nodes.h"

#include "tests/check.h"

#include <pthread.h>

#include "base/mem.h"
#include "engine/map_cache.h"
#include "tests/gate.h"

enum { CHUNKS = 20000, MAPS = 40, KEPT = 16 };

/* A tree of one file of N chunks, FIRST and those that follow. */
static struct hash_id
make_tree(struct nodes *nodes, uint64_t first, size_t n)
{
	auto_(prolly_builder_free_p) struct prolly_builder *dir =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, nodes_sink(nodes));
	auto_(tree_file_builder_free_p) struct tree_file_builder *file =
	    tree_file_builder_new(HASH_DEFAULT, nodes_sink(nodes));
	struct tree_entry en = { .name = BYTES_LIT("f"), .type = TREE_FILE, .mode = 0644 };
	struct hash_id root;

	for (size_t i = 0; i < n; i++) {
		struct tree_item item = { .id = any_id(first + i), .len = TREE_HOLE_BLOCK };
		assert_ok(tree_file_builder_add(file, &item, &unit_error));
	}
	assert_ok(tree_file_builder_finish(file, &en, &unit_error));
	add_entry(dir, &en);
	assert_ok(prolly_builder_finish(dir, &root, &unit_error));
	return root;
}

/* KiB of the files of maps that are in our memory; *RET_MAPS: how many files are mapped. */
static unsigned long
resident(size_t *ret_maps)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[4096], path[4096];
	unsigned long sum = 0, kib;
	bool ours = false;

	assert_non_null(f);
	*ret_maps = 0;
	while (fgets(line, sizeof line, f) != NULL) {
		if (sscanf(line, "%*x-%*x %*s %*s %*s %*s %4095s", path) == 1) {
			ours = strstr(path, ".chunks") != NULL;
			*ret_maps += ours;
		} else if (ours && sscanf(line, "Rss: %lu", &kib) == 1) {
			sum += kib;
		}
	}
	fclose(f);
	return sum;
}

static void
a_map_that_nobody_uses_costs_next_to_nothing(void **state)
{
	struct nodes nodes = { 0 };
	struct check_dir dir = check_dir_make_fast();
	struct map_cache *c = map_cache_new(dir.fd, nodes_source(&nodes));
	struct hash_id root = make_tree(&nodes, 0, CHUNKS);
	struct snapshot_map *m;
	uint64_t sum = 0;
	size_t n;

	(void)state;
	assert_ok(map_cache_get(c, &root, 256 * 1024, &m, &unit_error));
	for (uint64_t i = 0; i < snapshot_map_chunks(m); i++)
		sum += snapshot_map_chunk(m, i)->len;
	assert_int_equal(sum, (uint64_t)CHUNKS * TREE_HOLE_BLOCK);
	assert_true(resident(&n) > 500);
	assert_int_equal(n, 1);
	map_cache_put(c, m);
	assert_in_range(resident(&n), 0, 64);
	assert_int_equal(n, 1);
	map_cache_free(c);
	check_dir_remove(&dir);
	nodes_clear(&nodes);
}

static void
only_a_few_that_nobody_uses_are_kept(void **state)
{
	struct nodes nodes = { 0 };
	struct check_dir dir = check_dir_make_fast();
	struct map_cache *c = map_cache_new(dir.fd, nodes_source(&nodes));
	struct snapshot_map *m[MAPS];
	struct hash_id roots[MAPS];
	size_t n;

	(void)state;
	for (uint64_t i = 0; i < MAPS; i++) {
		roots[i] = make_tree(&nodes, i * 100, 10);
		assert_ok(map_cache_get(c, &roots[i], 256 * 1024, &m[i], &unit_error));
	}
	(void)resident(&n);
	assert_int_equal(n, MAPS);
	for (size_t i = 0; i < MAPS; i++)
		map_cache_put(c, m[i]);
	(void)resident(&n);
	assert_int_equal(n, KEPT);
	/* The last ones: asked for again, it is the same one. */
	struct snapshot_map *again;
	assert_ok(map_cache_get(c, &roots[MAPS - 1], 256 * 1024, &again, &unit_error));
	assert_ptr_equal(again, m[MAPS - 1]);
	map_cache_put(c, again);
	map_cache_free(c);
	check_dir_remove(&dir);
	nodes_clear(&nodes);
}

/* -- while a map is being built -- */

struct fixture {
	struct check_dir dir;
	struct nodes nodes;
	struct map_cache *cache;
	struct gate gate; /* in reading nodes */
	bool missing;
};

static enum err
get_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct buf *out, struct error *e)
{
	struct fixture *f = ctx;

	gate_enter(&f->gate, 0);
	/* Maps of nodes in memory are for one thread. */
	enum err r = f->missing ? fail(e, ERR_NOTFOUND, "no such node")
				: nodes_get(&f->nodes, kind, id, out, e);
	gate_leave(&f->gate);
	return r;
}

static struct hash_id
gated_tree(struct fixture *f, uint64_t seed, size_t n)
{
	return make_tree(&f->nodes, seed << 32, n);
}

static int
setup(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	f->dir = check_dir_make_fast();
	gate_init(&f->gate);
	f->cache = map_cache_new(f->dir.fd, (struct node_source){ .get = get_node, .ctx = f });
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	map_cache_free(f->cache);
	nodes_clear(&f->nodes);
	check_dir_remove(&f->dir);
	gate_clear(&f->gate);
	free(f);
	return 0;
}

/* -- threads that want a map -- */

struct wish {
	struct fixture *f;
	struct hash_id content;
	pthread_t thread;
	struct snapshot_map *map;
	enum err result;
};

static void *
get_one(void *arg)
{
	struct wish *w = arg;

	w->result = map_cache_get(w->f->cache, &w->content, 256 * 1024, &w->map, NULL);
	return NULL;
}

static void
begin(struct wish *w, struct fixture *f, struct hash_id content)
{
	*w = (struct wish){ .f = f, .content = content };
	assert_int_equal(pthread_create(&w->thread, NULL, get_one, w), 0);
}

static void
all_who_want_a_map_get_the_same(void **state)
{
	struct fixture *f = *state;
	struct hash_id content = gated_tree(f, 1, 100);
	struct wish wishes[4];

	gate_set(&f->gate, GATE_SHUT);
	for (size_t i = 0; i < lengthof(wishes); i++)
		begin(&wishes[i], f, content);
	gate_await(&f->gate);
	gate_set(&f->gate, GATE_OPEN);
	for (size_t i = 0; i < lengthof(wishes); i++) {
		pthread_join(wishes[i].thread, NULL);
		assert_int_equal(wishes[i].result, OK);
		assert_ptr_equal(wishes[i].map, wishes[0].map);
	}
	assert_int_equal(snapshot_map_chunks(wishes[0].map), 100);
	for (size_t i = 0; i < lengthof(wishes); i++)
		map_cache_put(f->cache, wishes[i].map);
}

static void
while_one_is_built_others_are_got_and_put(void **state)
{
	struct fixture *f = *state;
	struct hash_id here = gated_tree(f, 1, 10), slow = gated_tree(f, 2, 10);
	struct snapshot_map *map, *again;
	struct wish wish;

	assert_ok(map_cache_get(f->cache, &here, 256 * 1024, &map, &unit_error));
	gate_set(&f->gate, GATE_SHUT);
	begin(&wish, f, slow);
	gate_await(&f->gate);
	assert_ok(map_cache_get(f->cache, &here, 256 * 1024, &again, &unit_error));
	assert_ptr_equal(map, again);
	map_cache_put(f->cache, again);
	map_cache_put(f->cache, map);
	gate_set(&f->gate, GATE_OPEN);
	pthread_join(wish.thread, NULL);
	assert_int_equal(wish.result, OK);
	map_cache_put(f->cache, wish.map);
}

static void
who_waited_for_one_that_failed_tries_itself(void **state)
{
	struct fixture *f = *state;
	struct hash_id content = gated_tree(f, 1, 10);
	struct wish wishes[3];
	struct snapshot_map *map;

	gate_set(&f->gate, GATE_SHUT);
	f->missing = true;
	for (size_t i = 0; i < lengthof(wishes); i++)
		begin(&wishes[i], f, content);
	gate_await(&f->gate);
	gate_set(&f->gate, GATE_OPEN);
	for (size_t i = 0; i < lengthof(wishes); i++) {
		pthread_join(wishes[i].thread, NULL);
		assert_true(wishes[i].result != OK);
	}
	f->missing = false;
	assert_ok(map_cache_get(f->cache, &content, 256 * 1024, &map, &unit_error));
	map_cache_put(f->cache, map);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_map_that_nobody_uses_costs_next_to_nothing),
		cmocka_unit_test(only_a_few_that_nobody_uses_are_kept),
		T(all_who_want_a_map_get_the_same),
		T(while_one_is_built_others_are_got_and_put),
		T(who_waited_for_one_that_failed_tries_itself),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
