#include "engine/test_scan_world.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "engine/ignore.h"
#include "platform/clock.h"

static int
setup(void **state)
{
	struct world *w = mem_new(struct world);

	world_open(w);
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	world_close(*state);
	free(*state);
	return 0;
}

/* -- the tree is what is on the disk -- */

/* The items of a file's bytes, found without any cleverness. */
static size_t
slow_items(const uint8_t *bytes, size_t n, struct tree_item *out)
{
	size_t count = 0, at = 0, end;
	bool *zero = mem_array(bool, n / TREE_HOLE_BLOCK + 1);

	for (size_t i = 0; i * TREE_HOLE_BLOCK < n; i++) {
		zero[i] = true;
		for (size_t k = i * TREE_HOLE_BLOCK; k < n && k < (i + 1) * TREE_HOLE_BLOCK; k++)
			zero[i] &= bytes[k] == 0;
	}
	while (at < n) {
		bool hole = zero[at / TREE_HOLE_BLOCK];
		for (end = at; end < n && zero[end / TREE_HOLE_BLOCK] == hole;)
			end = min_of(n, (end / TREE_HOLE_BLOCK + 1) * TREE_HOLE_BLOCK);
		if (hole) {
			out[count++] = (struct tree_item){ .len = end - at };
			at = end;
		}
		while (!hole && at < end) {
			size_t len = chunker_cut(BYTES(bytes + at, end - at), true);
			out[count].len = len;
			chunk_id_of(HASH_DEFAULT, BYTES(bytes + at, len), NULL, &out[count++].id);
			at += len;
		}
	}
	free(zero);
	return count;
}

static void
assert_content(struct node *n, int dir, const struct tree_entry *en)
{
	enum { MOST = 4096 };
	auto_free struct tree_item *want = mem_array(struct tree_item, MOST);
	auto_(tree_items_free_p) struct tree_items *items = tree_items_new(world_source(n), en);
	auto_free uint8_t *bytes = mem_alloc(en->size + 1);
	char name[RELPATH_NAME_MAX + 1] = "";
	struct tree_item item;

	memcpy(name, en->name.at, en->name.len);
	auto_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	assert_int_equal(read(fd, bytes, en->size + 1), (ssize_t)en->size);
	size_t count = slow_items(bytes, en->size, want);
	for (size_t i = 0; i < count; i++) {
		check_ok(tree_items_next(items, &item, &world_error), world_error);
		assert_int_equal(item.len, want[i].len);
		assert_true(hash_id_equal(&item.id, &want[i].id));
	}
	assert_int_equal(tree_items_next(items, &item, &world_error), ERR_NOTFOUND);
}

static void
assert_entry(struct node *n, int dir, const struct tree_entry *en)
{
	char name[RELPATH_NAME_MAX + 1] = "", target[TREE_LINK_MAX + 1];
	struct stat st;

	memcpy(name, en->name.at, en->name.len);
	assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	int64_t mtime = st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
	switch (en->type) {
	case TREE_FILE:
		assert_true(S_ISREG(st.st_mode));
		assert_int_equal(en->size, st.st_size);
		assert_content(n, dir, en);
		break;
	case TREE_DIR:
		assert_true(S_ISDIR(st.st_mode));
		break;
	case TREE_SYMLINK:
		assert_true(S_ISLNK(st.st_mode));
		assert_int_equal(readlinkat(dir, name, target, sizeof target), en->target.len);
		assert_memory_equal(target, en->target.at, en->target.len);
		return;
	}
	assert_int_equal(en->mode, st.st_mode & 0777);
	assert_int_equal(en->mtime_ns, mtime);
}

/* Every entry of ROOT is as it lies in DIR, and there is no other; returns their number. */
static uint64_t
assert_dir(struct node *n, int dir, const struct hash_id *root)
{
	auto_(tree_iter_free_p) struct tree_iter *it = tree_iter_new(world_source(n), root);
	auto_(fs_list_clear) struct fs_list list = { 0 };
	struct tree_entry en;
	uint64_t count = 0, names = 0;

	check_ok(fs_list_dir(dir, &list, &world_error), world_error);
	while (tree_iter_next(it, &en, &world_error) == OK) {
		assert_entry(n, dir, &en);
		count++;
		if (en.type == TREE_DIR) {
			char name[RELPATH_NAME_MAX + 1] = "";
			memcpy(name, en.name.at, en.name.len);
			auto_fd int sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			count += assert_dir(n, sub, &en.root);
		}
		names++;
	}
	assert_int_equal(names, list.n);
	return count;
}

