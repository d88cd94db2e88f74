/*
 * dest_private: what the files of dest share with each other, and nobody else includes.
 *
 *   dest.c          opening, resuming, closing, summary
 *   dest_store.c    the plan on disk
 *   dest_carry.c    what an earlier plan has staged already
 *   dest_merge.c    the previous and the wanted tree side by side
 *   dest_plan.c     what is to be done with each entry; with dest_level.c, where the plan is, and
 *                   dest_judge.c, whose is what stands there
 *   dest_content.c  a file on the disk against an entry
 *   dest_stage.c    staged files
 *   dest_take.c     leaves from the network, flushing
 *   dest_local.c    bytes from this machine
 *   dest_serve.c    bytes for others, out of what was taken
 *   dest_finish.c   the staged files made whole
 *   dest_switch.c   into place: the steps
 *   dest_cursor.c   the directory that is being placed into
 *   dest_clear.c    what is no longer wanted goes
 *   dest_remove.c   without losing what comes in the last moment
 *   dest_place.c    what is wanted goes into place; with dest_trash.c, what has to give way
 *   dest_dress.c    modes and times of directories
 *   dest_record.c   what is there now, in state
 *   dest_verify.c   weft verify
 */
#pragma once

#include <pthread.h>

#include "base/array.h"
#include "engine/dest.h"
#include "platform/big_array.h"

enum {
	DEST_STAGE_DIR = 4096, /* staged files in one directory */
	DEST_OPEN_FILES = 16,  /* staged files kept open */
	DEST_TRASH_DAYS = 30,
	DEST_TRIM = 8192, /* entries between two trims of the plan's memory */
	/* of a staged file: a number stands in for its first name */
	DEST_PATH_MAX = RELPATH_MAX + 16,
};
#define DEST_META  ".weft" /* ours in a destination; never published */
#define DEST_TRASH ".weft/trash"
#define DEST_NONE  UINT32_MAX

enum dest_action {
	DEST_KEEP = 1, /* as wanted already */
	DEST_SET,      /* content as wanted; mode or time to be set */
	DEST_MAKE,     /* not there */
	DEST_REPLACE,  /* there, ours, another content */
	DEST_DISPLACE, /* there, the user's: to the trash first (--overwrite) */
	DEST_SKIP,     /* there, the user's: stays */
};

/* Why an entry is not as the snapshot wants it. */
enum dest_why {
	DEST_WHY_NONE,
	DEST_WHY_CHANGED,
	DEST_WHY_FILE,
	DEST_WHY_DIR,
	DEST_WHY_SYMLINK,
	DEST_WHY_OTHER,
	DEST_WHY_GONE,
	DEST_WHY_LATE,
	DEST_WHY_LOST,
	DEST_WHY_CANNOT, /* the rest is told by the system */
};

/* A file as the disk has it: while all of these are the same, it is the same file, unchanged. */
struct dest_stat {
	uint64_t size, ino;
	int64_t mtime_ns, ctime_ns;
};

/* One entry of the snapshot, in manifest order. */
struct dest_file {
	uint64_t path;   /* offset in paths */
	uint64_t target; /* of a symlink: offset in paths */
	uint64_t size;
	int64_t mtime_ns;
	uint32_t path_len, target_len;
	uint32_t mode;
	uint32_t dir;    /* number of the directory it is in; DEST_NONE: DEST itself */
	uint32_t top;    /* number of the outermost new directory that it is in, or is: they are
				    staged as they will be and moved as one; DEST_NONE */
	uint32_t end;    /* number behind it and all that is beneath it */
	uint8_t type;    /* enum tree_type */
	uint8_t action;  /* enum dest_action */
	uint8_t why;     /* SKIP: enum dest_why; NONE beneath something that stays */
	uint8_t adopted; /* was there with the wanted content, not put there by us */
	uint8_t has_holes;
	uint8_t is_small;     /* one chunk of one leaf: written in one go */
	uint8_t is_made;      /* staged, perhaps not whole */
	uint8_t is_done;      /* in place, or (a directory) written into */
	struct dest_stat was; /* what the plan saw there: it is replaced only if it is still that */
	struct dest_stat is;  /* what we made: staged, then in place */
};
/* One chunk of the map: where it is received to, if it is wanted here. */
struct dest_chunk {
	uint64_t offset;  /* in the staged file */
	uint32_t file;    /* its number; DEST_NONE: not needed */
	uint32_t list;    /* where its leaf list is in lists; DEST_NONE: it has none */
	uint16_t taken;   /* leaves written */
	uint16_t durable; /* leaves flushed */
	uint8_t has_list; /* the list is there; before the first leaf is taken */
	uint8_t is_kept;  /* in a file of ours that stays as it is */
	uint8_t pad[2];
};
/* A further place of a chunk that is received elsewhere: copied when everything is here. */
struct dest_copy {
	uint64_t offset;
	uint32_t file, chunk;
};
/* An entry of the previous snapshot that the wanted one lacks, and that is ours. */
struct dest_gone {
	uint64_t path;
	int64_t row; /* of the file or directory in state; 0 none */
	uint32_t path_len;
	uint32_t dir; /* of the innermost directory above it that stays, as in dest_file */
	uint32_t mode;
	uint8_t type;  /* of what stands there */
	uint8_t stays; /* the user has changed it: only its row goes */
	uint8_t pad[2];
	struct dest_stat was;
};

