/*
 * server_internal: what the files of the server share with each other, and nobody else includes.
 *
 *   server.c          opening, closing, listening, timers
 *   server_store.c    changes: stored in a job, then applied on the loop
 *   server_peer.c     one connected node: greeting, what becomes of its questions (server_peer_*.c:
 *                     how many there may be, what is pushed to them, wrong bytes)
 *   server_join.c     JOIN, LEAVE, and the end of a membership
 *   server_share.c    CREATE_SHARE and RESOLVE
 *   server_announce.c ANNOUNCE
 *   server_query.c    QUERY
 *   server_answer.c   what may be answered to GET_NODES and GET_UNITS
 *   server_policy.c   who may answer for a share's bytes
 *   server_recover.c  a new key for the authority
 *   server_commit.c   a lost commit, asked again
 *   server_intake.c an announced snapshot on its way to become the head (server_intake.h has its
 *   other files)
 *   server_sink.c     where its chunks go
 *   server_source.c   where chunks and nodes come from when members ask
 *   server_swarm.c    who takes part in the swarm of which snapshot, and hears of whom
 *   server_node.c     our own part in swarms
 *   server_site.c     labels of members: which, by whom, and whether they are believed
 *   server_site_api.c ... and what the administrator sees and says of them
 *   server_rescue.c   after damage of server.db
 *   server_line.c     lines of sites that have a limit, and who may use how much of them
 *   server_gc.c       space comes back; the store is checked
 *   server_api.c      commands of the administrator
 */
#pragma once

#include "base/log_limit.h"
#include "chunk/chunk_store.h"
#include "engine/download.h"
#include "engine/fetch_nodes.h"
#include "engine/responder.h"
#include "engine/swarm_node.h"
#include "control/limit_setting.h"
#include "server/registry.h"
#include "server/rules.h"
#include "server/server.h"
#include "server/tracker.h"

enum {
	SERVER_TICK_MS = 10 * 1000,
	SERVER_RENEW_MS = 3600 * 1000, /* grants of connected members are renewed this often */
	SERVER_REPORT_MS =
	    600 * 1000, /* between two looks at the store because a member reports wrong bytes */
	SERVER_GC_MS = 24 * 3600 * 1000,
	SERVER_GC_RETRY_MS = 3600 * 1000,
	SERVER_SUBNETS_MAX = 4096, /* looked through for each member that connects */
	SERVER_WITHDRAWN_MAX = 64, /* withdrawn snapshots of a share that are remembered */
	SERVER_INVITE_SECONDS = 24 * 3600,
	SERVER_NOSPACE_RETRY_MS = 10 * 1000,
	/* Somebody asks that others dial it: so many at once, then one each time.  As many as it is
	 * told of at first, and then as members come and go. */
	SERVER_DIALS = 2 * TRACKER_VIEW,
	SERVER_DIAL_MS = 500,
};

struct server_source;
struct intake;

struct server {
	struct loop *loop;
	struct home *home;
	struct tls_ctx *tls;
	struct throttle *throttle; /* NULL: no limit */
	void (*on_line)(void *ctx, const struct schedule_rates *share);
	void *on_line_ctx;
	struct server_lines *lines;
	char name[STATEMENT_NAME_MAX + 1];
	char *recovery_path;
	struct registry *registry;
	struct db *reader; /* the registry's rows, for the pool */
	struct chunk_store *store;
	int maps_dir;
	struct job_queue *changes; /* writers of the registry, one after the other */
	struct server_source *source;
	struct listener *listener;
	char advertise[LIMIT_ADDRESSES][LIMIT_ADDRESS_TEXT + 1];
	size_t n_advertise;
	struct timer *tick;
	uint64_t renewed_ms, gc_tried_ms; /* monotonic; 0: not yet */
	struct map links;                 /* link number -> struct link * */
	uint64_t next_link;
	size_t max_connections;      /* more are told so, and closed */
	ARRAY(struct link *) guests; /* the oldest first */
	struct tracker *tracker;
	ARRAY(struct {
		uint64_t link;
		uint32_t job;
	})
	entered;          /* in this turn */
	struct map nodes; /* snapshot -> struct server_node * */
	uint32_t last_job;
	struct task tell;         /* MEMBERS that are due now */
	struct timer *tell_later; /* ... and those that will be */
	struct log_limit refused_joins, reports;
	/* Monotonic: the last look at the store that a REPORT caused; 0 none. */
	uint64_t reported_ms;
	ARRAY(struct intake *) intakes;
	bool gc_due, gc_running;
	unsigned jobs; /* in flight; closing waits for them */
	bool closing;
	void (*on_closed)(void *ctx);
	void *on_closed_ctx;
};

