#include "tests/check.h"

#include <sys/wait.h>

#include "platform/fault.h"

#ifdef WEFT_FAULTS

/* What the points of one process answer: each run is a process, as the plan is read once. */
static enum err
pass_points(const char *file, int *first, int *second, int *later)
{
	int status = -1, ends[2];
	int answers[3];

	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		if (file != NULL)
			setenv("WEFT_FAULT_LIST", file, 1);
		/* Two points on lines of their own, the first passed twice. */
		for (int i = 0; i < 2; i++) {
			int answer = fault_hit("src/x.c:10", "first");
			answers[i == 0 ? 0 : 2] = answer;
		}
		answers[1] = fault_hit("src/x.c:20", "second");
		_exit(write(ends[1], answers, sizeof answers) == sizeof answers ? 0 : 1);
	}
	(void)close(ends[1]);
	ssize_t n = read(ends[0], answers, sizeof answers);
	(void)close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (n != sizeof answers)
		return WIFEXITED(status) && WEXITSTATUS(status) == 99 ? ERR_CANCELED : ERR_BUG;
	*first = answers[0];
	*second = answers[1];
	*later = answers[2];
	return OK;
}

static void
check_plan(const char *fault, const char *kind, int first, int second, int later)
{
	int a = 0, b = 0, c = 0;

	if (fault != NULL)
		setenv("WEFT_FAULT", fault, 1);
	if (kind != NULL)
		setenv("WEFT_FAULT_KIND", kind, 1);
	assert_int_equal(pass_points(NULL, &a, &b, &c), OK);
	unsetenv("WEFT_FAULT");
	unsetenv("WEFT_FAULT_KIND");
	assert_int_equal(a, first);
	assert_int_equal(b, second);
	assert_int_equal(c, later);
}

static void
the_named_pass_of_the_named_point_fails(void **state)
{
	(void)state;
	check_plan(NULL, NULL, 0, 0, 0);
	check_plan("src/x.c:10", NULL, EIO, 0, 0);
	check_plan("src/x.c:20", "ENOSPC", 0, ENOSPC, 0);
	check_plan("src/x.c:10:2", "short", 0, 0, -1);
	check_plan("src/x.c:10:3", NULL, 0, 0, 0);
	check_plan("src/x.c:1", NULL, 0, 0, 0);
	check_plan("src/x.c:100", NULL, 0, 0, 0);
}

static void
a_crash_is_the_end_of_the_process(void **state)
{
	int a, b, c;

	(void)state;
	setenv("WEFT_FAULT", "src/x.c:20", 1);
	setenv("WEFT_FAULT_KIND", "crash", 1);
	assert_int_equal(pass_points(NULL, &a, &b, &c), ERR_CANCELED);
	unsetenv("WEFT_FAULT");
	unsetenv("WEFT_FAULT_KIND");
}

static void
a_plan_that_means_nothing_is_refused(void **state)
{
	static const char *const bad[][2] = { { "src/x.c", "EIO" }, { "src/x.c:1:x", "EIO" },
		{ "src/x.c:1", "EPERM" } };
	int a, b, c;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		setenv("WEFT_FAULT", bad[i][0], 1);
		setenv("WEFT_FAULT_KIND", bad[i][1], 1);
		assert_int_equal(pass_points(NULL, &a, &b, &c), ERR_BUG);
	}
	unsetenv("WEFT_FAULT");
	unsetenv("WEFT_FAULT_KIND");
}

static void
each_point_is_listed_once_a_process(void **state)
{
	struct check_dir d = check_dir_make();
	char path[100], text[200] = "";
	int a, b, c;

	(void)state;
	snprintf(path, sizeof path, "%s/list", d.path);
	assert_int_equal(pass_points(path, &a, &b, &c), OK);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(read(fd, text, sizeof text - 1) > 0);
	check_text(text, "src/x.c:10 first\nsrc/x.c:20 second\n");
	(void)close(fd);
	check_dir_remove(&d);
}