struct dest_arrays {
	struct big_array files, chunks, paths, copies, gone;
	struct big_array
	    lists; /* of chunks of several leaves: the hashes of those, 32 bytes each */
};

enum dest_phase { DEST_PLANNED = 1, DEST_PLACING };
struct dest_header { /* the file "plan": what the arrays belong to */
	uint64_t layout;
	uint8_t snapshot[HASH_ID_BYTES], tree[HASH_ID_BYTES];
	uint8_t only[HASH_BYTES]; /* of its name */
	uint8_t overwrite;
	uint8_t mark[16]; /* as in the stage: it is the one that the plan was made with */
	/* up to here they must agree with ours */
	uint8_t phase, generation;
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
	int dir;   /* DEST */
	int stage; /* DEST/.weft/stage-JOB */
	uint8_t mark[16];
	struct hash_id tree; /* of the directory whose entries land in DEST */
	char *only;          /* NULL, or the one entry of it that is wanted */
	struct dest_arrays plan;
	uint8_t phase, generation;
	bool again; /* placing was begun before: some of it has been done */
	struct dest_summary summary;
	/* The rest may be touched by several jobs at once. */
	pthread_mutex_t lock;
	struct dest_fd open[DEST_OPEN_FILES];
	uint64_t clock;
	ARRAY(struct {
		uint32_t chunk;
		uint16_t leaves;
	})
	fresh; /* taken since the last flush */
};

static inline struct dest_file *
dest_file(const struct dest *d, uint64_t i)
{
	return big_array_at(&d->plan.files, i);
}
static inline struct dest_chunk *
dest_chunk(const struct dest *d, uint64_t i)
{
	return big_array_at(&d->plan.chunks, i);
}
static inline struct relpath
dest_path(const struct dest *d, uint64_t at, uint32_t len)
{
	return (struct relpath){ big_array_at(&d->plan.paths, at), len };
}
static inline struct relpath
dest_file_path(const struct dest *d, const struct dest_file *f)
{
	return dest_path(d, f->path, f->path_len);
}
/* The last name of P. */
static inline struct relpath
dest_name_of(struct relpath p)
{
	const char *slash = memrchr(p.text, '/', p.len);
	size_t n = slash != NULL ? (size_t)(slash + 1 - p.text) : 0;

	return (struct relpath){ p.text + n, p.len - n };
}
/* It is not there, or not as wanted: it is staged and put there. */
static inline bool
dest_is_new(const struct dest_file *f)
{
	return f->action == DEST_MAKE || f->action == DEST_REPLACE || f->action == DEST_DISPLACE;
}
static inline bool
dest_is_canceled(const struct dest *d)
{
	return d->o.cancel != NULL && *d->o.cancel;
}
static inline struct dest_stat
dest_stat_of(const struct fs_stat *st)
{
	return (struct dest_stat){ st->size, st->ino, st->mtime_ns, st->ctime_ns };
}
static inline bool
dest_stat_equal(const struct dest_stat *a, const struct fs_stat *b)
{
	return a->size == b->size && a->ino == b->ino && a->mtime_ns == b->mtime_ns &&
	       a->ctime_ns == b->ctime_ns;
}
/* The same file under a new name, which changes its ctime. */
static inline bool
dest_stat_moved(const struct dest_stat *a, const struct fs_stat *b)
{
	return a->ino != 0 && a->size == b->size && a->ino == b->ino && a->mtime_ns == b->mtime_ns;
}
/* WHY is passed on: its code, for E (may be NULL). */
static inline enum err
dest_fail(struct error *e, const struct error *why)
{
	if (e != NULL)
		*e = *why;
	return why->code;
}
/* Gives memory back after entry I of a long walk: every one calls it, or what is resident grows
 * with the share. */
