/*
 * scan_private: how a scan works, and what its files share with each other and with nobody else.
 *
 * The thread that calls scan_run walks the directories and builds the tree; reading, cutting and
 * hashing files and writing to state are jobs for all threads, itself included:
 *
 *   scan_walk    yields items in manifest order: into a directory, a file, a link, out of a
 *                directory.  A file whose stat is the one that state knows is told apart there; the
 *                others become jobs at once.
 *   ring         holds the items between walk and build, up to SCAN_RING of them, so that jobs run
 *                far ahead.
 *   scan_build   takes them in the same order, waits for each job, and makes the directory's
 *                entries.  A directory in which nothing differs from the previous tree is taken
 *                from there whole, without making a node.
 *   scan_batch   gathers what state shall know, and writes it in transactions of its own in a job.
 *   scan_big     a file above SCAN_SMALL is read and cut by the builder, its chunks hashed by all
 *                threads.
 *   scan_causal  makes the causal tree from the two content trees afterwards; scan_moves finds
 *                renames for it.
 *
 * Memory: the ring, a few blocks per thread, the nodes on the way down, a page of the names of each
 * directory on the way (half of what is left of SCAN_LIST_ALL), and 8 bytes a directory.
 */
#pragma once

#include <pthread.h>

#include "base/array.h"
#include "engine/ignore.h"
#include "engine/scan.h"

enum {
	SCAN_SMALL = 1024 * 1024, /* bytes of a file that one thread reads whole */
	SCAN_ITEMS = 2 * (SCAN_SMALL / CHUNK_MIN) + 2, /* chunks and holes of such a file */
	SCAN_RING = 4096,
	SCAN_LIST_ALL = 8 * 1024 * 1024, /* bytes of names held, of all directories on the way */
	SCAN_LIST_MIN = 256 * 1024,      /* and of one, whatever the others hold */
	SCAN_DIRS_OPEN = 64,             /* descriptors of directories on the way down */
	SCAN_DIRS_PINNED = 128,          /* and of those that only wait for their files */
	SCAN_THREADS_MAX = 16,
	SCAN_TRIES = 4,         /* to read a file that changes meanwhile */
	SCAN_BATCH = 4096,      /* operations of one transaction */
	SCAN_ROWS = 512,        /* rows of state read at once */
	SCAN_MOVES_MAX = 65536, /* vanished entries that may be recognised under another name */
};

/* -- scan_pool: jobs in order of their submission, by all threads -- */
struct scan_worker {
	uint8_t *buf; /* SCAN_SMALL bytes */
};
struct scan_job {
	void (*run)(struct scan_job *j, struct scan_worker *w);
	struct scan_job *next;
	atomic_bool done;
};
struct scan_pool;
struct scan_pool *scan_pool_new(unsigned threads); /* the caller's own included */
void scan_pool_free(struct scan_pool *p);          /* waits for jobs that run; forgets the others */
DEFINE_FREE_P(scan_pool)
void scan_pool_submit(struct scan_pool *p, struct scan_job *j);
/* Runs jobs until J is done. */
void scan_pool_wait(struct scan_pool *p, struct scan_job *j);

/* -- scan_dir: a directory on the way -- */
struct scan;
struct scan_dir {
	struct scan_dir *parent; /* held; NULL: the root */
	unsigned refs, jobs;     /* of the scanning thread; files of it being read */
	bool left, parked;       /* the walk is past it, or far below it */
	unsigned misses;         /* files that state knows, but not as the previous tree has them */
	int fd;                  /* -1: closed; scan_dir_fd opens it again */
	struct fs_stat st;
	struct relpath path;        /* owned */
	const char *name;           /* in path */
	struct fs_list list;        /* a page of its names, while the walk is in it */
	struct ignore_rules *rules; /* of its .weftignore, or NULL */
	bool has_rules;             /* it or one above it */
	const char *as;             /* the only file is published under this name */
	_Atomic int64_t id;         /* in state, 0: not there yet */
	uint64_t ino_known;         /* to state */
};
/* Opens and lists NAME in PARENT, and reads its rules.  ERR_LIMIT too deep; ERR_USAGE for rules
 * that cannot be read: then the scan ends, as it would publish what somebody wanted to keep. */
enum err scan_dir_open(struct scan *s, struct scan_dir *parent, const char *name,
    struct scan_dir **ret, struct error *e) must_check;
/* The root, open as FD, which is taken.  ONLY is the only file to look at and AS its name in the
 * tree, else NULL. */
