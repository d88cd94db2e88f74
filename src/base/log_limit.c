#include "base/log_limit.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"

void
log_limit_warn(struct log_limit *l, uint64_t now_ms, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (now_ms - l->since_ms >= LOG_LIMIT_MS) {
		if (l->unsaid > 0)
			log_warn("... and %u more lines like that in %llu s", l->unsaid,
			    (unsigned long long)(now_ms - l->since_ms) / 1000);
		*l = (struct log_limit){ .since_ms = now_ms };
	}
	if (l->said == LOG_LIMIT_LINES) {
		l->unsaid++;
		return;
	}
	l->said++;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	log_warn("%s", text);
}
