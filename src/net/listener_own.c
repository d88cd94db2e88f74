#include <ifaddrs.h>
#include <net/if.h>

#include "net/address.h"
#include "net/listener.h"

/* Could another machine call us there?  An address of the link alone needs a scope that only we
 * know. */
static bool
is_reachable(const struct ifaddrs *i)
{
	if (i->ifa_addr == NULL || !(i->ifa_flags & IFF_UP))
		return false;
	if (i->ifa_addr->sa_family == AF_INET6)
		return !IN6_IS_ADDR_LINKLOCAL(
		    &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr);
	return i->ifa_addr->sa_family == AF_INET;
}

static size_t
add_family(const struct ifaddrs *all, int family, bool loopback, uint16_t port,
    char (*out)[LISTENER_ADDRESS], size_t n, size_t max)
{
	for (const struct ifaddrs *i = all; i != NULL && n < max; i = i->ifa_next) {
		struct address a;
		char text[ADDRESS_TEXT];
		if (!is_reachable(i) || i->ifa_addr->sa_family != family ||
		    loopback != ((i->ifa_flags & IFF_LOOPBACK) != 0))
			continue;
		if (address_from(i->ifa_addr, port, &a))
			snprintf(out[n++], LISTENER_ADDRESS, "%s", address_format(&a, text));
	}
	return n;
}

/* IPv4 first: whoever has only that cannot call the others, and whoever has both loses nothing. */
size_t
listener_own_addresses(uint16_t port, char (*out)[LISTENER_ADDRESS], size_t max)
{
	struct ifaddrs *all = NULL;
	size_t n = 0;

	if (getifaddrs(&all) != 0)
		return 0;
	n = add_family(all, AF_INET, false, port, out, n, max);
	n = add_family(all, AF_INET6, false, port, out, n, max);
	if (n == 0)
		n = add_family(all, AF_INET, true, port, out, n, max);
	if (n == 0)
		n = add_family(all, AF_INET6, true, port, out, n, max);
	freeifaddrs(all);
	return n;
}
