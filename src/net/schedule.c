#include "net/schedule.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "net/rate.h"

enum { WORD_MAX = 40, SHOWN = 60 };

static const char *const days[SCHEDULE_DAYS] = { "mon", "tue", "wed", "thu", "fri", "sat", "sun" };

/* One rule, as far as it is read. */
struct rule {
	bool on[SCHEDULE_DAYS];
	unsigned from, to; /* hours; TO <= FROM: of the next day */
	bool has_days, has_hours;
	struct schedule_kind kind;
};

/* -- words -- */

/* The next word of *AT, up to END; false: there is none, or it is too long, and then WORD is as
 * much of it as there is room for. */
static bool
next_word(const char **at, const char *end, char word[static WORD_MAX])
{
	const char *from = *at;

	while (from < end && (*from == ' ' || *from == '\t'))
		from++;
	const char *to = from;
	while (to < end && *to != ' ' && *to != '\t')
		to++;
	size_t n = min_of((size_t)(to - from), (size_t)WORD_MAX - 1);
	memcpy(word, from, n);
	word[n] = '\0';
	*at = to;
	return n > 0;
}

static enum err
bad_word(const char *word, const char *expected, struct error *e)
{
	char shown[SHOWN];

	return fail(e, ERR_USAGE, "schedule: '%s' is not %s",
	    text_escape(bytes_str(word), shown, sizeof shown), expected);
}

/* -- days -- */

static bool
find_day(const char *at, size_t n, unsigned *ret)
{
	for (unsigned i = 0; i < SCHEDULE_DAYS; i++) {
		if (n == strlen(days[i]) && memcmp(at, days[i], n) == 0) {
			*ret = i;
			return true;
		}
	}
	return false;
}

/* "mon" or "fri-mon" */
static bool
add_days(struct rule *r, const char *at, size_t n)
{
	const char *dash = memchr(at, '-', n);
	size_t first = dash != NULL ? (size_t)(dash - at) : n;
	unsigned from, to;

	if (!find_day(at, first, &from))
		return false;
	to = from;
	if (dash != NULL && !find_day(dash + 1, n - first - 1, &to))
		return false;
	for (unsigned day = from;; day = (day + 1) % SCHEDULE_DAYS) {
		r->on[day] = true;
		if (day == to)
			return true;
	}
}

static bool
take_days(struct rule *r, const char *word)
{
	for (const char *at = word;; at++) {
		size_t n = strcspn(at, ",");
		if (!add_days(r, at, n))
			return false;
		at += n;
		if (*at == '\0')
			return true;
	}
}

/* -- hours -- */

/* "8", "08" or "08:00" */
static bool
take_hour(const char *at, size_t n, unsigned *ret)
{
	char digits[3] = "";
	uint64_t hour = 0;

	if (n > 3 && memcmp(at + n - 3, ":00", 3) == 0)
		n -= 3;
	if (n == 0 || n > 2)
		return false;
	memcpy(digits, at, n);
	if (!text_parse_u64(digits, SCHEDULE_HOURS, &hour))
		return false;
	*ret = (unsigned)hour;
	return true;
}

static bool
take_hours(struct rule *r, const char *word)
{
	const char *dash = strchr(word, '-');

	return dash != NULL && take_hour(word, (size_t)(dash - word), &r->from) &&
	       take_hour(dash + 1, strlen(dash + 1), &r->to) && r->from < SCHEDULE_HOURS &&
	       r->from != r->to;
}

/* -- rates -- */

static bool
take_rate(const char *word, uint64_t *ret)
{
	uint64_t n = 0;

	if (strcmp(word, "off") == 0) {
		*ret = 0;
		return true;
	}
	if (!text_parse_rate(word, &n) || n < RATE_MIN || n > RATE_MAX)
		return false;
	*ret = n;
	return true;
}

/* WORD and, after "up" or "down", the one behind it. */
static enum err
take_rates(struct rule *r, const char *word, const char **at, const char *end, struct error *e)
{
	static const char expected[] = "a rate from 128kbit, such as 20Mbit or 2.5MB, or off";
	bool up = strcmp(word, "up") == 0, down = strcmp(word, "down") == 0;
	char behind[WORD_MAX] = "";
	uint64_t rate = 0;

	if ((up || down) && !next_word(at, end, behind))
		return fail(e, ERR_USAGE, "schedule: '%s' lacks its rate", word);
	if (!take_rate(up || down ? behind : word, &rate))
		return bad_word(up || down ? behind : word,
		    up || down ? expected
			       : "days (mon-fri), hours (08-18) or a rate (20Mbit, 2.5MB, off)",
		    e);
	if ((!down && r->kind.has_up) || (!up && r->kind.has_down))
		return fail(e, ERR_USAGE, "schedule: '%s' is one rate too many in its rule", word);
	if (!down) {
		r->kind.has_up = true;
		r->kind.rates.up = rate;
	}
	if (!up) {
		r->kind.has_down = true;
		r->kind.rates.down = rate;
	}
	return OK;
}

/* -- rules -- */

