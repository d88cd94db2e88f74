#include "engine/dest.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/dest_private.h"

/* -- the destination -- */

static enum err
open_dest(struct dest *d, struct error *e)
{
	struct fs_stat st;
	auto_fd int parent = -1;
	auto_free char *above = str_dup(d->path);
	char *slash = strrchr(above, '/');
	struct relpath name;

	if (strcmp(d->path, "/") == 0)
		return fs_open_root(d->path, &d->dir, e);
	const char *last = d->path + (slash - above) + 1;
	*(slash == above ? slash + 1 : slash) = 0;
	enum err r = fs_open_root(above, &parent, e);
	if (r == OK)
		r = relpath_parse(last, strlen(last), &name, e);
	if (r != OK)
		return error_wrap(e, r, "%s", d->path);
	r = fs_stat_at(parent, name, &st, e);
	if (r == ERR_NOTFOUND) {
		r = fs_mkdir(parent, name, 0777, e);
		if (r == ERR_EXISTS)
			r = OK;
	} else if (r == OK && st.type == FS_SYMLINK) {
		return fail(e, ERR_EXISTS, "%s is a symlink: name the directory it points to", d->path);
	} else if (r == OK && st.type != FS_DIR) {
		return fail(e, ERR_EXISTS, "%s is not a directory: name one, or one that is to be made", d->path);
	}
	if (r == OK)
		r = fs_open_dir(parent, name, &d->dir, e);
	return r == OK ? OK : error_wrap(e, r, "receive into %s", d->path);
}

static void
stage_path(int64_t job, char out[static 48])
{
	snprintf(out, 48, DEST_META "/stage-%lld", (long long)job);
}

static enum err
open_stage(struct dest *d, struct error *e)
{
	char path[48];

	stage_path(d->o.job, path);
	enum err r = fs_mkdirs(d->dir, fs_rel(path), 0700, e);
	if (r == OK)
		r = fs_open_dir(d->dir, fs_rel(path), &d->stage, e);
	return r == OK ? OK : error_wrap(e, r, "%s cannot be written to", d->path);
}

/* Which directory's entries land in DEST: the snapshot's root, the one SUBPATH names, or, when that is a file, the one it is
 * in. */
static enum err
find_tree(struct dest *d, struct error *e)
{
	auto_buf struct buf value = BUF(NODE_MAX);
	struct tree_item items[TREE_INLINE_ITEMS];
	struct tree_entry en;
	struct relpath path = { d->subpath, strlen(d->subpath) };

	d->tree = d->o.content;
	if (path.len == 0)
		return OK;
	enum err r = tree_find_path(d->o.nodes, &d->o.content, path, &value, items, &en, e);
	if (r == ERR_NOTFOUND)
		return fail(e, ERR_NOTFOUND, "the snapshot has no %s", d->subpath);
	if (r != OK || en.type == TREE_DIR) {
		if (r == OK)
			d->tree = en.root;
		return r;
	}
	char *slash = strrchr(d->subpath, '/');
	d->only = str_dup(slash != NULL ? slash + 1 : d->subpath);
	if (slash == NULL)
		return OK;
	*slash = 0;
	buf_reset(&value);
	r = tree_find_path(d->o.nodes, &d->o.content, (struct relpath){ d->subpath, strlen(d->subpath) }, &value, items, &en, e);
	*slash = '/';
	if (r == OK)
		d->tree = en.root;
	return r;
}

/* -- the plan on disk -- */

static const struct {
	const char *name;
	uint32_t magic, record;
	size_t at;
} arrays[] = {
	{ "files", DEST_FILES, sizeof(struct dest_file), offsetof(struct dest, files) },
	{ "chunks", DEST_CHUNKS, sizeof(struct dest_chunk), offsetof(struct dest, chunks) },
	{ "paths", DEST_PATHS, 1, offsetof(struct dest, paths) },
	{ "copies", DEST_COPIES, sizeof(struct dest_copy), offsetof(struct dest, copies) },
	{ "gone", DEST_GONE, sizeof(struct dest_gone), offsetof(struct dest, gone) },
};

static struct big_array *
array_of(struct dest *d, size_t i)
{
	return (struct big_array *)(void *)((char *)d + arrays[i].at);
}

