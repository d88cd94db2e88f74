/*
 * What the parts of tracker share; not for others.
 *
 * A participation (struct entry) is in three lists: of its snapshot's swarm, where those who want
 * something are apart from those who are whole, of its connection, and, when it has yet to be told
 * for the first time, of the fresh.
 *
 * Views point at entries.  One that leaves while others may have it in view stays, as gone, until
 * the swarm's next batch, which looks through all views once; so whoever goes costs the same
 * whether one goes or a thousand.
 */
#pragma once

#include "base/array.h"
#include "base/bitset.h"
#include "base/map.h"
#include "base/rng.h"
#include "server/tracker.h"

typedef ARRAY(struct entry *) entry_array;

struct device {
	struct device_id id;
	ARRAY(struct link *) links;
	uint32_t refs; /* connections, and entries also when they are gone */
};

struct link {
	uint64_t number;
	struct device *device;
	entry_array entries;
	uint64_t wanted; /* units that have bits */
};

struct key {
	struct hash_id share, snapshot;
};
_Static_assert(sizeof(struct key) == 2 * HASH_ID_BYTES, "a map key has no padding");

struct swarm_of {
	struct key key;
	entry_array wanting, whole, gone;
	uint64_t due_ms; /* of its next batch; 0: nothing has changed */
	uint64_t mark;
};

struct want {
	struct bitset done; /* units held or not wanted; of no bits until there are some */
	uint32_t n_view;    /* whom it was told of */
	struct entry *view[TRACKER_VIEW];
};

struct entry {
	struct tracker_entry x; /* first */
	struct swarm_of *swarm;
	struct device *device;
	struct link *link; /* NULL: gone */
	uint32_t in_swarm, in_link;
	bool fresh;
	struct want *want; /* NULL: it is whole, or gone */
};

struct tracker {
	struct rng rng;
	struct map devices; /* device_id -> struct device * */
	struct map links;   /* number -> struct link * */
	struct map swarms;  /* struct key -> struct swarm_of * */
	entry_array fresh;
	ARRAY(struct swarm_of *) changed; /* due_ms is set */
	uint64_t marks;
	/* where tracker_next is: in which swarm's batch, at which entry */
	struct swarm_of *telling;
	size_t at;
	uint64_t came[TRACKER_VIEW];
	struct device_id left[TRACKER_VIEW];
};

/* Another connection of D that takes part in S. */
struct entry *tracker_entry_of(const struct device *d, const struct swarm_of *s);
/* S's batch has been told: until something changes there is no next. */
void tracker_unchanged(struct tracker *t, struct swarm_of *s);
/* Nobody has in view any more who has gone from S; S itself goes when nobody is left. */
void tracker_free_gone(struct tracker *t, struct swarm_of *s);
