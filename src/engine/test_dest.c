#include "engine/test_dest_world.h"

/* -- fresh -- */

/* Of everything something. */
static struct snap
some_tree(struct world *w)
{
	struct snap s = { 0 };

	snap_put(&s, "readme=hello", "empty=", "nothing in it/", "src/main.c=int main(void);");
	snap_random(&s, "src/big", 1, 3 << 20, 0);
	snap_random(&s, "src/deep/er/still/small", 2, 70000, 0);
	snap_put(&s, "src/link->../readme", "dangling->/nowhere/at all");
	snap_text(&s, "src/run.sh", "#!/bin/sh\n")->mode = 0755;
	snap_text(&s, "secret", "key")->mode = 0600;
	snap_random(&s, "sparse", 3, 4 << 20, 6);
	snap_random(&s, "all zero", 4, 300000, 8);
	snap_build(w, &s);
	return s;
}

static void
a_fresh_get_is_the_snapshot(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);

	world_get(w, &s);
	world_assert_is(w, &s, 0);
	assert_string_equal(w->notes, "");
	assert_int_equal(w->sum.files, 9); /* as a publish counts them */
	assert_int_equal(w->sum.symlinks, 2);
	assert_int_equal(w->sum.files_new, 11);
	assert_int_equal(w->sum.in_way, 0);
	assert_true(hash_id_equal(&w->root.snapshot, &s.id));
	assert_true(hash_id_equal(&w->root.content, &s.content));
	assert_false(world_has(w, ".weft"));
}

static void
a_second_get_fetches_and_changes_nothing(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);

	world_get(w, &s);
	struct stat a = world_stat(w, "src/big");
	world_get(w, &s);
	assert_int_equal(w->fed, 0);
	assert_int_equal(w->sum.files_same, 11);
	assert_int_equal(w->sum.files_new + w->sum.files_changed + w->sum.files_adopted, 0);
	struct stat b = world_stat(w, "src/big");
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(a.st_ctim.tv_nsec, b.st_ctim.tv_nsec);
	world_assert_is(w, &s, 0);
}

static void
an_empty_snapshot_makes_an_empty_directory(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = { 0 };

	snap_build(w, &s);
	world_get(w, &s);
	assert_int_equal(world_entries(w), 0);
	assert_int_equal(w->sum.files, 0);
}

/* Holes are not stored, and what is data around them is right. */
static void
holes_stay_holes(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = { 0 };

	snap_random(&s, "d/sparse", 9, 16 << 20, 7);
	snap_random(&s, "zero", 9, 8 << 20, 8);
	snap_build(w, &s);
	world_get(w, &s);
	world_assert_is(w, &s, 0);
	assert_true(world_stat(w, "zero").st_blocks < 64);
}

/* The same chunk in many files, more than once in one, and small files that are alike, one of them
 * not readable by its owner: it is fetched once. */
static void
what_is_there_twice_is_fetched_once(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = { 0 };
	auto_free uint8_t *twice = mem_alloc(8 << 20);

	seeded_fill(5, twice, 4 << 20);
	memcpy(twice + (4 << 20), twice, 4 << 20);
	snap_add(&s, "a/twice", TREE_FILE, twice, 8 << 20);
	snap_add(&s, "b/copy", TREE_FILE, twice, 8 << 20);
	snap_add(&s, "half", TREE_FILE, twice, 4 << 20);
	snap_text(&s, "small/1", "the same")->mode = 0;
	snap_text(&s, "small/2", "the same")->mode = 0444;
	snap_text(&s, "small/3", "the same")->mode = 0200;
	snap_build(w, &s);
	world_get(w, &s);
	world_assert_is(w, &s, 0);
	assert_true(w->fed < (4 << 20) + (3 << 20)); /* once, and the chunks around the seam */
}

static void
odd_names_arrive(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = { 0 };
	char longest[256], odd[] = "x";

	memset(longest, 'n', 255);
	longest[255] = '\0';
	snap_text(&s, longest, "long");
	for (int c = 1; c < 256; c++) {
		odd[0] = (char)c;
		if (c != '/' && c != '.')
			snap_text(&s, odd, "odd");
	}
	snap_text(&s, "...", "dots");
	snap_text(&s, " ", "blank");
	snap_text(&s, "\xff\xfe/\x80", "no utf-8");
	snap_text(&s, "a\nb/-rf *", "newline");
	snap_text(&s, "weft", "not ours");
	snap_text(&s, ".wef", "nor this");
	snap_build(w, &s);
	world_get(w, &s);
	world_assert_is(w, &s, 0);
}

