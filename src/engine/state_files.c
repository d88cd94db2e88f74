/* The files of a root and the places of chunks in them. */
#include "base/mem.h"
#include "base/text.h"
#include "engine/state_private.h"

/* -- directories -- */

/* Two paths of one key are told apart by the paths themselves. */
static int64_t
key_of_path(struct relpath p)
{
	uint8_t hash[HASH_BYTES];
	struct reader r = { hash, hash + sizeof hash, false };

	hash_sha256(BYTES(p.text, p.len), BYTES(NULL, 0), hash);
	return (int64_t)reader_u64(&r);
}

static enum err
find_dir(struct db *db, int64_t root, struct relpath dir, int64_t *ret, uint64_t *ret_ino,
    struct error *e)
{
	static const char SQL_FIND[] =
	    "SELECT id, ino FROM dir WHERE root = ? AND key = ? AND path = ?";
	auto_row struct db_row *row = NULL;
	/* "" is a path, {NULL, 0} would be none. */
	struct bytes path = BYTES(dir.len > 0 ? dir.text : "", dir.len);
	enum err r = db_query(db, SQL_FIND, &row, e, "iib", root, key_of_path(dir), path);

	if (r == OK)
		r = state_one_row(row, "this directory", e);
	if (r != OK)
		return r;
	*ret = db_row_int(row, 0);
	if (ret_ino != NULL)
		*ret_ino = (uint64_t)db_row_int(row, 1);
	return OK;
}

enum err
state_dir_find(struct state *s, int64_t root, struct relpath dir, int64_t *ret, uint64_t *ret_ino,
    struct error *e)
{
	return find_dir(state_reading(s), root, dir, ret, ret_ino, e);
}

enum err
state_dir_id(struct state *s, int64_t root, struct relpath dir, int64_t *ret, struct error *e)
{
	static const char SQL_ADD[] =
	    "INSERT INTO dir(root, key, path) VALUES(?, ?, ?) RETURNING id";
	auto_row struct db_row *row = NULL;
	struct bytes path = BYTES(dir.len > 0 ? dir.text : "", dir.len);
	struct error why = { 0 };
	/* where others may be adding it now */
	enum err r = find_dir(s->db, root, dir, ret, NULL, &why);

	if (r != OK && r != ERR_NOTFOUND && e != NULL)
		*e = why;
	if (r != ERR_NOTFOUND)
		return r;
	r = db_query(s->db, SQL_ADD, &row, e, "iib", root, key_of_path(dir), path);
	if (r == OK)
		r = state_one_row(row, "a new directory", e);
	if (r != OK)
		return r;
	int64_t id = db_row_int(row, 0);
	r = state_row_done(row, e);
	if (r == OK)
		*ret = id;
	return r;
}

enum err
state_dir_set_ino(struct state *s, int64_t id, uint64_t ino, struct error *e)
{
	static const char SQL_SET[] = "UPDATE dir SET ino = ?2 WHERE id = ?1";

	return db_run(s->db, SQL_SET, e, "ii", id, (int64_t)ino);
}

enum err
state_dir_del(struct state *s, int64_t id, struct error *e)
{
	static const char SQL_PLACES[] =
	    "DELETE FROM place WHERE file IN (SELECT id FROM file WHERE dir = ?)";
	static const char SQL_FILES[] = "DELETE FROM file WHERE dir = ?";
	static const char SQL_DIR[] = "DELETE FROM dir WHERE id = ?";
	static const char *const steps[] = { SQL_PLACES, SQL_FILES, SQL_DIR };
	enum err r = OK;

	for (size_t i = 0; r == OK && i < lengthof(steps); i++)
		r = db_run(s->db, steps[i], e, "i", id);
	return r;
}

static enum err
path_of(struct bytes b, struct buf *text, struct relpath *ret, struct error *e)
{
	buf_reset(text);
	if (!buf_add_bytes(text, b))
		return fail(e, ERR_CORRUPT, "state: a path of %zu bytes", b.len);
	return relpath_parse(buf_text(text), text->len, ret, e);
}

