/*
 * Staged files: number I of the plan is stage-JOB/XXX/XXX.  A file of one small chunk is made, written and closed in one go;
 * bigger ones are preallocated and kept open while leaves come.
 *
 * Leaves arrive in several jobs at once.  Each writes its own bytes and sets its own bit; the lock guards the open files and the
 * list of what is not flushed yet.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/dest_private.h"

struct relpath
dest_stage_name(uint32_t i, char out[static 16])
{
	int n = snprintf(out, 16, "%x/%x", i / DEST_STAGE_DIR, i % DEST_STAGE_DIR);

	return (struct relpath){ out, (size_t)n };
}

/* -- open files -- */

static enum err
make_file(struct dest *d, const struct dest_file *f, struct relpath name, int *ret_fd, struct error *e)
{
	auto_fd int fd = -1;
	enum err r = fs_create(d->stage, name, &fd, e);

	if (r == ERR_NOTFOUND) { /* the first one in this directory */
		char dir[16];
		snprintf(dir, sizeof dir, "%.*s", (int)(strchr(name.text, '/') - name.text), name.text);
		r = fs_mkdir(d->stage, fs_rel(dir), 0700, e);
		if (r == OK || r == ERR_EXISTS)
			r = fs_create(d->stage, name, &fd, e);
	}
	if (r == ERR_EXISTS)
		r = fs_open_write(d->stage, name, &fd, e);
	else if (r == OK && f->has_holes)
		r = fs_truncate(fd, f->size, e); /* holes stay holes */
	else if (r == OK && f->size > CHUNK_LEAF)
		r = fs_allocate(fd, 0, f->size, e);
	if (r == OK)
		*ret_fd = take_fd(fd);
	return r;
}

static enum err
open_staged(struct dest *d, uint32_t i, int *ret_fd, struct error *e)
{
	char text[16];
	struct relpath name = dest_stage_name(i, text);
	enum err r = fs_open_write(d->stage, name, ret_fd, e);

	return r == ERR_NOTFOUND ? make_file(d, dest_file(d, i), name, ret_fd, e) : r;
}

static struct dest_fd *
find_open(struct dest *d, uint32_t i)
{
	for (size_t k = 0; k < DEST_OPEN_FILES; k++) {
		if (d->open[k].fd >= 0 && d->open[k].file == i)
			return &d->open[k];
	}
	return NULL;
}

/* A slot for file I: an empty one, or the one unused for longest; NULL when all are in use. */
static struct dest_fd *
free_slot(struct dest *d)
{
	struct dest_fd *best = NULL;

	for (size_t k = 0; k < DEST_OPEN_FILES; k++) {
		struct dest_fd *s = &d->open[k];
		if (s->fd < 0)
			return s;
		if (s->users == 0 && (best == NULL || s->used < best->used))
			best = s;
	}
	if (best != NULL) {
		(void)close(best->fd);
		best->fd = -1;
	}
	return best;
}

static bool
is_kept_open(const struct dest *d, uint32_t i)
{
	return dest_file(d, i)->size > CHUNK_LEAF;
}

enum err
dest_stage_acquire(struct dest *d, uint32_t i, int *ret_fd, struct error *e)
{
	enum err r = OK;

	if (!is_kept_open(d, i))
		return open_staged(d, i, ret_fd, e);
	pthread_mutex_lock(&d->lock);
	struct dest_fd *s = find_open(d, i);
	if (s == NULL) {
		int fd;
		r = open_staged(d, i, &fd, e);
		s = r == OK ? free_slot(d) : NULL;
		if (r == OK && s == NULL) {
			pthread_mutex_unlock(&d->lock);
			*ret_fd = fd;
			return OK;
		}
		if (r == OK)
			*s = (struct dest_fd){ .file = i, .fd = fd };
	}
	if (r == OK) {
		s->users++;
		s->used = ++d->clock;
		*ret_fd = s->fd;
	}
	pthread_mutex_unlock(&d->lock);
	return r;
}

void
dest_stage_release(struct dest *d, uint32_t i, int fd)
{
	bool is_cached = false;

	if (is_kept_open(d, i)) {
		pthread_mutex_lock(&d->lock);
		struct dest_fd *s = find_open(d, i);
		is_cached = s != NULL && s->fd == fd;
		if (is_cached)
			s->users--;
		pthread_mutex_unlock(&d->lock);
	}
	if (!is_cached)
		(void)close(fd);
}

void
dest_stage_close_all(struct dest *d)
{
	for (size_t k = 0; k < DEST_OPEN_FILES; k++) {
		if (d->open[k].fd >= 0)
			(void)close(d->open[k].fd);
		d->open[k].fd = -1;
	}
}

/* -- leaves -- */

static void
mark_taken(struct dest *d, uint32_t chunk, uint16_t leaves)
{
	__atomic_fetch_or(&dest_chunk(d, chunk)->taken, leaves, __ATOMIC_RELEASE);
	pthread_mutex_lock(&d->lock);
	array_reserve(&d->fresh, d->fresh.len + 1);
	d->fresh.at[d->fresh.len].chunk = chunk;
	d->fresh.at[d->fresh.len++].leaves = leaves;
	pthread_mutex_unlock(&d->lock);
}

/* A file of one small chunk gets its mode and time with its bytes: it is not opened again. */
static enum err
finish_small(const struct dest_file *f, int fd, struct error *e)
{
	enum err r = fs_set_mode(fd, f->mode, e);

	return r == OK ? fs_set_times(fd, f->mtime_ns, e) : r;
}

