#include "manifest/test_nodes.h"

#include "base/text.h"

static struct tree_item room[TREE_INLINE_ITEMS];

static struct buf
encoded(const struct tree_entry *en)
{
	struct buf b = BUF(NODE_ENTRY_MAX);

	assert_ok(tree_entry_encode(en, &b, &unit_error));
	return b;
}

static void
assert_comes_back(const struct tree_entry *en)
{
	auto_buf struct buf b = encoded(en), again = BUF(NODE_ENTRY_MAX);
	struct tree_entry back;

	assert_ok(tree_entry_decode(en->name, buf_bytes(&b), room, &back, &unit_error));
	assert_true(bytes_equal(back.name, en->name));
	assert_int_equal(back.type, en->type);
	assert_int_equal(back.mode, en->mode);
	assert_int_equal(back.mtime_ns, en->mtime_ns);
	assert_int_equal(back.size, en->size);
	assert_int_equal(back.entries, en->entries);
	assert_true(bytes_equal(back.target, en->target));
	assert_true(hash_id_equal(&back.root, &en->root));
	assert_int_equal(back.n_items, en->n_items);
	for (uint32_t i = 0; i < en->n_items; i++) {
		assert_true(hash_id_equal(&back.items[i].id, &en->items[i].id));
		assert_int_equal(back.items[i].len, en->items[i].len);
	}
	assert_ok(tree_entry_encode(&back, &again, &unit_error));
	assert_true(bytes_equal(buf_bytes(&b), buf_bytes(&again)));
	/* Cut anywhere, or longer by a byte, it is none. */
	for (size_t n = 0; n < b.len; n++) {
		enum err r = tree_entry_decode(en->name, BYTES(b.at, n), room, &back, NULL);
		/* ... but a symlink to less, and a file that ends after one of its items. */
		assert_true(
		    r == ERR_PROTO || en->type == TREE_SYMLINK || en->n_items > 0 || n == 11);
	}
	if (en->type != TREE_SYMLINK) {
		buf_u8(&b, 0);
		assert_err(ERR_PROTO,
		    tree_entry_decode(en->name, buf_bytes(&b), room, &back, &unit_error));
	}
}

static void
every_type_of_entry_comes_back_as_it_was(void **state)
{
	(void)state;
	struct tree_item items[TREE_INLINE_ITEMS];
	struct hash_id root = any_id(99);
	struct tree_entry file = file_entry("a", items, 77);
	struct tree_entry dir = dir_entry("d", &root, 5, 12345678901),
			  link = link_entry("l", "../x/../y");

	assert_comes_back(&file);
	file.mtime_ns = INT64_MIN;
	assert_comes_back(&file);
	file.mtime_ns = -1;
	file.mode = 0;
	assert_comes_back(&file);
	for (uint32_t i = 0; i < TREE_INLINE_ITEMS; i++)
		items[i] = (struct tree_item){ .id = any_id(i), .len = CHUNK_MAX };
	items[7] = (struct tree_item){ .len = 3 * TREE_HOLE_BLOCK };
	items[63] = (struct tree_item){ .len = 17 };
	file.n_items = TREE_INLINE_ITEMS;
	file.size = 62 * (uint64_t)CHUNK_MAX + 3 * TREE_HOLE_BLOCK + 17;
	assert_comes_back(&file);
	file = (struct tree_entry){ .name = BYTES_LIT("empty"), .type = TREE_FILE, .mode = 0777 };
	assert_comes_back(&file);
	file.root = root;
	file.size = TREE_FILE_SIZE_MAX;
	assert_comes_back(&file);
	assert_comes_back(&dir);
	dir.entries = TREE_ENTRIES_MAX;
	dir.size = TREE_TOTAL_MAX;
	assert_comes_back(&dir);
	dir.entries = dir.size = 0;
	assert_comes_back(&dir);
	assert_comes_back(&link);
}

static void
a_small_file_costs_49_bytes_beside_its_name(void **state)
{
	(void)state;
	struct tree_item item;
	struct tree_entry en = file_entry("a", &item, 20000);
	auto_buf struct buf b = encoded(&en);

	auto_buf struct buf narrow = BUF(b.len);
	buf_u8(&narrow, 7);
	assert_err(ERR_LIMIT, tree_entry_encode(&en, &narrow, &unit_error));
	assert_int_equal(narrow.len, 1); /* as it was */
	assert_int_equal(b.len + 2, 49); /* the lengths of name and value */
}

