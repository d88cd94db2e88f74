#include "manifest/test_nodes.h"

#include "tests/check.h"

#include "base/array.h"
#include "engine/snapshot_map.h"
#include "platform/fs.h"

/* -- trees of nothing in particular -- */

enum { POOL = 3000, TREES = 6 };

static uint32_t
len_of(uint64_t n)
{
	return (uint32_t)(TREE_HOLE_BLOCK * (1 + n * 2654435761 % 16));
}

static void
random_items(struct rng *g, struct tree_file_builder *b, struct tree_entry *en)
{
	size_t n = rng_below(g, 8) == 0 ? 60 + rng_below(g, 900) : rng_below(g, 6);
	bool hole = true;

	for (size_t i = 0; i < n; i++) {
		uint64_t c = rng_below(g, POOL);
		hole = !hole && rng_below(g, 5) == 0;
		struct tree_item item = { .len = len_of(c) };
		if (!hole)
			item.id = any_id(c);
		assert_ok(tree_file_builder_add(b, &item, &unit_error));
	}
	assert_ok(tree_file_builder_finish(b, en, &unit_error));
}

static struct hash_id
random_dir(struct rng *g, struct nodes *nodes, int depth, uint64_t *entries, uint64_t *bytes)
{
	auto_(prolly_builder_free_p) struct prolly_builder *dir =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, nodes_sink(nodes));
	auto_(tree_file_builder_free_p) struct tree_file_builder *file =
	    tree_file_builder_new(HASH_DEFAULT, nodes_sink(nodes));
	size_t n = rng_below(g, depth > 0 ? 12 : 200);
	struct hash_id root;
	char name[32];

	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof name, "n%06zu", i);
		struct tree_entry en = { .name = bytes_str(name), .type = TREE_FILE, .mode = 0644 };
		if (depth > 0 && rng_below(g, 3) > 0) {
			en.type = TREE_DIR;
			en.root = random_dir(g, nodes, depth - 1, &en.entries, &en.size);
			*entries += en.entries;
			*bytes += en.size;
		} else {
			random_items(g, file, &en);
			*bytes += en.size;
		}
		*entries += 1;
		add_entry(dir, &en);
		tree_file_builder_reset(file);
	}
	assert_ok(prolly_builder_finish(dir, &root, &unit_error));
	return root;
}

/* -- what a map has to say, found the slow way -- */

struct naive {
	ARRAY(struct tree_item) chunks;
	uint64_t bytes;
	struct map seen;
};

static void
naive_clear(struct naive *v)
{
	array_clear(&v->chunks);
	map_clear(&v->seen);
	v->bytes = 0;
}

static void
naive_add(struct naive *v, const struct tree_item *item)
{
	bool is_new;

	if (hash_id_is_none(&item->id))
		return;
	map_put(&v->seen, hash_id_bytes(&item->id), &is_new);
	if (!is_new)
		return;
	array_push(&v->chunks, *item);
	v->bytes += item->len;
}

static void
naive_dir(struct naive *v, struct nodes *nodes, const struct hash_id *root)
{
	auto_(tree_iter_free_p) struct tree_iter *it = tree_iter_new(nodes_source(nodes), root);
	struct tree_entry en;
	struct tree_item item;

	while (tree_iter_next(it, &en, &unit_error) == OK) {
		if (en.type == TREE_DIR)
			naive_dir(v, nodes, &en.root);
		struct tree_items *items = tree_items_new(nodes_source(nodes), &en);
		while (en.type == TREE_FILE && tree_items_next(items, &item, &unit_error) == OK)
			naive_add(v, &item);
		tree_items_free(items);
	}
}

static void
assert_map(const struct snapshot_map *m, const struct naive *v, uint32_t unit_size)
{
	uint64_t at = 0;
	uint32_t leaf = 0;

	assert_int_equal(snapshot_map_chunks(m), v->chunks.len);
	assert_int_equal(snapshot_map_bytes(m), v->bytes);
	for (size_t i = 0; i < v->chunks.len; i++) {
		const struct snapshot_map_chunk *c = snapshot_map_chunk(m, i);
		assert_true(hash_id_equal(&c->id, &v->chunks.at[i].id));
		assert_int_equal(c->len, v->chunks.at[i].len);
		assert_int_equal(snapshot_map_find(m, &c->id), i);
	}
	for (uint64_t i = 0; i < 100; i++) {
		struct hash_id none = any_id(POOL + i);
		assert_int_equal(snapshot_map_find(m, &none), UINT32_MAX);
	}
	/* Units follow one another without gap, none larger than it may be. */
	assert_int_equal(snapshot_map_unit_size(m), unit_size);
	for (uint64_t i = 0; i < snapshot_map_units(m); i++) {
		struct unit u = snapshot_map_unit(m, i);
		assert_int_equal(u.first_chunk, at);
		assert_int_equal(u.first_leaf, leaf);
		assert_true(u.bytes > 0 && u.bytes <= unit_size);
		for (uint32_t n = u.n_leaves; n > 0; n--)
			if (++leaf == chunk_id_leaf_count((uint32_t)v->chunks.at[at].len)) {
				at++;
				leaf = 0;
			}
	}
	assert_int_equal(at, unit_size > 0 ? v->chunks.len : 0);
	assert_int_equal(leaf, 0);
}

