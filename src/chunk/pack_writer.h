/*
 * pack_writer: appends records to the newest pack.
 *
 * Small records are gathered in a buffer and written together; pack_writer_flush writes what is
 * gathered.  A write that fails changes nothing: what was gathered stays, and the same bytes are
 * written again next time.
 *
 * Threads    one at a time: the store's lock.
 * Blocking   writes; never waits for a flush of the disk.
 */
#pragma once

#include "chunk/pack.h"

enum { PACK_WRITER_AHEAD = 1024 * 1024 };

struct pack_writer {
	int fd; /* -1: none open */
	struct pack_head head;
	uint64_t written; /* bytes in the file */
	struct buf ahead; /* whole records that follow them */
};

void pack_writer_init(struct pack_writer *w);
void pack_writer_clear(struct pack_writer *w); /* what is gathered is lost */
/* A new file for pack NUMBER in DIR.  The directory is not flushed. */
enum err pack_writer_create(
    struct pack_writer *w, int dir, uint64_t number, struct error *e) must_check;
/* Goes on behind the first SIZE bytes of pack NUMBER; what lies beyond is cut off. */
enum err pack_writer_resume(
    struct pack_writer *w, int dir, uint64_t number, uint64_t size, struct error *e) must_check;
/* Appends a record; says where it begins. */
enum err pack_writer_append(struct pack_writer *w, const struct pack_record *r,
    const struct leaf_list *leaves, struct bytes packed, uint64_t *ret_off,
    struct error *e) must_check;
enum err pack_writer_flush(struct pack_writer *w, struct error *e) must_check;
/* Copies N bytes at OFF that are still gathered; false when they are in the file or nowhere. */
bool pack_writer_peek(const struct pack_writer *w, uint64_t off, void *to, size_t n);
/* Gives the descriptor away; nothing may be gathered.  The writer has no pack then. */
int pack_writer_finish(struct pack_writer *w);

static inline uint64_t
pack_writer_end(const struct pack_writer *w)
{
	return w->written + w->ahead.len;
}
