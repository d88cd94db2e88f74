/*
 * requester: how events of a request find their way back: the owner handed to session_request is
 * always a struct requester.
 */
#pragma once

#include "peer/peer.h"

struct requester {
	/* ANSWER, RAW (block is yours) or LOST of one of your requests; EV->end or LOST: the last.
	 */
	void (*on_event)(struct requester *r, struct peer *p, struct session_event *ev);
};
/* For on_event of a peer's owner: routes ANSWER, RAW and LOST; false for everything else. */
static inline bool
requester_route(struct peer *p, struct session_event *ev)
{
	if (ev->kind != SESSION_EV_ANSWER && ev->kind != SESSION_EV_RAW &&
	    ev->kind != SESSION_EV_LOST)
		return false;
	struct requester *r = ev->owner;
	r->on_event(r, p, ev);
	return true;
}