static void
close_arrays(struct dest *d)
{
	for (size_t i = 0; i < lengthof(arrays); i++)
		big_array_close(array_of(d, i));
}

static void
make_header(const struct dest *d, struct dest_header *h)
{
	memset(h, 0, sizeof *h);
	memcpy(h->snapshot, d->o.snapshot.bytes, HASH_BYTES);
	memcpy(h->root, d->tree.bytes, HASH_BYTES);
	h->overwrite = d->o.overwrite;
	h->complete = 1;
	h->summary = d->summary;
}

/* The plan of an earlier run, if it is of the same snapshot and whole. */
static bool
read_plan(struct dest *d)
{
	auto_buf struct buf b = BUF(sizeof(struct dest_header));
	struct dest_header mine, theirs;

	if (fs_read_file(d->o.job_dir, REL("plan"), &b, NULL) != OK || b.len != sizeof theirs)
		return false;
	memcpy(&theirs, b.at, sizeof theirs);
	make_header(d, &mine);
	if (memcmp(&mine, &theirs, offsetof(struct dest_header, summary)) != 0)
		return false;
	for (size_t i = 0; i < lengthof(arrays); i++) {
		if (big_array_open(array_of(d, i), d->o.job_dir, fs_rel(arrays[i].name), arrays[i].magic,
			arrays[i].record, NULL) != OK) {
			close_arrays(d);
			return false;
		}
	}
	if (d->chunks.n != snapshot_map_chunks(d->o.map)) {
		close_arrays(d);
		return false;
	}
	d->summary = theirs.summary;
	return true;
}

static enum err
write_plan(struct dest *d, struct error *e)
{
	struct dest_header h;
	enum err r = OK;

	for (size_t i = 0; r == OK && i < lengthof(arrays); i++)
		r = big_array_sync(array_of(d, i), e);
	if (r != OK)
		return r;
	make_header(d, &h);
	return fs_write_file(d->o.job_dir, REL("plan"), BYTES_OF(h), 0600, e);
}

static enum err
check_space(struct dest *d, struct error *e)
{
	uint64_t here = 0, total, margin = 16 * 1024 * 1024, needed = d->summary.bytes_missing;
	char need[TEXT_SIZE], have[TEXT_SIZE];
	enum err r = fs_space(d->dir, &here, &total, e);

	for (uint64_t i = 0; i < d->copies.n; i++)
		needed += snapshot_map_chunk(d->o.map, ((struct dest_copy *)big_array_at(&d->copies, i))->chunk)->len;
	if (r != OK || needed == 0 || here >= needed + margin)
		return r;
	return fail(e, ERR_NOSPACE, "%s needs %s and has %s: make room, then try again", d->path, text_size(needed, need),
	    text_size(here, have));
}

static enum err
forget(int job_dir, const char *name, struct error *e)
{
	struct error why;
	enum err r = fs_unlink(job_dir, fs_rel(name), &why);

	if (r == OK || r == ERR_NOTFOUND)
		return OK;
	return fail(e, r, "%s", why.text);
}

static enum err
new_plan(struct dest *d, struct error *e)
{
	enum err r = OK;

	/* A staged file of another plan would be taken for ours. */
	char path[48];
	stage_path(d->o.job, path);
	r = fs_remove_tree(d->dir, fs_rel(path), e);
	if (r == OK)
		r = forget(d->o.job_dir, "plan", e);
	if (r == OK)
		r = forget(d->o.job_dir, "placing", e);
	for (size_t i = 0; r == OK && i < lengthof(arrays); i++)
		r = big_array_create(array_of(d, i), d->o.job_dir, fs_rel(arrays[i].name), arrays[i].magic, arrays[i].record,
		    e);
	if (r == OK)
		r = dest_plan_make(d, e);
	if (r == OK)
		r = check_space(d, e);
	if (r == OK)
		r = write_plan(d, e);
	return r;
}

/* -- resuming -- */

