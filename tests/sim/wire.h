/*
 * wire: connections like those of TCP over sim: bytes in order, a window, delay, and what goes
 * wrong: lost packets (the stream stands still until they are sent again), partitions (it stands
 * still until they end), resets (both sides lose it).
 *
 * The rates are those of the machines' lines, shared by all their wires.
 */
#pragma once

#include "base/bytes.h"
#include "tests/sim/sim.h"

enum { WIRE_SEGMENT = 16 * 1024, WIRE_RESEND_MS = 200, WIRE_DIAL_MS = 5000 };

struct wire;
struct wire_side_events {
	void (*on_open)(void *ctx, struct wire *w);
	void (*on_bytes)(void *ctx, struct wire *w, struct bytes b); /* all of it is taken */
	void (*on_room)(void *ctx, struct wire *w); /* the window has opened after it was full */
	void (*on_lost)(void *ctx, struct wire *w); /* last; once, unless this side closed it */
};
struct wire_opts {
	uint32_t from, to;                        /* machines; FROM dials */
	uint32_t window;                          /* bytes under way, each direction */
	uint32_t loss_per_million;                /* segments that must be sent again */
	uint32_t reset_per_million;               /* segments at which the connection breaks */
	const struct wire_side_events *events[2]; /* of the dialer and of the other */
	void *ctx[2];
};
struct wire *wire_dial(struct sim *s, const struct wire_opts *o);
bool wire_is_open(const struct wire *w);
/* SIDE 0 dialed.  Takes as much of B as there is room for. */
size_t wire_write(struct wire *w, unsigned side, struct bytes b);
size_t wire_room(const struct wire *w, unsigned side);
/* A side that does not read: what is under way to it stays under way. */
void wire_stop_reading(struct wire *w, unsigned side);
/* Closes: no more calls to SIDE; the other reads what was written, and then loses it. */
void wire_close(struct wire *w, unsigned side);
/* Both sides lose it, at once but not within this call (a middlebox, a crash). */
void wire_reset(struct wire *w);
/* after the last event; by whoever dialed, when the simulation ends */
void wire_free(struct wire *w);
