/*
 * engine_get_private: what the files of a get share with each other, and nobody else includes.
 *
 *   engine_get.c           the request, the steps, what survives a restart
 *   engine_get_resolve.c   which snapshot it is, and its manifest
 *   engine_get_dest.c      what it makes of DEST: planning, copying, switching
 *   engine_get_fetch.c     bytes from others
 */
#pragma once

#include "engine/engine_internal.h"

#define GET_PHASES(X) X(RESOLVE) X(NODES) X(PLAN) X(COPY) X(FETCH) X(SWITCH) X(END)
enum get_phase {
#define X(name) GET_##name,
	GET_PHASES(X)
#undef X
};

enum { GET_SOURCES_SHOWN = 16, GET_OVERWRITE = 1 };

struct get {
	struct engine_job job; /* first */
	struct engine_ask ask;
	struct engine_work work;
	enum get_phase phase;
	char *share, *selector, *path, *subpath;
	uint32_t flags;
	struct commit commit;
	uint64_t number;
	uint32_t unit_size;
	struct root root;
	struct fetch_nodes *fetch;
	struct snapshot_map *map;
	struct dest *dest;
	int job_dir;
	struct download *download;
	struct dest_summary summary;
	struct buf commit_bytes;
	uint64_t fetched; /* bytes of earlier downloads of this run */
	struct download_source sources[GET_SOURCES_SHOWN];
	size_t n_sources;
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

/* -- the steps: each begins something whose end calls engine_job_end, or waits, or finishes -- */
void engine_get_resolve(struct get *g);
void engine_get_resolve_nodes(struct get *g);
void engine_get_resolve_stop(struct get *g);
void engine_get_dest_plan(struct get *g);
void engine_get_dest_copy(struct get *g);
/* Nobody is served from it any more.  In a job, or when the engine closes: it waits for who reads.
 */
void engine_get_dest_close(struct get *g);
void engine_get_dest_switch(struct get *g);
void engine_get_fetch(struct get *g);
void engine_get_fetch_stop(struct get *g);
bool engine_get_fetch_is_on(const struct get *g);
void engine_get_fetch_link_ready(struct get *g);
void engine_get_fetch_link_gone(struct get *g);
uint64_t engine_get_fetch_bytes(const struct get *g); /* in this run of the job */
void engine_get_fetch_progress(const struct get *g, uint64_t left, struct buf *record);
