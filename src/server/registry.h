/*
 * registry: what the server knows: devices, invites, shares, who may do what, snapshots,
 * statements.
 *
 * The whole directory (not the content) is in memory: about 300 bytes a device, 200 an access
 * entry, 300 a snapshot; the loop reads it without waiting. A change is decided on the loop,
 * written in a job on the registry's queue, and takes effect in memory when it is durable:
 * registry_apply. What must not be used twice meanwhile (an invite) is reserved in memory first.
 *
 * Access is kept as entries (share, device or all, rights). GRANT statements are made from them
 * when a device asks and live STATEMENT_GRANT_SECONDS, so taking an entry away ends access for good
 * at that time at the latest, and at once through the REVOKE statement that goes with it.
 *
 * Threads  the loop's, except the registry_store_* functions, which run in jobs.
 */
#pragma once

#include "base/array.h"
#include "base/map.h"
#include "crypto/authority.h"
#include "db/db.h"
#include "manifest/commit.h"
#include "proto/invite.h"
#include "proto/message.h"
#include "server/subnet.h"

struct registry_placed { /* PLACED, as a device said last of its site */
	bool alone;      /* it does not believe that it is there */
	uint32_t rtt_us;
	uint8_t mates, near;
};
struct registry_device {
	struct device_id id;
	char name[STATEMENT_NAME_MAX + 1];
	/* Its label: the administrator's, else that of its subnet, else its own word when it joined
	 * (server_site.c). */
	char site[STATEMENT_NAME_MAX + 1];
	char assigned[STATEMENT_NAME_MAX + 1], said[STATEMENT_NAME_MAX + 1];
	char address[LIMIT_ADDRESS_TEXT + 1], software[64];
	int64_t joined_ms, seen_ms;
	bool ended;           /* left or was removed */
	unsigned connections; /* now; not stored, as the next */
	uint32_t reported;    /* how often its bytes were wrong */
	struct registry_placed placed;
};
/* The administrator's word of who is where: of several that fit the longest prefix counts. */
struct registry_subnet {
	struct subnet net;
	char site[STATEMENT_NAME_MAX + 1];
};
struct registry_snapshot {
	struct hash_id id, content, head_statement;
	uint64_t number; /* of its HEAD statement; 0 while announced */
	enum snapshot_state state;
	uint64_t entries, bytes, chunks, chunk_bytes, held_bytes;
	int64_t announced_ms, head_ms;
	uint32_t unit_size;
	struct device_id author;
	char label[COMMIT_LABEL_MAX + 1];
	char why[LIMIT_TEXT + 1]; /* withdrawn: the reason */
};
struct registry_access {
	struct device_id device;
	bool all; /* every member; device is zero */
	uint32_t rights;
};
struct registry_share {
	int64_t num;                  /* row number, names the share in big tables */
	struct hash_id id, policy_id; /* policy_id: id of its SHARE statement */
	char name[STATEMENT_NAME_MAX + 1];
	struct buf statement; /* SHARE */
	ARRAY(struct registry_access) access;
	struct map access_of;                        /* device_id -> place in access */
	ARRAY(struct registry_snapshot *) snapshots; /* by announcement */
	struct registry_snapshot *head;
	struct buf head_statement;
	/* snapshots removed since its rows of nodes and chunks were last fitted to those kept */
	int64_t stale;
};
struct registry_invite {
	uint8_t id[INVITE_ID_BYTES], secret[INVITE_SECRET_BYTES];
	char site[STATEMENT_NAME_MAX + 1], group[STATEMENT_NAME_MAX + 1];
	uint64_t uses; /* left */
	int64_t expires_s;
	ARRAY(struct {
		int64_t share;
		uint32_t rights;
	})
	grants;
};

struct registry {
	struct db *db;
	struct authority *authority;
	struct map devices; /* device_id -> struct registry_device * */
	struct map shares;  /* hash_id -> struct registry_share * */
	struct map names;   /* name -> struct registry_share * */
	ARRAY(struct registry_subnet) subnets;
	struct map invites;   /* invite id -> struct registry_invite * */
	int64_t collected_ms; /* wall clock: the last collection; 0: one is due */
	/* From damage, in this start or one that ended too early: what belongs to which share is to
	 * be said again. */
	bool rescued;
};

