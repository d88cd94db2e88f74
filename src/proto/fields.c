#include "proto/fields.h"

#include "base/mem.h"
#include "base/reader.h"
#include "base/text.h"
#include "crypto/statement.h"
#include "proto/invite.h"
#include "proto/message.h"

_Static_assert(offsetof(struct msg_get_units, runs) ==
		   offsetof(struct msg_get_units, n_runs) + sizeof(uint32_t),
    "FIELD_RUNS: the runs follow their count");
_Static_assert(sizeof(struct hash_id) == HASH_ID_BYTES, "FIELD_IDS: ids lie side by side");

static const struct {
	enum err code;
	uint16_t wire;
} error_codes[] = {
#define X(name, number) { ERR_##name, number },
	MESSAGE_ERRORS(X)
#undef X
};

const char *
fields_kind_name(enum field_kind k)
{
	static const char *const names[] = {
		[FIELD_U8] = "u8",
		[FIELD_U16] = "u16",
		[FIELD_U32] = "u32",
		[FIELD_U64] = "u64",
		[FIELD_ERR] = "error",
		[FIELD_FIXED] = "fixed",
		[FIELD_HASH] = "hash",
		[FIELD_BYTES] = "bytes",
		[FIELD_TEXT] = "text",
		[FIELD_NAME] = "name",
		[FIELD_LIST] = "list",
		[FIELD_ADDRESSES] = "addresses",
		[FIELD_IDS] = "ids",
		[FIELD_UNITS] = "units",
		[FIELD_RUNS] = "runs",
	};
	return names[k];
}

/* Bytes of a number on the wire and in the struct, 0 if it is none. */
static size_t
number_width(enum field_kind k)
{
	switch (k) {
	case FIELD_U8:
		return 1;
	case FIELD_U16:
	case FIELD_ERR:
		return 2;
	case FIELD_U32:
		return 4;
	case FIELD_U64:
		return 8;
	default:
		return 0;
	}
}

static uint64_t
number_load(const struct field *f, const void *at)
{
	switch (number_width(f->kind)) {
	case 1:
		return *(const uint8_t *)at;
	case 2:
		return *(const uint16_t *)at;
	case 4:
		return *(const uint32_t *)at;
	default:
		return *(const uint64_t *)at;
	}
}

static void
number_store(const struct field *f, void *at, uint64_t v)
{
	switch (number_width(f->kind)) {
	case 1:
		*(uint8_t *)at = (uint8_t)v;
		break;
	case 2:
		*(uint16_t *)at = (uint16_t)v;
		break;
	case 4:
		*(uint32_t *)at = (uint32_t)v;
		break;
	default:
		*(uint64_t *)at = v;
	}
}

static uint16_t
error_to_wire(uint64_t code)
{
	for (size_t i = 0; i < lengthof(error_codes); i++)
		if ((uint64_t)error_codes[i].code == code)
			return error_codes[i].wire;
	return 0;
}

static enum err
error_from_wire(uint64_t wire)
{
	for (size_t i = 0; i < lengthof(error_codes); i++)
		if (error_codes[i].wire == wire)
			return error_codes[i].code;
	return wire == 0 ? OK : ERR_BUG;
}

/* -- decode: shapes -- */

/* Counts the items of a list; false when the last one is cut. */
static bool
list_count(struct bytes raw, uint32_t *ret_n)
{
	struct message_list l = { raw, UINT32_MAX };
	struct bytes item;
	uint32_t n = 0;

	while (l.raw.len > 0) {
		if (!message_list_next(&l, &item))
			return false;
		n++;
	}
	*ret_n = n;
	return true;
}

static bool
decode_runs(const struct field *f, struct bytes b, void *at)
{
	struct reader r = reader_over(b);
	struct leaf_run *runs = (struct leaf_run *)((uint32_t *)at + 1);
	uint32_t n = 0;

	for (; reader_left(&r) > 0 && n < f->max; n++) {
		runs[n].first = reader_u16(&r);
		runs[n].n = reader_u16(&r);
	}
	*(uint32_t *)at = n;
	return reader_done(&r);
}

static bool
decode_number(const struct field *f, struct bytes b, void *at)
{
	struct reader r = reader_over(b);
	uint64_t v = reader_le(&r, number_width(f->kind));

	number_store(f, at, f->kind == FIELD_ERR ? (uint64_t)error_from_wire(v) : v);
	return reader_done(&r);
}

