/*
 * What the parts of tracker share; not for others.
 *
 * A participation (struct entry) is in four lists: of its snapshot's swarm and of its site there,
 * where those who want something are apart from those who are whole, of its connection, and, when
 * it has yet to be told for the first time, of the fresh.
 *
 * Views point at entries.  One that leaves while others have it in view stays, as gone, until they
 * have been told: in the swarm's next batch, which looks once through all views that may have
 * changed; so whoever goes costs the same whether one goes or a thousand.
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
	uint64_t mark;
	uint64_t weight;   /* in the ranking; 0: its uplink is not known */
	uint64_t weigh_ms; /* not before that it gets another; 0: no rate was heard yet */
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

/* Where some of a swarm are. */
struct site {
	struct swarm_of *swarm;
	uint64_t number, mark;
	uint32_t in_swarm;
	entry_array wanting, whole, authors;
	/* The best by key, in order, each of another device.  Nobody else is better than the last;
	 * refilled when there are fewer than candidates. */
	entry_array best;
	uint8_t gateways, candidates;
	uint64_t median; /* uplink, when the line is known; 0: not known */
	ARRAY(struct site *) links;
	bool rank_due;          /* somebody came, went or weighs another weight */
	bool link_due;          /* it may have too few links */
	bool near_due, far_due; /* to be told: its members; those who speak for it */
};

struct swarm_of {
	struct key key;
	entry_array wanting, whole, gone;
	struct map site_of;         /* number -> struct site * */
	ARRAY(struct site *) sites; /* each has members */
	uint64_t due_ms;            /* of its next batch; 0: nothing has changed */
	uint64_t mark;
};

struct seen { /* what a viewer was told of another */
	struct entry *x;
	uint8_t rank, gateways;
};

struct entry {
	struct tracker_entry x; /* first */
	struct swarm_of *swarm;
	struct site *site; /* NULL: gone */
	struct device *device;
	struct link *link; /* NULL: gone */
	uint32_t in_swarm, in_site, in_link;
	uint32_t n_seen;        /* it is in so many views */
	bool fresh;             /* it has yet to be told for the first time */
	bool skips;             /* it does not want all */
	uint8_t rank, gateways; /* as it was told */
	uint64_t key;
	struct bitset done; /* units held or not wanted; of no bits until there are some */
	ARRAY(struct seen) view;
};

struct tracker {
	struct rng rng;
	struct map devices; /* device_id -> struct device * */
	struct map links;   /* number -> struct link * */
	struct map swarms;  /* struct key -> struct swarm_of * */
	struct map lines;   /* site -> bytes a second */
	entry_array fresh;
	ARRAY(struct swarm_of *) changed; /* due_ms is set */
	uint64_t marks;
	/* where tracker_next is: in which swarm's batch, whom of it there remain to be told */
	struct swarm_of *telling;
	entry_array queue;
	ARRAY(const struct tracker_entry *) came;
	ARRAY(struct device_id) left;
};

/* Another connection of D that takes part in S. */
struct entry *tracker_entry_of(const struct device *d, const struct swarm_of *s);
/* S has a batch to be told soon. */
void tracker_changed(struct tracker *t, struct swarm_of *s, uint64_t now_ms);
/* S's batch has been told: until something changes there is no next. */
void tracker_unchanged(struct tracker *t, struct swarm_of *s);
/* Frees who has gone from S and is in nobody's view; and S itself when nobody is left. */
void tracker_free_gone(struct tracker *t, struct swarm_of *s);
/* Whom X was told of is forgotten: those of its own site, or ALL. */
void tracker_unsee(struct entry *x, bool all);

/* -- tracker_site.c -- */

static inline bool
speaks(const struct entry *x)
{
	return x->x.rank > 0 || x->x.author;
}

/* X, of the site with that number in its swarm, is there from now on; and is not any more. */
void tracker_site_join(struct tracker *t, struct entry *x);
void tracker_site_leave(struct entry *x);  /* its connection knows of it no more */
void tracker_site_whole(struct entry *x);  /* ... is among those who are whole there */
void tracker_site_weighs(struct entry *x); /* its device weighs something else, or it skips units */
/* Ranks and links what is due in S, and fills the queue with whom to tell what has changed. */
void tracker_site_batch(struct tracker *t, struct swarm_of *s);
void tracker_site_free(struct site *s);
