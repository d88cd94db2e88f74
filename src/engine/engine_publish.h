/*
 * engine_publish: what the files of a publish share with each other.
 *
 *   engine_publish.c       the steps, on the loop
 *   engine_publish_work.c  scanning and committing, in jobs
 *   engine_publish_give.c  giving what is announced to whoever takes part
 */
#pragma once

#include "engine/engine_internal.h"
#include "engine/scan.h"

#define PUBLISH_PHASES(X) X(RESOLVE) X(CREATE) X(BASE) X(SCAN) X(COMMIT) X(ANNOUNCE) X(SERVE) X(END)
enum publish_phase {
#define X(name) PUBLISH_##name,
	PUBLISH_PHASES(X)
#undef X
};
/* In flags, which are kept in the job's row. */
enum {
	PUBLISH_DRY_RUN = 1,
	PUBLISH_POLICY_SHIFT = 8, /* enum share_policy of a new share; 0: as the server likes */
};

struct publish {
	struct engine_job job; /* first */
	struct engine_ask ask;
	struct engine_ask size_ask; /* how large the units of what was announced are */
	bool asks_size;
	uint32_t unit_size; /* 0: not known */
	struct engine_work work;
	enum publish_phase phase;
	char *path, *share, *label;
	uint32_t flags;
	struct hash_id share_id, policy_id;
	struct commit base; /* head to build upon; share none: there is none */
	struct buf base_bytes;
	uint64_t base_number;
	struct fetch_nodes *fetch;
	struct root root;
	struct scan_progress scanned;
	struct scan_result result;
	struct commit commit;
	struct buf commit_bytes;
	uint64_t number, held, held_first;
	bool held_known;
	unsigned tries;
};

static inline bool
engine_publish_has_base(const struct publish *p)
{
	return p->base_number > 0;
}

/* What lies at the path, as trees; or, where that is what the base says, stands for the base. */
enum err engine_publish_work_scan(struct engine_work *w, struct error *e) must_check;
/* It is announced: is given from here, once the server has said how large its units are.  Again:
 * asks again, if it has to. */
void engine_publish_give(struct publish *p);
/* The commit of it, signed, kept, and what the directory stands for from now on. */
enum err engine_publish_work_commit(struct engine_work *w, struct error *e) must_check;
