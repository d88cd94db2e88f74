/* What the user has and does in a destination. */
#include "engine/test_dest_world.h"

#include <pthread.h>
#include <sys/mount.h>

/* DEST is there before the first get. */
static void
make_dest(const struct world *w)
{
	assert_int_equal(mkdir(w->dest, 0755), 0);
}

/* A share of a few entries, built. */
static struct snap
first(struct world *w)
{
	return snap_of(w, "a=one", "d/b=two", "d/e/c=three", "d/link->b");
}

/* All contents and names of it changed, and something gone. */
static struct snap
second(struct world *w)
{
	return snap_of(w, "a=ONE", "d/b=TWO", "d/link->e", "f/new=four");
}

/* The file PATH somewhere in the trash. */
static bool
is_in_trash(const struct world *w, const char *path, const char *text)
{
	auto_free char *trash = world_path(w, ".weft/trash");
	struct fs_list l = { 0 };
	bool found = false;
	int fd;

	assert_ok(fs_open_root(trash, &fd, &unit_error));
	assert_ok(fs_list_dir(fd, &l, &unit_error));
	for (size_t i = 0; i < l.n; i++) {
		auto_free char *name = str_printf(".weft/trash/%s/%s", l.names + l.at[i], path);
		found |= world_holds(w, name, text);
	}
	fs_list_clear(&l);
	(void)close(fd);
	return found;
}

/* -- in the way from the start -- */

static void
what_is_in_the_way_stays_and_is_named(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);

	make_dest(w);
	user_makes(w, "a=mine", "d=a file");
	world_get(w, &s);
	world_assert_holds(w, "a=mine", "d=a file");
	world_assert_says(w, "a: a file is in the way");
	world_assert_says(w, "d: a file is in the way");
	assert_null(strstr(w->notes, "d/"));
	assert_int_equal(w->sum.in_way, 2);
	assert_int_equal(w->fed, 0);
	/* Nothing of it has become ours. */
	user_remove(w, "d");
	world_get(w, &s);
	world_assert_holds(w, "a=mine", "d/e/c=three");
	assert_int_equal(w->sum.in_way, 1);
}

static void
every_type_in_the_way_of_every_other_stays(void **state)
{
	static const char *const types[] = { "file", "dir", "link" };
	struct world *w = *state;
	auto_snap struct snap s = { 0 };
	char name[16];

	make_dest(w);
	for (size_t has = 0; has < 3; has++) {
		for (size_t wants = 0; wants < 3; wants++) {
			snprintf(name, sizeof name, "%s-%s", types[has], types[wants]);
			if (has == 0)
				user_put(w, name, "mine");
			else if (has == 1)
				user_mkdir(w, name);
			else
				user_link(w, name, "mine");
			if (wants == 0)
				snap_text(&s, name, "theirs");
			else if (wants == 1)
				snap_dir(&s, name);
			else
				snap_link(&s, name, "theirs");
		}
	}
	snap_build(w, &s);
	world_get(w, &s);
	assert_int_equal(w->sum.in_way, 8); /* two directories are one */
	for (size_t has = 0; has < 3; has++) {
		for (size_t wants = 0; wants < 3; wants++) {
			snprintf(name, sizeof name, "%s-%s", types[has], types[wants]);
			struct stat st = world_stat(w, name);
			assert_true(has == 0   ? S_ISREG(st.st_mode)
				    : has == 1 ? S_ISDIR(st.st_mode)
					       : S_ISLNK(st.st_mode));
		}
	}
	/* All of them give way when we are told so. */
	w->overwrite = true;
	world_get(w, &s);
	world_assert_is(w, &s, 0);
	assert_int_equal(w->sum.trashed, 8);
	assert_true(is_in_trash(w, "file-dir", "mine"));
}

static void
what_is_as_wanted_already_is_adopted(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);
	auto_snap struct snap t = second(w);

	make_dest(w);
	user_makes(w, "a=one", "d/", "d/b=two", "d/link->b");
	world_get(w, &s);
	assert_string_equal(w->notes, "");
	assert_int_equal(w->sum.files_adopted, 2);
	assert_int_equal(w->fed, strlen("three"));
	world_assert_is(w, &s, 0);
	/* From now on it is updated like what came from the share. */
	world_get(w, &t);
	assert_string_equal(w->notes, "");
	world_assert_is(w, &t, 0);
}

