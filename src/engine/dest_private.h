/*
 * dest_private: what the files of dest share with each other, and nobody else includes.
 *
 *   dest.c          opening, resuming, closing, summary
 *   dest_merge.c    the previous and the wanted tree side by side
 *   dest_plan.c     what is to be done with each entry
 *   dest_content.c  a file on the disk against an entry
 *   dest_stage.c    staged files: local bytes, leaves from the network, flushing
 *   dest_switch.c   into place
 *   dest_record.c   what is there now, in state
 *   dest_verify.c   weft verify
 */
#pragma once

#include <pthread.h>

#include "base/array.h"
#include "engine/dest.h"
#include "platform/big_array.h"

enum {
	DEST_FILES = 0x46645701,  /* magic of each array of a plan */
	DEST_CHUNKS = 0x43645701,
	DEST_PATHS = 0x50645701,
	DEST_COPIES = 0x44645701,
	DEST_GONE = 0x47645701,
	DEST_STAGE_DIR = 4096,    /* staged files in one directory */
	DEST_OPEN_FILES = 16,     /* staged files kept open */
	DEST_TRASH_DAYS = 30,
};
#define DEST_META  ".weft"       /* ours in a destination; never published */
#define DEST_TRASH ".weft/trash"

enum dest_action {
	DEST_KEEP = 1,   /* as wanted already */
	DEST_SET,        /* content as wanted; mode or time to be set */
	DEST_MAKE,       /* not there */
	DEST_REPLACE,    /* there, ours, another content */
	DEST_DISPLACE,   /* there, the user's: to the trash first (--overwrite) */
	DEST_SKIP,       /* there, the user's: stays */
};

/* One entry of the snapshot, in manifest order. */
struct dest_file {
	uint64_t path;           /* offset in paths */
	uint32_t path_len;
	uint8_t type;            /* enum tree_type */
	uint8_t action;          /* enum dest_action */
	uint8_t adopted;         /* was there with the wanted content, not put there by us */
	uint8_t has_holes;
	uint32_t mode;
	uint32_t target_len;
	uint64_t target;         /* of a symlink: offset in paths */
	int64_t mtime_ns;
	uint64_t size;
	/* What stood there when it was planned: it is replaced only if it still does. */
	uint64_t old_size, old_ino;
	int64_t old_mtime_ns, old_ctime_ns;
};
/* One chunk of the map: where it is received to, if it is wanted here. */
struct dest_chunk {
	uint64_t offset;         /* in the staged file */
	uint32_t file;           /* its number; UINT32_MAX: not needed */
	uint16_t taken;          /* leaves written */
	uint16_t durable;        /* leaves flushed */
};
/* A further place of a chunk that is received elsewhere: copied when everything is here. */
struct dest_copy {
	uint64_t offset;
	uint32_t file, chunk;
};
/* An entry of the previous snapshot that the wanted one lacks. */
struct dest_gone {
	uint64_t path;
	uint32_t path_len;
	uint8_t type, pad[3];
	uint64_t old_size, old_ino;
	int64_t old_mtime_ns, old_ctime_ns;
};
struct dest_header { /* the file "plan": what the arrays belong to */
	uint8_t snapshot[HASH_ID_BYTES], root[HASH_ID_BYTES];
	uint8_t overwrite, complete;
	struct dest_summary summary;
};

struct dest_fd {
	uint32_t file;
	int fd;
	unsigned users;
	uint64_t used;
};

struct dest {
	struct dest_opts o;
	char *path, *subpath;
	int dir;                 /* DEST */
	int stage;               /* DEST/.weft/stage-JOB */
	struct hash_id tree;     /* of the directory whose entries land in DEST */
	char *only;              /* NULL, or the one entry of it that is wanted */
	struct big_array files, chunks, paths, copies, gone;
	struct dest_summary summary;
	bool is_planned;
	/* The rest may be touched by several jobs at once. */
	pthread_mutex_t lock;
	struct dest_fd open[DEST_OPEN_FILES];
	uint64_t clock;
	ARRAY(struct { uint32_t chunk; uint16_t leaves; }) fresh; /* taken since the last flush */
};

static inline struct dest_file *
dest_file(const struct dest *d, uint64_t i)
{
	return big_array_at(&d->files, i);
}
static inline struct dest_chunk *
dest_chunk(const struct dest *d, uint64_t i)
{
	return big_array_at(&d->chunks, i);
}
static inline struct relpath
dest_path(const struct dest *d, uint64_t at, uint32_t len)
{
	return (struct relpath){ (const char *)big_array_at(&d->paths, at), len };
}
static inline bool
dest_is_staged(const struct dest_file *f)
{
	return f->type == TREE_FILE && (f->action == DEST_MAKE || f->action == DEST_REPLACE || f->action == DEST_DISPLACE);
}
static inline bool
dest_canceled(const struct dest *d)
{
	return d->o.cancel != NULL && *d->o.cancel;
}

/* -- two trees side by side -- */
struct dest_merge;
struct dest_pair {
	struct relpath path;
	const struct tree_entry *old, *new; /* one of them may be NULL; borrowed until the next call */
};
/* OLD may be NULL: there was nothing.  ONLY (may be NULL): of NEW's root just this entry. */
struct dest_merge *dest_merge_new(struct node_source nodes, const struct hash_id *old, const struct hash_id *new,
    const char *only);
void dest_merge_free(struct dest_merge *m);
DEFINE_FREE_P(dest_merge)
enum err dest_merge_next(struct dest_merge *m, struct dest_pair *ret, struct error *e) must_check; /* ERR_NOTFOUND: end */

/* -- staging -- */
/* Borrows the descriptor of staged file I, made with its blocks when absent; dest_stage_release. */
enum err dest_stage_acquire(struct dest *d, uint32_t i, int *ret_fd, struct error *e) must_check;
void dest_stage_release(struct dest *d, uint32_t i, int fd);
void dest_stage_close_all(struct dest *d);
struct relpath dest_stage_name(uint32_t i, char out[static 16]);
enum err dest_stage_write(struct dest *d, uint32_t chunk, uint32_t leaf, struct bytes b, struct error *e) must_check;
bool dest_stage_chunk_done(const struct dest *d, uint32_t chunk);

/* -- contents -- */
/* Does the open file hold what EN wants?  ROOM is CHUNK_MAX bytes.  A file that shrinks meanwhile does not. */
enum err dest_content_is(struct node_source nodes, int fd, const struct tree_entry *en, uint8_t *room,
    const atomic_bool *cancel, bool *ret, struct error *e) must_check;

/* -- planning, recording -- */
enum err dest_plan_make(struct dest *d, struct error *e) must_check;
enum err dest_record(struct dest *d, struct error *e) must_check;
/* Is the disk's ST what is recorded as OLD_*? */
bool dest_is_old(const struct fs_stat *st, uint64_t size, uint64_t ino, int64_t mtime_ns, int64_t ctime_ns);
