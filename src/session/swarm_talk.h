/*
 * swarm_talk: the swarm of one snapshot in the words of weft/1: what peers say becomes calls of
 * struct swarm, and what it answers becomes messages and requests.
 *
 * It speaks of one snapshot to those who take part in it.  Who may take part, which of a peer's
 * jobs stands for this snapshot, and connections are the owner's; so are bytes: the owner asks for
 * units when told to (take), checks what comes, and tells how it went (swarm_got, swarm_ended).
 * The same code runs in the agent, in the server and in tests/sim.
 *
 * An acceptance is a GET_UNITS for the unit that was offered; so the owner, who answers requests,
 * asks swarm_talk_wanted whether one is the answer to an offer, and tells swarm how it ended
 * (swarm_sent, swarm_withdrawn).
 *
 * Pure.  Times are microseconds of a monotonic clock.  PEER is the number that the owner gave to
 * swarm_peer_add.  Threads  one.
 */
#pragma once

#include "proto/message.h"
#include "swarm/swarm.h"

struct swarm_talk;
struct swarm_talk_opts {
	struct swarm *swarm; /* borrowed; must outlive this */
	uint32_t job;        /* ours: what stands for the snapshot in what we send */
	/* Sends the push M (NEWS, OFFER, DECLINE) to PEER; M is borrowed.  Must not call back. */
	void (*send)(void *ctx, uint64_t peer, const struct message *m);
	/* Asks PEER for what is missing of UNIT, which is now in flight.  What could not be asked
	 * is to be told by swarm_unasked, not from within this call.  NULL: it takes nothing. */
	void (*take)(void *ctx, uint64_t peer, uint32_t unit);
	/* UNIT is taken from somebody else: what was asked of PEER for it is cancelled. */
	void (*drop)(void *ctx, uint64_t peer, uint32_t unit);
	void *ctx;
};
struct swarm_talk *swarm_talk_new(const struct swarm_talk_opts *o);
void swarm_talk_free(struct swarm_talk *t); /* NULL is fine */

/* A NEWS, OFFER or DECLINE of PEER for this snapshot.  ERR_PROTO: it names units that the snapshot
 * does not have, or is no such message. */
enum err swarm_talk_message(struct swarm_talk *t, uint64_t peer, const struct message *m,
    uint64_t now_us, struct error *e) must_check;
/* PEER asks for UNIT.  True: that was offered to it, and is accepted now. */
bool swarm_talk_wanted(struct swarm_talk *t, uint64_t peer, uint32_t unit, uint64_t now_us);
/* Sends what there is to say: offers to whoever, news to each peer in turn.  After each event, and
 * when swarm_wakes says so (after swarm_tick). */
void swarm_talk_pump(struct swarm_talk *t, uint64_t now_us);
