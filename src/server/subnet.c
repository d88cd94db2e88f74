#include "server/subnet.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

enum { V4_AT = 12, V4_BITS = 96, BITS = 128 };
static const uint8_t v4_prefix[V4_AT] = { [10] = 0xff, [11] = 0xff };

static bool
is_v4(const struct subnet *s)
{
	return s->bits >= V4_BITS && memcmp(s->address, v4_prefix, V4_AT) == 0;
}

bool
subnet_address(const char *host, uint8_t ret[static SUBNET_ADDRESS])
{
	char plain[SUBNET_TEXT];
	size_t n = strcspn(host, "%");

	if (n >= sizeof plain)
		return false;
	memcpy(plain, host, n);
	plain[n] = '\0';
	if (inet_pton(AF_INET6, plain, ret) == 1)
		return true;
	memcpy(ret, v4_prefix, V4_AT);
	return host[n] == '\0' && inet_pton(AF_INET, plain, ret + V4_AT) == 1;
}

/* Zero behind the first N bits. */
static void
cut(uint8_t address[static SUBNET_ADDRESS], unsigned n)
{
	for (unsigned i = 0; i < SUBNET_ADDRESS; i++) {
		unsigned keep = n > 8 * i ? min_of(n - 8 * i, 8U) : 0;
		address[i] &= (uint8_t)(0xff00U >> keep);
	}
}

enum err
subnet_parse(const char *text, struct subnet *ret, struct error *e)
{
	char host[SUBNET_TEXT], shown[2 * SUBNET_TEXT], network[SUBNET_TEXT];
	size_t n = strcspn(text, "/%");
	struct subnet s;
	uint64_t bits;

	text_escape(bytes_str(text), shown, sizeof shown);
	if (n >= sizeof host || text[n] == '%')
		return fail(e, ERR_USAGE, "'%s' is no network such as 10.1.0.0/16", shown);
	memcpy(host, text, n);
	host[n] = '\0';
	if (!subnet_address(host, s.address))
		return fail(e, ERR_USAGE, "'%s' is no network such as 10.1.0.0/16", shown);
	unsigned first = strchr(host, ':') == NULL ? V4_BITS : 0;
	bits = BITS - first;
	if (text[n] == '/' && !text_parse_u64(text + n + 1, BITS - first, &bits))
		return fail(e, ERR_USAGE, "'%s': its prefix is no number from 0 to %u", shown,
		    BITS - first);
	s.bits = (uint8_t)(first + bits);
	*ret = s;
	cut(ret->address, s.bits);
	if (memcmp(ret->address, s.address, sizeof s.address) != 0)
		return fail(e, ERR_USAGE, "'%s' has bits behind its prefix: is it %s?", shown,
		    subnet_format(ret, network));
	return OK;
}

const char *
subnet_format(const struct subnet *s, char out[static SUBNET_TEXT])
{
	char host[INET6_ADDRSTRLEN];
	bool v4 = is_v4(s);

	if (v4)
		(void)inet_ntop(AF_INET, s->address + V4_AT, host, sizeof host);
	else
		(void)inet_ntop(AF_INET6, s->address, host, sizeof host);
	snprintf(out, SUBNET_TEXT, "%s/%u", host, v4 ? s->bits - (unsigned)V4_BITS : s->bits);
	return out;
}

bool
subnet_has(const struct subnet *s, const uint8_t address[static SUBNET_ADDRESS])
{
	uint8_t network[SUBNET_ADDRESS];

	memcpy(network, address, sizeof network);
	cut(network, s->bits);
	return memcmp(network, s->address, sizeof network) == 0;
}

bool
subnet_equal(const struct subnet *a, const struct subnet *b)
{
	return a->bits == b->bits && memcmp(a->address, b->address, sizeof a->address) == 0;
}