/* Deeper than any path the kernel takes. */
static void
deep_paths_arrive(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = { 0 };
	auto_buf struct buf path = BUF(RELPATH_MAX);

	for (int i = 0; i < 60; i++)
		buf_addf(&path, "%.120d/", i);
	buf_addf(&path, "file");
	snap_text(&s, buf_text(&path), "deep");
	snap_build(w, &s);
	world_get(w, &s);
	struct relpath p = { buf_text(&path), path.len };
	auto_buf struct buf here = BUF(100);
	int dest;
	assert_ok(fs_open_root(w->dest, &dest, &unit_error));
	assert_ok(fs_read_file(dest, p, &here, &unit_error));
	assert_string_equal(buf_text(&here), "deep");
	/* And an update finds it. */
	world_get(w, &s);
	assert_int_equal(w->sum.files_same, 1);
	snap_remove(&s, "readme");
	auto_snap struct snap gone = snap_of(w, "other=x");
	world_get(w, &gone);
	world_assert_is(w, &gone, 0);
	(void)close(dest);
}

static void
modes_are_restored_and_never_more(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = { 0 };

	for (uint32_t m = 0; m < 01000; m += 0111) {
		char name[32];
		snprintf(name, sizeof name, "f%o", m);
		snap_text(&s, name, name)->mode = m;
		snprintf(name, sizeof name, "d%o", m);
		snap_dir(&s, name)->mode = m;
	}
	snap_put(&s, "d111/in=x", "d0/deep/in=x");
	snap_dir(&s, "d0/deep")->mode = 0;
	snap_random(&s, "d444/big", 1, 200000, 0)->mode = 0444;
	/* Directories that are restored after what is in them: a file in one without write
	 * permission. */
	snap_build(w, &s);
	mode_t before = umask(077);
	world_get(w, &s);
	umask(before);
	if (geteuid() == 0)
		world_assert_is(w, &s, 0);
	/* Another snapshot goes into closed directories, and takes out of them. */
	auto_snap struct snap t = snap_copy(&s);
	snap_put(&t, "d0/deep/in=y", "d0/deep/more=z");
	snap_remove(&t, "d111/in");
	snap_remove(&t, "d0/d");
	snap_build(w, &t);
	world_get(w, &t);
	assert_string_equal(w->notes, "");
	if (geteuid() == 0)
		world_assert_is(w, &t, 0);
	assert_int_equal(w->sum.files_removed, 1);
}

/* -- update -- */

static void
an_update_changes_what_changed(void **state)
{
	struct world *w = *state;
	auto_snap struct snap a = some_tree(w);
	auto_snap struct snap b = snap_copy(&a);

	world_get(w, &a);
	snap_text(&b, "readme", "hello again");
	snap_remove(&b, "src/deep");
	snap_text(&b, "new/dir/file", "new");
	snap_find(&b, "src/run.sh")->mode = 0700;
	snap_find(&b, "secret")->mtime_ns += 5;
	snap_link(&b, "src/link", "main.c");
	snap_find(&b, "nothing in it")->mode = 0711;
	snap_remove(&b, "all zero");
	snap_build(w, &b);
	world_get(w, &b);
	world_assert_is(w, &b, 0);
	assert_int_equal(w->sum.files_new, 1);
	assert_int_equal(w->sum.files_changed, 2);
	assert_int_equal(w->sum.files_removed, 2);
	assert_int_equal(w->sum.in_way, 0);
	assert_int_equal(w->fed, strlen("hello again") + strlen("new"));
	/* And back. */
	world_get(w, &a);
	world_assert_is(w, &a, 0);
	assert_string_equal(w->notes, "");
}

/* Moved files, and the unchanged part of a changed one, come from this disk. */
static void
an_update_fetches_only_what_is_not_here(void **state)
{
	struct world *w = *state;
	auto_snap struct snap a = { 0 };
	auto_snap struct snap b = { 0 };

	snap_random(&a, "a/moved", 1, 2 << 20, 0);
	snap_random(&a, "changed", 2, 6 << 20, 0);
	snap_build(w, &a);
	world_get(w, &a);
	snap_random(&b, "z/moved here", 1, 2 << 20, 0);
	struct item *it = snap_random(&b, "changed", 2, 6 << 20, 0);
	it->bytes[3 << 20] ^= 1;
	it->mtime_ns++;
	snap_build(w, &b);
	world_get(w, &b);
	world_assert_is(w, &b, 0);
	assert_true(w->fed > 0 && w->fed <= 2 << 20);
	assert_true(w->sum.bytes_reused >= 6 << 20);
}

