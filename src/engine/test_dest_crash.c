/*
 * The process dies anywhere: every file is the old one or the new one, whole, what is the user's is
 * the user's, and the next run finishes the first without fetching anything twice.
 *
 * Each round is a process of its own.  With fault points compiled in it dies at each of them, else
 * and in any case at moments drawn by a seed (WEFT_SEED).
 */
#include "engine/test_dest_world.h"

#include <signal.h>
#include <sys/mman.h>

#include "platform/clock.h"

enum { PLACES_MAX = 200, ROUNDS = 25, BUDGET_S = 25 };

static const char *self_path;

/* -- the two snapshots, and what the user has done after the first -- */

static void
make_first(struct world *w, struct snap *s)
{
	snap_put(s, "same=same", "changed=before", "users=before");
	snap_text(s, "set", "set")->mode = 0640;
	snap_random(s, "big", 1, 400000, 0);
	snap_put(s, "gone/file=x", "gone/link->y", "gone/users=x", "to dir=file", "to file/in=dir",
	    "link->before", "dir/kept=kept", "dir/closed/kept=kept");
	snap_find(s, "dir/closed")->mode = 0555;
	snap_build(w, s);
}

static void
make_second(struct world *w, struct snap *s)
{
	snap_put(s, "same=same", "changed=after, and longer", "users=after", "set=set");
	snap_random(s, "big", 2, 500000, 0);
	snap_put(s, "to dir/a/b=dir", "to file=file", "link->after", "dir/kept=kept",
	    "dir/closed/kept=kept", "dir/closed/new=new");
	snap_find(s, "dir/closed")->mode = 0555;
	snap_put(s, "new/small=new", "new/copy of it=new");
	snap_random(s, "new/deep/big", 3, 300000, 4);
	snap_random(s, "new/deep/copy", 2, 500000, 0);
	snap_put(s, "new/link->deep", "new/empty/", "new/nothing=");
	snap_build(w, s);
}

static void
users_changes(const struct world *w)
{
	user_makes(w, "users=mine", "gone/users=mine", "dir/users=mine");
}

static void
prepare(struct world *w)
{
	auto_snap struct snap s = { 0 };

	make_first(w, &s);
	world_get(w, &s);
	users_changes(w);
}

/* -- the process that dies -- */

/* What was fetched, also for those who survive it: a page that outlives the process. */
struct counter {
	uint64_t fed;       /* bytes */
	uint64_t unflushed; /* of them since the last flush: may be lost with the process */
};

static struct counter *
open_counter(const char *dir)
{
	auto_free char *path = str_printf("%s/fed", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	struct counter *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(at != MAP_FAILED);
	close(fd);
	return at;
}

static enum err
child_get(struct world *w, const struct snap *s, struct counter *count)
{
	enum err r = world_plan(w, s);

	if (r == OK)
		r = dest_copy_local(w->d, NULL, &w->e);
	/* A leaf at a time, so that the counter is right whenever it ends; flushed now and then. */
	for (int i = 0; r == OK; i++) {
		struct sink sink = dest_sink(w->d);
		uint64_t before = w->fed;
		w->feed_max = w->fed + 1;
		r = world_feed(w);
		count->fed += w->fed - before;
		count->unflushed += w->fed - before;
		if (r == OK)
			break;
		if (r != ERR_CANCELED)
			return r;
		r = i % 4 == 3 ? sink.flush(sink.ctx, &w->e) : OK;
		if (r == OK && i % 4 == 3)
			count->unflushed = 0;
	}
	if (r == OK)
		r = world_switch(w);
	if (r == OK)
		world_end(w);
	return r;
}

static int
child(const char *dir)
{
	struct world w = { 0 };
	auto_snap struct snap before = { 0 };
	auto_snap struct snap s = { 0 };
	struct counter *count = open_counter(dir);

	world_open_at(&w, dir);
	make_first(&w, &before);
	make_second(&w, &s);
	enum err r = child_get(&w, &s, count);
	if (r != OK)
		print_error("%s (%s)\n", w.e.text, w.e.where);
	world_close_home(&w);
	world_forget_contents(&w);
	munmap(count, 4096);
	return r == OK ? 0 : 1;
}

static pid_t
start_child(const char *dir, const char *fault, const char *list)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (fault != NULL)
			setenv("WEFT_FAULT", fault, 1);
		if (list != NULL)
			setenv("WEFT_FAULT_LIST", list, 1);
		setenv("WEFT_FAULT_KIND", "crash", 1);
		execl(self_path, self_path, "child", dir, NULL);
		_exit(127);
	}
	return pid;
}

