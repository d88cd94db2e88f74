#include "chunk/chunk_index.h"

#include <inttypes.h>
#include <pthread.h>

#include "base/array.h"
#include "base/log.h"
#include "base/map.h"
#include "db/db.h"
#include "platform/fs.h"

enum { READERS = 3 };

#define INDEX_NAME  "index.db"
#define MARKER_NAME "index.damaged"

static const char *const MIGRATIONS[] = {
	"CREATE TABLE object (id BLOB PRIMARY KEY, pack INTEGER NOT NULL, off INTEGER NOT NULL,"
	" raw INTEGER NOT NULL, packed INTEGER NOT NULL, how INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE pack (number INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, objects INTEGER "
	"NOT NULL,"
	" raw INTEGER NOT NULL, packed INTEGER NOT NULL, live INTEGER NOT NULL, doomed INTEGER NOT "
	"NULL);",
};

/* What a running transaction changes in the sums of one pack. */
struct delta {
	uint64_t pack, bytes;
	int64_t objects, raw, packed, live;
};

struct chunk_index {
	int dir; /* kept */
	struct db *db;
	pthread_mutex_t lock; /* of the readers */
	pthread_cond_t reader_free;
	struct db *readers[READERS];
	unsigned idle; /* readers[0 .. idle) are free */
	unsigned made; /* how many exist */
	/* of the running transaction: guarded by the database's own lock */
	ARRAY(struct delta) deltas;
	struct map delta_of; /* pack number to place in deltas */
};

/* -- opening -- */

static bool
is_marked(int dir)
{
	struct fs_stat st;

	return fs_stat_at(dir, REL(MARKER_NAME), &st, NULL) == OK;
}

/* The next open begins with an empty index. */
static void
mark(struct chunk_index *x)
{
	if (fs_write_file(x->dir, REL(MARKER_NAME), BYTES(NULL, 0), 0600, NULL) == OK)
		log_error("the index of a chunk store is damaged: it is rebuilt at the next start");
}

/* Every result of the database goes through here. */
static enum err
noted(struct chunk_index *x, enum err r)
{
	if (r == ERR_CORRUPT && !is_marked(x->dir))
		mark(x);
	return r;
}

static enum err
discard(int dir, struct error *e)
{
	/* The marker last: whoever is interrupted here does it again. */
	static const char *const names[] = { INDEX_NAME, INDEX_NAME "-wal", INDEX_NAME "-shm",
		MARKER_NAME };

	for (size_t i = 0; i < lengthof(names); i++) {
		enum err r = fs_unlink(dir, fs_rel(names[i]), e);
		if (r != OK && r != ERR_NOTFOUND)
			return r;
	}
	return fs_sync(dir, e);
}

static enum err
open_db(const char *file, struct db **ret, struct error *e)
{
	struct db *db = NULL;
	enum err r = db_open(file, &(struct db_opts){ .is_remade = true }, &db, e);

	if (r == OK)
		r = db_migrate(db, MIGRATIONS, lengthof(MIGRATIONS), e);
	if (r != OK) {
		db_close(db);
		return r;
	}
	*ret = db;
	return OK;
}

enum err
chunk_index_open(const char *path, int dir, struct chunk_index **ret, struct error *e)
{
	auto_free char *file = str_printf("%s/" INDEX_NAME, path);
	struct db *db = NULL;
	struct error why;

	enum err r = is_marked(dir) ? fail(&why, ERR_CORRUPT, "damage was met before")
				    : open_db(file, &db, &why);
	if (r == ERR_CORRUPT) {
		log_warn("%s is damaged (%s): it is rebuilt from the packs", file, why.text);
		r = discard(dir, &why);
		if (r == OK)
			r = open_db(file, &db, &why);
	}
	if (r != OK) {
		if (e != NULL)
			*e = why;
		return r;
	}
	struct chunk_index *x = mem_new(struct chunk_index);
	x->dir = dir;
	x->db = db;
	pthread_mutex_init(&x->lock, NULL);
	pthread_cond_init(&x->reader_free, NULL);
	*ret = x;
	return OK;
}

void
chunk_index_close(struct chunk_index *x)
{
	if (x == NULL)
		return;
	for (unsigned i = 0; i < x->idle; i++)
		db_close(x->readers[i]);
	db_close(x->db);
	array_clear(&x->deltas);
	map_clear(&x->delta_of);
	pthread_cond_destroy(&x->reader_free);
	pthread_mutex_destroy(&x->lock);
	free(x);
}

