/* Opening, putting and getting.  How the parts work together is told in chunk_store_inner.h. */
#include "chunk/chunk_store.h"

#include <assert.h>
#include <inttypes.h>

#include "base/log.h"
#include "base/mem.h"
#include "chunk/chunk_store_inner.h"

#define PACKS_NAME "packs"
#define LOCK_NAME  "lock"

/* how often an object may move away between look-up and read before it counts as lost */
enum { LOOKS = 4 };

static_assert(
    (int)CHUNK_STORE_NODE_MAX == (int)PACK_NODE_MAX, "one limit, named where it is needed");

/* -- opening and closing -- */

/* Makes the directory PATH beneath one that exists. */
static enum err
make_dir(const char *path, struct error *e)
{
	auto_free char *above = str_dup(path), *name = NULL;
	auto_fd int parent = -1;
	size_t n = strlen(above);

	while (n > 1 && above[n - 1] == '/')
		above[--n] = '\0';
	char *slash = strrchr(above, '/');
	name = str_dup(slash != NULL ? slash + 1 : above);
	if (!relpath_is_name(bytes_str(name)))
		return fail(e, ERR_NOTFOUND, "%s is no directory and cannot be made", path);
	if (slash != NULL)
		slash[slash == above ? 1 : 0] = '\0';
	enum err r = fs_open_root(slash != NULL ? above : ".", &parent, e);
	if (r == OK)
		r = fs_mkdir(parent, fs_rel(name), 0700, e);
	return r == OK ? fs_sync(parent, e) : r;
}

static enum err
open_dirs(struct chunk_store *s, const char *path, struct error *e)
{
	int packs = -1;
	enum err r = fs_open_root(path, &s->dir, e);

	if (r == ERR_NOTFOUND) {
		r = make_dir(path, e);
		if (r == OK)
			r = fs_open_root(path, &s->dir, e);
	}
	if (r == OK)
		r = fs_lock(s->dir, REL(LOCK_NAME), &s->lock_fd, e);
	if (r == OK)
		r = fs_mkdirs(s->dir, REL(PACKS_NAME), 0700, e);
	if (r == OK)
		r = fs_sync(s->dir, e);
	if (r == OK)
		r = fs_open_dir(s->dir, REL(PACKS_NAME), &packs, e);
	if (r == OK)
		s->packs = pack_set_new(packs);
	return r;
}

/* A sweep must not wait for ever behind a stream of puts. */
static void
init_gate(pthread_rwlock_t *gate)
{
	pthread_rwlockattr_t a;

	pthread_rwlockattr_init(&a);
	pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(gate, &a);
	pthread_rwlockattr_destroy(&a);
}

static enum err
open_once(
    const char *path, const struct chunk_store_opts *o, struct chunk_store **ret, struct error *e)
{
	struct chunk_store *s = mem_new(struct chunk_store);

	s->opts = *o;
	if (s->opts.pack_bytes == 0)
		s->opts.pack_bytes = CHUNK_STORE_PACK;
	s->dir = s->lock_fd = -1;
	init_gate(&s->gate);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->committed, NULL);
	pack_writer_init(&s->writer);
	enum err r = open_dirs(s, path, e);
	if (r == OK)
		r = chunk_index_open(path, s->dir, &s->index, e);
	if (r == OK)
		r = chunk_store_recover(s, e);
	if (r != OK) {
		chunk_store_close(s);
		return error_wrap(e, r, "open the chunk store %s", path);
	}
	*ret = s;
	return OK;
}

/* Damage in the index that is met only while it is read is marked: the second time it is rebuilt.
 */
enum err
chunk_store_open(
    const char *path, const struct chunk_store_opts *o, struct chunk_store **ret, struct error *e)
{
	struct error why;
	enum err r = open_once(path, o, ret, &why);

	if (r == ERR_CORRUPT) {
		log_warn("%s", why.text);
		r = open_once(path, o, ret, &why);
	}
	if (r != OK && e != NULL)
		*e = why;
	return r;
}

