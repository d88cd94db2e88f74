/*
 * rate: a token bucket: so many bytes a second, after they have moved.
 *
 * Bytes may move while the bucket is not empty; what has moved is taken out, also more than was in
 * it, and then nothing may until the debt is paid.  So nobody has to cut what he moves to what is
 * left, and the rate holds all the same.  What was not used is kept for RATE_BURST_MS.
 *
 * Pure: the time is handed in, in milliseconds that never go back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RATE_BURST_MS = 50 };
/* Bytes a second that make sense: with less, a frame to each of a few would take so long that they
 * give up waiting for the next. */
#define RATE_MIN UINT64_C(16000)
#define RATE_MAX UINT64_C(1000000000000) /* so that no product below overflows */

struct rate {
	uint64_t bytes_s; /* 0: no limit */
	int64_t left;     /* thousandths of bytes; below 0: owed */
	uint64_t at_ms;   /* LEFT is of then */
};

/* Starts empty. */
void rate_init(struct rate *r, uint64_t bytes_s, uint64_t now_ms);
/* From now on BYTES_S: what is owed stays owed; from "no limit" it starts empty. */
void rate_change(struct rate *r, uint64_t bytes_s, uint64_t now_ms);
bool rate_has(struct rate *r, uint64_t now_ms);
void rate_take(struct rate *r, size_t bytes);
/* Of what was taken this did not move after all. */
void rate_give(struct rate *r, size_t bytes);
/* As rate_has was told the time last: until it has again, at least 1. */
uint64_t rate_wait_ms(const struct rate *r);
