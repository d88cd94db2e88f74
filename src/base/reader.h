/*
 * reader: the only place where bytes from outside are taken apart.
 *
 * Reads past the end return zero and set `bad`, which is sticky.  A message is accepted only if
 * reader_done: never bad, and exactly at the end.  Borrowed slices live as long as the bytes.
 */
#pragma once

#include "base/bytes.h"

struct reader {
	const uint8_t *at, *end;
	bool bad; /* sticky */
};

static inline struct reader
reader_over(struct bytes b)
{
	static const uint8_t none[1];

	return b.len > 0 ? (struct reader){ b.at, b.at + b.len, false }
			 : (struct reader){ none, none, false };
}

static inline size_t
reader_left(const struct reader *r)
{
	return r->bad ? 0 : (size_t)(r->end - r->at);
}

static inline struct bytes
reader_take(struct reader *r, size_t n)
{
	if (r->bad || n > (size_t)(r->end - r->at)) {
		r->bad = true;
		return (struct bytes){ NULL, 0 };
	}
	r->at += n;
	return (struct bytes){ r->at - n, n };
}

static inline struct bytes
reader_rest(struct reader *r)
{
	return reader_take(r, reader_left(r));
}

static inline bool
reader_done(const struct reader *r)
{
	return !r->bad && r->at == r->end;
}

static inline uint64_t
reader_le(struct reader *r, size_t n)
{
	struct bytes b = reader_take(r, n);
	uint64_t v = 0;

	for (size_t i = b.len; i-- > 0;)
		v = v << 8 | b.at[i];
	return v;
}

static inline uint8_t
reader_u8(struct reader *r)
{
	return (uint8_t)reader_le(r, 1);
}

static inline uint16_t
reader_u16(struct reader *r)
{
	return (uint16_t)reader_le(r, 2);
}

static inline uint32_t
reader_u32(struct reader *r)
{
	return (uint32_t)reader_le(r, 4);
}

static inline uint64_t
reader_u64(struct reader *r)
{
	return reader_le(r, 8);
}

/* LEB128.  A form longer than needed, or above 64 bits, is bad: one value has one encoding. */
static inline uint64_t
reader_varint(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 70; shift += 7) {
		uint8_t b = reader_u8(r);
		if (r->bad)
			return 0;
		if (shift == 63 && b > 1)
			break;
		v |= (uint64_t)(b & 0x7f) << shift;
		if (b < 0x80) {
			if (b == 0 && shift > 0)
				break;
			return v;
		}
	}
	r->bad = true;
	return 0;
}

/* Copies N bytes to TO; zeroes when there are not as many. */
static inline void
reader_copy(struct reader *r, void *to, size_t n)
{
	struct bytes b = reader_take(r, n);

	if (b.len == n && n > 0)
		memcpy(to, b.at, n);
	else
		memset(to, 0, n);
}
