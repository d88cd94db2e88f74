#include "manifest/test_nodes.h"

#include "manifest/causal_pack.h"

static struct device_id
device(uint32_t n)
{
	struct device_id d = { { 0 } };

	/* In the order of N, so that dots sort by it. */
	d.bytes[0] = (uint8_t)(n >> 8);
	d.bytes[1] = (uint8_t)n;
	d.bytes[31] = 0xdd;
	return d;
}

static struct dot
dot(uint32_t n, uint64_t seq)
{
	return (struct dot){ device(n), seq };
}

static struct causal_entry
plain_entry(const char *name, struct dot d)
{
	struct causal_entry en = { .name = bytes_str(name), .content = d, .name_dot = d };

	memset(en.id, 0xe1, sizeof en.id);
	return en;
}

static struct bytes
small_value(void)
{
	static const uint8_t value[11] = { 1, 0xa4, 1 };

	return BYTES_OF(value);
}

static struct causal_entry
with_siblings(const char *name, uint32_t n)
{
	struct causal_entry en = plain_entry(name, dot(500, 3));

	en.name_dot = dot(501, 1);
	en.n_siblings = n;
	for (uint32_t i = 0; i < n; i++) {
		en.siblings[i].dot = dot(600 + i, i + 1);
		en.siblings[i].value = small_value();
	}
	return en;
}

static void
assert_same(const struct causal_entry *a, const struct causal_entry *b)
{
	assert_true(bytes_equal(a->name, b->name));
	assert_memory_equal(a->id, b->id, sizeof a->id);
	assert_int_equal(causal_dot_compare(&a->content, &b->content), 0);
	assert_int_equal(causal_dot_compare(&a->name_dot, &b->name_dot), 0);
	assert_true(hash_id_equal(&a->dir, &b->dir));
	assert_int_equal(a->n_siblings, b->n_siblings);
	for (uint32_t i = 0; i < a->n_siblings; i++) {
		assert_int_equal(causal_dot_compare(&a->siblings[i].dot, &b->siblings[i].dot), 0);
		assert_true(bytes_equal(a->siblings[i].value, b->siblings[i].value));
	}
}

static void
every_form_of_entry_comes_back_as_it_was(void **state)
{
	(void)state;
	struct causal_entry cases[] = {
		plain_entry("a", dot(1, 1)),
		plain_entry("b", dot(1, UINT64_MAX)),
		plain_entry("c", dot(2, 300)),
		plain_entry("d", dot(3, 1)),
		with_siblings("e", 1),
		with_siblings("f", CAUSAL_SIBLINGS_MAX),
	};
	cases[2].name_dot = dot(9, 1);
	cases[3].dir = any_id(1);

	for (size_t i = 0; i < lengthof(cases); i++) {
		auto_buf struct buf b = BUF(NODE_ENTRY_MAX), again = BUF(NODE_ENTRY_MAX);
		struct causal_entry back;
		assert_ok(causal_entry_encode(&cases[i], &b, &unit_error));
		assert_ok(causal_entry_decode(cases[i].name, buf_bytes(&b), &back, &unit_error));
		assert_same(&cases[i], &back);
		assert_ok(causal_entry_encode(&back, &again, &unit_error));
		assert_true(bytes_equal(buf_bytes(&b), buf_bytes(&again)));
		for (size_t n = 0; n < b.len; n++)
			assert_err(ERR_PROTO,
			    causal_entry_decode(cases[i].name, BYTES(b.at, n), &back, &unit_error));
		buf_u8(&b, 0);
		assert_err(ERR_PROTO,
		    causal_entry_decode(cases[i].name, buf_bytes(&b), &back, &unit_error));
	}
}