static enum err
read_rule(struct rule *r, const char *at, const char *end, struct error *e)
{
	char word[WORD_MAX];

	while (next_word(&at, end, word)) {
		bool has_rates = r->kind.has_up || r->kind.has_down;
		if (!has_rates && !r->has_days && !r->has_hours && take_days(r, word)) {
			r->has_days = true;
		} else if (!has_rates && !r->has_hours && take_hours(r, word)) {
			r->has_hours = true;
		} else {
			enum err err = take_rates(r, word, &at, end, e);
			if (err != OK)
				return err;
		}
	}
	return OK;
}

static bool
is_same(const struct schedule_kind *a, const struct schedule_kind *b)
{
	return a->has_up == b->has_up && a->has_down == b->has_down && a->rates.up == b->rates.up &&
	       a->rates.down == b->rates.down;
}

static enum err
find_kind(struct schedule *s, const struct schedule_kind *kind, uint8_t *ret, struct error *e)
{
	for (uint8_t i = 0; i < s->n_kinds; i++) {
		if (is_same(&s->kinds[i], kind)) {
			*ret = i;
			return OK;
		}
	}
	if (s->n_kinds == SCHEDULE_KINDS_MAX)
		return fail(e, ERR_USAGE, "schedule: more than %d different rates in a week",
		    SCHEDULE_KINDS_MAX - 1);
	s->kinds[s->n_kinds] = *kind;
	*ret = s->n_kinds++;
	return OK;
}

/* A rule that names one way leaves to the other what held before. */
static enum err
set_hour(struct schedule *s, unsigned day, unsigned hour, const struct rule *r, struct error *e)
{
	uint8_t *cell = &s->week[day % SCHEDULE_DAYS][hour];
	struct schedule_kind kind = s->kinds[*cell];

	if (r->kind.has_up) {
		kind.has_up = true;
		kind.rates.up = r->kind.rates.up;
	}
	if (r->kind.has_down) {
		kind.has_down = true;
		kind.rates.down = r->kind.rates.down;
	}
	return find_kind(s, &kind, cell, e);
}

static enum err
apply(struct schedule *s, const struct rule *r, struct error *e)
{
	unsigned hours = r->from < r->to ? r->to - r->from : r->to + SCHEDULE_HOURS - r->from;
	enum err err = OK;

	for (unsigned day = 0; day < SCHEDULE_DAYS; day++)
		for (unsigned i = 0; i < hours && r->on[day] && err == OK; i++) {
			unsigned hour = r->from + i;
			err = set_hour(s, day + hour / SCHEDULE_HOURS, hour % SCHEDULE_HOURS, r, e);
		}
	return err;
}

static enum err
take_rule(struct schedule *s, const char *from, const char *end, struct error *e)
{
	struct rule r = { .to = SCHEDULE_HOURS };
	enum err err = read_rule(&r, from, end, e);

	if (err != OK)
		return err;
	if (!r.kind.has_up && !r.kind.has_down)
		return fail(e, ERR_USAGE,
		    "schedule: a rule without a rate; it is written as \"mon-fri 08-18 20Mbit; "
		    "sat-sun off\"");
	for (unsigned day = 0; day < SCHEDULE_DAYS; day++)
		r.on[day] |= !r.has_days;
	return apply(s, &r, e);
}

enum err
schedule_parse(const char *text, struct schedule *ret, struct error *e)
{
	struct schedule s = { .n_kinds = 1 };
	enum err err = OK;

	if (strlen(text) > SCHEDULE_TEXT_MAX)
		return fail(e, ERR_USAGE, "schedule: longer than %d characters", SCHEDULE_TEXT_MAX);
	for (const char *at = text; err == OK && *at != '\0'; at += *at == ';') {
		size_t n = strcspn(at, ";");
		if (n == strspn(at, " \t") && at[n] == '\0')
			break; /* nothing behind the last ';' */
		err = take_rule(&s, at, at + n, e);
		at += n;
	}
	if (err == OK)
		*ret = s;
	return err;
}

struct schedule_rates
schedule_at(
    const struct schedule *s, unsigned day, unsigned hour, const struct schedule_rates *usual)
{
	const struct schedule_kind *kind =
	    &s->kinds[s->week[day % SCHEDULE_DAYS][hour % SCHEDULE_HOURS]];

	return (struct schedule_rates){
		.up = kind->has_up ? kind->rates.up : usual->up,
		.down = kind->has_down ? kind->rates.down : usual->down,
	};
}

/* 1970 began with a Thursday. */
struct schedule_time
schedule_time(int64_t wall_ns, int offset_min)
{
	int64_t ms = wall_ns / 1000000 + (int64_t)offset_min * 60000;
	int64_t hours = ms / 3600000 - (ms % 3600000 < 0);
	int64_t day = hours / 24 - (hours % 24 < 0);

	return (struct schedule_time){
		.day = (unsigned)(((day + 3) % 7 + 7) % 7),
		.hour = (unsigned)(hours - day * 24),
		.left_ms = (uint64_t)((hours + 1) * 3600000 - ms),
	};
}

const char *
schedule_day(unsigned day)
{
	return days[day % SCHEDULE_DAYS];
}
