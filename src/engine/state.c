#include "engine/state_private.h"

#include <inttypes.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/state_sql.h"

enum { CACHE_KIB = 4096 };

/* What tells who we belong to must be whole.  What is known about files is found again by looking
 * at them: those that were published are read, those that were received compared. */
static const struct db_copy copies[] = {
	{ "INSERT INTO setting SELECT * FROM old.setting", "the settings", true },
	{ "INSERT INTO statement SELECT * FROM old.statement", "the statements", true },
	{ "INSERT INTO root SELECT * FROM old.root", "the list of directories", false },
	{ "INSERT INTO job SELECT * FROM old.job", "the list of jobs", false },
	{ "INSERT INTO share SELECT * FROM old.share", "the list of shares", false },
	{ "INSERT INTO share_node SELECT * FROM old.share_node", "the list of nodes", false },
	{ "INSERT INTO snapshot SELECT * FROM old.snapshot", "what is known of snapshots", false },
	{ "INSERT INTO dir SELECT d.* FROM old.dir d JOIN root r ON r.id = d.root WHERE r.kind = 2",
	    "the list of what was received", false },
	{ "INSERT INTO file SELECT f.* FROM old.file f JOIN dir d ON d.id = f.dir",
	    "the list of files that were received", false },
};

static enum err
rescue(const char *path, const struct error *why, struct error *e)
{
	log_warn("%s; it is made anew", why->text);
	enum err r = db_rescue(path, state_sql, lengthof(state_sql), copies, lengthof(copies), e);

	return r != ERR_CORRUPT
		   ? r
		   : error_wrap(e, r,
			 "state.db is damaged: move it away, and unless this is the server "
			 "`weft join` with a new invite");
}

static enum err
open_both(struct state *s, const char *path, struct error *e)
{
	/* What is read at the start is looked at here, where damage can be repaired. */
	static const char SQL_LOOK[] =
	    "SELECT (SELECT max(id) FROM file), (SELECT sum(length(value)) "
	    "FROM setting), (SELECT sum(length(bytes)) FROM statement), "
	    "(SELECT sum(length(spec)) FROM job)";
	auto_row struct db_row *row = NULL;
	enum err r = db_open(
	    path, &(struct db_opts){ .cache_kib = CACHE_KIB, .mark_damage = true }, &s->db, e);

	if (r == OK)
		r = db_migrate(s->db, state_sql, lengthof(state_sql), e);
	if (r == OK)
		r = db_open_reader(s->db, &s->reader, e);
	if (r == OK)
		r = db_query(s->db, SQL_LOOK, &row, e, NULL);
	if (r == OK)
		r = db_row_next(row, e);
	if (r == OK)
		s->next_file = db_row_int(row, 0) + 1;
	return r;
}

enum err
state_open(const char *path, struct state **ret, struct error *e)
{
	struct state *s = mem_new(struct state);
	struct error why;
	enum err r = db_rescue_is_due(path)
			 ? fail(&why, ERR_CORRUPT, "database state.db is damaged")
			 : open_both(s, path, &why);

	if (r == ERR_CORRUPT) {
		state_close(s);
		s = mem_new(struct state);
		r = rescue(path, &why, e);
		if (r == OK)
			r = open_both(s, path, e);
	} else if (r != OK && e != NULL) {
		*e = why;
	}
	if (r != OK) {
		state_close(s);
		return r;
	}
	*ret = s;
	return OK;
}

void
state_close(struct state *s)
{
	if (s == NULL)
		return;
	db_close(s->reader);
	db_close(s->db);
	free(s);
}

/* A number for each thread. */
static uintptr_t
this_thread(void)
{
	static _Thread_local char here;

	return (uintptr_t)&here;
}

struct db *
state_reading(const struct state *s)
{
	return s->writer == this_thread() ? s->db : s->reader;
}

enum err
state_begin(struct state *s, struct error *e)
{
	enum err r = db_begin(s->db, e);

	if (r == OK)
		s->writer = this_thread();
	return r;
}

enum err
state_commit(struct state *s, struct error *e)
{
	s->writer = 0;
	return db_commit(s->db, e);
}

void
state_rollback(struct state *s)
{
	s->writer = 0;
	db_rollback(s->db);
}

struct bytes
state_hash_param(const struct hash_id *id)
{
	return hash_id_is_none(id) ? BYTES(NULL, 0) : hash_id_bytes(id);
}

enum err
state_hash_column(struct db_row *row, int col, struct hash_id *ret, struct error *e)
{
	struct reader r = reader_over(db_row_bytes(row, col));
	struct hash_id id = { 0 };

	if (!db_row_is_null(row, col)) {
		id = hash_id_decode(&r);
		if (!reader_done(&r))
			return fail(e, ERR_CORRUPT, "state: an id of %zu bytes is none",
			    db_row_bytes(row, col).len);
	}
	*ret = id;
	return OK;
}

enum err
state_one_row(struct db_row *row, const char *what, struct error *e)
{
	enum err r = db_row_next(row, e);

	return r == ERR_NOTFOUND ? fail(e, r, "%s is not known here", what) : r;
}

