/*
 * engine_swarm_private: what the files of engine_swarm share with each other and nobody else.
 *
 *   engine_swarm.c        entries: snapshots that we take part in, from a job's or a root's wish to
 *                         the last who needs them
 *   engine_swarm_entry.c  one entry's node, and what it takes
 *   engine_swarm_roots.c  what is held whole
 *   engine_swarm_party.c  parties: connections, and what we say on them
 *   engine_swarm_hear.c   ... and what is said to us
 *   engine_swarm_site.c   which members are near, and where each stands
 *   engine_swarm_want.c   whom to dial, and which connections are of use
 *   engine_swarm_give.c   what responders ask: who may have what
 */
#pragma once

#include "base/map.h"
#include "engine/engine_swarm.h"
#include "engine/nearness.h"

enum {
	SWARM_IDLE_MS = 60 * 1000,
	SWARM_SAID_MAX = 1024,  /* snapshots that one connection names to us */
	SWARM_WHOLE_MAX = 256,  /* that we tell the server of: the newest */
	SWARM_LIARS_MAX = 64,   /* that are remembered */
	SWARM_PEERS_SEEN = 512, /* of one node, at a look */
	SWARM_LISTED_MAX = 4 * LIMIT_MEMBERS,
	SWARM_JUDGE_MS = 30 * 1000, /* grants end by time, too */
	SWARM_REPAIR_MS = 3 * 1000, /* the server is listened to again after wrong bytes */
};

struct swarm_said { /* what somebody's job stands for */
	uint32_t job;
	struct hash_id share, snapshot;
	uint32_t unit_size, units;
	bool last_resort;
};
struct swarm_entry;
struct swarm_told { /* what we have said there */
	struct swarm_entry *entry;
	uint32_t job, units;
};
struct swarm_party {
	struct peer *peer;
	struct mesh_device *device; /* NULL: the server */
	struct map said, jobs;      /* struct swarm_said by snapshot; the same by job */
	struct map told;            /* struct swarm_told by entry */
	bool says_near;             /* we to it */
	bool heard, hears_near;     /* it said NEAR to us; whether it is */
	bool entered;               /* it said ENTER; or it is the server */
	bool near, classed;         /* both say so; the connection knows */
};

struct swarm_entry {
	struct engine *engine;
	struct engine_swarm_who
	    who;             /* unit_size 0: not known yet (published, before the server says) */
	uint32_t job, units; /* units 0: not known yet */
	struct snapshot_map *map; /* while there is a node */
	struct swarm_node *node;
	bool opening, closing;         /* a job of the pool, or the node, has yet to end */
	bool dropped;                  /* freed when that has happened */
	bool ending;                   /* the taker is being stopped by us; then it is told */
	void (*on_stopped)(void *ctx); /* ... or this: it has stopped itself meanwhile */
	void *on_stopped_ctx;
	bool origin, whole;    /* published here; held whole, as far as we know */
	unsigned wants;        /* gets that are at it */
	bool has_taker, takes; /* there is one; the node has it */
	struct swarm_node_taker taker;
	bool asked;         /* somebody wants what is held whole */
	uint64_t used_ms;   /* somebody needed the node */
	uint64_t repair_ms; /* the server sent wrong bytes then; 0: it did not */
	struct map listed;  /* devices, by MEMBERS: rank, and gateways << 8 */
	bool ranked;        /* the server has said what we are: */
	uint8_t rank, gateways;
};

struct swarm_root { /* held whole */
	struct engine_swarm_who who;
	int64_t time_ns;
};
struct engine_swarm_liar {
	struct device_id device;
	struct hash_id share;
	uint32_t unit;
	int64_t time_ns;
};
struct swarm_standing { /* where we are */
	char label[STATEMENT_NAME_MAX + 1];
	char told_label[STATEMENT_NAME_MAX + 1]; /* by the server, once TOLD */
	char server_label[STATEMENT_NAME_MAX + 1];
	bool told, others_labelled;
	uint64_t number; /* of our site */
	struct nearness nearness;
	uint64_t decided_ms;
	bool said_label, said_believed; /* to the server: of this label; that */
	struct map alone; /* devices whose label is not believed, by the server's word */
};
struct engine_swarm {
	struct engine *engine;
	ARRAY(struct swarm_entry *) entries;
	ARRAY(struct swarm_party *) parties;
	struct map by_snapshot, by_peer; /* entries that are not dropped; parties */
	ARRAY(struct swarm_root) roots;
	ARRAY(struct engine_swarm_liar) liars;
	struct swarm_standing place;
	uint32_t next_job;
	bool loading, load_again; /* of roots */
	struct task rewant;
	uint64_t judged_ms, looked_ms;
};