/* Opens server.db at PATH and loads it. FIRST: it was made just now. AUTHORITY is the key that we
 * hold: ERR_DENIED when it is not (any more) the authority's; NULL: none, so there must be one.
 * Blocking: only while starting. */
enum err registry_open(const char *path, const struct device_id *authority, struct registry **ret,
    bool *ret_first, struct error *e) must_check;
void registry_close(struct registry *r);

/* -- looking (loop) -- */
struct registry_device *registry_device(
    const struct registry *r, const struct device_id *id); /* NULL, also if ended */
struct registry_device *registry_device_known(
    const struct registry *r, const struct device_id *id); /* also one that ended */
/* By full id, a prefix of at least 7 characters, or a name; ERR_NOTFOUND, ERR_CONFLICT when several
 * fit. */
enum err registry_find_device(const struct registry *r, const char *text,
    struct registry_device **ret, struct error *e) must_check;
/* The site of ADDRESS, "host:port", by the subnets; NULL: none fits. */
const char *registry_site_of(const struct registry *r, const char *address);
struct registry_share *registry_share(const struct registry *r, const struct hash_id *id);
struct registry_share *registry_share_named(const struct registry *r, struct bytes name);
struct registry_share *registry_share_num(const struct registry *r, int64_t num);
struct registry_snapshot *registry_snapshot(
    const struct registry_share *s, const struct hash_id *id);
/* The entry of DEVICE, everybody's for NULL; NULL when there is none. */
const struct registry_access *registry_access(
    const struct registry_share *s, const struct device_id *device);
/* "" (the head; while there is none the newest that is announced), a number, an id or a prefix of
 * it, a label (the newest with it). ERR_NOTFOUND names the selector. */
enum err registry_select(const struct registry_share *s, struct bytes selector,
    struct registry_snapshot **ret, struct error *e) must_check;
uint64_t registry_readers(
    const struct registry *r, const struct registry_share *s); /* devices that may read it */

/* -- changing memory (loop), after the row is stored -- */
struct registry_device *registry_add_device(struct registry *r, const struct registry_device *d);
struct registry_share *registry_add_share(
    struct registry *r, int64_t num, struct bytes statement, const struct statement *st);
void registry_drop_share(struct registry *r, struct registry_share *s);
struct registry_snapshot *registry_add_snapshot(
    struct registry_share *s, const struct registry_snapshot *sn);
void registry_drop_snapshot(struct registry_share *s, struct registry_snapshot *sn);
void registry_set_access(
    struct registry_share *s, const struct registry_access *a); /* rights 0: removes */
void registry_end_access(
    struct registry *r, const struct device_id *device); /* of that device, to all shares */
struct registry_invite *registry_add_invite(
    struct registry *r, const struct registry_invite *in); /* takes grants */
/* NET's site; "": it has none any more. */
void registry_set_subnet(struct registry *r, const struct registry_subnet *net);
void registry_drop_invite(struct registry *r, const uint8_t id[static INVITE_ID_BYTES]);

/* -- storing (jobs). Each is one transaction unless the caller is inside db_begin. What is to be
 * stored of a share that has been dropped meanwhile is not, which is OK -- */
enum err registry_store_statement(
    struct db *db, struct bytes b, const struct statement *st, struct error *e) must_check;
enum err registry_store_statement_get(
    struct db *db, const struct hash_id *id, struct buf *ret, struct error *e) must_check;
/* After a recovery: deletes what the new key signs again.  And all that device FROM had is TO's. */
enum err registry_store_statements_void(struct db *db, struct error *e) must_check;
enum err registry_store_device_moves(struct db *db, const struct device_id *from,
    const struct device_id *to, struct error *e) must_check;
enum err registry_store_device(
    struct db *db, const struct registry_device *d, struct error *e) must_check;
