#include "control/limit_setting.h"

#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "net/rate.h"

bool
limit_setting_is_none(const struct limit_setting *s)
{
	return s->usual.up == 0 && s->usual.down == 0 && !s->lan && !s->background &&
	       s->schedule[0] == '\0';
}

bool
limit_setting_is_asked(const struct control_request *r)
{
	static const char *const options[] = { "up", "down", "lan", "schedule", "background",
		"off" };

	for (size_t i = 0; i < lengthof(options); i++) {
		if (control_flag(r, options[i]))
			return true;
	}
	return false;
}

static enum err
set_rate(const struct control_request *r, const char *option, uint64_t *rate, struct error *e)
{
	const char *text = control_arg(r, option);
	char shown[40];
	uint64_t n = 0;

	if (text == NULL)
		return OK;
	if (strcmp(text, "off") == 0) {
		*rate = 0;
		return OK;
	}
	if (!text_parse_rate(text, &n) || n < RATE_MIN || n > RATE_MAX)
		return fail(e, ERR_USAGE, "--%s: '%s' is not a rate from 128kbit, or off", option,
		    text_escape(bytes_str(text), shown, sizeof shown));
	*rate = n;
	return OK;
}

static enum err
set_schedule(struct limit_setting *s, const char *text, struct error *e)
{
	if (text == NULL)
		return OK;
	if (strcmp(text, "none") == 0)
		text = "";
	enum err r = schedule_parse(text, &s->week, e);
	if (r == OK)
		snprintf(s->schedule, sizeof s->schedule, "%s", text);
	return r;
}

static enum err
set_background(struct limit_setting *s, const char *text, struct error *e)
{
	if (text == NULL)
		return OK;
	s->background = strcmp(text, "on") == 0;
	return s->background || strcmp(text, "off") == 0
		   ? OK
		   : fail(e, ERR_USAGE, "--background takes on or off");
}

enum err
limit_setting_change(struct limit_setting *s, const struct control_request *r, struct error *e)
{
	struct limit_setting new = *s;
	bool rates =
	    control_flag(r, "up") || control_flag(r, "down") || control_flag(r, "schedule");

	if (control_flag(r, "off") && (rates || control_flag(r, "lan")))
		return fail(e, ERR_USAGE, "--off takes every limit away: it stands alone");
	if (control_flag(r, "lan") && !rates)
		return fail(e, ERR_USAGE, "--lan goes with --up, --down or --schedule");
	if (control_flag(r, "off"))
		new = (struct limit_setting){ .week.n_kinds = 1 };
	enum err err = set_rate(r, "up", &new.usual.up, e);
	if (err == OK)
		err = set_rate(r, "down", &new.usual.down, e);
	if (err == OK)
		err = set_schedule(&new, control_arg(r, "schedule"), e);
	if (err == OK)
		err = set_background(&new, control_arg(r, "background"), e);
	if (rates)
		new.lan = control_flag(r, "lan");
	if (err == OK)
		*s = new;
	return err;
}

struct schedule_rates
limit_setting_now(const struct limit_setting *s, int64_t wall_ns, int offset_min)
{
	struct schedule_time t = schedule_time(wall_ns, offset_min);

	return schedule_at(&s->week, t.day, t.hour, &s->usual);
}

/* -- kept -- */

void
limit_setting_encode(const struct limit_setting *s, struct buf *out)
{
	if (!limit_setting_is_none(s))
		limit_setting_fields(s, out);
}

enum err
limit_setting_decode(struct bytes b, struct limit_setting *ret, struct error *e)
{
	struct limit_setting s = { .week.n_kinds = 1 };
	struct record_field f = { 0 };
	enum err r = record_check(b, e);

	if (r != OK)
		return r;
	s.usual.up = min_of(record_num(b, "up"), RATE_MAX);
	s.usual.down = min_of(record_num(b, "down"), RATE_MAX);
	s.lan = record_num(b, "lan") != 0;
	s.background = record_num(b, "background") != 0;
	if (record_find(b, "schedule", &f) && f.type == RECORD_TEXT) {
		if (f.text.len > SCHEDULE_TEXT_MAX || memchr(f.text.at, '\0', f.text.len) != NULL)
			return fail(e, ERR_PROTO, "a schedule that is none");
		memcpy(s.schedule, f.text.at, f.text.len);
		r = schedule_parse(s.schedule, &s.week, e);
	}
	if (r == OK)
		*ret = s;
	return r;
}

/* -- shown -- */

void
limit_setting_fields(const struct limit_setting *s, struct buf *row)
{
	if (s->usual.up != 0)
		record_rate(row, "up", s->usual.up);
	if (s->usual.down != 0)
		record_rate(row, "down", s->usual.down);
	if (s->lan)
		record_bool(row, "lan", true);
	if (s->background)
		record_bool(row, "background", true);
	if (s->schedule[0] != '\0')
		record_text(row, "schedule", s->schedule);
}

/* The first kind says nothing. */
static char
letter(uint8_t kind)
{
	return kind == 0 ? '.' : (char)('A' + kind - 1);
}

/* In the unit that lines are sold in. */
static void
add_rate(struct buf *row, struct buf *text, const char *way, bool has, uint64_t rate)
{
	static const struct {
		const char *name;
		uint64_t bits;
	} units[] = { { "Gbit", 1000000000 }, { "Mbit", 1000000 }, { "kbit", 1000 } };
	size_t i = 0;

	if (!has)
		return;
	record_rate(row, way, rate);
	buf_addf(text, "%s%s ", text->len > 0 ? ", " : "", way);
	if (rate == 0) {
		buf_addf(text, "without limit");
		return;
	}
	while (i + 1 < lengthof(units) && rate * 8 < units[i].bits)
		i++;
	buf_addf(text, "%.4g %s/s", (double)(rate * 8) / (double)units[i].bits, units[i].name);
}

static void
add_kind(struct buf *row, const struct schedule_kind *k)
{
	auto_buf struct buf text = BUF(128);

	add_rate(row, &text, "up", k->has_up, k->rates.up);
	add_rate(row, &text, "down", k->has_down, k->rates.down);
	record_bytes(row, "text", buf_bytes(&text));
}

void
limit_setting_week(
    const struct limit_setting *s, void (*on_row)(void *ctx, struct bytes row), void *ctx)
{
	char hours[SCHEDULE_HOURS + 1] = "";

	if (s->schedule[0] == '\0')
		return;
	for (unsigned day = 0; day < SCHEDULE_DAYS; day++) {
		auto_buf struct buf row = BUF(RECORD_MAX);
		for (unsigned hour = 0; hour < SCHEDULE_HOURS; hour++)
			hours[hour] = letter(s->week.week[day][hour]);
		record_text(&row, "list", "week");
		record_text(&row, "day", schedule_day(day));
		record_text(&row, "hours", hours);
		on_row(ctx, buf_bytes(&row));
	}
	for (uint8_t i = 1; i < s->week.n_kinds; i++) {
		auto_buf struct buf row = BUF(RECORD_MAX);
		record_text(&row, "list", "rates");
		record_text(&row, "letter", (char[2]){ letter(i), '\0' });
		add_kind(&row, &s->week.kinds[i]);
		on_row(ctx, buf_bytes(&row));
	}
}
