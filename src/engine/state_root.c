/* Roots: the directories that are published or received into. */
#include <stdio.h>

#include "base/mem.h"
#include "engine/state_private.h"

#define COLUMNS "id, kind, share, share_name, path, subpath, snapshot, content, time_ns"

void
root_clear(struct root *r)
{
	free(r->path);
	free(r->subpath);
	*r = (struct root){ 0 };
}

static char *
text_of(struct db_row *row, int col)
{
	struct bytes b = db_row_bytes(row, col);

	return str_printf("%.*s", (int)b.len, b.len > 0 ? (const char *)b.at : "");
}

static enum err
read_root(struct db_row *row, struct root *ret, struct error *e)
{
	struct root root = {
		.id = db_row_int(row, 0),
		.kind = (enum root_kind)db_row_int(row, 1),
		.time_ns = db_row_int(row, 8),
	};
	enum err r = state_hash_column(row, 2, &root.share, e);

	if (r == OK)
		r = state_hash_column(row, 6, &root.snapshot, e);
	if (r == OK)
		r = state_hash_column(row, 7, &root.content, e);
	if (r != OK)
		return r;
	snprintf(root.share_name, sizeof root.share_name, "%s", db_row_text(row, 3));
	root.path = text_of(row, 4);
	root.subpath = text_of(row, 5);
	*ret = root;
	return OK;
}

enum err
state_root_get(struct state *s, enum root_kind kind, const struct hash_id *share,
    const char *share_name, const char *path, const char *subpath, struct root *ret,
    struct error *e)
{
	static const char SQL_PUT[] =
	    "INSERT INTO root(kind, share, share_name, path, subpath) VALUES(?1, ?2, ?3, ?4, ?5)"
	    " ON CONFLICT(kind, share, path) DO UPDATE SET share_name = ?3, subpath = ?5"
	    " RETURNING " COLUMNS;
	auto_row struct db_row *row = NULL;
	struct root root = { 0 };
	enum err r = db_query(s->db, SQL_PUT, &row, e, "ibsbb", (int64_t)kind, hash_id_bytes(share),
	    share_name, bytes_str(path), bytes_str(subpath));

	if (r == OK)
		r = state_one_row(row, path, e);
	if (r == OK)
		r = read_root(row, &root, e);
	if (r != OK)
		return r;
	r = state_row_done(row, e);
	if (r == OK)
		*ret = root;
	else
		root_clear(&root);
	return r;
}

enum err
state_root_by_id(struct state *s, int64_t id, struct root *ret, struct error *e)
{
	static const char SQL_GET[] = "SELECT " COLUMNS " FROM root WHERE id = ?";
	auto_row struct db_row *row = NULL;
	enum err r = db_query(s->db, SQL_GET, &row, e, "i", id);

	if (r == OK)
		r = state_one_row(row, "this root", e);
	return r == OK ? read_root(row, ret, e) : r;
}

enum err
state_root_update(struct state *s, const struct root *root, struct error *e)
{
	static const char SQL_UPDATE[] = "UPDATE root SET share_name = ?2, subpath = ?3, snapshot "
					 "= ?4, content = ?5, time_ns = ?6 WHERE id = ?1";

	return db_run(s->db, SQL_UPDATE, e, "isbbbi", root->id, root->share_name,
	    bytes_str(root->subpath), state_hash_param(&root->snapshot),
	    state_hash_param(&root->content), root->time_ns);
}

/* From the leaves to the root, so that what a crash leaves over is found again by the next try. */
enum err
state_root_del(struct state *s, int64_t id, struct error *e)
{
	static const char SQL_PLACES[] = "DELETE FROM place WHERE file IN (SELECT file.id FROM "
					 "file JOIN dir ON dir.id = file.dir WHERE dir.root = ?)";
	static const char SQL_FILES[] =
	    "DELETE FROM file WHERE dir IN (SELECT id FROM dir WHERE root = ?)";
	static const char SQL_DIRS[] = "DELETE FROM dir WHERE root = ?";
	static const char SQL_ROOT[] = "DELETE FROM root WHERE id = ?";
	static const char *const steps[] = { SQL_PLACES, SQL_FILES, SQL_DIRS, SQL_ROOT };
	enum err r = OK;

	for (size_t i = 0; r == OK && i < lengthof(steps); i++)
		r = db_run(s->db, steps[i], e, "i", id);
	return r;
}

struct telling {
	enum err (*on_root)(void *ctx, const struct root *r, struct error *e);
	void *ctx;
};

static enum err
tell_root(void *ctx, struct db_row *row, struct error *e)
{
	const struct telling *t = ctx;
	auto_(root_clear) struct root root = { 0 };
	enum err r = read_root(row, &root, e);

	return r == OK ? t->on_root(t->ctx, &root, e) : r;
}

enum err
state_roots(struct state *s, enum err (*on_root)(void *ctx, const struct root *r, struct error *e),
    void *ctx, struct error *e)
{
	static const char SQL_ALL[] = "SELECT " COLUMNS " FROM root ORDER BY id";
	struct telling t = { on_root, ctx };
	auto_row struct db_row *row = NULL;
	enum err r = db_query(s->db, SQL_ALL, &row, e, NULL);

	return r == OK ? state_each_row(row, tell_root, &t, e) : r;
}
