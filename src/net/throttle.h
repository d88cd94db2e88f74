/*
 * throttle: one uplink and one downlink for all connections of a node.
 *
 * There are two limits each way: one for all connections, and one for the far ones alone, those
 * that leave the site.  A near connection asks the first, a far one both.
 *
 * Whoever wants to move bytes asks; while others wait, or a bucket of its is empty, it waits in
 * line and is called when its turn has come.  A turn is one piece (a frame to send, a gulp to
 * read), in steps of a few milliseconds' worth; what has begun is finished before the next one's
 * turn, so that of all connections one at most is in the middle of a frame, and a message to any
 * other goes out at once.  Messages do not wait: they are counted, and the buckets owe them.
 * Whoever needed less than its turn the last time, a connection that only brings messages, say,
 * goes ahead of those who have more than they may move: their turn comes one step later.  Near and
 * far have a line each, served in turn.
 *
 * Counted are the bytes of frames: not TLS's (a thousandth), nor TCP's and IP's.  A way without a
 * limit costs a comparison and an addition; there is a timer only while somebody waits.
 *
 * Threads  the loop's.
 */
#pragma once

#include "loop/loop.h"

struct throttle;
enum throttle_way { THROTTLE_UP, THROTTLE_DOWN, THROTTLE_WAYS };
enum throttle_class { THROTTLE_ALL, THROTTLE_FAR, THROTTLE_CLASSES };

/* Of one connection and way; embedded in its owner. */
struct throttle_turn {
	struct throttle_turn *next, *prev; /* in line; NULL when it is not */
	void (*on_turn)(void *ctx);        /* ask again: it will be granted */
	void *ctx;
	bool is_near;  /* throttle_near */
	bool is_light; /* its last turn was enough for it */
};

/* Bytes a second of all connections; 0: no limit. */
struct throttle *throttle_new(struct loop *l, uint64_t up, uint64_t down);
/* When no connection uses it any more; NULL is fine. */
void throttle_close(struct throttle *t);
/* From now on; may be called at any time.  Who waits for a limit that is lifted has its turn soon.
 */
void throttle_limit(
    struct throttle *t, enum throttle_way way, enum throttle_class which, uint64_t bytes_s);
uint64_t throttle_limited(
    const struct throttle *t, enum throttle_way way, enum throttle_class which); /* T NULL: 0 */
/* The slowest that holds for such a connection; 0: none.  T NULL: 0. */
uint64_t throttle_rate(const struct throttle *t, enum throttle_way way, bool is_near);
uint64_t throttle_total(const struct throttle *t, enum throttle_way way); /* all that has moved */
uint64_t throttle_far_total(const struct throttle *t, enum throttle_way way);
/* Did a far connection have to wait since this was asked last?  Or does one now? */
bool throttle_was_short(struct throttle *t, enum throttle_way way);
/* What a socket's buffer should hold: bytes in the kernel have left us and are not there yet.  0:
 * as the system likes, as on a far line of some rate, which may be long: there it makes the buffer
 * as big as we read quickly.  Changes when throttle_changes does. */
size_t throttle_buffer(const struct throttle *t, enum throttle_way way, bool is_near);
/* How often a limit was changed. */
unsigned throttle_changes(const struct throttle *t);

/* Of a far connection. */
void throttle_init(struct throttle_turn *turn, void (*on_turn)(void *ctx), void *ctx);
/* It must not be in line. */
void throttle_near(struct throttle_turn *turn, bool is_near);
/* How many bytes may move now; 0: TURN is in line from now on, and on_turn comes, never from inside
 * this call.  BEGUN: they belong to a piece that others would have to wait behind. */
size_t throttle_ask(
    struct throttle *t, enum throttle_way way, struct throttle_turn *turn, bool begun);
void throttle_moved(
    struct throttle *t, enum throttle_way way, const struct throttle_turn *turn, size_t n);
bool throttle_waits(const struct throttle_turn *turn);
/* Out of the line; also right before its memory goes. */
void throttle_leave(struct throttle *t, enum throttle_way way, struct throttle_turn *turn);
