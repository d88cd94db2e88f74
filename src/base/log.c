#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"

static _Atomic int threshold = LOG_LEVEL_INFO;

void
log_set_level(enum log_level level)
{
	threshold = (int)level;
}

bool
log_is_on(enum log_level level)
{
	return (int)level <= threshold;
}

/* Whatever got into the text of an error (a file's name above all): a line stays one line, and
 * moves no terminal's cursor. */
static void
make_plain(char *text, size_t n)
{
	for (size_t i = 0, len; i < n; i += len) {
		uint32_t c = 0;
		len = text_utf8(BYTES(text + i, n - i), &c);
		if (len > 0 && text_is_visible(c))
			continue;
		len = max_of(len, (size_t)1);
		memset(text + i, '?', len);
	}
}

void
log_line(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	static const int priority[] = { 3, 4, 6, 7 };
	char line[1400];
	int n;
	va_list ap;

	if (!log_is_on(level))
		return;
	if (getenv("JOURNAL_STREAM") != NULL) {
		n = snprintf(line, sizeof line, "<%d>", priority[level]);
	} else {
		struct timespec now;
		struct tm tm;
		clock_gettime(CLOCK_REALTIME, &now);
		localtime_r(&now.tv_sec, &tm);
		n = (int)strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
		n += snprintf(line + n, sizeof line - (size_t)n, ".%03ld %s ",
		    now.tv_nsec / 1000000, names[level]);
	}
	va_start(ap, fmt);
	int m = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if (m < 0)
		return;
	int end = n + m < (int)sizeof line - 1 ? n + m : (int)sizeof line - 2;
	make_plain(line + n, (size_t)(end - n));
	n = end;
	line[n++] = '\n';
	/* One write a line, so that lines of several threads do not mix. */
	ssize_t ignored = write(STDERR_FILENO, line, (size_t)n);
	(void)ignored;
}
