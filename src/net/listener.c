#include "net/listener.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "base/map.h"
#include "base/mem.h"
#include "net/address.h"
#include "net/conn_impl.h"
#include "net/listener_bind.h"
#include "platform/fault.h"

enum {
	BACKLOG = 4096,       /* the kernel cuts it to somaxconn */
	ACCEPT_ROUNDS = 64,   /* at once, before others have their turn */
	ACCEPT_REST_MS = 100, /* after accept failed: descriptors are out, or memory */
	CROWD_REST_MS = 20,   /* until some of many callers have done their handshake */
};

/* Where connections come from: one IPv4 address, or one network of IPv6, of which anybody has all
 * addresses. */
struct origin {
	struct listener *listener;
	size_t n;
	uint8_t len, key[8];
};

/* A connection in its handshake. */
struct caller {
	struct origin *origin;
	struct caller *next, **link;
	struct wire *wire;
	uint64_t since_ms;
};

struct listener {
	uv_poll_t poll; /* first: what libuv hands back */
	struct loop *loop;
	int fd;
	struct tls_ctx *tls;
	size_t max, max_origin, max_callers;
	size_t n_conns, n_callers; /* callers are conns, too */
	struct map origins;
	struct log_limit complaints;
	uint64_t handshake_ms;
	uint16_t port;
	void (*on_conn)(void *ctx, struct conn *c);
	void *ctx;
	struct caller *callers, **callers_end; /* the oldest first */
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

/* -- origins -- */

/* Of whoever is at A; local ones are all of one origin. */
static struct origin
origin_of(struct listener *l, const struct address *a)
{
	struct origin o = { .listener = l, .len = 1 };
	const uint8_t *v6 = (const uint8_t *)&a->at.v6.sin6_addr;

	if (a->at.any.sa_family == AF_INET) {
		o.len = 4;
		memcpy(o.key, &a->at.v4.sin_addr, o.len);
	} else if (a->at.any.sa_family == AF_INET6) {
		bool is_v4 = IN6_IS_ADDR_V4MAPPED(&a->at.v6.sin6_addr);
		o.len = is_v4 ? 4 : 8;
		memcpy(o.key, is_v4 ? v6 + 12 : v6, o.len);
	}
	return o;
}

/* The one in the table that is like O. */
static struct origin *
origin_put(struct listener *l, const struct origin *o)
{
	bool is_new;
	struct map_slot *slot = map_put(&l->origins, BYTES(o->key, o->len), &is_new);

	if (is_new)
		slot->ptr = mem_dup(o, sizeof *o);
	return slot->ptr;
}

static void
free_if_over(struct listener *l)
{
	if (!l->is_closed || l->n_conns > 0)
		return;
	map_clear(&l->origins);
	free(l);
}

/* A conn outlives its listener, which must count it till then. */
static void
one_less(struct origin *o)
{
	struct listener *l = o->listener;

	l->n_conns--;
	if (--o->n == 0) {
		map_del(&l->origins, BYTES(o->key, o->len));
		free(o);
	}
	free_if_over(l);
}

static void
on_conn_gone(void *ctx)
{
	one_less(ctx);
}

/* -- callers -- */

static void
caller_free(struct caller *c)
{
	struct listener *l = c->origin->listener;

	*c->link = c->next;
	if (c->next != NULL)
		c->next->link = c->link;
	else
		l->callers_end = c->link;
	l->n_callers--;
	free(c);
}

static void
on_caller_up(void *ctx)
{
	struct caller *caller = ctx;
	struct origin *o = caller->origin;
	struct listener *l = o->listener;
	struct conn *c = conn_adopt(l->loop, take_ptr(caller->wire), &o->n, on_conn_gone, o);

	caller_free(caller);
	l->on_conn(l->ctx, c);
	if (!conn_has_owner(c))
		conn_close(c, NULL);
}

/* Nobody is told: the other side sees the end of the connection. */
static void
caller_drop(struct caller *caller)
{
	struct origin *o = caller->origin;

	wire_close(caller->wire);
	caller_free(caller);
	one_less(o);
}

static void
on_caller_down(void *ctx, const struct error *why)
{
	struct caller *caller = ctx;
	char who[ADDRESS_TEXT];

	log_debug("%s: %s", wire_peer(caller->wire, who), why != NULL ? why->text : "hung up");
	caller_drop(caller);
}

/*
 * Handshakes are dear, and cost whoever calls nothing.  When many are under way, others wait a
 * moment; and one that takes long then gives way, so that callers who say nothing do not keep out
 * those who do.
 */
static bool
is_crowded(const struct listener *l)
{
	return l->n_callers >= l->max_callers;
}

static bool
must_wait(const struct listener *l)
{
	return is_crowded(l) && loop_now_ms(l->loop) - l->callers->since_ms < LISTENER_CALLER_MS;
}

/* Takes FD, which is connected. */
static void
welcome(struct listener *l, int fd, const struct origin *from)
{
	struct wire_opts opts = { .fd = fd, .limit_ms = l->handshake_ms };
	struct error e = { 0 };

	if (is_crowded(l))
		caller_drop(l->callers);
	struct caller *c = mem_new(struct caller);
	struct origin *o = origin_put(l, from);
	l->n_conns++;
	o->n++;
	if (l->tls != NULL)
		opts.tls = tls_new_server(l->tls);
	if (wire_open(l->loop, &opts, &caller_events, c, &c->wire, &e) != OK) {
		log_limit_warn(
		    &l->complaints, loop_now_ms(l->loop), "a connection is dropped: %s", e.text);
		free(c);
		one_less(o);
		return;
	}
	c->origin = o;
	c->since_ms = loop_now_ms(l->loop);
	c->link = l->callers_end;
	*l->callers_end = c;
	l->callers_end = &c->next;
	l->n_callers++;
}

/* -- accepting -- */

static void
watch(struct listener *l)
{
	uv_poll_start(&l->poll, UV_READABLE, on_poll);
}

static int
accept_one(struct listener *l, struct address *from)
{
	int fault = fault_point("accept");

	if (fault != 0) {
		errno = fault > 0 ? fault : EIO;
		return -1;
	}
	return accept4(l->fd, &from->at.any, &from->len, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* Whoever called has gone again, or there is nobody. */
static bool
is_harmless(int sys)
{
	return sys == EAGAIN || sys == EWOULDBLOCK || sys == ECONNABORTED || sys == EINTR;
}

/* Who calls meanwhile waits in the kernel's queue. */
static void
rest(struct listener *l, uint64_t ms)
{
	uv_poll_stop(&l->poll);
	timer_start(l->rest, ms);
}

/* Descriptors or memory are out.  Asking at once again would only burn. */
static void
accept_failed(struct listener *l, int sys)
{
	if (is_harmless(sys))
		return;
	log_limit_warn(
	    &l->complaints, loop_now_ms(l->loop), "cannot accept a connection: %s", strerror(sys));
	rest(l, ACCEPT_REST_MS);
}

static bool
is_wanted(struct listener *l, const struct origin *from, const struct address *a)
{
	const struct origin *known = map_ptr(&l->origins, BYTES(from->key, from->len));
	size_t n = known != NULL ? known->n : 0;
	char who[ADDRESS_TEXT];

	if (l->n_conns < l->max && n < l->max_origin)
		return true;
	log_limit_warn(&l->complaints, loop_now_ms(l->loop),
	    "%s is refused: %zu connections are open, limit %zu; %zu from there, limit %zu",
	    l->path != NULL ? "a local call" : address_format(a, who), l->n_conns, l->max, n,
	    l->max_origin);
	return false;
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
		struct address a = { .len = sizeof a.at };
		if (must_wait(l)) {
			rest(l, CROWD_REST_MS);
			return;
		}
		int fd = accept_one(l, &a);
		if (fd < 0) {
			accept_failed(l, errno);
			return;
		}
		const struct origin from = origin_of(l, &a);
		if (is_wanted(l, &from, &a))
			welcome(l, fd, &from);
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

static struct listener *
listener_new(struct loop *loop, size_t max, void (*on_conn)(void *ctx, struct conn *c), void *ctx)
{
	struct listener *l = mem_new(struct listener);

	loop_assert(loop);
	l->loop = loop;
	l->max = max;
	l->on_conn = on_conn;
	l->ctx = ctx;
	l->max_origin = max;
	l->max_callers = min_of(max_of(max / 2, (size_t)1), (size_t)LISTENER_CALLERS);
	l->callers_end = &l->callers;
	l->handshake_ms = LISTENER_HANDSHAKE_MS;
	return l;
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
	auto_fd int fd = -1;

	enum err r = listener_bind(text, &fd, e);
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

enum err
listener_open_local(struct loop *loop, const char *path, size_t max,
    void (*on_conn)(void *ctx, struct conn *c), void *ctx, struct listener **ret, struct error *e)
{
	auto_(local_clear) struct local at = LOCAL_NONE;
	auto_fd int fd = -1;

	enum err r = local_open(&at, path, e);
	if (r == OK)
		r = listener_bind_local(&at, path, &fd, e);
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
	free_if_over(l);
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
	while (l->callers != NULL)
		caller_drop(l->callers);
	free(l->path);
}

void
listener_set_max(struct listener *l, size_t per_address, size_t callers)
{
	l->max_origin = per_address;
	l->max_callers = callers;
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
