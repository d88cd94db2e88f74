/*
 * chunk_store: content-addressed objects in packs, durable, with garbage collection.
 *
 * An object is a chunk (with its leaf list) or a node (of a tree, a chunk list, a causal tree; a
 * commit; a statement): bytes that hash to their name.  Objects are appended to pack files of
 * about 64 MiB (docs/format-pack.md); where each lies is kept in index.db, which can be rebuilt
 * from the packs.  put checks what it is handed; get checks again, because disks lie.
 *
 * Durability  put only queues (and writes ahead); what has been put is durable when
 *             chunk_store_commit returns.  get and has see it at once.  Commits are grouped:
 *             several threads in commit share one flush.  A commit that fails loses nothing and
 *             may be tried again (after ERR_NOSPACE, when there is room).  After a flush that
 *             failed the next put or commit writes what was not durable once more, elsewhere;
 *             if it cannot be read back, both fail until the store is opened again.
 * Damage      A get that meets a damaged object says ERR_CORRUPT and forgets it, so has says no
 *             and a put of a good copy replaces it.
 * Collection  gc_begin .. mark every object to keep .. gc_sweep.  What is put after gc_begin is
 *             kept, and so is what was there already when it was put again or has said yes.
 *             Packs mostly dead are rewritten; space comes back.  A crash at any moment loses
 *             nothing.
 * Memory      a few MiB, whatever the store holds (half a MiB more during a collection).
 * Threads     any number may call at once.
 * Blocking    every call: run it in a job, never on the loop.
 * Errors      ERR_NOTFOUND, ERR_CORRUPT (damaged: the text names object and pack), ERR_NOSPACE,
 *             ERR_IO, ERR_LIMIT.
 */
#pragma once

#include "base/buf.h"
#include "chunk/chunk_id.h"
#include "platform/fs.h"

struct chunk_store;

enum {
	CHUNK_STORE_PACK = 64 * 1024 * 1024,
	CHUNK_STORE_NODE_MAX = 256 * 1024, /* as PACK_NODE_MAX */
};

struct chunk_store_opts {
	uint64_t pack_bytes; /* default CHUNK_STORE_PACK; tests make it small */
	bool compress;       /* zstd where it helps */
};

/*
 * Opens or makes the store in directory PATH.  Recovers the tail of the last pack after a crash;
 * rebuilds the index from the packs when it is lost or damaged, and logs that.
 * ERR_AGAIN when another process has it open, ERR_LIMIT when a newer weft made it.
 */
enum err chunk_store_open(const char *path, const struct chunk_store_opts *o,
    struct chunk_store **ret, struct error *e) must_check;
void chunk_store_close(struct chunk_store *s); /* commits nothing; NULL is fine */

/* -- putting -- */

/*
 * Stores a chunk under ID.  Borrows.  LEAVES may be NULL (computed).  An object already there is
 * success (and is touched).  CHECKED says that the caller has just verified ID against DATA and
 * LEAVES: not hashed again.  ERR_CORRUPT if DATA is not ID.
 */
enum err chunk_store_put_chunk(struct chunk_store *s, const struct hash_id *id, struct bytes data,
    const struct leaf_list *leaves, bool checked, struct error *e) must_check;
/* Stores a node of KIND; fills *RET_ID (may be NULL) with its name. */
enum err chunk_store_put_node(struct chunk_store *s, enum hash_alg alg, enum hash_kind kind,
    struct bytes node, struct hash_id *ret_id, struct error *e) must_check;
enum err chunk_store_commit(struct chunk_store *s, struct error *e) must_check;

/* -- getting -- */

/* All of a chunk into TO (CHUNK_MAX room), verified.  RET_LEAVES may be NULL. */
enum err chunk_store_get_chunk(struct chunk_store *s, const struct hash_id *id, uint8_t *to,
    uint32_t *ret_len, struct leaf_list *ret_leaves, struct error *e) must_check;
/*
 * Leaves FIRST .. FIRST + N - 1 of a chunk into TO, which has room for them; ERR_LIMIT when it has
 * not as many.  The leaf list is checked against ID, the bytes are NOT hashed (who receives them
 * does): the fast way to serve.  A packed chunk is unpacked whole.  RET_LEAVES may be NULL.
 */
enum err chunk_store_get_leaves(struct chunk_store *s, const struct hash_id *id, uint32_t first,
    uint32_t n, uint8_t *to, uint32_t *ret_len, struct leaf_list *ret_leaves,
    struct error *e) must_check;
/* Node bytes appended to OUT, verified. */
enum err chunk_store_get_node(
    struct chunk_store *s, const struct hash_id *id, struct buf *out, struct error *e) must_check;
bool chunk_store_has(struct chunk_store *s, const struct hash_id *id);
/* Which of N ids (STRIDE bytes apart) are here: HAVE[i] is set to true or false. */
enum err chunk_store_has_many(struct chunk_store *s, const struct hash_id *ids, size_t n,
    size_t stride, bool *have, struct error *e) must_check;

struct chunk_store_stats {
	uint64_t objects, raw_bytes, packed_bytes, packs, pack_bytes, dead_bytes;
};
/* As of the last commit. */
enum err chunk_store_stats(
    struct chunk_store *s, struct chunk_store_stats *ret, struct error *e) must_check;

/* -- garbage collection: one at a time, and not together with a check (ERR_AGAIN) -- */

enum err chunk_store_gc_begin(struct chunk_store *s, struct error *e) must_check;
enum err chunk_store_gc_mark(
    struct chunk_store *s, const struct hash_id *id, struct error *e) must_check;
/* Ends the collection, also when it fails.  RET_FREED_BYTES may be NULL. */
enum err chunk_store_gc_sweep(
    struct chunk_store *s, uint64_t *ret_freed_bytes, struct error *e) must_check;
void chunk_store_gc_abort(struct chunk_store *s); /* without a collection, nothing */

/* -- checking -- */

/*
 * Reads every byte.  ON_BAD is told each damaged object once (and may put a good copy at once,
 * which replaces it); the index forgets it, so has says no.  RET_BAD may be NULL.
 * ERR_CORRUPT when the index itself is damaged: it is rebuilt at the next open.
 */
enum err chunk_store_check(struct chunk_store *s,
    void (*on_bad)(void *ctx, const struct hash_id *id, const struct error *why), void *ctx,
    uint64_t *ret_bad, struct error *e) must_check;
