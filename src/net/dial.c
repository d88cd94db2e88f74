#include "net/dial.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/local.h"
#include "platform/fault.h"

/* One address to call.  `order` is the place of its text among those given: a name is looked up
 * while others are called already, and its addresses then take their place. */
struct target {
	struct dial *dial;
	struct address address;
	size_t order;
	bool called;
	struct wire *wire; /* while it is called */
};

/* A name being looked up.  Outlives its dial when that is cancelled meanwhile, as libuv does. */
struct lookup {
	uv_getaddrinfo_t uv;
	struct dial *dial; /* NULL: nobody waits any more */
	size_t order;
	uint16_t port;
	char host[ADDRESS_HOST];
};

struct dial {
	struct loop *loop;
	struct tls_ctx *tls;
	bool checks; /* EXPECT counts */
	struct device_id expect;
	char *local; /* the socket file, instead of targets from addresses */
	dial_done *on_done;
	void *ctx;
	struct task step;
	struct timer *stagger, *limit;
	bool must_wait; /* the last call still has its head start */
	struct target targets[DIAL_TARGETS];
	size_t n_targets, n_calls; /* calls: under way */
	struct lookup **lookups;
	size_t n_lookups, n_waiting; /* waiting: under way */
	enum err code;               /* the most telling of the failures */
	struct buf failures;         /* their texts */
};

static void on_step(void *ctx);
static void on_looked_up(uv_getaddrinfo_t *uv, int status, struct addrinfo *found);
static void on_stagger(void *ctx);
static void on_up(void *ctx);
static void on_down(void *ctx, const struct error *why);
static void on_limit(void *ctx);

/* Nobody reads or writes before ON_DONE. */
static void
on_nothing(void *ctx)
{
	(void)ctx;
}
static const struct wire_events events = { on_up, on_nothing, on_nothing, on_down };

static void
dial_free(struct dial *d)
{
	task_cancel(&d->step);
	timer_close(d->stagger);
	timer_close(d->limit);
	for (size_t i = 0; i < d->n_targets; i++)
		wire_close(d->targets[i].wire);
	for (size_t i = 0; i < d->n_lookups; i++) {
		if (d->lookups[i] == NULL)
			continue;
		d->lookups[i]->dial = NULL;
		(void)uv_cancel((uv_req_t *)&d->lookups[i]->uv);
	}
	free(d->lookups);
	free(d->local);
	buf_clear(&d->failures);
	free(d);
}

void
dial_cancel(struct dial *d)
{
	if (d == NULL)
		return;
	loop_assert(d->loop);
	dial_free(d);
}

/* -- failures -- */

/* How much a failure says: that we reached somebody who is not who we want more than that nobody
 * was there. */
static int
weight(enum err code)
{
	return code == ERR_OFFLINE ? 1 : code == ERR_DENIED ? 3 : 2;
}

static void
note_failure(struct dial *d, const char *where, const struct error *e)
{
	if (d->code == OK || weight(e->code) > weight(d->code))
		d->code = e->code;
	buf_addf(&d->failures, "%s%s%s%s", d->failures.len > 0 ? "; " : "", where,
	    *where != '\0' ? ": " : "", e->text);
}

static void
give_up(struct dial *d)
{
	struct error why = { 0 };
	dial_done *on_done = d->on_done;
	void *ctx = d->ctx;

	(void)fail(&why, d->code, "%s", buf_text(&d->failures));
	dial_free(d);
	on_done(ctx, NULL, &why);
}

static void
on_limit(void *ctx)
{
	struct dial *d = ctx;
	struct error e = { 0 };
	char where[ADDRESS_TEXT] = "";

	(void)fail(&e, ERR_OFFLINE, "no answer in time");
	for (size_t i = 0; i < d->n_targets; i++)
		if (d->targets[i].wire != NULL)
			note_failure(d, address_format(&d->targets[i].address, where), &e);
	for (size_t i = 0; i < d->n_lookups; i++)
		if (d->lookups[i] != NULL)
			note_failure(d, d->lookups[i]->host, &e);
	give_up(d);
}

/* -- names -- */

static void
add_target(struct dial *d, const struct address *a, size_t order)
{
	if (d->n_targets < DIAL_TARGETS)
		d->targets[d->n_targets++] =
		    (struct target){ .dial = d, .address = *a, .order = order };
}

/* The resolver sorts by RFC 6724; after the first the families take turns, so that a dead one costs
 * one head start. */
