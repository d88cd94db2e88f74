/* What a server said about snapshots beyond what their commits say. */
#include "engine/state_private.h"
#include "manifest/unit_map.h"

enum err
state_snapshot_put(struct state *s, const struct hash_id *snapshot,
    const struct state_snapshot *info, struct error *e)
{
	static const char SQL_PUT[] =
	    "INSERT INTO snapshot(id, unit_size, number) VALUES(?1, ?2, ?3)"
	    " ON CONFLICT(id) DO UPDATE SET unit_size = ?2, number = max(number, ?3)";

	return db_run(s->db, SQL_PUT, e, "bii", hash_id_bytes(snapshot), (int64_t)info->unit_size,
	    (int64_t)info->number);
}

enum err
state_snapshot_get(
    struct state *s, const struct hash_id *snapshot, struct state_snapshot *ret, struct error *e)
{
	static const char SQL_GET[] = "SELECT unit_size, number FROM snapshot WHERE id = ?";
	auto_row struct db_row *row = NULL;
	enum err r = db_query(s->db, SQL_GET, &row, e, "b", hash_id_bytes(snapshot));

	if (r == OK)
		r = state_one_row(row, "this snapshot", e);
	if (r != OK)
		return r;
	int64_t unit_size = db_row_int(row, 0);
	if (unit_size < UNIT_MIN || unit_size > UNIT_MAX || (unit_size & (unit_size - 1)) != 0)
		return fail(e, ERR_CORRUPT, "state: units of %lld bytes", (long long)unit_size);
	*ret = (struct state_snapshot){ .unit_size = (uint32_t)unit_size,
		.number = (uint64_t)db_row_int(row, 1) };
	return OK;
}

enum err
state_snapshot_prune(struct state *s, struct error *e)
{
	static const char SQL_PRUNE[] =
	    "DELETE FROM snapshot WHERE id NOT IN"
	    " (SELECT snapshot FROM root WHERE snapshot IS NOT NULL"
	    " UNION SELECT snapshot FROM job WHERE snapshot IS NOT NULL)";

	return db_run(s->db, SQL_PRUNE, e, NULL);
}
