#include "cmd/doctor.h"

#include <stdarg.h>

#include "base/mem.h"

static const char *const names[] = { "ok", "warn", "fail" };

void
doctor_row(struct doctor *d, struct bytes record)
{
	char state[8];

	record_str(record, "state", state, sizeof state);
	for (size_t i = 0; i < lengthof(names); i++)
		if (strcmp(state, names[i]) == 0)
			d->worst = max_of(d->worst, (enum doctor_state)i);
	render_row(d->render, record);
}

void
doctor_say(struct doctor *d, const char *check, enum doctor_state state, const char *advice,
    const char *fmt, ...)
{
	auto_buf struct buf row = BUF(RECORD_MAX);
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	record_text(&row, "check", check);
	record_text(&row, "state", names[state]);
	record_text(&row, "text", text);
	record_text(&row, "advice", advice);
	doctor_row(d, buf_bytes(&row));
}