static void
a_point_names_its_own_line(void **state)
{
	struct check_dir d = check_dir_make();
	char path[100], text[200] = "";

	(void)state;
	snprintf(path, sizeof path, "%s/list", d.path);
	pid_t child = fork();
	if (child == 0) {
		setenv("WEFT_FAULT_LIST", path, 1);
		_exit(fault_point("here"));
	}
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(read(fd, text, sizeof text - 1) > 0);
	(void)close(fd);
	assert_int_equal(strncmp(text, "src/platform/test_fault.c:", 26), 0);
	check_says(text, " here\n");
	check_dir_remove(&d);
}

/* -- boards -- */

static __attribute__((noinline)) int
ask(void)
{
	return fault_hit("src/x.c:10", "ask");
}

/* The two differ, or the compiler would make them one. */
static __attribute__((noinline)) int
one_caller(int *calls)
{
	*calls += 1;
	return ask() + 0;
}

static __attribute__((noinline)) int
another_caller(int *calls)
{
	*calls += 2;
	return ask() + 0;
}

/* What a process with this board is answered: by one caller, by another, and by that one again. */
static void
ask_with_board(const char *path, int answers[static 3])
{
	int status = -1, ends[2], calls = 0;

	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		setenv("WEFT_FAULT_BOARD", path, 1);
		answers[0] = one_caller(&calls);
		for (volatile int i = 1; i < 3; i++) /* not unrolled: one place, twice */
			answers[i] = another_caller(&calls);
		_exit(write(ends[1], answers, 3 * sizeof *answers) > 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(read(ends[0], answers, 3 * sizeof *answers), 3 * sizeof *answers);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void
write_board(const char *path, const struct fault_board *b)
{
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, b, sizeof *b), sizeof *b);
}

/* The sites of the two callers, as the list has them. */
static void
read_sites(const char *path, unsigned long long *first, unsigned long long *second)
{
	char text[4096] = "";
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(read(fd, text, sizeof text - 1) > 0);
	char *line = strchr(text, '\n');
	assert_non_null(line);
	assert_int_equal(sscanf(text, "7 %llx src/x.c:10 ", first), 1);
	assert_int_equal(sscanf(line + 1, "7 %llx src/x.c:10 ", second), 1);
	assert_true(*first != *second);
	assert_null(strchr(strchr(line + 1, '\n') + 1, '\n'));
}

static void
a_board_tells_who_asked_and_lets_that_one_fail_once(void **state)
{
	struct check_dir d = check_dir_make();
	struct fault_board b = { .round = 7 };
	char path[100], sites[120];
	unsigned long long first = 0, second = 0;
	int answers[3] = { 0 };

	(void)state;
	snprintf(path, sizeof path, "%s/board", d.path);
	snprintf(sites, sizeof sites, "%s.sites", path);
	for (volatile int run = 0; run < 2; run++) { /* from the same place, too */
		write_board(path, &b);
		ask_with_board(path, answers);
		if (run == 0)
			read_sites(sites, &first, &second);
		b = (struct fault_board){ .sites = { 1, second }, .kind = ENOSPC };
	}
	assert_int_equal(answers[0], 0);
	assert_int_equal(answers[1], ENOSPC);
	assert_int_equal(answers[2], 0);
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, &b, sizeof b), sizeof b);
	assert_int_equal(b.fired, 1);
	check_dir_remove(&d);
}

#endif

static void
without_a_plan_the_call_is_made(void **state)
{
	(void)state;
	assert_int_equal(fault_call("getpid", getpid()), getpid());
	assert_int_equal(fault_part(0, 10), 10);
	assert_int_equal(fault_part(-1, 10), 5);
	/* never nothing, which would be the end of the file */
	assert_int_equal(fault_part(-1, 1), 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef WEFT_FAULTS
		cmocka_unit_test(the_named_pass_of_the_named_point_fails),
		cmocka_unit_test(a_crash_is_the_end_of_the_process),
		cmocka_unit_test(a_plan_that_means_nothing_is_refused),
		cmocka_unit_test(each_point_is_listed_once_a_process),
		cmocka_unit_test(a_point_names_its_own_line),
		cmocka_unit_test(a_board_tells_who_asked_and_lets_that_one_fail_once),
#endif
		cmocka_unit_test(without_a_plan_the_call_is_made),
	};

	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
