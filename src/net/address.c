#include "net/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <string.h>

#include "base/text.h"

/* The colon before the port; NULL when there is none, or when an IPv6 address stands without
 * brackets. */
static const char *
find_port(const char *text)
{
	const char *last = strrchr(text, ':'), *first = strchr(text, ':');

	if (text[0] != '[')
		return first == last ? last : NULL;
	const char *end = strchr(text, ']');
	return end != NULL && end[1] == ':' ? end + 1 : NULL;
}

enum err
address_split(const char *text, char host[static ADDRESS_HOST], uint16_t *ret_port, struct error *e)
{
	const char *colon = find_port(text);
	uint64_t port = 0;

	if (colon == NULL || !text_parse_u64(colon + 1, UINT16_MAX, &port))
		return fail(
		    e, ERR_USAGE, "%.100s is no address: HOST:PORT or [IPV6]:PORT is", text);
	size_t brackets = text[0] == '[' ? 1 : 0;
	size_t n = (size_t)(colon - text) - 2 * brackets;
	if (n >= ADDRESS_HOST)
		return fail(e, ERR_USAGE, "%.100s...: the host's name is too long", text);
	memcpy(host, text + brackets, n);
	host[n] = '\0';
	*ret_port = (uint16_t)port;
	return OK;
}

bool
address_parse_host(const char *host, uint16_t port, struct address *ret)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
	struct addrinfo *found = NULL;

	/* Does not ask anybody: AI_NUMERICHOST only reads the text, with a scope after '%'. */
	if (getaddrinfo(host, NULL, &hints, &found) != 0)
		return false;
	bool ok = address_from(found->ai_addr, port, ret);
	freeaddrinfo(found);
	return ok;
}

bool
address_from(const struct sockaddr *sa, uint16_t port, struct address *ret)
{
	struct address a = { 0 };

	if (sa->sa_family == AF_INET) {
		memcpy(&a.at.v4, sa, sizeof a.at.v4);
		a.at.v4.sin_port = htons(port);
		a.len = sizeof a.at.v4;
	} else if (sa->sa_family == AF_INET6) {
		memcpy(&a.at.v6, sa, sizeof a.at.v6);
		a.at.v6.sin6_port = htons(port);
		a.len = sizeof a.at.v6;
	} else {
		return false;
	}
	*ret = a;
	return true;
}

uint16_t
address_port(const struct address *a)
{
	return ntohs(a->at.any.sa_family == AF_INET6 ? a->at.v6.sin6_port : a->at.v4.sin_port);
}

const char *
address_format(const struct address *a, char out[static ADDRESS_TEXT])
{
	char host[INET6_ADDRSTRLEN] = "?", scope[IF_NAMESIZE + 1] = "";
	const struct in6_addr *v6 = &a->at.v6.sin6_addr;

	if (a->at.any.sa_family != AF_INET6) {
		inet_ntop(AF_INET, &a->at.v4.sin_addr, host, sizeof host);
		snprintf(out, ADDRESS_TEXT, "%s:%u", host, address_port(a));
	} else if (IN6_IS_ADDR_V4MAPPED(v6)) {
		inet_ntop(AF_INET, &v6->s6_addr[12], host, sizeof host);
		snprintf(out, ADDRESS_TEXT, "%s:%u", host, address_port(a));
	} else {
		inet_ntop(AF_INET6, v6, host, sizeof host);
		if (a->at.v6.sin6_scope_id != 0)
			snprintf(scope, sizeof scope, "%%%u", a->at.v6.sin6_scope_id);
		snprintf(out, ADDRESS_TEXT, "[%s%s]:%u", host, scope, address_port(a));
	}
	return out;
}
