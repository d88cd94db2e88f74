/*
 * json: a streaming writer.  Commas and nesting are its business; bytes that are not UTF-8 are
 * written as U+FFFD (and the caller may add a base64 twin under another key).  A full buffer shows
 * in its `full`; the text is then incomplete.
 */
#pragma once

#include "base/buf.h"

/* of objects and arrays within each other, and one more; ours, not a stranger's */
enum { JSON_DEPTH = 16 };

struct json {
	struct buf *out; /* kept */
	unsigned depth;
	bool comma[JSON_DEPTH];
	char close[JSON_DEPTH];
};

void json_init(struct json *j, struct buf *out);
void json_object(struct json *j, const char *key); /* key is NULL inside arrays and at the top */
void json_array(struct json *j, const char *key);
void json_end(struct json *j); /* the innermost object or array */
void json_text(struct json *j, const char *key, const char *v);
void json_bytes(struct json *j, const char *key, struct bytes v); /* as text */
void json_u64(struct json *j, const char *key, uint64_t v);
void json_i64(struct json *j, const char *key, int64_t v);
/* three decimals; null for NaN and infinity */
void json_number(struct json *j, const char *key, double v);
void json_bool(struct json *j, const char *key, bool v);
void json_null(struct json *j, const char *key);
