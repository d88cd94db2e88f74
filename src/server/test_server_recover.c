#include "server/test_server_world.h"

/* A member as it is before the recovery: all it knows are statements, by the key that it trusts. */
struct member {
	struct authority *authority;
	struct device_id first;
};

static void
show(void *ctx, struct bytes b, const struct statement *st)
{
	struct member *m = ctx;
	(void)st;

	(void)!authority_accept(m->authority, b, NULL, NULL);
}

static void
meet(struct member *m, struct world *w)
{
	authority_each(w->server.registry->authority, 0, show, m);
}

struct fixture {
	struct world w;
	struct check_dir dir;
	struct registry_share *photos;
	struct member anna;
	struct hash_id commits[3];
	char recovery[100];
};

static enum err
publish(struct world *w, struct registry_share *sh, uint64_t first, struct registry_snapshot **ret,
    struct error *e)
{
	auto_buf struct buf b = BUF(STATEMENT_MAX);
	enum err r = world_snapshot(w, sh, w->anna, first, 2, WORLD_CHUNK, false, ret, e);
	if (r != OK)
		return r;
	struct statement st = { .kind = STATEMENT_HEAD,
		.share = sh->id,
		.number = (*ret)->number,
		.commit = (*ret)->id };

	if (st.number > 1)
		st.previous = sh->snapshots.at[sh->snapshots.len - 2]->head_statement;
	r = server_sign(&w->server, &st, &b, e);
	world_step(r, registry_store_statement(w->server.registry->db, buf_bytes(&b), &st, e));
	(*ret)->head_statement = st.id;
	world_step(r, registry_store_snapshot_set(w->server.registry->db, *ret, e));
	return r;
}

static enum err
add_member(struct world *w, const struct device_key *key, const char *name, struct error *e)
{
	auto_buf struct buf b = BUF(STATEMENT_MAX);
	struct statement st = { .kind = STATEMENT_MEMBER, .device = *device_key_id(key) };

	snprintf(st.name, sizeof st.name, "%s", name);
	enum err r = server_sign(&w->server, &st, &b, e);
	world_step(r, registry_store_statement(w->server.registry->db, buf_bytes(&b), &st, e));
	world_step(r, world_device(w, key, name, e));
	return r;
}

/* It began as central, and has become hybrid. */
static enum err
set_policy(struct world *w, const struct registry_share *sh, struct error *e)
{
	auto_buf struct buf b = BUF(STATEMENT_MAX);
	struct statement st = {
		.kind = STATEMENT_POLICY, .share = sh->id, .policy = POLICY_HYBRID
	};
	enum err r = server_sign(&w->server, &st, &b, e);

	world_step(r, registry_store_policy(w->server.registry->db, sh->num, buf_bytes(&b), e));
	return r;
}

/* The server, anna and bert are members; photos of anna has three snapshots. */
static enum err
populate(struct world *w, struct registry_share **ret, struct error *e)
{
	struct registry_snapshot *sn;
	enum err r = add_member(w, w->home.key, "spine", e);

	world_step(r, add_member(w, w->anna, "anna", e));
	world_step(r, add_member(w, w->bert, "bert", e));
	world_step(r, world_share(w, "photos", w->anna, ret, e));
	world_step(r, set_policy(w, *ret, e));
	for (uint64_t i = 0; i < 3; i++)
		world_step(r, publish(w, *ret, i * 10, &sn, e));
	return r;
}

static int
set_up(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	f->dir = check_dir_make_fast();
	snprintf(f->recovery, sizeof f->recovery, "%s/recovery.key", f->dir.path);
	assert_ok(world_open(&f->w, f->dir.fd, &unit_error));
	assert_ok(populate(&f->w, &f->photos, &unit_error));
	for (size_t i = 0; i < 3; i++)
		f->commits[i] = f->photos->snapshots.at[i]->id;
	f->anna.first = *device_key_id(f->w.home.key);
	f->anna.authority = authority_new(&f->anna.first);
	meet(&f->anna, &f->w);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	authority_free(f->anna.authority);
	world_remove(&f->w, &f->dir);
	free(f);
	return 0;
}

static void
recover(struct fixture *f)
{
	world_close(&f->w);
	assert_ok(server_recover(f->dir.path, f->recovery, &unit_error));
	assert_ok(world_open(&f->w, f->dir.fd, &unit_error));
	f->photos = world_share_named(&f->w, "photos");
}