static void
put_all_kinds(const struct world *w)
{
	static const size_t sizes[] = { 0, 1, 100, 65535, 65536, 65537, 131072, 300000, 1048575,
		1048576, 1048577, 3000000, 5000001, 9 << 20 };
	char name[64];

	make_dir_at(w, "empty");
	make_dir_at(w, "sub");
	make_dir_at(w, "sub/deep");
	for (size_t i = 0; i < lengthof(sizes); i++)
		for (unsigned zeroes = 0; zeroes <= 8; zeroes += 4) {
			snprintf(name, sizeof name, "%ssize-%zu-%u", i % 2 ? "sub/" : "", sizes[i],
			    zeroes);
			put_random(w, name, i * 10 + zeroes, sizes[i], zeroes);
		}
	put_text(w, "sub/deep/\xff\x01odd\nname ", "odd");
	put_text(w, "mode", "x");
	assert_int_equal(fchmodat(w->fd, "mode", 04711, 0), 0);
	assert_int_equal(symlinkat("no/such/place", w->fd, "link"), 0);
	assert_int_equal(symlinkat("sub", w->fd, "link-to-dir"), 0);
	assert_int_equal(linkat(w->fd, "mode", w->fd, "hard", 0), 0);
	struct timespec old[2] = { { .tv_sec = -5, .tv_nsec = 123456789 },
		{ .tv_sec = -5, .tv_nsec = 123456789 } };
	assert_int_equal(utimensat(w->fd, "sub/deep", old, 0), 0);
}

static void
the_tree_is_what_lies_on_the_disk(void **state)
{
	struct world *w = *state;

	put_all_kinds(w);
	struct scan_result r = world_scan(w, &w->node);
	assert_string_equal(w->notes, "");
	assert_int_equal(assert_dir(&w->node, w->fd, &r.content), r.entries);
	assert_int_equal(r.entries, r.files + r.dirs + r.symlinks);
	assert_int_equal(r.files_read, r.files);
	assert_int_equal(r.bytes_read, r.bytes);
	assert_int_equal(r.dirs, 3);
	assert_int_equal(r.symlinks, 2);
	assert_int_equal(r.skipped, 0);
}

static void
the_number_of_threads_does_not_matter(void **state)
{
	struct world *w = *state;

	put_all_kinds(w);
	struct hash_id first = world_scan(w, &w->node).content;
	static const unsigned threads[] = { 1, 2, 8, 0 };
	for (size_t i = 0; i < lengthof(threads); i++) {
		w->threads = threads[i];
		struct hash_id again = world_fresh(w);
		assert_true(hash_id_equal(&first, &again));
	}
}

static void
holes_of_the_file_system_make_no_difference(void **state)
{
	struct world *w = *state;
	enum { SIZE = 40 << 20 };
	static const uint8_t some[5000] = { 1, 2, 3 };
	static const off_t places[] = { 3 << 20, (7 << 20) + 100, (12 << 20) - 70, SIZE - 3 };
	static uint8_t zeroes[1 << 20];

	for (int sparse = 0; sparse < 2; sparse++) {
		put_text(w, sparse ? "sparse" : "dense", "begins");
		int fd = openat(w->fd, sparse ? "sparse" : "dense", O_WRONLY | O_CLOEXEC);
		for (off_t at = 6; !sparse && at < SIZE; at += (off_t)sizeof zeroes)
			assert_true(
			    pwrite(fd, zeroes, min_of(sizeof zeroes, (size_t)(SIZE - at)), at) > 0);
		for (size_t i = 0; i < lengthof(places); i++)
			assert_true(
			    pwrite(fd, some, min_of(sizeof some, (size_t)(SIZE - places[i])),
				places[i]) > 0);
		close(fd);
	}
	struct scan_result r = world_scan(w, &w->node);
	assert_int_equal(assert_dir(&w->node, w->fd, &r.content), 2);
	/* Nothing but zeroes, and nothing but a hole. */
	put_text(w, "sparse", "");
	assert_int_equal(truncate(w->path, 0), -1);
	int fd = openat(w->fd, "sparse", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, ((off_t)3 << 30) + 5), 0);
	close(fd);
	uint64_t from = clock_mono_ms();
	r = world_scan(w, &w->node);
	assert_true(clock_mono_ms() - from < 2000); /* it was not read */
	assert_int_equal(r.bytes, ((uint64_t)3 << 30) + 5 + SIZE);
}

/* -- again -- */

static void
what_is_unchanged_is_not_read_and_gives_the_same_roots(void **state)
{
	struct world *w = *state;

	put_all_kinds(w);
	let_it_age();
	struct scan_result first = world_scan(w, &w->node), second = world_scan(w, &w->node);
	assert_int_equal(second.files_read, 0);
	assert_int_equal(second.bytes_read, 0);
	assert_int_equal(second.files, first.files);
	assert_int_equal(second.bytes, first.bytes);
	assert_true(hash_id_equal(&first.content, &second.content));
	assert_true(hash_id_equal(&first.causal, &second.causal));
	struct hash_id fresh = world_fresh(w);
	assert_true(hash_id_equal(&first.content, &fresh));
}

