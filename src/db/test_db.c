#include "tests/check_faults.h"

#include <pthread.h>

#include "base/mem.h"
#include "db/db.h"

static const char SQL_PUT[] = "INSERT INTO things (id, name, data) VALUES (?, ?, ?)";
static const char SQL_GET[] = "SELECT id, name, data FROM things WHERE id = ?";
static const char SQL_ALL[] = "SELECT id FROM things ORDER BY id";
static const char SQL_COUNT[] = "SELECT count(*) FROM things";
static const char SQL_DROP[] = "DELETE FROM things WHERE id = ?";
static const char *const migrations[] = {
	"CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE, data BLOB)",
	"CREATE TABLE parts (thing INTEGER NOT NULL REFERENCES things (id)); CREATE INDEX i ON "
	"parts (thing)",
};

struct place {
	struct check_dir dir;
	char path[100];
};

static int
setup(void **state)
{
	struct place *p = mem_new(struct place);

	p->dir = check_dir_make_fast();
	snprintf(p->path, sizeof p->path, "%s/a.db", p->dir.path);
	*state = p;
	return 0;
}

static int
teardown(void **state)
{
	struct place *p = *state;

	check_dir_remove(&p->dir);
	free(p);
	return 0;
}

static struct db *
open_things(const char *path)
{
	struct error e;
	struct db *d = NULL;

	check_ok(db_open(path, NULL, &d, &e), e);
	check_ok(db_migrate(d, migrations, lengthof(migrations), &e), e);
	return d;
}

static void
put(struct db *d, int64_t id, const char *name)
{
	struct error e;

	check_ok(db_run(d, SQL_PUT, &e, "isb", id, name, BYTES_LIT("\1\0\2")), e);
}

static int64_t
count(struct db *d)
{
	auto_row struct db_row *row = NULL;
	struct error e;

	check_ok(db_query(d, SQL_COUNT, &row, &e, NULL), e);
	check_ok(db_row_next(row, &e), e);
	return db_row_int(row, 0);
}

static void
a_row_comes_back_as_it_was_put(void **state)
{
	struct place *p = *state;
	auto_(db_close_p) struct db *d = open_things(p->path);
	auto_row struct db_row *row = NULL;
	struct error e;

	put(d, 7, "seven");
	assert_int_equal(db_last_id(d), 7);
	assert_int_equal(db_changes(d), 1);
	check_ok(db_query(d, SQL_GET, &row, &e, "i", (int64_t)7), e);
	check_ok(db_row_next(row, &e), e);
	assert_int_equal(db_row_int(row, 0), 7);
	check_text(db_row_text(row, 1), "seven");
	assert_true(bytes_equal(db_row_bytes(row, 2), BYTES_LIT("\1\0\2")));
	e.text[0] = '~';
	assert_int_equal(db_row_next(row, &e), ERR_NOTFOUND);
	assert_int_equal(db_row_next(row, &e), ERR_NOTFOUND);
	assert_int_equal(e.text[0], '~');
}

static void
null_and_empty_are_told_apart(void **state)
{
	struct place *p = *state;
	auto_(db_close_p) struct db *d = open_things(p->path);
	auto_row struct db_row *row = NULL;
	struct error e;

	check_ok(db_run(d, SQL_PUT, &e, "isb", (int64_t)1, (char *)NULL, BYTES(NULL, 0)), e);
	check_ok(db_run(d, SQL_PUT, &e, "isb", (int64_t)2, "", BYTES_LIT("")), e);
	for (int64_t id = 1; id <= 2; id++) {
		check_ok(db_query(d, SQL_GET, &row, &e, "i", id), e);
		check_ok(db_row_next(row, &e), e);
		assert_int_equal(db_row_is_null(row, 1), id == 1);
		assert_int_equal(db_row_is_null(row, 2), id == 1);
		check_text(db_row_text(row, 1), "");
		assert_int_equal(db_row_bytes(row, 2).len, 0);
		db_row_end(take_ptr(row));
	}
}