enum err scan_dir_open_root(struct scan *s, int fd, const char *only, const char *as,
    struct scan_dir **ret, struct error *e) must_check;
/* The names behind those of the list, which becomes theirs. */
enum err scan_dir_turn_page(struct scan *s, struct scan_dir *d, struct error *e) must_check;
/* Is it the home of a node?  What lies there is nobody's business. */
bool scan_dir_is_home(const struct scan_dir *d);
struct scan_dir *scan_dir_ref(struct scan_dir *d);
void scan_dir_unref(struct scan *s, struct scan_dir *d); /* NULL is fine */
/* Its descriptor, opened again if need be: borrowed until scan_dir_rest, which closes it when
 * nobody needs it. */
enum err scan_dir_fd(struct scan *s, struct scan_dir *d, int *ret_fd, struct error *e) must_check;
void scan_dir_rest(struct scan_dir *d);
/* The same for a job in another thread. */
enum err scan_dir_begin(
    struct scan *s, struct scan_dir *d, int *ret_fd, struct error *e) must_check;
void scan_dir_end(struct scan *s, struct scan_dir *d);
/* The walk is past it; or so far below it that its descriptor is needed elsewhere. */
void scan_dir_leave(struct scan *s, struct scan_dir *d);
void scan_dir_park(struct scan_dir *d);
/* The path of NAME in D: text of BUF, which is emptied first. */
struct relpath scan_dir_child(const struct scan_dir *d, const char *name, struct buf *to);
/* By the rules of D and of all above it. */
bool scan_dir_ignores(const struct scan_dir *d, const char *name, bool is_dir, struct buf *room);

/* -- scan_cut: content into holes and chunks -- */
struct scan_cutter {
	uint64_t at;       /* offset of the next piece */
	uint64_t clear_to; /* up to here no block is a hole */
};
enum scan_cut { SCAN_CUT_MORE, SCAN_CUT_CHUNK, SCAN_CUT_HOLE };
/* The next piece of the bytes from C->at on; MORE: not without further bytes, AT_END: there are
 * none but zeroes. */
enum scan_cut scan_cut_next(struct scan_cutter *c, struct bytes left, bool at_end, size_t *ret_len);
bool scan_cut_is_zero(const uint8_t *p, size_t n);

/* -- scan_file: one file -- */
enum scan_read { SCAN_READ_DONE, SCAN_READ_BIG, SCAN_READ_SKIP };
struct scan_file {
	struct scan_job job;
	const struct scan_opts *opts;
	int dir;          /* descriptor, borrowed */
	const char *name; /* borrowed */
	/* the result */
	enum scan_read result;
	struct fs_stat st;
	bool racy;               /* too fresh: a later change might show in nothing */
	char *why;               /* SKIP: owned */
	struct tree_item one;    /* most files have one */
	struct tree_item *items; /* &one, or owned */
	uint32_t n_items;
};
void scan_file_start(struct scan_file *f, struct scan_pool *p);
void scan_file_clear(struct scan_file *f);
bool scan_file_same_stat(const struct fs_stat *a, const struct fs_stat *b);
/* Was the last change so recent that another one might carry the same times? */
bool scan_file_is_racy(const struct fs_stat *st);
/* Of what is in it: equal fingerprints mean equal content, short of an accident of 2^-64. */
uint64_t scan_file_fingerprint(const struct tree_entry *en);
/* For a note: why a file could not be read. */
char *scan_file_why(enum err r, const struct error *e);

/* -- items of the ring -- */
enum scan_kind { SCAN_ENTER, SCAN_LEAVE, SCAN_READ, SCAN_SAME, SCAN_LINK };
struct scan_item {
	enum scan_kind kind;
	struct scan_dir *dir;  /* held; ENTER, LEAVE: the directory itself, else where it is */
	char *name;            /* owned */
	int64_t row;           /* READ, SAME: of the file in state; 0 none */
	struct fs_stat st;     /* SAME */
	uint64_t content;      /* SAME: its fingerprint */
	char *target;          /* LINK: owned */
	struct scan_file file; /* READ */
	bool begun;            /* READ: its directory counts it */
};
/* What NAME of D is called in the tree. */
static inline const char *
scan_name_in(const struct scan_dir *d, const char *name)
{
	return d->as != NULL ? d->as : name;
}

/* -- scan_walk -- */
struct scan_walk;
struct scan_walk *scan_walk_new(struct scan *s);
enum err scan_walk_begin(struct scan_walk *w, struct scan_dir *root, struct error *e) must_check;
void scan_walk_free(struct scan_walk *w);
/* Fills *RET with the next item; ERR_NOTFOUND at the end. */
enum err scan_walk_next(struct scan_walk *w, struct scan_item *ret, struct error *e) must_check;

