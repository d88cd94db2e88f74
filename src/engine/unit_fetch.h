/*
 * unit_fetch: the units of one snapshot that are asked for: requests, the check of what comes, and
 * the sink that takes it.
 *
 * It decides nothing.  Its owner says which leaves of which unit to ask of whom, and is told what
 * came of it: `download` does that as `transfer` says, `swarm_node` as `swarm` does.  Stops reading
 * from its sources while more than UNIT_FETCH_BACKLOG bytes wait for the disk; makes durable what
 * was taken at least once a second of work.
 *
 * What a source has lanes for is asked on the lightest (peer/lane).
 *
 * Nothing is told from within a call.  Memory   UNIT_FETCH_BACKLOG and what the connections have
 * read at once; pages of the map are given back with each flush.  No timer runs while nothing has
 * been taken. Threads  the loop's; sink calls say where they run.
 */
#pragma once

#include "engine/requester.h"
#include "engine/snapshot_map.h"
#include "net/rate.h"
#include "session/transfer.h"

enum { UNIT_FETCH_BACKLOG = 8 * 1024 * 1024, UNIT_FETCH_FLUSH_MS = 1000 };

struct sink {
	/* As transfer_opts.missing.  On the loop: memory only. */
	uint32_t (*missing)(void *ctx, uint32_t unit, struct leaf_run *runs, uint32_t *ret_bytes);
	/* Takes verified leaves of one frame, in a job; jobs of different units run at once. */
	enum err (*take)(void *ctx, const struct transfer_leaf *leaf, struct error *e);
	/* Makes durable what was taken before this call, in a job; nothing else of this sink but
	 * take runs beside it. */
	enum err (*flush)(void *ctx, struct error *e);
	void *ctx;
};

struct unit_fetch_end {
	uint64_t source;
	uint32_t unit;
	bool wrong; /* it sent other bytes than the snapshot has */
	bool lost;  /* the connection that it was asked on has gone */
	/* What it said instead of the rest, or of anything.  code OK: it ended its answer, was
	 * cancelled, or has gone. */
	struct error why;
	uint32_t retry_ms; /* of WHY: "not before"; 0: it did not say */
};
struct unit_fetch_opts {
	struct loop *loop;
	struct snapshot_map *map; /* kept */
	struct hash_id share, snapshot;
	struct sink sink;
	/* Kept; NULL: asks as it is told.  Else nothing is asked for while it owes; what is asked
	 * for is taken from it at once, and what of that did not come is given back. */
	struct rate *gate;
	/* BYTES of UNIT came from SOURCE, are verified and with the sink.  WIRE: what they took on
	 * the wire, less where they came packed. */
	void (*on_got)(void *ctx, uint64_t source, uint32_t unit, uint32_t bytes, uint32_t wire);
	/* A request is over and all that it brought was told.  Once for each. */
	void (*on_end)(void *ctx, const struct unit_fetch_end *end);
	void (*on_flushed)(void *ctx);
	/* The sink failed, and it has stopped. */
	void (*on_failed)(void *ctx, enum err r, const struct error *e);
	/* Nothing is read from anybody, or is again. */
	void (*on_pause)(void *ctx, bool paused);
	void *ctx; /* of these; the sink has its own */
};
struct unit_fetch;
struct unit_fetch *unit_fetch_new(const struct unit_fetch_opts *o);
/* Cancels everything; nothing is told any more. */
void unit_fetch_stop(struct unit_fetch *f);
/* Stops, and frees later, when its jobs are done: then ON_CLOSED (may be NULL), from the loop; the
 * sink is used until then.  NULL is fine. */
void unit_fetch_close(struct unit_fetch *f, void (*on_closed)(void *ctx), void *ctx);

/* SOURCE is any number that the owner does not give twice, but 0. */
void unit_fetch_source_add(struct unit_fetch *f, uint64_t source, struct peer *p);
/* Before P is freed.  What it still sends is for nobody; what has come and is not checked yet may
 * do, unless it LIED. */
void unit_fetch_source_gone(struct unit_fetch *f, uint64_t source, bool lied);
/* Asks SOURCE for these leaves.  False: it takes no request now: its session ends, or is
 * full; or the gate is shut. */
bool unit_fetch_ask(struct unit_fetch *f, uint64_t source, uint32_t unit,
    const struct leaf_run *runs, uint32_t n_runs) must_check;
#define UNIT_FETCH_ANYBODY ((uint64_t)0)
void unit_fetch_cancel(struct unit_fetch *f, uint64_t source, uint32_t unit);
void unit_fetch_flush(struct unit_fetch *f);           /* now; nothing when one is running */
bool unit_fetch_is_idle(const struct unit_fetch *f);   /* nothing is asked for or being checked */
bool unit_fetch_is_dirty(const struct unit_fetch *f);  /* something was taken after the flush */
bool unit_fetch_is_paused(const struct unit_fetch *f); /* as on_pause said */
