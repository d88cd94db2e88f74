/*
 * listener: accepts connections: TCP with TLS, or a local socket of mode 0600.
 *
 * At most MAX connections at once, those in their TLS handshake included, and so many from one
 * address (of IPv6: from one /64); beyond that new ones are closed at once.  A connection that does
 * not finish its handshake within LISTENER_HANDSHAKE_MS is closed; and when LISTENER_CALLERS, or
 * half of MAX, are in theirs, one that needs more than LISTENER_CALLER_MS makes way for the next.
 *
 * Threads    the loop's.
 * Errors     ERR_EXISTS when somebody listens there already, ERR_USAGE for an address that is none,
 * else fail_sys.
 */
#pragma once

#include "net/conn.h"

struct listener;

enum {
	LISTENER_HANDSHAKE_MS = 10 * 1000,
	LISTENER_CALLERS = 1024,   /* in their handshake at once: 48 KiB each */
	LISTENER_CALLER_MS = 1000, /* ... which the oldest has when there are so many */
	LISTENER_ADDRESS = 129,    /* "host:port" with NUL */
};

/*
 * ADDRESS "host:port", ":port" or "port" (all interfaces, v6 and v4); port 0 is any free one.
 * ERR_EXISTS when the port is in use (the text says by whom where /proc tells).  ON_CONN gets a
 * conn that is ready (TLS done); it calls conn_set_owner at once or conn_close.  TLS NULL: in
 * clear.
 */
enum err listener_open(struct loop *l, const char *address, struct tls_ctx *tls, size_t max,
    void (*on_conn)(void *ctx, struct conn *c), void *ctx, struct listener **ret,
    struct error *e) must_check;
/*
 * Local socket PATH (longer than sun_path: bound through its directory), 0600.  A stale socket file
 * of a dead daemon is replaced; a live one is ERR_EXISTS, as is any other file there.
 * listener_close removes it.
 */
enum err listener_open_local(struct loop *l, const char *path, size_t max,
    void (*on_conn)(void *ctx, struct conn *c), void *ctx, struct listener **ret,
    struct error *e) must_check;
/* Connections that were handed out stay; those in their handshake are dropped.  Frees later; NULL
 * is fine. */
void listener_close(struct listener *l);
/* Other limits than MAX and LISTENER_CALLERS. */
void listener_set_max(struct listener *l, size_t per_address, size_t callers);
void listener_set_handshake_ms(
    struct listener *l, uint64_t ms);                  /* of connections accepted from now on */
uint16_t listener_port(const struct listener *l);      /* 0 for a local one */
size_t listener_connections(const struct listener *l); /* those in their handshake included */
/* "host:port" of this machine's interfaces (no loopback unless there is nothing else), for
 * advertising; at most MAX. */
size_t listener_own_addresses(uint16_t port, char (*out)[LISTENER_ADDRESS], size_t max);
