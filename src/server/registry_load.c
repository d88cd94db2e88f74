/*
 * The registry's database: its tables, and what is read of them, above all once, at the start.
 * Statements are kept as received; a snapshot's commit is a node of the store; access and devices
 * are plain rows, from which grants are made when they are asked for.
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

	"CREATE TABLE line(site TEXT PRIMARY KEY, setting BLOB NOT NULL) WITHOUT ROWID;",

	"ALTER TABLE device ADD COLUMN assigned TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE device ADD COLUMN said TEXT NOT NULL DEFAULT '';"
	"UPDATE device SET said = site;"
	"CREATE TABLE subnet(net TEXT PRIMARY KEY, site TEXT NOT NULL) WITHOUT ROWID;",
};

static const char SQL_STATEMENT_GET[] = "SELECT bytes FROM statement WHERE id = ?";
static const char SQL_ROOT[] = "SELECT bytes FROM statement WHERE kind = 1";
static const char SQL_SUCCESSORS[] = "SELECT bytes FROM statement WHERE kind = 7";
static const char SQL_STATEMENTS[] =
    "SELECT bytes FROM statement WHERE kind NOT IN (1, 7) ORDER BY kind";
static const char SQL_DEVICES[] =
    "SELECT id, name, site, address, software, joined_ms, seen_ms, ended, assigned, "
    "said FROM device";
static const char SQL_SUBNETS[] = "SELECT net, site FROM subnet";
static const char SQL_INVITES[] =
    "SELECT id, secret, site, grp, uses, expires_s, grants FROM invite";
static const char SQL_SHARES[] = "SELECT num, statement, stale, policy FROM share";
static const char SQL_ACCESSES[] = "SELECT share, device, rights FROM access";
static const char SQL_SNAPSHOTS[] =
    "SELECT id, share, number, state, content, head, entries, bytes, chunks, chunk_bytes, "
    "announced_ms, head_ms,"
    " unit_size, author, label, why FROM snapshot ORDER BY announced_ms, number";
static const char SQL_CONTENT_OF[] = "SELECT n.content, n.unit_size FROM snapshot n JOIN share s "
				     "ON s.num = n.share WHERE n.id = ? AND s.id = ?";
static const char SQL_RESCUED[] = "SELECT value FROM note WHERE name = 'rescued'";
static const char SQL_COLLECTED[] = "SELECT value FROM note WHERE name = 'collected'";

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

/* -- all, at the start -- */

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
		snprintf(d.assigned, sizeof d.assigned, "%s", db_row_text(row, 8));
		snprintf(d.said, sizeof d.said, "%s", db_row_text(row, 9));
		registry_add_device(r, &d);
	}
	return err == ERR_NOTFOUND ? OK : err;
}

static enum err
load_subnets(struct registry *r, struct error *e)
{
	auto_row struct db_row *row = NULL;
	enum err err = db_query(r->db, SQL_SUBNETS, &row, e, "");

	while (err == OK && (err = db_row_next(row, e)) == OK) {
		struct registry_subnet net = { 0 };
		snprintf(net.site, sizeof net.site, "%s", db_row_text(row, 1));
		if (subnet_parse(db_row_text(row, 0), &net.net, NULL) != OK ||
		    !statement_name_ok(net.site))
			return bad_row("subnet", e);
		registry_set_subnet(r, &net);
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
	{ "INSERT INTO subnet SELECT * FROM old.subnet", "the subnets of sites", false },
	{ "INSERT INTO invite SELECT * FROM old.invite", "the invites", false },
	{ "INSERT INTO share SELECT * FROM old.share", "the shares", true },
	{ "INSERT INTO access SELECT * FROM old.access", "the rights", true },
	{ "INSERT INTO snapshot SELECT * FROM old.snapshot", "the snapshots", true },
	{ "INSERT INTO line SELECT * FROM old.line", "the limits of lines", false },
	{ "INSERT INTO note SELECT * FROM old.note", "the notes", false },
	{ "INSERT INTO share_node SELECT * FROM old.share_node", "the nodes of shares", false },
	{ "INSERT INTO share_chunk SELECT * FROM old.share_chunk", "the chunks of shares", false },
};

/* That it can be read; the owner asks for it later. */
static enum err
see_line(void *ctx, const char *site, struct bytes setting, struct error *e)
{
	(void)ctx;
	(void)site;
	(void)setting;
	(void)e;
	return OK;
}

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
		err = load_subnets(r, e);
	if (err == OK)
		err = load_shares(r, e);
	if (err == OK)
		err = load_access(r, e);
	if (err == OK)
		err = load_snapshots(r, e);
	if (err == OK)
		err = load_invites(r, e);
	if (err == OK)
		err = registry_lines(r, see_line, NULL, e);
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