static void
entries_that_break_a_rule_are_refused(void **state)
{
	(void)state;
	struct causal_entry one = plain_entry("a", dot(1, 1)), two = with_siblings("b", 2);
	auto_buf struct buf b = BUF(NODE_ENTRY_MAX);
	struct tree_entry dir = dir_entry("b", &(struct hash_id){ 0 }, 0, 0);
	auto_buf struct buf dir_value = BUF(100);
	struct hash_id root = any_id(4);

	dir.root = root;
	assert_ok(tree_entry_encode(&dir, &dir_value, &unit_error));
#define REFUSED(base, change)                                                                      \
	do {                                                                                       \
		struct causal_entry x = base;                                                      \
		change;                                                                            \
		assert_err(ERR_PROTO, causal_entry_encode(&x, &b, &unit_error));                   \
	} while (0)
	REFUSED(one, x.name = BYTES_LIT(".."));
	REFUSED(one, x.name = BYTES_LIT(".weft"));
	REFUSED(one, x.content.seq = 0);
	REFUSED(one, x.name_dot.seq = 0);
	REFUSED(two, x.n_siblings = CAUSAL_SIBLINGS_MAX + 1);
	REFUSED(two, x.dir = root);
	REFUSED(two, x.siblings[0].dot.seq = 0);
	REFUSED(two, x.siblings[0].dot = x.content);
	REFUSED(two, x.siblings[1].dot = x.siblings[0].dot);
	REFUSED(two, x.siblings[1].dot = dot(599, 1));
	REFUSED(two, x.siblings[1].value = BYTES_LIT("no entry"));
	REFUSED(two, x.siblings[1].value = buf_bytes(&dir_value));
#undef REFUSED
	assert_int_equal(b.len, 0);
}

static void
parts_that_need_not_be_there_are_refused(void **state)
{
	(void)state;
	struct causal_entry en = plain_entry("a", dot(1, 1)), back;
	auto_buf struct buf b = BUF(1000);

	assert_ok(causal_entry_encode(&en, &b, &unit_error));
	/* The dot of the name again, although it is that of the content. */
	b.at[ENTRY_ID_BYTES] = CAUSAL_PART_NAME_DOT;
	auto_free uint8_t *first = mem_dup(b.at + ENTRY_ID_BYTES + 1, DEVICE_ID_BYTES + 1);
	buf_add(&b, first, DEVICE_ID_BYTES + 1);
	assert_err(ERR_PROTO, causal_entry_decode(en.name, buf_bytes(&b), &back, &unit_error));
	assert_non_null(strstr(unit_error.text, "should not have"));
	b.len -= DEVICE_ID_BYTES + 1;
	b.at[ENTRY_ID_BYTES] = 0x80;
	assert_err(ERR_PROTO, causal_entry_decode(en.name, buf_bytes(&b), &back, &unit_error));
	/* Siblings beyond what there is room for, each of them well made. */
	b.at[ENTRY_ID_BYTES] = CAUSAL_PART_SIBLINGS;
	size_t before = b.len;
	buf_u8(&b, CAUSAL_SIBLINGS_MAX + 1);
	for (uint32_t i = 0; i <= CAUSAL_SIBLINGS_MAX; i++) {
		struct device_id d = device(600 + i);
		buf_add(&b, &d, sizeof d);
		buf_u8(&b, 1);
		buf_u8(&b, (uint8_t)small_value().len);
		buf_add_bytes(&b, small_value());
	}
	assert_err(ERR_PROTO, causal_entry_decode(en.name, buf_bytes(&b), &back, &unit_error));
	assert_non_null(strstr(unit_error.text, "cut short"));
	b.len = before;
	buf_u8(&b, 0);
	assert_err(ERR_PROTO, causal_entry_decode(en.name, buf_bytes(&b), &back, &unit_error));
}

static void
siblings_beyond_the_room_of_an_entry_are_a_limit(void **state)
{
	(void)state;
	struct causal_entry en = with_siblings("a", CAUSAL_SIBLINGS_MAX);
	auto_buf struct buf b = BUF(1 << 20);
	uint8_t value[1 + TREE_LINK_MAX];

	memset(value, 3, sizeof value); /* a symlink to very much */
	for (uint32_t i = 0; i < en.n_siblings; i++)
		en.siblings[i].value = BYTES_OF(value);
	assert_err(ERR_LIMIT, causal_entry_encode(&en, &b, &unit_error));
	assert_int_equal(b.len, 0);
	en.n_siblings = 3;
	assert_ok(causal_entry_encode(&en, &b, &unit_error));
}