void dest_trim(struct dest *d, uint64_t i);
void dest_store_trim(struct dest_arrays *a);
/* Tells why PATH is not as the snapshot wants it; DETAIL may be NULL. */
void dest_note(struct dest *d, struct relpath path, enum dest_why why, const char *detail);
/* Tells again what the plan left alone, after a restart. */
void dest_note_skipped(struct dest *d);

/* -- the plan on disk -- */
/* Empty arrays of the next generation. */
enum err dest_store_create(struct dest *d, struct error *e) must_check;
/* The plan as it is now survives a crash. */
enum err dest_store_write(struct dest *d, enum dest_phase phase, struct error *e) must_check;
/* The plan of an earlier run, if it is of the same snapshot, whole, and its stage is there. */
bool dest_store_read(struct dest *d, struct dest_header *ret, struct dest_arrays *ret_arrays);
void dest_store_close(struct dest_arrays *a);
/* The plan is no more; the arrays stay open. */
enum err dest_store_forget(int job_dir, struct error *e) must_check;
void dest_store_remove(int job_dir, int generation); /* its arrays; -1: all */
enum err dest_carry(
    struct dest *d, struct dest_arrays *old, bool *ret_any, struct error *e) must_check;

/* -- two trees side by side -- */
struct dest_merge;
struct dest_pair {
	struct relpath path;
	const struct tree_entry *old, *new; /* one may be NULL; borrowed until the next call */
};
/* OLD may be NULL: there was nothing.  ONLY (may be NULL): of both roots just this entry.  An old
 * tree that cannot be read counts as nothing from there on. */
struct dest_merge *dest_merge_new(struct node_source nodes, const struct hash_id *old,
    const struct hash_id *new, const char *only);
void dest_merge_free(struct dest_merge *m);
DEFINE_FREE_P(dest_merge)
/* ERR_NOTFOUND: end */
enum err dest_merge_next(struct dest_merge *m, struct dest_pair *ret, struct error *e) must_check;

/* -- planning -- */
struct dest_level { /* a directory on the way down */
	size_t path_len;
	uint32_t number;        /* as dest_file.dir of what is in it; of one that is gone: of the
				    innermost above it that stays */
	uint32_t top;           /* as dest_file.top of what is in it */
	bool blocked;           /* something of the user's stands there and stays */
	bool is_gone;           /* only the previous snapshot has it */
	int fd;                 /* -1: not on the disk */
	uint32_t mode;          /* to be restored; DEST_NONE: it was not touched */
	int64_t state_dir;      /* 0: we have written nothing into it */
	state_file_array known; /* some of what we wrote, in name order */
	size_t at;              /* in known */
};
struct dest_planner {
	struct dest *d;
	ARRAY(struct dest_level) levels;
	struct buf dir;      /* path of the innermost */
	uint8_t *room;       /* CHUNK_MAX, for comparing contents */
	uint32_t next_chunk; /* most likely the next one of the map */
};
static inline struct dest_level *
dest_level_top(struct dest_planner *p)
{
	return &p->levels.at[p->levels.len - 1];
}
/* Goes into directory PATH: L says what is known of it; opens it when IS_THERE.  ERR_DENIED: it
 * does not let us in (and is a level that blocks). */
enum err dest_level_push(struct dest_planner *p, struct relpath path, struct dest_level l,
    bool is_there, struct error *e) must_check;
/* A directory of ours may be closed to ourselves: opens it up for as long as we are in it.  False:
 * that changed nothing. */
bool dest_level_open_up(struct dest_level *l);
/* Leaves those that PATH is not beneath. */
void dest_level_leave(struct dest_planner *p, struct relpath path);
void dest_level_clear(struct dest_planner *p);
/* What we wrote as NAME into L, or NULL; names are asked for in order.  Borrowed until the next. */
enum err dest_level_known(struct dest_planner *p, struct dest_level *l, struct bytes name,
    const struct state_file **ret, struct error *e) must_check;

/* What is to be done with PAIR->new: sets action, why, adopted and was. */
enum err dest_judge(struct dest_planner *p, const struct dest_pair *pair, struct dest_file *f,
    struct error *e) must_check;
/* What stands where PAIR->old was: *RET_OURS when it is to go. */
enum err dest_judge_gone(struct dest_planner *p, const struct dest_pair *pair, struct dest_gone *g,
    bool *ret_ours, struct error *e) must_check;
enum err dest_plan_make(struct dest *d, struct error *e) must_check;

/* -- contents -- */
/* Does the open file hold what EN wants?  ROOM is CHUNK_MAX bytes.  One that shrinks meanwhile does
 * not. */
