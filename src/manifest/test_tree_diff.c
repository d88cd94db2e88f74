#include "manifest/test_nodes.h"

#include "base/array.h"

/* A tree as a flat list: what every path holds, directories first made of what is beneath them. */
struct file {
	char path[64];
	uint64_t n; /* content */
};
struct files {
	ARRAY(struct file) v;
};

static int
by_path(const void *a, const void *b)
{
	/* '/' before all else is manifest order for paths of names without bytes below '/'. */
	const char *x = ((const struct file *)a)->path, *y = ((const struct file *)b)->path;

	while (*x != 0 && *x == *y)
		x++, y++;
	int cx = *x == '/' ? 1 : *x, cy = *y == '/' ? 1 : *y;
	return cx - cy;
}

static void
files_sort(struct files *f)
{
	if (f->v.len > 0)
		qsort(f->v.at, f->v.len, sizeof *f->v.at, by_path);
}

static void
files_clear(struct files *f)
{
	array_clear(&f->v);
}

static void
files_add(struct files *f, const char *path, uint64_t n)
{
	struct file file = { .n = n };

	snprintf(file.path, sizeof file.path, "%s", path);
	array_push(&f->v, file);
}

struct built {
	struct hash_id root;
	uint64_t entries, size;
};

/* The directory of the files FROM..TO, whose paths agree in the first SKIP bytes. */
static struct built
build_dir(struct nodes *n, const struct files *f, size_t from, size_t to, size_t skip)
{
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, nodes_sink(n));
	struct built ret = { 0 };

	for (size_t i = from; i < to;) {
		const char *name = f->v.at[i].path + skip, *slash = strchr(name, '/');
		size_t len = slash != NULL ? (size_t)(slash - name) : strlen(name), k = i + 1;
		struct tree_item item;
		struct tree_entry en = file_entry("", &item, f->v.at[i].n);
		if (slash != NULL) {
			while (k < to && strncmp(f->v.at[k].path + skip, name, len + 1) == 0)
				k++;
			struct built sub = build_dir(n, f, i, k, skip + len + 1);
			en = dir_entry("", &sub.root, sub.entries, sub.size);
		}
		en.name = BYTES(name, len);
		add_entry(b, &en);
		ret.entries += 1 + en.entries;
		ret.size += en.size;
		i = k;
	}
	assert_ok(prolly_builder_finish(b, &ret.root, &unit_error));
	return ret;
}

static struct hash_id
build(struct nodes *n, struct files *f)
{
	files_sort(f);
	return build_dir(n, f, 0, f->v.len, 0).root;
}

/* Changes as text: "+new -old ~changed", directories with a slash behind them. */
static enum err
on_change(void *ctx, struct relpath path, const struct tree_entry *old,
    const struct tree_entry *new, struct error *e)
{
	struct buf *out = ctx;

	(void)e;
	assert_true(old != NULL || new != NULL);
	struct relpath parsed;
	assert_ok(relpath_parse(path.text, path.len, &parsed, &unit_error));
	buf_addf(out, "%s%c%s%s", out->len > 0 ? " " : "",
	    old == NULL   ? '+'
	    : new == NULL ? '-'
			  : '~',
	    path.text, (new != NULL ? new : old)->type == TREE_DIR ? "/" : "");
	return OK;
}

static void
assert_diff(struct nodes *n, const struct hash_id *old, const struct hash_id *new, const char *want)
{
	auto_buf struct buf out = BUF(1 << 20);

	assert_ok(tree_diff(nodes_source(n), old, new, on_change, &out, &unit_error));
	assert_string_equal(buf_text(&out), want);
}