enum err
state_row_done(struct db_row *row, struct error *e)
{
	enum err r = db_row_next(row, e);

	if (r == ERR_NOTFOUND)
		return OK;
	return r == OK ? fail(e, ERR_BUG, "state: one row too many") : r;
}

/* -- settings -- */

enum err
state_get(struct state *s, const char *key, struct buf *ret, struct error *e)
{
	static const char SQL_GET[] = "SELECT value FROM setting WHERE key = ?";
	auto_row struct db_row *row = NULL;
	enum err r = db_query(s->db, SQL_GET, &row, e, "s", key);

	if (r == OK)
		r = state_one_row(row, key, e);
	if (r == OK && !buf_add_bytes(ret, db_row_bytes(row, 0)))
		r = fail(e, ERR_LIMIT, "setting %s has more than %zu bytes", key, ret->max);
	return r;
}

enum err
state_set(struct state *s, const char *key, struct bytes value, struct error *e)
{
	static const char SQL_SET[] = "INSERT OR REPLACE INTO setting(key, value) VALUES(?, ?)";
	static const char SQL_DEL[] = "DELETE FROM setting WHERE key = ?";

	if (value.len == 0)
		return db_run(s->db, SQL_DEL, e, "s", key);
	return db_run(s->db, SQL_SET, e, "sb", key, value);
}

/* -- statements -- */

enum err
state_statement_put(
    struct state *s, struct bytes statement, const struct hash_id *id, struct error *e)
{
	static const char SQL_PUT[] = "INSERT OR IGNORE INTO statement(id, bytes) VALUES(?, ?)";

	return db_run(s->db, SQL_PUT, e, "bb", hash_id_bytes(id), statement);
}

enum err
state_statement_del(struct state *s, const struct hash_id *id, struct error *e)
{
	static const char SQL_DEL[] = "DELETE FROM statement WHERE id = ?";

	return db_run(s->db, SQL_DEL, e, "b", hash_id_bytes(id));
}

enum err
state_each_row(struct db_row *row,
    enum err (*on_row)(void *ctx, struct db_row *row, struct error *e), void *ctx, struct error *e)
{
	enum err r;

	while ((r = db_row_next(row, e)) == OK) {
		r = on_row(ctx, row, e);
		if (r != OK)
			return r;
	}
	return r == ERR_NOTFOUND ? OK : r;
}

struct telling {
	enum err (*on_statement)(void *ctx, struct bytes b, struct error *e);
	void *ctx;
};

static enum err
tell_statement(void *ctx, struct db_row *row, struct error *e)
{
	const struct telling *t = ctx;

	return t->on_statement(t->ctx, db_row_bytes(row, 0), e);
}

enum err
state_statements(struct state *s,
    enum err (*on_statement)(void *ctx, struct bytes b, struct error *e), void *ctx,
    struct error *e)
{
	static const char SQL_ALL[] = "SELECT bytes FROM statement";
	auto_row struct db_row *row = NULL;
	enum err r = db_query(s->db, SQL_ALL, &row, e, NULL);

	struct telling t = { on_statement, ctx };

	return r == OK ? state_each_row(row, tell_statement, &t, e) : r;
}

/* -- nodes of shares -- */

enum err
state_share_node_add(
    struct state *s, const struct hash_id *share, const struct hash_id *node, struct error *e)
{
	static const char SQL_ADD[] = "INSERT OR IGNORE INTO share_node(share, node) SELECT id, ?2 "
				      "FROM share WHERE share = ?1";
	static const char SQL_SHARE[] = "INSERT OR IGNORE INTO share(share) VALUES(?)";
	static const char SQL_KNOWN[] = "SELECT 1 FROM share WHERE share = ?";
	auto_row struct db_row *row = NULL;
	enum err r = db_query(s->db, SQL_KNOWN, &row, e, "b", hash_id_bytes(share));

	if (r == OK)
		r = db_row_next(row, e);
	if (r == ERR_NOTFOUND)
		r = db_run(s->db, SQL_SHARE, e, "b", hash_id_bytes(share));
	if (r == OK)
		r = db_run(s->db, SQL_ADD, e, "bb", hash_id_bytes(share), hash_id_bytes(node));
	return r;
}

bool
state_share_has_node(struct state *s, const struct hash_id *share, const struct hash_id *node)
{
	static const char SQL_HAS[] = "SELECT 1 FROM share_node WHERE share = (SELECT id FROM "
				      "share WHERE share = ?1) AND node = ?2";
	auto_row struct db_row *row = NULL;

	if (db_query(state_reading(s), SQL_HAS, &row, NULL, "bb", hash_id_bytes(share),
		hash_id_bytes(node)) != OK)
		return false;
	return db_row_next(row, NULL) == OK;
}

enum err
state_share_del(struct state *s, const struct hash_id *share, struct error *e)
{
	static const char SQL_NODES[] =
	    "DELETE FROM share_node WHERE share = (SELECT id FROM share WHERE share = ?)";
	static const char SQL_SHARE[] = "DELETE FROM share WHERE share = ?";
	enum err r = db_run(s->db, SQL_NODES, e, "b", hash_id_bytes(share));

	return r == OK ? db_run(s->db, SQL_SHARE, e, "b", hash_id_bytes(share)) : r;
}
