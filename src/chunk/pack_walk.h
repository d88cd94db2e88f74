/*
 * pack_walk: the records of a pack file from one offset to another, by their heads alone.
 *
 * Where no valid head is, the walk searches on byte by byte and counts what it passed over as LOST.
 *
 * Threads   one.   Blocking  reads the disk.
 */
#pragma once

#include "chunk/pack.h"

struct pack_walk {
	int fd; /* kept, not owned */
	struct pack_head head;
	uint64_t at, end;
	uint64_t lost; /* bytes passed over so far */
};

/* Reads the file's head.  TO beyond the end of the file is cut to it; FROM below PACK_HEAD is
 * raised to it. ERR_CORRUPT when the head is damaged or not that of pack NUMBER. */
enum err pack_walk_init(struct pack_walk *w, int fd, uint64_t number, uint64_t from, uint64_t to,
    struct error *e) must_check;
/* The next record and where it begins; it lies wholly before the end.  ERR_NOTFOUND when there are
 * no more (E untouched). */
enum err pack_walk_next(
    struct pack_walk *w, struct pack_record *ret, uint64_t *ret_off, struct error *e) must_check;
/* Reads the record at OFF: its leaf list, and its content unpacked into TO (raw_len room).  Not
 * verified. */
enum err pack_walk_read(int fd, const struct pack_record *r, uint64_t off,
    struct leaf_list *ret_leaves, uint8_t *to, struct error *e) must_check;
