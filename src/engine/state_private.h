/*
 * state_private: what the files of state share with each other and with nobody else.
 */
#pragma once

#include <stdatomic.h>

#include "engine/state.h"

struct state {
	struct db *db;
	struct db *reader;        /* for those who serve while a scan or a get writes */
	_Atomic uintptr_t writer; /* the thread that has a transaction open, 0: none */
	/* id of the next new file; ids are not used twice while we run */
	_Atomic int64_t next_file;
};

/* Where to read for those who shall not wait: the reader, or, within a transaction of one's own,
 * what it wrote. */
struct db *state_reading(const struct state *s);
/* A hash as a parameter: NULL for none. */
struct bytes state_hash_param(const struct hash_id *id);
/* A hash out of a row. ERR_CORRUPT. */
enum err state_hash_column(
    struct db_row *row, int col, struct hash_id *ret, struct error *e) must_check;
/* The only row of a query that has one: OK, or ERR_NOTFOUND and WHAT in the text. */
enum err state_one_row(struct db_row *row, const char *what, struct error *e) must_check;
/* Tells ON_ROW of every row. */
enum err state_each_row(struct db_row *row,
    enum err (*on_row)(void *ctx, struct db_row *row, struct error *e), void *ctx,
    struct error *e) must_check;
/* Ends a statement that changed something and told of one row: only now it is known to be done. */
enum err state_row_done(struct db_row *row, struct error *e) must_check;
