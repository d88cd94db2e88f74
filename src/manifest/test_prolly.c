#include "manifest/test_nodes.h"

#include "base/array.h"
#include "manifest/node_cut.h"

/* A set of names with a number each, which stands for the file's content. */
struct row {
	char name[40];
	uint64_t n;
};
struct rows {
	ARRAY(struct row) v;
};

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

static void
rows_add(struct rows *rows, const char *prefix, uint64_t n)
{
	struct row row = { .n = n };

	snprintf(row.name, sizeof row.name, "%s%016llx", prefix,
	    (unsigned long long)(n * 0x9e3779b97f4a7c15));
	array_push(&rows->v, row);
}

static void
rows_sort(struct rows *rows)
{
	if (rows->v.len > 0)
		qsort(rows->v.at, rows->v.len, sizeof *rows->v.at, by_name);
}

static struct rows
rows_make(size_t count)
{
	struct rows rows = { 0 };

	for (size_t i = 0; i < count; i++)
		rows_add(&rows, "f", i);
	rows_sort(&rows);
	return rows;
}

static void
rows_clear(struct rows *rows)
{
	array_clear(&rows->v);
}

static struct hash_id
build_with(struct prolly_builder *b, const struct rows *rows)
{
	struct hash_id root;
	struct tree_item item;

	array_each (row, &rows->v) {
		struct tree_entry en = file_entry(row->name, &item, row->n);
		add_entry(b, &en);
	}
	assert_ok(prolly_builder_finish(b, &root, &unit_error));
	return root;
}

static struct hash_id
build(struct nodes *n, const struct rows *rows)
{
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, nodes_sink(n));

	return build_with(b, rows);
}

/* Reads it all back. */
static void
assert_holds(struct nodes *n, const struct hash_id *root, const struct rows *rows)
{
	auto_(prolly_iter_free_p) struct prolly_iter *it =
	    prolly_iter_new(HASH_TREE, nodes_source(n), root);
	struct bytes key, value;

	array_each (row, &rows->v) {
		assert_ok(prolly_iter_next(it, &key, &value, &unit_error));
		assert_int_equal(key.len, strlen(row->name));
		assert_memory_equal(key.at, row->name, key.len);
	}
	assert_int_equal(prolly_iter_next(it, &key, &value, NULL), ERR_NOTFOUND);
	assert_int_equal(prolly_iter_next(it, &key, &value, NULL), ERR_NOTFOUND);
}

static void
no_entries_have_a_root_too(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	struct rows none = { 0 };
	struct hash_id root = build(&n, &none);
	auto_buf struct buf value = BUF(100);

	assert_int_equal(n.puts, 1);
	assert_int_equal(n.bytes, 3);
	assert_holds(&n, &root, &none);
	assert_int_equal(
	    prolly_get(HASH_TREE, nodes_source(&n), &root, BYTES_LIT("a"), &value, NULL),
	    ERR_NOTFOUND);
}

static void
entries_come_back_in_order_and_one_by_one(void **state)
{
	(void)state;
	static const size_t counts[] = { 1, 2, 50, 60, 200, 1000, 30000 };

	for (size_t i = 0; i < lengthof(counts); i++) {
		auto_(nodes_clear) struct nodes n = { 0 };
		auto_(rows_clear) struct rows rows = rows_make(counts[i]);
		auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
		struct hash_id root = build(&n, &rows);
		assert_holds(&n, &root, &rows);
		for (size_t k = 0; k < rows.v.len; k += 1 + rows.v.len / 100) {
			struct tree_item items[TREE_INLINE_ITEMS];
			struct tree_entry en;
			struct bytes name = bytes_str(rows.v.at[k].name);
			assert_ok(tree_find(
			    nodes_source(&n), &root, name, &value, items, &en, &unit_error));
			assert_int_equal(
			    en.mtime_ns, 1700000000000000000 + (int64_t)rows.v.at[k].n);
		}
		static const char *const absent[] = { "a", "f8", "fx", "zzz" };
		for (size_t k = 0; k < lengthof(absent); k++)
			assert_int_equal(prolly_get(HASH_TREE, nodes_source(&n), &root,
					     bytes_str(absent[k]), &value, NULL),
			    ERR_NOTFOUND);
	}
}

static void
the_same_set_has_the_same_root_whatever_its_history(void **state)
{
	(void)state;
	struct rng rng;

	rng_seed(&rng, any_seed());
	for (int round = 0; round < 60; round++) {
		auto_(nodes_clear) struct nodes n = { 0 };
		auto_(rows_clear) struct rows rows = { 0 };
		size_t count = rng_below(&rng, 3000);
		for (size_t i = 0; i < count; i++)
			rows_add(&rows, rng_below(&rng, 2) != 0 ? "a long way of saying x" : "", i);
		rows_sort(&rows);
		auto_(prolly_builder_free_p) struct prolly_builder *b =
		    prolly_builder_new(HASH_TREE, HASH_DEFAULT, nodes_sink(&n));
		struct hash_id first = build_with(b, &rows);

		/* Another set in between, then the same again, by the same builder and by a new
		 * one. */
		auto_(rows_clear) struct rows other = rows_make(rng_below(&rng, 500));
		prolly_builder_reset(b);
		struct hash_id unlike = build_with(b, &other);
		prolly_builder_reset(b);
		struct hash_id again = build_with(b, &rows);
		struct hash_id anew = build(&n, &rows);
		assert_true(hash_id_equal(&first, &again));
		assert_true(hash_id_equal(&first, &anew));
		assert_true(count == other.v.len || !hash_id_equal(&first, &unlike));
	}
}

