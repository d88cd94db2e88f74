#include "net/listener.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/conn_impl.h"
#include "net/local.h"
#include "net/port_owner.h"
#include "platform/fault.h"

enum {
	BACKLOG = 4096,       /* the kernel cuts it to somaxconn */
	ACCEPT_ROUNDS = 64,   /* at once, before others have their turn */
	ACCEPT_REST_MS = 100, /* after accept failed: descriptors are out, or memory */
};

/* A connection in its handshake. */
struct caller {
	struct listener *listener;
	struct caller *next, **link;
	struct wire *wire;
};

struct listener {
	uv_poll_t poll; /* first: what libuv hands back */
	struct loop *loop;
	int fd;
	struct tls_ctx *tls;
	size_t max, n_conns; /* callers included */
	uint64_t handshake_ms;
	uint16_t port;
	void (*on_conn)(void *ctx, struct conn *c);
	void *ctx;
	struct caller *callers;
	struct timer *rest;
	char *path;              /* of a local one */
	struct stat file;        /* what we made there */
	bool closing, is_closed; /* asked to, done by libuv */
};

static void on_poll(uv_poll_t *h, int status, int events);
static void on_rested(void *ctx);
static void on_caller_up(void *ctx);
static void on_caller_down(void *ctx, const struct error *why);
static void on_conn_gone(void *ctx);
static void on_handle_closed(uv_handle_t *h);

static void
on_nothing(void *ctx)
{
	(void)ctx;
}
static const struct wire_events caller_events = { on_caller_up, on_nothing, on_nothing,
	on_caller_down };

/* -- callers -- */

static void
caller_free(struct caller *c)
{
	*c->link = c->next;
	if (c->next != NULL)
		c->next->link = c->link;
	free(c);
}

/* A conn outlives its listener, which must count it till then. */
static void
one_less(struct listener *l)
{
	l->n_conns--;
	if (l->is_closed && l->n_conns == 0)
		free(l);
}

static void
on_conn_gone(void *ctx)
{
	one_less(ctx);
}

static void
on_caller_up(void *ctx)
{
	struct caller *caller = ctx;
	struct listener *l = caller->listener;
	struct conn *c = conn_adopt(l->loop, take_ptr(caller->wire), on_conn_gone, l);

	caller_free(caller);
	l->on_conn(l->ctx, c);
	if (!conn_has_owner(c))
		conn_close(c, NULL);
}

static void
on_caller_down(void *ctx, const struct error *why)
{
	struct caller *caller = ctx;
	struct listener *l = caller->listener;
	char who[ADDRESS_TEXT];

	log_debug("%s: %s", wire_peer(caller->wire, who), why != NULL ? why->text : "hung up");
	wire_close(caller->wire);
	caller_free(caller);
	one_less(l);
}

/* Takes FD, which is connected. */
static void
welcome(struct listener *l, int fd)
{
	struct caller *c = mem_new(struct caller);
	struct wire_opts o = { .fd = fd, .limit_ms = l->handshake_ms };
	struct error e = { 0 };

	if (l->tls != NULL)
		o.tls = tls_new_server(l->tls);
	if (wire_open(l->loop, &o, &caller_events, c, &c->wire, &e) != OK) {
		log_warn("a connection is dropped: %s", e.text);
		free(c);
		return;
	}
	c->listener = l;
	c->next = l->callers;
	c->link = &l->callers;
	if (c->next != NULL)
		c->next->link = &c->next;
	l->callers = c;
	l->n_conns++;
}

/* -- accepting -- */

static void
watch(struct listener *l)
{
	uv_poll_start(&l->poll, UV_READABLE, on_poll);
}

