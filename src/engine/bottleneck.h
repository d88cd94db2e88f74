/*
 * bottleneck: what limits a snapshot's bytes on their way here or from here, in a few words for
 * people: the first of the things that are in the way, the nearest to this machine first.
 *
 * Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BOTTLENECK_TEXT = 96 };

struct bottleneck_facts {
	bool takes; /* somebody here wants what is missing */
	bool waits; /* it does not go on: WAITING says why */
	const char *waiting;
	bool is_behind; /* the disk */
	bool starving;  /* nobody but a last resort offered anything for a while */
	uint32_t missing, awaited, nowhere; /* units */
	uint32_t peers, seeds, lacking;     /* connected: all; with everything; without */
	bool has_server;                    /* one of them */
	uint32_t out, slots;                /* how much is given, and could be */
	uint64_t rate_in, rate_out;         /* bytes a second */
	uint64_t down_limit, up_limit;      /* of this machine; 0: none */
};
/* Returns OUT. */
const char *bottleneck_say(const struct bottleneck_facts *f, char out[static BOTTLENECK_TEXT]);
