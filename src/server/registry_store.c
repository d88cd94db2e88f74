/*
 * The registry's rows. Statements are kept as received; a snapshot's commit is a node of the store;
 * access and devices are plain rows, from which grants are made when they are asked for.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "manifest/unit_map.h"
#include "server/registry.h"

static const char *const migrations[] = {
	"CREATE TABLE statement(id BLOB PRIMARY KEY, kind INTEGER NOT NULL, bytes BLOB NOT NULL) "
	"WITHOUT ROWID;"
	"CREATE TABLE device(id BLOB PRIMARY KEY, name TEXT NOT NULL, site TEXT NOT NULL, address "
	"TEXT NOT NULL,"
	" software TEXT NOT NULL, joined_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL, ended "
	"INTEGER NOT NULL)"
	" WITHOUT ROWID;"
	"CREATE TABLE invite(id BLOB PRIMARY KEY, secret BLOB NOT NULL, site TEXT NOT NULL, grp "
	"TEXT NOT NULL,"
	" uses INTEGER NOT NULL, expires_s INTEGER NOT NULL, grants BLOB) WITHOUT ROWID;"
	"CREATE TABLE share(num INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, name "
	"TEXT NOT NULL UNIQUE,"
	" statement BLOB NOT NULL);"
	"CREATE TABLE access(share INTEGER NOT NULL, device BLOB NOT NULL, rights INTEGER NOT NULL,"
	" PRIMARY KEY(share, device)) WITHOUT ROWID;"
	"CREATE TABLE snapshot(id BLOB PRIMARY KEY, share INTEGER NOT NULL, number INTEGER NOT "
	"NULL,"
	" state INTEGER NOT NULL, content BLOB NOT NULL, head BLOB, entries INTEGER NOT NULL, "
	"bytes INTEGER NOT NULL,"
	" chunks INTEGER NOT NULL, chunk_bytes INTEGER NOT NULL, announced_ms INTEGER NOT NULL,"
	" head_ms INTEGER NOT NULL, unit_size INTEGER NOT NULL, author BLOB NOT NULL, label TEXT "
	"NOT NULL,"
	" why TEXT NOT NULL);"
	"CREATE INDEX snapshot_share ON snapshot(share, announced_ms);"
	"CREATE TABLE share_node(share INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY(id, share)) "
	"WITHOUT ROWID;"
	"CREATE TABLE share_chunk(share INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY(id, "
	"share)) WITHOUT ROWID;",

	"ALTER TABLE share ADD COLUMN stale INTEGER NOT NULL DEFAULT 0;"
	"CREATE TABLE note(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;",

	"ALTER TABLE share ADD COLUMN policy BLOB;",
};

static const char SQL_STATEMENT_PUT[] =
    "INSERT OR IGNORE INTO statement(id, kind, bytes) VALUES(?, ?, ?)";
static const char SQL_STATEMENT_GET[] = "SELECT bytes FROM statement WHERE id = ?";
static const char SQL_ROOT[] = "SELECT bytes FROM statement WHERE kind = 1";
static const char SQL_SUCCESSORS[] = "SELECT bytes FROM statement WHERE kind = 7";
static const char SQL_STATEMENTS[] =
    "SELECT bytes FROM statement WHERE kind NOT IN (1, 7) ORDER BY kind";
static const char SQL_STATEMENTS_VOID[] = "DELETE FROM statement WHERE kind IN (3, 4, 5, 6)";
static const char SQL_ACCESS_MOVE[] = "UPDATE OR REPLACE access SET device = ?2 WHERE device = ?1";
static const char SQL_AUTHOR_MOVE[] = "UPDATE snapshot SET author = ?2 WHERE author = ?1";
static const char SQL_DEVICE_PUT[] = "INSERT OR REPLACE INTO device VALUES(?, ?, ?, ?, ?, ?, ?, ?)";
static const char SQL_DEVICES[] =
    "SELECT id, name, site, address, software, joined_ms, seen_ms, ended FROM device";
static const char SQL_INVITE_PUT[] = "INSERT OR REPLACE INTO invite VALUES(?, ?, ?, ?, ?, ?, ?)";
static const char SQL_INVITE_DEL[] = "DELETE FROM invite WHERE id = ?";
static const char SQL_INVITES[] =
    "SELECT id, secret, site, grp, uses, expires_s, grants FROM invite";
static const char SQL_SHARE_ADD[] = "INSERT INTO share(id, name, statement) VALUES(?, ?, ?)";
static const char SQL_SHARE_DEL[] = "DELETE FROM share WHERE num = ?";
static const char SQL_STATEMENT_DEL[] = "DELETE FROM statement WHERE id = ?";
static const char SQL_SHARE_HEADS_DEL[] =
    "DELETE FROM statement WHERE id IN (SELECT head FROM snapshot WHERE share = ?)";
static const char SQL_SNAPSHOT_HEAD_DEL[] =
    "DELETE FROM statement WHERE id = (SELECT head FROM snapshot WHERE id = ?)";
static const char SQL_SHARES[] = "SELECT num, statement, stale, policy FROM share";
static const char SQL_SHARE_POLICY[] = "UPDATE share SET policy = ?2 WHERE num = ?1";
/* What belongs to a share is only stored while there is one: changes wait in a queue, and one
 * before may be its end. */
