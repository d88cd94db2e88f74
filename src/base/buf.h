/*
 * buf: bytes that are owned and grow, up to a maximum that must be named when the buffer is made.
 *
 * Invariant: len <= max.  An append that would pass max leaves the buffer as it was, sets `full`
 * (sticky until buf_reset) and returns false; writers check once at the end.
 */
#pragma once

#include "base/bytes.h"
#include "base/cleanup.h"

struct buf {
	uint8_t *at;
	size_t len, room, max;
	bool full;
};

#define BUF(maximum) ((struct buf){ .max = (maximum) })

void buf_clear(struct buf *b);                        /* frees; ready for reuse, max kept */
void buf_reset(struct buf *b);                        /* empties; keeps the memory */
bool buf_add(struct buf *b, const void *p, size_t n); /* copies N bytes to the end */
bool buf_add_bytes(struct buf *b, struct bytes x);
bool buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Room for N more bytes at the end, to be written by the caller and then counted by buf_grown; NULL
 * if full. */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_grown(struct buf *b, size_t n);
void buf_drop_front(struct buf *b, size_t n); /* forgets the first N bytes */
/* Terminates with NUL beyond len and returns the text; "" when empty. Borrowed until the next
 * change. */
const char *buf_text(struct buf *b);
/* Gives the memory (may be NULL when empty); free() it.  The buffer is empty afterwards. */
uint8_t *buf_take(struct buf *b, size_t *ret_len);

/* little-endian writers */
bool buf_u8(struct buf *b, uint8_t v);
bool buf_u16(struct buf *b, uint16_t v);
bool buf_u32(struct buf *b, uint32_t v);
bool buf_u64(struct buf *b, uint64_t v);
/* LEB128, the shortest form; the one reader_varint accepts. */
bool buf_varint(struct buf *b, uint64_t v);

static inline struct bytes
buf_bytes(const struct buf *b)
{
	return BYTES(b->at, b->len);
}