enum err
dest_stage_write(struct dest *d, uint32_t chunk, uint32_t leaf, struct bytes b, struct error *e)
{
	struct dest_chunk *c = dest_chunk(d, chunk);
	uint64_t at = c->offset + (uint64_t)leaf * CHUNK_LEAF;
	int fd;

	if (c->file == UINT32_MAX || (__atomic_load_n(&c->taken, __ATOMIC_ACQUIRE) >> leaf & 1))
		return OK;
	const struct dest_file *f = dest_file(d, c->file);
	enum err r = dest_stage_acquire(d, c->file, &fd, e);
	if (r != OK)
		return r;
	r = fs_write_at(fd, at, b, e);
	if (r == OK && f->size == b.len)
		r = finish_small(f, fd, e);
	dest_stage_release(d, c->file, fd);
	if (r != OK)
		return r;
	mark_taken(d, chunk, (uint16_t)(1u << leaf));
	return OK;
}

bool
dest_stage_chunk_done(const struct dest *d, uint32_t chunk)
{
	const struct dest_chunk *c = dest_chunk(d, chunk);
	uint32_t n = chunk_id_leaf_count(snapshot_map_chunk(d->o.map, chunk)->len);

	return c->file == UINT32_MAX || __atomic_load_n(&c->taken, __ATOMIC_ACQUIRE) == (uint16_t)((1u << n) - 1);
}

static enum err
take(void *ctx, const struct transfer_leaf *leaf, struct error *e)
{
	return dest_stage_write(ctx, leaf->chunk, leaf->leaf, leaf->bytes, e);
}

static uint32_t
missing(void *ctx, uint32_t unit, struct leaf_run *runs, uint32_t *ret_bytes)
{
	struct dest *d = ctx;
	uint64_t words[UNIT_LEAVES_MAX / 64] = { 0 };
	struct unit u = snapshot_map_unit(d->o.map, unit);
	struct bitset have = { .words = words, .n = u.n_leaves };
	struct unit_pieces p = unit_pieces_of(u);
	uint32_t chunk, bytes = 0;

	while (unit_pieces_more(&p, &chunk)) {
		uint32_t len = snapshot_map_chunk(d->o.map, chunk)->len;
		struct unit_piece piece = unit_pieces_next(&p, len);
		const struct dest_chunk *c = dest_chunk(d, chunk);
		uint16_t taken = c->file == UINT32_MAX ? UINT16_MAX : __atomic_load_n(&c->taken, __ATOMIC_ACQUIRE);
		for (uint32_t i = 0; i < piece.n_leaves; i++) {
			if (taken >> (piece.first_leaf + i) & 1)
				bitset_set(&have, piece.unit_leaf + i);
			else
				bytes += chunk_id_leaf_len(len, piece.first_leaf + i);
		}
	}
	*ret_bytes = bytes;
	return bytes == 0 ? 0 : transfer_runs(&have, 0, u.n_leaves, runs);
}

/* The bytes first, then the note that they are there. */
static enum err
flush(void *ctx, struct error *e)
{
	struct dest *d = ctx;
	__typeof__(d->fresh) done = { 0 };

	pthread_mutex_lock(&d->lock);
	memcpy(&done, &d->fresh, sizeof done);
	memset(&d->fresh, 0, sizeof d->fresh);
	pthread_mutex_unlock(&d->lock);
	enum err r = done.len > 0 ? fs_sync_all(d->stage, e) : OK;
	if (r == OK) {
		array_each (f, &done)
			dest_chunk(d, f->chunk)->durable |= f->leaves;
	}
	array_clear(&done);
	return r;
}

struct sink
dest_sink(struct dest *d)
{
	return (struct sink){ .missing = missing, .take = take, .flush = flush, .ctx = d };
}

/* -- what is on this machine already -- */

static enum err
copy_chunk(struct dest *d, uint32_t chunk, uint8_t *room, bool *ret_copied, struct error *e)
{
	const struct snapshot_map_chunk *m = snapshot_map_chunk(d->o.map, chunk);
	uint32_t n = chunk_id_leaf_count(m->len), len = 0;

	*ret_copied = false;
	if (!places_may_have(d->o.places, &m->id) ||
	    places_get_leaves(d->o.places, &m->id, m->len, 0, n, room, &len, NULL, NULL) != OK)
		return OK;
	for (uint32_t leaf = 0; leaf < n; leaf++) {
		enum err r = dest_stage_write(d, chunk, leaf,
		    BYTES(room + (size_t)leaf * CHUNK_LEAF, chunk_id_leaf_len(m->len, leaf)), e);
		if (r != OK)
			return r;
	}
	*ret_copied = true;
	return OK;
}

enum err
dest_copy_local(struct dest *d, struct error *e)
{
	auto_free uint8_t *room = mem_alloc(CHUNK_MAX);
	uint64_t n = d->chunks.n;

	for (uint64_t i = 0; i < n; i++) {
		struct dest_chunk *c = dest_chunk(d, i);
		bool copied;
		if (c->file == UINT32_MAX || dest_stage_chunk_done(d, (uint32_t)i))
			continue;
		if (dest_canceled(d))
			return fail(e, ERR_CANCELED, "stopped");
		enum err r = copy_chunk(d, (uint32_t)i, room, &copied, e);
		if (r != OK)
			return r;
		if (copied) {
			uint32_t len = snapshot_map_chunk(d->o.map, i)->len;
			d->summary.bytes_reused += len;
			d->summary.bytes_missing -= min_of(d->summary.bytes_missing, (uint64_t)len);
		}
	}
	return flush(d, e);
}
