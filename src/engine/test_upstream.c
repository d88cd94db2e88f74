#include "tests/check.h"

#include "engine/upstream.h"

struct fixture {
	struct check_dir dir;
	struct state *state;
};

static void
begin(struct fixture *f)
{
	struct error e = { 0 };
	char path[128];

	f->dir = check_dir_make();
	snprintf(path, sizeof path, "%s/state.db", f->dir.path);
	check_ok(state_open(path, &f->state, &e), e);
}

static void
end(struct fixture *f)
{
	state_close(f->state);
	check_dir_remove(&f->dir);
}

static void
a_node_that_joined_nowhere_has_none(void **unused)
{
	struct fixture f;
	struct upstream u;
	struct error e = { 0 };

	(void)unused;
	begin(&f);
	check_err(upstream_load(f.state, &u, &e), ERR_NOTFOUND, e);
	end(&f);
}

static void
set(struct fixture *f, const char *key, struct bytes value)
{
	struct error e = { 0 };

	check_ok(state_set(f->state, key, value, &e), e);
}

static void
what_joining_kept_comes_back(void **unused)
{
	struct upstream u = { .n = 0 };
	struct fixture f;
	struct error e = { 0 };

	(void)unused;
	begin(&f);
	set(&f, "server.id", BYTES_LIT("01234567890123456789012345678901"));
	check_ok(upstream_load(f.state, &u, &e), e);
	assert_int_equal(u.n, 0);
	set(&f, "server.name", BYTES_LIT("spine"));
	set(&f, "server.addresses", BYTES_LIT("host:7470\n\n[::1]:1\nhost:7470\n"));
	check_ok(upstream_load(f.state, &u, &e), e);
	assert_memory_equal(u.server.bytes, "01234567890123456789012345678901", DEVICE_ID_BYTES);
	assert_string_equal(u.name, "spine");
	assert_int_equal(u.n, 2);
	assert_string_equal(u.addresses[0], "host:7470");
	assert_string_equal(u.addresses[1], "[::1]:1");
	end(&f);
}

static void
damaged_settings_do_no_harm(void **unused)
{
	auto_buf struct buf many = BUF(8192);
	struct upstream u = { .n = 0 };
	struct fixture f;
	struct error e = { 0 };

	(void)unused;
	begin(&f);
	set(&f, "server.id", BYTES_LIT("short"));
	check_err(upstream_load(f.state, &u, &e), ERR_CORRUPT, e);
	set(&f, "server.id", BYTES_LIT("01234567890123456789012345678901"));
	buf_addf(&many, "%0*d\n", LIMIT_ADDRESS_TEXT + 1, 0); /* too long */
	for (int i = 0; i < 2 * UPSTREAM_ADDRESSES; i++)
		buf_addf(&many, "h:%d\n", i);
	set(&f, "server.addresses", buf_bytes(&many));
	check_ok(upstream_load(f.state, &u, &e), e);
	assert_int_equal(u.n, UPSTREAM_ADDRESSES);
	assert_string_equal(u.addresses[0], "h:0");
	end(&f);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_that_joined_nowhere_has_none),
		cmocka_unit_test(what_joining_kept_comes_back),
		cmocka_unit_test(damaged_settings_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
