/* What is not published: what is no file, what is ours, what rules leave out, what does not hold
 * still. */
#include "engine/test_scan_world.h"

#include <pthread.h>
#include <sys/wait.h>

#include "engine/ignore.h"
#include "platform/clock.h"

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

/* Many files, and before them something of which a scan tells. */
static void
put_pipe_and_many(struct world *w)
{
	char name[32];

	assert_int_equal(mkfifoat(w->fd, "a-pipe", 0600), 0);
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof name, "f%u", i);
		put_text(w, name, name);
	}
}

static void
scan_until_note(struct world *w, void (*at_note)(struct world *w), enum err want)
{
	struct scan_result r;

	w->at_note = at_note;
	check_err(world_try(w, &w->node, w->path, &r, &world_error), want, world_error);
	w->at_note = NULL;
}

static void
replace_root(struct world *w)
{
	auto_free char *away = str_printf("%s/away", w->dir.path);

	assert_int_equal(rename(w->path, away), 0);
	assert_int_equal(mkdir(w->path, 0755), 0);
}

static void
a_root_that_vanishes_is_an_error(void **state)
{
	struct world *w = *state;
	struct scan_result r;
	auto_free char *none = str_printf("%s/none", w->path);
	auto_free char *away = str_printf("%s/away", w->dir.path);

	check_err(world_try(w, &w->node, none, &r, &world_error), ERR_NOTFOUND, world_error);
	put_pipe_and_many(w);
	scan_until_note(w, replace_root, ERR_NOTFOUND);
	assert_int_equal(rename(away, w->path), 0);
}

static void
set_cancel(struct world *w)
{
	atomic_store(&w->cancel, true);
}

static void
a_canceled_scan_stops_and_leaves_nothing_behind_that_hurts(void **state)
{
	struct world *w = *state;

	put_pipe_and_many(w);
	scan_until_note(w, set_cancel, ERR_CANCELED);
	atomic_store(&w->cancel, false);
	struct scan_result r = world_scan(w, &w->node);
	assert_int_equal(r.entries, 2000);
	struct hash_id fresh = world_fresh(w);
	assert_true(hash_id_equal(&r.content, &fresh));
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
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
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
