/*
 * peer: session's shell: one remote device over a conn.
 *
 * Moves bytes between conn and session, ticks the session, and hands its events to the owner.  No
 * policy: who is admitted and what is answered is the owner's (engine, server).
 *
 * Lifetime  peer_close any time, any number of times; on_closed last, exactly once, then the peer
 * frees itself.  Requests still open end with SESSION_EV_LOST before that. Threads   the loop's.
 */
#pragma once

#include "net/conn.h"
#include "net/throttle.h"
#include "session/session.h"

struct peer;
struct lanes;

enum { PEER_GOODBYE_MS = 5 * 1000 }; /* for what is queued when the session ends */

struct peer_events {
	/* Each session event but NONE and CLOSED, in order.  A RAW event's block is the
	 * owner's.  EV is borrowed. */
	void (*on_event)(void *owner, struct peer *p, struct session_event *ev);
	/* Something of the output has changed for who produces: it has fallen below half of its
	 * window after it was above; the block of peer_await_gone has gone; or, above the window,
	 * the connection takes nothing any more or again (peer_is_stuck). */
	void (*on_writable)(void *owner, struct peer *p);
	/* WHY NULL: one of the two sides said BYE. */
	void (*on_closed)(void *owner, struct peer *p, const struct error *why);
};

/* Keeps OWNER and EV; takes C (ready or dialing).  HELLO is the encoded HELLO frame, copied. */
struct peer *peer_new(struct loop *l, struct conn *c, bool dialer, struct bytes hello,
    const struct peer_events *ev, void *owner);
/* WHY NULL: a clean BYE; else it is sent as the reason.  What is queued before it is sent first,
 * data not begun is not. */
void peer_close(struct peer *p, const struct error *why);
/* Never NULL.  Before the conn is ready nothing can be asked of it (ERR_OFFLINE).  peer_flush after
 * calling it. */
struct session *peer_session(struct peer *p);
/* Deferred to the end of the turn; cheap to call often. */
void peer_flush(struct peer *p);
/* How much output is produced ahead of the connection: LIMIT_OUTPUT_QUEUE unless set. */
void peer_set_window(struct peer *p, uint32_t bytes);
/* Is the output below its window?  If not, on_writable will come. */
bool peer_has_room(struct peer *p);
/* on_writable once blocks up to number NUMBER have gone (session_raw_gone); the latest call
 * counts. */
void peer_await_gone(struct peer *p, uint64_t number);
/* The connection did not take all that it was given last: the other side, or what lies between, is
 * slower than we are. */
bool peer_is_stuck(const struct peer *p);
/* Stops reading: a disk is behind.  Several may: it goes on when each has resumed. */
void peer_pause(struct peer *p, bool paused);
/* From now on it shares T (kept; NULL: no limit) with the others, and its socket's buffers are as
 * small as T says, also when T's limits change. */
void peer_throttle(struct peer *p, struct throttle *t);
/* Is the other side in our own site?  Far until it is said, and far ones alone are held to the
 * limits of the line (net/throttle). */
void peer_near(struct peer *p, bool is_near);
bool peer_is_near(const struct peer *p);
/* NULL before the conn is ready, or in clear. */
const struct device_id *peer_device(const struct peer *p);
struct conn *peer_conn(struct peer *p);
/* For peer/lane alone: what it keeps with P; NULL: it has no lanes, and is none. */
struct lanes **peer_lanes(struct peer *p);
void *peer_owner(struct peer *p);
