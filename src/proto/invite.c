#include "proto/invite.h"

#include <strings.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/reader.h"
#include "base/text.h"
#include "crypto/hash.h"

#define PREFIX "weft1-"
#define BROKEN "this invite is mistyped or cut off"
#define NEWER  "this invite was made by a newer weft: update this one"
enum { VERSION = 1, SUM_BYTES = 4 };

static bool
is_host_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_';
}

/* Hex, colons, dots (an embedded IPv4 address) and a zone. */
static bool
is_v6(const char *s, size_t n)
{
	size_t colons = 0, i = 0;

	for (; i < n && s[i] != '%'; i++) {
		bool hex = (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f') ||
			   (s[i] >= 'A' && s[i] <= 'F');
		if (!hex && s[i] != ':' && s[i] != '.')
			return false;
		colons += s[i] == ':';
	}
	if (i < n) { /* "%eth0" */
		if (i + 1 == n)
			return false;
		for (size_t k = i + 1; k < n; k++)
			if (!is_host_char(s[k]))
				return false;
	}
	return colons >= 2;
}

static bool
is_host(const char *s, size_t n)
{
	if (n == 0 || s[0] == '.' || s[0] == '-')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!is_host_char(s[i]))
			return false;
	return true;
}

bool
invite_address_parse(const char *text, char host[static LIMIT_ADDRESS_TEXT + 1], uint16_t *ret_port)
{
	size_t len = strlen(text);
	const char *from = text, *end = text + len, *port_text = NULL;
	uint64_t port = DEFAULT_PORT;
	bool v6 = false;

	if (len == 0 || len > LIMIT_ADDRESS_TEXT)
		return false;
	const char *colon = strchr(text, ':');
	if (text[0] == '[') {
		const char *bracket = strchr(text, ']');
		if (bracket == NULL || (bracket[1] != '\0' && bracket[1] != ':'))
			return false;
		port_text = bracket[1] == ':' ? bracket + 2 : NULL;
		from++;
		end = bracket;
		v6 = true;
	} else if (colon != NULL && strchr(colon + 1, ':') != NULL) {
		v6 = true; /* bare, so without a port */
	} else if (colon != NULL) {
		port_text = colon + 1;
		end = colon;
	}
	size_t n = (size_t)(end - from);
	if (v6 ? !is_v6(from, n) : !is_host(from, n))
		return false;
	if (port_text != NULL && (!text_parse_u64(port_text, UINT16_MAX, &port) || port == 0))
		return false;
	memcpy(host, from, n);
	host[n] = '\0';
	*ret_port = (uint16_t)port;
	return true;
}

void
invite_proof(const uint8_t secret[static INVITE_SECRET_BYTES], const uint8_t exporter[static 32],
    const uint8_t id[static INVITE_ID_BYTES], const struct device_id *device,
    uint8_t out[static 32])
{
	uint8_t data[32 + INVITE_ID_BYTES + DEVICE_ID_BYTES];

	memcpy(data, exporter, 32);
	memcpy(data + 32, id, INVITE_ID_BYTES);
	memcpy(data + 32 + INVITE_ID_BYTES, device->bytes, DEVICE_ID_BYTES);
	hash_hmac_sha256(BYTES(secret, INVITE_SECRET_BYTES), BYTES_OF(data), out);
	mem_wipe(data, sizeof data);
}

static void
checksum(struct bytes b, uint8_t out[static SUM_BYTES])
{
	uint8_t sum[HASH_BYTES];

	hash_sha256(b, BYTES(NULL, 0), sum);
	memcpy(out, sum, SUM_BYTES);
}

static void
encode(const struct invite *in, struct buf *b)
{
	uint8_t sum[SUM_BYTES];

	buf_u8(b, VERSION);
	buf_add(b, in->server.bytes, DEVICE_ID_BYTES);
	buf_add(b, in->id, INVITE_ID_BYTES);
	buf_add(b, in->secret, INVITE_SECRET_BYTES);
	buf_u8(b, in->n_addresses);
	for (uint8_t i = 0; i < in->n_addresses; i++) {
		size_t n = strlen(in->addresses[i]);
		buf_u8(b, (uint8_t)n);
		buf_add(b, in->addresses[i], n);
	}
	checksum(buf_bytes(b), sum);
	buf_add(b, sum, sizeof sum);
}

/* The secret was in there. */
static void
wipe(struct buf *b)
{
	if (b->at != NULL)
		mem_wipe(b->at, b->room);
	buf_clear(b);
}
#define auto_secret auto_(wipe)