/* -- engine_swarm.c -- */
struct swarm_entry *engine_swarm_find(struct engine *en, const struct hash_id *snapshot);
struct swarm_entry *engine_swarm_make(struct engine *en, const struct engine_swarm_who *w);
/* Somebody asks: a node for what is held, if it is. NULL: it is not. */
struct swarm_entry *engine_swarm_asked(struct engine *en, const struct hash_id *snapshot);
bool engine_swarm_lacks(const struct swarm_entry *x); /* something is wanted and not here */

/* -- engine_swarm_entry.c -- */
void engine_swarm_entry_open(struct swarm_entry *x);  /* nothing when it is open or being opened */
void engine_swarm_entry_start(struct swarm_entry *x); /* ... taking, if there is a taker for it */
void engine_swarm_entry_close(struct swarm_entry *x); /* its node */
void engine_swarm_entry_drop(struct swarm_entry *x);  /* nobody takes */
/* It is not hybrid any more: who takes is told so once its sink is free, then X is dropped. */
void engine_swarm_entry_end(struct swarm_entry *x);

/* -- engine_swarm_roots.c -- */
void engine_swarm_roots_look(struct engine *en); /* policies may have changed */

/* -- engine_swarm_party.c -- */
struct swarm_party *engine_swarm_party(struct engine *en, const struct peer *p);
bool engine_swarm_party_is_server(const struct swarm_party *party);
/* If PARTY should hear of X it hears of it, and if it has entered takes part in its node. */
void engine_swarm_party_tell(struct swarm_party *party, struct swarm_entry *x);
void engine_swarm_party_tell_all(struct swarm_entry *x);
void engine_swarm_party_exit(struct swarm_entry *x); /* everybody who heard of it */
/* Will an ENTER of DEVICE for SHARE be taken as good? */
bool engine_swarm_party_may(
    struct engine *en, const struct device_id *device, const struct hash_id *share);

/* -- engine_swarm_hear.c -- */
/* What PARTY said of X; NULL: nothing, or of the same snapshot under another share. */
const struct swarm_said *engine_swarm_said_of(
    struct swarm_party *party, const struct swarm_entry *x);
/* As if it had not said it; S is freed. */
void engine_swarm_said_forget(struct engine *en, struct swarm_party *party, struct swarm_said *s);
bool engine_swarm_is_listed(const struct swarm_entry *x, const struct device_id *device);

/* -- engine_swarm_site.c -- */
void engine_swarm_site_look(struct engine *en); /* now and then, and when something is new */
void engine_swarm_site_ready(struct engine *en, struct swarm_party *party); /* before ENTER */
void engine_swarm_site_heard(struct engine *en, struct swarm_party *party, bool near);
/* It takes part in something: what it did not say before it will not say. */
void engine_swarm_site_entered(struct engine *en, struct swarm_party *party);
void engine_swarm_site_listed(struct swarm_entry *x, const struct row_member *row);
void engine_swarm_site_left(struct engine *en, const struct device_id *device);
/* Where PARTY is, in the swarm of X. */
struct swarm_peer_opts engine_swarm_site_opts(
    const struct swarm_entry *x, const struct swarm_party *party);
void engine_swarm_site_place(struct swarm_entry *x); /* all who are in its node, and ourselves */
/* ... and where D would be. */
struct swarm_place engine_swarm_site_place_of(
    const struct swarm_entry *x, const struct mesh_device *d);
/* May we speak for our site in X: with others? */
bool engine_swarm_site_imports(const struct swarm_entry *x);
/* Is D of our own site, as far as labels say? */
bool engine_swarm_site_is(const struct engine *en, const struct mesh_device *d);
void engine_swarm_site_free(struct engine_swarm *s);

/* -- engine_swarm_want.c -- */
void engine_swarm_want_open(struct engine_swarm *s);
void engine_swarm_want_close(struct engine_swarm *s);
void engine_swarm_want_again(struct engine *en); /* soon: whom to dial is looked at anew */
void engine_swarm_want_look(struct engine *en);  /* once a second: which connections are of use */
