/*
 * session: one connection of weft/1 as a pure state machine.  No sockets, no clock, no dice: it is
 * fed plain bytes (after TLS) and the time, and gives bytes to send and events.  `peer` is its
 * shell; tests run two against each other in memory, tests/sim through a simulated network.
 *
 * Both sides send HELLO at once.  The owner looks at the other's HELLO and admits it as a member,
 * as a guest (who may only JOIN), or closes.  After that either side opens requests, each on a
 * stream of its own; answers come back on that stream; the session matches them, refuses what was
 * not asked for, enforces proto/limits.h, pings what is silent, and gives every open request
 * exactly one end: an event with `end` set, or SESSION_EV_LOST when the connection ends, or nothing
 * more after session_cancel.
 *
 * On the wire every stream ends exactly once too: by a frame with FRAME_END, or by ERROR.  A
 * cancelled stream is ended by the session of the other side itself (ERROR canceled), so that what
 * was under way is told from what nobody asked for.
 *
 * Messages overtake blocks of other streams that wait to be sent, so a revocation is never behind a
 * megabyte of data.
 *
 * Memory     idle: under 1 KiB.  A frame in assembly: its size, from the limits.  Output:
 *            LIMIT_OUTPUT_QUEUE and what the owner adds beyond; at LIMIT_OUTPUT_MAX it ends.
 * Threads    one.
 */
#pragma once

#include "base/buf.h"
#include "proto/message.h"
#include "session/block.h"

#define SESSION_STATES(X) X(GREETING) X(JUDGING) X(GUEST) X(READY) X(CLOSED)
enum session_state {
#define X(name) SESSION_##name,
	SESSION_STATES(X)
#undef X
};

struct session_opts {
	bool dialer;        /* we opened the connection: our streams are odd */
	struct bytes hello; /* our HELLO frame, encoded (message_encode); copied */
	uint64_t now_ms;    /* monotonic */
};
struct session;
struct session *session_new(const struct session_opts *o);
void session_free(struct session *s);

enum session_event_kind {
	SESSION_EV_NONE = 0, /* feed more */
	/* The other's HELLO in ev.message: now session_admit, session_admit_guest or _close. */
	SESSION_EV_HELLO,
	SESSION_EV_REQUEST, /* the other asks: answer on ev.message.stream */
	SESSION_EV_ANSWER,  /* to our request; ev.owner; ends it when ev.end */
	SESSION_EV_PUSH,    /* STATEMENTS, PROGRESS, REPORT, the mesh's, BYE: no answer expected */
	/* DATA or NODE for our request ev.owner, in the order and of the leaves or nodes that were
	 * asked for: ev.block is yours (block_free). */
	SESSION_EV_RAW,
	SESSION_EV_CANCEL, /* the other no longer wants the answer on ev.stream */
	SESSION_EV_LOST,   /* our request ev.owner ended with the connection; after CLOSED only */
	/* Once, last but LOSTs: ev.error says why (code OK: a clean BYE).  What session_output
	 * still gives is to be sent before the connection is closed; session_tick drops it after
	 * LIMIT_CLOSE_MS. */
	SESSION_EV_CLOSED,
};
struct session_event {
	enum session_event_kind kind;
	uint32_t stream;
	bool end;                   /* the request is over with this event */
	void *owner;                /* as given to session_request */
	struct message message;     /* borrowed until the next session_next or session_received */
	struct frame_header header; /* RAW */
	struct block *block;        /* RAW: given */
	struct error error;         /* CLOSED */
};

/* Where the next bytes from the connection go: room for *RET_N >= 1 of them.  Read into it, then
 * session_received. NULL and 0: not now: an event is pending, the owner has not judged HELLO yet,
 * or the session is closed. */
uint8_t *session_space(struct session *s, size_t *ret_n);
void session_received(struct session *s, size_t n, uint64_t now_ms);
/* For tests and simulations: copies through session_space; takes as much as it can until an event
 * is pending, and returns how much. */
