/*
 * bottleneck: what limits a snapshot's bytes on their way here or from here, and what would change
 * it, in a few words for people: the first of the things that are in the way, the nearest to this
 * machine first.
 *
 * It says what this machine can know: of a line that several share, that nobody on this side of it
 * is ahead; not which of the things beyond is the slow one.
 *
 * Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BOTTLENECK_TEXT = 96 };

/* Who set a limit. */
enum bottleneck_by {
	BOTTLENECK_BY_START,    /* up-limit, down-limit */
	BOTTLENECK_BY_SETTING,  /* weft limit */
	BOTTLENECK_BY_SCHEDULE, /* ... for this hour */
	BOTTLENECK_BY_LINE,     /* the share of its site's line */
};
struct bottleneck_limit {
	uint64_t rate; /* bytes a second; 0: none */
	enum bottleneck_by by;
};
struct bottleneck_facts {
	bool takes;  /* somebody here wants what is missing */
	bool paused; /* by the user */
	bool waits;  /* it does not go on: WAITING says why */
	const char *waiting;
	bool central;   /* bytes go to and from the server alone */
	bool is_behind; /* the disk */
	bool is_busy;   /* the processor: nothing is left of it */
	bool starving;  /* nobody but a last resort offered anything for a while */
	uint32_t missing, awaited, nowhere; /* units */
	uint32_t peers, seeds, lacking;     /* connected: all; with everything; without */
	uint32_t ahead;                     /* ... with more than this machine */
	uint32_t near, near_ahead;          /* ... in its own site; of those */
	bool has_server;                    /* one of them */
	uint32_t out, slots;                /* how much is given, and could be */
	uint64_t rate_in, rate_out;         /* bytes a second */
	struct bottleneck_limit down, up;
};
struct bottleneck {
	const char *cause; /* a word for programs (docs/cli-json.md) */
	char text[BOTTLENECK_TEXT];
	const char *advice; /* what would change it; "": nothing that we know of */
};
void bottleneck_judge(const struct bottleneck_facts *f, struct bottleneck *ret);