/* -- trees -- */

static struct hash_id
build(struct nodes *n, uint32_t entries, uint32_t devices)
{
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_CAUSAL, HASH_DEFAULT, nodes_sink(n));
	struct hash_id root;

	for (uint32_t i = 0; i < entries; i++) {
		char name[32];
		auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
		snprintf(name, sizeof name, "%08u", i);
		struct causal_entry en = i % 50 == 49 ? with_siblings(name, i % 16)
						      : plain_entry(name, dot(i % devices, i + 1));
		if (i % 7 == 0)
			en.name_dot = dot((i + 1) % devices, 2 * i + 1);
		assert_ok(causal_entry_encode(&en, &value, &unit_error));
		assert_ok(prolly_builder_add(b, en.name, buf_bytes(&value), &unit_error));
	}
	assert_ok(prolly_builder_finish(b, &root, &unit_error));
	return root;
}

static void
causal_trees_come_back_with_few_devices_and_with_many(void **state)
{
	(void)state;
	static const uint32_t devices[] = { 1, 2, 100, 126, 127, 128, 129, 5000 };

	for (size_t i = 0; i < lengthof(devices); i++) {
		auto_(nodes_clear) struct nodes n = { 0 };
		enum { ENTRIES = 5000 };
		struct hash_id root = build(&n, ENTRIES, devices[i]),
			       again = build(&n, ENTRIES, devices[i]);
		assert_true(hash_id_equal(&root, &again));
		auto_(causal_iter_free_p) struct causal_iter *it =
		    causal_iter_new(nodes_source(&n), &root);
		struct causal_entry got;
		for (uint32_t k = 0; k < ENTRIES; k++) {
			char name[32];
			snprintf(name, sizeof name, "%08u", k);
			struct causal_entry want =
			    k % 50 == 49 ? with_siblings(name, k % 16)
					 : plain_entry(name, dot(k % devices[i], k + 1));
			if (k % 7 == 0)
				want.name_dot = dot((k + 1) % devices[i], 2 * k + 1);
			assert_ok(causal_iter_next(it, &got, &unit_error));
			assert_same(&got, &want);
		}
		assert_int_equal(causal_iter_next(it, &got, NULL), ERR_NOTFOUND);
		auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
		assert_ok(prolly_get(HASH_CAUSAL, nodes_source(&n), &root, BYTES_LIT("00004321"),
		    &value, &unit_error));
		assert_ok(causal_entry_decode(
		    BYTES_LIT("00004321"), buf_bytes(&value), &got, &unit_error));
		assert_int_equal(got.content.seq, 4322);
	}
}

static void
an_entry_by_a_known_device_costs_21_bytes_beside_its_name(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_CAUSAL, HASH_DEFAULT, nodes_sink(&n));
	struct hash_id root;

	for (uint32_t i = 0; i < 100; i++) {
		char name[32];
		auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
		snprintf(name, sizeof name, "%02u", i);
		struct causal_entry en = plain_entry(name, dot(1, 5));
		assert_ok(causal_entry_encode(&en, &value, &unit_error));
		assert_ok(prolly_builder_add(b, en.name, buf_bytes(&value), &unit_error));
	}
	assert_ok(prolly_builder_finish(b, &root, &unit_error));
	/* Length and name; length, id, parts, index, number.  The device once. */
	assert_int_equal(
	    nodes_bytes(&n, HASH_CAUSAL, &root).len, 3 + 100 * (1 + 2 + 1 + 16 + 1 + 1 + 1) + 32);
}

/* -- leaves by hand -- */