/* -- reading: each find borrows one of a few read-only connections -- */

static enum err
reader_take_one(struct chunk_index *x, struct db **ret, struct error *e)
{
	struct db *d = NULL;

	pthread_mutex_lock(&x->lock);
	while (x->idle == 0 && x->made == READERS)
		pthread_cond_wait(&x->reader_free, &x->lock);
	if (x->idle > 0)
		d = x->readers[--x->idle];
	else
		x->made++;
	pthread_mutex_unlock(&x->lock);
	if (d == NULL) {
		enum err r = db_open_reader(x->db, &d, e);
		if (r != OK) {
			pthread_mutex_lock(&x->lock);
			x->made--;
			pthread_cond_signal(&x->reader_free);
			pthread_mutex_unlock(&x->lock);
			return r;
		}
	}
	*ret = d;
	return OK;
}

static void
reader_give_back(struct chunk_index *x, struct db *d)
{
	pthread_mutex_lock(&x->lock);
	x->readers[x->idle++] = d;
	pthread_cond_signal(&x->reader_free);
	pthread_mutex_unlock(&x->lock);
}

#define OBJECT_COLUMNS "id, pack, off, raw, packed, how"

/* A row is checked like anything from outside: its numbers are used for reading and allocating. */
static enum err
place_of_row(struct db_row *row, struct chunk_place *ret, struct error *e)
{
	struct reader id = reader_over(db_row_bytes(row, 0));
	struct chunk_place p = { .rec.id = hash_id_decode(&id) };
	int64_t pack = db_row_int(row, 1), off = db_row_int(row, 2), raw = db_row_int(row, 3);
	int64_t packed = db_row_int(row, 4), how = db_row_int(row, 5);

	if (!reader_done(&id) || pack < 0 || off < PACK_HEAD || off > INT64_MAX - PACK_RECORD_MAX ||
	    raw < 0 || raw > UINT32_MAX || packed < 0 || packed > UINT32_MAX || how < 0 ||
	    how > UINT8_MAX)
		return fail(e, ERR_CORRUPT, "the index has a row that cannot be");
	p.pack = (uint64_t)pack;
	p.off = (uint64_t)off;
	p.rec.raw_len = (uint32_t)raw;
	p.rec.packed_len = (uint32_t)packed;
	p.rec.kind = (uint8_t)(how >> 4);
	p.rec.codec = (uint8_t)(how & 15);
	if (!pack_record_sane(&p.rec))
		return fail(e, ERR_CORRUPT, "the index has a row that cannot be");
	*ret = p;
	return OK;
}

static int64_t
how_of(const struct pack_record *r)
{
	return (int64_t)(r->kind << 4 | r->codec);
}

static enum err
find_with(struct db *d, const struct hash_id *id, struct chunk_place *ret, struct error *e)
{
	static const char SQL_FIND[] = "SELECT " OBJECT_COLUMNS " FROM object WHERE id = ?";
	auto_row struct db_row *row = NULL;

	enum err r = db_query(d, SQL_FIND, &row, e, "b", hash_id_bytes(id));
	if (r == OK)
		r = db_row_next(row, e);
	return r == OK ? place_of_row(row, ret, e) : r;
}

enum err
chunk_index_find(
    struct chunk_index *x, const struct hash_id *id, struct chunk_place *ret, struct error *e)
{
	struct db *d = NULL;
	enum err r = reader_take_one(x, &d, e);

	if (r != OK)
		return noted(x, r);
	r = find_with(d, id, ret, e);
	reader_give_back(x, d);
	return noted(x, r);
}

static enum err
scan_with(struct db *d, struct bytes after, struct chunk_place *ret, size_t *n, struct error *e)
{
	static const char SQL_SCAN[] =
	    "SELECT " OBJECT_COLUMNS " FROM object WHERE id > ? ORDER BY id LIMIT ?";
	auto_row struct db_row *row = NULL;
	size_t got = 0;

	enum err r = db_query(d, SQL_SCAN, &row, e, "bi", after, (int64_t)*n);
	while (r == OK && (r = db_row_next(row, e)) == OK)
		r = place_of_row(row, &ret[got++], e);
	*n = got;
	return r == ERR_NOTFOUND ? OK : r;
}

enum err
chunk_index_scan(struct chunk_index *x, const struct hash_id *after, struct chunk_place *ret,
    size_t *n, struct error *e)
{
	struct db *d = NULL;
	enum err r = reader_take_one(x, &d, e);

	if (r != OK)
		return noted(x, r);
	r = scan_with(d, after != NULL ? hash_id_bytes(after) : BYTES("", 0), ret, n, e);
	reader_give_back(x, d);
	return noted(x, r);
}