static struct snapshot_map *
open_ok(const struct check_dir *d, struct nodes *nodes, const struct hash_id *content,
    uint32_t unit_size)
{
	struct snapshot_map *m = NULL;

	assert_ok(snapshot_map_open(
	    d->fd, nodes_source(nodes), content, unit_size, NULL, &m, &unit_error));
	return m;
}

static void
random_trees_have_the_maps_that_a_slow_walk_finds(void **state)
{
	struct rng g;
	struct nodes nodes = { 0 };
	struct check_dir d = check_dir_make();
	size_t most = 0;

	(void)state;
	rng_seed(&g, any_seed());
	for (int i = 0; i < TREES; i++) {
		struct naive v = { 0 };
		uint64_t entries = 0, bytes = 0;
		uint32_t unit = i % 3 == 0 ? 0 : UNIT_MIN << rng_below(&g, 7);
		struct hash_id root = random_dir(&g, &nodes, i % 4, &entries, &bytes);
		naive_dir(&v, &nodes, &root);
		struct snapshot_map *m = open_ok(&d, &nodes, &root, unit);
		assert_map(m, &v, unit);
		snapshot_map_trim(m);
		/* The second time from the files, without a look at the tree. */
		size_t asked = nodes.asked;
		struct snapshot_map *again = open_ok(&d, &nodes, &root, UNIT_MIN);
		assert_int_equal(nodes.asked, asked);
		assert_map(again, &v, UNIT_MIN);
		assert_map(m, &v, unit);
		snapshot_map_free(m);
		snapshot_map_free(again);
		most = max_of(most, v.chunks.len);
		naive_clear(&v);
	}
	assert_true(most > 1000); /* the table has grown */
	nodes_clear(&nodes);
	check_dir_remove(&d);
}

/* A directory of one file with N chunks; V may be NULL. */
static struct hash_id
plain_tree(struct nodes *nodes, size_t n, struct naive *v)
{
	auto_(tree_file_builder_free_p) struct tree_file_builder *b =
	    tree_file_builder_new(HASH_DEFAULT, nodes_sink(nodes));
	struct tree_entry en = { .name = BYTES_LIT("f"), .type = TREE_FILE, .mode = 0644 };

	for (size_t i = 0; i < n; i++) {
		struct tree_item item = { .id = any_id(i), .len = len_of(i) };
		assert_ok(tree_file_builder_add(b, &item, &unit_error));
		if (v != NULL)
			naive_add(v, &item);
	}
	assert_ok(tree_file_builder_finish(b, &en, &unit_error));
	return make_dir(nodes, &en, 1);
}

static size_t
names_in(const struct check_dir *d)
{
	auto_(fs_list_clear) struct fs_list list = { 0 };

	assert_ok(fs_list_dir(d->fd, &list, &unit_error));
	return list.n;
}

static void
a_damaged_map_is_made_again(void **state)
{
	struct rng g;
	struct nodes nodes = { 0 };
	struct naive v = { 0 };
	struct check_dir d = check_dir_make();
	struct hash_id root = plain_tree(&nodes, 900, &v);
	static const char *const kinds[] = { "chunks", "find" };
	char name[HASH_ID_TEXT + 16], id[HASH_ID_TEXT];

	(void)state;
	rng_seed(&g, any_seed());
	snapshot_map_free(open_ok(&d, &nodes, &root, UNIT_MIN));
	for (int i = 0; i < 48; i++) {
		snprintf(name, sizeof name, "%s.%s", hash_id_format(&root, id), kinds[i % 2]);
		int fd = openat(d.fd, name, O_RDWR | O_CLOEXEC);
		struct stat st;
		assert_int_equal(fstat(fd, &st), 0);
		/* Records that are in use, so that it matters; the header's page holds fields and
		 * zeroes. */
		off_t at = i % 5 == 0 ? (off_t)rng_below(&g, 20)
				      : BIG_ARRAY_HEADER + (off_t)rng_below(&g, 4 * 900);
		uint8_t byte = 0;
		bool cut = i % 8 == 7;
		if (cut) {
			assert_int_equal(
			    ftruncate(fd, (off_t)rng_below(&g, (uint64_t)st.st_size)), 0);
		} else {
			assert_int_equal(pread(fd, &byte, 1, at), 1);
			byte ^= (uint8_t)(1 << rng_below(&g, 8));
			assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		}
		close(fd);
		size_t asked = nodes.asked;
		struct snapshot_map *m = open_ok(&d, &nodes, &root, UNIT_MIN);
		/* A bit of the header that nobody reads may go unnoticed, and the end of a file
		 * that is longer than used. */
		assert_true(nodes.asked > asked || at < BIG_ARRAY_HEADER || cut);
		assert_map(m, &v, UNIT_MIN);
		snapshot_map_free(m);
		assert_int_equal(names_in(&d), 2);
	}
	naive_clear(&v);
	nodes_clear(&nodes);
	check_dir_remove(&d);
}

