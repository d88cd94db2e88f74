#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

__attribute__((format(printf, 5, 0))) static void
set(struct error *e, enum err code, int sys, const char *where, const char *fmt, va_list ap)
{
	e->code = code;
	e->sys = sys;
	e->where = where;
	vsnprintf(e->text, sizeof e->text, fmt, ap);
}

enum err
error_set(struct error *e, enum err code, int sys, const char *where, const char *fmt, ...)
{
	if (e != NULL) {
		va_list ap;
		va_start(ap, fmt);
		set(e, code, sys, where, fmt, ap);
		va_end(ap);
	}
	return code;
}

enum err
error_set_sys(struct error *e, int sys, const char *where, const char *fmt, ...)
{
	enum err code = ERR_IO;

	if (sys == ENOSPC || sys == EDQUOT)
		code = ERR_NOSPACE;
	else if (sys == ENOENT)
		code = ERR_NOTFOUND;
	else if (sys == EEXIST)
		code = ERR_EXISTS;
	if (e != NULL) {
		va_list ap;
		va_start(ap, fmt);
		set(e, code, sys, where, fmt, ap);
		va_end(ap);
		size_t n = strlen(e->text);
		snprintf(e->text + n, sizeof e->text - n, ": %s", strerror(sys));
	}
	return code;
}

enum err
error_wrap(struct error *e, enum err code, const char *fmt, ...)
{
	if (e != NULL) {
		char inner[ERROR_TEXT];
		va_list ap;
		memcpy(inner, e->text, sizeof inner);
		va_start(ap, fmt);
		vsnprintf(e->text, sizeof e->text, fmt, ap);
		va_end(ap);
		size_t n = strlen(e->text);
		snprintf(e->text + n, sizeof e->text - n, ": %s", inner);
		e->code = code;
	}
	return code;
}

const char *
error_name(enum err code)
{
	static const char *const names[ERR_COUNT] = {
		[OK] = "ok",
		[ERR_AGAIN] = "again",
		[ERR_NOTFOUND] = "notfound",
		[ERR_EXISTS] = "exists",
		[ERR_DENIED] = "denied",
		[ERR_CONFLICT] = "conflict",
		[ERR_CORRUPT] = "corrupt",
		[ERR_PROTO] = "proto",
		[ERR_LIMIT] = "limit",
		[ERR_USAGE] = "usage",
		[ERR_OFFLINE] = "offline",
		[ERR_NOSPACE] = "nospace",
		[ERR_IO] = "io",
		[ERR_CANCELED] = "canceled",
		[ERR_BUG] = "bug",
	};

	return (unsigned)code < ERR_COUNT ? names[code] : "?";
}

void
error_unexpected(const char *cond, const char *where)
{
	log_error("bug at %s: expected %s", where, cond);
}
