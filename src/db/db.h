/*
 * db: the only door to SQLite, under the single-owner rule.
 *
 * Debian 12's SQLite loses committed transactions when two connections write or checkpoint at the
 * same moment (the WAL-reset bug, docs/decisions).  So one process owns a database file (an flock
 * beside it, taken by db_open), one connection writes and is the only one to checkpoint, and
 * readers are opened read-only with query_only, no checkpoint on close and no automatic checkpoint.
 *
 * WAL; synchronous=FULL, so a committed transaction survives a power cut (options: NORMAL for
 * caches). Statements are prepared once and cached per connection by the address of their text,
 * which therefore is a named constant: static const char SQL_X[] = "...".
 *
 * Threads    a struct db may be used by several threads: db_begin takes its lock until
 *            db_commit/db_rollback, and a statement outside a transaction takes it from
 *            db_query/db_run until it is done.  A thread that has the lock may run further
 *            statements, also while it walks the rows of one; rows are walked and ended by the
 *            thread that asked for them.
 *            Who needs a reader and its owner at once takes the reader first.
 * Blocking   always: run in a job.
 * Errors     ERR_CORRUPT for a damaged file, ERR_NOSPACE, ERR_EXISTS for a broken uniqueness,
 *            ERR_AGAIN when somebody else owns the file, ERR_LIMIT for want of memory, ERR_BUG for
 *            what our own SQL breaks, else ERR_IO.  A transaction that SQLite gave up by itself (a
 *            full disk) refuses all that follows in it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"

struct db;
struct db_row; /* a running statement; one row at a time */

struct db_opts {
	bool cache;         /* a loss of the last second is fine: synchronous=NORMAL */
	uint32_t cache_kib; /* page cache; default 2048 */
	bool must_exist;    /* do not create */
	bool is_remade;   /* its owner makes a damaged file anew at the next start: errors say so */
	bool mark_damage; /* the same, with db_rescue: a mark says where it is due */
};

/* Opens or creates PATH ("dir/name.db", mode 0600), takes the owner's lock ("name.db.lock"), and
 * reads header and schema: what is not a database of ours is ERR_CORRUPT.  Gives *RET; db_close. */
enum err db_open(
    const char *path, const struct db_opts *o, struct db **ret, struct error *e) must_check;
/* A reader of the same file in this process; must be closed before its owner.  Its db_begin holds
 * one state of the database for as long as the transaction lasts. */
enum err db_open_reader(struct db *owner, struct db **ret, struct error *e) must_check;
void db_close(struct db *d); /* NULL is fine */
DEFINE_CLOSE_P(db)

/* Was damage met in the database at PATH, by an owner or a reader that marks it? */
bool db_rescue_is_due(const char *path);
/* SQL takes what it can from schema `old` into the new file. */
struct db_copy {
	const char *sql;  /* a named constant */
	const char *what; /* for people */
	/* without this there is nothing to rescue; else it is left out where it is damaged */
	bool must;
};
/* Makes the damaged file at PATH, which nobody has open, anew from what can be read of it, and
 * removes the mark.  On failure everything is as it was. */
enum err db_rescue(const char *path, const char *const *migrations, unsigned n,
    const struct db_copy *copies, size_t n_copies, struct error *e) must_check;

/* Numbered migrations: MIGRATIONS[i] brings user_version i to i + 1; runs what is missing, each in
 * its own transaction.  A version above N is ERR_LIMIT: "made by a newer weft". */
enum err db_migrate(
    struct db *d, const char *const *migrations, unsigned n, struct error *e) must_check;
/* Full integrity_check; ERR_CORRUPT with the first finding. */
enum err db_check(struct db *d, struct error *e) must_check;
/* Consistent copy into a new file, through this connection (VACUUM INTO), flushed. */
enum err db_backup(struct db *d, const char *path, struct error *e) must_check;
/* Moves all of the log into the database file and empties it; ERR_AGAIN while a reader is in the
 * way. */
enum err db_checkpoint(struct db *d, struct error *e) must_check;

/* BEGIN IMMEDIATE ... COMMIT.  Takes and holds the lock for this thread; not nested. */
enum err db_begin(struct db *d, struct error *e) must_check;
enum err db_commit(struct db *d, struct error *e) must_check; /* on failure rolled back */
void db_rollback(struct db *d);

/*
 * Parameters: a format of one letter each, then the arguments:
 *   i int64_t   b struct bytes (blob; {NULL,0} is NULL)   s const char * (text; NULL is NULL)
 * Borrowed until the call returns (db_run) or until db_row_end (db_query).
 * db_run(d, SQL_ADD, e, "ib", (int64_t)7, id)
 */
enum err db_run(struct db *d, const char *sql, struct error *e, const char *types, ...) must_check;
/* Of the last db_run of this connection, so ask within the transaction where threads share it. */
int64_t db_last_id(struct db *d); /* rowid of the last insert */
int64_t db_changes(struct db *d); /* rows changed */

/* Starts a query.  Gives *RET; db_row_end. */
enum err db_query(struct db *d, const char *sql, struct db_row **ret, struct error *e,
    const char *types, ...) must_check;
/* Next row: OK, or ERR_NOTFOUND when there are no more (E untouched), or a real error. */
enum err db_row_next(struct db_row *r, struct error *e) must_check;
int64_t db_row_int(struct db_row *r, int col);
struct bytes db_row_bytes(struct db_row *r, int col); /* borrowed until the next row */
/* "" for NULL; borrowed until the next row */
const char *db_row_text(struct db_row *r, int col);
bool db_row_is_null(struct db_row *r, int col);
void db_row_end(struct db_row *r); /* NULL is fine */
static inline void
db_row_end_p(struct db_row **r)
{
	db_row_end(*r);
}

#define auto_row auto_(db_row_end_p)

/* "SQLite 3.40.1", and when that version has the WAL-reset bug, that it has it: for the log at the
 * start. */
enum { DB_NOTE = 120 };
const char *db_version_note(char out[static DB_NOTE]);
bool db_has_wal_reset_bug(int version); /* 3040001 is 3.40.1 */