static void
other_files_of_the_user_are_left_alone(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);
	auto_snap struct snap t = second(w);

	world_get(w, &s);
	user_makes(w, "mine=x", "d/mine=y", "d/e/mine=z");
	world_get(w, &t);
	assert_string_equal(w->notes, "");
	world_assert_holds(w, "mine=x", "d/mine=y", "d/e/mine=z");
	assert_false(world_has(w, "d/e/c"));
	world_assert_is(w, &t, 4);
}

/* -- changed since -- */

static void
what_the_user_changed_stays(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);
	auto_snap struct snap t = second(w);

	world_get(w, &s);
	user_put(w, "a", "eno"); /* of the same size */
	user_put(w, "d/e/c", "changed");
	user_remove(w, "d/link");
	user_link(w, "d/link", "mine");
	world_get(w, &t);
	world_assert_holds(w, "a=eno", "d/b=TWO", "d/e/c=changed");
	world_assert_says(w, "a: was changed since it was received");
	world_assert_says(w, "d/e/c: is no longer in the share, but was changed here");
	world_assert_says(w, "d/link: a symlink is in the way");
	assert_int_equal(w->sum.in_way, 3);
	/* It is the user's from now on: nothing is said of it again. */
	world_get(w, &t);
	assert_int_equal(w->sum.in_way, 2);
	world_assert_holds(w, "d/e/c=changed");
}

/* Even if it has the size and the time of what it was. */
static void
a_change_that_hides_is_found(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);
	auto_snap struct snap t = second(w);

	world_get(w, &s);
	user_puts_secretly(w, "a", "eno");
	world_get(w, &t);
	world_assert_holds(w, "a=eno");
	world_assert_says(w, "a: was changed");
}

/* A file that was only touched has nothing of the user's to lose. */
static void
a_touched_file_is_updated(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);
	auto_snap struct snap t = second(w);

	world_get(w, &s);
	user_chmod(w, "a", 0600);
	user_touch(w, "d/b", NULL);
	/* The same snapshot: mode and time come back. */
	world_get(w, &s);
	world_assert_is(w, &s, 0);
	assert_int_equal(w->fed, 0);
	user_chmod(w, "a", 0600);
	user_touch(w, "d/b", NULL);
	world_get(w, &t);
	assert_string_equal(w->notes, "");
	world_assert_is(w, &t, 0);
}

static void
what_the_user_removed_comes_back(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);

	world_get(w, &s);
	user_remove(w, "d");
	user_remove(w, "a");
	world_get(w, &s);
	world_assert_is(w, &s, 0);
	assert_int_equal(w->sum.files_new, 4);
}

static void
overwrite_moves_to_the_trash(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);
	auto_snap struct snap t = second(w);

	world_get(w, &s);
	user_makes(w, "a=mine", "d/b=mine too", "f/", "f/new=mine as well", "f/other=stays");
	w->overwrite = true;
	world_get(w, &t);
	assert_string_equal(w->notes, "");
	assert_int_equal(w->sum.trashed, 3);
	assert_true(is_in_trash(w, "a", "mine"));
	assert_true(is_in_trash(w, "d/b", "mine too"));
	assert_true(is_in_trash(w, "f/new", "mine as well"));
	world_assert_is(w, &t, 1);
	/* A second one in the same second does not bury the first. */
	user_put(w, "a", "mine again");
	world_get(w, &t);
	assert_true(is_in_trash(w, "a", "mine"));
	assert_true(is_in_trash(w, "a", "mine again"));
	world_assert_is(w, &t, 1);
}

static void
trash_is_kept_for_thirty_days(void **state)
{
	struct world *w = *state;
	const int64_t day = (int64_t)24 * 3600, now = day * 20000;

	make_dest(w);
	user_makes(w, ".weft/", ".weft/trash/");
	for (int64_t age = -1; age <= 40; age++) {
		char name[64];
		snprintf(name, sizeof name, ".weft/trash/%lld", (long long)(now - age * day));
		user_mkdir(w, name);
		snprintf(name, sizeof name, ".weft/trash/%lld/file", (long long)(now - age * day));
		user_put(w, name, "x");
	}
	user_mkdir(w, ".weft/trash/notes of mine");
	dest_expire_trash(w->dest, now * 1000000000);
	for (int64_t age = -1; age <= 40; age++) {
		char name[64];
		snprintf(name, sizeof name, ".weft/trash/%lld/file", (long long)(now - age * day));
		assert_int_equal(world_has(w, name), age <= 30);
	}
	assert_true(world_has(w, ".weft/trash/notes of mine"));
	user_remove(w, ".weft/trash/notes of mine");
	dest_expire_trash(w->dest, (now + 100 * day) * 1000000000);
	assert_false(world_has(w, ".weft"));
	dest_expire_trash("/no/such/directory", now);
}