/* -- one connected node -- */
struct link {
	struct server *server;
	uint64_t number;
	struct peer *peer;
	struct responder *responder;
	struct device_id device;
	bool member;
	ARRAY(int64_t) shares; /* shares it holds a grant of, to be renewed */
	struct buf addresses;  /* where others reach it: a list, as a row of members has it */
	uint32_t n_addresses;
	struct server_line *line; /* of its site, from which it leases; NULL: none */
	uint64_t dial_ms;         /* when its last DIAL will have been paid for */
};
void server_peer_accept(struct server *s, struct conn *c);
struct link *server_peer_link(struct server *s, uint64_t number); /* NULL when it has gone */
/* A member's connection, or NULL. */
struct link *server_peer_of(struct server *s, const struct device_id *device);
void server_peer_push(struct link *l, struct bytes statement);
void server_peer_push_all(struct server *s, struct bytes statement);
/* All revocations after the epoch AFTER; its membership, unless it has SHOWN that one. */
void server_peer_push_revokes(struct link *l, uint64_t after);
void server_peer_push_member(struct link *l, struct bytes shown);
/* -- room: ERR_AGAIN says that there is none -- */
enum err server_peer_check_room(const struct link *l, struct error *e) must_check;
void server_peer_guest(struct link *l);    /* it is one from now on; too many: the oldest goes */
void server_peer_no_guest(struct link *l); /* not, or not any more */
void server_peer_limit_device(
    struct link *l); /* its device has one more: too many, the oldest goes */
/* L says that somebody sent wrong bytes. */
void server_peer_report(struct link *l, const struct msg_report *m);
/* P sent wrong bytes for UNIT, again and again: it is named, counted and cut off. */
void server_peer_liar(struct server *s, struct peer *p, uint32_t unit);
void server_peer_drop(struct server *s, const struct device_id *device, const char *why);
/* How far SN is: to its author. */
void server_peer_progress(
    struct server *s, const struct registry_share *sh, const struct registry_snapshot *sn);
/* SN has another state, or can be resolved from now on: to its author, and to all who asked about
 * the share. */
void server_peer_progress_all(
    struct server *s, const struct registry_share *sh, const struct registry_snapshot *sn);
void server_peer_renew(struct server *s);
/* A GRANT of RIGHTS on SH for DEVICE, signed now, into OUT. */
enum err server_peer_grant(struct server *s, const struct registry_share *sh,
    const struct device_id *device, uint32_t rights, struct buf *out, struct error *e) must_check;

void server_peer_admit(struct link *l); /* it is a member from now on */
void server_peer_answer(struct link *l, const struct message *m);
void server_peer_answer_error(struct link *l, uint32_t stream, const struct error *e);
/* It holds a grant of SH: renewed while connected; told of what is announced, now and later. */
void server_peer_remember(struct link *l, const struct registry_share *sh);
/* Requests, one each. */
void server_join(struct link *l, const struct session_event *ev);
void server_join_leave(struct link *l, const struct session_event *ev);
/* Ends the membership of D, as the administrator wants: everybody hears of it, its connections are
 * cut; answers CALL. */
enum err server_join_end(struct server *s, const struct registry_device *d,
    struct control_call *call, struct error *e) must_check;
void server_share_create(struct link *l, const struct session_event *ev);
void server_share_resolve(struct link *l, const struct session_event *ev);
void server_announce(struct link *l, const struct session_event *ev);
/* What is said of SH's policy, or of those of all shares that L's device may read. */
void server_policy_push(struct link *l, const struct registry_share *sh);
void server_policy_push_all(struct link *l);
enum err server_policy_call(struct server *s, struct control_call *call,
    const struct control_request *r, struct error *e) must_check;
void server_query(struct link *l, const struct session_event *ev);
struct responder_policy server_answer_policy(struct link *l);

/* -- swarms -- */
void server_swarm_open(struct server *s);
void server_swarm_close(struct server *s);
void server_swarm_hello(struct link *l, const struct msg_hello *h); /* where it can be reached */
void server_swarm_push(struct link *l, const struct message *m);    /* also when it is closing */
void server_swarm_message(struct link *l, const struct message *m); /* ENTER, NEWS, EXIT, DIAL */
void server_swarm_link_gone(struct link *l);
/* The line of SITE carries RATES now: its gateways are as many as that takes. */
void server_swarm_line(struct server *s, const char *site, const struct schedule_rates *rates);
/* D's label has changed, or is believed, or no more. */
void server_swarm_place(struct server *s, const struct registry_device *d);
/* Rights or snapshots of SHARE (NULL: of any) may have ended: who may not take part any more has
 * left. */
