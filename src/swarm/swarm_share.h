/*
 * swarm_share: one uplink for the swarms of a node: how many slots each may fill now.
 *
 * Rules  - A background job has what the foreground jobs leave over, and no more.
 *        - Within a class slots are shared by weight; what one job cannot use the others have.
 *        - A job that could give has at least one slot while its class has any: more jobs than
 *          slots crowd the uplink rather than that one of them stands still.
 *
 * Pure.  To be called before the swarms are asked for offers (swarm_allow), whenever one of them
 * was asked in vain or has given something.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct swarm_share_job {
	uint32_t weight; /* within its class; 0 is taken for 1 */
	bool background;
	bool wants;     /* it could give more than it does (swarm_wants) */
	uint32_t used;  /* slots that it fills (swarm_giving) */
	uint32_t slots; /* the answer */
};
/* SLOTS: as many as the uplink needs, the largest swarm_depth of them. */
void swarm_share(struct swarm_share_job *jobs, size_t n, uint32_t slots);
