/*
 * After server.db was made anew: what of the store belongs to which share, as the manifests say it.
 * A snapshot whose manifest is damaged as well is repaired when it is asked for.
 */
#include "base/log.h"
#include "engine/mark.h"
#include "server/server_internal.h"

enum { RESCUE_BATCH = 4096 };

struct rescue {
	struct server *server;
	int64_t share;
	unsigned rows;
};

static enum err
row_added(struct rescue *x, struct error *e)
{
	struct db *db = x->server->registry->db;

	if (++x->rows % RESCUE_BATCH != 0)
		return OK;
	enum err r = db_commit(db, e);
	return r == OK ? db_begin(db, e) : r;
}

static enum err
on_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	struct rescue *x = ctx;
	enum err r = registry_store_share_node(x->server->registry->db, x->share, id, e);

	(void)kind;
	return r == OK ? row_added(x, e) : r;
}

static enum err
add_chunks(struct rescue *x, const struct hash_id *content, struct error *e)
{
	struct server *s = x->server;
	auto_(snapshot_map_free_p) struct snapshot_map *map = NULL;
	enum err r =
	    snapshot_map_open(s->maps_dir, server_source_nodes(s), content, 0, NULL, &map, e);

	for (uint64_t i = 0; r == OK && i < snapshot_map_chunks(map); i++) {
		r = registry_store_share_chunk(
		    s->registry->db, x->share, &snapshot_map_chunk(map, i)->id, e);
		if (r == OK)
			r = row_added(x, e);
	}
	return r;
}

static void
add_share(struct rescue *x, struct registry_share *sh)
{
	struct mark mark = { .nodes = x->server->store, .on_node = on_node, .ctx = x };
	struct error e;

	x->share = sh->num;
	array_each (sn, &sh->snapshots) {
		if ((*sn)->state != SNAPSHOT_HEAD)
			continue;
		enum err r = mark_snapshot(&mark, &(*sn)->id, NULL, &e);
		if (r == OK)
			r = add_chunks(x, &(*sn)->content, &e);
		if (r != OK)
			log_error("%s: %s", sh->name, e.text);
	}
	mark_clear(&mark);
}

enum err
server_rescue(struct server *s, struct error *e)
{
	struct rescue x = { .server = s };
	enum err r = db_begin(s->registry->db, e);

	if (r != OK)
		return r;
	map_each (slot, &s->registry->shares)
		add_share(&x, slot->ptr);
	r = registry_store_rescued(s->registry->db, false, e);
	if (r == OK)
		return db_commit(s->registry->db, e);
	db_rollback(s->registry->db);
	return r;
}
