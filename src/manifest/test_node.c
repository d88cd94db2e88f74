/* Nodes made by hand by someone who wishes us ill: each breaks one rule, and is refused for that
 * reason by every way there is to read it. */
#include "manifest/test_nodes.h"

#include "manifest/node_cut.h"
#include "manifest/node_spine.h"

struct raw {
	struct buf b;
};

static struct raw
raw_node(uint8_t version, uint8_t level, uint8_t alg)
{
	struct raw r = { BUF(1 << 20) };

	buf_u8(&r.b, version);
	buf_u8(&r.b, level);
	buf_u8(&r.b, alg);
	return r;
}

static void
raw_clear(struct raw *r)
{
	buf_clear(&r->b);
}

static void
raw_entry(struct raw *r, struct bytes name, struct bytes value)
{
	buf_u8(&r->b, (uint8_t)name.len);
	buf_add_bytes(&r->b, name);
	buf_varint(&r->b, value.len);
	buf_add_bytes(&r->b, value);
}

static void
raw_child(struct raw *r, struct bytes name, const struct hash_id *id)
{
	buf_u8(&r->b, (uint8_t)name.len);
	buf_add_bytes(&r->b, name);
	hash_id_encode(&r->b, id);
}

/* An empty file. */
static const uint8_t plain[11] = { 1, 0xa4, 1 };

static enum err
read_through(struct nodes *n, const struct hash_id *root, struct error *e)
{
	auto_(tree_iter_free_p) struct tree_iter *it = tree_iter_new(nodes_source(n), root);
	struct tree_entry en;

	for (;;) {
		enum err r = tree_iter_next(it, &en, e);
		if (r != OK)
			return r == ERR_NOTFOUND ? OK : r;
	}
}

/* WHY is part of what is said. */
static void
assert_refused(struct nodes *n, const struct raw *r, const char *why)
{
	struct hash_id id = nodes_keep(n, HASH_TREE, buf_bytes(&r->b));
	struct error e = { 0 };

	enum err got = node_children(HASH_TREE, buf_bytes(&r->b), NULL, NULL, &e);
	if (got != ERR_PROTO || strstr(e.text, why) == NULL)
		unit_fail("node_children: %s, \"%s\", not \"%s\"", error_name(got), e.text, why);
	got = read_through(n, &id, &e);
	if (got != ERR_PROTO || strstr(e.text, why) == NULL)
		unit_fail("tree_iter: %s, \"%s\", not \"%s\"", error_name(got), e.text, why);
}

static void
names_that_lead_elsewhere_are_refused(void **state)
{
	(void)state;
	static const struct {
		struct bytes name;
		const char *why;
	} cases[] = {
		{ { (const uint8_t *)"..", 2 }, "not allowed" },
		{ { (const uint8_t *)".", 1 }, "not allowed" },
		{ { (const uint8_t *)"/etc", 4 }, "not allowed" },
		{ { (const uint8_t *)"a/b", 3 }, "not allowed" },
		{ { (const uint8_t *)"a\0b", 3 }, "not allowed" },
		{ { (const uint8_t *)"\0", 1 }, "not allowed" },
		{ { (const uint8_t *)"", 0 }, "empty" },
		{ { (const uint8_t *)".weft", 5 }, "reserved" },
		{ { (const uint8_t *)".weftignore", 11 }, "reserved" },
	};
	auto_(nodes_clear) struct nodes n = { 0 };

	for (size_t i = 0; i < lengthof(cases); i++) {
		auto_(raw_clear) struct raw r = raw_node(1, 0, 1);
		raw_entry(&r, cases[i].name, BYTES_OF(plain));
		assert_refused(&n, &r, cases[i].why);
	}
}