/* What was flushed counts; a chunk that was written and not yet flushed is looked at, and counts if it is what it should be. */
static enum err
resume(struct dest *d, struct error *e)
{
	auto_free uint8_t *room = mem_alloc(CHUNK_MAX);
	uint64_t n = d->chunks.n;

	for (uint64_t i = 0; i < n; i++) {
		struct dest_chunk *c = dest_chunk(d, i);
		const struct snapshot_map_chunk *m = snapshot_map_chunk(d->o.map, i);
		uint16_t all = (uint16_t)((1u << chunk_id_leaf_count(m->len)) - 1);
		int fd;
		if (c->file == UINT32_MAX || c->taken == c->durable)
			continue;
		bool ok = false;
		if (c->taken == all && dest_stage_acquire(d, c->file, &fd, e) == OK) {
			ok = fs_read_exact(fd, c->offset, room, m->len, NULL) == OK &&
			    chunk_id_matches(&m->id, BYTES(room, m->len));
			dest_stage_release(d, c->file, fd);
		}
		c->taken = ok ? all : c->durable;
		if (ok) {
			array_reserve(&d->fresh, d->fresh.len + 1);
			d->fresh.at[d->fresh.len].chunk = (uint32_t)i;
			d->fresh.at[d->fresh.len++].leaves = all;
		}
	}
	return OK;
}

enum err
dest_plan(const struct dest_opts *o, struct dest **ret, struct error *e)
{
	struct dest *d = mem_new(struct dest);

	d->o = *o;
	d->dir = d->stage = -1;
	d->path = str_dup(o->path);
	d->subpath = str_dup(o->subpath.text);
	for (size_t i = 0; i < DEST_OPEN_FILES; i++)
		d->open[i].fd = -1;
	pthread_mutex_init(&d->lock, NULL);
	enum err r = open_dest(d, e);
	if (r == OK)
		r = find_tree(d, e);
	bool resumed = r == OK && read_plan(d);
	if (r == OK && !resumed)
		r = new_plan(d, e);
	if (r == OK)
		r = open_stage(d, e);
	if (r == OK && resumed)
		r = resume(d, e);
	if (r != OK) {
		dest_close(d);
		return r;
	}
	d->is_planned = true;
	*ret = d;
	return OK;
}

void
dest_close(struct dest *d)
{
	if (d == NULL)
		return;
	dest_stage_close_all(d);
	close_arrays(d);
	if (d->stage >= 0)
		(void)close(d->stage);
	if (d->dir >= 0)
		(void)close(d->dir);
	pthread_mutex_destroy(&d->lock);
	array_clear(&d->fresh);
	free(d->path);
	free(d->subpath);
	free(d->only);
	free(d);
}

void
dest_summary(const struct dest *d, struct dest_summary *ret)
{
	*ret = d->summary;
}

void
dest_discard(const char *path, int64_t job, int job_dir)
{
	char stage[48];
	auto_fd int dir = -1;

	for (size_t i = 0; i < lengthof(arrays); i++)
		(void)!fs_unlink(job_dir, fs_rel(arrays[i].name), NULL);
	(void)!fs_unlink(job_dir, REL("plan"), NULL);
	(void)!fs_unlink(job_dir, REL("placing"), NULL);
	if (fs_open_root(path, &dir, NULL) != OK)
		return;
	stage_path(job, stage);
	if (fs_remove_tree(dir, fs_rel(stage), NULL) != OK)
		log_warn("%s/%s could not be removed", path, stage);
	(void)!fs_rmdir(dir, REL(DEST_META), NULL); /* stays while there is a trash in it */
}

/* A trash directory is named by the second it was begun in. */
void
dest_expire_trash(const char *path, int64_t now_ns)
{
	auto_fd int dir = -1;
	auto_fd int trash = -1;
	struct fs_list names = { 0 };
	uint64_t at;

	if (fs_open_root(path, &dir, NULL) != OK || fs_open_dir(dir, REL(DEST_TRASH), &trash, NULL) != OK ||
	    fs_list_dir(trash, &names, NULL) != OK)
		return;
	for (size_t i = 0; i < names.n; i++) {
		const char *name = names.names + names.at[i];
		if (!text_parse_u64(name, INT64_MAX / 1000000000, &at))
			continue;
		if (now_ns / 1000000000 - (int64_t)at > DEST_TRASH_DAYS * 24 * 3600 &&
		    fs_remove_tree(trash, (struct relpath){ name, strlen(name) }, NULL) != OK)
			log_warn("%s/" DEST_TRASH "/%s could not be removed", path, name);
	}
	fs_list_clear(&names);
}