void
chunk_store_close(struct chunk_store *s)
{
	if (s == NULL)
		return;
	chunk_store_gc_abort(s);
	chunk_store_commit_clear(s);
	pack_writer_clear(&s->writer);
	chunk_index_close(s->index);
	pack_set_free(s->packs);
	pthread_cond_destroy(&s->committed);
	pthread_mutex_destroy(&s->lock);
	pthread_rwlock_destroy(&s->gate);
	cleanup_close(&s->dir);
	cleanup_close(&s->lock_fd); /* last: the next owner may come now */
	free(s);
}

enum err
chunk_store_claim(struct chunk_store *s, enum chunk_store_task task, struct error *e)
{
	enum err r = OK;

	pthread_mutex_lock(&s->lock);
	if (s->task != CHUNK_STORE_IDLE)
		r = fail(e, ERR_AGAIN, "the chunk store is already being collected or checked");
	else
		s->task = task;
	pthread_mutex_unlock(&s->lock);
	return r;
}

void
chunk_store_release(struct chunk_store *s)
{
	pthread_mutex_lock(&s->lock);
	s->task = CHUNK_STORE_IDLE;
	pthread_mutex_unlock(&s->lock);
}

/* -- putting -- */

/* OK: it is there, and a collection that runs will keep it.  ERR_NOTFOUND: it is not.  With the
 * gate held. */
static enum err
touch(struct chunk_store *s, const struct hash_id *id, struct error *e)
{
	struct chunk_place p;

	pthread_mutex_lock(&s->lock);
	chunk_store_gc_touch(s, id);
	bool pending = chunk_store_commit_find(s, id) != NULL;
	pthread_mutex_unlock(&s->lock);
	return pending ? OK : chunk_index_find(s->index, id, &p, e);
}

/* Packs and appends.  With the gate held. */
static enum err
append(struct chunk_store *s, struct pack_record *rec, const struct leaf_list *leaves,
    struct bytes raw, bool *ret_due, struct error *e)
{
	auto_buf struct buf packed = BUF(raw.len);
	struct chunk_store_row row = { 0 };

	rec->codec = s->opts.compress ? (uint8_t)codec_pack(raw, &packed) : (uint8_t)CODEC_RAW;
	struct bytes content = rec->codec == CODEC_RAW ? raw : buf_bytes(&packed);
	rec->packed_len = (uint32_t)content.len;
	row.at.rec = *rec;
	pthread_mutex_lock(&s->lock);
	enum err r = chunk_store_commit_add(s, &row, leaves, content, ret_due, e);
	pthread_mutex_unlock(&s->lock);
	return r;
}

static enum err
put(struct chunk_store *s, struct pack_record *rec, const struct leaf_list *leaves,
    struct bytes raw, struct error *e)
{
	char shown[HASH_ID_TEXT];
	bool due = false;
	enum err r = chunk_store_commit_heal(s, e);

	if (r != OK)
		return r;
	pthread_rwlock_rdlock(&s->gate);
	r = touch(s, &rec->id, e);
	if (r == ERR_NOTFOUND)
		r = append(s, rec, leaves, raw, &due, e);
	pthread_rwlock_unlock(&s->gate);
	if (r == OK && due)
		r = chunk_store_commit(s, e);
	if (r != OK)
		return error_wrap(e, r, "store object %s", hash_id_format(&rec->id, shown));
	return OK;
}