static void
names_twice_or_out_of_order_are_refused(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	static const char *const pairs[][2] = { { "a", "a" }, { "b", "a" }, { "aa", "a" },
		{ "b", "B" }, { "\xff", "a" } };

	for (size_t i = 0; i < lengthof(pairs); i++) {
		auto_(raw_clear) struct raw r = raw_node(1, 0, 1);
		raw_entry(&r, bytes_str(pairs[i][0]), BYTES_OF(plain));
		raw_entry(&r, bytes_str(pairs[i][1]), BYTES_OF(plain));
		assert_refused(&n, &r, "out of order");
	}
	/* A symlink and a directory of one name are a name twice. */
	auto_(raw_clear) struct raw both = raw_node(1, 0, 1);
	struct hash_id none = make_dir(&n, NULL, 0);
	struct tree_entry dir = dir_entry("a", &none, 0, 0), link = link_entry("a", "/etc");
	auto_buf struct buf first = BUF(100), second = BUF(100);
	assert_ok(tree_entry_encode(&link, &first, &unit_error));
	assert_ok(tree_entry_encode(&dir, &second, &unit_error));
	raw_entry(&both, link.name, buf_bytes(&first));
	raw_entry(&both, dir.name, buf_bytes(&second));
	assert_refused(&n, &both, "out of order");
}

static void
heads_that_are_none_are_refused(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	static const struct {
		uint8_t version, level, alg;
		const char *why;
	} cases[] = {
		{ 0, 0, 1, "format 0" },
		{ 2, 0, 1, "format 2" },
		{ 1, NODE_LEVEL_MAX, 1, "level 12" },
		{ 1, 255, 1, "level 255" },
		{ 1, 0, 0, "algorithm 0" },
		{ 1, 0, 77, "algorithm 77" },
		{ 1, 1, 1, "empty node" },
	};

	for (size_t i = 0; i < lengthof(cases); i++) {
		auto_(raw_clear) struct raw r =
		    raw_node(cases[i].version, cases[i].level, cases[i].alg);
		assert_refused(&n, &r, cases[i].why);
	}
	for (size_t len = 0; len < 3; len++) {
		auto_(raw_clear) struct raw r = raw_node(1, 0, 1);
		r.b.len = len;
		assert_refused(&n, &r, "format");
	}
	assert_err(
	    ERR_PROTO, node_children(HASH_CHUNK, BYTES_LIT("\1\0\1"), NULL, NULL, &unit_error));
}

static enum err
ignore_change(void *ctx, struct relpath path, const struct tree_entry *old,
    const struct tree_entry *new, struct error *e)
{
	(void)ctx, (void)path, (void)old, (void)new, (void)e;
	return OK;
}

static void
a_chunk_of_another_algorithm_is_refused_by_every_reader(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(raw_clear) struct raw r = raw_node(1, 0, 1);
	auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
	struct tree_item item, items[TREE_INLINE_ITEMS];
	struct tree_entry en = file_entry("f", &item, 1);

	item.id.alg = HASH_SHA512_256;
	assert_ok(tree_entry_encode(&en, &value, &unit_error));
	raw_entry(&r, en.name, buf_bytes(&value));
	assert_refused(&n, &r, "another algorithm");
	struct hash_id id = nodes_keep(&n, HASH_TREE, buf_bytes(&r.b));
	assert_err(
	    ERR_PROTO, tree_find(nodes_source(&n), &id, en.name, &value, items, &en, &unit_error));
	assert_err(
	    ERR_PROTO, tree_diff(nodes_source(&n), NULL, &id, ignore_change, NULL, &unit_error));
}

static void
absurd_sizes_are_refused_without_being_believed(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	static const char *const tails[] = {
		"\xff",
		"\x01",
		"\x01"
		"a",
		"\x01"
		"a"
		"\x0c"
		"12345678901",
		"\x01"
		"a"
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"\x01"
		"a"
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"\x01"
		"a"
		"\xff\xff\xff\xff\x0f",
	};

	for (size_t i = 0; i < lengthof(tails); i++) {
		auto_(raw_clear) struct raw r = raw_node(1, 0, 1);
		buf_add_bytes(&r.b, bytes_str(tails[i]));
		assert_refused(&n, &r, "malformed");
	}
	/* A value of more than any entry has. */
	auto_(raw_clear) struct raw large = raw_node(1, 0, 1);
	auto_free char *target = mem_zalloc(NODE_MAX + 10);
	memset(target, 3, NODE_MAX + 10);
	raw_entry(&large, BYTES_LIT("a"), BYTES(target, NODE_ENTRY_MAX));
	assert_refused(&n, &large, "malformed");
	auto_(raw_clear) struct raw huge = raw_node(1, 0, 1);
	raw_entry(&huge, BYTES_LIT("a"), BYTES(target, NODE_MAX));
	struct hash_id id = nodes_keep(&n, HASH_TREE, buf_bytes(&huge.b));
	assert_err(
	    ERR_PROTO, node_children(HASH_TREE, buf_bytes(&huge.b), NULL, NULL, &unit_error));
	assert_err(ERR_PROTO, read_through(&n, &id, &unit_error));
}

