#include "net/listener_bind.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/address.h"
#include "net/port_owner.h"
#include "platform/fault.h"

static int
bind_to(int fd, const struct sockaddr *sa, socklen_t len)
{
	int fault = fault_point("bind");

	if (fault == 0)
		return bind(fd, sa, len) == 0 ? 0 : errno;
	return fault > 0 ? fault : EIO;
}

/* "port" and ":port" have an empty host. */
static enum err
split(const char *text, char host[static ADDRESS_HOST], uint16_t *ret_port, struct error *e)
{
	char with_colon[8];

	if (strchr(text, ':') != NULL || strlen(text) > 5)
		return address_split(text, host, ret_port, e);
	snprintf(with_colon, sizeof with_colon, ":%s", text);
	return address_split(with_colon, host, ret_port, e);
}

/* The first address of HOST; asks the resolver, which may block, but only for a name, and only at
 * the start. */
static enum err
resolve(const char *host, uint16_t port, struct address *ret, struct error *e)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *found = NULL;

	if (address_parse_host(host, port, ret))
		return OK;
	int r = getaddrinfo(host, NULL, &hints, &found);
	if (r != 0)
		return fail(e, ERR_USAGE, "%s: cannot find its address: %s", host, gai_strerror(r));
	bool ok = address_from(found->ai_addr, port, ret);
	freeaddrinfo(found);
	return ok ? OK : fail(e, ERR_USAGE, "%s is no address to listen on", host);
}

static enum err
fail_bind(struct error *e, int sys, const struct address *a)
{
	char where[ADDRESS_TEXT], who[PORT_OWNER_TEXT];

	address_format(a, where);
	if (sys == EADDRINUSE)
		return error_set(e, ERR_EXISTS, sys, HERE, "port %u is in use%s", address_port(a),
		    port_owner(address_port(a), who));
	if (sys == EACCES)
		return error_set(e, ERR_DENIED, sys, HERE, "only root may listen on %s", where);
	return fail_sys(e, sys, "listen on %s", where);
}

/* A socket bound to A.  One of IPv6 takes IPv4 as well. */
static enum err
bind_address(const struct address *a, int *ret_fd, struct error *e)
{
	int fault = fault_point("socket"), on = 1, off = 0;
	int family = a->at.any.sa_family;
	auto_fd int fd =
	    fault != 0 ? -1 : socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return fail_sys(e, fault > 0 ? fault : fault < 0 ? EIO : errno, "open a socket");
	/* The port of a server that has just ended is ours at once. */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	int sys = bind_to(fd, &a->at.any, a->len);
	if (sys != 0)
		return fail_bind(e, sys, a);
	*ret_fd = take_fd(fd);
	return OK;
}

/* All interfaces: IPv6, which takes IPv4 as well, or where this machine has none, IPv4. */
static enum err
bind_all(uint16_t port, int *ret_fd, struct error *e)
{
	struct address v6 = { .at.v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) },
		.len = sizeof v6.at.v6 };
	struct address v4 = { .at.v4 = { .sin_family = AF_INET, .sin_port = htons(port) },
		.len = sizeof v4.at.v4 };
	enum err r = bind_address(&v6, ret_fd, e);

	return r == OK || r == ERR_EXISTS || r == ERR_DENIED ? r : bind_address(&v4, ret_fd, e);
}

enum err
listener_bind(const char *text, int *ret_fd, struct error *e)
{
	char host[ADDRESS_HOST];
	uint16_t port = 0;
	struct address a = { 0 };

	enum err r = split(text, host, &port, e);
	if (r == OK && *host != '\0')
		r = resolve(host, port, &a, e);
	if (r != OK)
		return r;
	return *host != '\0' ? bind_address(&a, ret_fd, e) : bind_all(port, ret_fd, e);
}

/* -- a local one -- */

static enum err
fail_in_use(struct error *e, const char *path)
{
	return fail(e, ERR_EXISTS, "a daemon is listening on %s already", path);
}

/* The name is taken.  A socket that nobody answers at is what a dead daemon left: it goes. */
static enum err
remove_stale(const struct local *at, const char *path, struct error *e)
{
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stat st;

	if (fd < 0)
		return fail_sys(e, errno, "open a socket");
	if (lstat(at->at.sun_path, &st) != 0)
		return fail_sys(e, errno, "look at %s", path);
	if (!S_ISSOCK(st.st_mode))
		return fail(e, ERR_EXISTS, "%s is in the way: it is no socket", path);
	if (connect(fd, (const struct sockaddr *)&at->at, sizeof at->at) == 0 || errno == EAGAIN)
		return fail_in_use(e, path);
	if (errno != ECONNREFUSED)
		return fail_sys(e, errno, "%s is in the way", path);
	if (unlink(at->at.sun_path) != 0)
		return fail_sys(e, errno, "remove the old socket %s", path);
	return OK;
}

/* A bound socket of mode 0600 from its first moment: bind() takes the mode of the descriptor. */
enum err
listener_bind_local(const struct local *at, const char *path, int *ret_fd, struct error *e)
{
	int fault = fault_point("socket");
	auto_fd int fd =
	    fault != 0 ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || fchmod(fd, 0600) != 0)
		return fail_sys(e, fault > 0 ? fault : fault < 0 ? EIO : errno, "open a socket");
	int sys = bind_to(fd, (const struct sockaddr *)&at->at, sizeof at->at);
	if (sys == EADDRINUSE) {
		enum err r = remove_stale(at, path, e);
		if (r != OK)
			return r;
		sys = bind_to(fd, (const struct sockaddr *)&at->at, sizeof at->at);
	}
	if (sys == EADDRINUSE)
		return fail_in_use(e, path);
	if (sys != 0)
		return fail_sys(e, sys, "listen on %s", path);
	*ret_fd = take_fd(fd);
	return OK;
}
