#include "manifest/test_nodes.h"

#include "manifest/tree_item.h"

/* A row of COUNT items with a hole now and then. */
static struct tree_item
item_at(uint64_t i, uint64_t count)
{
	if (i % 11 == 5)
		return (struct tree_item){ .len = i + 1 == count ? 100
								 : (1 + i % 3) * TREE_HOLE_BLOCK };
	/* The chunks before a hole fill whole blocks. */
	return (struct tree_item){ .id = any_id(i), .len = (1 + i % 16) * TREE_HOLE_BLOCK };
}

static struct tree_entry
build(struct nodes *n, struct tree_file_builder *b, uint64_t count)
{
	struct tree_entry en = { .name = BYTES_LIT("f"), .type = TREE_FILE, .mode = 0644 };

	(void)n;
	for (uint64_t i = 0; i < count; i++) {
		struct tree_item item = item_at(i, count);
		assert_ok(tree_file_builder_add(b, &item, &unit_error));
	}
	assert_ok(tree_file_builder_finish(b, &en, &unit_error));
	return en;
}

static void
assert_reads(struct nodes *n, const struct tree_entry *en, uint64_t count)
{
	auto_(tree_items_free_p) struct tree_items *it = tree_items_new(nodes_source(n), en);
	struct tree_item got;

	for (uint64_t i = 0; i < count; i++) {
		struct tree_item want = item_at(i, count);
		assert_ok(tree_items_next(it, &got, &unit_error));
		assert_true(hash_id_equal(&got.id, &want.id));
		assert_int_equal(got.len, want.len);
	}
	assert_int_equal(tree_items_next(it, &got, NULL), ERR_NOTFOUND);
	assert_int_equal(tree_items_next(it, &got, NULL), ERR_NOTFOUND);
}

static void
content_comes_back_whether_it_is_inline_or_a_list(void **state)
{
	(void)state;
	static const uint64_t counts[] = { 0, 1, 63, 64, 65, 66, 100, 113, 114, 500, 5000, 100000 };

	for (size_t i = 0; i < lengthof(counts); i++) {
		auto_(nodes_clear) struct nodes n = { 0 };
		auto_(tree_file_builder_free_p) struct tree_file_builder *b =
		    tree_file_builder_new(HASH_DEFAULT, nodes_sink(&n));
		struct tree_entry en = build(&n, b, counts[i]);
		assert_int_equal(hash_id_is_none(&en.root), counts[i] <= TREE_INLINE_ITEMS);
		assert_int_equal(n.kept.len > 0, counts[i] > TREE_INLINE_ITEMS);
		assert_reads(&n, &en, counts[i]);
		auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
		assert_ok(tree_entry_encode(&en, &value, &unit_error));

		tree_file_builder_reset(b);
		struct tree_entry again = build(&n, b, counts[i]);
		assert_true(hash_id_equal(&en.root, &again.root));
		assert_int_equal(en.size, again.size);
	}
}

static void
one_changed_chunk_of_a_large_file_costs_a_node_a_level(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(tree_file_builder_free_p) struct tree_file_builder *b =
	    tree_file_builder_new(HASH_DEFAULT, nodes_sink(&n));
	enum { COUNT = 50000 };
	struct tree_entry en;
	size_t extra = 0;

	build(&n, b, COUNT);
	assert_in_range(n.bytes / n.kept.len, NODE_TARGET * 8 / 10, NODE_TARGET * 12 / 10);
	assert_true(n.largest < NODE_CUT_MAX + 100);
	for (uint64_t changed = 1; changed < COUNT; changed += COUNT / 10) {
		size_t before = n.kept.len;
		tree_file_builder_reset(b);
		for (uint64_t i = 0; i < COUNT; i++) {
			struct tree_item item = item_at(i, COUNT);
			if (i == changed && !hash_id_is_none(&item.id))
				item.id = any_id(1000000 + i);
			assert_ok(tree_file_builder_add(b, &item, &unit_error));
		}
		assert_ok(tree_file_builder_finish(b, &en, &unit_error));
		extra += n.kept.len - before;
	}
	/* 112 nodes in a level and one above: two each, three where a boundary moves */
	assert_in_range(extra, 10, 35);
}