static void
a_node_that_does_not_end_where_it_has_to_is_refused(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(raw_clear) struct raw r = raw_node(1, 0, 1);
	char name[16];
	bool cut = false;

	for (int i = 0; !cut; i++) {
		snprintf(name, sizeof name, "%08d", i);
		size_t before = r.b.len;
		raw_entry(&r, bytes_str(name), BYTES_OF(plain));
		cut = node_cut(0, bytes_str(name), r.b.len - before, r.b.len);
		assert_true(i < 10000);
	}
	struct hash_id id = nodes_keep(&n, HASH_TREE, buf_bytes(&r.b));
	assert_ok(read_through(&n, &id, &unit_error));
	raw_entry(&r, BYTES_LIT("zz"), BYTES_OF(plain));
	assert_refused(&n, &r, "where it has to end");
}

/* -- two levels -- */

enum { FILES = 1000 };

static struct hash_id
two_levels(struct nodes *n)
{
	static char names[FILES][8];
	static struct tree_item items[FILES];
	struct tree_entry en[FILES];

	for (size_t i = 0; i < FILES; i++) {
		snprintf(names[i], sizeof names[i], "%06zu", i);
		en[i] = file_entry(names[i], &items[i], i);
	}
	return make_dir(n, en, FILES);
}

struct child {
	uint8_t name[RELPATH_NAME_MAX];
	size_t len;
	struct hash_id id;
};

/* What the root at level 1 points at. */
static size_t
children_of(struct nodes *n, const struct hash_id *root, struct child *out, size_t room)
{
	struct reader r = reader_over(nodes_bytes(n, HASH_TREE, root));
	size_t count = 0;

	reader_take(&r, 3);
	while (reader_left(&r) > 0 && count < room) {
		out[count].len = reader_u8(&r);
		reader_copy(&r, out[count].name, out[count].len);
		out[count++].id = hash_id_decode(&r);
	}
	assert_true(reader_done(&r));
	return count;
}

static struct raw
raw_parent(uint8_t level, const struct child *c, size_t count)
{
	struct raw r = raw_node(1, level, 1);

	for (size_t i = 0; i < count; i++)
		raw_child(&r, BYTES(c[i].name, c[i].len), &c[i].id);
	return r;
}

static void
assert_parent(struct nodes *n, const struct raw *r, const char *why)
{
	struct hash_id id = nodes_keep(n, HASH_TREE, buf_bytes(&r->b));
	struct error e = { 0 };
	enum err got = read_through(n, &id, &e);

	if (why == NULL ? got != OK : got != ERR_PROTO || strstr(e.text, why) == NULL)
		unit_fail(
		    "%s, \"%s\", not \"%s\"", error_name(got), e.text, why != NULL ? why : "ok");
}

static void
parents_that_lie_about_their_children_are_refused(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id root = two_levels(&n);
	struct child c[100], x[100];
	size_t count = children_of(&n, &root, c, lengthof(c));
	struct raw r;

	assert_in_range(count, 3, 30);
#define LIE(level, from, k, why, change)                                                           \
	do {                                                                                       \
		memcpy(x, c, sizeof x);                                                            \
		change;                                                                            \
		r = raw_parent((level), x + (from), (k));                                          \
		assert_parent(&n, &r, (why));                                                      \
		raw_clear(&r);                                                                     \
	} while (0)
	LIE(1, 0, count, NULL, (void)0);
	LIE(1, 0, count, "does not begin with the name", x[1].name[5] ^= 1);
	LIE(1, 0, count, "does not begin with the name", x[0].name[0] = '!');
	LIE(1, 0, count, "does not begin with the name", x[1].id = c[2].id);
	LIE(2, 0, count, "level 0 under one of 2", (void)0);
	LIE(1, 0, 1, "single child", (void)0);
	LIE(1, 0, count, "out of order", x[2] = c[1]);
	LIE(1, 0, count, "out of order", (x[0] = c[1], x[1] = c[0]));
	LIE(1, 0, count, "id of another", x[1].id.alg = HASH_SHA512_256);
	/* Leaving a child out is another tree, unless the one before has to be the last. */
	LIE(1, 1, count - 1, NULL, (void)0);
	LIE(1, 0, count - 1, NULL, (void)0);

	/* A leaf that stops short of its boundary, and is not the last. */
	struct bytes leaf = nodes_bytes(&n, HASH_TREE, &c[0].id);
	size_t size = 1 + 6 + 1 + 46; /* of its last entry */
	struct hash_id cut = nodes_keep(&n, HASH_TREE, bytes_slice(leaf, 0, leaf.len - size));
	LIE(1, 0, count, "has to go on", x[0].id = cut);
	/* An empty leaf. */
	struct hash_id none = make_dir(&n, NULL, 0);
	LIE(1, 0, count, "empty node", x[1].id = none);
#undef LIE
}