static void
names_are_what_a_directory_can_hold_and_not_ours(void **state)
{
	(void)state;
	char longest[257];
	static const struct {
		const char *name;
		size_t len;
		bool may;
	} cases[] = {
		{ "a", 1, true },
		{ "", 0, false },
		{ ".", 1, false },
		{ "..", 2, false },
		{ "...", 3, true },
		{ ".a", 2, true },
		{ "a/b", 3, false },
		{ "/", 1, false },
		{ "a\0b", 3, false },
		{ "\xff\xfe\n\x01", 4, true },
		{ "..\\x", 4, true },
		{ ".weft", 5, false },
		{ ".weftignore", 11, false },
		{ ".weft-part", 10, false },
		{ ".wef", 4, true },
		{ ".WEFT", 5, true },
		{ "x.weft", 6, true },
		{ "C:", 2, true },
	};

	for (size_t i = 0; i < lengthof(cases); i++) {
		enum err r = tree_entry_name(BYTES(cases[i].name, cases[i].len), NULL);
		if ((r == OK) != cases[i].may)
			unit_fail("name %zu, \"%s\": %s", i, cases[i].name, error_name(r));
		struct tree_item item;
		struct tree_entry en = file_entry("x", &item, 1);
		en.name = BYTES(cases[i].name, cases[i].len);
		auto_buf struct buf b = BUF(1000);
		assert_int_equal(tree_entry_encode(&en, &b, NULL), r);
		assert_true((b.len == 0) == (r != OK));
	}
	memset(longest, 'n', 256);
	assert_int_equal(tree_entry_name(BYTES(longest, 255), NULL), OK);
	assert_int_equal(tree_entry_name(BYTES(longest, 256), NULL), ERR_PROTO);
}

/* Every rule of content that an entry alone can break, as rows of lengths; negative: a hole. */
static void
content_that_breaks_a_rule_is_refused(void **state)
{
	(void)state;
	enum { B = TREE_HOLE_BLOCK, MAX = CHUNK_MAX };
	static const struct {
		int64_t len[5];
		bool may;
		const char *what;
	} cases[] = {
		{ { 0 }, true, "" },
		{ { 1 }, true, "" },
		{ { MAX, MAX, 5 }, true, "" },
		{ { MAX + 1 }, false, "chunk of" },
		{ { -1 }, true, "" },
		{ { -B, 7 }, true, "" },
		{ { -B - 1, 7 }, false, "goes on" },
		{ { B, -B, B, -B - 5 }, true, "" },
		{ { 5 * B + 1, -B }, false, "start of a block" },
		{ { 5, -B }, false, "start of a block" },
		{ { -B, -B }, false, "two holes" },
		{ { B, -B, -1 }, false, "two holes" },
		{ { B - 5, 5, -B, 3 }, true, "" },
		{ { -((int64_t)1 << 50) }, true, "" },
		{ { -((int64_t)1 << 50), 1 }, false, "more than" },
		{ { -((int64_t)1 << 50) - 1 }, false, "hole of" },
	};

	for (size_t i = 0; i < lengthof(cases); i++) {
		struct tree_item items[5];
		struct tree_entry en = {
			.name = BYTES_LIT("f"), .type = TREE_FILE, .items = items
		};
		for (; cases[i].len[en.n_items] != 0; en.n_items++) {
			int64_t len = cases[i].len[en.n_items];
			struct tree_item it = { .len = (uint64_t)(len < 0 ? -len : len) };
			if (len > 0)
				it.id = any_id(i);
			items[en.n_items] = it;
			en.size += it.len;
		}
		auto_buf struct buf b = BUF(1000);
		unit_error = (struct error){ 0 };
		enum err r = tree_entry_encode(&en, &b, &unit_error);
		if ((r == OK) != cases[i].may || strstr(unit_error.text, cases[i].what) == NULL)
			unit_fail("case %zu: %s: %s", i, error_name(r), unit_error.text);
	}
}

