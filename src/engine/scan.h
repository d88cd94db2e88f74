/*
 * scan: a directory (or one file) as it is now, as a content tree and a causal tree.
 *
 * Walks in name order; reads only files whose (size, mtime, ctime, inode) differ from what state
 * knows, cutting and hashing them on all cores; a file that changes while it is read is read again
 * (3 times), then skipped with a note.  Devices, sockets, FIFOs and unreadable files are skipped
 * with a note.  Entry ids come from the base commit's causal tree: by path, else (a rename) by
 * inode and content of an entry that is gone; new entries draw theirs.  Nodes go to the node store;
 * places of chunks to
 * state.  Nothing of the user's is copied or changed.
 *
 * An unchanged tree costs one readdir, one stat a file and no reading.
 * Blocking   run it in a job.  CANCEL is looked at often.
 */
#pragma once

#include <stdatomic.h>

#include "chunk/chunk_store.h"
#include "engine/state.h"
#include "manifest/commit.h"

struct scan_opts {
	const char *path; /* absolute; a directory, or a file (published as a tree of one entry) */
	struct state *state;
	struct chunk_store *nodes;
	/* ROOT_PUBLISH; root->content is what was published from here last */
	const struct root *root;
	const struct commit *base; /* head of the share to build upon; NULL for the first */
	struct device_id device;   /* author, for dots */
	uint64_t seq;              /* of the commit to come */
	bool dry_run;              /* nothing is written to state; nodes are counted, not kept */
	unsigned threads;          /* 0: one per core */
	size_t list_max; /* bytes of a directory's names held at once; 0: what is good for it */
	atomic_bool *cancel;
	struct scan_progress {
		_Atomic uint64_t files, bytes_read, bytes_seen;
	} * progress; /* may be NULL */
	/* skipped; called on the scanning thread */
	void (*on_note)(void *ctx, struct relpath path, const char *why);
	void *ctx;
};
struct scan_result {
	struct hash_id content, causal;
	uint64_t entries, bytes; /* declared totals of the content tree */
	uint64_t files, dirs, symlinks, skipped;
	uint64_t bytes_read, files_read;
};
/* ERR_NOTFOUND the path is not there; ERR_CANCELED. */
enum err scan_run(const struct scan_opts *o, struct scan_result *ret, struct error *e) must_check;
