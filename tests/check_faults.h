/*
 * check_faults: a scenario run once for each fault point in it (platform/fault.h), with that call
 * failing.
 *
 * Each run is a process of its own.  It must end by itself, without a report of a sanitizer and
 * without an open descriptor more than before; an error is fine.  Afterwards the scenario must
 * succeed in what was left behind.
 */
#pragma once

#include "tests/check.h"

#include <dirent.h>
#include <sys/wait.h>

#include "platform/fault.h"

/* Does the work to be interrupted, in the directory DIR; there again after a failure. */
typedef enum err (*check_scenario)(int dir);

enum { CHECK_LEAK = 70, CHECK_ERROR = 20, CHECK_CRASH = 99, CHECK_PASSES = 8 };

static inline int
check_open_files(void)
{
	int n = 0;
	DIR *d = opendir("/proc/self/fd");

	if (d == NULL)
		return 0;
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

struct check_fault {
	const char *list, *place, *kind; /* as in platform/fault.h; NULL: not set */
	/* look for lost memory at the end: a quarter of a second */
	bool leaks;
};

static inline void
check_set(const char *name, const char *value)
{
	if (value != NULL)
		setenv(name, value, 1);
}

/* How a child with these settings ends: 0, CHECK_ERROR + code, CHECK_CRASH, or what must not be. */
static inline int
check_run(check_scenario scenario, int dir, const struct check_fault *f)
{
	int status = -1;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		check_set("WEFT_FAULT_LIST", f->list);
		check_set("WEFT_FAULT", f->place);
		check_set("WEFT_FAULT_KIND", f->kind);
		alarm(60);
		int before = check_open_files();
		enum err r = scenario(dir);
		if (check_open_files() != before)
			_exit(CHECK_LEAK);
		int end = r == OK ? 0 : CHECK_ERROR + (int)r;
		if (!f->leaks)
			_exit(end);
		exit(end); /* where the sanitizer looks for leaks */
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* One pass of a point with one kind of failure, and the recovery after it.  How the failing run
 * ended. */
static inline int
check_one_fault(check_scenario scenario, const char *place, const char *kind)
{
	struct check_dir d = check_dir_make_fast();
	const struct check_fault fault = {
		.place = place, .kind = kind, .leaks = strcmp(kind, "EIO") == 0
	};
	const struct check_fault none = { 0 };
	int end = check_run(scenario, d.fd, &fault);
	bool fine = end == 0 || (end > CHECK_ERROR && end < CHECK_ERROR + ERR_COUNT) ||
		    (end == CHECK_CRASH && strcmp(kind, "crash") == 0);

	if (!fine) {
		print_error("with %s at %s the scenario ended with %d\n", kind, place, end);
		_fail(__FILE__, __LINE__);
	}
	int again = check_run(scenario, d.fd, &none);
	if (again != 0) {
		print_error(
		    "after %s at %s the scenario no longer works: %d\n", kind, place, again);
		_fail(__FILE__, __LINE__);
	}
	check_dir_remove(&d);
	return end;
}

/* The first passes of a point; a crash tells whether there was such a pass at all. */
static inline void
check_point(check_scenario scenario, const char *place, bool in_parts)
{
	char pass[300];

	for (int n = 1; n <= CHECK_PASSES; n++) {
		snprintf(pass, sizeof pass, "%s:%d", place, n);
		if (check_one_fault(scenario, pass, "crash") != CHECK_CRASH)
			return;
		check_one_fault(scenario, pass, "EIO");
		check_one_fault(scenario, pass, "ENOSPC");
		if (in_parts)
			check_one_fault(scenario, pass, "short");
	}
}

/* Every point below FOLDER ("src/platform/") that the scenario passes; AT_LEAST guards against
 * passing none.  To be the first test: no point has been passed in this process yet.  Without fault
 * points the scenario has to succeed, and the rest is skipped. */
static inline void
check_each_fault(check_scenario scenario, const char *folder, int at_least)
{
#ifndef WEFT_FAULTS
	struct check_dir once = check_dir_make();
	assert_int_equal(scenario(once.fd), OK);
	check_dir_remove(&once);
	print_message("skipped: built without fault points (-Dfaults=true)\n");
	skip();
#endif
	/* read as a whole: a stream shared with children is moved by their exit */
	static char text[65536];
	char list[100], *rest = text, *line;
	int points = 0;
	struct check_dir d = check_dir_make_fast();
	struct check_dir lists = check_dir_make_fast();
	const struct check_fault listing = { .list = list };

	snprintf(list, sizeof list, "%s/list", lists.path);
	assert_int_equal(check_run(scenario, d.fd, &listing), 0);
	int fd = open(list, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof text - 1);
	assert_in_range(n, 1, sizeof text - 2);
	(void)close(fd);
	check_dir_remove(&d);
	check_dir_remove(&lists);
	while ((line = strsep(&rest, "\n")) != NULL) {
		const char *place = strsep(&line, " "), *what = line;
		if (strncmp(place, folder, strlen(folder)) != 0)
			continue;
		points++;
		check_point(
		    scenario, place, strcmp(what, "read") == 0 || strcmp(what, "write") == 0);
	}
	assert_in_range(points, at_least, 100000);
}