static enum err
iterate(struct bytes node)
{
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id id = nodes_keep(&n, HASH_CAUSAL, node);
	auto_(causal_iter_free_p) struct causal_iter *it = causal_iter_new(nodes_source(&n), &id);
	struct causal_entry en;
	enum err r = OK;

	unit_error = (struct error){ 0 };
	while (r == OK)
		r = causal_iter_next(it, &en, &unit_error);
	return r;
}

/* Both ways to read a leaf. */
static void
assert_refused(struct bytes node, const char *why)
{
	assert_err(ERR_PROTO, node_children(HASH_CAUSAL, node, NULL, NULL, &unit_error));
	if (strstr(unit_error.text, why) == NULL)
		unit_fail("\"%s\", not \"%s\"", unit_error.text, why);
	enum err r = iterate(node);
	if (r != ERR_PROTO || strstr(unit_error.text, why) == NULL)
		unit_fail("%s, \"%s\", not \"%s\"", error_name(r), unit_error.text, why);
}

static void
leaf_head(struct buf *b)
{
	buf_reset(b);
	buf_add_bytes(b, BYTES_LIT("\1\0\1"));
}

/* An entry whose dot is INDEX, and DEVICE when given. */
static void
leaf_entry(struct buf *b, char name, uint8_t index, const struct device_id *d)
{
	uint8_t id[ENTRY_ID_BYTES] = { 1 };

	buf_u8(b, 1);
	buf_u8(b, (uint8_t)name);
	buf_varint(b, ENTRY_ID_BYTES + 1 + 1 + (d != NULL ? DEVICE_ID_BYTES : 0) + 1);
	buf_add(b, id, sizeof id);
	buf_u8(b, 0);
	buf_u8(b, index);
	if (d != NULL)
		buf_add(b, d, sizeof *d);
	buf_u8(b, 1);
}

static void
devices_have_one_way_to_be_named(void **state)
{
	(void)state;
	auto_buf struct buf b = BUF(1000);
	struct device_id d1 = device(1), d2 = device(2);

	leaf_head(&b);
	leaf_entry(&b, 'a', 0, &d1);
	leaf_entry(&b, 'b', 0, NULL);
	leaf_entry(&b, 'c', 1, &d2);
	leaf_entry(&b, 'd', 1, NULL);
	assert_ok(node_children(HASH_CAUSAL, buf_bytes(&b), NULL, NULL, &unit_error));
	assert_int_equal(iterate(buf_bytes(&b)), ERR_NOTFOUND);
	size_t good = b.len;

	leaf_entry(&b, 'e', 2, &d1); /* has index 0 already */
	assert_refused(buf_bytes(&b), "malformed");
	b.len = good;
	leaf_entry(&b, 'e', 3, NULL); /* nobody's index */
	assert_refused(buf_bytes(&b), "malformed");
	b.len = good;
	leaf_entry(&b, 'e', 2, NULL); /* the device is missing */
	assert_refused(buf_bytes(&b), "malformed");
	b.len = good;
	leaf_entry(&b, 'e', 0, &d1); /* written out where an index would do */
	assert_refused(buf_bytes(&b), "malformed");
}

static void
a_packed_value_with_a_tail_or_an_id_of_another_algorithm_is_refused(void **state)
{
	(void)state;
	auto_buf struct buf b = BUF(1000);
	struct device_id d = device(1);
	struct hash_id dir = any_id(1);

	leaf_head(&b);
	leaf_entry(&b, 'a', 0, &d);
	size_t good = b.len;
	leaf_entry(&b, 'b', 0, NULL);
	buf_u8(&b, 0);
	b.at[good + 2]++; /* the value's length */
	assert_refused(buf_bytes(&b), "malformed");

	b.len--;
	b.at[good + 2] = (uint8_t)(b.at[good + 2] - 1 + HASH_ID_BYTES);
	b.at[good + 3 + ENTRY_ID_BYTES] = CAUSAL_PART_DIR;
	hash_id_encode(&b, &dir);
	assert_int_equal(iterate(buf_bytes(&b)), ERR_NOTFOUND);
	b.at[b.len - HASH_ID_BYTES] = HASH_SHA512_256;
	assert_refused(buf_bytes(&b), "another");
}

