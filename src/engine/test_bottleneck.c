#include "tests/unit.h"

#include "engine/bottleneck.h"

static const struct bottleneck_facts taking = {
	.takes = true, .missing = 10, .awaited = 3, .peers = 4, .seeds = 1, .rate_in = 1000
};

static void
check(struct bottleneck_facts f, const char *want)
{
	char text[BOTTLENECK_TEXT];

	check_says(bottleneck_say(&f, text), want);
	assert_true(strlen(text) < 80);
}

static void
what_is_nearest_is_said_first(void **state)
{
	struct bottleneck_facts f = taking;

	(void)state;
	check(f, "the sources' uplinks");
	f.starving = true;
	check(f, "they offer nothing");
	f.peers = 1;
	f.has_server = true;
	check(f, "only the server is left");
	f.awaited = 0;
	f.nowhere = 7;
	check(f, "no one here has 7 of its units");
	f.peers = 0;
	check(f, "nobody who has it can be reached");
	f.down_limit = 1100;
	check(f, "down-limit");
	f.is_behind = true;
	check(f, "the disk");
	f.waits = true;
	f.waiting = "paused";
	check(f, "paused");
}

static void
units_that_are_nowhere_do_not_matter_while_others_come(void **state)
{
	struct bottleneck_facts f = taking;

	(void)state;
	f.nowhere = 1;
	check(f, "the sources' uplinks");
}

static void
who_has_everything_is_limited_by_what_it_sends(void **state)
{
	struct bottleneck_facts f = { .peers = 2, .rate_out = 99, .slots = 4, .out = 1 };

	(void)state;
	check(f, "nobody else lacks any");
	f.lacking = 1;
	check(f, "the receivers");
	f.out = 4;
	check(f, "this machine's uplink");
	f.up_limit = 100;
	check(f, "up-limit");
	f.up_limit = 1000;
	check(f, "this machine's uplink");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_nearest_is_said_first),
		cmocka_unit_test(units_that_are_nowhere_do_not_matter_while_others_come),
		cmocka_unit_test(who_has_everything_is_limited_by_what_it_sends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