static void
what_was_written_this_moment_is_read_again(void **state)
{
	struct world *w = *state;

	put_text(w, "f", "one");
	struct scan_result r = world_scan(w, &w->node);
	/* Whoever could write into the file once more within the same tick would leave all its
	 * times as they are. */
	r = world_scan(w, &w->node);
	if (r.files_read == 0)
		print_message("the disk took more than a tick: nothing shown\n");
	let_it_age();
	world_scan(w, &w->node);
	r = world_scan(w, &w->node);
	assert_int_equal(r.files_read, 0);
}

static void
an_edit_under_old_size_and_time_is_seen(void **state)
{
	struct world *w = *state;
	struct stat st;

	put_text(w, "f", "one");
	let_it_age();
	struct scan_result first = world_scan(w, &w->node);
	assert_int_equal(fstatat(w->fd, "f", &st, 0), 0);
	put_text(w, "f", "two");
	struct timespec times[2] = { st.st_atim, st.st_mtim };
	assert_int_equal(utimensat(w->fd, "f", times, 0), 0);
	struct scan_result second = world_scan(w, &w->node);
	assert_int_equal(second.files_read, 1);
	assert_false(hash_id_equal(&first.content, &second.content));
}

/* One step of somebody who works in the tree. */
static void
random_step(const struct world *w, struct rng *g)
{
	static const char *const dirs[] = { "", "a/", "a/b/", "a/b/c/", "d/" };
	char path[32], other[32];

	snprintf(path, sizeof path, "%s%c", dirs[rng_below(g, 5)], (char)('p' + rng_below(g, 6)));
	snprintf(other, sizeof other, "%s%c", dirs[rng_below(g, 5)], (char)('p' + rng_below(g, 6)));
	switch (rng_below(g, 9)) {
	case 0:
	case 1:
	case 2: {
		int fd = openat(
		    w->fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600 + (mode_t)rng_below(g, 64));
		uint8_t bytes[200];
		rng_fill(g, bytes, sizeof bytes);
		if (fd >= 0)
			assert_true(pwrite(fd, bytes, 1 + rng_below(g, 199),
					(off_t)rng_below(g, 3) * 700000) > 0);
		(void)close(fd);
		break;
	}
	case 3:
		(void)unlinkat(w->fd, path, rng_below(g, 2) ? AT_REMOVEDIR : 0);
		break;
	case 4:
		(void)mkdirat(w->fd, dirs[1 + rng_below(g, 4)], 0755);
		break;
	case 5:
		(void)renameat(w->fd, path, w->fd, other);
		break;
	case 6:
		(void)symlinkat(other, w->fd, path);
		break;
	case 7:
		(void)fchmodat(w->fd, path, 0700 + (mode_t)rng_below(g, 64), 0);
		break;
	case 8:
		(void)mkdirat(w->fd, path, 0755);
		break;
	}
}

static void
whatever_happens_in_between_a_scan_finds_what_a_fresh_one_finds(void **state)
{
	struct world *w = *state;
	struct rng g;
	uint64_t seed = clock_mono_ns();

	print_message("seed %llu\n", (unsigned long long)seed);
	rng_seed(&g, seed);
	for (int round = 0; round < 25; round++) {
		for (uint64_t steps = rng_below(&g, 30); steps > 0; steps--)
			random_step(w, &g);
		/* Now and then a scan comes to nothing: state runs ahead of what was published. */
		struct scan_result r = world_look(w, &w->node);
		if (rng_below(&g, 3) > 0)
			world_publish(&w->node, &r);
		struct hash_id fresh = world_fresh(w);
		assert_true(hash_id_equal(&r.content, &fresh));
		assert_int_equal(assert_dir(&w->node, w->fd, &r.content), r.entries);
	}
}

static void
state_that_runs_ahead_of_the_tree_is_not_believed(void **state)
{
	struct world *w = *state;

	put_text(w, "f", "one");
	put_text(w, "g", "one");
	let_it_age();
	world_scan(w, &w->node);
	put_text(w, "f", "two");
	let_it_age();
	struct scan_result lost = world_look(w, &w->node); /* and then the power went */
	struct scan_result r = world_look(w, &w->node);
	assert_int_equal(r.files_read, 1);
	assert_true(hash_id_equal(&r.content, &lost.content));
	/* The same with nothing published at all. */
	w->node.has_base = false;
	memset(&w->node.root.content, 0, sizeof w->node.root.content);
	r = world_look(w, &w->node);
	assert_int_equal(r.files_read, 2);
	assert_true(hash_id_equal(&r.content, &lost.content));
}

