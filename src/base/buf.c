#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

void
buf_clear(struct buf *b)
{
	free(b->at);
	*b = BUF(b->max);
}

void
buf_reset(struct buf *b)
{
	b->len = 0;
	b->full = false;
}

uint8_t *
buf_reserve(struct buf *b, size_t n)
{
	if (n > b->max || b->len > b->max - n) {
		b->full = true;
		return NULL;
	}
	/* One byte beyond, so that buf_text always has room for its NUL. */
	if (b->room < b->len + n + 1) {
		size_t most = b->max < SIZE_MAX ? b->max + 1 : SIZE_MAX;
		size_t room = max_of(b->room * 2, (size_t)64);
		room = max_of(room, b->len + n + 1);
		room = min_of(room, most);
		b->at = mem_realloc(b->at, room);
		b->room = room;
	}
	return b->at + b->len;
}

void
buf_grown(struct buf *b, size_t n)
{
	b->len += n;
}

bool
buf_add(struct buf *b, const void *p, size_t n)
{
	uint8_t *to = buf_reserve(b, n);

	if (to == NULL)
		return false;
	if (n > 0)
		memcpy(to, p, n);
	b->len += n;
	return true;
}

bool
buf_add_bytes(struct buf *b, struct bytes x)
{
	return buf_add(b, x.at, x.len);
}

bool
buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return false;
	uint8_t *to = buf_reserve(b, (size_t)n);
	if (to == NULL)
		return false;
	va_start(ap, fmt);
	vsnprintf((char *)to, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return true;
}

void
buf_drop_front(struct buf *b, size_t n)
{
	if (n >= b->len) {
		b->len = 0;
		return;
	}
	memmove(b->at, b->at + n, b->len - n);
	b->len -= n;
}

const char *
buf_text(struct buf *b)
{
	if (b->at == NULL)
		return "";
	b->at[b->len] = 0;
	return (const char *)b->at;
}

uint8_t *
buf_take(struct buf *b, size_t *ret_len)
{
	uint8_t *at = b->at;

	*ret_len = b->len;
	*b = BUF(b->max);
	return at;
}

bool
buf_u8(struct buf *b, uint8_t v)
{
	return buf_add(b, &v, 1);
}

static bool
add_le(struct buf *b, uint64_t v, size_t n)
{
	uint8_t le[8];

	for (size_t i = 0; i < n; i++)
		le[i] = (uint8_t)(v >> (8 * i));
	return buf_add(b, le, n);
}

bool
buf_u16(struct buf *b, uint16_t v)
{
	return add_le(b, v, 2);
}

bool
buf_u32(struct buf *b, uint32_t v)
{
	return add_le(b, v, 4);
}

bool
buf_u64(struct buf *b, uint64_t v)
{
	return add_le(b, v, 8);
}

bool
buf_varint(struct buf *b, uint64_t v)
{
	uint8_t out[10];
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		out[n++] = (uint8_t)(v | 0x80);
	out[n++] = (uint8_t)v;
	return buf_add(b, out, n);
}