static void
a_statement_may_run_within_the_walk_over_itself(void **state)
{
	struct place *p = *state;
	auto_(db_close_p) struct db *d = open_things(p->path);
	auto_row struct db_row *outer = NULL;
	struct error e;
	int pairs = 0;

	for (int64_t i = 0; i < 3; i++)
		put(d, i, (const char *[]){ "a", "b", "c" }[i]);
	check_ok(db_query(d, SQL_ALL, &outer, &e, NULL), e);
	while (db_row_next(outer, &e) == OK) {
		auto_row struct db_row *inner = NULL;
		check_ok(db_query(d, SQL_ALL, &inner, &e, NULL), e);
		while (db_row_next(inner, &e) == OK)
			pairs++;
	}
	assert_int_equal(pairs, 9);
}

static void
what_is_rolled_back_is_gone(void **state)
{
	struct place *p = *state;
	auto_(db_close_p) struct db *d = open_things(p->path);
	struct error e;

	check_ok(db_begin(d, &e), e);
	put(d, 1, "one");
	db_rollback(d);
	assert_int_equal(count(d), 0);
	db_rollback(d); /* of nothing */
	check_ok(db_begin(d, &e), e);
	put(d, 1, "one");
	check_ok(db_commit(d, &e), e);
	assert_int_equal(count(d), 1);
}

static void
transactions_do_not_nest(void **state)
{
	struct place *p = *state;
	auto_(db_close_p) struct db *d = open_things(p->path);
	struct error e;

	check_err(db_commit(d, &e), ERR_BUG, e);
	check_ok(db_begin(d, &e), e);
	check_err(db_begin(d, &e), ERR_BUG, e);
	put(d, 1, "one");
	check_ok(db_commit(d, &e), e);
	assert_int_equal(count(d), 1);
}

static void
broken_uniqueness_is_exists(void **state)
{
	struct place *p = *state;
	auto_(db_close_p) struct db *d = open_things(p->path);
	struct error e;

	put(d, 1, "one");
	check_err(db_run(d, SQL_PUT, &e, "isb", (int64_t)1, "two", BYTES(NULL, 0)), ERR_EXISTS, e);
	check_err(db_run(d, SQL_PUT, &e, "isb", (int64_t)2, "one", BYTES(NULL, 0)), ERR_EXISTS, e);
	check_ok(db_run(d, SQL_DROP, &e, "i", (int64_t)9), e);
	assert_int_equal(db_changes(d), 0);
}

static void
our_own_mistakes_are_bugs(void **state)
{
	static const char SQL_NONSENSE[] = "SELECT nonsense FROM nowhere";
	static const char SQL_NOTHING[] = "-- nothing";
	static const char SQL_STRAY[] = "INSERT INTO parts (thing) VALUES (77)";
	struct place *p = *state;
	auto_(db_close_p) struct db *d = open_things(p->path);
	struct error e;

	check_err(db_run(d, SQL_NONSENSE, &e, NULL), ERR_BUG, e);
	check_err(db_run(d, SQL_NOTHING, &e, NULL), ERR_BUG, e);
	check_err(db_run(d, SQL_GET, &e, NULL), ERR_BUG, e);
	check_err(db_run(d, SQL_GET, &e, "ii", (int64_t)1, (int64_t)2), ERR_BUG, e);
	check_err(db_run(d, SQL_STRAY, &e, NULL), ERR_BUG, e);
	assert_int_equal(count(d), 0); /* and the lock is free */
}

static void
a_file_has_one_owner(void **state)
{
	struct place *p = *state;
	struct db *d = open_things(p->path);
	struct db *second = NULL;
	struct error e;

	check_err(db_open(p->path, NULL, &second, &e), ERR_AGAIN, e);
	assert_null(second);
	pid_t child = fork();
	if (child == 0)
		_exit(db_open(p->path, NULL, &second, NULL) == ERR_AGAIN ? 0 : 1);
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	db_close(d);
	check_ok(db_open(p->path, NULL, &second, &e), e);
	db_close(second);
}

