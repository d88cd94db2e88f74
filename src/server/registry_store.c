/* The registry's changes, as rows: what is written of members, invites, rights and snapshots. */
#include "server/registry.h"

static const char SQL_STATEMENT_PUT[] =
    "INSERT OR IGNORE INTO statement(id, kind, bytes) VALUES(?, ?, ?)";
static const char SQL_STATEMENTS_VOID[] = "DELETE FROM statement WHERE kind IN (3, 4, 5, 6)";
static const char SQL_ACCESS_MOVE[] = "UPDATE OR REPLACE access SET device = ?2 WHERE device = ?1";
static const char SQL_AUTHOR_MOVE[] = "UPDATE snapshot SET author = ?2 WHERE author = ?1";
static const char SQL_DEVICE_PUT[] =
    "INSERT OR REPLACE INTO device VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
static const char SQL_STATEMENT_DEL[] = "DELETE FROM statement WHERE id = ? AND kind = 3";
static const char SQL_SUBNET_PUT[] = "INSERT OR REPLACE INTO subnet VALUES(?, ?)";
static const char SQL_SUBNET_DEL[] = "DELETE FROM subnet WHERE net = ?";
static const char SQL_INVITE_PUT[] = "INSERT OR REPLACE INTO invite VALUES(?, ?, ?, ?, ?, ?, ?)";
static const char SQL_INVITE_DEL[] = "DELETE FROM invite WHERE id = ?";
static const char SQL_SNAPSHOT_HEAD_DEL[] =
    "DELETE FROM statement WHERE id = (SELECT head FROM snapshot WHERE id = ?)";
/* What belongs to a share is only stored while there is one: changes wait in a queue, and one
 * before may be its end. */
static const char SQL_ACCESS_PUT[] =
    "INSERT OR REPLACE INTO access SELECT num, ?2, ?3 FROM share WHERE num = ?1";
static const char SQL_ACCESS_DEL[] = "DELETE FROM access WHERE share = ? AND device = ?";
static const char SQL_ACCESS_END[] = "DELETE FROM access WHERE device = ?";
static const char SQL_SNAPSHOT_PUT[] = "INSERT OR REPLACE INTO snapshot SELECT ?1, num, ?3, ?4, "
				       "?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16"
				       " FROM share WHERE num = ?2";
static const char SQL_SNAPSHOT_SET[] =
    "UPDATE snapshot SET number = ?2, state = ?3, head = ?4, head_ms = ?5, why = ?6 WHERE id = ?1";
static const char SQL_SNAPSHOT_DEL[] = "DELETE FROM snapshot WHERE id = ?";
static const char SQL_LINE_PUT[] = "INSERT OR REPLACE INTO line VALUES(?, ?)";
static const char SQL_LINE_DEL[] = "DELETE FROM line WHERE site = ?";
static const char SQL_LINES[] = "SELECT site, setting FROM line ORDER BY site";
static const char SQL_COLLECTED_PUT[] = "INSERT OR REPLACE INTO note VALUES('collected', ?)";
static const char SQL_RESCUED_PUT[] = "INSERT OR REPLACE INTO note VALUES('rescued', ?)";

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
	return db_run(db, SQL_DEVICE_PUT, e, "bssssiiiss", BYTES_OF(d->id), d->name, d->site,
	    d->address, d->software, d->joined_ms, d->seen_ms, (int64_t)d->ended, d->assigned,
	    d->said);
}

enum err
registry_store_subnet(struct db *db, const struct registry_subnet *net, struct error *e)
{
	char text[SUBNET_TEXT];

	subnet_format(&net->net, text);
	return net->site[0] == 0 ? db_run(db, SQL_SUBNET_DEL, e, "s", text)
				 : db_run(db, SQL_SUBNET_PUT, e, "ss", text, net->site);
}

enum err
registry_store_statement_drop(struct db *db, const struct hash_id *id, struct error *e)
{
	return db_run(db, SQL_STATEMENT_DEL, e, "b", hash_id_bytes(id));
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
registry_store_line(struct db *db, const char *site, struct bytes setting, struct error *e)
{
	return setting.len > 0 ? db_run(db, SQL_LINE_PUT, e, "sb", site, setting)
			       : db_run(db, SQL_LINE_DEL, e, "s", site);
}

enum err
registry_lines(struct registry *r,
    enum err (*on_line)(void *ctx, const char *site, struct bytes setting, struct error *e),
    void *ctx, struct error *e)
{
	auto_row struct db_row *row = NULL;
	enum err err = db_query(r->db, SQL_LINES, &row, e, "");

	while (err == OK && (err = db_row_next(row, e)) == OK)
		err = on_line(ctx, db_row_text(row, 0), db_row_bytes(row, 1), e);
	return err == ERR_NOTFOUND ? OK : err;
}