static bool
decode_hash(struct bytes b, struct hash_id *at)
{
	struct reader r = reader_over(b);

	*at = hash_id_decode(&r);
	return reader_done(&r);
}

static bool
decode_list(struct bytes b, struct message_list *at)
{
	at->raw = b;
	return list_count(b, &at->n);
}

/* One field's bytes to its place; false when they are not of its kind. */
static bool
decode_field(const struct field *f, struct bytes b, void *at)
{
	switch (f->kind) {
	case FIELD_U8:
	case FIELD_U16:
	case FIELD_U32:
	case FIELD_U64:
	case FIELD_ERR:
		return decode_number(f, b, at);
	case FIELD_FIXED:
		if (b.len == f->min)
			memcpy(at, b.at, b.len);
		return b.len == f->min;
	case FIELD_HASH:
		return decode_hash(b, at);
	case FIELD_BYTES:
	case FIELD_TEXT:
	case FIELD_NAME:
	case FIELD_UNITS:
		*(struct bytes *)at = b;
		return true;
	case FIELD_IDS:
		*(struct bytes *)at = b;
		return b.len % HASH_ID_BYTES == 0;
	case FIELD_LIST:
	case FIELD_ADDRESSES:
		return decode_list(b, at);
	case FIELD_RUNS:
		return decode_runs(f, b, at);
	}
	return false;
}

/* The row with TAG; rows ascend as tags do, so *AT only moves forward.  Missing required rows on
 * the way are an error. */
static enum err
row_for(const struct fields *f, size_t *at, uint32_t tag, const struct field **ret, struct error *e)
{
	for (; *at < f->n && f->at[*at].tag < tag; (*at)++)
		if (f->at[*at].required)
			return fail(e, ERR_PROTO, "field %s is missing", f->at[*at].name);
	*ret = *at < f->n && f->at[*at].tag == tag ? &f->at[(*at)++] : NULL;
	return OK;
}

enum err
fields_decode(const struct fields *f, struct bytes b, void *ret, struct error *e)
{
	struct reader r = reader_over(b);
	const struct field *row = NULL;
	int64_t last = -1;
	size_t at = 0;
	enum err rc;

	memset(ret, 0, f->size);
	while (reader_left(&r) > 0) {
		uint16_t tag = reader_u16(&r);
		struct bytes value = reader_take(&r, reader_u32(&r));
		if (r.bad)
			return fail(e, ERR_PROTO, "field %u is cut short", tag);
		if (tag <= last)
			return fail(e, ERR_PROTO, "field %u after field %d", tag, (int)last);
		last = tag;
		rc = row_for(f, &at, tag, &row, e);
		if (rc != OK)
			return rc;
		if (row == NULL && (tag & FIELD_MUST_UNDERSTAND) != 0)
			return fail(e, ERR_PROTO,
			    "field %#x must be understood, and is not: a newer weft is needed",
			    tag);
		if (row != NULL && !decode_field(row, value, (uint8_t *)ret + row->offset))
			return fail(e, ERR_PROTO, "field %s of %zu bytes is no %s", row->name,
			    value.len, fields_kind_name(row->kind));
	}
	return row_for(f, &at, UINT32_MAX, &row, e);
}

/* -- check: values -- */

static bool
is_plain_text(struct bytes b)
{
	uint32_t c;

	for (size_t i = 0, n; i < b.len; i += n) {
		n = text_utf8(bytes_slice(b, i, b.len - i), &c);
		if (n == 0 || c < 0x20 || (c >= 0x7f && c < 0xa0))
			return false;
	}
	return true;
}

static bool
is_name(struct bytes b)
{
	char name[STATEMENT_NAME_MAX + 1];

	if (b.len > STATEMENT_NAME_MAX || !is_plain_text(b))
		return false;
	memcpy(name, b.at, b.len);
	name[b.len] = '\0';
	return statement_name_ok(name);
}

static bool
is_address(struct bytes b)
{
	char text[LIMIT_ADDRESS_TEXT + 1], host[LIMIT_ADDRESS_TEXT + 1];
	uint16_t port;

	if (b.len > LIMIT_ADDRESS_TEXT || memchr(b.at, '\0', b.len) != NULL)
		return false;
	memcpy(text, b.at, b.len);
	text[b.len] = '\0';
	return invite_address_parse(text, host, &port);
}