static void
fields_that_contradict_each_other_are_refused(void **state)
{
	(void)state;
	struct tree_item items[TREE_INLINE_ITEMS + 1];
	struct hash_id root = any_id(1);
	struct tree_entry file = file_entry("f", items, 5), dir = dir_entry("d", &root, 1, 1),
			  link = link_entry("l", "t");
	auto_buf struct buf b = BUF(NODE_ENTRY_MAX);
	char target[TREE_LINK_MAX + 2];

#define REFUSED(base, change)                                                                      \
	do {                                                                                       \
		struct tree_entry x = base;                                                        \
		change;                                                                            \
		assert_err(ERR_PROTO, tree_entry_encode(&x, &b, &unit_error));                     \
	} while (0)
	REFUSED(file, x.type = 0);
	REFUSED(file, x.type = 4);
	REFUSED(file, x.mode = 01000);
	REFUSED(file, x.mode = 04755);
	REFUSED(file, x.size++);
	REFUSED(file, x.n_items = 0);
	REFUSED(file, (x.root = root, x.size = 1000));
	REFUSED(file, (x.root = root, x.n_items = 0, x.size = 64));
	REFUSED(file, (x.root = root, x.n_items = 0, x.size = TREE_FILE_SIZE_MAX + 1));
	REFUSED(dir, x.root = (struct hash_id){ 0 });
	REFUSED(dir, x.size = TREE_TOTAL_MAX + 1);
	REFUSED(dir, x.entries = TREE_ENTRIES_MAX + 1);
	REFUSED(dir, x.entries = 0);
	REFUSED(link, x.mode = 0755);
	REFUSED(link, x.mtime_ns = 1);
	REFUSED(link, x.size = 2);
	REFUSED(link, (x.target = BYTES_LIT(""), x.size = 0));
	REFUSED(link, (x.target = BYTES_LIT("a\0b"), x.size = 3));
	memset(target, 't', sizeof target);
	REFUSED(link, (x.target = BYTES(target, TREE_LINK_MAX + 1), x.size = TREE_LINK_MAX + 1));
	for (size_t i = 0; i <= TREE_INLINE_ITEMS; i++)
		items[i] = (struct tree_item){ .id = any_id(i), .len = 1 };
	REFUSED(file, (x.n_items = TREE_INLINE_ITEMS + 1, x.size = TREE_INLINE_ITEMS + 1));
#undef REFUSED
	assert_int_equal(b.len, 0);
}

/* Bytes that no encoder makes. */
static void
values_in_another_encoding_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *hex, *why;
	} cases[] = {
		{ "", "nothing" },
		{ "00a40100000000000000000000", "form 0" },
		{ "05a40100000000000000000000", "form 5" },
		{ "01ff03000000000000000000", "mode above 0777" },
		{ "01a4010000000000000000"
		  "01",
		    "hole of nothing" },
		{ "01a4010000000000000000"
		  "8300",
		    "hole of 1, not the shortest form" },
		{ "01a4010000000000000000"
		  "02"
		  "00"
		  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		    "chunk without an algorithm" },
		{ "01a4010000000000000000"
		  "02"
		  "07"
		  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		    "unknown algorithm" },
		{ "01a4010000000000000000"
		  "ffffffffffffffffff01",
		    "hole of 2^63" },
		{ "02ed010000000000000000"
		  "00"
		  "00"
		  "00"
		  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		    "directory with no root" },
		{ "02ed010000000000000000"
		  "8000"
		  "00"
		  "01"
		  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		    "size not in the shortest form" },
		{ "03", "symlink to nothing" },
		{ "0361620063", "symlink with NUL" },
		{ "04a4010000000000000000"
		  "40"
		  "01"
		  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		    "list of 64 bytes" },
	};

	for (size_t i = 0; i < lengthof(cases); i++) {
		uint8_t value[200];
		size_t n = strlen(cases[i].hex) / 2;
		struct tree_entry en;
		assert_true(text_parse_hex(cases[i].hex, value, n));
		enum err r = tree_entry_decode(BYTES_LIT("n"), BYTES(value, n), room, &en, NULL);
		if (r != ERR_PROTO)
			unit_fail("%s: %s", cases[i].why, error_name(r));
	}
}

static void
random_bytes_are_one_encoding_or_none(void **state)
{
	(void)state;
	struct rng rng;
	size_t accepted = 0;

	rng_seed(&rng, any_seed());
	for (int i = 0; i < 200000; i++) {
		uint8_t value[120];
		size_t n = rng_below(&rng, sizeof value);
		rng_fill(&rng, value, n);
		if (n > 0)
			value[0] = (uint8_t)(1 + value[0] % 4);
		if (n > 2)
			value[2] &= 1;
		if (n > 14 && i % 2 == 0)
			value[14] = 1; /* where a chunk's algorithm may be */
		struct tree_entry en;
		auto_buf struct buf again = BUF(NODE_ENTRY_MAX);
		if (tree_entry_decode(BYTES_LIT("n"), BYTES(value, n), room, &en, NULL) != OK)
			continue;
		accepted++;
		assert_ok(tree_entry_encode(&en, &again, &unit_error));
		assert_true(bytes_equal(buf_bytes(&again), BYTES(value, n)));
	}
	assert_true(accepted > 100);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_of_entry_comes_back_as_it_was),
		cmocka_unit_test(a_small_file_costs_49_bytes_beside_its_name),
		cmocka_unit_test(names_are_what_a_directory_can_hold_and_not_ours),
		cmocka_unit_test(content_that_breaks_a_rule_is_refused),
		cmocka_unit_test(fields_that_contradict_each_other_are_refused),
		cmocka_unit_test(values_in_another_encoding_are_refused),
		cmocka_unit_test(random_bytes_are_one_encoding_or_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
