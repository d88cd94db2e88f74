#include "tests/unit.h"

#include "base/mem.h"
#include "net/schedule.h"

#define MBIT UINT64_C(125000)
static const struct schedule_rates usual = { .up = 7 * MBIT, .down = 9 * MBIT };

static struct schedule
read_it(const char *text)
{
	struct schedule s;

	assert_ok(schedule_parse(text, &s, &unit_error));
	return s;
}

static void
expect_rates(const char *text, unsigned day, unsigned hour, uint64_t up, uint64_t down)
{
	struct schedule s = read_it(text);
	struct schedule_rates r = schedule_at(&s, day, hour, &usual);

	if (r.up != up * MBIT || r.down != down * MBIT)
		unit_fail("\"%s\" on day %u at %u: up %llu, down %llu", text, day, hour,
		    (unsigned long long)r.up, (unsigned long long)r.down);
}

enum { MON, TUE, WED, THU, FRI, SAT, SUN };

static void
a_rule_holds_on_its_days_in_its_hours(void **state)
{
	static const char text[] = "mon-fri 08-18 20Mbit; sat-sun off";

	(void)state;
	expect_rates(text, MON, 7, 7, 9);
	expect_rates(text, MON, 8, 20, 20);
	expect_rates(text, FRI, 17, 20, 20);
	expect_rates(text, FRI, 18, 7, 9);
	expect_rates(text, SAT, 12, 0, 0);
	expect_rates("", SAT, 12, 7, 9);
	expect_rates("20Mbit", SUN, 23, 20, 20);
	expect_rates("sat,mon-tue 20Mbit;", TUE, 0, 20, 20);
	expect_rates("sat,mon-tue 20Mbit;", WED, 0, 7, 9);
	expect_rates("fri-mon 20Mbit", MON, 0, 20, 20);
	expect_rates("fri-mon 20Mbit", TUE, 0, 7, 9);
	expect_rates("8:00-9 20Mbit", WED, 8, 20, 20);
	expect_rates("8:00-9 20Mbit", WED, 9, 7, 9);
	expect_rates(" 00-24\t20Mbit ", WED, 23, 20, 20);
}

static void
a_night_goes_on_into_the_next_day(void **state)
{
	static const char text[] = "fri,sun 22-06 50Mbit";

	(void)state;
	expect_rates(text, FRI, 21, 7, 9);
	expect_rates(text, FRI, 22, 50, 50);
	expect_rates(text, SAT, 5, 50, 50);
	expect_rates(text, SAT, 6, 7, 9);
	expect_rates(text, SAT, 22, 7, 9);
	expect_rates(text, MON, 3, 50, 50);
	expect_rates("sat 22-24 50Mbit", SUN, 0, 7, 9);
}

static void
a_later_rule_overrules_and_a_way_that_it_leaves_out_stays(void **state)
{
	static const char text[] = "08-18 20Mbit; wed up 50Mbit; thu 10-12 down off; fri up 1Mbit "
				   "down 2Mbit";

	(void)state;
	expect_rates(text, TUE, 9, 20, 20);
	expect_rates(text, WED, 9, 50, 20);
	expect_rates(text, WED, 20, 50, 9);
	expect_rates(text, THU, 10, 20, 0);
	expect_rates(text, FRI, 9, 1, 2);
}

static void
what_is_none_is_refused_by_the_word_that_is_wrong(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "mon-fri 08-18", "without a rate" },
		{ ";", "without a rate" },
		{ "mon-fri 08-18 20", "'20' is not" },
		{ "mon-fri 08-18 20M", "'20M' is not" },
		{ "moon 20Mbit", "'moon' is not" },
		{ "mon- 20Mbit", "'mon-' is not" },
		{ "mon, 20Mbit", "'mon,' is not" },
		{ "mon 8 20Mbit", "'8' is not" },
		{ "mon 8-25 20Mbit", "'8-25' is not" },
		{ "mon 24-3 20Mbit", "'24-3' is not" },
		{ "mon 8-8 20Mbit", "'8-8' is not" },
		{ "mon 8:30-9 20Mbit", "'8:30-9' is not" },
		{ "mon tue 20Mbit", "'tue' is not" },
		{ "08-18 mon 20Mbit", "'mon' is not" },
		{ "20Mbit mon", "'mon' is not" },
		{ "mon up", "'up' lacks its rate" },
		{ "mon up fast", "'fast' is not" },
		{ "mon 20Mbit up 5Mbit", "one rate too many" },
		{ "mon up 5Mbit up 6Mbit", "one rate too many" },
		{ "mon 100kbit", "'100kbit' is not" },
		{ "mon \033[2J 5Mbit", "'\\x1b[2J' is not" },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(bad); i++) {
		struct schedule s = { .n_kinds = 99 };
		struct error e = { 0 };
		assert_int_equal(schedule_parse(bad[i].text, &s, &e), ERR_USAGE);
		if (strstr(e.text, bad[i].says) == NULL || strchr(e.text, '\n') != NULL)
			unit_fail("\"%s\": %s", bad[i].text, e.text);
		assert_int_equal(s.n_kinds, 99);
	}
}

static void
there_is_a_bound_of_rates_and_of_length(void **state)
{
	char text[SCHEDULE_TEXT_MAX + 2] = "";
	struct schedule s;
	size_t n = 0;

	(void)state;
	for (int i = 1; i < SCHEDULE_KINDS_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "%d-%d %dMbit;", i, i + 1, i);
	assert_ok(schedule_parse(text, &s, &unit_error));
	assert_int_equal(s.n_kinds, SCHEDULE_KINDS_MAX);
	snprintf(text + n, sizeof text - n, "0-1 99Mbit");
	assert_int_equal(schedule_parse(text, &s, &unit_error), ERR_USAGE);
	memset(text, ' ', sizeof text - 1);
	assert_int_equal(schedule_parse(text, &s, &unit_error), ERR_USAGE);
}

static void
time_of_the_week_follows_from_the_clock_and_the_place(void **state)
{
	const int64_t second = 1000000000;
	struct schedule_time t = schedule_time(0, 0);

	(void)state;
	assert_int_equal(t.day, THU);
	assert_int_equal(t.hour, 0);
	assert_int_equal(t.left_ms, 3600000);
	t = schedule_time(0, -60);
	assert_int_equal(t.day, WED);
	assert_int_equal(t.hour, 23);
	t = schedule_time(-1 * second, 0);
	assert_int_equal(t.day, WED);
	assert_int_equal(t.hour, 23);
	assert_int_equal(t.left_ms, 1000);
	/* 2026-11-20 18:30:01 UTC, a Friday; in India it is Saturday */
	t = schedule_time(1795199401 * second, 0);
	assert_int_equal(t.day, FRI);
	assert_int_equal(t.hour, 18);
	assert_int_equal(t.left_ms, 1799000);
	t = schedule_time(1795199401 * second, 330);
	assert_int_equal(t.day, SAT);
	assert_int_equal(t.hour, 0);
	assert_int_equal(t.left_ms, 3599000);
	assert_string_equal(schedule_day(SUN), "sun");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rule_holds_on_its_days_in_its_hours),
		cmocka_unit_test(a_night_goes_on_into_the_next_day),
		cmocka_unit_test(a_later_rule_overrules_and_a_way_that_it_leaves_out_stays),
		cmocka_unit_test(what_is_none_is_refused_by_the_word_that_is_wrong),
		cmocka_unit_test(there_is_a_bound_of_rates_and_of_length),
		cmocka_unit_test(time_of_the_week_follows_from_the_clock_and_the_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
