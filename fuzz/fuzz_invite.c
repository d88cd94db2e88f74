/* A text: refused with a reason, or an invite that formats to a text which parses to the same; and
 * as an address. */
#include "base/mem.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "fuzz/fuzz.h"
#include "proto/invite.h"

static void
try_text(const char *text)
{
	struct invite in, again;
	struct buf out = BUF(INVITE_TEXT_MAX);
	struct error e = { 0 };
	enum err r = invite_parse(text, &in, &e);

	if (r != OK) {
		fuzz_require(r == ERR_USAGE && e.code == r && e.text[0] != '\0');
		return;
	}
	fuzz_require(invite_format(&in, &out, &e) == OK);
	fuzz_require(invite_parse(buf_text(&out), &again, &e) == OK);
	fuzz_require(memcmp(&in, &again, sizeof in) == 0);
	buf_clear(&out);
}

static void
try_address(const char *text)
{
	char host[LIMIT_ADDRESS_TEXT + 1];
	uint16_t port = 0;

	if (!invite_address_parse(text, host, &port))
		return;
	fuzz_require(port != 0 && host[0] != '\0' && strlen(host) <= LIMIT_ADDRESS_TEXT);
	for (const char *c = host; *c != '\0'; c++)
		fuzz_require(*c > ' ' && *c < 0x7f && *c != '/' && *c != '[' && *c != ']');
}

/* The bytes with the sum that they should have, as text: so that what lies behind the sum is
 * reached. */
static void
try_bytes(const uint8_t *data, size_t size)
{
	auto_buf struct buf raw = BUF(INVITE_TEXT_MAX), text = BUF(2 * INVITE_TEXT_MAX);
	uint8_t sum[HASH_BYTES];

	if (size > INVITE_TEXT_MAX / 2)
		return;
	buf_add(&raw, data, size);
	hash_sha256(buf_bytes(&raw), BYTES(NULL, 0), sum);
	buf_add(&raw, sum, 4);
	buf_addf(&text, "weft1-");
	char *to = (char *)buf_reserve(&text, (raw.len * 8 + 4) / 5 + 1);
	text_base32(buf_bytes(&raw), to);
	buf_grown(&text, strlen(to));
	try_text(buf_text(&text));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = mem_zalloc(size + 1);

	if (size > 0)
		memcpy(text, data, size);
	try_text(text);
	try_address(text);
	try_bytes(data, size);
	return 0;
}
