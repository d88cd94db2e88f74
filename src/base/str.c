#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

char *
str_dup(const char *s)
{
	return mem_dup(s, strlen(s) + 1);
}

char *
str_printf(const char *fmt, ...)
{
	va_list ap;
	char *s = NULL;

	va_start(ap, fmt);
	int n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0) {
		log_error("out of memory: the text of %s", fmt);
		abort();
	}
	return s;
}
