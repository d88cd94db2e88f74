/*
 * state: what a node remembers between runs, in state.db: settings, statements, roots (directories
 * it publishes or receives into), their files, where on the disk each chunk lies, jobs.
 *
 * The index of files and places costs under 256 bytes a small file, on disk, and a few MiB of
 * memory whatever it holds. What it says about files is a hint: whoever reads a place checks the
 * file's stat and the bytes' hash.
 *
 * Threads    any (struct db locks).  Blocking  every call: run it in a job. Those who serve or look
 *            do not wait for those who write: what reads places, files, directories and nodes of
 *            shares sees what is committed, through a connection of its own, unless its thread has
 *            a transaction open.
 */
#pragma once

#include "base/array.h"
#include "chunk/chunk_id.h"
#include "crypto/statement.h"
#include "db/db.h"
#include "platform/fs.h"

struct state;

enum err state_open(const char *path, struct state **ret, struct error *e) must_check;
void state_close(struct state *s);
/* Groups many writes into one transaction (one per second of work is plenty). */
enum err state_begin(struct state *s, struct error *e) must_check;
enum err state_commit(struct state *s, struct error *e) must_check;
void state_rollback(struct state *s);

/* -- settings: "server.id", "server.addresses", "name", "site" ... -- */
/* ERR_NOTFOUND */
enum err state_get(struct state *s, const char *key, struct buf *ret, struct error *e) must_check;
/* len 0: delete */
enum err state_set(
    struct state *s, const char *key, struct bytes value, struct error *e) must_check;

/* -- statements: as received; the holder feeds them to its struct authority again at start -- */
enum err state_statement_put(
    struct state *s, struct bytes statement, const struct hash_id *id, struct error *e) must_check;
enum err state_statement_del(struct state *s, const struct hash_id *id, struct error *e) must_check;
enum err state_statements(struct state *s,
    enum err (*on_statement)(void *ctx, struct bytes b, struct error *e), void *ctx,
    struct error *e) must_check;

/* -- roots -- */
enum root_kind { ROOT_PUBLISH = 1, ROOT_GET = 2 };
struct root {
	int64_t id;
	enum root_kind kind;
	char *path; /* absolute */
	struct hash_id share;
	char share_name[STATEMENT_NAME_MAX + 1];
	char *subpath;           /* get --path, or "" */
	struct hash_id snapshot; /* last one published from or switched to here; none at first */
	struct hash_id content;  /* its content root (of the subpath for get) */
	int64_t time_ns;         /* of that */
};
void root_clear(struct root *r);
/* The root for (KIND, SHARE, PATH), made when absent; share_name and subpath become the ones given.
 * RET is overwritten without being cleared; root_clear. */
enum err state_root_get(struct state *s, enum root_kind kind, const struct hash_id *share,
    const char *share_name, const char *path, const char *subpath, struct root *ret,
    struct error *e) must_check;
enum err state_root_by_id(
    struct state *s, int64_t id, struct root *ret, struct error *e) must_check;
enum err state_root_update(struct state *s, const struct root *r, struct error *e) must_check;
/* with its files and places */
enum err state_root_del(struct state *s, int64_t id, struct error *e) must_check;
enum err state_roots(struct state *s,
    enum err (*on_root)(void *ctx, const struct root *r, struct error *e), void *ctx,
    struct error *e) must_check;

/* -- files of a root, by directory: the stat under which their content is known -- */
struct state_file {
	int64_t id;
	char name[RELPATH_NAME_MAX + 1];
	uint32_t name_len;
	uint64_t size, ino;
	int64_t mtime_ns, ctime_ns;
	uint64_t gen;     /* of the last walk that saw it */
	bool ours;        /* get: written by us */
	uint64_t content; /* scan: fingerprint of the content under this stat; 0 unknown */
};
/* The id of a directory's path in a root, made when absent. */
enum err state_dir_id(
    struct state *s, int64_t root, struct relpath dir, int64_t *ret, struct error *e) must_check;
/* The same without making it: ERR_NOTFOUND.  RET_INO (may be NULL): as state_dir_set_ino left
 * it. */
enum err state_dir_find(struct state *s, int64_t root, struct relpath dir, int64_t *ret,
    uint64_t *ret_ino, struct error *e) must_check;
enum err state_dir_set_ino(struct state *s, int64_t id, uint64_t ino, struct error *e) must_check;
/* With its files and places. */
enum err state_dir_del(struct state *s, int64_t id, struct error *e) must_check;
/* Every directory of a root, in no particular order. */
enum err state_dirs(struct state *s, int64_t root,
    enum err (*on_dir)(void *ctx, int64_t id, struct relpath path, uint64_t ino, struct error *e),
    void *ctx, struct error *e) must_check;
typedef ARRAY(struct state_file) state_file_array;
/* All files of a directory in name order, appended to RET. */
enum err state_files(
    struct state *s, int64_t dir, state_file_array *ret, struct error *e) must_check;
/* At most MAX of them, those behind NAME ("" for the first): for directories of any size. */
enum err state_files_after(struct state *s, int64_t dir, struct bytes name, size_t max,
    state_file_array *ret, struct error *e) must_check;
/* The file NAME of a directory; ERR_NOTFOUND. */
enum err state_file_find(struct state *s, int64_t dir, struct bytes name, struct state_file *ret,
    struct error *e) must_check;
