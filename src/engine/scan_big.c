/*
 * A large file: this thread reads and cuts, all threads hash.
 *
 * Bytes lie in blocks; a piece that is cut lies in one block whole, because what is left of a block
 * is carried over to the next before more is read.  Pieces wait in a ring and are taken from it in
 * order, chunks when they are hashed; a block is filled again when all its pieces are taken.
 */
#include <time.h>

#include "base/mem.h"
#include "engine/scan_private.h"

enum {
	BLOCK = 4 * 1024 * 1024,
	BLOCKS = 3,
	PIECES = 64,
	WAIT_MS = 100, /* before a file that changed is read again */
};

struct block {
	uint8_t *at;
	unsigned pieces; /* that lie in it and are not taken yet */
};

struct piece {
	struct scan_job job;
	struct bytes bytes; /* of a chunk */
	struct hash_id id;  /* none: a hole */
	uint64_t len;
	struct block *block; /* NULL: a hole */
};

struct scan_big {
	struct block blocks[BLOCKS];
	struct piece pieces[PIECES];
	size_t first, count; /* of pieces */
	struct tree_file_builder *list;
	uint64_t hole; /* length of holes taken that no item was made of yet */
	uint64_t at;   /* offset of the next piece to be taken */
	/* where reading is */
	struct block *block;
	size_t used, have; /* of block */
	uint64_t read_to;  /* offset */
	uint64_t bytes;    /* read, holes left out */
	uint64_t data_to;  /* up to here there is data; beyond, nobody has looked */
	struct scan_cutter cutter;
	bool broken; /* what failed is not the file but what we make of it */
};

static struct scan_big *
big_new(struct scan *s)
{
	struct scan_big *b = mem_new(struct scan_big);

	for (size_t i = 0; i < BLOCKS; i++)
		b->blocks[i].at = mem_alloc(BLOCK);
	b->list = tree_file_builder_new(HASH_DEFAULT, s->sink);
	return b;
}

void
scan_big_free(struct scan_big *b)
{
	if (b == NULL)
		return;
	for (size_t i = 0; i < BLOCKS; i++)
		free(b->blocks[i].at);
	tree_file_builder_free(b->list);
	free(b);
}

/* -- taking pieces -- */

static enum err
end_hole(struct scan_big *b, struct error *e)
{
	struct tree_item item = { .len = b->hole };

	if (b->hole == 0)
		return OK;
	b->hole = 0;
	return tree_file_builder_add(b->list, &item, e);
}

/* The oldest piece, when it is hashed.  Holes that touch are one. */
static enum err
take_piece(struct scan *s, struct scan_big *b, struct error *e)
{
	struct piece *p = &b->pieces[b->first];
	enum err r = OK;

	if (p->block != NULL) {
		scan_pool_wait(s->pool, &p->job);
		p->block->pieces--;
		r = end_hole(b, e);
		if (r == OK)
			r = tree_file_builder_add(
			    b->list, &(struct tree_item){ .id = p->id, .len = p->len }, e);
		if (r == OK)
			r = scan_batch_place(s->batch, &p->id, b->at, e);
	} else {
		b->hole += p->len;
	}
	b->broken |= r != OK;
	b->at += p->len;
	b->first = (b->first + 1) % PIECES;
	b->count--;
	return r;
}

/* Waits for what is under way and forgets it. */
static void
drop_pieces(struct scan *s, struct scan_big *b)
{
	for (; b->count > 0; b->count--) {
		struct piece *p = &b->pieces[b->first];
		if (p->block != NULL) {
			scan_pool_wait(s->pool, &p->job);
			p->block->pieces--;
		}
		b->first = (b->first + 1) % PIECES;
	}
}

static void
hash_piece(struct scan_job *j, struct scan_worker *w)
{
	struct piece *p = container_of(j, struct piece, job);

	(void)w;
	chunk_id_of(HASH_DEFAULT, p->bytes, NULL, &p->id);
}

