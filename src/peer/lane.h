/*
 * lane: several connections of one pair of devices, for units.
 *
 * Where one connection cannot fill the line between two devices, further ones (lanes) carry units
 * beside the main one; everything else is said on that.  Who asks for a unit asks on the lightest;
 * the answer comes where it was asked for.
 *
 * The owner of the connections joins a lane to its main one once it is ready.  A peer that closes
 * leaves by itself, a main one with all its lanes, right before on_closed.  A peer that was never
 * joined is its own main one, without lanes.
 *
 * Threads  the loop's.
 */
#pragma once

#include "peer/peer.h"

/* Both ready, of one device; LANE has no lanes of its own. */
void lane_join(struct peer *main, struct peer *lane);
/* Fine for who was never joined. */
void lane_leave(struct peer *p);
/* The main connection of P's pair: P itself, or what it was joined to. */
struct peer *lane_main(struct peer *p);
size_t lane_count(struct peer *main);
/* That with the fewest requests of ours open; the main one of equals. */
struct peer *lane_lightest(struct peer *main);
/* As peer_pause, for all of them, also those that join later. */
void lane_pause(struct peer *main, bool paused);
/* Bytes that moved, both ways, over all of them. */
uint64_t lane_bytes(struct peer *main);