enum err
state_dirs(struct state *s, int64_t root,
    enum err (*on_dir)(void *ctx, int64_t id, struct relpath path, uint64_t ino, struct error *e),
    void *ctx, struct error *e)
{
	static const char SQL_ALL[] = "SELECT id, ino, path FROM dir WHERE root = ?";
	auto_buf struct buf text = BUF(RELPATH_MAX);
	auto_row struct db_row *row = NULL;
	struct relpath path = { 0 };
	enum err r = db_query(state_reading(s), SQL_ALL, &row, e, "i", root);

	while (r == OK) {
		r = db_row_next(row, e);
		if (r == ERR_NOTFOUND)
			return OK;
		if (r == OK)
			r = path_of(db_row_bytes(row, 2), &text, &path, e);
		if (r == OK)
			r = on_dir(ctx, db_row_int(row, 0), path, (uint64_t)db_row_int(row, 1), e);
	}
	return r;
}

/* -- files -- */

#define FILE_COLUMNS "name, file.id, size, file.ino, mtime_ns, ctime_ns, gen, ours, content"

static enum err
read_file(struct db_row *row, struct state_file *ret, struct error *e)
{
	struct bytes name = db_row_bytes(row, 0);

	if (!relpath_is_name(name))
		return fail(e, ERR_CORRUPT, "state: a file whose name has %zu bytes", name.len);
	memcpy(ret->name, name.at, name.len);
	ret->name[name.len] = '\0';
	ret->name_len = (uint32_t)name.len;
	ret->id = db_row_int(row, 1);
	ret->size = (uint64_t)db_row_int(row, 2);
	ret->ino = (uint64_t)db_row_int(row, 3);
	ret->mtime_ns = db_row_int(row, 4);
	ret->ctime_ns = db_row_int(row, 5);
	ret->gen = (uint64_t)db_row_int(row, 6);
	ret->ours = db_row_int(row, 7) != 0;
	ret->content = (uint64_t)db_row_int(row, 8);
	return OK;
}

enum err
state_files_after(struct state *s, int64_t dir, struct bytes name, size_t max,
    state_file_array *ret, struct error *e)
{
	static const char SQL_FILES[] =
	    "SELECT " FILE_COLUMNS " FROM file WHERE dir = ? AND name > ? ORDER BY name LIMIT ?";
	auto_row struct db_row *row = NULL;
	struct bytes after = BYTES(name.len > 0 ? name.at : (const uint8_t *)"", name.len);
	enum err r = db_query(state_reading(s), SQL_FILES, &row, e, "ibi", dir, after,
	    (int64_t)min_of(max, (size_t)INT32_MAX));

	while (r == OK) {
		r = db_row_next(row, e);
		if (r == ERR_NOTFOUND)
			return OK;
		if (r != OK)
			break;
		array_reserve(ret, ret->len + 1);
		r = read_file(row, &ret->at[ret->len], e);
		ret->len += r == OK;
	}
	return r;
}

enum err
state_files(struct state *s, int64_t dir, state_file_array *ret, struct error *e)
{
	return state_files_after(s, dir, BYTES(NULL, 0), SIZE_MAX, ret, e);
}

enum err
state_file_find(
    struct state *s, int64_t dir, struct bytes name, struct state_file *ret, struct error *e)
{
	static const char SQL_FIND[] =
	    "SELECT " FILE_COLUMNS " FROM file WHERE dir = ? AND name = ?";
	auto_row struct db_row *row = NULL;
	enum err r = db_query(state_reading(s), SQL_FIND, &row, e, "ib", dir, name);

	if (r == OK)
		r = state_one_row(row, "this file", e);
	return r == OK ? read_file(row, ret, e) : r;
}

static enum err
drop_places(struct state *s, int64_t file, struct error *e)
{
	static const char SQL_PLACES[] = "DELETE FROM place WHERE file = ?";

	return db_run(s->db, SQL_PLACES, e, "i", file);
}

