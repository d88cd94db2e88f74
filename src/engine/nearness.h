/*
 * nearness: is a label of a site to be believed, by how far the others are who bear it?
 *
 * Labels are written by people, and one that is wrong costs its whole office: a machine that is
 * elsewhere passes for a cheap source, pulls a copy of everything over the office's line, and
 * speaks for it.  Round-trip times cannot be wrong in that way: what is far is never measured near.
 *
 * Rules  - A label is believed when at least half of those who bear it, as far as they were
 *          measured, are within NEAR_US.  Three are asked (or all, when there are fewer) before
 *          there is a verdict; who else was measured anyway counts, too.  Three are drawn by whom
 *          one happens to be connected to, which nobody chooses.
 *        - Times are the least of many: a queue on the way only adds to them.  So who joins while
 *          the office is busy may be doubted first and is believed as soon as one packet of each
 *          finds the way free; until then it is asked again, less and less often.
 *        - What is believed is doubted only after most of those who bear it have been far for
 *          NEARNESS_HOLD_MS: mates that come and go, right or wrong, change nothing at once.
 *        - Whom nobody was measured against has nothing to be believed or doubted by.
 *
 * A wrong verdict, either way, costs bytes on a line and nothing else.
 *
 * Pure.  Times are milliseconds of a monotonic clock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	NEARNESS_RTT_MS = 5, /* what is near, unless the configuration says */
	NEARNESS_MATES = 3,
	NEARNESS_WAIT_MS = 2 * 1000, /* for those who cannot be measured */
	NEARNESS_HOLD_MS = 30 * 1000,
	NEARNESS_PROBE_MIN_MS = 250, /* between two probes while it is not believed: from ... */
	NEARNESS_PROBE_MAX_MS = 15 * 1000, /* ... to, twice as long after each */
	/* Two sites are one when their members are so close, and as many bytes a second were seen
	 * between them: no line between offices does both. */
	NEARNESS_SAME_US = 2 * 1000,
	NEARNESS_SAME_RATE = 25 * 1000 * 1000,
	/* Who says that it is near and is measured at so many times the limit is not taken at its
	 * word. */
	NEARNESS_FAR_TIMES = 10,
};

enum nearness_belief { NEARNESS_UNDECIDED, NEARNESS_BELIEVED, NEARNESS_DOUBTED };

struct nearness { /* of one label; zero: just got it */
	enum nearness_belief belief;
	uint64_t since_ms; /* when somebody else who bears it was first heard of; 0: never */
	uint64_t
	    against_ms;    /* since when most have been far from who is believed; 0: they are not */
	uint64_t probe_ms; /* when those who bear it are to be asked next */
	uint64_t wait_ms;  /* between the last two times */
	/* what it was decided by */
	uint32_t mates, near;
	uint32_t rtt_us; /* within which half of them are */
};

/* RTTS are the least times of the N who bear the label and were measured, in any order (they are
 * sorted); KNOWN how many bear it at all, so that N of them will be more.  True: the belief is
 * another one now. */
bool nearness_judge(struct nearness *n, uint32_t *rtts, size_t n_rtts, size_t known,
    uint32_t near_us, uint64_t now_ms);
/* Are those who bear it to be asked now how far they are?  True counts as done. */
bool nearness_probes(struct nearness *n, uint64_t now_ms);
