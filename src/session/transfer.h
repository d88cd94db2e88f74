/*
 * transfer: the receiving side of one snapshot: which units to ask of whom, what is in flight, what
 * has come.
 *
 * It is told what happened (a source appeared, went, a leaf run was verified or refused, time) and
 * says what to ask next.  It never sees bytes: whoever owns it verifies leaves (transfer_check is
 * the pure check) and writes them.  In this version sources are complete (the server); the swarm
 * adds partial ones through the same calls.
 *
 * Rules
 *   - Units in order (metadata came first), each asked of one source at a time: the one whose queue
 *     is shortest for its window.
 *   - A source has at most WINDOW bytes in flight, twice the measured bandwidth-delay product,
 *     1..32 MiB: the rate is the fastest of late, the delay the shortest of late from ask to first
 *     byte.
 *   - A unit is stalled that got no byte for LIMIT_UNIT_STALL_MS although its source had nothing
 *     else to send before it.
 *   - What stalled, was refused or cut short, or whose source died, is asked for again, only the
 *     leaves still missing and ahead of all fresh units: of another source if there is one, of the
 *     same one when its time has come.
 *   - A source that ends units without having given anything waits longer each time, up to
 *     TRANSFER_BACKOFF_MAX_MS.
 *   - A source that sent three wrong leaves is dropped for good.
 *
 * Pure.  Memory: two bits a unit, and about 100 bytes a unit in flight.
 */
#pragma once

#include "base/bitset.h"
#include "chunk/chunk_id.h"
#include "manifest/unit_map.h"
#include "proto/message.h"

enum {
	TRANSFER_WINDOW_MIN = 1024 * 1024,
	TRANSFER_WINDOW_MAX = 32 * 1024 * 1024,
	TRANSFER_WRONG_MAX = 3, /* wrong leaves until a source is dropped */
	/* units put back and waiting, above which no fresh ones are begun */
	TRANSFER_AGAIN_MAX = 128,
	TRANSFER_BACKOFF_MS = 500,
	TRANSFER_BACKOFF_MAX_MS = 60 * 1000,
};

struct transfer;
struct transfer_opts {
	uint64_t n_units;
	/* Leaves of UNIT still missing, as runs (at most LIMIT_UNIT_RUNS: gaps are closed when
	 * there are more; see transfer_runs); returns how many runs, 0 when nothing is missing.
	 * *RET_BYTES: how much that is. */
	uint32_t (*missing)(void *ctx, uint32_t unit, struct leaf_run *runs, uint32_t *ret_bytes);
	void *ctx;
};
struct transfer *transfer_new(const struct transfer_opts *o);
void transfer_free(struct transfer *t);

/* SOURCE is any number the owner likes (a connection). */
void transfer_source_add(struct transfer *t, uint64_t source, uint64_t now_ms);
/* its units are asked for again; ended by this */
void transfer_source_gone(struct transfer *t, uint64_t source);
struct transfer_ask {
	uint64_t source;
	uint32_t unit;
	uint32_t n_runs;
	struct leaf_run runs[LIMIT_UNIT_RUNS];
	uint32_t bytes;
};
/* What to request now; false: nothing (window full, or all asked).  Call until false, after each
 * event. */
bool transfer_next(struct transfer *t, uint64_t now_ms, struct transfer_ask *ret);
/* When a unit that waits may be asked for: call transfer_next then.  UINT64_MAX: nothing waits for
 * time. */
uint64_t transfer_wakes(const struct transfer *t);
/* BYTES of UNIT came from SOURCE and are verified and taken. */
void transfer_took(
    struct transfer *t, uint64_t source, uint32_t unit, uint32_t bytes, uint64_t now_ms);
/* The answer for UNIT is over (END, error or cancelled): what is still missing is asked for again.
 * RETRY_MS > 0: not of this source before that.  Call it once all bytes of the answer were told or
 * dropped; and with RETRY_MS 0 when the request could not be sent (the session has ended, or is
 * full of cancelled ones): the source rests for a while. */
void transfer_ended(
    struct transfer *t, uint64_t source, uint32_t unit, uint32_t retry_ms, uint64_t now_ms);
/* A leaf of SOURCE was wrong: true when that was one too many: drop the connection. */
bool transfer_charge(struct transfer *t, uint64_t source);
/* Stalled units are to be cancelled and transfer_ended: each is told once. */
bool transfer_stalled(
    struct transfer *t, uint64_t now_ms, uint64_t *ret_source, uint32_t *ret_unit);
/* The owner found UNIT to need work again (a write failed, a disk lied). */
void transfer_again(struct transfer *t, uint32_t unit);
bool transfer_is_done(const struct transfer *t);
uint64_t transfer_units_done(const struct transfer *t);
/* bytes asked of SOURCE and not here yet */
uint64_t transfer_in_flight(const struct transfer *t, uint64_t source);
uint64_t transfer_window(const struct transfer *t, uint64_t source);
/* Of N_LEAVES leaves, number i held when HAVE has bit FROM + i: what is missing, as runs; gaps are
 * closed, the shortest first, until there are at most LIMIT_UNIT_RUNS.  Returns how many. */
uint32_t transfer_runs(
    const struct bitset *have, size_t from, uint32_t n_leaves, struct leaf_run *runs);

/*
 * The pure check of a DATA frame against the manifest.  A stream of one unit's leaves in order;
 * keeps the leaf list of the chunk it is in.  CHUNKS and LENS are of the unit's chunks, from
 * unit.first_chunk on.
 *
 * A list precedes the first leaf of each chunk of two leaves or more that the stream comes to:
 * exactly one, not one that is held already, none for chunks of one leaf (docs/protocol.md).
 *
 * Packed leaves are unpacked to exactly the length that the manifest gives them, 64 KiB at most: a
 * frame that holds more, less or anything else is ERR_CORRUPT, and no memory follows from it.
 */
struct transfer_check {
	struct unit unit;
	const struct hash_id *chunks; /* borrowed: id of unit.first_chunk + i */
	const uint32_t *lens;
	uint32_t n_chunks;
	uint32_t list_chunk; /* whose leaf list we hold; UINT32_MAX none */
	struct leaf_list list;
	/* where the last frame ended: leaf of the unit, as chunk and leaf in it */
	uint32_t next, chunk, leaf;
	uint64_t wire; /* bytes of leaves as they came, packed or not, of frames that were right */
};
struct transfer_leaf {           /* one verified leaf */
	uint32_t chunk;          /* index in the sequence */
	uint32_t leaf, n_leaves; /* which, of how many in that chunk */
	struct bytes bytes;      /* borrowed until the next leaf */
	/* of its chunk, NULL when the chunk is one leaf; borrowed until the next leaf */
	const struct leaf_list *list;
};
void transfer_check_init(struct transfer_check *c, const struct unit *u,
    const struct hash_id *chunks, const uint32_t *lens, uint32_t n_chunks);
/* Verifies all leaves of a DATA payload and tells each.  ERR_CORRUPT: bytes or list do not match
 * (nothing further of the frame was told); ERR_PROTO: not leaves of this unit.  ON_LEAF's error
 * stops and is returned. */
enum err transfer_check_data(struct transfer_check *c, struct bytes payload,
    enum err (*on_leaf)(void *ctx, const struct transfer_leaf *leaf, struct error *e), void *ctx,
    struct error *e) must_check;
