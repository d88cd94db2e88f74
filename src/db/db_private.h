/*
 * db_private: what the files of db share with each other and with nobody else.
 */
#pragma once

#include <pthread.h>
#include <sqlite3.h>

#include "base/map.h"
#include "db/db.h"
#include "platform/relpath.h"

struct db {
	sqlite3 *h;
	/* recursive: a transaction holds it, and so does each statement in it */
	pthread_mutex_t lock;
	struct map statements; /* address of the text: struct db_row */
	char *name;            /* for the text of errors */
	char *path;
	int lock_fd;         /* the owner's; -1 in a reader */
	bool in_transaction; /* of whoever has the lock */
	int64_t changes;
	bool is_remade;
	bool marks; /* damage, for db_rescue_is_due */
};

/* Fills *E from what SQLite said to D; RC is the extended code.  Returns our code. */
#define db_fail(d, rc, what, e) db_fail_at((d), (rc), (what), HERE, (e))
enum err db_fail_at(struct db *d, int rc, const char *what, const char *where, struct error *e);
/* As if SQLite had met what a fault point asks for: a full disk, somebody else's lock, a failed
 * read or write. */
#define db_fail_fault(d, sys, what, e) db_fail_fault_at((d), (sys), (what), HERE, (e))
enum err db_fail_fault_at(
    struct db *d, int sys, const char *what, const char *where, struct error *e);

/* The directory that PATH lies in and its name there, which borrows PATH. */
enum err db_folder(const char *path, int *ret_dir, struct relpath *ret_name, struct error *e);
/* Damage was met in D. */
void db_rescue_mark(struct db *d);

/* The layer between SQLite and the disk that keeps a checksum in the last bytes of each page. */
enum { DB_SUM_BYTES = 8 };
const char *db_sum_layer(void);

void db_lock(struct db *d);
void db_unlock(struct db *d);
/* Finalizes all statements. */
void db_forget_statements(struct db *d);
