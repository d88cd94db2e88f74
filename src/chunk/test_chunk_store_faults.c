/*
 * Every call of the store to the filesystem and the database fails once, in each way, at several of
 * its passes; then whatever had been promised is there, the check is clean and the store goes on
 * working.
 *
 * The scenario runs in a process of its own (this program, called with a directory), because a
 * fault is asked for through the environment and may end the process.  Without -Dfaults=true there
 * is nothing to ask for: skipped.
 */
#include "chunk/test_store.h"

#include <sys/wait.h>
#include <time.h>

enum {
	SKIPPED = 77,
	CRASHED = 99, /* as fault.h says */
	POINTS_MAX = 200,
	PASSES_MAX = 2000,
	OBJECTS = 50,
};

/* What a scenario has been told is safe: a file of one record. */
struct promise {
	uint64_t from, to;
};

/* -- the child -- */

struct scenario {
	struct test_store t;
	int promise;
};

static void
promise(struct scenario *c, uint64_t from, uint64_t to)
{
	struct promise p = { from, to };

	if (pwrite(c->promise, &p, sizeof p, 0) != sizeof p)
		abort();
}

static enum err
put_range(struct scenario *c, uint64_t from, uint64_t to, struct error *e)
{
	enum err r = OK;

	for (uint64_t i = from; r == OK && i < to; i++)
		r = test_store_try_put(c->t.s, i, e);
	return r == OK ? chunk_store_commit(c->t.s, e) : r;
}

static enum err
get_range(struct scenario *c, uint64_t from, uint64_t to, struct error *e)
{
	enum err r = OK;

	for (uint64_t i = from; r == OK && i < to; i++)
		r = test_store_try_get(c->t.s, i, e);
	return r;
}

static enum err
collect(struct scenario *c, uint64_t from, uint64_t to, struct error *e)
{
	enum err r = chunk_store_gc_begin(c->t.s, e);

	for (uint64_t i = from; r == OK && i < to; i++) {
		struct hash_id id = test_store_id(i);
		r = chunk_store_gc_mark(c->t.s, &id, e);
	}
	if (r == OK)
		return chunk_store_gc_sweep(c->t.s, NULL, e);
	chunk_store_gc_abort(c->t.s);
	return r;
}

static enum err
check_clean(struct scenario *c, uint64_t from, uint64_t to, struct error *e)
{
	uint64_t bad = 0;
	enum err r = chunk_store_check(c->t.s, NULL, NULL, &bad, e);

	(void)from;
	(void)to;
	return r == OK && bad > 0
		   ? fail(e, ERR_BUG, "%llu objects damaged", (unsigned long long)bad)
		   : r;
}

static enum err
open_again(struct scenario *c, struct error *e)
{
	enum err r = OK;

	chunk_store_close(c->t.s);
	c->t.s = NULL;
	r = chunk_store_open(c->t.path, &c->t.opts, &c->t.s, e);
	/* What failed once need not fail again. */
	return r == OK ? OK : chunk_store_open(c->t.path, &c->t.opts, &c->t.s, e);
}

/* A step that failed works when it is tried again. */
static void
step(struct scenario *c, enum err (*do_it)(struct scenario *, uint64_t, uint64_t, struct error *),
    uint64_t from, uint64_t to)
{
	struct error e = { 0 };

	if (do_it(c, from, to, &e) == OK || do_it(c, from, to, &e) == OK)
		return;
	fprintf(stderr, "%s (from %s)\n", e.text, e.where);
	exit(1);
}

static int
run_scenario(const char *dir)
{
	struct scenario c = { .t.opts = { .pack_bytes = 128 * 1024, .compress = true } };
	auto_free char *file = str_printf("%s/promise", dir);
	struct error e = { 0 };

	snprintf(c.t.path, sizeof c.t.path, "%s/store", dir);
	c.promise = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	promise(&c, 0, 0);
	if (open_again(&c, &e) != OK) {
		fprintf(stderr, "%s (from %s)\n", e.text, e.where);
		return 1;
	}
	step(&c, put_range, 0, 24);
	promise(&c, 0, 24);
	step(&c, get_range, 0, 24);
	step(&c, put_range, 20, 40);
	promise(&c, 8, 40); /* from here on the first eight may go */
	step(&c, collect, 8, 40);
	step(&c, put_range, 40, OBJECTS);
	promise(&c, 8, OBJECTS);
	step(&c, check_clean, 0, 0);
	if (open_again(&c, &e) != OK)
		return 1;
	step(&c, get_range, 8, OBJECTS);
	chunk_store_close(c.t.s);
	close(c.promise);
	return 0;
}

/* -- the parent -- */