/* LEN bytes of content come next: at BYTES in the current block, or, BYTES NULL, zeroes. */
static enum err
add_piece(struct scan *s, struct scan_big *b, const uint8_t *bytes, uint64_t len, struct error *e)
{
	if (b->count == PIECES) {
		enum err r = take_piece(s, b, e);
		if (r != OK)
			return r;
	}
	struct piece *p = &b->pieces[(b->first + b->count++) % PIECES];
	*p = (struct piece){ .len = len };
	if (bytes == NULL)
		return OK;
	p->bytes = BYTES(bytes, len);
	p->block = b->block;
	p->block->pieces++;
	p->job.run = hash_piece;
	scan_pool_submit(s->pool, &p->job);
	return OK;
}

/* -- reading -- */

/* A block without pieces, with what is left of the current one at its beginning. */
static enum err
next_block(struct scan *s, struct scan_big *b, struct error *e)
{
	struct block *to = &b->blocks[(size_t)(b->block - b->blocks + 1) % BLOCKS];
	enum err r = OK;

	while (r == OK && to->pieces > 0)
		r = take_piece(s, b, e);
	if (r != OK)
		return r;
	b->have -= b->used;
	memcpy(to->at, b->block->at + b->used, b->have);
	b->used = 0;
	b->block = to;
	return OK;
}

/* Cuts all that can be cut of what is here. */
static enum err
cut(struct scan *s, struct scan_big *b, bool at_end, struct error *e)
{
	enum err r = OK;
	size_t len;

	while (r == OK) {
		const uint8_t *at = b->block->at + b->used;
		enum scan_cut c =
		    scan_cut_next(&b->cutter, BYTES(at, b->have - b->used), at_end, &len);
		if (c == SCAN_CUT_MORE)
			break;
		b->used += len;
		r = add_piece(s, b, c == SCAN_CUT_CHUNK ? at : NULL, len, e);
	}
	return r;
}

/* Where read_to is at the start of a block: how much from there on need not be read, whole blocks
 * or to the end. */
static enum err
look_ahead(
    struct scan_big *b, int fd, const struct fs_stat *st, uint64_t *ret_hole, struct error *e)
{
	uint64_t from, to;

	*ret_hole = 0;
	if (b->read_to < b->data_to || b->read_to % TREE_HOLE_BLOCK != 0)
		return OK;
	if (st->blocks >= (st->size + 511) / 512) {
		b->data_to = st->size; /* no holes */
		return OK;
	}
	enum err r = fs_next_data(fd, b->read_to, &from, &to, e);
	if (r != OK)
		return r;
	if (from >= st->size) {
		*ret_hole = st->size - b->read_to;
		return OK;
	}
	from -= from % TREE_HOLE_BLOCK;
	if (from > b->read_to)
		*ret_hole = from - b->read_to;
	b->data_to = max_of(to, b->read_to + 1);
	return OK;
}

static enum err
skip_hole(struct scan *s, struct scan_big *b, uint64_t len, struct error *e)
{
	enum err r = cut(s, b, true, e); /* the data before it ends here */

	if (r == OK && b->used != b->have)
		r = fail(e, ERR_BUG, "scan: %zu bytes before a hole are left", b->have - b->used);
	if (r == OK)
		r = add_piece(s, b, NULL, len, e);
	b->read_to += len;
	b->cutter.at = b->cutter.clear_to = b->read_to;
	return r;
}

/* Reads on in the current block, at most to where data ends (and on to the next whole block). */
static enum err
fill(struct scan *s, struct scan_big *b, int fd, const struct fs_stat *st, struct error *e)
{
	uint64_t stop = min_of(
	    st->size, (b->data_to + TREE_HOLE_BLOCK - 1) / TREE_HOLE_BLOCK * TREE_HOLE_BLOCK);
	size_t ask = (size_t)min_of(stop - b->read_to, (uint64_t)(BLOCK - b->have)), n = 0;
	enum err r = fs_read_at(fd, b->read_to, b->block->at + b->have, ask, &n, e);

	if (r == OK && n < ask)
		r = fail(e, ERR_AGAIN, "changes while it is read");
	if (r != OK)
		return r;
	b->have += n;
	b->read_to += n;
	b->bytes += n;
	if (s->o->progress != NULL)
		atomic_fetch_add(&s->o->progress->bytes_read, n);
	return OK;
}