static void
a_previous_tree_that_is_lost_is_read_from_the_disk(void **state)
{
	struct world *w = *state;

	put_all_kinds(w);
	let_it_age();
	struct scan_result first = world_scan(w, &w->node), second;
	w->node.root.content.bytes[5] ^= 1; /* nobody has it */
	w->node.has_base = false;
	second = world_scan(w, &w->node);
	assert_int_equal(second.files_read, second.files);
	assert_true(hash_id_equal(&first.content, &second.content));
}

/* -- causes -- */

static bool
dot_is(const struct dot *d, const struct node *n, uint64_t seq)
{
	return device_id_equal(&d->device, &n->device) && d->seq == seq;
}

static void
an_edit_changes_the_dot_of_its_content_only(void **state)
{
	struct world *w = *state;

	make_dir_at(w, "d");
	put_text(w, "d/f", "one");
	put_text(w, "d/g", "one");
	let_it_age();
	struct scan_result first = world_scan(w, &w->node);
	struct causal_entry was = cause_of(&w->node, &first.causal, "d/f");
	assert_true(dot_is(&was.content, &w->node, 1) && dot_is(&was.name_dot, &w->node, 1));
	put_text(w, "d/f", "two");
	struct scan_result second = world_scan(w, &w->node);
	struct causal_entry is = cause_of(&w->node, &second.causal, "d/f");
	assert_memory_equal(is.id, was.id, ENTRY_ID_BYTES);
	assert_true(dot_is(&is.content, &w->node, 2) && dot_is(&is.name_dot, &w->node, 1));
	is = cause_of(&w->node, &second.causal, "d/g");
	assert_true(dot_is(&is.content, &w->node, 1) && dot_is(&is.name_dot, &w->node, 1));
	is = cause_of(&w->node, &second.causal, "d");
	assert_true(dot_is(&is.content, &w->node, 1) && dot_is(&is.name_dot, &w->node, 1));
	assert_int_equal(fchmodat(w->fd, "d", 0711, 0), 0);
	struct scan_result third = world_scan(w, &w->node);
	is = cause_of(&w->node, &third.causal, "d");
	assert_true(dot_is(&is.content, &w->node, 3) && dot_is(&is.name_dot, &w->node, 1));
}

static void
a_rename_keeps_the_id_and_gives_the_name_a_new_dot(void **state)
{
	struct world *w = *state;

	make_dir_at(w, "d");
	put_text(w, "d/f", "one");
	put_text(w, "d/g", "another");
	let_it_age();
	struct scan_result first = world_scan(w, &w->node);
	struct causal_entry was = cause_of(&w->node, &first.causal, "d/f"), is;
	assert_int_equal(renameat(w->fd, "d/f", w->fd, "h"), 0);
	struct scan_result second = world_scan(w, &w->node);
	is = cause_of(&w->node, &second.causal, "h");
	assert_memory_equal(is.id, was.id, ENTRY_ID_BYTES);
	assert_true(dot_is(&is.content, &w->node, 1) && dot_is(&is.name_dot, &w->node, 2));
	assert_false(has_path(&w->node, &second.content, "d/f"));
	/* A directory with all that lies in it. */
	struct causal_entry dir = cause_of(&w->node, &second.causal, "d"),
			    g = cause_of(&w->node, &second.causal, "d/g");
	assert_int_equal(renameat(w->fd, "d", w->fd, "e"), 0);
	put_text(w, "e/new", "new");
	struct scan_result third = world_scan(w, &w->node);
	is = cause_of(&w->node, &third.causal, "e");
	assert_memory_equal(is.id, dir.id, ENTRY_ID_BYTES);
	assert_true(dot_is(&is.name_dot, &w->node, 3));
	is = cause_of(&w->node, &third.causal, "e/g");
	assert_memory_equal(is.id, g.id, ENTRY_ID_BYTES);
	assert_true(dot_is(&is.content, &w->node, 1) && dot_is(&is.name_dot, &w->node, 1));
}

