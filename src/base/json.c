#include "base/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>

#include "base/text.h"

void
json_init(struct json *j, struct buf *out)
{
	*j = (struct json){ .out = out };
}

static void
add_char(struct buf *out, uint32_t c, struct bytes as_is)
{
	switch (c) {
	case '"':
		buf_add(out, "\\\"", 2);
		return;
	case '\\':
		buf_add(out, "\\\\", 2);
		return;
	case '\n':
		buf_add(out, "\\n", 2);
		return;
	case '\t':
		buf_add(out, "\\t", 2);
		return;
	default:
		/* C1 too, although JSON allows it: the text may be on its way to a terminal. */
		if (c < 0x20 || (c >= 0x7f && c < 0xa0))
			buf_addf(out, "\\u%04x", (unsigned)c);
		else
			buf_add_bytes(out, as_is);
	}
}

static void
add_string(struct buf *out, struct bytes v)
{
	buf_u8(out, '"');
	for (size_t i = 0, n; i < v.len; i += n) {
		uint32_t c = 0;
		n = text_utf8(bytes_slice(v, i, v.len - i), &c);
		if (n > 0) {
			add_char(out, c, bytes_slice(v, i, n));
		} else {
			buf_add(out, "\xef\xbf\xbd", 3);
			n = 1;
		}
	}
	buf_u8(out, '"');
}

/* What stands before a value: the comma and the key. */
static void
begin(struct json *j, const char *key)
{
	if (j->comma[j->depth])
		buf_u8(j->out, ',');
	j->comma[j->depth] = true;
	if (key != NULL) {
		add_string(j->out, bytes_str(key));
		buf_u8(j->out, ':');
	}
}

static void
open_level(struct json *j, const char *key, char open, char close)
{
	begin(j, key);
	buf_u8(j->out, (uint8_t)open);
	assert(j->depth + 1 < JSON_DEPTH);
	j->depth++;
	j->comma[j->depth] = false;
	j->close[j->depth] = close;
}

void
json_object(struct json *j, const char *key)
{
	open_level(j, key, '{', '}');
}

void
json_array(struct json *j, const char *key)
{
	open_level(j, key, '[', ']');
}

void
json_end(struct json *j)
{
	assert(j->depth > 0);
	buf_u8(j->out, (uint8_t)j->close[j->depth]);
	j->depth--;
}

void
json_text(struct json *j, const char *key, const char *v)
{
	json_bytes(j, key, bytes_str(v));
}

void
json_bytes(struct json *j, const char *key, struct bytes v)
{
	begin(j, key);
	add_string(j->out, v);
}

void
json_u64(struct json *j, const char *key, uint64_t v)
{
	begin(j, key);
	buf_addf(j->out, "%" PRIu64, v);
}

void
json_i64(struct json *j, const char *key, int64_t v)
{
	begin(j, key);
	buf_addf(j->out, "%" PRId64, v);
}

void
json_number(struct json *j, const char *key, double v)
{
	if (!isfinite(v)) {
		json_null(j, key); /* JSON has no word for it */
		return;
	}
	begin(j, key);
	buf_addf(j->out, "%.3f", v);
}

void
json_bool(struct json *j, const char *key, bool v)
{
	begin(j, key);
	buf_add_bytes(j->out, v ? BYTES_LIT("true") : BYTES_LIT("false"));
}

void
json_null(struct json *j, const char *key)
{
	begin(j, key);
	buf_add_bytes(j->out, BYTES_LIT("null"));
}
