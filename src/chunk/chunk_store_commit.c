/*
 * Group commit.  Whoever finds no leader becomes one and takes along everybody's objects; the
 * others wait and then look whether theirs were among them.
 *
 * What can fail: writing gathered records or the index transaction (a full disk): nothing is lost,
 * the rows go back and the next commit tries again.  But a flush that fails is final for those
 * files: the kernel may have dropped the pages and would call the next flush a success.  So what
 * is not durable is read back, verified and written once more, to a new pack.  What cannot be read
 * back is lost, and nobody knows who counts on it: then nothing more is accepted until the store is
 * opened again.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "chunk/chunk_store_inner.h"

/* Rows held in memory before a put commits by itself: 2 MiB, and as much again while they leave. */
enum { PENDING_MAX = 8 * 1024 };

/* -- rows -- */

static const struct chunk_store_row *
rows_find(const struct chunk_store_rows *l, const struct hash_id *id)
{
	const struct map_slot *slot = map_find(&l->by_id, hash_id_bytes(id));

	return slot != NULL ? &l->rows.at[slot->num] : NULL;
}

static void
rows_add(struct chunk_store_rows *l, const struct chunk_store_row *row)
{
	map_put(&l->by_id, hash_id_bytes(&row->at.rec.id), NULL)->num = l->rows.len;
	array_push(&l->rows, *row);
}

static void
rows_clear(struct chunk_store_rows *l)
{
	array_clear(&l->rows);
	map_clear(&l->by_id);
}

const struct chunk_store_row *
chunk_store_commit_find(const struct chunk_store *s, const struct hash_id *id)
{
	const struct chunk_store_row *row = rows_find(&s->fresh, id);

	return row != NULL ? row : rows_find(&s->leaving, id);
}

void
chunk_store_commit_clear(struct chunk_store *s)
{
	rows_clear(&s->fresh);
	rows_clear(&s->leaving);
	array_each (f, &s->full)
		cleanup_close(&f->fd);
	array_clear(&s->full);
}

/* -- appending -- */

/* The newest pack is full: it waits for the next commit, and a new one begins. */
static enum err
next_pack(struct chunk_store *s, struct error *e)
{
	if (s->writer.fd >= 0) {
		enum err r = pack_writer_flush(&s->writer, e);
		if (r != OK)
			return r;
		struct chunk_store_full f = { .number = s->writer.head.number,
			.end = s->writer.written };
		f.fd = pack_writer_finish(&s->writer);
		array_push(&s->full, f);
	}
	s->new_names = true;
	/* A number is used once, also when making the file fails half-way. */
	return pack_writer_create(&s->writer, pack_set_dir(s->packs), s->next_pack++, e);
}

static enum err
refuse_if_broken(const struct chunk_store *s, struct error *e)
{
	if (s->broken.code == OK)
		return OK;
	return fail(e, s->broken.code, "the store must be opened again, as a flush failed: %s",
	    s->broken.text);
}

enum err
chunk_store_commit_add(struct chunk_store *s, const struct chunk_store_row *row,
    const struct leaf_list *leaves, struct bytes packed, bool *ret_due, struct error *e)
{
	struct chunk_store_row mine = *row;

	enum err r = refuse_if_broken(s, e);
	if (r != OK || chunk_store_commit_find(s, &row->at.rec.id) != NULL)
		return r;
	size_t full_before = s->full.len;
	if (s->writer.fd < 0 || pack_writer_end(&s->writer) >= s->opts.pack_bytes)
		r = next_pack(s, e);
	if (r == OK)
		r = pack_writer_append(&s->writer, &row->at.rec, leaves, packed, &mine.at.off, e);
	if (r != OK)
		return r;
	mine.at.pack = s->writer.head.number;
	rows_add(&s->fresh, &mine);
	s->appended++;
	/* Who fills a pack also flushes it: so few are ever waiting. */
	*ret_due = s->fresh.rows.len >= PENDING_MAX || s->full.len > full_before;
	return OK;
}

/* -- committing -- */

/* What a leader takes from the store while it holds the lock. */
struct batch {
	struct chunk_store_full *packs; /* to flush: the full ones, then the one still written to */
	size_t n, n_full;
	bool new_names;
	uint64_t upto;
};

