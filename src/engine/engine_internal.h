/*
 * engine_internal: what the files of the engine's core share with each other, and nobody else
 * includes.
 *
 *   engine.c           opening, closing, the tick
 *   engine_link.c      the connection to the server: dial, greet, ask, come back
 *   engine_mesh.c      other members: greeting them, what they say of the authority
 *   engine_known.c     ... where they were, when the server does not say
 *   engine_swarm.h     which snapshots we take part in, and with whom
 *   engine_join.c      enrolling and leaving
 *   engine_source.c    what the server may fetch from here
 *   engine_trust.c     whose word counts: the authority, and the server that has its key
 *   engine_job.c       jobs: their life, who watches them, what survives a restart
 *   engine_ended.c     jobs that are over: the last few, and what a crash left of any
 *   engine_publish.c   one kind of job
 *   engine_get.c       the other (engine_get_private.h)
 *   engine_api.c       commands that ask and list
 *   engine_peers.c     with whom it is connected
 *   engine_why.c       where bytes come from, and what is in the way
 *   engine_verify.c    re-hashing what is on disk
 *   engine_limit.c     what transfers are held to
 *   engine_line.c      this node's share of its site's line
 *   engine_yield.c     the pace of what makes way for others
 *   engine_gc.c        forgetting old manifests
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "base/speed.h"
#include "crypto/authority.h"
#include "engine/advertise.h"
#include "engine/dest_table.h"
#include "engine/engine.h"
#include "engine/fetch_nodes.h"
#include "engine/limits.h"
#include "engine/map_cache.h"
#include "engine/mesh.h"
#include "engine/responder.h"
#include "engine/scan.h"
#include "net/line_meter.h"
#include "net/yield.h"

enum {
	ENGINE_TICK_MS = 250,
	ENGINE_BACKOFF_MIN_MS = 200,
	ENGINE_BACKOFF_MAX_MS = 30 * 1000,
	/* at least: what was refused may be mended by hand any moment */
	ENGINE_BACKOFF_DENIED_MS = 2000,
	ENGINE_NOSPACE_RETRY_MS = 3000,
	ENGINE_AGAIN_RETRY_MS = 1000,
	ENGINE_ENDED_KEPT = 20,
	ENGINE_ADDRESSES_MAX = 2 * LIMIT_ADDRESSES,
};

struct engine_link {
	struct conn *conn;
	struct peer *peer; /* NULL: not connected */
	bool ready;        /* greeted on both sides */
	struct responder *responder;
	struct timer *retry;
	uint64_t backoff_ms, since_ms;
	char why[ERROR_TEXT]; /* why it is not connected */
	char address[LIMIT_ADDRESS_TEXT + 1];
	bool clock_known;     /* the server's was seen, as the next says */
	int64_t clock_off_ms; /* how far ours is ahead of it */
	bool given_up;        /* the server said that we are no member: only a join helps */
};

struct engine_line {
	struct lease_holder holder;
	struct line_meter meter;
	uint64_t kept[LEASE_WAYS], kept_ms; /* the floor in state.db; not before that another */
};

struct engine_yield {
	struct timer *timer; /* NULL: it does not */
	struct yield ways[THROTTLE_WAYS];
	uint64_t total[THROTTLE_WAYS], resent; /* when it looked last */
};

struct engine_job;
struct engine_swarm;
struct trust_probe;

struct engine {
	struct engine_opts o;
	struct loop *loop;
	struct home *home;
	char name[STATEMENT_NAME_MAX + 1], site[STATEMENT_NAME_MAX + 1];
	struct state *state;
	struct chunk_store *nodes;
	struct places *places;
	struct map_cache *maps;
	struct dest_table *dests;
	/* of the last snapshot that could not be given whole any more, why: it names a file */
	struct {
		pthread_mutex_t lock;
		struct hash_id snapshot;
		char why[ERROR_TEXT];
	} lost;
	int maps_dir, jobs_dir;
	/* who we belong to */
	bool joined;
	struct device_id server;
	char server_name[STATEMENT_NAME_MAX + 1];
	struct authority *authority; /* NULL until joined */
	struct trust_probe *probe;   /* NULL: none is under way */
	char addresses[ENGINE_ADDRESSES_MAX][LIMIT_ADDRESS_TEXT + 1];
	size_t n_addresses;
	struct engine_link link;
	struct source source;
	ARRAY(struct engine_job *) jobs;
	ARRAY(struct job_row) ended; /* the last that are done or have failed, oldest first */
	struct listener *listener;   /* NULL: a server listens itself */
	advertise_text advertise[LIMIT_ADDRESSES];
	size_t n_advertise;
	struct mesh *mesh; /* NULL: a server's, or one that only joins */
	struct map known;  /* engine_known.c */
	struct engine_swarm *swarm;
	struct limits *limits;
	struct engine_line line;
	struct engine_yield yield;
	struct speed cpu, loop_cpu; /* ns of the processors, of the process and of the loop */
	struct job_queue *writes;   /* of state, one after the other */
	struct timer *tick;
	bool gc_running;
	uint64_t gc_ms; /* of the last one began */
	unsigned jobs_since_gc;
	unsigned pending; /* jobs of the pool; closing waits for them */
	bool closing;
	void (*on_closed)(void *ctx);
	void *on_closed_ctx;
};

