/*
 * shell: what `peer` is in the program: moves bytes between a wire and a session, ticks it, hands
 * its events to the owner.
 */
#pragma once

#include "session/session.h"
#include "tests/sim/wire.h"

struct shell;
struct shell_events {
	/* all but CLOSED */
	void (*on_event)(void *owner, struct shell *sh, struct session_event *ev);
	void (*on_writable)(void *owner, struct shell *sh); /* there is room to produce */
	/* once, after the LOSTs */
	void (*on_closed)(void *owner, struct shell *sh, const struct error *why);
};
struct shell {
	struct sim *sim;
	struct wire *wire;
	unsigned side;
	struct session *session;     /* NULL until the wire is open */
	struct sim_event tick, work; /* work: what is to be sent is sent, and closed is told */
	const struct shell_events *ev;
	void *owner;
	bool told_closed;
	bool drips; /* one byte a second goes out */
	uint64_t dripped_us;
	struct error why;
	size_t most_queued; /* ever */
};

extern const struct wire_side_events shell_wire_events;

void shell_init(
    struct shell *sh, struct sim *s, unsigned side, const struct shell_events *ev, void *owner);
void shell_clear(struct shell *sh);
void shell_flush(struct shell *sh);                          /* after sending through the session */
void shell_close(struct shell *sh, const struct error *why); /* NULL: a clean BYE */