static enum err
take_batch(struct chunk_store *s, struct batch *b, struct error *e)
{
	enum err r = s->writer.fd >= 0 ? pack_writer_flush(&s->writer, e) : OK;

	if (r != OK)
		return r;
	b->n_full = s->full.len;
	b->packs = mem_array(struct chunk_store_full, b->n_full + 1);
	array_each (f, &s->full)
		b->packs[b->n++] = *f;
	if (s->writer.fd >= 0)
		b->packs[b->n++] = (struct chunk_store_full){ .fd = s->writer.fd,
			.number = s->writer.head.number,
			.end = s->writer.written };
	b->new_names = s->new_names;
	b->upto = s->appended;
	s->leaving = s->fresh;
	s->fresh = (struct chunk_store_rows){ 0 };
	return OK;
}

static enum err
flush(struct chunk_store *s, const struct batch *b, struct error *e)
{
	enum err r = OK;

	for (size_t i = 0; r == OK && i < b->n; i++)
		if (b->packs[i].fd >= 0)
			r = fs_sync(b->packs[i].fd, e);
	if (r == OK && b->new_names)
		r = fs_sync(pack_set_dir(s->packs), e);
	return r;
}

static int
by_id(const void *a, const void *b)
{
	const struct chunk_store_row *const *x = a, *const *y = b;

	return memcmp(&(*x)->at.rec.id, &(*y)->at.rec.id, sizeof(struct hash_id));
}

/* In the order of ids, which is the order of the table: neighbours share its pages. */
static enum err
write_rows(struct chunk_store *s, struct error *e)
{
	size_t n = s->leaving.rows.len;
	auto_free const struct chunk_store_row **sorted =
	    mem_array(const struct chunk_store_row *, n + 1);
	enum err r = OK;

	for (size_t i = 0; i < n; i++)
		sorted[i] = &s->leaving.rows.at[i];
	qsort(sorted, n, sizeof *sorted, by_id);
	for (size_t i = 0; r == OK && i < n; i++)
		r = sorted[i]->moved
			? chunk_index_move(s->index, &sorted[i]->from, &sorted[i]->at, NULL, e)
			: chunk_index_add(s->index, &sorted[i]->at, NULL, e);
	return r;
}

static enum err
index_batch(struct chunk_store *s, const struct batch *b, struct error *e)
{
	enum err r = chunk_index_begin(s->index, e);

	if (r != OK)
		return r;
	r = write_rows(s, e);
	if (r != OK) {
		chunk_index_rollback(s->index);
		return r;
	}
	for (size_t i = 0; i < b->n; i++)
		chunk_index_extend(s->index, b->packs[i].number, b->packs[i].end);
	return chunk_index_commit(s->index, e);
}

/* With the lock.  What was taken is durable.  Packs that filled up meanwhile stand behind ours. */
static void
finish_batch(struct chunk_store *s, const struct batch *b)
{
	for (size_t i = 0; i < b->n_full; i++)
		cleanup_close(&s->full.at[i].fd);
	s->full.len -= b->n_full;
	for (size_t i = 0; i < s->full.len; i++)
		s->full.at[i] = s->full.at[i + b->n_full];
	s->durable = b->upto;
	rows_clear(&s->leaving);
}

/* With the lock.  Nothing has happened: older rows first, as they were. */
static void
undo_batch(struct chunk_store *s)
{
	struct chunk_store_rows newer = s->fresh;

	s->fresh = s->leaving;
	s->leaving = (struct chunk_store_rows){ 0 };
	array_each (row, &newer.rows)
		rows_add(&s->fresh, row);
	rows_clear(&newer);
}

/* Called and returns with the lock held, which it gives up in between. */
static enum err
lead(struct chunk_store *s, struct error *e)
{
	struct batch b = { 0 };
	struct error why = { 0 };

	enum err r = take_batch(s, &b, e);
	if (r != OK)
		return r;
	s->leading = true;
	s->new_names = false;
	pthread_mutex_unlock(&s->lock);
	r = flush(s, &b, &why);
	bool flushed = r == OK;
	if (flushed)
		r = index_batch(s, &b, &why);
	pthread_mutex_lock(&s->lock);
	if (r == OK) {
		finish_batch(s, &b);
	} else {
		undo_batch(s);
		s->new_names = s->new_names || b.new_names;
		if (!flushed)
			s->broken = why;
		if (e != NULL)
			*e = why;
	}
	s->leading = false;
	pthread_cond_broadcast(&s->committed);
	free(b.packs);
	return r;
}