enum err
invite_format(const struct invite *in, struct buf *out, struct error *e)
{
	auto_secret struct buf raw = BUF(INVITE_TEXT_MAX * 5 / 8);
	auto_secret struct buf text = BUF(INVITE_TEXT_MAX);
	char host[LIMIT_ADDRESS_TEXT + 1];
	uint16_t port;

	if (in->n_addresses == 0 || in->n_addresses > LIMIT_ADDRESSES)
		return fail(e, ERR_LIMIT, "an invite with %u addresses, must have 1 to %d",
		    in->n_addresses, LIMIT_ADDRESSES);
	for (uint8_t i = 0; i < in->n_addresses; i++)
		if (!invite_address_parse(in->addresses[i], host, &port))
			return fail(e, ERR_USAGE, "an invite with an address that is none");
	encode(in, &raw);
	char *to = (char *)buf_reserve(&text, (raw.len * 8 + 4) / 5 + 1);
	if (raw.full || to == NULL)
		return fail(e, ERR_LIMIT, "an invite of more than %d characters", INVITE_TEXT_MAX);
	text_base32(buf_bytes(&raw), to);
	if (!buf_add_bytes(out, BYTES_LIT(PREFIX)) || !buf_add(out, to, strlen(to)))
		return fail(e, ERR_LIMIT, "no room for an invite");
	return OK;
}

static enum err
decode(struct bytes raw, struct invite *ret, struct error *e)
{
	struct reader r = reader_over(raw);
	char host[LIMIT_ADDRESS_TEXT + 1];
	uint16_t port;

	(void)reader_u8(&r); /* version */
	reader_copy(&r, ret->server.bytes, DEVICE_ID_BYTES);
	reader_copy(&r, ret->id, INVITE_ID_BYTES);
	reader_copy(&r, ret->secret, INVITE_SECRET_BYTES);
	ret->n_addresses = reader_u8(&r);
	bool ok = ret->n_addresses > 0 && ret->n_addresses <= LIMIT_ADDRESSES;
	for (uint8_t i = 0; ok && i < ret->n_addresses; i++) {
		struct bytes a = reader_take(&r, reader_u8(&r));
		ok = a.len > 0 && a.len <= LIMIT_ADDRESS_TEXT && memchr(a.at, '\0', a.len) == NULL;
		if (ok) {
			memcpy(ret->addresses[i], a.at, a.len);
			ok = invite_address_parse(ret->addresses[i], host, &port);
		}
	}
	if (!ok || !reader_done(&r))
		return fail(e, ERR_USAGE, "this invite is not well-formed: ask for a new one");
	return OK;
}

/* Bytes that the base32 TEXT stands for, without the characters that text_parse_base32 skips. */
static size_t
base32_bytes(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n +=
		    *text != '-' && *text != ' ' && *text != '\t' && *text != '\n' && *text != '\r';
	return n * 5 / 8;
}

/* "weft" and a number other than ours, and a dash. */
static bool
is_newer(const char *text)
{
	size_t digits = 0;

	if (strncasecmp(text, "weft", 4) != 0)
		return false;
	while (text[4 + digits] >= '0' && text[4 + digits] <= '9')
		digits++;
	return digits > 0 && text[4 + digits] == '-';
}

enum err
invite_parse(const char *text, struct invite *ret, struct error *e)
{
	auto_secret struct buf raw = BUF(INVITE_TEXT_MAX);
	uint8_t sum[SUM_BYTES];
	struct invite in = { 0 };

	while (*text == ' ' || *text == '\t' || *text == '\n' || *text == '\r')
		text++;
	if (strncasecmp(text, PREFIX, strlen(PREFIX)) != 0)
		return is_newer(text)
			   ? fail(e, ERR_USAGE, NEWER)
			   : fail(e, ERR_USAGE,
				 "this is not an invite: one begins with \"" PREFIX "\"");
	text += strlen(PREFIX);
	size_t n = strnlen(text, INVITE_TEXT_MAX) < INVITE_TEXT_MAX ? base32_bytes(text) : 0;
	uint8_t *at = buf_reserve(&raw, n);
	if (n < 1 + SUM_BYTES || !text_parse_base32(text, at, n))
		return fail(e, ERR_USAGE, BROKEN);
	checksum(BYTES(at, n - SUM_BYTES), sum);
	if (!bytes_equal(BYTES_OF(sum), BYTES(at + n - SUM_BYTES, SUM_BYTES)))
		return fail(e, ERR_USAGE, BROKEN);
	if (at[0] > VERSION)
		return fail(e, ERR_USAGE, NEWER);
	enum err r = decode(BYTES(at, n - SUM_BYTES), &in, e);
	if (r == OK)
		*ret = in;
	mem_wipe(&in, sizeof in);
	return r;
}