static const char SQL_ACCESS_PUT[] =
    "INSERT OR REPLACE INTO access SELECT num, ?2, ?3 FROM share WHERE num = ?1";
static const char SQL_ACCESS_DEL[] = "DELETE FROM access WHERE share = ? AND device = ?";
static const char SQL_ACCESS_END[] = "DELETE FROM access WHERE device = ?";
static const char SQL_ACCESS_CLEAR[] = "DELETE FROM access WHERE share = ?";
static const char SQL_ACCESSES[] = "SELECT share, device, rights FROM access";
static const char SQL_SNAPSHOT_PUT[] = "INSERT OR REPLACE INTO snapshot SELECT ?1, num, ?3, ?4, "
				       "?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16"
				       " FROM share WHERE num = ?2";
static const char SQL_SNAPSHOT_SET[] =
    "UPDATE snapshot SET number = ?2, state = ?3, head = ?4, head_ms = ?5, why = ?6 WHERE id = ?1";
static const char SQL_SNAPSHOT_DEL[] = "DELETE FROM snapshot WHERE id = ?";
static const char SQL_SNAPSHOT_CLEAR[] = "DELETE FROM snapshot WHERE share = ?";
static const char SQL_SNAPSHOTS[] =
    "SELECT id, share, number, state, content, head, entries, bytes, chunks, chunk_bytes, "
    "announced_ms, head_ms,"
    " unit_size, author, label, why FROM snapshot ORDER BY announced_ms, number";
static const char SQL_NODE_ADD[] =
    "INSERT OR IGNORE INTO share_node(share, id) SELECT num, ?2 FROM share WHERE num = ?1";
static const char SQL_CHUNK_ADD[] =
    "INSERT OR IGNORE INTO share_chunk(share, id) SELECT num, ?2 FROM share WHERE num = ?1";
static const char SQL_NODE_HAS[] = "SELECT 1 FROM share_node WHERE id = ? AND share = ?";
static const char SQL_CHUNK_HAS[] = "SELECT 1 FROM share_chunk WHERE id = ? AND share = ?";
static const char SQL_NODE_OF[] =
    "SELECT 1 FROM share_node n JOIN share s ON s.num = n.share WHERE n.id = ? AND s.id = ?";
static const char SQL_CONTENT_OF[] = "SELECT n.content, n.unit_size FROM snapshot n JOIN share s "
				     "ON s.num = n.share WHERE n.id = ? AND s.id = ?";
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
static const char SQL_COLLECTED_PUT[] = "INSERT OR REPLACE INTO note VALUES('collected', ?)";
static const char SQL_RESCUED_PUT[] = "INSERT OR REPLACE INTO note VALUES('rescued', ?)";
static const char SQL_RESCUED[] = "SELECT value FROM note WHERE name = 'rescued'";
static const char SQL_COLLECTED[] = "SELECT value FROM note WHERE name = 'collected'";
static const char SQL_NODE_CLEAR[] = "DELETE FROM share_node WHERE share = ?";
static const char SQL_CHUNK_CLEAR[] = "DELETE FROM share_chunk WHERE share = ?";