/* A search sees less of a tree than a walk does, but goes by no lie either. */
static void
a_search_does_not_follow_a_lie_about_levels(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id root = two_levels(&n), none = make_dir(&n, NULL, 0);
	struct child c[100];
	size_t count = children_of(&n, &root, c, lengthof(c));
	auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
	struct tree_item items[TREE_INLINE_ITEMS];
	struct tree_entry en;

	assert_ok(tree_find(
	    nodes_source(&n), &root, BYTES_LIT("000001"), &value, items, &en, &unit_error));
	auto_(raw_clear) struct raw level = raw_parent(2, c, count);
	struct hash_id id = nodes_keep(&n, HASH_TREE, buf_bytes(&level.b));
	assert_err(ERR_PROTO,
	    tree_find(nodes_source(&n), &id, BYTES_LIT("000001"), &value, items, &en, &unit_error));
	c[0].id = none;
	auto_(raw_clear) struct raw empty = raw_parent(1, c, count);
	id = nodes_keep(&n, HASH_TREE, buf_bytes(&empty.b));
	assert_err(ERR_PROTO,
	    tree_find(nodes_source(&n), &id, BYTES_LIT("000001"), &value, items, &en, &unit_error));
}

static void
a_writer_refuses_entries_that_no_reader_takes(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(node_spine_free_p) struct node_spine *tree =
	    node_spine_new(HASH_TREE, HASH_DEFAULT, nodes_sink(&n));
	auto_(node_spine_free_p) struct node_spine *causal =
	    node_spine_new(HASH_CAUSAL, HASH_DEFAULT, nodes_sink(&n));
	auto_free uint8_t *much = mem_zalloc(NODE_ENTRY_MAX);
	struct node_entry large = { .key = BYTES_LIT("a"), .value = BYTES(much, NODE_ENTRY_MAX) };
	struct node_entry none = { .key = BYTES_LIT("a"), .value = BYTES(much, 10) };

	assert_err(ERR_LIMIT, node_spine_add(tree, &large, &unit_error));
	assert_err(ERR_PROTO, node_spine_add(causal, &none, &unit_error));
}

/* A child whose first name is as declared, but that begins before the last of the child before it.
 */
static void
nodes_that_overlap_are_refused(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id root = two_levels(&n);
	struct child c[100];
	size_t count = children_of(&n, &root, c, lengthof(c));
	struct bytes second = nodes_bytes(&n, HASH_TREE, &c[1].id);
	auto_buf struct buf b = BUF(NODE_MAX);

	/* The name "000000x" lies within the first leaf, and the parent's order is kept. */
	struct reader r = reader_over(second);
	reader_take(&r, 3 + 1 + 6);
	buf_add(&b, second.at, 3);
	buf_u8(&b, 7);
	buf_add_bytes(&b, BYTES_LIT("000000x"));
	buf_add_bytes(&b, reader_rest(&r));
	c[1].id = nodes_keep(&n, HASH_TREE, buf_bytes(&b));
	memcpy(c[1].name, "000000x", c[1].len = 7);
	auto_(raw_clear) struct raw parent = raw_parent(1, c, count);
	assert_parent(&n, &parent, "nodes out of order");
}

/* -- children are told -- */

struct told {
	size_t n;
	enum hash_kind kind[20];
	struct hash_id id[20];
};