#define PACK_COLUMNS "bytes, objects, raw, packed, live, doomed"

static struct chunk_index_pack
pack_of_row(struct db_row *row)
{
	return (struct chunk_index_pack){
		.number = (uint64_t)db_row_int(row, 0),
		.bytes = (uint64_t)db_row_int(row, 1),
		.objects = (uint64_t)db_row_int(row, 2),
		.raw = (uint64_t)db_row_int(row, 3),
		.packed = (uint64_t)db_row_int(row, 4),
		.live = (uint64_t)db_row_int(row, 5),
		.doomed = db_row_int(row, 6) != 0,
	};
}

static enum err
packs_with(struct db *d, uint64_t after, struct chunk_index_pack *ret, size_t *n, struct error *e)
{
	static const char SQL_PACKS[] =
	    "SELECT number, " PACK_COLUMNS " FROM pack WHERE number > ? ORDER BY number LIMIT ?";
	auto_row struct db_row *row = NULL;
	size_t got = 0;

	enum err r = db_query(d, SQL_PACKS, &row, e, "ii", (int64_t)after, (int64_t)*n);
	while (r == OK && (r = db_row_next(row, e)) == OK)
		ret[got++] = pack_of_row(row);
	*n = got;
	return r == ERR_NOTFOUND ? OK : r;
}

enum err
chunk_index_packs(
    struct chunk_index *x, uint64_t after, struct chunk_index_pack *ret, size_t *n, struct error *e)
{
	struct db *d = NULL;
	enum err r = reader_take_one(x, &d, e);

	if (r != OK)
		return noted(x, r);
	r = packs_with(d, after, ret, n, e);
	reader_give_back(x, d);
	return noted(x, r);
}

enum err
chunk_index_totals(struct chunk_index *x, struct chunk_index_pack *ret, struct error *e)
{
	static const char SQL_TOTALS[] =
	    "SELECT count(*), sum(bytes), sum(objects), sum(raw), sum(packed), sum(live), 0"
	    " FROM pack WHERE doomed = 0";
	struct db *d = NULL;
	struct db_row *row = NULL;

	enum err r = reader_take_one(x, &d, e);
	if (r != OK)
		return noted(x, r);
	r = db_query(d, SQL_TOTALS, &row, e, "");
	if (r == OK)
		r = db_row_next(row, e);
	if (r == OK)
		*ret = pack_of_row(row);
	db_row_end(row);
	reader_give_back(x, d);
	return noted(x, r);
}

enum err
chunk_index_check(struct chunk_index *x, struct error *e)
{
	struct db *d = NULL;
	enum err r = reader_take_one(x, &d, e);

	if (r != OK)
		return noted(x, r);
	r = db_check(d, e);
	reader_give_back(x, d);
	return noted(x, r);
}

/* -- changing: the sums of packs are gathered and written once, just before the commit -- */

static struct delta *
delta_of(struct chunk_index *x, uint64_t pack)
{
	bool is_new = false;
	struct map_slot *slot = map_put(&x->delta_of, BYTES_OF(pack), &is_new);

	if (is_new) {
		slot->num = x->deltas.len;
		array_push(&x->deltas, ((struct delta){ .pack = pack }));
	}
	return &x->deltas.at[slot->num];
}

static void
count(struct chunk_index *x, const struct chunk_place *p, int sign)
{
	struct delta *d = delta_of(x, p->pack);

	d->objects += sign;
	d->raw += sign * (int64_t)p->rec.raw_len;
	d->packed += sign * (int64_t)p->rec.packed_len;
	d->live += sign * (int64_t)pack_record_len(&p->rec);
}

static void
forget_deltas(struct chunk_index *x)
{
	x->deltas.len = 0;
	map_clear(&x->delta_of);
}

enum err
chunk_index_begin(struct chunk_index *x, struct error *e)
{
	enum err r = noted(x, db_begin(x->db, e));

	if (r == OK)
		forget_deltas(x);
	return r;
}

void
chunk_index_rollback(struct chunk_index *x)
{
	forget_deltas(x);
	db_rollback(x->db);
}

