/*
 * conn: one byte stream to somebody: TCP with TLS (weft/1), or the local control socket in clear.
 *
 * Transports are filters (tcp or pipe below, tls above).  The owner pulls plain bytes with conn_read when told that there
 * are some and pushes with conn_write while there is room; nothing is buffered beyond LIMITs below, so a slow reader
 * slows its sender.  One 256 KiB receive buffer per loop serves all connections: an idle one costs its TLS object.
 *
 * Lifetime  conn_close may be called in any state, any number of times; on_closed is the last callback, exactly once,
 *           after which the conn is freed by itself.  No callback comes before the call that causes it has returned.
 * Threads   the loop's.
 */
#pragma once

#include "base/error.h"
#include "crypto/tls.h"
#include "loop/loop.h"

struct conn;

enum { CONN_WRITE_HIGH = 512 * 1024, CONN_CONNECT_MS = 10 * 1000 };

struct conn_events {
	void (*on_ready)(void *owner);    /* connected, TLS handshake done */
	void (*on_readable)(void *owner); /* conn_read until ERR_AGAIN */
	void (*on_writable)(void *owner); /* there is room again after conn_write said ERR_AGAIN */
	void (*on_closed)(void *owner, const struct error *why); /* NULL: the other side closed cleanly, or we did */
};

/* Dials ADDRESSES ("host:port", N of them) one after the other with a 250 ms head start each (RFC 8305); the first whose
 * TLS handshake succeeds with EXPECT wins.  TLS NULL: in clear. */
struct conn *conn_dial(struct loop *l, struct tls_ctx *tls, const struct device_id *expect,
    const char *const *addresses, size_t n, const struct conn_events *ev, void *owner);
/* The local socket at PATH. */
struct conn *conn_dial_local(struct loop *l, const char *path, const struct conn_events *ev, void *owner);
/* For whoever got it from a listener. */
void conn_set_owner(struct conn *c, const struct conn_events *ev, void *owner);
void conn_close(struct conn *c, const struct error *why); /* pending output is dropped */
void conn_close_when_sent(struct conn *c);                /* ... is sent first, at most 5 s */

/* Up to N plain bytes.  ERR_AGAIN: wait for on_readable.  Not reading stops the peer (TCP). */
enum err conn_read(struct conn *c, void *to, size_t n, size_t *ret_n);
/* Takes all of B or, ERR_AGAIN, nothing: wait for on_writable. */
enum err conn_write(struct conn *c, struct bytes b);
/* Stops and resumes on_readable (back-pressure from the disk). */
void conn_pause(struct conn *c, bool paused);

bool conn_is_ready(const struct conn *c);
const struct tls *conn_tls(const struct conn *c);   /* NULL in clear or before ready */
struct tls *conn_tls_mut(struct conn *c);           /* for tls_export */
const char *conn_peer_address(const struct conn *c);  /* "1.2.3.4:5678"; "local" */
uint64_t conn_bytes_in(const struct conn *c);  /* on the wire */
uint64_t conn_bytes_out(const struct conn *c);
