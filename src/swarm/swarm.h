/*
 * swarm: one snapshot, one node: which unit to give to whom next, and whether to take what is
 * offered.
 *
 * It is told what happened (who is there and what they hold, what came, what was sent, time) and
 * answers what to do.  No sockets, bytes, clock or dice of its own: the agent, the server and the
 * simulator run this same code.
 *
 * Algorithm   two-sided offers (../docs/decisions/two-sided-offers.md): whoever has a free upload
 *             slot draws two receivers at random, takes the needier (fewest inbound, then fewest
 *             held), and offers it the rarest unit it lacks; an accepted unit already counts as a
 *             copy.  The receiver, who alone knows what it awaits, accepts or declines.  The two
 *             sides' knowledge together: Sanghavi, Hajek and Massoulie, "Gossiping with multiple
 *             messages" (2007); the most deprived first: Massoulie and Twigg, "Rate-optimal schemes
 *             for peer-to-peer live streaming" (2008).
 *
 * Rules       - A unit that nobody else holds or awaits goes out before any other; whoever is the
 *               origin sends no second copy of anything while somebody lacks such a unit.  It
 *               goes to a last resort only when nobody else has room: that one passes nothing on.
 *             - When all has been sent once and most others lack little, the origin leaves to
 *               them for SWARM_LEAN_US what two of them or more hold or await.
 *             - A last resort (the server of a hybrid share) offers only such units, and anything
 *               to a peer that starves: no other peer has offered it a unit for SWARM_STARVE_US.
 *             - A unit that nobody else has goes to who can pass it on: of two receivers of whom
 *               one has three times the uplink of the other, to him.
 *             - Who lacks nothing that is not on its way, but has a unit come far slower than
 *               others did, lets go of it: whoever has room offers it, and takes over with what is
 *               missing (a rescue, once a unit).
 *             - Inbound room (SWARM_INBOUND) exceeds outbound slots (SWARM_SLOTS_MAX), or all
 *               receivers would be stuck at saturated senders.
 *             - What has brought no byte for a while is suspect: it no longer counts as awaited, so
 *               that others may offer it; the first offer replaces it, and is given twice that
 *               while. A while is four times what this peer took lately, at least
 *               SWARM_SUSPECT_US.  To be replaced again and again without a byte is to break
 *               promises, too.
 *             - Three wrong leaves, or SWARM_BROKEN_MAX accepted units in a row of which nothing
 *               came, and a peer is not listened to any more (the first for good).
 *
 * Sites       Peers are near (one site: an office, where bytes are cheap) or far.  Sites swarm
 *             among each other as nodes do inside one, with the line between them for their uplink:
 *             - To a far peer a node speaks for its site: what it or a near peer holds or awaits.
 *             - Of a site's candidates the best that are connected are its gateways.  Each unit has
 *               one of them that may take it from afar: rendezvous hashing, so that all agree
 *               without a word and a gateway's death moves only its own units.  Others answer
 *               SWARM_ELSEWHERE; views may differ for a while, so who has refused a unit so takes
 *               it after SWARM_GRACE_US, if his site still lacks it.
 *             - Gateways export: to the site with least on its way, what the fewest sites have.  A
 *               unit's slot is held until it has arrived, or the queue of the line would decide.
 *             - What no other site has goes first, once: its gateways tell each other at once what
 *               they let out, and send no second copies while the site has anything of that kind.
 *               Which of them exports a unit to a site is drawn like which of that site takes it.
 *               Afterwards they leave to the other sites for SWARM_LEAN_US what those have.
 *             - The origin exports only what its uplink has left over, as long as another gateway
 *               of its site could: first it feeds those.
 *
 * Times are microseconds of a monotonic clock.  PEER is any number the owner likes (a connection).
 *
 * Pure.  Memory   per unit 2 bytes and 4 bits; per peer 2 bits a unit (3 when it skips some); what
 *                 was not told yet, at most SWARM_LOG_MAX units.  Threads  one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SWARM_SLOTS_MIN = 4,
	SWARM_SLOTS_MAX = 12,
	SWARM_INBOUND = 24,
	SWARM_LOOK = 192,          /* candidates compared for rarity */
	SWARM_WRONG_MAX = 3,       /* wrong leaves */
	SWARM_BROKEN_MAX = 3,      /* promises in a row */
	SWARM_FAR_MAX = 1024,      /* units on their way from afar to one node */
	SWARM_LOG_MAX = 64 * 1024, /* a peer further behind is told everything anew */
	SWARM_RUNS_MAX = 256,      /* of one list of a struct swarm_news */
};
#define SWARM_BATCH_MIN_US ((uint64_t)20 * 1000) /* between two news to a peer */
#define SWARM_BATCH_MAX_US ((uint64_t)150 * 1000)
#define SWARM_OFFER_US     ((uint64_t)10 * 1000 * 1000) /* an offer without an answer ends */
#define SWARM_SUSPECT_US   ((uint64_t)2 * 1000 * 1000)  /* or eight round trips, if that is more */
#define SWARM_SILENT_US    ((uint64_t)30 * 1000 * 1000) /* then what was asked is cancelled */
#define SWARM_STARVE_US    ((uint64_t)2 * 1000 * 1000)
#define SWARM_LEAN_US      ((uint64_t)4 * 1000 * 1000)  /* of the origin, at the end */
#define SWARM_PENANCE_US   ((uint64_t)30 * 1000 * 1000) /* after broken promises */
#define SWARM_RETRY_MAX_US ((uint64_t)60 * 1000 * 1000) /* longest "later" that is believed */
#define SWARM_GRACE_US     ((uint64_t)2 * 1000 * 1000)  /* in which views of a site may differ */
#define SWARM_ARRIVE_US    ((uint64_t)20 * 1000 * 1000) /* sent afar, not told of: it is lost */

