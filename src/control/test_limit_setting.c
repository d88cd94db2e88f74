#include "tests/unit.h"

#include <string.h>

#include "base/mem.h"
#include "control/limit_setting.h"

enum { PAIRS_MAX = 4 };
/* Names and values, one after the other. */
struct words {
	const char *at[2 * PAIRS_MAX];
};

static struct control_request
request_of(const struct words *w)
{
	struct control_request r = { .verb = "limit" };

	for (size_t i = 0; i < 2 * PAIRS_MAX && w->at[i] != NULL; i += 2)
		assert_int_equal(control_request_add(&r, w->at[i], w->at[i + 1], NULL), OK);
	return r;
}

static void
change(struct limit_setting *s, const struct words *w)
{
	struct control_request r = request_of(w);
	struct error e = { 0 };

	assert_true(limit_setting_is_asked(&r));
	if (limit_setting_change(s, &r, &e) != OK)
		unit_fail("%s", e.text);
}

static const struct limit_setting none = { .week.n_kinds = 1 };

static void
each_change_leaves_what_it_does_not_name(void **state)
{
	struct limit_setting s = none;

	(void)state;
	assert_true(limit_setting_is_none(&s));
	change(&s, &(struct words){ { "up", "8Mbit", "lan", "1" } });
	assert_int_equal(s.usual.up, 1000000);
	assert_true(s.lan);
	change(&s, &(struct words){ { "down", "16Mbit" } });
	assert_int_equal(s.usual.up, 1000000);
	assert_int_equal(s.usual.down, 2000000);
	assert_false(s.lan);
	change(&s, &(struct words){ { "schedule", "sat-sun off", "background", "on" } });
	assert_string_equal(s.schedule, "sat-sun off");
	assert_int_equal(s.usual.down, 2000000);
	assert_true(s.background);
	change(&s, &(struct words){ { "schedule", "none", "up", "off" } });
	assert_string_equal(s.schedule, "");
	assert_int_equal(s.week.n_kinds, 1);
	assert_int_equal(s.usual.up, 0);
	change(&s, &(struct words){ { "off", "1" } });
	assert_true(limit_setting_is_none(&s));
}

static void
what_is_wrong_is_named_and_changes_nothing(void **state)
{
	static const struct {
		struct words words;
		const char *says;
	} bad[] = {
		{ { { "up", "50" } }, "--up: '50'" },
		{ { { "down", "100kbit" } }, "--down: '100kbit'" },
		{ { { "up", "8Mbit", "schedule", "noon 8Mbit" } }, "'noon'" },
		{ { { "background", "maybe" } }, "on or off" },
		{ { { "off", "1", "up", "8Mbit" } }, "stands alone" },
		{ { { "lan", "1" } }, "--lan goes with" },
	};

	(void)state;
	for (size_t i = 0; i < lengthof(bad); i++) {
		struct control_request r = request_of(&bad[i].words);
		struct limit_setting s = none;
		struct error e = { 0 };
		assert_int_equal(limit_setting_change(&s, &r, &e), ERR_USAGE);
		if (strstr(e.text, bad[i].says) == NULL)
			unit_fail("case %zu: %s", i, e.text);
		assert_true(limit_setting_is_none(&s));
	}
}

static void
a_question_sets_nothing(void **state)
{
	struct control_request r = request_of(&(struct words){ { "job", "7" } });

	(void)state;
	assert_false(limit_setting_is_asked(&r));
}

static void
what_is_kept_comes_back(void **state)
{
	auto_buf struct buf b = BUF(RECORD_MAX), again = BUF(RECORD_MAX);
	struct limit_setting s = none, back;

	(void)state;
	limit_setting_encode(&s, &b);
	assert_int_equal(b.len, 0);
	assert_int_equal(limit_setting_decode(buf_bytes(&b), &back, NULL), OK);
	assert_true(limit_setting_is_none(&back));
	change(&s, &(struct words){ { "up", "8Mbit", "lan", "1", "schedule", "mon 8-9 16Mbit",
		       "background", "on" } });
	limit_setting_encode(&s, &b);
	assert_int_equal(limit_setting_decode(buf_bytes(&b), &back, NULL), OK);
	limit_setting_encode(&back, &again);
	assert_true(bytes_equal(buf_bytes(&b), buf_bytes(&again)));
	assert_int_equal(back.week.week[0][8], 1);
}

static void
what_was_damaged_is_refused(void **state)
{
	auto_buf struct buf b = BUF(RECORD_MAX), c = BUF(RECORD_MAX);
	struct limit_setting s;

	(void)state;
	record_text(&b, "schedule", "moon 8Mbit");
	assert_int_not_equal(limit_setting_decode(buf_bytes(&b), &s, NULL), OK);
	record_bytes(&c, "schedule", BYTES_LIT("mon\0 8Mbit"));
	assert_int_not_equal(limit_setting_decode(buf_bytes(&c), &s, NULL), OK);
	assert_int_not_equal(limit_setting_decode(bytes_slice(buf_bytes(&b), 0, 3), &s, NULL), OK);
}

/* -- shown -- */

static void
append(void *ctx, struct bytes row)
{
	struct json j;

	json_init(&j, ctx);
	record_json(row, NULL, &j);
}

static void
a_week_is_a_grid_of_letters_and_what_they_stand_for(void **state)
{
	auto_buf struct buf out = BUF(RECORD_MAX);
	struct limit_setting s = none;

	(void)state;
	limit_setting_week(&s, append, &out);
	assert_int_equal(out.len, 0);
	change(&s, &(struct words){ { "schedule", "tue 08-18 up 20Mbit; tue 12-13 off" } });
	limit_setting_week(&s, append, &out);
	buf_add_bytes(&out, BYTES_LIT("\0"));
	const char *text = (const char *)out.at;
	assert_non_null(strstr(text, "........................"));
	assert_non_null(strstr(text, "........AAAABAAAAA......"));
	assert_non_null(strstr(text, "up 20 Mbit/s\""));
	assert_non_null(strstr(text, "up without limit, down without limit"));
}

static void
the_hour_decides(void **state)
{
	struct limit_setting s = none;
	const int64_t thursday_noon = INT64_C(43200) * 1000000000;

	(void)state;
	change(&s, &(struct words){ { "down", "8Mbit", "schedule", "thu 13-14 16Mbit" } });
	assert_int_equal(limit_setting_now(&s, thursday_noon, 0).down, 1000000);
	assert_int_equal(limit_setting_now(&s, thursday_noon, 60).down, 2000000);
	assert_int_equal(limit_setting_now(&s, thursday_noon, 60).up, 2000000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_change_leaves_what_it_does_not_name),
		cmocka_unit_test(what_is_wrong_is_named_and_changes_nothing),
		cmocka_unit_test(a_question_sets_nothing),
		cmocka_unit_test(what_is_kept_comes_back),
		cmocka_unit_test(what_was_damaged_is_refused),
		cmocka_unit_test(a_week_is_a_grid_of_letters_and_what_they_stand_for),
		cmocka_unit_test(the_hour_decides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
