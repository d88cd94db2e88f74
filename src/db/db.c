#include "db/db.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "db/db_private.h"
#include "platform/fault.h"
#include "platform/fs.h"

enum {
	APPLICATION = 0x57656674, /* "Weft", in the header of each file of ours */
	BUSY_MS = 5000,           /* readers and the writer meet only for moments */
	CACHE_KIB = 2048,
	LOG_BYTES = 64 * 1024 * 1024, /* the write-ahead log is cut back to this */
};

void
db_lock(struct db *d)
{
	int r = pthread_mutex_lock(&d->lock);

	assert(r == 0);
}

void
db_unlock(struct db *d)
{
	int r = pthread_mutex_unlock(&d->lock);

	assert(r == 0); /* an error-free mutex: else somebody unlocks what is not his */
}

static enum err
code_of(int rc, int sys)
{
	switch (rc) {
	case SQLITE_CONSTRAINT_UNIQUE:
	case SQLITE_CONSTRAINT_PRIMARYKEY:
	case SQLITE_CONSTRAINT_ROWID:
		return ERR_EXISTS;
	}
	switch (rc & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return ERR_CORRUPT;
	case SQLITE_FULL:
		return ERR_NOSPACE;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return ERR_AGAIN;
	case SQLITE_NOMEM:
	case SQLITE_TOOBIG:
		return ERR_LIMIT;
	case SQLITE_ERROR:
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
	case SQLITE_MISUSE:
	case SQLITE_RANGE:
		return ERR_BUG;
	default:
		return sys == ENOSPC || sys == EDQUOT ? ERR_NOSPACE : ERR_IO;
	}
}

