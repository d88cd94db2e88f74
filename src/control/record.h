/*
 * record: one row of named, typed values: what the daemon says and the command line shows, as a
 * table, as text or as JSON.  Self-describing, so a new field needs no change in between.
 *
 * Encoded: fields of name length u8 | name | type u8 | value (u64 little-endian, or length u32 and
 * bytes).  A name is 1..32 of a-z, 0-9 and '_', and occurs once.
 *
 * Pure.  Decoding treats its input as hostile (ERR_PROTO).
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"

enum record_type {
	RECORD_TEXT = 1, /* UTF-8 or not: shown escaped */
	RECORD_INT,      /* plain number */
	RECORD_SIZE,     /* bytes */
	RECORD_TIME,     /* unix ns; 0: there is none */
	RECORD_DURATION, /* ms */
	RECORD_BOOL,
	RECORD_RATE, /* bytes a second */
};
struct record_field {
	struct bytes name;
	enum record_type type;
	struct bytes text; /* of RECORD_TEXT */
	uint64_t num;      /* of all others */
};
enum { RECORD_MAX = 64 * 1024, RECORD_FIELDS_MAX = 64, RECORD_NAME_MAX = 32 };

/* Writers append one field to OUT (a buf with max RECORD_MAX), all of it or, when full, nothing. */
void record_text(struct buf *out, const char *name, const char *v); /* V NULL: no field */
void record_bytes(struct buf *out, const char *name, struct bytes v);
void record_int(struct buf *out, const char *name, uint64_t v);
void record_size(struct buf *out, const char *name, uint64_t v);
void record_time(struct buf *out, const char *name, int64_t unix_ns);
void record_duration(struct buf *out, const char *name, uint64_t ms);
void record_rate(struct buf *out, const char *name, uint64_t bytes_s);
void record_bool(struct buf *out, const char *name, bool v);

/* Every rule above, once, for a record that came from outside; what follows accepts anything and is
 * then exact. */
enum err record_check(struct bytes record, struct error *e) must_check;
/* Walks the fields: takes the first off *REST; false at the end.  *RET_BAD (may be NULL) is set to
 * true on malformed bytes, which also end the walk, and else left alone. */
bool record_next(struct bytes *rest, struct record_field *ret, bool *ret_bad);
bool record_find(struct bytes record, const char *name, struct record_field *ret);
uint64_t record_num(struct bytes record, const char *name); /* 0 if absent or text */
/* Text, escaped and cut to N bytes; "" if absent or a number.  Returns OUT. */
const char *record_str(struct bytes record, const char *name, char *out, size_t n);
/* All fields as one JSON object: times as RFC 3339 text or null, text that is not UTF-8 also as hex
 * under NAME_hex, the rest as numbers, text, booleans. */
void record_json(struct bytes record, const char *key, struct json *j);
/* The fields alone, into the object that is open. */
void record_json_fields(struct bytes record, struct json *j);
