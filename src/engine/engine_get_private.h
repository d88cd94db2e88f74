/*
 * engine_get_private: what the files of a get share with each other, and nobody else includes.
 *
 *   engine_get.c           the request, the steps, what survives a restart
 *   engine_get_resolve.c   which snapshot it is, and its manifest
 *   engine_get_dest.c      what it makes of DEST: planning, copying, switching
 *   engine_get_fetch.c     bytes from others
 *   engine_get_follow.c    one snapshot after the other
 */
#pragma once

#include "engine/engine_internal.h"

#define GET_PHASES(X) X(RESOLVE) X(NODES) X(PLAN) X(COPY) X(FETCH) X(SWITCH) X(END) X(TIDY) X(REST)
enum get_phase {
#define X(name) GET_##name,
	GET_PHASES(X)
#undef X
};

enum { GET_SOURCES_SHOWN = 16, GET_OVERWRITE = 1, GET_FOLLOW = 2 };

struct get_came {
	uint64_t bytes, wire; /* of content; what those took on the wire */
};
struct get_source { /* somebody who gave something */
	struct device_id device;
	struct get_came came, seen; /* in all; and as its swarm_node counted at the last look */
};
struct get {
	struct engine_job job; /* first */
	struct engine_ask ask;
	struct engine_work work;
	enum get_phase phase;
	char *share, *selector, *path, *subpath;
	uint32_t flags;
	struct commit commit;
	uint64_t number; /* 0: announced only */
	uint32_t unit_size;
	bool is_asking;       /* the server, with `ask` */
	bool is_recalled;     /* what an earlier run knew has been looked for */
	bool is_server_asked; /* for nodes, and not somebody else */
	struct root root;
	struct fetch_nodes *fetch;
	struct snapshot_map *map;
	struct dest *dest;
	int job_dir;
	struct download *download;
	struct dest_summary summary;
	struct buf commit_bytes;
	struct get_came came;   /* by earlier downloads of this run */
	struct hash_id entered; /* the swarm that it takes part in; none */
	bool takes;             /* from it, now */
	bool is_second;         /* another job receives the same; then it is copied from there */
	struct get_came seen;   /* of what came from it is counted */
	struct get_source sources[GET_SOURCES_SHOWN];
	size_t n_sources;
	/* GET_FOLLOW */
	struct hash_id here; /* what is in DEST; none: nothing yet */
	uint64_t here_number, here_hlc;
	struct hash_id newer;   /* to be fetched in place of what is; none */
	bool is_stale;          /* the server may have had something newer while it was away */
	bool is_dropped;        /* what is being fetched will not come */
	struct hash_id dropped; /* the last one that did not: not tried again; none */
	char *dropped_why;      /* NULL: it is of no interest any more */
	unsigned round;         /* 0, 1: which place is staged in */
	struct dest *earlier;   /* what was staged of an older one, in the other; NULL */
	struct snapshot_map *earlier_map;
	int earlier_dir;
};

/* -- of all steps -- */
/* One blocking thing of a job. */
void engine_get_run(struct get *g, enum err (*work)(struct engine_work *w, struct error *e),
    void (*done)(struct engine_work *w, enum err r, const struct error *e));
static inline struct get *
engine_get_of_work(struct engine_work *w)
{
	return container_of(w, struct get, work);
}
/* What passes by itself is waited for; anything else ends the job. */
void engine_get_fail(struct get *g, enum err r, const struct error *e);
/* The same for what writes: a full disk is waited for once something was begun. */
void engine_get_work_failed(struct get *g, enum err r, const struct error *e);
/* What came was damaged where it came from. */
void engine_get_wait_repair(struct get *g);

/* The snapshot is no more, TEXT says why: unless all of it is here, that is the end of it. */
void engine_get_lost(struct get *g, const char *text);
void engine_get_reset(struct get *g); /* to the first step, for another snapshot */
void engine_get_save(struct get *g);  /* what a restart goes on with */

/* -- the steps: each begins something whose end calls engine_job_end, or waits, or finishes -- */
void engine_get_resolve(struct get *g);
void engine_get_resolve_nodes(struct get *g);
void engine_get_resolve_stop(struct get *g);
/* The server is back: what has become of the snapshot? */
void engine_get_resolve_again(struct get *g);
/* It has become the head, NUMBER. */
void engine_get_resolve_number(struct get *g, uint64_t number);
/* RESOLVE, when nothing else is being asked. */
enum err engine_get_resolve_ask(struct get *g, const char *selector,
    void (*on_answer)(struct engine_ask *a, const struct message *m, const struct error *e),
    struct error *e) must_check;
/* Takes in what an answer says of the share, our rights on it, and its head. */
enum err engine_get_resolve_statements(struct get *g, const struct msg_snapshot *m,
    struct hash_id *ret_share, struct error *e) must_check;
/* Others may be asked for nodes now; P may not be any more. */
void engine_get_resolve_peers(struct get *g);
void engine_get_resolve_peer_gone(struct get *g, struct peer *p);
void engine_get_dest_plan(struct get *g);
void engine_get_dest_copy(struct get *g);
/* Nobody is served from it any more.  In a job, or when the engine closes: it waits for who reads.
 */
void engine_get_dest_close(struct get *g);
/* The directory of the job that belongs to place ROUND; -1 on failure. */
int engine_get_dest_dir(struct get *g, unsigned round, struct error *e);
/* Of the place that is not staged in, what an earlier run left. */
enum err engine_get_dest_clear_other(struct get *g, struct error *e) must_check;
void engine_get_dest_switch(struct get *g);
void engine_get_fetch(struct get *g);
void engine_get_fetch_stop(struct get *g);
/* Takes part in the snapshot's swarm, if it has one. */
void engine_get_fetch_enter(struct get *g);
void engine_get_fetch_leave(struct get *g, bool held); /* HELD: all that it took is in place */
bool engine_get_fetch_waits(const struct get *g);      /* bytes are missing, and nobody is there */
void engine_get_fetch_link_ready(struct get *g);
void engine_get_fetch_link_gone(struct get *g);
struct get_came engine_get_fetch_came(const struct get *g); /* in this run of the job */
void engine_get_fetch_progress(const struct get *g, uint64_t left, struct buf *record);

/* -- following -- */
void engine_get_follow(struct get *g);      /* the step: rests until there is something newer */
void engine_get_follow_tidy(struct get *g); /* the step: nothing stays staged */
/* Something else is to be done than the present step: it has begun. */
bool engine_get_follow_turn(struct get *g);
/* SNAPSHOT, of the same share, is to be fetched. */
void engine_get_follow_newer(struct get *g, const struct hash_id *snapshot);
/* There is something to go on with when what is being fetched is not there. */
bool engine_get_follow_may_drop(const struct get *g);
/* What is being fetched will not come. */
void engine_get_follow_drop(struct get *g, const char *why);
void engine_get_follow_switched(struct get *g); /* what was fetched is in DEST */
void engine_get_follow_copied(struct get *g); /* in a job: what fits of the earlier one is taken */
void engine_get_follow_close(struct get *g);  /* as engine_get_dest_close, the earlier one too */
/* PROGRESS of another snapshot of the share. */
void engine_get_follow_progress(struct get *g, const struct msg_progress *m);
