/*
 * chunk_store_inner: what the files of chunk_store share with each other and with nobody else.
 *
 * How it works.  put appends a record to the newest pack and remembers where it lies in `fresh`.  A
 * commit makes one caller the leader: it takes all of `fresh` into `leaving`, flushes the packs,
 * writes the rows into the index in one transaction and lets everybody go whose objects were among
 * them; meanwhile others go on putting.  Whoever looks for an object asks fresh, leaving and the
 * index, in this order, so it is never out of sight.
 *
 * Locks, in the order in which they may be taken:
 *
 *   gate   put and has hold it shared from the look-up until the object is kept; a sweep holds it
 *          alone while it deletes, so nothing is deleted between somebody's "it is there" and the
 *          note that it was touched.
 *   lock   guards the struct; held for memory and for writing into the page cache, never for a
 *          flush.
 *   then the index's own.
 */
#pragma once

#include <pthread.h>

#include "base/array.h"
#include "base/bitset.h"
#include "base/map.h"
#include "chunk/chunk_index.h"
#include "chunk/chunk_store.h"
#include "chunk/mark_set.h"
#include "chunk/pack_set.h"
#include "chunk/pack_walk.h"
#include "chunk/pack_writer.h"

/* An object that is in a pack and not yet in the index. */
struct chunk_store_row {
	struct chunk_place at;
	struct chunk_place from; /* of a moved object: where the index has it */
	bool moved;
};
struct chunk_store_rows {
	ARRAY(struct chunk_store_row) rows;
	struct map by_id; /* id to place in rows */
};

/* A full pack that the next commit flushes and closes. */
struct chunk_store_full {
	int fd; /* -1: nothing in it is counted on, it is only to be known how long it is */
	uint64_t number, end;
};

/* Everything that looks at all objects; one at a time. */
enum chunk_store_task {
	CHUNK_STORE_IDLE,
	CHUNK_STORE_MARKING,
	CHUNK_STORE_SWEEPING,
	CHUNK_STORE_CHECKING
};

struct chunk_store {
	struct chunk_store_opts opts;
	int dir, lock_fd;
	struct pack_set *packs;
	struct chunk_index *index;
	pthread_rwlock_t gate;
	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t committed;
	struct pack_writer writer;
	uint64_t next_pack;
	ARRAY(struct chunk_store_full) full;
	bool new_names; /* the packs directory has entries that are not flushed */
	struct chunk_store_rows fresh, leaving;
	uint64_t appended, durable; /* rows, counted since open */
	bool leading;
	struct error broken; /* code OK: it is not.  Else a flush failed: what of the rows in fresh
				is on the disk is unknown, see commit */
	enum chunk_store_task task;
	struct chunk_place gc_from; /* what lies here or beyond was put after gc_begin */
	struct mark_set gc_marks;
	/* hashed: may spare a dead object until the next time, never the reverse */
	struct bitset gc_touched;
};

/* -- chunk_store.c -- */
/* Where ID lies; ERR_NOTFOUND leaves E untouched. */
enum err chunk_store_locate(struct chunk_store *s, const struct hash_id *id,
    struct chunk_place *ret, struct error *e) must_check;
/* Does the index say that the object lies at P? */
enum err chunk_store_lies_at(
    struct chunk_store *s, const struct chunk_place *p, bool *ret, struct error *e) must_check;
/* N bytes of the record at P, from AT on. */
enum err chunk_store_read(struct chunk_store *s, const struct chunk_place *p, uint32_t at, void *to,
    size_t n, struct error *e) must_check;
/* Reads and verifies the object into TO (raw_len room). */
enum err chunk_store_load(struct chunk_store *s, const struct chunk_place *p, uint8_t *to,
    struct leaf_list *ret_leaves, struct error *e) must_check;
/* The index forgets the object if it still lies at P. */
enum err chunk_store_forget(
    struct chunk_store *s, const struct chunk_place *p, struct error *e) must_check;
/* Claims the store for TASK; ERR_AGAIN when it is claimed. */
enum err chunk_store_claim(
    struct chunk_store *s, enum chunk_store_task task, struct error *e) must_check;
void chunk_store_release(struct chunk_store *s);

/* -- chunk_store_pack.c -- */
/* Copies the record at P to the newest pack, as it is; the next commit tells the index. */
enum err chunk_store_pack_move(
    struct chunk_store *s, const struct chunk_place *p, struct error *e) must_check;
/* Deletes the pack's file and row if the index has no object in it. */
enum err chunk_store_pack_drop(
    struct chunk_store *s, uint64_t number, bool *ret_dropped, struct error *e) must_check;

/* -- chunk_store_commit.c -- */
/* With the lock held.  Appends a record unless it is pending; *RET_DUE: it is time to commit. */
enum err chunk_store_commit_add(struct chunk_store *s, const struct chunk_store_row *row,
    const struct leaf_list *leaves, struct bytes packed, bool *ret_due, struct error *e) must_check;
/* After a flush that failed: what is not durable is written again, elsewhere. */
enum err chunk_store_commit_heal(struct chunk_store *s, struct error *e) must_check;
/* With the lock held.  NULL if ID is not pending. */
const struct chunk_store_row *chunk_store_commit_find(
    const struct chunk_store *s, const struct hash_id *id);
/* Finishes the pack that is written to and begins another; what is in the finished one is
 * committed. */
enum err chunk_store_commit_turn(struct chunk_store *s, struct error *e) must_check;
void chunk_store_commit_clear(struct chunk_store *s);

/* -- chunk_store_recover.c -- */
/* Brings index and packs together and makes the writer ready. */
enum err chunk_store_recover(struct chunk_store *s, struct error *e) must_check;

/* -- chunk_store_gc.c -- */
/* With the lock held: ID is in use, whatever the marks say. */
void chunk_store_gc_touch(struct chunk_store *s, const struct hash_id *id);