static void
what_is_not_a_rename_gets_an_id_of_its_own(void **state)
{
	struct world *w = *state;

	put_text(w, "f", "one");
	put_text(w, "g", "two");
	let_it_age();
	struct scan_result first = world_scan(w, &w->node);
	struct causal_entry f = cause_of(&w->node, &first.causal, "f"), is;
	/* The same inode, but other content: moved and rewritten is as good as deleted and made. */
	assert_int_equal(renameat(w->fd, "f", w->fd, "h"), 0);
	put_text(w, "h", "else");
	struct scan_result second = world_scan(w, &w->node);
	is = cause_of(&w->node, &second.causal, "h");
	assert_memory_not_equal(is.id, f.id, ENTRY_ID_BYTES);
	/* Over an entry that stays: that one was written. */
	struct causal_entry g = cause_of(&w->node, &second.causal, "g");
	assert_int_equal(renameat(w->fd, "h", w->fd, "g"), 0);
	struct scan_result third = world_scan(w, &w->node);
	is = cause_of(&w->node, &third.causal, "g");
	assert_memory_equal(is.id, g.id, ENTRY_ID_BYTES);
	assert_true(dot_is(&is.content, &w->node, 3) && dot_is(&is.name_dot, &w->node, 1));
	/* A file where a directory was, and the other way round. */
	assert_int_equal(unlinkat(w->fd, "g", 0), 0);
	make_dir_at(w, "g");
	struct scan_result fourth = world_scan(w, &w->node);
	is = cause_of(&w->node, &fourth.causal, "g");
	assert_memory_not_equal(is.id, g.id, ENTRY_ID_BYTES);
	assert_true(dot_is(&is.content, &w->node, 4) && dot_is(&is.name_dot, &w->node, 4));
}

static void
two_names_of_one_inode_are_two_entries(void **state)
{
	struct world *w = *state;

	put_text(w, "f", "one");
	let_it_age();
	struct scan_result first = world_scan(w, &w->node);
	struct causal_entry was = cause_of(&w->node, &first.causal, "f");
	assert_int_equal(renameat(w->fd, "f", w->fd, "g"), 0);
	assert_int_equal(linkat(w->fd, "g", w->fd, "h", 0), 0);
	struct scan_result second = world_scan(w, &w->node);
	struct causal_entry g = cause_of(&w->node, &second.causal, "g"),
			    h = cause_of(&w->node, &second.causal, "h");
	assert_memory_equal(g.id, was.id, ENTRY_ID_BYTES);
	assert_memory_not_equal(h.id, was.id, ENTRY_ID_BYTES);
}

static void
another_machine_finds_the_same_content_and_continues_the_causes(void **state)
{
	struct world *w = *state;
	struct node other;

	put_all_kinds(w);
	let_it_age();
	struct scan_result first = world_scan(w, &w->node);
	node_open(w, &other, "b");
	struct scan_result alone = world_look(w, &other);
	assert_true(hash_id_equal(&alone.content, &first.content));
	assert_false(hash_id_equal(&alone.causal, &first.causal)); /* other ids, other dots */
	/* With the first one's commit as base, and its nodes at hand. */
	node_close(&other);
	struct device_id second_device;
	memset(&second_device, 'b', sizeof second_device);
	w->node.device = second_device;
	put_text(w, "sub/new", "x");
	struct causal_entry was = cause_of(&w->node, &first.causal, "mode");
	struct scan_result second = world_scan(w, &w->node);
	struct causal_entry is = cause_of(&w->node, &second.causal, "sub/new");
	assert_true(dot_is(&is.content, &w->node, 2));
	is = cause_of(&w->node, &second.causal, "mode");
	assert_memory_equal(is.id, was.id, ENTRY_ID_BYTES);
	assert_int_equal(is.content.device.bytes[0], 'a');
}

/* -- what is left out -- */

static void
what_is_no_file_is_noted(void **state)
{
	struct world *w = *state;

	put_text(w, "f", "x");
	make_dir_at(w, "d");
	assert_int_equal(mkfifoat(w->fd, "d/fifo", 0644), 0);
	struct scan_result r = world_scan(w, &w->node);
	assert_string_equal(w->notes, "d/fifo: is no file, directory or link\n");
	assert_int_equal(r.skipped, 1);
	assert_int_equal(r.entries, 2);
	/* What was a file and is none any more is gone from state too. */
	assert_int_equal(unlinkat(w->fd, "f", 0), 0);
	assert_int_equal(mkfifoat(w->fd, "f", 0644), 0);
	r = world_scan(w, &w->node);
	assert_int_equal(r.entries, 1);
}

static void
rules_leave_out_and_bring_back(void **state)
{
	struct world *w = *state;
	static const char *const kept[] = { "a.c", "keep.o", "sub", "sub/b.o", "sub/build",
		"other" };
	static const char *const left[] = { "a.o", "build", "build/x", "other/c.o", ".weftignore",
		".weft-x", "sub/.weftignore" };

	make_dir_at(w, "sub");
	make_dir_at(w, "build");
	make_dir_at(w, "other");
	put_text(w, ".weftignore", "*.o\n!keep.o\nbuild/\n");
	put_text(w, "sub/.weftignore", "!b.o\n");
	put_text(w, ".weft-x", "x");
	for (size_t i = 0; i < lengthof(kept); i++)
		if (strchr(kept[i], '.') != NULL || strstr(kept[i], "build") != NULL)
			put_text(w, kept[i], "x");
	put_text(w, "a.o", "x");
	put_text(w, "build/x", "x");
	put_text(w, "other/c.o", "x");
	struct scan_result r = world_scan(w, &w->node);
	for (size_t i = 0; i < lengthof(kept); i++)
		assert_true(has_path(&w->node, &r.content, kept[i]));
	for (size_t i = 0; i < lengthof(left); i++)
		assert_false(has_path(&w->node, &r.content, left[i]));
	assert_int_equal(r.skipped, 0);
	assert_int_equal(r.entries, lengthof(kept));
}

