#include "tests/check.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "platform/notify.h"

/* A service manager's socket at PATH; '@' in front: in the abstract namespace. */
static int
listen_at(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(at.sun_path, path, strlen(path));
	if (path[0] == '@')
		at.sun_path[0] = '\0';
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))),
	    0);
	return fd;
}

static void
check_told_at(const char *path)
{
	char text[100] = "";
	auto_fd int fd = listen_at(path);

	setenv("NOTIFY_SOCKET", path, 1);
	notify_state("READY=1");
	assert_int_equal(recv(fd, text, sizeof text, 0), 7);
	check_text(text, "READY=1");
}

static void
the_manager_is_told(void **state)
{
	struct check_dir d = check_dir_make();
	char path[100];

	(void)state;
	snprintf(path, sizeof path, "%s/notify", d.path);
	check_told_at(path);
	snprintf(path, sizeof path, "@%s", d.path);
	check_told_at(path);
	check_dir_remove(&d);
}

static void
nobody_listening_is_fine(void **state)
{
	char longer[300];

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	notify_state("READY=1");
	setenv("NOTIFY_SOCKET", "", 1);
	notify_state("READY=1");
	setenv("NOTIFY_SOCKET", "relative", 1);
	notify_state("READY=1");
	setenv("NOTIFY_SOCKET", "/none/at/all", 1);
	notify_state("READY=1");
	memset(longer, '/', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	setenv("NOTIFY_SOCKET", longer, 1);
	notify_state("READY=1");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_manager_is_told),
		cmocka_unit_test(nobody_listening_is_fine),
	};

	return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