/* -- work in the pool; the engine does not close before DONE -- */
struct engine_work {
	enum err (*work)(struct engine_work *w, struct error *e);
	void (*done)(struct engine_work *w, enum err r, const struct error *e); /* frees W */
	struct engine *engine;
};
void engine_work(struct engine *en, struct engine_work *w);
void engine_write(struct engine *en, struct engine_work *w); /* on the queue of writes */
void engine_part_closed(struct engine *en);
/* Is nothing left of the processors, or of the one that the loop runs on? */
bool engine_is_busy(const struct engine *en);
/* of the node store, unrestricted: for our own walks */
struct node_source engine_nodes(struct engine *en);

/* -- link -- */
void engine_link_start(struct engine *en); /* connects when joined, and again after a while */
void engine_link_close(struct engine *en);
/* Takes a statement in and, when it is news, keeps it and acts upon it. */
enum err engine_link_statement(struct engine *en, struct bytes b, struct error *e) must_check;
void engine_link_ended(struct engine *en); /* the membership has ended: no more connecting */
/* One question to the server.  ON_ANSWER once: the message, or NULL and why (ERR_OFFLINE: the
 * connection ended). */
struct engine_ask {
	struct requester requester; /* first */
	void (*on_answer)(struct engine_ask *a, const struct message *m, const struct error *e);
};
enum err engine_link_ask(
    struct engine *en, struct engine_ask *a, struct message *m, struct error *e) must_check;
/* Statements from the server: taken in, kept, acted upon. */
void engine_link_statements(struct engine *en, struct message_list statements);
/* Our HELLO on a connection that belongs to a server (or, JOINING, to one that is to become ours).
 */
enum err engine_link_hello(
    struct engine *en, bool joining, struct buf *out, struct error *e) must_check;
enum err engine_link_clock(uint64_t theirs_ms, struct error *e) must_check;

/* -- mesh -- */
enum err engine_mesh_listen(struct engine *en, struct error *e) must_check;
void engine_mesh_open(struct engine *en); /* blocking: at start */
void engine_mesh_close(struct engine *en);
/* A member's HELLO to somebody who is seen at OBSERVED. */
enum err engine_mesh_hello(struct engine *en, const char *observed, uint8_t lane, struct buf *out,
    struct error *e) must_check;
/* The authority ended the membership of DEVICE. */
void engine_mesh_revoked(struct engine *en, const struct device_id *device);
/* The next statement goes to all members that we are connected to. */
void engine_mesh_pass_on(struct engine *en, struct bytes statement);
void engine_mesh_cut_all(struct engine *en, const char *why); /* our own membership is over */
void engine_mesh_called(struct engine *en, const struct msg_call *m);
/* "": not known. */
const char *engine_mesh_name(struct engine *en, const struct device_id *device);

/* -- known members -- */
void engine_known_load(struct engine *en); /* blocking: at start, after engine_mesh_open */
/* The server says that ROW takes part in a swarm of SHARE: known from now on, also after a restart.
 * NULL: we or it. */
struct mesh_device *engine_known_member(
    struct engine *en, const struct row_member *row, const struct hash_id *share);
bool engine_known_has(
    struct engine *en, const struct device_id *device, const struct hash_id *share);
/* DEVICE may not read SHARE any more. */
void engine_known_ungranted(
    struct engine *en, const struct device_id *device, const struct hash_id *share);