static void
rules_that_cannot_be_read_end_the_scan(void **state)
{
	struct world *w = *state;
	struct scan_result r;

	make_dir_at(w, "sub");
	put_random(w, "sub/.weftignore", 1, IGNORE_FILE_MAX + 1, 0);
	check_err(world_try(w, &w->node, w->path, &r, &world_error), ERR_USAGE, world_error);
	check_says(world_error.text, "sub/.weftignore");
}

static void
a_home_is_never_published(void **state)
{
	struct world *w = *state;
	struct scan_result r;

	make_dir_at(w, "home");
	put_text(w, "home/device.key", "secret");
	put_text(w, "home/format", "weft home 1\n");
	put_text(w, "format", "weft home 1\n");
	r = world_scan(w, &w->node);
	assert_int_equal(r.entries, 1);
	check_says(w->notes, "home: is a home of weft");
	auto_free char *home = str_printf("%s/home", w->path),
		       *key = str_printf("%s/home/device.key", w->path);
	check_err(world_try(w, &w->node, home, &r, &world_error), ERR_DENIED, world_error);
	check_err(world_try(w, &w->node, key, &r, &world_error), ERR_DENIED, world_error);
}

static void
one_file_is_published_under_the_name_it_was_given(void **state)
{
	struct world *w = *state;
	struct scan_result r;
	auto_free char *file = str_printf("%s/f", w->path), *link = str_printf("%s/link", w->path);
	auto_free char *none = str_printf("%s/none", w->path),
		       *fifo = str_printf("%s/fifo", w->path);

	put_random(w, "f", 1, 2000000, 0);
	put_text(w, ".weftignore", "*\n");
	assert_int_equal(symlinkat("f", w->fd, "link"), 0);
	assert_int_equal(mkfifoat(w->fd, "fifo", 0600), 0);
	let_it_age();
	check_ok(world_try(w, &w->node, file, &r, &world_error), world_error);
	assert_int_equal(r.entries, 1);
	assert_int_equal(r.bytes, 2000000);
	assert_true(has_path(&w->node, &r.content, "f"));
	world_publish(&w->node, &r);
	check_ok(world_try(w, &w->node, file, &r, &world_error), world_error);
	assert_int_equal(r.files_read, 0);
	check_ok(world_try(w, &w->node, link, &r, &world_error), world_error);
	assert_true(has_path(&w->node, &r.content, "link"));
	assert_int_equal(r.bytes, 2000000);
	check_err(world_try(w, &w->node, none, &r, &world_error), ERR_NOTFOUND, world_error);
	check_err(world_try(w, &w->node, fifo, &r, &world_error), ERR_USAGE, world_error);
}

static void
who_may_not_read_is_told(void **state)
{
	struct world *w = *state;
	pid_t child;
	int status;

	put_text(w, "f", "x");
	put_text(w, "secret", "x");
	make_dir_at(w, "closed");
	assert_int_equal(fchmodat(w->fd, "secret", 0, 0), 0);
	assert_int_equal(fchmodat(w->fd, "closed", 0, 0), 0);
	if (geteuid() == 0) { /* whom nothing stops: somebody else has to try */
		assert_int_equal(fchownat(AT_FDCWD, w->dir.path, 65534, 65534, 0), 0);
		assert_int_equal(fchmodat(AT_FDCWD, w->node.home, 0777, 0), 0);
	}
	child = fork();
	if (child == 0) {
		struct node n;
		if (geteuid() == 0 && setuid(65534) != 0)
			_exit(9);
		node_open(w, &n, "c");
		struct scan_result r = world_look(w, &n);
		bool right =
		    r.skipped == 2 && r.entries == 1 &&
		    strcmp(w->notes, "closed: permission denied\nsecret: permission denied\n") == 0;
		node_close(&n);
		_exit(right ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(fchmodat(w->fd, "closed", 0700, 0), 0);
}

/* -- while it is read -- */

struct meddler {
	struct world *w;
	atomic_bool stop;
	void (*step)(struct world *w, uint64_t i);
};

static void *
meddle(void *arg)
{
	struct meddler *m = arg;

	for (uint64_t i = 0; !atomic_load(&m->stop); i++)
		m->step(m->w, i);
	return NULL;
}

static struct scan_result
scan_while(struct world *w, void (*step)(struct world *w, uint64_t i), enum err want)
{
	struct meddler m = { .w = w, .step = step };
	struct scan_result r = { 0 };
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, meddle, &m), 0);
	enum err is = world_try(w, &w->node, w->path, &r, &world_error);
	atomic_store(&m.stop, true);
	assert_int_equal(pthread_join(t, NULL), 0);
	if (is != want)
		print_error("%s: %s\n", error_name(is), world_error.text);
	assert_int_equal(is, want);
	return r;
}