static void
the_builder_refuses_what_a_reader_would(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(tree_file_builder_free_p) struct tree_file_builder *b =
	    tree_file_builder_new(HASH_DEFAULT, nodes_sink(&n));
	struct tree_item chunk = { .id = any_id(1), .len = 100 }, hole = { .len = TREE_HOLE_BLOCK },
			 huge = chunk;

	huge.len = CHUNK_MAX + 1;
	assert_err(ERR_PROTO, tree_file_builder_add(b, &huge, &unit_error));
	assert_ok(tree_file_builder_add(b, &hole, &unit_error));
	assert_err(ERR_PROTO, tree_file_builder_add(b, &hole, &unit_error));
	assert_ok(tree_file_builder_add(b, &chunk, &unit_error));
	assert_err(ERR_PROTO, tree_file_builder_add(b, &hole, &unit_error));
}

/* -- lists that lie -- */

static void
node_head(struct buf *b, uint8_t level)
{
	buf_reset(b);
	buf_u8(b, NODE_VERSION);
	buf_u8(b, level);
	buf_u8(b, HASH_DEFAULT);
}

/* A leaf of COUNT chunks of LEN bytes. */
static struct hash_id
leaf(struct nodes *n, uint64_t count, uint64_t len)
{
	auto_buf struct buf b = BUF(NODE_MAX);

	node_head(&b, 0);
	for (uint64_t i = 0; i < count; i++)
		tree_item_encode(&b, &(struct tree_item){ .id = any_id(i), .len = len });
	return nodes_keep(n, HASH_FILE, buf_bytes(&b));
}

static enum err
read_all(struct nodes *n, const struct hash_id *root, uint64_t size)
{
	struct tree_entry en = {
		.name = BYTES_LIT("f"), .type = TREE_FILE, .root = *root, .size = size
	};
	auto_(tree_items_free_p) struct tree_items *it = tree_items_new(nodes_source(n), &en);
	struct tree_item item;
	enum err r = OK;

	unit_error = (struct error){ 0 };
	for (int i = 0; i < 10000 && r == OK; i++)
		r = tree_items_next(it, &item, &unit_error);
	return r;
}

static void
assert_lie(struct nodes *n, const struct hash_id *root, uint64_t size, const char *why)
{
	enum err r = read_all(n, root, size);

	if (r != ERR_PROTO || strstr(unit_error.text, why) == NULL)
		unit_fail("%s, \"%s\", not \"%s\"", error_name(r), unit_error.text, why);
}

static void
lists_that_do_not_add_up_are_refused(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id good = leaf(&n, 70, 1000), few = leaf(&n, 64, 1000),
		       huge = leaf(&n, 70, CHUNK_MAX + 1);

	assert_int_equal(read_all(&n, &good, 70000), ERR_NOTFOUND);
	assert_int_equal(unit_error.code, OK);
	assert_lie(&n, &good, 69999, "more bytes than declared");
	assert_lie(&n, &good, 70001, "fewer bytes than declared");
	assert_lie(&n, &few, 64000, "have to be in the entry");
	assert_lie(&n, &huge, 70 * (uint64_t)(CHUNK_MAX + 1), "chunk of 1048577 bytes");
	struct hash_id none = leaf(&n, 0, 1);
	assert_lie(&n, &none, 100, "empty node");
}

static void
levels_that_lie_are_refused(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_buf struct buf b = BUF(NODE_MAX);
	struct hash_id child = leaf(&n, 70, 1000);

	node_head(&b, 1);
	buf_varint(&b, 70000);
	hash_id_encode(&b, &child);
	struct hash_id single = nodes_keep(&n, HASH_FILE, buf_bytes(&b));
	assert_lie(&n, &single, 70000, "single child");

	buf_varint(&b, 70000);
	hash_id_encode(&b, &child);
	struct hash_id early = nodes_keep(&n, HASH_FILE, buf_bytes(&b));
	assert_lie(&n, &early, 140000, "has to go on"); /* a leaf of 2.5 KiB that is not the last */

	b.at[1] = 2;
	struct hash_id level = nodes_keep(&n, HASH_FILE, buf_bytes(&b));
	assert_lie(&n, &level, 140000, "level 0 under one of 2");
	b.at[1] = NODE_LEVEL_MAX;
	level = nodes_keep(&n, HASH_FILE, buf_bytes(&b));
	assert_lie(&n, &level, 140000, "level 12");

	node_head(&b, 1);
	for (int i = 0; i < 2; i++) {
		buf_varint(&b, 69999 + 2 * (uint64_t)i);
		hash_id_encode(&b, &child);
	}
	struct hash_id sums = nodes_keep(&n, HASH_FILE, buf_bytes(&b));
	assert_lie(&n, &sums, 140000, "more bytes than declared");
}