enum err registry_store_subnet(
    struct db *db, const struct registry_subnet *net, struct error *e) must_check;
/* A MEMBER statement that another has taken the place of. */
enum err registry_store_statement_drop(
    struct db *db, const struct hash_id *id, struct error *e) must_check;
enum err registry_store_invite(struct db *db, const struct registry_invite *in,
    struct error *e) must_check; /* uses 0: deletes */
enum err registry_store_share(struct db *db, const struct hash_id *id, const char *name,
    struct bytes statement, int64_t *ret_num, struct error *e) must_check;
/* With all that belongs to it; POLICY is the id of its SHARE statement. */
enum err registry_store_share_drop(
    struct db *db, int64_t num, const struct hash_id *policy, struct error *e) must_check;
/* The newest POLICY statement about it. */
enum err registry_store_policy(
    struct db *db, int64_t share, struct bytes statement, struct error *e) must_check;
/* The limit of a site's line; empty: there is none. */
enum err registry_store_line(
    struct db *db, const char *site, struct bytes setting, struct error *e) must_check;
/* All of them. */
enum err registry_lines(struct registry *r,
    enum err (*on_line)(void *ctx, const char *site, struct bytes setting, struct error *e),
    void *ctx, struct error *e) must_check;
enum err registry_store_access(
    struct db *db, int64_t share, const struct registry_access *a, struct error *e) must_check;
enum err registry_store_access_end(
    struct db *db, const struct device_id *device, struct error *e) must_check;
enum err registry_store_snapshot(
    struct db *db, int64_t share, const struct registry_snapshot *sn, struct error *e) must_check;
/* What has become of a stored one: number, state, head statement and time, why. Dropped meanwhile
 * it stays so. */
enum err registry_store_snapshot_set(
    struct db *db, const struct registry_snapshot *sn, struct error *e) must_check;
enum err registry_store_snapshot_drop(
    struct db *db, const struct hash_id *id, struct error *e) must_check;

/* What of the store belongs to which share: the right to its bytes. */
enum err registry_store_share_node(
    struct db *db, int64_t share, const struct hash_id *node, struct error *e) must_check;
enum err registry_store_share_chunk(
    struct db *db, int64_t share, const struct hash_id *chunk, struct error *e) must_check;
bool registry_share_has_node(struct db *db, int64_t share, const struct hash_id *node);
bool registry_share_has_chunk(struct db *db, int64_t share, const struct hash_id *chunk);
/* The same by share id, for the pool, which may not look at the registry's memory. */
bool registry_share_holds_node(
    struct db *db, const struct hash_id *share, const struct hash_id *node);
enum err registry_share_content(struct db *db, const struct hash_id *share,
    const struct hash_id *snapshot, struct hash_id *ret_content, uint32_t *ret_unit_size,
    struct error *e) must_check;
/* Is NODE or CHUNK in any of SHARES (N row numbers)? */
bool registry_any_has_node(
    struct db *db, const int64_t *shares, size_t n, const struct hash_id *node);
bool registry_any_has_chunk(
    struct db *db, const int64_t *shares, size_t n, const struct hash_id *chunk);
/* A snapshot of SHARE is removed: its rows no longer fit. */
enum err registry_store_share_stale(struct db *db, int64_t share, struct error *e) must_check;
/* Fits the rows of one share to what it keeps: begin, keep each node and chunk that stays, then
 * fit, which deletes all others and counts off STALE. Until then every row stays: a right may
 * outlast its snapshot, and none is missing in between. */
enum err registry_store_fit_begin(struct db *db, struct error *e) must_check;
enum err registry_store_fit_keep(
    struct db *db, const struct hash_id *id, struct error *e) must_check;
enum err registry_store_fit(
    struct db *db, int64_t share, int64_t stale, struct error *e) must_check;
/* What belongs to which share is still to be said again, or has been. */
enum err registry_store_rescued(struct db *db, bool rescued, struct error *e) must_check;
enum err registry_store_collected(struct db *db, int64_t wall_ms, struct error *e) must_check;