static void
a_leaf_ends_when_it_knows_128_devices(void **state)
{
	(void)state;
	auto_buf struct buf b = BUF(NODE_MAX);

	leaf_head(&b);
	for (uint8_t i = 0; i < 128; i++) {
		struct device_id d = device(i);
		/* neither "." nor "/" */
		leaf_entry(&b, (char)(i + 1 + (i >= '.' - 1) + (i >= '/' - 2)), i, &d);
		if (i % 64 == 63)
			assert_true(b.len < 8192);
	}
	enum err r = node_children(HASH_CAUSAL, buf_bytes(&b), NULL, NULL, &unit_error);
	if (r != OK) /* a boundary by content came first: then this is not the test it should be */
		unit_fail("%s", unit_error.text);
	leaf_entry(&b, (char)0xff, 0, NULL);
	assert_err(ERR_PROTO, node_children(HASH_CAUSAL, buf_bytes(&b), NULL, NULL, &unit_error));
	assert_non_null(strstr(unit_error.text, "has to end"));
}

static enum err
count_child(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	size_t *n = ctx;

	(void)id;
	(void)e;
	n[kind]++;
	return OK;
}

static void
children_are_directories_and_what_siblings_point_at(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_CAUSAL, HASH_DEFAULT, nodes_sink(&n));
	auto_buf struct buf listed = BUF(100);
	struct tree_entry file = {
		.name = BYTES_LIT("b"), .type = TREE_FILE, .size = 1000, .root = any_id(1)
	};
	struct causal_entry dir = plain_entry("a", dot(1, 1)), two = with_siblings("b", 2);
	struct causal_entry cases[2];
	struct hash_id root;
	size_t told[16] = { 0 };

	dir.dir = any_id(2);
	assert_ok(tree_entry_encode(&file, &listed, &unit_error));
	two.siblings[1].value = buf_bytes(&listed);
	cases[0] = dir;
	cases[1] = two;
	for (size_t i = 0; i < 2; i++) {
		auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
		assert_ok(causal_entry_encode(&cases[i], &value, &unit_error));
		assert_ok(prolly_builder_add(b, cases[i].name, buf_bytes(&value), &unit_error));
	}
	assert_ok(prolly_builder_finish(b, &root, &unit_error));
	assert_ok(node_children(
	    HASH_CAUSAL, nodes_bytes(&n, HASH_CAUSAL, &root), count_child, told, &unit_error));
	assert_int_equal(told[HASH_CAUSAL], 1);
	assert_int_equal(told[HASH_FILE], 1);
	assert_int_equal(told[HASH_TREE], 0);

	/* An id of another algorithm, however deep it hides. */
	file.root.alg = HASH_SHA512_256;
	buf_reset(&listed);
	assert_ok(tree_entry_encode(&file, &listed, &unit_error));
	two.siblings[1].value = buf_bytes(&listed);
	auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
	assert_ok(causal_entry_encode(&two, &value, &unit_error));
	assert_err(
	    ERR_PROTO, prolly_builder_add(b, BYTES_LIT("c"), buf_bytes(&value), &unit_error));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_form_of_entry_comes_back_as_it_was),
		cmocka_unit_test(entries_that_break_a_rule_are_refused),
		cmocka_unit_test(parts_that_need_not_be_there_are_refused),
		cmocka_unit_test(siblings_beyond_the_room_of_an_entry_are_a_limit),
		cmocka_unit_test(causal_trees_come_back_with_few_devices_and_with_many),
		cmocka_unit_test(an_entry_by_a_known_device_costs_21_bytes_beside_its_name),
		cmocka_unit_test(devices_have_one_way_to_be_named),
		cmocka_unit_test(
		    a_packed_value_with_a_tail_or_an_id_of_another_algorithm_is_refused),
		cmocka_unit_test(a_leaf_ends_when_it_knows_128_devices),
		cmocka_unit_test(children_are_directories_and_what_siblings_point_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
