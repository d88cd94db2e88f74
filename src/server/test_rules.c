#include "tests/check.h"

#include "base/mem.h"
#include "base/rng.h"
#include "server/rules.h"

/* A registry with two devices, one of them with a share, in a database of its own. */
struct world {
	struct registry *r;
	char dir[64];
	struct device_key *key, *anna, *bert;
	struct registry_share *photos;
};

static void
add_device(struct world *w, const struct device_key *key, const char *name)
{
	struct registry_device d = { .id = *device_key_id(key) };

	snprintf(d.name, sizeof d.name, "%s", name);
	registry_add_device(w->r, &d);
}

static struct registry_share *
add_share(struct world *w, const char *name, int64_t num)
{
	struct buf b = BUF(STATEMENT_MAX);
	struct statement st = {
		.kind = STATEMENT_SHARE, .policy = POLICY_CENTRAL, .epoch = 1, .issued_s = 1
	};
	struct error e;

	snprintf(st.name, sizeof st.name, "%s", name);
	check_ok(statement_sign(&st, w->key, &b, &e), e);
	struct registry_share *s = registry_add_share(w->r, num, buf_bytes(&b), &st);
	buf_clear(&b);
	return s;
}

static int
set_up(void **state)
{
	struct world *w = mem_new(struct world);
	struct error e;
	bool first;

	snprintf(w->dir, sizeof w->dir, "/tmp/weft-rules-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	check_ok(device_key_generate(&w->key, &e), e);
	check_ok(device_key_generate(&w->anna, &e), e);
	check_ok(device_key_generate(&w->bert, &e), e);
	auto_free char *path = str_printf("%s/server.db", w->dir);
	check_ok(registry_open(path, device_key_id(w->key), &w->r, &first, &e), e);
	assert_true(first);
	add_device(w, w->anna, "anna");
	add_device(w, w->bert, "bert");
	w->photos = add_share(w, "photos", 1);
	*state = w;
	return 0;
}

static int
tear_down(void **state)
{
	struct world *w = *state;
	auto_free char *command = str_printf("rm -rf %s", w->dir);

	registry_close(w->r);
	device_key_free(w->key);
	device_key_free(w->anna);
	device_key_free(w->bert);
	assert_int_equal(system(command), 0);
	free(w);
	return 0;
}

static void
grant(struct registry_share *s, const struct device_key *key, uint32_t rights)
{
	struct registry_access a = { .rights = rights, .all = key == NULL };

	if (key != NULL)
		a.device = *device_key_id(key);
	registry_set_access(s, &a);
}

static enum err
ask(struct world *w, const char *name, const struct device_key *key, uint32_t rights,
    struct error *e)
{
	struct registry_share *s = NULL;

	return rules_share(w->r, bytes_str(name), device_key_id(key), rights, &s, e);
}

static void
what_is_not_yours_looks_like_what_is_not_there(void **state)
{
	struct world *w = *state;
	struct error hidden, absent;

	assert_int_equal(ask(w, "photos", w->anna, RIGHT_READ, &hidden), ERR_NOTFOUND);
	registry_drop_share(w->r, w->photos);
	assert_int_equal(ask(w, "photos", w->anna, RIGHT_READ, &absent), ERR_NOTFOUND);
	assert_string_equal(hidden.text, absent.text);
}

static struct device_id
nth_device(uint32_t i)
{
	return (struct device_id){ .bytes = { (uint8_t)i, (uint8_t)(i >> 8), 1 } };
}

/* Entries are looked up, not walked through, and taken away in any order. */
static void
of_many_entries_each_device_has_its_own(void **state)
{
	struct world *w = *state;
	enum { N = 10000 };

	for (uint32_t i = 0; i < N; i++) {
		struct registry_access a = { .device = nth_device(i),
			.rights = i % 2 == 0 ? RIGHT_READ : RIGHT_WRITE };
		registry_add_device(w->r, &(struct registry_device){ .id = a.device });
		registry_set_access(w->photos, &a);
	}
	grant(w->photos, NULL, RIGHT_ADMIN);
	for (uint32_t i = 0; i < N; i += 3)
		registry_set_access(
		    w->photos, &(struct registry_access){ .device = nth_device(i) });
	grant(w->photos, NULL, 0);
	for (uint32_t i = 0; i < N; i++) {
		struct device_id id = nth_device(i);
		uint32_t want = i % 2 == 0 ? RIGHT_READ : RIGHT_READ | RIGHT_WRITE;
		assert_int_equal(rules_rights(w->r, w->photos, &id), i % 3 == 0 ? 0 : want);
	}
}

static void
rights_follow_the_entries(void **state)
{
	struct world *w = *state;
	struct error e;
	struct {
		uint32_t anna, all;
		enum err read, write;
	} cases[] = {
		{ 0, 0, ERR_NOTFOUND, ERR_NOTFOUND },
		{ RIGHT_READ, 0, OK, ERR_DENIED },
		{ RIGHT_WRITE, 0, OK, OK },
		{ RIGHT_ADMIN, 0, OK, OK },
		{ 0, RIGHT_READ, OK, ERR_DENIED },
		{ RIGHT_READ, RIGHT_WRITE, OK, OK },
	};

	for (size_t i = 0; i < lengthof(cases); i++) {
		grant(w->photos, w->anna, cases[i].anna);
		grant(w->photos, NULL, cases[i].all);
		assert_int_equal(ask(w, "photos", w->anna, RIGHT_READ, &e), cases[i].read);
		assert_int_equal(ask(w, "photos", w->anna, RIGHT_WRITE, &e), cases[i].write);
	}
}

static void
who_has_left_has_no_rights(void **state)
{
	struct world *w = *state;
	struct error e;
	struct registry_device d = *registry_device(w->r, device_key_id(w->anna));

	grant(w->photos, NULL, RIGHT_READ);
	grant(w->photos, w->anna, RIGHT_WRITE);
	assert_int_equal(ask(w, "photos", w->anna, RIGHT_READ, &e), OK);
	d.ended = true;
	registry_add_device(w->r, &d);
	assert_int_equal(ask(w, "photos", w->anna, RIGHT_READ, &e), ERR_NOTFOUND);
	assert_int_equal(ask(w, "photos", w->bert, RIGHT_READ, &e), OK);
}

static void
an_invite_ends_with_its_uses_and_its_time(void **state)
{
	struct registry_invite in = { .uses = 1, .expires_s = 1000 };
	struct error e;
	(void)state;

	assert_int_equal(rules_invite(&in, 999, &e), OK);
	assert_int_equal(rules_invite(&in, 1000, &e), ERR_DENIED);
	assert_non_null(strstr(e.text, "expired"));
	in.uses = 0;
	assert_int_equal(rules_invite(&in, 999, &e), ERR_DENIED);
	assert_int_equal(rules_invite(NULL, 999, &e), ERR_DENIED);
	in = (struct registry_invite){ .uses = 1, .expires_s = 0 };
	assert_int_equal(rules_invite(&in, INT64_MAX, &e), OK);
}

static void
clocks_half_a_day_apart_are_refused_with_the_direction(void **state)
{
	const int64_t now = 1800000000000, half_day = (int64_t)LIMIT_CLOCK_REFUSE_S * 1000;
	struct error e;
	(void)state;

	assert_int_equal(rules_clock(now, now + half_day, &e), OK);
	assert_int_equal(rules_clock(now, now + half_day + 1, &e), ERR_DENIED);
	assert_non_null(strstr(e.text, "ahead of"));
	assert_int_equal(rules_clock(now, now - half_day - 1, &e), ERR_DENIED);
	assert_non_null(strstr(e.text, "behind"));
}

/* A commit by ANNA on top of the share's head, as it should be. */
static struct commit
good_commit(struct world *w)
{
	struct commit c = {
		.share = w->photos->id,
		.policy = w->photos->policy_id,
		.author = *device_key_public(w->anna),
		.seq = 1,
	};

	if (w->photos->head != NULL) {
		c.n_parents = 1;
		c.parents[0] = w->photos->head->id;
	}
	version_vector_raise(&c.vv, device_key_id(w->anna), 1);
	return c;
}

static enum err
announce(struct world *w, const struct commit *c, const struct device_key *by, uint64_t head_seq)
{
	struct error e;

	return rules_announce(w->r, w->photos, c, device_key_id(by), head_seq, &e);
}

static void
an_announcement_must_be_its_authors_next_upon_the_head(void **state)
{
	struct world *w = *state;
	struct commit c = good_commit(w);

	assert_int_equal(announce(w, &c, w->anna, 0), ERR_DENIED); /* may not write */
	grant(w->photos, w->anna, RIGHT_WRITE);
	grant(w->photos, w->bert, RIGHT_WRITE);
	assert_int_equal(announce(w, &c, w->anna, 0), OK);
	assert_int_equal(announce(w, &c, w->bert, 0), ERR_DENIED);   /* signed by another */
	assert_int_equal(announce(w, &c, w->anna, 1), ERR_CONFLICT); /* not the next one */
	c.seq = 2;
	/* its own vector says otherwise */
	assert_int_equal(announce(w, &c, w->anna, 1), ERR_CONFLICT);
	version_vector_raise(&c.vv, device_key_id(w->anna), 2);
	assert_int_equal(announce(w, &c, w->anna, 1), OK);
	c.n_parents = 1;
	c.parents[0] = w->photos->id;
	assert_int_equal(announce(w, &c, w->anna, 1), ERR_CONFLICT); /* a head that is none */
	c.n_parents = 0;
	c.share = w->photos->policy_id;
	assert_int_equal(announce(w, &c, w->anna, 1), ERR_PROTO);
	c.share = w->photos->id;
	c.epoch = 99;
	assert_int_equal(announce(w, &c, w->anna, 1), ERR_PROTO);
	commit_clear(&c);
}

static void
a_second_snapshot_must_name_the_first(void **state)
{
	struct world *w = *state;
	struct registry_snapshot head = {
		.id = w->photos->policy_id, .number = 1, .state = SNAPSHOT_HEAD
	};

	grant(w->photos, w->anna, RIGHT_WRITE);
	registry_add_snapshot(w->photos, &head);
	struct commit c = good_commit(w);
	assert_int_equal(announce(w, &c, w->anna, 0), OK);
	c.n_parents = 0;
	assert_int_equal(announce(w, &c, w->anna, 0), ERR_CONFLICT);
	commit_clear(&c);
}

static void
a_selector_finds_number_id_and_label_and_prefers_what_is_complete(void **state)
{
	struct world *w = *state;
	struct registry_snapshot *found = NULL;
	struct error e;
	struct registry_snapshot one = { .number = 1, .state = SNAPSHOT_HEAD, .label = "v1" };
	struct registry_snapshot two = { .number = 2, .state = SNAPSHOT_HEAD, .label = "v2" };
	struct registry_snapshot next = { .state = SNAPSHOT_ANNOUNCED, .label = "v2" };
	char id[HASH_ID_TEXT];

	assert_int_equal(registry_select(w->photos, BYTES("", 0), &found, &e), ERR_NOTFOUND);
	hash_object(HASH_SHA256, HASH_COMMIT, BYTES_LIT("one"), &one.id);
	hash_object(HASH_SHA256, HASH_COMMIT, BYTES_LIT("two"), &two.id);
	hash_object(HASH_SHA256, HASH_COMMIT, BYTES_LIT("next"), &next.id);
	registry_add_snapshot(w->photos, &next);
	check_ok(registry_select(w->photos, BYTES("", 0), &found, &e), e);
	assert_true(hash_id_equal(&found->id, &next.id));
	registry_add_snapshot(w->photos, &one);
	registry_add_snapshot(w->photos, &two);
	const struct {
		const char *selector;
		const struct hash_id *id;
	} cases[] = {
		{ "", &two.id },
		{ "1", &one.id },
		{ "2", &two.id },
		{ "v1", &one.id },
		{ "v2", &two.id },
		{ hash_id_format(&one.id, id), &one.id },
		{ "3", NULL },
		{ "v3", NULL },
		{ "0", NULL },
	};
	for (size_t i = 0; i < lengthof(cases); i++) {
		enum err r = registry_select(w->photos, bytes_str(cases[i].selector), &found, &e);
		assert_int_equal(r, cases[i].id != NULL ? OK : ERR_NOTFOUND);
		if (r == OK)
			assert_true(hash_id_equal(&found->id, cases[i].id));
	}
	hash_id_format(&next.id, id);
	check_ok(registry_select(w->photos, bytes_str(id), &found, &e), e);
	assert_int_equal(found->state, SNAPSHOT_ANNOUNCED);
}

/* The authority has said who it is, and that PHOTOS is hybrid. */
static void
say_hybrid(struct world *w, enum share_policy policy)
{
	const struct statement said[] = {
		{ .kind = STATEMENT_AUTHORITY, .key = *device_key_public(w->key), .epoch = 1 },
		{ .kind = STATEMENT_POLICY, .share = w->photos->id, .policy = policy, .epoch = 1 },
	};
	struct error e;

	for (size_t i = 0; i < lengthof(said); i++) {
		auto_buf struct buf b = BUF(STATEMENT_MAX);
		struct statement st = said[i];
		authority_stamp(w->r->authority, &st, 100);
		check_ok(statement_sign(&st, w->key, &b, &e), e);
		check_ok(authority_accept(w->r->authority, buf_bytes(&b), NULL, &e), e);
	}
}

static void
who_reads_a_hybrid_share_and_cuts_it_as_we_do_takes_part(void **state)
{
	struct world *w = *state;
	const struct registry_snapshot sn = { .id = w->photos->policy_id,
		.state = SNAPSHOT_ANNOUNCED,
		.chunks = 10,
		.chunk_bytes = 1000000,
		.unit_size = UNIT_MIN };
	const struct msg_enter good = { .job = 1,
		.share = w->photos->id,
		.snapshot = sn.id,
		.unit_size = UNIT_MIN,
		.units = 16 };
	const struct device_id *anna = device_key_id(w->anna);
	struct msg_enter m = good;
	struct error e;

	registry_add_snapshot(w->photos, &sn);
	say_hybrid(w, POLICY_HYBRID);
	assert_int_equal(rules_enter(w->r, anna, &good, &e), ERR_NOTFOUND);
	grant(w->photos, w->anna, RIGHT_READ);
	check_ok(rules_enter(w->r, anna, &good, &e), e);
	m.units = 0; /* it has no manifest yet */
	check_ok(rules_enter(w->r, anna, &m, &e), e);
	m.units = 100;
	assert_int_equal(rules_enter(w->r, anna, &m, &e), ERR_PROTO);
	m = good;
	m.unit_size *= 2;
	assert_int_equal(rules_enter(w->r, anna, &m, &e), ERR_PROTO);
	m = good;
	m.snapshot = w->photos->id;
	assert_int_equal(rules_enter(w->r, anna, &m, &e), ERR_NOTFOUND);
	registry_snapshot(w->photos, &sn.id)->state = SNAPSHOT_WITHDRAWN;
	assert_int_equal(rules_enter(w->r, anna, &good, &e), ERR_NOTFOUND);
	registry_snapshot(w->photos, &sn.id)->state = SNAPSHOT_HEAD;
	check_ok(rules_enter(w->r, anna, &good, &e), e);
	say_hybrid(w, POLICY_CENTRAL);
	assert_int_equal(rules_enter(w->r, anna, &good, &e), ERR_DENIED);
}

static void
who_may_write_to_many_shares_creates_no_more(void **state)
{
	struct world *w = *state;
	const struct device_id *anna = device_key_id(w->anna);
	struct error e;

	for (int64_t i = 2; i < 2 + RULES_SHARES_MAX; i++) {
		char name[16];
		check_ok(rules_create(w->r, anna, &e), e);
		snprintf(name, sizeof name, "share%d", (int)i);
		grant(add_share(w, name, i), w->anna, RIGHT_READ | RIGHT_WRITE);
	}
	assert_int_equal(rules_create(w->r, anna, &e), ERR_LIMIT);
	check_says(e.text, "256");
	check_ok(rules_create(w->r, device_key_id(w->bert), &e), e);
	registry_drop_share(w->r, registry_share_named(w->r, BYTES_LIT("share2")));
	check_ok(rules_create(w->r, anna, &e), e);
}

/* However the chunks' lengths fall, a snapshot has no more units than that. */
static void
no_cut_gives_more_units_than_the_most_there_can_be(void **state)
{
	struct rng rng;
	(void)state;

	rng_seed(&rng, 3);
	for (int round = 0; round < 200; round++) {
		struct registry_snapshot sn = { .unit_size = UNIT_MIN << rng_below(&rng, 7) };
		uint32_t most = 1u << (rng_below(&rng, 20) + 1);
		struct unit_cutter cut;
		struct unit units[CHUNK_LEAVES_MAX + 1];
		uint64_t n = 0;

		unit_cutter_init(&cut, sn.unit_size);
		for (sn.chunks = 0; sn.chunks < 3000; sn.chunks++) {
			uint32_t len =
			    1 + (uint32_t)rng_below(&rng, min_of(most, (uint32_t)CHUNK_MAX));
			sn.chunk_bytes += len;
			n += unit_cutter_add(&cut, len, units);
		}
		n += unit_cutter_end(&cut, units);
		assert_true(n <= rules_units_max(&sn));
	}
}

static void
devices_are_found_by_name_or_the_beginning_of_their_id(void **state)
{
	struct world *w = *state;
	struct registry_device *d = NULL;
	char id[DEVICE_ID_TEXT];
	struct error e;

	check_ok(registry_find_device(w->r, "bert", &d, &e), e);
	assert_true(device_id_equal(&d->id, device_key_id(w->bert)));
	device_id_format(device_key_id(w->anna), id);
	id[9] = 0;
	check_ok(registry_find_device(w->r, id, &d, &e), e);
	assert_true(device_id_equal(&d->id, device_key_id(w->anna)));
	assert_int_equal(registry_find_device(w->r, "carl", &d, &e), ERR_NOTFOUND);
	add_device(w, w->key, "bert");
	assert_int_equal(registry_find_device(w->r, "bert", &d, &e), ERR_CONFLICT);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(what_is_not_yours_looks_like_what_is_not_there),
		T(of_many_entries_each_device_has_its_own),
		T(rights_follow_the_entries),
		T(who_has_left_has_no_rights),
		T(an_invite_ends_with_its_uses_and_its_time),
		T(clocks_half_a_day_apart_are_refused_with_the_direction),
		T(an_announcement_must_be_its_authors_next_upon_the_head),
		T(a_second_snapshot_must_name_the_first),
		T(a_selector_finds_number_id_and_label_and_prefers_what_is_complete),
		T(who_reads_a_hybrid_share_and_cuts_it_as_we_do_takes_part),
		T(who_may_write_to_many_shares_creates_no_more),
		T(no_cut_gives_more_units_than_the_most_there_can_be),
		T(devices_are_found_by_name_or_the_beginning_of_their_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