static enum err
read_all(struct scan *s, struct scan_big *b, int fd, const struct fs_stat *st, struct error *e)
{
	uint64_t hole;
	enum err r = OK;

	while (r == OK && b->read_to < st->size) {
		if (scan_canceled(s))
			return fail(e, ERR_CANCELED, "the scan of %s was canceled", s->o->path);
		r = look_ahead(b, fd, st, &hole, e);
		if (r == OK && hole > 0) {
			r = skip_hole(s, b, hole, e);
			continue;
		}
		if (r == OK && b->have == BLOCK)
			r = next_block(s, b, e);
		if (r == OK)
			r = fill(s, b, fd, st, e);
		if (r == OK)
			r = cut(s, b, b->read_to == st->size, e);
	}
	while (r == OK && b->count > 0)
		r = take_piece(s, b, e);
	return r;
}

static enum err
finish(struct scan_big *b, struct tree_entry *en, struct error *e)
{
	enum err r = end_hole(b, e);

	if (r == OK)
		r = tree_file_builder_finish(b->list, en, e);
	b->broken |= r != OK;
	return r;
}

/* -- a file -- */

static void
reset(struct scan_big *b)
{
	tree_file_builder_reset(b->list);
	b->block = b->blocks;
	b->used = b->have = 0;
	b->hole = b->at = b->read_to = b->bytes = b->data_to = 0;
	b->cutter = (struct scan_cutter){ 0 };
	b->broken = false;
}

/* Between two looks at the stat; ERR_AGAIN when they differ. */
static enum err
read_stable(struct scan *s, struct scan_item *it, int fd, struct tree_entry *en, struct error *e)
{
	struct scan_file *f = &it->file;
	struct fs_stat after;
	enum err r = fs_stat_fd(fd, &f->st, e);

	if (r == OK)
		r = read_all(s, s->big, fd, &f->st, e);
	if (r == OK)
		r = fs_stat_fd(fd, &after, e);
	if (r == OK && !scan_file_same_stat(&f->st, &after))
		r = fail(e, ERR_AGAIN, "changes while it is read");
	if (r == OK)
		r = finish(s->big, en, e);
	f->racy = r == OK && scan_file_is_racy(&after);
	return r;
}

static enum err
try_to_read(struct scan *s, struct scan_item *it, struct tree_entry *en, struct error *e)
{
	int dir, fd_ = -1;
	enum err r = scan_dir_fd(s, it->dir, &dir, e);

	if (r == OK)
		r = fs_open_read(dir, (struct relpath){ it->name, strlen(it->name) }, &fd_, e);
	scan_dir_rest(it->dir);
	auto_fd int fd = fd_;
	reset(s->big);
	if (r == OK)
		r = read_stable(s, it, fd, en, e);
	drop_pieces(s, s->big);
	return r;
}

enum err
scan_big_read(
    struct scan *s, struct scan_item *it, struct tree_entry *en, char **ret_why, struct error *e)
{
	struct scan_file *f = &it->file;
	struct error why = { 0 };
	enum err r = ERR_AGAIN, failed;

	if (s->big == NULL)
		s->big = big_new(s);
	for (int i = 0; r == ERR_AGAIN && i < SCAN_TRIES; i++) {
		if (i > 0)
			nanosleep(&(struct timespec){ .tv_nsec = WAIT_MS * 1000 * 1000 }, NULL);
		/* Its places come before its stat is known to be true: until then it is one that no
		 * file has. */
		failed = scan_batch_file(
		    s->batch, it->dir, scan_name_in(it->dir, it->name), &f->st, true, 0, e);
		if (failed != OK)
			return failed;
		r = try_to_read(s, it, en, &why);
	}
	if (r == OK) {
		s->res.files_read++;
		s->res.bytes_read += s->big->bytes;
		return scan_batch_set(s->batch, &f->st, f->racy, scan_file_fingerprint(en), e);
	}
	if (r == ERR_CANCELED || s->big->broken) {
		if (e != NULL)
			*e = why;
		return r;
	}
	*ret_why = scan_file_why(r, &why);
	return scan_batch_drop(s->batch, e);
}