enum err
chunk_store_put_chunk(struct chunk_store *s, const struct hash_id *id, struct bytes data,
    const struct leaf_list *leaves, bool checked, struct error *e)
{
	struct pack_record rec = { .id = *id, .kind = HASH_CHUNK, .raw_len = (uint32_t)data.len };
	char shown[HASH_ID_TEXT];
	struct leaf_list own;
	struct hash_id is;

	if (data.len == 0 || data.len > CHUNK_MAX)
		return fail(e, ERR_LIMIT, "a chunk of %zu bytes, limit %d", data.len, CHUNK_MAX);
	if (!hash_alg_known(id->alg))
		return fail(e, ERR_CORRUPT, "a chunk named by the unknown algorithm %u", id->alg);
	if (!checked || leaves == NULL) {
		chunk_id_of(id->alg, data, &own, &is);
		if (!hash_id_equal(&is, id))
			return fail(e, ERR_CORRUPT, "the bytes handed in are not chunk %s",
			    hash_id_format(id, shown));
		leaves = &own;
	}
	if (!expect(leaves->n == chunk_id_leaf_count(rec.raw_len)))
		return fail(e, ERR_BUG, "a chunk of %zu bytes with %u leaves", data.len, leaves->n);
	return put(s, &rec, leaves, data, e);
}

enum err
chunk_store_put_node(struct chunk_store *s, enum hash_alg alg, enum hash_kind kind,
    struct bytes node, struct hash_id *ret_id, struct error *e)
{
	struct pack_record rec = { .kind = (uint8_t)kind, .raw_len = (uint32_t)node.len };

	if (node.len == 0 || node.len > CHUNK_STORE_NODE_MAX)
		return fail(
		    e, ERR_LIMIT, "a node of %zu bytes, limit %d", node.len, CHUNK_STORE_NODE_MAX);
	if (!expect(pack_kind_known(kind) && kind != HASH_CHUNK && hash_alg_known((uint8_t)alg)))
		return fail(e, ERR_BUG, "a node of kind %d and algorithm %d", (int)kind, (int)alg);
	hash_object(alg, kind, node, &rec.id);
	enum err r = put(s, &rec, NULL, node, e);
	if (r == OK && ret_id != NULL)
		*ret_id = rec.id;
	return r;
}

/* -- finding and reading -- */

enum err
chunk_store_locate(
    struct chunk_store *s, const struct hash_id *id, struct chunk_place *ret, struct error *e)
{
	pthread_mutex_lock(&s->lock);
	const struct chunk_store_row *row = chunk_store_commit_find(s, id);
	if (row != NULL)
		*ret = row->at;
	pthread_mutex_unlock(&s->lock);
	return row != NULL ? OK : chunk_index_find(s->index, id, ret, e);
}

enum err
chunk_store_lies_at(struct chunk_store *s, const struct chunk_place *p, bool *ret, struct error *e)
{
	struct chunk_place is;
	enum err r = chunk_index_find(s->index, &p->rec.id, &is, e);

	if (r != OK && r != ERR_NOTFOUND)
		return r;
	*ret = r == OK && is.pack == p->pack && is.off == p->off;
	return OK;
}

enum err
chunk_store_read(struct chunk_store *s, const struct chunk_place *p, uint32_t at, void *to,
    size_t n, struct error *e)
{
	bool gathered = false;
	int fd = -1;

	pthread_mutex_lock(&s->lock);
	if (s->writer.fd >= 0 && s->writer.head.number == p->pack)
		gathered = pack_writer_peek(&s->writer, p->off + at, to, n);
	pthread_mutex_unlock(&s->lock);
	if (gathered)
		return OK;
	enum err r = pack_set_get(s->packs, p->pack, &fd, e);
	if (r != OK)
		return r;
	r = fs_read_exact(fd, p->off + at, to, n, e);
	pack_set_put(s->packs, p->pack, fd);
	return r;
}

static enum err
read_leaves(
    struct chunk_store *s, const struct chunk_place *p, struct leaf_list *ret, struct error *e)
{
	ret->n = pack_record_leaves(&p->rec);
	return chunk_store_read(s, p, PACK_RECORD_HEAD, ret->hash, (size_t)ret->n * HASH_BYTES, e);
}

/* The whole content, unpacked and not verified. */
static enum err
read_content(struct chunk_store *s, const struct chunk_place *p, uint8_t *to, struct error *e)
{
	uint32_t body = pack_record_body(&p->rec);

	if (p->rec.codec == CODEC_RAW)
		return chunk_store_read(s, p, body, to, p->rec.raw_len, e);
	auto_free uint8_t *packed = mem_alloc(p->rec.packed_len);
	enum err r = chunk_store_read(s, p, body, packed, p->rec.packed_len, e);
	if (r == OK)
		r = codec_unpack(
		    p->rec.codec, BYTES(packed, p->rec.packed_len), to, p->rec.raw_len, e);
	return r;
}

