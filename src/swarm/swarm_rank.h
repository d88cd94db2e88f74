/*
 * swarm_rank: who of a site speaks for it: in which order its members are candidates for gateway,
 * and how many of them are gateways.
 *
 * Algorithm  weighted rendezvous hashing (Thaler and Ravishankar 1998; with weights: Schindelhauer
 *            and Schomaker 2005).  Each member has a key, drawn from the numbers of site and member
 *            and divided by its weight; the smallest key comes first.  So whoever knows a site's
 *            members knows the same order, who weighs twice as much is first twice as often, and
 *            who comes, goes or changes moves nobody else.
 *
 * Rules      - The weight is the uplink as it was seen, and follows only what has doubled or halved
 *              since: a ranking that trembles would move every unit under way to another gateway.
 *            - Gateways are so many that their uplinks together fill the site's line twelve times
 *              over, 4 to 16: each of them has its neighbours' units to pass on as well.  A line
 *              that nobody knows has SWARM_RANK_GATEWAYS.
 *            - Twice as many are candidates: when a gateway dies, everybody knows the next.
 *
 * Pure, and without floating point: the same everywhere.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	SWARM_RANK_GATEWAYS_MIN = 4,
	SWARM_RANK_GATEWAYS_MAX = 16,
	SWARM_RANK_GATEWAYS = 6,                      /* where the line is not known */
	SWARM_RANK_FILL = 12,                         /* uplinks of the median member, to a line */
	SWARM_RANK_MAX = 2 * SWARM_RANK_GATEWAYS_MAX, /* candidates of a site */
	SWARM_RANK_UNKNOWN = 4 * 1024 * 1024, /* bytes/s: an uplink that nobody has seen yet */
};

/* What a member whose uplink is RATE (bytes/s; 0 unknown) weighs from now on; BEFORE: until now, 0
 * nothing.  Never 0. */
uint64_t swarm_rank_weight(uint64_t before, uint64_t rate);
/* The smaller the better; of two that are equal, the smaller NODE.  WEIGHT > 0. */
uint64_t swarm_rank_key(uint64_t site, uint64_t node, uint64_t weight);
/* How many of MEMBERS are gateways, of a site with a line of LINE and members whose median uplink
 * is MEDIAN (bytes/s; 0 unknown). */
uint8_t swarm_rank_gateways(uint64_t line, uint64_t median, size_t members);
/* How many of MEMBERS are candidates, where GATEWAYS of them are gateways. */
uint8_t swarm_rank_candidates(uint8_t gateways, size_t members);
