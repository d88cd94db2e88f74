#include "manifest/test_nodes.h"

#include "tests/check.h"

#include "base/mem.h"
#include "engine/map_cache.h"

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_map_that_nobody_uses_costs_next_to_nothing),
		cmocka_unit_test(only_a_few_that_nobody_uses_are_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
