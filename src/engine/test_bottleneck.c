#include "tests/unit.h"

#include "base/mem.h"
#include "engine/bottleneck.h"

/* One who takes from four, one of whom has everything, with nothing of its own in the way. */
static const struct bottleneck_facts taking = { .takes = true,
	.missing = 10,
	.awaited = 3,
	.peers = 4,
	.seeds = 1,
	.ahead = 3,
	.lacking = 3,
	.rate_in = 1000 };
/* One who has everything and gives to two. */
static const struct bottleneck_facts giving = {
	.peers = 2, .lacking = 2, .rate_out = 1000, .out = 1, .slots = 4
};

static void
check(struct bottleneck_facts f, const char *cause, const char *text, const char *advice)
{
	struct bottleneck b;

	bottleneck_judge(&f, &b);
	assert_string_equal(b.cause, cause);
	check_says(b.text, text);
	check_says(b.advice, advice);
	assert_true(strlen(b.text) < 80 && strlen(b.advice) < 90);
}

#define TAKING(...)                                                                                \
	({                                                                                         \
		struct bottleneck_facts f = taking;                                                \
		__VA_ARGS__;                                                                       \
		f;                                                                                 \
	})
#define GIVING(...)                                                                                \
	({                                                                                         \
		struct bottleneck_facts f = giving;                                                \
		__VA_ARGS__;                                                                       \
		f;                                                                                 \
	})

static void
each_thing_in_the_way_is_named_with_what_would_change_it(void **state)
{
	(void)state;
	const struct {
		struct bottleneck_facts f;
		const char *cause, *text, *advice;
	} cases[] = {
		{ TAKING(f.paused = true), "paused", "it is paused", "weft resume" },
		{ TAKING(f.waits = true; f.waiting = "no room"), "waits", "no room", "" },
		{ TAKING(f.is_behind = true), "disk", "the disk", "faster disk" },
		{ TAKING(f.is_busy = true), "cpu", "the processor", "fewer transfers" },
		{ TAKING(f.down.rate = 1100), "limit", "down-limit", "higher down-limit" },
		{ TAKING(f.down.rate = 2000), "sources", "the sources' uplinks", "more machines" },
		{ TAKING(f.down.rate = 900; f.down.by = BOTTLENECK_BY_SETTING), "limit",
		    "for receiving (weft limit)", "weft limit --down" },
		{ TAKING(f.down.rate = 1000; f.down.by = BOTTLENECK_BY_SCHEDULE), "limit",
		    "schedule for receiving at this hour", "--schedule" },
		{ TAKING(f.down.rate = 1000; f.down.by = BOTTLENECK_BY_LINE), "limit",
		    "share of its site's line, receiving", "--site SITE --down" },
		{ TAKING(f.up.rate = 1), "sources", "the sources' uplinks", "" },
		{ TAKING(f.central = true), "central", "the share is central", "weft policy" },
		{ TAKING(f.peers = f.ahead = 0), "unreachable", "can be reached", "weft peers" },
		{ TAKING(f.awaited = 0; f.nowhere = 7), "nowhere", "no one here has 7",
		    "publisher" },
		/* What nobody has does not matter while other units come. */
		{ TAKING(f.nowhere = 7), "sources", "the sources' uplinks", "" },
		{ TAKING(f.peers = f.ahead = 1; f.has_server = true), "server",
		    "only the server is left", "more machines" },
		{ TAKING(f.starving = true), "starving", "they offer nothing", "weft why" },
		{ TAKING(f.near = 2), "line", "the line into this site", "faster line" },
		{ TAKING(f.near = 2; f.near_ahead = 1), "sources", "the sources' uplinks", "" },
		/* Nobody at all is ahead: the line has nothing to bring. */
		{ TAKING(f.near = 2; f.ahead = 0), "sources", "the sources' uplinks", "" },
		{ TAKING(f.ahead = 1), "origin", "the only machine that has more", "uplink there" },
		{ GIVING(), "receivers", "they take it as they can", "" },
		{ GIVING(f.lacking = 0), "nothing", "nobody else lacks any", "" },
		{ GIVING(f.out = 4), "uplink", "this machine's uplink", "a faster line" },
		{ GIVING(f.out = 4; f.is_busy = true), "cpu", "the processor", "" },
		{ GIVING(f.up.rate = 1100), "limit", "up-limit", "higher up-limit" },
		{ GIVING(f.up.rate = 1000; f.up.by = BOTTLENECK_BY_SETTING), "limit",
		    "for sending (weft limit)", "weft limit --up" },
		{ GIVING(f.up.rate = 1000; f.up.by = BOTTLENECK_BY_SCHEDULE), "limit",
		    "schedule for sending at this hour", "--schedule" },
		{ GIVING(f.up.rate = 1000; f.up.by = BOTTLENECK_BY_LINE), "limit",
		    "share of its site's line, sending", "--site SITE --up" },
		{ GIVING(f.down.rate = 1000), "receivers", "they take it", "" },
		{ GIVING(f.central = true), "central", "the share is central", "hybrid" },
		/* Of what nobody here wants nothing is missing. */
		{ GIVING(f.missing = 5; f.lacking = 0), "nothing", "nobody else lacks any", "" },
	};

	for (size_t i = 0; i < lengthof(cases); i++)
		check(cases[i].f, cases[i].cause, cases[i].text, cases[i].advice);
}

static void
what_is_nearest_is_said_first(void **state)
{
	struct bottleneck_facts f = taking;

	(void)state;
	f.starving = true;
	check(f, "starving", "", "");
	f.peers = 1;
	f.has_server = true;
	check(f, "server", "", "");
	f.awaited = 0;
	f.nowhere = 7;
	check(f, "nowhere", "", "");
	f.peers = 0;
	check(f, "unreachable", "", "");
	f.central = true;
	check(f, "central", "", "");
	f.is_busy = true;
	check(f, "cpu", "", "");
	f.down.rate = 1100;
	check(f, "limit", "", "");
	f.is_behind = true;
	check(f, "disk", "", "");
	f.waits = true;
	f.waiting = "for the server";
	check(f, "waits", "", "");
	f.paused = true;
	check(f, "paused", "", "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_thing_in_the_way_is_named_with_what_would_change_it),
		cmocka_unit_test(what_is_nearest_is_said_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
