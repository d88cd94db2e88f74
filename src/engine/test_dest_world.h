/*
 * test_dest_world: snapshots as nodes and chunks, a node's home and a destination on the disk, for
 * the tests of dest beside it and for bench_dest.
 */
#pragma once

#include "manifest/test_nodes.h"

#include "tests/check.h"

#include <sys/wait.h>

#include "engine/dest.h"
#include "engine/scan_private.h"
#include "engine/test_snap.h"
#include "manifest/commit.h"
#include "platform/fs.h"

struct world {
	struct check_dir dir;
	struct nodes nodes;
	struct map chunks; /* id -> struct buf */
	char *home, *dest;
	struct state *state;
	struct places *places;
	struct root root;
	int maps, job_dir;
	int64_t job;
	unsigned round;
	/* how to get */
	bool overwrite, share_only;
	const char *subpath;
	uint64_t feed_max;      /* bytes from the network, then it is cut */
	struct hash_id list_of; /* the chunk that was fed last, and its list */
	struct leaf_list list;
	atomic_bool cancel;
	/* what it came to */
	struct dest *d;
	struct snapshot_map *map;
	struct dest_summary sum;
	uint64_t fed;
	char notes[16384];
	struct error e;
};

/* -- into nodes and chunks -- */

static inline void
snap_keep_chunk(struct world *w, struct bytes b, struct hash_id *ret)
{
	bool is_new;

	chunk_id_of(HASH_DEFAULT, b, NULL, ret);
	struct map_slot *slot = map_put(&w->chunks, hash_id_bytes(ret), &is_new);
	if (is_new) {
		struct buf *kept = mem_new(struct buf);
		*kept = BUF(CHUNK_MAX);
		buf_add_bytes(kept, b);
		slot->ptr = kept;
	}
}

static inline void
snap_cut(struct world *w, const struct item *it, struct tree_file_builder *file)
{
	struct scan_cutter cut = { 0 };
	size_t at = 0, len;

	while (at < it->len) {
		struct bytes left = BYTES(it->bytes + at, it->len - at);
		struct tree_item item = { 0 };
		enum scan_cut kind = scan_cut_next(&cut, left, true, &len);
		item.len = kind == SCAN_CUT_MORE ? left.len : len; /* MORE at the end: zeroes */
		if (kind == SCAN_CUT_CHUNK)
			snap_keep_chunk(w, bytes_slice(left, 0, len), &item.id);
		assert_ok(tree_file_builder_add(file, &item, &unit_error));
		at += item.len;
	}
}

static inline int
snap_compare(const void *a, const void *b)
{
	const char *x = ((const struct item *)a)->path, *y = ((const struct item *)b)->path;

	while (*x != '\0' && *x == *y) {
		x++;
		y++;
	}
	int p = *x == '/' ? 1 : *x == '\0' ? 0 : (unsigned char)*x + 1;
	int q = *y == '/' ? 1 : *y == '\0' ? 0 : (unsigned char)*y + 1;
	return p - q;
}

/* The entries beneath items[*AT - 1], whose path has N bytes. */
static inline struct hash_id
snap_build_dir(struct world *w, struct snap *s, size_t *at, const char *above, size_t n,
    struct tree_entry *dir)
{
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, nodes_sink(&w->nodes));
	auto_(tree_file_builder_free_p) struct tree_file_builder *file =
	    tree_file_builder_new(HASH_DEFAULT, nodes_sink(&w->nodes));
	struct hash_id root;

	while (*at < s->items.len) {
		const struct item *it = &s->items.at[*at];
		if (n > 0 && (strncmp(it->path, above, n) != 0 || it->path[n] != '/'))
			break;
		struct tree_entry en = { .name = bytes_str(it->path + n + (n > 0)),
			.type = it->type,
			.mode = it->mode,
			.mtime_ns = it->mtime_ns };
		*at += 1;
		if (it->type == TREE_DIR) {
			en.root = snap_build_dir(w, s, at, it->path, strlen(it->path), &en);
		} else if (it->type == TREE_SYMLINK) {
			en.mode = 0777;
			en.mtime_ns = 0;
			en.size = it->len;
			en.target = BYTES(it->bytes, it->len);
		} else {
			snap_cut(w, it, file);
			assert_ok(tree_file_builder_finish(file, &en, &unit_error));
			dir->size += en.size;
		}
		add_entry(b, &en);
		dir->entries += 1;
		if (it->type == TREE_DIR) {
			dir->entries += en.entries;
			dir->size += en.size;
		}
		tree_file_builder_reset(file);
	}
	assert_ok(prolly_builder_finish(b, &root, &unit_error));
	return root;
}

