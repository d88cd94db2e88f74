/*
 * swarm_node: the swarm of one snapshot at this node: swarm_talk's shell.  Gives what is here to
 * those who take part, takes what is missing from them, keeps account.  The agent and the server
 * use it alike.
 *
 * It lives as long as anybody may want the snapshot from here.  While something is missing it has a
 * sink (swarm_node_take); without one it only gives.  Who takes part is the owner's business: it
 * calls swarm_node_enter once a peer's ENTER was found good, and swarm_node_leave before the peer
 * is freed, when it said EXIT, or when its right has ended.
 *
 * Giving: the owner's responder answers GET_UNITS; it asks swarm_node_wanted whether the request
 * accepts an offer of ours, and tells how it went.  Only units that are held are answered for.
 *
 * Nothing but on_liar, on_lost and what a taker is told is told, and nothing from within a call.
 * No timer runs while nothing waits for time.  Memory   2 bytes and 4 bits a unit, 2 or 3 bits more
 * for each who takes part; some hundred bytes for each of the last SWARM_NODE_GONE_MAX who did;
 * while taking what unit_fetch has. Threads  the loop's; sink calls say where they run.
 */
#pragma once

#include "engine/responder.h"
#include "engine/unit_fetch.h"
#include "swarm/swarm.h"

enum { SWARM_NODE_GONE_MAX = 64 };

struct swarm_node;
struct swarm_node_opts {
	struct loop *loop;
	struct snapshot_map *map; /* kept */
	struct hash_id share, snapshot;
	uint32_t job;     /* what stands for it in what we send */
	bool origin;      /* we published it */
	bool last_resort; /* the server of a hybrid share */
	uint64_t seed;    /* of the dice */
	/* P sent wrong bytes SWARM_WRONG_MAX times, UNIT last: it is no longer listened to.  Report
	 * it, and end the connection, from here or later. */
	void (*on_liar)(void *ctx, struct peer *p, uint32_t unit);
	/* P, who offered UNIT, answered that it cannot read it any more: WHY names the file.  P is
	 * NULL when it has left meanwhile.  May be NULL. */
	void (*on_lost)(void *ctx, struct peer *p, uint32_t unit, const struct error *why);
	/* What time it is.  NULL: the loop's; a test moves its own. */
	uint64_t (*now_ms)(void *ctx);
	void *ctx;
};
struct swarm_node *swarm_node_new(const struct swarm_node_opts *o);
/* Frees later, when its jobs are done: then ON_CLOSED (may be NULL), from the loop.  All peers must
 * have left or are left by this; no EXIT is sent. */
void swarm_node_close(struct swarm_node *n, void (*on_closed)(void *ctx), void *ctx);

/* -- this node -- */

/* All units are held (a snapshot that is published or was received here). */
void swarm_node_hold_all(struct swarm_node *n);
struct swarm_node_taker {
	struct sink sink;
	/* Units of which nothing is missing and yet not all is here (get --path) are skipped:
	 * neither wanted nor offered.  NULL: there are none. */
	bool (*is_partial)(void *ctx, uint32_t unit);
	struct rate *gate;              /* of unit_fetch */
	void (*on_progress)(void *ctx); /* now and then; may be NULL */
	/* OK: nothing is missing, and flushed.  Else the sink failed (ERR_NOSPACE, ERR_IO).  Either
	 * way the sink is used no more and the taker is gone: swarm_node_take again when there may
	 * be room.  Once; not after stop. */
	void (*on_done)(void *ctx, enum err r, const struct error *e);
	void *ctx; /* of these; the sink has its own */
};
/* Takes what the sink misses, from now on; what it does not miss is held at once and given.  One
 * taker at a time: false when there is one. */
bool swarm_node_take(struct swarm_node *n, const struct swarm_node_taker *t);
/* No more taking: requests are cancelled.  What is held stays held as long as the owner can read it
 * (FORGET: it is lost, with the stage: the node holds nothing).  ON_STOPPED (may be NULL) from the
 * loop when the sink is used no more. */
