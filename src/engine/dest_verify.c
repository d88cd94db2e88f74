/*
 * Is everything of the snapshot here as it was?  What the snapshot does not have is the user's and
 * no difference; so the times of directories, which change with whatever is put into them, say
 * nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/dest_private.h"
#include "manifest/commit.h"

struct verifier {
	const struct dest_verify_opts *o;
	int dir;
	char *as; /* name in dir of a file that was published alone; owned, or NULL */
	uint8_t *room;
	uint64_t entries, files, bytes, differences;
};

static void
differ(struct verifier *v, struct relpath path, const char *what)
{
	if (v->as != NULL)
		path = (struct relpath){ "", 0 };
	v->differences++;
	if (v->o->on_difference != NULL)
		v->o->on_difference(v->o->ctx, path, what);
}

static enum err
verify_file(struct verifier *v, struct relpath path, const struct tree_entry *en,
    const struct fs_stat *st, struct error *e)
{
	auto_fd int fd = -1;
	bool same = false;
	struct error why;

	v->files++;
	if (st->size != en->size) {
		differ(v, path, "size differs");
		return OK;
	}
	enum err r = fs_open_read(v->dir, path, &fd, &why);
	if (r == OK)
		r = dest_content_is(v->o->nodes, fd, en, v->room, v->o->cancel, &same, &why);
	if (r == ERR_CANCELED)
		return fail(e, r, "%s", why.text);
	if (r != OK)
		differ(v, path, why.text);
	else if (!same)
		differ(v, path, "content differs");
	v->bytes += st->size;
	return OK;
}

static enum err
verify_entry(struct verifier *v, struct relpath path, const struct tree_entry *en, struct error *e)
{
	static const enum fs_type types[] = {
		[TREE_FILE] = FS_FILE, [TREE_DIR] = FS_DIR, [TREE_SYMLINK] = FS_SYMLINK
	};
	auto_buf struct buf target = BUF(TREE_LINK_MAX);
	struct fs_stat st;
	struct error why;

	v->entries++;
	enum err r = fs_stat_at(v->dir, path, &st, &why);
	if (r != OK) {
		/* Where a directory was, something else may stand, or none that lets us in. */
		bool is_gone = r == ERR_NOTFOUND || why.sys == ENOTDIR || why.sys == ELOOP;
		differ(v, path, is_gone ? "missing" : why.text);
		return OK;
	}
	if (st.type != types[en->type]) {
		differ(v, path, "another type of file");
		return OK;
	}
	if (en->type == TREE_SYMLINK) {
		if (fs_readlink(v->dir, path, &target, NULL) != OK ||
		    !bytes_equal(buf_bytes(&target), en->target))
			differ(v, path, "target differs");
		return OK;
	}
	if ((st.mode & 0777) != en->mode)
		differ(v, path, "mode differs");
	if (en->type == TREE_DIR)
		return OK;
	if (st.mtime_ns != en->mtime_ns)
		differ(v, path, "time differs");
	return verify_file(v, path, en, &st, e);
}

static bool
is_beneath(struct relpath path, struct relpath above)
{
	return above.len == 0 ||
	       (path.len >= above.len && memcmp(path.text, above.text, above.len) == 0 &&
		   (path.len == above.len || path.text[above.len] == '/'));
}

/* When what was received is one file of a directory, only that is looked at. */
static enum err
find_only(const struct dest_verify_opts *o, char **ret, struct error *e)
{
	auto_buf struct buf bytes = BUF(COMMIT_MAX), value = BUF(NODE_MAX);
	struct tree_item items[TREE_INLINE_ITEMS];
	struct relpath path = { o->root->subpath, strlen(o->root->subpath) };
	struct tree_entry en;
	struct commit c = { 0 };

	if (path.len == 0)
		return OK;
	enum err r = o->nodes.get(o->nodes.ctx, HASH_COMMIT, &o->root->snapshot, &bytes, e);
	if (r == OK)
		r = commit_decode(buf_bytes(&bytes), &c, e);
	if (r == OK)
		r = tree_find_path(o->nodes, &c.content, path, &value, items, &en, e);
	commit_clear(&c);
	if (r != OK || en.type == TREE_DIR)
		return r;
	const char *slash = strrchr(path.text, '/');
	*ret = str_dup(slash != NULL ? slash + 1 : path.text);
	return OK;
}

static enum err
verify_all(struct verifier *v, struct error *e)
{
	auto_free char *only = NULL;
	enum err r = find_only(v->o, &only, e);
	if (r != OK)
		return r;
	auto_(dest_merge_free_p) struct dest_merge *m =
	    dest_merge_new(v->o->nodes, NULL, &v->o->root->content, only);
	struct dest_pair pair;

	while ((r = dest_merge_next(m, &pair, e)) == OK) {
		if (v->o->cancel != NULL && *v->o->cancel)
			return fail(e, ERR_CANCELED, "stopped");
		if (!is_beneath(pair.path, v->o->path))
			continue;
		struct relpath there = pair.path;
		if (v->as != NULL)
			there = (struct relpath){ v->as, strlen(v->as) };
		r = verify_entry(v, there, pair.new, e);
		if (r != OK)
			return r;
		if (v->o->on_progress != NULL)
			v->o->on_progress(v->o->ctx, v->files, v->bytes);
	}
	if (r == ERR_NOTFOUND && v->entries == 0 && v->o->path.len > 0)
		return fail(e, r, "%s is not in the snapshot", v->o->path.text);
	return r == ERR_NOTFOUND ? OK : r;
}

/* A root that is a file was published alone. */
static enum err
open_single(struct verifier *v, struct error *e)
{
	auto_free char *real = realpath(v->o->root->path, NULL);
	char *slash = real != NULL ? strrchr(real, '/') : NULL;

	if (slash == NULL)
		return fail_sys(e, errno, "find %s", v->o->root->path);
	v->as = str_dup(slash + 1);
	*slash = '\0';
	return fs_open_root(slash > real ? real : "/", &v->dir, e);
}

static enum err
open_root(struct verifier *v, struct error *e)
{
	struct error why = { 0 };
	enum err r = fs_open_root(v->o->root->path, &v->dir, &why);

	if (r != OK && why.sys == ENOTDIR && v->o->root->kind == ROOT_PUBLISH)
		r = open_single(v, &why);
	return r == OK ? OK : dest_fail(e, &why);
}

enum err
dest_verify(const struct dest_verify_opts *o, uint64_t *ret_files, uint64_t *ret_bytes,
    uint64_t *ret_differences, struct error *e)
{
	struct verifier v = { .o = o, .dir = -1 };
	struct error why;
	enum err r = open_root(&v, &why);

	if (r == ERR_NOTFOUND) {
		differ(&v, (struct relpath){ "", 0 }, "missing");
		r = OK;
	} else if (r == OK) {
		v.room = mem_alloc(CHUNK_MAX);
		r = verify_all(&v, &why);
		free(v.room);
	}
	free(v.as);
	cleanup_close(&v.dir);
	if (r != OK)
		return dest_fail(e, &why);
	*ret_files = v.files;
	*ret_bytes = v.bytes;
	*ret_differences = v.differences;
	return OK;
}