static inline void
snap_build(struct world *w, struct snap *s)
{
	struct tree_entry top = { 0 };
	size_t at = 0;

	if (s->items.len > 0)
		qsort(s->items.at, s->items.len, sizeof *s->items.at, snap_compare);
	s->content = snap_build_dir(w, s, &at, "", 0, &top);
	assert_int_equal(at, s->items.len);
	hash_object(HASH_DEFAULT, HASH_COMMIT, hash_id_bytes(&s->content), &s->id);
}

static inline struct snap
snap_built(struct world *w, const char *const *entries)
{
	struct snap s = { 0 };

	snap_add_texts(&s, entries);
	snap_build(w, &s);
	return s;
}

/* snap_of(w, "dir/file=text", "link->target", "dir/"): of these, built. */
#define snap_of(w, ...) snap_built((w), ENTRIES(__VA_ARGS__))

/* -- the node -- */

static inline void
world_open_at(struct world *w, const char *dir)
{
	struct hash_id share;

	w->home = str_printf("%s/home", dir);
	w->dest = str_printf("%s/dest", dir);
	w->subpath = "";
	w->feed_max = UINT64_MAX;
	w->job = w->job == 0 ? 7 : w->job;
	auto_free char *db = str_printf("%s/state.db", w->home),
		       *maps = str_printf("%s/maps", w->home), *job = str_printf("%s/job", w->home);
	(void)mkdir(w->home, 0700);
	(void)mkdir(maps, 0700);
	(void)mkdir(job, 0700);
	w->maps = open(maps, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	w->job_dir = open(job, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(w->maps >= 0 && w->job_dir >= 0);
	check_ok(state_open(db, &w->state, &w->e), w->e);
	w->places = places_new(w->state);
	hash_object(HASH_DEFAULT, HASH_SHARE, BYTES_LIT("share"), &share);
	check_ok(state_root_get(w->state, ROOT_GET, &share, "share", w->dest, "", &w->root, &w->e),
	    w->e);
}

static inline void
world_close_home(struct world *w)
{
	dest_close(w->d);
	snapshot_map_free(w->map);
	w->d = NULL;
	w->map = NULL;
	places_free(w->places);
	root_clear(&w->root);
	state_close(w->state);
	close(w->maps);
	close(w->job_dir);
	free(w->home);
	free(w->dest);
}

/* From now on SHARE is received into DEST, beside it. */
static inline void
world_share(struct world *w, const char *share, const char *dest)
{
	struct hash_id id;

	free(w->dest);
	w->dest = str_printf("%s/%s", w->dir.path, dest);
	hash_object(HASH_DEFAULT, HASH_SHARE, bytes_str(share), &id);
	root_clear(&w->root);
	check_ok(
	    state_root_get(w->state, ROOT_GET, &id, share, w->dest, "", &w->root, &w->e), w->e);
}

/* As if the process had died and started again. */
static inline void
world_restart(struct world *w)
{
	bool overwrite = w->overwrite;

	world_close_home(w);
	world_open_at(w, w->dir.path);
	w->overwrite = overwrite;
}

static inline void
world_forget_contents(struct world *w)
{
	map_each (it, &w->chunks) {
		buf_clear(it->ptr);
		free(it->ptr);
	}
	map_clear(&w->chunks);
	nodes_clear(&w->nodes);
}

static inline int
world_setup(void **state)
{
	struct world *w = mem_new(struct world);

	w->dir = check_dir_make();
	world_open_at(w, w->dir.path);
	*state = w;
	return 0;
}

static inline int
world_teardown(void **state)
{
	struct world *w = *state;

	world_close_home(w);
	world_forget_contents(w);
	/* Paths may be too long for the kernel, and directories closed to ourselves. */
	char *name = strrchr(w->dir.path, '/');
	int above;
	*name++ = '\0';
	assert_ok(fs_open_root(w->dir.path, &above, &unit_error));
	assert_ok(fs_remove_tree(above, (struct relpath){ name, strlen(name) }, &unit_error));
	(void)close(above);
	(void)close(w->dir.fd);
	free(w);
	return 0;
}

/* -- getting -- */

static inline void
world_note(void *ctx, struct relpath path, const char *why)
{
	struct world *w = ctx;
	size_t n = strlen(w->notes);

	snprintf(w->notes + n, sizeof w->notes - n, "%s: %s\n", path.text, why);
}

static inline enum err
world_plan(struct world *w, const struct snap *s)
{
	struct relpath sub = { w->subpath, strlen(w->subpath) };
	const struct dest_opts o = {
		.path = w->dest,
		.subpath = sub,
		.job = w->job,
		.round = w->round,
		.job_dir = w->job_dir,
		.state = w->state,
		.places = w->places,
		.root = &w->root,
		.nodes = nodes_source(&w->nodes),
		.snapshot = s->id,
		.content = s->content,
		.overwrite = w->overwrite,
		.share_only = w->share_only,
		.cancel = &w->cancel,
		.on_note = world_note,
		.ctx = w,
	};
	struct dest_opts full = o;

	assert_null(w->d);
	w->fed = 0;
	w->notes[0] = '\0';
	snapshot_map_free(w->map);
	w->map = NULL;
	check_ok(snapshot_map_open(w->maps, o.nodes, &s->content, 256 * 1024, NULL, &w->map, &w->e),
	    w->e);
	full.map = w->map;
	w->e = (struct error){ 0 };
	enum err r = dest_plan(&full, &w->d, &w->e);
	if (r == OK)
		dest_summary(w->d, &w->sum);
	return r;
}

/* One leaf of the sequence, as the network would bring it. */
static inline enum err
world_feed_leaf(struct world *w, const struct sink *sink, uint32_t chunk, uint32_t leaf)
{
	const struct snapshot_map_chunk *m = snapshot_map_chunk(w->map, chunk);
	const struct buf *b = map_ptr(&w->chunks, hash_id_bytes(&m->id));
	struct transfer_leaf l = {
		.chunk = chunk, .leaf = leaf, .n_leaves = chunk_id_leaf_count(m->len)
	};

	assert_non_null(b);
	assert_int_equal(b->len, m->len);
	if (!hash_id_equal(&w->list_of, &m->id))
		chunk_id_of(HASH_DEFAULT, buf_bytes(b), &w->list, &w->list_of);
	l.list = l.n_leaves > 1 ? &w->list : NULL;
	l.bytes = BYTES(b->at + (size_t)leaf * CHUNK_LEAF, chunk_id_leaf_len(m->len, leaf));
	w->fed += l.bytes.len;
	return sink->take(sink->ctx, &l, &w->e);
}

static inline bool
world_is_in_runs(const struct leaf_run *runs, uint32_t n, uint32_t leaf)
{
	for (uint32_t i = 0; i < n; i++)
		if (leaf >= runs[i].first && leaf < (uint32_t)runs[i].first + runs[i].n)
			return true;
	return false;
}

/* What is missing, unit by unit, up to feed_max bytes: ERR_CANCELED when that was too little. */
static inline enum err
world_feed(struct world *w)
{
	struct sink sink = dest_sink(w->d);
	struct leaf_run runs[LIMIT_UNIT_RUNS];
	uint32_t bytes, chunk;
	enum err r = OK;

	for (uint64_t i = 0; r == OK && i < snapshot_map_units(w->map); i++) {
		uint32_t n = sink.missing(sink.ctx, (uint32_t)i, runs, &bytes);
		struct unit_pieces p = unit_pieces_of(snapshot_map_unit(w->map, i));
		while (n > 0 && r == OK && unit_pieces_more(&p, &chunk)) {
			struct unit_piece piece =
			    unit_pieces_next(&p, snapshot_map_chunk(w->map, chunk)->len);
			for (uint32_t k = 0; r == OK && k < piece.n_leaves; k++) {
				if (!world_is_in_runs(runs, n, piece.unit_leaf + k))
					continue;
				if (w->fed >= w->feed_max)
					return ERR_CANCELED;
				r = world_feed_leaf(w, &sink, chunk, piece.first_leaf + k);
			}
		}
	}
	return r == OK ? sink.flush(sink.ctx, &w->e) : r;
}

static inline enum err
world_bring(struct world *w)
{
	enum err r = dest_copy_local(w->d, NULL, &w->e);

	return r == OK ? world_feed(w) : r;
}

/* The last step; what the plan came to is in sum. */
static inline enum err
world_switch(struct world *w)
{
	enum err r = dest_switch(w->d, &w->e);

	dest_summary(w->d, &w->sum);
	return r;
}

/* All but the last step. */
static inline void
world_receive(struct world *w, const struct snap *s)
{
	check_ok(world_plan(w, s), w->e);
	check_ok(world_bring(w), w->e);
}

static inline void
world_end(struct world *w)
{
	dest_close(w->d);
	w->d = NULL;
	check_ok(dest_discard(w->dest, w->job, 0, w->job_dir, &w->e), w->e);
}

static inline void
world_finish(struct world *w)
{
	check_ok(world_switch(w), w->e);
	world_end(w);
}

static inline void
world_get(struct world *w, const struct snap *s)
{
	world_receive(w, s);
	world_finish(w);
}

/* -- looking -- */

static inline char *
world_path(const struct world *w, const char *path)
{
	return str_printf("%s/%s", w->dest, path);
}

static inline uint8_t *
world_read(const char *path, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0)
		unit_fail("%s: %s", path, strerror(errno));
	assert_int_equal(fstat(fd, &st), 0);
	uint8_t *b = mem_alloc((size_t)st.st_size + 1);
	size_t have = 0;
	for (ssize_t n; (n = read(fd, b + have, (size_t)st.st_size + 1 - have)) > 0;)
		have += (size_t)n;
	close(fd);
	assert_int_equal(have, st.st_size);
	*ret_len = have;
	return b;
}

static inline bool
world_file_is(const struct world *w, const char *name, const void *bytes, size_t len)
{
	auto_free char *path = world_path(w, name);
	struct stat st;
	size_t n;

	if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode))
		return false;
	auto_free uint8_t *b = world_read(path, &n);
	return n == len && memcmp(b, bytes, n) == 0;
}