static enum err
check_list(const struct field *f, struct message_list l, struct error *e)
{
	struct bytes item;
	uint32_t n = 0;

	if (!list_count(l.raw, &n) || n != l.n)
		return fail(e, ERR_PROTO, "field %s does not hold the %u items that it should",
		    f->name, l.n);
	if (n > f->max)
		return fail(
		    e, ERR_LIMIT, "field %s has %u items, limit %u", f->name, n, (unsigned)f->max);
	while (message_list_next(&l, &item)) {
		if (item.len == 0 || item.len > f->item)
			return fail(e, ERR_LIMIT, "field %s has an item of %zu bytes, limit %u",
			    f->name, item.len, f->item);
		if (f->kind == FIELD_ADDRESSES && !is_address(item))
			return fail(e, ERR_PROTO, "field %s holds what is no address", f->name);
	}
	return OK;
}

static enum err
check_ids(const struct field *f, struct bytes b, struct error *e)
{
	struct reader r = reader_over(b);

	if (b.len < f->min * HASH_ID_BYTES || b.len > f->max * HASH_ID_BYTES)
		return fail(e, ERR_LIMIT, "field %s has %zu ids, limit %u", f->name,
		    b.len / HASH_ID_BYTES, (unsigned)f->max);
	while (reader_left(&r) > 0)
		(void)hash_id_decode(&r);
	if (r.bad)
		return fail(e, ERR_PROTO, "field %s holds what is no id", f->name);
	return OK;
}

static enum err
check_units(const struct field *f, struct bytes b, struct error *e)
{
	uint32_t first = 0, n = 0, runs = 0;

	while (message_units_next(&b, &first, &n))
		runs++;
	if (b.len > 0)
		return fail(e, ERR_PROTO, "field %s is no list of units", f->name);
	if (runs > f->max)
		return fail(e, ERR_LIMIT, "field %s has %u runs, limit %u", f->name, runs,
		    (unsigned)f->max);
	return OK;
}

static enum err
check_runs(const struct field *f, const void *at, struct error *e)
{
	const struct leaf_run *runs = (const struct leaf_run *)((const uint32_t *)at + 1);
	uint32_t n = *(const uint32_t *)at, next = 0;

	if (n > f->max)
		return fail(
		    e, ERR_LIMIT, "field %s has %u runs, limit %u", f->name, n, (unsigned)f->max);
	for (uint32_t i = 0; i < n; i++) {
		if (runs[i].n == 0 || runs[i].first < next)
			return fail(e, ERR_PROTO, "field %s has run %u+%u out of order", f->name,
			    runs[i].first, runs[i].n);
		next = (uint32_t)runs[i].first + runs[i].n;
		if (next > UNIT_LEAVES_MAX)
			return fail(e, ERR_LIMIT, "field %s reaches leaf %u, limit %d", f->name,
			    next, UNIT_LEAVES_MAX);
	}
	return OK;
}

static enum err
check_text(const struct field *f, struct bytes b, struct error *e)
{
	if (b.len == 0 && !f->required)
		return OK;
	if (b.len < f->min || b.len > f->max)
		return fail(e, ERR_LIMIT, "field %s has %zu bytes, must have %u to %u", f->name,
		    b.len, (unsigned)f->min, (unsigned)f->max);
	if (f->kind == FIELD_TEXT && !is_plain_text(b))
		return fail(e, ERR_PROTO, "field %s is no plain text", f->name);
	if (f->kind == FIELD_NAME && !is_name(b))
		return fail(e, ERR_PROTO, "field %s is no name", f->name);
	return OK;
}

static enum err
check_number(const struct field *f, const void *at, struct error *e)
{
	uint64_t v = number_load(f, at);

	if (f->kind == FIELD_ERR && error_to_wire(v) == 0)
		return fail(e, ERR_PROTO, "field %s is no error", f->name);
	if ((v != 0 || f->required) && (v < f->min || v > f->max))
		return fail(e, ERR_PROTO, "field %s is %llu, must be %llu to %llu", f->name,
		    (unsigned long long)v, (unsigned long long)f->min, (unsigned long long)f->max);
	return OK;
}

static enum err
check_hash(const struct field *f, const struct hash_id *id, struct error *e)
{
	if (hash_id_is_none(id) ? f->required : !hash_alg_known(id->alg))
		return fail(e, ERR_PROTO, "field %s is no id", f->name);
	return OK;
}