void server_swarm_judge(struct server *s, const struct hash_id *share);

/* A connection of DEVICE that takes part; NULL: none. */
struct link *server_swarm_link(struct server *s, const struct device_id *device,
    const struct hash_id *share, const struct hash_id *snapshot);

/* -- sites -- */
/* Equal numbers: one site. */
uint64_t server_site_number(const struct registry_device *d);
uint64_t server_site_number_of(const char *label);
/* D's label as it is to be now. */
void server_site_label(const struct server *s, struct registry_device *d);
/* Who gave the label that D has. */
enum site_from server_site_from(const struct server *s, const struct registry_device *d);
const char *server_site_from_name(enum site_from from); /* NULL: nobody */
void server_site_arrived(struct link *l);  /* seen from another subnet it may be elsewhere */
void server_site_settle(struct server *s); /* labels of who is connected are as they should be */
void server_site_placed(struct link *l, const struct msg_placed *m);
/* SITE is the administrator's word; "": that is taken back.  Answers CALL. */
enum err server_site_move(struct server *s, const struct registry_device *d, const char *site,
    struct control_call *call, struct error *e) must_check;
void server_site_map(
    struct server *s, const struct registry_subnet *net, struct control_call *call);
enum err server_site_call(struct server *s, struct control_call *call,
    const struct control_request *r, struct error *e) must_check;

/* -- lines -- */
/* What the line of SITE may carry now; false: it has no limit that we know of. */
bool server_line_rates(struct server *s, const char *site, struct schedule_rates *ret);
enum err server_line_open(struct server *s, struct error *e) must_check; /* blocking: at start */
void server_line_close(struct server *s);
void server_line_admit(struct link *l);
void server_line_gone(struct link *l, bool in_peace);
void server_line_demand(struct link *l, const struct msg_demand *m);
enum err server_line_call(struct server *s, struct control_call *call,
    const struct control_request *r, struct error *e) must_check;

/* -- our own part in swarms -- */
struct server_node;
/* The swarm of an announced snapshot, to take it from: of MAP, which is taken.  It lasts until
 * server_node_end or, once all was taken (server_node_received), as that of a kept one. */
struct swarm_node *server_node_receive(struct server *s, const struct hash_id *share,
    const struct hash_id *snapshot, struct snapshot_map *map);
void server_node_received(struct server *s, const struct hash_id *snapshot);
/* ON_CLOSED, from the loop: its sink is used no more. */
void server_node_end(
    struct server *s, const struct hash_id *snapshot, void (*on_closed)(void *ctx), void *ctx);
void server_node_enter(struct server *s, const struct tracker_entry *x);
void server_node_place(struct server *s, const struct tracker_entry *x); /* it is elsewhere now */
void server_node_moved(struct server *s);                                /* we are */
void server_node_leave(struct link *l, const struct hash_id *snapshot);
void server_node_link_gone(struct link *l);
/* NEWS, OFFER, DECLINE */
enum err server_node_message(struct link *l, const struct hash_id *snapshot,
    const struct message *m, struct error *e) must_check;
/* The one of SHARE that receives, else any; NULL: none is open. */
const struct swarm_node *server_node_of(struct server *s, const struct hash_id *share,
    struct hash_id *ret_snapshot, bool *ret_receives);
void server_node_judge(struct server *s); /* closes those whose snapshot is given no more */
void server_node_tick(struct server *s);
void server_node_close_all(struct server *s);
bool server_node_holds(struct server *s, const struct hash_id *snapshot, uint32_t unit);
/* A unit that neither we nor anybody connected holds or awaits; false: none, or AUTHOR takes no
 * part. */
bool server_node_nowhere(
    const struct link *author, const struct hash_id *snapshot, uint32_t *ret_unit);
/* As the responder says it. */
void server_node_wanted(struct link *l, const struct hash_id *snapshot, uint32_t unit);
void server_node_answered(struct link *l, const struct hash_id *snapshot, uint32_t unit,
    const struct responder_sent *sent);
void server_node_blocked(struct link *l, bool blocked);
void server_node_lost(struct server *s, const struct hash_id *snapshot, uint32_t unit);
void server_node_restart(struct server *s, const struct hash_id *snapshot); /* it is whole again */

/* -- changes -- */
struct change {
	/* In a job, within one transaction. */
	enum err (*store)(struct change *c, struct server *s, struct error *e);
	/* On the loop, after the commit or the failure; frees C. */
	void (*apply)(struct change *c, struct server *s, enum err r, const struct error *e);
	struct server *server;
};
void server_change(struct server *s, struct change *c);
/* WORK in the pool, DONE on the loop; the server does not close before DONE. */
struct server_job {
	enum err (*work)(struct server_job *j, struct server *s, struct error *e);
	void (*done)(struct server_job *j, struct server *s, enum err r,
	    const struct error *e); /* frees J */
	struct server *server;
};
void server_job(struct server *s, struct server_job *j);
/* Appends a signed statement's bytes to OUT and takes it in at once in memory; the caller stores
 * it. */