static int
accept_one(struct listener *l)
{
	int fault = fault_point("accept");

	if (fault != 0) {
		errno = fault > 0 ? fault : EIO;
		return -1;
	}
	return accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* Whoever called has gone again, or there is nobody. */
static bool
is_harmless(int sys)
{
	return sys == EAGAIN || sys == EWOULDBLOCK || sys == ECONNABORTED || sys == EINTR;
}

/* Descriptors or memory are out.  The caller stays in the kernel's queue; asking at once again
 * would only burn. */
static void
rest(struct listener *l, int sys)
{
	log_warn("cannot accept a connection: %s", strerror(sys));
	uv_poll_stop(&l->poll);
	timer_start(l->rest, ACCEPT_REST_MS);
}

static void
on_rested(void *ctx)
{
	watch(ctx);
}

static void
on_poll(uv_poll_t *h, int status, int events)
{
	struct listener *l = (struct listener *)h;

	(void)status;
	(void)events;
	for (int i = 0; i < ACCEPT_ROUNDS; i++) {
		int fd = accept_one(l);
		if (fd < 0) {
			if (!is_harmless(errno))
				rest(l, errno);
			return;
		}
		if (l->n_conns < l->max)
			welcome(l, fd);
		else
			(void)close(fd);
	}
}

/* -- opening -- */

/* Takes FD, bound. */
static enum err
start_listening(struct listener *l, int fd, struct error *e)
{
	int fault = fault_point("listen");
	int r = fault != 0 ? -1 : listen(fd, BACKLOG);

	if (r != 0)
		return fail_sys(e, fault > 0 ? fault : fault < 0 ? EIO : errno, "listen");
	r = uv_poll_init(loop_uv(l->loop), &l->poll, fd);
	if (r != 0)
		return fail_sys(e, -r, "listen");
	l->rest = timer_new(l->loop, on_rested, l);
	watch(l);
	return OK;
}

static int
bind_to(int fd, const struct sockaddr *sa, socklen_t len)
{
	int fault = fault_point("bind");

	if (fault == 0)
		return bind(fd, sa, len) == 0 ? 0 : errno;
	return fault > 0 ? fault : EIO;
}

static struct listener *
listener_new(struct loop *loop, size_t max, void (*on_conn)(void *ctx, struct conn *c), void *ctx)
{
	struct listener *l = mem_new(struct listener);

	loop_assert(loop);
	l->loop = loop;
	l->max = max;
	l->on_conn = on_conn;
	l->ctx = ctx;
	l->handshake_ms = LISTENER_HANDSHAKE_MS;
	return l;
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

static uint16_t
port_of(int fd)
{
	struct address a = { .len = sizeof a.at };

	return getsockname(fd, &a.at.any, &a.len) == 0 ? address_port(&a) : 0;
}

enum err
listener_open(struct loop *loop, const char *text, struct tls_ctx *tls, size_t max,
    void (*on_conn)(void *ctx, struct conn *c), void *ctx, struct listener **ret, struct error *e)
{
	char host[ADDRESS_HOST];
	uint16_t port = 0;
	struct address a = { 0 };
	auto_fd int fd = -1;

	enum err r = split(text, host, &port, e);
	if (r == OK && *host != '\0')
		r = resolve(host, port, &a, e);
	if (r == OK)
		r = *host != '\0' ? bind_address(&a, &fd, e) : bind_all(port, &fd, e);
	if (r != OK)
		return r;
	auto_free struct listener *l = listener_new(loop, max, on_conn, ctx);
	l->tls = tls;
	l->port = port_of(fd);
	r = start_listening(l, fd, e);
	if (r != OK)
		return r;
	l->fd = take_fd(fd);
	*ret = take_ptr(l);
	return OK;
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
static enum err
bind_local(const struct local *at, const char *path, int *ret_fd, struct error *e)
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

enum err
listener_open_local(struct loop *loop, const char *path, size_t max,
    void (*on_conn)(void *ctx, struct conn *c), void *ctx, struct listener **ret, struct error *e)
{
	auto_(local_clear) struct local at = LOCAL_NONE;
	auto_fd int fd = -1;

	enum err r = local_open(&at, path, e);
	if (r == OK)
		r = bind_local(&at, path, &fd, e);
	if (r != OK)
		return r;
	auto_free struct listener *l = listener_new(loop, max, on_conn, ctx);
	if (lstat(at.at.sun_path, &l->file) != 0)
		return fail_sys(e, errno, "look at %s", path);
	r = start_listening(l, fd, e);
	if (r != OK) {
		(void)unlink(at.at.sun_path);
		return r;
	}
	l->fd = take_fd(fd);
	l->path = str_dup(path);
	*ret = take_ptr(l);
	return OK;
}

/* Only what we made: another daemon may have taken the name since. */
static void
remove_own_file(const struct listener *l)
{
	auto_(local_clear) struct local at = LOCAL_NONE;
	struct stat st;

	if (l->path == NULL || local_open(&at, l->path, NULL) != OK)
		return;
	if (lstat(at.at.sun_path, &st) == 0 && st.st_ino == l->file.st_ino &&
	    st.st_dev == l->file.st_dev)
		(void)unlink(at.at.sun_path);
}

/* -- the end -- */

static void
on_handle_closed(uv_handle_t *h)
{
	struct listener *l = (struct listener *)h;

	l->is_closed = true;
	if (l->n_conns == 0)
		free(l);
}

void
listener_close(struct listener *l)
{
	if (l == NULL || l->closing)
		return;
	loop_assert(l->loop);
	l->closing = true;
	remove_own_file(l);
	timer_close(l->rest);
	uv_close((uv_handle_t *)&l->poll, on_handle_closed);
	(void)close(l->fd);
	while (l->callers != NULL) {
		wire_close(l->callers->wire);
		caller_free(l->callers);
		l->n_conns--;
	}
	free(l->path);
}

void
listener_set_handshake_ms(struct listener *l, uint64_t ms)
{
	l->handshake_ms = ms;
}

uint16_t
listener_port(const struct listener *l)
{
	return l->port;
}

size_t
listener_connections(const struct listener *l)
{
	return l->n_conns;
}
