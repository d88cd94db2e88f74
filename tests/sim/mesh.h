/*
 * mesh: a server, a publisher and agents that take one snapshot from each other.
 *
 * A member is what `swarm_node`, `mesh` and the server's tracker are in the program, without disks
 * and threads: it uses the real session, swarm, swarm_talk, transfer_check and serve code.  All
 * have the manifest; how that is fetched is the business of test_fetch.  What must never happen is
 * checked where it would, with MESH_REQUIRE.
 */
#pragma once

#include "session/serve.h"
#include "session/swarm_talk.h"
#include "session/transfer.h"
#include "tests/sim/content.h"
#include "tests/sim/shell.h"

#define MESH_LIES(X)                                                                               \
	X(NONE, "none", 0)                                                                         \
	X(BYTES, "bytes", 1)     /* wrong leaves, now and then */                                  \
	X(LISTS, "lists", 1)     /* wrong leaf lists */                                            \
	X(MORE, "more", 1)       /* more leaves than were asked for */                             \
	X(SHORT, "short", 1)     /* fewer */                                                       \
	X(MUTE, "mute", 0)       /* offers, and gives nothing */                                   \
	X(SLOW, "slow", 0)       /* one byte a second from the first leaf on */                    \
	X(DEAF, "deaf", 0)       /* reads nothing */                                               \
	X(GARBAGE, "garbage", 1) /* random bytes between frames */                                 \
	X(TURN, "out of turn", 1)                                                                  \
	X(UNKNOWN, "unknown", 0)   /* frames of types that come later: to be skipped */            \
	X(BRAG, "braggart", 0)     /* says that it has all, offers it, and refuses */              \
	X(GOSSIP, "gossip", 0)     /* news that are not true, and what nobody asked it */          \
	X(BEYOND, "beyond", 1)     /* units that there are not */                                  \
	X(STRANGER, "stranger", 0) /* enters with other numbers */                                 \
	X(GREEDY, "greedy", 0)     /* asks for what it was not offered, and takes back */          \
	X(REFUSER, "refuser", 0)   /* declines everything, for ever */

enum mesh_lie {
#define X(name, text, caught) MESH_##name,
	MESH_LIES(X)
#undef X
	    MESH_LIE_COUNT
};

enum { MESH_MEMBERS = 16, MESH_JOB = 5 };

