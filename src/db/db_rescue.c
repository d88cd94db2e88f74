/*
 * The new file is made beside the old one, which is attached to it and only read.  The mark goes
 * last, so a crash on the way makes us begin again.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "db/db_private.h"
#include "platform/fs.h"

#define MARK   ".damaged"
#define RESCUE ".rescue"

static struct relpath
beside(const char *name, const char *suffix, char *out, size_t n)
{
	int len = snprintf(out, n, "%s%s", name, suffix);

	return (struct relpath){ out, (size_t)len };
}

void
db_rescue_mark(struct db *d)
{
	char text[RELPATH_NAME_MAX + 1];
	struct relpath name = { 0 };
	struct fs_stat st;
	int dir_ = -1;

	if (!d->marks || db_folder(d->path, &dir_, &name, NULL) != OK)
		return;
	auto_fd int dir = dir_;
	struct relpath mark = beside(name.text, MARK, text, sizeof text);
	if (fs_stat_at(dir, mark, &st, NULL) == ERR_NOTFOUND &&
	    fs_write_file(dir, mark, BYTES(NULL, 0), 0600, NULL) == OK)
		log_error("database %s is damaged: the next start makes it anew from what can be "
			  "read of it",
		    d->name);
}

bool
db_rescue_is_due(const char *path)
{
	char text[RELPATH_NAME_MAX + 1];
	struct relpath name = { 0 };
	struct fs_stat st;
	int dir_ = -1;

	if (db_folder(path, &dir_, &name, NULL) != OK)
		return false;
	auto_fd int dir = dir_;
	return fs_stat_at(dir, beside(name.text, MARK, text, sizeof text), &st, NULL) == OK;
}

/* NAME, where it may well be absent. */
static enum err
drop(int dir, const char *name, const char *suffix, struct error *e)
{
	char text[RELPATH_NAME_MAX + 1];
	struct error why;
	enum err r = fs_unlink(dir, beside(name, suffix, text, sizeof text), &why);

	if (r == OK || r == ERR_NOTFOUND)
		return OK;
	if (e != NULL)
		*e = why;
	return r;
}

static enum err
drop_all(int dir, const char *name, struct error *e)
{
	static const char *const suffixes[] = { "", "-wal", "-shm", ".lock" };
	enum err r = OK;

	for (size_t i = 0; r == OK && i < lengthof(suffixes); i++)
		r = drop(dir, name, suffixes[i], e);
	return r;
}

/* Damage in WHAT is what people are to hear; what SQLite said of it names the new file. */
static enum err
say_damaged(enum err r, const char *what, const struct error *why, struct error *e)
{
	if (r == ERR_CORRUPT)
		return fail(e, r, "%s cannot be read", what);
	if (r != OK && e != NULL)
		*e = *why;
	return r;
}

static enum err
copy_one(struct db *d, const struct db_copy *c, struct error *e)
{
	struct error why;
	enum err r = db_run(d, c->sql, &why, NULL);

	if (r != ERR_CORRUPT || c->must)
		return say_damaged(r, c->what, &why, e);
	log_warn("database %s: %s cannot be read: left out", d->name, c->what);
	return OK;
}

static enum err
attach(struct db *d, const char *path, struct error *e)
{
	static const char SQL_ATTACH[] = "ATTACH ? AS old";
	static const char SQL_LOOK[] = "SELECT count(*) FROM old.sqlite_schema";
	auto_row struct db_row *row = NULL;
	struct error why;
	enum err r = db_run(d, SQL_ATTACH, &why, "s", path);

	if (r == OK)
		r = db_query(d, SQL_LOOK, &row, &why, NULL);
	if (r == OK)
		r = db_row_next(row, &why);
	return say_damaged(r, "its head", &why, e);
}

/* The old file is let go, and all of the new one goes from its log into the file: only that is
 * renamed, and nobody hears of a close that could not do it. */
static enum err
finish(struct db *d, struct error *e)
{
	static const char SQL_DETACH[] = "DETACH old";
	enum err r = db_run(d, SQL_DETACH, e, NULL);

	return r == OK ? db_checkpoint(d, e) : r;
}

static enum err
copy_all(const char *path, const char *from, const char *const *migrations, unsigned n,
    const struct db_copy *copies, size_t n_copies, struct error *e)
{
	auto_(db_close_p) struct db *d = NULL;
	enum err r = db_open(path, NULL, &d, e);

	if (r == OK)
		r = db_migrate(d, migrations, n, e);
	if (r == OK)
		r = attach(d, from, e);
	for (size_t i = 0; r == OK && i < n_copies; i++)
		r = copy_one(d, &copies[i], e);
	return r == OK ? finish(d, e) : r;
}

/* What the log of the old file still held has been read with it. */
static enum err
put_in_place(int dir, const char *rescue, const char *name, struct error *e)
{
	enum err r = drop(dir, name, "-wal", e);

	if (r == OK)
		r = drop(dir, name, "-shm", e);
	if (r == OK)
		r = fs_rename(dir, fs_rel(rescue), dir, fs_rel(name), e);
	if (r == OK)
		r = drop(dir, rescue, ".lock", e);
	if (r == OK)
		r = fs_sync(dir, e);
	return r == OK ? drop(dir, name, MARK, e) : r;
}

enum err
db_rescue(const char *path, const char *const *migrations, unsigned n, const struct db_copy *copies,
    size_t n_copies, struct error *e)
{
	auto_free char *to = str_printf("%s" RESCUE, path);
	struct relpath name = { 0 };
	int dir_ = -1;
	enum err r = db_folder(path, &dir_, &name, e);
	auto_fd int dir = dir_;

	if (r != OK)
		return r;
	auto_free char *rescue = str_printf("%s" RESCUE, name.text);
	r = drop_all(dir, rescue, e);
	if (r == OK)
		r = copy_all(to, path, migrations, n, copies, n_copies, e);
	return r == OK ? put_in_place(dir, rescue, name.text, e) : r;
}