static void
add_found(struct dial *d, const struct lookup *k, const struct addrinfo *found)
{
	const struct addrinfo *next[2] = { found, found };
	int family[2] = { found->ai_family, found->ai_family == AF_INET6 ? AF_INET : AF_INET6 };

	for (int turn = 0; next[0] != NULL || next[1] != NULL; turn = !turn) {
		const struct addrinfo *a = next[turn];
		struct address address;
		while (a != NULL && a->ai_family != family[turn])
			a = a->ai_next;
		next[turn] = a != NULL ? a->ai_next : NULL;
		if (a != NULL && address_from(a->ai_addr, k->port, &address))
			add_target(d, &address, k->order);
	}
}

static void
on_looked_up(uv_getaddrinfo_t *uv, int status, struct addrinfo *found)
{
	struct lookup *k = (struct lookup *)uv;
	struct dial *d = k->dial;

	if (d != NULL && status == 0 && found != NULL) {
		add_found(d, k, found);
	} else if (d != NULL) {
		struct error e = { 0 };
		(void)fail(&e, ERR_OFFLINE, "cannot find its address: %s", uv_strerror(status));
		note_failure(d, k->host, &e);
	}
	if (d != NULL) {
		d->lookups[k->order] = NULL;
		d->n_waiting--;
		task_start(&d->step);
	}
	uv_freeaddrinfo(found);
	free(k);
}

static void
look_up(struct dial *d, const char *host, uint16_t port, size_t order)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct lookup *k = mem_new(struct lookup);
	int r = fault_point("getaddrinfo") != 0 ? UV_EAI_FAIL : 0;

	k->dial = d;
	k->order = order;
	k->port = port;
	snprintf(k->host, sizeof k->host, "%s", host);
	if (r == 0)
		r = uv_getaddrinfo(loop_uv(d->loop), &k->uv, on_looked_up, k->host, NULL, &hints);
	if (r == 0) {
		d->lookups[order] = k;
		d->n_waiting++;
	} else {
		struct error e = { 0 };
		(void)fail(&e, ERR_OFFLINE, "cannot look it up: %s", uv_strerror(r));
		note_failure(d, host, &e);
		free(k);
	}
}

static void
take_address(struct dial *d, const char *text, size_t order)
{
	char host[ADDRESS_HOST];
	uint16_t port = 0;
	struct address a;
	struct error e = { 0 };

	enum err r = address_split(text, host, &port, &e);
	if (r == OK && *host == '\0')
		r = fail(&e, ERR_USAGE, "%.100s names no host", text);
	if (r != OK)
		note_failure(d, "", &e);
	else if (address_parse_host(host, port, &a))
		add_target(d, &a, order);
	else
		look_up(d, host, port, order);
}

/* -- calls -- */

/* Starts to connect FD; *RET_LATER: it is under way. */
static enum err
start_connect(int fd, const struct sockaddr *to, socklen_t len, bool *ret_later, struct error *e)
{
	int fault = fault_point("connect");
	int r = fault != 0 ? -1 : connect(fd, to, len);
	int sys = fault > 0 ? fault : fault < 0 ? EIO : errno;

	if (r != 0 && sys != EINPROGRESS)
		return error_set(
		    e, sys == EACCES ? ERR_DENIED : ERR_OFFLINE, sys, HERE, "%s", strerror(sys));
	*ret_later = r != 0;
	return OK;
}

static enum err
open_socket(int family, int *ret_fd, struct error *e)
{
	int fault = fault_point("socket");
	int fd = fault != 0 ? -1 : socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return fail_sys(e, fault > 0 ? fault : fault < 0 ? EIO : errno, "open a socket");
	*ret_fd = fd;
	return OK;
}

static enum err
call_address(struct target *t, struct error *e)
{
	struct dial *d = t->dial;
	struct wire_opts o = { .fd = -1 };
	auto_fd int fd = -1;

	enum err r = open_socket(t->address.at.any.sa_family, &fd, e);
	if (r == OK)
		r = start_connect(fd, &t->address.at.any, t->address.len, &o.connecting, e);
	if (r != OK)
		return r;
	if (d->tls != NULL)
		o.tls = tls_new_client(d->tls, d->checks ? &d->expect : NULL);
	o.fd = take_fd(fd);
	return wire_open(d->loop, &o, &events, t, &t->wire, e);
}

/* A local connect() does not wait: it is there or refused, or EAGAIN when too many wait before us.
 */
