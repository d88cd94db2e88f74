/*
 * rest: how long a loop that moves bytes slowly may let them gather before it looks again.
 *
 * A slow line brings a packet at a time, and a loop that is woken for each spends more on waking
 * than on the bytes, and has the kernel acknowledge each.  So between two looks there is time for
 * REST_BYTES at the rate of late, at most REST_MAX_US; a quick line is not kept waiting, and a
 * connection on which little moves is answered at once.
 *
 * Pure: times are handed in, in microseconds.
 */
#pragma once

#include <stdint.h>

enum {
	REST_BYTES = 64 * 1024, /* both ways together */
	REST_MIN_US = 1000,     /* less is not worth a rest */
	REST_MAX_US = 8 * 1000,
	REST_WINDOW_US = 100 * 1000, /* over which the rate is taken */
	REST_SLOWEST = 256 * 1024,   /* bytes a second, below which there is none */
};

struct rest {                     /* zero is right */
	uint64_t since_us, moved; /* of the window that runs */
	uint64_t between_us; /* from one look to the next, by the rate of the last one; 0: none */
	uint64_t looked_us;
};
/* N bytes came or went. */
static inline void
rest_moved(struct rest *r, uint64_t n)
{
	r->moved += n;
}
/* The loop would look now: how long it rests before.  0: it looks. */
uint64_t rest_for(struct rest *r, uint64_t now_us);
/* It looks. */
void rest_looked(struct rest *r, uint64_t now_us);
