/* Shares, and what of the store belongs to each of them: the right to its bytes. */
#include "server/registry.h"

static const char SQL_SHARE_ADD[] = "INSERT INTO share(id, name, statement) VALUES(?, ?, ?)";
static const char SQL_SHARE_DEL[] = "DELETE FROM share WHERE num = ?";
static const char SQL_STATEMENT_DEL[] = "DELETE FROM statement WHERE id = ?";
static const char SQL_SHARE_HEADS_DEL[] =
    "DELETE FROM statement WHERE id IN (SELECT head FROM snapshot WHERE share = ?)";
static const char SQL_SHARE_POLICY[] = "UPDATE share SET policy = ?2 WHERE num = ?1";
static const char SQL_ACCESS_CLEAR[] = "DELETE FROM access WHERE share = ?";
static const char SQL_SNAPSHOT_CLEAR[] = "DELETE FROM snapshot WHERE share = ?";
/* Only while there is the share: a change that waited before this one may have been its end. */
static const char SQL_NODE_ADD[] =
    "INSERT OR IGNORE INTO share_node(share, id) SELECT num, ?2 FROM share WHERE num = ?1";
static const char SQL_CHUNK_ADD[] =
    "INSERT OR IGNORE INTO share_chunk(share, id) SELECT num, ?2 FROM share WHERE num = ?1";
static const char SQL_NODE_HAS[] = "SELECT 1 FROM share_node WHERE id = ? AND share = ?";
static const char SQL_CHUNK_HAS[] = "SELECT 1 FROM share_chunk WHERE id = ? AND share = ?";
static const char SQL_NODE_OF[] =
    "SELECT 1 FROM share_node n JOIN share s ON s.num = n.share WHERE n.id = ? AND s.id = ?";
static const char SQL_NODE_SHARES[] = "SELECT share FROM share_node WHERE id = ?";
static const char SQL_CHUNK_SHARES[] = "SELECT share FROM share_chunk WHERE id = ?";
static const char SQL_SHARE_STALE[] = "UPDATE share SET stale = stale + ?2 WHERE num = ?1";
static const char SQL_KEPT_MAKE[] =
    "CREATE TEMP TABLE IF NOT EXISTS kept(id BLOB PRIMARY KEY) WITHOUT ROWID";
static const char SQL_KEPT_CLEAR[] = "DELETE FROM temp.kept";
static const char SQL_KEPT_ADD[] = "INSERT OR IGNORE INTO temp.kept VALUES(?)";
/* The commits of announced snapshots may have come since the marking began. */
static const char SQL_NODE_FIT[] =
    "DELETE FROM share_node WHERE share = ?1 AND id NOT IN (SELECT id FROM temp.kept)"
    " AND id NOT IN (SELECT id FROM snapshot WHERE share = ?1)";
static const char SQL_CHUNK_FIT[] =
    "DELETE FROM share_chunk WHERE share = ? AND id NOT IN (SELECT id FROM temp.kept)";
static const char SQL_NODE_CLEAR[] = "DELETE FROM share_node WHERE share = ?";
static const char SQL_CHUNK_CLEAR[] = "DELETE FROM share_chunk WHERE share = ?";

enum err
registry_store_share(struct db *db, const struct hash_id *id, const char *name,
    struct bytes statement, int64_t *ret_num, struct error *e)
{
	enum err r = db_run(db, SQL_SHARE_ADD, e, "bsb", hash_id_bytes(id), name, statement);

	if (r == OK)
		*ret_num = db_last_id(db);
	return r;
}

enum err
registry_store_policy(struct db *db, int64_t share, struct bytes statement, struct error *e)
{
	return db_run(db, SQL_SHARE_POLICY, e, "ib", share, statement);
}

static enum err
clear_rows(struct db *db, int64_t share, struct error *e)
{
	enum err r = db_run(db, SQL_NODE_CLEAR, e, "i", share);

	return r == OK ? db_run(db, SQL_CHUNK_CLEAR, e, "i", share) : r;
}