static int
wait_child(pid_t pid)
{
	int status = -1;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* -- what is to be seen afterwards -- */

/* NAME is as in one of the two, or not there if one of them lacks it. */
static void
assert_old_or_new(const struct world *w, struct snap *a, struct snap *b, const char *name)
{
	struct snap *const both[] = { a, b };
	auto_free char *path = world_path(w, name);
	char target[64] = "";
	struct stat st;
	bool fine = false;

	if (strcmp(name, "users") == 0 || strcmp(name, "gone/users") == 0)
		return;
	bool there = lstat(path, &st) == 0;
	if (there && S_ISLNK(st.st_mode))
		assert_true(readlink(path, target, sizeof target - 1) > 0);
	for (size_t i = 0; i < 2; i++) {
		const struct item *it = snap_find(both[i], name);
		if (it == NULL || !there)
			fine |= it == NULL && !there;
		else if (it->type == TREE_DIR)
			fine |= S_ISDIR(st.st_mode);
		else if (it->type == TREE_SYMLINK)
			fine |= S_ISLNK(st.st_mode) && strcmp(target, (const char *)it->bytes) == 0;
		else
			fine |= S_ISREG(st.st_mode) && world_file_is(w, name, it->bytes, it->len);
	}
	/* Between the old one that went and the new one of another type there may be nothing. */
	bool changes_type = strncmp(name, "to ", 3) == 0;
	if (!fine && !(changes_type && !there))
		unit_fail("%s is neither what it was nor what it is to be", name);
}

static void
assert_whole(const struct world *w, struct snap *a, struct snap *b)
{
	array_each (it, &a->items)
		assert_old_or_new(w, a, b, it->path);
	array_each (it, &b->items)
		assert_old_or_new(w, a, b, it->path);
	world_assert_holds(w, "users=mine", "gone/users=mine", "dir/users=mine");
}

/* What the second snapshot takes from the network: two contents of random bytes, and a few small
 * ones. */
enum { FED_ONCE = 500000 + 300000 + 200 };

struct pair {
	struct world *w;
	struct snap a, b;
	struct counter *count;
	uint64_t lost; /* bytes that nobody had flushed when a process died */
};

static void
pair_open(struct pair *p)
{
	void *w;

	memset(p, 0, sizeof *p);
	assert_int_equal(world_setup(&w), 0);
	p->w = w;
	prepare(p->w);
	make_first(p->w, &p->a);
	make_second(p->w, &p->b);
	/* The child is the only owner of the state. */
	world_close_home(p->w);
	p->w->dest = str_printf("%s/dest", p->w->dir.path);
	p->count = open_counter(p->w->dir.path);
}

static void
pair_close(struct pair *p)
{
	void *w = p->w;

	munmap(p->count, 4096);
	free(p->w->dest);
	world_open_at(p->w, p->w->dir.path);
	snap_clear(&p->a);
	snap_clear(&p->b);
	world_teardown(&w);
}

/* A child is dead, wherever it was. */
static void
has_died(struct pair *p)
{
	p->lost += p->count->unflushed;
	p->count->unflushed = 0;
	assert_whole(p->w, &p->a, &p->b);
}

/* After the child that was to die has: the next one finishes. */
static void
finish_and_compare(struct pair *p)
{
	int status = wait_child(start_child(p->w->dir.path, NULL, NULL));
	if (status != 0)
		unit_fail("the second run ended with %d", status);
	array_each (it, &p->b.items) {
		if (strcmp(it->path, "users") != 0)
			world_assert_item(p->w, it);
	}
	assert_whole(p->w, &p->a, &p->b);
	assert_false(world_has(p->w, ".weft"));
	if (geteuid() == 0)
		assert_int_equal(world_entries(p->w), p->b.items.len + 3);
	if (p->count->fed > FED_ONCE + p->lost)
		unit_fail("%llu bytes were fetched, %llu of them to replace what was not flushed",
		    (unsigned long long)p->count->fed, (unsigned long long)p->lost);
}

/* -- at each fault point -- */

#ifdef WEFT_FAULTS
static char places[PLACES_MAX][80];

static size_t
find_places(void)
{
	struct pair p;
	char line[400];
	size_t n = 0;

	pair_open(&p);
	auto_free char *list = str_printf("%s/list", p.w->dir.path);
	assert_int_equal(wait_child(start_child(p.w->dir.path, NULL, list)), 0);
	FILE *f = fopen(list, "re");
	assert_non_null(f);
	while (n < PLACES_MAX && fgets(line, sizeof line, f) != NULL)
		snprintf(places[n++], sizeof places[0], "%.*s", (int)strcspn(line, " "), line);
	fclose(f);
	pair_close(&p);
	return n;
}

/* The N-th pass of PLACE is the last; false when there are not as many. */
static bool
dies_at(const char *place, unsigned n)
{
	auto_free char *fault = str_printf("%s:%u", place, n);
	struct pair p;

	pair_open(&p);
	int status = wait_child(start_child(p.w->dir.path, fault, NULL));
	bool died = WIFEXITED(status) && WEXITSTATUS(status) == 99;
	if (!died && status != 0)
		unit_fail("%s: status %d", fault, status);
	if (died) {
		print_message("dies at %s\n", fault);
		has_died(&p);
		finish_and_compare(&p);
	}
	pair_close(&p);
	return died;
}

static void
dying_at_any_call_loses_nothing(void **state)
{
	const uint64_t until = clock_mono_ms() + BUDGET_S * 1000;
	const bool is_long = getenv("WEFT_LONG") != NULL;
	uint64_t seed = any_seed();
	struct rng g;
	size_t n = find_places(), died = 0;

	(void)state;
	assert_in_range(n, 20, PLACES_MAX - 1);
	rng_seed(&g, seed);
	print_message("WEFT_SEED=%llu\n", (unsigned long long)seed);
	/* In any order, as the time may not be enough for all. */
	for (size_t i = n; i-- > 0;) {
		size_t k = rng_below(&g, i + 1);
		char swap[sizeof places[0]];
		memcpy(swap, places[i], sizeof swap);
		memcpy(places[i], places[k], sizeof swap);
		memcpy(places[k], swap, sizeof swap);
	}
	for (unsigned pass = 1; pass < 600; pass += 1 + pass / 3) {
		for (size_t i = 0; i < n; i++) {
			if (places[i][0] == '\0' || (!is_long && clock_mono_ms() > until))
				continue;
			if (dies_at(places[i], pass))
				died++;
			else
				places[i][0] = '\0';
		}
	}
	assert_true(died > 0);
}
#else
static void
dying_at_any_call_loses_nothing(void **state)
{
	(void)state;
	skip(); /* no fault points in this build; at any moment, below, in every build */
}
#endif

/* -- at any moment -- */

static void
being_killed_at_any_moment_loses_nothing(void **state)
{
	uint64_t seed = any_seed();
	struct rng g;
	struct pair p;

	(void)state;
	rng_seed(&g, seed);
	print_message("WEFT_SEED=%llu\n", (unsigned long long)seed);
	pair_open(&p);
	uint64_t began = clock_mono_ns();
	assert_int_equal(wait_child(start_child(p.w->dir.path, NULL, NULL)), 0);
	uint64_t whole_us = (clock_mono_ns() - began) / 1000;
	pair_close(&p);
	for (int i = 0; i < ROUNDS; i++) {
		pair_open(&p);
		for (int kills = 0; kills < 3; kills++) {
			pid_t pid = start_child(p.w->dir.path, NULL, NULL);
			usleep((useconds_t)rng_below(&g, whole_us));
			kill(pid, SIGKILL);
			(void)wait_child(pid);
			has_died(&p);
		}
		finish_and_compare(&p);
		pair_close(&p);
	}
}

int
main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "child") == 0)
		return child(argv[2]);
	self_path = argv[0];
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(being_killed_at_any_moment_loses_nothing),
		cmocka_unit_test(dying_at_any_call_loses_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
