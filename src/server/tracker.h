/*
 * tracker: who takes part in the swarm of which snapshot, over which connection, and who is to be
 * told of whom.
 *
 * It is told what members say (ENTER, NEWS, EXIT) and who has gone, and answers whom to send which
 * MEMBERS.  Who may take part is the owner's to judge, and where somebody can be reached too.
 *
 * Rules  - Sites are numbers of the owner's: equal numbers, one site.  Its members are ranked
 *          (swarm/swarm_rank.h) anew as they come and go: the first ranks are its candidates for
 *          gateway.  A weight follows an uplink that doubled or halved, once in TRACKER_WEIGH_MS:
 *          a short job is not disturbed by what it measures.  Who skips units ranks behind all
 *          who do not: it could not take in what the others lack.
 *        - Who wants something is told of others of its site, once at once (whole), then of
 *          newcomers and of those who left, in batches.  Who holds all that it wants gets dialled:
 *          of those there it is told who speaks for the site, if it does, too, and there are
 *          others.
 *        - Of a site of up to TRACKER_VIEW all are told; of a larger one all candidates and
 *          TRACKER_RANDOM others, drawn at random; of those who hold everything at least
 *          TRACKER_SEEDS are among them, if there are so many.  Who leaves makes room for another.
 *        - Who speaks for its site, a candidate or the author, is told of those who speak for the
 *          sites linked to its own, and they of it.  Up to TRACKER_SITES sites all are linked to
 *          each other; of more, each chooses TRACKER_LINKS at random, and is chosen by others.
 *        - Everybody is told its own rank, and of those it was told of theirs, when they change.
 *        - Who has held all that it wants stays so until its next ENTER: what it loses later it
 *          does not want back.
 *        - A device with several connections is one to others.
 *
 * Cost   of one who comes or goes: what its site's members (and, when it speaks for it, those who
 *        speak for linked sites) have in view, once a batch.
 *
 * Pure: connections are numbers of the owner's, the time (monotonic) is handed in.
 * Memory  about 150 bytes a participation; 16 more for each other that it was told of; of one that
 *         wants something also a bit a unit, once it has some.  A connection takes part in
 *         TRACKER_JOBS_MAX snapshots at most, and wants TRACKER_UNITS_MAX units at most.
 */
#pragma once

#include "proto/message.h"

enum {
	TRACKER_VIEW = 64,
	TRACKER_RANDOM = 40,
	TRACKER_SEEDS = 8,
	TRACKER_JOBS_MAX = 4096,
	TRACKER_UNITS_MAX = 16 * 1024 * 1024, /* 2 MiB of bits */
	TRACKER_SITES = 32,
	TRACKER_LINKS = 8,
	TRACKER_BATCH_MS = 100,
	TRACKER_WEIGH_MS = 10 * 1000,
};

struct tracker;
struct tracker *tracker_new(uint64_t seed); /* of its dice */
void tracker_free(struct tracker *t);       /* NULL is fine */

/* One who takes part.  Borrowed until the next call that changes something. */
struct tracker_entry {
	uint64_t link;
	const struct hash_id *share, *snapshot;
	uint32_t job;   /* its number for the snapshot */
	uint32_t units; /* as it says; 0: it has no manifest yet */
	bool whole;     /* it holds all that it wants */
	bool author;    /* of the snapshot */
	uint64_t site;
	uint8_t rank;     /* candidate of its site, the best is 1; 0: none */
	uint8_t gateways; /* so many of them are gateways; 0 when it is no candidate */
};

/* -- what they say -- */

struct tracker_who {
	struct device_id device;
	uint64_t site;
	bool author; /* of the snapshot that it enters */
};
/* LINK, a connection of WHO, says M (whose unit size was found good).  An ENTER for the same
 * snapshot, or with the same job, replaces the one before.  ERR_LIMIT. */
enum err tracker_enter(struct tracker *t, uint64_t link, const struct tracker_who *who,
    const struct msg_enter *m, uint64_t now_ms, struct error *e) must_check;
/* NULL: JOB stands for nothing (any more) on LINK. */
const struct tracker_entry *tracker_find(const struct tracker *t, uint64_t link, uint32_t job);
/* ERR_PROTO: it names units that the snapshot does not have.  Fine for a job that stands for
 * nothing. */
enum err tracker_news(struct tracker *t, uint64_t link, const struct msg_news *m, uint64_t now_ms,
    struct error *e) must_check;
void tracker_exit(struct tracker *t, uint64_t link, uint32_t job, uint64_t now_ms);
void tracker_gone(struct tracker *t, uint64_t link, uint64_t now_ms);
/* Asks of each who takes part whether it still may, and drops who may not.  SHARE, SNAPSHOT: only
 * there; NULL: everywhere.  MAY must not call back. */
void tracker_judge(struct tracker *t, const struct hash_id *share, const struct hash_id *snapshot,
    bool (*may)(void *ctx, const struct tracker_entry *x), void *ctx, uint64_t now_ms);

/* DEVICE belongs to SITE from now on: it is told of others anew. */
void tracker_place(
    struct tracker *t, const struct device_id *device, uint64_t site, uint64_t now_ms);
/* SITE has a line of RATE bytes a second; 0: nobody knows.  Kept, whoever is there. */
void tracker_line(struct tracker *t, uint64_t site, uint64_t rate, uint64_t now_ms);

/* -- whom to tell -- */

struct tracker_told { /* one MEMBERS */
	const struct tracker_entry *to;
	bool whole; /* what it was told before is void */
	bool self;  /* its own place is news to it */
	/* Others that it did not know of, or whose place has changed; each of another device. */
	const struct tracker_entry *const *came;
	const struct device_id *left; /* it is no longer told of them */
	size_t n_came, n_left;
};
/* The next one that is due; false: none.  Call until false, with nothing else in between; what it
 * points at is borrowed until the next call. */
bool tracker_next(struct tracker *t, uint64_t now_ms, struct tracker_told *ret);
/* When tracker_next is to be called again; UINT64_MAX: when something has happened. */
uint64_t tracker_wakes(const struct tracker *t);

/* -- looking -- */

struct tracker_count {
	size_t wanting, whole;
};
struct tracker_count tracker_count(
    const struct tracker *t, const struct hash_id *share, const struct hash_id *snapshot);
/* Who takes part there: those who want something first.  NULL beyond the last. */
const struct tracker_entry *tracker_at(
    const struct tracker *t, const struct hash_id *share, const struct hash_id *snapshot, size_t i);
/* All who take part, anywhere.  ON_ENTRY must not call back. */
void tracker_each(
    const struct tracker *t, void (*on_entry)(void *ctx, const struct tracker_entry *x), void *ctx);
/* A connection of DEVICE that takes part there; 0: none. */
uint64_t tracker_link_of(const struct tracker *t, const struct device_id *device,
    const struct hash_id *share, const struct hash_id *snapshot);
/* A connection of DEVICE that takes part in something that LINK takes part in; 0: none. */
uint64_t tracker_meets(struct tracker *t, uint64_t link, const struct device_id *device);
