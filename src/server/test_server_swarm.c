#include "server/test_server_world.h"

struct fixture {
	struct world w;
	struct check_dir dir;
};

static int
set_up(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	world_make(&f->w, &f->dir);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	world_remove(&f->w, &f->dir);
	free(f);
	return 0;
}

/* A policy or a grant may be on its way to the disk when the end begins. */
static void
a_change_that_comes_while_the_server_closes_tells_nobody(void **state)
{
	struct fixture *f = *state;
	struct server *s = &f->w.server;
	const struct hash_id id = { .alg = HASH_SHA256, .bytes = { 1 } }, other = { .alg = 2 };
	const struct msg_enter m = { .job = 1, .share = id, .snapshot = id, .units = 1 };

	server_swarm_open(s);
	const struct tracker_who anna = { .device = *device_key_id(f->w.anna) };
	assert_ok(tracker_enter(s->tracker, 1, &anna, &m, loop_now_ms(s->loop), &unit_error));
	s->closing = true;
	server_swarm_close(s);
	server_swarm_judge(s, &other);
	world_run(&f->w);
	tracker_free(s->tracker);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(a_change_that_comes_while_the_server_closes_tells_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