static inline bool
world_holds(const struct world *w, const char *name, const char *text)
{
	return world_file_is(w, name, text, strlen(text));
}

static inline void
world_assert_files(const struct world *w, const char *const *entries)
{
	for (; *entries != NULL; entries++) {
		struct entry_text en = entry_text(*entries);
		if (!world_holds(w, en.path, en.text))
			unit_fail("%s is not \"%s\"", en.path, en.text);
	}
}

/* world_assert_holds(w, "a=text", "d/b=more") */
#define world_assert_holds(w, ...) world_assert_files((w), ENTRIES(__VA_ARGS__))

static inline struct stat
world_stat(const struct world *w, const char *name)
{
	auto_free char *path = world_path(w, name);
	struct stat st;

	if (lstat(path, &st) != 0)
		unit_fail("%s: %s", name, strerror(errno));
	return st;
}

static inline bool
world_has(const struct world *w, const char *name)
{
	auto_free char *path = world_path(w, name);
	struct stat st;

	return lstat(path, &st) == 0;
}

static inline int64_t
world_mtime(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

/* One entry, exactly. */
static inline void
world_assert_item(const struct world *w, const struct item *it)
{
	auto_free char *path = world_path(w, it->path);
	char target[TREE_LINK_MAX + 1];
	struct stat st;

	if (lstat(path, &st) != 0)
		unit_fail("%s: %s", it->path, strerror(errno));
	if (it->type == TREE_SYMLINK) {
		ssize_t n = readlink(path, target, sizeof target);
		if (n != (ssize_t)it->len || memcmp(target, it->bytes, it->len) != 0)
			unit_fail("%s: another target", it->path);
		return;
	}
	if (!(it->type == TREE_DIR ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode)))
		unit_fail("%s: another type", it->path);
	if ((st.st_mode & 07777) != it->mode)
		unit_fail("%s: mode %o, not %o", it->path, st.st_mode & 07777, it->mode);
	if (world_mtime(&st) != it->mtime_ns)
		unit_fail("%s: time %lld, not %lld", it->path, (long long)world_mtime(&st),
		    (long long)it->mtime_ns);
	if (it->type == TREE_FILE && (geteuid() == 0 || (it->mode & 0400)) &&
	    !world_file_is(w, it->path, it->bytes, it->len))
		unit_fail("%s: another content", it->path);
}