enum err
registry_store_share_drop(struct db *db, int64_t num, const struct hash_id *policy, struct error *e)
{
	enum err r = clear_rows(db, num, e);

	if (r == OK)
		r = db_run(db, SQL_STATEMENT_DEL, e, "b", hash_id_bytes(policy));
	if (r == OK)
		r = db_run(db, SQL_SHARE_HEADS_DEL, e, "i", num);
	if (r == OK)
		r = db_run(db, SQL_SNAPSHOT_CLEAR, e, "i", num);
	if (r == OK)
		r = db_run(db, SQL_ACCESS_CLEAR, e, "i", num);
	return r == OK ? db_run(db, SQL_SHARE_DEL, e, "i", num) : r;
}

/* -- what belongs to it -- */

enum err
registry_store_share_node(struct db *db, int64_t share, const struct hash_id *node, struct error *e)
{
	return db_run(db, SQL_NODE_ADD, e, "ib", share, hash_id_bytes(node));
}

enum err
registry_store_share_chunk(
    struct db *db, int64_t share, const struct hash_id *chunk, struct error *e)
{
	return db_run(db, SQL_CHUNK_ADD, e, "ib", share, hash_id_bytes(chunk));
}

static bool
has_row(struct db *db, const char *sql, const struct hash_id *id, int64_t share)
{
	auto_row struct db_row *row = NULL;

	return db_query(db, sql, &row, NULL, "bi", hash_id_bytes(id), share) == OK &&
	       db_row_next(row, NULL) == OK;
}

bool
registry_share_has_node(struct db *db, int64_t share, const struct hash_id *node)
{
	return has_row(db, SQL_NODE_HAS, node, share);
}

bool
registry_share_has_chunk(struct db *db, int64_t share, const struct hash_id *chunk)
{
	return has_row(db, SQL_CHUNK_HAS, chunk, share);
}

bool
registry_share_holds_node(struct db *db, const struct hash_id *share, const struct hash_id *node)
{
	auto_row struct db_row *row = NULL;

	return db_query(db, SQL_NODE_OF, &row, NULL, "bb", hash_id_bytes(node),
		   hash_id_bytes(share)) == OK &&
	       db_row_next(row, NULL) == OK;
}

static bool
any_has(struct db *db, const char *sql, const int64_t *shares, size_t n, const struct hash_id *id)
{
	auto_row struct db_row *row = NULL;

	if (db_query(db, sql, &row, NULL, "b", hash_id_bytes(id)) != OK)
		return false;
	while (db_row_next(row, NULL) == OK) {
		int64_t share = db_row_int(row, 0);
		for (size_t i = 0; i < n; i++) {
			if (shares[i] == share)
				return true;
		}
	}
	return false;
}

bool
registry_any_has_node(struct db *db, const int64_t *shares, size_t n, const struct hash_id *node)
{
	return any_has(db, SQL_NODE_SHARES, shares, n, node);
}

bool
registry_any_has_chunk(struct db *db, const int64_t *shares, size_t n, const struct hash_id *chunk)
{
	return any_has(db, SQL_CHUNK_SHARES, shares, n, chunk);
}

enum err
registry_store_share_stale(struct db *db, int64_t share, struct error *e)
{
	return db_run(db, SQL_SHARE_STALE, e, "ii", share, (int64_t)1);
}

enum err
registry_store_fit_begin(struct db *db, struct error *e)
{
	enum err r = db_run(db, SQL_KEPT_MAKE, e, "");

	return r == OK ? db_run(db, SQL_KEPT_CLEAR, e, "") : r;
}

enum err
registry_store_fit_keep(struct db *db, const struct hash_id *id, struct error *e)
{
	return db_run(db, SQL_KEPT_ADD, e, "b", hash_id_bytes(id));
}

enum err
registry_store_fit(struct db *db, int64_t share, int64_t stale, struct error *e)
{
	enum err r = db_run(db, SQL_NODE_FIT, e, "i", share);

	if (r == OK)
		r = db_run(db, SQL_CHUNK_FIT, e, "i", share);
	if (r == OK)
		r = db_run(db, SQL_SHARE_STALE, e, "ii", share, -stale);
	return r == OK ? db_run(db, SQL_KEPT_CLEAR, e, "") : r;
}
