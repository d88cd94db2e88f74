/*
 * tree: the manifest: what a directory holds, as a canonical Merkle tree (docs/format-manifest.md).
 *
 * The same files give the same root on any machine.  A directory is a prolly tree from name to
 * entry.  A file's content is a list of items (chunks and holes): inline up to 64 of them, else a
 * chunk-list tree.  Holes are defined by content, not by the file system: maximal runs of
 * 64 KiB-aligned blocks (the last one may be short) that are all zero; the data between two holes
 * is cut by the chunker on its own.  Every size is declared, so nothing is guessed on receipt.
 *
 * Pure.  Errors  ERR_PROTO for whatever breaks the format or its rules; ERR_CORRUPT for a node that
 * the source has not got, so that it never passes for the end.  After an error an iterator, walk or
 * builder can only be freed (a builder also reset).
 */
#pragma once

#include "base/map.h"
#include "chunk/chunk_id.h"
#include "manifest/node.h"
#include "manifest/prolly.h"
#include "platform/relpath.h"

enum tree_type { TREE_FILE = 1, TREE_DIR = 2, TREE_SYMLINK = 3 };

enum {
	TREE_INLINE_ITEMS = 64,
	TREE_LINK_MAX = 4095, /* bytes of a symlink's target */
	TREE_HOLE_BLOCK = 64 * 1024,
};
#define TREE_FILE_SIZE_MAX ((uint64_t)1 << 50)
#define TREE_TOTAL_MAX     ((uint64_t)1 << 56)
#define TREE_ENTRIES_MAX   ((uint64_t)1 << 32)

struct tree_item { /* of a file: a chunk, or a hole when id is none */
	struct hash_id id;
	uint64_t len;
};

struct tree_entry {
	struct bytes name; /* borrowed */
	enum tree_type type;
	uint32_t mode;                 /* permission bits & 0777; 0777 for symlinks */
	int64_t mtime_ns;              /* 0 for symlinks */
	uint64_t size;                 /* file, symlink: bytes; dir: those of all files beneath */
	uint64_t entries;              /* dir: entries beneath, all levels */
	struct bytes target;           /* symlink */
	struct hash_id root;           /* dir: its tree; file: chunk-list root, none when inline */
	const struct tree_item *items; /* file: inline items, borrowed; NULL when root is set */
	uint32_t n_items;
};

/* Encoded value of an entry (without its name); decode checks every rule that the entry alone can
 * break. */
enum err tree_entry_encode(
    const struct tree_entry *en, struct buf *out, struct error *e) must_check;
/* ITEMS is the caller's room for TREE_INLINE_ITEMS; *RET borrows NAME, VALUE and ITEMS. */
enum err tree_entry_decode(struct bytes name, struct bytes value, struct tree_item *items,
    struct tree_entry *ret, struct error *e) must_check;
/* May this name stand in a tree?  1..255 bytes without '/' and NUL, not "." or "..", not ours
 * (".weft..."). */
enum err tree_entry_name(struct bytes name, struct error *e) must_check;
/* Are all ids in it of this algorithm?  A tree is of one algorithm throughout. */
bool tree_entry_is_of(const struct tree_entry *en, uint8_t alg);

/* -- file content -- */
/* Collects the items of one file; spills into a chunk-list tree beyond 64. */
struct tree_file_builder;
struct tree_file_builder *tree_file_builder_new(enum hash_alg alg, struct node_sink sink);
void tree_file_builder_free(struct tree_file_builder *b);
DEFINE_FREE_P(tree_file_builder)
enum err tree_file_builder_add(
    struct tree_file_builder *b, const struct tree_item *item, struct error *e) must_check;
/* Sets size, items/n_items (borrowed from B until reset) or root of EN.  Then
 * tree_file_builder_reset. */
enum err tree_file_builder_finish(
    struct tree_file_builder *b, struct tree_entry *en, struct error *e) must_check;
void tree_file_builder_reset(struct tree_file_builder *b);

