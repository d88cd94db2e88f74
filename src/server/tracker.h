/*
 * tracker: who takes part in the swarm of which snapshot, over which connection, and who is to be
 * told of whom.
 *
 * It is told what members say (ENTER, NEWS, EXIT) and who has gone, and answers whom to send which
 * MEMBERS.  Who may take part is the owner's to judge, and where somebody can be reached too.
 *
 * Rules  - Who wants something is told of others, once at once (whole), then of newcomers and of
 *          those who left, in batches.  Who holds all that it wants is told of nobody: it gets
 *          dialled.
 *        - Nobody is told of more than TRACKER_VIEW others, drawn at random; of those who hold
 *          everything at least TRACKER_SEEDS are among them, if there are so many.  Who leaves
 *          makes room for another.
 *        - Who has held all that it wants stays so until its next ENTER: what it loses later it
 *          does not want back.
 *        - A device with several connections is one to others.
 *
 * Pure: connections are numbers of the owner's, the time (monotonic) is handed in.
 * Memory  about 120 bytes a participation; of one that wants something also a bit a unit, once it
 *         has some, and 550 bytes for what it was told of.  A connection takes part in
 *         TRACKER_JOBS_MAX snapshots at most, and wants TRACKER_UNITS_MAX units at most.
 */
#pragma once

#include "proto/message.h"

enum {
	TRACKER_VIEW = LIMIT_MEMBERS,
	TRACKER_SEEDS = 8,
	TRACKER_JOBS_MAX = 4096,
	TRACKER_UNITS_MAX = 16 * 1024 * 1024, /* 2 MiB of bits */
	TRACKER_BATCH_MS = 100,
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
};

/* -- what they say -- */

/* LINK, a connection of DEVICE, says M (whose unit size was found good).  An ENTER for the same
 * snapshot, or with the same job, replaces the one before.  ERR_LIMIT. */
enum err tracker_enter(struct tracker *t, uint64_t link, const struct device_id *device,
    const struct msg_enter *m, uint64_t now_ms, struct error *e) must_check;
/* NULL: JOB stands for nothing (any more) on LINK. */
const struct tracker_entry *tracker_find(const struct tracker *t, uint64_t link, uint32_t job);
/* ERR_PROTO: it names units that the snapshot does not have.  Fine for a job that stands for
 * nothing. */
enum err tracker_news(
    struct tracker *t, uint64_t link, const struct msg_news *m, struct error *e) must_check;
void tracker_exit(struct tracker *t, uint64_t link, uint32_t job, uint64_t now_ms);
void tracker_gone(struct tracker *t, uint64_t link, uint64_t now_ms);
/* Asks of each who takes part whether it still may, and drops who may not.  SHARE, SNAPSHOT: only
 * there; NULL: everywhere.  MAY must not call back. */
void tracker_judge(struct tracker *t, const struct hash_id *share, const struct hash_id *snapshot,
    bool (*may)(void *ctx, const struct tracker_entry *x), void *ctx, uint64_t now_ms);

/* -- whom to tell -- */

struct tracker_told { /* one MEMBERS, to LINK */
	uint64_t link;
	const struct hash_id *share, *snapshot;
	bool whole;
	const uint64_t *came; /* connections, each of another device */
	const struct device_id *left;
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
/* A connection of DEVICE that takes part there; 0: none. */
uint64_t tracker_link_of(const struct tracker *t, const struct device_id *device,
    const struct hash_id *share, const struct hash_id *snapshot);
/* A connection of DEVICE that takes part in something that LINK takes part in; 0: none. */
uint64_t tracker_meets(struct tracker *t, uint64_t link, const struct device_id *device);