/* Inserts or replaces by (dir, name); sets F->id.  Old places of that file are dropped. */
enum err state_file_put(
    struct state *s, int64_t dir, struct state_file *f, struct error *e) must_check;
/* The stat and content of F->id are these now; its places stay. */
enum err state_file_set(struct state *s, const struct state_file *f, struct error *e) must_check;
enum err state_file_del(struct state *s, int64_t id, struct error *e) must_check;
/* The same, if what is known about it is still F. */
enum err state_file_del_if(struct state *s, const struct state_file *f, struct error *e) must_check;
enum err state_file_touch(struct state *s, int64_t id, uint64_t gen, struct error *e) must_check;
/* Drops the files of ROOT not seen since generation GEN. */
enum err state_files_expire(
    struct state *s, int64_t root, uint64_t gen, struct error *e) must_check;
/* Path of a file in its root: appended to RET as text, and which root.  RET_FILE may be NULL.
 * ERR_NOTFOUND. */
enum err state_file_path(struct state *s, int64_t file, int64_t *ret_root, struct buf *ret,
    struct state_file *ret_file, struct error *e) must_check;

/* -- places: chunk -> file, offset -- */
enum err state_place_add(struct state *s, const struct hash_id *chunk, int64_t file,
    uint64_t offset, struct error *e) must_check;
struct state_place {
	int64_t file;
	uint64_t offset;
};
/* Candidates for CHUNK (the key is a prefix of the id: check the bytes); at most MAX.  SHARE: only
 * in roots of that one; NULL: anywhere. */
enum err state_places(struct state *s, const struct hash_id *share, const struct hash_id *chunk,
    struct state_place *ret, size_t max, size_t *ret_n, struct error *e) must_check;

/* -- nodes of shares: what may be asked for under which share; see source -- */
enum err state_share_node_add(struct state *s, const struct hash_id *share,
    const struct hash_id *node, struct error *e) must_check;
bool state_share_has_node(struct state *s, const struct hash_id *share, const struct hash_id *node);
/* Forgets all nodes of a share. */
enum err state_share_del(struct state *s, const struct hash_id *share, struct error *e) must_check;

/* -- members: others who took part in swarms of our shares, as they were last heard of -- */
enum { STATE_MEMBERS_MAX = 1024, STATE_MEMBER_ADDRESSES = 2560 };
struct state_member {
	struct device_id device;
	char name[STATEMENT_NAME_MAX + 1], site[STATEMENT_NAME_MAX + 1];
	char addresses[STATE_MEMBER_ADDRESSES]; /* one a line */
	int64_t seen_ns;
};
/* What is known of it becomes M; it takes part in SHARE, too.  The one that was heard of least
 * recently makes way. */
enum err state_member_put(struct state *s, const struct state_member *m,
    const struct hash_id *share, struct error *e) must_check;
enum err state_member_del(
    struct state *s, const struct device_id *device, struct error *e) must_check;
/* Once for each share of each member; who was heard of last comes last. */
enum err state_members(struct state *s,
    enum err (*on_member)(
	void *ctx, const struct state_member *m, const struct hash_id *share, struct error *e),
    void *ctx, struct error *e) must_check;

/* -- snapshots: what a server said about them, so that they are served and gone on with without it
 * -- */
struct state_snapshot {
	uint32_t unit_size;
	uint64_t number; /* 0: announced only */
};
enum err state_snapshot_put(struct state *s, const struct hash_id *snapshot,
    const struct state_snapshot *info, struct error *e) must_check;
/* ERR_NOTFOUND */
enum err state_snapshot_get(struct state *s, const struct hash_id *snapshot,
    struct state_snapshot *ret, struct error *e) must_check;
/* Forgets those that no root and no job stands for. */
enum err state_snapshot_prune(struct state *s, struct error *e) must_check;

/* -- jobs -- */
enum job_state {
	JOB_RUNNING = 1,
	JOB_PAUSED = 2,
	JOB_DONE = 3,
	JOB_FAILED = 4,
	JOB_CANCELED = 5,
	JOB_WAITING = 6
};
struct job_row {
	int64_t id;
	uint8_t kind; /* enum root_kind: a publish or a get */
	uint8_t state;
	int64_t root;
	struct hash_id share, snapshot;
	struct buf spec; /* the engine's own encoding of the request */
	int64_t created_ns, updated_ns;
	uint64_t bytes_done, bytes_total;
	char text[256]; /* last message */
};
enum { JOB_SPEC_MAX = 64 * 1024 };
void job_row_clear(struct job_row *r);
/* id 0: new, sets id */
enum err state_job_put(struct state *s, struct job_row *j, struct error *e) must_check;
enum err state_job_get(
    struct state *s, int64_t id, struct job_row *ret, struct error *e) must_check;
enum err state_job_del(struct state *s, int64_t id, struct error *e) must_check;
/* Forgets jobs that are done or have failed, but for the last KEEP. */
enum err state_job_prune(struct state *s, unsigned keep, struct error *e) must_check;
enum err state_jobs(struct state *s,
    enum err (*on_job)(void *ctx, const struct job_row *j, struct error *e), void *ctx,
    struct error *e) must_check;
