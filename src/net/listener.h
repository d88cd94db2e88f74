/*
 * listener: accepts connections: TCP with TLS, or a local socket of mode 0600.
 *
 * At most MAX connections at once; beyond that new ones are closed at once.  A connection that does not finish its TLS
 * handshake in LIMIT_HANDSHAKE time (10 s) is closed.
 */
#pragma once

#include "net/conn.h"

struct listener;
/* ADDRESS "host:port", ":port" or "port" (all interfaces, v6 and v4); port 0 is any free one.  ERR_EXISTS when the port is
 * in use (the text says by whom where /proc tells).  ON_CONN gets a conn that is ready (TLS done); it calls conn_set_owner at
 * once or conn_close. */
enum err listener_open(struct loop *l, const char *address, struct tls_ctx *tls, size_t max,
    void (*on_conn)(void *ctx, struct conn *c), void *ctx, struct listener **ret, struct error *e) must_check;
/* Local socket PATH (longer than sun_path: bound through its directory), 0600.  A stale socket file of a dead daemon is replaced;
 * a live one is ERR_EXISTS. */
enum err listener_open_local(struct loop *l, const char *path, size_t max, void (*on_conn)(void *ctx, struct conn *c),
    void *ctx, struct listener **ret, struct error *e) must_check;
void listener_close(struct listener *l); /* frees later; NULL is fine */
uint16_t listener_port(const struct listener *l);
/* "host:port" of this machine's interfaces (no loopback unless there is nothing else), for advertising; at most MAX. */
size_t listener_own_addresses(uint16_t port, char (*out)[129], size_t max);
