/*
 * fields: messages as tables: one row per field says its tag, its kind, where it lies in the
 * struct, and its limits; encoding, decoding and checking follow the rows, so no message has code
 * of its own but for rules between fields.
 *
 * On the wire a field is tag u16 | length u32 | bytes, little-endian, tags strictly ascending.  An
 * optional field that is zero, empty or none is left out.  An unknown tag is skipped unless its
 * must-understand bit is set.
 *
 * Pure.  Errors  ERR_PROTO, ERR_LIMIT.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"

enum field_kind {        /* in the struct        on the wire */
	FIELD_U8,        /* uint8_t              1 byte; MIN..MAX is its range */
	FIELD_U16,       /* uint16_t             2 */
	FIELD_U32,       /* uint32_t             4 */
	FIELD_U64,       /* uint64_t             8 */
	FIELD_ERR,       /* uint16_t, enum err   u16 by the numbers of docs/protocol.md */
	FIELD_FIXED,     /* uint8_t[MIN]         MIN bytes; all zero is left out when optional */
	FIELD_HASH,      /* struct hash_id       33 bytes; none is left out */
	FIELD_BYTES,     /* struct bytes         MIN..MAX bytes */
	FIELD_TEXT,      /* struct bytes         the same, UTF-8 without control characters */
	FIELD_NAME,      /* struct bytes         the same, and statement_name_ok */
	FIELD_LIST,      /* struct message_list  up to MAX items: length u32 | 1..ITEM bytes each */
	FIELD_ADDRESSES, /* struct message_list  the same, and invite_address_parse */
	FIELD_IDS,       /* struct bytes         MIN..MAX ids of 33 bytes */
	FIELD_UNITS,     /* struct bytes         up to MAX runs of units (message_units_next) */
	FIELD_RUNS,      /* uint32_t n, runs[MAX]  first u16, n u16 each: ascending and disjoint */
};
enum { FIELD_REQUIRED = true, FIELD_OPTIONAL = false };
enum { FIELD_MUST_UNDERSTAND = 0x8000 }; /* bit of a tag */

struct field {
	uint16_t tag;
	enum field_kind kind;
	bool required;
	const char *name;
	size_t offset;
	uint64_t min, max;
	uint32_t item;
};
struct fields {
	const struct field *at;
	size_t n;
	size_t size; /* of the struct */
	/* rules between fields; may be NULL */
	enum err (*check)(const void *message, struct error *e);
};

const char *fields_kind_name(enum field_kind k); /* "u16" */
/* The gates.  decode: bytes to the struct (zeroed first), only shapes; check: ranges, counts,
 * texts, names, rules. */
enum err fields_decode(
    const struct fields *f, struct bytes b, void *ret, struct error *e) must_check;
enum err fields_check(const struct fields *f, const void *message, struct error *e) must_check;
/* Appends; a full OUT shows in its `full`. */
void fields_encode(const struct fields *f, const void *message, struct buf *out);