static void
append(struct world *w, uint64_t i)
{
	static const char *const names[] = { "small", "large" };
	int fd = openat(w->fd, names[i % 2], O_WRONLY | O_APPEND | O_CLOEXEC);

	(void)!write(fd, "more", 4);
	(void)close(fd);
}

static void
a_file_that_never_rests_is_left_out_with_a_note(void **state)
{
	struct world *w = *state;
	struct scan_result r;

	put_random(w, "small", 1, 800000, 0);
	put_random(w, "large", 2, 5000000, 0);
	put_text(w, "still", "x");
	let_it_age();
	world_scan(w, &w->node);
	/* Each of the tries to read it must meet a change: on a busy machine that takes some
	 * scans. */
	bool small = false, large = false;
	for (int i = 0; i < 200 && !(small && large); i++) {
		r = scan_while(w, append, OK);
		small |= strstr(w->notes, "small: changes while it is read\n") != NULL;
		large |= strstr(w->notes, "large: changes while it is read\n") != NULL;
		assert_int_equal(r.entries + r.skipped, 3);
	}
	assert_true(small && large);
	let_it_age();
	r = world_scan(w, &w->node);
	assert_int_equal(r.entries, 3);
	assert_int_equal(assert_dir(&w->node, w->fd, &r.content), 3);
}

/* Files and directories that come and go. */
static void
come_and_go(struct world *w, uint64_t i)
{
	char name[32];

	snprintf(name, sizeof name, "d%u", (unsigned)(i % 40));
	(void)mkdirat(w->fd, name, 0755);
	for (unsigned k = 0; k < 5; k++) {
		snprintf(name, sizeof name, "d%u/f%u", (unsigned)(i % 40), k);
		int fd = openat(w->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		(void)!write(fd, name, sizeof name);
		(void)close(fd);
	}
	for (unsigned k = 0; k < 5; k++) {
		snprintf(name, sizeof name, "d%u/f%u", (unsigned)((i + 20) % 40), k);
		(void)unlinkat(w->fd, name, 0);
	}
	snprintf(name, sizeof name, "d%u", (unsigned)((i + 20) % 40));
	(void)unlinkat(w->fd, name, AT_REMOVEDIR);
}

static void
what_vanishes_meanwhile_does_not_stop_the_scan(void **state)
{
	struct world *w = *state;

	for (uint64_t i = 0; i < 40; i++)
		come_and_go(w, i);
	for (int i = 0; i < 10; i++) {
		struct scan_result r = scan_while(w, come_and_go, OK);
		world_publish(&w->node, &r);
	}
	let_it_age();
	struct scan_result r = world_scan(w, &w->node);
	assert_string_equal(w->notes, "");
	assert_int_equal(assert_dir(&w->node, w->fd, &r.content), r.entries);
}

static void
replace_root(struct world *w, uint64_t i)
{
	auto_free char *away = str_printf("%s/away", w->dir.path);

	if (i == 0 && rename(w->path, away) == 0)
		(void)mkdir(w->path, 0755);
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static void
a_root_that_vanishes_is_an_error(void **state)
{
	struct world *w = *state;
	struct scan_result r;
	char name[32];
	auto_free char *none = str_printf("%s/none", w->path);

	check_err(world_try(w, &w->node, none, &r, &world_error), ERR_NOTFOUND, world_error);
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof name, "f%u", i);
		put_text(w, name, name);
	}
	scan_while(w, replace_root, ERR_NOTFOUND);
	auto_free char *away = str_printf("%s/away", w->dir.path);
	assert_int_equal(rmdir(w->path), 0);
	assert_int_equal(rename(away, w->path), 0);
}

static void
set_cancel(struct world *w, uint64_t i)
{
	if (i == 1)
		atomic_store(&w->cancel, true);
	nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}

static void
a_canceled_scan_stops_and_leaves_nothing_behind_that_hurts(void **state)
{
	struct world *w = *state;
	char name[32];

	for (unsigned i = 0; i < 3000; i++) {
		snprintf(name, sizeof name, "f%u", i);
		put_text(w, name, name);
	}
	put_random(w, "large", 1, 64 << 20, 0);
	scan_while(w, set_cancel, ERR_CANCELED);
	atomic_store(&w->cancel, false);
	struct scan_result r = world_scan(w, &w->node);
	assert_int_equal(r.entries, 3001);
	struct hash_id fresh = world_fresh(w);
	assert_true(hash_id_equal(&r.content, &fresh));
}

