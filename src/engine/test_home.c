#include "tests/check.h"

#include "base/mem.h"
#include "engine/home.h"

static struct error e;

static struct home *
open_ok(const char *path)
{
	struct home *h = NULL;

	e = (struct error){ 0 };
	check_ok(home_open(path, &h, &e), e);
	assert_int_equal(e.code, OK);
	return h;
}

static void
a_new_home_has_all_that_a_node_needs(void **state)
{
	const struct check_dir *d = *state;
	auto_free char *path = str_printf("%s/a//b/home/", d->path);
	struct stat st;
	struct home *h = open_ok(path);
	static const struct {
		const char *name;
		mode_t mode;
	} made[] = { { "a/b/home", 0700 }, { "a/b/home/device.key", 0600 },
		{ "a/b/home/format", 0600 }, { "a/b/home/lock", 0600 }, { "a/b/home/maps", 0700 },
		{ "a/b/home/jobs", 0700 }, { "a/b/home/nodes", 0700 } };

	for (size_t i = 0; i < lengthof(made); i++) {
		assert_int_equal(fstatat(d->fd, made[i].name, &st, 0), 0);
		assert_int_equal(st.st_mode & 0777, made[i].mode);
	}
	auto_free char *file = home_path(h, "state.db");
	check_says(file, "/a//b/home/");
	check_says(file, "/state.db");
	home_close(h);
}

static void
the_key_stays_the_same(void **state)
{
	const struct check_dir *d = *state;
	auto_free char *path = str_printf("%s/home", d->path);
	struct home *h = open_ok(path);
	struct device_id id = *device_key_id(h->key);

	home_close(h);
	h = open_ok(path);
	assert_true(device_id_equal(device_key_id(h->key), &id));
	home_close(h);
}

static void
two_at_once_are_refused_by_name(void **state)
{
	const struct check_dir *d = *state;
	auto_free char *path = str_printf("%s/home", d->path),
		       *pid = str_printf("%d", (int)getpid());
	struct home *h = open_ok(path), *second = NULL;

	check_err(home_open(path, &second, &e), ERR_AGAIN, e);
	check_says(e.text, pid);
	assert_null(second);
	home_close(h);
	home_close(open_ok(path));
}

static void
a_home_that_others_may_read_is_refused_with_the_remedy(void **state)
{
	const struct check_dir *d = *state;
	auto_free char *path = str_printf("%s/home", d->path);
	struct home *h = NULL;

	assert_int_equal(mkdirat(d->fd, "home", 0755), 0);
	assert_int_equal(fchmodat(d->fd, "home", 0750, 0), 0);
	check_err(home_open(path, &h, &e), ERR_DENIED, e);
	check_says(e.text, "chmod 700");
	assert_int_equal(fchmodat(d->fd, "home", 0700, 0), 0);
	home_close(open_ok(path));
}

static void
formats_that_are_not_ours_are_refused(void **state)
{
	const struct check_dir *d = *state;
	auto_free char *path = str_printf("%s/home", d->path);
	struct home *h = open_ok(path);
	static const struct {
		const char *text;
		enum err want;
		const char *says;
	} cases[] = {
		{ "weft home 2\n", ERR_LIMIT, "newer" },
		{ "weft home 0\n", ERR_CORRUPT, "format" },
		{ "weft home \n", ERR_CORRUPT, "format" },
		{ "weft home 1", ERR_CORRUPT, "format" },
		{ "", ERR_CORRUPT, "format" },
		{ "weft store 1\n", ERR_CORRUPT, "format" },
		{ "weft home 99999999999999999999999999\n", ERR_CORRUPT, "format" },
		{ "weft home 1 and much more than anybody should have written into such a file\n",
		    ERR_LIMIT, "format" },
	};

	home_close(h);
	for (size_t i = 0; i < lengthof(cases); i++) {
		check_put(d, "home/format", cases[i].text, strlen(cases[i].text));
		check_err(home_open(path, &h, &e), cases[i].want, e);
		check_says(e.text, cases[i].says);
	}
	check_put(d, "home/format", "weft home 1\n", 12);
	home_close(open_ok(path));
}

static void
a_lost_or_damaged_key_is_not_replaced(void **state)
{
	const struct check_dir *d = *state;
	auto_free char *path = str_printf("%s/home", d->path);
	struct home *h = open_ok(path);

	home_close(h);
	check_put(d, "home/device.key", "nothing", 7);
	assert_int_not_equal(home_open(path, &h, &e), OK);
	assert_int_equal(unlinkat(d->fd, "home/device.key", 0), 0);
	check_err(home_open(path, &h, &e), ERR_CORRUPT, e);
	check_says(e.text, "backup");
	assert_int_not_equal(faccessat(d->fd, "home/device.key", F_OK, 0), 0);
}

static void
a_start_that_broke_off_goes_on(void **state)
{
	const struct check_dir *d = *state;
	auto_free char *path = str_printf("%s/home", d->path);
	struct home *h = open_ok(path);
	struct device_id id = *device_key_id(h->key);

	home_close(h);
	assert_int_equal(unlinkat(d->fd, "home/format", 0), 0);
	assert_int_equal(unlinkat(d->fd, "home/jobs", AT_REMOVEDIR), 0);
	h = open_ok(path);
	assert_true(device_id_equal(device_key_id(h->key), &id));
	assert_int_equal(faccessat(d->fd, "home/jobs", F_OK, 0), 0);
	home_close(h);
}

static void
a_place_that_cannot_be_a_home_is_named(void **state)
{
	const struct check_dir *d = *state;
	auto_free char *path = str_printf("%s/file", d->path),
		       *beneath = str_printf("%s/file/home", d->path);
	struct home *h = NULL;

	check_put(d, "file", "x", 1);
	assert_int_not_equal(home_open(path, &h, &e), OK);
	check_says(e.text, path);
	assert_int_not_equal(home_open(beneath, &h, &e), OK);
	check_err(home_open("relative", &h, &e), ERR_USAGE, e);
	assert_null(h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		check_dir_test(a_new_home_has_all_that_a_node_needs),
		check_dir_test(the_key_stays_the_same),
		check_dir_test(two_at_once_are_refused_by_name),
		check_dir_test(a_home_that_others_may_read_is_refused_with_the_remedy),
		check_dir_test(formats_that_are_not_ours_are_refused),
		check_dir_test(a_lost_or_damaged_key_is_not_replaced),
		check_dir_test(a_start_that_broke_off_goes_on),
		check_dir_test(a_place_that_cannot_be_a_home_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