/* To know a hash is no right to what another share holds. */
static void
what_is_announced_takes_nothing_from_another_share(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = { 0 };

	snap_random(&s, "big", 1, 2 << 20, 0);
	snap_text(&s, "small", "hello");
	snap_build(w, &s);
	world_get(w, &s); /* in the share "share" */
	uint64_t all = w->fed;
	w->share_only = true;
	world_share(w, "other", "a");
	world_get(w, &s);
	world_assert_is(w, &s, 0);
	assert_int_equal(w->fed, all);
	assert_int_equal(w->sum.bytes_reused, 0);
	/* From the same share it does, and from anywhere once it is the head. */
	world_share(w, "other", "b");
	world_get(w, &s);
	assert_int_equal(w->fed, 0);
	w->share_only = false;
	world_share(w, "third", "c");
	world_get(w, &s);
	assert_int_equal(w->fed, 0);
	world_assert_is(w, &s, 0);
}

/* A file of the user's with the wanted content is replaced by what came, not given away. */
static void
what_is_announced_adopts_nothing(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = snap_of(w, "small=hello");
	uint8_t to[8];
	uint32_t len;

	assert_int_equal(mkdir(w->dest, 0755), 0);
	user_put(w, "small", "hello");
	w->share_only = true;
	check_ok(world_plan(w, &s), w->e);
	assert_int_equal(w->sum.files_adopted, 0);
	assert_int_equal(w->sum.files_changed, 1);
	check_ok(dest_copy_local(w->d, NULL, &w->e), w->e);
	check_err(world_switch(w), ERR_AGAIN, w->e);
	check_err(dest_get_leaves(w->d, 0, 0, 1, to, &len, NULL, &w->e), ERR_NOTFOUND, w->e);
	check_ok(world_feed(w), w->e);
	check_ok(world_switch(w), w->e);
	assert_int_equal(w->fed, 5);
	assert_int_equal(w->sum.in_way, 0);
	world_assert_is(w, &s, 0);
}

static void
snap_below(struct snap *s, const char *dir, const char *text)
{
	auto_free char *path = str_printf("%s/a/b/c", dir);

	snap_text(s, path, text);
}

static void
types_change_into_each_other(void **state)
{
	static const enum tree_type types[] = { TREE_FILE, TREE_DIR, TREE_SYMLINK };
	struct world *w = *state;
	struct snap s[2] = { 0 };
	char name[32];

	for (size_t from = 0; from < 3; from++) {
		for (size_t to = 0; to < 3; to++) {
			for (int i = 0; i < 2; i++) {
				enum tree_type t = types[i == 0 ? from : to];
				snprintf(
				    name, sizeof name, "%s%zu%zu", from % 2 ? "in/" : "", from, to);
				if (t == TREE_FILE)
					snap_text(&s[i], name, i == 0 ? "before" : "after");
				else if (t == TREE_SYMLINK)
					snap_link(&s[i], name, i == 0 ? "before" : "after");
				else
					snap_below(&s[i], name, i == 0 ? "before" : "after");
			}
		}
	}
	snap_build(w, &s[0]);
	snap_build(w, &s[1]);
	for (int round = 0; round < 4; round++) {
		world_get(w, &s[round % 2]);
		assert_string_equal(w->notes, "");
		world_assert_is(w, &s[round % 2], 0);
	}
	snap_clear(&s[0]);
	snap_clear(&s[1]);
}

/* -- parts -- */

static void
a_path_of_a_directory_brings_its_entries(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);
	auto_snap struct snap part = { 0 };

	w->subpath = "src";
	world_get(w, &s);
	array_each (it, &s.items) {
		if (strncmp(it->path, "src/", 4) == 0) {
			struct item *copy =
			    snap_add(&part, it->path + 4, it->type, it->bytes, it->len);
			copy->mode = it->mode;
			copy->mtime_ns = it->mtime_ns;
		}
	}
	world_assert_is(w, &part, 0);
	assert_true(w->fed < 4 << 20);
	w->subpath = "src/deep/er";
	world_get(w, &s);
	assert_int_equal(world_entries(w), 2);
	assert_true(world_has(w, "still/small"));
}

