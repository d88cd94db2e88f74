/*
 * Publishing, removing and collecting with each call to the file system and the database failing
 * once, and dying there: what is kept is whole, with its rows, and the next start goes on.
 */
#include "server/test_server_world.h"

#include "engine/mark.h"

static enum err
every_kept_chunk_is_there(struct world *w, struct registry_share *sh, struct error *e)
{
	auto_free uint8_t *room = mem_alloc(CHUNK_MAX);
	struct mark m = { .nodes = w->server.store };
	uint32_t len;
	enum err r = OK;

	array_each (sn, &sh->snapshots) {
		struct snapshot_map *map = NULL;
		world_step(r, mark_snapshot(&m, &(*sn)->id, NULL, e));
		world_step(r, snapshot_map_open(w->server.maps_dir, server_source_nodes(&w->server),
				  &(*sn)->content, 0, NULL, &map, e));
		for (uint64_t i = 0; r == OK && i < snapshot_map_chunks(map); i++) {
			const struct hash_id *id = &snapshot_map_chunk(map, i)->id;
			world_step(
			    r, chunk_store_get_chunk(w->server.store, id, room, &len, NULL, e));
			if (r == OK &&
			    !registry_share_has_chunk(w->server.registry->db, sh->num, id))
				r = fail(e, ERR_BUG, "a kept chunk has no row");
		}
		snapshot_map_free(map);
	}
	mark_clear(&m);
	return r;
}

/* Publishes, removes, collects; there again it goes on from what it finds, which must be whole. */
static enum err
publish_remove_collect(int dir)
{
	struct world w;
	struct error e = { 0 };
	struct registry_share *sh = NULL;
	struct registry_snapshot *sn = NULL;
	enum err r = world_open(&w, dir, &e);

	if (r == OK)
		sh = registry_share_named(w.server.registry, BYTES_LIT("photos"));
	if (r == OK && sh != NULL)
		r = every_kept_chunk_is_there(&w, sh, &e);
	if (r == OK && sh == NULL)
		r = world_share(&w, "photos", w.anna, &sh, &e);
	for (uint64_t i = 0; r == OK && i < 2; i++)
		r = world_snapshot(
		    &w, sh, w.anna, sh->snapshots.len * 5, 8, WORLD_CHUNK, false, &sn, &e);
	while (r == OK && sh->snapshots.len > 1)
		r = world_rm(&w, sh, sh->snapshots.at[0], &e);
	if (r == OK) {
		server_gc_want(&w.server);
		world_run(&w);
		r = every_kept_chunk_is_there(&w, sh, &e);
	}
	world_close(&w);
	return r;
}

static void
a_failure_anywhere_loses_nothing_that_is_kept(void **state)
{
	(void)state;
	world_each_fault(publish_remove_collect);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failure_anywhere_loses_nothing_that_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
