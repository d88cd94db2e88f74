/*
 * log_limit: warnings that a stranger can cause as often as he likes, kept from filling the log.
 *
 * In each LOG_LIMIT_MS at most LOG_LIMIT_LINES lines are written; the first line after that says
 * how many were left out.  One struct for each kind of warning; zeroed is ready.
 *
 * Threads    one at a time.
 */
#pragma once

#include <stdint.h>

struct log_limit {
	uint64_t since_ms;
	unsigned said, unsaid;
};
enum { LOG_LIMIT_MS = 10 * 1000, LOG_LIMIT_LINES = 10 };

/* NOW_MS: of any clock that does not go back. */
void log_limit_warn(struct log_limit *l, uint64_t now_ms, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
