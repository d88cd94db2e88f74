#include "engine/scan.h"

#include <errno.h>

#include "base/mem.h"
#include "base/text.h"
#include "engine/scan_private.h"

bool
scan_canceled(const struct scan *s)
{
	return atomic_load_explicit(s->o->cancel, memory_order_relaxed);
}

void
scan_note(struct scan *s, const struct scan_dir *d, const char *name, const char *why)
{
	auto_buf struct buf path = { 0 };

	s->res.skipped++;
	if (s->o->on_note != NULL)
		s->o->on_note(s->o->ctx, scan_dir_child(d, scan_name_in(d, name), &path), why);
}

/* -- nodes -- */

static enum err
get_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct buf *out, struct error *e)
{
	const struct scan *s = ctx;

	(void)kind;
	return chunk_store_get_node(s->o->nodes, id, out, e);
}

static enum err
put_node(void *ctx, enum hash_kind kind, struct bytes node, struct hash_id *ret_id, struct error *e)
{
	const struct scan *s = ctx;

	if (!s->o->dry_run)
		return chunk_store_put_node(s->o->nodes, HASH_DEFAULT, kind, node, ret_id, e);
	hash_object(HASH_DEFAULT, kind, node, ret_id);
	return OK;
}

/* -- jobs of the items in the ring -- */

void
scan_begin_read(struct scan *s, struct scan_item *it)
{
	struct error why = { 0 };
	enum err r = scan_dir_begin(s, it->dir, &it->file.dir, &why);

	it->file.opts = s->o;
	it->file.name = it->name;
	it->begun = r == OK;
	if (r == OK) {
		scan_file_start(&it->file, s->pool);
	} else {
		it->file.result = SCAN_READ_SKIP;
		it->file.why = scan_file_why(r, &why);
	}
}

void
scan_end_read(struct scan *s, struct scan_item *it)
{
	if (!it->begun)
		return;
	scan_pool_wait(s->pool, &it->file.job);
	scan_dir_end(s, it->dir);
	it->begun = false;
}

static struct scan_item *
ring_at(struct scan *s, size_t i)
{
	return &s->ring[(s->first + i) % SCAN_RING];
}

void
scan_read_all_of(struct scan *s, const struct scan_dir *d)
{
	for (size_t i = 0; i < s->count; i++) {
		struct scan_item *it = ring_at(s, i);
		if (it->dir != d || it->kind != SCAN_SAME)
			continue;
		it->kind = SCAN_READ;
		scan_begin_read(s, it);
	}
}

static void
item_clear(struct scan *s, struct scan_item *it)
{
	scan_file_clear(&it->file);
	free(it->target);
	free(it->name);
	it->target = it->name = NULL;
	scan_dir_unref(s, it->dir);
	it->dir = NULL;
}

/* -- the walk ahead, the building behind -- */

static enum err
produce(struct scan *s, struct scan_walk *w, struct error *e)
{
	struct scan_item *it = ring_at(s, s->count);
	enum err r = scan_walk_next(w, it, e);

	if (r != OK)
		return r;
	s->count++;
	if (it->kind == SCAN_READ)
		scan_begin_read(s, it);
	return OK;
}

static enum err
consume(struct scan *s, struct scan_build *b, struct error *e)
{
	struct scan_item *it = ring_at(s, 0);
	enum err r = scan_build_take(b, it, e);

	if (r != OK)
		return r;
	item_clear(s, it);
	s->first = (s->first + 1) % SCAN_RING;
	s->count--;
	return OK;
}

static enum err
walk_and_build(struct scan *s, struct scan_walk *w, struct scan_build *b, struct error *e)
{
	enum err r = scan_walk_begin(w, s->root, e);
	bool more = r == OK;

	while (r == OK && (more || s->count > 0)) {
		if (more && s->count < SCAN_RING &&
		    (s->pinned < SCAN_DIRS_PINNED || s->count == 0)) {
			r = produce(s, w, e);
			more = r == OK;
			if (r == ERR_NOTFOUND)
				r = OK;
		} else {
			r = consume(s, b, e);
		}
	}
	return r;
}

/* -- the root -- */

/* PATH is no directory: then it is a file, which is published alone.  REAL and AS are owned. */
static enum err
open_file_root(struct scan *s, int *ret_fd, char **ret_only, char **ret_as, struct error *e)
{
	auto_free char *real = realpath(s->o->path, NULL);
	const char *name = strrchr(s->o->path, '/');
	struct fs_stat st;
	int fd_ = -1;

	if (real == NULL || name == NULL)
		return fail_sys(e, errno, "find %s", s->o->path);
	if (relpath_is_reserved(bytes_str(name + 1)))
		return fail(
		    e, ERR_USAGE, "%s: names that begin with .weft are our own", s->o->path);
	char *slash = strrchr(real, '/');
	*slash = '\0';
	enum err r = fs_open_root(slash > real ? real : "/", &fd_, e);
	auto_fd int fd = fd_;
	if (r == OK)
		r = fs_stat_at(fd, (struct relpath){ slash + 1, strlen(slash + 1) }, &st, e);
	if (r == OK && st.type != FS_FILE)
		r = fail(e, ERR_USAGE, "%s is neither a directory nor a file", s->o->path);
	if (r != OK)
		return r;
	*ret_fd = take_fd(fd);
	*ret_only = str_dup(slash + 1);
	*ret_as = str_dup(name + 1);
	return OK;
}

