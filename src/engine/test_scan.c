/* What is on the disk is in the tree, the first time and every time after. */
#include "engine/test_scan_world.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/resource.h>

#include "platform/clock.h"

/* -- the tree is what is on the disk -- */

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
	let_it_age(); /* or they are read again */
	struct scan_result r = world_scan(w, &w->node);
	assert_int_equal(assert_dir(&w->node, w->fd, &r.content), 2);
	/* Nothing but zeroes, and nothing but a hole. */
	put_text(w, "sparse", "");
	assert_int_equal(truncate(w->path, 0), -1);
	int fd = openat(w->fd, "sparse", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, ((off_t)3 << 30) + 5), 0);
	close(fd);
	r = world_scan(w, &w->node);
	assert_int_equal(r.files_read, 1);
	assert_int_equal(r.bytes_read, 0); /* of three gigabytes of hole */
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

/* A page holds a handful of names: the tree is the same, nothing is read twice, and rules and homes
 * are found wherever their names come. */
static void
a_directory_is_read_in_pages(void **state)
{
	struct world *w = *state;
	enum { N = 300 };
	char name[64];

	put_text(w, "z-last", "z");
	make_dir_at(w, "sub");
	make_dir_at(w, "home");
	put_text(w, "home/device.key", "k");
	put_text(w, "home/format", "weft home 1\n");
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof name, "%s%u%s", i % 3 == 0 ? "sub/" : "", i * 7919 % 10007,
		    i % 10 == 0 ? ".tmp" : "");
		put_text(w, name, name);
		snprintf(name, sizeof name, "home/%u", i);
		put_text(w, name, "secret");
	}
	put_text(w, ".weftignore", "*.tmp\n");
	let_it_age();
	struct hash_id whole = world_fresh(w);
	w->list_max = 100;
	struct scan_result r = world_scan(w, &w->node);
	assert_true(hash_id_equal(&r.content, &whole));
	assert_int_equal(r.files, N - N / 10 + 1);
	assert_string_equal(w->notes, "home: is a home of weft, which is not published\n");
	/* From page to page, what is known keeps step with what is there. */
	assert_int_equal(unlinkat(w->fd, "z-last", 0), 0);
	put_text(w, "sub/new", "n");
	let_it_age();
	r = world_scan(w, &w->node);
	assert_int_equal(r.files_read, 1);
	w->list_max = 0;
	whole = world_fresh(w);
	assert_true(hash_id_equal(&r.content, &whole));
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
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
		T(a_dry_run_says_the_same_and_keeps_nothing),
		T(depth_costs_no_descriptors),
		T(many_files_in_one_directory_come_in_parts),
		T(a_directory_is_read_in_pages),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
