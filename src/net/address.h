/*
 * address: where a node listens, as text ("1.2.3.4:7470", "[::1]:7470", "host.example:7470") and as
 * the kernel wants it.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"

enum {
	ADDRESS_HOST = 256, /* a DNS name (253), with NUL */
	ADDRESS_TEXT = 72,  /* "[v6%scope]:port" with NUL */
};

struct address {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} at;
	socklen_t len;
};

/* "host:port" or "[host]:port"; HOST may be empty in ":port".  ERR_USAGE says what is wrong. */
enum err address_split(const char *text, char host[static ADDRESS_HOST], uint16_t *ret_port,
    struct error *e) must_check;
/* HOST as a number; false: it is a name. */
bool address_parse_host(const char *host, uint16_t port, struct address *ret);
/* From the resolver's or the kernel's hands; false for what is neither IPv4 nor IPv6. */
bool address_from(const struct sockaddr *sa, uint16_t port, struct address *ret);
uint16_t address_port(const struct address *a);
/* An IPv4 address within IPv6 is shown as IPv4. */
const char *address_format(const struct address *a, char out[static ADDRESS_TEXT]);
