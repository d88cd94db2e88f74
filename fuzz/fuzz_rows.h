/*
 * fuzz_rows: a database of ours whose values somebody has changed.  The input is a script of
 * changes: which column, the how-manieth of its values, and what it becomes: a number, bytes, a
 * text or nothing.  What the schema itself forbids stays as it was.
 */
#pragma once

#include <ftw.h>

#include "base/array.h"
#include "base/log.h"
#include "base/reader.h"
#include "db/db.h"
#include "fuzz/fuzz.h"

/* "/dev/shm/weft-fuzz-xxxxxx", to be removed with all in it. */
struct fuzz_rows_dir {
	char path[32];
};

static inline struct fuzz_rows_dir
fuzz_rows_dir_make(void)
{
	struct fuzz_rows_dir d = { "/dev/shm/weft-fuzz-XXXXXX" };

	log_set_level(LOG_LEVEL_ERROR);
	fuzz_require(mkdtemp(d.path) != NULL);
	return d;
}

static inline int
fuzz_rows_remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static inline void
fuzz_rows_dir_remove(const struct fuzz_rows_dir *d)
{
	fuzz_require(nftw(d->path, fuzz_rows_remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

/* One statement a column.  They live as long as the process: db knows statements by address. */
typedef ARRAY(char *) fuzz_rows_statements;

static inline const fuzz_rows_statements *
fuzz_rows_changes(struct db *db)
{
	static const char SQL_COLUMNS[] =
	    "SELECT m.name, p.name FROM sqlite_schema m, pragma_table_info(m.name) p"
	    " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, p.cid";
	static fuzz_rows_statements changes;
	auto_row struct db_row *row = NULL;

	if (changes.len > 0)
		return &changes;
	fuzz_require(db_query(db, SQL_COLUMNS, &row, NULL, NULL) == OK);
	while (db_row_next(row, NULL) == OK) {
		auto_free char *table = str_dup(db_row_text(row, 0));
		auto_free char *column = str_dup(db_row_text(row, 1));
		array_push(&changes,
		    str_printf("UPDATE \"%s\" SET \"%s\" = ?1 WHERE \"%s\" IS"
			       " (SELECT \"%s\" FROM \"%s\" ORDER BY 1 LIMIT 1 OFFSET ?2)",
			table, column, column, column, table));
	}
	return &changes;
}

static inline enum err
fuzz_rows_change_one(struct db *db, const char *sql, int64_t which, uint8_t how, struct bytes to)
{
	struct reader r = reader_over(to);
	auto_free char *text = mem_zalloc(to.len + 1);

	switch (how % 4) {
	case 0:
		return db_run(db, sql, NULL, "ii", (int64_t)reader_u64(&r), which);
	case 1: /* a small one, also below zero */
		return db_run(db, sql, NULL, "ii", (int64_t)(int8_t)reader_u8(&r), which);
	case 2:
		return db_run(db, sql, NULL, "bi", to, which);
	default:
		if (to.len > 0)
			memcpy(text, to.at, to.len);
		return db_run(db, sql, NULL, "si", text, which);
	}
}

static inline void
fuzz_rows_change(const char *path, struct bytes script)
{
	auto_(db_close_p) struct db *db = NULL;
	struct reader r = reader_over(script);

	fuzz_require(db_open(path, &(struct db_opts){ .must_exist = true }, &db, NULL) == OK);
	const fuzz_rows_statements *changes = fuzz_rows_changes(db);
	for (unsigned i = 0; i < 32 && reader_left(&r) > 0; i++) {
		const char *sql = changes->at[reader_u8(&r) % changes->len];
		uint8_t which = reader_u8(&r) % 4, how = reader_u8(&r);
		size_t n = min_of((size_t)reader_u8(&r), reader_left(&r));
		enum err e = fuzz_rows_change_one(db, sql, which, how, reader_take(&r, n));
		fuzz_require(e == OK || e == ERR_EXISTS || e == ERR_BUG);
	}
}
