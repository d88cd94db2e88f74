/*
 * world: servers that hold a snapshot, receivers that want it, and strangers that want to break
 * them.
 *
 * The actors are what engine and server are in the program, without disks and threads: they use the
 * real session, transfer, transfer_check, serve and manifest code.  Whatever must never happen is
 * checked where it would, with WORLD_REQUIRE, which prints the seed and how to see it again.
 */
#pragma once

#include "session/serve.h"
#include "session/transfer.h"
#include "tests/sim/content.h"
#include "tests/sim/shell.h"

struct world {
	uint64_t seed;
	struct sim sim;
	struct content content;
	const struct device_key *author, *stranger; /* who may publish, and who may not */
	ARRAY(struct server *) servers;
	ARRAY(struct receiver *) receivers;
	ARRAY(struct attacker *) attackers;
	ARRAY(struct wire *) wires; /* all ever dialed */
	uint32_t window, loss_per_million, reset_per_million;
};
void world_fail(const struct world *w, const char *what, const char *where);
#define WORLD_REQUIRE(w, cond)                                                                     \
	do {                                                                                       \
		if (!(cond))                                                                       \
			world_fail((w), #cond, HERE);                                              \
	} while (0)

/* -- servers -- */

enum lie {
	LIE_NONE,
	LIE_BYTES,       /* wrong leaves, now and then */
	LIE_LISTS,       /* wrong leaf lists */
	LIE_MORE,        /* more leaves than were asked for */
	LIE_SHORT,       /* fewer */
	LIE_ORDER,       /* leaves of another place */
	LIE_NOTHING,     /* takes requests, and that is all */
	LIE_DEAF,        /* does not even answer pings */
	LIE_GARBAGE,     /* random bytes between frames */
	LIE_OUT_OF_TURN, /* good frames at the wrong time */
	LIE_NODES,       /* wrong nodes */
	LIE_MISSING,     /* has no node and no unit */
	LIE_COMMIT,      /* a commit that the author did not sign */
	LIE_LATER,       /* "try again", for ever */
	LIE_COUNT
};
struct server_job { /* an answer under way */
	uint32_t stream;
	bool units;
	struct serve serve;
	uint16_t node_kind, n_nodes, next_node;
	struct hash_id nodes[LIMIT_NODE_IDS];
};
struct server_conn {
	struct server *server;
	struct shell shell;
	bool member, closed;
	ARRAY(struct server_job *) jobs; /* served in order */
};
struct server {
	struct world *w;
	uint32_t node;
	enum lie lie;
	uint64_t whole_us; /* before that it holds every second unit only, and says so */
	ARRAY(struct server_conn *) conns; /* all ever accepted */
	uint64_t lies;                     /* told */
};
struct server *server_new(struct world *w, uint32_t node, enum lie lie);
void server_free(struct server *s);
/* What a dialer needs: the other end of its wire. */
struct server_conn *server_accept(struct server *s, bool member);
void server_restart(struct server *s); /* all connections break */

/* -- receivers -- */

struct source {
	struct receiver *r;
	uint32_t index; /* in r->sources; its name in the transfer */
	struct server *server;
	struct wire *wire;
	struct shell shell;
	bool usable; /* its commit was good */
	bool banned;
	uint32_t wrong_nodes, unanswered;      /* nodes; requests for some */
	uint32_t node_requests, unit_requests; /* open */
	struct sim_event redial;
};
struct ask { /* an open request of a receiver */
	struct source *source;
	uint16_t type;
	uint32_t stream;
	uint32_t unit;
	bool given_up; /* the source was banned: the unit is asked of others by now */
	struct transfer_check check;
	ARRAY(struct hash_id) nodes;
	enum hash_kind kind;
	uint32_t next_node;
};
struct receiver_node { /* wanted */
	enum hash_kind kind;
	struct hash_id id;
};
struct receiver {
	struct world *w;
	uint32_t node;
	ARRAY(struct source *) sources;
	ARRAY(struct ask *) asks;
	struct store store;
	bool known; /* the commit is here */
	struct commit commit;
	uint32_t unit_size;
	ARRAY(struct receiver_node) wanted;
	struct map seen; /* nodes ever wanted */
	uint32_t nodes_open;
	struct transfer *transfer; /* once all nodes are here */
	struct bitset in_flight;   /* units */
	struct sim_event wake, check;
	uint64_t done_us; /* 0: not yet */
	uint64_t taken, closed_gaps, stalls;
};
struct receiver *receiver_new(struct world *w, uint32_t node);
void receiver_free(struct receiver *r);
void receiver_add_source(struct receiver *r, struct server *s);

/* -- strangers and bad members -- */

enum attack {
	ATTACK_FLOOD,  /* more requests than anybody may open */
	ATTACK_UNREAD, /* asks for everything and reads nothing */
	ATTACK_GARBAGE,
	ATTACK_HUGE, /* a frame of four gigabytes */
	ATTACK_DRIP, /* a greeting that never ends */
	ATTACK_SILENT,
	ATTACK_GUEST,   /* no member, and asks all the same */
	ATTACK_PINGS,   /* wants answers to pings for a minute, and reads none */
	ATTACK_CANCELS, /* takes back what it asked for, the same way */
	ATTACK_COUNT
};
struct attacker {
	struct world *w;
	uint32_t node;
	enum attack attack;
	struct server *server;
	struct server_conn *conn; /* the server's end */
	struct wire *wire;
	struct sim_event step;
	uint32_t stream;
	unsigned rounds; /* of pestering */
	bool lost;
};
struct attacker *attacker_new(struct world *w, uint32_t node, enum attack attack, struct server *s);
void attacker_free(struct attacker *a);
