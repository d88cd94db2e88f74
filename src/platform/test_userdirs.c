#include "tests/check.h"

#include <sys/wait.h>

#include "platform/userdirs.h"

static void
check_home(const char *flag, const char *want)
{
	auto_free char *home = NULL;
	struct error e;

	check_ok(userdirs_home(flag, &home, &e), e);
	check_text(home, want);
}

static int
forget(void **state)
{
	(void)state;
	unsetenv("WEFT_HOME");
	unsetenv("XDG_STATE_HOME");
	setenv("HOME", "/home/u", 1);
	return 0;
}

static void
the_flag_is_stronger_than_the_environment(void **state)
{
	char want[5000], here[4096];

	(void)state;
	setenv("WEFT_HOME", "/env", 1);
	check_home(NULL, "/env");
	check_home("/flag", "/flag");
	assert_non_null(getcwd(here, sizeof here));
	snprintf(want, sizeof want, "%s/some/where", here);
	check_home("some/where", want);
	setenv("WEFT_HOME", "", 1); /* says nothing */
	char *home = NULL;
	struct error e;
	check_err(userdirs_home("", &home, &e), ERR_USAGE, e);
	assert_null(home);
}

static void
root_has_a_place_of_its_own(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: not root\n");
		skip();
	}
	setenv("XDG_STATE_HOME", "/state", 1);
	check_home(NULL, "/var/lib/weft");
}

/* F as somebody who is not root, in a process of its own. */
static void
as_a_user(void (*f)(void))
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		if (geteuid() == 0 && setuid(65534) != 0)
			_exit(2);
		f();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void
expect_home(const char *want)
{
	char *home = NULL;

	if (userdirs_home(NULL, &home, NULL) != OK || strcmp(home, want) != 0) {
		print_error("home is %s, not %s\n", home, want);
		_exit(1);
	}
	free(home);
}

static void
ask_as_user(void)
{
	expect_home("/home/u/.local/state/weft");
	setenv("XDG_STATE_HOME", "relative", 1); /* to be ignored */
	expect_home("/home/u/.local/state/weft");
	setenv("XDG_STATE_HOME", "/state", 1);
	expect_home("/state/weft");
	unsetenv("XDG_STATE_HOME");
	unsetenv("HOME"); /* then the password file knows */
	char *home = NULL;
	enum err r = userdirs_home(NULL, &home, NULL);
	if (r == OK ? home[0] != '/' : r != ERR_NOTFOUND)
		_exit(1);
	free(home);
}

static void
a_user_has_the_xdg_state_directory(void **state)
{
	(void)state;
	as_a_user(ask_as_user);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_flag_is_stronger_than_the_environment, forget),
		cmocka_unit_test_setup(root_has_a_place_of_its_own, forget),
		cmocka_unit_test_setup(a_user_has_the_xdg_state_directory, forget),
	};

	return cmocka_run_group_tests_name("userdirs", tests, NULL, NULL);
}
