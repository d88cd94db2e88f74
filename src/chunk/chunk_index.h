/*
 * chunk_index: index.db of a chunk store: where each object lies, and what each pack holds.
 *
 * It can be lost: the packs say all of it again.  So a damaged index is thrown away when it is
 * opened; damage that is met later leaves a marker which makes the next open do so.
 *
 * Threads    finds run in parallel with each other and with one transaction; transactions wait for
 *            each other.  Between begin and commit or rollback only the thread that began may call
 *            what says "in a transaction".
 * Blocking   every call.
 * Errors     those of db.
 */
#pragma once

#include "chunk/pack.h"

struct chunk_index;

/* Where an object lies. */
struct chunk_place {
	struct pack_record rec;
	uint64_t pack, off; /* off: of the record */
};

struct chunk_index_pack {
	uint64_t number;
	uint64_t bytes;   /* how far the index knows the file */
	uint64_t objects; /* of which the index says that they lie here */
	/* their bytes: as they are, packed, and of their whole records */
	uint64_t raw, packed, live;
	bool doomed; /* nothing in it counts any more: its file may be deleted */
};

/* index.db in the directory PATH, which is open as DIR (kept). */
enum err chunk_index_open(
    const char *path, int dir, struct chunk_index **ret, struct error *e) must_check;
void chunk_index_close(struct chunk_index *x);
/* Full check of the database.  ERR_CORRUPT. */
enum err chunk_index_check(struct chunk_index *x, struct error *e) must_check;

/* ERR_NOTFOUND leaves E untouched. */
enum err chunk_index_find(struct chunk_index *x, const struct hash_id *id, struct chunk_place *ret,
    struct error *e) must_check;
/* Up to *N objects behind AFTER, in the order of their ids; *N says how many.  NULL: from the
 * first. */
enum err chunk_index_scan(struct chunk_index *x, const struct hash_id *after,
    struct chunk_place *ret, size_t *n, struct error *e) must_check;
/* Up to *N packs behind number AFTER, ascending. */
enum err chunk_index_packs(struct chunk_index *x, uint64_t after, struct chunk_index_pack *ret,
    size_t *n, struct error *e) must_check;
/* Sums over all packs; number counts them. */
enum err chunk_index_totals(
    struct chunk_index *x, struct chunk_index_pack *ret, struct error *e) must_check;

enum err chunk_index_begin(struct chunk_index *x, struct error *e) must_check;
/* on failure rolled back */
enum err chunk_index_commit(struct chunk_index *x, struct error *e) must_check;
void chunk_index_rollback(struct chunk_index *x);

/* In a transaction.  Each says (RET may be NULL) whether it changed anything. */
/* not when the id is there already */
enum err chunk_index_add(struct chunk_index *x, const struct chunk_place *p, bool *ret_added,
    struct error *e) must_check;
/* The object lies at P, wherever it was before. */
enum err chunk_index_replace(
    struct chunk_index *x, const struct chunk_place *p, struct error *e) must_check;
/* not when it lies elsewhere */
enum err chunk_index_remove(struct chunk_index *x, const struct chunk_place *p, bool *ret_removed,
    struct error *e) must_check;
enum err chunk_index_move(struct chunk_index *x, const struct chunk_place *from,
    const struct chunk_place *to, bool *ret_moved,
    struct error *e) must_check; /* not when it does not lie at FROM */
/* The index now knows the pack's first BYTES bytes. */
void chunk_index_extend(struct chunk_index *x, uint64_t pack, uint64_t bytes);
/* Dooms a pack that had no objects when the transaction began. */
enum err chunk_index_doom(
    struct chunk_index *x, uint64_t pack, bool *ret_doomed, struct error *e) must_check;
/* Forgets a doomed pack. */
enum err chunk_index_drop(
    struct chunk_index *x, uint64_t pack, bool *ret_dropped, struct error *e) must_check;