static void
assert_member_goes_on(struct fixture *f)
{
	const struct authority *a = f->anna.authority;
	struct device_id now = device_id_of(authority_key(a));
	struct statement head;

	assert_true(device_id_equal(&now, device_key_id(f->w.home.key)));
	assert_ok(authority_check_member(a, device_key_id(f->w.anna), server_now_s(), &unit_error));
	assert_ok(
	    authority_check_member(a, device_key_id(f->w.home.key), server_now_s(), &unit_error));
	assert_true(authority_share(a, &f->photos->id).len > 0);
	assert_int_equal(authority_policy(a, &f->photos->id), POLICY_HYBRID);
	assert_true(authority_head(a, &f->photos->id, &head));
	assert_int_equal(head.number, 3);
	assert_true(hash_id_equal(&head.commit, &f->commits[2]));
}

static void
a_member_that_knows_the_old_key_follows_and_has_all_it_had(void **state)
{
	struct fixture *f = *state;
	struct device_id old = f->anna.first;

	recover(f);
	assert_false(device_id_equal(&old, device_key_id(f->w.home.key)));
	meet(&f->anna, &f->w);
	assert_member_goes_on(f);
	/* The old key's word is void from now on. */
	assert_err(ERR_DENIED,
	    authority_check_member(f->anna.authority, &old, server_now_s(), &unit_error));
}

static void
what_the_server_knows_stays(void **state)
{
	struct fixture *f = *state;
	auto_buf struct buf b = BUF(STATEMENT_MAX);
	struct statement st;

	recover(f);
	struct registry *r = f->w.server.registry;
	assert_int_equal(f->photos->snapshots.len, 3);
	for (size_t i = 0; i < 3; i++) {
		struct registry_snapshot *sn = f->photos->snapshots.at[i];
		assert_true(hash_id_equal(&sn->id, &f->commits[i]));
		buf_reset(&b);
		assert_ok(
		    registry_store_statement_get(r->db, &sn->head_statement, &b, &unit_error));
		assert_ok(statement_decode(buf_bytes(&b), &st, &unit_error));
		assert_true(device_id_equal(&st.authority, device_key_id(f->w.home.key)));
		assert_int_equal(st.number, i + 1);
		if (i > 0)
			assert_true(hash_id_equal(
			    &st.previous, &f->photos->snapshots.at[i - 1]->head_statement));
	}
	assert_int_equal(
	    rules_rights(r, f->photos, device_key_id(f->w.anna)), RIGHT_READ | RIGHT_WRITE);
	assert_int_equal(rules_rights(r, f->photos, device_key_id(f->w.bert)), 0);
}

static void
the_servers_own_device_inherits_what_it_had(void **state)
{
	struct fixture *f = *state;
	struct registry_share *own = NULL;
	struct registry_snapshot *sn;

	assert_ok(world_share(&f->w, "own", f->w.home.key, &own, &unit_error));
	assert_ok(
	    world_snapshot(&f->w, own, f->w.home.key, 50, 1, WORLD_CHUNK, true, &sn, &unit_error));
	recover(f);
	struct registry *r = f->w.server.registry;
	own = registry_share_named(r, BYTES_LIT("own"));
	assert_int_equal(
	    rules_rights(r, own, device_key_id(f->w.home.key)), RIGHT_READ | RIGHT_WRITE);
	assert_int_equal(rules_rights(r, own, &f->anna.first), 0);
	assert_true(device_id_equal(&own->snapshots.at[0]->author, device_key_id(f->w.home.key)));
	assert_string_equal(registry_device(r, device_key_id(f->w.home.key))->name, "spine");
	assert_null(registry_device(r, &f->anna.first));
}

static void
a_stolen_key_can_be_replaced_again_and_again(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++)
		recover(f);
	meet(&f->anna, &f->w);
	assert_member_goes_on(f);
}

static void
a_device_whose_membership_has_ended_is_not_signed_again(void **state)
{
	struct fixture *f = *state;
	struct registry_device bert =
	    *registry_device(f->w.server.registry, device_key_id(f->w.bert));

	bert.ended = true;
	assert_ok(registry_store_device(f->w.server.registry->db, &bert, &unit_error));
	recover(f);
	meet(&f->anna, &f->w);
	assert_err(ERR_DENIED, authority_check_member(f->anna.authority, device_key_id(f->w.bert),
				   server_now_s(), &unit_error));
}

