#include "engine/dest.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "crypto/random.h"
#include "engine/dest_private.h"

/* -- notes -- */

static const char *const why_text[] = {
	[DEST_WHY_CHANGED] =
	    "was changed since it was received and stays; --overwrite moves it to " DEST_TRASH,
	[DEST_WHY_FILE] = "a file is in the way and stays; --overwrite moves it to " DEST_TRASH,
	[DEST_WHY_DIR] = "a directory is in the way and stays; --overwrite moves it to " DEST_TRASH,
	[DEST_WHY_SYMLINK] =
	    "a symlink is in the way and stays; --overwrite moves it to " DEST_TRASH,
	[DEST_WHY_OTHER] = "something is in the way and stays; --overwrite moves it to " DEST_TRASH,
	[DEST_WHY_GONE] = "is no longer in the share, but was changed here: it stays",
	[DEST_WHY_LATE] = "appeared or changed while the snapshot was being received: it stays",
	[DEST_WHY_LOST] = "what was received for it has been removed: get it again",
	[DEST_WHY_CANNOT] = "cannot be made as it should be",
};

static void
tell(struct dest *d, struct relpath path, enum dest_why why, const char *detail)
{
	char text[ERROR_TEXT];

	if (d->o.on_note == NULL)
		return;
	snprintf(text, sizeof text, "%s%s%s", why_text[why], detail != NULL ? ": " : "",
	    detail != NULL ? detail : "");
	d->o.on_note(d->o.ctx, path, text);
}

void
dest_note(struct dest *d, struct relpath path, enum dest_why why, const char *detail)
{
	d->summary.in_way++;
	tell(d, path, why, detail);
}

void
dest_note_skipped(struct dest *d)
{
	for (uint64_t i = 0; i < d->plan.files.n; i++) {
		const struct dest_file *f = dest_file(d, i);
		if (f->action == DEST_SKIP && f->why != DEST_WHY_NONE)
			tell(d, dest_file_path(d, f), f->why, NULL);
		dest_trim(d, i);
	}
}

void
dest_trim(struct dest *d, uint64_t i)
{
	if (i % DEST_TRIM != DEST_TRIM - 1)
		return;
	dest_store_trim(&d->plan);
	snapshot_map_trim(d->o.map);
}

/* -- the destination -- */

/* Opens NAME in PARENT, made when it is not there. */
static enum err
open_or_make(struct dest *d, int parent, struct relpath name, struct error *e)
{
	struct fs_stat st;
	struct error why;
	enum err r = fs_stat_at(parent, name, &st, &why);

	if (r == ERR_NOTFOUND)
		r = fs_mkdir(parent, name, 0777, &why);
	else if (r == OK && st.type == FS_SYMLINK)
		return fail(
		    e, ERR_EXISTS, "%s is a symlink: name the directory it points to", d->path);
	else if (r == OK && st.type != FS_DIR)
		return fail(e, ERR_EXISTS,
		    "%s is not a directory: name one, or one that is to be made", d->path);
	if (r == OK || r == ERR_EXISTS)
		return fs_open_dir(parent, name, &d->dir, e);
	return dest_fail(e, &why);
}

static enum err
open_dest(struct dest *d, struct error *e)
{
	auto_fd int parent = -1;
	struct relpath name;
	size_t n = strlen(d->path);

	while (n > 1 && d->path[n - 1] == '/')
		d->path[--n] = '\0';
	if (n == 1)
		return fs_open_root(d->path, &d->dir, e);
	auto_free char *above = str_dup(d->path);
	char *slash = strrchr(above, '/');
	const char *last = d->path + (slash + 1 - above);
	slash[slash == above] = '\0';
	enum err r = fs_open_root(above, &parent, e);
	if (r == OK)
		r = relpath_parse(last, strlen(last), &name, e);
	if (r == OK)
		r = open_or_make(d, parent, name, e);
	return r == OK ? OK : error_wrap(e, r, "receive into %s", d->path);
}

static void
stage_path(int64_t job, unsigned round, char out[static 48])
{
	snprintf(out, 48, DEST_META "/stage-%lld%s", (long long)job, round == 0 ? "" : ".1");
}

