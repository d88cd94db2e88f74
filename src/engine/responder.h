/*
 * responder: answers a peer's GET_NODES and GET_UNITS from a source.
 *
 * Reads ahead at most RESPONDER_AHEAD bytes per peer (and the frame that goes beyond it) on top of
 * what the session has queued, which is the policy's window and a frame; so a slow reader costs a
 * bounded amount of memory, and with a small window what it is sent next is decided late.  Streams
 * are served in the order they came, two side by side.  A cancelled stream stops at the next block.
 * Leaves go out packed where the line is in the way, they shrink, and the other side understands it
 * (engine/shrink).
 *
 * Threads  the loop's; reading happens in jobs.
 */
#pragma once

#include "engine/source.h"
#include "peer/peer.h"

enum {
	RESPONDER_AHEAD = 512 * 1024,
	/* Of output towards a peer that several share an uplink with: what waits there is neither
	 * taken back nor overtaken, and fills a slot of the swarm. */
	RESPONDER_WINDOW_SMALL = 64 * 1024,
};

struct responder;
struct responder_ask {
	uint16_t type; /* FRAME_GET_NODES or FRAME_GET_UNITS */
	struct hash_id share, snapshot;
	uint32_t unit; /* GET_UNITS */
};
struct responder_sent { /* of one answer */
	uint64_t bytes; /* of its frames, before they were packed */
	uint64_t wire;  /* ... as they went to the session */
	bool whole;     /* the last of them went to the connection; else it ended before */
};
struct responder_policy {
	/* Judges each request on the loop, when it comes, before it is read and again before what
	 * was read is sent: may this peer have that now?  Its error is the answer (the same for "no
	 * such share" and "not yours"). */
	enum err (*allow)(
	    void *ctx, struct peer *p, const struct responder_ask *ask, struct error *e);
	/* An allowed GET_UNITS has come: is it to be answered?  Its error is the answer.  May be
	 * NULL. */
	enum err (*begin)(
	    void *ctx, struct peer *p, const struct responder_ask *ask, struct error *e);
	/* The answer to what had begun is over: all of it went out, or it was refused later,
	 * cancelled, or could not be read.  Once each; not after responder_close.  May be NULL. */
	void (*over)(void *ctx, struct peer *p, const struct responder_ask *ask,
	    const struct responder_sent *sent);
	/* BYTES are to go out for ASK: 0, and they are counted; else how many milliseconds not yet.
	 * With no bytes: is it worth while to read for it?  May be NULL. */
	uint64_t (*hold_ms)(
	    void *ctx, struct peer *p, const struct responder_ask *ask, uint64_t bytes);
	/* There is something to send and the connection takes nothing more; or it does again.  May
	 * be NULL. */
	void (*blocked)(void *ctx, struct peer *p, bool blocked);
	/* BYTES of SHARE went out to P (for statistics); may be NULL. */
	void (*sent)(void *ctx, struct peer *p, const struct hash_id *share, uint64_t bytes);
	/* Leaves of a chunk could not be read (the file changed, the store lost it), or a node or
	 * map was damaged; never for what was asked wrongly.  May be NULL. */
	void (*failed)(
	    void *ctx, struct peer *p, const struct responder_ask *ask, const struct error *why);
	uint32_t window; /* of output (peer_set_window); 0: LIMIT_OUTPUT_QUEUE */
	void *ctx;
};
struct responder *responder_new(struct loop *l, struct peer *p, const struct source *src,
    const struct responder_policy *policy);
/* Call when the peer closes.  Frees later, when its jobs are done: then ON_CLOSED (may be NULL),
 * from the loop; the source is used until then, the policy not any more.  NULL is fine. */
void responder_close(struct responder *r, void (*on_closed)(void *ctx), void *ctx);
/* Hands in a SESSION_EV_REQUEST of type GET_NODES or GET_UNITS, and SESSION_EV_CANCEL. */
void responder_request(struct responder *r, const struct session_event *ev);
void responder_cancel(struct responder *r, uint32_t stream);
void responder_writable(struct responder *r);         /* peer_events.on_writable */
size_t responder_requests(const struct responder *r); /* not yet with the session */
