/* test_scan_world: a directory to scan, and what a node has for it, for the tests beside it. */
#pragma once

#include "tests/check.h"

#include <time.h>

#include "base/mem.h"
#include "chunk/chunker.h"
#include "engine/scan.h"
#include "manifest/causal.h"
#include "manifest/tree.h"
#include "tests/seeded.h"

/* One node: its state, its nodes, and how far its share is. */
struct node {
	char *home;
	struct state *state;
	struct chunk_store *nodes;
	struct root root;
	struct commit base; /* only content and causal are looked at */
	bool has_base;
	struct device_id device;
	uint64_t seq;
};
struct world {
	struct check_dir dir;
	int fd; /* of what is scanned: dir/tree */
	char *path;
	struct node node;
	char notes[4096]; /* "path: why\n" of the last scan */
	void (*at_note)(
	    struct world *w); /* what happens at the first of them, in the middle of it */
	unsigned threads;
	size_t list_max;
	bool dry_run;
	atomic_bool cancel;
};

static struct error world_error;

static inline void
node_open(struct world *w, struct node *n, const char *name)
{
	struct hash_id share;

	*n = (struct node){ .home = str_printf("%s/%s", w->dir.path, name), .seq = 1 };
	assert_int_equal(mkdir(n->home, 0700), 0);
	auto_free char *db = str_printf("%s/state.db", n->home),
		       *nodes = str_printf("%s/nodes", n->home);
	check_ok(state_open(db, &n->state, &world_error), world_error);
	check_ok(chunk_store_open(nodes, &(struct chunk_store_opts){ 0 }, &n->nodes, &world_error),
	    world_error);
	hash_object(HASH_DEFAULT, HASH_SHARE, BYTES_LIT("share"), &share);
	check_ok(state_root_get(
		     n->state, ROOT_PUBLISH, &share, "share", w->path, "", &n->root, &world_error),
	    world_error);
	memset(&n->device, name[0], sizeof n->device);
}

static inline void
node_close(struct node *n)
{
	root_clear(&n->root);
	chunk_store_close(n->nodes);
	state_close(n->state);
	free(n->home);
}

static inline void
world_open(struct world *w)
{
	*w = (struct world){ .dir = check_dir_make(), .threads = 3 };
	w->path = str_printf("%s/tree", w->dir.path);
	assert_int_equal(mkdir(w->path, 0755), 0);
	w->fd = open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(w->fd >= 0);
	node_open(w, &w->node, "a");
}

static inline void
world_close(struct world *w)
{
	node_close(&w->node);
	close(w->fd);
	free(w->path);
	check_dir_remove(&w->dir);
}

static inline int
world_setup(void **state)
{
	struct world *w = mem_new(struct world);

	world_open(w);
	*state = w;
	return 0;
}

static inline int
world_teardown(void **state)
{
	world_close(*state);
	free(*state);
	return 0;
}

static inline void
world_note(void *ctx, struct relpath path, const char *why)
{
	struct world *w = ctx;
	size_t n = strlen(w->notes);

	snprintf(w->notes + n, sizeof w->notes - n, "%s: %s\n", path.text, why);
	if (w->at_note != NULL && n == 0)
		w->at_note(w);
}

static inline enum err
world_try(
    struct world *w, struct node *n, const char *path, struct scan_result *ret, struct error *e)
{
	struct scan_opts o = { .path = path,
		.state = n->state,
		.nodes = n->nodes,
		.root = &n->root,
		.base = n->has_base ? &n->base : NULL,
		.device = n->device,
		.seq = n->seq,
		.threads = w->threads,
		.list_max = w->list_max,
		.dry_run = w->dry_run,
		.cancel = &w->cancel,
		.on_note = world_note,
		.ctx = w };

	w->notes[0] = '\0';
	return scan_run(&o, ret, e);
}

/* Scans and does not publish. */
static inline struct scan_result
world_look(struct world *w, struct node *n)
{
	struct scan_result r = { 0 };

	world_error = (struct error){ 0 };
	check_ok(world_try(w, n, w->path, &r, &world_error), world_error);
	assert_int_equal(world_error.code, OK);
	return r;
}

static inline void
world_publish(struct node *n, const struct scan_result *r)
{
	n->root.content = r->content;
	n->base.content = r->content;
	n->base.causal = r->causal;
	n->has_base = true;
	n->seq++;
}