static void
differences_are_told_in_manifest_order(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(files_clear) struct files old = { 0 }, new = { 0 };
	static const char *const both[] = { "a", "b/1", "b/2", "b/c/3", "d/e/f/4", "g", "h/i" };

	for (size_t i = 0; i < lengthof(both); i++) {
		files_add(&old, both[i], i);
		files_add(&new, both[i], i == 3 || i == 5 ? 100 : i);
	}
	files_add(&old, "gone/x/y", 1);
	files_add(&new, "b/c/new", 2);
	files_add(&old, "t/one", 3); /* a directory here and a file there */
	files_add(&new, "t", 4);
	files_add(&old, "u", 5);
	files_add(&new, "u/two", 6);
	struct hash_id o = build(&n, &old), w = build(&n, &new), none = make_dir(&n, NULL, 0);
	assert_diff(&n, &o, &w,
	    "~b/ ~b/c/ ~b/c/3 +b/c/new ~g -gone/ -gone/x/ -gone/x/y ~t -t/one ~u/ +u/two");
	assert_diff(&n, &w, &o,
	    "~b/ ~b/c/ ~b/c/3 -b/c/new ~g +gone/ +gone/x/ +gone/x/y ~t/ +t/one ~u -u/two");
	assert_diff(&n, &o, &o, "");
	const char *all = "+a +b/ +b/1 +b/2 +b/c/ +b/c/3 +b/c/new +d/ +d/e/ +d/e/f/ +d/e/f/4 +g "
			  "+h/ +h/i +t +u/ +u/two";
	assert_diff(&n, &none, &w, all);
	assert_diff(&n, NULL, &w, all);
	assert_diff(&n, NULL, NULL, "");
}

static void
a_directory_of_which_only_the_mode_changed_is_told_alone(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	struct tree_item item;
	struct tree_entry file = file_entry("f", &item, 1);
	struct hash_id d = make_dir(&n, &file, 1);
	struct tree_entry dir = dir_entry("d", &d, 1, file.size);
	struct hash_id old = make_dir(&n, &dir, 1);
	dir.mode = 0700;
	struct hash_id new = make_dir(&n, &dir, 1);

	n.asked = 0;
	assert_diff(&n, &old, &new, "~d/");
	assert_int_equal(n.asked, 2);
}

static void
make_many(struct files *f, struct rng *rng, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char path[64];
		snprintf(path, sizeof path, "%02d/%02d/%06zu", (int)rng_below(rng, 5),
		    (int)rng_below(rng, 5), i);
		files_add(f, path, i);
	}
}

/* Old against new by lists. */
static void
naive(struct files *old, struct files *new, struct buf *out)
{
	size_t i = 0, k = 0;

	while (i < old->v.len || k < new->v.len) {
		int c = i == old->v.len   ? 1
			: k == new->v.len ? -1
					  : by_path(&old->v.at[i], &new->v.at[k]);
		if (c != 0 || old->v.at[i].n != new->v.at[k].n)
			buf_addf(out, "%s%c%s", out->len > 0 ? " " : "",
			    c < 0   ? '-'
			    : c > 0 ? '+'
				    : '~',
			    c <= 0 ? old->v.at[i].path : new->v.at[k].path);
		i += c <= 0;
		k += c >= 0;
	}
}

static enum err
on_file_change(void *ctx, struct relpath path, const struct tree_entry *old,
    const struct tree_entry *new, struct error *e)
{
	return (new != NULL ? new : old)->type == TREE_DIR ? OK : on_change(ctx, path, old, new, e);
}

static void
random_trees_differ_as_their_lists_do(void **state)
{
	(void)state;
	struct rng rng;

	rng_seed(&rng, any_seed());
	for (int round = 0; round < 40; round++) {
		auto_(nodes_clear) struct nodes n = { 0 };
		auto_(files_clear) struct files old = { 0 }, new = { 0 };
		make_many(&old, &rng, rng_below(&rng, round % 2 == 0 ? 300 : 8000));
		uint64_t changes = rng_below(&rng, 100);
		array_each (f, &old.v) {
			uint64_t dice = rng_below(&rng, 10000);
			if (dice >= changes)
				files_add(
				    &new, f->path, dice >= 2 * changes ? f->n : f->n + 1000000);
		}
		for (uint64_t i = rng_below(&rng, changes + 1); i > 0; i--) {
			char path[64];
			snprintf(path, sizeof path, "%02d/%02d/x%06d", (int)rng_below(&rng, 6),
			    (int)rng_below(&rng, 6), (int)i);
			files_add(&new, path, i);
		}
		struct hash_id o = build(&n, &old), w = build(&n, &new);
		auto_buf struct buf want = BUF(1 << 22), got = BUF(1 << 22);
		naive(&old, &new, &want);
		assert_ok(tree_diff(nodes_source(&n), &o, &w, on_file_change, &got, &unit_error));
		assert_string_equal(buf_text(&got), buf_text(&want));
	}
}

