/*
 * dest: a directory that receives snapshots: plan, stage, switch.
 *
 * Plan    compares the snapshot with what is there, free space first; says which files are new,
 *         changed, the same, in the way (not put there by us, or changed by the user since), or
 *         gone.  A file in the way whose content is what the snapshot wants is adopted: ours from
 *         then on.  What is in the way stays untouched (exit 5) unless overwrite, which moves it to
 *         DEST/.weft/trash/TIME/path, kept 30 days.
 * Stage   what needs bytes is a preallocated hidden file under DEST/.weft/stage-JOB/; local bytes
 *         first (older version of the file, moved or copied file, the same chunk anywhere this node
 *         knows: places), verified; the rest comes as verified leaves through the sink (any order,
 *         any thread).  flush makes it durable (syncfs) and then records it, so a restart fetches
 *         only what is missing.
 * Switch  when everything is staged: it is made whole and flushed; what the snapshot lacks goes;
 *         new directories are moved into place as one, other files and symlinks one by one (never
 *         following a symlink, never leaving DEST); modes (& 0777) and times, those of directories
 *         last and deepest first; all is flushed, and recorded in state.  A crash in between is
 *         finished by the next run: every file is either the old one or the new one, whole.
 *
 * What the user changes meanwhile stays and is named, and so is what cannot be made; the rest goes
 * on.
 *
 * Serve   what was taken is given to others from the staged file at once, and from where the switch
 *         puts it, verified against the leaf list that came with it.
 *
 * Memory   plans live in big_arrays in the job's directory: little is resident, whatever the share
 *          holds.
 * Threads  dest_plan, dest_copy_local, dest_switch run in jobs, one at a time; take may run in
 *          several jobs at once, with flush beside it; missing and is_partial on the loop;
 *          get_leaves anywhere, beside all of these but dest_close.
 */
#pragma once

#include <stdatomic.h>

#include "engine/download.h"
#include "engine/places.h"
#include "engine/snapshot_map.h"

struct dest;
struct dest_opts {
	const char *path; /* DEST, absolute; made when absent (its parent must exist) */
	/* Only this part of the snapshot; "" for all.  The entries of a directory land in DEST, a
	 * file as DEST/name. */
	struct relpath subpath;
	int64_t job;
	unsigned round; /* 0, 1: of two destinations of one job at once, each has its own place */
	int job_dir;    /* descriptor of the job's directory in the home, kept */
	struct state *state;
	struct places *places;
	struct root *root; /* ROOT_GET; updated by dest_switch; kept */
	struct node_source nodes;
	struct snapshot_map *map; /* of content, with its units; kept */
	struct hash_id snapshot, content;
	bool overwrite;
	/* The snapshot is only announced: of what is on this machine nothing counts but what is in
	 * directories of the same share (docs/decisions/announced-snapshots.md). */
	bool share_only;
	atomic_bool *cancel;
	/* PATH is not as the snapshot wants it: it is in the way, or cannot be made.  In a job. */
	void (*on_note)(void *ctx, struct relpath path, const char *why);
	void *ctx;
};
struct dest_summary {
	uint64_t files, symlinks; /* of the snapshot (part), as a publish counts them */
	/* what becomes of them: of both kinds */
	uint64_t files_new, files_changed, files_same, files_adopted, files_removed;
	uint64_t in_way; /* entries that are not as wanted: told to on_note */
	uint64_t trashed;
	uint64_t bytes;         /* of all files of the snapshot (part) */
	uint64_t bytes_reused;  /* staged from local bytes, or left in place */
	uint64_t bytes_missing; /* to be fetched, when planned */
};
/* ERR_EXISTS: DEST is a file or a symlink; ERR_IO read-only; ERR_NOSPACE: needs N, has M;
 * ERR_PROTO: the manifest breaks a rule.  Goes on where an earlier run of the job was, whatever the
 * user did meanwhile. */
enum err dest_plan(const struct dest_opts *o, struct dest **ret, struct error *e) must_check;
void dest_close(struct dest *d); /* keeps everything on disk */
/* EARLIER (may be NULL): of another snapshot of the same share; what it has taken counts too.
 * ERR_NOSPACE: again when there is room. */
enum err dest_copy_local(struct dest *d, struct dest *earlier, struct error *e) must_check;
struct sink dest_sink(struct dest *d);
/* Leaves FIRST .. FIRST + N - 1 of chunk number CHUNK of the map to TO, verified.  ERR_NOTFOUND:
 * they are not here, or not what they should be; those are then missing again.  Blocking. */
enum err dest_get_leaves(struct dest *d, uint32_t chunk, uint32_t first, uint32_t n, uint8_t *to,
    uint32_t *ret_len, struct leaf_list *ret_leaves, struct error *e) must_check;
/* Something of UNIT will not be here although nothing is missing: it is not of this part of the
 * snapshot, or in a file that was the user's. */
bool dest_is_partial(const struct dest *d, uint32_t unit);
/* ERR_AGAIN: bytes are missing after all (a flush failed) and are to be fetched; ERR_NOSPACE: again
 * when there is room. */
enum err dest_switch(struct dest *d, struct error *e) must_check;
void dest_summary(const struct dest *d, struct dest_summary *ret);
/* Forgets the job: removes stage and plan.  What could not be removed is for another time. */
enum err dest_discard(
    const char *path, int64_t job, unsigned round, int job_dir, struct error *e) must_check;
/* Removes trash older than 30 days. */
void dest_expire_trash(const char *path, int64_t now_ns);

/* weft verify: re-hashes what is on disk under ROOT (both kinds) against its snapshot; names every
 * entry of the snapshot that is not here as it was.  Files that the snapshot does not have are no
 * difference.  A directory that is gone as a whole, and a file that was published alone, have the
 * path "".  ERR_NOTFOUND: PATH is not in the snapshot. */
struct dest_verify_opts {
	const struct root *root;
	struct node_source nodes;
	struct relpath path; /* "" for all */
	atomic_bool *cancel;
	/* WHAT: "missing", "another type of file", "size differs", "content differs", "target
	 * differs", "mode differs", "time differs" (of a file), or why it cannot be read. */
	void (*on_difference)(void *ctx, struct relpath path, const char *what);
	void (*on_progress)(void *ctx, uint64_t files, uint64_t bytes);
	void *ctx;
};
enum err dest_verify(const struct dest_verify_opts *o, uint64_t *ret_files, uint64_t *ret_bytes,
    uint64_t *ret_differences, struct error *e) must_check;