static enum err
check_field(const struct field *f, const void *at, struct error *e)
{
	switch (f->kind) {
	case FIELD_U8:
	case FIELD_U16:
	case FIELD_U32:
	case FIELD_U64:
	case FIELD_ERR:
		return check_number(f, at, e);
	case FIELD_FIXED:
		return OK;
	case FIELD_HASH:
		return check_hash(f, at, e);
	case FIELD_BYTES:
	case FIELD_TEXT:
	case FIELD_NAME:
		return check_text(f, *(const struct bytes *)at, e);
	case FIELD_LIST:
	case FIELD_ADDRESSES:
		return check_list(f, *(const struct message_list *)at, e);
	case FIELD_IDS:
		return check_ids(f, *(const struct bytes *)at, e);
	case FIELD_UNITS:
		return check_units(f, *(const struct bytes *)at, e);
	case FIELD_RUNS:
		return check_runs(f, at, e);
	}
	return fail(e, ERR_BUG, "field %s has no kind", f->name);
}

enum err
fields_check(const struct fields *f, const void *message, struct error *e)
{
	enum err r = OK;

	for (size_t i = 0; r == OK && i < f->n; i++)
		r = check_field(&f->at[i], (const uint8_t *)message + f->at[i].offset, e);
	if (r == OK && f->check != NULL)
		r = f->check(message, e);
	return r;
}

/* -- encode -- */

static bool
is_zero(const uint8_t *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (at[i] != 0)
			return false;
	return true;
}

static bool
is_left_out(const struct field *f, const void *at)
{
	if (f->required)
		return false;
	switch (f->kind) {
	case FIELD_FIXED:
		return is_zero(at, f->min);
	case FIELD_HASH:
		return hash_id_is_none(at);
	case FIELD_BYTES:
	case FIELD_TEXT:
	case FIELD_NAME:
	case FIELD_UNITS:
	case FIELD_IDS:
		return ((const struct bytes *)at)->len == 0;
	case FIELD_LIST:
	case FIELD_ADDRESSES:
		return ((const struct message_list *)at)->raw.len == 0;
	case FIELD_RUNS:
		return *(const uint32_t *)at == 0;
	default:
		return number_load(f, at) == 0;
	}
}

static void
encode_number(const struct field *f, const void *at, struct buf *out)
{
	uint64_t v = number_load(f, at);
	size_t n = number_width(f->kind);

	if (f->kind == FIELD_ERR)
		v = error_to_wire(v);
	buf_u32(out, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		buf_u8(out, (uint8_t)(v >> (8 * i)));
}

static void
encode_bytes(struct bytes b, struct buf *out)
{
	buf_u32(out, (uint32_t)b.len);
	buf_add_bytes(out, b);
}

static void
encode_runs(const void *at, struct buf *out)
{
	const struct leaf_run *runs = (const struct leaf_run *)((const uint32_t *)at + 1);
	uint32_t n = *(const uint32_t *)at;

	buf_u32(out, n * 4);
	for (uint32_t i = 0; i < n; i++) {
		buf_u16(out, runs[i].first);
		buf_u16(out, runs[i].n);
	}
}

static void
encode_field(const struct field *f, const void *at, struct buf *out)
{
	buf_u16(out, f->tag);
	switch (f->kind) {
	case FIELD_U8:
	case FIELD_U16:
	case FIELD_U32:
	case FIELD_U64:
	case FIELD_ERR:
		encode_number(f, at, out);
		break;
	case FIELD_FIXED:
		encode_bytes(BYTES(at, f->min), out);
		break;
	case FIELD_HASH:
		encode_bytes(hash_id_bytes(at), out);
		break;
	case FIELD_BYTES:
	case FIELD_TEXT:
	case FIELD_NAME:
	case FIELD_UNITS:
	case FIELD_IDS:
		encode_bytes(*(const struct bytes *)at, out);
		break;
	case FIELD_LIST:
	case FIELD_ADDRESSES:
		encode_bytes(((const struct message_list *)at)->raw, out);
		break;
	case FIELD_RUNS:
		encode_runs(at, out);
		break;
	}
}

void
fields_encode(const struct fields *f, const void *message, struct buf *out)
{
	for (size_t i = 0; i < f->n; i++) {
		const void *at = (const uint8_t *)message + f->at[i].offset;
		if (!is_left_out(&f->at[i], at))
			encode_field(&f->at[i], at, out);
	}
}
