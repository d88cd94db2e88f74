/*
 * swarm_bound: the time that no way of distributing can beat, for bytes that flow like water.
 *
 * Algorithm   the largest of these, for a job of F bytes to N receivers:
 *             - ORIGIN     F / its uplink: each byte leaves it once
 *             - DOWNLINK   what a receiver lacks / its downlink
 *             - UPLOADS    all that is lacked / all uplinks (Kumar and Ross, "Peer-assisted
 *               file distribution", 2006: these three can be reached where nothing but the nodes'
 *               own lines limits)
 *             - SITE_IN    one copy enters each site without an origin
 *             - SITE_OUT   one copy leaves the origin's site when there is another
 *             - SITES      each site but the origin's takes one copy from some site's line out
 *             - FEED       a site's receivers get what enters and what its nodes give
 *
 * Rates are bytes a second; 0 is no limit for a site's line, and nothing for an uplink.
 *
 * Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct swarm_bound_node {
	uint64_t up, down;
	uint32_t site;
	bool origin;   /* holds all from the beginning */
	uint64_t held; /* bytes that another one holds already; its site may lack all the same */
};
struct swarm_bound_site {
	uint64_t out, in;
};
struct swarm_bound_net {
	uint64_t bytes; /* of the job */
	const struct swarm_bound_node *nodes;
	uint32_t n_nodes;
	const struct swarm_bound_site *sites; /* a node's site is its index here */
	uint32_t n_sites;
};
enum swarm_bound {
	SWARM_BOUND_NONE, /* nobody lacks anything */
	SWARM_BOUND_ORIGIN,
	SWARM_BOUND_DOWNLINK,
	SWARM_BOUND_UPLOADS,
	SWARM_BOUND_SITE_IN,
	SWARM_BOUND_SITE_OUT,
	SWARM_BOUND_SITES,
	SWARM_BOUND_FEED,
};

/* Seconds; RET_WHY, if not NULL: which of them it is.  INFINITY: it cannot be done. */
double swarm_bound_s(const struct swarm_bound_net *net, enum swarm_bound *ret_why);
