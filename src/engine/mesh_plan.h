/*
 * mesh_plan: whom an agent dials and when, and which of two connections with one device stays.
 *
 * Tie-break   Two devices that dial each other at once end up with two connections.  The one that
 *             the device with the smaller id dialed stays; both sides see the same two ids, so both
 *             decide the same, whatever came first.  Of two that one side dialed the later stays:
 *             who dials has no other.  And who dials long after the other connection was ready had
 *             lost that one: the later stays.
 * Dialling    A device that is wanted and not connected is dialed, again after 0.2 s to 30 s, the
 *             wait growing by half and shaken by a quarter.  Those that failed least go first.
 * Asking      Whom we cannot reach may reach us: after a failure the server is asked to have him
 *             dial.  Who is asked so makes one attempt, and not more often than the limits say:
 *             nobody can use us to knock at somebody's door.
 *
 * Pure: times and dice are handed in.  Times are milliseconds of a monotonic clock.  Threads  one.
 */
#pragma once

#include "crypto/device_key.h"

enum {
	/* connections that we dial, those under way included: a site of 64, and the gateways of
	 * 32 others */
	MESH_PLAN_DIALED_MAX = 256,
	MESH_PLAN_DIALS_MAX = 16, /* under way at once */
	MESH_PLAN_BACKOFF_MIN_MS = 200,
	MESH_PLAN_BACKOFF_MAX_MS = 30 * 1000,
	/* a connection that ended sooner counts as one that failed: the other refuses us */
	MESH_PLAN_LASTING_MS = 3 * 1000,
	/* Two that got ready within this time crossed each other: longer than a dial and two
	 * greetings can take. */
	MESH_PLAN_CROSSED_MS = 45 * 1000,
	MESH_PLAN_ASK_MS = 10 * 1000, /* between two times that the server is asked about one */
	MESH_PLAN_CALL_MS = 5 * 1000, /* between two calls of one device that are followed */
	MESH_PLAN_CALLS_MAX = 32,     /* calls followed in ... */
	MESH_PLAN_CALLS_MS = 10 * 1000,
};

struct mesh_plan_device { /* zero: nothing has been tried */
	bool wanted;      /* somebody here lacks what it has */
	bool reachable;   /* an address is known */
	bool connected;   /* by whoever dialed */
	bool dialing;
	bool dialed; /* connected, and it was us who dialed */
	bool banned;
	uint32_t failures; /* in a row */
	uint64_t backoff_ms, next_ms;
	uint64_t asked_ms, called_ms; /* 0: never */
};
struct mesh_plan { /* of all devices together; zero is right */
	uint64_t calls_ms;
	uint32_t calls;
};

/* One of two connections with OTHER. */
struct mesh_plan_line {
	bool dialed; /* by us */
	uint64_t ready_ms;
};
/* Both are ready, NEW since just now: does OLD stay? */
bool mesh_plan_old_stays(const struct device_id *self, const struct device_id *other,
    const struct mesh_plan_line *old, const struct mesh_plan_line *new);
/* A connection that the other dialed is ready; is a dial of ours that is still under way to go on?
 */
bool mesh_plan_dial_goes_on(const struct device_id *self, const struct device_id *other);

/* Whom to dial now: an index, or N when nobody. */
size_t mesh_plan_next(const struct mesh_plan_device *const *devices, size_t n, uint64_t now_ms);
/* When mesh_plan_next may have an answer again; UINT64_MAX: not by time alone. */
uint64_t mesh_plan_wakes(const struct mesh_plan_device *const *devices, size_t n, uint64_t now_ms);
void mesh_plan_dialing(struct mesh_plan_device *d);
/* The attempt came to nothing. */
void mesh_plan_failed(struct mesh_plan_device *d, uint64_t now_ms, uint64_t dice);
/* A connection is ready. */
void mesh_plan_ready(struct mesh_plan_device *d, bool dialed);
/* The connection that was ready since READY_MS is gone. */
void mesh_plan_gone(struct mesh_plan_device *d, uint64_t ready_ms, uint64_t now_ms, uint64_t dice);

/* After a failure: is the server to be asked now?  True counts as asked. */
bool mesh_plan_asks(struct mesh_plan_device *d, uint64_t now_ms);
/* The server says that D asks for us: is it to be dialed now?  True counts. */
bool mesh_plan_called(struct mesh_plan *p, struct mesh_plan_device *d, uint64_t now_ms);