/* The stage, made if need be, and the mark in it; none when it is new. */
static enum err
open_stage(struct dest *d, struct error *e)
{
	auto_buf struct buf mark = BUF(sizeof d->mark);
	char path[48];

	stage_path(d->o.job, d->o.round, path);
	enum err r = fs_mkdirs(d->dir, fs_rel(path), 0700, e);
	if (r == OK)
		r = fs_open_dir(d->dir, fs_rel(path), &d->stage, e);
	if (r != OK)
		return error_wrap(e, r, "%s cannot be written to", d->path);
	if (fs_read_file(d->stage, REL("mark"), &mark, NULL) == OK && mark.len == sizeof d->mark)
		memcpy(d->mark, mark.at, sizeof d->mark);
	return OK;
}

/* A staged file of another plan would be taken for ours: the stage is begun anew. */
static enum err
empty_stage(struct dest *d, struct error *e)
{
	char path[48];

	stage_path(d->o.job, d->o.round, path);
	enum err r = dest_store_forget(d->o.job_dir, e);
	if (r == OK)
		r = fs_remove_tree(d->dir, fs_rel(path), e);
	cleanup_close(&d->stage);
	d->stage = -1;
	if (r == OK)
		r = open_stage(d, e);
	random_fill(d->mark, sizeof d->mark);
	if (r == OK)
		r = fs_write_file(d->stage, REL("mark"), BYTES_OF(d->mark), 0600, e);
	return r;
}

/* Which directory's entries land in DEST: the snapshot's root, the one SUBPATH names, or, when that
 * is a file, the one it is in. */
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
	struct relpath name = dest_name_of(path);
	d->only = str_dup(name.text);
	if (name.len == path.len)
		return OK;
	auto_free char *above = str_dup(d->subpath);
	path = (struct relpath){ above, path.len - name.len - 1 };
	above[path.len] = '\0';
	buf_reset(&value);
	r = tree_find_path(d->o.nodes, &d->o.content, path, &value, items, &en, e);
	if (r == OK)
		d->tree = en.root;
	return r;
}

/* -- a new plan -- */

/* What is still to be written, as blocks. */
static uint64_t
space_needed(struct dest *d)
{
	uint64_t needed = 0;

	for (uint64_t i = 0; i < d->plan.chunks.n; i++) {
		if (dest_chunk(d, i)->file != DEST_NONE)
			needed += snapshot_map_chunk(d->o.map, i)->len;
		dest_trim(d, i);
	}
	for (uint64_t i = 0; i < d->plan.copies.n; i++) {
		const struct dest_copy *c = big_array_at(&d->plan.copies, i);
		needed += snapshot_map_chunk(d->o.map, c->chunk)->len;
		dest_trim(d, i);
	}
	for (uint64_t i = 0; i < d->plan.files.n; i++) {
		if (dest_is_new(dest_file(d, i)))
			needed += 2048; /* the half of a block that it wastes */
		dest_trim(d, i);
	}
	return needed;
}

static enum err
check_space(struct dest *d, struct error *e)
{
	uint64_t here = 0, total, margin = 16 * 1024 * 1024, needed = space_needed(d);
	char need[TEXT_SIZE], have[TEXT_SIZE];
	enum err r = fs_space(d->dir, &here, &total, e);

	if (r != OK || needed == 0 || here >= needed + margin)
		return r;
	return fail(e, ERR_NOSPACE, "%s needs %s and has %s: make room, then try again", d->path,
	    text_size(needed, need), text_size(here, have));
}

static void
count_missing(struct dest *d)
{
	uint64_t missing = 0;

	for (uint64_t i = 0; i < d->plan.chunks.n; i++) {
		const struct dest_chunk *c = dest_chunk(d, i);
		uint32_t len = snapshot_map_chunk(d->o.map, i)->len;
		for (uint32_t leaf = 0; c->file != DEST_NONE && leaf < chunk_id_leaf_count(len);
		     leaf++)
			missing += c->taken >> leaf & 1 ? 0 : chunk_id_leaf_len(len, leaf);
		dest_trim(d, i);
	}
	d->summary.bytes_missing = missing;
}

/* The plan is made from what is on the disk now; of an earlier plan only what it has staged counts.
 */
