/*
 * wire: one socket, in clear or with TLS on it: connects, shakes hands, moves bytes, says goodbye.
 * What dial, listener and conn share; they are its holders, one at a time.
 *
 * Reading   on_input tells that there is something; the holder calls wire_read until ERR_AGAIN.
 * Until it has, or while it is paused, the socket is not read, so a slow holder slows the sender.
 * Writing   what is written goes out at the end of the turn, or when WIRE_FLUSH bytes are together.
 * Fairness  at most WIRE_ROUNDS times LOOP_RECEIVE bytes are read before other connections have
 * their turn.
 *
 * on_down comes once, last, and never from inside a call; the holder answers it with wire_close.
 */
#pragma once

#include "base/bytes.h"
#include "crypto/tls.h"
#include "loop/loop.h"
#include "net/address.h"
#include "net/line.h"
#include "platform/tcp_line.h"

struct wire;

enum {
	WIRE_ROUNDS = 4,
	WIRE_RECORD = 16 * 1024, /* what TLS makes one record of: less is not worth one */
	WIRE_FLUSH = 128 * 1024,
	WIRE_AHEAD = 128 * 1024,    /* what the kernel takes beyond what it may send now */
	WIRE_QUEUE = 512 * 1024,    /* of output in clear; with TLS it is full with WIRE_FLUSH */
	WIRE_GOODBYE_MS = 5 * 1000, /* for the last bytes, and for the other side to hang up */
	WIRE_LAST_WORDS_MS = 1000,  /* to read why the other side stopped listening to us */
};

struct wire_events {
	void (*on_up)(void *ctx); /* connected, and the handshake is done */
	void (*on_input)(void *ctx);
	void (*on_room)(void *ctx); /* after wire_write took less than it was given */
	void (*on_down)(void *ctx, const struct error *why); /* NULL: a clean end */
};

struct wire_opts {
	int fd;            /* non-blocking; taken, also on failure */
	bool connecting;   /* connect() is under way */
	struct tls *tls;   /* NULL: in clear; taken, also on failure */
	uint64_t limit_ms; /* until on_up; 0: the holder sees to it */
};
/* Borrows EV's functions for its life. */
enum err wire_open(struct loop *l, const struct wire_opts *o, const struct wire_events *ev,
    void *ctx, struct wire **ret, struct error *e) must_check;
void wire_hand_over(
    struct wire *w, const struct wire_events *ev, void *ctx); /* to another holder */
/* No callback after this; frees later. */
void wire_close(struct wire *w);
/* Says a clean goodbye (close_notify) as far as the socket takes it now.  Before wire_close. */
void wire_goodbye(struct wire *w);
/* Sends what was written, says goodbye, waits until the other side has hung up too; then on_down.
 */
void wire_finish(struct wire *w);

/* Up to N bytes; ERR_AGAIN: nothing now. */
enum err wire_read(struct wire *w, void *to, size_t n, size_t *ret_n);
/* Takes the first bytes of B as far as there is room, and says how many.  Fewer than B.len: on_room
 * comes. */
size_t wire_write(struct wire *w, struct bytes b);
/* Can B.len bytes be taken at once?  If not, on_room comes. */
bool wire_has_room(struct wire *w, size_t n);
void wire_pause(struct wire *w, bool paused);
void wire_buffers(struct wire *w, size_t receive, size_t send); /* conn_buffers */
void wire_line(struct wire *w, enum line_class class);
bool wire_measure(const struct wire *w, struct tcp_line *ret);

struct tls *wire_tls(const struct wire *w); /* NULL in clear */
const char *wire_peer(const struct wire *w, char out[static ADDRESS_TEXT]);
uint64_t wire_bytes_in(const struct wire *w); /* with TLS: of ciphertext */
uint64_t wire_bytes_out(const struct wire *w);