enum err
chunk_store_load(struct chunk_store *s, const struct chunk_place *p, uint8_t *to,
    struct leaf_list *ret_leaves, struct error *e)
{
	enum err r = OK;

	if (p->rec.kind == HASH_CHUNK)
		r = read_leaves(s, p, ret_leaves, e);
	if (r == OK)
		r = read_content(s, p, to, e);
	return r == OK ? pack_record_verify(&p->rec, ret_leaves, to, e) : r;
}

enum err
chunk_store_forget(struct chunk_store *s, const struct chunk_place *p, struct error *e)
{
	enum err r = chunk_index_begin(s->index, e);

	if (r != OK)
		return r;
	r = chunk_index_remove(s->index, p, NULL, e);
	if (r == OK)
		return chunk_index_commit(s->index, e);
	chunk_index_rollback(s->index);
	return r;
}

/*
 * Finds an object and reads it.  Between the two a collection may move it to another pack; then it
 * is looked up again.  One that turns out damaged is forgotten, so that a good copy can be put in
 * its place.
 */
typedef enum err read_fn(
    struct chunk_store *s, const struct chunk_place *p, void *ctx, struct error *e);

static enum err
get(struct chunk_store *s, const struct hash_id *id, bool chunk, read_fn *read, void *ctx,
    struct error *e)
{
	char shown[HASH_ID_TEXT];
	struct chunk_place p = { 0 };
	enum err r = ERR_NOTFOUND;

	hash_id_format(id, shown);
	for (unsigned look = 0; r == ERR_NOTFOUND && look < LOOKS; look++) {
		r = chunk_store_locate(s, id, &p, e);
		if (r == OK && chunk != (p.rec.kind == HASH_CHUNK))
			r = ERR_NOTFOUND;
		if (r == ERR_NOTFOUND)
			return fail(
			    e, r, "%s %s is not in the store", chunk ? "chunk" : "node", shown);
		if (r != OK)
			return error_wrap(e, r, "find object %s", shown);
		r = read(s, &p, ctx, e);
	}
	if (r == OK)
		return OK;
	if (r == ERR_NOTFOUND)
		r = ERR_CORRUPT; /* the pack's file is gone: recovery's business, the object may
				    come back with it */
	else if (r == ERR_CORRUPT && chunk_store_forget(s, &p, NULL) != OK)
		log_debug("damaged object %s could not be forgotten", shown);
	return error_wrap(e, r, "object %s in pack %" PRIu64 " at %" PRIu64, shown, p.pack, p.off);
}

struct whole_chunk {
	uint8_t *to;
	uint32_t *ret_len;
	struct leaf_list *ret_leaves;
};

static enum err
read_chunk(struct chunk_store *s, const struct chunk_place *p, void *ctx, struct error *e)
{
	struct whole_chunk *c = ctx;
	struct leaf_list leaves;

	enum err r = chunk_store_load(s, p, c->to, &leaves, e);
	if (r != OK)
		return r;
	*c->ret_len = p->rec.raw_len;
	if (c->ret_leaves != NULL)
		*c->ret_leaves = leaves;
	return OK;
}

enum err
chunk_store_get_chunk(struct chunk_store *s, const struct hash_id *id, uint8_t *to,
    uint32_t *ret_len, struct leaf_list *ret_leaves, struct error *e)
{
	return get(s, id, true, read_chunk, &(struct whole_chunk){ to, ret_len, ret_leaves }, e);
}

struct some_leaves {
	uint32_t first, n;
	uint8_t *to;
	uint32_t *ret_len;
	struct leaf_list *ret_leaves;
};

