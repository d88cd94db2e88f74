#include "manifest/test_nodes.h"

/* Of one chunk, SIZE bytes. */
static struct tree_entry
file_of(const char *name, struct tree_item *item, uint64_t size)
{
	return file_entry(name, item, size - 1);
}

/*
 *	a	100 bytes
 *	d/	e/ (empty), f 200, g -> f
 *	d.x	300: behind d and what is in it, although '.' sorts before '/'
 *	z	0
 */
static struct hash_id
small_tree(struct nodes *n)
{
	struct tree_item items[3];
	struct hash_id none = make_dir(n, NULL, 0);
	struct tree_entry in_d[] = {
		dir_entry("e", &none, 0, 0),
		file_of("f", &items[1], 200),
		link_entry("g", "f"),
	};
	struct hash_id d = make_dir(n, in_d, lengthof(in_d));
	struct tree_entry top[] = {
		file_of("a", &items[0], 100),
		dir_entry("d", &d, 3, 200),
		file_of("d.x", &items[2], 300),
		{ .name = BYTES_LIT("z"), .type = TREE_FILE, .mode = 0644 },
	};
	return make_dir(n, top, lengthof(top));
}

/* All steps as text: "+path" and "-path", by blanks. */
static enum err
steps(struct tree_walk *w, const char *skip, struct buf *out)
{
	enum tree_step step;
	struct relpath path;
	struct tree_entry en;
	enum err r;

	buf_reset(out);
	unit_error = (struct error){ 0 };
	while ((r = tree_walk_next(w, &step, &path, &en, &unit_error)) == OK) {
		buf_addf(out, "%s%c%s", out->len > 0 ? " " : "", step == TREE_ENTER ? '+' : '-',
		    path.text);
		assert_int_equal(strlen(path.text), path.len);
		struct relpath parsed;
		assert_ok(relpath_parse(path.text, path.len, &parsed, &unit_error));
		assert_memory_equal(en.name.at, path.text + path.len - en.name.len, en.name.len);
		if (step == TREE_LEAVE)
			assert_int_equal(en.type, TREE_DIR);
		if (skip != NULL && strcmp(path.text, skip) == 0)
			tree_walk_skip(w);
	}
	return r;
}

static void
assert_totals(const struct tree_walk *w, uint64_t want_entries, uint64_t want_bytes)
{
	uint64_t entries, bytes;

	tree_walk_totals(w, &entries, &bytes);
	assert_int_equal(entries, want_entries);
	assert_int_equal(bytes, want_bytes);
}

static void
a_walk_goes_through_everything_in_manifest_order(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id root = small_tree(&n);
	auto_(tree_walk_free_p) struct tree_walk *w = tree_walk_new(nodes_source(&n), &root);
	auto_buf struct buf text = BUF(1000);

	assert_int_equal(steps(w, NULL, &text), ERR_NOTFOUND);
	assert_string_equal(buf_text(&text), "+a +d +d/e -d/e +d/f +d/g -d +d.x +z");
	assert_int_equal(unit_error.code, OK);
	assert_totals(w, 7, 600);
	assert_int_equal(steps(w, NULL, &text), ERR_NOTFOUND); /* the end stays the end */
}

static void
a_directory_can_be_skipped(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id root = small_tree(&n);
	auto_(tree_walk_free_p) struct tree_walk *w = tree_walk_new(nodes_source(&n), &root);
	auto_buf struct buf text = BUF(1000);

	tree_walk_expect(w, 7, 600);
	assert_int_equal(steps(w, "d", &text), ERR_NOTFOUND);
	assert_string_equal(buf_text(&text), "+a +d +d.x +z");
	assert_totals(w, 7, 600); /* what it declares counts */
}

