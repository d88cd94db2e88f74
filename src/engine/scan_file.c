/* A file that one thread reads whole. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "engine/scan_private.h"
#include "platform/clock.h"

enum {
	TICK_NS = 20 * 1000 * 1000, /* kernels stamp files by their tick, of at most 10 ms */
	WAIT_MS = 10,               /* before a file that changed is read again */
};
#define SECOND_NS INT64_C(1000000000)

bool
scan_file_same_stat(const struct fs_stat *a, const struct fs_stat *b)
{
	return a->size == b->size && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns &&
	       a->ino == b->ino;
}

bool
scan_file_is_racy(const struct fs_stat *st)
{
	/* Where both times are whole seconds, the file system may know nothing smaller; some know
	 * only even ones. */
	bool coarse = st->ctime_ns % SECOND_NS == 0 && st->mtime_ns % SECOND_NS == 0;

	return clock_wall_ns() - st->ctime_ns < (coarse ? 2 * SECOND_NS : TICK_NS);
}

static uint64_t
first_bytes(const struct hash_id *id)
{
	uint64_t v;

	memcpy(&v, id->bytes, sizeof v);
	return v;
}

uint64_t
scan_file_fingerprint(const struct tree_entry *en)
{
	uint64_t v = en->size + 1;

	if (!hash_id_is_none(&en->root))
		return v * 3 ^ first_bytes(&en->root);
	for (uint32_t i = 0; i < en->n_items; i++)
		v = v * UINT64_C(0x9e3779b97f4a7c15) +
		    (en->items[i].len ^ first_bytes(&en->items[i].id));
	return v;
}

char *
scan_file_why(enum err r, const struct error *e)
{
	if (r == ERR_NOTFOUND)
		return str_dup("vanished while the directory was read");
	if (e->sys == EACCES || e->sys == EPERM)
		return str_dup("permission denied");
	return str_dup(e->text);
}

static void
add_item(struct scan_file *f, const struct hash_id *id, uint64_t len)
{
	if (f->n_items == 0) {
		f->items = &f->one;
	} else if (f->n_items == 1) {
		f->items = mem_array(struct tree_item, SCAN_ITEMS);
		f->items[0] = f->one;
	}
	f->items[f->n_items++] = (struct tree_item){ .id = *id, .len = len };
}

static void
clear_items(struct scan_file *f)
{
	if (f->items != &f->one)
		free(f->items);
	f->items = NULL;
	f->n_items = 0;
}

static void
hash(struct scan_file *f, struct bytes all)
{
	static const struct hash_id none;
	struct scan_cutter c = { 0 };

	for (size_t at = 0, len = 0; at < all.len; at += len) {
		struct hash_id id = none;
		if (scan_cut_next(&c, bytes_slice(all, at, all.len - at), true, &len) ==
		    SCAN_CUT_CHUNK)
			chunk_id_of(HASH_DEFAULT, bytes_slice(all, at, len), NULL, &id);
		add_item(f, &id, len);
	}
}

/* ERR_AGAIN: it changed meanwhile. */
static enum err
try_to_read(struct scan_file *f, struct scan_worker *w, struct error *e)
{
	struct fs_stat after;
	int fd_ = -1;
	size_t n = 0;
	enum err r = fs_open_read(f->dir, (struct relpath){ f->name, strlen(f->name) }, &fd_, e);
	auto_fd int fd = fd_;

	clear_items(f);
	if (r == OK)
		r = fs_stat_fd(fd, &f->st, e);
	f->result = SCAN_READ_DONE;
	if (r == OK && f->st.size > SCAN_SMALL) {
		f->result = SCAN_READ_BIG;
		return OK;
	}
	if (r == OK && f->st.size > 0)
		r = fs_read_at(fd, 0, w->buf, (size_t)f->st.size, &n, e);
	if (r != OK)
		return r;
	if (n == f->st.size)
		hash(f, BYTES(w->buf, n));
	r = fs_stat_fd(fd, &after, e);
	if (r == OK && (n != f->st.size || !scan_file_same_stat(&f->st, &after)))
		r = fail(e, ERR_AGAIN, "changes while it is read");
	f->racy = r == OK && scan_file_is_racy(&after);
	return r;
}

static void
read_file(struct scan_job *j, struct scan_worker *w)
{
	struct scan_file *f = container_of(j, struct scan_file, job);
	struct error e = { 0 };
	enum err r = ERR_AGAIN;

	for (int i = 0; r == ERR_AGAIN && i < SCAN_TRIES && !atomic_load(f->opts->cancel); i++) {
		if (i > 0)
			nanosleep(&(struct timespec){ .tv_nsec = WAIT_MS * 1000 * 1000 }, NULL);
		r = try_to_read(f, w, &e);
	}
	if (r == OK && f->opts->progress != NULL && f->result == SCAN_READ_DONE)
		atomic_fetch_add(&f->opts->progress->bytes_read, f->st.size);
	if (r != OK) {
		f->result = SCAN_READ_SKIP;
		f->why = scan_file_why(r, &e);
	}
}

void
scan_file_start(struct scan_file *f, struct scan_pool *p)
{
	f->job.run = read_file;
	scan_pool_submit(p, &f->job);
}

void
scan_file_clear(struct scan_file *f)
{
	clear_items(f);
	free(f->why);
	f->why = NULL;
}