/* -- changed between plan and switch -- */

static void
what_changes_while_we_receive_stays(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);
	auto_snap struct snap t = second(w);

	world_get(w, &s);
	world_receive(w, &t);
	/* To be replaced, to be removed, and where a directory is to be. */
	user_makes(w, "a=late", "d/e/c=late too", "f=in the way");
	world_switch(w);
	world_end(w);
	world_assert_holds(w, "a=late", "d/b=TWO", "d/e/c=late too", "f=in the way");
	assert_int_equal(w->sum.in_way, 3);
	world_assert_says(w, "a: appeared or changed");
	world_assert_says(w, "f: appeared or changed");
	/* And all of it is the user's. */
	world_get(w, &t);
	world_assert_holds(w, "a=late", "f=in the way");
	w->overwrite = true;
	world_get(w, &t);
	world_assert_is(w, &t, 2); /* d/e/c and what it is in */
}

static void
what_appears_while_we_receive_stays(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);

	world_receive(w, &s);
	user_makes(w, "a=late", "d/", "d/b=late too", "d/more=mine", "d/e->/etc");
	world_switch(w);
	world_end(w);
	world_assert_holds(w, "a=late", "d/b=late too", "d/more=mine");
	assert_int_equal(w->sum.in_way, 3);
	world_assert_says(w, "d/e: appeared or changed");
	auto_free char *link = world_path(w, "d/link");
	char target[8];
	assert_int_equal(readlink(link, target, sizeof target), 1);
}

/* -- in the last moment -- */

enum { RACERS = 400 };

struct racer {
	const struct world *w;
	uint64_t seed;
	bool back; /* removing begins at the last */
	atomic_bool go;
};

/* The user replaces each file once, at about the time at which it is our turn. */
static void *
race(void *arg)
{
	struct racer *x = arg;
	struct rng g;
	char name[32];

	rng_seed(&g, x->seed);
	auto_free char *fresh = world_path(x->w, "..fresh");
	while (!x->go)
		;
	for (int i = 0; i < RACERS; i++) {
		snprintf(name, sizeof name, "f%03d", x->back ? RACERS - 1 - i : i);
		auto_free char *path = world_path(x->w, name);
		int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		(void)!write(fd, "mine", 4);
		(void)close(fd);
		(void)rename(fresh, path);
		for (volatile uint64_t wait = rng_below(&g, 2000); wait > 0; wait--)
			;
	}
	return NULL;
}

/* Some are replaced, others removed: whoever comes first, what the user put there is there in the
 * end. */
static void
what_comes_in_the_last_moment_stays(void **state)
{
	struct world *w = *state;
	char name[32];

	for (uint64_t round = 0; round < 6; round++) {
		auto_snap struct snap s = { 0 };
		auto_snap struct snap t = { 0 };
		for (int i = 0; i < RACERS; i++) {
			snprintf(name, sizeof name, "f%03d", i);
			snap_text(&s, name, "old");
			if (round % 2 == 0)
				snap_text(&t, name, "new");
		}
		snap_build(w, &s);
		snap_build(w, &t);
		w->overwrite = true;
		world_get(w, &s);
		w->overwrite = round >= 4;
		world_receive(w, &t);
		struct racer x = { .w = w, .seed = round, .back = round % 2 == 1 };
		pthread_t user;
		assert_int_equal(pthread_create(&user, NULL, race, &x), 0);
		x.go = true;
		enum err r = world_switch(w);
		assert_int_equal(pthread_join(user, NULL), 0);
		check_ok(r, w->e);
		world_end(w);
		for (int i = 0; i < RACERS; i++) {
			snprintf(name, sizeof name, "f%03d", i);
			if (!world_holds(w, name, "mine") &&
			    !(w->overwrite && is_in_trash(w, name, "mine")))
				unit_fail("round %d: %s is lost", (int)round, name);
		}
	}
}

static void
directories_that_go_while_we_receive_are_made_again(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);
	auto_snap struct snap t = snap_copy(&s);

	world_get(w, &s);
	snap_text(&t, "d/e/more", "x");
	snap_find(&t, "d/e/c")->mode = 0600;
	snap_build(w, &t);
	world_receive(w, &t);
	user_remove(w, "d");
	world_finish(w);
	world_assert_holds(w, "d/e/more=x");
	world_assert_says(w, "d/e/c: appeared or changed");
	world_get(w, &t);
	world_assert_is(w, &t, 0);
}