struct swarm;
struct swarm_opts {
	uint32_t n_units;
	uint32_t unit_size;
	bool origin;      /* the publisher: no second copy before each first */
	bool last_resort; /* the server */
	uint64_t seed;    /* of the dice */
};
struct swarm *swarm_new(const struct swarm_opts *o);
void swarm_free(struct swarm *s); /* NULL is fine */

/* -- this node -- */

void swarm_hold(struct swarm *s, uint32_t unit); /* verified and here, by whatever way it came */
void swarm_lose(struct swarm *s, uint32_t unit); /* not here any more: a file was changed */
void swarm_skip(struct swarm *s, uint32_t unit); /* not wanted here */
void swarm_want(struct swarm *s, uint32_t unit); /* ... after all */
bool swarm_holds(const struct swarm *s, uint32_t unit);
bool swarm_is_complete(const struct swarm *s); /* holds all that is wanted */
uint32_t swarm_units(const struct swarm *s);   /* how many the snapshot has */
uint32_t swarm_units_held(const struct swarm *s);
uint32_t swarm_units_skipped(const struct swarm *s);
/* Takes nothing for now (the disk is behind, the job pauses); gives on.  Peers are told that there
 * is no room, and their silence meanwhile is no fault. */
void swarm_pause(struct swarm *s, bool paused);
/* All that is on its way is awaited no more; nobody is blamed. */
void swarm_abandon(struct swarm *s);

/* Where a node is.  All zero, the default: one site, in which all are near. */
struct swarm_place {
	uint64_t site; /* any number; equal: the same site */
	uint64_t node; /* of the device, the same number at everybody: rendezvous draws with it */
	uint8_t rank;  /* 1, 2 ..: candidate for gateway of its site, best first; 0: none */
	uint8_t
	    gateways; /* how many of its site's candidates are gateways; 0: SWARM_RANK_GATEWAYS */
};
/* This node's.  Where no member of the site is a candidate, each is. */
void swarm_place(struct swarm *s, const struct swarm_place *self, uint64_t now_us);
bool swarm_is_gateway(const struct swarm *s);

/* -- peers -- */

struct swarm_peer_opts {
	struct swarm_place place;
	bool far;         /* not of this site; both ends must hold it so */
	bool last_resort; /* it offers only what nobody else does */
};
void swarm_peer_add(
    struct swarm *s, uint64_t peer, const struct swarm_peer_opts *o, uint64_t now_us);
/* It is now known to be elsewhere, or of another class: it is told everything anew. */
void swarm_peer_place(
    struct swarm *s, uint64_t peer, const struct swarm_place *place, bool far, uint64_t now_us);
/* All offers and units between us are over. */
void swarm_peer_gone(struct swarm *s, uint64_t peer, uint64_t now_us);
/* The number of peer I, while there are more than I. */
bool swarm_peer_at(const struct swarm *s, size_t i, uint64_t *ret_peer);
/* Its connection takes no more bytes, or does again: it gets no offers, and after SWARM_SUSPECT_US
 * what it accepted no longer fills slots. */
void swarm_peer_blocked(struct swarm *s, uint64_t peer, bool blocked, uint64_t now_us);

struct swarm_run {
	uint32_t first, n;
};
/* What one says of itself, to a far peer of its site: units that it holds, awaits, and neither (any
 * more, or wants at all). */
struct swarm_news {
	uint32_t inbound; /* units that it awaits now, to a far peer: from afar */
	uint64_t rate;    /* its uplink, bytes a second, as it saw it; 0 unknown */
	bool starving;
	const struct swarm_run *have, *await, *drop, *skip;
	uint32_t n_have, n_await, n_drop, n_skip;
	/* Between the gateways of a site: what it has just offered to another site as the first. */
	const struct swarm_run *left;
	uint32_t n_left;
};
/* False: a run beyond the last unit. */
bool swarm_peer_news(
    struct swarm *s, uint64_t peer, const struct swarm_news *news, uint64_t now_us);
