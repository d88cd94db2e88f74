/*
 * wire_private: what a wire is, for wire.c and wire_end.c.
 */
#pragma once

#include <uv.h>

#include "base/buf.h"
#include "net/wire.h"

#define WIRE_STATES(X) X(CONNECTING) X(SHAKING) X(OPEN) X(LEAVING) X(BROKEN) X(CLOSED)
enum wire_state {
#define X(name) WIRE_##name,
	WIRE_STATES(X)
#undef X
};
struct wire {
	uv_poll_t poll; /* first: what libuv hands back */
	struct loop *loop;
	const struct wire_events *ev;
	void *ctx;
	enum wire_state state;
	int fd;
	int polling; /* UV_READABLE | UV_WRITABLE as asked of poll */
	bool paused;
	bool drained;    /* wire_read has said ERR_AGAIN: the socket may be read again */
	bool owes_input; /* call on_input at the end of the turn */
	bool owes_room;  /* a write did not fit: call on_room when it would */
	bool stuck;      /* the socket takes nothing until it is writable */
	bool mute;       /* sending failed: only what the other side still says is of interest */
	bool hung_up;    /* LEAVING: our side is shut */
	bool clean;      /* BROKEN: with a goodbye, so WHY is not told */
	struct task settle;
	struct timer *deadline;
	struct tls *tls;
	struct buf out;  /* in clear */
	bool connecting; /* CONNECTING: connect() is under way */
	size_t budget;   /* in clear: bytes that may still be read in this turn */
	uint64_t bytes_in, bytes_out;
	struct error *why; /* BROKEN, MUTE */
};