/* Our own database is outside too: a row that does not fit is damage, and is named. */
static enum err
bad_row(const char *table, struct error *e)
{
	return fail(e, ERR_CORRUPT,
	    "server.db: a row of table %s does not make sense; restore a backup", table);
}

static bool
row_hash(struct db_row *row, int col, struct hash_id *ret)
{
	struct bytes b = db_row_bytes(row, col);
	struct reader rd = reader_over(b);

	*ret = hash_id_decode(&rd);
	return reader_done(&rd);
}

static bool
row_device_id(struct db_row *row, int col, struct device_id *ret)
{
	struct bytes b = db_row_bytes(row, col);

	if (b.len != DEVICE_ID_BYTES)
		return false;
	memcpy(ret->bytes, b.at, b.len);
	return true;
}

/* -- writing -- */

enum err
registry_store_statement(struct db *db, struct bytes b, const struct statement *st, struct error *e)
{
	return db_run(
	    db, SQL_STATEMENT_PUT, e, "bib", hash_id_bytes(&st->id), (int64_t)st->kind, b);
}

enum err
registry_store_statements_void(struct db *db, struct error *e)
{
	return db_run(db, SQL_STATEMENTS_VOID, e, "");
}

enum err
registry_store_device_moves(
    struct db *db, const struct device_id *from, const struct device_id *to, struct error *e)
{
	struct bytes a = BYTES(from->bytes, DEVICE_ID_BYTES), b = BYTES(to->bytes, DEVICE_ID_BYTES);
	enum err r = db_run(db, SQL_ACCESS_MOVE, e, "bb", a, b);

	return r == OK ? db_run(db, SQL_AUTHOR_MOVE, e, "bb", a, b) : r;
}

enum err
registry_store_device(struct db *db, const struct registry_device *d, struct error *e)
{
	return db_run(db, SQL_DEVICE_PUT, e, "bssssiii", BYTES_OF(d->id), d->name, d->site,
	    d->address, d->software, d->joined_ms, d->seen_ms, (int64_t)d->ended);
}

enum err
registry_store_invite(struct db *db, const struct registry_invite *in, struct error *e)
{
	struct bytes id = BYTES(in->id, INVITE_ID_BYTES);
	auto_buf struct buf grants = BUF(64 * 1024);

	if (in->uses == 0)
		return db_run(db, SQL_INVITE_DEL, e, "b", id);
	array_each (g, &in->grants) {
		buf_u64(&grants, (uint64_t)g->share);
		buf_u32(&grants, g->rights);
	}
	if (grants.full)
		return fail(e, ERR_LIMIT, "an invite for too many shares");
	return db_run(db, SQL_INVITE_PUT, e, "bbssiib", id, BYTES(in->secret, INVITE_SECRET_BYTES),
	    in->site, in->group, (int64_t)in->uses, in->expires_s, buf_bytes(&grants));
}

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

enum err
registry_store_rescued(struct db *db, bool rescued, struct error *e)
{
	return db_run(db, SQL_RESCUED_PUT, e, "i", (int64_t)rescued);
}