static void
paths_lead_to_entries(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id root = small_tree(&n);
	auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
	struct tree_item items[TREE_INLINE_ITEMS];
	static const struct {
		const char *path;
		enum tree_type type; /* 0: not there */
		uint64_t size;
	} cases[] = {
		{ "", TREE_DIR, 0 },
		{ "a", TREE_FILE, 100 },
		{ "d", TREE_DIR, 200 },
		{ "d/f", TREE_FILE, 200 },
		{ "d/e", TREE_DIR, 0 },
		{ "d/g", TREE_SYMLINK, 1 },
		{ "d/g/x", 0, 0 },
		{ "a/b", 0, 0 },
		{ "d/x", 0, 0 },
		{ "d/e/x", 0, 0 },
		{ "b", 0, 0 },
		{ "d.x", TREE_FILE, 300 },
		{ "zz", 0, 0 },
	};

	for (size_t i = 0; i < lengthof(cases); i++) {
		struct relpath path;
		struct tree_entry en;
		assert_ok(relpath_parse(cases[i].path, strlen(cases[i].path), &path, &unit_error));
		enum err r =
		    tree_find_path(nodes_source(&n), &root, path, &value, items, &en, NULL);
		if ((r == OK) != (cases[i].type != 0) || (r != OK && r != ERR_NOTFOUND))
			unit_fail("\"%s\": %s", cases[i].path, error_name(r));
		if (r == OK) {
			assert_int_equal(en.type, cases[i].type);
			assert_int_equal(en.size, cases[i].size);
		}
	}
}

/* A directory of one file of 10 bytes, declared as given, and the walk over what holds it. */
static enum err
declared(uint64_t entries, uint64_t size)
{
	auto_(nodes_clear) struct nodes n = { 0 };
	struct tree_item item;
	struct tree_entry file = file_of("f", &item, 10);
	struct hash_id d = make_dir(&n, &file, 1);
	struct tree_entry top = dir_entry("d", &d, entries, size);
	struct hash_id root = make_dir(&n, &top, 1);
	auto_(tree_walk_free_p) struct tree_walk *w = tree_walk_new(nodes_source(&n), &root);
	auto_buf struct buf text = BUF(1000);

	return steps(w, NULL, &text);
}

static void
totals_that_are_not_true_end_the_walk(void **state)
{
	(void)state;
	assert_int_equal(declared(1, 10), ERR_NOTFOUND);
	static const uint64_t lies[][2] = {
		{ 2, 10 },
		{ 1, 11 },
		{ 1, 9 },
		{ 0, 0 },
		{ TREE_ENTRIES_MAX, 10 },
		{ 1, TREE_TOTAL_MAX },
	};
	for (size_t i = 0; i < lengthof(lies); i++) {
		assert_int_equal(declared(lies[i][0], lies[i][1]), ERR_PROTO);
		assert_non_null(strstr(unit_error.text, "than it declares"));
		assert_non_null(strstr(unit_error.text, "\"d"));
	}
}

static void
a_commit_that_declares_something_else_ends_the_walk(void **state)
{
	(void)state;
	static const struct {
		uint64_t entries, bytes;
		enum err want;
	} cases[] = {
		{ 7, 600, ERR_NOTFOUND },
		{ 6, 600, ERR_PROTO },
		{ 8, 600, ERR_PROTO },
		{ 7, 599, ERR_PROTO },
		{ 7, 601, ERR_PROTO },
		{ 0, 0, ERR_PROTO },
	};
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id root = small_tree(&n);

	for (size_t i = 0; i < lengthof(cases); i++) {
		auto_(tree_walk_free_p) struct tree_walk *w =
		    tree_walk_new(nodes_source(&n), &root);
		auto_buf struct buf text = BUF(1000);
		tree_walk_expect(w, cases[i].entries, cases[i].bytes);
		assert_int_equal(steps(w, NULL, &text), cases[i].want);
	}
}

/* Two directories whose totals wrap to something small when they are added carelessly. */
static void
totals_do_not_overflow(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id none = make_dir(&n, NULL, 0);
	struct tree_entry top[300];
	char names[300][8];

	for (size_t i = 0; i < lengthof(top); i++) {
		snprintf(names[i], sizeof names[i], "%03zu", i);
		top[i] = dir_entry(names[i], &none, TREE_ENTRIES_MAX - 1, TREE_TOTAL_MAX);
	}
	struct hash_id root = make_dir(&n, top, lengthof(top));
	auto_(tree_walk_free_p) struct tree_walk *w = tree_walk_new(nodes_source(&n), &root);
	auto_buf struct buf text = BUF(10000);
	assert_int_equal(steps(w, "000", &text), ERR_PROTO);
	assert_string_equal(buf_text(&text), "+000"); /* the second one is too much already */
}

/* NAME within NAME ... DEPTH times, with a file in the last one when FILE. */
static struct hash_id
nested(struct nodes *n, const char *name, size_t depth, bool file)
{
	struct tree_item item;
	struct tree_entry en = file_of("x", &item, 1);
	struct hash_id root = make_dir(n, &en, file);

	for (size_t i = 0; i < depth; i++) {
		struct tree_entry dir = dir_entry(name, &root, i + file, file);
		root = make_dir(n, &dir, 1);
	}
	return root;
}