static enum err
new_plan(struct dest *d, struct dest_arrays *old, struct error *e)
{
	bool carried = false;
	enum err r = dest_store_create(d, e);

	if (r == OK)
		r = dest_plan_make(d, e);
	if (r == OK && old != NULL)
		r = dest_carry(d, old, &carried, e);
	if (r != OK)
		return r;
	count_missing(d);
	/* What was begun has its blocks; a disk that has become full since is waited for later. */
	r = carried ? OK : check_space(d, e);
	return r == OK ? dest_store_write(d, DEST_PLANNED, e) : r;
}

/* Placing was begun: only its own plan knows what is what. */
static void
go_on_placing(struct dest *d, const struct dest_header *h, const struct dest_arrays *old)
{
	d->plan = *old;
	d->generation = h->generation;
	d->phase = DEST_PLACING;
	d->summary = h->summary;
	d->summary.bytes_missing = 0;
	d->again = true;
	dest_note_skipped(d);
}

static enum err
plan(struct dest *d, struct error *e)
{
	struct dest_arrays old = { 0 };
	struct dest_header h;
	enum err r;

	if (!dest_store_read(d, &h, &old)) {
		r = empty_stage(d, e);
		return r == OK ? new_plan(d, NULL, e) : r;
	}
	if (h.phase == DEST_PLACING) {
		go_on_placing(d, &h, &old);
		return OK;
	}
	d->generation = h.generation;
	r = new_plan(d, &old, e);
	dest_store_close(&old);
	if (r == OK)
		dest_store_remove(d->o.job_dir, h.generation);
	return r;
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
	enum err r = find_tree(d, e); /* first: nothing is made for what is not there */
	if (r == OK)
		r = open_dest(d, e);
	if (r == OK)
		r = open_stage(d, e);
	if (r == OK)
		r = plan(d, e);
	if (r != OK) {
		dest_close(d);
		return r;
	}
	*ret = d;
	return OK;
}

void
dest_close(struct dest *d)
{
	if (d == NULL)
		return;
	dest_stage_close_all(d);
	dest_store_close(&d->plan);
	cleanup_close(&d->stage);
	cleanup_close(&d->dir);
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

/* -- when it is over -- */

enum err
dest_discard(const char *path, int64_t job, unsigned round, int job_dir, struct error *e)
{
	char stage[48];
	auto_fd int dir = -1;
	struct error why;

	(void)!dest_store_forget(job_dir, NULL);
	dest_store_remove(job_dir, -1);
	enum err r = fs_open_root(path, &dir, &why);
	if (r == ERR_NOTFOUND || (r != OK && why.sys == ENOTDIR))
		return OK; /* no directory, so nothing of ours in it */
	if (r != OK)
		return dest_fail(e, &why);
	stage_path(job, round, stage);
	r = fs_remove_tree(dir, fs_rel(stage), e);
	(void)!fs_rmdir(dir, REL(DEST_META), NULL); /* stays while there is a trash in it */
	return r;
}

/* A trash directory is named by the second it was begun in. */
void
dest_expire_trash(const char *path, int64_t now_ns)
{
	const int64_t oldest = now_ns / 1000000000 - DEST_TRASH_DAYS * 24 * 3600;
	auto_fd int dir = -1;
	auto_fd int trash = -1;
	auto_(fs_list_clear) struct fs_list names = { 0 };
	uint64_t at;

	if (fs_open_root(path, &dir, NULL) != OK ||
	    fs_open_dir(dir, REL(DEST_TRASH), &trash, NULL) != OK ||
	    fs_list_dir(trash, &names, NULL) != OK)
		return;
	for (size_t i = 0; i < names.n; i++) {
		const char *name = names.names + names.at[i];
		if (text_parse_u64(name, INT64_MAX, &at) && (int64_t)at < oldest &&
		    fs_remove_tree(trash, (struct relpath){ name, strlen(name) }, NULL) != OK)
			log_warn("%s/" DEST_TRASH "/%s could not be removed", path, name);
	}
	(void)!fs_rmdir(dir, REL(DEST_TRASH), NULL); /* empty ones go */
	(void)!fs_rmdir(dir, REL(DEST_META), NULL);
}
