/*
 * conn: one byte stream to somebody: TCP with TLS (weft/1), or the local control socket in clear.
 *
 * The owner pulls plain bytes with conn_read when told that there are some and pushes with
 * conn_write while there is room; nothing is buffered beyond the limits below, so a slow reader
 * slows its sender. One 256 KiB receive buffer per loop serves all connections: an idle one costs
 * its TLS object.
 *
 * Lifetime  conn_close may be called in any state, any number of times; on_closed is the last
 * callback, exactly once, after which the conn is freed by itself.  No callback comes before the
 * call that causes it has returned. Threads   the loop's.
 */
#pragma once

#include "base/error.h"
#include "crypto/tls.h"
#include "loop/loop.h"
#include "net/line.h"
#include "platform/tcp_line.h"

struct conn;

enum {
	CONN_WRITE_MAX = 128 * 1024,  /* of one conn_write */
	CONN_WRITE_HIGH = 512 * 1024, /* queued at most in clear; TLS_OUT_MAX with TLS */
	CONN_CONNECT_MS = 10 * 1000,  /* a dial, all addresses and the handshake together */
};

struct conn_events {
	void (*on_ready)(void *owner);    /* connected, TLS handshake done */
	void (*on_readable)(void *owner); /* conn_read until ERR_AGAIN */
	void (*on_writable)(void *owner); /* there is room again after conn_write said ERR_AGAIN */
	void (*on_closed)(void *owner,
	    const struct error *why); /* NULL: the other side closed cleanly, or we did */
};

/*
 * Dials ADDRESSES ("host:port", "[v6]:port", N of them; borrowed) in their order, each 250 ms after
 * the one before or as soon as that has failed (RFC 8305); the first whose TLS handshake succeeds
 * with EXPECT (NULL: anybody; copied) wins. TLS NULL: in clear.  A failure comes as on_closed:
 * ERR_DENIED when somebody else answered, ERR_OFFLINE when nobody did.
 */
struct conn *conn_dial(struct loop *l, struct tls_ctx *tls, const struct device_id *expect,
    const char *const *addresses, size_t n, const struct conn_events *ev, void *owner);
/* The local socket at PATH (borrowed).  Nobody there: ERR_OFFLINE. */
struct conn *conn_dial_local(
    struct loop *l, const char *path, const struct conn_events *ev, void *owner);
/* For whoever got it from a listener, or hands it on.  EV NULL: nobody; it is closed by the
 * caller's conn_close only. */
void conn_set_owner(struct conn *c, const struct conn_events *ev, void *owner);
/* Pending output is dropped.  WHY NULL: a clean goodbye, as on_closed will say here and there; else
 * the other side sees the connection cut off. */
void conn_close(struct conn *c, const struct error *why);
/* ... is sent first, at most 5 s.  No more on_readable. */
void conn_close_when_sent(struct conn *c);

/* Up to N plain bytes.  ERR_AGAIN: on_readable will come.  Until it has said so on_readable does
 * not come again, and not reading stops the peer (TCP). */
enum err conn_read(struct conn *c, void *to, size_t n, size_t *ret_n);
/* Takes all of B, at most CONN_WRITE_MAX, or, ERR_AGAIN, nothing: on_writable will come, or
 * on_ready.  ERR_LIMIT: B is too big.  What is written goes out at the end of the turn. */
enum err conn_write(struct conn *c, struct bytes b);
/* Takes the first bytes of B as far as there is room: how many.  Fewer than B.len: as ERR_AGAIN
 * above.  Any size. */
size_t conn_write_some(struct conn *c, struct bytes b);
/* Stops and resumes on_readable (back-pressure from the disk). */
void conn_pause(struct conn *c, bool paused);
/* How many bytes the kernel is to keep, of what comes and of what goes; 0: as it likes. */
void conn_buffers(struct conn *c, size_t receive, size_t send);
/* What lies between the two sides, as the owner found; any time, also anew.  LINE_UNKNOWN, and
 * before it is said: as the system likes. */
void conn_set_line(struct conn *c, enum line_class class);
/* Nobody knows it: from now on the shortest round trip measured says it, also when a shorter one is
 * seen later (the first may have waited in queues). */
void conn_line_by_rtt(struct conn *c);
enum line_class conn_line(const struct conn *c);
/* False: it is not up (or local), and *RET is zero. */
bool conn_measure(const struct conn *c, struct tcp_line *ret);

bool conn_is_ready(const struct conn *c);
const struct tls *conn_tls(const struct conn *c); /* NULL in clear, before ready, and once closed */
struct tls *conn_tls_mut(struct conn *c);         /* for tls_export */
/* "1.2.3.4:5678"; "local"; the first address while dialing.  Good in on_closed too, as the counts
 * below. */
const char *conn_peer_address(const struct conn *c);
/* Connections that its listener has from the same address, this one included; 0 of one that was
 * dialed. */
size_t conn_siblings(const struct conn *c);
uint64_t conn_bytes_in(const struct conn *c); /* on the wire */
uint64_t conn_bytes_out(const struct conn *c);
