/*
 * swarm_world: many struct swarm on virtual links: uplinks and downlinks with a rate, sites whose
 * line is shared by all that is in them, delays, queues, deaths, newcomers, wrong labels and liars.
 * Units are bytes without content; blocks of them move.  A seed reproduces a run.
 *
 * Lines       An uplink serves what was accepted first, passing over receivers whose window is
 *             full; a downlink and a site's line out and in are queues, each served in the order of
 *             arrival.  Bytes between two nodes of one site pass only their own lines.
 * Places      Nodes are told where they and their peers are as the server would: the site that
 *             their label says, if it is believed; a site's candidates for gateway by weighted
 *             rendezvous hash.  Who is connected with whom: all of a site up to 64, else 40 at
 *             random and its candidates; the candidates of up to 32 sites with each other, of more
 *             sites with those of 16 at random; who is the origin counts as a candidate there.
 * Not modelled: losses, headers, the processor, disks.
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
	uint32_t site; /* where it is */
	/* It says that it is in site LABEL, which is not so. */
	bool mislabelled;
	uint32_t label;
};
struct world_site_opts {
	uint64_t out, in; /* bytes a second, for all that is in it; 0: no limit */
};
struct world_opts {
	uint32_t n_nodes;
	const struct world_node_opts *nodes;
	uint32_t n_sites; /* 0: one, without a limit */
	const struct world_site_opts *sites;
	bool credulous; /* wrong labels are believed: nobody measures the delay */
	uint32_t n_units, unit_size;
	uint32_t block;           /* bytes that move at once; 0: 16 KiB */
	uint32_t window;          /* ... that may be under way between two; 0: 64 KiB */
	uint64_t delay_us;        /* one way, within a site */
	uint64_t far_us;          /* ... between sites */
	uint64_t work_us;         /* from an event to what a node does about it */
	uint32_t jitter_permille; /* of the delay, at most, added */
	uint64_t cut_from_us,
	    cut_to_us;          /* the odd and the even nodes do not hear each other meanwhile */
	uint64_t death_seen_us; /* after which the others know of a death */
	/* after which, when nobody came or went and no unit was delivered, it is over */
	uint64_t limit_us;
	uint64_t seed;
};
/* Payload on the lines of sites, in copies of the whole. */
struct world_copies {
	double avg, max;
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
	double origin_copies;
	struct world_copies in, out; /* of the sites where no origin is */
	struct world_copies home;    /* avg: into, max: out of the origin's */
	/* The most that one of these sites took in beyond a copy for itself, for each of its nodes
	 * that died (what it had not passed on) and for each that is held to be elsewhere. */
	double excess;
	/* fluid lower bound for the first nodes, those that are there at the beginning */
	double bound_s;
	double ratio;      /* the last of those, by the bound */
	double late_ratio; /* of those that came later, the worst by its own bound; 0: none */
};
struct world_result world_run(const struct world_opts *o);