struct point {
	char place[300]; /* "src/platform/fs_file.c:120" */
	bool moves_bytes;
};

static struct point points[POINTS_MAX];
static size_t n_points;
static uint64_t runs, seconds_max = 240;

static int
run_child(const char *dir, const char *list, const char *fault, const char *kind)
{
	pid_t child = fork();
	int status = 0;

	assert_true(child >= 0);
	if (child == 0) {
		if (list != NULL)
			setenv("WEFT_FAULT_LIST", list, 1);
		if (fault != NULL) {
			setenv("WEFT_FAULT", fault, 1);
			setenv("WEFT_FAULT_KIND", kind, 1);
		}
		/* What is reported twice is told by the exit status. */
		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(1);
		execl("/proc/self/exe", "test_chunk_store_faults", dir, (char *)NULL);
		_exit(126);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	runs++;
	return WEXITSTATUS(status);
}

static void
read_points(const char *list)
{
	FILE *f = fopen(list, "r");
	char line[300];

	assert_non_null(f);
	while (fgets(line, sizeof line, f) != NULL && n_points < POINTS_MAX) {
		char *blank = strchr(line, ' ');
		assert_non_null(blank);
		*blank = '\0';
		struct point *p = &points[n_points++];
		snprintf(p->place, sizeof p->place, "%s", line);
		p->moves_bytes =
		    strncmp(blank + 1, "read", 4) == 0 || strncmp(blank + 1, "write", 5) == 0;
	}
	fclose(f);
}

/* The store as a scenario left it: nothing promised is missing, and it is as good as new. */
static void
verify(const char *dir)
{
	auto_free char *file = str_printf("%s/promise", dir);
	struct test_store t = { .opts = { .pack_bytes = 128 * 1024, .compress = true } };
	struct promise p = { 0 };
	auto_fd int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return; /* it did not come that far */
	assert_int_equal(read(fd, &p, sizeof p), sizeof p);
	snprintf(t.path, sizeof t.path, "%s/store", dir);
	test_store_open(&t);
	test_store_get(&t, p.from, p.to);
	assert_int_equal(test_store_check(&t), 0);
	test_store_put(&t, 0, OBJECTS);
	test_store_commit(&t);
	test_store_reopen(&t);
	test_store_get(&t, 0, OBJECTS);
	chunk_store_close(t.s);
}

/* Returns the child's exit status. */
static int
fail_at(const char *place, uint64_t pass, const char *kind)
{
	struct check_dir dir = check_dir_make_fast();
	auto_free char *fault = str_printf("%s:%llu", place, (unsigned long long)pass);
	int status = run_child(dir.path, NULL, fault, kind);

	if (status != 0 && status != CRASHED)
		print_error("WEFT_FAULT=%s WEFT_FAULT_KIND=%s: exit %d\n", fault, kind, status);
	assert_true(status == 0 || status == CRASHED);
	verify(dir.path);
	check_dir_remove(&dir);
	return status;
}

static void
list_points(void **state)
{
	(void)state;
	struct check_dir dir = check_dir_make_fast();
	auto_free char *list = str_printf("%s/points", dir.path);

	assert_int_equal(run_child(dir.path, list, NULL, NULL), 0);
	read_points(list);
	verify(dir.path);
	check_dir_remove(&dir);
	assert_true(n_points > 15);
}

/* Each point crashes at its first passes and then ever more rarely, until it is not passed that
 * often. */
static void
every_point_may_crash_or_fail(void **state)
{
	(void)state;
	static const char *const kinds[] = { "EIO", "ENOSPC",
		"short" }; /* the last only where bytes move */
	time_t start = time(NULL);

	for (size_t i = 0; i < n_points; i++) {
		bool passed = true;
		for (uint64_t pass = 1; passed && pass <= PASSES_MAX; pass *= 2) {
			if ((uint64_t)(time(NULL) - start) > seconds_max) {
				print_message("stopped at %s: the time is over\n", points[i].place);
				return;
			}
			passed = fail_at(points[i].place, pass, "crash") == CRASHED;
			for (size_t k = 0; passed && k < lengthof(kinds) - !points[i].moves_bytes;
			     k++)
				(void)fail_at(points[i].place, pass, kinds[k]);
		}
	}
	print_message("%llu runs of %zu points\n", (unsigned long long)runs, n_points);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(list_points),
		cmocka_unit_test(every_point_may_crash_or_fail),
	};

#ifndef WEFT_FAULTS
	(void)tests;
	return argc > 1 ? run_scenario(argv[1]) : SKIPPED;
#endif
	return argc > 1 ? run_scenario(argv[1]) : cmocka_run_group_tests(tests, NULL, NULL);
}
