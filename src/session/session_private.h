/*
 * session_private: what session.c and session_tick.c share.
 */
#pragma once

#include "session/calls.h"
#include "session/input.h"
#include "session/output.h"
#include "session/session.h"

struct session {
	enum session_state state;
	bool dialer, told_closed, paused;
	uint16_t version;
	struct error why;

	struct input in;
	struct output out;
	struct calls ours, theirs;

	uint64_t now_ms, opened_ms, entered_ms; /* opened; entered the present state */
	uint64_t last_in_ms, last_block_ms;     /* a byte came; a whole block */
	uint64_t resumed_ms;                    /* the end of our last pause */
	uint64_t last_ping_ms, ping_token;      /* token 0: none yet */
	uint32_t tries;                         /* requests while it was a guest */
	bool awaits_pong, heard;                /* heard: a byte came since the last ping */
	uint32_t missed_pings;
	uint32_t rtt_ms8, rtt_min_ms; /* smoothed, eighths; the shortest */
	bool probe;                   /* ping soon */
	uint64_t bytes_in, bytes_out;
};

_Static_assert(sizeof(struct session) <= 1024, "an idle connection is small");

/* Queues a message, whether or not they are read: one who asks on and on without reading is let go.
 * ERR_BUG, ERR_LIMIT. */
enum err session_queue(struct session *s, const struct message *m, struct error *e);