/* Items of a file entry in order, from wherever they are.  Keeps copies of what it needs of EN. */
struct tree_items;
struct tree_items *tree_items_new(struct node_source source, const struct tree_entry *en);
void tree_items_free(struct tree_items *it);
DEFINE_FREE_P(tree_items)
/*
 * Before the first item: nodes of lists whose ids are in SEEN (kept) are passed over, the others
 * added to it.  For whoever wants to know which chunks there are: a few nodes can stand for 2^50
 * items.  What is passed over counts with the length that is declared for it.
 */
void tree_items_once(struct tree_items *it, struct map *seen);
/* OK; ERR_NOTFOUND at the end, by which the lengths have been checked to sum up to the size. */
enum err tree_items_next(struct tree_items *it, struct tree_item *ret, struct error *e) must_check;

/* -- directories -- */
/* Entries of one directory; borrowed until the next call. */
struct tree_iter;
struct tree_iter *tree_iter_new(struct node_source source, const struct hash_id *root);
void tree_iter_free(struct tree_iter *it);
DEFINE_FREE_P(tree_iter)
/* ERR_NOTFOUND: end */
enum err tree_iter_next(struct tree_iter *it, struct tree_entry *ret, struct error *e) must_check;
enum err tree_find(struct node_source source, const struct hash_id *root, struct bytes name,
    struct buf *value, struct tree_item *items, struct tree_entry *ret, struct error *e) must_check;
/* Follows PATH from ROOT; "" gives a directory entry for the root itself with size and entries 0.
 */
enum err tree_find_path(struct node_source source, const struct hash_id *root, struct relpath path,
    struct buf *value, struct tree_item *items, struct tree_entry *ret, struct error *e) must_check;

/* Depth-first over everything beneath ROOT, parents before their entries, names in order: "manifest
 * order". Bounded memory (one node per level).  Checks what only the whole can show: declared
 * totals, depth. */
struct tree_walk;
struct tree_walk *tree_walk_new(struct node_source source, const struct hash_id *root);
void tree_walk_free(struct tree_walk *w);
DEFINE_FREE_P(tree_walk)
enum tree_step { TREE_ENTER, TREE_LEAVE /* a directory whose entries are done */ };
/* OK with *RET (borrowed until the next call) and its path; ERR_NOTFOUND at the end. */
enum err tree_walk_next(struct tree_walk *w, enum tree_step *ret_step, struct relpath *ret_path,
    struct tree_entry *ret, struct error *e) must_check;
/* The directory just entered is not descended into, and there is no TREE_LEAVE for it. */
void tree_walk_skip(struct tree_walk *w);
/*
 * Before the first step: of directories with the same root, which have the same beneath them, only
 * the first is gone into; the others are entered and not left.  A few nodes that name each other
 * often can stand for 2^32 entries, so whoever wants to know only what there is, and not every path
 * to it, walks like this: the time follows from the nodes.  All that a walk checks is checked.
 * (Small directories are gone into each time.)
 */
void tree_walk_once(struct tree_walk *w);
/* Before the first step: what a commit says about the whole.  Checked like what a directory says.
 */
void tree_walk_expect(struct tree_walk *w, uint64_t entries, uint64_t bytes);
/* At the end: entries and bytes of files beneath the root. */
void tree_walk_totals(const struct tree_walk *w, uint64_t *ret_entries, uint64_t *ret_bytes);

/* Entries that differ between two trees, in manifest order; equal subtrees are never visited.  OLD
 * or NEW is NULL where the entry is missing.  A directory only on one side is reported with
 * everything beneath it.  A root may be NULL: nothing there.  Checks every node it visits, but not
 * declared totals. */
enum err tree_diff(struct node_source source, const struct hash_id *old_root,
    const struct hash_id *new_root,
    enum err (*on_change)(void *ctx, struct relpath path, const struct tree_entry *old_entry,
	const struct tree_entry *new_entry, struct error *e),
    void *ctx, struct error *e) must_check;
