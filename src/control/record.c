#include "control/record.h"

#include <assert.h>

#include "base/mem.h"
#include "base/reader.h"
#include "base/text.h"

static bool
is_name(struct bytes name)
{
	if (name.len == 0 || name.len > RECORD_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.at[i];
		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_')
			return false;
	}
	return true;
}

/* Room for a whole field, so that a full buffer never ends in half of one. */
static bool
begin(struct buf *out, const char *name, enum record_type type, size_t value_len)
{
	struct bytes n = bytes_str(name);

	assert(is_name(n));
	if (buf_reserve(out, 2 + n.len + value_len) == NULL)
		return false;
	buf_u8(out, (uint8_t)n.len);
	buf_add_bytes(out, n);
	buf_u8(out, (uint8_t)type);
	return true;
}

static void
add_num(struct buf *out, const char *name, enum record_type type, uint64_t v)
{
	if (begin(out, name, type, sizeof v))
		buf_u64(out, v);
}

void
record_bytes(struct buf *out, const char *name, struct bytes v)
{
	if (v.len > RECORD_MAX) {
		out->full = true;
		return;
	}
	if (begin(out, name, RECORD_TEXT, 4 + v.len)) {
		buf_u32(out, (uint32_t)v.len);
		buf_add_bytes(out, v);
	}
}

void
record_text(struct buf *out, const char *name, const char *v)
{
	if (v != NULL)
		record_bytes(out, name, bytes_str(v));
}

void
record_int(struct buf *out, const char *name, uint64_t v)
{
	add_num(out, name, RECORD_INT, v);
}

void
record_size(struct buf *out, const char *name, uint64_t v)
{
	add_num(out, name, RECORD_SIZE, v);
}

void
record_time(struct buf *out, const char *name, int64_t unix_ns)
{
	add_num(out, name, RECORD_TIME, (uint64_t)unix_ns);
}

void
record_duration(struct buf *out, const char *name, uint64_t ms)
{
	add_num(out, name, RECORD_DURATION, ms);
}

void
record_rate(struct buf *out, const char *name, uint64_t bytes_s)
{
	add_num(out, name, RECORD_RATE, bytes_s);
}

void
record_bool(struct buf *out, const char *name, bool v)
{
	add_num(out, name, RECORD_BOOL, v);
}

bool
record_next(struct bytes *rest, struct record_field *ret, bool *ret_bad)
{
	struct reader r = reader_over(*rest);
	struct record_field f = { 0 };

	if (rest->len == 0)
		return false;
	f.name = reader_take(&r, reader_u8(&r));
	uint8_t type = reader_u8(&r);
	if (type == RECORD_TEXT)
		f.text = reader_take(&r, reader_u32(&r));
	else
		f.num = reader_u64(&r);
	if (r.bad || !is_name(f.name) || type < RECORD_TEXT || type > RECORD_RATE ||
	    (type == RECORD_BOOL && f.num > 1)) {
		if (ret_bad != NULL)
			*ret_bad = true;
		*rest = BYTES(NULL, 0);
		return false;
	}
	f.type = (enum record_type)type;
	*rest = reader_rest(&r);
	*ret = f;
	return true;
}

enum err
record_check(struct bytes record, struct error *e)
{
	struct record_field f;
	struct bytes names[RECORD_FIELDS_MAX];
	size_t n = 0;
	bool bad = false;

	if (record.len > RECORD_MAX)
		return fail(e, ERR_PROTO, "record of %zu bytes, limit %d", record.len, RECORD_MAX);
	for (struct bytes rest = record; record_next(&rest, &f, &bad); n++) {
		if (n == RECORD_FIELDS_MAX)
			return fail(
			    e, ERR_PROTO, "record of more than %d fields", RECORD_FIELDS_MAX);
		for (size_t i = 0; i < n; i++)
			if (bytes_equal(names[i], f.name))
				return fail(e, ERR_PROTO, "record has %.*s twice", (int)f.name.len,
				    f.name.at);
		names[n] = f.name;
	}
	if (bad)
		return fail(e, ERR_PROTO, "malformed record: field %zu", n + 1);
	return OK;
}

bool
record_find(struct bytes record, const char *name, struct record_field *ret)
{
	struct record_field f;

	while (record_next(&record, &f, NULL)) {
		if (bytes_equal(f.name, bytes_str(name))) {
			*ret = f;
			return true;
		}
	}
	return false;
}

uint64_t
record_num(struct bytes record, const char *name)
{
	struct record_field f;

	return record_find(record, name, &f) ? f.num : 0;
}

const char *
record_str(struct bytes record, const char *name, char *out, size_t n)
{
	struct record_field f = { 0 };

	(void)record_find(record, name, &f);
	return text_escape(f.text, out, n);
}

/* RFC 3339 to the second is what people read; the nanoseconds of ours mean nothing to a script. */
static void
json_time(struct json *j, const char *key, int64_t unix_ns)
{
	char text[TEXT_TIME];

	if (unix_ns == 0)
		json_null(j, key);
	else
		json_text(j, key, text_time_rfc3339(unix_ns, text));
}

static void
json_field_text(struct json *j, const char *key, struct bytes v)
{
	char twin[RECORD_NAME_MAX + sizeof "_hex"];

	json_bytes(j, key, v);
	if (text_is_utf8(v))
		return;
	auto_free char *hex = mem_alloc(2 * v.len + 1);
	snprintf(twin, sizeof twin, "%s_hex", key);
	json_text(j, twin, text_hex(v, hex));
}

static void
json_field(struct json *j, const struct record_field *f)
{
	char key[RECORD_NAME_MAX + 1];

	memcpy(key, f->name.at, f->name.len);
	key[f->name.len] = '\0';
	switch (f->type) {
	case RECORD_TEXT:
		json_field_text(j, key, f->text);
		break;
	case RECORD_TIME:
		json_time(j, key, (int64_t)f->num);
		break;
	case RECORD_BOOL:
		json_bool(j, key, f->num != 0);
		break;
	case RECORD_INT:
	case RECORD_SIZE:
	case RECORD_DURATION:
	case RECORD_RATE:
		json_u64(j, key, f->num);
		break;
	}
}

void
record_json_fields(struct bytes record, struct json *j)
{
	struct record_field f;

	while (record_next(&record, &f, NULL))
		json_field(j, &f);
}

void
record_json(struct bytes record, const char *key, struct json *j)
{
	json_object(j, key);
	record_json_fields(record, j);
	json_end(j);
}
