/*
 * subnet: networks of addresses, IPv4 and IPv6, and whether an address is in one.
 *
 * IPv4 is kept as the IPv6 addresses that stand for it (::ffff:0:0/96, RFC 4291 2.5.5.2), so that
 * an address fits however it was said.
 *
 * Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { SUBNET_ADDRESS = 16, SUBNET_TEXT = 52 };

struct subnet {
	uint8_t address[SUBNET_ADDRESS]; /* bits behind the prefix are 0 */
	uint8_t bits;
};

/* "10.1.0.0/16", "2001:db8::/32"; an address alone is a network of one.  ERR_USAGE. */
enum err subnet_parse(const char *text, struct subnet *ret, struct error *e) must_check;
const char *subnet_format(const struct subnet *s, char out[static SUBNET_TEXT]);
/* HOST: an address in digits, IPv6 also with a zone.  False: it is none. */
bool subnet_address(const char *host, uint8_t ret[static SUBNET_ADDRESS]);
bool subnet_has(const struct subnet *s, const uint8_t address[static SUBNET_ADDRESS]);
bool subnet_equal(const struct subnet *a, const struct subnet *b);