/* -- scan_batch: what state shall know -- */
struct scan_batch;
struct scan_batch *scan_batch_new(struct scan *s);
void scan_batch_free(struct scan_batch *b); /* what was not flushed is forgotten */
/* D is there, with its inode. */
enum err scan_batch_dir(struct scan_batch *b, struct scan_dir *d, struct error *e) must_check;
/* A file of D; its places follow. */
enum err scan_batch_file(struct scan_batch *b, struct scan_dir *d, const char *name,
    const struct fs_stat *st, bool racy, uint64_t content, struct error *e) must_check;
enum err scan_batch_place(
    struct scan_batch *b, const struct hash_id *chunk, uint64_t offset, struct error *e) must_check;
/* Of the file that was begun last: what its stat is after all; or nothing at all. */
enum err scan_batch_set(struct scan_batch *b, const struct fs_stat *st, bool racy, uint64_t content,
    struct error *e) must_check;
enum err scan_batch_drop(struct scan_batch *b, struct error *e) must_check;
/* A file that is gone. */
enum err scan_batch_del(struct scan_batch *b, int64_t file, struct error *e) must_check;
/* Writes all that was said before, and waits for it. */
enum err scan_batch_flush(struct scan_batch *b, struct error *e) must_check;

/* -- scan_big -- */
struct scan_big;
void scan_big_free(struct scan_big *b);
/* Reads the file of IT into EN, whose name is set; *RET_WHY (owned) says why it was skipped, else
 * NULL. */
enum err scan_big_read(struct scan *s, struct scan_item *it, struct tree_entry *en, char **ret_why,
    struct error *e) must_check;

/* -- scan_build -- */
struct scan_build;
struct scan_build *scan_build_new(struct scan *s);
void scan_build_free(struct scan_build *b);
/* Takes what IT holds. */
enum err scan_build_take(struct scan_build *b, struct scan_item *it, struct error *e) must_check;
/* After the last item. */
void scan_build_root(const struct scan_build *b, struct hash_id *ret_root, uint64_t *ret_entries,
    uint64_t *ret_bytes);

/* -- scan_moves: entries that are gone, by inode -- */
struct scan_move {
	uint64_t ino;
	bool is_dir, used;
	char *path; /* owned */
};
struct scan_moves {
	ARRAY(struct scan_move) v;
	bool sorted;
	bool off; /* nobody will ask */
};
void scan_moves_clear(struct scan_moves *m);
void scan_moves_gone(struct scan_moves *m, uint64_t ino, bool is_dir, struct relpath path);
/* One that was not used yet, or NULL; set `used` on success. */
struct scan_move *scan_moves_find(struct scan_moves *m, uint64_t ino, bool is_dir);
/* Drops directories of the root that the walk did not see, remembering them and their files. */
enum err scan_moves_expire(struct scan *s, struct error *e) must_check;

/* -- scan_causal -- */
/* Without a look at names, modes and times. */
bool scan_causal_same_bytes(const struct tree_entry *a, const struct tree_entry *b);
enum err scan_causal_make(
    struct scan *s, const struct hash_id *content, struct hash_id *ret, struct error *e) must_check;

/* -- the scan -- */
struct scan {
	const struct scan_opts *o; /* ours, complete */
	struct scan_result res;
	struct hash_id old; /* content that an unchanged file is taken from; none */
	bool old_broken;    /* it cannot be read: do without */
	int root_fd;        /* borrowed from root */
	struct scan_dir *root;
	char *only, *as; /* a file that is published alone: its name there and in the tree; owned */
	struct scan_pool *pool;
	struct scan_batch *batch;
	struct scan_big *big;
	struct scan_moves moves;
	struct node_source source;
	struct node_sink sink;
	struct scan_item *ring;
	size_t first, count; /* of the ring */
	size_t listed;       /* bytes of names held */
	size_t pinned;       /* directories left by the walk that files are still read in */
	ARRAY(int64_t) seen; /* ids of directories */
};
/* The job of a READ, and its end. */
void scan_begin_read(struct scan *s, struct scan_item *it);
void scan_end_read(struct scan *s, struct scan_item *it);
/* Makes READ of every SAME in the ring that lies in D. */
void scan_read_all_of(struct scan *s, const struct scan_dir *d);
bool scan_canceled(const struct scan *s);
void scan_note(struct scan *s, const struct scan_dir *d, const char *name, const char *why);
