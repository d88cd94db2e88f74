/*
 * text: numbers, ids, sizes, times and hostile bytes as text, and back.  Formats never write past N
 * bytes and always end with NUL; parsers accept the whole string or nothing.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/error.h"

/* Decimal, no sign, no blanks, at most MAX. */
bool text_parse_u64(const char *s, uint64_t max, uint64_t *ret);
/* "90", "30s", "15m", "24h", "7d", "2w": seconds when there is no unit.  At most ten years. */
bool text_parse_duration(const char *s, uint64_t *ret_seconds);
/* "4096", "64k", "1.5G", "10MiB": powers of 1024. */
bool text_parse_size(const char *s, uint64_t *ret_bytes);
/* "50Mbit", "6.25MB", "800kB/s", "2MiB": bytes a second; bit, B with k, M, G (powers of 1000), B
 * with Ki, Mi, Gi. */
bool text_parse_rate(const char *s, uint64_t *ret_bytes_s);

enum { TEXT_SIZE = 16, TEXT_DURATION = 16, TEXT_TIME = 32 };
const char *text_size(uint64_t bytes, char out[static TEXT_SIZE]); /* "1.4 GiB" */
/* "0.3 s", "4m 05s", "2h 10m" */
const char *text_duration(uint64_t ms, char out[static TEXT_DURATION]);
/* local "2026-11-20 09:41:07" */
const char *text_time(int64_t unix_ns, char out[static TEXT_TIME]);
/* UTC "2026-11-20T09:41:07Z" */
const char *text_time_rfc3339(int64_t unix_ns, char out[static TEXT_TIME]);

/* lower-case hex; OUT has 2 * b.len + 1 bytes */
const char *text_hex(struct bytes b, char *out);
bool text_parse_hex(const char *s, uint8_t *out, size_t n); /* exactly N bytes */

/* RFC 4648 base32 in lower case without padding.  OUT has (b.len * 8 + 4) / 5 + 1 bytes. */
const char *text_base32(struct bytes b, char *out);
/* Any case; dashes and blanks between characters are skipped; 0, 1 and 8 are read as o, l and b.
 * Exactly N bytes, and the unused low bits of the last character are zero. */
bool text_parse_base32(const char *s, uint8_t *out, size_t n);

/* Bytes of a stranger for a log line or a terminal: valid UTF-8 that prints stays, all else (and
 * the backslash) becomes \xNN, cut with "..." to fit N > 0 bytes.  Returns OUT. */
const char *text_escape(struct bytes b, char *out, size_t n);
bool text_is_utf8(struct bytes b);
/* Length of the UTF-8 character that B begins with, 0 if it does not begin with one. */
size_t text_utf8(struct bytes b, uint32_t *ret_char);
/* False for what moves the cursor, turns the direction of the text, or cannot be seen. */
bool text_is_visible(uint32_t c);
/* Shell-style * and ? (one character) match over the whole string, for patterns of an
 * administrator. */
bool text_glob(const char *pattern, const char *s);