static void
a_builder_that_stopped_half_way_can_be_used_again(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(rows_clear) struct rows rows = rows_make(700);
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, nodes_sink(&n));
	struct hash_id clean = build(&n, &rows);
	struct tree_item item;

	for (size_t i = 0; i < 333; i++) {
		struct tree_entry en = file_entry(rows.v.at[i].name, &item, 5);
		add_entry(b, &en);
	}
	prolly_builder_reset(b);
	struct hash_id again = build_with(b, &rows);
	assert_true(hash_id_equal(&clean, &again));
}

/* Nodes that OTHER needs and the tree before it has not. */
static size_t
new_nodes(const struct rows *before, const struct rows *after)
{
	auto_(nodes_clear) struct nodes n = { 0 };

	build(&n, before);
	size_t had = n.kept.len;
	build(&n, after);
	return n.kept.len - had;
}

static void
few_changes_share_almost_all_nodes(void **state)
{
	(void)state;
	auto_(rows_clear) struct rows rows = rows_make(20000);
	auto_(nodes_clear) struct nodes n = { 0 };
	struct rng rng;
	size_t changed = 0, inserted = 0, removed = 0;
	enum { ROUNDS = 12 };

	rng_seed(&rng, 7);
	build(&n, &rows);
	/* 20,000 entries of 68 bytes at 16 KiB and one level above */
	assert_in_range(n.kept.len, 70, 160);
	for (int i = 0; i < ROUNDS; i++) {
		auto_(rows_clear) struct rows after = { 0 };
		array_reserve(&after.v, rows.v.len + 1);
		memcpy(after.v.at, rows.v.at, rows.v.len * sizeof *rows.v.at);
		after.v.len = rows.v.len;
		size_t at = rng_below(&rng, rows.v.len);
		after.v.at[at].n ^= 0x5555;
		changed += new_nodes(&rows, &after);
		after.v.at[at].n ^= 0x5555;

		rows_add(&after, "f", 1000000 + at);
		rows_sort(&after);
		inserted += new_nodes(&rows, &after);
		removed += new_nodes(&after, &rows);
	}
	/* One leaf and one node above it, and now and then a boundary that moves. */
	assert_in_range(changed, 2 * ROUNDS, 3 * ROUNDS);
	assert_in_range(inserted, 2 * ROUNDS, 4 * ROUNDS);
	assert_in_range(removed, 2 * ROUNDS, 4 * ROUNDS);
}

static void
nodes_are_within_their_bounds_and_of_the_size_meant(void **state)
{
	(void)state;
	auto_(rows_clear) struct rows rows = rows_make(40000);
	auto_(nodes_clear) struct nodes n = { 0 };

	build(&n, &rows);
	assert_in_range(n.largest, NODE_TARGET, NODE_CUT_MAX + 100);
	assert_in_range(n.bytes / n.kept.len, NODE_TARGET * 8 / 10, NODE_TARGET * 12 / 10);
	size_t small = 0;
	map_each (it, &n.kept)
		small += ((struct buf *)it->ptr)->len < NODE_MIN;
	assert_in_range(small, 0, 3); /* the last of each level at most */
}

static void
names_chosen_to_have_no_boundary_are_cut_at_64_KiB(void **state)
{
	(void)state;
	auto_(rows_clear) struct rows rows = { 0 };
	auto_(nodes_clear) struct nodes n = { 0 };
	struct rows all = rows_make(6000);

	array_each (row, &all.v)
		if (!node_cut(0, bytes_str(row->name), 100, NODE_MIN))
			array_push(&rows.v, *row);
	rows_clear(&all);
	struct hash_id root = build(&n, &rows);
	assert_in_range(n.largest, NODE_CUT_MAX, NODE_CUT_MAX + 100);
	assert_holds(&n, &root, &rows);
}

static void
names_chosen_to_be_boundaries_give_nodes_of_4_KiB(void **state)
{
	(void)state;
	auto_(rows_clear) struct rows rows = { 0 };
	auto_(nodes_clear) struct nodes n = { 0 };
	struct rows all = rows_make(60000);

	array_each (row, &all.v)
		if (node_cut(0, bytes_str(row->name), 50, NODE_MIN))
			array_push(&rows.v, *row);
	rows_clear(&all);
	struct hash_id root = build(&n, &rows);
	assert_in_range(n.bytes / n.kept.len, NODE_MIN / 2, NODE_MIN + 100);
	assert_holds(&n, &root, &rows);
}