static enum err
walk_nested(const char *name, size_t depth, bool file, size_t *ret_asked)
{
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id root = nested(&n, name, depth, file);
	auto_(tree_walk_free_p) struct tree_walk *w = tree_walk_new(nodes_source(&n), &root);
	auto_buf struct buf text = BUF(64 << 20);
	enum err r = steps(w, NULL, &text);

	*ret_asked = n.asked;
	return r;
}

static void
trees_are_walked_as_deep_as_paths_may_be(void **state)
{
	(void)state;
	char longest[RELPATH_NAME_MAX + 1];
	size_t asked;

	assert_int_equal(walk_nested("d", RELPATH_DEPTH_MAX, false, &asked), ERR_NOTFOUND);
	/* Each node once, and those that were parked once more. */
	assert_in_range(asked, RELPATH_DEPTH_MAX, 2 * RELPATH_DEPTH_MAX + 2);
	assert_int_equal(walk_nested("d", RELPATH_DEPTH_MAX, true, &asked), ERR_PROTO);
	assert_non_null(strstr(unit_error.text, "512 directories"));
	assert_int_equal(walk_nested("d", RELPATH_DEPTH_MAX + 1, false, &asked), ERR_PROTO);

	memset(longest, 'n', RELPATH_NAME_MAX);
	longest[RELPATH_NAME_MAX] = 0;
	/* 128 * 256 - 1 = 32767 */
	assert_int_equal(walk_nested(longest, 128, false, &asked), ERR_NOTFOUND);
	assert_int_equal(walk_nested(longest, 129, false, &asked), ERR_PROTO);
	assert_non_null(strstr(unit_error.text, "32768 bytes"));
}

/* A name is there once, so nothing can be both a symlink and a directory: whoever writes beneath a
 * directory of the tree never goes through a symlink of the tree. */
static void
a_symlink_and_something_beneath_its_name_cannot_be_written_down(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, nodes_sink(&n));
	auto_buf struct buf value = BUF(1000);
	struct tree_entry link = link_entry("a", "/etc");
	struct hash_id none = make_dir(&n, NULL, 0);
	struct tree_entry dir = dir_entry("a", &none, 0, 0),
			  beneath = dir_entry("a/passwd", &none, 0, 0);

	add_entry(b, &link);
	assert_ok(tree_entry_encode(&dir, &value, &unit_error));
	assert_err(ERR_PROTO, prolly_builder_add(b, dir.name, buf_bytes(&value), &unit_error));
	assert_err(ERR_PROTO, prolly_builder_add(b, beneath.name, buf_bytes(&value), &unit_error));
	/* And bytes that have the name twice are no node: test_node.c. */
}

/* COUNT files, enough to be remembered. */
static struct hash_id
many_files(struct nodes *n, size_t count, uint64_t *ret_size)
{
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, nodes_sink(n));
	struct hash_id root;

	*ret_size = 0;
	for (size_t i = 0; i < count; i++) {
		char name[20];
		struct tree_item item;
		snprintf(name, sizeof name, "f%06zu", i);
		struct tree_entry en = file_entry(name, &item, i);
		add_entry(b, &en);
		*ret_size += en.size;
	}
	assert_ok(prolly_builder_finish(b, &root, &unit_error));
	return root;
}

/* DIR under two names, LEVELS times over. */
static struct tree_entry
doubled(struct nodes *n, struct tree_entry dir, unsigned levels)
{
	for (unsigned i = 0; i < levels; i++) {
		struct tree_entry both[] = { dir, dir };
		both[0].name = BYTES_LIT("a");
		both[1].name = BYTES_LIT("b");
		struct hash_id root = make_dir(n, both, 2);
		dir = dir_entry("a", &root, 2 + 2 * dir.entries, 2 * dir.size);
	}
	return dir;
}

static void
what_stands_often_in_a_tree_is_walked_once(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	uint64_t size = 0;
	struct hash_id files = many_files(&n, 1000, &size);
	struct tree_entry all = doubled(&n, dir_entry("a", &files, 1000, size), 21);
	auto_(tree_walk_free_p) struct tree_walk *w = tree_walk_new(nodes_source(&n), &all.root);
	auto_buf struct buf text = BUF(1 << 20);

	tree_walk_once(w);
	tree_walk_expect(w, all.entries, all.size);
	assert_int_equal(steps(w, NULL, &text), ERR_NOTFOUND);
	assert_int_equal(unit_error.code, OK);
	assert_true(text.len < 200 * 1000); /* of 2 billion entries */
	assert_true(n.asked < 200);
	assert_totals(w, all.entries, all.size);
}