/*
 * One statement for the new and the old: it gives back the id that the file has, which is the one
 * we offer only if the file is new.
 */
static enum err
upsert(struct state *s, int64_t dir, const struct state_file *f, int64_t offer, int64_t *ret_id,
    struct error *e)
{
	static const char SQL_PUT[] =
	    "INSERT INTO file(dir, name, id, size, ino, mtime_ns, ctime_ns, gen, ours, content)"
	    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
	    " ON CONFLICT(dir, name) DO UPDATE SET size = ?4, ino = ?5, mtime_ns = ?6, ctime_ns = "
	    "?7, gen = ?8,"
	    " ours = ?9, content = ?10 RETURNING id";
	auto_row struct db_row *row = NULL;
	enum err r = db_query(s->db, SQL_PUT, &row, e, "ibiiiiiiii", dir,
	    BYTES(f->name, f->name_len), offer, (int64_t)f->size, (int64_t)f->ino, f->mtime_ns,
	    f->ctime_ns, (int64_t)f->gen, (int64_t)f->ours, (int64_t)f->content);

	if (r == OK)
		r = state_one_row(row, "a file just put", e);
	if (r != OK)
		return r;
	*ret_id = db_row_int(row, 0);
	return state_row_done(row, e);
}

enum err
state_file_put(struct state *s, int64_t dir, struct state_file *f, struct error *e)
{
	int64_t offer = atomic_fetch_add(&s->next_file, 1), id = 0;
	enum err r = upsert(s, dir, f, offer, &id, e);

	if (r == OK && id != offer)
		r = drop_places(s, id, e);
	if (r == OK)
		f->id = id;
	return r;
}

enum err
state_file_set(struct state *s, const struct state_file *f, struct error *e)
{
	static const char SQL_SET[] = "UPDATE file SET size = ?2, ino = ?3, mtime_ns = ?4, "
				      "ctime_ns = ?5, gen = ?6, ours = ?7, content = ?8"
				      " WHERE id = ?1";

	return db_run(s->db, SQL_SET, e, "iiiiiiii", f->id, (int64_t)f->size, (int64_t)f->ino,
	    f->mtime_ns, f->ctime_ns, (int64_t)f->gen, (int64_t)f->ours, (int64_t)f->content);
}

enum err
state_file_del(struct state *s, int64_t id, struct error *e)
{
	static const char SQL_FILE[] = "DELETE FROM file WHERE id = ?";
	enum err r = drop_places(s, id, e);

	return r == OK ? db_run(s->db, SQL_FILE, e, "i", id) : r;
}

enum err
state_file_del_if(struct state *s, const struct state_file *f, struct error *e)
{
	static const char SQL_FILE[] =
	    "DELETE FROM file WHERE id = ? AND size = ? AND ino = ? AND mtime_ns = ?"
	    " AND ctime_ns = ? AND content = ? RETURNING id";
	auto_row struct db_row *row = NULL;
	enum err r = db_query(s->db, SQL_FILE, &row, e, "iiiiii", f->id, (int64_t)f->size,
	    (int64_t)f->ino, f->mtime_ns, f->ctime_ns, (int64_t)f->content);

	if (r == OK)
		r = db_row_next(row, e);
	if (r == ERR_NOTFOUND)
		return OK;
	if (r == OK)
		r = state_row_done(row, e);
	return r == OK ? drop_places(s, f->id, e) : r;
}

enum err
state_file_touch(struct state *s, int64_t id, uint64_t gen, struct error *e)
{
	static const char SQL_TOUCH[] = "UPDATE file SET gen = ?2 WHERE id = ?1";

	return db_run(s->db, SQL_TOUCH, e, "ii", id, (int64_t)gen);
}

