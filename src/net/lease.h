/*
 * lease: a site's line, divided among the nodes that use it, five seconds at a time.
 *
 * The server keeps a book of each site whose line has a limit.  Every node there says each second
 * what it could move (a demand) and is answered with a rate that is its own for LEASE_MS, counted
 * from when it asked.  Rates are max-min fair: nobody gets more than it could use, and what is left
 * goes in equal parts to those who could use more.  All rates that are out never make more than the
 * limit: what one gives up is another's once the first has said that it knows.
 *
 * With each rate comes a floor, the line divided by all members.  A node whose lease has run out
 * goes on with the smaller of the two, and LEASE_MS later, when every lease given without counting
 * on it has run out as well, with its floor; so it does when the server is lost to all.  The book
 * reckons with the floor of whoever may have gone back to it: who is not known to have a lease.
 *
 * What this does not hold against: a node that cannot reach the server for longer than
 * LEASE_FORGET_MS (LEASE_STRANGERS_MS after a start of the server) while others can, and one that
 * was never told of a limit.
 *
 * Pure: the time is handed in, in milliseconds that never go back; the two sides' clocks need not
 * agree.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/map.h"

enum {
	LEASE_MS = 5 * 1000,
	LEASE_RENEW_MS = 1000,           /* also after a demand that had no answer */
	LEASE_HURRY_MS = 250,            /* at the soonest, when it has more to move */
	LEASE_FORGET_MS = 2 * 60 * 1000, /* who is gone without a word */
	LEASE_STRANGERS_MS = 60 * 1000,  /* who has not come back since the server started */
	LEASE_WAYS = 2,
	LEASE_MEMBERS_MAX = 100 * 1000,
};
#define LEASE_HUNGRY UINT64_MAX /* wants as much as there is */

struct lease_demand {
	uint32_t number; /* of this connection, from 1 */
	uint32_t acked;  /* the latest lease that came on it; 0: none yet */
	uint64_t want[LEASE_WAYS], floor[LEASE_WAYS]; /* bytes a second; floor 0: none yet */
};
struct lease {
	/* of the demand that it answers; 0: of none: a limit has come, changed or gone */
	uint32_t number;
	uint64_t rate[LEASE_WAYS], floor[LEASE_WAYS]; /* both 0: that way has no limit */
};

/* -- a node -- */

struct lease_holder {
	uint32_t number, acked;
	uint64_t asked_ms[8];        /* when the demand of that number, modulo 8, went out */
	bool is_called;              /* to ask at once */
	uint64_t until_ms, floor_ms; /* its end; from then on the floor */
	uint64_t rate[LEASE_WAYS], floor[LEASE_WAYS];
};
/* FLOOR: what it knew when it stopped, or NULL. */
void lease_holder_init(struct lease_holder *h, const uint64_t floor[LEASE_WAYS]);
/* A new connection to the server. */
void lease_holder_connected(struct lease_holder *h);
/* Is one due?  Then *RET is it.  WANT: what it could move now. */
bool lease_holder_demand(struct lease_holder *h, uint64_t now_ms, const uint64_t want[LEASE_WAYS],
    struct lease_demand *ret);
void lease_holder_take(struct lease_holder *h, uint64_t now_ms, const struct lease *l);
bool lease_holder_is_limited(const struct lease_holder *h);
/* What it may move now; 0: without limit. */
void lease_holder_rates(const struct lease_holder *h, uint64_t now_ms, uint64_t ret[LEASE_WAYS]);

/* -- the server -- */

struct lease_book;
/* LIMIT: bytes a second, 0: none that way.  START_MS: when the server started, before which it may
 * have given leases that are out; 0: there was no limit. */
struct lease_book *lease_book_new(const uint64_t limit[LEASE_WAYS], uint64_t start_ms);
void lease_book_free(struct lease_book *b); /* NULL is fine */
void lease_book_limit(struct lease_book *b, const uint64_t limit[LEASE_WAYS]);
/* MEMBER has connected, maybe again. */
void lease_book_joined(struct lease_book *b, uint64_t member, uint64_t now_ms);
/* It has gone; IN_PEACE: it said so, and moves nothing any more. */
void lease_book_left(struct lease_book *b, uint64_t member, bool in_peace, uint64_t now_ms);
/* There is a limit now, or another one: *RET is to be told to MEMBER, which asks then.  False: it
 * is none. */
bool lease_book_call(struct lease_book *b, uint64_t member, struct lease *ret);
/* False: no answer now. */
bool lease_book_demand(struct lease_book *b, uint64_t member, const struct lease_demand *d,
    uint64_t now_ms, struct lease *ret);
/* For whoever shows it: how many members, and what is out at most now. */
uint32_t lease_book_members(const struct lease_book *b);
void lease_book_out(struct lease_book *b, uint64_t now_ms, uint64_t ret[LEASE_WAYS]);
