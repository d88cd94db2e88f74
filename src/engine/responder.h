/*
 * responder: answers a peer's GET_NODES and GET_UNITS from a source.
 *
 * Reads ahead at most RESPONDER_AHEAD bytes per peer (and the frame that goes beyond it) on top of
 * what the session has queued, so a slow reader costs a bounded amount of memory; streams are
 * served in the order they came.  A cancelled stream stops at the next block.
 *
 * Threads  the loop's; reading happens in jobs.
 */
#pragma once

#include "engine/source.h"
#include "peer/peer.h"

enum { RESPONDER_AHEAD = 512 * 1024 };

struct responder;
struct responder_policy {
	/* Judges each request on the loop, before it is read and again before what was read is
	 * sent: may this peer have bytes of (share, snapshot) now?  Its error is the answer (the
	 * same for "no such share" and "not yours"). */
	enum err (*allow)(void *ctx, struct peer *p, const struct hash_id *share,
	    const struct hash_id *snapshot, struct error *e);
	/* BYTES of SHARE went out to P (for statistics); may be NULL. */
	void (*sent)(void *ctx, struct peer *p, const struct hash_id *share, uint64_t bytes);
	/* Leaves of a chunk could not be read (the file changed, the store lost it), or a node or
	 * map was damaged; never for what was asked wrongly.  May be NULL. */
	void (*failed)(void *ctx, struct peer *p, const struct hash_id *share,
	    const struct hash_id *snapshot, const struct error *why);
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
size_t responder_requests(const struct responder *r); /* waiting or being read */