static inline struct scan_result
world_scan(struct world *w, struct node *n)
{
	struct scan_result r = world_look(w, n);

	world_publish(n, &r);
	return r;
}

/* The content root that somebody who knows nothing finds. */
static inline struct hash_id
world_fresh(struct world *w)
{
	static unsigned count;
	char name[16];
	struct node n;

	snprintf(name, sizeof name, "x%u", count++);
	node_open(w, &n, name);
	struct hash_id content = world_look(w, &n).content;
	node_close(&n);
	return content;
}

/* -- files -- */

/* So that what was written before is not too fresh to be trusted by its times. */
static inline void
let_it_age(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 30 * 1000 * 1000 }, NULL);
}

static inline void
put_at(int dir, const char *name, const void *bytes, size_t n)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), (ssize_t)n);
	assert_int_equal(close(fd), 0);
}

static inline void
put_text(const struct world *w, const char *name, const char *text)
{
	put_at(w->fd, name, text, strlen(text));
}

/* N bytes of SEED, each 64 KiB block zero with a chance of ZEROES in 8. */
static inline void
put_random(const struct world *w, const char *name, uint64_t seed, size_t n, unsigned zeroes)
{
	auto_free uint8_t *bytes = seeded_with_holes(seed, n, TREE_HOLE_BLOCK, zeroes);

	put_at(w->fd, name, bytes, n);
}

static inline void
make_dir_at(const struct world *w, const char *name)
{
	assert_int_equal(mkdirat(w->fd, name, 0755), 0);
}

static inline void
put_all_kinds(const struct world *w)
{
	static const size_t sizes[] = { 0, 1, 100, 65535, 65536, 65537, 131072, 300000, 1048575,
		1048576, 1048577, 3000000, 5000001, 9 << 20 };
	char name[64];

	make_dir_at(w, "empty");
	make_dir_at(w, "sub");
	make_dir_at(w, "sub/deep");
	for (size_t i = 0; i < lengthof(sizes); i++)
		for (unsigned zeroes = 0; zeroes <= 8; zeroes += 4) {
			snprintf(name, sizeof name, "%ssize-%zu-%u", i % 2 ? "sub/" : "", sizes[i],
			    zeroes);
			put_random(w, name, i * 10 + zeroes, sizes[i], zeroes);
		}
	put_text(w, "sub/deep/\xff\x01odd\nname ", "odd");
	put_text(w, "mode", "x");
	assert_int_equal(fchmodat(w->fd, "mode", 04711, 0), 0);
	assert_int_equal(symlinkat("no/such/place", w->fd, "link"), 0);
	assert_int_equal(symlinkat("sub", w->fd, "link-to-dir"), 0);
	assert_int_equal(linkat(w->fd, "mode", w->fd, "hard", 0), 0);
	struct timespec old[2] = { { .tv_sec = -5, .tv_nsec = 123456789 },
		{ .tv_sec = -5, .tv_nsec = 123456789 } };
	assert_int_equal(utimensat(w->fd, "sub/deep", old, 0), 0);
}

/* -- what the trees say -- */

static inline enum err
world_get_node(
    void *ctx, enum hash_kind kind, const struct hash_id *id, struct buf *out, struct error *e)
{
	(void)kind;
	return chunk_store_get_node(((struct node *)ctx)->nodes, id, out, e);
}

static inline struct node_source
world_source(struct node *n)
{
	return (struct node_source){ .get = world_get_node, .ctx = n };
}

/* The causal entry at PATH. */
static inline struct causal_entry
cause_of(struct node *n, const struct hash_id *causal, const char *path)
{
	static uint8_t kept[NODE_ENTRY_MAX];
	struct causal_entry en = { .dir = *causal };

	while (*path != '\0') {
		auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
		struct bytes name = BYTES(path, strcspn(path, "/"));
		check_ok(
		    prolly_get(HASH_CAUSAL, world_source(n), &en.dir, name, &value, &world_error),
		    world_error);
		memcpy(kept, value.at, value.len);
		check_ok(causal_entry_decode(name, BYTES(kept, value.len), &en, &world_error),
		    world_error);
		path += name.len;
		path += *path == '/';
	}
	return en;
}

static inline bool
has_path(struct node *n, const struct hash_id *content, const char *path)
{
	auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
	struct tree_item items[TREE_INLINE_ITEMS];
	struct tree_entry en;
	struct relpath p = { path, strlen(path) };
	enum err r = tree_find_path(world_source(n), content, p, &value, items, &en, &world_error);

	assert_true(r == OK || r == ERR_NOTFOUND);
	return r == OK;
}