static void
removal_takes_the_files_and_leaves_open_maps(void **state)
{
	struct nodes nodes = { 0 };
	struct naive v = { 0 };
	struct check_dir d = check_dir_make();
	struct hash_id root = plain_tree(&nodes, 100, &v);
	struct snapshot_map *m = open_ok(&d, &nodes, &root, UNIT_MIN),
			    *other = open_ok(&d, &nodes, &root, 0);

	(void)state;
	snapshot_map_remove(d.fd, &root);
	assert_int_equal(names_in(&d), 0);
	assert_map(m, &v, UNIT_MIN);
	assert_map(other, &v, 0);
	snapshot_map_remove(d.fd, &root);
	snapshot_map_free(m);
	snapshot_map_free(other);
	snapshot_map_free(NULL);
	naive_clear(&v);
	nodes_clear(&nodes);
	check_dir_remove(&d);
}

static void
leftovers_of_the_dead_are_swept_and_a_broken_tree_leaves_none(void **state)
{
	struct nodes nodes = { 0 };
	struct naive v = { 0 };
	struct check_dir d = check_dir_make();
	struct hash_id root = plain_tree(&nodes, 5, &v), missing = any_id(1);
	struct snapshot_map *m = NULL;
	atomic_bool cancel = true;

	(void)state;
	check_put(&d, "x.chunks.new-1-0x7", "x", 1);
	snapshot_map_free(open_ok(&d, &nodes, &root, UNIT_MIN));
	assert_int_equal(names_in(&d), 2);
	snapshot_map_remove(d.fd, &root);
	enum err r = snapshot_map_open(
	    d.fd, nodes_source(&nodes), &missing, UNIT_MIN, NULL, &m, &unit_error);
	assert_int_not_equal(r, OK);
	assert_int_equal(names_in(&d), 0);
	root = plain_tree(&nodes, 20000, NULL);
	assert_err(ERR_CANCELED, snapshot_map_open(d.fd, nodes_source(&nodes), &root, UNIT_MIN,
				     &cancel, &m, &unit_error));
	assert_int_equal(names_in(&d), 0);
	assert_null(m);
	naive_clear(&v);
	nodes_clear(&nodes);
	check_dir_remove(&d);
}

static void
one_chunk_of_two_lengths_is_refused(void **state)
{
	struct nodes nodes = { 0 };
	struct check_dir d = check_dir_make();
	struct tree_item a = { .id = any_id(1), .len = 100 }, b = { .id = any_id(1), .len = 101 };
	struct tree_entry en[2];
	struct snapshot_map *m = NULL;

	(void)state;
	en[0] = (struct tree_entry){
		.name = BYTES_LIT("a"), .type = TREE_FILE, .size = 100, .items = &a, .n_items = 1
	};
	en[1] = (struct tree_entry){
		.name = BYTES_LIT("b"), .type = TREE_FILE, .size = 101, .items = &b, .n_items = 1
	};
	struct hash_id root = make_dir(&nodes, en, 2);
	assert_err(ERR_PROTO,
	    snapshot_map_open(d.fd, nodes_source(&nodes), &root, UNIT_MIN, NULL, &m, &unit_error));
	nodes_clear(&nodes);
	check_dir_remove(&d);
}

static void
an_empty_snapshot_has_an_empty_map(void **state)
{
	struct nodes nodes = { 0 };
	struct check_dir d = check_dir_make();
	struct hash_id root = make_dir(&nodes, NULL, 0), id = any_id(1);
	struct snapshot_map *m = open_ok(&d, &nodes, &root, UNIT_MAX);

	(void)state;
	assert_int_equal(snapshot_map_chunks(m), 0);
	assert_int_equal(snapshot_map_units(m), 0);
	assert_int_equal(snapshot_map_find(m, &id), UINT32_MAX);
	snapshot_map_trim(m);
	snapshot_map_free(m);
	nodes_clear(&nodes);
	check_dir_remove(&d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_trees_have_the_maps_that_a_slow_walk_finds),
		cmocka_unit_test(a_damaged_map_is_made_again),
		cmocka_unit_test(removal_takes_the_files_and_leaves_open_maps),
		cmocka_unit_test(leftovers_of_the_dead_are_swept_and_a_broken_tree_leaves_none),
		cmocka_unit_test(one_chunk_of_two_lengths_is_refused),
		cmocka_unit_test(an_empty_snapshot_has_an_empty_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
