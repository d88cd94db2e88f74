#include "server/test_server_world.h"

enum { FILES = 60 };

static const char SQL_NODES[] = "SELECT count(*) FROM share_node WHERE share = ?";
static const char SQL_CHUNKS[] = "SELECT count(*) FROM share_chunk WHERE share = ?";

struct fixture {
	struct world w;
	struct check_dir dir;
	struct registry_share *photos;
};

static int
set_up(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	world_make(&f->w, &f->dir);
	f->photos = world_make_share(&f->w, "photos", f->w.anna);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	world_remove(&f->w, &f->dir);
	free(f);
	return 0;
}

static struct registry_snapshot *
publish(struct fixture *f, uint64_t first, bool announced)
{
	struct registry_snapshot *sn = NULL;

	assert_ok(world_snapshot(
	    &f->w, f->photos, f->w.anna, first, FILES, WORLD_CHUNK, announced, &sn, &unit_error));
	return sn;
}

static void
collect(struct fixture *f)
{
	server_gc_want(&f->w.server);
	world_run(&f->w);
	assert_false(f->w.server.gc_due || f->w.server.gc_running);
}

static void
reopen(struct fixture *f)
{
	world_reopen(&f->w);
	f->photos = world_share_named(&f->w, "photos");
}

static size_t
held(struct fixture *f, uint64_t first)
{
	size_t n = 0;

	for (uint64_t i = first; i < first + FILES; i++) {
		struct hash_id id = world_chunk_id(i, WORLD_CHUNK);
		n += chunk_store_has(f->w.server.store, &id);
	}
	return n;
}

static uint64_t
packed(struct fixture *f)
{
	struct chunk_store_stats stats;

	assert_ok(chunk_store_stats(f->w.server.store, &stats, &unit_error));
	return stats.pack_bytes;
}

static bool
has_row(struct fixture *f, uint64_t n)
{
	struct hash_id id = world_chunk_id(n, WORLD_CHUNK);

	return registry_share_has_chunk(f->w.server.registry->db, f->photos->num, &id);
}

static void
what_is_removed_goes_with_its_rows_and_what_is_kept_stays(void **state)
{
	struct fixture *f = *state;
	struct registry_snapshot *old = publish(f, 0, false);

	publish(f, FILES / 2, false); /* half of it is the same */
	uint64_t before = packed(f);
	assert_ok(world_rm(&f->w, f->photos, old, &unit_error));
	collect(f);
	assert_int_equal(held(f, 0), FILES / 2);
	assert_int_equal(held(f, FILES / 2), FILES);
	assert_int_equal(world_count(&f->w, SQL_CHUNKS, f->photos->num), FILES);
	/* commit, tree, causal tree */
	assert_int_equal(world_count(&f->w, SQL_NODES, f->photos->num), 3);
	assert_true(packed(f) < before);
	assert_int_equal(f->photos->stale, 0);
	assert_true(f->w.server.registry->collected_ms > 0);
	reopen(f);
	assert_int_equal(f->photos->stale, 0);
	assert_true(f->w.server.registry->collected_ms > 0);
}

static void
a_removal_is_collected_after_a_crash_too(void **state)
{
	struct fixture *f = *state;
	struct registry_snapshot *old = publish(f, 0, false);

	publish(f, FILES, false);
	collect(f);
	assert_false(server_gc_is_late(&f->w.server));
	assert_ok(world_rm(&f->w, f->photos, old, &unit_error));
	reopen(f); /* died before the collection */
	assert_true(server_gc_is_late(&f->w.server));
	assert_int_equal(f->photos->stale, 1);
	collect(f);
	assert_int_equal(held(f, 0), 0);
	assert_false(has_row(f, 0));
	assert_int_equal(held(f, FILES), FILES);
	assert_true(has_row(f, FILES));
	reopen(f);
	assert_false(server_gc_is_late(&f->w.server));
}

static void
what_has_arrived_of_an_announced_snapshot_is_not_collected(void **state)
{
	struct fixture *f = *state;
	struct registry_snapshot *old = publish(f, 0, false);

	publish(f, FILES, false);
	publish(f, 2 * FILES, true);
	for (uint64_t i = 2 * FILES; i < 2 * FILES + 10; i++) { /* as the sink does */
		struct hash_id id = world_chunk_id(i, WORLD_CHUNK);
		assert_ok(world_put_chunk(&f->w, i, WORLD_CHUNK, &unit_error));
		assert_ok(chunk_store_commit(f->w.server.store, &unit_error));
		assert_ok(registry_store_share_chunk(
		    f->w.server.registry->db, f->photos->num, &id, &unit_error));
	}
	assert_ok(world_rm(&f->w, f->photos, old, &unit_error)); /* so that rows are fitted, too */
	collect(f);
	assert_int_equal(held(f, 2 * FILES), 10);
	assert_true(has_row(f, 2 * FILES));
	assert_false(has_row(f, 2 * FILES + 10)); /* and none is given for what did not come */
	assert_int_equal(held(f, 0), 0);
}

