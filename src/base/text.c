#include "base/text.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

#include "base/mem.h"

/* Decimal digits at *S, moved past them; false if there are none or the number is above MAX. */
static bool
take_number(const char **s, uint64_t max, uint64_t *ret)
{
	const char *at = *s;
	uint64_t v = 0;

	for (; *at >= '0' && *at <= '9'; at++) {
		uint64_t digit = (uint64_t)(*at - '0');
		if (digit > max || v > (max - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	if (at == *s)
		return false;
	*s = at;
	*ret = v;
	return true;
}

bool
text_parse_u64(const char *s, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (!take_number(&s, max, &v) || *s != '\0')
		return false;
	*ret = v;
	return true;
}

bool
text_parse_duration(const char *s, uint64_t *ret_seconds)
{
	static const struct {
		char letter;
		uint32_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 } };
	const uint64_t most = UINT64_C(3650) * 86400;
	uint64_t v = 0, unit = 0;

	if (!take_number(&s, most, &v))
		return false;
	if (*s == '\0')
		unit = 1;
	for (size_t i = 0; i < lengthof(units); i++)
		if (s[0] == units[i].letter && s[1] == '\0')
			unit = units[i].seconds;
	if (unit == 0 || v > most / unit)
		return false;
	*ret_seconds = v * unit;
	return true;
}

/* The bits that the unit S stands for: "" and "B" 0, "k", "K", "KiB", "KB" 10, up to "P" 50; -1 if
 * it is none. */
static int
size_unit(const char *s)
{
	static const char letters[] = "kmgtp";
	int shift = 0;

	if (*s != '\0' && *s != 'B') {
		const char *letter = strchr(letters, *s | 0x20);
		if (letter == NULL)
			return -1;
		shift = 10 * (int)(letter - letters + 1);
		s++;
		if (s[0] == 'i' && s[1] == 'B')
			s++;
	}
	if (*s == 'B')
		s++;
	return *s == '\0' ? shift : -1;
}

/* At most three digits behind a point: PART of SCALE, 0 of 1 when there are none. */
static bool
take_fraction(const char **s, uint64_t *part, uint64_t *scale)
{
	const char *digits = *s + 1;

	*part = 0;
	*scale = 1;
	if (**s != '.')
		return true;
	*s = digits;
	if (!take_number(s, 999, part) || *s - digits > 3)
		return false;
	for (; digits < *s; digits++)
		*scale *= 10;
	return true;
}

bool
text_parse_size(const char *s, uint64_t *ret_bytes)
{
	uint64_t whole = 0, part = 0, scale = 1;

	if (!take_number(&s, UINT64_MAX, &whole) || !take_fraction(&s, &part, &scale))
		return false;
	int shift = size_unit(s);
	if (shift < 0 || (shift == 0 && scale > 1) || whole > UINT64_MAX >> shift)
		return false;
	whole <<= shift;
	part = (part << shift) / scale; /* below 2^60: 999 at most, and 2^50 */
	if (part > UINT64_MAX - whole)
		return false;
	*ret_bytes = whole + part;
	return true;
}

/* The bits that the unit S stands for, 0 if it is none. */
static uint64_t
rate_unit(const char *s)
{
	static const struct {
		const char *name;
		uint64_t bits;
	} units[] = {
		{ "bit", 1 },
		{ "kbit", 1000 },
		{ "Mbit", 1000000 },
		{ "Gbit", 1000000000 },
		{ "B", 8 },
		{ "kB", 8000 },
		{ "MB", 8000000 },
		{ "GB", UINT64_C(8000000000) },
		{ "KiB", 8 << 10 },
		{ "MiB", 8 << 20 },
		{ "GiB", UINT64_C(8) << 30 },
	};

	for (size_t i = 0; i < lengthof(units); i++) {
		size_t n = strlen(units[i].name);
		if (strncmp(s, units[i].name, n) == 0 && (s[n] == '\0' || strcmp(s + n, "/s") == 0))
			return units[i].bits;
	}
	return 0;
}

bool
text_parse_rate(const char *s, uint64_t *ret_bytes_s)
{
	uint64_t whole = 0, part = 0, scale = 1;

	if (!take_number(&s, 1000000000, &whole) || !take_fraction(&s, &part, &scale))
		return false;
	uint64_t bits = rate_unit(s);
	if (bits == 0)
		return false;
	*ret_bytes_s = (whole * bits + part * bits / scale) / 8; /* below 2^64: 2^30 times 2^33 */
	return true;
}

const char *
text_size(uint64_t bytes, char out[static TEXT_SIZE])
{
	static const char units[] = "KMGTPE";
	double v = (double)bytes / 1024;
	size_t u = 0;

	if (bytes < 1024) {
		snprintf(out, TEXT_SIZE, "%u B", (unsigned)bytes);
		return out;
	}
	for (; v >= 1023.95 && units[u + 1] != '\0'; u++)
		v /= 1024;
	snprintf(out, TEXT_SIZE, "%.1f %ciB", v, units[u]);
	return out;
}

const char *
text_duration(uint64_t ms, char out[static TEXT_DURATION])
{
	const uint64_t day = 86400, most = 9999 * day;
	uint64_t tenths = ms < 10000 ? (ms + 50) / 100 : 100;
	uint64_t s = min_of(ms / 1000 + (ms % 1000 >= 500), most);

	if (tenths < 100)
		snprintf(
		    out, TEXT_DURATION, "%u.%u s", (unsigned)tenths / 10, (unsigned)tenths % 10);
	else if (s < 60)
		snprintf(out, TEXT_DURATION, "%u s", (unsigned)s);
	else if (s < 3600)
		snprintf(out, TEXT_DURATION, "%um %02us", (unsigned)s / 60, (unsigned)s % 60);
	else if (s < day)
		snprintf(
		    out, TEXT_DURATION, "%uh %02um", (unsigned)s / 3600, (unsigned)s / 60 % 60);
	else
		snprintf(out, TEXT_DURATION, "%ud %02uh", (unsigned)(s / day),
		    (unsigned)(s % day) / 3600);
	return out;
}

/* Seconds, rounded towards the past also before 1970. */
static time_t
seconds_of(int64_t unix_ns)
{
	const int64_t second = 1000000000;

	return unix_ns / second - (unix_ns % second < 0);
}

const char *
text_time(int64_t unix_ns, char out[static TEXT_TIME])
{
	time_t t = seconds_of(unix_ns);
	struct tm tm;

	if (localtime_r(&t, &tm) == NULL || strftime(out, TEXT_TIME, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		out[0] = '\0';
	return out;
}

const char *
text_time_rfc3339(int64_t unix_ns, char out[static TEXT_TIME])
{
	time_t t = seconds_of(unix_ns);
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL || strftime(out, TEXT_TIME, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		out[0] = '\0';
	return out;
}

static const char hex_digits[] = "0123456789abcdef";

const char *
text_hex(struct bytes b, char *out)
{
	for (size_t i = 0; i < b.len; i++) {
		out[2 * i] = hex_digits[b.at[i] >> 4];
		out[2 * i + 1] = hex_digits[b.at[i] & 15];
	}
	out[2 * b.len] = '\0';
	return out;
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool
text_parse_hex(const char *s, uint8_t *out, size_t n)
{
	if (strlen(s) != 2 * n)
		return false;
	for (size_t i = 0; i < 2 * n; i++)
		if (hex_value(s[i]) < 0)
			return false;
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(hex_value(s[2 * i]) << 4 | hex_value(s[2 * i + 1]));
	return true;
}

const char *
text_base32(struct bytes b, char *out)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
	unsigned acc = 0, bits = 0;
	char *to = out;

	for (size_t i = 0; i < b.len; i++) {
		acc = acc << 8 | b.at[i];
		for (bits += 8; bits >= 5; bits -= 5)
			*to++ = letters[acc >> (bits - 5) & 31];
		acc &= 31; /* fewer than five bits are left */
	}
	if (bits > 0)
		*to++ = letters[acc << (5 - bits) & 31];
	*to = '\0';
	return out;
}

static int
base32_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a';
	if (c >= '2' && c <= '7')
		return c - '2' + 26;
	switch (c) {
	case '0':
		return 'o' - 'a';
	case '1':
		return 'l' - 'a';
	case '8':
		return 'b' - 'a';
	default:
		return -1;
	}
}

bool
text_parse_base32(const char *s, uint8_t *out, size_t n)
{
	unsigned acc = 0, bits = 0;
	size_t len = 0, chars = 0;

	for (; *s != '\0'; s++) {
		if (strchr("- \t\r\n", *s) != NULL)
			continue;
		int v = base32_value(*s);
		if (v < 0)
			return false;
		chars++;
		acc = acc << 5 | (unsigned)v;
		bits += 5;
		if (bits >= 8) {
			if (len == n)
				return false;
			bits -= 8;
			out[len++] = (uint8_t)(acc >> bits);
			acc &= (1u << bits) - 1;
		}
	}
	return len == n && chars == (n * 8 + 4) / 5 && acc == 0;
}

/* Bytes of a character that begins with LEAD, 0 if none does. */
static size_t
utf8_length(uint8_t lead)
{
	if (lead < 0x80)
		return 1;
	if (lead < 0xc0 || lead >= 0xf8)
		return 0;
	return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

size_t
text_utf8(struct bytes b, uint32_t *ret_char)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint8_t lead = b.len > 0 ? b.at[0] : 0xff;
	size_t n = utf8_length(lead);
	uint32_t c = n < 2 ? lead : lead & (0x7fu >> n);

	if (n == 0 || n > b.len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((b.at[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (b.at[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret_char = c;
	return n;
}

bool
text_is_utf8(struct bytes b)
{
	uint32_t c;

	for (size_t i = 0, n; i < b.len; i += n) {
		n = text_utf8(bytes_slice(b, i, b.len - i), &c);
		if (n == 0)
			return false;
	}
	return true;
}

bool
text_is_visible(uint32_t c)
{
	static const struct {
		uint32_t from, to;
	} hidden[] = {
		{ 0, 0x1f }, { 0x7f, 0x9f }, /* delete and C1 controls */
		{ 0xad, 0xad },              /* soft hyphen */
		{ 0x61c, 0x61c },            /* bidirectional */
		{ 0x180e, 0x180e },          /* no width */
		{ 0x200b, 0x200f },          /* no width, bidirectional */
		{ 0x2028, 0x202e },          /* line ends, bidirectional */
		{ 0x2060, 0x206f },          /* no width, bidirectional */
		{ 0xfdd0, 0xfdef },          /* not characters */
		{ 0xfeff, 0xfeff },          /* byte order */
		{ 0xfff0, 0xfffb },          /* annotations */
		{ 0xe0000, 0xe0fff },        /* tags, variation selectors */
	};

	for (size_t i = 0; i < lengthof(hidden); i++)
		if (c >= hidden[i].from && c <= hidden[i].to)
			return false;
	return (c & 0xfffe) != 0xfffe;
}

const char *
text_escape(struct bytes b, char *out, size_t n)
{
	size_t len = 0, whole = 0; /* up to `whole` the dots still fit behind */

	assert(n > 0);
	for (size_t i = 0; i < b.len;) {
		uint32_t c = 0;
		size_t from = text_utf8(bytes_slice(b, i, b.len - i), &c);
		/* The backslash begins our own escapes. */
		bool as_is = from > 0 && c != '\\' && text_is_visible(c);
		if (from == 0)
			from = 1;
		size_t to = as_is ? from : 4 * from;
		if (to >= n - len) {
			size_t dots = min_of(n - 1 - whole, (size_t)3);
			memcpy(out + whole, "...", dots);
			len = whole + dots;
			break;
		}
		for (size_t k = 0; k < from; k++, i++) {
			if (as_is) {
				out[len++] = (char)b.at[i];
				continue;
			}
			const char hex[4] = { '\\', 'x', hex_digits[b.at[i] >> 4],
				hex_digits[b.at[i] & 15] };
			memcpy(out + len, hex, 4);
			len += 4;
		}
		if (len + 3 < n)
			whole = len;
	}
	out[len] = '\0';
	return out;
}

/* Bytes of the first character of S, one if it is not UTF-8. */
static size_t
one_char(const char *s)
{
	uint32_t c;
	size_t n = text_utf8(bytes_str(s), &c);

	return n > 0 ? n : 1;
}

bool
text_glob(const char *pattern, const char *s)
{
	const char *star = NULL, *retry = NULL;

	while (*s != '\0') {
		if (*pattern == '*') {
			star = ++pattern;
			retry = s;
		} else if (*pattern == '?') {
			pattern++;
			s += one_char(s);
		} else if (*pattern == *s) {
			pattern++;
			s++;
		} else if (star != NULL) {
			/* Only the last star need give way: what an earlier one took is matched for
			 * good. */
			pattern = star;
			s = ++retry;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}
