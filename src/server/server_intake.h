/*
 * server_intake: what the files of the intake share with each other.
 *
 *   server_intake.c       its life: begins, waits, begins anew, ends; who comes and goes
 *   server_intake_step.c  what it does: the commit, the nodes, the chunks
 *   server_intake_watch.c what may go wrong in the swarm
 *   server_intake_head.c  its end: the HEAD statement
 */
#pragma once

#include "server/server_internal.h"

#define INTAKE_STATES(X)                                                                           \
	X(WAITING) X(LOADING) X(NODES) X(OPENING) X(CHUNKS) X(READY) X(SEQUENCING) X(CLOSING)
enum intake_state {
#define X(name) INTAKE_##name,
	INTAKE_STATES(X)
#undef X
};

struct intake {
	struct server *server;
	enum intake_state state;
	bool repair;
	int64_t share;
	struct hash_id snapshot;
	struct device_id author;
	struct commit commit;
	bool asked_commit;           /* repair: the commit itself was lost */
	ARRAY(int64_t) readable;     /* shares whose bytes the author may use */
	ARRAY(struct hash_id) nodes; /* to be recorded; touched by one job at a time */
	struct fetch_nodes *fetch;
	struct snapshot_map *map;
	struct server_sink *sink;
	struct snapshot_map *node_map; /* for the swarm; NULL: it has it */
	bool taking;                   /* from the swarm, not by DOWNLOAD */
	bool alone; /* its author was here, and did not come into the swarm in time */
	struct download *download;
	struct timer *watch;            /* NULL: it does not take from the swarm */
	uint64_t nowhere_ms, absent_ms; /* since when; 0: it is not so (server_intake_watch.c) */
	struct lost_ask *ask;           /* its author is asked for it */
	struct timer *retry;            /* NULL: it does not wait for room */
	bool told_full;
	uint64_t progress_ms;
	unsigned open; /* fetch, download, jobs: what closing waits for */
};

/* -- its life -- */
void server_intake_enter(struct intake *k, enum intake_state next);
void server_intake_next(struct intake *k); /* does what its state asks for */
void server_intake_end(struct intake *k);
void server_intake_again(struct intake *k); /* begins anew: what has arrived stays in the store */
/* Something that K->open counted is over. */
void server_intake_part_closed(void *k);
/* A step came to nothing: a full disk is waited for, all else ends K and, of an announcement,
 * withdraws it. */
void server_intake_failed(struct intake *k, enum err r, const struct error *e);
/* NULL: removed meanwhile, as the next */
struct registry_share *server_intake_share(const struct intake *k);
struct registry_snapshot *server_intake_snapshot(const struct intake *k);

bool server_intake_is_for_all(const struct intake *k); /* it may be taken from members */

/* -- its steps; each goes on to the next state by itself -- */
void server_intake_step_load(struct intake *k);
void server_intake_step_nodes(struct intake *k, struct peer *author); /* NULL: when one comes */
void server_intake_step_open(struct intake *k);
void server_intake_step_chunks(struct intake *k, struct peer *author);

/* -- what may go wrong in the swarm -- */
void server_intake_watch(struct intake *k);
void server_intake_watch_end(struct intake *k); /* fine when nothing is watched */

/* -- its end -- */
void server_intake_head(struct intake *k);