enum err
db_fail_at(struct db *d, int rc, const char *what, const char *where, struct error *e)
{
	bool of_os = (rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN;
	int sys = of_os && d->h != NULL ? sqlite3_system_errno(d->h) : 0;
	const char *text = d->h != NULL ? sqlite3_errmsg(d->h) : sqlite3_errstr(rc);

	enum err code = code_of(rc, sys);

	if (code != ERR_CORRUPT)
		return error_set(e, code, sys, where, "database %s: %s: %s", d->name, what, text);
	db_rescue_mark(d);
	return error_set(e, code, 0, where, "database %s is damaged%s (%s: %s)", d->name,
	    d->is_remade ? " and made anew at the next start" : "", what, text);
}

enum err
db_fail_fault_at(struct db *d, int sys, const char *what, const char *where, struct error *e)
{
	int rc = sys == ENOSPC ? SQLITE_FULL : sys == EBUSY ? SQLITE_BUSY : SQLITE_IOERR;

	return error_set(e, code_of(rc, 0), rc == SQLITE_IOERR ? sys : 0, where,
	    "database %s: %s: %s", d->name, what, sqlite3_errstr(rc));
}

static enum err
exec(struct db *d, const char *sql, const char *what, struct error *e)
{
	int fault = fault_point("db exec");

	if (fault > 0)
		return db_fail_fault(d, fault, what, e);
	int rc = sqlite3_exec(d->h, sql, NULL, NULL, NULL);
	return rc == SQLITE_OK ? OK : db_fail(d, rc, what, e);
}

/* The one number that SQL answers. */
static enum err
ask_int(struct db *d, const char *sql, int64_t *ret, struct error *e)
{
	auto_row struct db_row *row = NULL;
	enum err r = db_query(d, sql, &row, e, NULL);

	if (r == OK)
		r = db_row_next(row, e);
	if (r == OK)
		*ret = db_row_int(row, 0);
	return r;
}

static struct db *
make(const char *path)
{
	struct db *d = mem_new(struct db);
	const char *slash = strrchr(path, '/');
	pthread_mutexattr_t attr;

	d->lock_fd = -1;
	d->path = str_dup(path);
	d->name = str_dup(slash != NULL ? slash + 1 : path);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&d->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	return d;
}

void
db_close(struct db *d)
{
	if (d == NULL)
		return;
	db_rollback(d);
	db_forget_statements(d);
	/* _v2 keeps the connection for a row that was not ended, rather than pull it away. */
	if (d->h != NULL && !expect(sqlite3_next_stmt(d->h, NULL) == NULL))
		log_error("database %s is closed while a query is running", d->name);
	(void)sqlite3_close_v2(d->h);
	cleanup_close(&d->lock_fd); /* after the last write */
	pthread_mutex_destroy(&d->lock);
	free(d->name);
	free(d->path);
	free(d);
}

enum err
db_folder(const char *path, int *ret_dir, struct relpath *ret_name, struct error *e)
{
	auto_free char *folder = str_dup(path);
	char *slash = strrchr(folder, '/');
	const char *name = slash != NULL ? path + (slash - folder) + 1 : path;
	struct relpath p = { 0 };
	enum err r = relpath_parse(name, strlen(name), &p, e);

	if (slash != NULL)
		slash[slash == folder] = '\0';
	if (r == OK)
		r = fs_open_root(slash != NULL ? folder : ".", ret_dir, e);
	if (r == OK)
		*ret_name = p;
	return r;
}

static enum err
take_lock(struct db *d, int dir, struct error *e)
{
	auto_free char *text = str_printf("%s.lock", d->name);
	struct relpath p = { 0 };
	enum err r = relpath_parse(text, strlen(text), &p, e);

	return r == OK ? fs_lock(dir, p, &d->lock_fd, e) : r;
}

/* The owner's lock; and the file, with the mode that SQLite then gives to the log as well. */
static enum err
own_file(struct db *d, bool must_exist, struct error *e)
{
	int dir_ = -1, made = -1;
	struct relpath name = { 0 };
	struct fs_stat st;
	enum err r = db_folder(d->path, &dir_, &name, e);
	auto_fd int dir = dir_;

	if (r == OK && must_exist) {
		r = fs_stat_at(dir, name, &st, e);
		if (r == OK && st.size == 0)
			r = fail(e, ERR_CORRUPT, "database %s is empty", d->name);
	}
	if (r == OK)
		r = take_lock(d, dir, e);
	if (r != OK || must_exist)
		return r;
	struct error why;
	r = fs_create(dir, name, &made, &why);
	cleanup_close(&made);
	if (r == OK || r == ERR_EXISTS)
		return OK;
	if (e != NULL)
		*e = why;
	return r;
}

static enum err
connect_to(struct db *d, int flags, const struct db_opts *o, struct error *e)
{
	char pragmas[160];
	int fault = fault_point("db open");

	if (fault > 0)
		return db_fail_fault(d, fault, "open", e);
	/* No mutex of SQLite's: ours is held around every call. */
	int rc = sqlite3_open_v2(
	    d->path, &d->h, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, db_sum_layer());
	if (rc != SQLITE_OK)
		return db_fail(d, rc, "open", e);
	int reserved = DB_SUM_BYTES; /* of a new file; in others it is so already */
	rc = sqlite3_file_control(d->h, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
	if (rc != SQLITE_OK)
		return db_fail(d, rc, "open", e);
	sqlite3_busy_timeout(d->h, BUSY_MS);
	sqlite3_db_config(d->h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(d->h, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	snprintf(pragmas, sizeof pragmas,
	    "PRAGMA cache_size=-%u; PRAGMA foreign_keys=ON; PRAGMA cell_size_check=ON",
	    o->cache_kib > 0 ? o->cache_kib : CACHE_KIB);
	return exec(d, pragmas, "set up", e);
}

/* Refuses what is not ours; marks what is new. */
static enum err
check_kind(struct db *d, struct error *e)
{
	static const char SQL_KIND[] = "PRAGMA application_id";
	static const char SQL_TABLES[] = "SELECT count(*) FROM sqlite_schema";
	char mark[60];
	int64_t kind = 0, tables = 0;
	enum err r = ask_int(d, SQL_KIND, &kind, e);

	if (r == OK)
		r = ask_int(d, SQL_TABLES, &tables, e);
	if (r != OK || kind == APPLICATION)
		return r;
	if (kind != 0 || tables != 0)
		return fail(e, ERR_CORRUPT, "database %s was not made by weft", d->name);
	snprintf(mark, sizeof mark, "PRAGMA application_id=%d", APPLICATION);
	return exec(d, mark, "mark", e);
}

static enum err
set_up_writer(struct db *d, const struct db_opts *o, struct error *e)
{
	char pragmas[200];
	enum err r = check_kind(d, e);

	if (r != OK)
		return r;
	snprintf(pragmas, sizeof pragmas,
	    "PRAGMA journal_mode=WAL; PRAGMA synchronous=%s; PRAGMA journal_size_limit=%d",
	    o->cache ? "NORMAL" : "FULL", LOG_BYTES);
	return exec(d, pragmas, "set up", e);
}

enum err
db_open(const char *path, const struct db_opts *o, struct db **ret, struct error *e)
{
	static const struct db_opts usual = { 0 };
	auto_(db_close_p) struct db *d = make(path);

	if (o == NULL)
		o = &usual;
	enum err r = own_file(d, o->must_exist, e);
	d->marks = o->mark_damage;
	d->is_remade = o->is_remade || o->mark_damage;
	if (r == OK)
		r = connect_to(d, SQLITE_OPEN_READWRITE, o, e);
	if (r == OK)
		r = set_up_writer(d, o, e);
	if (r != OK)
		return r;
	*ret = take_ptr(d);
	return OK;
}

enum err
db_open_reader(struct db *owner, struct db **ret, struct error *e)
{
	static const struct db_opts usual = { 0 };
	auto_(db_close_p) struct db *d = make(owner->path);

	d->marks = owner->marks;
	d->is_remade = owner->is_remade;
	enum err r = connect_to(d, SQLITE_OPEN_READONLY, &usual, e);

	if (r != OK)
		return r;
	sqlite3_db_config(d->h, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sqlite3_wal_autocheckpoint(d->h, 0);
	r = exec(d, "PRAGMA query_only=ON", "set up", e);
	if (r != OK)
		return r;
	*ret = take_ptr(d);
	return OK;
}

enum err
db_begin(struct db *d, struct error *e)
{
	enum err r;

	db_lock(d);
	if (!expect(!d->in_transaction))
		r = fail(e, ERR_BUG, "database %s: a transaction within a transaction", d->name);
	else if (d->lock_fd < 0)
		r = exec(d, "BEGIN", "begin", e);
	else
		r = exec(d, "BEGIN IMMEDIATE", "begin", e);
	if (r != OK) {
		db_unlock(d);
		return r;
	}
	d->in_transaction = true; /* and the lock stays ours */
	return OK;
}

/* Ends the transaction that db_begin began. */
static void
end(struct db *d)
{
	if (!sqlite3_get_autocommit(d->h))
		(void)sqlite3_exec(d->h, "ROLLBACK", NULL, NULL, NULL);
	d->in_transaction = false;
	db_unlock(d);
}

enum err
db_commit(struct db *d, struct error *e)
{
	enum err r;

	db_lock(d);
	if (!expect(d->in_transaction)) {
		db_unlock(d);
		return fail(e, ERR_BUG, "database %s: commit without a transaction", d->name);
	}
	if (sqlite3_get_autocommit(d->h))
		r = fail(e, ERR_IO, "database %s: the transaction was given up", d->name);
	else
		r = exec(d, "COMMIT", "commit", e);
	end(d); /* after a COMMIT there is nothing to roll back */
	db_unlock(d);
	return r;
}

void
db_rollback(struct db *d)
{
	db_lock(d);
	if (d->in_transaction)
		end(d);
	db_unlock(d);
}

static enum err
migrate_one(struct db *d, const char *sql, unsigned version, struct error *e)
{
	char mark[60];

	snprintf(mark, sizeof mark, "PRAGMA user_version=%u", version);
	enum err r = db_begin(d, e);
	if (r != OK)
		return r;
	r = exec(d, sql, "migrate", e);
	if (r == OK)
		r = exec(d, mark, "migrate", e);
	if (r == OK)
		return db_commit(d, e);
	db_rollback(d);
	return error_wrap(e, r, "migrate to version %u", version);
}

enum err
db_migrate(struct db *d, const char *const *migrations, unsigned n, struct error *e)
{
	static const char SQL_VERSION[] = "PRAGMA user_version";
	int64_t version = 0;
	enum err r = ask_int(d, SQL_VERSION, &version, e);

	if (r == OK && version < 0)
		return fail(
		    e, ERR_CORRUPT, "database %s has version %lld", d->name, (long long)version);
	if (r == OK && version > n)
		return fail(e, ERR_LIMIT,
		    "database %s was made by a newer weft (version %lld, this one knows %u)",
		    d->name, (long long)version, n);
	for (unsigned i = (unsigned)version; r == OK && i < n; i++)
		r = migrate_one(d, migrations[i], i + 1, e);
	return r;
}

/* OK when the pragma finds nothing; else ERR_CORRUPT with the first finding. */
static enum err
check_with(struct db *d, const char *sql, const char *fine, struct error *e)
{
	auto_row struct db_row *row = NULL;
	enum err r = db_query(d, sql, &row, e, NULL);

	if (r == OK)
		r = db_row_next(row, e);
	if (r == ERR_NOTFOUND)
		return OK;
	if (r == OK && strcmp(db_row_text(row, 0), fine) != 0)
		return fail(
		    e, ERR_CORRUPT, "database %s is damaged: %.200s", d->name, db_row_text(row, 0));
	return r;
}

enum err
db_check(struct db *d, struct error *e)
{
	static const char SQL_INTEGRITY[] = "PRAGMA integrity_check(1)";
	static const char SQL_REFERENCES[] = "SELECT 'a row of ' || \"table\" || ' refers to one "
					     "that is missing' FROM pragma_foreign_key_check";
	enum err r = check_with(d, SQL_INTEGRITY, "ok", e);

	return r == OK ? check_with(d, SQL_REFERENCES, "", e) : r;
}

enum err
db_backup(struct db *d, const char *path, struct error *e)
{
	static const char SQL_COPY[] = "VACUUM INTO ?";
	int dir_ = -1, file_ = -1;
	struct relpath name = { 0 };
	enum err r = db_folder(path, &dir_, &name, e);
	auto_fd int dir = dir_;

	if (r == OK)
		r = fs_create(dir, name, &file_, e); /* 0600; SQLite takes an empty file for none */
	auto_fd int file = file_;
	if (r != OK)
		return error_wrap(e, r, "back up database %s", d->name);
	r = db_run(d, SQL_COPY, e, "s", path);
	if (r == OK)
		r = fs_sync(file, e);
	if (r == OK)
		r = fs_sync(dir, e);
	if (r != OK && fs_unlink(dir, name, NULL) != OK)
		return error_wrap(
		    e, r, "back up database %s, leaving an incomplete %s", d->name, name.text);
	return r;
}

enum err
db_checkpoint(struct db *d, struct error *e)
{
	int fault = fault_point("db checkpoint");

	if (fault > 0)
		return db_fail_fault(d, fault, "checkpoint", e);
	db_lock(d);
	int rc = sqlite3_wal_checkpoint_v2(d->h, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	enum err r = rc == SQLITE_OK ? OK : db_fail(d, rc, "checkpoint", e);
	db_unlock(d);
	return r;
}

int64_t
db_last_id(struct db *d)
{
	db_lock(d);
	int64_t id = sqlite3_last_insert_rowid(d->h);
	db_unlock(d);
	return id;
}

int64_t
db_changes(struct db *d)
{
	db_lock(d);
	int64_t n = d->changes;
	db_unlock(d);
	return n;
}

bool
db_has_wal_reset_bug(int version)
{
	/* Repaired in 3.51.3, and upstream in 3.50.7 and 3.44.6 for those who stay there. */
	if (version >= 3051003 || version < 3007000)
		return false;
	bool repaired_3_50 = version >= 3050007 && version < 3051000;
	bool repaired_3_44 = version >= 3044006 && version < 3045000;
	return !repaired_3_50 && !repaired_3_44;
}

const char *
db_version_note(char out[static DB_NOTE])
{
	bool has_bug = db_has_wal_reset_bug(sqlite3_libversion_number());

	snprintf(out, DB_NOTE, "SQLite %s%s", sqlite3_libversion(),
	    has_bug ? " (it has the WAL-reset bug: only one connection writes and checkpoints)"
		    : "");
	return out;
}