static size_t world_count;

static inline int
world_count_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	if (at->level == 1 && strcmp(path + at->base, ".weft") == 0)
		return FTW_SKIP_SUBTREE;
	world_count += at->level > 0;
	return 0;
}

/* Entries in DEST without .weft. */
static inline size_t
world_entries(const struct world *w)
{
	world_count = 0;
	assert_int_equal(nftw(w->dest, world_count_one, 16, FTW_PHYS | FTW_ACTIONRETVAL), 0);
	return world_count;
}

/* DEST is exactly the snapshot and MORE entries of the user's. */
static inline void
world_assert_is(const struct world *w, const struct snap *s, size_t more)
{
	array_each (it, &s->items)
		world_assert_item(w, it);
	if (geteuid() == 0)
		assert_int_equal(world_entries(w), s->items.len + more);
}

/* -- the user -- */

static inline void
user_put(const struct world *w, const char *name, const char *text)
{
	auto_free char *path = world_path(w, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	if (fd < 0)
		unit_fail("%s: %s", path, strerror(errno));
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static inline void
user_mkdir(const struct world *w, const char *name)
{
	auto_free char *path = world_path(w, name);

	assert_int_equal(mkdir(path, 0755), 0);
}

static inline void
user_link(const struct world *w, const char *name, const char *target)
{
	auto_free char *path = world_path(w, name);

	assert_int_equal(symlink(target, path), 0);
}

static inline void
user_make_all(const struct world *w, const char *const *entries)
{
	for (; *entries != NULL; entries++) {
		struct entry_text en = entry_text(*entries);
		if (en.type == TREE_FILE)
			user_put(w, en.path, en.text);
		else if (en.type == TREE_SYMLINK)
			user_link(w, en.path, en.text);
		else
			user_mkdir(w, en.path);
	}
}

/* user_makes(w, "dir/", "dir/file=text", "link->target") */
#define user_makes(w, ...) user_make_all((w), ENTRIES(__VA_ARGS__))

static inline void
user_chmod(const struct world *w, const char *name, mode_t mode)
{
	auto_free char *path = world_path(w, name);

	assert_int_equal(chmod(path, mode), 0);
}

/* TIMES as of utimensat; NULL: now. */
static inline void
user_touch(const struct world *w, const char *name, const struct timespec *times)
{
	auto_free char *path = world_path(w, name);

	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* Another text, under the old time. */
static inline void
user_puts_secretly(const struct world *w, const char *name, const char *text)
{
	struct stat st = world_stat(w, name);

	user_put(w, name, text);
	user_touch(w, name, (const struct timespec[2]){ st.st_atim, st.st_mtim });
}

static inline void
user_remove(const struct world *w, const char *name)
{
	auto_free char *path = world_path(w, name);

	if (nftw(path, check_remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
		unit_fail("remove %s: %s", path, strerror(errno));
}

static inline void
world_assert_says(const struct world *w, const char *part)
{
	if (strstr(w->notes, part) == NULL)
		unit_fail("no note says \"%s\":\n%s", part, w->notes);
}

/* -- both as root and as nobody -- */

/* Runs TESTS, and when we are root once more as somebody with no rights. */
#define world_run(tests)                                                                           \
	__extension__({                                                                            \
		int world_failed = cmocka_run_group_tests(tests, NULL, NULL);                      \
		fflush(NULL);                                                                      \
		pid_t world_pid = geteuid() == 0 ? fork() : -1;                                    \
		if (world_pid == 0) {                                                              \
			int world_r = setgid(65534) == 0 && setuid(65534) == 0                     \
					  ? cmocka_run_group_tests(tests, NULL, NULL)              \
					  : 99;                                                    \
			fflush(NULL);                                                              \
			_exit(world_r);                                                            \
		}                                                                                  \
		int world_status = 0;                                                              \
		if (world_pid > 0 && waitpid(world_pid, &world_status, 0) == world_pid)            \
			world_failed += world_status != 0;                                         \
		world_failed;                                                                      \
	})