size_t session_feed(struct session *s, struct bytes b, uint64_t now_ms);
/* Drain after each session_received, tick, or close, until NONE. */
void session_next(struct session *s, struct session_event *ev);

/* We do not read at the moment, so silence is no fault of the other side. */
void session_paused(struct session *s, bool paused, uint64_t now_ms);

/* Bytes to send: contiguous, borrowed until the next call; then say how many went. Empty: nothing.
 */
struct bytes session_output(struct session *s);
void session_sent(struct session *s, size_t n);
/* Of session_output: is it a message (else a block)?  Has some of the block gone, so that nothing
 * can overtake it? */
bool session_output_is_message(const struct session *s);
bool session_output_has_begun(const struct session *s);
/* bytes not sent; above LIMIT_OUTPUT_QUEUE stop producing */
size_t session_queued(const struct session *s);

/* The owner's verdict on HELLO; allowed in JUDGING (and session_admit again in GUEST, after JOIN:
 * before or after answering JOINED). */
void session_admit(struct session *s);
void session_admit_guest(struct session *s);
/* of the protocol, agreed upon; 0 before HELLO */
uint16_t session_version(const struct session *s);
/* Queues ERROR on stream 0 (when WHY is not NULL) or BYE and is CLOSED; data not begun is dropped.
 * Any state; the first reason stays. */
void session_close(struct session *s, const struct error *why);
/* The connection is gone: the same, and nothing is to be sent. */
void session_abort(struct session *s, const struct error *why);

/* Opens a request: encodes M on a new stream (*RET_STREAM, may be NULL; M->stream too).  ERR_LIMIT:
 * too many open, or M too large; ERR_OFFLINE: not READY; ERR_BUG: M breaks its rules.  OWNER comes
 * back with every event of it. */
enum err session_request(struct session *s, struct message *m, void *owner, uint32_t *ret_stream,
    struct error *e) must_check;
/* no more events for it; one that is over already is fine */
void session_cancel(struct session *s, uint32_t stream);
/* Answers (M->stream is the request's) and pushes (0).  ERR_CANCELED: nobody waits on that stream
 * any more; ERR_OFFLINE: not READY; ERR_BUG, ERR_LIMIT as above. */
enum err session_send(struct session *s, const struct message *m, struct error *e) must_check;
/* These, and session_send_raw, do nothing when nobody waits on STREAM any more. */
enum err session_answer_error(
    struct session *s, uint32_t stream, const struct error *why, uint32_t unit);
void session_answer_ok(struct session *s, uint32_t stream);
/* Queues a raw frame: B holds the whole payload (prefix included) and is taken.  FLAGS as FRAME_*.
 * The same order as the request asked for: the other side ends the connection otherwise.  Returns
 * the block's number; 0 when it was not queued. */
uint64_t session_send_raw(
    struct session *s, uint16_t type, uint16_t flags, uint32_t stream, struct block *b);
/* Blocks up to this number were handed out whole, or are not to be sent any more. */
uint64_t session_raw_gone(const struct session *s);
/* Is the request of the other on STREAM still open (not cancelled, not answered)? */
bool session_is_wanted(const struct session *s, uint32_t stream);

/* Time: deadlines, pings.  Returns the monotonic ms of the next tick that is needed; call it then,
 * and after each batch of requests (they bring deadlines of their own).  Once closed, and with
 * nothing to send or no time left for it: UINT64_MAX. */
uint64_t session_tick(struct session *s, uint64_t now_ms);
enum session_state session_state(const struct session *s);
uint32_t session_rtt_ms(const struct session *s);     /* smoothed from pings; 0 unknown */
uint32_t session_rtt_min_ms(const struct session *s); /* of all pings; 0 unknown */
/* The round-trip time is of interest: pings with the next tick, unless one is under way. */
void session_probe(struct session *s);
uint32_t session_asking(const struct session *s); /* requests of ours that are open */
uint64_t session_bytes_in(const struct session *s);
uint64_t session_bytes_out(const struct session *s);