/* -- sizes -- */

static void
a_dry_run_says_the_same_and_keeps_nothing(void **state)
{
	struct world *w = *state;
	struct chunk_store_stats before, after;

	put_all_kinds(w);
	let_it_age();
	w->dry_run = true;
	check_ok(chunk_store_stats(w->node.nodes, &before, &world_error), world_error);
	struct scan_result dry = world_look(w, &w->node);
	check_ok(chunk_store_stats(w->node.nodes, &after, &world_error), world_error);
	assert_int_equal(before.objects, after.objects);
	w->dry_run = false;
	struct scan_result r = world_look(w, &w->node);
	assert_int_equal(r.files_read, r.files); /* state had nothing */
	assert_true(hash_id_equal(&dry.content, &r.content));
	assert_int_equal(dry.entries, r.entries);
	world_publish(&w->node, &r);
	w->dry_run = true;
	dry = world_look(w, &w->node);
	assert_int_equal(dry.files_read, 0);
	assert_true(hash_id_equal(&dry.content, &r.content));
}

static void
depth_costs_no_descriptors(void **state)
{
	struct world *w = *state;
	struct rlimit few = { 256, 256 }, was;
	int at = dup(w->fd), next;

	for (int i = 0; i < RELPATH_DEPTH_MAX + 3; i++) {
		put_at(at, "f", "x", 1);
		assert_int_equal(mkdirat(at, "d", 0755), 0);
		assert_int_equal(mkdirat(at, "e", 0755), 0);
		next = openat(at, "e", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		put_at(next, "f", "y", 1);
		close(next);
		next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = next;
	}
	close(at);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	few.rlim_max = was.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	struct scan_result r = world_scan(w, &w->node);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	check_says(w->notes, "/d: lies too deep\n");
	check_says(w->notes, "/e: lies too deep\n");
	assert_int_equal(r.skipped, 2);
	assert_int_equal(r.files, RELPATH_DEPTH_MAX + RELPATH_DEPTH_MAX - 1);
	/* Files of many directories at once, which only wait for their turn. */
	assert_int_equal(fs_remove_tree(w->fd, REL("d"), &world_error), OK);
}

static void
many_files_in_one_directory_come_in_parts(void **state)
{
	struct world *w = *state;
	enum { N = 3000 };
	char name[32];

	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof name, "f%u", i * 7919 % 100000);
		put_text(w, name, name);
	}
	let_it_age();
	world_scan(w, &w->node);
	for (unsigned i = 0; i < N; i += 10) {
		snprintf(name, sizeof name, "f%u", i * 7919 % 100000);
		assert_int_equal(unlinkat(w->fd, name, 0), 0);
		snprintf(name, sizeof name, "g%u", i);
		put_text(w, name, name);
	}
	struct scan_result r = world_scan(w, &w->node);
	assert_int_equal(r.files, N);
	assert_int_equal(r.files_read, N / 10);
	let_it_age();
	world_scan(w, &w->node);
	r = world_scan(w, &w->node);
	assert_int_equal(r.files_read, 0);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(the_tree_is_what_lies_on_the_disk),
		T(the_number_of_threads_does_not_matter),
		T(holes_of_the_file_system_make_no_difference),
		T(what_is_unchanged_is_not_read_and_gives_the_same_roots),
		T(what_was_written_this_moment_is_read_again),
		T(an_edit_under_old_size_and_time_is_seen),
		T(whatever_happens_in_between_a_scan_finds_what_a_fresh_one_finds),
		T(state_that_runs_ahead_of_the_tree_is_not_believed),
		T(a_previous_tree_that_is_lost_is_read_from_the_disk),
		T(an_edit_changes_the_dot_of_its_content_only),
		T(a_rename_keeps_the_id_and_gives_the_name_a_new_dot),
		T(what_is_not_a_rename_gets_an_id_of_its_own),
		T(two_names_of_one_inode_are_two_entries),
		T(another_machine_finds_the_same_content_and_continues_the_causes),
		T(what_is_no_file_is_noted),
		T(rules_leave_out_and_bring_back),
		T(rules_that_cannot_be_read_end_the_scan),
		T(a_home_is_never_published),
		T(one_file_is_published_under_the_name_it_was_given),
		T(who_may_not_read_is_told),
		T(a_file_that_never_rests_is_left_out_with_a_note),
		T(what_vanishes_meanwhile_does_not_stop_the_scan),
		T(a_root_that_vanishes_is_an_error),
		T(a_canceled_scan_stops_and_leaves_nothing_behind_that_hurts),
		T(a_dry_run_says_the_same_and_keeps_nothing),
		T(depth_costs_no_descriptors),
		T(many_files_in_one_directory_come_in_parts),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