enum err dest_content_is(struct node_source nodes, int fd, const struct tree_entry *en,
    uint8_t *room, const atomic_bool *cancel, bool *ret, struct error *e) must_check;
/* The same content has the same, never 0. */
uint64_t dest_content_print(const struct tree_entry *en);

/* -- staging -- */
struct relpath dest_stage_path(const struct dest *d, uint32_t i, struct buf *to);
/* The directories above PATH in the stage. */
enum err dest_stage_parents(struct dest *d, struct relpath path, struct error *e) must_check;
/* Makes the staged name of I by CALL: over what is there, with its directories, under a plain
 * number where the filesystem does not take the name. */
enum err dest_stage_make(struct dest *d, uint32_t i,
    enum err (*make)(struct dest *d, const struct dest_file *f, struct relpath path, int *ret_fd,
	struct error *e),
    int *ret_fd, struct error *e) must_check;
/* All of file I, finished. */
enum err dest_stage_whole(struct dest *d, uint32_t i, struct bytes b, struct error *e) must_check;
/* Mode and time; what it is then goes to `is`. */
enum err dest_stage_dress(struct dest *d, uint32_t i, int fd, struct error *e) must_check;
/* Borrows the descriptor of file I, which is not small; dest_stage_release. */
enum err dest_stage_acquire(struct dest *d, uint32_t i, int *ret_fd, struct error *e) must_check;
void dest_stage_release(struct dest *d, uint32_t i, int fd);
enum err dest_stage_read(
    struct dest *d, uint32_t i, uint64_t off, uint8_t *to, size_t n, struct error *e) must_check;
void dest_stage_close_all(struct dest *d);

/* -- taking -- */
/* LIST is that of a chunk of several leaves, verified; kept, so that others can be served. */
enum err dest_take_leaf(struct dest *d, uint32_t chunk, uint32_t leaf, struct bytes b,
    const struct leaf_list *list, struct error *e) must_check;
void dest_take_list(struct dest *d, uint32_t chunk, const struct leaf_list *list);
void dest_take_mark(struct dest *d, uint32_t chunk, uint16_t leaves);
enum err dest_take_flush(struct dest *d, struct error *e) must_check;
static inline uint16_t
dest_chunk_all(const struct dest *d, uint64_t chunk)
{
	uint32_t n = chunk_id_leaf_count(snapshot_map_chunk(d->o.map, chunk)->len);

	return (uint16_t)((1u << n) - 1);
}
static inline bool
dest_chunk_is_here(const struct dest *d, uint64_t chunk)
{
	const struct dest_chunk *c = dest_chunk(d, chunk);

	return c->file == DEST_NONE ||
	       __atomic_load_n(&c->taken, __ATOMIC_ACQUIRE) == dest_chunk_all(d, chunk);
}

/* -- into place -- */
struct dest_cursor { /* the directory of the last entry, kept open: entries come in order */
	struct dest *d;
	uint32_t dir;
	int fd;        /* -1: none */
	bool may_make; /* what the user has removed meanwhile */
};
/* The descriptor of directory DIR, borrowed until the next call.  Opened up when it does not let us
 * in. */
enum err dest_cursor_at(
    struct dest_cursor *c, uint32_t dir, int *ret_fd, struct error *e) must_check;
void dest_cursor_close(struct dest_cursor *c);
/* Directories of ours may be closed to ourselves: opens up DIR and those above, which will be
 * dressed again.  False: that changed nothing. */
bool dest_cursor_open_up(struct dest *d, uint32_t dir);
/* The directory will be dressed again. */
void dest_cursor_touch(struct dest *d, uint32_t dir);
/* Only this entry cannot be done, and the rest may go on. */
bool dest_is_refusal(const struct error *e);

enum err dest_finish(struct dest *d, struct error *e) must_check;
/* All entries that are new, and what has to give way. */
enum err dest_place(struct dest *d, struct error *e) must_check;
enum err dest_clear(struct dest *d, struct error *e) must_check;
enum err dest_dress(struct dest *d, struct error *e) must_check;
/* To DEST/.weft/trash. */
enum err dest_trash(struct dest *d, struct relpath path, struct error *e) must_check;
/* Removes NAME if it is still WAS: moved away first, so that what comes in the last moment is seen,
 * and goes back: *RET_CHANGED. */
enum err dest_remove(struct dest *d, int dir, struct relpath name, const struct dest_stat *was,
    bool *ret_changed, struct error *e) must_check;
enum err dest_record(struct dest *d, struct error *e) must_check;