static void
an_announced_manifest_that_is_not_whole_stops_nothing_and_hides_nothing(void **state)
{
	struct fixture *f = *state;
	struct registry_snapshot half = { .state = SNAPSHOT_ANNOUNCED, .unit_size = UNIT_MIN };

	publish(f, 0, false);
	hash_object(HASH_DEFAULT, HASH_COMMIT, BYTES_LIT("not here"), &half.id);
	half.content = half.id;
	assert_ok(
	    registry_store_snapshot(f->w.server.registry->db, f->photos->num, &half, &unit_error));
	registry_add_snapshot(f->photos, &half);
	collect(f);
	assert_int_equal(held(f, 0), FILES);
	assert_true(f->w.server.registry->collected_ms > 0);
}

static void
a_kept_manifest_that_is_damaged_lets_nothing_be_swept(void **state)
{
	struct fixture *f = *state;
	struct registry_snapshot *old = publish(f, 0, false);
	struct registry_snapshot lost = { .state = SNAPSHOT_HEAD, .number = 9 };

	publish(f, FILES, false);
	hash_object(HASH_DEFAULT, HASH_COMMIT, BYTES_LIT("lost"), &lost.id);
	registry_add_snapshot(f->photos, &lost);
	assert_ok(world_rm(&f->w, f->photos, old, &unit_error));
	collect(f);
	assert_int_equal(held(f, 0), FILES);
	assert_true(has_row(f, 0));
	assert_int_equal(f->photos->stale, 1); /* for the next time */
	/* It waits for whoever has it; nobody is connected. */
	assert_int_equal(f->w.server.intakes.len, 1);
	server_intake_close_all(&f->w.server);
	world_run(&f->w);
}

static void
maps_of_what_is_gone_are_removed(void **state)
{
	struct fixture *f = *state;
	struct registry_snapshot *old = publish(f, 0, false);
	struct fs_list names = { 0 };

	publish(f, FILES, false);
	collect(f); /* makes a map of each */
	assert_ok(fs_list_dir(f->w.server.maps_dir, &names, &unit_error));
	assert_int_equal(names.n, 4);
	fs_list_clear(&names);
	assert_ok(world_rm(&f->w, f->photos, old, &unit_error));
	collect(f);
	assert_ok(fs_list_dir(f->w.server.maps_dir, &names, &unit_error));
	assert_int_equal(names.n, 2);
	fs_list_clear(&names);
}

static void
withdrawn_snapshots_are_forgotten_when_they_are_old_or_many(void **state)
{
	struct fixture *f = *state;
	int64_t now = server_now_ms();

	for (int i = 0; i < SERVER_WITHDRAWN_MAX + 10; i++) {
		bool is_old = i % 10 == 0;
		struct registry_snapshot sn = {
			.state = SNAPSHOT_WITHDRAWN,
			.unit_size = UNIT_MIN,
			.announced_ms = now - (is_old ? 8 * 24 * 3600 * 1000LL : 0),
		};
		hash_object(HASH_DEFAULT, HASH_COMMIT, BYTES_OF(i), &sn.id);
		sn.content = sn.id;
		assert_ok(registry_store_snapshot(
		    f->w.server.registry->db, f->photos->num, &sn, &unit_error));
		registry_add_snapshot(f->photos, &sn);
	}
	collect(f);
	assert_in_range(f->photos->snapshots.len, SERVER_WITHDRAWN_MAX - 10, SERVER_WITHDRAWN_MAX);
	size_t left = f->photos->snapshots.len;
	reopen(f);
	assert_int_equal(f->photos->snapshots.len, left);
}

static void
expired_invites_are_forgotten(void **state)
{
	struct fixture *f = *state;
	struct registry *r = f->w.server.registry;
	const int64_t expires[] = { 1, 0, server_now_s() + 1000 };

	for (size_t i = 0; i < lengthof(expires); i++) {
		struct registry_invite in = {
			.id = { (uint8_t)i }, .uses = 1, .expires_s = expires[i]
		};
		assert_ok(registry_store_invite(r->db, &in, &unit_error));
		registry_add_invite(r, &in);
	}
	collect(f);
	assert_int_equal(r->invites.len, 2);
	reopen(f);
	assert_int_equal(f->w.server.registry->invites.len, 2);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(what_is_removed_goes_with_its_rows_and_what_is_kept_stays),
		T(a_removal_is_collected_after_a_crash_too),
		T(what_has_arrived_of_an_announced_snapshot_is_not_collected),
		T(an_announced_manifest_that_is_not_whole_stops_nothing_and_hides_nothing),
		T(a_kept_manifest_that_is_damaged_lets_nothing_be_swept),
		T(maps_of_what_is_gone_are_removed),
		T(withdrawn_snapshots_are_forgotten_when_they_are_old_or_many),
		T(expired_invites_are_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
