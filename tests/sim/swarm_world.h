/*
 * swarm_world: many struct swarm on virtual links: uplinks and downlinks with a rate, a delay
 * between any two, queues, deaths, newcomers and liars.  Units are bytes without content; blocks of
 * 16 KiB move.  A seed reproduces a run.
 *
 * An uplink serves what was accepted first, passing over receivers whose window is full; a downlink
 * is a queue.  What is not modelled: losses, headers, the processor.
 */
#pragma once

#include "swarm/swarm.h"

enum world_kind {
	WORLD_HONEST = 0,
	WORLD_MUTE,     /* accepts and never sends a byte */
	WORLD_BRAGGART, /* says it holds everything, offers it, and has nothing */
	WORLD_CORRUPT,  /* sends wrong bytes */
	WORLD_SLUGGARD, /* sends a byte a second */
	WORLD_KINDS,
};

struct world_node_opts {
	uint64_t up, down;        /* bytes a second */
	uint64_t join_us, die_us; /* die_us 0: never */
	bool origin, last_resort;
	enum world_kind kind;
	uint32_t held; /* units that it has from the beginning, drawn at random */
};
struct world_opts {
	uint32_t n_nodes;
	const struct world_node_opts *nodes;
	uint32_t n_units, unit_size;
	uint64_t delay_us;        /* one way */
	uint32_t jitter_permille; /* of the delay, at most, added */
	uint64_t cut_from_us,
	    cut_to_us;          /* the odd and the even nodes do not hear each other meanwhile */
	uint64_t death_seen_us; /* after which the others know of a death */
	/* after which, when nobody came or went and no unit was delivered, it is over */
	uint64_t limit_us;
	uint64_t seed;
};
struct world_result {
	uint64_t done_us;          /* the last honest node that stays; UINT64_MAX: not all */
	uint32_t incomplete;       /* honest ones that stayed and are not complete */
	uint64_t delivered, twice; /* units that came whole; that came though held */
	uint64_t wasted;           /* bytes beyond the units delivered */
	uint64_t origin_bytes, last_resort_bytes;
	uint64_t offers, declined_held, declined_busy;
	uint32_t lost;                /* units that no honest node holds that stayed */
	uint32_t lacking;             /* other units that honest nodes lack which stayed */
	uint32_t banned[WORLD_KINDS]; /* by honest nodes, counted once each */
	uint64_t events;
};
struct world_result world_run(const struct world_opts *o);