/* -- after a flush that failed -- */

/* Reads what lies at P and verifies it: CONTENT as it is in the pack. */
static enum err
read_back(struct chunk_store *s, const struct chunk_place *p, struct leaf_list *leaves,
    uint8_t *content, struct error *e)
{
	auto_free uint8_t *raw = mem_alloc(p->rec.raw_len);
	enum err r = chunk_store_load(s, p, raw, leaves, e);

	if (r == OK)
		r = chunk_store_read(
		    s, p, pack_record_body(&p->rec), content, p->rec.packed_len, e);
	return r;
}

/* With the lock, which it gives up while it reads: only we change rows and packs meanwhile. */
static enum err
write_again(struct chunk_store *s, struct chunk_store_row *row, struct error *e)
{
	auto_free uint8_t *content = mem_alloc(row->at.rec.packed_len);
	struct leaf_list leaves = { 0 };
	uint64_t off;

	pthread_mutex_unlock(&s->lock);
	enum err r = read_back(s, &row->at, &leaves, content, e);
	pthread_mutex_lock(&s->lock);
	if (r == OK && pack_writer_end(&s->writer) >= s->opts.pack_bytes)
		r = next_pack(s, e);
	if (r == OK)
		r = pack_writer_append(&s->writer, &row->at.rec, &leaves,
		    BYTES(content, row->at.rec.packed_len), &off, e);
	if (r != OK)
		return r;
	row->at.pack = s->writer.head.number;
	row->at.off = off;
	return OK;
}

/* Packs before number FIRST are not flushed any more: the index shall know how long they are, so
 * that recovery does not take up what they hold. */
static void
abandon_packs(struct chunk_store *s, uint64_t first)
{
	array_each (f, &s->full)
		if (f->number < first) {
			cleanup_close(&f->fd);
			f->fd = -1;
		}
}

/* Called and returns with the lock held, as lead. */
static enum err
heal(struct chunk_store *s, struct error *e)
{
	enum err r = next_pack(s, e);
	uint64_t first = s->writer.head.number;

	s->leading = true;
	for (size_t i = 0; r == OK && i < s->fresh.rows.len; i++)
		if (s->fresh.rows.at[i].at.pack < first)
			r = write_again(s, &s->fresh.rows.at[i], e);
	if (r == OK) {
		abandon_packs(s, first);
		s->broken = (struct error){ 0 };
	}
	s->leading = false;
	pthread_cond_broadcast(&s->committed);
	return r == OK ? OK : error_wrap(e, r, "write again what a failed flush may have lost");
}

/* With the lock.  Waits for whoever leads or heals. */
static enum err
heal_if_broken(struct chunk_store *s, struct error *e)
{
	while (s->broken.code != OK && s->leading)
		pthread_cond_wait(&s->committed, &s->lock);
	return s->broken.code != OK ? heal(s, e) : OK;
}

enum err
chunk_store_commit_heal(struct chunk_store *s, struct error *e)
{
	pthread_mutex_lock(&s->lock);
	enum err r = heal_if_broken(s, e);
	pthread_mutex_unlock(&s->lock);
	return r;
}

enum err
chunk_store_commit(struct chunk_store *s, struct error *e)
{
	pthread_mutex_lock(&s->lock);
	uint64_t mine = s->appended;
	enum err r = heal_if_broken(s, e);
	while (r == OK && s->durable < mine) {
		r = refuse_if_broken(s, e);
		if (r == OK && s->leading)
			pthread_cond_wait(&s->committed, &s->lock);
		else if (r == OK)
			r = lead(s, e);
	}
	pthread_mutex_unlock(&s->lock);
	return r == OK ? OK : error_wrap(e, r, "commit the chunk store");
}

enum err
chunk_store_commit_turn(struct chunk_store *s, struct error *e)
{
	pthread_mutex_lock(&s->lock);
	enum err r = heal_if_broken(s, e);
	if (r == OK)
		r = next_pack(s, e);
	/* Something to commit: the pack that was finished, even if no other could be begun. */
	s->appended++;
	pthread_mutex_unlock(&s->lock);
	enum err c = chunk_store_commit(s, r == OK ? e : NULL);
	return r == OK ? c : r;
}
