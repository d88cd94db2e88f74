/*
 * Statements.  A prepared statement and the row it stands on are one object, kept in the
 * connection's cache under the address of its text.  One that is still running when it is asked for
 * again (a query within the walk over the same query) gets a second object, freed when it ends.
 */
#include <assert.h>
#include <stdarg.h>

#include "base/mem.h"
#include "db/db_private.h"
#include "platform/fault.h"

struct db_row {
	struct db *db;
	sqlite3_stmt *stmt;
	bool busy;
	bool cached;
	bool done;
};

static enum err
prepare(struct db *d, const char *sql, unsigned flags, struct db_row **ret, struct error *e)
{
	sqlite3_stmt *stmt = NULL;
	int fault = fault_point("db prepare");

	if (fault > 0)
		return db_fail_fault(d, fault, "prepare", e);
	int rc = sqlite3_prepare_v3(d->h, sql, -1, flags, &stmt, NULL);
	if (rc != SQLITE_OK)
		return db_fail(d, rc, "prepare", e);
	if (stmt == NULL)
		return fail(e, ERR_BUG, "database %s: statement without words", d->name);
	struct db_row *row = mem_new(struct db_row);
	*row = (struct db_row){ .db = d, .stmt = stmt };
	*ret = row;
	return OK;
}

static enum err
statement(struct db *d, const char *sql, struct db_row **ret, struct error *e)
{
	const struct bytes key = BYTES_OF(sql);
	struct db_row *row = map_ptr(&d->statements, key);

	if (row != NULL && !row->busy) {
		*ret = row;
		return OK;
	}
	bool is_first = row == NULL;
	enum err r = prepare(d, sql, is_first ? SQLITE_PREPARE_PERSISTENT : 0, &row, e);
	if (r != OK)
		return r;
	row->cached = is_first;
	if (is_first)
		map_put(&d->statements, key, NULL)->ptr = row;
	*ret = row;
	return OK;
}

static int
bind_one(sqlite3_stmt *stmt, int i, char type, va_list *ap)
{
	switch (type) {
	case 'i':
		return sqlite3_bind_int64(stmt, i, va_arg(*ap, int64_t));
	case 's':
		return sqlite3_bind_text(stmt, i, va_arg(*ap, const char *), -1, SQLITE_STATIC);
	case 'b': {
		struct bytes b = va_arg(*ap, struct bytes);
		return sqlite3_bind_blob64(stmt, i, b.at, b.len, SQLITE_STATIC);
	}
	default:
		return SQLITE_MISUSE;
	}
}

static enum err
bind_all(struct db_row *row, const char *types, va_list *ap, struct error *e)
{
	int n = types != NULL ? (int)strlen(types) : 0;

	if (!expect(n == sqlite3_bind_parameter_count(row->stmt)))
		return fail(e, ERR_BUG, "database %s: %d values for \"%.120s\"", row->db->name, n,
		    sqlite3_sql(row->stmt));
	for (int i = 0; i < n; i++) {
		int rc = bind_one(row->stmt, i + 1, types[i], ap);
		if (rc != SQLITE_OK)
			return db_fail(row->db, rc, "bind", e);
	}
	return OK;
}

/* Takes the lock, which db_row_end gives back. */
static enum err
start(struct db *d, const char *sql, const char *types, va_list *ap, struct db_row **ret,
    struct error *e)
{
	struct db_row *row = NULL;
	enum err r;

	db_lock(d);
	if (d->in_transaction && sqlite3_get_autocommit(d->h))
		r = fail(e, ERR_IO, "database %s: the transaction was given up", d->name);
	else
		r = statement(d, sql, &row, e);
	if (r != OK) {
		db_unlock(d);
		return r;
	}
	row->busy = true;
	row->done = false;
	r = bind_all(row, types, ap, e);
	if (r != OK)
		db_row_end(row);
	else
		*ret = row;
	return r;
}

enum err
db_query(
    struct db *d, const char *sql, struct db_row **ret, struct error *e, const char *types, ...)
{
	va_list ap;

	va_start(ap, types);
	enum err r = start(d, sql, types, &ap, ret, e);
	va_end(ap);
	return r;
}

enum err
db_row_next(struct db_row *row, struct error *e)
{
	if (row->done)
		return ERR_NOTFOUND;
	int fault = fault_point("db step");
	if (fault > 0) {
		row->done = true;
		return db_fail_fault(row->db, fault, "step", e);
	}
	int rc = sqlite3_step(row->stmt);
	if (rc == SQLITE_ROW)
		return OK;
	row->done = true; /* a further step would begin again */
	if (rc == SQLITE_DONE)
		return ERR_NOTFOUND;
	return db_fail(row->db, rc, "step", e);
}

void
db_row_end(struct db_row *row)
{
	if (row == NULL)
		return;
	struct db *d = row->db;
	assert(row->busy);
	sqlite3_reset(row->stmt); /* repeats what step said already */
	sqlite3_clear_bindings(row->stmt);
	row->busy = false;
	if (!row->cached) {
		sqlite3_finalize(row->stmt);
		free(row);
	}
	db_unlock(d);
}

enum err
db_run(struct db *d, const char *sql, struct error *e, const char *types, ...)
{
	auto_row struct db_row *row = NULL;
	va_list ap;

	va_start(ap, types);
	enum err r = start(d, sql, types, &ap, &row, e);
	va_end(ap);
	while (r == OK)
		r = db_row_next(row, e);
	if (r != ERR_NOTFOUND || row == NULL)
		return r;
	d->changes = sqlite3_stmt_readonly(row->stmt) ? 0 : sqlite3_changes64(d->h);
	return OK;
}

int64_t
db_row_int(struct db_row *row, int col)
{
	return sqlite3_column_int64(row->stmt, col);
}

struct bytes
db_row_bytes(struct db_row *row, int col)
{
	const void *at = sqlite3_column_blob(row->stmt, col);

	return BYTES(at, at != NULL ? (size_t)sqlite3_column_bytes(row->stmt, col) : 0);
}

const char *
db_row_text(struct db_row *row, int col)
{
	const unsigned char *text = sqlite3_column_text(row->stmt, col);

	return text != NULL ? (const char *)text : "";
}

bool
db_row_is_null(struct db_row *row, int col)
{
	return sqlite3_column_type(row->stmt, col) == SQLITE_NULL;
}

void
db_forget_statements(struct db *d)
{
	map_each (slot, &d->statements) {
		struct db_row *row = slot->ptr;
		sqlite3_finalize(row->stmt);
		free(row);
	}
	map_clear(&d->statements);
}
