/*
 * Two lists: one is filled while a job writes the other.  Whoever fills waits only when both are
 * full, so the scan and the database work side by side, and transactions stay short for others who
 * wait for them.
 */
#include "base/mem.h"
#include "engine/scan_private.h"

enum op_kind { OP_DIR, OP_FILE, OP_PLACE, OP_SET, OP_DROP, OP_DEL };

struct op {
	enum op_kind kind;
	struct scan_dir *dir; /* DIR, FILE: held */
	union {
		struct {            /* FILE, SET */
			char *name; /* owned */
			uint64_t size, ino, content;
			int64_t mtime_ns, ctime_ns;
		};
		struct { /* PLACE */
			struct hash_id chunk;
			uint64_t offset;
		};
		int64_t id; /* DEL */
	};
};

struct scan_batch {
	struct scan *s;
	ARRAY(struct op) filling, writing;
	struct scan_job job;
	bool busy;    /* the job is under way, or its end was not looked at */
	int64_t file; /* id of the file put last */
	enum err result;
	struct error why;
};

struct scan_batch *
scan_batch_new(struct scan *s)
{
	struct scan_batch *b = mem_new(struct scan_batch);

	b->s = s;
	return b;
}

/* -- in the job -- */

static struct state_file
file_of(const struct op *op)
{
	struct state_file f = {
		.size = op->size,
		.ino = op->ino,
		.mtime_ns = op->mtime_ns,
		.ctime_ns = op->ctime_ns,
		.content = op->content,
	};

	if (op->name != NULL) {
		f.name_len = (uint32_t)strlen(op->name);
		memcpy(f.name, op->name, f.name_len);
	}
	return f;
}

static enum err
dir_id(struct state *st, int64_t root, struct scan_dir *d, int64_t *ret, struct error *e)
{
	enum err r = OK;

	*ret = d->id;
	if (*ret == 0)
		r = state_dir_id(st, root, d->path, ret, e);
	if (r == OK)
		d->id = *ret;
	return r;
}

static enum err
write_dir(struct state *st, int64_t root, struct scan_dir *d, struct error *e)
{
	int64_t id;
	enum err r = dir_id(st, root, d, &id, e);

	if (r == OK && d->ino_known != d->st.ino)
		r = state_dir_set_ino(st, id, d->st.ino, e);
	return r;
}

static enum err
write_file(struct scan_batch *b, const struct op *op, struct error *e)
{
	struct state *st = b->s->o->state;
	struct state_file f = file_of(op);
	int64_t dir;
	enum err r = dir_id(st, b->s->o->root->id, op->dir, &dir, e);

	if (r == OK)
		r = state_file_put(st, dir, &f, e);
	if (r == OK)
		b->file = f.id;
	return r;
}

static enum err
write_op(struct scan_batch *b, const struct op *op, struct error *e)
{
	struct state *st = b->s->o->state;
	struct state_file f;

	switch (op->kind) {
	case OP_DIR:
		return write_dir(st, b->s->o->root->id, op->dir, e);
	case OP_FILE:
		return write_file(b, op, e);
	case OP_PLACE:
		return state_place_add(st, &op->chunk, b->file, op->offset, e);
	case OP_SET:
		f = file_of(op);
		f.id = b->file;
		return state_file_set(st, &f, e);
	case OP_DROP:
		return state_file_del(st, b->file, e);
	case OP_DEL:
		return state_file_del(st, op->id, e);
	}
	return fail(e, ERR_BUG, "scan: operation %d", (int)op->kind);
}

static void
write_all(struct scan_job *j, struct scan_worker *w)
{
	struct scan_batch *b = container_of(j, struct scan_batch, job);
	struct state *st = b->s->o->state;

	(void)w;
	b->result = state_begin(st, &b->why);
	if (b->result != OK)
		return;
	for (size_t i = 0; b->result == OK && i < b->writing.len; i++)
		b->result = write_op(b, &b->writing.at[i], &b->why);
	if (b->result == OK)
		b->result = state_commit(st, &b->why);
	else
		state_rollback(st);
}

/* -- in the scanning thread -- */

static void
op_clear(struct scan_batch *b, struct op *op)
{
	if (op->kind == OP_FILE)
		free(op->name);
	scan_dir_unref(b->s, op->dir);
}

static enum err
finish(struct scan_batch *b, struct error *e)
{
	if (!b->busy)
		return OK;
	scan_pool_wait(b->s->pool, &b->job);
	b->busy = false;
	array_each (op, &b->writing)
		op_clear(b, op);
	b->writing.len = 0;
	if (b->result != OK && e != NULL)
		*e = b->why;
	return b->result;
}

static enum err
start(struct scan_batch *b, struct error *e)
{
	enum err r = finish(b, e);

	if (r != OK || b->filling.len == 0)
		return r;
	__typeof__(b->writing) empty = b->writing;
	b->writing = b->filling;
	b->filling = empty;
	b->job.run = write_all;
	b->busy = true;
	scan_pool_submit(b->s->pool, &b->job);
	return OK;
}

enum err
scan_batch_flush(struct scan_batch *b, struct error *e)
{
	enum err r = start(b, e);

	return r == OK ? finish(b, e) : r;
}

void
scan_batch_free(struct scan_batch *b)
{
	if (b == NULL)
		return;
	array_each (op, &b->writing)
		op_clear(b, op);
	array_each (op, &b->filling)
		op_clear(b, op);
	array_clear(&b->writing);
	array_clear(&b->filling);
	free(b);
}

static enum err
add(struct scan_batch *b, struct op op, struct error *e)
{
	if (b->s->o->dry_run)
		return OK;
	if (op.dir != NULL)
		scan_dir_ref(op.dir);
	array_push(&b->filling, op);
	return b->filling.len >= SCAN_BATCH ? start(b, e) : OK;
}

static struct op
stat_op(enum op_kind kind, const struct fs_stat *st, bool racy, uint64_t content)
{
	return (struct op){
		.kind = kind,
		.size = st->size,
		.ino = st->ino,
		.mtime_ns = st->mtime_ns,
		/* what no file has: it is read again next time */
		.ctime_ns = racy ? 0 : st->ctime_ns,
		.content = content,
	};
}

enum err
scan_batch_dir(struct scan_batch *b, struct scan_dir *d, struct error *e)
{
	if (d->id != 0 && d->ino_known == d->st.ino)
		return OK;
	return add(b, (struct op){ .kind = OP_DIR, .dir = d }, e);
}

enum err
scan_batch_file(struct scan_batch *b, struct scan_dir *d, const char *name,
    const struct fs_stat *st, bool racy, uint64_t content, struct error *e)
{
	struct op op = stat_op(OP_FILE, st, racy, content);

	if (b->s->o->dry_run)
		return OK;
	op.dir = d;
	op.name = str_dup(name);
	return add(b, op, e);
}

enum err
scan_batch_place(
    struct scan_batch *b, const struct hash_id *chunk, uint64_t offset, struct error *e)
{
	return add(b, (struct op){ .kind = OP_PLACE, .chunk = *chunk, .offset = offset }, e);
}

enum err
scan_batch_set(
    struct scan_batch *b, const struct fs_stat *st, bool racy, uint64_t content, struct error *e)
{
	return add(b, stat_op(OP_SET, st, racy, content), e);
}

enum err
scan_batch_drop(struct scan_batch *b, struct error *e)
{
	return add(b, (struct op){ .kind = OP_DROP }, e);
}

enum err
scan_batch_del(struct scan_batch *b, int64_t file, struct error *e)
{
	return add(b, (struct op){ .kind = OP_DEL, .id = file }, e);
}