static void
must_exist_creates_nothing(void **state)
{
	const struct db_opts opts = { .must_exist = true };
	struct place *p = *state;
	struct db *d = NULL;
	struct error e;

	check_err(db_open(p->path, &opts, &d, &e), ERR_NOTFOUND, e);
	assert_int_equal(access(p->path, F_OK), -1);
	check_put(&p->dir, "a.db", "", 0);
	check_err(db_open(p->path, &opts, &d, &e), ERR_CORRUPT, e);
	db_close(open_things(p->path));
	check_ok(db_open(p->path, &opts, &d, &e), e);
	db_close(d);
}

static void
a_new_file_is_for_its_owner_only(void **state)
{
	struct place *p = *state;
	auto_(db_close_p) struct db *d = open_things(p->path);
	struct stat st;

	put(d, 1, "one");
	assert_int_equal(stat(p->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	char log[120];
	snprintf(log, sizeof log, "%s-wal", p->path);
	assert_int_equal(stat(log, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void
migrations_run_once_and_in_order(void **state)
{
	static const char SQL_PART[] = "INSERT INTO parts (thing) VALUES (?)";
	struct place *p = *state;
	struct db *d = NULL;
	struct error e;

	check_ok(db_open(p->path, NULL, &d, &e), e);
	check_ok(db_migrate(d, migrations, 1, &e), e);
	put(d, 1, "one");
	/* the second has not run */
	check_err(db_run(d, SQL_PART, &e, "i", (int64_t)1), ERR_BUG, e);
	db_close(d);
	d = open_things(p->path);
	check_ok(db_run(d, SQL_PART, &e, "i", (int64_t)1), e);
	check_ok(db_migrate(d, migrations, lengthof(migrations), &e), e);
	assert_int_equal(count(d), 1);
	db_close(d);
}

static void
a_failed_migration_leaves_no_half(void **state)
{
	const char *const broken[] = { migrations[0],
		"CREATE TABLE half (x); CREATE TABLE things (y)" };
	static const char SQL_HALF[] = "SELECT count(*) FROM half";
	struct place *p = *state;
	auto_(db_close_p) struct db *d = NULL;
	struct error e;

	check_ok(db_open(p->path, NULL, &d, &e), e);
	check_err(db_migrate(d, broken, 2, &e), ERR_BUG, e);
	check_says(e.text, "migrate to version 2");
	check_err(db_run(d, SQL_HALF, &e, NULL), ERR_BUG, e);
	check_ok(db_migrate(d, migrations, 2, &e), e);
}

static void
a_newer_version_is_refused(void **state)
{
	struct place *p = *state;
	auto_(db_close_p) struct db *d = open_things(p->path);
	struct error e;

	check_err(db_migrate(d, migrations, 1, &e), ERR_LIMIT, e);
	check_says(e.text, "newer weft");
}

static void
a_foreign_file_is_refused(void **state)
{
	struct place *p = *state;
	struct db *d = NULL;
	struct error e;
	char junk[8192];

	memset(junk, 'x', sizeof junk);
	check_put(&p->dir, "a.db", junk, sizeof junk);
	check_err(db_open(p->path, NULL, &d, &e), ERR_CORRUPT, e);
	/* A database, and somebody else's. */
	char path[120];
	snprintf(path, sizeof path, "%s/b.db", p->dir.path);
	d = open_things(path);
	static const char SQL_FOREIGN[] = "PRAGMA application_id=99";
	check_ok(db_run(d, SQL_FOREIGN, &e, NULL), e);
	db_close(take_ptr(d));
	check_err(db_open(path, NULL, &d, &e), ERR_CORRUPT, e);
	check_says(e.text, "not made by weft");
	assert_null(d);
}

/* Overwrites N bytes at OFF of the file at PATH. */
static void
damage(const char *path, off_t off, size_t n)
{
	uint8_t junk[4096];
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	memset(junk, 0xa5, sizeof junk);
	assert_true(fd >= 0);
	assert_true(n <= sizeof junk);
	assert_int_equal(pwrite(fd, junk, n, off), n);
	assert_int_equal(close(fd), 0);
}

static void
damage_is_found(void **state)
{
	struct place *p = *state;
	struct db *d = open_things(p->path);
	char name[20];
	struct error e;

	check_ok(db_begin(d, &e), e);
	for (int64_t i = 0; i < 2000; i++) {
		snprintf(name, sizeof name, "thing %d", (int)i);
		put(d, i, name);
	}
	check_ok(db_commit(d, &e), e);
	check_ok(db_check(d, &e), e);
	db_close(d);
	damage(p->path, 5 * 4096 + 100, 2000);
	d = NULL;
	enum err r = db_open(p->path, NULL, &d, &e);
	if (r == OK)
		r = db_check(d, &e);
	check_err(r, ERR_CORRUPT, e);
	db_close(d);
	damage(p->path, 0, 16);
	d = NULL;
	check_err(db_open(p->path, NULL, &d, &e), ERR_CORRUPT, e);
}

/* Changes one bit at OFF. */
static void
flip(const char *path, off_t off)
{
	uint8_t b;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &b, 1, off), 1);
	b = (uint8_t)(b ^ 1u << off % 8);
	assert_int_equal(pwrite(fd, &b, 1, off), 1);
	assert_int_equal(close(fd), 0);
}

static enum err
read_all(const char *path, struct error *e)
{
	auto_(db_close_p) struct db *d = NULL;
	enum err r = db_open(path, NULL, &d, e);

	return r == OK ? db_check(d, e) : r;
}

/* Also in what is stored, which SQLite itself would take for any other value. */
static void
each_flipped_byte_is_found(void **state)
{
	struct place *p = *state;
	struct db *d = open_things(p->path);
	struct error e;
	char name[20];

	check_ok(db_begin(d, &e), e);
	for (int64_t i = 0; i < 300; i++) {
		snprintf(name, sizeof name, "thing %d", (int)i);
		put(d, i, name);
	}
	check_ok(db_commit(d, &e), e);
	db_close(d);
	struct stat st;
	assert_int_equal(stat(p->path, &st), 0);
	assert_true(st.st_size >= 4 * 4096);
	for (off_t at = 0; at < st.st_size; at += at < 128 ? 1 : 61) {
		flip(p->path, at);
		enum err r = read_all(p->path, &e);
		if (r != ERR_CORRUPT)
			print_error("byte %lld: %s\n", (long long)at, r == OK ? "" : e.text);
		assert_int_equal(r, ERR_CORRUPT);
		check_says(e.text, "damaged");
		flip(p->path, at);
	}
	check_ok(read_all(p->path, &e), e);
}

static const struct db_copy things_must[] = {
	{ "INSERT INTO things SELECT * FROM old.things", "the things", true },
	{ "INSERT INTO parts SELECT * FROM old.parts", "the parts", false },
};

/* The page of one table is damaged: the other one is rescued. */
static void
what_can_be_read_is_rescued(void **state)
{
	static const char SQL_PART[] = "INSERT INTO parts VALUES (1)";
	static const char SQL_PARTS[] = "SELECT thing FROM parts NOT INDEXED";
	static const char SQL_PAGE[] = "SELECT rootpage FROM sqlite_schema WHERE name = ?";
	struct place *p = *state;
	struct db *d = open_things(p->path);
	struct db_row *row = NULL;
	struct error e;

	put(d, 1, "one");
	check_ok(db_run(d, SQL_PART, &e, NULL), e);
	check_ok(db_query(d, SQL_PAGE, &row, &e, "s", "parts"), e);
	check_ok(db_row_next(row, &e), e);
	off_t parts = (db_row_int(row, 0) - 1) * 4096;
	db_row_end(row);
	check_ok(db_query(d, SQL_PAGE, &row, &e, "s", "things"), e);
	check_ok(db_row_next(row, &e), e);
	off_t things = (db_row_int(row, 0) - 1) * 4096;
	db_row_end(row);
	db_close(d);

	flip(p->path, parts + 4000);
	check_ok(db_open(p->path, &(struct db_opts){ .mark_damage = true }, &d, &e), e);
	assert_int_equal(count(d), 1);
	assert_false(db_rescue_is_due(p->path));
	check_ok(db_query(d, SQL_PARTS, &row, &e, NULL), e);
	check_err(db_row_next(row, &e), ERR_CORRUPT, e);
	db_row_end(row);
	db_close(d);
	assert_true(db_rescue_is_due(p->path));

	check_ok(db_rescue(p->path, migrations, 2, things_must, 2, &e), e);
	assert_false(db_rescue_is_due(p->path));
	d = open_things(p->path);
	check_ok(db_check(d, &e), e);
	assert_int_equal(count(d), 1);
	db_close(d);

	flip(p->path, things + 4000);
	check_err(db_rescue(p->path, migrations, 2, things_must, 2, &e), ERR_CORRUPT, e);
	check_says(e.text, "the things");
	flip(p->path, things + 4000); /* it was left as it was */
	check_ok(read_all(p->path, &e), e);
}

static void
a_dangling_reference_is_found(void **state)
{
	static const char SQL_OFF[] = "PRAGMA foreign_keys=OFF";
	static const char SQL_STRAY[] = "INSERT INTO parts (thing) VALUES (77)";
	struct place *p = *state;
	auto_(db_close_p) struct db *d = open_things(p->path);
	struct error e;

	check_ok(db_run(d, SQL_OFF, &e, NULL), e);
	check_ok(db_run(d, SQL_STRAY, &e, NULL), e);
	check_err(db_check(d, &e), ERR_CORRUPT, e);
	check_says(e.text, "parts");
}

struct counting {
	struct db *db;
	int64_t n;
};

static void *
count_rows(void *arg)
{
	struct counting *c = arg;

	c->n = count(c->db);
	return NULL;
}

/* What another thread counts, while we are within a transaction of another connection. */
static int64_t
count_elsewhere(struct db *d)
{
	struct counting c = { .db = d };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, count_rows, &c), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	return c.n;
}

static void
a_reader_sees_commits_and_nothing_else(void **state)
{
	static const char SQL_WRITE[] = "DELETE FROM things";
	struct place *p = *state;
	auto_(db_close_p) struct db *d = open_things(p->path);
	auto_(db_close_p) struct db *reader = NULL;
	struct error e;

	put(d, 1, "one");
	check_ok(db_open_reader(d, &reader, &e), e);
	assert_int_equal(count(reader), 1);
	check_ok(db_begin(d, &e), e);
	put(d, 2, "two");
	assert_int_equal(count_elsewhere(reader), 1);
	check_ok(db_commit(d, &e), e);
	assert_int_equal(count(reader), 2);
	/* One state for as long as it reads. */
	check_ok(db_begin(reader, &e), e);
	assert_int_equal(count(reader), 2);
	put(d, 3, "three");
	assert_int_equal(count(reader), 2);
	check_ok(db_commit(reader, &e), e);
	assert_int_equal(count(reader), 3);
	assert_int_not_equal(db_run(reader, SQL_WRITE, &e, NULL), OK);
	assert_int_equal(count(d), 3);
}

static void
a_checkpoint_empties_the_log(void **state)
{
	struct place *p = *state;
	auto_(db_close_p) struct db *d = open_things(p->path);
	char log[120];
	struct stat st;
	struct error e;

	put(d, 1, "one");
	snprintf(log, sizeof log, "%s-wal", p->path);
	assert_int_equal(stat(log, &st), 0);
	assert_true(st.st_size > 0);
	check_ok(db_checkpoint(d, &e), e);
	assert_int_equal(stat(log, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(count(d), 1);
}

static void
a_backup_is_the_database_of_its_moment(void **state)
{
	struct place *p = *state;
	auto_(db_close_p) struct db *d = open_things(p->path);
	char copy[120];
	struct error e;

	put(d, 1, "one");
	snprintf(copy, sizeof copy, "%s/copy.db", p->dir.path);
	check_ok(db_backup(d, copy, &e), e);
	put(d, 2, "two");
	check_err(db_backup(d, copy, &e), ERR_EXISTS, e);
	auto_(db_close_p) struct db *second = open_things(copy);
	check_ok(db_check(second, &e), e);
	assert_int_equal(count(second), 1);
	struct stat st;
	assert_int_equal(stat(copy, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

enum { THREADS = 4, EACH = 100 };

struct worker {
	pthread_t thread;
	struct db *db;
	int64_t number;
	enum err r;
};

/* Pairs of rows in a transaction: nobody may come between them. */
static void *
work(void *arg)
{
	struct worker *w = arg;

	for (int64_t i = 0; w->r == OK && i < EACH; i++) {
		int64_t id = (w->number * EACH + i) * 2;
		w->r = db_begin(w->db, NULL);
		if (w->r != OK)
			break;
		for (int64_t k = 0; w->r == OK && k < 2; k++)
			w->r = db_run(
			    w->db, SQL_PUT, NULL, "isb", id + k, (char *)NULL, BYTES(NULL, 0));
		if (w->r == OK && db_last_id(w->db) != id + 1)
			w->r = ERR_BUG;
		if (i % 2 == 0)
			db_rollback(w->db);
		else if (w->r == OK)
			w->r = db_commit(w->db, NULL);
		else
			db_rollback(w->db);
	}
	return NULL;
}

static void
threads_share_a_connection(void **state)
{
	const struct db_opts opts = { .cache = true, .cache_kib = 512 };
	struct place *p = *state;
	auto_(db_close_p) struct db *d = NULL;
	struct worker workers[THREADS] = { 0 };
	struct error e;

	check_ok(db_open(p->path, &opts, &d, &e), e);
	check_ok(db_migrate(d, migrations, lengthof(migrations), &e), e);
	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .db = d, .number = i };
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		assert_int_equal(workers[i].r, OK);
	}
	assert_int_equal(count(d), THREADS * EACH);
}

static void
what_was_committed_survives_a_crash(void **state)
{
	struct place *p = *state;
	struct error e;

	pid_t child = fork();
	if (child == 0) {
		struct db *d = open_things(p->path);
		for (int64_t i = 0; i < 50; i++)
			put(d, i, NULL);
		if (db_begin(d, NULL) == OK)
			put(d, 1000, "not committed");
		_exit(7); /* nothing is closed */
	}
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	auto_(db_close_p) struct db *d = open_things(p->path);
	check_ok(db_check(d, &e), e);
	assert_int_equal(count(d), 50);
}

static void
a_full_disk_says_so_and_the_transaction_is_gone(void **state)
{
	static const char SQL_SMALL[] = "PRAGMA max_page_count=8";
	struct place *p = *state;
	auto_(db_close_p) struct db *d = open_things(p->path);
	auto_free uint8_t *big = mem_zalloc(100000);
	struct error e;

	check_ok(db_run(d, SQL_SMALL, &e, NULL), e);
	check_ok(db_begin(d, &e), e);
	put(d, 1, "one");
	check_err(
	    db_run(d, SQL_PUT, &e, "isb", (int64_t)2, "two", BYTES(big, 100000)), ERR_NOSPACE, e);
	enum err r = db_run(d, SQL_PUT, &e, "isb", (int64_t)3, "three", BYTES(NULL, 0));
	if (r == OK) { /* SQLite kept the transaction: then so do we */
		db_rollback(d);
	} else {
		check_err(db_commit(d, &e), ERR_IO, e);
	}
	assert_int_equal(count(d), 0);
	put(d, 4, "four");
	assert_int_equal(count(d), 1);
}

static void
the_versions_with_the_bug_are_known(void **state)
{
	char note[DB_NOTE];

	(void)state;
	assert_false(db_has_wal_reset_bug(3006023));
	assert_true(db_has_wal_reset_bug(3007000));
	assert_true(db_has_wal_reset_bug(3040001));
	assert_false(db_has_wal_reset_bug(3044006));
	assert_true(db_has_wal_reset_bug(3045000));
	assert_true(db_has_wal_reset_bug(3050006));
	assert_false(db_has_wal_reset_bug(3050007));
	assert_true(db_has_wal_reset_bug(3051002));
	assert_false(db_has_wal_reset_bug(3051003));
	check_says(db_version_note(note), "SQLite 3.");
}

/* A little of everything, in an empty directory and in what a failure left. */
static enum err
use_database(int dir)
{
	char path[64], copy[64];
	auto_(db_close_p) struct db *d = NULL;
	auto_(db_close_p) struct db *reader = NULL;
	auto_row struct db_row *row = NULL;
	struct error e;

	snprintf(path, sizeof path, "/proc/self/fd/%d/f.db", dir);
	snprintf(copy, sizeof copy, "/proc/self/fd/%d/copy.db", dir);
	(void)unlinkat(dir, "copy.db", 0);
	enum err r = db_open(path, NULL, &d, &e);
	r = r != OK ? r : db_migrate(d, migrations, lengthof(migrations), &e);
	r = r != OK ? r : db_begin(d, &e);
	r = r != OK ? r : db_run(d, SQL_DROP, &e, "i", (int64_t)1);
	r = r != OK ? r : db_run(d, SQL_PUT, &e, "isb", (int64_t)1, "one", BYTES_LIT("1"));
	r = r != OK ? r : db_commit(d, &e);
	r = r != OK ? r : db_open_reader(d, &reader, &e);
	r = r != OK ? r : db_query(reader, SQL_GET, &row, &e, "i", (int64_t)1);
	r = r != OK ? r : db_row_next(row, &e);
	db_row_end(take_ptr(row));
	r = r != OK ? r : db_backup(d, copy, &e);
	r = r != OK ? r : db_checkpoint(d, &e);
	r = r != OK ? r : db_check(d, &e);
	db_close(take_ptr(reader));
	return r;
}

static void
any_call_may_fail(void **state)
{
	(void)state;
	check_each_fault(use_database, "src/", 10);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		/* first: no point has been passed in this process yet */
		cmocka_unit_test(any_call_may_fail),
		TEST(a_row_comes_back_as_it_was_put),
		TEST(null_and_empty_are_told_apart),
		TEST(a_statement_may_run_within_the_walk_over_itself),
		TEST(what_is_rolled_back_is_gone),
		TEST(transactions_do_not_nest),
		TEST(broken_uniqueness_is_exists),
		TEST(our_own_mistakes_are_bugs),
		TEST(a_file_has_one_owner),
		TEST(must_exist_creates_nothing),
		TEST(a_new_file_is_for_its_owner_only),
		TEST(migrations_run_once_and_in_order),
		TEST(a_failed_migration_leaves_no_half),
		TEST(a_newer_version_is_refused),
		TEST(a_foreign_file_is_refused),
		TEST(damage_is_found),
		TEST(each_flipped_byte_is_found),
		TEST(what_can_be_read_is_rescued),
		TEST(a_dangling_reference_is_found),
		TEST(a_reader_sees_commits_and_nothing_else),
		TEST(a_checkpoint_empties_the_log),
		TEST(a_backup_is_the_database_of_its_moment),
		TEST(threads_share_a_connection),
		TEST(what_was_committed_survives_a_crash),
		TEST(a_full_disk_says_so_and_the_transaction_is_gone),
		TEST(the_versions_with_the_bug_are_known),
	};

	return cmocka_run_group_tests_name("db", tests, NULL, NULL);
}