static enum err
open_root(struct scan *s, struct error *e)
{
	struct error why = { 0 };
	int fd = -1;
	enum err r = fs_open_root(s->o->path, &fd, &why);

	if (r != OK && why.sys == ENOTDIR)
		r = open_file_root(s, &fd, &s->only, &s->as, &why);
	if (r == OK)
		r = scan_dir_open_root(s, fd, s->only, s->as, &s->root, &why);
	if (r != OK) {
		if (e != NULL)
			*e = why;
		return r;
	}
	s->root_fd = s->root->fd;
	return OK;
}

/* What was scanned must still be what PATH leads to, or nobody will find the bytes again. */
static enum err
check_root(const struct scan *s, struct error *e)
{
	struct fs_stat now;
	int fd_ = -1;

	if (s->only != NULL)
		return OK;
	enum err r = fs_open_root(s->o->path, &fd_, e);
	auto_fd int fd = fd_;
	if (r == OK)
		r = fs_stat_fd(fd, &now, e);
	if (r == OK && (now.ino != s->root->st.ino || now.dev != s->root->st.dev))
		r = fail(e, ERR_NOTFOUND, "%s was replaced while it was read", s->o->path);
	return r;
}

/* -- all of it -- */

static unsigned
threads_of(const struct scan_opts *o)
{
	long cores = o->threads > 0 ? (long)o->threads : sysconf(_SC_NPROCESSORS_ONLN);

	return (unsigned)min_of(max_of(cores, 1L), (long)SCAN_THREADS_MAX);
}

static enum err
scan_content(struct scan *s, struct error *e)
{
	struct scan_walk *w = scan_walk_new(s);
	struct scan_build *b = scan_build_new(s);
	enum err r = walk_and_build(s, w, b, e);

	if (r == OK)
		r = scan_batch_flush(s->batch, e);
	if (r == OK)
		scan_build_root(b, &s->res.content, &s->res.entries, &s->res.bytes);
	scan_walk_free(w);
	/* Nobody reads on: what the ring holds may go. */
	scan_pool_free(take_ptr(s->pool));
	for (; s->count > 0; s->count--) {
		item_clear(s, ring_at(s, 0));
		s->first = (s->first + 1) % SCAN_RING;
	}
	scan_build_free(b);
	scan_batch_free(take_ptr(s->batch));
	return r;
}

static enum err
scan_rest(struct scan *s, struct error *e)
{
	enum err r = check_root(s, e);

	scan_dir_unref(s, take_ptr(s->root)); /* the last directory to be counted as seen */
	if (r != OK || s->o->dry_run)
		return r;
	r = scan_moves_expire(s, e);
	if (r == OK)
		r = scan_causal_make(s, &s->res.content, &s->res.causal, e);
	return r == OK ? chunk_store_commit(s->o->nodes, e) : r;
}

static enum err
scan_once(struct scan *s, struct error *e)
{
	enum err r = open_root(s, e);

	if (r != OK)
		return r;
	s->pool = scan_pool_new(threads_of(s->o));
	s->batch = scan_batch_new(s);
	s->ring = mem_array(struct scan_item, SCAN_RING);
	r = scan_content(s, e);
	return r == OK ? scan_rest(s, e) : r;
}

static void
scan_clear(struct scan *s)
{
	scan_dir_unref(s, s->root);
	scan_big_free(s->big);
	scan_moves_clear(&s->moves);
	array_clear(&s->seen);
	free(s->ring);
	free(s->only);
	free(s->as);
}

static enum err
scan_with(const struct scan_opts *o, const struct hash_id *old, bool *ret_old_broken,
    struct scan_result *ret, struct error *e)
{
	struct scan s = { .o = o, .old = *old, .root_fd = -1 };

	s.source = (struct node_source){ .get = get_node, .ctx = &s };
	s.sink = (struct node_sink){ .put = put_node, .ctx = &s };
	s.moves.off = o->base == NULL || o->dry_run;
	enum err r = scan_once(&s, e);
	*ret_old_broken = s.old_broken;
	if (r == OK)
		*ret = s.res;
	scan_clear(&s);
	return r;
}

enum err
scan_run(const struct scan_opts *opts, struct scan_result *ret, struct error *e)
{
	static const struct hash_id none;
	atomic_bool never = false;
	struct scan_opts o = *opts;
	struct hash_id old = opts->root->content;
	struct error why = { 0 };
	bool broken;

	if (o.cancel == NULL)
		o.cancel = &never;
	/* Another machine may have published the same files: state says whether they are. */
	if (hash_id_is_none(&old) && o.base != NULL)
		old = o.base->content;
	enum err r = scan_with(&o, &old, &broken, ret, &why);
	if (r != OK && broken) {
		why = (struct error){ 0 };
		r = scan_with(&o, &none, &broken, ret, &why);
	}
	if (r != OK && e != NULL)
		*e = why;
	return r;
}
