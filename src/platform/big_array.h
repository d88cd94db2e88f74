/*
 * big_array: fixed-size records in a file, mapped, so that a job over millions of files stays
 * within a small resident memory.  Records are plain structs of this machine: such a file never
 * leaves it and is thrown away when its header does not match (magic, record size, count).
 *
 * big_array_sync is the moment that counts: opened again, an array has the records it had then.
 * Growth reserves blocks first, so a full disk is ERR_NOSPACE here and never a SIGBUS later.
 * Pointers are good until the next big_array_push or big_array_resize of the same array.
 * Threads    one at a time.
 * Blocking   every call may wait for the disk.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "platform/relpath.h"

struct big_array {
	int fd;
	uint8_t *map;    /* header page, then records */
	size_t mapped;   /* bytes */
	uint64_t n;      /* records in use */
	uint64_t room;   /* records that fit */
	uint32_t record; /* bytes a record */
	uint32_t magic;
	uint64_t touched; /* bytes pushed since pushing trimmed */
};

/* New empty array at P (replacing an old one), or a private one without a name when P.len is 0 (in
 * DIR). */
enum err big_array_create(struct big_array *a, int dir, struct relpath p, uint32_t magic,
    uint32_t record, struct error *e) must_check;
/* An existing one; ERR_CORRUPT when header and size do not agree, ERR_NOTFOUND without one. */
enum err big_array_open(struct big_array *a, int dir, struct relpath p, uint32_t magic,
    uint32_t record, struct error *e) must_check;
void big_array_close(struct big_array *a); /* zero struct is fine */
enum err big_array_push(struct big_array *a, const void *record, struct error *e) must_check;
/* Exactly N records; new ones are zero. */
enum err big_array_resize(struct big_array *a, uint64_t n, struct error *e) must_check;
/* Writes header and records to the disk. */
enum err big_array_sync(struct big_array *a, struct error *e) must_check;
/* Gives the pages back to the kernel (the bytes stay in the file): call now and then during a long
 * walk.  Pushing does it by itself.  From any thread, also while others read. */
void big_array_trim(struct big_array *a);

enum { BIG_ARRAY_HEADER = 4096 };
static inline void *
big_array_at(const struct big_array *a, uint64_t i)
{
	return a->map + BIG_ARRAY_HEADER + i * a->record;
}
