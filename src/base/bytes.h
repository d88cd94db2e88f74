/*
 * bytes: a borrowed view of bytes.  It never owns; whoever made the bytes keeps them alive.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
	const uint8_t *at;
	size_t len;
};

#define BYTES(p, n)  ((struct bytes){ (const uint8_t *)(p), (n) })
#define BYTES_OF(x)  BYTES(&(x), sizeof(x)) /* of a plain object */
#define BYTES_LIT(s) BYTES((s), sizeof(s) - 1)

static inline struct bytes
bytes_str(const char *s)
{
	return BYTES(s, strlen(s));
}

static inline bool
bytes_equal(struct bytes a, struct bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* Bytewise order; a prefix comes first.  The order of names in every format of ours. */
static inline int
bytes_compare(struct bytes a, struct bytes b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n > 0 ? memcmp(a.at, b.at, n) : 0;

	return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static inline struct bytes
bytes_slice(struct bytes b, size_t from, size_t n)
{
	/* nothing is added to an empty view's NULL */
	return BYTES(from > 0 ? b.at + from : b.at, n);
}