/* -- the tree against the disk -- */

/* The items of a file's bytes, found without any cleverness. */
static inline size_t
slow_items(const uint8_t *bytes, size_t n, struct tree_item *out)
{
	size_t count = 0, at = 0, end;
	bool *zero = mem_array(bool, n / TREE_HOLE_BLOCK + 1);

	for (size_t i = 0; i * TREE_HOLE_BLOCK < n; i++) {
		zero[i] = true;
		for (size_t k = i * TREE_HOLE_BLOCK; k < n && k < (i + 1) * TREE_HOLE_BLOCK; k++)
			zero[i] &= bytes[k] == 0;
	}
	while (at < n) {
		bool hole = zero[at / TREE_HOLE_BLOCK];
		for (end = at; end < n && zero[end / TREE_HOLE_BLOCK] == hole;)
			end = min_of(n, (end / TREE_HOLE_BLOCK + 1) * TREE_HOLE_BLOCK);
		if (hole) {
			out[count++] = (struct tree_item){ .len = end - at };
			at = end;
		}
		while (!hole && at < end) {
			size_t len = chunker_cut(BYTES(bytes + at, end - at), true);
			out[count].len = len;
			chunk_id_of(HASH_DEFAULT, BYTES(bytes + at, len), NULL, &out[count++].id);
			at += len;
		}
	}
	free(zero);
	return count;
}

static inline void
assert_content(struct node *n, int dir, const struct tree_entry *en)
{
	enum { MOST = 4096 };
	auto_free struct tree_item *want = mem_array(struct tree_item, MOST);
	auto_(tree_items_free_p) struct tree_items *items = tree_items_new(world_source(n), en);
	auto_free uint8_t *bytes = mem_alloc(en->size + 1);
	char name[RELPATH_NAME_MAX + 1] = "";
	struct tree_item item;

	memcpy(name, en->name.at, en->name.len);
	auto_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	assert_int_equal(read(fd, bytes, en->size + 1), (ssize_t)en->size);
	size_t count = slow_items(bytes, en->size, want);
	for (size_t i = 0; i < count; i++) {
		check_ok(tree_items_next(items, &item, &world_error), world_error);
		assert_int_equal(item.len, want[i].len);
		assert_true(hash_id_equal(&item.id, &want[i].id));
	}
	assert_int_equal(tree_items_next(items, &item, &world_error), ERR_NOTFOUND);
}

static inline void
assert_entry(struct node *n, int dir, const struct tree_entry *en)
{
	char name[RELPATH_NAME_MAX + 1] = "", target[TREE_LINK_MAX + 1];
	struct stat st;

	memcpy(name, en->name.at, en->name.len);
	assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	int64_t mtime = st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
	switch (en->type) {
	case TREE_FILE:
		assert_true(S_ISREG(st.st_mode));
		assert_int_equal(en->size, st.st_size);
		assert_content(n, dir, en);
		break;
	case TREE_DIR:
		assert_true(S_ISDIR(st.st_mode));
		break;
	case TREE_SYMLINK:
		assert_true(S_ISLNK(st.st_mode));
		assert_int_equal(readlinkat(dir, name, target, sizeof target), en->target.len);
		assert_memory_equal(target, en->target.at, en->target.len);
		return;
	}
	assert_int_equal(en->mode, st.st_mode & 0777);
	assert_int_equal(en->mtime_ns, mtime);
}

/* Every entry of ROOT is as it lies in DIR, and there is no other; returns their number. */
static inline uint64_t
assert_dir(struct node *n, int dir, const struct hash_id *root)
{
	auto_(tree_iter_free_p) struct tree_iter *it = tree_iter_new(world_source(n), root);
	auto_(fs_list_clear) struct fs_list list = { 0 };
	struct tree_entry en;
	uint64_t count = 0, names = 0;

	check_ok(fs_list_dir(dir, &list, &world_error), world_error);
	while (tree_iter_next(it, &en, &world_error) == OK) {
		assert_entry(n, dir, &en);
		count++;
		if (en.type == TREE_DIR) {
			char name[RELPATH_NAME_MAX + 1] = "";
			memcpy(name, en.name.at, en.name.len);
			auto_fd int sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			count += assert_dir(n, sub, &en.root);
		}
		names++;
	}
	assert_int_equal(names, list.n);
	return count;
}
