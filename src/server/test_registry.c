#include "server/test_server_world.h"

struct fixture {
	struct world w;
	struct check_dir dir;
	struct registry_share *photos, *plans; /* of anna and bert */
};

static int
set_up(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	world_make(&f->w, &f->dir);
	f->photos = world_make_share(&f->w, "photos", f->w.anna);
	f->plans = world_make_share(&f->w, "plans", f->w.bert);
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

static void
reopen(struct fixture *f)
{
	world_reopen(&f->w);
	f->photos = world_share_named(&f->w, "photos");
	f->plans = world_share_named(&f->w, "plans");
}

static struct registry *
reg(struct fixture *f)
{
	return f->w.server.registry;
}

/* A snapshot of nothing, with an id from N. */
static struct registry_snapshot *
add(struct fixture *f, uint64_t n, enum snapshot_state state, uint64_t number, const char *label)
{
	struct registry_snapshot sn = {
		.state = state, .number = number, .announced_ms = (int64_t)n, .unit_size = UNIT_MIN
	};

	hash_object(HASH_DEFAULT, HASH_COMMIT, BYTES_OF(n), &sn.id);
	hash_object(HASH_DEFAULT, HASH_TREE, BYTES_OF(n), &sn.content);
	if (state == SNAPSHOT_HEAD)
		hash_object(HASH_DEFAULT, HASH_STATEMENT, BYTES_OF(n), &sn.head_statement);
	snprintf(sn.label, sizeof sn.label, "%s", label);
	assert_ok(registry_store_snapshot(reg(f)->db, f->photos->num, &sn, &unit_error));
	return registry_add_snapshot(f->photos, &sn);
}

static void
everything_is_there_again_after_a_start(void **state)
{
	struct fixture *f = *state;
	struct registry_access all = { .all = true, .rights = RIGHT_READ };
	struct registry_invite in = { .id = { 7 },
		.secret = { 9 },
		.site = "attic",
		.group = "g",
		.uses = 3,
		.expires_s = 99 };

	assert_ok(registry_store_access(reg(f)->db, f->plans->num, &all, &unit_error));
	array_reserve(&in.grants, 1);
	in.grants.at[0].share = f->photos->num;
	in.grants.at[0].rights = RIGHT_WRITE;
	in.grants.len = 1;
	assert_ok(registry_store_invite(reg(f)->db, &in, &unit_error));
	array_clear(&in.grants);
	add(f, 1, SNAPSHOT_HEAD, 1, "first");
	add(f, 2, SNAPSHOT_HEAD, 2, "");
	add(f, 3, SNAPSHOT_ANNOUNCED, 0, "third");
	struct registry_device left = *registry_device(reg(f), device_key_id(f->w.bert));
	left.ended = true;
	assert_ok(registry_store_device(reg(f)->db, &left, &unit_error));
	auto_buf struct buf policy = BUF(STATEMENT_MAX);
	struct statement st = {
		.kind = STATEMENT_POLICY, .share = f->plans->id, .policy = POLICY_HYBRID
	};
	assert_ok(server_sign(&f->w.server, &st, &policy, &unit_error));
	assert_ok(
	    registry_store_policy(reg(f)->db, f->plans->num, buf_bytes(&policy), &unit_error));

	reopen(f);
	assert_int_equal(authority_policy(reg(f)->authority, &f->photos->id), POLICY_CENTRAL);
	assert_int_equal(authority_policy(reg(f)->authority, &f->plans->id), POLICY_HYBRID);
	assert_string_equal(registry_device(reg(f), device_key_id(f->w.anna))->name, "anna");
	assert_null(registry_device(reg(f), device_key_id(f->w.bert)));
	assert_string_equal(registry_device_known(reg(f), device_key_id(f->w.bert))->name, "bert");
	assert_int_equal(
	    rules_rights(reg(f), f->photos, device_key_id(f->w.anna)), RIGHT_READ | RIGHT_WRITE);
	assert_int_equal(rules_rights(reg(f), f->plans, device_key_id(f->w.anna)), RIGHT_READ);
	assert_int_equal(f->photos->snapshots.len, 3);
	assert_int_equal(f->photos->head->number, 2);
	assert_string_equal(f->photos->snapshots.at[2]->label, "third");
	assert_int_equal(f->photos->snapshots.at[2]->state, SNAPSHOT_ANNOUNCED);
	const struct registry_invite *again =
	    map_ptr(&reg(f)->invites, BYTES(in.id, INVITE_ID_BYTES));
	assert_non_null(again);
	assert_memory_equal(again->secret, in.secret, sizeof in.secret);
	assert_string_equal(again->site, "attic");
	assert_int_equal(again->uses, 3);
	assert_int_equal(again->expires_s, 99);
	assert_int_equal(again->grants.len, 1);
	assert_int_equal(again->grants.at[0].share, f->photos->num);
	assert_int_equal(again->grants.at[0].rights, RIGHT_WRITE);
}

static void
map_subnet(struct fixture *f, const char *text, const char *site)
{
	struct registry_subnet net;

	assert_ok(subnet_parse(text, &net.net, &unit_error));
	snprintf(net.site, sizeof net.site, "%s", site);
	assert_ok(registry_store_subnet(reg(f)->db, &net, &unit_error));
	registry_set_subnet(reg(f), &net);
}

static void
of_several_subnets_the_smallest_counts_also_after_a_start(void **state)
{
	struct fixture *f = *state;

	map_subnet(f, "10.0.0.0/8", "country");
	map_subnet(f, "10.1.0.0/16", "town");
	map_subnet(f, "10.1.7.0/24", "office");
	map_subnet(f, "2001:db8::/32", "lab");
	map_subnet(f, "10.1.0.0/16", "city"); /* another word */
	for (int i = 0; i < 2; i++) {
		assert_string_equal(registry_site_of(reg(f), "10.1.7.9:7470"), "office");
		assert_string_equal(registry_site_of(reg(f), "10.1.8.9:7470"), "city");
		assert_string_equal(registry_site_of(reg(f), "[::ffff:10.2.0.1]:1"), "country");
		assert_string_equal(registry_site_of(reg(f), "[2001:db8::5]:7470"), "lab");
		assert_null(registry_site_of(reg(f), "11.0.0.1:7470"));
		assert_null(registry_site_of(reg(f), ""));
		assert_null(registry_site_of(reg(f), "office:7470"));
		reopen(f);
	}
	map_subnet(f, "10.1.7.0/24", "");
	map_subnet(f, "10.9.0.0/16", ""); /* there was none */
	reopen(f);
	assert_string_equal(registry_site_of(reg(f), "10.1.7.9:7470"), "city");
	assert_int_equal(reg(f)->subnets.len, 3);
}

static void
who_gave_a_label_is_there_again_after_a_start(void **state)
{
	struct fixture *f = *state;
	struct registry_device d = *registry_device(reg(f), device_key_id(f->w.anna));

	snprintf(d.site, sizeof d.site, "hq");
	snprintf(d.assigned, sizeof d.assigned, "hq");
	snprintf(d.said, sizeof d.said, "den");
	assert_ok(registry_store_device(reg(f)->db, &d, &unit_error));
	reopen(f);
	const struct registry_device *again = registry_device(reg(f), device_key_id(f->w.anna));
	assert_string_equal(again->site, "hq");
	assert_string_equal(again->assigned, "hq");
	assert_string_equal(again->said, "den");
}

/* Changes wait in a queue: what was decided while the share was there may be stored when it is
 * gone. */
static void
what_comes_too_late_for_a_share_leaves_no_row_and_the_server_starts(void **state)
{
	static const char SQL_ROWS[] = "SELECT (SELECT count(*) FROM access WHERE share = ?1)"
				       " + (SELECT count(*) FROM snapshot WHERE share = ?1)"
				       " + (SELECT count(*) FROM share_node WHERE share = ?1)"
				       " + (SELECT count(*) FROM share_chunk WHERE share = ?1)";
	struct fixture *f = *state;
	struct db *db = reg(f)->db;
	int64_t num = f->photos->num;
	struct registry_access a = { .all = true, .rights = RIGHT_READ };
	struct registry_snapshot sn = *add(f, 1, SNAPSHOT_ANNOUNCED, 0, "");

	assert_int_equal(world_count(&f->w, SQL_ROWS, num), 2);
	assert_ok(registry_store_share_drop(db, num, &f->photos->policy_id, &unit_error));
	assert_int_equal(world_count(&f->w, SQL_ROWS, num), 0);
	assert_ok(registry_store_access(db, num, &a, &unit_error));
	assert_ok(registry_store_snapshot(db, num, &sn, &unit_error));
	sn.state = SNAPSHOT_WITHDRAWN;
	assert_ok(registry_store_snapshot_set(db, &sn, &unit_error));
	assert_ok(registry_store_share_node(db, num, &sn.content, &unit_error));
	assert_ok(registry_store_share_chunk(db, num, &sn.content, &unit_error));
	assert_int_equal(world_count(&f->w, SQL_ROWS, num), 0);
	reopen(f);
	assert_null(f->photos);
	assert_non_null(f->plans);
}

static void
a_share_that_is_dropped_takes_its_statements_along(void **state)
{
	static const char SQL_KIND[] = "SELECT count(*) FROM statement WHERE kind = ?";
	struct fixture *f = *state;
	auto_buf struct buf b = BUF(STATEMENT_MAX);
	struct registry_snapshot *sn = add(f, 1, SNAPSHOT_HEAD, 1, "");
	struct statement st = {
		.kind = STATEMENT_HEAD, .share = f->photos->id, .number = 1, .commit = sn->id
	};

	assert_ok(server_sign(&f->w.server, &st, &b, &unit_error));
	assert_ok(registry_store_statement(reg(f)->db, buf_bytes(&b), &st, &unit_error));
	sn->head_statement = st.id;
	assert_ok(registry_store_snapshot_set(reg(f)->db, sn, &unit_error));
	assert_int_equal(world_count(&f->w, SQL_KIND, STATEMENT_SHARE), 2);
	assert_ok(registry_store_share_drop(
	    reg(f)->db, f->photos->num, &f->photos->policy_id, &unit_error));
	assert_int_equal(world_count(&f->w, SQL_KIND, STATEMENT_SHARE), 1);
	assert_int_equal(world_count(&f->w, SQL_KIND, STATEMENT_HEAD), 0);
	reopen(f);
	assert_int_equal(world_count(&f->w, SQL_KIND, STATEMENT_AUTHORITY), 1);
}

static void
a_name_is_taken_once(void **state)
{
	struct fixture *f = *state;
	struct registry_share *again = NULL;

	assert_err(ERR_EXISTS, world_share(&f->w, "photos", f->w.bert, &again, &unit_error));
	assert_null(again);
}

static const struct registry_snapshot *
choose(struct fixture *f, const char *selector)
{
	struct registry_snapshot *sn = NULL;

	return registry_select(f->photos, bytes_str(selector), &sn, &unit_error) == OK ? sn : NULL;
}

static void
a_snapshot_is_named_by_number_id_or_label(void **state)
{
	struct fixture *f = *state;
	char id[HASH_ID_TEXT], few[8];

	assert_null(choose(f, ""));
	check_says(unit_error.text, "no complete snapshot yet");
	const struct registry_snapshot *one = add(f, 1, SNAPSHOT_HEAD, 1, "stable"),
				       *two = add(f, 2, SNAPSHOT_HEAD, 2, "stable");
	const struct registry_snapshot *gone = add(f, 3, SNAPSHOT_WITHDRAWN, 0, "gone");
	const struct registry_snapshot *new = add(f, 4, SNAPSHOT_ANNOUNCED, 0, "stable");
	add(f, 5, SNAPSHOT_ANNOUNCED, 0, "next");
	assert_ptr_equal(choose(f, ""), two);
	assert_ptr_equal(choose(f, "1"), one);
	assert_ptr_equal(choose(f, "2"), two);
	assert_null(choose(f, "0")); /* what is announced has no number */
	assert_null(choose(f, "3"));
	assert_ptr_equal(choose(f, "stable"), two); /* the newest that is whole */
	assert_non_null(choose(f, "next"));
	assert_ptr_equal(choose(f, hash_id_format(&new->id, id)), new);
	snprintf(few, sizeof few, "%.6s", hash_id_format(&one->id, id));
	assert_ptr_equal(choose(f, few), one);
	few[5] = 0;
	assert_null(choose(f, few));
	assert_null(choose(f, "gone"));
	assert_null(choose(f, hash_id_format(&gone->id, id)));
	assert_null(choose(f, "no\x1bsuch"));
	check_says(unit_error.text, "photos has no snapshot no\\");
	assert_null(choose(f, ""
			      "01234567890123456789012345678901234567890123456789012345678901234567"
			      "89012345678901234567890123456789"
			      "0123456789012345678901234567890123456789"));
}

static void
the_head_is_the_highest_number_and_may_be_dropped(void **state)
{
	struct fixture *f = *state;

	struct registry_snapshot *two = add(f, 1, SNAPSHOT_HEAD, 2, "");
	add(f, 2, SNAPSHOT_HEAD, 1, "");
	assert_ptr_equal(f->photos->head, two);
	registry_drop_snapshot(f->photos, two);
	assert_null(f->photos->head);
	assert_int_equal(f->photos->snapshots.len, 1);
}

static enum err
device_named(struct fixture *f, const char *text)
{
	struct registry_device *d = NULL;

	return registry_find_device(reg(f), text, &d, &unit_error);
}

static void
a_device_is_found_by_what_people_write(void **state)
{
	struct fixture *f = *state;
	char id[DEVICE_ID_TEXT], cut[16];

	device_id_format(device_key_id(f->w.anna), id);
	assert_ok(device_named(f, "anna"));
	assert_ok(device_named(f, id));
	snprintf(cut, sizeof cut, "%.8s", id);
	assert_ok(device_named(f, cut));
	for (char *c = id; *c != 0; c++)
		*c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
	assert_ok(device_named(f, id));
	cut[3] = 0;
	assert_err(ERR_NOTFOUND, device_named(f, cut)); /* too few to mean it */
	assert_err(ERR_NOTFOUND, device_named(f, ""));
	assert_err(ERR_NOTFOUND, device_named(f, "ann"));
	assert_ok(world_device(&f->w, f->w.bert, "anna", &unit_error));
	assert_err(ERR_CONFLICT, device_named(f, "anna"));
	check_says(unit_error.text, "2 devices");
	registry_device(reg(f), device_key_id(f->w.bert))->ended = true;
	assert_ok(device_named(f, "anna"));
	assert_err(ERR_NOTFOUND, device_named(f, "bert"));
}

static void
readers_are_those_with_an_entry_or_everybody(void **state)
{
	struct fixture *f = *state;
	struct registry_access bert = { .device = *device_key_id(f->w.bert), .rights = RIGHT_READ };
	struct registry_access all = { .all = true, .rights = RIGHT_READ }, none = { .all = true };

	assert_int_equal(registry_readers(reg(f), f->photos), 1);
	registry_set_access(f->photos, &bert);
	registry_set_access(f->photos, &bert);
	assert_int_equal(registry_readers(reg(f), f->photos), 2);
	registry_set_access(f->photos, &all);
	assert_int_equal(registry_readers(reg(f), f->photos), reg(f)->devices.len);
	registry_set_access(f->photos, &none);
	assert_int_equal(registry_readers(reg(f), f->photos), 2);
	registry_end_access(reg(f), device_key_id(f->w.bert));
	assert_int_equal(registry_readers(reg(f), f->photos), 1);
	assert_int_equal(registry_readers(reg(f), f->plans), 0);
}

static void
what_a_share_has_is_no_other_shares(void **state)
{
	struct fixture *f = *state;
	struct db *db = reg(f)->db;
	struct hash_id id;
	const int64_t both[] = { f->plans->num, f->photos->num };

	hash_object(HASH_DEFAULT, HASH_TREE, BYTES_LIT("x"), &id);
	assert_ok(registry_store_share_node(db, f->photos->num, &id, &unit_error));
	assert_ok(registry_store_share_chunk(db, f->photos->num, &id, &unit_error));
	assert_true(registry_share_has_node(db, f->photos->num, &id) &&
		    registry_share_has_chunk(db, f->photos->num, &id));
	assert_false(registry_share_has_node(db, f->plans->num, &id) ||
		     registry_share_has_chunk(db, f->plans->num, &id));
	assert_true(registry_share_holds_node(db, &f->photos->id, &id));
	assert_false(registry_share_holds_node(db, &f->plans->id, &id));
	assert_false(
	    registry_any_has_chunk(db, both, 1, &id) || registry_any_has_node(db, both, 1, &id));
	assert_true(
	    registry_any_has_chunk(db, both, 2, &id) && registry_any_has_node(db, both, 2, &id));
	assert_false(registry_any_has_chunk(db, both, 0, &id));
}

static void
a_damaged_row_is_named(void **state)
{
	static const char *const sql[][2] = {
		{ "device", "UPDATE device SET id = x'00' WHERE name = 'anna'" },
		{ "share", "UPDATE share SET statement = x'0102'" },
		{ "access", "UPDATE access SET share = 77" },
		{ "snapshot", "UPDATE snapshot SET content = x'00'" },
		{ "invite", "UPDATE invite SET grants = x'00'" },
		{ "statement", "UPDATE statement SET bytes = x'00'" },
	};
	struct fixture *f = *state;
	struct registry_invite in = { .id = { 1 }, .uses = 1 };

	assert_ok(registry_store_invite(reg(f)->db, &in, &unit_error));
	add(f, 1, SNAPSHOT_HEAD, 1, "");
	for (size_t i = 0; i < lengthof(sql); i++) {
		struct registry *r = NULL;
		bool first;
		char copy[100];
		snprintf(copy, sizeof copy, "%s/copy.db", f->dir.path);
		(void)unlink(copy);
		assert_ok(db_backup(reg(f)->db, copy, &unit_error));
		struct db *d = NULL;
		assert_ok(db_open(copy, &(struct db_opts){ 0 }, &d, &unit_error));
		assert_ok(db_run(d, sql[i][1], &unit_error, ""));
		db_close(d);
		assert_err(ERR_CORRUPT,
		    registry_open(copy, device_key_id(f->w.home.key), &r, &first, &unit_error));
		check_says(unit_error.text, "server.db");
		check_says(unit_error.text, sql[i][0]);
		assert_null(r);
	}
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(everything_is_there_again_after_a_start),
		T(of_several_subnets_the_smallest_counts_also_after_a_start),
		T(who_gave_a_label_is_there_again_after_a_start),
		T(what_comes_too_late_for_a_share_leaves_no_row_and_the_server_starts),
		T(a_share_that_is_dropped_takes_its_statements_along),
		T(a_name_is_taken_once),
		T(a_snapshot_is_named_by_number_id_or_label),
		T(the_head_is_the_highest_number_and_may_be_dropped),
		T(a_device_is_found_by_what_people_write),
		T(readers_are_those_with_an_entry_or_everybody),
		T(what_a_share_has_is_no_other_shares),
		T(a_damaged_row_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