void engine_known_forget(struct engine *en, const struct device_id *device); /* no member */

#define ENGINE_KEY_SERVER "server.id" /* settings: the server's device id, */
#define ENGINE_KEY_AUTHORITY                                                                       \
	"authority.id" /* and of the key that its authority began with; absent: the same */

/* -- join -- */
enum err engine_join_load(struct engine *en, struct error *e) must_check; /* blocking: at start */
/* the membership has ended: forget the server, keep the files */
void engine_join_forget(struct engine *en);
void engine_join_leave(struct engine *en, struct control_call *call);

/* -- trust -- */
/* The authority of the server whose key was SERVER when it was last heard of.  Blocking: at start.
 */
enum err engine_trust_load(
    struct engine *en, const struct device_id *server, struct error *e) must_check;
/* Of what JOINED brought: the key that its authority began with.  ERR_PROTO unless it has come to
 * be SERVER's, and we a member. */
enum err engine_trust_joined(struct engine *en, const struct device_id *server,
    struct message_list statements, struct device_id *ret_root, struct error *e) must_check;
/* The server greets: ERR_DENIED when it does not have the authority's key. */
enum err engine_trust_hello(
    struct engine *en, struct peer *p, const struct msg_hello *h, struct error *e) must_check;
/* Somebody else answers in the server's place: is it the server with a new key?  Then it is dialed
 * next. */
void engine_trust_probe(struct engine *en);
void engine_trust_close(struct engine *en);

/* -- source -- */
struct source engine_source(struct engine *en);
/* Records (in a job) that SHARE has all nodes of COMMIT, so that they may be asked for under it. */
enum err engine_source_own(struct engine *en, const struct commit *c, struct error *e) must_check;
/* The same within a transaction of the caller: children before parents, so what is recorded is
 * whole wherever it ends. */
enum err engine_source_note(struct engine *en, const struct commit *c, struct error *e) must_check;

/* -- jobs -- */
enum engine_want { WANT_RUN, WANT_PAUSE, WANT_CANCEL, WANT_STOP };
struct engine_watcher {
	struct control_call *call; /* NULL: has gone, or has its answer */
	bool no_wait;
};
struct engine_job_kind {
	const char *name;
	/* Does the next thing; called whenever nothing of the job is under way and it is wanted to
	 * run. */
	void (*step)(struct engine_job *j);
	/* Stops what is under way as soon as it can; its end is noticed by engine_job_end. */
	void (*stop)(struct engine_job *j);
	/* Forgets what is on disk for the sake of this job, which is over; what stays is tried
	 * again at the next start.  In a job of the pool. */
	enum err (*discard)(struct engine_job *j, struct error *e);
	void (*progress)(struct engine_job *j, struct buf *record);
	void (*free)(struct engine_job *j);
	void (*link_gone)(struct engine_job *j); /* may be NULL, as the next */
	void (*link_ready)(struct engine_job *j);
};
struct engine_job {
	struct engine *engine;
	const struct engine_job_kind *kind;
	struct job_row row;
	enum engine_want want;
	atomic_bool cancel;
	unsigned busy; /* things under way */
	bool waiting;  /* for the link, for room: step is called again when that may have changed */
	uint64_t started_ms, retry_at_ms;
	char share_name[STATEMENT_NAME_MAX + 1];
	ARRAY(struct engine_watcher *) watchers;
	unsigned skipped; /* notes that make the exit status 5 */
	bool is_resting;  /* until something new comes it uses nothing that may be collected */
	/* `weft limit JOB`, and the buckets that it fills; no limit: they are never empty */
	struct limit_setting limit;
	struct rate gates[THROTTLE_WAYS];
	bool over;
	/* over: how it ended, and what the watchers get when nothing of it is left to do */
	struct error why;
	struct buf answer;
};
/* the row is stored, then the first step */
void engine_job_add(struct engine *en, struct engine_job *j);
struct engine_job *engine_job_find(struct engine *en, int64_t id);
void engine_job_watch(struct engine_job *j, struct control_call *call, bool no_wait);
void engine_job_save(struct engine_job *j);
void engine_job_begin(struct engine_job *j); /* something is under way */
/* it has ended: the next step, or what was asked meanwhile */
void engine_job_end(struct engine_job *j);
void engine_job_next(struct engine_job *j);
/* Waits, with TEXT for whoever asks; step is called again when the link is ready, or after RETRY_MS
 * (0: only then). */