static void
sizes_of_children_are_refused_when_they_are_absurd(void **state)
{
	(void)state;
	static const uint64_t sizes[][2] = {
		{ 1, 0 },
		{ TREE_FILE_SIZE_MAX, 1 },
		{ 1, UINT64_MAX },
		{ TREE_FILE_SIZE_MAX + 1, 1 },
	};
	auto_buf struct buf b = BUF(NODE_MAX);
	struct hash_id child = any_id(1);

	for (size_t i = 0; i < lengthof(sizes); i++) {
		node_head(&b, 1);
		for (size_t k = 0; k < 2; k++) {
			buf_varint(&b, sizes[i][k]);
			hash_id_encode(&b, &child);
		}
		assert_err(
		    ERR_PROTO, node_children(HASH_FILE, buf_bytes(&b), NULL, NULL, &unit_error));
		assert_non_null(strstr(unit_error.text, "absurd size"));
	}
}

static void
a_list_of_another_algorithm_is_refused(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_buf struct buf b = BUF(NODE_MAX);
	struct tree_item item = { .id = any_id(1), .len = 10 };

	node_head(&b, 0);
	for (int i = 0; i < 70; i++)
		tree_item_encode(&b, &item);
	item.id.alg = HASH_SHA512_256;
	tree_item_encode(&b, &item);
	struct hash_id mixed = nodes_keep(&n, HASH_FILE, buf_bytes(&b));
	assert_lie(&n, &mixed, 710, "id of another");
	struct hash_id other = nodes_keep_alg(&n, HASH_SHA512_256, HASH_FILE, buf_bytes(&b));
	assert_lie(&n, &other, 710, "says algorithm 1");
}

/* Items in the order in which they are given once; how many. */
static uint64_t
read_once(struct nodes *n, const struct tree_entry *en, struct map *seen)
{
	auto_(tree_items_free_p) struct tree_items *it = tree_items_new(nodes_source(n), en);
	struct tree_item got;
	uint64_t count = 0;
	enum err r;

	tree_items_once(it, seen);
	while ((r = tree_items_next(it, &got, &unit_error)) == OK)
		count++;
	assert_int_equal(r, ERR_NOTFOUND);
	return count;
}

static void
what_stands_often_in_lists_is_read_once(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(map_clear) struct map seen = { 0 };
	auto_(tree_file_builder_free_p) struct tree_file_builder *b =
	    tree_file_builder_new(HASH_DEFAULT, nodes_sink(&n));
	struct tree_item same = { .id = any_id(7), .len = CHUNK_MAX };
	struct tree_entry tape = { .name = BYTES_LIT("f"), .type = TREE_FILE }, all;

	all = build(&n, b, 5000);
	assert_int_equal(read_once(&n, &all, &seen), 5000);
	assert_int_equal(read_once(&n, &all, &seen), 0);
	/* a million times the same chunk is a few nodes, each of them many times */
	tree_file_builder_reset(b);
	for (size_t i = 0; i < 1000000; i++)
		assert_ok(tree_file_builder_add(b, &same, &unit_error));
	assert_ok(tree_file_builder_finish(b, &tape, &unit_error));
	assert_in_range(read_once(&n, &tape, &seen), 1, 20000);
	assert_int_equal(read_once(&n, &tape, &seen), 0);
	/* what is in an entry is always given */
	tree_file_builder_reset(b);
	all = build(&n, b, 60);
	assert_int_equal(read_once(&n, &all, &seen), 60);
	assert_int_equal(read_once(&n, &all, &seen), 60);
}

static void
a_changed_list_gives_once_what_is_new(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(map_clear) struct map seen = { 0 };
	auto_(tree_file_builder_free_p) struct tree_file_builder *b =
	    tree_file_builder_new(HASH_DEFAULT, nodes_sink(&n));
	struct tree_entry en = build(&n, b, 20000);

	assert_int_equal(read_once(&n, &en, &seen), 20000);
	tree_file_builder_reset(b);
	en = build(&n, b, 20001); /* one more at the end */
	assert_in_range(read_once(&n, &en, &seen), 1, 4000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(content_comes_back_whether_it_is_inline_or_a_list),
		cmocka_unit_test(one_changed_chunk_of_a_large_file_costs_a_node_a_level),
		cmocka_unit_test(the_builder_refuses_what_a_reader_would),
		cmocka_unit_test(lists_that_do_not_add_up_are_refused),
		cmocka_unit_test(levels_that_lie_are_refused),
		cmocka_unit_test(sizes_of_children_are_refused_when_they_are_absurd),
		cmocka_unit_test(a_list_of_another_algorithm_is_refused),
		cmocka_unit_test(what_stands_often_in_lists_is_read_once),
		cmocka_unit_test(a_changed_list_gives_once_what_is_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