enum err
registry_store_collected(struct db *db, int64_t wall_ms, struct error *e)
{
	return db_run(db, SQL_COLLECTED_PUT, e, "i", wall_ms);
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

enum err
registry_store_access(
    struct db *db, int64_t share, const struct registry_access *a, struct error *e)
{
	struct bytes device = BYTES(a->device.bytes, a->all ? 0 : DEVICE_ID_BYTES);
	/* An empty blob, not NULL, stands for everybody: a key column cannot be NULL. */
	if (a->all)
		device.at = (const uint8_t *)"";

	return a->rights == 0
		   ? db_run(db, SQL_ACCESS_DEL, e, "ib", share, device)
		   : db_run(db, SQL_ACCESS_PUT, e, "ibi", share, device, (int64_t)a->rights);
}

enum err
registry_store_access_end(struct db *db, const struct device_id *device, struct error *e)
{
	return db_run(db, SQL_ACCESS_END, e, "b", BYTES(device->bytes, DEVICE_ID_BYTES));
}

static struct bytes
head_of(const struct registry_snapshot *sn)
{
	return hash_id_is_none(&sn->head_statement) ? BYTES(NULL, 0)
						    : hash_id_bytes(&sn->head_statement);
}

enum err
registry_store_snapshot_set(struct db *db, const struct registry_snapshot *sn, struct error *e)
{
	return db_run(db, SQL_SNAPSHOT_SET, e, "biibis", hash_id_bytes(&sn->id),
	    (int64_t)sn->number, (int64_t)sn->state, head_of(sn), sn->head_ms, sn->why);
}

enum err
registry_store_snapshot(
    struct db *db, int64_t share, const struct registry_snapshot *sn, struct error *e)
{
	return db_run(db, SQL_SNAPSHOT_PUT, e, "biiibbiiiiiiibss", hash_id_bytes(&sn->id), share,
	    (int64_t)sn->number, (int64_t)sn->state, hash_id_bytes(&sn->content), head_of(sn),
	    (int64_t)sn->entries, (int64_t)sn->bytes, (int64_t)sn->chunks, (int64_t)sn->chunk_bytes,
	    sn->announced_ms, sn->head_ms, (int64_t)sn->unit_size, BYTES_OF(sn->author), sn->label,
	    sn->why);
}

enum err
registry_store_snapshot_drop(struct db *db, const struct hash_id *id, struct error *e)
{
	enum err r = db_run(db, SQL_SNAPSHOT_HEAD_DEL, e, "b", hash_id_bytes(id));

	return r == OK ? db_run(db, SQL_SNAPSHOT_DEL, e, "b", hash_id_bytes(id)) : r;
}

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

enum err
registry_share_content(struct db *db, const struct hash_id *share, const struct hash_id *snapshot,
    struct hash_id *ret_content, uint32_t *ret_unit_size, struct error *e)
{
	auto_row struct db_row *row = NULL;
	struct hash_id content;
	enum err err = db_query(
	    db, SQL_CONTENT_OF, &row, e, "bb", hash_id_bytes(snapshot), hash_id_bytes(share));

	if (err == OK && (err = db_row_next(row, e)) == ERR_NOTFOUND)
		return fail(e, ERR_NOTFOUND, "no such snapshot");
	if (err != OK)
		return err;
	int64_t unit_size = db_row_int(row, 1);
	if (!row_hash(row, 0, &content) || !unit_map_is_size((uint64_t)unit_size))
		return bad_row("snapshot", e);
	*ret_content = content;
	*ret_unit_size = (uint32_t)unit_size;
	return OK;
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

/* -- loading -- */

enum err
registry_store_statement_get(
    struct db *db, const struct hash_id *id, struct buf *ret, struct error *e)
{
	auto_row struct db_row *row = NULL;
	enum err err = db_query(db, SQL_STATEMENT_GET, &row, e, "b", hash_id_bytes(id));

	if (err == OK)
		err = db_row_next(row, e);
	if (err == OK && !buf_add_bytes(ret, db_row_bytes(row, 0)))
		return bad_row("statement", e);
	return err;
}

/* ACCEPTED counts those that were news. What is superseded or void since is no longer in force, and
 * passed over. */
static enum err
load_kind(struct registry *r, const char *sql, size_t *ret_news, struct error *e)
{
	auto_row struct db_row *row = NULL;
	enum err err = db_query(r->db, sql, &row, e, "");

	*ret_news = 0;
	while (err == OK && (err = db_row_next(row, e)) == OK) {
		bool news = false;
		err = authority_accept(r->authority, db_row_bytes(row, 0), &news, e);
		if (err == ERR_DENIED)
			err = OK;
		if (err != OK)
			return error_wrap(e, ERR_CORRUPT, "server.db: a statement");
		*ret_news += news;
	}
	return err == ERR_NOTFOUND ? OK : err;
}

/* The key that the authority began with: not ours any more after a recovery. */
static enum err
load_root(struct registry *r, const struct device_id *own, struct error *e)
{
	auto_row struct db_row *row = NULL;
	struct statement st;
	enum err err = db_query(r->db, SQL_ROOT, &row, e, "");

	if (err == OK && (err = db_row_next(row, e)) == OK)
		err = statement_decode(db_row_bytes(row, 0), &st, e) == OK ? OK : ERR_CORRUPT;
	if (err == ERR_NOTFOUND && own != NULL) {
		r->authority = authority_new(own);
		return OK;
	}
	if (err == ERR_NOTFOUND)
		return fail(e, ERR_NOTFOUND, "server.db has no authority yet");
	if (err != OK)
		return error_wrap(e, err, "server.db: a statement");
	r->authority = authority_new(&st.authority);
	return OK;
}

static enum err
load_statements(struct registry *r, const struct device_id *own, struct error *e)
{
	size_t news;
	enum err err = load_root(r, own, e);

	if (err == OK)
		err = load_kind(r, SQL_ROOT, &news, e);
	do { /* each may be of the key that another one names */
		if (err == OK)
			err = load_kind(r, SQL_SUCCESSORS, &news, e);
	} while (err == OK && news > 0);
	if (err == OK)
		err = load_kind(r, SQL_STATEMENTS, &news, e);
	if (err != OK || own == NULL)
		return err;
	const struct public_key *key = authority_key(r->authority);
	if (key == NULL)
		return OK;
	struct device_id id = device_id_of(key);
	return device_id_equal(&id, own)
		   ? OK
		   : fail(e, ERR_DENIED,
			 "device.key is not the key of this server's authority: bring the right "
			 "one back, or replace it with "
			 "`weft server --recover FILE`, the recovery key");
}

static enum err
load_devices(struct registry *r, struct error *e)
{
	auto_row struct db_row *row = NULL;
	enum err err = db_query(r->db, SQL_DEVICES, &row, e, "");

	while (err == OK && (err = db_row_next(row, e)) == OK) {
		struct registry_device d = { .joined_ms = db_row_int(row, 5),
			.seen_ms = db_row_int(row, 6),
			.ended = db_row_int(row, 7) != 0 };
		if (!row_device_id(row, 0, &d.id))
			return bad_row("device", e);
		snprintf(d.name, sizeof d.name, "%s", db_row_text(row, 1));
		snprintf(d.site, sizeof d.site, "%s", db_row_text(row, 2));
		snprintf(d.address, sizeof d.address, "%s", db_row_text(row, 3));
		snprintf(d.software, sizeof d.software, "%s", db_row_text(row, 4));
		registry_add_device(r, &d);
	}
	return err == ERR_NOTFOUND ? OK : err;
}

static enum err
load_invites(struct registry *r, struct error *e)
{
	auto_row struct db_row *row = NULL;
	enum err err = db_query(r->db, SQL_INVITES, &row, e, "");

	while (err == OK && (err = db_row_next(row, e)) == OK) {
		struct registry_invite in = { .uses = (uint64_t)db_row_int(row, 4),
			.expires_s = db_row_int(row, 5) };
		struct bytes id = db_row_bytes(row, 0), secret = db_row_bytes(row, 1),
			     grants = db_row_bytes(row, 6);
		if (id.len != INVITE_ID_BYTES || secret.len != INVITE_SECRET_BYTES ||
		    grants.len % 12 != 0)
			return bad_row("invite", e);
		memcpy(in.id, id.at, id.len);
		memcpy(in.secret, secret.at, secret.len);
		snprintf(in.site, sizeof in.site, "%s", db_row_text(row, 2));
		snprintf(in.group, sizeof in.group, "%s", db_row_text(row, 3));
		for (struct reader rd = reader_over(grants); reader_left(&rd) > 0;) {
			array_reserve(&in.grants, in.grants.len + 1);
			in.grants.at[in.grants.len].share = (int64_t)reader_u64(&rd);
			in.grants.at[in.grants.len++].rights = reader_u32(&rd);
		}
		registry_add_invite(r, &in);
	}
	return err == ERR_NOTFOUND ? OK : err;
}

static void
keep_head(void *ctx, struct bytes bytes, const struct statement *st)
{
	struct registry_share *s = registry_share(ctx, &st->share);

	if (s != NULL) {
		buf_reset(&s->head_statement);
		buf_add_bytes(&s->head_statement, bytes);
	}
}

/* One that is void since is passed over, like any statement. */
static enum err
load_policy(struct registry *r, struct bytes b, struct error *e)
{
	enum err err = b.len > 0 ? authority_accept(r->authority, b, NULL, e) : OK;

	if (err == OK || err == ERR_DENIED)
		return OK;
	return error_wrap(e, ERR_CORRUPT, "server.db: a policy");
}

static enum err
load_shares(struct registry *r, struct error *e)
{
	auto_row struct db_row *row = NULL;
	enum err err = db_query(r->db, SQL_SHARES, &row, e, "");

	while (err == OK && (err = db_row_next(row, e)) == OK) {
		struct bytes b = db_row_bytes(row, 1);
		struct statement st;
		if (statement_decode(b, &st, e) != OK || st.kind != STATEMENT_SHARE)
			return bad_row("share", e);
		registry_add_share(r, db_row_int(row, 0), b, &st)->stale = db_row_int(row, 2);
		if (load_policy(r, db_row_bytes(row, 3), e) != OK)
			return ERR_CORRUPT;
	}
	if (err != ERR_NOTFOUND)
		return err;
	authority_each(r->authority, STATEMENT_HEAD, keep_head, r);
	return OK;
}

static enum err
load_access(struct registry *r, struct error *e)
{
	auto_row struct db_row *row = NULL;
	enum err err = db_query(r->db, SQL_ACCESSES, &row, e, "");

	while (err == OK && (err = db_row_next(row, e)) == OK) {
		struct registry_share *s = registry_share_num(r, db_row_int(row, 0));
		struct registry_access a = { .rights = (uint32_t)db_row_int(row, 2),
			.all = db_row_bytes(row, 1).len == 0 };
		if (s == NULL || (!a.all && !row_device_id(row, 1, &a.device)))
			return bad_row("access", e);
		registry_set_access(s, &a);
	}
	return err == ERR_NOTFOUND ? OK : err;
}

static enum err
load_snapshots(struct registry *r, struct error *e)
{
	auto_row struct db_row *row = NULL;
	enum err err = db_query(r->db, SQL_SNAPSHOTS, &row, e, "");

	while (err == OK && (err = db_row_next(row, e)) == OK) {
		struct registry_share *s = registry_share_num(r, db_row_int(row, 1));
		struct registry_snapshot sn = {
			.number = (uint64_t)db_row_int(row, 2),
			.state = (enum snapshot_state)db_row_int(row, 3), /* checked below */
			.entries = (uint64_t)db_row_int(row, 6),
			.bytes = (uint64_t)db_row_int(row, 7),
			.chunks = (uint64_t)db_row_int(row, 8),
			.chunk_bytes = (uint64_t)db_row_int(row, 9),
			.announced_ms = db_row_int(row, 10),
			.head_ms = db_row_int(row, 11),
			.unit_size = (uint32_t)db_row_int(row, 12),
		};
		int64_t state = db_row_int(row, 3);
		bool ok = s != NULL && row_hash(row, 0, &sn.id) && row_hash(row, 4, &sn.content) &&
			  row_device_id(row, 13, &sn.author) && state >= SNAPSHOT_ANNOUNCED &&
			  state <= SNAPSHOT_WITHDRAWN &&
			  unit_map_is_size((uint64_t)db_row_int(row, 12));
		if (ok && !db_row_is_null(row, 5))
			ok = row_hash(row, 5, &sn.head_statement);
		if (!ok)
			return bad_row("snapshot", e);
		snprintf(sn.label, sizeof sn.label, "%s", db_row_text(row, 14));
		snprintf(sn.why, sizeof sn.why, "%s", db_row_text(row, 15));
		registry_add_snapshot(s, &sn);
	}
	return err == ERR_NOTFOUND ? OK : err;
}

static enum err
load_note(struct registry *r, const char *sql, int64_t *ret, struct error *e)
{
	auto_row struct db_row *row = NULL;
	enum err err = db_query(r->db, sql, &row, e, "");

	if (err == OK && (err = db_row_next(row, e)) == OK)
		*ret = db_row_int(row, 0);
	return err == ERR_NOTFOUND ? OK : err;
}

static enum err
load_notes(struct registry *r, struct error *e)
{
	int64_t rescued = 0;
	enum err err = load_note(r, SQL_COLLECTED, &r->collected_ms, e);

	if (err == OK)
		err = load_note(r, SQL_RESCUED, &rescued, e);
	r->rescued = rescued != 0;
	return err;
}

/* The rights to what the store holds are made again from the manifests; all else must be whole. */
static const struct db_copy copies[] = {
	{ "INSERT INTO statement SELECT * FROM old.statement", "the statements", true },
	{ "INSERT INTO device SELECT * FROM old.device", "the devices", true },
	{ "INSERT INTO invite SELECT * FROM old.invite", "the invites", false },
	{ "INSERT INTO share SELECT * FROM old.share", "the shares", true },
	{ "INSERT INTO access SELECT * FROM old.access", "the rights", true },
	{ "INSERT INTO snapshot SELECT * FROM old.snapshot", "the snapshots", true },
	{ "INSERT INTO note SELECT * FROM old.note", "the notes", false },
	{ "INSERT INTO share_node SELECT * FROM old.share_node", "the nodes of shares", false },
	{ "INSERT INTO share_chunk SELECT * FROM old.share_chunk", "the chunks of shares", false },
};

static enum err
open_whole(struct registry *r, const char *path, const struct device_id *authority, struct error *e)
{
	const struct db_opts opts = { .cache_kib = 8192, .mark_damage = true };
	enum err err = db_open(path, &opts, &r->db, e);

	if (err == OK)
		err = db_migrate(r->db, migrations, lengthof(migrations), e);
	if (err == OK)
		err = load_statements(r, authority, e);
	if (err == OK)
		err = load_devices(r, e);
	if (err == OK)
		err = load_shares(r, e);
	if (err == OK)
		err = load_access(r, e);
	if (err == OK)
		err = load_snapshots(r, e);
	if (err == OK)
		err = load_invites(r, e);
	return err == OK ? load_notes(r, e) : err;
}

enum err
registry_open(const char *path, const struct device_id *authority, struct registry **ret,
    bool *ret_first, struct error *e)
{
	struct registry *r = mem_new(struct registry);
	struct error why;
	enum err err = db_rescue_is_due(path)
			   ? fail(&why, ERR_CORRUPT, "database server.db is damaged")
			   : open_whole(r, path, authority, &why);

	if (err == ERR_CORRUPT) {
		log_warn("%s; it is made anew", why.text);
		registry_close(r);
		r = mem_new(struct registry);
		err = db_rescue(
		    path, migrations, lengthof(migrations), copies, lengthof(copies), &why);
		if (err == ERR_CORRUPT)
			error_wrap(&why, err, "server.db is damaged: restore a backup");
		if (err == OK)
			err = open_whole(r, path, authority, &why);
		if (err == OK)
			err = registry_store_rescued(r->db, true, &why);
		r->rescued = true;
	}
	if (err != OK) {
		registry_close(r);
		if (e != NULL)
			*e = why;
		return err;
	}
	*ret_first = authority_statement(r->authority).len == 0;
	*ret = r;
	return OK;
}