/* Mode and time of a file that the user has changed meanwhile are the user's. */
static void
nothing_is_set_on_what_the_user_changed(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);
	auto_snap struct snap t = snap_copy(&s);

	world_get(w, &s);
	snap_find(&t, "a")->mode = 0600;
	snap_find(&t, "a")->mtime_ns += 99;
	snap_find(&t, "d/b")->mode = 0755;
	snap_find(&t, "d/e")->mode = 0700;
	snap_build(w, &t);
	world_receive(w, &t);
	user_put(w, "a", "eno");
	user_remove(w, "d/b");
	user_link(w, "d/b", "/etc/passwd");
	user_remove(w, "d/e");
	user_link(w, "d/e", "/etc");
	world_finish(w);
	assert_int_equal(w->sum.in_way, 3);
	struct stat st = world_stat(w, "a");
	assert_int_equal(st.st_mode & 0777, 0644);
	assert_true(world_mtime(&st) != snap_find(&t, "a")->mtime_ns);
	/* It is not taken for ours later. */
	auto_snap struct snap u = second(w);
	world_get(w, &u);
	world_assert_holds(w, "a=eno");
}

static void
a_stage_that_is_removed_is_not_believed(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);

	/* While we receive. */
	world_receive(w, &s);
	user_remove(w, ".weft");
	assert_int_not_equal(world_switch(w), OK);
	world_end(w);
	/* While we are not running. */
	world_receive(w, &s);
	world_restart(w);
	user_remove(w, ".weft/stage-7");
	world_receive(w, &s);
	assert_true(w->fed > 0);
	world_finish(w);
	world_assert_is(w, &s, 0);
}

/* -- nothing leaves DEST -- */

static void
a_symlink_is_never_followed(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);
	auto_snap struct snap t = second(w);
	auto_free char *out = str_printf("%s/out", w->dir.path),
		       *in = str_printf("%s/out/e", w->dir.path);

	make_dest(w);
	assert_int_equal(mkdir(out, 0755), 0);
	assert_int_equal(mkdir(in, 0755), 0);
	user_link(w, "d", "../out");
	world_get(w, &s);
	world_assert_says(w, "d: a symlink is in the way");
	/* One that comes later, above what is to be replaced and removed. */
	user_remove(w, "d");
	world_get(w, &s);
	world_receive(w, &t);
	auto_free char *d = world_path(w, "d"), *moved = world_path(w, "moved");
	assert_int_equal(rename(d, moved), 0);
	user_link(w, "d", "../out");
	world_finish(w);
	struct stat st;
	assert_int_equal(stat(out, &st), 0);
	assert_int_equal(st.st_nlink, 3);
	assert_int_equal(rmdir(in), 0);
	assert_int_equal(rmdir(out), 0); /* empty: nothing got there */
	world_assert_holds(w, "moved/b=two", "f/new=four");
}

/* -- what a name or a place does not allow -- */