static void
a_path_of_a_file_brings_only_that(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);
	auto_snap struct snap part = { 0 };

	w->subpath = "src/main.c";
	world_get(w, &s);
	snap_text(&part, "main.c", "int main(void);")->mtime_ns =
	    snap_find(&s, "src/main.c")->mtime_ns;
	world_assert_is(w, &part, 0);
	w->subpath = "dangling";
	world_get(w, &s);
	assert_int_equal(world_entries(w), 2);
	w->subpath = "no such";
	assert_err(ERR_NOTFOUND, world_plan(w, &s) == OK ? OK : (unit_error = w->e).code);
}

/* What was received of another part does not make a stranger's content pass for known. */
static void
parts_after_each_other_do_not_mix(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = { 0 };
	auto_snap struct snap t = { 0 };

	snap_put(&s, "name=at the top", "dir/name=in the dir", "dir/other=other");
	snap_find(&s, "dir/name")->mtime_ns = snap_find(&s, "name")->mtime_ns;
	snap_build(w, &s);
	t = snap_copy(&s);
	snap_add(&t, "name", TREE_FILE, "in the dir", 10)->mtime_ns =
	    snap_find(&s, "name")->mtime_ns;
	snap_build(w, &t);
	world_get(w, &s);
	w->subpath = "dir/other";
	world_get(w, &s);
	w->subpath = "";
	world_get(w, &t);
	world_assert_is(w, &t, 0); /* "other", received as a part, has gone with it */
}

/* -- the destination itself -- */

static enum err
plan_into(struct world *w, const struct snap *s, const char *dest)
{
	free(w->dest);
	w->dest = str_printf("%s/%s", w->dir.path, dest);
	return world_plan(w, s);
}

static void
what_is_no_directory_is_no_destination(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = some_tree(w);

	check_put(&w->dir, "file", "x", 1);
	assert_int_equal(symlinkat("home", w->dir.fd, "link"), 0);
	check_err(plan_into(w, &s, "file"), ERR_EXISTS, w->e);
	check_says(w->e.text, "not a directory");
	check_err(plan_into(w, &s, "link"), ERR_EXISTS, w->e);
	check_says(w->e.text, "symlink");
	check_err(plan_into(w, &s, "no/parent"), ERR_NOTFOUND, w->e);
	check_err(plan_into(w, &s, "file/in"), ERR_IO, w->e);
	check_err(plan_into(w, &s, "a/.."), ERR_NOTFOUND, w->e);
	check_err(plan_into(w, &s, ".."), ERR_PROTO, w->e);
	check_ok(plan_into(w, &s, "with slashes//"), w->e);
	check_ok(world_bring(w), w->e);
	check_ok(world_switch(w), w->e);
	w->dest[strlen(w->dest) - 2] = '\0';
	world_end(w);
	world_assert_is(w, &s, 0);
}

static void
a_destination_that_is_closed_says_so(void **state)
{
	struct world *w = *state;
	if (geteuid() == 0)
		skip();
	auto_snap struct snap s = some_tree(w);
	assert_int_equal(mkdir(w->dest, 0555), 0);
	check_err(world_plan(w, &s), ERR_IO, w->e);
	check_says(w->e.text, "cannot be written to");
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(a_fresh_get_is_the_snapshot),
		T(a_second_get_fetches_and_changes_nothing),
		T(an_empty_snapshot_makes_an_empty_directory),
		T(holes_stay_holes),
		T(what_is_there_twice_is_fetched_once),
		T(odd_names_arrive),
		T(deep_paths_arrive),
		T(modes_are_restored_and_never_more),
		T(an_update_changes_what_changed),
		T(an_update_fetches_only_what_is_not_here),
		T(what_is_announced_takes_nothing_from_another_share),
		T(what_is_announced_adopts_nothing),
		T(types_change_into_each_other),
		T(a_path_of_a_directory_brings_its_entries),
		T(a_path_of_a_file_brings_only_that),
		T(parts_after_each_other_do_not_mix),
		T(what_is_no_directory_is_no_destination),
		T(a_destination_that_is_closed_says_so),
	};
	return world_run(tests);
}