enum err
chunk_index_commit(struct chunk_index *x, struct error *e)
{
	static const char SQL_SUM[] =
	    "INSERT INTO pack (number, " PACK_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)"
	    " ON CONFLICT (number) DO UPDATE SET bytes = max(bytes, ?2), objects = objects + ?3, "
	    "raw = raw + ?4,"
	    " packed = packed + ?5, live = live + ?6";
	enum err r = OK;

	for (size_t i = 0; r == OK && i < x->deltas.len; i++) {
		const struct delta *d = &x->deltas.at[i];
		r = db_run(x->db, SQL_SUM, e, "iiiiii", (int64_t)d->pack, (int64_t)d->bytes,
		    d->objects, d->raw, d->packed, d->live);
	}
	if (r != OK) {
		chunk_index_rollback(x);
		return noted(x, r);
	}
	forget_deltas(x);
	return noted(x, db_commit(x->db, e));
}

static enum err
changed(struct chunk_index *x, enum err r, bool *ret)
{
	if (r == OK && ret != NULL)
		*ret = db_changes(x->db) > 0;
	return noted(x, r);
}

enum err
chunk_index_add(
    struct chunk_index *x, const struct chunk_place *p, bool *ret_added, struct error *e)
{
	static const char SQL_ADD[] = "INSERT INTO object (" OBJECT_COLUMNS
				      ") VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING";
	bool added = false;

	enum err r = db_run(x->db, SQL_ADD, e, "biiiii", hash_id_bytes(&p->rec.id),
	    (int64_t)p->pack, (int64_t)p->off, (int64_t)p->rec.raw_len, (int64_t)p->rec.packed_len,
	    how_of(&p->rec));
	r = changed(x, r, &added);
	if (r == OK && added)
		count(x, p, 1);
	if (r == OK && ret_added != NULL)
		*ret_added = added;
	return r;
}

enum err
chunk_index_remove(
    struct chunk_index *x, const struct chunk_place *p, bool *ret_removed, struct error *e)
{
	static const char SQL_REMOVE[] = "DELETE FROM object WHERE id = ? AND pack = ? AND off = ?";
	bool removed = false;

	enum err r = db_run(x->db, SQL_REMOVE, e, "bii", hash_id_bytes(&p->rec.id),
	    (int64_t)p->pack, (int64_t)p->off);
	r = changed(x, r, &removed);
	if (r == OK && removed)
		count(x, p, -1);
	if (r == OK && ret_removed != NULL)
		*ret_removed = removed;
	return r;
}

enum err
chunk_index_move(struct chunk_index *x, const struct chunk_place *from,
    const struct chunk_place *to, bool *ret_moved, struct error *e)
{
	static const char SQL_MOVE[] =
	    "UPDATE object SET pack = ?, off = ? WHERE id = ? AND pack = ? AND off = ?";
	bool moved = false;

	enum err r = db_run(x->db, SQL_MOVE, e, "iibii", (int64_t)to->pack, (int64_t)to->off,
	    hash_id_bytes(&from->rec.id), (int64_t)from->pack, (int64_t)from->off);
	r = changed(x, r, &moved);
	if (r == OK && moved) {
		count(x, from, -1);
		count(x, to, 1);
	}
	if (r == OK && ret_moved != NULL)
		*ret_moved = moved;
	return r;
}

enum err
chunk_index_replace(struct chunk_index *x, const struct chunk_place *p, struct error *e)
{
	struct chunk_place old;
	bool added = false;

	enum err r = chunk_index_add(x, p, &added, e);
	if (r != OK || added)
		return r;
	r = noted(x, find_with(x->db, &p->rec.id, &old, e));
	if (r == OK)
		r = chunk_index_remove(x, &old, NULL, e);
	if (r == OK)
		r = chunk_index_add(x, p, NULL, e);
	return r;
}

void
chunk_index_extend(struct chunk_index *x, uint64_t pack, uint64_t bytes)
{
	struct delta *d = delta_of(x, pack);

	d->bytes = max_of(d->bytes, bytes);
}

enum err
chunk_index_doom(struct chunk_index *x, uint64_t pack, bool *ret_doomed, struct error *e)
{
	static const char SQL_DOOM[] =
	    "UPDATE pack SET doomed = 1 WHERE number = ? AND objects = 0";

	return changed(x, db_run(x->db, SQL_DOOM, e, "i", (int64_t)pack), ret_doomed);
}

enum err
chunk_index_drop(struct chunk_index *x, uint64_t pack, bool *ret_dropped, struct error *e)
{
	static const char SQL_DROP[] = "DELETE FROM pack WHERE number = ? AND doomed = 1";

	return changed(x, db_run(x->db, SQL_DROP, e, "i", (int64_t)pack), ret_dropped);
}