static void
large_entries_make_nodes_of_few(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, nodes_sink(&n));
	struct hash_id root;
	char target[TREE_LINK_MAX + 1], name[32];

	memset(target, 't', TREE_LINK_MAX);
	target[TREE_LINK_MAX] = 0;
	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof name, "link%05d", i);
		struct tree_entry en = link_entry(name, target);
		add_entry(b, &en);
	}
	assert_ok(prolly_builder_finish(b, &root, &unit_error));
	assert_true(n.largest < NODE_MAX);
	assert_in_range(n.bytes / n.kept.len, NODE_TARGET / 2, NODE_TARGET * 2);
}

static void
names_out_of_order_are_refused(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, nodes_sink(&n));
	auto_buf struct buf value = BUF(1000);
	struct tree_item item;
	struct tree_entry en = file_entry("m", &item, 1);

	add_entry(b, &en);
	assert_ok(tree_entry_encode(&en, &value, &unit_error));
	assert_err(
	    ERR_PROTO, prolly_builder_add(b, BYTES_LIT("m"), buf_bytes(&value), &unit_error));
	assert_err(
	    ERR_PROTO, prolly_builder_add(b, BYTES_LIT("l"), buf_bytes(&value), &unit_error));
	assert_err(ERR_PROTO, prolly_builder_add(b, BYTES_LIT(""), buf_bytes(&value), &unit_error));
	assert_err(
	    ERR_PROTO, prolly_builder_add(b, BYTES_LIT("n/o"), buf_bytes(&value), &unit_error));
	assert_ok(prolly_builder_add(b, BYTES_LIT("ma"), buf_bytes(&value), &unit_error));
}

static void
a_node_that_is_missing_is_not_the_end(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 }, nothing = { 0 };
	auto_(rows_clear) struct rows rows = rows_make(2000);
	struct hash_id root = build(&n, &rows);
	auto_buf struct buf value = BUF(1000);
	struct bytes key, val;

	nodes_keep(&nothing, HASH_TREE, nodes_bytes(&n, HASH_TREE, &root)); /* the root alone */
	auto_(prolly_iter_free_p) struct prolly_iter *it =
	    prolly_iter_new(HASH_TREE, nodes_source(&nothing), &root);
	assert_err(ERR_CORRUPT, prolly_iter_next(it, &key, &val, &unit_error));
	assert_err(ERR_CORRUPT, prolly_get(HASH_TREE, nodes_source(&nothing), &root,
				    bytes_str(rows.v.at[99].name), &value, &unit_error));
}

static void
another_algorithm_gives_another_tree_that_works_as_well(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_TREE, HASH_SHA512_256, nodes_sink(&n));
	auto_buf struct buf value = BUF(1000);
	struct hash_id root;
	struct tree_item item;
	char name[32];

	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof name, "%04d", i);
		struct tree_entry en = file_entry(name, &item, 1);
		item.id.alg = HASH_SHA512_256;
		add_entry(b, &en);
	}
	/* A chunk of the other algorithm does not come in. */
	struct tree_entry en = file_entry("x", &item, 1);
	assert_ok(tree_entry_encode(&en, &value, &unit_error));
	assert_err(ERR_PROTO, prolly_builder_add(b, en.name, buf_bytes(&value), &unit_error));

	assert_ok(prolly_builder_finish(b, &root, &unit_error));
	assert_int_equal(root.alg, HASH_SHA512_256);
	buf_reset(&value);
	assert_ok(
	    prolly_get(HASH_TREE, nodes_source(&n), &root, BYTES_LIT("1234"), &value, &unit_error));
}

static void
a_hundred_thousand_entries_take_no_time(void **state)
{
	(void)state;
	auto_(rows_clear) struct rows rows = rows_make(100000);
	auto_(nodes_clear) struct nodes n = { 0 };
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	struct hash_id root = build(&n, &rows);
	assert_holds(&n, &root, &rows);
	clock_gettime(CLOCK_MONOTONIC, &to);
	double s = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
	print_message("100,000 entries built and read in %.3f s, %zu nodes of %zu bytes\n", s,
	    n.kept.len, n.bytes);
	assert_true(s < 20); /* a tenth of a second without sanitizers, on an idle machine */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_entries_have_a_root_too),
		cmocka_unit_test(entries_come_back_in_order_and_one_by_one),
		cmocka_unit_test(the_same_set_has_the_same_root_whatever_its_history),
		cmocka_unit_test(a_builder_that_stopped_half_way_can_be_used_again),
		cmocka_unit_test(few_changes_share_almost_all_nodes),
		cmocka_unit_test(nodes_are_within_their_bounds_and_of_the_size_meant),
		cmocka_unit_test(names_chosen_to_have_no_boundary_are_cut_at_64_KiB),
		cmocka_unit_test(names_chosen_to_be_boundaries_give_nodes_of_4_KiB),
		cmocka_unit_test(large_entries_make_nodes_of_few),
		cmocka_unit_test(names_out_of_order_are_refused),
		cmocka_unit_test(a_node_that_is_missing_is_not_the_end),
		cmocka_unit_test(another_algorithm_gives_another_tree_that_works_as_well),
		cmocka_unit_test(a_hundred_thousand_entries_take_no_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
