/*
 * shrink: whether what is sent on one connection is packed first.
 *
 * It is where the line is in the way: there is something to send, and the connection, or a limit of
 * ours, takes no more of it most of the time; where the line is slow beside what packing takes; and
 * where the content shrinks, by trying.  What did not is passed over for a while, longer each time.
 * So nobody packs for a line that waits for the disk or for packing, nor what is packed already.
 *
 * Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
	SHRINK_LOOK_MS = 200, /* of having something to send, between two judgements */
	/* On from three quarters of that time held by the line, off below a quarter. */
	SHRINK_ON_EIGHTHS = 6,
	SHRINK_OFF_EIGHTHS = 2,
	/* Of the line in bytes a second: faster ones do not wait for bytes but for processors. */
	SHRINK_LINE_MAX = 128 * 1000 * 1000,
	/* Packing is to be so many times as quick as the line; less ends it, for a while. */
	SHRINK_SPEED_ON = 3,
	SHRINK_SPEED_OFF = 2,
	SHRINK_REST_MS = 10 * 1000,
	/* Content that is passed over after some that did not shrink. */
	SHRINK_SKIP_MIN = 256 * 1024,
	SHRINK_SKIP_MAX = 4 * 1024 * 1024,
};

/* Zero is the beginning. */
struct shrink {
	bool on;
	/* the line: since `at_ms`, and of this look so far */
	uint64_t at_ms, out;
	bool busy, held;
	uint64_t busy_ms, held_ms, busy_bytes;
	/* packing */
	uint64_t speed; /* bytes of content a second, in one job, smoothed; 0: not known */
	uint64_t rest_ms;
	uint64_t skip, next_skip; /* bytes */
};

/* To be told whenever any of it may have changed, which holds from now on. */
struct shrink_line {
	uint64_t now_ms;
	uint64_t out;  /* bytes that the connection ever took */
	bool was_held; /* up to now: it had not taken all it was given, or only just had */
	bool busy;     /* there is something to send */
	bool is_held;  /* it was given bytes that it has not taken yet */
};
void shrink_line(struct shrink *s, const struct shrink_line *l);

/* The next BYTES: are they to be packed? */
bool shrink_wants(struct shrink *s, uint32_t bytes);
struct shrink_result {
	uint64_t bytes, us; /* of content that were tried, and how long that took */
	bool failed;        /* some did not shrink */
};
void shrink_packed(struct shrink *s, const struct shrink_result *r);