void engine_job_wait(struct engine_job *j, uint64_t retry_ms, const char *text);
/* The time after which what ended with R (ERR_AGAIN, ERR_OFFLINE) may go better; 0: when the link
 * is ready. */
uint64_t engine_job_retry_ms(const struct engine_job *j, enum err r);
/* The end of the job: ROW (may be empty) and the code go to the watchers, when nothing of it is
 * left on the disk. */
void engine_job_finish(struct engine_job *j, enum err r, const struct error *e, struct bytes row);
void engine_job_note(struct engine_job *j, const char *text); /* to all watchers */
/* the same, from a job; counts as skipped */
void engine_job_note_thread(struct engine_job *j, struct relpath path, const char *why);
void engine_job_no_wait(struct engine_job *j, struct bytes row); /* answers those who do not wait */
void engine_job_all_next(struct engine *en);                     /* the link is ready */
void engine_job_link_gone(struct engine *en);
void engine_job_tick(struct engine *en);
void engine_job_share_lost(struct engine *en, const struct hash_id *share, const char *why);
enum err engine_job_load(struct engine *en, struct error *e) must_check;
/* made when absent; -1 on failure */
int engine_job_dir(struct engine *en, int64_t id, struct error *e);
void engine_job_stop_all(struct engine *en);
/* Removes what J has on the disk, then J; it is over, and its row says how. */
void engine_job_discard(struct engine_job *j);
/* pause, resume, cancel */
void engine_job_control(
    struct engine *en, struct control_call *call, const struct control_request *r);

/* -- jobs that are over -- */
void engine_ended_add(struct engine *en, const struct job_row *row);
/* A row of an earlier run that is over; J (taken) is its job if a crash left something of it on the
 * disk, else NULL. */
void engine_ended_load(struct engine *en, const struct job_row *row, struct engine_job *j);
bool engine_ended_left_something(struct engine *en, const struct job_row *row);
void engine_ended_clear(struct engine *en);

/* The request as kept in the row: texts in a fixed order, then flags. */
void engine_job_spec_put(struct buf *spec, const char *text);
char *engine_job_spec_get(struct reader *r); /* gives; NULL marks R bad */
/* The share and the directory of any request; gives, "" where it cannot be read. */
void engine_job_spec_names(const struct job_row *row, char **ret_share, char **ret_path);

void engine_publish(struct engine *en, struct control_call *call, const struct control_request *r);
struct engine_job *engine_publish_load(struct engine *en, const struct job_row *row);
void engine_publish_progress(struct engine *en, const struct msg_progress *p);
/* PROGRESS, which may be of something that a get waits for. */
void engine_get_progress(struct engine *en, const struct msg_progress *p);
/* Somebody else may be asked for the nodes of a manifest now; P may not be any more, and is about
 * to be freed. */
void engine_get_peers(struct engine *en);
void engine_get_peer_gone(struct engine *en, struct peer *p);
void engine_get(struct engine *en, struct control_call *call, const struct control_request *r);
struct engine_job *engine_get_load(struct engine *en, const struct job_row *row);
void engine_peers(struct engine *en, struct control_call *call);
void engine_why(struct engine *en, struct control_call *call, const struct control_request *r);
void engine_verify(struct engine *en, struct control_call *call, const struct control_request *r);

void engine_limit(struct engine *en, struct control_call *call, const struct control_request *r);
enum err engine_limit_load(struct engine *en, struct error *e) must_check; /* blocking: at start */
void engine_limit_tick(struct engine *en);
void engine_limit_jobs_load(struct engine *en); /* blocking: at start, after the jobs */
void engine_limit_job_over(struct engine_job *j);
/* responder_policy.hold_ms */
uint64_t engine_limit_hold_ms(
    void *engine, struct peer *p, const struct responder_ask *ask, uint64_t bytes);

/* -- making way -- */
void engine_yield_set(struct engine *en, bool on);
void engine_yield_close(struct engine *en);

/* -- the site's line -- */
enum err engine_line_load(struct engine *en, struct error *e) must_check; /* blocking: at start */
void engine_line_tick(struct engine *en);
void engine_line_ready(struct engine *en); /* there is a connection to the server */
void engine_line_lease(struct engine *en, const struct msg_lease *m);

/* -- collection -- */
void engine_gc_tick(struct engine *en);