/* What PEER is to be told now; the lists are borrowed until the next call.  False: nothing. */
bool swarm_tell(struct swarm *s, uint64_t peer, uint64_t now_us, struct swarm_news *ret);

enum swarm_verdict {
	SWARM_ACCEPT,    /* request it, the leaves that are missing */
	SWARM_HELD,      /* decline: it is here, awaited or not wanted */
	SWARM_BUSY,      /* decline: no room */
	SWARM_ELSEWHERE, /* decline: another gateway of this site takes this unit */
	SWARM_DISTRUST,  /* decline: this peer promised and did not keep it */
};

/* -- giving -- */

struct swarm_offer {
	uint64_t peer;
	uint32_t unit;
};
/* Of several swarms at one uplink each may fill so many slots (swarm_share.h). */
void swarm_allow(struct swarm *s, uint32_t slots);
bool swarm_wants(const struct swarm *s); /* it could give more if it had more slots */
/* The next OFFER to send; false: none now.  Call until false, after each event. */
bool swarm_offer(struct swarm *s, uint64_t now_us, struct swarm_offer *ret);
/* PEER takes what was offered: serve it.  False: nothing of the kind was offered. */
bool swarm_accepted(struct swarm *s, uint64_t peer, uint32_t unit, uint64_t now_us);
/* WHY: SWARM_HELD, it or its site holds or awaits the unit; SWARM_ELSEWHERE; else it has no room
 * for RETRY_US. */
void swarm_declined(struct swarm *s, uint64_t peer, uint32_t unit, enum swarm_verdict why,
    uint64_t retry_us, uint64_t now_us);
/* Its last byte was handed to the connection (BYTES in all); or it ended before (BYTES so far). */
void swarm_sent(struct swarm *s, uint64_t peer, uint32_t unit, uint64_t bytes, uint64_t now_us);
void swarm_withdrawn(
    struct swarm *s, uint64_t peer, uint32_t unit, uint64_t bytes, uint64_t now_us);

/* -- taking -- */

struct swarm_answer {
	enum swarm_verdict verdict;
	bool replaces; /* ACCEPT: cancel what was asked of OLD_PEER for the same unit */
	uint64_t old_peer;
};
struct swarm_answer swarm_offered(struct swarm *s, uint64_t peer, uint32_t unit, uint64_t now_us);
/* BYTES of UNIT came from PEER and are verified. */
void swarm_got(struct swarm *s, uint64_t peer, uint32_t unit, uint64_t bytes, uint64_t now_us);
/* What PEER sent of UNIT is over.  WHOLE: the unit is here now (it is held). */
void swarm_ended(struct swarm *s, uint64_t peer, uint32_t unit, bool whole, uint64_t now_us);
/* UNIT could not be asked of PEER after all, which is not its fault. */
void swarm_unasked(struct swarm *s, uint64_t peer, uint32_t unit);
/* A leaf of PEER was wrong: true when that was one too many: end the connection. */
bool swarm_charge(struct swarm *s, uint64_t peer);

/* -- time -- */

/* To be called at the time that swarm_wakes says; then swarm_offer and swarm_tell. */
void swarm_tick(struct swarm *s, uint64_t now_us);
/* A unit of which PEER has sent nothing, nor of any other, for SWARM_SILENT_US: what was asked of
 * it is to be cancelled, and swarm_ended told.  Each is named once; call until false, after
 * swarm_tick. */
bool swarm_silent(struct swarm *s, uint64_t *ret_peer, uint32_t *ret_unit);
uint64_t swarm_wakes(struct swarm *s, uint64_t now_us); /* UINT64_MAX: nothing waits for time */

/* -- for people -- */

struct swarm_stats {
	uint64_t bytes_in, bytes_out;
	uint32_t held, awaited; /* units, as it says */
	uint32_t offers_out, accepted_out, declined_held, declined_busy, declined_elsewhere;
	uint32_t offers_in, accepted_in, broken, wrong;
	uint32_t rtt_us; /* from offer to acceptance, smoothed; 0 unknown */
	bool blocked, distrusted, banned, starving;
	bool far, gateway; /* of its site */
};
bool swarm_peer_stats(const struct swarm *s, uint64_t peer, struct swarm_stats *ret);
uint32_t swarm_slots(const struct swarm *s); /* how many units may go out side by side now */
uint32_t swarm_depth(const struct swarm *s); /* ... if the uplink were its alone */
uint64_t swarm_rate(
    const struct swarm *s); /* bytes a second that the uplink was seen to do; 0 unknown */
uint32_t swarm_awaited(const struct swarm *s);
uint32_t swarm_giving(const struct swarm *s); /* units offered, or accepted and not sent */
bool swarm_is_starving(const struct swarm *s);
/* Units that neither this node nor any peer holds or awaits, although wanted here. */
uint32_t swarm_nowhere(const struct swarm *s);
bool swarm_first_nowhere(const struct swarm *s, uint32_t *ret_unit); /* false: none */