static enum err
on_child(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	struct told *t = ctx;

	if (t->n == lengthof(t->id))
		return fail(e, ERR_LIMIT, "enough");
	t->kind[t->n] = kind;
	t->id[t->n++] = *id;
	return OK;
}

static void
children_are_told_in_order_with_their_kind(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id none = make_dir(&n, NULL, 0), list = any_id(5);
	struct tree_item item;
	struct tree_entry en[] = {
		dir_entry("a", &none, 0, 0),
		{ .name = BYTES_LIT("b"), .type = TREE_FILE, .size = 1000, .root = list },
		file_entry("c", &item, 1),
		link_entry("d", "a"),
	};
	struct hash_id root = make_dir(&n, en, lengthof(en));
	struct told t = { 0 };

	assert_ok(
	    node_children(HASH_TREE, nodes_bytes(&n, HASH_TREE, &root), on_child, &t, &unit_error));
	assert_int_equal(t.n, 2);
	assert_int_equal(t.kind[0], HASH_TREE);
	assert_true(hash_id_equal(&t.id[0], &none));
	assert_int_equal(t.kind[1], HASH_FILE);
	assert_true(hash_id_equal(&t.id[1], &list));

	root = two_levels(&n);
	struct child c[100];
	size_t count = children_of(&n, &root, c, lengthof(c));
	t = (struct told){ 0 };
	assert_ok(
	    node_children(HASH_TREE, nodes_bytes(&n, HASH_TREE, &root), on_child, &t, &unit_error));
	assert_int_equal(t.n, count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(t.kind[i], HASH_TREE);
		assert_true(hash_id_equal(&t.id[i], &c[i].id));
	}
}

static void
nothing_is_told_of_a_node_that_is_broken_at_its_end(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id none = make_dir(&n, NULL, 0);
	struct tree_entry dir = dir_entry("a", &none, 0, 0);
	struct hash_id root = make_dir(&n, &dir, 1);
	auto_buf struct buf b = BUF(1000);
	struct told t = { 0 };

	buf_add_bytes(&b, nodes_bytes(&n, HASH_TREE, &root));
	buf_u8(&b, 1);
	assert_err(ERR_PROTO, node_children(HASH_TREE, buf_bytes(&b), on_child, &t, &unit_error));
	assert_int_equal(t.n, 0);
}

static void
a_flipped_bit_in_a_node_is_never_a_crash(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id root = two_levels(&n);
	struct child c[100];
	struct rng rng;

	children_of(&n, &root, c, lengthof(c));
	rng_seed(&rng, any_seed());
	for (int i = 0; i < 20000; i++) {
		struct bytes node = nodes_bytes(&n, HASH_TREE, i % 3 == 0 ? &root : &c[1].id);
		auto_free uint8_t *bad = mem_dup(node.at, node.len);
		for (uint64_t k = 1 + rng_below(&rng, 3); k > 0; k--)
			bad[rng_below(&rng, node.len)] ^= (uint8_t)(1 << rng_below(&rng, 8));
		enum err r = node_children(
		    HASH_TREE, BYTES(bad, node.len - rng_below(&rng, 2)), NULL, NULL, NULL);
		assert_true(r == OK || r == ERR_PROTO);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_that_lead_elsewhere_are_refused),
		cmocka_unit_test(names_twice_or_out_of_order_are_refused),
		cmocka_unit_test(heads_that_are_none_are_refused),
		cmocka_unit_test(a_chunk_of_another_algorithm_is_refused_by_every_reader),
		cmocka_unit_test(absurd_sizes_are_refused_without_being_believed),
		cmocka_unit_test(a_node_that_does_not_end_where_it_has_to_is_refused),
		cmocka_unit_test(parents_that_lie_about_their_children_are_refused),
		cmocka_unit_test(a_search_does_not_follow_a_lie_about_levels),
		cmocka_unit_test(a_writer_refuses_entries_that_no_reader_takes),
		cmocka_unit_test(nodes_that_overlap_are_refused),
		cmocka_unit_test(children_are_told_in_order_with_their_kind),
		cmocka_unit_test(nothing_is_told_of_a_node_that_is_broken_at_its_end),
		cmocka_unit_test(a_flipped_bit_in_a_node_is_never_a_crash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