static void
a_lost_key_is_no_hindrance(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(unlinkat(f->dir.fd, "device.key", 0), 0);
	recover(f);
	meet(&f->anna, &f->w);
	assert_member_goes_on(f);
}

static void
only_the_recovery_key_recovers_and_nothing_changes_without_it(void **state)
{
	struct fixture *f = *state;
	char other[100];

	world_close(&f->w);
	snprintf(other, sizeof other, "%s/anna.key", f->dir.path);
	assert_err(ERR_DENIED, server_recover(f->dir.path, other, &unit_error));
	check_says(unit_error.text, "recovery key");
	snprintf(other, sizeof other, "%s/absent", f->dir.path);
	assert_err(ERR_NOTFOUND, server_recover(f->dir.path, other, &unit_error));
	check_put(&f->dir, "garbage", "not a key", 9);
	snprintf(other, sizeof other, "%s/garbage", f->dir.path);
	assert_int_not_equal(server_recover(f->dir.path, other, &unit_error), OK);
	assert_err(ERR_NOTFOUND, server_recover("/tmp", f->recovery, &unit_error));
	assert_ok(world_open(&f->w, f->dir.fd, &unit_error));
	assert_true(device_id_equal(device_key_id(f->w.home.key), &f->anna.first));
}

static void
a_home_with_another_key_says_what_to_do(void **state)
{
	struct fixture *f = *state;
	auto_(device_key_free_p) struct device_key *key = NULL;
	struct registry *r = NULL;
	char path[100];
	bool first;

	world_close(&f->w);
	assert_ok(device_key_generate(&key, &unit_error));
	snprintf(path, sizeof path, "%s/server.db", f->dir.path);
	assert_err(ERR_DENIED, registry_open(path, device_key_id(key), &r, &first, &unit_error));
	check_says(unit_error.text, "--recover");
	assert_ok(world_open(&f->w, f->dir.fd, &unit_error));
}

/* -- whatever fails, and dying anywhere: done again it is done -- */

static enum err
recover_in(int dir)
{
	struct world w;
	struct error e = { 0 };
	struct registry_share *sh = NULL;
	char home[40], recovery[60];
	enum err r = OK;

	snprintf(home, sizeof home, "/proc/self/fd/%d", dir);
	snprintf(recovery, sizeof recovery, "%s/recovery.key", home);
	if (faccessat(dir, "populated", F_OK, 0) != 0) {
		static const char *const made[] = { "server.db", "server.db-wal", "server.db-shm",
			"store" };
		for (size_t i = 0; r == OK && i < lengthof(made); i++)
			r = fs_remove_tree(dir, (struct relpath){ made[i], strlen(made[i]) }, &e);
		if (r != OK)
			return r;
		r = world_open(&w, dir, &e);
		world_step(r, populate(&w, &sh, &e));
		world_close(&w);
		world_step(r, fs_write_file(dir, REL("populated"), BYTES_LIT("yes"), 0600, &e));
	}
	world_step(r, server_recover(home, recovery, &e));
	if (r != OK)
		return r;
	r = world_open(&w, dir, &e);
	if (r == OK &&
	    authority_member(w.server.registry->authority, device_key_id(w.home.key)).len == 0)
		r = fail(&e, ERR_BUG, "no member of itself");
	world_close(&w);
	return r;
}

static void
a_failure_anywhere_is_made_good_by_doing_it_again(void **state)
{
	(void)state;
	world_each_fault(recover_in);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    /* first: faults are looked up once */
		    a_failure_anywhere_is_made_good_by_doing_it_again),
		T(a_member_that_knows_the_old_key_follows_and_has_all_it_had),
		T(what_the_server_knows_stays),
		T(the_servers_own_device_inherits_what_it_had),
		T(a_stolen_key_can_be_replaced_again_and_again),
		T(a_device_whose_membership_has_ended_is_not_signed_again),
		T(a_lost_key_is_no_hindrance),
		T(only_the_recovery_key_recovers_and_nothing_changes_without_it),
		T(a_home_with_another_key_says_what_to_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