static enum err
read_some_leaves(struct chunk_store *s, const struct chunk_place *p, void *ctx, struct error *e)
{
	struct some_leaves *c = ctx;
	struct leaf_list leaves;

	enum err r = read_leaves(s, p, &leaves, e);
	if (r != OK)
		return r;
	if (!chunk_id_leaves_match(&p->rec.id, p->rec.raw_len, &leaves))
		return fail(e, ERR_CORRUPT, "the leaf list does not match its name");
	if (c->n == 0 || c->n > leaves.n || c->first > leaves.n - c->n)
		return fail(e, ERR_LIMIT, "leaves %u to %u of a chunk with %u", c->first,
		    c->first + c->n, leaves.n);
	uint32_t from = c->first * CHUNK_LEAF;
	uint32_t len = min_of(c->n * (uint32_t)CHUNK_LEAF, p->rec.raw_len - from);
	if (p->rec.codec == CODEC_RAW) {
		r = chunk_store_read(s, p, pack_record_body(&p->rec) + from, c->to, len, e);
	} else if (len == p->rec.raw_len) {
		r = read_content(s, p, c->to, e);
	} else {
		auto_free uint8_t *all = mem_alloc(p->rec.raw_len);
		r = read_content(s, p, all, e);
		if (r == OK)
			memcpy(c->to, all + from, len);
	}
	if (r != OK)
		return r;
	*c->ret_len = len;
	if (c->ret_leaves != NULL)
		*c->ret_leaves = leaves;
	return OK;
}

enum err
chunk_store_get_leaves(struct chunk_store *s, const struct hash_id *id, uint32_t first, uint32_t n,
    uint8_t *to, uint32_t *ret_len, struct leaf_list *ret_leaves, struct error *e)
{
	return get(s, id, true, read_some_leaves,
	    &(struct some_leaves){ first, n, to, ret_len, ret_leaves }, e);
}

static enum err
read_node(struct chunk_store *s, const struct chunk_place *p, void *ctx, struct error *e)
{
	struct buf *out = ctx;
	struct leaf_list none;

	uint8_t *to = buf_reserve(out, p->rec.raw_len);
	if (to == NULL)
		return fail(e, ERR_LIMIT, "a node of %u bytes where %zu are allowed",
		    p->rec.raw_len, out->max - out->len);
	enum err r = chunk_store_load(s, p, to, &none, e);
	if (r == OK)
		buf_grown(out, p->rec.raw_len);
	return r;
}

enum err
chunk_store_get_node(
    struct chunk_store *s, const struct hash_id *id, struct buf *out, struct error *e)
{
	return get(s, id, false, read_node, out, e);
}

bool
chunk_store_has(struct chunk_store *s, const struct hash_id *id)
{
	pthread_rwlock_rdlock(&s->gate);
	enum err r = touch(s, id, NULL);
	pthread_rwlock_unlock(&s->gate);
	return r == OK;
}

enum err
chunk_store_has_many(struct chunk_store *s, const struct hash_id *ids, size_t n, size_t stride,
    bool *have, struct error *e)
{
	enum err r = OK;

	pthread_rwlock_rdlock(&s->gate);
	for (size_t i = 0; i < n && (r == OK || r == ERR_NOTFOUND); i++) {
		struct hash_id id;
		memcpy(&id, (const uint8_t *)ids + i * stride, sizeof id);
		r = touch(s, &id, e);
		have[i] = r == OK;
	}
	pthread_rwlock_unlock(&s->gate);
	return r == ERR_NOTFOUND ? OK : r;
}

enum err
chunk_store_stats(struct chunk_store *s, struct chunk_store_stats *ret, struct error *e)
{
	struct chunk_index_pack sum;
	enum err r = chunk_index_totals(s->index, &sum, e);

	if (r != OK)
		return r;
	*ret = (struct chunk_store_stats){
		.objects = sum.objects,
		.raw_bytes = sum.raw,
		.packed_bytes = sum.packed,
		.packs = sum.number,
		.pack_bytes = sum.bytes,
		.dead_bytes = sum.bytes - sum.live - sum.number * PACK_HEAD,
	};
	return OK;
}
