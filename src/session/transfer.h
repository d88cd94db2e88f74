/*
 * transfer: the receiving side of one snapshot: which units to ask of whom, what is in flight, what has come.
 *
 * It is told what happened (a source appeared, went, a leaf run was verified or refused, time) and says what to ask
 * next.  It never sees bytes: whoever owns it verifies leaves (transfer_verify is the pure check) and writes them.  In
 * this version sources are complete (the server); the swarm adds partial ones through the same calls.
 *
 * Rules: units in order (metadata came first), each asked of one source at a time; a source has at most WINDOW bytes in
 * flight (twice the measured bandwidth-delay product, 1..32 MiB); a unit without a byte for LIMIT_UNIT_STALL_MS, refused,
 * or whose source died is asked for again, only the leaves still missing, of another source if there is one; a source
 * that sent three wrong leaves is dropped for good.
 *
 * Pure.  Memory: two bits a unit, and about 200 bytes a unit in flight.
 */
#pragma once

#include "base/rng.h"
#include "chunk/chunk_id.h"
#include "manifest/unit_map.h"
#include "proto/message.h"

struct transfer;
struct transfer_opts {
	uint64_t n_units;
	/* Leaves of UNIT still missing, as runs (at most LIMIT_UNIT_RUNS: gaps are closed when there are more);
	 * returns how many runs, 0 when nothing is missing.  *RET_BYTES: how much that is. */
	uint32_t (*missing)(void *ctx, uint32_t unit, struct leaf_run *runs, uint32_t *ret_bytes);
	void *ctx;
};
struct transfer *transfer_new(const struct transfer_opts *o);
void transfer_free(struct transfer *t);

/* SOURCE is any number the owner likes (a connection). */
void transfer_source_add(struct transfer *t, uint64_t source, uint64_t now_ms);
void transfer_source_gone(struct transfer *t, uint64_t source);
struct transfer_ask {
	uint64_t source;
	uint32_t unit;
	uint32_t n_runs;
	struct leaf_run runs[LIMIT_UNIT_RUNS];
	uint32_t bytes;
};
/* What to request now; false: nothing (window full, or all asked).  Call until false, after each event. */
bool transfer_next(struct transfer *t, uint64_t now_ms, struct transfer_ask *ret);
/* BYTES of UNIT came from SOURCE and are verified and taken. */
void transfer_took(struct transfer *t, uint64_t source, uint32_t unit, uint32_t bytes, uint64_t now_ms);
/* The answer for UNIT is over (END, error or cancelled): what is still missing is asked for again. RETRY_MS > 0: not of
 * this source before that. */
void transfer_ended(struct transfer *t, uint64_t source, uint32_t unit, uint32_t retry_ms, uint64_t now_ms);
/* A leaf of SOURCE was wrong: true when that was one too many: drop the connection. */
bool transfer_charge(struct transfer *t, uint64_t source);
/* Stalled units are to be cancelled: each is told once. */
bool transfer_stalled(struct transfer *t, uint64_t now_ms, uint64_t *ret_source, uint32_t *ret_unit);
/* The owner found UNIT to need work again (a write failed, a disk lied). */
void transfer_again(struct transfer *t, uint32_t unit);
bool transfer_is_done(const struct transfer *t);
uint64_t transfer_units_done(const struct transfer *t);

/*
 * The pure check of a DATA frame against the manifest.  A stream of one unit's leaves in order; keeps the leaf list of the
 * chunk it is in.  CHUNKS and LENS are of the unit's chunks, from unit.first_chunk on.
 */
struct transfer_check {
	struct unit unit;
	const struct hash_id *chunks;  /* borrowed: id of unit.first_chunk + i */
	const uint32_t *lens;
	uint32_t n_chunks;
	uint32_t list_chunk;           /* whose leaf list we hold; UINT32_MAX none */
	struct leaf_list list;
};
struct transfer_leaf { /* one verified leaf */
	uint32_t chunk;        /* index in the sequence */
	uint32_t leaf, n_leaves; /* which, of how many in that chunk */
	struct bytes bytes;    /* borrowed from the frame */
	const struct leaf_list *list; /* of its chunk, NULL when the chunk is one leaf; borrowed until the next call */
};
void transfer_check_init(struct transfer_check *c, const struct unit *u, const struct hash_id *chunks,
    const uint32_t *lens, uint32_t n_chunks);
/* Verifies all leaves of a DATA payload and tells each.  ERR_CORRUPT: bytes or list do not match (nothing further of the frame
 * was told); ERR_PROTO: not leaves of this unit.  ON_LEAF's error stops and is returned. */
enum err transfer_check_data(struct transfer_check *c, struct bytes payload,
    enum err (*on_leaf)(void *ctx, const struct transfer_leaf *leaf, struct error *e), void *ctx,
    struct error *e) must_check;
