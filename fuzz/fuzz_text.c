/*
 * Bytes of a stranger as text: what is escaped may be shown on any terminal, what goes into JSON is
 * JSON, a parser takes all of a text or nothing, and a pattern matches what it should.  The first
 * byte says how much room there is; a NUL parts the pattern from its subject.
 */
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "fuzz/fuzz.h"

/* Moves no cursor, changes no colour and does not turn the direction of what follows. */
static void
require_harmless(struct bytes b)
{
	uint32_t c = 0;

	for (size_t i = 0, n; i < b.len; i += n) {
		n = text_utf8(bytes_slice(b, i, b.len - i), &c);
		fuzz_require(n > 0);
		fuzz_require(c >= 0x20 && (c < 0x7f || c >= 0xa0));
		fuzz_require(c < 0x200b || c > 0x200f);
		fuzz_require(c < 0x2028 || c > 0x202e);
		fuzz_require(c < 0x2060 || c > 0x206f);
	}
}

static bool
is_plain(struct bytes b)
{
	for (size_t i = 0; i < b.len; i++)
		if (b.at[i] < 0x20 || b.at[i] >= 0x7f || b.at[i] == '\\')
			return false;
	return true;
}

static void
escape(struct bytes b, size_t room)
{
	auto_free char *out = mem_alloc(room);

	fuzz_require(text_escape(b, out, room) == out);
	size_t n = strnlen(out, room);
	fuzz_require(n < room);
	require_harmless(BYTES(out, n));
	if (b.len < room && is_plain(b))
		fuzz_require(n == b.len && memcmp(out, b.at, n) == 0);
}

/* One string in quotes, and nothing in it that would end it early. */
static void
write_json(struct bytes b)
{
	auto_buf struct buf out = BUF(16 * b.len + 16);
	struct json j;

	json_init(&j, &out);
	json_bytes(&j, NULL, b);
	fuzz_require(!out.full && out.len >= 2 && text_is_utf8(buf_bytes(&out)));
	fuzz_require(out.at[0] == '"' && out.at[out.len - 1] == '"');
	for (size_t i = 1; i < out.len - 1; i++) {
		fuzz_require(out.at[i] >= 0x20 && out.at[i] != 0x7f && out.at[i] != '"');
		if (out.at[i] != '\\')
			continue;
		i++; /* passes the quote or backslash that is escaped */
		fuzz_require(i < out.len - 1 && strchr("\"\\ntu", out.at[i]) != NULL);
	}
}

static void
parse_numbers(const char *s)
{
	uint64_t v = 0, again = 0;
	char text[32];

	if (text_parse_u64(s, 1000000, &v)) {
		fuzz_require(v <= 1000000);
		snprintf(text, sizeof text, "%llu", (unsigned long long)v);
		fuzz_require(text_parse_u64(text, v, &again) && again == v);
		fuzz_require(v == 0 || !text_parse_u64(text, v - 1, &again));
	}
	if (text_parse_duration(s, &v))
		fuzz_require(v <= UINT64_C(3650) * 86400);
	(void)text_parse_size(s, &v);
	fuzz_require(strlen(text_size(v, text)) < TEXT_SIZE);
	fuzz_require(strlen(text_duration(v, text)) < TEXT_DURATION);
	fuzz_require(strlen(text_time((int64_t)v, text)) < TEXT_TIME);
}

static void
parse_ids(const char *s)
{
	uint8_t id[33], again[33];
	char text[2 * sizeof id + 1];

	for (size_t n = 1; n <= sizeof id; n++) {
		if (text_parse_base32(s, id, n)) {
			text_base32(BYTES(id, n), text);
			fuzz_require(text_parse_base32(text, again, n));
			fuzz_require(memcmp(id, again, n) == 0);
		}
		if (text_parse_hex(s, id, n)) {
			text_hex(BYTES(id, n), text);
			fuzz_require(text_parse_hex(text, again, n) && memcmp(id, again, n) == 0);
		}
	}
}

/* What a pattern means, written down plainly: the rest of P against the rest of S. */
static bool
matches(const char *p, const char *s)
{
	uint32_t c;

	if (*p == '\0')
		return *s == '\0';
	if (*p == '*')
		return matches(p + 1, s) || (*s != '\0' && matches(p, s + 1));
	if (*s == '\0')
		return false;
	if (*p == '?') {
		size_t n = text_utf8(bytes_str(s), &c);
		return matches(p + 1, s + (n > 0 ? n : 1));
	}
	return *p == *s && matches(p + 1, s + 1);
}

/* Within a character a star may end only where the fast way can end too: ASCII shows the rest. */
static void
match(const char *pattern, const char *subject)
{
	size_t stars = 0;

	for (const char *p = pattern; *p != '\0'; p++)
		stars += *p == '*';
	bool is = text_glob(pattern, subject);
	if (stars <= 3 && strlen(subject) <= 24 && strlen(pattern) <= 24)
		fuzz_require(is == matches(pattern, subject));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > 4096)
		return 0;
	struct bytes b = BYTES(data + 1, size - 1);
	auto_free char *s = mem_zalloc(b.len + 2);
	memcpy(s, b.at, b.len);

	escape(b, data[0] + 1u);
	write_json(b);
	parse_numbers(s);
	parse_ids(s);
	match(s, strlen(s) < b.len ? s + strlen(s) + 1 : "");
	return 0;
}