/* A remembered directory under "a", and again under "b" with what is given added to it. */
static enum err
told_twice(uint64_t more_entries, uint64_t more_size, unsigned deeper, size_t name)
{
	auto_(nodes_clear) struct nodes n = { 0 };
	uint64_t size = 0;
	char long_name[RELPATH_NAME_MAX + 1];
	struct hash_id files = many_files(&n, 300, &size);
	struct tree_entry first = dir_entry("a", &files, 300, size), again = first;

	memset(long_name, 'n', sizeof long_name);
	again.entries += more_entries;
	again.size += more_size;
	for (unsigned i = 0; i < deeper; i++) {
		again.name = BYTES(long_name, name);
		struct hash_id root = make_dir(&n, &again, 1);
		again = dir_entry("b", &root, again.entries + 1, again.size);
	}
	again.name = BYTES_LIT("b");
	struct hash_id root = make_dir(&n, (struct tree_entry[]){ first, again }, 2);
	auto_(tree_walk_free_p) struct tree_walk *w = tree_walk_new(nodes_source(&n), &root);
	auto_buf struct buf text = BUF(16 << 20);
	tree_walk_once(w);
	return steps(w, NULL, &text);
}

static void
what_is_walked_once_is_checked_wherever_it_stands(void **state)
{
	(void)state;
	assert_int_equal(told_twice(0, 0, 0, 1), ERR_NOTFOUND);
	assert_int_equal(told_twice(1, 0, 0, 1), ERR_PROTO);
	assert_int_equal(told_twice(0, 1, 0, 1), ERR_PROTO);
	/* "b", the names between, and a file */
	assert_int_equal(told_twice(0, 0, RELPATH_DEPTH_MAX - 2, 1), ERR_NOTFOUND);
	assert_int_equal(told_twice(0, 0, RELPATH_DEPTH_MAX - 1, 1), ERR_PROTO);
	/* "b/", 127 names of 255 and their slashes are 32,514 bytes, and "f000000" is 7 */
	assert_int_equal(told_twice(0, 0, 127, 255), ERR_NOTFOUND);
	assert_int_equal(told_twice(0, 0, 128, 255), ERR_PROTO);
	assert_int_equal(told_twice(0, 0, 129, 252), ERR_NOTFOUND); /* 2 + 129 * 253 + 7 = 32,646 */
	assert_int_equal(told_twice(0, 0, 128, 254), ERR_NOTFOUND); /* 32,649 */
}

/* The same walk in full says the same of each of these trees. */
static void
a_skipped_directory_is_not_remembered(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	uint64_t size = 0;
	struct hash_id files = many_files(&n, 300, &size);
	struct tree_entry d = dir_entry("d", &files, 301, size); /* a lie */
	struct hash_id holds = make_dir(&n, &d, 1);
	struct tree_entry top[] = { dir_entry("a", &holds, 302, size),
		dir_entry("b", &holds, 302, size) };
	struct hash_id root = make_dir(&n, top, 2);
	auto_(tree_walk_free_p) struct tree_walk *w = tree_walk_new(nodes_source(&n), &root);
	auto_buf struct buf text = BUF(1 << 20);

	tree_walk_once(w);
	assert_int_equal(steps(w, "a/d", &text), ERR_PROTO);
	check_says(unit_error.text, "\"b/d\"");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_walk_goes_through_everything_in_manifest_order),
		cmocka_unit_test(a_directory_can_be_skipped),
		cmocka_unit_test(paths_lead_to_entries),
		cmocka_unit_test(totals_that_are_not_true_end_the_walk),
		cmocka_unit_test(a_commit_that_declares_something_else_ends_the_walk),
		cmocka_unit_test(totals_do_not_overflow),
		cmocka_unit_test(trees_are_walked_as_deep_as_paths_may_be),
		cmocka_unit_test(a_symlink_and_something_beneath_its_name_cannot_be_written_down),
		cmocka_unit_test(what_stands_often_in_a_tree_is_walked_once),
		cmocka_unit_test(what_is_walked_once_is_checked_wherever_it_stands),
		cmocka_unit_test(a_skipped_directory_is_not_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