enum err server_sign(
    struct server *s, struct statement *st, struct buf *out, struct error *e) must_check;
int64_t server_now_s(void);
int64_t server_now_ms(void);
void server_closed_part(struct server *s); /* something that closing waits for has ended */

/* -- intake -- */
/* Starts or goes on with taking in SN from its author, if connected. */
void server_intake(struct server *s, struct registry_share *sh, struct registry_snapshot *sn);
void server_intake_start_all(struct server *s); /* what does not need its author for now */
void server_intake_link(struct server *s, struct link *l); /* a member has come */
void server_intake_link_gone(struct server *s, struct link *l);
void server_intake_withdraw(struct server *s, const struct hash_id *snapshot, const char *why);
void server_intake_judge(
    struct server *s); /* rights were taken away: withdraws what they carried */
bool server_intake_has_manifest(
    struct server *s, const struct hash_id *snapshot); /* it is under way, and whole */
bool server_intake_is_final(struct server *s,
    const struct hash_id *snapshot); /* its HEAD statement is on its way to the disk */
/* Those under way begin anew, which they may not before the collection that is due has run. True
 * when none is in its way. */
bool server_intake_stand_back(struct server *s);
void server_intake_close_all(struct server *s);
/* Fetches again what of a kept snapshot the store lost, from its author. False when that is under
 * way already. */
bool server_intake_repair(
    struct server *s, struct registry_share *sh, struct registry_snapshot *sn);
void server_intake_resume(struct server *s); /* after a collection */
/* What the store had of a kept snapshot cannot be read: it is repaired. */
void server_intake_damaged(struct server *s, const struct hash_id *share,
    const struct hash_id *snapshot, const struct error *why);

/* Asks AUTHOR for the commit SNAPSHOT, and keeps it. ON_DONE once, from the loop, unless this
 * fails; ERR_OFFLINE: AUTHOR went. */
enum err server_commit_fetch(struct server *s, struct link *author, const struct hash_id *share,
    const struct hash_id *snapshot, void (*on_done)(void *ctx, enum err r, const struct error *e),
    void *ctx, struct error *e) must_check;

/* -- sink -- */
struct server_sink;
/* Blocking: looks up which chunks of MAP the store holds and the readers of SHARES may use. */
enum err server_sink_open(struct server *s, int64_t share, const int64_t *shares, size_t n_shares,
    struct snapshot_map *map, struct server_sink **ret, struct error *e) must_check;
/* It is opened with one reference; members may still read from it when its intake has ended. */
void server_sink_ref(struct server_sink *k);
void server_sink_unref(struct server_sink *k); /* NULL is fine */
struct sink server_sink_ops(struct server_sink *k);
/* Blocking: leaves that are here, also of chunks that are not whole yet.  As source.get_leaves. */
enum err server_sink_get_leaves(struct server_sink *k, const struct source_leaves *which,
    uint8_t *to, uint32_t *ret_len, struct leaf_list *ret_leaves, struct error *e) must_check;
uint64_t server_sink_held(struct server_sink *k); /* bytes */

/* -- source -- */
struct server_source *server_source_new(struct server *s);
void server_source_free(struct server_source *x);
const struct source *server_source_ops(struct server_source *x);
/* Leaves of SNAPSHOT come from K, too, until it is removed. */
void server_source_add_sink(
    struct server_source *x, const struct hash_id *snapshot, struct server_sink *k);
void server_source_remove_sink(struct server_source *x, struct server_sink *k);
struct node_source server_source_nodes(
    struct server *s); /* of the store, unrestricted: for our own walks */

/* After damage: which objects belong to which share, from the manifests. Blocking: only while
 * starting. */
enum err server_rescue(struct server *s, struct error *e) must_check;

/* -- collection and checking -- */
void server_gc_want(struct server *s); /* as soon as it can be */
void server_gc_try(struct server *s);  /* what it waited for may be over */
bool server_gc_is_late(
    const struct server *s); /* the last one was long ago, and none was tried just now */
/* Forgets withdrawn snapshots of SH when they are many. */
void server_gc_forget(struct server *s, struct registry_share *sh);
/* Reads every byte of SH's kept snapshots; each damaged file is told to CALL, then repaired where
 * its author is connected. */
void server_gc_verify(struct server *s, struct registry_share *sh, struct control_call *call);