struct mesh {
	uint64_t seed;
	struct sim sim;
	struct content content;
	const struct device_key *author;
	struct member *members[MESH_MEMBERS]; /* the server is the first */
	uint32_t n_members;
	bool calm;                  /* nothing goes wrong */
	bool known;                 /* everybody knows the others from before */
	ARRAY(struct link *) links; /* all ever made, both ends */
	ARRAY(struct wire *) wires;
	uint32_t window, loss_per_million, reset_per_million;
	uint64_t links_made;
	/* leaf bytes: given by honest members to honest ones, taken, and those asked for that a
	 * death, a cut, a lie, a loss or silence explains */
	uint64_t given, taken, excused;
	uint64_t tied; /* of the last: by connections that were one too many */
	uint64_t replaced, silent, refused, lost_units, restarts, calls;
};
void mesh_fail(const struct mesh *w, const char *what, const char *where);
#define MESH_REQUIRE(w, cond)                                                                      \
	do {                                                                                       \
		if (!(cond))                                                                       \
			mesh_fail((w), #cond, HERE);                                               \
	} while (0)

struct mesh_answer { /* a unit under way out */
	uint32_t stream, unit;
	struct serve serve;
	uint64_t bytes;
};
struct mesh_ask { /* and in */
	struct link *link;
	uint32_t stream, unit;
	uint32_t bytes, got; /* asked for; verified */
	uint64_t asked_us, last_us;
	struct transfer_check check;
};
struct link { /* one end of a connection */
	struct member *me, *other;
	uint32_t life; /* of ME, when it was made */
	uint64_t number;
	struct shell shell;
	struct wire *wire;
	bool dialer, ready, over;
	bool sent_enter, entered; /* ours; theirs, and it was good */
	bool blocked;
	uint32_t their_job;
	ARRAY(struct mesh_answer *) answers; /* given in order */
	ARRAY(struct mesh_ask *) asks;
	uint64_t last_say_us; /* a liar's own invention */
};
struct other { /* what a member knows of another */
	struct member *me;
	uint32_t index;
	bool listed; /* it takes part, somebody who must know says */
	bool called; /* the server asks us to dial it, needed or not */
	bool banned;
	enum err named; /* why */
	uint32_t wrong; /* of its leaves, over all its connections */
	struct link *link, *dialing;
	struct sim_event dial;
	unsigned fails; /* in a row */
};
struct member {
	struct mesh *w;
	uint32_t index, node;
	struct device_id id;
	bool server, origin, late;
	bool unreachable; /* cannot be dialed */
	enum mesh_lie lie;
	bool here, dead; /* dead: not here for now, or any more */
	bool stays;      /* is here at the end */
	uint32_t life;
	struct swarm *swarm;
	struct swarm_talk *talk;
	struct store store;
	struct other others[MESH_MEMBERS];
	struct sim_event work;
	uint64_t wakes_us;
	ARRAY(struct mesh_ask *) failed; /* could not be asked: to be told */
	uint64_t done_us;
	uint64_t lies;
};

/* -- member.c: life, and what is said -- */

struct member *member_new(struct mesh *w, uint32_t node, enum mesh_lie lie);
void member_free(struct member *m);
void member_hold(struct member *m, uint32_t unit); /* before it comes */
void member_come(struct member *m);
/* SILENTLY: the others notice only that nothing is heard of it. */
void member_die(struct member *m, bool silently);
void member_wake(struct member *m); /* something has happened: what follows is done soon */
void member_lose(struct member *m, uint32_t unit); /* it cannot be read any more */
bool member_has_all(const struct member *m);
bool member_has(const struct member *m, uint32_t unit);
/* WHO is not to be heard again. */
void member_ban(struct member *m, struct member *who, const struct error *why);
/* Sends the push M. */
void link_say(struct link *l, const struct message *m);
bool link_is_live(const struct link *l);
void link_close(struct link *l, const struct error *why);

struct link *link_new(struct member *me, struct member *other, bool dialer);

/* -- member_dial.c: who is connected with whom -- */

void dial_all(struct member *m);
void dial_later(struct other *o, uint64_t us);
void on_dial(struct sim *s, struct sim_event *ev);
/* Two connections: is L, which is new, the one that is kept? */
bool dial_is_kept(const struct link *l, const struct link *old);
void dial_failed(struct link *l);
/* The server's part: who takes part, and who is to dial. */
void tracker_entered(struct link *l);
void tracker_left(struct link *l);
void tracker_dial(struct link *l, const struct message *m);
void tracker_heard(struct link *l, const struct message *m); /* MEMBERS, CALL */

/* -- member_move.c: units -- */

void move_take(void *ctx, uint64_t peer, uint32_t unit);
void move_drop(void *ctx, uint64_t peer, uint32_t unit);
void move_silent(struct member *m);
void move_told_failed(struct member *m);
void move_asked(struct link *l, const struct message *m); /* GET_UNITS */
void move_canceled(struct link *l, uint32_t stream);
void move_came(struct mesh_ask *a, const struct session_event *ev); /* DATA */
void move_refused(struct mesh_ask *a);
void move_lost(struct mesh_ask *a); /* with its connection */
void move_out(struct link *l);      /* there is room to produce */
void move_forget(struct link *l);   /* answers */
void move_stop(struct link *l);     /* asks */

/* -- liar.c -- */

/* What a liar says instead of M; false: nothing. */
bool liar_speaks(struct link *l, struct message *m);
void liar_acts(struct link *l); /* now and then, of its own */
/* Spoils a good DATA frame; the flags that it is to be sent with. */
uint16_t liar_spoils(struct link *l, const struct serve_frame *f, struct block *b, uint16_t flags);
bool liar_refuses(const struct link *l); /* to give what was accepted */