enum err
state_files_expire(struct state *s, int64_t root, uint64_t gen, struct error *e)
{
	static const char SQL_PLACES[] =
	    "DELETE FROM place WHERE file IN (SELECT file.id FROM file"
	    " JOIN dir ON dir.id = file.dir WHERE dir.root = ?1 AND file.gen < ?2)";
	static const char SQL_FILES[] =
	    "DELETE FROM file WHERE dir IN (SELECT id FROM dir WHERE root = ?1) AND gen < ?2";
	static const char SQL_DIRS[] = "DELETE FROM dir WHERE root = ?1 AND NOT EXISTS(SELECT 1 "
				       "FROM file WHERE file.dir = dir.id)";
	enum err r = db_run(s->db, SQL_PLACES, e, "ii", root, (int64_t)gen);

	if (r == OK)
		r = db_run(s->db, SQL_FILES, e, "ii", root, (int64_t)gen);
	return r == OK ? db_run(s->db, SQL_DIRS, e, "i", root) : r;
}

enum err
state_file_path(struct state *s, int64_t file, int64_t *ret_root, struct buf *ret,
    struct state_file *ret_file, struct error *e)
{
	static const char SQL_PATH[] =
	    "SELECT " FILE_COLUMNS ", root, path FROM file JOIN dir ON dir.id = file.dir"
	    " WHERE file.id = ?";
	auto_row struct db_row *row = NULL;
	struct state_file f;
	size_t before = ret->len;
	enum err r = db_query(state_reading(s), SQL_PATH, &row, e, "i", file);

	if (r == OK)
		r = state_one_row(row, "this file", e);
	if (r == OK)
		r = read_file(row, &f, e);
	if (r != OK)
		return r;
	struct bytes dir = db_row_bytes(row, 10);
	buf_add_bytes(ret, dir);
	if (dir.len > 0)
		buf_u8(ret, '/');
	if (!buf_add(ret, f.name, f.name_len)) {
		ret->len = before;
		return fail(e, ERR_LIMIT, "a path of more than %zu bytes", ret->max);
	}
	*ret_root = db_row_int(row, 9);
	if (ret_file != NULL)
		*ret_file = f;
	return OK;
}

/* -- places -- */

/* 47 bits: a third less than 64, and among 2^32 chunks one in 30,000 meets a stranger. */
static int64_t
key_of_chunk(const struct hash_id *id)
{
	uint64_t key = 0;

	for (size_t i = 0; i < 6; i++)
		key = key << 8 | id->bytes[i];
	return (int64_t)(key >> 1);
}

enum err
state_place_add(
    struct state *s, const struct hash_id *chunk, int64_t file, uint64_t offset, struct error *e)
{
	static const char SQL_ADD[] =
	    "INSERT OR REPLACE INTO place(file, offset, key) VALUES(?, ?, ?)";

	return db_run(s->db, SQL_ADD, e, "iii", file, (int64_t)offset, key_of_chunk(chunk));
}

enum err
state_places(struct state *s, const struct hash_id *share, const struct hash_id *chunk,
    struct state_place *ret, size_t max, size_t *ret_n, struct error *e)
{
	static const char SQL_PLACES[] = "SELECT file, offset FROM place WHERE key = ? LIMIT ?";
	static const char SQL_OF_SHARE[] =
	    "SELECT place.file, offset FROM place JOIN file ON file.id = place.file"
	    " JOIN dir ON dir.id = file.dir JOIN root ON root.id = dir.root"
	    " WHERE place.key = ? AND root.share = ? LIMIT ?";
	const int64_t key = key_of_chunk(chunk);
	auto_row struct db_row *row = NULL;
	size_t n = 0;
	enum err r = share == NULL
			 ? db_query(state_reading(s), SQL_PLACES, &row, e, "ii", key, (int64_t)max)
			 : db_query(state_reading(s), SQL_OF_SHARE, &row, e, "ibi", key,
			       hash_id_bytes(share), (int64_t)max);

	while (r == OK && n < max) {
		r = db_row_next(row, e);
		if (r != OK)
			break;
		ret[n++] = (struct state_place){ .file = db_row_int(row, 0),
			.offset = (uint64_t)db_row_int(row, 1) };
	}
	if (r != OK && r != ERR_NOTFOUND)
		return r;
	*ret_n = n;
	return OK;
}