static void
what_cannot_be_placed_is_named_and_the_rest_goes_on(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = first(w);
	auto_snap struct snap t = second(w);

	if (geteuid() != 0)
		skip();
	world_get(w, &s);
	/* As somebody who may not write into d. */
	auto_free char *d = world_path(w, "d");
	assert_int_equal(chown(w->dir.path, 65534, 65534), 0);
	auto_free char *cmd = str_printf("chown -R 65534:65534 '%s'", w->dir.path);
	assert_int_equal(system(cmd), 0);
	assert_int_equal(chown(d, 0, 0), 0);
	world_restart(w);
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		if (setgid(65534) != 0 || setuid(65534) != 0)
			_exit(99);
		if (world_plan(w, &t) != OK || world_bring(w) != OK || world_switch(w) != OK)
			_exit(1);
		_exit(strstr(w->notes, "d/b: cannot be made") != NULL &&
			      world_holds(w, "d/b", "two") && world_holds(w, "a", "ONE") &&
			      world_holds(w, "f/new", "four")
			  ? 0
			  : 2);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static bool
mount_tmpfs(const char *path, const char *options)
{
	return geteuid() == 0 && mount("tmpfs", path, "tmpfs", 0, options) == 0;
}

static void
a_mount_inside_the_destination_is_written_into(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = { 0 };
	auto_snap struct snap t = { 0 };

	make_dest(w);
	user_mkdir(w, "m");
	auto_free char *m = world_path(w, "m");
	if (!mount_tmpfs(m, "size=32m"))
		skip();
	snap_text(&s, "m/a", "one");
	snap_random(&s, "m/d/big", 1, 3 << 20, 3);
	snap_put(&s, "m/d/link->big", "m/l->a", "outside=x");
	snap_build(w, &s);
	world_get(w, &s);
	world_assert_is(w, &s, 0);
	assert_string_equal(w->notes, "");
	world_get(w, &s);
	assert_int_equal(w->fed, 0);
	assert_int_equal(w->sum.files_same, 5);
	t = snap_copy(&s);
	snap_text(&t, "m/a", "two");
	snap_remove(&t, "m/d/link");
	snap_link(&t, "m/l", "b");
	snap_build(w, &t);
	world_get(w, &t);
	world_assert_is(w, &t, 0);
	/* The trash is on the other side: what is in the way stays. */
	user_put(w, "m/a", "mine");
	w->overwrite = true;
	world_get(w, &s);
	world_assert_holds(w, "m/a=mine");
	world_assert_says(w, "m/a: cannot be made");
	assert_int_equal(umount(m), 0);
}

/* -- a disk too small -- */

static void
a_full_disk_is_told_before_and_waited_for_later(void **state)
{
	struct world *w = *state;
	auto_snap struct snap s = { 0 };
	auto_free uint8_t *fill = mem_alloc(30 << 20);

	make_dest(w);
	if (!mount_tmpfs(w->dest, "size=40m"))
		skip();
	snap_random(&s, "a", 1, 10 << 20, 0);
	snap_random(&s, "b", 2, 30 << 20, 0);
	snap_build(w, &s);
	check_err(world_plan(w, &s), ERR_NOSPACE, w->e);
	check_says(w->e.text, "needs 40.0 MiB and has 40.0 MiB");
	snap_remove(&s, "b");
	snap_random(&s, "b", 2, 5 << 20, 0);
	snap_text(&s, "small", "x");
	snap_build(w, &s);
	check_ok(world_plan(w, &s), w->e);
	w->feed_max = 4 << 20;
	assert_int_equal(world_bring(w), ERR_CANCELED);
	w->feed_max = UINT64_MAX;
	/* Somebody fills it. */
	memset(fill, 'x', 30 << 20);
	int fd = openat(AT_FDCWD, w->dest, O_TMPFILE | O_RDWR, 0600);
	for (ssize_t n = 1; n > 0;)
		n = write(fd, fill, 1 << 20);
	check_err(world_bring(w), ERR_NOSPACE, w->e);
	uint64_t fed = w->fed;
	check_err(world_bring(w), ERR_NOSPACE, w->e);
	/* Across a restart as well: what was begun is not refused. */
	world_restart(w);
	check_ok(world_plan(w, &s), w->e);
	check_err(world_bring(w), ERR_NOSPACE, w->e);
	w->fed = 0;
	close(fd);
	check_ok(world_bring(w), w->e);
	assert_true(fed > 0 && w->fed + fed <= (15 << 20) + (2 << 16) + 1);
	world_finish(w);
	world_assert_is(w, &s, 0);
	assert_int_equal(umount(w->dest), 0);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(what_is_in_the_way_stays_and_is_named),
		T(every_type_in_the_way_of_every_other_stays),
		T(what_is_as_wanted_already_is_adopted),
		T(other_files_of_the_user_are_left_alone),
		T(what_the_user_changed_stays),
		T(a_change_that_hides_is_found),
		T(a_touched_file_is_updated),
		T(what_the_user_removed_comes_back),
		T(overwrite_moves_to_the_trash),
		T(trash_is_kept_for_thirty_days),
		T(what_changes_while_we_receive_stays),
		T(what_appears_while_we_receive_stays),
		T(what_comes_in_the_last_moment_stays),
		T(directories_that_go_while_we_receive_are_made_again),
		T(nothing_is_set_on_what_the_user_changed),
		T(a_stage_that_is_removed_is_not_believed),
		T(a_symlink_is_never_followed),
		T(what_cannot_be_placed_is_named_and_the_rest_goes_on),
		T(a_mount_inside_the_destination_is_written_into),
		T(a_full_disk_is_told_before_and_waited_for_later),
	};
	return world_run(tests);
}
