/* Others who took part in swarms: a cache of what the server said, bounded. */
#include <stdio.h>

#include "base/text.h"
#include "engine/state_private.h"

static enum err
drop_oldest(struct state *s, struct error *e)
{
	static const char SQL_DROP[] =
	    "DELETE FROM member WHERE device IN (SELECT device FROM member "
	    "ORDER BY seen_ns DESC LIMIT -1 OFFSET ?)";
	static const char SQL_DROP_SHARES[] =
	    "DELETE FROM member_share WHERE device NOT IN (SELECT device FROM member)";
	enum err r = db_run(s->db, SQL_DROP, e, "i", (int64_t)STATE_MEMBERS_MAX);

	if (r != OK || db_changes(s->db) == 0)
		return r;
	return db_run(s->db, SQL_DROP_SHARES, e, NULL);
}

enum err
state_member_put(
    struct state *s, const struct state_member *m, const struct hash_id *share, struct error *e)
{
	static const char SQL_PUT[] =
	    "INSERT INTO member(device, name, site, addresses, seen_ns) VALUES(?1, ?2, ?3, ?4, ?5)"
	    " ON CONFLICT(device) DO UPDATE SET name = ?2, site = ?3, addresses = ?4, seen_ns = ?5";
	static const char SQL_SHARE[] =
	    "INSERT INTO member_share(device, share) VALUES(?, ?) ON CONFLICT DO NOTHING";
	struct bytes device = BYTES_OF(m->device);
	enum err r =
	    db_run(s->db, SQL_PUT, e, "bsssi", device, m->name, m->site, m->addresses, m->seen_ns);

	if (r == OK)
		r = db_run(s->db, SQL_SHARE, e, "bb", device, hash_id_bytes(share));
	return r == OK ? drop_oldest(s, e) : r;
}

enum err
state_member_del(struct state *s, const struct device_id *device, struct error *e)
{
	static const char SQL_DEL[] = "DELETE FROM member WHERE device = ?";
	static const char SQL_DEL_SHARES[] = "DELETE FROM member_share WHERE device = ?";
	enum err r = db_run(s->db, SQL_DEL, e, "b", BYTES(device->bytes, DEVICE_ID_BYTES));

	return r == OK
		   ? db_run(s->db, SQL_DEL_SHARES, e, "b", BYTES(device->bytes, DEVICE_ID_BYTES))
		   : r;
}

struct each_member {
	enum err (*on_member)(
	    void *ctx, const struct state_member *m, const struct hash_id *share, struct error *e);
	void *ctx;
};

static enum err
on_row(void *ctx, struct db_row *row, struct error *e)
{
	const struct each_member *each = ctx;
	struct state_member m = { .seen_ns = db_row_int(row, 4) };
	struct bytes device = db_row_bytes(row, 0);
	struct hash_id share;
	enum err r = state_hash_column(row, 5, &share, e);

	if (r == OK && device.len != DEVICE_ID_BYTES)
		r = fail(e, ERR_CORRUPT, "state: a member's id has %zu bytes", device.len);
	if (r != OK)
		return r;
	memcpy(m.device.bytes, device.at, DEVICE_ID_BYTES);
	snprintf(m.name, sizeof m.name, "%s", db_row_text(row, 1));
	snprintf(m.site, sizeof m.site, "%s", db_row_text(row, 2));
	snprintf(m.addresses, sizeof m.addresses, "%s", db_row_text(row, 3));
	return each->on_member(each->ctx, &m, &share, e);
}

enum err
state_members(struct state *s,
    enum err (*on_member)(
	void *ctx, const struct state_member *m, const struct hash_id *share, struct error *e),
    void *ctx, struct error *e)
{
	static const char SQL_ALL[] =
	    "SELECT m.device, m.name, m.site, m.addresses, m.seen_ns, s.share FROM member m "
	    "JOIN member_share s ON s.device = m.device ORDER BY m.seen_ns";
	struct each_member each = { on_member, ctx };
	auto_row struct db_row *row = NULL;
	enum err r = db_query(s->db, SQL_ALL, &row, e, NULL);

	return r == OK ? state_each_row(row, on_row, &each, e) : r;
}