static void
one_change_in_a_large_tree_reads_the_nodes_on_its_way_only(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(files_clear) struct files f = { 0 };
	auto_buf struct buf out = BUF(1000);

	for (int i = 0; i < 30000; i++) {
		char path[64];
		snprintf(path, sizeof path, "%s/%06d", i % 3 == 0 ? "a" : "b", i);
		files_add(&f, path, (uint64_t)i);
	}
	struct hash_id old = build(&n, &f);
	f.v.at[20000].n = 1234567;
	struct hash_id new = build(&n, &f);
	n.asked = 0;
	assert_ok(tree_diff(nodes_source(&n), &old, &new, on_change, &out, &unit_error));
	/* On each side: the root, the directory's root and one leaf; two more if a boundary has
	 * moved. */
	assert_in_range(n.asked, 6, 10);
	f.v.at[10].n = f.v.at[29990].n = 7654321;
	new = build(&n, &f);
	n.asked = 0;
	buf_reset(&out);
	assert_ok(tree_diff(nodes_source(&n), &old, &new, on_change, &out, &unit_error));
	assert_in_range(n.asked, 10, 22);
}

static enum err
stop(void *ctx, struct relpath path, const struct tree_entry *old, const struct tree_entry *new,
    struct error *e)
{
	(void)path;
	(void)old;
	(void)new;
	return --*(int *)ctx > 0 ? OK : fail(e, ERR_CANCELED, "enough");
}

static void
a_comparison_ends_when_told_to_or_when_a_node_is_missing(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 }, less = { 0 };
	auto_(files_clear) struct files f = { 0 };
	struct rng rng;
	int left = 3;

	rng_seed(&rng, 1);
	make_many(&f, &rng, 100);
	struct hash_id root = build(&n, &f);
	assert_err(
	    ERR_CANCELED, tree_diff(nodes_source(&n), NULL, &root, stop, &left, &unit_error));
	assert_int_equal(left, 0);
	nodes_keep(&less, HASH_TREE, nodes_bytes(&n, HASH_TREE, &root));
	left = 100;
	assert_err(
	    ERR_CORRUPT, tree_diff(nodes_source(&less), NULL, &root, stop, &left, &unit_error));
}

static void
trees_of_two_algorithms_can_be_compared(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_TREE, HASH_SHA512_256, nodes_sink(&n));
	struct tree_item item;
	struct tree_entry en = file_entry("f", &item, 1),
			  empty = { .name = BYTES_LIT("g"), .type = TREE_FILE };
	struct tree_entry both[] = { en, empty };
	struct hash_id old = make_dir(&n, both, 2), new;
	struct tree_item other = item;

	other.id.alg = HASH_SHA512_256;
	en.items = &other;
	add_entry(b, &en);
	add_entry(b, &empty);
	assert_ok(prolly_builder_finish(b, &new, &unit_error));
	assert_diff(&n, &old, &new, "~f");
}

static void
a_comparison_goes_as_deep_as_paths_may_be(void **state)
{
	(void)state;
	for (size_t depth = RELPATH_DEPTH_MAX; depth <= RELPATH_DEPTH_MAX + 1; depth++) {
		auto_(nodes_clear) struct nodes n = { 0 };
		auto_buf struct buf out = BUF(64 << 20);
		struct hash_id root = make_dir(&n, NULL, 0);
		for (size_t i = 0; i < depth; i++) {
			struct tree_entry dir = dir_entry("d", &root, i, 0);
			root = make_dir(&n, &dir, 1);
		}
		enum err want = depth <= RELPATH_DEPTH_MAX ? OK : ERR_PROTO;
		assert_err(
		    want, tree_diff(nodes_source(&n), NULL, &root, on_change, &out, &unit_error));
		assert_err(
		    want, tree_diff(nodes_source(&n), &root, NULL, on_change, &out, &unit_error));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(differences_are_told_in_manifest_order),
		cmocka_unit_test(a_directory_of_which_only_the_mode_changed_is_told_alone),
		cmocka_unit_test(random_trees_differ_as_their_lists_do),
		cmocka_unit_test(one_change_in_a_large_tree_reads_the_nodes_on_its_way_only),
		cmocka_unit_test(a_comparison_ends_when_told_to_or_when_a_node_is_missing),
		cmocka_unit_test(trees_of_two_algorithms_can_be_compared),
		cmocka_unit_test(a_comparison_goes_as_deep_as_paths_may_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