static enum err
call_local(struct target *t, struct error *e)
{
	struct dial *d = t->dial;
	struct wire_opts o = { .fd = -1 };
	auto_(local_clear) struct local at = LOCAL_NONE;
	auto_fd int fd = -1;

	if (local_open(&at, d->local, e) != OK)
		return error_wrap(e, ERR_OFFLINE, "connect");
	enum err r = open_socket(AF_UNIX, &fd, e);
	if (r == OK)
		r = start_connect(fd, (struct sockaddr *)&at.at, sizeof at.at, &o.connecting, e);
	if (r != OK)
		return r;
	o.fd = take_fd(fd);
	return wire_open(d->loop, &o, &events, t, &t->wire, e);
}

static const char *
name_of(const struct target *t, char out[static ADDRESS_TEXT])
{
	return t->dial->local != NULL ? t->dial->local : address_format(&t->address, out);
}

static void
call(struct target *t)
{
	struct dial *d = t->dial;
	struct error e = { 0 };
	char where[ADDRESS_TEXT];

	t->called = true;
	enum err r = d->local != NULL ? call_local(t, &e) : call_address(t, &e);
	if (r == OK) {
		d->n_calls++;
		d->must_wait = true;
		timer_start(d->stagger, DIAL_STAGGER_MS);
	} else {
		note_failure(d, name_of(t, where), &e);
	}
}

static struct target *
next_target(struct dial *d)
{
	struct target *best = NULL;

	for (struct target *t = d->targets; t < d->targets + d->n_targets; t++)
		if (!t->called && (best == NULL || t->order < best->order))
			best = t;
	return best;
}

/* Calls whoever is due.  Nobody left to call or to wait for: that was it. */
static void
on_step(void *ctx)
{
	struct dial *d = ctx;
	struct target *t;

	while (!d->must_wait && (t = next_target(d)) != NULL)
		call(t);
	if (d->n_calls == 0 && d->n_waiting == 0 && next_target(d) == NULL)
		give_up(d);
}

static void
on_stagger(void *ctx)
{
	struct dial *d = ctx;

	d->must_wait = false;
	on_step(d);
}

static void
on_down(void *ctx, const struct error *why)
{
	struct target *t = ctx;
	struct dial *d = t->dial;
	const struct error bye = {
		.code = ERR_OFFLINE, .text = "the other side hung up", .where = HERE
	};
	char where[ADDRESS_TEXT];

	note_failure(d, name_of(t, where), why != NULL ? why : &bye);
	wire_close(t->wire);
	t->wire = NULL;
	d->n_calls--;
	d->must_wait = false;
	timer_stop(d->stagger);
	task_start(&d->step);
}

static void
on_up(void *ctx)
{
	struct target *t = ctx;
	struct dial *d = t->dial;
	struct wire *w = take_ptr(t->wire);
	dial_done *on_done = d->on_done;
	void *done_ctx = d->ctx;

	dial_free(d);
	on_done(done_ctx, w, NULL);
}

static struct dial *
dial_new(struct loop *l, uint64_t limit_ms, dial_done *on_done, void *ctx)
{
	struct dial *d = mem_new(struct dial);

	loop_assert(l);
	d->loop = l;
	d->on_done = on_done;
	d->ctx = ctx;
	d->failures = BUF((size_t)4 * ERROR_TEXT); /* more than an error's text can show */
	d->stagger = timer_new(l, on_stagger, d);
	d->limit = timer_new(l, on_limit, d);
	timer_start(d->limit, limit_ms);
	task_init(&d->step, l, on_step, d);
	task_start(&d->step);
	return d;
}

struct dial *
dial_start(struct loop *l, const struct dial_opts *o, const char *const *addresses, size_t n,
    dial_done *on_done, void *ctx)
{
	struct dial *d = dial_new(l, o->limit_ms, on_done, ctx);
	const struct error none = {
		.code = ERR_OFFLINE, .text = "no address to call", .where = HERE
	};

	d->tls = o->tls;
	d->checks = o->expect != NULL;
	if (d->checks)
		d->expect = *o->expect;
	d->lookups = mem_array(struct lookup *, n);
	d->n_lookups = n;
	for (size_t i = 0; i < n; i++)
		take_address(d, addresses[i], i);
	if (n == 0)
		note_failure(d, "", &none);
	return d;
}

struct dial *
dial_start_local(struct loop *l, const char *path, uint64_t limit_ms, dial_done *on_done, void *ctx)
{
	struct dial *d = dial_new(l, limit_ms, on_done, ctx);

	d->local = str_dup(path);
	d->targets[d->n_targets++] = (struct target){ .dial = d };
	return d;
}