void swarm_node_stop(struct swarm_node *n, bool forget, void (*on_stopped)(void *ctx), void *ctx);
bool swarm_node_is_taking(const struct swarm_node *n);
/* It cannot be read any more, which is told; taken again if the sink misses it. */
void swarm_node_lose(struct swarm_node *n, uint32_t unit);
/* ... and can after all. */
void swarm_node_regain(struct swarm_node *n, uint32_t unit);
bool swarm_node_holds(const struct swarm_node *n, uint32_t unit);
bool swarm_node_is_complete(const struct swarm_node *n);
/* A unit that neither this node nor anybody who takes part holds or awaits; false: none. */
bool swarm_node_first_nowhere(const struct swarm_node *n, uint32_t *ret_unit);
uint32_t swarm_node_job(const struct swarm_node *n);
uint32_t swarm_node_units(const struct swarm_node *n);
uint32_t swarm_node_unit_size(const struct swarm_node *n);

/* -- those who take part -- */

/* What stands for a device in places, the same everywhere. */
uint64_t swarm_node_number(const struct device_id *device);
/* Where this node is; in the one site there is until it is said. */
void swarm_node_place(struct swarm_node *n, const struct swarm_place *self);
/* P's ENTER was found good (its right, its unit size and number of units are ours).  Again: it
 * begins anew. */
void swarm_node_enter(struct swarm_node *n, struct peer *p, const struct swarm_peer_opts *o);
/* P is elsewhere now; fine when it is not in, or when that is no news. */
void swarm_node_peer_place(
    struct swarm_node *n, struct peer *p, const struct swarm_place *place, bool far);
/* Is P, as far as we know, a gateway of its site?  Are we of ours? */
bool swarm_node_peer_is_gateway(const struct swarm_node *n, const struct peer *p);
bool swarm_node_is_gateway(const struct swarm_node *n);
void swarm_node_leave(struct swarm_node *n, struct peer *p); /* fine when it is not in */
bool swarm_node_has(const struct swarm_node *n, const struct peer *p);
/* NEWS, OFFER, DECLINE of a job that the owner knows to be this snapshot.  An error ends the
 * connection. */
enum err swarm_node_message(
    struct swarm_node *n, struct peer *p, const struct message *m, struct error *e) must_check;

/* -- what the responder tells -- */

/* P asks for UNIT: true when that accepts an offer of ours. */
bool swarm_node_wanted(struct swarm_node *n, struct peer *p, uint32_t unit);
/* The answer is over. */
void swarm_node_answered(
    struct swarm_node *n, struct peer *p, uint32_t unit, const struct responder_sent *sent);
/* The connection of P takes no more bytes, or does again. */
void swarm_node_blocked(struct swarm_node *n, struct peer *p, bool blocked);

/* -- for people: `weft why`, `weft peers` -- */

struct swarm_node_peer {
	struct device_id device;
	bool connected, last_resort, banned, far;
	uint64_t bytes_in, bytes_out; /* verified; handed to the connection */
	uint64_t wire_in, wire_out;   /* what those took on the wire: less where they were packed */
	uint64_t from_afar;           /* as it says: bytes that it took over far connections */
	uint64_t rate_in, rate_out;   /* bytes a second of the last seconds */
	struct swarm_stats stats;     /* of its present or last connection */
};
/* Those who take part or did; the busiest first, at most MAX. */
size_t swarm_node_peers(const struct swarm_node *n, struct swarm_node_peer *out, size_t max);
struct swarm_node_summary {
	uint32_t units, held, awaited, skipped, nowhere; /* nowhere: as swarm_nowhere */
	uint32_t slots, out;                             /* room to give, and how much is given */
	uint64_t bytes_in, bytes_out, rate_in, rate_out;
	uint64_t wire_in, wire_out;
	uint64_t far_in, far_out; /* of bytes_in and bytes_out, over far connections */
	uint64_t content;         /* bytes of all units */
	bool paused;              /* reading is paused: the disk is behind */
	bool starving;            /* nobody but a last resort has offered anything for a while */
	uint32_t peers, seeds;    /* connected; of these, hold everything */
};
void swarm_node_summary(const struct swarm_node *n, struct swarm_node_summary *ret);
